/* A broker of a few lines on the loop of a node: what a real one does too rarely
 * or too quickly, byte by byte. It answers CONNECT; the rest is the test's. */

#ifndef TESTS_MQTT_FAKE_H
#define TESTS_MQTT_FAKE_H

#include "tests/mqtt/rig.h"

struct rig_fake
{
    uv_tcp_t listener;
    uint16_t port;
    uint8_t connack; /* Reason. 255: does not answer. */
    bool session;
    unsigned connects; /* CONNECT packets seen. */
    unsigned accepts;
    uint8_t connect[512]; /* The last CONNECT of the reader. */
    size_t connect_n;
    struct rig_fake_peer *reader; /* NULL: not there. */
    size_t reader_bytes;          /* Got from it after its CONNECT. */
    uint8_t reader_got[512];
    bool reader_ended;
};

void rig_fake_open(struct rig_fake *f, uv_loop_t *loop);
/* To the reader. */
void rig_fake_send(struct rig_fake *f, const void *p, size_t n);
void rig_fake_publish(struct rig_fake *f, uint16_t mid, bool dup, const char *topic,
                      const char *payload);
/* Close the reader's connection. */
void rig_fake_hang_up(struct rig_fake *f);
void rig_fake_close(struct rig_fake *f);

#endif /* TESTS_MQTT_FAKE_H */

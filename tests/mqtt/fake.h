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
    /* For a will, for the reader, for the writer; 0: as the rest. */
    uint8_t will_connack, reader_connack, writer_connack;
    uint8_t suback_sys; /* For $SYS; 254: no answer, 255: hang up. */
    bool session;
    unsigned connects; /* CONNECT packets seen. */
    unsigned accepts;
    uint8_t connect[512]; /* The last CONNECT of the reader. */
    size_t connect_n;
    uint8_t writer_connect[512];
    size_t writer_connect_n;
    unsigned writers;             /* CONNECT packets of it. */
    unsigned sys_asked;           /* SUBSCRIBE packets for $SYS. */
    struct rig_fake_peer *reader; /* NULL: not there. */
    size_t reader_bytes;          /* Got from it, but for CONNECT and $SYS. */
    uint8_t reader_got[512];
    bool reader_ended;
    struct rig_fake_peer *writer;
};

void rig_fake_open(struct rig_fake *f, uv_loop_t *loop);
/* To the reader, or the writer. */
void rig_fake_send(struct rig_fake *f, const void *p, size_t n);
void rig_fake_send_writer(struct rig_fake *f, const void *p, size_t n);
void rig_fake_publish(struct rig_fake *f, uint16_t mid, bool dup, const char *topic,
                      const char *payload);
/* Close the reader's connection, or the writer's. */
void rig_fake_hang_up(struct rig_fake *f);
void rig_fake_hang_up_writer(struct rig_fake *f);
void rig_fake_close(struct rig_fake *f);

#endif /* TESTS_MQTT_FAKE_H */

/* A real broker on a free port of the loopback, a node's end of the adapter, and
 * a loop that runs until something is the case. */

#ifndef TESTS_MQTT_RIG_H
#define TESTS_MQTT_RIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "adapters/mqtt/mqtt.h"

uint16_t rig_free_port(void);

struct rig_broker
{
    pid_t pid;
    uint16_t port;
    char dir[64];      /* Its own; removed by rig_broker_remove(). */
    const char *extra; /* More lines for its configuration; NULL: none. */
    const char *acl;   /* Its access list; NULL: all is allowed. */
};

/* Returns when it listens. @port 0: a free one. */
void rig_broker_start(struct rig_broker *b, uint16_t port);
/* kill -9; it may be started again on the same port and the same files. */
void rig_broker_kill(struct rig_broker *b);
/* What it has saved is gone: sessions, retained messages. */
void rig_broker_forget(const struct rig_broker *b);
void rig_broker_remove(struct rig_broker *b);

/* Publishes and returns when the broker has it all. Payload: "0", "1", ... */
void rig_publish(uint16_t port, const char *topic, unsigned from, unsigned n, int qos,
                 bool retain, unsigned pause_us);

enum { RIG_KEEP = 16384 };

struct rig_node
{
    uv_loop_t loop;
    uv_timer_t limit;
    bool late;
    struct ad_mqtt *m;
    struct ad_mqtt_config config;
    struct sy_log log;
    bool release;     /* At once, from within burst(). */
    bool resubscribe; /* From within the next message. */
    bool closed;
    /* Close from inside this callback. */
    enum rig_where { NOWHERE, IN_MESSAGE, IN_BURST, IN_CHANGED, IN_SUBSCRIBE } close_in;
    enum rig_where pause_in;

    unsigned messages, dups, retained, bursts, subscribes, changes, turns;
    unsigned ids[RIG_KEEP]; /* Payloads as numbers. */
    char last_topic[64];
    char last[256];                       /* Payload. */
    void (*on_burst)(struct rig_node *n); /* Instead of release. */
    void *data;
};

void rig_node_init(struct rig_node *n, uint16_t port);
/* Opens with n->config. */
void rig_node_open(struct rig_node *n);
void rig_node_close(struct rig_node *n);
/* Closes what is open; the loop must be empty then. */
void rig_node_done(struct rig_node *n);

/* Runs the loop until @yes; false: @ms passed before. */
bool rig_until(struct rig_node *n, bool (*yes)(struct rig_node *n), unsigned ms);
void rig_run(struct rig_node *n, unsigned ms);

bool rig_up(struct rig_node *n);   /* both links */
bool rig_down(struct rig_node *n); /* the reader */
bool rig_holding(struct rig_node *n);

/* The same loop for two nodes: @b joins the loop of @a. */
void rig_node_init_on(struct rig_node *b, struct rig_node *a, uint16_t port);

#endif /* TESTS_MQTT_RIG_H */

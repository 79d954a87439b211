/* What the parts of bench_lossless share: a load that plays Zigbee2MQTT with numbered
 * messages, and nodes that are asked and killed. See main.c for what it can do. */

#ifndef BENCH_LOSSLESS_H
#define BENCH_LOSSLESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mp.h"

struct mosquitto;

enum { LL_NODES_MAX = 9, LL_MIDS = 65536 };

/* The command line; what a part does not use it ignores. */
struct ll_options
{
    char host[64];
    int port;
    const char *base; /* Base topic of area K: base/aK. */
    const char *client;
    unsigned area_first; /* Number of the first area. */
    unsigned areas;
    unsigned devices; /* Each area's. */
    uint32_t first;   /* Number of the first message. */
    uint32_t messages;
    double rate; /* A second; 0: as fast as the broker acknowledges. */
    unsigned window;
    uint64_t base_ms;  /* last_seen of the first message; 0: now. */
    uint64_t step_us;  /* ... and of each further one so much later. */
    bool running;      /* The bridges have said who they are and do not start anew. */
    bool blind;        /* No last_seen, as Zigbee2MQTT has it by default. */
    bool flip;         /* The meter's switch changes with each of its messages. */
    const char *acked; /* File for the numbers that were acknowledged. */
    unsigned patience_s;

    unsigned nodes_n;
    const char *nodes[LL_NODES_MAX];
    unsigned events_n;
    const char *events[LL_NODES_MAX];
    const char *pids;
    const char *restart;
    unsigned kills;
    unsigned all_every; /* Each so many-th time all nodes; 0: never. */
    unsigned pause_ms;  /* At most so long after a node took the watch. */
    const char *alive;  /* Go on while this file exists. */
    const char *postgres;
    uint64_t until;
    bool verbose;
};

/* --- load.c --- */

/* Message k of the load goes to meter k % (areas * devices), was measured at base_ms +
 * (k - first) * step_us / 1000 and counts k / 1000 kWh: so each is the only one of its
 * meter and time, and the row in Postgres says which it was. */
struct ll_load
{
    const struct ll_options *opt;
    struct mosquitto *mosq;
    bool connected;
    bool lost;
    uint64_t again_us;
    uint64_t misc_us;
    uint64_t base_ms;
    uint32_t *k_of_mid; /* k + 1; 0: none, UINT32_MAX: no numbered message. */
    uint8_t *acked;     /* of k - first */
    uint32_t published;
    uint32_t acked_n;
    uint32_t unheard; /* Acknowledged, but nobody had subscribed. */
    uint32_t refused;
    unsigned reconnects;
    unsigned open; /* Messages without a number and without a PUBACK. */
    /* Told of each PUBACK of a message that had none yet; may be NULL. */
    void (*on_acked)(void *ctx, uint32_t k);
    void *ctx;
};

void ll_load_open(struct ll_load *l, const struct ll_options *opt);
void ll_load_close(struct ll_load *l);
/* What a bridge tells when it starts; returns when all of it is acknowledged. */
void ll_load_announce(struct ll_load *l);
/* Publish number first + published; false: not now. */
bool ll_load_publish(struct ll_load *l);
/* Take and send what is there, for at most @ms; reconnects when it must. */
void ll_load_turn(struct ll_load *l, int ms);
/* The same for somebody who waits with others: before and after poll(). */
int ll_load_fd(const struct ll_load *l);
bool ll_load_want_write(const struct ll_load *l);
void ll_load_work(struct ll_load *l);
void ll_load_meter(const struct ll_load *l, uint32_t k, char *to, size_t size);
uint64_t ll_load_measured_ms(const struct ll_load *l, uint32_t k);

/* --- nodes.c --- */

struct ll_nodes
{
    void *zmq;
    unsigned n;
    void *sock[LL_NODES_MAX];
    const struct ll_options *opt;
    uint64_t request;
};

void ll_nodes_open(struct ll_nodes *x, const struct ll_options *opt);
void ll_nodes_close(struct ll_nodes *x);
/* Forget what was asked of node @k, which is dead. */
void ll_nodes_reset(struct ll_nodes *x, unsigned k);
/* The node (1..) that says of itself that it is on watch, of the newest term; 0: none
 * within @ms. */
unsigned ll_nodes_active(struct ll_nodes *x, unsigned ms);
int ll_nodes_pid(const struct ll_nodes *x, unsigned node);

/* --- reading MessagePack: at the value of @key, or bad --- */

struct sy_cur ll_inside(struct sy_cur c, const char *key);
uint64_t ll_uint(struct sy_cur c, const char *key);
void ll_str(struct sy_cur c, const char *key, char *to, size_t size);

/* --- util --- */

uint64_t ll_now_us(void);
uint64_t ll_wall_ms(void);
void ll_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* "what: n times, p50 ... ms, p99 ... ms, max ... ms"; sorts @us. */
void ll_print_times(const char *what, uint64_t *us, size_t n);

/* --- what it can do: exit codes --- */

int ll_publish(const struct ll_options *opt);
int ll_stream(const struct ll_options *opt);
int ll_sink(const struct ll_options *opt);
int ll_kill(const struct ll_options *opt);
int ll_latency(const struct ll_options *opt);
int ll_drain(const struct ll_options *opt);

#endif /* BENCH_LOSSLESS_H */

/* A store to play with: feeds it entries and writes down what it tells. */

#ifndef TESTS_REPLICATION_WORLD_H
#define TESTS_REPLICATION_WORLD_H

#include "replication/store.h"
#include "replication/store_impl.h"

enum {
    A = 0xa1, /* Two devices in area 1, and one nobody knows. */
    B = 0xb2,
    STRANGER = 0xee
};

#define T0 1764000000000U /* When the tests begin. */

struct world
{
    struct rp_store *s;
    void *mem;
    struct rp_batch b;
    struct sy_buf entry;
    struct sy_buf trace; /* One line per event, terminated. */
    uint64_t now_ms;
    uint64_t index;
};

void world_open(struct world *w, const struct rp_limits *l); /* NULL: small ones */
/* With area "north" and devices A, B named "a" and "b", the trace empty. */
void world_with_devices(struct world *w, const struct rp_limits *l);
void world_close(struct world *w);
/* Seal what is in the batch, apply it at now_ms, check the invariants. */
void world_apply(struct world *w);
/* The trace since the last call. */
const char *world_trace(struct world *w);

/* One input, applied at once. */
void world_report(struct world *w, uint64_t ieee, enum rp_switch state,
                  uint64_t last_seen_ms, uint64_t hash);
void world_report_full(struct world *w, const struct rp_report *r);
void world_command(struct world *w, const char *id, uint64_t ieee, const char *value,
                   uint64_t deadline_ms);
void world_sent(struct world *w, uint64_t seq, uint32_t attempt);
void world_tick(struct world *w, uint64_t now_ms);

/* Everything a store promises of itself at any time. */
void check_invariants(const struct rp_store *s);

/* The whole snapshot. */
void take_snapshot(struct rp_store *s, struct sy_buf *to);
/* In portions of @portion bytes. */
int restore_from(struct rp_store *s, const uint8_t *p, size_t n, size_t portion,
                 struct sy_errbuf *eb);

/* Small numbers that look random and are the same in each run. */
uint64_t next_random(uint64_t *seed);
/* A batch of a few inputs of all kinds, many of them meaningless. */
void random_inputs(struct rp_batch *b, uint64_t *seed, const struct rp_store *s);

#endif

/* What the tests of the replica share: a cluster in one process, on one loop, in
 * folders of its own. */

#ifndef TESTS_NODE_REPLICA_RIG_H
#define TESTS_NODE_REPLICA_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/replica.h"
#include "node/replica_impl.h"

enum { RIG_NODES = 3, RIG_DEVICES = 100 };

struct rig_node
{
    struct rig *rig;
    unsigned id;
    char dir[96];
    struct nd_replica_config config;
    struct nd_replica *r; /* NULL: not open */
    struct sy_log log;
    char lines[65536];
    size_t lines_len;
    bool closed;
    uint64_t events[RP_EV_NR];
    uint64_t changes;
    uint64_t frames;
    uint64_t frame_bytes;
    uint64_t breaks; /* links that broke */
};

struct rig
{
    uv_loop_t loop;
    uv_timer_t pulse;
    char dir[64];
    struct rig_node nodes[RIG_NODES + 1]; /* by id */
    uint64_t reports;                     /* made so far, all different */
    uint64_t stall_us;                    /* longest turn of the loop, all nodes */
};

/* A promise to tell, and what came of it. */
struct rig_wait
{
    struct nd_wait wait;
    unsigned fired;
    int status;
    uint64_t order; /* counted over all */
    uint64_t applied;
    struct nd_replica *r;
};

/* Folders and configurations, nothing bootstrapped or opened. */
void rig_prepare(struct rig *r);
void rig_bootstrap(struct rig *r, unsigned id);
/* All of it: the nodes run. */
void rig_init(struct rig *r);
/* Closes what is open; the loop must be empty then; removes the folders. */
void rig_fini(struct rig *r);

int rig_try_open(struct rig *r, unsigned id, struct sy_errbuf *eb);
void rig_open(struct rig *r, unsigned id);
void rig_close(struct rig *r, unsigned id);
void rig_turn(struct rig *r);
/* Turns of the loop until it holds; fails the test after ten seconds. */
#define RIG_UNTIL(R, CONDITION)                                 \
    do {                                                        \
        uint64_t until_ = uv_hrtime() + 10000000000ULL;         \
        while (!(CONDITION)) {                                  \
            if (uv_hrtime() > until_) {                         \
                rig_complain(R);                                \
                fail_msg("waited in vain for: %s", #CONDITION); \
            }                                                   \
            rig_turn(R);                                        \
        }                                                       \
    } while (0)
void rig_complain(const struct rig *r);

/* The leader that every open node knows of; 0: none, or they disagree. */
unsigned rig_leader(const struct rig *r);
/* Waits for one. */
unsigned rig_led(struct rig *r);
/* Have all open nodes applied the same, and all that is in the log? */
bool rig_level(const struct rig *r);
/* ... which must then be the same state. */
void rig_same_state(struct rig *r);
bool rig_said(const struct rig *r, unsigned id, const char *what);

/* An area and the devices, through node @id. */
void rig_seed(struct rig *r, unsigned id);
/* @n reports of as many devices, appended to the batch of @id; not waited for. */
void rig_report(struct rig *r, unsigned id, unsigned n);
void rig_wait(struct rig *r, unsigned id, struct rig_wait *w);
/* @n reports, applied on @id when this returns. */
void rig_load(struct rig *r, unsigned id, unsigned n);

#endif /* TESTS_NODE_REPLICA_RIG_H */

/* A site in one process: whole nodes on simulated disks, network and clocks, in a
 * simulated world. */

#ifndef TESTS_SIM_SITE_H
#define TESTS_SIM_SITE_H

#include "tests/sim/sim.h"

enum site_where { SITE_BROKER, SITE_PG };

enum site_mutant {
    SITE_SOUND,
    SITE_ACK_EARLY,
    SITE_NO_FENCE,
    SITE_SPLIT_TX,
    SITE_NO_LEASE_NO_TAKEOVER,
    SITE_LATE_COMMAND,
    SITE_NO_DEDUP,
    SITE_APPLY_TWICE
};

struct world;

struct site
{
    struct sim *sim;
    struct world *world;
    enum site_mutant mutant;
};

extern struct site *site_now;
unsigned site_self(void);
uint32_t site_life(unsigned node);

typedef void (*site_fn)(void *ctx, uint64_t arg);
void site_post(struct site *s, unsigned node, uint64_t delay_ms, site_fn fn, void *ctx,
               uint64_t arg);
uint64_t site_random(struct site *s);
uint64_t site_below(struct site *s, uint64_t n);
uint64_t site_ms(struct site *s);
bool site_reach(struct site *s, unsigned node, enum site_where where, bool to);

#endif /* TESTS_SIM_SITE_H */

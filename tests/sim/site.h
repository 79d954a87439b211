/* A site in one process: whole nodes - node/ as it is, on the real core, log and state
 * machine - on simulated disks, network and clocks, in a simulated world (world.h).
 *
 *   sim*.c            cores, logs, disks, links between nodes, events, one seed
 *   site.c            a node's life on top of its core; turns; links
 *   site_ports.c      libuv's timers, clocks, requests of callers
 *   site_faults.c     what befalls a site, phase by phase
 *   world*.c          broker, Postgres, bridges, meters, and what must hold of them
 *
 * node/replica_turn.c runs as it is; what replica.c does with a loop, site.c does with
 * events. One node is on the stack at a time: site_self(). */

#ifndef TESTS_SIM_SITE_H
#define TESTS_SIM_SITE_H

#include <uv.h>

#include "node/node.h"
#include "node/replica_impl.h"
#include "tests/sim/sim.h"

enum { SITE_TIMERS = 8, SITE_CALLERS = 3 };

enum site_where { SITE_BROKER, SITE_PG, SITE_WHERE_NR };

/* Rules broken on purpose, to see that the checks notice. */
enum site_mutant {
    SITE_SOUND,
    SITE_ACK_EARLY,            /* A burst is acknowledged before it is committed. */
    SITE_NO_FENCE,             /* Postgres does not compare the term. */
    SITE_SPLIT_TX,             /* The watermark is not in the transaction of the rows. */
    SITE_NO_LEASE_NO_TAKEOVER, /* The broker lets two sessions of one id live. */
    SITE_LATE_COMMAND,         /* Deadlines are not looked at before a publish. */
    SITE_NO_DEDUP,             /* Redelivered messages are new ones. */
    SITE_MUTANTS
};
extern const char *const site_mutants[SITE_MUTANTS];

struct site;
struct world;

struct site_timer
{
    uv_timer_t *uv; /* NULL: free */
    uv_timer_cb cb; /* NULL: not running */
    uint64_t repeat;
    uint64_t nr; /* Of the latest start. */
};

struct site_node
{
    struct site *site;
    unsigned id;
    struct sim_node *x;
    struct nd_node *n;    /* NULL: down */
    struct nd_replica *r; /* with the store; NULL: down */
    int64_t clock_off_ms; /* its wall clock against the true time */
    bool linked[SIM_NODES_MAX + 1];
    struct site_timer timers[SITE_TIMERS];
};

/* Somebody with vagtctl: one command at a time, asked again elsewhere if nobody
 * answers, always with the same id. */
struct site_caller
{
    unsigned nr;
    unsigned count;
    char id[32];
    struct sy_buf request; /* len 0: nothing is asked */
    unsigned node;         /* whom */
    uint64_t asked_ms;
    unsigned tries;
};

struct site_stats
{
    uint64_t asked, answered, given_up, pauses, jumps, cuts, full, vanished, graceful,
        suicides;
};

struct site
{
    struct sim *sim;
    struct world *world;
    enum site_mutant mutant;
    unsigned self;
    struct site_node nodes[SIM_NODES_MAX + 1];
    /* From and to the outside: [node][where][to the outside]. */
    bool blocked[SIM_NODES_MAX + 1][SITE_WHERE_NR][2];
    struct site_caller callers[SITE_CALLERS];
    bool calling;     /* Callers begin new commands. */
    unsigned witness; /* 0: none */
    struct site_stats stats;
};

extern struct site *site_now;

/* --- for the world --- */

unsigned site_self(void); /* The node on the stack; 0: none, the outside. */
uint32_t site_life(unsigned node);

typedef void (*site_fn)(void *ctx, uint64_t arg);
/* Later, on @node (0: outside). Dropped when that node has died meanwhile; if it is
 * paused, at its wake-up. */
void site_post(struct site *s, unsigned node, uint64_t delay_ms, site_fn fn, void *ctx,
               uint64_t arg);
uint64_t site_random(struct site *s);
uint64_t site_below(struct site *s, uint64_t n);
uint64_t site_ms(struct site *s); /* true time */
/* Does a packet between @node and @where get through, this way? */
bool site_reach(struct site *s, unsigned node, enum site_where where, bool to);

/* --- a run --- */

struct site *site_new(unsigned nodes, uint64_t seed);
void site_boot(struct site *s);
void site_destroy(struct site **s);
/* Faults, then healing: all must end well. */
void site_torture(struct site *s);
uint64_t site_digest(const struct site *s);

/* By hand; not from inside an event of that node. */
void site_kill(struct site *s, unsigned node);   /* kill -9 */
void site_vanish(struct site *s, unsigned node); /* power; the disk may forget */
void site_stop(struct site *s, unsigned node);   /* SIGTERM */
void site_start(struct site *s, unsigned node);
void site_pause(struct site *s, unsigned node, uint64_t ms);
void site_heal(struct site *s);
void site_run(struct site *s, uint64_t ms);
unsigned site_watch(const struct site *s); /* the node on watch, of the newest term; 0 */
/* Healed, calling nobody: until nothing waits any more. Fails after @ms. */
void site_settle(struct site *s, uint64_t ms);

/* site.c, for its parts */
struct site_node *site_of(struct site *s, unsigned node);
/* site_ports.c */
void site_timers_clear(struct site_node *o);
void site_callers_begin(struct site *s);
void site_callers_free(struct site *s);
bool site_callers_idle(const struct site *s);

#endif /* TESTS_SIM_SITE_H */

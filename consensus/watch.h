/* The watch: may this node touch the outside world, and since when.
 *
 * A pure state machine fed with levels. It performs no I/O, reads no clock and
 * allocates nothing: the caller passes what holds now, and gets back the one
 * effect to carry out. Same levels in, same effects out, always.
 *
 *             own-term barrier applied         ports up
 *   STANDBY --------------------------> RAMPING --------> ACTIVE
 *      ^                                   |                |
 *      | ports down                        | term changed,  | the same
 *      |                                   | diverged       |
 *      +------------- DRAINING <-----------+----------------+
 *                        |
 *                        | deadline: DIE
 *
 * Safety: ports run for one term at a time. A new term drains even when this
 * node won again, because another watch may have lived in between. Ramping
 * waits for a barrier of the own term: only then is all that earlier watches
 * did known here (Raft, section 8: "a leader must have the latest information on
 * which entries are committed"). Draining ends or the process does: what cannot
 * be stopped would act for a watch that is over.
 * Liveness: leadership is a level, not an edge, so an election won while still
 * draining is acted upon as soon as the ports are down. */

#ifndef CS_WATCH_H
#define CS_WATCH_H

#include <stdbool.h>
#include <stdint.h>

enum cs_watch_state { CS_STANDBY, CS_RAMPING, CS_ACTIVE, CS_DRAINING, CS_WATCH_NR };

/* DIE: a port did not stop in time and may still act, so the only safe thing
 * left is to end the process. */
enum cs_watch_effect { CS_DO_NOTHING, CS_DO_START, CS_DO_STOP, CS_DO_DIE };

/* What holds now. Everything is a level: repeat it as often as you like. */
struct cs_watch_levels
{
    uint64_t now_ms;       /* monotonic */
    uint64_t leader_term;  /* the term this node leads; 0: it does not */
    uint64_t barrier_term; /* newest term whose own barrier is applied here */
    bool ports_up;         /* all ports run */
    bool ports_down;       /* no port runs: nothing can reach the outside */
    bool diverged;         /* the state differs from the cluster's: never act */
};

/* Owned and embedded by the caller; fields are private to watch.c. */
struct cs_watch
{
    uint32_t drain_timeout_ms;
    enum cs_watch_state state;
    uint64_t leader_term; /* Latest level seen. */
    uint64_t ports_term;  /* Term the ports run for; 0 in STANDBY. */
    uint64_t drain_deadline_ms;
    uint64_t since_ms; /* Of the present state. */
};

void cs_watch_init(struct cs_watch *w, uint32_t drain_timeout_ms);

/* Feed the levels, get the one effect to carry out. Never fails. */
enum cs_watch_effect cs_watch_step(struct cs_watch *w, const struct cs_watch_levels *l);

/* Asked before each outside effect: on watch for the term that it leads, and a
 * majority was heard so recently that nobody else can have been elected in the
 * ordinary way. @now_ms must be read freshly, so that a process that wakes from
 * a pause does not act. Fast relief makes this a courtesy and not a proof: the
 * proof is the term, checked where the effect lands. */
bool cs_watch_may_act(const struct cs_watch *w, uint64_t now_ms, uint64_t lease_until_ms);

enum cs_watch_state cs_watch_state(const struct cs_watch *w);
uint64_t cs_watch_term(const struct cs_watch *w);           /* ports_term */
uint64_t cs_watch_drain_deadline(const struct cs_watch *w); /* 0: not draining */
const char *cs_watch_state_name(enum cs_watch_state s);

#endif /* CS_WATCH_H */

/* Failover drills (docs/adr/0025): a real failure, on purpose, measured from outside.
 *
 *   operator -> leader: drill KIND            is the site ready? who could coordinate?
 *   leader: RP_IN_DRILL "running", with the coordinator, one of the standbys
 *   coordinator (drill_run.c):
 *
 *     PRELUDE ---------> QUIET ---------> FAULT --------> COUNT ----> REPORT
 *     canaries flow,     no command is    what happens,   are all     until it is
 *     each answers       on its way       when            there?      in the log
 *        | in vain           |               | over budget   |
 *        '-------------------+---------------+---------------'---> REPORT: failed
 *
 * The fault is done by the node on watch to itself (drill_fault.c), on the word of the
 * coordinator that the log names, and for a limited time: it ends by itself, or when the
 * drill does. A coordinator that dies leaves a drill that the leader ends as failed. */

#ifndef ND_DRILL_H
#define ND_DRILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/canary.h"
#include "node/config.h"
#include "replication/store.h"

struct nd_node;
struct nd_request;
struct nd_drill_run;

enum nd_drill_kind {
    ND_DRILL_HANDOVER,
    ND_DRILL_KILL,
    ND_DRILL_VANISH,
    ND_DRILL_BROKER,
    ND_DRILL_POSTGRES,
    ND_DRILL_BRIDGE,
    ND_DRILL_FULL,
    ND_DRILL_KINDS
};

/* What is measured, from the fault on. */
enum nd_drill_phase {
    ND_PHASE_DETECTED,
    ND_PHASE_ELECTED,
    ND_PHASE_ACTING,
    ND_PHASE_ADDRESS,
    ND_PHASE_BROKER,
    ND_PHASE_BRIDGES,
    ND_PHASE_COMMAND, /* the first one after it is confirmed */
    ND_PHASE_AREAS,   /* in each area one is */
    ND_PHASE_ROW,     /* the first reading after it is in Postgres */
    ND_PHASE_ALL_ROWS,
    ND_PHASES
};

enum {
    ND_DRILL_BUDGET_MS = 60000,
    ND_DRILL_BUDGET_MIN_MS = 5000,
    ND_DRILL_BUDGET_MAX_MS = 600000,
    ND_DRILL_PRELUDE_MS = 30000, /* until canaries flow */
    ND_DRILL_COUNT_MS = 30000,   /* until all of them are in Postgres */
    ND_DRILL_LOST_PPM = 100,     /* 0.01 % */
    ND_DRILL_CANARY_SIZE = 320,
    ND_DRILL_WHY_SIZE = 240
};

#define ND_DRILL_PHASE_NONE UINT32_MAX /* not measured */

/* What a drill has shown; goes into the log as a map (drill_report.c). */
struct nd_drill_report
{
    char by[RP_PROP_SIZE];               /* "operator", "schedule" */
    uint64_t coordinator, before, after; /* node ids */
    uint64_t budget_ms, fault_ms;        /* length of the fault, if it has one */
    uint64_t fault_at_ms;                /* Unix time; 0: it did not come to it */
    char canary[ND_DRILL_CANARY_SIZE]; /* "area1=DEVICE,...": real ones to be switched */
    uint32_t phase[ND_PHASES];         /* ms after the fault */
    bool counted;                      /* sent and the three below are known */
    uint64_t sent, rows, lost, doubled;
    uint64_t commands, confirmed;
    uint32_t usual_ms; /* a command, before the fault */
    char why[ND_DRILL_WHY_SIZE];
};

/* --- drill_report.c: pure --- */

extern const char *const nd_drill_kinds[ND_DRILL_KINDS];
extern const char *const nd_drill_phases[ND_PHASES];
/* ND_DRILL_KINDS: there is no such kind. */
enum nd_drill_kind nd_drill_kind_of(const char *name);
/* Does the watch change hands? */
bool nd_drill_relieves(enum nd_drill_kind kind);
void nd_drill_report_init(struct nd_drill_report *r);
/* Cut to what a record holds. */
void nd_drill_report_put(const struct nd_drill_report *r, struct sy_buf *b);
void nd_drill_report_get(struct nd_drill_report *r, const struct rp_drill *d);
/* Were the targets met? Else r->why says which not, if it does not say anything yet. */
bool nd_drill_judge(struct nd_drill_report *r, enum nd_drill_kind kind,
                    bool has_postgres);
/* The last "Sun 03:00" or "03:00" (local) that is not after @now_ms; 0: not understood.
 */
uint64_t nd_drill_due_ms(uint64_t now_ms, const char *at);

/* --- drill.c --- */

struct nd_drill
{
    struct nd_config_area area; /* of the canaries; enabled: a drill runs */
    struct nd_drill_run *run;   /* of the coordinator */
    uint64_t look_ms, missed_ms;
    /* What is done to this node (drill_fault.c), until when; 0: nothing. */
    uint64_t fault_nr, until_ms;
    bool muted, no_postgres, no_brokers;
};

/* The one that runs; NULL: none does. */
const struct rp_drill *nd_drill_running(const struct nd_node *n);
void nd_drill_init(struct nd_node *n);
void nd_drill_event(struct nd_node *n, const struct rp_event *ev);
void nd_drill_changed(struct nd_node *n); /* anything: role, term, links */
void nd_drill_tend(struct nd_node *n);    /* every 100 ms */
void nd_drill_close(struct nd_node *n);
void nd_drill_frame(struct nd_node *n, uint64_t from, const uint8_t *p, size_t len);
/* To a node, this one included; a map with "do" and "nr". */
void nd_drill_tell(struct nd_node *n, uint64_t to, const struct sy_buf *b);
void nd_drill_issues(struct nd_node *n,
                     void (*tell)(void *data, bool error, const char *text), void *data);
void nd_op_drill(struct nd_request *q);
void nd_op_drills(struct nd_request *q);

/* --- drill_fault.c --- */

/* Why this fault cannot be done here; NULL: it can. */
const char *nd_drill_cannot(struct nd_node *n, enum nd_drill_kind kind);
/* How long it lasts, if not for a moment. */
uint64_t nd_drill_fault_ms(const struct nd_node *n, enum nd_drill_kind kind,
                           uint64_t budget_ms);
/* Sentences of what will be done, an array of strings. */
void nd_drill_put_plan(struct nd_node *n, struct sy_buf *b, enum nd_drill_kind kind,
                       uint64_t coordinator, uint64_t budget_ms, const char *canary);
void nd_drill_fault(struct nd_node *n, uint64_t nr, enum nd_drill_kind kind, uint64_t ms);
void nd_drill_fault_tend(struct nd_node *n);
void nd_drill_restore(struct nd_node *n);

/* --- drill_run.c --- */

void nd_drill_run_begin(struct nd_node *n, const struct rp_drill *d);
void nd_drill_run_look(struct nd_node *n);
void nd_drill_run_command(struct nd_node *n, const struct rp_command *c);
/* Did the process before this one coordinate it, and left what it knew? */
bool nd_drill_carried(const struct nd_node *n, uint64_t nr);
/* The drill is over, or the process ends. */
void nd_drill_run_end(struct nd_node *n);

#endif /* ND_DRILL_H */

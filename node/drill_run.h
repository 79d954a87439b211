/* The coordinator of a drill, as drill_run.c (what happens when) and drill_traffic.c
 * (what is sent and comes back) share it. */

#ifndef ND_DRILL_RUN_H
#define ND_DRILL_RUN_H

#include "adapters/postgres/canary.h"
#include "node/node.h"

enum nd_stage { ND_PRELUDE, ND_QUIET, ND_FAULT, ND_COUNT, ND_REPORT };

/* One for each area: a virtual device, and what commands go to. */
struct nd_target
{
    char area[RP_NAME_SIZE];   /* of the command: the canaries', or the site's */
    char device[RP_NAME_SIZE]; /* of the command */
    char canary[RP_NAME_SIZE]; /* the virtual one */
    enum rp_switch answer;     /* what it was asked for; RP_SWITCH_UNKNOWN: nothing */
    char value[4];
    char id[RP_ID_SIZE]; /* "": no command is under way */
    uint64_t again_ms;
    bool confirmed; /* in this stage */
};

struct nd_drill_run
{
    struct nd_node *node;
    uint64_t nr, began_ms;
    enum nd_drill_kind kind;
    struct nd_drill_report report;
    enum nd_stage stage;
    uint64_t stage_ms, fault_ms, fault_again_ms; /* monotonic */
    bool passed, was_down;

    uv_timer_t timer;
    struct ad_mqtt *mqtt;
    struct ad_pg_canary *pg;
    unsigned open_parts;
    struct sy_errbuf eb;

    struct nd_target targets[ND_AREAS_MAX];
    unsigned targets_n, next_target;
    uint64_t commands; /* given, of all stages: numbers of ids */
    struct nd_canary_flight flight;
    uint64_t reading_ms, count_ms, at_ms; /* the next; the last one's time */
    uint64_t base, fault_number;
    uint64_t term; /* before the fault */
    struct ad_pg_canary_count count;
    bool counted; /* since the last reading was confirmed */
};

/* drill_run.c */
void nd_drill_mark(struct nd_drill_run *r, enum nd_drill_phase phase);

/* drill_carry.c: to the next life of this process */
void nd_drill_carry(const struct nd_drill_run *r);
/* False: there was nothing of this drill, and nothing has changed. */
bool nd_drill_resume(struct nd_drill_run *r);

/* drill_traffic.c */
SY_MUST_USE bool nd_drill_traffic_open(struct nd_drill_run *r);
void nd_drill_traffic_close(struct nd_drill_run *r, void (*part_closed)(void *data));
void nd_drill_traffic_tick(struct nd_drill_run *r, uint64_t now);
bool nd_drill_all_confirmed(const struct nd_drill_run *r);
bool nd_drill_command_open(const struct nd_drill_run *r);
uint64_t nd_drill_leader(const struct nd_drill_run *r);
/* A map for another node, with so many pairs more. */
void nd_drill_map(const struct nd_drill_run *r, struct sy_buf *b, const char *what,
                  uint32_t more);

#endif /* ND_DRILL_RUN_H */

/* The tie-breaker of two nodes, as it runs in a node: consensus/tie.h joined with
 * Postgres, the log and the peers (tie.c). */

#ifndef ND_TIE_H
#define ND_TIE_H

#include "adapters/postgres/tie.h"
#include "consensus/core.h"
#include "consensus/tie.h"
#include "node/config.h"

/* The epoch that the process before this one has won. */
#define ND_TIE_ENV "VAGT_TIE_CONFIRMED"

/* What a peer said of itself over the present connection. */
struct nd_tie_peer
{
    bool told;
    uint64_t epoch; /* the fact tie.epoch as applied there */
    uint64_t out;   /* leads alone, without us, under this epoch; 0 */
    bool empty;     /* has no log: take it in */
};

struct nd_tie
{
    bool on;
    struct cs_tie m;
    struct cs_tie_levels l; /* as of the last look */
    struct ad_pg_tie *pg;   /* NULL: not open */

    struct nd_tie_peer peers[CS_ID_MAX + 1];
    uint64_t peer;      /* the other voter of two; 0: there are not two */
    bool broken;        /* its connection broke, and has not come back */
    bool was_led;       /* the peer led when it was last heard */
    uint64_t silent_ms; /* since when; 0: it is not */
    uint64_t empty_ms;  /* since when it has lost its log; 0: it has not */
    uint64_t held, held_last, held_term; /* the highest tie.epoch not applied yet */
    uint64_t look_ms;                    /* when to look at the row next */
    uint64_t proposed_ms, proposed;
    uint64_t barrier_ms, member_ms;
    uint64_t row_ms; /* when the row was last seen */
    uint32_t widen;  /* the voters that somebody wants (nd_tie_widen) */
    uint64_t widen_until_ms;
    bool again;   /* end, and begin anew in this process's place */
    bool stopped; /* but somebody wants it to end */
};

#endif /* ND_TIE_H */

/* What the site asks for: rows of meter_commands, dead letters that are to be tried
 * again. Looked at between two batches, in groups of statements of their own, so that
 * whatever is wrong with these tables costs no reading.
 *
 *   NOTIFY, the poll, more to be seen
 *      -> LOOK ----> known to the ledger: its row lags? -----------> answers
 *              \---> unknown: the owner decides: the ledger, or ---> answers
 *      -> LETTERS -> the owner
 *   answers, letters that are done -> ANSWER (under the fence)
 *
 * Nothing is taken from a table that was not seen to let us write into it. */

#ifndef AD_POSTGRES_ASKS_H
#define AD_POSTGRES_ASKS_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "adapters/postgres/literal.h"
#include "replication/model.h"

enum {
    AD_PG_ASKS_MAX = 500,     /* rows of one look; pending ones, and others */
    AD_PG_ANSWERS_MAX = 1000, /* waiting to be written; the rest is shown again */
    AD_PG_REPLAYS_MAX = 50,   /* letters shown and not done */
    AD_PG_ROW_ID_SIZE = 1024  /* 255 characters */
};

struct ad_pg_answer
{
    char *id;
    char status[16];
    char text[RP_TEXT_SIZE];
    uint32_t attempts;
    uint64_t accepted_ms, sent_ms, finished_ms;
};

struct ad_pg_replay
{
    uint64_t id; /* 0: free */
    bool done;   /* to be written */
    bool sent;   /* in the group that is under way */
    char why_not[RP_TEXT_SIZE];
};

struct ad_pg_asks
{
    uv_timer_t timer; /* the next look */

    /* Due: */
    bool listen;
    bool look;    /* pending rows */
    bool others;  /* the other open ones, some of them */
    bool letters; /* that are to be tried again */

    bool able;         /* The table lets us write, as far as we know. */
    bool more;         /* There are more pending rows than were seen. */
    bool replays_held; /* They could not be written: at the next poll again. */
    uint64_t looked_ms;
    uint64_t revision;             /* where Postgres was when we looked */
    char after[AD_PG_ROW_ID_SIZE]; /* the last one of the others that was seen */
    PGresult *pending_rows, *other_rows, *letter_rows;

    struct ad_pg_answer *answers;
    unsigned answers_n, answers_sent;
    unsigned answers_max; /* in one group */
    struct ad_pg_columns columns;
    struct ad_pg_columns marks;
    struct ad_pg_replay replays[AD_PG_REPLAYS_MAX];
};

#endif /* AD_POSTGRES_ASKS_H */

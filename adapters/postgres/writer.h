/* Inside of the writer: one connection, one group of statements under way.
 *
 *   connect -> HELLO (schema, end what is left of older terms)
 *           -> CLAIM (the fence row gets our term and tells how far it is)
 *           -> BATCH, BATCH, ... each one transaction
 *
 * A batch that fails is followed by a CLAIM: the row decides whether another
 * term writes or this batch is in already. Everything else that goes wrong drops
 * the connection and begins again, since only a new look at the row is sure. */

#ifndef AD_POSTGRES_WRITER_H
#define AD_POSTGRES_WRITER_H

#include "adapters/postgres/batch.h"
#include "adapters/postgres/connect.h"
#include "adapters/postgres/postgres.h"

enum ad_pg_step { AD_PG_NOTHING, AD_PG_HELLO, AD_PG_CLAIM, AD_PG_BATCH };

enum ad_pg_cmd {
    AD_PG_CMD_SCHEMA,
    AD_PG_CMD_EVICT,
    AD_PG_CMD_ROLLBACK,
    AD_PG_CMD_BEGIN,
    AD_PG_CMD_SETTINGS,
    AD_PG_CMD_SEED,
    AD_PG_CMD_CLAIM,
    AD_PG_CMD_READ,
    AD_PG_CMD_FENCE,
    AD_PG_CMD_READINGS,
    AD_PG_CMD_RETIRE,
    AD_PG_CMD_METERS,
    AD_PG_CMD_IDENTITY,
    AD_PG_CMD_UNTOLD,
    AD_PG_CMD_COMMIT,
    AD_PG_CMD_SYNC
};

enum { AD_PG_CMDS_MAX = 16, AD_PG_NUMBER_SIZE = 24, AD_PG_BACKOFF_FIRST_MS = 500 };

/* The fence row as the last CLAIM found it. */
struct ad_pg_row
{
    bool found;
    bool claimed; /* it has our term now */
    uint64_t term, shipped, revision;
    char node[RP_NAME_SIZE];
};

struct ad_pg
{
    uv_loop_t *loop;
    const struct sy_log *log;
    const struct rp_store *store;
    struct ad_pg_config config; /* conninfo is NULL: the connection has its copies */
    struct ad_pg_callbacks cb;
    void *data;
    uint64_t term;
    struct ad_pg_status status;

    struct ad_pg_conn conn;
    uv_timer_t work; /* backoff while down; filling a batch while up */
    uv_timer_t dog;  /* the server must answer */
    unsigned open_parts;
    void (*closed)(void *data);
    bool closing;
    bool ready;    /* the row is ours, batches may go */
    bool doubtful; /* the last batch was refused: not up before one is in */
    bool halted;   /* fenced: never again */
    unsigned backoff_ms;
    uint64_t up_since; /* loop time; 0: never */
    uint64_t random;

    /* The group of statements under way. */
    enum ad_pg_step step;
    enum ad_pg_cmd cmds[AD_PG_CMDS_MAX];
    unsigned cmds_nr, cmd;
    bool in_transaction; /* a failed one that must be rolled back first */
    bool send_failed;
    bool failed;
    enum ad_pg_cmd failed_cmd;
    char sqlstate[6];
    char why[256];

    struct ad_pg_row row;
    uint64_t schema;
    uint64_t inserted;
    char term_text[AD_PG_NUMBER_SIZE];
    char timeout_text[AD_PG_NUMBER_SIZE];

    /* Where Postgres is, and what of it may not have been told yet. */
    uint64_t shipped, revision;
    bool urgent;  /* The batch is full, nothing to wait for. */
    bool pausing; /* A kick must not shorten this wait. */

    struct ad_pg_batch batch;
    struct ad_pg_batch_limits limits;
    unsigned refused_in_a_row;
};

/* writer.c */
void ad_pg_lost(struct ad_pg *p, const char *why);
/* The row is ours. */
void ad_pg_ready(struct ad_pg *p);
/* Say so, unless there is reason to doubt that batches will go through. */
void ad_pg_up(struct ad_pg *p);
void ad_pg_reset_backoff(struct ad_pg *p);
void ad_pg_halt(struct ad_pg *p);
void ad_pg_send_claim(struct ad_pg *p);
void ad_pg_schedule(struct ad_pg *p);
void ad_pg_pause(struct ad_pg *p); /* then go on */
void ad_pg_again(struct ad_pg *p); /* go on in the next turn */
/* results.c */
void ad_pg_pump(void *data);

#endif /* AD_POSTGRES_WRITER_H */

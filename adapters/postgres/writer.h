/* Inside of the writer: one connection, one group of statements under way.
 *
 *   connect -> HELLO (schema, end what is left of older terms)
 *           -> CLAIM (the fence row gets our term and tells how far it is)
 *           -> BATCH, BATCH, ... each one transaction; between them
 *              LISTEN, LOOK, LETTERS, ANSWER (asks.h), UPKEEP
 *
 * A batch that fails is followed by a CLAIM: the row decides whether another
 * term writes or this batch is in already. Everything else that goes wrong with a
 * batch drops the connection and begins again, since only a new look at the row is
 * sure. What goes wrong in between is said in the status, and tried again later.
 *
 *   writer.c   life, the link, when what      send.c     the groups, as statements
 *   results.c  what the server answers        refusals.c rows it refuses
 *   asks.c     what the site asks for         upkeep.c   partitions, retention
 *   batch*.c   rows                           connect.c  the socket */

#ifndef AD_POSTGRES_WRITER_H
#define AD_POSTGRES_WRITER_H

#include "adapters/postgres/asks.h"
#include "adapters/postgres/batch.h"
#include "adapters/postgres/connect.h"
#include "adapters/postgres/postgres.h"

enum ad_pg_step {
    AD_PG_NOTHING,
    AD_PG_HELLO,
    AD_PG_CLAIM,
    AD_PG_BATCH,
    AD_PG_LISTEN,
    AD_PG_LOOK,
    AD_PG_LETTERS,
    AD_PG_ANSWER,
    AD_PG_UPKEEP
};

enum ad_pg_cmd {
    AD_PG_CMD_SCHEMA,
    AD_PG_CMD_PID,
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
    AD_PG_CMD_PATIENCE,
    AD_PG_CMD_RESULTS,
    AD_PG_CMD_REFUSED,
    AD_PG_CMD_LETTERS,
    AD_PG_CMD_LISTEN,
    AD_PG_CMD_PROBE,
    AD_PG_CMD_PENDING,
    AD_PG_CMD_OTHERS,
    AD_PG_CMD_REPLAYS,
    AD_PG_CMD_ANSWERS,
    AD_PG_CMD_REPLAYED,
    AD_PG_CMD_UPKEEP,
    AD_PG_CMD_COMMIT,
    AD_PG_CMD_SYNC
};

enum { AD_PG_CMDS_MAX = 16, AD_PG_NUMBER_SIZE = 24, AD_PG_BACKOFF_FIRST_MS = 500 };

/* The fence row as the last CLAIM found it. */
struct ad_pg_row
{
    bool found;
    bool claimed; /* it has our term now */
    uint64_t term;
    struct ad_pg_marks at;
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
    uv_timer_t work;   /* backoff while down; filling a batch while up */
    uv_timer_t errand; /* what is due between batches */
    uv_timer_t dog;    /* the server must answer */
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
    uint64_t inserted, results_written, letters_written;
    char term_text[AD_PG_NUMBER_SIZE];
    char timeout_text[AD_PG_NUMBER_SIZE];

    struct ad_pg_marks at; /* where Postgres is */
    bool urgent;           /* The batch is full, nothing to wait for. */
    bool pausing;          /* A kick must not shorten this wait. */

    struct ad_pg_batch batch;
    struct ad_pg_batch_limits limits;
    unsigned refused_in_a_row;
    bool readings_apart;
    uint64_t rate_since, rate_rows; /* of readings, for the status */

    struct ad_pg_asks asks;
    bool said_pooled;    /* in the log */
    uint64_t upkeep_at;  /* loop time */
    uint64_t held_until; /* loop time; 0: nothing waits */
    char upkeep_says[512];
};

/* writer.c */
void ad_pg_lost(struct ad_pg *p, const char *why);
/* The row is ours. */
void ad_pg_ready(struct ad_pg *p);
/* Say so, unless there is reason to doubt that batches will go through. */
void ad_pg_up(struct ad_pg *p);
void ad_pg_reset_backoff(struct ad_pg *p);
void ad_pg_halt(struct ad_pg *p);
void ad_pg_schedule(struct ad_pg *p);
void ad_pg_pause(struct ad_pg *p); /* then go on */
void ad_pg_again(struct ad_pg *p); /* go on in the next turn */
void ad_pg_hold(struct ad_pg *p);  /* what waits is tried again after a while */
uint64_t ad_pg_wall_ms(void);
/* send.c */
void ad_pg_queue(struct ad_pg *p, enum ad_pg_cmd cmd, const char *sql, int n,
                 const char *const *values);
void ad_pg_queue_columns(struct ad_pg *p, enum ad_pg_cmd cmd, const char *sql, int n,
                         const struct ad_pg_columns *c);
/* Like the above, with the cluster as the first parameter. */
void ad_pg_queue_cluster_columns(struct ad_pg *p, enum ad_pg_cmd cmd, const char *sql,
                                 int n, const struct ad_pg_columns *c);
void ad_pg_queue_fence(struct ad_pg *p, const struct ad_pg_marks *from,
                       const struct ad_pg_marks *to);
void ad_pg_begin_step(struct ad_pg *p, enum ad_pg_step step);
/* @patience_ms: how long to wait for a lock; 0: as long as a statement may take. */
void ad_pg_begin_transaction(struct ad_pg *p, unsigned patience_ms);
void ad_pg_end_step(struct ad_pg *p);
void ad_pg_send_hello(struct ad_pg *p);
void ad_pg_send_claim(struct ad_pg *p);
void ad_pg_send_batch(struct ad_pg *p);
const char *ad_pg_number(char text[AD_PG_NUMBER_SIZE], uint64_t v);
/* results.c */
void ad_pg_pump(void *data);
/* refusals.c */
/* A batch failed for what is in it: true, and what was done about it. */
bool ad_pg_refused(struct ad_pg *p);
/* Does the error say that a row is wrong, and not the table or the server? */
bool ad_pg_data_error(const char *sqlstate);
/* A batch is in: more the next time. */
void ad_pg_raise_limits(struct ad_pg *p);
/* asks.c: what the site asks for */
void ad_pg_asks_init(struct ad_pg *p);
void ad_pg_asks_begin(struct ad_pg *p); /* The row is ours. */
void ad_pg_asks_end(struct ad_pg *p);   /* The connection is gone. */
void ad_pg_asks_free(struct ad_pg *p);
void ad_pg_asks_notified(struct ad_pg *p);
void ad_pg_asks_progress(struct ad_pg *p); /* Results are in. */
bool ad_pg_asks_due(const struct ad_pg *p);
void ad_pg_asks_send(struct ad_pg *p);                                  /* What is due. */
void ad_pg_asks_take(struct ad_pg *p, enum ad_pg_cmd cmd, PGresult *r); /* takes @r */
void ad_pg_asks_done(struct ad_pg *p, enum ad_pg_step step);
/* The table refuses what we write, or does not answer. */
void ad_pg_asks_trouble(struct ad_pg *p, const char *why);
/* upkeep.c */
bool ad_pg_upkeep_due(const struct ad_pg *p);
void ad_pg_upkeep_send(struct ad_pg *p);
void ad_pg_upkeep_take(struct ad_pg *p, const PGresult *r);
void ad_pg_upkeep_done(struct ad_pg *p);

#endif /* AD_POSTGRES_WRITER_H */

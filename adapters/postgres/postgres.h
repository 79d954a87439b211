/* The writer to Postgres: devices, readings, results of commands and dead letters out
 * of the replicated state, in batches, over one non-blocking connection in pipeline
 * mode; and what the site asks for, in: rows of meter_commands and dead letters that
 * are to be tried again.
 *
 * The owner's state is the outbox; this adapter only asks "what is next" through
 * the port below, writes it in one transaction under the fence row of the
 * cluster, and reports how far it got. A connection that breaks in the middle
 * of a commit leaves the outcome unknown: the next transaction finds out from
 * the fence row (vagt_fence.shipped).
 *
 * Between the batches it looks into meter_commands: told by NOTIFY, and every
 * poll_ms; behind a pooler, which has no sessions, only every poll_ms.
 *
 * Name resolution runs in the thread pool; connecting has a timeout;
 * reconnecting backs off 500 ms to 30 s with jitter. */

#ifndef AD_POSTGRES_POSTGRES_H
#define AD_POSTGRES_POSTGRES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/log.h"
#include "replication/store.h"

struct ad_pg_config
{
    const char *conninfo; /* libpq conninfo or URI; copied at open. Never logged. */
    char cluster[64];
    char node[RP_NAME_SIZE];
    unsigned connect_timeout_ms;   /* default 5,000 */
    unsigned statement_timeout_ms; /* default 10,000; also our own watchdog x2 */
    unsigned backoff_max_ms;       /* default 30,000 */
    unsigned batch_rows_max;       /* default 2,000 */
    unsigned batch_age_ms;         /* default 200: wait this long to fill a batch */
    unsigned poll_ms;              /* default 5,000: look for commands */
    unsigned retention_days;       /* default 90; 0: readings are kept for ever */
    unsigned partition_days;       /* default 7: made ahead */
    uint64_t seed;
};

void ad_pg_config_default(struct ad_pg_config *c);

enum ad_pg_link { AD_PG_DOWN, AD_PG_CONNECTING, AD_PG_UP };

struct ad_pg_status
{
    enum ad_pg_link link;
    char error[256];   /* one line, no password; empty when up */
    uint64_t since_ms; /* Unix time of the last change of link or error */
    uint64_t batches, rows_readings, rows_devices, rows_failed, reconnects;
    uint64_t fenced;     /* refused because another term writes */
    uint64_t schema;     /* version found, 0 unknown */
    uint64_t rows_per_s; /* readings, in the last second that had a batch */

    bool pooled;    /* behind a pooler: no session of our own */
    bool listening; /* NOTIFY wakes us; otherwise only the poll does */

    /* meter_commands */
    uint64_t rows_commands;    /* written back, refused and old ones too */
    uint64_t commands_open;    /* rows that have not ended, as last seen (<= 1,000) */
    char commands_error[256];  /* "": fine. Else no command is taken, and why */
    uint64_t commands_refused; /* rows that Postgres would not have changed */

    /* vagt_dead_letters */
    uint64_t rows_letters, letters_replayed;
    char letters_error[256]; /* "": fine. Else letters wait, and why */

    /* vagt_maintain() */
    char maintenance[512];  /* "": fine. Else what it could not do */
    uint64_t maintained_ms; /* Unix time of the last run without a fault, 0: never */
};

/* Ids of commands from the table: this and the id of the row. */
#define AD_PG_ID_PREFIX "pg:"

/* A row of meter_commands that is open and unknown to the ledger. Texts are never
 * NULL, cut where they are very long, and good until the callback returns. */
struct ad_pg_ask
{
    const char *id;    /* without AD_PG_ID_PREFIX; it fits into RP_ID_SIZE with it */
    const char *meter; /* meter_id: a name or an IEEE address */
    const char *command, *value;
    const char *status;    /* "pending", "accepted", "sent" */
    bool dated;            /* age_ms is known */
    uint64_t age_ms;       /* since created_at, by the clock of the server */
    bool expires;          /* expires_in_ms is known */
    int64_t expires_in_ms; /* until expires_at */
};

/* A dead letter that is to be tried again. */
struct ad_pg_retry
{
    uint64_t id;
    const char *area, *topic; /* area: "" if there was none */
    const void *payload;
    size_t len;
    uint64_t at_ms; /* when it came */
};

/* Callbacks come from the loop, never from inside a call. */
struct ad_pg_callbacks
{
    /* A batch is in: readings up to @reading_seq, changes up to @revision, dead
     * letters up to @letter_seq. */
    void (*shipped)(void *data, uint64_t reading_seq, uint64_t revision,
                    uint64_t letter_seq);
    void (*changed)(void *data); /* status */
    /* Another node writes in a newer term: the owner should step down. */
    void (*fenced)(void *data, uint64_t term);
    /* Rows in order of created_at. Each is shown again until the ledger knows it or
     * ad_pg_answer() was called for it; what is not dealt with now simply waits. */
    void (*commands)(void *data, const struct ad_pg_ask *asks, unsigned n);
    /* Shown once, and answered by ad_pg_retried() some time. */
    void (*retry)(void *data, const struct ad_pg_retry *letter);
};

struct ad_pg;

/* @store is read between loop turns; @term is the fence. Starts connecting. */
SY_MUST_USE int ad_pg_open(struct ad_pg **ret, uv_loop_t *loop, const struct sy_log *log,
                           const struct ad_pg_config *config,
                           const struct rp_store *store, uint64_t term,
                           const struct ad_pg_callbacks *cb, void *data,
                           struct sy_errbuf *eb);
/* The store has something new; cheap, call it after every apply. */
void ad_pg_kick(struct ad_pg *p);
/* The row @id (as in ad_pg_ask) ends as @status ("failed", ...) for the reason @text:
 * written under the fence, if the row is still open. May be lost with the connection;
 * then the row is shown again. */
void ad_pg_answer(struct ad_pg *p, const char *id, const char *status, const char *text);
/* What the letter became is committed; or it cannot be tried, and @why_not. */
void ad_pg_retried(struct ad_pg *p, uint64_t id, const char *why_not);
/* Look into meter_commands soon: there is room again. */
void ad_pg_look(struct ad_pg *p);
const struct ad_pg_status *ad_pg_status(const struct ad_pg *p);
/* The socket is closed before this returns: nothing more can leave, a transaction
 * under way is rolled back by the server or was committed. */
void ad_pg_close(struct ad_pg *p, void (*closed)(void *data));

/* --- migrations (blocking; for `vagtctl db` and tests) --- */

struct ad_pg_migration
{
    unsigned version;
    const char *name;
    const char *sql;
};
/* deploy/schema/NNN_name.sql, compiled in. Ends with version 0. */
extern const struct ad_pg_migration ad_pg_migrations[];

/* Applies what is missing, each in a transaction of its own, under an advisory
 * transaction lock. Refuses a database whose version is newer than ours. */
SY_MUST_USE int ad_pg_migrate(const char *conninfo, unsigned *ret_from, unsigned *ret_to,
                              struct sy_errbuf *eb);
/* The same; @note gets what the migrations have to say to the operator, a sentence each.
 */
typedef void (*ad_pg_note)(void *data, const char *text);
SY_MUST_USE int ad_pg_migrate_noting(const char *conninfo, ad_pg_note note, void *data,
                                     unsigned *ret_from, unsigned *ret_to,
                                     struct sy_errbuf *eb);
SY_MUST_USE int ad_pg_schema_version(const char *conninfo, unsigned *ret,
                                     struct sy_errbuf *eb);

#endif /* AD_POSTGRES_POSTGRES_H */

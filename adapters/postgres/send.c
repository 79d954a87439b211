/* The groups of statements, and how they are sent. */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "adapters/postgres/writer.h"

static const char sql_schema[] = "SELECT max(version) FROM vagt_schema";

/* A pooler hands out a key of its own instead of the server's. */
static const char sql_pid[] = "SELECT pg_backend_pid()";

/* What an older term, or our own lost connection, has left behind may hold the row
 * locks for as long as that process hangs. The server lets a role end its own
 * sessions; the term is in the application name. */
static const char sql_evict[] =
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND usename = current_user"
    " AND datname = current_database()"
    " AND CASE WHEN application_name ~ '^vagt:[0-9]{1,18}:'"
    " THEN split_part(application_name, ':', 2)::bigint <= $1::bigint"
    " AND substr(application_name, 7 + length(split_part(application_name, ':', 2))) ="
    " substr(current_setting('application_name'),"
    " 7 + length(split_part(current_setting('application_name'), ':', 2)))"
    " ELSE false END";

/* READ COMMITTED: a writer that waited for the row must see what it became. */
static const char sql_begin[] = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/* Local to the transaction: behind a pooler the session is not ours. A role may
 * have synchronous_commit off; then a crash of the server would lose what we have
 * already forgotten. */
static const char sql_settings[] =
    "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $2,"
    " true), set_config('idle_in_transaction_session_timeout', $1, true),"
    " CASE current_setting('synchronous_commit') WHEN 'off'"
    " THEN set_config('synchronous_commit', 'on', true) END";

static const char sql_seed[] =
    "INSERT INTO vagt_fence (cluster, term, node, shipped, shipped_revision,"
    " shipped_letters) VALUES ($1, 0, $2, $3::bigint, 0, $4::bigint)"
    " ON CONFLICT DO NOTHING";

/* The same term of another node is another cluster of the same name. */
static const char sql_claim[] =
    "UPDATE vagt_fence SET term = $2::bigint, node = $3, updated_at = now()"
    " WHERE cluster = $1 AND (term < $2::bigint OR (term = $2::bigint AND node = $3))";

static const char sql_read[] =
    "SELECT term, node, shipped, shipped_revision, shipped_letters FROM vagt_fence"
    " WHERE cluster = $1";

/* The division by zero is on purpose: in a pipeline the next statements are under
 * way already, and only an error keeps the server from carrying them out. */
static const char sql_fence[] =
    "WITH f AS (UPDATE vagt_fence SET term = $2::bigint, node = $3,"
    " shipped = $5::bigint, shipped_revision = $7::bigint, shipped_letters = $9::bigint,"
    " updated_at = now()"
    " WHERE cluster = $1 AND (term < $2::bigint OR (term = $2::bigint AND node = $3))"
    " AND shipped = $4::bigint AND shipped_revision = $6::bigint"
    " AND shipped_letters = $8::bigint RETURNING 1)"
    " SELECT 1 / count(*) FROM f";

/* Rows of a table that the site writes, too: whoever sits on one must not hold up
 * the readings. */
static const char sql_patience[] = "SELECT set_config('lock_timeout', '1000', true)";

const char *ad_pg_number(char text[AD_PG_NUMBER_SIZE], uint64_t v)
{
    snprintf(text, AD_PG_NUMBER_SIZE, "%" PRIu64, v);
    return text;
}

void ad_pg_queue(struct ad_pg *p, enum ad_pg_cmd cmd, const char *sql, int n,
                 const char *const *values)
{
    assert(p->cmds_nr < AD_PG_CMDS_MAX);
    p->cmds[p->cmds_nr++] = cmd;
    /* No prepared statements: a pooler may give each transaction another server. */
    if (!p->send_failed &&
        PQsendQueryParams(p->conn.pg, sql, n, NULL, values, NULL, NULL, 0) != 1) {
        p->send_failed = true;
    }
}

void ad_pg_queue_columns(struct ad_pg *p, enum ad_pg_cmd cmd, const char *sql, int n,
                         const struct ad_pg_columns *c)
{
    const char *values[AD_PG_COLUMNS];

    assert(n <= AD_PG_COLUMNS);
    if (c->rows == 0) {
        return;
    }
    for (int i = 0; i < n; i++) {
        values[i] = (const char *)c->col[i].p;
    }
    ad_pg_queue(p, cmd, sql, n, values);
}

void ad_pg_queue_cluster_columns(struct ad_pg *p, enum ad_pg_cmd cmd, const char *sql,
                                 int n, const struct ad_pg_columns *c)
{
    const char *values[AD_PG_COLUMNS + 1] = {p->config.cluster};

    assert(n <= AD_PG_COLUMNS);
    if (c->rows == 0) {
        return;
    }
    for (int i = 0; i < n; i++) {
        values[i + 1] = (const char *)c->col[i].p;
    }
    ad_pg_queue(p, cmd, sql, n + 1, values);
}

void ad_pg_queue_fence(struct ad_pg *p, const struct ad_pg_marks *from,
                       const struct ad_pg_marks *to)
{
    char text[6][AD_PG_NUMBER_SIZE];
    const char *fence[] = {p->config.cluster,
                           p->term_text,
                           p->config.node,
                           ad_pg_number(text[0], from->shipped),
                           ad_pg_number(text[1], to->shipped),
                           ad_pg_number(text[2], from->revision),
                           ad_pg_number(text[3], to->revision),
                           ad_pg_number(text[4], from->letters),
                           ad_pg_number(text[5], to->letters)};

    ad_pg_queue(p, AD_PG_CMD_FENCE, sql_fence, 9, fence);
}

/* --- groups --- */

void ad_pg_begin_step(struct ad_pg *p, enum ad_pg_step step)
{
    assert(p->step == AD_PG_NOTHING);
    p->step = step;
    p->cmds_nr = p->cmd = 0;
    p->failed = p->send_failed = false;
    if (p->in_transaction) {
        ad_pg_queue(p, AD_PG_CMD_ROLLBACK, "ROLLBACK", 0, NULL);
        p->in_transaction = false;
    }
}

void ad_pg_begin_transaction(struct ad_pg *p, unsigned patience_ms)
{
    char patience[AD_PG_NUMBER_SIZE];
    const char *settings[] = {p->timeout_text, ad_pg_number(patience, patience_ms)};

    ad_pg_queue(p, AD_PG_CMD_BEGIN, sql_begin, 0, NULL);
    ad_pg_queue(p, AD_PG_CMD_SETTINGS, sql_settings, 2, settings);
}

static void dog_cb(uv_timer_t *timer)
{
    struct ad_pg *p = timer->data;
    char text[128];

    snprintf(text, sizeof text, "the server has not answered for %u ms",
             2 * p->config.statement_timeout_ms);
    ad_pg_lost(p, text);
}

void ad_pg_end_step(struct ad_pg *p)
{
    char why[sizeof p->status.error];

    p->cmds[p->cmds_nr++] = AD_PG_CMD_SYNC;
    if (p->send_failed || PQpipelineSync(p->conn.pg) != 1 ||
        !ad_pg_conn_flush(&p->conn)) {
        ad_pg_conn_why(&p->conn, PQerrorMessage(p->conn.pg), why, sizeof why);
        ad_pg_lost(p, why);
        return;
    }
    uv_timer_start(&p->dog, dog_cb, (uint64_t)2 * p->config.statement_timeout_ms, 0);
}

void ad_pg_send_hello(struct ad_pg *p)
{
    const char *evict[] = {p->term_text};

    ad_pg_begin_step(p, AD_PG_HELLO);
    ad_pg_queue(p, AD_PG_CMD_SCHEMA, sql_schema, 0, NULL);
    ad_pg_queue(p, AD_PG_CMD_PID, sql_pid, 0, NULL);
    ad_pg_queue(p, AD_PG_CMD_EVICT, sql_evict, 1, evict);
    ad_pg_end_step(p);
}

void ad_pg_send_claim(struct ad_pg *p)
{
    char kept[AD_PG_NUMBER_SIZE];
    char letters[AD_PG_NUMBER_SIZE];
    /* A database that never saw this cluster gets what is still kept, and every
     * device. */
    const char *seed[] = {p->config.cluster, p->config.node,
                          ad_pg_number(kept, rp_store_readings_first(p->store) - 1),
                          ad_pg_number(letters, rp_store_letters_first(p->store) - 1)};
    const char *claim[] = {p->config.cluster, p->term_text, p->config.node};

    p->row = (struct ad_pg_row){0};
    ad_pg_begin_step(p, AD_PG_CLAIM);
    ad_pg_begin_transaction(p, 0);
    ad_pg_queue(p, AD_PG_CMD_SEED, sql_seed, 4, seed);
    ad_pg_queue(p, AD_PG_CMD_CLAIM, sql_claim, 3, claim);
    ad_pg_queue(p, AD_PG_CMD_READ, sql_read, 1, claim);
    ad_pg_queue(p, AD_PG_CMD_COMMIT, "COMMIT", 0, NULL);
    ad_pg_end_step(p);
}

static void queue_rows(struct ad_pg *p, const struct ad_pg_batch *b)
{
    ad_pg_queue_columns(p, AD_PG_CMD_READINGS, ad_pg_sql_readings, AD_PG_READINGS_COLUMNS,
                        &b->readings);
    /* Before identity: it looks for the name from before. */
    ad_pg_queue_columns(p, AD_PG_CMD_RETIRE, ad_pg_sql_retire, 2, &b->identity);
    ad_pg_queue_columns(p, AD_PG_CMD_METERS, ad_pg_sql_meters, AD_PG_METERS_COLUMNS,
                        &b->meters);
    ad_pg_queue_columns(p, AD_PG_CMD_IDENTITY, ad_pg_sql_identity, AD_PG_IDENTITY_COLUMNS,
                        &b->identity);
    ad_pg_queue_columns(p, AD_PG_CMD_UNTOLD, ad_pg_sql_untold, 1, &b->telling);
    if (b->results.rows > 0) {
        ad_pg_queue(p, AD_PG_CMD_PATIENCE, sql_patience, 0, NULL);
    }
    ad_pg_queue_columns(p, AD_PG_CMD_RESULTS, ad_pg_sql_results, AD_PG_RESULTS_COLUMNS,
                        &b->results);
    ad_pg_queue_cluster_columns(p, AD_PG_CMD_REFUSED, ad_pg_sql_letters,
                                AD_PG_LETTERS_COLUMNS, &b->refused);
    ad_pg_queue_cluster_columns(p, AD_PG_CMD_LETTERS, ad_pg_sql_letters,
                                AD_PG_LETTERS_COLUMNS, &b->letters);
}

void ad_pg_send_batch(struct ad_pg *p)
{
    const struct ad_pg_batch *b = &p->batch;
    const struct ad_pg_marks from = {b->from, b->from_revision, b->from_letter};
    const struct ad_pg_marks to = {b->to, b->to_revision, b->to_letter};

    p->inserted = p->results_written = p->letters_written = 0;
    ad_pg_begin_step(p, AD_PG_BATCH);
    ad_pg_begin_transaction(p, 0);
    ad_pg_queue_fence(p, &from, &to);
    queue_rows(p, b);
    ad_pg_queue(p, AD_PG_CMD_COMMIT, "COMMIT", 0, NULL);
    ad_pg_end_step(p);
}

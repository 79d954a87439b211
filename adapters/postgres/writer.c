#include "adapters/postgres/writer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

enum { APP_NAME_CLUSTER = 40 };

static const char sql_schema[] = "SELECT max(version) FROM vagt_schema";

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
    "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', '0',"
    " true), set_config('idle_in_transaction_session_timeout', $1, true),"
    " CASE current_setting('synchronous_commit') WHEN 'off'"
    " THEN set_config('synchronous_commit', 'on', true) END";

static const char sql_seed[] =
    "INSERT INTO vagt_fence (cluster, term, node, shipped, shipped_revision)"
    " VALUES ($1, 0, $2, $3::bigint, 0) ON CONFLICT DO NOTHING";

/* The same term of another node is another cluster of the same name. */
static const char sql_claim[] =
    "UPDATE vagt_fence SET term = $2::bigint, node = $3, updated_at = now()"
    " WHERE cluster = $1 AND (term < $2::bigint OR (term = $2::bigint AND node = $3))";

static const char sql_read[] =
    "SELECT term, node, shipped, shipped_revision FROM vagt_fence WHERE cluster = $1";

/* The division by zero is on purpose: in a pipeline the next statements are under
 * way already, and only an error keeps the server from carrying them out. */
static const char sql_fence[] =
    "WITH f AS (UPDATE vagt_fence SET term = $2::bigint, node = $3,"
    " shipped = $5::bigint, shipped_revision = $7::bigint, updated_at = now()"
    " WHERE cluster = $1 AND (term < $2::bigint OR (term = $2::bigint AND node = $3))"
    " AND shipped = $4::bigint AND shipped_revision = $6::bigint RETURNING 1)"
    " SELECT 1 / count(*) FROM f";

static uint64_t wall_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static const char *number(char text[AD_PG_NUMBER_SIZE], uint64_t v)
{
    snprintf(text, AD_PG_NUMBER_SIZE, "%" PRIu64, v);
    return text;
}

/* --- sending --- */

static void queue(struct ad_pg *p, enum ad_pg_cmd cmd, const char *sql, int n,
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

static void begin_step(struct ad_pg *p, enum ad_pg_step step)
{
    assert(p->step == AD_PG_NOTHING);
    p->step = step;
    p->cmds_nr = p->cmd = 0;
    p->failed = p->send_failed = false;
    if (p->in_transaction) {
        queue(p, AD_PG_CMD_ROLLBACK, "ROLLBACK", 0, NULL);
        p->in_transaction = false;
    }
}

static void begin_transaction(struct ad_pg *p)
{
    const char *settings[] = {p->timeout_text};

    queue(p, AD_PG_CMD_BEGIN, sql_begin, 0, NULL);
    queue(p, AD_PG_CMD_SETTINGS, sql_settings, 1, settings);
}

static void dog_cb(uv_timer_t *timer)
{
    struct ad_pg *p = timer->data;
    char text[128];

    snprintf(text, sizeof text, "the server has not answered for %u ms",
             2 * p->config.statement_timeout_ms);
    ad_pg_lost(p, text);
}

static void end_step(struct ad_pg *p)
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

static void send_hello(struct ad_pg *p)
{
    const char *evict[] = {p->term_text};

    begin_step(p, AD_PG_HELLO);
    queue(p, AD_PG_CMD_SCHEMA, sql_schema, 0, NULL);
    queue(p, AD_PG_CMD_EVICT, sql_evict, 1, evict);
    end_step(p);
}

void ad_pg_send_claim(struct ad_pg *p)
{
    char kept[AD_PG_NUMBER_SIZE];
    /* A database that never saw this cluster gets what is still kept, and every
     * device. */
    const char *seed[] = {p->config.cluster, p->config.node,
                          number(kept, rp_store_readings_first(p->store) - 1)};
    const char *claim[] = {p->config.cluster, p->term_text, p->config.node};

    p->row = (struct ad_pg_row){0};
    begin_step(p, AD_PG_CLAIM);
    begin_transaction(p);
    queue(p, AD_PG_CMD_SEED, sql_seed, 3, seed);
    queue(p, AD_PG_CMD_CLAIM, sql_claim, 3, claim);
    queue(p, AD_PG_CMD_READ, sql_read, 1, claim);
    queue(p, AD_PG_CMD_COMMIT, "COMMIT", 0, NULL);
    end_step(p);
}

static void queue_columns(struct ad_pg *p, enum ad_pg_cmd cmd, const char *sql, int n,
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
    queue(p, cmd, sql, n, values);
}

static void send_batch(struct ad_pg *p)
{
    const struct ad_pg_batch *b = &p->batch;
    char from[AD_PG_NUMBER_SIZE], to[AD_PG_NUMBER_SIZE];
    char from_rev[AD_PG_NUMBER_SIZE], to_rev[AD_PG_NUMBER_SIZE];
    const char *fence[] = {p->config.cluster,
                           p->term_text,
                           p->config.node,
                           number(from, b->from),
                           number(to, b->to),
                           number(from_rev, b->from_revision),
                           number(to_rev, b->to_revision)};

    p->inserted = 0;
    begin_step(p, AD_PG_BATCH);
    begin_transaction(p);
    queue(p, AD_PG_CMD_FENCE, sql_fence, 7, fence);
    queue_columns(p, AD_PG_CMD_READINGS, ad_pg_sql_readings, AD_PG_READINGS_COLUMNS,
                  &b->readings);
    /* Before identity: it looks for the name from before. */
    queue_columns(p, AD_PG_CMD_RETIRE, ad_pg_sql_retire, 2, &b->identity);
    queue_columns(p, AD_PG_CMD_METERS, ad_pg_sql_meters, AD_PG_METERS_COLUMNS,
                  &b->meters);
    queue_columns(p, AD_PG_CMD_IDENTITY, ad_pg_sql_identity, AD_PG_IDENTITY_COLUMNS,
                  &b->identity);
    queue_columns(p, AD_PG_CMD_UNTOLD, ad_pg_sql_untold, 1, &b->telling);
    queue(p, AD_PG_CMD_COMMIT, "COMMIT", 0, NULL);
    end_step(p);
}

/* --- when --- */

static void work_cb(uv_timer_t *timer);

void ad_pg_reset_backoff(struct ad_pg *p)
{
    p->backoff_ms = p->config.backoff_max_ms < AD_PG_BACKOFF_FIRST_MS
                        ? p->config.backoff_max_ms
                        : AD_PG_BACKOFF_FIRST_MS;
}

static uint64_t random_below(struct ad_pg *p, uint64_t n)
{
    uint64_t z = p->random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % n;
}

/* Half of it for sure, the other half by chance: nodes must not come in step. */
static uint64_t next_backoff(struct ad_pg *p)
{
    unsigned ms = p->backoff_ms;

    p->backoff_ms = ms * 2 < p->config.backoff_max_ms ? ms * 2 : p->config.backoff_max_ms;
    return ms / 2 + random_below(p, ms / 2 + 1);
}

void ad_pg_pause(struct ad_pg *p)
{
    p->pausing = true;
    uv_timer_start(&p->work, work_cb, next_backoff(p), 0);
}

void ad_pg_again(struct ad_pg *p)
{
    p->urgent = true;
    uv_timer_start(&p->work, work_cb, 0, 0);
}

static uint64_t waiting(const struct ad_pg *p)
{
    uint64_t last = rp_store_readings_last(p->store);

    return last > p->shipped ? last - p->shipped : 0;
}

static bool anything(const struct ad_pg *p)
{
    return waiting(p) > 0 || rp_store_revision(p->store) > p->revision;
}

void ad_pg_schedule(struct ad_pg *p)
{
    uint64_t n;

    if (!p->ready || p->step != AD_PG_NOTHING || p->pausing || p->urgent) {
        return;
    }
    n = waiting(p);
    if (n >= p->config.batch_rows_max) {
        ad_pg_again(p);
    } else if (anything(p) && !uv_is_active((uv_handle_t *)&p->work)) {
        uv_timer_start(&p->work, work_cb, p->config.batch_age_ms, 0);
    }
}

static void next_batch(struct ad_pg *p)
{
    struct ad_pg_batch *b = &p->batch;

    p->urgent = p->pausing = false;
    if (!anything(p)) {
        return;
    }
    ad_pg_batch_fill(b, p->store, p->shipped, p->revision, &p->limits);
    if (b->missing > 0) {
        SY_LOG(p->log, SY_ERR, "pg.readings_missing", KU64("count", b->missing),
               KU64("after", b->from));
    }
    if (b->to == b->from && b->devices == 0) {
        /* Only changes that have no table: nothing to write, and nobody waits. */
        p->revision = b->to_revision;
        p->cb.shipped(p->data, p->shipped, p->revision);
        return;
    }
    send_batch(p);
}

static void work_cb(uv_timer_t *timer)
{
    struct ad_pg *p = timer->data;

    assert(!p->closing);
    assert(!p->halted);
    if (p->ready) {
        next_batch(p);
    } else {
        p->pausing = false;
        p->status.link = AD_PG_CONNECTING;
        ad_pg_conn_start(&p->conn);
    }
}

/* --- the link --- */

static void changed(struct ad_pg *p)
{
    p->status.since_ms = wall_ms();
    p->cb.changed(p->data);
}

static void drop(struct ad_pg *p)
{
    /* What the kernel has not sent of a transaction must not go out later. */
    ad_pg_conn_drop(&p->conn, p->step != AD_PG_NOTHING);
    uv_timer_stop(&p->dog);
    uv_timer_stop(&p->work);
    p->step = AD_PG_NOTHING;
    p->ready = p->in_transaction = p->urgent = p->pausing = false;
}

void ad_pg_lost(struct ad_pg *p, const char *why)
{
    char text[sizeof p->status.error];
    bool was_up = p->status.link == AD_PG_UP;

    assert(!p->closing);
    snprintf(text, sizeof text, "%s", why[0] != '\0' ? why : "the connection was lost");
    drop(p);
    p->status.link = AD_PG_DOWN;
    /* A server that takes the connection and refuses every batch must not be asked
     * twice a second: being up alone does not end the backing off. */
    if (was_up && uv_now(p->loop) - p->up_since > p->config.backoff_max_ms) {
        ad_pg_reset_backoff(p);
    }
    ad_pg_pause(p);
    if (was_up || strcmp(text, p->status.error) != 0) {
        memcpy(p->status.error, text, sizeof text);
        SY_LOG(p->log, SY_WARN, "pg.down", KSTR("why", p->status.error));
        changed(p);
    }
}

void ad_pg_ready(struct ad_pg *p)
{
    p->ready = true;
    p->shipped = p->row.shipped;
    p->revision = p->row.revision;
    ad_pg_batch_forget(&p->batch);
    if (!anything(p)) {
        p->doubtful = false; /* The batch in doubt is in after all. */
    }
    ad_pg_up(p);
}

void ad_pg_up(struct ad_pg *p)
{
    if (p->status.link == AD_PG_UP || p->doubtful) {
        return;
    }
    p->status.link = AD_PG_UP;
    p->status.error[0] = '\0';
    p->status.reconnects += p->up_since != 0;
    p->up_since = uv_now(p->loop);
    SY_LOG(p->log, SY_NOTE, "pg.up", KU64("term", p->term), KU64("shipped", p->shipped),
           KU64("revision", p->revision));
    changed(p);
}

void ad_pg_halt(struct ad_pg *p)
{
    drop(p);
    p->halted = true;
    p->status.link = AD_PG_DOWN;
    p->status.fenced++;
    snprintf(p->status.error, sizeof p->status.error,
             "fenced: node %s writes in term %" PRIu64 ", this one had term %" PRIu64,
             p->row.node, p->row.term, p->term);
    SY_LOG(p->log, SY_WARN, "pg.fenced", KU64("term", p->term),
           KU64("newer", p->row.term), KSTR("node", p->row.node));
    changed(p);
    if (!p->closing) {
        p->cb.fenced(p->data, p->row.term);
    }
}

static void conn_up(void *data)
{
    struct ad_pg *p = data;

    send_hello(p);
}

static void conn_down(void *data, const char *why)
{
    ad_pg_lost(data, why);
}

/* --- life --- */

static void part_closed(struct ad_pg *p)
{
    void (*closed)(void *data) = p->closed;
    void *data = p->data;

    assert(p->closing && p->open_parts > 0);
    if (--p->open_parts > 0) {
        return;
    }
    ad_pg_batch_free(&p->batch);
    sy_free(p);
    if (closed != NULL) {
        closed(data);
    }
}

static void conn_closed(void *data)
{
    part_closed(data);
}

static void timer_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

void ad_pg_config_default(struct ad_pg_config *c)
{
    *c = (struct ad_pg_config){.connect_timeout_ms = 5000,
                               .statement_timeout_ms = 10000,
                               .backoff_max_ms = 60000,
                               .batch_rows_max = 2000,
                               .batch_age_ms = 200,
                               .poll_ms = 5000,
                               .command_timeout_ms = 60000,
                               .retention_days = 90,
                               .partition_days = 7};
}

static int check(const struct ad_pg_config *c, struct sy_errbuf *eb)
{
    if (c->conninfo == NULL || c->conninfo[0] == '\0') {
        return sy_fail(eb, SY_EINVALID, "postgres: no connection string");
    }
    if (c->cluster[0] == '\0' || c->node[0] == '\0') {
        return sy_fail(eb, SY_EINVALID, "postgres: cluster and node must have names");
    }
    if (c->connect_timeout_ms == 0 || c->statement_timeout_ms == 0 ||
        c->backoff_max_ms == 0 || c->batch_rows_max == 0) {
        return sy_fail(eb, SY_EINVALID,
                       "postgres: timeouts, backoff and batch size must not be 0");
    }
    return 0;
}

static void init(struct ad_pg *p, const struct ad_pg_config *config)
{
    p->config = *config;
    p->config.conninfo = NULL;
    p->random = config->seed;
    ad_pg_reset_backoff(p);
    p->limits.readings = config->batch_rows_max;
    p->limits.devices = config->batch_rows_max < AD_PG_DEVICES_MAX
                            ? config->batch_rows_max
                            : AD_PG_DEVICES_MAX;
    p->status.link = AD_PG_CONNECTING;
    p->status.since_ms = wall_ms();
    number(p->term_text, p->term);
    number(p->timeout_text, config->statement_timeout_ms);
    (void)uv_timer_init(p->loop, &p->work); /* Cannot fail: fills in a struct. */
    (void)uv_timer_init(p->loop, &p->dog);
    p->work.data = p->dog.data = p;
    p->open_parts = 3;
}

int ad_pg_open(struct ad_pg **ret, uv_loop_t *loop, const struct sy_log *log,
               const struct ad_pg_config *config, const struct rp_store *store,
               uint64_t term, const struct ad_pg_callbacks *cb, void *data,
               struct sy_errbuf *eb)
{
    static const struct ad_pg_conn_cb conn_cb = {
        .up = conn_up, .input = ad_pg_pump, .down = conn_down, .closed = conn_closed};
    char app_name[sizeof "vagt::" + AD_PG_NUMBER_SIZE + APP_NAME_CLUSTER];
    struct ad_pg *p;
    int rv = check(config, eb);

    if (rv != 0) {
        return rv;
    }
    p = sy_calloc(1, sizeof *p);
    p->loop = loop;
    p->log = log;
    p->store = store;
    p->term = term;
    p->cb = *cb;
    p->data = data;
    snprintf(app_name, sizeof app_name, "vagt:%" PRIu64 ":%.*s", term, APP_NAME_CLUSTER,
             config->cluster);
    rv = ad_pg_conn_init(&p->conn, loop, config->conninfo, app_name,
                         config->connect_timeout_ms, &conn_cb, p, eb);
    if (rv != 0) {
        sy_free(p);
        return rv;
    }
    init(p, config);
    ad_pg_conn_start(&p->conn);
    *ret = p;
    return 0;
}

void ad_pg_kick(struct ad_pg *p)
{
    ad_pg_schedule(p);
}

const struct ad_pg_status *ad_pg_status(const struct ad_pg *p)
{
    return &p->status;
}

void ad_pg_close(struct ad_pg *p, void (*closed)(void *data))
{
    assert(!p->closing);
    drop(p);
    p->closing = true;
    p->closed = closed;
    ad_pg_conn_close(&p->conn);
    uv_close((uv_handle_t *)&p->work, timer_closed);
    uv_close((uv_handle_t *)&p->dog, timer_closed);
}

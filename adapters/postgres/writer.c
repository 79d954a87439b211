#include "adapters/postgres/writer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

enum { APP_NAME_CLUSTER = 40, UPKEEP_AFTER_MS = 1000, HOLD_MS = 5000 };

uint64_t ad_pg_wall_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
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

    return last > p->at.shipped ? last - p->at.shipped : 0;
}

static bool anything(const struct ad_pg *p)
{
    return waiting(p) > 0 || rp_store_revision(p->store) > p->at.revision ||
           (!p->limits.letters_wait && rp_store_letters_last(p->store) > p->at.letters);
}

static void errand_cb(uv_timer_t *timer)
{
    struct ad_pg *p = timer->data;

    if (!p->ready || p->step != AD_PG_NOTHING) {
        return; /* When that is over, the next thing is looked for. */
    }
    if (ad_pg_asks_due(p)) {
        ad_pg_asks_send(p);
    } else if (ad_pg_upkeep_due(p)) {
        ad_pg_upkeep_send(p);
    } else {
        ad_pg_schedule(p);
    }
}

/* What had to wait may be tried again. */
static void release(struct ad_pg *p)
{
    if (p->held_until != 0 && uv_now(p->loop) >= p->held_until) {
        p->held_until = 0;
        p->limits.commands_wait = p->limits.letters_wait = false;
        p->asks.replays_held = false;
        ad_pg_look(p);
    }
}

/* So that it comes, even if nothing else does. */
static void arm_errand(struct ad_pg *p)
{
    uint64_t at =
        p->held_until != 0 && p->held_until < p->upkeep_at ? p->held_until : p->upkeep_at;
    uint64_t now = uv_now(p->loop);

    uv_timer_start(&p->errand, errand_cb, at > now ? at - now : 0, 0);
}

void ad_pg_hold(struct ad_pg *p)
{
    p->held_until =
        uv_now(p->loop) + (p->config.poll_ms < HOLD_MS ? p->config.poll_ms : HOLD_MS);
}

void ad_pg_schedule(struct ad_pg *p)
{
    uint64_t n;

    if (!p->ready || p->step != AD_PG_NOTHING) {
        return;
    }
    release(p);
    if (ad_pg_asks_due(p) || ad_pg_upkeep_due(p)) {
        uv_timer_start(&p->errand, errand_cb, 0, 0);
        return; /* Its end comes back here. */
    }
    arm_errand(p);
    if (p->pausing || p->urgent) {
        return;
    }
    n = waiting(p);
    if (n >= p->config.batch_rows_max) {
        ad_pg_again(p);
    } else if (anything(p) && !uv_is_active((uv_handle_t *)&p->work)) {
        uv_timer_start(&p->work, work_cb, p->config.batch_age_ms, 0);
    }
}

static void say_missing(const struct ad_pg *p)
{
    const struct ad_pg_batch *b = &p->batch;

    if (b->missing > 0) {
        SY_LOG(p->log, SY_ERR, "pg.readings_missing", KU64("count", b->missing),
               KU64("after", b->from));
    }
    if (b->missing_letters > 0) {
        SY_LOG(p->log, SY_WARN, "pg.letters_missing", KU64("count", b->missing_letters),
               KU64("after", b->from_letter));
    }
}

static void next_batch(struct ad_pg *p)
{
    struct ad_pg_batch *b = &p->batch;

    if (!anything(p)) {
        return;
    }
    ad_pg_batch_fill(b, p->store, &p->at, &p->limits);
    if (ad_pg_batch_empty(b) && (p->limits.readings == 0 || p->limits.devices == 0)) {
        /* What these were to be told apart from is gone. */
        p->limits.readings = p->limits.devices = 1;
        ad_pg_batch_fill(b, p->store, &p->at, &p->limits);
    }
    say_missing(p);
    if (!ad_pg_batch_empty(b)) {
        ad_pg_send_batch(p);
    } else if (b->to_revision > p->at.revision) {
        /* Only changes that have no table: nothing to write, and nobody waits. */
        p->at.revision = b->to_revision;
        p->cb.shipped(p->data, p->at.shipped, p->at.revision, p->at.letters);
    }
}

static void work_cb(uv_timer_t *timer)
{
    struct ad_pg *p = timer->data;

    assert(!p->closing);
    assert(!p->halted);
    if (p->ready) {
        p->urgent = p->pausing = false;
        if (p->step == AD_PG_NOTHING) {
            next_batch(p);
        } /* Else an errand is under way, and its end comes back here. */
    } else {
        p->pausing = false;
        p->status.link = AD_PG_CONNECTING;
        ad_pg_conn_start(&p->conn);
    }
}

/* --- the link --- */

static void changed(struct ad_pg *p)
{
    p->status.since_ms = ad_pg_wall_ms();
    p->cb.changed(p->data);
}

static void drop(struct ad_pg *p)
{
    /* What the kernel has not sent of a transaction must not go out later. */
    ad_pg_conn_drop(&p->conn, p->step != AD_PG_NOTHING);
    uv_timer_stop(&p->dog);
    uv_timer_stop(&p->work);
    uv_timer_stop(&p->errand);
    p->step = AD_PG_NOTHING;
    p->ready = p->in_transaction = p->urgent = p->pausing = false;
    ad_pg_asks_end(p);
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
    p->at = p->row.at;
    p->upkeep_at = uv_now(p->loop) + UPKEEP_AFTER_MS;
    ad_pg_batch_forget(&p->batch);
    ad_pg_asks_begin(p);
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
    SY_LOG(p->log, SY_NOTE, "pg.up", KU64("term", p->term),
           KU64("shipped", p->at.shipped), KU64("revision", p->at.revision));
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

    const char *encoding = PQparameterStatus(p->conn.pg, "server_encoding");

    p->limits.ascii = encoding == NULL || strcmp(encoding, "UTF8") != 0;
    ad_pg_send_hello(p);
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
    ad_pg_asks_free(p);
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
                               .backoff_max_ms = 30000,
                               .batch_rows_max = 2000,
                               .batch_age_ms = 200,
                               .poll_ms = 5000,
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
        c->backoff_max_ms == 0 || c->batch_rows_max == 0 || c->poll_ms == 0) {
        return sy_fail(eb, SY_EINVALID,
                       "postgres: timeouts, backoff, poll and batch size must not be 0");
    }
    return 0;
}

static void init(struct ad_pg *p, const struct ad_pg_config *config)
{
    p->config = *config;
    p->config.conninfo = NULL;
    p->random = config->seed;
    ad_pg_reset_backoff(p);
    p->limits.readings = p->limits.devices = p->limits.commands = 1;
    for (unsigned i = 0; i < 32; i++) {
        ad_pg_raise_limits(p);
    }
    p->status.link = AD_PG_CONNECTING;
    p->status.since_ms = ad_pg_wall_ms();
    ad_pg_number(p->term_text, p->term);
    ad_pg_number(p->timeout_text, config->statement_timeout_ms);
    (void)uv_timer_init(p->loop, &p->work); /* Cannot fail: fills in a struct. */
    (void)uv_timer_init(p->loop, &p->errand);
    (void)uv_timer_init(p->loop, &p->dog);
    ad_pg_asks_init(p);
    p->work.data = p->errand.data = p->dog.data = p;
    p->open_parts = 5;
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
    uv_close((uv_handle_t *)&p->errand, timer_closed);
    uv_close((uv_handle_t *)&p->dog, timer_closed);
    uv_close((uv_handle_t *)&p->asks.timer, timer_closed);
}

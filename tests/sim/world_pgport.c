/* ad_pg_*: as adapters/postgres, on the simulated server.
 *
 *   connect -> HELLO -> CLAIM -> BATCH, BATCH ...; between them LOOK and ANSWER
 *
 * What goes into a batch is found by the real adapter's batch.c. */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "node/replica.h"
#include "tests/sim/world_impl.h"

enum { BACKOFF_FIRST_MS = 500, LOOK_GAP_MS = 50, ANSWERS_MAX = 256, NUMBER_UNIT = 1000 };

struct wanswer
{
    struct wp_result r;
};

struct ad_pg
{
    struct ad_pg *next;
    struct world *w;
    unsigned node;
    struct ad_pg_config config;
    const struct rp_store *store;
    uint64_t term;
    struct ad_pg_callbacks cb;
    void *data;
    struct ad_pg_status status;
    void (*closed)(void *data);
    bool closing, halted;

    struct wconn *conn;
    uint64_t work, dog, poll; /* timers: which of them count */
    bool work_armed;
    int step; /* WP_*; 0: nothing under way */
    bool ready, pausing, urgent, in_claim_again;
    uint64_t backoff_ms, up_since, looked_ms;
    struct ad_pg_marks at;
    struct ad_pg_batch batch;
    struct ad_pg_batch_limits limits;
    struct wp_group *second; /* the mutant's other half */

    bool look, others;
    uint64_t look_revision;
    struct wp_result answers[ANSWERS_MAX];
    unsigned answers_n, answers_sent;
};

static void schedule(struct ad_pg *p);
static void work_cb(void *ctx, uint64_t nr);

static uint64_t now_ms(void)
{
    return nd_now_ms();
}

static void arm_work(struct ad_pg *p, uint64_t ms)
{
    p->work_armed = true;
    site_post(p->w->s, p->node, ms, work_cb, p, ++p->work);
}

/* --- the link --- */

static void changed(struct ad_pg *p)
{
    p->status.since_ms = nd_wall_ms();
    p->cb.changed(p->data);
}

static void drop(struct ad_pg *p)
{
    if (p->conn != NULL) {
        wn_shut(p->conn);
        p->conn = NULL;
    }
    p->work++;
    p->dog++;
    p->poll++;
    p->work_armed = false;
    p->step = 0;
    p->ready = p->urgent = p->pausing = p->look = p->others = false;
    p->answers_n = p->answers_sent = 0;
    if (p->second != NULL) {
        wp_free_group(p->second);
        sy_free(p->second);
        p->second = NULL;
    }
}

static void lost(struct ad_pg *p, const char *why)
{
    bool was_up = p->status.link == AD_PG_UP;
    uint64_t ms;

    drop(p);
    p->status.link = AD_PG_DOWN;
    if (was_up && now_ms() - p->up_since > p->config.backoff_max_ms) {
        p->backoff_ms = BACKOFF_FIRST_MS;
    }
    ms = p->backoff_ms;
    p->backoff_ms = ms * 2 < p->config.backoff_max_ms ? ms * 2 : p->config.backoff_max_ms;
    p->pausing = true;
    arm_work(p, ms / 2 + w_below(p->w, ms / 2 + 1));
    if (was_up || strcmp(why, p->status.error) != 0) {
        snprintf(p->status.error, sizeof p->status.error, "%s", why);
        changed(p);
    }
}

static void dog_cb(void *ctx, uint64_t nr)
{
    struct ad_pg *p = ctx;

    if (nr == p->dog && !p->closing) {
        lost(p, "the server has not answered");
    }
}

static void send_group(struct ad_pg *p, int type, struct wp_group *g)
{
    g->term = p->term;
    snprintf(g->node, sizeof g->node, "%s", p->config.node);
    p->step = type;
    wn_up(p->conn, type, p->term, g);
    site_post(p->w->s, p->node,
              type == WP_START ? p->config.connect_timeout_ms
                               : (uint64_t)2 * p->config.statement_timeout_ms,
              dog_cb, p, ++p->dog);
}

static struct wp_group *new_group(void)
{
    return sy_calloc(1, sizeof(struct wp_group));
}

static void connect_now(struct ad_pg *p)
{
    p->status.link = AD_PG_CONNECTING;
    p->conn = wn_open(p->w, SITE_PG, p);
    send_group(p, WP_START, new_group());
}

static void send_claim(struct ad_pg *p)
{
    struct wp_group *g = new_group();

    g->seed_shipped = rp_store_readings_first(p->store) - 1;
    g->seed_letters = rp_store_letters_first(p->store) - 1;
    send_group(p, WP_CLAIM, g);
}

static void halt(struct ad_pg *p, uint64_t term)
{
    drop(p);
    p->halted = true;
    p->status.link = AD_PG_DOWN;
    p->status.fenced++;
    snprintf(p->status.error, sizeof p->status.error, "fenced");
    changed(p);
    if (!p->closing) {
        p->cb.fenced(p->data, term);
    }
}

/* --- batches --- */

static uint64_t waiting(const struct ad_pg *p)
{
    uint64_t last = rp_store_readings_last(p->store);

    return last > p->at.shipped ? last - p->at.shipped : 0;
}

static bool anything(const struct ad_pg *p)
{
    return waiting(p) > 0 || rp_store_revision(p->store) > p->at.revision ||
           rp_store_letters_last(p->store) > p->at.letters;
}

static uint64_t number_of(const struct rp_reading *r)
{
    return (uint64_t)r->values.energy_mwh / NUMBER_UNIT;
}

static void take_readings(struct wp_group *g, const struct ad_pg_batch *b)
{
    g->readings_n = b->rows_n;
    g->readings = sy_calloc(b->rows_n + 1, sizeof g->readings[0]);
    for (unsigned i = 0; i < b->rows_n; i++) {
        const struct rp_reading *r = &b->rows[i];

        g->readings[i] = (struct wp_reading){r->ieee, r->time_ms, number_of(r), r->seq};
    }
}

static void put_result(struct wp_result *to, const struct ad_pg_result *from)
{
    snprintf(to->id, sizeof to->id, "%s", from->id);
    snprintf(to->status, sizeof to->status, "%s", from->status);
    snprintf(to->error, sizeof to->error, "%s", from->error);
    to->accepted_ms = from->accepted_ms;
    to->finished_ms = from->finished_ms;
}

static void take_results(struct ad_pg *p, struct wp_group *g, const struct ad_pg_batch *b)
{
    const struct rp_command *c;
    struct ad_pg_result r;

    g->results = sy_calloc(b->commands + 1, sizeof g->results[0]);
    for (uint64_t at = b->from_revision;
         (c = rp_store_command_changed(p->store, at)) != NULL &&
         c->revision <= b->to_revision;
         at = c->revision) {
        if (ad_pg_result_of(c, &r)) {
            assert(g->results_n < b->commands);
            put_result(&g->results[g->results_n++], &r);
        }
    }
}

static void send_batch(struct ad_pg *p)
{
    const struct ad_pg_batch *b = &p->batch;
    struct wp_group *g = new_group();

    g->from = (struct ad_pg_marks){b->from, b->from_revision, b->from_letter};
    g->to = (struct ad_pg_marks){b->to, b->to_revision, b->to_letter};
    take_readings(g, b);
    take_results(p, g, b);
    if (p->w->s->mutant == SITE_SPLIT_TX) {
        p->second = new_group();
        *p->second = *g;
        p->second->only_rows = true;
        g->readings = NULL;
        g->results = NULL;
        g->readings_n = g->results_n = 0;
        g->only_marks = true;
    }
    send_group(p, WP_BATCH, g);
}

static void next_batch(struct ad_pg *p)
{
    struct ad_pg_batch *b = &p->batch;

    if (!anything(p)) {
        return;
    }
    ad_pg_batch_fill(b, p->store, &p->at, &p->limits);
    if (b->missing > 0 && !p->w->config.older_copy) {
        W_FAIL(p->w, "node %u: %llu readings after %llu are not in the outbox any more",
               p->node, (ull)b->missing, (ull)b->from);
    }
    if (!ad_pg_batch_empty(b)) {
        send_batch(p);
    } else if (b->to_revision > p->at.revision) {
        p->at.revision = b->to_revision;
        p->cb.shipped(p->data, p->at.shipped, p->at.revision, p->at.letters);
    }
}

static void batch_done(struct ad_pg *p, const struct wp_group *a)
{
    const struct ad_pg_batch *b = &p->batch;

    if (!a->ok) {
        send_claim(p); /* The row says what it was. */
        return;
    }
    if (p->second != NULL) {
        struct wp_group *g = p->second;

        p->second = NULL;
        send_group(p, WP_BATCH, g);
        return;
    }
    p->status.batches++;
    p->status.rows_readings += b->rows_n;
    ad_pg_batch_written(&p->batch);
    p->backoff_ms = BACKOFF_FIRST_MS;
    p->at = (struct ad_pg_marks){b->to, b->to_revision, b->to_letter};
    p->cb.shipped(p->data, p->at.shipped, p->at.revision, p->at.letters);
    if (!p->closing) {
        schedule(p);
    }
}

/* --- what the site asks for --- */

static void poll_cb(void *ctx, uint64_t nr)
{
    struct ad_pg *p = ctx;

    if (nr != p->poll || p->closing || !p->ready) {
        return;
    }
    p->look = p->others = true;
    site_post(p->w->s, p->node, p->config.poll_ms, poll_cb, p, ++p->poll);
    schedule(p);
}

static void send_look(struct ad_pg *p)
{
    struct wp_group *g = new_group();

    p->look = false;
    p->looked_ms = now_ms();
    p->look_revision = p->at.revision;
    g->others = p->others;
    p->others = false;
    send_group(p, WP_LOOK, g);
}

static void send_answers(struct ad_pg *p)
{
    struct wp_group *g = new_group();

    g->from = g->to = p->at;
    g->results_n = p->answers_sent = p->answers_n;
    g->results = sy_memdup(p->answers, p->answers_n * sizeof p->answers[0]);
    send_group(p, WP_ANSWER, g);
}

static struct wp_result *new_answer(struct ad_pg *p, const char *id, const char *status,
                                    const char *text)
{
    struct wp_result *r;

    if (p->answers_n == ANSWERS_MAX) {
        return NULL;
    }
    r = &p->answers[p->answers_n++];
    *r = (struct wp_result){.finished_ms = nd_wall_ms()};
    snprintf(r->id, sizeof r->id, "%s", id);
    snprintf(r->status, sizeof r->status, "%s", status);
    snprintf(r->error, sizeof r->error, "%s", text);
    return r;
}

/* True: nobody has heard of it. */
static bool is_new(struct ad_pg *p, const struct wp_row *row)
{
    char id[RP_ID_SIZE];
    const struct rp_command *c;
    struct ad_pg_result is;
    struct wp_result *r;

    snprintf(id, sizeof id, "%s%s", AD_PG_ID_PREFIX, row->id);
    c = rp_store_command(p->store, id);
    if (c == NULL) {
        return true;
    }
    if (ad_pg_result_of(c, &is) && c->revision <= p->look_revision &&
        strcmp(is.status, row->status) != 0) {
        r = new_answer(p, row->id, is.status, is.error);
        if (r != NULL) {
            r->finished_ms = is.finished_ms;
        }
    }
    return false;
}

static void look_done(struct ad_pg *p, const struct wp_group *a)
{
    struct ad_pg_ask *asks = sy_calloc(a->rows_n + 1, sizeof *asks);
    uint64_t now = w_now(p->w);
    unsigned n = 0;

    for (unsigned i = 0; i < a->rows_n; i++) {
        const struct wp_row *r = &a->rows[i];

        if (is_new(p, r)) {
            asks[n++] = (struct ad_pg_ask){
                .id = r->id,
                .meter = r->meter,
                .command = "set_state",
                .value = r->value,
                .status = r->status,
                .dated = true,
                .age_ms = now - r->created_ms,
                .expires = r->expires_ms != 0,
                .expires_in_ms = (int64_t)r->expires_ms - (int64_t)now};
        }
    }
    if (n > 0) {
        p->cb.commands(p->data, asks, n);
    }
    sy_free(asks);
    if (!p->closing) {
        schedule(p);
    }
}

static void answer_done(struct ad_pg *p, const struct wp_group *a)
{
    if (!a->ok) {
        lost(p, "an answer was refused");
        return;
    }
    p->answers_n -= p->answers_sent;
    memmove(p->answers, p->answers + p->answers_sent,
            p->answers_n * sizeof p->answers[0]);
    p->answers_sent = 0;
    schedule(p);
}

/* --- answers of the server --- */

static void claim_done(struct ad_pg *p, const struct wp_group *a)
{
    if (a->fence) {
        halt(p, a->row_term);
        return;
    }
    if (a->at.shipped > rp_store_readings_last(p->store) ||
        a->at.revision > rp_store_revision(p->store) ||
        a->at.letters > rp_store_letters_last(p->store)) {
        W_FAIL(p->w, "node %u: postgres is ahead of the cluster: reading %llu of %llu",
               p->node, (ull)a->at.shipped, (ull)rp_store_readings_last(p->store));
    }
    p->ready = true;
    p->at = a->at;
    ad_pg_batch_forget(&p->batch);
    p->status.link = AD_PG_UP;
    p->status.error[0] = '\0';
    p->status.reconnects += p->up_since != 0;
    p->up_since = now_ms();
    changed(p);
    p->look = p->others = true;
    site_post(p->w->s, p->node, p->config.poll_ms, poll_cb, p, ++p->poll);
    if (p->at.shipped > rp_store_readings_shipped(p->store) ||
        p->at.revision > rp_store_revision_shipped(p->store) ||
        p->at.letters > rp_store_letters_shipped(p->store)) {
        p->cb.shipped(p->data, p->at.shipped, p->at.revision, p->at.letters);
    }
    if (!p->closing) {
        schedule(p);
    }
}

static void take_answer(struct ad_pg *p, const struct wpacket *packet)
{
    const struct wp_group *a = packet->body;

    if (packet->type == 0) {
        lost(p, "the server closed the connection");
        return;
    }
    assert(packet->type == p->step);
    p->step = 0;
    p->dog++;
    switch (packet->type) {
    case WP_START:
        send_group(p, WP_HELLO, new_group());
        break;
    case WP_HELLO:
        send_claim(p);
        break;
    case WP_CLAIM:
        claim_done(p, a);
        break;
    case WP_BATCH:
        batch_done(p, a);
        break;
    case WP_LOOK:
        look_done(p, a);
        break;
    default:
        answer_done(p, a);
        break;
    }
}

void wq_readable(struct wconn *conn)
{
    struct ad_pg *p = conn->client;
    struct wpacket packet;

    while (p->conn == conn && !p->closing && wn_take(conn, &packet)) {
        take_answer(p, &packet);
        wn_done(conn, &packet);
    }
}

/* --- when --- */

static void errand_cb(void *ctx, uint64_t nr)
{
    struct ad_pg *p = ctx;

    (void)nr;
    if (!p->ready || p->step != 0 || p->closing) {
        return;
    }
    if (p->answers_n > 0) {
        send_answers(p);
    } else if (p->look) {
        send_look(p);
    } else {
        schedule(p);
    }
}

static void schedule(struct ad_pg *p)
{
    if (!p->ready || p->step != 0 || p->closing) {
        return;
    }
    if (p->answers_n > 0 || p->look) {
        site_post(p->w->s, p->node, 0, errand_cb, p, 0);
        return;
    }
    if (p->pausing || p->urgent) {
        return;
    }
    if (waiting(p) >= p->config.batch_rows_max) {
        p->urgent = true;
        arm_work(p, 0);
    } else if (anything(p) && !p->work_armed) {
        arm_work(p, p->config.batch_age_ms);
    }
}

static void work_cb(void *ctx, uint64_t nr)
{
    struct ad_pg *p = ctx;

    if (nr != p->work || p->closing || p->halted) {
        return;
    }
    p->work_armed = false;
    if (p->ready) {
        p->urgent = p->pausing = false;
        if (p->step == 0) {
            next_batch(p);
        }
    } else {
        p->pausing = false;
        connect_now(p);
    }
}

/* --- the port --- */

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

int ad_pg_open(struct ad_pg **ret, uv_loop_t *loop, const struct sy_log *log,
               const struct ad_pg_config *config, const struct rp_store *store,
               uint64_t term, const struct ad_pg_callbacks *cb, void *data,
               struct sy_errbuf *eb)
{
    struct world *w = site_now->world;
    struct ad_pg *p = sy_calloc(1, sizeof *p);

    (void)loop, (void)log, (void)eb;
    p->w = w;
    p->node = site_self();
    p->next = w->pgs;
    w->pgs = p;
    p->config = *config;
    p->store = store;
    p->term = term;
    p->cb = *cb;
    p->data = data;
    p->backoff_ms = BACKOFF_FIRST_MS;
    p->limits.readings = config->batch_rows_max;
    p->limits.devices = AD_PG_DEVICES_MAX;
    p->limits.commands = AD_PG_COMMANDS_MAX;
    p->status.link = AD_PG_CONNECTING;
    p->status.since_ms = nd_wall_ms();
    connect_now(p);
    *ret = p;
    return 0;
}

void ad_pg_kick(struct ad_pg *p)
{
    schedule(p);
}

void ad_pg_answer(struct ad_pg *p, const char *id, const char *status, const char *text)
{
    (void)new_answer(p, id, status, text);
    schedule(p);
}

void ad_pg_retried(struct ad_pg *p, uint64_t id, const char *why_not)
{
    (void)p, (void)id, (void)why_not; /* No letter is ever shown here. */
}

void ad_pg_look(struct ad_pg *p)
{
    if (p->ready && !p->look && now_ms() - p->looked_ms >= LOOK_GAP_MS) {
        p->look = true;
        schedule(p);
    }
}

const struct ad_pg_status *ad_pg_status(const struct ad_pg *p)
{
    return &p->status;
}

static void closed_cb(void *ctx, uint64_t arg)
{
    struct ad_pg *p = ctx;

    (void)arg;
    if (p->closed != NULL) {
        p->closed(p->data);
    }
}

void ad_pg_close(struct ad_pg *p, void (*closed)(void *data))
{
    assert(!p->closing);
    drop(p);
    p->closing = true;
    p->closed = closed;
    site_post(p->w->s, p->node, 0, closed_cb, p, 0);
}

void wq_free(struct world *w)
{
    while (w->pgs != NULL) {
        struct ad_pg *p = w->pgs;

        w->pgs = p->next;
        if (p->second != NULL) {
            wp_free_group(p->second);
            sy_free(p->second);
        }
        ad_pg_batch_free(&p->batch);
        sy_free(p);
    }
}

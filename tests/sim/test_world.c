/* The world alone, with a small node in it: the real state machine and the real source,
 * whose log is committed after a moment by nobody else. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/z2m/z2m.h"
#include "base/mem.h"
#include "node/replica.h"
#include "tests/sim/world_impl.h"

/* --- a site without nodes --- */

struct event
{
    uint64_t t, nr;
    unsigned node;
    uint32_t life;
    site_fn fn;
    void *ctx;
    uint64_t arg;
};

static struct event events[1 << 16];
static size_t events_n;
static uint64_t events_nr;
static unsigned self;
static uint32_t lives[SIM_NODES_MAX + 1];
static bool reach[SIM_NODES_MAX + 1][2];
static struct site site;
struct site *site_now = &site;

unsigned site_self(void)
{
    return self;
}

uint32_t site_life(unsigned node)
{
    return lives[node];
}

void site_post(struct site *s, unsigned node, uint64_t delay_ms, site_fn fn, void *ctx,
               uint64_t arg)
{
    assert_true(events_n < sizeof events / sizeof events[0]);
    events[events_n++] = (struct event){
        s->sim->now + delay_ms, events_nr++, node, lives[node], fn, ctx, arg};
}

uint64_t site_random(struct site *s)
{
    return sim_random(s->sim);
}

uint64_t site_below(struct site *s, uint64_t n)
{
    return sim_below(s->sim, n);
}

uint64_t site_ms(struct site *s)
{
    return s->sim->now;
}

bool site_reach(struct site *s, unsigned node, enum site_where where, bool to)
{
    (void)s, (void)to;
    return reach[node][where];
}

uint64_t nd_now_ms(void)
{
    return site.sim->now;
}

uint64_t nd_wall_ms(void)
{
    return WORLD_EPOCH_MS + site.sim->now;
}

static void run(uint64_t ms)
{
    uint64_t until = site.sim->now + ms;

    for (;;) {
        size_t best = events_n;
        struct event e;

        for (size_t i = 0; i < events_n; i++) {
            if (events[i].t <= until &&
                (best == events_n || events[i].t < events[best].t ||
                 (events[i].t == events[best].t && events[i].nr < events[best].nr))) {
                best = i;
            }
        }
        if (best == events_n) {
            break;
        }
        e = events[best];
        events[best] = events[--events_n];
        site.sim->now = e.t > site.sim->now ? e.t : site.sim->now;
        if (e.node == 0 || e.life == lives[e.node]) {
            self = e.node;
            e.fn(e.ctx, e.arg);
            self = 0;
            world_check(site.world);
        }
    }
    site.sim->now = until;
}

/* --- a small node: all of them share one log --- */

enum { COMMIT_MS = 4 };

struct mini
{
    unsigned id;
    bool watch;
    uint64_t term;
    struct rp_store *store;
    void *memory;
    uint64_t index;
    struct rp_batch batch;
    struct ad_mqtt *mqtt;
    struct ad_pg *pg;
    void *source[WORLD_AREAS_MAX];
    unsigned inputs;
    bool no_release;
    bool deaf; /* deposed, and does not know: nothing that it wants is agreed on */
};

static struct mini minis[3];
static struct sy_buf *log_entries;
static uint64_t log_n;
static const struct sy_log quiet;

static void apply(struct mini *n)
{
    while (n->index < log_n) {
        struct sy_buf *b = &log_entries[n->index++];

        assert_int_equal(rp_store_apply(n->store, n->index, b->p, b->len, NULL, NULL), 0);
        world_applied(site.world, n->id, n->store, n->index);
    }
}

static void commit(struct mini *n)
{
    struct sy_buf entry = {0};

    if (n->batch.n == 0 || n->deaf) {
        return;
    }
    rp_batch_seal(&n->batch, nd_wall_ms(), (uint16_t)n->id, &entry);
    log_entries = sy_realloc(log_entries, (log_n + 1) * sizeof *log_entries);
    log_entries[log_n++] = entry;
    apply(n);
}

static void on_note(void *data, const struct rp_source_note *note)
{
    struct mini *n = data;

    if (note->kind == RP_NOTE_FILTER && n->mqtt != NULL) {
        ad_mqtt_subscribe(n->mqtt, note->filter, 1, note->fresh);
    }
}

static void on_message(void *data, const struct rp_message *m)
{
    struct mini *n = data;
    uint32_t before = n->batch.n;

    for (unsigned i = 0; i < site.world->config.areas; i++) {
        ad_z2m_source.message(n->source[i], m, nd_wall_ms(), &n->batch);
    }
    n->inputs += n->batch.n - before;
}

static void committed(void *ctx, uint64_t term)
{
    struct mini *n = ctx;

    if (!n->watch || n->term != term || n->deaf) {
        return;
    }
    commit(n);
    if (!n->no_release) {
        ad_mqtt_release(n->mqtt);
    }
    ad_pg_kick(n->pg);
}

static void on_burst(void *data, size_t count)
{
    struct mini *n = data;

    (void)count;
    if (n->inputs == 0 && !n->deaf) {
        ad_mqtt_release(n->mqtt);
        return;
    }
    n->inputs = 0;
    site_post(&site, n->id, COMMIT_MS, committed, n, n->term);
}

static void on_changed(void *data)
{
    (void)data;
}

static void subscribe_one(void *data, const char *filter, int qos, bool fresh)
{
    ad_mqtt_subscribe(data, filter, qos, fresh);
}

static void on_subscribe(void *data)
{
    struct mini *n = data;

    for (uint16_t i = 1; i <= site.world->config.areas; i++) {
        ad_z2m_source.topics(rp_store_area(n->store, i), subscribe_one, n->mqtt);
    }
}

static void on_shipped(void *data, uint64_t reading, uint64_t revision, uint64_t letter)
{
    struct mini *n = data;

    rp_batch_shipped(&n->batch, reading, revision);
    if (letter > rp_store_letters_shipped(n->store)) {
        rp_batch_letters_shipped(&n->batch, letter);
    }
    commit(n);
}

static void on_fenced(void *data, uint64_t term)
{
    (void)data, (void)term;
}

static void on_rows(void *data, const struct ad_pg_ask *asks, unsigned count)
{
    struct mini *n = data;

    for (unsigned i = 0; i < count; i++) {
        const struct rp_device *d =
            rp_store_device_named(n->store, 0, asks[i].meter, NULL);
        int64_t left =
            asks[i].expires ? asks[i].expires_in_ms : 60000 - (int64_t)asks[i].age_ms;
        char id[RP_ID_SIZE];

        if (left <= 0 || d == NULL) {
            ad_pg_answer(n->pg, asks[i].id, "expired", "late");
            continue;
        }
        snprintf(id, sizeof id, "pg:%s", asks[i].id);
        rp_batch_command(&n->batch, id, d->ieee, "state", asks[i].value,
                         RP_SOURCE_POSTGRES, nd_wall_ms() + (uint64_t)left);
    }
    commit(n);
}

static void on_retry(void *data, const struct ad_pg_retry *letter)
{
    (void)data, (void)letter;
}

/* Each second each open command, as dispatch.c would. */
static void send_commands(void *ctx, uint64_t term)
{
    struct mini *n = ctx;
    const struct rp_command *c = NULL;
    struct sy_buf topic = {0}, payload = {0};

    if (!n->watch || n->term != term || n->deaf) {
        return;
    }
    rp_batch_tick(&n->batch);
    commit(n);
    while ((c = rp_store_next_open(n->store, c)) != NULL) {
        uint64_t seq = c->seq;
        const struct rp_device *d;

        if (c->deadline_ms < nd_wall_ms() + 500) {
            continue;
        }
        rp_batch_sent(&n->batch, c->seq, c->attempts + 1, nd_wall_ms() + 1000);
        commit(n);
        c = rp_store_command_seq(n->store, seq);
        d = rp_store_device(n->store, c->ieee);
        ad_z2m_source.command(n->source[d->area - 1], d, c, &topic, &payload);
        (void)!ad_mqtt_publish(n->mqtt, (const char *)topic.p, payload.p, payload.len,
                               false);
    }
    sy_buf_free(&topic);
    sy_buf_free(&payload);
    site_post(&site, n->id, 1000, send_commands, n, term);
}

static void take_watch(void *ctx, uint64_t term)
{
    static const struct ad_mqtt_callbacks mqtt_cb = {on_message, on_burst, on_changed,
                                                     on_subscribe};
    static const struct ad_pg_callbacks pg_cb = {on_shipped, on_changed, on_fenced,
                                                 on_rows, on_retry};
    const struct rp_source_config source = {.hold_ms = 180000};
    struct mini *n = ctx;
    struct nd_config *c = sy_calloc(1, sizeof *c);
    struct sy_errbuf eb;

    n->watch = true;
    n->term = term;
    n->no_release = false;
    n->inputs = 0;
    apply(n);
    snprintf(c->cluster, sizeof c->cluster, "sim");
    world_node_config(site.world, c);
    snprintf(c->postgres.node, sizeof c->postgres.node, "n%u", n->id);
    rp_batch_watch(&n->batch, term, (uint16_t)n->id);
    for (unsigned i = 0; i < c->areas_n; i++) {
        rp_batch_area(&n->batch, c->areas[i].name, c->areas[i].base_topic);
    }
    commit(n);
    for (uint16_t i = 0; i < c->areas_n; i++) {
        n->source[i] =
            ad_z2m_source.begin(n->store, (uint16_t)(i + 1), &source, on_note, n);
    }
    assert_int_equal(
        ad_mqtt_open(&n->mqtt, NULL, &quiet, &c->brokers[0], &mqtt_cb, n, &eb), 0);
    on_subscribe(n);
    assert_int_equal(
        ad_pg_open(&n->pg, NULL, &quiet, &c->postgres, n->store, term, &pg_cb, n, &eb),
        0);
    site_post(&site, n->id, 1000, send_commands, n, term);
    sy_free(c);
}

static void end_sources(struct mini *n)
{
    for (unsigned i = 0; i < WORLD_AREAS_MAX; i++) {
        if (n->source[i] != NULL) {
            ad_z2m_source.end(n->source[i]);
            n->source[i] = NULL;
        }
    }
    n->batch.buf.len = 0;
    n->batch.n = 0;
    n->watch = n->deaf = false;
}

static void lead(unsigned node, uint64_t term)
{
    site_post(&site, node, 0, take_watch, &minis[node], term);
}

static void step_down(void *ctx, uint64_t term)
{
    struct mini *n = ctx;

    if (!n->watch || n->term != term) {
        return;
    }
    end_sources(n);
    ad_mqtt_close(n->mqtt, NULL);
    ad_pg_close(n->pg, NULL);
}

static void kill_node(unsigned node, bool silent)
{
    end_sources(&minis[node]);
    lives[node]++;
    world_node_died(site.world, node, silent);
    /* Its state comes back with it. */
    world_applied(site.world, node, minis[node].store, minis[node].index);
}

static void begin(uint64_t seed)
{
    struct world_config c;
    struct rp_limits l;

    site.sim = sim_new(3, seed, &sim_counter);
    self = 0;
    log_entries = NULL; /* What a bad run has left stays. */
    log_n = 0;
    events_n = 0;
    memset(reach, 1, sizeof reach);
    world_config_default(&c);
    rp_limits_default(&l);
    l.readings_max = 20000;
    for (unsigned i = 1; i <= 2; i++) {
        struct mini *n = &minis[i];

        *n = (struct mini){.id = i};
        if (posix_memalign(&n->memory, 64, rp_store_size(&l)) != 0) {
            abort();
        }
        memset(n->memory, 0, rp_store_size(&l));
        n->store = rp_store_init(&l, n->memory);
    }
    world_new(&site, &c);
}

static void end(void)
{
    for (unsigned i = 1; i <= 2; i++) {
        end_sources(&minis[i]);
        rp_batch_free(&minis[i].batch);
        free(minis[i].memory);
    }
    for (uint64_t i = 0; i < log_n; i++) {
        sy_buf_free(&log_entries[i]);
    }
    sy_free(log_entries);
    log_entries = NULL;
    log_n = 0;
    world_free(site.world);
    sim_destroy(&site.sim);
}

/* What the other node did is known to both. */
static void level(void)
{
    apply(&minis[1]);
    apply(&minis[2]);
}

static void finish(void)
{
    world_heal(site.world);
    run(90000);
    world_quiet(site.world);
    for (unsigned i = 0; i < 600; i++) {
        level();
        if (world_drained(site.world)) {
            break;
        }
        run(97);
    }
    level();
    world_check_end(site.world);
}

#define SOUND(SEED)                                          \
    site.mutant = SITE_SOUND;                                \
    begin(SEED);                                             \
    if (!SIM_TRY(site.sim)) {                                \
        fail_msg("seed %d: %s", (int)(SEED), site.sim->why); \
    }

static void print_world(void)
{
    struct sy_buf b = {0};

    world_print(site.world, &b);
    sy_buf_u8(&b, '\0');
    print_message("%s\n", (const char *)b.p);
    sy_buf_free(&b);
}

/* --- tests --- */

static void a_quiet_world_loses_nothing(void **state)
{
    (void)state;
    SOUND(1);
    lead(1, 1);
    run(30000);
    finish();
    assert_true(site.world->pg.readings_n > 50);
    assert_true(site.world->check.confirmed > 3);
    end();
}

/* @mutant: is it noticed? */
static bool torture(uint64_t seed, enum site_mutant mutant)
{
    volatile uint64_t term = 1;

    site.mutant = mutant;
    begin(seed);
    if (!SIM_TRY(site.sim)) {
        print_message("seed %d: %s\n", (int)seed, site.sim->why);
        return true; /* Left as it is. */
    }
    lead(1, term);
    run(3000);
    for (unsigned i = 0; i < 60; i++) {
        unsigned old = minis[1].watch ? 1 : 2, heir = 3 - old;

        run(site_below(&site, 1500));
        world_fault(site.world);
        if (site_below(&site, 4) != 0) {
            continue;
        }
        term++;
        if (site_below(&site, 2) == 0) {
            kill_node(old, site_below(&site, 2) == 0);
        } else {
            /* It is cut off and does not know it yet: what it had sent comes late. */
            reach[old][SITE_PG] = site_below(&site, 2) == 0;
            reach[old][SITE_BROKER] = site_below(&site, 2) == 0;
            minis[old].deaf = true;
            run(site_below(&site, 3000));
            site_post(&site, old, site_below(&site, 3000), step_down, &minis[old],
                      minis[old].term);
        }
        lead(heir, term);
        run(3000 + site_below(&site, 3000));
        reach[old][SITE_PG] = reach[old][SITE_BROKER] = true;
    }
    finish();
    if (seed <= 2) {
        print_world();
    }
    end();
    return false;
}

static void nothing_is_lost_whatever_fails(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        if (torture(seed, SITE_SOUND)) {
            fail_msg("seed %d", (int)seed);
        }
    }
}

static void is_noticed(enum site_mutant mutant)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        if (torture(seed, mutant)) {
            return;
        }
    }
    fail_msg("nobody noticed");
}

static void an_early_acknowledgement_is_noticed(void **state)
{
    (void)state;
    is_noticed(SITE_ACK_EARLY);
}

static void a_missing_fence_is_noticed(void **state)
{
    (void)state;
    is_noticed(SITE_NO_FENCE);
}

static void a_watermark_of_its_own_is_noticed(void **state)
{
    (void)state;
    is_noticed(SITE_SPLIT_TX);
}

static void a_command_kept_for_later_is_noticed(void **state)
{
    (void)state;
    is_noticed(SITE_LATE_COMMAND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quiet_world_loses_nothing),
        cmocka_unit_test(nothing_is_lost_whatever_fails),
        cmocka_unit_test(an_early_acknowledgement_is_noticed),
        cmocka_unit_test(a_missing_fence_is_noticed),
        cmocka_unit_test(a_watermark_of_its_own_is_noticed),
        cmocka_unit_test(a_command_kept_for_later_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

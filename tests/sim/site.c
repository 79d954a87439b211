#include "tests/sim/site.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/sim/world.h"

typedef unsigned long long ull;

enum { LINKS_MS = 50, SEGMENT = 64 << 10, BATCH_MAX = 16 << 10 };

struct site *site_now;

const char *const site_mutants[SITE_MUTANTS] = {
    [SITE_SOUND] = "none",
    [SITE_ACK_EARLY] = "ack-early",
    [SITE_NO_FENCE] = "no-fence",
    [SITE_SPLIT_TX] = "split-tx",
    [SITE_NO_LEASE_NO_TAKEOVER] = "no-takeover",
    [SITE_LATE_COMMAND] = "late-command",
    [SITE_NO_DEDUP] = "no-dedup",
};

/* --- small things --- */

unsigned site_self(void)
{
    return site_now->self;
}

uint32_t site_life(unsigned node)
{
    return site_now->sim->nodes[node].life;
}

struct site_node *site_of(struct site *s, unsigned node)
{
    return &s->nodes[node];
}

static struct site_node *of(const struct sim_node *x)
{
    return &((struct site *)x->sim->host_data)->nodes[x->id];
}

void site_post(struct site *s, unsigned node, uint64_t delay_ms, site_fn fn, void *ctx,
               uint64_t arg)
{
    sim_queue_post(&s->sim->queue, (struct sim_event){.t = s->sim->now + delay_ms,
                                                      .type = SIM_CALL,
                                                      .to = node,
                                                      .to_life = s->sim->nodes[node].life,
                                                      .n = arg,
                                                      .fn = fn,
                                                      .ctx = ctx});
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
    return !s->blocked[node][where][to];
}

/* --- the state machine under the core --- */

static void limits_of_site(struct rp_limits *l)
{
    *l = (struct rp_limits){.areas_max = 8,
                            .devices_max = 64,
                            .readings_max = 20000,
                            .commands_max = 256,
                            .letters_max = 32};
}

/* A node that is alone applies its log while its core is being made; its node is opened
 * after that (tests/node/test_control.c has what vagtd does with these). */
static void early_event(void *data, const struct rp_event *ev)
{
    (void)data, (void)ev;
}

static void *create_state(void)
{
    struct site_node *o = site_of(site_now, site_self());
    struct nd_replica *r = sy_calloc(1, sizeof *r);

    limits_of_site(&r->config.limits);
    r->config.batch_max = BATCH_MAX;
    r->config.pending_max = 16 * BATCH_MAX;
    r->config.inflight_max = 4;
    r->config.raft.id = o->id;
    r->memory = aligned_alloc(64, (rp_store_size(&r->config.limits) + 63) / 64 * 64);
    memset(r->memory, 0, rp_store_size(&r->config.limits));
    r->store = rp_store_init(&r->config.limits, r->memory);
    sy_list_init(&r->batch_waits);
    sy_list_init(&r->sealed);
    sy_list_init(&r->waits);
    sy_list_init(&r->done);
    r->cb.event = early_event;
    o->r = r;
    return r;
}

/* Who waits is not told, and is not there any more. */
static void destroy_state(void *state)
{
    struct nd_replica *r = state;
    struct sy_link *l;

    /* Nobody waits any more: on_stopped(). */
    while ((l = sy_list_pop(&r->sealed)) != NULL) {
        struct nd_sealed *s = SY_CONTAINER(l, struct nd_sealed, link);

        sy_buf_free(&s->entry);
        sy_free(s);
    }
    rp_batch_free(&r->batch);
    free(r->memory);
    sy_free(r);
}

static int put_part(void *to, const void *p, size_t n)
{
    sy_buf_put(to, p, n);
    return 0;
}

static void save_state(const void *state, struct sy_buf *to)
{
    const struct nd_replica *r = state;

    if (rp_store_snapshot(r->store, put_part, to) != 0) {
        sim_fail(site_now->sim, "node %u: no snapshot can be made", site_self());
    }
}

static int load_state(void *state, const uint8_t *p, size_t n)
{
    struct nd_replica *r = state;
    struct rp_restore restore;
    struct sy_errbuf eb = {{0}};
    int rv;

    rp_restore_begin(&restore, r->store, &eb);
    rv = rp_restore_feed(&restore, p, n);
    if (rv == 0) {
        rv = rp_restore_end(&restore);
    }
    sy_buf_free(&restore.carry);
    if (rv == 0 && r->core != NULL) { /* While it runs. */
        r->dirty = true;
        world_applied(site_now->world, site_self(), r->store, rp_store_index(r->store));
    }
    return rv;
}

static uint64_t hash_state(const void *state)
{
    const struct nd_replica *r = state;

    return rp_store_hash(r->store);
}

static const struct sim_fsm fsm = {
    .create = create_state,
    .destroy = destroy_state,
    .save = save_state,
    .load = load_state,
    .hash = hash_state,
};

static void on_apply(struct sim_node *x, uint64_t index, uint64_t term, uint8_t type,
                     const uint8_t *p, size_t n)
{
    struct site_node *o = of(x);

    nd_replica_apply(o->r, index, term, type, p, n);
    world_applied(o->site->world, o->id, o->r->store, index);
}

/* What node/replica_turn.c calls when the state can no longer be trusted. */
void nd_disk_fatal(struct nd_replica *r, const char *what, const char *why)
{
    (void)r;
    sim_fail(site_now->sim, "node %u: fatal: %s: %s", site_self(), what, why);
}

/* --- its life --- */

static void log_line(void *data, enum sy_level level, const char *line, size_t len)
{
    const struct site_node *o = data;

    sim_trace(o->site->sim, level <= SY_NOTE ? 1 : 2, "node %u: | %.*s", o->id, (int)len,
              line);
}

static void configure(struct site *s, struct site_node *o, struct nd_config *c)
{
    static const char *const names[] = {"ada", "bea", "cleo", "dora", "eva"};

    snprintf(c->cluster, sizeof c->cluster, "site");
    snprintf(c->data_dir, sizeof c->data_dir, "/");
    c->id = o->id;
    c->nodes_n = s->sim->n;
    for (unsigned i = 0; i < c->nodes_n; i++) {
        c->nodes[i].id = i + 1;
        c->nodes[i].witness = i + 1 == s->witness;
        snprintf(c->nodes[i].name, sizeof c->nodes[i].name, "%s", names[i]);
        snprintf(c->nodes[i].role, sizeof c->nodes[i].role, "%s",
                 c->nodes[i].witness ? "witness" : "voter");
        snprintf(c->nodes[i].peer_host, sizeof c->nodes[i].peer_host, "127.0.0.1");
    }
    c->raft = o->x->config;
    limits_of_site(&c->limits);
    snprintf(c->when_full, sizeof c->when_full, "hold");
    c->commands.retry_min_ms = 2000;
    c->commands.retry_max_ms = 20000;
    c->commands.area_pace_ms = 20;
    c->commands.open_max = 100;
    c->commands.timeout_ms = 60000;
    c->commands.breaker = (struct rp_breaker_config){
        .failures = 5, .pause_ms = 5000, .pause_max_ms = 20000};
    c->drain_timeout_ms = 2000;
    c->online_hold_ms = 20000;
    c->checkpoint_ms = 2000;
    c->batch_max = BATCH_MAX;
    world_node_config(s->world, c);
}

static void look_at_links(void *ctx, uint64_t arg);

static void on_started(struct sim_node *x)
{
    struct site_node *o = of(x);
    struct sy_errbuf eb = {{0}};

    o->n = sy_calloc(1, sizeof *o->n);
    configure(o->site, o, &o->n->config);
    o->n->log = (struct sy_log){.level = o->site->sim->verbose > 1   ? SY_DEBUG
                                         : o->site->sim->verbose > 0 ? SY_INFO
                                                                     : SY_ERR,
                                .data = o,
                                .write = log_line};
    if (nd_node_open(o->n, NULL, &eb) != 0) {
        sim_fail(o->site->sim, "node %u does not open: %s", o->id, eb.text);
    }
    o->n->rng = site_random(o->site);
    memset(o->linked, 0, sizeof o->linked);
    site_post(o->site, o->id, 1, look_at_links, o, 0);
}

static void on_stopped(struct sim_node *x, bool power)
{
    struct site_node *o = of(x);
    struct nd_node *n = o->n;

    o->n = NULL;
    site_timers_clear(o);
    if (n != NULL) {
        /* Those who wait are in memory that goes with the node: they are told, and as
         * it is closing nobody else hears of it. */
        n->closing = true;
        nd_replica_cancel(o->r);
        for (unsigned i = 0; i < n->areas_n; i++) {
            if (n->areas[i].state != NULL) {
                n->areas[i].source->end(n->areas[i].state);
            }
        }
        nd_dispatch_free(n);
        nd_forward_free(n);
        nd_status_free(n);
        sy_free(n);
    }
    x->life++; /* Whatever it had under way is nobody's. */
    world_node_died(o->site->world, o->id, power);
    x->life--;
    o->r = NULL; /* Goes with the state. */
}

static void on_turn(struct sim_node *x)
{
    struct site_node *o = of(x);

    if (o->n == NULL) {
        return;
    }
    for (unsigned i = 0; i < 100; i++) {
        bool more;

        nd_replica_observe(o->r);
        more = nd_replica_turn(o->r);
        if (o->r->closing) { /* SIGTERM, and all is done. */
            o->site->stats.graceful++;
            sim_crash(x, false);
            sim_queue_post(&x->sim->queue,
                           (struct sim_event){
                               .t = x->sim->now + 300, .type = SIM_START, .to = x->id});
            return;
        }
        if (!more) {
            return;
        }
    }
    sim_fail(o->site->sim, "node %u turns in circles", o->id);
}

static void on_died(struct sim_node *x)
{
    struct site *s = of(x)->site;

    s->stats.suicides++;
    sim_trace(s->sim, 1, "node %u: ends itself", x->id);
    sim_crash(x, false);
    sim_queue_post(
        &s->sim->queue,
        (struct sim_event){.t = s->sim->now + 1000, .type = SIM_START, .to = x->id});
}

static void on_enter(struct sim_node *x)
{
    of(x)->site->self = x->id;
}

static void on_leave(struct sim_node *x)
{
    struct site *s = of(x)->site;

    s->self = 0;
    world_check(s->world);
}

/* --- peers --- */

static void on_frame(struct sim_node *x, unsigned from, uint8_t kind, const uint8_t *p,
                     size_t n)
{
    struct site_node *o = of(x);

    if (o->n != NULL && o->linked[from]) {
        o->r->cb.frame(o->r->data, from, kind, p, n);
    }
}

static void set_link(struct site_node *o, unsigned peer, bool up, bool broken)
{
    if (o->n == NULL || o->linked[peer] == up) {
        return;
    }
    o->linked[peer] = up;
    if (up) {
        cs_core_linked(o->x->core, site_ms(o->site));
    } else if (broken) {
        cs_core_lost(o->x->core, site_ms(o->site), peer);
    }
    nd_replica_observe(o->r);
    o->r->cb.link(o->r->data, peer, up, broken);
    o->r->dirty = true;
}

static void look_at_links(void *ctx, uint64_t arg)
{
    struct site_node *o = ctx;
    struct site *s = o->site;

    (void)arg;
    for (unsigned i = 1; i <= s->sim->n; i++) {
        if (i != o->id) {
            set_link(
                o, i,
                s->sim->nodes[i].up && !s->sim->cut[o->id][i] && !s->sim->cut[i][o->id],
                false);
        }
    }
    site_post(s, o->id, LINKS_MS, look_at_links, o, 0);
}

static void hear_of_death(void *ctx, uint64_t peer)
{
    set_link(ctx, (unsigned)peer, false, true);
}

bool ad_peers_linked(const struct ad_peers *p, uint64_t id)
{
    const struct site_node *o = (const void *)p;

    return id <= SIM_NODES_MAX && o->linked[id];
}

void ad_peer_config_default(struct ad_peer_config *c)
{
    memset(c, 0, sizeof *c);
}

const struct ad_peer_stats *ad_peers_stats(const struct ad_peers *p)
{
    static const struct ad_peer_stats none;

    (void)p;
    return &none;
}

/* --- nd_replica, as far as it is not replica_turn.c --- */

int nd_replica_open(struct nd_replica **ret, uv_loop_t *loop, const struct sy_log *log,
                    const struct nd_replica_config *config,
                    const struct nd_replica_callbacks *cb, void *data,
                    struct sy_errbuf *eb)
{
    struct site_node *o = site_of(site_now, site_self());
    struct nd_replica *r = o->r;

    (void)loop, (void)config, (void)eb;
    r->log = log;
    r->cb = *cb;
    r->data = data;
    r->core = o->x->core;
    r->wal = o->x->wal;
    r->peers = (struct ad_peers *)(void *)o;
    r->role = CS_FOLLOWER;
    nd_replica_observe(r);
    r->dirty = true;
    *ret = r;
    return 0;
}

void nd_replica_close(struct nd_replica *r, void (*closed)(void *data))
{
    (void)closed;
    r->closing = true;
    nd_replica_cancel(r);
}

bool nd_replica_send(struct nd_replica *r, uint64_t to, uint8_t kind, const void *p,
                     size_t n)
{
    const struct site_node *o = (const void *)r->peers;

    if (!o->linked[to]) {
        return false;
    }
    sim_send(o->x, to, kind, p, n);
    return true;
}

void nd_replica_mute(struct nd_replica *r, bool mute)
{
    (void)r;
    (void)mute;
}

int nd_replica_peer(struct nd_replica *r, const struct ad_peer_address *a,
                    struct sy_errbuf *eb)
{
    (void)r;
    (void)a;
    (void)eb;
    return 0;
}

const struct ad_peers *nd_replica_peers(const struct nd_replica *r)
{
    return r->peers;
}

const struct ad_wal *nd_replica_wal(const struct nd_replica *r)
{
    return r->wal;
}

uint64_t nd_replica_stall_us(struct nd_replica *r)
{
    (void)r;
    return 0;
}

uint64_t nd_replica_work_us(struct nd_replica *r)
{
    (void)r;
    return 0;
}

/* --- by hand --- */

static void process_gone(struct site *s, unsigned node)
{
    for (unsigned i = 1; i <= s->sim->n; i++) {
        if (i != node && s->sim->nodes[i].up && !s->sim->cut[i][node] &&
            !s->sim->cut[node][i]) {
            site_post(s, i, site_below(s, 3), hear_of_death, site_of(s, i), node);
        }
    }
}

static void end_node(struct site *s, unsigned node, bool power)
{
    struct sim_node *x = &s->sim->nodes[node];

    if (!x->up) {
        return;
    }
    s->self = node;
    sim_crash(x, power);
    s->self = 0;
    if (!power) {
        process_gone(s, node);
    }
}

void site_kill(struct site *s, unsigned node)
{
    end_node(s, node, false);
}

void site_vanish(struct site *s, unsigned node)
{
    s->stats.vanished++;
    end_node(s, node, true);
}

static void be_told_to_stop(void *ctx, uint64_t arg)
{
    struct site_node *o = ctx;

    (void)arg;
    nd_node_stop(o->n);
}

void site_stop(struct site *s, unsigned node)
{
    site_post(s, node, 0, be_told_to_stop, site_of(s, node), 0);
}

void site_start(struct site *s, unsigned node)
{
    sim_queue_post(&s->sim->queue,
                   (struct sim_event){.t = s->sim->now, .type = SIM_START, .to = node});
}

void site_pause(struct site *s, unsigned node, uint64_t ms)
{
    if (s->sim->nodes[node].up && !s->sim->nodes[node].paused) {
        s->stats.pauses++;
        sim_pause(&s->sim->nodes[node], ms);
    }
}

void site_run(struct site *s, uint64_t ms)
{
    sim_run_until(s->sim, s->sim->now + ms);
}

unsigned site_watch(const struct site *s)
{
    uint64_t term = 0;
    unsigned node = 0;

    for (unsigned i = 1; i <= s->sim->n; i++) {
        const struct nd_node *n = s->nodes[i].n;

        if (n != NULL && cs_watch_state(&n->watch) == CS_ACTIVE &&
            cs_watch_term(&n->watch) > term) {
            term = cs_watch_term(&n->watch);
            node = i;
        }
    }
    return node;
}

/* --- the whole --- */

static const struct sim_host host = {
    .enter = on_enter,
    .leave = on_leave,
    .turn = on_turn,
    .died = on_died,
    .started = on_started,
    .stopped = on_stopped,
    .apply = on_apply,
    .frame = on_frame,
};

struct site *site_new(unsigned nodes, uint64_t seed)
{
    struct site *s = sy_calloc(1, sizeof *s);
    struct world_config wc;

    s->sim = sim_new(nodes, seed, &fsm);
    s->sim->host = &host;
    s->sim->host_data = s;
    s->sim->segment_size = SEGMENT;
    s->sim->nodes[0].sim = s->sim; /* The outside: never up. */
    s->nodes[0] = (struct site_node){.site = s, .x = &s->sim->nodes[0]};
    site_now = s;
    for (unsigned i = 1; i <= nodes; i++) {
        s->nodes[i] = (struct site_node){.site = s, .id = i, .x = &s->sim->nodes[i]};
        s->nodes[i].x->config.backlog_max = 1 << 20;
    }
    world_config_default(&wc);
    s->world = world_new(s, &wc);
    return s;
}

void site_boot(struct site *s)
{
    sim_boot(s->sim);
    s->self = 0;
    site_callers_begin(s);
}

void site_destroy(struct site **ref)
{
    struct site *s = *ref;

    sim_destroy(&s->sim);
    world_free(s->world);
    site_callers_free(s);
    sy_free(s);
    site_now = NULL;
    *ref = NULL;
}

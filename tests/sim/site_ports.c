/* What a node finds below it besides its replica: timers, clocks, callers. */

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "adapters/postgres/canary.h"
#include "base/mem.h"
#include "base/mp.h"
#include "tests/sim/site.h"
#include "tests/sim/world.h"

typedef unsigned long long ull;

enum {
    CALLER_PAUSE_MS = 1500,
    CALLER_WAIT_MS = 2000,
    CALLER_TRIES = 8,
    NET_MS = 3,
    TIMEOUT_MIN_MS = 3000,
    TIMEOUT_MAX_MS = 30000
};

static struct site_node *self(void)
{
    return site_of(site_now, site_self());
}

/* --- clocks --- */

uint64_t nd_now_ms(void)
{
    return site_ms(site_now);
}

uint64_t nd_wall_ms(void)
{
    return WORLD_EPOCH_MS + site_ms(site_now) + (uint64_t)self()->clock_off_ms;
}

void uv_update_time(uv_loop_t *loop)
{
    (void)loop;
}

/* Seeds of nodes are the run's. Wrapped, since shared libraries call the real one before
 * there is a run. */
ssize_t __wrap_getrandom(void *to, size_t n, unsigned flags);

ssize_t __wrap_getrandom(void *to, size_t n, unsigned flags)
{
    uint8_t *p = to;

    (void)flags;
    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)site_random(site_now);
    }
    return (ssize_t)n;
}

/* A node that cannot stop its ports ends itself (node.c, die()). */
void __wrap__exit(int code) __attribute__((noreturn));
void __real__exit(int code) __attribute__((noreturn));

void __wrap__exit(int code)
{
    if (site_now == NULL || site_now->self == 0) {
        __real__exit(code);
    }
    sim_die(site_now->sim);
}

/* --- libuv's timers --- */

static struct site_timer *timer_of(struct site_node *o, const uv_timer_t *uv)
{
    for (unsigned i = 0; i < SITE_TIMERS; i++) {
        if (o->timers[i].uv == uv) {
            return &o->timers[i];
        }
    }
    return NULL;
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *uv)
{
    struct site_timer *t = timer_of(self(), NULL);

    (void)loop;
    if (t == NULL) {
        return UV_ENOMEM;
    }
    t->uv = uv;
    t->cb = NULL;
    return 0;
}

static void fire(void *ctx, uint64_t nr)
{
    struct site_node *o = ctx;
    struct site_timer *t = &o->timers[nr % SITE_TIMERS];
    uv_timer_cb cb = t->cb;

    if (t->uv == NULL || cb == NULL || t->nr != nr) {
        return;
    }
    if (t->repeat != 0) {
        site_post(o->site, o->id, t->repeat, fire, o, nr);
    } else {
        t->cb = NULL;
    }
    cb(t->uv);
}

int uv_timer_start(uv_timer_t *uv, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    struct site_node *o = self();
    struct site_timer *t = timer_of(o, uv);

    t->cb = cb;
    t->repeat = repeat;
    t->nr = (t->nr / SITE_TIMERS + 1) * SITE_TIMERS + (uint64_t)(t - o->timers);
    site_post(o->site, o->id, timeout, fire, o, t->nr);
    return 0;
}

int uv_timer_stop(uv_timer_t *uv)
{
    timer_of(self(), uv)->cb = NULL;
    return 0;
}

void uv_close(uv_handle_t *handle, uv_close_cb cb)
{
    struct site_timer *t = timer_of(self(), (uv_timer_t *)(void *)handle);

    t->uv = NULL;
    t->cb = NULL;
    cb(handle);
}

void site_timers_clear(struct site_node *o)
{
    for (unsigned i = 0; i < SITE_TIMERS; i++) {
        o->timers[i].uv = NULL;
        o->timers[i].cb = NULL;
    }
}

/* --- callers --- */

static void call(void *ctx, uint64_t arg);
static void ask(void *ctx, uint64_t arg);

static void begin_command(struct site *s, struct site_caller *c)
{
    static const char *const values[] = {"ON", "OFF"};
    uint64_t ieee =
        world_device(s->world, (unsigned)site_below(s, world_devices(s->world)));
    const char *value = values[site_below(s, 2)];
    uint64_t timeout = TIMEOUT_MIN_MS + site_below(s, TIMEOUT_MAX_MS - TIMEOUT_MIN_MS);

    snprintf(c->id, sizeof c->id, "c%u-%u", c->nr, ++c->count);
    c->request.len = 0;
    sy_mp_map(&c->request, 4);
    sy_mp_kuint(&c->request, "v", 1);
    sy_mp_kuint(&c->request, "id", c->count);
    sy_mp_kstr(&c->request, "op", "send");
    sy_mp_str(&c->request, "args");
    sy_mp_map(&c->request, 5);
    sy_mp_kstr(&c->request, "id", c->id);
    sy_mp_kstr(&c->request, "device", world_device_name(s->world, ieee));
    sy_mp_kstr(&c->request, "property", "state");
    sy_mp_kstr(&c->request, "value", value);
    sy_mp_kuint(&c->request, "timeout_ms", timeout);
    c->tries = 0;
    s->stats.asked++;
    /* A node counts the timeout from when it hears of it, at the last try. */
    world_caller_sent(s->world, c->id, ieee, value,
                      site_ms(s) + timeout + CALLER_TRIES * CALLER_WAIT_MS);
}

static void hear_request(void *ctx, uint64_t arg)
{
    struct site *s = site_now;
    struct site_caller *c = ctx;
    struct nd_asker asker = {.client = {.len = 1, .id = {(uint8_t)c->nr}},
                             .caller = {.role = ND_ROLE_ADMIN, .name = "root"}};

    asker.node = self()->n;
    if (asker.node != NULL && arg == c->count && c->request.len > 0) {
        sim_trace(s->sim, 2, "node %u: asked for %s", site_self(), c->id);
        nd_control_handle(asker.node, &asker, c->request.p, c->request.len);
    }
}

/* Give up, or begin anew after a while. */
static void rest(struct site *s, struct site_caller *c)
{
    c->request.len = 0;
    site_post(s, 0, 1 + site_below(s, CALLER_PAUSE_MS), call, c, 0);
}

static void ask(void *ctx, uint64_t arg)
{
    struct site *s = site_now;
    struct site_caller *c = ctx;

    if (c->request.len == 0 || arg != c->count) {
        return;
    }
    if (site_ms(s) - c->asked_ms < CALLER_WAIT_MS && c->tries > 0) {
        return; /* An older look; asked again meanwhile. */
    }
    if (c->tries++ == CALLER_TRIES) {
        s->stats.given_up++;
        rest(s, c);
        return;
    }
    c->node = 1 + (unsigned)site_below(s, s->sim->n);
    c->asked_ms = site_ms(s);
    if (s->sim->nodes[c->node].up) {
        site_post(s, c->node, site_below(s, NET_MS), hear_request, c, c->count);
    }
    site_post(s, 0, CALLER_WAIT_MS, ask, c, c->count);
}

static void call(void *ctx, uint64_t arg)
{
    struct site *s = site_now;
    struct site_caller *c = ctx;

    (void)arg;
    if (!s->calling) {
        site_post(s, 0, CALLER_PAUSE_MS, call, c, 0);
        return;
    }
    begin_command(s, c);
    ask(c, c->count);
}

struct answer
{
    struct site_caller *caller;
    uint32_t id;
    char code[32], status[16];
};

static void hear_answer(void *ctx, uint64_t arg)
{
    struct answer *a = ctx;
    struct site *s = site_now;
    struct site_caller *c = a->caller;
    bool again = strcmp(a->code, "not_leader") == 0 || strcmp(a->code, "busy") == 0 ||
                 strcmp(a->code, "unreachable") == 0 ||
                 strcmp(a->code, "unknown_outcome") == 0 ||
                 strcmp(a->code, "no_leader") == 0 || strcmp(a->code, "timeout") == 0;

    (void)arg;
    if (c->request.len > 0 && a->id == c->count) {
        sim_trace(s->sim, 2, "caller %u: %s: %s%s", c->nr, c->id, a->status, a->code);
        if (again) {
            c->asked_ms = 0;
            site_post(s, 0, 50 + site_below(s, 200), ask, c, c->count);
        } else {
            s->stats.answered++;
            world_caller_answer(s->world, c->id, a->status);
            rest(s, c);
        }
    }
    sy_free(a);
}

void ad_zmq_reply(struct ad_zmq *z, const struct ad_zmq_client *client, const void *p,
                  size_t n)
{
    struct site *s = site_now;
    struct answer *a = sy_calloc(1, sizeof *a);
    struct sy_cur c = {.p = p, .n = n}, part = c;

    (void)z;
    a->caller = &s->callers[client->id[0]];
    a->id = (uint32_t)nd_map_uint(c, "id", 0);
    if (nd_map_find(&part, "error")) {
        nd_map_str(part, "code", a->code, sizeof a->code);
    } else {
        part = c;
        if (nd_map_find(&part, "result") && nd_map_find(&part, "command")) {
            nd_map_str(part, "status", a->status, sizeof a->status);
        }
    }
    site_post(s, 0, 1 + site_below(s, NET_MS), hear_answer, a, 0);
}

void site_callers_begin(struct site *s)
{
    s->calling = true;
    for (unsigned i = 0; i < SITE_CALLERS; i++) {
        s->callers[i].nr = i;
        site_post(s, 0, 1000 + site_below(s, CALLER_PAUSE_MS), call, &s->callers[i], 0);
    }
}

void site_callers_free(struct site *s)
{
    for (unsigned i = 0; i < SITE_CALLERS; i++) {
        sy_buf_free(&s->callers[i].request);
    }
}

bool site_callers_idle(const struct site *s)
{
    for (unsigned i = 0; i < SITE_CALLERS; i++) {
        if (s->callers[i].request.len > 0) {
            return false;
        }
    }
    return true;
}

/* --- the rest of the control plane --- */

int ad_zmq_open(struct ad_zmq **ret, uv_loop_t *loop, const struct sy_log *log,
                const struct ad_zmq_config *config, const struct ad_zmq_owner *owner,
                struct sy_errbuf *eb)
{
    (void)loop, (void)log, (void)config, (void)owner, (void)eb;
    *ret = (struct ad_zmq *)(void *)self();
    return 0;
}

void ad_zmq_ask_again(struct ad_zmq *z)
{
    (void)z;
}

bool ad_zmq_heard(const struct ad_zmq *z)
{
    (void)z;
    return false;
}

void ad_zmq_publish(struct ad_zmq *z, const char *name, const void *p, size_t n)
{
    (void)z, (void)name, (void)p, (void)n;
}

const struct ad_zmq_stats *ad_zmq_stats(struct ad_zmq *z)
{
    static const struct ad_zmq_stats none;

    (void)z;
    return &none;
}

void ad_zmq_close(struct ad_zmq *z, void (*closed)(void *data))
{
    (void)z, (void)closed;
}

/* --- what a standby tries: never an answer --- */

struct ad_probe *ad_probe_start(uv_loop_t *loop, const struct ad_probe_config *config,
                                ad_probe_cb cb, void *data)
{
    (void)loop, (void)config, (void)cb;
    return data;
}

bool ad_probe_is_held(const struct ad_probe *p)
{
    (void)p;
    return false;
}

void ad_probe_cancel(struct ad_probe *p)
{
    (void)p;
}

/* Drills are not run here. */
int ad_pg_canary_open(struct ad_pg_canary **ret, uv_loop_t *loop,
                      const struct ad_pg_config *config, const char *prefix,
                      uint64_t since_ms, ad_pg_canary_cb cb, void *data,
                      struct sy_errbuf *eb)
{
    (void)ret, (void)loop, (void)config, (void)prefix, (void)since_ms, (void)cb;
    (void)data;
    return sy_fail(eb, SY_ENOTFOUND, "no canaries here");
}

void ad_pg_canary_ask(struct ad_pg_canary *c, uint64_t base, uint64_t than)
{
    (void)c, (void)base, (void)than;
}

const char *ad_pg_canary_error(const struct ad_pg_canary *c)
{
    (void)c;
    return "";
}

void ad_pg_canary_close(struct ad_pg_canary *c, void (*closed)(void *data))
{
    (void)c, (void)closed;
}

int ad_pg_check_start(struct ad_pg_check **ret, uv_loop_t *loop,
                      const struct ad_pg_config *config, ad_pg_check_cb cb, void *data,
                      struct sy_errbuf *eb)
{
    (void)loop, (void)config, (void)cb, (void)eb;
    *ret = data;
    return 0;
}

void ad_pg_check_cancel(struct ad_pg_check *c)
{
    (void)c;
}

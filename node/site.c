/* The site's resources (site.h). */

#include "node/site.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "node/node.h"

enum {
    RETRY_MIN_MS = 1000,
    RETRY_MAX_MS = 60000,
    YOUNG_MS = 1000,
    SILENT_MS = 4 * ND_GOSSIP_MS
};

static const char key[] = "resource.holder";

/* --- the list --- */

static bool is_witness(const struct nd_node *n)
{
    return nd_config_self(&n->config)->witness;
}

static void fill_in(struct ad_resource *r)
{
    struct cs_resource_spec *s = &r->spec;

    r->start_ms = r->start_ms != 0 ? r->start_ms : 60000;
    r->stop_ms = r->stop_ms != 0 ? r->stop_ms : 10000;
    r->look_ms = r->look_ms != 0 ? r->look_ms : 10000;
    s->monitor_ms = s->monitor_ms != 0 ? s->monitor_ms : 10000;
    s->retry_min_ms = s->retry_min_ms != 0 ? s->retry_min_ms : RETRY_MIN_MS;
    s->retry_max_ms = s->retry_max_ms != 0 ? s->retry_max_ms : RETRY_MAX_MS;
    s->tries = s->tries != 0 ? s->tries : 3;
}

int nd_site_add(struct nd_node *n, const struct ad_resource *r)
{
    struct nd_site *s = &n->site;
    int i;

    if (is_witness(n)) {
        return -1;
    }
    if (s->list == NULL) {
        s->list = sy_calloc(CS_RESOURCES_MAX, sizeof *s->list);
        s->parts = sy_calloc(CS_RESOURCES_MAX, sizeof *s->parts);
    }
    if (s->m.n == CS_RESOURCES_MAX) {
        return -1;
    }
    s->list[s->m.n] = *r;
    fill_in(&s->list[s->m.n]);
    i = cs_resources_add(&s->m, &s->list[s->m.n].spec);
    if (i >= 0) {
        s->parts[i].since_ms = nd_wall_ms();
    }
    return i;
}

int nd_site_find(const struct nd_node *n, const char *name)
{
    for (unsigned i = 0; i < n->site.m.n; i++) {
        if (strcmp(n->site.list[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static void put_arg(struct ad_resource *r, const char *text)
{
    snprintf(r->args[r->args_n++], AD_RESOURCE_ARG_SIZE, "%s", text);
}

void nd_site_run(struct ad_resource *r, const struct nd_config_run *run)
{
    if (run->has_systemd) {
        r->kind = AD_RES_SYSTEMD;
        put_arg(r, run->unit);
    } else if (run->has_docker) {
        r->kind = AD_RES_DOCKER;
        put_arg(r, run->container);
    } else if (run->has_exec) {
        r->kind = AD_RES_EXEC;
        put_arg(r, run->script);
    } else {
        r->kind = AD_RES_COMMAND;
        for (unsigned i = 0; i < run->command_n; i++) {
            put_arg(r, run->command[i]);
        }
    }
}

static void take(struct nd_node *n, const struct nd_config_resource *c)
{
    struct ad_resource r = {.start_ms = c->start_timeout_ms,
                            .stop_ms = c->stop_timeout_ms,
                            .look_ms = c->monitor_timeout_ms};

    snprintf(r.name, sizeof r.name, "%s", c->name);
    if (c->has_vip) {
        r.kind = AD_RES_VIP;
        (void)ad_vip_parse(&r.vip, c->vip_address, c->vip_interface); /* Was checked. */
    } else if (c->has_mosquitto) {
        nd_mosquitto_part(&n->config, c, &r);
    } else {
        nd_site_run(&r, &c->run);
    }
    memset(r.spec.after, CS_NO_RESOURCE, sizeof r.spec.after);
    for (unsigned a = 0; a < c->after_n; a++) {
        r.spec.after[a] = (uint8_t)nd_site_find(n, c->after[a]);
    }
    r.spec.local = c->local;
    r.spec.monitor_ms = c->monitor_ms;
    r.spec.tries = (uint8_t)c->tries;
    (void)nd_site_add(n, &r);
}

void nd_site_init(struct nd_node *n)
{
    cs_resources_init(&n->site.m);
    n->site.fd = -1;
    for (unsigned i = 0; i < n->config.resources_n; i++) {
        take(n, &n->config.resources[i]);
    }
}

void nd_site_before_start(struct nd_node *n, unsigned which, nd_site_before_cb cb)
{
    struct nd_site_part *p = &n->site.parts[which];

    if (p->before_n < ND_SITE_HOOKS) {
        p->before[p->before_n++] = cb;
    }
}

void nd_site_before_all(struct nd_node *n, unsigned which, nd_site_before_cb cb)
{
    struct nd_site_part *p = &n->site.parts[which];

    if (p->before_n < ND_SITE_HOOKS) {
        memmove(&p->before[1], &p->before[0], p->before_n++ * sizeof p->before[0]);
        p->before[0] = cb;
    }
}

void nd_site_also_look(struct nd_node *n, unsigned which, nd_site_look_cb cb)
{
    n->site.parts[which].look = cb;
}

void nd_site_off(struct nd_node *n, unsigned which, bool off)
{
    cs_resources_off(&n->site.m, which, off);
}

const char *nd_site_state(const struct nd_node *n, const char *name)
{
    int i = nd_site_find(n, name);

    return i >= 0 ? cs_resource_state_name(cs_resource_shown(&n->site.m.list[i])) : NULL;
}

bool nd_site_restart(struct nd_node *n, unsigned which, const char *why)
{
    struct nd_site *s = &n->site;

    if (which >= s->m.n || s->m.list[which].state != CS_RES_RUNNING) {
        return false;
    }
    SY_LOG(&n->log, SY_NOTE, "resource.restarting", KSTR("resource", s->list[which].name),
           KSTR("why", why));
    cs_resources_again(&s->m, nd_now_ms(), which);
    return true;
}

/* The longest way through what comes after each other. */
unsigned nd_site_stop_ms(const struct nd_node *n)
{
    unsigned until[CS_RESOURCES_MAX], all = 0;

    for (unsigned i = n->site.m.n; i-- > 0;) {
        until[i] = 0;
        for (unsigned k = i + 1; k < n->site.m.n; k++) {
            if (memchr(n->site.list[k].spec.after, (int)i, CS_AFTER_MAX) != NULL &&
                until[k] > until[i]) {
                until[i] = until[k];
            }
        }
        until[i] += n->site.list[i].stop_ms;
        all = until[i] > all ? until[i] : all;
    }
    return all > 0 ? all + ND_DRAIN_MAX_MS : 0;
}

/* --- may they be started here? --- */

/* Who may have some of them running; 0: nobody. */
static uint64_t holder(const struct nd_node *n, uint64_t *ret_term)
{
    const struct rp_fact *f = rp_store_fact(n->store, key);
    char *end = NULL;
    uint64_t id = f != NULL ? strtoull(f->value, &end, 10) : 0;

    *ret_term = id != 0 ? strtoull(end, NULL, 10) : 0;
    return id;
}

/* The holder has not been heard of since @lost (0: ever): is that long enough? */
static bool gone_long(struct nd_node *n, uint64_t id, const char *name, uint64_t lost)
{
    struct nd_site *s = &n->site;
    uint64_t now = nd_now_ms(), wait = n->config.takeover_wait_ms;
    uint64_t election = n->config.raft.election_ms;
    bool ended = n->relief.broken[id];
    uint64_t since;

    /* A process that ended has a keeper that goes on at once; a node that is cut off
     * finds out first that it is no longer followed. It may have led on without a link
     * to this node, to which it was gone for long: so from the election, too. */
    s->gone_ms = s->gone_ms != 0 ? s->gone_ms : now; /* If it never was there. */
    since = (lost != 0 ? lost : s->gone_ms) + (ended ? 0 : 2 * election);
    if (since < n->elected_ms + (ended ? 0 : election)) {
        since = n->elected_ms + (ended ? 0 : election);
    }
    if (now >= since + wait) {
        SY_LOG(&n->log, SY_WARN, "resource.taken", KSTR("from", name),
               KU64("waited_ms", now - n->elected_ms));
        return true;
    }
    snprintf(s->waits, sizeof s->waits,
             "%s had them and is gone: in %" PRIu64 " s its keeper has stopped them",
             name, (since + wait - now) / 1000 + 1);
    return false;
}

/* Has the holder let go? */
static bool let_go(struct nd_node *n, uint64_t id, uint64_t term)
{
    struct nd_site *s = &n->site;
    const struct nd_config_node *c = nd_config_node(&n->config, id);
    struct sy_cur map;
    uint64_t age;
    bool heard;

    /* No member any more: it was told to end, but it may be cut off, and hold them. */
    if (c == NULL || !ad_peers_linked(nd_replica_peers(n->replica), id)) {
        return gone_long(n, id, c != NULL ? c->name : "a node that was removed",
                         n->relief.lost_ms[id]);
    }
    s->gone_ms = 0;
    heard = nd_status_node_map(n, id, &map, &age);
    if (heard && age > SILENT_MS) { /* It hangs, while its kernel keeps the link. */
        return gone_long(n, id, c->name, nd_now_ms() - age);
    }
    if (heard && nd_map_uint(map, "term", 0) >= term &&
        nd_map_uint(map, "held", 0) == 0) {
        return true;
    }
    snprintf(s->waits, sizeof s->waits, "%s has not stopped them yet", c->name);
    return false;
}

static bool wanted(struct nd_node *n)
{
    struct nd_site *s = &n->site;
    uint64_t term = cs_watch_term(&n->watch), held_term;
    uint64_t id = holder(n, &held_term);
    enum cs_watch_state state = cs_watch_state(&n->watch);
    char value[48];

    s->waits[0] = '\0';
    if ((state != CS_RAMPING && state != CS_ACTIVE) || n->closing || n->stopping ||
        s->yield.on || nd_node_diverged(n)) {
        return false;
    }
    if (id == n->config.id && held_term == term) {
        return !nd_files_hold(n, s->waits, sizeof s->waits);
    }
    if (s->asked_term != term && (id == 0 || id == n->config.id || let_go(n, id, term))) {
        s->asked_term = term;
        snprintf(value, sizeof value, "%" PRIu64 " %" PRIu64, n->config.id, term);
        rp_batch_fact(nd_replica_batch(n->replica), key, value);
    }
    return false; /* When that is applied. */
}

/* Who else could have the watch, and has not failed at it just now? 0: nobody. */
static uint64_t relief(struct nd_node *n)
{
    bool needed = false, had_it = false;
    uint64_t found = 0;
    char text[160];

    for (unsigned i = 0; i < n->site.m.n; i++) {
        needed = needed || n->site.m.list[i].failures >= n->site.list[i].spec.tries;
    }
    for (unsigned i = 0; needed && i < n->config.nodes_n; i++) {
        uint64_t id = n->config.nodes[i].id;

        if (id != n->config.id && nd_node_sound(n, id, true) &&
            nd_ready_node(n, id, text, sizeof text) == ND_READY_YES) {
            had_it = had_it || nd_site_faulty(n, id);
            found = found != 0 || nd_site_faulty(n, id) ? found : id;
        }
    }
    if (found == 0 && had_it && !n->site.nobody) {
        SY_LOG(&n->log, SY_WARN, "resource.no_relief",
               KSTR("why", "whoever could relieve had the same fault a short time ago"));
    }
    n->site.nobody = found == 0 && had_it;
    return found;
}

/* --- effects --- */

static void send_to(struct nd_node *n, enum ad_keeper_what what, unsigned which)
{
    struct ad_keeper_message m = {.what = (uint8_t)what, .which = (uint8_t)which};

    /* If it has ended, the poll says so. */
    (void)!send(n->site.fd, &m, sizeof m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void start(struct nd_node *n, unsigned which)
{
    struct nd_site_part *p = &n->site.parts[which];

    p->before_at = 0;
    if (p->before_n == 0) {
        send_to(n, AD_KEEPER_START, which);
        return;
    }
    p->before_until_ms = nd_now_ms() + n->site.list[which].start_ms;
    p->before[0](n, which);
}

static void stop(struct nd_node *n, unsigned which)
{
    if (!nd_drain_resource(n, which)) {
        n->site.parts[which].stop_due = false;
        send_to(n, AD_KEEPER_STOP, which);
    }
}

static void stop_due(struct nd_node *n)
{
    for (unsigned i = 0; i < n->site.m.n; i++) {
        if (n->site.parts[i].stop_due) {
            stop(n, i);
        }
    }
}

static void failed(struct nd_node *n, unsigned which, const char *why)
{
    struct nd_site_part *p = &n->site.parts[which];

    p->failed++;
    snprintf(p->why, sizeof p->why, "%s", why);
    SY_LOG(&n->log, SY_WARN, "resource.failed",
           KSTR("resource", n->site.list[which].name), KSTR("why", why));
}

void nd_site_go_on(struct nd_node *n, unsigned which, bool ok, const char *why)
{
    struct nd_site_part *p = &n->site.parts[which];

    if (p->before_until_ms == 0) {
        return; /* It was stopped meanwhile. */
    }
    if (!ok) {
        p->before_until_ms = 0;
        failed(n, which, why);
        cs_resources_done(&n->site.m, nd_now_ms(), which, CS_RES_START, false);
    } else if (++p->before_at < p->before_n) {
        p->before[p->before_at](n, which);
        return;
    } else {
        p->before_until_ms = 0;
        send_to(n, AD_KEEPER_START, which);
    }
    nd_site_tend(n);
}

static void hand_over(struct nd_node *n, unsigned which)
{
    unsigned minutes = nd_site_note_fault(n);
    char why[160];
    int rv;

    snprintf(why, sizeof why, "%s does not run there", n->site.list[which].name);
    rv = nd_hand_over(n, relief(n), 3000, why);
    n->site.yield.fault = n->site.yield.on;
    SY_LOG(&n->log, SY_WARN, "resource.handover",
           KSTR("resource", n->site.list[which].name), KERR(rv),
           KU64("not_back_for_min", minutes));
}

static void fence(struct nd_node *n, unsigned which)
{
    SY_LOG(&n->log, SY_ERR, "resource.stuck", KSTR("resource", n->site.list[which].name),
           KSTR("why", n->site.parts[which].why));
    fflush(stderr);
    _exit(1); /* The keeper sees it, and does the rest. */
}

static void carry_out(struct nd_node *n, enum cs_resource_effect effect, unsigned which)
{
    switch (effect) {
    case CS_RES_START:
        start(n, which);
        break;
    case CS_RES_STOP:
        n->site.parts[which].before_until_ms = 0;
        n->site.parts[which].stop_due = true;
        stop(n, which);
        break;
    case CS_RES_MONITOR:
        send_to(n, AD_KEEPER_LOOK, which);
        break;
    case CS_RES_HANDOVER:
        hand_over(n, which);
        break;
    case CS_RES_FENCE:
        fence(n, which);
        break;
    case CS_RES_NOTHING:
        break;
    }
}

/* --- what the keeper says --- */

static void on_message(struct nd_node *n, const struct ad_keeper_message *m)
{
    struct nd_site *s = &n->site;
    const char *more;

    if (m->which >= s->m.n || nd_site_stay_heard(n, m)) {
        return;
    }
    more = m->what == AD_KEEPER_LOOK && m->ok && s->parts[m->which].look != NULL
               ? s->parts[m->which].look(n, m->which)
               : NULL;
    if (!m->ok || more != NULL) {
        failed(n, m->which, more != NULL ? more : m->why);
    } else if (m->what == AD_KEEPER_START) {
        s->parts[m->which].why[0] = '\0';
    }
    if (m->what == AD_KEEPER_ENDED) {
        cs_resources_ended(&s->m, nd_now_ms(), m->which);
        return;
    }
    cs_resources_done(&s->m, nd_now_ms(), m->which,
                      m->what == AD_KEEPER_START  ? CS_RES_START
                      : m->what == AD_KEEPER_STOP ? CS_RES_STOP
                                                  : CS_RES_MONITOR,
                      m->ok && more == NULL);
}

/* What it held may run on without anybody: a new keeper stops that, and only a process
 * without threads can make one. */
static void keeper_ended(struct nd_node *n)
{
    SY_LOG(&n->log, SY_ERR, "keeper.lost",
           KSTR("why",
                "the keeper of the resources ended: beginning anew, which stops "
                "whatever it left"));
    fflush(stderr);
    if (nd_now_ms() < n->started_ms + YOUNG_MS && !n->site.stay.old) {
        _exit(1); /* Not in a circle. */
    }
    (void)uv_poll_stop(&n->site.poll);
    n->upkeep.restart = true;
    uv_stop(n->loop);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct nd_node *n = poll->data;
    struct ad_keeper_message m;
    ssize_t len;

    (void)status;
    (void)events;
    while ((len = recv(n->site.fd, &m, sizeof m, MSG_DONTWAIT)) == (ssize_t)sizeof m) {
        m.why[sizeof m.why - 1] = '\0';
        on_message(n, &m);
    }
    if (len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR)) {
        keeper_ended(n);
        return;
    }
    nd_duty_changed(n);
}

/* --- a planned handover --- */

static bool yields(const struct nd_node *n)
{
    uint64_t term;

    return n->site.m.n > 0 &&
           (cs_resources_held(&n->site.m) || holder(n, &term) == n->config.id);
}

int nd_site_transfer(struct nd_node *n, uint64_t to, unsigned timeout_ms)
{
    struct nd_site *s = &n->site;

    if (!yields(n)) {
        return nd_replica_transfer(n->replica, to, timeout_ms);
    }
    if (nd_replica_leading(n->replica) == 0) {
        return SY_ENOTLEADER;
    }
    if (s->yield.on) {
        return SY_EBUSY;
    }
    s->yield.on = true;
    s->yield.clearing = s->yield.fault = false;
    s->yield.to = to;
    s->yield.timeout_ms = timeout_ms;
    s->yield.until_ms = nd_now_ms() + nd_site_stop_ms(n) + timeout_ms;
    nd_site_tend(n);
    return 0;
}

static void end_yield(struct nd_node *n, const char *why)
{
    n->site.yield.on = false;
    nd_files_last_over(n);
    n->site.asked_term = 0; /* If it is still ours it is taken again. */
    if (n->stopping) {
        n->stop_deadline_ms = 0;
    }
    if (why != NULL) {
        SY_LOG(&n->log, SY_WARN, "resource.kept", KSTR("why", why));
    }
}

/* All are stopped, then the others know it, then leadership passes. */
static void tend_yield(struct nd_node *n)
{
    struct nd_site *s = &n->site;
    uint64_t term;

    if (nd_replica_leading(n->replica) == 0) {
        end_yield(n, NULL);
    } else if (nd_now_ms() >= s->yield.until_ms) {
        end_yield(n, "the watch did not change hands in time");
    } else if (!cs_resources_held(&s->m) && holder(n, &term) == n->config.id) {
        if (!s->yield.clearing && nd_files_last_look(n)) {
            s->yield.clearing = true;
            rp_batch_fact(nd_replica_batch(n->replica), key, "");
        }
    } else if (!cs_resources_held(&s->m) && s->yield.to != UINT64_MAX) {
        uint64_t to = s->yield.to;

        if (s->yield.fault && !nd_node_sound(n, to, true)) {
            to = 0; /* Died meanwhile: whoever is level. */
        }
        s->yield.to = UINT64_MAX; /* Once. */
        s->yield.until_ms = nd_now_ms() + s->yield.timeout_ms;
        n->relief.handing_over_ms = nd_now_ms();
        nd_status_gossip(n);
        if (nd_replica_transfer(n->replica, to, s->yield.timeout_ms) != 0) {
            end_yield(n, "nobody could take the watch");
        }
    }
}

/* --- all of it --- */

static void tell_changes(struct nd_node *n)
{
    bool changed = false;

    for (unsigned i = 0; i < n->site.m.n; i++) {
        struct nd_site_part *p = &n->site.parts[i];
        enum cs_resource_state state = n->site.m.list[i].state;

        if (state == p->told) {
            continue;
        }
        if (state == CS_RES_RUNNING || state == CS_RES_STOPPED) {
            SY_LOG(&n->log, SY_NOTE,
                   state == CS_RES_RUNNING ? "resource.started" : "resource.stopped",
                   KSTR("resource", n->site.list[i].name));
        }
        p->told = state;
        p->since_ms = nd_wall_ms();
        changed = true;
    }
    if (changed) {
        nd_status_gossip(n);
    }
}

static void overdue(struct nd_node *n, uint64_t now)
{
    for (unsigned i = 0; i < n->site.m.n; i++) {
        uint64_t until = n->site.parts[i].before_until_ms;

        if (until != 0 && now >= until) {
            nd_site_go_on(n, i, false,
                          "what must be done before its start took too long");
        }
    }
}

void nd_site_tend(struct nd_node *n)
{
    struct nd_site *s = &n->site;
    struct cs_resource_levels l = {.now_ms = nd_now_ms()};
    enum cs_resource_effect effect;
    unsigned which;

    if (s->fd < 0 || s->stepping || s->m.n == 0) {
        return;
    }
    s->stepping = true;
    if (l.now_ms >= s->alive_ms + n->config.takeover_wait_ms / 16) {
        s->alive_ms = l.now_ms;
        send_to(n, AD_KEEPER_ALIVE, 0);
    }
    overdue(n, l.now_ms);
    stop_due(n);
    if (s->yield.on) {
        tend_yield(n);
    }
    l.wanted = wanted(n);
    l.relief = l.wanted && relief(n);
    nd_site_forget_fault(n, l.wanted);
    while (nd_site_stay_tend(n, l.wanted) &&
           (effect = cs_resources_step(&s->m, &l, &which)) != CS_RES_NOTHING) {
        carry_out(n, effect, which);
        l.wanted = l.wanted && !s->yield.on;
    }
    tell_changes(n);
    if (s->yield.on) {
        tend_yield(n); /* None of them may have run. */
    }
    s->stepping = false;
}

bool nd_site_down(const struct nd_node *n)
{
    return n->site.stay.going || !cs_resources_started(&n->site.m);
}

int nd_site_open(struct nd_node *n, struct sy_errbuf *eb)
{
    struct nd_site *s = &n->site;
    char dir[ND_PATH_SIZE + 16];
    const char *secret_envs[ND_SECRET_ENVS_MAX];
    struct ad_keeper_config c = {
        .list = s->list,
        .n = s->m.n,
        .dir = dir,
        .forget = secret_envs,
        .end_ms = n->config.takeover_wait_ms / 2,
        .fence = strcmp(n->config.fence, "reboot") == 0     ? AD_FENCE_REBOOT
                 : strcmp(n->config.fence, "watchdog") == 0 ? AD_FENCE_WATCHDOG
                                                            : AD_FENCE_EXIT,
        .watchdog = n->config.watchdog,
    };
    int rv;

    if (s->m.n == 0) {
        return 0;
    }
    nd_config_secret_envs(&n->config, secret_envs);
    snprintf(dir, sizeof dir, "%s/resources", n->config.data_dir);
    s->fd = nd_site_take_over(n);
    rv = s->fd >= 0 ? 0 : ad_keeper_start(&c, &n->log, &s->fd, eb);
    if (rv != 0) {
        return rv;
    }
    (void)uv_poll_init(n->loop, &s->poll, s->fd);
    s->poll.data = n;
    s->polling = true;
    n->open_handles++;
    return uv_poll_start(&s->poll, UV_READABLE, on_readable);
}

static void poll_closed(uv_handle_t *handle)
{
    struct nd_node *n = handle->data;

    if (!n->site.stay.going) {
        close(n->site.fd); /* The keeper sees it. */
        n->site.fd = -1;
    }
    n->open_handles--;
    sy_free(n->site.list);
    sy_free(n->site.parts);
    n->site.list = NULL;
    n->site.parts = NULL;
    n->site.m.n = 0;
}

void nd_site_close(struct nd_node *n)
{
    if (n->site.polling) {
        n->site.polling = false;
        uv_close((uv_handle_t *)&n->site.poll, poll_closed);
    }
}

/* Drills as records: begun by the leader, run by a standby, ended by whoever leads then
 * (drill.h). */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/mp.h"
#include "node/node.h"

enum {
    SLACK_MS = 30000, /* a coordinator that says nothing for so long is gone */
    LOST_AGAIN_MS = 1000,
    DUE_FOR_MS = 10 * 60 * 1000,
    DAY_S = 86400,
    LIST_MAX = RP_DRILLS_MAX
};

static const char first_key[] = "drill.reminded"; /* since when drills are missed */

static const char *name_of(const struct nd_node *n, uint64_t id)
{
    const struct nd_config_node *c = nd_config_node(&n->config, id);

    return c != NULL ? c->name : "";
}

const struct rp_drill *nd_drill_running(const struct nd_node *n)
{
    const struct rp_drill *d = rp_store_drill_recent(n->store, 0);

    return d != NULL && d->state == RP_DRILL_RUNNING ? d : NULL;
}

static uint64_t coordinator_of(const struct rp_drill *d)
{
    return nd_map_uint((struct sy_cur){.p = d->report, .n = d->report_len}, "coordinator",
                       0);
}

static bool on_watch(struct nd_node *n)
{
    return nd_replica_leading(n->replica) != 0 &&
           cs_watch_state(&n->watch) == CS_ACTIVE && !n->stopping;
}

void nd_drill_init(struct nd_node *n)
{
    struct nd_config_area *a = &n->drill.area;

    snprintf(a->name, sizeof a->name, ND_CANARY_AREA);
    snprintf(a->source, sizeof a->source, "%s", nd_canary_source.name);
    nd_canary_base(&n->config, a->base_topic);
}

/* --- what may be run --- */

struct wanted
{
    enum nd_drill_kind kind;
    uint64_t budget_ms;
    char canary[ND_DRILL_CANARY_SIZE];
    const char *by;
    bool force;
    uint64_t coordinator; /* found */
};

static int no(struct sy_errbuf *eb, const char *text)
{
    return sy_fail(eb, SY_EINVALID, "%s", text);
}

/* Best one that could relieve by itself; it sees most. */
static uint64_t find_coordinator(struct nd_node *n)
{
    uint64_t sound = 0;
    char why[256];

    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        uint64_t id = n->config.nodes[i].id;

        if (id == n->config.id || !nd_node_sound(n, id, false)) {
            continue;
        }
        if (nd_ready_node(n, id, why, sizeof why) == ND_READY_YES) {
            return id;
        }
        sound = sound != 0 ? sound : id;
    }
    return sound;
}

/* "AREA=DEVICE" */
static int check_canary(struct nd_node *n, const char *p, size_t len,
                        struct sy_errbuf *eb)
{
    char area[RP_NAME_SIZE] = "", device[RP_NAME_SIZE] = "";
    const char *sign = memchr(p, '=', len);
    const struct nd_wish wish = {device, area, "state", "ON"};
    const struct rp_device *d;
    const char *code;

    if (sign == NULL || (size_t)(sign - p) >= sizeof area ||
        len - (size_t)(sign - p) > sizeof device) {
        return no(eb, "a canary is given as AREA=DEVICE");
    }
    snprintf(area, sizeof area, "%.*s", (int)(sign - p), p);
    snprintf(device, sizeof device, "%.*s", (int)(len - (size_t)(sign - p) - 1),
             sign + 1);
    d = nd_wish_check(n, &wish, &code, eb);
    if (d == NULL) {
        return SY_EINVALID;
    }
    if (d->state == RP_SWITCH_UNKNOWN) {
        return sy_fail(eb, SY_EINVALID,
                       "%s has not said yet whether it is on or off: name another canary",
                       device);
    }
    return 0;
}

static int check_canaries(struct nd_node *n, const char *text, struct sy_errbuf *eb)
{
    int rv = 0;

    for (const char *p = text; *p != '\0' && rv == 0;) {
        size_t len = strcspn(p, ",");

        rv = check_canary(n, p, len, eb);
        p += len + (p[len] == ',');
    }
    return rv;
}

/* May it be run now? Finds who coordinates. */
static int check(struct nd_node *n, struct wanted *w, struct sy_errbuf *eb)
{
    const struct rp_drill *d = nd_drill_running(n);
    struct nd_verdict v;

    if (d != NULL) {
        return sy_fail(eb, SY_EBUSY,
                       "drill %" PRIu64
                       " (%s) is running: wait for its end, or `vagtctl "
                       "drill abort`",
                       d->nr, d->kind);
    }
    if (w->kind >= ND_DRILL_KINDS) {
        return no(eb, "say handover, kill, vanish, broker, postgres, bridge or full");
    }
    if (!on_watch(n)) {
        return no(eb, "nobody is on watch yet: see `vagtctl why`");
    }
    if (nd_drill_cannot(n, w->kind) != NULL) {
        return no(eb, nd_drill_cannot(n, w->kind));
    }
    if (w->budget_ms < ND_DRILL_BUDGET_MIN_MS || w->budget_ms > ND_DRILL_BUDGET_MAX_MS) {
        return no(eb, "the budget is 5 s to 10 min");
    }
    if (check_canaries(n, w->canary, eb) != 0) {
        return SY_EINVALID;
    }
    w->coordinator = find_coordinator(n);
    if (w->coordinator == 0) {
        return no(eb, "no other node is there that could measure: see `vagtctl status`");
    }
    nd_ready_judge(n, &v);
    if (v.state != ND_READY_YES && !w->force) {
        return sy_fail(eb, SY_EINVALID,
                       "the site is not ready for it: %s (`vagtctl ready`); --force does "
                       "it all the same",
                       v.text);
    }
    return 0;
}

static void begin(struct nd_node *n, const struct wanted *w)
{
    struct nd_drill_report r;
    struct sy_buf b = {0};

    nd_drill_report_init(&r);
    snprintf(r.by, sizeof r.by, "%s", w->by);
    snprintf(r.canary, sizeof r.canary, "%s", w->canary);
    r.coordinator = w->coordinator;
    r.before = r.after = n->config.id;
    r.budget_ms = w->budget_ms;
    r.fault_ms = nd_drill_fault_ms(n, w->kind, w->budget_ms);
    nd_drill_report_put(&r, &b);
    rp_batch_drill(nd_replica_batch(n->replica), 0, RP_DRILL_RUNNING,
                   nd_drill_kinds[w->kind], b.p, b.len);
    sy_buf_free(&b);
}

static void end_as(struct nd_node *n, const struct rp_drill *d, enum rp_drill_state state,
                   const char *why)
{
    struct nd_drill_report r;
    struct sy_buf b = {0};

    nd_drill_report_get(&r, d);
    r.after = rp_store_watch_node(n->store);
    snprintf(r.why, sizeof r.why, "%s", why);
    nd_drill_report_put(&r, &b);
    rp_batch_drill(nd_replica_batch(n->replica), d->nr, state, d->kind, b.p, b.len);
    sy_buf_free(&b);
}

/* What the configuration says about canaries, as one text; what does not fit is left. */
static void canaries_of_config(const struct nd_config *c, char to[ND_DRILL_CANARY_SIZE])
{
    size_t len = 0;

    to[0] = '\0';
    for (unsigned i = 0; i < c->drill.canary_n; i++) {
        size_t n = strlen(c->drill.canary[i]);

        if (len + n + 2 <= ND_DRILL_CANARY_SIZE) {
            len += (size_t)snprintf(to + len, ND_DRILL_CANARY_SIZE - len, "%s%s",
                                    len > 0 ? "," : "", c->drill.canary[i]);
        }
    }
}

/* --- what time brings --- */

/* The canaries' area is in use while a drill runs, and known to all. Nothing of them
 * is listed afterwards. */
static void tend_area(struct nd_node *n)
{
    const struct rp_area *a = rp_store_area_named(n->store, ND_CANARY_AREA);
    struct rp_batch *b = nd_replica_batch(n->replica);

    if (n->drill.area.enabled && a == NULL) {
        rp_batch_area(b, n->drill.area.name, n->drill.area.base_topic);
    } else if (n->drill.area.enabled && (a->off & RP_OFF_CONFIG) != 0) {
        rp_batch_area_off(b, a->nr, RP_OFF_CONFIG, false);
    } else if (!n->drill.area.enabled && a != NULL && a->devices > 0) {
        for (uint32_t i = 0; i < rp_store_devices(n->store); i++) {
            const struct rp_device *d = rp_store_device_at(n->store, i);

            if (d->area == a->nr && d->listed) {
                rp_batch_gone(b, d->ieee);
            }
        }
    }
}

static void tend_orphan(struct nd_node *n, const struct rp_drill *d)
{
    struct sy_cur c = {.p = d->report, .n = d->report_len};
    uint64_t limit = nd_map_uint(c, "budget_ms", ND_DRILL_BUDGET_MS) +
                     2 * ND_DRILL_PRELUDE_MS + ND_DRILL_COUNT_MS + SLACK_MS;
    char why[ND_DRILL_WHY_SIZE];

    if (nd_replica_clock_ms(n->replica) > d->began_ms + limit) {
        snprintf(why, sizeof why, "%s, which coordinated it, did not report",
                 name_of(n, coordinator_of(d)));
        end_as(n, d, RP_DRILL_FAILED, why);
    }
}

static void tend_schedule(struct nd_node *n)
{
    const struct rp_drill *last = rp_store_drill_recent(n->store, 0);
    uint64_t now = nd_replica_clock_ms(n->replica);
    uint64_t due = nd_drill_due_ms(now, n->config.drill.at);
    struct wanted w = {.kind = nd_drill_kind_of(n->config.drill.kind),
                       .budget_ms = n->config.drill.budget_ms,
                       .by = "schedule"};
    struct sy_errbuf eb = {""};

    if (due == 0 || now > due + DUE_FOR_MS || (last != NULL && last->began_ms >= due)) {
        return;
    }
    canaries_of_config(&n->config, w.canary);
    if (check(n, &w, &eb) == 0) {
        begin(n, &w);
    } else if (n->drill.missed_ms != due) { /* Said once; tried again for a while. */
        n->drill.missed_ms = due;
        SY_LOG(&n->log, SY_WARN, "drill.waits", KSTR("kind", n->config.drill.kind),
               KSTR("why", eb.text));
    }
}

static void tend_first(struct nd_node *n)
{
    if (n->config.drill.reminder_s != 0 && rp_store_fact(n->store, first_key) == NULL) {
        rp_batch_fact(nd_replica_batch(n->replica), first_key, "since then");
    }
}

void nd_drill_tend(struct nd_node *n)
{
    const struct rp_drill *d = nd_drill_running(n);

    if (n->closing) {
        return;
    }
    nd_drill_changed(n);
    nd_drill_fault_tend(n);
    if (!on_watch(n) || nd_replica_full(n->replica)) {
        return;
    }
    tend_area(n);
    if (d != NULL) {
        tend_orphan(n, d);
    } else if (n->config.drill.at[0] != '\0') {
        tend_schedule(n);
    }
    tend_first(n);
}

/* --- the coordinator --- */

/* Was this process here when it began, or the one before it left what it knew? */
static bool knows(struct nd_node *n, const struct rp_drill *d)
{
    uint64_t now = nd_replica_clock_ms(n->replica);
    uint64_t age_ms = now > d->began_ms ? now - d->began_ms : 0;

    return age_ms < nd_now_ms() - n->started_ms || nd_drill_carried(n, d->nr);
}

/* It began anew, and knows nothing of what it had measured. */
static void tend_lost(struct nd_node *n, const struct rp_drill *d)
{
    uint64_t leader = cs_core_leader(nd_replica_core(n->replica));
    struct nd_drill_report r;
    struct sy_buf b = {0}, packed = {0};

    if (n->drill.run != NULL || leader == 0 || nd_now_ms() < n->drill.look_ms) {
        return;
    }
    n->drill.look_ms = nd_now_ms() + LOST_AGAIN_MS;
    nd_drill_report_get(&r, d);
    r.after = rp_store_watch_node(n->store);
    snprintf(r.why, sizeof r.why, "%s, which coordinated it, began anew meanwhile",
             nd_config_self(&n->config)->name);
    nd_drill_report_put(&r, &packed);
    sy_mp_map(&b, 4);
    sy_mp_kstr(&b, "do", "report");
    sy_mp_kuint(&b, "nr", d->nr);
    sy_mp_kbool(&b, "passed", false);
    sy_mp_str(&b, "report");
    sy_mp_bin(&b, packed.p, packed.len);
    nd_drill_tell(n, leader, &b);
    sy_buf_free(&packed);
    sy_buf_free(&b);
}

void nd_drill_changed(struct nd_node *n)
{
    const struct rp_drill *d = nd_drill_running(n);
    bool ours = d != NULL && coordinator_of(d) == n->config.id && !n->closing;

    n->drill.area.enabled = d != NULL;
    if (n->drill.run != NULL && !ours) {
        nd_drill_run_end(n);
    } else if (n->drill.run == NULL && ours && knows(n, d)) {
        nd_drill_run_begin(n, d);
    } else if (ours) {
        tend_lost(n, d);
    }
    nd_drill_run_look(n);
}

void nd_drill_event(struct nd_node *n, const struct rp_event *ev)
{
    if (ev->kind == RP_EV_COMMAND) {
        nd_drill_run_command(n, ev->command);
    }
}

/* --- between nodes --- */

void nd_drill_tell(struct nd_node *n, uint64_t to, const struct sy_buf *b)
{
    if (to == n->config.id) {
        nd_drill_frame(n, to, b->p, b->len);
    } else {
        (void)nd_replica_send(n->replica, to, ND_FRAME_DRILL, b->p, b->len);
    }
}

static void give_command(struct nd_node *n, struct sy_cur map)
{
    char device[RP_NAME_SIZE], area[RP_NAME_SIZE], value[8], id[RP_ID_SIZE];
    uint64_t timeout_ms = nd_map_uint(map, "timeout_ms", 0);
    const struct nd_wish wish = {device, area, "state", value};
    const struct rp_device *d;
    const char *code;
    struct sy_errbuf eb;

    nd_map_str(map, "device", device, sizeof device);
    nd_map_str(map, "area", area, sizeof area);
    nd_map_str(map, "value", value, sizeof value);
    nd_map_str(map, "id", id, sizeof id);
    if (id[0] == '\0' || rp_store_command(n->store, id) != NULL || !on_watch(n) ||
        nd_replica_full(n->replica)) {
        return;
    }
    d = nd_wish_check(n, &wish, &code, &eb);
    if (d != NULL) { /* Else it is asked for again: the canary may not be listed yet. */
        rp_batch_command(nd_replica_batch(n->replica), id, d->ieee, "state", value,
                         "drill", nd_replica_clock_ms(n->replica) + timeout_ms);
    }
}

static void take_report(struct nd_node *n, const struct rp_drill *d, struct sy_cur map)
{
    struct sy_cur passed = map;
    const uint8_t *report;
    uint32_t len;

    if (nd_replica_leading(n->replica) == 0 || !nd_map_find(&map, "report") ||
        !nd_map_find(&passed, "passed")) {
        return;
    }
    report = sy_mp_get_bin(&map, &len);
    if (!map.bad && len <= RP_DRILL_REPORT_MAX) {
        rp_batch_drill(nd_replica_batch(n->replica), d->nr,
                       sy_mp_get_bool(&passed) ? RP_DRILL_PASSED : RP_DRILL_FAILED,
                       d->kind, report, len);
    }
}

/* Only what the log says: from the coordinator, of the drill that runs. */
void nd_drill_frame(struct nd_node *n, uint64_t from, const uint8_t *p, size_t len)
{
    const struct rp_drill *d = nd_drill_running(n);
    struct sy_cur map = {.p = p, .n = len};
    struct nd_drill_report r;
    char what[16];

    nd_map_str(map, "do", what, sizeof what);
    if (d == NULL || n->closing || nd_map_uint(map, "nr", 0) != d->nr ||
        from != coordinator_of(d)) {
        return;
    }
    if (strcmp(what, "command") == 0) {
        give_command(n, map);
    } else if (strcmp(what, "report") == 0) {
        take_report(n, d, map);
    } else if (strcmp(what, "restore") == 0) {
        nd_drill_restore(n);
    } else if (strcmp(what, "fault") == 0 && from != n->config.id && on_watch(n)) {
        nd_drill_report_get(&r, d);
        nd_drill_fault(n, d->nr, nd_drill_kind_of(d->kind), r.fault_ms);
    }
}

/* --- operations --- */

struct pending
{
    struct nd_wait wait;
    struct nd_asker asker;
    struct wanted w;
    bool abort;
};

static void reply(const struct nd_asker *a, const struct wanted *w, uint64_t nr)
{
    struct nd_node *n = a->node;
    struct nd_verdict v;
    struct sy_buf b = {0};

    nd_ready_judge(n, &v);
    nd_reply_begin(a, &b);
    sy_mp_map(&b, 6);
    sy_mp_kuint(&b, "nr", nr);
    sy_mp_kstr(&b, "kind", nd_drill_kinds[w->kind]);
    sy_mp_kstr(&b, "coordinator", name_of(n, w->coordinator));
    sy_mp_kbool(&b, "ready", v.state == ND_READY_YES);
    sy_mp_kstr(&b, "text", v.text);
    sy_mp_str(&b, "plan");
    nd_drill_put_plan(n, &b, w->kind, w->coordinator, w->budget_ms, w->canary);
    nd_reply_send(a, &b);
}

static void reply_ended(const struct nd_asker *a)
{
    const struct rp_drill *d = rp_store_drill_recent(a->node->store, 0);
    struct sy_buf b = {0};

    nd_reply_begin(a, &b);
    sy_mp_map(&b, 2);
    sy_mp_kuint(&b, "nr", d->nr);
    sy_mp_kstr(&b, "state", rp_drill_state_name(d->state));
    nd_reply_send(a, &b);
}

static void committed(void *data, int status)
{
    struct pending *p = data;
    struct nd_node *n = p->asker.node;
    const struct rp_drill *d = nd_drill_running(n);

    if (n->closing) {
        sy_free(p);
        return;
    }
    if (status != 0) {
        nd_reply_error(&p->asker,
                       status == SY_ENOTLEADER ? "not_leader" : "unknown_outcome",
                       "the watch changed hands on the way: see `vagtctl drills`");
    } else if (p->abort) {
        reply_ended(&p->asker);
    } else if (d == NULL) {
        nd_reply_error(&p->asker, "busy", "another drill began at the same time");
    } else {
        reply(&p->asker, &p->w, d->nr);
    }
    sy_free(p);
}

static void wait_for(struct nd_request *q, const struct wanted *w, bool abort_it)
{
    struct pending *p = sy_calloc(1, sizeof *p);

    p->asker = q->asker;
    p->w = *w;
    p->abort = abort_it;
    nd_replica_wait(q->asker.node->replica, &p->wait, committed, p);
}

static bool flag(struct sy_cur map, const char *key)
{
    return nd_map_find(&map, key) && sy_mp_get_bool(&map);
}

static void abort_drill(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    const struct rp_drill *d = nd_drill_running(n);

    if (d == NULL) {
        nd_reply_error(&q->asker, "not_found", "no drill is running");
        return;
    }
    end_as(n, d, RP_DRILL_ABORTED, "an operator ended it");
    wait_for(q, &(struct wanted){.by = ""}, true);
}

void nd_op_drill(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    char action[16], kind[RP_DRILL_KIND_SIZE];
    struct wanted w = {.by = "operator", .force = flag(q->args, "force")};
    struct sy_errbuf eb;
    int rv;

    nd_map_str(q->args, "action", action, sizeof action);
    nd_map_str(q->args, "kind", kind, sizeof kind);
    nd_map_str(q->args, "canary", w.canary, sizeof w.canary);
    if (strcmp(action, "abort") == 0) {
        abort_drill(q);
        return;
    }
    w.kind = nd_drill_kind_of(kind);
    w.budget_ms = nd_map_uint(q->args, "budget_ms", n->config.drill.budget_ms);
    if (w.canary[0] == '\0') {
        canaries_of_config(&n->config, w.canary);
    }
    rv = check(n, &w, &eb);
    if (rv != 0) {
        nd_reply_error(&q->asker, rv == SY_EBUSY ? "busy" : "invalid", "%s", eb.text);
    } else if (flag(q->args, "dry_run")) {
        reply(&q->asker, &w, 0);
    } else {
        begin(n, &w);
        wait_for(q, &w, false);
    }
}

static void put_drill(struct nd_node *n, struct sy_buf *b, const struct rp_drill *d)
{
    struct sy_cur c = {.p = d->report, .n = d->report_len}, end = c;
    bool whole = sy_mp_next(&end).type == SY_MP_MAP;

    end = c;
    sy_mp_skip(&end);
    whole = whole && !end.bad && end.n == 0;
    sy_mp_map(b, 9);
    sy_mp_kuint(b, "nr", d->nr);
    sy_mp_kstr(b, "kind", d->kind);
    sy_mp_kstr(b, "state", rp_drill_state_name(d->state));
    sy_mp_kuint(b, "began_ms", d->began_ms);
    sy_mp_kuint(b, "ended_ms", d->ended_ms);
    sy_mp_kstr(b, "coordinator", name_of(n, coordinator_of(d)));
    sy_mp_kstr(b, "before", name_of(n, nd_map_uint(c, "before", 0)));
    sy_mp_kstr(b, "after", name_of(n, nd_map_uint(c, "after", 0)));
    sy_mp_str(b, "report");
    if (whole) {
        sy_buf_put(b, d->report, d->report_len);
    } else {
        sy_mp_map(b, 0);
    }
}

void nd_op_drills(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    uint64_t limit = nd_map_uint(q->args, "limit", LIST_MAX);
    uint32_t count = rp_store_drills(n->store);
    struct sy_buf b = {0};

    count = limit < count ? (uint32_t)limit : count;
    nd_reply_begin(&q->asker, &b);
    sy_mp_map(&b, 4);
    sy_mp_kuint(&b, "now_ms", nd_replica_clock_ms(n->replica));
    sy_mp_kuint(&b, "target_ms", ND_DRILL_BUDGET_MS);
    sy_mp_kuint(&b, "target_lost_ppm", ND_DRILL_LOST_PPM);
    sy_mp_str(&b, "drills");
    sy_mp_array(&b, count);
    for (uint32_t i = 0; i < count; i++) {
        put_drill(n, &b, rp_store_drill_recent(n->store, i));
    }
    nd_reply_send(&q->asker, &b);
}

/* --- sentences --- */

void nd_drill_issues(struct nd_node *n,
                     void (*tell)(void *data, bool error, const char *text), void *data)
{
    const struct rp_fact *first = rp_store_fact(n->store, first_key);
    uint64_t now = nd_replica_clock_ms(n->replica),
             since = first != NULL ? first->at_ms : 0;
    bool ever = false;
    char text[200];

    for (uint32_t i = 0; i < rp_store_drills(n->store) && !ever; i++) {
        const struct rp_drill *d = rp_store_drill_recent(n->store, i);

        ever = d->state == RP_DRILL_PASSED;
        since = ever ? d->ended_ms : since;
    }
    if (n->config.drill.reminder_s == 0 || since == 0 ||
        now < since + (uint64_t)n->config.drill.reminder_s * 1000) {
        return;
    }
    snprintf(text, sizeof text,
             "%s %" PRIu64
             " days%s: try whether the watch can be relieved, with "
             "`vagtctl drill handover`",
             ever ? "the last drill that passed is" : "no drill has passed for",
             (now - since) / 1000 / DAY_S, ever ? " old" : "");
    tell(data, false, text);
}

/* The coordinator of a drill: sends canaries, has the fault done, and measures on its own
 * clock (drill.h has the picture). */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/mp.h"
#include "node/drill_run.h"

enum {
    TICK_MS = 20,
    REPORT_AGAIN_MS = 500,
    FAULT_AGAIN_MS = 300,
    LEAST_MS = 3000 /* so many readings that their number says something */
};

static uint64_t since_fault(const struct nd_drill_run *r)
{
    return nd_now_ms() - r->fault_ms;
}

void nd_drill_mark(struct nd_drill_run *r, enum nd_drill_phase phase)
{
    if (r->stage >= ND_FAULT && r->report.phase[phase] == ND_DRILL_PHASE_NONE) {
        r->report.phase[phase] = (uint32_t)since_fault(r);
        SY_LOG(&r->node->log, SY_NOTE, "drill.phase", KU64("nr", r->nr),
               KSTR("phase", nd_drill_phases[phase]), KU64("ms", since_fault(r)));
    }
}

static bool known(const struct nd_drill_run *r, enum nd_drill_phase phase)
{
    return r->report.phase[phase] != ND_DRILL_PHASE_NONE;
}

static void enter(struct nd_drill_run *r, enum nd_stage stage)
{
    r->stage = stage;
    r->stage_ms = nd_now_ms();
    for (unsigned i = 0; i < r->targets_n; i++) {
        r->targets[i].confirmed = false;
    }
}

static void SY_PRINTF(2, 3) fail(struct nd_drill_run *r, const char *fmt, ...)
{
    va_list ap;

    if (r->report.why[0] == '\0') {
        va_start(ap, fmt);
        vsnprintf(r->report.why, sizeof r->report.why, fmt, ap);
        va_end(ap);
    }
}

/* --- looking --- */

static bool flag_of(struct sy_cur map, const char *key, const char *value)
{
    char text[16];

    nd_map_str(map, key, text, sizeof text);
    return strcmp(text, value) == 0;
}

static bool brokers_up(struct sy_cur site)
{
    uint32_t count;

    if (!nd_map_find(&site, "brokers")) {
        return false;
    }
    count = sy_mp_get_array(&site);
    for (uint32_t i = 0; i < count && !site.bad; i++) {
        struct sy_cur item = site;

        sy_mp_skip(&site);
        item.n = (size_t)(site.p - item.p);
        if (!flag_of(item, "reader", "up") || !flag_of(item, "writer", "up")) {
            return false;
        }
    }
    return !site.bad;
}

static bool postgres_up(struct sy_cur site)
{
    return nd_map_find(&site, "postgres") && flag_of(site, "link", "up");
}

/* Is there a resource of this kind, or with a name that begins so, and do all run? */
static bool resources_up(struct sy_cur site, const char *kind, const char *begin)
{
    unsigned found = 0;
    uint32_t count;

    if (!nd_map_find(&site, "resources")) {
        return false;
    }
    count = sy_mp_get_array(&site);
    for (uint32_t i = 0; i < count && !site.bad; i++) {
        struct sy_cur item = site;
        char name[RP_NAME_SIZE], is[16];

        sy_mp_skip(&site);
        nd_map_str(item, "name", name, sizeof name);
        nd_map_str(item, "kind", is, sizeof is);
        if (strcmp(is, kind) != 0 &&
            (begin[0] == '\0' || strncmp(name, begin, strlen(begin)) != 0)) {
            continue;
        }
        if (!flag_of(item, "state", "running")) {
            return false;
        }
        found++;
    }
    return !site.bad && found > 0;
}

/* Of a fault that leaves the watch where it is: it is seen in what the watch tells. */
static void look_at_site(struct nd_drill_run *r, struct sy_cur site)
{
    bool broker = brokers_up(site);
    bool bridges = resources_up(site, "", "bridge-");
    bool up = r->kind == ND_DRILL_POSTGRES ? postgres_up(site)
              : r->kind == ND_DRILL_BRIDGE ? bridges
                                           : broker;

    if (nd_drill_relieves(r->kind)) {
        if (known(r, ND_PHASE_ACTING) && broker) {
            nd_drill_mark(r, ND_PHASE_BROKER);
        }
        if (known(r, ND_PHASE_ACTING) && bridges) {
            nd_drill_mark(r, ND_PHASE_BRIDGES);
        }
        if (known(r, ND_PHASE_ACTING) && resources_up(site, "vip", "")) {
            nd_drill_mark(r, ND_PHASE_ADDRESS);
        }
        return;
    }
    if (!up) {
        r->was_down = true;
        nd_drill_mark(r, ND_PHASE_DETECTED);
    } else if (r->was_down && r->kind == ND_DRILL_BROKER) {
        nd_drill_mark(r, ND_PHASE_BROKER);
    } else if (r->was_down && r->kind == ND_DRILL_BRIDGE) {
        nd_drill_mark(r, ND_PHASE_BRIDGES);
    }
}

static void look_at_watch(struct nd_drill_run *r)
{
    struct nd_node *n = r->node;
    const struct cs_core *core = nd_replica_core(n->replica);
    uint64_t leader = cs_core_leader(core), before = r->report.before, age;
    struct sy_cur map;

    if (leader != before || cs_core_term(core) > r->term ||
        !ad_peers_linked(nd_replica_peers(n->replica), before)) {
        nd_drill_mark(r, ND_PHASE_DETECTED);
    }
    if (leader != 0 && cs_core_term(core) > r->term) {
        nd_drill_mark(r, ND_PHASE_ELECTED);
    }
    if (rp_store_watch_term(n->store) > r->term &&
        nd_status_node_map(n, rp_store_watch_node(n->store), &map, &age) &&
        flag_of(map, "watch", "active") && nd_map_uint(map, "term", 0) > r->term) {
        nd_drill_mark(r, ND_PHASE_ACTING);
    }
}

void nd_drill_run_look(struct nd_node *n)
{
    struct nd_drill_run *r = n->drill.run;
    struct sy_cur site;
    uint64_t age;

    if (r == NULL || (r->stage != ND_FAULT && r->stage != ND_COUNT)) {
        return;
    }
    if (nd_drill_relieves(r->kind)) {
        look_at_watch(r);
    }
    if (nd_status_site_map(n, &site, &age)) {
        look_at_site(r, site);
    }
}

/* --- stages --- */

static void tend_prelude(struct nd_drill_run *r, uint64_t now)
{
    if (nd_drill_all_confirmed(r) && (r->pg == NULL || r->count.numbers > 0)) {
        enter(r, ND_QUIET);
    } else if (now - r->stage_ms > ND_DRILL_PRELUDE_MS) {
        fail(r,
             "the canaries did not get through before anything was done: %s; nothing "
             "was done",
             !nd_drill_all_confirmed(r)             ? "not every area confirmed a command"
             : ad_pg_canary_error(r->pg)[0] != '\0' ? ad_pg_canary_error(r->pg)
                                                    : "no reading came to Postgres");
        enter(r, ND_REPORT);
    }
}

/* Only what is sent from here on counts: the broker may have had no reader of the first
 * ones. */
static void begin_fault(struct nd_drill_run *r, uint64_t now)
{
    struct nd_node *n = r->node;

    r->base = r->fault_number = r->flight.newest;
    r->flight.confirmed = 0;
    r->term = cs_core_term(nd_replica_core(n->replica));
    r->report.before = rp_store_watch_node(n->store);
    r->report.fault_at_ms = nd_replica_clock_ms(n->replica);
    r->count = (struct ad_pg_canary_count){0};
    r->fault_ms = now;
    enter(r, ND_FAULT);
    SY_LOG(&n->log, SY_NOTE, "drill.begins", KU64("nr", r->nr),
           KSTR("kind", nd_drill_kinds[r->kind]), KU64("watch", r->report.before));
}

/* Until it shows: a frame may be lost. */
static void tell_fault(struct nd_drill_run *r, uint64_t now)
{
    struct sy_buf b = {0};

    if (now < r->fault_again_ms || known(r, ND_PHASE_DETECTED) ||
        rp_store_watch_node(r->node->store) != r->report.before) {
        return;
    }
    r->fault_again_ms = now + FAULT_AGAIN_MS;
    nd_drill_map(r, &b, "fault", 1);
    sy_mp_kuint(&b, "ms", r->report.fault_ms);
    nd_drill_tell(r->node, r->report.before, &b);
    sy_buf_free(&b);
}

static void tell_restore(struct nd_drill_run *r)
{
    struct sy_buf b = {0};

    nd_drill_map(r, &b, "restore", 0);
    nd_drill_tell(r->node, r->report.before, &b);
    sy_buf_free(&b);
}

static const char *missing(const struct nd_drill_run *r)
{
    if (!known(r, ND_PHASE_DETECTED)) {
        return "nothing of the fault was seen";
    }
    if (nd_drill_relieves(r->kind) && !known(r, ND_PHASE_ACTING)) {
        return "no node took the watch";
    }
    if (!known(r, ND_PHASE_AREAS)) {
        return "not every area confirmed a command";
    }
    return r->pg != NULL && !known(r, ND_PHASE_ROW) ? "no new reading is in Postgres"
                                                    : NULL;
}

static void tend_fault(struct nd_drill_run *r, uint64_t now)
{
    const char *lacks = missing(r);

    tell_fault(r, now);
    if (lacks == NULL && since_fault(r) >= LEAST_MS &&
        since_fault(r) >= r->report.fault_ms) {
        enter(r, ND_COUNT);
    } else if (since_fault(r) > r->report.budget_ms) {
        SY_LOG(&r->node->log, SY_WARN, "drill.gives_up", KU64("nr", r->nr),
               KSTR("why", lacks != NULL ? lacks : "it did not end"));
        fail(r, "given up after %" PRIu64 " s: %s", r->report.budget_ms / 1000,
             lacks != NULL ? lacks : "it did not end");
        tell_restore(r);
        enter(r, ND_COUNT);
    }
}

static void tend_count(struct nd_drill_run *r, uint64_t now)
{
    struct nd_drill_report *to = &r->report;
    bool late = now - r->stage_ms > ND_DRILL_COUNT_MS;

    if (r->pg != NULL && !late &&
        (r->flight.n > 0 || !r->counted || r->count.numbers < r->flight.confirmed)) {
        return;
    }
    to->counted = r->pg != NULL && r->counted;
    if (to->counted) {
        to->sent = r->flight.confirmed;
        to->rows = r->count.rows;
        to->lost = to->sent > r->count.numbers ? to->sent - r->count.numbers : 0;
        to->doubled = r->count.rows - r->count.numbers;
    }
    if (!late && r->pg != NULL) {
        nd_drill_mark(r, ND_PHASE_ALL_ROWS);
    }
    enter(r, ND_REPORT);
}

static void tend_report(struct nd_drill_run *r, uint64_t now)
{
    struct nd_drill_report *to = &r->report;
    uint64_t leader = nd_drill_leader(r);
    struct sy_buf b = {0}, report = {0};

    if (now < r->fault_again_ms || leader == 0) {
        return;
    }
    r->fault_again_ms = now + REPORT_AGAIN_MS;
    to->after = rp_store_watch_node(r->node->store);
    r->passed = nd_drill_judge(to, r->kind, r->pg != NULL);
    nd_drill_report_put(to, &report);
    nd_drill_map(r, &b, "report", 2);
    sy_mp_kbool(&b, "passed", r->passed);
    sy_mp_str(&b, "report");
    sy_mp_bin(&b, report.p, report.len);
    nd_drill_tell(r->node, leader, &b);
    sy_buf_free(&report);
    sy_buf_free(&b);
}

static void tick(uv_timer_t *timer)
{
    struct nd_drill_run *r = timer->data;
    uint64_t now = nd_now_ms();

    nd_drill_traffic_tick(r, now);
    nd_drill_run_look(r->node);
    if (r->stage == ND_PRELUDE) {
        tend_prelude(r, now);
    } else if (r->stage == ND_QUIET) {
        if (r->flight.n == 0 && !nd_drill_command_open(r)) {
            begin_fault(r, now);
        } else if (now - r->stage_ms > ND_DRILL_PRELUDE_MS) {
            fail(r, "the broker did not confirm the canaries; nothing was done");
            enter(r, ND_REPORT);
        }
    } else if (r->stage == ND_FAULT) {
        tend_fault(r, now);
    } else if (r->stage == ND_COUNT) {
        tend_count(r, now);
    } else {
        tend_report(r, now);
    }
}

/* --- life --- */

static void part_closed(void *data)
{
    struct nd_drill_run *r = data;

    if (--r->open_parts == 0) {
        sy_free(r);
    }
}

static void timer_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

static void report_only(uv_timer_t *timer)
{
    struct nd_drill_run *r = timer->data;

    tend_report(r, nd_now_ms());
}

void nd_drill_run_begin(struct nd_node *n, const struct rp_drill *d)
{
    struct nd_drill_run *r = sy_calloc(1, sizeof *r);
    bool good;

    r->node = n;
    r->nr = d->nr;
    r->began_ms = d->began_ms;
    r->kind = nd_drill_kind_of(d->kind);
    nd_drill_report_get(&r->report, d);
    (void)uv_timer_init(n->loop, &r->timer);
    r->timer.data = r;
    r->open_parts = 1;
    good = r->kind < ND_DRILL_KINDS && nd_drill_traffic_open(r);
    if (!good) {
        fail(r, "it could not begin: %s", r->eb.text);
        enter(r, ND_REPORT);
    } else if (!nd_drill_resume(r)) {
        enter(r, ND_PRELUDE);
    }
    (void)uv_timer_start(&r->timer, good ? tick : report_only, TICK_MS, TICK_MS);
    n->drill.run = r;
}

void nd_drill_run_end(struct nd_node *n)
{
    struct nd_drill_run *r = n->drill.run;

    n->drill.run = NULL;
    if (r == NULL) {
        return;
    }
    if (n->closing && (n->tie.again || n->upkeep.restart)) {
        nd_drill_carry(r);
    }
    uv_close((uv_handle_t *)&r->timer, timer_closed);
    nd_drill_traffic_close(r, part_closed);
}

/* Could the watch be relieved right now? Each node that stands by judges itself, all the
 * time, and tells the others; the whole is judged from what they told. */

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mp.h"
#include "node/bridges.h"
#include "node/node.h"

enum {
    LOOK_EVERY_MS = 500,
    HOLD_MS = 3000,      /* so long it must be so before it is told */
    PATIENCE_MS = 15000, /* for what is not known yet */
    HEARD_MS = 2000,
    LAG_MAX_MS = 2000,
    CLOCK_MAX_MS = 2000
};

struct row
{
    char what[24];
    char about[RP_NAME_SIZE]; /* of several: which; "": the only one */
    enum nd_ready_state state;
    char text[256];
};

/* Where rows go; @b NULL: they are only counted. */
struct rows
{
    struct sy_buf *b;
    uint32_t n;
};

static void SY_PRINTF(5, 6) put(struct rows *r, const char *what, const char *about,
                                enum nd_ready_state state, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    r->n++;
    if (r->b == NULL) {
        return;
    }
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sy_mp_map(r->b, 4);
    sy_mp_kstr(r->b, "what", what);
    sy_mp_kstr(r->b, "about", about);
    if (state == ND_READY_UNKNOWN) {
        sy_mp_str(r->b, "ok");
        sy_mp_nil(r->b);
    } else {
        sy_mp_kbool(r->b, "ok", state == ND_READY_YES);
    }
    sy_mp_kstr(r->b, "text", text);
}

static const char *name_of(struct nd_node *n, uint64_t id)
{
    const struct nd_config_node *c = nd_config_node(&n->config, id);

    return c != NULL ? c->name : "?";
}

/* --- of this node --- */

static void own_log(struct nd_node *n, struct rows *r)
{
    const struct nd_ready *k = &n->ready;
    uint64_t leader = cs_core_leader(nd_replica_core(n->replica));
    uint64_t applied = cs_core_applied(nd_replica_core(n->replica));
    uint64_t now = nd_now_ms();
    uint64_t behind = k->newest > applied ? k->newest - applied : 0;
    uint64_t ms = k->target > applied ? now - k->target_ms : 0;

    if (leader == 0 || k->newest_ms == 0 || now - k->newest_ms > HEARD_MS) {
        put(r, "caught up", "", leader == 0 ? ND_READY_NO : ND_READY_UNKNOWN,
            leader == 0 ? "it knows of no leader"
                        : "nothing was heard of the leader lately");
        return;
    }
    put(r, "caught up", "", ms <= LAG_MAX_MS ? ND_READY_YES : ND_READY_NO,
        "%" PRIu64 " entries and %" PRIu64 " ms behind %s (at most %d ms)", behind, ms,
        name_of(n, leader), LAG_MAX_MS);
}

static void own_probe(struct rows *r, const char *what, const char *about,
                      const struct nd_probe *p)
{
    if (!p->known) {
        put(r, what, about, ND_READY_UNKNOWN, "is being tried");
        return;
    }
    put(r, what, about, p->good ? ND_READY_YES : ND_READY_NO, "%s, %" PRIu64 " s ago",
        p->text, (nd_now_ms() - p->at_ms) / 1000);
}

static void own_clock(struct nd_node *n, struct rows *r)
{
    uint64_t leader = cs_core_leader(nd_replica_core(n->replica));
    const struct nd_peer_view *v = &n->views[leader];
    unsigned known = v->clocks < ND_CLOCKS ? v->clocks : ND_CLOCKS;
    int64_t ms = INT64_MIN;

    if (leader == 0 || leader == n->config.id || known == 0) {
        put(r, "clock", "", ND_READY_UNKNOWN, "is not compared yet");
        return;
    }
    for (unsigned i = 0; i < known; i++) {
        ms = v->clock_ms[i] > ms ? v->clock_ms[i] : ms;
    }
    put(r, "clock", "", llabs(ms) <= CLOCK_MAX_MS ? ND_READY_YES : ND_READY_NO,
        "%lld ms %s %s (at most %d ms)%s", llabs(ms), ms > 0 ? "behind" : "ahead of",
        name_of(n, leader), CLOCK_MAX_MS,
        llabs(ms) <= CLOCK_MAX_MS ? "" : ": see whether both have NTP");
}

static void own_disk(struct nd_node *n, struct rows *r)
{
    bool low = ad_wal_space_low(nd_replica_wal(n->replica));
    struct statvfs v;
    uint64_t mib = 0;

    if (r->b != NULL && statvfs(n->config.data_dir, &v) == 0) {
        mib = (uint64_t)v.f_bavail * v.f_frsize >> 20;
    }
    put(r, "disk", "", low ? ND_READY_NO : ND_READY_YES, "%" PRIu64 " MiB free%s", mib,
        low ? ": make room before its log stops it" : "");
}

/* One that moves with the watch is started here then: where it runs now, and whether
 * it can be reached, must not hold up a relief because it does not. */
static void own_broker(struct nd_node *n, unsigned i, struct rows *r)
{
    const struct nd_config_resource *ours = nd_broker_of_ours(&n->config, i);
    const char *name = n->config.brokers[i].name;

    if (ours == NULL) {
        own_probe(r, "broker", name, &n->ready.brokers[i]);
    } else if (access(ours->mosquitto.executable, X_OK) == 0) {
        put(r, "broker", name, ND_READY_YES, "is started here with the watch");
    } else {
        put(r, "broker", name, ND_READY_NO, "%s cannot be run here: install mosquitto",
            ours->mosquitto.executable);
    }
}

static void own_files(struct nd_node *n, struct rows *r)
{
    struct nd_set set;
    char text[256];

    for (unsigned i = 0; nd_set_at(&n->config, i, &set); i++) {
        if (set.area < 0 || n->config.areas[set.area].enabled) {
            enum nd_ready_state state = nd_files_ready(n, i, text, sizeof text);

            put(r, "files", set.name, state, "%s", text);
        }
    }
}

static void own_rows(struct nd_node *n, struct rows *r)
{
    if (nd_config_self(&n->config)->witness) {
        return;
    }
    own_disk(n, r);
    put(r, "state", "", nd_node_diverged(n) ? ND_READY_NO : ND_READY_YES,
        nd_node_diverged(n) ? "differs from the cluster's: it must be re-seeded"
                            : "agrees with the cluster's");
    if (cs_watch_state(&n->watch) != CS_STANDBY) {
        return; /* Its ports run, or did just now: they know better. */
    }
    own_log(n, r);
    own_clock(n, r);
    for (unsigned i = 0; i < n->config.brokers_n; i++) {
        own_broker(n, i, r);
    }
    if (n->config.has_postgres) {
        own_probe(r, "postgres", "", &n->ready.postgres);
    }
    for (unsigned i = 0; i < n->config.areas_n; i++) {
        if (n->config.areas[i].coordinator[0] != '\0' && n->config.areas[i].enabled) {
            own_probe(r, "coordinator", n->config.areas[i].name,
                      &n->ready.coordinators[i]);
        }
    }
    own_files(n, r);
}

void nd_ready_put_own(struct nd_node *n, struct sy_buf *b)
{
    struct rows r = {.b = NULL};

    own_rows(n, &r);
    sy_mp_array(b, r.n);
    r.b = b;
    own_rows(n, &r);
}

void nd_ready_heard(struct nd_node *n, uint64_t from, uint64_t committed,
                    uint64_t wall_ms)
{
    struct nd_peer_view *v = &n->views[from];
    struct nd_ready *k = &n->ready;

    if (wall_ms != 0) {
        v->clock_ms[v->clocks % ND_CLOCKS] = (int64_t)(wall_ms - nd_wall_ms());
        v->clocks = v->clocks == UINT_MAX ? ND_CLOCKS : v->clocks + 1;
    }
    if (from != cs_core_leader(nd_replica_core(n->replica))) {
        return;
    }
    k->newest = committed;
    k->newest_ms = nd_now_ms();
    if (k->target <= cs_core_applied(nd_replica_core(n->replica)) ||
        committed < k->target) {
        k->target = committed;
        k->target_ms = k->newest_ms;
    }
}

/* --- of a node, from what it told --- */

/* The next element of the array at @c, whose @left goes down. */
static bool next_row(struct sy_cur *c, uint32_t *left, struct row *ret)
{
    struct sy_cur row = *c, ok;
    struct sy_mp m;

    if (*left == 0) {
        return false;
    }
    --*left;
    sy_mp_skip(c);
    if (c->bad) {
        return false;
    }
    row.n = (size_t)(c->p - row.p);
    nd_map_str(row, "what", ret->what, sizeof ret->what);
    nd_map_str(row, "about", ret->about, sizeof ret->about);
    nd_map_str(row, "text", ret->text, sizeof ret->text);
    ok = row;
    m = nd_map_find(&ok, "ok") ? sy_mp_next(&ok) : (struct sy_mp){.type = SY_MP_NIL};
    ret->state = m.type != SY_MP_BOOL ? ND_READY_UNKNOWN
                 : m.b                ? ND_READY_YES
                                      : ND_READY_NO;
    return true;
}

/* What @id told of its conditions. False: nothing, or nothing lately. */
static bool rows_of(struct nd_node *n, uint64_t id, struct sy_cur *ret, uint32_t *ret_n)
{
    struct sy_cur map;
    uint64_t age;

    if ((id != n->config.id && !ad_peers_linked(nd_replica_peers(n->replica), id)) ||
        !nd_status_node_map(n, id, &map, &age) || age > HEARD_MS ||
        !nd_map_find(&map, "ready")) {
        return false;
    }
    *ret_n = sy_mp_get_array(&map);
    *ret = map;
    return !map.bad;
}

enum nd_ready_state nd_ready_node(struct nd_node *n, uint64_t id, char *to, size_t size)
{
    enum nd_ready_state state = ND_READY_YES;
    struct sy_cur rows;
    uint32_t left;
    struct row row;

    if (id != n->config.id && !ad_peers_linked(nd_replica_peers(n->replica), id)) {
        snprintf(to, size, "it cannot be reached from %s", name_of(n, n->config.id));
        return ND_READY_NO;
    }
    if (!rows_of(n, id, &rows, &left)) {
        snprintf(to, size, "it has not told anything lately");
        return ND_READY_UNKNOWN;
    }
    snprintf(to, size, "all %" PRIu32 " conditions hold", left);
    while (state != ND_READY_NO && next_row(&rows, &left, &row)) {
        if (row.state != ND_READY_YES && state != row.state) {
            state = row.state;
            snprintf(to, size, "%s%s%s: %s", row.what, row.about[0] != '\0' ? " " : "",
                     row.about, row.text);
        }
    }
    return state;
}

/* --- of the site --- */

static bool reachable(struct nd_node *n, uint64_t id)
{
    return id == n->config.id || ad_peers_linked(nd_replica_peers(n->replica), id);
}

/* Of those that would be left, are there enough? */
static enum nd_ready_state about_quorum(struct nd_node *n, char *to, size_t size)
{
    uint16_t watch = rp_store_watch_node(n->store);
    uint64_t ids[CS_MEMBERS_MAX];
    unsigned total = nd_members_voters(n, ids), left = 0;

    for (unsigned i = 0; i < total; i++) {
        left += ids[i] != watch && reachable(n, ids[i]);
    }
    if (nd_tie_decides(n)) {
        snprintf(to, size,
                 "without %s %u of %u nodes would be left, and the row in Postgres "
                 "decides",
                 name_of(n, watch), left, total);
        return left > 0 ? ND_READY_YES : ND_READY_NO;
    }
    snprintf(to, size, "without %s %u of %u nodes would be left, and %u are needed%s",
             name_of(n, watch), left, total, total / 2 + 1,
             left >= total / 2 + 1 ? ""
             : total < 3           ? ": a witness would help"
                                   : ": start the others");
    return left >= total / 2 + 1 ? ND_READY_YES : ND_READY_NO;
}

static enum nd_ready_state about_tie(struct nd_node *n, char *to, size_t size)
{
    if (!nd_tie_decides(n)) {
        snprintf(to, size, "not configured");
        return ND_READY_UNKNOWN;
    }
    return nd_tie_writable(n, to, size) ? ND_READY_YES : ND_READY_NO;
}

static enum nd_ready_state about_maintenance(struct nd_node *n, char *to, size_t size)
{
    uint64_t left = nd_node_maintenance(n);

    if (left == 0) {
        snprintf(to, size, "none");
        return ND_READY_YES;
    }
    snprintf(to, size,
             "for %" PRIu64
             " s more nobody relieves by itself: `vagtctl maintenance off`",
             left / 1000 + 1);
    return ND_READY_NO;
}

static const struct
{
    const char *what;
    enum nd_ready_state (*look)(struct nd_node *n, char *to, size_t size);
} site_rows[] = {
    {"quorum", about_quorum},
    {"tie-breaker", about_tie},
    {"maintenance", about_maintenance},
};

enum { SITE_ROWS = sizeof site_rows / sizeof site_rows[0] };

/* Who might relieve: not the one on watch, and no witness. */
static bool may_relieve(struct nd_node *n, const struct nd_config_node *c)
{
    return !c->witness && c->id != rp_store_watch_node(n->store);
}

/* The best of those that might. */
static enum nd_ready_state best_of_all(struct nd_node *n, struct nd_verdict *v)
{
    enum nd_ready_state best = ND_READY_NO;
    const char *watch = name_of(n, rp_store_watch_node(n->store));

    v->text[0] = '\0';
    for (unsigned i = 0; i < n->config.nodes_n && best != ND_READY_YES; i++) {
        const struct nd_config_node *c = &n->config.nodes[i];
        enum nd_ready_state state;
        char why[256];
        size_t len;

        if (!may_relieve(n, c)) {
            continue;
        }
        state = nd_ready_node(n, c->id, why, sizeof why);
        if (state == ND_READY_YES) {
            snprintf(v->text, sizeof v->text, "%s could relieve %s right now", c->name,
                     watch);
        } else {
            len = strlen(v->text);
            snprintf(v->text + len, sizeof v->text - len, "%s%s could not relieve %s: %s",
                     len > 0 ? "; " : "", c->name, watch, why);
        }
        best = state == ND_READY_NO ? best : state;
    }
    return best;
}

void nd_ready_judge(struct nd_node *n, struct nd_verdict *v)
{
    unsigned able = 0;

    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        able += !n->config.nodes[i].witness;
    }
    *v = (struct nd_verdict){.state = ND_READY_NO, .pointless = able < 2};
    if (v->pointless) {
        snprintf(v->text, sizeof v->text,
                 "only one node may ever have the watch: a second one would help");
        return;
    }
    if (!nd_watch_is_kept(n)) {
        snprintf(v->text, sizeof v->text,
                 "nobody is on watch: see `vagtctl why` on each node");
        return;
    }
    for (unsigned i = 0; i < SITE_ROWS; i++) {
        char text[256];

        if (site_rows[i].look(n, text, sizeof text) == ND_READY_NO) {
            snprintf(v->text, sizeof v->text, "%s: %s", site_rows[i].what, text);
            return;
        }
    }
    v->state = best_of_all(n, v);
}

/* --- told --- */

static void begin_watch(struct nd_ready *k, uint64_t now)
{
    k->told = k->seen = ND_TOLD_NOTHING;
    k->seen_ms = now;
}

void nd_ready_tend(struct nd_node *n)
{
    struct nd_ready *k = &n->ready;
    uint64_t now = nd_now_ms();
    struct nd_verdict v;
    unsigned hold = HOLD_MS;

    if (cs_watch_state(&n->watch) != CS_ACTIVE || n->stopping) {
        begin_watch(k, now);
        return;
    }
    if (now < k->look_ms) {
        return;
    }
    k->look_ms = now + LOOK_EVERY_MS;
    nd_ready_judge(n, &v);
    if (v.pointless) {
        return;
    }
    if (v.state == ND_READY_UNKNOWN) {
        hold = PATIENCE_MS;
    }
    if ((v.state == ND_READY_YES ? ND_TOLD_READY : ND_TOLD_LOST) != k->seen) {
        k->seen = v.state == ND_READY_YES ? ND_TOLD_READY : ND_TOLD_LOST;
        k->seen_ms = now;
    }
    if (k->seen != k->told && now - k->seen_ms >= hold) {
        k->told = k->seen;
        nd_events_ready(n, k->told == ND_TOLD_READY, v.text);
    }
}

/* --- asked --- */

static void put_site_rows(struct nd_node *n, struct sy_buf *b)
{
    struct rows r = {.b = b};

    sy_mp_str(b, "site");
    sy_mp_array(b, SITE_ROWS);
    for (unsigned i = 0; i < SITE_ROWS; i++) {
        char text[256];
        enum nd_ready_state state = site_rows[i].look(n, text, sizeof text);

        put(&r, site_rows[i].what, "", state, "%s", text);
    }
}

static void put_node(struct nd_node *n, struct sy_buf *b, const struct nd_config_node *c)
{
    char why[256];
    enum nd_ready_state state = nd_ready_node(n, c->id, why, sizeof why);
    struct sy_cur rows, end;
    uint32_t count;

    sy_mp_map(b, 5);
    sy_mp_kuint(b, "id", c->id);
    sy_mp_kstr(b, "name", c->name);
    sy_mp_kbool(b, "ok", state == ND_READY_YES);
    sy_mp_kstr(b, "text", why);
    sy_mp_str(b, "rows");
    if (!rows_of(n, c->id, &rows, &count)) {
        sy_mp_array(b, 0);
        return;
    }
    end = rows;
    for (uint32_t i = 0; i < count; i++) {
        sy_mp_skip(&end);
    }
    sy_mp_array(b, end.bad ? 0 : count);
    if (!end.bad) {
        sy_buf_put(b, rows.p, (size_t)(end.p - rows.p));
    }
}

void nd_op_ready(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    uint16_t watch = rp_store_watch_node(n->store);
    struct sy_buf b = {0};
    struct nd_verdict v;
    uint32_t count = 0;

    nd_ready_judge(n, &v);
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        count += may_relieve(n, &n->config.nodes[i]);
    }
    nd_reply_begin(&q->asker, &b);
    sy_mp_map(&b, 5);
    sy_mp_kbool(&b, "ready", v.state == ND_READY_YES);
    sy_mp_kstr(&b, "text", v.text);
    sy_mp_str(&b, "watch");
    if (nd_watch_is_kept(n)) {
        sy_mp_str(&b, name_of(n, watch));
    } else {
        sy_mp_nil(&b);
    }
    put_site_rows(n, &b);
    sy_mp_str(&b, "nodes");
    sy_mp_array(&b, count);
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        if (may_relieve(n, &n->config.nodes[i])) {
            put_node(n, &b, &n->config.nodes[i]);
        }
    }
    nd_reply_send(&q->asker, &b);
}

static void metric(struct sy_buf *b, const struct nd_config_node *c,
                   const struct row *row)
{
    char name[3 * RP_NAME_SIZE], about[RP_NAME_SIZE];

    snprintf(about, sizeof about, "%s", row->about);
    for (char *p = about; (p = strpbrk(p, "\"\\")) != NULL;) {
        *p = '_'; /* Of an area: anything may be in it. */
    }
    snprintf(name, sizeof name, "ready{node=\"%s\",condition=\"%s\",about=\"%s\"}",
             c->name, row->what, about);
    sy_mp_kuint(b, name, row->state == ND_READY_YES);
}

uint32_t nd_ready_metrics(struct nd_node *n, struct sy_buf *b)
{
    uint32_t count = 1, left;
    struct nd_verdict v;
    struct sy_cur rows;
    struct row row;

    nd_ready_judge(n, &v);
    sy_mp_kuint(b, "ready", v.state == ND_READY_YES);
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        const struct nd_config_node *c = &n->config.nodes[i];

        if (!rows_of(n, c->id, &rows, &left)) {
            continue;
        }
        while (next_row(&rows, &left, &row)) {
            metric(b, c, &row);
            count++;
        }
    }
    return count;
}

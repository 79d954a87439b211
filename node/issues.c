/* What is wrong, as sentences that name the cause and the mend. Found afresh each
 * time somebody asks, from what the nodes told of themselves. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mp.h"
#include "node/node.h"

enum {
    ISSUES_MAX = 32,
    HEARD_MS = 3000,
    MANY_OFFLINE_PERCENT = 50,
    OUTBOX_FULL_PERCENT = 80
};

/* Room for an error at the cost of the last warning. False: there is none. */
static bool forget_warning(struct nd_issues *r)
{
    for (unsigned i = r->n; i-- > 0;) {
        if (!r->list[i].error) {
            memmove(&r->list[i], &r->list[i + 1], (r->n - i - 1) * sizeof r->list[0]);
            r->n--;
            return true;
        }
    }
    return false;
}

static void SY_PRINTF(3, 4) add(struct nd_issues *r, bool error, const char *fmt, ...)
{
    va_list ap;

    if (r->n == ISSUES_MAX && !(error && forget_warning(r))) {
        return;
    }
    va_start(ap, fmt);
    vsnprintf(r->list[r->n].text, sizeof r->list[0].text, fmt, ap);
    va_end(ap);
    r->list[r->n].error = error;
    r->n++;
}

static bool reachable(struct nd_node *n, uint64_t id)
{
    return id == n->config.id || ad_peers_linked(nd_replica_peers(n->replica), id);
}

static unsigned about_nodes(struct nd_node *n, struct nd_issues *r)
{
    unsigned alive = 0;

    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        const struct nd_config_node *c = &n->config.nodes[i];
        struct sy_cur map;
        struct sy_cur flag;
        uint64_t age = 0;

        if (!reachable(n, c->id)) {
            add(r, false,
                "%s is not reachable from here: see whether the machine runs and "
                "`systemctl status vagtd` there",
                c->name);
            continue;
        }
        alive++;
        if (!nd_status_node_map(n, c->id, &map, &age)) {
            continue;
        }
        flag = map;
        if (nd_map_find(&flag, "diverged") && sy_mp_get_bool(&flag)) {
            add(r, true,
                "the state of %s differs from the cluster's: it will not take the watch; "
                "stop it, move its data directory aside and re-seed it",
                c->name);
        }
        flag = map;
        if (nd_map_find(&flag, "disk_low") && sy_mp_get_bool(&flag)) {
            add(r, true,
                "the disk of %s is nearly full: make room before its log stops it",
                c->name);
        }
    }
    return alive;
}

/* With a tie-breaker one of two may do. */
static bool about_tie(struct nd_node *n, struct nd_issues *r)
{
    char text[320];
    bool bad;

    if (nd_tie_sentence(n, text, sizeof text, &bad)) {
        add(r, bad, "%s", text);
    }
    return nd_tie_decides(n);
}

static void about_quorum(struct nd_node *n, struct nd_issues *r)
{
    uint64_t ids[CS_MEMBERS_MAX];
    unsigned total = nd_members_voters(n, ids);
    unsigned quorum = total / 2 + 1;
    unsigned alive = 0;

    if (about_tie(n, r)) {
        return;
    }
    for (unsigned i = 0; i < total; i++) {
        alive += reachable(n, ids[i]);
    }
    if (alive < quorum) {
        add(r, true,
            "only %u of %u nodes can be reached and %u are needed: nothing can be "
            "decided "
            "until another one is back",
            alive, total, quorum);
    } else if (alive == quorum && total > 1) {
        add(r, false, "no further node may fail: %u of %u are there and %u are needed",
            alive, total, quorum);
    }
}

/* A member that does not vote cannot relieve; and this node may be none at all. */
static void about_members(struct nd_node *n, struct nd_issues *r)
{
    struct nd_goal g = nd_goal_of(n);
    const struct nd_config_node *by = nd_config_node(&n->config, n->members.gone_by);
    const struct nd_config_node *c = nd_config_node(&n->config, g.id);

    if (n->members.gone_by != 0) {
        add(r, true,
            "this node is no member of the cluster (so says %s, which leads it): stop "
            "it, or take it in again with `vagtctl members add` there",
            by != NULL ? by->name : "a node");
    }
    if (g.id != 0) {
        add(r, false, "a change of the members is under way (%s to be %s)%s%s",
            c != NULL ? c->name : "a node that left",
            strcmp(g.what, "replace") == 0 || strcmp(g.what, "rejoin") == 0
                ? "seeded anew"
                : g.what,
            n->members.waits[0] != '\0' ? ": " : "", n->members.waits);
    }
}

static void about_maintenance(struct nd_node *n, struct nd_issues *r)
{
    char until[32];
    uint64_t left = nd_node_maintenance(n);

    if (left > 0) {
        nd_upkeep_until(n, until, sizeof until);
        add(r, false,
            "maintenance until %s (%llu min more): nobody relieves a node on watch that "
            "dies; `vagtctl maintenance off` ends it",
            until, (unsigned long long)(left / 60000 + 1));
    }
}

/* With witnesses a majority may be there, and nobody of it able to take the watch. */
static void about_relief(struct nd_node *n, struct nd_issues *r)
{
    unsigned able = 0, all = 0;

    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        if (!n->config.nodes[i].witness) {
            all++;
            able += reachable(n, n->config.nodes[i].id);
        }
    }
    if (all == n->config.nodes_n || all == 1) {
        return; /* Said already. */
    }
    if (able == 0) {
        add(r, true,
            "only witnesses can be reached: nobody can take the watch; start one of "
            "the other nodes");
    } else if (able == 1) {
        add(r, false,
            "only one node that may have the watch can be reached: nobody "
            "could relieve it until another one runs");
    }
}

/* Who stands by, and could not: said of what nobody else says. */
static void about_standby(struct nd_node *n, struct nd_issues *r)
{
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        const struct nd_config_node *c = &n->config.nodes[i];
        char text[256];

        if (!c->witness && c->id != rp_store_watch_node(n->store) &&
            reachable(n, c->id) &&
            nd_ready_node(n, c->id, text, sizeof text) == ND_READY_NO &&
            strncmp(text, "disk:", 5) != 0 && strncmp(text, "state:", 6) != 0) {
            add(r, false, "%s could not take the watch just now: %s; see `vagtctl ready`",
                c->name, text);
        }
    }
}

static void about_area(struct nd_issues *r, struct sy_cur a)
{
    char name[RP_NAME_SIZE];
    char bridge[16], process[16];
    char topic[RP_TOPIC_SIZE];
    uint64_t devices = nd_map_uint(a, "devices", 0);
    uint64_t online = nd_map_uint(a, "online", 0);
    struct sy_cur flag = a;
    bool enabled = nd_map_find(&flag, "enabled") && sy_mp_get_bool(&flag);
    bool ready;

    flag = a;
    ready = nd_map_find(&flag, "ready") && sy_mp_get_bool(&flag);
    nd_map_str(a, "name", name, sizeof name);
    nd_map_str(a, "bridge", bridge, sizeof bridge);
    nd_map_str(a, "base_topic", topic, sizeof topic);
    if (!enabled) {
        return;
    }
    nd_map_str(a, "process", process, sizeof process);
    if (strcmp(bridge, "offline") == 0 && process[0] != '\0' &&
        strcmp(process, "running") != 0) {
        add(r, true,
            "the bridge of %s does not run (%s): its meters cannot be switched before it "
            "does",
            name, process);
    } else if (strcmp(bridge, "offline") == 0) {
        add(r, true,
            "the bridge of %s is offline: its meters cannot be switched; see its "
            "Zigbee2MQTT log",
            name);
    } else if (strcmp(bridge, "unknown") == 0) {
        add(r, false,
            "nothing was ever heard from the bridge of %s: does it publish below '%s' at "
            "this broker?",
            name, topic);
    } else if (!ready) {
        add(r, false, "the bridge of %s is starting and does not take commands yet",
            name);
    } else if (nd_map_uint(a, "paused_ms", 0) > 0) {
        add(r, true,
            "nothing that was sent to %s had an answer: sending is paused for %llu s, "
            "then "
            "one command is tried; look at its coordinator and its Zigbee2MQTT log",
            name, (unsigned long long)(nd_map_uint(a, "paused_ms", 0) / 1000 + 1));
    } else if (devices > 0 && online * 100 < devices * MANY_OFFLINE_PERCENT) {
        add(r, true,
            "%llu of %llu meters of %s are offline at once: look for a blown fuse or a "
            "dead coordinator rather than for meters",
            (unsigned long long)(devices - online), (unsigned long long)devices, name);
    }
}

/* What the broker threw away, and what it does not take. */
static void about_queues(struct nd_issues *r, struct sy_cur b, const char *name)
{
    uint64_t dropped = nd_map_uint(b, "dropped", 0);
    struct sy_cur flag = b;

    if (dropped > 0) {
        add(r, false,
            "the broker %s has dropped %llu messages, most likely while nobody was "
            "connected to read them: raise max_queued_messages (messages per second x "
            "the longest outage)",
            name, (unsigned long long)dropped);
    }
    if (nd_map_find(&flag, "status_refused") && sy_mp_get_bool(&flag)) {
        add(r, false,
            "the broker %s does not take our status or last will: allow our user to "
            "publish retained messages below vagt/",
            name);
    }
}

static void about_broker(struct nd_issues *r, struct sy_cur b)
{
    struct sy_cur flag;
    bool paused;
    char name[32];
    char reader[16];
    char writer[16];
    char error[160];

    nd_map_str(b, "name", name, sizeof name);
    nd_map_str(b, "reader", reader, sizeof reader);
    nd_map_str(b, "writer", writer, sizeof writer);
    nd_map_str(b, "error", error, sizeof error);
    flag = b;
    paused = nd_map_find(&flag, "paused") && sy_mp_get_bool(&flag);
    if (name[0] != '\0' &&
        ((strcmp(reader, "up") != 0 && !paused) || strcmp(writer, "up") != 0)) {
        add(r, true,
            "the broker %s is not connected (%s): nothing can be read or switched; %s",
            name, error[0] != '\0' ? error : "connecting",
            "see whether it runs at the configured address");
    }
    about_queues(r, b, name);
}

/* What happens when it is full, and before it is. */
static void about_outbox(struct nd_issues *r, struct sy_cur outbox)
{
    uint64_t waiting = nd_map_uint(outbox, "readings", 0);
    uint64_t capacity = nd_map_uint(outbox, "capacity", 0);
    uint64_t dropped = nd_map_uint(outbox, "dropped", 0);
    uint64_t letters = nd_map_uint(outbox, "letters_dropped", 0);
    struct sy_cur flag = outbox;
    char policy[16];

    nd_map_str(outbox, "when_full", policy, sizeof policy);
    if (nd_map_find(&flag, "holding") && sy_mp_get_bool(&flag)) {
        add(r, true,
            "the outbox is full (%llu readings): nothing is read from the brokers, which "
            "keep what comes as long as they can, and no command can be confirmed; mend "
            "Postgres",
            (unsigned long long)waiting);
    } else if (capacity > 0 && waiting * 100 >= capacity * OUTBOX_FULL_PERCENT) {
        add(r, true, "the outbox is %llu %% full: when it is full %s; mend Postgres",
            (unsigned long long)(waiting * 100 / capacity),
            strcmp(policy, "hold") == 0 ? "nothing more is read from the brokers"
                                        : "the oldest readings are dropped");
    }
    if (dropped > 0) {
        add(r, true,
            "%llu readings were dropped since the outbox was full: mend Postgres or "
            "raise limits.readings",
            (unsigned long long)dropped);
    }
    if (letters > 0) {
        add(r, false,
            "%llu messages that could not be stored were dropped before Postgres had "
            "them: see `payload.bad` in the log, and raise limits.letters",
            (unsigned long long)letters);
    }
}

/* What works but for one table. */
static void about_tables(struct nd_issues *r, struct sy_cur pg)
{
    uint64_t failed = nd_map_uint(pg, "failed", 0);
    char text[256];

    nd_map_str(pg, "commands_error", text, sizeof text);
    if (text[0] != '\0') {
        add(r, true, "no command of the table meter_commands is taken: %s", text);
    }
    nd_map_str(pg, "letters_error", text, sizeof text);
    if (text[0] != '\0') {
        add(r, true, "dead letters cannot be written and wait: %s", text);
    }
    nd_map_str(pg, "maintenance", text, sizeof text);
    if (text[0] != '\0') {
        add(r, false, "the upkeep of the tables is not complete: %s", text);
    }
    if (failed > 0) {
        add(r, false,
            "Postgres has refused %llu rows since this watch began: see `vagtctl "
            "deadletter list`",
            (unsigned long long)failed);
    }
}

static void about_postgres(struct nd_issues *r, struct sy_cur site)
{
    struct sy_cur pg = site;
    struct sy_cur flag;
    struct sy_cur outbox = site;
    char link[16];
    char error[256];
    uint64_t waiting = 0;
    uint64_t dropped = 0;

    if (!nd_map_find(&pg, "postgres")) {
        return;
    }
    flag = pg;
    nd_map_str(pg, "link", link, sizeof link);
    nd_map_str(pg, "error", error, sizeof error);
    if (nd_map_find(&outbox, "outbox")) {
        waiting = nd_map_uint(outbox, "readings", 0);
        dropped = nd_map_uint(outbox, "dropped", 0);
        about_outbox(r, outbox);
    }
    about_tables(r, pg);
    if (nd_map_find(&flag, "configured") && sy_mp_get_bool(&flag) &&
        strcmp(link, "up") != 0) {
        add(r, true, "Postgres is not connected (%s): %llu readings wait%s",
            error[0] != '\0' ? error : "connecting", (unsigned long long)waiting,
            dropped > 0 ? "" : ", nothing is lost yet");
    }
}

static void each(struct sy_cur map, const char *key,
                 void (*about)(struct nd_issues *r, struct sy_cur item),
                 struct nd_issues *r)
{
    uint32_t count;

    if (!nd_map_find(&map, key)) {
        return;
    }
    count = sy_mp_get_array(&map);
    for (uint32_t i = 0; i < count && !map.bad; i++) {
        struct sy_cur item = map;

        sy_mp_skip(&map);
        item.n = (size_t)(map.p - item.p);
        about(r, item);
    }
}

static void about_note(struct nd_issues *r, struct sy_cur note)
{
    char text[256];

    sy_mp_get_str(&note, text, sizeof text);
    if (!note.bad) {
        add(r, false, "%s", text);
    }
}

static void tell(void *data, bool error, const char *text)
{
    add(data, error, "%s", text);
}

bool nd_watch_is_kept(struct nd_node *n)
{
    uint16_t node = rp_store_watch_node(n->store);
    struct sy_cur map;
    uint64_t age;
    char state[16];

    if (node == 0 || !reachable(n, node) || !nd_status_node_map(n, node, &map, &age) ||
        age > HEARD_MS) {
        return false;
    }
    nd_map_str(map, "watch", state, sizeof state);
    return strcmp(state, "active") == 0;
}

static void make_banner(struct nd_node *n, struct nd_issues *r, unsigned alive)
{
    const struct nd_config_node *c =
        nd_config_node(&n->config, rp_store_watch_node(n->store));
    const char *name = c != NULL ? c->name : "?";
    const char *upkeep = nd_node_maintenance(n) > 0 ? "MAINTENANCE; " : "";

    if (strcmp(r->health, "no_watch") == 0) {
        snprintf(r->banner, sizeof r->banner,
                 "%sNO NODE IS ON WATCH: commands wait and readings stay at the broker",
                 upkeep);
    } else if (strcmp(r->health, "degraded") == 0) {
        snprintf(r->banner, sizeof r->banner, "%s%s is on watch; %u %s attention", upkeep,
                 name, r->n, r->n == 1 ? "thing needs" : "things need");
    } else {
        snprintf(r->banner, sizeof r->banner,
                 "all well: %s is on watch, %u of %u nodes are there", name, alive,
                 n->config.nodes_n);
    }
}

static void by_severity(struct nd_issues *r)
{
    unsigned at = 0;

    for (unsigned i = 0; i < r->n; i++) {
        if (r->list[i].error && i > at) {
            char text[sizeof r->list[0].text];

            memcpy(text, r->list[i].text, sizeof text);
            memmove(&r->list[at + 1], &r->list[at], (i - at) * sizeof r->list[0]);
            memcpy(r->list[at].text, text, sizeof text);
            r->list[at].error = true;
        }
        at += r->list[at].error;
    }
}

void nd_issues_find(struct nd_node *n, struct nd_issues *r)
{
    struct sy_cur site;
    uint64_t age;
    unsigned alive;
    bool kept = nd_watch_is_kept(n);

    memset(r, 0, sizeof *r);
    if (!kept) {
        add(r, true,
            "no node is on watch: `vagtctl why` on each node says what it waits for");
    }
    alive = about_nodes(n, r);
    about_quorum(n, r);
    about_members(n, r);
    about_maintenance(n, r);
    about_relief(n, r);
    nd_left_issues(n, tell, r);
    nd_backup_issues(n, tell, r);
    nd_tls_issues(n, tell, r);
    nd_drill_issues(n, tell, r);
    nd_files_issues(n, tell, r);
    nd_files_copies_issues(n, tell, r);
    if (kept && nd_status_site_map(n, &site, &age)) {
        each(site, "areas", about_area, r);
        each(site, "brokers", about_broker, r);
        nd_site_issues(site, tell, r);
        about_postgres(r, site);
        about_standby(n, r);
        each(site, "notes", about_note, r);
    }
    for (unsigned i = 0; i < n->config.warnings_n; i++) {
        add(r, false, "%s", n->config.warnings[i]);
    }
    by_severity(r);
    r->health = !kept ? "no_watch" : r->n > 0 ? "degraded" : "healthy";
    make_banner(n, r, alive);
}

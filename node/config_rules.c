/* The meaning: what options say about each other. Shape is right already. */

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "node/config_schema.h"

/* What an entry and its message have besides the inputs, generously. */
enum { FRAME_HEAD = 4096 };

/* A path of an entry of a list: "areas[2].broker". */
struct path
{
    char text[ND_SHOWN_SIZE];
};

static struct path entry(const char *list, unsigned i, const char *key)
{
    struct path p;

    snprintf(p.text, sizeof p.text, "%s[%u]%s%s", list, i, key[0] != '\0' ? "." : "",
             key);
    return p;
}

static bool given(const struct nd_problems *ps, const char *path)
{
    return nd_mark_find(ps, path) != NULL;
}

static void check_twice(struct nd_problems *ps, const char *list, unsigned i,
                        const char *key, unsigned first, const char *what)
{
    struct path a = entry(list, first, key), b = entry(list, i, key);
    const struct nd_mark *mark = nd_mark_find(ps, a.text);

    nd_problem(ps, b.text, "%s is that of %s[%u] in line %u, too", what, list, first,
               mark != NULL ? mark->line : 0);
}

static void check_node_pair(const struct nd_raw *raw, struct nd_problems *ps, unsigned i,
                            unsigned j)
{
    const struct nd_config_node *a = &raw->c.nodes[j], *b = &raw->c.nodes[i];

    if (a->id == b->id) {
        check_twice(ps, "nodes", i, "id", j, "this id");
    }
    if (strcmp(a->name, b->name) == 0) {
        check_twice(ps, "nodes", i, "name", j, "this name");
    }
    if (strcmp(a->peer_host, b->peer_host) == 0 && a->peer_port == b->peer_port) {
        check_twice(ps, "nodes", i, "peer", j, "this address");
    }
    if (b->control[0] != '\0' && strcmp(a->control, b->control) == 0) {
        check_twice(ps, "nodes", i, "control", j, "this endpoint");
    }
}

/* Is @endpoint TCP? Then its address. */
static bool tcp_of(const char *endpoint, char host[ND_HOST_SIZE], uint16_t *ret_port)
{
    static const char tcp[] = "tcp://";
    char why[ND_WHY_SIZE];

    return strncmp(endpoint, tcp, strlen(tcp)) == 0 &&
           nd_address_parse(endpoint + strlen(tcp), host, ret_port, why);
}

static bool is_wildcard(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static const char *node_name(const void *data, unsigned i)
{
    const struct nd_config *c = data;

    return c->nodes[i].name;
}

static int self_of(const struct nd_raw *raw)
{
    for (unsigned i = 0; i < raw->c.nodes_n; i++) {
        if (strcmp(raw->c.nodes[i].name, raw->self) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static void check_self(const struct nd_raw *raw, struct nd_problems *ps)
{
    const struct nd_config *c = &raw->c;
    const char *near = nd_nearest(raw->self, node_name, c, c->nodes_n);
    struct sy_buf known = {0};
    char shown[64];

    if (self_of(raw) >= 0) {
        return;
    }
    for (unsigned i = 0; i < c->nodes_n; i++) {
        sy_buf_fmt(&known, "%s%s", i > 0 ? ", " : "", c->nodes[i].name);
    }
    nd_problem(ps, "node", "no node is called '%s'%s%s%s known: %.*s",
               nd_show(shown, raw->self), near != NULL ? ": did you mean '" : ";",
               near != NULL ? near : "", near != NULL ? "'?" : "", (int)known.len,
               (const char *)known.p);
    sy_buf_free(&known);
}

static void check_roles(const struct nd_raw *raw, struct nd_problems *ps)
{
    for (unsigned i = 0; i < raw->c.nodes_n; i++) {
        if (strcmp(raw->c.nodes[i].role, "witness") != 0) {
            return;
        }
    }
    nd_problem(ps, "nodes",
               "all of them are witnesses: nobody would take the watch; make at least "
               "two of them voters");
}

static void check_preferred(const struct nd_raw *raw, struct nd_problems *ps)
{
    char shown[64];

    for (unsigned i = 0; i < raw->c.nodes_n; i++) {
        if (strcmp(raw->c.nodes[i].name, raw->c.tie_preferred) == 0) {
            return;
        }
    }
    if (raw->c.tie_preferred[0] != '\0') {
        nd_problem(ps, "tiebreaker.preferred", "no node is called '%s'",
                   nd_show(shown, raw->c.tie_preferred));
    }
}

static void check_nodes(const struct nd_raw *raw, struct nd_problems *ps)
{
    for (unsigned i = 0; i < raw->c.nodes_n; i++) {
        const struct nd_config_node *n = &raw->c.nodes[i];
        struct path peer = entry("nodes", i, "peer");
        char host[ND_HOST_SIZE];
        uint16_t port;

        for (unsigned j = 0; j < i; j++) {
            check_node_pair(raw, ps, i, j);
        }
        if (is_wildcard(n->peer_host)) {
            nd_problem(
                ps, peer.text,
                "%s is no address that others could reach: name one of the machine",
                n->peer_host);
        } else if (!nd_address_is_loopback(n->peer_host) && !raw->c.peers_plaintext &&
                   !raw->c.tls.given) {
            nd_problem(ps, peer.text,
                       "%s is not on loopback, and without `tls` connections between "
                       "nodes are not encrypted: make certificates (`vagtctl pki`), or "
                       "set peers.plaintext to true if you trust this network",
                       n->peer_host);
        }
        if (tcp_of(n->control, host, &port) && strcmp(host, n->peer_host) == 0 &&
            port == n->peer_port) {
            struct path control = entry("nodes", i, "control");

            nd_problem(ps, control.text,
                       "is the node's own peer address: take another port");
        }
    }
    check_self(raw, ps);
    if (raw->c.tls.given && raw->c.peers_plaintext) {
        nd_problem(ps, "peers.plaintext",
                   "there is `tls`, and what is plain is refused then: leave one of the "
                   "two out");
    }
    if (raw->c.tls.given && raw->c.tls.key.from == ND_SECRET_ENV) {
        nd_problem(ps, "tls.key",
                   "must be a file, since it is read anew when it changes: write it like "
                   "{file: /etc/vagt/tls/node.key}");
    }
}

/* Two sockets of one process cannot share a port. */
static bool collide(const char *a_host, uint16_t a_port, const char *b_host,
                    uint16_t b_port)
{
    return a_port == b_port &&
           (strcmp(a_host, b_host) == 0 || is_wildcard(a_host) || is_wildcard(b_host));
}

static void check_endpoint(const struct nd_raw *raw, struct nd_problems *ps,
                           const char *list, unsigned i, const char *endpoint)
{
    int self = self_of(raw);
    struct path p = entry(list, i, "");
    char host[ND_HOST_SIZE];
    uint16_t port;

    if (!tcp_of(endpoint, host, &port)) {
        return;
    }
    if (!nd_address_is_loopback(host) && !raw->c.control.plaintext &&
        raw->c.control_key.from == ND_SECRET_NONE) {
        nd_problem(ps, p.text,
                   "%s is not on loopback, and there is no control.secret_key: whoever "
                   "reaches it could give orders; `vagtctl pki node` makes a key, or use "
                   "ipc:// and ssh, or control.plaintext: true if you trust this network",
                   host);
    }
    if (self >= 0 &&
        collide(host, port, raw->c.nodes[self].peer_host, raw->c.nodes[self].peer_port)) {
        nd_problem(ps, p.text, "port %u is this node's peer port: take another", port);
    }
}

static void check_same_endpoint(struct nd_problems *ps, const char *list, unsigned i,
                                const char *a, const char *b)
{
    struct path p = entry(list, i, "");
    char a_host[ND_HOST_SIZE], b_host[ND_HOST_SIZE];
    uint16_t a_port, b_port;

    if (strcmp(a, b) == 0 || (tcp_of(a, a_host, &a_port) && tcp_of(b, b_host, &b_port) &&
                              collide(a_host, a_port, b_host, b_port))) {
        nd_problem(ps, p.text, "cannot listen here twice: '%s' is in use above", b);
    }
}

static void check_control(const struct nd_raw *raw, struct nd_problems *ps)
{
    const struct ad_zmq_config *z = &raw->c.control;

    for (unsigned i = 0; i < z->requests_n; i++) {
        check_endpoint(raw, ps, "control.listen", i, z->requests[i]);
        for (unsigned j = 0; j < i; j++) {
            check_same_endpoint(ps, "control.listen", i, z->requests[i], z->requests[j]);
        }
    }
    for (unsigned i = 0; i < z->events_n; i++) {
        check_endpoint(raw, ps, "control.events", i, z->events[i]);
        for (unsigned j = 0; j < i; j++) {
            check_same_endpoint(ps, "control.events", i, z->events[i], z->events[j]);
        }
        for (unsigned j = 0; j < z->requests_n; j++) {
            check_same_endpoint(ps, "control.events", i, z->events[i], z->requests[j]);
        }
    }
}

static void check_brokers(const struct nd_raw *raw, struct nd_problems *ps)
{
    for (unsigned i = 0; i < raw->c.brokers_n; i++) {
        const struct nd_raw_broker *b = &raw->brokers[i];

        for (unsigned j = 0; j < i; j++) {
            if (strcmp(b->m.name, raw->brokers[j].m.name) == 0) {
                check_twice(ps, "brokers", i, "name", j, "this name");
            }
        }
        for (unsigned a = 0; a < b->m.addresses_n; a++) {
            if (is_wildcard(b->m.addresses[a].host)) {
                struct path list = entry("brokers", i, "addresses");
                struct path p = entry(list.text, a, "");

                nd_problem(ps, p.text,
                           "%s is no address to connect to: name the broker's",
                           b->m.addresses[a].host);
            }
        }
        if (b->password.from != ND_SECRET_NONE && b->username[0] == '\0') {
            struct path p = entry("brokers", i, "password");

            nd_problem(ps, p.text, "has no username beside it: add one");
        }
    }
}

static const char *broker_name(const void *data, unsigned i)
{
    const struct nd_raw *raw = data;

    return raw->brokers[i].m.name;
}

static bool broker_known(const struct nd_raw *raw, const char *name)
{
    for (unsigned i = 0; i < raw->c.brokers_n; i++) {
        if (strcmp(raw->brokers[i].m.name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void check_reference(const struct nd_raw *raw, struct nd_problems *ps, unsigned i)
{
    const char *name = raw->areas[i].broker;
    const char *near = nd_nearest(name, broker_name, raw, raw->c.brokers_n);
    struct path p = entry("areas", i, "broker");
    struct sy_buf known = {0};

    if (broker_known(raw, name) || (name[0] == '\0' && raw->c.brokers_n == 1)) {
        return;
    }
    for (unsigned b = 0; b < raw->c.brokers_n; b++) {
        sy_buf_fmt(&known, "%s%s", b > 0 ? ", " : "", raw->brokers[b].m.name);
    }
    if (name[0] == '\0') {
        nd_problem(ps, p.text, "is missing, and there are several brokers; known: %.*s",
                   (int)known.len, (const char *)known.p);
    } else {
        nd_problem(ps, p.text, "no broker is called '%s'%s%s%s known: %.*s", name,
                   near != NULL ? ": did you mean '" : ";", near != NULL ? near : "",
                   near != NULL ? "'?" : "", (int)known.len, (const char *)known.p);
    }
    sy_buf_free(&known);
}

/* Is @inner below @outer in the tree of topics? */
static bool below(const char *outer, const char *inner)
{
    size_t n = strlen(outer);

    return strncmp(outer, inner, n) == 0 && inner[n] == '/';
}

static bool same_broker(const struct nd_raw *raw, unsigned i, unsigned j)
{
    return raw->c.brokers_n == 1 ||
           strcmp(raw->areas[i].broker, raw->areas[j].broker) == 0;
}

static void check_area_pair(const struct nd_raw *raw, struct nd_problems *ps, unsigned i,
                            unsigned j)
{
    const struct nd_config_area *a = &raw->areas[j].a, *b = &raw->areas[i].a;
    struct path p = entry("areas", i, "base_topic");
    char a_shown[64], b_shown[64];

    if (strcmp(a->name, b->name) == 0) {
        check_twice(ps, "areas", i, "name", j, "this name");
    }
    if (strcmp(a->base_topic, b->base_topic) == 0) {
        /* Also on different brokers: the replicated state knows an area by it. */
        check_twice(ps, "areas", i, "base_topic", j, "this topic");
        return;
    }
    if (same_broker(raw, i, j) &&
        (below(a->base_topic, b->base_topic) || below(b->base_topic, a->base_topic))) {
        nd_problem(ps, p.text,
                   "'%s' and '%s' of areas[%u] lie within each other: a device of one "
                   "could not be told from one of the other; use topics side by side",
                   nd_show(b_shown, b->base_topic), nd_show(a_shown, a->base_topic), j);
    }
}

static void check_bridge_pair(const struct nd_raw *raw, struct nd_problems *ps,
                              unsigned i, unsigned j)
{
    const struct nd_config_area *a = &raw->areas[j].a, *b = &raw->areas[i].a;

    if (!a->has_bridge || !b->has_bridge) {
        return;
    }
    if (strcmp(a->bridge.data_dir, b->bridge.data_dir) == 0) {
        check_twice(ps, "areas", i, "bridge.data_dir", j, "this folder");
    }
    if (b->bridge.serial[0] != '\0' && strcmp(a->bridge.serial, b->bridge.serial) == 0) {
        check_twice(ps, "areas", i, "bridge.serial", j, "this coordinator");
    }
}

static void check_areas(const struct nd_raw *raw, struct nd_problems *ps)
{
    for (unsigned i = 0; i < raw->c.areas_n && !nd_problems_full(ps); i++) {
        check_reference(raw, ps, i);
        for (unsigned j = 0; j < i; j++) {
            check_area_pair(raw, ps, i, j);
            check_bridge_pair(raw, ps, i, j);
        }
    }
    if (raw->c.areas_n > raw->c.limits.areas_max) {
        nd_problem(ps, "areas", "has %u entries, more than limits.areas (%" PRIu32 ")",
                   raw->c.areas_n, raw->c.limits.areas_max);
    }
}

static void check_postgres(const struct nd_raw *raw, struct nd_problems *ps)
{
    static const char *const parts[] = {
        "postgres.host",     "postgres.port",    "postgres.dbname",     "postgres.user",
        "postgres.password", "postgres.sslmode", "postgres.sslrootcert"};
    const struct nd_config_pg_source *pg = &raw->c.postgres_from;
    bool whole = pg->conninfo.from != ND_SECRET_NONE;

    if (!raw->c.has_postgres) {
        return;
    }
    for (unsigned i = 0; whole && i < sizeof parts / sizeof parts[0]; i++) {
        if (given(ps, parts[i])) {
            nd_problem(ps, parts[i],
                       "cannot stand beside postgres.conninfo, which says all: leave one "
                       "of them out");
        }
    }
    if (whole) {
        return;
    }
    if (pg->host[0] == '\0') {
        nd_problem(ps, "postgres", "needs either conninfo, or host, dbname and user");
        return;
    }
    if (pg->dbname[0] == '\0') {
        nd_problem(ps, "postgres.dbname", "is missing: name the database");
    }
    if (pg->user[0] == '\0') {
        nd_problem(ps, "postgres.user", "is missing: name the role");
    }
    if (strcmp(pg->sslmode, "verify-full") == 0 && pg->sslrootcert[0] == '\0') {
        nd_problem(
            ps, "postgres.sslrootcert",
            "is missing: sslmode verify-full, the default across a network, compares "
            "with these certificates");
    }
}

/* What has to fit into what: one sentence each. */
static void check_numbers(const struct nd_raw *raw, struct nd_problems *ps)
{
    const struct nd_config *c = &raw->c;

    if (c->raft.election_ms < 3 * c->raft.heartbeat_ms) {
        nd_problem(ps, "raft.election",
                   "%ums is less than three heartbeats of %ums: one lost message would "
                   "cost the leader its office; use at least %ums",
                   c->raft.election_ms, c->raft.heartbeat_ms, 3 * c->raft.heartbeat_ms);
    }
    if (c->raft.trailing <= c->raft.inflight_max) {
        nd_problem(ps, "raft.trailing",
                   "%u must be more than raft.inflight (%u), or a snapshot could drop "
                   "entries that are on their way",
                   c->raft.trailing, c->raft.inflight_max);
    }
    if (c->raft.backlog_max < 2 * c->batch_max) {
        nd_problem(ps, "raft.backlog",
                   "must be at least twice replication.batch: use %zuKiB or more",
                   c->batch_max / 512);
    }
    if (c->raft.frame_max < c->batch_max + FRAME_HEAD) {
        nd_problem(ps, "raft.frame",
                   "an entry of replication.batch must fit into it: use %zuKiB or more",
                   (c->batch_max + FRAME_HEAD + 1023) / 1024);
    }
    if (c->wal.segment_size < 4 * c->batch_max) {
        nd_problem(ps, "wal.segment",
                   "must be at least four times replication.batch: use %zuKiB or more",
                   c->batch_max / 256);
    }
    if (c->commands.retry_max_ms < c->commands.retry_min_ms) {
        nd_problem(ps, "commands.retry_max",
                   "%ums is less than commands.retry_min (%ums)",
                   c->commands.retry_max_ms, c->commands.retry_min_ms);
    }
    if (c->commands.open_max > c->limits.commands_max) {
        nd_problem(ps, "commands.open_max",
                   "%u is more than limits.commands (%" PRIu32 ")", c->commands.open_max,
                   c->limits.commands_max);
    }
}

/* Room for what is on its way when the outbox is found full: node/hold.c. */
static void check_outbox(const struct nd_raw *raw, struct nd_problems *ps)
{
    size_t bursts = 0;

    for (unsigned i = 0; i < raw->c.brokers_n; i++) {
        bursts += raw->brokers[i].m.burst_max;
    }
    if (raw->c.has_postgres && strcmp(raw->c.when_full, "hold") == 0 &&
        raw->c.limits.readings_max < 4 * bursts) {
        nd_problem(ps, "limits.readings",
                   "%" PRIu32
                   " is less than four bursts of all brokers, which must find "
                   "room with when_full: hold; use at least %zu, or lower burst_max",
                   raw->c.limits.readings_max, 4 * bursts);
    }
    if (raw->c.commands.breaker.pause_max_ms < raw->c.commands.breaker.pause_ms) {
        nd_problem(ps, "commands.breaker_pause_max",
                   "%ums is less than commands.breaker_pause (%ums)",
                   raw->c.commands.breaker.pause_max_ms,
                   raw->c.commands.breaker.pause_ms);
    }
}

void nd_rules_check(const struct nd_raw *raw, struct nd_problems *ps)
{
    check_nodes(raw, ps);
    check_roles(raw, ps);
    check_preferred(raw, ps);
    check_control(raw, ps);
    check_brokers(raw, ps);
    check_areas(raw, ps);
    check_postgres(raw, ps);
    check_numbers(raw, ps);
    check_outbox(raw, ps);
    nd_rules_check_site(raw, ps);
    nd_rules_check_wire(raw, ps);
}

static void SY_PRINTF(2, 3) warn(struct nd_config *c, const char *fmt, ...)
{
    va_list ap;

    if (c->warnings_n < ND_WARNINGS_MAX) {
        va_start(ap, fmt);
        vsnprintf(c->warnings[c->warnings_n++], ND_WARNING_SIZE, fmt, ap);
        va_end(ap);
    }
}

static unsigned witnesses(const struct nd_config *c)
{
    unsigned n = 0;

    for (unsigned i = 0; i < c->nodes_n; i++) {
        n += strcmp(c->nodes[i].role, "witness") == 0;
    }
    return n;
}

static void warn_of_two(const struct nd_raw *raw, struct nd_config *c)
{
    bool off = strcmp(raw->c.tie_mode, "off") == 0;

    if (off || !raw->c.has_postgres || witnesses(&raw->c) > 0) {
        warn(c,
             "nodes: two of them and no tie-breaker: if one dies the other does nothing; "
             "%s, or add a third (role: witness will do)",
             off ? "leave tiebreaker.mode: off out" : "add a postgres section");
    }
}

static void warn_of_members(const struct nd_raw *raw, struct nd_config *c)
{
    unsigned n = raw->c.nodes_n;
    bool far = false;

    if (n == 1) {
        warn(c, "nodes: a single node has nobody to relieve it: add two more");
    } else if (n == 2) {
        warn_of_two(raw, c);
    } else if (n % 2 == 0) {
        warn(c,
             "nodes: %u voters survive no more failures than %u would (%u): make them %u",
             n, n - 1, (n - 1) / 2, n + 1);
    }
    if (n > 1 && n - witnesses(&raw->c) == 1) {
        warn(c, "nodes: all but one are witnesses: nobody can relieve that one");
    }
    for (unsigned i = 0; i < n; i++) {
        far = far || !nd_address_is_loopback(raw->c.nodes[i].peer_host);
    }
    if (far && !raw->c.tls.given) {
        warn(c,
             "peers.plaintext: what nodes tell each other is neither encrypted nor "
             "authenticated: keep that network to yourself");
    }
}

void nd_rules_warn(const struct nd_raw *raw, struct nd_config *c)
{
    const struct nd_config_pg_source *pg = &raw->c.postgres_from;
    unsigned enabled = 0;

    warn_of_members(raw, c);
    for (unsigned i = 0; i < raw->c.areas_n; i++) {
        enabled += raw->areas[i].a.enabled;
    }
    if (enabled == 0) {
        warn(c, "areas: all of them are switched off: there is nothing to watch");
    }
    if (!raw->c.has_postgres) {
        warn(c,
             "postgres: no section: readings stay in the outbox, and the oldest are "
             "lost when it is full");
    } else if (pg->host[0] != '\0' && !nd_postgres_is_near(pg->host) &&
               (strcmp(pg->sslmode, "disable") == 0 ||
                strcmp(pg->sslmode, "allow") == 0 ||
                strcmp(pg->sslmode, "prefer") == 0)) {
        warn(c,
             "postgres.sslmode: with %s the password and the data may travel "
             "unencrypted: use require or better",
             pg->sslmode);
    }
    for (unsigned i = 0; i < raw->c.brokers_n; i++) {
        if (raw->brokers[i].plaintext) {
            warn(c,
                 "brokers[%u].plaintext: password, readings and commands are not "
                 "encrypted: keep that network to yourself",
                 i);
        }
        if (raw->brokers[i].m.session_expiry_s < 3600) {
            warn(c,
                 "brokers[%u].session_expiry: below 1h, an outage longer than it "
                 "loses messages",
                 i);
        }
    }
}

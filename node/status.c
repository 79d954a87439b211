/* What is. Each node tells its peers about itself every half second and at every
 * change of role; the one on watch adds what only it can see: the site. So any
 * node can answer for the cluster, and says how old each part is. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mp.h"
#include "node/node.h"

enum { COUNTS_MS = 200, HOUR_MS = 3600 * 1000, DAY_MS = 24 * HOUR_MS };

/* --- reading maps --- */

bool nd_map_find(struct sy_cur *c, const char *key)
{
    uint32_t pairs;

    if (c->n == 0) {
        return false;
    }
    pairs = sy_mp_get_map(c);
    for (uint32_t i = 0; i < pairs && !c->bad; i++) {
        struct sy_mp k = sy_mp_next(c);

        if (sy_mp_is(&k, key)) {
            return !c->bad;
        }
        sy_mp_skip(c);
    }
    return false;
}

uint64_t nd_map_uint(struct sy_cur c, const char *key, uint64_t otherwise)
{
    struct sy_mp m;

    if (!nd_map_find(&c, key)) {
        return otherwise;
    }
    m = sy_mp_next(&c);
    return m.type == SY_MP_UINT ? m.u : otherwise;
}

void nd_map_str(struct sy_cur c, const char *key, char *to, size_t size)
{
    to[0] = '\0';
    if (nd_map_find(&c, key)) {
        sy_mp_get_str(&c, to, size);
    }
}

/* --- about this node --- */

static uint64_t rss_bytes(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f != NULL) {
        if (fscanf(f, "%*u %lu", &pages) != 1) {
            pages = 0;
        }
        fclose(f);
    }
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t disk_free_bytes(const char *dir)
{
    struct statvfs v;

    return statvfs(dir, &v) == 0 ? (uint64_t)v.f_bavail * v.f_frsize : 0;
}

static void put_node(struct nd_node *n, struct sy_buf *b)
{
    const struct cs_core *core = nd_replica_core(n->replica);
    const struct nd_config_node *self = nd_config_self(&n->config);
    enum cs_core_role role = cs_core_role(core);
    char peer[80];
    char hash[17];

    snprintf(peer, sizeof peer, "%s:%u", self->peer_host, self->peer_port);
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)rp_store_hash(n->store));
    sy_mp_map(b, 32 + ND_SITE_NODE_PAIRS + ND_FILES_NODE_PAIRS);
    sy_mp_kuint(b, "id", n->config.id);
    sy_mp_kstr(b, "name", self->name);
    sy_mp_kstr(b, "role", self->role);
    sy_mp_kstr(b, "raft", cs_core_role_name(role));
    sy_mp_kstr(b, "watch", cs_watch_state_name(cs_watch_state(&n->watch)));
    sy_mp_kstr(b, "peer", peer);
    sy_mp_kstr(b, "control", self->control);
    sy_mp_kuint(b, "term", cs_core_term(core));
    sy_mp_kuint(b, "leader", cs_core_leader(core));
    sy_mp_kuint(b, "last", cs_core_last(core));
    sy_mp_kuint(b, "last_term", cs_core_term_of(core, cs_core_last(core)));
    sy_mp_kuint(b, "committed", cs_core_committed(core));
    sy_mp_kuint(b, "applied", cs_core_applied(core));
    sy_mp_kuint(b, "stored", cs_core_stored_index(core));
    sy_mp_kstr(b, "version", VAGT_VERSION);
    sy_mp_kuint(b, "uptime_s", (nd_now_ms() - n->started_ms) / 1000);
    sy_mp_kuint(b, "rss_bytes", rss_bytes());
    sy_mp_kuint(b, "disk_free_bytes", disk_free_bytes(n->config.data_dir));
    sy_mp_kbool(b, "disk_low", ad_wal_space_low(nd_replica_wal(n->replica)));
    sy_mp_kuint(b, "log_bytes", ad_wal_bytes(nd_replica_wal(n->replica)));
    sy_mp_kuint(b, "snapshot_index", cs_core_snapshot_index(core));
    sy_mp_kstr(b, "hash", hash);
    sy_mp_kuint(b, "hash_index", rp_store_index(n->store));
    sy_mp_kuint(b, "waived", nd_upkeep_waived(n));
    sy_mp_kbool(b, "diverged", nd_node_diverged(n));
    sy_mp_kuint(b, "wall_ms", nd_wall_ms());
    sy_mp_kstr(b, "relief", n->relief.text);
    sy_mp_kstr(b, "handing_over", nd_relief_handing_over(n));
    sy_mp_str(b, "ready");
    nd_ready_put_own(n, b);
    nd_tls_put(n, b);
    nd_left_put(n, b);
    nd_site_put_node(n, b);
    nd_files_put_node(n, b);
}

/* --- about the site, from the node on watch --- */

static const char *link_name(enum ad_mqtt_link l)
{
    return l == AD_MQTT_UP ? "up" : l == AD_MQTT_CONNECTING ? "connecting" : "down";
}

/* One walk for all areas, and one for all that is asked in a moment: it goes over all
 * the devices there may be. */
const struct nd_counts *nd_status_counts(struct nd_node *n)
{
    struct nd_counts *ret = &n->counts;
    uint16_t nrs[ND_AREAS_MAX];
    uint64_t now = nd_now_ms();
    unsigned last = 0;

    if (ret->at_ms != 0 && now - ret->at_ms < COUNTS_MS) {
        return ret;
    }
    *ret = (struct nd_counts){.at_ms = now};
    for (unsigned k = 0; k < n->config.areas_n; k++) {
        const struct rp_area *a = rp_store_area_named(n->store, n->config.areas[k].name);

        nrs[k] = a != NULL ? a->nr : 0;
    }
    for (uint32_t i = 0; i < rp_store_devices(n->store); i++) {
        const struct rp_device *d = rp_store_device_at(n->store, i);

        if (d == NULL || !d->listed || rp_is_canary(d->ieee)) {
            ret->canaries += d != NULL && d->listed && d->avail == RP_ONLINE;
            continue;
        }
        ret->listed++;
        if (last >= n->config.areas_n || nrs[last] != d->area) { /* Else as before. */
            for (last = 0; last < n->config.areas_n && nrs[last] != d->area;) {
                last++;
            }
        }
        if (last < n->config.areas_n) {
            ret->devices[last]++;
            ret->online[last] += d->avail == RP_ONLINE;
            ret->offline[last] += d->avail == RP_OFFLINE;
        }
    }
    return ret;
}

static void put_breaker(struct sy_buf *b, const struct rp_breaker *breaker)
{
    uint64_t now = nd_now_ms();

    /* How long nothing is sent; 0: it is closed. */
    sy_mp_kuint(b, "paused_ms",
                breaker->state == RP_BREAKER_CLOSED ? 0
                : breaker->until_ms > now           ? breaker->until_ms - now
                                                    : 1);
}

static void put_area(struct nd_node *n, struct sy_buf *b, const struct nd_counts *counts,
                     unsigned i)
{
    const struct nd_config_area *c = &n->config.areas[i];
    const struct rp_area *a = rp_store_area_named(n->store, c->name);
    char resource[AD_RESOURCE_NAME_SIZE];
    const char *process;

    snprintf(resource, sizeof resource, "bridge-%.80s", c->name);
    process = nd_bridge_is_ours(c) ? nd_site_state(n, resource) : NULL;
    sy_mp_map(b, 12);
    sy_mp_kstr(b, "process", process != NULL ? process : "");
    sy_mp_kstr(b, "name", c->name);
    sy_mp_kstr(b, "base_topic", c->base_topic);
    sy_mp_kstr(b, "source", c->source);
    sy_mp_kstr(b, "broker", n->config.brokers[c->broker].name);
    sy_mp_kstr(b, "bridge", rp_avail_name(a != NULL ? a->bridge : RP_AVAIL_UNKNOWN));
    sy_mp_kbool(b, "ready", a != NULL && a->ready_at_ms != 0);
    sy_mp_kuint(b, "devices", counts->devices[i]);
    sy_mp_kuint(b, "online", counts->online[i]);
    sy_mp_kuint(b, "offline", counts->offline[i]);
    sy_mp_kbool(b, "enabled", c->enabled && (a == NULL || a->off == 0));
    put_breaker(b, &n->areas[i].breaker);
}

/* For a day since it rose; and what was before we looked, at the beginning of a watch,
 * since that is when somebody asks what an outage has cost. */
static uint64_t dropped_lately(const struct nd_node *n, const struct ad_mqtt_status *s)
{
    uint64_t now = nd_now_ms();
    uint64_t sum = 0;

    if (s->broker_dropped > 0 && now < s->broker_dropped_ms + DAY_MS) {
        sum = s->broker_dropped;
    }
    return now < n->relieved_ms + HOUR_MS ? sum + s->broker_dropped_before : sum;
}

static void put_broker(struct nd_node *n, struct sy_buf *b, unsigned i)
{
    static const struct ad_mqtt_status closed;
    const struct nd_broker *broker = &n->brokers[i];
    const struct ad_mqtt_status *s =
        broker->mqtt != NULL ? ad_mqtt_status(broker->mqtt) : &closed;

    sy_mp_map(b, 11);
    sy_mp_kstr(b, "name", n->config.brokers[i].name);
    sy_mp_kstr(b, "address", s->address);
    sy_mp_kstr(b, "reader", link_name(s->reader));
    sy_mp_kstr(b, "writer", link_name(s->writer));
    sy_mp_kbool(b, "holding", s->holding);
    sy_mp_kstr(b, "error", s->error);
    sy_mp_kuint(b, "received", s->received);
    sy_mp_kuint(b, "published", s->published);
    sy_mp_kbool(b, "paused", s->paused);
    sy_mp_kbool(b, "status_refused", s->status_refused);
    sy_mp_kuint(b, "dropped", dropped_lately(n, s));
}

static void put_postgres(struct nd_node *n, struct sy_buf *b)
{
    static const struct ad_pg_status closed;
    const struct ad_pg_status *s = n->pg != NULL ? ad_pg_status(n->pg) : &closed;

    sy_mp_map(b, 15);
    sy_mp_kbool(b, "configured", n->config.has_postgres);
    sy_mp_kstr(b, "link",
               s->link == AD_PG_UP           ? "up"
               : s->link == AD_PG_CONNECTING ? "connecting"
                                             : "down");
    sy_mp_kstr(b, "error", s->error);
    sy_mp_kuint(b, "batches", s->batches);
    sy_mp_kuint(b, "rows", s->rows_readings);
    sy_mp_kuint(b, "failed", s->rows_failed);
    sy_mp_kuint(b, "rows_per_s", s->rows_per_s);
    sy_mp_kuint(b, "letters", s->rows_letters);
    sy_mp_kstr(b, "letters_error", s->letters_error);
    sy_mp_kuint(b, "commands", s->rows_commands);
    sy_mp_kuint(b, "commands_open", s->commands_open);
    sy_mp_kstr(b, "commands_error", s->commands_error);
    sy_mp_kbool(b, "pooled", s->pooled);
    sy_mp_kbool(b, "listening", s->listening);
    sy_mp_kstr(b, "maintenance", s->maintenance);
}

static void put_outbox(struct nd_node *n, struct sy_buf *b)
{
    const struct rp_store *s = n->store;
    uint64_t last = rp_store_readings_last(s);
    uint64_t shipped = rp_store_readings_shipped(s);
    const struct rp_reading *oldest = rp_store_reading(s, rp_store_readings_first(s));
    uint64_t now = nd_wall_ms();

    sy_mp_map(b, 9);
    sy_mp_kuint(b, "readings", oldest != NULL ? last + 1 - oldest->seq : 0);
    sy_mp_kuint(b, "capacity", rp_store_limits(s)->readings_max);
    sy_mp_kuint(b, "oldest_ms",
                oldest != NULL && now > oldest->time_ms ? now - oldest->time_ms : 0);
    sy_mp_kuint(b, "dropped", rp_store_readings_dropped(s));
    sy_mp_kuint(b, "shipped", shipped);
    sy_mp_kstr(b, "when_full", n->config.when_full);
    sy_mp_kbool(b, "holding", n->holding);
    sy_mp_kuint(b, "letters", rp_store_letters_last(s) + 1 - rp_store_letters_first(s));
    sy_mp_kuint(b, "letters_dropped", rp_store_letters_dropped(s));
}

static void put_commands(struct nd_node *n, struct sy_buf *b)
{
    sy_mp_map(b, 6);
    sy_mp_kuint(b, "open", rp_store_open_commands(n->store));
    for (int s = RP_CONFIRMED; s < RP_STATUS_NR; s++) {
        sy_mp_kuint(b, rp_command_status_name((enum rp_command_status)s),
                    rp_store_ended(n->store, (enum rp_command_status)s));
    }
}

static void put_site(struct nd_node *n, struct sy_buf *b)
{
    const struct nd_counts *counts = nd_status_counts(n);
    uint64_t online = rp_store_online(n->store);

    sy_mp_map(b, 8 + ND_SITE_PAIRS);
    sy_mp_str(b, "areas");
    sy_mp_array(b, n->config.areas_n);
    for (unsigned i = 0; i < n->config.areas_n; i++) {
        put_area(n, b, counts, i);
    }
    sy_mp_str(b, "brokers");
    sy_mp_array(b, n->config.brokers_n);
    for (unsigned i = 0; i < n->config.brokers_n; i++) {
        put_broker(n, b, i);
    }
    sy_mp_str(b, "postgres");
    put_postgres(n, b);
    sy_mp_str(b, "notes");
    sy_mp_array(b, n->notes_n);
    for (unsigned i = 0; i < n->notes_n; i++) {
        sy_mp_str(b, n->notes[i].text);
    }
    sy_mp_kuint(b, "devices", counts->listed);
    sy_mp_kuint(b, "online", online > counts->canaries ? online - counts->canaries : 0);
    sy_mp_str(b, "outbox");
    put_outbox(n, b);
    sy_mp_str(b, "commands");
    put_commands(n, b);
    nd_site_put(n, b);
}

/* --- telling and hearing --- */

static void put_gossip(struct nd_node *n, struct sy_buf *b)
{
    bool on_watch = cs_watch_state(&n->watch) == CS_ACTIVE;

    sy_mp_map(b, on_watch ? 2 : 1);
    sy_mp_str(b, "node");
    put_node(n, b);
    if (on_watch) {
        sy_mp_str(b, "site");
        put_site(n, b);
    }
}

void nd_status_gossip(struct nd_node *n)
{
    struct nd_peer_view *own = &n->views[n->config.id];

    own->gossip.len = 0;
    own->at_ms = nd_now_ms();
    put_gossip(n, &own->gossip);
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        if (n->config.nodes[i].id != n->config.id) {
            (void)nd_replica_send(n->replica, n->config.nodes[i].id, ND_FRAME_GOSSIP,
                                  own->gossip.p, own->gossip.len);
        }
    }
    for (unsigned i = 0; i < n->members.removed_n; i++) { /* So it is told that it is. */
        (void)nd_replica_send(n->replica, n->members.removed[i].id, ND_FRAME_GOSSIP,
                              own->gossip.p, own->gossip.len);
    }
}

/* What it says of its state, for comparison. */
static void hear_hash(struct nd_node *n, uint64_t from)
{
    struct sy_cur map;
    uint64_t age, index;
    char hash[17] = "";

    if (!nd_status_node_map(n, from, &map, &age)) {
        return;
    }
    index = nd_map_uint(map, "hash_index", 0);
    nd_map_str(map, "hash", hash, sizeof hash);
    if (index != 0 && strlen(hash) == sizeof hash - 1) {
        cs_agree_heard(&n->agree, from, index, strtoull(hash, NULL, 16));
    }
}

/* Its acknowledgements come the same way, before this: so what it had acknowledged to a
 * leader it has, unless its disk was emptied meanwhile. */
static void hear_log(struct nd_node *n, uint64_t from)
{
    struct sy_cur map;
    uint64_t age, last, match = cs_core_match(nd_replica_core(n->replica), from);

    if (!nd_status_node_map(n, from, &map, &age)) {
        return;
    }
    last = nd_map_uint(map, "last", UINT64_MAX);
    n->views[from].forgot = last < match;
    if (n->views[from].forgot) {
        n->views[from].had = match;
        n->views[from].has = last;
    }
}

static void hear_ready(struct nd_node *n, uint64_t from)
{
    struct sy_cur map;
    uint64_t age;

    if (nd_status_node_map(n, from, &map, &age)) {
        nd_ready_heard(n, from, nd_map_uint(map, "committed", 0),
                       nd_map_uint(map, "wall_ms", 0));
    }
}

void nd_status_heard(struct nd_node *n, uint64_t from, const uint8_t *p, size_t len)
{
    struct sy_cur c = {.p = p, .n = len};
    struct nd_peer_view *v = &n->views[from];

    sy_mp_skip(&c);
    if (c.bad || c.n != 0 || len > ND_GOSSIP_MAX) {
        return;
    }
    v->gossip.len = 0;
    sy_buf_put(&v->gossip, p, len);
    v->at_ms = nd_now_ms();
    if (nd_config_node(&n->config, from) != NULL) {
        hear_hash(n, from);
    }
    nd_members_heard(n, from);
    hear_log(n, from);
    hear_ready(n, from);
    nd_left_heard(n, from);
    v->committed = cs_core_committed(nd_replica_core(n->replica));
}

void nd_status_free(struct nd_node *n)
{
    for (unsigned i = 0; i <= CS_ID_MAX; i++) {
        sy_buf_free(&n->views[i].gossip);
    }
}

static bool part(struct nd_node *n, uint64_t id, const char *key, struct sy_cur *ret,
                 uint64_t *ret_age_ms)
{
    struct nd_peer_view *v = &n->views[id];
    struct sy_cur c;
    struct sy_cur end;

    if (id == n->config.id) {
        v->gossip.len = 0;
        v->at_ms = nd_now_ms();
        put_gossip(n, &v->gossip);
    }
    c = (struct sy_cur){.p = v->gossip.p, .n = v->gossip.len};
    if (!nd_map_find(&c, key)) {
        return false;
    }
    end = c;
    sy_mp_skip(&end);
    if (end.bad || sy_mp_next(&(struct sy_cur){.p = c.p, .n = c.n}).type != SY_MP_MAP) {
        return false; /* It would spoil the answers that it is copied into. */
    }
    *ret = (struct sy_cur){.p = c.p, .n = (size_t)(end.p - c.p)};
    *ret_age_ms = nd_now_ms() - v->at_ms;
    return true;
}

bool nd_status_node_map(struct nd_node *n, uint64_t id, struct sy_cur *ret,
                        uint64_t *ret_age_ms)
{
    return part(n, id, "node", ret, ret_age_ms);
}

bool nd_status_site_map(struct nd_node *n, struct sy_cur *ret, uint64_t *ret_age_ms)
{
    uint16_t on_watch = rp_store_watch_node(n->store);

    return on_watch != 0 && on_watch <= CS_ID_MAX &&
           part(n, on_watch, "site", ret, ret_age_ms);
}

/* --- the answer --- */

/* A map as it was told, with @extra pairs more than it had; they must follow. */
static void put_map_and(struct sy_buf *b, struct sy_cur map, uint32_t extra)
{
    uint32_t pairs = sy_mp_get_map(&map);

    sy_mp_map(b, pairs + extra);
    sy_buf_put(b, map.p, map.n);
}

static void put_lost_node(struct nd_node *n, struct sy_buf *b,
                          const struct nd_config_node *c)
{
    const struct nd_peer_view *v = &n->views[c->id];
    char peer[80];

    snprintf(peer, sizeof peer, "%s:%u", c->peer_host, c->peer_port);
    sy_mp_map(b, v->at_ms != 0 ? 8 : 7);
    sy_mp_kuint(b, "id", c->id);
    sy_mp_kstr(b, "name", c->name);
    sy_mp_kstr(b, "role", c->role);
    sy_mp_kstr(b, "raft", "unreachable");
    sy_mp_kstr(b, "watch", "-");
    sy_mp_kstr(b, "peer", peer);
    sy_mp_kstr(b, "control", c->control);
    if (v->at_ms != 0) {
        sy_mp_kuint(b, "contact_ms", nd_now_ms() - v->at_ms);
    }
}

/* Lag is measured against what was committed here when the node told us: what it
 * said half a second ago is no lag. */
static void put_node_row(struct nd_node *n, struct sy_buf *b,
                         const struct nd_config_node *c)
{
    bool self = c->id == n->config.id;
    uint64_t newest = n->views[c->id].committed;
    struct sy_cur map;
    uint64_t age;
    uint64_t applied;

    if ((!self && !ad_peers_linked(nd_replica_peers(n->replica), c->id)) ||
        !nd_status_node_map(n, c->id, &map, &age)) {
        put_lost_node(n, b, c);
        return;
    }
    applied = nd_map_uint(map, "applied", 0);
    newest = self ? nd_map_uint(map, "committed", 0) : newest;
    put_map_and(b, map, 2);
    sy_mp_kuint(b, "contact_ms", self ? 0 : age);
    sy_mp_kuint(b, "lag", newest > applied ? newest - applied : 0);
}

static void put_watch(struct nd_node *n, struct sy_buf *b, const struct nd_issues *issues)
{
    uint16_t node = rp_store_watch_node(n->store);
    const struct nd_config_node *c = nd_config_node(&n->config, node);

    sy_mp_str(b, "watch");
    if (node == 0 || strcmp(issues->health, "no_watch") == 0) {
        sy_mp_nil(b);
        return;
    }
    sy_mp_map(b, 4);
    sy_mp_kuint(b, "node", node);
    sy_mp_kstr(b, "name", c != NULL ? c->name : "?");
    sy_mp_kuint(b, "term", rp_store_watch_term(n->store));
    sy_mp_kuint(b, "since_ms", rp_store_watch_since(n->store));
}

static void put_nodes(struct nd_node *n, struct sy_buf *b)
{
    sy_mp_str(b, "nodes");
    sy_mp_array(b, n->config.nodes_n);
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        put_node_row(n, b, &n->config.nodes[i]);
    }
}

void nd_status_put(struct nd_node *n, struct sy_buf *b)
{
    struct nd_issues issues;
    struct sy_cur site;
    uint64_t age;

    nd_issues_find(n, &issues);
    sy_mp_map(b, 11);
    sy_mp_kuint(b, "maintenance_ms", nd_node_maintenance(n)); /* what is left of it */
    sy_mp_kstr(b, "cluster", n->config.cluster);
    sy_mp_kuint(b, "node", n->config.id);
    sy_mp_kuint(b, "now_ms", nd_wall_ms());
    sy_mp_kstr(b, "health", issues.health);
    sy_mp_kstr(b, "banner", issues.banner);
    sy_mp_str(b, "issues");
    sy_mp_array(b, issues.n);
    for (unsigned i = 0; i < issues.n; i++) {
        sy_mp_map(b, 2);
        sy_mp_kstr(b, "level", issues.list[i].error ? "error" : "warning");
        sy_mp_kstr(b, "text", issues.list[i].text);
    }
    sy_mp_str(b, "files");
    nd_files_put_sets(n, b);
    put_watch(n, b, &issues);
    put_nodes(n, b);
    sy_mp_str(b, "site");
    if (nd_status_site_map(n, &site, &age)) {
        put_map_and(b, site, 1);
        sy_mp_kuint(b, "stale_ms", age);
    } else {
        sy_mp_nil(b);
    }
}

static uint64_t outbox_used(const struct rp_store *s)
{
    return rp_store_limits(s)->readings_max - rp_store_readings_room(s);
}

static uint64_t breakers_opened(const struct nd_node *n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n->areas_n; i++) {
        sum += n->areas[i].breaker.opened;
    }
    return sum;
}

struct figure
{
    const char *name;
    uint64_t value;
};

void nd_op_metrics(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    const struct cs_core *core = nd_replica_core(n->replica);
    const struct cs_stats *cs = cs_core_stats(core);
    const struct rp_stats *rp = rp_store_stats(n->store);
    const struct ad_peer_stats *ps = ad_peers_stats(nd_replica_peers(n->replica));
    const struct ad_zmq_stats *zs = ad_zmq_stats(n->zmq);
    const struct figure rows[] = {
        {"raft_term", cs_core_term(core)},
        {"raft_committed", cs_core_committed(core)},
        {"raft_writes", cs->writes},
        {"raft_entries_written", cs->entries_written},
        {"raft_elections_won", cs->elections_won},
        {"raft_snapshots_taken", cs->snapshots_taken},
        {"raft_snapshots_installed", cs->snapshots_installed},
        {"raft_log_bytes_memory", cs_core_log_bytes(core)},
        {"wal_bytes", ad_wal_bytes(nd_replica_wal(n->replica))},
        {"state_entries", rp->entries},
        {"state_inputs", rp->inputs},
        {"state_reports", rp->reports},
        {"state_duplicates", rp->duplicates},
        {"state_readings", rp->readings},
        {"state_refused", rp->refused},
        {"state_unknown_devices", rp->unknown_devices},
        {"state_letters", rp->letters},
        {"outbox_readings", outbox_used(n->store)},
        {"outbox_room", rp_store_readings_room(n->store)},
        {"outbox_dropped", rp_store_readings_dropped(n->store)},
        {"outbox_holding", n->holding},
        {"outbox_letters",
         rp_store_letters_last(n->store) + 1 - rp_store_letters_first(n->store)},
        {"outbox_letters_dropped", rp_store_letters_dropped(n->store)},
        {"outbox_results_dropped", rp_store_results_dropped(n->store)},
        {"breakers_opened", breakers_opened(n)},
        {"state_devices", rp_store_devices(n->store)},
        {"state_open_commands", rp_store_open_commands(n->store)},
        {"peer_frames_in", ps->frames_in},
        {"peer_frames_out", ps->frames_out},
        {"peer_frames_dropped", ps->dropped},
        {"peer_links", ps->links},
        {"peer_refused", ps->refused},
        {"control_requests", zs->requests},
        {"control_replies_dropped", zs->replies_dropped},
        {"control_connections", zs->connections},
        {"control_turned_away", zs->turned_away},
        {"source_unknown_devices", n->unknown_devices},
        {"source_bad_payloads", n->bad_payloads},
        {"source_letters_skipped", n->letters_skipped},
        {"source_notes_skipped", n->notes_skipped},
        {"loop_stall_max_us", n->stall_max_us},
        {"loop_work_max_us", n->work_max_us},
        {"backups_done", n->backup.done},
        {"backups_failed", n->backup.failed},
        {"backup_age_s", nd_backup_age_s(n)},
        {"resources_running", nd_site_count(n, CS_RES_RUNNING)},
        {"resources_failures", nd_site_failures(n)},
        {"rss_bytes", rss_bytes()},
    };
    struct sy_buf b = {0}, ready = {0};
    uint32_t more = nd_ready_metrics(n, &ready) + nd_tls_metrics(n, &ready) +
                    nd_files_metrics(n, &ready);

    nd_reply_begin(&q->asker, &b);
    sy_mp_map(&b, sizeof rows / sizeof rows[0] + more);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sy_mp_kuint(&b, rows[i].name, rows[i].value);
    }
    sy_buf_put(&b, ready.p, ready.len);
    sy_buf_free(&ready);
    nd_reply_send(&q->asker, &b);
}

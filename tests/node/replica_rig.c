#include "tests/node/replica_rig.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void log_write(void *data, enum sy_level level, const char *line, size_t len)
{
    struct rig_node *n = data;

    (void)level;
    if (getenv("RIG_LOG") != NULL) {
        fprintf(stderr, "n%u %.*s\n", n->id, (int)len, line);
    }
    if (n->lines_len + len + 2 < sizeof n->lines) {
        memcpy(n->lines + n->lines_len, line, len);
        n->lines_len += len;
        n->lines[n->lines_len++] = '\n';
        n->lines[n->lines_len] = '\0';
    }
}

/* An address of this process alone, so that a port is free when we did not take it:
 * all of 127.0.0.0/8 is loopback. The ports are below those that connect() takes. */
static void take_address(struct ad_peer_address *a)
{
    static uint16_t port = 21000;
    unsigned pid = (unsigned)getpid();

    a->port = ++port;
    snprintf(a->host, sizeof a->host, "127.%u.%u.%u", 64 + (pid >> 16) % 64,
             (pid >> 8) % 256, pid % 256);
}

/* --- what a replica tells --- */

static void on_event(void *data, const struct rp_event *ev)
{
    struct rig_node *n = data;

    n->events[ev->kind]++;
}

static void on_changed(void *data)
{
    struct rig_node *n = data;

    n->changes++;
}

static void on_frame(void *data, uint64_t from, uint8_t kind, const uint8_t *p,
                     size_t len)
{
    struct rig_node *n = data;

    (void)from;
    assert_true(kind >= ND_FRAME_OWNER);
    assert_true(len == 0 || p[0] == kind);
    n->frames++;
    n->frame_bytes += len;
}

static void on_link(void *data, uint64_t peer, bool up, bool broken)
{
    struct rig_node *n = data;

    (void)peer;
    n->breaks += !up && broken;
}

/* --- life --- */

static void configure(struct rig *r, unsigned id, const struct ad_peer_address *nodes)
{
    struct rig_node *n = &r->nodes[id];
    struct nd_replica_config *c = &n->config;

    *c = (struct nd_replica_config){
        .cluster = "campsite",
        .data_dir = n->dir,
        .batch_max = 64 * 1024,
        .pending_max = 1024 * 1024,
        .inflight_max = 4,
    };
    cs_core_config_default(&c->raft);
    c->raft.id = id;
    c->raft.seed = id;
    c->raft.election_ms = 500;
    c->raft.heartbeat_ms = 20;
    ad_wal_config_default(&c->wal);
    c->wal.segment_size = 1024 * 1024;
    rp_limits_default(&c->limits);
    ad_peer_config_default(&c->peers);
    snprintf(c->peers.cluster, sizeof c->peers.cluster, "%s", c->cluster);
    c->peers.epoch = 1;
    c->peers.self = id;
    c->peers.nodes_n = RIG_NODES;
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        c->peers.nodes[i - 1] = nodes[i];
    }
}

static void pulse_cb(uv_timer_t *timer)
{
    (void)timer;
}

void rig_prepare(struct rig *r)
{
    struct ad_peer_address nodes[RIG_NODES + 1];

    memset(r, 0, sizeof *r);
    snprintf(r->dir, sizeof r->dir, "/tmp/vagt-replica-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(uv_timer_init(&r->loop, &r->pulse), 0);
    assert_int_equal(uv_timer_start(&r->pulse, pulse_cb, 5, 5), 0);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        nodes[i].id = i;
        take_address(&nodes[i]);
    }
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        struct rig_node *n = &r->nodes[i];
        struct sy_errbuf eb;
        struct ad_wal_fs fs;

        n->rig = r;
        n->id = i;
        n->closed = true;
        n->log = (struct sy_log){.level = SY_DEBUG, .data = n, .write = log_write};
        snprintf(n->dir, sizeof n->dir, "%s/%u", r->dir, i);
        if (mkdir(n->dir, 0700) != 0 || ad_wal_disk_open(&fs, n->dir, &eb) != 0) {
            fail();
        }
        ad_wal_disk_close(&fs);
        configure(r, i, nodes);
    }
}

void rig_bootstrap(struct rig *r, unsigned id)
{
    struct sy_errbuf eb;

    if (nd_replica_bootstrap(&r->nodes[id].config, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
}

void rig_init(struct rig *r)
{
    rig_prepare(r);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        rig_bootstrap(r, i);
        rig_open(r, i);
    }
}

int rig_try_open(struct rig *r, unsigned id, struct sy_errbuf *eb)
{
    static const struct nd_replica_callbacks cb = {on_event, on_changed, on_frame,
                                                   on_link};
    struct rig_node *n = &r->nodes[id];
    int rv;

    n->lines_len = 0;
    n->lines[0] = '\0';
    rv = nd_replica_open(&n->r, &r->loop, &n->log, &n->config, &cb, n, eb);
    n->r = rv == 0 ? n->r : NULL;
    return rv;
}

void rig_open(struct rig *r, unsigned id)
{
    struct sy_errbuf eb;

    r->nodes[id].closed = false;
    if (rig_try_open(r, id, &eb) != 0) {
        fail_msg("node %u: %s", id, eb.text);
    }
}

static void on_closed(void *data)
{
    struct rig_node *n = data;

    n->closed = true;
}

void rig_close(struct rig *r, unsigned id)
{
    struct rig_node *n = &r->nodes[id];
    struct nd_replica *gone = n->r;

    n->r = NULL;
    nd_replica_close(gone, on_closed);
    RIG_UNTIL(r, n->closed);
}

static void remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *e;

    assert_non_null(dir);
    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] != '.') {
            assert_int_equal(unlinkat(dirfd(dir), e->d_name, 0), 0);
        }
    }
    closedir(dir);
    rmdir(path);
}

void rig_fini(struct rig *r)
{
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        if (r->nodes[i].r != NULL) {
            nd_replica_close(r->nodes[i].r, on_closed);
            r->nodes[i].r = NULL;
        }
    }
    uv_close((uv_handle_t *)&r->pulse, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        assert_true(r->nodes[i].closed);
        remove_dir(r->nodes[i].dir);
    }
    rmdir(r->dir);
}

void rig_turn(struct rig *r)
{
    uv_run(&r->loop, UV_RUN_ONCE);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        if (r->nodes[i].r != NULL) {
            uint64_t us = nd_replica_stall_us(r->nodes[i].r);

            r->stall_us = us > r->stall_us ? us : r->stall_us;
        }
    }
}

/* --- looking --- */

void rig_complain(const struct rig *r)
{
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        const struct rig_node *n = &r->nodes[i];
        const struct cs_core *c = n->r != NULL ? nd_replica_core(n->r) : NULL;

        print_message("node %u:\n%s", i,
                      n->lines + (n->lines_len > 1500 ? n->lines_len - 1500 : 0));
        if (c != NULL) {
            print_message("  %s term %llu leader %llu last %llu applied %llu\n",
                          cs_core_role_name(cs_core_role(c)),
                          (unsigned long long)cs_core_term(c),
                          (unsigned long long)cs_core_leader(c),
                          (unsigned long long)cs_core_last(c),
                          (unsigned long long)cs_core_applied(c));
        }
    }
}

unsigned rig_leader(const struct rig *r)
{
    unsigned leader = 0;

    for (unsigned i = 1; i <= RIG_NODES; i++) {
        const struct nd_replica *n = r->nodes[i].r;
        unsigned says = n != NULL ? (unsigned)cs_core_leader(nd_replica_core(n)) : 0;

        if (n != NULL && (says == 0 || (leader != 0 && leader != says))) {
            return 0;
        }
        leader = n != NULL ? says : leader;
    }
    return leader != 0 && r->nodes[leader].r != NULL ? leader : 0;
}

unsigned rig_led(struct rig *r)
{
    RIG_UNTIL(r, rig_leader(r) != 0);
    return rig_leader(r);
}

bool rig_level(const struct rig *r)
{
    unsigned leader = rig_leader(r);
    uint64_t last;

    if (leader == 0) {
        return false;
    }
    last = cs_core_last(nd_replica_core(r->nodes[leader].r));
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        struct nd_replica *n = r->nodes[i].r;

        if (n != NULL && (cs_core_applied(nd_replica_core(n)) != last ||
                          rp_store_index(nd_replica_store(n)) != last)) {
            return false;
        }
    }
    return true;
}

void rig_same_state(struct rig *r)
{
    uint64_t hash;

    RIG_UNTIL(r, rig_level(r));
    hash = rp_store_hash(nd_replica_store(r->nodes[rig_leader(r)].r));
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        if (r->nodes[i].r != NULL) {
            assert_int_equal(rp_store_hash(nd_replica_store(r->nodes[i].r)), hash);
            assert_false(rp_store_diverged(nd_replica_store(r->nodes[i].r)));
        }
    }
}

bool rig_said(const struct rig *r, unsigned id, const char *what)
{
    return strstr(r->nodes[id].lines, what) != NULL;
}

/* --- doing --- */

static void on_applied(void *data, int status)
{
    static uint64_t order;
    struct rig_wait *w = data;

    w->fired++;
    w->status = status;
    w->order = ++order;
    w->applied = cs_core_applied(nd_replica_core(w->r));
}

void rig_wait(struct rig *r, unsigned id, struct rig_wait *w)
{
    *w = (struct rig_wait){.r = r->nodes[id].r};
    nd_replica_wait(r->nodes[id].r, &w->wait, on_applied, w);
}

void rig_seed(struct rig *r, unsigned id)
{
    struct rig_wait w;

    rp_batch_area(nd_replica_batch(r->nodes[id].r), "north", "zigbee2mqtt/north");
    for (unsigned i = 1; i <= RIG_DEVICES; i++) {
        char name[32];

        snprintf(name, sizeof name, "meter%u", i);
        rp_batch_device(nd_replica_batch(r->nodes[id].r), 1, i, name, "plug");
    }
    rig_wait(r, id, &w);
    RIG_UNTIL(r, w.fired == 1);
    assert_int_equal(w.status, 0);
}

void rig_report(struct rig *r, unsigned id, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t nr = ++r->reports;
        struct rp_report report = {
            .ieee = 1 + nr % RIG_DEVICES,
            .last_seen_ms = 1700000000000 + nr,
            .payload_hash = nr * 0x9e3779b97f4a7c15ULL,
            .state = nr % 2 == 0 ? RP_ON : RP_OFF,
            .values = {.has = RP_HAS_POWER, .power_mw = (int32_t)(nr % 100000)},
        };

        rp_batch_report(nd_replica_batch(r->nodes[id].r), &report);
    }
}

void rig_load(struct rig *r, unsigned id, unsigned n)
{
    struct rig_wait w;

    rig_report(r, id, n);
    rig_wait(r, id, &w);
    RIG_UNTIL(r, w.fired == 1);
    assert_int_equal(w.status, 0);
}

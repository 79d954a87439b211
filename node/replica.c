#include "node/replica_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/mp.h"

uint64_t nd_now_ms(void)
{
    return uv_hrtime() / 1000000;
}

uint64_t nd_wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- what the core wants --- */

static void op_send(void *ctx, uint64_t to, const uint8_t *frame, size_t len)
{
    struct nd_replica *r = ctx;

    if (!r->gate.muted) {
        (void)ad_peers_send(r->peers, to, ND_FRAME_RAFT, frame, len); /* may be lost */
    }
}

static bool op_linked(void *ctx, uint64_t to)
{
    const struct nd_replica *r = ctx;

    return r->peers != NULL && ad_peers_linked(r->peers, to);
}

static void op_restore(void *ctx, const struct cs_snapshot_meta *meta)
{
    struct nd_replica *r = ctx;
    struct sy_errbuf eb;

    if (nd_disk_restore(r, meta->index, meta->term, &eb) != 0) {
        nd_disk_fatal(r, "snapshot.unreadable", eb.text);
    }
    SY_LOG(r->log, SY_NOTE, "snapshot.installed", KU64("index", meta->index));
}

static void op_fatal(void *ctx, const char *why)
{
    nd_disk_fatal(ctx, "consensus.broken", why);
}

static void tick_cb(uv_timer_t *timer)
{
    struct nd_replica *r = timer->data;

    cs_core_tick(r->core, nd_now_ms());
    nd_replica_observe(r);
}

static void arm(struct nd_replica *r)
{
    uint64_t due = cs_core_timeout(r->core);
    uint64_t now;

    uv_update_time(r->loop);
    now = uv_now(r->loop);
    (void)uv_timer_start(&r->tick, tick_cb, due > now ? due - now : 0, 0);
}

static void again_cb(uv_idle_t *idle)
{
    (void)idle; /* Its being there is the point. */
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* How long did this turn keep everybody waiting? Callbacks of the poll run inside
 * it, so all that counts as rest is what the loop says it slept. The second figure is
 * what of it was our own work: the rest the machine gave to others. */
static void note_turn(struct nd_replica *r)
{
    uint64_t now_ns = uv_hrtime();
    uint64_t idle_ns = uv_metrics_idle_time(r->loop);
    uint64_t busy_ns = now_ns - r->turn_began_ns;
    uint64_t slept_ns = idle_ns - r->turn_idle_ns;
    uint64_t us = busy_ns > slept_ns ? (busy_ns - slept_ns) / 1000 : 0;

    uint64_t cpu_ns = thread_cpu_ns();
    uint64_t cpu_us = (cpu_ns - r->turn_cpu_ns) / 1000;

    if (r->turn_began_ns != 0) {
        r->stall_us = us > r->stall_us ? us : r->stall_us;
        r->work_us = cpu_us > r->work_us ? cpu_us : r->work_us;
    }
    r->turn_cpu_ns = cpu_ns;
    r->turn_began_ns = now_ns;
    r->turn_idle_ns = idle_ns;
}

/* The last thing before the loop sleeps: everything this turn brought is answered,
 * submitted in one entry, and sent in one write per peer. */
static void prepare_cb(uv_prepare_t *prepare)
{
    struct nd_replica *r = prepare->data;
    bool more = nd_replica_turn(r);

    if (r->closing) {
        return; /* One of its callbacks has closed us. */
    }
    if (more) {
        (void)uv_idle_start(&r->again, again_cb);
    } else {
        uv_idle_stop(&r->again);
    }
    ad_peers_flush(r->peers);
    arm(r);
    note_turn(r);
}

/* --- peers --- */

/* Somebody who went on without us, or whom we went on without, has no say. */
static bool admitted(const struct nd_replica *r, uint64_t from)
{
    struct cs_member m;

    return !r->gate.muted && (!r->gate.members_only || cs_core_member(r->core, from, &m));
}

static void peer_frame(void *data, uint64_t from, uint8_t kind, const uint8_t *p,
                       size_t n)
{
    struct nd_replica *r = data;

    if (r->closing) {
        return;
    }
    r->heard_ms[from] = nd_now_ms();
    if (kind >= ND_FRAME_OWNER) {
        r->cb.frame(r->data, from, kind, p, n);
    } else if (!admitted(r, from)) {
        return;
    } else if (kind != ND_FRAME_RAFT) {
        nd_xfer_frame(r, from, kind, p, n);
    } else if (cs_frame_is_snapshot(p, n, &(uint64_t){0}, &(uint64_t){0}) ||
               cs_core_recv(r->core, nd_now_ms(), from, p, n) != 0) {
        SY_LOG(r->log, SY_WARN, "peer.malformed", KU64("peer", from));
        ad_peers_drop(r->peers, from); /* And it costs a redial to try again. */
    }
    nd_replica_observe(r);
}

static void peer_up(void *data, uint64_t peer)
{
    struct nd_replica *r = data;

    SY_LOG(r->log, SY_NOTE, "peer.up", KU64("peer", peer));
    cs_core_linked(r->core, nd_now_ms());
    nd_replica_observe(r);
    r->cb.link(r->data, peer, true, false);
    r->dirty = true;
}

static void peer_down(void *data, uint64_t peer, bool broken)
{
    struct nd_replica *r = data;

    SY_LOG(r->log, SY_NOTE, "peer.lost", KU64("peer", peer),
           KSTR("how", broken ? "broken" : "dropped"));
    nd_xfer_lost(r, peer);
    if (broken && r->core != NULL) {
        cs_core_lost(r->core, nd_now_ms(), peer);
        nd_replica_observe(r);
    }
    r->cb.link(r->data, peer, false, broken);
    r->dirty = true;
}

/* --- life --- */

static void init_loop(struct nd_replica *r)
{
    int rv = uv_timer_init(r->loop, &r->tick);

    rv |= uv_prepare_init(r->loop, &r->prepare);
    rv |= uv_idle_init(r->loop, &r->again);
    rv |= uv_loop_configure(r->loop, UV_METRICS_IDLE_TIME);
    assert(rv == 0); /* They only fill in structs. */
    r->tick.data = r->prepare.data = r->again.data = r;
    r->open_handles += 3;
    sy_list_init(&r->batch_waits);
    sy_list_init(&r->sealed);
    sy_list_init(&r->waits);
    sy_list_init(&r->done);
}

static void make_identity(const struct nd_replica_config *c, char *to, size_t size)
{
    snprintf(to, size, "%s/%llu", c->cluster, (unsigned long long)c->raft.id);
}

static int open_folder(const char *dir, struct ad_wal_fs *fs, struct sy_errbuf *eb)
{
    struct sy_errbuf why;
    int rv = ad_wal_disk_take(fs, dir, &why);

    if (rv == SY_EBUSY) {
        *eb = why; /* Says itself what to do. */
    } else if (rv != 0) {
        (void)sy_fail(
            eb, rv,
            "data_dir: %.300s; the folder must be there, on its disk, and belong "
            "to the user that vagtd runs as",
            why.text);
    }
    return rv;
}

int nd_replica_bootstrap(const struct nd_replica_config *c, struct sy_errbuf *eb)
{
    uint64_t ids[AD_PEER_ID_MAX];
    struct ad_wal_fs fs;
    struct cs_entry entry;
    char identity[128];
    int rv = open_folder(c->data_dir, &fs, eb);

    if (rv != 0) {
        return rv;
    }
    for (unsigned i = 0; i < c->peers.nodes_n; i++) {
        ids[i] = c->peers.nodes[i].id;
    }
    make_identity(c, identity, sizeof identity);
    cs_core_bootstrap(ids, c->peers.nodes_n, &entry);
    rv = ad_wal_bootstrap(&fs, &c->wal, identity, &entry, eb);
    sy_free(entry.data);
    ad_wal_disk_close(&fs);
    return rv;
}

static int read_back(struct nd_replica *r, struct cs_core_boot *boot,
                     struct sy_errbuf *eb)
{
    int rv = open_folder(r->config.data_dir, &r->fs, eb);

    if (rv != 0) {
        return rv;
    }
    make_identity(&r->config, r->identity, sizeof r->identity);
    rv = ad_wal_open(&r->wal, &r->fs, &r->config.wal, r->identity, boot, eb);
    if (rv == SY_ENOTFOUND) {
        return sy_fail(eb, rv,
                       "there is no log in %s: a node of a new cluster needs `vagtd "
                       "--bootstrap` once; if this node has run before, its disk is "
                       "not mounted or data_dir is not the folder it had",
                       r->config.data_dir);
    }
    if (rv == 0 && ad_wal_note(r->wal) != NULL) {
        SY_LOG(r->log, SY_WARN, "log.note", KSTR("text", ad_wal_note(r->wal)));
    }
    if (rv == 0 && boot->snapshot.index != 0) {
        rv = nd_disk_restore(r, boot->snapshot.index, boot->snapshot.term, eb);
    }
    return rv;
}

static int make_store(struct nd_replica *r, struct sy_errbuf *eb)
{
    r->memory_size = rp_store_size(&r->config.limits);
    r->memory = mmap(NULL, r->memory_size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (r->memory == MAP_FAILED) {
        r->memory = NULL;
        return sy_fail(eb, SY_ELIMIT,
                       "no %zu MiB of address space for the state: lower `limits`",
                       r->memory_size >> 20);
    }
    r->store = rp_store_init(&r->config.limits, r->memory);
    return 0;
}

static void free_boot(struct cs_core_boot *boot)
{
    for (size_t i = 0; i < boot->n; i++) {
        sy_free(boot->entries[i].data);
    }
    sy_free(boot->entries);
    sy_buf_free(&boot->snapshot.conf);
}

static int start(struct nd_replica *r, struct sy_errbuf *eb)
{
    static const struct cs_core_ops ops = {
        .send = op_send,
        .linked = op_linked,
        .send_snapshot = nd_xfer_send,
        .store = nd_disk_store,
        .apply = nd_replica_apply,
        .snapshot = nd_disk_snapshot,
        .restore = op_restore,
        .fatal = op_fatal,
    };
    static const struct ad_peer_callbacks peer_cb = {peer_frame, peer_up, peer_down};
    struct cs_core_boot boot = {0};
    struct cs_core_config raft = r->config.raft;
    int rv = make_store(r, eb);

    if (rv == 0) {
        rv = read_back(r, &boot, eb);
    }
    if (rv == 0) {
        rv = ad_peers_open(&r->peers, r->loop, r->log, &r->config.peers, &peer_cb, r, eb);
    }
    if (rv != 0) {
        free_boot(&boot);
        return rv;
    }
    raft.snapshot_bytes =
        r->config.small ? nd_replica_small_log(r, 0) : raft.snapshot_bytes;
    r->core = cs_core_new(&raft, &ops, r, nd_now_ms(), &boot, eb);
    sy_free(boot.entries);
    sy_buf_free(&boot.snapshot.conf);
    return r->core != NULL ? 0 : SY_ECORRUPT;
}

int nd_replica_open(struct nd_replica **ret, uv_loop_t *loop, const struct sy_log *log,
                    const struct nd_replica_config *config,
                    const struct nd_replica_callbacks *cb, void *data,
                    struct sy_errbuf *eb)
{
    struct nd_replica *r = sy_calloc(1, sizeof *r);
    int rv;

    r->config = *config;
    r->loop = loop;
    r->log = log;
    r->cb = *cb;
    r->data = data;
    init_loop(r);
    nd_disk_init(r);
    nd_xfer_init(r);
    rv = start(r, eb);
    if (rv != 0) {
        nd_replica_close(r, NULL);
        return rv;
    }
    (void)uv_prepare_start(&r->prepare, prepare_cb);
    r->role = CS_FOLLOWER;
    nd_replica_observe(r);
    r->dirty = true;
    *ret = r;
    return 0;
}

static void maybe_closed(struct nd_replica *r)
{
    void (*closed)(void *) = r->closed;
    void *data = r->data;

    if (!r->closing || r->open_handles > 0 || r->open_work > 0 || r->peers != NULL) {
        return;
    }
    if (r->core != NULL) {
        cs_core_destroy(&r->core);
    }
    if (r->wal != NULL) {
        ad_wal_close(&r->wal);
    }
    if (r->fs.ctx != NULL) {
        ad_wal_disk_close(&r->fs);
    }
    if (r->memory != NULL) {
        munmap(r->memory, r->memory_size);
    }
    nd_xfer_free(r);
    rp_batch_free(&r->batch);
    sy_free(r);
    if (closed != NULL) {
        closed(data);
    }
}

void nd_replica_handle_closed(uv_handle_t *handle)
{
    struct nd_replica *r = handle->data;

    r->open_handles--;
    maybe_closed(r);
}

void nd_replica_work_done(struct nd_replica *r)
{
    r->open_work--;
    maybe_closed(r);
}

static void peers_closed(void *data)
{
    struct nd_replica *r = data;

    r->peers = NULL;
    maybe_closed(r);
}

void nd_replica_close(struct nd_replica *r, void (*closed)(void *data))
{
    assert(!r->closing);
    r->closing = true;
    r->closed = closed;
    nd_replica_cancel(r);
    uv_close((uv_handle_t *)&r->tick, nd_replica_handle_closed);
    uv_close((uv_handle_t *)&r->prepare, nd_replica_handle_closed);
    uv_close((uv_handle_t *)&r->again, nd_replica_handle_closed);
    nd_xfer_close(r);
    nd_disk_close(r);
    if (r->peers != NULL) {
        ad_peers_close(r->peers, peers_closed);
    }
}

int nd_replica_peer(struct nd_replica *r, const struct ad_peer_address *a,
                    struct sy_errbuf *eb)
{
    return ad_peers_set(r->peers, a, eb);
}

void nd_replica_mute(struct nd_replica *r, bool mute)
{
    ad_peers_mute(r->peers, mute);
}

bool nd_replica_send(struct nd_replica *r, uint64_t to, uint8_t kind, const void *p,
                     size_t n)
{
    assert(kind >= ND_FRAME_OWNER);
    return ad_peers_send(r->peers, to, kind, p, n);
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
    uint64_t us = r->stall_us;

    r->stall_us = 0;
    return us;
}

uint64_t nd_replica_work_us(struct nd_replica *r)
{
    uint64_t us = r->work_us;

    r->work_us = 0;
    return us;
}

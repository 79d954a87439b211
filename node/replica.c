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

enum {
    ROUNDS_MAX = 8, /* Of callbacks and submissions in one loop turn. */
    LOCK_WAIT_MS = 3000,
    LOCK_STEP_MS = 20
};

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

uint64_t nd_replica_clock_ms(const struct nd_replica *r)
{
    return rp_clock_now(&r->clock, nd_wall_ms(), nd_now_ms());
}

/* --- proposals --- */

static void finish_waits(struct nd_replica *r, struct sy_link *waits, int status)
{
    struct sy_link *l;

    while ((l = sy_list_pop(waits)) != NULL) {
        SY_CONTAINER(l, struct nd_wait, link)->status = status;
        sy_list_push(&r->done, l);
    }
}

static void drop_proposals(struct nd_replica *r, int status)
{
    struct sy_link *l;

    while ((l = sy_list_pop(&r->sealed)) != NULL) {
        struct nd_sealed *s = SY_CONTAINER(l, struct nd_sealed, link);

        finish_waits(r, &s->waits, status);
        sy_buf_free(&s->entry);
        sy_free(s);
    }
    r->sealed_bytes = 0;
    finish_waits(r, &r->batch_waits, status);
    r->batch.buf.len = 0;
    r->batch.n = 0;
}

/* @b as an entry of its own; whoever waits, waits for the last one sealed. */
static struct nd_sealed *seal_as_entry(struct nd_replica *r, struct rp_batch *b)
{
    struct nd_sealed *s = sy_calloc(1, sizeof *s);

    rp_batch_seal(b, nd_replica_clock_ms(r), (uint16_t)r->config.raft.id, &s->entry);
    sy_list_init(&s->waits);
    sy_list_push(&r->sealed, &s->link);
    r->sealed_bytes += s->entry.len;
    return s;
}

/* As many inputs of @c as an entry may have, at least one. */
static void take_inputs(struct sy_cur *c, size_t max, struct rp_batch *to)
{
    struct sy_cur at = *c;
    struct sy_cur next = *c;

    do {
        at = next;
        sy_mp_skip(&next);
        assert(!next.bad); /* We have packed them. */
        to->n++;
    } while (next.n > 0 && c->n - next.n <= max);
    if (c->n - next.n > max && to->n > 1) {
        next = at;
        to->n--;
    }
    sy_buf_put(&to->buf, c->p, c->n - next.n);
    *c = next;
}

/* One message may bring any number of inputs (a bridge that lists its devices). More
 * than batch_max would not fit into a frame to the peers: several entries. */
static void seal(struct nd_replica *r)
{
    struct sy_cur c = {.p = r->batch.buf.p, .n = r->batch.buf.len};
    struct rp_batch part = {0};
    struct nd_sealed *s;

    if (c.n <= r->config.batch_max) {
        s = seal_as_entry(r, &r->batch);
    } else {
        do {
            take_inputs(&c, r->config.batch_max, &part);
            s = seal_as_entry(r, &part);
        } while (c.n > 0);
        rp_batch_free(&part);
        r->batch.buf.len = 0;
        r->batch.n = 0;
    }
    sy_list_move(&r->batch_waits, &s->waits);
}

static void submitted(struct nd_replica *r, struct nd_sealed *s, uint64_t index,
                      uint64_t term)
{
    struct sy_link *l;

    r->inflight++;
    r->sealed_bytes -= s->entry.len;
    while ((l = sy_list_pop(&s->waits)) != NULL) {
        struct nd_wait *w = SY_CONTAINER(l, struct nd_wait, link);

        w->index = index;
        w->term = term;
        sy_list_push(&r->waits, l);
    }
    sy_buf_free(&s->entry);
    sy_free(s);
}

static void submit(struct nd_replica *r)
{
    if (r->batch.n > 0 || !sy_list_empty(&r->batch_waits)) {
        if (r->inflight < r->config.inflight_max || nd_replica_leading(r) == 0) {
            seal(r);
        }
    }
    while (!sy_list_empty(&r->sealed) && r->inflight < r->config.inflight_max) {
        struct nd_sealed *s = SY_CONTAINER(r->sealed.next, struct nd_sealed, link);
        uint64_t index, term;
        int rv = cs_core_submit(r->core, nd_now_ms(), s->entry.p, (uint32_t)s->entry.len,
                                &index, &term);

        if (rv == SY_EBUSY || rv == SY_ELIMIT) {
            break; /* A handover, or too much under way: when that has passed. */
        }
        if (rv != 0) {
            assert(rv == SY_ENOTLEADER); /* Too long for a frame: see seal(). */
            drop_proposals(r, rv);
            break;
        }
        sy_list_remove(&s->link);
        submitted(r, s, index, term);
        nd_replica_observe(r);
    }
}

/* A batch has become large in the middle of a turn: it is an entry of its own. */
struct rp_batch *nd_replica_batch(struct nd_replica *r)
{
    if (r->batch.buf.len >= r->config.batch_max) {
        seal(r);
    }
    return &r->batch;
}

void nd_replica_wait(struct nd_replica *r, struct nd_wait *w, nd_applied_cb cb,
                     void *data)
{
    *w = (struct nd_wait){.cb = cb, .data = data};
    sy_list_push(&r->batch_waits, &w->link);
}

bool nd_replica_full(const struct nd_replica *r)
{
    return r->sealed_bytes + r->batch.buf.len >= r->config.pending_max;
}

/* --- what the core wants --- */

static void op_send(void *ctx, uint64_t to, const uint8_t *frame, size_t len)
{
    struct nd_replica *r = ctx;

    (void)ad_peers_send(r->peers, to, ND_FRAME_RAFT, frame, len); /* may be lost */
}

static bool op_linked(void *ctx, uint64_t to)
{
    const struct nd_replica *r = ctx;

    return r->peers != NULL && ad_peers_linked(r->peers, to);
}

static void on_event(void *data, const struct rp_event *ev)
{
    struct nd_replica *r = data;

    r->cb.event(r->data, ev);
}

static void op_apply(void *ctx, uint64_t index, uint64_t term, uint8_t type,
                     const uint8_t *p, size_t n)
{
    struct nd_replica *r = ctx;
    int rv;

    if (type == RAFT_COMMAND) {
        rv = rp_store_apply(r->store, index, p, n, on_event, r);
        if (rv != 0) {
            /* Skipping would make this node differ from the others. */
            SY_LOG(r->log, SY_ERR, "entry.unreadable", KU64("index", index), KERR(rv));
            nd_disk_fatal(
                r, "entry.unreadable",
                rv == SY_EVERSION
                    ? "an entry was written by a newer version: upgrade this node"
                    : "a committed entry does not decode: move the data "
                      "directory aside and re-seed this node");
        }
        rp_clock_saw(&r->clock, rp_store_now(r->store), nd_now_ms());
        if (term == r->term && r->inflight > 0) {
            r->inflight--;
        }
    } else {
        rp_store_skip(r->store, index);
    }
    while (!sy_list_empty(&r->waits)) {
        struct nd_wait *w = SY_CONTAINER(r->waits.next, struct nd_wait, link);

        if (w->index > index) {
            break;
        }
        sy_list_remove(&w->link);
        w->status = w->index == index && w->term == term ? 0 : SY_EUNKNOWN;
        sy_list_push(&r->done, &w->link);
    }
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

/* --- watching the core --- */

void nd_replica_observe(struct nd_replica *r)
{
    enum cs_core_role role = cs_core_role(r->core);
    uint64_t term = cs_core_term(r->core);
    uint64_t leader = cs_core_leader(r->core);
    uint64_t applied = cs_core_applied(r->core);

    if (role != r->role || term != r->term) {
        if (r->role == CS_LEADER) {
            finish_waits(r, &r->waits, SY_EUNKNOWN);
            drop_proposals(r, SY_ENOTLEADER);
        }
        r->inflight = 0;
        SY_LOG(r->log, role != r->role ? SY_NOTE : SY_DEBUG, "role",
               KSTR("from", cs_core_role_name(r->role)),
               KSTR("to", cs_core_role_name(role)), KU64("term", term));
    } else if (leader == r->leader && applied == r->applied) {
        return;
    }
    r->role = role;
    r->term = term;
    r->leader = leader;
    r->applied = applied;
    r->dirty = true;
}

static void run_done(struct nd_replica *r)
{
    struct sy_link detached;
    struct sy_link *l;

    sy_list_move(&r->done, &detached);
    while ((l = sy_list_pop(&detached)) != NULL) {
        struct nd_wait *w = SY_CONTAINER(l, struct nd_wait, link);

        w->cb(w->data, w->status); /* May free or reuse w. */
    }
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
    bool more = true;

    for (unsigned i = 0; more && i < ROUNDS_MAX; i++) {
        run_done(r);
        if (r->dirty) {
            r->dirty = false;
            r->cb.changed(r->data);
        }
        if (r->closing) {
            return; /* One of these callbacks has closed us. */
        }
        submit(r);
        more = r->dirty || !sy_list_empty(&r->done);
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

static void peer_frame(void *data, uint64_t from, uint8_t kind, const uint8_t *p,
                       size_t n)
{
    struct nd_replica *r = data;

    if (r->closing) {
        return;
    }
    if (kind >= ND_FRAME_OWNER) {
        r->cb.frame(r->data, from, kind, p, n);
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

/* Whoever was killed a moment ago holds its lock until the kernel has taken it apart,
 * which takes long on a busy machine: so wait a little before saying that the folder is
 * taken. */
static int open_folder(const char *dir, struct ad_wal_fs *fs, struct sy_errbuf *eb)
{
    struct sy_errbuf why;
    int rv = ad_wal_disk_open(fs, dir, &why);

    for (unsigned ms = 0; rv == SY_EBUSY && ms < LOCK_WAIT_MS; ms += LOCK_STEP_MS) {
        uv_sleep(LOCK_STEP_MS);
        rv = ad_wal_disk_open(fs, dir, &why);
    }
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
        .apply = op_apply,
        .snapshot = nd_disk_snapshot,
        .restore = op_restore,
        .fatal = op_fatal,
    };
    static const struct ad_peer_callbacks peer_cb = {peer_frame, peer_up, peer_down};
    struct cs_core_boot boot = {0};
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
    r->core = cs_core_new(&r->config.raft, &ops, r, nd_now_ms(), &boot, eb);
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
    finish_waits(r, &r->waits, UV_ECANCELED);
    drop_proposals(r, UV_ECANCELED);
    run_done(r);
    uv_close((uv_handle_t *)&r->tick, nd_replica_handle_closed);
    uv_close((uv_handle_t *)&r->prepare, nd_replica_handle_closed);
    uv_close((uv_handle_t *)&r->again, nd_replica_handle_closed);
    nd_xfer_close(r);
    nd_disk_close(r);
    if (r->peers != NULL) {
        ad_peers_close(r->peers, peers_closed);
    }
}

int nd_replica_transfer(struct nd_replica *r, uint64_t to, unsigned timeout_ms)
{
    uint64_t now = nd_now_ms();
    int rv = cs_core_transfer(r->core, now, to, now + timeout_ms);

    nd_replica_observe(r);
    r->dirty = true;
    return rv;
}

bool nd_replica_send(struct nd_replica *r, uint64_t to, uint8_t kind, const void *p,
                     size_t n)
{
    assert(kind >= ND_FRAME_OWNER);
    return ad_peers_send(r->peers, to, kind, p, n);
}

const struct cs_core *nd_replica_core(const struct nd_replica *r)
{
    return r->core;
}

struct rp_store *nd_replica_store(struct nd_replica *r)
{
    return r->store;
}

const struct ad_peers *nd_replica_peers(const struct nd_replica *r)
{
    return r->peers;
}

const struct ad_wal *nd_replica_wal(const struct nd_replica *r)
{
    return r->wal;
}

uint64_t nd_replica_leading(const struct nd_replica *r)
{
    return cs_core_role(r->core) == CS_LEADER ? cs_core_term(r->core) : 0;
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

#include <assert.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "node/child.h"
#include "node/replica_impl.h"

enum {
    FENCE_AFTER_MS = 100,
    CHILD_TIMEOUT_MS = 120000,
    SPARE_RETRY_MS = 10000,
    SMALL_LOG_BYTES = 512 * 1024,
    EXIT_DISK = 3 /* vagtd(8) */
};

/* What is on the disk, or what the state is, is not known any more: only a start
 * that reads it back can tell. The cluster relieves us meanwhile. */
void nd_disk_fatal(struct nd_replica *r, const char *what, const char *why)
{
    SY_LOG(r->log, SY_ERR, "fatal", KSTR("what", what), KSTR("why", why));
    _exit(EXIT_DISK);
}

/* --- the log: one job at a time --- */

static void spare_run(uv_work_t *work)
{
    struct nd_replica *r = work->data;

    /* No spare is no harm: the log then grows the slow way. */
    r->spare_rv = ad_wal_make_spare(&r->fs, r->config.wal.segment_size);
}

static void spare_done(uv_work_t *work, int status)
{
    struct nd_replica *r = work->data;

    (void)status;
    r->spare_busy = false;
    if (r->spare_rv != 0) {
        r->spare_retry_ms = nd_now_ms() + SPARE_RETRY_MS;
        SY_LOG(r->log, SY_WARN, "disk.no_spare", KERR(r->spare_rv));
    } else if (r->job == NULL && !r->closing) {
        ad_wal_spare_made(r->wal);
    } else {
        r->spare_made = true; /* The log is in another thread's hands just now. */
    }
    nd_replica_work_done(r);
}

static void job_run(uv_work_t *work)
{
    struct nd_replica *r = work->data;

    r->job_rv = ad_wal_job_run(r->job, &r->job_eb);
}

static void job_start(struct nd_replica *r, struct ad_wal_job *job);

static void fence_cb(uv_timer_t *timer)
{
    struct nd_replica *r = timer->data;
    struct ad_wal_job *job;

    if (r->job != NULL || r->closing) {
        return;
    }
    job = ad_wal_fence(r->wal);
    if (job != NULL) {
        r->job_is_fence = true;
        job_start(r, job);
    }
}

static void free_late(struct nd_late_op *late)
{
    for (size_t i = 0; i < late->op.n; i++) {
        sy_free(late->entries[i].data);
    }
    sy_free(late->entries);
    sy_buf_free(&late->meta.conf);
    sy_free(late);
}

/* A store that came while a fence was being written: its pointers are good only
 * during the call, so it waits as a copy. Rare: a fence is written when idle. */
static void keep_late(struct nd_replica *r, const struct cs_store_op *op)
{
    struct nd_late_op *late = sy_calloc(1, sizeof *late);

    assert(r->late == NULL);
    late->op = *op;
    late->entries = sy_calloc(op->n, sizeof *late->entries);
    for (size_t i = 0; i < op->n; i++) {
        late->entries[i] = op->entries[i];
        late->entries[i].data = sy_memdup(op->entries[i].data, op->entries[i].len);
    }
    late->op.entries = late->entries;
    if (op->install != NULL) {
        late->meta = *op->install;
        late->meta.conf = (struct sy_buf){0};
        sy_buf_put(&late->meta.conf, op->install->conf.p, op->install->conf.len);
        late->op.install = &late->meta;
    }
    r->late = late;
}

/* Only between two jobs: one that is running may be about to take the spare that
 * was made last. */
static void make_spare(struct nd_replica *r)
{
    if (!r->spare_busy && !r->spare_made && nd_now_ms() >= r->spare_retry_ms &&
        ad_wal_wants_spare(r->wal)) {
        r->spare_busy = true;
        r->spare_work.data = r;
        r->open_work++;
        (void)uv_queue_work(r->loop, &r->spare_work, spare_run, spare_done);
    }
}

static void job_done(uv_work_t *work, int status)
{
    struct nd_replica *r = work->data;
    struct ad_wal_job *job = r->job;
    struct nd_late_op *late = r->late;
    bool fence = r->job_is_fence;

    (void)status;
    if (r->job_rv != 0) {
        nd_disk_fatal(r, "disk.failed", r->job_eb.text);
    }
    r->job = NULL;
    r->job_is_fence = false;
    ad_wal_job_done(r->wal, job);
    if (r->spare_made) {
        r->spare_made = false;
        ad_wal_spare_made(r->wal);
    }
    if (!r->closing) {
        make_spare(r);
    }
    if (!fence && !r->closing) {
        /* From its end on: a disk that is slow must not swallow the only try. */
        (void)uv_timer_start(&r->fence_timer, fence_cb, FENCE_AFTER_MS, 0);
        cs_core_stored(r->core, nd_now_ms());
        nd_replica_observe(r);
    }
    if (late != NULL) {
        r->late = NULL;
        if (!r->closing) {
            job_start(r, ad_wal_store(r->wal, &late->op));
        }
        free_late(late);
    }
    nd_replica_work_done(r);
}

static void job_start(struct nd_replica *r, struct ad_wal_job *job)
{
    int rv;

    r->job = job;
    r->job_work.data = r;
    r->open_work++;
    rv = uv_queue_work(r->loop, &r->job_work, job_run, job_done);
    assert(rv == 0);
}

void nd_disk_store(void *ctx, const struct cs_store_op *op)
{
    struct nd_replica *r = ctx;

    if (r->job != NULL) {
        assert(r->job_is_fence); /* The core has one store under way at most. */
        keep_late(r, op);
        return;
    }
    job_start(r, ad_wal_store(r->wal, op));
}

/* --- snapshots: a child writes its copy-on-write view of the state --- */

static int child_write(void *data, const void *p, size_t n)
{
    return ad_wal_snap_write(data, p, n);
}

static void child_main(struct nd_replica *r, const struct cs_snapshot_meta *meta,
                       pid_t parent)
{
    struct ad_wal_snap_writer *w;
    struct ad_wal_fs fs;
    struct sy_errbuf eb = {.text = ""};
    int rv;

    nd_child_begin(parent);
    rv = ad_wal_disk_open(&fs, r->config.data_dir, &eb);
    if (rv == 0) {
        rv = ad_wal_snap_create(&fs, meta, &w, &eb);
    }
    if (rv == 0) {
        rv = rp_store_snapshot(r->store, child_write, w);
        if (rv == 0) {
            rv = ad_wal_snap_commit(&w, &eb);
        }
    }
    if (rv != 0) {
        SY_LOG(r->log, SY_ERR, "snapshot.failed", KERR(rv), KSTR("why", eb.text));
    }
    _exit(rv == 0 ? 0 : 1);
}

/* A large state (a full outbox) is not written again for every MiB of the log. */
size_t nd_replica_small_log(const struct nd_replica *r, int64_t snapshot_size)
{
    size_t configured = r->config.raft.snapshot_bytes;
    size_t least =
        configured == 0 || configured > SMALL_LOG_BYTES ? SMALL_LOG_BYTES : configured;

    return snapshot_size > (int64_t)least ? (size_t)snapshot_size : least;
}

static void prune_run(uv_work_t *work)
{
    struct nd_replica *r = work->data;
    char name[AD_WAL_NAME_MAX];
    int file;

    ad_wal_snap_name(name, r->prune_index, r->prune_term);
    file = r->fs.open(r->fs.ctx, name);
    r->prune_size = file;
    if (file >= 0) {
        r->prune_size = r->fs.size(r->fs.ctx, file);
        (void)!r->fs.close(r->fs.ctx, file);
    }
    /* What could not be removed now is removed after the next snapshot. */
    (void)!ad_wal_snap_prune(&r->fs, r->prune_index);
}

static void prune_done(uv_work_t *work, int status)
{
    struct nd_replica *r = work->data;

    (void)status;
    r->prune_busy = false;
    if (r->config.small && !r->closing) {
        cs_core_snapshot_every(r->core, nd_replica_small_log(r, r->prune_size));
        malloc_trim(0); /* What the log before the snapshot had. */
    }
    nd_replica_work_done(r);
}

static void prune(struct nd_replica *r, uint64_t index, uint64_t term)
{
    if (r->prune_busy) {
        return;
    }
    r->prune_busy = true;
    r->prune_index = index;
    r->prune_term = term;
    r->prune_work.data = r;
    r->open_work++;
    (void)uv_queue_work(r->loop, &r->prune_work, prune_run, prune_done);
}

static void child_poll_closed(uv_handle_t *handle)
{
    struct nd_replica *r = handle->data;

    close(r->child_fd);
    r->child_open = false;
    nd_replica_handle_closed(handle);
}

static void child_ended(uv_poll_t *poll, int status, int events)
{
    struct nd_replica *r = poll->data;
    uint64_t index;
    int code = 0;
    pid_t got;
    bool ok;

    (void)status, (void)events;
    got = waitpid(r->child, &code, WNOHANG);
    if (got == 0) {
        return;
    }
    /* Not ours to wait for: somebody made SIGCHLD ignored. */
    ok = got == r->child && WIFEXITED(code) && WEXITSTATUS(code) == 0;
    r->child = 0;
    uv_timer_stop(&r->child_timer);
    uv_close((uv_handle_t *)&r->child_poll, child_poll_closed);
    if (r->closing) {
        return;
    }
    SY_LOG(r->log, ok ? SY_INFO : SY_WARN, "snapshot.taken",
           KU64("index", r->child_index), KSTR("ok", ok ? "yes" : "no"),
           KU64("fork_us", r->child_fork_us),
           KU64("ms", (uv_hrtime() - r->child_began_ns) / 1000000));
    cs_core_snapshot_taken(r->core, nd_now_ms(), ok);
    nd_replica_observe(r);
    index = cs_core_snapshot_index(r->core);
    if (ok && index == r->child_index) {
        prune(r, index, r->child_term);
    }
}

static void child_timeout(uv_timer_t *timer)
{
    struct nd_replica *r = timer->data;

    if (r->child > 0) {
        kill(r->child, SIGKILL); /* A disk that hangs; the core tries again later. */
    }
}

static void snapshot_failed(uv_timer_t *timer)
{
    struct nd_replica *r = timer->data;

    cs_core_snapshot_taken(r->core, nd_now_ms(), false);
    nd_replica_observe(r);
}

void nd_disk_snapshot(void *ctx, const struct cs_snapshot_meta *meta)
{
    struct nd_replica *r = ctx;
    pid_t self = getpid();
    int rv;

    /* Answers never come before this returns, failures neither. */
    if (r->child > 0 || r->child_open || r->prune_busy) {
        (void)uv_timer_start(&r->child_timer, snapshot_failed, 10, 0);
        return;
    }
    r->child_began_ns = uv_hrtime();
    r->child = fork();
    if (r->child == 0) {
        child_main(r, meta, self);
    }
    r->child_fork_us = (uv_hrtime() - r->child_began_ns) / 1000;
    r->child_fd = r->child > 0 ? pidfd_open(r->child, 0) : -1;
    if (r->child_fd < 0) {
        nd_disk_fatal(r, "snapshot.fork", strerror(errno));
    }
    r->child_index = meta->index;
    r->child_term = meta->term;
    rv = uv_poll_init(r->loop, &r->child_poll, r->child_fd);
    assert(rv == 0);
    r->child_poll.data = r;
    r->child_open = true;
    r->open_handles++;
    rv = uv_poll_start(&r->child_poll, UV_READABLE, child_ended);
    assert(rv == 0);
    (void)uv_timer_start(&r->child_timer, child_timeout, CHILD_TIMEOUT_MS, 0);
}

struct feeding
{
    struct rp_restore restore;
};

static int feed(void *data, const void *p, size_t n)
{
    struct feeding *f = data;

    return rp_restore_feed(&f->restore, p, n);
}

int nd_disk_restore(struct nd_replica *r, uint64_t index, uint64_t term,
                    struct sy_errbuf *eb)
{
    struct feeding f;
    int rv;

    rp_restore_begin(&f.restore, r->store, eb);
    rv = ad_wal_snap_read(&r->fs, index, term, feed, &f, eb);
    if (rv == 0) {
        rv = rp_restore_end(&f.restore);
    }
    sy_buf_free(&f.restore.carry);
    return rv;
}

/* --- life --- */

void nd_disk_init(struct nd_replica *r)
{
    int rv = uv_timer_init(r->loop, &r->fence_timer);

    rv |= uv_timer_init(r->loop, &r->child_timer);
    assert(rv == 0);
    r->fence_timer.data = r->child_timer.data = r;
    r->open_handles += 2;
}

void nd_disk_close(struct nd_replica *r)
{
    uv_close((uv_handle_t *)&r->fence_timer, nd_replica_handle_closed);
    uv_close((uv_handle_t *)&r->child_timer, nd_replica_handle_closed);
    if (r->child > 0) {
        kill(r->child, SIGKILL); /* child_ended() follows */
    }
    if (r->wal != NULL && r->job == NULL) {
        struct ad_wal_job *job = ad_wal_fence(r->wal);

        if (job != NULL) {
            r->job_is_fence = true;
            job_start(r, job);
        }
    }
}

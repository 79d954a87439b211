#include "adapters/wal/job.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "adapters/wal/wal.h"
#include "base/mem.h"

void ad_wal_job_begin(struct ad_wal_job *job, const struct ad_wal_fs *fs, int file,
                      int mark_file)
{
    assert(!job->under_way);
    job->fs = *fs;
    job->buf.len = 0;
    job->n = job->pos = 0;
    job->done_of_zero = 0;
    job->file = file;
    job->mark_file = mark_file;
    job->look = -1;
    job->space = -1;
    job->failed = 0;
    job->under_way = true;
}

struct ad_wal_do *ad_wal_job_add(struct ad_wal_job *job, enum ad_wal_act act)
{
    if (job->n == job->cap) {
        job->cap = job->cap * 2 + 16;
        job->todo = sy_realloc(job->todo, job->cap * sizeof *job->todo);
    }
    job->todo[job->n] = (struct ad_wal_do){.act = act};
    return &job->todo[job->n++];
}

void ad_wal_job_free(struct ad_wal_job *job)
{
    sy_buf_free(&job->buf);
    sy_free(job->todo);
}

static int become(int *file, int opened)
{
    *file = opened < 0 ? -1 : opened;
    return opened < 0 ? opened : 0;
}

static int drop(struct ad_wal_job *job, int *file)
{
    int old = *file;

    *file = -1;
    return old < 0 ? 0 : job->fs.close(job->fs.ctx, old);
}

/* One chunk; true in *ret_more when there are more. */
static int zero(struct ad_wal_job *job, const struct ad_wal_do *d, bool *ret_more)
{
    uint64_t left = d->len - job->done_of_zero;
    size_t n = left < AD_WAL_ZERO_CHUNK ? (size_t)left : AD_WAL_ZERO_CHUNK;
    int rv = job->fs.write(job->fs.ctx, job->file, d->offset + job->done_of_zero,
                           ad_wal_zeros(), n);

    job->done_of_zero += n;
    *ret_more = job->done_of_zero < d->len;
    if (!*ret_more) {
        job->done_of_zero = 0;
    }
    return rv;
}

static int do_file(struct ad_wal_job *job, const struct ad_wal_do *d, bool *ret_more)
{
    const struct ad_wal_fs *fs = &job->fs;

    switch ((int)d->act) {
    case AD_WAL_DO_CLOSE:
        return drop(job, &job->file);
    case AD_WAL_DO_WRITE:
        return fs->write(fs->ctx, job->file, d->offset, job->buf.p + d->begin,
                         (size_t)d->len);
    case AD_WAL_DO_ZERO:
        return zero(job, d, ret_more);
    case AD_WAL_DO_SYNC:
        return fs->sync(fs->ctx, job->file);
    case AD_WAL_DO_MARK:
        return fs->write(fs->ctx, job->mark_file, d->offset, job->mark, sizeof job->mark);
    case AD_WAL_DO_SYNC_MARK:
        return fs->sync(fs->ctx, job->mark_file);
    default:
        assert(false);
    }
    return 0;
}

static int do_one(struct ad_wal_job *job, const struct ad_wal_do *d, bool *ret_more)
{
    const struct ad_wal_fs *fs = &job->fs;
    char from[AD_WAL_NAME_MAX], to[AD_WAL_NAME_MAX];

    switch ((int)d->act) {
    case AD_WAL_DO_OPEN:
        ad_wal_name_put(from, d->from.kind, d->from.a, d->from.b);
        return become(&job->file, fs->open(fs->ctx, from));
    case AD_WAL_DO_CREATE:
        ad_wal_name_put(from, d->from.kind, d->from.a, d->from.b);
        return become(&job->file, fs->create(fs->ctx, from));
    case AD_WAL_DO_LOOK:
        ad_wal_name_put(from, d->from.kind, d->from.a, d->from.b);
        return become(&job->look, fs->open(fs->ctx, from));
    case AD_WAL_DO_UNLOOK:
        return drop(job, &job->look);
    case AD_WAL_DO_RENAME:
        ad_wal_name_put(from, d->from.kind, d->from.a, d->from.b);
        ad_wal_name_put(to, d->to.kind, d->to.a, d->to.b);
        return fs->rename(fs->ctx, from, to);
    case AD_WAL_DO_UNLINK:
        ad_wal_name_put(from, d->from.kind, d->from.a, d->from.b);
        return ad_wal_unlink(fs, from);
    case AD_WAL_DO_SYNC_DIR:
        return fs->sync_dir(fs->ctx);
    case AD_WAL_DO_SPACE:
        job->space = fs->space(fs->ctx);
        return job->space < 0 ? (int)job->space : 0;
    case AD_WAL_DO_REFUSE:
        return SY_ELIMIT;
    default:
        return do_file(job, d, ret_more);
    }
}

static int describe(const struct ad_wal_do *d, int err, struct sy_errbuf *eb)
{
    static const char *const verbs[] = {
        [AD_WAL_DO_OPEN] = "open",     [AD_WAL_DO_CREATE] = "create",
        [AD_WAL_DO_CLOSE] = "close",   [AD_WAL_DO_WRITE] = "write",
        [AD_WAL_DO_ZERO] = "write",    [AD_WAL_DO_SYNC] = "sync",
        [AD_WAL_DO_MARK] = "write",    [AD_WAL_DO_SYNC_MARK] = "sync",
        [AD_WAL_DO_RENAME] = "rename", [AD_WAL_DO_UNLINK] = "remove",
        [AD_WAL_DO_SYNC_DIR] = "sync", [AD_WAL_DO_LOOK] = "find",
        [AD_WAL_DO_UNLOOK] = "close",  [AD_WAL_DO_SPACE] = "measure the space of",
    };
    char name[AD_WAL_NAME_MAX] = "the folder of the log";

    if (d->act == AD_WAL_DO_MARK || d->act == AD_WAL_DO_SYNC_MARK) {
        ad_wal_name_put(name, AD_WAL_F_MARK, 0, 0);
    } else if (d->from.kind != AD_WAL_F_OTHER) {
        ad_wal_name_put(name, d->from.kind, d->from.a, d->from.b);
    }
    if (d->act == AD_WAL_DO_REFUSE) {
        return sy_fail(eb, err,
                       "the log has too many segments: no snapshot could be taken for "
                       "long; use larger segments");
    }
    if (err == -ENOSPC || err == -EDQUOT) {
        return sy_fail(eb, err,
                       "the disk of the log is full: cannot %s %s, %" PRIu64
                       " bytes at offset %" PRIu64 ": make room and start again",
                       verbs[d->act], name, d->len, d->offset);
    }
    return sy_fail(eb, err, "cannot %s %s, offset %" PRIu64 ": %s", verbs[d->act], name,
                   d->offset, sy_err_text(err));
}

int ad_wal_job_step(struct ad_wal_job *job, struct sy_errbuf *eb)
{
    const struct ad_wal_do *d;
    bool more = false;
    int rv;

    assert(job->under_way);
    assert(job->failed == 0);
    if (job->pos == job->n) {
        return 0;
    }
    d = &job->todo[job->pos];
    rv = do_one(job, d, &more);
    if (rv < 0) {
        job->failed = rv;
        return describe(d, rv, eb);
    }
    job->pos += !more;
    return job->pos < job->n;
}

int ad_wal_job_run(struct ad_wal_job *job, struct sy_errbuf *eb)
{
    int rv;

    do {
        rv = ad_wal_job_step(job, eb);
    } while (rv > 0);
    return rv;
}

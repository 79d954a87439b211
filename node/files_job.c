/* What touches the disk, one at a time and in the thread pool; and which contents are
 * here, so that nobody else needs to ask the disk. */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "node/files_impl.h"

static int by_sum(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(nd_sum));
}

static void append(nd_sum **list, size_t *n, size_t *cap, const nd_sum sum)
{
    if (*n == *cap) {
        *cap = *cap > 0 ? 2 * *cap : 64;
        *list = sy_realloc(*list, *cap * sizeof **list);
    }
    memcpy((*list)[(*n)++], sum, sizeof(nd_sum));
}

/* --- in the thread --- */

static bool is_wanted(void *data, const char *hex)
{
    struct nd_files_job *j = data;
    nd_sum sum;

    if (!rp_files_sum(hex, sum) || j->sums_n == 0 ||
        bsearch(sum, j->sums, j->sums_n, sizeof j->sums[0], by_sum) == NULL) {
        return false;
    }
    append(&j->found, &j->found_n, &j->found_cap, sum);
    return true;
}

static void sweep(struct nd_files *f, struct nd_files_job *j)
{
    j->found_n = 0;
    if (j->sums_n > 0) {
        qsort(j->sums, j->sums_n, sizeof j->sums[0], by_sum);
    }
    j->rv = ad_files_sweep(&f->store, is_wanted, j);
}

static void lay(struct nd_files *f, struct nd_files_job *j)
{
    struct sy_errbuf why;
    char *real = realpath(j->dir, NULL); /* What a link leads to is replaced, not it. */

    if (real != NULL && strlen(real) < sizeof j->dir) {
        memcpy(j->dir, real, strlen(real) + 1);
    }
    free(real);
    snprintf(j->aside, sizeof j->aside, "%.220s.%s", j->dir, j->end);
    j->found_n = 0;
    j->rv = ad_files_lay(&f->store, j->files, j->mark, j->dir, j->aside, &j->eb);
    for (unsigned i = 0; j->rv != 0 && i < j->files->n; i++) {
        nd_sum sum;

        if (!ad_files_has(&f->store, j->files->list[i].sum) &&
            rp_files_sum(j->files->list[i].sum, sum)) {
            append(&j->found, &j->found_n, &j->found_cap,
                   sum); /* Or rather: not found. */
        }
    }
    if (j->rv == 0) {
        /* What is too much there costs room, no more. */
        j->total = ad_files_thin(j->dir, ".aside-", ND_FILES_ASIDE_MAX, &why) == 0 &&
                   ad_files_thin(j->dir, ".old-", 0, &why) == 0;
    }
}

static void piece(struct nd_files *f, struct nd_files_job *j, const char *hex)
{
    j->rv = 0;
    if (j->verify) {
        j->rv = ad_files_get(&f->store, hex, &j->bytes, &j->eb);
        j->bytes.len = 0;
    }
    if (j->rv == 0) {
        j->rv = ad_files_piece(&f->store, hex, j->offset, ND_FILES_CHUNK, &j->bytes,
                               &j->total);
    }
}

static void work_run(uv_work_t *work)
{
    struct nd_files *f = work->data;
    struct nd_files_job *j = &f->job;
    char hex[RP_FILES_HEX_SIZE];

    rp_files_hex(j->sum, hex);
    switch (j->kind) {
    case ND_JOB_LOOK:
        ad_files_marked(j->dir, j->mark);
        j->rv = ad_files_look(j->dir, j->now_ms, j->files, &j->eb);
        break;
    case ND_JOB_TAKE:
        j->rv = ad_files_take(&f->store, j->dir, j->now_ms, j->files, &j->eb);
        break;
    case ND_JOB_LAY:
        lay(f, j);
        break;
    case ND_JOB_MARK:
        j->rv = ad_files_mark(j->dir, j->mark, &j->eb);
        break;
    case ND_JOB_PUT:
        j->rv = ad_files_keep(&f->store, hex,
                              j->bytes.len > 0 ? j->bytes.p : (const uint8_t *)"",
                              j->bytes.len, &j->eb);
        break;
    case ND_JOB_PIECE:
        piece(f, j, hex);
        break;
    case ND_JOB_READ:
        j->rv = ad_files_get(&f->store, hex, &j->bytes, &j->eb);
        break;
    case ND_JOB_SWEEP:
        sweep(f, j);
        break;
    }
}

/* --- on the loop --- */

static void work_done(uv_work_t *work, int status)
{
    struct nd_files *f = work->data;

    f->bytes = f->store.bytes;
    f->open_handles--;
    if (status != 0) {
        f->job.rv = status;
        snprintf(f->job.eb.text, sizeof f->job.eb.text, "%s", uv_strerror(status));
    }
    if (!f->closing) {
        f->job.done(f); /* Busy still: nothing is begun from inside. */
        sy_buf_free(&f->job.bytes);
    }
    f->job.busy = false;
    if (f->closing) {
        nd_files_free(f);
    } else {
        nd_files_run(f);
    }
}

struct nd_files_job *nd_files_job(struct nd_files *f, enum nd_files_job_kind kind,
                                  struct nd_folder *d, void (*done)(struct nd_files *f))
{
    struct nd_files_job *j = &f->job;

    assert(!j->busy && j->bytes.p == NULL);
    j->kind = kind;
    j->folder = d;
    j->done = done;
    j->eb.text[0] = j->mark[0] = '\0';
    j->rv = 0;
    j->verify = false;
    j->sums_n = 0;
    j->now_ms = (int64_t)nd_wall_ms();
    if (d != NULL) {
        snprintf(j->dir, sizeof j->dir, "%s", d->c.dir);
        for (size_t n = strlen(j->dir); n > 1 && j->dir[n - 1] == '/';) {
            j->dir[--n] = '\0';
        }
    }
    return j;
}

void nd_files_job_begin(struct nd_files *f)
{
    f->job.busy = true;
    f->job.work.data = f;
    f->open_handles++;
    (void)uv_queue_work(f->n->loop, &f->job.work, work_run, work_done);
}

unsigned nd_files_job_list(const struct nd_files *f, struct rp_file *to)
{
    const struct ad_files_set *from = f->job.files;

    _Static_assert((int)AD_FILES_MAX <= (int)RP_FILES_MAX, "");
    _Static_assert((int)AD_FILES_PATH_SIZE == (int)RP_FILES_PATH_SIZE, "");
    for (unsigned i = 0; i < from->n; i++) {
        memset(&to[i], 0, sizeof to[i]);
        memcpy(to[i].path, from->list[i].path, sizeof to[i].path);
        to[i].size = from->list[i].size;
        to[i].mode = (uint16_t)from->list[i].mode;
        (void)rp_files_sum(from->list[i].sum, to[i].sum); /* Our own. */
    }
    return from->n;
}

void nd_files_mark_text(const struct rp_files_version *v, char to[AD_FILES_MARK_SIZE])
{
    snprintf(to, AD_FILES_MARK_SIZE, "%" PRIu64 " %" PRIu64 "\n", v->nr, v->at_ms);
}

void nd_files_job_lay(struct nd_files *f, const struct rp_files_version *v)
{
    struct ad_files_set *to = f->job.files;

    nd_files_mark_text(v, f->job.mark);
    to->n = v->n;
    for (unsigned i = 0; i < v->n; i++) {
        memcpy(to->list[i].path, v->list[i].path, sizeof to->list[i].path);
        to->list[i].size = v->list[i].size;
        to->list[i].mode = v->list[i].mode;
        rp_files_hex(v->list[i].sum, to->list[i].sum);
    }
}

/* --- which contents are here --- */

/* Where it is, or belongs. */
static size_t place(const struct nd_files *f, const nd_sum sum)
{
    size_t from = 0, to = f->held_n;

    while (from < to) {
        size_t mid = from + (to - from) / 2;

        if (by_sum(f->held[mid], sum) < 0) {
            from = mid + 1;
        } else {
            to = mid;
        }
    }
    return from;
}

bool nd_files_held(const struct nd_files *f, const nd_sum sum)
{
    size_t i = place(f, sum);

    return i < f->held_n && by_sum(f->held[i], sum) == 0;
}

void nd_files_hold_sum(struct nd_files *f, const nd_sum sum)
{
    size_t i = place(f, sum);

    if (i < f->held_n && by_sum(f->held[i], sum) == 0) {
        return;
    }
    append(&f->held, &f->held_n, &f->held_cap, sum);
    memmove(&f->held[i + 1], &f->held[i], (f->held_n - 1 - i) * sizeof f->held[0]);
    memcpy(f->held[i], sum, sizeof(nd_sum));
}

void nd_files_found(struct nd_files *f)
{
    f->held_n = 0;
    for (size_t i = 0; i < f->job.found_n; i++) {
        nd_files_hold_sum(f, f->job.found[i]);
    }
}

void nd_files_want(struct nd_files_job *j, const nd_sum sum)
{
    append(&j->sums, &j->sums_n, &j->sums_cap, sum);
}

void nd_files_drop_sum(struct nd_files *f, const nd_sum sum)
{
    size_t i = place(f, sum);

    if (i < f->held_n && by_sum(f->held[i], sum) == 0) {
        f->held_n--;
        memmove(&f->held[i], &f->held[i + 1], (f->held_n - i) * sizeof f->held[0]);
    }
}

uint32_t nd_files_lacks(const struct nd_files *f, const struct rp_file *list, unsigned n)
{
    uint32_t lacks = 0;

    for (unsigned i = 0; i < n; i++) {
        lacks += !nd_files_held(f, list[i].sum);
    }
    return lacks;
}

uint64_t nd_files_whole(const struct nd_files *f, const char *set)
{
    const struct rp_files_set *is = rp_store_files_set(f->n->store, set);

    for (uint32_t k = 0; is != NULL && k < is->kept; k++) {
        const struct rp_files_version *v =
            rp_store_files_version(f->n->store, set, is->last - k);

        if (nd_files_lacks(f, v->list, v->n) == 0) {
            return v->nr;
        }
    }
    return 0;
}

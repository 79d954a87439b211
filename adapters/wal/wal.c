#include "adapters/wal/wal.h"

#include <assert.h>
#include <string.h>

#include "adapters/wal/inside.h"
#include "base/mem.h"

enum {
    SEGMENT_SIZE_DEFAULT = 8 * 1024 * 1024,
    SPARES_DEFAULT = 2,
    MEASURE_BYTES = 1024 * 1024,
    MEASURE_JOBS = 256
};

void ad_wal_config_default(struct ad_wal_config *c)
{
    *c = (struct ad_wal_config){.segment_size = SEGMENT_SIZE_DEFAULT,
                                .spares_max = SPARES_DEFAULT,
                                .space_min = 8 * (uint64_t)SEGMENT_SIZE_DEFAULT};
}

uint64_t ad_wal_entry_max(const struct ad_wal_config *c)
{
    assert(c->segment_size >= AD_WAL_SEGMENT_MIN);
    return c->segment_size - AD_WAL_HEAD_SIZE - AD_WAL_RECORD_HEADER;
}

static struct ad_wal_seg *active(const struct ad_wal *w)
{
    return &w->segs[w->segs_nr - 1];
}

/* --- encoding --- */

static bool room_for(const struct ad_wal *w, uint64_t len)
{
    return w->end + ad_wal_record_size(len) <= active(w)->size;
}

static void put(struct ad_wal *w, struct ad_wal_record *r)
{
    size_t size = ad_wal_record_size(r->len);
    uint8_t *to = sy_buf_reserve(&w->job.buf, size);

    assert(room_for(w, r->len));
    r->chain = w->chain;
    w->chain = ad_wal_record_put(to, w->seed, w->end, r);
    w->job.buf.len += size;
    w->end += size;
}

/* Where the next record goes is where the next write begins. */
static void begin_write(struct ad_wal *w)
{
    w->write_begin = w->job.buf.len;
    w->write_offset = w->end;
}

static void add_sync(struct ad_wal *w)
{
    ad_wal_job_add(&w->job, AD_WAL_DO_SYNC)->from =
        (struct ad_wal_file_name){.kind = AD_WAL_F_SEG, .a = active(w)->number};
}

/* What was encoded since begin_write() becomes a write and a sync; a fresh
 * segment gets its name after that, so that nobody ever sees it without them. */
static void end_write(struct ad_wal *w)
{
    struct ad_wal_file_name seg = {.kind = AD_WAL_F_SEG, .a = active(w)->number};
    struct ad_wal_do *d;

    if (w->job.buf.len == w->write_begin) {
        return;
    }
    d = ad_wal_job_add(&w->job, AD_WAL_DO_WRITE);
    d->from = w->fresh ? w->fresh_name : seg;
    d->offset = w->write_offset;
    d->begin = w->write_begin;
    d->len = w->job.buf.len - w->write_begin;
    if (w->fresh && w->fresh_created && w->end < active(w)->size) {
        d = ad_wal_job_add(&w->job, AD_WAL_DO_ZERO);
        d->from = w->fresh_name;
        d->offset = w->end;
        d->len = active(w)->size - w->end;
    }
    add_sync(w);
    if (w->fresh) {
        assert(w->end == w->fresh_end);
        d = ad_wal_job_add(&w->job, AD_WAL_DO_RENAME);
        d->from = w->fresh_name;
        d->to = seg;
        ad_wal_job_add(&w->job, AD_WAL_DO_SYNC_DIR);
        w->fresh = false;
        w->safe = w->end; /* Its head says so. */
    }
    begin_write(w);
}

/* --- segments --- */

void ad_wal_new_head(const struct ad_wal *w, struct ad_wal_head *ret, bool begins,
                     uint64_t prev_end)
{
    *ret = (struct ad_wal_head){.version = AD_WAL_VERSION,
                                .flags = begins ? AD_WAL_BEGINS : 0,
                                .number = active(w)->number,
                                .life = w->life,
                                .size = active(w)->size,
                                .identity = w->identity,
                                .prev_end = prev_end,
                                .vote = w->state.vote,
                                .last_term = w->state.last_term,
                                .base_index = w->state.base_index,
                                .base_term = w->state.base_term};
}

/* How far the entries reach that go into an empty segment. */
static uint64_t end_of_fresh(const struct ad_wal *w, const struct cs_entry *e, size_t n)
{
    uint64_t end = AD_WAL_HEAD_SIZE;

    for (size_t i = 0; i < n; i++) {
        if (end + ad_wal_record_size(e[i].len) > w->config.segment_size) {
            break;
        }
        end += ad_wal_record_size(e[i].len);
    }
    return end;
}

static void take_file(struct ad_wal *w)
{
    struct ad_wal_file_name name = {.kind = AD_WAL_F_NEW};

    w->fresh_created = false;
    if (w->spares_nr > 0) {
        name = (struct ad_wal_file_name){.kind = AD_WAL_F_SPARE,
                                         .a = w->spares[--w->spares_nr]};
    } else if (w->spare_made) {
        name.kind = AD_WAL_F_MADE;
        w->spare_made = false;
    } else {
        w->fresh_created = true;
    }
    ad_wal_job_add(&w->job, AD_WAL_DO_CLOSE)->from =
        (struct ad_wal_file_name){.kind = AD_WAL_F_SEG, .a = active(w)->number};
    ad_wal_job_add(&w->job, w->fresh_created ? AD_WAL_DO_CREATE : AD_WAL_DO_OPEN)->from =
        name;
    w->fresh_name = name;
    w->fresh = true;
}

/* Go on in a new segment, whose first write will be its head and as many of the
 * entries as it can take: the caller must put them. */
static void roll(struct ad_wal *w, bool begins, const struct cs_entry *e, size_t n)
{
    uint8_t payload[AD_WAL_HEAD_PAYLOAD];
    uint64_t prev_end = w->end, number = active(w)->number + 1;
    struct ad_wal_head head;
    struct ad_wal_record r;

    end_write(w);
    if (w->segs_nr >= AD_WAL_SEGMENTS_MAX) {
        ad_wal_job_add(&w->job, AD_WAL_DO_REFUSE);
    }
    take_file(w);
    if (w->segs_nr == w->segs_cap) {
        w->segs_cap = w->segs_cap * 2 + 8;
        w->segs = sy_realloc(w->segs, w->segs_cap * sizeof *w->segs);
    }
    w->segs[w->segs_nr++] =
        (struct ad_wal_seg){.number = number, .size = w->config.segment_size};
    w->seed = ad_wal_seed(number, w->life);
    w->end = 0;
    w->safe = 0;
    begin_write(w);
    w->fresh_end = end_of_fresh(w, e, n);
    ad_wal_new_head(w, &head, begins, prev_end);
    ad_wal_head_put(payload, &head);
    r = (struct ad_wal_record){.kind = AD_WAL_HEAD,
                               .term = w->state.term,
                               .index = w->state.next,
                               .safe = w->fresh_end,
                               .len = sizeof payload,
                               .data = payload};
    put(w, &r);
}

/* --- the parts of an operation --- */

static void install(struct ad_wal *w, const struct cs_store_op *op)
{
    struct ad_wal_file_name incoming = {
        .kind = AD_WAL_F_INCOMING, .a = op->install->index, .b = op->install->term};

    assert(op->install->index > 0);
    assert(op->install->term <= w->state.term);
    /* Once the new segment has its name there is no way back. */
    ad_wal_job_add(&w->job, AD_WAL_DO_LOOK)->from = incoming;
    ad_wal_job_add(&w->job, AD_WAL_DO_UNLOOK)->from = incoming;
    w->state.base_index = op->install->index;
    w->state.base_term = op->install->term;
    w->state.next = op->install->index + 1;
    w->state.last_term = op->install->term;
    roll(w, true, op->entries, op->n);
}

/* The snapshot keeps its incoming name until the log needs it: so a snapshot that
 * is ahead of the log is always the sign of a log that lost its end. */
static void install_rename(struct ad_wal *w, const struct cs_store_op *op)
{
    struct ad_wal_do *d = ad_wal_job_add(&w->job, AD_WAL_DO_RENAME);

    d->from = (struct ad_wal_file_name){
        .kind = AD_WAL_F_INCOMING, .a = op->install->index, .b = op->install->term};
    d->to = d->from;
    d->to.kind = AD_WAL_F_SNAP;
    ad_wal_job_add(&w->job, AD_WAL_DO_SYNC_DIR);
}

static void put_vote(struct ad_wal *w, const struct cs_store_op *op)
{
    struct ad_wal_record r = {.kind = AD_WAL_VOTE,
                              .term = w->state.term,
                              .index = w->state.vote,
                              .safe = w->write_offset};

    if (!room_for(w, 0)) {
        roll(w, false, op->entries, op->n); /* The head has them. */
        return;
    }
    put(w, &r);
}

static void put_entries(struct ad_wal *w, const struct cs_store_op *op)
{
    for (size_t i = 0; i < op->n; i++) {
        const struct cs_entry *e = &op->entries[i];
        struct ad_wal_record r = {.kind = AD_WAL_ENTRY,
                                  .type = e->type,
                                  .term = e->term,
                                  .index = op->first + i,
                                  .len = e->len,
                                  .data = e->data};

        assert(e->len <= ad_wal_entry_max(&w->config));
        assert(e->term > 0);
        assert(e->term <= w->state.term);
        assert(r.index > w->state.base_index);
        assert(r.index <= w->state.next);
        if (r.index == w->state.next) {
            assert(e->term >= w->state.last_term);
        }
        if (!room_for(w, e->len)) {
            roll(w, false, e, op->n - i);
        }
        r.safe = w->write_offset;
        put(w, &r);
        w->state.next = r.index + 1;
        w->state.last_term = e->term;
        if (r.index > active(w)->index_max) {
            active(w)->index_max = r.index;
        }
    }
}

static void add_mark(struct ad_wal *w)
{
    struct ad_wal_do *d = ad_wal_job_add(&w->job, AD_WAL_DO_MARK);

    w->mark.counter++;
    w->mark.life = w->life;
    w->mark.segment = active(w)->number;
    w->mark.offset = w->end;
    w->mark.first = w->segs[0].number;
    w->mark_slot = !w->mark_slot;
    ad_wal_mark_put(w->job.mark, &w->mark);
    d->offset = (uint64_t)w->mark_slot * AD_WAL_MARK_STRIDE;
    d->len = AD_WAL_MARK_SIZE;
    ad_wal_job_add(&w->job, AD_WAL_DO_SYNC_MARK);
    w->safe = w->end;
}

/* How many segments are not needed any more, from the front; @last was the active
 * one before the operation. */
static size_t droppable(const struct ad_wal *w, const struct cs_store_op *op,
                        uint64_t last)
{
    size_t n = 0;

    while (n + 1 < w->segs_nr) {
        if (op->install != NULL ? w->segs[n].number > last
                                : op->drop_until < w->segs[n].index_max) {
            break;
        }
        n++;
    }
    return n;
}

/* The mark says first that the segments are not needed: so their absence is no
 * damage, in whatever order their names go. */
static void drop(struct ad_wal *w, const struct ad_wal_seg *segs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct ad_wal_file_name name = {.kind = AD_WAL_F_SEG, .a = segs[i].number};
        unsigned kept = w->spares_nr + w->spare_made;

        if (kept < w->config.spares_max && kept < AD_WAL_SPARES_MAX &&
            segs[i].size == w->config.segment_size) {
            struct ad_wal_do *d = ad_wal_job_add(&w->job, AD_WAL_DO_RENAME);

            d->from = name;
            d->to = (struct ad_wal_file_name){.kind = AD_WAL_F_SPARE, .a = name.a};
            w->spares[w->spares_nr++] = name.a;
        } else {
            ad_wal_job_add(&w->job, AD_WAL_DO_UNLINK)->from = name;
        }
    }
    if (n > 0) {
        ad_wal_job_add(&w->job, AD_WAL_DO_SYNC_DIR);
    }
}

static void measure(struct ad_wal *w)
{
    w->bytes_unmeasured += w->job.buf.len;
    w->jobs_unmeasured++;
    if (w->bytes_unmeasured >= MEASURE_BYTES || w->jobs_unmeasured >= MEASURE_JOBS) {
        ad_wal_job_add(&w->job, AD_WAL_DO_SPACE);
        w->bytes_unmeasured = w->jobs_unmeasured = 0;
    }
}

/* --- public --- */

struct ad_wal_job *ad_wal_store(struct ad_wal *w, const struct cs_store_op *op)
{
    uint64_t last = active(w)->number;
    size_t dropped = 0;

    ad_wal_job_begin(&w->job, &w->fs, w->file, w->mark_file);
    w->file = -1;
    begin_write(w);
    if (op->has_vote) {
        assert(op->term >= w->state.term);
        assert(op->voted_for <= CS_ID_MAX);
        w->state.term = op->term;
        w->state.vote = op->voted_for;
    }
    if (op->install != NULL) {
        install(w, op);
    } else if (op->has_vote) {
        put_vote(w, op);
    }
    put_entries(w, op);
    end_write(w);
    if (op->install != NULL) {
        install_rename(w, op);
    }
    if (op->install != NULL || op->drop_until > 0) {
        dropped = droppable(w, op, last);
    }
    if (active(w)->number != last || dropped > 0) {
        struct ad_wal_seg *old = sy_memdup(w->segs, dropped * sizeof *old);

        w->segs_nr -= dropped;
        memmove(w->segs, w->segs + dropped, w->segs_nr * sizeof *w->segs);
        add_mark(w);
        drop(w, old, dropped);
        sy_free(old);
    }
    measure(w);
    return &w->job;
}

struct ad_wal_job *ad_wal_fence(struct ad_wal *w)
{
    struct ad_wal_record r = {.kind = AD_WAL_FENCE, .safe = w->end};

    if (w->safe == w->end) {
        return NULL;
    }
    ad_wal_job_begin(&w->job, &w->fs, w->file, w->mark_file);
    w->file = -1;
    begin_write(w);
    if (room_for(w, 0)) { /* If not, the mark alone has to do. */
        put(w, &r);
    }
    end_write(w);
    add_mark(w);
    measure(w);
    return &w->job;
}

void ad_wal_job_done(struct ad_wal *w, struct ad_wal_job *job)
{
    assert(job == &w->job);
    assert(job->under_way);
    assert(job->failed == 0);
    assert(job->pos == job->n);
    w->file = job->file;
    if (job->space >= 0) {
        w->space_low = (uint64_t)job->space < w->config.space_min;
    }
    job->under_way = false;
}

bool ad_wal_wants_spare(const struct ad_wal *w)
{
    return w->spares_nr == 0 && !w->spare_made;
}

int ad_wal_make_spare(const struct ad_wal_fs *fs, uint64_t segment_size)
{
    return ad_wal_spill(fs, "spare-made", NULL, 0, segment_size, NULL);
}

void ad_wal_spare_made(struct ad_wal *w)
{
    w->spare_made = true;
}

bool ad_wal_space_low(const struct ad_wal *w)
{
    return w->space_low || w->segs_nr > AD_WAL_SEGMENTS_MAX / 2;
}

uint64_t ad_wal_bytes(const struct ad_wal *w)
{
    uint64_t sum = (w->spares_nr + w->spare_made) * w->config.segment_size;

    for (size_t i = 0; i < w->segs_nr; i++) {
        sum += w->segs[i].size;
    }
    return sum;
}

const char *ad_wal_note(const struct ad_wal *w)
{
    return w->note.text[0] != 0 ? w->note.text : NULL;
}

void ad_wal_close(struct ad_wal **ref)
{
    struct ad_wal *w = *ref;
    int file;

    if (w == NULL) {
        return;
    }
    /* After a failure the job has the file. Everything that counts was synced. */
    file = w->job.under_way ? w->job.file : w->file;
    if (file >= 0) {
        (void)w->fs.close(w->fs.ctx, file);
    }
    if (w->job.under_way && w->job.look >= 0) {
        (void)w->fs.close(w->fs.ctx, w->job.look);
    }
    if (w->mark_file >= 0) {
        (void)w->fs.close(w->fs.ctx, w->mark_file);
    }
    ad_wal_job_free(&w->job);
    sy_free(w->segs);
    sy_free(w);
    *ref = NULL;
}

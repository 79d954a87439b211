#include "adapters/wal/scan.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "adapters/wal/snap.h"
#include "base/mem.h"

enum { HEAD_READ = 4096 };

/* One segment while it is read. */
struct reading
{
    struct ad_wal_scan *s;
    char name[AD_WAL_NAME_MAX];
    struct ad_wal_seg *seg;
    struct ad_wal_head head;
    uint64_t offset;
};

/* The place in front, the mend behind. */
static int SY_PRINTF(3, 4)
    damaged(const struct reading *r, struct sy_errbuf *eb, const char *fmt, ...)
{
    struct sy_errbuf what;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what.text, sizeof what.text, fmt, ap);
    va_end(ap);
    return sy_fail(eb, SY_ECORRUPT, "%s, offset %" PRIu64 ": %.200s; " AD_WAL_MEND,
                   r->name, r->offset, what.text);
}

/* --- the entries in memory --- */

static void truncate_from(struct ad_wal_scan *s, uint64_t index)
{
    while (s->n > 0 && s->first + s->n > index) {
        sy_free(s->entries[--s->n].data);
    }
    if (s->n == 0) {
        s->first = index;
    }
}

static int replay_entry(struct reading *r, const struct ad_wal_record *e,
                        struct sy_errbuf *eb)
{
    struct ad_wal_scan *s = r->s;
    struct ad_wal_state *st = &s->state;
    uint64_t before = st->last_term;

    if (e->index > st->next || e->index <= st->base_index) {
        return damaged(r, eb, "entry %" PRIu64 " where at most %" PRIu64 " may follow",
                       e->index, st->next);
    }
    if (e->index < st->next) {
        truncate_from(s, e->index);
        before = s->n > 0 ? s->entries[s->n - 1].term : 0;
        if (e->index - 1 == st->base_index) {
            before = st->base_term;
        }
    }
    if (e->term == 0 || e->term > st->term || e->term < before) {
        return damaged(r, eb,
                       "entry %" PRIu64 " has term %" PRIu64 ", the one before %" PRIu64
                       ", the log is at term %" PRIu64,
                       e->index, e->term, before, st->term);
    }
    if (s->n == s->cap) {
        s->cap = s->cap * 2 + 64;
        s->entries = sy_realloc(s->entries, s->cap * sizeof *s->entries);
    }
    s->entries[s->n++] = (struct cs_entry){.term = e->term,
                                           .type = e->type,
                                           .len = e->len,
                                           .data = sy_memdup(e->data, e->len)};
    st->next = e->index + 1;
    st->last_term = e->term;
    if (e->index > r->seg->index_max) {
        r->seg->index_max = e->index;
    }
    return 0;
}

static int replay_vote(struct reading *r, uint64_t term, uint64_t vote,
                       struct sy_errbuf *eb)
{
    struct ad_wal_state *st = &r->s->state;

    if (term < st->term || (term == st->term && st->vote != 0 && vote != st->vote) ||
        vote > CS_ID_MAX) {
        return damaged(r, eb,
                       "vote for %" PRIu64 " in term %" PRIu64
                       " after a vote for %" PRIu64 " in term %" PRIu64,
                       vote, term, st->vote, st->term);
    }
    st->term = term;
    st->vote = vote;
    return 0;
}

static int replay(struct reading *r, const struct ad_wal_record *rec,
                  struct sy_errbuf *eb)
{
    if (rec->safe > r->offset) {
        return damaged(r, eb, "a record that knows what comes after it");
    }
    switch (rec->kind) {
    case AD_WAL_ENTRY:
        return replay_entry(r, rec, eb);
    case AD_WAL_VOTE:
        return replay_vote(r, rec->term, rec->index, eb);
    case AD_WAL_FENCE:
        return 0;
    default:
        return damaged(r, eb, "a record of unknown kind %u", rec->kind);
    }
}

/* --- one segment --- */

/* The first @max bytes of the file into image. */
static int read_image(struct reading *r, uint64_t max, uint64_t *ret_size,
                      struct sy_errbuf *eb)
{
    const struct ad_wal_fs *fs = r->s->fs;
    struct sy_buf *image = &r->s->image;
    int file = fs->open(fs->ctx, r->name);
    int64_t size, got;

    if (file < 0) {
        return ad_wal_fail(eb, file, "open", r->name);
    }
    image->len = 0;
    got = size = fs->size(fs->ctx, file);
    if (size >= 0) {
        uint64_t n = (uint64_t)size < max ? (uint64_t)size : max;

        got = fs->read(fs->ctx, file, 0, sy_buf_reserve(image, (size_t)n), (size_t)n);
    }
    (void)fs->close(fs->ctx, file); /* Only read. */
    if (got < 0) {
        return ad_wal_fail(eb, (int)got, "read", r->name);
    }
    image->len = (size_t)got;
    *ret_size = (uint64_t)size;
    return 0;
}

/* A segment, or the beginning of it; its head is checked. */
static int load(struct reading *r, uint64_t number, uint64_t max, struct sy_errbuf *eb)
{
    struct ad_wal_scan *s = r->s;
    struct ad_wal_record rec;
    uint64_t size = 0;
    int rv;

    ad_wal_name_put(r->name, AD_WAL_F_SEG, number, 0);
    r->offset = 0;
    rv = read_image(r, max, &size, eb);
    if (rv < 0) {
        return rv;
    }
    /* A segment gets its name only after its head is durable: a bad one is never
     * the trace of a crash. */
    if (!ad_wal_head_get(s->image.p, s->image.len, &r->head, &rec)) {
        return damaged(r, eb,
                       "the head of the segment is damaged (file of %" PRIu64 " bytes)",
                       size);
    }
    if (r->head.version > AD_WAL_VERSION) {
        return sy_fail(eb, SY_EVERSION,
                       "%s: format %" PRIu32
                       ", this vagtd knows %d: install the version "
                       "that wrote it",
                       r->name, r->head.version, AD_WAL_VERSION);
    }
    if (r->head.number != number) {
        return damaged(r, eb, "this is segment %" PRIu64 " under a wrong name",
                       r->head.number);
    }
    if (r->head.identity != s->identity_hash) {
        return sy_fail(eb, SY_EINVALID,
                       "%s: this segment belongs to another node's log; " AD_WAL_MEND,
                       r->name);
    }
    if (r->head.size != size) {
        r->offset = size;
        return damaged(r, eb, "the file has %" PRIu64 " bytes and must have %" PRIu64,
                       size, r->head.size);
    }
    s->seed = ad_wal_seed(number, r->head.life);
    s->life = r->head.life > s->life ? r->head.life : s->life;
    return 0;
}

/* The head against what came before; @first: nothing came before. */
static int replay_head(struct reading *r, bool first, struct sy_errbuf *eb)
{
    struct ad_wal_scan *s = r->s;
    struct ad_wal_state *st = &s->state;
    const struct ad_wal_head *h = &r->head;
    struct ad_wal_record rec;
    bool valid = ad_wal_record_get(s->image.p, s->image.len, s->seed, 0, &rec);

    assert(valid);
    if (first) {
        *st = (struct ad_wal_state){.term = rec.term,
                                    .vote = h->vote,
                                    .next = rec.index,
                                    .last_term = h->last_term,
                                    .base_index = h->base_index,
                                    .base_term = h->base_term};
        s->first = rec.index;
        if (h->base_index >= rec.index || h->vote > CS_ID_MAX ||
            h->base_term > rec.term || h->last_term > rec.term) {
            return damaged(r, eb, "the head of the segment contradicts itself");
        }
    } else if (h->prev_end != s->end || rec.chain != s->chain) {
        ad_wal_name_put(r->name, AD_WAL_F_SEG, h->number - 1, 0);
        r->offset = s->end;
        return damaged(r, eb,
                       "the next segment says that this one was durable up to offset "
                       "%" PRIu64 "%s",
                       h->prev_end,
                       h->prev_end == s->end ? ", with another record at its end" : "");
    } else if (rec.index != st->next || h->base_index != st->base_index) {
        return damaged(r, eb, "the head of the segment does not continue the log");
    } else {
        int rv = replay_vote(r, rec.term, h->vote, eb);

        if (rv < 0) {
            return rv;
        }
    }
    s->chain = rec.crc;
    s->end = ad_wal_record_size(rec.len);
    s->safe = rec.safe;
    return 0;
}

static int replay_records(struct reading *r, struct sy_errbuf *eb)
{
    struct ad_wal_scan *s = r->s;
    struct ad_wal_record rec;

    while (ad_wal_record_get(s->image.p, s->image.len, s->seed, s->end, &rec)) {
        int rv;

        r->offset = s->end;
        /* Never the trace of a crash: what a torn write leaves behind is zeroed
         * before anything else is written there. */
        if (rec.chain != s->chain) {
            return damaged(r, eb, "a record that does not follow the one before it");
        }
        rv = replay(r, &rec, eb);
        if (rv < 0) {
            return rv;
        }
        s->safe = rec.safe > s->safe ? rec.safe : s->safe;
        s->chain = rec.crc;
        s->end += ad_wal_record_size(rec.len);
    }
    r->offset = s->end;
    return 0;
}

/* The end of the last segment. What follows it may only be the remains of the one
 * write that was under way; a good record further on that was written when this
 * place was durable already proves damage. */
static int judge_tail(struct reading *r, struct sy_errbuf *eb)
{
    struct ad_wal_scan *s = r->s;
    struct ad_wal_record rec;

    if (s->mark.segment == r->seg->number && s->mark.offset > s->safe) {
        s->safe = s->mark.offset;
    }
    if (s->end < s->safe) {
        return damaged(
            r, eb, "a bad record where everything up to offset %" PRIu64 " was durable",
            s->safe);
    }
    for (uint64_t x = s->end; x + AD_WAL_RECORD_HEADER <= s->image.len; x += 8) {
        uint64_t safe = ad_wal_get64(s->image.p + x + 32);

        if (safe > x || !ad_wal_record_get(s->image.p, s->image.len, s->seed, x, &rec)) {
            continue;
        }
        if (safe > s->end) {
            return damaged(r, eb,
                           "a bad record, but a good one at offset %" PRIu64
                           " was written after it was durable",
                           x);
        }
        s->torn = true;
    }
    for (uint64_t x = s->end; x < s->image.len; x++) {
        s->cut = s->image.p[x] != 0 ? x + 1 - s->end : s->cut;
    }
    return 0;
}

/* --- the segments --- */

static const struct ad_wal_found *of_kind(const struct ad_wal_folder *f,
                                          enum ad_wal_file kind, size_t *ret_n)
{
    size_t i = 0;

    while (i < f->n && f->p[i].kind != kind) {
        i++;
    }
    *ret_n = f->count[kind];
    return &f->p[i];
}

/* The log starts with the newest segment that begins one, or where the mark says. */
static int find_begin(struct ad_wal_scan *s, const struct ad_wal_found *seg, size_t n,
                      size_t *ret_begin, struct sy_errbuf *eb)
{
    struct reading r = {.s = s};

    for (size_t i = n; i-- > 0;) {
        int rv = load(&r, seg[i].a, HEAD_READ, eb);

        if (rv < 0) {
            return rv;
        }
        *ret_begin = i;
        if ((r.head.flags & AD_WAL_BEGINS) != 0 || seg[i].a <= s->mark.first) {
            return 0;
        }
        if (i == 0 || seg[i - 1].a != seg[i].a - 1) {
            return sy_fail(eb, SY_ECORRUPT,
                           "seg-%020" PRIu64 ": the segment is missing; %s", seg[i].a - 1,
                           AD_WAL_MEND);
        }
    }
    return 0;
}

static int scan_segments(struct ad_wal_scan *s, struct sy_errbuf *eb)
{
    size_t n, begin = 0;
    const struct ad_wal_found *seg = of_kind(&s->folder, AD_WAL_F_SEG, &n);
    struct reading r = {.s = s};
    int rv;

    if (seg[n - 1].a < s->mark.segment) {
        return sy_fail(eb, SY_ECORRUPT,
                       "seg-%020" PRIu64
                       ": the segment is missing, the log had reached "
                       "offset %" PRIu64 " of it; %s",
                       s->mark.segment, s->mark.offset, AD_WAL_MEND);
    }
    rv = find_begin(s, seg, n, &begin, eb);
    if (rv < 0) {
        return rv;
    }
    s->segs = sy_calloc(n - begin, sizeof *s->segs);
    for (size_t i = begin; i < n; i++) {
        r.seg = &s->segs[s->segs_nr++];
        rv = load(&r, seg[i].a, AD_WAL_SEGMENT_MAX, eb);
        if (rv == 0) {
            *r.seg = (struct ad_wal_seg){.number = seg[i].a, .size = r.head.size};
            rv = replay_head(&r, i == begin, eb);
        }
        if (rv == 0) {
            rv = replay_records(&r, eb);
        }
        if (rv < 0) {
            return rv;
        }
    }
    return judge_tail(&r, eb);
}

/* --- the snapshot --- */

static bool readable(struct ad_wal_scan *s, const struct ad_wal_found *f, int *ret_err,
                     struct sy_errbuf *eb)
{
    *ret_err =
        ad_wal_snap_verify(s->fs, f->name, f->a, f->b, &s->snapshot, NULL, NULL, eb);
    if (*ret_err == SY_ECORRUPT) {
        s->note = *eb;
    }
    return *ret_err == 0;
}

/* A snapshot that was taken when the log held its last entry cannot be ahead of
 * the log, nor say another term. */
static int contradicts(struct ad_wal_scan *s, const struct ad_wal_found *f,
                       struct sy_errbuf *eb)
{
    if (f->a >= s->state.next) {
        return sy_fail(eb, SY_ECORRUPT,
                       "%s: covers entry %" PRIu64 ", but the log ends with %" PRIu64
                       ": it lost its end; %s",
                       f->name, f->a, s->state.next - 1, AD_WAL_MEND);
    }
    if ((f->a >= s->first && s->entries[f->a - s->first].term != f->b) ||
        (f->a + 1 == s->first && s->n > 0 && s->entries[0].term < f->b) ||
        (f->a == s->state.base_index && f->b != s->state.base_term) ||
        f->b > s->state.term) {
        return sy_fail(eb, SY_ECORRUPT, "%s: the log has another term there; %s", f->name,
                       AD_WAL_MEND);
    }
    return 0;
}

/* The newest good one that the log continues. */
static int pick(struct ad_wal_scan *s, enum ad_wal_file kind, bool *ret_picked,
                struct sy_errbuf *eb)
{
    size_t n;
    const struct ad_wal_found *f = of_kind(&s->folder, kind, &n);
    int rv = 0;

    *ret_picked = false;
    while (n-- > 0) {
        bool base = f[n].a == s->state.base_index && f[n].b == s->state.base_term;

        if (f[n].a < s->state.base_index || f[n].a + 1 < s->first ||
            (kind == AD_WAL_F_INCOMING && !base)) {
            continue;
        }
        rv = contradicts(s, &f[n], eb);
        if (rv < 0) {
            return rv;
        }
        if (readable(s, &f[n], &rv, eb)) {
            s->snapshot_incoming = kind == AD_WAL_F_INCOMING;
            *ret_picked = true;
            return 0;
        }
        if (rv != SY_ECORRUPT) {
            return rv;
        }
    }
    return 0;
}

static int scan_snapshots(struct ad_wal_scan *s, struct sy_errbuf *eb)
{
    bool picked;
    int rv = pick(s, AD_WAL_F_SNAP, &picked, eb);

    /* A crash in the middle of an install: the log is the new one already, the
     * snapshot has yet to get its name. */
    if (rv == 0 && !picked && s->state.base_index > 0) {
        rv = pick(s, AD_WAL_F_INCOMING, &picked, eb);
    }
    if (rv < 0 || picked || s->first == 1) {
        return rv;
    }
    if (s->note.text[0] != 0) {
        *eb = s->note;
        return SY_ECORRUPT;
    }
    return sy_fail(eb, SY_ECORRUPT,
                   "snap-...: the log begins with entry %" PRIu64
                   " and there is no snapshot that reaches it; %s",
                   s->first, AD_WAL_MEND);
}

/* --- all of it --- */

static int nothing_here(struct ad_wal_scan *s, int mark_err, struct sy_errbuf *eb)
{
    const unsigned *count = s->folder.count;

    if (count[AD_WAL_F_SNAP] == 0 && count[AD_WAL_F_INCOMING] == 0 &&
        (mark_err == 0 ? s->mark.segment == 0
                       : mark_err == -ENOENT && count[AD_WAL_F_IDENTITY] == 0)) {
        return sy_fail(eb, SY_ENOTFOUND, "there is no log in the folder");
    }
    if (mark_err == SY_ECORRUPT) {
        return mark_err;
    }
    return sy_fail(eb, SY_ECORRUPT, "seg-...: all segments of the log are missing; %s",
                   AD_WAL_MEND);
}

static int scan_small_files(struct ad_wal_scan *s, struct sy_errbuf *eb)
{
    bool slot_damaged = false;
    int rv = ad_wal_mark_read(s->fs, &s->mark, &s->mark_slot, &slot_damaged, eb);

    if (s->folder.count[AD_WAL_F_SEG] == 0) {
        return rv == SY_EVERSION ? rv : nothing_here(s, rv, eb);
    }
    if (s->folder.count[AD_WAL_F_IDENTITY] == 0) {
        return sy_fail(eb, SY_ECORRUPT, "identity: the file is missing; %s", AD_WAL_MEND);
    }
    if (rv == -ENOENT) {
        return sy_fail(eb, SY_ECORRUPT, "mark: the file is missing; %s", AD_WAL_MEND);
    }
    if (rv < 0) {
        return rv;
    }
    rv = ad_wal_identity_check(s->fs, s->identity, eb);
    if (rv == 0 && s->mark.identity != s->identity_hash) {
        rv = sy_fail(eb, SY_EINVALID, "mark: belongs to another node's log; %s",
                     AD_WAL_MEND);
    }
    if (rv == 0 && slot_damaged) {
        (void)sy_fail(&s->note, 0, "mark: one of two slots was damaged; written anew");
    }
    s->life = s->mark.life;
    return rv;
}

int ad_wal_scan(struct ad_wal_scan *s, const struct ad_wal_fs *fs, const char *identity,
                struct sy_errbuf *eb)
{
    int rv;

    *s = (struct ad_wal_scan){
        .fs = fs, .identity = identity, .identity_hash = ad_wal_identity_hash(identity)};
    rv = ad_wal_folder_read(&s->folder, fs, eb);
    if (rv == 0) {
        rv = scan_small_files(s, eb);
    }
    if (rv == 0) {
        rv = scan_segments(s, eb);
    }
    if (rv == 0) {
        rv = scan_snapshots(s, eb);
    }
    return rv;
}

void ad_wal_scan_free(struct ad_wal_scan *s)
{
    for (size_t i = 0; i < s->n; i++) {
        sy_free(s->entries[i].data);
    }
    sy_free(s->entries);
    sy_free(s->segs);
    sy_buf_free(&s->image);
    sy_buf_free(&s->snapshot.conf);
    ad_wal_folder_free(&s->folder);
}

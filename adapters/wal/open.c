#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "adapters/wal/inside.h"
#include "base/mem.h"

static int check_config(const struct ad_wal_config *c, struct sy_errbuf *eb)
{
    if (c->segment_size < AD_WAL_SEGMENT_MIN || c->segment_size > AD_WAL_SEGMENT_MAX ||
        c->segment_size % AD_WAL_SEGMENT_MIN != 0) {
        return sy_fail(eb, SY_EINVALID,
                       "segment size %" PRIu64 ": must be a multiple of %d, at most %d",
                       c->segment_size, AD_WAL_SEGMENT_MIN, AD_WAL_SEGMENT_MAX);
    }
    return 0;
}

/* --- bootstrap --- */

/* What an interrupted bootstrap may have left; the mark must still be at 0. */
static int refuse_if_used(const struct ad_wal_fs *fs, struct sy_errbuf *eb)
{
    struct ad_wal_folder folder;
    struct ad_wal_mark mark = {0};
    unsigned slot;
    bool slot_damaged, used = false;
    int rv = ad_wal_folder_read(&folder, fs, eb);

    if (rv < 0) {
        return rv;
    }
    for (size_t i = 0; i < folder.n; i++) {
        enum ad_wal_file k = folder.p[i].kind;

        used |= k == AD_WAL_F_SEG || k == AD_WAL_F_SNAP || k == AD_WAL_F_INCOMING ||
                k == AD_WAL_F_SPARE;
    }
    if (folder.count[AD_WAL_F_MARK] > 0) {
        rv = ad_wal_mark_read(fs, &mark, &slot, &slot_damaged, NULL);
        used |= rv < 0 || mark.segment > 0;
    } else {
        used |= folder.count[AD_WAL_F_IDENTITY] > 0;
    }
    ad_wal_folder_free(&folder);
    return used ? sy_fail(eb, SY_EEXISTS, "the folder holds a log already") : 0;
}

static int write_marks(const struct ad_wal_fs *fs, struct ad_wal_mark *m,
                       struct sy_errbuf *eb)
{
    uint8_t raw[2 * AD_WAL_MARK_STRIDE] = {0};

    for (size_t i = 0; i < 2; i++) {
        m->counter++;
        ad_wal_mark_put(raw + i * AD_WAL_MARK_STRIDE, m);
    }
    return ad_wal_spill(fs, "mark", raw, sizeof raw, 0, eb);
}

static void encode_first_segment(struct sy_buf *to, const struct ad_wal_config *config,
                                 uint64_t identity, const struct cs_entry *entry)
{
    struct ad_wal_head head = {.version = AD_WAL_VERSION,
                               .flags = AD_WAL_BEGINS,
                               .number = 1,
                               .life = 1,
                               .size = config->segment_size,
                               .identity = identity};
    uint8_t payload[AD_WAL_HEAD_PAYLOAD];
    size_t size = AD_WAL_HEAD_SIZE + (entry != NULL ? ad_wal_record_size(entry->len) : 0);
    uint32_t seed = ad_wal_seed(head.number, head.life);
    uint8_t *p = sy_buf_reserve(to, size);
    struct ad_wal_record r = {.kind = AD_WAL_HEAD,
                              .term = entry != NULL ? entry->term : 0,
                              .index = 1,
                              .safe = size,
                              .len = sizeof payload,
                              .data = payload};

    ad_wal_head_put(payload, &head);
    ad_wal_record_put(p, seed, 0, &r);
    if (entry != NULL) {
        r = (struct ad_wal_record){.kind = AD_WAL_ENTRY,
                                   .chain = r.crc,
                                   .type = entry->type,
                                   .term = entry->term,
                                   .index = 1,
                                   .len = entry->len,
                                   .data = entry->data};
        ad_wal_record_put(p + AD_WAL_HEAD_SIZE, seed, AD_WAL_HEAD_SIZE, &r);
    }
    to->len += size;
}

int ad_wal_bootstrap(const struct ad_wal_fs *fs, const struct ad_wal_config *config,
                     const char *identity, const struct cs_entry *entry,
                     struct sy_errbuf *eb)
{
    struct ad_wal_mark mark = {.life = 1, .identity = ad_wal_identity_hash(identity)};
    struct sy_buf raw = {0};
    char name[AD_WAL_NAME_MAX];
    uint64_t end;
    int rv;

    rv = check_config(config, eb);
    if (rv == 0) {
        rv = refuse_if_used(fs, eb);
    }
    if (rv < 0) {
        return rv;
    }
    if (entry != NULL) {
        assert(entry->term == 1);
        assert(entry->len <= ad_wal_entry_max(config));
    }
    /* The order tells an interrupted bootstrap, which may be repeated, from a log
     * that lost its files: the mark is first, and last it says that it is done. */
    rv = write_marks(fs, &mark, eb);
    if (rv == 0) {
        ad_wal_identity_put(&raw, identity);
        rv = ad_wal_spill(fs, "identity", raw.p, raw.len, 0, eb);
    }
    raw.len = 0;
    encode_first_segment(&raw, config, mark.identity, entry);
    end = raw.len;
    if (rv == 0) {
        ad_wal_name_put(name, AD_WAL_F_SEG, 1, 0);
        rv = ad_wal_spill(fs, name, raw.p, raw.len, config->segment_size, eb);
    }
    sy_buf_free(&raw);
    if (rv == 0) {
        mark.segment = mark.first = 1;
        mark.offset = end;
        rv = write_marks(fs, &mark, eb);
    }
    return rv;
}

/* --- open: make what was found fit to be continued --- */

/* Only now, when all is known to be well, is anything changed. */
static int mend_tail(struct ad_wal *w, struct ad_wal_scan *s, struct sy_errbuf *eb)
{
    uint64_t to = s->cut > 0 ? s->image.len : s->end;
    char name[AD_WAL_NAME_MAX];
    int rv;

    ad_wal_name_put(name, AD_WAL_F_SEG, w->segs[w->segs_nr - 1].number, 0);
    w->file = w->fs.open(w->fs.ctx, name);
    if (w->file < 0) {
        return ad_wal_fail(eb, w->file, "open", name);
    }
    if (s->safe == to) {
        return 0;
    }
    /* What is not known to be durable is written once more and synced: it was read
     * from the cache perhaps, and a sync that failed before we died may have left
     * it there as clean. And the torn remains of a write become zeros, so that no
     * record of them can ever follow one of ours. */
    memset(s->image.p + s->end, 0, s->image.len - s->end);
    rv = w->fs.write(w->fs.ctx, w->file, s->safe, s->image.p + s->safe,
                     (size_t)(to - s->safe));
    if (rv == 0) {
        rv = w->fs.sync(w->fs.ctx, w->file);
    }
    return rv < 0 ? ad_wal_fail(eb, rv, "write", name) : 0;
}

static int finish_install(struct ad_wal *w, const struct ad_wal_scan *s,
                          struct sy_errbuf *eb)
{
    char from[AD_WAL_NAME_MAX], to[AD_WAL_NAME_MAX];
    int rv;

    if (!s->snapshot_incoming) {
        return 0;
    }
    ad_wal_name_put(from, AD_WAL_F_INCOMING, s->snapshot.index, s->snapshot.term);
    ad_wal_name_put(to, AD_WAL_F_SNAP, s->snapshot.index, s->snapshot.term);
    rv = w->fs.rename(w->fs.ctx, from, to);
    return rv < 0 ? ad_wal_fail(eb, rv, "rename", from) : 0;
}

static int write_mark(struct ad_wal *w, struct sy_errbuf *eb)
{
    uint8_t raw[AD_WAL_MARK_SIZE];
    int rv;

    w->mark_file = w->fs.open(w->fs.ctx, "mark");
    if (w->mark_file < 0) {
        return ad_wal_fail(eb, w->mark_file, "open", "mark");
    }
    w->mark.counter++;
    w->mark.life = w->life;
    w->mark.segment = w->segs[w->segs_nr - 1].number;
    w->mark.offset = w->end;
    w->mark.first = w->segs[0].number;
    w->mark_slot = !w->mark_slot;
    ad_wal_mark_put(raw, &w->mark);
    rv = w->fs.write(w->fs.ctx, w->mark_file, (uint64_t)w->mark_slot * AD_WAL_MARK_STRIDE,
                     raw, sizeof raw);
    if (rv == 0) {
        rv = w->fs.sync(w->fs.ctx, w->mark_file);
    }
    w->safe = w->end;
    return rv < 0 ? ad_wal_fail(eb, rv, "write", "mark") : 0;
}

/* Size of a spare, or an error. */
static int64_t measure(const struct ad_wal_fs *fs, const char *name)
{
    int file = fs->open(fs->ctx, name);
    int64_t size;

    if (file < 0) {
        return file;
    }
    size = fs->size(fs->ctx, file);
    (void)fs->close(fs->ctx, file); /* Nothing was written. */
    return size;
}

static bool keep_spare(struct ad_wal *w, const struct ad_wal_found *f)
{
    if (w->spares_nr + w->spare_made >= w->config.spares_max ||
        w->spares_nr == AD_WAL_SPARES_MAX ||
        measure(&w->fs, f->name) != (int64_t)w->config.segment_size) {
        return false;
    }
    if (f->kind == AD_WAL_F_MADE) {
        w->spare_made = true;
    } else {
        w->spares[w->spares_nr++] = f->a;
    }
    return true;
}

/* Segments that are not needed any more, leftovers of what was interrupted. Nobody
 * remembers a snapshot that came in before, except the one the log began from. */
static int sweep(struct ad_wal *w, const struct ad_wal_scan *s, struct sy_errbuf *eb)
{
    for (size_t i = 0; i < s->folder.n; i++) {
        const struct ad_wal_found *f = &s->folder.p[i];
        bool useless = f->kind == AD_WAL_F_TMP || f->kind == AD_WAL_F_NEW ||
                       f->kind == AD_WAL_F_INCOMING ||
                       (f->kind == AD_WAL_F_SEG && f->a < w->segs[0].number);
        int rv = 0;

        if (f->kind == AD_WAL_F_SPARE || f->kind == AD_WAL_F_MADE) {
            useless = !keep_spare(w, f);
        }
        if (useless) {
            rv = ad_wal_unlink(&w->fs, f->name);
        }
        if (rv < 0) {
            return ad_wal_fail(eb, rv, "remove", f->name);
        }
    }
    return 0;
}

static int mend(struct ad_wal *w, struct ad_wal_scan *s, struct sy_errbuf *eb)
{
    int64_t space;
    int rv = mend_tail(w, s, eb);

    if (rv == 0) {
        rv = finish_install(w, s, eb);
    }
    if (rv == 0) {
        /* Names that were seen but not synced before we died, too. */
        rv = w->fs.sync_dir(w->fs.ctx);
        rv = rv < 0 ? ad_wal_fail(eb, rv, "sync", "the folder of the log") : 0;
    }
    if (rv == 0) {
        rv = write_mark(w, eb);
    }
    if (rv == 0) {
        rv = sweep(w, s, eb);
    }
    if (rv == 0) {
        rv = w->fs.sync_dir(w->fs.ctx);
        rv = rv < 0 ? ad_wal_fail(eb, rv, "sync", "the folder of the log") : 0;
    }
    if (rv < 0) {
        return rv;
    }
    space = w->fs.space(w->fs.ctx);
    w->space_low = space >= 0 && (uint64_t)space < w->config.space_min;
    return 0;
}

static struct ad_wal *from_scan(const struct ad_wal_config *config, struct ad_wal_scan *s)
{
    struct ad_wal *w = sy_calloc(1, sizeof *w);

    w->fs = *s->fs;
    w->config = *config;
    w->identity = s->identity_hash;
    w->life = s->life + 1;
    w->state = s->state;
    w->segs = s->segs;
    w->segs_nr = w->segs_cap = s->segs_nr;
    s->segs = NULL;
    w->file = w->mark_file = -1;
    w->seed = s->seed;
    w->chain = s->chain;
    w->end = s->end;
    w->mark = s->mark;
    w->mark_slot = s->mark_slot;
    w->note = s->note;
    return w;
}

static void give_boot(struct ad_wal_scan *s, struct cs_core_boot *boot)
{
    *boot = (struct cs_core_boot){.term = s->state.term,
                                  .voted_for = s->state.vote,
                                  .snapshot = s->snapshot,
                                  .first = s->first,
                                  .n = s->n,
                                  .entries = s->entries};
    assert(boot->n > 0 || boot->first == boot->snapshot.index + 1);
    assert(boot->first <= boot->snapshot.index + 1);
    s->snapshot.conf = (struct sy_buf){0};
    s->entries = NULL;
    s->n = 0;
}

int ad_wal_open(struct ad_wal **ret, const struct ad_wal_fs *fs,
                const struct ad_wal_config *config, const char *identity,
                struct cs_core_boot *boot, struct sy_errbuf *eb)
{
    struct sy_errbuf why = {{0}};
    struct ad_wal_scan s;
    struct ad_wal *w;
    int rv = check_config(config, eb);

    if (rv < 0) {
        return rv;
    }
    rv = ad_wal_scan(&s, fs, identity, &why);
    if (rv < 0) {
        goto err;
    }
    if (s.torn && s.note.text[0] == 0) {
        (void)sy_fail(&s.note, 0,
                      "seg-%020" PRIu64 ", offset %" PRIu64
                      ": the last write was torn, what was left of it is cut off",
                      s.segs[s.segs_nr - 1].number, s.end);
    }
    w = from_scan(config, &s);
    rv = mend(w, &s, &why);
    if (rv < 0) {
        ad_wal_close(&w);
        goto err;
    }
    give_boot(&s, boot);
    ad_wal_scan_free(&s);
    *ret = w;
    return 0;
err:
    ad_wal_scan_free(&s);
    if (eb != NULL) {
        *eb = why;
    }
    return rv;
}

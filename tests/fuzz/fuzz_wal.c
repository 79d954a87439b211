/* Bytes are the files of a log's folder, as steps: a letter, then what it needs.
 *
 *   H flags vote index last base baseterm life   the next segment
 *   E type term index len ...                    an entry (index 0: the next one)
 *   V term vote                                  a vote
 *   K kind safe                                  a record of another kind
 *   S index term conf len ...                    a snapshot; I: an incoming one
 *   M segment offset (two bytes) first           the mark
 *   X file offset (two bytes) mask               bytes that are not what they were
 *   T file size (two bytes)                      a file is cut short
 *   R file len (two bytes) ...                   a file with these bytes
 *
 * Checksums are right before X, T and R: a fuzzer cannot guess them, and a disk that
 * lies may have them right. What opens must go on living, what does not must be left as
 * it was, and the sentence must name a file. */

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "adapters/wal/files.h"
#include "adapters/wal/record.h"
#include "adapters/wal/scan.h"
#include "adapters/wal/snap.h"
#include "base/mem.h"
#include "tests/wal/memfs.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { SEGMENTS_MAX = 6, SEGMENT_SIZE = 4096 };

static const char identity[] = "site/1";

struct world
{
    struct memfs *m;
    struct ad_wal_fs fs;
    struct sy_cur in;
    uint8_t image[SEGMENT_SIZE]; /* of the segment that is being made */
    uint64_t number, life, end, next, term;
    uint32_t chain;
};

static uint8_t byte(struct world *w)
{
    return w->in.n > 0 ? sy_cur_u8(&w->in) : 0;
}

static size_t word(struct world *w)
{
    size_t v = byte(w);

    return v | (size_t)byte(w) << 8;
}

/* At most @n bytes of the input. */
static const uint8_t *take(struct world *w, size_t *n)
{
    const uint8_t *p = w->in.p;

    *n = *n < w->in.n ? *n : w->in.n;
    w->in.p += *n;
    w->in.n -= *n;
    return p;
}

static void put_record(struct world *w, struct ad_wal_record r)
{
    if (w->number == 0 || ad_wal_record_size(r.len) > sizeof w->image - w->end) {
        return;
    }
    r.chain = w->chain;
    w->chain =
        ad_wal_record_put(w->image + w->end, ad_wal_seed(w->number, w->life), w->end, &r);
    w->end += ad_wal_record_size(r.len);
}

static void save_segment(struct world *w)
{
    char name[AD_WAL_NAME_MAX];

    if (w->number > 0) {
        ad_wal_name_put(name, AD_WAL_F_SEG, w->number, 0);
        memfs_put(w->m, name, w->image, sizeof w->image);
    }
}

static void next_segment(struct world *w)
{
    struct ad_wal_head h = {.version = AD_WAL_VERSION,
                            .size = SEGMENT_SIZE,
                            .identity = ad_wal_identity_hash(identity),
                            .prev_end = w->end};
    uint8_t payload[AD_WAL_HEAD_PAYLOAD];
    struct ad_wal_record r = {
        .kind = AD_WAL_HEAD, .term = w->term, .len = sizeof payload, .data = payload};
    uint8_t index;

    if (w->number == SEGMENTS_MAX) {
        return;
    }
    save_segment(w);
    h.flags = byte(w);
    h.vote = byte(w);
    index = byte(w);
    w->next = index > 0 ? index : w->next;
    h.last_term = byte(w);
    h.base_index = byte(w);
    h.base_term = byte(w);
    h.life = w->life = byte(w);
    h.number = ++w->number;
    r.index = w->next;
    ad_wal_head_put(payload, &h);
    memset(w->image, 0, sizeof w->image);
    w->end = 0;
    put_record(w, r);
}

static void put_entry(struct world *w)
{
    struct ad_wal_record r = {.kind = AD_WAL_ENTRY, .type = byte(w)};
    size_t len;

    r.term = byte(w);
    r.index = byte(w);
    r.index = r.index > 0 ? r.index : w->next;
    len = byte(w);
    r.data = take(w, &len);
    r.len = (uint32_t)len;
    w->next = r.index + 1;
    put_record(w, r);
}

static void put_vote(struct world *w)
{
    struct ad_wal_record r = {.kind = AD_WAL_VOTE, .term = byte(w)};

    r.index = byte(w);
    w->term = r.term;
    put_record(w, r);
}

static void put_other(struct world *w)
{
    struct ad_wal_record r = {.kind = byte(w)};

    r.safe = (uint64_t)byte(w) * 16;
    put_record(w, r);
}

static void put_snapshot(struct world *w, bool incoming)
{
    char name[AD_WAL_NAME_MAX], to[AD_WAL_NAME_MAX];
    struct cs_snapshot_meta meta = {.index = byte(w), .term = byte(w)};
    struct ad_wal_snap_writer *s = NULL;
    size_t n = byte(w);
    const uint8_t *p = take(w, &n);

    if (meta.index == 0) {
        return;
    }
    sy_buf_put(&meta.conf, p, n);
    if (ad_wal_snap_create(&w->fs, &meta, &s, NULL) == 0) {
        n = byte(w);
        p = take(w, &n);
        (void)!ad_wal_snap_write(s, p, n); /* In memory. */
        (void)!ad_wal_snap_commit(&s, NULL);
    }
    if (incoming) {
        ad_wal_name_put(name, AD_WAL_F_SNAP, meta.index, meta.term);
        ad_wal_name_put(to, AD_WAL_F_INCOMING, meta.index, meta.term);
        (void)w->fs.rename(w->fs.ctx, name, to);
    }
    sy_buf_free(&meta.conf);
}

static void put_mark(struct world *w, uint64_t segment, uint64_t offset, uint64_t first)
{
    struct ad_wal_mark m = {.counter = 1,
                            .life = 1,
                            .segment = segment,
                            .offset = offset,
                            .first = first,
                            .identity = ad_wal_identity_hash(identity)};
    uint8_t raw[2 * AD_WAL_MARK_STRIDE] = {0};

    ad_wal_mark_put(raw, &m);
    m.counter++;
    ad_wal_mark_put(raw + AD_WAL_MARK_STRIDE, &m);
    memfs_put(w->m, "mark", raw, sizeof raw);
}

/* --- damage --- */

struct names
{
    unsigned left;
    char name[AD_WAL_NAME_MAX];
};

static void pick(void *data, const char *name)
{
    struct names *s = data;

    if (s->left-- == 0) {
        snprintf(s->name, sizeof s->name, "%s", name);
    }
}

static void damage(struct world *w, char how)
{
    static const char *const raw[] = {"identity", "mark",
                                      "snap-00000000000000000005-00000000000000000001",
                                      "seg-00000000000000000001"};
    unsigned which = byte(w);
    struct names s = {.left = which};
    size_t at = word(w);

    save_segment(w);
    memfs_list(w->m, pick, &s);
    if (how == 'R') {
        const uint8_t *p = take(w, &at);

        memfs_put(w->m, raw[which % (sizeof raw / sizeof raw[0])], p, at);
    } else if (s.name[0] == '\0') {
        return; /* There are not so many. */
    } else if (how == 'X') {
        (void)memfs_corrupt(w->m, s.name, at, byte(w));
    } else {
        (void)memfs_truncate(w->m, s.name, at);
    }
}

static void build(struct world *w)
{
    struct sy_buf text = {0};
    bool damaged = false;

    ad_wal_identity_put(&text, identity);
    memfs_put(w->m, "identity", text.p, text.len);
    sy_buf_free(&text);
    put_mark(w, 1, 0, 1);
    while (w->in.n > 0) {
        char c = (char)byte(w);

        if (c == 'X' || c == 'T' || c == 'R') {
            damage(w, c);
            damaged = true;
        } else if (damaged) {
            continue; /* A segment would be saved over it. */
        } else if (c == 'H') {
            next_segment(w);
        } else if (c == 'E') {
            put_entry(w);
        } else if (c == 'V') {
            put_vote(w);
        } else if (c == 'K') {
            put_other(w);
        } else if (c == 'S' || c == 'I') {
            put_snapshot(w, c == 'I');
        } else if (c == 'M') {
            uint64_t segment = byte(w), offset = word(w);

            put_mark(w, segment, offset, byte(w));
        }
    }
    if (!damaged) {
        save_segment(w);
    }
}

/* --- what must hold --- */

static void free_boot(struct cs_core_boot *b)
{
    for (size_t i = 0; i < b->n; i++) {
        sy_free(b->entries[i].data);
    }
    sy_free(b->entries);
    sy_buf_free(&b->snapshot.conf);
}

static int open_log(struct world *w, struct ad_wal **ret, struct cs_core_boot *boot)
{
    struct ad_wal_config config = {.segment_size = SEGMENT_SIZE, .spares_max = 2};
    struct sy_errbuf eb = {.text = ""};
    int rv = ad_wal_open(ret, &w->fs, &config, identity, boot, &eb);

    assert(rv == 0 || eb.text[0] != '\0');
    return rv;
}

static void check_boot(const struct cs_core_boot *b)
{
    uint64_t term = b->snapshot.index + 1 == b->first ? b->snapshot.term : 0;

    assert(b->voted_for <= CS_ID_MAX && b->first >= 1);
    assert(b->snapshot.index == 0 || b->snapshot.term <= b->term);
    for (size_t i = 0; i < b->n; i++) {
        assert(b->entries[i].term >= term && b->entries[i].term <= b->term);
        term = b->entries[i].term;
    }
}

static void check_same(const struct cs_core_boot *a, const struct cs_core_boot *b)
{
    assert(a->term == b->term && a->voted_for == b->voted_for);
    assert(a->first == b->first && a->n == b->n);
    assert(a->snapshot.index == b->snapshot.index);
    for (size_t i = 0; i < a->n; i++) {
        assert(a->entries[i].term == b->entries[i].term);
        assert(a->entries[i].len == b->entries[i].len);
        assert(a->entries[i].len == 0 ||
               memcmp(a->entries[i].data, b->entries[i].data, a->entries[i].len) == 0);
    }
}

/* A vote in a new term and an entry. */
static void append(struct ad_wal *w, const struct cs_core_boot *boot)
{
    static uint8_t data[] = "an entry";
    struct cs_entry e = {.term = boot->term + 1, .type = 1, .len = 8, .data = data};
    struct cs_store_op op = {.has_vote = true,
                             .term = boot->term + 1,
                             .voted_for = 1,
                             .first = boot->first + boot->n,
                             .n = 1,
                             .entries = &e};
    struct ad_wal_job *job = ad_wal_store(w, &op);
    struct sy_errbuf eb;
    int rv = ad_wal_job_run(job, &eb);

    assert(rv == 0);
    ad_wal_job_done(w, job);
}

static void live_on(struct world *w, struct ad_wal *wal, const struct cs_core_boot *boot)
{
    struct cs_core_boot again = {0};
    int rv;

    ad_wal_close(&wal);
    rv = open_log(w, &wal, &again);
    assert(rv == 0);
    check_same(boot, &again);
    free_boot(&again);
    append(wal, boot);
    ad_wal_close(&wal);
    rv = open_log(w, &wal, &again);
    assert(rv == 0 && again.n == boot->n + 1 && again.term == boot->term + 1);
    check_boot(&again);
    free_boot(&again);
    ad_wal_close(&wal);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct world *w = sy_calloc(1, sizeof *w);
    struct cs_core_boot boot = {0};
    struct ad_wal *wal = NULL;
    struct memfs *before;

    w->m = memfs_new();
    w->fs = memfs_fs(w->m);
    w->in = (struct sy_cur){.p = p, .n = n};
    w->next = 1;
    build(w);
    before = memfs_clone(w->m);
    if (open_log(w, &wal, &boot) == 0) {
        check_boot(&boot);
        live_on(w, wal, &boot);
        free_boot(&boot);
    } else {
        assert(memfs_equal(before, w->m));
    }
    assert(memfs_handles(w->m) == 0);
    memfs_destroy(&before);
    memfs_destroy(&w->m);
    sy_free(w);
    return 0;
}

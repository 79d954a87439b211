/* A start is strict: damage to anything that was durable is refused, with nothing
 * changed on the disk; only the end of the last write may be missing. */

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "adapters/wal/inside.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "tests/wal/rig.h"

enum { SEGS_MAX = 32 };

static struct rig rig;
static uint64_t ends[SEGS_MAX]; /* Of each segment, by number. */
static uint64_t opens, refused;

static void note_end(void)
{
    ends[rig.w->segs[rig.w->segs_nr - 1].number] = rig.w->end;
}

static void append(size_t n, uint32_t len)
{
    rig_append(&rig, n, len);
    note_end();
}

static const char *seg_name(uint64_t number)
{
    static char name[AD_WAL_NAME_MAX];

    ad_wal_name_put(name, AD_WAL_F_SEG, number, 0);
    return name;
}

/* Segments 3 to 6, a snapshot that they need, votes in between; the last write is
 * not fenced. */
static int setup(void **state)
{
    static struct op op;

    (void)state;
    rig_init(&rig, 1);
    rig.config.spares_max = rig.w->config.spares_max = 0;
    for (unsigned i = 0; i < 55; i++) {
        append(3, 80 + i % 3);
        if (i % 10 == 5) {
            rig_vote(&rig, rig.model.term + 1, i % 4);
            note_end();
        }
    }
    memset(&op, 0, sizeof op);
    rig_snapshot(&rig, 65, rig.model.e[65].term);
    op.drop_until = 60;
    rig_do(&rig, &op);
    append(2, 100);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_fini(&rig);
    return 0;
}

static uint64_t first_seg(void)
{
    return rig.w->segs[0].number;
}

static uint64_t last_seg(void)
{
    return rig.w->segs[rig.w->segs_nr - 1].number;
}

/* Opens @m; a refusal must not have changed anything. */
static int start(struct memfs *m, const struct op *under_way)
{
    struct memfs *before = memfs_clone(m);
    int rv = rig_open(&rig, m, under_way, NULL);

    opens++;
    if (rv < -1) {
        refused++;
        assert_true(memfs_equal(m, before));
        assert_int_equal(memfs_handles(m), 0);
    }
    memfs_destroy(&before);
    return rv;
}

static void expect(struct memfs **m, int err, const char *place, const char *mend)
{
    int rv = start(*m, NULL);

    if (rv != err) {
        fail_msg("%d instead of %d: %s", rv, err, rig.eb.text);
    }
    if (strstr(rig.eb.text, place) == NULL || strstr(rig.eb.text, mend) == NULL) {
        fail_msg("no \"%s\", \"%s\" in: %s", place, mend, rig.eb.text);
    }
    memfs_destroy(m);
}

static void expect_damage(struct memfs **m, const char *place)
{
    expect(m, SY_ECORRUPT, place, "docs/disaster-recovery.md");
}

/* --- flips --- */

static int flipped(const char *name, uint64_t offset, unsigned bit, const struct op *op)
{
    struct memfs *m = memfs_clone(rig.m);
    int rv;

    assert_true(memfs_corrupt(m, name, offset, (uint8_t)(1u << bit)));
    rv = start(m, op);
    memfs_destroy(&m);
    return rv;
}

static bool is_refusal(int rv)
{
    return rv == SY_ECORRUPT || rv == SY_EVERSION || rv == SY_EINVALID;
}

static void flip_range(const char *name, uint64_t from, uint64_t to)
{
    for (uint64_t x = from; x < to; x++) {
        int rv = flipped(name, x, (unsigned)(x * 5 + x / 8) % 8, NULL);

        if (!is_refusal(rv)) {
            fail_msg("%s, offset %lu: %d %s", name, (unsigned long)x, rv, rig.eb.text);
        }
    }
}

static void no_flip_is_accepted_before_the_last_write(void **state)
{
    uint64_t last = last_seg();

    (void)state;
    assert_true(last - first_seg() >= 3);
    for (uint64_t k = first_seg(); k < last; k++) {
        flip_range(seg_name(k), 0, ends[k]);
    }
    flip_range(seg_name(last), 0, rig.w->safe);
    print_message("%lu of %lu refused\n", (unsigned long)refused, (unsigned long)opens);
}

/* The model before the last write, and the last write as an operation. */
static void take_back(struct op *op, size_t n)
{
    memset(op, 0, sizeof *op);
    op->n = n;
    op->first = rig.model.last - n + 1;
    memcpy(op->e, &rig.model.e[op->first], n * sizeof op->e[0]);
    rig.model.last -= n;
}

static void a_flip_in_the_last_write_cuts_it(void **state)
{
    static struct op op;
    uint64_t from, end;
    const char *name = seg_name(last_seg());

    (void)state;
    rig_fence(&rig);
    from = rig.w->end;
    append(3, 50);
    end = rig.w->end;
    take_back(&op, 3);
    for (uint64_t x = from; x < end; x++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            int stage = flipped(name, x, bit, &op);
            unsigned whole = 1 + (unsigned)((x - from) / ad_wal_record_size(50));

            /* Exactly the entries before the damaged one, no wrong one. */
            assert_int_equal(stage, whole);
        }
    }
    for (uint64_t x = end; x < rig.config.segment_size; x++) {
        assert_int_equal(flipped(name, x, x % 8, &op), 4);
    }
}

static void after_a_fence_no_flip_is_accepted(void **state)
{
    uint64_t end = rig.w->end;

    (void)state;
    rig_fence(&rig);
    flip_range(seg_name(last_seg()), 0, end + AD_WAL_RECORD_HEADER);
}

static void the_fence_alone_protects_the_last_write(void **state)
{
    struct memfs *before = memfs_clone(rig.m), *m;
    uint64_t end = rig.w->end, size;
    const uint8_t *p;

    (void)state;
    rig_fence(&rig);
    p = memfs_peek(before, "mark", &size);
    memfs_put(rig.m, "mark", p, size);
    flip_range(seg_name(last_seg()), end - 100, end);
    m = memfs_clone(rig.m);
    assert_true(memfs_corrupt(m, seg_name(last_seg()), end, 1)); /* The fence itself. */
    assert_int_equal(start(m, NULL), 0);
    memfs_destroy(&m);
    memfs_destroy(&before);
}

static void flips_in_the_small_files(void **state)
{
    uint64_t size;

    (void)state;
    assert_non_null(memfs_peek(rig.m, "identity", &size));
    flip_range("identity", 0, size);
    assert_non_null(memfs_peek(rig.m, "mark", &size));
    for (uint64_t x = 0; x < size; x++) {
        int rv = flipped("mark", x, x % 8, NULL);

        assert_true(rv == 0 || is_refusal(rv));
    }
}

/* --- snapshots --- */

static void a_damaged_snapshot_is_refused(void **state)
{
    char name[AD_WAL_NAME_MAX];
    uint64_t size;

    (void)state;
    ad_wal_snap_name(name, 65, rig.model.e[65].term);
    assert_non_null(memfs_peek(rig.m, name, &size));
    flip_range(name, 0, size);
    for (uint64_t n = 0; n < size; n++) {
        struct memfs *m = memfs_clone(rig.m);

        assert_true(memfs_truncate(m, name, n));
        assert_int_equal(start(m, NULL), SY_ECORRUPT);
        memfs_destroy(&m);
    }
}

static void a_snapshot_that_is_needed_must_be_there(void **state)
{
    char name[AD_WAL_NAME_MAX];
    struct memfs *m = memfs_clone(rig.m);

    (void)state;
    ad_wal_snap_name(name, 65, rig.model.e[65].term);
    memfs_remove(m, name);
    expect_damage(&m, "no snapshot");
}

static void an_older_snapshot_does_if_the_log_reaches_it(void **state)
{
    char name[AD_WAL_NAME_MAX];
    uint64_t index = rig.model.last - 1;

    (void)state;
    rig_snapshot(&rig, index, rig.model.e[index].term);
    ad_wal_snap_name(name, index, rig.model.e[index].term);
    memfs_corrupt(rig.m, name, 60, 1);
    rig.model.snap = 65;
    ad_wal_close(&rig.w);
    assert_int_equal(rig_open(&rig, rig.m, NULL, &rig.w), 0);
    assert_non_null(strstr(ad_wal_note(rig.w), name));
}

static void a_snapshot_ahead_of_the_log_proves_a_loss(void **state)
{
    struct memfs *m;

    (void)state;
    rig_snapshot(&rig, rig.model.last + 1, rig.model.term);
    m = memfs_clone(rig.m);
    expect_damage(&m, "lost its end");
}

static void a_snapshot_of_another_term_is_refused(void **state)
{
    struct memfs *m;

    (void)state;
    rig_snapshot(&rig, rig.model.last, rig.model.e[rig.model.last].term - 1);
    m = memfs_clone(rig.m);
    expect_damage(&m, "another term");
}

/* --- the strict-start table --- */

static void a_zeroed_record_is_refused(void **state)
{
    (void)state;
    for (uint64_t k = first_seg(); k <= last_seg(); k++) {
        uint64_t to = k < last_seg() ? ends[k] : rig.w->safe;

        for (uint64_t x = 0; x + 512 <= to; x += 512) {
            struct memfs *m = memfs_clone(rig.m);

            memfs_zero(m, seg_name(k), x, 512);
            expect_damage(&m, seg_name(k));
        }
    }
}

static void a_lost_write_is_refused(void **state)
{
    struct memfs *before = memfs_clone(rig.m), *m;
    uint64_t from = rig.w->end / 512 * 512, size;
    const uint8_t *old;

    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        append(1, 80);
    }
    old = memfs_peek(before, seg_name(last_seg()), &size);
    m = memfs_clone(rig.m);
    for (uint64_t x = from; x < from + 512; x++) {
        const uint8_t *now = memfs_peek(m, seg_name(last_seg()), &size);

        memfs_corrupt(m, seg_name(last_seg()), x, now[x] ^ old[x]);
    }
    expect_damage(&m, "a good one at offset");
    memfs_destroy(&before);
}

static void missing_segments_are_noticed(void **state)
{
    (void)state;
    for (uint64_t k = first_seg(); k <= last_seg(); k++) {
        struct memfs *m = memfs_clone(rig.m);

        memfs_remove(m, seg_name(k));
        expect_damage(&m, seg_name(k));
    }
}

static void segments_cut_short_or_empty_are_noticed(void **state)
{
    static const uint64_t sizes[] = {0, 1, 47, 48, 135, 136, 512, 4088, 4095, 5000};

    (void)state;
    for (uint64_t k = first_seg(); k <= last_seg(); k++) {
        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            struct memfs *m = memfs_clone(rig.m);

            memfs_truncate(m, seg_name(k), sizes[i]);
            expect_damage(&m, seg_name(k));
        }
    }
}

static void a_cut_head_is_noticed(void **state)
{
    (void)state;
    for (uint64_t k = first_seg(); k <= last_seg(); k++) {
        struct memfs *m = memfs_clone(rig.m);
        uint64_t size;
        uint8_t *p = sy_memdup(memfs_peek(m, seg_name(k), &size), 4096);

        memmove(p, p + 136, 4096 - 136);
        memfs_put(m, seg_name(k), p, 4096);
        sy_free(p);
        expect_damage(&m, seg_name(k));
    }
}

static void a_zeroed_tail_is_noticed_up_to_the_mark(void **state)
{
    uint64_t marked = rig.w->mark.offset;
    struct memfs *m;

    (void)state;
    assert_int_equal(rig.w->mark.segment, last_seg());
    assert_true(marked < rig.w->end);
    for (uint64_t x = 8; x < marked; x += 8) {
        m = memfs_clone(rig.m);
        memfs_zero(m, seg_name(last_seg()), x, 4096 - x);
        expect_damage(&m, seg_name(last_seg()));
    }
    rig_fence(&rig);
    m = memfs_clone(rig.m);
    memfs_zero(m, seg_name(last_seg()), marked, 4096 - marked);
    expect_damage(&m, "was durable");
}

static void swapped_and_misnamed_segments_are_noticed(void **state)
{
    uint64_t size;
    struct memfs *m = memfs_clone(rig.m);
    const uint8_t *p = memfs_peek(rig.m, seg_name(first_seg()), &size);

    (void)state;
    memfs_put(m, seg_name(first_seg() + 1), p, size);
    expect_damage(&m, "under a wrong name");
    m = memfs_clone(rig.m);
    memfs_put(m, seg_name(last_seg() + 1), p, size);
    expect_damage(&m, "under a wrong name");
}

/* Two branches of one history, as after restoring part of a backup. */
static void segments_of_another_history_are_noticed(void **state)
{
    struct memfs *branch = memfs_clone(rig.m), *m;
    struct model model = rig.model;
    struct ad_wal *here = rig.w;
    uint64_t number = last_seg(), size;

    (void)state;
    /* Same lengths, other bytes: both close the segment at the same offset. */
    while (last_seg() < number + 2) {
        append(1, 200);
    }
    m = memfs_clone(rig.m);
    rig.model = model;
    assert_int_equal(rig_open(&rig, branch, NULL, &rig.w), 0);
    rig.w->life = here->life;
    while (last_seg() < number + 2) {
        append(1, 200);
    }
    for (unsigned i = 0; i < 2; i++) {
        memfs_put(m, seg_name(number + 1 + i),
                  memfs_peek(branch, seg_name(number + 1 + i), &size), 4096);
    }
    ad_wal_close(&rig.w);
    rig.w = here;
    expect_damage(&m, "another record at its end");
    memfs_destroy(&branch);
}

/* A whole valid record in the place of another: only the chain tells. */
static void a_forged_record_breaks_the_chain(void **state)
{
    uint64_t at = rig.w->end, size;
    uint8_t raw[AD_WAL_RECORD_HEADER + 80] = {0}, payload[80] = {7};
    struct ad_wal_record r;
    const uint8_t *p;
    struct memfs *m;

    (void)state;
    append(1, 80);
    append(1, 80);
    p = memfs_peek(rig.m, seg_name(last_seg()), &size);
    assert_true(ad_wal_record_get(p, size, rig.w->seed, at, &r));
    r.data = payload;
    ad_wal_record_put(raw, rig.w->seed, at, &r);
    m = memfs_clone(rig.m);
    for (size_t i = 0; i < sizeof raw; i++) {
        p = memfs_peek(m, seg_name(last_seg()), &size);
        memfs_corrupt(m, seg_name(last_seg()), at + i, p[at + i] ^ raw[i]);
    }
    expect_damage(&m, seg_name(last_seg()));
}

static void missing_small_files_are_noticed(void **state)
{
    struct memfs *m = memfs_clone(rig.m);

    (void)state;
    memfs_remove(m, "identity");
    expect_damage(&m, "identity");
    m = memfs_clone(rig.m);
    memfs_remove(m, "mark");
    expect_damage(&m, "mark");
    m = memfs_clone(rig.m);
    memfs_truncate(m, "mark", 0);
    expect_damage(&m, "mark");
    m = memfs_clone(rig.m);
    for (uint64_t k = first_seg(); k <= last_seg(); k++) {
        memfs_remove(m, seg_name(k));
    }
    expect_damage(&m, "seg-");
}

static void another_nodes_files_are_refused(void **state)
{
    struct memfs *m = memfs_clone(rig.m);
    struct ad_wal_fs fs = memfs_fs(m);
    struct cs_core_boot boot;
    struct sy_errbuf eb;
    struct sy_buf b = {0};
    struct ad_wal *w;

    (void)state;
    assert_int_equal(ad_wal_open(&w, &fs, &rig.config, "site/4", &boot, &eb),
                     SY_EINVALID);
    assert_non_null(strstr(eb.text, "site/3"));
    assert_non_null(strstr(eb.text, "site/4"));
    /* The right identity, but the rest of another node. */
    ad_wal_identity_put(&b, "site/4");
    memfs_put(m, "identity", b.p, b.len);
    sy_buf_free(&b);
    assert_int_equal(ad_wal_open(&w, &fs, &rig.config, "site/4", &boot, &eb),
                     SY_EINVALID);
    assert_non_null(strstr(eb.text, "mark"));
    memfs_destroy(&m);
}

static void newer_versions_are_refused_by_name(void **state)
{
    static const char text[] = "vagt log\nformat 2\nidentity site/3\n";
    struct memfs *m = memfs_clone(rig.m);
    struct sy_buf b = {0};
    struct ad_wal_head head;
    struct ad_wal_record r;
    uint8_t payload[AD_WAL_HEAD_PAYLOAD], *raw;
    uint64_t size;

    (void)state;
    sy_buf_fmt(&b, "%scrc32c %08x\n", text, sy_crc32c(0, text, sizeof text - 1));
    memfs_put(m, "identity", b.p, b.len);
    sy_buf_free(&b);
    expect(&m, SY_EVERSION, "identity", "format 2");

    m = memfs_clone(rig.m);
    raw = sy_memdup(memfs_peek(m, seg_name(last_seg()), &size), 4096);
    assert_true(ad_wal_head_get(raw, size, &head, &r));
    head.version = 2;
    ad_wal_head_put(payload, &head);
    r.data = payload;
    ad_wal_record_put(raw, ad_wal_seed(head.number, head.life), 0, &r);
    memfs_put(m, seg_name(last_seg()), raw, size);
    sy_free(raw);
    expect(&m, SY_EVERSION, seg_name(last_seg()), "format 2");
}

/* Sound checksums, impossible content. */
static void append_raw(struct memfs *m, struct ad_wal_record r)
{
    uint8_t raw[AD_WAL_RECORD_HEADER];
    struct ad_wal_fs fs = memfs_fs(m);
    int file = fs.open(fs.ctx, seg_name(last_seg()));

    r.chain = rig.w->chain;
    r.safe = rig.w->end;
    ad_wal_record_put(raw, rig.w->seed, rig.w->end, &r);
    assert_int_equal(fs.write(fs.ctx, file, rig.w->end, raw, sizeof raw), 0);
    assert_int_equal(fs.sync(fs.ctx, file), 0);
    assert_int_equal(fs.close(fs.ctx, file), 0);
}

static void impossible_records_are_refused(void **state)
{
    uint64_t term, next;

    (void)state;
    rig_vote(&rig, rig.model.term + 1, 2);
    rig_append(&rig, 1, 8);
    term = rig.model.term;
    next = rig.model.last + 1;
    const struct ad_wal_record bad[] = {
        {.kind = AD_WAL_ENTRY, .term = term, .index = next + 1},
        {.kind = AD_WAL_ENTRY, .term = term, .index = 0},
        {.kind = AD_WAL_ENTRY, .term = term + 1, .index = next},
        {.kind = AD_WAL_ENTRY, .term = term - 1, .index = next},
        {.kind = AD_WAL_ENTRY, .term = 0, .index = next},
        {.kind = AD_WAL_VOTE, .term = term, .index = 3},
        {.kind = AD_WAL_VOTE, .term = term, .index = 0},
        {.kind = AD_WAL_VOTE, .term = term - 1, .index = 2},
        {.kind = AD_WAL_VOTE, .term = term + 1, .index = 16},
        {.kind = AD_WAL_HEAD, .term = term},
        {.kind = 9, .term = term},
    };

    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct memfs *m = memfs_clone(rig.m);

        append_raw(m, bad[i]);
        expect_damage(&m, seg_name(last_seg()));
    }
}

static void an_empty_folder_was_never_bootstrapped(void **state)
{
    struct memfs *m = memfs_new();

    (void)state;
    memfs_put(m, "lost+found", "", 0);
    expect(&m, SY_ENOTFOUND, "no log", "");
}

int main(void)
{
#define T(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(no_flip_is_accepted_before_the_last_write),
        T(a_flip_in_the_last_write_cuts_it),
        T(after_a_fence_no_flip_is_accepted),
        T(the_fence_alone_protects_the_last_write),
        T(flips_in_the_small_files),
        T(a_damaged_snapshot_is_refused),
        T(a_snapshot_that_is_needed_must_be_there),
        T(an_older_snapshot_does_if_the_log_reaches_it),
        T(a_snapshot_ahead_of_the_log_proves_a_loss),
        T(a_snapshot_of_another_term_is_refused),
        T(a_zeroed_record_is_refused),
        T(a_lost_write_is_refused),
        T(missing_segments_are_noticed),
        T(segments_cut_short_or_empty_are_noticed),
        T(a_cut_head_is_noticed),
        T(a_zeroed_tail_is_noticed_up_to_the_mark),
        T(swapped_and_misnamed_segments_are_noticed),
        T(segments_of_another_history_are_noticed),
        T(a_forged_record_breaks_the_chain),
        T(missing_small_files_are_noticed),
        T(another_nodes_files_are_refused),
        T(newer_versions_are_refused_by_name),
        T(impossible_records_are_refused),
        T(an_empty_folder_was_never_bootstrapped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

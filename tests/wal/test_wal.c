#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tests/wal/rig.h"

static struct rig rig;

static int setup(void **state)
{
    (void)state;
    rig_init(&rig, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_fini(&rig);
    return 0;
}

static void reopen(void)
{
    ad_wal_close(&rig.w);
    assert_int_equal(memfs_handles(rig.m), 0);
    memfs_crash(rig.m, 1);
    if (rig_open(&rig, rig.m, NULL, &rig.w) != 0) {
        fail_msg("%s", rig.eb.text);
    }
}

static void what_was_stored_comes_back(void **state)
{
    (void)state;
    rig_append(&rig, 3, 100);
    rig_vote(&rig, 2, 3);
    rig_append(&rig, 1, 0);
    reopen();
    rig_append(&rig, 2, 7);
    reopen();
    assert_null(ad_wal_note(rig.w));
}

static void one_store_is_one_write_and_one_sync(void **state)
{
    struct memfs_stats before = *memfs_stats(rig.m);

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        rig_append(&rig, 1, 60);
    }
    assert_int_equal(memfs_stats(rig.m)->ops[MEMFS_WRITE], before.ops[MEMFS_WRITE] + 20);
    assert_int_equal(memfs_stats(rig.m)->ops[MEMFS_SYNC], before.ops[MEMFS_SYNC] + 20);
    assert_int_equal(memfs_stats(rig.m)->ops[MEMFS_SYNC_DIR], before.ops[MEMFS_SYNC_DIR]);
}

static void the_log_goes_on_over_segments(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 30; i++) {
        rig_append(&rig, 10, 100);
    }
    assert_true(ad_wal_bytes(rig.w) >= 12 * 4096);
    reopen();
}

static void an_entry_may_fill_a_segment(void **state)
{
    (void)state;
    rig_append(&rig, 1, (uint32_t)ad_wal_entry_max(&rig.config));
    rig_append(&rig, 3, (uint32_t)ad_wal_entry_max(&rig.config));
    rig_append(&rig, 1, 1);
    reopen();
}

static void votes_alone_roll_segments_too(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        rig_vote(&rig, 2 + i, i % 4);
    }
    reopen();
}

static void truncation_reaches_into_earlier_segments(void **state)
{
    static struct op op;

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        rig_append(&rig, 10, 100);
    }
    memset(&op, 0, sizeof op);
    op.has_vote = true;
    op.term = 7;
    op.first = 20;
    op.n = 1;
    op.e[0] = (struct wanted_entry){.term = 7, .type = RAFT_BARRIER};
    rig_do(&rig, &op);
    assert_int_equal(rig.model.last, 20);
    reopen();
    rig_append(&rig, 10, 100);
    reopen();
}

static void drop_until(uint64_t index)
{
    static struct op op;

    rig_snapshot(&rig, index + 5, rig.model.e[index + 5].term);
    memset(&op, 0, sizeof op);
    op.drop_until = index;
    rig_do(&rig, &op);
}

static void dropped_segments_become_spares(void **state)
{
    struct memfs_stats before;
    uint64_t bytes;

    (void)state;
    assert_true(ad_wal_wants_spare(rig.w));
    for (unsigned i = 0; i < 20; i++) {
        rig_append(&rig, 10, 100);
    }
    bytes = ad_wal_bytes(rig.w);
    drop_until(100);
    assert_true(ad_wal_bytes(rig.w) < bytes);
    assert_false(ad_wal_wants_spare(rig.w));
    before = *memfs_stats(rig.m);
    for (unsigned i = 0; i < 2 * 4096 / 148; i++) {
        rig_append(&rig, 1, 100);
    }
    assert_int_equal(memfs_stats(rig.m)->ops[MEMFS_CREATE], before.ops[MEMFS_CREATE]);
    assert_true(ad_wal_wants_spare(rig.w));
    bytes = ad_wal_bytes(rig.w);
    reopen();
    assert_int_equal(ad_wal_bytes(rig.w), bytes);
}

static void a_spare_made_ahead_is_used(void **state)
{
    uint64_t created;

    (void)state;
    assert_int_equal(ad_wal_make_spare(&rig.fs, 4096), 0);
    ad_wal_spare_made(rig.w);
    assert_false(ad_wal_wants_spare(rig.w));
    reopen();
    assert_false(ad_wal_wants_spare(rig.w));
    created = memfs_stats(rig.m)->ops[MEMFS_CREATE];
    for (unsigned i = 0; i < 40; i++) {
        rig_append(&rig, 1, 100);
    }
    assert_int_equal(memfs_stats(rig.m)->ops[MEMFS_CREATE], created);
    assert_true(ad_wal_wants_spare(rig.w));
    reopen();
}

static void spares_of_another_size_are_removed(void **state)
{
    (void)state;
    assert_int_equal(ad_wal_make_spare(&rig.fs, 4096), 0);
    ad_wal_spare_made(rig.w);
    rig.config.segment_size = 8192;
    reopen();
    assert_true(ad_wal_wants_spare(rig.w));
    for (unsigned i = 0; i < 20; i++) {
        rig_append(&rig, 10, 100);
    }
    reopen();
}

static void an_install_replaces_the_log(void **state)
{
    static struct op op;

    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        rig_append(&rig, 10, 100);
    }
    rig_incoming(&rig, 500, 1);
    memset(&op, 0, sizeof op);
    op.install = 500;
    op.install_term = 1;
    op.has_vote = true;
    op.term = 3;
    op.vote = 2;
    op.first = 501;
    rig_do(&rig, &op);
    reopen();
    assert_true(ad_wal_bytes(rig.w) <= 3 * 4096);
    rig_append(&rig, 3, 10);
    reopen();
}

static void an_install_without_its_snapshot_changes_nothing(void **state)
{
    static struct op op;
    struct ad_wal_job *job;

    (void)state;
    rig_append(&rig, 3, 10);
    memset(&op, 0, sizeof op);
    op.install = 500;
    op.install_term = 1;
    op.first = 501;
    job = rig_store(&rig, &op);
    assert_int_equal(ad_wal_job_run(job, &rig.eb), -ENOENT);
    assert_non_null(strstr(rig.eb.text, "incoming-"));
    reopen();
}

static void a_fence_is_needed_once(void **state)
{
    (void)state;
    assert_null(ad_wal_fence(rig.w));
    rig_append(&rig, 1, 10);
    rig_fence(&rig);
    assert_null(ad_wal_fence(rig.w));
    reopen();
    assert_null(ad_wal_fence(rig.w));
}

static void low_space_is_announced(void **state)
{
    static const struct op nothing;

    (void)state;
    assert_false(ad_wal_space_low(rig.w));
    memfs_set_space(rig.m, 9000);
    /* Not measured each time: it is a system call for nothing. */
    rig_do(&rig, &nothing);
    assert_false(ad_wal_space_low(rig.w));
    for (unsigned i = 0; i < 256; i++) {
        rig_do(&rig, &nothing);
    }
    assert_true(ad_wal_space_low(rig.w));
}

/* --- snapshots --- */

static int collect(void *data, const void *p, size_t n)
{
    sy_buf_put(data, p, n);
    return 0;
}

static void snapshots_of_any_length_come_back(void **state)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 200000};
    static uint8_t data[200000];

    (void)state;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 7 + i / 251);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct cs_snapshot_meta meta = {.index = 100 + i, .term = 1};
        struct ad_wal_snap_writer *w;
        struct sy_buf got = {0};

        assert_int_equal(ad_wal_snap_create(&rig.fs, &meta, &w, &rig.eb), 0);
        for (size_t k = 0; k < sizes[i]; k += 1000) {
            size_t n = sizes[i] - k < 1000 ? sizes[i] - k : 1000;

            assert_int_equal(ad_wal_snap_write(w, data + k, n), 0);
        }
        assert_int_equal(ad_wal_snap_commit(&w, &rig.eb), 0);
        assert_int_equal(ad_wal_snap_read(&rig.fs, 100 + i, 1, collect, &got, &rig.eb),
                         0);
        assert_int_equal(got.len, sizes[i]);
        assert_true(sizes[i] == 0 || memcmp(got.p, data, got.len) == 0);
        sy_buf_free(&got);
    }
    assert_int_equal(ad_wal_snap_read(&rig.fs, 100, 2, collect, NULL, &rig.eb), -ENOENT);
    assert_int_equal(ad_wal_snap_prune(&rig.fs, 105), 0);
    assert_int_equal(ad_wal_snap_read(&rig.fs, 104, 1, collect, NULL, &rig.eb), -ENOENT);
    assert_int_equal(ad_wal_snap_prune(&rig.fs, 0), 0);
}

static void a_snapshot_given_up_leaves_nothing(void **state)
{
    struct cs_snapshot_meta meta = {.index = 100, .term = 1};
    struct memfs *before = memfs_clone(rig.m);
    struct ad_wal_snap_writer *w;

    (void)state;
    assert_int_equal(ad_wal_snap_create(&rig.fs, &meta, &w, &rig.eb), 0);
    assert_int_equal(ad_wal_snap_write(w, &meta, sizeof meta), 0);
    ad_wal_snap_abort(&w);
    assert_true(memfs_equal(rig.m, before));
    memfs_destroy(&before);
}

static void a_prune_spares_what_is_coming_in(void **state)
{
    int low, high;

    (void)state;
    assert_int_equal(ad_wal_incoming_create(&rig.fs, 10, 1, &low), 0);
    assert_int_equal(ad_wal_incoming_create(&rig.fs, 30, 1, &high), 0);
    rig_incoming(&rig, 11, 1);
    rig_incoming(&rig, 31, 1);
    assert_int_equal(ad_wal_snap_prune(&rig.fs, 20), 0);
    assert_int_equal(rig.fs.open(rig.fs.ctx,
                                 "incoming-00000000000000000011-"
                                 "00000000000000000001"),
                     -ENOENT);
    assert_int_equal(ad_wal_incoming_commit(&rig.fs, low, 10, 1, &rig.eb), SY_ECORRUPT);
    /* Empty, but there. */
    assert_int_equal(ad_wal_incoming_commit(&rig.fs, high, 30, 1, &rig.eb), SY_ECORRUPT);
    assert_non_null(strstr(rig.eb.text, "incoming-00000000000000000030"));
    reopen();
}

/* --- bootstrap --- */

static int fail_later(void *data, enum memfs_op op, const char *name, uint64_t offset,
                      size_t n)
{
    uint64_t *left = data;

    (void)op;
    (void)name;
    (void)offset;
    (void)n;
    return *left == 0 ? -EIO : (--*left, 0);
}

static void a_bootstrap_may_be_interrupted_anywhere(void **state)
{
    struct cs_entry first = rig_entry(&rig.model.e[1]);
    unsigned found = 0, missing = 0;
    bool done = false;

    (void)state;
    for (uint64_t k = 0; !done; k++) {
        for (uint64_t seed = 0; seed < 8; seed++) {
            struct memfs *m = memfs_new();
            struct ad_wal_fs fs = memfs_fs(m);
            uint64_t left = k;
            int rv;

            memfs_hook(m, fail_later, &left);
            done = ad_wal_bootstrap(&fs, &rig.config, rig_identity, &first, NULL) == 0;
            memfs_hook(m, NULL, NULL);
            memfs_crash(m, seed);
            rv = rig_open(&rig, m, NULL, NULL);
            if (rv == SY_ENOTFOUND) {
                assert_false(done);
                assert_int_equal(
                    ad_wal_bootstrap(&fs, &rig.config, rig_identity, &first, &rig.eb), 0);
                rv = rig_open(&rig, m, NULL, NULL);
                missing++;
            } else {
                found++;
            }
            if (rv != 0) {
                fail_msg("%d %s", rv, rig.eb.text);
            }
            assert_int_equal(
                ad_wal_bootstrap(&fs, &rig.config, rig_identity, &first, NULL),
                SY_EEXISTS);
            memfs_destroy(&m);
        }
    }
    assert_true(found > 8);
    assert_true(missing > 8);
    sy_free(first.data);
}

static void a_member_that_joins_begins_with_nothing(void **state)
{
    static struct op op;

    (void)state;
    rig_fini(&rig);
    memset(&rig.model, 0, sizeof rig.model);
    rig.m = memfs_new();
    rig.fs = memfs_fs(rig.m);
    assert_int_equal(ad_wal_bootstrap(&rig.fs, &rig.config, rig_identity, NULL, NULL), 0);
    assert_int_equal(rig_open(&rig, rig.m, NULL, &rig.w), 0);
    reopen();
    rig_vote(&rig, 3, 0);
    reopen();
    rig_incoming(&rig, 50, 2);
    memset(&op, 0, sizeof op);
    op.install = 50;
    op.install_term = 2;
    op.first = 51;
    rig_do(&rig, &op);
    reopen();
}

static void a_bad_configuration_is_refused(void **state)
{
    static const uint64_t sizes[] = {0, 4095, 5000, 1u << 31};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        rig.config.segment_size = sizes[i];
        assert_int_equal(rig_open(&rig, rig.m, NULL, NULL), SY_EINVALID);
    }
    rig.config.segment_size = 4096;
}

/* --- full disk --- */

/* Appends, votes, spares and snapshots until something fails. */
static int until_full(struct op *op)
{
    for (;;) {
        struct ad_wal_job *job;
        int rv;

        if (ad_wal_wants_spare(rig.w) && rig_random(&rig) % 2 == 0 &&
            ad_wal_make_spare(&rig.fs, 4096) == 0) {
            ad_wal_spare_made(rig.w);
        }
        rig_random_op(&rig, op);
        job = rig_store(&rig, op);
        rv = ad_wal_job_run(job, &rig.eb);
        if (rv < 0) {
            return rv;
        }
        ad_wal_job_done(rig.w, job);
        rig_apply(&rig.model, op, rig_stages(op) - 1);
    }
}

static void a_full_disk_loses_nothing_and_opens(void **state)
{
    static struct op op;

    (void)state;
    for (uint64_t i = 0; i < 300; i++) {
        int stage;

        rig_fini(&rig);
        rig_init(&rig, i);
        rig_append(&rig, 3, 100);
        memfs_set_space(rig.m, (int64_t)(i * 67));
        rig.no_installs = true;
        assert_int_equal(until_full(&op), -ENOSPC);
        assert_non_null(strstr(rig.eb.text, "disk of the log is full"));
        ad_wal_close(&rig.w);
        if (i % 2 == 0) {
            memfs_crash(rig.m, i);
        }
        memfs_set_space(rig.m, 0);
        stage = rig_open(&rig, rig.m, &op, &rig.w);
        if (stage < 0) {
            fail_msg("%lu: %d %s", (unsigned long)i, stage, rig.eb.text);
        }
        rig_apply(&rig.model, &op, (unsigned)stage);
        memfs_set_space(rig.m, 100000);
        rig_append(&rig, 20, 100);
        reopen();
    }
}

int main(void)
{
#define T(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_was_stored_comes_back),
        T(one_store_is_one_write_and_one_sync),
        T(the_log_goes_on_over_segments),
        T(an_entry_may_fill_a_segment),
        T(votes_alone_roll_segments_too),
        T(truncation_reaches_into_earlier_segments),
        T(dropped_segments_become_spares),
        T(a_spare_made_ahead_is_used),
        T(spares_of_another_size_are_removed),
        T(an_install_replaces_the_log),
        T(an_install_without_its_snapshot_changes_nothing),
        T(a_fence_is_needed_once),
        T(low_space_is_announced),
        T(snapshots_of_any_length_come_back),
        T(a_snapshot_given_up_leaves_nothing),
        T(a_prune_spares_what_is_coming_in),
        T(a_bootstrap_may_be_interrupted_anywhere),
        T(a_member_that_joins_begins_with_nothing),
        T(a_bad_configuration_is_refused),
        T(a_full_disk_loses_nothing_and_opens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_stored_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(one_store_is_one_write_and_one_sync, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_log_goes_on_over_segments, setup, teardown),
        cmocka_unit_test_setup_teardown(an_entry_may_fill_a_segment, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

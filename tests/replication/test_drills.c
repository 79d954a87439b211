#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "replication/store_impl.h"
#include "world.h"

static void say(struct world *w, uint64_t nr, enum rp_drill_state state, const char *text)
{
    rp_batch_drill(&w->b, nr, state, "kill", text, strlen(text));
    world_apply(w);
    assert_true(rp_store_hash(w->s) == rp_digest_all(w->s));
}

static void one_runs_at_a_time_and_ends_once(void **state)
{
    const struct rp_drill *d;
    struct world w;

    (void)state;
    world_open(&w, NULL);
    assert_null(rp_store_drill_recent(w.s, 0));
    say(&w, 7, RP_DRILL_PASSED, "of none");
    assert_int_equal(rp_store_drills(w.s), 0);
    say(&w, 0, RP_DRILL_RUNNING, "by 2");
    d = rp_store_drill_recent(w.s, 0);
    assert_true(d->nr == 1 && d->state == RP_DRILL_RUNNING && d->ended_ms == 0);
    say(&w, 0, RP_DRILL_RUNNING, "another");
    assert_int_equal(rp_store_drills(w.s), 1);
    say(&w, 1, RP_DRILL_RUNNING, "so far");
    assert_memory_equal(d->report, "so far", 6);
    say(&w, 1, RP_DRILL_FAILED, "it was too slow");
    assert_true(d->state == RP_DRILL_FAILED && d->ended_ms >= d->began_ms);
    say(&w, 1, RP_DRILL_PASSED, "late");
    assert_true(d->state == RP_DRILL_FAILED && d->report_len == 15);
    say(&w, 0, RP_DRILL_RUNNING, "");
    assert_true(rp_store_drill_recent(w.s, 0)->nr == 2);
    assert_string_equal(world_trace(&w),
                        "drill\n"
                        "refused a drill: number 1 is running\n"
                        "drill\ndrill\ndrill\n");
    world_close(&w);
}

static void the_newest_are_kept(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, NULL);
    for (uint64_t nr = 1; nr <= RP_DRILLS_MAX + 3; nr++) {
        say(&w, 0, RP_DRILL_RUNNING, "");
        say(&w, nr, RP_DRILL_ABORTED, "enough");
    }
    assert_int_equal(rp_store_drills(w.s), RP_DRILLS_MAX);
    assert_true(rp_store_drill_recent(w.s, 0)->nr == RP_DRILLS_MAX + 3);
    assert_true(rp_store_drill_recent(w.s, RP_DRILLS_MAX - 1)->nr == 4);
    assert_null(rp_store_drill_recent(w.s, RP_DRILLS_MAX));
    world_close(&w);
}

static int collect(void *data, const void *p, size_t n)
{
    sy_buf_put(data, p, n);
    return 0;
}

static void they_come_back_from_a_snapshot(void **state)
{
    char longest[RP_DRILL_REPORT_MAX + 1];
    struct rp_restore r;
    struct sy_errbuf eb = {""};
    struct sy_buf bytes = {0};
    struct world from, to;

    (void)state;
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    world_open(&from, NULL);
    world_open(&to, NULL);
    for (uint64_t nr = 1; nr <= RP_DRILLS_MAX; nr++) {
        say(&from, 0, RP_DRILL_RUNNING, "");
        say(&from, nr, nr < RP_DRILLS_MAX ? RP_DRILL_PASSED : RP_DRILL_RUNNING, longest);
    }
    assert_int_equal(rp_store_snapshot(from.s, collect, &bytes), 0);
    rp_restore_begin(&r, to.s, &eb);
    for (size_t at = 0; at < bytes.len; at += 777) {
        size_t n = bytes.len - at < 777 ? bytes.len - at : 777;

        assert_int_equal(rp_restore_feed(&r, bytes.p + at, n), 0);
    }
    assert_int_equal(rp_restore_end(&r), 0);
    assert_int_equal(rp_store_drills(to.s), RP_DRILLS_MAX);
    assert_true(rp_store_hash(to.s) == rp_store_hash(from.s));
    sy_buf_free(&bytes);
    world_close(&from);
    world_close(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_runs_at_a_time_and_ends_once),
        cmocka_unit_test(the_newest_are_kept),
        cmocka_unit_test(they_come_back_from_a_snapshot),
    };

    return cmocka_run_group_tests_name("drills", tests, NULL, NULL);
}

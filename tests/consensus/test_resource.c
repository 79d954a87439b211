/* The resources of a site: traces that a person can read, and every short history of two
 * of them against a model of what really runs. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "consensus/resource.h"

static struct cs_resources r;
static struct cs_resource_levels l;
static char said[512];

static const struct cs_resource_spec alone = {
    .after = {CS_NO_RESOURCE, CS_NO_RESOURCE, CS_NO_RESOURCE, CS_NO_RESOURCE},
    .local = true,
    .monitor_ms = 1000,
    .retry_min_ms = 100,
    .retry_max_ms = 400,
    .tries = 3,
};

static void add(int after)
{
    struct cs_resource_spec s = alone;

    if (after >= 0) {
        s.after[0] = (uint8_t)after;
    }
    assert_true(cs_resources_add(&r, &s) >= 0);
}

static void begin(void)
{
    cs_resources_init(&r);
    add(-1); /* 0: an address */
    add(0);  /* 1: the broker */
    add(1);  /* 2 and 3: bridges */
    add(1);
    l = (struct cs_resource_levels){.now_ms = 1000};
}

/* All effects at @ms, as a text: "stop2 stop3". */
static const char *at(uint64_t ms)
{
    static const char *const names[] = {"-",    "start",    "stop",
                                        "look", "handover", "FENCE"};
    enum cs_resource_effect e;
    unsigned which;
    size_t len = 0;

    l.now_ms = ms;
    said[0] = '\0';
    while ((e = cs_resources_step(&r, &l, &which)) != CS_RES_NOTHING) {
        len += (size_t)snprintf(said + len, sizeof said - len, "%s%s%u",
                                len > 0 ? " " : "", names[e], which);
        if (e == CS_RES_FENCE) {
            break;
        }
    }
    return said;
}

static void done(unsigned which, enum cs_resource_effect what, bool ok)
{
    cs_resources_done(&r, l.now_ms, which, what, ok);
}

static void stop_all(void)
{
    for (unsigned i = r.n; i-- > 0;) {
        (void)at(l.now_ms);
        done(i, CS_RES_STOP, true);
    }
    assert_true(cs_resources_released(&r));
}

static void run_all(void)
{
    l.wanted = true;
    for (unsigned i = 0; i < r.n; i++) {
        (void)at(l.now_ms);
        done(i, CS_RES_START, true);
    }
}

static void what_may_run_is_stopped_before_anything_is_released(void **state)
{
    (void)state;
    begin();
    assert_false(cs_resources_released(&r));
    assert_string_equal(at(1000), "stop3 stop2");
    done(2, CS_RES_STOP, true);
    assert_string_equal(at(1001), ""); /* Another bridge still needs the broker. */
    done(3, CS_RES_STOP, true);
    assert_string_equal(at(1002), "stop1");
    done(1, CS_RES_STOP, true);
    assert_string_equal(at(1003), "stop0");
    assert_false(cs_resources_released(&r));
    done(0, CS_RES_STOP, true);
    assert_true(cs_resources_released(&r));
    assert_string_equal(at(9000), "");
}

static void they_start_in_order(void **state)
{
    (void)state;
    begin();
    stop_all();
    l.wanted = true;
    assert_string_equal(at(2000), "start0");
    done(0, CS_RES_START, true);
    assert_string_equal(at(2001), "start1");
    done(1, CS_RES_START, true);
    assert_string_equal(at(2002), "start2 start3");
    done(2, CS_RES_START, true);
    done(3, CS_RES_START, true);
    assert_string_equal(at(2500), "");
    assert_string_equal(at(3002), "look0 look1 look2 look3");
    assert_string_equal(at(3003), "");
    done(0, CS_RES_MONITOR, true);
    assert_string_equal(at(4002), "");
    assert_string_equal(at(4003), "look0");
}

static void what_fails_is_tried_again_with_growing_pauses(void **state)
{
    (void)state;
    begin();
    stop_all();
    run_all();
    cs_resources_ended(&r, 5000, 2);
    assert_string_equal(at(5000), "look0 look1 stop2 look3");
    done(2, CS_RES_STOP, true);
    assert_string_equal(at(5001), "start2"); /* At once, the first time. */
    done(2, CS_RES_START, false);
    (void)at(5002);
    done(2, CS_RES_STOP, true);
    assert_string_equal(at(5100), "");
    assert_string_equal(at(5101), "start2");
    done(2, CS_RES_START, false);
    (void)at(5102);
    done(2, CS_RES_STOP, true);
    assert_string_equal(at(5300), "");
    assert_string_equal(at(5301), "start2");
    done(2, CS_RES_START, true);
    assert_int_equal(r.list[2].failures, 3);
    (void)at(70000);
    assert_int_equal(r.list[2].failures, 0); /* Forgiven. */
}

static void the_watch_is_handed_over_only_for_local_faults(void **state)
{
    (void)state;
    begin();
    r.list[3].spec.local = false;
    stop_all();
    run_all();
    for (unsigned i = 0; i < 3; i++) {
        cs_resources_ended(&r, l.now_ms, 1);
        cs_resources_ended(&r, l.now_ms, 3);
        (void)at(l.now_ms + 500);
        done(1, CS_RES_STOP, true);
        done(3, CS_RES_STOP, true);
        (void)at(l.now_ms + 500);
        done(1, CS_RES_START, true);
        (void)at(l.now_ms);
        done(3, CS_RES_START, true);
    }
    assert_string_equal(at(l.now_ms), ""); /* Nobody could relieve. */
    l.relief = true;
    assert_string_equal(at(l.now_ms), "handover1");
    assert_string_equal(at(l.now_ms + 10), "");
}

static void what_does_not_stop_fences(void **state)
{
    (void)state;
    begin();
    stop_all();
    run_all();
    l.wanted = false;
    assert_string_equal(at(3000), "stop3 stop2");
    done(2, CS_RES_STOP, false);
    assert_string_equal(at(3001), "FENCE2");
    assert_false(cs_resources_released(&r));
}

/* Of an earlier life, or never started: docker may not be there. */
static void what_was_not_ours_and_does_not_stop_is_shown_as_stuck(void **state)
{
    (void)state;
    begin();
    (void)at(1000);
    assert_int_equal(cs_resource_shown(&r.list[3]), CS_RES_STOPPING);
    done(3, CS_RES_STOP, false);
    assert_int_equal(cs_resource_shown(&r.list[3]), CS_RES_STUCK);
    assert_string_equal(at(1400), "stop3");
    assert_int_equal(cs_resource_shown(&r.list[3]), CS_RES_STUCK);
    done(3, CS_RES_STOP, true);
    assert_int_equal(cs_resource_shown(&r.list[3]), CS_RES_STOPPED);
}

/* A process that goes on in the place of another, with the keeper of that one. */
static void what_runs_is_taken_over_and_looked_at_first(void **state)
{
    (void)state;
    begin();
    cs_resources_adopt(&r, 900, 0);
    cs_resources_adopt(&r, 900, 1);
    cs_resources_adopt(&r, 900, 3);
    assert_true(cs_resources_held(&r) && cs_resources_started(&r));
    l.wanted = true;
    assert_string_equal(at(1000), "look0 look1 stop2 look3");
    done(0, CS_RES_MONITOR, true);
    done(1, CS_RES_MONITOR, true);
    done(3, CS_RES_MONITOR, false); /* It did not come through it. */
    done(2, CS_RES_STOP, true);
    assert_string_equal(at(1001), "start2 stop3");
    done(2, CS_RES_START, true);
    done(3, CS_RES_STOP, true);
    assert_string_equal(at(1002), "start3");
    done(3, CS_RES_START, true);
    l.wanted = false; /* Ours like any other: what does not stop is fenced. */
    assert_string_equal(at(1003), "stop3 stop2");
    done(3, CS_RES_STOP, false);
    assert_string_equal(at(1004), "FENCE3");
}

static void one_may_be_off_while_the_rest_runs(void **state)
{
    (void)state;
    begin();
    stop_all();
    run_all();
    cs_resources_off(&r, 2, true);
    assert_string_equal(at(1500), "stop2");
    done(2, CS_RES_STOP, true);
    assert_string_equal(at(1600), "");
    cs_resources_off(&r, 2, false);
    assert_string_equal(at(1700), "start2");
}

/* --- every short history --- */

/* What really runs: an action may come to anything, and takes its time. */
struct world
{
    struct cs_resources r;
    struct cs_resource_levels l;
    bool runs[2];     /* may it run? */
    uint8_t doing[2]; /* enum cs_resource_effect under way */
    bool fenced;
};

static unsigned long visited;

static void settle(struct world *w)
{
    enum cs_resource_effect e;
    unsigned which, steps = 0;

    w->l.now_ms += 1000;
    while ((e = cs_resources_step(&w->r, &w->l, &which)) != CS_RES_NOTHING) {
        assert_true(++steps < 20);
        if (e == CS_RES_START) {
            assert_int_equal(w->doing[which], 0);
            assert_true(w->l.wanted);
            assert_true(which == 0 || w->runs[0]); /* The order. */
            assert_false(w->runs[which]);          /* Never two of it. */
            w->runs[which] = true;
        } else if (e == CS_RES_FENCE) {
            w->fenced = true;
            return;
        }
        if (e == CS_RES_STOP && !w->l.wanted && which == 0) {
            assert_false(w->runs[1]); /* In reverse. */
        }
        if (e != CS_RES_HANDOVER) {
            w->doing[which] = (uint8_t)e;
        }
    }
    assert_false(cs_resources_released(&w->r) && (w->runs[0] || w->runs[1]));
}

static void walk(const struct world *from, unsigned depth);

static void branch(const struct world *from, unsigned depth, unsigned which, int outcome)
{
    struct world w = *from;
    enum cs_resource_effect what = w.doing[which];

    if (outcome == 2) { /* It ends by itself. */
        if (!w.runs[which] || what == CS_RES_STOP) {
            return;
        }
        w.runs[which] = false;
        w.doing[which] = 0;
        cs_resources_ended(&w.r, w.l.now_ms, which);
    } else {
        if (what == CS_RES_NOTHING) {
            return;
        }
        w.doing[which] = 0;
        w.runs[which] =
            what == CS_RES_STOP ? outcome == 0 && w.runs[which] : w.runs[which];
        cs_resources_done(&w.r, w.l.now_ms, which, what, outcome == 1);
    }
    settle(&w);
    walk(&w, depth);
}

/* However it went: if every stop succeeds from here on, all is released soon. */
static void ends(struct world w)
{
    w.l.wanted = false;
    settle(&w);
    for (unsigned i = 0; i < 8 && !w.fenced && !cs_resources_released(&w.r); i++) {
        for (unsigned which = 0; which < 2; which++) {
            if (w.doing[which] != 0) {
                enum cs_resource_effect what = w.doing[which];

                w.doing[which] = 0;
                w.runs[which] = what != CS_RES_STOP && w.runs[which];
                cs_resources_done(&w.r, w.l.now_ms, which, what, true);
                settle(&w);
            }
        }
    }
    assert_true(w.fenced || cs_resources_released(&w.r));
}

static void walk(const struct world *from, unsigned depth)
{
    struct world w;

    visited++;
    if (from->fenced) {
        return;
    }
    ends(*from);
    if (depth == 0) {
        return;
    }
    for (unsigned which = 0; which < 2; which++) {
        for (int outcome = 0; outcome < 3; outcome++) {
            branch(from, depth - 1, which, outcome);
        }
    }
    w = *from;
    w.l.wanted = !w.l.wanted;
    settle(&w);
    walk(&w, depth - 1);
}

static void every_short_history_keeps_the_order(void **state)
{
    struct world w = {.l = {.now_ms = 1}, .runs = {true, true}};
    struct cs_resource_spec s = alone;

    (void)state;
    cs_resources_init(&w.r);
    assert_int_equal(cs_resources_add(&w.r, &s), 0);
    s.after[0] = 0;
    assert_int_equal(cs_resources_add(&w.r, &s), 1);
    settle(&w);
    walk(&w, 9);
    printf("%lu states\n", visited);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_run_is_stopped_before_anything_is_released),
        cmocka_unit_test(they_start_in_order),
        cmocka_unit_test(what_fails_is_tried_again_with_growing_pauses),
        cmocka_unit_test(the_watch_is_handed_over_only_for_local_faults),
        cmocka_unit_test(what_does_not_stop_fences),
        cmocka_unit_test(what_was_not_ours_and_does_not_stop_is_shown_as_stuck),
        cmocka_unit_test(what_runs_is_taken_over_and_looked_at_first),
        cmocka_unit_test(one_may_be_off_while_the_rest_runs),
        cmocka_unit_test(every_short_history_keeps_the_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

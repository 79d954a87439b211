/* Who is online: what the bridge says, when it is believed, and what silence means. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

enum { HOLD = 60000, TTL = 600000 };

static void told(struct world *w, uint64_t ieee, enum rp_avail avail)
{
    rp_batch_told(&w->b, ieee, avail, HOLD);
    world_apply(w);
}

static void bridge(struct world *w, enum rp_avail state)
{
    rp_batch_bridge(&w->b, 1, state, state == RP_ONLINE);
    world_apply(w);
}

static void lapse(struct world *w, uint64_t ieee)
{
    rp_batch_lapse(&w->b, ieee, HOLD, TTL);
    world_apply(w);
}

static enum rp_avail avail(const struct world *w, uint64_t ieee)
{
    return rp_store_device(w->s, ieee)->avail;
}

/* The bridge has been there for a while, A is online. */
static void settle(struct world *w)
{
    world_with_devices(w, NULL);
    bridge(w, RP_ONLINE);
    told(w, A, RP_ONLINE);
    w->now_ms += HOLD;
    (void)world_trace(w);
}

static void a_bridge_that_has_settled_is_believed_at_once(void **state)
{
    struct world w;

    (void)state;
    settle(&w);
    told(&w, A, RP_OFFLINE);
    assert_int_equal(avail(&w, A), RP_OFFLINE);
    told(&w, A, RP_ONLINE);
    assert_int_equal(avail(&w, A), RP_ONLINE);
    assert_string_equal(world_trace(&w), "avail a offline\navail a online\n");
    world_close(&w);
}

static void a_starting_bridge_takes_nobody_offline(void **state)
{
    struct world w;

    (void)state;
    settle(&w);
    bridge(&w, RP_OFFLINE);
    told(&w, A, RP_OFFLINE); /* Retained, by the way. */
    assert_int_equal(avail(&w, A), RP_ONLINE);
    bridge(&w, RP_ONLINE);
    told(&w, A, RP_OFFLINE);
    told(&w, B, RP_OFFLINE); /* Nobody knew of it: nothing to hold. */
    assert_int_equal(avail(&w, A), RP_ONLINE);
    assert_int_equal(avail(&w, B), RP_OFFLINE);
    told(&w, A, RP_ONLINE);
    w.now_ms += HOLD;
    lapse(&w, A);
    assert_int_equal(avail(&w, A), RP_ONLINE);
    assert_int_equal(rp_store_online(w.s), 1);
    world_close(&w);
}

static void who_is_still_said_to_be_offline_then_is(void **state)
{
    struct world w;

    (void)state;
    settle(&w);
    bridge(&w, RP_OFFLINE);
    bridge(&w, RP_ONLINE);
    told(&w, A, RP_OFFLINE);
    w.now_ms += HOLD - 1;
    lapse(&w, A);
    assert_int_equal(avail(&w, A), RP_ONLINE);
    w.now_ms++;
    lapse(&w, A);
    assert_int_equal(avail(&w, A), RP_OFFLINE);
    /* The bridge spoke of it, so a report alone does not bring it back. */
    world_report(&w, A, RP_ON, w.now_ms, 1);
    assert_int_equal(avail(&w, A), RP_OFFLINE);
    world_close(&w);
}

static void nobody_lapses_while_the_bridge_is_away(void **state)
{
    struct world w;

    (void)state;
    settle(&w);
    world_report(&w, B, RP_ON, w.now_ms, 1);
    bridge(&w, RP_OFFLINE);
    told(&w, A, RP_OFFLINE);
    w.now_ms += 10 * TTL;
    lapse(&w, A);
    lapse(&w, B);
    assert_int_equal(avail(&w, A), RP_ONLINE);
    assert_int_equal(avail(&w, B), RP_ONLINE);
    bridge(&w, RP_ONLINE); /* Silence counts from here. */
    lapse(&w, B);
    assert_int_equal(avail(&w, B), RP_ONLINE);
    w.now_ms += TTL;
    lapse(&w, B);
    assert_int_equal(avail(&w, B), RP_OFFLINE);
    world_close(&w);
}

static void who_has_no_availability_is_offline_when_silent(void **state)
{
    struct world w;

    (void)state;
    settle(&w);
    world_report(&w, B, RP_ON, w.now_ms, 1);
    assert_int_equal(avail(&w, B), RP_ONLINE);
    w.now_ms += TTL - 1;
    lapse(&w, B);
    assert_int_equal(avail(&w, B), RP_ONLINE);
    w.now_ms++;
    rp_batch_lapse(&w.b, B, HOLD, 0); /* This area has no limit. */
    world_apply(&w);
    assert_int_equal(avail(&w, B), RP_ONLINE);
    lapse(&w, B);
    assert_int_equal(avail(&w, B), RP_OFFLINE);
    /* A cache that is repeated is no sign of life; a live report is. */
    world_report_full(&w, &(struct rp_report){.ieee = B,
                                              .state = RP_ON,
                                              .cached = true,
                                              .last_seen_ms = w.now_ms,
                                              .payload_hash = 2});
    assert_int_equal(avail(&w, B), RP_OFFLINE);
    world_report(&w, B, RP_ON, w.now_ms + 1, 3);
    assert_int_equal(avail(&w, B), RP_ONLINE);
    world_close(&w);
}

static void who_was_never_heard_is_offline_when_silent_too(void **state)
{
    struct world w;

    (void)state;
    settle(&w);
    w.now_ms += TTL;
    lapse(&w, B);
    assert_int_equal(avail(&w, B), RP_OFFLINE);
    world_report(&w, B, RP_ON, w.now_ms, 1);
    assert_int_equal(avail(&w, B), RP_ONLINE);
    world_close(&w);
}

static void who_lapsed_and_is_then_spoken_of_is_the_bridges(void **state)
{
    struct world w;

    (void)state;
    settle(&w);
    world_report(&w, B, RP_ON, w.now_ms, 1);
    w.now_ms += TTL;
    lapse(&w, B);
    told(&w, B, RP_OFFLINE);
    world_report(&w, B, RP_ON, w.now_ms, 2);
    assert_int_equal(avail(&w, B), RP_OFFLINE);
    world_close(&w);
}

static void an_area_that_is_off_says_nothing_and_takes_nothing(void **state)
{
    struct world w;

    (void)state;
    settle(&w);
    world_command(&w, "c1", A, "ON", w.now_ms + 60000);
    (void)world_trace(&w);
    rp_batch_area_off(&w.b, 1, RP_OFF_OPERATOR, true);
    world_apply(&w);
    assert_string_equal(world_trace(&w),
                        "avail a unknown\ncommand c1 failed\n"
                        "avail b unknown\narea north unknown\n");
    assert_string_equal(rp_store_command(w.s, "c1")->reason, "the area was switched off");
    assert_int_equal(rp_store_online(w.s), 0);
    told(&w, A, RP_ONLINE);
    world_report(&w, A, RP_ON, w.now_ms, 1);
    world_command(&w, "c2", A, "ON", w.now_ms + 60000);
    assert_int_equal(avail(&w, A), RP_AVAIL_UNKNOWN);
    assert_string_equal(world_trace(&w),
                        "refused command c2: its area is switched off\n");
    assert_true(rp_store_readings_last(w.s) == 0);
    /* Two hands on the switch: on again when both let go. */
    rp_batch_area_off(&w.b, 1, RP_OFF_CONFIG, true);
    rp_batch_area_off(&w.b, 1, RP_OFF_OPERATOR, false);
    world_apply(&w);
    assert_int_equal(rp_store_area(w.s, 1)->off, RP_OFF_CONFIG);
    rp_batch_area_off(&w.b, 1, RP_OFF_CONFIG, false);
    world_apply(&w);
    told(&w, A, RP_ONLINE);
    assert_int_equal(avail(&w, A), RP_ONLINE);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bridge_that_has_settled_is_believed_at_once),
        cmocka_unit_test(a_starting_bridge_takes_nobody_offline),
        cmocka_unit_test(who_is_still_said_to_be_offline_then_is),
        cmocka_unit_test(nobody_lapses_while_the_bridge_is_away),
        cmocka_unit_test(who_has_no_availability_is_offline_when_silent),
        cmocka_unit_test(who_was_never_heard_is_offline_when_silent_too),
        cmocka_unit_test(who_lapsed_and_is_then_spoken_of_is_the_bridges),
        cmocka_unit_test(an_area_that_is_off_says_nothing_and_takes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

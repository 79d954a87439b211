/* State messages: what is new, what was known, what comes late. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static const struct rp_device *device(const struct world *w, uint64_t ieee)
{
    return rp_store_device(w->s, ieee);
}

static uint64_t readings(const struct world *w)
{
    return rp_store_readings_last(w->s);
}

static void a_cached_message_is_no_sign_of_life(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    world_report_full(&w, &(struct rp_report){.ieee = A,
                                              .state = RP_ON,
                                              .cached = true,
                                              .last_seen_ms = T0 - 5000,
                                              .payload_hash = 1});
    assert_int_equal(device(&w, A)->avail, RP_AVAIL_UNKNOWN);
    assert_int_equal(device(&w, A)->state, RP_ON);
    world_close(&w);
}

static void a_report_of_a_stranger_is_counted_and_forgotten(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    world_report(&w, STRANGER, RP_ON, T0, 1);
    assert_true(rp_store_stats(w.s)->unknown_devices == 1);
    assert_true(readings(&w) == 0);
    assert_string_equal(world_trace(&w), "");
    world_close(&w);
}

static void a_report_changes_only_what_it_has(void **state)
{
    struct world w;
    const struct rp_reading *r;

    (void)state;
    world_with_devices(&w, NULL);
    world_report_full(&w, &(struct rp_report){.ieee = A,
                                              .state = RP_ON,
                                              .last_seen_ms = T0 - 3,
                                              .payload_hash = 1,
                                              .values = {.has = 31,
                                                         .energy_mwh = 7,
                                                         .power_mw = -5,
                                                         .voltage_mv = 230000,
                                                         .current_ma = 4,
                                                         .linkquality = 99}});
    world_report_full(
        &w, &(struct rp_report){.ieee = A,
                                .last_seen_ms = T0 - 2,
                                .payload_hash = 2,
                                .values = {.has = RP_HAS_ENERGY, .energy_mwh = 8}});
    assert_int_equal(device(&w, A)->state, RP_ON);
    assert_int_equal(device(&w, A)->values.has, 31);
    assert_int_equal(device(&w, A)->values.energy_mwh, 8);
    assert_int_equal(device(&w, A)->values.power_mw, -5);
    assert_int_equal(device(&w, A)->values.linkquality, 99);
    assert_true(device(&w, A)->last_seen_ms == T0 - 2);
    assert_true(device(&w, A)->payload_hash == 2);
    r = rp_store_reading(w.s, 1);
    assert_int_equal(r->values.power_mw, -5);
    assert_int_equal(r->state, RP_ON);
    assert_true(r->ieee == A && r->time_ms == T0 - 3);
    r = rp_store_reading(w.s, 2);
    assert_int_equal(r->values.has, RP_HAS_ENERGY);
    assert_int_equal(r->state, RP_SWITCH_UNKNOWN);
    world_close(&w);
}

static void only_measured_values_make_a_reading(void **state)
{
    static const uint16_t measured[] = {RP_HAS_POWER, RP_HAS_VOLTAGE, RP_HAS_CURRENT,
                                        RP_HAS_ENERGY};
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    world_report_full(&w, &(struct rp_report){.ieee = A,
                                              .state = RP_ON,
                                              .payload_hash = 1,
                                              .values.has = RP_HAS_LINKQUALITY});
    assert_true(readings(&w) == 0);
    for (unsigned i = 0; i < 4; i++) {
        world_report_full(
            &w, &(struct rp_report){
                    .ieee = A, .payload_hash = 2 + i, .values.has = measured[i]});
        assert_true(readings(&w) == i + 1);
        /* The bridge gives no time: that of the entry, once for each report. */
        assert_true(rp_store_reading(w.s, i + 1)->time_ms == T0 + 1 + i);
    }
    world_close(&w);
}

static void a_redelivery_is_dropped(void **state)
{
    struct rp_report r = {.ieee = A, .payload_hash = 7, .values.has = RP_HAS_POWER};
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    world_report_full(&w, &r);
    r.redelivered = true;
    world_report_full(&w, &r);
    assert_true(readings(&w) == 1);
    assert_true(rp_store_stats(w.s)->duplicates == 1);
    /* Not marked, no time in it: it may well be a new message that says the same. */
    r.redelivered = false;
    world_report_full(&w, &r);
    assert_true(readings(&w) == 2);
    r.redelivered = true;
    r.payload_hash = 8;
    world_report_full(&w, &r); /* First seen now. */
    assert_true(readings(&w) == 3);
    world_close(&w);
}

static void all_that_was_not_acknowledged_may_come_again(void **state)
{
    struct rp_report r[4] = {
        {.ieee = A, .payload_hash = 1, .last_seen_ms = T0 + 1},
        {.ieee = A, .payload_hash = 2, .last_seen_ms = T0 + 2},
        {.ieee = A, .payload_hash = 3, .last_seen_ms = T0 + 2}, /* Same frame. */
        {.ieee = A, .payload_hash = 4, .last_seen_ms = T0 + 3},
    };
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    for (unsigned i = 0; i < 3; i++) {
        r[i].values.has = RP_HAS_POWER;
        world_report_full(&w, &r[i]);
    }
    r[3].values.has = RP_HAS_POWER;
    for (unsigned i = 0; i < 4; i++) {
        r[i].redelivered = true;
        world_report_full(&w, &r[i]); /* The last one never made it before. */
    }
    assert_true(readings(&w) == 4);
    assert_true(rp_store_stats(w.s)->duplicates == 3);
    world_close(&w);
}

static void equal_frames_of_one_moment_are_one_report(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    world_report(&w, A, RP_ON, T0, 7);
    world_report(&w, A, RP_ON, T0, 7);
    world_report(&w, A, RP_ON, T0, 7);
    assert_true(readings(&w) == 1);
    assert_true(rp_store_stats(w.s)->duplicates == 2);
    assert_string_equal(world_trace(&w), "avail a online\nstate a on\nreport a\n");
    world_report(&w, A, RP_ON, T0 + 1, 7);
    assert_true(readings(&w) == 2);
    world_close(&w);
}

static void a_late_report_is_a_reading_but_not_the_state(void **state)
{
    struct world w;
    struct rp_report late = {.ieee = A,
                             .state = RP_OFF,
                             .last_seen_ms = T0 - 50,
                             .payload_hash = 2,
                             .values = {.has = RP_HAS_POWER, .power_mw = 5}};

    (void)state;
    world_with_devices(&w, NULL);
    world_report(&w, A, RP_ON, T0, 1);
    world_report_full(&w, &late);
    assert_int_equal(device(&w, A)->state, RP_ON);
    assert_int_equal(device(&w, A)->values.power_mw, 1000);
    assert_true(device(&w, A)->last_seen_ms == T0);
    assert_true(readings(&w) == 2);
    assert_true(rp_store_reading(w.s, 2)->time_ms == T0 - 50);
    world_report_full(&w, &late); /* Its second frame. */
    assert_true(readings(&w) == 2);
    late.payload_hash = 3;
    late.cached = true;
    world_report_full(&w, &late);
    assert_true(readings(&w) == 2);
    assert_true(rp_store_stats(w.s)->duplicates == 2);
    world_close(&w);
}

static void a_cache_adds_only_what_is_newer_than_all(void **state)
{
    struct world w;
    struct rp_report r = {.ieee = A,
                          .state = RP_OFF,
                          .cached = true,
                          .last_seen_ms = T0,
                          .payload_hash = 2,
                          .values.has = RP_HAS_POWER};

    (void)state;
    world_with_devices(&w, NULL);
    world_report(&w, A, RP_ON, T0, 1);
    world_report_full(&w, &r); /* The same moment, told in other words. */
    assert_true(readings(&w) == 1);
    r.last_seen_ms = T0 + 1;
    r.payload_hash = 3;
    world_report_full(&w, &r); /* Measured while nobody listened. */
    assert_true(readings(&w) == 2);
    world_close(&w);
}

static void a_clock_far_ahead_is_not_believed(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    world_report(&w, A, RP_ON, T0 + RP_AHEAD_MAX_MS + 1, 1);
    assert_true(device(&w, A)->last_seen_ms == 0);
    assert_true(rp_store_reading(w.s, 1)->time_ms == T0);
    world_report(&w, A, RP_OFF, T0 + RP_AHEAD_MAX_MS, 2);
    assert_true(device(&w, A)->last_seen_ms == T0 + RP_AHEAD_MAX_MS);
    assert_int_equal(device(&w, A)->state, RP_OFF);
    world_close(&w);
}

static void postgres_is_told_of_changes_and_of_life_once_a_minute(void **state)
{
    struct world w;
    uint64_t revision;

    (void)state;
    world_with_devices(&w, NULL);
    world_report(&w, A, RP_ON, T0, 1);
    revision = rp_store_revision(w.s);
    for (uint64_t t = 1000; t < 60000; t += 1000) {
        w.now_ms = T0 + t;
        world_report(&w, A, RP_ON, T0 + t, t);
    }
    assert_true(rp_store_revision(w.s) == revision);
    w.now_ms = T0 + 60000;
    world_report(&w, A, RP_ON, T0 + 60000, 2);
    assert_true(rp_store_revision(w.s) == revision + 1);
    world_report(&w, A, RP_OFF, T0 + 60001, 3);
    assert_true(rp_store_revision(w.s) == revision + 2);
    assert_ptr_equal(rp_store_device_changed(w.s, revision), device(&w, A));
    assert_null(rp_store_device_changed(w.s, revision + 2));
    assert_ptr_equal(rp_store_device_changed(w.s, 0), device(&w, B));
    world_close(&w);
}

/* All that waited at the broker comes in one entry. */
static void readings_without_times_get_one_each(void **state)
{
    struct world w;
    uint64_t before = 0;

    (void)state;
    world_with_devices(&w, NULL);
    for (unsigned i = 0; i < 3; i++) {
        for (uint64_t d = A; d != 0; d = d == A ? B : 0) {
            rp_batch_report(&w.b,
                            &(struct rp_report){
                                .ieee = d,
                                .payload_hash = 10 + i,
                                .values = {.has = RP_HAS_POWER, .power_mw = (int32_t)i}});
        }
    }
    world_apply(&w);
    assert_true(rp_store_readings_last(w.s) == 6);
    for (uint64_t q = 1; q <= 6; q += 2) {
        assert_true(rp_store_reading(w.s, q)->ieee == A);
        assert_true(rp_store_reading(w.s, q)->time_ms == T0 + (q - 1) / 2);
        assert_true(rp_store_reading(w.s, q)->time_ms > before);
        before = rp_store_reading(w.s, q)->time_ms;
    }
    w.now_ms++; /* The next entry is early: still later than the last reading. */
    world_report(&w, A, RP_ON, 0, 99);
    assert_true(rp_store_reading(w.s, 7)->time_ms == T0 + 3);
    w.now_ms += 1000;
    world_report(&w, A, RP_ON, 0, 100);
    assert_true(rp_store_reading(w.s, 8)->time_ms == T0 + 1001);
    world_close(&w);
}

static void a_device_without_times_is_alive_too(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    w.now_ms = T0 + 7;
    world_report(&w, A, RP_ON, 0, 1);
    assert_int_equal(device(&w, A)->avail, RP_ONLINE);
    assert_true(device(&w, A)->last_seen_ms == 0);
    assert_true(device(&w, A)->updated_ms == T0 + 7);
    w.now_ms = T0 + 9;
    world_report(&w, A, RP_ON, 0, 1); /* The same again changes only this: */
    assert_true(device(&w, A)->updated_ms == T0 + 9);
    world_close(&w);
}

static void the_first_time_seen_is_told_at_once(void **state)
{
    struct world w;
    uint64_t revision;

    (void)state;
    world_with_devices(&w, NULL);
    rp_batch_avail(&w.b, A, RP_ONLINE);
    world_apply(&w);
    revision = rp_store_revision(w.s);
    w.now_ms = T0 + 100000; /* The bridge's clock is behind ours. */
    world_report(&w, A, RP_SWITCH_UNKNOWN, T0, 1);
    assert_true(rp_store_revision(w.s) == revision + 1);
    world_report(&w, A, RP_SWITCH_UNKNOWN, T0 + 59999, 2);
    assert_true(rp_store_revision(w.s) == revision + 1);
    world_report(&w, A, RP_SWITCH_UNKNOWN, T0 + 60000, 3);
    assert_true(rp_store_revision(w.s) == revision + 2);
    world_close(&w);
}

/* More than a device remembers: what is older than the newest was taken. */
static void a_long_backlog_may_come_again(void **state)
{
    struct world w;
    struct rp_report r = {.ieee = A, .values.has = RP_HAS_POWER};

    (void)state;
    world_with_devices(&w, NULL);
    for (unsigned again = 0; again < 2; again++) {
        r.redelivered = again != 0;
        for (uint64_t i = 1; i <= 20; i++) {
            r.last_seen_ms = T0 + i;
            r.payload_hash = i;
            world_report_full(&w, &r);
        }
        assert_true(readings(&w) == 20);
    }
    /* Late ones, each in two frames. */
    r.redelivered = false;
    for (uint64_t i = 1; i <= 3; i++) {
        r.last_seen_ms = T0 - 100 * i;
        r.payload_hash = 100 + i;
        world_report_full(&w, &r);
        world_report_full(&w, &r);
        assert_true(readings(&w) == 20 + i);
    }
    world_close(&w);
}

static void of_one_moment_the_newest_messages_are_remembered(void **state)
{
    struct world w;
    struct rp_report r = {.ieee = A, .values.has = RP_HAS_POWER};

    (void)state;
    world_with_devices(&w, NULL);
    for (uint64_t i = 1; i <= RP_RECENT_NR + 1; i++) {
        world_report(&w, A, RP_ON, T0, i);
    }
    world_report(&w, A, RP_ON, T0 - 1, 99); /* A late one comes between. */
    r.redelivered = true;
    r.last_seen_ms = T0;
    r.payload_hash = RP_RECENT_NR + 1;
    world_report_full(&w, &r);
    assert_true(readings(&w) == RP_RECENT_NR + 2);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cached_message_is_no_sign_of_life),
        cmocka_unit_test(a_report_of_a_stranger_is_counted_and_forgotten),
        cmocka_unit_test(a_report_changes_only_what_it_has),
        cmocka_unit_test(only_measured_values_make_a_reading),
        cmocka_unit_test(a_redelivery_is_dropped),
        cmocka_unit_test(all_that_was_not_acknowledged_may_come_again),
        cmocka_unit_test(equal_frames_of_one_moment_are_one_report),
        cmocka_unit_test(a_late_report_is_a_reading_but_not_the_state),
        cmocka_unit_test(a_cache_adds_only_what_is_newer_than_all),
        cmocka_unit_test(a_clock_far_ahead_is_not_believed),
        cmocka_unit_test(postgres_is_told_of_changes_and_of_life_once_a_minute),
        cmocka_unit_test(readings_without_times_get_one_each),
        cmocka_unit_test(a_device_without_times_is_alive_too),
        cmocka_unit_test(the_first_time_seen_is_told_at_once),
        cmocka_unit_test(a_long_backlog_may_come_again),
        cmocka_unit_test(of_one_moment_the_newest_messages_are_remembered),
    };

    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}

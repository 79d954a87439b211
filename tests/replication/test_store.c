/* The rules of the state machine, one sentence each; see also test_report.c and
 * test_ledger.c. */

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

static void time_never_goes_back(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, NULL);
    world_tick(&w, T0 + 10);
    world_tick(&w, T0 + 5);
    assert_true(rp_store_now(w.s) == T0 + 10);
    world_close(&w);
}

static void an_area_is_known_by_name_and_by_topic(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, NULL);
    rp_batch_area(&w.b, "north", "z2m-north");
    rp_batch_area(&w.b, "south", "z2m-south");
    rp_batch_area(&w.b, "north", "z2m-north");
    world_apply(&w);
    assert_string_equal(world_trace(&w), "area north unknown\narea south unknown\n");
    assert_int_equal(rp_store_areas(w.s), 2);
    assert_int_equal(rp_store_area_named(w.s, "south")->nr, 2);
    assert_int_equal(rp_store_area_of_topic(w.s, "z2m-north")->nr, 1);
    assert_null(rp_store_area_named(w.s, "west"));
    assert_null(rp_store_area(w.s, 0));
    assert_null(rp_store_area(w.s, 3));
    world_close(&w);
}

static void another_topic_is_another_bridge(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    rp_batch_bridge(&w.b, 1, RP_ONLINE, true);
    rp_batch_area(&w.b, "north", "z2m-new");
    world_apply(&w);
    assert_string_equal(world_trace(&w), "bridge north online\narea north unknown\n");
    assert_int_equal(rp_store_area_of_topic(w.s, "z2m-new")->nr, 1);
    assert_true(rp_store_area(w.s, 1)->ready_at_ms == 0);
    world_close(&w);
}

static void a_bridge_is_ready_from_its_info_until_it_is_offline(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    rp_batch_bridge(&w.b, 1, RP_ONLINE, false);
    world_apply(&w);
    assert_true(rp_store_area(w.s, 1)->ready_at_ms == 0);
    w.now_ms = T0 + 100;
    rp_batch_bridge(&w.b, 1, RP_OFFLINE, true); /* Info outweighs a stale state. */
    world_apply(&w);
    assert_true(rp_store_area(w.s, 1)->ready_at_ms == T0 + 100);
    assert_int_equal(rp_store_area(w.s, 1)->bridge, RP_ONLINE);
    assert_true(rp_store_area(w.s, 1)->bridge_at_ms == T0);
    rp_batch_bridge(&w.b, 1, RP_ONLINE, false); /* Nothing new. */
    world_apply(&w);
    assert_string_equal(world_trace(&w), "bridge north online\nbridge north online\n");
    rp_batch_bridge(&w.b, 1, RP_OFFLINE, false);
    world_apply(&w);
    assert_true(rp_store_area(w.s, 1)->ready_at_ms == 0);
    assert_true(rp_store_area(w.s, 1)->bridge_at_ms == T0 + 100);
    rp_batch_bridge(&w.b, 1, RP_ONLINE, true);
    rp_batch_bridge(&w.b, 1, RP_AVAIL_UNKNOWN, false);
    world_apply(&w);
    assert_true(rp_store_area(w.s, 1)->ready_at_ms == 0);
    rp_batch_bridge(&w.b, 9, RP_ONLINE, false);
    world_apply(&w);
    assert_string_equal(world_trace(&w),
                        "bridge north offline\nbridge north online\n"
                        "bridge north unknown\nrefused bridge: there is no area 9\n");
    world_close(&w);
}

static void the_watch_follows_the_highest_term(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, NULL);
    rp_batch_watch(&w.b, 5, 2);
    rp_batch_watch(&w.b, 4, 1);
    rp_batch_watch(&w.b, 5, 3);
    world_apply(&w);
    assert_string_equal(world_trace(&w), "watch 5 2\nwatch 5 3\n");
    assert_int_equal(rp_store_watch_node(w.s), 3);
    assert_true(rp_store_watch_term(w.s) == 5);
    assert_true(rp_store_watch_since(w.s) == T0);
    world_close(&w);
}

static void a_device_is_told_once_and_when_it_changes(void **state)
{
    struct world w;
    uint64_t revision;

    (void)state;
    world_with_devices(&w, NULL);
    revision = rp_store_revision(w.s);
    rp_batch_device(&w.b, 1, A, "a", "plug");
    world_apply(&w);
    assert_string_equal(world_trace(&w), "");
    assert_true(rp_store_revision(w.s) == revision);
    rp_batch_device(&w.b, 1, A, "a", "meter");
    world_apply(&w);
    rp_batch_device(&w.b, 1, A, "pitch-1", "meter");
    world_apply(&w);
    assert_string_equal(world_trace(&w), "device a\ndevice pitch-1\n");
    assert_true(rp_store_revision(w.s) == revision + 2);
    assert_null(rp_store_device_named(w.s, 0, "a", NULL));
    assert_ptr_equal(rp_store_device_named(w.s, 1, "pitch-1", NULL), device(&w, A));
    assert_null(rp_store_device_named(w.s, 2, "pitch-1", NULL));
    rp_batch_device(&w.b, 7, STRANGER, "x", "");
    world_apply(&w);
    assert_string_equal(world_trace(&w), "refused device x: there is no area 7\n");
    world_close(&w);
}

static void of_devices_with_one_name_the_listed_one_is_meant(void **state)
{
    struct world w;
    uint32_t n;

    (void)state;
    world_with_devices(&w, NULL);
    rp_batch_area(&w.b, "south", "z2m-south");
    rp_batch_device(&w.b, 2, B, "a", "plug"); /* Moves to the south, too. */
    world_apply(&w);
    assert_ptr_equal(rp_store_device_named(w.s, 0, "a", &n), device(&w, A));
    assert_int_equal(n, 2);
    assert_ptr_equal(rp_store_device_named(w.s, 2, "a", &n), device(&w, B));
    assert_int_equal(n, 1);
    assert_int_equal(rp_store_area(w.s, 1)->devices, 1);
    assert_int_equal(rp_store_area(w.s, 2)->devices, 1);
    rp_batch_gone(&w.b, A);
    world_apply(&w);
    assert_ptr_equal(rp_store_device_named(w.s, 0, "a", &n), device(&w, B));
    assert_int_equal(n, 1);
    world_close(&w);
}

static void a_gone_device_fails_its_commands_and_is_not_listened_to(void **state)
{
    struct world w;
    uint64_t revision;

    (void)state;
    world_with_devices(&w, NULL);
    world_report(&w, A, RP_ON, T0, 1);
    world_command(&w, "c1", A, "OFF", T0 + 1000);
    assert_int_equal(rp_store_online(w.s), 1);
    (void)world_trace(&w);
    revision = rp_store_revision(w.s);
    rp_batch_gone(&w.b, A);
    rp_batch_gone(&w.b, A);
    world_apply(&w);
    assert_string_equal(world_trace(&w), "gone a\ncommand c1 failed\n");
    assert_string_equal(rp_store_command(w.s, "c1")->reason,
                        "the device was removed from its bridge");
    assert_true(rp_store_ended(w.s, RP_FAILED) == 1);
    assert_true(rp_store_revision(w.s) == revision + 2);
    assert_false(device(&w, A)->listed);
    assert_int_equal(rp_store_online(w.s), 0);
    world_report(&w, A, RP_OFF, T0 + 5, 2);
    rp_batch_avail(&w.b, A, RP_OFFLINE); /* Retained for ever at the broker. */
    world_apply(&w);
    assert_string_equal(world_trace(&w), "");
    assert_true(rp_store_stats(w.s)->unknown_devices == 3);
    rp_batch_device(&w.b, 1, A, "a", "plug");
    world_apply(&w);
    assert_string_equal(world_trace(&w), "device a\n");
    assert_int_equal(rp_store_online(w.s), 1);
    world_close(&w);
}

static void availability_is_what_the_bridge_says(void **state)
{
    struct world w;
    uint64_t revision;

    (void)state;
    world_with_devices(&w, NULL);
    revision = rp_store_revision(w.s);
    rp_batch_avail(&w.b, A, RP_OFFLINE);
    rp_batch_avail(&w.b, A, RP_OFFLINE);
    rp_batch_avail(&w.b, STRANGER, RP_ONLINE);
    world_apply(&w);
    assert_string_equal(world_trace(&w), "avail a offline\n");
    assert_true(rp_store_revision(w.s) == revision + 1);
    assert_true(rp_store_stats(w.s)->unknown_devices == 1);
    /* Its own message does not bring it back, the bridge will say so. */
    world_report(&w, A, RP_ON, T0, 1);
    assert_int_equal(device(&w, A)->avail, RP_OFFLINE);
    /* B was never spoken of: a message is the only sign of life there is. */
    world_report(&w, B, RP_ON, T0, 1);
    assert_int_equal(device(&w, B)->avail, RP_ONLINE);
    assert_string_equal(world_trace(&w),
                        "state a on\nreport a\navail b online\nstate b on\nreport b\n");
    world_close(&w);
}

static void shipped_only_moves_forward(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    for (uint64_t i = 1; i <= 5; i++) {
        world_report(&w, A, RP_ON, T0 + i, i);
    }
    rp_batch_shipped(&w.b, 3, 2);
    rp_batch_shipped(&w.b, 2, 1);
    world_apply(&w);
    assert_true(rp_store_readings_first(w.s) == 4);
    assert_true(rp_store_readings_shipped(w.s) == 3);
    assert_true(rp_store_revision_shipped(w.s) == 2);
    (void)world_trace(&w);
    rp_batch_shipped(&w.b, 6, 2);
    rp_batch_shipped(&w.b, 5, 99);
    world_apply(&w);
    assert_true(rp_store_readings_first(w.s) == 4);
    assert_string_equal(
        world_trace(&w),
        "refused shipped up to reading 6, revision 2: there are only 5, 3\n"
        "refused shipped up to reading 5, revision 99: there are only 5, 3\n");
    rp_batch_shipped(&w.b, 5, 3);
    world_apply(&w);
    assert_true(rp_store_readings_first(w.s) == 6);
    world_close(&w);
}

static void a_checkpoint_that_differs_is_told_and_not_hashed(void **state)
{
    struct world w;
    uint64_t hash;

    (void)state;
    world_with_devices(&w, NULL);
    hash = rp_store_hash(w.s);
    rp_batch_checkpoint(&w.b, w.index, hash);
    rp_batch_checkpoint(&w.b, w.index + 50, 1); /* Not known here. */
    world_apply(&w);
    assert_string_equal(world_trace(&w), "");
    rp_batch_checkpoint(&w.b, 1, hash + 1);
    world_apply(&w);
    assert_string_equal(world_trace(&w), "diverged\n");
    assert_true(rp_store_diverged(w.s));
    assert_true(rp_store_hash(w.s) == rp_digest_all(w.s));
    world_close(&w);
}

static void hashes_are_known_of_the_last_indices(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, NULL);
    for (unsigned i = 1; i <= 1030; i++) {
        rp_store_skip(w.s, i);
    }
    assert_true(rp_store_hash_at(w.s, 6) == 0);
    assert_true(rp_store_hash_at(w.s, 7) != 0);
    assert_true(rp_store_hash_at(w.s, 1030) == rp_store_hash(w.s));
    assert_true(rp_store_hash_at(w.s, 1029) != rp_store_hash(w.s));
    assert_true(rp_store_hash_at(w.s, 1031) == 0);
    world_close(&w);
}

static void names_of_states_are_words(void **state)
{
    (void)state;
    assert_string_equal(rp_switch_name(RP_ON), "on");
    assert_string_equal(rp_switch_name(RP_OFF), "off");
    assert_string_equal(rp_switch_name((enum rp_switch)7), "unknown");
    assert_string_equal(rp_avail_name(RP_ONLINE), "online");
    assert_string_equal(rp_avail_name(RP_AVAIL_UNKNOWN), "unknown");
    for (int i = RP_ACCEPTED; i < RP_STATUS_NR; i++) {
        assert_string_not_equal(rp_command_status_name((enum rp_command_status)i),
                                "unknown");
    }
    assert_string_equal(rp_command_status_name((enum rp_command_status)0), "unknown");
    assert_string_equal(rp_command_status_name(RP_STATUS_NR), "unknown");
}

static void a_device_may_move_to_another_area(void **state)
{
    struct world w;
    uint64_t revision;

    (void)state;
    world_with_devices(&w, NULL);
    rp_batch_area(&w.b, "south", "z2m-south");
    world_apply(&w);
    revision = rp_store_revision(w.s);
    (void)world_trace(&w);
    rp_batch_device(&w.b, 2, A, "a", "plug");
    world_apply(&w);
    assert_string_equal(world_trace(&w), "device a\n");
    assert_int_equal(device(&w, A)->area, 2);
    assert_true(rp_store_revision(w.s) == revision + 1);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_never_goes_back),
        cmocka_unit_test(an_area_is_known_by_name_and_by_topic),
        cmocka_unit_test(another_topic_is_another_bridge),
        cmocka_unit_test(a_bridge_is_ready_from_its_info_until_it_is_offline),
        cmocka_unit_test(the_watch_follows_the_highest_term),
        cmocka_unit_test(a_device_is_told_once_and_when_it_changes),
        cmocka_unit_test(of_devices_with_one_name_the_listed_one_is_meant),
        cmocka_unit_test(a_gone_device_fails_its_commands_and_is_not_listened_to),
        cmocka_unit_test(availability_is_what_the_bridge_says),
        cmocka_unit_test(shipped_only_moves_forward),
        cmocka_unit_test(a_checkpoint_that_differs_is_told_and_not_hashed),
        cmocka_unit_test(hashes_are_known_of_the_last_indices),
        cmocka_unit_test(names_of_states_are_words),
        cmocka_unit_test(a_device_may_move_to_another_area),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}

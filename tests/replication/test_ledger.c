/* The ledger: every command ends, in one way, and says why. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static void a_command_is_confirmed_by_the_device_itself(void **state)
{
    struct world w;
    const struct rp_command *c;

    (void)state;
    world_with_devices(&w, NULL);
    world_report(&w, A, RP_ON, T0, 1);
    world_command(&w, "c1", A, "OFF", T0 + 60000);
    world_report(&w, A, RP_OFF, T0 + 1, 2); /* Not sent yet: not our doing. */
    world_report(&w, A, RP_ON, T0 + 2, 3);
    world_sent(&w, 1, 1);
    c = rp_store_command(w.s, "c1");
    assert_true(c->sent_last_seen_ms == T0 + 2);
    world_report(&w, A, RP_ON, T0 + 3, 4);  /* Still on. */
    world_report(&w, B, RP_OFF, T0 + 4, 5); /* Another one. */
    world_report(&w, A, RP_SWITCH_UNKNOWN, T0 + 5, 6);
    assert_int_equal(c->status, RP_SENT);
    (void)world_trace(&w);
    w.now_ms = T0 + 9;
    world_report(&w, A, RP_OFF, T0 + 6, 7);
    assert_string_equal(world_trace(&w), "state a off\nreport a\ncommand c1 confirmed\n");
    assert_int_equal(c->status, RP_CONFIRMED);
    assert_true(c->ended_ms == T0 + 9);
    assert_true(rp_store_ended(w.s, RP_CONFIRMED) == 1);
    world_close(&w);
}

/* The answer to the command before comes between the commit of an attempt and its
 * publish, and has a last_seen that nobody had seen. (The bridge repeats the old state
 * first.) To believe it would be to leave the device as it is. */
static void what_came_before_it_left_does_not_confirm(void **state)
{
    struct world w;
    const struct rp_command *c;

    (void)state;
    world_with_devices(&w, NULL);
    world_report(&w, A, RP_ON, T0, 1);
    world_command(&w, "c1", A, "ON", T0 + 60000);
    rp_batch_going(&w.b, 1, 1, T0 + 2000);
    world_report(&w, A, RP_ON, T0 + 5, 2);
    c = rp_store_command(w.s, "c1");
    assert_int_equal(c->status, RP_SENT);
    rp_batch_left(&w.b, 1, 2); /* Of another attempt. */
    world_report(&w, A, RP_ON, T0 + 6, 3);
    assert_int_equal(c->status, RP_SENT);
    world_report(&w, A, RP_OFF, T0 + 7, 4);
    rp_batch_left(&w.b, 1, 1);
    world_report(&w, A, RP_ON, T0 + 7, 5); /* As old as what was known when it left. */
    assert_int_equal(c->status, RP_SENT);
    world_report(&w, A, RP_ON, T0 + 8, 6);
    assert_int_equal(c->status, RP_CONFIRMED);
    world_close(&w);
}

static void what_the_device_said_before_does_not_confirm(void **state)
{
    struct rp_report r = {
        .ieee = A, .state = RP_OFF, .last_seen_ms = T0, .payload_hash = 2};
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    world_report(&w, A, RP_ON, T0, 1);
    world_command(&w, "c1", A, "OFF", T0 + 60000);
    world_sent(&w, 1, 1);
    world_report_full(&w, &r); /* As old as what was known when it was sent. */
    r.last_seen_ms = T0 + 1;
    r.payload_hash = 3;
    r.cached = true;
    world_report_full(&w, &r);
    assert_int_equal(rp_store_command(w.s, "c1")->status, RP_SENT);
    r.cached = false;
    r.payload_hash = 4;
    world_sent(&w, 1, 2);
    world_report_full(&w, &r); /* The cached one moved last_seen on. */
    assert_int_equal(rp_store_command(w.s, "c1")->status, RP_SENT);
    r.last_seen_ms = 0; /* No time at all: then the value has to do. */
    world_report_full(&w, &r);
    assert_int_equal(rp_store_command(w.s, "c1")->status, RP_CONFIRMED);
    world_close(&w);
}

static void an_id_is_submitted_once(void **state)
{
    struct world w;
    uint64_t hash;

    (void)state;
    world_with_devices(&w, NULL);
    world_command(&w, "c1", A, "OFF", T0 + 1000);
    (void)world_trace(&w);
    hash = rp_store_hash(w.s) - rp_digest_meta(w.s);
    world_command(&w, "c1", B, "ON", T0 + 9000);
    assert_string_equal(world_trace(&w), "command c1 accepted\n");
    assert_true(rp_store_hash(w.s) - rp_digest_meta(w.s) == hash);
    rp_batch_end(&w.b, 1, RP_CANCELLED, "changed my mind");
    world_apply(&w);
    world_command(&w, "c1", A, "OFF", T0 + 1000);
    assert_string_equal(world_trace(&w), "command c1 cancelled\ncommand c1 cancelled\n");
    world_close(&w);
}

static void a_newer_command_supersedes_the_older(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    world_command(&w, "c1", A, "OFF", T0 + 1000);
    world_sent(&w, 1, 1);
    world_command(&w, "c2", B, "OFF", T0 + 1000);
    rp_batch_command(&w.b, "c3", A, "power_on", "ON", "cli", T0 + 1000);
    world_apply(&w);
    (void)world_trace(&w);
    world_command(&w, "c4", A, "ON", T0 + 1000);
    assert_string_equal(world_trace(&w), "command c1 superseded\ncommand c4 accepted\n");
    assert_string_equal(rp_store_command(w.s, "c1")->reason, "superseded by c4");
    assert_int_equal(rp_store_open_commands(w.s), 3);
    world_close(&w);
}

static void a_command_nobody_can_carry_out_is_refused(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    rp_batch_gone(&w.b, B);
    world_apply(&w);
    (void)world_trace(&w);
    world_command(&w, "c1", STRANGER, "ON", T0 + 1000);
    world_command(&w, "c2", B, "ON", T0 + 1000);
    assert_string_equal(world_trace(&w),
                        "refused command c1: there is no such device\n"
                        "refused command c2: the device was removed from its bridge\n");
    assert_int_equal(rp_store_commands(w.s), 0);
    assert_true(rp_store_stats(w.s)->refused == 2);
    world_close(&w);
}

static void deadlines_end_commands_in_order(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    world_command(&w, "c1", B, "ON", T0 + 20);
    world_command(&w, "c2", A, "ON", T0 + 10);
    world_sent(&w, 2, 1);
    (void)world_trace(&w);
    world_tick(&w, T0 + 9);
    assert_string_equal(world_trace(&w), "");
    world_tick(&w, T0 + 10);
    assert_string_equal(world_trace(&w), "command c2 expired\n");
    world_command(&w, "c3", A, "ON", T0 + 15);
    (void)world_trace(&w);
    w.now_ms = T0 + 500;
    world_report(&w, STRANGER, RP_ON, 0, 0); /* Every entry moves the time on. */
    assert_string_equal(world_trace(&w), "command c1 expired\ncommand c3 expired\n");
    assert_string_equal(rp_store_command(w.s, "c1")->reason,
                        "deadline passed before it could be sent");
    assert_string_equal(rp_store_command(w.s, "c2")->reason,
                        "deadline passed without a confirmation by the device");
    assert_true(rp_store_ended(w.s, RP_EXPIRED) == 3);
    world_close(&w);
}

static void a_command_that_comes_too_late_expires_at_once(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    world_command(&w, "c1", A, "ON", T0);
    assert_string_equal(world_trace(&w), "command c1 accepted\ncommand c1 expired\n");
    world_close(&w);
}

static void attempts_are_counted_one_by_one(void **state)
{
    struct world w;
    const struct rp_command *c;

    (void)state;
    world_with_devices(&w, NULL);
    world_command(&w, "c1", A, "ON", T0 + 60000);
    c = rp_store_command(w.s, "c1");
    world_sent(&w, 1, 2);
    world_sent(&w, 1, 0);
    world_sent(&w, 9, 1);
    assert_int_equal(c->status, RP_ACCEPTED);
    w.now_ms = T0 + 5;
    world_sent(&w, 1, 1);
    assert_int_equal(c->status, RP_SENT);
    w.now_ms = T0 + 6;
    world_sent(&w, 1, 1); /* Two leaders announced the same attempt. */
    world_sent(&w, 1, 2);
    assert_int_equal(c->attempts, 2);
    assert_true(c->sent_ms == T0 + 5 && c->retry_ms == T0 + 1006);
    rp_batch_end(&w.b, 1, RP_FAILED, "no route");
    rp_batch_end(&w.b, 1, RP_CANCELLED, "too late");
    rp_batch_end(&w.b, 77, RP_CANCELLED, "never was");
    world_apply(&w);
    assert_int_equal(c->status, RP_FAILED);
    assert_string_equal(c->reason, "no route");
    world_sent(&w, 1, 3);
    assert_int_equal(c->status, RP_FAILED);
    world_close(&w);
}

static void another_property_is_not_confirmed_by_the_state(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    rp_batch_command(&w.b, "c1", A, "power_on", "ON", "cli", T0 + 1000);
    world_apply(&w);
    world_sent(&w, 1, 1);
    world_report(&w, A, RP_ON, T0, 1);
    assert_int_equal(rp_store_command(w.s, "c1")->status, RP_SENT);
    world_close(&w);
}

static void what_the_bridge_said_is_the_reason_when_time_is_over(void **state)
{
    struct world w;
    const struct rp_command *c;

    (void)state;
    world_with_devices(&w, NULL);
    world_command(&w, "c1", A, "ON", T0 + 1000);
    rp_batch_trouble(&w.b, 1, 0, "not sent yet");
    world_apply(&w);
    world_sent(&w, 1, 1);
    (void)world_trace(&w);
    rp_batch_trouble(&w.b, 1, 1, "no route to the device");
    rp_batch_trouble(&w.b, 1, 1, "no route to the device"); /* Said twice. */
    rp_batch_trouble(&w.b, 1, 2, "of another attempt");
    world_apply(&w);
    assert_string_equal(world_trace(&w), "command c1 sent\n");
    c = rp_store_command(w.s, "c1");
    assert_string_equal(c->reason, "no route to the device");
    world_tick(&w, T0 + 1000);
    assert_int_equal(c->status, RP_EXPIRED);
    assert_string_equal(c->reason,
                        "deadline passed; last attempt: no route to the device");
    world_close(&w);
}

static void trouble_is_forgotten_when_the_device_confirms(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    world_command(&w, "c1", A, "ON", T0 + 1000);
    world_sent(&w, 1, 1);
    rp_batch_trouble(&w.b, 1, 1, "no route to the device");
    world_apply(&w);
    world_report(&w, A, RP_ON, T0 + 1, 1);
    assert_int_equal(rp_store_command(w.s, "c1")->status, RP_CONFIRMED);
    assert_string_equal(rp_store_command(w.s, "c1")->reason, "");
    world_close(&w);
}

static void from_table(struct world *w, const char *id, uint64_t ieee)
{
    rp_batch_command(&w->b, id, ieee, "state", "ON", RP_SOURCE_POSTGRES, T0 + 1000);
    world_apply(w);
}

static void a_result_that_postgres_waits_for_makes_no_room(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL); /* room for four */
    world_command(&w, "c1", A, "ON", T0 + 1000);
    from_table(&w, "p2", A);
    from_table(&w, "p3", A);
    from_table(&w, "p4", A);
    from_table(&w, "p5", A); /* c1 may go, it is nobody's. */
    assert_null(rp_store_command(w.s, "c1"));
    assert_non_null(rp_store_command(w.s, "p2"));
    (void)world_trace(&w);
    world_command(&w, "c6", B, "ON", T0 + 1000);
    assert_string_equal(world_trace(&w),
                        "refused command c6: too many results wait for "
                        "Postgres; raise the limit of commands\n");
    from_table(&w, "p6", A); /* Nor may what it would supersede. */
    assert_int_equal(rp_store_command(w.s, "p5")->status, RP_ACCEPTED);
    rp_batch_shipped(&w.b, 0, rp_store_revision(w.s));
    world_apply(&w);
    world_command(&w, "c6", B, "ON", T0 + 1000);
    assert_non_null(rp_store_command(w.s, "c6"));
    assert_null(rp_store_command(w.s, "p2"));
    assert_true(rp_store_results_dropped(w.s) == 1); /* c1, as before */
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_is_confirmed_by_the_device_itself),
        cmocka_unit_test(what_came_before_it_left_does_not_confirm),
        cmocka_unit_test(what_the_device_said_before_does_not_confirm),
        cmocka_unit_test(an_id_is_submitted_once),
        cmocka_unit_test(a_newer_command_supersedes_the_older),
        cmocka_unit_test(a_command_nobody_can_carry_out_is_refused),
        cmocka_unit_test(deadlines_end_commands_in_order),
        cmocka_unit_test(a_command_that_comes_too_late_expires_at_once),
        cmocka_unit_test(attempts_are_counted_one_by_one),
        cmocka_unit_test(another_property_is_not_confirmed_by_the_state),
        cmocka_unit_test(what_the_bridge_said_is_the_reason_when_time_is_over),
        cmocka_unit_test(trouble_is_forgotten_when_the_device_confirms),
        cmocka_unit_test(a_result_that_postgres_waits_for_makes_no_room),
    };

    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}

/* From where on a report may confirm: what the broker gives back to our own reader. */

#include <stdio.h>
#include <string.h>

#include "tests/node/fake_node.h"

enum { A = 0xa, MINUTE = 60000 };

static int open_site(void **state)
{
    (void)state;
    fake_open(3);
    fake_begin();
    fake_lead();
    fake_device(A, 1);
    fake_bridges_ready();
    return 0;
}

static int close_site(void **state)
{
    (void)state;
    fake_close();
    return 0;
}

/* The reader is behind: what it reads now was said before the broker took our message,
 * though nobody had read it when that was published. */
static void what_was_said_before_the_echo_does_not_confirm(void **state)
{
    struct rp_report r = {
        .ieee = A, .state = RP_ON, .last_seen_ms = 200, .payload_hash = 1};

    (void)state;
    fake.mute = true;
    fake_command("c1", A, "ON", MINUTE);
    fake_settle();
    assert_int_equal(fake.published_n, 1);
    rp_batch_report(&fake.batch, &r);
    fake_settle();
    assert_int_equal(fake_known("c1")->status, RP_SENT);
    fake.mute = false;
    fake_settle(); /* The echo. */
    r.payload_hash = 2;
    rp_batch_report(&fake.batch, &r); /* As old as what was known there. */
    fake_settle();
    assert_int_equal(fake_known("c1")->status, RP_SENT);
    r.last_seen_ms = 300;
    rp_batch_report(&fake.batch, &r);
    fake_settle();
    assert_int_equal(fake_known("c1")->status, RP_CONFIRMED);
}

static void says(enum rp_switch state, uint64_t last_seen_ms)
{
    struct rp_report r = {.ieee = A,
                          .state = state,
                          .last_seen_ms = last_seen_ms,
                          .payload_hash = last_seen_ms};

    rp_batch_report(&fake.batch, &r);
    fake_settle();
}

/* Nor does it pass for the answer to the command before, whose first message, the state
 * before it, is what the next one wants. */
static void what_was_said_before_the_echo_answers_nothing(void **state)
{
    (void)state;
    fake.mute = true;
    fake_command("c1", A, "ON", MINUTE);
    fake_settle();
    says(RP_ON, 200);
    fake_pass(20, true); /* The pace. */
    fake_command("c2", A, "OFF", MINUTE);
    fake_settle();
    assert_int_equal(fake.published_n, 2);
    fake.mute = false;
    fake_settle();
    says(RP_OFF, 300);
    assert_int_equal(fake_known("c2")->status, RP_SENT);
    says(RP_ON, 400);
    assert_int_equal(fake_known("c2")->status, RP_SENT);
    says(RP_OFF, 500);
    assert_int_equal(fake_known("c2")->status, RP_CONFIRMED);
}

/* A broker that does not let us read what is asked of devices: it is waited for once. */
static void without_an_echo_time_has_to_do(void **state)
{
    struct rp_report r = {
        .ieee = A, .state = RP_ON, .last_seen_ms = 200, .payload_hash = 1};

    (void)state;
    fake.mute = true;
    fake_command("c1", A, "ON", 3 * MINUTE);
    fake_settle();
    fake_pass(17000, true);
    rp_batch_report(&fake.batch, &r);
    fake_settle();
    assert_int_equal(fake_known("c1")->status, RP_SENT);
    fake_pass(20000, true);
    r.last_seen_ms = 300;
    r.payload_hash = 2;
    rp_batch_report(&fake.batch, &r);
    fake_settle();
    assert_int_equal(fake_known("c1")->status, RP_CONFIRMED);
    fake_command("c2", A, "ON", MINUTE); /* From now on the publish is the moment. */
    fake_settle();
    r.last_seen_ms = 400;
    r.payload_hash = 3;
    rp_batch_report(&fake.batch, &r);
    fake_settle();
    assert_int_equal(fake_known("c2")->status, RP_CONFIRMED);
}

#define IN_SITE(F) cmocka_unit_test_setup_teardown(F, open_site, close_site)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SITE(what_was_said_before_the_echo_does_not_confirm),
        IN_SITE(what_was_said_before_the_echo_answers_nothing),
        IN_SITE(without_an_echo_time_has_to_do),
    };

    return cmocka_run_group_tests_name("echo", tests, NULL, NULL);
}

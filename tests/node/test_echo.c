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

static void with_the_link(bool of_the_bridge)
{
    if (of_the_bridge) {
        rp_batch_bridge(&fake.batch, 1, RP_OFFLINE, false);
        fake_settle();
        fake_bridges_ready();
    } else {
        fake_links(false);
        fake_links(true);
    }
}

/* A meter that is switched to and fro each second and answers each time, but for the
 * first: the answers must not be taken for those of the attempt before for ever. Of how
 * many seconds was nothing confirmed? */
static unsigned to_and_fro(unsigned seconds)
{
    uint64_t seen_ms = 1000;
    unsigned unconfirmed = 0;
    enum rp_switch state = RP_OFF;

    for (unsigned i = 0; i < seconds; i++) {
        char id[16];

        snprintf(id, sizeof id, "s%u", i);
        fake_command(id, A, i % 2 == 0 ? "OFF" : "ON", MINUTE);
        fake_settle();
        fake_pass(30, true);
        says(state, seen_ms += 10); /* The state before. */
        state = i % 2 == 0 ? RP_OFF : RP_ON;
        says(state, seen_ms += 10);
        fake_pass(970, true);
        unconfirmed += fake_known(id)->status != RP_CONFIRMED;
    }
    return unconfirmed;
}

static void lost_with(bool bridge)
{
    fake_command("lost", A, "ON", MINUTE);
    fake_settle();
    assert_int_equal(fake.published_n, 1);
    with_the_link(bridge);
    fake_pass(100, true);
    assert_in_range(to_and_fro(60), 1, 18);
}

static void what_was_lost_with_its_bridge_holds_nothing_up(void **state)
{
    (void)state;
    lost_with(true);
}

static void what_was_lost_with_a_link_holds_nothing_up(void **state)
{
    (void)state;
    lost_with(false);
}

/* Lost in silence: no link broke. */
static void what_was_lost_is_found_in_the_end(void **state)
{
    (void)state;
    fake_command("lost", A, "ON", MINUTE);
    fake_settle();
    assert_in_range(to_and_fro(120), 1, 56);
}

/* It left before the one that was read back, and was not: it never will be. */
static void what_was_overtaken_holds_nothing_up(void **state)
{
    (void)state;
    fake.mute = true;
    fake_command("lost", A, "ON", MINUTE);
    fake_settle();
    fake.echoed_n = fake.published_n;
    fake.mute = false;
    assert_in_range(to_and_fro(60), 1, 18);
}

/* A watch that died published it, and the broker of this one never had it. Commands that
 * end before they are repeated are each read back once. Of how many is nothing confirmed,
 * and of how many of them at the end? */
static void after_a_relief(bool to_and_fro_too)
{
    uint64_t seen_ms = 1000;
    unsigned unconfirmed = 0;
    unsigned at_the_end = 0;
    char id[16];

    fake.mute = true;
    for (unsigned i = 0; i < 3; i++) {
        snprintf(id, sizeof id, "dead%u", i);
        fake_command(id, A, to_and_fro_too && i % 2 == 1 ? "ON" : "OFF", 1500);
        fake_settle();
        fake_pass(1600, true);
        assert_int_equal(fake_known(id)->status, RP_EXPIRED);
    }
    assert_int_equal(fake.published_n, 3);
    fake_lose(0, 2, fake.term + 1);
    fake_settle();
    fake_ports_closed();
    fake_lead();
    fake_bridges_ready();
    fake_forget();
    fake.echoed_n = fake.published_n;
    fake.mute = false;
    for (unsigned i = 0; i < 40; i++) {
        snprintf(id, sizeof id, "s%u", i);
        fake_command(id, A, "OFF", 1500);
        fake_settle();
        fake_pass(30, true);
        says(RP_OFF, seen_ms += 10);
        fake_pass(1570, true);
        unconfirmed += fake_known(id)->status != RP_CONFIRMED;
        at_the_end += i >= 20 && fake_known(id)->status != RP_CONFIRMED;
    }
    assert_in_range(unconfirmed, 0, to_and_fro_too ? 18 : 0);
    assert_int_equal(at_the_end, 0);
}

static void what_a_dead_watch_sent_holds_nothing_up(void **state)
{
    (void)state;
    after_a_relief(false);
}

static void nor_what_it_sent_to_and_fro(void **state)
{
    (void)state;
    after_a_relief(true);
}

#define IN_SITE(F) cmocka_unit_test_setup_teardown(F, open_site, close_site)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SITE(what_was_said_before_the_echo_does_not_confirm),
        IN_SITE(what_was_said_before_the_echo_answers_nothing),
        IN_SITE(without_an_echo_time_has_to_do),
        IN_SITE(what_was_lost_with_its_bridge_holds_nothing_up),
        IN_SITE(what_was_lost_with_a_link_holds_nothing_up),
        IN_SITE(what_was_lost_is_found_in_the_end),
        IN_SITE(what_was_overtaken_holds_nothing_up),
        IN_SITE(what_a_dead_watch_sent_holds_nothing_up),
        IN_SITE(nor_what_it_sent_to_and_fro),
    };

    return cmocka_run_group_tests_name("echo", tests, NULL, NULL);
}

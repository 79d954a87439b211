/* When a burst of messages is acknowledged to the broker: when its entry is applied,
 * and only then. */

#include <stdio.h>
#include <string.h>

#include "tests/node/fake_node.h"

enum { A = 0xa };

static int open_site(void **state)
{
    (void)state;
    fake_open(3);
    fake_begin();
    fake_lead();
    fake_device(A, 1);
    fake_bridges_ready();
    fake_lose(0, 2, 5); /* And back: the source knows the device now. */
    fake_pass(200, true);
    fake.term = 5;
    fake_lead();
    return 0;
}

static int close_site(void **state)
{
    (void)state;
    fake_close();
    return 0;
}

static struct ad_mqtt *mqtt(void)
{
    return fake.n->brokers[0].mqtt;
}

/* One message, which is a burst. */
static void message(const char *topic, const char *payload)
{
    struct rp_message m = {.topic = topic, .payload = payload, .len = strlen(payload)};

    mqtt()->cb.message(mqtt()->data, &m);
    mqtt()->cb.burst(mqtt()->data, 1);
}

static void reading(unsigned nr)
{
    char payload[96];

    snprintf(payload, sizeof payload, "{\"power\":%u,\"last_seen\":%llu}", nr,
             (unsigned long long)fake.wall_ms - 5000 + nr);
    message("z/north/d10", payload);
}

static void a_burst_is_acknowledged_when_its_entry_is_applied(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        unsigned before = mqtt()->released;

        reading(i);
        assert_int_equal(mqtt()->released, before);
        fake_turn(); /* Sealed: on its way. */
        fake_turn();
        assert_int_equal(mqtt()->released, before);
        assert_true(fake_commit());
        assert_int_equal(mqtt()->released, before + 1);
    }
    assert_true(rp_store_readings_last(fake.store) == 3);
}

static void a_burst_whose_entry_is_lost_is_never_acknowledged(void **state)
{
    struct ad_mqtt *old = mqtt();
    unsigned before = old->released;

    (void)state;
    reading(1);
    fake_turn();
    fake_lose(0, 2, 9);
    fake_settle();
    assert_int_equal(old->released, before);
    assert_true(rp_store_readings_last(fake.store) == 0);
}

/* The next watch asks the broker again: what is acknowledged now could be a burst that
 * came after it. */
static void what_commits_after_the_watch_is_over_is_not_acknowledged(void **state)
{
    struct ad_mqtt *old = mqtt();
    unsigned before = old->released;

    (void)state;
    reading(1);
    fake_turn();
    fake_lose(1, 2, 9);
    fake_settle();
    assert_int_equal(old->released, before);
    assert_true(rp_store_readings_last(fake.store) == 1);
}

static void what_is_worth_no_entry_is_acknowledged_at_once(void **state)
{
    unsigned before = mqtt()->released;
    unsigned sealed = fake.sealed;

    (void)state;
    message("z/north/group/nothing", "{}");
    assert_int_equal(mqtt()->released, before + 1);
    fake_turn();
    assert_int_equal(fake.sealed, sealed);
}

/* It may have slept: what is not worth an entry to it may be so to who relieved it. */
static void with_the_lease_passed_even_that_waits_for_a_commit(void **state)
{
    unsigned before = mqtt()->released;

    (void)state;
    fake.lease_until_ms = 0;
    message("z/north/group/nothing", "{}");
    fake_turn();
    assert_int_equal(mqtt()->released, before);
    assert_true(fake_commit());
    assert_int_equal(mqtt()->released, before + 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_site, close_site)
    const struct CMUnitTest tests[] = {
        T(a_burst_is_acknowledged_when_its_entry_is_applied),
        T(a_burst_whose_entry_is_lost_is_never_acknowledged),
        T(what_commits_after_the_watch_is_over_is_not_acknowledged),
        T(what_is_worth_no_entry_is_acknowledged_at_once),
        T(with_the_lease_passed_even_that_waits_for_a_commit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

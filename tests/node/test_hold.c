/* A full outbox that holds: what is read then, and what is not. And what stands in
 * the status at the broker. */

#include <string.h>

#include "tests/node/fake_node.h"

enum { A = 0xa, BURST = 50, READINGS = 1000 };

static int open_site(void **state)
{
    (void)state;
    fake_open(3);
    fake.n->config.brokers[0].burst_max = BURST;
    snprintf(fake.n->config.when_full, sizeof fake.n->config.when_full, "hold");
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

static unsigned told;

/* A burst, as long as there may be one. Not committed. */
static void burst(void)
{
    char payload[96];

    for (unsigned i = 0; i < BURST; i++) {
        struct rp_message m = {.topic = "z/north/d10", .payload = payload};

        snprintf(payload, sizeof payload, "{\"power\":%u,\"last_seen\":%llu}", told,
                 (unsigned long long)fake.wall_ms - 5000 + told);
        told++;
        m.len = strlen(payload);
        mqtt()->cb.message(mqtt()->data, &m);
    }
    mqtt()->cb.burst(mqtt()->data, BURST);
}

static void fill(void)
{
    told = 0;
    for (unsigned i = 0; i < READINGS / BURST && !mqtt()->status.paused; i++) {
        burst();
        fake_settle();
    }
}

static void shipped(uint64_t seq)
{
    rp_batch_shipped(&fake.batch, seq, 0);
    fake_settle();
}

static void a_full_outbox_stops_reading_and_drops_nothing(void **state)
{
    (void)state;
    fill();
    assert_true(fake.n->holding && mqtt()->status.paused);
    assert_true(rp_store_readings_room(fake.store) > 0);
    assert_true(rp_store_readings_last(fake.store) >= READINGS - 2 * BURST);
    assert_true(rp_store_readings_dropped(fake.store) == 0);
    fake_pass(10000, true);
    assert_true(mqtt()->status.paused);
}

static void reading_goes_on_when_there_is_room(void **state)
{
    uint64_t last;

    (void)state;
    fill();
    last = rp_store_readings_last(fake.store);
    shipped(10);
    assert_true(mqtt()->status.paused); /* Not for every single one. */
    shipped(3 * BURST);
    assert_false(mqtt()->status.paused || fake.n->holding);
    burst();
    fake_settle();
    assert_true(rp_store_readings_last(fake.store) == last + BURST);
    assert_true(rp_store_readings_dropped(fake.store) == 0);
}

/* The burst that was on its way when it was found full is never acknowledged in the
 * name of one that comes later. */
static void a_burst_under_way_ends_before_reading_goes_on(void **state)
{
    (void)state;
    fill();
    shipped(rp_store_readings_last(fake.store));
    assert_false(fake.n->holding);
    fill();
    assert_true(fake.n->holding);
    fake.n->brokers[0].waiting = true;
    shipped(rp_store_readings_last(fake.store));
    assert_true(fake.n->holding);
    fake.n->brokers[0].waiting = false;
    fake_pass(200, true);
    assert_false(fake.n->holding);
}

static void the_next_watch_holds_from_its_beginning(void **state)
{
    (void)state;
    fill();
    fake_lose(0, 2, 7);
    fake_pass(200, true);
    assert_null(mqtt());
    fake.term = 7;
    fake_lead();
    assert_true(fake.n->holding && mqtt()->status.paused);
}

static void with_the_other_policy_the_oldest_goes(void **state)
{
    (void)state;
    snprintf(fake.n->config.when_full, sizeof fake.n->config.when_full, "drop_oldest");
    told = 0;
    for (unsigned i = 0; i < READINGS / BURST + 2; i++) {
        burst();
        fake_settle();
    }
    assert_false(mqtt()->status.paused);
    assert_true(rp_store_readings_dropped(fake.store) == 2 * BURST);
}

static void without_postgres_nobody_holds(void **state)
{
    (void)state;
    fake.n->config.has_postgres = false;
    told = 0;
    for (unsigned i = 0; i < READINGS / BURST + 1; i++) {
        burst();
        fake_settle();
    }
    assert_false(mqtt()->status.paused);
    fake.n->config.has_postgres = true;
}

/* --- the status at the broker --- */

static void the_status_tells_of_health_and_time(void **state)
{
    unsigned before;

    (void)state;
    fake_pass(3000, true);
    assert_non_null(strstr(mqtt()->told, "\"state\":\"online\""));
    assert_non_null(strstr(mqtt()->told, "\"cluster\":\"test\""));
    assert_non_null(strstr(mqtt()->told, "\"watch\":\"ada\""));
    assert_non_null(strstr(mqtt()->told, "\"at\":17"));
    assert_string_equal(mqtt()->status_topic, "vagt/test/status");
    assert_string_equal(mqtt()->will, "{\"state\":\"offline\",\"cluster\":\"test\"}");
    before = mqtt()->told_n;
    fake_pass(50000, true);
    assert_int_equal(mqtt()->told_n, before); /* Nothing has changed. */
    fake_pass(15000, true);
    assert_int_equal(mqtt()->told_n, before + 1); /* A sign of life. */
    fake.pg_status.link = AD_PG_DOWN;
    fake_pass(2100, true);
    assert_int_equal(mqtt()->told_n, before + 2);
    assert_non_null(strstr(mqtt()->told, "\"health\":\"degraded\""));
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, open_site, close_site)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_full_outbox_stops_reading_and_drops_nothing),
        TEST(reading_goes_on_when_there_is_room),
        TEST(a_burst_under_way_ends_before_reading_goes_on),
        TEST(the_next_watch_holds_from_its_beginning),
        TEST(with_the_other_policy_the_oldest_goes),
        TEST(without_postgres_nobody_holds),
        TEST(the_status_tells_of_health_and_time),
    };

    return cmocka_run_group_tests_name("hold", tests, NULL, NULL);
}

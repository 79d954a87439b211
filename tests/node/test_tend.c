/* What time brings: silence, outages, areas that are switched off; and a bridge that
 * answers nothing. */

#include <string.h>

#include "tests/node/fake_node.h"

enum { A = 0xa, S = 0x5, MINUTE = 60000 };

static int open_site(void **state)
{
    (void)state;
    fake_open(3);
    fake.n->config.online_hold_ms = MINUTE;
    fake.n->config.areas[0].offline_after_ms = 10 * MINUTE;
    fake.n->config.commands.breaker = (struct rp_breaker_config){
        .failures = 3, .pause_ms = 30000, .pause_max_ms = 60000};
    fake_begin();
    fake_lead();
    for (uint64_t i = 0; i < 6; i++) {
        rp_batch_device(&fake.batch, 1, A + i, (char[]){(char)('a' + i), 0}, "plug");
    }
    fake_device(S, 2);
    fake_bridges_ready();
    fake_lose(0, 2, 5); /* And back: the sources know the devices now. */
    fake_pass(200, true);
    fake.term = 5;
    fake_lead();
    fake_pass(6000, true); /* What comes sooner may be a cache. */
    return 0;
}

static int close_site(void **state)
{
    (void)state;
    fake_close();
    return 0;
}

static enum rp_avail avail(uint64_t ieee)
{
    return rp_store_device(fake.store, ieee)->avail;
}

static void told(uint64_t ieee, enum rp_avail what)
{
    rp_batch_told(&fake.batch, ieee, what, fake.n->config.online_hold_ms);
    fake_settle();
}

static void message(const char *topic, const char *payload)
{
    struct rp_message m = {.topic = topic, .payload = payload, .len = strlen(payload)};
    struct ad_mqtt *mqtt = fake.n->brokers[0].mqtt;

    mqtt->cb.message(mqtt->data, &m);
    mqtt->cb.burst(mqtt->data, 1);
    fake_settle();
}

static void who_is_silent_for_long_is_offline(void **state)
{
    (void)state;
    message("z/north/a", "{\"state\":\"ON\",\"power\":1}");
    assert_int_equal(avail(A), RP_ONLINE);
    fake_pass(9 * MINUTE, true);
    message("z/north/a", "{\"state\":\"ON\",\"power\":2}");
    fake_pass(9 * MINUTE, true);
    assert_int_equal(avail(A), RP_ONLINE);
    assert_int_equal(avail(A + 1), RP_OFFLINE); /* never heard */
    assert_int_equal(avail(S), RP_ONLINE);      /* its area has no such limit */
    fake_pass(2 * MINUTE, true);
    assert_int_equal(avail(A), RP_OFFLINE);
    message("z/north/a", "{\"state\":\"ON\",\"power\":3}");
    assert_int_equal(avail(A), RP_ONLINE);
}

/* Who could not listen knows nothing of who was silent. */
static void silence_counts_only_while_one_listens(void **state)
{
    struct ad_mqtt *mqtt = fake.n->brokers[0].mqtt;

    (void)state;
    message("z/north/a", "{\"state\":\"ON\",\"power\":1}");
    mqtt->status.reader = AD_MQTT_DOWN;
    fake_pass(20 * MINUTE, true);
    mqtt->status.reader = AD_MQTT_UP;
    mqtt->status.since_ms = fake.now_ms;
    fake_pass(9 * MINUTE, true);
    assert_int_equal(avail(A), RP_ONLINE);
    fake_pass(2 * MINUTE, true);
    assert_int_equal(avail(A), RP_OFFLINE);
}

static void who_was_held_and_stays_offline_is(void **state)
{
    (void)state;
    told(A, RP_ONLINE);
    fake_pass(2 * MINUTE, true);
    rp_batch_bridge(&fake.batch, 1, RP_OFFLINE, false);
    rp_batch_bridge(&fake.batch, 1, RP_ONLINE, true);
    told(A, RP_OFFLINE);
    fake_pass(MINUTE - 1000, true);
    assert_int_equal(avail(A), RP_ONLINE);
    fake_pass(2000, true);
    assert_int_equal(avail(A), RP_OFFLINE);
}

static void a_configured_switch_is_the_states(void **state)
{
    const struct rp_area *north = rp_store_area_named(fake.store, "north");

    (void)state;
    fake_pass(3000, true);
    assert_int_equal(north->off, 0);
    fake.n->config.areas[0].enabled = false;
    fake_pass(3000, true);
    assert_int_equal(rp_store_area_named(fake.store, "north")->off, RP_OFF_CONFIG);
    fake.n->config.areas[0].enabled = true;
    fake_pass(3000, true);
    assert_int_equal(rp_store_area_named(fake.store, "north")->off, 0);
}

static void ask_area(const char *to, const char *area)
{
    fake_args_begin(2);
    sy_mp_kstr(&fake_args, "to", to);
    sy_mp_kstr(&fake_args, "area", area);
    fake_ask(1, "area", &fake_args);
    fake_settle();
}

static void an_operator_switches_an_area(void **state)
{
    struct nd_area *north = &fake.n->areas[0];

    (void)state;
    told(A, RP_ONLINE);
    fake_command("c1", A, "ON", MINUTE);
    fake_settle();
    ask_area("off", "north");
    assert_true(nd_map_uint(fake_result(), "devices", 0) == 6);
    assert_int_equal(fake_known("c1")->status, RP_FAILED);
    assert_null(north->state);
    message("z/north/b/availability", "online");
    message("z/north/b", "{\"state\":\"ON\",\"power\":1}");
    assert_int_equal(avail(A + 1), RP_AVAIL_UNKNOWN);
    fake_forget();
    ask_area("off", "north"); /* So it is. */
    (void)fake_result();
    fake_forget();
    ask_area("on", "north");
    (void)fake_result();
    assert_non_null(north->state);
    message("z/north/b", "{\"state\":\"ON\",\"power\":1}");
    assert_int_equal(avail(A + 1), RP_ONLINE);
    fake_forget();
    ask_area("on", "nowhere");
    fake_refused(1, "not_found", "no area is called 'nowhere'");
    ask_area("out", "north");
    fake_refused(2, "invalid", "goes 'on' or 'off', not 'out'");
    fake.n->config.areas[0].enabled = false;
    fake_pass(2000, true);
    ask_area("on", "north");
    fake_refused(3, "invalid", "the configuration keeps north off");
}

static void a_blown_fuse_is_one_event(void **state)
{
    struct nd_area *north = &fake.n->areas[0];

    (void)state;
    for (uint64_t i = 0; i < 6; i++) {
        told(A + i, RP_ONLINE);
    }
    fake_pass(2 * MINUTE, true);
    told(A, RP_OFFLINE);
    told(A + 1, RP_OFFLINE);
    fake_pass(1000, true);
    assert_false(north->outage);
    told(A + 2, RP_OFFLINE);
    fake_pass(1000, true);
    assert_true(north->outage);
    told(A, RP_ONLINE);
    fake_pass(1000, true);
    assert_true(north->outage); /* Not over before most are back. */
    told(A + 1, RP_ONLINE);
    fake_pass(1000, true);
    assert_false(north->outage);
    told(A + 2, RP_ONLINE);
}

/* --- the breaker --- */

static void a_bridge_that_answers_nothing_is_left_alone(void **state)
{
    struct nd_area *north = &fake.n->areas[0];
    unsigned published;

    (void)state;
    fake_command("c1", A, "ON", 60 * MINUTE);
    fake_command("c2", A + 1, "ON", 60 * MINUTE);
    fake_settle();
    fake_pass(10000, true);
    assert_int_equal(north->breaker.state, RP_BREAKER_OPEN);
    published = fake.published_n;
    fake_command("c3", A + 2, "ON", 60 * MINUTE);
    fake_command("s1", S, "ON", 60 * MINUTE); /* Another bridge. */
    fake_settle();
    fake_pass(15000, true);
    assert_int_equal(fake_known("c3")->status, RP_ACCEPTED);
    assert_int_equal(fake_known("s1")->status, RP_SENT);
    fake_pass(15000, true);
    /* One is let through, the newest first: it was never sent. */
    assert_int_equal(fake_known("c3")->status, RP_SENT);
    assert_true(fake.published_n <= published + 8);
    fake_pass(5000, true); /* It had no answer either. */
    assert_int_equal(north->breaker.state, RP_BREAKER_OPEN);
    assert_int_equal(north->breaker.pause_ms, 60000);
    message("z/north/f", "{\"state\":\"ON\",\"power\":1}");
    assert_int_equal(north->breaker.state, RP_BREAKER_CLOSED);
    fake_pass(100, true);
    assert_true(fake_known("c1")->attempts >= 3);
}

static void one_dead_meter_stops_nobody(void **state)
{
    (void)state;
    fake_command("c1", A, "ON", 10 * MINUTE);
    fake_settle();
    fake_pass(5 * MINUTE, true);
    assert_int_equal(fake.n->areas[0].breaker.state, RP_BREAKER_CLOSED);
    fake_command("c2", A + 1, "ON", MINUTE);
    fake_settle();
    fake_pass(100, true);
    assert_int_equal(fake_known("c2")->status, RP_SENT);
}

static void a_new_command_goes_before_repeated_ones(void **state)
{
    char id[8];

    (void)state;
    fake.n->config.commands.breaker.failures = 0;
    for (unsigned i = 0; i < 200; i++) {
        fake_device(0x100 + i, 2);
        snprintf(id, sizeof id, "c%u", i);
        fake_command(id, 0x100 + i, "ON", 60 * MINUTE);
    }
    fake_settle();
    fake_pass(MINUTE, true); /* All are due again and again. */
    fake_command("new", S, "ON", MINUTE);
    fake_settle();
    fake_pass(45, true); /* two slots of the area's pace */
    assert_int_equal(fake_known("new")->status, RP_SENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_is_silent_for_long_is_offline, open_site,
                                        close_site),
        cmocka_unit_test_setup_teardown(silence_counts_only_while_one_listens, open_site,
                                        close_site),
        cmocka_unit_test_setup_teardown(who_was_held_and_stays_offline_is, open_site,
                                        close_site),
        cmocka_unit_test_setup_teardown(a_configured_switch_is_the_states, open_site,
                                        close_site),
        cmocka_unit_test_setup_teardown(an_operator_switches_an_area, open_site,
                                        close_site),
        cmocka_unit_test_setup_teardown(a_blown_fuse_is_one_event, open_site, close_site),
        cmocka_unit_test_setup_teardown(a_bridge_that_answers_nothing_is_left_alone,
                                        open_site, close_site),
        cmocka_unit_test_setup_teardown(one_dead_meter_stops_nobody, open_site,
                                        close_site),
        cmocka_unit_test_setup_teardown(a_new_command_goes_before_repeated_ones,
                                        open_site, close_site),
    };

    return cmocka_run_group_tests_name("tend", tests, NULL, NULL);
}

/* Zigbee2MQTT 2.14's own words, and what becomes of them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "tests/z2m/world.h"

static struct world w;

enum { LIVE, RETAINED, DUP };

static int setup(void **state)
{
    (void)state;
    world_open(&w, 16);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_close(&w);
    return 0;
}

/* Translate; the inputs wait. */
static void hear(int how, const char *topic, const char *payload)
{
    char full[256];

    snprintf(full, sizeof full, "site/z2m/%s", topic);
    world_send(&w, &(struct rp_message){.topic = full,
                                        .payload = payload,
                                        .len = strlen(payload),
                                        .retained = how == RETAINED,
                                        .dup = how == DUP,
                                        .qos = 1});
}

static void say(int how, const char *topic, const char *payload)
{
    hear(how, topic, payload);
    world_commit(&w);
}

#define COORDINATOR                                                                 \
    "{\"ieee_address\":\"0x00124b00aaaaaaaa\",\"type\":\"Coordinator\",\"friendly_" \
    "name\":"                                                                       \
    "\"Coordinator\",\"definition\":null,\"supported\":true,\"disabled\":false}"
#define DEVICE(IEEE, NAME, MODEL)                                                       \
    "{\"definition\":{\"description\":\"Smart \\\"plug\\\" {[ "                         \
    "\\\\\",\"exposes\":[{\"a\":["                                                      \
    "1,2,{}]}],\"model\":\"" MODEL                                                      \
    "\",\"vendor\":\"Tongou\"},\"disabled\":false,"                                     \
    "\"friendly_name\":\"" NAME "\",\"ieee_address\":\"" IEEE                           \
    "\",\"interview_completed"                                                          \
    "\":true,\"model_id\":\"TS0001\",\"network_address\":1,\"power_source\":\"Mains\"," \
    "\"supported\":true,\"type\":\"Router\"}"

#define IEEE_1 UINT64_C(0xa4c1380100010000)
#define IEEE_2 UINT64_C(0xa4c1380100010001)
#define METER_1 DEVICE("0xa4c1380100010000", "pitch 1", "TO-Q-SY2-163JZT")
#define METER_2 DEVICE("0xA4C1380100010001", "pitch 2", "TOWSMR1-40A-AC")

static void list_two(void)
{
    say(RETAINED, "bridge/devices", "[" COORDINATOR "," METER_1 ", " METER_2 "]");
    assert_int_equal(w.notes_n, 0);
}

static const struct rp_device *meter(uint64_t ieee)
{
    const struct rp_device *d = rp_store_device(w.store, ieee);

    assert_non_null(d);
    return d;
}

static const struct rp_area *area(void)
{
    return rp_store_area(w.store, 1);
}

static bool ready(void)
{
    return area()->bridge == RP_ONLINE && area()->ready_at_ms != 0;
}

/* --- devices --- */

static void the_list_becomes_devices_and_only_changes_become_inputs(void **state)
{
    (void)state;
    list_two();
    assert_int_equal(w.inputs, 2);
    assert_string_equal(meter(IEEE_1)->name, "pitch 1");
    assert_string_equal(meter(IEEE_1)->model, "TO-Q-SY2-163JZT");
    assert_int_equal(meter(IEEE_2)->area, 1);
    assert_null(rp_store_device(w.store, 0x00124b00aaaaaaaa));
    list_two();
    assert_int_equal(w.inputs, 0);
    say(LIVE, "bridge/devices",
        "[" METER_1 "," DEVICE("0xa4c1380100010001", "gate", "TOWSMR1-40A-AC") "]");
    assert_int_equal(w.inputs, 1);
    assert_string_equal(meter(IEEE_2)->name, "gate");
    say(LIVE, "bridge/devices", "[" METER_1 "]");
    assert_int_equal(w.inputs, 1);
    assert_false(meter(IEEE_2)->listed);
    assert_true(meter(IEEE_1)->listed);
    say(LIVE, "bridge/devices", "[]");
    assert_false(meter(IEEE_1)->listed);
}

static void after_a_relief_the_same_list_is_no_news(void **state)
{
    (void)state;
    list_two();
    world_begin(&w);
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}");
    assert_int_equal(meter(IEEE_1)->state, RP_ON); /* Without a list. */
    list_two();
    assert_int_equal(w.inputs, 0);
    say(LIVE, "bridge/devices", "[" METER_2 "]");
    assert_int_equal(w.inputs, 1);
    assert_false(meter(IEEE_1)->listed);
}

static void swapped_names_follow_the_devices(void **state)
{
    (void)state;
    list_two();
    say(LIVE, "bridge/devices",
        "[" DEVICE("0xa4c1380100010000", "pitch 2", "M") "," DEVICE("0xa4c1380100010001",
                                                                    "pitch 1", "M") "]");
    assert_int_equal(w.inputs, 2);
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}");
    assert_int_equal(meter(IEEE_2)->state, RP_ON);
    assert_int_equal(meter(IEEE_1)->state, RP_SWITCH_UNKNOWN);
}

static void an_unsupported_device_has_the_model_it_says_itself(void **state)
{
    (void)state;
    say(LIVE, "bridge/devices",
        "[{\"definition\":null,\"friendly_name\":\"x\",\"ieee_address\":"
        "\"0xa4c1380100010000\",\"model_id\":\"TS011F\",\"supported\":false,\"disabled\":"
        "true,\"type\":\"Router\"}]");
    assert_string_equal(meter(IEEE_1)->model, "TS011F");
}

/* A name that begins another one, and shares its place in the table. */
static void names_that_begin_alike_are_told_apart(void **state)
{
    char one[16];
    char longer[24];
    char list[600];
    uint64_t differ;
    int i = 0;

    (void)state;
    do {
        snprintf(one, sizeof one, "n%d", i++);
        snprintf(longer, sizeof longer, "%s-b", one);
        differ = sy_hash(one, strlen(one), 0) ^ sy_hash(longer, strlen(longer), 0);
    } while (differ % 64 != 0);
    snprintf(list, sizeof list,
             "[{\"ieee_address\":\"0x0000000000000001\",\"friendly_name\":\"%s\"},"
             "{\"ieee_address\":\"0x0000000000000002\",\"friendly_name\":\"%s\"}]",
             longer, one);
    say(LIVE, "bridge/devices", list);
    assert_int_equal(w.inputs, 2);
    say(LIVE, one, "{\"state\":\"ON\"}");
    assert_int_equal(meter(2)->state, RP_ON);
    assert_int_equal(meter(1)->state, RP_SWITCH_UNKNOWN);
}

static void a_damaged_list_changes_nothing(void **state)
{
    static const char *const damaged[] = {"[" METER_1,      "{}",   "null",      "[1]",
                                          "[" METER_1 ",]", "[[]]", "[{\"a\"}]", "["};

    (void)state;
    list_two();
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        say(LIVE, "bridge/devices", damaged[i]);
        assert_int_equal(w.inputs, 0);
        assert_int_equal(w.notes_n, 1);
        assert_int_equal(w.notes[0].kind, RP_NOTE_BAD_PAYLOAD);
    }
    say(LIVE, "bridge/devices", ""); /* Cleared. */
    assert_int_equal(w.inputs, 0);
    say(LIVE, "pitch 2", "{\"state\":\"OFF\"}");
    assert_int_equal(meter(IEEE_2)->state, RP_OFF);
}

static void names_that_cannot_be_are_left_out_with_a_sentence(void **state)
{
    static const char *const lists[] = {
        "[" METER_1 "," DEVICE("0xa4c1380100010001", "a+b", "M") "]",
        "[" METER_1 "," DEVICE("0xa4c1380100010001", "a\\u0007b", "M") "]",
        "[" METER_1 "," DEVICE("0xa4c1380100010001", "", "M") "]",
        "[" METER_1 "," DEVICE("0xa4c1380100010001", "bridge/info", "M") "]",
        "[" METER_1 "," DEVICE("0xa4c1380100010001", "pitch 1", "M") "]",
        "[" METER_1 "," DEVICE("0xa4c1380100010000", "twice", "M") "]",
        "[" METER_1
        "," DEVICE("0xa4c1380100010001",
                   "0123456789012345678901234567890123456789012345678901234567"
                   "89012345678901234567890123456789012345",
                   "M") "]",
    };

    (void)state;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        say(LIVE, "bridge/devices", lists[i]);
        assert_int_equal(w.notes_n, 1);
        assert_int_equal(w.notes[0].kind, RP_NOTE_SETTING);
        assert_non_null(strstr(w.notes[0].text, "rename it"));
        assert_int_equal(rp_store_devices(w.store), 1);
        assert_string_equal(meter(IEEE_1)->name, "pitch 1");
    }
}

static void more_devices_than_the_limit_are_named(void **state)
{
    char list[20000] = "[";
    char one[600];

    (void)state;
    for (int i = 0; i < 20; i++) {
        snprintf(one, sizeof one,
                 "%s{\"ieee_address\":\"0x%016x\",\"friendly_name\":\"d%d\",\"type\":"
                 "\"Router\"}",
                 i > 0 ? "," : "", i + 1, i);
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s", one);
    }
    snprintf(list + strlen(list), sizeof list - strlen(list), "]");
    say(LIVE, "bridge/devices", list);
    assert_int_equal(w.inputs, 16);
    assert_int_equal(w.notes_n, 4);
    assert_non_null(strstr(w.notes[0].text, "raise the limit"));
}

static void a_name_with_a_slash_asks_for_its_own_subscription(void **state)
{
    (void)state;
    say(LIVE, "bridge/devices",
        "[" DEVICE("0xa4c1380100010000", "house/kitchen", "M") "," METER_2 "]");
    assert_int_equal(w.notes_n, 1);
    assert_string_equal(w.notes[0].filter, "site/z2m/house/kitchen/#");
    assert_non_null(strstr(w.notes[0].text, "slash"));
    say(LIVE, "house/kitchen", "{\"state\":\"ON\"}");
    assert_int_equal(meter(IEEE_1)->state, RP_ON);
    say(LIVE, "house/kitchen/availability", "{\"state\":\"offline\"}");
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
    say(LIVE, "house/kitchen/set", "{\"state\":\"OFF\"}");
    assert_int_equal(w.inputs, 0);
    assert_int_equal(w.notes_n, 0);
}

static void a_device_of_two_bridges_is_where_its_reports_come_from(void **state)
{
    (void)state;
    rp_batch_device(&w.batch, 2, IEEE_1, "pitch 1", "M");
    world_commit(&w);
    say(RETAINED, "bridge/devices", "[" METER_1 "]");
    assert_int_equal(meter(IEEE_1)->area, 2);
    assert_non_null(strstr(w.notes[0].text, "another area"));
    say(RETAINED, "pitch 1/availability", "offline");
    assert_int_equal(meter(IEEE_1)->avail, RP_AVAIL_UNKNOWN);
    say(RETAINED, "pitch 1", "{\"state\":\"ON\"}");
    assert_int_equal(meter(IEEE_1)->area, 2);
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}");
    assert_int_equal(meter(IEEE_1)->area, 1);
    assert_int_equal(meter(IEEE_1)->state, RP_ON);
    /* And gone from a list of an area where it is not: stays. */
    rp_batch_device(&w.batch, 2, IEEE_1, "pitch 1", "M");
    world_commit(&w);
    say(LIVE, "bridge/devices", "[]");
    assert_true(meter(IEEE_1)->listed);
}

/* --- before the list --- */

static void what_comes_before_the_list_is_not_lost(void **state)
{
    (void)state;
    say(RETAINED, "pitch 1/availability", "{\"state\":\"offline\"}");
    say(RETAINED, "pitch 2/availability", "online");
    say(LIVE, "pitch 1", "{\"state\":\"OFF\",\"voltage\":1}");
    say(LIVE, "pitch 1", "{\"state\":\"ON\",\"voltage\":231}");
    assert_int_equal(w.inputs, 0);
    assert_int_equal(w.notes_n, 0); /* Too early to call anybody unknown. */
    list_two();
    assert_int_equal(w.inputs, 2 + 2 + 1);
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
    assert_int_equal(meter(IEEE_2)->avail, RP_ONLINE);
    assert_int_equal(meter(IEEE_1)->state, RP_ON);
    assert_int_equal(meter(IEEE_1)->values.voltage_mv, 231000);
    list_two();
    assert_int_equal(w.inputs, 0); /* Said once. */
}

static void strangers_are_noted_once_and_kept_within_a_limit(void **state)
{
    char topic[32];

    (void)state;
    list_two();
    say(LIVE, "group", "{\"state\":\"ON\"}");
    assert_int_equal(w.notes_n, 1);
    assert_int_equal(w.notes[0].kind, RP_NOTE_UNKNOWN_DEVICE);
    assert_string_equal(w.notes[0].name, "group");
    say(LIVE, "group", "{\"state\":\"ON\"}");
    say(RETAINED, "group/availability", "online");
    assert_int_equal(w.notes_n, 0);
    list_two();
    say(LIVE, "group", "{\"state\":\"ON\"}");
    assert_int_equal(w.notes_n, 0); /* A new list does not forget. */
    for (int i = 0; i < 200; i++) {
        snprintf(topic, sizeof topic, "stranger-%d", i);
        say(LIVE, topic, "{\"state\":\"ON\"}");
    }
    assert_int_equal(w.notes_n, 0); /* Full: no entry, no note. */
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}");
    assert_int_equal(meter(IEEE_1)->state, RP_ON);
    say(LIVE, "bridge/devices",
        "[" METER_1 "," METER_2 "," DEVICE("0xa4c1380100010009", "new", "M") "]");
    assert_true(meter(UINT64_C(0xa4c1380100010009))->listed); /* Devices have room. */
}

/* --- states --- */

static void each_model_is_understood(void **state)
{
    const struct rp_device *d;

    (void)state;
    list_two();
    say(LIVE, "pitch 1",
        "{\"current\":0,\"last_seen\":\"2026-11-21T01:35:20.272Z\",\"linkquality\":100,"
        "\"power\":0,\"state\":\"OFF\",\"voltage\":231}");
    d = meter(IEEE_1);
    assert_int_equal(d->values.has,
                     RP_HAS_CURRENT | RP_HAS_POWER | RP_HAS_VOLTAGE | RP_HAS_LINKQUALITY);
    assert_int_equal(d->state, RP_OFF);
    assert_true(d->last_seen_ms == UINT64_C(1795224920272));
    assert_int_equal(d->values.voltage_mv, 231000);
    say(LIVE, "pitch 1",
        "{\"current\":0.32,\"energy\":11.14,\"last_seen\":\"2026-11-21T01:35:21.000Z\","
        "\"linkquality\":101,\"power\":72,\"state\":\"ON\",\"voltage\":230}");
    d = meter(IEEE_1);
    assert_int_equal(d->values.current_ma, 320);
    assert_int_equal(d->values.energy_mwh, 11140000);
    assert_int_equal(d->values.power_mw, 72000);
    assert_int_equal(d->values.linkquality, 101);
    say(LIVE, "pitch 2",
        "{\"auto_reclosing\":\"OFF\",\"current\":0,\"energy\":12.25,\"event\":"
        "\"remote_off\",\"last_seen\":\"2026-11-21T01:35:20.272Z\",\"leakage_current\":0,"
        "\"leakage_setting\":\"Ignore\",\"leakage_threshold\":30,\"linkquality\":102,"
        "\"over_current_setting\":\"Ignore\",\"power\":0,\"state\":\"OFF\","
        "\"temperature\":"
        "29.3,\"voltage\":233.1}");
    assert_int_equal(meter(IEEE_2)->values.voltage_mv, 233100);
    assert_int_equal(meter(IEEE_2)->values.energy_mwh, 12250000);
    say(LIVE, "pitch 2",
        "{\"ac_frequency\":50,\"power_factor\":97,\"power\":-12.3456,\"state\":\"ON\","
        "\"energy\":null,\"last_seen\":\"2026-11-21T01:35:22.272Z\"}");
    assert_int_equal(meter(IEEE_2)->values.power_mw, -12346);
    assert_int_equal(meter(IEEE_2)->values.energy_mwh, 12250000); /* null: not told. */
    assert_int_equal(w.notes_n, 0);
}

static uint64_t last_seen_of(const char *value)
{
    char payload[200];
    uint64_t ms;

    /* Each a device of its own: what is told late is not taken. */
    world_close(&w);
    world_open(&w, 16);
    list_two();
    snprintf(payload, sizeof payload, "{\"state\":\"ON\",\"last_seen\":%s}", value);
    say(LIVE, "pitch 1", payload);
    assert_int_equal(w.inputs, 2); /* And a sign of life. */
    ms = meter(IEEE_1)->last_seen_ms;
    assert_int_equal(w.notes_n, ms == 0);
    return ms;
}

static void last_seen_in_all_its_forms(void **state)
{
    (void)state;
    assert_true(last_seen_of("\"2026-11-21T01:35:20.272Z\"") == 1795224920272);
    assert_true(last_seen_of("\"2026-11-21T02:35:20+01:00\"") == 1795224920000);
    assert_true(last_seen_of("\"2026-11-20T20:05:20.5-0530\"") == 1795224920500);
    assert_true(last_seen_of("1795224920272") == 1795224920272);
    assert_true(last_seen_of("1795224920272.0") == 1795224920272);
    assert_true(last_seen_of("\"1795224920272\"") == 1795224920272);
    assert_true(last_seen_of("\"2024-02-29T00:00:00Z\"") == 1709164800000);
    assert_true(last_seen_of("\"2026-11-21T01:35:20\"") == 0); /* No zone: whose? */
    assert_true(last_seen_of("\"2026-13-21T01:35:20Z\"") == 0);
    assert_true(last_seen_of("\"2026-11-21T01:35:20.272Zx\"") == 0);
    assert_true(last_seen_of("\"yesterday\"") == 0);
    assert_true(last_seen_of("\"\"") == 0);
    assert_true(last_seen_of("5") == 0);
    assert_true(last_seen_of("1e300") == 0);
    assert_true(last_seen_of("-1") == 0);
    assert_true(last_seen_of("{}") == 0);
}

static void one_bad_value_costs_only_itself(void **state)
{
    static const struct
    {
        const char *payload;
        const char *why;
    } bad[] = {
        {"{\"voltage\":230,\"energy\":-0.5}", "energy is -0.5"},
        {"{\"voltage\":230,\"power\":1e12}", "power is 1e+12"},
        {"{\"voltage\":230,\"power\":99999999999999999999999}", "power"},
        {"{\"voltage\":230,\"current\":\"3\"}", "current is not a number"},
        {"{\"voltage\":230,\"linkquality\":70000}", "linkquality"},
        {"{\"voltage\":230,\"linkquality\":true}", "linkquality"},
        {"{\"voltage\":230,\"energy\":[1]}", "energy"},
    };

    (void)state;
    list_two();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        say(LIVE, "pitch 1", bad[i].payload);
        assert_int_equal(meter(IEEE_1)->values.has, RP_HAS_VOLTAGE);
        assert_int_equal(w.notes_n, 1);
        assert_int_equal(w.notes[0].kind, RP_NOTE_BAD_PAYLOAD);
        assert_string_equal(w.notes[0].name, "site/z2m/pitch 1");
        assert_non_null(strstr(w.notes[0].text, bad[i].why));
    }
}

static void redelivered_and_cached_are_said_so(void **state)
{
    static const char one[] = "{\"state\":\"ON\",\"power\":5}";
    uint64_t readings;

    (void)state;
    list_two();
    say(LIVE, "pitch 1", one);
    readings = rp_store_readings_last(w.store);
    assert_int_equal(readings, 1);
    say(DUP, "pitch 1", one);
    assert_int_equal(rp_store_readings_last(w.store), 1);
    say(RETAINED, "pitch 1", one);
    assert_int_equal(rp_store_readings_last(w.store), 1);
    say(LIVE, "pitch 1", one); /* Without last_seen the same may be new. */
    assert_int_equal(rp_store_readings_last(w.store), 2);
}

/* --- the bridge --- */

static void online_is_not_ready_until_live_info(void **state)
{
    (void)state;
    say(LIVE, "bridge/state", "{\"state\":\"offline\"}");
    assert_int_equal(area()->bridge, RP_OFFLINE);
    say(LIVE, "bridge/state", "{\"state\":\"online\"}");
    assert_int_equal(area()->bridge, RP_ONLINE);
    assert_false(ready());
    say(RETAINED, "bridge/info", "{}"); /* Of the start before. */
    assert_false(ready());
    say(LIVE, "bridge/info", "{}");
    assert_true(ready());
    say(LIVE, "bridge/state", "online"); /* 1.x, and only a reconnect. */
    assert_int_equal(w.inputs, 0);
    assert_true(ready());
    say(LIVE, "bridge/state", "offline");
    assert_int_equal(area()->bridge, RP_OFFLINE);
    assert_int_equal(area()->ready_at_ms, 0);
}

static void a_new_session_learns_readiness_from_what_is_retained(void **state)
{
    (void)state;
    say(RETAINED, "bridge/info", "{}"); /* Either order. */
    assert_false(ready());
    say(RETAINED, "bridge/state", "{\"state\":\"online\"}");
    assert_true(ready());
    teardown(state);
    setup(state);
    say(RETAINED, "bridge/state", "{\"state\":\"online\"}");
    assert_false(ready());
    say(RETAINED, "bridge/info", "{}");
    assert_true(ready());
}

static void a_short_break_without_new_info_heals_by_signs_of_life(void **state)
{
    (void)state;
    list_two();
    say(LIVE, "bridge/info", "{}");
    say(LIVE, "bridge/state", "{\"state\":\"offline\"}");
    say(LIVE, "bridge/state", "{\"state\":\"online\"}");
    w.now_ms += 100;
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}"); /* From the cache of a start, perhaps. */
    assert_false(ready());
    w.now_ms += 5000;
    say(DUP, "pitch 1", "{\"state\":\"OFF\"}");
    assert_false(ready());
    say(LIVE, "pitch 2", "{\"state\":\"ON\"}");
    assert_true(ready());
}

static void the_cache_of_a_starting_bridge_measures_nothing(void **state)
{
    (void)state;
    list_two();
    say(LIVE, "pitch 1",
        "{\"state\":\"ON\",\"power\":5,\"last_seen\":\"2026-11-21T01:35:20.272Z\"}");
    say(LIVE, "bridge/state", "{\"state\":\"offline\"}");
    say(LIVE, "bridge/state", "{\"state\":\"online\"}");
    say(LIVE, "pitch 1", "{\"state\":\"OFF\",\"power\":5}");
    assert_int_equal(rp_store_readings_last(w.store), 1);
    say(LIVE, "bridge/info", "{}");
    say(LIVE, "pitch 1", "{\"state\":\"OFF\",\"power\":6}");
    assert_int_equal(rp_store_readings_last(w.store), 2);
}

static void a_stale_offline_is_proved_wrong(void **state)
{
    (void)state;
    list_two();
    say(RETAINED, "bridge/state", "{\"state\":\"offline\"}");
    say(RETAINED, "pitch 1", "{\"state\":\"ON\"}");
    say(DUP, "pitch 1", "{\"state\":\"OFF\"}");
    say(RETAINED, "bridge/health", "{\"response_time\":1}");
    say(LIVE, "group", "{\"state\":\"ON\"}"); /* Anybody can publish that. */
    assert_int_equal(area()->bridge, RP_OFFLINE);
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}");
    assert_true(ready());
    say(LIVE, "bridge/state", "{\"state\":\"offline\"}");
    say(LIVE, "bridge/health", "{\"response_time\":1}");
    assert_true(ready());
}

static void availability_in_both_forms(void **state)
{
    (void)state;
    list_two();
    say(RETAINED, "pitch 1/availability", "{\"state\":\"online\"}");
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
    say(LIVE, "pitch 1/availability", "offline");
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
    say(RETAINED, "pitch 1/availability", "");
    assert_int_equal(w.inputs, 0);
    assert_int_equal(w.notes_n, 0);
    say(LIVE, "pitch 1/availability", "{\"state\":\"asleep\"}");
    assert_int_equal(w.notes_n, 1);
}

static void errors_of_the_bridge_name_the_device(void **state)
{
    static const struct
    {
        const char *payload;
        uint64_t ieee;
    } cases[] = {
        {"{\"level\":\"error\",\"message\":\"z2m: Publish 'set' 'state' to 'pitch 2' "
         "failed: "
         "'Error: ZCL command 0xa4c1380100010001/1 genOnOff.on failed'\"}",
         IEEE_2},
        {"{\"level\":\"error\",\"message\":\"z2m: Failed to ping 'pitch 1' (attempt "
         "1/2)\"}",
         IEEE_1},
        {"{\"level\":\"error\",\"message\":\"z2m: Entity 'nobody' is unknown\"}", 0},
        {"{\"level\":\"error\",\"message\":\"z2m: Publish to '\"}", 0},
    };

    (void)state;
    list_two();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        say(LIVE, "bridge/logging", cases[i].payload);
        assert_int_equal(w.notes_n, 1);
        assert_int_equal(w.notes[0].kind, RP_NOTE_BRIDGE_ERROR);
        assert_true(w.notes[0].ieee == cases[i].ieee);
    }
    say(LIVE, "bridge/logging", "{\"level\":\"info\",\"message\":\"'pitch 1'\"}");
    assert_int_equal(w.notes_n, 0);
    say(LIVE, "bridge/logging", "what?");
    assert_int_equal(w.notes_n, 0);
}

static void settings_that_cost_something_are_noted_once(void **state)
{
    static const char poor[] =
        "{\"config\":{\"advanced\":{\"last_seen\":\"disable\",\"output\":\"attribute\","
        "\"log_level\":\"info\"},\"availability\":{\"enabled\":false},\"device_options\":"
        "{},"
        "\"mqtt\":{\"base_topic\":\"other\"}}}";
    static const char good[] =
        "{\"config\":{\"advanced\":{\"last_seen\":\"ISO_8601\",\"output\":\"json\","
        "\"log_level\":\"warning\"},\"availability\":{\"enabled\":true},\"device_"
        "options\":{"
        "\"qos\":1},\"mqtt\":{\"base_topic\":\"site/z2m\"}}}";
    static const char *const mends[] = {
        "{qos: 1}",       "ISO_8601",   "availability: {enabled",
        "{output: json}", "base_topic", "warning"};

    (void)state;
    say(RETAINED, "bridge/info", good);
    assert_int_equal(w.notes_n, 0);
    say(LIVE, "bridge/info", poor);
    assert_int_equal(w.notes_n, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(w.notes[i].kind, RP_NOTE_SETTING);
        assert_non_null(strstr(w.notes[i].text, "area north"));
        assert_non_null(strstr(w.notes[i].text, mends[i]));
    }
    say(LIVE, "bridge/info", poor);
    assert_int_equal(w.notes_n, 0);
    world_begin(&w);
    say(LIVE, "bridge/info", poor);
    assert_int_equal(w.notes_n, 6);
}

/* --- the rest of the port --- */

static void collect(void *data, const char *filter, int qos)
{
    char *all = data;

    assert_int_equal(qos, 1);
    snprintf(all + strlen(all), 512 - strlen(all), "%s ", filter);
}

static void subscriptions_are_narrow(void **state)
{
    char all[512] = "";

    (void)state;
    ad_z2m_source.topics(area(), collect, all);
    assert_string_equal(all,
                        "site/z2m/bridge/state site/z2m/bridge/info "
                        "site/z2m/bridge/devices site/z2m/bridge/health "
                        "site/z2m/bridge/logging site/z2m/+/availability site/z2m/+ ");
}

static void other_topics_mean_nothing(void **state)
{
    static const char *const topics[] = {"site/z2m-south/pitch 1",
                                         "site/z2m",
                                         "site",
                                         "",
                                         "site/z2m/bridge/event",
                                         "site/z2m/bridge/response/options",
                                         "site/z2m/bridge/definitions",
                                         "site/z2m/bridge/",
                                         "site/z2m/",
                                         "site/z2m/pitch 1/set",
                                         "site/z2m/pitch 1/get",
                                         "site/z2m/a/b/c",
                                         "site/z2m//availability",
                                         "site/z2m/availability/x"};

    (void)state;
    list_two();
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        world_send(&w,
                   &(struct rp_message){.topic = topics[i], .payload = "{}", .len = 2});
        world_commit(&w);
        assert_int_equal(w.inputs, 0);
        assert_int_equal(w.notes_n, 0);
    }
}

static void only_what_may_be_repeated_is_a_command(void **state)
{
    struct sy_errbuf eb;

    (void)state;
    assert_int_equal(ad_z2m_source.check("state", "ON", &eb), 0);
    assert_int_equal(ad_z2m_source.check("state", "OFF", &eb), 0);
    assert_int_equal(ad_z2m_source.check("state", "TOGGLE", &eb), SY_EINVALID);
    assert_non_null(strstr(eb.text, "ON or OFF"));
    assert_int_equal(ad_z2m_source.check("state", "on", &eb), SY_EINVALID);
    assert_int_equal(ad_z2m_source.check("brightness", "1", &eb), SY_EINVALID);
    assert_non_null(strstr(eb.text, "brightness"));
}

static void a_command_is_a_topic_and_a_payload(void **state)
{
    struct rp_command c = {.property = "state", .value = "OFF"};
    struct sy_buf topic = {0};
    struct sy_buf payload = {0};

    (void)state;
    list_two();
    for (int i = 0; i < 2; i++) { /* The buffers are emptied first. */
        ad_z2m_source.command(w.source, meter(IEEE_1), &c, &topic, &payload);
        assert_string_equal((char *)topic.p, "site/z2m/pitch 1/set");
        assert_int_equal(payload.len, 15);
        assert_memory_equal(payload.p, "{\"state\":\"OFF\"}", 15);
    }
    sy_buf_free(&topic);
    sy_buf_free(&payload);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_list_becomes_devices_and_only_changes_become_inputs),
        T(after_a_relief_the_same_list_is_no_news),
        T(swapped_names_follow_the_devices),
        T(an_unsupported_device_has_the_model_it_says_itself),
        T(names_that_begin_alike_are_told_apart),
        T(a_damaged_list_changes_nothing),
        T(names_that_cannot_be_are_left_out_with_a_sentence),
        T(more_devices_than_the_limit_are_named),
        T(a_name_with_a_slash_asks_for_its_own_subscription),
        T(a_device_of_two_bridges_is_where_its_reports_come_from),
        T(what_comes_before_the_list_is_not_lost),
        T(strangers_are_noted_once_and_kept_within_a_limit),
        T(each_model_is_understood),
        T(last_seen_in_all_its_forms),
        T(one_bad_value_costs_only_itself),
        T(redelivered_and_cached_are_said_so),
        T(online_is_not_ready_until_live_info),
        T(a_new_session_learns_readiness_from_what_is_retained),
        T(a_short_break_without_new_info_heals_by_signs_of_life),
        T(the_cache_of_a_starting_bridge_measures_nothing),
        T(a_stale_offline_is_proved_wrong),
        T(availability_in_both_forms),
        T(errors_of_the_bridge_name_the_device),
        T(settings_that_cost_something_are_noted_once),
        T(subscriptions_are_narrow),
        T(other_topics_mean_nothing),
        T(only_what_may_be_repeated_is_a_command),
        T(a_command_is_a_topic_and_a_payload),
    };

    return cmocka_run_group_tests_name("z2m", tests, NULL, NULL);
}

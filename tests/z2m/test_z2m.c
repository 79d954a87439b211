/* Zigbee2MQTT 2.14's own words, and what becomes of them. */

#include "base/hash.h"
#include "tests/z2m/site.h"

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
        assert_int_equal(notes_of(RP_NOTE_SETTING), 1);
        assert_non_null(strstr(w.notes[note_of(RP_NOTE_SETTING)].text, "rename it"));
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
    assert_int_equal(w.notes_n, 1);
    assert_non_null(strstr(w.notes[0].text, "raise the limit"));
}

static void a_name_with_a_slash_asks_for_its_own_subscription(void **state)
{
    (void)state;
    say(LIVE, "bridge/devices",
        "[" DEVICE("0xa4c1380100010000", "house/kitchen", "M") "," METER_2 "]");
    assert_int_equal(w.notes_n, 2);
    assert_string_equal(w.notes[note_of(RP_NOTE_FILTER)].filter,
                        "site/z2m/house/kitchen/#");
    assert_non_null(strstr(w.notes[note_of(RP_NOTE_SETTING)].text, "slash"));
    say(LIVE, "house/kitchen", "{\"state\":\"ON\"}");
    assert_int_equal(meter(IEEE_1)->state, RP_ON);
    w.now_ms += HOLD_MS;
    say(LIVE, "house/kitchen/availability", "{\"state\":\"offline\"}");
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
    say(LIVE, "house/kitchen/set", "{\"state\":\"OFF\"}");
    assert_int_equal(w.inputs, 0);
    assert_int_equal(w.notes_n, 1);
    assert_int_equal(w.notes[0].kind, RP_NOTE_ASKED);
    assert_int_equal(w.notes[0].ieee, IEEE_1);
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
    assert_int_equal(w.notes_n, 0);
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

static void strangers_are_noted_each_minute_and_kept_within_a_limit(void **state)
{
    char topic[32];

    (void)state;
    list_two();
    say(LIVE, "stray", "{\"state\":\"ON\"}");
    assert_int_equal(w.notes_n, 1);
    assert_int_equal(w.notes[0].kind, RP_NOTE_UNKNOWN_DEVICE);
    assert_string_equal(w.notes[0].name, "stray");
    assert_true(w.notes[0].letter);
    say(LIVE, "stray", "{\"state\":\"ON\"}");
    assert_int_equal(w.notes_n, 0);
    say(RETAINED, "stray/availability", "online");
    assert_int_equal(w.notes_n, 0);
    list_two();
    w.now_ms += 59999;
    say(LIVE, "stray", "{\"state\":\"ON\"}");
    assert_int_equal(notes_of(RP_NOTE_UNKNOWN_DEVICE), 0);
    w.now_ms += 1;
    say(DUP, "stray", "{\"state\":\"ON\"}");
    assert_int_equal(w.notes_n, 1);
    assert_true(w.notes[0].redelivered);
    assert_non_null(strstr(w.notes[0].text, "2 more like it"));
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

static void what_is_retained_makes_no_letter(void **state)
{
    (void)state;
    list_two();
    say(RETAINED, "stray", "{\"state\":\"ON\"}");
    assert_int_equal(w.notes_n, 0); /* Of a device that was removed, most likely. */
    say(RETAINED, "pitch 1", "{");
    assert_int_equal(w.notes_n, 1);
    assert_false(w.notes[0].letter);
    say(LIVE, "pitch 1", "{");
    assert_true(w.notes[0].letter);
    assert_false(w.notes[0].redelivered);
    say(DUP, "pitch 1", "{");
    assert_true(w.notes[0].letter);
    assert_true(w.notes[0].redelivered);
}

static void a_group_is_no_stranger(void **state)
{
    (void)state;
    list_two();
    say(RETAINED, "bridge/groups",
        "[{\"id\":1,\"friendly_name\":\"row A\",\"members\":[{\"friendly_name\":\"pitch "
        "1\"}],\"scenes\":[]},{\"friendly_name\":\"pitch 2\"}]");
    say(LIVE, "row A", "{\"state\":\"ON\"}");
    assert_int_equal(w.notes_n, 0);
    say(LIVE, "row A/availability", "{\"state\":\"online\"}");
    assert_int_equal(w.notes_n, 0);
    say(LIVE, "row A", "{"); /* What it says is nobody's business. */
    assert_int_equal(w.notes_n, 0);
    say(LIVE, "pitch 2", "{\"state\":\"ON\"}"); /* A device stays a device. */
    assert_int_equal(meter(IEEE_2)->state, RP_ON);
    list_two(); /* Also after a new list. */
    say(LIVE, "row A", "{\"state\":\"ON\"}");
    assert_int_equal(w.notes_n, 0);
    say(LIVE, "bridge/groups", "[]");
    say(LIVE, "row A", "{\"state\":\"ON\"}");
    assert_int_equal(notes_of(RP_NOTE_UNKNOWN_DEVICE), 1);
}

static void topics_of_removed_devices_are_ignored(void **state)
{
    (void)state;
    list_two();
    say(LIVE, "pitch 1/availability", "{\"state\":\"online\"}");
    say(LIVE, "bridge/devices", "[" METER_2 "]");
    assert_false(meter(IEEE_1)->listed);
    assert_int_equal(rp_store_online(w.store), 0);
    say(RETAINED, "pitch 1/availability", "{\"state\":\"online\"}");
    assert_int_equal(w.inputs, 0);
    say(RETAINED, "pitch 1", "{\"state\":\"ON\",\"power\":5}");
    assert_int_equal(w.inputs, 0);
    world_begin(&w); /* Nor after a relief, when all that is retained comes again. */
    say(RETAINED, "pitch 1/availability", "{\"state\":\"online\"}");
    say(RETAINED, "pitch 1", "{\"state\":\"ON\",\"power\":5}");
    say(RETAINED, "bridge/devices", "[" METER_2 "]");
    assert_int_equal(w.inputs, 0);
    assert_false(meter(IEEE_1)->listed);
    assert_int_equal(rp_store_online(w.store), 0);
    assert_int_equal(rp_store_readings_last(w.store), 0);
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

static void a_time_in_the_future_is_warned_of_once_and_stored(void **state)
{
    (void)state;
    list_two();
    say(LIVE, "pitch 1",
        "{\"power\":5,\"last_seen\":\"2026-11-21T01:37:30Z\"}"); /* 50 s ahead */
    assert_int_equal(w.notes_n, 0);
    say(LIVE, "pitch 1", "{\"power\":6,\"last_seen\":\"2026-11-21T01:38:00Z\"}");
    assert_int_equal(w.notes_n, 1);
    assert_non_null(strstr(w.notes[0].text, "80 s ahead"));
    assert_non_null(strstr(w.notes[0].text, "set the clocks"));
    assert_false(w.notes[0].letter); /* Nothing of it is lost. */
    say(LIVE, "pitch 1", "{\"power\":7,\"last_seen\":\"2026-11-21T01:39:00Z\"}");
    assert_int_equal(w.notes_n, 0);
    list_two(); /* A new list does not forget. */
    say(LIVE, "pitch 1", "{\"power\":8,\"last_seen\":\"2026-11-21T01:39:01Z\"}");
    assert_int_equal(w.notes_n, 0);
    assert_int_equal(rp_store_readings_last(w.store), 4);
    assert_true(rp_store_reading(w.store, 4)->time_ms == w.now_ms + 141000);
    say(RETAINED, "pitch 2", "{\"power\":1,\"last_seen\":\"2027-01-01T00:00:00Z\"}");
    assert_int_equal(w.notes_n, 0);
    say(LIVE, "pitch 2", "{\"power\":2,\"last_seen\":\"2027-01-01T00:00:01Z\"}");
    assert_non_null(strstr(w.notes[0].text, "time of arrival counts"));
    /* One time for each: the retained one had the other. */
    assert_true(rp_store_reading(w.store, 5)->time_ms == w.now_ms + 1);
}

/* A new message was slipped in front of what is delivered again: that is not known. */
static void a_redelivery_behind_a_new_message_is_not_taken_for_known(void **state)
{
    const struct rp_store *s = w.store;
    uint64_t before;

    (void)state;
    list_two();
    before = rp_store_readings_last(s);
    say(LIVE, "pitch 1", "{\"state\":\"ON\",\"power\":3,\"last_seen\":1764000003000}");
    say(DUP, "pitch 1", "{\"state\":\"ON\",\"power\":1,\"last_seen\":1764000001000}");
    say(DUP, "pitch 1", "{\"state\":\"ON\",\"power\":2,\"last_seen\":1764000002000}");
    say(DUP, "pitch 1", "{\"state\":\"ON\",\"power\":3,\"last_seen\":1764000003000}");
    assert_int_equal(rp_store_readings_last(s) - before, 3);
    link_nr++; /* The next connection begins with what is delivered again. */
    say(DUP, "pitch 1", "{\"state\":\"ON\",\"power\":1,\"last_seen\":1764000001000}");
    say(DUP, "pitch 1", "{\"state\":\"ON\",\"power\":3,\"last_seen\":1764000003000}");
    assert_int_equal(rp_store_readings_last(s) - before, 3);
    link_nr = 0;
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

/* --- the rest of the port --- */

static void collect(void *data, const char *filter, int qos, bool fresh)
{
    char *all = data;

    assert_int_equal(qos, 1);
    assert_int_equal(fresh, strstr(filter, "bridge/state") != NULL);
    snprintf(all + strlen(all), 512 - strlen(all), "%s ", filter);
}

static void subscriptions_are_narrow(void **state)
{
    char all[512] = "";

    (void)state;
    ad_z2m_source.topics(area(), collect, all);
    assert_string_equal(all,
                        "site/z2m/bridge/state site/z2m/bridge/info "
                        "site/z2m/bridge/devices site/z2m/bridge/groups "
                        "site/z2m/bridge/health site/z2m/bridge/logging "
                        "site/z2m/+/availability site/z2m/+ site/z2m/+/set ");
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
        T(strangers_are_noted_each_minute_and_kept_within_a_limit),
        T(what_is_retained_makes_no_letter),
        T(a_group_is_no_stranger),
        T(topics_of_removed_devices_are_ignored),
        T(each_model_is_understood),
        T(last_seen_in_all_its_forms),
        T(one_bad_value_costs_only_itself),
        T(a_time_in_the_future_is_warned_of_once_and_stored),
        T(a_redelivery_behind_a_new_message_is_not_taken_for_known),
        T(redelivered_and_cached_are_said_so),
        T(subscriptions_are_narrow),
        T(other_topics_mean_nothing),
        T(only_what_may_be_repeated_is_a_command),
        T(a_command_is_a_topic_and_a_payload),
    };

    return cmocka_run_group_tests_name("z2m", tests, NULL, NULL);
}

/* What of a bridge's configuration costs us something: said until it is mended. */

#include "tests/z2m/site.h"

/* The node's view: what is told and not mended. */
enum { KEPT_MAX = 64 };

static struct
{
    uint16_t number;
    uint64_t ieee;
    char text[RP_NOTE_TEXT_SIZE];
} kept[KEPT_MAX];
static unsigned kept_n;

static void keep(void)
{
    for (unsigned i = 0; i < w.notes_n; i++) {
        unsigned k = 0;

        if (w.notes[i].kind != RP_NOTE_SETTING && w.notes[i].kind != RP_NOTE_MENDED) {
            continue;
        }
        while (k < kept_n &&
               (kept[k].number != w.notes[i].number || kept[k].ieee != w.notes[i].ieee)) {
            k++;
        }
        if (w.notes[i].kind == RP_NOTE_MENDED) {
            assert_true(k < kept_n); /* Nothing is mended that was not told. */
            kept[k] = kept[--kept_n];
            continue;
        }
        kept_n += k == kept_n;
        kept[k].number = w.notes[i].number;
        kept[k].ieee = w.notes[i].ieee;
        snprintf(kept[k].text, sizeof kept[k].text, "%s", w.notes[i].text);
    }
}

static void tell(int how, const char *topic, const char *payload)
{
    say(how, topic, payload);
    keep();
}

static bool stands(const char *text)
{
    for (unsigned i = 0; i < kept_n; i++) {
        if (strstr(kept[i].text, text) != NULL) {
            assert_true(strncmp(kept[i].text, "area north: ", 12) == 0);
            return true;
        }
    }
    return false;
}

static int open_world(void **state)
{
    kept_n = 0;
    return setup(state);
}

#define POOR                                                                             \
    "{\"config\":{\"advanced\":{\"last_seen\":\"disable\",\"output\":\"attribute\","     \
    "\"log_level\":\"info\",\"cache_state\":false},\"availability\":{\"enabled\":false}" \
    ",\"device_options\":{},\"mqtt\":{\"base_topic\":\"other\",\"force_disable_retain\"" \
    ":true}}}"
#define GOOD                                                                          \
    "{\"config\":{\"advanced\":{\"last_seen\":\"ISO_8601\",\"output\":\"json\","      \
    "\"log_level\":\"warning\",\"cache_state\":true,\"cache_state_send_on_startup\":" \
    "true},\"availability\":{\"enabled\":true},\"device_options\":{\"qos\":1},"       \
    "\"mqtt\":{\"base_topic\":\"site/z2m\",\"force_disable_retain\":false}}}"

static void each_is_told_once_and_until_it_is_mended(void **state)
{
    static const char *const mends[] = {"{qos: 1}",
                                        "ISO_8601",
                                        "availability: {enabled: true}",
                                        "{output: json}",
                                        "base_topic",
                                        "warning",
                                        "{cache_state: true}",
                                        "force_disable_retain: false"};

    (void)state;
    tell(RETAINED, "bridge/info", GOOD);
    assert_int_equal(w.notes_n, 0);
    tell(LIVE, "bridge/info", POOR);
    assert_int_equal(notes_of(RP_NOTE_SETTING), 8);
    for (size_t i = 0; i < 8; i++) {
        assert_true(stands(mends[i]));
    }
    tell(LIVE, "bridge/info", POOR);
    assert_int_equal(w.notes_n, 0);
    tell(RETAINED, "bridge/info", GOOD);
    assert_int_equal(notes_of(RP_NOTE_MENDED), 8);
    assert_int_equal(kept_n, 0);
    tell(LIVE, "bridge/info", GOOD);
    assert_int_equal(w.notes_n, 0);
    tell(LIVE, "bridge/info", POOR); /* And once more. */
    assert_int_equal(kept_n, 8);
    tell(LIVE, "bridge/info", "{"); /* Says nothing of anything. */
    assert_int_equal(kept_n, 8);
    kept_n = 0; /* A new watch begins without. */
    world_begin(&w);
    tell(LIVE, "bridge/info", POOR);
    assert_int_equal(kept_n, 8);
}

static void a_silent_start_matters_if_the_broker_retains_nothing(void **state)
{
    (void)state;
    tell(LIVE, "bridge/info",
         "{\"config\":{\"advanced\":{\"cache_state_send_on_startup\":false}}}");
    assert_true(stands("cache_state_send_on_startup: true"));
    tell(LIVE, "bridge/info",
         "{\"config\":{\"advanced\":{\"cache_state_send_on_startup\":false},"
         "\"device_options\":{\"retain\":true}}}");
    assert_false(stands("cache_state_send_on_startup"));
    tell(LIVE, "bridge/info", /* The other one says it all. */
         "{\"config\":{\"advanced\":{\"cache_state_send_on_startup\":false,"
         "\"cache_state\":false}}}");
    assert_false(stands("cache_state_send_on_startup"));
    assert_true(stands("{cache_state: true}"));
}

static void a_long_sentence_is_cut_between_characters(void **state)
{
    char info[1024];
    char base[201] = "";

    (void)state;
    for (int i = 0; i < 100; i++) {
        snprintf(base + 2 * i, sizeof base - 2 * (size_t)i, "\xc3\xa6");
    }
    for (int i = 0; i < 2; i++) {
        snprintf(info, sizeof info, "{\"config\":{\"mqtt\":{\"base_topic\":\"%s%s\"}}}",
                 i == 0 ? "" : "x", base);
        tell(LIVE, "bridge/info", info);
        assert_true(stands("\xc3\xa6"));
        for (unsigned k = 0; k < kept_n; k++) {
            size_t n = strlen(kept[k].text);

            assert_true(n < RP_NOTE_TEXT_SIZE);
            assert_true((unsigned char)kept[k].text[n - 1] != 0xc3);
        }
    }
}

/* --- QoS of single devices --- */

static void hear_at(const char *name, uint8_t qos, bool retained)
{
    char topic[64];

    snprintf(topic, sizeof topic, "site/z2m/%s", name);
    world_send(&w, &(struct rp_message){.topic = topic,
                                        .payload = "{\"state\":\"ON\"}",
                                        .len = 14,
                                        .retained = retained,
                                        .qos = qos});
    world_commit(&w);
    keep();
}

static void one_device_at_qos_0_is_the_example_for_all(void **state)
{
    (void)state;
    list_two();
    hear_at("pitch 1", 0, false); /* Nothing is known of its configuration. */
    assert_int_equal(kept_n, 0);
    tell(LIVE, "bridge/info", GOOD);
    hear_at("pitch 1", 1, false);
    hear_at("pitch 1", 0, true); /* What the broker has is not on its way. */
    assert_int_equal(kept_n, 0);
    hear_at("pitch 1", 0, false);
    assert_true(stands("'pitch 1' come at QoS 0"));
    hear_at("pitch 2", 0, false);
    hear_at("pitch 2", 1, false);
    assert_int_equal(kept_n, 1);
    assert_true(stands("'pitch 1'"));
    hear_at("pitch 1", 1, false);
    assert_int_equal(kept_n, 0);
    hear_at("pitch 2", 0, false);
    assert_true(stands("'pitch 2'"));
    /* It was removed: whoever is heard next shows what is left. */
    tell(LIVE, "bridge/devices", "[" METER_1 "]");
    hear_at("pitch 1", 1, false);
    assert_int_equal(kept_n, 0);
    /* All of them are, by the configuration: that is another sentence. */
    hear_at("pitch 1", 0, false);
    tell(LIVE, "bridge/info", POOR);
    assert_false(stands("'pitch 1'"));
    assert_true(stands("{qos: 1}"));
    hear_at("pitch 1", 0, false);
    assert_false(stands("'pitch 1'"));
}

/* --- two on one base topic --- */

#define INFO_OF(IEEE) "{\"config\":{},\"coordinator\":{\"ieee_address\":\"" IEEE "\"}}"
#define A "0x00124b0000000001"
#define B "0x00124b0000000002"
#define C "0x00124b0000000003"

static void coordinators_that_take_turns_are_two_bridges(void **state)
{
    (void)state;
    tell(RETAINED, "bridge/info", INFO_OF(A));
    tell(LIVE, "bridge/info", INFO_OF(B)); /* A new stick. */
    tell(LIVE, "bridge/info", INFO_OF(B));
    tell(LIVE, "bridge/info", INFO_OF(C));
    tell(LIVE, "bridge/info", INFO_OF("no address"));
    assert_false(stands("two Zigbee2MQTT"));
    tell(LIVE, "bridge/info", INFO_OF(B));
    assert_true(
        stands("two Zigbee2MQTT publish on site/z2m (coordinators " C " and " B ")"));
    assert_true(stands("base_topic of its own"));
    tell(LIVE, "bridge/info", INFO_OF(C));
    assert_int_equal(notes_of(RP_NOTE_SETTING), 0); /* Said. */
}

static void the_list_of_devices_has_a_coordinator_too(void **state)
{
    (void)state;
    list_two(); /* 0x00124b00aaaaaaaa */
    tell(LIVE, "bridge/info", INFO_OF(B));
    assert_false(stands("two Zigbee2MQTT"));
    tell(LIVE, "bridge/devices", "[" COORDINATOR "," METER_1 "]");
    assert_true(stands("two Zigbee2MQTT"));
}

static void health(uint64_t start_ms, uint64_t at_ms)
{
    char payload[160];

    snprintf(payload, sizeof payload,
             "{\"response_time\":%llu,\"process\":{\"uptime_sec\":%llu}}",
             (unsigned long long)at_ms, (unsigned long long)((at_ms - start_ms) / 1000));
    tell(LIVE, "bridge/health", payload);
}

static void processes_that_take_turns_are_two_bridges(void **state)
{
    const uint64_t first = NOW_MS - 86400000;
    const uint64_t second = NOW_MS - 3600000;

    (void)state;
    health(first, NOW_MS);
    health(second, NOW_MS + 600000); /* It was restarted. */
    health(second + 4999, NOW_MS + 1200000);
    health(second + 9000, NOW_MS + 1800000); /* Its clock is set little by little. */
    assert_int_equal(kept_n, 0);
    health(first, NOW_MS + 2400000);
    assert_int_equal(kept_n, 0); /* Long forgotten: the second one was alone since. */
    health(second + 9000, NOW_MS + 3000000);
    assert_true(
        stands("two Zigbee2MQTT publish on site/z2m (started 2026-11-20T01:36:40Z "
               "and 2026-11-21T00:36:49Z)"));
    health(first, NOW_MS + 3600000);
    health(second + 9000, NOW_MS + 4200000);
    assert_int_equal(kept_n, 1);
    /* One was stopped. */
    health(first, NOW_MS + 4800000);
    health(first, NOW_MS + 5400000);
    assert_int_equal(kept_n, 1);
    health(first, NOW_MS + 6000000);
    assert_int_equal(kept_n, 0);
    health(second + 9000, NOW_MS + 6600000);
    assert_int_equal(kept_n, 0);
}

static void restarts_are_not_two_bridges(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 20; i++) {
        health(NOW_MS + i * 60000, NOW_MS + i * 60000 + 30000);
        health(NOW_MS + i * 60000 + 500, NOW_MS + i * 60000 + 40000);
    }
    assert_int_equal(kept_n, 0);
    tell(LIVE, "bridge/health",
         "{\"response_time\":1,\"process\":{\"uptime_sec\":1e300}}");
    tell(LIVE, "bridge/health",
         "{\"response_time\":\"x\",\"process\":{\"uptime_sec\":1}}");
    tell(LIVE, "bridge/health", "{\"process\":[]}");
    tell(LIVE, "bridge/health", "{");
    assert_int_equal(kept_n, 0);
}

/* --- sentences about devices --- */

static void sentences_about_the_list_go_with_their_reason(void **state)
{
    (void)state;
    tell(LIVE, "bridge/devices",
         "[" METER_1 "," DEVICE("0xa4c1380100010001", "a+b", "M") "," DEVICE(
             "0xa4c1380100010002", "x/y", "M") "]");
    assert_true(stands("0xa4c1380100010001 has a wildcard"));
    assert_true(stands("slash"));
    assert_int_equal(kept_n, 2);
    tell(LIVE, "bridge/devices",
         "[" METER_1 "," DEVICE("0xa4c1380100010001", "a+b", "M") "," DEVICE(
             "0xa4c1380100010002", "x/y", "M") "]");
    assert_int_equal(notes_of(RP_NOTE_SETTING), 0);
    assert_int_equal(notes_of(RP_NOTE_FILTER), 1); /* This one is told each time. */
    tell(LIVE, "bridge/devices",
         "[" METER_1 "," DEVICE("0xa4c1380100010001", "", "M") "]");
    assert_int_equal(kept_n, 1);
    assert_true(stands("0xa4c1380100010001 is missing"));
    tell(LIVE, "bridge/devices", "[" METER_1);
    assert_int_equal(kept_n, 1); /* A damaged list says nothing. */
    tell(LIVE, "bridge/devices", "[" METER_1 "," METER_2 "]");
    assert_int_equal(kept_n, 0);
}

static void not_more_than_eight_devices_are_named(void **state)
{
    char list[8000] = "[";

    (void)state;
    for (int i = 0; i < 12; i++) {
        snprintf(list + strlen(list), sizeof list - strlen(list),
                 "%s{\"ieee_address\":\"0x%016x\",\"friendly_name\":\"+\"}",
                 i > 0 ? "," : "", i + 1);
    }
    snprintf(list + strlen(list), sizeof list - strlen(list), "]");
    tell(LIVE, "bridge/devices", list);
    assert_int_equal(kept_n, 8);
    tell(LIVE, "bridge/info", POOR);
    assert_int_equal(kept_n, 16); /* They do not keep others from being told. */
    /* The first ones are mended: */
    tell(LIVE, "bridge/devices",
         "[{\"ieee_address\":\"0x000000000000000c\",\"friendly_name\":"
         "\"+\"}]");
    assert_int_equal(kept_n, 9);
    assert_true(stands("0x000000000000000c"));
}

#define S(test) cmocka_unit_test_setup_teardown(test, open_world, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        S(each_is_told_once_and_until_it_is_mended),
        S(a_silent_start_matters_if_the_broker_retains_nothing),
        S(a_long_sentence_is_cut_between_characters),
        S(one_device_at_qos_0_is_the_example_for_all),
        S(coordinators_that_take_turns_are_two_bridges),
        S(the_list_of_devices_has_a_coordinator_too),
        S(processes_that_take_turns_are_two_bridges),
        S(restarts_are_not_two_bridges),
        S(sentences_about_the_list_go_with_their_reason),
        S(not_more_than_eight_devices_are_named),
    };

    return cmocka_run_group_tests_name("z2m_settings", tests, NULL, NULL);
}

/* What sources tell: dead letters, what a bridge says of a command, sentences. */

#include <stdio.h>
#include <string.h>

#include "tests/node/fake_node.h"

enum { A = 0xa, B = 0xb, S = 0x5, MINUTE = 60000 };

#define LISTED                                                                      \
    "[{\"ieee_address\":\"0x000000000000000a\",\"friendly_name\":\"a\",\"type\":"   \
    "\"Router\"},{\"ieee_address\":\"0x000000000000000b\",\"friendly_name\":\"b\"," \
    "\"type\":\"Router\"}]"

static struct ad_mqtt *broker(void)
{
    return fake.n->brokers[0].mqtt;
}

static void hear_as(const char *topic, const char *payload, bool retained, bool dup)
{
    struct rp_message m = {.topic = topic,
                           .payload = payload,
                           .len = strlen(payload),
                           .retained = retained,
                           .dup = dup,
                           .qos = 1};

    broker()->cb.message(broker()->data, &m);
}

static void hear(const char *topic, const char *payload)
{
    hear_as(topic, payload, false, false);
}

/* The burst is over; what it brought is agreed upon. */
static void burst(void)
{
    broker()->cb.burst(broker()->data, 1);
    fake_settle();
}

static int open_site(void **state)
{
    (void)state;
    fake_open(3);
    fake.n->config.limits.letters_max = 100;
    fake_begin();
    fake_lead();
    fake_bridges_ready();
    fake_device(S, 2);
    hear("z/north/bridge/devices", LISTED);
    burst();
    hear("z/north/a/availability", "online");
    hear("z/north/b/availability", "online");
    burst();
    return 0;
}

static int close_site(void **state)
{
    (void)state;
    fake_close();
    return 0;
}

/* --- letters --- */

static uint64_t letters(void)
{
    return rp_store_letters_last(fake.store);
}

static void a_bad_message_is_a_letter_before_it_is_acknowledged(void **state)
{
    const struct rp_letter *l;

    (void)state;
    hear("z/north/a", "{\"power\":");
    broker()->cb.burst(broker()->data, 1);
    assert_true(fake.n->brokers[0].waiting);
    fake_turn();
    assert_int_equal(letters(), 0);
    assert_true(fake.n->brokers[0].waiting);
    fake_settle();
    assert_false(fake.n->brokers[0].waiting);
    l = rp_store_letter(fake.store, 1);
    assert_string_equal(l->topic, "z/north/a");
    assert_non_null(strstr(l->reason, "not JSON"));
    assert_int_equal(l->area, 1);
    assert_int_equal(l->payload_len, 9);
    assert_memory_equal(l->payload, "{\"power\":", 9);
    /* One bad value: the rest is used. */
    hear("z/north/a", "{\"power\":7,\"energy\":-1}");
    burst();
    assert_non_null(strstr(rp_store_letter(fake.store, 2)->reason, "energy is -1"));
    assert_int_equal(rp_store_device(fake.store, A)->values.power_mw, 7000);
    assert_int_equal(rp_store_device(fake.store, A)->values.has, RP_HAS_POWER);
}

/* A batch that is sealed while a message is translated takes the count of its inputs
 * with it; they would be taken for none, and acknowledged before they are committed. */
static void a_letter_never_seals_the_batch_of_its_message(void **state)
{
    (void)state;
    hear("z/north/a", "{\"power\":1}");
    broker()->cb.burst(broker()->data, 1);
    fake_settle();
    rp_batch_tick(&fake.batch); /* Of somebody else, in the same turn. */
    fake.seal_in = 2;
    hear("z/north/a", "{");
    broker()->cb.burst(broker()->data, 1);
    assert_true(fake.n->brokers[0].waiting);
    fake_settle();
    assert_int_equal(letters(), 1);
}

static void letters_have_a_budget(void **state)
{
    char payload[32];

    (void)state;
    for (int i = 0; i < 25; i++) {
        snprintf(payload, sizeof payload, "{%d", i);
        hear("z/north/a", payload);
    }
    burst();
    assert_int_equal(letters(), 20);
    assert_int_equal(fake.n->letters_skipped, 5);
    assert_int_equal(fake.n->bad_payloads, 25);
    hear("z/south/d5", "{");            /* Each area has its own, */
    hear("z/north/x", "{\"power\":1}"); /* and strangers have one of their own. */
    burst();
    assert_int_equal(letters(), 22);
    fake_pass(2999, true);
    hear("z/north/a", "[");
    burst();
    assert_int_equal(letters(), 22);
    fake_pass(1, true);
    hear("z/north/a", "[");
    hear("z/north/a", "[]");
    burst();
    assert_int_equal(letters(), 23);
    fake_pass(10 * MINUTE, true);
    for (int i = 0; i < 25; i++) {
        hear("z/north/a", "{");
    }
    burst();
    assert_int_equal(letters(), 43); /* No more are saved than twenty. */
}

static void strangers_do_not_use_up_the_letters_of_the_known(void **state)
{
    char topic[32];

    (void)state;
    for (int i = 0; i < 30; i++) {
        snprintf(topic, sizeof topic, "z/north/x%d", i);
        hear(topic, "{\"power\":1}");
    }
    burst();
    assert_int_equal(letters(), 20);
    assert_non_null(
        strstr(rp_store_letter(fake.store, 1)->reason, "no device of this name"));
    hear("z/north/a", "{");
    burst();
    assert_int_equal(letters(), 21);
}

static void what_comes_again_is_no_second_letter(void **state)
{
    char longer[RP_LETTER_PAYLOAD_MAX + 32];

    (void)state;
    memset(longer, '[', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    hear_as("z/north/a", "{", false, true); /* The first time for us. */
    hear("z/north/a", longer);
    burst();
    assert_int_equal(letters(), 2);
    hear_as("z/north/a", "{", false, true);
    hear_as("z/north/a", longer, false, true);
    burst();
    assert_int_equal(letters(), 2);
    /* Who relieves finds them in the state. */
    memset(fake.n->areas[0].letters_recent, 0, sizeof fake.n->areas[0].letters_recent);
    fake_lose(0, 2, 5);
    fake_pass(200, true);
    fake.term = 6;
    fake_lead();
    hear_as("z/north/a", "{", false, true);
    hear_as("z/north/a", longer, false, true);
    burst();
    assert_int_equal(letters(), 2);
    hear_as("z/north/a", "[", false, true);
    longer[RP_LETTER_PAYLOAD_MAX] = '\0'; /* The same beginning, and no more. */
    hear_as("z/north/a", longer, false, true);
    hear("z/north/a", "{"); /* Sent once more, by the bridge. */
    burst();
    assert_int_equal(letters(), 5);
    hear_as("z/north/a", "{{", true, false); /* The broker has it. */
    burst();
    assert_int_equal(letters(), 5);
    /* Of this watch also when Postgres has them already. */
    rp_batch_letters_shipped(&fake.batch, 5);
    fake_settle();
    hear_as("z/north/a", "{", false, true);
    burst();
    assert_int_equal(letters(), 5);
}

/* --- what a bridge says of a command --- */

static void bridge_logs(const char *text)
{
    char payload[512];

    snprintf(payload, sizeof payload, "{\"level\":\"error\",\"message\":\"z2m: %s\"}",
             text);
    hear("z/north/bridge/logging", payload);
    burst();
}

static void send_out(const char *id, uint64_t ieee, const char *value)
{
    fake_pass(20, true); /* The pace. */
    fake_command(id, ieee, value, MINUTE);
    fake_settle();
    assert_int_equal(fake_known(id)->status, RP_SENT);
}

#define UNREACHABLE                                                                    \
    "Publish 'set' 'state' to 'a' failed: 'Error: ZCL command 0x0a/1 genOnOff.on({}, " \
    "{\\\"x\\\":1}) failed (NWK_NO_ROUTE)'"

static void a_failed_attempt_is_the_reason_until_the_end(void **state)
{
    static const char reason[] = "ZCL command 0x0a/1 genOnOff.on failed (NWK_NO_ROUTE)";
    unsigned published, sealed;

    (void)state;
    send_out("c1", A, "ON");
    send_out("c2", B, "ON");
    published = fake.published_n;
    bridge_logs(UNREACHABLE);
    assert_int_equal(fake_known("c1")->status, RP_SENT);
    assert_string_equal(fake_known("c1")->reason, reason);
    assert_string_equal(fake_known("c2")->reason, "");
    assert_int_equal(fake.published_n, published); /* Not at once. */
    sealed = fake.sealed;
    bridge_logs(UNREACHABLE);
    assert_int_equal(fake.sealed, sealed); /* Nothing new: no entry. */
    fake_pass(2 * MINUTE, true);
    assert_int_equal(fake_known("c1")->status, RP_EXPIRED);
    assert_string_equal(fake_known("c1")->reason,
                        "deadline passed; last attempt: ZCL command 0x0a/1 genOnOff.on "
                        "failed (NWK_NO_ROUTE)");
}

static void what_is_of_no_use_ends_the_command(void **state)
{
    (void)state;
    send_out("c1", A, "ON");
    bridge_logs("No converter available for 'state' on 'a': (\\\"OFF\\\")"); /* Not it. */
    bridge_logs("No converter available for 'color' on 'a': (\\\"ON\\\")");
    bridge_logs("No converter available for 'state' on 'b': (\\\"ON\\\")");
    bridge_logs(
        "Publish 'set' 'state' to 'a' failed: 'Error: 'foo' not allowed, choose "
        "between: on,off'");
    assert_int_equal(fake_known("c1")->status, RP_SENT);
    assert_string_equal(fake_known("c1")->reason, "");
    bridge_logs("No converter available for 'state' on 'a': (\\\"ON\\\")");
    assert_int_equal(fake_known("c1")->status, RP_FAILED);
    assert_string_equal(fake_known("c1")->reason,
                        "No converter available for 'state' on 'a': (\"ON\")");
    send_out("c2", A, "OFF");
    bridge_logs(
        "Publish 'set' 'state' to 'a' failed: 'Error: 'off' not allowed, choose "
        "between: x'");
    assert_int_equal(fake_known("c2")->status, RP_FAILED);
    send_out("c3", B, "OFF");
    bridge_logs("Entity 'b' is unknown");
    assert_int_equal(fake_known("c3")->status, RP_FAILED);
}

/* 17 s after the attempt, when another command is under way. */
static void an_old_error_ends_no_newer_command(void **state)
{
    (void)state;
    send_out("c1", A, "ON");
    fake_pass(17100, true);
    send_out("c2", A, "OFF");
    assert_int_equal(fake_known("c1")->status, RP_SUPERSEDED);
    bridge_logs(UNREACHABLE);
    assert_int_equal(fake_known("c2")->status, RP_SENT);
    fake_settle(); /* The older one is over: what comes now is the answer. */
    hear("z/north/a", "{\"state\":\"OFF\"}");
    burst();
    assert_int_equal(fake_known("c2")->status, RP_CONFIRMED);
    assert_string_equal(fake_known("c2")->reason, "");
    bridge_logs(UNREACHABLE); /* Nor one that has ended. */
    assert_string_equal(fake_known("c2")->reason, "");
}

/* One that waits was never tried: what the bridge says is of somebody else's. */
static void an_error_is_not_of_a_command_that_waits(void **state)
{
    (void)state;
    hear("z/north/bridge/state", "offline");
    burst();
    fake_command("c1", A, "ON", MINUTE);
    fake_settle();
    bridge_logs("Entity 'a' is unknown");
    bridge_logs(UNREACHABLE);
    assert_int_equal(fake_known("c1")->status, RP_ACCEPTED);
    assert_string_equal(fake_known("c1")->reason, "");
}

static void each_attempt_is_published_once(void **state)
{
    unsigned published;

    (void)state;
    send_out("c1", A, "ON");
    published = fake.published_n;
    bridge_logs(UNREACHABLE);
    fake_command("c1", A, "ON", MINUTE); /* Asked for once more. */
    fake_settle();
    nd_dispatch_run(fake.n);
    fake_settle();
    assert_int_equal(fake.published_n, published);
    fake_pass(2500, true);
    assert_int_equal(fake.published_n, published + 1);
    assert_int_equal(fake_known("c1")->attempts, 2);
}

/* --- sentences --- */

static bool stands(const char *text)
{
    for (unsigned i = 0; i < fake.n->notes_n; i++) {
        if (strstr(fake.n->notes[i].text, text) != NULL) {
            return true;
        }
    }
    return false;
}

static void sentences_stand_until_they_are_mended(void **state)
{
    (void)state;
    hear("z/north/bridge/info", "{\"config\":{\"device_options\":{\"qos\":0}}}");
    hear("z/south/bridge/info", "{\"config\":{\"device_options\":{\"qos\":0}}}");
    burst();
    assert_int_equal(fake.n->notes_n, 6); /* qos, last_seen, availability of each */
    assert_true(stands("area north: Zigbee2MQTT publishes states at QoS 0"));
    hear("z/north/bridge/info", "{\"config\":{\"device_options\":{\"qos\":1}}}");
    burst();
    assert_int_equal(fake.n->notes_n, 5);
    assert_false(stands("area north: Zigbee2MQTT publishes states at QoS 0"));
    assert_true(stands("area south: Zigbee2MQTT publishes states at QoS 0"));
    assert_true(stands("area north: Zigbee2MQTT does not watch"));
    hear("z/north/bridge/devices",
         "[{\"ieee_address\":\"0x00000000000000aa\",\"friendly_name\":\"+\"},"
         "{\"ieee_address\":\"0x00000000000000bb\",\"friendly_name\":\"#\"}]");
    burst();
    assert_int_equal(fake.n->notes_n, 7);
    hear("z/north/bridge/devices",
         "[{\"ieee_address\":\"0x00000000000000bb\",\"friendly_name\":\"bridge\"}]");
    burst();
    assert_int_equal(fake.n->notes_n, 6);
    assert_true(stands("00bb is the bridge's own"));
    assert_false(stands("wildcard"));
    /* Nobody wants to hear of an area that is off. */
    rp_batch_area_off(&fake.batch, 1, RP_OFF_OPERATOR, true);
    fake_settle();
    assert_false(stands("area north"));
    assert_int_equal(fake.n->notes_n, 3);
    rp_batch_area_off(&fake.batch, 1, RP_OFF_OPERATOR, false);
    fake_settle();
    hear_as("z/north/bridge/info", "{\"config\":{}}", true, false);
    burst();
    assert_int_equal(fake.n->notes_n, 6);
}

static void sentences_have_a_limit(void **state)
{
    struct rp_source_note note = {
        .kind = RP_NOTE_SETTING, .area = 1, .name = "", .text = "x", .number = 1};

    (void)state;
    for (uint64_t i = 1; i <= ND_NOTES_MAX + 3; i++) {
        note.ieee = i;
        nd_notes_take(&fake.n->areas[0], &note);
    }
    assert_int_equal(fake.n->notes_n, ND_NOTES_MAX);
    assert_int_equal(fake.n->notes_skipped, 3);
    note.ieee = 7;
    note.text = "other";
    nd_notes_take(&fake.n->areas[0], &note); /* Replaced: needs no room. */
    assert_true(stands("other"));
    note.kind = RP_NOTE_MENDED;
    note.ieee = ND_NOTES_MAX + 1; /* One that did not fit. */
    nd_notes_take(&fake.n->areas[0], &note);
    note.ieee = 1;
    nd_notes_take(&fake.n->areas[0], &note);
    assert_int_equal(fake.n->notes_n, ND_NOTES_MAX - 1);
    note.kind = RP_NOTE_SETTING;
    nd_notes_take(&fake.n->areas[0], &note);
    assert_int_equal(fake.n->notes_n, ND_NOTES_MAX);
}

#define T(test) cmocka_unit_test_setup_teardown(test, open_site, close_site)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_bad_message_is_a_letter_before_it_is_acknowledged),
        T(a_letter_never_seals_the_batch_of_its_message),
        T(letters_have_a_budget),
        T(strangers_do_not_use_up_the_letters_of_the_known),
        T(what_comes_again_is_no_second_letter),
        T(a_failed_attempt_is_the_reason_until_the_end),
        T(what_is_of_no_use_ends_the_command),
        T(an_old_error_ends_no_newer_command),
        T(an_error_is_not_of_a_command_that_waits),
        T(each_attempt_is_published_once),
        T(sentences_stand_until_they_are_mended),
        T(sentences_have_a_limit),
    };

    return cmocka_run_group_tests_name("notes", tests, NULL, NULL);
}

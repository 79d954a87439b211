/* bridge/logging: which errors are about a command, and which of them are for ever. The
 * texts are those of Zigbee2MQTT 2.14.1, captured. */

#include "tests/z2m/site.h"

struct expected
{
    const char *message;
    uint64_t ieee; /* 0: about no command */
    bool final;
    const char *property, *value, *reason;
};

static void check(const struct expected *e)
{
    say(LIVE, "bridge/logging", e->message);
    assert_int_equal(w.notes_n, 1);
    assert_int_equal(w.notes[0].kind, RP_NOTE_BRIDGE_ERROR);
    assert_true(w.notes[0].ieee == e->ieee);
    assert_int_equal(w.notes[0].final, e->final);
    assert_string_equal(w.notes[0].property, e->property);
    assert_string_equal(w.notes[0].value, e->value);
    assert_string_equal(w.notes[0].reason, e->reason);
    assert_int_equal(w.inputs, 0); /* The node knows the commands. */
}

#define ERROR(TEXT) "{\"level\":\"error\",\"message\":\"" TEXT "\"}"

static void a_device_that_cannot_be_reached_may_be_tried_again(void **state)
{
    static const struct expected cases[] = {
        {ERROR("z2m: Publish 'set' 'state' to 'pitch 1' failed: 'Error: ZCL command "
               "0xa4c1380100010000/1 genOnOff.off({}, {\\\"timeout\\\":10000,"
               "\\\"disableResponse\\\":false,\\\"disableRecovery\\\":false,"
               "\\\"disableDefaultResponse\\\":false,\\\"direction\\\":0,"
               "\\\"reservedBits\\\":0,\\\"writeUndiv\\\":false}) failed (Data request "
               "failed with error: 'NWK_NO_ROUTE' (0xcd))'"),
         IEEE_1, false, "state", "",
         "ZCL command 0xa4c1380100010000/1 genOnOff.off failed (Data request failed with "
         "error: 'NWK_NO_ROUTE' (0xcd))"},
        {ERROR(
             "z2m: Publish 'set' 'state' to 'pitch 2' failed: 'Error: ZCL command "
             "0xa4c1380100010001/1 manuSpecificTuya.dataRequest({\\\"seq\\\":1,"
             "\\\"dpValues\\\":[{\\\"dp\\\":16,\\\"datatype\\\":1,\\\"data\\\":{"
             "\\\"type\\\":\\\"Buffer\\\",\\\"data\\\":[0]}}]}, {\\\"timeout\\\":10000})"
             " failed (Data request failed with error: 'NWK_NO_ROUTE' (0xcd))'"),
         IEEE_2, false, "state", "",
         "ZCL command 0xa4c1380100010001/1 manuSpecificTuya.dataRequest failed (Data "
         "request failed with error: 'NWK_NO_ROUTE' (0xcd))"},
        {ERROR("z2m: Publish 'set' 'state' to 'pitch 1' failed: 'Error: Timeout\\nafter "
               "10000ms'"),
         IEEE_1, false, "state", "", "Timeout after 10000ms"},
        {ERROR("z2m: Publish 'set' 'state' to 'pitch 1' failed: 'x({}, {}'"), IEEE_1,
         false, "state", "", "x({}, {}"},
        {ERROR("z2m: Publish 'set' 'state' to 'pitch 1' failed: ''"), IEEE_1, false,
         "state", "", ""},
    };

    (void)state;
    list_two();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check(&cases[i]);
    }
}

static void what_is_of_no_use_is_final(void **state)
{
    static const struct expected cases[] = {
        {ERROR("z2m: Publish 'set' 'state' to 'pitch 1' failed: 'Error: 'foo' not "
               "allowed, choose between: toggle,off,on'"),
         IEEE_1, true, "state", "foo",
         "'foo' not allowed, choose between: toggle,off,on"},
        {ERROR("z2m: Publish 'set' 'state' to 'pitch 2' failed: 'Error: Key 'ON' not "
               "found in: [OPEN, CLOSE]'"),
         IEEE_2, true, "state", "ON", "Key 'ON' not found in: [OPEN, CLOSE]"},
        {ERROR("z2m: Publish 'set' 'state' to 'pitch 2' failed: 'Error: Value 'ON' is "
               "not allowed, expected one of 1,2'"),
         IEEE_2, true, "state", "ON", "Value 'ON' is not allowed, expected one of 1,2"},
        {ERROR("z2m: No converter available for 'state' on 'pitch 1': (\\\"ON\\\")"),
         IEEE_1, true, "state", "ON",
         "No converter available for 'state' on 'pitch 1': (\"ON\")"},
        {ERROR("z2m: Entity 'pitch 1' is unknown"), IEEE_1, true, "", "",
         "Entity 'pitch 1' is unknown"},
        {ERROR("z2m: Cannot publish to unsupported device 'pitch 2'"), IEEE_2, true, "",
         "", "Cannot publish to unsupported device 'pitch 2'"},
    };

    (void)state;
    list_two();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check(&cases[i]);
    }
}

static void the_rest_is_about_no_command(void **state)
{
    static const char *const texts[] = {
        "z2m: Entity 'nobody' is unknown",
        "z2m: Invalid message 'undefined', skipping...",
        "z2m: No converter available for 'get' 'state' ()",
        "z2m: No converter available for 'foo' on 'pitch 1': (1)", /* No text: not ours.
                                                                    */
        "z2m: No converter available for 'state' on 'nobody': (\\\"ON\\\")",
        "z2m: Device 'pitch 1' has no endpoint 'left'",
        "z2m: Publish 'get' 'state' to 'pitch 1' failed: 'Error: x'",
        "z2m: Publish 'set' 'state' to 'nobody' failed: 'Error: x'",
        "z2m: Publish 'set' 'state' to 'pitch 1",
        "z2m: Publish 'set' 'state' to 'pitch 1' failed",
        ("z2m: Publish 'set' 'a property that is longer than any there is' to 'pitch 1' "
         "failed: 'Error: x'"),
        "z2m: Failed to read state of 'pitch 1' after reconnect (x)",
        "z2m: Not connected to MQTT server!",
        "zh:zstack: Entity 'pitch 1' is unknown",
        "Entity 'pitch 1' is unknown",
        "z2m: ",
        "z2m",
        "",
        "z2m: Entity '' is unknown",
        "z2m: Entity 'pitch 1",
    };
    char message[256];

    (void)state;
    list_two();
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        snprintf(message, sizeof message, "{\"level\":\"error\",\"message\":\"%s\"}",
                 texts[i]);
        check(&(struct expected){message, 0, false, "", "", ""});
    }
    say(LIVE, "bridge/logging",
        "{\"level\":\"info\",\"message\":\"z2m: Entity 'pitch 1' "
        "is unknown\"}");
    assert_int_equal(w.notes_n, 0);
    say(LIVE, "bridge/logging", "what?");
    assert_int_equal(w.notes_n, 0);
    /* Nobody retains it, and if somebody does it is of long ago. */
    say(RETAINED, "bridge/logging", ERROR("z2m: Entity 'pitch 1' is unknown"));
    assert_true(w.notes[0].ieee == 0);
}

/* Names may have in them what the sentences are made of. */
static void quotes_in_names_do_not_confuse(void **state)
{
    (void)state;
    say(LIVE, "bridge/devices",
        "[" DEVICE("0xa4c1380100010000", "Anna's", "M") "," DEVICE("0xa4c1380100010001",
                                                                   "x' to 'y", "M") "]");
    check(&(struct expected){ERROR("z2m: Publish 'set' 'state' to 'Anna's' failed: "
                                   "'Error: no'"),
                             IEEE_1, false, "state", "", "no"});
    check(&(struct expected){ERROR("z2m: Publish 'set' 'state' to 'x' to 'y' failed: "
                                   "'Error: no'"),
                             IEEE_2, false, "state", "", "no"});
    check(&(struct expected){ERROR("z2m: Entity 'Anna's' is unknown"), IEEE_1, true, "",
                             "", "Entity 'Anna's' is unknown"});
    check(&(struct expected){ERROR("z2m: Cannot publish to unsupported device 'Anna's'"),
                             IEEE_1, true, "", "",
                             "Cannot publish to unsupported device 'Anna's'"});
}

static void a_long_reason_is_cut_between_characters(void **state)
{
    char message[2048] =
        "{\"level\":\"error\",\"message\":\"z2m: Publish 'set' 'state' to "
        "'pitch 1' failed: 'Error: x";

    (void)state;
    list_two();
    for (int i = 0; i < 200; i++) {
        snprintf(message + strlen(message), sizeof message - strlen(message), "\xc3\xa6");
    }
    snprintf(message + strlen(message), sizeof message - strlen(message), "'\"}");
    say(LIVE, "bridge/logging", message);
    assert_true(w.notes[0].ieee == IEEE_1);
    assert_int_equal(strlen(w.notes[0].reason), RP_TEXT_SIZE - 1);
    assert_string_equal(w.notes[0].reason + RP_TEXT_SIZE - 3, "\xc3\xa6");
    message[strlen(message) - 3] = '\0'; /* One byte less before it. */
    memmove(strstr(message, "Error: x") + 7, strstr(message, "Error: x") + 8,
            strlen(strstr(message, "Error: x") + 8) + 1);
    snprintf(message + strlen(message), sizeof message - strlen(message), "'\"}");
    say(LIVE, "bridge/logging", message);
    assert_int_equal(strlen(w.notes[0].reason), RP_TEXT_SIZE - 2);
}

/* A rename or a removal says so before anybody can be told that the name is unknown. */
static void after_a_rename_the_old_name_is_nobodys(void **state)
{
    (void)state;
    list_two();
    say(LIVE, "bridge/devices",
        "[" METER_2 "," DEVICE("0xa4c1380100010000", "gate", "M") "]");
    check(&(struct expected){ERROR("z2m: Entity 'pitch 1' is unknown"), 0, false, "", "",
                             ""});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_device_that_cannot_be_reached_may_be_tried_again),
        T(what_is_of_no_use_is_final),
        T(the_rest_is_about_no_command),
        T(quotes_in_names_do_not_confuse),
        T(a_long_reason_is_cut_between_characters),
        T(after_a_rename_the_old_name_is_nobodys),
    };

    return cmocka_run_group_tests_name("z2m_errors", tests, NULL, NULL);
}

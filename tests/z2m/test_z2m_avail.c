/* Who is there: what the bridge says, what is held, and what it says no more. */

#include "tests/z2m/site.h"

#define ONLINE "{\"state\":\"online\"}"
#define OFFLINE "{\"state\":\"offline\"}"

static void availability_in_both_forms(void **state)
{
    (void)state;
    list_two();
    say(LIVE, "bridge/state", ONLINE);
    w.now_ms += HOLD_MS;
    say(RETAINED, "pitch 1/availability", ONLINE);
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
    say(LIVE, "pitch 1/availability", "offline");
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
    say(RETAINED, "pitch 1/availability", "");
    assert_int_equal(w.inputs, 0);
    assert_int_equal(w.notes_n, 0);
    say(LIVE, "pitch 1/availability", "{\"state\":\"asleep\"}");
    assert_int_equal(w.notes_n, 1);
    assert_true(w.notes[0].letter);
}

static void offline_is_held_while_the_bridge_is_not_there(void **state)
{
    (void)state;
    list_two();
    say(LIVE, "bridge/state", ONLINE);
    say(LIVE, "bridge/info", "{}");
    say(LIVE, "pitch 1/availability", ONLINE);
    say(LIVE, "bridge/state", OFFLINE);
    w.now_ms += 3600000;
    say(LIVE, "bridge/state", ONLINE);
    say(LIVE, "bridge/info", "{}");
    say(LIVE, "pitch 1/availability", OFFLINE);
    say(LIVE, "pitch 2/availability", OFFLINE); /* Never was online: nothing to hold. */
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
    assert_int_equal(meter(IEEE_1)->told, RP_OFFLINE);
    assert_int_equal(meter(IEEE_2)->avail, RP_OFFLINE);
    w.now_ms += HOLD_MS;
    say(LIVE, "pitch 1/availability", OFFLINE);
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
}

/* Also what was said before anybody knew the names is held. */
static void what_comes_before_the_list_is_held_too(void **state)
{
    (void)state;
    list_two();
    say(LIVE, "bridge/state", ONLINE);
    say(LIVE, "bridge/info", "{}");
    say(LIVE, "pitch 1/availability", ONLINE);
    say(LIVE, "gate/availability", OFFLINE);
    assert_int_equal(w.inputs, 0);
    say(LIVE, "bridge/devices", "[" DEVICE("0xa4c1380100010000", "gate", "M") "]");
    assert_int_equal(meter(IEEE_1)->told, RP_OFFLINE);
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
}

static void a_device_that_moves_takes_what_was_said_with_it(void **state)
{
    (void)state;
    rp_batch_device(&w.batch, 2, IEEE_1, "pitch 1", "M");
    rp_batch_told(&w.batch, IEEE_1, RP_OFFLINE, HOLD_MS); /* It has left there. */
    world_commit(&w);
    say(RETAINED, "pitch 1/availability", ONLINE);
    say(RETAINED, "bridge/devices", "[" METER_1 "]");
    assert_int_equal(meter(IEEE_1)->area, 2);
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
    say(RETAINED, "bridge/devices", "[" METER_1 "]"); /* Nor does a list forget it. */
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}");
    assert_int_equal(meter(IEEE_1)->area, 1);
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
    say(LIVE, "pitch 1", "{\"state\":\"OFF\"}");
    assert_int_equal(w.inputs, 1); /* Told once. */
}

static void what_another_area_says_of_it_means_nothing(void **state)
{
    (void)state;
    rp_batch_device(&w.batch, 2, IEEE_1, "pitch 1", "M");
    rp_batch_told(&w.batch, IEEE_1, RP_ONLINE, HOLD_MS);
    world_commit(&w);
    say(RETAINED, "bridge/devices", "[" METER_1 "]");
    say(LIVE, "pitch 1/availability", OFFLINE); /* It misses it here: no wonder. */
    assert_int_equal(w.inputs, 0);
    assert_int_equal(meter(IEEE_1)->told, RP_ONLINE);
}

/* --- words that were lost --- */

static void talk(const char *name, int how)
{
    char payload[160];

    snprintf(payload, sizeof payload, "{\"state\":\"ON\",\"power\":1,\"last_seen\":%llu}",
             (unsigned long long)w.now_ms);
    say(how, name, payload);
}

static void pitch_1_is_offline(void)
{
    list_two();
    say(LIVE, "bridge/state", ONLINE);
    say(LIVE, "bridge/info",
        "{\"config\":{\"advanced\":{\"last_seen\":\"ISO_8601\"},"
        "\"availability\":{\"enabled\":true,\"active\":{\"timeout\":"
        "10}}}}");
    talk("pitch 1", LIVE);
    talk("pitch 2", LIVE);
    say(LIVE, "pitch 1/availability", OFFLINE);
    say(LIVE, "pitch 2/availability", ONLINE);
    w.now_ms += HOLD_MS;
    say(LIVE, "pitch 1/availability", OFFLINE);
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
}

/* Told so now; what follows is later. */
static void tell_online(void)
{
    say(LIVE, "pitch 1/availability", ONLINE);
    w.now_ms += 1000;
}

static void who_goes_on_talking_is_online(void **state)
{
    (void)state;
    pitch_1_is_offline();
    w.now_ms += 1000;
    talk("pitch 1", LIVE); /* Its "online" follows, as a rule. */
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
    w.now_ms += 9999;
    talk("pitch 1", LIVE);
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
    w.now_ms += 1;
    talk("pitch 1", LIVE);
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
    assert_int_equal(meter(IEEE_1)->told, RP_ONLINE);
    w.now_ms += 1;
    talk("pitch 1", LIVE);
    assert_int_equal(w.inputs, 1);
}

static void only_the_device_itself_talks(void **state)
{
    (void)state;
    pitch_1_is_offline();
    for (int i = 0; i < 10; i++) {
        w.now_ms += 20000;
        talk("pitch 1", RETAINED);
        w.now_ms += 20000;
        talk("pitch 1", DUP);
        say(LIVE, "pitch 1", "{\"state\":\"ON\",\"power\":2}");
        say(LIVE, "pitch 1",
            "{\"state\":\"OFF\",\"power\":2,\"last_seen\":\"2026-11-21T01:30:00Z\"}");
        say(LIVE, "pitch 1",
            "{\"state\":\"OFF\",\"power\":2,\"last_seen\":\"2099-11-21T01:30:00Z\"}");
        assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
    }
    w.now_ms += 1;
    talk("pitch 1", LIVE);
    w.now_ms += 9000;
    say(LIVE, "pitch 1/availability", OFFLINE); /* Said once more: it begins anew. */
    w.now_ms += 9000;
    talk("pitch 1", LIVE);
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
}

/* Every 30 s something of the area, so that it is known to be listened to. */
static void pass(unsigned minutes)
{
    for (unsigned i = 0; i < 2 * minutes; i++) {
        w.now_ms += 30000;
        talk("pitch 2", LIVE);
    }
}

static void who_is_silent_after_a_reconnect_is_offline(void **state)
{
    (void)state;
    pitch_1_is_offline();
    tell_online();
    w.now_ms += 30000;
    talk("pitch 1", LIVE);
    pass(60); /* Without a reconnect nothing is in doubt: the bridge would say so. */
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
    say(LIVE, "bridge/state", ONLINE);
    pass(14);
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
    pass(2);
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
    assert_int_equal(meter(IEEE_2)->avail, RP_ONLINE);
    /* And back, without a word of the bridge. */
    talk("pitch 1", LIVE);
    w.now_ms += 10000;
    talk("pitch 1", LIVE);
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
    pass(60);
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE); /* Looked at once. */
}

/* Seen: a broker that was killed came back with an old list and an old "online", of a
 * meter that had been removed. */
static void who_was_never_heard_is_silent_too(void **state)
{
    (void)state;
    list_two();
    say(RETAINED, "bridge/info",
        "{\"config\":{\"advanced\":{\"last_seen\":\"epoch\"},"
        "\"availability\":{\"active\":{\"timeout\":10}}}}");
    tell_online();
    say(RETAINED, "bridge/state", ONLINE);
    pass(14);
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
    pass(2);
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
}

static void a_start_leaves_no_doubt(void **state)
{
    (void)state;
    pitch_1_is_offline();
    tell_online();
    say(LIVE, "bridge/state", ONLINE);
    say(LIVE, "bridge/info",
        "{\"config\":{\"advanced\":{\"last_seen\":\"ISO_8601\"},"
        "\"availability\":{\"enabled\":true,\"active\":{\"timeout\":"
        "10}}}}");
    pass(60);
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
}

/* Silence is none if nobody listened: the reader may have been away for hours. */
static void a_gap_is_no_silence(void **state)
{
    (void)state;
    pitch_1_is_offline();
    tell_online();
    say(LIVE, "bridge/state", ONLINE);
    for (int i = 0; i < 10; i++) {
        pass(14);
        w.now_ms += 60001;
        assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
    }
    talk("pitch 1", LIVE);
    pass(60);
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
}

static void who_may_be_silent_is_not_doubted(void **state)
{
    static const char battery[] =
        "[{\"friendly_name\":\"pitch 1\",\"ieee_address\":\"0xa4c1380100010000\","
        "\"type\":\"EndDevice\",\"definition\":{\"model\":\"TO-Q-SY2-163JZT\"}}," METER_2
        "]";
    static const char *const infos[] = {
        /* No time is told; no last_seen; one device may take half an hour. */
        "{\"config\":{\"advanced\":{\"last_seen\":\"ISO_8601\"},\"availability\":true}}",
        "{\"config\":{\"availability\":{\"active\":{\"timeout\":10}}}}",
        "{\"config\":{\"advanced\":{\"last_seen\":\"epoch\"},\"availability\":{"
        "\"active\":"
        "{\"timeout\":10}},\"devices\":{\"0x1\":{\"availability\":false},\"0x2\":"
        "{\"availability\":{\"timeout\":30}}}}}",
    };

    (void)state;
    pitch_1_is_offline();
    tell_online();
    for (size_t i = 0; i < sizeof infos / sizeof infos[0]; i++) {
        say(RETAINED, "bridge/info", infos[i]);
        say(LIVE, "bridge/state", ONLINE);
        pass(34);
        assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
    }
    pass(1);
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
    tell_online();
    say(LIVE, "bridge/devices", battery);
    say(LIVE, "bridge/state", ONLINE);
    pass(60);
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(availability_in_both_forms),
        T(offline_is_held_while_the_bridge_is_not_there),
        T(what_comes_before_the_list_is_held_too),
        T(a_device_that_moves_takes_what_was_said_with_it),
        T(what_another_area_says_of_it_means_nothing),
        T(who_goes_on_talking_is_online),
        T(only_the_device_itself_talks),
        T(who_is_silent_after_a_reconnect_is_offline),
        T(who_was_never_heard_is_silent_too),
        T(a_start_leaves_no_doubt),
        T(a_gap_is_no_silence),
        T(who_may_be_silent_is_not_doubted),
    };

    return cmocka_run_group_tests_name("z2m_avail", tests, NULL, NULL);
}

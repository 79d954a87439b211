/* What a bridge says of itself: starts, reconnects, what it repeats from its cache. */

#include "tests/z2m/site.h"

#define ONLINE "{\"state\":\"online\"}"
#define OFFLINE "{\"state\":\"offline\"}"
/* Of the meters that have said something, the state as the cache has it. */
#define CACHED \
    "{\"state\":\"OFF\",\"power\":5,\"last_seen\":\"2026-11-21T01:30:00.000Z\"}"

static void online_is_not_ready_until_live_info(void **state)
{
    (void)state;
    say(LIVE, "bridge/state", OFFLINE);
    assert_int_equal(area()->bridge, RP_OFFLINE);
    say(LIVE, "bridge/state", ONLINE);
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
    say(RETAINED, "bridge/state", ONLINE);
    assert_true(ready());
    teardown(state);
    setup(state);
    say(RETAINED, "bridge/state", ONLINE);
    assert_false(ready());
    say(RETAINED, "bridge/info", "{}");
    assert_true(ready());
    teardown(state);
    setup(state);
    say(RETAINED, "bridge/info", "{}");
    say(LIVE, "bridge/state", ONLINE); /* It starts just now: that info is older. */
    assert_false(ready());
}

static void a_short_break_without_new_info_heals_by_signs_of_life(void **state)
{
    (void)state;
    list_two();
    say(LIVE, "bridge/info", "{}");
    say(LIVE, "bridge/state", OFFLINE);
    say(LIVE, "bridge/state", ONLINE);
    w.now_ms += 100;
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}"); /* From the cache of a start, perhaps. */
    assert_false(ready());
    w.now_ms += 5000;
    say(DUP, "pitch 1", "{\"state\":\"OFF\"}");
    assert_false(ready());
    say(LIVE, "pitch 2", "{\"state\":\"ON\"}");
    assert_true(ready());
}

static void a_stale_offline_is_proved_wrong(void **state)
{
    (void)state;
    list_two();
    say(RETAINED, "bridge/state", OFFLINE);
    w.now_ms += 2999;
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}"); /* Sent before it, perhaps. */
    assert_int_equal(area()->bridge, RP_OFFLINE);
    w.now_ms += 1;
    say(RETAINED, "pitch 1", "{\"state\":\"ON\"}");
    say(DUP, "pitch 1", "{\"state\":\"OFF\"}");
    say(RETAINED, "bridge/health", "{\"response_time\":1}");
    say(LIVE, "group", "{\"state\":\"ON\"}"); /* Anybody can publish that. */
    assert_int_equal(area()->bridge, RP_OFFLINE);
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}");
    assert_true(ready());
    say(LIVE, "bridge/state", OFFLINE);
    w.now_ms += 3000;
    say(LIVE, "bridge/health", "{\"response_time\":1}");
    assert_true(ready());
    say(LIVE, "bridge/state", OFFLINE);
    world_begin(&w); /* Who relieves knows since when. */
    w.now_ms += 3000;
    say(LIVE, "pitch 2", "{\"state\":\"ON\"}");
    assert_true(ready());
}

/* --- whoever runs it says whether it is there --- */

static void process(bool runs)
{
    ad_z2m_source.process(w.source, runs, w.now_ms, &w.batch);
    world_commit(&w);
}

static void a_bridge_that_is_not_there_says_nothing(void **state)
{
    (void)state;
    list_two();
    say(LIVE, "bridge/state", ONLINE);
    say(LIVE, "bridge/info", "{}");
    assert_true(ready()); /* On the host that died. */
    world_begin(&w);
    process(false);
    assert_int_equal(area()->bridge, RP_OFFLINE);
    process(false);
    assert_int_equal(w.inputs, 0);
    w.now_ms += 8000;
    say(RETAINED, "bridge/info", "{}"); /* What the broker had when it ended. */
    say(RETAINED, "bridge/state", ONLINE);
    say(LIVE, "bridge/state", ONLINE); /* That waited in a queue. */
    say(LIVE, "bridge/info", "{}");
    say(LIVE, "bridge/health", "{\"response_time\":1}");
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}");
    say(LIVE, "pitch 1/availability", ONLINE);
    assert_int_equal(area()->bridge, RP_OFFLINE);
}

static void a_bridge_that_was_started_is_waited_for(void **state)
{
    (void)state;
    list_two();
    process(false);
    process(true);
    say(RETAINED, "bridge/info", "{}"); /* The broker's, to a reader that comes late. */
    say(RETAINED, "bridge/state", ONLINE);
    assert_int_equal(area()->bridge, RP_OFFLINE);
    w.now_ms += 3000;
    process(true);
    assert_int_equal(w.inputs, 0);
    say(LIVE, "bridge/state", ONLINE);
    assert_int_equal(area()->bridge, RP_ONLINE);
    assert_false(ready());
    say(LIVE, "bridge/info", "{}");
    assert_true(ready());
    process(true);
    assert_int_equal(w.inputs, 0);
    process(false); /* It ended. */
    assert_int_equal(area()->bridge, RP_OFFLINE);
    process(true);
    w.now_ms += 4000;
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}"); /* It had waited in a queue. */
    assert_int_equal(area()->bridge, RP_OFFLINE);
    w.now_ms += 26000; /* Its own words were missed: what is retained is asked for. */
    w.notes_n = 0;
    process(true);
    assert_int_equal(notes_of(RP_NOTE_FILTER), 2);
    assert_string_equal(w.notes[0].filter, "site/z2m/bridge/info");
    assert_string_equal(w.notes[1].filter, "site/z2m/bridge/state");
    say(RETAINED, "bridge/info", "{}");
    say(RETAINED, "bridge/state", ONLINE);
    assert_true(ready());
}

/* --- starts that nobody announced --- */

/* Both meters online and known by a full report; the bridge online for an hour. */
static void steady(void)
{
    list_two();
    say(LIVE, "bridge/state", ONLINE);
    say(LIVE, "bridge/info", "{}");
    for (int i = 0; i < 2; i++) {
        say(LIVE, i == 0 ? "pitch 1" : "pitch 2",
            "{\"state\":\"ON\",\"power\":1,\"linkquality\":100,"
            "\"last_seen\":\"2026-11-21T01:35:00.000Z\"}");
        say(LIVE, i == 0 ? "pitch 1/availability" : "pitch 2/availability", ONLINE);
    }
    w.now_ms += 3600000;
    assert_true(ready());
    assert_int_equal(rp_store_online(w.store), 2);
}

static void a_reconnect_is_no_start(void **state)
{
    uint64_t since;

    (void)state;
    steady();
    since = area()->bridge_at_ms;
    say(LIVE, "bridge/state", ONLINE);
    assert_int_equal(w.inputs, 0);
    /* It still says at once who is not there. */
    w.now_ms += 10000;
    say(LIVE, "pitch 1/availability", OFFLINE);
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
    /* And an operator may change a setting. */
    say(LIVE, "bridge/info", "{}");
    assert_int_equal(w.inputs, 0);
    assert_true(area()->bridge_at_ms == since);
}

static void a_start_that_was_announced_is_told_once(void **state)
{
    (void)state;
    steady();
    say(LIVE, "bridge/state", OFFLINE);
    w.now_ms += 2000;
    say(LIVE, "bridge/state", ONLINE);
    w.now_ms += 200;
    say(LIVE, "bridge/info", "{}");
    assert_int_equal(w.inputs, 1);
    assert_true(area()->bridge_at_ms == w.now_ms - 200);
}

/* It was online for a moment. What came meanwhile is heard when it is gone again. */
static void a_start_that_ends_at_once_is_none(void **state)
{
    (void)state;
    steady();
    say(LIVE, "bridge/state", OFFLINE);
    say(LIVE, "bridge/state", ONLINE);
    say(LIVE, "bridge/state", OFFLINE);
    say(LIVE, "pitch 1/availability", OFFLINE);
    assert_int_equal(area()->bridge, RP_OFFLINE);
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
}

static void an_online_that_info_follows_was_a_start(void **state)
{
    (void)state;
    steady();
    say(LIVE, "bridge/state", ONLINE);
    w.now_ms += 200;
    say(LIVE, "bridge/info", "{}");
    assert_int_equal(w.inputs, 2);
    assert_true(area()->bridge_at_ms == w.now_ms); /* Devices are held from here on. */
    assert_true(ready());
    say(LIVE, "pitch 1/availability", OFFLINE);
    say(LIVE, "pitch 2/availability", OFFLINE);
    assert_int_equal(rp_store_online(w.store), 2);
    assert_int_equal(meter(IEEE_1)->told, RP_OFFLINE);
    say(LIVE, "bridge/info", "{}"); /* The list makes it come again. */
    assert_int_equal(w.inputs, 0);
    w.now_ms += HOLD_MS;
    rp_batch_lapse(&w.batch, IEEE_1, HOLD_MS, 0);
    world_commit(&w);
    assert_int_equal(meter(IEEE_1)->avail, RP_OFFLINE);
}

/* At QoS 0, info is lost while the watch changes hands. The availability of a device
 * never comes without need but in a start. */
static void a_start_whose_info_was_lost_is_known_by_availability(void **state)
{
    (void)state;
    steady();
    world_begin(&w);
    say(LIVE, "bridge/state", ONLINE);
    assert_int_equal(w.inputs, 0);
    say(RETAINED, "pitch 2/availability", OFFLINE); /* What the broker has is no sign. */
    assert_int_equal(meter(IEEE_2)->avail, RP_OFFLINE);
    say(LIVE, "row A/availability", ONLINE); /* Nor is what anybody may publish. */
    assert_int_equal(w.inputs, 0);
    say(DUP, "pitch 1/availability", OFFLINE);
    assert_int_equal(w.inputs, 3);
    assert_int_equal(meter(IEEE_1)->avail, RP_ONLINE);
    assert_true(area()->bridge_at_ms == w.now_ms);
    assert_true(ready());
}

static void a_start_is_over_after_ten_seconds(void **state)
{
    (void)state;
    steady();
    say(LIVE, "bridge/state", ONLINE);
    w.now_ms += 9999;
    say(LIVE, "bridge/info", "{}");
    assert_int_equal(w.inputs, 2);
    w.now_ms += 3600000;
    say(LIVE, "bridge/state", ONLINE);
    w.now_ms += 10000;
    say(LIVE, "bridge/info", "{}");
    assert_int_equal(w.inputs, 0);
    say(LIVE, "bridge/state", ONLINE);
    w.now_ms -= 7200000; /* The clock was set back: it begins anew, and ends. */
    say(LIVE, "bridge/health", "{\"response_time\":1}");
    say(LIVE, "bridge/info", "{}");
    assert_int_equal(w.inputs, 2);
}

/* --- after a relief --- */

/* The session brings nothing that was retained before. */
static void what_nobody_has_said_is_asked_for_once(void **state)
{
    static const char *const filters[] = {
        "site/z2m/bridge/info", "site/z2m/bridge/devices", "site/z2m/bridge/groups"};

    (void)state;
    steady();
    world_begin(&w);
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}");
    w.now_ms += 1999;
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}");
    assert_int_equal(w.notes_n, 0); /* Commands come first. */
    w.now_ms += 1;
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}");
    assert_int_equal(w.notes_n, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_string_equal(w.notes[i].filter, filters[i]);
        assert_true(w.notes[i].fresh);
    }
    w.now_ms += 3600000;
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}");
    assert_int_equal(w.notes_n, 0);
    /* A new session has had all but the groups of an old bridge. */
    world_begin(&w);
    say(RETAINED, "bridge/info", "{}");
    list_two();
    w.now_ms += 2000;
    say(LIVE, "pitch 1", "{\"state\":\"ON\"}");
    assert_int_equal(w.notes_n, 1);
    assert_string_equal(w.notes[0].filter, filters[2]);
}

/* --- what is repeated --- */

static uint64_t readings(void)
{
    return rp_store_readings_last(w.store);
}

static void want_on(void)
{
    rp_batch_command(&w.batch, "c", IEEE_1, "state", "OFF", "cli", w.now_ms + 60000);
    rp_batch_sent(&w.batch, 1, 1, w.now_ms + 2000);
    world_commit(&w);
    assert_int_equal(rp_store_command(w.store, "c")->status, RP_SENT);
}

/* The cache says OFF, as is wanted; but the device has not heard of it yet. */
static void cache_comes(const char *payload)
{
    uint64_t before = readings();

    say(LIVE, "pitch 1", payload);
    assert_int_equal(rp_store_command(w.store, "c")->status, RP_SENT);
    assert_true(readings() == before);
    assert_int_equal(meter(IEEE_1)->state, RP_ON);
}

static void device_comes(void)
{
    char payload[160];

    snprintf(payload, sizeof payload,
             "{\"state\":\"OFF\",\"power\":0,\"linkquality\":90,\"last_seen\":%llu}",
             (unsigned long long)w.now_ms);
    say(LIVE, "pitch 1", payload);
    assert_int_equal(rp_store_command(w.store, "c")->status, RP_CONFIRMED);
    assert_int_equal(meter(IEEE_1)->state, RP_OFF);
}

/* Seen: after bridge/info, not before it. */
static void the_cache_of_an_announced_start_measures_nothing(void **state)
{
    (void)state;
    steady();
    want_on();
    say(LIVE, "bridge/state", OFFLINE);
    say(LIVE, "bridge/state", ONLINE);
    say(LIVE, "bridge/info", "{}");
    cache_comes(CACHED);
    w.now_ms += 20;
    device_comes();
}

static void the_cache_of_a_silent_start_measures_nothing(void **state)
{
    (void)state;
    steady();
    want_on();
    say(LIVE, "bridge/state", ONLINE);
    say(LIVE, "bridge/info", "{}");
    cache_comes(CACHED);
    device_comes();
}

/* Info was lost, or comes late: a device that has had a linkquality has none only in a
 * bridge that has not heard it yet. */
static void the_cache_is_known_by_what_it_lacks(void **state)
{
    (void)state;
    steady();
    want_on();
    say(LIVE, "bridge/state", ONLINE);
    cache_comes(CACHED);
    world_begin(&w); /* Who relieves may not even have seen "online". */
    cache_comes("{\"state\":\"OFF\",\"power\":6,\"last_seen\":\"2026-11-21T01:34:00Z\"}");
    w.now_ms += 29999;
    cache_comes(CACHED);
    device_comes();
}

/* In the long run whoever leaves linkquality out has been told to. */
static void a_bridge_without_linkquality_is_heard_all_the_same(void **state)
{
    (void)state;
    steady();
    want_on();
    say(LIVE, "pitch 2", "{\"state\":\"ON\",\"linkquality\":1}"); /* The watch begins. */
    w.now_ms += 30000;
    say(LIVE, "pitch 1", "{\"state\":\"OFF\",\"power\":7}");
    assert_int_equal(rp_store_command(w.store, "c")->status, RP_CONFIRMED);
}

/* Seen: a device that was heard before the bridge was at the broker has a linkquality
 * and a last_seen of now, with the values of the last time the cache was saved. It must
 * not confirm anything; and it is newer, so it is a reading. */
static void the_first_report_after_a_start_confirms_nothing(void **state)
{
    uint64_t before;

    (void)state;
    steady();
    want_on();
    say(LIVE, "bridge/state", OFFLINE);
    say(LIVE, "bridge/state", ONLINE);
    say(LIVE, "bridge/info", "{}");
    before = readings();
    say(LIVE, "pitch 1",
        "{\"state\":\"OFF\",\"power\":5,\"linkquality\":99,"
        "\"last_seen\":\"2026-11-21T02:36:40.000Z\"}");
    assert_int_equal(rp_store_command(w.store, "c")->status, RP_SENT);
    assert_true(readings() == before + 1);
    w.now_ms += 20;
    device_comes();
}

static void a_bridge_that_repeats_nothing_has_no_first_report(void **state)
{
    (void)state;
    steady();
    want_on();
    say(LIVE, "bridge/state", ONLINE);
    say(LIVE, "bridge/info",
        "{\"config\":{\"advanced\":{\"cache_state_send_on_startup\":false}}}");
    device_comes();
}

static void the_first_report_is_the_caches_for_five_seconds(void **state)
{
    (void)state;
    steady();
    want_on();
    say(LIVE, "bridge/state", ONLINE);
    say(LIVE, "bridge/info", "{}");
    w.now_ms += 5000;
    device_comes();
}

/* A relief in the middle of a start: what was agreed upon tells when it was. */
static void who_relieves_knows_of_the_start(void **state)
{
    (void)state;
    steady();
    want_on();
    say(LIVE, "bridge/state", ONLINE);
    say(LIVE, "bridge/info", "{}");
    w.now_ms += 100;
    world_begin(&w);
    say(LIVE, "pitch 1",
        "{\"state\":\"OFF\",\"power\":5,\"linkquality\":99,\"last_seen\":"
        "\"2026-11-21T02:36:40.000Z\"}");
    assert_int_equal(rp_store_command(w.store, "c")->status, RP_SENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(online_is_not_ready_until_live_info),
        T(a_new_session_learns_readiness_from_what_is_retained),
        T(a_short_break_without_new_info_heals_by_signs_of_life),
        T(a_stale_offline_is_proved_wrong),
        T(a_bridge_that_is_not_there_says_nothing),
        T(a_bridge_that_was_started_is_waited_for),
        T(a_reconnect_is_no_start),
        T(a_start_that_was_announced_is_told_once),
        T(a_start_that_ends_at_once_is_none),
        T(an_online_that_info_follows_was_a_start),
        T(a_start_whose_info_was_lost_is_known_by_availability),
        T(a_start_is_over_after_ten_seconds),
        T(what_nobody_has_said_is_asked_for_once),
        T(the_cache_of_an_announced_start_measures_nothing),
        T(the_cache_of_a_silent_start_measures_nothing),
        T(the_cache_is_known_by_what_it_lacks),
        T(a_bridge_without_linkquality_is_heard_all_the_same),
        T(the_first_report_after_a_start_confirms_nothing),
        T(a_bridge_that_repeats_nothing_has_no_first_report),
        T(the_first_report_is_the_caches_for_five_seconds),
        T(who_relieves_knows_of_the_start),
    };

    return cmocka_run_group_tests_name("z2m_bridge", tests, NULL, NULL);
}

/* Could the watch be relieved right now? Node 1 (ada) stands by or leads; what the others
 * tell is what the test wants. */

#include <stdio.h>
#include <string.h>

#include "tests/node/fake_node.h"

#define BROKER "127.0.0.1:1883"
#define COORDINATOR "127.0.0.1:6638"

static struct nd_verdict verdict;

static enum nd_ready_state judge(void)
{
    nd_ready_judge(fake.n, &verdict);
    return verdict.state;
}

static void says(const char *text, const char *what)
{
    if (strstr(text, what) == NULL) {
        fail_msg("'%s' is not in: %s", what, text);
    }
}

/* What bea says of herself, as one that could relieve unless @broker is not well. */
static void tell_standby(uint64_t from, enum nd_ready_state broker)
{
    struct sy_buf b = {0};

    sy_mp_map(&b, 5);
    sy_mp_kstr(&b, "raft", "follower");
    sy_mp_kstr(&b, "watch", "standby");
    sy_mp_kuint(&b, "committed", 0);
    sy_mp_kuint(&b, "wall_ms", fake.wall_ms);
    sy_mp_str(&b, "ready");
    sy_mp_array(&b, 2);
    for (unsigned i = 0; i < 2; i++) {
        bool known = i == 0 || broker != ND_READY_UNKNOWN;

        sy_mp_map(&b, 4);
        sy_mp_kstr(&b, "what", i == 0 ? "disk" : "broker");
        sy_mp_kstr(&b, "about", i == 0 ? "" : "main");
        if (known) {
            sy_mp_kbool(&b, "ok", i == 0 || broker == ND_READY_YES);
        } else {
            sy_mp_str(&b, "ok");
            sy_mp_nil(&b);
        }
        sy_mp_kstr(&b, "text", i == 0 ? "90 MiB free" : "10.0.0.2:1883 it says");
    }
    fake_gossip(from, &b, NULL);
    sy_buf_free(&b);
}

/* What the watch says: how far it has committed, and what its clock shows. */
static void tell_watch(uint64_t from, uint64_t committed, int64_t clock_ms,
                       const char *relief)
{
    struct sy_buf b = {0};

    sy_mp_map(&b, 6);
    sy_mp_kstr(&b, "raft", "leader");
    sy_mp_kstr(&b, "watch", "active");
    sy_mp_kuint(&b, "committed", committed);
    sy_mp_kuint(&b, "wall_ms", (uint64_t)((int64_t)fake.wall_ms + clock_ms));
    sy_mp_kstr(&b, "relief", relief);
    sy_mp_str(&b, "ready");
    sy_mp_array(&b, 0);
    fake_gossip(from, &b, NULL);
    sy_buf_free(&b);
}

static void begin(unsigned nodes)
{
    struct ad_mqtt_config *m;

    fake_open(nodes);
    m = &fake.n->config.brokers[0];
    m->addresses_n = 1;
    snprintf(m->addresses[0].host, sizeof m->addresses[0].host, "127.0.0.1");
    m->addresses[0].port = 1883;
    snprintf(fake.n->config.areas[1].coordinator,
             sizeof fake.n->config.areas[1].coordinator, "tcp://" COORDINATOR);
}

/* bea has the watch, ada stands by and all she tried was well. */
static int open_standby(void **state)
{
    struct rp_batch b = {0};

    (void)state;
    begin(3);
    fake_begin();
    fake.leader = 2;
    fake.term = 3;
    rp_batch_watch(&b, 3, 2);
    fake_foreign(&b);
    tell_watch(2, 1, 0, "");
    tell_standby(3, ND_READY_NO);
    fake_pass(100, false);
    assert_true(fake_probe(BROKER, true, "took us"));
    assert_true(fake_probe(COORDINATOR, true, "took us"));
    assert_true(fake_probe("postgres", true, "took us"));
    return 0;
}

/* ada has the watch. */
static int open_watch(void **state)
{
    (void)state;
    begin(3);
    fake_begin();
    tell_standby(2, ND_READY_YES);
    tell_standby(3, ND_READY_YES);
    fake_lead();
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fake_close();
    return 0;
}

static const char *own(enum nd_ready_state expected)
{
    static char text[256];

    assert_int_equal(nd_ready_node(fake.n, 1, text, sizeof text), expected);
    return text;
}

/* --- one that stands by --- */

static void who_has_all_it_needs_could_relieve(void **state)
{
    (void)state;
    says(own(ND_READY_YES), "all 7 conditions hold");
    assert_int_equal(judge(), ND_READY_YES);
    says(verdict.text, "ada could relieve bea right now");
}

static void the_probes_have_a_client_id_of_their_own(void **state)
{
    (void)state;
    assert_string_equal(fake.probes[0].address, BROKER);
    assert_string_equal(fake.probes[0].client_id, "vagt-test-ready1");
    assert_string_equal(fake.probes[1].address, COORDINATOR);
    assert_string_equal(fake.probes[1].client_id, "");
}

static void what_fails_is_tried_again_sooner(void **state)
{
    (void)state;
    fake_pass(2500, false);
    tell_watch(2, 1, 0, "");
    assert_int_equal(fake.probes_n, 3);
    assert_true(fake_probe(BROKER, false, "refused"));
    says(own(ND_READY_NO), "broker main: refused, 0 s ago");
    fake_pass(1900, false);
    assert_int_equal(fake.probes_n, 3);
    fake_pass(200, false);
    tell_watch(2, 1, 0, "");
    assert_int_equal(fake.probes_n, 4);
    assert_true(fake_probe(BROKER, true, "took us"));
    own(ND_READY_YES);
}

/* What it may do there can change while it is connected. */
static void once_an_hour_a_broker_is_connected_to_anew(void **state)
{
    (void)state;
    fake.n->config.has_postgres = false;
    fake.n->config.areas[1].enabled = false;
    fake_pass(3599000, false);
    assert_int_equal(fake.probes_n, 3);
    fake_pass(2000, false);
    assert_int_equal(fake.probes_n, 4);
    assert_null(fake.probes[0].cb);
    assert_true(fake_probe(BROKER, false, "wrong password"));
}

static void postgres_and_coordinators_count(void **state)
{
    (void)state;
    fake_pass(10100, false);
    tell_watch(2, 1, 0, "");
    assert_true(fake_probe(COORDINATOR, false, "silent"));
    says(own(ND_READY_NO), "coordinator south: silent");
    fake_pass(2100, false);
    assert_true(fake_probe(COORDINATOR, true, "took us"));
    fake_pass(50000, false);
    assert_true(fake_probe("postgres", false, "no right"));
    fake_probe(COORDINATOR, true, "took us");
    fake_probe(BROKER, true, "took us");
    tell_watch(2, 1, 0, "");
    says(own(ND_READY_NO), "postgres: no right");
}

static void who_is_behind_for_two_seconds_could_not(void **state)
{
    (void)state;
    tell_watch(2, 50, 0, "");
    fake_pass(1500, false);
    tell_watch(2, 60, 0, "");
    own(ND_READY_YES);
    fake_pass(600, false);
    tell_watch(2, 70, 0, "");
    says(own(ND_READY_NO), "caught up: 69 entries and 2100 ms behind bea");
    fake.applied = 60; /* What was aimed at is there; the newest is not. */
    tell_watch(2, 71, 0, "");
    says(own(ND_READY_YES), "all");
    fake.applied = 0;
}

static void a_clock_that_is_off_is_told(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ND_CLOCKS; i++) {
        tell_watch(2, 1, 2500, "");
    }
    says(own(ND_READY_NO), "clock: 2500 ms behind bea");
    tell_watch(2, 1, 0, "");
    for (unsigned i = 1; i < ND_CLOCKS; i++) {
        tell_watch(2, 1, -2500, ""); /* What took long to come is no difference. */
    }
    says(own(ND_READY_YES), "all");
    tell_watch(2, 1, -2500, "");
    says(own(ND_READY_NO), "clock: 2500 ms ahead of bea");
}

static void without_a_leader_nobody_is_level(void **state)
{
    (void)state;
    fake.leader = 0;
    says(own(ND_READY_NO), "caught up: it knows of no leader");
    fake.leader = 2;
    fake_pass(2100, false);
    says(own(ND_READY_UNKNOWN), "nothing was heard of the leader");
}

static void a_witness_tries_nothing(void **state)
{
    (void)state;
    begin(3);
    fake.n->config.nodes[0].witness = true;
    fake_begin();
    fake_pass(1000, false);
    assert_int_equal(fake.probes_n, 0);
}

static void on_watch_nothing_is_tried(void **state)
{
    (void)state;
    fake_forget();
    fake_pass(60000, true);
    for (unsigned i = 0; i < FAKE_PROBES_MAX; i++) {
        assert_null(fake.probes[i].cb);
    }
}

/* --- the whole --- */

static void each_condition_of_the_site_counts(void **state)
{
    (void)state;
    assert_int_equal(judge(), ND_READY_YES);
    says(verdict.text, "bea could relieve ada right now");
    fake.linked[2] = false;
    assert_int_equal(judge(), ND_READY_NO);
    says(verdict.text,
         "quorum: without ada 1 of 3 nodes would be left, and 2 are needed");
    fake.linked[2] = true;
    rp_batch_fact(&fake.batch, "maintenance.until", "1764000099000");
    fake_settle();
    assert_int_equal(judge(), ND_READY_NO);
    says(verdict.text, "maintenance: for ");
    fake.wall_ms = 1764000099001;
    assert_int_equal(judge(), ND_READY_YES);
}

static void one_standby_that_is_well_is_enough(void **state)
{
    (void)state;
    tell_standby(2, ND_READY_NO);
    assert_int_equal(judge(), ND_READY_YES);
    says(verdict.text, "cleo could relieve ada");
    tell_standby(3, ND_READY_UNKNOWN);
    assert_int_equal(judge(), ND_READY_UNKNOWN);
    tell_standby(3, ND_READY_NO);
    assert_int_equal(judge(), ND_READY_NO);
    says(verdict.text,
         "bea could not relieve ada: broker main: 10.0.0.2:1883 it says; "
         "cleo could not");
    fake.n->config.nodes[2].witness = true; /* It would not, however well it is. */
    tell_standby(3, ND_READY_YES);
    assert_int_equal(judge(), ND_READY_NO);
    says(verdict.text, "bea could not relieve ada");
}

static void what_was_told_long_ago_does_not_count(void **state)
{
    (void)state;
    fake_pass(1900, true);
    assert_int_equal(judge(), ND_READY_YES);
    fake_pass(200, true);
    assert_int_equal(judge(), ND_READY_UNKNOWN);
}

static void keep(enum nd_ready_state broker, unsigned ms)
{
    for (; ms >= 500; ms -= 500) {
        tell_standby(2, broker);
        tell_standby(3, ND_READY_NO);
        fake_pass(500, true);
    }
}

/* Told once, after it has been so for a while. */
static void a_change_is_told_after_three_seconds(void **state)
{
    (void)state;
    keep(ND_READY_YES, 2500);
    assert_int_equal(fake.n->ready.told, ND_TOLD_NOTHING);
    keep(ND_READY_YES, 1500);
    assert_int_equal(fake.n->ready.told, ND_TOLD_READY);
    keep(ND_READY_NO, 2000);
    keep(ND_READY_YES, 1000);
    keep(ND_READY_NO, 2000);
    assert_int_equal(fake.n->ready.told, ND_TOLD_READY);
    keep(ND_READY_NO, 2000);
    assert_int_equal(fake.n->ready.told, ND_TOLD_LOST);
    keep(ND_READY_YES, 4000);
    assert_int_equal(fake.n->ready.told, ND_TOLD_READY);
    keep(ND_READY_UNKNOWN, 10000);
    assert_int_equal(fake.n->ready.told, ND_TOLD_READY); /* Not known is not lost. */
    keep(ND_READY_UNKNOWN, 6000);
    assert_int_equal(fake.n->ready.told, ND_TOLD_LOST);
}

static void the_answer_has_all_of_it(void **state)
{
    struct sy_cur c, part;

    (void)state;
    fake_ask(1, "ready", NULL);
    c = fake_result();
    part = c;
    assert_true(nd_map_find(&part, "ready") && sy_mp_get_bool(&part));
    part = c;
    assert_true(nd_map_find(&part, "site"));
    assert_int_equal(sy_mp_get_array(&part), 3);
    part = c;
    assert_true(nd_map_find(&part, "nodes"));
    assert_int_equal(sy_mp_get_array(&part), 2);
    assert_int_equal(nd_map_uint(part, "id", 0), 2);
    assert_true(nd_map_find(&part, "rows"));
    assert_int_equal(sy_mp_get_array(&part), 2);
    sy_mp_skip(&c);
    assert_false(c.bad);
    fake_ask(1, "metrics", NULL);
    c = fake_result();
    part = c;
    assert_int_equal(nd_map_uint(c, "ready", 9), 1);
    assert_int_equal(
        nd_map_uint(c, "ready{node=\"bea\",condition=\"broker\",about=\"main\"}", 9), 1);
    sy_mp_skip(&part);
    assert_false(part.bad);
}

static void a_site_that_never_could_is_left_in_peace(void **state)
{
    (void)state;
    begin(1);
    fake_begin();
    fake_lead();
    fake_pass(20000, true);
    assert_int_equal(fake.n->ready.told, ND_TOLD_NOTHING);
    judge();
    assert_true(verdict.pointless);
}

/* Rows of a node that does not know what they are. */
static void nonsense_is_not_taken_for_ready(void **state)
{
    struct sy_buf b = {0};
    char text[256];

    (void)state;
    sy_mp_map(&b, 1);
    sy_mp_str(&b, "ready");
    sy_mp_array(&b, 3);
    sy_mp_uint(&b, 1);
    sy_mp_map(&b, 0);
    sy_mp_str(&b, "x");
    fake_gossip(2, &b, NULL);
    assert_int_equal(nd_ready_node(fake.n, 2, text, sizeof text), ND_READY_UNKNOWN);
    b.len = 0;
    sy_mp_map(&b, 1);
    sy_mp_kuint(&b, "ready", 7);
    fake_gossip(2, &b, NULL);
    assert_int_equal(nd_ready_node(fake.n, 2, text, sizeof text), ND_READY_UNKNOWN);
    sy_buf_free(&b);
    fake_ask(1, "ready", NULL);
    (void)fake_result();
}

/* --- how the watch came here --- */

static void the_cause_of_an_election_is_kept(void **state)
{
    const char *text = fake.n->relief.text;
    struct sy_buf b = {0};

    (void)state;
    /* Silence. */
    fake_pass(1000, false);
    fake.leader = 0;
    fake_turn();
    fake_lead();
    says(text, "ada was elected for term 4 with the log up to ");
    says(text,
         "bea was silent for an election timeout (1000 to 2000 ms); its last word "
         "of itself came 1100 ms before");
    says(text, ". It acted 0 ms after its election");
    /* A broken connection. */
    fake_lose(0, 3, 5);
    fake.linked[3] = false;
    fake.cb.link(fake.n, 3, false, true);
    fake_pass(40, false);
    fake.leader = 0;
    fake_lead();
    says(text, "the connection to cleo broke 40 ms before");
    /* A handover. */
    fake_lose(0, 2, 7);
    sy_mp_map(&b, 1);
    sy_mp_kstr(&b, "handing_over", "it was stopped");
    fake_gossip(2, &b, NULL);
    sy_buf_free(&b);
    fake_lead();
    says(text, "bea handed over: it was stopped");
    /* It had wanted to, and died before it could. */
    fake_lose(0, 2, 9);
    fake.linked[2] = false;
    fake.cb.link(fake.n, 2, false, true);
    fake.leader = 0;
    fake_lead();
    says(text, "the connection to bea broke 0 ms before");
}

/* A sentence of `why` has @what in it. */
static void why_says(const char *what)
{
    struct sy_cur c;
    char text[500] = "";
    bool found = false;

    fake_ask(1, "why", NULL);
    c = fake_result();
    assert_true(nd_map_find(&c, "sentences"));
    for (uint32_t i = sy_mp_get_array(&c); i > 0 && !found; i--) {
        sy_mp_get_str(&c, text, sizeof text);
        found = strstr(text, what) != NULL;
    }
    if (!found) {
        fail_msg("why does not say: %s", what);
    }
}

static void who_leads_again_says_so(void **state)
{
    (void)state;
    says(fake.n->relief.text, ": nobody had led since it started.");
    fake_lose(0, 0, 2);
    fake_lead();
    says(fake.n->relief.text, ": it had led before, and nobody since.");
}

static void why_there_is_no_leader(void **state)
{
    (void)state;
    fake_turn();
    fake.leader = 0;
    why_says(
        "Why there is none: bea was silent for an election timeout (1000 to 2000 "
        "ms); its last word of itself came 100 ms before.");
    fake.linked[2] = false;
    fake.cb.link(fake.n, 2, false, true);
    why_says(
        "Why there is none: the connection to bea broke 0 ms before (its process "
        "ended, or its machine).");
}

static void why_a_handover_is_told_before_it_begins(void **state)
{
    struct sy_cur map;
    uint64_t age;
    unsigned gossips = fake.gossips;
    char text[80];

    (void)state;
    fake_ask_text(1, "handover", "to", "bea");
    assert_int_equal(fake.transfers, 1);
    assert_int_equal(fake.gossips, gossips + 2); /* To each of the others, at once. */
    assert_true(nd_status_node_map(fake.n, 1, &map, &age));
    nd_map_str(map, "handing_over", text, sizeof text);
    assert_string_equal(text, "an operator asked for it");
    fake_pass(6000, true);
    assert_true(nd_status_node_map(fake.n, 1, &map, &age));
    nd_map_str(map, "handing_over", text, sizeof text);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define S(F) cmocka_unit_test_setup_teardown(F, open_standby, close_all)
#define W(F) cmocka_unit_test_setup_teardown(F, open_watch, close_all)
        S(who_has_all_it_needs_could_relieve),
        S(the_probes_have_a_client_id_of_their_own),
        S(what_fails_is_tried_again_sooner),
        S(once_an_hour_a_broker_is_connected_to_anew),
        S(postgres_and_coordinators_count),
        S(who_is_behind_for_two_seconds_could_not),
        S(a_clock_that_is_off_is_told),
        S(without_a_leader_nobody_is_level),
        cmocka_unit_test_teardown(a_witness_tries_nothing, close_all),
        W(on_watch_nothing_is_tried),
        W(each_condition_of_the_site_counts),
        W(one_standby_that_is_well_is_enough),
        W(what_was_told_long_ago_does_not_count),
        W(a_change_is_told_after_three_seconds),
        W(the_answer_has_all_of_it),
        cmocka_unit_test_teardown(a_site_that_never_could_is_left_in_peace, close_all),
        W(nonsense_is_not_taken_for_ready),
        S(the_cause_of_an_election_is_kept),
        S(why_there_is_no_leader),
        W(who_leads_again_says_so),
        W(why_a_handover_is_told_before_it_begins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

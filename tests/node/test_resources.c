/* What moves with the watch: when it is started here, what a handover waits for. The
 * keeper is played; the machine's own rules are in tests/consensus/test_resource.c. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/node/fake_node.h"

static int keeper;             /* our end of its sockets */
static char said[256];         /* what it was asked for: "stop second; stop first; " */
static bool fails[2];          /* what it answers */
static const char *other_name; /* the second resource, of another configuration */

int ad_keeper_start(const struct ad_keeper_config *c, const struct sy_log *log,
                    int *ret_fd, struct sy_errbuf *eb)
{
    int pair[2];

    (void)log;
    (void)eb;
    assert_int_equal(c->n, 2);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    *ret_fd = pair[0];
    keeper = pair[1];
    return 0;
}

const char *ad_resource_kind_name(enum ad_resource_kind kind)
{
    return kind == AD_RES_EXEC ? "exec" : "?";
}

/* The configuration of the fakes is not whole enough for the real one. */
void nd_config_print(const struct nd_config *c, struct sy_buf *out)
{
    sy_buf_fmt(out, "%s", c->resources[1].name);
}

/* The keeper hears what it is asked for, and, if @answer, has done it. False: nothing. */
static bool hear(bool answer)
{
    static const char *const names[] = {"first", "second"};
    struct ad_keeper_message m;
    size_t len = strlen(said);
    bool any = false;

    while (recv(keeper, &m, sizeof m, MSG_DONTWAIT) == (ssize_t)sizeof m) {
        if (m.what != AD_KEEPER_START && m.what != AD_KEEPER_STOP) {
            continue;
        }
        len += (size_t)snprintf(said + len, sizeof said - len, "%s %s; ",
                                m.what == AD_KEEPER_START ? "start" : "stop",
                                names[m.which]);
        m.ok = m.what == AD_KEEPER_STOP || !fails[m.which];
        any = true;
        if (answer) {
            assert_int_equal(send(keeper, &m, sizeof m, 0), sizeof m);
        }
    }
    if (any && answer) {
        fake.poll_cb(fake.poll, 0, UV_READABLE);
    }
    return any;
}

/* All that is asked for is done, until nothing more is. */
static const char *served(void)
{
    static char text[sizeof said];

    do {
        fake_settle();
    } while (hear(true));
    memcpy(text, said, sizeof text);
    said[0] = '\0';
    return text;
}

static int open_site(void **state)
{
    static const char *const names[] = {"first", "second"};
    struct nd_config *c;

    (void)state;
    fake_open(3);
    c = &fake.n->config;
    c->takeover_wait_ms = 4000;
    for (unsigned i = 0; i < 2; i++) {
        struct nd_config_resource *r = &c->resources[i];

        snprintf(r->name, sizeof r->name, "%s",
                 i == 1 && other_name != NULL ? other_name : names[i]);
        r->run.has_exec = true;
        r->stop_timeout_ms = 2000;
        r->local = true;
    }
    snprintf(c->resources[1].after[0], RP_NAME_SIZE, "first");
    c->resources[1].after_n = 1;
    c->resources_n = 2;
    said[0] = '\0';
    fails[0] = fails[1] = false;
    fake_begin();
    return 0;
}

static int close_site(void **state)
{
    (void)state;
    fake.leading = 0;
    (void)served();
    fake_close();
    close(keeper);
    return 0;
}

static bool held_by(const char *value)
{
    const struct rp_fact *f = rp_store_fact(fake.store, "resource.holder");

    return strcmp(f != NULL ? f->value : "", value) == 0;
}

/* Node 2 had them in term 1. */
static void had_by_another(void)
{
    struct rp_batch b = {0};

    (void)served();
    fake_lose(0, 2, 1);
    rp_batch_watch(&b, 1, 2);
    rp_batch_fact(&b, "resource.holder", "2 1");
    fake_foreign(&b);
    assert_true(held_by("2 1"));
}

static void node_2_says(uint64_t term, bool held)
{
    struct sy_buf b = {0};

    sy_mp_map(&b, 2);
    sy_mp_kuint(&b, "term", term);
    sy_mp_kuint(&b, "held", held);
    fake_gossip(2, &b, NULL);
    sy_buf_free(&b);
    fake_pass(100, true);
}

static void what_may_be_left_is_stopped_first(void **state)
{
    (void)state;
    assert_string_equal(served(), "stop second; stop first; ");
    fake_lead();
    assert_string_equal(served(), "start first; start second; ");
    assert_true(held_by("1 1"));
    assert_string_equal(nd_site_state(fake.n, "second"), "running");
}

static void nothing_starts_before_it_is_written_who_holds_them(void **state)
{
    (void)state;
    (void)served();
    fake.leading = ++fake.term;
    fake.role = CS_LEADER;
    fake.leader = 1;
    fake.lease_until_ms = UINT64_MAX;
    for (unsigned i = 0; i < 10 && !held_by("1 1"); i++) {
        assert_false(hear(false));
        fake_turn();
        (void)fake_commit();
    }
    assert_string_equal(served(), "start first; start second; ");
}

static void a_holder_is_waited_for_until_it_has_let_go(void **state)
{
    (void)state;
    had_by_another();
    fake_lead();
    assert_string_equal(served(), "");
    assert_non_null(strstr(fake.n->site.waits, "has not stopped them yet"));
    for (unsigned i = 0; i < 60; i++) {
        node_2_says(2, true);
        fake_pass(900, true);
    }
    assert_string_equal(served(), "");
    node_2_says(1, false); /* Of before: it may have started them since. */
    assert_string_equal(served(), "");
    node_2_says(2, false);
    assert_string_equal(served(), "start first; start second; ");
    assert_true(held_by("1 2"));
}

/* It may be cut off, hear nothing of its removal, and hold them still. */
static void one_that_was_removed_is_given_its_time(void **state)
{
    struct rp_batch b = {0};

    (void)state;
    (void)served();
    fake_lose(0, 2, 1);
    rp_batch_watch(&b, 1, 2);
    rp_batch_fact(&b, "resource.holder", "5 1");
    fake_foreign(&b);
    fake_lead();
    assert_string_equal(served(), "");
    assert_non_null(strstr(fake.n->site.waits, "a node that was removed had them"));
    fake_pass(3900, true);
    assert_string_equal(served(), "");
    fake_pass(2 * fake.n->config.raft.election_ms + 200, true);
    assert_string_equal(served(), "start first; start second; ");
}

static void one_that_is_gone_is_given_its_time(void **state)
{
    (void)state;
    had_by_another();
    fake.linked[2] = false;
    fake.cb.link(fake.n, 2, false, true);
    fake_lead();
    fake_pass(3800, true);
    assert_string_equal(served(), "");
    assert_non_null(strstr(fake.n->site.waits, "is gone"));
    fake_pass(400, true);
    assert_string_equal(served(), "start first; start second; ");
}

/* Stopped by a signal: its kernel keeps the link, its keeper misses it. */
static void one_that_hangs_is_given_its_time(void **state)
{
    uint64_t wait;

    (void)state;
    had_by_another();
    wait = 4000 + 2 * (uint64_t)fake.n->config.raft.election_ms;
    fake_lead();
    node_2_says(2, true);
    fake_pass(wait - 300, true);
    assert_string_equal(served(), "");
    fake_pass(400, true);
    assert_string_equal(served(), "start first; start second; ");
}

static void a_handover_stops_them_first(void **state)
{
    (void)state;
    (void)served();
    fake_lead();
    (void)served();
    assert_int_equal(nd_hand_over(fake.n, 2, 1000, "test"), 0);
    fake_pass(500, true);
    assert_int_equal(fake.transfers, 0);
    assert_int_equal(nd_hand_over(fake.n, 2, 1000, "test"), SY_EBUSY);
    assert_string_equal(served(), "stop second; stop first; ");
    assert_true(held_by(""));
    fake_pass(100, true);
    assert_int_equal(fake.transfers, 1);
    assert_int_equal(fake.transfer_to, 2);
    assert_string_equal(served(), "");
    fake_pass(1200, true); /* Nobody took it. */
    assert_string_equal(served(), "start first; start second; ");
}

static void the_watch_is_not_let_go_of_before_they_are_stopped(void **state)
{
    (void)state;
    (void)served();
    fake_lead();
    (void)served();
    fake_lose(0, 2, 2);
    fake_turn();
    fake_ports_closed();
    fake_pass(100, true);
    assert_int_equal(cs_watch_state(&fake.n->watch), CS_DRAINING);
    assert_string_equal(served(), "stop second; stop first; ");
    assert_int_equal(cs_watch_state(&fake.n->watch), CS_STANDBY);
}

static void what_does_not_start_is_tried_again_with_pauses(void **state)
{
    unsigned starts = 0;

    (void)state;
    (void)served();
    fake_lead();
    (void)served();
    fails[1] = true;
    assert_true(nd_site_restart(fake.n, 1, "test"));
    for (unsigned i = 0; i < 100; i++) {
        fake_pass(100, true);
        starts += strstr(served(), "start second") != NULL;
    }
    assert_in_range(starts, 4, 5); /* At once, at once, after 1, 2 and 4 s. */
    assert_string_equal(nd_site_state(fake.n, "first"), "running");
    fails[1] = false;
    fake_pass(9000, true);
    (void)served();
    assert_string_equal(nd_site_state(fake.n, "second"), "running");
}

/* What is done before a start: bridges lay out their files. */
static unsigned asked;

static void before(struct nd_node *n, unsigned which)
{
    (void)n;
    (void)which;
    asked++;
}

static void a_start_waits_for_what_comes_before_it(void **state)
{
    (void)state;
    (void)served();
    nd_site_before_start(fake.n, 1, before);
    asked = 0;
    fake_lead();
    assert_string_equal(served(), "start first; ");
    assert_int_equal(asked, 1);
    nd_site_go_on(fake.n, 1, false, "the coordinator is busy");
    assert_string_equal(served(), "stop second; ");
    fake_pass(100, true);
    assert_int_equal(asked, 2);
    nd_site_go_on(fake.n, 1, true, "");
    assert_string_equal(served(), "start second; ");
    nd_site_go_on(fake.n, 1, true, ""); /* Once too often does no harm. */
    assert_string_equal(served(), "");
}

/* The process begins anew in its own place; its keeper stays. */
static void begin_anew(const char *second)
{
    nd_site_stay(fake.n);
    assert_true(nd_site_down(fake.n));
    nd_site_pass_on(fake.n);
    fake_close();
    assert_false(hear(false)); /* Nothing was stopped. */
    other_name = second;
    assert_int_equal(open_site(NULL), 0);
    other_name = NULL;
}

static void keeper_says(enum ad_keeper_what what, unsigned which)
{
    struct ad_keeper_message m = {.what = (uint8_t)what, .which = (uint8_t)which};

    m.ok = 1;
    assert_int_equal(send(keeper, &m, sizeof m, 0), sizeof m);
    fake.poll_cb(fake.poll, 0, UV_READABLE);
}

static void what_runs_goes_on_while_the_process_begins_anew(void **state)
{
    (void)state;
    fake_lead();
    (void)served();
    begin_anew(NULL);
    assert_string_equal(served(), ""); /* Nobody knows yet what runs. */
    keeper_says(AD_KEEPER_STOP, 0);    /* Asked by the one before. */
    keeper_says(AD_KEEPER_RUNS, 0);
    keeper_says(AD_KEEPER_RUNS, 1);
    keeper_says(AD_KEEPER_LIST, 0);
    keeper_says(AD_KEEPER_ENDED, 1);
    assert_string_equal(served(), "");
    fake_lead();
    assert_string_equal(served(), "stop second; start second; ");
    assert_string_equal(nd_site_state(fake.n, "first"), "running");
}

static void who_does_not_get_the_watch_again_stops_them(void **state)
{
    (void)state;
    fake_lead();
    (void)served();
    begin_anew(NULL);
    keeper_says(AD_KEEPER_RUNS, 0);
    keeper_says(AD_KEEPER_LIST, 0);
    fake_pass(1900, true);
    assert_false(hear(false));
    fake_pass(200, true);
    assert_string_equal(served(), "stop second; stop first; ");
}

static void the_keeper_of_another_configuration_is_not_taken_over(void **state)
{
    int old;
    char c;

    (void)state;
    fake_lead();
    (void)served();
    old = keeper;
    begin_anew("another");
    assert_int_not_equal(keeper, old);
    while (recv(old, &c, sizeof c, MSG_DONTWAIT) > 0) {
    }
    assert_int_equal(recv(old, &c, sizeof c, MSG_DONTWAIT), 0); /* It is told to end. */
    close(old);
    assert_string_equal(served(), "stop second; stop first; ");
}

static void the_watch_comes_back_for_a_fault_after_growing_pauses(void **state)
{
    (void)state;
    assert_int_equal(nd_site_fault_pause_min(0), 10);
    assert_int_equal(nd_site_fault_pause_min(1), 20);
    assert_int_equal(nd_site_fault_pause_min(100), 1440);
    fake_lead();
    (void)served();
    assert_false(nd_site_faulty(fake.n, 1));
    assert_int_equal(nd_site_note_fault(fake.n), 10);
    fake_settle();
    assert_true(nd_site_faulty(fake.n, 1));
    assert_int_equal(nd_site_note_fault(fake.n), 10); /* It is the same one. */
    fake.wall_ms += 11 * 60000;
    assert_false(nd_site_faulty(fake.n, 1));
    assert_int_equal(nd_site_note_fault(fake.n), 20);
    fake_settle();
    for (unsigned i = 0; i < 9 * 60; i++) { /* It runs, but not for long yet. */
        fake_pass(1000, true);
        (void)hear(true);
    }
    assert_true(nd_site_faulty(fake.n, 1));
    for (unsigned i = 0; i < 2 * 60; i++) {
        fake_pass(1000, true);
        (void)hear(true);
    }
    assert_false(nd_site_faulty(fake.n, 1)); /* It is well now. */
    assert_int_equal(nd_site_note_fault(fake.n), 10);
}

/* What is stopped one after the other counts together, an address for nothing. */
static void a_stop_that_takes_longer_than_there_is_time_is_told(void **state)
{
    static struct nd_config c;
    struct nd_config_resource *r = c.resources;
    char text[400];

    (void)state;
    c.takeover_wait_ms = 6000;
    c.resources_n = 3;
    snprintf(r[0].name, sizeof r[0].name, "address");
    r[0].has_vip = true;
    r[0].stop_timeout_ms = 10000;
    snprintf(r[1].name, sizeof r[1].name, "first");
    snprintf(r[1].after[0], sizeof r[1].after[0], "address");
    r[1].after_n = 1;
    r[1].stop_timeout_ms = 2000;
    r[2].stop_timeout_ms = 3000;
    assert_false(nd_config_stops_late(&c, text, sizeof text));
    snprintf(r[2].after[0], sizeof r[2].after[0], "first");
    r[2].after_n = 1;
    assert_true(nd_config_stops_late(&c, text, sizeof text));
    assert_non_null(strstr(text, "may take 5000 ms"));
    assert_non_null(strstr(text, "has 3000 ms for it"));
    assert_non_null(strstr(text, "Raise it to 10000 ms"));
}

int main(void)
{
#define ON_SITE(F) cmocka_unit_test_setup_teardown(F, open_site, close_site)
    const struct CMUnitTest tests[] = {
        ON_SITE(what_may_be_left_is_stopped_first),
        ON_SITE(nothing_starts_before_it_is_written_who_holds_them),
        ON_SITE(a_holder_is_waited_for_until_it_has_let_go),
        ON_SITE(one_that_is_gone_is_given_its_time),
        ON_SITE(one_that_was_removed_is_given_its_time),
        ON_SITE(one_that_hangs_is_given_its_time),
        ON_SITE(a_handover_stops_them_first),
        ON_SITE(the_watch_is_not_let_go_of_before_they_are_stopped),
        ON_SITE(what_does_not_start_is_tried_again_with_pauses),
        ON_SITE(a_start_waits_for_what_comes_before_it),
        ON_SITE(what_runs_goes_on_while_the_process_begins_anew),
        ON_SITE(who_does_not_get_the_watch_again_stops_them),
        ON_SITE(the_watch_comes_back_for_a_fault_after_growing_pauses),
        cmocka_unit_test(a_stop_that_takes_longer_than_there_is_time_is_told),
        ON_SITE(the_keeper_of_another_configuration_is_not_taken_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

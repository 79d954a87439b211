/* Folders that move with the watch, and who uses them. */

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/node/files_rig.h"

static int keeper; /* our end of its sockets */

int ad_keeper_start(const struct ad_keeper_config *c, const struct sy_log *log,
                    int *ret_fd, struct sy_errbuf *eb)
{
    int pair[2];

    (void)log;
    (void)eb;
    assert_int_equal(c->n, 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    *ret_fd = pair[0];
    keeper = pair[1];
    return 0;
}

const char *ad_resource_kind_name(enum ad_resource_kind kind)
{
    (void)kind;
    return "?";
}

static void keeper_says(enum ad_keeper_what what)
{
    struct ad_keeper_message m = {.what = (uint8_t)what, .ok = 1};

    assert_int_equal(send(keeper, &m, sizeof m, 0), sizeof m);
    fake.poll_cb(fake.poll, 0, UV_READABLE);
}

/* Was it asked for that? It has done all it was asked for. */
static bool keeper_heard(enum ad_keeper_what what)
{
    struct ad_keeper_message m;
    bool any = false;

    while (recv(keeper, &m, sizeof m, MSG_DONTWAIT) == (ssize_t)sizeof m) {
        any = any || m.what == what;
        if (m.what == AD_KEEPER_START || m.what == AD_KEEPER_STOP ||
            m.what == AD_KEEPER_LOOK) {
            keeper_says((enum ad_keeper_what)m.what);
        }
    }
    return any;
}

static int begin(void **state)
{
    (void)state;
    open_nodes(3, true);
    return 0;
}

static int end(void **state)
{
    int rv;

    (void)state;
    fake.leading = 0;
    do {
        pass(100);
    } while (keeper_heard(AD_KEEPER_STOP));
    rv = end_nodes();
    close(keeper);
    return rv;
}

/* The process began anew in its own place, and the set without a bridge is written to. */
static void who_runs_already_goes_on_with_what_is_there(void **state)
{
    (void)state;
    put("a.json", "{\"half\":");
    follow(2);
    theirs("theirs");
    (void)keeper_heard(AD_KEEPER_ALIVE);
    fake_lead();
    pass(500);
    assert_false(keeper_heard(AD_KEEPER_STOP)); /* Nobody knows yet what runs. */
    keeper_says(AD_KEEPER_RUNS);
    keeper_says(AD_KEEPER_LIST);
    for (unsigned i = 0; i < 500; i++) {
        pass(100);
        assert_false(keeper_heard(AD_KEEPER_STOP) || keeper_heard(AD_KEEPER_START));
        assert_string_equal(nd_site_state(fake.n, "first"), "running");
    }
    assert_true(holds(dir, "a.json", "{\"half\":"));
    /* Also if it breaks: nothing is laid out while it is started again. */
    keeper_says(AD_KEEPER_ENDED);
    for (unsigned i = 0; i < 50; i++) {
        pass(100);
        (void)keeper_heard(AD_KEEPER_START);
    }
    assert_string_equal(nd_site_state(fake.n, "first"), "running");
    /* Of another term nothing is left that it could be in use by. */
    fake_lose(0, 2, fake.term + 1);
    for (unsigned i = 0; i < 50; i++) {
        pass(100);
        (void)keeper_heard(AD_KEEPER_STOP);
    }
    assert_string_equal(nd_site_state(fake.n, "first"), "stopped");
    fake_forget();
    for (unsigned i = 0; i < 100 && frame(ND_FRAME_FILES_WANT, 2) == NULL; i++) {
        pass(100);
    }
    hear_chunk(2, "theirs", 0, 6, "theirs");
    fake_lead();
    for (unsigned i = 0; i < 100 && !keeper_heard(AD_KEEPER_START); i++) {
        pass(100);
    }
    assert_true(holds(dir, "a.conf", "theirs"));
    pass(100);
    assert_string_equal(nd_site_state(fake.n, "first"), "running");
}

/* It began anew, and nothing runs: it is a start like any other. */
static void who_does_not_run_waits_for_the_folder(void **state)
{
    (void)state;
    put("a.json", "{}");
    follow(2);
    theirs("theirs");
    fake_lead();
    pass(200);
    keeper_says(AD_KEEPER_LIST);
    for (unsigned i = 0; i < 50; i++) {
        pass(100);
        assert_false(keeper_heard(AD_KEEPER_START));
    }
}

static void hand_over(void)
{
    unsigned transfers = fake.transfers;

    assert_int_equal(nd_hand_over(fake.n, 2, 1000, "test"), 0);
    for (unsigned i = 0; i < 50 && fake.transfers == transfers; i++) {
        pass(100);
        (void)keeper_heard(AD_KEEPER_STOP);
        if (frame(ND_FRAME_FILES_OFFER, 2) != NULL) {
            have(2);
        }
    }
    assert_int_equal(fake.transfers, transfers + 1);
}

/* The first one failed: then it is written again, for as long as it likes. */
static void each_handover_takes_what_was_written_last(void **state)
{
    (void)state;
    put("a.conf", "one");
    fake.transfer_rv = SY_ENOTFOUND;
    keeper_says(AD_KEEPER_LIST);
    fake_lead();
    hand_over();
    assert_int_equal(newest(), 1);
    for (unsigned i = 0; i < 100; i++) {
        pass(100);
        (void)keeper_heard(AD_KEEPER_START);
    }
    assert_string_equal(nd_site_state(fake.n, "first"), "running");
    put("a.conf", "two");
    hand_over();
    assert_int_equal(newest(), 2);
}

#define CASE(F) cmocka_unit_test_setup_teardown(F, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(who_runs_already_goes_on_with_what_is_there),
        CASE(who_does_not_run_waits_for_the_folder),
        CASE(each_handover_takes_what_was_written_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

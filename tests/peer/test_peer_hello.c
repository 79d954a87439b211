/* Who is let in: the right hello of a node that is on the list, and nobody else. */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/peer/rig.h"

/* Say @b to node 1 and be thrown out; the log says why, and nobody else hears. */
static void refused(const struct sy_buf *b, const char *why)
{
    struct rig r;
    int fd;

    rig_init(&r);
    rig_open(&r, 1);
    fd = raw_dial(&r, 1);
    raw_write(fd, b->p, b->len);
    RIG_UNTIL(&r, raw_ended(fd));
    if (strstr(r.nodes[1].lines, why) == NULL) {
        fail_msg("not said: %s\nbut: %s", why, r.nodes[1].lines);
    }
    assert_int_equal(ad_peers_stats(r.nodes[1].peers)->refused, 1);
    assert_int_equal(ad_peers_stats(r.nodes[1].peers)->links, 0);
    assert_string_equal(r.nodes[1].story, "");
    assert_int_equal(r.nodes[1].got_bytes, 0);
    close(fd);
    rig_fini(&r);
}

static void refused_hello(struct raw_hello h, const char *why)
{
    struct sy_buf b = {0};

    raw_put_hello(&b, &h);
    raw_put_frame(&b, 1, "\0\0\0\0\0\0\0\0", 8); /* It may not be heard either. */
    refused(&b, why);
    sy_buf_free(&b);
}

static void a_wrong_hello_is_refused_and_says_why(void **state)
{
    struct raw_hello h = raw_hello_right();

    (void)state;
    h.magic = "GETpeer/";
    refused_hello(h, "not a vagt peer");
    h = raw_hello_right();
    h.protocol = AD_PEER_PROTOCOL + 1;
    refused_hello(h, "another protocol version: upgrade one of the two nodes");
    h = raw_hello_right();
    h.cluster = "campsit";
    refused_hello(h, "another cluster: compare `cluster` in the configurations");
    h.cluster = "campsite2";
    refused_hello(h, "another cluster");
    h.cluster = "";
    refused_hello(h, "another cluster");
    h = raw_hello_right();
    h.epoch = 2;
    refused_hello(h, "another epoch of the cluster");
    h = raw_hello_right();
    h.to = 3;
    refused_hello(h, "another node id than configured: compare `nodes`");
}

static void who_is_not_on_the_list_is_refused(void **state)
{
    static const uint64_t strangers[] = {0, 1, 4, 15, 16, UINT64_MAX, 1ULL << 32 | 2};
    struct raw_hello h = raw_hello_right();

    (void)state;
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        h.from = strangers[i];
        refused_hello(h, "not in our list of nodes");
    }
}

/* Two nodes that dial each other would end each other's links for ever. */
static void the_lower_id_does_not_dial(void **state)
{
    struct raw_hello h = {.magic = "vagtpeer",
                          .protocol = AD_PEER_PROTOCOL,
                          .epoch = 1,
                          .from = 1,
                          .to = 2,
                          .cluster = "campsite"};
    struct sy_buf b = {0};
    struct rig r;
    int fd;

    (void)state;
    rig_init(&r);
    rig_open(&r, 2);
    fd = raw_dial(&r, 2);
    raw_put_hello(&b, &h);
    raw_write(fd, b.p, b.len);
    RIG_UNTIL(&r, raw_ended(fd));
    assert_non_null(strstr(r.nodes[2].lines, "the lower id does not dial"));
    assert_string_equal(r.nodes[2].story, "");
    close(fd);
    sy_buf_free(&b);
    rig_fini(&r);
}

/* Node 2 dials node 1's address, where node 3 answers: somebody swapped two lines
 * of a configuration. */
static void who_answers_must_be_who_was_dialled(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_config(&r, 2)->nodes[0].port = r.ports[3];
    rig_config(&r, 3)->nodes[1].port = r.ports[1]; /* ... and 3 finds nobody */
    rig_open(&r, 2);
    rig_open(&r, 3);
    RIG_UNTIL(&r, strstr(r.nodes[3].lines, "another node id than configured") != NULL);
    assert_null(strstr(r.nodes[2].story, "+1"));
    assert_null(strstr(r.nodes[2].story, "+3"));
    assert_string_equal(r.nodes[3].story, "");
    rig_fini(&r);
}

static void what_is_no_hello_is_refused(void **state)
{
    struct sy_buf b = {0};

    (void)state;
    raw_put_frame(&b, 1, "hello", 5);
    refused(&b, "no hello");
    b.len = 0;
    raw_put_frame(&b, AD_PEER_KIND_HELLO, "vagtpeer", 8); /* and that is all */
    refused(&b, "not a vagt peer");
    b.len = 0;
    raw_put_frame(&b, AD_PEER_KIND_HELLO, "", 0);
    refused(&b, "not a vagt peer");
    b.len = 0;
    sy_buf_put(&b, "\0\0\0\0\0", 5);
    refused(&b, "frame too long");
    b.len = 0;
    sy_buf_put(&b, "\xff\xff\xff\xff\0", 5);
    refused(&b, "frame too long");
    b.len = 0;
    sy_buf_put(&b, "\x01\x01\0\0\0", 5); /* 257: no hello is that long */
    refused(&b, "frame too long");
    b.len = 0;
    sy_buf_str(&b, "GET / HTTP/1.1\r\n\r\n");
    refused(&b, "frame too long");
    sy_buf_free(&b);
}

static void garbage_does_no_harm(void **state)
{
    uint64_t random = 1;
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_open(&r, 1);
    for (unsigned i = 0; i < 200; i++) {
        uint8_t bytes[300];
        int fd = raw_dial(&r, 1);

        for (size_t k = 0; k < sizeof bytes; k++) {
            random = random * 6364136223846793005ULL + 1442695040888963407ULL;
            bytes[k] = (uint8_t)(random >> 56);
        }
        if (i % 2 == 0) { /* A length that is believed, kind hello. */
            memcpy(bytes, "\x80\0\0\0\0", 5);
        }
        if (i % 4 == 0) {
            memcpy(bytes + 5, "vagtpeer", 8);
        }
        raw_write(fd, bytes, sizeof bytes);
        RIG_UNTIL(&r, raw_ended(fd));
        close(fd);
    }
    assert_int_equal(ad_peers_stats(r.nodes[1].peers)->refused, 200);
    assert_string_equal(r.nodes[1].story, "");
    rig_open(&r, 2);
    RIG_UNTIL(&r, ad_peers_linked(r.nodes[1].peers, 2));
    rig_fini(&r);
}

static unsigned ended(const int *fds, unsigned n)
{
    unsigned out = 0;

    for (unsigned i = 0; i < n; i++) {
        out += raw_ended(fds[i]);
    }
    return out;
}

/* Guests that say nothing, or a byte now and then, are shown the door in time, and there
 * are never many of them: those that have said nothing for longest make room. */
static void who_dawdles_is_thrown_out(void **state)
{
    enum { CROWD = 40, ROOM = AD_PEER_GUESTS_PER_ADDRESS };
    int fds[CROWD];
    struct rig r;
    uint64_t began;

    (void)state;
    rig_init(&r);
    rig_open(&r, 1);
    for (unsigned i = 0; i < CROWD; i++) {
        fds[i] = raw_dial(&r, 1);
    }
    RIG_UNTIL(&r, ad_peers_stats(r.nodes[1].peers)->turned_away == CROWD - ROOM);
    RIG_UNTIL(&r, ended(fds, CROWD) == CROWD - ROOM); /* No room: at once. */
    assert_true(raw_ended(fds[0]));                   /* The oldest. */
    assert_false(raw_ended(fds[CROWD - 1]));
    assert_non_null(strstr(r.nodes[1].lines, "peer.crowd"));
    began = uv_hrtime();
    while (!raw_ended(fds[CROWD - 1]) || !raw_ended(fds[CROWD - 2])) {
        raw_write(fds[CROWD - 2], "\x80\0\0\0\0vagtpeer", (uv_hrtime() - began) % 2);
        rig_turn(&r);
        assert_true(uv_hrtime() - began < 3000000000ULL);
    }
    assert_true(uv_hrtime() - began > 1000000000ULL);
    assert_non_null(strstr(r.nodes[1].lines, "did not say who it is in time"));
    for (unsigned i = 0; i < CROWD; i++) {
        close(fds[i]);
    }
    rig_fini(&r);
}

/* Who has begun to speak is not pushed out by those who say nothing, and a node gets in
 * among them. */
static void a_crowd_does_not_keep_a_node_out(void **state)
{
    enum { CROWD = 300 };
    struct raw_hello h = raw_hello_right();
    struct sy_buf b = {0};
    int fds[CROWD], slow;
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_open(&r, 1);
    raw_put_hello(&b, &h);
    slow = raw_dial(&r, 1);
    raw_write(slow, b.p, 20);
    for (unsigned i = 0; i < CROWD; i++) {
        fds[i] = raw_dial(&r, 1);
        if (i % 20 == 0) {
            rig_turn(&r);
        }
    }
    raw_write(slow, b.p + 20, b.len - 20);
    RIG_UNTIL(&r, ad_peers_linked(r.nodes[1].peers, 2));
    assert_false(raw_ended(slow));
    close(slow);
    RIG_UNTIL(&r, !ad_peers_linked(r.nodes[1].peers, 2));
    rig_open(&r, 2);
    RIG_UNTIL(&r, ad_peers_linked(r.nodes[1].peers, 2));
    for (unsigned i = 0; i < CROWD; i++) {
        close(fds[i]);
    }
    sy_buf_free(&b);
    rig_fini(&r);
}

/* TCP cuts where it likes. */
static void a_hello_may_come_in_pieces(void **state)
{
    struct raw_hello h = raw_hello_right();
    struct sy_buf b = {0};
    struct rig r;
    int fd;

    (void)state;
    rig_init(&r);
    rig_open(&r, 1);
    fd = raw_dial(&r, 1);
    raw_put_hello(&b, &h);
    for (uint64_t i = 0; i < 3; i++) {
        uint8_t body[9] = {(uint8_t)i, 0, 0, 0, 0, 0, 0, 0, (uint8_t)i};

        raw_put_frame(&b, (uint8_t)(1 + i), body, sizeof body);
    }
    for (size_t i = 0; i < b.len; i++) {
        raw_write(fd, b.p + i, 1);
        rig_turn(&r);
    }
    RIG_UNTIL(&r, r.nodes[1].got[2] == 3);
    assert_string_equal(r.nodes[1].story, "+2 ");
    close(fd);
    sy_buf_free(&b);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_hello_is_refused_and_says_why),
        cmocka_unit_test(who_is_not_on_the_list_is_refused),
        cmocka_unit_test(the_lower_id_does_not_dial),
        cmocka_unit_test(who_answers_must_be_who_was_dialled),
        cmocka_unit_test(what_is_no_hello_is_refused),
        cmocka_unit_test(garbage_does_no_harm),
        cmocka_unit_test(who_dawdles_is_thrown_out),
        cmocka_unit_test(a_crowd_does_not_keep_a_node_out),
        cmocka_unit_test(a_hello_may_come_in_pieces),
    };
    return cmocka_run_group_tests_name("peer_hello", tests, NULL, NULL);
}

/* Links between nodes: what they carry, how they end, what they cost. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/peer/rig.h"

static bool all_linked(const struct rig *r)
{
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        for (unsigned k = 1; k <= RIG_NODES; k++) {
            if (i != k && !ad_peers_linked(r->nodes[i].peers, k)) {
                return false;
            }
        }
    }
    return true;
}

static void open_all(struct rig *r)
{
    rig_init(r);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        rig_open(r, i);
    }
    RIG_UNTIL(r, all_linked(r));
}

static void every_pair_has_one_link(void **state)
{
    struct rig r;

    (void)state;
    open_all(&r);
    for (unsigned i = 0; i < 20; i++) {
        rig_turn(&r);
    }
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        assert_int_equal(ad_peers_stats(r.nodes[i].peers)->links, 2);
        assert_int_equal(strlen(r.nodes[i].story), 6); /* "+2 +3 ", in any order */
        assert_false(ad_peers_linked(r.nodes[i].peers, i));
        assert_false(ad_peers_linked(r.nodes[i].peers, 9));
    }
    rig_fini(&r);
}

static void frames_arrive_whole_and_in_order(void **state)
{
    enum { N = 3000 };
    struct rig r;

    (void)state;
    open_all(&r);
    for (unsigned i = 0; i < N; i++) {
        for (unsigned from = 1; from <= RIG_NODES; from++) {
            for (unsigned to = 1; to <= RIG_NODES; to++) {
                /* From none to more than a read takes at once. */
                if (from != to) {
                    assert_true(rig_send(&r, from, to, i % 500 == 9 ? 300000 : i % 97));
                }
            }
        }
        if (i % 50 == 0) {
            rig_turn(&r);
        }
    }
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        for (unsigned k = 1; k <= RIG_NODES; k++) {
            RIG_UNTIL(&r, i == k || r.nodes[i].got[k] == N);
        }
        assert_int_equal(ad_peers_stats(r.nodes[i].peers)->dropped, 0);
        assert_int_equal(ad_peers_stats(r.nodes[i].peers)->frames_out, 2 * N);
        assert_int_equal(ad_peers_stats(r.nodes[i].peers)->frames_in, 2 * N);
    }
    rig_fini(&r);
}

static void without_a_link_nothing_is_sent(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_open(&r, 1);
    assert_false(rig_send(&r, 1, 2, 10));
    assert_false(rig_send(&r, 1, 9, 10));
    rig_open(&r, 2);
    RIG_UNTIL(&r, ad_peers_linked(r.nodes[2].peers, 1));
    RIG_UNTIL(&r, ad_peers_linked(r.nodes[1].peers, 2));
    /* What was refused does not turn up later. */
    assert_true(rig_send(&r, 1, 2, 10));
    RIG_UNTIL(&r, r.nodes[2].got[1] == 1);
    rig_fini(&r);
}

static void a_frame_has_a_limit(void **state)
{
    struct rig r;
    struct sy_buf b = {0};
    int fd;

    (void)state;
    rig_init(&r);
    rig_config(&r, 1)->frame_max = 1000;
    rig_open(&r, 1);
    fd = raw_link(&r);
    assert_true(rig_send(&r, 1, 2, 1000 - 1 - 8));
    assert_false(rig_send(&r, 1, 2, 1000 - 8));
    assert_int_equal(ad_peers_stats(r.nodes[1].peers)->dropped, 1);
    /* The longest that is allowed is taken, one byte more ends the link. */
    sy_buf_u32(&b, 1000);
    memset(sy_buf_reserve(&b, 1000), 0, 1000);
    b.len += 1000;
    b.p[4] = 1;
    raw_write(fd, b.p, b.len);
    RIG_UNTIL(&r, r.nodes[1].got[2] == 1);
    raw_write(fd, "\xe9\x03\0\0\x02", 5);
    RIG_UNTIL(&r, raw_ended(fd));
    assert_non_null(strstr(r.nodes[1].lines, "frame too long"));
    assert_string_equal(r.nodes[1].story, "+2 -2 "); /* We did it: not broken. */
    close(fd);
    sy_buf_free(&b);
    rig_fini(&r);
}

/* Raft tells two links of one peer apart by nothing: frames of the old one after
 * those of the new one would be time travel. */
static void a_new_link_begins_when_the_old_one_is_dead(void **state)
{
    struct sy_buf b = {0};
    struct rig r;
    int old, new;

    (void)state;
    rig_init(&r);
    rig_open(&r, 1);
    old = raw_link(&r);
    new = raw_link(&r);
    assert_string_equal(r.nodes[1].story, "+2 -2 +2 ");
    raw_put_frame(&b, 1, "\0\0\0\0\0\0\0\0", 8);
    raw_write(old, b.p, b.len);
    RIG_UNTIL(&r, raw_ended(old));
    assert_int_equal(r.nodes[1].got[2], 0);
    raw_write(new, b.p, b.len);
    RIG_UNTIL(&r, r.nodes[1].got[2] == 1);
    assert_true(ad_peers_linked(r.nodes[1].peers, 2));
    close(old);
    close(new);
    sy_buf_free(&b);
    rig_fini(&r);
}

static void the_other_side_says_that_it_is_gone(void **state)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    struct rig r;
    int fd;

    (void)state;
    rig_init(&r);
    rig_open(&r, 1);
    fd = raw_link(&r);
    close(fd); /* FIN */
    RIG_UNTIL(&r, !ad_peers_linked(r.nodes[1].peers, 2));
    assert_string_equal(r.nodes[1].story, "+2 -2! ");
    fd = raw_link(&r);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    close(fd); /* RST */
    RIG_UNTIL(&r, !ad_peers_linked(r.nodes[1].peers, 2));
    assert_string_equal(r.nodes[1].story, "+2 -2! +2 -2! ");
    rig_fini(&r);
}

static void a_node_that_comes_back_is_linked_again(void **state)
{
    struct rig r;

    (void)state;
    open_all(&r);
    for (unsigned i = 0; i < 3; i++) {
        unsigned id = 1 + i;

        rig_close(&r, id);
        for (unsigned k = 1; k <= RIG_NODES; k++) {
            RIG_UNTIL(&r, k == id || !ad_peers_linked(r.nodes[k].peers, id));
        }
        r.nodes[id].story[0] = '\0';
        rig_open(&r, id);
        RIG_UNTIL(&r, all_linked(&r));
        for (unsigned k = 1; k <= RIG_NODES; k++) {
            assert_true(k == id || rig_send(&r, k, id, 5));
            RIG_UNTIL(&r, k == id || r.nodes[id].got[k] == 1);
        }
    }
    rig_fini(&r);
}

/* What a peer sends cannot be right: it is thrown out, and may try again, but not in
 * a tight loop. */
static void a_muted_node_is_silent_and_deaf_and_nobody_is_told(void **state)
{
    struct rig r;
    uint64_t before;

    (void)state;
    rig_init(&r);
    rig_open(&r, 1);
    rig_open(&r, 2);
    RIG_UNTIL(&r, ad_peers_linked(r.nodes[2].peers, 1));
    RIG_UNTIL(&r, ad_peers_linked(r.nodes[1].peers, 2));
    assert_true(rig_send(&r, 1, 2, 10));
    RIG_UNTIL(&r, r.nodes[2].got[1] == 1);
    ad_peers_mute(r.nodes[2].peers, true);
    assert_false(rig_send(&r, 2, 1, 10));
    before = ad_peers_stats(r.nodes[2].peers)->bytes_in;
    assert_true(rig_send(&r, 1, 2, 10));
    RIG_UNTIL(&r, ad_peers_stats(r.nodes[2].peers)->bytes_in > before);
    assert_true(ad_peers_linked(r.nodes[1].peers, 2));
    assert_int_equal(r.nodes[2].got[1], 1);
    ad_peers_mute(r.nodes[2].peers, false);
    assert_true(rig_send(&r, 2, 1, 10));
    RIG_UNTIL(&r, r.nodes[1].got[2] == 1);
    assert_null(strstr(r.nodes[1].story, "-2"));
    rig_fini(&r);
}

static void a_peer_that_is_dropped_comes_back_later(void **state)
{
    struct rig r;
    uint64_t began;

    (void)state;
    open_all(&r);
    r.nodes[2].story[0] = '\0';
    began = uv_hrtime();
    ad_peers_drop(r.nodes[2].peers, 1);
    assert_false(ad_peers_linked(r.nodes[2].peers, 1));
    assert_string_equal(r.nodes[2].story, "-1 "); /* Not broken: no alarm. */
    RIG_UNTIL(&r, all_linked(&r));
    assert_true(uv_hrtime() - began > 100000000ULL);
    ad_peers_drop(r.nodes[2].peers, 9); /* Nobody: nothing happens. */
    rig_fini(&r);
}

/* A peer that stops reading costs what was agreed upon, and not the others. */
static void a_slow_peer_costs_no_more_than_its_queue(void **state)
{
    enum { FRAME = 64 * 1024, QUEUE = 1024 * 1024, KERNEL = 8 * 1024 * 1024 };
    struct rig r;
    size_t taken = 0;
    unsigned refused = 0;
    int fd;

    (void)state;
    rig_init(&r);
    rig_config(&r, 1)->queue_max = QUEUE;
    rig_config(&r, 1)->user_timeout_ms = 60000;
    rig_open(&r, 1);
    fd = raw_link(&r);
    rig_open(&r, 3);
    RIG_UNTIL(&r, ad_peers_linked(r.nodes[1].peers, 3));
    while (refused < 100) {
        if (rig_send(&r, 1, 2, FRAME)) {
            taken += FRAME;
        } else {
            refused++;
        }
        rig_turn(&r);
        assert_true(taken < QUEUE + KERNEL);
    }
    assert_int_equal(ad_peers_stats(r.nodes[1].peers)->dropped, 100);
    assert_true(ad_peers_linked(r.nodes[1].peers, 2));
    assert_true(rig_send(&r, 1, 3, 10));
    RIG_UNTIL(&r, r.nodes[3].got[1] == 1);
    /* It reads again: there is room again, and nothing of it was cut. */
    while (!rig_send(&r, 1, 2, FRAME)) {
        (void)raw_ended(fd);
        rig_turn(&r);
    }
    close(fd);
    rig_fini(&r);
}

/* One that never reads again is given up: its machine may be gone. */
static void a_peer_that_takes_nothing_is_given_up(void **state)
{
    struct rig r;
    int fd;

    (void)state;
    rig_init(&r);
    rig_config(&r, 1)->queue_max = 16 * 1024 * 1024;
    rig_config(&r, 1)->user_timeout_ms = 300;
    rig_open(&r, 1);
    fd = raw_link(&r);
    while (rig_send(&r, 1, 2, 256 * 1024)) {
        rig_turn(&r);
    }
    RIG_UNTIL(&r, !ad_peers_linked(r.nodes[1].peers, 2));
    assert_string_equal(r.nodes[1].story, "+2 -2 "); /* Nobody said so: not broken. */
    close(fd);
    rig_fini(&r);
}

static void closing_with_everything_under_way(void **state)
{
    struct rig r;
    int stranger, deaf;

    (void)state;
    rig_init(&r);
    rig_open(&r, 1);
    rig_open(&r, 3); /* Dials 2, where nobody is. */
    RIG_UNTIL(&r, ad_peers_linked(r.nodes[1].peers, 3));
    RIG_UNTIL(&r, ad_peers_linked(r.nodes[3].peers, 1));
    deaf = raw_link(&r);
    stranger = raw_dial(&r, 1);
    while (rig_send(&r, 1, 2, 256 * 1024)) {
        ad_peers_flush(r.nodes[1].peers);
    }
    assert_true(rig_send(&r, 1, 3, 256 * 1024)); /* not flushed */
    assert_true(rig_send(&r, 3, 1, 256 * 1024));
    ad_peers_flush(r.nodes[3].peers);
    rig_open(&r, 2); /* Has just begun to dial. */
    rig_fini(&r);
    /* An owner that closes knows that the links are down: it is not told. */
    assert_string_equal(r.nodes[1].story, "+3 +2 ");
    close(stranger);
    close(deaf);
}

static int try_open(struct rig *r, unsigned id, struct sy_errbuf *eb)
{
    static const struct ad_peer_callbacks cb = {NULL, NULL, NULL};
    struct rig_node *n = &r->nodes[id];

    return ad_peers_open(&n->peers, &r->loop, &n->log, &n->config, &cb, n, eb);
}

static void what_cannot_be_opened_says_so(void **state)
{
    struct sy_errbuf eb;
    char address[64];
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_open(&r, 1);
    rig_config(&r, 2)->nodes[1].port = r.ports[1];
    assert_int_equal(try_open(&r, 2, &eb), UV_EADDRINUSE);
    snprintf(address, sizeof address, "%s:%u", rig_host(), r.ports[1]);
    assert_non_null(strstr(eb.text, address));
    r.nodes[2].peers = NULL;
    rig_config(&r, 3)->nodes[1].host[0] = 'x';
    assert_int_equal(try_open(&r, 3, &eb), UV_EINVAL);
    assert_non_null(strstr(eb.text, " is not a numeric address"));
    r.nodes[3].peers = NULL;
    rig_config(&r, 3)->nodes[2].host[0] = 'y';
    rig_config(&r, 3)->nodes[1].host[0] = '1';
    assert_int_equal(try_open(&r, 3, &eb), UV_EINVAL);
    assert_non_null(strstr(eb.text, "peer address y27."));
    r.nodes[3].peers = NULL;
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_has_one_link),
        cmocka_unit_test(frames_arrive_whole_and_in_order),
        cmocka_unit_test(without_a_link_nothing_is_sent),
        cmocka_unit_test(a_frame_has_a_limit),
        cmocka_unit_test(a_new_link_begins_when_the_old_one_is_dead),
        cmocka_unit_test(the_other_side_says_that_it_is_gone),
        cmocka_unit_test(a_node_that_comes_back_is_linked_again),
        cmocka_unit_test(a_muted_node_is_silent_and_deaf_and_nobody_is_told),
        cmocka_unit_test(a_peer_that_is_dropped_comes_back_later),
        cmocka_unit_test(a_slow_peer_costs_no_more_than_its_queue),
        cmocka_unit_test(a_peer_that_takes_nothing_is_given_up),
        cmocka_unit_test(closing_with_everything_under_way),
        cmocka_unit_test(what_cannot_be_opened_says_so),
    };
    return cmocka_run_group_tests_name("peer", tests, NULL, NULL);
}

/* Who may come in by TCP, and how many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include "tests/zmq/world.h"

static struct sockaddr_in open_sealed(struct fixture *f)
{
    assert_int_equal(zmq_curve_keypair(f->server, f->config.secret_key), 0);
    assert_int_equal(zmq_curve_keypair(f->good_key, f->secret), 0);
    return open_tcp(f, "127.0.0.1");
}

/* To the port of TCP. @server: NULL: without any key. */
static void *sealed_client(struct fixture *f, int type, const char *server,
                           const char *key, const char *secret)
{
    void *s = zmq_socket(f->ctx, type);
    int zero = 0;

    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof zero);
    if (server != NULL) {
        zmq_setsockopt(s, ZMQ_CURVE_SERVERKEY, server, AD_ZAP_KEY_SIZE);
        zmq_setsockopt(s, ZMQ_CURVE_PUBLICKEY, key, AD_ZAP_KEY_SIZE);
        zmq_setsockopt(s, ZMQ_CURVE_SECRETKEY, secret, AD_ZAP_KEY_SIZE);
    }
    assert_int_equal(zmq_connect(s, f->config.requests[1]), 0);
    return s;
}

static void who_has_a_key_is_known_by_it(void **state)
{
    struct fixture *f = *state;
    void *s;

    open_sealed(f);
    s = sealed_client(f, ZMQ_DEALER, f->server, f->good_key, f->secret);
    send_number(s, 0);
    run_until(f, 1);
    assert_int_equal(recv_number(s), 0);
    assert_true(f->last_who.sealed);
    assert_false(f->last_who.local);
    assert_string_equal(f->last_who.key, f->good_key);
    assert_string_equal(f->last_who.address, "127.0.0.1");
    assert_true(f->last_client.fd > 0); /* What libzmq says with a key, too. */
    zmq_close(s);

    s = dealer(f); /* The Unix socket is as ever; the kernel says who it is. */
    send_number(s, 1);
    run_until(f, 2);
    assert_int_equal(recv_number(s), 1);
    assert_false(f->last_who.sealed);
    assert_true(f->last_who.local);
    assert_int_equal(f->last_who.uid, getuid());
    assert_int_equal(f->last_who.pid, getpid());
    zmq_close(s);
}

static void run_until_strangers(struct fixture *f, uint64_t n)
{
    while (ad_zmq_stats(f->z)->strangers < n) {
        uv_run(&f->loop, UV_RUN_NOWAIT); /* Who asks for a key is asked here. */
        usleep(1000);
    }
}

static void who_has_none_that_is_known_is_not_heard(void **state)
{
    struct fixture *f = *state;
    char key[AD_ZAP_KEY_SIZE], secret[AD_ZAP_KEY_SIZE];
    void *s;

    open_sealed(f);
    assert_int_equal(zmq_curve_keypair(key, secret), 0);
    s = sealed_client(f, ZMQ_DEALER, NULL, NULL, NULL);
    send_number(s, 0);
    run_until_strangers(f, 1);
    zmq_close(s);
    s = sealed_client(f, ZMQ_DEALER, f->server, key, secret); /* not enrolled */
    send_number(s, 0);
    run_until_strangers(f, 2);
    zmq_close(s);
    s = sealed_client(f, ZMQ_DEALER, key, f->good_key, f->secret); /* another server's */
    send_number(s, 0);
    run_until_strangers(f, 3);
    zmq_close(s);
    s = sealed_client(f, ZMQ_DEALER, f->server, f->good_key, secret); /* not its own */
    send_number(s, 0);
    run_until_strangers(f, 4);
    zmq_close(s);
    assert_int_equal(f->requests, 0);
}

/* libzmq ends it, and says no more of it than that. */
static void what_is_no_zeromq_is_counted(void **state)
{
    static const char gibberish[][16] = {"GET / HTTP/1.1", "\0\0\0\x40\0xxxxxxxxx"};
    struct fixture *f = *state;
    struct sockaddr_in addr = open_sealed(f);
    void *s;

    s = sealed_client(f, ZMQ_DEALER, f->server, f->good_key, f->secret);
    send_number(s, 0);
    run_until(f, 1);
    for (unsigned i = 0; i < 2; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        char end;

        assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
        assert_int_equal(write(fd, gibberish[i], 14), 14);
        while (read(fd, &end, 1) > 0) {
        }
        close(fd);
        run_until_strangers(f, i + 1);
    }
    assert_int_equal(recv_number(s), 0); /* It came in, and is no stranger. */
    usleep(1200 * 1000);
    assert_int_equal(ad_zmq_stats(f->z)->strangers, 2);
    zmq_close(s);
}

/* Who is connected by a key that is no longer good, gets nothing any more. */
static void a_key_that_is_no_longer_good_is_cut_off(void **state)
{
    struct fixture *f = *state;
    char name[32] = "";
    int ms = 100;
    void *s;

    open_sealed(f);
    s = sealed_client(f, ZMQ_DEALER, f->server, f->good_key, f->secret);
    send_number(s, 0);
    run_until(f, 1);
    assert_int_equal(recv_number(s), 0);
    memset(f->good_key, 'x', 1);
    zmq_setsockopt(s, ZMQ_RCVTIMEO, &ms, sizeof ms);
    while (ad_zmq_stats(f->z)->strangers < 1) {
        ad_zmq_ask_again(f->z);
        for (unsigned i = 0; i < 500 && ad_zmq_stats(f->z)->strangers < 1; i++) {
            uv_run(&f->loop, UV_RUN_NOWAIT);
            usleep(1000);
        }
    }
    (void)zmq_send(s, "more", 4, ZMQ_DONTWAIT);
    for (unsigned i = 0; i < 100; i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    assert_int_equal(zmq_recv(s, name, sizeof name, 0), -1);
    assert_int_equal(f->requests, 1);
    zmq_close(s);
}

/* A crowd on the network that says nothing: most of it is turned away, what is held is
 * dropped when it has not greeted in time, and who sits at the machine is served. */
static void a_silent_crowd_locks_nobody_out(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in addr = open_tcp(f, "127.0.0.1");
    int crowd[4 * AD_ZMQ_PER_ADDRESS_MAX];
    enum { CROWD = sizeof crowd / sizeof crowd[0] };
    void *s;

    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(crowd[i], (struct sockaddr *)&addr, sizeof addr), 0);
    }
    while (ad_zmq_stats(f->z)->turned_away < CROWD - AD_ZMQ_PER_ADDRESS_MAX) {
        usleep(1000);
    }
    assert_int_equal(ad_zmq_stats(f->z)->turned_away, CROWD - AD_ZMQ_PER_ADDRESS_MAX);
    s = dealer(f);
    send_number(s, 0);
    run_until(f, 1);
    assert_int_equal(recv_number(s), 0);
    /* The guard may still be about to count it. */
    for (unsigned i = 0;
         i < 4000 && ad_zmq_stats(f->z)->connections < AD_ZMQ_PER_ADDRESS_MAX + 1; i++) {
        usleep(1000);
    }
    assert_int_equal(ad_zmq_stats(f->z)->connections, AD_ZMQ_PER_ADDRESS_MAX + 1);
    while (ad_zmq_stats(f->z)->connections > 1) {
        usleep(1000); /* AD_ZMQ_HANDSHAKE_MS. */
    }
    zmq_close(s);
    s = client_of(f, ZMQ_DEALER, f->config.requests[1]);
    send_number(s, 1);
    run_until(f, 2);
    assert_int_equal(recv_number(s), 1);
    zmq_close(s);
    for (unsigned i = 0; i < CROWD; i++) {
        close(crowd[i]);
    }
}

/* One that is hostile must not take the memory of all: libzmq keeps the parts of a
 * message until the last one is there. */
static void a_request_without_end_is_cut_off(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in addr = open_tcp(f, "127.0.0.1");
    static const char part[2 + 200] = "\1\xc8";
    int raw = raw_client(&addr, sizeof addr, "DEALER");
    unsigned parts = 0;
    void *s = client_of(f, ZMQ_DEALER, f->config.requests[1]);

    for (; parts < 100000 && ad_zmq_stats(f->z)->overfull == 0; parts++) {
        (void)send(raw, part, sizeof part, MSG_NOSIGNAL);
        usleep(parts % 10 == 0 ? 100 : 0);
    }
    assert_in_range(parts * sizeof part, AD_ZMQ_UNTAKEN_MAX, 99999 * sizeof part);
    send_number(s, 0);
    run_until(f, 1);
    assert_int_equal(recv_number(s), 0);
    assert_int_equal(ad_zmq_stats(f->z)->overfull, 1);
    zmq_close(s);
    close(raw);
}

/* Who is served may go on for as long as it likes. */
static void who_asks_for_long_is_not_cut_off(void **state)
{
    struct fixture *f = *state;
    static char request[AD_ZMQ_REQUEST_MAX];
    void *s;

    open_tcp(f, "127.0.0.1");
    s = client_of(f, ZMQ_DEALER, f->config.requests[1]);
    for (unsigned i = 0; i < 4 * AD_ZMQ_UNTAKEN_MAX / sizeof request; i++) {
        zmq_send(s, request, sizeof request, 0);
        run_until(f, i + 1);
        assert_int_equal(zmq_recv(s, request, sizeof request, 0), sizeof request);
        usleep(2000); /* So that it takes several looks of the guard. */
    }
    assert_int_equal(ad_zmq_stats(f->z)->overfull, 0);
    zmq_close(s);
}

static void subscriptions_without_end_are_cut_off(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in addr = open_tcp(f, "127.0.0.1");
    unsigned n = 0;
    int raw;

    close_it(f); /* The port is for events now. */
    f->config.requests_n = 1;
    f->config.events_n = 2;
    memcpy(f->config.events[1], f->config.requests[1], sizeof f->config.events[1]);
    open_it(f);
    raw = raw_client(&addr, sizeof addr, "SUB");
    for (; n < 10000 && ad_zmq_stats(f->z)->overfull == 0; n++) {
        char one[16];

        snprintf(one, sizeof one, "%c\xa\1%09u", 0, n);
        (void)send(raw, one, 12, MSG_NOSIGNAL);
        usleep(100);
    }
    assert_in_range(n, AD_ZMQ_SUBSCRIBED_MAX / 12 - 100, 9999);
    while (ad_zmq_heard(f->z)) {
        usleep(1000);
    }
    close(raw);
}

static void what_is_not_read_has_a_bound(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in addr = open_tcp(f, "127.0.0.1");
    static char reply[60000];
    int raw = raw_client(&addr, sizeof addr, "DEALER");
    uint64_t replies;

    f->hold = true;
    assert_int_equal(write(raw, "\0\1x", 3), 3);
    run_until(f, 1);
    for (unsigned i = 0; i < MANY; i++) {
        ad_zmq_reply(f->z, &f->last_client, reply, sizeof reply);
    }
    replies = ad_zmq_stats(f->z)->replies;
    assert_in_range(replies * sizeof reply, AD_ZMQ_UNREAD_MAX / 2, 20 * 1024 * 1024);
    while (ad_zmq_stats(f->z)->replies == replies) { /* It reads, and goes on. */
        (void)recv(raw, reply, sizeof reply, MSG_DONTWAIT);
        ad_zmq_reply(f->z, &f->last_client, reply, sizeof reply);
    }
    close(raw);
}

#define T(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(who_has_a_key_is_known_by_it),     T(who_has_none_that_is_known_is_not_heard),
        T(what_is_no_zeromq_is_counted),     T(a_key_that_is_no_longer_good_is_cut_off),
        T(a_silent_crowd_locks_nobody_out),  T(a_request_without_end_is_cut_off),
        T(who_asks_for_long_is_not_cut_off), T(subscriptions_without_end_are_cut_off),
        T(what_is_not_read_has_a_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

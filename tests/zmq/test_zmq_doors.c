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

#define T(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(who_has_a_key_is_known_by_it),    T(who_has_none_that_is_known_is_not_heard),
        T(what_is_no_zeromq_is_counted),    T(a_key_that_is_no_longer_good_is_cut_off),
        T(a_silent_crowd_locks_nobody_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

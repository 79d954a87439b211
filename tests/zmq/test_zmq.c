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

static void requests_are_answered_in_order(void **state)
{
    struct fixture *f = *state;
    void *s;

    open_it(f);
    s = dealer(f);
    for (unsigned i = 0; i < 10; i++) {
        send_number(s, i);
        run_until(f, i + 1);
        assert_int_equal(recv_number(s), i);
    }
    assert_int_equal(ad_zmq_stats(f->z)->requests, 10);
    assert_int_equal(ad_zmq_stats(f->z)->replies, 10);
    zmq_close(s);
}

static void a_burst_is_answered_whole(void **state)
{
    struct fixture *f = *state;
    void *s;

    f->config.send_queue_max = 2 * MANY;
    open_it(f);
    s = dealer(f);
    for (unsigned i = 0; i < MANY; i++) {
        send_number(s, i);
    }
    run_until(f, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(recv_number(s), i);
    }
    assert_int_equal(ad_zmq_stats(f->z)->replies_dropped, 0);
    zmq_close(s);
}

struct pulse
{
    uv_check_t check;
    struct fixture *f;
    unsigned seen;
    unsigned most;
};

static void count_per_turn(uv_check_t *check)
{
    struct pulse *p = check->data;
    unsigned n = p->f->requests - p->seen;

    p->most = n > p->most ? n : p->most;
    p->seen = p->f->requests;
}

/* What came in before a turn's timers must not hold them up. */
static void a_turn_takes_no_more_than_its_share(void **state)
{
    struct fixture *f = *state;
    struct pulse p = {.f = f};
    void *s;

    open_it(f);
    uv_check_init(&f->loop, &p.check);
    p.check.data = &p;
    uv_check_start(&p.check, count_per_turn);
    s = dealer(f);
    for (unsigned i = 0; i < MANY; i++) {
        send_number(s, i);
    }
    run_until(f, MANY);
    uv_close((uv_handle_t *)&p.check, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_in_range(p.most, 1, 2 * 64); /* From the poll and from idle, once each. */
    zmq_close(s);
}

/* Replies given outside of the callback go through libzmq's mailbox and may eat the
 * wakeup of requests that came in meanwhile. */
static void late_replies_do_not_lose_wakeups(void **state)
{
    struct fixture *f = *state;
    unsigned answered = 0;
    void *s;

    f->hold = true;
    open_it(f);
    s = dealer(f);
    send_number(s, 0);
    run_until(f, 1);
    for (unsigned i = 1; i < 300; i++) {
        unsigned number = i - 1;

        send_number(s, i);
        usleep(i % 3 == 0 ? 200 : 0); /* Vary who comes first; correct for any. */
        ad_zmq_reply(f->z, &f->last_client, &number, sizeof number);
        run_until(f, i + 1);
        assert_int_equal(recv_number(s), answered++);
    }
    zmq_close(s);
}

static void a_client_that_is_gone_costs_nothing(void **state)
{
    struct fixture *f = *state;
    struct ad_zmq_client stranger = {.len = 4, .id = "gone"};
    void *s;

    f->hold = true;
    open_it(f);
    ad_zmq_reply(f->z, &stranger, "x", 1);
    assert_int_equal(ad_zmq_stats(f->z)->replies_dropped, 1);

    s = dealer(f);
    send_number(s, 0);
    run_until(f, 1);
    zmq_close(s);
    while (ad_zmq_stats(f->z)->replies_dropped < 2) {
        ad_zmq_reply(f->z, &f->last_client, "x", 1); /* Until the hangup is noticed. */
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    f->hold = false;
    f->requests = 0;
    s = dealer(f);
    send_number(s, 0);
    run_until(f, 1);
    assert_int_equal(recv_number(s), 0);
    zmq_close(s);
}

static void a_client_that_does_not_read_is_dropped_from(void **state)
{
    struct fixture *f = *state;
    static uint8_t big[60000];
    void *s;
    int one = 1;

    f->config.send_queue_max = 10;
    f->hold = true;
    open_it(f);
    s = zmq_socket(f->ctx, ZMQ_DEALER);
    zmq_setsockopt(s, ZMQ_RCVHWM, &one, sizeof one);
    assert_int_equal(zmq_connect(s, f->config.requests[0]), 0);
    send_number(s, 0);
    run_until(f, 1);
    for (unsigned i = 0; i < MANY; i++) {
        ad_zmq_reply(f->z, &f->last_client, big, sizeof big);
    }
    assert_in_range(ad_zmq_stats(f->z)->replies, 1, 200);
    assert_int_equal(ad_zmq_stats(f->z)->replies + ad_zmq_stats(f->z)->replies_dropped,
                     MANY);
    one = 0;
    zmq_setsockopt(s, ZMQ_LINGER, &one, sizeof one);
    zmq_close(s);
}

static void bad_requests_are_counted_and_harm_nobody(void **state)
{
    struct fixture *f = *state;
    static uint8_t big[AD_ZMQ_REQUEST_MAX + 1];
    static uint8_t huge[1 << 20];
    void *s;
    void *rude;

    open_it(f);
    s = dealer(f);
    rude = client_of(f, ZMQ_DEALER, f->config.requests[0]);
    zmq_send(s, big, sizeof big, 0);
    zmq_send(s, "a", 1, ZMQ_SNDMORE);
    zmq_send(s, "b", 1, ZMQ_SNDMORE);
    zmq_send(s, "c", 1, 0);
    zmq_send(rude, huge, sizeof huge, 0); /* libzmq cuts it off. */
    zmq_send(s, big, sizeof big - 1, 0);
    run_until(f, 1);
    assert_int_equal(f->last_size, AD_ZMQ_REQUEST_MAX);
    assert_int_equal(ad_zmq_stats(f->z)->oversized, 1);
    assert_int_equal(ad_zmq_stats(f->z)->refused, 1);
    assert_int_equal(ad_zmq_stats(f->z)->requests, 1);
    zmq_close(s);
    zmq_close(rude);
}

static void a_long_routing_id_is_refused(void **state)
{
    struct fixture *f = *state;
    char id[AD_ZMQ_CLIENT_MAX + 1];
    void *s;

    memset(id, 'x', sizeof id);
    open_it(f);
    s = zmq_socket(f->ctx, ZMQ_DEALER);
    zmq_setsockopt(s, ZMQ_ROUTING_ID, id, sizeof id);
    assert_int_equal(zmq_connect(s, f->config.requests[0]), 0);
    send_number(s, 0);
    while (ad_zmq_stats(f->z)->refused == 0) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(f->requests, 0);
    zmq_close(s);
}

/* Returns when it is subscribed: then it hears what is published by that name. */
static void subscribe(struct fixture *f, void *s, const char *prefix)
{
    int n;

    zmq_setsockopt(s, ZMQ_SUBSCRIBE, prefix, strlen(prefix));
    do {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        ad_zmq_publish(f->z, prefix, "subscribed", 10);
        usleep(1000);
    } while (zmq_recv(s, NULL, 0, ZMQ_DONTWAIT) < 0);
    assert_int_equal(zmq_recv(s, NULL, 0, 0), 10);
    ad_zmq_publish(f->z, prefix, "last", 4); /* More may have been under way. */
    do {
        assert_int_equal(zmq_recv(s, NULL, 0, 0), strlen(prefix));
        n = zmq_recv(s, NULL, 0, 0);
        assert_true(n == 10 || n == 4);
    } while (n != 4);
}

static void run_until_nobody_is_connected(struct fixture *f)
{
    while (ad_zmq_heard(f->z)) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

static void events_reach_those_who_asked(void **state)
{
    struct fixture *f = *state;
    char name[32] = "";
    char body[8] = "";
    uint64_t before;
    void *s;

    open_it(f);
    ad_zmq_publish(f->z, "role", "1", 1);
    assert_int_equal(ad_zmq_stats(f->z)->events, 0);

    s = client_of(f, ZMQ_SUB, f->config.events[0]);
    subscribe(f, s, "command.");
    before = ad_zmq_stats(f->z)->events;
    ad_zmq_publish(f->z, "role", "2", 1);
    ad_zmq_publish(f->z, "command.sent", "3", 1);
    assert_int_equal(ad_zmq_stats(f->z)->events, before + 2);
    assert_int_equal(zmq_recv(s, name, sizeof name, 0), 12);
    assert_string_equal(name, "command.sent");
    assert_int_equal(zmq_recv(s, body, sizeof body, 0), 1);
    assert_string_equal(body, "3");

    zmq_close(s); /* The last one gone: nobody listens. */
    run_until_nobody_is_connected(f);
}

static void who_subscribes_to_much_hears_it(void **state)
{
    struct fixture *f = *state;
    char prefix[16];
    void *s;

    open_it(f);
    s = client_of(f, ZMQ_SUB, f->config.events[0]);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(prefix, sizeof prefix, "%u", i);
        zmq_setsockopt(s, ZMQ_SUBSCRIBE, prefix, strlen(prefix));
    }
    subscribe(f, s, "last");
    zmq_close(s);
    run_until_nobody_is_connected(f);
}

static void run_for_ms(struct fixture *f, unsigned ms)
{
    uint64_t end = uv_now(&f->loop) + ms;

    while (uv_now(&f->loop) < end) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

/* What a rude subscriber mixes together must neither silence the others nor leave us
 * talking to nobody. */
static void noise_from_a_subscriber_changes_nothing(void **state)
{
    struct fixture *f = *state;
    void *s;
    void *rude;
    char name[8];

    open_it(f);
    rude = client_of(f, ZMQ_XSUB, f->config.events[0]);
    s = client_of(f, ZMQ_SUB, f->config.events[0]);
    subscribe(f, s, "x");
    zmq_send(rude, "\1a", 2, 0);
    zmq_send(rude, "noise", 5, ZMQ_SNDMORE);
    zmq_send(rude, "\1b", 2, ZMQ_SNDMORE);
    zmq_send(rude, "\0c", 2, ZMQ_SNDMORE);
    zmq_send(rude, "", 0, 0);
    zmq_send(rude, "\0a", 2, 0);
    zmq_send(rude, "\1mark", 5, 0);
    zmq_close(rude);
    run_for_ms(f, 50);
    ad_zmq_publish(f->z, "x", "1", 1);
    assert_int_equal(zmq_recv(s, name, sizeof name, 0), 1);
    zmq_close(s);
    run_until_nobody_is_connected(f);
}

/* XSUB keeps such cancels to itself; who writes to the socket by hand does not. */
static void who_cancels_for_others_silences_nobody(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int raw;
    char name[8];
    void *s;

    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/events.sock", f->dir);
    open_it(f);
    s = client_of(f, ZMQ_SUB, f->config.events[0]);
    subscribe(f, s, "x");
    raw = raw_client(&addr, sizeof addr, "SUB");
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(send(raw, "\0\3\0zz", 5, MSG_NOSIGNAL), 5);
    }
    run_for_ms(f, 50);
    assert_true(ad_zmq_heard(f->z));
    ad_zmq_publish(f->z, "x", "1", 1);
    assert_int_equal(zmq_recv(s, name, sizeof name, 0), 1);
    close(raw);
    zmq_close(s);
}

static void closing_with_work_pending_is_clean(void **state)
{
    struct fixture *f = *state;
    void *s;
    void *sub;

    f->hold = true;
    open_it(f);
    sub = client_of(f, ZMQ_SUB, f->config.events[0]);
    subscribe(f, sub, "");
    s = dealer(f);
    for (unsigned i = 0; i < MANY; i++) {
        send_number(s, i);
    }
    run_until(f, 10);
    for (unsigned i = 0; i < MANY; i++) {
        ad_zmq_reply(f->z, &f->last_client, "x", 1);
        ad_zmq_publish(f->z, "x", "y", 1);
    }
    ad_zmq_close(f->z, closed_cb);
    ad_zmq_reply(f->z, &f->last_client, "x", 1); /* Too late: dropped, no crash. */
    ad_zmq_publish(f->z, "x", "y", 1);
    unsigned before = f->requests;

    while (!f->closed) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(f->requests, before);
    zmq_close(s);
    zmq_close(sub);
}

static void the_socket_is_private_and_goes_away(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    mode_t mask = umask(0);

    open_it(f);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(umask(mask), 0); /* And the mask is as it was. */
    close_it(f);
    assert_int_equal(stat(f->path, &st), -1);
}

static void a_stale_socket_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    void *s;

    memcpy(addr.sun_path, f->path, strlen(f->path));
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    close(fd);
    open_it(f);
    s = dealer(f);
    send_number(s, 0);
    run_until(f, 1);
    zmq_close(s);
}

static void refuse(struct fixture *f, int err, const char *text)
{
    struct sy_errbuf eb = {""};

    assert_int_equal(try_open(f, &eb), err);
    if (strstr(eb.text, text) == NULL) {
        fail_msg("'%s' not in: %s", text, eb.text);
    }
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void a_living_socket_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct ad_zmq *first;
    void *s;

    open_it(f);
    first = f->z;
    refuse(f, -EADDRINUSE, "another process answers there");
    f->z = first;
    s = dealer(f);
    send_number(s, 0);
    run_until(f, 1);
    zmq_close(s);
}

static void what_is_no_socket_is_left_alone(void **state)
{
    struct fixture *f = *state;
    FILE *file = fopen(f->path, "w");

    fclose(file);
    refuse(f, -EEXIST, "not a socket");
    assert_int_equal(access(f->path, F_OK), 0);
}

static void bad_endpoints_say_what_is_wrong(void **state)
{
    struct fixture *f = *state;
    char *to = f->config.requests[0];
    size_t size = sizeof f->config.requests[0];

    snprintf(to, size, "ipc://%s/nowhere/control.sock", f->dir);
    refuse(f, -ENOENT, "/nowhere: No such file or directory; create it");
    snprintf(to, size, "ipc://relative");
    refuse(f, SY_EINVALID, "absolute path");
    snprintf(to, size, "ipc://@abstract");
    refuse(f, SY_EINVALID, "absolute path");
    snprintf(to, size, "ipc://%s/", f->dir);
    refuse(f, SY_EINVALID, "is a folder");
    snprintf(to, size, "tcp://0.0.0.0:7201");
    refuse(f, SY_EINVALID, "loopback only");
    snprintf(to, size, "inproc://x");
    refuse(f, SY_EINVALID, "must begin with ipc:// or tcp://");
    snprintf(to, size, "tcp://127.0.0.1:99999");
    refuse(f, SY_EINVALID, "tcp://127.0.0.1:99999: needs a port from 1 to 65535");
    snprintf(to, size, "tcp://127.0.0.1");
    refuse(f, SY_EINVALID, "needs a port");
    snprintf(to, size, "tcp://127.0.0.1:7201x");
    refuse(f, SY_EINVALID, "needs a port");
    snprintf(to, size, "%s", "");
    refuse(f, SY_EINVALID, "must begin with");
}

static void a_path_may_have_107_bytes(void **state)
{
    struct fixture *f = *state;
    char *to = f->config.requests[0];
    struct stat st;

    memset(f->path, 'x', sizeof f->path);
    memcpy(f->path, f->dir, strlen(f->dir));
    f->path[strlen(f->dir)] = '/';
    f->path[108] = '\0';
    snprintf(to, sizeof f->config.requests[0], "ipc://%s", f->path);
    refuse(f, -ENAMETOOLONG, "has 108 bytes, a Unix socket allows 107");
    f->path[107] = '\0';
    snprintf(to, sizeof f->config.requests[0], "ipc://%s", f->path);
    open_it(f);
    assert_int_equal(stat(f->path, &st), 0);
}

static void a_failure_at_the_last_socket_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    snprintf(f->config.events[0], sizeof f->config.events[0], "ipc://%s/no/where",
             f->dir);
    refuse(f, -ENOENT, "/no");
    assert_int_equal(stat(f->path, &st), -1);
}

static void tcp_works_at(struct fixture *f, const char *host)
{
    void *s;

    open_tcp(f, host);
    s = client_of(f, ZMQ_DEALER, f->config.requests[1]);
    send_number(s, 0);
    run_until(f, 1);
    assert_int_equal(recv_number(s), 0);
    zmq_close(s);
}

static void tcp_on_the_loopback_works(void **state)
{
    tcp_works_at(*state, "127.0.0.1");
}

static void tcp_elsewhere_works_for_who_trusts_the_network(void **state)
{
    struct fixture *f = *state;

    f->config.plaintext = true;
    tcp_works_at(f, "0.0.0.0");
}

#define T(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(requests_are_answered_in_order),
        T(a_burst_is_answered_whole),
        T(a_turn_takes_no_more_than_its_share),
        T(late_replies_do_not_lose_wakeups),
        T(a_client_that_is_gone_costs_nothing),
        T(a_client_that_does_not_read_is_dropped_from),
        T(bad_requests_are_counted_and_harm_nobody),
        T(a_long_routing_id_is_refused),
        T(events_reach_those_who_asked),
        T(who_subscribes_to_much_hears_it),
        T(noise_from_a_subscriber_changes_nothing),
        T(who_cancels_for_others_silences_nobody),
        T(closing_with_work_pending_is_clean),
        T(the_socket_is_private_and_goes_away),
        T(a_stale_socket_is_replaced),
        T(a_living_socket_is_left_alone),
        T(what_is_no_socket_is_left_alone),
        T(bad_endpoints_say_what_is_wrong),
        T(a_path_may_have_107_bytes),
        T(a_failure_at_the_last_socket_leaves_nothing),
        T(tcp_on_the_loopback_works),
        T(tcp_elsewhere_works_for_who_trusts_the_network),
    };
    return cmocka_run_group_tests_name("zmq", tests, NULL, NULL);
}

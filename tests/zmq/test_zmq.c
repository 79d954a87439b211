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

#include "adapters/zmq/control.h"
#include "adapters/zmq/guard.h"

enum { MANY = 1000, PATIENCE_MS = 10000 };

struct fixture
{
    uv_loop_t loop;
    uv_timer_t watchdog;
    struct sy_log log;
    struct ad_zmq_config config;
    struct ad_zmq *z;
    void *ctx;
    char dir[64];
    char path[128];
    unsigned requests;
    unsigned until;
    bool hold; /* Do not answer at once. */
    bool closed;
    struct ad_zmq_client last_client;
    uint64_t last_number;
    size_t last_size;
};

static void discard(void *data, enum sy_level level, const char *line, size_t len)
{
    (void)data, (void)level, (void)line, (void)len;
}

static void request_cb(void *data, const struct ad_zmq_client *client, const uint8_t *p,
                       size_t n)
{
    struct fixture *f = data;
    unsigned number = 0;

    f->last_client = *client;
    f->last_size = n;
    if (n == sizeof number) {
        memcpy(&number, p, n);
        assert_int_equal(number, f->requests); /* In order. */
    }
    f->requests++;
    if (!f->hold) {
        ad_zmq_reply(f->z, client, p, n);
    }
}

static void too_late(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("the loop waited %d ms for something that did not come", PATIENCE_MS);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct ad_zmq_config *c = &f->config;

    f->log = (struct sy_log){.level = SY_DEBUG, .write = discard};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(uv_timer_init(&f->loop, &f->watchdog), 0);
    uv_timer_start(&f->watchdog, too_late, PATIENCE_MS, 0);
    snprintf(f->dir, sizeof f->dir, "/tmp/vagt-zmq-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/control.sock", f->dir);
    snprintf(c->requests[0], sizeof c->requests[0], "ipc://%s", f->path);
    snprintf(c->events[0], sizeof c->events[0], "ipc://%s/events.sock", f->dir);
    c->requests_n = c->events_n = 1;
    f->ctx = zmq_ctx_new();
    *state = f;
    return 0;
}

static int try_open(struct fixture *f, struct sy_errbuf *eb)
{
    return ad_zmq_open(&f->z, &f->loop, &f->log, &f->config, request_cb, f, eb);
}

static void open_it(struct fixture *f)
{
    struct sy_errbuf eb = {""};

    if (try_open(f, &eb) != 0) {
        fail_msg("open: %s", eb.text);
    }
}

static void closed_cb(void *data)
{
    struct fixture *f = data;

    f->z = NULL;
    f->closed = true;
}

static void close_it(struct fixture *f)
{
    ad_zmq_close(f->z, closed_cb);
    assert_false(f->closed); /* Never from inside the call. */
    while (!f->closed) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    f->closed = false;
}

/* A loop that cannot close means a handle leaked. */
static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->z != NULL) {
        close_it(f);
    }
    uv_close((uv_handle_t *)&f->watchdog, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    zmq_ctx_destroy(f->ctx);
    unlink(f->path);
    /* The daemon leaves no socket behind, or this is not empty. */
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static void *client_of(struct fixture *f, int type, const char *endpoint)
{
    void *s = zmq_socket(f->ctx, type);
    int zero = 0;
    int queue = 2 * MANY;

    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof zero);
    zmq_setsockopt(s, ZMQ_SNDHWM, &queue, sizeof queue);
    zmq_setsockopt(s, ZMQ_RCVHWM, &queue, sizeof queue);
    assert_int_equal(zmq_connect(s, endpoint), 0);
    return s;
}

static void *dealer(struct fixture *f)
{
    return client_of(f, ZMQ_DEALER, f->config.requests[0]);
}

static void run_until(struct fixture *f, unsigned requests)
{
    while (f->requests < requests) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static void send_number(void *s, unsigned number)
{
    assert_int_equal(zmq_send(s, &number, sizeof number, 0), sizeof number);
}

static unsigned recv_number(void *s)
{
    unsigned number = 0;

    assert_int_equal(zmq_recv(s, &number, sizeof number, 0), sizeof number);
    return number;
}

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

static void subscribe(struct fixture *f, void *s, const char *prefix, bool expect)
{
    zmq_setsockopt(s, ZMQ_SUBSCRIBE, prefix, strlen(prefix));
    while (ad_zmq_heard(f->z) != expect) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static void events_reach_those_who_asked(void **state)
{
    struct fixture *f = *state;
    char name[32] = "";
    char body[8] = "";
    void *s;

    open_it(f);
    ad_zmq_publish(f->z, "role", "1", 1);
    assert_int_equal(ad_zmq_stats(f->z)->events, 0);

    s = client_of(f, ZMQ_SUB, f->config.events[0]);
    subscribe(f, s, "command.", true);
    ad_zmq_publish(f->z, "role", "2", 1);
    ad_zmq_publish(f->z, "command.sent", "3", 1);
    assert_int_equal(ad_zmq_stats(f->z)->events, 2);
    assert_int_equal(zmq_recv(s, name, sizeof name, 0), 12);
    assert_string_equal(name, "command.sent");
    assert_int_equal(zmq_recv(s, body, sizeof body, 0), 1);
    assert_string_equal(body, "3");

    zmq_close(s); /* The last one gone: nobody listens. */
    while (ad_zmq_heard(f->z)) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static void many_subscriptions_are_counted(void **state)
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
    subscribe(f, s, "last", true);
    zmq_close(s);
    while (ad_zmq_heard(f->z)) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
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
    zmq_send(rude, "\1a", 2, 0);
    while (!ad_zmq_heard(f->z)) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    zmq_send(rude, "noise", 5, ZMQ_SNDMORE);
    zmq_send(rude, "\1b", 2, ZMQ_SNDMORE);
    zmq_send(rude, "\0c", 2, ZMQ_SNDMORE);
    zmq_send(rude, "", 0, 0);
    zmq_send(rude, "\0a", 2, 0);
    run_for_ms(f, 50);
    assert_true(ad_zmq_heard(f->z)); /* "b" */

    s = client_of(f, ZMQ_SUB, f->config.events[0]);
    subscribe(f, s, "x", true);
    zmq_send(rude, "\1mark", 5, 0);
    zmq_close(rude);
    run_for_ms(f, 50);
    assert_true(ad_zmq_heard(f->z));
    ad_zmq_publish(f->z, "x", "1", 1);
    assert_int_equal(zmq_recv(s, name, sizeof name, 0), 1);
    zmq_close(s);
    while (ad_zmq_heard(f->z)) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static void closing_with_work_pending_is_clean(void **state)
{
    struct fixture *f = *state;
    void *s;
    void *sub;

    f->hold = true;
    open_it(f);
    sub = client_of(f, ZMQ_SUB, f->config.events[0]);
    subscribe(f, sub, "", true);
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

/* Also listens on a port of TCP, which is returned. */
static struct sockaddr_in open_tcp(struct fixture *f, const char *host)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    close(fd);
    f->config.requests_n = 2;
    snprintf(f->config.requests[1], sizeof f->config.requests[1], "tcp://%s:%u", host,
             (unsigned)ntohs(addr.sin_port));
    open_it(f);
    return addr;
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
        T(requests_are_answered_in_order),
        T(a_burst_is_answered_whole),
        T(a_turn_takes_no_more_than_its_share),
        T(late_replies_do_not_lose_wakeups),
        T(a_client_that_is_gone_costs_nothing),
        T(a_client_that_does_not_read_is_dropped_from),
        T(bad_requests_are_counted_and_harm_nobody),
        T(a_long_routing_id_is_refused),
        T(events_reach_those_who_asked),
        T(many_subscriptions_are_counted),
        T(noise_from_a_subscriber_changes_nothing),
        T(closing_with_work_pending_is_clean),
        T(the_socket_is_private_and_goes_away),
        T(a_stale_socket_is_replaced),
        T(a_living_socket_is_left_alone),
        T(what_is_no_socket_is_left_alone),
        T(bad_endpoints_say_what_is_wrong),
        T(a_path_may_have_107_bytes),
        T(a_failure_at_the_last_socket_leaves_nothing),
        T(tcp_on_the_loopback_works),
        T(a_silent_crowd_locks_nobody_out),
        T(tcp_elsewhere_works_for_who_trusts_the_network),
    };
    return cmocka_run_group_tests_name("zmq", tests, NULL, NULL);
}

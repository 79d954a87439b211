/* A look at an address: real sockets on loopback, and a server that answers what the
 * test wants. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "adapters/probe/probe.h"

enum { TIMEOUT_MS = 300, PING_MS = 50, HEARD_MAX = 256 };

struct server
{
    uv_tcp_t listener, client;
    int port;
    const char *answer; /* NULL: nothing */
    size_t answer_n;
    bool hangs_up, deaf; /* at once; to pings */
    uint8_t heard[HEARD_MAX];
    size_t heard_n;
    bool connected, gone;
};

static uv_loop_t loop;
static struct server server;
static struct
{
    unsigned told;
    bool good;
    char text[AD_PROBE_TEXT_SIZE];
} end;

static void client_gone(uv_handle_t *handle)
{
    (void)handle;
    server.gone = true;
}

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)handle, (void)suggested;
    *ret = uv_buf_init((char *)server.heard + server.heard_n,
                       (unsigned)(HEARD_MAX - server.heard_n));
}

static void read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    bool first = server.heard_n == 0;
    uv_buf_t out;

    (void)buf;
    if (n < 0 || server.hangs_up) {
        uv_close((uv_handle_t *)stream, client_gone);
        return;
    }
    server.heard_n += (size_t)n;
    if (first && server.answer != NULL) {
        out = uv_buf_init((char *)(uintptr_t)server.answer, (unsigned)server.answer_n);
        assert_int_equal(uv_try_write(stream, &out, 1), server.answer_n);
    } else if (!first && !server.deaf && n == 2 &&
               server.heard[server.heard_n - 2] == 0xc0) {
        out = uv_buf_init((char *)(uintptr_t) "\xd0\0", 2);
        assert_int_equal(uv_try_write(stream, &out, 1), 2);
    }
}

static void connected(uv_stream_t *listener, int status)
{
    assert_int_equal(status, 0);
    assert_int_equal(uv_tcp_init(&loop, &server.client), 0);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&server.client), 0);
    server.connected = true;
    assert_int_equal(uv_read_start((uv_stream_t *)&server.client, alloc_cb, read_cb), 0);
}

static int open_all(void **state)
{
    struct sockaddr_in a;
    int len = sizeof a;

    (void)state;
    memset(&server, 0, sizeof server);
    memset(&end, 0, sizeof end);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_tcp_init(&loop, &server.listener), 0);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &a), 0);
    assert_int_equal(uv_tcp_bind(&server.listener, (struct sockaddr *)&a, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&server.listener, 4, connected), 0);
    assert_int_equal(uv_tcp_getsockname(&server.listener, (struct sockaddr *)&a, &len),
                     0);
    server.port = ntohs(a.sin_port);
    uv_unref((uv_handle_t *)&server.listener);
    return 0;
}

/* Nothing of a probe may be left. */
static int close_all(void **state)
{
    (void)state;
    uv_close((uv_handle_t *)&server.listener, NULL);
    if (server.connected && !server.gone) {
        uv_close((uv_handle_t *)&server.client, NULL);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

static void ended(void *data, bool good, const char *text)
{
    assert_ptr_equal(data, &end);
    end.told++;
    end.good = good;
    snprintf(end.text, sizeof end.text, "%s", text);
}

static struct ad_probe_config at_server(bool mqtt)
{
    struct ad_probe_config c = {
        .addresses_n = 1, .timeout_ms = TIMEOUT_MS, .ping_ms = PING_MS};

    snprintf(c.addresses[0].host, sizeof c.addresses[0].host, "127.0.0.1");
    c.addresses[0].port = (uint16_t)server.port;
    c.client_id = mqtt ? "vagt-test-ready2" : NULL;
    return c;
}

static struct ad_probe *probe(const struct ad_probe_config *c)
{
    struct ad_probe *p = ad_probe_start(&loop, c, ended, &end);

    assert_non_null(p);
    assert_int_equal(end.told, 0);
    while (end.told == 0) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    return p;
}

static void says(const char *what)
{
    if (strstr(end.text, what) == NULL) {
        fail_msg("'%s' is not in: %s", what, end.text);
    }
}

static void a_port_that_is_open_is_enough_without_mqtt(void **state)
{
    struct ad_probe_config c = at_server(false);

    (void)state;
    probe(&c);
    assert_true(end.good);
    says("took us in");
}

static void a_port_that_is_shut_is_told_with_its_address(void **state)
{
    struct ad_probe_config c = at_server(false);

    (void)state;
    c.addresses[0].port = 1;
    probe(&c);
    assert_false(end.good);
    says("127.0.0.1:1 cannot be reached: connection refused");
}

static void the_second_address_is_tried_when_the_first_fails(void **state)
{
    struct ad_probe_config c = at_server(false);

    (void)state;
    c.addresses[1] = c.addresses[0];
    c.addresses[0].port = 1;
    c.addresses_n = 2;
    probe(&c);
    assert_true(end.good);
    assert_null(strstr(end.text, "refused"));
}

static void until_told(unsigned times)
{
    while (end.told < times) {
        uv_run(&loop, UV_RUN_ONCE);
    }
}

static void a_broker_must_say_yes(void **state)
{
    struct ad_probe_config c = at_server(true);
    static const uint8_t connect[] =
        "\x10\x26\0\4MQTT\5\xc2\0\2\0\0\x10"
        "vagt-test-ready2\0\3bob\0\2pw";
    struct ad_probe *p;

    (void)state;
    c.username = "bob";
    c.password = "pw";
    server.answer = "\x20\6\0\0\3\x21\0\x14";
    server.answer_n = 8;
    p = probe(&c);
    assert_true(end.good);
    says("took us in");
    assert_memory_equal(server.heard, connect, sizeof connect - 1);
    ad_probe_cancel(p);
    while (!server.gone) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    /* And goodbye, so that the broker does not log a loss. */
    assert_int_equal(server.heard_n, sizeof connect - 1 + 2);
    assert_memory_equal(server.heard + server.heard_n - 2, "\xe0\0", 2);
    assert_int_equal(end.told, 1);
}

static void a_broker_is_asked_for_as_long_as_it_answers(void **state)
{
    struct ad_probe_config c = at_server(true);

    (void)state;
    server.answer = "\x20\3\0\0\0";
    server.answer_n = 5;
    (void)probe(&c);
    until_told(4);
    assert_true(end.good);
    says("answered in");
    server.deaf = true;
    until_told(5);
    assert_false(end.good);
    says("does not answer within 300 ms");
    assert_int_equal(server.heard_n, 31 + 4 * 2);
}

static void a_broker_that_goes_is_noticed_at_once(void **state)
{
    struct ad_probe_config c = at_server(true);

    (void)state;
    c.ping_ms = 60000;
    server.answer = "\x20\3\0\0\0";
    server.answer_n = 5;
    (void)probe(&c);
    uv_close((uv_handle_t *)&server.client, client_gone);
    until_told(2);
    assert_false(end.good);
    says("closed our connection");
}

static void a_broker_that_throws_us_out_is_told(void **state)
{
    struct ad_probe_config c = at_server(true);

    (void)state;
    c.ping_ms = 60000;
    server.answer = "\x20\3\0\0\0\xe0\2\x8e\0";
    server.answer_n = 5;
    (void)probe(&c);
    server.answer += 5;
    assert_int_equal(
        uv_try_write((uv_stream_t *)&server.client,
                     &(uv_buf_t){.base = (char *)(uintptr_t)server.answer, .len = 4}, 1),
        4);
    until_told(2);
    assert_false(end.good);
    says("ended our connection");
}

static void an_answer_in_pieces_is_one(void **state)
{
    struct ad_probe_config c = at_server(true);
    static const char pieces[] = "\x20\6\0\0\3\x21\0\x14";
    struct ad_probe *p = ad_probe_start(&loop, &c, ended, &end);

    (void)state;
    while (server.heard_n == 0) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    for (unsigned i = 0; i < sizeof pieces - 1; i++) {
        uv_buf_t b = uv_buf_init((char *)(uintptr_t)&pieces[i], 1);

        assert_int_equal(end.told, i > 3);
        assert_int_equal(uv_try_write((uv_stream_t *)&server.client, &b, 1), 1);
        for (unsigned k = 0; k < 3; k++) {
            uv_run(&loop, UV_RUN_NOWAIT);
        }
    }
    until_told(3);
    assert_true(end.good);
    ad_probe_cancel(p);
}

static void a_broker_that_refuses_is_told_with_its_reason(void **state)
{
    struct ad_probe_config c = at_server(true);

    (void)state;
    server.answer = "\x20\3\0\x86\0";
    server.answer_n = 5;
    probe(&c);
    assert_false(end.good);
    says("refuses us (reason 0x86): wrong user name or password");
}

static void an_old_broker_is_told_as_such(void **state)
{
    struct ad_probe_config c = at_server(true);

    (void)state;
    server.answer = "\x20\2\0\1";
    server.answer_n = 4;
    probe(&c);
    assert_false(end.good);
    says("does not speak MQTT 5");
}

static void what_is_no_broker_is_told_as_such(void **state)
{
    struct ad_probe_config c = at_server(true);

    (void)state;
    server.answer = "HTTP/1.1 400\r\n";
    server.answer_n = 14;
    probe(&c);
    assert_false(end.good);
    says("not as an MQTT broker");
}

static void who_hangs_up_or_says_nothing_is_no_broker(void **state)
{
    struct ad_probe_config c = at_server(true);

    server.hangs_up = true;
    probe(&c);
    assert_false(end.good);
    says("closed the connection");
    (void)close_all(state);
    (void)open_all(state);
    c = at_server(true);
    probe(&c);
    assert_false(end.good);
    says("does not answer within 300 ms");
}

static void half_an_answer_is_waited_for(void **state)
{
    struct ad_probe_config c = at_server(true);

    (void)state;
    server.answer = "\x20\3\0";
    server.answer_n = 3;
    probe(&c);
    assert_false(end.good);
    says("does not answer within");
}

static void a_probe_that_is_cancelled_says_nothing(void **state)
{
    struct ad_probe_config c = at_server(true);
    struct ad_probe *p = ad_probe_start(&loop, &c, ended, &end);

    (void)state;
    ad_probe_cancel(p);
    uv_run(&loop, UV_RUN_DEFAULT);
    p = ad_probe_start(&loop, &c, ended, &end);
    while (!server.connected) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    ad_probe_cancel(p);
    while (!server.gone) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    assert_int_equal(end.told, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(F) cmocka_unit_test_setup_teardown(F, open_all, close_all)
        T(a_port_that_is_open_is_enough_without_mqtt),
        T(a_port_that_is_shut_is_told_with_its_address),
        T(the_second_address_is_tried_when_the_first_fails),
        T(a_broker_must_say_yes),
        T(a_broker_is_asked_for_as_long_as_it_answers),
        T(a_broker_that_goes_is_noticed_at_once),
        T(a_broker_that_throws_us_out_is_told),
        T(an_answer_in_pieces_is_one),
        T(a_broker_that_refuses_is_told_with_its_reason),
        T(an_old_broker_is_told_as_such),
        T(what_is_no_broker_is_told_as_such),
        T(who_hangs_up_or_says_nothing_is_no_broker),
        T(half_an_answer_is_waited_for),
        T(a_probe_that_is_cancelled_says_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

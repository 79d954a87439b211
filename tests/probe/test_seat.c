/* Is a coordinator's port free? Real sockets on loopback, and a coordinator that is
 * busy for as long as the test wants. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "adapters/probe/seat.h"

enum { CLIENTS = 64, SETTLE_MS = 50 };

static uv_loop_t loop;
static struct
{
    uv_tcp_t listener, clients[CLIENTS];
    int port;
    unsigned busy; /* so many are thrown out */
    unsigned came;
} server;
static struct
{
    unsigned told, last;
    enum ad_seat_state state, first;
    char text[AD_SEAT_TEXT_SIZE];
} end;

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    static char nothing[16];

    (void)handle, (void)suggested;
    *ret = uv_buf_init(nothing, sizeof nothing);
}

static void read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    assert_true(n <= 0); /* Nothing is said to it. */
    if (n < 0) {
        uv_close((uv_handle_t *)stream, NULL);
    }
}

static void connected(uv_stream_t *listener, int status)
{
    uv_tcp_t *client = &server.clients[server.came];

    assert_int_equal(status, 0);
    assert_true(++server.came < CLIENTS);
    assert_int_equal(uv_tcp_init(&loop, client), 0);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)client), 0);
    if (server.came <= server.busy) {
        uv_close((uv_handle_t *)client, NULL);
    } else {
        (void)uv_read_start((uv_stream_t *)client, alloc_cb, read_cb);
    }
}

static void listen_at(int port)
{
    struct sockaddr_in at;
    int len = sizeof at;

    assert_int_equal(uv_ip4_addr("127.0.0.1", port, &at), 0);
    assert_int_equal(uv_tcp_init(&loop, &server.listener), 0);
    assert_int_equal(uv_tcp_bind(&server.listener, (struct sockaddr *)&at, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&server.listener, 8, connected), 0);
    assert_int_equal(uv_tcp_getsockname(&server.listener, (struct sockaddr *)&at, &len),
                     0);
    server.port = ntohs(at.sin_port);
}

static void told(void *data, enum ad_seat_state state, bool last, const char *text)
{
    (void)data;
    assert_int_equal(end.last, 0);
    if (end.told++ == 0) {
        end.first = state;
    }
    end.last += last;
    end.state = state;
    (void)snprintf(end.text, sizeof end.text, "%s", text);
    if (last && !uv_is_closing((uv_handle_t *)&server.listener)) {
        uv_close((uv_handle_t *)&server.listener, NULL);
    }
}

static struct ad_seat *look(unsigned patience_ms)
{
    struct ad_seat_config c;

    ad_seat_config_default(&c);
    (void)snprintf(c.host, sizeof c.host, "127.0.0.1");
    c.port = (uint16_t)server.port;
    c.settle_ms = SETTLE_MS;
    c.timeout_ms = 500;
    c.pause_ms = 10;
    c.pause_max_ms = 40;
    c.patience_ms = patience_ms;
    return ad_seat_start(&loop, &c, told, NULL);
}

static int begin(void **state)
{
    (void)state;
    memset(&server, 0, sizeof server);
    memset(&end, 0, sizeof end);
    return uv_loop_init(&loop);
}

static int finish(void **state)
{
    (void)state;
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void a_free_seat_is_told_once(void **state)
{
    (void)state;
    listen_at(0);
    (void)look(5000);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(end.told, 1);
    assert_int_equal(end.last, 1);
    assert_int_equal(end.state, AD_SEAT_FREE);
    assert_int_equal(server.came, 1);
}

static void a_busy_seat_is_waited_for(void **state)
{
    (void)state;
    server.busy = 3;
    listen_at(0);
    (void)look(60000);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(end.first, AD_SEAT_BUSY);
    assert_int_equal(end.state, AD_SEAT_FREE);
    assert_int_equal(end.told, 4);
}

/* After each connection that came the process stands still, longer than one has to
 * stay. */
static void stand_still(uv_check_t *check)
{
    unsigned *seen = check->data;

    if (*seen < server.came) {
        *seen = server.came;
        uv_sleep(2 * SETTLE_MS);
    }
    if (end.last > 0) {
        uv_close((uv_handle_t *)check, NULL);
    }
}

static void who_stands_still_does_not_take_busy_for_free(void **state)
{
    unsigned seen = 0;
    uv_check_t check = {.data = &seen};

    (void)state;
    server.busy = 3;
    listen_at(0);
    assert_int_equal(uv_check_init(&loop, &check), 0);
    assert_int_equal(uv_check_start(&check, stand_still), 0);
    (void)look(60000);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(end.first, AD_SEAT_BUSY);
    assert_int_equal(end.state, AD_SEAT_FREE);
    assert_int_equal(end.told, 4);
}

static void patience_ends(void **state)
{
    (void)state;
    server.busy = 1000000;
    listen_at(0);
    (void)look(200);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(end.state, AD_SEAT_BUSY);
    assert_int_equal(end.last, 1);
    assert_true(end.told > 1);
    assert_non_null(strstr(end.text, "it still has a client"));
}

static void nobody_there_is_busy_or_away(void **state)
{
    (void)state;
    listen_at(0);
    uv_close((uv_handle_t *)&server.listener, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)look(0);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(end.told, 1);
    assert_int_equal(end.state, AD_SEAT_BUSY);
    assert_non_null(strstr(end.text, "refuses the connection"));
}

static void who_cancels_is_told_nothing(void **state)
{
    struct ad_seat *s;

    (void)state;
    listen_at(0);
    s = look(5000); /* While it connects, */
    ad_seat_cancel(s);
    s = look(5000); /* while it waits for the connection to stay, */
    while (server.came < 2) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    ad_seat_cancel(s);
    server.busy = 1000000;
    s = look(5000); /* and in a pause. */
    while (end.told == 0) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    ad_seat_cancel(s);
    uv_close((uv_handle_t *)&server.listener, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(end.told, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_free_seat_is_told_once, begin, finish),
        cmocka_unit_test_setup_teardown(a_busy_seat_is_waited_for, begin, finish),
        cmocka_unit_test_setup_teardown(who_stands_still_does_not_take_busy_for_free,
                                        begin, finish),
        cmocka_unit_test_setup_teardown(patience_ends, begin, finish),
        cmocka_unit_test_setup_teardown(nobody_there_is_busy_or_away, begin, finish),
        cmocka_unit_test_setup_teardown(who_cancels_is_told_nothing, begin, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Before a broker or a bridge starts: files written, settings looked at, a coordinator
 * whose seat is taken waited for. Real files and sockets. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/gate.h"

enum { CLIENTS = 32 };

static char dir[] = "/tmp/vagt-gate-XXXXXX";
static uv_loop_t loop;
static uv_tcp_t coordinator, clients[CLIENTS];
static unsigned came, busy;
static struct
{
    unsigned told;
    bool open, last;
    char why[512];
} gate;
static char logged[4096];

static void log_write(void *data, enum sy_level level, const char *line, size_t len)
{
    size_t n = strlen(logged);

    (void)data, (void)level;
    (void)snprintf(logged + n, sizeof logged - n, "%.*s\n", (int)len, line);
}

static const struct sy_log log_to = {.level = SY_DEBUG, .write = log_write};

static void said(void *data, bool open, bool last, const char *why)
{
    (void)data;
    assert_false(gate.last);
    gate.told++;
    gate.open = open;
    gate.last = last;
    (void)snprintf(gate.why, sizeof gate.why, "%s", why);
    if (last && uv_is_active((uv_handle_t *)&coordinator)) {
        uv_close((uv_handle_t *)&coordinator, NULL);
    }
}

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    static char nothing[16];

    (void)handle, (void)suggested;
    *ret = uv_buf_init(nothing, sizeof nothing);
}

static void read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    if (n < 0) {
        uv_close((uv_handle_t *)stream, NULL);
    }
}

static void connected(uv_stream_t *listener, int status)
{
    uv_tcp_t *client = &clients[came];

    assert_int_equal(status, 0);
    assert_true(++came < CLIENTS);
    assert_int_equal(uv_tcp_init(&loop, client), 0);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)client), 0);
    if (came <= busy) {
        uv_close((uv_handle_t *)client, NULL);
    } else {
        (void)uv_read_start((uv_stream_t *)client, alloc_cb, read_cb);
    }
}

static uint16_t listen_at(void)
{
    struct sockaddr_in at;
    int len = sizeof at;

    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &at), 0);
    assert_int_equal(uv_tcp_init(&loop, &coordinator), 0);
    assert_int_equal(uv_tcp_bind(&coordinator, (struct sockaddr *)&at, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&coordinator, 8, connected), 0);
    assert_int_equal(uv_tcp_getsockname(&coordinator, (struct sockaddr *)&at, &len), 0);
    return ntohs(at.sin_port);
}

static struct nd_bridge bridge_of(const char *text)
{
    struct nd_bridge b = {.area = "Nord", .same_id = -1, .wanted = {.client_id = "x"}};
    char path[300];
    FILE *f;

    (void)snprintf(b.dir, sizeof b.dir, "%s", dir);
    (void)snprintf(path, sizeof path, "%s/configuration.yaml", dir);
    (void)unlink(path);
    if (text != NULL) {
        f = fopen(path, "w");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
    }
    return b;
}

static void run(const struct nd_gate_config *c)
{
    (void)nd_gate_start(&loop, c, &log_to, said, NULL);
    assert_int_equal(gate.told, 0);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(gate.last);
}

static void seat_at(struct nd_gate_config *c, uint16_t port)
{
    ad_seat_config_default(&c->seat);
    (void)snprintf(c->seat.host, sizeof c->seat.host, "127.0.0.1");
    c->seat.port = port;
    c->seat.settle_ms = 30;
    c->seat.pause_ms = 10;
}

static void a_bridge_starts_when_the_seat_is_free(void **state)
{
    struct nd_bridge b = bridge_of("mqtt: {}\n");
    struct nd_gate_config c = {.bridge = &b};

    (void)state;
    busy = 2;
    seat_at(&c, listen_at());
    run(&c);
    assert_true(gate.open);
    assert_int_equal(gate.told, 3);
    assert_int_equal(came, 3);
    /* What differs is told, and no reason not to start. */
    assert_non_null(strstr(logged, "bridge.differs"));
    assert_non_null(strstr(logged, "device_options.qos is not set"));
}

static void a_seat_that_stays_taken_is_a_sentence(void **state)
{
    struct nd_bridge b = bridge_of("mqtt: {}\n");
    struct nd_gate_config c = {.bridge = &b};

    (void)state;
    busy = CLIENTS;
    seat_at(&c, listen_at());
    c.seat.patience_ms = 50;
    run(&c);
    assert_false(gate.open);
    assert_non_null(strstr(gate.why, "the coordinator at 127.0.0.1:"));
    assert_non_null(strstr(gate.why, "it still has a client"));
}

static void without_settings_it_does_not_start(void **state)
{
    struct nd_bridge b = bridge_of(NULL);
    struct nd_gate_config c = {.bridge = &b};

    (void)state;
    seat_at(&c, listen_at());
    run(&c);
    assert_false(gate.open);
    assert_int_equal(came, 0); /* Nobody was disturbed. */
    assert_non_null(strstr(gate.why, "configuration.yaml: cannot be read"));
}

static void what_may_be_mended_is(void **state)
{
    struct nd_bridge b = bridge_of("mqtt: {}\n");
    struct nd_gate_config c = {.bridge = &b};
    struct ad_bridge_findings f;

    (void)state;
    b.may_write = true;
    run(&c);
    assert_true(gate.open);
    assert_non_null(strstr(logged, "bridge.changed"));
    assert_int_equal(ad_bridge_settings_look(dir, &b.wanted, &f, NULL), 0);
    assert_int_equal(f.n, 0);
}

static void a_broker_gets_its_configuration(void **state)
{
    struct ad_broker_config b;
    struct nd_gate_config c = {.broker = &b};

    (void)state;
    ad_broker_config_default(&b);
    (void)snprintf(b.data_dir, sizeof b.data_dir, "%s/broker", dir);
    (void)snprintf(c.conf, sizeof c.conf, "%s/mosquitto.conf", dir);
    run(&c);
    assert_true(gate.open);
    assert_int_equal(access(c.conf, R_OK), 0);
    assert_int_equal(access(b.data_dir, R_OK), 0);
    gate.last = false;
    gate.told = 0;
    (void)snprintf(b.data_dir, sizeof b.data_dir, "%s/no/such", dir);
    run(&c);
    assert_false(gate.open);
    assert_non_null(strstr(gate.why, "no/such: cannot be made"));
}

static void who_cancels_is_told_nothing(void **state)
{
    struct nd_bridge b = bridge_of("mqtt: {}\n");
    struct nd_gate_config c = {.bridge = &b};
    struct nd_gate *g;

    (void)state;
    seat_at(&c, listen_at());
    busy = CLIENTS;
    nd_gate_cancel(nd_gate_start(&loop, &c, &log_to, said, NULL)); /* while it reads */
    g = nd_gate_start(&loop, &c, &log_to, said, NULL);
    while (gate.told == 0) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    nd_gate_cancel(g); /* while it waits */
    uv_close((uv_handle_t *)&coordinator, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(gate.told, 1);
}

static int begin(void **state)
{
    (void)state;
    memset(&gate, 0, sizeof gate);
    memset(&coordinator, 0, sizeof coordinator);
    logged[0] = '\0';
    came = busy = 0;
    return uv_loop_init(&loop);
}

static int finish(void **state)
{
    (void)state;
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    char command[100];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

int main(void)
{
#define GATE_TEST(F) cmocka_unit_test_setup_teardown(F, begin, finish)
    const struct CMUnitTest tests[] = {
        GATE_TEST(a_bridge_starts_when_the_seat_is_free),
        GATE_TEST(a_seat_that_stays_taken_is_a_sentence),
        GATE_TEST(without_settings_it_does_not_start),
        GATE_TEST(what_may_be_mended_is),
        GATE_TEST(a_broker_gets_its_configuration),
        GATE_TEST(who_cancels_is_told_nothing),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

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

static void discard(void *data, enum sy_level level, const char *line, size_t len)
{
    (void)data, (void)level, (void)line, (void)len;
}

static void request_cb(void *data, const struct ad_zmq_client *client,
                       const struct ad_zmq_who *who, const uint8_t *p, size_t n)
{
    struct fixture *f = data;
    unsigned number = 0;

    f->last_who = *who;
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

static bool admit(void *data, const char key[AD_ZAP_KEY_SIZE], const char *address)
{
    struct fixture *f = data;

    assert_string_equal(address, "127.0.0.1");
    return strcmp(key, f->good_key) == 0;
}

static void too_late(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("the loop waited %d ms for something that did not come", PATIENCE_MS);
}

int setup(void **state)
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

int try_open(struct fixture *f, struct sy_errbuf *eb)
{
    struct ad_zmq_owner owner = {.data = f, .request = request_cb, .admit = admit};

    return ad_zmq_open(&f->z, &f->loop, &f->log, &f->config, &owner, eb);
}

void open_it(struct fixture *f)
{
    struct sy_errbuf eb = {""};

    if (try_open(f, &eb) != 0) {
        fail_msg("open: %s", eb.text);
    }
}

void closed_cb(void *data)
{
    struct fixture *f = data;

    f->z = NULL;
    f->closed = true;
}

void close_it(struct fixture *f)
{
    ad_zmq_close(f->z, closed_cb);
    assert_false(f->closed); /* Never from inside the call. */
    while (!f->closed) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    f->closed = false;
}

/* A loop that cannot close means a handle leaked. */
int teardown(void **state)
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

void *client_of(struct fixture *f, int type, const char *endpoint)
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

void *dealer(struct fixture *f)
{
    return client_of(f, ZMQ_DEALER, f->config.requests[0]);
}

void run_until(struct fixture *f, unsigned requests)
{
    while (f->requests < requests) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

void send_number(void *s, unsigned number)
{
    assert_int_equal(zmq_send(s, &number, sizeof number, 0), sizeof number);
}

unsigned recv_number(void *s)
{
    unsigned number = 0;

    assert_int_equal(zmq_recv(s, &number, sizeof number, 0), sizeof number);
    return number;
}

int raw_client(const void *addr, socklen_t len, const char *type)
{
    char greeting[64] = "\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL";
    char ready[64] = "\4_\5READY\xbSocket-Type\0\0\0_";
    char answer[64 + 27]; /* To the end of the shortest one. */
    size_t n = strlen(type);
    int fd = socket(((const struct sockaddr *)addr)->sa_family, SOCK_STREAM, 0);

    ready[1] = (char)(22 + n);
    ready[23] = (char)n;
    memcpy(ready + 24, type, n);
    assert_int_equal(connect(fd, addr, len), 0);
    assert_int_equal(write(fd, greeting, sizeof greeting), sizeof greeting);
    assert_int_equal(write(fd, ready, 24 + n), 24 + n);
    assert_int_equal(recv(fd, answer, sizeof answer, MSG_WAITALL), sizeof answer);
    return fd;
}

struct sockaddr_in open_tcp(struct fixture *f, const char *host)
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

#include "adapters/probe/seat.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct ad_seat
{
    uv_loop_t *loop;
    struct ad_seat_config config;
    ad_seat_cb cb; /* NULL: nobody wants to know any more */
    void *data;

    uint64_t until_ms; /* the end of patience */
    unsigned pause_ms;
    uv_tcp_t tcp;
    uv_timer_t timer; /* of the attempt, or of the pause */
    uv_connect_t connect;
    char buf[64]; /* what it says is not listened to */

    bool connected, judged, pausing;
    enum ad_seat_state state;
    char text[AD_SEAT_TEXT_SIZE];
};

static void attempt(struct ad_seat *s);

void ad_seat_config_default(struct ad_seat_config *c)
{
    memset(c, 0, sizeof *c);
    c->settle_ms = 300;
    c->timeout_ms = 2000;
    c->pause_ms = 250;
    c->pause_max_ms = 4000;
    c->patience_ms = 20000;
}

static void timer_closed(uv_handle_t *handle)
{
    sy_free(handle->data);
}

static void pause_over(uv_timer_t *timer)
{
    attempt(timer->data);
}

/* The connection is closed: told, and again or not. */
static void tcp_closed(uv_handle_t *handle)
{
    struct ad_seat *s = handle->data;
    uint64_t now_ms = uv_now(s->loop);
    bool last = s->state == AD_SEAT_FREE || now_ms + s->pause_ms >= s->until_ms;

    if (s->cb != NULL) {
        s->cb(s->data, s->state, last, s->text);
    }
    if (last || s->cb == NULL) {
        s->cb = NULL;
        uv_close((uv_handle_t *)&s->timer, timer_closed);
        return;
    }
    s->pausing = true;
    (void)uv_timer_start(&s->timer, pause_over, s->pause_ms, 0);
    s->pause_ms = 2 * s->pause_ms < s->config.pause_max_ms ? 2 * s->pause_ms
                                                           : s->config.pause_max_ms;
}

static void judge(struct ad_seat *s, enum ad_seat_state state, const char *fmt, ...)
    SY_PRINTF(3, 4);

static void judge(struct ad_seat *s, enum ad_seat_state state, const char *fmt, ...)
{
    const char *host = s->config.host;
    va_list ap;
    int n;

    if (s->judged) {
        return;
    }
    s->judged = true;
    s->state = state;
    n = snprintf(s->text, sizeof s->text,
                 strchr(host, ':') != NULL ? "[%s]:%u " : "%s:%u ", host,
                 (unsigned)s->config.port);
    va_start(ap, fmt);
    vsnprintf(s->text + n, sizeof s->text - (size_t)n, fmt, ap);
    va_end(ap);
    (void)uv_timer_stop(&s->timer);
    uv_close((uv_handle_t *)&s->tcp, tcp_closed);
}

static void judge_closed(struct ad_seat *s)
{
    judge(s, AD_SEAT_BUSY, "closes the connection at once: it still has a client");
}

/* libuv looks at the timers before it looks at the sockets: after a turn that took long
 * the end may be there, and nobody has read it. */
static bool is_closed(const struct ad_seat *s)
{
    struct pollfd p = {.events = POLLRDHUP};

    return uv_fileno((const uv_handle_t *)&s->tcp, &p.fd) != 0 || poll(&p, 1, 0) != 0;
}

static void time_over(uv_timer_t *timer)
{
    struct ad_seat *s = timer->data;

    if (s->connected && is_closed(s)) {
        judge_closed(s);
    } else if (s->connected) {
        judge(s, AD_SEAT_FREE, "is free");
    } else {
        judge(s, AD_SEAT_AWAY, "does not answer within %u ms", s->config.timeout_ms);
    }
}

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct ad_seat *s = handle->data;

    (void)suggested;
    *ret = uv_buf_init(s->buf, sizeof s->buf);
}

static void read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    if (n < 0) {
        judge_closed(stream->data);
    }
}

static void connect_cb(uv_connect_t *req, int status)
{
    struct ad_seat *s = req->data;

    if (s->judged) {
        return;
    }
    if (status == UV_ECONNREFUSED) {
        judge(s, AD_SEAT_BUSY,
              "refuses the connection: it still has a client, or is starting");
    } else if (status < 0) {
        judge(s, AD_SEAT_AWAY, "cannot be reached: %s", uv_strerror(status));
    } else {
        s->connected = true;
        (void)uv_timer_start(&s->timer, time_over, s->config.settle_ms, 0);
        status = uv_read_start((uv_stream_t *)&s->tcp, alloc_cb, read_cb);
        if (status < 0) {
            judge(s, AD_SEAT_AWAY, "cannot be used: %s", uv_strerror(status));
        }
    }
}

static void attempt(struct ad_seat *s)
{
    struct sockaddr_storage to;
    int rv = uv_ip4_addr(s->config.host, s->config.port, (struct sockaddr_in *)&to);

    s->connected = s->judged = s->pausing = false;
    if (rv != 0) {
        rv = uv_ip6_addr(s->config.host, s->config.port, (struct sockaddr_in6 *)&to);
    }
    (void)uv_tcp_init(s->loop, &s->tcp);
    s->tcp.data = s->connect.data = s;
    (void)uv_timer_start(&s->timer, time_over, s->config.timeout_ms, 0);
    if (rv == 0) {
        rv = uv_tcp_connect(&s->connect, &s->tcp, (const struct sockaddr *)&to,
                            connect_cb);
    }
    if (rv != 0) {
        judge(s, AD_SEAT_AWAY, "cannot be tried: %s", uv_strerror(rv));
    }
}

struct ad_seat *ad_seat_start(uv_loop_t *loop, const struct ad_seat_config *config,
                              ad_seat_cb cb, void *data)
{
    struct ad_seat *s = sy_calloc(1, sizeof *s);

    s->loop = loop;
    s->config = *config;
    s->cb = cb;
    s->data = data;
    s->pause_ms = config->pause_ms;
    uv_update_time(loop);
    s->until_ms = uv_now(loop) + config->patience_ms;
    (void)uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    attempt(s);
    return s;
}

void ad_seat_cancel(struct ad_seat *s)
{
    s->cb = NULL;
    if (s->pausing) {
        (void)uv_timer_stop(&s->timer);
        uv_close((uv_handle_t *)&s->timer, timer_closed);
    } else {
        judge(s, AD_SEAT_AWAY, "is not waited for");
    }
}

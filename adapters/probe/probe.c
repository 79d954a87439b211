#include "adapters/probe/probe.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"

/* MQTT 5.0, sections 3.1, 3.2, 3.14. */
enum {
    CONNECT = 0x10,
    CONNACK = 0x20,
    PINGREQ = 0xc0,
    PINGRESP = 0xd0,
    DISCONNECT = 0xe0,
    CLEAN_START = 0x02,
    HAS_PASSWORD = 0x40,
    HAS_USERNAME = 0x80,
    KEEPALIVE_SLACK = 3 /* of it may be late, in shares of a ping's pause */
};

struct ad_probe
{
    uv_loop_t *loop;
    struct ad_probe_config config;
    struct ad_probe_ctx *ctx; /* NULL: without TLS */
    struct ad_probe_tls *tls; /* of this connection, once it is there */
    struct sy_errbuf tls_why; /* why there can be none; "": there can */
    uint8_t wire[4096];       /* what comes, with TLS */
    struct sy_buf packet;     /* CONNECT; empty: to be connected is enough */
    ad_probe_cb cb;           /* NULL: nobody wants to know any more */
    void *data;

    unsigned address; /* tried now */
    uint64_t began_ns;
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_connect_t connect;
    uv_write_t write;
    uint8_t answer[256];
    size_t answer_n;
    size_t skip; /* bytes that are still to come and mean nothing */

    bool judged, good; /* this address */
    bool held;         /* the broker took us: it is pinged, */
    bool pinged;       /* and owes an answer */
    bool refused;      /* and any answer is good */
    char text[AD_PROBE_TEXT_SIZE];
};

static void try_address(struct ad_probe *p);

/* --- the packet --- */

static void put_text(struct sy_buf *b, const char *text)
{
    size_t n = strlen(text);

    sy_buf_u8(b, (uint8_t)(n >> 8));
    sy_buf_u8(b, (uint8_t)n);
    sy_buf_put(b, text, n);
}

static void put_length(struct sy_buf *b, size_t n)
{
    do {
        sy_buf_u8(b, (uint8_t)((n & 0x7f) | (n > 0x7f ? 0x80 : 0)));
        n >>= 7;
    } while (n > 0);
}

static void build(struct ad_probe *p)
{
    const struct ad_probe_config *c = &p->config;
    unsigned keepalive_s = KEEPALIVE_SLACK * (c->ping_ms + c->timeout_ms) / 1000 + 1;
    struct sy_buf body = {0};

    put_text(&body, "MQTT");
    sy_buf_u8(&body, 5);
    sy_buf_u8(&body, (uint8_t)(CLEAN_START | (c->username != NULL ? HAS_USERNAME : 0) |
                               (c->password != NULL ? HAS_PASSWORD : 0)));
    sy_buf_u8(&body, (uint8_t)(keepalive_s >> 8));
    sy_buf_u8(&body, (uint8_t)keepalive_s);
    sy_buf_u8(&body, 0); /* No properties: the session ends with the connection. */
    put_text(&body, c->client_id);
    if (c->username != NULL) {
        put_text(&body, c->username);
    }
    if (c->password != NULL) {
        put_text(&body, c->password);
    }
    sy_buf_u8(&p->packet, CONNECT);
    put_length(&p->packet, body.len);
    sy_buf_put(&p->packet, body.p, body.len);
    explicit_bzero(body.p, body.cap);
    sy_buf_free(&body);
}

/* --- the end --- */

static void timer_closed(uv_handle_t *handle)
{
    struct ad_probe *p = handle->data;

    if (p->cb != NULL) {
        p->cb(p->data, p->good, p->text);
    }
    if (p->packet.p != NULL) {
        explicit_bzero(p->packet.p, p->packet.cap); /* The password. */
    }
    sy_buf_free(&p->packet);
    ad_probe_ctx_free(p->ctx);
    sy_free(p);
}

static void tcp_closed(uv_handle_t *handle)
{
    struct ad_probe *p = handle->data;

    ad_probe_tls_free(p->tls);
    p->tls = NULL;
    if (!p->good && !p->held && p->cb != NULL && p->address + 1 < p->config.addresses_n) {
        p->address++;
        try_address(p);
        return;
    }
    uv_close((uv_handle_t *)&p->timer, timer_closed);
}

static void hold(struct ad_probe *p);
static void judge(struct ad_probe *p, bool good, const char *fmt, ...) SY_PRINTF(3, 4);
static void judge(struct ad_probe *p, bool good, const char *fmt, ...)
{
    const char *host = p->config.addresses[p->address].host;
    size_t n = good || p->held || p->address == 0 ? 0 : strlen(p->text);
    va_list ap;

    if (p->judged) {
        return;
    }
    /* All addresses that failed are told, or the one that is good or was. */
    p->good = good;
    snprintf(p->text + n, sizeof p->text - n,
             strchr(host, ':') != NULL ? "%s[%s]:%u " : "%s%s:%u ", n > 0 ? "; " : "",
             host, (unsigned)p->config.addresses[p->address].port);
    n = strlen(p->text);
    va_start(ap, fmt);
    vsnprintf(p->text + n, sizeof p->text - n, fmt, ap);
    va_end(ap);
    if (good && p->packet.len > 0 && !p->refused) {
        hold(p);
        return;
    }
    p->judged = true;
    (void)uv_timer_stop(&p->timer);
    uv_close((uv_handle_t *)&p->tcp, tcp_closed);
}

static unsigned took_ms(const struct ad_probe *p)
{
    return (unsigned)((uv_hrtime() - p->began_ns) / 1000000);
}

/* --- the broker's answer --- */

static const char *reason_text(uint8_t reason)
{
    switch (reason) {
    case 0x01: /* of MQTT 3.1.1 */
    case 0x84:
        return "it does not speak MQTT 5";
    case 0x04:
    case 0x86:
        return "wrong user name or password";
    case 0x05:
    case 0x87:
        return "this user is not allowed to connect";
    case 0x85:
        return "it does not take this client id";
    case 0x88:
    case 0x89:
        return "it is not available just now";
    case 0x97:
        return "it has too many connections";
    default:
        return "see its log";
    }
}

/* It is little, and needs no answer of the kernel's: a socket that does not take it is
 * one on which a ping goes unanswered, or a greeting. */
static void send_wire(struct ad_probe *p, struct sy_buf *b)
{
    uv_buf_t buf = uv_buf_init((char *)b->p, (unsigned)b->len);

    if (b->len > 0) {
        (void)uv_try_write((uv_stream_t *)&p->tcp, &buf, 1);
    }
    sy_buf_free(b);
}

/* Two bytes. */
static void say(struct ad_probe *p, uint8_t what)
{
    uint8_t packet[] = {what, 0};
    struct sy_buf wire = {0};

    if (p->tls != NULL) {
        ad_probe_tls_say(p->tls, packet, sizeof packet, &wire);
    } else {
        sy_buf_put(&wire, packet, sizeof packet);
    }
    send_wire(p, &wire);
}

static void look_at_connack(struct ad_probe *p)
{
    size_t i = 1, n;

    while (i < p->answer_n && i < 4 && (p->answer[i] & 0x80) != 0) {
        i++;
    }
    if (p->answer_n < i + 3) {
        return; /* The reason is not there yet. */
    }
    if (p->answer[i + 2] != 0) {
        p->refused = p->config.any_answer;
        judge(p, p->refused, "refuses us (reason 0x%02x): %s", p->answer[i + 2],
              reason_text(p->answer[i + 2]));
        return;
    }
    n = (size_t)(p->answer[1] & 0x7f) | (i > 1 ? (size_t)(p->answer[2] & 0x7f) << 7 : 0);
    p->skip = i + 1 + n > p->answer_n ? i + 1 + n - p->answer_n : 0;
    judge(p, true, "took us in %u ms", took_ms(p));
}

static void look_at_pingresp(struct ad_probe *p)
{
    if (p->answer[0] != PINGRESP) {
        judge(p, false, "ended our connection: see its log");
    } else if (p->answer_n >= 2 && p->pinged) {
        judge(p, true, "answered in %u ms", took_ms(p));
    }
}

static void look(struct ad_probe *p)
{
    size_t over = p->skip < p->answer_n ? p->skip : p->answer_n;

    p->skip -= over; /* Properties of the CONNACK that came apart. */
    p->answer_n -= over;
    memmove(p->answer, p->answer + over, p->answer_n);
    if (p->answer_n == 0) {
        return;
    }
    if (p->held) {
        look_at_pingresp(p);
    } else if (p->answer[0] != CONNACK) {
        judge(p, false, "answers, but not as an MQTT broker: is the port right?");
    } else {
        look_at_connack(p);
    }
}

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct ad_probe *p = handle->data;

    (void)suggested;
    if (p->tls != NULL) {
        *ret = uv_buf_init((char *)p->wire, sizeof p->wire);
        return;
    }
    *ret = uv_buf_init((char *)p->answer + p->answer_n,
                       (unsigned)(sizeof p->answer - p->answer_n));
}

/* @n bytes of wire are there (0: to begin). False: judged. */
static bool turn_tls(struct ad_probe *p, size_t n)
{
    bool was_up = ad_probe_tls_is_up(p->tls);
    struct sy_buf wire = {0}, plain = {0};
    struct sy_errbuf eb;
    int rv = ad_probe_tls_turn(p->tls, p->wire, n, &wire, &plain,
                               sizeof p->answer - p->answer_n, &eb);

    if (rv == 0 && !was_up && ad_probe_tls_is_up(p->tls)) {
        ad_probe_tls_say(p->tls, p->packet.p, p->packet.len, &wire);
    }
    send_wire(p, &wire);
    memcpy(p->answer + p->answer_n, plain.p != NULL ? plain.p : p->answer, plain.len);
    p->answer_n += plain.len;
    sy_buf_free(&plain);
    if (rv != 0) {
        judge(p, false, "%s", eb.text);
    }
    return rv == 0;
}

static void read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct ad_probe *p = stream->data;

    (void)buf;
    if (p->judged) {
        return;
    }
    if (n < 0) {
        judge(p, false,
              p->held ? "closed our connection: see its log"
                      : "closed the connection without an answer: see its log");
        return;
    }
    if (p->tls == NULL) {
        p->answer_n += (size_t)n;
    } else if (!turn_tls(p, (size_t)n)) {
        return;
    }
    look(p);
    if (!p->judged && p->answer_n == sizeof p->answer) {
        judge(p, false, "says more than a broker would: see its log");
    }
}

static void write_cb(uv_write_t *req, int status)
{
    struct ad_probe *p = req->data;

    if (status < 0 && status != UV_ECANCELED) {
        judge(p, false, "closed the connection (%s)", uv_strerror(status));
    }
}

static void begin_tls(struct ad_probe *p)
{
    int rv;

    p->tls = ad_probe_tls_new(p->ctx, p->config.addresses[p->address].host);
    rv = p->tls != NULL ? uv_read_start((uv_stream_t *)&p->tcp, alloc_cb, read_cb)
                        : UV_ENOMEM;
    if (rv != 0) {
        judge(p, false, "cannot be used: %s", uv_strerror(rv));
    } else {
        (void)turn_tls(p, 0);
    }
}

static void connect_cb(uv_connect_t *req, int status)
{
    struct ad_probe *p = req->data;
    uv_buf_t buf;
    int rv;

    if (p->judged) {
        return;
    }
    if (status < 0) {
        judge(p, false, "cannot be reached: %s", uv_strerror(status));
        return;
    }
    if (p->packet.len == 0) {
        judge(p, true, "took us in %u ms", took_ms(p));
        return;
    }
    if (p->ctx != NULL) {
        begin_tls(p);
        return;
    }
    buf = uv_buf_init((char *)p->packet.p, (unsigned)p->packet.len);
    rv = uv_read_start((uv_stream_t *)&p->tcp, alloc_cb, read_cb);
    if (rv == 0) {
        rv = uv_write(&p->write, (uv_stream_t *)&p->tcp, &buf, 1, write_cb);
    }
    if (rv != 0) {
        judge(p, false, "cannot be used: %s", uv_strerror(rv));
    }
}

static void timer_cb(uv_timer_t *timer)
{
    struct ad_probe *p = timer->data;

    if (p->held && !p->pinged) {
        p->pinged = true;
        p->began_ns = uv_hrtime();
        (void)uv_timer_start(&p->timer, timer_cb, p->config.timeout_ms, 0);
        say(p, PINGREQ);
        return;
    }
    judge(p, false, "does not answer within %u ms", p->config.timeout_ms);
}

/* It took us, or answered: go on until it does not. */
static void hold(struct ad_probe *p)
{
    p->held = true;
    p->pinged = false;
    p->answer_n = 0;
    (void)uv_timer_start(&p->timer, timer_cb, p->config.ping_ms, 0);
    p->cb(p->data, true, p->text); /* May cancel us. */
}

/* --- life --- */

static void try_address(struct ad_probe *p)
{
    struct sockaddr_storage to;
    const char *host = p->config.addresses[p->address].host;
    int port = p->config.addresses[p->address].port;
    int rv = uv_ip4_addr(host, port, (struct sockaddr_in *)&to);

    p->judged = p->good = false;
    p->answer_n = p->skip = 0;
    p->began_ns = uv_hrtime();
    if (rv != 0) {
        rv = uv_ip6_addr(host, port, (struct sockaddr_in6 *)&to);
    }
    (void)uv_tcp_init(p->loop, &p->tcp); /* Without flags it opens no socket. */
    p->tcp.data = p->connect.data = p->write.data = p;
    if (p->tls_why.text[0] != '\0') {
        judge(p, false, "is not tried: %s", p->tls_why.text);
        return;
    }
    if (rv == 0) {
        rv = uv_tcp_connect(&p->connect, &p->tcp, (const struct sockaddr *)&to,
                            connect_cb);
    }
    if (rv != 0) {
        judge(p, false, "cannot be tried: %s", uv_strerror(rv));
        return;
    }
    uv_update_time(p->loop); /* The timeout counts from here. */
    (void)uv_timer_start(&p->timer, timer_cb, p->config.timeout_ms, 0);
}

struct ad_probe *ad_probe_start(uv_loop_t *loop, const struct ad_probe_config *config,
                                ad_probe_cb cb, void *data)
{
    struct ad_probe *p = sy_calloc(1, sizeof *p);

    assert(config->addresses_n > 0);
    assert(config->addresses_n <= AD_PROBE_ADDRESSES_MAX);
    p->loop = loop;
    p->config = *config;
    p->cb = cb;
    p->data = data;
    if (config->client_id != NULL) {
        build(p);
    }
    if (config->tls != NULL &&
        ad_probe_ctx_open(&p->ctx, config->tls, &p->tls_why) == 0) {
        p->tls_why.text[0] = '\0';
    }
    p->config.tls = NULL;
    p->config.client_id = p->config.username = p->config.password = NULL;
    (void)uv_timer_init(loop, &p->timer);
    p->timer.data = p;
    try_address(p);
    return p;
}

bool ad_probe_is_held(const struct ad_probe *p)
{
    return p->held && !p->judged;
}

void ad_probe_cancel(struct ad_probe *p)
{
    p->cb = NULL;
    if (p->held && !p->judged) {
        say(p, DISCONNECT); /* So it need not log a loss. */
    }
    judge(p, false, "was not waited for");
}

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "cli/cli.h"

enum {
    PROTOCOL = 1,
    PROBE_MS = 1000,
    LOOK_MS = 200, /* at one of several, while another may be quicker */
    REPLY_MAX = 16 * 1024 * 1024,
    /* Messages that are not the answer we wait for, before we give up. */
    STRAY_MAX = 100
};

static void SY_PRINTF(3, 4)
    set_failure(struct ct_reply *r, const char *code, const char *fmt, ...)
{
    char text[700];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->answer = CT_NONE;
    snprintf(r->code, sizeof r->code, "%s", code);
    r->text.len = 0;
    sy_buf_put(&r->text, text, strlen(text) + 1);
}

static void unreachable(struct ct_reply *r, const char *text)
{
    set_failure(r, "unreachable", "%s", text);
}

void ct_client_init(struct ct_client *c, const struct ct_endpoints *sockets)
{
    assert(sockets->n > 0);
    *c = (struct ct_client){.zmq = zmq_ctx_new(), .sockets = sockets};
    assert(c->zmq != NULL); /* Out of descriptors before we opened any. */
}

void ct_client_free(struct ct_client *c)
{
    while (zmq_ctx_term(c->zmq) != 0 && zmq_errno() == EINTR) {
    }
}

/* --- one exchange --- */

struct exchange
{
    void *sock;
    void *monitor;
    uint64_t id;
    uint64_t deadline_ms;
};

static void set_int(void *sock, int option, int value)
{
    int rv = zmq_setsockopt(sock, option, &value, sizeof value);

    assert(rv == 0);
}

/* The monitor tells when the node dies, so that nobody waits for an answer that
 * cannot come any more. */
static bool open_exchange(struct ct_client *c, struct exchange *x, const char *endpoint,
                          struct sy_errbuf *eb)
{
    /* Where no look was taken before whether anybody listens: that, and no entry. */
    int events = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CONNECT_RETRIED |
                 ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                 ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    char name[48];
    int64_t reply_max = REPLY_MAX;

    snprintf(name, sizeof name, "inproc://monitor-%" PRIu64, c->monitors++);
    x->sock = zmq_socket(c->zmq, ZMQ_DEALER);
    x->monitor = zmq_socket(c->zmq, ZMQ_PAIR);
    assert(x->sock != NULL);
    assert(x->monitor != NULL);
    set_int(x->sock, ZMQ_LINGER, 0);
    set_int(x->sock, ZMQ_IPV6, 1);
    set_int(x->monitor, ZMQ_LINGER, 0);
    zmq_setsockopt(x->sock, ZMQ_MAXMSGSIZE, &reply_max, sizeof reply_max);
    if (!ct_seal(x->sock, endpoint, eb)) {
        return false;
    }
    if (zmq_socket_monitor(x->sock, name, events) == 0 &&
        zmq_connect(x->monitor, name) == 0 && zmq_connect(x->sock, endpoint) == 0) {
        return true;
    }
    (void)sy_fail(eb, -zmq_errno(), "%s: %s", endpoint, zmq_strerror(zmq_errno()));
    return false;
}

static void close_exchange(struct exchange *x)
{
    zmq_socket_monitor(x->sock, NULL, 0);
    zmq_close(x->sock);
    zmq_close(x->monitor);
}

static void pack_request(struct sy_buf *b, uint64_t id, const char *op,
                         const struct sy_buf *args)
{
    sy_mp_map(b, 4);
    sy_mp_kuint(b, "v", PROTOCOL);
    sy_mp_kuint(b, "id", id);
    sy_mp_kstr(b, "op", op);
    sy_mp_str(b, "args");
    if (args != NULL && args->len > 0) {
        sy_buf_put(b, args->p, args->len);
    } else {
        sy_mp_map(b, 0);
    }
}

static bool receive(struct exchange *x, struct ct_reply *r)
{
    zmq_msg_t msg;
    bool more = true;
    bool got = false;

    r->raw.len = 0;
    while (more) {
        zmq_msg_init(&msg);
        if (zmq_msg_recv(&msg, x->sock, ZMQ_DONTWAIT) < 0) {
            more = false;
        } else {
            /* Of several frames the first: it will not make sense as a reply. */
            if (!got) {
                sy_buf_put(&r->raw, zmq_msg_data(&msg), zmq_msg_size(&msg));
            }
            got = true;
            more = zmq_msg_more(&msg);
        }
        zmq_msg_close(&msg);
    }
    return got;
}

static bool wait_readable(struct exchange *x, bool *hung_up)
{
    zmq_pollitem_t items[] = {{.socket = x->sock, .events = ZMQ_POLLIN},
                              {.socket = x->monitor, .events = ZMQ_POLLIN}};
    uint64_t now = ct_now_ms();

    if (now >= x->deadline_ms || ct_interrupted) {
        return false;
    }
    if (zmq_poll(items, 2, (long)(x->deadline_ms - now)) < 0) {
        return true; /* A signal; look again. */
    }
    *hung_up = items[1].revents != 0;
    return true;
}

static void await_reply(struct exchange *x, struct ct_reply *r, const char *endpoint,
                        unsigned timeout_ms)
{
    bool hung_up = false;

    for (unsigned i = 0; i < STRAY_MAX; i++) {
        bool in_time = wait_readable(x, &hung_up);

        if (receive(x, r)) {
            int rv = ct_reply_take(r, x->id, endpoint);

            if (rv < 0) {
                set_failure(r, "damaged",
                            "%s: what answers there does not speak vagt's control "
                            "protocol, or the answer is damaged",
                            endpoint);
            }
            if (rv != 0) {
                return;
            }
        } else if (ct_interrupted) {
            set_failure(r, "interrupted", "interrupted");
            return;
        } else if (hung_up) {
            set_failure(r, "unreachable",
                        "%s: the connection broke before the answer came; did vagtd "
                        "just stop?",
                        endpoint);
            return;
        } else if (!in_time) {
            set_failure(r, "unreachable",
                        "%s: somebody listens, but did not answer within %u ms; is vagtd "
                        "stuck? (--timeout gives it longer)",
                        endpoint, timeout_ms);
            return;
        }
    }
    set_failure(r, "unreachable", "%s: only answers to other requests came", endpoint);
}

/* No answer, and no look was taken before. */
static void say_why(struct ct_reply *r, const char *endpoint, unsigned timeout_ms)
{
    struct sy_errbuf eb = {""};

    if (!ct_reachable(endpoint, timeout_ms < PROBE_MS ? timeout_ms : PROBE_MS, &eb)) {
        unreachable(r, eb.text);
    } else {
        set_failure(r, "unreachable",
                    "%s: somebody listens, but gave no answer: is your key enrolled "
                    "there (`vagtctl keys` on the node), and its own key in the file of "
                    "the known ones?",
                    endpoint);
    }
}

void ct_ask_one(struct ct_client *c, unsigned socket, const char *op,
                const struct sy_buf *args, unsigned timeout_ms, struct ct_reply *r)
{
    const char *endpoint = c->sockets->at[socket];
    uint64_t start_ms = ct_now_ms();
    struct exchange x = {.id = ++c->next_id, .deadline_ms = start_ms + timeout_ms};
    struct sy_buf request = {0};
    struct sy_errbuf eb = {""};
    bool sealed = ct_sealed(endpoint);

    ct_reply_free(r);
    /* A node that asks for keys would take the look for a stranger. */
    if (!sealed &&
        !ct_reachable(endpoint, timeout_ms < PROBE_MS ? timeout_ms : PROBE_MS, &eb)) {
        unreachable(r, eb.text);
        return;
    }
    pack_request(&request, x.id, op, args);
    if (!open_exchange(c, &x, endpoint, &eb)) {
        unreachable(r, eb.text);
    } else if (zmq_send(x.sock, request.p, request.len, ZMQ_DONTWAIT) < 0) {
        set_failure(r, "unreachable", "%s: %s", endpoint, zmq_strerror(zmq_errno()));
    } else {
        r->sent = true;
        await_reply(&x, r, endpoint, timeout_ms);
    }
    if (sealed && r->answer == CT_NONE && !ct_interrupted) {
        say_why(r, endpoint, timeout_ms);
    }
    close_exchange(&x);
    sy_buf_free(&request);
    r->took_ms = (unsigned)(ct_now_ms() - start_ms);
    if (r->answer != CT_NONE) {
        c->at = socket;
    }
}

/* Any answer says more than none; otherwise the first counts. */
static bool better(const struct ct_reply *now, const struct ct_reply *best)
{
    return best->code[0] == '\0' || (best->answer == CT_NONE && now->answer != CT_NONE);
}

/* Whom to ask first: a machine without power costs each command a second otherwise, in
 * the hour in which they are typed fastest. */
static unsigned first_of(const struct ct_client *c)
{
    for (unsigned i = 0; i < c->sockets->n && c->sockets->n > 1; i++) {
        unsigned at = (c->at + i) % c->sockets->n;

        if (ct_sealed(c->sockets->at[at]) ||
            ct_reachable(c->sockets->at[at], LOOK_MS, NULL)) {
            return at;
        }
    }
    return c->at;
}

void ct_ask(struct ct_client *c, const char *op, const struct sy_buf *args,
            unsigned timeout_ms, struct ct_reply *r)
{
    uint64_t deadline_ms = ct_now_ms() + timeout_ms;
    struct ct_reply best = {0};
    unsigned first = first_of(c);

    for (unsigned i = 0; i < c->sockets->n && !ct_interrupted; i++) {
        uint64_t now = ct_now_ms();
        uint64_t left = now < deadline_ms ? deadline_ms - now : 0;
        /* One that hangs must leave the others their share. */
        unsigned share = (unsigned)(left / (c->sockets->n - i));

        ct_ask_one(c, (first + i) % c->sockets->n, op, args, share > 0 ? share : 1, r);
        if (r->answer != CT_NONE && !ct_cannot_lead(r)) {
            ct_reply_free(&best);
            return;
        }
        if (better(r, &best)) {
            ct_reply_free(&best);
            best = *r;
            *r = (struct ct_reply){0};
        }
    }
    ct_reply_free(r);
    *r = best;
    if (r->code[0] == '\0') {
        set_failure(r, "interrupted", "interrupted");
    }
}

#include "adapters/mqtt/client.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <mqtt_protocol.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "adapters/mqtt/library.h"
#include "base/mem.h"

enum {
    BACKOFF_MIN_MS = 200,
    TAKEN_MIN_MS = 1000, /* Somebody else has the session: do not fight. */
    SETTLED_MS = 5000,   /* Up for so long: the next failure is a new one. */
    TAKEN_SETTLED_MS = 60000,
    MISC_MS = 1000,
    /* Reads until the reason of a lost connection is found behind messages. */
    DISCARD_MAX = 100000
};

/* Is the broker alive that closed our connection without a word? */
struct ad_mqtt_probe
{
    uv_tcp_t tcp;
    uv_connect_t req;
    struct ad_mqtt_client *client; /* NULL: nobody wants to know any more. */
};

static void timer_cb(uv_timer_t *timer);
static void settle(struct ad_mqtt_client *c);

void ad_mqtt_client_address(const struct ad_mqtt_client *c, char *to, size_t size)
{
    const char *host = c->config->addresses[c->address].host;

    snprintf(to, size, strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host,
             (unsigned)c->config->addresses[c->address].port);
}

/* xorshift64*: two nodes must not come back in step. */
static uint64_t random_below(struct ad_mqtt_client *c, uint64_t n)
{
    c->random ^= c->random >> 12;
    c->random ^= c->random << 25;
    c->random ^= c->random >> 27;
    return (c->random * UINT64_C(0x2545f4914f6cdd1d) >> 11) % n;
}

static void arm(struct ad_mqtt_client *c, uint64_t ms)
{
    int rv;

    uv_update_time(c->loop);
    rv = uv_timer_start(&c->timer, timer_cb, ms, 0);
    assert(rv == 0); /* Fails only for a closing timer or no callback. */
}

/* With up to a quarter of jitter: above, and at the longest pause below. */
static uint64_t double_up(struct ad_mqtt_client *c, uint64_t *backoff_ms)
{
    uint64_t max = c->config->backoff_max_ms;
    uint64_t ms = *backoff_ms < max ? *backoff_ms : max;
    uint64_t jitter = random_below(c, ms / 4 + 1);

    *backoff_ms = ms * 2;
    return ms + jitter <= max ? ms + jitter : max - jitter;
}

static void set_error(struct ad_mqtt_client *c, const char *fmt, ...) SY_PRINTF(2, 3);
static void set_error(struct ad_mqtt_client *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->error, sizeof c->error, fmt, ap);
    va_end(ap);
}

/* --- dropping a connection --- */

static void free_handle(uv_handle_t *handle)
{
    sy_free(handle);
}

/* The poll handle goes first, always: once the socket is closed, its number may be
 * another connection's. */
static void close_poll(struct ad_mqtt_client *c)
{
    if (c->poll != NULL) {
        (void)uv_poll_stop(c->poll); /* Cannot fail. */
        c->poll->data = NULL;
        uv_close((uv_handle_t *)c->poll, free_handle);
        c->poll = NULL;
    }
}

static void free_connection(struct ad_mqtt_client *c)
{
    assert(!c->in_library);
    close_poll(c);
    if (c->mosq != NULL) {
        /* Never mosquitto_disconnect(): its packet would carry out the
         * acknowledgements that are queued before it. */
        mosquitto_destroy(c->mosq);
        c->mosq = NULL;
    }
    c->gone = c->connack = c->suback = c->discard = c->dup_known = c->let_go = false;
    c->reached = false;
    c->gone_rc = c->refused = 0;
    c->tls_error[0] = '\0';
}

static void free_probe(uv_handle_t *handle)
{
    struct ad_mqtt_probe *p = handle->data;

    sy_free(p);
}

static void close_probe(struct ad_mqtt_client *c)
{
    if (c->probe != NULL) {
        c->probe->client = NULL;
        uv_close((uv_handle_t *)&c->probe->tcp, free_probe);
        c->probe = NULL;
    }
}

/* --- after a failure --- */

static void retry_in(struct ad_mqtt_client *c, uint64_t ms, const char *event)
{
    char address[80];

    ad_mqtt_client_address(c, address, sizeof address);
    SY_LOG(c->log, SY_WARN, event, KSTR("broker", c->config->name), KSTR("link", c->what),
           KSTR("address", address), KSTR("why", c->error), KU64("retry_ms", ms));
    arm(c, ms);
}

static void was_taken(struct ad_mqtt_client *c)
{
    set_error(c,
              "another client has taken over the client id %s: it is on watch now, or "
              "two clusters have the same name",
              c->id);
    retry_in(c, double_up(c, &c->taken_ms), "mqtt.taken");
    c->ops->taken(c->data);
}

static void probed(struct ad_mqtt_client *c, bool alive)
{
    close_probe(c);
    if (alive) {
        was_taken(c);
    } else {
        retry_in(c, double_up(c, &c->backoff_ms), "mqtt.lost");
    }
    c->ops->changed(c->data);
}

static void probe_cb(uv_connect_t *req, int status)
{
    struct ad_mqtt_probe *p = req->data;

    if (p->client != NULL) {
        probed(p->client, status == 0);
    }
}

static int parse_address(const char *host, uint16_t port, struct sockaddr_storage *to)
{
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)to) == 0) {
        return 0;
    }
    return uv_ip6_addr(host, port, (struct sockaddr_in6 *)to);
}

/* mosquitto 2.0.11 closes the connection of who was taken over without saying so,
 * which looks like a broker that died. To come back to a dead one quickly is
 * right; to come back to a living one throws out who is on watch. So ask. */
static bool start_probe(struct ad_mqtt_client *c)
{
    struct ad_mqtt_probe *p = sy_calloc(1, sizeof *p);
    struct sockaddr_storage address;
    int rv = parse_address(c->config->addresses[c->address].host,
                           c->config->addresses[c->address].port, &address);

    if (rv != 0 || uv_tcp_init(c->loop, &p->tcp) != 0) {
        sy_free(p);
        return false;
    }
    p->tcp.data = p;
    p->req.data = p;
    p->client = c;
    c->probe = p;
    rv = uv_tcp_connect(&p->req, &p->tcp, (const struct sockaddr *)&address, probe_cb);
    if (rv != 0) {
        close_probe(c);
        return false;
    }
    arm(c, c->config->connect_timeout_ms);
    return true;
}

static void schedule(struct ad_mqtt_client *c, bool was_up, int rc)
{
    uint64_t up_ms = uv_now(c->loop) - c->up_at_ms;

    if (!was_up) {
        c->tried++;
        c->address = (c->address + 1) % c->config->addresses_n;
        if (c->tried < c->config->addresses_n) {
            arm(c, 0);
            return;
        }
        c->tried = 0;
        retry_in(c, double_up(c, &c->backoff_ms), "mqtt.down");
        return;
    }
    c->tried = 0;
    c->backoff_ms = up_ms >= SETTLED_MS ? BACKOFF_MIN_MS : c->backoff_ms;
    c->taken_ms = up_ms >= TAKEN_SETTLED_MS ? TAKEN_MIN_MS : c->taken_ms;
    if (rc == MQTT_RC_SESSION_TAKEN_OVER) {
        was_taken(c);
    } else if ((rc != MOSQ_ERR_CONN_LOST && rc != MOSQ_ERR_ERRNO) || !start_probe(c)) {
        retry_in(c, double_up(c, &c->backoff_ms), "mqtt.lost");
    }
}

static const char *reason_text(int rc)
{
    if (rc >= AD_MQTT_REASON_FAILED) {
        return mosquitto_reason_string(rc);
    }
    switch (rc) {
    case MOSQ_ERR_SUCCESS:
        return "the broker said goodbye";
    case MOSQ_ERR_CONN_LOST:
        return "the broker closed the connection";
    case MOSQ_ERR_KEEPALIVE:
        return "no answer within the keepalive interval";
    default:
        return mosquitto_strerror(rc);
    }
}

/* Nothing was said over this connection: TLS failed. */
static void set_tls_error(struct ad_mqtt_client *c)
{
    const char *why = c->tls_error;

    if (strstr(why, "verify failed") != NULL || strstr(why, "host name") != NULL) {
        set_error(c,
                  "the broker's certificate is not good (%.40s): brokers[].tls.ca must "
                  "have signed it, and it must name this address",
                  why);
    } else if (strstr(why, "wrong version number") != NULL) {
        set_error(c, "the broker does not speak TLS at this port (%s)", why);
    } else {
        set_error(c, "no TLS with the broker: %s", why);
    }
}

/* A broker may take the client, but not its will: not that topic, nothing retained,
 * or no QoS 1. To be connected is worth more. */
static bool refuses_will(int reason)
{
    return reason == MQTT_RC_NOT_AUTHORIZED || reason == MQTT_RC_TOPIC_NAME_INVALID ||
           reason == MQTT_RC_RETAIN_NOT_SUPPORTED || reason == MQTT_RC_QOS_NOT_SUPPORTED;
}

/* The connection is over; its reason stands in the notes, or in @why. */
static void drop(struct ad_mqtt_client *c, const char *why)
{
    bool was_up = c->link == AD_MQTT_UP;
    int rc = c->gone_rc;

    if (c->refused != 0) {
        c->will_refused = refuses_will(c->refused) && !c->will_refused;
        set_error(c, "the broker refused us (%s): %s",
                  mosquitto_reason_string(c->refused),
                  c->refused == MQTT_RC_UNSUPPORTED_PROTOCOL_VERSION
                      ? "it must speak MQTT 5, as mosquitto does since 1.6"
                      : "check username, password and its ACL");
    } else if (c->tls_error[0] != '\0') {
        set_tls_error(c);
    } else {
        set_error(c, "%s", why != NULL ? why : reason_text(rc));
    }
    free_connection(c);
    c->link = AD_MQTT_DOWN;
    schedule(c, was_up, rc);
    c->ops->lost(c->data);
    if (!c->closing) {
        c->ops->changed(c->data);
    }
}

/* --- the loop --- */

static void after_library(struct ad_mqtt_client *c, int rc)
{
    c->in_library = false;
    if (rc != MOSQ_ERR_SUCCESS && !c->gone) {
        c->gone = true;
        c->gone_rc = rc;
    }
    /* A DISCONNECT of the broker is not an error to the library. */
    if (mosquitto_socket(c->mosq) < 0) {
        c->gone = true;
    }
}

static bool alive(const struct ad_mqtt_client *c)
{
    return c->mosq != NULL && !c->gone && !c->closing && !c->let_go;
}

static void write_out(struct ad_mqtt_client *c)
{
    assert(!c->hold);
    c->in_library = true;
    after_library(c, mosquitto_loop_write(c->mosq, 1));
}

static void read_once(struct ad_mqtt_client *c)
{
    c->in_library = true;
    after_library(c, mosquitto_loop_read(c->mosq, 1));
}

static bool more_to_read(const struct ad_mqtt_client *c)
{
    int n = 0;

    return ioctl(mosquitto_socket(c->mosq), FIONREAD, &n) == 0 && n > 0;
}

static void now_up(struct ad_mqtt_client *c)
{
    char address[80];

    c->connack = false;
    c->link = AD_MQTT_UP;
    c->tried = 0;
    c->up_at_ms = uv_now(c->loop);
    c->error[0] = '\0';
    arm(c, MISC_MS);
    ad_mqtt_client_address(c, address, sizeof address);
    SY_LOG(c->log, SY_NOTE, "mqtt.up", KSTR("broker", c->config->name),
           KSTR("link", c->what), KSTR("address", address), KU64("session", c->session));
    c->ops->changed(c->data);
    if (alive(c)) {
        c->ops->connected(c->data, c->session);
    }
}

/* @sure: the loop said so, which may mean the end of the stream. */
static void read_in(struct ad_mqtt_client *c, bool sure)
{
    while (alive(c) && !c->hold && (sure || more_to_read(c))) {
        sure = false;
        read_once(c);
        if (c->connack && alive(c)) {
            now_up(c);
        }
        if (c->suback && alive(c)) {
            c->suback = false; /* One packet is read at a time, so it is one answer. */
            if (c->ops->subscribed != NULL) { /* A broker may say what it likes. */
                c->ops->subscribed(c->data, c->suback_mid, c->suback_refused);
            }
        }
    }
    if (!c->closing) {
        c->ops->read_done(c->data);
    }
}

/* The broker hung up while a burst is held. The reason, if it gave one, is behind
 * what it had sent: that is read and thrown away. None of it is acknowledged. */
static void read_reason(struct ad_mqtt_client *c)
{
    c->discard = true;
    for (unsigned i = 0; i < DISCARD_MAX && alive(c); i++) {
        read_once(c);
    }
    if (alive(c)) {
        c->gone = true;
        c->gone_rc = MOSQ_ERR_CONN_LOST;
    }
}

static void socket_failed(struct ad_mqtt_client *c)
{
    char why[96];
    int err = 0;
    socklen_t len = sizeof err;

    /* libuv makes EBADF of every error of the socket, and re-arming it would spin:
     * ask the socket itself, then let it go. */
    (void)getsockopt(mosquitto_socket(c->mosq), SOL_SOCKET, SO_ERROR, &err, &len);
    c->gone = true;
    c->gone_rc = MOSQ_ERR_CONN_LOST;
    snprintf(why, sizeof why, "%s",
             err != 0 ? uv_strerror(-err) : reason_text(MOSQ_ERR_CONN_LOST));
    drop(c, why);
}

static void poll_cb(uv_poll_t *handle, int status, int events)
{
    struct ad_mqtt_client *c = handle->data;

    assert(c != NULL && c->poll == handle); /* A stopped handle does not call. */
    if (status < 0) {
        socket_failed(c);
        return;
    }
    if (c->hold) {
        if ((events & UV_DISCONNECT) != 0) {
            read_reason(c);
        }
        settle(c);
        return;
    }
    if ((events & UV_WRITABLE) != 0) {
        c->reached = true;
        write_out(c);
    }
    if ((events & (UV_READABLE | UV_DISCONNECT)) != 0) {
        read_in(c, true);
    } else if (c->link == AD_MQTT_CONNECTING) {
        /* With TLS it is reading that drives the handshake (libmosquitto #1507). */
        read_in(c, true);
    } else if (alive(c) && !mosquitto_want_write(c->mosq)) {
        read_in(c, false); /* Released and flushed: what has come meanwhile. */
    }
    settle(c);
}

static int wanted_events(struct ad_mqtt_client *c)
{
    if (c->hold) {
        return UV_DISCONNECT;
    }
    /* The library does not say that it waits for TCP to be through: it speaks first
     * then, and nothing would come to be read. */
    if (c->config->tls.on && !c->reached) {
        return UV_WRITABLE | UV_DISCONNECT;
    }
    if (!mosquitto_want_write(c->mosq)) {
        return UV_READABLE | UV_DISCONNECT;
    }
    /* The reader reads on when its acknowledgements are out: those of the next
     * burst would leave with them. */
    if (c->link == AD_MQTT_UP && c->ops->message != NULL) {
        return UV_WRITABLE | UV_DISCONNECT;
    }
    return UV_WRITABLE | UV_READABLE | UV_DISCONNECT;
}

/* Its end is ours: nobody asks why, and the next one waits for nothing. */
static void finish_letting_go(struct ad_mqtt_client *c)
{
    free_connection(c);
    if (!c->paused) {
        arm(c, 0);
    }
    c->ops->lost(c->data);
}

/* Nothing leaves on this connection, and nothing comes in, from here on. */
static void let_go(struct ad_mqtt_client *c)
{
    if (c->mosq == NULL) {
        return;
    }
    if (mosquitto_socket(c->mosq) >= 0) {
        (void)shutdown(mosquitto_socket(c->mosq), SHUT_RDWR);
    }
    close_poll(c);
    c->link = AD_MQTT_DOWN;
    c->error[0] = '\0';
    c->let_go = true;
    if (!c->in_library) {
        finish_letting_go(c);
    }
}

/* Carry out what the notes say. The end of every way from the loop into here. */
static void settle(struct ad_mqtt_client *c)
{
    if (c->closing) {
        free_connection(c);
    } else if (c->let_go) {
        finish_letting_go(c);
    } else if (c->mosq != NULL && c->gone) {
        drop(c, NULL);
    } else if (c->mosq != NULL && c->poll != NULL) {
        ad_mqtt_client_kick(c);
    }
}

static void start(struct ad_mqtt_client *c)
{
    const char *host = c->config->addresses[c->address].host;
    int rc;

    assert(c->mosq == NULL && c->poll == NULL);
    assert(!c->hold && !c->closing && !c->paused);
    c->link = AD_MQTT_CONNECTING;
    rc = ad_mqtt_library_make(c);
    errno = 0;
    rc = rc != 0 ? rc
                 : mosquitto_connect_async(c->mosq, host,
                                           c->config->addresses[c->address].port,
                                           (int)c->config->keepalive_s);
    if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(c->mosq) < 0) {
        if (c->tls_error[0] != '\0') {
            set_tls_error(c); /* So near that all of it has happened already. */
        } else {
            set_error(
                c, "%s",
                rc == MOSQ_ERR_ERRNO ? uv_strerror(-errno) : mosquitto_strerror(rc));
        }
        free_connection(c);
        c->link = AD_MQTT_DOWN;
        schedule(c, false, rc);
        return;
    }
    /* A child process must not keep the connection open when this one is killed:
     * its end is what tells the broker, and the others, that we are gone. */
    (void)fcntl(mosquitto_socket(c->mosq), F_SETFD, FD_CLOEXEC);
    c->poll = sy_calloc(1, sizeof *c->poll);
    rc = uv_poll_init(c->loop, c->poll, mosquitto_socket(c->mosq));
    assert(rc == 0); /* A fresh socket that nobody polls. */
    c->poll->data = c;
    arm(c, c->config->connect_timeout_ms);
    ad_mqtt_client_kick(c);
}

static void timer_cb(uv_timer_t *timer)
{
    struct ad_mqtt_client *c = timer->data;
    char why[96];

    if (c->link == AD_MQTT_UP) {
        arm(c, MISC_MS);
        c->in_library = true;
        after_library(c, mosquitto_loop_misc(c->mosq));
        settle(c);
    } else if (c->link == AD_MQTT_CONNECTING) {
        snprintf(why, sizeof why, "no answer within %u ms",
                 c->config->connect_timeout_ms);
        drop(c, why);
    } else if (c->probe != NULL) {
        probed(c, false);
    } else if (c->hold) {
        c->deferred = true; /* The owner is not done with the last burst. */
    } else {
        start(c);
        if (!c->closing) {
            c->ops->changed(c->data);
        }
    }
}

void ad_mqtt_client_kick(struct ad_mqtt_client *c)
{
    int rv;

    if (c->closing || c->in_library) {
        return; /* Who is in the library settles afterwards. */
    }
    if (c->deferred && !c->hold) {
        c->deferred = false;
        arm(c, 0);
    }
    if (c->poll != NULL && !c->gone) {
        rv = uv_poll_start(c->poll, wanted_events(c), poll_cb);
        assert(rv == 0);
    }
}

void ad_mqtt_client_open(struct ad_mqtt_client *c)
{
    int rv = uv_timer_init(c->loop, &c->timer);

    assert(rv == 0);
    c->timer.data = c;
    c->backoff_ms = BACKOFF_MIN_MS;
    c->taken_ms = TAKEN_MIN_MS;
    c->random = (c->config->seed ^ (c->will ? UINT64_C(0x9e3779b97f4a7c15) : 0)) | 1;
    start(c);
}

void ad_mqtt_client_pause(struct ad_mqtt_client *c)
{
    assert(!c->closing);
    c->paused = true;
    c->hold = c->deferred = false;
    c->tried = 0;
    c->backoff_ms = BACKOFF_MIN_MS;
    c->error[0] = '\0';
    (void)uv_timer_stop(&c->timer); /* Cannot fail. */
    close_probe(c);
    c->link = AD_MQTT_DOWN;
    let_go(c);
}

void ad_mqtt_client_resume(struct ad_mqtt_client *c)
{
    assert(!c->closing);
    if (!c->paused) {
        return;
    }
    c->paused = false;
    if (!c->let_go) {
        arm(c, 0);
    }
}

void ad_mqtt_client_hurry(struct ad_mqtt_client *c)
{
    assert(!c->closing);
    if (c->paused || c->link == AD_MQTT_UP) {
        return;
    }
    c->tried = 0;
    c->backoff_ms = BACKOFF_MIN_MS;
    close_probe(c);
    if (c->link == AD_MQTT_CONNECTING) {
        let_go(c);
    } else if (!c->let_go) {
        arm(c, 0);
    }
}

void ad_mqtt_client_move(struct ad_mqtt_client *c, unsigned address)
{
    assert(!c->closing && address < c->config->addresses_n);
    if (c->address != address) {
        c->address = address;
        let_go(c);
    }
}

void ad_mqtt_client_close(struct ad_mqtt_client *c,
                          void (*timer_closed)(uv_handle_t *timer))
{
    assert(!c->closing);
    c->closing = true;
    if (c->mosq != NULL && mosquitto_socket(c->mosq) >= 0) {
        (void)shutdown(mosquitto_socket(c->mosq), SHUT_RDWR);
    }
    close_poll(c);
    close_probe(c);
    if (!c->in_library) {
        free_connection(c);
    }
    uv_close((uv_handle_t *)&c->timer, timer_closed);
}

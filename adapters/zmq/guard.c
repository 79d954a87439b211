#include "adapters/zmq/guard.h"

#include <assert.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <zmq.h>

#include "base/mem.h"

enum {
    JUDGE_MS = 1000,
    /* While somebody is connected by TCP: at 1 Gbit/s 12 MB come in that time. */
    WEIGH_MS = 100
};

struct held
{
    int fd; /* -1: free */
    unsigned socket;
    bool shut;
    bool local;
    uint8_t address[16];
    uint16_t port;
    uint64_t since_ms;
    uint64_t got;   /* bytes that had come when its last message was taken */
    uint64_t given; /* bytes of replies, or what it has read if that is more */
};

struct ad_zmq_guard
{
    pthread_t thread;
    void *sockets[AD_ZMQ_GUARDED_MAX]; /* not ours */
    void *monitors[AD_ZMQ_GUARDED_MAX];
    unsigned n;
    /* Those from here on ask for a key: who goes away before it has shown one is a
     * stranger. Elsewhere it may be one who only looked whether somebody listens. */
    unsigned sealed_from;
    /* Accepted, and neither greeted nor failed to, as far as libzmq said. */
    uint64_t silent[AD_ZMQ_GUARDED_MAX];
    uint64_t untaken_max[AD_ZMQ_GUARDED_MAX];
    uint64_t weighed_ms;
    bool network; /* somebody is connected by TCP */
    bool running;
    void (*news)(void *data);
    void *data;
    pthread_mutex_t lock; /* of the list */
    /* What is shut has a place, too, until libzmq has noticed. */
    struct held list[2 * (AD_ZMQ_LOCAL_MAX + AD_ZMQ_NETWORK_MAX)];
    atomic_uint_fast64_t held[AD_ZMQ_GUARDED_MAX], turned_away, strangers, overfull;
};

/* --- the thread --- */

static uint64_t now_ms(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct held describe(int fd, unsigned socket)
{
    struct held h = {.fd = fd, .socket = socket, .since_ms = now_ms()};
    struct sockaddr_storage a = {0};
    socklen_t len = sizeof a;

    if (getpeername(fd, (struct sockaddr *)&a, &len) != 0) {
        return h; /* Gone again. */
    }
    if (a.ss_family == AF_INET6) {
        memcpy(h.address, &((struct sockaddr_in6 *)&a)->sin6_addr, 16);
        h.port = ((struct sockaddr_in6 *)&a)->sin6_port;
    } else if (a.ss_family == AF_INET) {
        memcpy(h.address + 12, &((struct sockaddr_in *)&a)->sin_addr, 4);
        h.address[10] = h.address[11] = 0xff; /* as IPv6 has it: RFC 4291, 2.5.5.2 */
        h.port = ((struct sockaddr_in *)&a)->sin_port;
    } else {
        h.local = true;
    }
    return h;
}

static struct held *find(struct ad_zmq_guard *g, int fd)
{
    for (size_t i = 0; i < sizeof g->list / sizeof g->list[0]; i++) {
        if (g->list[i].fd == fd) {
            return &g->list[i];
        }
    }
    return NULL;
}

static bool too_many(const struct ad_zmq_guard *g, const struct held *h)
{
    unsigned kind = 0, address = 0;

    for (size_t i = 0; i < sizeof g->list / sizeof g->list[0]; i++) {
        const struct held *o = &g->list[i];

        if (o->fd >= 0 && !o->shut && o->local == h->local) {
            kind++;
            address += memcmp(o->address, h->address, sizeof h->address) == 0;
        }
    }
    return h->local ? kind >= AD_ZMQ_LOCAL_MAX
                    : kind >= AD_ZMQ_NETWORK_MAX || address >= AD_ZMQ_PER_ADDRESS_MAX;
}

static void gone(struct ad_zmq_guard *g, int fd)
{
    struct held *h = find(g, fd);

    if (h != NULL) {
        atomic_fetch_sub(&g->held[h->socket], h->shut ? 0 : 1);
        h->fd = -1;
    }
}

/* The descriptor is libzmq's: it is told by the end of its stream, and closes it. */
static void accepted(struct ad_zmq_guard *g, int fd, unsigned socket)
{
    struct held h = describe(fd, socket);
    struct held *place;

    gone(g, fd); /* Its end went unnoticed. */
    place = find(g, -1);
    h.shut = place == NULL || too_many(g, &h);
    if (h.shut) {
        (void)shutdown(fd, SHUT_RDWR);
        atomic_fetch_add(&g->turned_away, 1);
        g->news(g->data);
    }
    if (place != NULL) {
        *place = h;
        g->network |= h.port != 0;
        atomic_fetch_add(&g->held[socket], h.shut ? 0 : 1);
    }
}

/* False: not TCP, or the number is by now that of another connection: libzmq has closed
 * it, and we have not heard of that yet. */
static bool tcp_of(const struct held *h, struct tcp_info *t)
{
    struct held now = describe(h->fd, h->socket);
    socklen_t len = sizeof *t;

    memset(t, 0, sizeof *t);
    return h->port != 0 && now.port == h->port &&
           memcmp(now.address, h->address, sizeof now.address) == 0 &&
           getsockopt(h->fd, IPPROTO_TCP, TCP_INFO, t, &len) == 0;
}

/* What came and was not taken is in libzmq, which has no bound for it. */
static void weigh(struct ad_zmq_guard *g)
{
    bool network = false;
    struct tcp_info t;

    for (size_t i = 0; i < sizeof g->list / sizeof g->list[0]; i++) {
        struct held *h = &g->list[i];

        if (h->fd < 0 || h->shut || !tcp_of(h, &t)) {
            continue;
        }
        network = true;
        if (t.tcpi_bytes_received > h->got + g->untaken_max[h->socket]) {
            (void)shutdown(h->fd, SHUT_RDWR);
            h->shut = true;
            atomic_fetch_sub(&g->held[h->socket], 1);
            atomic_fetch_add(&g->overfull, 1);
            g->news(g->data);
        }
    }
    g->network = network;
    g->weighed_ms = now_ms();
}

static void count_strangers(struct ad_zmq_guard *g, uint64_t n)
{
    atomic_fetch_add(&g->strangers, n);
    g->news(g->data);
}

/* Who speaks another protocol, or an older ZeroMQ, is cut off, and libzmq 4.3.4 says
 * nothing but that the connection ended. Of those that it said nothing else of, no more
 * than what was accepted lately may yet be greeting: the others were strangers. */
static void judge_silent(struct ad_zmq_guard *g, unsigned socket)
{
    uint64_t young = 0, now = now_ms();

    if (socket < g->sealed_from || g->silent[socket] == 0) {
        return;
    }
    for (size_t i = 0; i < sizeof g->list / sizeof g->list[0]; i++) {
        const struct held *h = &g->list[i];

        young += h->fd >= 0 && h->socket == socket &&
                 now - h->since_ms < AD_ZMQ_HANDSHAKE_MS + 1000;
    }
    if (g->silent[socket] > young) {
        count_strangers(g, g->silent[socket] - young);
        g->silent[socket] = young;
    }
}

static bool failed(const struct ad_zmq_guard *g, unsigned socket, unsigned event)
{
    return event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL ||
           event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH ||
           (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL && socket >= g->sealed_from);
}

static void happened(struct ad_zmq_guard *g, unsigned socket, unsigned event, int value)
{
    bool greeted = event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;

    if (event == ZMQ_EVENT_ACCEPTED) {
        accepted(g, value, socket);
        g->silent[socket]++;
    } else if (event == ZMQ_EVENT_DISCONNECTED) {
        gone(g, value);
    } else if (greeted || failed(g, socket, event)) {
        g->silent[socket] -= g->silent[socket] > 0;
    }
    if (failed(g, socket, event)) {
        count_strangers(g, 1);
    }
}

/* Two frames: the event as 16 bits and its value as 32, in the order of this machine,
 * and the endpoint. False: the socket is no longer watched. */
static bool take(struct ad_zmq_guard *g, unsigned socket)
{
    void *monitor = g->monitors[socket];
    uint8_t b[6];
    uint16_t event;
    int32_t value;
    int n = zmq_recv(monitor, b, sizeof b, ZMQ_DONTWAIT);

    if (n < 0) {
        return zmq_errno() == EAGAIN || zmq_errno() == EINTR;
    }
    if (n != sizeof b) {
        return true;
    }
    memcpy(&event, b, sizeof event);
    memcpy(&value, b + sizeof event, sizeof value);
    (void)zmq_recv(monitor, b, sizeof b, 0); /* The endpoint; comes with the first. */
    pthread_mutex_lock(&g->lock);
    happened(g, socket, event, value);
    pthread_mutex_unlock(&g->lock);
    return event != ZMQ_EVENT_MONITOR_STOPPED;
}

static void *run(void *data)
{
    struct ad_zmq_guard *g = data;
    zmq_pollitem_t items[AD_ZMQ_GUARDED_MAX] = {{0}};
    unsigned left = g->n;

    for (unsigned i = 0; i < g->n; i++) {
        items[i] = (zmq_pollitem_t){.socket = g->monitors[i], .events = ZMQ_POLLIN};
    }
    while (left > 0 &&
           (zmq_poll(items, (int)g->n, g->network ? WEIGH_MS : JUDGE_MS) >= 0 ||
            zmq_errno() == EINTR)) {
        for (unsigned i = 0; i < g->n; i++) {
            if ((items[i].revents & ZMQ_POLLIN) != 0 && !take(g, i)) {
                items[i].events = 0;
                left--;
            }
            judge_silent(g, i);
        }
        if (g->network && now_ms() - g->weighed_ms >= WEIGH_MS) {
            pthread_mutex_lock(&g->lock);
            weigh(g);
            pthread_mutex_unlock(&g->lock);
        }
    }
    return NULL;
}

/* --- life --- */

static int fail(struct sy_errbuf *eb, const char *what)
{
    return sy_fail(eb, -zmq_errno(), "control: %s: %s", what, zmq_strerror(zmq_errno()));
}

static int set_options(struct ad_zmq_guard *g, void *socket)
{
    static const int options[][2] = {
        {ZMQ_HANDSHAKE_IVL, AD_ZMQ_HANDSHAKE_MS},
        {ZMQ_TCP_KEEPALIVE, 1},
        {ZMQ_TCP_KEEPALIVE_IDLE, AD_ZMQ_SILENCE_S / 3},
        {ZMQ_TCP_KEEPALIVE_INTVL, AD_ZMQ_SILENCE_S / 3},
        {ZMQ_TCP_KEEPALIVE_CNT, 2},
        {ZMQ_TCP_MAXRT, AD_ZMQ_SILENCE_S * 1000},
    };
    int type = 0;
    size_t len = sizeof type;
    int rv = zmq_getsockopt(socket, ZMQ_TYPE, &type, &len);

    g->untaken_max[g->n] = type == ZMQ_PUB ? AD_ZMQ_SUBSCRIBED_MAX : AD_ZMQ_UNTAKEN_MAX;
    for (size_t i = 0; rv == 0 && i < sizeof options / sizeof options[0]; i++) {
        rv = zmq_setsockopt(socket, options[i][0], &options[i][1], sizeof(int));
    }
    return rv;
}

static int watch(struct ad_zmq_guard *g, void *ctx, void *socket, struct sy_errbuf *eb)
{
    char name[40];
    int events = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED |
                 ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                 ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                 ZMQ_EVENT_MONITOR_STOPPED;
    int all = 0;
    void *monitor;

    if (set_options(g, socket) != 0) {
        return fail(eb, "zmq socket option");
    }
    monitor = zmq_socket(ctx, ZMQ_PAIR);
    if (monitor == NULL) {
        return fail(eb, "zmq socket");
    }
    g->sockets[g->n] = socket;
    g->monitors[g->n++] = monitor;
    snprintf(name, sizeof name, "inproc://vagt.guard.%u", g->n);
    /* No limit: none may be lost, or the count is wrong for ever. */
    if (zmq_setsockopt(monitor, ZMQ_RCVHWM, &all, sizeof all) != 0 ||
        zmq_socket_monitor(socket, name, events) != 0 ||
        zmq_connect(monitor, name) != 0) {
        return fail(eb, "zmq socket monitor");
    }
    return 0;
}

int ad_zmq_guard_open(struct ad_zmq_guard **ret, void *ctx, void **sockets, unsigned n,
                      unsigned sealed_from, void (*news)(void *data), void *data,
                      struct sy_errbuf *eb)
{
    struct ad_zmq_guard *g = sy_calloc(1, sizeof *g);
    int rv = 0;

    assert(n <= AD_ZMQ_GUARDED_MAX);
    g->sealed_from = sealed_from;
    g->news = news;
    g->data = data;
    pthread_mutex_init(&g->lock, NULL);
    for (size_t i = 0; i < sizeof g->list / sizeof g->list[0]; i++) {
        g->list[i].fd = -1;
    }
    for (unsigned i = 0; rv == 0 && i < n; i++) {
        rv = watch(g, ctx, sockets[i], eb);
    }
    g->running = rv == 0 && pthread_create(&g->thread, NULL, run, g) == 0;
    if (rv == 0 && !g->running) {
        rv = sy_fail(eb, -EAGAIN, "control: no thread could be started");
    }
    if (rv != 0) {
        ad_zmq_guard_close(g);
        return rv;
    }
    *ret = g;
    return 0;
}

uint64_t ad_zmq_guard_held(const struct ad_zmq_guard *g, unsigned which)
{
    return atomic_load(&g->held[which]);
}

uint64_t ad_zmq_guard_turned_away(const struct ad_zmq_guard *g)
{
    return atomic_load(&g->turned_away);
}

uint64_t ad_zmq_guard_strangers(const struct ad_zmq_guard *g)
{
    return atomic_load(&g->strangers);
}

uint64_t ad_zmq_guard_overfull(const struct ad_zmq_guard *g)
{
    return atomic_load(&g->overfull);
}

/* NULL: not one over TCP, or not there any more. */
static struct held *find_tcp(struct ad_zmq_guard *g, int fd, struct tcp_info *t)
{
    struct held *h = fd >= 0 ? find(g, fd) : NULL;

    return h != NULL && tcp_of(h, t) ? h : NULL;
}

void ad_zmq_guard_taken(struct ad_zmq_guard *g, int fd)
{
    struct tcp_info t;
    struct held *h;

    pthread_mutex_lock(&g->lock);
    h = find_tcp(g, fd, &t);
    if (h != NULL) {
        h->got = t.tcpi_bytes_received;
    }
    pthread_mutex_unlock(&g->lock);
}

bool ad_zmq_guard_room(struct ad_zmq_guard *g, int fd, size_t n)
{
    bool room = true;
    struct tcp_info t;
    struct held *h;

    pthread_mutex_lock(&g->lock);
    h = find_tcp(g, fd, &t);
    if (h != NULL) {
        if (h->given < t.tcpi_bytes_acked) {
            h->given = t.tcpi_bytes_acked;
        }
        room = h->given == t.tcpi_bytes_acked ||
               h->given + n <= t.tcpi_bytes_acked + AD_ZMQ_UNREAD_MAX;
        h->given += room ? n : 0;
    }
    pthread_mutex_unlock(&g->lock);
    return room;
}

void ad_zmq_guard_cut(struct ad_zmq_guard *g, unsigned which)
{
    pthread_mutex_lock(&g->lock);
    for (size_t i = 0; i < sizeof g->list / sizeof g->list[0]; i++) {
        if (g->list[i].fd >= 0 && g->list[i].socket == which) {
            (void)shutdown(g->list[i].fd, SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&g->lock);
}

void ad_zmq_guard_close(struct ad_zmq_guard *g)
{
    if (g == NULL) {
        return;
    }
    for (unsigned i = 0; i < g->n; i++) {
        (void)zmq_socket_monitor(g->sockets[i], NULL, 0); /* Tells the thread. */
    }
    if (g->running) {
        pthread_join(g->thread, NULL);
    }
    for (unsigned i = 0; i < g->n; i++) {
        zmq_close(g->monitors[i]);
    }
    pthread_mutex_destroy(&g->lock);
    sy_free(g);
}

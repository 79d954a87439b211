#include "adapters/peer/peer.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/mem.h"

enum { HEADER = 5, BACKLOG = 64, READ_CHUNK = 64 * 1024, STRANGERS_MAX = 32 };

static const char magic[8] = "vagtpeer";

struct link
{
    uv_tcp_t tcp;
    uv_timer_t hello_timer; /* A stranger that says nothing is shown the door. */
    struct ad_peers *owner;
    struct peer *peer; /* NULL until its hello was right. */
    struct sy_buf in;
    struct link *next;
    unsigned open_handles;
    bool closing;
};

struct peer
{
    struct ad_peers *owner;
    struct ad_peer_address address;
    struct sockaddr_storage addr;
    uv_timer_t redial;
    uv_connect_t connect;
    struct link *dialing; /* connecting, or waiting for the hello of the other */
    struct link *link;    /* up */
    struct sy_buf out;
    unsigned redial_ms;
};

struct ad_peers
{
    struct ad_peer_config config;
    uv_loop_t *loop;
    const struct sy_log *log;
    struct ad_peer_callbacks cb;
    void *data;
    uv_tcp_t listener;
    struct peer peers[AD_PEER_ID_MAX + 1]; /* by id; address.id == 0: none */
    struct link *links;
    struct ad_peer_stats stats;
    unsigned open_handles; /* listener and redial timers */
    bool closing;
    bool muted;
    void (*closed)(void *data);
};

void ad_peer_config_default(struct ad_peer_config *c)
{
    *c = (struct ad_peer_config){
        .frame_max = 4U << 20,
        .queue_max = 16U << 20,
        .redial_min_ms = 20,
        .redial_max_ms = 200,
        .user_timeout_ms = 5000,
    };
}

static int parse_address(const struct ad_peer_address *a, struct sockaddr_storage *ret)
{
    int rv = uv_ip4_addr(a->host, a->port, (struct sockaddr_in *)ret);

    if (rv != 0) {
        rv = uv_ip6_addr(a->host, a->port, (struct sockaddr_in6 *)ret);
    }
    return rv;
}

static void dial_later(struct peer *p);

static void maybe_closed(struct ad_peers *o)
{
    void (*closed)(void *) = o->closed;
    void *data = o->data;

    if (!o->closing || o->open_handles > 0 || o->links != NULL) {
        return;
    }
    for (unsigned i = 0; i <= AD_PEER_ID_MAX; i++) {
        sy_buf_free(&o->peers[i].out);
    }
    sy_free(o);
    if (closed != NULL) {
        closed(data);
    }
}

static void link_handle_closed(uv_handle_t *handle)
{
    struct link *l = handle->data;
    struct ad_peers *o = l->owner;

    if (--l->open_handles > 0) {
        return;
    }
    for (struct link **at = &o->links; *at != NULL; at = &(*at)->next) {
        if (*at == l) {
            *at = l->next;
            break;
        }
    }
    sy_buf_free(&l->in);
    sy_free(l);
    maybe_closed(o);
}

static struct link *new_link(struct ad_peers *o)
{
    struct link *l = sy_calloc(1, sizeof *l);
    int rv;

    rv = uv_tcp_init(o->loop, &l->tcp);
    assert(rv == 0);
    rv = uv_timer_init(o->loop, &l->hello_timer);
    assert(rv == 0);
    l->owner = o;
    l->tcp.data = l->hello_timer.data = l;
    l->open_handles = 2;
    l->next = o->links;
    o->links = l;
    return l;
}

/* @broken: the other side's kernel told us. */
static void drop(struct link *l, bool broken)
{
    struct ad_peers *o = l->owner;
    struct peer *p = l->peer;

    if (l->closing) {
        return;
    }
    l->closing = true;
    uv_close((uv_handle_t *)&l->tcp, link_handle_closed);
    uv_close((uv_handle_t *)&l->hello_timer, link_handle_closed);
    for (unsigned i = 1; i <= AD_PEER_ID_MAX; i++) {
        if (o->peers[i].dialing == l) {
            o->peers[i].dialing = NULL;
            dial_later(&o->peers[i]);
        }
    }
    if (p != NULL && p->link == l) {
        p->link = NULL;
        p->out.len = 0;
        dial_later(p);
        if (!o->closing) {
            o->cb.down(o->data, p->address.id, broken);
        }
    }
}

static void put_header(struct sy_buf *b, uint8_t kind, size_t n)
{
    sy_buf_u32(b, (uint32_t)(n + 1));
    sy_buf_u8(b, kind);
}

struct write
{
    uv_write_t req;
    uint8_t *p;
};

static void written(uv_write_t *req, int status)
{
    struct write *w = SY_CONTAINER(req, struct write, req);

    (void)status; /* A failure is seen by the reader of the same socket, too. */
    sy_free(w->p);
    sy_free(w);
}

/* Hand over @b's bytes; @b is empty afterwards. */
static void push(struct link *l, struct sy_buf *b)
{
    uv_stream_t *stream = (uv_stream_t *)&l->tcp;
    uv_buf_t buf = uv_buf_init((char *)b->p, (unsigned)b->len);
    struct write *w;
    int n = 0;

    l->owner->stats.bytes_out += b->len;
    if (uv_stream_get_write_queue_size(stream) == 0) {
        n = uv_try_write(stream, &buf, 1);
        if (n == (int)b->len) {
            b->len = 0;
            return;
        }
        n = n < 0 ? 0 : n;
    }
    w = sy_alloc(sizeof *w);
    w->p = b->p;
    buf = uv_buf_init((char *)b->p + n, (unsigned)(b->len - (size_t)n));
    *b = (struct sy_buf){0};
    if (uv_write(&w->req, stream, &buf, 1, written) != 0) {
        sy_free(w->p);
        sy_free(w);
        drop(l, false);
    }
}

static void send_hello(struct link *l, uint64_t to)
{
    struct ad_peers *o = l->owner;
    struct sy_buf body = {0};
    struct sy_buf b = {0};

    sy_buf_put(&body, magic, sizeof magic);
    sy_buf_u32(&body, AD_PEER_PROTOCOL);
    sy_buf_u64(&body, o->config.epoch);
    sy_buf_u64(&body, o->config.self);
    sy_buf_u64(&body, to); /* 0 from who was dialled and does not know yet */
    sy_buf_str(&body, o->config.cluster);
    put_header(&b, AD_PEER_KIND_HELLO, body.len);
    sy_buf_put(&b, body.p, body.len);
    push(l, &b);
    sy_buf_free(&body);
    sy_buf_free(&b);
}

static void refuse(struct link *l, uint64_t from, const char *why)
{
    l->owner->stats.refused++;
    SY_LOG(l->owner->log, SY_WARN, "peer.refused", KU64("peer", from), KSTR("why", why));
    drop(l, false);
}

/* The hello of the other side: who is it, and does it belong here? */
static void greet(struct link *l, const uint8_t *p, size_t n)
{
    struct ad_peers *o = l->owner;
    struct sy_cur c = {.p = p, .n = n};
    const uint8_t *m = sy_cur_take(&c, sizeof magic);
    uint32_t protocol = sy_cur_u32(&c);
    uint64_t epoch = sy_cur_u64(&c);
    uint64_t from = sy_cur_u64(&c);
    uint64_t to = sy_cur_u64(&c);
    size_t len = strlen(o->config.cluster);
    bool dialled_us;
    struct peer *peer;

    if (c.bad || memcmp(m, magic, sizeof magic) != 0) {
        refuse(l, 0, "not a vagt peer");
        return;
    }
    if (protocol != AD_PEER_PROTOCOL) {
        refuse(l, from, "another protocol version: upgrade one of the two nodes");
        return;
    }
    if (c.n != len || memcmp(c.p, o->config.cluster, len) != 0) {
        refuse(l, from, "another cluster: compare `cluster` in the configurations");
        return;
    }
    if (epoch != o->config.epoch) {
        refuse(l, from, "another epoch of the cluster");
        return;
    }
    if (from == 0 || from > AD_PEER_ID_MAX || from == o->config.self ||
        o->peers[from].address.id == 0) {
        refuse(l, from, "not in our list of nodes");
        return;
    }
    peer = &o->peers[from];
    dialled_us = peer->dialing != l;
    if (dialled_us ? to != o->config.self : from != peer->address.id) {
        refuse(l, from, "another node id than configured: compare `nodes`");
        return;
    }
    if (dialled_us && from < o->config.self) {
        refuse(l, from, "the lower id does not dial");
        return;
    }
    if (peer->link != NULL) {
        drop(peer->link, false); /* The old one is dead before the new one speaks. */
    }
    peer->dialing = NULL;
    uv_timer_stop(&peer->redial);
    uv_timer_stop(&l->hello_timer);
    l->peer = peer;
    peer->link = l;
    peer->out.len = 0;
    peer->redial_ms = o->config.redial_min_ms;
    o->stats.links++;
    if (dialled_us) {
        send_hello(l, from);
    }
    o->cb.up(o->data, from);
}

/* One frame; false: stop reading from this link. */
static bool take_frame(struct link *l, const uint8_t *p, size_t n)
{
    struct ad_peers *o = l->owner;

    if (l->peer == NULL) {
        if (p[0] != AD_PEER_KIND_HELLO) {
            refuse(l, 0, "no hello");
        } else {
            greet(l, p + 1, n - 1);
        }
    } else if (!o->muted) {
        o->stats.frames_in++;
        o->cb.frame(o->data, l->peer->address.id, p[0], p + 1, n - 1);
    }
    return !l->closing;
}

static void parse(struct link *l)
{
    size_t done = 0;

    while (l->in.len - done >= HEADER) {
        struct sy_cur c = {.p = l->in.p + done, .n = 4};
        uint32_t n = sy_cur_u32(&c);

        if (n == 0 || n > l->owner->config.frame_max || (l->peer == NULL && n > 256)) {
            refuse(l, l->peer != NULL ? l->peer->address.id : 0, "frame too long");
            return;
        }
        if (l->in.len - done - 4 < n) {
            break;
        }
        if (!take_frame(l, l->in.p + done + 4, n)) {
            return;
        }
        done += 4 + (size_t)n;
    }
    sy_buf_consume(&l->in, done);
}

static void alloc_cb(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
    struct link *l = handle->data;

    (void)hint;
    sy_buf_reserve(&l->in, READ_CHUNK);
    *buf = uv_buf_init((char *)l->in.p + l->in.len, (unsigned)(l->in.cap - l->in.len));
}

static void read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct link *l = stream->data;

    (void)buf;
    if (n < 0) {
        drop(l, n == UV_EOF || n == UV_ECONNRESET);
        return;
    }
    l->in.len += (size_t)n;
    l->owner->stats.bytes_in += (size_t)n;
    parse(l);
}

static void hello_timeout(uv_timer_t *timer)
{
    struct link *l = timer->data;

    if (l->peer == NULL) {
        drop(l, false);
    }
}

static void start_reading(struct link *l)
{
    unsigned timeout = l->owner->config.user_timeout_ms;
    uv_os_fd_t fd;
    int rv;

    uv_tcp_nodelay(&l->tcp, 1);
    if (uv_fileno((uv_handle_t *)&l->tcp, &fd) == 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
    }
    uv_tcp_keepalive(&l->tcp, 1, 5);
    rv = uv_timer_start(&l->hello_timer, hello_timeout, 2000, 0);
    assert(rv == 0);
    rv = uv_read_start((uv_stream_t *)&l->tcp, alloc_cb, read_cb);
    if (rv != 0) {
        drop(l, false);
    }
}

static void accept_cb(uv_stream_t *listener, int status)
{
    struct ad_peers *o = listener->data;
    struct link *l;
    unsigned strangers = 0;

    if (status != 0) {
        return;
    }
    for (l = o->links; l != NULL; l = l->next) {
        strangers += l->peer == NULL;
    }
    l = new_link(o);
    if (uv_accept(listener, (uv_stream_t *)&l->tcp) != 0 || strangers > STRANGERS_MAX) {
        drop(l, false);
        return;
    }
    start_reading(l);
}

static void connected(uv_connect_t *req, int status)
{
    struct peer *p = req->data;
    struct link *l = req->handle->data;

    if (l->closing) {
        return;
    }
    assert(p->dialing == l);
    if (status != 0) {
        drop(l, false);
        return;
    }
    start_reading(l);
    send_hello(l, p->address.id);
}

static void dial(uv_timer_t *timer)
{
    struct peer *p = timer->data;
    struct ad_peers *o = p->owner;
    struct link *l;

    if (p->link != NULL || p->dialing != NULL) {
        return;
    }
    l = new_link(o);
    p->dialing = l;
    p->connect.data = p;
    if (uv_tcp_connect(&p->connect, &l->tcp, (struct sockaddr *)&p->addr, connected) !=
        0) {
        drop(l, false);
        return;
    }
    /* A black hole must not hold the request for minutes. */
    (void)uv_timer_start(&l->hello_timer, hello_timeout, 2000, 0);
}

static void dial_later(struct peer *p)
{
    struct ad_peers *o = p->owner;

    if (o->closing || p->address.id >= o->config.self) {
        return;
    }
    (void)uv_timer_start(&p->redial, dial, p->redial_ms, 0);
    p->redial_ms *= 2;
    if (p->redial_ms > o->config.redial_max_ms) {
        p->redial_ms = o->config.redial_max_ms;
    }
}

static int listen_on(struct ad_peers *o, const struct ad_peer_address *self,
                     struct sy_errbuf *eb)
{
    struct sockaddr_storage addr;
    int rv = parse_address(self, &addr);

    if (rv == 0) {
        rv = uv_tcp_bind(&o->listener, (struct sockaddr *)&addr, 0);
    }
    if (rv == 0) {
        rv = uv_listen((uv_stream_t *)&o->listener, BACKLOG, accept_cb);
    }
    if (rv != 0) {
        return sy_fail(
            eb, rv, "peer address %s:%u: %s%s", self->host, self->port, uv_strerror(rv),
            rv == UV_EADDRINUSE      ? "; is another vagtd running here?"
            : rv == UV_EADDRNOTAVAIL ? "; `nodes` must name one of this machine"
                                     : "");
    }
    return 0;
}

static int add_peer(struct ad_peers *o, const struct ad_peer_address *a,
                    struct sy_errbuf *eb)
{
    struct peer *p;
    int rv;

    assert(a->id > 0 && a->id <= AD_PEER_ID_MAX);
    p = &o->peers[a->id];
    rv = parse_address(a, &p->addr);
    if (rv != 0) {
        return sy_fail(eb, rv, "node %u: %s is not a numeric address", (unsigned)a->id,
                       a->host);
    }
    rv = uv_timer_init(o->loop, &p->redial);
    assert(rv == 0);
    p->redial.data = p;
    o->open_handles++;
    p->owner = o;
    p->address = *a; /* From here on there is something to close. */
    p->redial_ms = o->config.redial_min_ms;
    if (a->id < o->config.self) {
        (void)uv_timer_start(&p->redial, dial, 0, 0);
    }
    return 0;
}

int ad_peers_open(struct ad_peers **ret, uv_loop_t *loop, const struct sy_log *log,
                  const struct ad_peer_config *config, const struct ad_peer_callbacks *cb,
                  void *data, struct sy_errbuf *eb)
{
    struct ad_peers *o = sy_calloc(1, sizeof *o);
    int rv;

    o->config = *config;
    o->loop = loop;
    o->log = log;
    o->cb = *cb;
    o->data = data;
    rv = uv_tcp_init(loop, &o->listener);
    assert(rv == 0);
    o->listener.data = o;
    o->open_handles = 1;
    for (unsigned i = 0; rv == 0 && i < config->nodes_n; i++) {
        const struct ad_peer_address *a = &config->nodes[i];

        rv = a->id == config->self ? listen_on(o, a, eb) : add_peer(o, a, eb);
    }
    if (rv != 0) {
        ad_peers_close(o, NULL);
        return rv;
    }
    *ret = o;
    return 0;
}

int ad_peers_set(struct ad_peers *o, const struct ad_peer_address *a,
                 struct sy_errbuf *eb)
{
    struct sockaddr_storage addr = {0};
    struct peer *p;
    int rv;

    assert(a->id > 0 && a->id <= AD_PEER_ID_MAX && a->id != o->config.self);
    p = &o->peers[a->id];
    if (p->address.id == 0) {
        return add_peer(o, a, eb);
    }
    if (p->address.port == a->port && strcmp(p->address.host, a->host) == 0) {
        return 0;
    }
    rv = parse_address(a, &addr);
    if (rv != 0) {
        return sy_fail(eb, rv, "node %u: %s is not a numeric address", (unsigned)a->id,
                       a->host);
    }
    p->addr = addr;
    p->address = *a;
    p->redial_ms = o->config.redial_min_ms;
    if (p->dialing != NULL) {
        drop(p->dialing, false); /* And so it is dialled there. */
    }
    return 0;
}

bool ad_peers_send(struct ad_peers *o, uint64_t to, uint8_t kind, const void *body,
                   size_t n)
{
    struct peer *p;
    size_t queued;

    assert(to > 0 && to <= AD_PEER_ID_MAX && kind != AD_PEER_KIND_HELLO);
    p = &o->peers[to];
    if (p->link == NULL || o->muted) {
        return false;
    }
    queued = uv_stream_get_write_queue_size((uv_stream_t *)&p->link->tcp) + p->out.len;
    if (n + 1 > o->config.frame_max || queued + n + HEADER > o->config.queue_max) {
        o->stats.dropped++;
        return false;
    }
    put_header(&p->out, kind, n);
    sy_buf_put(&p->out, body, n);
    o->stats.frames_out++;
    return true;
}

void ad_peers_mute(struct ad_peers *o, bool mute)
{
    o->muted = mute;
}

void ad_peers_drop(struct ad_peers *o, uint64_t id)
{
    if (id <= AD_PEER_ID_MAX && o->peers[id].link != NULL) {
        o->peers[id].redial_ms = o->config.redial_max_ms; /* It would do so again. */
        drop(o->peers[id].link, false);
    }
}

void ad_peers_flush(struct ad_peers *o)
{
    for (unsigned i = 1; i <= AD_PEER_ID_MAX; i++) {
        struct peer *p = &o->peers[i];

        if (p->link != NULL && p->out.len > 0) {
            push(p->link, &p->out);
        }
    }
}

bool ad_peers_linked(const struct ad_peers *o, uint64_t id)
{
    return id <= AD_PEER_ID_MAX && o->peers[id].link != NULL;
}

const struct ad_peer_stats *ad_peers_stats(const struct ad_peers *o)
{
    return &o->stats;
}

static void listener_closed(uv_handle_t *handle)
{
    struct ad_peers *o = handle->data;

    o->open_handles--;
    maybe_closed(o);
}

static void redial_closed(uv_handle_t *handle)
{
    struct peer *p = handle->data;

    p->owner->open_handles--;
    maybe_closed(p->owner);
}

void ad_peers_close(struct ad_peers *o, void (*closed)(void *data))
{
    struct link *next;

    assert(!o->closing);
    o->closing = true;
    o->closed = closed;
    for (struct link *l = o->links; l != NULL; l = next) {
        next = l->next;
        drop(l, false);
    }
    uv_close((uv_handle_t *)&o->listener, listener_closed);
    for (unsigned i = 1; i <= AD_PEER_ID_MAX; i++) {
        if (o->peers[i].address.id != 0) {
            uv_close((uv_handle_t *)&o->peers[i].redial, redial_closed);
        }
    }
}

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "adapters/peer/impl.h"
#include "base/list.h"
#include "base/mem.h"

const char ad__removed_text[] = "it was removed from the cluster";

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
    ad_tls_link_free(l->tls);
    sy_buf_free(&l->in);
    sy_free(l);
    ad__peers_maybe_closed(o);
}

struct link *ad__link_new(struct ad_peers *o)
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

void ad__link_drop(struct link *l, bool broken)
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
            ad__dial_later(&o->peers[i]);
        }
    }
    if (p != NULL && p->link == l) {
        p->link = NULL;
        p->out.len = 0;
        ad__dial_later(p);
        if (!o->closing) {
            o->cb.down(o->data, p->address.id, broken);
        }
    }
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

/* Hand over @b's bytes as they are; @b is empty afterwards. */
static void push_raw(struct link *l, struct sy_buf *b)
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
        ad__link_drop(l, false);
    }
}

void ad__link_push(struct link *l, struct sy_buf *b)
{
    struct sy_buf wire = {0};

    if (l->tls == NULL) {
        push_raw(l, b);
        return;
    }
    ad_tls_give(l->tls, b->p, b->len, &wire);
    b->len = 0;
    push_raw(l, &wire);
    sy_buf_free(&wire);
}

static void send_frame(struct link *l, uint8_t kind, const struct sy_buf *body)
{
    struct sy_buf b = {0};

    ad_peer_frame_put(&b, kind, body->len);
    sy_buf_put(&b, body->p, body->len);
    ad__link_push(l, &b);
    sy_buf_free(&b);
}

static void send_hello(struct link *l, uint64_t to)
{
    const struct ad_peer_config *c = &l->owner->config;
    struct ad_peer_hello h = {
        .protocol = AD_PEER_PROTOCOL, .epoch = c->epoch, .from = c->self, .to = to};
    struct sy_buf body = {0};

    snprintf(h.cluster, sizeof h.cluster, "%s", c->cluster);
    ad_peer_hello_put(&body, &h);
    send_frame(l, AD_PEER_KIND_HELLO, &body);
    sy_buf_free(&body);
}

void ad__link_refuse(struct link *l, uint64_t from, uint8_t reason, const char *why)
{
    struct sy_buf body = {0};

    l->owner->stats.refused++;
    SY_LOG(l->owner->log, SY_WARN, "peer.refused", KU64("peer", from),
           KSTR("from", l->from[0] != '\0' ? l->from : "dialled"), KSTR("why", why));
    if (l->tls != NULL && ad_tls_peer(l->tls) != 0) {
        ad_peer_goodbye_put(&body, reason, why);
        send_frame(l, AD_PEER_KIND_GOODBYE, &body);
        sy_buf_free(&body);
    }
    ad__link_drop(l, false);
}

static void refuse(struct link *l, uint64_t from, const char *why)
{
    ad__link_refuse(l, from, AD_PEER_REFUSED, why);
}

/* Why the hello cannot be that of a node of ours; NULL: it is. */
static const char *wrong_with(const struct link *l, const struct ad_peer_hello *h)
{
    const struct ad_peers *o = l->owner;
    bool dialled_us;

    if (h->protocol != AD_PEER_PROTOCOL) {
        return "another protocol version: upgrade one of the two nodes";
    }
    if (strcmp(h->cluster, o->config.cluster) != 0) {
        return "another cluster: compare `cluster` in the configurations";
    }
    if (h->epoch != o->config.epoch) {
        return "another epoch of the cluster";
    }
    if (h->from == 0 || h->from > AD_PEER_ID_MAX || h->from == o->config.self ||
        o->peers[h->from].address.id == 0) {
        return "not in our list of nodes";
    }
    dialled_us = o->peers[h->from].dialing != l;
    if (dialled_us && h->to != o->config.self) {
        return "another node id than configured: compare `nodes`";
    }
    if (dialled_us && h->from < o->config.self) {
        return "the lower id does not dial";
    }
    if (l->tls != NULL && ad_tls_peer(l->tls) != h->from) {
        return "it says another node id than its certificate";
    }
    return NULL;
}

/* The hello of the other side: who is it, and does it belong here? */
static void greet(struct link *l, const uint8_t *p, size_t n)
{
    struct ad_peers *o = l->owner;
    struct ad_peer_hello h;
    struct peer *peer;
    const char *why;
    bool dialled_us;

    if (!ad_peer_hello_parse(p, n, &h)) {
        refuse(l, 0, "not a vagt peer");
        return;
    }
    why = wrong_with(l, &h);
    if (why != NULL) {
        refuse(l, h.from, why);
        return;
    }
    peer = &o->peers[h.from];
    dialled_us = peer->dialing != l;
    if (l->tls != NULL && peer->address.removed) {
        ad__link_refuse(l, h.from, AD_PEER_REMOVED, ad__removed_text);
        return;
    }
    if (peer->link != NULL) {
        ad__link_drop(peer->link,
                      false); /* The old one is dead before the new one speaks. */
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
        send_hello(l, h.from);
    }
    o->cb.up(o->data, h.from);
}

/* It will not have us. What it says is for the owner; and then there is no hurry. */
static void take_goodbye(struct link *l, const uint8_t *p, size_t n)
{
    struct ad_peers *o = l->owner;
    uint64_t from = l->tls != NULL ? ad_tls_peer(l->tls) : 0;

    if (from == 0 || from > AD_PEER_ID_MAX || o->peers[from].address.id == 0) {
        refuse(l, 0, "no hello");
        return;
    }
    o->peers[from].redial_ms = AD__SULK_MS;
    o->cb.frame(o->data, from, AD_PEER_KIND_GOODBYE, p, n);
    ad__link_drop(l, false);
}

/* One frame; false: stop reading from this link. */
static bool take_frame(struct link *l, const uint8_t *p, size_t n)
{
    struct ad_peers *o = l->owner;

    if (p[0] == AD_PEER_KIND_GOODBYE) {
        take_goodbye(l, p + 1, n - 1);
    } else if (l->peer == NULL) {
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

static void refuse_frame(struct link *l)
{
    bool tls = l->tls == NULL && l->in.p[0] == 0x16 && l->in.p[1] == 3;

    refuse(l, l->peer != NULL ? l->peer->address.id : 0,
           tls ? "it speaks TLS, and this node has no `tls`" : "frame too long");
}

static void parse(struct link *l)
{
    size_t done = 0, whole;
    int rv = 0;

    while (!l->closing) {
        rv = ad_peer_frame_next(
            l->in.p + done, l->in.len - done,
            l->peer == NULL ? AD_PEER_HELLO_MAX : l->owner->config.frame_max, &whole);
        if (rv <= 0 || !take_frame(l, l->in.p + done + 4, whole - 4)) {
            break;
        }
        done += whole;
    }
    if (l->closing) {
        return;
    }
    if (rv < 0) {
        refuse_frame(l);
        return;
    }
    sy_buf_consume(&l->in, done);
}

static void alloc_cb(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
    struct link *l = handle->data;

    (void)hint;
    if (l->tls != NULL) {
        *buf = uv_buf_init((char *)l->owner->wire, AD__READ_CHUNK);
        return;
    }
    sy_buf_reserve(&l->in, AD__READ_CHUNK);
    *buf = uv_buf_init((char *)l->in.p + l->in.len, (unsigned)(l->in.cap - l->in.len));
}

/* The other end has proved who it is: if we have dialled it, it is our turn. */
static void proved(struct link *l)
{
    uint64_t id = ad_tls_peer(l->tls);
    const struct peer *peer = id <= AD_PEER_ID_MAX ? &l->owner->peers[id] : NULL;

    if (peer == NULL || peer->dialing != l) {
        return;
    }
    if (peer->address.removed) {
        ad__link_refuse(l, id, AD_PEER_REMOVED, ad__removed_text);
    } else {
        send_hello(l, id);
    }
}

/* Bytes of a connection that is encrypted; @n 0: it begins. False: it is over. */
static bool decrypt(struct link *l, const void *p, size_t n)
{
    struct sy_buf wire = {0};
    struct sy_errbuf eb;
    bool known = ad_tls_peer(l->tls) != 0;
    int rv = ad_tls_take(l->tls, p, n, &l->in, &wire, &eb);

    if (wire.len > 0) {
        push_raw(l, &wire);
    }
    sy_buf_free(&wire);
    if (l->closing) {
        return false;
    }
    if (rv == -ECONNREFUSED) {
        SY_LOG(l->owner->log, SY_WARN, "peer.refused_us",
               KSTR("from", l->from[0] != 0 ? l->from : "dialled"), KSTR("why", eb.text));
        ad__link_drop(l, false);
    } else if (rv != 0) {
        refuse(l, l->peer != NULL ? l->peer->address.id : 0, eb.text);
    }
    if (rv == 0 && !known && ad_tls_peer(l->tls) != 0) {
        proved(l);
    }
    return !l->closing;
}

static void read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct link *l = stream->data;

    if (n < 0) {
        ad__link_drop(l, n == UV_EOF || n == UV_ECONNRESET);
        return;
    }
    l->spoke = l->spoke || n > 0;
    l->owner->stats.bytes_in += (size_t)n;
    if (l->tls == NULL) {
        l->in.len += (size_t)n;
    } else if (!decrypt(l, buf->base, (size_t)n)) {
        return;
    }
    parse(l);
}

void ad__link_timeout(uv_timer_t *timer)
{
    struct link *l = timer->data;

    if (l->peer == NULL && l->from[0] != '\0') {
        refuse(l, 0, "it did not say who it is in time");
    } else if (l->peer == NULL) {
        ad__link_drop(l, false);
    }
}

void ad__link_start(struct link *l, uint64_t to)
{
    const struct ad_peer_config *c = &l->owner->config;
    unsigned timeout = c->user_timeout_ms;
    uv_os_fd_t fd;
    int rv;

    uv_tcp_nodelay(&l->tcp, 1);
    if (uv_fileno((uv_handle_t *)&l->tcp, &fd) == 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
    }
    uv_tcp_keepalive(&l->tcp, 1, 5);
    rv = uv_timer_start(&l->hello_timer, ad__link_timeout, c->hello_ms, 0);
    assert(rv == 0);
    if (c->tls != NULL) {
        l->tls = ad_tls_link_new(c->tls, to);
    }
    rv = uv_read_start((uv_stream_t *)&l->tcp, alloc_cb, read_cb);
    if (rv != 0) {
        ad__link_drop(l, false);
    } else if (to != 0 && l->tls != NULL) {
        (void)decrypt(l, NULL, 0);
    } else if (to != 0) {
        send_hello(l, to);
    }
}

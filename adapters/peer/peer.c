#include "adapters/peer/peer.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "adapters/peer/impl.h"
#include "base/mem.h"

enum { BACKLOG = 64, CONNECT_MS = 2000 };

void ad_peer_config_default(struct ad_peer_config *c)
{
    *c = (struct ad_peer_config){
        .frame_max = 4U << 20,
        .queue_max = 16U << 20,
        .redial_min_ms = 20,
        .redial_max_ms = 200,
        .user_timeout_ms = 5000,
        .hello_ms = 5000,
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

void ad__peers_maybe_closed(struct ad_peers *o)
{
    void (*closed)(void *) = o->closed;
    void *data = o->data;

    if (!o->closing || o->open_handles > 0 || o->links != NULL) {
        return;
    }
    for (unsigned i = 0; i <= AD_PEER_ID_MAX; i++) {
        sy_buf_free(&o->peers[i].out);
    }
    sy_free(o->wire);
    sy_free(o);
    if (closed != NULL) {
        closed(data);
    }
}

static void accept_cb(uv_stream_t *listener, int status)
{
    struct ad_peers *o = listener->data;
    struct link *l;

    if (status != 0) {
        return;
    }
    l = ad__link_new(o);
    if (uv_accept(listener, (uv_stream_t *)&l->tcp) != 0) {
        ad__link_drop(l, false);
        return;
    }
    if (!ad__guest_seat(o, l)) {
        ad__link_drop(l, false);
        return;
    }
    ad__link_start(l, 0);
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
        ad__link_drop(l, false);
        return;
    }
    ad__link_start(l, p->address.id);
}

static void dial(uv_timer_t *timer)
{
    struct peer *p = timer->data;
    struct ad_peers *o = p->owner;
    struct link *l;

    if (p->link != NULL || p->dialing != NULL) {
        return;
    }
    l = ad__link_new(o);
    p->dialing = l;
    p->connect.data = p;
    if (uv_tcp_connect(&p->connect, &l->tcp, (struct sockaddr *)&p->addr, connected) !=
        0) {
        ad__link_drop(l, false);
        return;
    }
    /* A black hole must not hold the request for minutes. */
    (void)uv_timer_start(&l->hello_timer, ad__link_timeout, CONNECT_MS, 0);
}

void ad__dial_later(struct peer *p)
{
    struct ad_peers *o = p->owner;

    if (o->closing || p->address.id >= o->config.self) {
        return;
    }
    if (o->config.tls != NULL && p->address.removed) {
        p->redial_ms = AD__SULK_MS; /* To be told so, when it is there. */
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
    o->wire = sy_alloc(AD__READ_CHUNK);
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
    p->address.removed = a->removed;
    if (o->config.tls != NULL && a->removed && p->link != NULL) {
        ad__link_refuse(p->link, a->id, AD_PEER_REMOVED,
                        "it was removed from the cluster");
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
        ad__link_drop(p->dialing, false); /* And so it is dialled there. */
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
    if (n + 1 > o->config.frame_max ||
        queued + n + AD_PEER_HEADER > o->config.queue_max) {
        o->stats.dropped++;
        return false;
    }
    ad_peer_frame_put(&p->out, kind, n);
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
        ad__link_drop(o->peers[id].link, false);
    }
}

void ad_peers_flush(struct ad_peers *o)
{
    for (unsigned i = 1; i <= AD_PEER_ID_MAX; i++) {
        struct peer *p = &o->peers[i];

        if (p->link != NULL && p->out.len > 0) {
            ad__link_push(p->link, &p->out);
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
    ad__peers_maybe_closed(o);
}

static void redial_closed(uv_handle_t *handle)
{
    struct peer *p = handle->data;

    p->owner->open_handles--;
    ad__peers_maybe_closed(p->owner);
}

void ad_peers_close(struct ad_peers *o, void (*closed)(void *data))
{
    struct link *next;

    assert(!o->closing);
    o->closing = true;
    o->closed = closed;
    for (struct link *l = o->links; l != NULL; l = next) {
        next = l->next;
        ad__link_drop(l, false);
    }
    uv_close((uv_handle_t *)&o->listener, listener_closed);
    for (unsigned i = 1; i <= AD_PEER_ID_MAX; i++) {
        if (o->peers[i].address.id != 0) {
            uv_close((uv_handle_t *)&o->peers[i].redial, redial_closed);
        }
    }
}

#include <stdlib.h>
#include <string.h>

#include "rig.h"

/* One connection through: from the writer and on to the server. */
struct proxy_pair
{
    struct proxy *x;
    uv_tcp_t client, to;
    unsigned open;
    bool dead;
};

struct chunk
{
    uv_write_t req;
    char bytes[];
};

static void half_closed(uv_handle_t *h)
{
    struct proxy_pair *pair = h->data;

    if (--pair->open == 0) {
        free(pair);
    }
}

static void kill_pair(struct proxy_pair *pair)
{
    if (pair->dead) {
        return;
    }
    pair->dead = true;
    if (pair->x->pair == pair) {
        pair->x->pair = NULL;
    }
    uv_close((uv_handle_t *)&pair->client, half_closed);
    uv_close((uv_handle_t *)&pair->to, half_closed);
}

static void alloc_cb(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
    static char space[65536];

    (void)h, (void)hint;
    *buf = uv_buf_init(space, sizeof space);
}

static void sent(uv_write_t *req, int status)
{
    (void)status;
    free(req);
}

static void pass_on(uv_tcp_t *to, const char *p, size_t n)
{
    struct chunk *c = malloc(sizeof *c + n);
    uv_buf_t buf;

    memcpy(c->bytes, p, n);
    buf = uv_buf_init(c->bytes, (unsigned)n);
    uv_write(&c->req, (uv_stream_t *)to, &buf, 1, sent);
}

static void from_client(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct proxy_pair *pair = s->data;
    struct proxy *x = pair->x;

    if (n < 0) {
        kill_pair(pair);
        return;
    }
    x->to_server += (uint64_t)n;
    if (x->mode == PROXY_CUT && (size_t)n >= x->cut_after) {
        if (x->cut_after > 0) {
            /* As much as fits at once; the rest is lost with the connection. */
            uv_buf_t part = uv_buf_init(buf->base, (unsigned)x->cut_after);
            (void)uv_try_write((uv_stream_t *)&pair->to, &part, 1);
        }
        x->mode = PROXY_PASS;
        x->cuts++;
        kill_pair(pair);
        return;
    }
    if (x->mode == PROXY_CUT) {
        x->cut_after -= (size_t)n;
    }
    pass_on(&pair->to, buf->base, (size_t)n);
}

static void from_server(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct proxy_pair *pair = s->data;

    if (n < 0) {
        kill_pair(pair);
    } else if (pair->x->mode != PROXY_DEAF) {
        pass_on(&pair->client, buf->base, (size_t)n);
    }
}

static void connected(uv_connect_t *req, int status)
{
    struct proxy_pair *pair = req->data;

    free(req);
    if (status != 0) {
        kill_pair(pair);
    } else if (!pair->dead) {
        uv_read_start((uv_stream_t *)&pair->client, alloc_cb, from_client);
        uv_read_start((uv_stream_t *)&pair->to, alloc_cb, from_server);
    }
}

static void on_connection(uv_stream_t *s, int status)
{
    struct proxy *x = s->data;
    struct proxy_pair *pair = calloc(1, sizeof *pair);
    uv_connect_t *req = malloc(sizeof *req);

    assert_int_equal(status, 0);
    pair->x = x;
    pair->open = 2;
    uv_tcp_init(x->loop, &pair->client);
    uv_tcp_init(x->loop, &pair->to);
    pair->client.data = pair->to.data = req->data = pair;
    assert_int_equal(uv_accept(s, (uv_stream_t *)&pair->client), 0);
    assert_int_equal(uv_tcp_connect(req, &pair->to, (struct sockaddr *)&x->to, connected),
                     0);
    x->pair = pair;
    x->connections++;
}

void proxy_open(struct proxy *x, uv_loop_t *loop, int port)
{
    struct sockaddr_in a;
    int len = sizeof a;

    *x = (struct proxy){.loop = loop};
    uv_ip4_addr("127.0.0.1", port, &x->to);
    uv_ip4_addr("127.0.0.1", 0, &a);
    uv_tcp_init(loop, &x->listener);
    x->listener.data = x;
    assert_int_equal(uv_tcp_bind(&x->listener, (struct sockaddr *)&a, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&x->listener, 8, on_connection), 0);
    uv_tcp_getsockname(&x->listener, (struct sockaddr *)&a, &len);
    x->port = ntohs(a.sin_port);
}

void proxy_cut(struct proxy *x)
{
    if (x->pair != NULL) {
        x->cuts++;
        kill_pair(x->pair);
    }
}

static void listener_closed(uv_handle_t *h)
{
    struct proxy *x = h->data;

    x->closed = true;
}

void proxy_close(struct proxy *x)
{
    proxy_cut(x);
    uv_close((uv_handle_t *)&x->listener, listener_closed);
    while (!x->closed) {
        uv_run(x->loop, UV_RUN_ONCE);
    }
}

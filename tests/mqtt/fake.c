#include "tests/mqtt/fake.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct rig_fake_peer
{
    uv_tcp_t tcp;
    struct rig_fake *f;
    struct rig_fake_peer *next;
    bool connected;
    uint8_t in[1024];
    size_t in_n;
};

static void freed(uv_handle_t *handle)
{
    free(handle->data);
}

static void peer_close(struct rig_fake_peer *p)
{
    if (p->f->reader == p) {
        p->f->reader = NULL;
        p->f->reader_ended = true;
    }
    if (!uv_is_closing((uv_handle_t *)&p->tcp)) {
        uv_close((uv_handle_t *)&p->tcp, freed);
    }
}

static void alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct rig_fake_peer *p = handle->data;

    (void)size;
    *buf = uv_buf_init((char *)p->in + p->in_n, (unsigned)(sizeof p->in - p->in_n));
}

static void send_to(struct rig_fake_peer *p, const void *data, size_t n)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data, (unsigned)n);

    assert(uv_try_write((uv_stream_t *)&p->tcp, &buf, 1) == (int)n);
}

/* The first packet: all its lengths are below 128 here. */
static void got_connect(struct rig_fake_peer *p)
{
    struct rig_fake *f = p->f;
    size_t n = 2u + p->in[1];
    uint8_t connack[] = {0x20, 3, f->session, f->connack, 0};

    assert(p->in[0] == 0x10 && p->in[1] < 128);
    if (p->in_n < n) {
        return;
    }
    p->connected = true;
    f->connects++;
    if ((p->in[9] & 2) == 0) { /* Clean start off: the reader. */
        memcpy(f->connect, p->in, n);
        f->connect_n = n;
        f->reader = p;
        f->reader_ended = false;
        f->reader_bytes = 0;
    }
    p->in_n -= n;
    if (f->connack != 255) {
        send_to(p, connack, sizeof connack);
    }
}

static void got(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct rig_fake_peer *p = stream->data;

    (void)buf;
    if (n < 0) {
        peer_close(p);
        return;
    }
    p->in_n += (size_t)n;
    if (!p->connected && p->in_n >= 2) {
        got_connect(p);
    }
    if (p->connected) {
        if (p->f->reader == p && p->in_n > 0) {
            assert(p->f->reader_bytes + p->in_n <= sizeof p->f->reader_got);
            memcpy(p->f->reader_got + p->f->reader_bytes, p->in, p->in_n);
            p->f->reader_bytes += p->in_n;
        }
        p->in_n = 0;
    }
}

static void accepted(uv_stream_t *server, int status)
{
    struct rig_fake *f = server->data;
    struct rig_fake_peer *p = calloc(1, sizeof *p);

    assert(status == 0);
    f->accepts++;
    p->f = f;
    uv_tcp_init(server->loop, &p->tcp);
    p->tcp.data = p;
    assert(uv_accept(server, (uv_stream_t *)&p->tcp) == 0);
    uv_read_start((uv_stream_t *)&p->tcp, alloc, got);
}

void rig_fake_open(struct rig_fake *f, uv_loop_t *loop)
{
    struct sockaddr_in a;

    memset(f, 0, sizeof *f);
    f->port = rig_free_port();
    f->listener.data = f;
    uv_tcp_init(loop, &f->listener);
    uv_ip4_addr("127.0.0.1", f->port, &a);
    assert(uv_tcp_bind(&f->listener, (const struct sockaddr *)&a, 0) == 0);
    assert(uv_listen((uv_stream_t *)&f->listener, 16, accepted) == 0);
}

void rig_fake_send(struct rig_fake *f, const void *p, size_t n)
{
    assert(f->reader != NULL);
    send_to(f->reader, p, n);
}

void rig_fake_publish(struct rig_fake *f, uint16_t mid, bool dup, const char *topic,
                      const char *payload)
{
    uint8_t out[256];
    size_t t = strlen(topic);
    size_t n = strlen(payload);

    assert(t + n + 5 < 128);
    out[0] = (uint8_t)(0x32 | (dup ? 8 : 0));
    out[1] = (uint8_t)(2 + t + 2 + 1 + n);
    out[2] = 0;
    out[3] = (uint8_t)t;
    memcpy(out + 4, topic, t);
    out[4 + t] = (uint8_t)(mid >> 8);
    out[5 + t] = (uint8_t)mid;
    out[6 + t] = 0; /* No properties. */
    memcpy(out + 7 + t, payload, n);
    rig_fake_send(f, out, 7 + t + n);
}

void rig_fake_hang_up(struct rig_fake *f)
{
    assert(f->reader != NULL);
    peer_close(f->reader);
}

static void close_peers(uv_handle_t *handle, void *data)
{
    if (handle->type == UV_TCP && handle->data != data && !uv_is_closing(handle)) {
        /* Only peers of the fake are left on the loop when the node has closed. */
        peer_close(handle->data);
    }
}

void rig_fake_close(struct rig_fake *f)
{
    uv_loop_t *loop = f->listener.loop;

    uv_close((uv_handle_t *)&f->listener, NULL);
    uv_walk(loop, close_peers, f);
}

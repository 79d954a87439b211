#include "tests/mqtt/fake.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct rig_fake_peer
{
    uv_tcp_t tcp;
    struct rig_fake *f;
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
    if (p->f->writer == p) {
        p->f->writer = NULL;
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

/* A CONNECT that leaves no doubt whose it is. All lengths are below 128 here. */
static bool is_writer(const struct rig_fake_peer *p, size_t n)
{
    return memmem(p->in, n, "-out", 4) != NULL;
}

static uint8_t answer_to(const struct rig_fake_peer *p, size_t n)
{
    const struct rig_fake *f = p->f;

    if ((p->in[9] & 4) != 0 && f->will_connack != 0) {
        return f->will_connack;
    }
    if (is_writer(p, n)) {
        return f->writer_connack != 0 ? f->writer_connack : f->connack;
    }
    return f->reader_connack != 0 ? f->reader_connack : f->connack;
}

static void got_connect(struct rig_fake_peer *p, size_t n)
{
    struct rig_fake *f = p->f;
    uint8_t reason = answer_to(p, n);
    uint8_t connack[] = {0x20, 3, f->session && reason == 0, reason, 0};

    assert(p->in[0] == 0x10);
    p->connected = true;
    f->connects++;
    if (is_writer(p, n)) {
        memcpy(f->writer_connect, p->in, n);
        f->writer_connect_n = n;
        f->writer = p;
        f->writers++;
    } else {
        memcpy(f->connect, p->in, n);
        f->connect_n = n;
        f->reader = p;
        f->reader_ended = false;
        f->reader_bytes = 0;
    }
    if (reason != 255) {
        send_to(p, connack, sizeof connack);
    }
}

static void got_sys(struct rig_fake_peer *p)
{
    uint8_t suback[] = {0x90, 4, p->in[2], p->in[3], 0, p->f->suback_sys};

    p->f->sys_asked++;
    if (p->f->suback_sys == 255) {
        peer_close(p);
    } else if (p->f->suback_sys != 254) {
        send_to(p, suback, sizeof suback);
    }
}

static void got_packet(struct rig_fake_peer *p, size_t n)
{
    struct rig_fake *f = p->f;

    if (!p->connected) {
        got_connect(p, n);
    } else if (p->in[0] == 0x82 && memmem(p->in, n, "$SYS/", 5) != NULL) {
        got_sys(p);
    } else if (f->reader == p) {
        assert(f->reader_bytes + n <= sizeof f->reader_got);
        memcpy(f->reader_got + f->reader_bytes, p->in, n);
        f->reader_bytes += n;
    }
    p->in_n -= n;
    memmove(p->in, p->in + n, p->in_n);
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
    while (p->in_n >= 2 && p->in_n >= 2u + p->in[1]) {
        assert(p->in[1] < 128);
        got_packet(p, 2u + p->in[1]);
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
    uv_tcp_nodelay(&p->tcp, 1); /* What is sent is there. */
    uv_read_start((uv_stream_t *)&p->tcp, alloc, got);
}

void rig_fake_open(struct rig_fake *f, uv_loop_t *loop)
{
    struct sockaddr_in a;
    int len = sizeof a;

    memset(f, 0, sizeof *f);
    f->listener.data = f;
    uv_tcp_init(loop, &f->listener);
    uv_ip4_addr("127.0.0.1", 0, &a);
    assert(uv_tcp_bind(&f->listener, (const struct sockaddr *)&a, 0) == 0);
    assert(uv_listen((uv_stream_t *)&f->listener, 16, accepted) == 0);
    assert(uv_tcp_getsockname(&f->listener, (struct sockaddr *)&a, &len) == 0);
    f->port = ntohs(a.sin_port);
}

void rig_fake_send(struct rig_fake *f, const void *p, size_t n)
{
    assert(f->reader != NULL);
    send_to(f->reader, p, n);
}

void rig_fake_send_writer(struct rig_fake *f, const void *p, size_t n)
{
    assert(f->writer != NULL);
    send_to(f->writer, p, n);
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

void rig_fake_hang_up_writer(struct rig_fake *f)
{
    assert(f->writer != NULL);
    peer_close(f->writer);
}

static void close_peers(uv_handle_t *handle, void *data)
{
    /* Only fakes and their peers are left on the loop when the node has closed, and
     * of these only peers can be read. */
    if (handle->type == UV_TCP && uv_is_readable((uv_stream_t *)handle) &&
        ((struct rig_fake_peer *)handle->data)->f == data) {
        peer_close(handle->data);
    }
}

void rig_fake_close(struct rig_fake *f)
{
    uv_loop_t *loop = f->listener.loop;

    uv_close((uv_handle_t *)&f->listener, NULL);
    uv_walk(loop, close_peers, f);
}

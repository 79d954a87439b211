#include "tests/peer/rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void log_write(void *data, enum sy_level level, const char *line, size_t len)
{
    struct rig_node *n = data;

    (void)level;
    if (n->lines_len + len + 2 < sizeof n->lines) {
        memcpy(n->lines + n->lines_len, line, len);
        n->lines_len += len;
        n->lines[n->lines_len++] = '\n';
    }
}

static void tell(struct rig_node *n, const char *sign, uint64_t peer, const char *end)
{
    size_t len = strlen(n->story);

    snprintf(n->story + len, sizeof n->story - len, "%s%llu%s ", sign,
             (unsigned long long)peer, end);
}

static void on_up(void *data, uint64_t peer)
{
    struct rig_node *n = data;

    tell(n, "+", peer, "");
    n->got[peer] = n->sent[peer] = 0;
}

static void on_down(void *data, uint64_t peer, bool broken)
{
    tell(data, "-", peer, broken ? "!" : "");
}

static void on_frame(void *data, uint64_t from, uint8_t kind, const uint8_t *p, size_t n)
{
    struct rig_node *node = data;
    struct sy_cur c = {.p = p, .n = n};
    uint64_t nr = sy_cur_u64(&c);

    if (kind == AD_PEER_KIND_GOODBYE) {
        assert_true(ad_peer_goodbye_parse(p, n, &node->goodbye));
        return;
    }
    /* Numbered, as rig_send() makes them; the rest of it repeats the number. */
    if (kind != 1 + nr % 200 || nr != node->got[from]) {
        node->out_of_order = true;
    }
    for (size_t i = 0; i < c.n; i++) {
        if (c.p[i] != (uint8_t)nr) {
            node->out_of_order = true;
        }
    }
    node->got[from] = nr + 1;
    node->got_bytes += n;
}

bool rig_send(struct rig *r, unsigned from, unsigned to, size_t n)
{
    struct rig_node *node = &r->nodes[from];
    uint64_t nr = node->sent[to];
    struct sy_buf b = {0};
    bool ok;

    sy_buf_u64(&b, nr);
    memset(sy_buf_reserve(&b, n), (uint8_t)nr, n);
    b.len += n;
    ok = ad_peers_send(node->peers, to, (uint8_t)(1 + nr % 200), b.p, b.len);
    node->sent[to] += ok;
    sy_buf_free(&b);
    return ok;
}

static void pulse_cb(uv_timer_t *timer)
{
    (void)timer;
}

/* An address of this process alone, so that a port is free when we did not take it:
 * all of 127.0.0.0/8 is loopback. The ports are below those that connect() takes. */
const char *rig_host(void)
{
    static char host[32];
    unsigned pid = (unsigned)getpid();

    snprintf(host, sizeof host, "127.%u.%u.%u", 64 + (pid >> 16) % 64, (pid >> 8) % 256,
             pid % 256);
    return host;
}

static uint16_t next_port(void)
{
    static uint16_t port = 20000;

    return ++port;
}

struct ad_peer_config *rig_config(struct rig *r, unsigned id)
{
    return &r->nodes[id].config;
}

static void default_config(struct rig *r, unsigned id)
{
    struct ad_peer_config *c = rig_config(r, id);

    ad_peer_config_default(c);
    snprintf(c->cluster, sizeof c->cluster, "campsite");
    c->epoch = 1;
    c->hello_ms = 2000;
    c->self = id;
    c->nodes_n = RIG_NODES;
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        c->nodes[i - 1] = (struct ad_peer_address){.id = i, .port = r->ports[i]};
        snprintf(c->nodes[i - 1].host, sizeof c->nodes[0].host, "%s", rig_host());
    }
}

void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(uv_timer_init(&r->loop, &r->pulse), 0);
    assert_int_equal(uv_timer_start(&r->pulse, pulse_cb, 2, 2), 0);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        r->ports[i] = next_port();
    }
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        struct rig_node *n = &r->nodes[i];

        n->rig = r;
        n->log = (struct sy_log){.level = SY_DEBUG, .data = n, .write = log_write};
        n->closed = true;
        default_config(r, i);
    }
}

void rig_open(struct rig *r, unsigned id)
{
    static const struct ad_peer_callbacks cb = {on_frame, on_up, on_down};
    struct rig_node *n = &r->nodes[id];
    struct sy_errbuf eb;

    n->closed = false;
    if (ad_peers_open(&n->peers, &r->loop, &n->log, &n->config, &cb, n, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
}

static void on_closed(void *data)
{
    struct rig_node *n = data;

    n->closed = true;
}

void rig_close(struct rig *r, unsigned id)
{
    struct rig_node *n = &r->nodes[id];

    ad_peers_close(n->peers, on_closed);
    n->peers = NULL;
    RIG_UNTIL(r, n->closed);
}

void rig_turn(struct rig *r)
{
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        if (r->nodes[i].peers != NULL) {
            ad_peers_flush(r->nodes[i].peers);
        }
    }
    uv_run(&r->loop, UV_RUN_ONCE);
}

void rig_fini(struct rig *r)
{
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        if (r->nodes[i].peers != NULL) {
            ad_peers_close(r->nodes[i].peers, on_closed);
            r->nodes[i].peers = NULL;
        }
        assert_false(r->nodes[i].out_of_order);
    }
    uv_close((uv_handle_t *)&r->pulse, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        assert_true(r->nodes[i].closed);
    }
    assert_int_equal(uv_loop_close(&r->loop), 0);
}

int raw_dial(struct rig *r, unsigned id)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(r->ports[id]),
                            .sin_addr.s_addr = inet_addr(rig_host())};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

void raw_write(int fd, const void *p, size_t n)
{
    /* It may have been thrown out already. */
    (void)!send(fd, p, n, MSG_NOSIGNAL);
}

bool raw_ended(int fd)
{
    char buf[4096];
    ssize_t n;

    do {
        n = recv(fd, buf, sizeof buf, 0);
    } while (n > 0);
    return n == 0 || errno == ECONNRESET || errno == EPIPE;
}

struct raw_hello raw_hello_right(void)
{
    return (struct raw_hello){.magic = "vagtpeer",
                              .protocol = AD_PEER_PROTOCOL,
                              .epoch = 1,
                              .from = 2,
                              .to = 1,
                              .cluster = "campsite"};
}

void raw_put_frame(struct sy_buf *b, uint8_t kind, const void *p, size_t n)
{
    sy_buf_u32(b, (uint32_t)(n + 1));
    sy_buf_u8(b, kind);
    sy_buf_put(b, p, n);
}

void raw_put_hello(struct sy_buf *b, const struct raw_hello *h)
{
    struct sy_buf body = {0};

    sy_buf_put(&body, h->magic, strlen(h->magic));
    sy_buf_u32(&body, h->protocol);
    sy_buf_u64(&body, h->epoch);
    sy_buf_u64(&body, h->from);
    sy_buf_u64(&body, h->to);
    sy_buf_str(&body, h->cluster);
    raw_put_frame(b, AD_PEER_KIND_HELLO, body.p, body.len);
    sy_buf_free(&body);
}

int raw_link(struct rig *r)
{
    struct raw_hello h = raw_hello_right();
    uint64_t links = ad_peers_stats(r->nodes[1].peers)->links;
    struct sy_buf b = {0};
    int fd = raw_dial(r, 1);

    raw_put_hello(&b, &h);
    raw_write(fd, b.p, b.len);
    sy_buf_free(&b);
    RIG_UNTIL(r, ad_peers_stats(r->nodes[1].peers)->links == links + 1);
    return fd;
}

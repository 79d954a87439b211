/* Asking the nodes over their control sockets, as cheaply as a loop of it needs. */

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <zmq.h>

#include "bench/lossless/lossless.h"

enum { ROUND_MS = 100, REPLY_MAX = 1 << 20 };

static bool find(struct sy_cur *c, const char *key)
{
    uint32_t pairs = sy_mp_get_map(c);

    for (uint32_t i = 0; i < pairs && !c->bad; i++) {
        struct sy_mp k = sy_mp_next(c);

        if (sy_mp_is(&k, key)) {
            return !c->bad;
        }
        sy_mp_skip(c);
    }
    return false;
}

struct sy_cur ll_inside(struct sy_cur c, const char *key)
{
    return find(&c, key) ? c : (struct sy_cur){.bad = 1};
}

uint64_t ll_uint(struct sy_cur c, const char *key)
{
    return find(&c, key) ? sy_mp_next(&c).u : 0;
}

void ll_str(struct sy_cur c, const char *key, char *to, size_t size)
{
    to[0] = '\0';
    if (find(&c, key)) {
        sy_mp_get_str(&c, to, size);
    }
}

static void connect_node(struct ll_nodes *x, unsigned k)
{
    x->sock[k] = zmq_socket(x->zmq, ZMQ_DEALER);
    assert(x->sock[k] != NULL);
    zmq_setsockopt(x->sock[k], ZMQ_LINGER, &(int){0}, sizeof(int));
    /* A node that is down must refuse at once rather than queue for later. */
    zmq_setsockopt(x->sock[k], ZMQ_IMMEDIATE, &(int){1}, sizeof(int));
    zmq_setsockopt(x->sock[k], ZMQ_RECONNECT_IVL, &(int){5}, sizeof(int));
    zmq_connect(x->sock[k], x->opt->nodes[k]);
}

void ll_nodes_open(struct ll_nodes *x, const struct ll_options *opt)
{
    *x = (struct ll_nodes){.zmq = zmq_ctx_new(), .n = opt->nodes_n, .opt = opt};
    for (unsigned k = 0; k < x->n; k++) {
        connect_node(x, k);
    }
}

void ll_nodes_reset(struct ll_nodes *x, unsigned k)
{
    zmq_close(x->sock[k]);
    connect_node(x, k);
}

void ll_nodes_close(struct ll_nodes *x)
{
    for (unsigned k = 0; k < x->n; k++) {
        zmq_close(x->sock[k]);
    }
    zmq_ctx_term(x->zmq);
}

static bool ask_status(struct ll_nodes *x, unsigned k)
{
    struct sy_buf b = {0};
    bool sent;

    sy_mp_map(&b, 4);
    sy_mp_kuint(&b, "v", 1);
    sy_mp_kuint(&b, "id", x->request);
    sy_mp_kstr(&b, "op", "status");
    sy_mp_str(&b, "args");
    sy_mp_map(&b, 0);
    sent = zmq_send(x->sock[k], b.p, b.len, ZMQ_DONTWAIT) >= 0;
    sy_buf_free(&b);
    return sent;
}

/* The term in which the answering node says itself that it is on watch; 0: not. */
static uint64_t term_on_watch(struct sy_cur reply)
{
    struct sy_cur result = ll_inside(reply, "result");
    uint64_t self = ll_uint(result, "node");
    struct sy_cur rows = ll_inside(result, "nodes");
    uint32_t n = sy_mp_get_array(&rows);
    char watch[16];

    for (uint32_t i = 0; i < n && !rows.bad; i++) {
        if (ll_uint(rows, "id") == self) {
            ll_str(rows, "watch", watch, sizeof watch);
            return strcmp(watch, "active") == 0 ? ll_uint(rows, "term") : 0;
        }
        sy_mp_skip(&rows);
    }
    return 0;
}

/* One answer, if there is one to what was asked last. */
static bool take_answer(struct ll_nodes *x, unsigned k, uint64_t *ret_term)
{
    static uint8_t reply[REPLY_MAX];
    int n;

    while ((n = zmq_recv(x->sock[k], reply, sizeof reply, ZMQ_DONTWAIT)) >= 0) {
        struct sy_cur c = {.p = reply, .n = (size_t)n < sizeof reply ? (size_t)n : 0};

        if (ll_uint(c, "id") == x->request) {
            *ret_term = term_on_watch(c);
            return true;
        }
    }
    return false;
}

static unsigned ask_round(struct ll_nodes *x)
{
    uint64_t until = ll_now_us() + ROUND_MS * 1000ULL;
    unsigned missing = 0;
    unsigned best = 0;
    uint64_t best_term = 0;
    bool asked[LL_NODES_MAX];

    x->request++;
    for (unsigned k = 0; k < x->n; k++) {
        asked[k] = ask_status(x, k);
        missing += asked[k];
    }
    while (missing > 0 && ll_now_us() < until) {
        zmq_pollitem_t items[LL_NODES_MAX];

        for (unsigned k = 0; k < x->n; k++) {
            items[k] = (zmq_pollitem_t){.socket = x->sock[k], .events = ZMQ_POLLIN};
        }
        zmq_poll(items, (int)x->n, 5);
        for (unsigned k = 0; k < x->n; k++) {
            uint64_t term = 0;

            if (asked[k] && take_answer(x, k, &term)) {
                asked[k] = false;
                missing--;
                best = term > best_term ? k + 1 : best;
                best_term = term > best_term ? term : best_term;
            }
        }
    }
    return best;
}

unsigned ll_nodes_active(struct ll_nodes *x, unsigned ms)
{
    uint64_t until = ll_now_us() + ms * 1000ULL;
    unsigned node;

    do {
        node = ask_round(x);
        if (node == 0) {
            zmq_poll(NULL, 0, 3);
        }
    } while (node == 0 && ll_now_us() < until);
    return node;
}

int ll_nodes_pid(const struct ll_nodes *x, unsigned node)
{
    char path[400];
    long pid = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s/n%u", x->opt->pids, node);
    f = fopen(path, "r");
    if (f == NULL || fscanf(f, "%ld", &pid) != 1 || pid <= 1) {
        pid = 0;
    }
    if (f != NULL) {
        fclose(f);
    }
    return (int)pid;
}

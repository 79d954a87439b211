/* The broker. A session outlives its connections; what it has sent and nobody has
 * acknowledged is sent again with DUP; who connects with the id of another throws it out.
 * A broker that dies knows afterwards what it had saved. */

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tests/sim/world_impl.h"

enum { KEEPALIVE_HALVES = 3, WILL_DELAY_MS = 10000 };

/* --- messages --- */

struct wmsg *wmsg_new(const char *topic, const void *payload, size_t len, int qos,
                      bool retain)
{
    struct wmsg *m = sy_calloc(1, sizeof *m);

    m->refs = 1;
    m->topic = sy_strdup(topic);
    m->payload = sy_alloc(len + 1);
    memcpy(m->payload, payload, len);
    m->payload[len] = '\0';
    m->len = len;
    m->qos = (uint8_t)qos;
    m->retain = retain;
    return m;
}

static struct wmsg *keep(struct wmsg *m)
{
    m->refs++;
    return m;
}

void wmsg_drop(struct wmsg *m)
{
    if (--m->refs == 0) {
        sy_free(m->topic);
        sy_free(m->payload);
        sy_free(m);
    }
}

/* --- topics --- */

static bool matches(const char *f, const char *t)
{
    for (;;) {
        if (*f == '#') {
            return true;
        }
        if (*f == '+') {
            f++;
            t += strcspn(t, "/");
        } else {
            for (; *f != '\0' && *f == *t && *f != '/'; f++, t++) {
            }
        }
        if (*t == '\0' && (*f == '\0' || strcmp(f, "/#") == 0)) {
            return true;
        }
        if (*f != '/' || *t != '/') {
            return false;
        }
        f++, t++;
    }
}

static bool wants(const struct wsession *s, const char *topic)
{
    for (unsigned i = 0; i < s->filters_n; i++) {
        if (matches(s->filters[i], topic)) {
            return true;
        }
    }
    return false;
}

/* --- to a client --- */

static void send_one(struct world *w, struct wsession *s, const struct wdelivery *d)
{
    struct wb_delivered *b = sy_calloc(1, sizeof *b);

    *b = (struct wb_delivered){keep(d->m), d->mid, d->retained, d->dup, d->qos};
    w->broker.delivered++;
    w->broker.redelivered += d->dup;
    wn_down(s->conn, WB_PUBLISH, 0, b);
}

static void send_more(struct world *w, struct wsession *s)
{
    for (; s->conn != NULL && s->sent < s->q_n && s->sent < s->receive_max; s->sent++) {
        struct wdelivery *d = &s->q[s->sent];

        if (d->mid == 0) {
            s->mid = (uint16_t)(s->mid == UINT16_MAX ? 1 : s->mid + 1);
            d->mid = s->mid;
        }
        send_one(w, s, d);
    }
}

static void enqueue(struct world *w, struct wsession *s, struct wmsg *m, bool retained)
{
    struct wdelivery d = {.m = m, .retained = retained, .qos = m->qos};

    if (m->qos == 0) {
        if (s->conn != NULL) {
            send_one(w, s, &d);
        }
        return;
    }
    if (s->q_n == s->q_cap) {
        s->q_cap = s->q_cap * 2 + 16;
        s->q = sy_realloc(s->q, s->q_cap * sizeof *s->q);
    }
    keep(m);
    s->q[s->q_n++] = d;
    send_more(w, s);
}

static void acknowledge(struct world *w, struct wsession *s, uint16_t mid)
{
    for (unsigned i = 0; i < s->sent; i++) {
        struct wmsg *m = s->q[i].m;

        if (s->q[i].mid != mid) {
            continue;
        }
        memmove(&s->q[i], &s->q[i + 1], (s->q_n - i - 1) * sizeof s->q[0]);
        s->q_n--;
        s->sent--;
        if (m->reading != NULL) {
            wc_acked(w, m->reading);
        }
        wmsg_drop(m);
        break;
    }
    send_more(w, s);
}

/* --- publishing --- */

static void retain(struct wbroker *b, struct wmsg *m)
{
    unsigned i = 0;

    while (i < b->retained_n && strcmp(b->retained[i].m->topic, m->topic) != 0) {
        i++;
    }
    if (i == WB_RETAINED_MAX) {
        return;
    }
    if (i == b->retained_n) {
        b->retained_n++;
    } else {
        wmsg_drop(b->retained[i].m);
    }
    b->retained[i].m = keep(m);
}

static void route(struct world *w, struct wmsg *m)
{
    struct wbroker *b = &w->broker;

    b->published++;
    if (m->retain) {
        retain(b, m);
    }
    for (unsigned i = 0; i < WB_SESSIONS_MAX; i++) {
        if (b->sessions[i].id[0] != '\0' && wants(&b->sessions[i], m->topic)) {
            enqueue(w, &b->sessions[i], m, false);
        }
    }
}

bool wb_publish(struct world *w, struct wmsg *m)
{
    bool up = w->broker.up;

    if (up) {
        route(w, m);
    }
    wmsg_drop(m);
    return up;
}

static bool is_set(const char *topic)
{
    size_t n = strlen(topic);

    return n > 4 && strcmp(topic + n - 4, "/set") == 0;
}

/* --- sessions --- */

static struct wsession *session(struct wbroker *b, const char *id)
{
    struct wsession *s = NULL;

    for (unsigned i = 0; i < WB_SESSIONS_MAX; i++) {
        if (strcmp(b->sessions[i].id, id) == 0) {
            return &b->sessions[i];
        }
        if (s == NULL && b->sessions[i].id[0] == '\0') {
            s = &b->sessions[i];
        }
    }
    return s;
}

static void will_cb(void *ctx, uint64_t gen)
{
    struct world *w = ctx;
    struct wbroker *b = &w->broker;

    for (unsigned i = 0; i < WB_SESSIONS_MAX; i++) {
        struct wsession *s = &b->sessions[i];

        if (b->up && s->conn == NULL && s->will_gen == gen && s->will_topic[0] != '\0') {
            s->will_gen = 0;
            wb_publish(w, wmsg_new(s->will_topic, s->will, strlen(s->will), 1, true));
        }
    }
}

static void connection_lost(struct world *w, struct wsession *s)
{
    for (unsigned i = 0; i < s->sent; i++) {
        s->q[i].dup = true;
    }
    s->sent = 0;
    s->conn = NULL;
    if (s->will_topic[0] != '\0') {
        s->will_gen = ++w->broker.will_gens;
        site_post(w->s, 0, WILL_DELAY_MS, will_cb, w, s->will_gen);
    }
}

static void keepalive_cb(void *ctx, uint64_t ms)
{
    struct wconn *c = ctx;
    struct wsession *s = c->server;
    uint64_t silent = w_now(c->w) - c->heard_at;

    if (!c->there || s == NULL || s->conn != c) {
        return;
    }
    if (silent < ms) {
        site_post(c->w->s, 0, ms - silent, keepalive_cb, c, ms);
        return;
    }
    W_TRACE(c->w, 1, "broker: %s of node %u is silent, closed", s->id, c->node);
    wn_hang_up(c, WB_LOST);
    connection_lost(c->w, s);
}

static void on_connect(struct wconn *c, const struct wb_hello *h)
{
    struct world *w = c->w;
    struct wsession *s = session(&w->broker, h->id);
    bool present;

    if (s == NULL) {
        wn_hang_up(c, WB_REFUSED);
        return;
    }
    present = s->id[0] != '\0';
    if (s->conn != NULL) {
        W_TRACE(w, 1, "broker: %s: node %u throws out node %u", h->id, c->node,
                s->conn->node);
        if (w->s->mutant != SITE_NO_LEASE_NO_TAKEOVER) {
            /* 2.0.11 does not say why, newer ones do. */
            wn_hang_up(s->conn, w_below(w, 2) == 0 ? WB_TAKEN : WB_LOST);
        }
        connection_lost(w, s);
    }
    snprintf(s->id, sizeof s->id, "%s", h->id);
    memcpy(s->will_topic, h->will_topic, sizeof s->will_topic);
    memcpy(s->will, h->will, sizeof s->will);
    s->will_gen = 0;
    s->receive_max = h->receive_max;
    s->conn = c;
    s->sent = 0;
    c->server = s;
    wn_down(c, WB_CONNECT, present, NULL);
    site_post(w->s, 0, h->keepalive_s * 1000 * KEEPALIVE_HALVES / 2, keepalive_cb, c,
              h->keepalive_s * 1000 * KEEPALIVE_HALVES / 2);
    send_more(w, s);
}

static void on_subscribe(struct wconn *c, const struct wb_filter *f)
{
    struct world *w = c->w;
    struct wsession *s = c->server;
    unsigned i = 0;

    while (i < s->filters_n && strcmp(s->filters[i], f->filter) != 0) {
        i++;
    }
    wn_down(c, WB_SUBSCRIBE, 0, NULL);
    if (i < s->filters_n && !f->fresh) {
        return;
    }
    if (i == s->filters_n) {
        s->filters = sy_realloc(s->filters, (s->filters_n + 1) * sizeof s->filters[0]);
        s->filters[s->filters_n++] = sy_strdup(f->filter);
    }
    for (unsigned k = 0; k < w->broker.retained_n; k++) {
        struct wmsg *m = w->broker.retained[k].m;

        if (matches(f->filter, m->topic)) {
            enqueue(w, s, m, true);
        }
    }
}

static void on_publish(struct wconn *c, const struct wb_delivered *b)
{
    struct world *w = c->w;

    if (is_set(b->m->topic)) {
        wc_set_takes_effect(w, b->m);
        wz_set(w, b->m);
    }
    route(w, b->m);
    wn_down(c, WB_ACK, b->mid, NULL);
}

void wb_serve(struct wconn *c, const struct wpacket *p)
{
    struct wsession *s = c->server;

    if (!c->w->broker.up) {
        wn_hang_up(c, WB_REFUSED);
        return;
    }
    switch (p->type) {
    case WB_CONNECT:
        on_connect(c, p->body);
        break;
    case WB_SUBSCRIBE:
        on_subscribe(c, p->body);
        break;
    case WB_PUBLISH:
        on_publish(c, p->body);
        break;
    case WB_ACK:
        if (s->conn == c) {
            acknowledge(c->w, s, (uint16_t)p->n);
        }
        break;
    case WB_PING:
        wn_down(c, WB_PING, 0, NULL);
        break;
    default:
        c->there = false;
        if (s != NULL && s->conn == c) {
            connection_lost(c->w, s);
        }
        break;
    }
}

/* --- life and death --- */

static void free_session(struct wsession *s)
{
    for (unsigned i = 0; i < s->q_n; i++) {
        wmsg_drop(s->q[i].m);
    }
    for (unsigned i = 0; i < s->filters_n; i++) {
        sy_free(s->filters[i]);
    }
    sy_free(s->q);
    sy_free(s->filters);
    *s = (struct wsession){.q = NULL};
}

static void copy_session(struct wsession *to, const struct wsession *from)
{
    free_session(to);
    *to = *from;
    to->conn = NULL;
    to->q = from->q_n > 0 ? sy_memdup(from->q, from->q_n * sizeof from->q[0]) : NULL;
    to->q_cap = from->q_n;
    to->filters = from->filters_n > 0
                      ? sy_memdup(from->filters, from->filters_n * sizeof(char *))
                      : NULL;
    for (unsigned i = 0; i < to->q_n; i++) {
        keep(to->q[i].m);
        to->q[i].dup = to->q[i].dup || i < from->sent;
    }
    for (unsigned i = 0; i < to->filters_n; i++) {
        to->filters[i] = sy_strdup(from->filters[i]);
    }
    to->sent = 0;
}

static void copy_retained(struct wretained *to, unsigned *to_n,
                          const struct wretained *from, unsigned n)
{
    for (unsigned i = 0; i < *to_n; i++) {
        wmsg_drop(to[i].m);
    }
    for (unsigned i = 0; i < n; i++) {
        to[i].m = keep(from[i].m);
    }
    *to_n = n;
}

void wb_save(struct world *w)
{
    struct wbroker *b = &w->broker;

    for (unsigned i = 0; i < WB_SESSIONS_MAX; i++) {
        copy_session(&b->saved[i], &b->sessions[i]);
    }
    copy_retained(b->saved_retained, &b->saved_retained_n, b->retained, b->retained_n);
}

static void save_cb(void *ctx, uint64_t life)
{
    struct world *w = ctx;
    struct wbroker *b = &w->broker;

    if (!b->up || b->life != life || b->autosave_ms == 0) {
        return;
    }
    wb_save(w);
    site_post(w->s, 0, b->autosave_ms, save_cb, w, life);
}

static void start_cb(void *ctx, uint64_t life)
{
    struct world *w = ctx;
    struct wbroker *b = &w->broker;

    if (b->up || b->life != life) {
        return;
    }
    b->up = true;
    W_TRACE(w, 1, "broker: up");
    if (b->autosave_ms != 0) {
        site_post(w->s, 0, b->autosave_ms, save_cb, w, life);
    }
    wz_broker_up(w);
}

/* What is not in the copy is lost. */
static void go_back(struct world *w)
{
    struct wbroker *b = &w->broker;
    unsigned before = 0, after = 0;

    if (b->autosave_ms == 0) {
        wb_save(w);
    }
    for (unsigned i = 0; i < WB_SESSIONS_MAX; i++) {
        before += b->sessions[i].q_n;
        copy_session(&b->sessions[i], &b->saved[i]);
        after += b->sessions[i].q_n;
    }
    b->lost += before > after ? before - after : 0;
    copy_retained(b->retained, &b->retained_n, b->saved_retained, b->saved_retained_n);
}

void wb_kill(struct world *w, uint64_t back_in_ms)
{
    struct wbroker *b = &w->broker;

    if (!b->up) {
        return;
    }
    b->up = false;
    b->life++;
    b->starts_at = w_now(w) + back_in_ms;
    W_TRACE(w, 1, "broker: dies for %llu ms", (ull)back_in_ms);
    for (struct wconn *c = w->conns; c != NULL; c = c->next) {
        if (c->where == SITE_BROKER) {
            wn_hang_up(c, WB_LOST);
        }
    }
    for (unsigned i = 0; i < WB_SESSIONS_MAX; i++) {
        b->sessions[i].conn = NULL;
        b->sessions[i].will_gen = 0;
    }
    go_back(w);
    wz_broker_down(w);
    site_post(w->s, 0, back_in_ms, start_cb, w, b->life);
}

void wb_wake(struct world *w)
{
    start_cb(w, w->broker.life);
}

void wb_begin(struct world *w)
{
    struct wbroker *b = &w->broker;

    b->autosave_ms = w_below(w, 2) == 0 ? 0 : 500 + (unsigned)w_below(w, 3000);
    start_cb(w, b->life);
}

void wb_free(struct world *w)
{
    struct wbroker *b = &w->broker;

    for (unsigned i = 0; i < WB_SESSIONS_MAX; i++) {
        free_session(&b->sessions[i]);
        free_session(&b->saved[i]);
    }
    copy_retained(b->retained, &b->retained_n, NULL, 0);
    copy_retained(b->saved_retained, &b->saved_retained_n, NULL, 0);
}

bool wb_drained(const struct world *w)
{
    for (unsigned i = 0; i < WB_SESSIONS_MAX; i++) {
        if (w->broker.sessions[i].q_n > 0) {
            return false;
        }
    }
    return w->broker.up;
}

/* Connections between a node and what is outside. */

#include "base/mem.h"
#include "tests/sim/world_impl.h"

enum { AGAIN_MS = 15 };

static void push(struct wqueue *q, const struct wpacket *p)
{
    struct wpacket *x = sy_memdup(p, sizeof *p);

    x->next = NULL;
    if (q->tail != NULL) {
        q->tail->next = x;
    } else {
        q->head = x;
    }
    q->tail = x;
}

static bool pop(struct wqueue *q, struct wpacket *ret)
{
    struct wpacket *x = q->head;

    if (x == NULL) {
        return false;
    }
    *ret = *x;
    q->head = x->next;
    if (q->head == NULL) {
        q->tail = NULL;
    }
    sy_free(x);
    return true;
}

static void discard(struct wconn *c, const struct wpacket *p)
{
    if (p->body == NULL) {
        return;
    }
    if (c->where == SITE_PG) {
        wp_free_group(p->body);
    } else if (p->type == WB_PUBLISH) {
        wmsg_drop(((struct wb_delivered *)p->body)->m);
    }
    sy_free(p->body);
}

void wn_done(struct wconn *c, const struct wpacket *p)
{
    discard(c, p);
}

static void empty(struct wconn *c, struct wqueue *q)
{
    struct wpacket p;

    while (pop(q, &p)) {
        discard(c, &p);
    }
}

static bool lives(const struct wconn *c)
{
    return site_life(c->node) == c->life && c->here;
}

static void readable(void *ctx, uint64_t arg)
{
    struct wconn *c = ctx;

    (void)arg;
    if (!c->here) {
        return;
    }
    if (c->where == SITE_BROKER) {
        wm_readable(c);
    } else {
        wq_readable(c);
    }
}

void wn_poke(struct wconn *c)
{
    if (c->here && c->in.head != NULL) {
        site_post(c->w->s, c->node, 0, readable, c, 0);
    }
}

static void down_cb(void *ctx, uint64_t arg);
static void up_cb(void *ctx, uint64_t arg);

static void arm(struct wconn *c, struct wqueue *q, site_fn fn, bool again)
{
    uint64_t now = w_now(c->w);

    if (q->head != NULL && !q->posted) {
        q->posted = true;
        site_post(c->w->s, 0,
                  again               ? AGAIN_MS
                  : q->head->at > now ? q->head->at - now
                                      : 0,
                  fn, c, 0);
    }
}

static void down_cb(void *ctx, uint64_t arg)
{
    struct wconn *c = ctx;
    bool reach = site_reach(c->w->s, c->node, c->where, false);
    struct wpacket p;

    (void)arg;
    c->down.posted = false;
    if (!lives(c)) {
        empty(c, &c->down);
        return;
    }
    while (reach && c->down.head != NULL && c->down.head->at <= w_now(c->w)) {
        pop(&c->down, &p);
        push(&c->in, &p);
    }
    wn_poke(c);
    arm(c, &c->down, down_cb, !reach);
}

static void up_cb(void *ctx, uint64_t arg)
{
    struct wconn *c = ctx;
    bool reach = site_reach(c->w->s, c->node, c->where, true);
    struct wpacket p;

    (void)arg;
    c->up.posted = false;
    if (!reach && c->vanished) {
        empty(c, &c->up); /* Nobody is left to send it again. */
        return;
    }
    while (reach && c->up.head != NULL && c->up.head->at <= w_now(c->w)) {
        pop(&c->up, &p);
        if (!c->there) {
            discard(c, &p); /* A reset is all that such a packet gets. */
            continue;
        }
        c->heard_at = w_now(c->w);
        if (c->where == SITE_BROKER) {
            wb_serve(c, &p);
        } else {
            wp_serve(c, &p);
        }
        discard(c, &p);
    }
    arm(c, &c->up, up_cb, !reach);
}

static void put(struct wconn *c, struct wqueue *q, site_fn fn, struct wpacket p)
{
    p.at += w_now(c->w) + w_below(c->w, c->w->delay_max_ms + 1);
    if (p.at < q->last_at) {
        p.at = q->last_at;
    }
    q->last_at = p.at;
    push(q, &p);
    arm(c, q, fn, false);
}

struct wconn *wn_open(struct world *w, enum site_where where, void *client)
{
    struct wconn *c = sy_calloc(1, sizeof *c);

    c->w = w;
    c->node = site_self();
    c->life = site_life(c->node);
    c->where = where;
    c->here = c->there = true;
    c->client = client;
    c->heard_at = w_now(w);
    c->next = w->conns;
    w->conns = c;
    return c;
}

void wn_up(struct wconn *c, int type, uint64_t n, void *body)
{
    const struct wpacket p = {.type = type, .n = n, .body = body};

    if (!c->here) {
        discard(c, &p);
        return;
    }
    put(c, &c->up, up_cb, p);
}

void wn_down(struct wconn *c, int type, uint64_t n, void *body)
{
    const struct wpacket p = {.type = type, .n = n, .body = body};

    if (!c->there) {
        discard(c, &p);
        return;
    }
    put(c, &c->down, down_cb, p);
}

void wn_down_late(struct wconn *c, int type, void *body, uint64_t ms)
{
    put(c, &c->down, down_cb, (struct wpacket){.type = type, .body = body, .at = ms});
}

void wn_shut(struct wconn *c)
{
    if (!c->here) {
        return;
    }
    wn_up(c, 0, 0, NULL);
    c->here = false;
    empty(c, &c->in);
}

void wn_hang_up(struct wconn *c, uint64_t why)
{
    if (c->there) {
        wn_down(c, 0, why, NULL);
        c->there = false;
    }
}

bool wn_take(struct wconn *c, struct wpacket *ret)
{
    return c->here && pop(&c->in, ret);
}

void world_node_died(struct world *w, unsigned node, bool silent)
{
    w->check.store[node] = NULL;
    for (struct wconn *c = w->conns; c != NULL; c = c->next) {
        if (c->node != node || !c->here) {
            continue;
        }
        c->vanished = silent;
        if (!silent) {
            wn_up(c, 0, 0, NULL);
        }
        c->here = false;
        empty(c, &c->in);
        empty(c, &c->down);
    }
}

void wn_free(struct world *w)
{
    while (w->conns != NULL) {
        struct wconn *c = w->conns;

        w->conns = c->next;
        empty(c, &c->up);
        empty(c, &c->down);
        empty(c, &c->in);
        sy_free(c);
    }
}

/* The server: each group of statements is one transaction, carried out when it arrives,
 * as the statements of adapters/postgres/send.c and batch.c would be. Its answer may be
 * lost or late; the session may break before. */

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tests/sim/world_impl.h"

void wp_free_group(struct wp_group *g)
{
    sy_free(g->readings);
    sy_free(g->results);
    sy_free(g->letters);
    sy_free(g->rows);
    g->readings = NULL;
    g->results = NULL;
    g->letters = NULL;
    g->rows = NULL;
}

/* --- meter_readings: meter and time are the key --- */

static struct wp_reading *slot(struct wpg *pg, uint64_t ieee, uint64_t time_ms)
{
    uint64_t h =
        (ieee ^ time_ms * UINT64_C(0xff51afd7ed558ccd)) * UINT64_C(0x9e3779b97f4a7c15);

    for (h >>= 32;; h++) {
        struct wp_reading *r = &pg->readings[h & (pg->readings_cap - 1)];

        if (r->ieee == 0 || (r->ieee == ieee && r->time_ms == time_ms)) {
            return r;
        }
    }
}

static void make_room(struct wpg *pg)
{
    struct wp_reading *old = pg->readings;
    unsigned cap = pg->readings_cap;

    if (pg->readings_n * 2 < cap) {
        return;
    }
    pg->readings_cap = cap > 0 ? cap * 2 : 256;
    pg->readings = sy_calloc(pg->readings_cap, sizeof *pg->readings);
    for (unsigned i = 0; i < cap; i++) {
        if (old[i].ieee != 0) {
            *slot(pg, old[i].ieee, old[i].time_ms) = old[i];
        }
    }
    sy_free(old);
}

static void write_reading(struct world *w, const struct wp_reading *r)
{
    struct wpg *pg = &w->pg;
    struct wp_reading *to;

    make_room(pg);
    to = slot(pg, r->ieee, r->time_ms);
    if (to->ieee == 0) {
        *to = *r;
        pg->readings_n++;
        wc_row_written(w, r, true);
    } else if (to->seq < r->seq) {
        if (to->number != r->number) {
            W_FAIL(w,
                   "postgres: reading %llu of meter %llx replaces reading %llu: both are "
                   "of %llu ms",
                   (ull)r->number, (ull)r->ieee, (ull)to->number,
                   (ull)(r->time_ms - WORLD_EPOCH_MS));
        }
        *to = *r;
        wc_row_written(w, r, false);
    }
}

/* --- meter_commands --- */

static struct wp_row *row_of(struct wpg *pg, const char *id)
{
    for (unsigned i = 0; i < pg->rows_n; i++) {
        if (strcmp(pg->rows[i].id, id) == 0) {
            return &pg->rows[i];
        }
    }
    return NULL;
}

static bool is_open(const char *status)
{
    return strcmp(status, "pending") == 0 || strcmp(status, "accepted") == 0 ||
           strcmp(status, "sent") == 0;
}

static void write_result(struct world *w, const struct wp_result *r)
{
    struct wp_row *row = row_of(&w->pg, r->id);

    if (row == NULL) {
        W_FAIL(w, "postgres: a result for row %s, which nobody has written", r->id);
    }
    if (!is_open(row->status)) {
        return;
    }
    memcpy(row->status, r->status, sizeof row->status);
    memcpy(row->error, r->error, sizeof row->error);
    row->finished_ms = r->finished_ms;
    row->ended = !is_open(row->status);
}

/* --- the groups --- */

static bool same_marks(const struct ad_pg_marks *a, const struct ad_pg_marks *b)
{
    return a->shipped == b->shipped && a->revision == b->revision &&
           a->letters == b->letters;
}

/* Something of this term is about to be in for good. */
static void act(struct world *w, const struct wp_group *g, const char *what)
{
    struct wpg *pg = &w->pg;

    if (g->term < pg->acted) {
        W_FAIL(w, "postgres: %s of term %llu (%s) is in after term %llu has written",
               what, (ull)g->term, g->node, (ull)pg->acted);
    }
    pg->acted = g->term;
}

static bool may_write(const struct world *w, const struct wp_group *g)
{
    const struct wpg *pg = &w->pg;

    return pg->term < g->term ||
           (pg->term == g->term && strcmp(pg->node, g->node) == 0) ||
           w->s->mutant == SITE_NO_FENCE;
}

static void read_row(struct world *w, struct wp_group *a)
{
    a->at = w->pg.at;
    a->row_term = w->pg.term;
    memcpy(a->row_node, w->pg.node, sizeof a->row_node);
}

static void claim(struct world *w, const struct wp_group *g, struct wp_group *a)
{
    struct wpg *pg = &w->pg;

    if (!pg->known) {
        pg->known = true;
        pg->at = (struct ad_pg_marks){g->seed_shipped, 0, g->seed_letters};
    }
    a->fence = true;
    if (may_write(w, g)) {
        a->fence = false;
        act(w, g, "a claim");
        pg->term = g->term;
        memcpy(pg->node, g->node, sizeof pg->node);
    }
    a->ok = true;
    read_row(w, a);
}

static bool fence(struct world *w, const struct wp_group *g, struct wp_group *a)
{
    struct wpg *pg = &w->pg;

    if (!may_write(w, g) || !same_marks(&pg->at, &g->from)) {
        a->fence = true;
        pg->fenced++;
        W_TRACE(w, 1, "postgres: term %llu (%s) is fenced by term %llu", (ull)g->term,
                g->node, (ull)pg->term);
        return false;
    }
    pg->term = g->term;
    memcpy(pg->node, g->node, sizeof pg->node);
    return true;
}

static void check_gap(struct world *w, const struct wp_group *g)
{
    /* What the watermark passes is in the same transaction. */
    if (g->only_marks || g->only_rows) {
        return;
    }
    for (unsigned i = 0; i < g->readings_n; i++) {
        if (g->readings[i].seq > g->to.shipped) {
            W_FAIL(w, "postgres: reading %llu is in, the watermark stays at %llu",
                   (ull)g->readings[i].seq, (ull)g->to.shipped);
        }
    }
}

static void batch(struct world *w, const struct wp_group *g, struct wp_group *a)
{
    struct wpg *pg = &w->pg;

    if (!g->only_rows && !fence(w, g, a)) {
        return;
    }
    act(w, g, "a batch");
    check_gap(w, g);
    if (!g->only_rows) {
        pg->at = g->to;
    }
    for (unsigned i = 0; i < g->readings_n && !g->only_marks; i++) {
        write_reading(w, &g->readings[i]);
    }
    for (unsigned i = 0; i < g->results_n && !g->only_marks; i++) {
        write_result(w, &g->results[i]);
    }
    pg->commits++;
    a->ok = true;
    read_row(w, a);
    W_TRACE(w, 2, "postgres: %s term %llu: %u readings, %u results, shipped %llu",
            g->node, (ull)g->term, g->readings_n, g->results_n, (ull)pg->at.shipped);
}

static void answer(struct world *w, const struct wp_group *g, struct wp_group *a)
{
    if (!fence(w, g, a)) {
        return;
    }
    act(w, g, "an answer");
    for (unsigned i = 0; i < g->results_n; i++) {
        write_result(w, &g->results[i]);
    }
    a->ok = true;
    read_row(w, a);
}

static void look(struct world *w, const struct wp_group *g, struct wp_group *a)
{
    struct wpg *pg = &w->pg;

    a->ok = true;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < pg->rows_n; i++) {
            const struct wp_row *r = &pg->rows[i];
            bool pending = strcmp(r->status, "pending") == 0;

            if (!is_open(r->status) || pending != (pass == 0) ||
                (!pending && !g->others)) {
                continue;
            }
            a->rows = sy_realloc(a->rows, (a->rows_n + 1) * sizeof a->rows[0]);
            a->rows[a->rows_n++] = *r;
            a->pending_n += pending;
        }
    }
}

/* Sessions of older terms are ended by the newer one, if the role may. */
static void evict(struct wconn *c, uint64_t term)
{
    struct world *w = c->w;

    for (struct wconn *o = w->conns; o != NULL && w->pg.evicts; o = o->next) {
        if (o->where == SITE_PG && o != c && o->there && o->tag != 0 && o->tag <= term) {
            wn_hang_up(o, WB_LOST);
        }
    }
}

/* --- the wire --- */

static void reply(struct wconn *c, int type, struct wp_group *a)
{
    struct world *w = c->w;
    struct wpg *pg = &w->pg;

    if (type == WP_BATCH && pg->lose_reply > 0) {
        pg->lose_reply--;
        pg->lost_replies++;
        W_TRACE(w, 1, "postgres: the answer to a commit is lost");
        wp_free_group(a);
        sy_free(a);
        wn_hang_up(c, WB_LOST);
    } else if (pg->late_ms > 0 && w_below(w, 3) == 0) {
        wn_down_late(c, type, a, w_below(w, pg->late_ms));
    } else {
        wn_down(c, type, 0, a);
    }
}

void wp_serve(struct wconn *c, const struct wpacket *p)
{
    struct world *w = c->w;
    const struct wp_group *g = p->body;
    struct wp_group *a;

    if (!w->pg.up) {
        wn_hang_up(c, WB_REFUSED);
        return;
    }
    if (p->type == 0) {
        c->there = false;
        return;
    }
    a = sy_calloc(1, sizeof *a);
    switch (p->type) {
    case WP_START:
        c->tag = p->n;
        break;
    case WP_HELLO:
        evict(c, g->term);
        a->ok = true;
        break;
    case WP_CLAIM:
        claim(w, g, a);
        break;
    case WP_BATCH:
        batch(w, g, a);
        break;
    case WP_LOOK:
        look(w, g, a);
        break;
    default:
        answer(w, g, a);
        break;
    }
    reply(c, p->type, a);
}

/* --- life --- */

void wp_break(struct world *w)
{
    for (struct wconn *c = w->conns; c != NULL; c = c->next) {
        if (c->where == SITE_PG) {
            wn_hang_up(c, WB_LOST);
        }
    }
}

static void start_cb(void *ctx, uint64_t life)
{
    struct world *w = ctx;

    if (!w->pg.up && w->pg.life == life) {
        w->pg.up = true;
        W_TRACE(w, 1, "postgres: up");
    }
}

void wp_kill(struct world *w, uint64_t back_in_ms)
{
    if (!w->pg.up) {
        return;
    }
    W_TRACE(w, 1, "postgres: away for %llu ms", (ull)back_in_ms);
    wp_break(w);
    w->pg.up = false;
    w->pg.life++;
    site_post(w->s, 0, back_in_ms, start_cb, w, w->pg.life);
}

void wp_wake(struct world *w)
{
    start_cb(w, w->pg.life);
}

/* Somebody writes a row. */
static void write_row(struct world *w)
{
    struct wpg *pg = &w->pg;
    const struct wmeter *m = wz_nth(w, (unsigned)w_below(w, world_devices(w)));
    struct wp_row *r;

    if (pg->rows_n == pg->rows_cap) {
        pg->rows_cap = pg->rows_cap * 2 + 32;
        pg->rows = sy_realloc(pg->rows, pg->rows_cap * sizeof *pg->rows);
    }
    r = &pg->rows[pg->rows_n++];
    *r = (struct wp_row){.ieee = m->ieee, .created_ms = w_now(w)};
    snprintf(r->id, sizeof r->id, "%u", pg->rows_n);
    memcpy(r->meter, m->name, sizeof r->meter);
    snprintf(r->value, sizeof r->value, "%s", w_below(w, 2) == 0 ? "ON" : "OFF");
    memcpy(r->status, "pending", sizeof "pending");
    if (w_below(w, 3) != 0) {
        r->expires_ms = w_now(w) + 500 + w_below(w, 30000);
    }
}

static void row_cb(void *ctx, uint64_t arg)
{
    struct world *w = ctx;

    (void)arg;
    if (w->quiet || w->config.row_ms == 0) {
        return;
    }
    if (w->pg.up) {
        write_row(w);
    }
    site_post(w->s, 0, 1 + w_below(w, 2 * w->config.row_ms), row_cb, w, 0);
}

void wp_begin(struct world *w)
{
    w->pg.up = true;
    w->pg.evicts = w_below(w, 3) != 0;
    make_room(&w->pg);
    row_cb(w, 0);
}

void wp_free(struct world *w)
{
    sy_free(w->pg.readings);
    sy_free(w->pg.rows);
}

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "cli/cli.h"

enum { GAP = 2, CUT_MIN = 6 };

struct end
{
    size_t at;
    enum ct_colour colour;
};

struct cell
{
    const char *p;
    size_t n;
    size_t width;
    enum ct_colour colour;
};

void ct_table_init(struct ct_table *t, const struct ct_column *columns, unsigned n)
{
    assert(n <= CT_COLUMNS_MAX);
    *t = (struct ct_table){.columns = columns, .columns_n = n};
}

void ct_cell_end(struct ct_table *t, enum ct_colour colour)
{
    struct end e = {t->text.len, colour};

    sy_buf_put(&t->ends, &e, sizeof e);
    t->cells_n++;
}

void ct_cell(struct ct_table *t, const char *text)
{
    sy_buf_str(&t->text, text);
    ct_cell_end(t, CT_PLAIN);
}

void ct_cell_str(struct ct_table *t, struct ct_str s, enum ct_colour colour)
{
    if (s.p == NULL || s.n == 0) {
        ct_cell(t, "-");
        return;
    }
    ct_escape(&t->text, s);
    ct_cell_end(t, colour);
}

void ct_cell_uint(struct ct_table *t, struct ct_val map, const char *key)
{
    struct ct_val v = ct_get(map, key);

    if (ct_is_uint(v)) {
        sy_buf_fmt(&t->text, "%" PRIu64, v.m.u);
    } else {
        sy_buf_str(&t->text, "-");
    }
    ct_cell_end(t, CT_PLAIN);
}

static struct end end_of(const struct ct_table *t, size_t i)
{
    struct end e;

    memcpy(&e, t->ends.p + i * sizeof e, sizeof e);
    return e;
}

static struct cell cell_of(const struct ct_table *t, size_t i)
{
    size_t from = i > 0 ? end_of(t, i - 1).at : 0;
    struct end e = end_of(t, i);
    struct cell c = {.n = e.at - from, .colour = e.colour};

    c.p = c.n > 0 ? (const char *)t->text.p + from : "";
    c.width = ct_width(c.p, c.n);
    return c;
}

static void measure(const struct ct_table *t, size_t *widths)
{
    for (unsigned i = 0; i < t->columns_n; i++) {
        widths[i] = ct_width(t->columns[i].title, strlen(t->columns[i].title));
    }
    for (size_t i = 0; i < t->cells_n; i++) {
        struct cell c = cell_of(t, i);
        size_t *w = &widths[i % t->columns_n];

        *w = c.width > *w ? c.width : *w;
    }
}

/* Takes from the widest column that may be cut, until all fits or nothing is left. */
static void fit(const struct ct_table *t, size_t *widths, size_t room)
{
    size_t total = GAP * (t->columns_n - 1);

    for (unsigned i = 0; i < t->columns_n; i++) {
        total += widths[i];
    }
    while (total > room) {
        unsigned widest = t->columns_n;

        for (unsigned i = 0; i < t->columns_n; i++) {
            if (t->columns[i].cut && widths[i] > CUT_MIN &&
                (widest == t->columns_n || widths[i] > widths[widest])) {
                widest = i;
            }
        }
        if (widest == t->columns_n) {
            return;
        }
        widths[widest]--;
        total--;
    }
}

static size_t bytes_of(const struct cell *c, size_t code_points)
{
    size_t i = 0;

    while (i < c->n) {
        bool starts = ((uint8_t)c->p[i] & 0xc0) != 0x80;

        if (starts && code_points-- == 0) {
            break;
        }
        i++;
    }
    return i;
}

static void pad(struct ct_out *o, size_t n)
{
    while (n-- > 0) {
        ct_put(o, " ");
    }
}

static void put_cell(struct ct_out *o, const struct ct_column *col, struct cell c,
                     size_t width, bool last)
{
    bool cut = c.width > width;
    size_t fill = cut ? 0 : width - c.width;

    if (col->right) {
        pad(o, fill);
    }
    if (c.colour != CT_PLAIN) {
        ct_colour(o, c.colour);
    }
    sy_buf_put(&o->b, c.p, cut ? bytes_of(&c, width - 1) : c.n);
    if (cut) {
        ct_put(o, "…");
    }
    if (c.colour != CT_PLAIN) {
        ct_colour(o, CT_PLAIN);
    }
    if (!last) {
        pad(o, (col->right ? 0 : fill) + GAP);
    }
}

void ct_table_print(struct ct_table *t, struct ct_out *o)
{
    size_t widths[CT_COLUMNS_MAX];

    assert(t->cells_n % t->columns_n == 0);
    measure(t, widths);
    if (o->width > 0) {
        fit(t, widths, o->width);
    }
    for (unsigned i = 0; i < t->columns_n; i++) {
        const char *title = t->columns[i].title;
        struct cell c = {.p = title, .n = strlen(title), .colour = CT_DIM};

        c.width = ct_width(c.p, c.n);
        put_cell(o, &t->columns[i], c, widths[i], i == t->columns_n - 1);
    }
    ct_put(o, "\n");
    for (size_t i = 0; i < t->cells_n; i++) {
        unsigned column = (unsigned)(i % t->columns_n);
        bool last = column == t->columns_n - 1;

        put_cell(o, &t->columns[column], cell_of(t, i), widths[column], last);
        if (last) {
            ct_put(o, "\n");
        }
    }
}

void ct_table_free(struct ct_table *t)
{
    sy_buf_free(&t->text);
    sy_buf_free(&t->ends);
}

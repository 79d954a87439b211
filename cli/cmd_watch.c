/* status --watch: the view redrawn in place, and what changed meanwhile. */

#include <poll.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "cli/cli.h"

enum { CHANGES_MAX = 6, FACTS_MAX = 256, FACT_SIZE = 160 };

/* What a watcher wants to be told when it changes: "node nas" → "leader, active". */
struct facts
{
    unsigned n;
    struct
    {
        char key[FACT_SIZE];
        char value[FACT_SIZE];
    } at[FACTS_MAX];
};

struct watcher
{
    struct facts old;
    struct facts now;
    bool seen;
    unsigned changes_n;
    char changes[CHANGES_MAX][3 * FACT_SIZE]; /* The newest first. */
};

/* Cuts between code points only. */
static void copy_text(char *to, size_t size, const struct sy_buf *from)
{
    size_t n = from->len < size ? from->len : size - 1;

    while (n < from->len && n > 0 && (from->p[n] & 0xc0) == 0x80) {
        n--;
    }
    if (n > 0) {
        memcpy(to, from->p, n);
    }
    to[n] = '\0';
}

static void add_fact(struct facts *f, const char *kind, struct ct_str name,
                     const struct ct_str *values, unsigned values_n)
{
    struct sy_buf b = {0};

    if (f->n == FACTS_MAX) {
        return;
    }
    sy_buf_str(&b, kind);
    ct_escape(&b, name);
    copy_text(f->at[f->n].key, FACT_SIZE, &b);
    b.len = 0;
    for (unsigned i = 0; i < values_n; i++) {
        if (values[i].n > 0 && !ct_str_is(values[i], "-")) {
            sy_buf_str(&b, b.len > 0 ? ", " : "");
            ct_escape(&b, values[i]);
        }
    }
    copy_text(f->at[f->n++].value, FACT_SIZE, &b);
    sy_buf_free(&b);
}

static void add_word(struct facts *f, const char *kind, struct ct_str name,
                     struct ct_str value)
{
    add_fact(f, kind, name, &value, 1);
}

static void collect(struct facts *f, struct ct_val status)
{
    struct ct_val site = ct_get(status, "site");
    struct ct_iter it = ct_iterate(ct_get(status, "nodes"));
    struct ct_val v = ct_get(status, "watch");

    f->n = 0;
    add_word(f, "health", ct_lit(""), ct_str(status, "health"));
    add_word(f, "watch", ct_lit(""),
             v.m.type == SY_MP_MAP ? ct_str(v, "name") : ct_lit("nobody"));
    while (ct_next(&it, &v)) {
        struct ct_str words[] = {ct_str(v, "raft"), ct_str(v, "watch"),
                                 ct_str(v, "version")};

        add_fact(f, "node ", ct_str(v, "name"), words, 3);
    }
    it = ct_iterate(ct_get(site, "areas"));
    while (ct_next(&it, &v)) {
        struct ct_str words[] = {ct_str(v, "bridge"),
                                 ct_lit(ct_bool(v, "ready") ? "ready" : "not ready")};

        add_fact(f, "area ", ct_str(v, "name"), words, 2);
    }
    it = ct_iterate(ct_get(site, "brokers"));
    while (ct_next(&it, &v)) {
        add_word(f, "broker ", ct_str(v, "name"), ct_str(v, "reader"));
    }
    if (site.m.type == SY_MP_MAP) {
        add_word(f, "postgres", ct_lit(""), ct_str(ct_get(site, "postgres"), "link"));
    }
}

static const char *find_fact(const struct facts *f, const char *key)
{
    for (unsigned i = 0; i < f->n; i++) {
        if (strcmp(f->at[i].key, key) == 0) {
            return f->at[i].value;
        }
    }
    return NULL;
}

static void clock_text(char *to, size_t size)
{
    time_t now = (time_t)(ct_wall_ms() / 1000);
    struct tm tm;

    if (localtime_r(&now, &tm) == NULL || strftime(to, size, "%H:%M:%S", &tm) == 0) {
        to[0] = '\0';
    }
}

static void add_change(struct watcher *w, const char *key, const char *from,
                       const char *to)
{
    char when[16];
    struct sy_buf b = {0};

    memmove(w->changes[1], w->changes[0], sizeof w->changes - sizeof w->changes[0]);
    clock_text(when, sizeof when);
    sy_buf_fmt(&b, "%s  %s: %s → %s", when, key, from[0] ? from : "-", to[0] ? to : "-");
    copy_text(w->changes[0], sizeof w->changes[0], &b);
    sy_buf_free(&b);
    if (w->changes_n < CHANGES_MAX) {
        w->changes_n++;
    }
}

static void compare(struct watcher *w)
{
    for (unsigned i = 0; w->seen && i < w->now.n; i++) {
        const char *key = w->now.at[i].key;
        const char *from = find_fact(&w->old, key);

        if (from != NULL && strcmp(from, w->now.at[i].value) != 0) {
            add_change(w, key, from, w->now.at[i].value);
        }
    }
    if (w->now.n > 0) {
        w->old = w->now;
        w->seen = true;
    }
}

static void show_changes(struct ct_out *o, const struct watcher *w)
{
    if (w->changes_n == 0) {
        return;
    }
    ct_put(o, "\n");
    for (unsigned i = 0; i < w->changes_n; i++) {
        ct_sentence(o, i == 0 ? "Changes   " : "          ", CT_BOLD,
                    ct_lit(w->changes[i]));
    }
}

/* One frame as text. What matters comes first: the lower end of a small window is
 * cut off. */
static void draw(const struct ct_options *opt, struct watcher *w,
                 const struct ct_reply *r, struct ct_out *o)
{
    char when[16];

    clock_text(when, sizeof when);
    ct_colour(o, CT_DIM);
    ct_fmt(o, "%s, every %u s; Ctrl-C ends\n", when, opt->watch_ms / 1000);
    ct_colour(o, CT_PLAIN);
    w->now.n = 0;
    if (r->answer == CT_OK) {
        collect(&w->now, r->result);
        compare(w);
        ct_status_head(o, r->result);
        ct_status_verdict(o, r->result);
    } else {
        ct_sentence(o, "NO ANSWER ", CT_RED, ct_lit((const char *)r->text.p));
    }
    show_changes(o, w);
    if (r->answer == CT_OK) {
        ct_put(o, "\n");
        ct_status_body(o, r->result);
    }
}

/* In place, line by line over the old frame, so that nothing flickers. */
static void redraw(struct ct_out *o, const struct ct_out *frame)
{
    const char *p = (const char *)frame->b.p;
    size_t left = frame->b.len;
    unsigned line = 1;

    ct_put(o, "\x1b[H");
    while (left > 0) {
        const char *end = memchr(p, '\n', left);
        size_t n = end != NULL ? (size_t)(end - p) : left;

        sy_buf_put(&o->b, p, n);
        ct_put(o, "\x1b[K");
        n += end != NULL;
        p += n;
        left -= n;
        if (line++ == frame->height) {
            ct_put(o, left > 0 ? "\r…\x1b[K" : ""); /* The window is too small. */
            break;
        }
        ct_put(o, left > 0 ? "\r\n" : "");
    }
    ct_put(o, "\x1b[J");
}

static void watch_once(const struct ct_options *opt, struct ct_client *c,
                       struct watcher *w, struct ct_out *o)
{
    struct ct_reply r = {0};
    struct ct_out frame;

    ct_status_ask(c, opt, &r);
    if (ct_interrupted) {
        ct_reply_free(&r);
        return;
    }
    ct_out_init(&frame); /* The terminal may have another size by now. */
    if (opt->json && r.answer == CT_OK) {
        (void)ct_print_json(o, r.result); /* Says itself what is wrong. */
    } else if (opt->json) {
        (void)ct_fail_reply(opt, o, &r); /* A failure is a line, too. */
    } else {
        draw(opt, w, &r, &frame);
    }
    if (o->tty && frame.b.len > 0) {
        redraw(o, &frame);
    } else if (frame.b.len > 0) {
        sy_buf_put(&o->b, frame.b.p, frame.b.len);
        ct_put(o, "\n");
    }
    ct_out_free(&frame);
    ct_reply_free(&r);
}

int ct_status_watch(const struct ct_options *opt, struct ct_client *c, struct ct_out *o)
{
    struct watcher *w = sy_calloc(1, sizeof *w);
    bool screen = o->tty && !opt->json;
    bool good = true;

    ct_catch_signals();
    if (screen) {
        ct_put(o, "\x1b[?25l\x1b[?7l\x1b[2J"); /* no cursor, no wrapping */
    }
    while (good && !ct_interrupted) {
        watch_once(opt, c, w, o);
        good = ct_out_flush(o);
        if (good && !ct_interrupted) {
            (void)poll(NULL, 0, (int)opt->watch_ms); /* A signal ends it early. */
        }
    }
    if (screen) {
        ct_put(o, "\x1b[?7h\x1b[?25h\n");
    }
    sy_free(w);
    return ct_out_flush(o) && good ? CT_DONE : CT_FAILED;
}

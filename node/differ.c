#include "node/differ.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

enum { CONTEXT = 3, CELLS_MAX = 1024 * 1024 };

struct line
{
    const char *p;
    size_t n;
    size_t shown; /* of it; the rest is a secret, if there is one */
    bool secret;
};

struct text
{
    struct line *lines;
    size_t n;
};

struct step
{
    char what; /* ' ', '-' or '+' */
    const struct line *line;
};

struct steps
{
    struct step *list;
    size_t n;
};

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && strcasecmp(s + n - m, end) == 0;
}

/* By name: what Zigbee2MQTT calls so, and what is usually a key. */
bool nd_differ_is_secret(const char *path)
{
    static const char *const ends[] = {
        "secret.yaml", "secrets.yaml", "secret.yml", "coordinator_backup.json",
        "network_key", ".key",         ".pem",       ".p12",
        ".pfx",        "passwd",       "password",   "passwords",
        ".env"};

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (ends_with(path, ends[i])) {
            return true;
        }
    }
    return false;
}

/* --- secrets within a text --- */

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '_' || c == '-' || c == '"' || c == '\'';
}

/* Where what is secret begins in @l: behind the name of a secret and what gives it its
 * value; or, in an address, behind "//" if there is "user:password@". SIZE_MAX: nothing
 * is. */
static size_t secret_at(const struct line *l)
{
    static const char *const words[] = {"key",   "password", "passwd",
                                        "token", "secret",   "credential"};

    for (size_t at = 0; at < l->n; at++) {
        const char *slash = l->p + at;

        if (l->n - at > 2 && memcmp(slash, "//", 2) == 0 &&
            memchr(slash, '@', l->n - at) != NULL) {
            return at + 2;
        }
        for (size_t w = 0; w < sizeof words / sizeof words[0]; w++) {
            size_t end = at + strlen(words[w]);

            if (end > l->n || strncasecmp(l->p + at, words[w], strlen(words[w])) != 0) {
                continue;
            }
            while (end < l->n && is_name(l->p[end])) {
                end++;
            }
            while (end < l->n && l->p[end] == ' ') {
                end++;
            }
            if (end < l->n && (l->p[end] == ':' || l->p[end] == '=')) {
                return end + 1;
            }
        }
    }
    return SIZE_MAX;
}

static size_t indent_of(const struct line *l)
{
    size_t n = 0;

    while (n < l->n && l->p[n] == ' ') {
        n++;
    }
    return n;
}

static int brackets_of(const struct line *l)
{
    int open = 0;

    for (size_t i = 0; i < l->n; i++) {
        open += l->p[i] == '{' || l->p[i] == '[';
        open -= l->p[i] == '}' || l->p[i] == ']';
    }
    return open;
}

/* A secret goes on where lines are indented deeper than its name, are items of a list at
 * the same depth, or until the brackets close in which it is. */
static void find_secrets(struct text *t)
{
    bool within = false;
    size_t depth = 0;
    int open = 0;

    for (size_t i = 0; i < t->n; i++) {
        struct line *l = &t->lines[i];
        size_t at = indent_of(l);

        within = within && (open > 0 || at == l->n || at > depth ||
                            (at == depth && l->p[at] == '-'));
        open += brackets_of(l);
        open = open > 0 ? open : 0;
        l->shown = within ? at : secret_at(l);
        l->secret = l->shown != SIZE_MAX;
        l->shown = l->secret ? l->shown : l->n;
        if (!within && l->secret) {
            within = true;
            depth = at;
        }
    }
}

/* --- lines --- */

/* Half a character or a zero byte is no text. */
static bool is_text(struct nd_content c)
{
    for (size_t i = 0; i < c.n; i++) {
        unsigned char b = (unsigned char)c.p[i];
        size_t more = b < 0x80 ? 0 : b < 0xc2 ? 9 : b < 0xe0 ? 1 : b < 0xf0 ? 2 : 3;

        if (b == 0 || b > 0xf4 || more > 3 || i + more >= c.n) {
            return false;
        }
        for (; more > 0; more--) {
            i++;
            if (((unsigned char)c.p[i] & 0xc0) != 0x80) {
                return false;
            }
        }
    }
    return true;
}

static bool split(struct nd_content c, struct text *ret)
{
    size_t n = 0, at = 0;

    ret->lines = NULL;
    ret->n = 0;
    for (size_t i = 0; i < c.n; i++) {
        n += c.p[i] == '\n';
    }
    if (!is_text(c) || n > ND_DIFFER_LINES_MAX) {
        return false;
    }
    ret->lines = sy_calloc(n + 1, sizeof *ret->lines);
    while (at < c.n) {
        const char *end = memchr(c.p + at, '\n', c.n - at);
        size_t len = end != NULL ? (size_t)(end - c.p) - at : c.n - at;

        ret->lines[ret->n++] = (struct line){.p = c.p + at, .n = len};
        at += len + 1;
    }
    find_secrets(ret);
    return true;
}

static bool same(const struct line *a, const struct line *b)
{
    return a->n == b->n && memcmp(a->p, b->p, a->n) == 0;
}

/* --- which lines went, came, stayed --- */

static void step(struct steps *s, char what, const struct line *l)
{
    s->list[s->n++] = (struct step){what, l};
}

/* What is a secret in one of them is not shown. */
static void stay(struct steps *s, const struct line *a, const struct line *b)
{
    step(s, ' ', b->secret && (!a->secret || b->shown < a->shown) ? b : a);
}

/* The longest sequence of lines that both have, by length of what is behind each pair. */
static void walk(struct steps *s, const struct line *a, size_t a_n, const struct line *b,
                 size_t b_n)
{
    size_t wide = b_n + 1, i = 0, j = 0;
    bool small = a_n < UINT16_MAX && b_n < UINT16_MAX && (a_n + 1) * wide <= CELLS_MAX;
    uint16_t *longest = small ? sy_calloc((a_n + 1) * wide, sizeof *longest) : NULL;

    for (size_t x = small ? a_n : 0; x-- > 0;) {
        for (size_t y = b_n; y-- > 0;) {
            uint16_t down = longest[(x + 1) * wide + y],
                     right = longest[x * wide + y + 1];

            longest[x * wide + y] = same(&a[x], &b[y])
                                        ? (uint16_t)(longest[(x + 1) * wide + y + 1] + 1)
                                    : down > right ? down
                                                   : right;
        }
    }
    while (small && i < a_n && j < b_n) {
        if (same(&a[i], &b[j])) {
            stay(s, &a[i++], &b[j++]);
        } else if (longest[(i + 1) * wide + j] >= longest[i * wide + j + 1]) {
            step(s, '-', &a[i++]);
        } else {
            step(s, '+', &b[j++]);
        }
    }
    while (i < a_n) {
        step(s, '-', &a[i++]);
    }
    while (j < b_n) {
        step(s, '+', &b[j++]);
    }
    sy_free(longest);
}

static void compare(struct steps *s, const struct text *a, const struct text *b)
{
    size_t head = 0, tail = 0, both = a->n < b->n ? a->n : b->n;

    while (head < both && same(&a->lines[head], &b->lines[head])) {
        stay(s, &a->lines[head], &b->lines[head]);
        head++;
    }
    while (tail < both - head &&
           same(&a->lines[a->n - 1 - tail], &b->lines[b->n - 1 - tail])) {
        tail++;
    }
    walk(s, a->lines + head, a->n - head - tail, b->lines + head, b->n - head - tail);
    for (; tail > 0; tail--) {
        stay(s, &a->lines[a->n - tail], &b->lines[b->n - tail]);
    }
}

/* --- told --- */

static void put_line(struct sy_buf *out, const struct step *s)
{
    size_t n = s->line->shown;
    bool cut = n > ND_DIFFER_LINE_SHOWN;

    if (cut) {
        n = ND_DIFFER_LINE_SHOWN;
        while (n > 0 && ((unsigned char)s->line->p[n] & 0xc0) == 0x80) {
            n--;
        }
    }
    sy_buf_u8(out, (uint8_t)s->what);
    sy_buf_put(out, s->line->p, n);
    sy_buf_fmt(out, "%s%s\n", cut ? "\xe2\x80\xa6" : "",
               !s->line->secret                    ? ""
               : n > 0 && s->line->p[n - 1] == ' ' ? "(secret)"
                                                   : " (secret)");
}

/* Where the piece ends that begins with the change at @at. */
static size_t piece_end(const struct steps *s, size_t at)
{
    size_t last = at;

    for (size_t i = at; i < s->n && i <= last + 2 * CONTEXT; i++) {
        last = s->list[i].what != ' ' ? i : last;
    }
    return last + CONTEXT + 1 < s->n ? last + CONTEXT + 1 : s->n;
}

static void put_piece(struct sy_buf *out, const struct steps *s, size_t from, size_t end,
                      size_t a_line, size_t b_line)
{
    size_t a = 0, b = 0;

    for (size_t i = from; i < end; i++) {
        a += s->list[i].what != '+';
        b += s->list[i].what != '-';
    }
    sy_buf_fmt(out, "@@ -%zu,%zu +%zu,%zu @@\n", a > 0 ? a_line + 1 : a_line, a,
               b > 0 ? b_line + 1 : b_line, b);
    for (size_t i = from; i < end; i++) {
        put_line(out, &s->list[i]);
    }
}

static void put_steps(struct sy_buf *out, const struct steps *s, size_t max)
{
    size_t a = 0, b = 0, told = 0, began = out->len;

    for (size_t i = 0; i < s->n; i++) {
        size_t from = i > told + CONTEXT ? i - CONTEXT : told, end;

        if (s->list[i].what == ' ') {
            a++;
            b++;
            continue;
        }
        end = piece_end(s, i);
        put_piece(out, s, from, end, a - (i - from), b - (i - from));
        if (out->len - began > max) {
            out->len = began + max;
            while (out->len > began && out->p[out->len - 1] != '\n') {
                out->len--;
            }
            sy_buf_fmt(out, "(more differs than is shown)\n");
            return;
        }
        for (; i < end; i++) {
            a += s->list[i].what != '+';
            b += s->list[i].what != '-';
        }
        told = i--;
    }
}

enum nd_differs nd_differ(const char *path, struct nd_content before,
                          struct nd_content after, size_t max, struct sy_buf *out)
{
    struct text a = {NULL, 0}, b = {NULL, 0};
    struct steps s = {NULL, 0};
    enum nd_differs rv = ND_DIFFERS_BINARY;

    if (nd_differ_is_secret(path)) {
        return ND_DIFFERS_SECRET;
    }
    if (split(before, &a) && split(after, &b)) {
        s.list = sy_calloc(a.n + b.n + 1, sizeof *s.list);
        compare(&s, &a, &b);
        put_steps(out, &s, max);
        rv = ND_DIFFERS_TEXT;
    }
    sy_free(s.list);
    sy_free(a.lines);
    sy_free(b.lines);
    return rv;
}

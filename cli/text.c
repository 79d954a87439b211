#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

enum { WIDTH_MIN = 40, WIDTH_MAX = 1000, WIDTH_DEFAULT = 80 };

/* A pipe gets whole names, for grep; a terminal what fits. */
static unsigned find_width(bool tty)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size;
    long n = 0;

    if (columns != NULL) {
        n = strtol(columns, NULL, 10);
    } else if (!tty) {
        return 0;
    } else if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
        n = size.ws_col;
    }
    if (n < 1 || n > WIDTH_MAX) {
        return WIDTH_DEFAULT;
    }
    return n < WIDTH_MIN ? WIDTH_MIN : (unsigned)n;
}

static unsigned find_height(bool tty)
{
    struct winsize size;

    return tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_row : 0;
}

void ct_out_init(struct ct_out *o)
{
    const char *term = getenv("TERM");
    const char *no_color = getenv("NO_COLOR");

    *o = (struct ct_out){.tty = isatty(STDOUT_FILENO) == 1};
    o->width = find_width(o->tty);
    o->height = find_height(o->tty);
    o->colours = o->tty && term != NULL && strcmp(term, "dumb") != 0 &&
                 (no_color == NULL || no_color[0] == '\0');
}

bool ct_out_flush(struct ct_out *o)
{
    size_t done = 0;

    while (done < o->b.len) {
        ssize_t n = write(STDOUT_FILENO, o->b.p + done, o->b.len - done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            ct_complain("writing the output: %s", strerror(errno));
            o->b.len = 0;
            return false;
        }
        done += (size_t)n;
    }
    o->b.len = 0;
    return true;
}

void ct_out_free(struct ct_out *o)
{
    sy_buf_free(&o->b);
}

void ct_put(struct ct_out *o, const char *text)
{
    sy_buf_str(&o->b, text);
}

void ct_fmt(struct ct_out *o, const char *fmt, ...)
{
    char line[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    sy_buf_str(&o->b, line);
}

void ct_escape(struct sy_buf *b, struct ct_str s)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        size_t len = sy_utf8_next(s.p + i, s.n - i, &cp);

        if (cp == '\n') {
            sy_buf_str(b, "\\n");
        } else if (cp == 0xfffd && len == 1) {
            sy_buf_fmt(b, "\\x%02x", (unsigned)(uint8_t)s.p[i]);
        } else if (sy_utf8_unsafe(cp)) {
            sy_buf_fmt(b, cp < 0x100 ? "\\x%02" PRIx32 : "\\u%04" PRIx32, cp);
        } else {
            sy_buf_put(b, s.p + i, len);
        }
        i += len;
    }
}

void ct_say(struct ct_out *o, struct ct_str s)
{
    ct_escape(&o->b, s);
}

void ct_colour(struct ct_out *o, enum ct_colour colour)
{
    static const char *const codes[] = {
        [CT_PLAIN] = "\x1b[0m",  [CT_BOLD] = "\x1b[1m",   [CT_DIM] = "\x1b[2m",
        [CT_RED] = "\x1b[1;31m", [CT_GREEN] = "\x1b[32m", [CT_YELLOW] = "\x1b[33m",
    };

    if (o->colours) {
        sy_buf_str(&o->b, codes[colour]);
    }
}

size_t ct_width(const char *p, size_t n)
{
    size_t width = 0;

    for (size_t i = 0; i < n; i++) {
        width += ((uint8_t)p[i] & 0xc0) != 0x80;
    }
    return width;
}

static void indent(struct ct_out *o, size_t n)
{
    ct_put(o, "\n");
    while (n-- > 0) {
        ct_put(o, " ");
    }
}

void ct_sentence(struct ct_out *o, const char *lead, enum ct_colour colour,
                 struct ct_str s)
{
    struct sy_buf safe = {0};
    size_t margin = ct_width(lead, strlen(lead));
    size_t column = margin;
    size_t i = 0;

    ct_colour(o, colour);
    ct_put(o, lead);
    ct_colour(o, CT_PLAIN);
    ct_escape(&safe, s);
    while (i < safe.len) {
        const char *word = (const char *)safe.p + i;
        const char *blank = memchr(word, ' ', safe.len - i);
        size_t len = blank != NULL ? (size_t)(blank - word) : safe.len - i;
        size_t width = ct_width(word, len);

        if (o->width > 0 && column > margin && column + 1 + width > o->width) {
            indent(o, margin);
            column = margin;
        } else if (i > 0) {
            ct_put(o, " ");
            column++;
        }
        sy_buf_put(&o->b, word, len);
        column += width;
        i += len + 1;
    }
    ct_put(o, "\n");
    sy_buf_free(&safe);
}

void ct_age(struct sy_buf *b, uint64_t ms)
{
    uint64_t s = ms / 1000;

    if (s == 0) {
        sy_buf_fmt(b, "%" PRIu64 " ms", ms);
    } else if (s < 120) {
        sy_buf_fmt(b, "%" PRIu64 " s", s);
    } else if (s < 120 * 60) {
        sy_buf_fmt(b, "%" PRIu64 " min", s / 60);
    } else if (s < 48 * 3600) {
        sy_buf_fmt(b, "%" PRIu64 " h", s / 3600);
    } else {
        sy_buf_fmt(b, "%" PRIu64 " d", s / 86400);
    }
}

void ct_count(struct sy_buf *b, uint64_t n)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, n);

    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) {
            sy_buf_u8(b, ',');
        }
        sy_buf_u8(b, (uint8_t)digits[i]);
    }
}

void ct_size(struct sy_buf *b, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    unsigned u = 0;

    while (v >= 1023.95 && u < 6) {
        v /= 1024;
        u++;
    }
    sy_buf_fmt(b, u == 0 || v >= 99.95 ? "%.0f %s" : "%.1f %s", v, units[u]);
}

void ct_milli(struct sy_buf *b, struct ct_val map, const char *key, const char *unit)
{
    struct ct_val v = ct_get(map, key);

    if (v.m.type == SY_MP_UINT || v.m.type == SY_MP_INT) {
        double milli = v.m.type == SY_MP_UINT ? (double)v.m.u : (double)v.m.i;

        sy_buf_fmt(b, "%.1f %s", milli / 1000, unit);
    } else {
        sy_buf_str(b, "-");
    }
}

void ct_complain(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    fputs("vagtctl: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static uint64_t read_clock(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t ct_now_ms(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t ct_wall_ms(void)
{
    return read_clock(CLOCK_REALTIME);
}

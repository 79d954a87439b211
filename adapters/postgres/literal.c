#include "adapters/postgres/literal.h"

#include <string.h>

#include "base/json.h"

void ad_pg_columns_begin(struct ad_pg_columns *c)
{
    c->rows = 0;
    for (unsigned i = 0; i < AD_PG_COLUMNS; i++) {
        c->col[i].len = 0;
    }
}

void ad_pg_columns_end(struct ad_pg_columns *c)
{
    for (unsigned i = 0; i < AD_PG_COLUMNS; i++) {
        if (c->col[i].len == 0) {
            sy_buf_u8(&c->col[i], '{');
        }
        sy_buf_put(&c->col[i], "}", 2); /* With the zero byte. */
    }
}

void ad_pg_columns_free(struct ad_pg_columns *c)
{
    for (unsigned i = 0; i < AD_PG_COLUMNS; i++) {
        sy_buf_free(&c->col[i]);
    }
}

static void next_element(struct sy_buf *b)
{
    sy_buf_u8(b, b->len == 0 ? '{' : ',');
}

void ad_pg_put_null(struct sy_buf *b)
{
    next_element(b);
    sy_buf_put(b, "NULL", 4);
}

void ad_pg_put_bool(struct sy_buf *b, bool v)
{
    next_element(b);
    sy_buf_u8(b, v ? 't' : 'f');
}

static void put_digits(struct sy_buf *b, uint64_t v, bool negative)
{
    char text[24];
    size_t at = sizeof text;

    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    if (negative) {
        text[--at] = '-';
    }
    next_element(b);
    sy_buf_put(b, text + at, sizeof text - at);
}

void ad_pg_put_uint(struct sy_buf *b, uint64_t v)
{
    put_digits(b, v, false);
}

void ad_pg_put_int(struct sy_buf *b, int64_t v)
{
    put_digits(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, v < 0);
}

void ad_pg_put_time(struct sy_buf *b, uint64_t ms)
{
    if (ms > 0) {
        put_digits(b, ms, false);
    } else {
        ad_pg_put_null(b);
    }
}

static void put_escaped(struct sy_buf *b, char c)
{
    if (c == '"' || c == '\\') {
        sy_buf_u8(b, '\\');
    }
    sy_buf_u8(b, (uint8_t)c);
}

void ad_pg_put_text(struct sy_buf *b, const char *s)
{
    next_element(b);
    sy_buf_u8(b, '"');
    for (; *s != '\0'; s++) {
        put_escaped(b, *s);
    }
    sy_buf_u8(b, '"');
}

void ad_pg_put_text_or_null(struct sy_buf *b, const char *s)
{
    if (s != NULL && s[0] != '\0') {
        ad_pg_put_text(b, s);
    } else {
        ad_pg_put_null(b);
    }
}

void ad_pg_put_any_text(struct sy_buf *b, const char *s, bool ascii)
{
    size_t left = strlen(s);
    uint32_t cp;

    next_element(b);
    sy_buf_u8(b, '"');
    while (left > 0) {
        size_t n = sy_utf8_next(s, left, &cp);

        if (n > 1 && !ascii) {
            sy_buf_put(b, s, n);
        } else {
            put_escaped(b, cp < 0x80 ? *s : '?');
        }
        s += n;
        left -= n;
    }
    sy_buf_u8(b, '"');
}

void ad_pg_put_bytes(struct sy_buf *b, const void *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = p;
    uint8_t *to;

    next_element(b);
    sy_buf_put(b, "\"\\\\x", 4); /* The array takes one of the backslashes. */
    to = sy_buf_reserve(b, 2 * n);
    for (size_t i = 0; i < n; i++) {
        *to++ = (uint8_t)digits[from[i] >> 4];
        *to++ = (uint8_t)digits[from[i] & 15];
    }
    b->len += 2 * n;
    sy_buf_u8(b, '"');
}

#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { FIRST_CAP = 256 };

uint8_t *sy_buf_reserve(struct sy_buf *b, size_t n)
{
    if (b->p == NULL || b->cap - b->len < n) {
        size_t cap = b->cap * 2 > FIRST_CAP ? b->cap * 2 : FIRST_CAP;

        if (cap < b->len + n) {
            cap = b->len + n;
        }
        b->p = sy_realloc(b->p, cap);
        b->cap = cap;
    }
    return b->p + b->len;
}

void sy_buf_put(struct sy_buf *b, const void *p, size_t n)
{
    if (n > 0) {
        memcpy(sy_buf_reserve(b, n), p, n);
        b->len += n;
    }
}

void sy_buf_u8(struct sy_buf *b, uint8_t v)
{
    sy_buf_put(b, &v, 1);
}

void sy_buf_u32(struct sy_buf *b, uint32_t v)
{
    uint8_t raw[4];

    for (unsigned i = 0; i < sizeof raw; i++) {
        raw[i] = (uint8_t)(v >> (8 * i));
    }
    sy_buf_put(b, raw, sizeof raw);
}

void sy_buf_u64(struct sy_buf *b, uint64_t v)
{
    sy_buf_u32(b, (uint32_t)v);
    sy_buf_u32(b, (uint32_t)(v >> 32));
}

void sy_buf_str(struct sy_buf *b, const char *s)
{
    sy_buf_put(b, s, strlen(s));
}

void sy_buf_fmt(struct sy_buf *b, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n <= 0) {
        return;
    }
    sy_buf_reserve(b, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf((char *)b->p + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

void sy_buf_consume(struct sy_buf *b, size_t n)
{
    if (n < b->len) {
        memmove(b->p, b->p + n, b->len - n);
        b->len -= n;
    } else {
        b->len = 0;
    }
}

void sy_buf_give(struct sy_buf *b, struct sy_buf *to)
{
    *to = *b;
    *b = (struct sy_buf){0};
}

void sy_buf_free(struct sy_buf *b)
{
    sy_free(b->p);
    *b = (struct sy_buf){0};
}

const uint8_t *sy_cur_take(struct sy_cur *c, size_t n)
{
    const uint8_t *p = c->p;

    if (c->bad || c->n < n) {
        c->bad = 1;
        return NULL;
    }
    c->p += n;
    c->n -= n;
    return p;
}

uint8_t sy_cur_u8(struct sy_cur *c)
{
    const uint8_t *p = sy_cur_take(c, 1);

    return p != NULL ? p[0] : 0;
}

uint32_t sy_cur_u32(struct sy_cur *c)
{
    const uint8_t *p = sy_cur_take(c, 4);

    if (p == NULL) {
        return 0;
    }
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
           (uint32_t)p[3] << 24;
}

uint64_t sy_cur_u64(struct sy_cur *c)
{
    uint64_t lo = sy_cur_u32(c);

    return lo | (uint64_t)sy_cur_u32(c) << 32;
}

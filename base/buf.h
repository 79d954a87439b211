/* A growable run of bytes. All zero is a valid empty buffer. */

#ifndef SY_BASE_BUF_H
#define SY_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sy_buf
{
    uint8_t *p; /* Owned; NULL while cap is 0. */
    size_t len;
    size_t cap;
};

/* Room for @n more bytes; returns where they go, which is never NULL. Does not change
 * len. */
uint8_t *sy_buf_reserve(struct sy_buf *b, size_t n);
void sy_buf_put(struct sy_buf *b, const void *p, size_t n);
void sy_buf_u8(struct sy_buf *b, uint8_t v);
/* Little endian, as everything of ours on disk and between nodes. */
void sy_buf_u32(struct sy_buf *b, uint32_t v);
void sy_buf_u64(struct sy_buf *b, uint64_t v);
void sy_buf_str(struct sy_buf *b, const char *s);
void sy_buf_fmt(struct sy_buf *b, const char *fmt, ...) SY_PRINTF(2, 3);
/* Drop the first @n bytes, keeping the rest. */
void sy_buf_consume(struct sy_buf *b, size_t n);
/* The bytes change hands: *@to gets them, @b is empty afterwards. */
void sy_buf_give(struct sy_buf *b, struct sy_buf *to);
void sy_buf_free(struct sy_buf *b);

/* A reading cursor. Reads after an error do nothing and return 0: check bad
 * once at the end (knot's wire_ctx). */
struct sy_cur
{
    const uint8_t *p;
    size_t n; /* Bytes left. */
    int bad;
};

uint8_t sy_cur_u8(struct sy_cur *c);
uint32_t sy_cur_u32(struct sy_cur *c);
uint64_t sy_cur_u64(struct sy_cur *c);
/* Borrowed from the input; NULL when there are not @n bytes. */
const uint8_t *sy_cur_take(struct sy_cur *c, size_t n);

#endif /* SY_BASE_BUF_H */

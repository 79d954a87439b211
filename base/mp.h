/* MessagePack (msgpack.org spec.md), both ways.
 *
 * Writing packs with msgpack-c into a sy_buf. Reading is a cursor of our own:
 * msgpack-c's reader builds an object tree on the heap, and the state machine
 * must not allocate when it applies an entry (docs/adr/0003). Every read after
 * an error does nothing and returns 0 or an empty value: check bad once. */

#ifndef SY_BASE_MP_H
#define SY_BASE_MP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

void sy_mp_array(struct sy_buf *b, uint32_t n);
void sy_mp_map(struct sy_buf *b, uint32_t n);
void sy_mp_uint(struct sy_buf *b, uint64_t v);
void sy_mp_int(struct sy_buf *b, int64_t v);
void sy_mp_bool(struct sy_buf *b, bool v);
void sy_mp_nil(struct sy_buf *b);
void sy_mp_str(struct sy_buf *b, const char *s);
void sy_mp_strn(struct sy_buf *b, const char *s, size_t n);
void sy_mp_bin(struct sy_buf *b, const void *p, size_t n);
/* A string key and a value, for maps. */
void sy_mp_kstr(struct sy_buf *b, const char *key, const char *s);
void sy_mp_kuint(struct sy_buf *b, const char *key, uint64_t v);
void sy_mp_kint(struct sy_buf *b, const char *key, int64_t v);
void sy_mp_kbool(struct sy_buf *b, const char *key, bool v);

enum sy_mp_type {
    SY_MP_BAD,
    SY_MP_NIL,
    SY_MP_BOOL,
    SY_MP_UINT, /* u */
    SY_MP_INT,  /* i, negative */
    SY_MP_FLOAT,
    SY_MP_STR,
    SY_MP_BIN,
    SY_MP_ARRAY, /* len elements follow */
    SY_MP_MAP,   /* len pairs follow */
    SY_MP_EXT
};

struct sy_mp
{
    enum sy_mp_type type;
    uint32_t len; /* Bytes of str/bin/ext, elements of arrays, pairs of maps. */
    union {
        bool b;
        uint64_t u;
        int64_t i;
        double f;
        const char *s; /* Borrowed from the input, not terminated. */
    };
};

/* The next value's head; of str/bin/ext the bytes, too. */
struct sy_mp sy_mp_next(struct sy_cur *c);
/* Typed reads: another type is an error. */
uint64_t sy_mp_get_uint(struct sy_cur *c);
int64_t sy_mp_get_int(struct sy_cur *c);
bool sy_mp_get_bool(struct sy_cur *c);
uint32_t sy_mp_get_array(struct sy_cur *c);
uint32_t sy_mp_get_map(struct sy_cur *c);
/* Copies into @to, terminated; a string that does not fit or holds a zero byte
 * is an error. */
void sy_mp_get_str(struct sy_cur *c, char *to, size_t size);
/* Borrowed; NULL and *n = 0 on error. */
const uint8_t *sy_mp_get_bin(struct sy_cur *c, uint32_t *n);
/* One whole value, whatever it is; nested at most 16 deep. */
void sy_mp_skip(struct sy_cur *c);
/* Is @m the string @s? For the keys of maps. */
bool sy_mp_is(const struct sy_mp *m, const char *s);

#endif /* SY_BASE_MP_H */

#include "base/mp.h"

#include <string.h>

#include <msgpack.h>

enum { DEPTH_MAX = 16 };

static int append(void *data, const char *p, size_t n)
{
    sy_buf_put(data, p, n);
    return 0;
}

static msgpack_packer packer(struct sy_buf *b)
{
    return (msgpack_packer){.data = b, .callback = append};
}

/* Appending to a sy_buf cannot fail, hence the ignored results. */

void sy_mp_array(struct sy_buf *b, uint32_t n)
{
    msgpack_packer pk = packer(b);

    (void)msgpack_pack_array(&pk, n);
}

void sy_mp_map(struct sy_buf *b, uint32_t n)
{
    msgpack_packer pk = packer(b);

    (void)msgpack_pack_map(&pk, n);
}

void sy_mp_uint(struct sy_buf *b, uint64_t v)
{
    msgpack_packer pk = packer(b);

    (void)msgpack_pack_uint64(&pk, v);
}

void sy_mp_int(struct sy_buf *b, int64_t v)
{
    msgpack_packer pk = packer(b);

    (void)msgpack_pack_int64(&pk, v);
}

void sy_mp_bool(struct sy_buf *b, bool v)
{
    msgpack_packer pk = packer(b);

    (void)(v ? msgpack_pack_true(&pk) : msgpack_pack_false(&pk));
}

void sy_mp_nil(struct sy_buf *b)
{
    msgpack_packer pk = packer(b);

    (void)msgpack_pack_nil(&pk);
}

void sy_mp_strn(struct sy_buf *b, const char *s, size_t n)
{
    msgpack_packer pk = packer(b);

    (void)msgpack_pack_str(&pk, n);
    (void)msgpack_pack_str_body(&pk, s, n);
}

void sy_mp_str(struct sy_buf *b, const char *s)
{
    sy_mp_strn(b, s, strlen(s));
}

void sy_mp_bin(struct sy_buf *b, const void *p, size_t n)
{
    msgpack_packer pk = packer(b);

    (void)msgpack_pack_bin(&pk, n);
    (void)msgpack_pack_bin_body(&pk, p, n);
}

void sy_mp_kstr(struct sy_buf *b, const char *key, const char *s)
{
    sy_mp_str(b, key);
    sy_mp_str(b, s);
}

void sy_mp_kuint(struct sy_buf *b, const char *key, uint64_t v)
{
    sy_mp_str(b, key);
    sy_mp_uint(b, v);
}

void sy_mp_kint(struct sy_buf *b, const char *key, int64_t v)
{
    sy_mp_str(b, key);
    sy_mp_int(b, v);
}

void sy_mp_kbool(struct sy_buf *b, const char *key, bool v)
{
    sy_mp_str(b, key);
    sy_mp_bool(b, v);
}

static uint32_t load32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* @n is 1, 2, 4 or 8. No loop over bytes: decoding entries is mostly this, and
 * the compiler makes one load of each. */
static uint64_t load(const uint8_t *p, size_t n)
{
    if (n == 8) {
        return (uint64_t)load32(p) << 32 | load32(p + 4);
    }
    if (n == 4) {
        return load32(p);
    }
    return n == 2 ? (uint64_t)p[0] << 8 | p[1] : p[0];
}

static uint64_t big_endian(struct sy_cur *c, size_t n)
{
    const uint8_t *p = sy_cur_take(c, n);

    return p != NULL ? load(p, n) : 0;
}

static struct sy_mp of_uint(uint64_t v)
{
    return (struct sy_mp){.type = SY_MP_UINT, .u = v};
}

static struct sy_mp of_int(int64_t v)
{
    if (v >= 0) {
        return of_uint((uint64_t)v);
    }
    return (struct sy_mp){.type = SY_MP_INT, .i = v};
}

static struct sy_mp of_bytes(struct sy_cur *c, enum sy_mp_type type, uint64_t n)
{
    const uint8_t *p = sy_cur_take(c, n);

    return (struct sy_mp){
        .type = p != NULL ? type : SY_MP_BAD, .len = (uint32_t)n, .s = (const char *)p};
}

static struct sy_mp of_count(struct sy_cur *c, enum sy_mp_type type, uint64_t n)
{
    /* Every element takes at least a byte: refuse counts that cannot be. */
    if (n > c->n) {
        c->bad = 1;
    }
    return (struct sy_mp){.type = type, .len = (uint32_t)n};
}

static struct sy_mp of_float(struct sy_cur *c, size_t n)
{
    struct sy_mp m = {.type = SY_MP_FLOAT};
    uint64_t raw = big_endian(c, n);

    if (n == 4) {
        uint32_t raw32 = (uint32_t)raw;
        float f;

        memcpy(&f, &raw32, sizeof f);
        m.f = (double)f;
    } else {
        memcpy(&m.f, &raw, sizeof m.f);
    }
    return m;
}

static struct sy_mp of_tag(struct sy_cur *c, uint8_t tag)
{
    switch (tag) {
    case 0xc0:
        return (struct sy_mp){.type = SY_MP_NIL};
    case 0xc2:
    case 0xc3:
        return (struct sy_mp){.type = SY_MP_BOOL, .b = tag == 0xc3};
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return of_bytes(c, SY_MP_BIN, big_endian(c, 1U << (tag - 0xc4)));
    case 0xc7:
    case 0xc8:
    case 0xc9:
        return of_bytes(c, SY_MP_EXT, big_endian(c, 1U << (tag - 0xc7)) + 1);
    case 0xca:
        return of_float(c, 4);
    case 0xcb:
        return of_float(c, 8);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        return of_uint(big_endian(c, 1U << (tag - 0xcc)));
    case 0xd0:
        return of_int((int8_t)big_endian(c, 1));
    case 0xd1:
        return of_int((int16_t)big_endian(c, 2));
    case 0xd2:
        return of_int((int32_t)big_endian(c, 4));
    case 0xd3:
        return of_int((int64_t)big_endian(c, 8));
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return of_bytes(c, SY_MP_EXT, (1U << (tag - 0xd4)) + 1);
    case 0xd9:
    case 0xda:
    case 0xdb:
        return of_bytes(c, SY_MP_STR, big_endian(c, 1U << (tag - 0xd9)));
    case 0xdc:
    case 0xdd:
        return of_count(c, SY_MP_ARRAY, big_endian(c, 2U << (tag - 0xdc)));
    case 0xde:
    case 0xdf:
        return of_count(c, SY_MP_MAP, big_endian(c, 2U << (tag - 0xde)));
    default:
        c->bad = 1;
        return (struct sy_mp){.type = SY_MP_BAD};
    }
}

struct sy_mp sy_mp_next(struct sy_cur *c)
{
    uint8_t tag = sy_cur_u8(c);
    struct sy_mp m;

    if (c->bad) {
        return (struct sy_mp){.type = SY_MP_BAD};
    }
    if (tag < 0x80) {
        return of_uint(tag);
    }
    if (tag >= 0xe0) {
        return of_int((int8_t)tag);
    }
    if (tag < 0x90) {
        m = of_count(c, SY_MP_MAP, tag & 0x0f);
    } else if (tag < 0xa0) {
        m = of_count(c, SY_MP_ARRAY, tag & 0x0f);
    } else if (tag < 0xc0) {
        m = of_bytes(c, SY_MP_STR, tag & 0x1f);
    } else {
        m = of_tag(c, tag);
    }
    if (c->bad) {
        m = (struct sy_mp){.type = SY_MP_BAD};
    }
    return m;
}

static struct sy_mp expect(struct sy_cur *c, enum sy_mp_type type)
{
    struct sy_mp m = sy_mp_next(c);

    if (m.type != type) {
        c->bad = 1;
        m = (struct sy_mp){.type = SY_MP_BAD};
    }
    return m;
}

/* An unsigned number in place, when that is plainly what comes next: the fields
 * of entries nearly all are. Everything else goes the long way. */
static bool take_uint(struct sy_cur *c, uint64_t *v)
{
    uint8_t tag;
    size_t n;

    if (c->bad || c->n == 0) {
        return false;
    }
    tag = c->p[0];
    if (tag < 0x80) {
        *v = tag;
        n = 0;
    } else if (tag >= 0xcc && tag <= 0xcf && c->n > (n = 1U << (tag - 0xcc))) {
        *v = load(c->p + 1, n);
    } else {
        return false;
    }
    c->p += n + 1;
    c->n -= n + 1;
    return true;
}

uint64_t sy_mp_get_uint(struct sy_cur *c)
{
    uint64_t v;

    return take_uint(c, &v) ? v : expect(c, SY_MP_UINT).u;
}

int64_t sy_mp_get_int(struct sy_cur *c)
{
    uint64_t v;
    struct sy_mp m = take_uint(c, &v) ? of_uint(v) : sy_mp_next(c);

    if (m.type == SY_MP_INT) {
        return m.i;
    }
    if (m.type == SY_MP_UINT && m.u <= INT64_MAX) {
        return (int64_t)m.u;
    }
    c->bad = 1;
    return 0;
}

bool sy_mp_get_bool(struct sy_cur *c)
{
    return expect(c, SY_MP_BOOL).b;
}

uint32_t sy_mp_get_array(struct sy_cur *c)
{
    return expect(c, SY_MP_ARRAY).len;
}

uint32_t sy_mp_get_map(struct sy_cur *c)
{
    return expect(c, SY_MP_MAP).len;
}

void sy_mp_get_str(struct sy_cur *c, char *to, size_t size)
{
    struct sy_mp m = expect(c, SY_MP_STR);

    to[0] = '\0';
    if (m.type == SY_MP_BAD) {
        return;
    }
    if (m.len >= size || memchr(m.s, '\0', m.len) != NULL) {
        c->bad = 1;
        return;
    }
    memcpy(to, m.s, m.len);
    to[m.len] = '\0';
}

const uint8_t *sy_mp_get_bin(struct sy_cur *c, uint32_t *n)
{
    struct sy_mp m = expect(c, SY_MP_BIN);

    *n = m.len;
    return m.type == SY_MP_BIN ? (const uint8_t *)m.s : NULL;
}

void sy_mp_skip(struct sy_cur *c)
{
    uint64_t left[DEPTH_MAX];
    unsigned depth = 0;

    /* Depth by hand: what a peer sends must not choose our stack. */
    left[0] = 1;
    while (!c->bad) {
        struct sy_mp m;

        while (left[depth] == 0) {
            if (depth-- == 0) {
                return;
            }
        }
        left[depth]--;
        m = sy_mp_next(c);
        if (m.type == SY_MP_ARRAY || m.type == SY_MP_MAP) {
            if (++depth == DEPTH_MAX) {
                c->bad = 1;
                return;
            }
            left[depth] = m.type == SY_MP_MAP ? 2 * (uint64_t)m.len : m.len;
        }
    }
}

bool sy_mp_is(const struct sy_mp *m, const char *s)
{
    return m->type == SY_MP_STR && m->len == strlen(s) && memcmp(m->s, s, m->len) == 0;
}

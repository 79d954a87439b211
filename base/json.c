#include "base/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mp.h"

enum { REPLACEMENT = 0xfffd, NUMBER_SIZE = 40 };

/* --- UTF-8 --- */

static size_t sequence_length(uint8_t lead)
{
    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        return 2;
    }
    if (lead >= 0xe0 && lead <= 0xef) {
        return 3;
    }
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

size_t sy_utf8_next(const char *p, size_t n, uint32_t *cp)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t lead = (uint8_t)p[0];
    size_t len = sequence_length(lead);
    uint32_t v = len > 1 ? lead & (0xffU >> (len + 1)) : lead;

    assert(n > 0);
    *cp = REPLACEMENT;
    if (len == 0 || len > n) {
        return 1;
    }
    for (size_t i = 1; i < len; i++) {
        uint8_t c = (uint8_t)p[i];

        if ((c & 0xc0) != 0x80) {
            return 1;
        }
        v = v << 6 | (c & 0x3fU);
    }
    if (v < smallest[len] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff)) {
        return 1;
    }
    *cp = v;
    return len;
}

bool sy_utf8_unsafe(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp <= 0x9f) || cp == 0x61c || cp == 0x200e ||
           cp == 0x200f || (cp >= 0x2028 && cp <= 0x202e) ||
           (cp >= 0x2066 && cp <= 0x2069) || cp == 0xfeff;
}

/* --- structure --- */

void sy_json_init(struct sy_json *j, struct sy_buf *b)
{
    *j = (struct sy_json){.b = b};
}

void sy_json_finish(struct sy_json *j)
{
    assert(j->depth == 0);
    assert(j->ended);
}

/* Every value begins here. */
static void begin_value(struct sy_json *j)
{
    assert(!j->ended);
    if (j->depth == 0) {
        return;
    }
    if (j->level[j->depth - 1].object) {
        assert(j->after_key);
        j->after_key = false;
        return;
    }
    if (j->level[j->depth - 1].filled) {
        sy_buf_u8(j->b, ',');
    }
    j->level[j->depth - 1].filled = true;
}

static void end_value(struct sy_json *j)
{
    j->ended = j->depth == 0;
}

static void push(struct sy_json *j, bool object)
{
    begin_value(j);
    assert(j->depth < SY_JSON_DEPTH_MAX);
    j->level[j->depth].object = object;
    j->level[j->depth].filled = false;
    j->depth++;
    sy_buf_u8(j->b, object ? '{' : '[');
}

static void pop(struct sy_json *j, bool object)
{
    assert(j->depth > 0);
    assert(j->level[j->depth - 1].object == object);
    assert(!j->after_key);
    j->depth--;
    sy_buf_u8(j->b, object ? '}' : ']');
    end_value(j);
}

void sy_json_object(struct sy_json *j)
{
    push(j, true);
}

void sy_json_object_end(struct sy_json *j)
{
    pop(j, true);
}

void sy_json_array(struct sy_json *j)
{
    push(j, false);
}

void sy_json_array_end(struct sy_json *j)
{
    pop(j, false);
}

/* --- strings --- */

static void put_escape(struct sy_buf *b, uint32_t cp)
{
    static const char named[] = "\b\t\n\f\r\"\\";
    static const char names[] = "btnfr\"\\";
    const char *at = cp != 0 && cp < 0x80 ? strchr(named, (int)cp) : NULL;

    if (at != NULL) {
        sy_buf_fmt(b, "\\%c", names[at - named]);
    } else {
        assert(cp <= 0xffff); /* Nothing unsafe lies beyond the basic plane. */
        sy_buf_fmt(b, "\\u%04" PRIx32, cp);
    }
}

static void put_string(struct sy_buf *b, const char *s, size_t n)
{
    sy_buf_u8(b, '"');
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t len = sy_utf8_next(s + i, n - i, &cp);

        if (cp == '"' || cp == '\\' || sy_utf8_unsafe(cp)) {
            put_escape(b, cp);
        } else if (cp == REPLACEMENT) {
            sy_buf_str(b, "\xef\xbf\xbd");
        } else {
            sy_buf_put(b, s + i, len);
        }
        i += len;
    }
    sy_buf_u8(b, '"');
}

void sy_json_keyn(struct sy_json *j, const char *key, size_t n)
{
    assert(j->depth > 0);
    assert(j->level[j->depth - 1].object);
    assert(!j->after_key);
    if (j->level[j->depth - 1].filled) {
        sy_buf_u8(j->b, ',');
    }
    j->level[j->depth - 1].filled = true;
    j->after_key = true;
    put_string(j->b, key, n);
    sy_buf_u8(j->b, ':');
}

void sy_json_key(struct sy_json *j, const char *key)
{
    sy_json_keyn(j, key, strlen(key));
}

void sy_json_strn(struct sy_json *j, const char *s, size_t n)
{
    begin_value(j);
    put_string(j->b, s, n);
    end_value(j);
}

void sy_json_str(struct sy_json *j, const char *s)
{
    sy_json_strn(j, s, strlen(s));
}

void sy_json_hex(struct sy_json *j, const void *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = p;

    begin_value(j);
    sy_buf_u8(j->b, '"');
    for (size_t i = 0; i < n; i++) {
        sy_buf_u8(j->b, (uint8_t)digits[from[i] >> 4]);
        sy_buf_u8(j->b, (uint8_t)digits[from[i] & 0xf]);
    }
    sy_buf_u8(j->b, '"');
    end_value(j);
}

/* --- the rest --- */

void sy_json_uint(struct sy_json *j, uint64_t v)
{
    begin_value(j);
    sy_buf_fmt(j->b, "%" PRIu64, v);
    end_value(j);
}

void sy_json_int(struct sy_json *j, int64_t v)
{
    begin_value(j);
    sy_buf_fmt(j->b, "%" PRId64, v);
    end_value(j);
}

void sy_json_bool(struct sy_json *j, bool v)
{
    begin_value(j);
    sy_buf_str(j->b, v ? "true" : "false");
    end_value(j);
}

void sy_json_null(struct sy_json *j)
{
    begin_value(j);
    sy_buf_str(j->b, "null");
    end_value(j);
}

void sy_json_double(struct sy_json *j, double v)
{
    char text[NUMBER_SIZE];
    char *comma;

    if (!isfinite(v)) {
        sy_json_null(j);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (fabs(strtod(text, NULL) - v) <= 0.0) {
            break;
        }
    }
    comma = strchr(text, ','); /* Some locales. */
    if (comma != NULL) {
        *comma = '.';
    }
    begin_value(j);
    sy_buf_str(j->b, text);
    end_value(j);
}

void sy_json_kstr(struct sy_json *j, const char *key, const char *s)
{
    sy_json_key(j, key);
    sy_json_str(j, s);
}

void sy_json_kuint(struct sy_json *j, const char *key, uint64_t v)
{
    sy_json_key(j, key);
    sy_json_uint(j, v);
}

void sy_json_kint(struct sy_json *j, const char *key, int64_t v)
{
    sy_json_key(j, key);
    sy_json_int(j, v);
}

void sy_json_kbool(struct sy_json *j, const char *key, bool v)
{
    sy_json_key(j, key);
    sy_json_bool(j, v);
}

/* --- from MessagePack --- */

static void put_scalar(struct sy_json *j, const struct sy_mp *m)
{
    switch (m->type) {
    case SY_MP_NIL:
        sy_json_null(j);
        break;
    case SY_MP_BOOL:
        sy_json_bool(j, m->b);
        break;
    case SY_MP_UINT:
        sy_json_uint(j, m->u);
        break;
    case SY_MP_INT:
        sy_json_int(j, m->i);
        break;
    case SY_MP_FLOAT:
        sy_json_double(j, m->f);
        break;
    case SY_MP_STR:
        sy_json_strn(j, m->s, m->len);
        break;
    case SY_MP_BIN:
    case SY_MP_EXT:
        sy_json_hex(j, m->s, m->len);
        break;
    case SY_MP_BAD:
    case SY_MP_ARRAY:
    case SY_MP_MAP:
        assert(0); /* The caller took these. */
    }
}

static int put_key(struct sy_json *j, struct sy_cur *c)
{
    struct sy_mp m = sy_mp_next(c);
    char digits[NUMBER_SIZE];

    if (m.type == SY_MP_STR) {
        sy_json_keyn(j, m.s, m.len);
    } else if (m.type == SY_MP_UINT) {
        snprintf(digits, sizeof digits, "%" PRIu64, m.u);
        sy_json_key(j, digits);
    } else if (m.type == SY_MP_INT) {
        snprintf(digits, sizeof digits, "%" PRId64, m.i);
        sy_json_key(j, digits);
    } else {
        return SY_ECORRUPT;
    }
    return 0;
}

/* @c holds a whole value. The nesting is the writer's, so no recursion. */
static int transcode(struct sy_json *j, struct sy_cur *c)
{
    uint32_t left[SY_JSON_DEPTH_MAX] = {0};
    unsigned bottom = j->depth;

    do {
        struct sy_mp m;

        if (j->depth > bottom && left[j->depth - 1] == 0) {
            (j->level[j->depth - 1].object ? sy_json_object_end : sy_json_array_end)(j);
            continue;
        }
        if (j->depth > bottom) {
            left[j->depth - 1]--;
            if (j->level[j->depth - 1].object && put_key(j, c) != 0) {
                return SY_ECORRUPT;
            }
        }
        m = sy_mp_next(c);
        if (m.type != SY_MP_ARRAY && m.type != SY_MP_MAP) {
            put_scalar(j, &m);
            continue;
        }
        if (j->depth == SY_JSON_DEPTH_MAX) {
            return SY_ECORRUPT;
        }
        push(j, m.type == SY_MP_MAP);
        left[j->depth - 1] = m.len;
    } while (j->depth > bottom);
    return 0;
}

int sy_json_mp(struct sy_json *j, struct sy_cur *c)
{
    struct sy_json before = *j;
    size_t len = j->b->len;
    struct sy_cur whole = *c;

    sy_mp_skip(&whole);
    if (whole.bad) {
        c->bad = 1;
        return SY_ECORRUPT;
    }
    if (transcode(j, c) != 0) {
        *j = before;
        j->b->len = len;
        c->bad = 1;
        return SY_ECORRUPT;
    }
    assert(c->n == whole.n);
    return 0;
}

int sy_json_from_mp(struct sy_buf *b, struct sy_cur *c)
{
    struct sy_json j;
    int rv;

    sy_json_init(&j, b);
    rv = sy_json_mp(&j, c);
    if (rv == 0) {
        sy_json_finish(&j);
    }
    return rv;
}

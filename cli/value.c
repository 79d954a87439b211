#include <string.h>

#include "cli/cli.h"

static struct ct_val read_value(struct sy_cur *c)
{
    struct ct_val v = {.start = *c};

    v.m = sy_mp_next(c);
    v.in = *c;
    if (v.m.type == SY_MP_ARRAY || v.m.type == SY_MP_MAP) {
        *c = v.start;
        sy_mp_skip(c);
    }
    return v;
}

bool ct_val_of(struct ct_val *ret, const uint8_t *p, size_t n)
{
    struct sy_cur whole = {p, n, 0};
    struct sy_cur c = whole;

    sy_mp_skip(&whole);
    if (whole.bad || whole.n != 0) {
        return false;
    }
    *ret = read_value(&c);
    return true;
}

struct ct_iter ct_iterate(struct ct_val v)
{
    return (struct ct_iter){v.in, v.m.type == SY_MP_ARRAY ? v.m.len : 0};
}

bool ct_next(struct ct_iter *it, struct ct_val *ret)
{
    if (it->left == 0) {
        return false;
    }
    it->left--;
    *ret = read_value(&it->at);
    return true;
}

struct ct_iter ct_iterate_map(struct ct_val v)
{
    return (struct ct_iter){v.in, v.m.type == SY_MP_MAP ? v.m.len : 0};
}

bool ct_next_pair(struct ct_iter *it, struct ct_val *key, struct ct_val *value)
{
    if (!ct_next(it, key)) {
        return false;
    }
    *value = read_value(&it->at);
    return true;
}

struct ct_val ct_get(struct ct_val map, const char *key)
{
    struct ct_iter it = ct_iterate_map(map);
    struct ct_val k;
    struct ct_val v;

    while (ct_next_pair(&it, &k, &v)) {
        if (sy_mp_is(&k.m, key)) {
            return v;
        }
    }
    return (struct ct_val){.m = {.type = SY_MP_BAD}};
}

bool ct_is_uint(struct ct_val v)
{
    return v.m.type == SY_MP_UINT;
}

/* nil stands for "none", so it counts as missing. */
bool ct_has(struct ct_val map, const char *key)
{
    enum sy_mp_type type = ct_get(map, key).m.type;

    return type != SY_MP_BAD && type != SY_MP_NIL;
}

uint64_t ct_uint(struct ct_val map, const char *key)
{
    struct ct_val v = ct_get(map, key);

    return ct_is_uint(v) ? v.m.u : 0;
}

bool ct_bool(struct ct_val map, const char *key)
{
    struct ct_val v = ct_get(map, key);

    return v.m.type == SY_MP_BOOL && v.m.b;
}

struct ct_str ct_str_of(struct ct_val v)
{
    if (v.m.type != SY_MP_STR) {
        return (struct ct_str){0};
    }
    return (struct ct_str){v.m.s, v.m.len};
}

struct ct_str ct_str(struct ct_val map, const char *key)
{
    return ct_str_of(ct_get(map, key));
}

bool ct_str_is(struct ct_str s, const char *text)
{
    return s.p != NULL && s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

struct ct_str ct_lit(const char *text)
{
    return (struct ct_str){text, strlen(text)};
}

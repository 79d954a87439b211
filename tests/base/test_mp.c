/* MessagePack: our cursor against msgpack-c's own reader, and against hostility. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <msgpack.h>

#include "base/mp.h"

static uint64_t next_random(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* Of every size, and near the borders between sizes. */
static uint64_t random_number(uint64_t *seed)
{
    uint64_t v = UINT64_MAX >> (next_random(seed) % 64);

    switch (next_random(seed) % 3) {
    case 0:
        return v;
    case 1:
        return v + 1;
    default:
        return next_random(seed) & v;
    }
}

static void put_bytes(struct sy_buf *b, uint64_t *seed, bool str)
{
    static uint8_t bytes[70000];
    static const size_t sizes[] = {0, 1, 31, 32, 255, 256, 65535, 65536};
    size_t n =
        next_random(seed) % 8 > 0 ? next_random(seed) % 40 : sizes[next_random(seed) % 8];

    bytes[0] = (uint8_t)next_random(seed);
    if (str) {
        sy_mp_strn(b, (const char *)bytes, n);
    } else {
        sy_mp_bin(b, bytes, n);
    }
}

static void put_value(struct sy_buf *b, uint64_t *seed, unsigned depth);

static void put_container(struct sy_buf *b, uint64_t *seed, unsigned depth)
{
    uint32_t n = (uint32_t)(next_random(seed) % 10 > 0 ? next_random(seed) % 4
                                                       : 14 + next_random(seed) % 4);
    bool map = next_random(seed) % 2 == 0;

    if (map) {
        sy_mp_map(b, n);
    } else {
        sy_mp_array(b, n);
    }
    for (uint32_t i = 0; i < (map ? 2 * n : n); i++) {
        put_value(b, seed, depth + 1);
    }
}

/* What sy_mp_* cannot write but others may: raw, in network order. */
static void put_foreign(struct sy_buf *b, uint64_t *seed)
{
    static const uint8_t tags[] = {0xca, 0xcb, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xc7};
    static const uint8_t sizes[] = {4, 8, 2, 3, 5, 9, 17, 5};
    unsigned i = next_random(seed) % 8;

    sy_buf_u8(b, tags[i]);
    for (unsigned k = 0; k < sizes[i]; k++) {
        sy_buf_u8(b, i == 7 && k == 0 ? 3 : (uint8_t)next_random(seed));
    }
}

static void put_value(struct sy_buf *b, uint64_t *seed, unsigned depth)
{
    switch (next_random(seed) % (depth < 4 ? 9 : 7)) {
    case 0:
        sy_mp_nil(b);
        break;
    case 1:
        sy_mp_bool(b, next_random(seed) % 2 == 0);
        break;
    case 2:
        sy_mp_uint(b, random_number(seed));
        break;
    case 3:
        sy_mp_int(b, (int64_t)(0 - random_number(seed)));
        break;
    case 4:
        put_bytes(b, seed, true);
        break;
    case 5:
        put_bytes(b, seed, false);
        break;
    case 6:
        put_foreign(b, seed);
        break;
    default:
        put_container(b, seed, depth);
        break;
    }
}

static void same_float(double a, double b)
{
    assert_memory_equal(&a, &b, sizeof a); /* NaN, too. */
}

static void compare(const msgpack_object *o, struct sy_cur *c)
{
    struct sy_cur before = *c;
    struct sy_mp m = sy_mp_next(c);

    assert_false(c->bad);
    switch (o->type) {
    case MSGPACK_OBJECT_NIL:
        assert_int_equal(m.type, SY_MP_NIL);
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        assert_int_equal(m.type, SY_MP_BOOL);
        assert_int_equal(m.b, o->via.boolean);
        assert_int_equal(sy_mp_get_bool(&before), o->via.boolean);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        assert_int_equal(m.type, SY_MP_UINT);
        assert_true(m.u == o->via.u64);
        assert_true(sy_mp_get_uint(&before) == o->via.u64);
        assert_int_equal(before.n, c->n);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        assert_int_equal(m.type, SY_MP_INT);
        assert_true(m.i == o->via.i64);
        assert_true(sy_mp_get_int(&before) == o->via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        assert_int_equal(m.type, SY_MP_FLOAT);
        same_float(m.f, o->via.f64);
        break;
    case MSGPACK_OBJECT_STR:
        assert_int_equal(m.type, SY_MP_STR);
        assert_int_equal(m.len, o->via.str.size);
        assert_memory_equal(m.s, o->via.str.ptr, m.len);
        break;
    case MSGPACK_OBJECT_BIN:
        assert_int_equal(m.type, SY_MP_BIN);
        assert_int_equal(m.len, o->via.bin.size);
        assert_memory_equal(m.s, o->via.bin.ptr, m.len);
        break;
    case MSGPACK_OBJECT_EXT:
        assert_int_equal(m.type, SY_MP_EXT);
        assert_int_equal(m.len, o->via.ext.size + 1); /* With its type. */
        assert_memory_equal(m.s + 1, o->via.ext.ptr, o->via.ext.size);
        break;
    case MSGPACK_OBJECT_ARRAY:
        assert_int_equal(m.type, SY_MP_ARRAY);
        assert_int_equal(m.len, o->via.array.size);
        for (uint32_t i = 0; i < m.len; i++) {
            compare(&o->via.array.ptr[i], c);
        }
        break;
    case MSGPACK_OBJECT_MAP:
        assert_int_equal(m.type, SY_MP_MAP);
        assert_int_equal(m.len, o->via.map.size);
        for (uint32_t i = 0; i < m.len; i++) {
            compare(&o->via.map.ptr[i].key, c);
            compare(&o->via.map.ptr[i].val, c);
        }
        break;
    default:
        fail();
    }
}

static void random_values_read_as_msgpack_c_reads_them(void **state)
{
    uint64_t seed = 1;

    (void)state;
    for (unsigned n = 0; n < 5000; n++) {
        struct sy_buf b = {0};
        struct sy_cur c;
        struct sy_cur skip;
        msgpack_unpacked u;
        size_t off = 0;

        put_value(&b, &seed, 0);
        msgpack_unpacked_init(&u);
        assert_int_equal(msgpack_unpack_next(&u, (const char *)b.p, b.len, &off),
                         MSGPACK_UNPACK_SUCCESS);
        assert_int_equal(off, b.len);
        c = skip = (struct sy_cur){.p = b.p, .n = b.len};
        compare(&u.data, &c);
        assert_int_equal(c.n, 0);
        sy_mp_skip(&skip);
        assert_true(!skip.bad && skip.n == 0);
        msgpack_unpacked_destroy(&u);
        sy_buf_free(&b);
    }
}

static void no_beginning_of_a_value_is_a_value(void **state)
{
    uint64_t seed = 2;

    (void)state;
    for (unsigned n = 0; n < 500; n++) {
        struct sy_buf b = {0};

        put_value(&b, &seed, 0);
        for (size_t len = 0; len < b.len && len < 300; len++) {
            struct sy_buf cut = {0}; /* Its own memory: the sanitizer looks on. */
            struct sy_cur c;

            sy_buf_put(&cut, b.p, len);
            c = (struct sy_cur){.p = cut.p, .n = len};
            sy_mp_skip(&c);
            assert_true(c.bad);
            assert_int_equal(sy_mp_next(&c).type, SY_MP_BAD);
            sy_buf_free(&cut);
        }
        sy_buf_free(&b);
    }
}

/* Any bytes: both readers take them, or neither. */
static void garbage_is_refused_where_msgpack_c_refuses_it(void **state)
{
    uint64_t seed = 3;
    unsigned taken = 0;

    (void)state;
    for (unsigned n = 0; n < 50000; n++) {
        uint8_t raw[12];
        struct sy_cur c = {.p = raw, .n = sizeof raw};
        msgpack_unpacked u;
        size_t off = 0;
        bool ok;

        for (unsigned i = 0; i < sizeof raw; i++) {
            raw[i] = (uint8_t)next_random(&seed);
            if (raw[i] == 0xdd || raw[i] == 0xdf) {
                raw[i] = 0xc0; /* msgpack-c would allocate 64 GiB for such a count. */
            }
        }
        msgpack_unpacked_init(&u);
        ok = msgpack_unpack_next(&u, (const char *)raw, sizeof raw, &off) ==
             MSGPACK_UNPACK_SUCCESS;
        sy_mp_skip(&c);
        assert_int_equal(!c.bad, ok);
        if (ok) {
            assert_int_equal(sizeof raw - c.n, off);
            taken++;
        }
        msgpack_unpacked_destroy(&u);
    }
    assert_in_range(taken, 1000, 49000);
}

static void another_type_is_an_error_and_stays_one(void **state)
{
    struct sy_buf b = {0};
    struct sy_cur c;
    char text[4];
    uint32_t n = 7;

    (void)state;
    sy_mp_nil(&b);
    sy_mp_uint(&b, 5);
    c = (struct sy_cur){.p = b.p, .n = b.len};
    assert_true(sy_mp_get_uint(&c) == 0 && c.bad);
    assert_true(sy_mp_get_uint(&c) == 0 && sy_mp_get_int(&c) == 0);
    assert_true(sy_mp_get_array(&c) == 0 && sy_mp_get_map(&c) == 0);
    assert_false(sy_mp_get_bool(&c));
    assert_null(sy_mp_get_bin(&c, &n));
    assert_int_equal(n, 0);
    sy_mp_get_str(&c, text, sizeof text);
    assert_string_equal(text, "");
    assert_int_equal(c.bad, 1);
    b.len = 0;
    sy_mp_uint(&b, (uint64_t)INT64_MAX + 1); /* No int64. */
    c = (struct sy_cur){.p = b.p, .n = b.len};
    assert_true(sy_mp_get_int(&c) == 0 && c.bad);
    b.len = 0;
    sy_mp_int(&b, -1);
    c = (struct sy_cur){.p = b.p, .n = b.len};
    assert_true(sy_mp_get_uint(&c) == 0 && c.bad);
    sy_buf_free(&b);
}

static void get_str(const char *s, size_t n, size_t size, const char *expected)
{
    struct sy_buf b = {0};
    struct sy_cur c;
    char text[8];

    sy_mp_strn(&b, s, n);
    c = (struct sy_cur){.p = b.p, .n = b.len};
    sy_mp_get_str(&c, text, size);
    assert_int_equal(c.bad, expected == NULL);
    assert_string_equal(text, expected != NULL ? expected : "");
    sy_buf_free(&b);
}

static void a_string_fits_or_is_refused(void **state)
{
    (void)state;
    get_str("abc", 3, 4, "abc");
    get_str("abcd", 4, 4, NULL);
    get_str("", 0, 1, "");
    get_str("a\0c", 3, 8, NULL);
}

static void counts_beyond_the_input_are_refused(void **state)
{
    static const uint8_t hostile[][6] = {
        {0xdd, 0xff, 0xff, 0xff, 0xff}, {0xdf, 0xff, 0xff, 0xff, 0xff},
        {0xdb, 0xff, 0xff, 0xff, 0xff}, {0xc6, 0xff, 0xff, 0xff, 0xff},
        {0xc9, 0xff, 0xff, 0xff, 0xff}, {0xc1},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        struct sy_cur c = {.p = hostile[i], .n = sizeof hostile[i]};

        assert_int_equal(sy_mp_next(&c).type, SY_MP_BAD);
        assert_true(c.bad);
    }
}

static void depth_has_a_limit(void **state)
{
    uint8_t nested[40];

    (void)state;
    for (unsigned depth = 0; depth < sizeof nested - 1; depth++) {
        struct sy_cur c = {.p = nested, .n = depth + 1};

        memset(nested, 0x91, depth); /* Arrays of one, */
        nested[depth] = 0xc0;        /* around nil. */
        sy_mp_skip(&c);
        assert_int_equal(c.bad, depth > 15);
    }
}

static void keys_of_maps_are_compared_whole(void **state)
{
    struct sy_buf b = {0};
    struct sy_cur c;
    struct sy_mp m;

    (void)state;
    sy_mp_map(&b, 4);
    sy_mp_kstr(&b, "text", "x");
    sy_mp_kuint(&b, "count", 3);
    sy_mp_kint(&b, "delta", -3);
    sy_mp_kbool(&b, "flag", true);
    c = (struct sy_cur){.p = b.p, .n = b.len};
    assert_int_equal(sy_mp_get_map(&c), 4);
    m = sy_mp_next(&c);
    assert_true(sy_mp_is(&m, "text"));
    assert_false(sy_mp_is(&m, "tex") || sy_mp_is(&m, "texts") || sy_mp_is(&m, "tExt"));
    sy_mp_skip(&c);
    sy_mp_skip(&c);
    m = sy_mp_next(&c);
    assert_true(m.type == SY_MP_UINT && m.u == 3);
    assert_false(sy_mp_is(&m, "3"));
    sy_mp_skip(&c);
    assert_true(sy_mp_get_int(&c) == -3);
    sy_mp_skip(&c);
    assert_true(sy_mp_get_bool(&c) && !c.bad && c.n == 0);
    sy_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_values_read_as_msgpack_c_reads_them),
        cmocka_unit_test(no_beginning_of_a_value_is_a_value),
        cmocka_unit_test(garbage_is_refused_where_msgpack_c_refuses_it),
        cmocka_unit_test(another_type_is_an_error_and_stays_one),
        cmocka_unit_test(a_string_fits_or_is_refused),
        cmocka_unit_test(counts_beyond_the_input_are_refused),
        cmocka_unit_test(depth_has_a_limit),
        cmocka_unit_test(keys_of_maps_are_compared_whole),
    };

    return cmocka_run_group_tests_name("mp", tests, NULL, NULL);
}

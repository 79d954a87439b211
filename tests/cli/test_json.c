#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include <jansson.h>

#include "base/json.h"
#include "base/mp.h"

/* Everything we write must be JSON to somebody else's parser. */
static void expect(struct sy_buf *b, const char *text)
{
    json_error_t err;
    json_t *v;

    sy_buf_u8(b, 0);
    assert_string_equal((const char *)b->p, text);
    v = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &err);
    if (v == NULL) {
        fail_msg("jansson: %s in %s", err.text, text);
    }
    json_decref(v);
    sy_buf_free(b);
}

static void nested_values_get_their_commas(void **state)
{
    struct sy_buf b = {0};
    struct sy_json j;

    (void)state;
    sy_json_init(&j, &b);
    sy_json_object(&j);
    sy_json_kuint(&j, "a", INT64_MAX);
    sy_json_kint(&j, "b", INT64_MIN);
    sy_json_key(&j, "c");
    sy_json_array(&j);
    sy_json_array(&j);
    sy_json_array_end(&j);
    sy_json_null(&j);
    sy_json_object(&j);
    sy_json_object_end(&j);
    sy_json_double(&j, 0.1);
    sy_json_array_end(&j);
    sy_json_kbool(&j, "d", true);
    sy_json_kstr(&j, "e", "");
    sy_json_object_end(&j);
    sy_json_finish(&j);
    expect(&b,
           "{\"a\":9223372036854775807,\"b\":-9223372036854775808,"
           "\"c\":[[],null,{},0.1],\"d\":true,\"e\":\"\"}");
}

static void check_string(const char *s, size_t n, const char *text)
{
    struct sy_buf b = {0};
    struct sy_json j;

    sy_json_init(&j, &b);
    sy_json_strn(&j, s, n);
    sy_json_finish(&j);
    expect(&b, text);
}

#define STRING(S, TEXT) check_string((S), sizeof(S) - 1, (TEXT))

static void strings_are_escaped(void **state)
{
    (void)state;
    STRING("a\"b\\c/", "\"a\\\"b\\\\c/\"");
    STRING("\b\t\n\f\r", "\"\\b\\t\\n\\f\\r\"");
    STRING("\x1b[2J\x7f", "\"\\u001b[2J\\u007f\"");
    STRING("Zähler 4 – €😀", "\"Zähler 4 – €😀\"");
    STRING(
        "\xc2\x9b"
        "31m", /* C1: what ESC [ is in eight bits */
        "\"\\u009b31m\"");
    STRING(
        "\xe2\x80\xae"
        "abc", /* right-to-left override */
        "\"\\u202eabc\"");
    check_string("a\0b", 3, "\"a\\u0000b\"");
}

static void what_is_no_utf8_is_replaced(void **state)
{
    (void)state;
    STRING(
        "a\xff"
        "b",
        "\"a\xef\xbf\xbd"
        "b\"");
    STRING("\xc3", "\"\xef\xbf\xbd\"");                 /* cut short */
    STRING("\xc0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\""); /* overlong */
    STRING("\xe0\x80\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    STRING("\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""); /* surrogate */
    STRING("\xf4\x90\x80\x80",
           "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""); /* > U+10FFFF */
    STRING(
        "\xe2\x82"
        "x",
        "\"\xef\xbf\xbd\xef\xbf\xbdx\"");
}

static void check_double(double v, const char *text)
{
    struct sy_buf b = {0};
    struct sy_json j;

    sy_json_init(&j, &b);
    sy_json_double(&j, v);
    expect(&b, text);
}

static void doubles_are_short_and_exact(void **state)
{
    (void)state;
    check_double(0.0, "0");
    check_double(-1.5, "-1.5");
    check_double(1.0 / 3.0, "0.3333333333333333");
    check_double(5e-324, "4.94065645841247e-324");
    check_double(1e300, "1e+300");
    check_double((double)NAN, "null");
    check_double((double)-INFINITY, "null");
}

static void messagepack_becomes_json(void **state)
{
    struct sy_buf mp = {0};
    struct sy_buf b = {0};
    struct sy_cur c;

    (void)state;
    sy_mp_map(&mp, 5);
    sy_mp_kstr(&mp, "name", "x");
    sy_mp_uint(&mp, 7);
    sy_mp_array(&mp, 4);
    sy_mp_int(&mp, -1);
    sy_mp_nil(&mp);
    sy_mp_bin(&mp, "\x00\xff", 2);
    sy_mp_array(&mp, 0);
    sy_mp_int(&mp, -7);
    sy_mp_map(&mp, 0);
    sy_mp_kbool(&mp, "yes", false);
    sy_buf_put(&mp,
               "\xa1"
               "f\xcb\x3f\xf8\0\0\0\0\0\0"
               "\x2a",
               12); /* f: 1.5, and 42 after it */
    c = (struct sy_cur){mp.p, mp.len, 0};
    assert_int_equal(sy_json_from_mp(&b, &c), 0);
    expect(&b,
           "{\"name\":\"x\",\"7\":[-1,null,\"00ff\",[]],\"-7\":{},\"yes\":false,"
           "\"f\":1.5}");
    assert_int_equal(sy_mp_get_uint(&c), 42); /* Stands right after the value. */
    sy_buf_free(&mp);
}

static void refuse(const char *p, size_t n)
{
    struct sy_buf b = {0};
    struct sy_cur c = {(const uint8_t *)p, n, 0};

    sy_buf_str(&b, "kept");
    assert_int_equal(sy_json_from_mp(&b, &c), SY_ECORRUPT);
    assert_int_equal(b.len, 4);
    assert_true(c.bad);
    sy_buf_free(&b);
}

static void damaged_messagepack_leaves_nothing(void **state)
{
    char deep[64];

    (void)state;
    memset(deep, 0x91, sizeof deep);
    refuse(deep, sizeof deep);
    refuse("", 0);
    refuse(
        "\x82\xa1"
        "a\x01",
        4);                    /* a pair is missing */
    refuse("\x81\xc0\x01", 3); /* a key that is nil */
    refuse("\x81\x90\x01", 3); /* a key that is an array */
    refuse("\x92\x01\xc1", 3); /* never used */
    refuse("\xdd\xff\xff\xff\xff", 5);
    refuse(
        "\xd9\xff"
        "abc",
        5);
}

/* Any bytes: either refused, or JSON that somebody else can read. */
static void any_bytes_are_safe(void **state)
{
    uint64_t x = 88172645463325252U;
    unsigned good = 0;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t raw[24];
        struct sy_buf b = {0};
        struct sy_cur c = {raw, sizeof raw, 0};

        for (unsigned k = 0; k < sizeof raw; k++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            raw[k] = (uint8_t)(k % 3 != 0 ? 0x80 + x % 0x24 : x);
        }
        if (sy_json_from_mp(&b, &c) == 0) {
            json_error_t err;
            json_t *v = json_loadb((const char *)b.p, b.len,
                                   JSON_DECODE_ANY | JSON_ALLOW_NUL, &err);

            good++;
            if (v == NULL && strstr(err.text, "too big") == NULL) {
                fail_msg("%s: %.*s", err.text, (int)b.len, (const char *)b.p);
            }
            json_decref(v);
        }
        sy_buf_free(&b);
    }
    assert_in_range(good, 1000, 19999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nested_values_get_their_commas),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(what_is_no_utf8_is_replaced),
        cmocka_unit_test(doubles_are_short_and_exact),
        cmocka_unit_test(messagepack_becomes_json),
        cmocka_unit_test(damaged_messagepack_leaves_nothing),
        cmocka_unit_test(any_bytes_are_safe),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}

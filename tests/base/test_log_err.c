#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"

static void collect(void *data, enum sy_level level, const char *line, size_t len)
{
    struct sy_buf *b = data;

    b->len = 0;
    assert_int_equal(strlen(line), len);
    sy_buf_fmt(b, "<%d>%s", level, line);
    sy_buf_u8(b, 0);
}

static void a_line_is_an_event_and_typed_pairs(void **state)
{
    struct sy_buf b = {0};
    struct sy_log log = {.level = SY_INFO, .data = &b, .write = collect};

    (void)state;
    SY_LOG(&log, SY_NOTE, "role.changed", KSTR("from", "ramping"),
           KU64("term", UINT64_MAX), KI64("delta", -7), KERR(SY_ESTALE),
           KSTR("none", NULL));
    assert_string_equal((char *)b.p,
                        "<5>ev=role.changed from=ramping term=18446744073709551615 "
                        "delta=-7 err=SY_ESTALE none=-");
    SY_LOG(&log, SY_DEBUG, "too.much", KU64("n", 1));
    assert_non_null(strstr((char *)b.p, "role.changed"));
    sy_buf_free(&b);
}

static void what_could_be_taken_for_syntax_is_quoted(void **state)
{
    struct sy_buf b = {0};
    struct sy_log log = {.level = SY_INFO, .data = &b, .write = collect};

    (void)state;
    SY_LOG(&log, SY_INFO, "x", KSTR("a", "two words"), KSTR("b", ""), KSTR("c", "k=v"),
           KSTR("d", "say \"hi\"\\\n"));
    assert_string_equal(
        (char *)b.p,
        "<6>ev=x a=\"two words\" b=\"\" c=\"k=v\" d=\"say \\\"hi\\\"\\\\\\n\"");
    sy_buf_free(&b);
}

static void a_line_that_is_too_long_is_cut(void **state)
{
    struct sy_buf b = {0};
    struct sy_log log = {.level = SY_INFO, .data = &b, .write = collect};
    char text[5000];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    SY_LOG(&log, SY_INFO, "x", KSTR("a", text), KSTR("b", text));
    assert_int_equal(strlen((char *)b.p), 3 + 1023);
    memset(text, ' ', sizeof text - 1); /* Quoted: one character at a time. */
    SY_LOG(&log, SY_INFO, "x", KSTR("a", text), KU64("n", 1));
    assert_int_equal(strlen((char *)b.p), 3 + 1023);
    sy_buf_free(&b);
}

static void codes_have_names_and_texts(void **state)
{
    (void)state;
    assert_string_equal(sy_err_name(0), "ok");
    assert_string_equal(sy_err_name(-EINVAL), "EINVAL");
    assert_string_equal(sy_err_name(-99999), "unknown");
#define X(NAME, VALUE, TEXT)                        \
    assert_int_equal(NAME, VALUE);                  \
    assert_string_equal(sy_err_name(VALUE), #NAME); \
    assert_string_equal(sy_err_text(VALUE), TEXT);
    SY_ERR_MAP(X)
#undef X
    assert_string_equal(sy_err_text(-ENOSPC), strerror(ENOSPC));
}

static void a_failure_says_where(void **state)
{
    struct sy_errbuf eb = {""};

    (void)state;
    assert_int_equal(sy_fail(&eb, SY_ELIMIT, "peers: %d > %d", 9, 7), SY_ELIMIT);
    assert_string_equal(eb.text, "peers: 9 > 7");
    assert_int_equal(sy_fail(NULL, -EIO, "nobody asked"), -EIO);
    assert_int_equal(sy_fail(&eb, -EIO, "%0600d", 1), -EIO);
    assert_int_equal(strlen(eb.text), sizeof eb.text - 1);
}

static void a_hash_depends_on_bytes_and_seed(void **state)
{
    (void)state;
    assert_true(sy_hash("abc", 3, 0) == sy_hash("abcd", 3, 0));
    assert_true(sy_hash("abc", 3, 0) != sy_hash("abd", 3, 0));
    assert_true(sy_hash("abc", 3, 0) != sy_hash("abc", 3, 1));
    /* XXH3 of nothing: stored hashes must mean the same in every version. */
    assert_true(sy_hash("", 0, 0) == 0x2d06800538d394c2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_an_event_and_typed_pairs),
        cmocka_unit_test(what_could_be_taken_for_syntax_is_quoted),
        cmocka_unit_test(a_line_that_is_too_long_is_cut),
        cmocka_unit_test(codes_have_names_and_texts),
        cmocka_unit_test(a_failure_says_where),
        cmocka_unit_test(a_hash_depends_on_bytes_and_seed),
    };

    return cmocka_run_group_tests_name("log_err", tests, NULL, NULL);
}

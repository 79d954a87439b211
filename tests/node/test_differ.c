/* What differs between two contents, and what of it nobody sees. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "node/differ.h"

static struct sy_buf out;

static struct nd_content of(const char *text)
{
    return (struct nd_content){text, strlen(text)};
}

static const char *differ(const char *path, const char *before, const char *after)
{
    out.len = 0;
    assert_int_equal(nd_differ(path, of(before), of(after), 65536, &out),
                     ND_DIFFERS_TEXT);
    sy_buf_u8(&out, 0);
    return (const char *)out.p;
}

static void changes_come_with_what_is_around_them(void **state)
{
    (void)state;
    assert_string_equal(differ("a.yaml", "a\nb\n", "a\nb\n"), "");
    assert_string_equal(
        differ("a.yaml", "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n"),
        "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
    assert_string_equal(differ("a.yaml", "", "x\ny"), "@@ -0,0 +1,2 @@\n+x\n+y\n");
    assert_string_equal(differ("a.yaml", "x\n", ""), "@@ -1,1 +0,0 @@\n-x\n");
}

static void what_is_far_apart_comes_in_pieces(void **state)
{
    (void)state;
    assert_string_equal(
        differ("a.yaml", "a\n1\n2\n3\n4\n5\n6\n7\nz\n", "A\n1\n2\n3\n4\n5\n6\n7\nZ\n"),
        "@@ -1,4 +1,4 @@\n-a\n+A\n 1\n 2\n 3\n"
        "@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-z\n+Z\n");
    assert_string_equal(differ("a.yaml", "a\n1\n2\n3\nz\n", "A\n1\n2\n3\nZ\n"),
                        "@@ -1,5 +1,5 @@\n-a\n+A\n 1\n 2\n 3\n-z\n+Z\n");
}

/* None of the digits of a key, whichever way it is written. */
static void no_secret_comes_out(void **state)
{
    static const char *const texts[] = {
        "advanced:\n  network_key:\n    - 4711\n    - 4712\n  channel: 11\n",
        "advanced:\n  network_key:\n  - 4711\n  - 4712\n  channel: 11\n",
        "advanced:\n  network_key: [4711,\n    4712]\n  channel: 11\n",
        "advanced: {channel: 11, network_key: [4711, 4712]}\n",
        "advanced: {network_key: [\n4711,\n4712], x: 1}\nchannel: 11\n",
        "mqtt:\n  password: '4711'\n  user: \"x\"\n",
        "mqtt:\n  password: |\n\n    4711\n  user: x\n",
        "mqtt:\n  server: mqtt://u:4711@host\n",
        "{\"frontend\": {\"auth_token\": \"4711\"}}\n",
        "# password: 4711\n",
        "const TOKEN = '4711';\n",
        "MY_PASSWORD=4711\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *said = differ("configuration.yaml", texts[i], "");

        assert_null(strstr(said, "471"));
        assert_non_null(strstr(said, "(secret)"));
        assert_null(strstr(differ("configuration.yaml", "", texts[i]), "471"));
    }
}

static void another_secret_shows_that_it_is_another(void **state)
{
    (void)state;
    assert_string_equal(differ("configuration.yaml", "a: 1\npassword: x\nb: 2\n",
                               "a: 1\npassword: y\nb: 2\n"),
                        "@@ -1,3 +1,3 @@\n a: 1\n-password: (secret)\n"
                        "+password: (secret)\n b: 2\n");
    /* What stays may have become one. */
    assert_string_equal(
        differ("c.yaml", "list:\n  - 4711\nb: 2\n", "network_key:\n  - 4711\nb: 2\n"),
        "@@ -1,3 +1,3 @@\n-list:\n+network_key: (secret)\n   (secret)\n b: 2\n");
}

static void some_files_are_secret_as_a_whole(void **state)
{
    static const char *const names[] = {"secret.yaml", "coordinator_backup.json",
                                        "tls/server.key", "network_key", "passwd"};

    (void)state;
    out.len = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(nd_differ(names[i], of("a"), of("b"), 100, &out),
                         ND_DIFFERS_SECRET);
    }
    assert_int_equal(out.len, 0);
    assert_false(nd_differ_is_secret("database.db"));
}

static void what_is_no_text_is_not_shown(void **state)
{
    (void)state;
    assert_int_equal(nd_differ("x", (struct nd_content){"a\0b", 3}, of(""), 100, &out),
                     ND_DIFFERS_BINARY);
    assert_int_equal(nd_differ("x", of("caf\xe9"), of(""), 100, &out), ND_DIFFERS_BINARY);
    assert_int_equal(nd_differ("x", of(""), of("\xc3"), 100, &out), ND_DIFFERS_BINARY);
    (void)differ("x", "caf\xc3\xa9", "");
}

static void it_stays_within_its_limits(void **state)
{
    enum { LINES = 3000, LONG = 1000 };
    char *a = sy_calloc(LINES, 8), *b = sy_calloc(LINES, 8), line[LONG + 1];

    (void)state;
    for (unsigned i = 0; i < LINES; i++) {
        snprintf(a + strlen(a), 8, "a%u\n", i);
        snprintf(b + strlen(b), 8, "b%u\n", i);
    }
    out.len = 0;
    assert_int_equal(nd_differ("x", of(a), of(b), 1000, &out), ND_DIFFERS_TEXT);
    assert_in_range(out.len, 900, 1100);
    sy_buf_u8(&out, 0);
    assert_non_null(strstr((const char *)out.p, "(more differs than is shown)\n"));
    memset(line, 'x', LONG);
    line[LONG] = '\0';
    assert_in_range(strlen(differ("x", "", line)), ND_DIFFER_LINE_SHOWN,
                    ND_DIFFER_LINE_SHOWN + 40);
    sy_free(a);
    sy_free(b);
}

static int clean(void **state)
{
    (void)state;
    sy_buf_free(&out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_come_with_what_is_around_them),
        cmocka_unit_test(what_is_far_apart_comes_in_pieces),
        cmocka_unit_test(no_secret_comes_out),
        cmocka_unit_test(another_secret_shows_that_it_is_another),
        cmocka_unit_test(some_files_are_secret_as_a_whole),
        cmocka_unit_test(what_is_no_text_is_not_shown),
        cmocka_unit_test(it_stays_within_its_limits),
    };

    return cmocka_run_group_tests_name("differ", tests, NULL, clean);
}

/* The views of vagtctl over answers of any shape: known keys with values of random
 * types, strings of random bytes. Nothing may crash, and nothing raw may come out. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cli/cli.h"

enum { ROUNDS = 1000, DEPTH = 4 };

/* What main.c has in the program. */
volatile sig_atomic_t ct_interrupted;

static uint64_t random_state = 88172645463325252U;

static unsigned below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 20) % n;
}

static const char *const keys[] = {
    "cluster",   "node",     "now_ms",     "health",    "banner",     "issues",
    "level",     "text",     "watch",      "name",      "term",       "since_ms",
    "nodes",     "id",       "role",       "raft",      "contact_ms", "uptime_s",
    "version",   "lag",      "last",       "committed", "applied",    "log_bytes",
    "site",      "stale_ms", "areas",      "brokers",   "postgres",   "configured",
    "link",      "error",    "rows",       "outbox",    "readings",   "capacity",
    "oldest_ms", "commands", "open",       "devices",   "online",     "bridge",
    "ready",     "enabled",  "base_topic", "attempts",  "status",     "accepted_ms",
    "sent_ms",   "ended_ms", "reason",     "device",    "property",   "value",
};
static const char *const words[] = {
    "healthy",
    "no_watch",
    "active",
    "up",
    "offline",
    "error",
    "confirmed",
    "a name with blanks that is long enough to be broken at the end of the line",
    "",
    "é",
};

static void any(struct sy_buf *b, unsigned depth);

static void any_string(struct sy_buf *b)
{
    char raw[24];

    if (below(2) == 0) {
        sy_mp_str(b, words[below(sizeof words / sizeof words[0])]);
        return;
    }
    for (unsigned i = 0; i < sizeof raw; i++) {
        raw[i] = (char)(below(3) == 0 ? below(0x20) : below(256));
    }
    sy_mp_strn(b, raw, below(sizeof raw));
}

static void any_map(struct sy_buf *b, unsigned depth)
{
    unsigned n = depth == 0 ? sizeof keys / sizeof keys[0] : below(20);

    sy_mp_map(b, n);
    for (unsigned i = 0; i < n; i++) {
        sy_mp_str(b, keys[depth == 0 ? i : below(sizeof keys / sizeof keys[0])]);
        any(b, depth + 1);
    }
}

static void any_array(struct sy_buf *b, unsigned depth)
{
    unsigned n = below(5);

    sy_mp_array(b, n);
    for (unsigned i = 0; i < n; i++) {
        any(b, depth + 1);
    }
}

static void any(struct sy_buf *b, unsigned depth)
{
    unsigned kind = below(depth < DEPTH ? 9 : 6);

    if (depth == 0 || kind >= 7) {
        any_map(b, depth);
    } else if (kind == 6) {
        any_array(b, depth);
    } else if (kind == 0) {
        sy_mp_nil(b);
    } else if (kind == 1) {
        sy_mp_bool(b, below(2) == 0);
    } else if (kind == 2) {
        sy_mp_uint(b, below(2) == 0 ? below(5) : random_state >> below(64));
    } else if (kind == 3) {
        sy_mp_int(b, -(int64_t)below(1000));
    } else if (kind == 4) {
        sy_mp_bin(b, "\x1b[2J", 4);
    } else {
        any_string(b);
    }
}

static void check_clean(const struct ct_out *o)
{
    for (size_t i = 0; i < o->b.len;) {
        uint32_t cp;
        const char *p = (const char *)o->b.p + i;
        size_t len = sy_utf8_next(p, o->b.len - i, &cp);

        if (cp != '\n' && (sy_utf8_unsafe(cp) || (cp == 0xfffd && len == 1))) {
            fail_msg("byte %02x of %.*s", (unsigned)(uint8_t)*p, (int)o->b.len,
                     (const char *)o->b.p);
        }
        i += len;
    }
}

static void any_answer_can_be_shown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct ct_out o = {.width = below(2) * (40 + below(100))};
        struct sy_buf b = {0};
        struct ct_val v;

        any(&b, 0);
        assert_true(ct_val_of(&v, b.p, b.len));
        ct_status_head(&o, v);
        ct_status_verdict(&o, v);
        ct_status_body(&o, v);
        ct_show_command(&o, v);
        check_clean(&o);
        sy_buf_free(&b);
        ct_out_free(&o);
    }
}

/* Cut anywhere, with any byte changed: refused, or as good as any other. */
static void damaged_answers_are_refused_or_shown(void **state)
{
    unsigned refused = 0;

    (void)state;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct ct_out o = {.width = 80};
        struct sy_buf b = {0};
        struct ct_val v;

        any(&b, 0);
        if (below(2) == 0) {
            b.len = below((unsigned)b.len);
        } else {
            b.p[below((unsigned)b.len)] = (uint8_t)below(256);
        }
        if (ct_val_of(&v, b.p, b.len)) {
            ct_status_head(&o, v);
            ct_status_verdict(&o, v);
            ct_status_body(&o, v);
            check_clean(&o);
        } else {
            refused++;
        }
        sy_buf_free(&b);
        ct_out_free(&o);
    }
    assert_in_range(refused, ROUNDS / 3, ROUNDS - 1);
}

static void check_table(unsigned width, const char *text)
{
    static const struct ct_column columns[] = {{"NAME", false, true}, {"N", true, false}};
    struct ct_out o = {.width = width};
    struct ct_table t;

    ct_table_init(&t, columns, 2);
    ct_cell(&t, "Østergård i Ærø");
    ct_cell(&t, "1");
    ct_cell(&t, "b");
    ct_cell(&t, "200");
    ct_table_print(&t, &o);
    sy_buf_u8(&o.b, 0);
    assert_string_equal((const char *)o.b.p, text);
    ct_table_free(&t);
    ct_out_free(&o);
}

static void tables_count_code_points(void **state)
{
    (void)state;
    check_table(0, "NAME               N\nØstergård i Ærø    1\nb                200\n");
    check_table(20, "NAME               N\nØstergård i Ærø    1\nb                200\n");
    check_table(15, "NAME          N\nØstergård…    1\nb           200\n");
    check_table(5, "NAME      N\nØster…    1\nb       200\n"); /* It goes no smaller. */
}

static void check_text(void (*make)(struct sy_buf *b, uint64_t v), uint64_t v,
                       const char *text)
{
    struct sy_buf b = {0};

    make(&b, v);
    sy_buf_u8(&b, 0);
    assert_string_equal((const char *)b.p, text);
    sy_buf_free(&b);
}

static void numbers_are_made_for_people(void **state)
{
    (void)state;
    check_text(ct_age, 0, "0 ms");
    check_text(ct_age, 999, "999 ms");
    check_text(ct_age, 119999, "119 s");
    check_text(ct_age, 120000, "2 min");
    check_text(ct_age, 7200000, "2 h");
    check_text(ct_age, 172800000, "2 d");
    check_text(ct_size, 1023, "1023 B");
    check_text(ct_size, 1536, "1.5 KiB");
    check_text(ct_size, 1024 * 1024 - 1, "1.0 MiB");
    check_text(ct_size, 118ULL << 30, "118 GiB");
    check_text(ct_size, UINT64_MAX, "16.0 EiB");
    check_text(ct_count, 0, "0");
    check_text(ct_count, 999, "999");
    check_text(ct_count, 1284551, "1,284,551");
    check_text(ct_count, UINT64_MAX, "18,446,744,073,709,551,615");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_answer_can_be_shown),
        cmocka_unit_test(damaged_answers_are_refused_or_shown),
        cmocka_unit_test(tables_count_code_points),
        cmocka_unit_test(numbers_are_made_for_people),
    };
    return cmocka_run_group_tests_name("views", tests, NULL, NULL);
}

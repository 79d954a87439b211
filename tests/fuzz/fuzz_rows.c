/* Bytes are columns of rows for Postgres: texts that end with a zero, some of them from
 * the air. As the array literals that we send, read as the server reads them, they must
 * be the same texts again, and as many; never more. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/postgres/literal.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { COLUMNS = 4 };

/* --- the server's side: array_in() --- */

/* The next element of a one-dimensional array; false at its end. */
static bool next(const char **at, struct sy_buf *ret, bool *ret_null)
{
    const char *s = *at;

    ret->len = 0;
    if (*s == '}') {
        assert(s[1] == '\0');
        return false;
    }
    assert(*s == '{' || *s == ',');
    s++;
    if (*s == '}') {
        assert(s[1] == '\0' && s[-1] == '{'); /* It was empty. */
        return false;
    }
    *ret_null = *s != '"' && strncmp(s, "NULL", 4) == 0;
    if (*s != '"') {
        while (*s != ',' && *s != '}') {
            assert(*s != '\0' && *s != '"' && *s != '\\' && *s != '{');
            sy_buf_u8(ret, (uint8_t)*s++);
        }
    } else {
        for (s++; *s != '"'; s++) {
            s += *s == '\\';
            assert(*s != '\0');
            sy_buf_u8(ret, (uint8_t)*s);
        }
        s++;
    }
    *at = s;
    return true;
}

static void check_text(const char **at, const char *want, bool nullable)
{
    struct sy_buf got = {.p = NULL};
    bool null = false;
    bool is = next(at, &got, &null);

    assert(is);
    if (nullable && want[0] == '\0') {
        assert(null);
    } else {
        assert(!null && got.len == strlen(want) &&
               memcmp(got.len > 0 ? (char *)got.p : "", want, got.len) == 0);
    }
    sy_buf_free(&got);
}

/* Text from outside: no more of it than there was, and nothing that a server refuses. */
static void check_any(const char **at, const char *from, bool ascii)
{
    struct sy_buf got = {.p = NULL};
    bool null = false;
    bool is = next(at, &got, &null);
    uint32_t cp;

    assert(is && !null && got.len <= strlen(from));
    for (size_t i = 0; i < got.len;) {
        size_t len = sy_utf8_next((char *)got.p + i, got.len - i, &cp);

        assert(ascii ? cp < 0x80 : cp != 0xfffd || len == 3);
        i += len;
    }
    sy_buf_free(&got);
}

static void check_bytes(const char **at, const char *want)
{
    struct sy_buf got = {.p = NULL};
    bool null = false;
    bool is = next(at, &got, &null);

    assert(is && got.len == 2 + 2 * strlen(want) && memcmp(got.p, "\\x", 2) == 0);
    for (size_t i = 0; i < strlen(want); i++) {
        char hex[3] = {(char)got.p[2 + 2 * i], (char)got.p[3 + 2 * i], '\0'};

        assert(strtoul(hex, NULL, 16) == (uint8_t)want[i]);
    }
    sy_buf_free(&got);
}

/* --- ours --- */

static void put(struct ad_pg_columns *c, const char *s, bool ascii)
{
    ad_pg_put_text(&c->col[0], s);
    ad_pg_put_text_or_null(&c->col[1], s);
    ad_pg_put_any_text(&c->col[2], s, ascii);
    ad_pg_put_bytes(&c->col[3], s, strlen(s));
    c->rows++;
}

static void check(struct ad_pg_columns *c, const char *text, size_t n, bool ascii)
{
    const char *at[COLUMNS];
    struct sy_buf none = {.p = NULL};
    bool null;

    for (unsigned i = 0; i < COLUMNS; i++) {
        at[i] = (const char *)c->col[i].p;
        assert(strlen(at[i]) + 1 == c->col[i].len);
    }
    for (const char *s = text; s < text + n; s += strlen(s) + 1) {
        check_text(&at[0], s, false);
        check_text(&at[1], s, true);
        check_any(&at[2], s, ascii);
        check_bytes(&at[3], s);
    }
    for (unsigned i = 0; i < COLUMNS; i++) {
        bool more = next(&at[i], &none, &null);

        assert(!more);
    }
    sy_buf_free(&none);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static struct ad_pg_columns c;
    struct sy_buf texts = {.p = NULL};
    bool ascii;

    if (n == 0) {
        return 0;
    }
    ascii = (p[0] & 1) != 0;
    sy_buf_put(&texts, p + 1, n - 1);
    sy_buf_u8(&texts, 0);
    ad_pg_columns_begin(&c);
    for (const char *s = (char *)texts.p; s < (char *)texts.p + texts.len;
         s += strlen(s) + 1) {
        put(&c, s, ascii);
    }
    ad_pg_columns_end(&c);
    check(&c, (char *)texts.p, texts.len, ascii);
    sy_buf_free(&texts);
    return 0;
}

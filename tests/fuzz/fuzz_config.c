/* Text is a configuration. What loads must print to a text that loads and prints to
 * the same; what does not load must say why, in printable words with a place. */

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "node/config_schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const char *any_env(const char *name)
{
    /* No credentials, and so no file is opened by that road. */
    return strcmp(name, "CREDENTIALS_DIRECTORY") == 0 ? NULL : "a 'secret' \\ here";
}

/* @own: does the file itself hold what the secret looks like? */
static void check_problems(const struct nd_problems *ps, bool own)
{
    assert(ps->n > 0);
    for (unsigned i = 0; i < ps->n && i < ND_PROBLEMS_MAX; i++) {
        const char *s = ps->list[i].text;

        assert(strncmp(s, "f:", 2) == 0);
        assert(strlen(s) < ND_PROBLEM_SIZE);
        assert(own || strstr(s, "'secret'") == NULL);
        for (; *s != '\0'; s++) {
            assert((unsigned char)*s >= 0x20 && *s != 0x7f);
        }
        assert(i == 0 || ps->list[i - 1].line <= ps->list[i].line);
    }
}

static int load(struct nd_config *c, const uint8_t *p, size_t n)
{
    struct nd_problems ps = {.file = "f"};
    int rv = nd_config_parse(c, &ps, (const char *)p, n, any_env);

    assert((rv == 0) == (ps.n == 0));
    if (rv != 0) {
        check_problems(&ps, memmem(p, n, "secret", 6) || memchr(p, '\\', n));
    }
    nd_problems_free(&ps);
    return rv;
}

/* A secret's file that the fuzzer makes up must not be a device of this machine. */
static int is_harmful(const uint8_t *p, size_t n)
{
    return memmem(p, n, "file", 4) != NULL && memmem(p, n, "dev", 3) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct nd_config *c, *again;
    struct sy_buf first = {0}, second = {0};

    if (is_harmful(p, n)) {
        return 0;
    }
    c = sy_calloc(1, sizeof *c);
    again = sy_calloc(1, sizeof *again);
    if (load(c, p, n) == 0) {
        assert(nd_config_self(c) != NULL);
        nd_config_print(c, &first);
        assert(load(again, first.p, first.len) == 0);
        nd_config_print(again, &second);
        assert(first.len == second.len);
        assert(memcmp(first.p, second.p, first.len) == 0);
    }
    nd_config_free(c);
    nd_config_free(again);
    sy_free(c);
    sy_free(again);
    sy_buf_free(&first);
    sy_buf_free(&second);
    return 0;
}

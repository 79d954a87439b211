/* The table of the configuration, and that the documents have every option.
 *
 * VAGT_UPDATE=1 ./test_config_table rewrites them from it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "node/config_schema.h"
#include "tests/node/source.h"

static void the_table_is_consistent(void **state)
{
    (void)state;
    for (unsigned i = 0; i < nd_rows_n; i++) {
        const struct nd_row *row = &nd_rows[i];
        const char *key = nd_row_key(row);
        char section[ND_SHOWN_SIZE];
        size_t n = nd_row_section_len(row);

        snprintf(section, sizeof section, "%.*s", (int)n, row->path);
        assert_ptr_equal(nd_row_find(section, key, strlen(key)), row); /* unique */
        if (n > 0) {
            assert_non_null(nd_row_owner(row));
            assert_int_equal(nd_row_owner(row)->type,
                             row->path[n - 1] == ']' ? ND_MAPS : ND_MAP);
        }
        assert_int_equal(row->prose[strlen(row->prose) - 1], '.');
        assert_null(strchr(row->prose, '|')); /* breaks the table in Markdown */
        if (row->type == ND_TEXT) {
            assert_true(row->max < row->size && row->min <= row->max);
        }
        if (row->type == ND_UINT && row->size < 8) {
            assert_true(row->max < (uint64_t)1 << (8 * row->size));
        }
        assert_true(row->type != ND_CHOICE || row->names != NULL);
    }
}

/* Is @content what stands between the marks in @file (all of it, if @from is NULL)? */
static void check_document(const char *file, const char *from, const char *to,
                           struct sy_buf *content)
{
    struct sy_buf doc = slurp(file), out = {0};
    const char *text = (const char *)doc.p;
    const char *begin = from != NULL ? strstr(text, from) : text;
    const char *end =
        from != NULL && begin != NULL ? strstr(begin, to) : text + doc.len - 1;
    char path[512];

    assert_non_null(begin);
    assert_non_null(end);
    begin += from != NULL ? strlen(from) : 0;
    if ((size_t)(end - begin) != content->len ||
        memcmp(begin, content->p, content->len) != 0) {
        if (getenv("VAGT_UPDATE") == NULL) {
            fail_msg("%s is not what the table says: VAGT_UPDATE=1 test_config_table",
                     file);
        }
        sy_buf_put(&out, text, (size_t)(begin - text));
        sy_buf_put(&out, content->p, content->len);
        sy_buf_str(&out, end);
        sy_buf_u8(&out, 0);
        source_path(path, file);
        write_file(path, (char *)out.p, 0644);
    }
    sy_buf_free(&out);
    sy_buf_free(&doc);
    sy_buf_free(content);
}

static void documents_are_what_the_table_says(void **state)
{
    struct sy_buf b = {0};

    (void)state;
    nd_docs_markdown(&b);
    check_document("docs/configuration.md", "<!-- table -->\n", "<!-- end of table -->",
                   &b);
    nd_docs_scdoc(&b);
    check_document("docs/man/vagt.yaml.5.scd", "; table\n", "; end of table", &b);
    nd_docs_json_schema(&b);
    check_document("deploy/vagt.schema.json", NULL, NULL, &b);
}

/* Walks the properties; counts them and asserts that each is a row. */
static unsigned walk_schema(const json_t *schema, const char *section)
{
    const json_t *items = json_object_get(schema, "items");
    const char *key;
    json_t *value;
    char path[ND_SHOWN_SIZE];
    unsigned n = 0;

    if (json_object_get(items, "properties") != NULL) {
        snprintf(path, sizeof path, "%s[]", section);
        return walk_schema(items, path);
    }
    json_object_foreach(json_object_get(schema, "properties"), key, value)
    {
        const struct nd_row *row = nd_row_find(section, key, strlen(key));

        assert_non_null(row);
        snprintf(path, sizeof path, "%s%s%s", section, section[0] != '\0' ? "." : "",
                 key);
        n += 1 + walk_schema(value, path);
    }
    return n;
}

static void the_json_schema_has_every_key(void **state)
{
    struct sy_buf b = slurp("deploy/vagt.schema.json");
    json_error_t error;
    json_t *schema = json_loads((char *)b.p, JSON_REJECT_DUPLICATES, &error);

    (void)state;
    if (schema == NULL) {
        fail_msg("%d:%d: %s", error.line, error.column, error.text);
    }
    assert_int_equal(walk_schema(schema, ""), nd_rows_n);
    json_decref(schema);
    sy_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_consistent),
        cmocka_unit_test(documents_are_what_the_table_says),
        cmocka_unit_test(the_json_schema_has_every_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

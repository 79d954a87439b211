/* The table of the configuration (node/config_schema.h). */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "node/config_schema.h"

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
            bool list = row->path[n - 1] == ']';
            const struct nd_row *owner = nd_row_owner(row);

            assert_non_null(owner);
            assert_int_equal(owner->type, list ? ND_MAPS : ND_MAP);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_consistent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

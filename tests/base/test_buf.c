#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/mem.h"

static void what_is_put_is_there_in_little_endian(void **state)
{
    static const uint8_t expected[] = {1,    0x05, 0x04, 0x03, 0x02, 0x0d,
                                       0x0c, 0x0b, 0x0a, 0x09, 0x08, 0x07,
                                       0x06, 'h',  'i',  '-',  '4',  '2'};
    struct sy_buf b = {0};
    struct sy_cur c;

    (void)state;
    sy_buf_u8(&b, 1);
    sy_buf_u32(&b, 0x02030405);
    sy_buf_u64(&b, 0x060708090a0b0c0d);
    sy_buf_str(&b, "hi");
    sy_buf_fmt(&b, "%d", -42);
    sy_buf_put(&b, NULL, 0);
    sy_buf_fmt(&b, "%s", "");
    assert_int_equal(b.len, sizeof expected);
    assert_memory_equal(b.p, expected, sizeof expected);
    c = (struct sy_cur){.p = b.p, .n = b.len};
    assert_int_equal(sy_cur_u8(&c), 1);
    assert_int_equal(sy_cur_u32(&c), 0x02030405);
    assert_true(sy_cur_u64(&c) == 0x060708090a0b0c0d);
    assert_memory_equal(sy_cur_take(&c, 2), "hi", 2);
    assert_int_equal(c.n, 3);
    assert_false(c.bad);
    sy_buf_free(&b);
    assert_null(b.p);
}

static void a_cursor_that_ran_out_stays_bad(void **state)
{
    uint8_t raw[3] = {1, 2, 3};
    struct sy_cur c = {.p = raw, .n = 3};

    (void)state;
    assert_int_equal(sy_cur_u32(&c), 0);
    assert_true(c.bad);
    assert_int_equal(sy_cur_u8(&c), 0); /* Although there would be a byte. */
    assert_null(sy_cur_take(&c, 0));
    assert_true(sy_cur_u64(&c) == 0);
}

static void it_grows_and_keeps_what_it_had(void **state)
{
    struct sy_buf b = {0};
    struct sy_buf other = {0};

    (void)state;
    for (unsigned i = 0; i < 10000; i++) {
        sy_buf_u32(&b, i);
    }
    sy_buf_consume(&b, 4 * 9000);
    assert_int_equal(b.len, 4000);
    for (unsigned i = 9000; i < 10000; i++) {
        struct sy_cur c = {.p = b.p + 4 * (size_t)(i - 9000), .n = 4};

        assert_int_equal(sy_cur_u32(&c), i);
    }
    sy_buf_give(&b, &other);
    assert_true(b.p == NULL && b.len == 0 && b.cap == 0);
    assert_int_equal(other.len, 4000);
    sy_buf_consume(&other, 5000);
    assert_int_equal(other.len, 0);
    sy_buf_free(&other);
}

static void a_reservation_leaves_the_length_alone(void **state)
{
    struct sy_buf b = {0};
    uint8_t *p = sy_buf_reserve(&b, 1000);

    (void)state;
    memset(p, 7, 1000);
    assert_int_equal(b.len, 0);
    assert_true(b.cap >= 1000);
    assert_ptr_equal(sy_buf_reserve(&b, b.cap), p); /* It fits. */
    sy_buf_free(&b);
    assert_non_null(sy_buf_reserve(&b, 0)); /* Such as the bytes of an empty file. */
    sy_buf_free(&b);
}

struct item
{
    int n;
    struct sy_link link;
};

static void a_list_keeps_its_order(void **state)
{
    struct item items[3] = {{.n = 0}, {.n = 1}, {.n = 2}};
    struct sy_link head;
    struct sy_link taken;

    (void)state;
    sy_list_init(&head);
    assert_true(sy_list_empty(&head));
    assert_null(sy_list_pop(&head));
    for (int i = 0; i < 3; i++) {
        sy_list_init(&items[i].link);
        sy_list_push(&head, &items[i].link);
    }
    sy_list_remove(&items[1].link);
    sy_list_remove(&items[1].link); /* In no list: nothing happens. */
    sy_list_move(&head, &taken);
    assert_true(sy_list_empty(&head));
    assert_int_equal(SY_CONTAINER(sy_list_pop(&taken), struct item, link)->n, 0);
    assert_int_equal(SY_CONTAINER(sy_list_pop(&taken), struct item, link)->n, 2);
    assert_null(sy_list_pop(&taken));
    sy_list_move(&head, &taken);
    assert_true(sy_list_empty(&taken));
}

static void memory_is_never_null(void **state)
{
    void *p = sy_alloc(0);
    char *s = sy_strdup("text");
    uint8_t *z = sy_calloc(3, 4);

    (void)state;
    assert_non_null(p);
    assert_string_equal(s, "text");
    for (unsigned i = 0; i < 12; i++) {
        assert_int_equal(z[i], 0);
    }
    p = sy_realloc(p, 0);
    assert_non_null(p);
    sy_free(p);
    sy_free(s);
    sy_free(z);
    sy_free(sy_memdup(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_there_in_little_endian),
        cmocka_unit_test(a_cursor_that_ran_out_stays_bad),
        cmocka_unit_test(it_grows_and_keeps_what_it_had),
        cmocka_unit_test(a_reservation_leaves_the_length_alone),
        cmocka_unit_test(a_list_keeps_its_order),
        cmocka_unit_test(memory_is_never_null),
    };

    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}

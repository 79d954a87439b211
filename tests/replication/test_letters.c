#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static void letter(struct world *w, const char *reason)
{
    rp_batch_letter(&w->b, 1, "z2m-north/a", reason, "{oops", 5);
    world_apply(w);
}

static void a_letter_waits_until_it_is_shipped(void **state)
{
    const struct rp_letter *l;
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    letter(&w, "broken JSON");
    letter(&w, "negative energy");
    assert_string_equal(world_trace(&w), "letter\nletter\n");
    l = rp_store_letter(w.s, 1);
    assert_true(l->seq == 1 && l->at_ms == T0 && l->area == 1 && !l->cut);
    assert_string_equal(l->topic, "z2m-north/a");
    assert_string_equal(l->reason, "broken JSON");
    assert_int_equal(l->payload_len, 5);
    assert_memory_equal(l->payload, "{oops", 5);
    rp_batch_letters_shipped(&w.b, 1);
    world_apply(&w);
    assert_null(rp_store_letter(w.s, 1));
    assert_non_null(rp_store_letter(w.s, 2));
    rp_batch_letters_shipped(&w.b, 1); /* Told again: nothing. */
    world_apply(&w);
    assert_true(rp_store_letters_shipped(w.s) == 1);
    world_close(&w);
}

static void the_oldest_makes_room_and_is_counted(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL); /* four */
    for (unsigned i = 0; i < 6; i++) {
        letter(&w, "broken JSON");
    }
    assert_true(rp_store_letters_first(w.s) == 3 && rp_store_letters_last(w.s) == 6);
    assert_true(rp_store_letters_dropped(w.s) == 2);
    rp_batch_letters_shipped(&w.b, 6);
    world_apply(&w);
    letter(&w, "again");
    assert_string_equal(rp_store_letter(w.s, 7)->reason, "again");
    world_close(&w);
}

static void what_was_never_written_cannot_be_shipped(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    rp_batch_letters_shipped(&w.b, 1);
    world_apply(&w);
    assert_string_equal(world_trace(&w),
                        "refused shipped up to dead letter 1: there are only 0\n");
    world_close(&w);
}

static void an_area_that_is_not_known_is_none(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    rp_batch_letter(&w.b, 9, "other/a", "no area has this topic", "", 0);
    world_apply(&w);
    assert_int_equal(rp_store_letter(w.s, 1)->area, 0);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_letter_waits_until_it_is_shipped),
        cmocka_unit_test(the_oldest_makes_room_and_is_counted),
        cmocka_unit_test(what_was_never_written_cannot_be_shipped),
        cmocka_unit_test(an_area_that_is_not_known_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

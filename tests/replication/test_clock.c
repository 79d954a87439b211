#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "replication/clock.h"

enum { MONO = 5000, HOUR = 3600000 };
#define WALL UINT64_C(1764000000000)

static void a_sound_clock_is_the_time(void **state)
{
    struct rp_clock c = {0};

    (void)state;
    assert_true(rp_clock_now(&c, WALL, MONO) == WALL);
    rp_clock_saw(&c, WALL, MONO);
    assert_true(rp_clock_now(&c, WALL + 7, MONO + 7) == WALL + 7);
}

/* Frozen time would keep every command open until the clock has caught up. */
static void behind_the_state_time_goes_on(void **state)
{
    struct rp_clock c = {0};

    (void)state;
    rp_clock_saw(&c, WALL + HOUR, MONO);
    assert_true(rp_clock_now(&c, WALL, MONO) == WALL + HOUR);
    assert_true(rp_clock_now(&c, WALL + 60000, MONO + 60000) == WALL + HOUR + 54000);
}

static void what_one_proposed_oneself_does_not_speed_it_up(void **state)
{
    struct rp_clock c = {0};
    uint64_t mono = MONO;

    (void)state;
    rp_clock_saw(&c, WALL + HOUR, mono);
    for (unsigned i = 0; i < 1000; i++) {
        mono += 60;
        rp_clock_saw(&c, rp_clock_now(&c, WALL, mono), mono);
    }
    assert_true(rp_clock_now(&c, WALL, mono) >= WALL + HOUR + 53000);
    assert_true(rp_clock_now(&c, WALL, mono) <= WALL + HOUR + 54000);
}

static void they_meet_again(void **state)
{
    struct rp_clock c = {0};

    (void)state;
    rp_clock_saw(&c, WALL + HOUR, MONO);
    assert_true(rp_clock_now(&c, WALL + 10 * HOUR + 5, MONO + 10 * HOUR) ==
                WALL + 10 * HOUR + 5);
}

static void a_clock_that_is_set_back_does_not_stop_time(void **state)
{
    struct rp_clock c = {0};

    (void)state;
    rp_clock_saw(&c, WALL, MONO);
    assert_true(rp_clock_now(&c, WALL - HOUR, MONO + 1000) == WALL + 900);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_clock_is_the_time),
        cmocka_unit_test(behind_the_state_time_goes_on),
        cmocka_unit_test(what_one_proposed_oneself_does_not_speed_it_up),
        cmocka_unit_test(they_meet_again),
        cmocka_unit_test(a_clock_that_is_set_back_does_not_stop_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

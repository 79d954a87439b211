/* How long a broker of ours is read from before it is stopped. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/drain.h"

/* Looks each 10 ms, from @now on, until it ends: when? */
static uint64_t ends(struct nd_drain *d, uint64_t now, bool holding, uint64_t received,
                     uint64_t each)
{
    while (nd_drain_goes_on(d, now, holding, received)) {
        assert_true(now < 100000);
        now += 10;
        received += each;
    }
    return now;
}

static void in_silence_it_ends_soon(void **state)
{
    struct nd_drain d = {0};

    (void)state;
    assert_int_equal(ends(&d, 1000, false, 7, 0), 1000 + ND_DRAIN_QUIET_MS);
    /* Another time, another beginning. */
    assert_int_equal(ends(&d, 50000, false, 7, 0), 50000 + ND_DRAIN_QUIET_MS);
}

static void what_still_comes_is_waited_for(void **state)
{
    struct nd_drain d = {0};

    (void)state;
    assert_true(nd_drain_goes_on(&d, 1000, false, 7));
    assert_true(nd_drain_goes_on(&d, 1100, false, 8));
    assert_true(nd_drain_goes_on(&d, 1200, true, 8)); /* Not committed yet. */
    assert_int_equal(ends(&d, 1210, false, 8, 0), 1200 + ND_DRAIN_QUIET_MS);
}

static void nothing_is_waited_for_too_long(void **state)
{
    struct nd_drain d = {0};

    (void)state;
    assert_int_equal(ends(&d, 1000, false, 7, 1), 1000 + ND_DRAIN_MAX_MS);
    assert_int_equal(ends(&d, 5000, true, 7, 0), 5000 + ND_DRAIN_MAX_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_silence_it_ends_soon),
        cmocka_unit_test(what_still_comes_is_waited_for),
        cmocka_unit_test(nothing_is_waited_for_too_long),
    };

    return cmocka_run_group_tests_name("drain", tests, NULL, NULL);
}

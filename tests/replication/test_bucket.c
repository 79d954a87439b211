#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "replication/bucket.h"

static unsigned taken(struct rp_bucket *b, const struct rp_bucket_config *c,
                      uint64_t now_ms, unsigned tries)
{
    unsigned n = 0;

    for (unsigned i = 0; i < tries; i++) {
        n += rp_bucket_take(b, c, now_ms) ? 1 : 0;
    }
    return n;
}

static void a_burst_is_granted_and_no_more(void **state)
{
    struct rp_bucket_config c = {.per_second = 2, .burst = 5};
    struct rp_bucket b = {0};

    (void)state;
    assert_int_equal(taken(&b, &c, 1000, 100), 5);
    assert_int_equal(taken(&b, &c, 1499, 100), 0);
    assert_int_equal(taken(&b, &c, 1500, 100), 1);
    assert_int_equal(taken(&b, &c, UINT64_MAX, 100), 5);
}

static void asking_in_vain_does_not_lengthen_the_wait(void **state)
{
    struct rp_bucket_config c = {.per_second = 10, .burst = 1};
    struct rp_bucket b = {0};
    unsigned n = 0;

    (void)state;
    for (uint64_t ms = 0; ms < 10000; ms++) {
        n += taken(&b, &c, ms, 3);
    }
    assert_int_equal(n, 100);
}

static void a_clock_that_goes_back_gives_nothing(void **state)
{
    struct rp_bucket_config c = {.per_second = 1, .burst = 1};
    struct rp_bucket b = {0};

    (void)state;
    assert_int_equal(taken(&b, &c, 5000, 2), 1);
    assert_int_equal(taken(&b, &c, 1000, 2), 0);
    assert_int_equal(taken(&b, &c, 5999, 2), 0);
    assert_int_equal(taken(&b, &c, 6000, 2), 1);
}

static void without_a_rate_there_is_no_limit(void **state)
{
    struct rp_bucket_config c = {.per_second = 0};
    struct rp_bucket b = {0};

    (void)state;
    assert_int_equal(taken(&b, &c, 0, 1000), 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_is_granted_and_no_more),
        cmocka_unit_test(asking_in_vain_does_not_lengthen_the_wait),
        cmocka_unit_test(a_clock_that_goes_back_gives_nothing),
        cmocka_unit_test(without_a_rate_there_is_no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "replication/breaker.h"

static const struct rp_breaker_config config = {.failures = 3,
                                                .pause_ms = 1000,
                                                .pause_max_ms = 3000};

static void opened(struct rp_breaker *b, uint64_t now_ms)
{
    *b = (struct rp_breaker){0};
    assert_false(rp_breaker_failed(b, &config, 1, now_ms));
    assert_false(rp_breaker_failed(b, &config, 2, now_ms));
    assert_true(rp_breaker_failed(b, &config, 1, now_ms));
}

static void failures_of_several_devices_open_it(void **state)
{
    struct rp_breaker b;

    (void)state;
    opened(&b, 50);
    assert_int_equal(b.state, RP_BREAKER_OPEN);
    assert_false(rp_breaker_allows(&b, 50));
    assert_false(rp_breaker_allows(&b, 1049));
    assert_true(rp_breaker_allows(&b, 1050));
}

static void one_dead_meter_is_no_dead_bridge(void **state)
{
    struct rp_breaker b = {0};

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        assert_false(rp_breaker_failed(&b, &config, 1, i));
    }
    assert_true(rp_breaker_allows(&b, 100));
    /* The second one is enough then: nobody has answered for long. */
    assert_true(rp_breaker_failed(&b, &config, 2, 100));
}

static void any_answer_begins_anew(void **state)
{
    struct rp_breaker b = {0};

    (void)state;
    assert_false(rp_breaker_failed(&b, &config, 1, 0));
    assert_false(rp_breaker_failed(&b, &config, 2, 0));
    assert_false(rp_breaker_answered(&b));
    assert_false(rp_breaker_failed(&b, &config, 1, 0));
    assert_false(rp_breaker_failed(&b, &config, 2, 0));
    assert_int_equal(b.state, RP_BREAKER_CLOSED);
    opened(&b, 0);
    assert_true(rp_breaker_answered(&b));
    assert_true(rp_breaker_allows(&b, 0));
    assert_true(b.opened == 1);
}

static void one_is_let_through_and_decides(void **state)
{
    struct rp_breaker b;

    (void)state;
    opened(&b, 0);
    rp_breaker_sent(&b, 1000);
    assert_int_equal(b.state, RP_BREAKER_HALF_OPEN);
    assert_false(rp_breaker_allows(&b, 1001)); /* Only one. */
    assert_true(rp_breaker_failed(&b, &config, 7, 1500));
    assert_false(rp_breaker_allows(&b, 3499));
    rp_breaker_sent(&b, 3500);
    assert_true(rp_breaker_failed(&b, &config, 7, 3600));
    assert_false(rp_breaker_allows(&b, 6599)); /* 4,000 are more than the longest. */
    assert_true(rp_breaker_allows(&b, 6600));
    rp_breaker_sent(&b, 6600);
    assert_true(rp_breaker_answered(&b));
    assert_int_equal(b.state, RP_BREAKER_CLOSED);
}

static void a_trial_that_ended_otherwise_is_made_again(void **state)
{
    struct rp_breaker b;

    (void)state;
    opened(&b, 0);
    rp_breaker_sent(&b, 1000);
    assert_false(rp_breaker_allows(&b, 1999));
    assert_true(rp_breaker_allows(&b, 2000));
}

static void late_failures_while_it_is_open_change_nothing(void **state)
{
    struct rp_breaker b;

    (void)state;
    opened(&b, 0);
    assert_false(rp_breaker_failed(&b, &config, 3, 10));
    assert_true(rp_breaker_allows(&b, 1000));
    assert_true(b.opened == 1);
}

static void without_a_limit_it_never_opens(void **state)
{
    struct rp_breaker_config never = {.failures = 0};
    struct rp_breaker b = {0};

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        assert_false(rp_breaker_failed(&b, &never, i, i));
    }
    assert_true(rp_breaker_allows(&b, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_of_several_devices_open_it),
        cmocka_unit_test(one_dead_meter_is_no_dead_bridge),
        cmocka_unit_test(any_answer_begins_anew),
        cmocka_unit_test(one_is_let_through_and_decides),
        cmocka_unit_test(a_trial_that_ended_otherwise_is_made_again),
        cmocka_unit_test(late_failures_while_it_is_open_change_nothing),
        cmocka_unit_test(without_a_limit_it_never_opens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

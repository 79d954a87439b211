/* Whose state is wrong: each cluster size, each minority. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consensus/agree.h"

enum { SPLIT = 50 }; /* From this index on a bad state has another hash. */

struct nodes
{
    unsigned n;
    bool bad[CS_MEMBERS_MAX + 1];
    struct cs_agree agree[CS_MEMBERS_MAX + 1];
};

static uint64_t good_at(const void *ctx, uint64_t index)
{
    (void)ctx;
    return index * 7 + 1;
}

static uint64_t bad_at(const void *ctx, uint64_t index)
{
    return good_at(ctx, index) + (index >= SPLIT);
}

static uint64_t forgotten(const void *ctx, uint64_t index)
{
    (void)ctx, (void)index;
    return 0;
}

static uint64_t hash_of(const struct nodes *x, unsigned id, uint64_t index)
{
    return x->bad[id] ? bad_at(NULL, index) : good_at(NULL, index);
}

static void begin(struct nodes *x, unsigned n)
{
    *x = (struct nodes){.n = n};
    for (unsigned i = 1; i <= n; i++) {
        cs_agree_init(&x->agree[i], n);
    }
}

/* All tell all, except the dead. */
static void gossip(struct nodes *x, uint64_t index, unsigned dead)
{
    for (unsigned to = 1; to <= x->n; to++) {
        for (unsigned from = 1; from <= x->n; from++) {
            if (from != to && from != dead && to != dead) {
                cs_agree_heard(&x->agree[to], from, index, hash_of(x, from, index));
            }
        }
        cs_agree_compare(&x->agree[to], index, x->bad[to] ? bad_at : good_at, NULL);
    }
}

static void checkpoint(struct nodes *x, unsigned leader, uint64_t index)
{
    for (unsigned i = 1; i <= x->n; i++) {
        if (i != leader && hash_of(x, i, index) != hash_of(x, leader, index)) {
            cs_agree_told(&x->agree[i], index);
        }
    }
}

static void a_minority_is_wrong_whoever_leads(void **state)
{
    struct nodes x;

    (void)state;
    for (unsigned n = 3; n <= 5; n++) {
        for (unsigned leader = 1; leader <= n; leader++) {
            for (unsigned bad = 1; bad <= n; bad++) {
                begin(&x, n);
                x.bad[bad] = true;
                gossip(&x, SPLIT - 10, 0); /* All agreed once. */
                checkpoint(&x, leader, SPLIT + 1);
                gossip(&x, SPLIT + 2, 0);
                for (unsigned i = 1; i <= n; i++) {
                    assert_int_equal(cs_agree_wrong(&x.agree[i]), i == bad);
                }
            }
        }
    }
}

static void of_two_the_leader_is_believed(void **state)
{
    struct nodes x;

    (void)state;
    begin(&x, 2);
    x.bad[1] = true;
    checkpoint(&x, 1, SPLIT + 1);
    gossip(&x, SPLIT + 2, 0);
    assert_false(cs_agree_wrong(&x.agree[1]));
    assert_true(cs_agree_wrong(&x.agree[2]));
}

static void without_a_majority_the_leader_is_believed(void **state)
{
    struct nodes x;

    (void)state;
    begin(&x, 3);
    x.bad[1] = true;
    gossip(&x, SPLIT - 10, 0);
    checkpoint(&x, 1, SPLIT + 1);
    assert_true(cs_agree_wrong(&x.agree[2])); /* Nothing heard yet. */
    gossip(&x, SPLIT + 2, 3);
    assert_false(cs_agree_wrong(&x.agree[1]));
    assert_true(cs_agree_wrong(&x.agree[2]));
    gossip(&x, SPLIT + 3, 0); /* The third is back. */
    assert_true(cs_agree_wrong(&x.agree[1]));
    assert_false(cs_agree_wrong(&x.agree[2]));
}

static void what_is_not_applied_yet_is_compared_later(void **state)
{
    struct cs_agree a;

    (void)state;
    cs_agree_init(&a, 3);
    cs_agree_heard(&a, 2, 60, bad_at(NULL, 60));
    cs_agree_heard(&a, 2, 70, good_at(NULL, 70)); /* The first one is kept. */
    cs_agree_heard(&a, 3, 60, bad_at(NULL, 60));
    cs_agree_compare(&a, 59, good_at, NULL);
    assert_false(cs_agree_wrong(&a));
    cs_agree_compare(&a, 60, good_at, NULL);
    assert_true(cs_agree_wrong(&a));
}

static void what_is_forgotten_says_nothing(void **state)
{
    struct cs_agree a;

    (void)state;
    cs_agree_init(&a, 3);
    for (unsigned i = 2; i <= 3; i++) {
        cs_agree_heard(&a, i, 60, bad_at(NULL, 60));
    }
    cs_agree_compare(&a, 5000, forgotten, NULL);
    assert_false(cs_agree_wrong(&a));
    /* And there is room for the next. */
    cs_agree_heard(&a, 2, 61, bad_at(NULL, 61));
    cs_agree_heard(&a, 3, 61, bad_at(NULL, 61));
    cs_agree_compare(&a, 5000, good_at, NULL);
    assert_true(cs_agree_wrong(&a));
}

static void who_was_seeded_anew_is_right_again(void **state)
{
    struct nodes x;

    (void)state;
    begin(&x, 3);
    x.bad[3] = true;
    checkpoint(&x, 1, SPLIT + 1);
    gossip(&x, SPLIT + 2, 0);
    assert_true(cs_agree_wrong(&x.agree[3]));
    x.bad[3] = false;
    cs_agree_init(&x.agree[3], 3); /* A new process. */
    gossip(&x, SPLIT + 90, 0);
    for (unsigned i = 1; i <= 3; i++) {
        assert_false(cs_agree_wrong(&x.agree[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_minority_is_wrong_whoever_leads),
        cmocka_unit_test(of_two_the_leader_is_believed),
        cmocka_unit_test(without_a_majority_the_leader_is_believed),
        cmocka_unit_test(what_is_not_applied_yet_is_compared_later),
        cmocka_unit_test(what_is_forgotten_says_nothing),
        cmocka_unit_test(who_was_seeded_anew_is_right_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

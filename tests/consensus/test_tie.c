/* The tie-breaker's machine, one life at a time; what two nodes make of it together is
 * walked in test_tie_explore.c. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "consensus/tie.h"

enum { PAIR = 6, THREE = 14 };

static const struct cs_tie_row open_row = {.epoch = 4,
                                           .term = 7,
                                           .token = 99,
                                           .members = PAIR};

/* Node 1 of two, the other silent: it may claim. */
static struct cs_tie_levels widowed(void)
{
    return (struct cs_tie_levels){.voters = PAIR,
                                  .in_force = PAIR,
                                  .epoch = 4,
                                  .held = 4,
                                  .term = 9,
                                  .silent = true,
                                  .fit = true,
                                  .calm = true,
                                  .patient = true,
                                  .reach = true};
}

/* Both there, and this one leads. */
static struct cs_tie_levels leading(void)
{
    struct cs_tie_levels l = widowed();

    l.silent = false;
    l.leading = true;
    l.peer_epoch = 4;
    return l;
}

static void know(struct cs_tie *t, struct cs_tie_row row)
{
    struct cs_tie_levels l = widowed();

    l.look = true;
    assert_int_equal(cs_tie_step(t, &l), CS_TIE_READ);
    cs_tie_answer(t, &row);
}

static void begin(struct cs_tie *t)
{
    cs_tie_init(t, 1, 1000, 0);
}

static void a_claim_that_is_won_re_forms(void **state)
{
    struct cs_tie t;
    struct cs_tie_levels l = widowed();

    (void)state;
    begin(&t);
    know(&t, open_row);
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_SWAP);
    assert_int_equal(t.expect, 4);
    assert_int_equal(t.want.epoch, 5);
    assert_int_equal(t.want.sole, 1);
    assert_int_equal(t.want.term, 9);
    assert_true(cs_tie_muted(&t));
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_NOTHING);
    cs_tie_answer(&t, &t.want);
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_REFORM);
    assert_true(cs_tie_muted(&t));
}

static void a_claim_that_is_lost_changes_nothing(void **state)
{
    struct cs_tie t;
    struct cs_tie_levels l = widowed();
    struct cs_tie_row other = {.epoch = 5, .token = 7, .members = PAIR, .sole = 2};

    (void)state;
    begin(&t);
    know(&t, open_row);
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_SWAP);
    cs_tie_answer(&t, &other);
    assert_true(t.lost);
    assert_false(cs_tie_muted(&t));
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_NOTHING);
}

static void an_unknown_outcome_is_looked_up(void **state)
{
    struct cs_tie t;
    struct cs_tie_levels l = widowed();
    struct cs_tie_row ours;

    (void)state;
    begin(&t);
    know(&t, open_row);
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_SWAP);
    ours = t.want;
    cs_tie_answer(&t, NULL);
    assert_true(cs_tie_muted(&t));
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_READ);
    cs_tie_answer(&t, NULL); /* Once more. */
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_READ);
    cs_tie_answer(&t, &ours);
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_REFORM);
}

static void a_peer_that_is_heard_again_ends_a_claim(void **state)
{
    struct cs_tie t;
    struct cs_tie_levels l = widowed();

    (void)state;
    begin(&t);
    know(&t, open_row);
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_SWAP);
    l.silent = false;
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_NOTHING);
    assert_false(cs_tie_muted(&t));
    cs_tie_answer(&t, &t.want); /* Won, and of no use. */
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_NOTHING);
}

static void refuses(struct cs_tie_row row, struct cs_tie_levels l)
{
    struct cs_tie t;

    begin(&t);
    know(&t, row);
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_NOTHING);
    assert_false(cs_tie_muted(&t));
}

static void nothing_else_is_claimed(void **state)
{
    struct cs_tie_row row = open_row;
    struct cs_tie_levels l = widowed();

    (void)state;
    row.sole = 2;
    refuses(row, l); /* names the other */
    row = open_row;
    row.epoch = 5;
    refuses(row, l); /* newer than what this node has */
    row = open_row;
    row.members = THREE;
    refuses(row, l); /* a third has a voice */
    refuses((struct cs_tie_row){0}, l);
    l.fit = false;
    refuses(open_row, l);
    l = widowed();
    l.calm = false;
    refuses(open_row, l);
    l = widowed();
    l.patient = false;
    refuses(open_row, l);
    l = widowed();
    l.reach = false;
    refuses(open_row, l);
    l = widowed();
    l.voters = l.in_force = THREE;
    refuses(open_row, l);
}

static void alone_it_leads_only_after_a_swap_of_this_life(void **state)
{
    struct cs_tie t;
    struct cs_tie_levels l = leading();
    struct cs_tie_row row = {.epoch = 5, .token = 7, .members = PAIR, .sole = 1};

    (void)state;
    l.voters = l.in_force = 2;
    l.epoch = l.held = 5;
    begin(&t);
    assert_false(cs_tie_may_lead(&t, &l));
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_READ);
    cs_tie_answer(&t, &row);
    assert_false(cs_tie_may_lead(&t, &l));
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_SWAP);
    assert_int_equal(t.want.epoch, 6);
    cs_tie_answer(&t, &t.want);
    assert_true(cs_tie_may_lead(&t, &l));
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_PROPOSE);
    assert_int_equal(t.propose, 6);
    l.epoch = l.held = 6;
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_NOTHING);
    l.look = true; /* An operator gave it to the other one. */
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_READ);
    row.epoch = 7;
    row.sole = 2;
    cs_tie_answer(&t, &row);
    assert_false(cs_tie_may_lead(&t, &l));
}

static void an_operator_needs_no_postgres(void **state)
{
    struct cs_tie t;
    struct cs_tie_levels l = leading();
    struct cs_tie_row row = {.epoch = 5, .token = 7, .members = PAIR, .sole = 2};

    (void)state;
    l.voters = l.in_force = 2;
    l.reach = false;
    begin(&t);
    assert_false(cs_tie_may_lead(&t, &l));
    l.forced = true;
    assert_true(cs_tie_may_lead(&t, &l));
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_NOTHING);
    l.reach = true; /* And when it is back the row is made to say so. */
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_READ);
    cs_tie_answer(&t, &row);
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_SWAP);
    assert_int_equal(t.want.sole, 1);
    assert_int_equal(t.want.epoch, 6);
}

static void it_is_handed_back_when_both_know_the_epoch(void **state)
{
    struct cs_tie t;
    struct cs_tie_levels l = leading();
    struct cs_tie_row row = {.epoch = 5, .token = 7, .members = PAIR, .sole = 1};

    (void)state;
    begin(&t);
    know(&t, row);
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_PROPOSE);
    assert_int_equal(t.propose, 6);
    l.epoch = l.held = 6;
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_NOTHING);
    l.peer_epoch = 6;
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_SWAP);
    assert_int_equal(t.want.epoch, 6);
    assert_int_equal(t.want.sole, 0);
    cs_tie_answer(&t, &t.want);
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_NOTHING);
}

static void a_third_comes_in_only_when_the_row_is_closed(void **state)
{
    struct cs_tie t;
    struct cs_tie_levels l = leading();

    (void)state;
    begin(&t);
    know(&t, open_row);
    assert_true(cs_tie_may_widen(&t, PAIR));
    assert_false(cs_tie_may_widen(&t, THREE));
    l.widen = THREE;
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_SWAP);
    assert_int_equal(t.want.members, THREE);
    assert_int_equal(t.want.sole, 0);
    assert_false(cs_tie_may_widen(&t, THREE));
    cs_tie_answer(&t, &t.want);
    assert_true(cs_tie_may_widen(&t, THREE));
    l.widen = 0; /* Nobody came: it is opened again, by both. */
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_PROPOSE);
    assert_int_equal(t.propose, 6);
}

static void who_was_left_behind_begins_empty(void **state)
{
    struct cs_tie t;
    struct cs_tie_levels l = widowed();

    (void)state;
    l.silent = false;
    begin(&t);
    l.out_epoch = 4; /* Not newer than what it has: an old word. */
    l.reach = false;
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_NOTHING);
    l.out_epoch = 5;
    assert_int_equal(cs_tie_step(&t, &l), CS_TIE_ARCHIVE);
}

static void silence_is_longer_than_a_lease(void **state)
{
    (void)state;
    assert_false(cs_tie_silent(11000, 10000, 1000, true));
    assert_true(cs_tie_silent(11125, 10000, 1000, true));
    assert_false(cs_tie_silent(12124, 10000, 1000, false));
    assert_true(cs_tie_silent(12125, 10000, 1000, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_claim_that_is_won_re_forms),
        cmocka_unit_test(a_claim_that_is_lost_changes_nothing),
        cmocka_unit_test(an_unknown_outcome_is_looked_up),
        cmocka_unit_test(a_peer_that_is_heard_again_ends_a_claim),
        cmocka_unit_test(nothing_else_is_claimed),
        cmocka_unit_test(alone_it_leads_only_after_a_swap_of_this_life),
        cmocka_unit_test(an_operator_needs_no_postgres),
        cmocka_unit_test(it_is_handed_back_when_both_know_the_epoch),
        cmocka_unit_test(a_third_comes_in_only_when_the_row_is_closed),
        cmocka_unit_test(who_was_left_behind_begins_empty),
        cmocka_unit_test(silence_is_longer_than_a_lease),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Members that change: what is refused, what a learner may not do, and what is left
 * of a configuration that is cut off, stored and not committed, or in a snapshot. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tests/sim/sim.h"

enum { NEVER = 1 << 30 };

static struct sim *cluster(unsigned nodes, unsigned founders, unsigned without)
{
    struct sim *s = sim_new(nodes, 42, &sim_counter);

    s->founders = founders;
    s->without = without;
    s->disk_max_ms = 2;
    s->net_max_ms = 1;
    for (unsigned i = 1; i <= s->n; i++) {
        s->nodes[i].config.snapshot_entries = 0;
        s->nodes[i].config.snapshot_bytes = 0;
    }
    return s;
}

static struct sim_node *wait_for_leader(struct sim *s, uint64_t within_ms)
{
    uint64_t end = s->now + within_ms;

    while (sim_leader(s) == NULL && s->now < end) {
        sim_run_until(s, s->now + 1);
    }
    return sim_leader(s);
}

static void pass(struct sim *s, uint64_t ms)
{
    sim_run_until(s, s->now + ms);
    sim_check_logs(s);
}

static struct sim_node *a_leader(struct sim *s)
{
    struct sim_node *x;
    uint64_t index;

    sim_boot(s);
    x = wait_for_leader(s, 5000);
    assert_non_null(x);
    pass(s, 50);
    assert_int_equal(cs_core_barrier(x->core, s->now, &index), 0);
    sim_submit(x, 5);
    pass(s, 100);
    assert_int_equal(cs_core_committed(x->core), cs_core_last(x->core));
    return x;
}

static struct sim_node *other(struct sim *s, unsigned not_a, unsigned not_b)
{
    for (unsigned i = 1; i <= s->n; i++) {
        if (i != not_a && i != not_b) {
            return &s->nodes[i];
        }
    }
    return NULL;
}

static int set_role(struct sim_node *x, unsigned id, enum cs_member_role role)
{
    uint64_t index;
    int rv = cs_core_change(x->core, x->sim->now, id, role, &index);

    sim_check_node(x);
    sim_arm(x);
    return rv;
}

static enum cs_member_role role_at(const struct sim_node *x, unsigned id)
{
    struct cs_member m;

    (void)cs_core_member(x->core, id, &m);
    return m.role;
}

static int64_t outcome(int64_t (*run)(struct sim *s), unsigned nodes, unsigned founders,
                       unsigned without)
{
    struct sim *volatile s = cluster(nodes, founders, without);
    struct sim *done;
    volatile int64_t result = -1;

    if (SIM_TRY(s)) {
        result = run(s);
    } else {
        print_message("(%s)\n", s->why);
        for (unsigned i = 1; i <= s->n; i++) {
            s->nodes[i].job = NULL;
        }
    }
    done = s;
    sim_destroy(&done);
    print_message("(without %u: %lld)\n", without, (long long)result);
    return result;
}

/* --- the ordinary way in and out --- */

static int64_t comes_and_goes(struct sim *s)
{
    struct sim_node *x = a_leader(s), *new = &s->nodes[4];
    struct cs_member m;

    assert_int_equal(set_role(x, 4, CS_ROLE_SPARE), 0);
    pass(s, 200);
    assert_int_equal(cs_core_last(new->core), 0); /* A spare gets nothing ... */
    assert_int_equal(set_role(x, 4, CS_ROLE_VOTER), SY_EBUSY);
    assert_int_equal(cs_core_catch_up(x->core, s->now, 4), 0);
    pass(s, 200);
    assert_true(cs_core_member(x->core, 4, &m) && m.level && m.committed);
    assert_int_equal(set_role(x, 4, CS_ROLE_VOTER), 0); /* ... but when it catches up. */
    pass(s, 200);
    assert_int_equal(role_at(new, 4), CS_ROLE_VOTER);
    sim_check_equal(s);
    assert_int_equal(set_role(x, 4, CS_ROLE_STANDBY), 0);
    pass(s, 200);
    sim_submit(x, 5);
    pass(s, 200);
    sim_check_equal(s); /* A standby gets everything. */
    assert_int_equal(set_role(x, 4, CS_ROLE_ABSENT), 0);
    pass(s, 200);
    assert_int_equal(role_at(x, 4), CS_ROLE_ABSENT);
    sim_submit(x, 5);
    pass(s, 1000); /* It is not told, and disturbs nobody. */
    assert_int_equal(cs_core_role(x->core), CS_LEADER);
    assert_int_equal(cs_core_committed(x->core), cs_core_last(x->core));
    return 0;
}

static void a_node_comes_and_goes(void **state)
{
    (void)state;
    assert_int_equal(outcome(comes_and_goes, 4, 3, 0), 0);
}

static int64_t what_is_refused(struct sim *s)
{
    struct sim_node *x = a_leader(s);
    struct sim_node *y = other(s, x->id, 4), *z;
    struct cs_member m;

    z = y->id == 1 || x->id == 1 ? other(s, 1, x->id == 1 ? y->id : x->id) : &s->nodes[1];
    assert_int_equal(set_role(y, 4, CS_ROLE_SPARE), SY_ENOTLEADER);
    assert_int_equal(set_role(x, 4, CS_ROLE_VOTER), SY_EINVALID);
    assert_int_equal(set_role(x, 99, CS_ROLE_SPARE), SY_EINVALID);
    assert_int_equal(set_role(x, x->id, CS_ROLE_ABSENT), SY_EINVALID);
    assert_int_equal(set_role(x, 4, CS_ROLE_ABSENT), SY_ENOTFOUND);
    assert_int_equal(set_role(x, y->id, CS_ROLE_VOTER), SY_EEXISTS);
    assert_int_equal(cs_core_catch_up(x->core, s->now, 4), SY_ENOTFOUND);
    assert_int_equal(set_role(x, 4, CS_ROLE_STANDBY), 0);
    assert_int_equal(set_role(x, y->id, CS_ROLE_STANDBY), SY_EBUSY); /* Two at once. */
    pass(s, 200);
    /* With one of three dead none of the other two can be spared. */
    sim_crash(z, false);
    pass(s, 300);
    assert_int_equal(cs_core_role(x->core), CS_LEADER);
    assert_int_equal(set_role(x, y->id, CS_ROLE_STANDBY), SY_ENOQUORUM);
    assert_true(cs_core_member(x->core, y->id, &m) && m.alive);
    assert_int_equal(set_role(x, z->id, CS_ROLE_ABSENT), 0);
    pass(s, 100);
    assert_false(cs_core_member(x->core, z->id, &m));
    return 0;
}

static void what_would_harm_is_refused(void **state)
{
    (void)state;
    assert_int_equal(outcome(what_is_refused, 4, 3, 0), 0);
}

/* --- learners --- */

static int64_t learner(struct sim *s)
{
    struct sim_node *x = a_leader(s), *new = &s->nodes[4];
    struct sim_node *y = other(s, x->id, 4);
    uint64_t had;

    assert_int_equal(set_role(x, 4, CS_ROLE_STANDBY), 0);
    pass(s, 200);
    for (unsigned i = 1; i <= 3; i++) {
        if (i != x->id && i != y->id) {
            sim_crash(&s->nodes[i], false);
        }
    }
    sim_crash(y, false);
    had = cs_core_committed(x->core);
    sim_submit(x, 3);
    pass(s, 40); /* The standby has them, and does not count. */
    assert_true(cs_core_last(new->core) > had);
    assert_int_equal(cs_core_committed(x->core), had);
    sim_crash(x, false);
    sim_alarm(new, x->id);
    pass(s, 2000);
    assert_int_equal(cs_core_role(new->core), CS_FOLLOWER);
    assert_int_equal(new->core->stats.alarms, 0);
    return 0;
}

static void a_learner_neither_counts_nor_campaigns(void **state)
{
    (void)state;
    assert_int_equal(outcome(learner, 4, 3, 0), 0);
}

/* --- held back --- */

static int64_t held(struct sim *s)
{
    struct sim_node *x = a_leader(s);
    uint64_t from;

    for (unsigned i = 1; i <= 3; i++) {
        if (i != x->id) {
            cs_core_hold(s->nodes[i].core, true);
        }
    }
    sim_crash(x, false);
    for (unsigned i = 1; i <= 3; i++) {
        if (i != x->id) {
            sim_alarm(&s->nodes[i], x->id);
        }
    }
    pass(s, 10000);
    assert_null(sim_leader(s));
    /* The one that had the lead may have it again: they vote. */
    sim_start(x);
    assert_ptr_equal(wait_for_leader(s, 5000), x);
    pass(s, 200);
    /* And who is handed the lead takes it. */
    assert_int_equal(cs_core_transfer(x->core, s->now, x->id % 3 + 1, s->now + 1000), 0);
    pass(s, 500);
    assert_non_null(sim_leader(s));
    assert_int_equal(sim_leader(s)->id, x->id % 3 + 1);
    /* Nobody is held any more. */
    x = sim_leader(s);
    sim_crash(x, false);
    for (unsigned i = 1; i <= 3; i++) {
        if (i != x->id) {
            cs_core_hold(s->nodes[i].core, false);
        }
    }
    from = s->now;
    assert_non_null(wait_for_leader(s, 5000));
    return (int64_t)(s->now - from);
}

static void who_is_held_back_does_not_campaign_and_votes(void **state)
{
    (void)state;
    assert_in_range(outcome(held, 3, 3, 0), 0, 5000);
}

/* --- configurations that are not committed --- */

static int64_t cut_off(struct sim *s)
{
    struct sim_node *x = a_leader(s), *y;

    sim_cut_off(s, x->id, true);
    assert_int_equal(set_role(x, 4, CS_ROLE_STANDBY), 0);
    pass(s, 20);
    assert_int_equal(role_at(x, 4), CS_ROLE_STANDBY);
    for (y = NULL; y == NULL || y == x; y = sim_leader(s)) {
        pass(s, 10);
    }
    sim_submit(y, 3);
    pass(s, 50);
    sim_cut_off(s, x->id, false);
    pass(s, 300);
    assert_int_equal(role_at(x, 4), CS_ROLE_ABSENT);
    assert_int_equal(x->core->r.configuration_uncommitted_index, 0);
    assert_int_equal(set_role(y, 4, CS_ROLE_STANDBY), 0);
    pass(s, 100);
    assert_int_equal(role_at(x, 4), CS_ROLE_STANDBY);
    return 0;
}

static void a_change_that_is_cut_off_is_undone(void **state)
{
    (void)state;
    assert_int_equal(outcome(cut_off, 4, 3, 0), 0);
}

static int64_t restart_with_change(struct sim *s)
{
    struct sim_node *x = a_leader(s);
    uint64_t index;

    for (unsigned i = 1; i <= s->n; i++) {
        s->cut[x->id][i] = true;
    }
    assert_int_equal(set_role(x, 4, CS_ROLE_STANDBY), 0);
    index = cs_core_last(x->core);
    pass(s, 10);
    assert_true(cs_core_stored_index(x->core) >= index);
    sim_crash(x, true);
    sim_cut_off(s, x->id, false);
    sim_start(x);
    assert_int_equal(role_at(x, 4), CS_ROLE_STANDBY); /* In the log, so it counts. */
    assert_int_equal(x->core->r.configuration_uncommitted_index, index);
    pass(s, 1000);
    x = wait_for_leader(s, 1000);
    assert_non_null(x);
    pass(s, 300);
    assert_int_equal(x->core->r.configuration_uncommitted_index, 0);
    return 0;
}

static void a_change_in_the_log_counts_after_a_restart(void **state)
{
    (void)state;
    assert_int_equal(outcome(restart_with_change, 4, 3, 0), 0);
}

static int64_t by_snapshot(struct sim *s)
{
    struct sim_node *x, *new = &s->nodes[4];
    uint64_t conf;

    for (unsigned i = 1; i <= s->n; i++) {
        s->nodes[i].config.snapshot_entries = 20;
    }
    x = a_leader(s);
    assert_int_equal(set_role(x, 4, CS_ROLE_SPARE), 0);
    pass(s, 50);
    conf = x->core->conf_index;
    for (unsigned i = 0; i < 20; i++) {
        sim_submit(x, 10);
        pass(s, 20);
    }
    assert_true(cs_core_first(x->core) > conf);
    assert_int_equal(cs_core_catch_up(x->core, s->now, 4), 0);
    pass(s, 500);
    assert_true(new->core->stats.snapshots_installed > 0);
    assert_int_equal(new->core->conf_index, conf);
    assert_int_equal(role_at(new, 4), CS_ROLE_SPARE);
    sim_crash(new, true);
    sim_start(new);
    assert_int_equal(new->core->conf_index, conf);
    assert_int_equal(role_at(new, 4), CS_ROLE_SPARE);
    return 0;
}

static void a_snapshot_carries_the_members(void **state)
{
    (void)state;
    assert_int_equal(outcome(by_snapshot, 4, 3, 0), 0);
}

/* The product refuses it; a log may hold it. */
static int64_t removed_while_leading(struct sim *s)
{
    struct sim_node *x = a_leader(s), *y;
    struct sim_stats before;
    unsigned id = x->id;

    x->core->without |= CS_WITHOUT_CHECKS;
    assert_int_equal(set_role(x, id, CS_ROLE_ABSENT), 0);
    pass(s, 200);
    assert_int_equal(cs_core_role(x->core), CS_FOLLOWER);
    y = wait_for_leader(s, 2000);
    assert_true(y != NULL && y != x);
    before = s->stats;
    sim_alarm(x, y->id);
    sim_submit(y, 3);
    pass(s, 2000);
    assert_int_equal(s->stats.elections, before.elections);
    assert_int_equal(cs_core_committed(y->core), cs_core_last(y->core));
    return 0;
}

static void a_leader_that_is_removed_steps_down(void **state)
{
    (void)state;
    assert_int_equal(outcome(removed_while_leading, 3, 3, 0), 0);
}

/* --- one voter and what comes of it: two-node sites --- */

static int64_t timeouts_with_a_spare(struct sim *s)
{
    struct sim_node *x = a_leader(s);
    uint64_t steps;

    assert_int_equal(set_role(x, 3, CS_ROLE_STANDBY), 0);
    pass(s, 100);
    assert_int_equal(set_role(x, 3, CS_ROLE_SPARE), 0);
    pass(s, 300);
    steps = x->core->stats.steps;
    pass(s, 1000);
    return (int64_t)(x->core->stats.steps - steps);
}

static void bug_7_a_spare_keeps_the_leader_busy(void **state)
{
    (void)state;
    assert_in_range(outcome(timeouts_with_a_spare, 3, 2, CS_WITHOUT_BUG7), 900, 5000);
    assert_in_range(outcome(timeouts_with_a_spare, 3, 2, 0), 100, 400);
}

/* What is sent is there before what is stored. */
static void die_before_it_is_stored(struct sim_node *x)
{
    x->job = NULL;
    sim_crash(x, true);
    sim_start(x);
}

static int64_t logs_differ(struct sim *s)
{
    struct sim_node *x = a_leader(s), *standby = &s->nodes[2];
    const struct cs_entry *a, *b;
    uint64_t index;

    assert_int_equal(set_role(x, 2, CS_ROLE_STANDBY), 0);
    pass(s, 100);
    index = cs_core_last(x->core) + 1;
    s->disk_max_ms = 100000;
    sim_submit(x, 1);
    pass(s, 3);
    assert_int_equal(cs_core_last(standby->core), cs_core_last(x->core));
    s->disk_max_ms = 2;
    die_before_it_is_stored(x);
    sim_submit(x, 3);
    a = cs_core_entry(x->core, index);
    b = cs_core_entry(standby->core, index);
    if (a != NULL && a->term == b->term &&
        (a->len != b->len || memcmp(a->data, b->data, a->len) != 0)) {
        return 1; /* Two entries of one index and term. */
    }
    pass(s, 500);
    sim_check_equal(s);
    return 0;
}

static void bug_8_the_only_voter_writes_another_history(void **state)
{
    (void)state;
    assert_int_equal(outcome(logs_differ, 2, 1, CS_WITHOUT_BUG8), 1);
    assert_int_equal(outcome(logs_differ, 2, 1, 0), 0);
}

static int64_t second_does_not_know(struct sim *s)
{
    struct sim_node *x = a_leader(s);
    uint64_t from;

    assert_int_equal(set_role(x, 2, CS_ROLE_STANDBY), 0);
    pass(s, 100);
    s->cut[1][2] = true;
    assert_int_equal(set_role(x, 2, CS_ROLE_VOTER), 0);
    pass(s, 10);
    sim_crash(x, false);
    s->cut[1][2] = false;
    sim_start(x);
    from = s->now;
    return wait_for_leader(s, 10000) != NULL ? (int64_t)(s->now - from) : NEVER;
}

static void bug_9_a_voter_that_does_not_know_it_yet(void **state)
{
    (void)state;
    assert_int_equal(outcome(second_does_not_know, 2, 1, CS_WITHOUT_BUG9), NEVER);
    assert_in_range(outcome(second_does_not_know, 2, 1, 0), 0, 2000);
}

static int64_t demoted_knows_first(struct sim *s)
{
    struct sim_node *x = a_leader(s), *y = other(s, x->id, x->id);
    uint64_t from;

    s->disk_max_ms = 100000;
    assert_int_equal(set_role(x, y->id, CS_ROLE_STANDBY), 0);
    pass(s, 3);
    s->disk_max_ms = 2;
    die_before_it_is_stored(x);
    sim_crash(y, false); /* Frees its disk, too. */
    sim_start(y);
    from = s->now;
    return wait_for_leader(s, 10000) != NULL ? (int64_t)(s->now - from) : NEVER;
}

static void bug_10_a_voter_that_was_to_be_demoted(void **state)
{
    (void)state;
    assert_int_equal(outcome(demoted_knows_first, 2, 2, CS_WITHOUT_BUG10), NEVER);
    assert_in_range(outcome(demoted_knows_first, 2, 2, 0), 0, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_comes_and_goes),
        cmocka_unit_test(what_would_harm_is_refused),
        cmocka_unit_test(a_learner_neither_counts_nor_campaigns),
        cmocka_unit_test(who_is_held_back_does_not_campaign_and_votes),
        cmocka_unit_test(a_change_that_is_cut_off_is_undone),
        cmocka_unit_test(a_change_in_the_log_counts_after_a_restart),
        cmocka_unit_test(a_snapshot_carries_the_members),
        cmocka_unit_test(a_leader_that_is_removed_steps_down),
        cmocka_unit_test(bug_7_a_spare_keeps_the_leader_busy),
        cmocka_unit_test(bug_8_the_only_voter_writes_another_history),
        cmocka_unit_test(bug_9_a_voter_that_does_not_know_it_yet),
        cmocka_unit_test(bug_10_a_voter_that_was_to_be_demoted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

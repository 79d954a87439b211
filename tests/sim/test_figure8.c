/* Figure 8 of the Raft paper, with our driver, our log and five nodes: an entry of
 * an old term that lies on a majority is not committed by that (d), and is once an
 * entry of the leader's own term lies on a majority above it (e). */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/sim.h"

enum { COMMAND = 300 };

static void settle(struct sim *s)
{
    sim_run_until(s, s->now + 50);
}

static void submit(struct sim_node *x)
{
    uint8_t p[COMMAND] = {(uint8_t)x->id};
    uint64_t index, term;

    assert_int_equal(cs_core_submit(x->core, x->sim->now, p, sizeof p, &index, &term), 0);
}

/* @x campaigns, after everybody else has given up on the leader in silence. */
static bool elect(struct sim *s, unsigned x)
{
    for (unsigned i = 1; i <= s->n; i++) {
        bool keep[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];

        if (i == x || !s->nodes[i].up || cs_core_role(s->nodes[i].core) != CS_FOLLOWER) {
            continue;
        }
        memcpy(keep, s->cut, sizeof keep);
        sim_cut_off(s, i, true);
        sim_expire(&s->nodes[i]);
        memcpy(s->cut, keep, sizeof keep);
    }
    sim_expire(&s->nodes[x]);
    settle(s);
    return cs_core_role(s->nodes[x].core) == CS_LEADER;
}

static bool elect_soon(struct sim *s, unsigned x)
{
    for (unsigned i = 0; i < 3; i++) {
        if (elect(s, x)) {
            return true;
        }
    }
    return false;
}

static void beat(struct sim_node *x)
{
    for (unsigned i = 0; i < 4; i++) {
        sim_expire(x);
        settle(x->sim);
    }
}

/* Entries above an index get lost on the way. A message that will be refused
 * anyway may pass: the leader has to learn where to begin. */
static bool lose_above(struct sim *s, unsigned from, unsigned to, const struct cs_wire *w)
{
    const struct raft_append_entries *a = &w->m.append_entries;
    const uint64_t *above = s->filter_data;

    (void)from;
    return w->m.type != RAFT_APPEND_ENTRIES || a->n_entries == 0 ||
           a->prev_log_index + a->n_entries <= *above ||
           cs_core_term_of(s->nodes[to].core, a->prev_log_index) == 0;
}

static uint64_t term_of(struct sim *s, unsigned node, uint64_t index)
{
    return cs_core_term_of(s->nodes[node].core, index);
}

static void play(struct sim *s, bool own_entry_too)
{
    struct sim_node *s1 = &s->nodes[1], *s5 = &s->nodes[5];
    uint64_t two = 2;

    assert_true(elect(s, 1)); /* (a) S1 leads, gets entry 2 to S2 only */
    for (unsigned i = 3; i <= 5; i++) {
        s->cut[1][i] = true;
    }
    submit(s1);
    settle(s);
    assert_int_equal(term_of(s, 2, 2), 2);
    assert_int_equal(term_of(s, 3, 2), 0);
    sim_crash(s1, true);
    memset(s->cut, 0, sizeof s->cut);

    assert_true(elect(s, 5)); /* (b) S5 leads term 3; its entry 2 stays with it */
    sim_cut_off(s, 5, true);
    submit(s5);
    settle(s);
    assert_int_equal(term_of(s, 5, 2), 3);
    sim_crash(s5, true);
    memset(s->cut, 0, sizeof s->cut);

    sim_start(s1); /* (c) S1 again; entry 2 reaches a majority, its barrier not */
    if (!own_entry_too) {
        s->filter = lose_above;
        s->filter_data = &two;
    }
    assert_true(elect_soon(s, 1)); /* Term 3 is used up: it takes two rounds. */
    beat(s1);
    assert_int_equal(term_of(s, 2, 2), 2);
    assert_int_equal(term_of(s, 3, 2), 2);
    if (own_entry_too) {
        assert_true(cs_core_committed(s1->core) >= 3);
    } else {
        assert_int_equal(cs_core_committed(s1->core), 1);
    }
    sim_crash(s1, true);
    s->filter = NULL;
    sim_start(s5);
}

static struct sim *cluster_of_five(void)
{
    struct sim *s = sim_new(5, 8, &sim_counter);

    s->manual = true;
    s->disk_max_ms = 2;
    for (unsigned i = 1; i <= s->n; i++) {
        s->nodes[i].config.snapshot_entries = 0;
        s->nodes[i].config.snapshot_bytes = 0;
        s->nodes[i].config.frame_max = COMMAND + 80; /* One entry per frame. */
    }
    return s;
}

static void an_old_entry_on_a_majority_is_not_committed(void **state)
{
    struct sim *s = cluster_of_five();

    (void)state;
    if (!SIM_TRY(s)) {
        fail_msg("%s", s->why);
    }
    sim_boot(s);
    play(s, false);
    assert_true(elect_soon(s, 5)); /* (d) S5 wins and overwrites entry 2. */
    beat(&s->nodes[5]);
    for (unsigned i = 2; i <= 5; i++) {
        assert_int_equal(term_of(s, i, 2), 3);
    }
    assert_true(cs_core_committed(s->nodes[5].core) >= 3);
    sim_check_logs(s);
    sim_destroy(&s);
}

static void with_an_entry_of_the_own_term_above_it_is(void **state)
{
    struct sim *s = cluster_of_five();

    (void)state;
    if (!SIM_TRY(s)) {
        fail_msg("%s", s->why);
    }
    sim_boot(s);
    play(s, true);
    assert_false(elect_soon(s, 5)); /* (e) S5 cannot win any more. */
    sim_check_logs(s);
    sim_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_old_entry_on_a_majority_is_not_committed),
        cmocka_unit_test(with_an_entry_of_the_own_term_above_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

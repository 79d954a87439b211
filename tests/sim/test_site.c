/* Whole sites, and one misfortune each. What must hold of readings, commands and rows is
 * looked at by the world all the time (world_check.c), and in the end. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/site.h"
#include "tests/sim/world.h"

enum { UP_MS = 5000, END_MS = 90000, SEEDS = 3 };

typedef void (*scenario)(struct site *s);

/* A site of @nodes that has come up; then @what, healing, and the end. */
static void play_one(unsigned nodes, unsigned witness, scenario what, uint64_t seed)
{
    struct site *volatile s = site_new(nodes, seed);
    struct site *done;

    s->witness = witness;
    s->sim->verbose = getenv("SITE_TRACE") != NULL;
    for (unsigned i = 1; i <= nodes; i++) {
        s->nodes[i].x->config.snapshot_entries = 30;
    }
    if (!SIM_TRY(s->sim)) {
        fail_msg("seed %u, at %u ms: %s", (unsigned)s->sim->seed, (unsigned)site_ms(s),
                 s->sim->why);
    }
    site_boot(s);
    site_run(s, UP_MS);
    assert_int_not_equal(site_watch(s), 0);
    what(s);
    site_heal(s);
    site_settle(s, END_MS);
    assert_int_not_equal(site_watch(s), 0);
    sim_check_logs(s->sim);
    sim_check_equal(s->sim);
    world_check_end(s->world);
    done = s;
    site_destroy(&done);
}

static void play(unsigned nodes, unsigned witness, scenario what)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        play_one(nodes, witness, what, seed);
    }
}

static enum cs_watch_state state_of(struct site *s, unsigned node)
{
    return cs_watch_state(&s->nodes[node].n->watch);
}

static unsigned somebody_but(struct site *s, unsigned node)
{
    return node % s->sim->n + 1;
}

/* Cuts @node from the other nodes. */
static void isolate(struct site *s, unsigned node)
{
    sim_cut_off(s->sim, node, true);
    s->sim->cut[node][node] = false;
}

/* --- a leader that was deposed while it slept --- */

static void deposed(struct site *s)
{
    unsigned old = site_watch(s);

    site_pause(s, old, 4000);
    site_run(s, 3500);
    assert_int_not_equal(site_watch(s), old);
    assert_int_not_equal(site_watch(s), 0);
    site_run(s, 1500);
    assert_false(s->sim->nodes[old].paused);
    assert_int_equal(state_of(s, old), CS_STANDBY);
    assert_int_not_equal(site_watch(s), old);
}

static void a_deposed_leader_that_wakes_does_no_harm(void **unused)
{
    (void)unused;
    play(3, 0, deposed);
}

/* --- a snapshot is on its way while another leader is elected --- */

static void snapshot_and_election(struct site *s)
{
    unsigned watch = site_watch(s), slow = somebody_but(s, watch);
    uint64_t installs;

    isolate(s, slow);
    site_run(s, 20000);
    assert_true(cs_core_first(s->sim->nodes[watch].core) >
                cs_core_last(s->sim->nodes[slow].core));
    installs = s->sim->stats.installs;
    sim_cut_off(s->sim, slow, false);
    for (unsigned i = 0; i < 200 && cs_core_leader(s->sim->nodes[slow].core) == 0; i++) {
        site_run(s, 5);
    }
    site_run(s, 5 + site_below(s, 60)); /* In the middle of it, more or less. */
    site_kill(s, site_watch(s));
    site_run(s, 4000);
    assert_true(s->sim->stats.installs > installs);
}

static void a_snapshot_is_installed_while_an_election_goes_on(void **unused)
{
    (void)unused;
    play(3, 0, snapshot_and_election);
}

/* --- the leader sees the broker, and nobody else --- */

static void alone_with_the_broker(struct site *s)
{
    unsigned old = site_watch(s);

    isolate(s, old);
    for (unsigned i = 1; i <= s->sim->n; i++) {
        s->blocked[i][SITE_BROKER][0] = s->blocked[i][SITE_BROKER][1] = i != old;
    }
    site_run(s, 8000);
    assert_int_not_equal(site_watch(s), 0);
    assert_int_not_equal(site_watch(s), old);
    assert_int_not_equal(state_of(s, old), CS_ACTIVE);
}

static void a_leader_alone_with_the_broker_lets_go_of_it(void **unused)
{
    (void)unused;
    play(3, 0, alone_with_the_broker);
}

/* --- the leader's disk is full, the others' are not --- */

static void full(struct site *s)
{
    unsigned old = site_watch(s);

    memfs_set_space(s->sim->nodes[old].disk, 500);
    for (unsigned i = 0; i < 300 && (site_watch(s) == old || site_watch(s) == 0); i++) {
        site_run(s, 100);
    }
    assert_int_not_equal(site_watch(s), 0);
    assert_int_not_equal(site_watch(s), old);
    site_run(s, 3000);
    assert_int_not_equal(site_watch(s), 0);
}

static void a_leader_whose_disk_is_full_is_relieved(void **unused)
{
    (void)unused;
    play(3, 0, full);
}

/* --- one follower cannot keep up --- */

static void slow_follower(struct site *s)
{
    unsigned watch = site_watch(s), slow = somebody_but(s, watch);

    s->sim->nodes[slow].slow_ms = 700;
    site_run(s, 15000);
    assert_int_equal(site_watch(s), watch); /* Nobody minds. */
    /* Now it is needed. */
    site_vanish(s, 6 - watch - slow);
    site_run(s, 5000);
    s->sim->nodes[slow].slow_ms = 0;
}

static void a_follower_that_is_slower_than_its_leader_catches_up(void **unused)
{
    (void)unused;
    play(3, 0, slow_follower);
}

/* --- acknowledged, but the broker never hears; then another node takes over --- */

static void lost_ack(struct site *s)
{
    for (unsigned i = 0; i < 5; i++) {
        unsigned old = site_watch(s);

        assert_int_not_equal(old, 0);
        s->blocked[old][SITE_BROKER][true] = true;
        site_run(s, 800);
        site_vanish(s, old);
        s->blocked[old][SITE_BROKER][true] = false;
        site_run(s, 4000);
        site_start(s, old);
        site_run(s, 1000);
    }
}

static void what_was_acknowledged_in_vain_is_one_row(void **unused)
{
    (void)unused;
    play(3, 0, lost_ack);
}

/* --- two nodes --- */

static void one_of_two(struct site *s)
{
    unsigned watch = site_watch(s), other = 3 - watch;

    site_kill(s, other);
    site_run(s, 5000);
    assert_int_equal(site_watch(s), 0); /* One of two is no majority. */
    site_start(s, other);
    site_run(s, 5000);
    assert_int_not_equal(site_watch(s), 0);
    site_vanish(s, site_watch(s));
    site_run(s, 5000);
    assert_int_equal(site_watch(s), 0);
}

static void one_of_two_nodes_waits_for_the_other(void **unused)
{
    (void)unused;
    play(2, 0, one_of_two);
}

static void with_a_witness(struct site *s)
{
    unsigned watch = site_watch(s), other = 3 - watch;

    assert_true(watch == 1 || watch == 2);
    site_vanish(s, watch);
    site_run(s, 6000);
    assert_int_equal(site_watch(s), other);
    site_start(s, watch);
    site_run(s, 4000);
    site_kill(s, 3);
    site_run(s, 4000);
    assert_true(site_watch(s) == 1 || site_watch(s) == 2);
    site_start(s, 3);
    site_run(s, 2000);
    for (unsigned i = 1; i <= 2; i++) {
        site_kill(s, i);
    }
    site_run(s, 4000);
    assert_int_equal(site_watch(s), 0);
}

static void a_witness_lets_two_nodes_relieve_each_other(void **unused)
{
    (void)unused;
    play(3, 3, with_a_witness);
}

static void lone(struct site *s)
{
    for (unsigned i = 0; i < 4; i++) {
        site_vanish(s, 1);
        site_run(s, 500);
        site_start(s, 1);
        site_run(s, 4000);
        assert_int_equal(site_watch(s), 1);
    }
}

static void a_single_node_goes_on_where_it_was(void **unused)
{
    (void)unused;
    play(1, 0, lone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deposed_leader_that_wakes_does_no_harm),
        cmocka_unit_test(a_snapshot_is_installed_while_an_election_goes_on),
        cmocka_unit_test(a_leader_alone_with_the_broker_lets_go_of_it),
        cmocka_unit_test(a_leader_whose_disk_is_full_is_relieved),
        cmocka_unit_test(a_follower_that_is_slower_than_its_leader_catches_up),
        cmocka_unit_test(what_was_acknowledged_in_vain_is_one_row),
        cmocka_unit_test(one_of_two_nodes_waits_for_the_other),
        cmocka_unit_test(a_witness_lets_two_nodes_relieve_each_other),
        cmocka_unit_test(a_single_node_goes_on_where_it_was),
    };

    cmocka_set_test_filter(getenv("SITE_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Who should lead, and who should not. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/node/fake_node.h"

static int open_site(void **state)
{
    (void)state;
    fake_open(3);
    fake_begin();
    return 0;
}

/* Of three nodes @which is a witness. */
static void open_with_witness(unsigned which)
{
    struct nd_config_node *w;

    fake_open(3);
    w = &fake.n->config.nodes[which - 1];
    w->witness = true;
    snprintf(w->role, sizeof w->role, "witness");
    fake_begin();
}

static int close_site(void **state)
{
    (void)state;
    fake_close();
    return 0;
}

/* Another node tells what its state is. */
static void tell_hash(uint64_t from, uint64_t hash)
{
    struct sy_buf b = {0};
    char text[17];

    snprintf(text, sizeof text, "%016" PRIx64, hash);
    sy_mp_map(&b, 3);
    sy_mp_kstr(&b, "hash", text);
    sy_mp_kuint(&b, "hash_index", rp_store_index(fake.store));
    sy_mp_kbool(&b, "diverged", false);
    fake_gossip(from, &b, NULL);
    sy_buf_free(&b);
    fake_turn();
}

static void a_leader_whose_state_is_wrong_gives_the_watch_up(void **state)
{
    (void)state;
    fake_lead();
    fake_settle();
    assert_int_equal(cs_watch_state(&fake.n->watch), CS_ACTIVE);
    tell_hash(2, rp_store_hash(fake.store) + 1);
    assert_false(nd_node_diverged(fake.n)); /* One word against one. */
    tell_hash(3, rp_store_hash(fake.store) + 1);
    assert_true(nd_node_diverged(fake.n));
    fake_turn();
    assert_int_not_equal(cs_watch_state(&fake.n->watch), CS_ACTIVE);
    fake_pass(1000, false);
    assert_true(fake.transfers > 0);
    assert_true(fake.transfer_to == 2 || fake.transfer_to == 3);
}

static void who_has_a_majority_does_not_believe_the_leader(void **state)
{
    struct rp_batch b = {0};

    (void)state;
    fake_device(0x5, 2); /* A state to speak of. */
    fake_lead();
    fake_settle();
    fake_lose(0, 2, fake.term + 1);
    rp_batch_checkpoint(&b, rp_store_index(fake.store), rp_store_hash(fake.store) + 1);
    fake_foreign(&b);
    fake_turn();
    assert_true(nd_node_diverged(fake.n)); /* Until somebody else says it, too. */
    tell_hash(3, rp_store_hash(fake.store));
    assert_false(nd_node_diverged(fake.n));
}

static void a_witness_that_leads_hands_over_and_takes_no_watch(void **state)
{
    (void)state;
    open_with_witness(1);
    fake_sound(3, "standby");
    fake.leading = ++fake.term;
    fake.role = CS_LEADER;
    fake.leader = 1;
    fake_turn();
    assert_int_equal(fake.transfers, 1); /* At once. */
    assert_int_equal(fake.transfer_to, 3);
    fake_pass(1500, true);
    assert_int_equal(cs_watch_state(&fake.n->watch), CS_STANDBY);
    assert_int_equal(rp_store_watch_node(fake.store), 0);
    assert_true(fake.transfers > 1); /* And again until it is done. */
    fake_close();
}

static void nobody_hands_over_to_a_witness(void **state)
{
    (void)state;
    open_with_witness(2);
    fake_sound(2, "standby");
    fake_sound(3, "standby");
    fake_lead();
    assert_int_equal(nd_node_heir(fake.n), 3);
    fake.linked[3] = false;
    assert_int_equal(nd_node_heir(fake.n), 0);
    fake_close();
}

static void a_missing_heir_is_said(void **state)
{
    struct nd_issues found;
    bool said = false;

    (void)state;
    open_with_witness(2);
    fake_sound(2, "standby");
    fake_lead();
    fake.linked[3] = false;
    nd_issues_find(fake.n, &found);
    for (unsigned i = 0; i < found.n; i++) {
        said = said || strstr(found.list[i].text, "nobody could relieve it") != NULL;
    }
    assert_true(said);
    fake_close();
}

/* A lone voter commits what its log holds as soon as its core is made: there is no
 * replica yet that a node could ask whether it leads (vagtd died of that at each start
 * of a site with one node). */
static void apply_all_kinds(void)
{
    struct rp_batch b = {0};
    struct rp_file f = {.path = "a", .mode = 0640};

    rp_batch_files(&b, "bridge-north", 0, 0, 1, &f, 1);
    rp_batch_watch(&b, 1, 1);
    rp_batch_area(&b, "north", "z/north");
    rp_batch_bridge(&b, 1, RP_ONLINE, true);
    rp_batch_device(&b, 1, 0xa, "a", "plug");
    rp_batch_avail(&b, 0xa, RP_ONLINE);
    rp_batch_command(&b, "one", 0xa, "state", "ON", "test", fake.wall_ms + 60000);
    fake_apply(&b);
}

static void a_lone_node_hears_of_its_log_before_it_is_open(void **state)
{
    (void)state;
    fake_open(1);
    fake.opening = apply_all_kinds;
    fake.term = 1;
    fake_begin();
    assert_int_equal(fake_known("one")->status, RP_ACCEPTED);
    fake_lead();
    fake_close();
}

/* @id tells how far its log goes. */
static void tell_last(uint64_t id, uint64_t last)
{
    struct sy_buf b = {0};

    sy_mp_map(&b, 2);
    sy_mp_kuint(&b, "last", last);
    sy_mp_kbool(&b, "diverged", false);
    fake_gossip(id, &b, NULL);
    sy_buf_free(&b);
    fake_turn();
}

static void for_a_peer_that_lost_its_log_the_watch_is_handed_over(void **state)
{
    (void)state;
    fake_lead();
    fake.match[2] = fake.match[3] = 10;
    tell_last(3, 12);
    tell_last(2, 10);
    fake_pass(1000, false);
    assert_int_equal(fake.transfers, 0);
    tell_last(2, 9);
    fake_pass(200, false);
    assert_int_equal(fake.transfers, 1);
    assert_int_equal(fake.transfer_to, 3);
    tell_last(2, 9);
    fake_pass(1000, false);
    assert_int_equal(fake.transfers, 1); /* Not all the time. */
}

static void with_a_witness_a_peer_that_lost_its_log_is_replaced(void **state)
{
    const struct rp_fact *goal;

    (void)state;
    open_with_witness(3);
    fake_lead();
    fake.match[2] = fake.match[3] = 10;
    tell_last(3, 12);
    tell_last(2, 0);
    fake_pass(200, true);
    goal = rp_store_fact(fake.store, "members.goal");
    assert_int_equal(fake.transfers, 0);
    assert_non_null(goal);
    assert_string_equal(goal->value, "replace 2");
    fake_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_leader_whose_state_is_wrong_gives_the_watch_up,
                                        open_site, close_site),
        cmocka_unit_test_setup_teardown(who_has_a_majority_does_not_believe_the_leader,
                                        open_site, close_site),
        cmocka_unit_test_setup_teardown(
            for_a_peer_that_lost_its_log_the_watch_is_handed_over, open_site, close_site),
        cmocka_unit_test(a_witness_that_leads_hands_over_and_takes_no_watch),
        cmocka_unit_test(nobody_hands_over_to_a_witness),
        cmocka_unit_test(a_missing_heir_is_said),
        cmocka_unit_test(with_a_witness_a_peer_that_lost_its_log_is_replaced),
        cmocka_unit_test(a_lone_node_hears_of_its_log_before_it_is_open),
    };

    return cmocka_run_group_tests_name("office", tests, NULL, NULL);
}

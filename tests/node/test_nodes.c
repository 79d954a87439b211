/* Who the nodes are while running, maintenance, and a node that begins anew. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/node/fake_node.h"

static char dir[64];

/* Node 1 of three, which leads if @lead; its folder is empty. @witnesses: the others
 * are. */
static void open_with(bool lead, bool witnesses)
{
    fake_open(3);
    snprintf(fake.n->config.data_dir, sizeof fake.n->config.data_dir, "%s", dir);
    for (unsigned i = 1; i <= 3; i++) {
        struct nd_config_node *c = &fake.n->config.nodes[i - 1];

        snprintf(c->peer_host, sizeof c->peer_host, "127.0.0.1");
        c->peer_port = (uint16_t)(7400 + i);
        c->witness = witnesses && i > 1;
        fake.members[i] =
            (struct cs_member){.id = i, .role = CS_ROLE_VOTER, .committed = true};
    }
    fake_begin();
    if (lead) {
        fake_lead();
    }
    fake_forget();
}

static void open_three(bool lead)
{
    open_with(lead, false);
}

static int make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(dir, sizeof dir, "%.40s/nodes.XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    return 0;
}

static int drop_dir(void **state)
{
    char path[80];

    (void)state;
    fake_close();
    snprintf(path, sizeof path, "%s/nodes", dir);
    (void)unlink(path);
    return rmdir(dir);
}

static void ask_change(const char *action, const char *node)
{
    fake_args_begin(2);
    sy_mp_kstr(&fake_args, "action", action);
    sy_mp_kstr(&fake_args, "node", node);
    fake_ask(1, "members_change", &fake_args);
}

static void ask_add(uint64_t id, const char *name, const char *peer)
{
    fake_args_begin(4);
    sy_mp_kstr(&fake_args, "action", "add");
    sy_mp_kuint(&fake_args, "node", id);
    sy_mp_kstr(&fake_args, "name", name);
    sy_mp_kstr(&fake_args, "peer", peer);
    fake_ask(1, "members_change", &fake_args);
}

static const char *goal(void)
{
    const struct rp_fact *f = rp_store_fact(fake.n->store, "members.goal");

    return f != NULL ? f->value : "";
}

/* What node @id tells of its log and of who leads. */
static void hear(uint64_t id, uint64_t last)
{
    struct sy_buf b = {0};

    fake.linked[id] = true;
    sy_mp_map(&b, 3);
    sy_mp_kuint(&b, "id", id);
    sy_mp_kstr(&b, "raft", "follower");
    sy_mp_kuint(&b, "last", last);
    fake_gossip(id, &b, NULL);
    sy_buf_free(&b);
}

static void is_now(uint64_t id, enum cs_member_role role, bool is_level)
{
    fake.members[id] = (struct cs_member){
        .id = id, .role = role, .committed = true, .level = is_level, .alive = true};
    fake.changed_id = fake.caught_up = 0;
}

static void a_node_is_added_one_step_after_another(void **state)
{
    (void)state;
    open_three(true);
    ask_add(4, "attic", "127.0.0.1:7404");
    fake_settle();
    assert_string_equal(fake_error((char[32]){""}), "");
    fake_pass(300, true);
    assert_string_equal(goal(), "voter 4");
    assert_non_null(nd_config_node(&fake.n->config, 4));
    assert_int_equal(fake.peer_set.id, 4);
    assert_int_equal(fake.peer_set.port, 7404);
    assert_non_null(strstr(fake.n->members.waits, "does not connect"));
    assert_int_equal(fake.changed_id, 0);
    hear(4, 0);
    fake_pass(300, true);
    assert_int_equal(fake.changed_id, 4);
    assert_int_equal(fake.changed_role, CS_ROLE_SPARE);
    is_now(4, CS_ROLE_SPARE, false);
    fake_pass(300, true);
    assert_int_equal(fake.changed_id, 0);
    assert_int_equal(fake.caught_up, 4);
    is_now(4, CS_ROLE_SPARE, true);
    fake_pass(300, true);
    assert_int_equal(fake.changed_id, 4);
    assert_int_equal(fake.changed_role, CS_ROLE_VOTER);
    is_now(4, CS_ROLE_VOTER, true);
    fake_pass(300, true);
    assert_string_equal(goal(), "");
    assert_int_equal(fake.changed_id, 0);
}

/* Two of which either may go on alone by a row in Postgres: that must be over first. */
static void it_is_said_when_a_third_vote_waits_for_postgres(void **state)
{
    (void)state;
    open_three(true);
    ask_add(4, "attic", "127.0.0.1:7404");
    fake_settle();
    hear(4, 0);
    is_now(4, CS_ROLE_SPARE, true);
    fake.change_rv = SY_EBUSY;
    fake.n->tie.l.voters = CS_TIE_NODE(1) | CS_TIE_NODE(2);
    fake.n->tie.on = true;
    nd_goal_tend(fake.n);
    fake.n->tie.on = false; /* There is no Postgres in this world. */
    assert_non_null(strstr(fake.n->members.waits, "Postgres does not answer"));
}

static void what_is_known_is_known_after_a_restart(void **state)
{
    (void)state;
    open_three(true);
    ask_add(4, "attic", "127.0.0.1:7404");
    fake_settle();
    fake_pass(300, true);
    fake_close();
    open_three(false); /* With the old configuration, and nothing applied. */
    assert_non_null(nd_config_node(&fake.n->config, 4));
    assert_string_equal(nd_config_node(&fake.n->config, 4)->name, "attic");
    fake_pass(300, true);
    assert_non_null(nd_config_node(&fake.n->config, 4));
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    open_three(true);
    ask_add(4, "attic", "attic:7404");
    fake_refused(1, "invalid", "not a numeric address");
    ask_add(16, "attic", "127.0.0.1:7404");
    fake_refused(2, "invalid", "from 1 to 15");
    ask_add(4, "the attic", "127.0.0.1:7404");
    fake_refused(3, "invalid", "letters");
    ask_add(4, "attic", "10.1.1.1:7404");
    fake_refused(4, "invalid", "not loopback");
    ask_add(4, fake.n->config.nodes[1].name, "127.0.0.1:7404");
    fake_refused(5, "invalid", "this name or address");
    ask_add(3, "attic", "127.0.0.1:7404");
    fake_refused(6, "exists", "member already");
    ask_change("remove", "nobody");
    fake_refused(7, "not_found", "no node is called");
    ask_change("swap", "2");
    fake_refused(8, "invalid", "not by 'swap'");
    ask_change("promote", "2");
    fake_refused(9, "exists", "voter already");
    ask_change("remove", "2");
    fake_settle();
    ask_change("remove", "3");
    fake_refused(11, "busy", "under way");
}

static void what_would_lose_the_quorum_is_refused(void **state)
{
    (void)state;
    open_three(true);
    fake.linked[3] = false;
    ask_change("remove", "2");
    fake_refused(1, "no_quorum", "only 1 of 2 voters");
    ask_change("demote", "2");
    fake_refused(2, "no_quorum", "only 1 of 2 voters");
    ask_change("remove", "3"); /* Who is dead may go. */
    fake_settle();
    fake_pass(300, true);
    assert_string_equal(goal(), "absent 3");
    assert_int_equal(fake.changed_id, 3);
    assert_int_equal(fake.changed_role, CS_ROLE_ABSENT);
    is_now(3, CS_ROLE_ABSENT, false);
    fake_pass(600, true);
    assert_string_equal(goal(), "");
    assert_null(nd_config_node(&fake.n->config, 3));
    assert_true(nd_members_removed(fake.n, 3));
    assert_true(fake.peer_set.id == 3 && fake.peer_set.removed);
    ask_change("promote", "3");
    fake_refused(4, "not_found", "add");
}

static void the_last_one_that_may_have_the_watch_stays(void **state)
{
    (void)state;
    open_with(true, true);
    ask_change("remove", "1");
    fake_refused(1, "no_quorum", "only witnesses");
}

static void the_leader_hands_over_before_it_goes(void **state)
{
    (void)state;
    open_three(true);
    fake_sound(2, "standby");
    ask_change("remove", "1");
    fake_settle();
    fake_pass(300, false);
    assert_true(fake.transfers > 0);
    assert_int_equal(fake.changed_id, 0);
}

static void a_wrong_state_is_not_taken_in_again(void **state)
{
    struct sy_buf b = {0};

    (void)state;
    open_three(true);
    sy_mp_map(&b, 2);
    sy_mp_kuint(&b, "last", 500);
    sy_mp_kbool(&b, "diverged", true);
    fake_gossip(3, &b, NULL);
    ask_change("replace", "3");
    fake_settle();
    fake_pass(300, true);
    assert_int_equal(fake.changed_role, CS_ROLE_ABSENT);
    is_now(3, CS_ROLE_ABSENT, false);
    fake_gossip(3, &b, NULL);
    fake_pass(600, true);
    assert_string_equal(goal(), "rejoin 3");
    assert_int_equal(fake.changed_id, 0);
    assert_non_null(strstr(fake.n->members.waits, "empty its data_dir"));
    hear(3, 0);
    fake_pass(300, true);
    assert_int_equal(fake.changed_id, 3);
    assert_int_equal(fake.changed_role, CS_ROLE_SPARE);
    sy_buf_free(&b);
}

static void who_is_no_member_says_so(void **state)
{
    struct nd_issues issues;
    struct sy_buf b = {0};

    (void)state;
    open_three(false);
    sy_mp_map(&b, 4);
    sy_mp_kstr(&b, "raft", "leader");
    sy_mp_kuint(&b, "term", 9);
    sy_mp_kuint(&b, "epoch", 0);
    sy_mp_str(&b, "members");
    sy_mp_array(&b, 2);
    sy_mp_uint(&b, 2);
    sy_mp_uint(&b, 3);
    fake_gossip(2, &b, NULL);
    assert_int_equal(fake.n->members.gone_by, 2);
    nd_issues_find(fake.n, &issues);
    assert_true(issues.n > 0);
    for (unsigned i = 0;
         strstr(issues.list[i].text, "no member of the cluster") == NULL;) {
        assert_true(++i < issues.n);
    }
    sy_buf_free(&b);
}

/* --- maintenance --- */

static void maintain(const char *to, uint64_t for_ms)
{
    fake_args_begin(2);
    sy_mp_kstr(&fake_args, "to", to);
    sy_mp_kuint(&fake_args, "for_ms", for_ms);
    fake_ask(1, "maintenance", &fake_args);
    fake_settle();
}

/* Somebody else leads, and is gone; this one had the watch last if @mine. */
static void nobody_leads(bool mine)
{
    struct rp_batch b = {0};

    fake_lose(99, 0, fake.term + 1);
    if (!mine) {
        rp_batch_watch(&b, fake.term, 2);
        fake_foreign(&b);
        rp_batch_free(&b);
    }
    fake.role = CS_FOLLOWER;
    fake_pass(300, true);
}

static void nobody_but_the_last_on_watch_campaigns(void **state)
{
    (void)state;
    open_three(true);
    maintain("on", 60000);
    assert_in_range(nd_node_maintenance(fake.n), 1, 60000);
    nobody_leads(true);
    assert_false(fake.hold);
    nobody_leads(false);
    assert_true(fake.hold);
    fake.n->upkeep.boot_last = fake.index + 1; /* It has restarted, and cannot know. */
    fake_pass(300, true);
    assert_false(fake.hold);
    fake.n->upkeep.boot_last = fake.index;
    fake_pass(300, true);
    assert_true(fake.hold);
    fake_pass(60000, true);
    assert_int_equal(nd_node_maintenance(fake.n), 0);
    assert_false(fake.hold);
}

static void a_leader_clears_what_is_over(void **state)
{
    (void)state;
    open_three(true);
    maintain("on", 5000);
    assert_non_null(rp_store_fact(fake.n->store, "maintenance.until"));
    fake_pass(6000, true);
    assert_null(rp_store_fact(fake.n->store, "maintenance.until"));
    maintain("on", 8 * 86400000ULL);
    fake_refused(2, "invalid", "at most 7 days");
    maintain("on", 0);
    fake_refused(3, "invalid", "still to come");
}

static void an_operator_ends_it_where_nobody_leads(void **state)
{
    struct sy_buf b = {0};

    (void)state;
    open_three(true);
    maintain("on", 60000);
    nobody_leads(false);
    assert_true(fake.hold);
    fake_ask_text(1, "maintenance", "to", "off");
    assert_string_equal(fake_error((char[32]){""}), "");
    assert_int_equal(nd_node_maintenance(fake.n), 0);
    assert_false(fake.hold);
    fake.n->upkeep.waived = 0; /* And who hears of it from another node ends it, too. */
    sy_mp_map(&b, 1);
    sy_mp_kuint(
        &b, "waived",
        strtoull(rp_store_fact(fake.n->store, "maintenance.until")->value, NULL, 10));
    fake_gossip(3, &b, NULL);
    fake_pass(300, true);
    assert_false(fake.hold);
    sy_buf_free(&b);
}

static void who_is_needed_does_not_begin_anew(void **state)
{
    (void)state;
    open_three(true);
    fake_ask_text(1, "restart", "node", "1");
    fake_refused(1, "no_quorum", "no other node could take it");
    fake.linked[2] = false;
    fake_ask_text(1, "restart", "node", "1");
    fake_refused(2, "no_quorum", "only 1 of 3 voters are there and 2 are needed");
    fake_ask_text(1, "restart", "node", "2");
    fake_refused(3, "invalid", "not connected");
    assert_false(fake.n->upkeep.restart);
    fake.linked[2] = true;
    fake_sound(2, "standby");
    fake_ask_text(1, "restart", "node", "1");
    assert_string_equal(fake_error((char[32]){""}), "");
    assert_true(fake.n->upkeep.restart);
    assert_true(fake.n->stopping);
}

int main(void)
{
#define T(NAME) cmocka_unit_test_setup_teardown(NAME, make_dir, drop_dir)
    const struct CMUnitTest tests[] = {
        T(a_node_is_added_one_step_after_another),
        T(it_is_said_when_a_third_vote_waits_for_postgres),
        T(what_is_known_is_known_after_a_restart),
        T(what_makes_no_sense_is_refused),
        T(what_would_lose_the_quorum_is_refused),
        T(the_last_one_that_may_have_the_watch_stays),
        T(the_leader_hands_over_before_it_goes),
        T(a_wrong_state_is_not_taken_in_again),
        T(who_is_no_member_says_so),
        T(nobody_but_the_last_on_watch_campaigns),
        T(a_leader_clears_what_is_over),
        T(an_operator_ends_it_where_nobody_leads),
        T(who_is_needed_does_not_begin_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

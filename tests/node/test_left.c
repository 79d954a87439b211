/* After a recovery: who is left behind, who is taken in again, and what is said. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/node/fake_node.h"

static char folder[64];

static int open_site(void **state)
{
    (void)state;
    fake_folder(folder);
    fake_open(3);
    snprintf(fake.n->config.data_dir, sizeof fake.n->config.data_dir, "%s", folder);
    fake_begin();
    return 0;
}

static int close_site(void **state)
{
    (void)state;
    fake_close();
    return fake_folder_remove(folder);
}

/* Node 2 tells what it is; with us among its members if @names_us. */
static void tell(const char *raft, uint64_t epoch, bool names_us, uint64_t last)
{
    struct sy_buf b = {.p = NULL};

    sy_mp_map(&b, 4);
    sy_mp_kstr(&b, "raft", raft);
    sy_mp_kuint(&b, "last", last);
    sy_mp_kuint(&b, "epoch", epoch);
    sy_mp_str(&b, "members");
    sy_mp_array(&b, 2);
    sy_mp_uint(&b, 2);
    sy_mp_uint(&b, names_us ? 1 : 3);
    fake_gossip(2, &b, NULL);
    sy_buf_free(&b);
}

/* The same in a process of its own: how it ends. */
static int status_after(const char *raft, uint64_t epoch, bool names_us)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        tell(raft, epoch, names_us, 9);
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void only_a_leader_of_a_later_epoch_without_us_ends_us(void **state)
{
    struct sy_errbuf eb = {.text = ""};

    (void)state;
    assert_int_equal(status_after("leader", 1, false), 0); /* We have nothing. */
    fake_device(0x5, 1);
    fake_apply(&fake.batch);
    assert_int_equal(status_after("leader", 0, false), 0);
    assert_int_equal(status_after("leader", 1, true), 0);
    assert_int_equal(status_after("follower", 1, false), 0);
    assert_int_equal(nd_left_read(folder, &eb), 0);
    assert_int_equal(status_after("leader", 3, false), 5);
    assert_int_equal(nd_left_read(folder, &eb), 3);
    assert_non_null(strstr(eb.text, "told by bea"));
    assert_int_equal(nd_left_clear(folder), 0);
    assert_int_equal(nd_left_read(folder, &eb), 0);
    /* It is ours by now. */
    rp_batch_fact(&fake.batch, "recover.epoch", "3");
    fake_apply(&fake.batch);
    assert_int_equal(status_after("leader", 3, false), 0);
    assert_int_equal(status_after("leader", 4, false), 5);
}

static bool is_said(const char *what)
{
    struct nd_issues issues;

    nd_issues_find(fake.n, &issues);
    for (unsigned i = 0; i < issues.n; i++) {
        if (strstr(issues.list[i].text, what) != NULL) {
            return true;
        }
    }
    return false;
}

static void who_comes_empty_is_taken_in_step_by_step(void **state)
{
    struct cs_member *m = &fake.members[2];

    (void)state;
    fake_lead();
    rp_batch_fact(&fake.batch, "recover.left.2", "1");
    fake_settle();
    assert_true(is_said("recovered without bea"));
    tell("follower", 0, false, 44); /* With its old log. */
    fake_pass(2000, true);
    assert_int_equal(fake.changed_id, 0);
    tell("follower", 0, false, 0);
    fake_pass(2000, true);
    assert_int_equal(fake.changed_id, 2);
    assert_int_equal(fake.changed_role, CS_ROLE_SPARE);
    *m = (struct cs_member){.id = 2, .role = CS_ROLE_SPARE};
    fake_pass(2000, true);
    assert_int_equal(fake.caught_up, 0); /* Not committed yet. */
    m->committed = true;
    fake_pass(2000, true);
    assert_int_equal(fake.caught_up, 2);
    assert_true(is_said("bea was left behind by the recovery and is catching up"));
    /* It begins anew on the way: Raft would never send it again what it had. */
    m->catching_up = true;
    m->match = 30;
    fake.n->views[2].forgot = true;
    fake_pass(2000, true);
    assert_int_equal(fake.changed_role, CS_ROLE_ABSENT);
    fake.n->views[2].forgot = false;
    m->catching_up = false;
    /* A spare is sent nothing more, so it is not heard, and would not be made a voter. */
    m->level = true;
    fake.caught_up = 0;
    fake_pass(2000, true);
    assert_int_equal(fake.changed_role, CS_ROLE_ABSENT);
    assert_int_equal(fake.caught_up, 2);
    m->alive = true;
    fake_pass(2000, true);
    assert_int_equal(fake.changed_role, CS_ROLE_VOTER);
    assert_non_null(rp_store_fact(fake.store, "recover.left.2"));
    m->role = CS_ROLE_VOTER;
    fake_pass(2000, true);
    assert_null(rp_store_fact(fake.store, "recover.left.2"));
    assert_false(is_said("bea was left"));
}

static void nobody_else_is_taken_in(void **state)
{
    (void)state;
    fake_lead();
    tell("follower", 0, false, 0);
    fake_pass(2000, true);
    assert_int_equal(fake.changed_id, 0); /* An operator adds it, or nobody. */
    fake_lose(0, 2, fake.term + 1);
    rp_batch_fact(&fake.batch, "recover.left.2", "1");
    fake_apply(&fake.batch);
    tell("leader", 0, true, 0);
    fake_pass(2000, true);
    assert_int_equal(fake.changed_id, 0); /* It is not ours to do. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_a_leader_of_a_later_epoch_without_us_ends_us,
                                        open_site, close_site),
        cmocka_unit_test_setup_teardown(who_comes_empty_is_taken_in_step_by_step,
                                        open_site, close_site),
        cmocka_unit_test_setup_teardown(nobody_else_is_taken_in, open_site, close_site),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

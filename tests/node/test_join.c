/* A node that began with an empty log and has not caught up: it must not believe an old
 * configuration that says it is alone. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/node.h"
#include "node/reform.h"
#include "tests/node/replica_rig.h"

static struct nd_config config; /* Of node 1, as far as it is needed. */
static const struct sy_log quiet;
static struct sy_errbuf eb;

static uint64_t last(const struct rig *r)
{
    struct nd_log_look l;

    assert_int_equal(nd_log_look(r->nodes[1].dir, &l, &eb), 0);
    return l.last;
}

/* Three nodes that have a history; all are stopped. */
static void begin(struct rig *r)
{
    rig_init(r);
    (void)rig_led(r);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        rig_close(r, i);
    }
    memset(&config, 0, sizeof config);
    config.id = 1;
    snprintf(config.data_dir, sizeof config.data_dir, "%s", r->nodes[1].dir);
    snprintf(config.cluster, sizeof config.cluster, "%s", r->nodes[1].config.cluster);
}

static void end(struct rig *r)
{
    char command[440];

    snprintf(command, sizeof command,
             "rm -rf %s/raft.archived-* %s/joining %s/tie-next %s/left-behind",
             r->nodes[1].dir, r->nodes[1].dir, r->nodes[1].dir, r->nodes[1].dir);
    assert_int_equal(system(command), 0);
    rig_fini(r);
}

static void a_log_that_ends_alone_is_begun_anew(void **state)
{
    bool joining = true;
    struct rig r;

    (void)state;
    begin(&r);
    assert_int_equal(nd_reform(r.nodes[1].dir, 1, 0, &eb), 0);
    assert_int_equal(nd_join_resume(&config, &quiet, &joining, &eb), 0);
    assert_false(joining); /* Nobody said that it has to catch up: it is alone. */
    assert_true(last(&r) > 0);
    assert_int_equal(nd_join_mark(r.nodes[1].dir, &eb), 0);
    assert_int_equal(nd_join_resume(&config, &quiet, &joining, &eb), 0);
    assert_true(joining);
    assert_true(last(&r) == 0);
    assert_int_equal(nd_join_resume(&config, &quiet, &joining, &eb), 0);
    assert_true(joining); /* Still. */
    end(&r);
}

static void path_of(char to[200], const struct rig *r, const char *name, uint64_t number)
{
    snprintf(to, 200, number != UINT64_MAX ? "%s/%s%" PRIu64 : "%s/%s", r->nodes[1].dir,
             name, number);
}

/* Half of its files are put aside, then the power fails: nobody is there to mend it. */
static void a_crash_while_it_is_begun_anew_is_no_end(void **state)
{
    char aside[200], by_index[200], mark[200], moved[200];
    bool joining = false;
    struct rig r;

    (void)state;
    begin(&r);
    assert_int_equal(nd_reform(r.nodes[1].dir, 1, 0, &eb), 0);
    assert_int_equal(nd_join_mark(r.nodes[1].dir, &eb), 0);
    path_of(aside, &r, "raft.archived-", 0);
    path_of(by_index, &r, "raft.archived-", last(&r));
    assert_int_equal(symlink("/nowhere", aside), 0);
    assert_int_equal(symlink("/nowhere", by_index), 0);
    assert_true(nd_join_resume(&config, &quiet, &joining, &eb) < 0);
    assert_int_equal(unlink(aside) | unlink(by_index), 0);

    path_of(mark, &r, "mark", UINT64_MAX);
    path_of(moved, &r, "raft.archived-0/mark", UINT64_MAX);
    assert_int_equal(mkdir(aside, 0700), 0);
    assert_int_equal(rename(mark, moved), 0);
    assert_int_equal(nd_tie_resume(&config, &quiet, &eb), 0); /* As main.c does. */
    assert_int_equal(nd_join_resume(&config, &quiet, &joining, &eb), 0);
    assert_true(joining);
    assert_true(last(&r) == 0);
    end(&r);
}

static void a_log_with_others_goes_on(void **state)
{
    bool joining = false;
    uint64_t had;
    struct rig r;

    (void)state;
    begin(&r);
    had = last(&r);
    assert_int_equal(nd_join_mark(r.nodes[1].dir, &eb), 0);
    assert_int_equal(nd_join_resume(&config, &quiet, &joining, &eb), 0);
    assert_true(joining && last(&r) == had);
    assert_int_equal(nd_join_clear(r.nodes[1].dir), 0);
    assert_int_equal(nd_join_clear(r.nodes[1].dir), 0);
    assert_int_equal(nd_join_resume(&config, &quiet, &joining, &eb), 0);
    assert_false(joining);
    end(&r);
}

/* Who is made the only voter on purpose has all that there is. */
static void reforming_ends_it(void **state)
{
    bool joining = true;
    struct rig r;

    (void)state;
    begin(&r);
    assert_int_equal(nd_join_mark(r.nodes[1].dir, &eb), 0);
    assert_int_equal(nd_reform(r.nodes[1].dir, 1, 0, &eb), 0);
    assert_int_equal(nd_join_resume(&config, &quiet, &joining, &eb), 0);
    assert_true(!joining && last(&r) > 0);
    end(&r);
}

static void put_file(const struct rig *r, const char *name, const char *text)
{
    char path[200];
    FILE *f;

    path_of(path, r, name, UINT64_MAX);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* What it was told before, or had decided, would undo it at the next start. */
static void an_operators_word_is_the_last(void **state)
{
    uint64_t epoch = 0, had;
    struct nd_log_look past;
    bool joining = true;
    struct rig r;

    (void)state;
    begin(&r);
    assert_int_equal(nd_log_look(r.nodes[1].dir, &past, &eb), 0);
    put_file(&r, "left-behind", "epoch 4 told by bea\n");
    put_file(&r, "tie-next", "empty epoch 7 term 0\n");
    assert_int_equal(nd_join_mark(r.nodes[1].dir, &eb), 0);
    assert_int_equal(nd_recover(r.nodes[1].dir, &past, past.term, &epoch, &eb), 0);
    assert_int_equal(epoch, 5); /* Not one that the others may have. */
    had = last(&r);
    assert_int_equal(nd_left_read(r.nodes[1].dir, &eb), 0);
    assert_int_equal(nd_tie_resume(&config, &quiet, &eb), 0);
    assert_int_equal(nd_join_resume(&config, &quiet, &joining, &eb), 0);
    assert_true(!joining && last(&r) == had && had > past.last);
    end(&r);
}

/* It still has to catch up. */
static void what_is_refused_leaves_the_mark(void **state)
{
    bool joining = false;
    struct rig r;

    (void)state;
    begin(&r);
    assert_int_equal(nd_log_archive(r.nodes[1].dir, 1, &eb), 0);
    assert_int_equal(nd_join_mark(r.nodes[1].dir, &eb), 0);
    assert_int_equal(nd_log_empty(r.nodes[1].dir, config.cluster, 1, &eb), 0);
    assert_int_equal(nd_reform(r.nodes[1].dir, 1, 0, &eb), SY_ENOTFOUND);
    assert_int_equal(nd_reform(r.nodes[1].dir, 2, 0, &eb), SY_EINVALID);
    assert_int_equal(nd_join_resume(&config, &quiet, &joining, &eb), 0);
    assert_true(joining);
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_that_ends_alone_is_begun_anew),
        cmocka_unit_test(a_crash_while_it_is_begun_anew_is_no_end),
        cmocka_unit_test(a_log_with_others_goes_on),
        cmocka_unit_test(reforming_ends_it),
        cmocka_unit_test(an_operators_word_is_the_last),
        cmocka_unit_test(what_is_refused_leaves_the_mark),
    };

    return cmocka_run_group_tests_name("join", tests, NULL, NULL);
}

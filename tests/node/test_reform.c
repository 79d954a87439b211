/* Logs of nodes that do not run: looked at, re-formed, put aside, begun anew. */

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/reform.h"
#include "tests/node/replica_rig.h"

enum { JUMP = 1000000 };

static struct nd_log_look look(struct rig *r, unsigned id)
{
    struct nd_log_look l;
    struct sy_errbuf eb = {.text = ""};

    if (nd_log_look(r->nodes[id].dir, &l, &eb) != 0) {
        fail_msg("node %u: %s", id, eb.text);
    }
    return l;
}

static void reform(struct rig *r, unsigned id, uint64_t min_term)
{
    struct sy_errbuf eb = {.text = ""};

    if (nd_reform(r->nodes[id].dir, id, min_term, &eb) != 0) {
        fail_msg("node %u: %s", id, eb.text);
    }
}

/* The rig takes away files only. */
static void remove_archives(const struct rig *r, unsigned id)
{
    char command[160];

    snprintf(command, sizeof command, "rm -r %s/raft.archived-*", r->nodes[id].dir);
    assert_int_equal(system(command), 0);
}

/* Loaded, and all stopped: what node 1 had applied into *ret_hash. @snapshots: one after
 * so many entries, and little kept behind it; 0: none. */
static void used_with(struct rig *r, unsigned snapshots, uint64_t *ret_hash,
                      uint64_t *ret_index)
{
    unsigned leader;

    rig_prepare(r);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        struct cs_core_config *c = &r->nodes[i].config.raft;

        if (snapshots > 0) {
            c->snapshot_entries = snapshots;
            c->inflight_max = 16;
            c->trailing = 20;
        }
        rig_bootstrap(r, i);
        rig_open(r, i);
    }
    leader = rig_led(r);
    rig_seed(r, leader);
    for (unsigned i = 0; i < (snapshots > 0 ? 150 : 20); i++) {
        rig_load(r, leader, 50);
    }
    rig_same_state(r);
    if (snapshots > 0) { /* Closing would end the child that writes it. */
        RIG_UNTIL(r, cs_core_snapshot_index(nd_replica_core(r->nodes[1].r)) > 0);
    }
    *ret_hash = rp_store_hash(nd_replica_store(r->nodes[1].r));
    *ret_index = rp_store_index(nd_replica_store(r->nodes[1].r));
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        rig_close(r, i);
    }
}

static void used(struct rig *r, uint64_t *ret_hash, uint64_t *ret_index)
{
    used_with(r, 0, ret_hash, ret_index);
}

/* As `leader`, with the member changes that an operator would order. */
static void take_in(struct rig *r, unsigned leader, unsigned id)
{
    struct nd_replica *l = r->nodes[leader].r;
    struct rig_wait w = {0};
    struct cs_member m;
    uint64_t index;

    rig_report(r, leader, 1); /* something of the own term is committed */
    rig_wait(r, leader, &w);
    RIG_UNTIL(r, w.fired == 1);
    RIG_UNTIL(r, ad_peers_linked(nd_replica_peers(l), id));
    RIG_UNTIL(r, cs_core_change(l->core, nd_now_ms(), id, CS_ROLE_SPARE, &index) == 0);
    RIG_UNTIL(r, cs_core_member(l->core, id, &m) && m.committed);
    RIG_UNTIL(r, cs_core_catch_up(l->core, nd_now_ms(), id) == 0);
    RIG_UNTIL(r, cs_core_member(l->core, id, &m) && m.level);
    RIG_UNTIL(r, cs_core_change(l->core, nd_now_ms(), id, CS_ROLE_VOTER, &index) == 0);
    RIG_UNTIL(r,
              cs_core_member(l->core, id, &m) && m.committed && m.role == CS_ROLE_VOTER);
}

static void go_on_alone(unsigned snapshots)
{
    struct rig r;
    uint64_t hash, index, term;
    struct nd_log_look l;
    struct sy_errbuf eb = {.text = ""};

    used_with(&r, snapshots, &hash, &index);
    l = look(&r, 1);
    assert_int_equal(l.snapshot > 0, snapshots > 0);
    assert_string_equal(l.cluster, r.nodes[1].config.cluster);
    assert_int_equal(l.id, 1);
    assert_int_equal(l.members_n, 3);
    assert_true(l.last >= index);
    term = l.term;

    reform(&r, 1, term + JUMP);
    l = look(&r, 1);
    assert_int_equal(l.members_n, 1);
    assert_int_equal(l.term, term + JUMP + 1);
    rig_open(&r, 1);
    RIG_UNTIL(&r, nd_replica_leading(r.nodes[1].r) > term + JUMP);
    RIG_UNTIL(&r, rp_store_index(nd_replica_store(r.nodes[1].r)) >= index);
    assert_true(rp_store_hash_at(nd_replica_store(r.nodes[1].r), index) == hash ||
                rp_store_hash(nd_replica_store(r.nodes[1].r)) == hash);

    /* Those that were left behind throw away what they have. */
    for (unsigned id = 2; id <= RIG_NODES; id++) {
        assert_int_equal(nd_log_archive(r.nodes[id].dir, 7, &eb), 0);
        assert_int_equal(nd_log_look(r.nodes[id].dir, &l, &eb), SY_ENOTFOUND);
        assert_int_equal(
            nd_log_empty(r.nodes[id].dir, r.nodes[id].config.cluster, id, &eb), 0);
        rig_open(&r, id);
        take_in(&r, 1, id);
    }
    rig_load(&r, 1, 50);
    rig_same_state(&r);
    remove_archives(&r, 2);
    remove_archives(&r, 3);
    rig_fini(&r);
}

static void one_of_three_goes_on_alone_and_takes_the_others_in(void **state)
{
    (void)state;
    go_on_alone(0);
}

/* The others are seeded by a snapshot. */
static void the_same_with_snapshots(void **state)
{
    (void)state;
    go_on_alone(40);
}

/* The log may end in a configuration that nobody knows the fate of; and a crash may
 * come at any time, so that all is done again. */
static void it_may_be_done_again(void **state)
{
    struct rig r;
    uint64_t hash, index;
    struct nd_log_look a, b;

    (void)state;
    used(&r, &hash, &index);
    reform(&r, 2, 100);
    a = look(&r, 2);
    reform(&r, 2, 100);
    b = look(&r, 2);
    assert_int_equal(a.last, b.last);
    assert_int_equal(a.term, b.term);
    reform(&r, 2, 200); /* another decision */
    b = look(&r, 2);
    assert_int_equal(a.last + 1, b.last);
    assert_int_equal(b.term, 201);
    rig_open(&r, 2);
    RIG_UNTIL(&r, nd_replica_leading(r.nodes[2].r) > 201);
    rig_load(&r, 2, 10);
    assert_true(rp_store_index(nd_replica_store(r.nodes[2].r)) > index);
    rig_fini(&r);
}

static void a_command_goes_with_it(void **state)
{
    struct rig r;
    uint64_t hash, index;
    struct rp_batch batch = {0};
    struct sy_buf entry = {0};
    struct nd_log_look l;
    struct sy_errbuf eb;
    struct nd_reform how = {.self = 3, .min_term = 50};

    (void)state;
    used(&r, &hash, &index);
    rp_batch_fact(&batch, "recover.epoch", "1");
    rp_batch_seal(&batch, 1, 3, &entry);
    how.command = entry.p;
    how.command_len = (uint32_t)entry.len;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(nd_reform_with(r.nodes[3].dir, &how, &l, &eb), 0);
    }
    rig_open(&r, 3);
    RIG_UNTIL(&r, nd_replica_leading(r.nodes[3].r) > 50);
    rig_load(&r, 3, 1);
    assert_string_equal(
        rp_store_fact(nd_replica_store(r.nodes[3].r), "recover.epoch")->value, "1");
    assert_true(rp_store_index(nd_replica_store(r.nodes[3].r)) >= l.last);
    rp_batch_free(&batch);
    sy_buf_free(&entry);
    rig_fini(&r);
}

static void what_must_not_be_is_refused(void **state)
{
    struct rig r;
    uint64_t hash, index;
    struct nd_log_look l;
    struct sy_errbuf eb = {.text = ""};

    (void)state;
    used(&r, &hash, &index);
    assert_int_equal(nd_reform(r.nodes[1].dir, 2, 0, &eb), SY_EINVALID);
    assert_non_null(strstr(eb.text, "belongs to node 1"));
    assert_int_equal(nd_log_empty(r.nodes[1].dir, "x", 1, &eb), SY_EEXISTS);
    rig_open(&r, 1);
    /* The lock is the process's own: a child has none of it. */
    assert_true(look(&r, 2).last > 0);
    assert_int_equal(nd_log_archive(r.nodes[3].dir, 1, &eb), 0);
    assert_int_equal(nd_log_empty(r.nodes[3].dir, r.nodes[3].config.cluster, 3, &eb), 0);
    assert_int_equal(nd_reform(r.nodes[3].dir, 3, 0, &eb), SY_ENOTFOUND);
    assert_int_equal(nd_log_look(r.nodes[3].dir, &l, &eb), 0);
    assert_int_equal(l.last, 0);
    remove_archives(&r, 3);
    rig_fini(&r);
}

/* Somebody else has the folder: for some milliseconds, or until he is killed. */
static pid_t has_folder(const char *dir, unsigned ms)
{
    struct sy_errbuf eb;
    struct ad_wal_fs fs;
    int ready[2];
    char c;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (ad_wal_disk_open(&fs, dir, &eb) == 0 && write(ready[1], "x", 1) == 1) {
            usleep(ms * 1000);
        }
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

/* vagtd was told to end, its process is a zombie, and one of its threads still waits for
 * the disk: the operator's next command must not say that it runs. */
static void one_that_ends_is_waited_for(void **state)
{
    struct sy_errbuf eb = {.text = ""};
    struct nd_log_look l;
    struct rig r;
    uint64_t hash, index;
    const char *dir;
    pid_t pid;

    (void)state;
    used(&r, &hash, &index);
    dir = r.nodes[1].dir;
    pid = has_folder(dir, 300);
    assert_true(look(&r, 1).last > 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    pid = has_folder(dir, 300);
    assert_int_equal(nd_recover(dir, &(struct nd_log_look){.id = 1}, 0, &index, &eb), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    pid = has_folder(dir, 300);
    assert_int_equal(nd_log_archive(dir, 1, &eb), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);

    pid = has_folder(dir, 60000);
    assert_int_equal(nd_log_look(dir, &l, &eb), SY_EBUSY);
    assert_non_null(strstr(eb.text, "its vagtd runs; stop it first"));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    remove_archives(&r, 1);
    rig_fini(&r);
}

/* A crash between two of its files: the start refuses, and it can be finished. */
static void an_archive_is_finished(void **state)
{
    static const char *const files[] = {"mark", "seg-00000000000000000001", "identity"};
    struct rig r;
    uint64_t hash, index;
    char from[200], to[200];
    struct nd_log_look l;
    struct sy_errbuf eb = {.text = ""};

    (void)state;
    used(&r, &hash, &index);
    snprintf(to, sizeof to, "%s/raft.archived-3", r.nodes[1].dir);
    assert_int_equal(mkdir(to, 0700), 0);
    for (unsigned i = 0; i < 2; i++) {
        snprintf(from, sizeof from, "%s/%s", r.nodes[1].dir, files[i]);
        snprintf(to, sizeof to, "%s/raft.archived-3/%s", r.nodes[1].dir, files[i]);
        assert_int_equal(rename(from, to), 0);
        assert_int_equal(nd_log_look(r.nodes[1].dir, &l, &eb), SY_ECORRUPT);
        assert_int_not_equal(rig_try_open(&r, 1, &eb), 0);
    }
    assert_int_equal(nd_log_archive(r.nodes[1].dir, 3, &eb), 0);
    assert_int_equal(nd_log_look(r.nodes[1].dir, &l, &eb), SY_ENOTFOUND);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(to, sizeof to, "%s/raft.archived-3/%s", r.nodes[1].dir, files[i]);
        assert_int_equal(access(to, F_OK), 0);
    }
    remove_archives(&r, 1);
    rig_fini(&r);
}

/* Two are kept, the newest. */
static void a_disk_does_not_fill_with_archives(void **state)
{
    struct rig r;
    uint64_t hash, index;
    char path[160];
    struct sy_errbuf eb = {.text = ""};

    (void)state;
    used(&r, &hash, &index);
    for (uint64_t label = 9; label < 12; label++) {
        assert_int_equal(nd_log_archive(r.nodes[1].dir, label, &eb), 0);
        assert_int_equal(nd_log_empty(r.nodes[1].dir, r.nodes[1].config.cluster, 1, &eb),
                         0);
    }
    for (unsigned label = 9; label < 12; label++) {
        snprintf(path, sizeof path, "%s/raft.archived-%u/identity", r.nodes[1].dir,
                 label);
        assert_int_equal(access(path, F_OK) == 0, label > 9);
    }
    remove_archives(&r, 1);
    rig_fini(&r);
}

static bool is_kept(const struct rig *r, const char *label)
{
    char path[160];

    snprintf(path, sizeof path, "%s/raft.archived-%s/identity", r->nodes[1].dir, label);
    return access(path, F_OK) == 0;
}

static void put_aside(const struct rig *r, uint64_t label)
{
    struct sy_errbuf eb = {.text = ""};

    assert_int_equal(nd_log_archive(r->nodes[1].dir, label, &eb), 0);
    assert_int_equal(nd_log_empty(r->nodes[1].dir, r->nodes[1].config.cluster, 1, &eb),
                     0);
}

/* The tie-breaker's epochs are far ahead of those of recoveries: what was put aside just
 * now is not the oldest for that. */
static void the_log_put_aside_last_is_never_removed(void **state)
{
    struct rig r;
    uint64_t hash, index;

    (void)state;
    used(&r, &hash, &index);
    put_aside(&r, 40);
    put_aside(&r, 42);
    put_aside(&r, 1);
    assert_true(is_kept(&r, "1"));
    assert_true(is_kept(&r, "42"));
    assert_false(is_kept(&r, "40"));
    remove_archives(&r, 1);
    rig_fini(&r);
}

/* Two logs in one folder would be none. */
static void one_epoch_may_put_two_aside(void **state)
{
    struct rig r;
    uint64_t hash, index;
    struct sy_errbuf eb = {.text = ""};

    (void)state;
    used(&r, &hash, &index);
    put_aside(&r, 2);
    put_aside(&r, 2);
    assert_true(is_kept(&r, "2") && is_kept(&r, "2.1"));
    /* Repeated after a crash there is nothing to do, and no folder for it. */
    assert_int_equal(nd_log_archive(r.nodes[1].dir, 3, &eb), 0);
    assert_int_equal(nd_log_archive(r.nodes[1].dir, 3, &eb), 0);
    assert_true(is_kept(&r, "3") && !is_kept(&r, "3.1"));
    remove_archives(&r, 1);
    rig_fini(&r);
}

static void root_writes_as_the_owner(void **state)
{
    char dir[64] = "/tmp/vagt-owner.XXXXXX", command[80];
    struct sy_errbuf eb;
    int status;
    pid_t child;

    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chown(dir, 65534, 65534), 0);
    child = fork();
    if (child == 0) {
        _exit(nd_act_as_owner(dir, &eb) == 0 && geteuid() == 65534 &&
                      getegid() == 65534 && nd_log_empty(dir, "x", 1, &eb) == 0
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(nd_act_as_owner("/", &eb), 0);
    assert_int_equal(geteuid(), 0);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_three_goes_on_alone_and_takes_the_others_in),
        cmocka_unit_test(the_same_with_snapshots),
        cmocka_unit_test(it_may_be_done_again),
        cmocka_unit_test(a_command_goes_with_it),
        cmocka_unit_test(what_must_not_be_is_refused),
        cmocka_unit_test(one_that_ends_is_waited_for),
        cmocka_unit_test(an_archive_is_finished),
        cmocka_unit_test(root_writes_as_the_owner),
        cmocka_unit_test(a_disk_does_not_fill_with_archives),
        cmocka_unit_test(the_log_put_aside_last_is_never_removed),
        cmocka_unit_test(one_epoch_may_put_two_aside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

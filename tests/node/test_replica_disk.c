/* Replicas and their disks: starts, snapshots by a child and over the network,
 * damage. */

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/node/replica_rig.h"

static unsigned other_than(unsigned leader)
{
    return leader == 1 ? 2 : 1;
}

/* Snapshots often, and little kept behind them. */
static void prepare_with_snapshots(struct rig *r, unsigned entries)
{
    rig_prepare(r);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        struct cs_core_config *c = &r->nodes[i].config.raft;

        c->snapshot_entries = entries;
        c->inflight_max = 16;
        c->trailing = 20;
        rig_bootstrap(r, i);
    }
}

static void a_restart_gives_the_same_state(void **state)
{
    struct rig r;
    uint64_t hash, index;
    unsigned leader;

    (void)state;
    rig_init(&r);
    leader = rig_led(&r);
    rig_seed(&r, leader);
    for (unsigned i = 0; i < 50; i++) {
        rig_load(&r, leader, 100);
    }
    rig_same_state(&r);
    hash = rp_store_hash(nd_replica_store(r.nodes[1].r));
    index = rp_store_index(nd_replica_store(r.nodes[1].r));
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        rig_close(&r, i);
    }
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        rig_open(&r, i);
    }
    (void)rig_led(&r);
    RIG_UNTIL(&r, rig_level(&r));
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        struct rp_store *s = nd_replica_store(r.nodes[i].r);

        assert_true(rp_store_index(s) > index); /* The barrier of the new term. */
        assert_int_equal(rp_store_hash_at(s, index), hash);
        assert_int_equal(rp_store_readings_last(s), 5000);
    }
    rig_load(&r, rig_leader(&r), 10);
    rig_same_state(&r);
    rig_fini(&r);
}

/* --- snapshots --- */

static void a_restart_from_a_snapshot_gives_the_same_state(void **state)
{
    struct rig r;
    unsigned leader, id;

    (void)state;
    prepare_with_snapshots(&r, 40);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        rig_open(&r, i);
    }
    leader = rig_led(&r);
    rig_seed(&r, leader);
    for (unsigned i = 0; i < 150; i++) {
        rig_load(&r, leader, 20);
    }
    id = other_than(leader);
    RIG_UNTIL(&r, cs_core_snapshot_index(nd_replica_core(r.nodes[id].r)) > 100);
    assert_true(cs_core_first(nd_replica_core(r.nodes[id].r)) > 1);
    rig_close(&r, id);
    rig_load(&r, leader, 5);
    rig_open(&r, id);
    assert_true(cs_core_snapshot_index(nd_replica_core(r.nodes[id].r)) > 100);
    rig_load(&r, rig_led(&r), 5);
    rig_same_state(&r);
    assert_false(rig_said(&r, id, "snapshot.installed")); /* Its own was enough. */
    rig_fini(&r);
}

static void fall_behind(struct rig *r, unsigned id, unsigned leader)
{
    uint64_t last = cs_core_last(nd_replica_core(r->nodes[id].r));

    rig_close(r, id);
    for (unsigned i = 0; i < 90; i++) {
        rig_load(r, leader, 150);
    }
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        RIG_UNTIL(r, i == id || cs_core_first(nd_replica_core(r->nodes[i].r)) > last + 1);
    }
}

static void who_was_away_gets_a_snapshot(void **state)
{
    struct rig r;
    unsigned leader, id;

    (void)state;
    prepare_with_snapshots(&r, 40);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        rig_open(&r, i);
    }
    leader = rig_led(&r);
    rig_seed(&r, leader);
    id = other_than(leader);
    for (unsigned round = 0; round < 2; round++) {
        fall_behind(&r, id, leader);
        rig_open(&r, id);
        RIG_UNTIL(&r, rig_said(&r, id, "ev=snapshot.receiving"));
        while (!rig_said(&r, id, "ev=snapshot.installed")) {
            rig_load(&r, leader, 1); /* The others go on meanwhile. */
        }
        for (unsigned i = 0; i < 60; i++) {
            rig_load(&r, leader, 3);
        }
        rig_same_state(&r);
        assert_int_equal(rig_leader(&r), leader);
    }
    assert_true(rig_said(&r, leader, "ev=snapshot.sent"));
    /* And what it got is on its disk. */
    rig_close(&r, id);
    rig_open(&r, id);
    rig_load(&r, rig_led(&r), 1);
    rig_same_state(&r);
    rig_fini(&r);
}

/* False: all of it came in one turn of the loop, as on a busy machine it may. */
static bool break_off_a_transfer(void)
{
    struct rig r;
    unsigned leader, id, next;

    prepare_with_snapshots(&r, 40);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        rig_open(&r, i);
    }
    leader = rig_led(&r);
    rig_seed(&r, leader);
    id = other_than(leader);
    fall_behind(&r, id, leader);
    rig_open(&r, id);
    RIG_UNTIL(&r, r.nodes[id].r->in.file >= 0 && r.nodes[id].r->in.offset > 0);
    if (rig_said(&r, id, "ev=snapshot.installed")) {
        rig_fini(&r);
        return false;
    }
    rig_close(&r, leader);
    RIG_UNTIL(&r, rig_said(&r, id, "ev=snapshot.installed"));
    next = rig_led(&r);
    assert_int_not_equal(next, leader);
    rig_load(&r, next, 5);
    rig_open(&r, leader);
    rig_load(&r, rig_led(&r), 5);
    rig_same_state(&r);
    rig_fini(&r);
    return true;
}

/* The leader ends in the middle of sending: the next one begins anew. */
static void a_transfer_that_breaks_off_is_repeated(void **state)
{
    unsigned tries = 0;

    (void)state;
    while (!break_off_a_transfer()) {
        assert_true(++tries < 10);
    }
}

/* The receiver ends in the middle: what it got so far is in nobody's way. */
static void a_receiver_that_ends_in_the_middle_starts_again(void **state)
{
    struct rig r;
    unsigned leader, id;
    uint64_t began;

    (void)state;
    prepare_with_snapshots(&r, 40);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        rig_open(&r, i);
    }
    leader = rig_led(&r);
    rig_seed(&r, leader);
    id = other_than(leader);
    fall_behind(&r, id, leader);
    for (unsigned i = 0; i < 3; i++) {
        rig_open(&r, id);
        RIG_UNTIL(&r,
                  r.nodes[id].r->in.file >= 0 && (i == 0 || r.nodes[id].r->in.writing));
        rig_close(&r, id);
    }
    rig_open(&r, id);
    began = uv_hrtime();
    RIG_UNTIL(&r, rig_said(&r, id, "ev=snapshot.installed"));
    /* The transfer that was under way ended with its link, not by a timeout. */
    print_message("a new transfer after the last one broke off: %llu ms\n",
                  (unsigned long long)((uv_hrtime() - began) / 1000000));
    assert_true(uv_hrtime() - began < 3000000000ULL);
    rig_load(&r, rig_led(&r), 5);
    rig_same_state(&r);
    rig_fini(&r);
}

/* --- the child --- */

/* How many of its files are sockets; -1: it has none open, that is, it has ended. */
static int sockets_of(pid_t pid)
{
    char path[64], link[64];
    unsigned files = 0;
    int n = 0;
    struct dirent *e;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    while (dir != NULL && (e = readdir(dir)) != NULL) {
        ssize_t len = readlinkat(dirfd(dir), e->d_name, link, sizeof link - 1);

        link[len > 0 ? len : 0] = '\0';
        files += len > 0;
        n += len > 0 && strncmp(link, "socket:", 7) == 0;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return files > 0 ? n : -1;
}

/* Would it be killed before us where memory runs out? */
static bool dies_first(pid_t pid)
{
    char path[64], score[16] = "";
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)pid);
    f = fopen(path, "r");
    if (f != NULL) {
        (void)!fgets(score, sizeof score, f);
        fclose(f);
    }
    return strcmp(score, "1000\n") == 0;
}

/* A state that takes a while to write. */
static void fill(struct rig *r, unsigned leader, unsigned reports)
{
    for (unsigned i = 0; i < reports / 1000; i++) {
        rig_load(r, leader, 1000);
    }
}

/* As long as a child holds the sockets, the death of its parent is seen by nobody:
 * it lets go of them before it writes. And it may die, we may not. */
static void the_child_holds_no_sockets_and_dies_first(void **state)
{
    unsigned clean = 0;
    struct rig r;
    unsigned leader;

    (void)state;
    prepare_with_snapshots(&r, 30);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        r.nodes[i].config.raft.snapshot_entries = i == 1 ? 30 : 0;
        rig_open(&r, i);
    }
    leader = rig_led(&r);
    rig_seed(&r, leader);
    fill(&r, leader, 20000);
    assert_true(sockets_of(getpid()) > 0); /* We would see them. */
    for (unsigned i = 0; i < 200 && clean == 0; i++) {
        struct nd_replica *n = r.nodes[1].r;
        pid_t child = n->child;

        rig_load(&r, leader, 1);
        if (n->child <= 0 || n->child == child) {
            continue;
        }
        child = n->child;
        for (unsigned k = 0; k < 100 && clean == 0; k++) {
            uv_sleep(1); /* Time to let go; it has much more to write. */
            if (kill(child, SIGSTOP) != 0) {
                break;
            }
            clean += sockets_of(child) == 0 && dies_first(child);
            kill(child, SIGCONT);
        }
        RIG_UNTIL(&r, n->child <= 0);
        assert_true(rig_said(&r, 1, "ev=snapshot.taken"));
    }
    assert_int_equal(clean, 1);
    rig_same_state(&r);
    rig_fini(&r);
}

/* A child that dies: no snapshot, no harm, another one later. */
static void a_child_that_is_killed_leaves_the_log(void **state)
{
    struct rig r;
    unsigned leader;

    (void)state;
    prepare_with_snapshots(&r, 30);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        rig_open(&r, i);
    }
    leader = rig_led(&r);
    rig_seed(&r, leader);
    while (!rig_said(&r, leader, "ok=no")) {
        rig_load(&r, leader, 100);
        if (r.nodes[leader].r->child > 0) {
            kill(r.nodes[leader].r->child, SIGKILL);
        }
    }
    rig_load(&r, leader, 100);
    rig_same_state(&r);
    /* And closing while one is at work ends it. */
    for (unsigned i = 0; i < 200 && r.nodes[other_than(leader)].r->child <= 0; i++) {
        rig_load(&r, leader, 100);
    }
    rig_close(&r, other_than(leader));
    rig_open(&r, other_than(leader));
    rig_same_state(&r);
    rig_fini(&r);
}

/* Forking is what the loop pays for a snapshot, and the pages that change while
 * the child writes. */
static void a_snapshot_does_not_stall_the_loop(void **state)
{
    enum { MS = 1000, TRIES = 5 };
    uint64_t best = UINT64_MAX;
    struct rig r;
    unsigned leader;

    (void)state;
    prepare_with_snapshots(&r, 150);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        /* In three processes they would not all fork in one turn of one loop. */
        r.nodes[i].config.raft.snapshot_entries = i == 1 ? 150 : 0;
        rig_open(&r, i);
    }
    leader = rig_led(&r);
    rig_seed(&r, leader);
    fill(&r, leader, 100000);
    for (unsigned i = 0; i < TRIES && best >= 10 * MS; i++) {
        while (r.nodes[1].r->child <= 0) {
            r.stall_us = 0; /* The turn that forks counts, those before do not. */
            rig_load(&r, leader, 10);
        }
        while (r.nodes[1].r->child > 0) {
            rig_load(&r, leader, 10);
        }
        best = r.stall_us < best ? r.stall_us : best;
    }
    print_message(
        "longest turn of the loop while a snapshot of 100,000 readings was "
        "taken under load: %llu.%llu ms\n",
        (unsigned long long)(best / MS), (unsigned long long)(best % MS / 100));
#ifndef __SANITIZE_ADDRESS__
    assert_true(best < 10 * MS);
#endif
    rig_fini(&r);
}

/* @n times 100 reports; what they leave in the outbox goes at once if @shipped. */
static void load_small(struct rig *r, unsigned leader, unsigned n, bool shipped)
{
    struct rp_store *s = nd_replica_store(r->nodes[leader].r);

    for (; n > 0; n--) {
        rig_load(r, leader, 100);
        if (shipped) {
            rp_batch_shipped(nd_replica_batch(r->nodes[leader].r),
                             rp_store_readings_last(s), rp_store_revision(s));
        }
    }
}

/* A witness on a Raspberry Pi: its log in memory stays short, and a large state is not
 * written again for every bit of it. */
static void a_small_machine_keeps_its_log_short(void **state)
{
    enum { SHORT = 512 * 1024 };
    struct rig r;
    const struct cs_core *core;
    unsigned leader;
    uint64_t taken;

    (void)state;
    rig_prepare(&r);
    r.nodes[3].config.small = true;
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        r.nodes[i].config.raft.snapshot_entries = 0;
        rig_bootstrap(&r, i);
        rig_open(&r, i);
    }
    leader = rig_led(&r);
    core = nd_replica_core(r.nodes[3].r);
    rig_seed(&r, leader);
    while (cs_core_log_bytes(nd_replica_core(r.nodes[1].r)) < 5 * SHORT) {
        load_small(&r, leader, 20, true);
        assert_true(cs_core_log_bytes(core) < 3 * SHORT);
    }
    RIG_UNTIL(&r, rig_level(&r));
    taken = cs_core_stats(core)->snapshots_taken;
    assert_in_range(taken, 2, 5);
    assert_int_equal(cs_core_stats(nd_replica_core(r.nodes[1].r))->snapshots_taken, 0);
    /* Postgres is away: the outbox grows, and with it what a snapshot costs. */
    while (cs_core_log_bytes(nd_replica_core(r.nodes[1].r)) < 20 * SHORT) {
        load_small(&r, leader, 20, false);
    }
    RIG_UNTIL(&r, r.nodes[3].r->child <= 0 && rig_level(&r));
    assert_in_range(cs_core_stats(core)->snapshots_taken - taken, 2, 8);
    rig_same_state(&r);
    rig_fini(&r);
}

/* --- starts that are refused --- */

static void damage(const struct rig_node *n, const char *prefix)
{
    struct dirent *e;
    char path[512];
    struct stat st;
    uint8_t byte;
    DIR *dir = opendir(n->dir);
    int fd;

    path[0] = '\0';
    while ((e = readdir(dir)) != NULL) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0) {
            snprintf(path, sizeof path, "%s/%s", n->dir, e->d_name);
        }
    }
    closedir(dir);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(pread(fd, &byte, 1, 20000), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, 20000), 1);
    close(fd);
}

static void a_damaged_log_is_refused_and_the_others_go_on(void **state)
{
    struct sy_errbuf eb;
    struct rig r;
    unsigned leader, id;

    (void)state;
    rig_init(&r);
    leader = rig_led(&r);
    rig_seed(&r, leader);
    for (unsigned i = 0; i < 20; i++) {
        rig_load(&r, leader, 100);
    }
    rig_same_state(&r);
    id = other_than(leader);
    rig_close(&r, id);
    damage(&r.nodes[id], "seg-");
    assert_int_equal(rig_try_open(&r, id, &eb), SY_ECORRUPT);
    assert_non_null(strstr(eb.text, "seg-"));
    assert_non_null(strstr(eb.text, "offset"));
    for (unsigned i = 0; i < 20; i++) {
        rig_turn(&r);
        rig_load(&r, leader, 10);
    }
    rig_same_state(&r);
    assert_int_equal(rig_try_open(&r, id, &eb), SY_ECORRUPT); /* Still the same. */
    rig_fini(&r);
}

static void starts_that_cannot_be_are_refused(void **state)
{
    const struct ad_peer_address *taken;
    char address[96];
    struct sy_errbuf eb;
    struct rig r;

    (void)state;
    rig_prepare(&r);
    assert_int_equal(rig_try_open(&r, 1, &eb), SY_ENOTFOUND);
    assert_non_null(strstr(eb.text, "vagtd --bootstrap"));
    rig_bootstrap(&r, 1);
    assert_int_equal(nd_replica_bootstrap(&r.nodes[1].config, &eb), SY_EEXISTS);
    r.nodes[1].config.cluster = "elsewhere";
    assert_int_equal(rig_try_open(&r, 1, &eb), SY_EINVALID);
    assert_non_null(strstr(eb.text, "campsite"));
    r.nodes[1].config.cluster = "campsite";
    r.nodes[1].config.raft.id = 2;
    assert_int_equal(rig_try_open(&r, 1, &eb), SY_EINVALID);
    r.nodes[1].config.raft.id = 1;
    r.nodes[1].config.raft.heartbeat_ms = 0;
    assert_true(rig_try_open(&r, 1, &eb) < 0);
    assert_non_null(strstr(eb.text, "election"));
    r.nodes[1].config.raft.heartbeat_ms = 20;
    rig_turn(&r);
    rig_open(&r, 1);
    /* The port is taken: nothing is left behind, and it can be tried again. */
    rig_bootstrap(&r, 2);
    taken = &r.nodes[1].config.peers.nodes[0];
    r.nodes[2].config.peers.nodes[1].port = taken->port;
    assert_int_equal(rig_try_open(&r, 2, &eb), UV_EADDRINUSE);
    snprintf(address, sizeof address, "%s:%u", taken->host, taken->port);
    assert_non_null(strstr(eb.text, address));
    rig_fini(&r);
}

/* A process of its own that holds the lock of @dir for @ms, from before this returns. */
static pid_t hold_lock(const char *dir, unsigned ms)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[128];
    int held[2];
    pid_t child;
    char byte;

    snprintf(path, sizeof path, "%s/lock", dir);
    assert_int_equal(pipe(held), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int fd = open(path, O_RDWR | O_CREAT, 0600);

        if (fd < 0 || fcntl(fd, F_SETLK, &all) != 0 || write(held[1], "x", 1) != 1) {
            _exit(1);
        }
        uv_sleep(ms);
        _exit(0);
    }
    close(held[1]);
    assert_int_equal(read(held[0], &byte, 1), 1);
    close(held[0]);
    return child;
}

/* Who was killed may be a zombie in the making when it is started again. */
static void a_lock_of_a_dying_process_is_waited_for(void **state)
{
    struct sy_errbuf eb;
    struct rig r;
    pid_t child;

    (void)state;
    rig_prepare(&r);
    rig_bootstrap(&r, 1);
    child = hold_lock(r.nodes[1].dir, 300);
    rig_open(&r, 1);
    assert_int_equal(waitpid(child, NULL, 0), child);
    rig_close(&r, 1);
    child = hold_lock(r.nodes[1].dir, 60000);
    assert_int_equal(rig_try_open(&r, 1, &eb), SY_EBUSY);
    assert_non_null(strstr(eb.text, "in use by another process"));
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restart_gives_the_same_state),
        cmocka_unit_test(a_restart_from_a_snapshot_gives_the_same_state),
        cmocka_unit_test(who_was_away_gets_a_snapshot),
        cmocka_unit_test(a_transfer_that_breaks_off_is_repeated),
        cmocka_unit_test(a_receiver_that_ends_in_the_middle_starts_again),
        cmocka_unit_test(the_child_holds_no_sockets_and_dies_first),
        cmocka_unit_test(a_child_that_is_killed_leaves_the_log),
        cmocka_unit_test(a_snapshot_does_not_stall_the_loop),
        cmocka_unit_test(a_small_machine_keeps_its_log_short),
        cmocka_unit_test(a_damaged_log_is_refused_and_the_others_go_on),
        cmocka_unit_test(starts_that_cannot_be_are_refused),
        cmocka_unit_test(a_lock_of_a_dying_process_is_waited_for),
    };
    return cmocka_run_group_tests_name("replica_disk", tests, NULL, NULL);
}

/* Replicas on one loop: what is proposed is applied everywhere, and whoever asked
 * hears of it once. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/wal/inside.h"
#include "tests/node/replica_rig.h"

/* Some node that is not @leader. */
static unsigned other_than(unsigned leader)
{
    return leader == 1 ? 2 : 1;
}

static void what_is_proposed_is_applied_everywhere(void **state)
{
    struct rig r;
    unsigned leader;
    uint64_t last;

    (void)state;
    rig_init(&r);
    leader = rig_led(&r);
    rig_seed(&r, leader);
    last = cs_core_last(nd_replica_core(r.nodes[leader].r));
    rig_load(&r, leader, 500);
    /* All that was appended in one turn is one entry and one fsync. */
    assert_int_equal(cs_core_last(nd_replica_core(r.nodes[leader].r)), last + 1);
    rig_same_state(&r);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        assert_int_equal(r.nodes[i].events[RP_EV_AREA], 1);
        assert_int_equal(r.nodes[i].events[RP_EV_DEVICE], RIG_DEVICES);
        assert_int_equal(r.nodes[i].events[RP_EV_REPORT], 500);
        assert_int_equal(rp_store_readings_last(nd_replica_store(r.nodes[i].r)), 500);
    }
    assert_true(nd_replica_leading(r.nodes[leader].r) > 0);
    assert_int_equal(nd_replica_leading(r.nodes[other_than(leader)].r), 0);
    rig_fini(&r);
}

static void only_the_leader_takes_inputs(void **state)
{
    struct rig_wait w[2];
    struct rig r;
    unsigned leader, id;

    (void)state;
    rig_init(&r);
    leader = rig_led(&r);
    id = other_than(leader);
    rig_seed(&r, leader);
    rig_report(&r, id, 3);
    rig_wait(&r, id, &w[0]);
    rig_wait(&r, id, &w[1]);
    assert_int_equal(w[0].fired, 0); /* Never from inside the call. */
    RIG_UNTIL(&r, w[0].fired > 0 && w[1].fired > 0);
    assert_int_equal(w[0].status, SY_ENOTLEADER);
    assert_int_equal(w[1].status, SY_ENOTLEADER);
    assert_int_equal(nd_replica_batch(r.nodes[id].r)->n, 0);
    rig_load(&r, leader, 1);
    rig_same_state(&r);
    assert_int_equal(r.nodes[id].events[RP_EV_REPORT], 1);
    assert_int_equal(w[0].fired, 1);
    assert_int_equal(w[1].fired, 1);
    rig_fini(&r);
}

/* Much in one turn: several entries, which are applied in the order in which it was
 * appended; who waits is told in that order, and not before it is so. */
static void large_batches_are_split_in_order(void **state)
{
    enum { COMMANDS = 3000, EVERY = 100 };
    static struct rig_wait w[COMMANDS / EVERY];
    struct rig r;
    unsigned leader;
    uint64_t last;
    char id[32];

    (void)state;
    rig_init(&r);
    leader = rig_led(&r);
    rig_seed(&r, leader);
    r.nodes[leader].r->config.batch_max = 8192;
    last = cs_core_last(nd_replica_core(r.nodes[leader].r));
    for (unsigned i = 0; i < COMMANDS; i++) {
        snprintf(id, sizeof id, "command-%u", i);
        rp_batch_command(nd_replica_batch(r.nodes[leader].r), id, 1 + i % RIG_DEVICES,
                         "state", "ON", "test", nd_wall_ms() + 60000);
        if (i % EVERY == EVERY - 1) {
            rig_wait(&r, leader, &w[i / EVERY]);
        }
    }
    RIG_UNTIL(&r, w[COMMANDS / EVERY - 1].fired > 0);
    rig_same_state(&r);
    assert_true(cs_core_last(nd_replica_core(r.nodes[leader].r)) - last > 10);
    for (unsigned i = 0; i < COMMANDS / EVERY; i++) {
        assert_int_equal(w[i].fired, 1);
        assert_int_equal(w[i].status, 0);
        assert_true(w[i].applied >= w[i].wait.index);
        assert_true(i == 0 || w[i].order == w[i - 1].order + 1);
    }
    for (unsigned i = 0; i < COMMANDS; i++) {
        const struct rp_command *c;

        snprintf(id, sizeof id, "command-%u", i);
        c = rp_store_command(nd_replica_store(r.nodes[other_than(leader)].r), id);
        assert_non_null(c);
        assert_int_equal(c->seq, i + 1);
    }
    rig_fini(&r);
}

/* "Tell me when what was appended so far is applied": also when that was nothing,
 * or is on its way already. */
static void waiting_for_nothing_new_is_waiting_for_what_is_under_way(void **state)
{
    struct rig_wait w[3];
    struct rig r;
    unsigned leader;

    (void)state;
    rig_init(&r);
    leader = rig_led(&r);
    rig_wait(&r, leader, &w[0]);
    RIG_UNTIL(&r, w[0].fired > 0);
    assert_int_equal(w[0].status, 0);
    rig_seed(&r, leader);
    rig_report(&r, leader, 200);
    rig_wait(&r, leader, &w[1]);
    rig_turn(&r);
    rig_turn(&r);
    rig_wait(&r, leader, &w[2]);
    RIG_UNTIL(&r, w[2].fired > 0);
    assert_int_equal(w[1].fired, 1);
    assert_true(w[1].order < w[2].order);
    assert_int_equal(w[2].status, 0);
    rig_same_state(&r);
    rig_fini(&r);
}

static bool first_leads(struct rig *r)
{
    unsigned leader = rig_leader(r);
    int rv = leader > 1 ? nd_replica_transfer(r->nodes[leader].r, 1, 1000) : 0;

    return rv == 0 && leader == 1;
}

/* The first node leads, and goes on for seconds when the others are gone: to close them
 * takes as long as their disks take. */
static unsigned patient_leader(struct rig *r)
{
    rig_prepare(r);
    r->nodes[1].config.raft.election_ms = 2000;
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        rig_bootstrap(r, i);
        rig_open(r, i);
    }
    RIG_UNTIL(r, first_leads(r));
    return 1;
}

/* A leader that hears nobody steps down. What it had submitted may be in the log or
 * not; what it had not, is not. */
static void lost_leadership_is_told_to_who_waits(void **state)
{
    static struct rig_wait w[8];
    unsigned unknown = 0, refused = 0;
    struct rig r;
    unsigned leader;

    (void)state;
    leader = patient_leader(&r);
    rig_seed(&r, leader);
    r.nodes[leader].r->config.inflight_max = 2;
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        if (i != leader) {
            rig_close(&r, i);
        }
    }
    assert_true(nd_replica_leading(r.nodes[leader].r) > 0);
    for (unsigned i = 0; i < 8; i++) {
        rig_report(&r, leader, 1);
        rig_wait(&r, leader, &w[i]);
        rig_turn(&r);
    }
    RIG_UNTIL(&r, w[7].fired > 0);
    assert_int_equal(nd_replica_leading(r.nodes[leader].r), 0);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(w[i].fired, 1);
        assert_true(w[i].status == SY_EUNKNOWN || w[i].status == SY_ENOTLEADER);
        unknown += w[i].status == SY_EUNKNOWN;
        refused += w[i].status == SY_ENOTLEADER;
    }
    assert_int_equal(unknown, 2); /* As many as were under way, and the first. */
    assert_int_equal(w[0].status, SY_EUNKNOWN);
    assert_int_equal(w[1].status, SY_EUNKNOWN);
    assert_int_equal(refused, 6);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        if (i != leader) {
            rig_open(&r, i);
        }
    }
    leader = rig_led(&r);
    rig_load(&r, leader, 10);
    rig_same_state(&r);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(w[i].fired, 1);
    }
    rig_fini(&r);
}

static void closing_cancels_who_waits(void **state)
{
    static struct rig_wait w[8];
    struct rig r;
    unsigned leader;

    (void)state;
    leader = patient_leader(&r);
    rig_seed(&r, leader);
    r.nodes[leader].r->config.inflight_max = 2;
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        if (i != leader) {
            rig_close(&r, i);
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        rig_report(&r, leader, 1);
        rig_wait(&r, leader, &w[i]);
        if (i < 6) { /* The rest is in the batch still. */
            rig_turn(&r);
        }
    }
    rig_close(&r, leader);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(w[i].fired, 1);
        assert_int_equal(w[i].status, UV_ECANCELED);
    }
    rig_fini(&r);
}

static struct
{
    struct rig *rig;
    unsigned id;
} closing;

static void close_it(void *data, int status)
{
    struct rig_wait *w = data;
    struct rig_node *n = &closing.rig->nodes[closing.id];

    w->fired++;
    w->status = status;
    if (n->r != NULL) {
        struct nd_replica *gone = n->r;

        n->r = NULL;
        n->closed = true;
        nd_replica_close(gone, NULL);
    }
}

/* node.c closes when it hears that another node has the watch. */
static void closing_from_a_callback_is_allowed(void **state)
{
    struct rig_wait w[3] = {{.fired = 0}};
    struct rig r;
    unsigned leader;

    (void)state;
    rig_init(&r);
    leader = rig_led(&r);
    rig_seed(&r, leader);
    closing.rig = &r;
    closing.id = leader;
    rig_report(&r, leader, 10);
    for (unsigned i = 0; i < 3; i++) {
        nd_replica_wait(r.nodes[leader].r, &w[i].wait, close_it, &w[i]);
    }
    RIG_UNTIL(&r, r.nodes[leader].r == NULL);
    leader = rig_led(&r); /* The others see it go. */
    rig_load(&r, leader, 1);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(w[i].fired, 1);
        assert_int_equal(w[i].status, 0);
    }
    rig_fini(&r);
}

static void leadership_can_be_handed_over(void **state)
{
    static struct rig_wait w[50];
    struct rig r;
    unsigned leader, to, ok = 0;
    uint64_t before;

    (void)state;
    rig_init(&r);
    leader = rig_led(&r);
    rig_seed(&r, leader);
    to = other_than(leader);
    before = r.nodes[to].events[RP_EV_REPORT];
    for (unsigned i = 0; i < 50; i++) {
        if (i == 10) {
            RIG_UNTIL(&r, w[9].fired > 0); /* What was not submitted may be refused. */
            assert_int_equal(nd_replica_transfer(r.nodes[leader].r, to, 1000), 0);
        }
        rig_report(&r, leader, 1);
        rig_wait(&r, leader, &w[i]);
        rig_turn(&r);
    }
    RIG_UNTIL(&r, rig_leader(&r) == to);
    RIG_UNTIL(&r, w[49].fired > 0);
    rig_load(&r, to, 1);
    rig_same_state(&r);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(w[i].fired, 1);
        assert_true(w[i].status == 0 || w[i].status == SY_ENOTLEADER);
        ok += w[i].status == 0;
    }
    /* Yes means yes, and no means no. */
    assert_in_range(ok, 10, 49);
    assert_int_equal(r.nodes[to].events[RP_EV_REPORT] - before, ok + 1);
    rig_fini(&r);
}

static void a_leader_that_dies_is_relieved_at_once(void **state)
{
    struct rig r;
    unsigned leader;
    uint64_t began;

    (void)state;
    rig_prepare(&r);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        r.nodes[i].config.raft.election_ms = 2000; /* Relief does not wait for it. */
        rig_bootstrap(&r, i);
        rig_open(&r, i);
    }
    leader = rig_led(&r);
    rig_seed(&r, leader);
    rig_same_state(&r);
    began = uv_hrtime();
    rig_close(&r, leader);
    leader = rig_led(&r);
    rig_load(&r, leader, 1);
    print_message("relief and one entry: %llu ms\n",
                  (unsigned long long)((uv_hrtime() - began) / 1000000));
    assert_true(uv_hrtime() - began < 1900000000ULL); /* Two syncs are in it. */
    rig_same_state(&r);
    rig_fini(&r);
}

static void frames_of_the_owner_pass_through(void **state)
{
    static uint8_t frame[100000];
    struct rig r;

    (void)state;
    rig_init(&r);
    (void)rig_led(&r);
    RIG_UNTIL(&r, ad_peers_linked(nd_replica_peers(r.nodes[2].r), 3));
    for (unsigned i = 0; i < 20; i++) {
        frame[0] = (uint8_t)(ND_FRAME_OWNER + i);
        assert_true(nd_replica_send(r.nodes[2].r, 3, frame[0], frame, 5000 * i + 1));
    }
    RIG_UNTIL(&r, r.nodes[3].frames == 20);
    assert_int_equal(r.nodes[3].frame_bytes, 5000 * 190 + 20);
    assert_int_equal(r.nodes[1].frames, 0);
    rig_fini(&r);
}

/* --- a store that comes while a fence is being written --- */

static int (*real_sync)(void *ctx, int file);
static _Atomic bool sync_is_slow;

static int slow_sync(void *ctx, int file)
{
    if (sync_is_slow) {
        uv_sleep(60);
    }
    return real_sync(ctx, file);
}

static void a_store_waits_for_a_fence(void **state)
{
    unsigned late = 0;
    struct rig r;
    unsigned leader, id;

    (void)state;
    rig_init(&r);
    leader = rig_led(&r);
    id = other_than(leader);
    rig_seed(&r, leader);
    rig_same_state(&r);
    real_sync = r.nodes[id].r->wal->fs.sync;
    r.nodes[id].r->wal->fs.sync = slow_sync;
    for (unsigned i = 0; i < 5; i++) {
        struct rig_wait w;
        uint64_t until = uv_hrtime() + 10000000000ULL, again = 0;

        while (!r.nodes[id].r->job_is_fence) {
            assert_true(uv_hrtime() < until);
            if (uv_hrtime() >= again) {
                /* It comes once it is quiet; a disk that is slower hides it from us. */
                sync_is_slow = false;
                rig_load(&r, leader, 5);
                RIG_UNTIL(&r, rig_level(&r));
                sync_is_slow = true;
                again = uv_hrtime() + 300000000;
            }
            rig_turn(&r);
        }
        rig_report(&r, leader, 5);
        rig_wait(&r, leader, &w);
        while (r.nodes[id].r->job_is_fence) {
            late += r.nodes[id].r->late != NULL;
            rig_turn(&r);
        }
        RIG_UNTIL(&r, w.fired == 1);
        assert_int_equal(w.status, 0);
        sync_is_slow = false;
    }
    assert_true(late > 0);
    rig_same_state(&r);
    rig_close(&r, id); /* It is on the disk, too. */
    rig_open(&r, id);
    rig_same_state(&r);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_proposed_is_applied_everywhere),
        cmocka_unit_test(only_the_leader_takes_inputs),
        cmocka_unit_test(large_batches_are_split_in_order),
        cmocka_unit_test(waiting_for_nothing_new_is_waiting_for_what_is_under_way),
        cmocka_unit_test(lost_leadership_is_told_to_who_waits),
        cmocka_unit_test(closing_cancels_who_waits),
        cmocka_unit_test(closing_from_a_callback_is_allowed),
        cmocka_unit_test(leadership_can_be_handed_over),
        cmocka_unit_test(a_leader_that_dies_is_relieved_at_once),
        cmocka_unit_test(frames_of_the_owner_pass_through),
        cmocka_unit_test(a_store_waits_for_a_fence),
    };
    return cmocka_run_group_tests_name("replica", tests, NULL, NULL);
}

/* One message can bring any number of inputs at once, as a bridge does that lists its
 * devices: what does not fit into one entry goes into several. */

#include "consensus/wire.h"
#include "tests/node/replica_rig.h"

enum { BATCH = 4096, REPORTS = 60000 };

static void keep(struct rp_batch *b, uint64_t nr)
{
    struct rp_report report = {
        .ieee = 1 + nr % RIG_DEVICES,
        .last_seen_ms = 1700000000000 + nr,
        .payload_hash = nr,
        .state = RP_ON,
        .values = {.has = RP_HAS_POWER, .power_mw = (int32_t)nr},
    };

    rp_batch_report(b, &report);
}

static void more_than_a_frame_is_several_entries(void **state)
{
    struct rig_wait w;
    struct rig r;
    struct rp_batch *b;
    unsigned leader;
    uint64_t first, last;

    (void)state;
    rig_init(&r);
    leader = rig_led(&r);
    rig_seed(&r, leader);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        r.nodes[i].r->config.batch_max = BATCH;
    }
    first = cs_core_last(nd_replica_core(r.nodes[leader].r)) + 1;
    b = nd_replica_batch(r.nodes[leader].r);
    for (unsigned i = 0; i < REPORTS; i++) {
        keep(b, i); /* No way for the replica to cut in between. */
    }
    assert_true(b->buf.len > r.nodes[leader].config.raft.frame_max);
    rig_wait(&r, leader, &w);
    RIG_UNTIL(&r, w.fired > 0);
    assert_int_equal(w.status, 0);
    last = cs_core_last(nd_replica_core(r.nodes[leader].r));
    assert_true(last - first > REPORTS * 20 / BATCH);
    for (uint64_t i = first; i <= last; i++) {
        const struct cs_entry *e = cs_core_entry(nd_replica_core(r.nodes[leader].r), i);

        assert_true(e->len <= BATCH + CS_WIRE_HEAD_MAX);
    }
    rig_same_state(&r);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        assert_int_equal(r.nodes[i].events[RP_EV_REPORT], REPORTS);
        assert_int_equal(rp_store_readings_last(nd_replica_store(r.nodes[i].r)), REPORTS);
    }
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_than_a_frame_is_several_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

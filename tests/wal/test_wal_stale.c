/* What an earlier life left behind never becomes part of the log: torn remains
 * after the end, and files that were used before. */

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "tests/wal/rig.h"

static struct rig rig;
static struct op op;

static void fill(size_t n, uint32_t len)
{
    memset(&op, 0, sizeof op);
    op.n = n;
    op.first = rig.model.last + 1;
    for (size_t i = 0; i < n; i++) {
        op.e[i] = (struct wanted_entry){
            .term = 1, .type = RAFT_COMMAND, .len = len, .seed = op.first + i};
    }
}

static void lose_power(uint64_t seed)
{
    int stage;

    ad_wal_close(&rig.w);
    memfs_crash(rig.m, seed);
    stage = rig_open(&rig, rig.m, &op, &rig.w);
    if (stage < 0) {
        fail_msg("seed %lu: %d %s", (unsigned long)seed, stage, rig.eb.text);
    }
    rig_apply(&rig.model, &op, (unsigned)stage);
}

/* The leader sends the same entries again after a torn write, but fewer of them:
 * the rest of the torn write fits exactly behind. */
static void send_fewer_again(uint64_t seed, unsigned used)
{
    struct ad_wal_job *job;
    uint64_t last;

    rig_init(&rig, seed);
    for (unsigned i = 0; i < used; i++) {
        rig_append(&rig, 1, 100);
    }
    if (seed % 2 == 0) {
        assert_int_equal(ad_wal_make_spare(&rig.fs, rig.config.segment_size), 0);
        ad_wal_spare_made(rig.w);
    }
    fill(20, 100);
    last = rig.model.last;
    job = rig_store(&rig, &op);
    for (unsigned i = 0; i < 1 + seed % 5; i++) {
        if (ad_wal_job_step(job, &rig.eb) <= 0) {
            break;
        }
    }
    lose_power(seed);
    if (rig.model.last < last + 20) {
        fill(1, 100);
        rig_do(&rig, &op);
        memset(&op, 0, sizeof op);
        lose_power(seed + 1);
    }
    rig_fini(&rig);
}

static void torn_remains_do_not_come_back(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4000; seed++) {
        send_fewer_again(seed, (unsigned)(seed / 2 % 29));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torn_remains_do_not_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

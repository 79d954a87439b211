/* Random histories, and a crash at every single file operation of them: what was
 * acknowledged is there, and of what was under way a prefix or nothing.
 *
 * SEED=n runs one history, HISTORIES=n that many. */

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/wal/rig.h"

enum { HISTORIES = 60, OPS = 60, CRASHES = 3 };

static struct rig rig;
static struct op op;
static uint64_t opens, steps, current; /* current: the history, for messages */

struct limit
{
    uint64_t left; /* Operations that change something, until all fail. */
    int err;
};

static int fail_after(void *data, enum memfs_op what, const char *name, uint64_t offset,
                      size_t n)
{
    struct limit *l = data;

    (void)name;
    (void)offset;
    (void)n;
    if (what == MEMFS_CLOSE || what == MEMFS_READ || what == MEMFS_SIZE) {
        return 0;
    }
    if (l->left == 0) {
        return l->err;
    }
    l->left--;
    return 0;
}

static void must_open(struct memfs *m, const struct op *under_way, uint64_t seed)
{
    int stage = rig_open(&rig, m, under_way, NULL);

    opens++;
    if (stage < 0) {
        fail_msg("SEED=%lu, crash %lu: %d %s", (unsigned long)current,
                 (unsigned long)seed, stage, rig.eb.text);
    }
}

/* The state after a crash here, with several outcomes each. */
static void crash_copies(const struct op *under_way)
{
    for (unsigned i = 0; i < CRASHES; i++) {
        struct memfs *copy = memfs_clone(rig.m);
        uint64_t seed = rig_random(&rig);

        memfs_crash(copy, seed);
        must_open(copy, under_way, seed);
        memfs_destroy(&copy);
    }
    steps++;
}

/* Fail at some point of the start, then lose power, and start again. */
static void interrupt_start(const struct op *under_way)
{
    struct limit l = {.left = rig_random(&rig) % 12, .err = -EIO};

    memfs_hook(rig.m, fail_after, &l);
    if (rig_open(&rig, rig.m, under_way, NULL) == -1) {
        fail_msg("SEED=%lu: %s", (unsigned long)current, rig.eb.text);
    }
    memfs_hook(rig.m, NULL, NULL);
    if (rig_random(&rig) % 2 == 0) {
        memfs_crash(rig.m, rig_random(&rig));
    }
}

/* The process or the machine dies in the middle; the history goes on with what
 * is found, which from then on has to stay. */
static void die(const struct op *under_way)
{
    struct memfs *copy;
    int stage;

    ad_wal_close(&rig.w);
    if (rig_random(&rig) % 2 == 0) {
        memfs_kill(rig.m);
    } else {
        memfs_crash(rig.m, rig_random(&rig));
    }
    if (rig_random(&rig) % 2 == 0) {
        interrupt_start(under_way);
    }
    stage = rig_open(&rig, rig.m, under_way, &rig.w);
    if (stage < 0) {
        fail_msg("SEED=%lu: %d %s", (unsigned long)current, stage, rig.eb.text);
    }
    if (under_way != NULL) {
        rig_apply(&rig.model, under_way, (unsigned)stage);
    }
    copy = memfs_clone(rig.m);
    memfs_crash(copy, rig_random(&rig));
    must_open(copy, NULL, 0);
    memfs_destroy(&copy);
}

static void run_op(bool fence)
{
    struct ad_wal_job *job = fence ? ad_wal_fence(rig.w) : rig_store(&rig, &op);
    const struct op *under_way = fence ? NULL : &op;
    uint64_t die_at = rig_random(&rig) % 40;
    int rv = job != NULL;

    for (unsigned i = 0; rv > 0; i++) {
        crash_copies(under_way);
        if (i == die_at) {
            die(under_way);
            return;
        }
        rv = ad_wal_job_step(job, &rig.eb);
        assert_true(rv >= 0);
    }
    if (job != NULL) {
        ad_wal_job_done(rig.w, job);
    }
    if (!fence) {
        rig_apply(&rig.model, &op, rig_stages(&op) - 1);
    }
    crash_copies(NULL);
}

static void history(uint64_t seed)
{
    rig_init(&rig, seed);
    rig.config.spares_max = (unsigned)(seed % 3);
    for (unsigned i = 0; i < OPS && rig.model.last < ENTRIES_MAX - 200; i++) {
        if (rig_random_snapshot(&rig)) {
            crash_copies(NULL);
        }
        if (rig_random(&rig) % 6 == 0) {
            run_op(true);
        }
        if (ad_wal_wants_spare(rig.w) && rig_random(&rig) % 3 == 0) {
            assert_int_equal(ad_wal_make_spare(&rig.fs, rig.config.segment_size), 0);
            ad_wal_spare_made(rig.w);
        }
        rig_random_op(&rig, &op);
        run_op(false);
    }
    rig_fini(&rig);
}

static void what_was_acknowledged_survives(void **state)
{
    const char *seed = getenv("SEED"), *many = getenv("HISTORIES");
    uint64_t from = seed != NULL ? strtoull(seed, NULL, 10) : 1;
    uint64_t n = many != NULL ? strtoull(many, NULL, 10) : seed != NULL ? 1 : HISTORIES;

    (void)state;
    for (uint64_t i = from; i < from + n; i++) {
        current = i;
        history(i);
    }
    print_message("%lu crash points, %lu starts\n", (unsigned long)steps,
                  (unsigned long)opens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_acknowledged_survives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

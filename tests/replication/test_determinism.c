/* Same entries, same state: on every node, and after every restore. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static uint64_t first_seed = 1;

enum { SEEDS = 40, ENTRIES = 300 };

static void apply(struct world *w, const struct sy_buf *entry)
{
    w->index++;
    assert_int_equal(rp_store_apply(w->s, w->index, entry->p, entry->len, NULL, NULL), 0);
}

/* Hand the whole state over, in portions nobody chose. */
static void reseed(struct world *from, struct world *to, uint64_t *seed)
{
    struct sy_buf bytes = {0};
    struct sy_buf again = {0};
    struct sy_errbuf eb = {""};
    int rv;

    take_snapshot(from->s, &bytes);
    rv = restore_from(to->s, bytes.p, bytes.len, 1 + next_random(seed) % 300, &eb);
    if (rv != 0) {
        print_error("%s\n", eb.text);
    }
    assert_int_equal(rv, 0);
    to->index = from->index;
    take_snapshot(to->s, &again);
    assert_int_equal(again.len, bytes.len);
    assert_memory_equal(again.p, bytes.p, bytes.len);
    sy_buf_free(&bytes);
    sy_buf_free(&again);
}

/* What has happened, so that the test cannot pass by having done nothing. */
struct seen
{
    uint64_t dropped, readings, duplicates, refused, results, ended[RP_STATUS_NR];
};

static void add_up(struct seen *seen, const struct rp_store *s)
{
    seen->dropped += rp_store_readings_dropped(s);
    seen->readings += rp_store_stats(s)->readings;
    seen->duplicates += rp_store_stats(s)->duplicates;
    seen->refused += rp_store_stats(s)->refused;
    seen->results += rp_store_results_dropped(s);
    for (int i = RP_CONFIRMED; i < RP_STATUS_NR; i++) {
        seen->ended[i] += rp_store_ended(s, (enum rp_command_status)i);
    }
}

static void play(uint64_t seed, struct seen *seen)
{
    uint64_t now_ms = T0;
    struct world w[3];
    uint64_t s = seed;

    for (unsigned i = 0; i < 3; i++) {
        world_open(&w[i], NULL);
    }
    for (unsigned n = 0; n < ENTRIES; n++) {
        struct sy_buf entry = {0};

        random_inputs(&w[0].b, &s, w[0].s);
        now_ms += next_random(&s) % 4000 - 500;
        rp_batch_seal(&w[0].b, now_ms, 1, &entry);
        for (unsigned i = 0; i < 3; i++) {
            apply(&w[i], &entry);
        }
        sy_buf_free(&entry);
        check_invariants(w[0].s);
        if (next_random(&s) % 20 == 0) {
            reseed(&w[0], &w[2], &s);
            check_invariants(w[2].s);
        }
        if (rp_store_hash(w[0].s) != rp_store_hash(w[1].s) ||
            rp_store_hash(w[0].s) != rp_store_hash(w[2].s)) {
            fail_msg("seed %llu: states differ at entry %u", (unsigned long long)seed, n);
        }
    }
    add_up(seen, w[0].s);
    for (unsigned i = 0; i < 3; i++) {
        world_close(&w[i]);
    }
}

static void stores_that_are_fed_the_same_are_the_same(void **state)
{
    struct seen seen = {0};

    (void)state;
    for (uint64_t seed = first_seed; seed < first_seed + SEEDS; seed++) {
        play(seed, &seen);
    }
    assert_true(seen.dropped > 100);
    assert_true(seen.readings > 1000);
    assert_true(seen.duplicates > 100);
    assert_true(seen.refused > 100);
    assert_true(seen.results > 100);
    for (int i = RP_CONFIRMED; i < RP_STATUS_NR; i++) {
        assert_true(seen.ended[i] > 10);
    }
}

static void a_reset_store_is_a_new_one(void **state)
{
    struct world w;
    uint64_t empty;
    uint64_t seed = first_seed;

    (void)state;
    world_open(&w, NULL);
    empty = rp_store_hash(w.s);
    for (unsigned n = 0; n < ENTRIES; n++) {
        random_inputs(&w.b, &seed, w.s);
        world_apply(&w);
    }
    assert_true(rp_store_hash(w.s) != empty);
    rp_store_reset(w.s);
    assert_true(rp_store_hash(w.s) == empty);
    assert_true(rp_store_index(w.s) == 0);
    assert_true(rp_store_hash_at(w.s, 1) == 0);
    check_invariants(w.s);
    w.index = 0;
    for (unsigned n = 0; n < ENTRIES; n++) {
        random_inputs(&w.b, &seed, w.s);
        world_apply(&w);
    }
    world_close(&w);
}

/* A node that differs in any replicated thing has another hash. */
static void the_hash_sees_every_input(void **state)
{
    struct world w[2];

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        world_with_devices(&w[i], NULL);
    }
    world_report(&w[0], A, RP_ON, T0, 1);
    world_report(&w[1], A, RP_ON, T0, 2);
    assert_true(rp_store_hash(w[0].s) != rp_store_hash(w[1].s));
    for (unsigned i = 0; i < 2; i++) {
        world_close(&w[i]);
        world_with_devices(&w[i], NULL);
    }
    world_tick(&w[0], T0 + 1);
    world_tick(&w[1], T0 + 2);
    assert_true(rp_store_hash(w[0].s) != rp_store_hash(w[1].s));
    for (unsigned i = 0; i < 2; i++) {
        world_close(&w[i]);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stores_that_are_fed_the_same_are_the_same),
        cmocka_unit_test(a_reset_store_is_a_new_one),
        cmocka_unit_test(the_hash_sees_every_input),
    };

    if (argc > 1) {
        first_seed = strtoull(argv[1], NULL, 10);
    }
    printf("seeds from %llu\n", (unsigned long long)first_seed);
    return cmocka_run_group_tests_name("determinism", tests, NULL, NULL);
}

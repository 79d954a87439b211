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

enum { SEEDS = 40, ENTRIES = 800 };

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

/* Where a walk along the changes was before means nothing after a reset. */
static void a_reset_forgets_where_walks_were(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    assert_null(rp_store_device_changed(w.s, 2));
    rp_store_reset(w.s);
    w.index = 0;
    rp_batch_area(&w.b, "north", "z2m-north");
    rp_batch_device(&w.b, 1, A, "a", "plug");
    rp_batch_device(&w.b, 1, A, "b", "plug");
    rp_batch_device(&w.b, 1, A, "c", "plug");
    rp_batch_seal(&w.b, T0, 1, &w.entry);
    assert_int_equal(rp_store_apply(w.s, 1, w.entry.p, w.entry.len, NULL, NULL), 0);
    assert_non_null(rp_store_device_changed(w.s, 2));
    world_close(&w);
}

/* Every field that is replicated is hashed: change one, and the hash changes. */
#define SEES(DIGEST, RECORD, FIELD)     \
    do {                                \
        uint64_t before_ = DIGEST;      \
                                        \
        (RECORD).FIELD ^= 1;            \
        assert_true(DIGEST != before_); \
        (RECORD).FIELD ^= 1;            \
        assert_true(DIGEST == before_); \
    } while (0)

static void the_hash_of_a_device_sees_every_field(void **state)
{
    struct rp_device_slot d = {.d = {.ieee = 1, .name = "a", .model = "m"}};
    struct rp_area a = {.name = "a", .base_topic = "t"};

    (void)state;
    SEES(rp_digest_device(&d), d, d.ieee);
    SEES(rp_digest_device(&d), d, d.area);
    SEES(rp_digest_device(&d), d, d.listed);
    SEES(rp_digest_device(&d), d, d.state);
    SEES(rp_digest_device(&d), d, d.avail);
    SEES(rp_digest_device(&d), d, d.name[0]);
    SEES(rp_digest_device(&d), d, d.model[0]);
    SEES(rp_digest_device(&d), d, d.last_seen_ms);
    SEES(rp_digest_device(&d), d, d.updated_ms);
    SEES(rp_digest_device(&d), d, d.values.energy_mwh);
    SEES(rp_digest_device(&d), d, d.values.power_mw);
    SEES(rp_digest_device(&d), d, d.values.voltage_mv);
    SEES(rp_digest_device(&d), d, d.values.current_ma);
    SEES(rp_digest_device(&d), d, d.values.linkquality);
    SEES(rp_digest_device(&d), d, d.values.has);
    SEES(rp_digest_device(&d), d, d.revision);
    SEES(rp_digest_device(&d), d, told_ms);
    SEES(rp_digest_device(&d), d, last.hash);
    SEES(rp_digest_device(&d), d, last.last_seen_ms);
    SEES(rp_digest_device(&d), d, recent[0].hash);
    SEES(rp_digest_device(&d), d, recent[RP_RECENT_NR - 1].last_seen_ms);
    SEES(rp_digest_device(&d), d, d.told);
    SEES(rp_digest_device(&d), d, d.lapsed);
    SEES(rp_digest_area(&a), a, nr);
    SEES(rp_digest_area(&a), a, name[0]);
    SEES(rp_digest_area(&a), a, base_topic[0]);
    SEES(rp_digest_area(&a), a, bridge);
    SEES(rp_digest_area(&a), a, bridge_at_ms);
    SEES(rp_digest_area(&a), a, ready_at_ms);
    SEES(rp_digest_area(&a), a, off);
}

static void the_hash_of_a_command_or_reading_sees_every_field(void **state)
{
    struct rp_command c = {
        .id = "i", .property = "p", .value = "v", .source = "s", .reason = "r"};
    struct rp_reading r = {0};

    (void)state;
    SEES(rp_digest_command(&c), c, seq);
    SEES(rp_digest_command(&c), c, id[0]);
    SEES(rp_digest_command(&c), c, ieee);
    SEES(rp_digest_command(&c), c, property[0]);
    SEES(rp_digest_command(&c), c, value[0]);
    SEES(rp_digest_command(&c), c, source[0]);
    SEES(rp_digest_command(&c), c, status);
    SEES(rp_digest_command(&c), c, attempts);
    SEES(rp_digest_command(&c), c, accepted_ms);
    SEES(rp_digest_command(&c), c, deadline_ms);
    SEES(rp_digest_command(&c), c, retry_ms);
    SEES(rp_digest_command(&c), c, sent_ms);
    SEES(rp_digest_command(&c), c, ended_ms);
    SEES(rp_digest_command(&c), c, sent_last_seen_ms);
    SEES(rp_digest_command(&c), c, reason[0]);
    SEES(rp_digest_command(&c), c, revision);
    SEES(rp_digest_reading(&r), r, seq);
    SEES(rp_digest_reading(&r), r, ieee);
    SEES(rp_digest_reading(&r), r, time_ms);
    SEES(rp_digest_reading(&r), r, state);
    SEES(rp_digest_reading(&r), r, values.has);
}

static void the_hash_of_a_fact_sees_every_field(void **state)
{
    struct rp_fact f = {.key = "k", .value = "v"};

    (void)state;
    SEES(rp_digest_fact(&f), f, at_ms);
    SEES(rp_digest_fact(&f), f, key[0]);
    SEES(rp_digest_fact(&f), f, value[0]);
}

static void the_hash_of_a_drill_sees_every_field(void **state)
{
    struct rp_drill d = {.kind = "k", .report_len = 1};

    (void)state;
    SEES(rp_digest_drill(&d), d, nr);
    SEES(rp_digest_drill(&d), d, began_ms);
    SEES(rp_digest_drill(&d), d, ended_ms);
    SEES(rp_digest_drill(&d), d, kind[0]);
    SEES(rp_digest_drill(&d), d, state);
    SEES(rp_digest_drill(&d), d, report_len);
    SEES(rp_digest_drill(&d), d, report[0]);
}

static void the_hash_of_files_sees_every_field(void **state)
{
    static struct rp_files_version v = {.n = 2};
    struct rp_files_set set = {.name = "s"};

    (void)state;
    SEES(rp_digest_files(&set, &v), set, name[0]);
    SEES(rp_digest_files(&set, &v), v, nr);
    SEES(rp_digest_files(&set, &v), v, at_ms);
    SEES(rp_digest_files(&set, &v), v, from);
    SEES(rp_digest_files(&set, &v), v, node);
    SEES(rp_digest_files(&set, &v), v, n);
    SEES(rp_digest_files(&set, &v), v, list[1].path[0]);
    SEES(rp_digest_files(&set, &v), v, list[1].size);
    SEES(rp_digest_files(&set, &v), v, list[1].mode);
    SEES(rp_digest_files(&set, &v), v, list[1].sum[31]);
}

static void the_hash_of_a_letter_sees_every_field(void **state)
{
    struct rp_letter l = {.topic = "t", .reason = "r", .payload_len = 1};

    (void)state;
    SEES(rp_digest_letter(&l), l, seq);
    SEES(rp_digest_letter(&l), l, at_ms);
    SEES(rp_digest_letter(&l), l, area);
    SEES(rp_digest_letter(&l), l, cut);
    SEES(rp_digest_letter(&l), l, payload_len);
    SEES(rp_digest_letter(&l), l, payload[0]);
    SEES(rp_digest_letter(&l), l, topic[0]);
    SEES(rp_digest_letter(&l), l, reason[0]);
}

static void the_hash_sees_every_counter(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, NULL);
    SEES(rp_digest_meta(w.s), *w.s, m.index);
    SEES(rp_digest_meta(w.s), *w.s, m.now_ms);
    SEES(rp_digest_meta(w.s), *w.s, m.watch_term);
    SEES(rp_digest_meta(w.s), *w.s, m.watch_since_ms);
    SEES(rp_digest_meta(w.s), *w.s, m.watch_node);
    SEES(rp_digest_meta(w.s), *w.s, m.revision);
    SEES(rp_digest_meta(w.s), *w.s, m.revision_shipped);
    SEES(rp_digest_meta(w.s), *w.s, m.readings_first);
    SEES(rp_digest_meta(w.s), *w.s, m.readings_last);
    SEES(rp_digest_meta(w.s), *w.s, m.readings_shipped);
    SEES(rp_digest_meta(w.s), *w.s, m.readings_dropped);
    SEES(rp_digest_meta(w.s), *w.s, m.commands_last);
    SEES(rp_digest_meta(w.s), *w.s, m.results_dropped);
    SEES(rp_digest_meta(w.s), *w.s, m.letters_last);
    w.s->m.letters_last = 1; /* They are put when there was one. */
    SEES(rp_digest_meta(w.s), *w.s, m.letters_first);
    SEES(rp_digest_meta(w.s), *w.s, m.letters_shipped);
    SEES(rp_digest_meta(w.s), *w.s, m.letters_dropped);
    for (int e = RP_CONFIRMED; e < RP_STATUS_NR; e++) {
        SEES(rp_digest_meta(w.s), *w.s, m.ended[e]);
    }
    world_close(&w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stores_that_are_fed_the_same_are_the_same),
        cmocka_unit_test(a_reset_store_is_a_new_one),
        cmocka_unit_test(the_hash_sees_every_input),
        cmocka_unit_test(a_reset_forgets_where_walks_were),
        cmocka_unit_test(the_hash_of_a_device_sees_every_field),
        cmocka_unit_test(the_hash_of_a_command_or_reading_sees_every_field),
        cmocka_unit_test(the_hash_of_a_letter_sees_every_field),
        cmocka_unit_test(the_hash_of_a_fact_sees_every_field),
        cmocka_unit_test(the_hash_of_a_drill_sees_every_field),
        cmocka_unit_test(the_hash_of_files_sees_every_field),
        cmocka_unit_test(the_hash_sees_every_counter),
    };

    if (argc > 1) {
        first_seed = strtoull(argv[1], NULL, 10);
    }
    printf("seeds from %llu\n", (unsigned long long)first_seed);
    return cmocka_run_group_tests_name("determinism", tests, NULL, NULL);
}

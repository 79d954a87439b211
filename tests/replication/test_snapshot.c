/* Snapshots: what goes out comes back, and nothing else does. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

/* A store with something of everything in it. */
static void fill(struct world *w, const struct rp_limits *l, unsigned entries)
{
    uint64_t seed = 7;

    world_open(w, l);
    for (unsigned i = 0; i < entries; i++) {
        random_inputs(&w->b, &seed, w->s);
        w->now_ms += 500;
        world_apply(w);
    }
    /* Whatever chance brought: one command is open. */
    rp_batch_area(&w->b, "n1", "z2m-north");
    rp_batch_device(&w->b, 1, rp_store_device_at(w->s, 0)->ieee, "a", "plug");
    rp_batch_command(&w->b, "open", rp_store_device_at(w->s, 0)->ieee, "state", "ON",
                     "test", w->now_ms + 60000);
    world_apply(w);
    assert_true(rp_store_areas(w->s) > 0);
    assert_true(rp_store_devices(w->s) > 0);
    assert_true(rp_store_commands(w->s) > 0);
    assert_true(rp_store_open_commands(w->s) > 0);
    assert_true(rp_store_readings_last(w->s) >= rp_store_readings_first(w->s));
}

/* So many readings that a snapshot needs more than one run. */
static void fill_outbox(struct world *w)
{
    for (uint16_t nr = 1; nr <= rp_store_areas(w->s); nr++) {
        rp_batch_area_off(&w->b, nr, RP_OFF_OPERATOR, false);
        rp_batch_area_off(&w->b, nr, RP_OFF_CONFIG, false);
    }
    for (uint64_t i = 1; i <= 3000; i++) {
        rp_batch_report(&w->b, &(struct rp_report){
                                   .ieee = rp_store_device_at(w->s, 0)->ieee,
                                   .payload_hash = i,
                                   .last_seen_ms = w->now_ms + i,
                                   .values = {.has = 31, .power_mw = (int32_t)i * 99}});
    }
    world_apply(w);
    assert_true(rp_store_readings_last(w->s) - rp_store_readings_first(w->s) > 2000);
}

static void a_snapshot_comes_back_in_any_portions(void **state)
{
    static const size_t portions[] = {1, 2, 7, 100, 1u << 20};
    struct rp_limits l = {.areas_max = 3,
                          .devices_max = 5,
                          .readings_max = 3000,
                          .commands_max = 64,
                          .letters_max = 4};
    struct sy_buf bytes = {0};
    struct sy_buf again = {0};
    struct world from;
    struct world to;

    (void)state;
    fill(&from, &l, 100);
    fill_outbox(&from);
    world_open(&to, &l);
    take_snapshot(from.s, &bytes);
    assert_true(bytes.len > RP_RUN_SIZE); /* More than one run. */
    for (unsigned i = 0; i < sizeof portions / sizeof portions[0]; i++) {
        struct sy_errbuf eb = {""};

        assert_int_equal(restore_from(to.s, bytes.p, bytes.len, portions[i], &eb), 0);
        assert_true(rp_store_hash(to.s) == rp_store_hash(from.s));
        assert_true(rp_store_index(to.s) == rp_store_index(from.s));
        check_invariants(to.s);
        take_snapshot(to.s, &again);
        assert_int_equal(again.len, bytes.len);
        assert_memory_equal(again.p, bytes.p, bytes.len);
    }
    sy_buf_free(&bytes);
    sy_buf_free(&again);
    world_close(&from);
    world_close(&to);
}

static void an_empty_store_has_a_snapshot_too(void **state)
{
    struct sy_buf bytes = {0};
    struct world w;
    uint64_t hash;

    (void)state;
    world_open(&w, NULL);
    hash = rp_store_hash(w.s);
    take_snapshot(w.s, &bytes);
    assert_int_equal(restore_from(w.s, bytes.p, bytes.len, 3, NULL), 0);
    assert_true(rp_store_hash(w.s) == hash);
    check_invariants(w.s);
    sy_buf_free(&bytes);
    world_close(&w);
}

/* The order in which devices came must not show. */
static void equal_states_give_equal_bytes(void **state)
{
    static const uint64_t order[2][2] = {{A, B}, {B, A}};
    struct sy_buf bytes[2] = {{0}};
    struct world w[2];

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        world_open(&w[i], NULL);
        rp_batch_area(&w[i].b, "north", "z2m-north");
        for (unsigned k = 0; k < 2; k++) {
            rp_batch_device(&w[i].b, 1, order[i][k], "x", "plug");
        }
        /* Both get the same revisions in the end: by changes in one order. */
        rp_batch_device(&w[i].b, 1, A, "a", "plug");
        rp_batch_device(&w[i].b, 1, B, "b", "plug");
        world_apply(&w[i]);
        take_snapshot(w[i].s, &bytes[i]);
    }
    assert_ptr_equal(rp_store_device_at(w[0].s, 0), rp_store_device(w[0].s, A));
    assert_ptr_equal(rp_store_device_at(w[1].s, 0), rp_store_device(w[1].s, B));
    assert_true(rp_store_hash(w[0].s) == rp_store_hash(w[1].s));
    assert_int_equal(bytes[0].len, bytes[1].len);
    assert_memory_equal(bytes[0].p, bytes[1].p, bytes[0].len);
    for (unsigned i = 0; i < 2; i++) {
        sy_buf_free(&bytes[i]);
        world_close(&w[i]);
    }
}

static void every_truncation_is_refused(void **state)
{
    struct sy_buf bytes = {0};
    struct world w;
    struct world to;
    uint64_t empty;

    (void)state;
    fill(&w, NULL, 60);
    world_open(&to, NULL);
    empty = rp_store_hash(to.s);
    take_snapshot(w.s, &bytes);
    for (size_t n = 0; n < bytes.len; n++) {
        struct sy_errbuf eb = {""};

        assert_int_equal(restore_from(to.s, bytes.p, n, 64, &eb), SY_ECORRUPT);
        assert_non_null(strstr(eb.text, "snapshot, record"));
        assert_true(rp_store_hash(to.s) == empty);
    }
    /* Nor may anything follow. */
    sy_buf_u8(&bytes, 0xc0);
    assert_int_equal(restore_from(to.s, bytes.p, bytes.len, 64, NULL), SY_ECORRUPT);
    assert_int_equal(restore_from(to.s, bytes.p, bytes.len, 1, NULL), SY_ECORRUPT);
    sy_buf_free(&bytes);
    world_close(&w);
    world_close(&to);
}

static void every_flipped_bit_is_refused(void **state)
{
    struct sy_buf bytes = {0};
    struct world w;
    struct world to;
    uint64_t empty;

    (void)state;
    fill(&w, NULL, 60);
    world_open(&to, NULL);
    empty = rp_store_hash(to.s);
    take_snapshot(w.s, &bytes);
    for (size_t at = 0; at < bytes.len; at++) {
        for (unsigned bit = 0; bit <= 8; bit++) {
            uint8_t by = (uint8_t)(bit < 8 ? 1U << bit : 0xffU);

            bytes.p[at] ^= by;
            assert_int_not_equal(restore_from(to.s, bytes.p, bytes.len, bytes.len, NULL),
                                 0);
            assert_true(rp_store_hash(to.s) == empty);
            bytes.p[at] ^= by;
        }
    }
    assert_int_equal(restore_from(to.s, bytes.p, bytes.len, bytes.len, NULL), 0);
    sy_buf_free(&bytes);
    world_close(&w);
    world_close(&to);
}

static void a_newer_version_is_refused_by_name(void **state)
{
    /* array, "vagt-snapshot" with its length, version */
    enum { VERSION_AT = 3 + 1 + 13 };
    struct sy_errbuf eb = {""};
    struct sy_buf bytes = {0};
    struct world w;

    (void)state;
    world_open(&w, NULL);
    take_snapshot(w.s, &bytes);
    assert_int_equal(bytes.p[VERSION_AT], 2); /* So that older nodes can read it. */
    rp_batch_fact(&w.b, "k", "v");
    world_apply(&w);
    take_snapshot(w.s, &bytes);
    assert_int_equal(bytes.p[VERSION_AT], 3);
    rp_batch_drill(&w.b, 0, RP_DRILL_RUNNING, "kill", "", 0);
    world_apply(&w);
    take_snapshot(w.s, &bytes);
    assert_int_equal(bytes.p[VERSION_AT], RP_SNAPSHOT_VERSION);
    bytes.p[VERSION_AT] = RP_SNAPSHOT_VERSION + 1;
    assert_int_equal(restore_from(w.s, bytes.p, bytes.len, 5, &eb), SY_EVERSION);
    assert_string_equal(eb.text,
                        "snapshot, record 1: version 5 was written by a newer vagt, this "
                        "one reads up to 4; install the newer vagt here");
    bytes.p[VERSION_AT] = 0;
    assert_int_equal(restore_from(w.s, bytes.p, bytes.len, 5, &eb), SY_ECORRUPT);
    sy_buf_free(&bytes);
    world_close(&w);
}

static void what_the_limits_do_not_hold_is_refused(void **state)
{
    static const struct rp_limits less[] = {{1, 4, 8, 4, 4},
                                            {3, 1, 8, 4, 4},
                                            {3, 4, 1, 4, 4},
                                            {3, 4, 8, 1, 4},
                                            {3, 4, 8, 4, 1}};
    static const char *const why[] = {"areas; raise", "devices; raise", "readings; raise",
                                      "commands; raise", "letters; raise"};
    struct sy_buf bytes = {0};
    struct world w;

    (void)state;
    fill(&w, NULL, 60);
    for (unsigned i = 0; i < 4; i++) {
        rp_batch_letter(&w.b, 1, "z2m/x", "because", "{", 1);
    }
    world_apply(&w);
    take_snapshot(w.s, &bytes);
    for (unsigned i = 0; i < 5; i++) {
        struct sy_errbuf eb = {""};
        struct world to;

        world_open(&to, &less[i]);
        assert_int_equal(restore_from(to.s, bytes.p, bytes.len, 64, &eb), SY_ELIMIT);
        assert_non_null(strstr(eb.text, why[i]));
        world_close(&to);
    }
    sy_buf_free(&bytes);
    world_close(&w);
}

/* Written by the version that had no letters; its hash is the one that it had then. */
static void a_snapshot_of_version_1_comes_back(void **state)
{
    struct rp_limits l = {.areas_max = 3,
                          .devices_max = 5,
                          .readings_max = 8,
                          .commands_max = 6,
                          .letters_max = 4};
    uint8_t bytes[1024];
    struct sy_errbuf eb = {""};
    FILE *f = fopen(SNAPSHOT_V1, "rb");
    struct world w;
    size_t n;

    (void)state;
    assert_non_null(f);
    n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    world_open(&w, &l);
    if (restore_from(w.s, bytes, n, 7, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    check_invariants(w.s);
    assert_true(rp_store_hash(w.s) == 0x86858dc1d46d59da);
    assert_int_equal(rp_store_device(w.s, 0xa2)->avail, RP_OFFLINE);
    assert_int_equal(rp_store_device(w.s, 0xa2)->told, RP_AVAIL_UNKNOWN);
    assert_string_equal(rp_store_command(w.s, "c1")->reason, "because");
    assert_true(rp_store_readings_first(w.s) == 3 && rp_store_readings_last(w.s) == 5);
    assert_true(rp_store_letters_first(w.s) == 1 && rp_store_letters_last(w.s) == 0);
    world_close(&w);
}

static int full(void *data, const void *p, size_t n)
{
    (void)p;
    (void)n;
    ++*(int *)data;
    return -28;
}

static void an_error_of_the_writer_ends_it(void **state)
{
    struct rp_limits l = {.areas_max = 3,
                          .devices_max = 5,
                          .readings_max = 3000,
                          .commands_max = 64,
                          .letters_max = 4};
    struct world w;
    int calls = 0;

    (void)state;
    fill(&w, &l, 100);
    fill_outbox(&w);
    assert_int_equal(rp_store_snapshot(w.s, full, &calls), -28);
    assert_int_equal(calls, 1);
    world_close(&w);
}

/* Addresses of any size come out in order, and revisions are found again. */
static void many_devices_come_back(void **state)
{
    struct rp_limits l = {.areas_max = 1,
                          .devices_max = 700,
                          .readings_max = 1,
                          .commands_max = 1,
                          .letters_max = 4};
    struct sy_buf bytes = {0};
    uint64_t seed = 5;
    char name[16];
    struct world from;
    struct world to;

    (void)state;
    world_open(&from, &l);
    world_open(&to, &l);
    rp_batch_area(&from.b, "north", "z2m-north");
    for (unsigned i = 0; i < 700; i++) {
        snprintf(name, sizeof name, "meter-%u", i);
        rp_batch_device(&from.b, 1, (next_random(&seed) >> i % 60) + 1, name, "");
    }
    world_apply(&from);
    take_snapshot(from.s, &bytes);
    assert_int_equal(restore_from(to.s, bytes.p, bytes.len, 4096, NULL), 0);
    assert_true(rp_store_hash(to.s) == rp_store_hash(from.s));
    check_invariants(to.s);
    for (uint32_t i = 1; i < rp_store_devices(to.s); i++) {
        assert_true(rp_store_device_at(to.s, i - 1)->ieee <
                    rp_store_device_at(to.s, i)->ieee);
    }
    sy_buf_free(&bytes);
    world_close(&from);
    world_close(&to);
}

/* Somebody changed a letter and put the checksum right. */
static void a_forged_state_is_refused(void **state)
{
    enum { HASH_SIZE = 8, TRAILER_SIZE = 3 + 1 + HASH_SIZE };
    struct sy_buf bytes = {0};
    struct sy_errbuf eb = {""};
    struct rp_restore r;
    struct world w;
    uint8_t *name;

    (void)state;
    world_with_devices(&w, NULL);
    take_snapshot(w.s, &bytes);
    name = memmem(bytes.p, bytes.len, "z2m-north", 9);
    assert_non_null(name);
    name[0] = 'y';
    assert_int_equal(bytes.p[bytes.len - HASH_SIZE - 1], 0xcf);
    rp_restore_begin(&r, w.s, &eb);
    assert_int_equal(rp_restore_feed(&r, bytes.p, bytes.len - TRAILER_SIZE), 0);
    bytes.len -= HASH_SIZE;
    for (unsigned shift = 64; shift > 0; shift -= 8) {
        sy_buf_u8(&bytes, (uint8_t)(r.hash >> (shift - 8)));
    }
    assert_int_equal(
        rp_restore_feed(&r, bytes.p + bytes.len - TRAILER_SIZE, TRAILER_SIZE), 0);
    assert_int_equal(rp_restore_end(&r), SY_ECORRUPT);
    assert_non_null(strstr(eb.text, "the state differs from what was written"));
    sy_buf_free(&bytes);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_comes_back_in_any_portions),
        cmocka_unit_test(an_empty_store_has_a_snapshot_too),
        cmocka_unit_test(equal_states_give_equal_bytes),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_bit_is_refused),
        cmocka_unit_test(a_newer_version_is_refused_by_name),
        cmocka_unit_test(a_snapshot_of_version_1_comes_back),
        cmocka_unit_test(what_the_limits_do_not_hold_is_refused),
        cmocka_unit_test(an_error_of_the_writer_ends_it),
        cmocka_unit_test(many_devices_come_back),
        cmocka_unit_test(a_forged_state_is_refused),
    };

    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}

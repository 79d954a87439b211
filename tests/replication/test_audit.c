#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "replication/store_impl.h"
#include "world.h"

static void note(struct world *w, const char *who, const char *result)
{
    rp_batch_audit(&w->b, 0, who, "nas", "area", "kitchen off", result);
    world_apply(w);
}

static void a_record_is_chained_to_the_one_before(void **state)
{
    static const uint8_t zeros[SY_SHA256_SIZE];
    uint8_t hash[SY_SHA256_SIZE];
    const struct rp_audit *a;
    struct world w;

    (void)state;
    world_open(&w, NULL);
    assert_null(rp_store_audit(w.s, 1));
    note(&w, "anna", "done");
    note(&w, "ben", "done");
    a = rp_store_audit(w.s, 2);
    assert_true(a->nr == 2 && a->at_ms == rp_store_now(w.s));
    assert_string_equal(a->who, "ben");
    assert_string_equal(a->about, "kitchen off");
    rp_audit_hash(zeros, rp_store_audit(w.s, 1), hash);
    assert_memory_equal(hash, rp_store_audit(w.s, 1)->hash, sizeof hash);
    rp_audit_hash(hash, a, hash);
    assert_memory_equal(hash, a->hash, sizeof hash);
    assert_true(rp_store_hash(w.s) == rp_digest_all(w.s));
    assert_true(rp_store_audit_broken(w.s) == 0);
    world_close(&w);
}

static void what_was_changed_later_is_named(void **state)
{
    struct world w;
    struct rp_audit kept;

    (void)state;
    world_open(&w, NULL);
    for (unsigned i = 0; i < 5; i++) {
        note(&w, "anna", "done");
    }
    kept = w.s->audit.ring[3];
    w.s->audit.ring[3].who[0] = 'A';
    assert_true(rp_store_audit_broken(w.s) == 3);
    w.s->audit.ring[3] = kept;
    assert_true(rp_store_audit_broken(w.s) == 0);
    /* With a hash that fits: the one behind it does not follow any more. */
    w.s->audit.ring[3].who[0] = 'A';
    rp_audit_hash(w.s->audit.ring[2].hash, &w.s->audit.ring[3], w.s->audit.ring[3].hash);
    assert_true(rp_store_audit_broken(w.s) == 4);
    world_close(&w);
}

/* The input that it is about is refused: that is what the record says. */
static void the_result_is_what_became_of_it(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, NULL);
    rp_batch_area_off(&w.b, 7, RP_OFF_OPERATOR, true); /* there is no such area */
    rp_batch_audit(&w.b, 1, "anna", "", "area", "?", "done");
    rp_batch_tick(&w.b);
    rp_batch_audit(&w.b, 1, "anna", "", "area", "?", "done");
    world_apply(&w);
    assert_string_equal(rp_store_audit(w.s, 1)->result,
                        "refused: switch: there is no area 7");
    assert_string_equal(rp_store_audit(w.s, 2)->result, "done");
    /* Of an earlier entry: not its business, whatever it claims. */
    rp_batch_area_off(&w.b, 7, RP_OFF_OPERATOR, true);
    world_apply(&w);
    rp_batch_audit(&w.b, 1000, "anna", "", "area", "?", "done");
    world_apply(&w);
    assert_string_equal(rp_store_audit(w.s, 3)->result, "done");
    world_close(&w);
}

static int collect(void *data, const void *p, size_t n)
{
    sy_buf_put(data, p, n);
    return 0;
}

static int restore(struct world *to, const struct sy_buf *bytes)
{
    struct sy_errbuf eb = {""};
    struct rp_restore r;
    int rv = 0;

    rp_restore_begin(&r, to->s, &eb);
    for (size_t at = 0; at < bytes->len && rv == 0; at += 777) {
        rv = rp_restore_feed(&r, bytes->p + at,
                             bytes->len - at < 777 ? bytes->len - at : 777);
    }
    return rp_restore_end(&r) != 0 ? SY_ECORRUPT : rv;
}

static void the_oldest_make_room_and_leave_an_anchor(void **state)
{
    struct sy_buf bytes = {0}, again = {0};
    uint8_t anchor[SY_SHA256_SIZE];
    struct world from, to;

    (void)state;
    world_open(&from, NULL);
    world_open(&to, NULL);
    for (unsigned i = 0; i < RP_AUDIT_MAX + 20; i++) {
        rp_batch_audit(&from.b, 0, "anna", "nas", "send", "lamp ON", "done");
        if (i % 300 == 0 || i == 19 || i == RP_AUDIT_MAX + 19) {
            world_apply(&from);
        }
        if (i == 19) {
            memcpy(anchor, rp_store_audit(from.s, 20)->hash, sizeof anchor);
        }
    }
    assert_true(rp_store_audit_first(from.s) == 21);
    assert_true(rp_store_audit_last(from.s) == RP_AUDIT_MAX + 20);
    assert_memory_equal(rp_store_audit_before(from.s, 21), anchor, sizeof anchor);
    assert_true(rp_store_audit_broken(from.s) == 0);
    assert_true(rp_store_hash(from.s) == rp_digest_all(from.s));

    assert_int_equal(rp_store_snapshot(from.s, collect, &bytes), 0);
    assert_int_equal(restore(&to, &bytes), 0);
    assert_true(rp_store_hash(to.s) == rp_store_hash(from.s));
    assert_true(rp_store_audit_broken(to.s) == 0);
    assert_int_equal(rp_store_snapshot(to.s, collect, &again), 0);
    assert_true(again.len == bytes.len && memcmp(again.p, bytes.p, bytes.len) == 0);
    /* And both go on alike. */
    note(&from, "ben", "done");
    to.index = from.index - 1;
    note(&to, "ben", "done");
    assert_memory_equal(rp_store_audit(from.s, RP_AUDIT_MAX + 21)->who, "ben", 4);
    sy_buf_free(&again);
    sy_buf_free(&bytes);
    world_close(&from);
    world_close(&to);
}

static void a_snapshot_with_another_past_is_refused(void **state)
{
    struct sy_buf bytes = {0};
    struct world from, to;
    uint8_t *at;

    (void)state;
    world_open(&from, NULL);
    world_open(&to, NULL);
    for (unsigned i = 0; i < 3; i++) {
        note(&from, "anna", "done");
    }
    assert_int_equal(rp_store_snapshot(from.s, collect, &bytes), 0);
    at = memmem(bytes.p, bytes.len, "anna", 4);
    assert_non_null(at);
    at[0] = 'A';
    assert_int_equal(restore(&to, &bytes), SY_ECORRUPT);
    sy_buf_free(&bytes);
    world_close(&from);
    world_close(&to);
}

/* 300 commands at once, with and without their records: printed, for the record. */
static void commands_stay_cheap(void **state)
{
    for (unsigned round = 0; round < 4; round++) {
        bool audited = round % 2 == 1;
        struct timespec from, to;
        struct world w;

        (void)state;
        world_open(&w, NULL);
        rp_batch_area(&w.b, "a", "z2m");
        rp_batch_device(&w.b, 1, 1, "lamp", "plug");
        world_apply(&w);
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (unsigned i = 0; i < 300; i++) {
            char id[RP_ID_SIZE];

            snprintf(id, sizeof id, "c%u", i);
            rp_batch_command(&w.b, id, 1, "state", "ON", "control", UINT64_MAX);
            if (audited) {
                rp_batch_audit(&w.b, 1, "anna", "nas", "send", id, "done");
            }
        }
        print_message("%u bytes, ", (unsigned)w.b.buf.len);
        world_apply(&w);
        clock_gettime(CLOCK_MONOTONIC, &to);
        print_message("%ld us for 300 commands %s their records\n",
                      (long)((to.tv_sec - from.tv_sec) * 1000000 +
                             (to.tv_nsec - from.tv_nsec) / 1000),
                      audited ? "with" : "without");
        assert_true(rp_store_audit_last(w.s) == (audited ? 300 : 0));
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_chained_to_the_one_before),
        cmocka_unit_test(what_was_changed_later_is_named),
        cmocka_unit_test(the_result_is_what_became_of_it),
        cmocka_unit_test(the_oldest_make_room_and_leave_an_anchor),
        cmocka_unit_test(a_snapshot_with_another_past_is_refused),
        cmocka_unit_test(commands_stay_cheap),
    };

    return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}

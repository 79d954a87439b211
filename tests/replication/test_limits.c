/* Nothing grows without a limit, and a full table says so. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "world.h"

static void tables_that_are_full_refuse(void **state)
{
    struct rp_limits l = {.areas_max = 1,
                          .devices_max = 2,
                          .readings_max = 8,
                          .commands_max = 4,
                          .letters_max = 4};
    struct world w;

    (void)state;
    world_with_devices(&w, &l);
    rp_batch_area(&w.b, "south", "z2m-south");
    rp_batch_device(&w.b, 1, STRANGER, "c", "plug");
    rp_batch_device(&w.b, 1, A, "renamed", "plug"); /* Known ones still change. */
    world_apply(&w);
    assert_string_equal(
        world_trace(&w),
        "refused area south: there are 1 already; raise the limit of areas\n"
        "refused device c: there are 2 already; raise the limit of devices\n"
        "device renamed\n");
    assert_int_equal(rp_store_areas(w.s), 1);
    assert_int_equal(rp_store_devices(w.s), 2);
    assert_true(rp_store_stats(w.s)->refused == 2);
    world_close(&w);
}

static void the_oldest_reading_makes_room(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL); /* 8 readings. */
    for (uint64_t i = 1; i <= 20; i++) {
        world_report(&w, A, RP_ON, T0 + i, i);
        if (i == 5) {
            rp_batch_shipped(&w.b, 3, 0);
            world_apply(&w);
        }
    }
    assert_true(rp_store_readings_first(w.s) == 13);
    assert_true(rp_store_readings_last(w.s) == 20);
    assert_true(rp_store_readings_dropped(w.s) == 9);
    for (uint64_t q = 13; q <= 20; q++) {
        assert_true(rp_store_reading(w.s, q)->time_ms == T0 + q);
    }
    rp_batch_shipped(&w.b, 20, 0);
    world_apply(&w);
    assert_true(rp_store_readings_first(w.s) == 21);
    assert_true(rp_store_readings_dropped(w.s) == 9);
    world_close(&w);
}

/* An open command for each of four devices fills the ledger of four. */
static void fill_ledger(struct world *w)
{
    char id[8];

    world_with_devices(w, NULL);
    rp_batch_device(&w->b, 1, 3, "c", "plug");
    rp_batch_device(&w->b, 1, 4, "d", "plug");
    world_apply(w);
    for (unsigned i = 0; i < 4; i++) {
        snprintf(id, sizeof id, "c%u", i + 1);
        world_command(w, id, (uint64_t[]){A, B, 3, 4}[i], "ON", T0 + 60000);
    }
    (void)world_trace(w);
}

static void a_ledger_full_of_open_commands_refuses(void **state)
{
    struct world w;

    (void)state;
    fill_ledger(&w);
    rp_batch_command(&w.b, "x", A, "power_on", "ON", "cli", T0 + 60000);
    world_apply(&w);
    assert_string_equal(world_trace(&w),
                        "refused command x: too many commands are open; raise the limit "
                        "of commands\n");
    assert_null(rp_store_command(w.s, "x"));
    /* One that supersedes another brings its own room. */
    world_command(&w, "y", B, "OFF", T0 + 60000);
    assert_string_equal(world_trace(&w), "command c2 superseded\ncommand y accepted\n");
    assert_null(rp_store_command(w.s, "c2"));
    assert_int_equal(rp_store_open_commands(w.s), 4);
    assert_true(rp_store_results_dropped(w.s) == 1);
    world_close(&w);
}

static void the_oldest_ended_command_makes_room(void **state)
{
    struct world w;

    (void)state;
    fill_ledger(&w);
    rp_batch_end(&w.b, 3, RP_FAILED, "no route");
    rp_batch_end(&w.b, 2, RP_FAILED, "no route");
    world_apply(&w);
    rp_batch_shipped(&w.b, 0, rp_store_revision(w.s));
    world_apply(&w);
    world_command(&w, "x", B, "OFF", T0 + 60000);
    assert_null(rp_store_command(w.s, "c2"));
    assert_non_null(rp_store_command(w.s, "c3"));
    assert_int_equal(rp_store_commands(w.s), 4);
    assert_string_equal(rp_store_command_recent(w.s, 0)->id, "x");
    assert_string_equal(rp_store_command_recent(w.s, 3)->id, "c1");
    assert_null(rp_store_command_recent(w.s, 4));
    assert_true(rp_store_results_dropped(w.s) == 0); /* Postgres had it. */
    world_command(&w, "c2", 3, "OFF", T0 + 60000);   /* Forgotten: a new one. */
    assert_true(rp_store_command(w.s, "c2")->seq == 6);
    world_close(&w);
}

static size_t resident(void *mem, size_t size)
{
    static unsigned char in[64 * 1024];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = (size + page - 1) / page;
    size_t n = 0;

    assert_true(pages <= sizeof in);
    assert_int_equal(mincore(mem, size, in), 0);
    for (size_t i = 0; i < pages; i++) {
        n += in[i] & 1;
    }
    return n * page;
}

static void a_site_of_300_meters_touches_little_memory(void **state)
{
    struct rp_limits l;
    struct world w = {.now_ms = T0};
    char name[16];
    size_t size;

    (void)state;
    rp_limits_default(&l);
    size = rp_store_size(&l);
    w.mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(w.mem != MAP_FAILED);
    w.s = rp_store_init(&l, w.mem);
    rp_batch_area(&w.b, "north", "z2m-north");
    for (uint64_t i = 1; i <= 300; i++) {
        snprintf(name, sizeof name, "meter-%u", (unsigned)i);
        rp_batch_device(&w.b, 1, i * 7919, name, "plug");
    }
    world_apply(&w);
    /* A day of it, shipped as it comes: the outbox stays in the same few pages. */
    for (uint64_t n = 1; n <= 24 * 60; n++) {
        w.now_ms += 60000;
        for (uint64_t i = 1; i <= 300; i++) {
            rp_batch_report(&w.b, &(struct rp_report){.ieee = i * 7919,
                                                      .last_seen_ms = w.now_ms,
                                                      .payload_hash = n * 1000 + i,
                                                      .values.has = RP_HAS_POWER});
        }
        rp_batch_seal(&w.b, w.now_ms, 1, &w.entry);
        w.index++;
        assert_int_equal(rp_store_apply(w.s, w.index, w.entry.p, w.entry.len, NULL, NULL),
                         0);
        rp_batch_shipped(&w.b, n * 300, 0);
    }
    world_apply(&w);
    assert_true(rp_store_readings_last(w.s) == 432000);
    print_message("%zu KiB of %zu KiB touched\n", resident(w.mem, size) / 1024,
                  size / 1024);
    assert_true(resident(w.mem, size) < 2 * 1024 * 1024);
    munmap(w.mem, size);
    rp_batch_free(&w.b);
    sy_buf_free(&w.entry);
    sy_buf_free(&w.trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_that_are_full_refuse),
        cmocka_unit_test(the_oldest_reading_makes_room),
        cmocka_unit_test(a_ledger_full_of_open_commands_refuses),
        cmocka_unit_test(the_oldest_ended_command_makes_room),
        cmocka_unit_test(a_site_of_300_meters_touches_little_memory),
    };

    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}

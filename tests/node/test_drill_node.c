/* Drills as a node sees them: who may have what done to it, for how long; drills that are
 * refused, forgotten, due. */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/node/asking.h"

static void ask_drill(const char *kind, bool force)
{
    fake_args_begin(3);
    sy_mp_kstr(&fake_args, "kind", kind);
    sy_mp_kbool(&fake_args, "force", force);
    sy_mp_kuint(&fake_args, "budget_ms", 30000);
    fake_ask('o', "drill", &fake_args);
    fake_settle();
}

static const struct rp_drill *newest(void)
{
    return rp_store_drill_recent(fake.store, 0);
}

static bool newest_says(const char *text)
{
    const struct rp_drill *d = newest();

    return memmem(d->report, d->report_len, text, strlen(text)) != NULL;
}

static void frame(uint64_t from, const char *what, uint64_t nr)
{
    struct sy_buf b = {0};

    sy_mp_map(&b, 2);
    sy_mp_kstr(&b, "do", what);
    sy_mp_kuint(&b, "nr", nr);
    fake.cb.frame(fake.n, from, ND_FRAME_DRILL, b.p, b.len);
    sy_buf_free(&b);
}

static void report(uint64_t from, bool passed)
{
    struct sy_buf b = {0};

    sy_mp_map(&b, 4);
    sy_mp_kstr(&b, "do", "report");
    sy_mp_kuint(&b, "nr", newest()->nr);
    sy_mp_kbool(&b, "passed", passed);
    sy_mp_str(&b, "report");
    sy_mp_bin(&b, "\x80", 1);
    fake.cb.frame(fake.n, from, ND_FRAME_DRILL, b.p, b.len);
    sy_buf_free(&b);
    fake_settle();
}

static void what_the_site_is_not_ready_for_is_refused(void **state)
{
    (void)state;
    ask_drill("kill", false);
    fake_refused(fake.replies_n, "invalid", "not ready for it");
    ask_drill("flood", true);
    fake_refused(fake.replies_n, "invalid", "say handover, kill");
    ask_drill("bridge", true);
    fake_refused(fake.replies_n, "invalid", "did not start");
    fake.linked[2] = fake.linked[3] = false;
    ask_drill("kill", true);
    fake_refused(fake.replies_n, "invalid", "no other node is there");
    assert_null(newest());
}

static void a_fault_is_done_on_the_word_of_the_coordinator_only(void **state)
{
    (void)state;
    frame(2, "fault", 1); /* Of no drill. */
    assert_false(fake.silent);
    ask_drill("vanish", true);
    assert_true(newest()->nr == 1 && newest()->state == RP_DRILL_RUNNING);
    ask_drill("kill", true);
    fake_refused(fake.replies_n, "busy", "drill 1 (vanish) is running");
    frame(3, "fault", 1); /* Not the coordinator. */
    frame(2, "fault", 2); /* Another drill. */
    frame(2, "kill", 1);
    assert_false(fake.silent);
    frame(2, "fault", 1);
    assert_true(fake.silent);
}

static void a_fault_ends_by_itself(void **state)
{
    uint64_t ms;

    (void)state;
    ask_drill("vanish", true);
    ms = nd_drill_fault_ms(fake.n, ND_DRILL_VANISH, 30000);
    frame(2, "fault", 1);
    frame(2, "fault", 1); /* Told twice: not longer for that. */
    fake_pass(ms - 200, false);
    assert_true(fake.silent);
    fake_pass(400, false);
    assert_false(fake.silent);
    frame(2, "fault", 1);
    assert_false(fake.silent);
}

static void a_fault_ends_with_its_drill(void **state)
{
    (void)state;
    ask_drill("postgres", true);
    assert_non_null(fake.n->pg);
    frame(2, "fault", 1);
    assert_null(fake.n->pg);
    fake_ports_closed();
    fake_pass(500, true);
    assert_null(fake.n->pg);
    report(3, true); /* Not its coordinator. */
    assert_true(newest()->state == RP_DRILL_RUNNING);
    report(2, true);
    assert_true(newest()->state == RP_DRILL_PASSED);
    fake_pass(200, true);
    assert_non_null(fake.n->pg);
}

static void brokers_come_back_too(void **state)
{
    (void)state;
    ask_drill("broker", true);
    frame(2, "fault", 1);
    assert_null(fake.n->brokers[0].mqtt);
    fake_ports_closed();
    fake_ask_text('o', "drill", "action", "abort");
    fake_settle();
    fake_pass(200, true);
    assert_true(newest()->state == RP_DRILL_ABORTED);
    assert_non_null(fake.n->brokers[0].mqtt);
}

static void a_coordinator_that_is_gone_leaves_a_drill_that_failed(void **state)
{
    (void)state;
    ask_drill("handover", true);
    fake_pass(2 * MINUTE, true);
    assert_true(newest()->state == RP_DRILL_RUNNING);
    fake_pass(MINUTE, true);
    assert_true(newest()->state == RP_DRILL_FAILED);
    assert_true(newest_says("did not report"));
}

static bool told(const char *text)
{
    for (unsigned i = 0; i < fake.frames_n; i++) {
        const struct fake_frame *f = &fake.frames[i];

        if (f->kind == ND_FRAME_DRILL && f->to == 2 &&
            memmem(f->bytes.p, f->bytes.len, text, strlen(text)) != NULL) {
            return true;
        }
    }
    return false;
}

static void begun_elsewhere(uint64_t coordinator)
{
    struct nd_drill_report r;
    struct sy_buf packed = {0};
    struct rp_batch b = {0};

    fake_lose(0, 2, 5);
    nd_drill_report_init(&r);
    r.coordinator = coordinator;
    nd_drill_report_put(&r, &packed);
    rp_batch_drill(&b, 0, RP_DRILL_RUNNING, "kill", packed.p, packed.len);
    fake_foreign(&b);
    sy_buf_free(&packed);
}

static void a_coordinator_that_began_anew_says_so(void **state)
{
    (void)state;
    begun_elsewhere(3);
    fake_pass(1000, false);
    assert_false(told("report"));
    fake_close();
    (void)open_site(state);
    fake_pass(1000, true);
    fake.n->started_ms = nd_now_ms(); /* Younger than the drill. */
    begun_elsewhere(1);
    fake_pass(1000, false);
    assert_true(told("began anew meanwhile"));
    assert_null(fake.n->drill.run);
}

static void a_node_does_nothing_to_itself(void **state)
{
    (void)state;
    begun_elsewhere(1);
    fake.term = 6;
    fake_lead();
    frame(1, "fault", 1);
    fake_pass(200, true);
    assert_int_equal(fake.n->drill.fault_nr, 0);
}

static void canaries_are_listed_while_a_drill_runs(void **state)
{
    const uint64_t ieee = nd_canary_ieee("vagt-canary-north");
    const struct rp_area *a;

    (void)state;
    fake_pass(500, true);
    assert_null(rp_store_area_named(fake.store, ND_CANARY_AREA));
    ask_drill("vanish", true);
    fake_pass(200, true);
    a = rp_store_area_named(fake.store, ND_CANARY_AREA);
    assert_true(a != NULL && a->off == 0);
    rp_batch_device(&fake.batch, a->nr, ieee, "vagt-canary-north", "canary");
    fake_settle();
    report(2, false);
    fake_pass(2000, true);
    assert_false(rp_store_device(fake.store, ieee)->listed);
    assert_true(rp_store_area_named(fake.store, ND_CANARY_AREA)->off != 0);
}

static void tell(void *data, bool error, const char *text)
{
    snprintf(data, 200, "%d %s", error, text);
}

static void a_drill_that_is_due_is_run_when_the_site_is_ready(void **state)
{
    time_t now = (time_t)(fake.wall_ms / 1000);
    struct tm tm;
    char said[200] = "";

    (void)state;
    nd_drill_issues(fake.n, tell, said);
    assert_string_equal(said, "");
    fake_pass(500, true); /* From now on one is missed. */
    fake.n->config.drill.reminder_s = 60;
    fake_pass(MINUTE + 1000, true);
    nd_drill_issues(fake.n, tell, said);
    assert_non_null(strstr(said, "0 no drill has passed for 0 days"));
    now = (time_t)(fake.wall_ms / 1000);
    localtime_r(&now, &tm);
    strftime(fake.n->config.drill.at, sizeof fake.n->config.drill.at, "%a %H:%M", &tm);
    fake_pass(1000, true);
    assert_null(newest()); /* It waits: the site is not ready. */
    assert_true(fake.n->drill.missed_ms != 0);
}

#define TEST(F) cmocka_unit_test_setup_teardown(F, open_site, close_site)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_the_site_is_not_ready_for_is_refused),
        TEST(a_fault_is_done_on_the_word_of_the_coordinator_only),
        TEST(a_fault_ends_by_itself),
        TEST(a_fault_ends_with_its_drill),
        TEST(brokers_come_back_too),
        TEST(a_coordinator_that_is_gone_leaves_a_drill_that_failed),
        TEST(a_coordinator_that_began_anew_says_so),
        TEST(a_node_does_nothing_to_itself),
        TEST(canaries_are_listed_while_a_drill_runs),
        TEST(a_drill_that_is_due_is_run_when_the_site_is_ready),
    };

    return cmocka_run_group_tests_name("drill of a node", tests, NULL, NULL);
}

/* Drills: the report and its verdict, when one is due, and the canaries on their way. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/mp.h"
#include "node/node.h"

/* --- reports --- */

static struct nd_drill_report good(void)
{
    struct nd_drill_report r;

    nd_drill_report_init(&r);
    r.before = 1;
    r.after = 2;
    r.counted = true;
    r.sent = r.rows = 20000;
    for (unsigned i = 0; i < ND_PHASES; i++) {
        r.phase[i] = 100 * (i + 1);
    }
    return r;
}

static void a_drill_passes_when_all_works_again_in_time(void **state)
{
    struct nd_drill_report r = good();

    (void)state;
    assert_true(nd_drill_judge(&r, ND_DRILL_KILL, true));
    r.lost = 2; /* 0.01 % */
    assert_true(nd_drill_judge(&r, ND_DRILL_KILL, true));
    assert_string_equal(r.why, "");
}

#define FAILS(WHY, KIND, CHANGE)                        \
    do {                                                \
        r = good();                                     \
        CHANGE;                                         \
        assert_false(nd_drill_judge(&r, (KIND), true)); \
        assert_string_equal(r.why, (WHY));              \
    } while (0)

static void a_drill_fails_and_says_why(void **state)
{
    struct nd_drill_report r;

    (void)state;
    FAILS("3 of 20000 canary readings were lost", ND_DRILL_KILL, r.lost = 3);
    FAILS("1 canary readings are in Postgres twice", ND_DRILL_KILL, r.doubled = 1);
    FAILS("the watch did not change hands", ND_DRILL_VANISH, r.after = 1);
    FAILS("not every area confirmed a command within 60 s", ND_DRILL_KILL,
          r.phase[ND_PHASE_AREAS] = 60001);
    FAILS("not every area confirmed a command within 60 s", ND_DRILL_KILL,
          r.phase[ND_PHASE_COMMAND] = ND_DRILL_PHASE_NONE);
    FAILS("no reading from after the fault was in Postgres within 60 s", ND_DRILL_KILL,
          r.phase[ND_PHASE_ROW] = ND_DRILL_PHASE_NONE);
    FAILS("the rows in Postgres could not be counted", ND_DRILL_KILL, r.counted = false);
    FAILS("given up", ND_DRILL_KILL, (void)snprintf(r.why, sizeof r.why, "given up"));
    r = good();
    r.after = 1; /* It stays where it is, and there is no Postgres to look into. */
    r.counted = false;
    assert_true(nd_drill_judge(&r, ND_DRILL_BROKER, false));
}

static void a_report_fits_whatever_is_in_it(void **state)
{
    struct nd_drill_report r = good(), back;
    struct rp_drill d = {.nr = 1};
    struct sy_buf b = {0};
    struct sy_cur c;

    (void)state;
    memset(r.by, 'x', sizeof r.by - 1);
    memset(r.canary, 'y', sizeof r.canary - 1);
    memset(r.why, 'z', sizeof r.why - 1);
    r.coordinator = r.before = r.after = r.budget_ms = r.fault_ms = UINT64_MAX;
    r.fault_at_ms = r.sent = r.rows = r.lost = r.doubled = UINT64_MAX;
    r.commands = r.confirmed = UINT64_MAX;
    nd_drill_report_put(&r, &b);
    assert_true(b.len <= RP_DRILL_REPORT_MAX);
    c = (struct sy_cur){.p = b.p, .n = b.len};
    sy_mp_skip(&c);
    assert_true(!c.bad && c.n == 0);
    memcpy(d.report, b.p, b.len);
    d.report_len = (uint16_t)b.len;
    nd_drill_report_get(&back, &d);
    assert_string_equal(back.canary, r.canary);
    assert_true(back.coordinator == UINT64_MAX && back.budget_ms == UINT64_MAX);
    sy_buf_free(&b);
}

static void what_is_no_report_is_read_as_an_empty_one(void **state)
{
    struct rp_drill d = {.report = {0xc1, 0xff}, .report_len = 2};
    struct nd_drill_report r;

    (void)state;
    nd_drill_report_get(&r, &d);
    assert_true(r.coordinator == 0 && r.budget_ms == ND_DRILL_BUDGET_MS);
}

/* --- when --- */

static uint64_t at(const char *text)
{
    struct tm tm = {.tm_isdst = -1};

    assert_non_null(strptime(text, "%Y-%m-%d %H:%M", &tm));
    return (uint64_t)mktime(&tm) * 1000;
}

static void the_time_of_a_drill_is_weekly_or_daily(void **state)
{
    (void)state;
    setenv("TZ", "Europe/Copenhagen", 1);
    tzset();
    /* The 29th of March 2026 is a Sunday, and 2 to 3 o'clock are left out. */
    assert_true(nd_drill_due_ms(at("2026-03-29 03:00"), "Sun 03:00") ==
                at("2026-03-29 03:00"));
    assert_true(nd_drill_due_ms(at("2026-03-29 01:59"), "Sun 03:00") ==
                at("2026-03-22 03:00"));
    assert_true(nd_drill_due_ms(at("2026-04-04 23:59"), "Sun 03:00") ==
                at("2026-03-29 03:00"));
    assert_true(nd_drill_due_ms(at("2026-04-01 02:00"), "03:00") ==
                at("2026-03-31 03:00"));
    assert_true(nd_drill_due_ms(at("2026-04-01 04:00"), "03:00") ==
                at("2026-04-01 03:00"));
    assert_true(nd_drill_due_ms(at("2026-01-01 01:00"), "Sat 05:30") ==
                at("2025-12-27 05:30"));
    assert_true(nd_drill_due_ms(at("2026-01-01 01:00"), "") == 0);
    assert_true(nd_drill_due_ms(at("2026-01-01 01:00"), "Son 03:00") == 0);
}

/* --- canaries --- */

static void a_canary_says_its_number(void **state)
{
    static const char *const bad[] = {"",        "1",        "1 2",
                                      "1 2 ON ", "1 2 ONE",  "1 2 on",
                                      "a 2 ON",  "1 2 ON 3", "99999999999999999999 2 ON"};
    struct nd_canary_reading r = {17, 1764133554123, RP_OFF}, back;
    char text[ND_CANARY_PAYLOAD_SIZE];

    (void)state;
    nd_canary_write(&r, text);
    assert_string_equal(text, "17 1764133554123 OFF");
    assert_true(nd_canary_read(text, strlen(text), &back));
    assert_true(back.number == 17 && back.at_ms == r.at_ms && back.state == RP_OFF);
    memset(text, '1', sizeof text); /* Longer than any that is right. */
    assert_false(nd_canary_read(text, sizeof text, &back));
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(nd_canary_read(bad[i], strlen(bad[i]), &back));
    }
    assert_true(rp_is_canary(nd_canary_ieee("vagt-canary-area1")));
    assert_false(rp_is_canary(UINT64_C(0x00158d0001234567)));
}

static void went(struct nd_canary_flight *f, uint64_t number)
{
    const struct nd_canary_reading r = {number, 1000 + number, RP_ON};

    nd_canary_went(f, (unsigned)number % 3, &r);
}

static void what_a_link_lost_is_published_again_as_it_was(void **state)
{
    struct nd_canary_flight f = {0};
    struct nd_canary_reading r;
    unsigned device;

    (void)state;
    for (uint64_t i = 1; i <= 5; i++) {
        went(&f, i);
    }
    nd_canary_heard(&f, 2, 0);
    assert_true(f.confirmed == 2 && f.n == 3 && f.again_n == 0);
    nd_canary_heard(&f, 2, 3); /* The link broke. */
    assert_true(nd_canary_again(&f, &device, &r));
    assert_true(r.number == 3 && r.at_ms == 1003 && device == 0);
    nd_canary_went_again(&f);
    went(&f, 6);
    nd_canary_heard(&f, 3, 3); /* Number 3: those that wait are not confirmed. */
    assert_true(f.confirmed == 3 && f.n == 3 && f.again_n == 2);
    while (nd_canary_again(&f, &device, &r)) {
        nd_canary_went_again(&f);
    }
    assert_true(f.list[0].reading.number == 6 && f.list[1].reading.number == 4);
    nd_canary_heard(&f, 6, 3);
    assert_true(f.confirmed == 6 && f.n == 0 && f.newest == 6);
    nd_canary_heard(&f, 9, 3); /* More than there were: not ours. */
    assert_true(f.confirmed == 6);
}

static void no_more_are_on_their_way_than_there_is_room(void **state)
{
    struct nd_canary_flight f = {0};
    uint64_t i = 0;

    (void)state;
    while (nd_canary_room(&f)) {
        went(&f, ++i);
    }
    assert_int_equal(i, ND_CANARY_FLIGHT_MAX);
    nd_canary_heard(&f, 1, 0);
    assert_true(nd_canary_room(&f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drill_passes_when_all_works_again_in_time),
        cmocka_unit_test(a_drill_fails_and_says_why),
        cmocka_unit_test(a_report_fits_whatever_is_in_it),
        cmocka_unit_test(what_is_no_report_is_read_as_an_empty_one),
        cmocka_unit_test(the_time_of_a_drill_is_weekly_or_daily),
        cmocka_unit_test(a_canary_says_its_number),
        cmocka_unit_test(what_a_link_lost_is_published_again_as_it_was),
        cmocka_unit_test(no_more_are_on_their_way_than_there_is_room),
    };

    return cmocka_run_group_tests_name("drill", tests, NULL, NULL);
}

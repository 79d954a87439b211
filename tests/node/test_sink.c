/* The log's bound per event: what matters passes, floods are counted. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "node/sink.h"

static uint64_t clock_ms;

struct out
{
    unsigned lines;
    char last[1300];
    char text[4096]; /* the first of them */
};

static uint64_t fake_now(void)
{
    return clock_ms;
}

static void keep(void *data, const char *line, size_t len)
{
    struct out *o = data;

    o->lines++;
    snprintf(o->last, sizeof o->last, "%.*s", (int)len, line);
    if (strlen(o->text) + len < sizeof o->text) {
        memcpy(o->text + strlen(o->text), line, len);
    }
}

static void init(struct nd_sink *s, struct out *o)
{
    memset(o, 0, sizeof *o);
    nd_sink_init(s, "nas");
    s->write = keep;
    s->data = o;
    s->now_ms = fake_now;
    clock_ms = 1700000000123;
}

static void say(struct nd_sink *s, enum sy_level level, const char *line)
{
    nd_sink_write(s, level, line, strlen(line));
}

static void a_line_has_priority_time_and_node(void **state)
{
    struct nd_sink s;
    struct out o;

    (void)state;
    init(&s, &o);
    say(&s, SY_NOTE, "ev=watch from=standby");
    assert_string_equal(o.text, "<5>ts=1700000000.123 node=nas ev=watch from=standby\n");
}

static void a_flood_is_cut_and_counted(void **state)
{
    struct nd_sink s;
    struct out o;

    (void)state;
    init(&s, &o);
    for (unsigned i = 0; i < 1000; i++) {
        say(&s, SY_WARN, "ev=payload.bad topic=x");
    }
    assert_int_equal(o.lines, ND_SINK_LINES);
    say(&s, SY_WARN, "ev=peer.refused peer=3"); /* Others are not concerned. */
    say(&s, SY_ERR, "ev=payload.bad topic=x");  /* Errors never are. */
    assert_int_equal(o.lines, ND_SINK_LINES + 2);
    clock_ms += ND_SINK_WINDOW_MS;
    say(&s, SY_WARN, "ev=payload.bad topic=y");
    assert_non_null(strstr(o.last, "topic=y"));
    assert_int_equal(o.lines, ND_SINK_LINES + 4); /* And the word about the rest. */
}

static void what_was_kept_back_is_told(void **state)
{
    struct nd_sink s;
    struct out o;

    (void)state;
    init(&s, &o);
    for (unsigned i = 0; i < ND_SINK_LINES + 7; i++) {
        say(&s, SY_WARN, "ev=a");
    }
    clock_ms += ND_SINK_WINDOW_MS;
    memset(o.text, 0, sizeof o.text);
    say(&s, SY_WARN, "ev=a");
    assert_string_equal(
        o.text,
        "<4>ts=1700000010.123 node=nas ev=log.suppressed event=a lines=7\n"
        "<4>ts=1700000010.123 node=nas ev=a\n");
}

static void more_names_than_slots_lose_nothing_important(void **state)
{
    struct nd_sink s;
    struct out o;
    char line[32];

    (void)state;
    init(&s, &o);
    for (unsigned i = 0; i < 3 * ND_SINK_EVENTS; i++) {
        clock_ms++;
        snprintf(line, sizeof line, "ev=name-%u", i);
        say(&s, SY_WARN, line);
    }
    assert_int_equal(o.lines, 3 * ND_SINK_EVENTS);
    say(&s, SY_WARN, "");
    say(&s, SY_WARN, "e");
    assert_int_equal(o.lines, 3 * ND_SINK_EVENTS + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_priority_time_and_node),
        cmocka_unit_test(a_flood_is_cut_and_counted),
        cmocka_unit_test(what_was_kept_back_is_told),
        cmocka_unit_test(more_names_than_slots_lose_nothing_important),
    };
    return cmocka_run_group_tests_name("sink", tests, NULL, NULL);
}

/* drill, drills: a failure on purpose, and what it showed. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

enum {
    LOOK_MS = 300,
    ASK_MS = 3000,
    BUDGET_MS = 60000,
    SLACK_MS = 120000, /* before the fault, and counting after it */
    BAR = 22,
    LAST_MAX = 50
};

static const struct
{
    const char *key, *text;
} phases[] = {
    {"detected", "the fault is seen"},
    {"elected", "another node leads"},
    {"acting", "it acts"},
    {"address", "the address is there"},
    {"broker", "the broker is connected"},
    {"bridges", "the bridges run"},
    {"command", "first command confirmed"},
    {"areas", "... in each area"},
    {"row", "first reading in Postgres"},
    {"all_rows", "all readings in Postgres"},
};

enum { PHASES = sizeof phases / sizeof phases[0] };

static void nap(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

static enum ct_colour colour_of(struct ct_val drill)
{
    struct ct_str state = ct_str(drill, "state");

    return ct_str_is(state, "passed")    ? CT_GREEN
           : ct_str_is(state, "running") ? CT_BOLD
                                         : CT_RED;
}

/* --- one of them --- */

/* The newest of the same kind before it that passed. */
static bool find_last(struct ct_val drills, struct ct_val drill, struct ct_val *ret)
{
    struct ct_iter it = ct_iterate(drills);
    struct ct_str kind = ct_str(drill, "kind");
    struct ct_val d;

    while (ct_next(&it, &d)) {
        struct ct_str k = ct_str(d, "kind");

        if (ct_uint(d, "nr") < ct_uint(drill, "nr") &&
            ct_str_is(ct_str(d, "state"), "passed") && k.n == kind.n && k.n > 0 &&
            memcmp(k.p, kind.p, k.n) == 0) {
            *ret = d;
            return true;
        }
    }
    return false;
}

static void cell_ms(struct ct_table *t, struct ct_val map, const char *key)
{
    if (!ct_is_uint(ct_get(map, key))) {
        ct_cell(t, "");
        return;
    }
    ct_count(&t->text, ct_uint(map, key));
    ct_cell_end(t, CT_PLAIN);
}

static void bar(struct ct_table *t, uint64_t ms, uint64_t longest)
{
    unsigned n = longest > 0 && ms <= longest ? (unsigned)(ms * BAR / longest) : 0;

    sy_buf_u8(&t->text, '|');
    for (unsigned i = 0; i < n; i++) {
        sy_buf_u8(&t->text, '-');
    }
    sy_buf_u8(&t->text, '*');
    ct_cell_end(t, CT_PLAIN);
}

static void show_phases(struct ct_out *o, struct ct_val report, struct ct_val last,
                        uint64_t target_ms)
{
    static const struct ct_column columns[] = {
        {"", false, false},    {"AFTER THE FAULT", false, false}, {"MS", true, false},
        {"LAST", true, false}, {"TARGET", true, false},           {"", false, true}};
    struct ct_val map = ct_get(report, "phases"), before = ct_get(last, "phases");
    uint64_t longest = 0;
    struct ct_table t;

    for (unsigned i = 0; i < PHASES; i++) {
        uint64_t ms = ct_uint(map, phases[i].key);

        longest = ms > longest ? ms : longest;
    }
    ct_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    for (unsigned i = 0; i < PHASES; i++) {
        const char *key = phases[i].key;
        bool aimed = strcmp(key, "areas") == 0 || strcmp(key, "row") == 0;
        bool late =
            aimed && (!ct_is_uint(ct_get(map, key)) || ct_uint(map, key) > target_ms);

        if (!ct_is_uint(ct_get(map, key)) && !aimed) {
            continue;
        }
        ct_cell_str(&t,
                    ct_lit(!aimed ? " "
                           : late ? "NO"
                                  : "ok"),
                    late ? CT_RED : CT_GREEN);
        ct_cell(&t, phases[i].text);
        cell_ms(&t, map, key);
        cell_ms(&t, before, key);
        if (aimed) {
            ct_count(&t.text, target_ms);
            ct_cell_end(&t, CT_PLAIN);
        } else {
            ct_cell(&t, "");
        }
        if (ct_is_uint(ct_get(map, key))) {
            bar(&t, ct_uint(map, key), longest);
        } else {
            ct_cell(&t, "not seen");
        }
    }
    ct_table_print(&t, o);
    ct_table_free(&t);
}

/* "0.010 %" */
static void put_percent(struct ct_out *o, uint64_t part, uint64_t whole)
{
    uint64_t ppm = whole > 0 && part <= whole ? part * 1000000 / whole : 0;

    ct_fmt(o, "%" PRIu64 ".%03" PRIu64 " %%", ppm / 10000, ppm % 10000 / 10);
}

static void show_counts(struct ct_out *o, struct ct_val report, uint64_t target_ppm)
{
    uint64_t sent = ct_uint(report, "sent"), lost = ct_uint(report, "lost");

    if (ct_is_uint(ct_get(report, "sent"))) {
        ct_fmt(o, "readings  %" PRIu64 " sent, %" PRIu64 " rows, %" PRIu64 " lost (",
               sent, ct_uint(report, "rows"), lost);
        put_percent(o, lost, sent);
        ct_put(o, "; at most ");
        put_percent(o, target_ppm, 1000000);
        ct_fmt(o, "), %" PRIu64 " twice\n", ct_uint(report, "doubled"));
    }
    ct_fmt(o,
           "commands  %" PRIu64 " given, %" PRIu64
           " confirmed; before the fault one took "
           "%" PRIu64 " ms\n",
           ct_uint(report, "commands"), ct_uint(report, "confirmed"),
           ct_uint(report, "usual_ms"));
}

static void show_drill(struct ct_out *o, struct ct_val answer, struct ct_val d)
{
    struct ct_val report = ct_get(d, "report"), last = {.m = {.type = SY_MP_BAD}};
    struct ct_str why = ct_str(report, "why");

    ct_fmt(o, "Drill %" PRIu64 ", ", ct_uint(d, "nr"));
    ct_say(o, ct_str(d, "kind"));
    ct_put(o, ": ");
    ct_colour(o, colour_of(d));
    ct_say(o, ct_str(d, "state"));
    ct_colour(o, CT_PLAIN);
    ct_put(o, "\n");
    if (why.n > 0) {
        ct_sentence(o, "why       ", CT_PLAIN, why);
    }
    ct_line_time(o, "began", ct_uint(d, "began_ms"));
    ct_line_time(o, "ended", ct_uint(d, "ended_ms"));
    ct_put(o, "watch     ");
    ct_say(o, ct_str(d, "before"));
    ct_put(o, ", then ");
    ct_say(o, ct_str(d, "after"));
    ct_put(o, "; measured by ");
    ct_say(o, ct_str(d, "coordinator"));
    ct_put(o, ", by ");
    ct_say(o, ct_str(report, "by"));
    ct_put(o, "\n");
    if (ct_uint(report, "fault_at_ms") == 0) {
        return;
    }
    show_counts(o, report, ct_uint(answer, "target_lost_ppm"));
    ct_put(o, "\n");
    if (find_last(ct_get(answer, "drills"), d, &last)) {
        last = ct_get(last, "report");
    }
    show_phases(o, report, last, ct_uint(answer, "target_ms"));
}

static bool find(struct ct_val answer, uint64_t nr, struct ct_val *ret)
{
    struct ct_iter it = ct_iterate(ct_get(answer, "drills"));

    while (ct_next(&it, ret)) {
        if (nr == 0 || ct_uint(*ret, "nr") == nr) {
            return true;
        }
    }
    return false;
}

static uint64_t number_of(const char *text)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);

    return text[0] >= '0' && text[0] <= '9' && *end == '\0' ? v : 0;
}

static int view_show(struct ct_out *o, const struct ct_options *opt,
                     const struct ct_reply *r)
{
    struct ct_val d;

    if (!find(r->result, number_of(opt->args[1]), &d)) {
        ct_complain(
            "drill show %s: there is no such one among the last %d: see `vagtctl "
            "drills`",
            opt->args[1], LAST_MAX);
        return CT_FAILED;
    }
    if (opt->json) {
        return ct_print_json(o, d);
    }
    show_drill(o, r->result, d);
    return CT_DONE;
}

/* --- all of them --- */

static void cell_phase(struct ct_table *t, struct ct_val d, const char *key)
{
    struct ct_val map = ct_get(ct_get(d, "report"), "phases");

    if (ct_is_uint(ct_get(map, key))) {
        cell_ms(t, map, key);
    } else {
        ct_cell(t, "-");
    }
}

static int view_drills(struct ct_out *o, const struct ct_options *opt,
                       const struct ct_reply *r)
{
    static const struct ct_column columns[] = {
        {"NR", true, false},      {"KIND", false, false}, {"AGO", true, false},
        {"RESULT", false, false}, {"WATCH", false, true}, {"COMMAND", true, false},
        {"ROW", true, false},     {"LOST", true, false},  {"TWICE", true, false},
    };
    struct ct_iter it = ct_iterate(ct_get(r->result, "drills"));
    uint64_t now = ct_uint(r->result, "now_ms");
    struct ct_table t;
    struct ct_val d;

    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    if (it.left == 0) {
        ct_put(o,
               "No drill was run yet. To begin with: vagtctl drill handover --dry-run\n");
        return CT_DONE;
    }
    ct_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    while (ct_next(&it, &d)) {
        uint64_t began = ct_uint(d, "began_ms");

        ct_cell_uint(&t, d, "nr");
        ct_cell_str(&t, ct_str(d, "kind"), CT_BOLD);
        ct_age(&t.text, now > began ? now - began : 0);
        ct_cell_end(&t, CT_PLAIN);
        ct_cell_str(&t, ct_str(d, "state"), colour_of(d));
        ct_escape(&t.text, ct_str(d, "before"));
        sy_buf_fmt(&t.text, " > ");
        ct_escape(&t.text, ct_str(d, "after"));
        ct_cell_end(&t, CT_PLAIN);
        cell_phase(&t, d, "command");
        cell_phase(&t, d, "row");
        ct_cell_uint(&t, ct_get(d, "report"), "lost");
        ct_cell_uint(&t, ct_get(d, "report"), "doubled");
    }
    ct_table_print(&t, o);
    ct_table_free(&t);
    return CT_DONE;
}

int ct_cmd_drills(const struct ct_options *opt)
{
    struct sy_buf args = {0};
    int rv;

    sy_mp_map(&args, opt->limit != 0 ? 1 : 0);
    if (opt->limit != 0) {
        sy_mp_kuint(&args, "limit", opt->limit);
    }
    rv = ct_simple(opt, "drills", &args, view_drills);
    sy_buf_free(&args);
    return rv;
}

/* --- running one --- */

static bool parse_budget(const char *text, uint64_t *ret_ms)
{
    char *end;
    unsigned long v = text != NULL ? strtoul(text, &end, 10) : 0;

    *ret_ms = 0;
    if (text == NULL) {
        return true;
    }
    if (text[0] < '0' || text[0] > '9' || v == 0 || v > 600 ||
        (strcmp(end, "s") != 0 && strcmp(end, "m") != 0)) {
        ct_complain("--budget '%s': how long at most, like 60s or 2m", text);
        return false;
    }
    *ret_ms = v * (*end == 's' ? 1000 : 60000);
    return true;
}

static void pack(const struct ct_options *opt, uint64_t budget_ms, bool dry,
                 struct sy_buf *args)
{
    sy_mp_map(args, 3U + (budget_ms != 0) + (opt->canary != NULL));
    sy_mp_kstr(args, "kind", opt->args[0]);
    sy_mp_kbool(args, "dry_run", dry);
    sy_mp_kbool(args, "force", opt->force);
    if (budget_ms != 0) {
        sy_mp_kuint(args, "budget_ms", budget_ms);
    }
    if (opt->canary != NULL) {
        sy_mp_kstr(args, "canary", opt->canary);
    }
}

static void show_plan(struct ct_out *o, const struct ct_reply *r)
{
    struct ct_iter it = ct_iterate(ct_get(r->result, "plan"));
    bool ready = ct_bool(r->result, "ready");
    struct ct_val line;

    ct_sentence(o, ready ? "READY " : "NOT READY ", ready ? CT_GREEN : CT_RED,
                ct_str(r->result, "text"));
    ct_put(o, "What the drill does:\n");
    while (ct_next(&it, &line)) {
        ct_sentence(o, "- ", CT_PLAIN, ct_str_of(line));
    }
    (void)ct_out_flush(o);
}

static bool confirmed(const struct ct_options *opt)
{
    char line[16] = "";

    if (opt->sure) {
        return true;
    }
    if (!isatty(STDIN_FILENO)) {
        ct_complain("drill: nobody is there to be asked: say --yes");
        return false;
    }
    fprintf(stderr, "Do it? Type yes: ");
    if (fgets(line, sizeof line, stdin) == NULL || strcmp(line, "yes\n") != 0) {
        ct_complain("drill: nothing was done");
        return false;
    }
    return true;
}

/* Until it has ended, as whichever node answers sees it: the one asked may be the one
 * that is killed. */
static int follow(struct ct_client *c, const struct ct_options *opt, struct ct_out *o,
                  uint64_t nr, uint64_t limit_ms)
{
    uint64_t until = ct_now_ms() + limit_ms;
    struct ct_reply r = {.answer = CT_NONE};

    while (!ct_interrupted && ct_now_ms() < until) {
        struct ct_val d;

        ct_ask(c, "drills", NULL, ASK_MS, &r);
        if (r.answer == CT_OK && find(r.result, nr, &d) &&
            !ct_str_is(ct_str(d, "state"), "running")) {
            int rv = ct_str_is(ct_str(d, "state"), "passed") ? CT_DONE : CT_FAILED;

            if (opt->json) {
                rv = ct_print_json(o, d) != CT_DONE ? CT_FAILED : rv;
            } else {
                show_drill(o, r.result, d);
            }
            ct_reply_free(&r);
            return rv;
        }
        nap(LOOK_MS);
    }
    ct_reply_free(&r);
    ct_complain("drill %" PRIu64 " goes on: see `vagtctl drill show %" PRIu64
                "`, end it with `vagtctl drill abort`",
                nr, nr);
    return CT_FAILED;
}

static int run(struct ct_client *c, const struct ct_options *opt, struct ct_out *o,
               uint64_t budget_ms)
{
    struct ct_reply r = {.answer = CT_NONE};
    struct sy_buf args = {0};
    uint64_t nr;
    int rv = CT_DONE;

    pack(opt, budget_ms, true, &args);
    ct_ask(c, "drill", &args, opt->timeout_ms, &r);
    if (r.answer != CT_OK) {
        rv = ct_fail_reply(opt, o, &r);
    } else if (!opt->json) {
        show_plan(o, &r);
    } else if (opt->dry_run) {
        rv = ct_print_json(o, r.result);
    }
    if (r.answer != CT_OK || opt->dry_run || !confirmed(opt)) {
        rv = r.answer != CT_OK || opt->dry_run ? rv : CT_FAILED;
        goto out;
    }
    args.len = 0;
    pack(opt, budget_ms, false, &args);
    ct_ask(c, "drill", &args, opt->timeout_ms, &r);
    if (r.answer != CT_OK) {
        rv = ct_fail_reply(opt, o, &r);
        goto out;
    }
    nr = ct_uint(r.result, "nr");
    if (nr == 0) {
        ct_complain("the node's answer holds no drill");
        rv = CT_FAILED;
        goto out;
    }
    if (!opt->json) {
        ct_fmt(o, "\nDrill %" PRIu64 " runs.\n\n", nr);
        (void)ct_out_flush(o);
    }
    rv = follow(c, opt, o, nr, (budget_ms != 0 ? budget_ms : BUDGET_MS) + SLACK_MS);
out:
    sy_buf_free(&args);
    ct_reply_free(&r);
    return rv;
}

static int view_abort(struct ct_out *o, const struct ct_options *opt,
                      const struct ct_reply *r)
{
    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    ct_fmt(o, "Drill %" PRIu64 " is ended; what it did is undone.\n",
           ct_uint(r->result, "nr"));
    return CT_DONE;
}

static int abort_drill(const struct ct_options *opt)
{
    struct sy_buf args = {0};
    int rv;

    sy_mp_map(&args, 1);
    sy_mp_kstr(&args, "action", "abort");
    rv = ct_simple(opt, "drill", &args, view_abort);
    sy_buf_free(&args);
    return rv;
}

int ct_cmd_drill(const struct ct_options *opt)
{
    bool show = strcmp(opt->args[0], "show") == 0;
    uint64_t budget_ms;
    struct ct_client c;
    struct ct_out o;
    int rv;

    if (opt->args_n != (show ? 2 : 1)) {
        ct_complain(show ? "drill show: needs the number of a drill"
                         : "drill: takes one kind");
        return CT_USAGE;
    }
    if (show && number_of(opt->args[1]) == 0) {
        ct_complain("drill show '%s': needs the number of a drill", opt->args[1]);
        return CT_USAGE;
    }
    if (show) {
        return ct_simple(opt, "drills", NULL, view_show);
    }
    if (strcmp(opt->args[0], "abort") == 0) {
        return abort_drill(opt);
    }
    if (!parse_budget(opt->budget, &budget_ms)) {
        return CT_USAGE;
    }
    ct_catch_signals();
    ct_out_init(&o);
    ct_client_init(&c, &opt->sockets);
    rv = run(&c, opt, &o, budget_ms);
    if (!ct_out_flush(&o)) {
        rv = CT_FAILED;
    }
    ct_client_free(&c);
    ct_out_free(&o);
    return rv;
}

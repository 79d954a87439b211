/* maintenance, restart, rolling-restart: working on the machines of a cluster that
 * runs. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

enum {
    LOOK_MS = 200,
    ASK_MS = 3000,
    LAG_MAX = 1000,
    NODES_MAX = 16,
    NAME_SIZE = 96,
    STEADY_LOOKS = 5 /* in a row, before the next one */
};

static void nap(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

/* --- maintenance --- */

static bool parse_length(const char *text, uint64_t *ret_ms)
{
    static const struct
    {
        char letter;
        uint64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    char *end;
    unsigned long v = strtoul(text, &end, 10);

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (text[0] >= '0' && text[0] <= '9' && end[0] == units[i].letter &&
            end[1] == '\0' && v > 0 && v < 1000000) {
            *ret_ms = v * units[i].ms;
            return true;
        }
    }
    ct_complain("--for '%s': a number and s, m, h or d, like 90m", text);
    return false;
}

/* "18:00" is the next time that it is so late. */
static bool parse_time(const char *text, uint64_t *ret_ms)
{
    time_t now = time(NULL), at;
    struct tm tm, day;
    const char *end;

    localtime_r(&now, &day);
    tm = day;
    tm.tm_sec = 0;
    end = strptime(text, "%Y-%m-%d %H:%M", &tm);
    if (end == NULL || *end != '\0') {
        tm = day;
        tm.tm_sec = 0;
        end = strptime(text, "%H:%M", &tm);
    }
    if (end == NULL || *end != '\0') {
        ct_complain("--until '%s': like 18:00 or \"2026-11-30 18:00\", local time", text);
        return false;
    }
    tm.tm_isdst = -1;
    at = mktime(&tm);
    if (at <= now && strchr(text, '-') == NULL) {
        tm.tm_mday++;
        tm.tm_isdst = -1;
        at = mktime(&tm);
    }
    *ret_ms = at > 0 ? (uint64_t)at * 1000 : 0;
    return true;
}

static int view_maintenance(struct ct_out *o, const struct ct_options *opt,
                            const struct ct_reply *r)
{
    uint64_t left = ct_uint(r->result, "left_ms");

    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    if (!ct_bool(r->result, "on")) {
        ct_put(o, "No maintenance: a node that dies is relieved.\n");
        return CT_DONE;
    }
    ct_line_time(o, "until", ct_uint(r->result, "until_ms"));
    ct_fmt(o,
           "Maintenance for %" PRIu64 " min more: nobody relieves a node on watch that\n",
           left / 60000 + 1);
    ct_put(o, "dies; the watch may be handed over.\n");
    return CT_DONE;
}

int ct_cmd_maintenance(const struct ct_options *opt)
{
    const char *to = opt->args_n > 0 ? opt->args[0] : "";
    struct sy_buf args = {0};
    uint64_t ms = 0;
    int rv;

    if (to[0] != '\0' && strcmp(to, "on") != 0 && strcmp(to, "off") != 0) {
        ct_complain("maintenance '%s': say on or off", to);
        return CT_USAGE;
    }
    if (strcmp(to, "on") == 0 && (opt->until == NULL) == (opt->length == NULL)) {
        ct_complain("maintenance on: needs --until TIME or --for DURATION");
        return CT_USAGE;
    }
    if ((opt->length != NULL && !parse_length(opt->length, &ms)) ||
        (opt->until != NULL && !parse_time(opt->until, &ms))) {
        return CT_USAGE;
    }
    sy_mp_map(&args, to[0] == '\0' ? 0 : ms != 0 ? 2 : 1);
    if (to[0] != '\0') {
        sy_mp_kstr(&args, "to", to);
    }
    if (to[0] != '\0' && ms != 0) {
        sy_mp_kuint(&args, opt->length != NULL ? "for_ms" : "until_ms", ms);
    }
    rv = ct_simple(opt, "maintenance", &args, view_maintenance);
    sy_buf_free(&args);
    return rv;
}

/* --- restart --- */

static void pack_restart(struct sy_buf *args, const char *node, bool force)
{
    sy_mp_map(args, 2);
    sy_mp_kstr(args, "node", node);
    sy_mp_kbool(args, "force", force);
}

static int view_restart(struct ct_out *o, const struct ct_options *opt,
                        const struct ct_reply *r)
{
    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    ct_fmt(o, "Node %" PRIu64 " begins anew.\n", ct_uint(r->result, "node"));
    return CT_DONE;
}

int ct_cmd_restart(const struct ct_options *opt)
{
    struct sy_buf args = {0};
    int rv;

    pack_restart(&args, opt->args[0], opt->force);
    rv = ct_simple(opt, "restart", &args, view_restart);
    sy_buf_free(&args);
    return rv;
}

/* --- rolling restart --- */

struct turn
{
    char names[NODES_MAX][NAME_SIZE];
    uint64_t ids[NODES_MAX];
    unsigned n;
    uint64_t on_watch;
};

static void copy(struct ct_str s, char to[NAME_SIZE])
{
    size_t n = s.n < NAME_SIZE ? s.n : NAME_SIZE - 1;

    if (n > 0) {
        memcpy(to, s.p, n);
    }
    to[n] = '\0';
}

/* All that is told of the nodes, and whether they are all there, level, and on watch.
 * @what: what is not so. */
static bool steady(struct ct_val status, struct turn *t, char what[128])
{
    struct ct_iter it = ct_iterate(ct_get(status, "nodes"));
    struct ct_val node;

    *t = (struct turn){.on_watch = ct_uint(ct_get(status, "watch"), "node")};
    what[0] = '\0';
    if (t->on_watch == 0) {
        snprintf(what, 128, "no node is on watch");
    }
    while (ct_next(&it, &node) && t->n < NODES_MAX) {
        char *name = t->names[t->n];

        t->ids[t->n++] = ct_uint(node, "id");
        copy(ct_str(node, "name"), name);
        if (ct_str_is(ct_str(node, "raft"), "unreachable")) {
            snprintf(what, 128, "%.90s cannot be reached", name);
        } else if (ct_uint(node, "lag") > LAG_MAX) {
            snprintf(what, 128, "%.90s is catching up", name);
        }
    }
    return what[0] == '\0';
}

static uint64_t uptime_s(struct ct_val status, uint64_t id)
{
    struct ct_iter it = ct_iterate(ct_get(status, "nodes"));
    struct ct_val node;

    while (ct_next(&it, &node)) {
        if (ct_uint(node, "id") == id && ct_has(node, "uptime_s")) {
            return ct_uint(node, "uptime_s");
        }
    }
    return UINT64_MAX;
}

/* Until it runs anew and all are steady for a while. */
static bool wait_for(struct ct_client *c, const struct ct_options *opt, uint64_t id)
{
    uint64_t began = ct_now_ms();
    char what[128] = "no node answers";
    unsigned good = 0;

    while (good < STEADY_LOOKS) {
        struct ct_reply r = {.answer = CT_NONE};
        struct turn t;

        if (ct_interrupted || ct_now_ms() - began > opt->timeout_ms) {
            ct_complain(
                "rolling-restart stops here: %s. Those that are left run as "
                "before; see `vagtctl status`",
                ct_interrupted ? "interrupted" : what);
            return false;
        }
        ct_ask(c, "status", NULL, ASK_MS, &r);
        if (r.answer == CT_OK && steady(r.result, &t, what)) {
            bool anew = uptime_s(r.result, id) <= (ct_now_ms() - began) / 1000 + 1;

            good = anew ? good + 1 : 0;
            snprintf(what, sizeof what, "it has not begun anew");
        } else {
            good = 0;
        }
        ct_reply_free(&r);
        nap(LOOK_MS);
    }
    return true;
}

static int one_restart(struct ct_client *c, const struct ct_options *opt,
                       struct ct_out *o, const char *name, uint64_t id)
{
    uint64_t began = ct_now_ms();
    struct sy_buf args = {0};
    struct ct_reply r = {.answer = CT_NONE};
    int rv = CT_DONE;

    pack_restart(&args, name, opt->force);
    ct_ask(c, "restart", &args, ASK_MS, &r);
    if (r.answer != CT_OK) {
        rv = ct_fail_reply(opt, o, &r);
    } else if (!wait_for(c, opt, id)) {
        rv = CT_FAILED;
    } else if (!opt->json) {
        ct_put(o, name);
        ct_fmt(o, " runs anew, after %" PRIu64 " ms.\n", ct_now_ms() - began);
        (void)ct_out_flush(o);
    }
    ct_reply_free(&r);
    sy_buf_free(&args);
    return rv;
}

/* Those that stand by first, so that the watch changes hands once. */
static int all_in_turn(struct ct_client *c, const struct ct_options *opt,
                       struct ct_out *o, const struct turn *t)
{
    int rv = CT_DONE;

    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = t->n; i-- > 0 && rv == CT_DONE;) {
            if ((t->ids[i] == t->on_watch) == (pass == 1)) {
                rv = one_restart(c, opt, o, t->names[i], t->ids[i]);
            }
        }
    }
    return rv;
}

int ct_cmd_rolling_restart(const struct ct_options *opt)
{
    struct ct_client c;
    struct ct_reply r = {.answer = CT_NONE};
    struct ct_out o;
    struct turn t;
    char what[128];
    int rv;

    ct_catch_signals();
    ct_client_init(&c, &opt->sockets);
    ct_out_init(&o);
    ct_ask(&c, "status", NULL, ASK_MS, &r);
    if (r.answer != CT_OK) {
        rv = ct_fail_reply(opt, &o, &r);
    } else if (!steady(r.result, &t, what)) {
        ct_complain("no rolling restart now: %s; see `vagtctl status`", what);
        rv = t.on_watch == 0 ? CT_NO_LEADER : CT_FAILED;
    } else {
        rv = all_in_turn(&c, opt, &o, &t);
    }
    if (!ct_out_flush(&o)) {
        rv = CT_FAILED;
    }
    ct_reply_free(&r);
    ct_client_free(&c);
    ct_out_free(&o);
    return rv;
}

/* members: who belongs to the cluster; shown, and changed one at a time. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

enum { LOOK_MS = 300, ASK_MS = 5000 };

static void nap(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

/* --- showing --- */

static void cell_has(struct ct_table *t, struct ct_val member, uint64_t last)
{
    uint64_t has = ct_uint(member, "has");

    if (ct_str_is(ct_str(member, "member"), "removed")) {
        ct_cell(t, "-");
        return;
    }
    sy_buf_fmt(&t->text, "%" PRIu64 " of %" PRIu64, has < last ? has : last, last);
    ct_cell_end(t, CT_PLAIN);
}

static void show_change(struct ct_out *o, struct ct_val change)
{
    struct ct_str waits = ct_str(change, "waits");

    if (!ct_has(change, "node")) {
        return;
    }
    ct_fmt(o, "\nUnder way: node %" PRIu64 " to be ", ct_uint(change, "node"));
    ct_say(o, ct_str(change, "what"));
    if (waits.n > 0) {
        ct_put(o, "; ");
        ct_say(o, waits);
    }
    ct_put(o, ".\n");
}

static int view_members(struct ct_out *o, const struct ct_options *opt,
                        const struct ct_reply *r)
{
    static const struct ct_column columns[] = {
        {"ID", true, false},      {"NODE", false, true},  {"ROLE", false, false},
        {"MEMBER", false, false}, {"LINK", false, false}, {"LOG", true, false},
        {"PEER", false, false},
    };
    struct ct_iter it = ct_iterate(ct_get(r->result, "members"));
    struct ct_table t;
    struct ct_val m;

    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    ct_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    while (ct_next(&it, &m)) {
        ct_cell_uint(&t, m, "id");
        ct_cell_str(&t, ct_str(m, "name"), CT_BOLD);
        ct_cell_str(&t, ct_str(m, "role"), CT_PLAIN);
        ct_cell_str(&t, ct_bool(m, "leader") ? ct_lit("leader") : ct_str(m, "member"),
                    CT_PLAIN);
        ct_cell_str(&t, ct_lit(ct_bool(m, "linked") ? "up" : "down"),
                    ct_bool(m, "linked") ? CT_PLAIN : CT_RED);
        cell_has(&t, m, ct_uint(r->result, "last"));
        ct_cell_str(&t, ct_str(m, "peer"), CT_PLAIN);
    }
    ct_table_print(&t, o);
    ct_table_free(&t);
    show_change(o, ct_get(r->result, "change"));
    return CT_DONE;
}

/* --- changing, and waiting for it --- */

static const struct
{
    const char *name;
    int args_min, args_max;
    const char *usage;
} actions[] = {
    {"list", 0, 0, ""},        {"add", 3, 4, "ID NAME HOST:PORT [CONTROL-ENDPOINT]"},
    {"promote", 1, 1, "NODE"}, {"demote", 1, 1, "NODE"},
    {"remove", 1, 1, "NODE"},  {"replace", 1, 1, "NODE"},
    {"cancel", 0, 0, ""},
};

static bool pack(const struct ct_options *opt, const char *action, struct sy_buf *args)
{
    unsigned long id;
    char *end;

    if (strcmp(action, "cancel") == 0) {
        sy_mp_map(args, 1);
        sy_mp_kstr(args, "action", action);
        return true;
    }
    if (strcmp(action, "add") != 0) {
        sy_mp_map(args, 2);
        sy_mp_kstr(args, "action", action);
        sy_mp_kstr(args, "node", opt->args[1]);
        return true;
    }
    id = strtoul(opt->args[1], &end, 10);
    if (opt->args[1][0] < '0' || opt->args[1][0] > '9' || *end != '\0') {
        ct_complain("members add '%s': the id of a node is a number", opt->args[1]);
        return false;
    }
    sy_mp_map(args, opt->args_n > 4 ? 6 : 5);
    sy_mp_kstr(args, "action", action);
    sy_mp_kuint(args, "node", id);
    sy_mp_kstr(args, "name", opt->args[2]);
    sy_mp_kstr(args, "peer", opt->args[3]);
    sy_mp_kstr(args, "role", opt->role != NULL ? opt->role : "voter");
    if (opt->args_n > 4) {
        sy_mp_kstr(args, "control", opt->args[4]);
    }
    return true;
}

/* The sentence that the change waits for, if it is another than last time. */
static void tell(struct ct_out *o, struct ct_val change, char last[256])
{
    struct ct_str waits = ct_str(change, "waits");
    size_t n = waits.n < 255 ? waits.n : 255;

    if (n == 0 || (strlen(last) == n && memcmp(last, waits.p, n) == 0)) {
        return;
    }
    memcpy(last, waits.p, n);
    last[n] = '\0';
    ct_say(o, waits);
    ct_put(o, "\n");
    (void)ct_out_flush(o);
}

/* Until no change is under way any more. */
static int follow(struct ct_client *c, const struct ct_options *opt, struct ct_out *o)
{
    uint64_t until = ct_now_ms() + opt->timeout_ms;
    char last[256] = "";

    while (!ct_interrupted) {
        struct ct_reply r = {.answer = CT_NONE};
        struct ct_val change;

        ct_ask(c, "members_progress", NULL, ASK_MS, &r);
        if (r.answer == CT_OK) {
            change = ct_get(r.result, "change");
            if (!ct_has(change, "node")) {
                int rv = view_members(o, opt, &r);

                ct_reply_free(&r);
                return rv;
            }
            if (!opt->json) {
                tell(o, change, last);
            }
        }
        ct_reply_free(&r);
        if (ct_now_ms() >= until) {
            ct_complain("it is not done yet, and goes on: see `vagtctl members`");
            return CT_FAILED;
        }
        nap(LOOK_MS);
    }
    return CT_FAILED;
}

static int change(const struct ct_options *opt, const char *action)
{
    struct sy_buf args = {0};
    struct ct_client c;
    struct ct_reply r = {.answer = CT_NONE};
    struct ct_out o;
    int rv = CT_DONE;

    if (!pack(opt, action, &args)) {
        return CT_USAGE;
    }
    ct_catch_signals();
    ct_out_init(&o);
    ct_client_init(&c, &opt->sockets);
    ct_ask(&c, "members_change", &args, ASK_MS, &r);
    if (r.answer != CT_OK) {
        rv = ct_fail_reply(opt, &o, &r);
    } else if (opt->json && (opt->no_wait || strcmp(action, "cancel") == 0)) {
        rv = ct_print_json(&o, r.result);
    } else if (strcmp(action, "cancel") == 0) {
        ct_put(&o, "No change of the members is under way any more.\n");
    } else if (opt->no_wait) {
        ct_put(&o, "It is begun: see `vagtctl members`.\n");
    } else {
        rv = follow(&c, opt, &o);
    }
    if (!ct_out_flush(&o)) {
        rv = CT_FAILED;
    }
    ct_reply_free(&r);
    ct_client_free(&c);
    ct_out_free(&o);
    sy_buf_free(&args);
    return rv;
}

int ct_cmd_members(const struct ct_options *opt)
{
    const char *action = opt->args_n > 0 ? opt->args[0] : "list";
    int n = opt->args_n > 0 ? opt->args_n - 1 : 0;
    struct ct_options shorter = *opt;

    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        if (strcmp(actions[i].name, action) != 0) {
            continue;
        }
        if (n < actions[i].args_min || n > actions[i].args_max) {
            ct_complain("members %s: takes %s", action,
                        actions[i].args_max > 0 ? actions[i].usage : "no arguments");
            return CT_USAGE;
        }
        if (i > 0) {
            return change(opt, action);
        }
        shorter.timeout_ms = opt->timeout_ms < ASK_MS ? opt->timeout_ms : ASK_MS;
        return ct_simple(&shorter, "members", NULL, view_members);
    }
    ct_complain("members '%s': say list, add, promote, demote, remove, replace or cancel",
                action);
    return CT_USAGE;
}

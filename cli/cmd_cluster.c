/* The short commands about the cluster: handover, area, hash, why, ping, metrics. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum { HANDOVER_SLACK_MS = 2000 };

static bool whole_number(const char *text, uint64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
}

/* A node goes by number or by name. */
static void pack_node(struct sy_buf *b, const char *key, const char *node)
{
    uint64_t id;

    if (whole_number(node, &id)) {
        sy_mp_kuint(b, key, id);
    } else {
        sy_mp_kstr(b, key, node);
    }
}

static void say_node(struct ct_out *o, struct ct_val v)
{
    if (ct_is_uint(v)) {
        ct_fmt(o, "node %" PRIu64, v.m.u);
    } else {
        ct_say(o, v.m.type == SY_MP_STR ? ct_str_of(v) : ct_lit("another node"));
    }
}

static int view_handover(struct ct_out *o, const struct ct_options *opt,
                         const struct ct_reply *r)
{
    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    ct_put(o, "The watch went from ");
    say_node(o, ct_get(r->result, "from"));
    ct_put(o, " to ");
    say_node(o, ct_get(r->result, "to"));
    ct_fmt(o, " in %" PRIu64 " ms.\n", ct_uint(r->result, "took_ms"));
    return CT_DONE;
}

int ct_cmd_handover(const struct ct_options *opt)
{
    struct ct_options longer = *opt;
    const char *to = opt->args_n > 0 ? opt->args[0] : opt->to;
    struct sy_buf args = {0};
    int rv;

    if (opt->args_n > 0 && opt->to != NULL) {
        ct_complain("handover: say the node once");
        return CT_USAGE;
    }
    sy_mp_map(&args, to != NULL ? 2 : 1);
    sy_mp_kuint(&args, "timeout_ms", opt->timeout_ms);
    if (to != NULL) {
        pack_node(&args, "to", to);
    }
    longer.timeout_ms += HANDOVER_SLACK_MS; /* The node shall give up first. */
    rv = ct_simple(&longer, "handover", &args, view_handover);
    sy_buf_free(&args);
    return rv;
}

/* --- area --- */

static int view_area(struct ct_out *o, const struct ct_options *opt,
                     const struct ct_reply *r)
{
    bool off = ct_bool(r->result, "off");

    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    ct_say(o, ct_str(r->result, "area"));
    ct_fmt(o, " is %s: ", off ? "off" : "on");
    ct_count(&o->b, ct_uint(r->result, "devices"));
    ct_put(o, off ? " devices are not read and not switched, and give no alarms.\n"
                  : " devices are read and can be switched as soon as its bridge is "
                    "heard.\n");
    return CT_DONE;
}

int ct_cmd_area(const struct ct_options *opt)
{
    struct sy_buf args = {0};
    int rv;

    if (strcmp(opt->args[0], "on") != 0 && strcmp(opt->args[0], "off") != 0) {
        ct_complain("area '%s': say on or off, and which area", opt->args[0]);
        return CT_USAGE;
    }
    sy_mp_map(&args, 2);
    sy_mp_kstr(&args, "to", opt->args[0]);
    sy_mp_kstr(&args, "area", opt->args[1]);
    rv = ct_simple(opt, "area", &args, view_area);
    sy_buf_free(&args);
    return rv;
}

/* --- hash --- */

static int view_hash(struct ct_out *o, const struct ct_options *opt,
                     const struct ct_reply *r)
{
    static const struct ct_column columns[] = {
        {"ID", true, false},
        {"NODE", false, true},
        {"INDEX", true, false},
        {"HASH", false, false},
        {"HASH AT THE SAME INDEX", false, false},
    };
    struct ct_iter it = ct_iterate(ct_get(r->result, "nodes"));
    bool equal = ct_bool(r->result, "equal");
    struct ct_table t;
    struct ct_val n;

    if (opt->json) {
        int rv = ct_print_json(o, r->result);

        return rv == CT_DONE && !equal ? CT_FAILED : rv;
    }
    ct_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    while (ct_next(&it, &n)) {
        ct_cell_uint(&t, n, "id");
        ct_cell_str(&t, ct_str(n, "name"), CT_BOLD);
        ct_cell_uint(&t, n, "index");
        ct_cell_str(&t, ct_str(n, "hash"), CT_PLAIN);
        ct_cell_str(&t, ct_str(n, "hash_at_index"), CT_PLAIN);
    }
    ct_table_print(&t, o);
    ct_table_free(&t);
    ct_put(o, "\n");
    if (equal) {
        ct_put(o, "The states are equal.\n");
        return CT_DONE;
    }
    ct_sentence(o, "DIFFERENT ", CT_RED,
                ct_lit("The states are not equal, or not known to be: see `vagtctl why`; "
                       "a node that diverged must be seeded anew."));
    return CT_FAILED;
}

int ct_cmd_hash(const struct ct_options *opt)
{
    struct sy_buf args = {0};
    uint64_t index = 0;
    int rv;

    if (opt->args_n > 0 && !whole_number(opt->args[0], &index)) {
        ct_complain("hash: '%s' is no log index (a number)", opt->args[0]);
        return CT_USAGE;
    }
    sy_mp_map(&args, (uint32_t)opt->args_n);
    if (opt->args_n > 0) {
        sy_mp_kuint(&args, "index", index);
    }
    rv = ct_simple(opt, "hash", &args, view_hash);
    sy_buf_free(&args);
    return rv;
}

/* --- why --- */

static int view_why(struct ct_out *o, const struct ct_options *opt,
                    const struct ct_reply *r)
{
    struct ct_iter it = ct_iterate(ct_get(r->result, "sentences"));
    struct ct_val s;

    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    if (it.left == 0) {
        ct_put(o, "The node has nothing to say.\n");
    }
    while (ct_next(&it, &s)) {
        if (s.m.type == SY_MP_STR) {
            ct_sentence(o, "- ", CT_PLAIN, ct_str_of(s));
        }
    }
    return CT_DONE;
}

int ct_cmd_why(const struct ct_options *opt)
{
    struct sy_buf args = {0};
    int rv;

    sy_mp_map(&args, (uint32_t)opt->args_n);
    if (opt->args_n > 0) {
        pack_node(&args, "node", opt->args[0]);
    }
    rv = ct_simple(opt, "why", &args, view_why);
    sy_buf_free(&args);
    return rv;
}

/* --- ping, metrics --- */

static int view_ping(struct ct_out *o, const struct ct_options *opt,
                     const struct ct_reply *r)
{
    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    ct_fmt(o, "Node %" PRIu64 " (", ct_uint(r->result, "node"));
    ct_say(o, ct_str(r->result, "name"));
    ct_put(o, "), vagtd ");
    ct_say(o, ct_str(r->result, "version"));
    ct_fmt(o, ", answered in %u ms.\n", r->took_ms);
    return CT_DONE;
}

int ct_cmd_ping(const struct ct_options *opt)
{
    return ct_simple(opt, "ping", NULL, view_ping);
}

static int view_metrics(struct ct_out *o, const struct ct_options *opt,
                        const struct ct_reply *r)
{
    struct ct_iter it = ct_iterate_map(r->result);
    struct ct_val key;
    struct ct_val value;

    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    while (ct_next_pair(&it, &key, &value)) {
        struct sy_cur c = value.start;

        ct_say(o, ct_str_of(key));
        ct_put(o, " ");
        if (sy_json_from_mp(&o->b, &c) != 0) {
            ct_put(o, "?");
        }
        ct_put(o, "\n");
    }
    return CT_DONE;
}

int ct_cmd_metrics(const struct ct_options *opt)
{
    return ct_simple(opt, "metrics", NULL, view_metrics);
}

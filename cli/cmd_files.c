/* files: versions of what moves with the watch; what differs; back to an old one. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mp.h"
#include "cli/cli.h"

static void cell_age(struct ct_table *t, struct ct_val now, struct ct_val map)
{
    uint64_t to = ct_uint(now, "now_ms"), at = ct_uint(map, "at_ms");

    ct_age(&t->text, to > at ? to - at : 0);
    ct_cell_end(t, CT_PLAIN);
}

static void cell_size(struct ct_table *t, struct ct_val map)
{
    ct_size(&t->text, ct_uint(map, "bytes"));
    ct_cell_end(t, CT_PLAIN);
}

/* Names with commas between them. */
static void put_names(struct sy_buf *b, struct ct_val list)
{
    struct ct_iter it = ct_iterate(list);
    struct ct_val name;
    bool first = true;

    while (ct_next(&it, &name)) {
        sy_buf_str(b, first ? "" : ", ");
        ct_escape(b, ct_str_of(name));
        first = false;
    }
}

bool ct_show_sets(struct ct_out *o, struct ct_val with, struct ct_val sets)
{
    static const struct ct_column columns[] = {
        {"FILES OF", false, true},    {"VERSION", true, false}, {"AGE", true, false},
        {"BY", false, false},         {"FILES", true, false},   {"SIZE", true, false},
        {"ALL OF IT ON", false, true}};
    struct ct_iter it = ct_iterate(sets);
    struct ct_table t;
    struct ct_val set;

    if (it.left == 0) {
        return false;
    }
    ct_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    while (ct_next(&it, &set)) {
        ct_cell_str(&t, ct_str(set, "set"), CT_BOLD);
        ct_cell_uint(&t, set, "version");
        if (ct_has(set, "version")) {
            cell_age(&t, with, set);
            ct_cell_str(&t, ct_str(set, "by"), CT_PLAIN);
            ct_cell_uint(&t, set, "files");
            cell_size(&t, set);
        } else {
            for (unsigned i = 0; i < 4; i++) {
                ct_cell(&t, "-");
            }
        }
        put_names(&t.text, ct_get(set, "on"));
        if (ct_str_is(ct_str(set, "dir"), "")) {
            sy_buf_str(&t.text, "(of no folder any more)");
        }
        ct_cell_end(&t, CT_PLAIN);
    }
    ct_table_print(&t, o);
    ct_table_free(&t);
    return true;
}

static int view_list(struct ct_out *o, const struct ct_options *opt,
                     const struct ct_reply *r)
{
    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    if (!ct_show_sets(o, r->result, ct_get(r->result, "sets"))) {
        ct_put(o,
               "no folder moves with the watch: see areas[].bridge and files in "
               "vagt.yaml(5)\n");
    }
    return CT_DONE;
}

/* --- history --- */

static void put_changes(struct sy_buf *b, struct ct_val version)
{
    uint64_t all = ct_uint(version, "changed");
    struct ct_iter it = ct_iterate(ct_get(version, "changes"));
    struct ct_val change;
    uint64_t shown = 0;

    if (ct_uint(version, "from") > 0) {
        sy_buf_fmt(b, "as %" PRIu64 " was: ", ct_uint(version, "from"));
    }
    for (; ct_next(&it, &change); shown++) {
        struct ct_str what = ct_str(change, "what");

        sy_buf_str(b, shown > 0 ? ", " : "");
        sy_buf_str(b, ct_str_is(what, "added")     ? "+"
                      : ct_str_is(what, "removed") ? "-"
                                                   : "");
        ct_escape(b, ct_str(change, "path"));
    }
    if (all > shown) {
        sy_buf_fmt(b, " and %" PRIu64 " more", all - shown);
    }
}

static int view_history(struct ct_out *o, const struct ct_options *opt,
                        const struct ct_reply *r)
{
    static const struct ct_column columns[] = {
        {"VERSION", true, false}, {"AGE", true, false},  {"BY", false, false},
        {"FILES", true, false},   {"SIZE", true, false}, {"HERE", false, false},
        {"CHANGED", false, true}};
    struct ct_iter it = ct_iterate(ct_get(r->result, "versions"));
    struct ct_val version;
    struct ct_table t;

    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    ct_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    while (ct_next(&it, &version)) {
        bool here = ct_uint(version, "missing") == 0;

        ct_cell_uint(&t, version, "version");
        cell_age(&t, r->result, version);
        ct_cell_str(&t, ct_str(version, "by"), CT_PLAIN);
        ct_cell_uint(&t, version, "files");
        cell_size(&t, version);
        ct_cell_str(&t, ct_lit(here ? "all" : "not all"), here ? CT_PLAIN : CT_YELLOW);
        put_changes(&t.text, version);
        ct_cell_end(&t, CT_PLAIN);
    }
    ct_table_print(&t, o);
    ct_table_free(&t);
    return CT_DONE;
}

/* --- diff --- */

static void put_text(struct ct_out *o, struct ct_str text)
{
    for (size_t at = 0; at < text.n;) {
        const char *end = memchr(text.p + at, '\n', text.n - at);
        size_t len = end != NULL ? (size_t)(end - text.p) - at : text.n - at;
        char first = len > 0 ? text.p[at] : ' ';

        ct_colour(o, first == '+'   ? CT_GREEN
                     : first == '-' ? CT_RED
                     : first == '@' ? CT_DIM
                                    : CT_PLAIN);
        ct_say(o, (struct ct_str){text.p + at, len});
        ct_colour(o, CT_PLAIN);
        ct_put(o, "\n");
        at += len + 1;
    }
}

static void show_file(struct ct_out *o, struct ct_val file)
{
    static const struct
    {
        const char *how, *text;
    } notes[] = {
        {"secret", "differs; it holds secrets and is not shown"},
        {"binary", "differs; it is no text"},
        {"absent", "differs; its contents are not on this node"},
        {"large", "differs; too much differs to show all of it"},
    };

    ct_colour(o, CT_BOLD);
    ct_say(o, ct_str(file, "path"));
    ct_colour(o, CT_PLAIN);
    ct_put(o, ": ");
    ct_say(o, ct_str(file, "what"));
    if (ct_has(file, "bytes_before") && ct_is_uint(ct_get(file, "bytes_before"))) {
        ct_put(o, ", ");
        ct_size(&o->b, ct_uint(file, "bytes_before"));
    }
    if (ct_is_uint(ct_get(file, "bytes_after"))) {
        ct_put(o, ct_is_uint(ct_get(file, "bytes_before")) ? " → " : ", ");
        ct_size(&o->b, ct_uint(file, "bytes_after"));
    }
    if (ct_has(file, "mode_after")) {
        ct_fmt(o, ", mode %03o → %03o", (unsigned)ct_uint(file, "mode_before") & 0777U,
               (unsigned)ct_uint(file, "mode_after") & 0777U);
    }
    ct_put(o, "\n");
    for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
        if (ct_str_is(ct_str(file, "how"), notes[i].how)) {
            ct_fmt(o, "  %s\n", notes[i].text);
        }
    }
    put_text(o, ct_str(file, "text"));
}

static int view_diff(struct ct_out *o, const struct ct_options *opt,
                     const struct ct_reply *r)
{
    struct ct_iter it = ct_iterate(ct_get(r->result, "files"));
    struct ct_val file;

    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    ct_say(o, ct_str(r->result, "set"));
    ct_fmt(o, ", version %" PRIu64 " → %" PRIu64 "%s\n", ct_uint(r->result, "before"),
           ct_uint(r->result, "after"), it.left == 0 ? ": equal" : "");
    while (ct_next(&it, &file)) {
        show_file(o, file);
    }
    return CT_DONE;
}

/* --- rollback, forget --- */

static int view_rollback(struct ct_out *o, const struct ct_options *opt,
                         const struct ct_reply *r)
{
    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    ct_say(o, ct_str(r->result, "set"));
    ct_fmt(o, ": version %" PRIu64 " is what version %" PRIu64 " was; ",
           ct_uint(r->result, "version"), ct_uint(r->result, "from"));
    ct_put(o, ct_bool(r->result, "restarts")
                  ? "the bridge\nbegins anew with it, what its folder holds now is moved "
                    "aside\n"
              : ct_bool(r->result, "folder")
                  ? "it is laid out now\n"
                  : "no folder of the configuration is called so\n");
    return CT_DONE;
}

static int view_forget(struct ct_out *o, const struct ct_options *opt,
                       const struct ct_reply *r)
{
    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    ct_say(o, ct_str(r->result, "set"));
    ct_put(o, ": its versions are no more\n");
    return CT_DONE;
}

/* --- the command --- */

static const struct
{
    const char *name;
    int min, max; /* arguments behind it */
    const char *usage, *op;
    const char *numbers[2]; /* what the second and third are called */
    ct_view view;
} actions[] = {
    {"list", 0, 0, "", "files", {NULL, NULL}, view_list},
    {"history", 1, 1, "SET", "files", {NULL, NULL}, view_history},
    {"diff",
     1,
     3,
     "SET [VERSION [VERSION]]",
     "files_diff",
     {"before", "after"},
     view_diff},
    {"rollback", 2, 2, "SET VERSION", "files_rollback", {"version", NULL}, view_rollback},
    {"forget", 1, 1, "SET", "files_forget", {NULL, NULL}, view_forget},
};

enum { ACTIONS = sizeof actions / sizeof actions[0] };

static bool number_of(const char *text, uint64_t *ret)
{
    char *end;

    *ret = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || *ret == 0) {
        ct_complain("files: '%s' is no number of a version: see vagtctl files history",
                    text);
        return false;
    }
    return true;
}

int ct_cmd_files(const struct ct_options *opt)
{
    const char *name = opt->args_n > 0 ? opt->args[0] : "list";
    int given = opt->args_n > 0 ? opt->args_n - 1 : 0, rv;
    struct sy_buf args = {0};
    size_t i = 0;

    while (i < ACTIONS && strcmp(actions[i].name, name) != 0) {
        i++;
    }
    if (i == ACTIONS) {
        ct_complain("files '%s': say list, history, diff, rollback or forget", name);
        return CT_USAGE;
    }
    if (given < actions[i].min || given > actions[i].max) {
        ct_complain("usage: vagtctl files %s %s", name, actions[i].usage);
        return CT_USAGE;
    }
    sy_mp_map(&args, (uint32_t)given);
    if (given > 0) {
        sy_mp_kstr(&args, "set", opt->args[1]);
    }
    for (int k = 0; k + 1 < given; k++) {
        uint64_t nr;

        if (!number_of(opt->args[k + 2], &nr)) {
            sy_buf_free(&args);
            return CT_USAGE;
        }
        sy_mp_kuint(&args, actions[i].numbers[k], nr);
    }
    rv = ct_simple(opt, actions[i].op, &args, actions[i].view);
    sy_buf_free(&args);
    return rv;
}

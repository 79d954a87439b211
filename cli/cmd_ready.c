/* ready: could the watch be relieved right now, and what stands in the way? */

#include "cli/cli.h"

static void show_rows(struct ct_out *o, struct ct_val rows)
{
    static const struct ct_column columns[] = {
        {"", false, false}, {"CONDITION", false, false}, {"VALUE", false, false}};
    struct ct_iter it = ct_iterate(rows);
    struct ct_table t;
    struct ct_val row;

    if (it.left == 0) {
        return;
    }
    ct_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    while (ct_next(&it, &row)) {
        bool known = ct_get(row, "ok").m.type == SY_MP_BOOL;
        bool good = ct_bool(row, "ok");
        struct ct_str about = ct_str(row, "about");

        ct_cell_str(&t,
                    ct_lit(!known ? "-"
                           : good ? "ok"
                                  : "NO"),
                    !known ? CT_DIM
                    : good ? CT_GREEN
                           : CT_RED);
        ct_escape(&t.text, ct_str(row, "what"));
        if (about.n > 0) {
            sy_buf_u8(&t.text, ' ');
            ct_escape(&t.text, about);
        }
        ct_cell_end(&t, CT_PLAIN);
        ct_cell_str(&t, ct_str(row, "text"), CT_PLAIN);
    }
    ct_table_print(&t, o);
    ct_table_free(&t);
}

static int view_ready(struct ct_out *o, const struct ct_options *opt,
                      const struct ct_reply *r)
{
    bool ready = ct_bool(r->result, "ready");
    struct ct_iter it = ct_iterate(ct_get(r->result, "nodes"));
    struct ct_val node;

    if (opt->json) {
        int rv = ct_print_json(o, r->result);

        return rv == CT_DONE && !ready ? CT_FAILED : rv;
    }
    ct_sentence(o, ready ? "READY " : "NOT READY ", ready ? CT_GREEN : CT_RED,
                ct_str(r->result, "text"));
    if (ct_iterate(ct_get(r->result, "site")).left > 0) {
        ct_put(o, "\n");
        show_rows(o, ct_get(r->result, "site"));
    }
    while (ct_next(&it, &node)) {
        ct_put(o, "\n");
        ct_say(o, ct_str(node, "name"));
        ct_put(o, ct_bool(node, "ok") ? ": could take the watch"
                                      : ": could not take the watch");
        if (ct_iterate(ct_get(node, "rows")).left == 0) {
            ct_put(o, ": ");
            ct_say(o, ct_str(node, "text"));
        }
        ct_put(o, "\n");
        show_rows(o, ct_get(node, "rows"));
    }
    return ready ? CT_DONE : CT_FAILED;
}

int ct_cmd_ready(const struct ct_options *opt)
{
    return ct_simple(opt, "ready", NULL, view_ready);
}

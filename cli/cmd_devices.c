#include <inttypes.h>

#include "cli/cli.h"

enum {
    PAGE = 500,
    /* More than any cluster may hold; a node that says "next" for ever is mad. */
    PAGES_MAX = 10000
};

static const struct ct_column columns[] = {
    {"DEVICE", false, true}, {"AREA", false, true},   {"STATE", false, false},
    {"POWER", true, false},  {"ENERGY", true, false}, {"REACHABLE", false, false},
    {"SEEN", true, false},
};

struct listing
{
    struct ct_table table;
    struct sy_json json;
    uint64_t now_ms;
    uint64_t total;
    uint64_t online;
};

static enum ct_colour state_colour(struct ct_str s)
{
    if (ct_str_is(s, "on") || ct_str_is(s, "online")) {
        return CT_GREEN;
    }
    return ct_str_is(s, "offline") ? CT_RED : CT_PLAIN;
}

static void cell_seen(struct listing *l, uint64_t at_ms)
{
    /* A clock that is a little behind the node's must not show centuries. */
    if (at_ms == 0 || at_ms >= l->now_ms) {
        ct_cell(&l->table, at_ms == 0 ? "never" : "now");
        return;
    }
    ct_age(&l->table.text, l->now_ms - at_ms);
    sy_buf_str(&l->table.text, " ago");
    ct_cell_end(&l->table, CT_PLAIN);
}

static void add_device(struct listing *l, struct ct_val d)
{
    struct ct_str name = ct_str(d, "name");
    struct ct_str state = ct_str(d, "state");
    struct ct_str avail = ct_str(d, "availability");

    ct_cell_str(&l->table, name.n > 0 ? name : ct_str(d, "ieee"), CT_BOLD);
    ct_cell_str(&l->table, ct_str(d, "area"), CT_PLAIN);
    ct_cell_str(&l->table, state, state_colour(state));
    ct_milli(&l->table.text, d, "power_mw", "W");
    ct_cell_end(&l->table, CT_PLAIN);
    if (ct_is_uint(ct_get(d, "energy_mwh"))) {
        sy_buf_fmt(&l->table.text, "%.2f kWh", (double)ct_uint(d, "energy_mwh") / 1e6);
    } else {
        sy_buf_str(&l->table.text, "-");
    }
    ct_cell_end(&l->table, CT_PLAIN);
    ct_cell_str(&l->table, avail, state_colour(avail));
    cell_seen(l, ct_uint(d, "last_seen_ms"));
    l->total++;
    l->online += ct_str_is(avail, "online");
}

static void add_page(struct listing *l, const struct ct_options *opt, struct ct_val page)
{
    struct ct_iter it = ct_iterate(ct_get(page, "devices"));
    struct ct_val d;

    while (ct_next(&it, &d)) {
        struct sy_cur c = d.start;

        if (!opt->json) {
            add_device(l, d);
        } else if (sy_json_mp(&l->json, &c) != 0) {
            ct_complain("a device cannot be said in JSON; it is left out");
        }
    }
}

static void pack_args(struct sy_buf *b, const struct ct_options *opt, uint64_t after)
{
    b->len = 0;
    sy_mp_map(b, 1U + (opt->area != NULL) + (opt->name != NULL) + (after > 0));
    sy_mp_kuint(b, "limit", PAGE);
    if (opt->area != NULL) {
        sy_mp_kstr(b, "area", opt->area);
    }
    if (opt->name != NULL) {
        sy_mp_kstr(b, "name", opt->name);
    }
    if (after > 0) {
        sy_mp_kuint(b, "after", after);
    }
}

static int fetch(const struct ct_options *opt, struct ct_client *c, struct ct_out *o,
                 struct listing *l)
{
    struct ct_reply r = {0};
    struct sy_buf args = {0};
    uint64_t after = 0;
    bool stuck = false;
    int rv = CT_DONE;

    for (unsigned i = 0; !stuck; i++) {
        uint64_t next;

        pack_args(&args, opt, after);
        ct_ask(c, "devices", &args, opt->timeout_ms, &r);
        if (r.answer != CT_OK) {
            o->b.len = 0; /* Half a JSON text helps nobody. */
            rv = ct_fail_reply(opt, o, &r);
            break;
        }
        add_page(l, opt, r.result);
        next = ct_uint(r.result, "next");
        if (next == 0) {
            break;
        }
        stuck = next == after || i == PAGES_MAX;
        after = next;
    }
    if (stuck) {
        o->b.len = 0;
        ct_complain("the node never comes to the end of its devices");
        rv = CT_FAILED;
    }
    ct_reply_free(&r);
    sy_buf_free(&args);
    return rv;
}

static void show(struct ct_out *o, struct listing *l)
{
    if (l->total == 0) {
        ct_put(o, "No devices.\n");
        return;
    }
    ct_table_print(&l->table, o);
    ct_fmt(o, "\n%" PRIu64 " device%s, %" PRIu64 " online\n", l->total,
           l->total == 1 ? "" : "s", l->online);
}

int ct_cmd_devices(const struct ct_options *opt)
{
    struct listing l = {.now_ms = ct_wall_ms()};
    struct ct_client c;
    struct ct_out o;
    int rv;

    ct_client_init(&c, &opt->sockets);
    ct_out_init(&o);
    ct_table_init(&l.table, columns, sizeof columns / sizeof columns[0]);
    if (opt->json) {
        sy_json_init(&l.json, &o.b);
        sy_json_object(&l.json);
        sy_json_key(&l.json, "devices");
        sy_json_array(&l.json);
    }
    rv = fetch(opt, &c, &o, &l);
    if (rv == CT_DONE && opt->json) {
        sy_json_array_end(&l.json);
        sy_json_kuint(&l.json, "next", 0);
        sy_json_object_end(&l.json);
        sy_json_finish(&l.json);
        ct_put(&o, "\n");
    } else if (rv == CT_DONE) {
        show(&o, &l);
    }
    if (!ct_out_flush(&o)) {
        rv = CT_FAILED;
    }
    ct_table_free(&l.table);
    ct_client_free(&c);
    ct_out_free(&o);
    return rv;
}

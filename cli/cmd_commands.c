#include <inttypes.h>
#include <time.h>

#include "cli/cli.h"

enum { COLUMNS = 8, COLUMNS_WIDE = 9, WIDE = 120 };

static enum ct_colour status_colour(struct ct_str s)
{
    if (ct_str_is(s, "confirmed")) {
        return CT_GREEN;
    }
    if (ct_str_is(s, "failed") || ct_str_is(s, "expired")) {
        return CT_RED;
    }
    return ct_str_is(s, "accepted") || ct_str_is(s, "sent") ? CT_YELLOW : CT_PLAIN;
}

static struct ct_str device_of(struct ct_val c)
{
    struct ct_str name = ct_str(c, "name");

    return name.n > 0 ? name : ct_str(c, "device");
}

static void cell_since(struct ct_table *t, uint64_t from_ms, uint64_t to_ms)
{
    if (from_ms == 0 || to_ms == 0) {
        ct_cell(t, "-");
        return;
    }
    ct_age(&t->text, to_ms > from_ms ? to_ms - from_ms : 0);
    ct_cell_end(t, CT_PLAIN);
}

static int view_commands(struct ct_out *o, const struct ct_options *opt,
                         const struct ct_reply *r)
{
    static const struct ct_column columns[COLUMNS_WIDE] = {
        {"AGE", true, false},  {"STATUS", false, false}, {"DEVICE", false, true},
        {"AREA", false, true}, {"WHAT", false, true},    {"TRIES", true, false},
        {"TOOK", true, false}, {"ID", false, false},     {"REASON", false, true},
    };
    struct ct_iter it = ct_iterate(ct_get(r->result, "commands"));
    bool wide = o->width == 0 || o->width >= WIDE;
    uint64_t now = ct_wall_ms();
    struct ct_table t;
    struct ct_val c;

    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    if (it.left == 0) {
        ct_put(o, opt->open ? "No open commands.\n" : "No commands.\n");
        return CT_DONE;
    }
    ct_table_init(&t, columns, wide ? COLUMNS_WIDE : COLUMNS);
    while (ct_next(&it, &c)) {
        struct ct_str status = ct_str(c, "status");

        cell_since(&t, ct_uint(c, "accepted_ms"), now);
        ct_cell_str(&t, status, status_colour(status));
        ct_cell_str(&t, device_of(c), CT_BOLD);
        ct_cell_str(&t, ct_str(c, "area"), CT_PLAIN);
        ct_escape(&t.text, ct_str(c, "property"));
        sy_buf_str(&t.text, "=");
        ct_escape(&t.text, ct_str(c, "value"));
        ct_cell_end(&t, CT_PLAIN);
        ct_cell_uint(&t, c, "attempts");
        cell_since(&t, ct_uint(c, "accepted_ms"), ct_uint(c, "ended_ms"));
        ct_cell_str(&t, ct_str(c, "id"), CT_PLAIN);
        if (wide) {
            ct_cell_str(&t, ct_str(c, "reason"), CT_PLAIN);
        }
    }
    ct_table_print(&t, o);
    ct_table_free(&t);
    return CT_DONE;
}

int ct_cmd_commands(const struct ct_options *opt)
{
    struct sy_buf args = {0};
    int rv;

    sy_mp_map(&args, (opt->open ? 1U : 0U) + (opt->limit > 0 ? 1U : 0U));
    if (opt->open) {
        sy_mp_kbool(&args, "open", true);
    }
    if (opt->limit > 0) {
        sy_mp_kuint(&args, "limit", opt->limit);
    }
    rv = ct_simple(opt, "commands", &args, view_commands);
    sy_buf_free(&args);
    return rv;
}

/* --- one --- */

void ct_line_time(struct ct_out *o, const char *label, uint64_t at_ms)
{
    time_t at = (time_t)(at_ms / 1000);
    uint64_t now = ct_wall_ms();
    struct tm tm;
    char text[32];

    if (at_ms == 0 || localtime_r(&at, &tm) == NULL ||
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm) == 0) {
        return;
    }
    ct_fmt(o, "%-9s %s.%03u, ", label, text, (unsigned)(at_ms % 1000));
    if (at_ms <= now) {
        ct_age(&o->b, now - at_ms);
        ct_put(o, " ago\n");
    } else {
        ct_put(o, "in ");
        ct_age(&o->b, at_ms - now);
        ct_put(o, "\n");
    }
}

static void line_str(struct ct_out *o, const char *label, struct ct_str s)
{
    if (s.n > 0) {
        ct_fmt(o, "%-9s ", label);
        ct_say(o, s);
        ct_put(o, "\n");
    }
}

void ct_show_command(struct ct_out *o, struct ct_val c)
{
    struct ct_str status = ct_str(c, "status");
    uint64_t ended_ms = ct_uint(c, "ended_ms");

    line_str(o, "id", ct_str(c, "id"));
    ct_fmt(o, "%-9s ", "device");
    ct_say(o, device_of(c));
    ct_put(o, " (");
    ct_say(o, ct_str(c, "device"));
    ct_put(o, ") in ");
    ct_say(o, ct_str(c, "area"));
    ct_fmt(o, "\n%-9s ", "what");
    ct_say(o, ct_str(c, "property"));
    ct_put(o, "=");
    ct_say(o, ct_str(c, "value"));
    ct_put(o, ", asked by ");
    ct_say(o, ct_str(c, "source"));
    ct_fmt(o, "\n%-9s ", "status");
    ct_colour(o, status_colour(status));
    ct_say(o, status.n > 0 ? status : ct_lit("-"));
    ct_colour(o, CT_PLAIN);
    ct_fmt(o, " after %" PRIu64 " attempt%s\n", ct_uint(c, "attempts"),
           ct_uint(c, "attempts") == 1 ? "" : "s");
    if (ct_str(c, "reason").n > 0) {
        ct_sentence(o, "reason    ", CT_PLAIN, ct_str(c, "reason"));
    }
    ct_line_time(o, "accepted", ct_uint(c, "accepted_ms"));
    ct_line_time(o, "sent", ct_uint(c, "sent_ms"));
    if (ended_ms > 0) {
        ct_line_time(o, "ended", ended_ms);
    } else {
        ct_line_time(o, "deadline", ct_uint(c, "deadline_ms"));
    }
}

static int view_command(struct ct_out *o, const struct ct_options *opt,
                        const struct ct_reply *r)
{
    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    if (ct_get(r->result, "command").m.type != SY_MP_MAP) {
        ct_complain("the node's answer holds no command");
        return CT_FAILED;
    }
    ct_show_command(o, ct_get(r->result, "command"));
    return CT_DONE;
}

static int by_id(const struct ct_options *opt, const char *op)
{
    struct sy_buf args = {0};
    int rv;

    sy_mp_map(&args, 1);
    sy_mp_kstr(&args, "id", opt->args[0]);
    rv = ct_simple(opt, op, &args, view_command);
    sy_buf_free(&args);
    return rv;
}

int ct_cmd_command(const struct ct_options *opt)
{
    return by_id(opt, "command");
}

int ct_cmd_cancel(const struct ct_options *opt)
{
    return by_id(opt, "cancel");
}

/* One node's answer to `status` as text: the nodes, their logs, the site, and at the
 * end, where the eye is after scrolling, what is wrong. */

#include <inttypes.h>

#include "cli/cli.h"

enum {
    /* A part of the answer that is older than this says so. */
    OLD_MS = 3000,
    /* A node that was not heard of for so long is marked. */
    SILENT_MS = 5000,
    /* Entries; more is marked. */
    LAG_MAX = 1000,
    OUTBOX_FULL_PERCENT = 50
};

int ct_status_health(struct ct_val status)
{
    struct ct_str health = ct_str(status, "health");

    if (ct_str_is(health, "healthy")) {
        return CT_HEALTHY;
    }
    return ct_str_is(health, "no_watch") ? CT_NO_WATCH : CT_DEGRADED;
}

static enum ct_colour colour_of(struct ct_str s)
{
    static const struct
    {
        const char *word;
        enum ct_colour colour;
    } words[] = {
        {"active", CT_GREEN},      {"online", CT_GREEN},    {"up", CT_GREEN},
        {"ramping", CT_YELLOW},    {"draining", CT_YELLOW}, {"candidate", CT_YELLOW},
        {"connecting", CT_YELLOW}, {"unknown", CT_YELLOW},  {"unreachable", CT_RED},
        {"offline", CT_RED},       {"down", CT_RED},
    };

    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (ct_str_is(s, words[i].word)) {
            return words[i].colour;
        }
    }
    return CT_PLAIN;
}

static void cell_word(struct ct_table *t, struct ct_val map, const char *key)
{
    struct ct_str s = ct_str(map, key);

    ct_cell_str(t, s, colour_of(s));
}

static void title(struct ct_out *o, const char *text)
{
    ct_colour(o, CT_BOLD);
    ct_put(o, text);
    ct_colour(o, CT_PLAIN);
}

/* --- nodes --- */

static void cell_contact(struct ct_table *t, struct ct_val node, uint64_t self)
{
    uint64_t ms = ct_uint(node, "contact_ms");

    if (ct_has(node, "id") && ct_uint(node, "id") == self) {
        ct_cell(t, "answers");
    } else if (!ct_is_uint(ct_get(node, "contact_ms"))) {
        ct_cell_str(t, ct_lit("never"), CT_RED);
    } else {
        ct_age(&t->text, ms);
        ct_cell_end(t, ms > SILENT_MS ? CT_RED : CT_PLAIN);
    }
}

static void cell_duration_s(struct ct_table *t, struct ct_val map, const char *key)
{
    if (ct_has(map, key)) {
        ct_age(&t->text, ct_uint(map, key) > UINT64_MAX / 1000
                             ? UINT64_MAX
                             : ct_uint(map, key) * 1000);
    } else {
        sy_buf_str(&t->text, "-");
    }
    ct_cell_end(t, CT_PLAIN);
}

/* 0 is "not known": no disk is that full, and a log holds at least its header. */
static void cell_size(struct ct_table *t, struct ct_val map, const char *key)
{
    if (ct_uint(map, key) > 0) {
        ct_size(&t->text, ct_uint(map, key));
    } else {
        sy_buf_str(&t->text, "-");
    }
    ct_cell_end(t, CT_PLAIN);
}

static void show_nodes(struct ct_out *o, struct ct_val status)
{
    static const struct ct_column columns[] = {
        {"ID", true, false},     {"NODE", false, true},      {"ROLE", false, false},
        {"RAFT", false, false},  {"WATCH", false, false},    {"CONTACT", true, false},
        {"UPTIME", true, false}, {"DISK FREE", true, false},
    };
    struct ct_iter it = ct_iterate(ct_get(status, "nodes"));
    struct ct_table t;
    struct ct_val n;

    ct_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    while (ct_next(&it, &n)) {
        ct_cell_uint(&t, n, "id");
        ct_cell_str(&t, ct_str(n, "name"), CT_BOLD);
        cell_word(&t, n, "role");
        cell_word(&t, n, "raft");
        cell_word(&t, n, "watch");
        cell_contact(&t, n, ct_uint(status, "node"));
        cell_duration_s(&t, n, "uptime_s");
        cell_size(&t, n, "disk_free_bytes");
    }
    ct_table_print(&t, o);
    ct_table_free(&t);
}

static void cell_lag(struct ct_table *t, struct ct_val node)
{
    if (!ct_is_uint(ct_get(node, "lag"))) {
        ct_cell(t, "-");
        return;
    }
    sy_buf_fmt(&t->text, "%" PRIu64, ct_uint(node, "lag"));
    ct_cell_end(t, ct_uint(node, "lag") > LAG_MAX ? CT_YELLOW : CT_PLAIN);
}

static void show_logs(struct ct_out *o, struct ct_val status)
{
    static const struct ct_column columns[] = {
        {"ID", true, false},   {"NODE", false, true},      {"TERM", true, false},
        {"LAST", true, false}, {"COMMITTED", true, false}, {"APPLIED", true, false},
        {"LAG", true, false},  {"LOG", true, false},       {"VERSION", false, true},
    };
    struct ct_iter it = ct_iterate(ct_get(status, "nodes"));
    struct ct_table t;
    struct ct_val n;

    ct_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    while (ct_next(&it, &n)) {
        ct_cell_uint(&t, n, "id");
        ct_cell_str(&t, ct_str(n, "name"), CT_BOLD);
        ct_cell_uint(&t, n, "term");
        ct_cell_uint(&t, n, "last");
        ct_cell_uint(&t, n, "committed");
        ct_cell_uint(&t, n, "applied");
        cell_lag(&t, n);
        cell_size(&t, n, "log_bytes");
        ct_cell_str(&t, ct_str(n, "version"), CT_PLAIN);
    }
    ct_table_print(&t, o);
    ct_table_free(&t);
}

/* --- site --- */

static void show_areas(struct ct_out *o, struct ct_val site)
{
    static const struct ct_column columns[] = {
        {"AREA", false, true},   {"BRIDGE", false, false}, {"READY", false, false},
        {"ONLINE", true, false}, {"BROKER", false, true},  {"TOPIC", false, true},
        {"SOURCE", false, true},
    };
    struct ct_iter it = ct_iterate(ct_get(site, "areas"));
    struct ct_table t;
    struct ct_val a;

    if (it.left == 0) {
        ct_put(o, "No areas are configured.\n");
        return;
    }
    ct_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    while (ct_next(&it, &a)) {
        bool off = ct_has(a, "enabled") && !ct_bool(a, "enabled");

        ct_cell_str(&t, ct_str(a, "name"), CT_BOLD);
        if (off) {
            ct_cell_str(&t, ct_lit("disabled"), CT_DIM);
        } else if (ct_uint(a, "paused_ms") > 0) {
            ct_cell_str(&t, ct_lit("paused"), CT_RED);
        } else {
            cell_word(&t, a, "bridge");
        }
        ct_cell_str(&t,
                    ct_lit(off                   ? "-"
                           : ct_bool(a, "ready") ? "yes"
                                                 : "no"),
                    off || ct_bool(a, "ready") ? CT_PLAIN : CT_YELLOW);
        sy_buf_fmt(&t.text, "%" PRIu64 " of %" PRIu64, ct_uint(a, "online"),
                   ct_uint(a, "devices"));
        ct_cell_end(&t, CT_PLAIN);
        ct_cell_str(&t, ct_str(a, "broker"), CT_PLAIN);
        ct_cell_str(&t, ct_str(a, "base_topic"), CT_PLAIN);
        ct_cell_str(&t, ct_str(a, "source"), CT_PLAIN);
    }
    ct_table_print(&t, o);
    ct_table_free(&t);
}

static void say_error(struct ct_out *o, struct ct_val map)
{
    if (ct_str(map, "error").n > 0) {
        ct_sentence(o, "    ", CT_PLAIN, ct_str(map, "error"));
    }
}

static void show_brokers(struct ct_out *o, struct ct_val site)
{
    static const struct ct_column columns[] = {
        {"BROKER", false, true},    {"ADDRESS", false, true}, {"READER", false, false},
        {"WRITER", false, false},   {"HOLDING", true, false}, {"RECEIVED", true, false},
        {"PUBLISHED", true, false},
    };
    struct ct_iter it = ct_iterate(ct_get(site, "brokers"));
    struct ct_table t;
    struct ct_val b;

    if (it.left == 0) {
        return;
    }
    ct_put(o, "\n");
    ct_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    while (ct_next(&it, &b)) {
        ct_cell_str(&t, ct_str(b, "name"), CT_BOLD);
        ct_cell_str(&t, ct_str(b, "address"), CT_PLAIN);
        cell_word(&t, b, "reader");
        cell_word(&t, b, "writer");
        ct_cell_uint(&t, b, "holding");
        ct_cell_uint(&t, b, "received");
        ct_cell_uint(&t, b, "published");
    }
    ct_table_print(&t, o);
    ct_table_free(&t);
    it = ct_iterate(ct_get(site, "brokers"));
    while (ct_next(&it, &b)) {
        say_error(o, b);
    }
}

static void show_resources(struct ct_out *o, struct ct_val site)
{
    static const struct ct_column columns[] = {
        {"RESOURCE", false, true}, {"KIND", false, false}, {"STATE", false, false}};
    struct ct_iter it = ct_iterate(ct_get(site, "resources"));
    struct ct_table t;
    struct ct_val r;

    if (it.left == 0) {
        return;
    }
    ct_put(o, "\n");
    ct_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    while (ct_next(&it, &r)) {
        ct_cell_str(&t, ct_str(r, "name"), CT_BOLD);
        ct_cell_str(&t, ct_str(r, "kind"), CT_PLAIN);
        cell_word(&t, r, "state");
    }
    ct_table_print(&t, o);
    ct_table_free(&t);
}

/* A line that may get longer than the terminal is wide. */
static void end_line(struct ct_out *o, const char *lead, enum ct_colour colour,
                     struct sy_buf *text)
{
    ct_sentence(o, lead, colour, (struct ct_str){(const char *)text->p, text->len});
    sy_buf_free(text);
}

static void count(struct sy_buf *b, const char *before, struct ct_val map,
                  const char *key, const char *after)
{
    sy_buf_str(b, before);
    ct_count(b, ct_uint(map, key));
    sy_buf_str(b, after);
}

/* What is 0 most of the time is left out then. */
static void count_some(struct sy_buf *b, const char *before, struct ct_val map,
                       const char *key, const char *after)
{
    if (ct_uint(map, key) > 0) {
        count(b, before, map, key, after);
    }
}

static void show_postgres(struct ct_out *o, struct ct_val site)
{
    struct ct_val p = ct_get(site, "postgres");
    struct ct_str link = ct_str(p, "link");
    struct sy_buf b = {0};

    if (!ct_bool(p, "configured")) {
        ct_put(o, "Postgres  not configured\n");
        return;
    }
    ct_escape(&b, link.n > 0 ? link : ct_lit("unknown"));
    count(&b, "; ", p, "rows", " rows");
    count(&b, " in ", p, "batches", " batches");
    count_some(&b, ", ", p, "failed", " refused");
    count_some(&b, ", ", p, "letters", " dead letters");
    count_some(&b, "; ", p, "commands_open", " commands open in meter_commands");
    end_line(o, "Postgres  ", colour_of(link), &b);
    say_error(o, p);
}

static void show_outbox(struct ct_out *o, struct ct_val site)
{
    struct ct_val x = ct_get(site, "outbox");
    uint64_t readings = ct_uint(x, "readings");
    uint64_t capacity = ct_uint(x, "capacity");
    double full = capacity > 0 ? 100.0 * (double)readings / (double)capacity : 0;
    struct sy_buf b = {0};

    count(&b, "", x, "readings", "");
    count(&b, " of ", x, "capacity", " readings");
    sy_buf_fmt(&b, " (%.0f %%)", full);
    if (readings > 0) {
        sy_buf_str(&b, ", oldest ");
        ct_age(&b, ct_uint(x, "oldest_ms"));
    }
    count(&b, "; ", x, "shipped", " shipped");
    count_some(&b, ", ", x, "dropped", " dropped");
    count_some(&b, "; ", x, "letters", " dead letters");
    count_some(&b, ", ", x, "letters_dropped", " of them dropped");
    if (ct_bool(x, "holding")) {
        sy_buf_str(&b, "; full: nothing is read");
    }
    end_line(o, "Outbox    ",
             ct_bool(x, "holding")         ? CT_RED
             : full >= OUTBOX_FULL_PERCENT ? CT_YELLOW
                                           : CT_PLAIN,
             &b);
}

static void show_totals(struct ct_out *o, struct ct_val site)
{
    struct ct_val c = ct_get(site, "commands");
    struct sy_buf b = {0};

    count(&b, "", c, "open", " open");
    count(&b, "; ", c, "confirmed", " confirmed");
    count_some(&b, ", ", c, "failed", " failed");
    count_some(&b, ", ", c, "expired", " expired");
    count_some(&b, ", ", c, "superseded", " superseded");
    count_some(&b, ", ", c, "cancelled", " cancelled");
    end_line(o, "Commands  ", CT_PLAIN, &b);
    count(&b, "", site, "online", "");
    count(&b, " of ", site, "devices", " online");
    end_line(o, "Devices   ", CT_PLAIN, &b);
}

static void show_files(struct ct_out *o, struct ct_val status)
{
    struct ct_val sets = ct_get(status, "files");

    if (ct_iterate(sets).left > 0) {
        ct_put(o, "\n");
        (void)ct_show_sets(o, status, sets);
    }
}

static void show_site(struct ct_out *o, struct ct_val status)
{
    struct ct_val site = ct_get(status, "site");

    title(o, "Site");
    if (site.m.type != SY_MP_MAP) {
        ct_put(o, "\nNothing is known of it: no node on watch reported.\n");
        return;
    }
    if (ct_uint(site, "stale_ms") > OLD_MS) {
        ct_colour(o, CT_YELLOW);
        ct_put(o, " as it was ");
        ct_age(&o->b, ct_uint(site, "stale_ms"));
        ct_put(o, " ago");
        ct_colour(o, CT_PLAIN);
    }
    ct_put(o, "\n");
    show_areas(o, site);
    show_brokers(o, site);
    show_resources(o, site);
    show_files(o, status);
    ct_put(o, "\n");
    show_postgres(o, site);
    show_outbox(o, site);
    show_totals(o, site);
}

/* --- verdict --- */

void ct_status_head(struct ct_out *o, struct ct_val status)
{
    struct ct_val watch = ct_get(status, "watch");

    title(o, "Cluster ");
    ct_say(o, ct_str(status, "cluster"));
    if (watch.m.type != SY_MP_MAP) {
        ct_colour(o, CT_RED);
        ct_put(o, ": nobody is on watch");
        ct_colour(o, CT_PLAIN);
        ct_put(o, "\n");
        return;
    }
    ct_put(o, ": ");
    ct_colour(o, CT_BOLD);
    ct_say(o, ct_str(watch, "name"));
    ct_colour(o, CT_PLAIN);
    ct_fmt(o, " is on watch, in term %" PRIu64, ct_uint(watch, "term"));
    if (ct_uint(watch, "since_ms") > 0 &&
        ct_uint(status, "now_ms") >= ct_uint(watch, "since_ms")) {
        ct_put(o, ", for ");
        ct_age(&o->b, ct_uint(status, "now_ms") - ct_uint(watch, "since_ms"));
    }
    ct_put(o, "\n");
}

void ct_status_verdict(struct ct_out *o, struct ct_val status)
{
    static const struct
    {
        const char *lead;
        enum ct_colour colour;
    } verdicts[] = {
        [CT_HEALTHY] = {"HEALTHY   ", CT_GREEN},
        [CT_DEGRADED] = {"DEGRADED  ", CT_YELLOW},
        [CT_NO_WATCH] = {"NO WATCH  ", CT_RED},
    };
    int health = ct_status_health(status);
    struct ct_iter it = ct_iterate(ct_get(status, "issues"));
    struct ct_str banner = ct_str(status, "banner");
    struct ct_val issue;

    ct_sentence(o, verdicts[health].lead, verdicts[health].colour,
                banner.n > 0 ? banner : ct_lit("(the node says nothing more)"));
    while (ct_next(&it, &issue)) {
        bool error = ct_str_is(ct_str(issue, "level"), "error");
        struct ct_str text = ct_str(issue, "text");

        ct_sentence(o, error ? "  error   " : "  warning ", error ? CT_RED : CT_YELLOW,
                    text.n > 0 ? text : ct_lit("(without a text)"));
    }
}

void ct_status_body(struct ct_out *o, struct ct_val status)
{
    show_nodes(o, status);
    ct_put(o, "\n");
    show_logs(o, status);
    ct_put(o, "\n");
    show_site(o, status);
}

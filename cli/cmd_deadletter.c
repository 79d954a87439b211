/* What could not be stored: seen, put back, dropped. Speaks to Postgres directly, so it
 * works when no node does. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/postgres/letters.h"
#include "base/mem.h"
#include "cli/cli.h"

enum { COLUMNS = 7, LIMIT_DEFAULT = 50, HEX_PER_LINE = 32 };

struct job
{
    const struct ct_options *opt;
    struct ad_pg_letters *letters;
    struct ct_out out;
    struct ct_table table;
    struct sy_json json;
    uint64_t *ids;
    size_t ids_n;
    bool all;
};

static int fail(const struct job *job, int err, const struct sy_errbuf *eb)
{
    char what[64];

    snprintf(what, sizeof what, "deadletter %.20s", job->opt->args[0]);
    return ct_fail_postgres(what, err, eb);
}

/* --- list --- */

static void list_row(void *data, const struct ad_pg_letter *l)
{
    struct job *job = data;
    struct ct_table *t = &job->table;
    uint64_t now = ct_wall_ms();

    sy_buf_fmt(&t->text, "%" PRIu64, l->id);
    ct_cell_end(t, CT_PLAIN);
    ct_age(&t->text, now > l->at_ms ? now - l->at_ms : 0);
    ct_cell_end(t, CT_PLAIN);
    ct_cell_str(t, ct_lit(l->kind), CT_PLAIN);
    ct_cell_str(t, ct_lit(l->status),
                strcmp(l->status, "new") == 0 ? CT_YELLOW : CT_PLAIN);
    ct_cell_str(t, ct_lit(l->area), CT_PLAIN);
    ct_cell_str(t, ct_lit(l->topic), CT_PLAIN);
    ct_cell_str(t, ct_lit(l->reason), CT_PLAIN);
}

static bool is_text(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t len = sy_utf8_next((const char *)p + i, n - i, &cp);

        if ((cp == 0xfffd && len == 1) ||
            (sy_utf8_unsafe(cp) && cp != '\n' && cp != '\t' && cp != '\r')) {
            return false;
        }
        i += len;
    }
    return true;
}

static void json_letter(void *data, const struct ad_pg_letter *l)
{
    struct job *job = data;
    struct sy_json *j = &job->json;

    sy_json_object(j);
    sy_json_kuint(j, "id", l->id);
    sy_json_kstr(j, "cluster", l->cluster);
    sy_json_kstr(j, "kind", l->kind);
    sy_json_kuint(j, "seq", l->seq);
    sy_json_kstr(j, "status", l->status);
    sy_json_kuint(j, "at_ms", l->at_ms);
    sy_json_kuint(j, "created_ms", l->created_ms);
    sy_json_kuint(j, "replayed_ms", l->replayed_ms);
    sy_json_kstr(j, "area", l->area);
    sy_json_kstr(j, "topic", l->topic);
    sy_json_kstr(j, "reason", l->reason);
    sy_json_kuint(j, "size", l->size);
    if (l->payload != NULL && is_text(l->payload, l->size)) {
        sy_json_key(j, "payload");
        sy_json_strn(j, (const char *)l->payload, l->size);
    } else if (l->payload != NULL) {
        sy_json_key(j, "payload_hex");
        sy_json_hex(j, l->payload, l->size);
    }
    sy_json_object_end(j);
}

static int list(struct job *job)
{
    static const struct ct_column columns[COLUMNS] = {
        {"ID", true, false},      {"AGE", true, false},  {"KIND", false, false},
        {"STATUS", false, false}, {"AREA", false, true}, {"TOPIC", false, true},
        {"REASON", false, true},
    };
    unsigned limit = job->opt->limit > 0 ? job->opt->limit : LIMIT_DEFAULT;
    struct ct_out *o = &job->out;
    struct sy_errbuf eb = {""};
    uint64_t total = 0;
    uint64_t shown;
    int rv;

    ct_table_init(&job->table, columns, COLUMNS);
    sy_json_init(&job->json, &o->b);
    if (job->opt->json) {
        sy_json_object(&job->json);
        sy_json_key(&job->json, "letters");
        sy_json_array(&job->json);
    }
    rv = ad_pg_letters_list(job->letters, limit, job->opt->json ? json_letter : list_row,
                            job, &total, &eb);
    shown = job->table.cells_n / COLUMNS;
    if (rv != 0) {
        o->b.len = 0;
        rv = fail(job, rv, &eb);
    } else if (job->opt->json) {
        sy_json_array_end(&job->json);
        sy_json_kuint(&job->json, "total", total);
        sy_json_object_end(&job->json);
        sy_json_finish(&job->json);
        ct_put(o, "\n");
    } else if (shown == 0) {
        ct_put(o, "No dead letters.\n");
    } else {
        ct_table_print(&job->table, o);
    }
    if (rv == 0 && !job->opt->json && shown > 0 && shown < total) {
        ct_fmt(o, "The newest %" PRIu64 " of ", shown);
        ct_count(&o->b, total);
        ct_put(o, "; --limit shows more.\n");
    }
    ct_table_free(&job->table);
    return rv;
}

/* --- show --- */

static void line(struct ct_out *o, const char *label, const char *text)
{
    if (text[0] != '\0') {
        ct_fmt(o, "%-9s ", label);
        ct_say(o, ct_lit(text));
        ct_put(o, "\n");
    }
}

/* As it is, line by line; what is no text in hex. */
static void put_payload(struct ct_out *o, const uint8_t *p, size_t n)
{
    bool text = is_text(p, n);

    ct_fmt(o, "payload   %zu byte%s%s\n", n, n == 1 ? "" : "s",
           n == 0 || text ? "" : ", not text, in hex");
    for (size_t i = 0; i < n;) {
        const uint8_t *end = memchr(p + i, '\n', n - i);
        size_t len = end != NULL ? (size_t)(end - p) - i : n - i;

        if (text) {
            ct_say(o, (struct ct_str){(const char *)p + i, len});
            i += len + 1;
        } else {
            for (size_t k = 0; k < HEX_PER_LINE && i < n; k++) {
                ct_fmt(o, "%02x", p[i++]);
            }
        }
        ct_put(o, "\n");
    }
}

static void show_letter(void *data, const struct ad_pg_letter *l)
{
    struct job *job = data;
    struct ct_out *o = &job->out;

    if (job->opt->json) {
        sy_json_init(&job->json, &o->b);
        json_letter(job, l);
        sy_json_finish(&job->json);
        ct_put(o, "\n");
        return;
    }
    ct_fmt(o, "id        %" PRIu64 "\nkind      ", l->id);
    ct_say(o, ct_lit(l->kind));
    ct_fmt(o, ", number %" PRIu64, l->seq);
    if (l->cluster[0] != '\0') {
        ct_put(o, " of cluster ");
        ct_say(o, ct_lit(l->cluster));
    } else {
        ct_put(o, ", found by a migration");
    }
    ct_put(o, "\n");
    line(o, "status", l->status);
    line(o, "area", l->area);
    line(o, "topic", l->topic);
    ct_sentence(o, "reason    ", CT_PLAIN, ct_lit(l->reason));
    ct_line_time(o, "at", l->at_ms);
    ct_line_time(o, "stored", l->created_ms);
    ct_line_time(o, "replayed", l->replayed_ms);
    put_payload(o, l->payload, l->size);
}

static int show(struct job *job)
{
    struct sy_errbuf eb = {""};
    int rv = ad_pg_letters_show(job->letters, job->ids[0], show_letter, job, &eb);

    return rv != 0 ? fail(job, rv, &eb) : CT_DONE;
}

/* --- replay and drop --- */

static void tell_refused(void *data, uint64_t id, const char *why)
{
    struct job *job = data;
    struct sy_buf safe = {0};

    if (job->opt->json) {
        sy_json_object(&job->json);
        sy_json_kuint(&job->json, "id", id);
        sy_json_kstr(&job->json, "reason", why);
        sy_json_object_end(&job->json);
        return;
    }
    ct_escape(&safe, ct_lit(why));
    ct_complain("letter %" PRIu64 " stays: %.*s", id, (int)safe.len,
                (const char *)safe.p);
    sy_buf_free(&safe);
}

static void put_replayed(struct ct_out *o, const struct ad_pg_replayed *r)
{
    uint64_t n = r->asked + r->done + r->there + r->refused;
    const char *lead = ": ";
    const struct
    {
        uint64_t n;
        const char *text;
    } parts[] = {{r->done, "put back"},
                 {r->there, "already there"},
                 {r->asked, "asked of the node on watch"},
                 {r->refused, "refused again"}};

    ct_count(&o->b, n);
    ct_put(o, n == 1 ? " letter" : " letters");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].n > 0) {
            ct_put(o, lead);
            ct_count(&o->b, parts[i].n);
            ct_fmt(o, " %s", parts[i].text);
            lead = ", ";
        }
    }
    ct_put(o, ".\n");
}

static int replay(struct job *job)
{
    struct sy_json *j = &job->json;
    struct sy_errbuf eb = {""};
    struct ad_pg_replayed r;
    int rv;

    sy_json_init(j, &job->out.b);
    if (job->opt->json) {
        sy_json_object(j);
        sy_json_key(j, "refused");
        sy_json_array(j);
    }
    rv = job->all ? ad_pg_letters_replay_all(job->letters, tell_refused, job, &r, &eb)
                  : ad_pg_letters_replay(job->letters, job->ids, job->ids_n, tell_refused,
                                         job, &r, &eb);
    if (job->opt->json) {
        sy_json_array_end(j);
        sy_json_kuint(j, "done", r.done);
        sy_json_kuint(j, "there", r.there);
        sy_json_kuint(j, "asked", r.asked);
        sy_json_object_end(j);
        sy_json_finish(j);
        ct_put(&job->out, "\n");
    } else {
        put_replayed(&job->out, &r); /* Also before a failure: so far it got. */
    }
    if (rv != 0) {
        job->out.b.len = job->opt->json ? 0 : job->out.b.len;
        return fail(job, rv, &eb);
    }
    return r.refused > 0 ? CT_FAILED : CT_DONE;
}

static int drop(struct job *job)
{
    struct sy_errbuf eb = {""};
    uint64_t dropped = 0;
    int rv = job->all
                 ? ad_pg_letters_drop_all(job->letters, &dropped, &eb)
                 : ad_pg_letters_drop(job->letters, job->ids, job->ids_n, &dropped, &eb);

    if (rv != 0) {
        return fail(job, rv, &eb);
    }
    if (job->opt->json) {
        ct_fmt(&job->out, "{\"dropped\":%" PRIu64 "}\n", dropped);
    } else {
        ct_count(&job->out.b, dropped);
        ct_put(&job->out, dropped == 1 ? " letter dropped.\n" : " letters dropped.\n");
    }
    if (!job->all && dropped < job->ids_n) {
        ct_complain("deadletter drop: %" PRIu64 " of the %zu were not there",
                    (uint64_t)job->ids_n - dropped, job->ids_n);
        return CT_FAILED;
    }
    return CT_DONE;
}

/* --- arguments --- */

static const struct verb
{
    const char *name;
    int (*run)(struct job *job);
    int ids_min, ids_max;
    bool all;
} verbs[] = {{"list", list, 0, 0, false},
             {"show", show, 1, 1, false},
             {"replay", replay, 1, 500, true},
             {"drop", drop, 1, 500, true}};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

static bool parse_id(const char *text, uint64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 &&
           *ret <= INT64_MAX;
}

static bool take_ids(struct job *job, const struct verb *v)
{
    int n = job->opt->args_n - 1;
    char **args = job->opt->args + 1;

    if (v->all && n == 1 && strcmp(args[0], "all") == 0) {
        job->all = true;
        return true;
    }
    if (n < v->ids_min || n > v->ids_max) {
        ct_complain("deadletter %s: %s", v->name,
                    v->ids_max == 0   ? "takes no ID"
                    : v->ids_max == 1 ? "needs one ID"
                                      : "needs 1 to 500 IDs, or all");
        return false;
    }
    job->ids = sy_calloc((size_t)n + 1, sizeof *job->ids);
    for (int i = 0; i < n; i++) {
        if (!parse_id(args[i], &job->ids[job->ids_n++])) {
            ct_complain("deadletter %s '%s': an ID is a number of the list", v->name,
                        args[i]);
            return false;
        }
    }
    return true;
}

static int run(struct job *job, const struct verb *v)
{
    char conninfo[CT_CONNINFO_SIZE];
    struct sy_errbuf eb = {""};
    int rv;

    if (!take_ids(job, v) ||
        !ct_find_conninfo(job->opt, "deadletter", conninfo, sizeof conninfo)) {
        return CT_USAGE;
    }
    rv = ad_pg_letters_open(&job->letters, conninfo, &eb);
    explicit_bzero(conninfo, sizeof conninfo);
    if (rv != 0) {
        return fail(job, rv, &eb);
    }
    rv = v->run(job);
    ad_pg_letters_close(job->letters);
    return rv;
}

int ct_cmd_deadletter(const struct ct_options *opt)
{
    const struct verb *v = find_verb(opt->args[0]);
    struct job job = {.opt = opt};
    int rv;

    if (v == NULL) {
        ct_complain("deadletter '%s': say list, show, replay or drop", opt->args[0]);
        return CT_USAGE;
    }
    ct_out_init(&job.out);
    rv = run(&job, v);
    if (!ct_out_flush(&job.out)) {
        rv = CT_FAILED;
    }
    ct_out_free(&job.out);
    sy_free(job.ids);
    return rv;
}

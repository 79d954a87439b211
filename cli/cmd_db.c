#include <inttypes.h>
#include <string.h>

#include "adapters/postgres/overview.h"
#include "adapters/postgres/postgres.h"
#include "cli/cli.h"

static unsigned newest(void)
{
    unsigned version = 0;

    for (unsigned i = 0; ad_pg_migrations[i].version != 0; i++) {
        version = ad_pg_migrations[i].version;
    }
    return version;
}

/* --- migrate --- */

static void tell(void *data, const char *text)
{
    struct sy_buf safe = {0};

    (void)data;
    ct_escape(&safe, ct_lit(text));
    ct_complain("note: %.*s", (int)safe.len, (const char *)safe.p);
    sy_buf_free(&safe);
}

static int migrate(const struct ct_options *opt, const char *conninfo, struct ct_out *o)
{
    struct sy_errbuf eb = {""};
    unsigned from = 0;
    unsigned to = 0;
    int rv = ad_pg_migrate_noting(conninfo, tell, NULL, &from, &to, &eb);

    if (rv != 0) {
        return ct_fail_postgres("db migrate", rv, &eb);
    }
    if (opt->json) {
        ct_fmt(o, "{\"from\":%u,\"version\":%u,\"newest\":%u}\n", from, to, newest());
    } else if (from == to) {
        ct_fmt(o, "The schema is at version %u, the newest.\n", to);
    } else {
        ct_fmt(o, "The schema went from version %u to %u.\n", from, to);
    }
    return CT_DONE;
}

/* --- status --- */

static void put_count(struct ct_out *o, int64_t n, const char *what)
{
    ct_count(&o->b, (uint64_t)n);
    ct_fmt(o, " %s%s", what, n == 1 ? "" : "s");
}

static void put_oldest(struct ct_out *o, const struct ad_pg_overview *v, uint64_t at_ms)
{
    if (at_ms > 0) {
        ct_put(o, ", the oldest from ");
        ct_age(&o->b, v->now_ms > at_ms ? v->now_ms - at_ms : 0);
        ct_put(o, " ago");
    }
}

static void put_readings(struct ct_out *o, const struct ad_pg_overview *v)
{
    ct_put(o, "meter_readings  ");
    if (v->layout == AD_PG_LAYOUT_HYPERTABLE) {
        ct_put(o, "a hypertable of TimescaleDB\n");
        return;
    }
    put_count(o, v->partitions, "partition");
    if (v->first_day[0] != '\0') {
        ct_fmt(o, ", %s to %s", v->first_day, v->last_day);
    }
    if (v->before[0] != '\0') {
        ct_fmt(o, ", and one of all before %s", v->before);
    }
    ct_put(o, "\nwaiting         ");
    if (v->waiting < 0) {
        ct_put(o, "unknown: this role may not look\n");
    } else if (v->waiting > AD_PG_WAITING_MAX) {
        ct_put(o, "more than 1,000,000 rows in the partition of no day\n");
    } else {
        put_count(o, v->waiting, "row");
        ct_put(o, " in the partition of no day\n");
    }
}

static void put_retention(struct ct_out *o, const struct ad_pg_overview *v)
{
    ct_put(o, "retention       ");
    if (!v->upkeep) {
        ct_put(o, "unknown: this role may not look\n");
        return;
    }
    if (v->horizon[0] != '\0') {
        ct_fmt(o, "%u days: what is older than %s goes", v->keep_days, v->horizon);
    } else {
        ct_put(o, "none: everything is kept");
    }
    ct_put(o, "\nupkeep          ");
    ct_age(&o->b, v->now_ms > v->upkeep_ms ? v->now_ms - v->upkeep_ms : 0);
    ct_put(o, " ago; so far it dropped ");
    put_count(o, (int64_t)v->dropped, "partition");
    ct_put(o, ", ");
    put_count(o, (int64_t)v->deleted, "reading");
    ct_put(o, " and ");
    put_count(o, (int64_t)v->pruned, "dead letter");
    ct_put(o, "\n");
    if (v->trouble[0] != '\0') {
        ct_sentence(o, "trouble         ", CT_YELLOW, ct_lit(v->trouble));
    }
}

static void put_rest(struct ct_out *o, const struct ad_pg_overview *v)
{
    ct_put(o, "dead letters    ");
    if (v->letters_new < 0) {
        ct_put(o, "unknown: this role may not look\n");
    } else {
        put_count(o, v->letters_new, "new one");
        ct_put(o, ", ");
        ct_count(&o->b, (uint64_t)v->letters_asked);
        ct_put(o, " to be replayed, ");
        ct_count(&o->b, (uint64_t)v->letters_replayed);
        ct_put(o, " replayed");
        put_oldest(o, v, v->letters_oldest_ms);
        ct_put(o, "\n");
    }
    ct_put(o, "meter_commands  ");
    if (v->commands_open < 0) {
        ct_put(o, "unknown: this role may not look\n");
    } else {
        ct_count(&o->b, (uint64_t)v->commands_open);
        ct_put(o, " open");
        put_oldest(o, v, v->commands_oldest_ms);
        ct_put(o, "\n");
    }
    if (v->hidden[0] != '\0') {
        ct_sentence(o, "row security    ", CT_YELLOW,
                    ct_lit("hides rows from this role in: "));
        o->b.len--; /* Behind the sentence, not below it. */
        ct_say(o, ct_lit(v->hidden));
        ct_put(o, "\n");
    }
}

static void key_count(struct sy_json *j, const char *key, int64_t n)
{
    sy_json_key(j, key);
    if (n < 0) {
        sy_json_null(j);
    } else {
        sy_json_int(j, n);
    }
}

static void key_text(struct sy_json *j, const char *key, const char *text)
{
    sy_json_key(j, key);
    if (text[0] == '\0') {
        sy_json_null(j);
    } else {
        sy_json_str(j, text);
    }
}

static void json_upkeep(struct sy_json *j, const struct ad_pg_overview *v)
{
    sy_json_key(j, "upkeep");
    if (!v->upkeep) {
        sy_json_null(j);
        return;
    }
    sy_json_object(j);
    sy_json_kuint(j, "at_ms", v->upkeep_ms);
    sy_json_kuint(j, "keep_days", v->keep_days);
    sy_json_kuint(j, "ahead_days", v->ahead_days);
    key_text(j, "horizon", v->horizon);
    sy_json_kstr(j, "trouble", v->trouble);
    sy_json_kuint(j, "partitions_dropped", v->dropped);
    sy_json_kuint(j, "readings_deleted", v->deleted);
    sy_json_kuint(j, "letters_pruned", v->pruned);
    sy_json_object_end(j);
}

static void json_overview(struct sy_json *j, const struct ad_pg_overview *v)
{
    static const char *const layouts[] = {"table", "partitions", "hypertable"};

    sy_json_key(j, "readings");
    sy_json_object(j);
    sy_json_kstr(j, "layout", layouts[v->layout]);
    key_count(j, "partitions", v->partitions);
    key_text(j, "first_day", v->first_day);
    key_text(j, "last_day", v->last_day);
    key_text(j, "before", v->before);
    key_count(j, "waiting", v->waiting);
    sy_json_object_end(j);
    json_upkeep(j, v);
    sy_json_key(j, "dead_letters");
    sy_json_object(j);
    key_count(j, "new", v->letters_new);
    key_count(j, "replay", v->letters_asked);
    key_count(j, "replayed", v->letters_replayed);
    sy_json_kuint(j, "oldest_ms", v->letters_oldest_ms);
    sy_json_object_end(j);
    sy_json_key(j, "commands");
    sy_json_object(j);
    key_count(j, "open", v->commands_open);
    sy_json_kuint(j, "oldest_ms", v->commands_oldest_ms);
    sy_json_object_end(j);
    sy_json_kstr(j, "hidden", v->hidden);
}

static void print_json(struct ct_out *o, const struct ad_pg_overview *v)
{
    struct sy_json j;

    sy_json_init(&j, &o->b);
    sy_json_object(&j);
    /* As of migrate, which has gone from one to the other. */
    sy_json_kuint(&j, "from", v->schema);
    sy_json_kuint(&j, "version", v->schema);
    sy_json_kuint(&j, "newest", newest());
    if (v->schema == newest()) {
        json_overview(&j, v);
    }
    sy_json_object_end(&j);
    sy_json_finish(&j);
    ct_put(o, "\n");
}

static int status(const struct ct_options *opt, const char *conninfo, struct ct_out *o)
{
    struct ad_pg_overview v = {0};
    struct sy_errbuf eb = {""};
    int rv = ad_pg_overview(conninfo, &v, &eb);

    if (rv != 0) {
        return ct_fail_postgres("db status", rv, &eb);
    }
    if (opt->json) {
        print_json(o, &v);
    } else if (v.schema < newest()) {
        ct_fmt(o,
               "The schema is at version %u, this vagtctl knows %u: run `vagtctl db "
               "migrate`.\n",
               v.schema, newest());
    } else if (v.schema > newest()) {
        ct_fmt(o,
               "The schema is at version %u, this vagtctl knows only %u: use a newer "
               "one.\n",
               v.schema, newest());
    } else {
        ct_fmt(o, "The schema is at version %u, the newest.\n", v.schema);
        put_readings(o, &v);
        put_retention(o, &v);
        put_rest(o, &v);
    }
    return v.schema == newest() ? CT_DONE : CT_FAILED;
}

int ct_cmd_db(const struct ct_options *opt)
{
    bool migrating = strcmp(opt->args[0], "migrate") == 0;
    char conninfo[CT_CONNINFO_SIZE];
    struct ct_out o;
    int rv;

    if (!migrating && strcmp(opt->args[0], "status") != 0) {
        ct_complain("db '%s': say migrate or status", opt->args[0]);
        return CT_USAGE;
    }
    if (!ct_find_conninfo(opt, "db", conninfo, sizeof conninfo)) {
        return CT_USAGE;
    }
    ct_out_init(&o);
    rv = migrating ? migrate(opt, conninfo, &o) : status(opt, conninfo, &o);
    explicit_bzero(conninfo, sizeof conninfo);
    if (!ct_out_flush(&o)) {
        rv = CT_FAILED;
    }
    ct_out_free(&o);
    return rv;
}

#include "adapters/postgres/overview.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/postgres/session.h"

/* Each asks for rights first: who may look at one table may not at another. */

/* Local to the transaction, since behind a pooler the session is not ours. Days are those
 * of UTC. */
static const char sql_begin[] =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL timezone = 'UTC';"
    " SET LOCAL datestyle = 'ISO, YMD'";

static const char sql_readings[] =
    "SELECT CASE WHEN c.relkind = 'p' THEN 1"
    " WHEN EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN 2"
    " ELSE 0 END,"
    " count(p.since), min(p.since)::date, (max(p.until) - interval '1 day')::date,"
    " max(p.until) FILTER (WHERE p.since IS NULL)::date,"
    " nullif(t.partdefid, 0)::regclass, has_table_privilege(t.partdefid, 'SELECT')"
    " FROM pg_class c LEFT JOIN pg_partitioned_table t ON t.partrelid = c.oid"
    " LEFT JOIN (SELECT i.inhparent, k.oid,"
    " substring(b FROM 'FROM \\(''([^'']*)''\\)')::timestamptz AS since,"
    " substring(b FROM 'TO \\(''([^'']*)''\\)')::timestamptz AS until"
    " FROM pg_inherits i JOIN pg_class k ON k.oid = i.inhrelid"
    " JOIN pg_partitioned_table q ON q.partrelid = i.inhparent"
    /* To show the bounds of one that somebody has locked would be to wait for it. */
    " CROSS JOIN LATERAL (SELECT CASE WHEN k.oid <> q.partdefid"
    " THEN pg_get_expr(k.relpartbound, k.oid) END) e (b) WHERE k.oid <> q.partdefid) p"
    " ON p.inhparent = c.oid"
    " WHERE c.oid = 'meter_readings'::regclass GROUP BY c.relkind, t.partdefid";

static const char sql_upkeep[] =
    "SELECT floor(extract(epoch FROM at) * 1000), keep_days, ahead_days, trouble,"
    " CASE WHEN keep_days > 0 THEN (now() - make_interval(days => keep_days))::date END,"
    " partitions_dropped, readings_deleted, letters_pruned FROM vagt_upkeep";

static const char sql_letters[] =
    "SELECT count(*) FILTER (WHERE status = 'new'),"
    " count(*) FILTER (WHERE status = 'replay'),"
    " count(*) FILTER (WHERE status = 'replayed'),"
    " floor(extract(epoch FROM min(at)) * 1000) FROM vagt_dead_letters";

static const char sql_commands[] =
    "SELECT count(*), floor(extract(epoch FROM min(created_at)) * 1000)"
    " FROM meter_commands WHERE status IN ('pending', 'accepted', 'sent')";

static const char sql_hidden[] =
    "SELECT string_agg(relname, ', ' ORDER BY relname),"
    " floor(extract(epoch FROM now()) * 1000) FROM pg_class"
    " RIGHT JOIN (VALUES ('power_meters'), ('meter_identity'), ('meter_readings'),"
    " ('meter_commands')) t (name) ON oid = to_regclass(name) AND "
    "row_security_active(oid)";

static const char sql_may[] =
    "SELECT has_table_privilege('vagt_upkeep', 'SELECT'),"
    " has_table_privilege('vagt_dead_letters', 'SELECT'),"
    " has_table_privilege('meter_commands', 'SELECT')";

static uint64_t number(const PGresult *r, int col)
{
    return strtoull(PQgetvalue(r, 0, col), NULL, 10);
}

static void text(const PGresult *r, int col, char *to, size_t size)
{
    snprintf(to, size, "%s", PQgetvalue(r, 0, col));
}

static bool yes(const PGresult *r, int col)
{
    return PQgetvalue(r, 0, col)[0] == 't';
}

static int ask(PGconn *c, const char *sql, PGresult **ret, struct sy_errbuf *eb)
{
    return ad_pg_session_run(c, "status", sql, 0, NULL, ret, eb);
}

/* Not more than it takes to say "more than a million". */
static int count_waiting(PGconn *c, const char *table, struct ad_pg_overview *o,
                         struct sy_errbuf *eb)
{
    char sql[256];
    PGresult *r;
    int rv;

    snprintf(sql, sizeof sql, "SELECT count(*) FROM (SELECT FROM %.150s LIMIT %d) w",
             table, AD_PG_WAITING_MAX + 1);
    rv = ask(c, sql, &r, eb);
    if (rv == 0) {
        o->waiting = (int64_t)number(r, 0);
        PQclear(r);
    }
    return rv;
}

static int take_readings(PGconn *c, struct ad_pg_overview *o, struct sy_errbuf *eb)
{
    PGresult *r;
    int rv = ask(c, sql_readings, &r, eb);

    if (rv != 0) {
        return rv;
    }
    o->layout = (enum ad_pg_layout)number(r, 0);
    o->partitions = (int64_t)number(r, 1);
    text(r, 2, o->first_day, sizeof o->first_day);
    text(r, 3, o->last_day, sizeof o->last_day);
    text(r, 4, o->before, sizeof o->before);
    if (PQgetisnull(r, 0, 5) == 0) {
        o->waiting = -1;
        rv = yes(r, 6) ? count_waiting(c, PQgetvalue(r, 0, 5), o, eb) : 0;
    }
    PQclear(r);
    return rv;
}

static int take_upkeep(PGconn *c, struct ad_pg_overview *o, struct sy_errbuf *eb)
{
    PGresult *r;
    int rv = ask(c, sql_upkeep, &r, eb);

    if (rv != 0) {
        return rv;
    }
    o->upkeep = PQntuples(r) == 1;
    if (o->upkeep) {
        o->upkeep_ms = number(r, 0);
        o->keep_days = (unsigned)number(r, 1);
        o->ahead_days = (unsigned)number(r, 2);
        text(r, 3, o->trouble, sizeof o->trouble);
        text(r, 4, o->horizon, sizeof o->horizon);
        o->dropped = number(r, 5);
        o->deleted = number(r, 6);
        o->pruned = number(r, 7);
    }
    PQclear(r);
    return 0;
}

static int take_letters(PGconn *c, struct ad_pg_overview *o, struct sy_errbuf *eb)
{
    PGresult *r;
    int rv = ask(c, sql_letters, &r, eb);

    if (rv == 0) {
        o->letters_new = (int64_t)number(r, 0);
        o->letters_asked = (int64_t)number(r, 1);
        o->letters_replayed = (int64_t)number(r, 2);
        o->letters_oldest_ms = number(r, 3);
        PQclear(r);
    }
    return rv;
}

static int take_commands(PGconn *c, struct ad_pg_overview *o, struct sy_errbuf *eb)
{
    PGresult *r;
    int rv = ask(c, sql_commands, &r, eb);

    if (rv == 0) {
        o->commands_open = (int64_t)number(r, 0);
        o->commands_oldest_ms = number(r, 1);
        PQclear(r);
    }
    return rv;
}

static int look(PGconn *c, struct ad_pg_overview *o, struct sy_errbuf *eb)
{
    PGresult *may = NULL;
    PGresult *r;
    int rv;

    if ((rv = ad_pg_session_run(c, "status", sql_begin, 0, NULL, NULL, eb)) != 0 ||
        (rv = take_readings(c, o, eb)) != 0 || (rv = ask(c, sql_hidden, &r, eb)) != 0) {
        return rv;
    }
    text(r, 0, o->hidden, sizeof o->hidden);
    o->now_ms = number(r, 1);
    PQclear(r);
    if ((rv = ask(c, sql_may, &may, eb)) != 0) {
        return rv;
    }
    o->letters_new = o->letters_asked = o->letters_replayed = o->commands_open = -1;
    rv = yes(may, 0) ? take_upkeep(c, o, eb) : 0;
    if (rv == 0 && yes(may, 1)) {
        rv = take_letters(c, o, eb);
    }
    if (rv == 0 && yes(may, 2)) {
        rv = take_commands(c, o, eb);
    }
    PQclear(may);
    return rv != 0 ? rv : ad_pg_session_run(c, "status", "COMMIT", 0, NULL, NULL, eb);
}

static unsigned newest(void)
{
    unsigned n = 0;

    while (ad_pg_migrations[n].version != 0) {
        n++;
    }
    return n;
}

int ad_pg_overview(const char *conninfo, struct ad_pg_overview *ret, struct sy_errbuf *eb)
{
    struct ad_pg_overview o = {0};
    PGconn *c;
    int rv = ad_pg_session_open(&c, conninfo, NULL, eb);

    if (rv != 0) {
        return rv;
    }
    rv = ad_pg_session_version(c, &o.schema, eb);
    if (rv == 0 && o.schema == newest()) {
        rv = look(c, &o, eb);
    }
    PQfinish(c);
    if (rv == 0) {
        *ret = o;
    }
    return rv;
}

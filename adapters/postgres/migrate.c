/* Migrations: blocking, for a tool at a terminal. */

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/postgres/postgres.h"

/* "vagt" in ASCII: one migration at a time per database. */
static const char sql_lock[] = "SELECT pg_advisory_xact_lock(1986094964)";

/* The tables of a site are read and written all the time. ALTER TABLE waits for
 * them and makes everybody else wait meanwhile: rather give up with a sentence. */
static const char sql_begin[] =
    "BEGIN; SET LOCAL lock_timeout = '10s'; SET LOCAL client_min_messages = 'warning'";

static const char sql_exists[] =
    "SELECT CASE WHEN to_regclass('vagt_schema') IS NULL THEN 0 ELSE 1 END";
static const char sql_version[] = "SELECT coalesce(max(version), 0) FROM vagt_schema";

static void ignore_notice(void *data, const PGresult *res)
{
    (void)data, (void)res;
}

static void one_line(char *s)
{
    size_t n = strlen(s);

    while (n > 0 && s[n - 1] == '\n') {
        s[--n] = '\0';
    }
    for (; (s = strchr(s, '\n')) != NULL;) {
        *s = ' ';
    }
}

static int connect_to(const char *conninfo, PGconn **ret, struct sy_errbuf *eb)
{
    static const char *const keys[] = {"connect_timeout", "dbname", "application_name",
                                       "client_encoding", NULL};
    const char *values[] = {"10", conninfo, "vagtctl db", "UTF8", NULL};
    char *error = NULL;
    PQconninfoOption *o = PQconninfoParse(conninfo, &error);
    char text[256];
    PGconn *c;

    if (o == NULL) {
        PQfreemem(error); /* It quotes the string, and the password with it. */
        return sy_fail(eb, SY_EINVALID,
                       "postgres: the connection string is not understood; it is either "
                       "\"host=... dbname=... user=...\" or \"postgresql://...\" with "
                       "special characters of the password as %%XX");
    }
    PQconninfoFree(o);
    /* What the string says comes later and wins over our timeout. */
    c = PQconnectdbParams(keys, values, 1);
    if (PQstatus(c) == CONNECTION_OK) {
        PQsetNoticeReceiver(c, ignore_notice, NULL);
        *ret = c;
        return 0;
    }
    snprintf(text, sizeof text, "%s", PQerrorMessage(c));
    PQfinish(c);
    one_line(text);
    return sy_fail(eb, SY_EUNKNOWN, "postgres: %s", text);
}

/* @ret: the first value as a number, may be NULL. */
static int run(PGconn *c, const char *what, const char *sql, unsigned *ret,
               struct sy_errbuf *eb)
{
    PGresult *r = PQexec(c, sql);
    ExecStatusType status = PQresultStatus(r);
    char text[400];

    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
        if (ret != NULL && PQntuples(r) == 1) {
            *ret = (unsigned)strtoul(PQgetvalue(r, 0, 0), NULL, 10);
        }
        PQclear(r);
        return 0;
    }
    snprintf(text, sizeof text, "%s", PQresultErrorMessage(r));
    PQclear(r);
    one_line(text);
    return sy_fail(eb, SY_EINVALID, "postgres: %s: %s", what, text);
}

/* 0: the database has never seen us. */
static int version_of(PGconn *c, unsigned *ret, struct sy_errbuf *eb)
{
    unsigned exists = 0;
    int rv = run(c, "version", sql_exists, &exists, eb);

    *ret = 0;
    return rv != 0 || exists == 0 ? rv : run(c, "version", sql_version, ret, eb);
}

static unsigned newest(void)
{
    unsigned n = 0;

    while (ad_pg_migrations[n].version != 0) {
        n++;
    }
    return n;
}

static int note_version(PGconn *c, const struct ad_pg_migration *m, struct sy_errbuf *eb)
{
    char sql[160];

    snprintf(sql, sizeof sql, "INSERT INTO vagt_schema (version, name) VALUES (%u, '%s')",
             m->version, m->name);
    return run(c, m->name, sql, NULL, eb);
}

/* One migration, or none when the database is as new as we are. */
static int migrate_one(PGconn *c, unsigned *ret_found, struct sy_errbuf *eb)
{
    const struct ad_pg_migration *m;
    unsigned found = 0;
    int rv;

    if ((rv = run(c, "begin", sql_begin, NULL, eb)) != 0 ||
        (rv = run(c, "lock", sql_lock, NULL, eb)) != 0 ||
        (rv = version_of(c, &found, eb)) != 0) {
        return rv;
    }
    *ret_found = found;
    if (found > newest()) {
        return sy_fail(eb, SY_EVERSION,
                       "postgres: the database has schema %u, this program knows %u: use "
                       "the vagtctl of the newer version",
                       found, newest());
    }
    if (found < newest()) {
        m = &ad_pg_migrations[found];
        if ((rv = run(c, m->name, m->sql, NULL, eb)) != 0 ||
            (rv = note_version(c, m, eb)) != 0) {
            return rv;
        }
    }
    return run(c, "commit", "COMMIT", NULL, eb);
}

int ad_pg_migrate(const char *conninfo, unsigned *ret_from, unsigned *ret_to,
                  struct sy_errbuf *eb)
{
    unsigned found = 0;
    unsigned first = 0;
    PGconn *c;
    int rv = connect_to(conninfo, &c, eb);

    if (rv != 0) {
        return rv;
    }
    for (unsigned n = 0;; n++) {
        rv = migrate_one(c, &found, eb);
        if (rv != 0) {
            break;
        }
        first = n == 0 ? found : first;
        if (found == newest()) {
            *ret_from = first;
            *ret_to = found;
            break;
        }
    }
    PQfinish(c); /* Rolls back what is open. */
    return rv;
}

int ad_pg_schema_version(const char *conninfo, unsigned *ret, struct sy_errbuf *eb)
{
    PGconn *c;
    int rv = connect_to(conninfo, &c, eb);

    if (rv != 0) {
        return rv;
    }
    rv = version_of(c, ret, eb);
    PQfinish(c);
    return rv;
}

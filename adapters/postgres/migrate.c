/* Migrations: blocking, for a tool at a terminal. */

#include <stdio.h>
#include <stdlib.h>

#include "adapters/postgres/session.h"

/* "vagt" in ASCII: one migration at a time per database. */
static const char sql_lock[] = "SELECT pg_advisory_xact_lock(1986094964)";

/* The tables of a site are read and written all the time. ALTER TABLE waits for
 * them and makes everybody else wait meanwhile: rather give up with a sentence. */
static const char sql_begin[] =
    "BEGIN READ WRITE; SET LOCAL lock_timeout = '10s';"
    /* A role may have a limit that the conversion of a large table does not keep. */
    " SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;"
    " SET LOCAL client_min_messages = 'warning'; SET LOCAL timezone = 'UTC';"
    " SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL standard_conforming_strings = on";

static const char sql_exists[] =
    "SELECT CASE WHEN to_regclass('vagt_schema') IS NULL THEN 0 ELSE 1 END";
static const char sql_version[] = "SELECT coalesce(max(version), 0) FROM vagt_schema";

/* @ret: the first value as a number, may be NULL. */
static int run(PGconn *c, const char *what, const char *sql, unsigned *ret,
               struct sy_errbuf *eb)
{
    PGresult *r;
    int rv = ad_pg_session_run(c, what, sql, 0, NULL, &r, eb);

    if (rv != 0) {
        return rv;
    }
    if (ret != NULL && PQntuples(r) == 1) {
        *ret = (unsigned)strtoul(PQgetvalue(r, 0, 0), NULL, 10);
    }
    PQclear(r);
    return 0;
}

int ad_pg_session_version(PGconn *c, unsigned *ret, struct sy_errbuf *eb)
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
        (rv = ad_pg_session_version(c, &found, eb)) != 0) {
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
    return ad_pg_migrate_noting(conninfo, NULL, NULL, ret_from, ret_to, eb);
}

int ad_pg_migrate_noting(const char *conninfo, ad_pg_note note, void *data,
                         unsigned *ret_from, unsigned *ret_to, struct sy_errbuf *eb)
{
    const struct ad_pg_noting noting = {note, data};
    unsigned found = 0;
    unsigned first = 0;
    PGconn *c;
    int rv = ad_pg_session_open(&c, conninfo, &noting, eb);

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
    int rv = ad_pg_session_open(&c, conninfo, NULL, eb);

    if (rv != 0) {
        return rv;
    }
    rv = ad_pg_session_version(c, ret, eb);
    PQfinish(c);
    return rv;
}

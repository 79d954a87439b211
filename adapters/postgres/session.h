/* A blocking connection, for tools at a terminal and nowhere else. */

#ifndef AD_POSTGRES_SESSION_H
#define AD_POSTGRES_SESSION_H

#include <libpq-fe.h>

#include "adapters/postgres/postgres.h"
#include "base/err.h"

/* @note, if not NULL, gets the warnings that the server sends, one line each. It must
 * outlive the connection. -EHOSTUNREACH: nobody there, or we are not let in. Ends with
 * PQfinish(). */
struct ad_pg_noting
{
    ad_pg_note note;
    void *data;
};
SY_MUST_USE int ad_pg_session_open(PGconn **ret, const char *conninfo,
                                   const struct ad_pg_noting *noting,
                                   struct sy_errbuf *eb);

/* One statement or several; with @n values as $1 … exactly one. The result, if wanted, is
 * the caller's. SY_EINVALID: the server refused, and says why. */
SY_MUST_USE int ad_pg_session_run(PGconn *c, const char *what, const char *sql, int n,
                                  const char *const *values, PGresult **ret,
                                  struct sy_errbuf *eb);

/* Of the schema; 0: the database has never seen us. */
SY_MUST_USE int ad_pg_session_version(PGconn *c, unsigned *ret, struct sy_errbuf *eb);

#endif /* AD_POSTGRES_SESSION_H */

#include "adapters/postgres/session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void one_line(char *s)
{
    size_t n = strlen(s);

    while (n > 0 && s[n - 1] == '\n') {
        s[--n] = '\0';
    }
    for (; (s = strpbrk(s, "\n\t")) != NULL;) {
        *s = ' ';
    }
}

static void take_notice(void *data, const PGresult *res)
{
    const struct ad_pg_noting *noting = data;
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    char line[512];

    if (noting != NULL && noting->note != NULL && text != NULL) {
        snprintf(line, sizeof line, "%s", text);
        one_line(line);
        noting->note(noting->data, line);
    }
}

int ad_pg_session_open(PGconn **ret, const char *conninfo,
                       const struct ad_pg_noting *noting, struct sy_errbuf *eb)
{
    static const char *const keys[] = {"connect_timeout", "dbname", "application_name",
                                       "client_encoding", NULL};
    const char *values[] = {"10", conninfo, "vagtctl", "UTF8", NULL};
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
        PQsetNoticeReceiver(c, take_notice, (void *)(uintptr_t)noting);
        /* Where in a migration it was is nothing for an operator. */
        PQsetErrorContextVisibility(c, PQSHOW_CONTEXT_NEVER);
        *ret = c;
        return 0;
    }
    snprintf(text, sizeof text, "%s", PQerrorMessage(c));
    PQfinish(c);
    one_line(text);
    return sy_fail(eb, -EHOSTUNREACH, "postgres: %s", text);
}

int ad_pg_session_run(PGconn *c, const char *what, const char *sql, int n,
                      const char *const *values, PGresult **ret, struct sy_errbuf *eb)
{
    PGresult *r =
        n > 0 ? PQexecParams(c, sql, n, NULL, values, NULL, NULL, 0) : PQexec(c, sql);
    ExecStatusType status = PQresultStatus(r);
    char text[400];

    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
        if (ret != NULL) {
            *ret = r;
        } else {
            PQclear(r);
        }
        return 0;
    }
    snprintf(text, sizeof text, "%s", PQresultErrorMessage(r));
    PQclear(r);
    one_line(text);
    return sy_fail(eb, SY_EINVALID, "postgres: %s: %s", what, text);
}

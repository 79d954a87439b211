#include "adapters/postgres/check.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "adapters/postgres/connect.h"
#include "base/log.h"
#include "base/mem.h"

/* What the writer cannot do without, as rights: it lives without commands and dead
 * letters, and says so itself. */
static const char sql_rights[] =
    "WITH w(t, r) AS (VALUES ('vagt_schema', 'SELECT'), ('vagt_fence', 'SELECT'),"
    " ('vagt_fence', 'INSERT'), ('vagt_fence', 'UPDATE'), ('power_meters', 'INSERT'),"
    " ('power_meters', 'UPDATE'), ('meter_identity', 'INSERT'),"
    " ('meter_identity', 'UPDATE'), ('meter_readings', 'INSERT'),"
    " ('meter_readings', 'UPDATE'))"
    " SELECT current_user, current_setting('transaction_read_only'),"
    " (SELECT string_agg(DISTINCT t, ', ') FROM w WHERE to_regclass(t) IS NULL),"
    " (SELECT string_agg(r || ' on ' || t, ', ') FROM w WHERE to_regclass(t) IS NOT NULL"
    " AND NOT has_table_privilege(to_regclass(t), r))";

enum { LOOKUP_WAIT_MS = 100 };
enum { C_ROLE, C_READ_ONLY, C_ABSENT, C_DENIED, C_NR };

struct ad_pg_check
{
    struct ad_pg_conn conn;
    uv_timer_t timer; /* of the whole */
    unsigned timeout_ms;
    uint64_t began_ns;
    ad_pg_check_cb cb; /* NULL: nobody wants to know any more */
    void *data;
    bool judged, good;
    char text[256];
    char why[256]; /* it failed, while a lookup is waited for */
    unsigned open_parts;
};

/* --- the end --- */

static void part_closed(struct ad_pg_check *c)
{
    assert(c->open_parts > 0);
    if (--c->open_parts > 0) {
        return;
    }
    if (c->cb != NULL) {
        c->cb(c->data, c->good, c->text);
    }
    sy_free(c);
}

static void conn_closed(void *data)
{
    part_closed(data);
}

static void timer_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

static void judge(struct ad_pg_check *c, bool good, const char *fmt, ...) SY_PRINTF(3, 4);
static void judge(struct ad_pg_check *c, bool good, const char *fmt, ...)
{
    va_list ap;

    if (c->judged) {
        return;
    }
    c->judged = true;
    c->good = good;
    va_start(ap, fmt);
    vsnprintf(c->text, sizeof c->text, fmt, ap);
    va_end(ap);
    ad_pg_conn_close(&c->conn);
    uv_close((uv_handle_t *)&c->timer, timer_closed);
}

/* --- the question --- */

static const char *field(const PGresult *r, int column)
{
    return PQgetisnull(r, 0, column) ? "" : PQgetvalue(r, 0, column);
}

static void look(struct ad_pg_check *c, const PGresult *r)
{
    char why[200];

    if (PQresultStatus(r) != PGRES_TUPLES_OK || PQntuples(r) != 1 ||
        PQnfields(r) != C_NR) {
        ad_pg_conn_why(&c->conn, PQresultErrorMessage(r), why, sizeof why);
        judge(c, false, "answers with an error: %s", why);
    } else if (strcmp(field(r, C_READ_ONLY), "off") != 0) {
        judge(c, false,
              "it can only be read: it is a standby of another server, or set so; name "
              "the one that can be written to");
    } else if (field(r, C_ABSENT)[0] != '\0') {
        judge(c, false, "it has no %s: run `vagtctl db migrate`", field(r, C_ABSENT));
    } else if (field(r, C_DENIED)[0] != '\0') {
        judge(c, false, "the role %s lacks %s: GRANT it", field(r, C_ROLE),
              field(r, C_DENIED));
    } else {
        judge(c, true, "took us as %s in %u ms", field(r, C_ROLE),
              (unsigned)((uv_hrtime() - c->began_ns) / 1000000));
    }
}

static void conn_input(void *data)
{
    struct ad_pg_check *c = data;

    while (!c->judged && !PQisBusy(c->conn.pg)) {
        PGresult *r = PQgetResult(c->conn.pg);

        if (r == NULL) {
            return; /* The end of a command; more is to come. */
        }
        look(c, r);
        PQclear(r);
    }
}

static void conn_up(void *data)
{
    struct ad_pg_check *c = data;

    if (PQsendQueryParams(c->conn.pg, sql_rights, 0, NULL, NULL, NULL, NULL, 0) != 1 ||
        PQpipelineSync(c->conn.pg) != 1 || !ad_pg_conn_flush(&c->conn)) {
        judge(c, false, "the connection broke");
    }
}

/* A name that is being looked up holds a thread, for as long as the resolver likes. It
 * is waited for, or the next check would take another one, until none is left. */
static void wait_cb(uv_timer_t *timer)
{
    struct ad_pg_check *c = timer->data;

    if (c->conn.lookup == NULL) {
        judge(c, false, "%s", c->why);
    }
}

static void fail(struct ad_pg_check *c, const char *why)
{
    if (c->conn.lookup == NULL) {
        judge(c, false, "%s", why);
        return;
    }
    snprintf(c->why, sizeof c->why, "%s", why);
    (void)uv_timer_start(&c->timer, wait_cb, LOOKUP_WAIT_MS, LOOKUP_WAIT_MS);
}

static void conn_down(void *data, const char *why)
{
    fail(data, why);
}

/* --- life --- */

static void timer_cb(uv_timer_t *timer)
{
    struct ad_pg_check *c = timer->data;
    char why[64];

    snprintf(why, sizeof why, "it does not answer within %u ms", c->timeout_ms);
    fail(c, why);
}

int ad_pg_check_start(struct ad_pg_check **ret, uv_loop_t *loop,
                      const struct ad_pg_config *config, ad_pg_check_cb cb, void *data,
                      struct sy_errbuf *eb)
{
    static const struct ad_pg_conn_cb conn_cb = {
        .up = conn_up, .input = conn_input, .down = conn_down, .closed = conn_closed};
    struct ad_pg_check *c = sy_calloc(1, sizeof *c);
    int rv = ad_pg_conn_init(&c->conn, loop, config->conninfo, "vagt-ready",
                             config->connect_timeout_ms, &conn_cb, c, eb);

    if (rv != 0) {
        sy_free(c);
        return rv;
    }
    c->cb = cb;
    c->data = data;
    c->began_ns = uv_hrtime();
    /* All hosts and their addresses in turn, and the question: twice what one may take
     * is enough for a server that lives. */
    c->timeout_ms = 2 * (config->connect_timeout_ms + config->statement_timeout_ms);
    (void)uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    c->open_parts = 2;
    (void)uv_timer_start(&c->timer, timer_cb, c->timeout_ms, 0);
    ad_pg_conn_start(&c->conn);
    *ret = c;
    return 0;
}

void ad_pg_check_cancel(struct ad_pg_check *c)
{
    c->cb = NULL;
    judge(c, false, "it was not waited for");
}

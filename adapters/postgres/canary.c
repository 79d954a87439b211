#include "adapters/postgres/canary.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/postgres/connect.h"
#include "base/mem.h"

enum { AGAIN_MS = 300, PATIENCE_MS = 5000, NUMBER_SIZE = 24, PREFIX_SIZE = 64 };

static const char sql_count[] =
    "SELECT count(*), count(DISTINCT energy_kwh), count(DISTINCT energy_kwh)"
    " FILTER (WHERE energy_kwh > $4::bigint * 0.000001) FROM meter_readings"
    " WHERE meter_id LIKE $1::text || '%' AND"
    " time >= to_timestamp($2::bigint / 1000.0::float8) AND"
    " energy_kwh > $3::bigint * 0.000001";

struct ad_pg_canary
{
    struct ad_pg_conn conn;
    uv_timer_t timer; /* the next try, or the end of patience */
    char prefix[PREFIX_SIZE];
    uint64_t since_ms, base, than;
    ad_pg_canary_cb cb;
    void (*closed)(void *data);
    void *data;
    bool up, busy, closing;
    char error[256];
    unsigned open_parts;
};

static void timer_cb(uv_timer_t *timer);

static void lost(struct ad_pg_canary *c, const char *why)
{
    if (c->closing) {
        return;
    }
    snprintf(c->error, sizeof c->error, "%s", why);
    c->up = c->busy = false;
    ad_pg_conn_drop(&c->conn, false);
    (void)uv_timer_start(&c->timer, timer_cb, AGAIN_MS, 0);
}

static void timer_cb(uv_timer_t *timer)
{
    struct ad_pg_canary *c = timer->data;

    if (c->busy) {
        lost(c, "Postgres did not answer in time");
    } else {
        ad_pg_conn_start(&c->conn);
    }
}

static void conn_up(void *data)
{
    struct ad_pg_canary *c = data;

    c->up = true;
    c->error[0] = '\0';
}

static void conn_down(void *data, const char *why)
{
    lost(data, why);
}

static uint64_t number(const PGresult *r, int column)
{
    return strtoull(PQgetvalue(r, 0, column), NULL, 10);
}

static void look(struct ad_pg_canary *c, const PGresult *r)
{
    struct ad_pg_canary_count count;

    if (PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1 && PQnfields(r) == 3) {
        count = (struct ad_pg_canary_count){number(r, 0), number(r, 1), number(r, 2),
                                            c->base, c->than};
        c->error[0] = '\0';
        c->cb(c->data, &count);
    } else if (PQresultStatus(r) == PGRES_FATAL_ERROR) {
        ad_pg_conn_why(&c->conn, PQresultErrorMessage(r), c->error, sizeof c->error);
    }
}

static void conn_input(void *data)
{
    struct ad_pg_canary *c = data;
    unsigned empty = 0;

    while (c->up && c->conn.pg != NULL && PQisBusy(c->conn.pg) == 0 && empty < 2) {
        PGresult *r = PQgetResult(c->conn.pg);

        empty = r == NULL ? empty + 1 : 0;
        if (r != NULL && PQresultStatus(r) == PGRES_PIPELINE_SYNC) {
            c->busy = false;
            uv_timer_stop(&c->timer);
        } else if (r != NULL) {
            look(c, r);
        }
        PQclear(r);
    }
}

static void part_closed(struct ad_pg_canary *c)
{
    void (*closed)(void *) = c->closed;
    void *data = c->data;

    assert(c->open_parts > 0);
    if (--c->open_parts == 0) {
        sy_free(c);
        if (closed != NULL) {
            closed(data);
        }
    }
}

static void conn_closed(void *data)
{
    part_closed(data);
}

static void timer_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

int ad_pg_canary_open(struct ad_pg_canary **ret, uv_loop_t *loop,
                      const struct ad_pg_config *config, const char *prefix,
                      uint64_t since_ms, ad_pg_canary_cb cb, void *data,
                      struct sy_errbuf *eb)
{
    static const struct ad_pg_conn_cb conn_cb = {
        .up = conn_up, .input = conn_input, .down = conn_down, .closed = conn_closed};
    struct ad_pg_canary *c = sy_calloc(1, sizeof *c);
    int rv = ad_pg_conn_init(&c->conn, loop, config->conninfo, "vagt-drill",
                             config->connect_timeout_ms, &conn_cb, c, eb);

    if (rv != 0) {
        sy_free(c);
        return rv;
    }
    snprintf(c->prefix, sizeof c->prefix, "%s", prefix);
    c->since_ms = since_ms;
    c->cb = cb;
    c->data = data;
    c->open_parts = 2;
    (void)uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    ad_pg_conn_start(&c->conn);
    *ret = c;
    return 0;
}

void ad_pg_canary_ask(struct ad_pg_canary *c, uint64_t base, uint64_t than)
{
    char since[NUMBER_SIZE], from[NUMBER_SIZE], above[NUMBER_SIZE];
    const char *const values[] = {c->prefix, since, from, above};

    if (!c->up || c->busy) {
        return;
    }
    snprintf(since, sizeof since, "%" PRIu64, c->since_ms);
    snprintf(from, sizeof from, "%" PRIu64, base);
    snprintf(above, sizeof above, "%" PRIu64, than);
    c->base = base;
    c->than = than;
    c->busy = true;
    (void)uv_timer_start(&c->timer, timer_cb, PATIENCE_MS, 0);
    if (PQsendQueryParams(c->conn.pg, sql_count, 4, NULL, values, NULL, NULL, 0) != 1 ||
        PQpipelineSync(c->conn.pg) != 1 || !ad_pg_conn_flush(&c->conn)) {
        lost(c, "the connection broke");
    }
}

const char *ad_pg_canary_error(const struct ad_pg_canary *c)
{
    return c->error;
}

void ad_pg_canary_close(struct ad_pg_canary *c, void (*closed)(void *data))
{
    assert(!c->closing);
    c->closing = true;
    c->up = false;
    c->closed = closed;
    ad_pg_conn_close(&c->conn);
    uv_close((uv_handle_t *)&c->timer, timer_closed);
}

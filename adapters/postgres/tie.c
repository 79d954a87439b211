#include "adapters/postgres/tie.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/postgres/connect.h"
#include "base/mem.h"

enum {
    TIMEOUT_MAX_MS = 3000, /* Somebody waits to take the watch. */
    BACKOFF_MS = 500,
    BACKOFF_MAX_MS = 4000,
    NUMBER_SIZE = 24,
    MEMBERS_SIZE = 64
};

struct ad_pg_tie
{
    struct ad_pg_conn conn;
    uv_timer_t timer; /* the limit of a request; or when to connect again */
    struct ad_pg_tie_cb cb;
    void *data;
    void (*closed)(void *data);
    char cluster[64];
    char error[256];
    char timeout_text[NUMBER_SIZE];
    unsigned timeout_ms, backoff_ms;
    unsigned open_parts;
    bool up, closing;
    bool busy, failed, got;
    struct cs_tie_row row; /* of the answer that is coming in */
};

static const char sql_begin[] =
    "SELECT set_config('statement_timeout', $1, true),"
    " set_config('lock_timeout', $1, true),"
    " set_config('synchronous_commit', 'on', true)";

static const char sql_read[] =
    "SELECT epoch, members, COALESCE(sole, 0), term, token FROM vagt_tiebreak"
    " WHERE cluster = $1";

static const char sql_swap[] =
    "UPDATE vagt_tiebreak SET epoch = $3::bigint, members = $4,"
    " sole = NULLIF($5::integer, 0), term = $6::bigint, token = $7, changed_at = now()"
    " WHERE cluster = $1 AND epoch = $2::bigint";

static const char sql_insert[] =
    "INSERT INTO vagt_tiebreak (cluster, epoch, members, sole, term, token)"
    " SELECT $1::text, $3::bigint, $4::text, NULLIF($5::integer, 0), $6::bigint, $7::text"
    " WHERE $2::bigint = 0 ON CONFLICT (cluster) DO NOTHING";

/* --- text --- */

static void put_members(uint32_t set, char *to, size_t size)
{
    size_t len = 0;

    to[0] = '\0';
    for (unsigned id = 1; id < 32 && len < size; id++) {
        if ((set & CS_TIE_NODE(id)) != 0) {
            len += (size_t)snprintf(to + len, size - len, "%s%u", len > 0 ? "," : "", id);
        }
    }
}

/* 0: not understood. */
static uint32_t get_members(const char *s)
{
    uint32_t set = 0;

    for (;;) {
        char *end;
        unsigned long id = strtoul(s, &end, 10);

        if (end == s || id == 0 || id > 31) {
            return 0;
        }
        set |= CS_TIE_NODE(id);
        if (*end != ',') {
            return *end == '\0' ? set : 0;
        }
        s = end + 1;
    }
}

/* --- the link --- */

static void timer_cb(uv_timer_t *timer);

static void settle(struct ad_pg_tie *t, const struct cs_tie_row *row)
{
    t->busy = false;
    t->cb.answer(t->data, row);
}

static void lost(struct ad_pg_tie *t, const char *why)
{
    bool told = t->up;

    snprintf(t->error, sizeof t->error, "%s",
             why[0] != '\0' ? why : "the connection was lost");
    t->up = false;
    ad_pg_conn_drop(&t->conn, false);
    uv_timer_start(&t->timer, timer_cb, t->backoff_ms, 0);
    t->backoff_ms =
        t->backoff_ms * 2 < BACKOFF_MAX_MS ? t->backoff_ms * 2 : BACKOFF_MAX_MS;
    if (t->busy) {
        settle(t, NULL);
    }
    if (told) {
        t->cb.changed(t->data);
    }
}

static void timer_cb(uv_timer_t *timer)
{
    struct ad_pg_tie *t = timer->data;

    if (t->busy) {
        lost(t, "Postgres did not answer in time");
    } else {
        ad_pg_conn_start(&t->conn);
    }
}

static void conn_up(void *data)
{
    struct ad_pg_tie *t = data;

    t->up = true;
    t->error[0] = '\0';
    t->backoff_ms = BACKOFF_MS;
    uv_timer_stop(&t->timer);
    t->cb.changed(t->data);
}

static void conn_down(void *data, const char *why)
{
    lost(data, why);
}

/* --- answers --- */

static void take_row(struct ad_pg_tie *t, const PGresult *res)
{
    t->got = true;
    t->row = (struct cs_tie_row){0};
    if (PQntuples(res) == 0) {
        return;
    }
    t->row.epoch = strtoull(PQgetvalue(res, 0, 0), NULL, 10);
    t->row.members = get_members(PQgetvalue(res, 0, 1));
    t->row.sole = (uint32_t)strtoul(PQgetvalue(res, 0, 2), NULL, 10);
    t->row.term = strtoull(PQgetvalue(res, 0, 3), NULL, 10);
    t->row.token = strtoull(PQgetvalue(res, 0, 4), NULL, 16);
}

static void take_error(struct ad_pg_tie *t, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    t->failed = true;
    if (state != NULL && strcmp(state, "42P01") == 0) {
        snprintf(t->error, sizeof t->error,
                 "there is no table vagt_tiebreak: run `vagtctl db migrate`");
    } else {
        ad_pg_conn_why(&t->conn, PQresultErrorMessage(res), t->error, sizeof t->error);
    }
}

/* All of the transaction is over, and its commit has been answered. */
static void take_end(struct ad_pg_tie *t)
{
    uv_timer_stop(&t->timer);
    if (!t->failed && t->got) {
        t->error[0] = '\0';
        settle(t, &t->row);
    } else {
        settle(t, NULL);
    }
}

static void conn_input(void *data)
{
    struct ad_pg_tie *t = data;
    unsigned empty = 0;

    /* Between the results of two statements there is a NULL. */
    while (t->up && t->conn.pg != NULL && PQisBusy(t->conn.pg) == 0 && empty < 2) {
        PGresult *res = PQgetResult(t->conn.pg);
        ExecStatusType status = res != NULL ? PQresultStatus(res) : PGRES_EMPTY_QUERY;

        empty = res == NULL ? empty + 1 : 0;
        if (status == PGRES_TUPLES_OK && PQnfields(res) == 5) {
            take_row(t, res);
        } else if (status == PGRES_FATAL_ERROR) {
            take_error(t, res);
        }
        PQclear(res);
        if (status == PGRES_PIPELINE_SYNC && t->busy) {
            take_end(t);
        }
    }
    if (t->up && (t->conn.pg == NULL || PQstatus(t->conn.pg) == CONNECTION_BAD)) {
        lost(t, "the connection was lost");
    }
}

/* --- requests --- */

static bool queue(struct ad_pg_tie *t, const char *sql, int n, const char *const *values)
{
    return PQsendQueryParams(t->conn.pg, sql, n, NULL, values, NULL, NULL, 0) == 1;
}

static void begin(struct ad_pg_tie *t)
{
    assert(t->up && !t->busy && !t->closing);
    t->busy = true;
    t->failed = t->got = false;
    uv_timer_start(&t->timer, timer_cb, t->timeout_ms + t->timeout_ms / 2, 0);
}

/* What does not go out now never will: the timer tells. */
static void finish(struct ad_pg_tie *t, bool queued)
{
    const char *values[] = {t->cluster};

    queued = queued && queue(t, sql_read, 1, values) && PQpipelineSync(t->conn.pg) == 1 &&
             ad_pg_conn_flush(&t->conn);
    if (!queued) {
        uv_timer_start(&t->timer, timer_cb, 0, 0);
    }
}

static bool queue_begin(struct ad_pg_tie *t)
{
    const char *values[] = {t->timeout_text};

    return queue(t, sql_begin, 1, values);
}

void ad_pg_tie_read(struct ad_pg_tie *t)
{
    begin(t);
    finish(t, queue_begin(t));
}

void ad_pg_tie_swap(struct ad_pg_tie *t, uint64_t expect, const struct cs_tie_row *want)
{
    char expected[NUMBER_SIZE], epoch[NUMBER_SIZE], term[NUMBER_SIZE], sole[NUMBER_SIZE];
    char token[NUMBER_SIZE], members[MEMBERS_SIZE];
    const char *values[] = {t->cluster, expected, epoch, members, sole, term, token};

    snprintf(expected, sizeof expected, "%" PRIu64, expect);
    snprintf(epoch, sizeof epoch, "%" PRIu64, want->epoch);
    snprintf(term, sizeof term, "%" PRIu64, want->term);
    snprintf(sole, sizeof sole, "%u", want->sole);
    snprintf(token, sizeof token, "%016" PRIx64, want->token);
    put_members(want->members, members, sizeof members);
    begin(t);
    finish(t, queue_begin(t) && queue(t, expect == 0 ? sql_insert : sql_swap, 7, values));
}

/* --- life --- */

static void part_closed(struct ad_pg_tie *t)
{
    void (*closed)(void *) = t->closed;
    void *data = t->data;

    if (--t->open_parts == 0) {
        sy_free(t);
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

int ad_pg_tie_open(struct ad_pg_tie **ret, uv_loop_t *loop,
                   const struct ad_pg_config *config, const struct ad_pg_tie_cb *cb,
                   void *data, struct sy_errbuf *eb)
{
    static const struct ad_pg_conn_cb conn_cb = {
        .up = conn_up, .input = conn_input, .down = conn_down, .closed = conn_closed};
    struct ad_pg_tie *t = sy_calloc(1, sizeof *t);
    char app_name[96];
    int rv;

    snprintf(app_name, sizeof app_name, "vagt-tie:%.40s", config->cluster);
    rv = ad_pg_conn_init(&t->conn, loop, config->conninfo, app_name,
                         config->connect_timeout_ms, &conn_cb, t, eb);
    if (rv != 0) {
        sy_free(t);
        return rv;
    }
    t->cb = *cb;
    t->data = data;
    t->backoff_ms = BACKOFF_MS;
    t->timeout_ms = config->statement_timeout_ms < TIMEOUT_MAX_MS
                        ? config->statement_timeout_ms
                        : TIMEOUT_MAX_MS;
    snprintf(t->timeout_text, sizeof t->timeout_text, "%u", t->timeout_ms);
    snprintf(t->cluster, sizeof t->cluster, "%s", config->cluster);
    snprintf(t->error, sizeof t->error, "not connected yet");
    (void)uv_timer_init(loop, &t->timer); /* Cannot fail: fills in a struct. */
    t->timer.data = t;
    t->open_parts = 2;
    ad_pg_conn_start(&t->conn);
    *ret = t;
    return 0;
}

bool ad_pg_tie_up(const struct ad_pg_tie *t)
{
    return t->up;
}

const char *ad_pg_tie_error(const struct ad_pg_tie *t)
{
    return t->error;
}

void ad_pg_tie_close(struct ad_pg_tie *t, void (*closed)(void *data))
{
    assert(!t->closing);
    t->closing = true;
    t->closed = closed;
    t->up = false;
    ad_pg_conn_drop(&t->conn, false);
    ad_pg_conn_close(&t->conn);
    uv_close((uv_handle_t *)&t->timer, timer_closed);
}

#include "adapters/postgres/letters.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/postgres/session.h"
#include "base/buf.h"
#include "base/mem.h"

enum {
    FIRST_VERSION = 2, /* has the table */
    CHUNK = 500,       /* letters in one transaction */
    NUMBER_SIZE = 24
};

#define LETTER_COLUMNS                                                         \
    "id, seq, cluster, kind, coalesce(area, ''), coalesce(topic, ''), reason," \
    " status, floor(extract(epoch FROM at) * 1000),"                           \
    " floor(extract(epoch FROM created_at) * 1000),"                           \
    " floor(extract(epoch FROM replayed_at) * 1000), octet_length(payload)"

static const char sql_total[] = "SELECT count(*) FROM vagt_dead_letters";
static const char sql_list[] =
    "SELECT " LETTER_COLUMNS " FROM vagt_dead_letters ORDER BY id DESC LIMIT $1";
static const char sql_show[] =
    "SELECT " LETTER_COLUMNS ", payload FROM vagt_dead_letters WHERE id = $1";

/* In the order they came in: a message that was there first goes first. */
static const char sql_replay_some[] =
    "SELECT id, vagt_replay(id) FROM unnest($1::bigint[]) AS w(id)";
static const char sql_replay_more[] =
    "SELECT id, vagt_replay(id) FROM (SELECT id FROM vagt_dead_letters"
    " WHERE status = 'new' AND id > $1 AND id <= $2 ORDER BY id LIMIT $3) w";
static const char sql_newest[] = "SELECT coalesce(max(id), 0) FROM vagt_dead_letters";
static const char sql_drop[] =
    "DELETE FROM vagt_dead_letters WHERE id = ANY ($1::bigint[])";
static const char sql_drop_all[] = "DELETE FROM vagt_dead_letters";

struct ad_pg_letters
{
    PGconn *pg;
};

static uint64_t number(const PGresult *r, int row, int col)
{
    return strtoull(PQgetvalue(r, row, col), NULL, 10);
}

int ad_pg_letters_open(struct ad_pg_letters **ret, const char *conninfo,
                       struct sy_errbuf *eb)
{
    unsigned version = 0;
    PGconn *c;
    int rv = ad_pg_session_open(&c, conninfo, NULL, eb);

    if (rv != 0) {
        return rv;
    }
    rv = ad_pg_session_version(c, &version, eb);
    if (rv == 0 && version < FIRST_VERSION) {
        rv = sy_fail(eb, SY_EVERSION,
                     "postgres: the database has no dead letters yet, its schema is at "
                     "version %u: run \"vagtctl db migrate\"",
                     version);
    }
    if (rv != 0) {
        PQfinish(c);
        return rv;
    }
    *ret = sy_calloc(1, sizeof **ret);
    (*ret)->pg = c;
    return 0;
}

void ad_pg_letters_close(struct ad_pg_letters *l)
{
    PQfinish(l->pg);
    sy_free(l);
}

/* --- looking --- */

static void give(const PGresult *r, int row, ad_pg_letter_cb cb, void *data)
{
    struct ad_pg_letter l = {
        .id = number(r, row, 0),
        .seq = number(r, row, 1),
        .cluster = PQgetvalue(r, row, 2),
        .kind = PQgetvalue(r, row, 3),
        .area = PQgetvalue(r, row, 4),
        .topic = PQgetvalue(r, row, 5),
        .reason = PQgetvalue(r, row, 6),
        .status = PQgetvalue(r, row, 7),
        .at_ms = number(r, row, 8),
        .created_ms = number(r, row, 9),
        .replayed_ms = number(r, row, 10),
        .size = (size_t)number(r, row, 11),
    };
    unsigned char *payload = NULL;

    if (PQnfields(r) > 12) {
        /* What libpq made out of "\x…"; never more than it says. */
        payload = PQunescapeBytea((const unsigned char *)PQgetvalue(r, row, 12), &l.size);
        l.payload = payload;
    }
    cb(data, &l);
    PQfreemem(payload);
}

int ad_pg_letters_list(struct ad_pg_letters *l, unsigned limit, ad_pg_letter_cb cb,
                       void *data, uint64_t *ret_total, struct sy_errbuf *eb)
{
    char text[NUMBER_SIZE];
    const char *values[] = {text};
    PGresult *r;
    int rv = ad_pg_session_run(l->pg, "dead letters", sql_total, 0, NULL, &r, eb);

    if (rv != 0) {
        return rv;
    }
    *ret_total = number(r, 0, 0);
    PQclear(r);
    snprintf(text, sizeof text, "%u", limit);
    rv = ad_pg_session_run(l->pg, "dead letters", sql_list, 1, values, &r, eb);
    if (rv != 0) {
        return rv;
    }
    for (int i = 0; i < PQntuples(r); i++) {
        give(r, i, cb, data);
    }
    PQclear(r);
    return 0;
}

int ad_pg_letters_show(struct ad_pg_letters *l, uint64_t id, ad_pg_letter_cb cb,
                       void *data, struct sy_errbuf *eb)
{
    char text[NUMBER_SIZE];
    const char *values[] = {text};
    PGresult *r;
    int rv;

    snprintf(text, sizeof text, "%" PRIu64, id);
    rv = ad_pg_session_run(l->pg, "dead letter", sql_show, 1, values, &r, eb);
    if (rv != 0) {
        return rv;
    }
    if (PQntuples(r) == 1) {
        give(r, 0, cb, data);
    } else {
        rv = sy_fail(eb, SY_ENOTFOUND, "there is no dead letter %" PRIu64, id);
    }
    PQclear(r);
    return rv;
}

/* --- replaying --- */

static void count(const PGresult *r, ad_pg_refused_cb refused, void *data,
                  struct ad_pg_replayed *ret)
{
    for (int i = 0; i < PQntuples(r); i++) {
        const char *what = PQgetvalue(r, i, 1);

        if (strcmp(what, "asked") == 0) {
            ret->asked++;
        } else if (strcmp(what, "done") == 0) {
            ret->done++;
        } else if (strcmp(what, "there") == 0) {
            ret->there++;
        } else {
            ret->refused++;
            refused(data, number(r, i, 0), what);
        }
    }
}

/* "{1,2,3}" */
static void put_ids(struct sy_buf *b, const uint64_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        sy_buf_fmt(b, "%s%" PRIu64, i == 0 ? "{" : ",", ids[i]);
    }
    sy_buf_put(b, n == 0 ? "{}" : "}", n == 0 ? 3 : 2); /* With the zero byte. */
}

int ad_pg_letters_replay(struct ad_pg_letters *l, const uint64_t *ids, size_t n,
                         ad_pg_refused_cb refused, void *data, struct ad_pg_replayed *ret,
                         struct sy_errbuf *eb)
{
    struct sy_buf text = {0};
    const char *values[1];
    PGresult *r;
    int rv;

    *ret = (struct ad_pg_replayed){0};
    put_ids(&text, ids, n);
    values[0] = (const char *)text.p;
    rv = ad_pg_session_run(l->pg, "replay", sql_replay_some, 1, values, &r, eb);
    sy_buf_free(&text);
    if (rv == 0) {
        count(r, refused, data, ret);
        PQclear(r);
    }
    return rv;
}

/* Up to the newest there is now: what a replay brings about is not replayed at once. */
int ad_pg_letters_replay_all(struct ad_pg_letters *l, ad_pg_refused_cb refused,
                             void *data, struct ad_pg_replayed *ret, struct sy_errbuf *eb)
{
    char after[NUMBER_SIZE] = "0";
    char last[NUMBER_SIZE];
    char chunk[NUMBER_SIZE];
    const char *values[] = {after, last, chunk};
    PGresult *r;
    int rv = ad_pg_session_run(l->pg, "replay", sql_newest, 0, NULL, &r, eb);
    int n;

    *ret = (struct ad_pg_replayed){0};
    if (rv != 0) {
        return rv;
    }
    snprintf(last, sizeof last, "%s", PQgetvalue(r, 0, 0));
    snprintf(chunk, sizeof chunk, "%d", CHUNK);
    PQclear(r);
    do {
        rv = ad_pg_session_run(l->pg, "replay", sql_replay_more, 3, values, &r, eb);
        if (rv != 0) {
            return rv;
        }
        n = PQntuples(r);
        if (n > 0) {
            snprintf(after, sizeof after, "%s", PQgetvalue(r, n - 1, 0));
        }
        count(r, refused, data, ret);
        PQclear(r);
    } while (n == CHUNK);
    return 0;
}

/* --- dropping --- */

static int drop(struct ad_pg_letters *l, const char *sql, int n,
                const char *const *values, uint64_t *ret_dropped, struct sy_errbuf *eb)
{
    PGresult *r;
    int rv = ad_pg_session_run(l->pg, "drop", sql, n, values, &r, eb);

    if (rv == 0) {
        *ret_dropped = strtoull(PQcmdTuples(r), NULL, 10);
        PQclear(r);
    }
    return rv;
}

int ad_pg_letters_drop(struct ad_pg_letters *l, const uint64_t *ids, size_t n,
                       uint64_t *ret_dropped, struct sy_errbuf *eb)
{
    struct sy_buf text = {0};
    const char *values[1];
    int rv;

    put_ids(&text, ids, n);
    values[0] = (const char *)text.p;
    rv = drop(l, sql_drop, 1, values, ret_dropped, eb);
    sy_buf_free(&text);
    return rv;
}

int ad_pg_letters_drop_all(struct ad_pg_letters *l, uint64_t *ret_dropped,
                           struct sy_errbuf *eb)
{
    return drop(l, sql_drop_all, 0, NULL, ret_dropped, eb);
}

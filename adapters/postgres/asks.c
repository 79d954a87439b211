/* Rows of meter_commands and dead letters that are to be tried again: see asks.h. */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/postgres/writer.h"
#include "base/mem.h"

enum {
    NOTICE_GAP_MS = 50, /* Between two looks: rows that come one by one share some. */
    PATIENCE_MS = 1000  /* for locks on what the site writes, too */
};

static const char sql_listen[] = "LISTEN vagt_commands";

/* May we write what we read? Asked of no row at all. */
static const char sql_probe[] =
    "UPDATE meter_commands SET status = status, error = error, attempts = attempts,"
    " accepted_at = accepted_at, sent_at = sent_at, finished_at = finished_at,"
    " updated_at = updated_at WHERE false";

#define COLUMNS                                                                      \
    "SELECT left(id::text, 255), left(COALESCE(meter_id::text, ''), 200),"           \
    " left(COALESCE(command::text, ''), 100), left(COALESCE(value::text, ''), 100)," \
    " status,"                                                                       \
    " CASE WHEN isfinite(created_at) THEN GREATEST(0,"                               \
    " extract(epoch FROM clock_timestamp() - created_at) * 1000)::bigint END,"       \
    " CASE WHEN isfinite(expires_at) THEN"                                           \
    " (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint END"       \
    " FROM meter_commands"

/* $1: how many */
static const char sql_pending[] =
    COLUMNS " WHERE status = 'pending' ORDER BY created_at LIMIT $1::integer";

/* $2: the last one seen. A few at a time, round and round: they are the ledger's, and
 * are looked at only for what went wrong. Without accepted_at it was not vagt who wrote
 * the status: a site's program may have had a "sent" of its own. */
static const char sql_others[] = COLUMNS
    " WHERE status IN ('accepted', 'sent') AND accepted_at IS NOT NULL"
    " AND left(id::text, 255) > $2 ORDER BY 1 LIMIT $1::integer";

/* $1: the cluster, $2: how many, $3: those that were shown already */
static const char sql_replays[] =
    "SELECT id, COALESCE(area, ''), COALESCE(topic, ''), payload,"
    " (extract(epoch FROM at) * 1000)::bigint"
    " FROM vagt_dead_letters WHERE cluster = $1 AND kind = 'message'"
    " AND status = 'replay' AND id <> ALL ($3::bigint[]) ORDER BY id LIMIT $2::integer";

/* One that cannot be tried is new again, with the reason behind its own. */
static const char sql_replayed[] =
    "UPDATE vagt_dead_letters AS l SET"
    " status = CASE WHEN n.w IS NULL THEN 'replayed' ELSE 'new' END,"
    " replayed_at = CASE WHEN n.w IS NULL THEN now() END,"
    " reason = CASE WHEN n.w IS NULL OR right(l.reason, length(n.w)) = n.w THEN l.reason"
    " ELSE l.reason || '; not replayed: ' || n.w END"
    " FROM unnest($2::bigint[], $3::text[]) AS n(i, w)"
    " WHERE l.cluster = $1 AND l.id = n.i AND l.status = 'replay'";

/* --- when --- */

static void timer_cb(uv_timer_t *timer)
{
    struct ad_pg *p = timer->data;
    struct ad_pg_asks *a = &p->asks;

    if (!p->ready) {
        return;
    }
    a->look = a->others = a->letters = true;
    uv_timer_start(timer, timer_cb, p->config.poll_ms, 0);
    ad_pg_schedule(p);
}

/* A look between two polls: soon, not at once, if there has just been one. */
static void early_cb(uv_timer_t *timer)
{
    struct ad_pg *p = timer->data;

    if (p->ready) {
        p->asks.look = true;
        uv_timer_start(timer, timer_cb, p->config.poll_ms, 0);
        ad_pg_schedule(p);
    }
}

void ad_pg_look(struct ad_pg *p)
{
    uint64_t since = uv_now(p->loop) - p->asks.looked_ms;
    uint64_t in_ms = since < NOTICE_GAP_MS ? NOTICE_GAP_MS - since : 0;

    if (p->ready && !p->asks.look && uv_timer_get_due_in(&p->asks.timer) > in_ms) {
        uv_timer_start(&p->asks.timer, early_cb, in_ms, 0);
    }
}

void ad_pg_asks_notified(struct ad_pg *p)
{
    ad_pg_look(p);
}

void ad_pg_asks_progress(struct ad_pg *p)
{
    if (p->asks.more) {
        ad_pg_look(p);
    }
}

static bool replays_wait(const struct ad_pg_asks *a)
{
    for (unsigned i = 0; i < AD_PG_REPLAYS_MAX && !a->replays_held; i++) {
        if (a->replays[i].id != 0 && a->replays[i].done) {
            return true;
        }
    }
    return false;
}

bool ad_pg_asks_due(const struct ad_pg *p)
{
    const struct ad_pg_asks *a = &p->asks;

    return a->listen || a->answers_n > 0 || a->look || a->letters || replays_wait(a);
}

/* --- sending --- */

static void send_listen(struct ad_pg *p)
{
    ad_pg_begin_step(p, AD_PG_LISTEN);
    ad_pg_queue(p, AD_PG_CMD_LISTEN, sql_listen, 0, NULL);
    ad_pg_end_step(p);
}

static void send_look(struct ad_pg *p)
{
    struct ad_pg_asks *a = &p->asks;
    char limit[AD_PG_NUMBER_SIZE];
    const char *values[] = {ad_pg_number(limit, AD_PG_ASKS_MAX), a->after};

    a->look = false;
    a->looked_ms = uv_now(p->loop);
    a->revision = p->at.revision;
    ad_pg_begin_step(p, AD_PG_LOOK);
    ad_pg_begin_transaction(p, PATIENCE_MS);
    if (!a->able) {
        ad_pg_queue(p, AD_PG_CMD_PROBE, sql_probe, 0, NULL);
    }
    ad_pg_queue(p, AD_PG_CMD_PENDING, sql_pending, 1, values);
    if (a->others) {
        ad_pg_queue(p, AD_PG_CMD_OTHERS, sql_others, 2, values);
    }
    ad_pg_queue(p, AD_PG_CMD_COMMIT, "COMMIT", 0, NULL);
    ad_pg_end_step(p);
}

static void send_letters(struct ad_pg *p)
{
    struct ad_pg_asks *a = &p->asks;
    struct ad_pg_columns *shown = &a->marks;
    char limit[AD_PG_NUMBER_SIZE];
    const char *values[] = {p->config.cluster, NULL, NULL};
    unsigned room = 0;

    a->letters = false;
    ad_pg_columns_begin(shown);
    for (unsigned i = 0; i < AD_PG_REPLAYS_MAX; i++) {
        if (a->replays[i].id != 0) {
            ad_pg_put_uint(&shown->col[0], a->replays[i].id);
        } else {
            room++;
        }
    }
    ad_pg_columns_end(shown);
    values[1] = ad_pg_number(limit, room);
    values[2] = (const char *)shown->col[0].p;
    ad_pg_begin_step(p, AD_PG_LETTERS);
    ad_pg_begin_transaction(p, PATIENCE_MS);
    ad_pg_queue(p, AD_PG_CMD_REPLAYS, sql_replays, 3, values);
    ad_pg_queue(p, AD_PG_CMD_COMMIT, "COMMIT", 0, NULL);
    ad_pg_end_step(p);
}

static void put_answers(struct ad_pg_asks *a)
{
    a->answers_sent = a->answers_n < a->answers_max ? a->answers_n : a->answers_max;
    ad_pg_columns_begin(&a->columns);
    for (unsigned i = 0; i < a->answers_sent; i++) {
        const struct ad_pg_answer *n = &a->answers[i];

        ad_pg_put_result(&a->columns,
                         &(struct ad_pg_result){.id = n->id,
                                                .status = n->status,
                                                .attempts = n->attempts,
                                                .error = n->text,
                                                .accepted_ms = n->accepted_ms,
                                                .sent_ms = n->sent_ms,
                                                .finished_ms = n->finished_ms});
    }
    ad_pg_columns_end(&a->columns);
}

static void put_marks(struct ad_pg_asks *a)
{
    ad_pg_columns_begin(&a->marks);
    for (unsigned i = 0; i < AD_PG_REPLAYS_MAX; i++) {
        struct ad_pg_replay *r = &a->replays[i];

        r->sent = r->id != 0 && r->done && !a->replays_held;
        if (r->sent) {
            ad_pg_put_uint(&a->marks.col[0], r->id);
            ad_pg_put_text_or_null(&a->marks.col[1], r->why_not);
            a->marks.rows++;
        }
    }
    ad_pg_columns_end(&a->marks);
}

static void send_answers(struct ad_pg *p)
{
    struct ad_pg_asks *a = &p->asks;

    p->results_written = 0;
    put_answers(a);
    put_marks(a);
    ad_pg_begin_step(p, AD_PG_ANSWER);
    ad_pg_begin_transaction(p, PATIENCE_MS);
    ad_pg_queue_fence(p, &p->at, &p->at);
    ad_pg_queue_columns(p, AD_PG_CMD_ANSWERS, ad_pg_sql_results, AD_PG_RESULTS_COLUMNS,
                        &a->columns);
    ad_pg_queue_cluster_columns(p, AD_PG_CMD_REPLAYED, sql_replayed, 2, &a->marks);
    ad_pg_queue(p, AD_PG_CMD_COMMIT, "COMMIT", 0, NULL);
    ad_pg_end_step(p);
}

void ad_pg_asks_send(struct ad_pg *p)
{
    struct ad_pg_asks *a = &p->asks;

    if (a->listen) { /* Before the look: what came before it is told by nobody. */
        send_listen(p);
    } else if (a->answers_n > 0 || replays_wait(a)) {
        send_answers(p);
    } else if (a->look) {
        send_look(p);
    } else {
        send_letters(p);
    }
}

/* --- answers --- */

static struct ad_pg_answer *new_answer(struct ad_pg_asks *a, const char *id,
                                       const char *status, const char *text)
{
    struct ad_pg_answer *n;

    if (a->answers_n == AD_PG_ANSWERS_MAX) {
        return NULL; /* Its row is shown again. */
    }
    if (a->answers == NULL) {
        a->answers = sy_calloc(AD_PG_ANSWERS_MAX, sizeof a->answers[0]);
    }
    n = &a->answers[a->answers_n++];
    *n = (struct ad_pg_answer){.id = sy_strdup(id)};
    snprintf(n->status, sizeof n->status, "%s", status);
    snprintf(n->text, sizeof n->text, "%s", text);
    return n;
}

static void forget_answers(struct ad_pg_asks *a, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        sy_free(a->answers[i].id);
    }
    a->answers_n -= n;
    if (a->answers_n > 0) {
        memmove(a->answers, a->answers + n, a->answers_n * sizeof a->answers[0]);
    }
}

void ad_pg_answer(struct ad_pg *p, const char *id, const char *status, const char *text)
{
    struct ad_pg_answer *n = new_answer(&p->asks, id, status, text);

    if (n != NULL) {
        n->finished_ms = ad_pg_wall_ms();
    }
    ad_pg_schedule(p);
}

/* --- what was seen --- */

void ad_pg_asks_take(struct ad_pg *p, enum ad_pg_cmd cmd, PGresult *r)
{
    struct ad_pg_asks *a = &p->asks;
    PGresult **to = cmd == AD_PG_CMD_PENDING  ? &a->pending_rows
                    : cmd == AD_PG_CMD_OTHERS ? &a->other_rows
                                              : &a->letter_rows;

    if (PQresultStatus(r) != PGRES_TUPLES_OK || *to != NULL) {
        PQclear(r);
        return;
    }
    *to = r;
}

static void forget_rows(struct ad_pg_asks *a)
{
    PQclear(a->pending_rows);
    PQclear(a->other_rows);
    PQclear(a->letter_rows);
    a->pending_rows = a->other_rows = a->letter_rows = NULL;
}

static struct ad_pg_ask read_row(const PGresult *r, int row)
{
    return (struct ad_pg_ask){
        .id = PQgetvalue(r, row, 0),
        .meter = PQgetvalue(r, row, 1),
        .command = PQgetvalue(r, row, 2),
        .value = PQgetvalue(r, row, 3),
        .status = PQgetvalue(r, row, 4),
        .dated = PQgetisnull(r, row, 5) == 0,
        .age_ms = strtoull(PQgetvalue(r, row, 5), NULL, 10),
        .expires = PQgetisnull(r, row, 6) == 0,
        .expires_in_ms = strtoll(PQgetvalue(r, row, 6), NULL, 10),
    };
}

/* The ledger knows it: is the row behind what was written when we looked? */
static void answer_known(struct ad_pg *p, const struct ad_pg_ask *ask,
                         const struct rp_command *c)
{
    struct ad_pg_result is;
    struct ad_pg_answer *n;

    if (!ad_pg_result_of(c, &is)) {
        ad_pg_answer(p, ask->id, "failed", "another command has this id");
        return;
    }
    if (c->revision > p->asks.revision || strcmp(is.status, ask->status) == 0) {
        return;
    }
    n = new_answer(&p->asks, ask->id, is.status, is.error);
    if (n != NULL) {
        n->attempts = is.attempts;
        n->accepted_ms = is.accepted_ms;
        n->sent_ms = is.sent_ms;
        n->finished_ms = is.finished_ms;
    }
}

/* True: nobody has heard of it. */
static bool is_new(struct ad_pg *p, const struct ad_pg_ask *ask)
{
    char id[RP_ID_SIZE];
    const struct rp_command *c;

    if (strlen(ask->id) >= sizeof id - (sizeof AD_PG_ID_PREFIX - 1)) {
        ad_pg_answer(p, ask->id, "failed", "the id of the row is longer than 60 bytes");
        return false;
    }
    snprintf(id, sizeof id, "%s%s", AD_PG_ID_PREFIX, ask->id);
    c = rp_store_command(p->store, id);
    if (c != NULL) {
        answer_known(p, ask, c);
    }
    return c == NULL;
}

static unsigned sort_rows(struct ad_pg *p, const PGresult *rows, struct ad_pg_ask *to)
{
    unsigned n = 0;

    for (int i = 0; i < PQntuples(rows); i++) {
        to[n] = read_row(rows, i);
        n += is_new(p, &to[n]);
    }
    return n;
}

static void go_round(struct ad_pg_asks *a)
{
    int n = PQntuples(a->other_rows);
    bool full = n == AD_PG_ASKS_MAX;

    snprintf(a->after, sizeof a->after, "%s",
             full ? PQgetvalue(a->other_rows, n - 1, 0) : "");
}

static void show_rows(struct ad_pg *p)
{
    struct ad_pg_asks *a = &p->asks;
    struct ad_pg_ask *asks = sy_calloc(2 * AD_PG_ASKS_MAX, sizeof *asks);
    unsigned n = sort_rows(p, a->pending_rows, asks);
    int open = PQntuples(a->pending_rows);

    a->more = open == AD_PG_ASKS_MAX;
    if (a->other_rows != NULL) {
        n += sort_rows(p, a->other_rows, asks + n);
        open += PQntuples(a->other_rows);
        go_round(a);
        a->others = false;
        p->status.commands_open = (uint64_t)open;
    }
    if (n > 0) {
        p->cb.commands(p->data, asks, n);
    }
    sy_free(asks);
}

void ad_pg_asks_trouble(struct ad_pg *p, const char *why)
{
    struct ad_pg_asks *a = &p->asks;
    char text[sizeof p->status.commands_error];

    snprintf(text, sizeof text, "%s", why);
    a->able = a->more = false;
    forget_answers(a, a->answers_n);
    if (strcmp(p->status.commands_error, text) != 0) {
        memcpy(p->status.commands_error, text, sizeof text);
        SY_LOG(p->log, SY_WARN, "pg.commands_trouble", KSTR("why", text));
        p->cb.changed(p->data);
    }
}

static void look_done(struct ad_pg *p)
{
    struct ad_pg_asks *a = &p->asks;

    if (p->failed || a->pending_rows == NULL) {
        a->others = false;
        ad_pg_asks_trouble(p, p->why);
        return;
    }
    a->able = true;
    p->limits.no_commands = false;
    if (p->status.commands_error[0] != '\0') {
        p->status.commands_error[0] = '\0';
        p->cb.changed(p->data);
    }
    show_rows(p);
}

/* --- letters --- */

static struct ad_pg_replay *replay_of(struct ad_pg_asks *a, uint64_t id)
{
    for (unsigned i = 0; i < AD_PG_REPLAYS_MAX; i++) {
        if (a->replays[i].id == id) {
            return &a->replays[i];
        }
    }
    return NULL;
}

static void show_letter(struct ad_pg *p, const PGresult *r, int row)
{
    struct ad_pg_retry l = {.id = strtoull(PQgetvalue(r, row, 0), NULL, 10),
                            .area = PQgetvalue(r, row, 1),
                            .topic = PQgetvalue(r, row, 2),
                            .at_ms = strtoull(PQgetvalue(r, row, 4), NULL, 10)};
    struct ad_pg_replay *free_one = replay_of(&p->asks, 0);
    unsigned char *payload;

    if (free_one == NULL) {
        return;
    }
    payload = PQunescapeBytea((const unsigned char *)PQgetvalue(r, row, 3), &l.len);
    if (payload != NULL) {
        *free_one = (struct ad_pg_replay){.id = l.id};
        l.payload = payload;
        p->cb.retry(p->data, &l);
        PQfreemem(payload);
    }
}

static void letters_trouble(struct ad_pg *p, const char *why)
{
    if (strcmp(p->status.letters_error, why) != 0) {
        snprintf(p->status.letters_error, sizeof p->status.letters_error, "%s", why);
        SY_LOG(p->log, SY_WARN, "pg.letters_wait", KSTR("why", why));
        p->cb.changed(p->data);
    }
}

static void letters_done(struct ad_pg *p)
{
    const PGresult *r = p->asks.letter_rows;

    if (p->failed || r == NULL) {
        letters_trouble(p, p->why);
        return;
    }
    if (p->status.letters_error[0] != '\0' &&
        p->at.letters == rp_store_letters_last(p->store)) {
        p->status.letters_error[0] = '\0'; /* Nothing waits. */
        p->cb.changed(p->data);
    }
    for (int i = 0, n = PQntuples(r); i < n && !p->closing; i++) {
        show_letter(p, r, i);
    }
}

void ad_pg_retried(struct ad_pg *p, uint64_t id, const char *why_not)
{
    struct ad_pg_replay *r = replay_of(&p->asks, id);

    if (r == NULL) {
        r = replay_of(&p->asks, 0); /* Shown to an earlier watch of this node. */
    }
    if (r != NULL) {
        *r = (struct ad_pg_replay){.id = id, .done = true};
        snprintf(r->why_not, sizeof r->why_not, "%s", why_not != NULL ? why_not : "");
        ad_pg_schedule(p);
    }
}

/* --- the end of a group --- */

static void answered(struct ad_pg *p)
{
    struct ad_pg_asks *a = &p->asks;

    p->status.rows_commands += p->results_written;
    if (a->answers_sent > 0) {
        forget_answers(a, a->answers_sent);
        ad_pg_asks_progress(p);
    }
    if (a->answers_n == 0) {
        a->answers_max = AD_PG_ANSWERS_MAX;
    }
    for (unsigned i = 0; i < AD_PG_REPLAYS_MAX; i++) {
        if (a->replays[i].sent) {
            p->status.letters_replayed += a->replays[i].why_not[0] == '\0';
            a->replays[i] = (struct ad_pg_replay){0};
        }
    }
}

/* Find the row that is not wanted, and leave it: it is shown again with the next poll,
 * and each time it is said. */
static void answer_refused(struct ad_pg *p)
{
    struct ad_pg_asks *a = &p->asks;

    if (a->answers_sent > 1) {
        a->answers_max = 1;
        return;
    }
    SY_LOG(p->log, SY_WARN, "pg.answer_refused", KSTR("id", a->answers[0].id),
           KSTR("status", a->answers[0].status), KSTR("sqlstate", p->sqlstate),
           KSTR("why", p->why));
    p->status.commands_refused++;
    forget_answers(a, 1);
}

static void hold_replays(struct ad_pg *p)
{
    p->asks.replays_held = true;
    ad_pg_hold(p);
}

static void answer_done(struct ad_pg *p)
{
    if (!p->failed) {
        answered(p);
        return;
    }
    if (p->failed_cmd == AD_PG_CMD_REPLAYED) {
        hold_replays(p);
        letters_trouble(p, p->why);
    } else if (p->failed_cmd == AD_PG_CMD_ANSWERS && ad_pg_data_error(p->sqlstate)) {
        answer_refused(p);
    } else {
        hold_replays(p);
        ad_pg_asks_trouble(p, p->why);
    }
}

void ad_pg_asks_done(struct ad_pg *p, enum ad_pg_step step)
{
    struct ad_pg_asks *a = &p->asks;

    p->in_transaction = p->failed && step != AD_PG_LISTEN;
    if (p->failed && p->failed_cmd == AD_PG_CMD_FENCE &&
        strcmp(p->sqlstate, "22012") == 0) {
        ad_pg_send_claim(p); /* The row says what it was. */
        return;
    }
    switch ((int)step) {
    case AD_PG_LISTEN:
        a->listen = false;
        p->status.listening = !p->failed;
        break;
    case AD_PG_LOOK:
        look_done(p);
        break;
    case AD_PG_LETTERS:
        letters_done(p);
        break;
    case AD_PG_ANSWER:
        answer_done(p);
        break;
    default:
        assert(0);
        break;
    }
    if (p->closing) {
        return;
    }
    forget_rows(a);
    ad_pg_schedule(p);
}

/* --- life --- */

void ad_pg_asks_init(struct ad_pg *p)
{
    (void)uv_timer_init(p->loop, &p->asks.timer); /* Cannot fail. */
    p->asks.timer.data = p;
    p->asks.answers_max = AD_PG_ANSWERS_MAX;
}

void ad_pg_asks_begin(struct ad_pg *p)
{
    p->asks.listen = !p->status.pooled && !p->status.listening;
    timer_cb(&p->asks.timer);
}

void ad_pg_asks_end(struct ad_pg *p)
{
    struct ad_pg_asks *a = &p->asks;

    uv_timer_stop(&a->timer);
    p->status.listening = false;
    a->able = a->more = a->listen = a->look = a->others = a->letters = false;
    forget_answers(a, a->answers_n);
    forget_rows(a);
}

void ad_pg_asks_free(struct ad_pg *p)
{
    struct ad_pg_asks *a = &p->asks;

    sy_free(a->answers);
    ad_pg_columns_free(&a->columns);
    ad_pg_columns_free(&a->marks);
}

/* What the server answers to a group of statements, and what follows from it. */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/postgres/writer.h"

/* --- one result --- */

static uint64_t number_at(const PGresult *r, int col)
{
    return strtoull(PQgetvalue(r, 0, col), NULL, 10);
}

static void take_row(struct ad_pg *p, const PGresult *r)
{
    if (PQntuples(r) != 1) {
        return;
    }
    p->row.found = true;
    p->row.term = number_at(r, 0);
    snprintf(p->row.node, sizeof p->row.node, "%s", PQgetvalue(r, 0, 1));
    p->row.at.shipped = number_at(r, 2);
    p->row.at.revision = number_at(r, 3);
    p->row.at.letters = number_at(r, 4);
}

static uint64_t changed_rows(PGresult *r)
{
    return strtoull(PQcmdTuples(r), NULL, 10);
}

static void take_pid(struct ad_pg *p, const PGresult *r)
{
    p->status.pooled =
        strtol(PQgetvalue(r, 0, 0), NULL, 10) != (long)PQbackendPID(p->conn.pg);
    if (p->status.pooled && !p->said_pooled) {
        SY_LOG(p->log, SY_NOTE, "pg.pooled", KU64("poll_ms", p->config.poll_ms));
        p->said_pooled = true;
    }
}

static void take_commit(struct ad_pg *p, PGresult *r)
{
    if (strcmp(PQcmdStatus(r), "COMMIT") == 0) {
        return;
    }
    p->failed = true; /* "ROLLBACK": nothing is in, whatever the reason. */
    p->failed_cmd = AD_PG_CMD_COMMIT;
    p->sqlstate[0] = '\0';
    snprintf(p->why, sizeof p->why, "the server rolled back");
}

/* The others say nothing that counts: their errors do. */
static void take(struct ad_pg *p, enum ad_pg_cmd cmd, PGresult *r)
{
    switch ((int)cmd) {
    case AD_PG_CMD_SCHEMA:
        p->schema = PQntuples(r) == 1 ? number_at(r, 0) : 0;
        break;
    case AD_PG_CMD_PID:
        take_pid(p, r);
        break;
    case AD_PG_CMD_CLAIM:
        p->row.claimed = strcmp(PQcmdTuples(r), "1") == 0;
        break;
    case AD_PG_CMD_READ:
        take_row(p, r);
        break;
    case AD_PG_CMD_READINGS:
        p->inserted = changed_rows(r);
        break;
    case AD_PG_CMD_RESULTS:
    case AD_PG_CMD_ANSWERS:
        p->results_written = changed_rows(r);
        break;
    case AD_PG_CMD_REFUSED:
    case AD_PG_CMD_LETTERS:
        p->letters_written += changed_rows(r);
        break;
    case AD_PG_CMD_UPKEEP:
        ad_pg_upkeep_take(p, r);
        break;
    case AD_PG_CMD_COMMIT:
        take_commit(p, r);
        break;
    default:
        break;
    }
}

static void take_error(struct ad_pg *p, enum ad_pg_cmd cmd, const PGresult *r)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(r, PG_DIAG_MESSAGE_DETAIL);
    char line[512];

    if (p->failed) {
        return; /* The first one is the cause. */
    }
    p->failed = true;
    p->failed_cmd = cmd;
    snprintf(p->sqlstate, sizeof p->sqlstate, "%s", state != NULL ? state : "");
    if (text == NULL) {
        text = PQresultErrorMessage(r); /* libpq's own: the connection broke */
    }
    snprintf(line, sizeof line, "%s%s%s", text, detail != NULL ? ": " : "",
             detail != NULL ? detail : "");
    ad_pg_conn_why(&p->conn, line, p->why, sizeof p->why);
}

/* --- one group --- */

static void hello_done(struct ad_pg *p)
{
    unsigned ours = 0;
    char text[128];

    while (ad_pg_migrations[ours].version != 0) {
        ours++;
    }
    if (p->failed && p->failed_cmd == AD_PG_CMD_SCHEMA) {
        if (strcmp(p->sqlstate, "42P01") == 0) {
            ad_pg_lost(p,
                       "the database has no tables of vagt: run \"vagtctl db "
                       "migrate\"");
        } else {
            ad_pg_lost(p, p->why);
        }
        return;
    }
    /* That nobody could be evicted is no reason not to write: the claim waits. */
    p->status.schema = p->schema;
    if (p->schema == ours) {
        ad_pg_send_claim(p);
        return;
    }
    snprintf(text, sizeof text,
             "the database has schema %" PRIu64 ", this program %u: %s", p->schema, ours,
             p->schema < ours ? "run \"vagtctl db migrate\"" : "it needs a newer vagtd");
    ad_pg_lost(p, text);
}

/* The row is ahead of the log that the whole cluster agreed on: it belongs to
 * another history. Going on would pass over readings as if they were in. */
static bool foreign(struct ad_pg *p)
{
    char text[sizeof p->status.error];

    if (p->row.at.shipped <= rp_store_readings_last(p->store) &&
        p->row.at.revision <= rp_store_revision(p->store) &&
        p->row.at.letters <= rp_store_letters_last(p->store)) {
        return false;
    }
    snprintf(
        text, sizeof text,
        "row \"%s\" of vagt_fence is at reading %" PRIu64 ", change %" PRIu64
        ", letter %" PRIu64 "; this cluster only at %" PRIu64 ", %" PRIu64 ", %" PRIu64
        ": it was recovered or restored without its newest entries: delete the row; or "
        "it is another one: rename the cluster",
        p->config.cluster, p->row.at.shipped, p->row.at.revision, p->row.at.letters,
        rp_store_readings_last(p->store), rp_store_revision(p->store),
        rp_store_letters_last(p->store));
    ad_pg_lost(p, text);
    return true;
}

static void claim_done(struct ad_pg *p)
{
    if (p->failed) {
        ad_pg_lost(p, p->why);
        return;
    }
    if (!p->row.found) {
        ad_pg_lost(p, "the row of vagt_fence cannot be read: row security?");
        return;
    }
    if (!p->row.claimed) {
        ad_pg_halt(p);
        return;
    }
    if (foreign(p)) {
        return;
    }
    ad_pg_ready(p);
    /* The outcome of a commit that nobody answered: it is in. */
    if (!p->closing && (p->at.shipped > rp_store_readings_shipped(p->store) ||
                        p->at.revision > rp_store_revision_shipped(p->store) ||
                        p->at.letters > rp_store_letters_shipped(p->store))) {
        p->cb.shipped(p->data, p->at.shipped, p->at.revision, p->at.letters);
    }
    if (!p->closing) {
        ad_pg_schedule(p);
    }
}

static void measure(struct ad_pg *p, uint64_t rows)
{
    uint64_t now = uv_now(p->loop);
    uint64_t ms = now - p->rate_since;

    p->rate_rows += rows;
    if (ms >= 1000) {
        p->status.rows_per_s = p->rate_rows * 1000 / ms;
        p->rate_since = now;
        p->rate_rows = 0;
    }
}

static void count(struct ad_pg *p)
{
    const struct ad_pg_batch *b = &p->batch;

    p->status.batches++;
    p->status.rows_readings += p->inserted;
    p->status.rows_devices += b->identity.rows;
    p->status.rows_commands += p->results_written;
    p->status.rows_letters += p->letters_written;
    measure(p, p->inserted);
    if (p->inserted < b->readings.rows) {
        /* Never by our own doing, the fence sees to that: rows that somebody else
         * wrote with our numbers, or a database that was put back to an older copy
         * of itself. */
        SY_LOG(p->log, SY_WARN, "pg.readings_known",
               KU64("count", b->readings.rows - p->inserted), KU64("from", b->from + 1),
               KU64("to", b->to));
    }
    if (p->letters_written < b->letters.rows + b->refused.rows) {
        /* Of a cluster of this name that there was before. */
        SY_LOG(p->log, SY_WARN, "pg.letters_known",
               KU64("count", b->letters.rows + b->refused.rows - p->letters_written),
               KU64("to", b->to_letter));
    }
}

static void written(struct ad_pg *p)
{
    const struct ad_pg_batch *b = &p->batch;

    count(p);
    p->at = (struct ad_pg_marks){b->to, b->to_revision, b->to_letter};
    ad_pg_batch_written(&p->batch);
    ad_pg_raise_limits(p);
    if (b->readings.rows > 0 || b->identity.rows > 0 || b->results.rows > 0) {
        p->refused_in_a_row = 0;
        ad_pg_reset_backoff(p);
    }
    if (b->letters.rows > 0) {
        p->status.letters_error[0] = '\0';
    }
    if (b->results.rows > 0) {
        ad_pg_asks_progress(p);
    }
    memset(p->limits.refused, 0, sizeof p->limits.refused);
    p->doubtful = false;
    ad_pg_up(p);
    if (p->closing) {
        return;
    }
    p->cb.shipped(p->data, p->at.shipped, p->at.revision, p->at.letters);
}

static void batch_done(struct ad_pg *p)
{
    if (!p->failed) {
        written(p);
        if (!p->closing) {
            ad_pg_schedule(p);
        }
        return;
    }
    if (p->failed_cmd == AD_PG_CMD_FENCE && strcmp(p->sqlstate, "22012") == 0) {
        p->in_transaction = true;
        ad_pg_send_claim(p); /* The row says what it was. */
        return;
    }
    if (ad_pg_refused(p)) {
        return;
    }
    /* Class 57 is an operator who stops the server. Anything else will come again
     * with the next batch: then "up" in between would be noise. */
    p->doubtful = p->sqlstate[0] != '\0' && strncmp(p->sqlstate, "57P", 3) != 0;
    ad_pg_lost(p, p->why);
}

static void group_done(struct ad_pg *p)
{
    enum ad_pg_step step = p->step;

    p->step = AD_PG_NOTHING;
    uv_timer_stop(&p->dog);
    switch (step) {
    case AD_PG_HELLO:
        hello_done(p);
        break;
    case AD_PG_CLAIM:
        claim_done(p);
        break;
    case AD_PG_BATCH:
        batch_done(p);
        break;
    case AD_PG_LISTEN:
    case AD_PG_LOOK:
    case AD_PG_LETTERS:
    case AD_PG_ANSWER:
        ad_pg_asks_done(p, step);
        break;
    case AD_PG_UPKEEP:
        ad_pg_upkeep_done(p);
        break;
    case AD_PG_NOTHING:
    default:
        assert(0);
        break;
    }
}

/* A result, or the end of the results of the present statement. False: nothing
 * more to take from this connection. */
static bool take_next(struct ad_pg *p)
{
    enum ad_pg_cmd cmd = p->cmds[p->cmd];
    PGresult *r = PQgetResult(p->conn.pg);
    ExecStatusType status;

    if (r == NULL) {
        p->cmd += cmd != AD_PG_CMD_SYNC;
        return cmd != AD_PG_CMD_SYNC; /* A sync has no end; this must not spin. */
    }
    status = PQresultStatus(r);
    if (status == PGRES_FATAL_ERROR) {
        take_error(p, cmd, r);
    } else if (cmd == AD_PG_CMD_PENDING || cmd == AD_PG_CMD_OTHERS ||
               cmd == AD_PG_CMD_REPLAYS) {
        ad_pg_asks_take(p, cmd, r);
        r = NULL;
    } else if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
        take(p, cmd, r);
    }
    PQclear(r);
    if (status == PGRES_PIPELINE_SYNC) {
        assert(cmd == AD_PG_CMD_SYNC);
        group_done(p);
        return false;
    }
    return true;
}

/* Our own changes of the table tell us nothing. */
static void take_notices(struct ad_pg *p)
{
    PGnotify *n;

    while ((n = PQnotifies(p->conn.pg)) != NULL) {
        if (n->be_pid != PQbackendPID(p->conn.pg)) {
            ad_pg_asks_notified(p);
        }
        PQfreemem(n);
    }
}

void ad_pg_pump(void *data)
{
    struct ad_pg *p = data;

    while (p->step != AD_PG_NOTHING && p->conn.pg != NULL && !PQisBusy(p->conn.pg) &&
           take_next(p)) {
        if (PQstatus(p->conn.pg) == CONNECTION_BAD) {
            ad_pg_lost(p, p->failed ? p->why : PQerrorMessage(p->conn.pg));
        }
    }
    if (p->conn.pg != NULL && p->step == AD_PG_NOTHING &&
        PQstatus(p->conn.pg) == CONNECTION_BAD) {
        ad_pg_lost(p, PQerrorMessage(p->conn.pg));
    }
    if (p->conn.pg != NULL && p->ready) {
        take_notices(p);
    }
}

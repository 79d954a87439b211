/* What the server answers to a group of statements, and what follows from it. */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/postgres/writer.h"

enum {
    /* So many rows refused one after the other look like a table that takes none.
     * From here on each costs a pause, so that little is lost until somebody
     * sees it, and still nothing waits for ever. */
    REFUSED_MAX = 16
};

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
    p->row.shipped = number_at(r, 2);
    p->row.revision = number_at(r, 3);
}

static void take(struct ad_pg *p, enum ad_pg_cmd cmd, PGresult *r)
{
    /* The others say nothing that counts: their errors do. */
    if (cmd == AD_PG_CMD_SCHEMA && PQntuples(r) == 1) {
        p->schema = number_at(r, 0);
    } else if (cmd == AD_PG_CMD_CLAIM) {
        p->row.claimed = strcmp(PQcmdTuples(r), "1") == 0;
    } else if (cmd == AD_PG_CMD_READ) {
        take_row(p, r);
    } else if (cmd == AD_PG_CMD_READINGS) {
        p->inserted = strtoull(PQcmdTuples(r), NULL, 10);
    } else if (cmd == AD_PG_CMD_COMMIT && strcmp(PQcmdStatus(r), "COMMIT") != 0) {
        p->failed = true; /* "ROLLBACK": nothing is in, whatever the reason. */
        p->failed_cmd = cmd;
        p->sqlstate[0] = '\0';
        snprintf(p->why, sizeof p->why, "the server rolled back");
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

    if (p->row.shipped <= rp_store_readings_last(p->store) &&
        p->row.revision <= rp_store_revision(p->store)) {
        return false;
    }
    snprintf(
        text, sizeof text,
        "row \"%s\" of vagt_fence is at reading %" PRIu64 ", change %" PRIu64
        "; this cluster only at %" PRIu64 ", %" PRIu64
        ": it was set up anew or is another one; rename the cluster or delete the row",
        p->config.cluster, p->row.shipped, p->row.revision,
        rp_store_readings_last(p->store), rp_store_revision(p->store));
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
    if (!p->closing && (p->shipped > rp_store_readings_shipped(p->store) ||
                        p->revision > rp_store_revision_shipped(p->store))) {
        p->cb.shipped(p->data, p->shipped, p->revision);
    }
    if (!p->closing) {
        ad_pg_schedule(p);
    }
}

static unsigned doubled(unsigned now, unsigned max)
{
    return now < max / 2 ? now * 2 : max;
}

static void written(struct ad_pg *p)
{
    const struct ad_pg_batch *b = &p->batch;
    unsigned devices_max = p->config.batch_rows_max < AD_PG_DEVICES_MAX
                               ? p->config.batch_rows_max
                               : AD_PG_DEVICES_MAX;

    p->status.batches++;
    p->status.rows_readings += p->inserted;
    p->status.rows_devices += b->identity.rows;
    if (p->inserted < b->readings.rows) {
        /* Never by our own doing, the fence sees to that: a key of the site's own,
         * or a database that was put back to an older copy of itself. */
        SY_LOG(p->log, SY_WARN, "pg.readings_known",
               KU64("count", b->readings.rows - p->inserted), KU64("from", b->from + 1),
               KU64("to", b->to));
    }
    p->shipped = b->to;
    p->revision = b->to_revision;
    ad_pg_batch_written(&p->batch);
    p->limits.readings = doubled(p->limits.readings, p->config.batch_rows_max);
    p->limits.devices = doubled(p->limits.devices, devices_max);
    if (b->readings.rows > 0 || b->identity.rows > 0) {
        p->refused_in_a_row = 0;
        ad_pg_reset_backoff(p);
    }
    p->limits.skip_seq = p->limits.skip_revision = 0;
    p->doubtful = false;
    ad_pg_up(p);
    if (p->closing) {
        return;
    }
    p->cb.shipped(p->data, p->shipped, p->revision);
}

static void refuse_row(struct ad_pg *p, bool reading)
{
    const struct ad_pg_batch *b = &p->batch;
    const struct rp_reading *r = rp_store_reading(p->store, b->first_seq);
    char ieee[24];

    if (reading) {
        p->limits.skip_seq = b->first_seq;
    } else {
        p->limits.skip_revision = b->first_revision;
    }
    snprintf(ieee, sizeof ieee, "0x%016" PRIx64,
             !reading    ? b->first_ieee
             : r != NULL ? r->ieee
                         : 0);
    p->status.rows_failed++;
    p->refused_in_a_row++;
    SY_LOG(p->log, SY_ERR, "pg.row_refused", KSTR("kind", reading ? "reading" : "device"),
           KSTR("ieee", ieee), KU64("seq", reading ? b->first_seq : b->first_revision),
           KSTR("sqlstate", p->sqlstate), KSTR("why", p->why));
}

/* Something in the batch is not to be stored: halve it until it stands alone. */
static void divide(struct ad_pg *p)
{
    const struct ad_pg_batch *b = &p->batch;
    bool reading = p->failed_cmd == AD_PG_CMD_READINGS ||
                   (p->failed_cmd == AD_PG_CMD_COMMIT && b->readings.rows > 0);

    if (reading && b->readings.rows > 1) {
        p->limits.readings = b->readings.rows / 2;
    } else if (!reading && b->devices > 1) {
        p->limits.devices = b->devices / 2;
    } else {
        refuse_row(p, reading);
    }
    if (p->refused_in_a_row <= REFUSED_MAX) {
        ad_pg_again(p);
    } else {
        SY_LOG(p->log, SY_ERR, "pg.every_row_refused", KU64("rows", p->refused_in_a_row),
               KSTR("why", p->why));
        ad_pg_pause(p);
    }
}

static bool data_error(const struct ad_pg *p)
{
    bool rows = p->failed_cmd == AD_PG_CMD_READINGS ||
                p->failed_cmd == AD_PG_CMD_RETIRE || p->failed_cmd == AD_PG_CMD_METERS ||
                p->failed_cmd == AD_PG_CMD_IDENTITY ||
                p->failed_cmd == AD_PG_CMD_UNTOLD || p->failed_cmd == AD_PG_CMD_COMMIT;

    return rows &&
           (strncmp(p->sqlstate, "22", 2) == 0 || strncmp(p->sqlstate, "23", 2) == 0);
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
    if (data_error(p)) {
        p->in_transaction = true;
        divide(p);
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
    case AD_PG_NOTHING:
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
}

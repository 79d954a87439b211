/* What Postgres does not want. A row that is wrong is found by halving, and goes to
 * vagt_dead_letters; what is wrong with a table that is not vital costs only what
 * would have gone there. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "adapters/postgres/writer.h"

enum {
    /* So many rows refused one after the other look like a table that takes none.
     * From here on each costs a pause, so that few go astray until somebody sees it,
     * and still nothing waits for ever. */
    REFUSED_MAX = 16
};

bool ad_pg_data_error(const char *sqlstate)
{
    return strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "23", 2) == 0 ||
           strncmp(sqlstate, "44", 2) == 0 || /* a view's WITH CHECK OPTION */
           strcmp(sqlstate, "21000") == 0 ||  /* two rows are one to the table */
           strcmp(sqlstate, "P0001") == 0;    /* a trigger of the site says no */
}

static unsigned raised(unsigned now, unsigned max)
{
    return now == 0 ? 1 : now < max / 2 ? now * 2 : max;
}

static unsigned smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

void ad_pg_raise_limits(struct ad_pg *p)
{
    unsigned rows = p->config.batch_rows_max;
    struct ad_pg_batch_limits *l = &p->limits;

    l->readings = raised(l->readings, rows);
    l->devices = raised(l->devices, smaller(rows, AD_PG_DEVICES_MAX));
    l->commands = raised(l->commands, smaller(rows, AD_PG_COMMANDS_MAX));
}

/* Of which kind the row is that was refused; AD_PG_KINDS: it is no row of the store. */
static enum ad_pg_kind kind_of(const struct ad_pg *p)
{
    const struct ad_pg_batch *b = &p->batch;

    switch ((int)p->failed_cmd) {
    case AD_PG_CMD_READINGS:
        return AD_PG_READING;
    case AD_PG_CMD_RETIRE:
    case AD_PG_CMD_METERS:
    case AD_PG_CMD_IDENTITY:
    case AD_PG_CMD_UNTOLD:
        return AD_PG_DEVICE;
    case AD_PG_CMD_RESULTS:
        return AD_PG_COMMAND;
    case AD_PG_CMD_COMMIT: /* A constraint that is checked late: alone by now? */
        return b->taken > 0     ? AD_PG_READING
               : b->devices > 0 ? AD_PG_DEVICE
                                : AD_PG_COMMAND;
    default:
        return AD_PG_KINDS;
    }
}

/* A COMMIT does not say which table it was. True: the next batch will tell. */
static bool separate(struct ad_pg *p)
{
    const struct ad_pg_batch *b = &p->batch;

    if (p->failed_cmd != AD_PG_CMD_COMMIT) {
        return false;
    }
    if (b->taken > 0 && b->devices + b->commands > 0) {
        /* Once these, once those: there are always new ones of one kind. */
        p->readings_apart = !p->readings_apart;
        if (p->readings_apart) {
            p->limits.devices = p->limits.commands = 0;
        } else {
            p->limits.readings = 0;
        }
        return true;
    }
    if (b->devices > 0 && b->commands > 0) {
        /* They share a watermark: what comes first goes first. */
        if (b->first_device < b->first_command) {
            p->limits.commands = 0;
        } else {
            p->limits.devices = 0;
        }
        return true;
    }
    return false;
}

/* The device that has the change @nr, or whose command it is of, or whose reading. */
static uint64_t ieee_of(const struct ad_pg *p, enum ad_pg_kind kind, uint64_t nr)
{
    const struct rp_reading *r;
    const struct rp_device *d;
    const struct rp_command *c;

    switch (kind) {
    case AD_PG_READING:
        r = rp_store_reading(p->store, nr);
        return r != NULL ? r->ieee : 0;
    case AD_PG_DEVICE:
        d = rp_store_device_changed(p->store, nr - 1);
        return d != NULL && d->revision == nr ? d->ieee : 0;
    case AD_PG_COMMAND:
    case AD_PG_KINDS:
    default:
        c = rp_store_command_changed(p->store, nr - 1);
        return c != NULL && c->revision == nr ? c->ieee : 0;
    }
}

static void refuse_row(struct ad_pg *p, enum ad_pg_kind kind)
{
    const struct ad_pg_batch *b = &p->batch;
    struct ad_pg_refused *to = &p->limits.refused[kind];
    char ieee[AD_PG_IEEE_SIZE];

    to->nr = kind == AD_PG_READING  ? b->first_seq
             : kind == AD_PG_DEVICE ? b->first_device
                                    : b->first_command;
    snprintf(to->why, sizeof to->why, "%s", p->why);
    p->status.rows_failed++;
    p->refused_in_a_row++;
    SY_LOG(p->log, SY_ERR, "pg.row_refused", KSTR("kind", ad_pg_kind_name(kind)),
           KSTR("ieee", ad_pg_ieee_text(ieee_of(p, kind, to->nr), ieee)),
           KU64("seq", to->nr), KSTR("sqlstate", p->sqlstate), KSTR("why", p->why));
}

/* Something in the batch is not to be stored: halve it until it stands alone. */
static void divide(struct ad_pg *p, enum ad_pg_kind kind)
{
    const struct ad_pg_batch *b = &p->batch;
    struct ad_pg_batch_limits *l = &p->limits;

    if (separate(p)) {
        return;
    }
    if (kind == AD_PG_READING && b->taken > 1) {
        l->readings = b->taken / 2;
    } else if (kind == AD_PG_DEVICE && b->devices > 1) {
        l->devices = b->devices / 2;
    } else if (kind == AD_PG_COMMAND && b->commands > 1) {
        l->commands = b->commands / 2;
    } else {
        refuse_row(p, kind);
    }
}

static void go_on(struct ad_pg *p)
{
    if (p->refused_in_a_row <= REFUSED_MAX) {
        ad_pg_again(p);
        return;
    }
    SY_LOG(p->log, SY_ERR, "pg.every_row_refused", KU64("rows", p->refused_in_a_row),
           KSTR("why", p->why));
    ad_pg_pause(p);
}

/* The letters wait, all else goes on. */
static void hold_letters(struct ad_pg *p)
{
    p->limits.letters_wait = true;
    ad_pg_hold(p);
    if (strcmp(p->status.letters_error, p->why) != 0) {
        snprintf(p->status.letters_error, sizeof p->status.letters_error, "%s", p->why);
        SY_LOG(p->log, SY_WARN, "pg.letters_wait", KSTR("why", p->why));
        p->cb.changed(p->data);
    }
}

/* The results of commands: the table is gone, or somebody has locked it. */
static bool leave_results(struct ad_pg *p)
{
    if (strncmp(p->sqlstate, "42", 2) == 0) {
        p->limits.no_commands = true; /* Nobody could write them, ever. */
    } else if (strcmp(p->sqlstate, "55P03") == 0 || strcmp(p->sqlstate, "40P01") == 0) {
        p->limits.commands_wait = true;
        ad_pg_hold(p);
    } else {
        return false;
    }
    ad_pg_asks_trouble(p, p->why);
    return true;
}

bool ad_pg_refused(struct ad_pg *p)
{
    enum ad_pg_kind kind = kind_of(p);
    bool data = ad_pg_data_error(p->sqlstate);

    if (kind != AD_PG_KINDS && data) {
        divide(p, kind);
    } else if (p->failed_cmd == AD_PG_CMD_RESULTS && leave_results(p)) {
        ; /* The rest goes in. */
    } else if (p->failed_cmd == AD_PG_CMD_LETTERS &&
               (data || strncmp(p->sqlstate, "42", 2) == 0)) {
        hold_letters(p);
    } else {
        return false;
    }
    p->in_transaction = true;
    go_on(p);
    return true;
}

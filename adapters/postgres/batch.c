#include "adapters/postgres/batch.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

/* Milli units times a numeric constant is exact and has the right scale. The same
 * meter and time is the same row: what a later reading has counts, what it lacks
 * stays. Within a batch they have been put together (merge()): a statement must
 * not meet a row twice. */
const char ad_pg_sql_readings[] =
    "INSERT INTO meter_readings AS o (meter_id, time, power_w, voltage_v, current_a,"
    " energy_kwh, state, vagt_seq)"
    " SELECT m, to_timestamp(t / 1000.0::float8), p * 0.001, v * 0.001, c * 0.001,"
    " e * 0.000001, s, q"
    " FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],"
    " $6::bigint[], $7::text[], $8::bigint[]) AS r(m, t, p, v, c, e, s, q)"
    " ON CONFLICT (meter_id, time) DO UPDATE SET"
    " power_w = COALESCE(EXCLUDED.power_w, o.power_w),"
    " voltage_v = COALESCE(EXCLUDED.voltage_v, o.voltage_v),"
    " current_a = COALESCE(EXCLUDED.current_a, o.current_a),"
    " energy_kwh = COALESCE(EXCLUDED.energy_kwh, o.energy_kwh),"
    " state = COALESCE(EXCLUDED.state, o.state), vagt_seq = EXCLUDED.vagt_seq"
    " WHERE o.vagt_seq IS NULL OR o.vagt_seq < EXCLUDED.vagt_seq";

const char *ad_pg_kind_name(enum ad_pg_kind k)
{
    static const char *const names[] = {"reading", "device", "command"};

    return names[k];
}

/* --- readings --- */

static void make_room(struct ad_pg_batch *b, unsigned rows)
{
    if (b->rows_cap >= rows) {
        return;
    }
    sy_free(b->rows);
    sy_free(b->places);
    b->rows_cap = rows;
    b->rows = sy_calloc(rows, sizeof b->rows[0]);
    b->places_n = 16;
    while (b->places_n < 2 * rows) {
        b->places_n *= 2;
    }
    b->places = sy_calloc(b->places_n, sizeof b->places[0]);
}

/* Where the row of this device and time is, or is to be. */
static uint32_t *place_of(struct ad_pg_batch *b, const struct rp_reading *r)
{
    uint64_t h = (r->ieee ^ r->time_ms * UINT64_C(0xff51afd7ed558ccd)) *
                 UINT64_C(0x9e3779b97f4a7c15);
    uint32_t at = (uint32_t)(h >> 32);

    for (;; at++) {
        uint32_t *place = &b->places[at & (b->places_n - 1)];

        if (*place == 0 || (b->rows[*place - 1].ieee == r->ieee &&
                            b->rows[*place - 1].time_ms == r->time_ms)) {
            return place;
        }
    }
}

/* What the newer one lacks stays. */
static void merge(struct rp_reading *to, const struct rp_reading *r)
{
    unsigned has = r->values.has;

    if ((has & RP_HAS_POWER) != 0) {
        to->values.power_mw = r->values.power_mw;
    }
    if ((has & RP_HAS_VOLTAGE) != 0) {
        to->values.voltage_mv = r->values.voltage_mv;
    }
    if ((has & RP_HAS_CURRENT) != 0) {
        to->values.current_ma = r->values.current_ma;
    }
    if ((has & RP_HAS_ENERGY) != 0) {
        to->values.energy_mwh = r->values.energy_mwh;
    }
    if (r->state != RP_SWITCH_UNKNOWN) {
        to->state = r->state;
    }
    to->values.has = (uint16_t)(to->values.has | has);
    to->seq = r->seq;
}

static void take_reading(struct ad_pg_batch *b, const struct rp_reading *r)
{
    uint32_t *place = place_of(b, r);

    if (*place != 0) {
        merge(&b->rows[*place - 1], r);
        return;
    }
    b->rows[b->rows_n++] = *r;
    *place = b->rows_n;
}

static void put_int_if(struct sy_buf *b, bool has, int64_t v)
{
    if (has) {
        ad_pg_put_int(b, v);
    } else {
        ad_pg_put_null(b);
    }
}

static void add_reading(struct ad_pg_batch *b, const struct rp_store *s,
                        const struct rp_reading *r)
{
    struct sy_buf *col = b->readings.col;
    char text[AD_PG_IEEE_SIZE];
    unsigned has = r->values.has;

    b->readings.rows++;
    ad_pg_put_text(&col[0], ad_pg_meter_name(rp_store_device(s, r->ieee), r->ieee, text));
    ad_pg_put_uint(&col[1], r->time_ms);
    put_int_if(&col[2], has & RP_HAS_POWER, r->values.power_mw);
    put_int_if(&col[3], has & RP_HAS_VOLTAGE, r->values.voltage_mv);
    put_int_if(&col[4], has & RP_HAS_CURRENT, r->values.current_ma);
    put_int_if(&col[5], has & RP_HAS_ENERGY, r->values.energy_mwh);
    ad_pg_put_text_or_null(&col[6], ad_pg_state_text(r->state));
    ad_pg_put_uint(&col[7], r->seq);
}

static bool is_refused(const struct ad_pg_batch_limits *l, enum ad_pg_kind kind,
                       uint64_t nr)
{
    return l->refused[kind].nr == nr;
}

static void fill_readings(struct ad_pg_batch *b, const struct rp_store *s,
                          const struct ad_pg_batch_limits *l)
{
    uint64_t first = rp_store_readings_first(s);
    uint64_t last = rp_store_readings_last(s);
    uint64_t seq = b->from + 1;

    b->to = b->from;
    if (b->from >= last) {
        return;
    }
    if (first > seq) {
        b->missing = first - seq;
        seq = first;
        b->to = first - 1;
    }
    make_room(b, l->readings);
    memset(b->places, 0, b->places_n * sizeof b->places[0]);
    b->first_seq = seq;
    for (; b->taken < l->readings && seq <= last; b->taken++, seq++) {
        const struct rp_reading *r = rp_store_reading(s, seq);

        assert(r != NULL);
        if (is_refused(l, AD_PG_READING, seq)) {
            ad_pg_refuse_reading(b, s, l, r);
        } else {
            take_reading(b, r);
        }
        b->to = seq;
    }
    for (unsigned i = 0; i < b->rows_n; i++) {
        add_reading(b, s, &b->rows[i]);
    }
}

/* --- changes --- */

static void take_device(struct ad_pg_batch *b, const struct rp_store *s,
                        const struct ad_pg_batch_limits *l, const struct rp_device *d)
{
    if (b->devices++ == 0) {
        b->first_device = d->revision;
        ad_pg_batch_devices_begin(b);
    }
    if (is_refused(l, AD_PG_DEVICE, d->revision)) {
        ad_pg_refuse_device(b, s, l, d);
    } else {
        ad_pg_add_device(b, s, d);
    }
}

static void take_command(struct ad_pg_batch *b, const struct rp_store *s,
                         const struct ad_pg_batch_limits *l, const struct rp_command *c)
{
    struct ad_pg_result result;

    if (b->commands++ == 0) {
        b->first_command = c->revision;
    }
    if (is_refused(l, AD_PG_COMMAND, c->revision)) {
        ad_pg_refuse_command(b, s, l, c);
    } else if (ad_pg_result_of(c, &result)) {
        ad_pg_put_result(&b->results, &result);
    }
}

/* The first change after @at of a command that has a row. */
static const struct rp_command *next_command(const struct rp_store *s,
                                             const struct ad_pg_batch_limits *l,
                                             uint64_t at)
{
    const struct rp_command *c;
    struct ad_pg_result result;

    if (l->no_commands) {
        return NULL;
    }
    while ((c = rp_store_command_changed(s, at)) != NULL &&
           !ad_pg_result_of(c, &result)) {
        at = c->revision;
    }
    return c;
}

static void fill_changes(struct ad_pg_batch *b, const struct rp_store *s,
                         const struct ad_pg_batch_limits *l)
{
    unsigned commands_max = l->commands_wait ? 0 : l->commands;
    uint64_t at = b->from_revision;

    assert(l->devices <= AD_PG_DEVICES_MAX && l->commands <= AD_PG_COMMANDS_MAX);
    for (;;) {
        const struct rp_device *d = rp_store_device_changed(s, at);
        const struct rp_command *c = next_command(s, l, at);

        if (d == NULL && c == NULL) {
            break;
        }
        if (c == NULL || (d != NULL && d->revision < c->revision)) {
            if (b->devices == l->devices) {
                b->to_revision = at;
                return;
            }
            take_device(b, s, l, d);
            assert(d->revision > at);
            at = d->revision;
        } else {
            if (b->commands == commands_max) {
                b->to_revision = at;
                return;
            }
            take_command(b, s, l, c);
            assert(c->revision > at);
            at = c->revision;
        }
    }
    /* What is left are changes of commands that have no row. A watermark of another
     * history never gets here. */
    b->to_revision = rp_store_revision(s);
}

/* --- all --- */

static struct ad_pg_columns *part(struct ad_pg_batch *b, unsigned i)
{
    struct ad_pg_columns *parts[] = {&b->readings, &b->meters,  &b->identity, &b->telling,
                                     &b->results,  &b->refused, &b->letters};

    return i < sizeof parts / sizeof parts[0] ? parts[i] : NULL;
}

void ad_pg_batch_fill(struct ad_pg_batch *b, const struct rp_store *s,
                      const struct ad_pg_marks *from, const struct ad_pg_batch_limits *l)
{
    b->from = from->shipped;
    b->from_revision = from->revision;
    b->from_letter = from->letters;
    b->missing = b->missing_letters = 0;
    b->taken = b->devices = b->commands = b->rows_n = 0;
    b->first_seq = b->first_device = b->first_command = 0;
    for (unsigned i = 0; part(b, i) != NULL; i++) {
        ad_pg_columns_begin(part(b, i));
    }
    memset(b->tells, 0, sizeof b->tells);
    fill_readings(b, s, l);
    fill_changes(b, s, l);
    ad_pg_fill_letters(b, s, l);
    for (unsigned i = 0; part(b, i) != NULL; i++) {
        ad_pg_columns_end(part(b, i));
    }
    assert(b->to >= b->from);
    assert(b->to_revision >= b->from_revision);
    assert(b->to_letter >= b->from_letter);
}

bool ad_pg_batch_empty(const struct ad_pg_batch *b)
{
    return b->to == b->from && b->devices == 0 && b->commands == 0 &&
           b->to_letter == b->from_letter;
}

void ad_pg_batch_written(struct ad_pg_batch *b)
{
    for (unsigned i = 0; i < AD_PG_AREA_WORDS; i++) {
        b->told[i] |= b->tells[i];
    }
}

void ad_pg_batch_forget(struct ad_pg_batch *b)
{
    memset(b->told, 0, sizeof b->told);
}

void ad_pg_batch_free(struct ad_pg_batch *b)
{
    for (unsigned i = 0; part(b, i) != NULL; i++) {
        ad_pg_columns_free(part(b, i));
    }
    sy_buf_free(&b->json);
    sy_free(b->seen);
    sy_free(b->rows);
    sy_free(b->places);
    *b = (struct ad_pg_batch){0};
}

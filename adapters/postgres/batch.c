#include "adapters/postgres/batch.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum {
    SEEN_SLOTS = 4096, /* Power of two, at least 4 x AD_PG_DEVICES_MAX. */
    IEEE_SIZE = 20
};
_Static_assert(SEEN_SLOTS >= 4 * AD_PG_DEVICES_MAX, "the set must stay sparse");

/* Milli units times a numeric constant is exact and has the right scale. */
const char ad_pg_sql_readings[] =
    "INSERT INTO meter_readings (meter_id, time, power_w, voltage_v, current_a,"
    " energy_kwh, state, vagt_seq)"
    " SELECT m, to_timestamp(t / 1000.0::float8), p * 0.001, v * 0.001, c * 0.001,"
    " e * 0.000001, s, q"
    " FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],"
    " $6::bigint[], $7::text[], $8::bigint[]) AS r(m, t, p, v, c, e, s, q)"
    " ON CONFLICT DO NOTHING";

/* A device that got another name leaves a meter behind that does not exist any
 * more, unless another device that is not gone bears the name now. */
const char ad_pg_sql_retire[] =
    "UPDATE power_meters p SET is_online = false, updated_at = now()"
    " FROM unnest($1::text[], $2::text[]) AS d(ieee, name)"
    " JOIN meter_identity m ON m.ieee_address = d.ieee AND m.meter_number <> d.name"
    " WHERE p.meter_number = m.meter_number AND p.is_online IS DISTINCT FROM false"
    " AND NOT EXISTS (SELECT 1 FROM meter_identity o"
    " WHERE o.meter_number = m.meter_number AND o.ieee_address <> m.ieee_address"
    " AND o.availability IS DISTINCT FROM 'offline')";

/* In order of the key, so that two writers cannot lock crosswise. */
const char ad_pg_sql_meters[] =
    "INSERT INTO power_meters AS p (meter_number, mqtt_topic, is_online, state, area,"
    " last_seen, updated_at)"
    " SELECT n, q, o, s, a, to_timestamp(t / 1000.0::float8), now()"
    " FROM unnest($1::text[], $2::text[], $3::boolean[], $4::text[], $5::text[],"
    " $6::bigint[]) AS r(n, q, o, s, a, t) ORDER BY n"
    " ON CONFLICT (meter_number) DO UPDATE SET mqtt_topic = EXCLUDED.mqtt_topic,"
    " is_online = EXCLUDED.is_online, state = COALESCE(EXCLUDED.state, p.state),"
    " area = EXCLUDED.area, last_seen = COALESCE(EXCLUDED.last_seen, p.last_seen),"
    " updated_at = EXCLUDED.updated_at";

const char ad_pg_sql_identity[] =
    "INSERT INTO meter_identity AS i (ieee_address, meter_number, base_topic, last_seen,"
    " availability, model, updated_at)"
    " SELECT i, n, b, to_timestamp(t / 1000.0::float8), a, m, now()"
    " FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[],"
    " $6::text[]) AS r(i, n, b, t, a, m) ORDER BY i"
    " ON CONFLICT (ieee_address) DO UPDATE SET meter_number = EXCLUDED.meter_number,"
    " base_topic = EXCLUDED.base_topic,"
    " last_seen = COALESCE(EXCLUDED.last_seen, i.last_seen),"
    " availability = EXCLUDED.availability, model = EXCLUDED.model,"
    " updated_at = EXCLUDED.updated_at";

/* As long as no device of an area had an availability, all of them counted as
 * online. From the first one on, those without are not: a disabled device never
 * gets one, and its row has no other reason to change. */
const char ad_pg_sql_untold[] =
    "UPDATE power_meters p SET is_online = false, updated_at = now()"
    " FROM meter_identity m"
    " WHERE m.base_topic = ANY($1::text[]) AND m.availability IS NULL"
    " AND p.meter_number = m.meter_number AND p.is_online IS DISTINCT FROM false"
    " AND NOT EXISTS (SELECT 1 FROM meter_identity o"
    " WHERE o.meter_number = m.meter_number AND o.availability = 'online')";

/* --- array literals --- */

static void next_element(struct sy_buf *b)
{
    sy_buf_u8(b, b->len == 0 ? '{' : ',');
}

static void put_null(struct sy_buf *b)
{
    next_element(b);
    sy_buf_put(b, "NULL", 4);
}

/* By hand, since a batch has some 15,000 of them and the loop waits. */
static void put_digits(struct sy_buf *b, uint64_t v, bool negative)
{
    char text[24];
    size_t at = sizeof text;

    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    if (negative) {
        text[--at] = '-';
    }
    next_element(b);
    sy_buf_put(b, text + at, sizeof text - at);
}

static void put_i64(struct sy_buf *b, int64_t v)
{
    put_digits(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, v < 0);
}

static void put_i64_if(struct sy_buf *b, bool has, int64_t v)
{
    if (has) {
        put_i64(b, v);
    } else {
        put_null(b);
    }
}

static void put_text(struct sy_buf *b, const char *s)
{
    next_element(b);
    sy_buf_u8(b, '"');
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\') {
            sy_buf_u8(b, '\\');
        }
        sy_buf_u8(b, (uint8_t)*s);
    }
    sy_buf_u8(b, '"');
}

static void put_text_or_null(struct sy_buf *b, const char *s)
{
    if (s != NULL && s[0] != '\0') {
        put_text(b, s);
    } else {
        put_null(b);
    }
}

static void put_time(struct sy_buf *b, uint64_t ms)
{
    if (ms > 0) {
        put_digits(b, ms, false);
    } else {
        put_null(b);
    }
}

static void begin(struct ad_pg_columns *c)
{
    c->rows = 0;
    for (unsigned i = 0; i < AD_PG_COLUMNS; i++) {
        c->col[i].len = 0;
    }
}

static void end(struct ad_pg_columns *c)
{
    for (unsigned i = 0; i < AD_PG_COLUMNS; i++) {
        if (c->col[i].len == 0) {
            sy_buf_u8(&c->col[i], '{');
        }
        sy_buf_put(&c->col[i], "}", 2); /* With the zero byte. */
    }
}

/* --- rows --- */

/* The site writes ON and OFF; what is not known must not overwrite. */
static const char *state_text(enum rp_switch s)
{
    return s == RP_ON ? "ON" : s == RP_OFF ? "OFF" : NULL;
}

static const char *ieee_text(uint64_t ieee, char text[IEEE_SIZE])
{
    snprintf(text, IEEE_SIZE, "0x%016" PRIx64, ieee);
    return text;
}

static const char *name_of(const struct rp_device *d, uint64_t ieee, char text[IEEE_SIZE])
{
    return d != NULL && d->name[0] != '\0' ? d->name : ieee_text(ieee, text);
}

static void add_reading(struct ad_pg_batch *b, const struct rp_store *s,
                        const struct rp_reading *r)
{
    struct sy_buf *col = b->readings.col;
    char text[IEEE_SIZE];
    unsigned has = r->values.has;

    if (b->readings.rows++ == 0) {
        b->first_seq = r->seq;
    }
    put_text(&col[0], name_of(rp_store_device(s, r->ieee), r->ieee, text));
    put_digits(&col[1], r->time_ms, false);
    put_i64_if(&col[2], has & RP_HAS_POWER, r->values.power_mw);
    put_i64_if(&col[3], has & RP_HAS_VOLTAGE, r->values.voltage_mv);
    put_i64_if(&col[4], has & RP_HAS_CURRENT, r->values.current_ma);
    put_i64_if(&col[5], has & RP_HAS_ENERGY, r->values.energy_mwh);
    put_text_or_null(&col[6], state_text(r->state));
    put_digits(&col[7], r->seq, false);
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
    for (unsigned n = 0; n < l->readings && seq <= last; n++, seq++) {
        const struct rp_reading *r = rp_store_reading(s, seq);

        assert(r != NULL);
        if (seq != l->skip_seq) {
            add_reading(b, s, r);
        }
        b->to = seq;
    }
}

/* A bridge without availability tells nothing about any device, and then its
 * devices count as online: the rule the site has. */
static bool look_at_area(const struct rp_store *s, uint16_t area)
{
    uint32_t n = rp_store_devices(s);

    for (uint32_t i = 0; i < n; i++) {
        const struct rp_device *d = rp_store_device_at(s, i);

        if (d->area == area && d->avail != RP_AVAIL_UNKNOWN) {
            return true;
        }
    }
    return false;
}

static bool area_tells(struct ad_pg_batch *b, const struct rp_store *s, uint16_t area)
{
    unsigned at = area % AD_PG_AREAS_SEEN;

    if (b->areas[at].area != area) {
        b->areas[at].area = area;
        b->areas[at].tells = look_at_area(s, area);
    }
    return b->areas[at].tells;
}

static bool is_online(struct ad_pg_batch *b, const struct rp_store *s,
                      const struct rp_device *d)
{
    if (!d->listed) {
        return false;
    }
    return d->avail == RP_ONLINE ||
           (d->avail == RP_AVAIL_UNKNOWN && !area_tells(b, s, d->area));
}

/* True the first time. */
static bool first_time(struct ad_pg_batch *b, uint64_t ieee)
{
    uint64_t at = (ieee * UINT64_C(0x9e3779b97f4a7c15)) >> 52;

    assert(ieee != 0);
    while (b->seen[at % SEEN_SLOTS] != 0) {
        if (b->seen[at % SEEN_SLOTS] == ieee) {
            return false;
        }
        at++;
    }
    b->seen[at % SEEN_SLOTS] = ieee;
    return true;
}

static void add_meter(struct ad_pg_batch *b, const struct rp_store *s,
                      const struct rp_device *d)
{
    const struct rp_area *a = rp_store_area(s, d->area);
    struct sy_buf *col = b->meters.col;
    char ieee[IEEE_SIZE];
    char topic[RP_TOPIC_SIZE + RP_NAME_SIZE + 2];
    const char *name = name_of(d, d->ieee, ieee);

    snprintf(topic, sizeof topic, "%s/%s", a != NULL ? a->base_topic : "", name);
    put_text(&col[0], name);
    put_text_or_null(&col[1], a != NULL ? topic : NULL);
    next_element(&col[2]);
    sy_buf_u8(&col[2], is_online(b, s, d) ? 't' : 'f');
    put_text_or_null(&col[3], state_text(d->state));
    put_text_or_null(&col[4], a != NULL ? a->name : NULL);
    put_time(&col[5], d->last_seen_ms);
    b->meters.rows++;
}

static void note_telling(struct ad_pg_batch *b, const struct rp_area *a)
{
    unsigned word = a->nr / 64;
    uint64_t bit = UINT64_C(1) << a->nr % 64;

    if (((b->told[word] | b->tells[word]) & bit) == 0) {
        b->tells[word] |= bit;
        put_text(&b->telling.col[0], a->base_topic);
        b->telling.rows++;
    }
}

static void add_device(struct ad_pg_batch *b, const struct rp_store *s,
                       const struct rp_device *d)
{
    const struct rp_area *a = rp_store_area(s, d->area);
    const struct rp_device *bearer;
    struct sy_buf *col = b->identity.col;
    char text[IEEE_SIZE];
    char name[IEEE_SIZE];

    put_text(&col[0], ieee_text(d->ieee, text));
    put_text(&col[1], name_of(d, d->ieee, name));
    put_text_or_null(&col[2], a != NULL ? a->base_topic : NULL);
    put_time(&col[3], d->last_seen_ms);
    put_text_or_null(&col[4], !d->listed                     ? "offline"
                              : d->avail == RP_AVAIL_UNKNOWN ? NULL
                                                             : rp_avail_name(d->avail));
    put_text_or_null(&col[5], d->model);
    b->identity.rows++;

    if (a != NULL && d->avail != RP_AVAIL_UNKNOWN) {
        note_telling(b, a);
    }

    /* A meter was exchanged and the new device got the old name: the meter is the
     * device that has the name now, whichever of the two has changed. */
    bearer = d->name[0] != '\0' ? rp_store_device_named(s, 0, d->name, NULL) : NULL;
    bearer = bearer != NULL ? bearer : d;
    if (first_time(b, bearer->ieee)) {
        add_meter(b, s, bearer);
    }
}

static void fill_devices(struct ad_pg_batch *b, const struct rp_store *s,
                         const struct ad_pg_batch_limits *l)
{
    const struct rp_device *d;
    uint64_t at = b->from_revision;

    assert(l->devices <= AD_PG_DEVICES_MAX);
    while ((d = rp_store_device_changed(s, at)) != NULL) {
        if (b->devices == l->devices) {
            b->to_revision = at;
            return;
        }
        if (b->devices++ == 0) {
            b->first_ieee = d->ieee;
            b->first_revision = d->revision;
            memset(b->seen, 0, SEEN_SLOTS * sizeof b->seen[0]);
            memset(b->areas, 0, sizeof b->areas);
        }
        if (d->revision != l->skip_revision) {
            add_device(b, s, d);
        }
        assert(d->revision > at);
        at = d->revision;
    }
    /* What is left are changes of commands, which have no table yet. A watermark
     * of another history never gets here. */
    b->to_revision = rp_store_revision(s);
}

void ad_pg_batch_fill(struct ad_pg_batch *b, const struct rp_store *s, uint64_t from,
                      uint64_t from_revision, const struct ad_pg_batch_limits *l)
{
    if (b->seen == NULL) {
        b->seen = sy_calloc(SEEN_SLOTS, sizeof b->seen[0]);
    }
    b->from = from;
    b->from_revision = from_revision;
    b->missing = 0;
    b->devices = 0;
    b->first_ieee = b->first_seq = b->first_revision = 0;
    begin(&b->readings);
    begin(&b->meters);
    begin(&b->identity);
    begin(&b->telling);
    memset(b->tells, 0, sizeof b->tells);
    fill_readings(b, s, l);
    fill_devices(b, s, l);
    end(&b->readings);
    end(&b->meters);
    end(&b->identity);
    end(&b->telling);
    assert(b->to >= b->from);
    assert(b->to_revision >= b->from_revision);
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

static void free_columns(struct ad_pg_columns *c)
{
    for (unsigned i = 0; i < AD_PG_COLUMNS; i++) {
        sy_buf_free(&c->col[i]);
    }
}

void ad_pg_batch_free(struct ad_pg_batch *b)
{
    free_columns(&b->readings);
    free_columns(&b->meters);
    free_columns(&b->identity);
    free_columns(&b->telling);
    sy_free(b->seen);
    *b = (struct ad_pg_batch){0};
}

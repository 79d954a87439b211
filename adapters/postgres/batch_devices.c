/* Devices of a batch: power_meters and meter_identity. */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "adapters/postgres/batch.h"
#include "base/mem.h"

enum {
    SEEN_SLOTS = 4096 /* Power of two, at least 4 x AD_PG_DEVICES_MAX. */
};
_Static_assert(SEEN_SLOTS >= 4 * AD_PG_DEVICES_MAX, "the set must stay sparse");

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

/* The site writes ON and OFF; what is not known must not overwrite. */
const char *ad_pg_state_text(enum rp_switch s)
{
    return s == RP_ON ? "ON" : s == RP_OFF ? "OFF" : NULL;
}

const char *ad_pg_ieee_text(uint64_t ieee, char text[AD_PG_IEEE_SIZE])
{
    snprintf(text, AD_PG_IEEE_SIZE, "0x%016" PRIx64, ieee);
    return text;
}

const char *ad_pg_meter_name(const struct rp_device *d, uint64_t ieee,
                             char text[AD_PG_IEEE_SIZE])
{
    return d != NULL && d->name[0] != '\0' ? d->name : ad_pg_ieee_text(ieee, text);
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

bool ad_pg_is_online(struct ad_pg_batch *b, const struct rp_store *s,
                     const struct rp_device *d)
{
    const struct rp_area *a = rp_store_area(s, d->area);

    if (!d->listed || (a != NULL && a->off != 0)) {
        return false;
    }
    return d->avail == RP_ONLINE ||
           (d->avail == RP_AVAIL_UNKNOWN && !area_tells(b, s, d->area));
}

void ad_pg_batch_devices_begin(struct ad_pg_batch *b)
{
    if (b->seen == NULL) {
        b->seen = sy_calloc(SEEN_SLOTS, sizeof b->seen[0]);
    }
    memset(b->seen, 0, SEEN_SLOTS * sizeof b->seen[0]);
    memset(b->areas, 0, sizeof b->areas);
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
    char ieee[AD_PG_IEEE_SIZE];
    char topic[RP_TOPIC_SIZE + RP_NAME_SIZE + 2];
    const char *name = ad_pg_meter_name(d, d->ieee, ieee);

    snprintf(topic, sizeof topic, "%s/%s", a != NULL ? a->base_topic : "", name);
    ad_pg_put_text(&col[0], name);
    ad_pg_put_text_or_null(&col[1], a != NULL ? topic : NULL);
    ad_pg_put_bool(&col[2], ad_pg_is_online(b, s, d));
    ad_pg_put_text_or_null(&col[3], ad_pg_state_text(d->state));
    ad_pg_put_text_or_null(&col[4], a != NULL ? a->name : NULL);
    ad_pg_put_time(&col[5], d->last_seen_ms);
    b->meters.rows++;
}

static void note_telling(struct ad_pg_batch *b, const struct rp_area *a)
{
    unsigned word = a->nr / 64;
    uint64_t bit = UINT64_C(1) << a->nr % 64;

    if (((b->told[word] | b->tells[word]) & bit) == 0) {
        b->tells[word] |= bit;
        ad_pg_put_text(&b->telling.col[0], a->base_topic);
        b->telling.rows++;
    }
}

void ad_pg_add_device(struct ad_pg_batch *b, const struct rp_store *s,
                      const struct rp_device *d)
{
    const struct rp_area *a = rp_store_area(s, d->area);
    const struct rp_device *bearer;
    struct sy_buf *col = b->identity.col;
    char text[AD_PG_IEEE_SIZE];
    char name[AD_PG_IEEE_SIZE];

    if (rp_is_canary(d->ieee)) {
        return; /* It is no meter of the site. */
    }
    ad_pg_put_text(&col[0], ad_pg_ieee_text(d->ieee, text));
    ad_pg_put_text(&col[1], ad_pg_meter_name(d, d->ieee, name));
    ad_pg_put_text_or_null(&col[2], a != NULL ? a->base_topic : NULL);
    ad_pg_put_time(&col[3], d->last_seen_ms);
    ad_pg_put_text_or_null(&col[4], !d->listed ? "offline"
                                    : d->avail == RP_AVAIL_UNKNOWN
                                        ? NULL
                                        : rp_avail_name(d->avail));
    ad_pg_put_text_or_null(&col[5], d->model);
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

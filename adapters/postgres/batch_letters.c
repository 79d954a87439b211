/* Dead letters: those of the store, and rows that Postgres has refused. */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "adapters/postgres/batch.h"
#include "base/json.h"

enum { TIME_SIZE = 40 };

/* The year 9999: what a clock says that was set wrong must not keep a letter out. */
#define LATEST_MS UINT64_C(253402300799999)

/* $1: the cluster. */
const char ad_pg_sql_letters[] =
    "INSERT INTO vagt_dead_letters (cluster, kind, seq, at, area, topic, reason, payload)"
    " SELECT $1, k, q, to_timestamp(t / 1000.0::float8), a, o, r, p"
    " FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],"
    " $7::text[], $8::bytea[]) AS l(k, q, t, a, o, r, p)"
    " ON CONFLICT (cluster, kind, seq) DO NOTHING";

struct letter
{
    const char *kind;
    uint64_t seq, at_ms;
    const char *area, *topic, *reason; /* area: NULL or "" for none */
    const void *payload;
    size_t len;
};

static void put_letter(struct ad_pg_columns *to, const struct letter *l, bool ascii)
{
    struct sy_buf *col = to->col;

    ad_pg_put_text(&col[0], l->kind);
    ad_pg_put_uint(&col[1], l->seq);
    ad_pg_put_uint(&col[2], l->at_ms < LATEST_MS ? l->at_ms : LATEST_MS);
    if (l->area == NULL || l->area[0] == '\0') {
        ad_pg_put_null(&col[3]);
    } else {
        ad_pg_put_any_text(&col[3], l->area, ascii);
    }
    ad_pg_put_any_text(&col[4], l->topic, ascii);
    ad_pg_put_any_text(&col[5], l->reason, ascii);
    ad_pg_put_bytes(&col[6], l->payload, l->len);
    to->rows++;
}

static const char *area_name(const struct rp_store *s, uint16_t nr)
{
    const struct rp_area *a = rp_store_area(s, nr);

    return a != NULL ? a->name : NULL;
}

/* --- of the store --- */

static void add_letter(struct ad_pg_batch *b, const struct rp_store *s,
                       const struct rp_letter *from, bool ascii)
{
    char reason[RP_TEXT_SIZE + 64];

    snprintf(reason, sizeof reason, "%s%s", from->reason,
             from->cut ? " (it was longer; this is its beginning)" : "");
    put_letter(&b->letters,
               &(struct letter){.kind = "message",
                                .seq = from->seq,
                                .at_ms = from->at_ms,
                                .area = area_name(s, from->area),
                                .topic = from->topic,
                                .reason = reason,
                                .payload = from->payload,
                                .len = from->payload_len},
               ascii);
}

void ad_pg_fill_letters(struct ad_pg_batch *b, const struct rp_store *s,
                        const struct ad_pg_batch_limits *l)
{
    uint64_t first = rp_store_letters_first(s);
    uint64_t last = rp_store_letters_last(s);
    uint64_t seq = b->from_letter + 1;

    b->to_letter = b->from_letter;
    if (l->letters_wait || b->from_letter >= last) {
        return;
    }
    if (first > seq) {
        b->missing_letters = first - seq;
        seq = first;
        b->to_letter = first - 1;
    }
    for (unsigned n = 0; n < AD_PG_LETTERS_MAX && seq <= last; n++, seq++) {
        add_letter(b, s, rp_store_letter(s, seq), l->ascii);
        b->to_letter = seq;
    }
}

/* --- rows that were refused, as JSON objects of their columns --- */

static void put_time(struct sy_json *j, const char *key, uint64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    char text[TIME_SIZE];
    char whole[TIME_SIZE];
    struct tm tm;

    if (ms == 0) {
        return;
    }
    if (ms > LATEST_MS || gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        sy_json_kuint(j, key, ms); /* Milliseconds: there is no date for it. */
        return;
    }
    snprintf(whole, sizeof whole, "%s.%03uZ", text, (unsigned)(ms % 1000));
    sy_json_kstr(j, key, whole);
}

static void put_scaled(struct sy_json *j, const char *key, bool has, int64_t v,
                       double unit)
{
    if (has) {
        sy_json_key(j, key);
        sy_json_double(j, (double)v / unit);
    }
}

static void put_text(struct sy_json *j, const char *key, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        sy_json_kstr(j, key, text);
    }
}

static void begin(struct ad_pg_batch *b, struct sy_json *j)
{
    b->json.len = 0;
    sy_json_init(j, &b->json);
    sy_json_object(j);
}

static void end(struct ad_pg_batch *b, struct sy_json *j,
                const struct ad_pg_batch_limits *l, enum ad_pg_kind kind,
                struct letter *letter)
{
    sy_json_object_end(j);
    sy_json_finish(j);
    letter->kind = ad_pg_kind_name(kind);
    letter->seq = l->refused[kind].nr;
    letter->reason = l->refused[kind].why;
    letter->payload = b->json.p;
    letter->len = b->json.len;
    put_letter(&b->refused, letter, l->ascii);
}

void ad_pg_refuse_reading(struct ad_pg_batch *b, const struct rp_store *s,
                          const struct ad_pg_batch_limits *l, const struct rp_reading *r)
{
    const struct rp_device *d = rp_store_device(s, r->ieee);
    const struct rp_values *v = &r->values;
    char ieee[AD_PG_IEEE_SIZE];
    const char *name = ad_pg_meter_name(d, r->ieee, ieee);
    struct sy_json j;

    begin(b, &j);
    sy_json_kstr(&j, "meter_id", name);
    put_time(&j, "time", r->time_ms);
    put_scaled(&j, "power_w", v->has & RP_HAS_POWER, v->power_mw, 1e3);
    put_scaled(&j, "voltage_v", v->has & RP_HAS_VOLTAGE, v->voltage_mv, 1e3);
    put_scaled(&j, "current_a", v->has & RP_HAS_CURRENT, v->current_ma, 1e3);
    put_scaled(&j, "energy_kwh", v->has & RP_HAS_ENERGY, v->energy_mwh, 1e6);
    put_text(&j, "state", ad_pg_state_text(r->state));
    sy_json_kuint(&j, "vagt_seq", r->seq);
    end(b, &j, l, AD_PG_READING,
        &(struct letter){.at_ms = rp_store_now(s),
                         .area = d != NULL ? area_name(s, d->area) : NULL,
                         .topic = name});
}

void ad_pg_refuse_device(struct ad_pg_batch *b, const struct rp_store *s,
                         const struct ad_pg_batch_limits *l, const struct rp_device *d)
{
    const struct rp_area *a = rp_store_area(s, d->area);
    char ieee[AD_PG_IEEE_SIZE], other[AD_PG_IEEE_SIZE];
    char topic[RP_TOPIC_SIZE + RP_NAME_SIZE + 2];
    const char *name = ad_pg_meter_name(d, d->ieee, other);
    struct sy_json j;

    begin(b, &j);
    sy_json_kstr(&j, "ieee_address", ad_pg_ieee_text(d->ieee, ieee));
    sy_json_kstr(&j, "meter_number", name);
    if (a != NULL) {
        snprintf(topic, sizeof topic, "%s/%s", a->base_topic, name);
        sy_json_kstr(&j, "base_topic", a->base_topic);
        sy_json_kstr(&j, "mqtt_topic", topic);
        sy_json_kstr(&j, "area", a->name);
    }
    sy_json_kbool(&j, "is_online", ad_pg_is_online(b, s, d));
    put_text(&j, "state", ad_pg_state_text(d->state));
    put_text(&j, "availability",
             !d->listed                     ? "offline"
             : d->avail == RP_AVAIL_UNKNOWN ? NULL
                                            : rp_avail_name(d->avail));
    put_text(&j, "model", d->model);
    put_time(&j, "last_seen", d->last_seen_ms);
    put_time(&j, "updated_at", d->updated_ms);
    end(b, &j, l, AD_PG_DEVICE,
        &(struct letter){
            .at_ms = d->updated_ms, .area = a != NULL ? a->name : NULL, .topic = name});
}

void ad_pg_refuse_command(struct ad_pg_batch *b, const struct rp_store *s,
                          const struct ad_pg_batch_limits *l, const struct rp_command *c)
{
    const struct rp_device *d = rp_store_device(s, c->ieee);
    char ieee[AD_PG_IEEE_SIZE];
    struct ad_pg_result r;
    struct sy_json j;

    if (!ad_pg_result_of(c, &r)) {
        return;
    }
    begin(b, &j);
    sy_json_kstr(&j, "id", r.id);
    sy_json_kstr(&j, "status", r.status);
    sy_json_kuint(&j, "attempts", r.attempts);
    put_text(&j, "error", r.error);
    put_time(&j, "accepted_at", r.accepted_ms);
    put_time(&j, "sent_at", r.sent_ms);
    put_time(&j, "finished_at", r.finished_ms);
    end(b, &j, l, AD_PG_COMMAND,
        &(struct letter){.at_ms = rp_store_now(s),
                         .area = d != NULL ? area_name(s, d->area) : NULL,
                         .topic = ad_pg_meter_name(d, c->ieee, ieee)});
}

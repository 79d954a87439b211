/* Hashes of records. Their canonical encoding is little endian, fixed fields
 * first, then strings with their length; nothing is padded. What version 1 of the
 * state did not have is put only if it is there: a history of then has the hash of
 * then, so that nodes of both versions can be compared while they are upgraded. */

#include <string.h>

#include "base/hash.h"
#include "replication/store_impl.h"

enum { RAW_SIZE = 2048 };

_Static_assert(sizeof(struct rp_command) < RAW_SIZE, "a record fits");
_Static_assert(sizeof(struct rp_device_slot) < RAW_SIZE, "a record fits");
_Static_assert(sizeof(struct rp_meta) < RAW_SIZE, "a record fits");
_Static_assert(sizeof(struct rp_letter) + 8 < RAW_SIZE, "a record fits");
_Static_assert(sizeof(struct rp_drill) + 8 < RAW_SIZE, "a record fits");

struct raw
{
    uint8_t *at;
    uint8_t p[RAW_SIZE];
};

static void put(struct raw *r, uint64_t v, unsigned bytes)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    /* Eight at once, of which the next ones overwrite what is too much. */
    memcpy(r->at, &v, sizeof v);
    r->at += bytes;
}

static void put64(struct raw *r, uint64_t v)
{
    put(r, v, 8);
}

static void put_str(struct raw *r, const char *s)
{
    size_t n = strlen(s);

    put(r, n, 2);
    memcpy(r->at, s, n);
    r->at += n;
}

static void put_values(struct raw *r, const struct rp_values *v)
{
    put64(r, (uint64_t)v->energy_mwh);
    put(r, (uint32_t)v->power_mw, 4);
    put(r, (uint32_t)v->voltage_mv, 4);
    put(r, (uint32_t)v->current_ma, 4);
    put(r, v->linkquality, 2);
    put(r, v->has, 2);
}

static uint64_t finish(const struct raw *r, enum rp_record kind)
{
    return sy_hash(r->p, (size_t)(r->at - r->p), kind);
}

uint64_t rp_digest_area(const struct rp_area *a)
{
    struct raw r;

    r.at = r.p;
    put(&r, a->nr, 2);
    put(&r, a->bridge, 1);
    put64(&r, a->bridge_at_ms);
    put64(&r, a->ready_at_ms);
    put_str(&r, a->name);
    put_str(&r, a->base_topic);
    if (a->off != 0) {
        put(&r, a->off, 1);
    }
    return finish(&r, RP_REC_AREA);
}

uint64_t rp_digest_device(const struct rp_device_slot *d)
{
    struct raw r;

    r.at = r.p;
    put64(&r, d->d.ieee);
    put(&r, d->d.area, 2);
    put(&r, d->d.listed, 1);
    put(&r, d->d.state, 1);
    put(&r, d->d.avail, 1);
    put64(&r, d->d.last_seen_ms);
    put64(&r, d->d.updated_ms);
    put_values(&r, &d->d.values);
    put64(&r, d->d.revision);
    put64(&r, d->told_ms);
    put64(&r, d->last.hash);
    put64(&r, d->last.last_seen_ms);
    for (unsigned i = 0; i < RP_RECENT_NR; i++) {
        put64(&r, d->recent[i].hash);
        put64(&r, d->recent[i].last_seen_ms);
    }
    put_str(&r, d->d.name);
    put_str(&r, d->d.model);
    if (d->d.told != RP_AVAIL_UNKNOWN || d->d.lapsed) {
        put(&r, d->d.told, 1);
        put(&r, d->d.lapsed, 1);
    }
    return finish(&r, RP_REC_DEVICE);
}

uint64_t rp_digest_command(const struct rp_command *c)
{
    struct raw r;

    r.at = r.p;
    put64(&r, c->seq);
    put64(&r, c->ieee);
    put(&r, c->status, 1);
    put(&r, c->attempts, 4);
    put64(&r, c->accepted_ms);
    put64(&r, c->deadline_ms);
    put64(&r, c->retry_ms);
    put64(&r, c->sent_ms);
    put64(&r, c->ended_ms);
    put64(&r, c->sent_last_seen_ms);
    put64(&r, c->revision);
    put_str(&r, c->id);
    put_str(&r, c->property);
    put_str(&r, c->value);
    put_str(&r, c->source);
    put_str(&r, c->reason);
    return finish(&r, RP_REC_COMMAND);
}

uint64_t rp_digest_reading(const struct rp_reading *reading)
{
    struct raw r;

    r.at = r.p;
    put64(&r, reading->seq);
    put64(&r, reading->ieee);
    put64(&r, reading->time_ms);
    put(&r, reading->state, 1);
    put_values(&r, &reading->values);
    return finish(&r, RP_REC_READING);
}

uint64_t rp_digest_letter(const struct rp_letter *l)
{
    struct raw r;

    r.at = r.p;
    put64(&r, l->seq);
    put64(&r, l->at_ms);
    put(&r, l->area, 2);
    put(&r, l->cut, 1);
    put(&r, l->payload_len, 2);
    memcpy(r.at, l->payload, l->payload_len);
    r.at += l->payload_len;
    put_str(&r, l->topic);
    put_str(&r, l->reason);
    return finish(&r, RP_REC_LETTER);
}

uint64_t rp_digest_fact(const struct rp_fact *f)
{
    struct raw r;

    r.at = r.p;
    put64(&r, f->at_ms);
    put_str(&r, f->key);
    put_str(&r, f->value);
    return finish(&r, RP_REC_FACT);
}

uint64_t rp_digest_drill(const struct rp_drill *d)
{
    struct raw r;

    r.at = r.p;
    put64(&r, d->nr);
    put64(&r, d->began_ms);
    put64(&r, d->ended_ms);
    put(&r, d->state, 1);
    put(&r, d->report_len, 2);
    memcpy(r.at, d->report, d->report_len);
    r.at += d->report_len;
    put_str(&r, d->kind);
    return finish(&r, RP_REC_DRILL);
}

uint64_t rp_digest_audit(const struct rp_store *s)
{
    struct raw r;

    r.at = r.p;
    put64(&r, s->audit.gone);
    put64(&r, s->audit.last);
    memcpy(r.at, rp_store_audit_before(s, s->audit.last + 1), SY_SHA256_SIZE);
    r.at += SY_SHA256_SIZE;
    return finish(&r, RP_REC_AUDIT);
}

uint64_t rp_digest_files(const struct rp_files_set *set, const struct rp_files_version *v)
{
    struct raw r;
    uint64_t hash;

    r.at = r.p;
    put64(&r, v->nr);
    put64(&r, v->at_ms);
    put64(&r, v->from);
    put(&r, v->node, 2);
    put(&r, v->n, 2);
    put_str(&r, set->name);
    hash = finish(&r, RP_REC_FILES);
    for (unsigned i = 0; i < v->n; i++) {
        const struct rp_file *f = &v->list[i];

        r.at = r.p;
        put64(&r, f->size);
        put(&r, f->mode, 2);
        memcpy(r.at, f->sum, sizeof f->sum);
        r.at += sizeof f->sum;
        put_str(&r, f->path);
        hash = sy_hash(r.p, (size_t)(r.at - r.p), hash);
    }
    return hash;
}

uint64_t rp_digest_meta(const struct rp_store *s)
{
    const struct rp_meta *m = &s->m;
    struct raw r;

    r.at = r.p;
    put64(&r, m->index);
    put64(&r, m->now_ms);
    put64(&r, m->watch_term);
    put64(&r, m->watch_since_ms);
    put(&r, m->watch_node, 2);
    put64(&r, m->revision);
    put64(&r, m->revision_shipped);
    put64(&r, m->readings_last);
    put64(&r, m->readings_shipped);
    put64(&r, m->readings_first);
    put64(&r, m->readings_dropped);
    put64(&r, m->commands_last);
    put64(&r, m->results_dropped);
    for (unsigned i = RP_CONFIRMED; i < RP_STATUS_NR; i++) {
        put64(&r, m->ended[i]);
    }
    put(&r, s->areas_n, 4);
    put(&r, s->devices_n, 4);
    put(&r, s->commands_n, 4);
    if (m->letters_last != 0) {
        put64(&r, m->letters_first);
        put64(&r, m->letters_last);
        put64(&r, m->letters_shipped);
        put64(&r, m->letters_dropped);
    }
    return finish(&r, RP_REC_META);
}

uint64_t rp_digest_all(const struct rp_store *s)
{
    uint64_t sum = rp_digest_meta(s);

    for (uint32_t i = 0; i < s->areas_n; i++) {
        sum += rp_digest_area(&s->areas[i].a);
    }
    for (uint32_t i = 0; i < s->devices_n; i++) {
        sum += rp_digest_device(&s->devices[i]);
    }
    for (uint32_t i = 0; i < s->commands_n; i++) {
        sum += rp_digest_command(&rp_command_slot(s, rp_order_at(s, i))->c);
    }
    for (uint64_t q = s->m.readings_first; q <= s->m.readings_last; q++) {
        sum += rp_digest_reading(rp_store_reading(s, q));
    }
    for (uint64_t q = s->m.letters_first; q <= s->m.letters_last; q++) {
        sum += rp_digest_letter(rp_store_letter(s, q));
    }
    for (uint32_t i = 0; i < s->facts_n; i++) {
        sum += rp_digest_fact(&s->facts[i]);
    }
    for (uint32_t i = 0; i < s->drills_n; i++) {
        sum += rp_digest_drill(&s->drills[i]);
    }
    if (s->audit.last > 0) {
        sum += rp_digest_audit(s);
    }
    for (uint32_t i = 0; i < s->sets_n; i++) {
        const struct rp_files_set *set = &s->sets[i];

        for (uint32_t k = 0; k < set->kept; k++) {
            sum += rp_digest_files(set, rp_files_slot(s, set, set->last - k));
        }
    }
    return sum;
}

static void replace(struct rp_store *s, uint64_t *digest, uint64_t by)
{
    s->sum += by - *digest;
    *digest = by;
}

void rp_area_rehash(struct rp_store *s, struct rp_area_slot *a)
{
    replace(s, &a->digest, rp_digest_area(&a->a));
}

void rp_device_rehash(struct rp_store *s, struct rp_device_slot *d)
{
    replace(s, &d->digest, rp_digest_device(d));
}

void rp_command_rehash(struct rp_store *s, struct rp_command_slot *c)
{
    replace(s, &c->digest, rp_digest_command(&c->c));
}

void rp_store_close_index(struct rp_store *s)
{
    s->hash = s->sum + rp_digest_meta(s);
    s->hashes[s->m.index % RP_HASHES_NR] = (struct rp_hash_at){s->m.index, s->hash};
}

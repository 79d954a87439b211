#include <assert.h>

#include "base/hash.h"
#include "base/mp.h"
#include "replication/store_impl.h"

struct out
{
    struct sy_buf b; /* Over the store's own memory: never grows. */
    size_t start;    /* Of the record being built. */
    uint64_t hash;
    uint64_t records;
    int rv; /* Of the sink; after an error nothing more is written. */
    int (*sink)(void *data, const void *p, size_t n);
    void *data;
};

static void flush(struct out *o)
{
    if (o->rv == 0 && o->b.len > 0) {
        o->rv = o->sink(o->data, o->b.p, o->b.len);
    }
    o->b.len = 0;
    o->start = 0;
}

static void record_done(struct out *o)
{
    size_t n = o->b.len - o->start;

    assert(n <= RP_RECORD_SIZE_MAX);
    o->hash = sy_hash(o->b.p + o->start, n, o->hash);
    o->records++;
    o->start = o->b.len;
    if (o->b.len > RP_RUN_SIZE - RP_RECORD_SIZE_MAX) {
        flush(o);
    }
}

static void begin(struct out *o, enum rp_record kind, uint32_t fields)
{
    sy_mp_array(&o->b, fields);
    sy_mp_uint(&o->b, kind);
}

/* Records of kinds that version 3 did not have. */
static uint32_t others(const struct rp_store *s)
{
    uint32_t n = s->drills_n + (uint32_t)(s->audit.last - s->audit.gone);

    for (uint32_t i = 0; i < s->sets_n; i++) {
        const struct rp_files_set *set = &s->sets[i];

        for (uint32_t k = 0; k < set->kept; k++) {
            n += 1U + rp_files_slot(s, set, set->last - k)->n;
        }
    }
    return n;
}

static void put_header(struct out *o, const struct rp_store *s)
{
    const struct rp_meta *m = &s->m;
    unsigned version = others(s) > 0 ? 4 : s->facts_n > 0 ? 3 : 2;

    sy_mp_array(&o->b, version == 4   ? RP_HEADER_LEN
                       : version == 3 ? RP_HEADER_LEN_3
                                      : RP_HEADER_LEN_2);
    sy_mp_str(&o->b, RP_SNAPSHOT_MAGIC);
    sy_mp_uint(&o->b, version);
    sy_mp_uint(&o->b, m->index);
    sy_mp_uint(&o->b, m->now_ms);
    sy_mp_uint(&o->b, m->watch_term);
    sy_mp_uint(&o->b, m->watch_since_ms);
    sy_mp_uint(&o->b, m->watch_node);
    sy_mp_uint(&o->b, m->revision);
    sy_mp_uint(&o->b, m->revision_shipped);
    sy_mp_uint(&o->b, m->readings_first);
    sy_mp_uint(&o->b, m->readings_last);
    sy_mp_uint(&o->b, m->readings_shipped);
    sy_mp_uint(&o->b, m->readings_dropped);
    sy_mp_uint(&o->b, m->commands_last);
    sy_mp_uint(&o->b, m->results_dropped);
    for (unsigned i = RP_CONFIRMED; i < RP_STATUS_NR; i++) {
        sy_mp_uint(&o->b, m->ended[i]);
    }
    sy_mp_uint(&o->b, s->areas_n);
    sy_mp_uint(&o->b, s->devices_n);
    sy_mp_uint(&o->b, s->commands_n);
    sy_mp_uint(&o->b, s->hash);
    sy_mp_uint(&o->b, m->letters_first);
    sy_mp_uint(&o->b, m->letters_last);
    sy_mp_uint(&o->b, m->letters_shipped);
    sy_mp_uint(&o->b, m->letters_dropped);
    if (version > 2) {
        sy_mp_uint(&o->b, s->facts_n);
    }
    if (version > 3) {
        sy_mp_uint(&o->b, others(s));
    }
    record_done(o);
}

static void put_area(struct out *o, const struct rp_area *a)
{
    begin(o, RP_REC_AREA, RP_AREA_LEN);
    sy_mp_uint(&o->b, a->nr);
    sy_mp_str(&o->b, a->name);
    sy_mp_str(&o->b, a->base_topic);
    sy_mp_uint(&o->b, a->bridge);
    sy_mp_uint(&o->b, a->bridge_at_ms);
    sy_mp_uint(&o->b, a->ready_at_ms);
    sy_mp_uint(&o->b, a->off);
    record_done(o);
}

static void put_device(struct out *o, const struct rp_device_slot *d)
{
    begin(o, RP_REC_DEVICE, RP_DEVICE_LEN);
    sy_mp_uint(&o->b, d->d.ieee);
    sy_mp_uint(&o->b, d->d.area);
    sy_mp_bool(&o->b, d->d.listed);
    sy_mp_uint(&o->b, d->d.state);
    sy_mp_uint(&o->b, d->d.avail);
    sy_mp_str(&o->b, d->d.name);
    sy_mp_str(&o->b, d->d.model);
    sy_mp_uint(&o->b, d->d.last_seen_ms);
    sy_mp_uint(&o->b, d->d.updated_ms);
    rp_put_values(&o->b, &d->d.values);
    sy_mp_uint(&o->b, d->d.revision);
    sy_mp_uint(&o->b, d->told_ms);
    sy_mp_uint(&o->b, d->last.hash);
    sy_mp_uint(&o->b, d->last.last_seen_ms);
    for (unsigned i = 0; i < RP_RECENT_NR; i++) {
        sy_mp_uint(&o->b, d->recent[i].hash);
        sy_mp_uint(&o->b, d->recent[i].last_seen_ms);
    }
    sy_mp_uint(&o->b, d->d.told);
    sy_mp_bool(&o->b, d->d.lapsed);
    record_done(o);
}

static void put_command(struct out *o, const struct rp_command *c)
{
    begin(o, RP_REC_COMMAND, RP_COMMAND_LEN);
    sy_mp_uint(&o->b, c->seq);
    sy_mp_str(&o->b, c->id);
    sy_mp_uint(&o->b, c->ieee);
    sy_mp_str(&o->b, c->property);
    sy_mp_str(&o->b, c->value);
    sy_mp_str(&o->b, c->source);
    sy_mp_uint(&o->b, c->status);
    sy_mp_uint(&o->b, c->attempts);
    sy_mp_uint(&o->b, c->accepted_ms);
    sy_mp_uint(&o->b, c->deadline_ms);
    sy_mp_uint(&o->b, c->retry_ms);
    sy_mp_uint(&o->b, c->sent_ms);
    sy_mp_uint(&o->b, c->ended_ms);
    sy_mp_uint(&o->b, c->sent_last_seen_ms);
    sy_mp_str(&o->b, c->reason);
    sy_mp_uint(&o->b, c->revision);
    record_done(o);
}

static void put_reading(struct out *o, const struct rp_reading *r)
{
    begin(o, RP_REC_READING, RP_READING_LEN);
    sy_mp_uint(&o->b, r->seq);
    sy_mp_uint(&o->b, r->ieee);
    sy_mp_uint(&o->b, r->time_ms);
    sy_mp_uint(&o->b, r->state);
    rp_put_values(&o->b, &r->values);
    record_done(o);
}

static void put_letter(struct out *o, const struct rp_letter *l)
{
    begin(o, RP_REC_LETTER, RP_LETTER_LEN);
    sy_mp_uint(&o->b, l->seq);
    sy_mp_uint(&o->b, l->at_ms);
    sy_mp_uint(&o->b, l->area);
    sy_mp_bool(&o->b, l->cut);
    sy_mp_str(&o->b, l->topic);
    sy_mp_str(&o->b, l->reason);
    sy_mp_bin(&o->b, l->payload, l->payload_len);
    record_done(o);
}

static void put_fact(struct out *o, const struct rp_fact *f)
{
    begin(o, RP_REC_FACT, RP_FACT_LEN);
    sy_mp_str(&o->b, f->key);
    sy_mp_str(&o->b, f->value);
    sy_mp_uint(&o->b, f->at_ms);
    record_done(o);
}

static void put_drill(struct out *o, const struct rp_drill *d)
{
    begin(o, RP_REC_DRILL, RP_DRILL_LEN);
    sy_mp_uint(&o->b, d->nr);
    sy_mp_uint(&o->b, d->began_ms);
    sy_mp_uint(&o->b, d->ended_ms);
    sy_mp_str(&o->b, d->kind);
    sy_mp_uint(&o->b, d->state);
    sy_mp_bin(&o->b, d->report, d->report_len);
    record_done(o);
}

static void put_audit(struct out *o, const struct rp_store *s, uint64_t nr)
{
    begin(o, RP_REC_AUDIT, RP_AUDIT_LEN);
    sy_mp_bin(&o->b, rp_store_audit_before(s, nr), SY_SHA256_SIZE);
    rp_audit_put(&o->b, rp_store_audit(s, nr));
    record_done(o);
}

static void put_files(struct out *o, const char *set, const struct rp_files_version *v)
{
    begin(o, RP_REC_FILES, RP_FILES_LEN);
    sy_mp_str(&o->b, set);
    sy_mp_uint(&o->b, v->nr);
    sy_mp_uint(&o->b, v->at_ms);
    sy_mp_uint(&o->b, v->from);
    sy_mp_uint(&o->b, v->node);
    sy_mp_uint(&o->b, v->n);
    record_done(o);
    for (unsigned i = 0; i < v->n; i++) {
        begin(o, RP_REC_FILES, RP_FILE_LEN);
        rp_put_file(&o->b, &v->list[i]);
        record_done(o);
    }
}

static void put_sets(struct out *o, const struct rp_store *s)
{
    for (uint32_t i = 0; i < s->sets_n; i++) {
        const struct rp_files_set *set = &s->sets[i];

        for (uint32_t k = set->kept; k > 0 && o->rv == 0; k--) {
            put_files(o, set->name, rp_files_slot(s, set, set->last - k + 1));
        }
    }
}

static void put_trailer(struct out *o)
{
    begin(o, RP_REC_END, RP_TRAILER_LEN);
    sy_mp_uint(&o->b, o->records);
    sy_mp_uint(&o->b, o->hash);
}

int rp_store_snapshot(struct rp_store *s,
                      int (*write)(void *data, const void *p, size_t n), void *data)
{
    struct out o = {.b = {.p = s->run, .cap = RP_RUN_SIZE}, .sink = write, .data = data};

    put_header(&o, s);
    for (uint32_t i = 0; i < s->areas_n; i++) {
        put_area(&o, &s->areas[i].a);
    }
    for (uint32_t i = 0; i < s->devices_n; i++) {
        s->sort[0][i] = (struct rp_sort){s->devices[i].d.ieee, i};
    }
    rp_sort_run(s, s->devices_n);
    for (uint32_t i = 0; i < s->devices_n && o.rv == 0; i++) {
        put_device(&o, &s->devices[s->sort[0][i].nr]);
    }
    for (uint32_t i = 0; i < s->commands_n && o.rv == 0; i++) {
        put_command(&o, &rp_command_slot(s, rp_order_at(s, i))->c);
    }
    for (uint64_t q = s->m.readings_first; q <= s->m.readings_last && o.rv == 0; q++) {
        put_reading(&o, rp_store_reading(s, q));
    }
    for (uint64_t q = s->m.letters_first; q <= s->m.letters_last && o.rv == 0; q++) {
        put_letter(&o, rp_store_letter(s, q));
    }
    for (uint32_t i = 0; i < s->facts_n && o.rv == 0; i++) {
        put_fact(&o, &s->facts[i]);
    }
    for (uint32_t i = 0; i < s->drills_n && o.rv == 0; i++) {
        put_drill(&o, &s->drills[i]);
    }
    put_sets(&o, s);
    for (uint64_t q = s->audit.gone + 1; q <= s->audit.last && o.rv == 0; q++) {
        put_audit(&o, s, q);
    }
    put_trailer(&o);
    flush(&o);
    assert(o.b.p == s->run);
    return o.rv;
}

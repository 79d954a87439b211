/* State messages of devices: what is new, what was known, what comes late. */

#include <assert.h>
#include <string.h>

#include "replication/store_impl.h"

enum { HAS_MEASURED = RP_HAS_POWER | RP_HAS_VOLTAGE | RP_HAS_CURRENT | RP_HAS_ENERGY };

/* When the report was measured, as far as that can be believed; 0: not known. */
static uint64_t measured_ms(const struct rp_store *s, const struct rp_report *r)
{
    if (r->last_seen_ms > s->m.now_ms &&
        r->last_seen_ms - s->m.now_ms > RP_AHEAD_MAX_MS) {
        return 0;
    }
    return r->last_seen_ms;
}

static bool same(const struct rp_taken *t, const struct rp_report *r)
{
    return t->hash == r->payload_hash && t->last_seen_ms == r->last_seen_ms;
}

/* Has this message been taken before? A payload with last_seen in it does not
 * repeat: equal hash and equal last_seen are the same message, whether it is
 * marked as a redelivery, is one of the three frames that some makers send, or is
 * republished from a cache. Topics keep their order, so a redelivery that is
 * older than what was taken has been taken, too. Without last_seen only a
 * redelivery of the last message can be told from a new one that says the same. */
static bool duplicate(const struct rp_device_slot *d, const struct rp_report *r)
{
    if (r->redelivered && r->payload_hash == d->last.hash) {
        return true;
    }
    if (r->last_seen_ms == 0) {
        return false;
    }
    for (unsigned i = 0; i < RP_RECENT_NR; i++) {
        if (same(&d->recent[i], r)) {
            return true;
        }
    }
    return same(&d->last, r) || (r->redelivered && r->last_seen_ms < d->d.last_seen_ms);
}

/* When a report without a time of its own was measured: now, but later than the one
 * before. What waited at the broker comes all at once, and in Postgres the meter and
 * the time are the key: readings of one time would replace each other. */
static uint64_t own_time(const struct rp_store *s, const struct rp_device_slot *d)
{
    return s->m.now_ms > d->last.last_seen_ms ? s->m.now_ms : d->last.last_seen_ms + 1;
}

static void remember(struct rp_device_slot *d, const struct rp_report *r,
                     uint64_t time_ms)
{
    struct rp_taken taken = {r->payload_hash, r->last_seen_ms};

    d->last = (struct rp_taken){r->payload_hash, time_ms};
    d->d.payload_hash = r->payload_hash;
    /* In order of measurement: late ones must not push the newest out. */
    for (unsigned i = 0; i < RP_RECENT_NR && taken.last_seen_ms != 0; i++) {
        if (taken.last_seen_ms >= d->recent[i].last_seen_ms) {
            struct rp_taken moves = d->recent[i];

            d->recent[i] = taken;
            taken = moves;
        }
    }
}

static void merge(struct rp_values *to, const struct rp_values *v)
{
    if ((v->has & RP_HAS_ENERGY) != 0) {
        to->energy_mwh = v->energy_mwh;
    }
    if ((v->has & RP_HAS_POWER) != 0) {
        to->power_mw = v->power_mw;
    }
    if ((v->has & RP_HAS_VOLTAGE) != 0) {
        to->voltage_mv = v->voltage_mv;
    }
    if ((v->has & RP_HAS_CURRENT) != 0) {
        to->current_ma = v->current_ma;
    }
    if ((v->has & RP_HAS_LINKQUALITY) != 0) {
        to->linkquality = v->linkquality;
    }
    to->has |= v->has;
}

static void emit(struct rp_store *s, struct rp_device_slot *d, enum rp_event_kind kind)
{
    if (s->cb != NULL) {
        rp_emit(s,
                &(struct rp_event){
                    .kind = kind, .device = &d->d, .area = rp_store_area(s, d->d.area)});
    }
}

/* The report is the newest of its device: the device becomes what it says. */
static void take(struct rp_store *s, struct rp_device_slot *d, const struct rp_report *r,
                 bool live)
{
    bool state = r->state != RP_SWITCH_UNKNOWN && r->state != d->d.state;
    /* Only the bridge says who is offline, and it says so late both ways: its
     * "online" follows the first message of a device that came back, so a device
     * told offline stays so until then. A device nobody has spoken of yet is
     * another thing: it may have no availability at all (switched off in the
     * bridge), and what it sends is then the only sign of life. */
    bool avail = live && (d->d.avail == RP_AVAIL_UNKNOWN || d->d.lapsed);
    bool first = d->d.last_seen_ms == 0 && r->last_seen_ms != 0;
    uint64_t alive_ms;

    if (state) {
        d->d.state = r->state;
    }
    if (avail) {
        s->online_n += d->d.avail != RP_ONLINE;
        d->d.avail = RP_ONLINE;
        d->d.lapsed = false;
    }
    merge(&d->d.values, &r->values);
    if (r->last_seen_ms > d->d.last_seen_ms) {
        d->d.last_seen_ms = r->last_seen_ms;
    }
    d->d.updated_ms = s->m.now_ms;
    alive_ms = r->last_seen_ms != 0 ? r->last_seen_ms : s->m.now_ms;
    if (state || avail || first || alive_ms >= d->told_ms + RP_TELL_EVERY_MS) {
        rp_device_bump(s, d);
    }
    rp_device_rehash(s, d);
    if (avail) {
        emit(s, d, RP_EV_AVAIL);
    }
    if (state) {
        emit(s, d, RP_EV_STATE);
    }
}

/* Is it a measurement that the outbox has not had? A cache may only add what
 * was measured while nobody listened: newer than all that came. */
static bool measures(const struct rp_report *r, bool newer)
{
    return (r->values.has & HAS_MEASURED) != 0 && (!r->cached || newer);
}

void rp_apply_report(struct rp_store *s, const struct rp_report *in, bool heard)
{
    struct rp_report r = *in;
    uint32_t nr = rp_find_device(s, r.ieee);
    struct rp_device_slot *d;
    uint64_t time_ms;
    bool newer;
    bool late;

    s->stats.reports++;
    if (nr == 0 || !rp_device_slot(s, nr)->d.listed) {
        s->stats.unknown_devices++;
        return;
    }
    d = rp_device_slot(s, nr);
    if (s->areas[d->d.area - 1].a.off != 0) {
        return; /* On its way when the area was switched off. */
    }
    r.last_seen_ms = measured_ms(s, in);
    late = r.last_seen_ms != 0 && r.last_seen_ms < d->d.last_seen_ms;
    newer = r.last_seen_ms > d->d.last_seen_ms;
    if (duplicate(d, &r) || (late && r.cached)) {
        s->stats.duplicates++;
        return;
    }
    time_ms = r.last_seen_ms == 0 && heard ? own_time(s, d) : r.last_seen_ms;
    remember(d, &r, time_ms);
    if (late) {
        rp_device_rehash(s, d);
    } else {
        take(s, d, &r, !r.cached && (newer || r.last_seen_ms == 0));
    }
    if (measures(&r, newer)) {
        rp_outbox_push(s, &r, time_ms != 0 ? time_ms : s->m.now_ms);
    }
    emit(s, d, RP_EV_REPORT);
    if (d->open.head != 0 && !r.cached) {
        rp_ledger_confirm(s, d, &r);
    }
}

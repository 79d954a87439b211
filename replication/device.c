#include <assert.h>
#include <string.h>

#include "replication/store_impl.h"

void rp_device_bump(struct rp_store *s, struct rp_device_slot *d)
{
    struct rp_links links = rp_devices_changed_links(s);
    uint32_t nr = rp_device_nr(s, d);

    if (d->d.revision != 0) {
        if (s->hints->device == nr) {
            s->hints->device = d->changed.prev;
        }
        rp_chain_remove(&s->devices_changed, links, nr);
    }
    d->d.revision = ++s->m.revision;
    d->told_ms = d->d.last_seen_ms != 0 ? d->d.last_seen_ms : s->m.now_ms;
    rp_chain_push(&s->devices_changed, links, nr);
}

static bool counts_online(const struct rp_device *d)
{
    return d->listed && d->avail == RP_ONLINE;
}

/* Put the device where it is listed; the counts of areas and of devices online
 * follow. Area 0: not listed, and it stays where it was. */
static void list_in(struct rp_store *s, struct rp_device *d, uint16_t area)
{
    s->online_n -= counts_online(d);
    if (d->listed) {
        s->areas[d->area - 1].a.devices--;
    }
    d->listed = area != 0;
    if (d->listed) {
        d->area = area;
        s->areas[area - 1].a.devices++;
    }
    s->online_n += counts_online(d);
}

static void changed(struct rp_store *s, struct rp_device_slot *d, enum rp_event_kind kind)
{
    d->d.updated_ms = s->m.now_ms;
    rp_device_bump(s, d);
    rp_device_rehash(s, d);
    rp_emit(s, &(struct rp_event){
                   .kind = kind, .device = &d->d, .area = rp_store_area(s, d->d.area)});
}

static struct rp_device_slot *new_device(struct rp_store *s,
                                         const struct rp_in_device *in)
{
    struct rp_device_slot *d = &s->devices[s->devices_n];

    *d = (struct rp_device_slot){.d = {.ieee = in->ieee}};
    memcpy(d->d.name, in->name, sizeof d->d.name);
    s->devices_n++;
    rp_index_ieee(s, rp_device_nr(s, d));
    rp_index_name(s, rp_device_nr(s, d));
    return d;
}

void rp_apply_device(struct rp_store *s, const struct rp_in_device *in)
{
    const struct rp_area *area = rp_store_area(s, in->area);
    uint32_t nr = rp_find_device(s, in->ieee);
    struct rp_device_slot *d;

    if (area == NULL) {
        rp_refuse(s, (struct rp_event){0}, "device %s: there is no area %u", in->name,
                  in->area);
        return;
    }
    if (nr == 0 && s->devices_n == s->limits.devices_max) {
        rp_refuse(s, (struct rp_event){.area = area},
                  "device %s: there are %u already; raise the limit of devices", in->name,
                  s->limits.devices_max);
        return;
    }
    d = nr != 0 ? rp_device_slot(s, nr) : new_device(s, in);
    if (d->d.listed && d->d.area == in->area && strcmp(d->d.name, in->name) == 0 &&
        strcmp(d->d.model, in->model) == 0) {
        return;
    }
    if (strcmp(d->d.name, in->name) != 0) {
        rp_unindex_name(s, nr);
        memcpy(d->d.name, in->name, sizeof d->d.name);
        rp_index_name(s, nr);
    }
    memcpy(d->d.model, in->model, sizeof d->d.model);
    list_in(s, &d->d, in->area);
    changed(s, d, RP_EV_DEVICE);
}

/* The slot of a device that is listed. A retained availability outlives its
 * device at the broker, so what comes for another one means nothing. */
static struct rp_device_slot *listed(struct rp_store *s, uint64_t ieee)
{
    uint32_t nr = rp_find_device(s, ieee);

    if (nr == 0 || !rp_device_slot(s, nr)->d.listed) {
        s->stats.unknown_devices++;
        return NULL;
    }
    return rp_device_slot(s, nr);
}

void rp_apply_gone(struct rp_store *s, uint64_t ieee)
{
    struct rp_device_slot *d = listed(s, ieee);

    if (d == NULL) {
        return;
    }
    list_in(s, &d->d, 0);
    changed(s, d, RP_EV_GONE);
    rp_ledger_gone(s, d, "the device was removed from its bridge");
}

static void become(struct rp_store *s, struct rp_device_slot *d, enum rp_avail avail)
{
    s->online_n -= counts_online(&d->d);
    d->d.avail = avail;
    d->d.lapsed = false;
    s->online_n += counts_online(&d->d);
    changed(s, d, RP_EV_AVAIL);
}

void rp_apply_avail(struct rp_store *s, const struct rp_in_avail *in)
{
    struct rp_device_slot *d = listed(s, in->ieee);

    if (d == NULL || d->d.avail == in->avail) {
        return;
    }
    become(s, d, in->avail);
}

/* A bridge that is not there, or has only just come, does not know who is. */
static bool holds(const struct rp_store *s, const struct rp_device *d, uint64_t hold_ms)
{
    const struct rp_area *a = &s->areas[d->area - 1].a;

    return a->bridge != RP_ONLINE || s->m.now_ms - a->bridge_at_ms < hold_ms;
}

void rp_apply_told(struct rp_store *s, const struct rp_in_told *in)
{
    struct rp_device_slot *d = listed(s, in->ieee);

    if (d == NULL || s->areas[d->d.area - 1].a.off != 0) {
        return;
    }
    d->d.told = in->avail;
    if (d->d.avail == in->avail || (in->avail == RP_OFFLINE && d->d.avail == RP_ONLINE &&
                                    holds(s, &d->d, in->hold_ms))) {
        d->d.lapsed = false; /* From now on the bridge speaks for it. */
        rp_device_rehash(s, d);
        return;
    }
    become(s, d, in->avail);
}

void rp_apply_lapse(struct rp_store *s, const struct rp_in_lapse *in)
{
    struct rp_device_slot *d = listed(s, in->ieee);

    if (d == NULL || d->d.avail == RP_OFFLINE) {
        return;
    }
    if (d->d.told == RP_OFFLINE) {
        if (!holds(s, &d->d, in->hold_ms)) {
            become(s, d, RP_OFFLINE);
        }
        return;
    }
    /* Silent for so long, though its bridge was there to be heard all the time. */
    if (d->d.told == RP_AVAIL_UNKNOWN && in->ttl_ms > 0 &&
        s->m.now_ms - d->d.updated_ms >= in->ttl_ms && !holds(s, &d->d, in->ttl_ms)) {
        become(s, d, RP_OFFLINE);
        d->d.lapsed = true;
        rp_device_rehash(s, d);
    }
}

void rp_devices_forget(struct rp_store *s, uint16_t area)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->devices_n; i++) {
        if (s->devices[i].d.area == area && s->devices[i].d.listed) {
            s->sort[0][n++] = (struct rp_sort){s->devices[i].d.ieee, i};
        }
    }
    rp_sort_run(s, n); /* Slots have another order after a restore. */
    for (uint32_t i = 0; i < n; i++) {
        struct rp_device_slot *d = &s->devices[s->sort[0][i].nr];

        d->d.told = RP_AVAIL_UNKNOWN;
        become(s, d, RP_AVAIL_UNKNOWN);
        rp_ledger_gone(s, d, "the area was switched off");
    }
}

/* What the node on watch looks after while time passes: devices that are to be taken
 * for offline, areas that are switched off by configuration, areas in which most
 * devices are gone at once. Called every 100 ms. */

#include <string.h>

#include "base/mp.h"
#include "node/node.h"

enum {
    WALK_MAX = 1024, /* devices looked at in one turn */
    AREAS_EVERY_MS = 1000,
    OUTAGE_DEVICES_MIN = 3,
    OUTAGE_PERCENT = 50, /* of an area's devices are offline: one event for all */
    OUTAGE_OVER_PERCENT = 25
};

/* --- devices that are silent --- */

uint64_t nd_listened_ms(struct nd_node *n, unsigned broker)
{
    struct ad_mqtt *mqtt = n->brokers[broker].mqtt;
    const struct ad_mqtt_status *s = mqtt != NULL ? ad_mqtt_status(mqtt) : NULL;
    uint64_t now = nd_now_ms();

    if (s == NULL || s->reader != AD_MQTT_UP || now < s->since_ms) {
        return 0;
    }
    return now - s->since_ms;
}

/* Only asks: whether it is so, the state machine decides, alike on all nodes. */
static void look_at(struct nd_node *n, const struct rp_device *d, uint64_t wall_ms)
{
    const struct nd_area *a;
    uint64_t ttl;

    if (!d->listed || d->avail == RP_OFFLINE || d->told == RP_ONLINE) {
        return;
    }
    a = nd_duty_area(n, d->area);
    if (a == NULL || rp_store_area(n->store, d->area)->bridge != RP_ONLINE) {
        return;
    }
    ttl = d->told == RP_OFFLINE ? 0 : a->config->offline_after_ms;
    if (d->told != RP_OFFLINE && (ttl == 0 || wall_ms < d->updated_ms + ttl)) {
        return;
    }
    if (d->told == RP_OFFLINE &&
        wall_ms <
            rp_store_area(n->store, d->area)->bridge_at_ms + n->config.online_hold_ms) {
        return;
    }
    if (nd_listened_ms(n, a->config->broker) >= ttl) {
        rp_batch_lapse(nd_replica_batch(n->replica), d->ieee, n->config.online_hold_ms,
                       ttl);
    }
}

static void walk_devices(struct nd_node *n)
{
    uint32_t count = rp_store_devices(n->store);
    uint64_t wall_ms = nd_replica_clock_ms(n->replica);
    uint32_t left = count < WALK_MAX ? count : WALK_MAX;

    if (nd_replica_full(n->replica)) {
        return; /* It can wait: nothing is more patient than silence. */
    }
    for (; left > 0; left--) {
        n->walk_at = n->walk_at < count ? n->walk_at : 0;
        look_at(n, rp_store_device_at(n->store, n->walk_at++), wall_ms);
    }
}

/* --- areas --- */

/* The configuration says that an area is off, or no more: so does the state, which
 * is what Postgres and the other nodes go by. */
static void tend_areas(struct nd_node *n)
{
    for (unsigned i = 0; i < n->areas_n; i++) {
        const struct nd_config_area *c = n->areas[i].config;
        const struct rp_area *known = rp_store_area_named(n->store, c->name);

        if (known != NULL && c->enabled == ((known->off & RP_OFF_CONFIG) != 0)) {
            rp_batch_area_off(nd_replica_batch(n->replica), known->nr, RP_OFF_CONFIG,
                              !c->enabled);
        }
    }
}

/* A blown fuse is one event, not one for each of 47 meters. */
static void tend_outages(struct nd_node *n, bool tell)
{
    const struct nd_counts *counts = nd_status_counts(n);

    for (unsigned i = 0; i < n->areas_n; i++) {
        struct nd_area *a = &n->areas[i];
        uint64_t devices = counts->devices[i];
        uint64_t offline = counts->offline[i];
        bool was = a->outage;

        if (a->state == NULL) {
            a->outage = false;
            continue;
        }
        if (!was) {
            a->outage = offline >= OUTAGE_DEVICES_MIN &&
                        offline * 100 >= devices * OUTAGE_PERCENT;
        } else if (offline * 100 <= devices * OUTAGE_OVER_PERCENT) {
            a->outage = false;
        }
        if (a->outage != was && tell) {
            nd_events_outage(n, a, devices, offline);
        }
    }
}

void nd_tend_begin(struct nd_node *n)
{
    n->walk_at = 0;
    n->tend_areas_ms = 0;
    tend_outages(n, false); /* What was so before is no news of this watch. */
}

void nd_tend(struct nd_node *n)
{
    uint64_t now = nd_now_ms();

    if (cs_watch_state(&n->watch) != CS_ACTIVE || !n->ports_running) {
        return;
    }
    walk_devices(n);
    tend_outages(n, true);
    if (now >= n->tend_areas_ms) {
        n->tend_areas_ms = now + AREAS_EVERY_MS;
        tend_areas(n);
    }
}

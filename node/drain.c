#include "node/drain.h"

#include <string.h>

#include "node/node.h"

bool nd_drain_goes_on(struct nd_drain *d, uint64_t now_ms, bool holding,
                      uint64_t received)
{
    if (d->until_ms == 0) {
        d->until_ms = now_ms + ND_DRAIN_MAX_MS;
        d->quiet_ms = now_ms;
        d->received = received;
    } else if (holding || received != d->received) {
        d->quiet_ms = now_ms;
        d->received = received;
    }
    if (now_ms < d->until_ms && now_ms < d->quiet_ms + ND_DRAIN_QUIET_MS) {
        return true;
    }
    *d = (struct nd_drain){0};
    return false;
}

static const struct nd_config_resource *broker_of(const struct nd_node *n, unsigned which)
{
    for (unsigned i = 0; i < n->config.resources_n; i++) {
        const struct nd_config_resource *r = &n->config.resources[i];

        if (r->has_mosquitto && strcmp(r->name, n->site.list[which].name) == 0) {
            return r;
        }
    }
    return NULL;
}

bool nd_drain_resource(struct nd_node *n, unsigned which)
{
    const struct nd_config_resource *r = broker_of(n, which);
    struct nd_drain *d = &n->site.parts[which].drain;
    uint64_t received = 0;
    bool heard = false, holding = false;

    for (unsigned i = 0; r != NULL && i < n->config.brokers_n; i++) {
        const struct ad_mqtt *mqtt = n->brokers[i].mqtt;
        const struct ad_mqtt_status *s = mqtt != NULL ? ad_mqtt_status(mqtt) : NULL;

        if (s != NULL && s->reader == AD_MQTT_UP &&
            nd_mosquitto_is_at(&r->mosquitto, &n->config.brokers[i])) {
            heard = true;
            holding = holding || s->holding;
            received += s->received;
        }
    }
    if (!heard || !n->site.yield.on) {
        *d = (struct nd_drain){0};
        return false;
    }
    return nd_drain_goes_on(d, nd_now_ms(), holding, received);
}

/* The outbox is full and `limits.when_full` says `hold`: nothing is read from the
 * brokers any more, so that nothing is acknowledged that could not be kept. They
 * keep it, as long as max_queued_messages and session_expiry let them.
 *
 * How much may still come after this was noticed is known: one burst of each broker
 * at most is on its way, and what a list of devices releases. So much room is always
 * left; the state machine never has to drop a reading under this policy. */

#include <string.h>

#include "node/node.h"

static uint32_t reserve(const struct nd_node *n)
{
    size_t messages = 0;

    for (unsigned i = 0; i < n->config.brokers_n; i++) {
        messages += n->config.brokers[i].burst_max;
    }
    return (uint32_t)messages + rp_store_devices(n->store);
}

static bool bursts_under_way(const struct nd_node *n)
{
    for (unsigned i = 0; i < n->config.brokers_n; i++) {
        if (n->brokers[i].waiting) {
            return true;
        }
    }
    return false;
}

static void each_reader(struct nd_node *n, void (*what)(struct ad_mqtt *m))
{
    for (unsigned i = 0; i < n->config.brokers_n; i++) {
        if (n->brokers[i].mqtt != NULL) {
            what(n->brokers[i].mqtt);
        }
    }
}

void nd_hold_begin(struct nd_node *n)
{
    n->holding = false;
    nd_hold_tend(n); /* Before anything is read. */
}

void nd_hold_tend(struct nd_node *n)
{
    uint32_t room = rp_store_readings_room(n->store);
    uint32_t least = reserve(n);

    /* Without Postgres nothing would ever make room. */
    if (!n->ports_running || !n->config.has_postgres ||
        strcmp(n->config.when_full, "hold") != 0) {
        return;
    }
    if (!n->holding && room < least) {
        n->holding = true;
        SY_LOG(&n->log, SY_ERR, "outbox.full", KSTR("policy", "hold"),
               KU64("readings", rp_store_limits(n->store)->readings_max - room));
        each_reader(n, ad_mqtt_pause);
    } else if (n->holding && room >= 2 * least && !bursts_under_way(n)) {
        n->holding = false;
        SY_LOG(&n->log, SY_NOTE, "outbox.room", KU64("room", room));
        each_reader(n, ad_mqtt_resume);
    }
}

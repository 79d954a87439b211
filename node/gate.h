/* Before a resource of the site may start: what must be done, and what must be so.
 *
 *   a broker   its mosquitto.conf is written
 *   a bridge   its settings are looked at, or mended where that is allowed; then the
 *              coordinator's seat must be free: the instance that died may still hold it
 *
 * A bridge whose settings cannot be read is not started: without them Zigbee2MQTT would
 * begin a new network. What merely differs is told, and does not hold it up. */

#ifndef ND_GATE_H
#define ND_GATE_H

#include "adapters/broker/broker.h"
#include "adapters/probe/seat.h"
#include "base/log.h"
#include "node/bridges.h"

struct nd_gate_config
{
    const struct nd_bridge *bridge;        /* or NULL; copied */
    struct ad_seat_config seat;            /* host "": not looked at */
    const struct ad_broker_config *broker; /* or NULL; copied */
    char conf[ND_PATH_SIZE];               /* of the broker */
};

struct nd_gate;

/* @last: @open is the end of it, and the gate is gone. Before, while the seat is not
 * free: why. Never from inside a call. */
typedef void (*nd_gate_cb)(void *data, bool open, bool last, const char *why);

struct nd_gate *nd_gate_start(uv_loop_t *loop, const struct nd_gate_config *c,
                              const struct sy_log *log, nd_gate_cb cb, void *data);
/* No callback comes any more. */
void nd_gate_cancel(struct nd_gate *g);

#endif /* ND_GATE_H */

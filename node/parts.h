/* The brokers and bridges among the site's resources: what they are to the keeper, what
 * must be so before they start, and whether they do their work while they run.
 *
 *   a broker   a program with a configuration of ours; it must answer (pulse.h)
 *   a bridge   run as its area says, after the addresses and brokers; it must not have
 *              been offline, by its own word or its will's, for long */

#ifndef ND_PARTS_H
#define ND_PARTS_H

#include "adapters/resources/keeper.h"
#include "node/gate.h"

struct nd_node;

/* Does the area's Zigbee2MQTT belong to the watch? */
bool nd_bridge_is_ours(const struct nd_config_area *a);
/* Name ("bridge-area1"), kind, arguments; what it comes after is nd_parts_init()'s. */
void nd_bridge_part(const struct nd_config_area *a, struct ad_resource *ret);
/* Kind and arguments. */
void nd_mosquitto_part(const struct nd_config *c, const struct nd_config_resource *r,
                       struct ad_resource *ret);
/* What must be so before it starts. @room keeps what @ret refers to. */
void nd_bridge_gate(const struct nd_config *c, unsigned area, struct nd_bridge *room,
                    struct nd_gate_config *ret);
void nd_mosquitto_gate(const struct nd_config *c, const struct nd_config_resource *r,
                       struct nd_gate_config *ret);
/* From the start of one bridge to that of the next. All at once would all be late: they
 * share the processors. One after the other, the first works soon, the last no later. */
unsigned nd_bridge_turn_ms(unsigned bridges, unsigned processors);
/* A bridge that runs, and has been offline for so long: NULL, or what is wrong. */
const char *nd_bridge_ails(uint64_t running_ms, uint64_t offline_ms);

/* --- for the node --- */

/* Behind nd_site_init(): adds the bridges, and what is to be done for both. */
void nd_parts_init(struct nd_node *n);
void nd_parts_tend(struct nd_node *n); /* every 100 ms */
void nd_parts_close(struct nd_node *n);

#endif /* ND_PARTS_H */

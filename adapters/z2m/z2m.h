/* Zigbee2MQTT 2.x as a source of messages (replication/source.h).
 *
 * Topics, payloads and their races as measured: docs/protocol.md, "Zigbee2MQTT". */

#ifndef AD_Z2M_Z2M_H
#define AD_Z2M_Z2M_H

#include "replication/source.h"

extern const struct rp_source_ops ad_z2m_source;

#endif /* AD_Z2M_Z2M_H */

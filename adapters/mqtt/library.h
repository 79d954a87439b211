/* One connection of the library: how it is made, and what it calls. For client.c. */

#ifndef AD_MQTT_LIBRARY_H
#define AD_MQTT_LIBRARY_H

#include "adapters/mqtt/client.h"

/* MQTT 5.0, 2.4: reasons from here on are failures. MOSQ_ERR_* end far below. */
enum { AD_MQTT_REASON_FAILED = 128 };

/* Makes c->mosq, ready for mosquitto_connect_async(). What its callbacks note stands
 * in @c. MOSQ_ERR_*. */
int ad_mqtt_library_make(struct ad_mqtt_client *c);

#endif /* AD_MQTT_LIBRARY_H */

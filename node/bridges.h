/* The Zigbee2MQTT of each area on this host: what its configuration.yaml should say, as
 * far as our own configuration knows it, and what it says. Reads files: not on the
 * loop. */

#ifndef ND_BRIDGES_H
#define ND_BRIDGES_H

#include "adapters/bridge/settings.h"
#include "node/config.h"

struct nd_bridge
{
    char area[RP_NAME_SIZE];
    char dir[ND_PATH_SIZE];
    struct ad_bridge_wanted wanted;
    bool may_write;
    /* What came out. */
    struct ad_bridge_findings findings;
    bool written;
    int same_id; /* another one with its client id; -1: none */
    char error[512];
};

struct nd_bridges
{
    struct nd_bridge list[ND_AREAS_MAX];
    unsigned n;
};

/* "tcp://192.168.1.20:80", "tcp://[fd00::1]:80": checked when it was read. */
void nd_coordinator_address(const char *text, char host[64], uint16_t *ret_port);
/* That of an area which has one. */
void nd_bridge_of(const struct nd_config *c, unsigned area, struct nd_bridge *ret);
/* Those of areas that are enabled; none on a witness. */
void nd_bridges_of(const struct nd_config *c, struct nd_bridges *ret);
/* @write: and mends what the configuration allows it to. */
void nd_bridges_look(struct nd_bridges *b, bool write);
/* A sentence for each thing that is not as it should be; returns how many. */
unsigned nd_bridge_tell(const struct nd_bridges *b, unsigned i,
                        void (*tell)(void *data, const char *text), void *data);

/* Does this broker of ours listen where clients look for that one? */
bool nd_mosquitto_is_at(const struct ad_broker_config *b, const struct ad_mqtt_config *m);
/* The resource that clients of this broker find; NULL: it is somebody else's. */
const struct nd_config_resource *nd_broker_of_ours(const struct nd_config *c,
                                                   unsigned broker);

#endif /* ND_BRIDGES_H */

/* Canaries: what a drill sends through the site to see what arrives (node/drill.h).
 *
 * While a drill runs there is one more area, ND_CANARY_AREA, at the first broker, with a
 * device for each area of the configuration. Nobody but the coordinator of the drill
 * plays them: it publishes numbered readings and answers commands, so that what is
 * measured went the whole way: broker, reader, log, outbox, Postgres; and back.
 *
 *   vagt/CLUSTER/canary/DEVICE       "NUMBER UNIX-MS ON", at QoS 1, not retained
 *   vagt/CLUSTER/canary/DEVICE/set   "ON"
 *
 * The number is the reading's energy in mWh. It has no power, so that no sum of the site
 * changes; canaries have rows in meter_readings only. */

#ifndef ND_CANARY_H
#define ND_CANARY_H

#include <stdbool.h>
#include <stdint.h>

#include "node/config.h"
#include "replication/source.h"

#define ND_CANARY_AREA "vagt-canary"
#define ND_CANARY_PREFIX "vagt-canary-" /* and the name of the area */

enum { ND_CANARY_PAYLOAD_SIZE = 64, ND_CANARY_FLIGHT_MAX = 512 };

extern const struct rp_source_ops nd_canary_source;

void nd_canary_base(const struct nd_config *c, char to[RP_TOPIC_SIZE]);
void nd_canary_name(const char *area, char to[RP_NAME_SIZE]);
uint64_t nd_canary_ieee(const char *name);
struct nd_canary_reading
{
    uint64_t number, at_ms;
    enum rp_switch state;
};
void nd_canary_write(const struct nd_canary_reading *r, char to[ND_CANARY_PAYLOAD_SIZE]);
bool nd_canary_read(const void *payload, size_t len, struct nd_canary_reading *ret);

/* Which numbers the broker has: what it confirmed is in its hands, what was on its way
 * when the link broke is published again as it was. Brokers confirm in order. */
struct nd_canary_flight
{
    struct
    {
        unsigned device;
        struct nd_canary_reading reading;
    } list[ND_CANARY_FLIGHT_MAX]; /* The first again_n wait to be published again. */
    unsigned n, again_n;
    uint64_t newest;                   /* number given out last */
    uint64_t confirmed;                /* how many */
    uint64_t acks_seen, failures_seen; /* of the client's counters */
};

/* The next to be published: one of those that come again, else NULL. */
bool nd_canary_again(const struct nd_canary_flight *f, unsigned *ret_device,
                     struct nd_canary_reading *ret);
/* It was handed to the client. */
void nd_canary_went_again(struct nd_canary_flight *f);
bool nd_canary_room(const struct nd_canary_flight *f);
void nd_canary_went(struct nd_canary_flight *f, unsigned device,
                    const struct nd_canary_reading *r);
/* The client's counters now. */
void nd_canary_heard(struct nd_canary_flight *f, uint64_t acks, uint64_t failures);

#endif /* ND_CANARY_H */

/* Two MQTT clients for one broker, on the loop: a reader that acknowledges only
 * what was committed, and a writer that never waits behind it.
 *
 * Reader: MQTT v5, fixed client id, clean start off, session expiry, receive
 * maximum. It reads all there is, delivers each message, then says "burst" and
 * stops reading until the owner calls ad_mqtt_release(): only that flushes the
 * PUBACKs (libmosquitto queues them, mosquitto_threaded_set). At-least-once of
 * MQTT 5.0, section 4.3.2, with the acknowledgement moved behind the Raft
 * commit. Being the cluster's only holder of the client id is the fence: a
 * takeover (section 3.1.4-3) closes the old watch's connection.
 *
 * Neither client ever sends DISCONNECT while acknowledgements are held. Closing
 * shuts the socket and destroys the client: what was not released is redelivered
 * to the next watch. Several addresses may be given; they are tried in turn.
 * Reconnecting backs off from 200 ms to 5 min (fast first) with jitter. */

#ifndef AD_MQTT_MQTT_H
#define AD_MQTT_MQTT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/log.h"
#include "replication/source.h"

enum { AD_MQTT_ADDRESSES_MAX = 4, AD_MQTT_ID_SIZE = 64 };

struct ad_mqtt_config
{
    struct
    {
        char host[64]; /* numeric: name resolution would block the loop */
        uint16_t port;
    } addresses[AD_MQTT_ADDRESSES_MAX];
    unsigned addresses_n;
    char name[32];                   /* of the broker, for the log */
    char reader_id[AD_MQTT_ID_SIZE]; /* e.g. vagt-<cluster>-in */
    char writer_id[AD_MQTT_ID_SIZE]; /* e.g. vagt-<cluster>-out */
    const char *username;            /* NULL: none. Copied at open. */
    const char *password;
    unsigned keepalive_s;        /* default 10 */
    unsigned session_expiry_s;   /* default 86,400 */
    unsigned receive_max;        /* default 1,000 */
    unsigned connect_timeout_ms; /* default 3,000 */
    unsigned backoff_max_ms;     /* default 300,000 */
    size_t burst_max;            /* messages per burst, default 4,096 */
    size_t publish_queue_max;    /* bytes waiting in the writer, default 1 MiB */
    uint64_t seed;               /* of the jitter */
};

void ad_mqtt_config_default(struct ad_mqtt_config *c);

struct ad_mqtt;

enum ad_mqtt_link { AD_MQTT_DOWN, AD_MQTT_CONNECTING, AD_MQTT_UP };

struct ad_mqtt_status
{
    enum ad_mqtt_link reader, writer;
    bool holding;         /* a burst is not released yet */
    bool session_present; /* as of the last CONNACK of the reader */
    char address[80];     /* in use or tried last */
    char error[160];      /* why it is down; empty when up */
    uint64_t since_ms;    /* uv_now() of the last change of reader/writer */
    uint64_t received, bursts, acked_bursts, published, publish_failed, reconnects,
        takeovers; /* takeovers: somebody else took the session, as far as one can tell:
                      the broker says so, or closed without a word and lives */
    size_t publish_queued;
    unsigned subscriptions; /* granted on this connection */
};

/* None of these is called from inside a call of the owner's, except as said. */
struct ad_mqtt_callbacks
{
    /* One message of a burst; borrowed. */
    void (*message)(void *data, const struct rp_message *m);
    /* The burst is over (n > 0 messages): nothing is read until
     * ad_mqtt_release(), which may be called from here. */
    void (*burst)(void *data, size_t n);
    /* Status changed (either link). */
    void (*changed)(void *data);
    /* The reader is connected and the broker has no session of its client id, as
     * the first time ever; or something was to be subscribed while there was no
     * connection. The owner must name all its subscriptions with
     * ad_mqtt_subscribe(), from here. */
    void (*subscribe)(void *data);
};

/* Starts connecting. @loop, @log outlive it. */
SY_MUST_USE int ad_mqtt_open(struct ad_mqtt **ret, uv_loop_t *loop,
                             const struct sy_log *log,
                             const struct ad_mqtt_config *config,
                             const struct ad_mqtt_callbacks *cb, void *data,
                             struct sy_errbuf *eb);
/* At any time. Retained messages come for what is new to the session only, so to
 * name again what it has is harmless. Without a connection the subscribe callback
 * comes with the next one. */
void ad_mqtt_subscribe(struct ad_mqtt *m, const char *filter, int qos);
/* All of the burst is committed: acknowledge it and read on. */
void ad_mqtt_release(struct ad_mqtt *m);
/* QoS 1, not retained unless @retain. SY_ENOTFOUND: not connected (nothing is
 * queued: a command that cannot leave now is the ledger's to retry), SY_ELIMIT:
 * queue full. */
SY_MUST_USE int ad_mqtt_publish(struct ad_mqtt *m, const char *topic, const void *payload,
                                size_t len, bool retain);
const struct ad_mqtt_status *ad_mqtt_status(const struct ad_mqtt *m);
/* Both sockets are shut before this returns: nothing more can leave. Frees when
 * the loop has closed its handles, then calls @closed (may be NULL). */
void ad_mqtt_close(struct ad_mqtt *m, void (*closed)(void *data));

#endif /* AD_MQTT_MQTT_H */

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
 * to the next watch. Several addresses may be given; they are tried in turn, and
 * the writer goes where the reader is: two of them may be two brokers. Reconnecting
 * backs off from 200 ms to 30 s (fast first) with jitter.
 *
 * The writer leaves a last will: when it is gone for will_delay_s and nobody has
 * taken its client id, the broker itself puts @will on status_topic. */

#ifndef AD_MQTT_MQTT_H
#define AD_MQTT_MQTT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/log.h"
#include "replication/source.h"

enum {
    AD_MQTT_ADDRESSES_MAX = 4,
    AD_MQTT_ID_SIZE = 64,
    AD_MQTT_TOPIC_SIZE = 128,
    AD_MQTT_PATH_SIZE = 512,
    AD_MQTT_TELL_MAX = 1024 /* bytes of a status */
};

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
    /* Paths, read at each connection, so what is renewed is used then. The broker's
     * certificate must be signed by one of @ca and name the address it was found at. */
    struct
    {
        bool on;
        char ca[AD_MQTT_PATH_SIZE];
        char cert[AD_MQTT_PATH_SIZE], key[AD_MQTT_PATH_SIZE]; /* ours; "": none */
    } tls;
    unsigned keepalive_s;        /* default 10 */
    unsigned session_expiry_s;   /* default 86,400 */
    unsigned receive_max;        /* default 1,000 */
    unsigned connect_timeout_ms; /* default 3,000 */
    unsigned backoff_max_ms;     /* default 30,000: a site is to be back within 60 s */
    size_t burst_max;            /* messages per burst, default 4,096 */
    size_t publish_queue_max;    /* bytes waiting in the writer, default 1 MiB */
    bool to_somebody; /* what nobody subscribes to has failed, if the broker says so */
    char status_topic[AD_MQTT_TOPIC_SIZE]; /* of ad_mqtt_tell(); "": none, no will */
    char will[256];                        /* what stands there when we are gone */
    unsigned will_delay_s;                 /* default 10 */
    uint64_t seed;                         /* of the jitter */
};

void ad_mqtt_config_default(struct ad_mqtt_config *c);

struct ad_mqtt;

enum ad_mqtt_link { AD_MQTT_DOWN, AD_MQTT_CONNECTING, AD_MQTT_UP };

struct ad_mqtt_status
{
    enum ad_mqtt_link reader, writer;
    bool holding;         /* a burst is not released yet */
    bool paused;          /* the reader, by ad_mqtt_pause() */
    bool status_refused;  /* the broker does not take the status or the will */
    bool session_present; /* as of the last CONNACK of the reader */
    char address[80];     /* in use or tried last */
    char error[160];      /* why it is down; empty when up */
    uint64_t since_ms;    /* uv_now() of the last change of reader/writer */
    uint64_t received, bursts, acked_bursts, published, publish_failed, reconnects,
        takeovers; /* takeovers: somebody else took the session, as far as one can tell:
                      the broker says so, or closed without a word and lives */
    size_t publish_queued;
    unsigned subscriptions; /* granted on this connection */
    /* Messages that the broker threw away for whichever client, most often since
     * max_queued_messages of a session that is not connected was reached: as it says
     * itself, if it does and we may know. */
    uint64_t broker_dropped;        /* since we first looked (or it was started) */
    uint64_t broker_dropped_before; /* and before, since it was started */
    uint64_t broker_dropped_ms;     /* uv_now() when the first was last seen to rise */
};

/* None of these is called from inside a call of the owner's, except as said. */
struct ad_mqtt_callbacks
{
    /* One message of a burst; borrowed. */
    void (*message)(void *data, const struct rp_message *m);
    /* The burst is over (n > 0 messages): nothing is read until
     * ad_mqtt_release(), which may be called from here. So may ad_mqtt_pause(). */
    void (*burst)(void *data, size_t n);
    /* Status changed: either link, or what the broker dropped. */
    void (*changed)(void *data);
    /* The reader is connected and the broker has no session of its client id, as
     * the first time ever; or the connection was gone in between, so it may be another
     * broker; or something was to be subscribed meanwhile. The owner must name all its
     * subscriptions with ad_mqtt_subscribe(), from here. */
    void (*subscribe)(void *data);
};

/* Starts connecting. @loop, @log outlive it. */
SY_MUST_USE int ad_mqtt_open(struct ad_mqtt **ret, uv_loop_t *loop,
                             const struct sy_log *log,
                             const struct ad_mqtt_config *config,
                             const struct ad_mqtt_callbacks *cb, void *data,
                             struct sy_errbuf *eb);
/* At any time. Retained messages come for what is new to the session only, so to
 * name again what it has is harmless. @fresh: they come anyhow. Without a connection
 * the subscribe callback comes with the next one; if it was to be fresh, then all
 * that is named from there is. */
void ad_mqtt_subscribe(struct ad_mqtt *m, const char *filter, int qos, bool fresh);
/* All of the burst is committed: acknowledge it and read on. */
void ad_mqtt_release(struct ad_mqtt *m);
/* The owner cannot take more for a while, minutes or days. A burst that is merely not
 * released would cost the connection (PINGREQ waits behind its acknowledgements),
 * and be delivered again and again. So the reader's socket is shut before this
 * returns, nothing is acknowledged, and no new connection is made: the broker keeps
 * all that comes, within its max_queued_messages and for session_expiry_s. No burst
 * is held any more, and none is told of that had begun. The writer stays. May be
 * called from any callback, twice, and without a connection. */
void ad_mqtt_pause(struct ad_mqtt *m);
/* Connects at once. What was not released comes again. A release that was owed for a
 * burst before the pause must come before this, or never: afterwards it would be
 * taken for one of a new burst. */
void ad_mqtt_resume(struct ad_mqtt *m);
/* It is known that the broker is there from now on (it was started, its address has
 * moved): who has no connection connects at once. A connect that is under way may be to
 * where the address was, and begins anew. Calls nobody. */
void ad_mqtt_hurry(struct ad_mqtt *m);
/* QoS 1, not retained unless @retain. SY_ENOTFOUND: not connected (nothing is
 * queued: a command that cannot leave now is the ledger's to retry), SY_ELIMIT:
 * queue full. */
SY_MUST_USE int ad_mqtt_publish(struct ad_mqtt *m, const char *topic, const void *payload,
                                size_t len, bool retain);
/* Status of the cluster for everybody: QoS 1, retained, on status_topic, now and
 * after each reconnect; only the latest. @len at most AD_MQTT_TELL_MAX. To be called
 * on each change and now and then: a broker that died may have an older one, or the
 * will. Takes no room of the commands' queue. */
void ad_mqtt_tell(struct ad_mqtt *m, const void *payload, size_t len);
const struct ad_mqtt_status *ad_mqtt_status(const struct ad_mqtt *m);
/* Both sockets are shut before this returns: nothing more can leave. Frees when
 * the loop has closed its handles, then calls @closed (may be NULL). */
void ad_mqtt_close(struct ad_mqtt *m, void (*closed)(void *data));

#endif /* AD_MQTT_MQTT_H */

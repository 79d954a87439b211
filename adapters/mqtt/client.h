/* One connection to a broker on the loop, made again for as long as it is wanted:
 * what the reader and the writer have in common.
 *
 *            start           CONNACK
 *   DOWN ------------> CONNECTING ------> UP
 *     ^                    |               |
 *     +--- next address, --+--- lost ------+
 *          or backoff           (taken over: backoff of its own)
 *
 * Paused: DOWN until resumed.
 *
 * Each connection is a struct mosquitto of its own. So nothing of an old one can
 * leave on a new one: no acknowledgement that was held, and no command that the
 * library would send again by itself long after its deadline.
 *
 * The library calls back from inside mosquitto_loop_*(): these callbacks only take
 * notes here (flags), but for messages, which are borrowed and passed on. What
 * follows from the notes is done when the library has returned. */

#ifndef AD_MQTT_CLIENT_H
#define AD_MQTT_CLIENT_H

#include <mosquitto.h>
#include <uv.h>

#include "adapters/mqtt/mqtt.h"

struct ad_mqtt_client_ops
{
    /* From inside the library: no call to it, and no change of the client but
     * @hold. NULL: not wanted. */
    void (*message)(void *data, const struct mosquitto_message *m, bool dup);
    /* The broker has it; from inside the library, too. */
    void (*acked)(void *data, int mid, int reason);
    /* The rest: from outside. They may close the client. */
    void (*connected)(void *data, bool session_present);
    /* An answer to the SUBSCRIBE @mid; 0: granted, else the reason of the refusal.
     * NULL: not wanted. */
    void (*subscribed)(void *data, int mid, int refused);
    /* All that was there is read, or @hold was set. */
    void (*read_done)(void *data);
    void (*lost)(void *data);
    /* Somebody else has this client id now. */
    void (*taken)(void *data);
    void (*changed)(void *data);
};

struct ad_mqtt_probe;

struct ad_mqtt_client
{
    const struct ad_mqtt_config *config;
    const struct ad_mqtt_client_ops *ops;
    void *data;
    uv_loop_t *loop;
    const struct sy_log *log;
    const char *what; /* "reader", "writer" */
    const char *id;
    unsigned session_expiry_s; /* Clean start is off: the broker keeps the session. */
    bool will;                 /* Connects with the last will of the configuration. */

    enum ad_mqtt_link link;
    /* Acknowledgements are queued that must not leave: neither write nor read. */
    bool hold;
    struct mosquitto *mosq; /* Of this connection; NULL: none. */
    uv_poll_t *poll;        /* Of its socket; never reused for another. */
    struct ad_mqtt_probe *probe;
    uv_timer_t timer; /* DOWN: backoff. CONNECTING: timeout. UP: keepalive. */
    void (*timer_closed)(uv_handle_t *timer);

    unsigned address;    /* In use, or tried next. */
    unsigned tried;      /* Addresses in a row that failed. */
    uint64_t backoff_ms; /* Of the next failure. */
    uint64_t taken_ms;   /* Of the next takeover. */
    uint64_t up_at_ms;
    uint64_t random;
    bool will_refused;   /* The broker takes us, but not with a will. */
    char error[160];     /* Why it is down; empty when up. */
    char tls_error[160]; /* What the library said of TLS, on this connection. */
    bool reached;        /* TCP is through: now TLS is spoken. */

    /* Notes of the library's callbacks. */
    bool in_library;
    bool gone;          /* The library closed the socket. */
    int gone_rc;        /* MOSQ_ERR_* below 128, or the broker's reason. */
    bool connack;       /* The broker took us. */
    bool session;       /* It still had the session. */
    int refused;        /* Reason of a CONNACK that refuses; 0: none. */
    bool suback;        /* A subscription was answered, */
    int suback_mid;     /* this one, */
    int suback_refused; /* and so. */
    bool discard;       /* Reading only for the reason behind the messages. */
    bool dup;           /* Of the message that comes next. */
    bool dup_known;

    bool closing;
    bool paused;   /* No connection is wanted now. */
    bool let_go;   /* This connection is over as soon as the library returns. */
    bool deferred; /* Would connect now, but a burst is held. */
};

/* The fields down to @will are set, the others zero. Starts to connect. */
void ad_mqtt_client_open(struct ad_mqtt_client *c);
/* Something was queued or @hold changed: look what to wait for. Calls nobody. */
void ad_mqtt_client_kick(struct ad_mqtt_client *c);
/* The socket is shut when this returns, and no new one comes. Calls nobody but
 * lost(); if the library is under way, that comes when it returns. */
void ad_mqtt_client_pause(struct ad_mqtt_client *c);
/* Connects from the loop, at once. */
void ad_mqtt_client_resume(struct ad_mqtt_client *c);
/* Without a connection: tries at once, from the loop, and begins to back off anew. Calls
 * nobody but lost(), as above. */
void ad_mqtt_client_hurry(struct ad_mqtt_client *c);
/* Use this address, from now on; a connection to another one ends as above. */
void ad_mqtt_client_move(struct ad_mqtt_client *c, unsigned address);
/* The socket is shut when this returns. @timer_closed comes from the loop; the
 * memory must last until then. */
void ad_mqtt_client_close(struct ad_mqtt_client *c,
                          void (*timer_closed)(uv_handle_t *timer));
/* "host:port", in brackets for IPv6. */
void ad_mqtt_client_address(const struct ad_mqtt_client *c, char *to, size_t size);

#endif /* AD_MQTT_CLIENT_H */

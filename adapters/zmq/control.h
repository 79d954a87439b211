/* The control plane's sockets on the libuv loop: a ROUTER for requests and a PUB
 * for events (zmq_socket(3)). What a request means is the owner's business. */

#ifndef AD_ZMQ_CONTROL_H
#define AD_ZMQ_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "adapters/zmq/zap.h"
#include "base/err.h"
#include "base/log.h"

enum {
    AD_ZMQ_ENDPOINTS_MAX = 4,
    AD_ZMQ_ENDPOINT_SIZE = 160,
    AD_ZMQ_REQUEST_MAX = 8 * 1024,
    AD_ZMQ_CLIENT_MAX = 64 /* Bytes of a ROUTER routing id that we accept. */
};

/* Who says something, as far as a socket can know. */
struct ad_zmq_who
{
    bool sealed; /* It has shown that it holds @key. */
    bool local;  /* Over a Unix socket; @uid and @pid are what the kernel says. */
    uint32_t uid, pid;
    char key[AD_ZAP_KEY_SIZE];
    char address[AD_ZAP_ADDRESS_SIZE]; /* of TCP: without port */
};

struct ad_zmq_config
{
    /* "ipc:///run/vagt/control.sock", "tcp://127.0.0.1:7201". A stale ipc file is
     * replaced; mode 0600. With a secret key all TCP is CURVE (curvezmq.org), and @admit
     * is asked for each who comes; without, TCP off loopback only if `plaintext` says
     * so. */
    char requests[AD_ZMQ_ENDPOINTS_MAX][AD_ZMQ_ENDPOINT_SIZE];
    unsigned requests_n;
    char events[AD_ZMQ_ENDPOINTS_MAX][AD_ZMQ_ENDPOINT_SIZE];
    unsigned events_n;
    char secret_key[AD_ZAP_KEY_SIZE]; /* Z85; "": no CURVE */
    bool plaintext;                   /* The operator trusts the network. */
    int send_queue_max; /* messages per client, default 1,000; beyond: dropped */
};

/* Who asked; copy it to answer later. */
struct ad_zmq_client
{
    bool sealed; /* which socket it came by */
    int fd;      /* its connection, for the guard; libzmq's */
    uint8_t len;
    uint8_t id[AD_ZMQ_CLIENT_MAX];
};

struct ad_zmq_stats
{
    uint64_t requests, replies, replies_dropped, oversized, events;
    uint64_t connections, turned_away; /* held now; shut as too many: see guard.h */
    uint64_t overfull;                 /* shut for what they sent */
    uint64_t strangers;                /* refused before they could say anything */
    uint64_t refused; /* More than one frame, or a routing id that is too long. */
};

struct ad_zmq;

struct ad_zmq_owner
{
    void *data;
    /* @p is borrowed. May call ad_zmq_reply(), not ad_zmq_close(). */
    void (*request)(void *data, const struct ad_zmq_client *client,
                    const struct ad_zmq_who *who, const uint8_t *p, size_t n);
    ad_zap_admit_cb admit; /* needed if there is a secret key */
};

/* Creates its own zmq context (one I/O thread). */
SY_MUST_USE int ad_zmq_open(struct ad_zmq **ret, uv_loop_t *loop,
                            const struct sy_log *log, const struct ad_zmq_config *config,
                            const struct ad_zmq_owner *owner, struct sy_errbuf *eb);
/* Somebody's key is no longer good: who is connected by one must show it again. */
void ad_zmq_ask_again(struct ad_zmq *z);
/* To a client that is gone: dropped and counted. */
void ad_zmq_reply(struct ad_zmq *z, const struct ad_zmq_client *client, const void *p,
                  size_t n);
/* True if anybody is connected who may have subscribed: spares making events nobody
 * hears. */
bool ad_zmq_heard(const struct ad_zmq *z);
void ad_zmq_publish(struct ad_zmq *z, const char *name, const void *p, size_t n);
const struct ad_zmq_stats *ad_zmq_stats(struct ad_zmq *z);
/* Unlinks ipc files. */
void ad_zmq_close(struct ad_zmq *z, void (*closed)(void *data));

#endif /* AD_ZMQ_CONTROL_H */

/* The control plane's sockets on the libuv loop: a ROUTER for requests and an XPUB
 * for events (zmq_socket(3)). What a request means is the owner's business. */

#ifndef AD_ZMQ_CONTROL_H
#define AD_ZMQ_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/log.h"

enum {
    AD_ZMQ_ENDPOINTS_MAX = 4,
    AD_ZMQ_ENDPOINT_SIZE = 160,
    AD_ZMQ_REQUEST_MAX = 8 * 1024,
    AD_ZMQ_CLIENT_MAX = 64 /* Bytes of a ROUTER routing id that we accept. */
};

struct ad_zmq_config
{
    /* "ipc:///run/vagt/control.sock", "tcp://127.0.0.1:7201"; TCP off loopback only
     * if `plaintext` says so, until keys are there. A stale ipc file is replaced; mode
     * 0600. */
    char requests[AD_ZMQ_ENDPOINTS_MAX][AD_ZMQ_ENDPOINT_SIZE];
    unsigned requests_n;
    char events[AD_ZMQ_ENDPOINTS_MAX][AD_ZMQ_ENDPOINT_SIZE];
    unsigned events_n;
    bool plaintext;     /* The operator trusts the network: there are no keys yet. */
    int send_queue_max; /* messages per client, default 1,000; beyond: dropped */
};

/* Who asked; copy it to answer later. */
struct ad_zmq_client
{
    uint8_t len;
    uint8_t id[AD_ZMQ_CLIENT_MAX];
};

struct ad_zmq_stats
{
    uint64_t requests, replies, replies_dropped, oversized, events;
    uint64_t connections, turned_away; /* held now; shut as too many: see guard.h */
    uint64_t refused; /* More than one frame, or a routing id that is too long. */
};

struct ad_zmq;

/* @p is borrowed. May call ad_zmq_reply(), not ad_zmq_close(). */
typedef void (*ad_zmq_request_cb)(void *data, const struct ad_zmq_client *client,
                                  const uint8_t *p, size_t n);

/* Creates its own zmq context (one I/O thread). */
SY_MUST_USE int ad_zmq_open(struct ad_zmq **ret, uv_loop_t *loop,
                            const struct sy_log *log, const struct ad_zmq_config *config,
                            ad_zmq_request_cb cb, void *data, struct sy_errbuf *eb);
/* To a client that is gone: dropped and counted. */
void ad_zmq_reply(struct ad_zmq *z, const struct ad_zmq_client *client, const void *p,
                  size_t n);
/* True if anybody subscribes to anything: spares making events nobody hears. */
bool ad_zmq_heard(const struct ad_zmq *z);
void ad_zmq_publish(struct ad_zmq *z, const char *name, const void *p, size_t n);
const struct ad_zmq_stats *ad_zmq_stats(struct ad_zmq *z);
/* Unlinks ipc files. */
void ad_zmq_close(struct ad_zmq *z, void (*closed)(void *data));

#endif /* AD_ZMQ_CONTROL_H */

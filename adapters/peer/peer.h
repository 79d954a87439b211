/* Connections between the nodes of a cluster: length-prefixed frames over one
 * TCP connection per pair, which the node with the higher id dials.
 *
 *   frame    u32 length of what follows, u8 kind, body (little endian)
 *   hello    the first frame each way: magic, version, cluster, epoch, from, to
 *
 * A link is up when both hellos were right. Frames of a link arrive in order; a
 * new link never begins before the old one is dead. Everything is bounded: a
 * frame by frame_max, what waits for a slow peer by queue_max (further frames
 * are dropped and counted: Raft allows any message to be lost), and those who have not
 * said who they are by their number, of each address and together.
 *
 * With `tls` all of it is inside mutual TLS 1.3 (tls.h): hello and certificate must name
 * the same node. Without it is plain TCP, for loopback. */

#ifndef AD_PEER_PEER_H
#define AD_PEER_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/log.h"

enum {
    AD_PEER_ID_MAX = 15,
    AD_PEER_KIND_HELLO = 0, /* 1.. are the owner's */
    /* Why the other side will not talk to us, the last frame of a connection (hello.h).
     * The owner gets it; there may be no link. Only with TLS: else anybody could say it.
     */
    AD_PEER_KIND_GOODBYE = 255,
    AD_PEER_PROTOCOL = 1,
    /* Connections whose other end has not said who it is. */
    AD_PEER_GUESTS_MAX = 64, /* of addresses that are no node's */
    AD_PEER_GUESTS_PER_ADDRESS = 8
};

enum ad_peer_goodbye_reason { AD_PEER_REFUSED = 0, AD_PEER_REMOVED };

struct ad_tls;

struct ad_peer_address
{
    uint64_t id;
    char host[64]; /* numeric */
    uint16_t port;
    bool removed; /* With TLS it is told so, and not let in. */
};

struct ad_peer_config
{
    char cluster[64];
    uint64_t epoch; /* Of the membership; another epoch is refused. */
    uint64_t self;
    struct ad_peer_address nodes[AD_PEER_ID_MAX];
    unsigned nodes_n;         /* self included: its address is listened on */
    size_t frame_max;         /* default 4 MiB */
    size_t queue_max;         /* default 16 MiB per peer */
    unsigned redial_min_ms;   /* default 20 */
    unsigned redial_max_ms;   /* default 200: relief needs the other links, too */
    unsigned user_timeout_ms; /* TCP_USER_TIMEOUT, default 5,000 */
    unsigned hello_ms;        /* to say who one is, default 5,000 */
    struct ad_tls *tls;       /* NULL: plain TCP. The owner frees it after the close. */
};

void ad_peer_config_default(struct ad_peer_config *c);

struct ad_peer_callbacks
{
    /* Borrowed. May send or drop, must not close. */
    void (*frame)(void *data, uint64_t from, uint8_t kind, const uint8_t *p, size_t n);
    void (*up)(void *data, uint64_t peer);
    /* @broken: the other side's kernel said so (FIN, RST): its process is gone. */
    void (*down)(void *data, uint64_t peer, bool broken);
};

struct ad_peer_stats
{
    uint64_t frames_in, frames_out, bytes_in, bytes_out, dropped, links, refused,
        turned_away; /* because too many were there already */
};

struct ad_peers;

/* Listens and begins to dial. */
SY_MUST_USE int ad_peers_open(struct ad_peers **ret, uv_loop_t *loop,
                              const struct sy_log *log,
                              const struct ad_peer_config *config,
                              const struct ad_peer_callbacks *cb, void *data,
                              struct sy_errbuf *eb);
/* Another node, or another address of one that is known, while running. A link that is
 * up stays, unless it is removed. */
SY_MUST_USE int ad_peers_set(struct ad_peers *p, const struct ad_peer_address *a,
                             struct sy_errbuf *eb);
/* Queues a copy; false: no link, or the queue is full (dropped). */
bool ad_peers_send(struct ad_peers *p, uint64_t to, uint8_t kind, const void *body,
                   size_t n);
/* For drills: as a machine that vanished. Nothing is sent and what comes is thrown away;
 * the connections stay, so nobody is told. */
void ad_peers_mute(struct ad_peers *p, bool mute);
/* What @id sends cannot be right: close its connection (down() follows from here,
 * not broken). It dials again, or is dialled. Allowed in frame(). */
void ad_peers_drop(struct ad_peers *p, uint64_t id);
/* Hands everything queued to the kernel. Once per loop turn, before it sleeps. */
void ad_peers_flush(struct ad_peers *p);
bool ad_peers_linked(const struct ad_peers *p, uint64_t id);
const struct ad_peer_stats *ad_peers_stats(const struct ad_peers *p);
void ad_peers_close(struct ad_peers *p, void (*closed)(void *data));

#endif /* AD_PEER_PEER_H */

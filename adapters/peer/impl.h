/* Private to adapters/peer: a connection, a node it may be of, and who has them all.
 *
 *   peer.c    who is dialled, what waits to be sent, life
 *   link.c    one connection: greeting, frames, encryption, end
 *   guests.c  those who have not said who they are
 *   hello.c   how the first bytes look      tls.c  what encrypts them */

#ifndef AD_PEER_IMPL_H
#define AD_PEER_IMPL_H

#include "adapters/peer/hello.h"
#include "adapters/peer/peer.h"
#include "adapters/peer/tls.h"

enum {
    AD__READ_CHUNK = 64 * 1024,
    /* Before the next try with one that will not have us, or that we will not have. */
    AD__SULK_MS = 2000
};

struct link
{
    uv_tcp_t tcp;
    uv_timer_t hello_timer; /* A stranger that says nothing is shown the door. */
    struct ad_peers *owner;
    struct peer *peer;       /* NULL until its hello was right. */
    struct ad_tls_link *tls; /* NULL: plain, or nothing said yet */
    char from[48];           /* its address; "": we dialled */
    struct sy_buf in;
    struct link *next;
    unsigned open_handles;
    bool spoke; /* Something came from it. */
    bool closing;
};

struct peer
{
    struct ad_peers *owner;
    struct ad_peer_address address;
    struct sockaddr_storage addr;
    uv_timer_t redial;
    uv_connect_t connect;
    struct link *dialing; /* connecting, or waiting for the hello of the other */
    struct link *link;    /* up */
    struct sy_buf out;
    unsigned redial_ms;
};

struct ad_peers
{
    struct ad_peer_config config;
    uv_loop_t *loop;
    const struct sy_log *log;
    struct ad_peer_callbacks cb;
    void *data;
    uv_tcp_t listener;
    struct peer peers[AD_PEER_ID_MAX + 1]; /* by id; address.id == 0: none */
    struct link *links;
    uint8_t *wire; /* READ_CHUNK bytes: what came encrypted */
    struct ad_peer_stats stats;
    uint64_t crowd_ms;     /* not told of a crowd again before */
    unsigned open_handles; /* listener and redial timers */
    bool closing;
    bool muted; /* for a drill: nothing is sent or heard */
    void (*closed)(void *data);
};

/* --- peer.c --- */

void ad__dial_later(struct peer *p);
void ad__peers_maybe_closed(struct ad_peers *o);

/* --- link.c --- */

extern const char ad__removed_text[];

struct link *ad__link_new(struct ad_peers *o);
/* @broken: the other side's kernel told us. */
void ad__link_drop(struct link *l, bool broken);
void ad__link_timeout(uv_timer_t *hello_timer); /* It took too long. */
/* It is connected. @to: who was dialled; 0: we were. */
void ad__link_start(struct link *l, uint64_t to);
/* Hand over @b's bytes for the other side to read; @b is empty afterwards. */
void ad__link_push(struct link *l, struct sy_buf *b);
/* It will not be talked to. Who has proved to be a node is told why. */
void ad__link_refuse(struct link *l, uint64_t from, uint8_t reason, const char *why);

/* --- guests.c --- */

/* Sets where it comes from. Room for @l among the guests of its address, and among all
 * that are no nodes; false: there is none, it must go. */
bool ad__guest_seat(struct ad_peers *o, struct link *l);

#endif /* AD_PEER_IMPL_H */

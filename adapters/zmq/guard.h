/* How many connections the sockets of the control plane may hold, and how much each may
 * have waiting. libzmq accepts whatever comes until the process has no descriptor left,
 * and then the log, the peers and the broker have none either; and it keeps what belongs
 * to a message whose last part never comes, and subscriptions without end. This watches
 * what it accepts (zmq_socket_monitor(3)) and shuts what is too much, from a thread of
 * its own: also while the loop is busy. */

#ifndef AD_ZMQ_GUARD_H
#define AD_ZMQ_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    AD_ZMQ_GUARDED_MAX = 4,
    /* Over all sockets. Apart, so that no crowd on the network locks out who sits at
     * the machine. */
    AD_ZMQ_LOCAL_MAX = 128,   /* Unix sockets */
    AD_ZMQ_NETWORK_MAX = 128, /* TCP */
    AD_ZMQ_PER_ADDRESS_MAX = 32,
    AD_ZMQ_HANDSHAKE_MS = 5 * 1000, /* what has said nothing sensible until then goes */
    /* A peer that is gone without a word is noticed. Not by heartbeats of ZeroMQ: their
     * answers are bytes that say nothing, and would have to be let through for ever. */
    AD_ZMQ_SILENCE_S = 15,
    /* Bytes of a connection over TCP, as they are on the wire. */
    AD_ZMQ_UNTAKEN_MAX = 256 * 1024,   /* since its last whole request was taken */
    AD_ZMQ_SUBSCRIBED_MAX = 16 * 1024, /* all that a subscriber ever says */
    AD_ZMQ_UNREAD_MAX = 512 * 1024     /* replies under way to it */
};

struct ad_zmq_guard;

/* Before the sockets are bound. @ctx and @sockets are borrowed; from @sealed_from on
 * they ask for a key. @news is called from the thread when somebody was turned away or
 * refused. */
SY_MUST_USE int ad_zmq_guard_open(struct ad_zmq_guard **ret, void *ctx, void **sockets,
                                  unsigned n, unsigned sealed_from,
                                  void (*news)(void *data), void *data,
                                  struct sy_errbuf *eb);
/* By socket @which, now. */
uint64_t ad_zmq_guard_held(const struct ad_zmq_guard *g, unsigned which);
uint64_t ad_zmq_guard_turned_away(const struct ad_zmq_guard *g); /* so far */
/* Cut off, for they sent more than may wait. */
uint64_t ad_zmq_guard_overfull(const struct ad_zmq_guard *g);
/* Who could not greet: no key, a wrong one, no ZeroMQ at all. */
uint64_t ad_zmq_guard_strangers(const struct ad_zmq_guard *g);
/* A whole message came from @fd (zmq_msg_get(3), ZMQ_SRCFD). */
void ad_zmq_guard_taken(struct ad_zmq_guard *g, int fd);
/* May a reply of @n bytes be sent to @fd? Then it counts as sent. One always may. */
bool ad_zmq_guard_room(struct ad_zmq_guard *g, int fd, size_t n);
/* Ends all connections of a socket; whose key is still good comes again by itself. One
 * that was accepted in this very moment may be missed: cut once more a little later. */
void ad_zmq_guard_cut(struct ad_zmq_guard *g, unsigned which);
/* Before the sockets are closed: waits for its thread. NULL is fine. */
void ad_zmq_guard_close(struct ad_zmq_guard *g);

#endif /* AD_ZMQ_GUARD_H */

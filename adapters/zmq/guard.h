/* How many connections the sockets of the control plane may hold. libzmq accepts
 * whatever comes until the process has no descriptor left, and then the log, the peers
 * and the broker have none either. This watches what it accepts (zmq_socket_monitor(3))
 * and shuts what is too much, from a thread of its own: also while the loop is busy. */

#ifndef AD_ZMQ_GUARD_H
#define AD_ZMQ_GUARD_H

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
    AD_ZMQ_HEARTBEAT_MS = 10 * 1000 /* a peer that is gone without a word is noticed */
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
/* Who could not greet: no key, a wrong one, no ZeroMQ at all. */
uint64_t ad_zmq_guard_strangers(const struct ad_zmq_guard *g);
/* Ends all connections of a socket; whose key is still good comes again by itself. One
 * that was accepted in this very moment may be missed: cut once more a little later. */
void ad_zmq_guard_cut(struct ad_zmq_guard *g, unsigned which);
/* Before the sockets are closed: waits for its thread. NULL is fine. */
void ad_zmq_guard_close(struct ad_zmq_guard *g);

#endif /* AD_ZMQ_GUARD_H */

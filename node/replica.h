/* One replica: the consensus core, its durable log, the connections to its peers
 * and the state machine, joined on one loop. It knows nothing of meters and
 * brokers; it takes batches of inputs and tells when they are applied.
 *
 *   inputs of a loop turn -> one batch -> one Raft entry -> one fsync -> applied
 *
 * Inputs are appended with nd_replica_batch() by whoever has some; once per loop
 * turn, before the loop sleeps, the batch is sealed and submitted. Callbacks come
 * from the loop, never from inside the call that caused them, and may append
 * inputs again. A few entries at most are under way; what comes meanwhile shares
 * the next one (group commit). */

#ifndef ND_REPLICA_H
#define ND_REPLICA_H

#include <uv.h>

#include "adapters/peer/peer.h"
#include "adapters/wal/wal.h"
#include "base/list.h"
#include "base/log.h"
#include "consensus/core.h"
#include "replication/clock.h"
#include "replication/store.h"

enum {
    /* Kinds of frames between peers. */
    ND_FRAME_RAFT = 1,
    ND_FRAME_SNAP_BEGIN,
    ND_FRAME_SNAP_CHUNK,
    ND_FRAME_SNAP_ACK,
    ND_FRAME_OWNER = 16 /* and above: handed to the owner */
};

struct nd_replica_config
{
    const char *cluster;
    const char *data_dir;
    struct ad_peer_config peers; /* cluster, epoch, self and nodes set */
    struct cs_core_config raft;
    struct ad_wal_config wal;
    struct rp_limits limits;
    size_t batch_max;      /* bytes of inputs per entry */
    size_t pending_max;    /* bytes of inputs waiting; then nd_replica_full() */
    unsigned inflight_max; /* entries submitted and not applied */
    /* This machine has little memory: snapshots keep the log in it short, as far as
     * they are no larger than what they save. */
    bool small;
};

struct nd_replica;

/* All on the loop. */
struct nd_replica_callbacks
{
    /* While an entry is applied: for noting, not for acting (the store changes
     * further). The event is borrowed. */
    void (*event)(void *data, const struct rp_event *ev);
    /* After anything happened to role, term, leader, links or the applied index. At
     * most once per loop turn, when nothing of the replica is on the stack. */
    void (*changed)(void *data);
    /* A frame of kind ND_FRAME_OWNER or above. */
    void (*frame)(void *data, uint64_t from, uint8_t kind, const uint8_t *p, size_t n);
    void (*link)(void *data, uint64_t peer, bool up, bool broken);
};

/* 0 when the inputs of the batch are applied here; SY_ENOTLEADER: they never
 * were proposed; SY_EUNKNOWN: leadership was lost on the way, they may or may
 * not be in the log; SY_ECANCELED... on close: UV_ECANCELED. */
typedef void (*nd_applied_cb)(void *data, int status);

/* A request embedded by its owner; fires exactly once. */
struct nd_wait
{
    struct sy_link link;
    nd_applied_cb cb;
    void *data;
    uint64_t index;
    uint64_t term;
    int status;
};

/* First start of a member: writes a log that holds the first configuration. */
SY_MUST_USE int nd_replica_bootstrap(const struct nd_replica_config *c,
                                     struct sy_errbuf *eb);
/* Reads everything back and joins. SY_ENOTFOUND: not bootstrapped. SY_ECORRUPT:
 * damage, the node must not vote. */
SY_MUST_USE int nd_replica_open(struct nd_replica **ret, uv_loop_t *loop,
                                const struct sy_log *log,
                                const struct nd_replica_config *config,
                                const struct nd_replica_callbacks *cb, void *data,
                                struct sy_errbuf *eb);
/* Finishes a write under way; waits get UV_ECANCELED. */
void nd_replica_close(struct nd_replica *r, void (*closed)(void *data));

/* Where inputs go. Leader only by agreement: on others they are refused when the
 * turn ends (the waits get SY_ENOTLEADER). */
struct rp_batch *nd_replica_batch(struct nd_replica *r);
/* The inputs that follow (together not larger than half of batch_max) come into one
 * entry; returns nd_replica_inputs(), which counts all that were put into batches. */
uint64_t nd_replica_group(struct nd_replica *r);
uint64_t nd_replica_inputs(const struct nd_replica *r);
/* Tell me when what was appended so far is applied. */
void nd_replica_wait(struct nd_replica *r, struct nd_wait *w, nd_applied_cb cb,
                     void *data);
/* Too much is waiting: stop taking more in. */
bool nd_replica_full(const struct nd_replica *r);
SY_MUST_USE int nd_replica_transfer(struct nd_replica *r, uint64_t to,
                                    unsigned timeout_ms);
/* Members, as leader: cs_core_change(), cs_core_catch_up(). SY_EBUSY, too, while the
 * tie-breaker's row is being closed: ask again. */
SY_MUST_USE int nd_replica_change(struct nd_replica *r, uint64_t id,
                                  enum cs_member_role role);
SY_MUST_USE int nd_replica_catch_up(struct nd_replica *r, uint64_t id);
void nd_replica_hold(struct nd_replica *r, bool hold);
/* A node that may connect from now on; its address may be another than before. */
SY_MUST_USE int nd_replica_peer(struct nd_replica *r, const struct ad_peer_address *a,
                                struct sy_errbuf *eb);
bool nd_replica_send(struct nd_replica *r, uint64_t to, uint8_t kind, const void *p,
                     size_t n);

/* For drills: ad_peers_mute(). */
void nd_replica_mute(struct nd_replica *r, bool mute);

/* Lead alone with something of the own term committed (node/tie.c). */
void nd_replica_barrier(struct nd_replica *r);

/* What the tie-breaker says. */
struct nd_replica_gate
{
    bool shut;         /* nd_replica_leading() is 0, whatever Raft says */
    bool muted;        /* nothing of Raft goes to a peer or comes from one */
    bool members_only; /* who is not a member is not heard */
    /* Of two voters or fewer more than two are made only when this is who they are:
     * otherwise the row could still let one of the two go on alone. */
    bool guarded;
    uint32_t widen_to;
};
void nd_replica_set_gate(struct nd_replica *r, const struct nd_replica_gate *gate);
/* The voters that a change was refused for since the row is not closed, bit n for node n;
 * 0: none was. Forgets it. */
uint32_t nd_replica_widen_wanted(struct nd_replica *r);
/* When something last came from it, monotonic; 0: never. */
uint64_t nd_replica_heard_ms(const struct nd_replica *r, uint64_t peer);

uint64_t nd_now_ms(void);  /* monotonic, read freshly */
uint64_t nd_wall_ms(void); /* Unix time, as this machine has it */
/* Unix time, as the cluster has it (replication/clock.h): for whatever ends up in an
 * entry, or is compared with what came from one. */
uint64_t nd_replica_clock_ms(const struct nd_replica *r);
const struct cs_core *nd_replica_core(const struct nd_replica *r);
struct rp_store *nd_replica_store(struct nd_replica *r);
const struct ad_peers *nd_replica_peers(const struct nd_replica *r);
const struct ad_wal *nd_replica_wal(const struct nd_replica *r);
/* The term this node leads and may propose in; 0 otherwise. */
uint64_t nd_replica_leading(const struct nd_replica *r);
/* Longest time one turn of the loop has taken lately, in microseconds; resets. */
uint64_t nd_replica_stall_us(struct nd_replica *r);
/* And how much of a turn was work of its own, not waiting for the processor. */
uint64_t nd_replica_work_us(struct nd_replica *r);

#endif /* ND_REPLICA_H */

/* The driver of one libraft core (raft_step), free of I/O and of clocks.
 *
 * Everything that has to be right independently of sockets and disks is here:
 * the log in memory, what must be durable before what is sent, which completed
 * writes may be reported, configuration and snapshot bookkeeping, ownership of
 * memory towards libraft, and the workarounds for the ten known bugs of
 * 0.22.1 (each marked BUG n, docs/adr/0002, 0016). node/replica.c drives it with
 * libuv, tests/sim with a simulated world.
 *
 * The contract with libraft is the one of its docs/events.rst and
 * docs/updates.rst; the algorithm is "In Search of an Understandable Consensus
 * Algorithm" (Ongaro, Ousterhout), with pre-vote from Ongaro's thesis, 9.6.
 *
 * Not re-entrant: the ops below must not call back into cs_core_*(); answers
 * come later, from the outside. */

#ifndef CS_CORE_H
#define CS_CORE_H

#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
    CS_MEMBERS_MAX = 9,
    CS_ID_MAX = 15 /* Node ids are 1..15. */
};

/* libraft allocates per entry; so do we, with sy_alloc. */
struct cs_entry
{
    uint64_t term;
    uint8_t type; /* enum raft_entry_type: RAFT_COMMAND, RAFT_BARRIER, RAFT_CHANGE */
    uint32_t len;
    uint8_t *data; /* Owned by the log in memory. */
};

/* What goes with a snapshot besides the state itself. */
struct cs_snapshot_meta
{
    uint64_t index; /* Last entry it covers; 0: no snapshot. */
    uint64_t term;  /* Of that entry. */
    uint64_t conf_index;
    struct sy_buf conf; /* raft_configuration_encode()d. */
};

/* One operation on the durable log. At most one is under way. It must be done
 * as a whole in this order: install, vote, entries; durable before
 * cs_core_stored(). The pointers are good during the call of ops->store()
 * only: encode or copy there. */
struct cs_store_op
{
    const struct cs_snapshot_meta *install; /* NULL, or: the log is replaced by this
                                               snapshot (already durable, under
                                               its incoming name) and is empty. */
    bool has_vote;                          /* Term and vote changed: */
    uint64_t term;
    uint64_t voted_for;
    uint64_t first; /* Entries first .. first+n-1. Whatever the log holds at and */
    size_t n;       /* above first is replaced (truncation). */
    const struct cs_entry *entries;
    uint64_t drop_until; /* Entries up to here are not needed any more (a snapshot
                            covers them and the trailing rest is kept). 0: none. */
};

struct cs_core_ops
{
    /* Send a frame to a peer. Borrowed: copy it. Dropping it is allowed, order
     * per peer must be kept, and never two connections of one peer mixed. */
    void (*send)(void *ctx, uint64_t to, const uint8_t *frame, size_t len);
    /* Is there a connection, so that sending is of any use? */
    bool (*linked)(void *ctx, uint64_t to);
    /* Send the snapshot @index, whose InstallSnapshot message is @frame: the
     * peer must call cs_core_recv() with the frame once it has the snapshot
     * durably under its incoming name. A transfer to this peer that is under
     * way already may go on instead (dropping is allowed). */
    void (*send_snapshot)(void *ctx, uint64_t to, const uint8_t *frame, size_t len,
                          uint64_t index);
    /* Make this durable, then call cs_core_stored(), never before returning. */
    void (*store)(void *ctx, const struct cs_store_op *op);
    /* Apply a committed entry. Every index exactly once, in order. Called for
     * every type; what is not RAFT_COMMAND has no meaning for the state machine.
     * @p is borrowed. */
    void (*apply)(void *ctx, uint64_t index, uint64_t term, uint8_t type,
                  const uint8_t *p, size_t n);
    /* Take a snapshot of the state machine as it is now (everything up to
     * meta->index applied), make it durable, then cs_core_snapshot_taken(),
     * never before returning. @meta is borrowed. */
    void (*snapshot)(void *ctx, const struct cs_snapshot_meta *meta);
    /* Replace the state machine by the snapshot just installed (its store op has
     * completed). @meta is borrowed. */
    void (*restore)(void *ctx, const struct cs_snapshot_meta *meta);
    /* Must not return: the process is in a state in which it may not go on. */
    void (*fatal)(void *ctx, const char *why);
};

struct cs_core_config
{
    uint64_t id;           /* 1..CS_ID_MAX */
    unsigned election_ms;  /* default 1000 */
    unsigned heartbeat_ms; /* default 100 */
    unsigned seed;         /* Of the election jitter; from the rim. */
    unsigned inflight_max; /* Entries sent and not acknowledged, per follower. */
    unsigned trailing;     /* Entries kept behind a snapshot; > inflight_max (BUG 5). */
    unsigned snapshot_entries; /* Take a snapshot when this many were applied ... */
    size_t snapshot_bytes;     /* ... or the log holds this many bytes. 0: never. */
    size_t frame_max;          /* AppendEntries are split above this. */
    size_t backlog_max;        /* Bytes submitted and not committed; then SY_ELIMIT. */
    uint32_t witnesses;        /* Bit 1 << id: in a relief these speak up last. */
};

void cs_core_config_default(struct cs_core_config *c);

/* What was found on the disk. Entries change hands (the array does not). */
struct cs_core_boot
{
    uint64_t term;
    uint64_t voted_for;
    struct cs_snapshot_meta snapshot; /* index 0: none. Borrowed. The caller has
                                         restored the state machine from it. */
    uint64_t first; /* Index of entries[0]; with n == 0: snapshot.index + 1. */
    size_t n;
    struct cs_entry *entries;
};

struct cs_stats
{
    uint64_t steps, writes, entries_written, frames_sent, frames_bad, elections_won,
        snapshots_taken, snapshots_sent, snapshots_installed, alarms,
        walks; /* Requests below what the receiver is known to have: 0 (BUG 5). */
};

struct cs_core; /* ~1 kB of private state around struct raft. */

/* Content of a fresh log: entry 1, the configuration of the first members
 * (all voters). Term 1, no vote. @entry's data is allocated for the caller. */
void cs_core_bootstrap(const uint64_t *ids, unsigned n, struct cs_entry *entry);

/* NULL with @eb filled when the boot data does not fit together. Ops may be
 * called before this returns (store, apply). @now_ms: any monotonic clock. */
struct cs_core *cs_core_new(const struct cs_core_config *config,
                            const struct cs_core_ops *ops, void *ctx, uint64_t now_ms,
                            struct cs_core_boot *boot, struct sy_errbuf *eb);
void cs_core_destroy(struct cs_core **c);

/* --- inputs. Each takes the time; it never goes backwards inside. --- */

/* When cs_core_tick() is due. Ask again after every other call. */
uint64_t cs_core_timeout(struct cs_core *c);
void cs_core_tick(struct cs_core *c, uint64_t now_ms);
/* @from must be the authenticated sender. SY_ECORRUPT: malformed, drop the
 * connection. For an InstallSnapshot see ops->send_snapshot. */
SY_MUST_USE int cs_core_recv(struct cs_core *c, uint64_t now_ms, uint64_t from,
                             const uint8_t *frame, size_t len);
/* Is @frame an InstallSnapshot, and of which index and term? For the transport. */
bool cs_frame_is_snapshot(const uint8_t *frame, size_t len, uint64_t *ret_index,
                          uint64_t *ret_term);
/* Meta of the snapshot that an InstallSnapshot frame announces; conf is allocated. */
SY_MUST_USE int cs_frame_snapshot_meta(const uint8_t *frame, size_t len,
                                       struct cs_snapshot_meta *ret_meta);
/* Append one entry. @data is copied. 0 and *ret_index, *ret_term; SY_ENOTLEADER,
 * or SY_ELIMIT when too much is under way. With a single voter it may be
 * applied only after cs_core_stored(). */
SY_MUST_USE int cs_core_submit(struct cs_core *c, uint64_t now_ms, const void *data,
                               uint32_t len, uint64_t *ret_index, uint64_t *ret_term);
/* An empty RAFT_BARRIER entry of the own term, appended when leading. */
SY_MUST_USE int cs_core_barrier(struct cs_core *c, uint64_t now_ms, uint64_t *ret_index);
/* Hand leadership to @to (0: whoever is level). Submissions are refused with
 * SY_EBUSY from now on; the transfer starts when nothing is under way and the
 * target is level (BUG 4), and is given up at @deadline_ms. */
SY_MUST_USE int cs_core_transfer(struct cs_core *c, uint64_t now_ms, uint64_t to,
                                 uint64_t deadline_ms);
/* Do not campaign of your own accord, whatever becomes of the leader: an operator works
 * on the machines. Who is handed the lead takes it, who is asked for a vote answers. */
void cs_core_hold(struct cs_core *c, bool hold);

/* --- members --- */

/* A spare has nothing and gets nothing but while it catches up; a standby gets
 * every entry; a voter is counted. Only a voter may campaign. */
enum cs_member_role { CS_ROLE_ABSENT, CS_ROLE_SPARE, CS_ROLE_STANDBY, CS_ROLE_VOTER };

/* Append a configuration in which @id has @role; everything else stays. It counts
 * from the moment it is in the log, and is undone if it is cut off. A new member
 * comes in as spare or standby, and becomes a voter when it is level. The leader does
 * not change itself: it hands over first (SY_EINVALID). SY_ENOTLEADER; SY_EBUSY: another
 * change or a transfer is under way, nothing of the own term is committed yet (append a
 * barrier), or a voter to be is not level; SY_EEXISTS or SY_ENOTFOUND: it is so already;
 * SY_ENOQUORUM: those who would be left, as far as they are heard of, are no majority;
 * SY_EINVALID; SY_ELIMIT. */
SY_MUST_USE int cs_core_change(struct cs_core *c, uint64_t now_ms, uint64_t id,
                               enum cs_member_role role, uint64_t *ret_index);
/* Send a spare (or a standby that is behind) what it lacks, in rounds. Ask
 * cs_core_member() how it goes. 0 also when it is level; the same errors. */
SY_MUST_USE int cs_core_catch_up(struct cs_core *c, uint64_t now_ms, uint64_t id);

struct cs_member
{
    uint64_t id;
    enum cs_member_role role; /* In the newest configuration. */
    bool committed;           /* That role is applied. */
    /* As leader only: */
    uint64_t match;
    bool alive; /* It answered within the election timeout. */
    bool level; /* It may become a voter. */
    bool catching_up;
    bool gave_up; /* It was too slow. Ask again. */
};

/* False, and role CS_ROLE_ABSENT: it does not belong to the cluster. */
bool cs_core_member(const struct cs_core *c, uint64_t id, struct cs_member *ret);

/* ops->store is done. */
void cs_core_stored(struct cs_core *c, uint64_t now_ms);
/* From now on after this many bytes: what a snapshot costs has changed. */
void cs_core_snapshot_every(struct cs_core *c, size_t bytes);
/* ops->snapshot is done; !ok: try again later. */
void cs_core_snapshot_taken(struct cs_core *c, uint64_t now_ms, bool ok);
/* The connection to @peer broke (FIN or RST, not a timeout of ours). If it was
 * the leader's: fast relief. */
void cs_core_lost(struct cs_core *c, uint64_t now_ms, uint64_t peer);
/* A connection came up. If this node is looking for a leader: ask again at
 * once, the peer may have the vote that was missing. */
void cs_core_linked(struct cs_core *c, uint64_t now_ms);

/* --- state --- */

enum cs_core_role { CS_FOLLOWER, CS_CANDIDATE, CS_LEADER };
enum cs_core_role cs_core_role(const struct cs_core *c);
bool cs_core_transferring(const struct cs_core *c);
uint64_t cs_core_term(const struct cs_core *c);
uint64_t cs_core_leader(const struct cs_core *c); /* 0: unknown */
uint64_t cs_core_last(const struct cs_core *c);
uint64_t cs_core_stored_index(const struct cs_core *c);
uint64_t cs_core_committed(const struct cs_core *c);
uint64_t cs_core_applied(const struct cs_core *c);
uint64_t cs_core_first(const struct cs_core *c);
uint64_t cs_core_snapshot_index(const struct cs_core *c);
uint64_t cs_core_term_of(const struct cs_core *c, uint64_t index); /* 0: not held */
const struct cs_entry *cs_core_entry(const struct cs_core *c, uint64_t index);
size_t cs_core_log_bytes(const struct cs_core *c);
/* Leader only: what @id is known to hold; 0 otherwise. */
uint64_t cs_core_match(const struct cs_core *c, uint64_t id);
/* Until when a majority's word holds: the time at which the (quorum-1)th most
 * recent answer of a voter to this leader was SENT FOR (the time of our request
 * that it answers, not later than its receipt) + election_ms. 0 if not leading.
 * It spares trouble; it proves nothing (design.md, section 6). */
uint64_t cs_core_lease_until(const struct cs_core *c);
/* Members in force (last applied configuration). Returns how many. */
unsigned cs_core_members(const struct cs_core *c, uint64_t ids[CS_MEMBERS_MAX],
                         bool voter[CS_MEMBERS_MAX]);
const struct cs_stats *cs_core_stats(const struct cs_core *c);
const char *cs_core_role_name(enum cs_core_role r);

#endif /* CS_CORE_H */

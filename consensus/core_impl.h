/* Inside of the consensus core, for consensus/core*.c and their tests only.
 *
 *   core.c           inputs, start and stop, getters
 *   core_change.c    who belongs to the cluster
 *   core_step.c      one raft_step() and what follows from it: log, store, apply
 *   core_log.c       the log in memory
 *   core_send.c      messages out: order, splitting, the lease's stamps
 *   core_recv.c      messages in: what libraft must not see
 *   core_store.c     the durable log: group commit, stale completions
 *   core_snapshot.c  taking and installing snapshots
 *   core_relief.c    elections at once when the leader's connection breaks
 *   core_transfer.c  handing leadership on */

#ifndef CS_CORE_IMPL_H
#define CS_CORE_IMPL_H

#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "consensus/core.h"
#include "consensus/wire.h"

enum { CS_RAFT_VERSION = 2201, CS_RAFT_SIZE = 992, CS_PEERS = CS_ID_MAX + 1 };

/* For tests: leave a workaround or a safety rule out, to prove that it is needed. */
enum cs_without {
    CS_WITHOUT_BUG1 = 1 << 1,
    CS_WITHOUT_BUG2 = 1 << 2,
    CS_WITHOUT_BUG3 = 1 << 3,
    CS_WITHOUT_BUG4 = 1 << 4,
    CS_WITHOUT_BUG5 = 1 << 5,
    CS_WITHOUT_HOLD = 1 << 6,  /* Frames do not wait for term and vote. */
    CS_WITHOUT_ORDER = 1 << 7, /* Entries are reported before they are stored. */
    CS_WITHOUT_STALE = 1 << 8, /* Truncated entries are reported, too. */
    CS_WITHOUT_BUG6 = 1 << 9,
    CS_WITHOUT_BUG7 = 1 << 10,
    CS_WITHOUT_BUG8 = 1 << 11,
    CS_WITHOUT_BUG9 = 1 << 12,
    CS_WITHOUT_BUG10 = 1 << 13,
    CS_WITHOUT_CHECKS = 1 << 14 /* Changes are not checked (core_change.c). */
};

/* Entries first .. first+n-1, in one piece, so that a store op can point into
 * it. Dropping a prefix moves the head; the rest moves down only when the room
 * before it is larger than itself, so each entry moves once on average. */
struct cs_log
{
    struct cs_entry *base;
    size_t head;
    size_t n;
    size_t cap;
    uint64_t first;
    size_t bytes;
};

size_t cs__entry_bytes(const struct cs_entry *e);
uint64_t cs__log_last(const struct cs_log *l);
struct cs_entry *cs__log_at(const struct cs_log *l, uint64_t index);
bool cs__log_has(const struct cs_log *l, uint64_t index);
/* Takes @e.data over. */
void cs__log_add(struct cs_log *l, struct cs_entry e);
/* Remove the last one. */
void cs__log_pop(struct cs_log *l);
void cs__log_drop_until(struct cs_log *l, uint64_t index);
/* Empty, to go on at @first. */
void cs__log_reset(struct cs_log *l, uint64_t first);
void cs__log_free(struct cs_log *l);

struct cs_held
{
    struct sy_link link;
    uint64_t need; /* The term or vote that must be durable before this leaves. */
    uint64_t to;
    uint64_t snapshot; /* Not 0: an InstallSnapshot of this index. */
    size_t len;
    uint8_t frame[];
};

struct cs_peer
{
    uint64_t append_at; /* When an AppendEntries last went there (libraft's time). */
    uint64_t answered;  /* As leader: newest stamp of ours that came back. */
    uint64_t echo;      /* As follower: newest stamp of the peer ... */
    uint64_t echo_term; /* ... as leader of this term. */
};

struct cs_core
{
    struct raft r;
    const struct cs_core_ops *ops;
    void *ctx;
    struct cs_core_config config;
    unsigned without; /* enum cs_without */
    uint64_t now;     /* What libraft was told; fast relief may run 2 ms ahead. */
    uint64_t clock;   /* What we were told. Both never go back. */
    uint64_t applied;
    struct cs_log log;
    size_t backlog; /* Bytes in the log above applied. */

    struct
    {
        bool busy;           /* An op is under way, with: */
        uint64_t last;       /* all entries up to here (0: do not report), */
        uint64_t vote;       /* this change of the vote and */
        bool install;        /* the snapshot received. */
        uint64_t next;       /* Lowest index that no op has got yet. */
        uint64_t drop_until; /* To be told with the next op. */
    } store;
    uint64_t vote_seq;     /* Counts changes of term and vote: made, */
    uint64_t vote_handed;  /* given to an op, */
    uint64_t vote_durable; /* durable. */
    struct sy_link held;
    unsigned held_frames;
    size_t held_bytes;
    struct sy_buf frame; /* Where frames are encoded. */
    bool stale_request;  /* The message being handled is of an old term. */

    struct raft_configuration conf; /* Last applied. BUG 2: libraft's own may lie. */
    uint64_t conf_index;
    struct cs_snapshot_meta snap; /* The newest, taken or received. */
    uint64_t snap_durable;        /* The newest that is in force on the disk. */
    struct
    {
        bool active; /* From UPDATE_SNAPSHOT to PERSISTED_SNAPSHOT. */
        bool wanted; /* Not given to the store yet. */
        struct raft_configuration conf;
    } install;
    struct
    {
        bool running; /* From ops->snapshot to cs_core_snapshot_taken(). */
        bool stale;   /* Overtaken by an install: drop the result. */
        struct cs_snapshot_meta meta;
        uint64_t retry_at;
        size_t bytes; /* Applied since the newest snapshot began. */
    } taking;
    struct
    {
        uint64_t mute_until; /* Do not send our own pre-votes before this. */
        uint64_t next;       /* Next attempt; 0: not alarmed. */
        uint64_t until;
        bool campaigned;
        bool waiting; /* For writes under way. */
    } relief;
    struct
    {
        bool active; /* Wished for; not yet begun in libraft. */
        uint64_t to;
        uint64_t deadline;
        uint64_t term;
    } transfer;
    struct cs_peer peers[CS_PEERS];
    bool hold;             /* Do not campaign: cs_core_hold(). */
    uint64_t heard_leader; /* When a leader last spoke. */
    uint64_t led_term;     /* Term that we were last seen to lead. */
    struct cs_stats stats;
};

/* cs_core_new() with something left out. */
struct cs_core *cs__core_new_without(const struct cs_core_config *config,
                                     const struct cs_core_ops *ops, void *ctx,
                                     uint64_t now_ms, struct cs_core_boot *boot,
                                     unsigned without, struct sy_errbuf *eb);

/* --- core.c --- */
/* The address that libraft wants with every id; we route by id. */
const char *cs__address(uint64_t id);
void cs__conf_copy(const struct raft_configuration *from, struct raft_configuration *to);
void cs__conf_encode(const struct raft_configuration *conf, struct sy_buf *to);
void cs__fatal(struct cs_core *c, const char *why);
SY_MUST_USE int cs__submit(struct cs_core *c, uint8_t type, const void *data,
                           uint32_t len, uint64_t *ret_index);

/* --- core_change.c --- */
/* Is this node a voter in the newest configuration it knows? */
bool cs__may_campaign(const struct cs_core *c);

/* --- core_step.c --- */
/* One event through libraft, and its update carried out. Returns libraft's code. */
int cs__step(struct cs_core *c, struct raft_event *ev);
/* A step that has no business to fail. */
void cs__step_sure(struct cs_core *c, struct raft_event *ev);
/* After every input: apply, then see what else is due. */
void cs__settle(struct cs_core *c);
void cs__time(struct cs_core *c, uint64_t now_ms);

/* --- core_recv.c --- */
enum { CS_RECV_PASS = 0, CS_RECV_DROP = 1 }; /* or an error */
int cs__recv_admit(struct cs_core *c, uint64_t from, struct cs_wire *w);

/* --- core_send.c --- */
void cs__send_message(struct cs_core *c, struct raft_message *m);
void cs__send_held(struct cs_core *c);
void cs__send_drop_held(struct cs_core *c);

/* --- core_store.c --- */
void cs__store_kick(struct cs_core *c);
/* The log was cut: entries from @index on are to be written again. */
void cs__store_truncated(struct cs_core *c, uint64_t index);

/* --- core_snapshot.c --- */
bool cs__snapshot_due(const struct cs_core *c);
void cs__snapshot_kick(struct cs_core *c);
void cs__install_begin(struct cs_core *c, struct raft_update *u);
void cs__install_finish(struct cs_core *c);

/* --- core_relief.c --- */
void cs__relief_kick(struct cs_core *c);
/* A write has ended: if that is what the relief waited for, go on. */
void cs__relief_stored(struct cs_core *c);

/* --- core_transfer.c --- */
void cs__transfer_kick(struct cs_core *c);

#endif /* CS_CORE_IMPL_H */

/* The replicated state machine: same entries in the same order, same state, byte
 * for byte, on every node (promise P5).
 *
 * It reads no clock, no random source and no environment, allocates nothing after
 * init (the caller gives the memory, sized by limits; untouched pages cost
 * nothing) and never fails but for an entry that does not decode. A full table
 * is a counted, visible refusal of that one input, the same on all nodes.
 *
 * State hash: every record (area, device, reading in the outbox, command, and
 * one record of counters and watermarks) has a canonical encoding; the hash of
 * the state is the sum modulo 2^64 of XXH3(record, seed = its kind). A change
 * subtracts the old record and adds the new, so the hash costs O(change). */

#ifndef RP_STORE_H
#define RP_STORE_H

#include "base/err.h"
#include "replication/audit.h"
#include "replication/batch.h"
#include "replication/files.h"
#include "replication/model.h"

struct rp_limits
{
    uint32_t areas_max;    /* default 32 */
    uint32_t devices_max;  /* default 4,096 */
    uint32_t readings_max; /* outbox; default 432,000 (24 h of 300 meters) */
    uint32_t commands_max; /* open and ended together; default 8,192. The oldest
                              ended one makes room; if none may: refused. */
    uint32_t letters_max;  /* default 1,000 (1.5 MB); the oldest makes room */
};

void rp_limits_default(struct rp_limits *l);

enum rp_event_kind {
    RP_EV_AREA = 1, /* area */
    RP_EV_BRIDGE,   /* area: state or readiness changed */
    RP_EV_DEVICE,   /* device: identity new or changed */
    RP_EV_GONE,     /* device */
    RP_EV_AVAIL,    /* device: availability changed */
    RP_EV_STATE,    /* device: ON/OFF changed */
    RP_EV_REPORT,   /* device: a state message was taken (not for duplicates) */
    RP_EV_COMMAND,  /* command: status or attempt changed */
    RP_EV_WATCH,    /* term, node */
    RP_EV_REFUSED,  /* text: an input that a limit or the state refused; of a
                       command also what was asked for, as FAILED with seq 0 */
    RP_EV_LETTER,   /* area (or NULL), text: the reason */
    RP_EV_FACT,     /* fact: new, changed, or (its value is empty) no more */
    RP_EV_FILES,    /* files: the set has a new version, or (last is 0) is no more */
    RP_EV_DRILL,    /* drill: it began, or there is a report */
    RP_EV_AUDIT,    /* audit: a new record */
    RP_EV_DIVERGED, /* a checkpoint differs from what this node had */
    RP_EV_NR
};

/* Valid during the callback. */
struct rp_event
{
    enum rp_event_kind kind;
    const struct rp_area *area;
    const struct rp_device *device;
    const struct rp_command *command;
    const struct rp_fact *fact;
    const struct rp_files_set *files;
    const struct rp_drill *drill;
    const struct rp_audit *audit;
    uint64_t term;
    uint16_t node;
    const char *text;
};

/* Must not change the store. */
typedef void (*rp_event_cb)(void *data, const struct rp_event *ev);

/* Counters of this node since start; not replicated, not hashed. */
struct rp_stats
{
    uint64_t entries, inputs, reports, duplicates, readings, refused, unknown_devices,
        letters;
};

struct rp_store; /* Lives in the caller's memory. */

/* Bytes that init needs for @l. */
size_t rp_store_size(const struct rp_limits *l);
/* @mem: zeroed, aligned to 64, at least rp_store_size(). */
struct rp_store *rp_store_init(const struct rp_limits *l, void *mem);
/* Back to the state after init. */
void rp_store_reset(struct rp_store *s);

/* Apply entry @index. SY_ECORRUPT or SY_EVERSION: nothing was changed (decoding
 * is checked whole before the first change) and the node must stop. Only
 * commands of the log come here (not barriers or configurations): for these
 * call rp_store_skip(), so that the index is right. */
SY_MUST_USE int rp_store_apply(struct rp_store *s, uint64_t index, const uint8_t *p,
                               size_t n, rp_event_cb cb, void *data);
void rp_store_skip(struct rp_store *s, uint64_t index);

uint64_t rp_store_index(const struct rp_store *s);
uint64_t rp_store_hash(const struct rp_store *s);
/* The hash at a recent index (the last 1,024 applied), 0 if not known. */
uint64_t rp_store_hash_at(const struct rp_store *s, uint64_t index);
bool rp_store_diverged(const struct rp_store *s);
uint64_t rp_store_now(const struct rp_store *s);        /* last at_ms, monotone */
uint64_t rp_store_watch_term(const struct rp_store *s); /* of the last RP_IN_WATCH */
uint16_t rp_store_watch_node(const struct rp_store *s);
uint64_t rp_store_watch_since(const struct rp_store *s); /* its at_ms */
const struct rp_stats *rp_store_stats(const struct rp_store *s);
const struct rp_limits *rp_store_limits(const struct rp_store *s);

/* --- reading. Pointers are good until the next apply. --- */
uint32_t rp_store_areas(const struct rp_store *s);
const struct rp_area *rp_store_area(const struct rp_store *s, uint16_t nr);
const struct rp_area *rp_store_area_named(const struct rp_store *s, const char *name);
const struct rp_area *rp_store_area_of_topic(const struct rp_store *s, const char *base);
uint32_t rp_store_devices(const struct rp_store *s); /* stored */
const struct rp_device *rp_store_device(const struct rp_store *s, uint64_t ieee);
/* Listed devices win over gone ones; area 0: any (names may repeat: *ret_n says
 * how many there are, may be NULL). */
const struct rp_device *rp_store_device_named(const struct rp_store *s, uint16_t area,
                                              const char *name, uint32_t *ret_n);
/* In order of slot, 0 .. rp_store_devices()-1. */
const struct rp_device *rp_store_device_at(const struct rp_store *s, uint32_t i);
uint32_t rp_store_online(const struct rp_store *s); /* listed and available */
const struct rp_command *rp_store_command(const struct rp_store *s, const char *id);
const struct rp_command *rp_store_command_seq(const struct rp_store *s, uint64_t seq);
/* Newest first: 0 .. rp_store_commands()-1. */
uint32_t rp_store_commands(const struct rp_store *s);
const struct rp_command *rp_store_command_recent(const struct rp_store *s, uint32_t i);
/* Open commands in order of acceptance: NULL begins; NULL ends. */
uint32_t rp_store_open_commands(const struct rp_store *s);
const struct rp_command *rp_store_next_open(const struct rp_store *s,
                                            const struct rp_command *after);
/* Ended commands by status, since the cluster began (replicated). */
uint64_t rp_store_ended(const struct rp_store *s, enum rp_command_status status);
/* Ended commands that made room before Postgres had their result. */
uint64_t rp_store_results_dropped(const struct rp_store *s);

/* --- outbox --- */
uint64_t rp_store_readings_first(const struct rp_store *s); /* oldest kept seq */
uint64_t rp_store_readings_last(const struct rp_store *s);  /* newest seq, 0: never */
const struct rp_reading *rp_store_reading(const struct rp_store *s, uint64_t seq);
uint64_t rp_store_readings_shipped(const struct rp_store *s);
uint64_t rp_store_readings_dropped(const struct rp_store *s); /* oldest made room */
uint32_t rp_store_readings_room(const struct rp_store *s);    /* until one is dropped */
/* Facts, by key; NULL: it is not one. */
const struct rp_fact *rp_store_fact(const struct rp_store *s, const char *key);
/* In order of their keys. */
uint32_t rp_store_facts(const struct rp_store *s);
const struct rp_fact *rp_store_fact_at(const struct rp_store *s, uint32_t i);

/* Drills, newest first; NULL: there are no more. */
uint32_t rp_store_drills(const struct rp_store *s);
const struct rp_drill *rp_store_drill_recent(const struct rp_store *s, uint32_t i);

/* Dead letters: kept like readings, until Postgres has them or they make room. */
uint64_t rp_store_letters_first(const struct rp_store *s);
uint64_t rp_store_letters_last(const struct rp_store *s);
const struct rp_letter *rp_store_letter(const struct rp_store *s, uint64_t seq);
uint64_t rp_store_letters_shipped(const struct rp_store *s);
uint64_t rp_store_letters_dropped(const struct rp_store *s);
/* Changes worth telling Postgres: devices and commands in order of revision. The
 * first with revision > @after, NULL if there is none. O(1) amortised. */
const struct rp_device *rp_store_device_changed(const struct rp_store *s, uint64_t after);
const struct rp_command *rp_store_command_changed(const struct rp_store *s,
                                                  uint64_t after);
uint64_t rp_store_revision(const struct rp_store *s);         /* newest */
uint64_t rp_store_revision_shipped(const struct rp_store *s); /* Postgres has it */

/* --- snapshot: a stream of MessagePack records sorted by key --- */

/* @write returns 0 or an error, which ends and is returned. Called with runs of
 * up to 64 KiB. Allocates nothing; sorts in the store's own scratch space, hence
 * not const: but the state does not change. */
SY_MUST_USE int rp_store_snapshot(struct rp_store *s,
                                  int (*write)(void *data, const void *p, size_t n),
                                  void *data);

/* Restoring: begin, feed the bytes in any portions, end. Begin resets the store.
 * SY_EVERSION: written by a newer version (named in @eb). SY_ECORRUPT. SY_ELIMIT:
 * more in it than this node's limits allow. After an error the store is empty and
 * must be restored again or not be used. A restore that was begun must be ended,
 * also after an error: that frees its memory. */
struct rp_restore
{
    struct rp_store *store;
    struct sy_buf carry; /* An incomplete record at the end of a portion. */
    uint64_t records;
    uint8_t phase;
    uint64_t hash;       /* Of the bytes so far. */
    uint64_t state_hash; /* As the header says, like the counts: */
    uint64_t readings_last, letters_last;
    uint32_t facts;
    uint32_t others, others_read;   /* of kinds that version 3 did not have */
    uint8_t other;                  /* the kind of the last one */
    struct rp_files_version *files; /* its list is being read: */
    uint32_t files_left;
    uint32_t version;
    uint32_t areas, devices, commands;
    struct sy_errbuf *eb;
};
void rp_restore_begin(struct rp_restore *r, struct rp_store *s, struct sy_errbuf *eb);
SY_MUST_USE int rp_restore_feed(struct rp_restore *r, const void *p, size_t n);
/* Checks that everything came, and the state hash against the one written. */
SY_MUST_USE int rp_restore_end(struct rp_restore *r);

#endif /* RP_STORE_H */

/* Entries of the log: what a leader proposes, packed for all nodes.
 *
 * An entry is the MessagePack array [version, kind, at_ms, node, n, input ...]: all
 * inputs of one loop turn travel together and cost one fsync. at_ms is the
 * leader's wall clock; apply makes it monotone. An input is an array [input
 * kind, fields ...]; a decoder that meets a kind or a field count it does not
 * know refuses the entry (SY_EVERSION): skipping would make nodes differ.
 *
 * The encoders take what a leader has validated: they assert limits. */

#ifndef RP_BATCH_H
#define RP_BATCH_H

#include "base/buf.h"
#include "replication/model.h"

enum { RP_ENTRY_VERSION = 1, RP_KIND_BATCH = 1 };

enum rp_input_kind {
    RP_IN_AREA = 1,   /* an area of the configuration, new or renamed topic */
    RP_IN_BRIDGE,     /* bridge/state, bridge/info */
    RP_IN_DEVICE,     /* identity, from bridge/devices */
    RP_IN_GONE,       /* no longer in bridge/devices */
    RP_IN_AVAIL,      /* availability */
    RP_IN_REPORT,     /* a state message, as version 1 wrote it */
    RP_IN_COMMAND,    /* somebody wants something */
    RP_IN_SENT,       /* about to be published, attempt n, as versions 1 and 2 wrote it */
    RP_IN_END,        /* failed or cancelled */
    RP_IN_TICK,       /* time passes: deadlines */
    RP_IN_WATCH,      /* a node takes the watch in a term; the barrier of a term */
    RP_IN_SHIPPED,    /* Postgres has it */
    RP_IN_CHECKPOINT, /* the state hash at an index, for comparison */
    RP_IN_TOLD,       /* availability, as the bridge says it: may be held */
    RP_IN_LAPSE,      /* look whether a device is to be taken for offline */
    RP_IN_AREA_OFF,   /* an area is switched off, or on again */
    RP_IN_TROUBLE,    /* the bridge says that an attempt failed */
    RP_IN_LETTER,     /* a message that cannot be stored */
    RP_IN_LETTERS_SHIPPED,
    RP_IN_HEARD, /* a state message: without last_seen its reading gets a time that no
                    other of its device has, since device and time are its key */
    RP_IN_GOING, /* about to be published, attempt n: no report confirms before ... */
    RP_IN_LEFT,  /* ... it was */
    RP_IN_FACT,  /* a fact is so from now on, or no more */
    RP_IN_FILES, /* a set of files has a new version, or is no more */
    RP_IN_DRILL, /* one begins, or its report */
    RP_IN_AUDIT, /* who asked for the inputs before it */
    RP_IN_NR
};

struct rp_report
{
    uint64_t ieee;
    uint64_t last_seen_ms; /* 0: the bridge gives none */
    uint64_t payload_hash;
    bool redelivered; /* DUP flag */
    bool cached;      /* republished by a starting bridge (old last_seen) */
    enum rp_switch state;
    struct rp_values values;
};

/* Where a batch is built. Zero is ready for use. */
struct rp_batch
{
    struct sy_buf buf;
    uint32_t n; /* Inputs in it. */
};

void rp_batch_area(struct rp_batch *b, const char *name, const char *base_topic);
/* @ready: a live bridge/info has come. */
void rp_batch_bridge(struct rp_batch *b, uint16_t area, enum rp_avail state, bool ready);
void rp_batch_device(struct rp_batch *b, uint16_t area, uint64_t ieee, const char *name,
                     const char *model);
void rp_batch_gone(struct rp_batch *b, uint64_t ieee);
void rp_batch_avail(struct rp_batch *b, uint64_t ieee, enum rp_avail avail);
/* As rp_batch_avail(), but a device that was online stays so while its bridge is not
 * there, and for @hold_ms after it came: a bridge that starts calls devices offline
 * that it has only not heard yet. rp_batch_lapse() ends the holding. */
void rp_batch_told(struct rp_batch *b, uint64_t ieee, enum rp_avail avail,
                   uint64_t hold_ms);
/* Offline now, if it was held for @hold_ms; or, if the bridge never spoke of it and
 * @ttl_ms is not 0, if bridge and device are that long online and silent. */
void rp_batch_lapse(struct rp_batch *b, uint64_t ieee, uint64_t hold_ms, uint64_t ttl_ms);
/* @why: one of RP_OFF_*. Off ends the area's open commands and forgets what its
 * bridge and devices were. */
void rp_batch_area_off(struct rp_batch *b, uint16_t area, uint8_t why, bool off);
void rp_batch_report(struct rp_batch *b, const struct rp_report *r);
void rp_batch_command(struct rp_batch *b, const char *id, uint64_t ieee,
                      const char *property, const char *value, const char *source,
                      uint64_t deadline_ms);
void rp_batch_sent(struct rp_batch *b, uint64_t seq, uint32_t attempt, uint64_t retry_ms);
void rp_batch_going(struct rp_batch *b, uint64_t seq, uint32_t attempt,
                    uint64_t retry_ms);
/* Attempt @attempt was published. What the bridge says of the device from here on may
 * be its answer; what was appended before cannot be. */
void rp_batch_left(struct rp_batch *b, uint64_t seq, uint32_t attempt);
/* @status: RP_FAILED or RP_CANCELLED. */
void rp_batch_end(struct rp_batch *b, uint64_t seq, enum rp_command_status status,
                  const char *reason);
/* Attempt @attempt of an open command failed. It is not the end: it may be tried
 * again, but if the deadline comes first this is the reason. */
void rp_batch_trouble(struct rp_batch *b, uint64_t seq, uint32_t attempt,
                      const char *text);
/* @topic, @reason and @payload are cut to what a letter holds. */
void rp_batch_letter(struct rp_batch *b, uint16_t area, const char *topic,
                     const char *reason, const void *payload, size_t len);
void rp_batch_letters_shipped(struct rp_batch *b, uint64_t seq);
/* @value: shorter than RP_FACT_VALUE_SIZE; "" ends it. */
void rp_batch_fact(struct rp_batch *b, const char *key, const char *value);
/* @nr 0: one begins, and gets a number. Else the report of that one; only the first one
 * that ends it counts. */
void rp_batch_drill(struct rp_batch *b, uint64_t nr, enum rp_drill_state state,
                    const char *kind, const void *report, size_t len);
/* Who asked for the @covers inputs before it, which must be in the same entry; if the
 * state refuses one of these, that is the result. All text is cut. */
void rp_batch_audit(struct rp_batch *b, uint32_t covers, const char *who,
                    const char *from, const char *what, const char *about,
                    const char *result);
void rp_batch_tick(struct rp_batch *b);
void rp_batch_watch(struct rp_batch *b, uint64_t term, uint16_t node);
void rp_batch_shipped(struct rp_batch *b, uint64_t reading_seq, uint64_t revision);
void rp_batch_checkpoint(struct rp_batch *b, uint64_t index, uint64_t hash);

/* Complete the entry: header in front of the inputs, into @entry (emptied first;
 * its memory is reused). The batch is empty and reusable afterwards. */
void rp_batch_seal(struct rp_batch *b, uint64_t at_ms, uint16_t node,
                   struct sy_buf *entry);
void rp_batch_free(struct rp_batch *b);

#endif /* RP_BATCH_H */

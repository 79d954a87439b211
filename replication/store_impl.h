/* Inside the store: tables of slots in one run of memory, joined by numbers.
 *
 * A slot's number is its place in its table plus one, so that 0 is "none" and
 * zeroed memory is a valid empty structure. No pointer is kept between slots.
 *
 *   areas      by nr, dense
 *   devices    dense, never removed; found by ieee and by name
 *   commands   dense until full, then the oldest ended one's slot is reused;
 *              found by id; `order` lists the slots by seq
 *   readings   ring
 *   letters    ring
 *
 * What is derived (indices, chains, counts, the place in the ring) is neither
 * hashed nor in a snapshot; everything that can influence what a later entry
 * does is both. */

#ifndef RP_STORE_IMPL_H
#define RP_STORE_IMPL_H

#include "replication/decode.h"
#include "replication/store.h"

enum {
    /* Payloads remembered per device, beside the last one. The broker redelivers
     * all that was not yet acknowledged, and one Zigbee frame can give several
     * messages of the same millisecond: the last does not recognise the others. */
    RP_RECENT_NR = 4,
    /* Postgres is told last_seen at most this often when nothing else changed:
     * is_online looks back over minutes, and a write per report would cost more
     * than all readings together. */
    RP_TELL_EVERY_MS = 60 * 1000,
    RP_HASHES_NR = 1024,       /* Recent indices whose hash is known. */
    RP_RUN_SIZE = 64 * 1024,   /* Longest run a snapshot writes at once. */
    RP_RECORD_SIZE_MAX = 2048, /* No record of a snapshot is longer. */
    RP_TEXT_MAX = 256
};

/* Kinds of records: seeds of their hashes, tags in a snapshot. */
enum rp_record {
    RP_REC_AREA = 1,
    RP_REC_DEVICE,
    RP_REC_COMMAND,
    RP_REC_READING,
    RP_REC_META,
    RP_REC_END,
    RP_REC_LETTER,
    RP_REC_FACT,
    RP_REC_DRILL = 10,
    RP_REC_FILES, /* a version, and then each file of it */
    RP_REC_AUDIT
};

/* A snapshot: header, areas by nr, devices by ieee, commands by seq, readings by
 * seq, letters by seq, facts by key, others, trailer. Each is an array whose length is
 * fixed by the version:
 *
 *   header   "vagt-snapshot", version, what rp_meta holds, how many areas, devices
 *            and commands there are, hash of the state
 *   record   kind, fields
 *   trailer  kind, how many records came before it, their running hash
 *
 * Version 1 had no letters, and of areas and devices not what came after it. Version 3
 * has facts, and version 4 further kinds behind them (drills, files, audit): their number
 * ends its header. A state that has none is written as the version that older nodes can
 * read.
 */
#define RP_SNAPSHOT_MAGIC "vagt-snapshot"
enum {
    RP_SNAPSHOT_VERSION = 4,
    RP_HEADER_LEN = 30,
    RP_HEADER_LEN_3 = 29,
    RP_HEADER_LEN_2 = 28,
    RP_HEADER_LEN_1 = 24,
    RP_AREA_LEN = 8,
    RP_DEVICE_LEN = 14 + RP_VALUES_FIELDS + 2 * (RP_RECENT_NR + 1),
    RP_COMMAND_LEN = 17,
    RP_READING_LEN = 5 + RP_VALUES_FIELDS,
    RP_LETTER_LEN = 8,
    RP_FACT_LEN = 4,
    RP_DRILL_LEN = 7,
    RP_AUDIT_LEN = 3,
    RP_FILES_LEN = 7,
    RP_FILE_LEN = 5,
    RP_TRAILER_LEN = 3
};

/* --- chains of slots: doubly linked lists of numbers (index.c) --- */

struct rp_link
{
    uint32_t next;
    uint32_t prev;
};

struct rp_chain
{
    uint32_t head;
    uint32_t tail;
};

/* Where slot 1 keeps the link in question, and how far it is to slot 2's. */
struct rp_links
{
    void *first;
    size_t stride;
};

struct rp_link *rp_link_of(struct rp_links l, uint32_t nr);
void rp_chain_push(struct rp_chain *c, struct rp_links l, uint32_t nr);
void rp_chain_remove(struct rp_chain *c, struct rp_links l, uint32_t nr);

/* A message that was taken from a device. */
struct rp_taken
{
    uint64_t hash;
    uint64_t last_seen_ms;
};

struct rp_device_slot
{
    struct rp_device d;
    struct rp_taken last;                 /* Taken last, be it late or without a time:
                                             then with the time that its reading got. */
    struct rp_taken recent[RP_RECENT_NR]; /* Those measured last, newest first. */
    uint64_t told_ms; /* Its time of life at the last bump of the revision. */
    uint64_t digest;
    uint32_t same_ieee; /* Next in the bucket. */
    uint32_t same_name;
    struct rp_link changed;
    struct rp_chain open; /* Its open commands, by seq. */
};

struct rp_command_slot
{
    struct rp_command c;
    uint64_t digest;
    uint32_t device; /* Slot; only while open. */
    uint32_t same_id;
    struct rp_link changed;
    struct rp_link open;      /* In the store's chain, */
    struct rp_link of_device; /* in the device's. */
};

struct rp_area_slot
{
    struct rp_area a;
    uint64_t digest;
};

struct rp_hash_at
{
    uint64_t index;
    uint64_t hash;
};

/* For sorting by a 64-bit key. */
struct rp_sort
{
    uint64_t key;
    uint64_t nr;
};

/* Where the walks along the changes were last; only to be quick. */
struct rp_hints
{
    uint32_t device;
    uint32_t command;
};

/* The record of counters and watermarks. */
struct rp_meta
{
    uint64_t index;
    uint64_t now_ms;
    uint64_t watch_term;
    uint64_t watch_since_ms;
    uint16_t watch_node;
    uint64_t revision;
    uint64_t revision_shipped;
    uint64_t readings_last;
    uint64_t readings_shipped;
    uint64_t readings_first;
    uint64_t readings_dropped;
    uint64_t commands_last; /* seq */
    uint64_t results_dropped;
    uint64_t ended[RP_STATUS_NR];
    uint64_t letters_first;
    uint64_t letters_last;
    uint64_t letters_shipped;
    uint64_t letters_dropped;
};

struct rp_store
{
    struct rp_limits limits;
    struct rp_meta m;
    struct rp_stats stats;
    uint64_t sum;  /* Of the digests of all records but the meta record. */
    uint64_t hash; /* With it, as of the last entry. */
    bool diverged;

    uint32_t areas_n;
    uint32_t devices_n;
    uint32_t online_n;
    uint32_t commands_n; /* Slots in use; all are in `order`. */
    uint32_t open_n;
    uint32_t order_head;
    uint64_t next_deadline_ms;          /* No open command ends before. */
    uint64_t ring_base;                 /* seq of the reading in the ring's first place */
    uint64_t letters_base;              /* … of the letter */
    struct rp_fact facts[RP_FACTS_MAX]; /* by key */
    uint32_t facts_n;
    struct rp_drill *drills; /* by nr */
    uint32_t drills_n;
    struct
    {
        struct rp_audit *ring;          /* by nr */
        uint64_t gone, last;            /* the newest that made room, and of all */
        uint8_t anchor[SY_SHA256_SIZE]; /* hash of the former */
    } audit;
    struct rp_files_set sets[RP_FILES_SETS_MAX]; /* by name */
    uint32_t sets_n;
    struct rp_files_version *versions; /* RP_FILES_KEPT for each place */
    struct rp_chain open;
    struct rp_chain devices_changed;
    struct rp_chain commands_changed;

    uint32_t ieee_mask; /* Buckets - 1. */
    uint32_t name_mask;
    uint32_t id_mask;
    uint32_t *by_ieee;
    uint32_t *by_name;
    uint32_t *by_id;
    uint32_t *order; /* Ring of command slots, by seq. */
    struct rp_area_slot *areas;
    struct rp_device_slot *devices;
    struct rp_command_slot *commands;
    struct rp_reading *readings;
    struct rp_letter *letters;
    struct rp_hash_at *hashes;
    struct rp_hints *hints;
    struct rp_sort *sort[2];
    uint8_t *run;

    rp_event_cb cb; /* Only during rp_store_apply(). */
    void *cb_data;
    uint16_t entry_node;
    uint64_t refused_at; /* the input of this entry that was refused last; 0: none */
    char refused[RP_TEXT_MAX];
    char text[RP_TEXT_MAX];
};

/* --- slots, from number to pointer and back --- */

static inline struct rp_device_slot *rp_device_slot(const struct rp_store *s, uint32_t nr)
{
    return &s->devices[nr - 1];
}

static inline uint32_t rp_device_nr(const struct rp_store *s,
                                    const struct rp_device_slot *d)
{
    return (uint32_t)(d - s->devices) + 1;
}

static inline struct rp_command_slot *rp_command_slot(const struct rp_store *s,
                                                      uint32_t nr)
{
    return &s->commands[nr - 1];
}

static inline uint32_t rp_command_nr(const struct rp_store *s,
                                     const struct rp_command_slot *c)
{
    return (uint32_t)(c - s->commands) + 1;
}

/* --- index.c --- */
struct rp_links rp_devices_changed_links(const struct rp_store *s);
struct rp_links rp_commands_changed_links(const struct rp_store *s);
struct rp_links rp_open_links(const struct rp_store *s);
struct rp_links rp_of_device_links(const struct rp_store *s);

uint32_t rp_find_device(const struct rp_store *s, uint64_t ieee);
void rp_index_ieee(struct rp_store *s, uint32_t nr);
/* First slot in the bucket of @name; others may be there, too. */
uint32_t rp_name_bucket(const struct rp_store *s, const char *name);
void rp_index_name(struct rp_store *s, uint32_t nr);
void rp_unindex_name(struct rp_store *s, uint32_t nr);
uint32_t rp_find_command(const struct rp_store *s, const char *id);
void rp_index_id(struct rp_store *s, uint32_t nr);
void rp_unindex_id(struct rp_store *s, uint32_t nr);

/* The slot whose command has @seq, 0 if none; and its place in the order. */
uint32_t rp_find_seq(const struct rp_store *s, uint64_t seq);
uint32_t rp_order_at(const struct rp_store *s, uint32_t i);
void rp_order_push(struct rp_store *s, uint32_t nr);
void rp_order_remove(struct rp_store *s, uint32_t i);

/* Sort s->sort[0][0 .. n-1] by key. */
void rp_sort_run(struct rp_store *s, uint32_t n);

/* --- digest.c: hash of a record --- */
uint64_t rp_digest_area(const struct rp_area *a);
uint64_t rp_digest_device(const struct rp_device_slot *d);
uint64_t rp_digest_command(const struct rp_command *c);
uint64_t rp_digest_reading(const struct rp_reading *r);
uint64_t rp_digest_fact(const struct rp_fact *f);
uint64_t rp_digest_drill(const struct rp_drill *d);
uint64_t rp_digest_audit(const struct rp_store *s); /* the chain stands for all of it */
uint64_t rp_digest_files(const struct rp_files_set *set,
                         const struct rp_files_version *v);
uint64_t rp_digest_letter(const struct rp_letter *l);
uint64_t rp_digest_meta(const struct rp_store *s);
/* The hash of the state from scratch, for tests and the end of a restore. */
uint64_t rp_digest_all(const struct rp_store *s);
/* Bring the sum up to date with a record that has changed. */
void rp_area_rehash(struct rp_store *s, struct rp_area_slot *a);
void rp_device_rehash(struct rp_store *s, struct rp_device_slot *d);
void rp_command_rehash(struct rp_store *s, struct rp_command_slot *c);
/* The hash after index m.index is complete: remember it. */
void rp_store_close_index(struct rp_store *s);

/* A restore is complete but for what is derived from order. SY_ECORRUPT if two
 * records claim one revision. */
SY_MUST_USE int rp_relink_changed(struct rp_store *s);

/* --- apply.c --- */
void rp_emit(struct rp_store *s, const struct rp_event *ev);
/* Count and tell a refusal; the text is for people. */
void rp_refuse(struct rp_store *s, struct rp_event about, const char *fmt, ...)
    SY_PRINTF(3, 4);

/* --- device.c --- */
void rp_apply_device(struct rp_store *s, const struct rp_in_device *in);
void rp_apply_gone(struct rp_store *s, uint64_t ieee);
void rp_apply_avail(struct rp_store *s, const struct rp_in_avail *in);
void rp_apply_told(struct rp_store *s, const struct rp_in_told *in);
void rp_apply_lapse(struct rp_store *s, const struct rp_in_lapse *in);
/* Nothing is known of any device of the area any more. */
void rp_devices_forget(struct rp_store *s, uint16_t area);
/* The device has changed in a way worth telling Postgres. */
void rp_device_bump(struct rp_store *s, struct rp_device_slot *d);

/* --- report.c --- */
/* @heard: RP_IN_HEARD. */
void rp_apply_report(struct rp_store *s, const struct rp_report *r, bool heard);

/* --- ledger.c --- */
void rp_apply_command(struct rp_store *s, const struct rp_in_command *in);
/* @going: nothing confirms the attempt before rp_apply_left(). */
void rp_apply_sent(struct rp_store *s, const struct rp_in_sent *in, bool going);
void rp_apply_left(struct rp_store *s, const struct rp_in_sent *in);
void rp_apply_end(struct rp_store *s, const struct rp_in_end *in);
void rp_ledger_expire(struct rp_store *s);
void rp_apply_trouble(struct rp_store *s, const struct rp_in_trouble *in);
/* The device takes no commands any more: those that are open fail, and say why. */
void rp_ledger_gone(struct rp_store *s, struct rp_device_slot *d, const char *why);
void rp_ledger_confirm(struct rp_store *s, struct rp_device_slot *d,
                       const struct rp_report *r);
/* Into the chains of the open ones; for accepting and for restoring. */
void rp_ledger_link_open(struct rp_store *s, uint32_t nr, uint32_t device_nr);

/* --- outbox.c --- */
void rp_outbox_push(struct rp_store *s, const struct rp_report *r, uint64_t time_ms);
/* For restoring: the next reading, complete. */
void rp_outbox_put(struct rp_store *s, const struct rp_reading *r);
void rp_apply_shipped(struct rp_store *s, const struct rp_in_shipped *in);

/* --- facts.c --- */

void rp_apply_fact(struct rp_store *s, const struct rp_in_fact *in);
/* From a snapshot: behind those that are there; false: it does not belong there. */
bool rp_facts_append(struct rp_store *s, const struct rp_fact *f);

/* --- drills.c --- */
void rp_apply_drill(struct rp_store *s, const struct rp_in_drill *in);
/* Behind those that are there, of which the oldest makes room; false: it does not belong
 * there. */
bool rp_drills_append(struct rp_store *s, const struct rp_drill *d);

/* --- audit.c --- */
void rp_apply_audit(struct rp_store *s, const struct rp_in_audit *in);
/* From a snapshot; false: it does not belong there. @before: what the first is chained
 * to. */
bool rp_audit_append(struct rp_store *s, const struct rp_audit *a,
                     const uint8_t before[static SY_SHA256_SIZE]);
/* --- files.c --- */
void rp_apply_files(struct rp_store *s, const struct rp_in_files *in);
struct rp_files_version *rp_files_slot(const struct rp_store *s,
                                       const struct rp_files_set *set, uint64_t nr);
/* From a snapshot: behind those that are there, to be filled and completed; NULL, false:
 * it does not belong there. */
struct rp_files_version *rp_files_append(struct rp_store *s, const char *name,
                                         uint64_t nr);
bool rp_files_complete(struct rp_store *s, struct rp_files_version *v);

/* --- letters.c --- */
void rp_apply_letter(struct rp_store *s, const struct rp_in_letter *in);
/* For restoring: the next letter, complete. */
void rp_letters_put(struct rp_store *s, const struct rp_letter *l);
void rp_apply_letters_shipped(struct rp_store *s, uint64_t seq);

#endif /* RP_STORE_IMPL_H */

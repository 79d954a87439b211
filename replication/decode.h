/* Reading an entry back: strict, one input at a time, without memory.
 *
 * Whoever applies an entry walks it twice: rp_entry_check() sees every byte
 * before the first change is made, so that an entry is applied whole or not. */

#ifndef RP_DECODE_H
#define RP_DECODE_H

#include "base/buf.h"
#include "replication/audit.h"
#include "replication/batch.h"
#include "replication/files.h"
#include "replication/model.h"

struct rp_in_area
{
    char name[RP_NAME_SIZE];
    char base_topic[RP_TOPIC_SIZE];
};

struct rp_in_bridge
{
    uint16_t area;
    enum rp_avail state;
    bool ready;
};

struct rp_in_device
{
    uint16_t area;
    uint64_t ieee;
    char name[RP_NAME_SIZE];
    char model[RP_MODEL_SIZE];
};

struct rp_in_avail
{
    uint64_t ieee;
    enum rp_avail avail;
};

struct rp_in_command
{
    char id[RP_ID_SIZE];
    uint64_t ieee;
    char property[RP_PROP_SIZE];
    char value[RP_VALUE_SIZE];
    char source[RP_PROP_SIZE];
    uint64_t deadline_ms;
};

struct rp_in_sent
{
    uint64_t seq;
    uint32_t attempt;
    uint64_t retry_ms; /* not of RP_IN_LEFT */
};

struct rp_in_end
{
    uint64_t seq;
    enum rp_command_status status;
    char reason[RP_TEXT_SIZE];
};

struct rp_in_watch
{
    uint64_t term;
    uint16_t node;
};

struct rp_in_shipped
{
    uint64_t reading_seq;
    uint64_t revision;
};

struct rp_in_told
{
    uint64_t ieee;
    enum rp_avail avail;
    uint64_t hold_ms;
};

struct rp_in_lapse
{
    uint64_t ieee;
    uint64_t hold_ms;
    uint64_t ttl_ms;
};

struct rp_in_area_off
{
    uint16_t area;
    uint8_t why;
    bool off;
};

struct rp_in_trouble
{
    uint64_t seq;
    uint32_t attempt;
    char text[RP_TEXT_SIZE];
};

struct rp_in_letter
{
    uint16_t area;
    bool cut;
    uint32_t payload_len;
    const uint8_t *payload; /* Borrowed from the entry. */
    char topic[RP_LETTER_TOPIC_SIZE];
    char reason[RP_TEXT_SIZE];
};

struct rp_in_checkpoint
{
    uint64_t index;
    uint64_t hash;
};

struct rp_in_fact
{
    char key[RP_FACT_KEY_SIZE];
    char value[RP_FACT_VALUE_SIZE]; /* empty: no more */
};

struct rp_in_drill
{
    uint64_t nr; /* 0: it begins */
    enum rp_drill_state state;
    char kind[RP_DRILL_KIND_SIZE];
    const uint8_t *report; /* Borrowed from the entry. */
    uint32_t report_len;
};

struct rp_in_audit
{
    uint32_t covers; /* inputs before it */
    char who[RP_AUDIT_WHO_SIZE];
    char from[RP_AUDIT_FROM_SIZE];
    char what[RP_AUDIT_WHAT_SIZE];
    char about[RP_AUDIT_ABOUT_SIZE];
    char result[RP_AUDIT_RESULT_SIZE];
};

struct rp_in_files
{
    char set[RP_FILES_NAME_SIZE];
    uint64_t follows;
    uint64_t from;
    uint16_t node;
    const uint8_t *list; /* Borrowed from the entry; empty: the set is no more. */
    uint32_t list_len;
};

struct rp_input
{
    enum rp_input_kind kind;
    union {
        struct rp_in_area area;
        struct rp_in_bridge bridge;
        struct rp_in_device device;
        uint64_t gone;
        struct rp_in_avail avail;
        struct rp_report report;
        struct rp_in_command command;
        struct rp_in_sent sent;
        struct rp_in_end end;
        struct rp_in_watch watch;
        struct rp_in_shipped shipped;
        struct rp_in_checkpoint checkpoint;
        struct rp_in_told told;
        struct rp_in_lapse lapse;
        struct rp_in_area_off area_off;
        struct rp_in_trouble trouble;
        struct rp_in_letter letter;
        uint64_t letters_shipped;
        struct rp_in_fact fact;
        struct rp_in_files files;
        struct rp_in_drill drill;
        struct rp_in_audit audit;
    };
};

/* A walk over one entry. */
struct rp_entry
{
    uint64_t at_ms;
    uint16_t node;
    uint32_t left; /* Inputs not yet read. */
    struct sy_cur cur;
};

/* Read the header. 0, SY_ECORRUPT or SY_EVERSION. */
SY_MUST_USE int rp_entry_open(struct rp_entry *e, const uint8_t *p, size_t n);
/* The next input: 1, at the end 0, or SY_ECORRUPT or SY_EVERSION. */
SY_MUST_USE int rp_entry_next(struct rp_entry *e, struct rp_input *in);
/* Is every byte of the entry as it should be? */
SY_MUST_USE int rp_entry_check(const uint8_t *p, size_t n);

/* Typed fields that a snapshot has, too. Each marks @c bad when out of range. */
uint64_t rp_get_max(struct sy_cur *c, uint64_t max);
int32_t rp_get_i32(struct sy_cur *c);
/* A string that must not be empty. */
void rp_get_name(struct sy_cur *c, char *to, size_t size);
/* In the order energy, power, voltage, current, linkquality; what @has denies
 * must be 0, so that equal values have equal bytes. */
void rp_get_values(struct sy_cur *c, struct rp_values *v);
void rp_put_values(struct sy_buf *b, const struct rp_values *v);
/* Of a list of files. */
void rp_get_file(struct sy_cur *c, struct rp_file *f);
void rp_put_file(struct sy_buf *b, const struct rp_file *f);
bool rp_files_list_ok(const uint8_t *p, uint32_t len);

/* How an input lies in an entry, for batch.c and decode.c. */
enum { RP_HAS_ALL = 31, RP_VALUES_FIELDS = 6, RP_HEADER_FIELDS = 5 };
/* Flags of a report: two bits, then the switch. */
enum { RP_REDELIVERED = 1, RP_CACHED = 2, RP_STATE_SHIFT = 2 };
/* Fields of an input, its kind included. */
extern const uint8_t rp_input_fields[RP_IN_NR];

#endif /* RP_DECODE_H */

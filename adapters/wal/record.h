/* One record of a segment: encode, decode, validate. docs/disk-format.md has the
 * tables. No I/O here.
 *
 * Three things are checked of every record: a checksum of the header alone, so
 * that the length can be believed; one of header and payload; and the checksum
 * of the record before (the chain, checked by the caller). All are seeded with
 * the segment's number, its life and the record's offset, so that a record of an
 * earlier use of the file, or one that the disk put elsewhere, is never valid. */

#ifndef AD_WAL_RECORD_H
#define AD_WAL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ad_wal_kind { AD_WAL_HEAD = 1, AD_WAL_VOTE, AD_WAL_ENTRY, AD_WAL_FENCE };

enum {
    AD_WAL_RECORD_HEADER = 48,
    AD_WAL_HEAD_PAYLOAD = 88,
    AD_WAL_HEAD_SIZE = AD_WAL_RECORD_HEADER + AD_WAL_HEAD_PAYLOAD,
    AD_WAL_VERSION = 1,
    AD_WAL_SEGMENT_MIN = 4096,
    AD_WAL_SEGMENT_MAX = 1 << 30,
    AD_WAL_BEGINS = 1 /* Flag of a head: nothing before it belongs to the log. */
};

struct ad_wal_record
{
    uint32_t crc;   /* Of this record; filled by put and get. */
    uint32_t chain; /* Crc of the record before. */
    uint8_t kind;
    uint8_t type;   /* Of an entry. */
    uint64_t term;  /* Entry: its own. Vote, head: the current one. */
    uint64_t index; /* Entry: its own. Vote: the vote. Head: of the next entry. */
    uint64_t safe;  /* Bytes of this segment known durable when it was written. */
    uint32_t len;
    const uint8_t *data; /* After get: borrowed from the segment. */
};

/* The payload of a head. With it a segment stands on its own: nothing is lost
 * when those before it are dropped. */
struct ad_wal_head
{
    uint32_t version;
    uint32_t flags;
    uint64_t number;
    uint64_t life;     /* How often the log had been opened: part of the seed. */
    uint64_t size;     /* Of the file. */
    uint64_t identity; /* Hash of cluster and node. */
    uint64_t prev_end; /* Where the segment before ends. */
    uint64_t vote;
    uint64_t last_term;  /* Of the entry before the next one; 0: unknown. */
    uint64_t base_index; /* The snapshot the log began from; 0: from nothing. */
    uint64_t base_term;
    uint64_t reserved;
};

/* The part of the seed that is the same for a whole segment. */
uint32_t ad_wal_seed(uint64_t number, uint64_t life);

/* Size of a record on the disk. */
size_t ad_wal_record_size(uint64_t len);
/* Writes ad_wal_record_size(r->len) bytes to @to; sets and returns r->crc. */
uint32_t ad_wal_record_put(uint8_t *to, uint32_t seed, uint64_t offset,
                           struct ad_wal_record *r);
/* Is there a valid record at @offset of the segment @p, @size? */
bool ad_wal_record_get(const uint8_t *p, uint64_t size, uint32_t seed, uint64_t offset,
                       struct ad_wal_record *ret);

void ad_wal_head_put(uint8_t to[AD_WAL_HEAD_PAYLOAD], const struct ad_wal_head *h);
/* The head at offset 0, its seed included: valid or not. The version is not
 * looked at. */
bool ad_wal_head_get(const uint8_t *p, uint64_t size, struct ad_wal_head *ret,
                     struct ad_wal_record *ret_record);

/* Little endian. */
void ad_wal_put32(uint8_t *to, uint32_t v);
void ad_wal_put64(uint8_t *to, uint64_t v);
uint32_t ad_wal_get32(const uint8_t *p);
uint64_t ad_wal_get64(const uint8_t *p);

#endif /* AD_WAL_RECORD_H */

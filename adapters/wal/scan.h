/* What a start finds in the folder. Reading only: nothing is changed. */

#ifndef AD_WAL_SCAN_H
#define AD_WAL_SCAN_H

#include "adapters/wal/files.h"
#include "adapters/wal/record.h"
#include "adapters/wal/wal.h"

struct ad_wal_seg
{
    uint64_t number;
    uint64_t size;
    uint64_t index_max; /* Highest index of an entry in it; 0: none. */
};

/* What the records say so far; the same struct is carried on while writing. */
struct ad_wal_state
{
    uint64_t term;
    uint64_t vote;
    uint64_t next;      /* Index that the next entry may have at most. */
    uint64_t last_term; /* Of the entry before; 0: unknown. */
    uint64_t base_index;
    uint64_t base_term;
};

struct ad_wal_scan
{
    const struct ad_wal_fs *fs;
    const char *identity;
    uint64_t identity_hash;
    struct ad_wal_folder folder;
    struct ad_wal_mark mark;
    unsigned mark_slot;
    uint64_t life; /* Highest seen. */

    struct ad_wal_state state;
    uint64_t first; /* Of the entries below. */
    struct cs_entry *entries;
    size_t n;
    size_t cap;

    struct ad_wal_seg *segs; /* Of the log, ascending; the last is the active one. */
    size_t segs_nr;
    struct sy_buf image; /* Of the active segment. */
    uint32_t seed;       /* Of the active segment. */
    uint64_t end;        /* Where the log ends in it. */
    uint64_t safe;       /* What is known to be durable of it, by its records. */
    uint32_t chain;      /* Crc of the last record. */
    uint64_t cut;        /* Bytes after the end up to the last that is not zero. */
    bool torn;           /* There are remains of a torn write among them. */

    struct cs_snapshot_meta snapshot;
    bool snapshot_incoming; /* It still has its incoming name. */
    struct sy_errbuf note;  /* Something to tell although all is well; or empty. */
};

/* SY_ENOTFOUND never bootstrapped; SY_ECORRUPT, SY_EVERSION, SY_EINVALID, errno. */
SY_MUST_USE int ad_wal_scan(struct ad_wal_scan *s, const struct ad_wal_fs *fs,
                            const char *identity, struct sy_errbuf *eb);
void ad_wal_scan_free(struct ad_wal_scan *s);

#endif /* AD_WAL_SCAN_H */

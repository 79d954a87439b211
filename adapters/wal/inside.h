/* The log itself, shared by open.c (start) and wal.c (from then on). */

#ifndef AD_WAL_INSIDE_H
#define AD_WAL_INSIDE_H

#include "adapters/wal/files.h"
#include "adapters/wal/job.h"
#include "adapters/wal/record.h"
#include "adapters/wal/scan.h"
#include "adapters/wal/wal.h"

enum {
    AD_WAL_SPARES_MAX = 64,
    /* A start reads at most AD_WAL_FILES_MAX names: leave room for the others. */
    AD_WAL_SEGMENTS_MAX = AD_WAL_FILES_MAX - 512
};

struct ad_wal
{
    struct ad_wal_fs fs;
    struct ad_wal_config config;
    uint64_t identity;
    uint64_t life;
    struct ad_wal_state state;

    struct ad_wal_seg *segs; /* Ascending; the last is the active one. */
    size_t segs_nr;
    size_t segs_cap;
    int file; /* Of the active segment. -1: the job has it, or it failed. */
    uint32_t seed;
    uint32_t chain; /* Crc of the last record. */
    uint64_t end;   /* Of the active segment. */
    uint64_t safe;  /* A start can prove that it was durable up to here. */

    uint64_t spares[AD_WAL_SPARES_MAX]; /* spare-<number> */
    unsigned spares_nr;
    bool spare_made; /* spare-made */

    int mark_file;
    struct ad_wal_mark mark;
    unsigned mark_slot; /* Where the newest one is. */

    bool space_low;
    uint64_t jobs_unmeasured;
    uint64_t bytes_unmeasured;
    struct sy_errbuf note;

    /* While an operation is encoded: */
    size_t write_begin;    /* In the job's buffer. */
    uint64_t write_offset; /* In the segment. */
    bool fresh;            /* The segment has no name yet: */
    bool fresh_created;    /* it had no spare, its rest must be zeroed. */
    struct ad_wal_file_name fresh_name;
    uint64_t fresh_end; /* What its head promises. */

    struct ad_wal_job job;
};

/* The head of a new segment for the state at hand. */
void ad_wal_new_head(const struct ad_wal *w, struct ad_wal_head *ret, bool begins,
                     uint64_t prev_end);

#endif /* AD_WAL_INSIDE_H */

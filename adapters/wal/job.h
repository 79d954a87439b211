/* A list of file operations, made on the owner's thread, carried out in another.
 *
 * It has one current file (the active segment to begin with; opening or creating
 * one replaces it) and the mark file. Everything it needs is copied into it, so
 * that the two threads share nothing while it runs. The first error is final. */

#ifndef AD_WAL_JOB_H
#define AD_WAL_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adapters/wal/files.h"
#include "adapters/wal/fs.h"
#include "base/buf.h"
#include "base/err.h"

enum ad_wal_act {
    AD_WAL_DO_OPEN,   /* from: becomes the current file. */
    AD_WAL_DO_CREATE, /* from: becomes the current file. */
    AD_WAL_DO_CLOSE,  /* The current file. */
    AD_WAL_DO_WRITE,  /* begin, len of the buffer to offset of the current file. */
    AD_WAL_DO_ZERO,   /* len bytes at offset of the current file, in chunks. */
    AD_WAL_DO_SYNC,   /* The current file. */
    AD_WAL_DO_MARK,   /* Write the mark at offset of the mark file. */
    AD_WAL_DO_SYNC_MARK,
    AD_WAL_DO_RENAME, /* from, to */
    AD_WAL_DO_UNLINK, /* from */
    AD_WAL_DO_SYNC_DIR,
    AD_WAL_DO_LOOK,   /* from: fails if it is not there, before anything is changed. */
    AD_WAL_DO_UNLOOK, /* Closes what LOOK opened. */
    AD_WAL_DO_SPACE,
    AD_WAL_DO_REFUSE /* Too many segments: fails with SY_ELIMIT. */
};

struct ad_wal_file_name
{
    enum ad_wal_file kind;
    uint64_t a;
    uint64_t b;
};

struct ad_wal_do
{
    enum ad_wal_act act;
    struct ad_wal_file_name from; /* Of acts on the current file: for messages. */
    struct ad_wal_file_name to;
    uint64_t offset;
    size_t begin;
    uint64_t len;
};

struct ad_wal_job
{
    struct ad_wal_fs fs;
    struct sy_buf buf; /* What is written; kept from job to job. */
    uint8_t mark[AD_WAL_MARK_SIZE];
    struct ad_wal_do *todo;
    size_t n;
    size_t cap;
    size_t pos;
    uint64_t done_of_zero;
    int file;
    int mark_file;
    int look;
    int64_t space; /* Result of SPACE; < 0: not measured. */
    int failed;
    bool under_way; /* Between ad_wal_store() and ad_wal_job_done(). */
};

void ad_wal_job_begin(struct ad_wal_job *job, const struct ad_wal_fs *fs, int file,
                      int mark_file);
struct ad_wal_do *ad_wal_job_add(struct ad_wal_job *job, enum ad_wal_act act);
void ad_wal_job_free(struct ad_wal_job *job);

#endif /* AD_WAL_JOB_H */

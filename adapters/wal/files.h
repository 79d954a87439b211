/* The names in the folder, and its two small files: `identity` and `mark`. */

#ifndef AD_WAL_FILES_H
#define AD_WAL_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adapters/wal/fs.h"
#include "base/buf.h"
#include "base/err.h"

#define AD_WAL_MEND                                                               \
    "nothing was changed; keep the folder, move it aside and re-seed this node: " \
    "see docs/disaster-recovery.md"

enum {
    AD_WAL_IDENTITY_MAX = 256,
    AD_WAL_MARK_SIZE = 80,
    AD_WAL_MARK_STRIDE = 4096, /* Each slot in a physical sector of its own. */
    AD_WAL_ZERO_CHUNK = 256 * 1024
};

enum ad_wal_file {
    AD_WAL_F_OTHER, /* Not ours: left alone. */
    AD_WAL_F_IDENTITY,
    AD_WAL_F_MARK,
    AD_WAL_F_SEG,      /* seg-<number> */
    AD_WAL_F_SPARE,    /* spare-<number>: a dropped segment kept for reuse */
    AD_WAL_F_MADE,     /* spare-made: zeroed ahead */
    AD_WAL_F_SNAP,     /* snap-<index>-<term> */
    AD_WAL_F_INCOMING, /* incoming-<index>-<term> */
    AD_WAL_F_TMP,      /* *.tmp of the above */
    AD_WAL_F_NEW       /* seg.tmp: a segment that had no spare to begin from */
};

void ad_wal_name_put(char name[AD_WAL_NAME_MAX], enum ad_wal_file kind, uint64_t a,
                     uint64_t b);
enum ad_wal_file ad_wal_name_get(const char *name, uint64_t *ret_a, uint64_t *ret_b);

struct ad_wal_found
{
    enum ad_wal_file kind;
    uint64_t a;
    uint64_t b;
    char name[AD_WAL_NAME_MAX];
};

/* What is in the folder, sorted by kind, then numbers ascending. */
struct ad_wal_folder
{
    struct ad_wal_found *p;
    size_t n;
    size_t cap;
    unsigned count[AD_WAL_F_NEW + 1];
};

SY_MUST_USE int ad_wal_folder_read(struct ad_wal_folder *ret, const struct ad_wal_fs *fs,
                                   struct sy_errbuf *eb);
void ad_wal_folder_free(struct ad_wal_folder *f);

/* The highest position that is known to be durable, written at each segment
 * change, fence and start; so that a log that lost its end is noticed. */
struct ad_wal_mark
{
    uint64_t counter;
    uint64_t life;    /* How often the log was opened. */
    uint64_t segment; /* 0: bootstrap is not finished. */
    uint64_t offset;
    uint64_t first; /* Segments below are not needed any more. */
    uint64_t identity;
};

void ad_wal_mark_put(uint8_t to[AD_WAL_MARK_SIZE], const struct ad_wal_mark *m);
/* @ret_slot: where the newest one is. SY_ECORRUPT when neither slot is valid. */
SY_MUST_USE int ad_wal_mark_read(const struct ad_wal_fs *fs, struct ad_wal_mark *ret,
                                 unsigned *ret_slot, bool *ret_damaged,
                                 struct sy_errbuf *eb);

uint64_t ad_wal_identity_hash(const char *identity);
void ad_wal_identity_put(struct sy_buf *to, const char *identity);
SY_MUST_USE int ad_wal_identity_check(const struct ad_wal_fs *fs, const char *identity,
                                      struct sy_errbuf *eb);

/* Whose log it is: of at most AD_WAL_IDENTITY_MAX bytes, and a zero. */
SY_MUST_USE int ad_wal_identity_read(const struct ad_wal_fs *fs,
                                     char ret[AD_WAL_IDENTITY_MAX + 1],
                                     struct sy_errbuf *eb);

/* A whole file into @to, of at most @max bytes. */
SY_MUST_USE int ad_wal_slurp(const struct ad_wal_fs *fs, const char *name, uint64_t max,
                             struct sy_buf *to, struct sy_errbuf *eb);
/* Create @name through a temporary file, synced, the folder too. Zeros follow @p
 * up to @size. */
SY_MUST_USE int ad_wal_spill(const struct ad_wal_fs *fs, const char *name, const void *p,
                             size_t n, uint64_t size, struct sy_errbuf *eb);
/* Zeros of AD_WAL_ZERO_CHUNK bytes. */
const uint8_t *ad_wal_zeros(void);
/* Not there: fine. */
SY_MUST_USE int ad_wal_unlink(const struct ad_wal_fs *fs, const char *name);
/* A temporary file after an error that is told already: what cannot be removed now
 * goes at the next start. */
void ad_wal_discard(const struct ad_wal_fs *fs, const char *name);
/* sy_fail() with the reason of an errno. */
int ad_wal_fail(struct sy_errbuf *eb, int err, const char *what, const char *name);

#endif /* AD_WAL_FILES_H */

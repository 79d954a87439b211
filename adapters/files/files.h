/* Folders that another node must be able to go on with: a bridge's configuration, its
 * pairings. A folder is taken as a version (which files, and the checksum of each),
 * the contents are kept under their checksums, and a version is laid out again.
 *
 * All calls block: they are made from the thread pool or at start. A version is
 * complete or it is not taken; what is laid out is complete or was not touched. */

#ifndef AD_FILES_FILES_H
#define AD_FILES_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
    AD_FILES_MAX = 256,     /* in a version */
    AD_FILES_DEPTH_MAX = 4, /* folders in folders */
    AD_FILES_PATH_SIZE = 128,
    AD_FILES_DIR_SIZE = 256,
    AD_FILES_SUM_SIZE = 65, /* SHA-256 in hex, with the zero byte */
    AD_FILES_STABLE_MS = 2000,
    AD_FILES_MARK_SIZE = 64,
    AD_FILES_SIZE_MAX = 16 * 1024 * 1024,
    AD_FILES_FOLDER_MAX = 64 * 1024 * 1024
};

struct ad_files_entry
{
    char path[AD_FILES_PATH_SIZE]; /* within the folder: no "..", no leading slash */
    char sum[AD_FILES_SUM_SIZE];
    uint64_t size;
    unsigned mode; /* permissions; nothing for others than owner and group */
};

/* Sorted by path, so that equal folders give equal versions. */
struct ad_files_set
{
    struct ad_files_entry list[AD_FILES_MAX];
    unsigned n;
};

struct ad_files_store
{
    char dir[AD_FILES_DIR_SIZE];
    uint64_t bytes, bytes_max; /* held; at most */
};

/* store.c. Makes the folder, removes what was begun to be written and counts. */
SY_MUST_USE int ad_files_open(struct ad_files_store *s, const char *dir,
                              uint64_t bytes_max, struct sy_errbuf *eb);
/* Durable when it returns 0; also if it is there already. SY_ELIMIT: over bytes_max. */
SY_MUST_USE int ad_files_put(struct ad_files_store *s, const void *p, size_t n,
                             char ret_sum[AD_FILES_SUM_SIZE], struct sy_errbuf *eb);
/* The same, of what another node says that it has this checksum: SY_ECORRUPT. */
SY_MUST_USE int ad_files_keep(struct ad_files_store *s, const char *sum, const void *p,
                              size_t n, struct sy_errbuf *eb);
/* A piece from @offset on, at most @max bytes, appended to @to; not checked. */
SY_MUST_USE int ad_files_piece(const struct ad_files_store *s, const char *sum,
                               uint64_t offset, size_t max, struct sy_buf *to,
                               uint64_t *ret_total);
/* Appended to @to. SY_ENOTFOUND; SY_ECORRUPT if its checksum is another: then it was
 * removed, to be copied anew. */
SY_MUST_USE int ad_files_get(struct ad_files_store *s, const char *sum, struct sy_buf *to,
                             struct sy_errbuf *eb);
bool ad_files_has(const struct ad_files_store *s, const char *sum);
/* Removes every content that @wanted does not want. */
SY_MUST_USE int ad_files_sweep(struct ad_files_store *s,
                               bool (*wanted)(void *data, const char *sum), void *data);
/* 64 lower-case hex digits: safe as the name of a file. */
bool ad_files_sum_ok(const char *sum);
/* Safe to be made below a folder of ours. */
bool ad_files_path_ok(const char *path);

/* take.c. @now_ms: the wall clock. SY_EBUSY: a file was written just now or is half
 * written; try later, @eb says which. SY_EINVALID: holds what is never taken, such as
 * a symbolic link. Left out: `log`, `node_modules`, `*.tmp`, names with a dot first. */
SY_MUST_USE int ad_files_take(struct ad_files_store *s, const char *dir, int64_t now_ms,
                              struct ad_files_set *ret, struct sy_errbuf *eb);

/* The same, and nothing is stored. */
SY_MUST_USE int ad_files_look(const char *dir, int64_t now_ms, struct ad_files_set *ret,
                              struct sy_errbuf *eb);

/* check.c. Is @p whole, by what its name says that it is? */
SY_MUST_USE int ad_files_check(const char *path, const void *p, size_t n,
                               struct sy_errbuf *eb);

/* lay.c. @dir becomes the version. What was there goes to @aside, which must not exist
 * and must be on the same file system; its `log` stays. On failure @dir is as it was.
 * @mark: a word about it that stays in the folder, and is no part of a version. */
SY_MUST_USE int ad_files_lay(struct ad_files_store *s, const struct ad_files_set *set,
                             const char *mark, const char *dir, const char *aside,
                             struct sy_errbuf *eb);
/* The folder's own mark, durable; "": it has none. */
SY_MUST_USE int ad_files_mark(const char *dir, const char *mark, struct sy_errbuf *eb);
void ad_files_marked(const char *dir, char ret[AD_FILES_MARK_SIZE]);
/* Of the folders beside @dir whose names begin with its own and @end, all but the last
 * @keep by name go. */
SY_MUST_USE int ad_files_thin(const char *dir, const char *end, unsigned keep,
                              struct sy_errbuf *eb);

#endif /* AD_FILES_FILES_H */

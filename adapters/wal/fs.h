/* The port between the log and a file system: the dozen calls that the log
 * needs, so that the same log code runs on a disk and in the simulator, where
 * every unsynced byte and every unsynced name can be lost.
 *
 * All calls block and may fail with a negative errno; they are made from the
 * thread pool (jobs) or at start. One folder, names without slashes. Promises
 * expected of an implementation are those of POSIX and no more: pwrite is
 * durable after sync(file), create/rename/unlink after sync_dir(). */

#ifndef AD_WAL_FS_H
#define AD_WAL_FS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { AD_WAL_NAME_MAX = 64, AD_WAL_FILES_MAX = 4096 };

struct ad_wal_fs
{
    void *ctx;
    /* Handles are small integers >= 0. create: must not exist; open: must exist. */
    int (*create)(void *ctx, const char *name);
    int (*open)(void *ctx, const char *name);
    int (*close)(void *ctx, int file);
    /* All of it or an error. */
    int (*write)(void *ctx, int file, uint64_t offset, const void *p, size_t n);
    /* Bytes read, less than @n only at the end of the file. */
    int64_t (*read)(void *ctx, int file, uint64_t offset, void *p, size_t n);
    int64_t (*size)(void *ctx, int file);
    int (*sync)(void *ctx, int file); /* fdatasync; also of a changed size */
    int (*rename)(void *ctx, const char *from, const char *to);
    int (*unlink)(void *ctx, const char *name);
    int (*sync_dir)(void *ctx);
    /* Calls @each for every name. */
    int (*list)(void *ctx, void (*each)(void *data, const char *name), void *data);
    /* Bytes free for us on this file system. */
    int64_t (*space)(void *ctx);
};

#endif /* AD_WAL_FS_H */

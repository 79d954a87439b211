/* A file system in memory that can lose its power, for the tests of the log and
 * for the simulator.
 *
 * It promises what struct ad_wal_fs promises and not a bit more. At a crash:
 *   - each 512-byte sector of a file that was written to since the last sync of
 *     the file is in one of the states it had since then, each for itself; so a
 *     write may be lost, torn, or there in part;
 *   - a file that has grown since may have any length in between;
 *   - creations, renames and removals since the last sync_dir are each done or not
 *     done; for half of the seeds only a prefix of them is done, as by a journal.
 * The same seed makes the same choices. Rename and removal are atomic. */

#ifndef TESTS_WAL_MEMFS_H
#define TESTS_WAL_MEMFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adapters/wal/fs.h"

struct memfs;

enum memfs_op {
    MEMFS_CREATE,
    MEMFS_OPEN,
    MEMFS_CLOSE,
    MEMFS_WRITE,
    MEMFS_READ,
    MEMFS_SIZE,
    MEMFS_SYNC,
    MEMFS_RENAME,
    MEMFS_UNLINK,
    MEMFS_SYNC_DIR,
    MEMFS_LIST,
    MEMFS_SPACE,
    MEMFS_OPS
};

struct memfs_stats
{
    uint64_t ops[MEMFS_OPS]; /* How often each was called, successful or not. */
    uint64_t bytes_written;
};

/* Called before each operation, with the name of the file (the source of a
 * rename; "" for sync_dir, list and space), offset and length (write, read).
 * Not 0: the operation is not done and returns that error. */
typedef int (*memfs_hook_cb)(void *data, enum memfs_op op, const char *name,
                             uint64_t offset, size_t n);

struct memfs *memfs_new(void);
void memfs_destroy(struct memfs **m);
/* An independent copy, the unsynced part included; no handles are open in it. */
struct memfs *memfs_clone(const struct memfs *m);

/* The port. Its ctx is @m, so the copy may outlive the call. */
struct ad_wal_fs memfs_fs(struct memfs *m);

void memfs_hook(struct memfs *m, memfs_hook_cb hook, void *data);
const struct memfs_stats *memfs_stats(const struct memfs *m);
unsigned memfs_handles(const struct memfs *m); /* Open now; 0 after a tidy end. */

/* Power off and on: what is not synced is up to the seed, handles are closed. */
void memfs_crash(struct memfs *m, uint64_t seed);
/* The process died, the machine did not: nothing is lost, handles are closed. */
void memfs_kill(struct memfs *m);

/* Damage, at once and durable. False when there is no such file or byte. */
bool memfs_corrupt(struct memfs *m, const char *name, uint64_t offset, uint8_t xor_mask);
bool memfs_zero(struct memfs *m, const char *name, uint64_t offset, uint64_t n);
bool memfs_truncate(struct memfs *m, const char *name, uint64_t size);
bool memfs_remove(struct memfs *m, const char *name);
/* Create or replace a file, durable. */
void memfs_put(struct memfs *m, const char *name, const void *p, size_t n);

/* Borrowed until the next operation; NULL when there is no such file. */
const uint8_t *memfs_peek(const struct memfs *m, const char *name, uint64_t *ret_size);
/* Calls @each for every name, sorted. */
void memfs_list(const struct memfs *m, void (*each)(void *data, const char *name),
                void *data);
/* Same names with the same contents? */
bool memfs_equal(const struct memfs *a, const struct memfs *b);

/* Bytes that files may still grow by; removals give back. Default: no limit. */
void memfs_set_space(struct memfs *m, int64_t bytes);

#endif /* TESTS_WAL_MEMFS_H */

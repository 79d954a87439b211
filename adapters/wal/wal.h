/* The durable log: term, vote and entries in checksummed, append-only segments,
 * with group commit; and the snapshots beside it.
 *
 * No thread, no loop: the owner calls ad_wal_store() to turn an operation of the
 * consensus core into a job, lets ad_wal_job_run() block in a thread pool (or in
 * the simulator, step by step), then calls ad_wal_job_done(). One job at a time;
 * while it runs the owner must not call anything else here but the getters.
 *
 * docs/disk-format.md has the layout. In short: segments seg-<20 digits>, each
 * starting with a head record; records {crc32c, chain, length, kind, type, term,
 * index, safe} + payload padded to 8; the checksum is seeded with the segment's
 * number, and each record names the checksum of the one before, across
 * segments. `safe` is the number of bytes known durable when it was written. A
 * torn tail after the last durable record is cut; any other damage is
 * SY_ECORRUPT with file, offset and what to do, and nothing is changed. */

#ifndef AD_WAL_WAL_H
#define AD_WAL_WAL_H

#include "adapters/wal/fs.h"
#include "base/err.h"
#include "consensus/core.h"

struct ad_wal_config
{
    uint64_t segment_size; /* Bytes, default 8 MiB; segments are preallocated. */
    unsigned spares_max;   /* Dropped segments kept for reuse, default 2. */
    uint64_t space_min;    /* Free bytes below which ad_wal_space_low() holds. */
};

void ad_wal_config_default(struct ad_wal_config *c);
/* Longest entry that a segment of this size can hold. Storing a longer one is an
 * assertion: whoever proposes has to keep the limit. */
uint64_t ad_wal_entry_max(const struct ad_wal_config *c);

struct ad_wal;     /* The log. */
struct ad_wal_job; /* A list of file operations; owned by the log. */

/* A log for a member that has never run, holding @entry as entry 1 at term 1; or
 * nothing at term 0 (@entry NULL), for a member that joins and gets all from the
 * leader. SY_EEXISTS if there is a log already; one that was interrupted may be
 * repeated (the start says SY_ENOTFOUND). @identity (cluster, node id) is
 * kept in the file `identity` and compared at every start. */
SY_MUST_USE int ad_wal_bootstrap(const struct ad_wal_fs *fs,
                                 const struct ad_wal_config *config, const char *identity,
                                 const struct cs_entry *entry, struct sy_errbuf *eb);

/* Read everything back. On success @boot is filled (its entries and conf are
 * allocated with sy_alloc; the array too: free it after cs_core_new()) and the
 * log can be written to. Errors: SY_ENOTFOUND never bootstrapped, SY_ECORRUPT
 * damage (sentence in @eb: file, offset, what, mend), SY_EVERSION, SY_EINVALID
 * wrong identity, or an errno. */
SY_MUST_USE int ad_wal_open(struct ad_wal **ret, const struct ad_wal_fs *fs,
                            const struct ad_wal_config *config, const char *identity,
                            struct cs_core_boot *boot, struct sy_errbuf *eb);
/* Something that an operator should hear of although the log is sound: a torn
 * tail was cut, a damaged snapshot was not needed. NULL: nothing. */
const char *ad_wal_note(const struct ad_wal *w);
/* Writes nothing; a last fence record is the owner's ad_wal_fence() before. */
void ad_wal_close(struct ad_wal **w);

/* Encode @op; copies all it needs. Returns the job to run. */
struct ad_wal_job *ad_wal_store(struct ad_wal *w, const struct cs_store_op *op);
/* After ~100 ms of quiet and before a shutdown: a record whose `safe` covers the
 * last write, so that damage in that write is told from a torn tail; updates
 * the watermark file, too. NULL when there is nothing to fence. */
struct ad_wal_job *ad_wal_fence(struct ad_wal *w);
/* Blocking; runs in another thread. After an error the process must end: what
 * is on the disk is not known any more. */
SY_MUST_USE int ad_wal_job_run(struct ad_wal_job *job, struct sy_errbuf *eb);
/* For the simulator: one file operation; 1 while there are more, 0 done, <0. */
SY_MUST_USE int ad_wal_job_step(struct ad_wal_job *job, struct sy_errbuf *eb);
/* Back on the owner's thread. */
void ad_wal_job_done(struct ad_wal *w, struct ad_wal_job *job);

/* Does the log want a spare segment made ahead (zeroed and synced)? Run like a
 * job, but may overlap with one. Making two at once is not allowed, nor making one
 * that is not wanted. A failure is no harm: try again later. */
bool ad_wal_wants_spare(const struct ad_wal *w);
SY_MUST_USE int ad_wal_make_spare(const struct ad_wal_fs *fs, uint64_t segment_size);
void ad_wal_spare_made(struct ad_wal *w);

bool ad_wal_space_low(const struct ad_wal *w); /* As of the last job. */
uint64_t ad_wal_bytes(const struct ad_wal *w); /* On the disk, snapshots not counted. */

/* --- snapshots: snap-<index>-<term> --- */

/* A file being written: header (meta), chunks {length, crc32c}, trailer (total
 * length, crc32c of all). Temp name, fsync, rename, fsync of the folder. */
struct ad_wal_snap_writer;

SY_MUST_USE int ad_wal_snap_create(const struct ad_wal_fs *fs,
                                   const struct cs_snapshot_meta *meta,
                                   struct ad_wal_snap_writer **ret, struct sy_errbuf *eb);
SY_MUST_USE int ad_wal_snap_write(struct ad_wal_snap_writer *w, const void *p, size_t n);
/* Durable under its name when this returns 0. Frees @w in any case. */
SY_MUST_USE int ad_wal_snap_commit(struct ad_wal_snap_writer **w, struct sy_errbuf *eb);
void ad_wal_snap_abort(struct ad_wal_snap_writer **w);

/* The raw file, for sending it to a peer (any offset). Name into @name. */
void ad_wal_snap_name(char name[AD_WAL_NAME_MAX], uint64_t index, uint64_t term);
/* A received raw copy, written to @ret_file with fs->write() as chunks come; commit
 * checks the whole file (meta and checksums), makes it durable under the name
 * incoming-... and closes the file in any case. */
SY_MUST_USE int ad_wal_incoming_create(const struct ad_wal_fs *fs, uint64_t index,
                                       uint64_t term, int *ret_file);
SY_MUST_USE int ad_wal_incoming_commit(const struct ad_wal_fs *fs, int file,
                                       uint64_t index, uint64_t term,
                                       struct sy_errbuf *eb);
/* Stream the state out of a snapshot; @each gets runs of bytes whose checksum was
 * right; it returns 0 or a negative error to stop. The trailer is checked. */
SY_MUST_USE int ad_wal_snap_read(const struct ad_wal_fs *fs, uint64_t index,
                                 uint64_t term,
                                 int (*each)(void *data, const void *p, size_t n),
                                 void *data, struct sy_errbuf *eb);
/* Remove all snapshots but @index (and temp files). Not while one is written; one
 * above @index may be coming in. */
SY_MUST_USE int ad_wal_snap_prune(const struct ad_wal_fs *fs, uint64_t index);

/* The file system of a real folder. SY_EBUSY: another process has it; but a child
 * of that process is let in, to write a snapshot. */
SY_MUST_USE int ad_wal_disk_open(struct ad_wal_fs *ret, const char *path,
                                 struct sy_errbuf *eb);
/* The same, but whoever has it may be on its way out: a process that was stopped or
 * killed a moment ago holds its lock until the kernel has taken its last thread apart,
 * which takes long on a busy machine or a slow disk. Blocks for some seconds before
 * SY_EBUSY. */
SY_MUST_USE int ad_wal_disk_take(struct ad_wal_fs *ret, const char *path,
                                 struct sy_errbuf *eb);
void ad_wal_disk_close(struct ad_wal_fs *fs);

#endif /* AD_WAL_WAL_H */

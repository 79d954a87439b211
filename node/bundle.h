/* A backup: one ustar file that any tar opens, made whole in memory.
 *
 *   manifest.txt      what it is, one "key value" a line
 *   config.yaml       the effective configuration of the node that made it
 *   state.snapshot    the replicated state at one index (rp_store_snapshot())
 *   files/            only in one that is encrypted: contents of the newest version of
 *                     each set of files, by checksum
 *   secrets/          only in one that is encrypted: passwords and conninfo
 *   SHA256SUMS        of all the above, for sha256sum -c
 *
 * docs/disaster-recovery.md says what is done with it. */

#ifndef ND_BUNDLE_H
#define ND_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "consensus/core.h"
#include "replication/store.h"

enum {
    ND_BUNDLE_VERSION = 1,
    ND_BUNDLE_MEMBERS_MAX = 1024, /* files in it */
    ND_BUNDLE_NAME_SIZE = 100,
    ND_BUNDLE_TEXT_SIZE = 96,
    ND_BUNDLE_FILE_MAX = 1 << 30
};

struct nd_bundle_meta
{
    char cluster[ND_BUNDLE_TEXT_SIZE];
    char node[ND_BUNDLE_TEXT_SIZE]; /* who made it */
    char version[ND_BUNDLE_TEXT_SIZE];
    uint64_t index, term, hash;
    uint64_t taken_ms; /* Unix time */
    uint64_t members[CS_MEMBERS_MAX];
    unsigned members_n;
    struct rp_limits limits;
};

struct nd_bundle_member
{
    char name[ND_BUNDLE_NAME_SIZE];
    const uint8_t *p; /* borrowed */
    size_t n;
};

/* Building: begin, files in any order, end. */
struct nd_bundle
{
    struct nd_bundle_meta meta;
    struct nd_bundle_member members[ND_BUNDLE_MEMBERS_MAX]; /* after open */
    unsigned members_n;
    unsigned sets, complete; /* of files; those whose contents are in it. After verify */
};

void nd_bundle_add(struct sy_buf *tar, const char *name, const void *p, size_t n,
                   uint64_t at_ms, struct sy_buf *sums);
/* The state and all that describes it; the caller adds its files before nd_bundle_end().
 * meta->index and meta->hash are filled from @store. */
SY_MUST_USE int nd_bundle_begin(struct sy_buf *tar, struct sy_buf *sums,
                                struct nd_bundle_meta *meta, struct rp_store *store,
                                struct sy_errbuf *eb);
void nd_bundle_end(struct sy_buf *tar, const struct sy_buf *sums, uint64_t at_ms);

/* bundle_files.c. Of what the newest version of each set in @store names, from the folder
 * @dir; a set of which something is missing, or that is too large, is left out. */
void nd_bundle_put_files(struct sy_buf *tar, struct sy_buf *sums,
                         const struct rp_store *store, const char *dir, uint64_t at_ms);
SY_MUST_USE int nd_bundle_check_files(const struct nd_bundle *b,
                                      const struct rp_store *store, unsigned *ret_sets,
                                      unsigned *ret_complete, struct sy_errbuf *eb);
/* Into the folder of contents below the data folder @dir. */
SY_MUST_USE int nd_bundle_restore_files(const struct nd_bundle *b, const char *dir,
                                        struct sy_errbuf *eb);

/* Checks structure and every checksum. @ret borrows from @p. */
SY_MUST_USE int nd_bundle_open(struct nd_bundle *ret, const void *p, size_t n,
                               struct sy_errbuf *eb);
const struct nd_bundle_member *nd_bundle_find(const struct nd_bundle *b,
                                              const char *name);
/* Restores the state into a store of its own and compares index and hash; looks which
 * files are there. */
SY_MUST_USE int nd_bundle_verify(struct nd_bundle *b, struct sy_errbuf *eb);

/* A whole file; with @key it is decrypted, and must be when it is encrypted. */
SY_MUST_USE int nd_bundle_load(const char *path, const char *key, struct sy_buf *to,
                               struct sy_errbuf *eb);
/* Encrypted to @cert if that is not "": written to @beside, synced, read back, compared,
 * and only then under its name; nobody sees half of one. @beside is the same each time,
 * so that of those that were killed on the way only the last lies about. *ret_bytes: its
 * size. */
SY_MUST_USE int nd_bundle_save(const char *dir, const char *name, const char *beside,
                               const char *cert, const struct sy_buf *tar,
                               uint64_t *ret_bytes, struct sy_errbuf *eb);
/* Removes the oldest of @cluster beyond @keep; returns how many, or an error. */
int nd_bundle_prune(const char *dir, const char *cluster, unsigned keep);
/* "vagt-<cluster>-20261126T033000Z-<index>.tar", with .cms if @encrypted; so that the
 * order of names is that of time, within one second, too. */
void nd_bundle_name(char *to, size_t size, const struct nd_bundle_meta *meta,
                    bool encrypted);

/* A data folder that begins with the state of @b, for node @self as the only voter, in a
 * term and epoch above those of the backup; its other members count as left behind.
 * SY_EEXISTS: there is a log. */
SY_MUST_USE int nd_bundle_restore(const struct nd_bundle *b, const char *dir,
                                  uint64_t self, struct sy_errbuf *eb);

#endif /* ND_BUNDLE_H */

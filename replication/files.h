/* Files that move with the watch (docs/adr/0024): which versions there are of each set,
 * and what is in them. The contents lie on the nodes under their checksums; here is only
 * what all nodes must agree on.
 *
 * A set begins with its first version. Versions are numbered 1, 2, ...; the newest
 * RP_FILES_KEPT are kept. A version says what it follows: if that is not the newest any
 * more it is refused, so that of two nodes that took one at a time only one is right. */

#ifndef RP_FILES_H
#define RP_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
    RP_FILES_SETS_MAX = 32,
    RP_FILES_KEPT = 10,
    RP_FILES_MAX = 256, /* in a version */
    RP_FILES_NAME_SIZE = 96,
    RP_FILES_PATH_SIZE = 128,
    RP_FILES_SUM_LEN = 32, /* SHA-256 */
    RP_FILES_HEX_SIZE = 2 * RP_FILES_SUM_LEN + 1,
    RP_FILES_BYTES_MAX = 64 * 1024 * 1024 /* of a version */
};

struct rp_file
{
    char path[RP_FILES_PATH_SIZE]; /* within the folder: no "..", no leading slash */
    uint64_t size;
    uint16_t mode; /* 0 .. 0777 */
    uint8_t sum[RP_FILES_SUM_LEN];
};

struct rp_files_version
{
    uint64_t nr; /* 1.. without gaps */
    uint64_t at_ms;
    uint64_t from;  /* rolled back to this one; 0: taken from a folder */
    uint64_t bytes; /* of all files */
    uint16_t node;  /* that took it */
    uint16_t n;     /* 1 .. RP_FILES_MAX */
    struct rp_file list[RP_FILES_MAX]; /* by path, each once */
};

struct rp_files_set
{
    char name[RP_FILES_NAME_SIZE];
    uint64_t last;  /* nr of the newest version */
    uint32_t kept;  /* 1 .. RP_FILES_KEPT: last - kept + 1 .. last */
    uint32_t place; /* where its versions are */
};

struct rp_store;
struct rp_batch;

/* May @list be version of a set? Else a sentence. */
SY_MUST_USE int rp_files_ok(const struct rp_file *list, unsigned n, struct sy_errbuf *eb);
bool rp_files_path_ok(const char *path);
bool rp_files_equal(const struct rp_file *a, unsigned a_n, const struct rp_file *b,
                    unsigned b_n);
/* Of a list by path; NULL: not in it. */
const struct rp_file *rp_files_find(const struct rp_file *list, unsigned n,
                                    const char *path);
void rp_files_hex(const uint8_t sum[RP_FILES_SUM_LEN], char ret[RP_FILES_HEX_SIZE]);
/* false: not 64 lower-case hex digits. */
bool rp_files_sum(const char *hex, uint8_t ret[RP_FILES_SUM_LEN]);

/* A new version of @set by @node. @follows: the newest there is (0: none); if it is not
 * any more when this is applied, it is refused. @from: as above. The list must be
 * rp_files_ok(). */
void rp_batch_files(struct rp_batch *b, const char *set, uint64_t follows, uint64_t from,
                    uint16_t node, const struct rp_file *list, unsigned n);
/* Nothing is known of @set any more. */
void rp_batch_files_forget(struct rp_batch *b, const char *set);

/* Sets, in order of their names. Pointers are good until the next apply. */
uint32_t rp_store_files(const struct rp_store *s);
const struct rp_files_set *rp_store_files_at(const struct rp_store *s, uint32_t i);
const struct rp_files_set *rp_store_files_set(const struct rp_store *s, const char *name);
/* @nr 0: the newest. NULL: there is none, or it is not kept any more. */
const struct rp_files_version *rp_store_files_version(const struct rp_store *s,
                                                      const char *set, uint64_t nr);
/* Does any version that is kept have a file with these contents? O(all of them). */
bool rp_store_files_names(const struct rp_store *s, const uint8_t sum[RP_FILES_SUM_LEN]);

/* When applied: RP_EV_FILES with rp_event.files (the set), its newest version by
 * rp_store_files_version(s, set, 0); forgotten: its last is 0. Refused: RP_EV_REFUSED. */

#endif /* RP_FILES_H */

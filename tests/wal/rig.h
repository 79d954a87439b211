/* What the tests of the log share: a model of what must be on the disk, random
 * operations, and the comparison of a start with the model. */

#ifndef TESTS_WAL_RIG_H
#define TESTS_WAL_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "adapters/wal/wal.h"
#include "tests/wal/memfs.h"

enum { ENTRIES_MAX = 4096, OP_ENTRIES_MAX = 64 };

struct wanted_entry
{
    uint64_t term;
    uint8_t type;
    uint32_t len;
    uint64_t seed; /* Of the bytes. */
};

struct model
{
    uint64_t term;
    uint64_t vote;
    uint64_t base_index;
    uint64_t base_term;
    uint64_t last;
    uint64_t commit;  /* Below, nothing is truncated any more. */
    uint64_t snap;    /* Newest snapshot, durable. */
    uint64_t dropped; /* Entries up to here need not come back. */
    struct wanted_entry e[ENTRIES_MAX];
};

struct op
{
    uint64_t install; /* Index; 0: none. */
    uint64_t install_term;
    bool has_vote;
    uint64_t term;
    uint64_t vote;
    uint64_t first;
    size_t n;
    struct wanted_entry e[OP_ENTRIES_MAX];
    uint64_t drop_until;
};

struct rig
{
    struct memfs *m;
    struct ad_wal_fs fs;
    struct ad_wal_config config;
    struct ad_wal *w;
    struct model model;
    uint64_t random;
    bool no_installs; /* Of random operations: they need room for a snapshot. */
    struct sy_errbuf eb;
};

extern const char rig_identity[];

uint64_t rig_random(struct rig *r);
/* A bootstrapped log, open. Segments of 4096 bytes. */
void rig_init(struct rig *r, uint64_t seed);
void rig_fini(struct rig *r);
/* Open what is in @m and compare: the stage (see below) of @op after which the
 * model is what was found; -1 when none fits (@eb says why), or the error of
 * ad_wal_open(). @ret_w may be NULL: closed again. @op may be NULL. */
int rig_open(struct rig *r, struct memfs *m, const struct op *op, struct ad_wal **ret_w);
/* The stages of an operation: 0 not begun, 1 install and vote done, 1+k: k entries. */
void rig_apply(struct model *model, const struct op *op, unsigned stage);
unsigned rig_stages(const struct op *op);

struct ad_wal_job *rig_store(struct rig *r, const struct op *op);
/* Store, run, done, model: all of it. */
void rig_do(struct rig *r, const struct op *op);
void rig_append(struct rig *r, size_t n, uint32_t len);
void rig_vote(struct rig *r, uint64_t term, uint64_t vote);
void rig_fence(struct rig *r);
/* A durable snapshot at @index; incoming: under that name. */
void rig_snapshot(struct rig *r, uint64_t index, uint64_t term);
void rig_incoming(struct rig *r, uint64_t index, uint64_t term);
/* Something that a core might do next; brings the incoming snapshot along. */
void rig_random_op(struct rig *r, struct op *op);
/* A local snapshot now and then. True if one was taken: it may now be dropped to. */
bool rig_random_snapshot(struct rig *r);

struct cs_entry rig_entry(const struct wanted_entry *e); /* data is allocated */
void rig_boot_free(struct cs_core_boot *boot);

#endif /* TESTS_WAL_RIG_H */

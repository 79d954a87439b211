/* Whose state is the wrong one: a vote over state hashes.
 *
 * Equal logs give equal states, and each node compares its hash with the leader's
 * checkpoints and with what its peers tell of theirs. When two differ, a node by
 * itself cannot know which of them is wrong; the leader may be. So: who differs from
 * a majority is wrong, whoever leads; who agrees with a majority is right, whatever
 * the leader says; and where no majority is heard the leader's word stands.
 *
 * Pure: no I/O, no clock, no memory of its own. The hashes are those of
 * rp_store_hash_at(), which knows recent indices only. */

#ifndef CS_AGREE_H
#define CS_AGREE_H

#include <stdbool.h>
#include <stdint.h>

#include "consensus/core.h"

struct cs_agree_peer
{
    uint64_t index; /* of the latest comparison; 0: none yet */
    bool equal;
    uint64_t asked; /* What it told and we could not compare yet; 0: nothing. */
    uint64_t hash;
};

/* Owned and embedded by the caller; fields are private to agree.c. */
struct cs_agree
{
    unsigned nodes; /* of the cluster, this one too */
    bool told;      /* The leader's state was found to differ from ours. */
    uint64_t since; /* An index at which somebody differed from us; 0: nobody ever. */
    struct cs_agree_peer peers[CS_ID_MAX + 1];
};

void cs_agree_init(struct cs_agree *a, unsigned nodes);
/* So many they are from now on. */
void cs_agree_nodes(struct cs_agree *a, unsigned nodes);
/* It is no member any more: what it said does not count. */
void cs_agree_forget(struct cs_agree *a, uint64_t peer);
/* A peer says that its state at @index has @hash. */
void cs_agree_heard(struct cs_agree *a, uint64_t peer, uint64_t index, uint64_t hash);
/* An entry of the leader's says so: ours differs from its, seen at @index. */
void cs_agree_told(struct cs_agree *a, uint64_t index);
/* Compare what was heard and is applied here up to @applied. @hash_at gives our hash
 * at an index, 0 if it is not known (any more). */
void cs_agree_compare(struct cs_agree *a, uint64_t applied,
                      uint64_t (*hash_at)(const void *ctx, uint64_t index),
                      const void *ctx);
/* Is this node the one that is wrong? */
bool cs_agree_wrong(const struct cs_agree *a);

#endif /* CS_AGREE_H */

/* What is done to the log of a node that does not run: look at it, make its node the
 * only voter, put it aside. All of it blocks and takes the folder's lock.
 *
 * A log that is re-formed leads into another future than the one that the others may
 * still hold. Whoever calls this must know that they do not go on meanwhile (the
 * tie-breaker's row, or an operator's word), and that they throw away their own logs
 * when they come back: docs/adr/0022. */

#ifndef ND_REFORM_H
#define ND_REFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/core.h"

enum {
    ND_REFORM_CLUSTER_SIZE = 64,
    ND_REFORM_PATH_SIZE = 4200,
    ND_REFORM_ARCHIVES_MAX = 2 /* older ones are removed: a disk is finite */
};

/* What is in a data folder. */
struct nd_log_look
{
    char cluster[ND_REFORM_CLUSTER_SIZE];
    uint64_t id;
    uint64_t term; /* the current one */
    uint64_t last; /* index and term of the last entry; 0: it holds nothing yet */
    uint64_t last_term;
    uint64_t
        last_at_ms;    /* the leader's clock in the newest entry that has one; 0: none */
    uint64_t snapshot; /* index; 0: none */
    uint64_t snapshot_term;
    uint64_t members[CS_MEMBERS_MAX]; /* of the newest configuration */
    bool voter[CS_MEMBERS_MAX];
    unsigned members_n;
};

/* Nothing is changed. SY_EBUSY: its vagtd runs; SY_ENOTFOUND: no log; SY_ECORRUPT … */
SY_MUST_USE int nd_log_look(const char *dir, struct nd_log_look *ret,
                            struct sy_errbuf *eb);

/* Appends the configuration {@self, voter} in a term above the log's own and above
 * @min_term, and raises term and vote likewise; @command, if not NULL, follows it as
 * an entry for the state machine. When the node starts it leads at once, in a higher
 * term still, and commits all that its log holds. Repeating it after a crash does
 * nothing if the log ends so already. */
struct nd_reform
{
    uint64_t self;
    uint64_t min_term;
    const void *command;
    uint32_t command_len;
    /* By an operator: what this node was told, or had decided, does not count any more
     * (left-behind, tie-next). */
    bool forced;
};
SY_MUST_USE int nd_reform_with(const char *dir, const struct nd_reform *how,
                               struct nd_log_look *ret, struct sy_errbuf *eb);
SY_MUST_USE int nd_reform(const char *dir, uint64_t self, uint64_t min_term,
                          struct sy_errbuf *eb);

/* nd_reform_with() by an operator's decision (vagtctl recover): the new term is above
 * @highest and above all that elections of those who are left behind can reach, its epoch
 * above one that this node was left behind by, and the facts recover.epoch and
 * recover.left.<id> say so to all who come back (node/left.c).
 * @past: the log's node, and who were its members. */
SY_MUST_USE int nd_recover(const char *dir, const struct nd_log_look *past,
                           uint64_t highest, uint64_t *ret_epoch, struct sy_errbuf *eb);

/* Moves the log into the subfolder raft.archived-@label (or, if that holds one already,
 * …-@label.1 and so on) and removes all but the newest ND_REFORM_ARCHIVES_MAX of these.
 * May be repeated after a crash; a start in between refuses. */
SY_MUST_USE int nd_log_archive(const char *dir, uint64_t label, struct sy_errbuf *eb);
/* Whoever is root becomes the owner of @dir, for good: else vagtd could not read what is
 * written there. Nothing happens to others, nor when root owns it. */
SY_MUST_USE int nd_act_as_owner(const char *dir, struct sy_errbuf *eb);
/* An empty log for a node that gets everything from the leader: it neither votes nor
 * campaigns before it was told that it may. SY_EEXISTS: there is one. */
SY_MUST_USE int nd_log_empty(const char *dir, const char *cluster, uint64_t self,
                             struct sy_errbuf *eb);

#endif /* ND_REFORM_H */

/* A node that begins with an empty log gets what the others have, one entry after the
 * other, and with it the configurations of old. One of these may say that it is the only
 * voter there is: it was, when it had been recovered, or had gone on alone, or was the
 * first one. Raft believes the newest configuration in a log. So if the leader dies, or
 * this node restarts, at just that entry, it elects itself with a log that ends years
 * ago (two nodes under fire, seed 11).
 *
 * So until it has caught up it does not campaign, does not go on alone, and does not
 * start with such a log.
 *
 *   file joining   in its data folder: it has not caught up yet */

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "node/node.h"

enum { HEARD_MS = 2000 };

void nd_join_path(char to[ND_JOIN_PATH_SIZE], const char *dir)
{
    snprintf(to, ND_JOIN_PATH_SIZE, "%s/joining", dir);
}

int nd_join_clear(const char *dir)
{
    char path[ND_JOIN_PATH_SIZE];

    nd_join_path(path, dir);
    return unlink(path) == 0 || errno == ENOENT ? nd_tie_sync_folder(dir) : -errno;
}

/* What the leader had committed when it last said so is applied here, and makes this
 * node a voter among others. */
static bool caught_up(const struct nd_node *n)
{
    const struct cs_core *core = nd_replica_core(n->replica);
    uint64_t leader = cs_core_leader(core);
    uint64_t ids[CS_MEMBERS_MAX];
    struct cs_member m;

    return leader != 0 && leader != n->config.id && n->ready.newest_ms != 0 &&
           nd_now_ms() - n->ready.newest_ms < HEARD_MS &&
           cs_core_applied(core) >= n->ready.newest &&
           cs_core_member(core, n->config.id, &m) && m.role == CS_ROLE_VOTER &&
           m.committed && nd_members_voters(n, ids) > 1;
}

/* The row is open, and this node holds its epoch: it was taken in before that. */
static bool named_by_the_row(const struct nd_node *n)
{
    const struct cs_tie_row *row = &n->tie.m.row;

    return n->tie.on && n->tie.m.seen && row->epoch != 0 && row->sole == 0 &&
           row->members == n->tie.l.voters && n->tie.l.held >= row->epoch;
}

void nd_join_tend(struct nd_node *n)
{
    if (!n->joining || (!caught_up(n) && !named_by_the_row(n))) {
        return;
    }
    if (nd_join_clear(n->config.data_dir) == 0) { /* Else again in 100 ms. */
        n->joining = false;
        SY_LOG(&n->log, SY_NOTE, "join.done",
               KU64("term", cs_core_term(nd_replica_core(n->replica))));
    }
}

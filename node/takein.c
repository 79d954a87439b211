/* Who begins with an empty log becomes a member again: a spare first, which votes on
 * nothing; then it is sent everything; then a voter. One step at a time, each tried
 * until it is done. For who was left behind by a recovery (left.c) and for who lost the
 * row in Postgres (tie.c). */

#include "node/node.h"

enum { WAITS_AGAIN_MS = 5000 };

static void step(struct nd_node *n, uint64_t id, enum cs_member_role role)
{
    static const char *const names[] = {"absent", "spare", "standby", "voter"};
    int rv = nd_replica_change(n->replica, id, role);

    if (rv != SY_EBUSY) { /* Another change is under way, as it often is. */
        SY_LOG(&n->log, SY_NOTE, "rejoin.step", KU64("peer", id), KSTR("to", names[role]),
               KERR(rv));
    }
}

/* It takes longer than one would think: say what is in the way. */
static void waits(struct nd_node *n, const struct cs_member *m)
{
    struct nd_peer_view *v = &n->views[m->id];
    uint64_t now = nd_now_ms();

    if (v->taking_ms == 0) {
        v->taking_ms = now + WAITS_AGAIN_MS;
    } else if (now >= v->taking_ms) {
        v->taking_ms = now + WAITS_AGAIN_MS;
        SY_LOG(&n->log, SY_WARN, "rejoin.waits", KU64("peer", m->id),
               KU64("match", m->match),
               KU64("last", cs_core_last(nd_replica_core(n->replica))),
               KU64("answers", m->alive), KU64("level", m->level),
               KU64("catching_up", m->catching_up), KU64("committed", m->committed),
               KU64("began_anew", v->forgot));
    }
}

bool nd_take_in(struct nd_node *n, uint64_t id, bool empty)
{
    struct nd_peer_view *v = &n->views[id];
    struct cs_member m;

    if (!cs_core_member(nd_replica_core(n->replica), id, &m)) {
        if (empty) {
            v->taking_ms = 0;
            step(n, id, CS_ROLE_SPARE);
        }
        return false;
    }
    if (m.role == CS_ROLE_VOTER) {
        return m.committed;
    }
    waits(n, &m);
    if (v->forgot) {
        /* Raft sends nothing twice to who acknowledged it. */
        step(n, id, CS_ROLE_ABSENT);
    } else if (m.committed && m.level && m.alive) {
        step(n, id, CS_ROLE_VOTER);
    } else if (m.committed && !m.catching_up) {
        /* Else again. Also one that is level and was not heard lately: a spare is sent
         * nothing, and who does not answer would not be made a voter, for ever. */
        (void)!nd_replica_catch_up(n->replica, id);
    }
    return false;
}

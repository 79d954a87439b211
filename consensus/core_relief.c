#include <string.h>

#include "consensus/core_impl.h"

/* Fast relief: when the kernel of the leader's machine says that the leader's
 * process is gone, do not wait for the election timer.
 *
 * Everybody becomes a candidate, because only that makes libraft forget the
 * leader and vote for somebody else; but only the first in rank speaks up at
 * once, or the votes would split. Pre-vote is on, so a campaign against a leader
 * that is alive after all changes nothing. */

enum { STAGGER_MS = 70, RETRY_MS = 10, TRY_MS = 100 };

/* In which order: by id, but a witness, which would only hand over, after all others. */
static uint64_t order_of(const struct cs_core *c, uint64_t id)
{
    return id + ((c->config.witnesses >> id & 1) != 0 ? CS_ID_MAX + 1 : 0);
}

/* How many would speak up before us: those that can be heard at all. */
static unsigned rank_without(const struct cs_core *c, uint64_t gone)
{
    unsigned rank = 0;

    for (unsigned i = 0; i < c->r.configuration.n; i++) {
        const struct raft_server *s = &c->r.configuration.servers[i];

        if (s->role == RAFT_VOTER && s->id != gone &&
            order_of(c, s->id) < order_of(c, c->config.id) &&
            c->ops->linked(c->ctx, s->id)) {
            rank++;
        }
    }
    return rank;
}

static bool over(struct cs_core *c)
{
    int state = raft_state(&c->r);

    return c->now > c->relief.until || state == RAFT_LEADER || c->hold ||
           !cs__may_campaign(c) || (state == RAFT_FOLLOWER && c->relief.campaigned) ||
           (state == RAFT_CANDIDATE && !c->r.candidate_state.in_pre_vote);
}

/* Make the election timer expire now, with public functions only: shorten the
 * timeout (which draws the running timer anew), fire, restore it (which draws
 * again). Repeated for a while: the other follower refuses until it has noticed
 * as well, and a lost pre-vote would cost a whole timeout. */
void cs__relief_kick(struct cs_core *c)
{
    struct raft_event ev = {.type = RAFT_TIMEOUT};

    if (c->relief.next == 0 || c->now < c->relief.next) {
        return;
    }
    if (over(c)) {
        c->relief.next = c->relief.mute_until = 0;
        return;
    }
    /* libraft does not campaign while writes are under way, and would draw a
     * new timer. cs__relief_stored() comes back to it. */
    if (raft_state(&c->r) == RAFT_FOLLOWER &&
        (c->install.active || c->r.last_stored < raft_last_index(&c->r))) {
        c->relief.waiting = true;
        c->relief.next = c->now + RETRY_MS;
        return;
    }
    raft_set_election_timeout(&c->r, 1);
    if (c->now < raft_timeout(&c->r)) {
        c->now = raft_timeout(&c->r); /* At most 2 ms ahead. */
    }
    cs__step_sure(c, &ev);
    raft_set_election_timeout(&c->r, c->config.election_ms);
    c->relief.campaigned = true;
    c->relief.next =
        c->now < c->relief.mute_until ? c->relief.mute_until : c->now + RETRY_MS;
}

void cs__relief_stored(struct cs_core *c)
{
    if (c->relief.waiting) {
        c->relief.waiting = false;
        c->relief.next = c->relief.next > 0 ? c->now : 0;
    }
}

void cs_core_lost(struct cs_core *c, uint64_t now_ms, uint64_t peer)
{
    unsigned rank;

    cs__time(c, now_ms);
    if (peer != 0 && cs_core_leader(c) == peer) {
        c->heard_leader = 0; /* A standby does not campaign, but it may vote. */
    }
    if (peer == 0 || raft_state(&c->r) != RAFT_FOLLOWER || cs_core_leader(c) != peer ||
        c->hold || !cs__may_campaign(c)) {
        return;
    }
    rank = rank_without(c, peer);
    c->stats.alarms++;
    c->relief.mute_until = rank > 0 ? c->now + STAGGER_MS * rank : 0;
    c->relief.campaigned = false;
    c->relief.waiting = false;
    c->relief.next = c->now > 0 ? c->now : 1;
    c->relief.until = c->now + STAGGER_MS * rank + TRY_MS;
    cs__settle(c);
}

/* Only where pre-vote is under way: it repeats a question and changes no term. */
void cs_core_linked(struct cs_core *c, uint64_t now_ms)
{
    unsigned rank;

    cs__time(c, now_ms);
    if (c->hold || raft_state(&c->r) != RAFT_CANDIDATE ||
        !c->r.candidate_state.in_pre_vote) {
        return;
    }
    rank = rank_without(c, 0);
    c->relief.mute_until = rank > 0 ? c->now + STAGGER_MS * rank : 0;
    c->relief.campaigned = true;
    c->relief.next = c->now > 0 ? c->now : 1;
    c->relief.until = c->now + STAGGER_MS * rank + TRY_MS;
    cs__settle(c);
}

#include <string.h>

#include "base/mem.h"
#include "consensus/core_impl.h"

/* What is well formed and yet must not reach libraft, whose checks against it
 * are assertions that Debian's build leaves out. */

/* BUG 5: a follower whose log begins above the entry that an AppendEntries
 * follows on refuses it; the leader then walks back an index per round trip,
 * below what the follower had acknowledged, its in-flight counter wraps round,
 * and at index 0, where nothing is checked any more, the follower would take old
 * entries for new ones. But whatever our snapshot covers is committed, so every
 * leader of this or a later term has the same there: skip to the end of it. */
static void skip_compacted(struct cs_core *c, struct raft_append_entries *a)
{
    uint64_t k = c->snap.index - a->prev_log_index;

    a->prev_log_index = c->snap.index;
    a->prev_log_term = c->snap.term;
    if (k < a->n_entries) {
        a->entries += k;
        a->n_entries -= (unsigned)k;
    } else if (a->n_entries > 0) {
        raft_free(a->entries[0].batch);
        a->entries = NULL;
        a->n_entries = 0;
    }
}

static bool starts_in_compacted(const struct cs_core *c,
                                const struct raft_append_entries *a)
{
    /* Entry 1 can follow on nothing; if it is gone, so is what it follows on. */
    uint64_t first_known = c->log.first == 1 ? 0 : c->log.first;

    return a->prev_log_index < first_known && a->prev_log_index != c->snap.index;
}

/* BUG 6: libraft knows of one configuration that is not committed. When the next
 * comes before it was told that the first is (a follower that catches up), the
 * first never becomes the committed one; and if the second is cut off, members come
 * back that are long gone. But a leader appends no configuration before the last
 * one is committed. So the follower may take that for granted where its log agrees
 * with the leader's; then libraft is told first, and the rest comes again. */
static void one_change_at_a_time(struct cs_core *c, struct raft_append_entries *a)
{
    uint64_t first = c->r.configuration_uncommitted_index;

    for (unsigned i = 0; i < a->n_entries && first > 0; i++) {
        uint64_t index = a->prev_log_index + 1 + i;
        const struct raft_entry *e = &a->entries[i];

        if (e->type != RAFT_CHANGE || index <= first ||
            cs_core_term_of(c, index) == e->term) {
            continue;
        }
        if (first <= a->prev_log_index && a->leader_commit < first) {
            a->leader_commit = first;
        }
        if (i == 0) {
            raft_free(a->entries[0].batch);
            a->entries = NULL;
        }
        a->n_entries = i;
        return;
    }
}

static int admit_append(struct cs_core *c, uint64_t from, struct cs_wire *w)
{
    struct raft_append_entries *a = &w->m.append_entries;
    uint64_t term = raft_current_term(&c->r);

    c->stale_request = a->term < term;
    if (c->stale_request) {
        return CS_RECV_PASS;
    }
    /* A second leader in our own term. */
    if (a->term == term && raft_state(&c->r) == RAFT_LEADER) {
        return SY_ECORRUPT;
    }
    c->heard_leader = c->clock;
    c->peers[from].echo = w->stamp;
    c->peers[from].echo_term = a->term;
    if ((c->without & CS_WITHOUT_BUG5) == 0 && !c->install.active &&
        starts_in_compacted(c, a)) {
        skip_compacted(c, a);
    }
    if ((c->without & CS_WITHOUT_BUG6) == 0 && !c->install.active) {
        one_change_at_a_time(c, a);
    }
    return CS_RECV_PASS;
}

static int admit_append_result(struct cs_core *c, uint64_t from, struct cs_wire *w)
{
    struct raft_append_entries_result *a = &w->m.append_entries_result;
    struct cs_peer *p = &c->peers[from];
    raft_index match;

    if (raft_state(&c->r) != RAFT_LEADER || a->term != raft_current_term(&c->r)) {
        return CS_RECV_PASS;
    }
    if (w->stamp <= c->clock && w->stamp > p->answered) {
        p->answered = w->stamp;
    }
    /* BUG 5, the other side: nothing below what is known to match can be
     * refused. It still is a sign of life. */
    if ((c->without & CS_WITHOUT_BUG5) == 0 && a->rejected > 0 &&
        raft_match_index(&c->r, from, &match) == 0 && a->rejected <= match) {
        a->rejected = 0;
        a->last_log_index = 0;
    }
    return CS_RECV_PASS;
}

static int admit_install(struct cs_core *c, const struct raft_install_snapshot *s)
{
    uint64_t term = raft_current_term(&c->r), ours;

    if (c->install.active) {
        return CS_RECV_DROP; /* libraft would ignore it, and leak it. */
    }
    c->stale_request = s->term < term;
    if (s->term == term && raft_state(&c->r) == RAFT_LEADER) {
        return SY_ECORRUPT;
    }
    if (!c->stale_request) {
        c->heard_leader = c->clock;
    }
    ours = cs_core_term_of(c, s->last_index);
    if (s->last_index <= raft_commit_index(&c->r) && ours != 0 && ours != s->last_term) {
        return SY_ECORRUPT;
    }
    return CS_RECV_PASS;
}

int cs__recv_admit(struct cs_core *c, uint64_t from, struct cs_wire *w)
{
    c->stale_request = false;
    switch (w->m.type) {
    case RAFT_APPEND_ENTRIES:
        return admit_append(c, from, w);
    case RAFT_APPEND_ENTRIES_RESULT:
        return admit_append_result(c, from, w);
    case RAFT_INSTALL_SNAPSHOT:
        return admit_install(c, &w->m.install_snapshot);
    case RAFT_REQUEST_VOTE:
        return w->m.request_vote.candidate_id == from ? CS_RECV_PASS : SY_ECORRUPT;
    case RAFT_REQUEST_VOTE_RESULT:
        /* libraft reads candidate_state.in_pre_vote before it looks whether we
         * are a candidate at all: a byte of something else then. */
        return raft_state(&c->r) == RAFT_CANDIDATE ? CS_RECV_PASS : CS_RECV_DROP;
    case RAFT_TIMEOUT_NOW:
        return CS_RECV_PASS;
    }
    return SY_ECORRUPT;
}

static struct raft_server *self(struct cs_core *c)
{
    for (unsigned i = 0; i < c->r.configuration.n; i++) {
        if (c->r.configuration.servers[i].id == c->config.id) {
            return &c->r.configuration.servers[i];
        }
    }
    return NULL;
}

/* BUG 9: who is not a voter in its own configuration refuses its vote. But whether a
 * vote counts is the candidate's business, whose configuration may be newer: where
 * one voter takes in a second, which has not got that entry when the first one
 * restarts, it could never be elected again. So a member votes, whatever it is; and
 * who belongs to no cluster (an empty disk) does not, as it has forgotten too much. */
static void step_message(struct cs_core *c, struct raft_event *ev)
{
    struct raft_server *own = self(c);
    int role;

    if (ev->receive.message->type != RAFT_REQUEST_VOTE || own == NULL ||
        (c->without & CS_WITHOUT_BUG9) != 0) {
        cs__step_sure(c, ev);
        return;
    }
    /* And it never forgets a leader: only what campaigns does. */
    if ((own->role != RAFT_VOTER || c->hold) &&
        c->clock >= c->heard_leader + c->config.election_ms) {
        ev->receive.message->request_vote.disrupt_leader = true;
    }
    role = own->role;
    own->role = RAFT_VOTER; /* A request for a vote changes no configuration. */
    cs__step_sure(c, ev);
    own->role = role;
}

int cs_core_recv(struct cs_core *c, uint64_t now_ms, uint64_t from, const uint8_t *frame,
                 size_t len)
{
    struct raft_event ev = {.type = RAFT_RECEIVE};
    struct cs_wire w;
    int rv;

    cs__time(c, now_ms);
    if (from == 0 || from > CS_ID_MAX || from == c->config.id ||
        cs_wire_decode(frame, len, &w) != 0) {
        c->stats.frames_bad++;
        return SY_ECORRUPT;
    }
    rv = cs__recv_admit(c, from, &w);
    if (rv != CS_RECV_PASS) {
        cs_wire_discard(&w);
        c->stats.frames_bad += rv < 0;
        return rv < 0 ? rv : 0;
    }
    w.m.server_id = from;
    w.m.server_address = cs__address(from);
    ev.receive.message = &w.m;
    step_message(c, &ev);
    cs_wire_close(&w);
    c->stale_request = false;
    cs__settle(c);
    return 0;
}

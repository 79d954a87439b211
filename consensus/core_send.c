#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "consensus/core_impl.h"

/* Frames waiting for a disk that does not answer. Dropping is legal. */
enum { HELD_FRAMES_MAX = 4096, HELD_BYTES_MAX = 16 << 20 };

/* --- order: a term or vote that is not durable must not become visible --- */

static void deliver(struct cs_core *c, uint64_t to, uint64_t snapshot,
                    const uint8_t *frame, size_t len)
{
    if (snapshot == 0) {
        c->ops->send(c->ctx, to, frame, len);
    } else if (snapshot == c->snap.index) {
        c->ops->send_snapshot(c->ctx, to, frame, len, snapshot);
    }
}

static void hold(struct cs_core *c, uint64_t to, uint64_t snapshot)
{
    size_t len = c->frame.len;
    struct cs_held *h;

    if (c->held_frames >= HELD_FRAMES_MAX || c->held_bytes + len > HELD_BYTES_MAX) {
        return;
    }
    h = sy_alloc(sizeof *h + len);
    h->need = c->vote_seq;
    h->to = to;
    h->snapshot = snapshot;
    h->len = len;
    memcpy(h->frame, c->frame.p, len);
    sy_list_push(&c->held, &h->link);
    c->held_frames++;
    c->held_bytes += len;
}

static struct cs_held *pop_held(struct cs_core *c)
{
    struct sy_link *link = sy_list_pop(&c->held);
    struct cs_held *h = SY_CONTAINER(link, struct cs_held, link);

    assert(c->held_frames > 0);
    c->held_frames--;
    c->held_bytes -= h->len;
    return h;
}

/* All frames wait while any change of the vote is not durable, so they stay in
 * order for each peer. */
void cs__send_held(struct cs_core *c)
{
    while (!sy_list_empty(&c->held)) {
        struct cs_held *h = SY_CONTAINER(c->held.next, struct cs_held, link);

        if (h->need > c->vote_durable) {
            return;
        }
        h = pop_held(c);
        deliver(c, h->to, h->snapshot, h->frame, h->len);
        sy_free(h);
    }
}

void cs__send_drop_held(struct cs_core *c)
{
    while (!sy_list_empty(&c->held)) {
        sy_free(pop_held(c));
    }
}

static void send_frame(struct cs_core *c, uint64_t to, uint64_t snapshot)
{
    c->stats.frames_sent++;
    if (c->vote_durable < c->vote_seq && (c->without & CS_WITHOUT_HOLD) == 0) {
        hold(c, to, snapshot);
    } else {
        deliver(c, to, snapshot, c->frame.p, c->frame.len);
    }
}

/* --- messages --- */

static void begin(struct cs_core *c, const struct raft_message *m, uint64_t stamp)
{
    c->frame.len = 0;
    cs_wire_put(&c->frame, m, stamp);
}

/* Up to where does one AppendEntries go that begins with entry @next?
 *
 * BUG 2: a follower's libraft records the index of a message's first new entry
 * as that of the configuration, wherever in the message that is. So a
 * configuration is always the first. */
static uint64_t split(const struct cs_core *c, uint64_t next, uint64_t end)
{
    uint64_t upto = next;
    size_t bytes = CS_WIRE_HEAD_MAX;

    while (upto < end) {
        const struct cs_entry *e = cs__log_at(&c->log, upto);

        bytes += CS_WIRE_ENTRY + (size_t)e->len;
        if (upto > next &&
            (bytes > c->config.frame_max ||
             (e->type == RAFT_CHANGE && (c->without & CS_WITHOUT_BUG2) == 0))) {
            break;
        }
        upto++;
    }
    return upto;
}

static int role_in(const struct raft_configuration *conf, uint64_t id)
{
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->servers[i].id == id) {
            return conf->servers[i].role;
        }
    }
    return -1;
}

/* BUG 10: who finds in its log that it is no voter any more does not campaign, and
 * yet has a longer log than the rest and refuses to vote for them. While that entry
 * is not committed its voice may be needed (Ongaro's thesis, 4.2.2: "a server that
 * is not part of its own latest configuration should still start new elections").
 * So it does not get the entry before. libraft finds out that it is missing. */
static uint64_t sendable(const struct cs_core *c, uint64_t to, uint64_t end)
{
    uint64_t change = c->r.configuration_uncommitted_index;

    if (change == 0 || end <= change || (c->without & CS_WITHOUT_BUG10) != 0 ||
        role_in(&c->conf, to) != RAFT_VOTER ||
        role_in(&c->r.configuration, to) == RAFT_VOTER) {
        return end;
    }
    return change;
}

/* libraft only says "n entries after prev"; their content comes from our log. */
static void send_append(struct cs_core *c, struct raft_message *m)
{
    struct raft_append_entries *a = &m->append_entries;
    uint64_t next = a->prev_log_index + 1;
    uint64_t end = sendable(c, m->server_id, next + a->n_entries);

    /* BUG 5 at work, where libraft's own assertion (progressMaybeDecrement) would
     * end the process. A counter, for the simulator. */
    c->stats.walks += a->prev_log_index < cs_core_match(c, m->server_id);
    do {
        uint64_t upto = split(c, next, end);

        if (next - 1 != a->prev_log_index) {
            a->prev_log_index = next - 1;
            a->prev_log_term = cs_core_term_of(c, next - 1);
        }
        begin(c, m, c->clock);
        cs_wire_put_count(&c->frame, (uint32_t)(upto - next));
        for (; next < upto; next++) {
            cs_wire_put_entry(&c->frame, cs__log_at(&c->log, next));
        }
        send_frame(c, m->server_id, 0);
    } while (next < end);
}

static void send_append_result(struct cs_core *c, struct raft_message *m)
{
    struct raft_append_entries_result *a = &m->append_entries_result;
    const struct cs_peer *p = &c->peers[m->server_id];

    if (c->stale_request) {
        a->last_log_index = 0; /* libraft leaves it uninitialised then (#183). */
    }
    begin(c, m, p->echo_term == a->term ? p->echo : 0);
    send_frame(c, m->server_id, 0);
}

/* BUG 1: a refused pre-vote comes back with the term it asked for, never with
 * the refuser's. So a candidate whose term is behind is never told; if it is the
 * only one with an up-to-date log, and the others have been through failed
 * elections, nobody can win, for good. Tell the real term: the candidate's
 * libraft knows what to do with it. */
static void send_vote_result(struct cs_core *c, struct raft_message *m)
{
    struct raft_request_vote_result *v = &m->request_vote_result;

    if (v->pre_vote && !v->vote_granted && v->term < raft_current_term(&c->r) &&
        (c->without & CS_WITHOUT_BUG1) == 0) {
        v->term = raft_current_term(&c->r);
    }
    begin(c, m, 0);
    send_frame(c, m->server_id, 0);
}

static void send_install(struct cs_core *c, struct raft_message *m)
{
    struct raft_install_snapshot *s = &m->install_snapshot;

    if (s->last_index != c->snap.index) {
        cs__fatal(c, "libraft wants to send a snapshot that is not the newest");
    }
    s->conf_index = c->snap.conf_index;
    begin(c, m, 0);
    cs_wire_put_conf(&c->frame, &c->snap.conf);
    c->stats.snapshots_sent++;
    send_frame(c, m->server_id, c->snap.index);
}

void cs__send_message(struct cs_core *c, struct raft_message *m)
{
    assert(m->server_id > 0 && m->server_id < CS_PEERS);
    if (m->type == RAFT_APPEND_ENTRIES) {
        c->peers[m->server_id].append_at = c->now;
    }
    if (!c->ops->linked(c->ctx, m->server_id)) {
        return; /* libraft copes with loss. */
    }
    switch (m->type) {
    case RAFT_APPEND_ENTRIES:
        send_append(c, m);
        return;
    case RAFT_APPEND_ENTRIES_RESULT:
        send_append_result(c, m);
        return;
    case RAFT_INSTALL_SNAPSHOT:
        send_install(c, m);
        return;
    case RAFT_REQUEST_VOTE_RESULT:
        send_vote_result(c, m);
        return;
    case RAFT_REQUEST_VOTE:
        /* Lower in rank: let the first one speak up alone (core_relief.c). */
        if (m->request_vote.pre_vote && c->now < c->relief.mute_until) {
            return;
        }
        break;
    case RAFT_TIMEOUT_NOW:
        break;
    }
    begin(c, m, 0);
    send_frame(c, m->server_id, 0);
}

/* --- the lease --- */

/* Every AppendEntries carries the time it was sent at (on our clock), and every
 * result the newest such stamp that its sender has followed in this term. So a
 * result proves that the follower was following us at or after the stamp, even
 * where requests and results do not come in pairs (results are sent when the
 * disk is done; some requests get none). A follower that reset its election
 * timer at or after the stamp does not campaign by itself before stamp +
 * election_ms, and votes for nobody else while it has a leader. */
uint64_t cs_core_lease_until(const struct cs_core *c)
{
    uint64_t t[CS_MEMBERS_MAX];
    unsigned voters = 0, n = 0, need;

    if (cs_core_role(c) != CS_LEADER || raft_transferee(&c->r) != 0) {
        return 0;
    }
    for (unsigned i = 0; i < c->r.configuration.n; i++) {
        const struct raft_server *s = &c->r.configuration.servers[i];
        unsigned k = n;

        if (s->role != RAFT_VOTER) {
            continue;
        }
        voters++;
        if (s->id == c->config.id) {
            continue;
        }
        for (; k > 0 && t[k - 1] < c->peers[s->id].answered; k--) {
            t[k] = t[k - 1];
        }
        t[k] = c->peers[s->id].answered;
        n++;
    }
    need = voters / 2 + 1 - (voters - n);
    if (need == 0) {
        return UINT64_MAX;
    }
    return t[need - 1] > 0 ? t[need - 1] + c->config.election_ms : 0;
}

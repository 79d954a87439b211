#include <assert.h>
#include <string.h>

#include "consensus/core_impl.h"

/* A write under way may hold entries that have just been cut off. When it is
 * done they must not be reported: their indexes hold other entries by then. */
void cs__store_truncated(struct cs_core *c, uint64_t index)
{
    if (c->store.next > index) {
        c->store.next = index;
    }
    if (c->store.busy && c->store.last >= index && (c->without & CS_WITHOUT_STALE) == 0) {
        c->store.last = index - 1;
    }
}

static bool something_to_store(const struct cs_core *c)
{
    return c->install.wanted || c->vote_handed < c->vote_seq ||
           c->store.next <= cs__log_last(&c->log) || c->store.drop_until > 0;
}

static void report_stored(struct cs_core *c, uint64_t index)
{
    struct raft_event ev = {.type = RAFT_PERSISTED_ENTRIES};

    if (c->install.active || index <= c->r.last_stored) {
        return;
    }
    ev.persisted_entries.index = index;
    cs__step_sure(c, &ev);
}

/* Start an operation when none is under way. What piles up meanwhile goes with
 * the next: group commit. */
void cs__store_kick(struct cs_core *c)
{
    struct cs_store_op op = {.install = NULL};

    if (c->store.busy || !something_to_store(c)) {
        return;
    }
    c->store.busy = true;
    c->store.last = cs__log_last(&c->log);
    c->store.vote = c->vote_seq;
    c->store.install = c->install.wanted;
    if (c->install.wanted) {
        assert(c->log.n == 0);
        op.install = &c->snap;
        c->store.last = 0;
    }
    op.has_vote = c->vote_handed < c->vote_seq;
    op.term = raft_current_term(&c->r);
    op.voted_for = raft_voted_for(&c->r);
    op.first = c->store.next;
    op.n = (size_t)(cs__log_last(&c->log) + 1 - c->store.next);
    op.entries = op.n > 0 ? cs__log_at(&c->log, op.first) : NULL;
    op.drop_until = c->store.drop_until;
    c->install.wanted = false;
    c->vote_handed = c->vote_seq;
    c->store.next = cs__log_last(&c->log) + 1;
    c->store.drop_until = 0;
    c->stats.writes++;
    c->stats.entries_written += op.n;
    c->ops->store(c->ctx, &op);
    if ((c->without & CS_WITHOUT_ORDER) != 0) {
        report_stored(c, c->store.last);
    }
}

void cs_core_stored(struct cs_core *c, uint64_t now_ms)
{
    assert(c->store.busy);
    cs__time(c, now_ms);
    c->store.busy = false;
    c->vote_durable = c->store.vote;
    cs__send_held(c);
    if (c->store.install) {
        cs__install_finish(c);
    } else {
        report_stored(c, c->store.last);
    }
    cs__relief_stored(c);
    cs__settle(c);
}

#include <string.h>

#include "consensus/core_impl.h"

/* BUG 4: libraft sends TimeoutNow as soon as the target acknowledges anything;
 * a target that is not level ignores it, and the leader refuses everything for
 * an election timeout. So refuse new entries ourselves, wait until all are
 * committed and the target has them, and only then let libraft begin. */

static bool is_voter(const struct cs_core *c, uint64_t id)
{
    for (unsigned i = 0; i < c->r.configuration.n; i++) {
        if (c->r.configuration.servers[i].id == id) {
            return c->r.configuration.servers[i].role == RAFT_VOTER;
        }
    }
    return false;
}

static bool can_take_over(const struct cs_core *c, uint64_t id)
{
    return id != c->config.id && is_voter(c, id) && c->ops->linked(c->ctx, id);
}

static bool drained(const struct cs_core *c)
{
    uint64_t last = cs_core_last(c);

    return raft_commit_index(&c->r) == last && c->r.last_stored == last &&
           c->applied == last && !c->store.busy;
}

/* Somebody who may have the watch now; 0: nobody yet. */
static uint64_t level_target(const struct cs_core *c)
{
    if (c->transfer.to != 0) {
        return can_take_over(c, c->transfer.to) &&
                       cs_core_match(c, c->transfer.to) == cs_core_last(c)
                   ? c->transfer.to
                   : 0;
    }
    for (uint64_t id = 1; id < CS_PEERS; id++) {
        if (can_take_over(c, id) && cs_core_match(c, id) == cs_core_last(c)) {
            return id;
        }
    }
    return 0;
}

void cs__transfer_kick(struct cs_core *c)
{
    struct raft_event ev = {.type = RAFT_TRANSFER};

    if (!c->transfer.active) {
        return;
    }
    if (cs_core_role(c) != CS_LEADER || cs_core_term(c) != c->transfer.term ||
        c->clock >= c->transfer.deadline) {
        c->transfer.active = false;
        return;
    }
    ev.transfer.server_id = level_target(c);
    if ((c->without & CS_WITHOUT_BUG4) != 0) {
        ev.transfer.server_id = c->transfer.to;
    } else if (ev.transfer.server_id == 0 || !drained(c)) {
        return;
    }
    /* From here on libraft refuses new entries, until the other one has been
     * elected or an election timeout is over. */
    c->transfer.active = false;
    cs__step_sure(c, &ev);
}

int cs_core_transfer(struct cs_core *c, uint64_t now_ms, uint64_t to,
                     uint64_t deadline_ms)
{
    bool any = false;

    cs__time(c, now_ms);
    if (cs_core_role(c) != CS_LEADER) {
        return SY_ENOTLEADER;
    }
    if (cs_core_transferring(c)) {
        return SY_EBUSY;
    }
    if (to != 0 && (to == c->config.id || !is_voter(c, to))) {
        return SY_EINVALID;
    }
    for (uint64_t id = 1; id < CS_PEERS; id++) {
        any = any || (id != c->config.id && is_voter(c, id));
    }
    if (!any) {
        return SY_ENOTFOUND;
    }
    c->transfer.active = true;
    c->transfer.to = to;
    c->transfer.deadline = deadline_ms;
    c->transfer.term = cs_core_term(c);
    cs__settle(c);
    return 0;
}

bool cs_core_transferring(const struct cs_core *c)
{
    return c->transfer.active || raft_transferee(&c->r) != 0;
}

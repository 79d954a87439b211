#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "consensus/core_impl.h"

/* Who belongs to the cluster: one server at a time, so that any majority of the
 * old members and any majority of the new ones have one in common (Ongaro's
 * thesis, 4.1). libraft checks that no change is under way, and nothing else. */

static enum cs_member_role role_of(const struct raft_configuration *conf, uint64_t id)
{
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->servers[i].id == id) {
            return conf->servers[i].role == RAFT_VOTER     ? CS_ROLE_VOTER
                   : conf->servers[i].role == RAFT_STANDBY ? CS_ROLE_STANDBY
                                                           : CS_ROLE_SPARE;
        }
    }
    return CS_ROLE_ABSENT;
}

static int raft_role_of(enum cs_member_role role)
{
    return role == CS_ROLE_VOTER     ? RAFT_VOTER
           : role == CS_ROLE_STANDBY ? RAFT_STANDBY
                                     : RAFT_SPARE;
}

bool cs__may_campaign(const struct cs_core *c)
{
    return role_of(&c->r.configuration, c->config.id) == CS_ROLE_VOTER;
}

/* A configuration that this node knows of and that is not applied yet; libraft
 * calls it uncommitted. */
static bool change_under_way(const struct cs_core *c)
{
    return c->r.configuration_uncommitted_index != 0 ||
           c->r.leader_state.promotee_id != 0;
}

/* A change may only follow on an entry of the own term that is committed. Without
 * this two leaders in turn can each have a change that the other does not know
 * of, and two majorities that do not meet (Ongaro, raft-dev, July 2015). */
static bool own_term_committed(const struct cs_core *c)
{
    return c->applied == raft_commit_index(&c->r) &&
           cs_core_term_of(c, c->applied) == cs_core_term(c);
}

static bool heard_lately(const struct cs_core *c, uint64_t id)
{
    return id == c->config.id ||
           (c->ops->linked(c->ctx, id) && c->peers[id].answered > 0 &&
            c->clock < c->peers[id].answered + c->config.election_ms);
}

/* Would the members after the change be able to commit anything? */
static bool quorum_after(const struct cs_core *c, uint64_t id, enum cs_member_role role)
{
    const struct raft_configuration *conf = &c->r.configuration;
    unsigned voters = 0, alive = 0;

    for (unsigned i = 0; i < conf->n; i++) {
        const struct raft_server *s = &conf->servers[i];

        if (s->id != id && s->role == RAFT_VOTER) {
            voters++;
            alive += heard_lately(c, s->id);
        }
    }
    if (role == CS_ROLE_VOTER) {
        voters++;
        alive += heard_lately(c, id);
    }
    return voters > 0 && alive > voters / 2;
}

/* So near the end of the log that the rest is under way already. */
static bool level(const struct cs_core *c, uint64_t id)
{
    uint64_t match = cs_core_match(c, id);

    return match > 0 && match + c->config.inflight_max >= cs_core_last(c);
}

static int check_change(const struct cs_core *c, uint64_t id, enum cs_member_role role)
{
    enum cs_member_role had = role_of(&c->r.configuration, id);

    if (id == 0 || id > CS_ID_MAX || role > CS_ROLE_VOTER) {
        return SY_EINVALID;
    }
    if (cs_core_role(c) != CS_LEADER) {
        return SY_ENOTLEADER;
    }
    if (cs_core_transferring(c) || change_under_way(c) ||
        (!own_term_committed(c) && (c->without & CS_WITHOUT_CHECKS) == 0)) {
        return SY_EBUSY;
    }
    if (had == role) {
        return role == CS_ROLE_ABSENT ? SY_ENOTFOUND : SY_EEXISTS;
    }
    if (had == CS_ROLE_ABSENT && role == CS_ROLE_VOTER) {
        return SY_EINVALID; /* It has nothing yet: each entry would wait for it. */
    }
    if (had == CS_ROLE_ABSENT && c->r.configuration.n >= CS_MEMBERS_MAX) {
        return SY_ELIMIT;
    }
    if (role == CS_ROLE_VOTER && !level(c, id)) {
        return SY_EBUSY;
    }
    /* If it died with that in its log, it would not campaign, and nobody could whose
     * log is shorter; and a last voter would lead in the term of the one that went
     * (BUG 8). So it hands over first. */
    if (id == c->config.id && (c->without & CS_WITHOUT_CHECKS) == 0) {
        return SY_EINVALID;
    }
    if ((role == CS_ROLE_VOTER || had == CS_ROLE_VOTER) && !quorum_after(c, id, role)) {
        return SY_ENOQUORUM;
    }
    return 0;
}

static void change_conf(const struct cs_core *c, uint64_t id, enum cs_member_role role,
                        struct sy_buf *to)
{
    struct raft_configuration conf;
    bool there = false;
    int rv = 0;

    raft_configuration_init(&conf);
    for (unsigned i = 0; rv == 0 && i < c->r.configuration.n; i++) {
        const struct raft_server *s = &c->r.configuration.servers[i];
        int keep = s->id == id ? raft_role_of(role) : s->role;

        there = there || s->id == id;
        if (s->id != id || role != CS_ROLE_ABSENT) {
            rv = raft_configuration_add(&conf, s->id, s->address, keep);
        }
    }
    if (rv == 0 && !there) {
        rv = raft_configuration_add(&conf, id, cs__address(id), raft_role_of(role));
    }
    assert(rv == 0);
    cs__conf_encode(&conf, to);
    raft_configuration_close(&conf);
}

int cs_core_change(struct cs_core *c, uint64_t now_ms, uint64_t id,
                   enum cs_member_role role, uint64_t *ret_index)
{
    struct sy_buf conf = {.p = NULL};
    int rv;

    cs__time(c, now_ms);
    rv = check_change(c, id, role);
    if (rv != 0) {
        return rv;
    }
    change_conf(c, id, role, &conf);
    if (role_of(&c->r.configuration, id) == CS_ROLE_ABSENT) {
        c->peers[id] = (struct cs_peer){0}; /* Nothing of an earlier life counts. */
    }
    rv = cs__submit(c, RAFT_CHANGE, conf.p, (uint32_t)conf.len, ret_index);
    sy_buf_free(&conf);
    if (rv == 0) {
        cs__settle(c);
    }
    return rv;
}

int cs_core_catch_up(struct cs_core *c, uint64_t now_ms, uint64_t id)
{
    struct raft_event ev = {.type = RAFT_CATCH_UP};
    enum cs_member_role role = role_of(&c->r.configuration, id);

    cs__time(c, now_ms);
    if (cs_core_role(c) != CS_LEADER) {
        return SY_ENOTLEADER;
    }
    if (role == CS_ROLE_ABSENT) {
        return SY_ENOTFOUND;
    }
    if (role == CS_ROLE_VOTER) {
        return SY_EEXISTS;
    }
    if (cs_core_transferring(c) || change_under_way(c)) {
        return SY_EBUSY;
    }
    /* libraft looks at the round only when an answer brings something new. */
    if (cs_core_match(c, id) == cs_core_last(c)) {
        return 0;
    }
    ev.catch_up.server_id = id;
    cs__step_sure(c, &ev);
    cs__settle(c);
    return 0;
}

bool cs_core_member(const struct cs_core *c, uint64_t id, struct cs_member *ret)
{
    int status = RAFT_CATCH_UP_NONE;

    *ret = (struct cs_member){.id = id, .role = role_of(&c->r.configuration, id)};
    if (ret->role == CS_ROLE_ABSENT) {
        return false;
    }
    ret->committed = role_of(&c->conf, id) == ret->role;
    if (cs_core_role(c) != CS_LEADER) {
        return true;
    }
    ret->match = cs_core_match(c, id);
    ret->alive = heard_lately(c, id);
    ret->level = level(c, id);
    (void)raft_catch_up(&c->r, id, &status);
    ret->catching_up = status == RAFT_CATCH_UP_RUNNING;
    ret->gave_up = status == RAFT_CATCH_UP_ABORTED;
    return true;
}

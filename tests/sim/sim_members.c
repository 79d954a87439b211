#include "tests/sim/sim.h"

#include <string.h>

#include "base/mem.h"

typedef unsigned long long ull;

enum { JOIN_MS = 8000, JOIN_STEP_MS = 20 };

/* Members come, are promoted, demoted, removed, and come back, empty or not, while
 * nodes crash and links are cut; and what must hold of configurations then. */

static void change(struct sim_node *x, unsigned id, enum cs_member_role role)
{
    static const char *const names[] = {"absent", "a spare", "a standby", "a voter"};
    struct sim *s = x->sim;
    uint64_t index;
    int rv = cs_core_change(x->core, s->now, id, role, &index);

    if (rv == 0) {
        s->stats.changes++;
        sim_trace(s, 1, "node %u: %u is to be %s (entry %llu)", x->id, id, names[role],
                  (ull)index);
    }
    if (rv == SY_EBUSY && cs_core_barrier(x->core, s->now, &index) != 0) {
        sim_trace(s, 2, "node %u: no change now", x->id);
    }
}

/* Its machine is replaced. Only of one that is out for good: what it voted and
 * acknowledged counts for nobody any more. */
static void wipe(struct sim_node *x)
{
    struct sim *s = x->sim;

    sim_trace(s, 1, "node %u: comes back empty", x->id);
    if (x->up) {
        sim_crash(x, true);
    }
    memfs_destroy(&x->disk);
    x->had_index = x->had_index_term = x->had_term = x->had_vote = 0;
    sim_format(x);
    sim_start(x);
}

void sim_change_members(struct sim *s)
{
    struct sim_node *x = sim_leader(s);
    unsigned id = 1 + (unsigned)sim_below(s, s->n);
    uint64_t k = sim_below(s, 8);
    struct cs_member m;

    if (x == NULL) {
        return;
    }
    if (!cs_core_member(x->core, id, &m)) {
        if (k == 0 && x->core->r.configuration_uncommitted_index == 0) {
            wipe(&s->nodes[id]);
        } else {
            change(x, id, k < 4 ? CS_ROLE_SPARE : CS_ROLE_STANDBY);
        }
    } else if (m.role == CS_ROLE_VOTER) {
        /* Rather more than few, or most of the time nothing could be lost. */
        if (k < 4) {
            change(x, id, (enum cs_member_role)sim_below(s, 3));
        }
    } else if (k == 0) {
        change(x, id, CS_ROLE_ABSENT);
    } else if (k == 1) {
        change(x, id, m.role == CS_ROLE_SPARE ? CS_ROLE_STANDBY : CS_ROLE_SPARE);
    } else if (m.level) {
        change(x, id, CS_ROLE_VOTER);
    } else if (cs_core_catch_up(x->core, s->now, id) == 0) {
        sim_trace(s, 1, "node %u: %u is to catch up", x->id, id);
    }
    if (x->up) {
        sim_check_node(x);
        sim_arm(x);
    }
}

/* One step nearer to "all are voters". */
static bool join_next(struct sim *s)
{
    struct sim_node *x = sim_leader(s);
    bool all = x != NULL;

    for (unsigned i = 1; x != NULL && i <= s->n && cs_core_role(x->core) == CS_LEADER;
         i++) {
        struct cs_member m;
        bool there = cs_core_member(x->core, i, &m);

        if (m.role == CS_ROLE_VOTER && m.committed) {
            continue;
        }
        all = false;
        if (!there) {
            change(x, i, CS_ROLE_SPARE);
        } else if (m.level) {
            change(x, i, CS_ROLE_VOTER);
        } else if (cs_core_catch_up(x->core, s->now, i) != 0) {
            sim_trace(s, 2, "node %u: %u cannot catch up now", x->id, i);
        }
        sim_check_node(x);
        sim_arm(x);
    }
    return all;
}

/* All healthy: whoever is left must be able to take everybody in. */
void sim_join_all(struct sim *s)
{
    uint64_t end = s->now + JOIN_MS;

    while (!join_next(s)) {
        sim_run_until(s, s->now + JOIN_STEP_MS);
        if (s->now > end) {
            sim_fail(s, "not all could be made voters within %d ms", JOIN_MS);
        }
    }
}

/* --- what must hold --- */

static bool same_conf(const struct raft_configuration *conf, const uint8_t *p, size_t n)
{
    struct sy_buf b = {.p = NULL};
    bool same;

    cs__conf_encode(conf, &b);
    same = b.len == n && memcmp(b.p, p, n) == 0;
    sy_buf_free(&b);
    return same;
}

/* The newest configuration at or below @upto; its index, 0: none. */
static uint64_t newest_conf(const struct cs_core *c, uint64_t upto, const uint8_t **p,
                            size_t *n)
{
    uint64_t i = upto < cs_core_last(c) ? upto : cs_core_last(c);

    for (; i >= cs_core_first(c) && i > c->snap.conf_index; i--) {
        const struct cs_entry *e = cs_core_entry(c, i);

        if (e != NULL && e->type == RAFT_CHANGE) {
            *p = e->data;
            *n = e->len;
            return i;
        }
    }
    if (c->snap.index == 0 || c->snap.conf_index > upto) {
        return 0;
    }
    *p = c->snap.conf.p;
    *n = c->snap.conf.len;
    return c->snap.conf_index;
}

/* libraft believes in the newest configuration of the log, we in the newest that is
 * applied, and a roll-back would lead to the one before. */
void sim_check_conf(struct sim_node *x)
{
    const struct cs_core *c = x->core;
    const uint8_t *p = NULL;
    size_t n = 0;
    uint64_t newest, applied;

    if (c->install.active || c->taking.stale ||
        (x->sim->without & CS_WITHOUT_BUG2) != 0) {
        return;
    }
    newest = newest_conf(c, UINT64_MAX, &p, &n);
    if (newest > 0 && !same_conf(&c->r.configuration, p, n)) {
        sim_fail(x->sim, "node %u: libraft's members are not those of entry %llu", x->id,
                 (ull)newest);
    }
    applied = newest_conf(c, c->applied, &p, &n);
    if (applied > 0 && (c->conf_index != applied || !same_conf(&c->conf, p, n))) {
        sim_fail(x->sim, "node %u: our members are those of entry %llu, not of %llu",
                 x->id, (ull)c->conf_index, (ull)applied);
    }
    /* Of the last but one it knows that it is committed (restart, then roll-back). */
    if (newest > applied && newest > 1 &&
        c->r.configuration_uncommitted_index != newest &&
        (c->r.configuration_uncommitted_index != 0 ||
         c->r.configuration_committed_index != newest)) {
        sim_fail(x->sim, "node %u: the change %llu is under way, libraft says %llu",
                 x->id, (ull)newest, (ull)c->r.configuration_uncommitted_index);
    }
    if (newest == applied && applied > 0 && c->r.configuration_uncommitted_index != 0) {
        sim_fail(x->sim, "node %u: no change is under way, libraft says %llu", x->id,
                 (ull)c->r.configuration_uncommitted_index);
    }
    applied = newest_conf(c, newest > 0 ? newest - 1 : 0, &p, &n);
    if (newest > 1 && c->r.configuration_uncommitted_index == newest && applied > 0 &&
        !same_conf(&c->r.configuration_committed, p, n)) {
        sim_fail(x->sim, "node %u: a roll-back of %llu would not lead back to %llu",
                 x->id, (ull)newest, (ull)applied);
    }
}

void sim_check_member(struct sim_node *x)
{
    if (x->role == CS_CANDIDATE && !cs__may_campaign(x->core)) {
        sim_fail(x->sim, "node %u campaigns and is not a voter", x->id);
    }
    if (x->core->stats.walks > 0 && (x->sim->without == 0 || x->sim->faults)) {
        sim_fail(x->sim, "node %u walks back below what was acknowledged", x->id);
    }
}

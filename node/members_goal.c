/* One change of the members at a time, one step of Raft's after another, on whatever
 * node leads: what is wanted is a fact, what is stands in the configuration. */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mp.h"
#include "node/node.h"

enum { HEARD_MS = 3000, TRANSFER_MS = 3000 };

static const char *name_of(const struct nd_node *n, uint64_t id)
{
    const struct nd_config_node *c = nd_config_node(&n->config, id);

    return c != NULL ? c->name : "the node";
}

struct nd_goal nd_goal_of(const struct nd_node *n)
{
    const struct rp_fact *f = rp_store_fact(n->store, "members.goal");
    struct nd_goal g = {.id = 0};
    size_t len;

    if (f == NULL) {
        return g;
    }
    len = strcspn(f->value, " ");
    if (len < sizeof g.what && f->value[len] == ' ') {
        memcpy(g.what, f->value, len);
        g.id = strtoull(f->value + len + 1, NULL, 10);
    }
    if (g.id == 0 || g.id > CS_ID_MAX) {
        g = (struct nd_goal){.id = 0};
    }
    return g;
}

static void SY_PRINTF(2, 3) waits(struct nd_node *n, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(n->members.waits, sizeof n->members.waits, fmt, ap);
    va_end(ap);
}

static bool heard(struct nd_node *n, uint64_t id, struct sy_cur *ret)
{
    uint64_t age;

    return ad_peers_linked(nd_replica_peers(n->replica), id) &&
           nd_status_node_map(n, id, ret, &age) && age < HEARD_MS;
}

/* A step of Raft's; what is in the way now is tried again. */
static void change(struct nd_node *n, uint64_t id, enum cs_member_role role)
{
    static const char *const names[] = {"absent", "spare", "standby", "voter"};
    int rv;

    if (id == n->config.id) {
        waits(n, "%s leads, and hands over first", name_of(n, id));
        if (!cs_core_transferring(nd_replica_core(n->replica))) {
            rv = nd_hand_over(n, nd_node_heir(n), TRANSFER_MS,
                              "its place among the members changes");
            SY_LOG(&n->log, SY_NOTE, "members.handover", KERR(rv));
        }
        return;
    }
    rv = nd_replica_change(n->replica, id, role);
    if (rv == 0) {
        waits(n, "the change is being committed");
        SY_LOG(&n->log, SY_NOTE, "members.change", KU64("peer", id),
               KSTR("to", names[role]));
    } else if (rv == SY_EBUSY && role == CS_ROLE_VOTER && n->tie.on && !n->tie.l.reach &&
               cs_tie_count(n->tie.l.voters) == 2) {
        waits(n,
              "Postgres does not answer: before a third one votes, the row in it must "
              "say that neither of the two goes on alone any more");
    } else if (rv == SY_ENOQUORUM) {
        waits(n, "too few voters are heard of to commit anything after it");
    } else if (rv != SY_EBUSY && rv != SY_EEXISTS && rv != SY_ENOTFOUND) {
        waits(n, "the change is refused for now: %s", sy_err_text(rv));
    }
}

static void reached(struct nd_node *n, const struct nd_goal *g)
{
    const struct nd_config_node *c = nd_config_node(&n->config, g->id);
    char key[32], value[RP_FACT_VALUE_SIZE];

    if (strcmp(g->what, "absent") == 0 && c != NULL) {
        snprintf(key, sizeof key, "members.%" PRIu64, g->id);
        nd_members_write(c, "removed", value);
        rp_batch_fact(nd_replica_batch(n->replica), key, value);
    }
    rp_batch_fact(nd_replica_batch(n->replica), "members.goal", "");
    SY_LOG(&n->log, SY_NOTE, "members.done", KU64("peer", g->id), KSTR("is", g->what));
    waits(n, "it is done");
}

/* Take it in, with whatever log it has: none of what it acknowledged before counts any
 * more. @anew: but not with a state that is known to be wrong. */
static void take_in(struct nd_node *n, const struct nd_goal *g, bool anew)
{
    struct sy_cur map, flag;

    if (!heard(n, g->id, &map)) {
        waits(n,
              "%s does not connect: is its vagtd running (the first time after `vagtd "
              "--join`), and are its `cluster` and `nodes` right?",
              name_of(n, g->id));
        return;
    }
    flag = map;
    if (anew && nd_map_find(&flag, "diverged") && sy_mp_get_bool(&flag)) {
        waits(n,
              "the state of %s is wrong, and its log is still there: stop it, empty its "
              "data_dir, `vagtd --join`, start it",
              name_of(n, g->id));
    } else {
        change(n, g->id, CS_ROLE_SPARE);
    }
}

static void lift(struct nd_node *n, const struct nd_goal *g, const struct cs_member *m)
{
    uint64_t last = cs_core_last(nd_replica_core(n->replica));
    int rv;

    if (n->views[g->id].forgot && m->role == CS_ROLE_SPARE) {
        change(n, g->id, CS_ROLE_ABSENT); /* Then in again: nothing is sent twice. */
    } else if (!m->committed) {
        waits(n, "the change is being committed");
    } else if (m->level && m->alive) { /* Else it is asked again: see takein.c. */
        change(n, g->id, CS_ROLE_VOTER);
    } else {
        rv = m->catching_up ? 0 : nd_replica_catch_up(n->replica, g->id);
        if (rv == 0) {
            waits(n, "%s is catching up: %" PRIu64 " of %" PRIu64 " entries%s",
                  name_of(n, g->id), m->match, last,
                  m->alive ? "" : "; it does not answer just now");
        }
    }
}

static void step(struct nd_node *n, const struct nd_goal *g)
{
    struct cs_member m;
    bool in = cs_core_member(nd_replica_core(n->replica), g->id, &m);
    bool voter = strcmp(g->what, "voter") == 0 || strcmp(g->what, "rejoin") == 0;
    bool standby = strcmp(g->what, "standby") == 0;
    char value[32];

    if ((voter && in && m.role == CS_ROLE_VOTER && m.committed) ||
        (standby && in && m.role == CS_ROLE_STANDBY && m.committed) ||
        (!in && strcmp(g->what, "absent") == 0)) {
        reached(n, g);
    } else if (!in && strcmp(g->what, "replace") == 0) {
        snprintf(value, sizeof value, "rejoin %" PRIu64, g->id);
        rp_batch_fact(nd_replica_batch(n->replica), "members.goal", value);
    } else if (!in) {
        take_in(n, g, strcmp(g->what, "rejoin") == 0);
    } else if (voter && m.role != CS_ROLE_VOTER) {
        lift(n, g, &m);
    } else if (!voter && m.committed) {
        change(n, g->id, standby ? CS_ROLE_STANDBY : CS_ROLE_ABSENT);
    }
}

void nd_goal_tend(struct nd_node *n)
{
    struct nd_goal g = nd_goal_of(n);

    if (nd_replica_leading(n->replica) == 0 || n->stopping) {
        return;
    }
    if (g.id != 0) {
        step(n, &g);
    } else {
        n->members.waits[0] = '\0';
    }
}

/* --- what is not even begun --- */

/* Those that would still vote, and of them those that are heard of. */
static void count_after(const struct nd_node *n, uint64_t id, unsigned *ret_voters,
                        unsigned *ret_alive, unsigned *ret_able)
{
    uint64_t ids[CS_MEMBERS_MAX];
    unsigned all = nd_members_voters(n, ids);

    *ret_voters = *ret_alive = *ret_able = 0;
    for (unsigned i = 0; i < all; i++) {
        const struct nd_config_node *c = nd_config_node(&n->config, ids[i]);
        bool self = ids[i] == n->config.id;
        bool linked = self || ad_peers_linked(nd_replica_peers(n->replica), ids[i]);

        if (ids[i] != id) {
            (*ret_voters)++;
            *ret_alive += linked;
            *ret_able += linked && c != NULL && !c->witness;
        }
    }
}

bool nd_goal_allowed(struct nd_node *n, const char *what, uint64_t id,
                     struct sy_errbuf *eb)
{
    unsigned voters, alive, able;
    const char *name = name_of(n, id);

    count_after(n, id, &voters, &alive, &able);
    if (strcmp(what, "voter") == 0) {
        return true; /* It is asked when it is level. */
    }
    if (voters == 0) {
        (void)sy_fail(eb, SY_ENOQUORUM,
                      "%s is the only voter: without it nothing could be decided; add "
                      "another node first",
                      name);
    } else if (alive <= voters / 2) {
        (void)sy_fail(eb, SY_ENOQUORUM,
                      "without %s only %u of %u voters could be reached and %u are "
                      "needed: nothing could be decided; start the others first",
                      name, alive, voters, voters / 2 + 1);
    } else if (able == 0) {
        (void)sy_fail(eb, SY_ENOQUORUM,
                      "without %s only witnesses would be left: nobody could have the "
                      "watch; add another node first",
                      name);
    } else {
        return true;
    }
    return false;
}

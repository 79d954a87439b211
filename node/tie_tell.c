/* What the two nodes tell each other of the tie-breaker, and what they tell people. */

#include <inttypes.h>
#include <stdio.h>

#include "base/mp.h"
#include "node/node.h"

void nd_tie_tell(struct nd_node *n)
{
    const struct nd_tie *t = &n->tie;
    bool alone = t->l.voters == CS_TIE_NODE(n->config.id) &&
                 t->l.in_force == t->l.voters && t->l.leading && t->m.confirmed != 0 &&
                 t->l.epoch >= t->m.confirmed;
    struct sy_buf b = {0};

    if (!nd_tie_decides(n) || t->again) {
        return;
    }
    sy_mp_map(&b, 5);
    sy_mp_kuint(&b, "epoch", t->l.epoch);
    sy_mp_kuint(&b, "out", alone ? t->l.epoch : 0);
    sy_mp_kbool(&b, "empty", cs_core_last(nd_replica_core(n->replica)) == 0);
    sy_mp_kuint(&b, "row", t->m.row.epoch);
    sy_mp_str(&b, "members");
    sy_mp_array(&b, CS_ID_MAX);
    for (uint64_t id = 1; id <= CS_ID_MAX; id++) {
        struct cs_member m;

        sy_mp_bool(&b, cs_core_member(nd_replica_core(n->replica), id, &m));
    }
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        if (n->config.nodes[i].id != n->config.id) {
            (void)nd_replica_send(n->replica, n->config.nodes[i].id, ND_FRAME_TIE, b.p,
                                  b.len);
        }
    }
    sy_buf_free(&b);
}

void nd_tie_heard(struct nd_node *n, uint64_t from, const uint8_t *p, size_t len)
{
    struct nd_tie_peer *peer = &n->tie.peers[from];
    struct sy_cur map = {.p = p, .n = len};
    struct sy_cur c = map;
    bool member = true;

    *peer = (struct nd_tie_peer){.told = true};
    peer->epoch = nd_map_uint(map, "epoch", 0);
    if (nd_map_uint(map, "row", 0) > n->tie.m.row.epoch) {
        n->tie.look_ms = 0; /* It has changed. */
    }
    peer->empty = nd_map_find(&c, "empty") && sy_mp_get_bool(&c);
    c = map;
    if (nd_map_find(&c, "members") && sy_mp_get_array(&c) == CS_ID_MAX) {
        for (uint64_t id = 1; id <= n->config.id; id++) {
            member = sy_mp_get_bool(&c);
        }
        member = member || c.bad;
    }
    peer->out = member ? 0 : nd_map_uint(map, "out", 0);
    nd_tie_tend(n);
}

/* --- sentences --- */

bool nd_tie_decides(const struct nd_node *n)
{
    uint32_t voters = n->tie.l.voters;

    return n->tie.on && cs_tie_count(voters) <= 2 &&
           (voters != 0 ||
            (n->config.nodes_n == 2 && cs_core_last(nd_replica_core(n->replica)) == 0));
}

static const char *name_of(const struct nd_node *n, uint64_t id)
{
    const struct nd_config_node *c = nd_config_node(&n->config, id);

    return c != NULL ? c->name : "?";
}

static const char *self_name(const struct nd_node *n)
{
    return nd_config_self(&n->config)->name;
}

static const char *pg_error(const struct nd_node *n)
{
    const char *why =
        n->tie.pg != NULL ? ad_pg_tie_error(n->tie.pg) : "not connected yet";

    return why[0] != '\0' ? why : "no error";
}

static bool answers(const struct nd_node *n)
{
    return n->tie.pg != NULL && ad_pg_tie_up(n->tie.pg) &&
           ad_pg_tie_error(n->tie.pg)[0] == '\0';
}

static void about_alone(struct nd_node *n, char *to, size_t size, bool *bad)
{
    const struct cs_tie *m = &n->tie.m;

    if (m->confirmed != 0 || n->tie.l.forced) {
        for (unsigned i = 0; i < n->config.nodes_n; i++) {
            uint64_t id = n->config.nodes[i].id;
            struct cs_member member;

            if (id != n->config.id &&
                cs_core_member(nd_replica_core(n->replica), id, &member)) {
                uint64_t last = cs_core_last(nd_replica_core(n->replica));

                snprintf(to, size,
                         "%s is on its own under epoch %" PRIu64
                         "; %s is catching up (%" PRIu64 " %%) and comes in by itself",
                         self_name(n), m->confirmed, name_of(n, id),
                         last > 0 ? member.match * 100 / last : 0);
                return;
            }
        }
        snprintf(to, size,
                 "%s is on its own under epoch %" PRIu64
                 ": nobody could relieve it; start the other node, it comes in by itself",
                 self_name(n), m->confirmed);
        return;
    }
    *bad = true;
    if (!answers(n)) {
        snprintf(
            to, size,
            "%s is on its own and does not act before Postgres has confirmed that it "
            "may; Postgres does not answer (%s): mend it",
            self_name(n), pg_error(n));
    } else if (m->row.sole != 0 && m->row.sole != n->config.id) {
        snprintf(to, size,
                 "%s is on its own, but the row in Postgres names %s (epoch %" PRIu64
                 "): start that one, or `vagtctl recover` if it is gone for good",
                 self_name(n), name_of(n, m->row.sole), m->row.epoch);
    } else {
        snprintf(to, size, "%s is on its own and asks Postgres whether it may act",
                 self_name(n));
    }
}

static void about_silence(struct nd_node *n, char *to, size_t size)
{
    const struct cs_tie *m = &n->tie.m;
    const char *peer = name_of(n, n->tie.peer);
    const char *unfit = nd_tie_unfit(n);

    if (!answers(n)) {
        snprintf(to, size,
                 "Postgres does not answer (%s), and %s is gone: nobody may go on alone "
                 "until one of them is back; `vagtctl recover` if %s is gone for good",
                 pg_error(n), peer, peer);
    } else if (m->seen && m->row.sole == n->tie.peer) {
        snprintf(to, size,
                 "%s goes on alone (epoch %" PRIu64
                 ") and is not reachable from %s: mend the network between them or start "
                 "it; %s then comes in by itself",
                 peer, m->row.epoch, self_name(n), self_name(n));
    } else if (m->seen && m->row.epoch == 0) {
        snprintf(
            to, size,
            "%s is gone, and the row of the tie-breaker was never written: start %s, "
            "or `vagtctl recover` if it is gone for good",
            peer, peer);
    } else if (m->seen && (m->row.members != n->tie.l.voters ||
                           (m->row.sole == 0 && m->row.epoch > n->tie.l.held))) {
        snprintf(to, size,
                 "%s is gone, and the row in Postgres is of a later time (epoch %" PRIu64
                 ") than what %s has (%" PRIu64
                 "): start %s, or `vagtctl recover` if it is gone for good",
                 peer, m->row.epoch, self_name(n), n->tie.l.held, peer);
    } else if (unfit != NULL) {
        snprintf(to, size, "%s is gone, and %s does not go on alone since %s: mend that",
                 peer, self_name(n), unfit);
    } else if (n->joining) {
        snprintf(
            to, size,
            "%s is gone, and %s has not got all that the cluster knows: start %s, or "
            "`vagtctl recover` if it is gone for good",
            peer, self_name(n), peer);
    } else if (nd_upkeep_held(n)) {
        snprintf(
            to, size,
            "%s is gone, and %s does not go on alone during maintenance: start %s, or "
            "`vagtctl maintenance off`",
            peer, self_name(n), peer);
    } else if (!n->tie.l.calm) {
        snprintf(to, size,
                 "%s is gone; %s does not go on alone while there is a handover", peer,
                 self_name(n));
    } else {
        snprintf(to, size, "%s is gone: %s asks Postgres whether it may go on alone",
                 peer, self_name(n));
    }
}

static bool about_pair(struct nd_node *n, char *to, size_t size, bool *bad)
{
    const struct cs_tie *m = &n->tie.m;
    const char *peer = name_of(n, n->tie.peer);

    if (n->tie.l.silent) {
        *bad = true;
        about_silence(n, to, size);
        return true;
    }
    if (!ad_peers_linked(nd_replica_peers(n->replica), n->tie.peer)) {
        *bad = true;
        snprintf(to, size,
                 "%s cannot be reached; %s waits until it cannot be acting any more",
                 peer, self_name(n));
    } else if (!answers(n)) {
        snprintf(
            to, size,
            "Postgres does not answer (%s): if %s dies now, nobody can decide that %s "
            "goes on",
            pg_error(n), peer, self_name(n));
    } else if (m->seen && (m->row.sole != 0 || m->row.members != n->tie.l.voters)) {
        snprintf(
            to, size,
            "the row of the tie-breaker is not open to both yet: for a moment only %s "
            "could go on alone",
            m->row.sole != 0 ? name_of(n, m->row.sole) : "nobody");
    } else {
        return false;
    }
    return true;
}

bool nd_tie_sentence(struct nd_node *n, char *to, size_t size, bool *ret_bad)
{
    const struct cs_tie_levels *l = &n->tie.l;

    *ret_bad = false;
    if (!nd_tie_decides(n)) {
        return false; /* The configuration's warnings say it. */
    }
    if (l->voters == 0) {
        snprintf(
            to, size,
            "%s has put its old log aside and waits to be taken in by the other node",
            self_name(n));
        return true;
    }
    if ((l->voters & CS_TIE_NODE(n->config.id)) == 0) {
        snprintf(to, size, "%s is catching up and becomes a voter by itself",
                 self_name(n));
        return true;
    }
    if (l->voters == CS_TIE_NODE(n->config.id)) {
        about_alone(n, to, size, ret_bad);
        return true;
    }
    return about_pair(n, to, size, ret_bad);
}

bool nd_tie_writable(struct nd_node *n, char *to, size_t size)
{
    const struct cs_tie *m = &n->tie.m;

    if (!answers(n)) {
        snprintf(to, size, "Postgres does not answer (%s)", pg_error(n));
        return false;
    }
    if (!m->seen || m->row.epoch == 0 || m->row.sole != 0 ||
        m->row.members != n->tie.l.voters) {
        snprintf(to, size, "the row is not open to both (epoch %" PRIu64 ")",
                 m->row.epoch);
        return false;
    }
    snprintf(to, size, "the row is open to both, epoch %" PRIu64, m->row.epoch);
    return true;
}

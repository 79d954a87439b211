/* How the watch came to this node, as a sentence with the values that decided. It goes
 * with what the node tells of itself, so every node can say it. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mp.h"
#include "node/node.h"

enum { HANDING_OVER_MS = 5000 };

static const char *name_of(struct nd_node *n, uint64_t id)
{
    const struct nd_config_node *c = nd_config_node(&n->config, id);

    return c != NULL ? c->name : "?";
}

/* Why a leader hands over is known to nobody else: it is told before the target hears
 * that it shall campaign, on the same connection. */
int nd_hand_over(struct nd_node *n, uint64_t to, unsigned timeout_ms, const char *why)
{
    snprintf(n->relief.handing_over, sizeof n->relief.handing_over, "%s", why);
    n->relief.handing_over_ms = nd_now_ms();
    nd_status_gossip(n);
    return nd_site_transfer(n, to, timeout_ms);
}

const char *nd_relief_handing_over(const struct nd_node *n)
{
    return nd_now_ms() < n->relief.handing_over_ms + HANDING_OVER_MS
               ? n->relief.handing_over
               : "";
}

void nd_relief_link(struct nd_node *n, uint64_t peer, bool up, bool broken)
{
    n->relief.lost_ms[peer] = up ? 0 : nd_now_ms();
    n->relief.broken[peer] = !up && broken;
}

/* What happened to who led before. */
static void cause(struct nd_node *n, uint64_t before, char *to, size_t size)
{
    const char *name = name_of(n, before);
    bool linked = ad_peers_linked(nd_replica_peers(n->replica), before);
    uint64_t now = nd_now_ms(), age = 0;
    struct sy_cur map;
    char why[80] = "";

    if (nd_status_node_map(n, before, &map, &age)) {
        nd_map_str(map, "handing_over", why, sizeof why);
    }
    if (linked && why[0] != '\0') {
        snprintf(to, size, "%s handed over: %s", name, why);
    } else if (!linked && n->relief.broken[before]) {
        snprintf(to, size,
                 "the connection to %s broke %" PRIu64
                 " ms before (its process ended, or its machine)",
                 name, now - n->relief.lost_ms[before]);
    } else {
        snprintf(to, size,
                 "%s was silent for an election timeout (%u to %u ms); its last word of "
                 "itself came %" PRIu64 " ms before",
                 name, n->config.raft.election_ms, 2 * n->config.raft.election_ms, age);
    }
}

bool nd_relief_cause(struct nd_node *n, char *to, size_t size)
{
    if (n->relief.before == 0 || n->relief.before == n->config.id) {
        return false;
    }
    cause(n, n->relief.before, to, size);
    return true;
}

void nd_relief_changed(struct nd_node *n)
{
    uint64_t leader = cs_core_leader(nd_replica_core(n->replica));
    uint64_t leading = nd_replica_leading(n->replica);
    char why[240];

    if (leading == 0) {
        n->relief.before = leader != 0 ? leader : n->relief.before;
        n->relief.term = 0;
        return;
    }
    if (leading == n->relief.term) {
        return;
    }
    n->relief.term = leading;
    if (n->tie.m.confirmed != 0) {
        snprintf(why, sizeof why,
                 "it goes on alone under epoch %" PRIu64
                 " of the tie-breaker: the other node was gone for longer than it could "
                 "have been acting, and the row in Postgres names this one",
                 n->tie.m.confirmed);
    } else if (!nd_relief_cause(n, why, sizeof why)) {
        snprintf(why, sizeof why, "%s",
                 n->relief.before == 0 ? "nobody had led since it started"
                                       : "it had led before, and nobody since");
    }
    snprintf(n->relief.text, sizeof n->relief.text,
             "%s was elected for term %" PRIu64 " with the log up to %" PRIu64 ": %s",
             name_of(n, n->config.id), leading, cs_core_last(nd_replica_core(n->replica)),
             why);
    SY_LOG(&n->log, SY_NOTE, "watch.why", KU64("term", leading), KSTR("why", why));
    n->relief.before = n->config.id;
}

void nd_relief_active(struct nd_node *n)
{
    size_t len = strlen(n->relief.text);

    snprintf(n->relief.text + len, sizeof n->relief.text - len,
             ". It acted %" PRIu64 " ms after its election", nd_now_ms() - n->elected_ms);
}

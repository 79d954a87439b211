/* Who should lead. Leading is Raft's business; but a leader that cannot or should not
 * take the watch hands over while somebody else can: a witness, a node whose disk is
 * nearly full, one whose state differs. */

#include "base/mp.h"
#include "node/node.h"

enum {
    TRANSFER_MS = 3000,
    DISK_AGAIN_MS = 30000,
    DIVERGED_AGAIN_MS = 5000,
    WITNESS_AGAIN_MS = 500
};

static bool flag(struct sy_cur map, const char *key)
{
    return nd_map_find(&map, key) && sy_mp_get_bool(&map);
}

static bool is_witness(const struct nd_node *n, uint64_t id)
{
    const struct nd_config_node *c = nd_config_node(&n->config, id);

    return c != NULL && c->witness;
}

/* Has it said lately that it is well? */
bool nd_node_sound(struct nd_node *n, uint64_t id, bool roomy)
{
    struct sy_cur map;
    uint64_t age;

    return !is_witness(n, id) && ad_peers_linked(nd_replica_peers(n->replica), id) &&
           nd_status_node_map(n, id, &map, &age) && age < 4 * ND_GOSSIP_MS &&
           !flag(map, "diverged") && !(roomy && flag(map, "disk_low"));
}

/* Who should have the watch rather than us? 0: nobody. */
static uint64_t sound_peer(struct nd_node *n, bool roomy)
{
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        uint64_t id = n->config.nodes[i].id;

        if (id != n->config.id && nd_node_sound(n, id, roomy)) {
            return id;
        }
    }
    return 0;
}

/* To whom, when nobody was named: whoever is level first (0), unless one of them
 * would lead without taking the watch. */
uint64_t nd_node_heir(struct nd_node *n)
{
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        uint64_t id = n->config.nodes[i].id;
        struct sy_cur map;
        uint64_t age;

        if (id != n->config.id && ad_peers_linked(nd_replica_peers(n->replica), id) &&
            (is_witness(n, id) ||
             (nd_status_node_map(n, id, &map, &age) && flag(map, "diverged")))) {
            return sound_peer(n, false);
        }
    }
    return 0;
}

void nd_office_tend(struct nd_node *n)
{
    bool witness = is_witness(n, n->config.id);
    bool diverged = nd_node_diverged(n);
    bool low = ad_wal_space_low(nd_replica_wal(n->replica)) &&
               cs_watch_state(&n->watch) == CS_ACTIVE;
    uint64_t now = nd_now_ms();
    uint64_t to;

    if ((!low && !diverged && !witness) || nd_replica_leading(n->replica) == 0 ||
        now < n->yield_again_ms) {
        return;
    }
    n->yield_again_ms = now + (witness    ? WITNESS_AGAIN_MS
                               : diverged ? DIVERGED_AGAIN_MS
                                          : DISK_AGAIN_MS);
    to = sound_peer(n, low);
    if (low) {
        SY_LOG(&n->log, SY_ERR, "disk.low", KSTR("dir", n->config.data_dir),
               KU64("handing_over_to", to));
    }
    if (to != 0) {
        (void)!nd_replica_transfer(n->replica, to, TRANSFER_MS); /* Tried again later. */
    }
}

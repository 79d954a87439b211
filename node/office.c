/* Who should lead. Leading is Raft's business; but a leader that cannot or should not
 * take the watch hands over while somebody else can: a witness, a node whose disk is
 * nearly full, one whose state differs. And one that counts on what a peer has lost: a
 * leader never sends again what was acknowledged to it, and takes the rejections of a
 * node that was seeded anew for old ones (libraft: rejected <= match). The next leader
 * begins without such a belief. */

#include <inttypes.h>
#include <stdio.h>

#include "base/mp.h"
#include "node/node.h"

enum {
    TRANSFER_MS = 3000,
    DISK_AGAIN_MS = 30000,
    DIVERGED_AGAIN_MS = 5000,
    WITNESS_AGAIN_MS = 500,
    FORGOT_AGAIN_MS = 5000
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

static bool votes(const struct nd_node *n, uint64_t id)
{
    uint64_t ids[CS_MEMBERS_MAX];
    unsigned count = nd_members_voters(n, ids);

    while (count > 0 && ids[count - 1] != id) {
        count--;
    }
    return count > 0;
}

/* Has it said lately that it is well? */
bool nd_node_sound(struct nd_node *n, uint64_t id, bool roomy)
{
    struct sy_cur map;
    uint64_t age;

    return !is_witness(n, id) && votes(n, id) &&
           ad_peers_linked(nd_replica_peers(n->replica), id) &&
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

/* Who has lost what it had acknowledged; 0: nobody. A spare is added once more instead
 * (takein.c, members_goal.c). */
static uint64_t forgetful(const struct nd_node *n)
{
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        uint64_t id = n->config.nodes[i].id;
        struct cs_member m;

        if (id != n->config.id && n->views[id].forgot &&
            !(cs_core_member(nd_replica_core(n->replica), id, &m) &&
              m.role == CS_ROLE_SPARE) &&
            ad_peers_linked(nd_replica_peers(n->replica), id)) {
            return id;
        }
    }
    return 0;
}

/* Hand over, so that @id is sent what it lacks. */
static void tend_forgetful(struct nd_node *n, uint64_t id)
{
    struct nd_peer_view *v = &n->views[id];
    uint64_t ids[CS_MEMBERS_MAX];
    uint64_t to = 0;
    char value[32];

    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        uint64_t other = n->config.nodes[i].id;

        if (to == 0 && other != id && other != n->config.id &&
            nd_node_sound(n, other, false)) {
            to = other;
        }
    }
    v->forgot = false; /* Until it says so again. */
    SY_LOG(&n->log, SY_WARN, "peer.forgot", KU64("peer", id), KU64("had", v->had),
           KU64("has", v->has), KU64("handing_over_to", to));
    if (to == 0 && nd_members_voters(n, ids) > 2 && nd_goal_of(n).id == 0) {
        /* The third is a witness. Then it is replaced by itself: removed, which the
         * two can decide, and taken in again. */
        snprintf(value, sizeof value, "replace %" PRIu64, id);
        rp_batch_fact(nd_replica_batch(n->replica), "members.goal", value);
    }
    if (to != 0) {
        (void)!nd_hand_over(n, to, TRANSFER_MS,
                            "another node had lost its log and must get it anew");
    }
}

void nd_office_tend(struct nd_node *n)
{
    uint64_t lost = forgetful(n);

    bool witness = is_witness(n, n->config.id);
    bool diverged = nd_node_diverged(n);
    bool low = ad_wal_space_low(nd_replica_wal(n->replica)) &&
               cs_watch_state(&n->watch) == CS_ACTIVE && nd_node_maintenance(n) == 0;
    uint64_t now = nd_now_ms();
    uint64_t to;

    if (lost != 0 && nd_replica_leading(n->replica) != 0 && now >= n->forgot_again_ms) {
        n->forgot_again_ms = now + FORGOT_AGAIN_MS;
        tend_forgetful(n, lost);
    }
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
        (void)!nd_hand_over(n, to, TRANSFER_MS, /* Tried again later. */
                            witness    ? "it is a witness"
                            : diverged ? "its state differs from the cluster's"
                                       : "its disk is nearly full");
    }
}

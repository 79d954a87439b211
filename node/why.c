/* Why is this node on watch, or not; why could nobody relieve it. Sentences with the
 * values that decided (promise P7). */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mp.h"
#include "node/node.h"

enum { SENTENCES_MAX = 16 };

struct sentences
{
    char text[SENTENCES_MAX][480];
    unsigned n;
};

static void SY_PRINTF(2, 3) say(struct sentences *s, const char *fmt, ...)
{
    va_list ap;

    if (s->n == SENTENCES_MAX) {
        return;
    }
    va_start(ap, fmt);
    vsnprintf(s->text[s->n], sizeof s->text[0], fmt, ap);
    va_end(ap);
    s->n++;
}

/* Clocks of two machines, or a deadline that has just passed: never below 0. */
static uint64_t sub(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static const char *name_of(struct nd_node *n, uint64_t id)
{
    const struct nd_config_node *c = nd_config_node(&n->config, id);

    return c != NULL ? c->name : "?";
}

static void why_leading(struct nd_node *n, struct sentences *s)
{
    uint64_t term = nd_replica_leading(n->replica);
    uint64_t now = nd_now_ms();
    uint64_t lease = cs_core_lease_until(nd_replica_core(n->replica));

    switch (cs_watch_state(&n->watch)) {
    case CS_ACTIVE:
        say(s,
            "%s is on watch: it leads term %" PRIu64 " since %" PRIu64
            " ms, and its "
            "ports run.",
            name_of(n, n->config.id), term, now - n->relieved_ms);
        if (now >= lease) {
            say(s, "It does not act just now: no majority was heard within %u ms.",
                n->config.raft.election_ms);
        } else {
            say(s, "A majority was heard; that holds for %" PRIu64 " ms more.",
                lease - now);
        }
        if (n->site.waits[0] != '\0') {
            say(s, "The site's resources wait: %s.", n->site.waits);
        }
        break;
    case CS_RAMPING:
        say(s, "%s leads term %" PRIu64 " and is starting its ports.",
            name_of(n, n->config.id), term);
        break;
    case CS_DRAINING:
        say(s,
            "%s leads term %" PRIu64
            " but its ports of an earlier term are still "
            "stopping; if they do not within %" PRIu64 " ms the process ends.",
            name_of(n, n->config.id), term, sub(cs_watch_drain_deadline(&n->watch), now));
        break;
    case CS_STANDBY:
    case CS_WATCH_NR:
    default:
        if (nd_config_self(&n->config)->witness) {
            say(s,
                "%s leads term %" PRIu64
                ", but it is a witness and never takes the watch: it hands over as soon "
                "as another node is level.",
                name_of(n, n->config.id), term);
        } else if (nd_node_diverged(n)) {
            say(s,
                "%s leads term %" PRIu64
                " but does not take the watch: its state "
                "differs from the cluster's. Re-seed it.",
                name_of(n, n->config.id), term);
        } else {
            say(s,
                "%s leads term %" PRIu64
                " and waits for the first entry of that term "
                "to be committed.",
                name_of(n, n->config.id), term);
        }
    }
}

static void why_following(struct nd_node *n, struct sentences *s)
{
    static const char *const able[] = {
        [ND_READY_NO] = "but it could not relieve just now",
        [ND_READY_YES] = "it could relieve at once",
        [ND_READY_UNKNOWN] = "whether it could relieve is not known yet"};
    const struct cs_core *core = nd_replica_core(n->replica);
    uint64_t leader = cs_core_leader(core);
    char text[256] = "", why[240];

    if (leader != 0) {
        say(s, "%s stands by: it follows %s, which leads term %" PRIu64 ".",
            name_of(n, n->config.id), name_of(n, leader), cs_core_term(core));
        say(s, "It holds the log up to %" PRIu64 " and has applied %" PRIu64 "; %s.",
            cs_core_last(core), cs_core_applied(core),
            cs_core_committed(core) > cs_core_applied(core) ? "it is catching up"
            : nd_config_self(&n->config)->witness
                ? "it is a witness: it votes and never "
                  "takes the watch"
                : able[nd_ready_node(n, n->config.id, text, sizeof text)]);
        if (text[0] != '\0') {
            say(s, "Of what it would need on watch: %s.", text);
        }
    } else if (cs_core_role(core) == CS_CANDIDATE) {
        say(s, "%s campaigns in term %" PRIu64 " and has no majority yet.",
            name_of(n, n->config.id), cs_core_term(core));
    } else {
        say(s,
            "%s knows of no leader in term %" PRIu64
            "; it campaigns when its election "
            "timeout (%u to %u ms) has passed.",
            name_of(n, n->config.id), cs_core_term(core), n->config.raft.election_ms,
            2 * n->config.raft.election_ms);
    }
    if (leader == 0 && nd_relief_cause(n, why, sizeof why)) {
        say(s, "Why there is none: %s.", why);
    }
    if (cs_watch_state(&n->watch) == CS_DRAINING) {
        say(s, "Its ports of an earlier watch are still stopping.");
    }
    if (nd_node_diverged(n)) {
        say(s,
            "It will not take the watch: its state differs from the cluster's. Stop it, "
            "move its data directory aside and re-seed it.");
    }
}

/* "nas (last heard of 34 s ago)" */
static size_t put_missing(struct nd_node *n, uint64_t id, char *to, size_t size)
{
    uint64_t at = n->views[id].at_ms;
    int len;

    if (at == 0) {
        len = snprintf(to, size, "%s (never heard of)", name_of(n, id));
    } else {
        len = snprintf(to, size, "%s (last heard of %" PRIu64 " s ago)", name_of(n, id),
                       sub(nd_now_ms(), at) / 1000);
    }
    return (size_t)len;
}

static void why_quorum(struct nd_node *n, struct sentences *s)
{
    uint64_t ids[CS_MEMBERS_MAX];
    unsigned total = nd_members_voters(n, ids);
    unsigned quorum = total / 2 + 1;
    unsigned alive = 0;
    char missing[240] = "";
    size_t len = 0;

    for (unsigned i = 0; i < total; i++) {
        if (ids[i] == n->config.id ||
            ad_peers_linked(nd_replica_peers(n->replica), ids[i])) {
            alive++;
        } else if (len < sizeof missing - 1) {
            len += (size_t)snprintf(missing + len, sizeof missing - len, "%s",
                                    len > 0 ? ", " : "");
            if (len < sizeof missing) {
                len += put_missing(n, ids[i], missing + len, sizeof missing - len);
            }
        }
    }
    if (alive < quorum) {
        say(s,
            "No relief is possible: %u of %u nodes are needed and only %u can be reached "
            "from here (missing: %s). Start one of them.",
            quorum, total, alive, missing);
    } else if (alive > quorum) {
        say(s, "Relief is possible: %u of %u nodes are connected and %u are enough%s%s.",
            alive, total, quorum, missing[0] != '\0' ? "; missing: " : "", missing);
    } else if (missing[0] != '\0') {
        say(s,
            "If one more node dies nobody can be on watch: %u of %u nodes are needed, "
            "and "
            "%s cannot be reached. Start it.",
            quorum, total, missing);
    } else {
        say(s,
            "If a node dies nobody can be on watch: the cluster has %u and needs %u. "
            "Three nodes would survive that.",
            total, quorum);
    }
}

/* Who could take the watch, and who could not. */
static void why_ready(struct nd_node *n, struct sentences *s)
{
    struct nd_verdict v;

    nd_ready_judge(n, &v);
    if (v.pointless || !nd_watch_is_kept(n)) {
        return;
    }
    say(s, "%s%s.%s",
        v.state == ND_READY_YES ? "Ready: " : "Not ready for a relief: ", v.text,
        v.state == ND_READY_YES ? "" : " `vagtctl ready` shows each condition.");
}

/* How the watch came to where it is. */
static void why_relief(struct nd_node *n, struct sentences *s)
{
    uint16_t node = rp_store_watch_node(n->store);
    struct sy_cur map;
    uint64_t age;
    char text[400];

    if (node == 0) {
        say(s, "Nobody has had the watch yet.");
        return;
    }
    say(s, "The last watch was taken by %s in term %" PRIu64 ", %" PRIu64 " s ago.",
        name_of(n, node), rp_store_watch_term(n->store),
        sub(nd_wall_ms(), rp_store_watch_since(n->store)) / 1000);
    if (nd_status_node_map(n, node, &map, &age)) {
        nd_map_str(map, "relief", text, sizeof text);
        if (text[0] != '\0') {
            say(s, "How: %s.", text);
        }
    }
}

static void why_tie(struct nd_node *n, struct sentences *s)
{
    const struct cs_tie *m = &n->tie.m;
    char text[320];
    bool bad;

    if (nd_tie_sentence(n, text, sizeof text, &bad)) {
        say(s, "%s.", text);
    } else {
        say(s,
            "Relief is possible: if one of the two dies, the row in Postgres lets the "
            "other one go on.");
    }
    if (m->seen && m->row.epoch != 0) {
        say(s,
            "The row of the tie-breaker, as read %" PRIu64 " s ago: epoch %" PRIu64
            ", %s. This node holds epoch %" PRIu64 ".",
            (nd_now_ms() - n->tie.row_ms) / 1000, m->row.epoch,
            m->row.sole != 0 ? name_of(n, m->row.sole) : "open to both", n->tie.l.held);
    }
}

static void why_other(struct nd_node *n, uint64_t id, struct sentences *s)
{
    struct sy_cur map;
    uint64_t age;
    char raft[16];
    char watch[16];

    if (!ad_peers_linked(nd_replica_peers(n->replica), id) ||
        !nd_status_node_map(n, id, &map, &age)) {
        say(s,
            "%s cannot be reached from %s, so it cannot say why. Ask it directly on its "
            "machine.",
            name_of(n, id), name_of(n, n->config.id));
        return;
    }
    nd_map_str(map, "raft", raft, sizeof raft);
    nd_map_str(map, "watch", watch, sizeof watch);
    say(s,
        "%s said %" PRIu64 " ms ago: it is %s in term %" PRIu64
        ", its watch is %s, it has "
        "applied %" PRIu64 ".",
        name_of(n, id), age, raft, nd_map_uint(map, "term", 0), watch,
        nd_map_uint(map, "applied", 0));
    if (nd_config_node(&n->config, id)->witness) {
        say(s, "It is a witness: it votes, and never takes the watch.");
    } else if (id != rp_store_watch_node(n->store)) {
        char text[256];
        enum nd_ready_state state = nd_ready_node(n, id, text, sizeof text);

        say(s, "%s: %s.",
            state == ND_READY_YES  ? "It could take the watch right now"
            : state == ND_READY_NO ? "It could not take the watch right now"
                                   : "Whether it could take the watch is not known",
            text);
    }
}

static void why_upkeep(struct nd_node *n, struct sentences *s)
{
    char until[32];

    if (nd_node_maintenance(n) > 0) {
        nd_upkeep_until(n, until, sizeof until);
        say(s,
            "There is maintenance until %s: no node campaigns but %s, which had the "
            "watch last; `vagtctl maintenance off` ends it.",
            until, name_of(n, rp_store_watch_node(n->store)));
    }
    if (n->members.gone_by != 0) {
        say(s,
            "%s is no member of the cluster any more, says %s, which leads it: it gets "
            "nothing and does not count.",
            name_of(n, n->config.id), name_of(n, n->members.gone_by));
    }
}

void nd_why_put(struct nd_node *n, uint64_t node, struct sy_buf *b)
{
    struct sentences s = {.n = 0};

    if (node != 0 && node != n->config.id) {
        why_other(n, node, &s);
    } else if (nd_replica_leading(n->replica) != 0) {
        why_leading(n, &s);
    } else {
        why_following(n, &s);
    }
    why_upkeep(n, &s);
    if (nd_tie_decides(n)) {
        why_tie(n, &s);
    } else {
        why_quorum(n, &s);
    }
    why_ready(n, &s);
    why_relief(n, &s);
    sy_mp_array(b, s.n);
    for (unsigned i = 0; i < s.n; i++) {
        sy_mp_str(b, s.text[i]);
    }
}

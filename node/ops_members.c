/* Operations on the members: shown by any node, changed through the leader. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/mp.h"
#include "node/config_schema.h"
#include "node/node.h"

/* --- showing --- */

static const char *role_name(enum cs_member_role role)
{
    return role == CS_ROLE_VOTER     ? "voter"
           : role == CS_ROLE_STANDBY ? "standby"
           : role == CS_ROLE_SPARE   ? "spare"
                                     : "absent";
}

static void put_member(struct nd_node *n, struct sy_buf *b,
                       const struct nd_config_node *c, bool removed)
{
    const struct cs_core *core = nd_replica_core(n->replica);
    bool self = c->id == n->config.id;
    bool linked = self || ad_peers_linked(nd_replica_peers(n->replica), c->id);
    struct cs_member m;
    struct sy_cur map;
    uint64_t age, has = 0;
    char peer[80];

    (void)cs_core_member(core, c->id, &m);
    if (self) {
        has = cs_core_last(core);
    } else if (linked && nd_status_node_map(n, c->id, &map, &age)) {
        has = nd_map_uint(map, "last", 0);
    }
    snprintf(peer, sizeof peer, strchr(c->peer_host, ':') != NULL ? "[%s]:%u" : "%s:%u",
             c->peer_host, c->peer_port);
    sy_mp_map(b, 10);
    sy_mp_kuint(b, "id", c->id);
    sy_mp_kstr(b, "name", c->name);
    sy_mp_kstr(b, "role", c->role);
    sy_mp_kstr(b, "member", removed ? "removed" : role_name(m.role));
    sy_mp_kbool(b, "committed", m.committed);
    sy_mp_kstr(b, "peer", peer);
    sy_mp_kstr(b, "control", c->control);
    sy_mp_kbool(b, "linked", linked);
    sy_mp_kuint(b, "has", m.match > has ? m.match : has);
    sy_mp_kbool(b, "leader", cs_core_leader(core) == c->id);
}

static void put_goal(struct nd_node *n, struct sy_buf *b)
{
    struct nd_goal g = nd_goal_of(n);

    if (g.id == 0) {
        sy_mp_nil(b);
        return;
    }
    sy_mp_map(b, 3);
    sy_mp_kstr(b, "what", g.what);
    sy_mp_kuint(b, "node", g.id);
    sy_mp_kstr(b, "waits", nd_replica_leading(n->replica) != 0 ? n->members.waits : "");
}

void nd_op_members(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    struct sy_buf b = {0};

    nd_reply_begin(&q->asker, &b);
    sy_mp_map(&b, 3);
    sy_mp_str(&b, "members");
    sy_mp_array(&b, n->config.nodes_n + n->members.removed_n);
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        put_member(n, &b, &n->config.nodes[i], false);
    }
    for (unsigned i = 0; i < n->members.removed_n; i++) {
        put_member(n, &b, &n->members.removed[i], true);
    }
    sy_mp_str(&b, "change");
    put_goal(n, &b);
    sy_mp_kuint(&b, "last", cs_core_last(nd_replica_core(n->replica)));
    nd_reply_send(&q->asker, &b);
}

/* --- changing --- */

struct pending
{
    struct nd_wait wait;
    struct nd_asker asker;
    struct nd_goal goal;
};

static void committed(void *data, int status)
{
    struct pending *p = data;
    struct sy_buf b = {0};

    if (nd_reply_applied(&p->asker, status, "`vagtctl members`")) {
        nd_reply_begin(&p->asker, &b);
        sy_mp_map(&b, 2);
        sy_mp_kstr(&b, "what", p->goal.what);
        sy_mp_kuint(&b, "node", p->goal.id);
        nd_reply_send(&p->asker, &b);
    }
    sy_free(p);
}

static void put_fact(struct nd_node *n, uint64_t id, const char *value)
{
    char key[32];

    snprintf(key, sizeof key, "members.%" PRIu64, id);
    rp_batch_fact(nd_replica_batch(n->replica), key, value);
}

static void begin_change(struct nd_request *q, const char *what, uint64_t id)
{
    struct nd_node *n = q->asker.node;
    struct pending *p = sy_calloc(1, sizeof *p);
    char value[32];

    snprintf(value, sizeof value, "%s %" PRIu64, what, id);
    p->asker = q->asker;
    p->goal.id = id;
    snprintf(p->goal.what, sizeof p->goal.what, "%s", what);
    SY_LOG(&n->log, SY_NOTE, "members.wanted", KU64("peer", id), KSTR("to", what));
    rp_batch_fact(nd_replica_batch(n->replica), "members.goal", id != 0 ? value : "");
    nd_replica_wait(n->replica, &p->wait, committed, p);
}

/* A node of the cluster by id or name, or one that was removed; NULL. */
static const struct nd_config_node *named(const struct nd_node *n, const char *name)
{
    const struct nd_members *m = &n->members;

    for (unsigned i = 0; i < n->config.nodes_n + m->removed_n; i++) {
        const struct nd_config_node *c = i < n->config.nodes_n
                                             ? &n->config.nodes[i]
                                             : &m->removed[i - n->config.nodes_n];
        char id[8];

        snprintf(id, sizeof id, "%u", (unsigned)c->id);
        if (strcmp(c->name, name) == 0 || strcmp(id, name) == 0) {
            return c;
        }
    }
    return NULL;
}

static bool good_name(const char *name)
{
    size_t n = strlen(name);

    return n > 0 && n < 64 && strspn(name, "0123456789") != n &&
           strspn(name,
                  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                  "0123456789-_.") == n;
}

/* What is asked to be added, checked; false: answered. */
static bool read_node(struct nd_request *q, struct nd_config_node *c)
{
    struct nd_node *n = q->asker.node;
    char peer[RP_NAME_SIZE], role[RP_NAME_SIZE], why[ND_WHY_SIZE] = "";
    char host[ND_HOST_SIZE];

    *c = (struct nd_config_node){.id = nd_map_uint(q->args, "node", 0)};
    nd_map_str(q->args, "name", c->name, sizeof c->name);
    nd_map_str(q->args, "peer", peer, sizeof peer);
    nd_map_str(q->args, "control", c->control, sizeof c->control);
    nd_map_str(q->args, "role", role, sizeof role);
    c->witness = strcmp(role, "witness") == 0;
    snprintf(c->role, sizeof c->role, "%s", c->witness ? "witness" : "voter");
    if (c->id == 0 || c->id > CS_ID_MAX) {
        snprintf(why, sizeof why, "the id of a node is a number from 1 to %d", CS_ID_MAX);
    } else if (!good_name(c->name)) {
        snprintf(why, sizeof why,
                 "the name of a node has up to 63 letters, digits, '-', '_' and '.', and "
                 "is not only digits");
    } else if (!nd_address_parse(peer, host, &c->peer_port, why)) {
        ;
    } else if (!nd_address_is_loopback(host) && !n->config.peers_plaintext &&
               !n->config.tls.given) {
        snprintf(why, sizeof why,
                 "%s is not loopback, and nothing between nodes is encrypted: see "
                 "tls, and peers.plaintext, in vagt.yaml(5)",
                 host);
    } else {
        snprintf(c->peer_host, sizeof c->peer_host, "%s", host);
        return true;
    }
    nd_reply_error(&q->asker, "invalid", "%s", why);
    return false;
}

static void add(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    struct nd_config_node c, old;
    struct cs_member m;
    char value[RP_FACT_VALUE_SIZE];
    bool removed;

    if (!read_node(q, &c)) {
        return;
    }
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        const struct nd_config_node *o = &n->config.nodes[i];

        if (o->id != c.id &&
            (strcmp(o->name, c.name) == 0 ||
             (o->peer_port == c.peer_port && strcmp(o->peer_host, c.peer_host) == 0))) {
            nd_reply_error(&q->asker, "invalid",
                           "node %u, %s at %s:%u, has this name or address already",
                           (unsigned)o->id, o->name, o->peer_host, o->peer_port);
            return;
        }
    }
    if (cs_core_member(nd_replica_core(n->replica), c.id, &m)) {
        nd_reply_error(&q->asker, "exists",
                       "node %u is a member already: see `vagtctl members`; to give it "
                       "an empty disk: `vagtctl members replace`",
                       (unsigned)c.id);
        return;
    }
    if (nd_config_node(&n->config, c.id) == NULL && n->config.nodes_n == ND_NODES_MAX) {
        nd_reply_error(&q->asker, "limit", "a cluster has at most %d nodes",
                       ND_NODES_MAX);
        return;
    }
    nd_members_write(&c, c.role, value);
    if (!nd_members_parse(value, c.id, &old, &removed) ||
        strcmp(old.control, c.control) != 0) {
        nd_reply_error(&q->asker, "invalid",
                       "name, address and control endpoint are too long together, or "
                       "have blanks in them");
        return;
    }
    put_fact(n, c.id, value);
    begin_change(q, "voter", c.id);
}

static void change(struct nd_request *q, const char *action)
{
    struct nd_node *n = q->asker.node;
    const struct nd_config_node *c;
    const char *what = strcmp(action, "promote") == 0  ? "voter"
                       : strcmp(action, "demote") == 0 ? "standby"
                       : strcmp(action, "remove") == 0 ? "absent"
                                                       : "replace";
    char name[RP_NAME_SIZE];
    struct sy_errbuf eb;
    struct cs_member m;
    bool in;

    nd_map_str(q->args, "node", name, sizeof name);
    if (name[0] == '\0') {
        snprintf(name, sizeof name, "%" PRIu64, nd_map_uint(q->args, "node", 0));
    }
    c = named(n, name);
    if (c == NULL) {
        nd_reply_error(&q->asker, "not_found",
                       "no node is called '%s': see `vagtctl members`", name);
        return;
    }
    in = cs_core_member(nd_replica_core(n->replica), c->id, &m);
    if (!in && strcmp(what, "standby") != 0 && strcmp(what, "replace") != 0) {
        nd_reply_error(&q->asker, "not_found", "%s is no member%s", c->name,
                       strcmp(what, "voter") == 0 ? ": `vagtctl members add` comes first"
                                                  : " already");
    } else if (in && ((m.role == CS_ROLE_VOTER && strcmp(what, "voter") == 0) ||
                      (m.role == CS_ROLE_STANDBY && strcmp(what, "standby") == 0))) {
        nd_reply_error(&q->asker, "exists", "%s is a %s already", c->name, what);
    } else if (in && m.role == CS_ROLE_VOTER && !nd_goal_allowed(n, what, c->id, &eb)) {
        nd_reply_error(&q->asker, "no_quorum", "%s", eb.text);
    } else if (!in && nd_members_removed(n, c->id)) {
        nd_reply_error(&q->asker, "not_found",
                       "%s was removed: `vagtctl members add` takes it in again",
                       c->name);
    } else {
        begin_change(q, what, c->id);
    }
}

void nd_op_members_change(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    struct nd_goal g = nd_goal_of(n);
    char action[16];

    nd_map_str(q->args, "action", action, sizeof action);
    if (nd_replica_full(n->replica)) {
        nd_reply_error(&q->asker, "busy",
                       "too much is waiting to be committed: ask again");
    } else if (strcmp(action, "cancel") == 0) {
        begin_change(q, "", 0);
    } else if (g.id != 0) {
        nd_reply_error(&q->asker, "busy",
                       "a change is under way (node %" PRIu64
                       " to become %s; %s): wait "
                       "for it, or `vagtctl members cancel`",
                       g.id, g.what, n->members.waits);
    } else if (strcmp(action, "add") == 0) {
        add(q);
    } else if (strcmp(action, "promote") == 0 || strcmp(action, "demote") == 0 ||
               strcmp(action, "remove") == 0 || strcmp(action, "replace") == 0) {
        change(q, action);
    } else {
        nd_reply_error(&q->asker, "invalid",
                       "the members are changed by add, promote, demote, remove, replace "
                       "or cancel, not by '%s'",
                       action);
    }
}

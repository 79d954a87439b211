/* The table of nodes, kept up to date with what was agreed on (members.h). */

#include "node/members.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mp.h"
#include "node/config_schema.h"
#include "node/node.h"

enum { PATH_SIZE = ND_PATH_SIZE + 16, TEND_MS = 200 };

static const char prefix[] = "members.";

/* --- a node as text --- */

void nd_members_write(const struct nd_config_node *c, const char *role,
                      char to[RP_FACT_VALUE_SIZE])
{
    bool v6 = strchr(c->peer_host, ':') != NULL;

    snprintf(to, RP_FACT_VALUE_SIZE, "%s %s %s%s%s:%u %s", role, c->name, v6 ? "[" : "",
             c->peer_host, v6 ? "]" : "", c->peer_port,
             c->control[0] != '\0' ? c->control : "-");
}

/* The next word of @text into @to. */
static const char *word(const char *text, char *to, size_t size)
{
    size_t n = strcspn(text, " ");

    if (n == 0 || n >= size) {
        return NULL;
    }
    memcpy(to, text, n);
    to[n] = '\0';
    return text + n + (text[n] == ' ');
}

bool nd_members_parse(const char *text, uint64_t id, struct nd_config_node *ret,
                      bool *ret_removed)
{
    char role[16], peer[80], why[ND_WHY_SIZE], host[ND_HOST_SIZE];
    const char *at = text;

    *ret = (struct nd_config_node){.id = id};
    at = word(at, role, sizeof role);
    at = at != NULL ? word(at, ret->name, sizeof ret->name) : NULL;
    at = at != NULL ? word(at, peer, sizeof peer) : NULL;
    at = at != NULL ? word(at, ret->control, sizeof ret->control) : NULL;
    if (at == NULL || !nd_address_parse(peer, host, &ret->peer_port, why)) {
        return false;
    }
    snprintf(ret->peer_host, sizeof ret->peer_host, "%s", host);
    if (strcmp(ret->control, "-") == 0) {
        ret->control[0] = '\0';
    }
    *ret_removed = strcmp(role, "removed") == 0;
    ret->witness = strcmp(role, "witness") == 0;
    snprintf(ret->role, sizeof ret->role, "%s", ret->witness ? "witness" : "voter");
    return *ret_removed || ret->witness || strcmp(role, "voter") == 0;
}

/* --- the file --- */

static void path_of(const struct nd_node *n, char to[PATH_SIZE], const char *end)
{
    snprintf(to, PATH_SIZE, "%s/nodes%s", n->config.data_dir, end);
}

/* A hint for the next start, when the facts are in the log but not yet applied: a node
 * whose configuration file is old could otherwise not find the others. What is lost
 * here is in the log. */
static void remember(struct nd_node *n)
{
    char path[PATH_SIZE], tmp[PATH_SIZE];
    FILE *f;
    bool good;

    path_of(n, path, "");
    path_of(n, tmp, ".tmp");
    f = fopen(tmp, "we");
    if (f == NULL) {
        SY_LOG(&n->log, SY_WARN, "members.not_saved", KSTR("path", tmp));
        return;
    }
    good = fprintf(f, "%" PRIu64 " applied\n", n->members.told_index) > 0;
    for (unsigned id = 1; id <= CS_ID_MAX; id++) {
        if (n->members.told[id][0] != '\0') {
            good = fprintf(f, "%u %s\n", id, n->members.told[id]) > 0 && good;
        }
    }
    if (fclose(f) != 0 || !good || rename(tmp, path) != 0) {
        (void)unlink(tmp);
        SY_LOG(&n->log, SY_WARN, "members.not_saved", KSTR("path", path));
    }
}

static void recall(struct nd_node *n)
{
    char path[PATH_SIZE], line[RP_FACT_VALUE_SIZE + 32];
    struct nd_config_node c;
    bool removed;
    FILE *f;

    path_of(n, path, "");
    f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        char *rest;
        uint64_t id = strtoull(line, &rest, 10);

        line[strcspn(line, "\n")] = '\0';
        if (strcmp(rest, " applied") == 0) {
            n->members.told_index = id;
        } else if (id > 0 && id <= CS_ID_MAX && rest[0] == ' ' &&
                   nd_members_parse(rest + 1, id, &c, &removed)) {
            snprintf(n->members.told[id], sizeof n->members.told[id], "%s", rest + 1);
        }
    }
    if (f != NULL) {
        fclose(f);
    }
}

void nd_members_forget(const char *dir)
{
    char path[PATH_SIZE];

    snprintf(path, sizeof path, "%s/nodes", dir);
    (void)unlink(path); /* If there is one. */
}

/* --- the table --- */

static struct nd_config_node *find(struct nd_config_node *list, unsigned n, uint64_t id)
{
    for (unsigned i = 0; i < n; i++) {
        if (list[i].id == id) {
            return &list[i];
        }
    }
    return NULL;
}

static void take_out(struct nd_config *c, uint64_t id)
{
    struct nd_config_node *at = find(c->nodes, c->nodes_n, id);

    if (at != NULL) {
        memmove(at, at + 1,
                (size_t)(&c->nodes[c->nodes_n] - (at + 1)) * sizeof c->nodes[0]);
        c->nodes_n--;
    }
}

/* One fact laid over the table. This node itself stays in it, as its own configuration
 * has it: it cannot listen elsewhere meanwhile. */
static void lay_over(struct nd_node *n, uint64_t id, const char *text)
{
    struct nd_config *c = &n->config;
    struct nd_config_node *at = find(c->nodes, c->nodes_n, id), node;
    bool removed;

    if (id == c->id || !nd_members_parse(text, id, &node, &removed)) {
        return;
    }
    if (removed) {
        take_out(c, id);
        if (n->members.removed_n < ND_NODES_MAX) {
            n->members.removed[n->members.removed_n++] = node;
        }
    } else if (at != NULL) {
        *at = node;
    } else if (c->nodes_n < ND_NODES_MAX) {
        c->nodes[c->nodes_n++] = node;
    }
}

static void make_table(struct nd_node *n)
{
    memcpy(n->config.nodes, n->members.file, sizeof n->config.nodes);
    n->config.nodes_n = n->members.file_n;
    n->members.removed_n = 0;
    for (unsigned id = 1; id <= CS_ID_MAX; id++) {
        if (n->members.told[id][0] != '\0') {
            lay_over(n, id, n->members.told[id]);
        }
    }
}

static void let_connect(struct nd_node *n, const struct nd_config_node *c, bool removed)
{
    struct ad_peer_address a = {.id = c->id, .port = c->peer_port, .removed = removed};
    struct sy_errbuf eb;

    snprintf(a.host, sizeof a.host, "%s", c->peer_host);
    if (c->id != n->config.id && nd_replica_peer(n->replica, &a, &eb) != 0) {
        SY_LOG(&n->log, SY_WARN, "members.bad_address", KU64("peer", c->id),
               KSTR("why", eb.text));
    }
}

static void connect_all(struct nd_node *n)
{
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        let_connect(n, &n->config.nodes[i], false);
    }
    for (unsigned i = 0; i < n->members.removed_n; i++) {
        let_connect(n, &n->members.removed[i], true);
    }
}

void nd_members_init(struct nd_node *n)
{
    memcpy(n->members.file, n->config.nodes, sizeof n->members.file);
    n->members.file_n = n->config.nodes_n;
    recall(n);
    make_table(n);
}

void nd_members_begin(struct nd_node *n)
{
    connect_all(n);
}

/* The id in "members.<id>"; 0: another fact. */
static uint64_t id_of(const struct rp_fact *f)
{
    uint64_t id = 0;

    if (strncmp(f->key, prefix, sizeof prefix - 1) == 0) {
        id = strtoull(f->key + sizeof prefix - 1, NULL, 10);
    }
    return id <= CS_ID_MAX ? id : 0;
}

/* True: something is new. */
static bool read_facts(struct nd_node *n)
{
    bool changed = false;

    if (rp_store_index(n->store) < n->members.told_index) {
        return false; /* The file knows more than what is applied so far. */
    }
    for (uint32_t i = 0; i < rp_store_facts(n->store); i++) {
        const struct rp_fact *f = rp_store_fact_at(n->store, i);
        uint64_t id = id_of(f);

        if (id != 0 && strcmp(n->members.told[id], f->value) != 0) {
            memcpy(n->members.told[id], f->value, sizeof f->value);
            SY_LOG(&n->log, SY_NOTE, "members.told", KU64("peer", id),
                   KSTR("is", f->value));
            changed = true;
        }
    }
    return changed;
}

unsigned nd_members_voters(const struct nd_node *n, uint64_t ids[CS_MEMBERS_MAX])
{
    const struct cs_core *core = nd_replica_core(n->replica);
    unsigned found = 0;
    struct cs_member m;

    for (uint64_t id = 1; id <= CS_ID_MAX && found < CS_MEMBERS_MAX; id++) {
        if (cs_core_member(core, id, &m) && m.role == CS_ROLE_VOTER) {
            ids[found++] = id;
        }
    }
    for (unsigned i = 0; found == 0 && i < n->config.nodes_n; i++) {
        ids[i] = n->config.nodes[i].id;
    }
    return found > 0 ? found : n->config.nodes_n;
}

bool nd_members_removed(const struct nd_node *n, uint64_t id)
{
    return find((struct nd_config_node *)(uintptr_t)n->members.removed,
                n->members.removed_n, id) != NULL;
}

void nd_members_tend(struct nd_node *n)
{
    uint64_t ids[CS_MEMBERS_MAX], now = nd_now_ms();

    if (now < n->members.again_ms) {
        return;
    }
    n->members.again_ms = now + TEND_MS;
    if (read_facts(n)) {
        n->members.told_index = rp_store_index(n->store);
        make_table(n);
        connect_all(n);
        for (unsigned i = 0; i < n->members.removed_n; i++) {
            cs_agree_forget(&n->agree, n->members.removed[i].id);
        }
        remember(n);
    }
    cs_agree_nodes(&n->agree, nd_members_voters(n, ids));
    nd_goal_tend(n);
}

/* --- being told that one is no member --- */

static bool names(struct sy_cur map, uint64_t id)
{
    uint32_t count;

    if (!nd_map_find(&map, "members")) {
        return true; /* It does not say. */
    }
    count = sy_mp_get_array(&map);
    for (uint32_t i = 0; i < count && !map.bad; i++) {
        if (sy_mp_get_uint(&map) == id) {
            return true;
        }
    }
    return map.bad;
}

void nd_members_out(struct nd_node *n, uint64_t told_by)
{
    if (n->members.gone_by == 0) {
        SY_LOG(&n->log, SY_WARN, "members.out", KU64("told_by", told_by),
               KSTR("text", "this node is no member of the cluster"));
    }
    n->members.gone_by = told_by;
}

void nd_members_heard(struct nd_node *n, uint64_t from)
{
    struct sy_cur map;
    uint64_t age;
    char raft[16];
    bool in;

    if (!nd_status_node_map(n, from, &map, &age)) {
        return;
    }
    nd_map_str(map, "raft", raft, sizeof raft);
    if (strcmp(raft, "leader") != 0 ||
        nd_map_uint(map, "term", 0) < cs_core_term(nd_replica_core(n->replica))) {
        return;
    }
    in = names(map, n->config.id);
    if (!in) {
        nd_members_out(n, from);
        return;
    }
    if (n->members.gone_by != 0) {
        SY_LOG(&n->log, SY_NOTE, "members.in", KU64("told_by", from));
    }
    n->members.gone_by = 0;
}

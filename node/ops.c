/* Operations that read, and the handover. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mp.h"
#include "node/node.h"

enum { PAGE_DEFAULT = 100, PAGE_MAX = 500 };

void nd_op_ping(struct nd_request *q)
{
    struct sy_buf b = {0};

    nd_reply_begin(&q->asker, &b);
    sy_mp_map(&b, 3);
    sy_mp_kstr(&b, "version", VAGT_VERSION);
    sy_mp_kuint(&b, "node", q->asker.node->config.id);
    sy_mp_kstr(&b, "name", nd_config_self(&q->asker.node->config)->name);
    nd_reply_send(&q->asker, &b);
}

void nd_op_status(struct nd_request *q)
{
    struct sy_buf b = {0};

    nd_reply_begin(&q->asker, &b);
    nd_status_put(q->asker.node, &b);
    nd_reply_send(&q->asker, &b);
}

static uint32_t page_size(const struct nd_request *q, uint32_t otherwise)
{
    uint64_t limit = nd_map_uint(q->args, "limit", otherwise);

    return (uint32_t)(limit == 0 ? otherwise : limit > PAGE_MAX ? PAGE_MAX : limit);
}

static bool matches(struct nd_node *n, const struct rp_device *d, const char *area,
                    const char *name)
{
    const struct rp_area *a;

    if (rp_is_canary(d->ieee) && !d->listed) {
        return false; /* Of a drill that is over. */
    }
    if (area[0] != '\0') {
        a = rp_store_area(n->store, d->area);
        if (a == NULL || strcmp(a->name, area) != 0) {
            return false;
        }
    }
    return name[0] == '\0' || strstr(d->name, name) != NULL;
}

void nd_op_devices(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    uint64_t after = nd_map_uint(q->args, "after", 0);
    uint32_t i = after < UINT32_MAX ? (uint32_t)after : UINT32_MAX;
    uint32_t limit = page_size(q, PAGE_DEFAULT);
    uint32_t found[PAGE_MAX];
    uint32_t count = 0;
    char area[RP_NAME_SIZE];
    char name[RP_NAME_SIZE];
    struct sy_buf b = {0};

    nd_map_str(q->args, "area", area, sizeof area);
    nd_map_str(q->args, "name", name, sizeof name);
    for (; i < rp_store_devices(n->store) && count < limit; i++) {
        const struct rp_device *d = rp_store_device_at(n->store, i);

        if (d != NULL && matches(n, d, area, name)) {
            found[count++] = i;
        }
    }
    nd_reply_begin(&q->asker, &b);
    sy_mp_map(&b, 2);
    sy_mp_str(&b, "devices");
    sy_mp_array(&b, count);
    for (uint32_t k = 0; k < count; k++) {
        nd_put_device(n, &b, rp_store_device_at(n->store, found[k]));
    }
    sy_mp_kuint(&b, "next", i < rp_store_devices(n->store) ? i : 0);
    nd_reply_send(&q->asker, &b);
}

void nd_op_commands(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    uint32_t limit = page_size(q, 50);
    struct sy_cur open = q->args;
    bool only_open = nd_map_find(&open, "open") && sy_mp_get_bool(&open);
    uint32_t found[PAGE_MAX];
    uint32_t count = 0;
    struct sy_buf b = {0};

    for (uint32_t i = 0; i < rp_store_commands(n->store) && count < limit; i++) {
        const struct rp_command *c = rp_store_command_recent(n->store, i);

        if (c != NULL && (!only_open || !rp_ended(c->status))) {
            found[count++] = i;
        }
    }
    nd_reply_begin(&q->asker, &b);
    sy_mp_map(&b, 1);
    sy_mp_str(&b, "commands");
    sy_mp_array(&b, count);
    for (uint32_t k = 0; k < count; k++) {
        nd_put_command(n, &b, rp_store_command_recent(n->store, found[k]));
    }
    nd_reply_send(&q->asker, &b);
}

/* --- hash --- */

static void put_hash_row(struct sy_buf *b, const struct nd_config_node *c, uint64_t index,
                         const char *hash, uint64_t ours_there)
{
    char text[17] = "";

    if (ours_there != 0) {
        snprintf(text, sizeof text, "%016llx", (unsigned long long)ours_there);
    }
    sy_mp_map(b, 5);
    sy_mp_kuint(b, "id", c->id);
    sy_mp_kstr(b, "name", c->name);
    sy_mp_kuint(b, "index", index);
    sy_mp_kstr(b, "hash", hash);
    sy_mp_kstr(b, "hash_at_index", text);
}

void nd_op_hash(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    uint64_t want = nd_map_uint(q->args, "index", 0);
    bool equal = true;
    struct sy_buf b = {0};

    nd_reply_begin(&q->asker, &b);
    sy_mp_map(&b, 2);
    sy_mp_str(&b, "nodes");
    sy_mp_array(&b, n->config.nodes_n);
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        const struct nd_config_node *c = &n->config.nodes[i];
        char hash[17] = "";
        uint64_t index = 0;
        uint64_t ours = 0;
        struct sy_cur map;
        uint64_t age;

        if (c->id == n->config.id) {
            index = want != 0 ? want : rp_store_index(n->store);
            ours = rp_store_hash_at(n->store, index);
            snprintf(hash, sizeof hash, "%016llx", (unsigned long long)ours);
        } else if (nd_status_node_map(n, c->id, &map, &age)) {
            index = nd_map_uint(map, "hash_index", 0);
            nd_map_str(map, "hash", hash, sizeof hash);
            ours = rp_store_hash_at(n->store, index);
            equal = equal && (ours == 0 || strtoull(hash, NULL, 16) == ours);
        }
        put_hash_row(&b, c, index, hash, ours);
    }
    sy_mp_kbool(&b, "equal", equal && !nd_node_diverged(n));
    nd_reply_send(&q->asker, &b);
}

uint64_t nd_request_node(struct nd_request *q, const char *key,
                         char name[static RP_NAME_SIZE], bool *bad)
{
    struct nd_node *n = q->asker.node;
    uint64_t id = nd_map_uint(q->args, key, 0);
    struct sy_cur at = q->args;

    nd_map_str(q->args, key, name, RP_NAME_SIZE);
    *bad = false;
    if (name[0] == '\0') {
        if (!nd_map_find(&at, key) || id == 0) {
            return 0;
        }
        snprintf(name, RP_NAME_SIZE, "%llu", (unsigned long long)id);
    }
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        const struct nd_config_node *c = &n->config.nodes[i];
        char text[8];

        snprintf(text, sizeof text, "%u", (unsigned)c->id);
        if (strcmp(c->name, name) == 0 || strcmp(text, name) == 0) {
            snprintf(name, RP_NAME_SIZE, "%s", c->name);
            return c->id;
        }
    }
    *bad = true;
    nd_reply_error(&q->asker, "not_found", "no node is called '%s'", name);
    return 0;
}

void nd_op_why(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    struct sy_buf b = {0};
    char name[RP_NAME_SIZE];
    bool bad;
    uint64_t id = nd_request_node(q, "node", name, &bad);

    if (bad) {
        return;
    }
    nd_reply_begin(&q->asker, &b);
    sy_mp_map(&b, 1);
    sy_mp_str(&b, "sentences");
    nd_why_put(n, id, &b);
    nd_reply_send(&q->asker, &b);
}

/* --- handover --- */

static uint64_t handover_target(struct nd_request *q, bool *bad)
{
    struct nd_node *n = q->asker.node;
    char name[RP_NAME_SIZE];
    uint64_t id = nd_request_node(q, "to", name, bad);

    if (*bad || id == 0) {
        return *bad ? 0 : nd_node_heir(n);
    }
    *bad = true;
    if (id == n->config.id) {
        nd_reply_error(&q->asker, "invalid", "%s has the watch already", name);
    } else if (!ad_peers_linked(nd_replica_peers(n->replica), id)) {
        nd_reply_error(&q->asker, "invalid",
                       "%s is not connected: start it, or hand over to another node",
                       name);
    } else if (!nd_node_sound(n, id, false)) {
        nd_reply_error(&q->asker, "invalid",
                       "%s could not take the watch: it has not answered lately, or its "
                       "state differs; see `vagtctl why %s`",
                       name, name);
    } else {
        *bad = false;
    }
    return id;
}

void nd_op_handover(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    uint64_t timeout = nd_map_uint(q->args, "timeout_ms", 5000);
    uint64_t now = nd_now_ms();
    uint64_t term = nd_replica_leading(n->replica);
    uint64_t to;
    bool bad;
    int rv;

    if (n->handover.used) {
        nd_reply_error(&q->asker, "busy", "a handover is under way");
        return;
    }
    to = handover_target(q, &bad);
    if (bad) {
        return;
    }
    timeout = timeout < 100 ? 100 : timeout > 60000 ? 60000 : timeout;
    rv = nd_hand_over(n, to, (unsigned)timeout, "an operator asked for it");
    if (rv != 0) {
        nd_reply_error(&q->asker, rv == SY_ENOTLEADER ? "not_leader" : "busy",
                       "no handover now: %s", sy_err_text(rv));
        return;
    }
    n->handover.used = true;
    n->handover.asker = q->asker;
    n->handover.term = term;
    n->handover.began_ms = now;
    n->handover.deadline_ms = now + timeout;
}

static void note_handover(struct nd_node *n, uint64_t to)
{
    const struct nd_config_node *c = nd_config_node(&n->config, to);
    char about[RP_AUDIT_ABOUT_SIZE];

    snprintf(about, sizeof about, "%s to %s", nd_config_self(&n->config)->name,
             c != NULL ? c->name : "?");
    nd_audit_note(n, &n->handover.asker, "handover", about,
                  to != 0 ? "done" : "not within its time");
}

/* Done when the new watch's barrier is applied here. */
void nd_handover_tick(struct nd_node *n)
{
    uint64_t now = nd_now_ms();
    uint16_t node = rp_store_watch_node(n->store);
    struct sy_buf b = {0};

    if (!n->handover.used) {
        return;
    }
    /* Of a newer term: before our own first entry it is the one before us. */
    if (node != n->config.id && rp_store_watch_term(n->store) > n->handover.term) {
        n->handover.used = false;
        nd_reply_begin(&n->handover.asker, &b);
        sy_mp_map(&b, 3);
        sy_mp_kuint(&b, "from", n->config.id);
        sy_mp_kuint(&b, "to", node);
        sy_mp_kuint(&b, "took_ms", now - n->handover.began_ms);
        note_handover(n, node);
        nd_reply_send(&n->handover.asker, &b);
    } else if (now >= n->handover.deadline_ms && n->site.yield.on) {
        n->handover.used = false;
        note_handover(n, 0);
        nd_reply_error(&n->handover.asker, "timeout",
                       "the site's resources are still being stopped: the watch changes "
                       "hands after that; see `vagtctl status`, or wait longer: "
                       "`--timeout`");
    } else if (now >= n->handover.deadline_ms) {
        n->handover.used = false;
        note_handover(n, 0);
        nd_reply_error(
            &n->handover.asker, "timeout",
            "the watch did not change hands within %llu ms: no other node was "
            "level; see `vagtctl status`",
            (unsigned long long)(n->handover.deadline_ms - n->handover.began_ms));
    }
}

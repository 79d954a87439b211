/* Maintenance, and a node that begins anew (upkeep.h). */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/mp.h"
#include "node/node.h"

enum { AGAIN_MS = 1000, TIME_SIZE = 32, DAYS_MAX = 7 };

static const char key[] = "maintenance.until";
static const uint64_t longest_ms = (uint64_t)DAYS_MAX * 86400 * 1000;

static uint64_t until_of(const struct nd_node *n)
{
    const struct rp_fact *f = rp_store_fact(n->store, key);

    return f != NULL ? strtoull(f->value, NULL, 10) : 0;
}

uint64_t nd_upkeep_waived(const struct nd_node *n)
{
    return n->upkeep.waived;
}

uint64_t nd_node_maintenance(const struct nd_node *n)
{
    uint64_t until = until_of(n), now = nd_replica_clock_ms(n->replica);

    return until > now && until != n->upkeep.waived ? until - now : 0;
}

static void show_time(uint64_t at_ms, char *to, size_t size)
{
    time_t at = (time_t)(at_ms / 1000);
    struct tm tm;

    if (localtime_r(&at, &tm) == NULL || strftime(to, size, "%F %H:%M", &tm) == 0) {
        snprintf(to, size, "?");
    }
}

void nd_upkeep_until(const struct nd_node *n, char *to, size_t size)
{
    show_time(until_of(n), to, size);
}

/* Somebody else was told that it is over. */
static bool waived_elsewhere(struct nd_node *n, uint64_t until)
{
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        uint64_t id = n->config.nodes[i].id, age;
        struct sy_cur map;

        if (id != n->config.id && ad_peers_linked(nd_replica_peers(n->replica), id) &&
            nd_status_node_map(n, id, &map, &age) &&
            nd_map_uint(map, "waived", 0) == until) {
            return true;
        }
    }
    return false;
}

static void tell(struct nd_node *n, uint64_t until)
{
    char text[TIME_SIZE];

    if (until != n->upkeep.told) {
        show_time(until, text, sizeof text);
        SY_LOG(&n->log, SY_NOTE, until != 0 ? "maintenance.on" : "maintenance.off",
               KSTR("until", until != 0 ? text : ""));
        n->upkeep.told = until;
    }
}

bool nd_upkeep_held(const struct nd_node *n)
{
    return cs_core_applied(nd_replica_core(n->replica)) >= n->upkeep.boot_last &&
           nd_node_maintenance(n) > 0 && nd_replica_leading(n->replica) == 0 &&
           rp_store_watch_node(n->store) != n->config.id;
}

void nd_upkeep_tend(struct nd_node *n)
{
    bool leads = nd_replica_leading(n->replica) != 0;
    uint64_t until = until_of(n), now = nd_now_ms();
    bool lasts;

    if (until != 0 && until != n->upkeep.waived && waived_elsewhere(n, until)) {
        n->upkeep.waived = until;
    }
    lasts = nd_node_maintenance(n) > 0;
    tell(n, until);
    nd_replica_hold(n->replica, nd_upkeep_held(n) || n->joining);
    if (leads && until != 0 && !lasts && now >= n->upkeep.again_ms) {
        n->upkeep.again_ms = now + AGAIN_MS;
        rp_batch_fact(nd_replica_batch(n->replica), key, "");
    }
}

/* --- operations --- */

struct pending
{
    struct nd_wait wait;
    struct nd_asker asker;
};

static void reply(const struct nd_asker *a)
{
    struct nd_node *n = a->node;
    struct sy_buf b = {0};
    uint64_t left = nd_node_maintenance(n);

    nd_reply_begin(a, &b);
    sy_mp_map(&b, 3);
    sy_mp_kbool(&b, "on", left > 0);
    sy_mp_kuint(&b, "until_ms", left > 0 ? until_of(n) : 0);
    sy_mp_kuint(&b, "left_ms", left);
    nd_reply_send(a, &b);
}

static void committed(void *data, int status)
{
    struct pending *p = data;

    if (nd_reply_applied(&p->asker, status, "`vagtctl maintenance`")) {
        reply(&p->asker);
    }
    sy_free(p);
}

static void set(struct nd_request *q, uint64_t until)
{
    struct nd_node *n = q->asker.node;
    struct pending *p = sy_calloc(1, sizeof *p);
    char value[24] = "";

    if (until != 0) {
        snprintf(value, sizeof value, "%" PRIu64, until);
    }
    p->asker = q->asker;
    rp_batch_fact(nd_replica_batch(n->replica), key, value);
    nd_replica_wait(n->replica, &p->wait, committed, p);
}

/* Nobody leads, so nothing can be agreed on: but that nobody may take the watch is what
 * this node holds to, and it is the operator's to end. */
static void waive(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;

    n->upkeep.waived = until_of(n);
    SY_LOG(&n->log, SY_NOTE, "maintenance.waived", KU64("node", n->config.id));
    nd_audit_note(n, &q->asker, "maintenance", "to=off", "waived: nobody leads");
    nd_status_gossip(n);
    nd_upkeep_tend(n);
    reply(&q->asker);
}

static bool off_without_leader(const struct nd_node *n, const char *to)
{
    uint64_t leader = cs_core_leader(nd_replica_core(n->replica));

    return strcmp(to, "off") == 0 && until_of(n) != 0 &&
           (leader == 0 || !ad_peers_linked(nd_replica_peers(n->replica), leader));
}

void nd_op_maintenance(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    uint64_t until = nd_map_uint(q->args, "until_ms", 0);
    uint64_t length = nd_map_uint(q->args, "for_ms", 0);
    uint64_t now = nd_replica_clock_ms(n->replica);
    char to[8];

    nd_map_str(q->args, "to", to, sizeof to);
    if (to[0] == '\0') {
        reply(&q->asker);
        return;
    }
    if (nd_replica_leading(n->replica) == 0) {
        if (off_without_leader(n, to)) {
            waive(q);
        } else {
            nd_forward(q, q->raw, q->raw_len);
        }
        return;
    }
    until = length != 0 && length <= longest_ms ? now + length : until;
    if (strcmp(to, "off") == 0) {
        set(q, 0);
    } else if (strcmp(to, "on") != 0) {
        nd_reply_error(&q->asker, "invalid", "maintenance goes 'on' or 'off', not '%s'",
                       to);
    } else if (length > longest_ms || until > now + longest_ms) {
        nd_reply_error(&q->asker, "invalid",
                       "maintenance lasts at most %d days: nobody would relieve a node "
                       "that dies meanwhile",
                       DAYS_MAX);
    } else if (until <= now) {
        nd_reply_error(&q->asker, "invalid",
                       "maintenance needs an end that is still to come: --until or "
                       "--for");
    } else {
        set(q, until);
    }
}

/* --- beginning anew --- */

/* Would the others go on without this node for a moment? */
static bool missed_little(struct nd_node *n, struct sy_errbuf *eb)
{
    uint64_t ids[CS_MEMBERS_MAX];
    unsigned all = nd_members_voters(n, ids), there = 0;
    bool votes = false, heir = false;

    for (unsigned i = 0; i < all; i++) {
        bool self = ids[i] == n->config.id;

        votes = votes || self;
        there += !self && ad_peers_linked(nd_replica_peers(n->replica), ids[i]);
        heir = heir || (!self && nd_node_sound(n, ids[i], false));
    }
    if (votes && there < all / 2 + 1) {
        (void)sy_fail(eb, SY_ENOQUORUM,
                      "without %s only %u of %u voters are there and %u are needed: "
                      "nobody would be on watch until it is back",
                      nd_config_self(&n->config)->name, there, all, all / 2 + 1);
        return false;
    }
    if (nd_replica_leading(n->replica) != 0 && !heir) {
        (void)sy_fail(eb, SY_ENOQUORUM,
                      "%s is on watch, and no other node could take it: see `vagtctl "
                      "status`",
                      nd_config_self(&n->config)->name);
        return false;
    }
    return true;
}

static void restart(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    struct sy_cur at = q->args;
    bool force = nd_map_find(&at, "force") && sy_mp_get_bool(&at);
    struct sy_errbuf eb;
    struct sy_buf b = {0};

    if (n->stopping) {
        nd_reply_error(&q->asker, "busy", "it is stopping already");
    } else if (!force && !missed_little(n, &eb)) {
        nd_reply_error(&q->asker, "no_quorum", "%s; `--force` does it all the same",
                       eb.text);
    } else {
        SY_LOG(&n->log, SY_NOTE, "restarting", KU64("node", n->config.id));
        n->upkeep.restart = true;
        nd_audit_note(n, &q->asker, "restart", nd_config_self(&n->config)->name,
                      force ? "begun, forced" : "begun");
        nd_reply_begin(&q->asker, &b);
        sy_mp_map(&b, 2);
        sy_mp_kuint(&b, "node", n->config.id);
        sy_mp_kuint(&b, "uptime_ms", nd_now_ms() - n->started_ms);
        nd_reply_send(&q->asker, &b);
        nd_node_stop(n);
    }
}

void nd_op_restart(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    char name[RP_NAME_SIZE];
    bool bad;
    uint64_t id = nd_request_node(q, "node", name, &bad);

    if (bad) {
        return;
    }
    if (id == 0 || id == n->config.id) {
        restart(q);
    } else {
        nd_forward_to(q, id, q->raw, q->raw_len);
    }
}

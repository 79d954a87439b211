/* Operations on commands: send, await, look, cancel. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/mp.h"
#include "node/node.h"

/* A request whose inputs are on their way through the log. */
struct pending
{
    struct nd_wait wait;
    struct nd_asker asker;
    char id[RP_ID_SIZE];
};

static void reply_command(const struct nd_asker *a, const struct rp_command *c)
{
    struct sy_buf b = {0};

    nd_reply_begin(a, &b);
    sy_mp_map(&b, 1);
    sy_mp_str(&b, "command");
    nd_put_command(a->node, &b, c);
    nd_reply_send(a, &b);
}

static void committed(void *data, int status)
{
    struct pending *p = data;
    const struct rp_command *c = rp_store_command(p->asker.node->store, p->id);

    if (p->asker.node->closing) {
        sy_free(p);
        return;
    }
    if (status == SY_ENOTLEADER) {
        nd_reply_error(
            &p->asker, "not_leader",
            "the watch changed hands before the command was accepted: ask again");
    } else if (status != 0) {
        nd_reply_error(&p->asker, "unknown_outcome",
                       "leadership was lost on the way: the command may or may not be "
                       "accepted; ask again with the same id");
    } else if (c == NULL) {
        nd_reply_error(&p->asker, "limit",
                       "the command was refused: the ledger is full of open commands or "
                       "the device is gone; see `vagtctl commands --open`");
    } else {
        reply_command(&p->asker, c);
    }
    sy_free(p);
}

static void propose(struct nd_request *q, const char *id)
{
    struct pending *p = sy_calloc(1, sizeof *p);

    p->asker = q->asker;
    snprintf(p->id, sizeof p->id, "%s", id);
    nd_replica_wait(q->asker.node->replica, &p->wait, committed, p);
}

static void reply_full(struct nd_request *q)
{
    nd_reply_error(&q->asker, "busy", "too much is waiting to be committed: ask again");
}

struct send_args
{
    char device[RP_NAME_SIZE];
    char area[RP_NAME_SIZE];
    char property[RP_PROP_SIZE];
    char value[RP_VALUE_SIZE];
    char id[RP_ID_SIZE];
    char source[RP_PROP_SIZE];
    uint64_t timeout_ms;
};

static void read_send(struct nd_request *q, struct send_args *a)
{
    nd_map_str(q->args, "device", a->device, sizeof a->device);
    nd_map_str(q->args, "area", a->area, sizeof a->area);
    nd_map_str(q->args, "property", a->property, sizeof a->property);
    nd_map_str(q->args, "value", a->value, sizeof a->value);
    nd_map_str(q->args, "id", a->id, sizeof a->id);
    nd_map_str(q->args, "source", a->source, sizeof a->source);
    a->timeout_ms = nd_map_uint(q->args, "timeout_ms", 60000);
    if (a->source[0] == '\0') {
        snprintf(a->source, sizeof a->source, "control");
    }
    if (a->id[0] == '\0') {
        struct nd_node *n = q->asker.node;

        snprintf(a->id, sizeof a->id, "%016llx%016llx",
                 (unsigned long long)nd_node_random(n),
                 (unsigned long long)nd_node_random(n));
    }
}

/* Is the command sensible? Answers itself if not. */
static const struct rp_device *check_send(struct nd_request *q, const struct send_args *a)
{
    struct nd_node *n = q->asker.node;
    const struct nd_wish w = {a->device, a->area, a->property, a->value};
    const struct rp_device *d;
    const char *code;
    struct sy_errbuf eb;

    d = nd_wish_check(n, &w, &code, &eb);
    if (d == NULL) {
        nd_reply_error(&q->asker, code, "%s", eb.text);
        return NULL;
    }
    if (a->timeout_ms < 1000 || a->timeout_ms > 86400000) {
        nd_reply_error(&q->asker, "invalid",
                       "timeout_ms must be 1000 to 86400000, not %llu",
                       (unsigned long long)a->timeout_ms);
        return NULL;
    }
    if (strcmp(a->source, RP_SOURCE_POSTGRES) == 0 ||
        strncmp(a->id, AD_PG_ID_PREFIX, sizeof AD_PG_ID_PREFIX - 1) == 0) {
        nd_reply_error(&q->asker, "invalid",
                       "the source '%s' and ids that begin with '%s' belong to the rows "
                       "of meter_commands",
                       RP_SOURCE_POSTGRES, AD_PG_ID_PREFIX);
        return NULL;
    }
    if (rp_store_open_commands(n->store) >= n->config.commands.open_max) {
        nd_reply_error(&q->asker, "limit",
                       "%u commands are open already "
                       "(commands.open_max): wait, or cancel some",
                       (unsigned)rp_store_open_commands(n->store));
        return NULL;
    }
    if (nd_replica_full(n->replica)) {
        reply_full(q);
        return NULL;
    }
    return d;
}

void nd_op_send(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    struct send_args a;
    const struct rp_command *known;
    const struct rp_device *d;

    read_send(q, &a);
    known = rp_store_command(n->store, a.id);
    if (known != NULL) {
        reply_command(&q->asker, known); /* Asked again: the same answer. */
        return;
    }
    d = check_send(q, &a);
    if (d == NULL) {
        return;
    }
    rp_batch_command(nd_replica_batch(n->replica), a.id, d->ieee, a.property, a.value,
                     a.source, nd_replica_clock_ms(n->replica) + a.timeout_ms);
    propose(q, a.id);
}

void nd_op_cancel(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    const struct rp_command *c;
    char id[RP_ID_SIZE];

    nd_map_str(q->args, "id", id, sizeof id);
    c = rp_store_command(n->store, id);
    if (c == NULL) {
        nd_reply_error(&q->asker, "not_found", "no command has the id '%s'", id);
    } else if (rp_ended(c->status)) {
        reply_command(&q->asker, c);
    } else if (nd_replica_full(n->replica)) {
        reply_full(q);
    } else {
        rp_batch_end(nd_replica_batch(n->replica), c->seq, RP_CANCELLED,
                     "cancelled by an operator");
        propose(q, id);
    }
}

void nd_op_command(struct nd_request *q)
{
    const struct rp_command *c;
    char id[RP_ID_SIZE];

    nd_map_str(q->args, "id", id, sizeof id);
    c = rp_store_command(q->asker.node->store, id);
    if (c == NULL) {
        nd_reply_error(&q->asker, "not_found", "no command has the id '%s'", id);
    } else {
        reply_command(&q->asker, c);
    }
}

/* One key must not take the places of the others. Who sits at the machine is not
 * counted. */
static bool awaits_enough(const struct nd_asker *a)
{
    unsigned has = 0;

    for (unsigned i = 0; i < ND_AWAITS_MAX && a->client.sealed; i++) {
        const struct nd_await *w = &a->node->awaits[i];

        has += w->used && w->asker.client.sealed &&
               strcmp(w->asker.caller.name, a->caller.name) == 0;
    }
    return has >= ND_AWAITS_KEY_MAX;
}

void nd_op_await(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    uint64_t timeout = nd_map_uint(q->args, "timeout_ms", 60000);
    char id[RP_ID_SIZE];

    nd_map_str(q->args, "id", id, sizeof id);
    if (id[0] == '\0') {
        nd_reply_error(&q->asker, "invalid", "'id' is missing: of which command?");
        return;
    }
    if (awaits_enough(&q->asker)) {
        nd_reply_error(&q->asker, "busy", "%d requests of %s wait for commands already",
                       ND_AWAITS_KEY_MAX, q->asker.caller.name);
        return;
    }
    timeout = timeout > 60000 ? 60000 : timeout;
    for (unsigned i = 0; i < ND_AWAITS_MAX; i++) {
        struct nd_await *w = &n->awaits[i];

        if (!w->used) {
            memcpy(w->id, id, sizeof w->id);
            w->used = true;
            w->asker = q->asker;
            w->deadline_ms = nd_now_ms() + timeout;
            nd_awaits_tick(n);
            return;
        }
    }
    nd_reply_error(&q->asker, "busy", "%d requests wait for commands already",
                   ND_AWAITS_MAX);
}

void nd_awaits_tick(struct nd_node *n)
{
    uint64_t now = nd_now_ms();

    for (unsigned i = 0; i < ND_AWAITS_MAX; i++) {
        struct nd_await *w = &n->awaits[i];
        const struct rp_command *c;

        if (!w->used) {
            continue;
        }
        c = rp_store_command(n->store, w->id);
        if (c != NULL && (rp_ended(c->status) || now >= w->deadline_ms)) {
            w->used = false;
            reply_command(&w->asker, c);
        } else if (now >= w->deadline_ms) {
            w->used = false;
            nd_reply_error(&w->asker, "not_found",
                           "this node has not heard of a command '%s'", w->id);
        }
    }
}

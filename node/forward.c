/* A request that needs the leader goes to it over the peer connection, once, and
 * the answer comes back the same way. It is given on when this node has applied what the
 * leader had then: who asks here next sees what was answered here. */

#include <string.h>

#include "base/mp.h"
#include "node/node.h"

enum {
    FORWARD_MS = 5000,
    CATCH_UP_MS = 1000,
    HANDOVER_MAX_MS = 60000,
    HANDOVER_SLACK_MS = 500
};

static struct nd_forward *slot(struct nd_node *n, uint64_t ref)
{
    for (unsigned i = 0; i < ND_FORWARDS_MAX; i++) {
        if (n->forwards[i].ref == ref) {
            return &n->forwards[i];
        }
    }
    return NULL;
}

/* How long may the leader take? A handover takes what it was given. */
static uint64_t patience_ms(const struct nd_request *q)
{
    uint64_t ms = nd_map_uint(q->args, "timeout_ms", FORWARD_MS);

    if (strcmp(q->op, "handover") != 0) {
        return FORWARD_MS;
    }
    return (ms < HANDOVER_MAX_MS ? ms : HANDOVER_MAX_MS) + HANDOVER_SLACK_MS;
}

/* A frame of its own, before the request, which stays as it came: no caller can say
 * in a request who it is. */
static bool tell_caller(struct nd_node *n, uint64_t to, const struct nd_forward *f)
{
    const struct nd_caller *c = &f->asker.caller;
    struct sy_buf frame = {0};
    bool sent;

    sy_buf_u64(&frame, f->ref);
    sy_buf_u8(&frame, (uint8_t)c->role);
    sy_buf_put(&frame, c->name, strlen(c->name) + 1);
    sy_buf_put(&frame, c->from, strlen(c->from) + 1);
    sy_buf_u8(&frame, c->by_key);
    sent = nd_replica_send(n->replica, to, ND_FRAME_CALLER, frame.p, frame.len);
    sy_buf_free(&frame);
    return sent;
}

static bool take_text(struct sy_cur *c, char *to, size_t size)
{
    const uint8_t *end = memchr(c->p, '\0', c->n < size ? c->n : size);
    size_t n;

    if (end == NULL) {
        return false;
    }
    n = (size_t)(end - c->p) + 1;
    memcpy(to, c->p, n);
    c->p += n;
    c->n -= n;
    return true;
}

void nd_forward_caller(struct nd_node *n, uint64_t from, const uint8_t *p, size_t len)
{
    struct nd_caller *caller = &n->heard[from].caller;
    struct sy_cur c = {.p = p, .n = len};
    uint64_t ref = sy_cur_u64(&c);
    uint8_t role = sy_cur_u8(&c);

    n->heard[from].ref = 0;
    if (c.bad || role > ND_ROLE_ADMIN ||
        !take_text(&c, caller->name, sizeof caller->name) ||
        !take_text(&c, caller->from, sizeof caller->from)) {
        return;
    }
    caller->role = (enum nd_role)role;
    caller->by_key = sy_cur_u8(&c) != 0;
    n->heard[from].ref = c.bad ? 0 : ref;
}

/* The node that passes it on may not have applied that the key was revoked. */
static struct nd_caller caller_of(struct nd_node *n, uint64_t from, uint64_t ref)
{
    struct nd_caller c = {.role = ND_ROLE_NONE};
    enum nd_role role;

    if (ref == ND_NOTE_REF) { /* The node itself, of what it did. */
        return (struct nd_caller){.role = ND_ROLE_ADMIN, .name = "local"};
    }
    if (n->heard[from].ref == ref) {
        c = n->heard[from].caller;
        role = c.by_key ? nd_keys_role(n, c.name) : c.role;
        c.role = role < c.role ? role : c.role;
    }
    return c;
}

static void send_on(const struct nd_request *q, uint64_t to, const uint8_t *p, size_t len)
{
    const struct nd_asker *asker = &q->asker;
    struct nd_node *n = asker->node;
    struct nd_forward *f = slot(n, 0);
    struct sy_buf frame = {0};

    if (f == NULL) {
        nd_reply_error(asker, "busy", "%d requests wait for the leader already",
                       ND_FORWARDS_MAX);
        return;
    }
    *f = (struct nd_forward){.ref = ++n->forward_ref,
                             .asker = *asker,
                             .began_ms = nd_now_ms(),
                             .deadline_ms = nd_now_ms() + patience_ms(q),
                             .peer = to};
    sy_buf_u64(&frame, f->ref);
    sy_buf_put(&frame, p, len);
    if (!tell_caller(n, to, f) ||
        !nd_replica_send(n->replica, to, ND_FRAME_REQUEST, frame.p, frame.len)) {
        f->ref = 0;
        nd_reply_error(asker, "busy", "the connection to %s is full: ask again",
                       to == cs_core_leader(nd_replica_core(n->replica)) ? "the leader"
                                                                         : "that node");
    }
    sy_buf_free(&frame);
}

void nd_forward_to(const struct nd_request *q, uint64_t node, const uint8_t *p,
                   size_t len)
{
    const struct nd_asker *asker = &q->asker;

    if (asker->peer != 0) {
        nd_reply_error(asker, "invalid", "it was sent to the wrong node: ask again");
    } else if (!ad_peers_linked(nd_replica_peers(asker->node->replica), node)) {
        nd_reply_error(asker, "invalid",
                       "node %llu is not connected: see `vagtctl status`",
                       (unsigned long long)node);
    } else {
        send_on(q, node, p, len);
    }
}

void nd_forward(const struct nd_request *q, const uint8_t *p, size_t len)
{
    const struct nd_asker *asker = &q->asker;
    struct nd_node *n = asker->node;
    uint64_t leader = cs_core_leader(nd_replica_core(n->replica));

    if (asker->peer != 0) {
        nd_reply_error(asker, "not_leader",
                       "the watch changed hands meanwhile: ask again");
        return;
    }
    if (leader == 0 || !ad_peers_linked(nd_replica_peers(n->replica), leader)) {
        nd_reply_error(asker, "no_watch",
                       "no node is on watch as far as node %llu can see: ask again in a "
                       "moment, or see `vagtctl why`",
                       (unsigned long long)n->config.id);
        return;
    }
    send_on(q, leader, p, len);
}

static void give_on(struct nd_forward *f)
{
    ad_zmq_reply(f->asker.node->zmq, &f->asker.client, f->reply.p, f->reply.len);
    sy_buf_free(&f->reply);
    f->ref = 0;
}

static void answered(struct nd_node *n, struct nd_forward *f, const struct sy_cur *reply)
{
    struct sy_cur map = *reply, whole = *reply;

    sy_mp_skip(&whole);
    if (whole.bad || whole.n != 0 || reply->n > ND_REPLY_MAX) {
        return; /* As if it had been lost on the way. */
    }
    sy_buf_put(&f->reply, reply->p, reply->n);
    f->index = nd_map_find(&map, "index") ? sy_mp_get_uint(&map) : 0;
    f->deadline_ms = nd_now_ms() + CATCH_UP_MS;
    if (f->index <= rp_store_index(n->store)) {
        give_on(f);
    }
}

void nd_forward_free(struct nd_node *n)
{
    for (unsigned i = 0; i < ND_FORWARDS_MAX; i++) {
        sy_buf_free(&n->forwards[i].reply);
    }
}

void nd_forward_frame(struct nd_node *n, uint64_t from, uint8_t kind, const uint8_t *p,
                      size_t len)
{
    struct sy_cur c = {.p = p, .n = len};
    uint64_t ref = sy_cur_u64(&c);
    struct nd_asker asker = {.node = n, .peer = from, .ref = ref};
    struct nd_forward *f;

    if (c.bad || ref == 0) {
        return;
    }
    if (kind == ND_FRAME_REQUEST) {
        asker.caller = caller_of(n, from, ref);
        nd_control_handle(n, &asker, c.p, c.n);
        return;
    }
    f = slot(n, ref);
    if (f != NULL && f->peer == from && f->reply.len == 0 && c.n > 0) {
        answered(n, f, &c);
    }
}

void nd_forward_tick(struct nd_node *n)
{
    uint64_t now = nd_now_ms();

    for (unsigned i = 0; i < ND_FORWARDS_MAX; i++) {
        struct nd_forward *f = &n->forwards[i];

        if (f->ref == 0) {
            continue;
        }
        if (f->reply.len > 0) {
            if (f->index <= rp_store_index(n->store) || now >= f->deadline_ms ||
                !ad_peers_linked(nd_replica_peers(n->replica), f->peer)) {
                give_on(f); /* True in any case, though perhaps not known here yet. */
            }
            continue;
        }
        if (!ad_peers_linked(nd_replica_peers(n->replica), f->peer)) {
            f->ref = 0;
            nd_reply_error(
                &f->asker, "unknown_outcome",
                "the leader (node %llu) was lost while it had the request: ask "
                "again with the same id",
                (unsigned long long)f->peer);
        } else if (now >= f->deadline_ms) {
            f->ref = 0;
            nd_reply_error(&f->asker, "timeout",
                           "the leader (node %llu) did not answer within %llu ms: ask "
                           "again with the same id",
                           (unsigned long long)f->peer,
                           (unsigned long long)(now - f->began_ms));
        }
    }
}

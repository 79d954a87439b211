/* Requests of operators: decoded, looked up, answered (docs/protocol.md). */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mp.h"
#include "node/node.h"

static const struct
{
    const char *name;
    void (*handle)(struct nd_request *q);
    bool leader; /* forwarded to the node that leads */
    enum nd_role role;
    enum nd_role change; /* where looking and changing are one: if `arg` is given */
    const char *arg;
} ops[] = {
    {"ping", nd_op_ping, false, ND_ROLE_VIEWER, 0, NULL},
    {"status", nd_op_status, false, ND_ROLE_VIEWER, 0, NULL},
    {"devices", nd_op_devices, false, ND_ROLE_VIEWER, 0, NULL},
    {"send", nd_op_send, true, ND_ROLE_OPERATOR, 0, NULL},
    {"await", nd_op_await, false, ND_ROLE_VIEWER, 0, NULL},
    {"command", nd_op_command, false, ND_ROLE_VIEWER, 0, NULL},
    {"commands", nd_op_commands, false, ND_ROLE_VIEWER, 0, NULL},
    {"cancel", nd_op_cancel, true, ND_ROLE_OPERATOR, 0, NULL},
    {"handover", nd_op_handover, true, ND_ROLE_OPERATOR, 0, NULL},
    {"hash", nd_op_hash, false, ND_ROLE_VIEWER, 0, NULL},
    {"why", nd_op_why, false, ND_ROLE_VIEWER, 0, NULL},
    {"metrics", nd_op_metrics, false, ND_ROLE_VIEWER, 0, NULL},
    {"area", nd_op_area, true, ND_ROLE_OPERATOR, 0, NULL},
    {"members", nd_op_members, false, ND_ROLE_VIEWER, 0, NULL},
    {"maintenance", nd_op_maintenance, false, ND_ROLE_VIEWER, ND_ROLE_OPERATOR, "to"},
    {"restart", nd_op_restart, false, ND_ROLE_OPERATOR, 0, NULL},
    {"members_progress", nd_op_members, true, ND_ROLE_VIEWER, 0, NULL},
    {"members_change", nd_op_members_change, true, ND_ROLE_ADMIN, 0, NULL},
    {"ready", nd_op_ready, false, ND_ROLE_VIEWER, 0, NULL},
    {"bridges", nd_op_bridges, false, ND_ROLE_VIEWER, ND_ROLE_ADMIN, "action"},
    {"files", nd_op_files, false, ND_ROLE_VIEWER, 0, NULL},
    {"files_diff", nd_op_files_diff, false, ND_ROLE_OPERATOR, 0, NULL},
    {"files_rollback", nd_op_files_rollback, true, ND_ROLE_OPERATOR, 0, NULL},
    {"files_forget", nd_op_files_forget, true, ND_ROLE_ADMIN, 0, NULL},
    {"backup", nd_op_backup, false, ND_ROLE_ADMIN, 0, NULL},
    {"drill", nd_op_drill, true, ND_ROLE_OPERATOR, 0, NULL},
    {"drills", nd_op_drills, false, ND_ROLE_VIEWER, 0, NULL},
    {"keys", nd_op_keys, false, ND_ROLE_VIEWER, 0, NULL},
    {"keys_change", nd_op_keys_change, true, ND_ROLE_ADMIN, 0, NULL},
    {"audit", nd_op_audit, false, ND_ROLE_OPERATOR, 0, NULL},
    {"audit_note", nd_op_audit_note, true, ND_ROLE_OPERATOR, 0, NULL},
};

enum { OPS_NR = sizeof ops / sizeof ops[0], OP_SIZE = 32 };

void nd_reply_begin(const struct nd_asker *a, struct sy_buf *b)
{
    sy_mp_map(b, 6);
    sy_mp_kuint(b, "v", 1);
    sy_mp_kuint(b, "id", a->request_id);
    sy_mp_kuint(b, "node", a->node->config.id);
    sy_mp_kuint(b, "index", rp_store_index(a->node->store));
    sy_mp_kbool(b, "ok", true);
    sy_mp_str(b, "result");
}

static void deliver(const struct nd_asker *a, struct sy_buf *b)
{
    struct nd_node *n = a->node;
    struct sy_buf frame = {0};

    if (a->peer == 0) {
        ad_zmq_reply(n->zmq, &a->client, b->p, b->len);
        return;
    }
    sy_buf_u64(&frame, a->ref);
    sy_buf_put(&frame, b->p, b->len);
    (void)nd_replica_send(n->replica, a->peer, ND_FRAME_REPLY, frame.p, frame.len);
    sy_buf_free(&frame);
}

void nd_reply_send(const struct nd_asker *a, struct sy_buf *b)
{
    deliver(a, b);
    sy_buf_free(b);
}

void nd_reply_error(const struct nd_asker *a, const char *code, const char *fmt, ...)
{
    struct sy_buf b = {0};
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sy_mp_map(&b, 5);
    sy_mp_kuint(&b, "v", 1);
    sy_mp_kuint(&b, "id", a->request_id);
    sy_mp_kuint(&b, "node", a->node->config.id);
    sy_mp_kbool(&b, "ok", false);
    sy_mp_str(&b, "error");
    sy_mp_map(&b, 2);
    sy_mp_kstr(&b, "code", code);
    sy_mp_kstr(&b, "text", text);
    nd_reply_send(a, &b);
}

bool nd_reply_applied(const struct nd_asker *a, int status, const char *see)
{
    if (a->node->closing) {
        return false; /* Nobody is told anything any more. */
    }
    if (status == SY_ENOTLEADER) {
        nd_reply_error(a, "not_leader",
                       "the watch changed hands before it was accepted: ask again");
    } else if (status != 0) {
        nd_reply_error(a, "unknown_outcome", "leadership was lost on the way: see %s",
                       see);
    }
    return status == 0;
}

struct head
{
    uint64_t version;
    uint64_t id;
    char op[OP_SIZE];
    struct sy_cur args;
    bool bad;
};

static void decode_head(struct head *h, const uint8_t *p, size_t len)
{
    struct sy_cur c = {.p = p, .n = len};
    uint32_t pairs = sy_mp_get_map(&c);

    *h = (struct head){.version = 0};
    for (uint32_t i = 0; i < pairs && !c.bad; i++) {
        struct sy_mp key = sy_mp_next(&c);
        struct sy_cur value = c;

        sy_mp_skip(&c);
        if (c.bad) {
            break;
        }
        if (sy_mp_is(&key, "v")) {
            h->version = sy_mp_get_uint(&value);
        } else if (sy_mp_is(&key, "id")) {
            h->id = sy_mp_get_uint(&value);
        } else if (sy_mp_is(&key, "op")) {
            sy_mp_get_str(&value, h->op, sizeof h->op);
        } else if (sy_mp_is(&key, "args")) {
            h->args = (struct sy_cur){.p = value.p, .n = (size_t)(c.p - value.p)};
        }
        h->bad = h->bad || value.bad;
    }
    h->bad = h->bad || c.bad || c.n != 0;
}

/* What arguments are, whichever operation they belong to. @size: text, with the zero
 * byte; 0: none. A value that is wrong must not be taken for one that was left out:
 * the id that a caller chose is what keeps a command from being done twice. */
static const struct
{
    const char *name;
    size_t size;
    bool number, truth;
} arguments[] = {
    {"device", RP_NAME_SIZE, false, false},
    {"area", RP_NAME_SIZE, false, false},
    {"property", RP_PROP_SIZE, false, false},
    {"value", RP_VALUE_SIZE, false, false},
    {"id", RP_ID_SIZE, false, false},
    {"source", RP_PROP_SIZE, false, false},
    {"name", RP_NAME_SIZE, false, false},
    {"to", RP_NAME_SIZE, true, false},
    {"node", RP_NAME_SIZE, true, false},
    {"action", RP_NAME_SIZE, false, false},
    {"peer", RP_NAME_SIZE, false, false},
    {"control", AD_ZMQ_ENDPOINT_SIZE, false, false},
    {"role", RP_NAME_SIZE, false, false},
    {"timeout_ms", 0, true, false},
    {"limit", 0, true, false},
    {"after", 0, true, false},
    {"before", 0, true, false},
    {"set", RP_FILES_NAME_SIZE, false, false},
    {"version", 0, true, false},
    {"dir", ND_PATH_SIZE, false, false},
    {"encrypt_to", ND_PATH_SIZE, false, false},
    {"index", 0, true, false},
    {"until_ms", 0, true, false},
    {"for_ms", 0, true, false},
    {"kind", RP_DRILL_KIND_SIZE, false, false},
    {"canary", ND_DRILL_CANARY_SIZE, false, false},
    {"budget_ms", 0, true, false},
    {"who", RP_AUDIT_WHO_SIZE, false, false},
    {"verify", 0, false, true},
    {"dry_run", 0, false, true},
    {"force", 0, false, true},
    {"open", 0, false, true},
    {"key", 64, false, false},
};

enum { ARGUMENTS_NR = sizeof arguments / sizeof arguments[0] };

_Static_assert(ARGUMENTS_NR <= 64, "a set of them fits into a word");

int nd_control_argument(const struct sy_mp *name)
{
    for (size_t i = 0; i < ARGUMENTS_NR; i++) {
        if (sy_mp_is(name, arguments[i].name)) {
            return (int)i;
        }
    }
    return -1;
}

static bool is_text(const struct sy_mp *m, size_t size)
{
    uint32_t at = 0;

    if (m->type != SY_MP_STR || m->len >= size) {
        return false;
    }
    while (at < m->len) {
        uint32_t cp;
        size_t len = sy_utf8_next(m->s + at, m->len - at, &cp);

        if (cp == 0 || (cp == 0xfffd && len == 1)) {
            return false;
        }
        at += (uint32_t)len;
    }
    return true;
}

/* Answers itself if not. */
static bool check_arg(struct nd_request *q, size_t i, const struct sy_mp *m)
{
    if (m->type == SY_MP_NIL || is_text(m, arguments[i].size) ||
        (arguments[i].number && m->type == SY_MP_UINT) ||
        (arguments[i].truth && m->type == SY_MP_BOOL)) {
        return true;
    }
    if (arguments[i].size > 0) {
        nd_reply_error(&q->asker, "invalid",
                       "'%s' must be UTF-8 text of at most %zu bytes%s",
                       arguments[i].name, arguments[i].size - 1,
                       arguments[i].number ? ", or a number from 0" : "");
    } else {
        nd_reply_error(&q->asker, "invalid", "'%s' must be %s", arguments[i].name,
                       arguments[i].number ? "a number from 0" : "true or false");
    }
    return false;
}

static bool check_args(struct nd_request *q)
{
    struct sy_cur c = q->args;
    uint32_t pairs = c.n > 0 ? sy_mp_get_map(&c) : 0;

    if (c.bad) {
        nd_reply_error(&q->asker, "invalid", "'args' must be a map");
        return false;
    }
    for (uint32_t i = 0; i < pairs; i++) {
        struct sy_mp key = sy_mp_next(&c);
        struct sy_cur value = c;
        struct sy_mp m;

        sy_mp_skip(&c);
        m = sy_mp_next(&value);
        for (size_t k = 0; k < ARGUMENTS_NR; k++) {
            if (sy_mp_is(&key, arguments[k].name) && !check_arg(q, k, &m)) {
                return false;
            }
        }
    }
    return true;
}

static enum nd_role role_for(size_t op, struct sy_cur args)
{
    char text[32];

    if (ops[op].arg == NULL) {
        return ops[op].role;
    }
    nd_map_str(args, ops[op].arg, text, sizeof text);
    return text[0] != '\0' ? ops[op].change : ops[op].role;
}

void nd_control_handle(struct nd_node *n, const struct nd_asker *asker, const uint8_t *p,
                       size_t len)
{
    struct nd_request q = {.asker = *asker};
    struct head h;

    decode_head(&h, p, len);
    q.asker.request_id = h.id;
    if (h.bad) {
        nd_reply_error(&q.asker, "invalid",
                       "the request is not MessagePack of the form "
                       "{v, id, op, args}");
        return;
    }
    if (h.version != 1) {
        nd_reply_error(&q.asker, "invalid",
                       "protocol version %llu is not known here: this node speaks 1",
                       (unsigned long long)h.version);
        return;
    }
    for (size_t i = 0; i < OPS_NR; i++) {
        if (strcmp(ops[i].name, h.op) != 0) {
            continue;
        }
        q.op = ops[i].name;
        q.args = h.args;
        q.raw = p;
        q.raw_len = len;
        if (!check_args(&q) || !nd_keys_may(&q, role_for(i, q.args))) {
            return;
        }
        if (ops[i].leader && nd_replica_leading(n->replica) == 0) {
            nd_forward(&q, p, len);
        } else {
            uint64_t before = nd_audit_begin(n);

            ops[i].handle(&q);
            if (ops[i].handle != nd_op_audit_note) {
                nd_audit_end(&q, before);
            }
        }
        return;
    }
    nd_reply_error(&q.asker, "invalid", "no operation is called '%s'", h.op);
}

static void on_request(void *data, const struct ad_zmq_client *client,
                       const struct ad_zmq_who *who, const uint8_t *p, size_t len)
{
    struct nd_node *n = data;
    struct nd_asker asker = {.node = n, .client = *client};

    nd_keys_caller(n, who, &asker.caller);
    nd_control_handle(n, &asker, p, len);
}

int nd_control_open(struct nd_node *n, struct sy_errbuf *eb)
{
    struct ad_zmq_owner owner = {
        .data = n, .request = on_request, .admit = nd_keys_admit};

    return ad_zmq_open(&n->zmq, n->loop, &n->log, &n->config.control, &owner, eb);
}

void nd_control_tick(struct nd_node *n)
{
    nd_awaits_tick(n);
    nd_forward_tick(n);
    nd_handover_tick(n);
}

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
} ops[] = {
    {"ping", nd_op_ping, false},
    {"status", nd_op_status, false},
    {"devices", nd_op_devices, false},
    {"send", nd_op_send, true},
    {"await", nd_op_await, false},
    {"command", nd_op_command, false},
    {"commands", nd_op_commands, false},
    {"cancel", nd_op_cancel, true},
    {"handover", nd_op_handover, true},
    {"hash", nd_op_hash, false},
    {"why", nd_op_why, false},
    {"metrics", nd_op_metrics, false},
    {"area", nd_op_area, true},
    {"members", nd_op_members, false},
    {"maintenance", nd_op_maintenance, false},
    {"restart", nd_op_restart, false},
    {"members_progress", nd_op_members, true},
    {"members_change", nd_op_members_change, true},
    {"ready", nd_op_ready, false},
    {"bridges", nd_op_bridges, false},
    {"files", nd_op_files, false},
    {"files_diff", nd_op_files_diff, false},
    {"files_rollback", nd_op_files_rollback, true},
    {"files_forget", nd_op_files_forget, true},
    {"backup", nd_op_backup, false},
    {"drill", nd_op_drill, true},
    {"drills", nd_op_drills, false},
    {"audit", nd_op_audit, false},
    {"audit_note", nd_op_audit_note, true},
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
};

enum { ARGUMENTS_NR = sizeof arguments / sizeof arguments[0] };

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
        if (!check_args(&q)) {
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

static void on_request(void *data, const struct ad_zmq_client *client, const uint8_t *p,
                       size_t len)
{
    struct nd_node *n = data;
    struct nd_asker asker = {.node = n, .client = *client};

    nd_control_handle(n, &asker, p, len);
}

int nd_control_open(struct nd_node *n, struct sy_errbuf *eb)
{
    return ad_zmq_open(&n->zmq, n->loop, &n->log, &n->config.control, on_request, n, eb);
}

void nd_control_tick(struct nd_node *n)
{
    nd_awaits_tick(n);
    nd_forward_tick(n);
    nd_handover_tick(n);
}

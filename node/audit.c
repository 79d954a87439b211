/* Records of changes: taken down here, by the node that leads (audit.h). */

#include "node/audit.h"

#include <stdio.h>
#include <string.h>

#include "base/mp.h"
#include "node/node.h"

enum {
    PAGE_DEFAULT = 50,
    PAGE_MAX = 500,
    AGAIN_MS = 2000,
    HEX_SIZE = 65,
    VALUE_MAX = 48
};

/* --- who, and what about --- */

static void put_caller(struct nd_node *n, const struct nd_asker *asker,
                       struct rp_audit *a)
{
    snprintf(a->who, sizeof a->who, "%s",
             asker == NULL                   ? "vagtd"
             : asker->caller.name[0] != '\0' ? asker->caller.name
                                             : "operator");
    if (asker != NULL && asker->caller.from[0] != '\0') {
        snprintf(a->from, sizeof a->from, "%s", asker->caller.from);
    } else {
        snprintf(a->from, sizeof a->from, "node %s", nd_config_self(&n->config)->name);
    }
}

static void put_text(struct sy_buf *b, const char *s, size_t len)
{
    size_t n = len <= VALUE_MAX ? len : VALUE_MAX;
    bool quoted = memchr(s, ' ', len) != NULL || memchr(s, '"', len) != NULL;

    while (n < len && n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80) {
        n--; /* Not in the middle of a character. */
    }
    sy_buf_str(b, quoted ? "\"" : "");
    for (size_t i = 0; i < n; i++) {
        sy_buf_u8(b, (uint8_t)(s[i] == '"' ? '\'' : s[i]));
    }
    sy_buf_str(b, n < len ? "..." : "");
    sy_buf_str(b, quoted ? "\"" : "");
}

static void put_value(struct sy_buf *b, const struct sy_mp *m)
{
    if (m->type == SY_MP_STR) {
        put_text(b, m->s, m->len);
    } else if (m->type == SY_MP_UINT) {
        sy_buf_fmt(b, "%llu", (unsigned long long)m->u);
    } else {
        sy_buf_str(b, m->type == SY_MP_BOOL && m->b ? "yes" : "no");
    }
}

/* The arguments as they came: "area=kitchen to=off". Only those that an operation may
 * know, each once: nothing else may push them out, or look like one of them. */
static void put_about(const struct nd_request *q, struct sy_buf *b)
{
    struct sy_cur c = q->args;
    uint32_t pairs = c.n > 0 ? sy_mp_get_map(&c) : 0;
    uint64_t seen = 0;

    for (uint32_t i = 0; i < pairs && !c.bad; i++) {
        struct sy_mp key = sy_mp_next(&c);
        int known = nd_control_argument(&key);
        struct sy_cur value = c;
        struct sy_mp m = sy_mp_next(&value);

        sy_mp_skip(&c);
        if (known >= 0 && (seen >> known & 1U) == 0 &&
            (m.type == SY_MP_STR || m.type == SY_MP_UINT || m.type == SY_MP_BOOL)) {
            seen |= UINT64_C(1) << known;
            sy_buf_str(b, b->len > 0 ? " " : "");
            sy_buf_put(b, key.s, key.len);
            sy_buf_str(b, "=");
            put_value(b, &m);
        }
    }
    sy_buf_u8(b, 0);
}

/* --- beside the inputs of an operation --- */

uint64_t nd_audit_begin(struct nd_node *n)
{
    return nd_replica_group(n->replica);
}

void nd_audit_end(const struct nd_request *q, uint64_t before)
{
    struct nd_node *n = q->asker.node;
    uint64_t grown = nd_replica_inputs(n->replica) - before;
    struct sy_buf about = {0};
    struct rp_audit a;

    if (grown == 0) {
        return;
    }
    put_caller(n, &q->asker, &a);
    put_about(q, &about);
    rp_batch_audit(nd_replica_batch(n->replica), (uint32_t)grown, a.who, a.from, q->op,
                   (const char *)about.p, "done");
    sy_buf_free(&about);
}

/* --- what goes by no entry --- */

static bool seen(struct nd_node *n, const struct nd_audit_note *note)
{
    const struct rp_audit *a = &note->a, *o;

    for (uint64_t nr = rp_store_audit_last(n->store); nr > note->behind; nr--) {
        o = rp_store_audit(n->store, nr);
        if (o == NULL) {
            break;
        }
        if (strcmp(o->who, a->who) == 0 && strcmp(o->what, a->what) == 0 &&
            strcmp(o->about, a->about) == 0 && strcmp(o->result, a->result) == 0) {
            return true;
        }
    }
    return false;
}

static void send_note(struct nd_node *n, uint64_t to, const struct rp_audit *a)
{
    struct sy_buf b = {0};

    sy_buf_u64(&b, ND_NOTE_REF); /* Nobody waits for the answer: the state has it. */
    sy_mp_map(&b, 4);
    sy_mp_kuint(&b, "v", 1);
    sy_mp_kuint(&b, "id", 1);
    sy_mp_kstr(&b, "op", "audit_note");
    sy_mp_str(&b, "args");
    sy_mp_map(&b, 5);
    sy_mp_kstr(&b, "who", a->who);
    sy_mp_kstr(&b, "from", a->from);
    sy_mp_kstr(&b, "what", a->what);
    sy_mp_kstr(&b, "about", a->about);
    sy_mp_kstr(&b, "result", a->result);
    (void)nd_replica_send(n->replica, to, ND_FRAME_REQUEST, b.p, b.len);
    sy_buf_free(&b);
}

static void propose(struct nd_node *n, const struct rp_audit *a)
{
    rp_batch_audit(nd_replica_batch(n->replica), 0, a->who, a->from, a->what, a->about,
                   a->result);
}

static void tell(struct nd_node *n, struct nd_audit_note *note)
{
    uint64_t leader = cs_core_leader(nd_replica_core(n->replica));
    uint64_t now = nd_now_ms();

    if (now < note->due_ms) {
        return;
    }
    if (nd_replica_leading(n->replica) != 0) {
        propose(n, &note->a);
    } else if (leader != 0 && ad_peers_linked(nd_replica_peers(n->replica), leader)) {
        send_note(n, leader, &note->a);
    } else {
        return;
    }
    note->due_ms = now + AGAIN_MS;
}

void nd_audit_note(struct nd_node *n, const struct nd_asker *asker, const char *what,
                   const char *about, const char *result)
{
    for (unsigned i = 0; i < ND_AUDIT_NOTES_MAX; i++) {
        struct nd_audit_note *note = &n->audit.notes[i];

        if (!note->used) {
            *note = (struct nd_audit_note){.used = true,
                                           .behind = rp_store_audit_last(n->store)};
            put_caller(n, asker, &note->a);
            snprintf(note->a.what, sizeof note->a.what, "%s", what);
            snprintf(note->a.about, sizeof note->a.about, "%s", about);
            snprintf(note->a.result, sizeof note->a.result, "%s", result);
            tell(n, note);
            return;
        }
    }
    n->audit.lost++;
    SY_LOG(&n->log, SY_WARN, "audit.lost", KSTR("what", what), KSTR("about", about));
}

/* A start with another configuration than the last one is a change, too. */
static void tell_config(struct nd_node *n)
{
    const char *name = nd_config_self(&n->config)->name;
    char about[RP_AUDIT_ABOUT_SIZE];
    size_t len = strlen(name);

    snprintf(about, sizeof about, "%s %s", name, n->config.checksum);
    for (uint64_t nr = rp_store_audit_last(n->store); nr > 0; nr--) {
        const struct rp_audit *a = rp_store_audit(n->store, nr);

        if (a == NULL) {
            break;
        }
        if (strcmp(a->what, "configuration") == 0 && strncmp(a->about, name, len) == 0 &&
            a->about[len] == ' ') {
            if (strcmp(a->about, about) == 0) {
                return;
            }
            break;
        }
    }
    nd_audit_note(n, NULL, "configuration", about, "in use");
}

void nd_audit_tend(struct nd_node *n)
{
    for (unsigned i = 0; i < ND_AUDIT_NOTES_MAX; i++) {
        struct nd_audit_note *note = &n->audit.notes[i];

        if (note->used && seen(n, note)) {
            note->used = false;
        } else if (note->used) {
            tell(n, note);
        }
    }
    if (!n->audit.config_told && !n->joining && nd_watch_is_kept(n) &&
        cs_core_applied(nd_replica_core(n->replica)) >= n->upkeep.boot_last) {
        n->audit.config_told = true;
        tell_config(n);
    }
}

/* From another node only, of its own, not passed on: nobody tells us who he is. */
void nd_op_audit_note(struct nd_request *q)
{
    struct rp_audit a;

    nd_map_str(q->args, "who", a.who, sizeof a.who);
    nd_map_str(q->args, "from", a.from, sizeof a.from);
    nd_map_str(q->args, "what", a.what, sizeof a.what);
    nd_map_str(q->args, "about", a.about, sizeof a.about);
    nd_map_str(q->args, "result", a.result, sizeof a.result);
    if (q->asker.peer == 0 || q->asker.ref != ND_NOTE_REF || a.who[0] == '\0' ||
        a.what[0] == '\0') {
        nd_reply_error(&q->asker, "invalid", "only nodes of the cluster say that");
    } else if (nd_replica_leading(q->asker.node->replica) != 0) {
        propose(q->asker.node, &a);
    }
}

/* --- looking --- */

static void put_hex(struct sy_buf *b, const char *key, const uint8_t *hash)
{
    char text[HEX_SIZE];

    for (unsigned i = 0; i < SY_SHA256_SIZE; i++) {
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
    }
    sy_mp_kstr(b, key, text);
}

static void put_record(struct nd_node *n, struct sy_buf *b, uint64_t nr)
{
    const struct rp_audit *a = rp_store_audit(n->store, nr);

    sy_mp_map(b, 10);
    sy_mp_kuint(b, "nr", a->nr);
    sy_mp_kuint(b, "at_ms", a->at_ms);
    sy_mp_kuint(b, "node", a->node);
    sy_mp_kstr(b, "who", a->who);
    sy_mp_kstr(b, "from", a->from);
    sy_mp_kstr(b, "what", a->what);
    sy_mp_kstr(b, "about", a->about);
    sy_mp_kstr(b, "result", a->result);
    put_hex(b, "before", rp_store_audit_before(n->store, nr));
    put_hex(b, "hash", a->hash);
}

/* Numbers of the records that are asked for, ascending: those behind `after`, or the
 * newest. */
static uint32_t choose(struct nd_request *q, uint64_t to[static PAGE_MAX])
{
    const struct rp_store *s = q->asker.node->store;
    uint64_t first = rp_store_audit_first(s), last = rp_store_audit_last(s);
    uint64_t limit = nd_map_uint(q->args, "limit", PAGE_DEFAULT);
    struct sy_cur at = q->args;
    bool forward = nd_map_find(&at, "after");
    uint64_t after = nd_map_uint(q->args, "after", 0);
    char who[RP_AUDIT_WHO_SIZE];
    uint32_t count = 0;

    nd_map_str(q->args, "who", who, sizeof who);
    limit = limit == 0 || limit > PAGE_MAX ? PAGE_MAX : limit;
    if (forward && after >= last) {
        return 0;
    }
    first = forward && after >= first ? after + 1 : first;
    for (uint64_t i = 0; first + i <= last && count < limit; i++) {
        uint64_t nr = forward ? first + i : last - i;

        if (who[0] == '\0' || strcmp(rp_store_audit(s, nr)->who, who) == 0) {
            to[count++] = nr;
        }
    }
    for (uint32_t i = 0; !forward && i < count / 2; i++) {
        uint64_t nr = to[i];

        to[i] = to[count - 1 - i];
        to[count - 1 - i] = nr;
    }
    return count;
}

void nd_op_audit(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    struct sy_cur at = q->args;
    bool verify = nd_map_find(&at, "verify") && sy_mp_get_bool(&at);
    uint64_t found[PAGE_MAX];
    uint32_t count = choose(q, found);
    struct sy_buf b = {0};

    nd_reply_begin(&q->asker, &b);
    sy_mp_map(&b, verify ? 4 : 3);
    sy_mp_kuint(&b, "first", rp_store_audit_first(n->store));
    sy_mp_kuint(&b, "last", rp_store_audit_last(n->store));
    if (verify) {
        sy_mp_kuint(&b, "broken", rp_store_audit_broken(n->store));
    }
    sy_mp_str(&b, "records");
    sy_mp_array(&b, count);
    for (uint32_t i = 0; i < count; i++) {
        put_record(n, &b, found[i]);
    }
    nd_reply_send(&q->asker, &b);
}

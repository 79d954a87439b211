#include "node/keys.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/mp.h"
#include "node/node.h"

#define PREFIX "key."

enum {
    PREFIX_LEN = sizeof PREFIX - 1,
    KEY_LEN = AD_ZAP_KEY_SIZE - 1,
    CUT_AGAIN_MS = 1000
};

/* More than an operator or a dashboard needs, less than what would be felt. */
static const struct rp_bucket_config limits[ND_KEY_USES] = {
    [ND_USE_LOOK] = {.per_second = 50, .burst = 200},
    [ND_USE_CHANGE] = {.per_second = 20, .burst = 100},
};
static const struct rp_bucket_config telling_limit = {.per_second = 2, .burst = 20};

const char *nd_role_name(enum nd_role role)
{
    static const char *const names[] = {[ND_ROLE_NONE] = NULL,
                                        [ND_ROLE_VIEWER] = "viewer",
                                        [ND_ROLE_OPERATOR] = "operator",
                                        [ND_ROLE_ADMIN] = "admin"};

    return names[role];
}

enum nd_role nd_role_of(const char *name)
{
    for (enum nd_role r = ND_ROLE_VIEWER; r <= ND_ROLE_ADMIN; r++) {
        if (strcmp(name, nd_role_name(r)) == 0) {
            return r;
        }
    }
    return ND_ROLE_NONE;
}

/* --- the facts --- */

struct entry
{
    const char *name; /* borrowed of the fact */
    const char *key;
    enum nd_role role;
};

/* False: it is not about a key. */
static bool entry_of(const struct rp_fact *f, struct entry *e)
{
    char role[16];
    const char *blank = strchr(f->value, ' ');
    size_t n = blank != NULL ? (size_t)(blank - f->value) : sizeof role;

    if (strncmp(f->key, PREFIX, PREFIX_LEN) != 0 || n >= sizeof role) {
        return false;
    }
    memcpy(role, f->value, n);
    role[n] = '\0';
    *e = (struct entry){
        .name = f->key + PREFIX_LEN, .key = blank + 1, .role = nd_role_of(role)};
    return e->role != ND_ROLE_NONE;
}

static bool find_key(const struct nd_node *n, const char *key, struct entry *ret)
{
    for (uint32_t i = 0; i < rp_store_facts(n->store); i++) {
        if (entry_of(rp_store_fact_at(n->store, i), ret) && strcmp(ret->key, key) == 0) {
            return true;
        }
    }
    return false;
}

enum nd_role nd_keys_role(const struct nd_node *n, const char *name)
{
    char key[RP_FACT_KEY_SIZE];
    const struct rp_fact *f;
    struct entry e;

    snprintf(key, sizeof key, PREFIX "%s", name);
    f = rp_store_fact(n->store, key);
    return f != NULL && entry_of(f, &e) ? e.role : ND_ROLE_NONE;
}

static unsigned count_keys(const struct nd_node *n)
{
    struct entry e;
    unsigned count = 0;

    for (uint32_t i = 0; i < rp_store_facts(n->store); i++) {
        count += entry_of(rp_store_fact_at(n->store, i), &e);
    }
    return count;
}

/* --- who comes --- */

bool nd_keys_admit(void *data, const char key[AD_ZAP_KEY_SIZE], const char *address)
{
    struct nd_node *n = data;
    struct entry e;

    if (find_key(n, key, &e)) {
        return true;
    }
    n->keys.refused++;
    if (rp_bucket_take(&n->keys.telling, &telling_limit, nd_now_ms())) {
        SY_LOG(&n->log, SY_WARN, "control.refused", KSTR("who", ""),
               KSTR("from", address), KSTR("what", "connect"),
               KSTR("why", "its key is not known here, or was revoked"));
    }
    return false;
}

static const char *own_name(const struct nd_node *n)
{
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        if (n->config.nodes[i].id == n->config.id) {
            return n->config.nodes[i].name;
        }
    }
    return "?";
}

void nd_keys_caller(const struct nd_node *n, const struct ad_zmq_who *who,
                    struct nd_caller *ret)
{
    struct entry e;

    *ret = (struct nd_caller){.role = ND_ROLE_ADMIN, .name = "network"};
    if (who->local) {
        snprintf(ret->name, sizeof ret->name, who->uid == 0 ? "root" : "uid %u",
                 who->uid);
        snprintf(ret->from, sizeof ret->from, "pid %u on %.40s", who->pid, own_name(n));
        return;
    }
    snprintf(ret->from, sizeof ret->from, "%s at %.15s", who->address, own_name(n));
    ret->by_key = who->sealed;
    if (who->sealed) {
        bool known = find_key(n, who->key, &e);

        ret->role = known ? e.role : ND_ROLE_NONE;
        snprintf(ret->name, sizeof ret->name, "%s", known ? e.name : "");
    }
}

/* --- what it may --- */

static void refuse(struct nd_request *q, const char *code, const char *why)
{
    struct nd_node *n = q->asker.node;
    const struct nd_caller *c = &q->asker.caller;

    if (rp_bucket_take(&n->keys.telling, &telling_limit, nd_now_ms())) {
        SY_LOG(&n->log, SY_WARN, "control.refused", KSTR("who", c->name),
               KSTR("from", c->from), KSTR("what", q->op), KSTR("why", why));
    }
    nd_reply_error(&q->asker, code, "%s", why);
}

/* The buckets of a key; those that were not used for longest make room. */
static struct rp_bucket *buckets_of(struct nd_keys *k, const char *key, uint64_t now)
{
    unsigned oldest = 0;

    for (unsigned i = 0; i < ND_KEYS_MAX; i++) {
        if (strcmp(k->rates[i].key, key) == 0) {
            k->rates[i].used_ms = now;
            return k->rates[i].bucket;
        }
        oldest = k->rates[i].used_ms < k->rates[oldest].used_ms ? i : oldest;
    }
    memset(&k->rates[oldest], 0, sizeof k->rates[oldest]);
    snprintf(k->rates[oldest].key, sizeof k->rates[oldest].key, "%s", key);
    k->rates[oldest].used_ms = now;
    return k->rates[oldest].bucket;
}

bool nd_keys_may(struct nd_request *q, enum nd_role need)
{
    struct nd_node *n = q->asker.node;
    const struct nd_caller *c = &q->asker.caller;
    enum nd_key_use use = need == ND_ROLE_VIEWER ? ND_USE_LOOK : ND_USE_CHANGE;
    uint64_t now = nd_now_ms();
    char why[160];

    if (c->role < need) {
        n->keys.refused++;
        if (c->role == ND_ROLE_NONE && c->name[0] == '\0' && q->asker.peer != 0) {
            snprintf(
                why, sizeof why,
                "the node that passed it on did not say for whom: ask again; if that "
                "does not help it runs an older vagtd: install this one there");
        } else if (c->role == ND_ROLE_NONE) {
            snprintf(why, sizeof why, "this key was revoked");
        } else {
            snprintf(why, sizeof why,
                     "needs the role %s, and %s is %s: an admin can give another "
                     "(`vagtctl keys add`)",
                     nd_role_name(need), c->name, nd_role_name(c->role));
        }
        refuse(q, "forbidden", why);
        return false;
    }
    /* Counted where it came in. Who sits at the machine can do worse than ask often. */
    if (q->asker.peer == 0 && q->asker.client.sealed &&
        !rp_bucket_take(&buckets_of(&n->keys, c->name, now)[use], &limits[use], now)) {
        n->keys.limited++;
        snprintf(why, sizeof why, "too many requests: at most %u a second of this kind",
                 limits[use].per_second);
        refuse(q, "too_many", why);
        return false;
    }
    return true;
}

static bool has(const uint64_t *list, unsigned n, uint64_t hash)
{
    for (unsigned i = 0; i < n; i++) {
        if (list[i] == hash) {
            return true;
        }
    }
    return false;
}

void nd_keys_tend(struct nd_node *n)
{
    struct nd_keys *k = &n->keys;
    uint64_t now[ND_KEYS_MAX];
    unsigned now_n = 0;
    bool gone = false;
    struct entry e;

    for (uint32_t i = 0; i < rp_store_facts(n->store) && now_n < ND_KEYS_MAX; i++) {
        const struct rp_fact *f = rp_store_fact_at(n->store, i);

        if (entry_of(f, &e)) {
            uint64_t hash = sy_hash(f->key, strlen(f->key), 1);

            now[now_n++] = sy_hash(f->value, strlen(f->value), hash);
        }
    }
    for (unsigned i = 0; i < k->seen_n; i++) {
        gone = gone || !has(now, now_n, k->seen[i]);
    }
    memcpy(k->seen, now, now_n * sizeof now[0]);
    k->seen_n = now_n;
    /* And once more a moment later: who was just coming in when it was revoked. */
    if (gone || (k->cut_again_ms != 0 && nd_now_ms() >= k->cut_again_ms)) {
        k->cut_again_ms = gone ? nd_now_ms() + CUT_AGAIN_MS : 0;
        ad_zmq_ask_again(n->zmq);
    }
}

/* --- operations --- */

void nd_op_keys(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    struct sy_buf b = {0};
    struct entry e;

    nd_reply_begin(&q->asker, &b);
    sy_mp_map(&b, 2);
    sy_mp_kbool(&b, "sealed", n->config.control.secret_key[0] != '\0');
    sy_mp_str(&b, "keys");
    sy_mp_array(&b, count_keys(n));
    for (uint32_t i = 0; i < rp_store_facts(n->store); i++) {
        if (entry_of(rp_store_fact_at(n->store, i), &e)) {
            sy_mp_map(&b, 3);
            sy_mp_kstr(&b, "name", e.name);
            sy_mp_kstr(&b, "role", nd_role_name(e.role));
            sy_mp_kstr(&b, "key", e.key);
        }
    }
    nd_reply_send(&q->asker, &b);
}

struct pending
{
    struct nd_wait wait;
    struct nd_asker asker;
    char name[ND_CALLER_NAME_SIZE];
};

static void committed(void *data, int status)
{
    struct pending *p = data;
    struct sy_buf b = {0};

    if (nd_reply_applied(&p->asker, status, "`vagtctl keys`")) {
        nd_reply_begin(&p->asker, &b);
        sy_mp_map(&b, 1);
        sy_mp_kstr(&b, "name", p->name);
        nd_reply_send(&p->asker, &b);
    }
    sy_free(p);
}

static void change(struct nd_request *q, const char *name, const char *value)
{
    struct nd_node *n = q->asker.node;
    struct pending *p = sy_calloc(1, sizeof *p);
    char key[RP_FACT_KEY_SIZE];

    p->asker = q->asker;
    snprintf(p->name, sizeof p->name, "%s", name);
    snprintf(key, sizeof key, PREFIX "%s", name);
    SY_LOG(&n->log, SY_NOTE, value[0] != '\0' ? "key.added" : "key.revoked",
           KSTR("name", name), KSTR("by", q->asker.caller.name),
           KSTR("from", q->asker.caller.from));
    rp_batch_fact(nd_replica_batch(n->replica), key, value);
    nd_replica_wait(n->replica, &p->wait, committed, p);
}

static bool name_ok(const char *name)
{
    return name[0] != '\0' && strlen(name) <= 32 &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.")] == '\0';
}

/* Z85, spec/32. */
static bool key_ok(const char *key)
{
    static const char letters[] =
        "0123456789abcdefghijklmnopqrstuvwxyz"
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

    return strlen(key) == KEY_LEN && key[strspn(key, letters)] == '\0';
}

static void add(struct nd_request *q, const char *name)
{
    struct nd_node *n = q->asker.node;
    char role[16], key[64], fact[RP_FACT_KEY_SIZE], value[RP_FACT_VALUE_SIZE];
    struct entry e;

    snprintf(fact, sizeof fact, PREFIX "%s", name);
    nd_map_str(q->args, "role", role, sizeof role);
    nd_map_str(q->args, "key", key, sizeof key);
    if (nd_role_of(role) == ND_ROLE_NONE) {
        nd_reply_error(&q->asker, "invalid", "'%s' is no role: viewer, operator or admin",
                       role);
    } else if (!key_ok(key)) {
        nd_reply_error(&q->asker, "invalid",
                       "that is no public key: 40 characters of Z85, as `vagtctl keys "
                       "new` prints them");
    } else if (find_key(n, key, &e) && strcmp(e.name, name) != 0) {
        nd_reply_error(&q->asker, "exists", "this key is %s's already", e.name);
    } else if (count_keys(n) >= ND_KEYS_MAX && rp_store_fact(n->store, fact) == NULL) {
        nd_reply_error(&q->asker, "limit", "there are %d keys already: revoke one first",
                       ND_KEYS_MAX);
    } else {
        snprintf(value, sizeof value, "%s %s", role, key);
        change(q, name, value);
    }
}

void nd_op_keys_change(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    char action[16], name[64], key[RP_FACT_KEY_SIZE];

    nd_map_str(q->args, "action", action, sizeof action);
    nd_map_str(q->args, "name", name, sizeof name);
    if (!name_ok(name)) {
        nd_reply_error(&q->asker, "invalid",
                       "'%s' is no name for a key: 1 to 32 of a-z, 0-9, '-' and '.'",
                       name);
        return;
    }
    snprintf(key, sizeof key, PREFIX "%s", name);
    if (strcmp(action, "add") == 0) {
        add(q, name);
    } else if (strcmp(action, "revoke") != 0) {
        nd_reply_error(&q->asker, "invalid", "keys are added or revoked, not '%s'",
                       action);
    } else if (rp_store_fact(n->store, key) == NULL) {
        nd_reply_error(&q->asker, "not_found",
                       "no key is called '%s': see `vagtctl keys`", name);
    } else {
        change(q, name, "");
    }
}

/* Versions of files for operators: which there are, what came with each, and an old one
 * made the newest again. What differs within them: ops_files_diff.c. */

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/mp.h"
#include "node/node.h"

enum { CHANGES_SHOWN = 8 };

const char *nd_node_name(const struct nd_node *n, uint64_t id)
{
    const struct nd_config_node *c = nd_config_node(&n->config, id);

    return c != NULL ? c->name : "?";
}

/* --- list --- */

/* Whose folder has all contents of the newest version, as far as one hears. */
static void put_holders(struct nd_node *n, struct sy_buf *b, const char *set, uint64_t nr)
{
    uint32_t count = 0;

    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        count += nd_files_on(n, n->config.nodes[i].id, set, nr);
    }
    sy_mp_str(b, "on");
    sy_mp_array(b, count);
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        if (nd_files_on(n, n->config.nodes[i].id, set, nr)) {
            sy_mp_str(b, n->config.nodes[i].name);
        }
    }
}

static void put_set(struct nd_node *n, struct sy_buf *b, const char *name,
                    const char *dir)
{
    const struct rp_files_set *set = rp_store_files_set(n->store, name);
    const struct rp_files_version *v = rp_store_files_version(n->store, name, 0);

    sy_mp_map(b, v != NULL ? 10 : 2);
    sy_mp_kstr(b, "set", name);
    sy_mp_kstr(b, "dir", dir); /* "": no folder of the configuration is called so */
    if (v == NULL) {
        return;
    }
    sy_mp_kuint(b, "version", v->nr);
    sy_mp_kuint(b, "versions", set->kept);
    sy_mp_kuint(b, "at_ms", v->at_ms);
    sy_mp_kstr(b, "by", nd_node_name(n, v->node));
    sy_mp_kuint(b, "from", v->from);
    sy_mp_kuint(b, "files", v->n);
    sy_mp_kuint(b, "bytes", v->bytes);
    put_holders(n, b, name, v->nr);
}

/* Those of the configuration, then those that only the state knows. */
void nd_files_put_sets(struct nd_node *n, struct sy_buf *b)
{
    uint32_t known = rp_store_files(n->store), count = 0;
    struct nd_set set;

    while (nd_set_at(&n->config, count, &set)) {
        count++;
    }
    for (uint32_t i = 0; i < known; i++) {
        count += !nd_set_named(&n->config, rp_store_files_at(n->store, i)->name, &set);
    }
    sy_mp_array(b, count);
    for (unsigned i = 0; nd_set_at(&n->config, i, &set); i++) {
        put_set(n, b, set.name, set.dir);
    }
    for (uint32_t i = 0; i < known; i++) {
        const char *name = rp_store_files_at(n->store, i)->name;

        if (!nd_set_named(&n->config, name, &set)) {
            put_set(n, b, name, "");
        }
    }
}

/* --- history --- */

struct changes
{
    struct sy_buf *b; /* NULL: only counted */
    uint32_t n;
};

static void change(struct changes *c, const char *path, const char *what)
{
    if (c->b != NULL && c->n < CHANGES_SHOWN) {
        sy_mp_map(c->b, 2);
        sy_mp_kstr(c->b, "path", path);
        sy_mp_kstr(c->b, "what", what);
    }
    c->n++;
}

static void find_changes(struct changes *c, const struct rp_files_version *before,
                         const struct rp_files_version *v)
{
    for (unsigned i = 0; i < v->n; i++) {
        const struct rp_file *was =
            rp_files_find(before->list, before->n, v->list[i].path);

        if (was == NULL) {
            change(c, v->list[i].path, "added");
        } else if (!rp_files_equal(was, 1, &v->list[i], 1)) {
            change(c, v->list[i].path, "changed");
        }
    }
    for (unsigned i = 0; i < before->n; i++) {
        if (rp_files_find(v->list, v->n, before->list[i].path) == NULL) {
            change(c, before->list[i].path, "removed");
        }
    }
}

static void put_version(struct nd_node *n, struct sy_buf *b, const char *set,
                        const struct rp_files_version *v)
{
    const struct rp_files_version *before =
        v->nr > 1 ? rp_store_files_version(n->store, set, v->nr - 1) : NULL;
    struct changes counted = {.b = NULL}, put = {.b = b};

    if (before != NULL) {
        find_changes(&counted, before, v);
    }
    sy_mp_map(b, 9);
    sy_mp_kuint(b, "version", v->nr);
    sy_mp_kuint(b, "at_ms", v->at_ms);
    sy_mp_kstr(b, "by", nd_node_name(n, v->node));
    sy_mp_kuint(b, "from", v->from);
    sy_mp_kuint(b, "files", v->n);
    sy_mp_kuint(b, "bytes", v->bytes);
    sy_mp_kuint(b, "missing", nd_files_missing(n, v));
    sy_mp_kuint(b, "changed", counted.n);
    sy_mp_str(b, "changes");
    sy_mp_array(b, counted.n < CHANGES_SHOWN ? counted.n : CHANGES_SHOWN);
    if (before != NULL) {
        find_changes(&put, before, v);
    }
}

static void history(struct nd_request *q, const char *name)
{
    struct nd_node *n = q->asker.node;
    const struct rp_files_set *set = rp_store_files_set(n->store, name);
    struct sy_buf b = {0};

    nd_reply_begin(&q->asker, &b);
    sy_mp_map(&b, 4);
    sy_mp_kuint(&b, "now_ms", nd_wall_ms());
    sy_mp_kstr(&b, "set", name);
    sy_mp_kstr(&b, "node", nd_node_name(n, n->config.id));
    sy_mp_str(&b, "versions");
    sy_mp_array(&b, set->kept);
    for (uint32_t i = 0; i < set->kept; i++) {
        put_version(n, &b, name, rp_store_files_version(n->store, name, set->last - i));
    }
    nd_reply_send(&q->asker, &b);
}

/* Answers itself if there is none. */
bool nd_files_set_of(struct nd_request *q, char name[RP_FILES_NAME_SIZE])
{
    struct nd_node *n = q->asker.node;
    struct nd_set set;

    nd_map_str(q->args, "set", name, RP_FILES_NAME_SIZE);
    if (rp_store_files_set(n->store, name) != NULL) {
        return true;
    }
    if (nd_set_named(&n->config, name, &set)) {
        nd_reply_error(&q->asker, "not_found",
                       "there is no version of %s yet: %s was never taken", name,
                       set.dir);
    } else {
        nd_reply_error(&q->asker, "not_found",
                       "no set of files is called '%s': see `vagtctl files`", name);
    }
    return false;
}

void nd_op_files(struct nd_request *q)
{
    char name[RP_FILES_NAME_SIZE];
    struct sy_buf b = {0};

    nd_map_str(q->args, "set", name, sizeof name);
    if (name[0] != '\0') {
        if (nd_files_set_of(q, name)) {
            history(q, name);
        }
        return;
    }
    nd_reply_begin(&q->asker, &b);
    sy_mp_map(&b, 2);
    sy_mp_kuint(&b, "now_ms", nd_wall_ms());
    sy_mp_str(&b, "sets");
    nd_files_put_sets(q->asker.node, &b);
    nd_reply_send(&q->asker, &b);
}

/* --- rollback, forget --- */

struct pending
{
    struct nd_wait wait;
    struct nd_asker asker;
    char set[RP_FILES_NAME_SIZE];
    uint64_t follows, from; /* 0: forgotten */
};

static void reply(const struct pending *p)
{
    struct nd_node *n = p->asker.node;
    const struct rp_files_version *v = rp_store_files_version(n->store, p->set, 0);
    int which = nd_site_find(n, p->set);
    struct nd_set set;
    struct sy_buf b = {0};

    nd_reply_begin(&p->asker, &b);
    if (p->from == 0) {
        sy_mp_map(&b, 1);
        sy_mp_kstr(&b, "set", p->set);
        nd_reply_send(&p->asker, &b);
        return;
    }
    sy_mp_map(&b, 5);
    sy_mp_kstr(&b, "set", p->set);
    sy_mp_kuint(&b, "version", v->nr);
    sy_mp_kuint(&b, "from", v->from);
    sy_mp_kbool(&b, "restarts", which >= 0);
    sy_mp_kbool(&b, "folder", nd_set_named(&n->config, p->set, &set));
    nd_reply_send(&p->asker, &b);
}

static void committed(void *data, int status)
{
    struct pending *p = data;
    const struct rp_files_version *v =
        rp_store_files_version(p->asker.node->store, p->set, 0);
    bool done = p->from == 0 ? v == NULL
                             : v != NULL && v->nr == p->follows + 1 && v->from == p->from;

    if (nd_reply_applied(&p->asker, status, "`vagtctl files history`")) {
        if (done) {
            reply(p);
        } else {
            nd_reply_error(&p->asker, "busy",
                           "another version of %s came first: see `vagtctl files "
                           "history %s`, and ask again",
                           p->set, p->set);
        }
    }
    sy_free(p);
}

static struct pending *propose(struct nd_request *q, const char *name)
{
    struct pending *p;
    const char *older = nd_files_older(q->asker.node);

    if (older != NULL) {
        nd_reply_error(&q->asker, "unavailable",
                       "%s runs a vagtd that does not know of files, and would stop: "
                       "install the newer one there first",
                       older);
        return NULL;
    }
    if (nd_replica_full(q->asker.node->replica)) {
        nd_reply_error(&q->asker, "busy",
                       "too much is waiting to be committed: ask again");
        return NULL;
    }
    p = sy_calloc(1, sizeof *p);
    p->asker = q->asker;
    snprintf(p->set, sizeof p->set, "%s", name);
    return p;
}

static void roll_back(struct nd_request *q, const char *name,
                      const struct rp_files_version *to)
{
    struct nd_node *n = q->asker.node;
    struct pending *p = propose(q, name);

    if (p != NULL) {
        p->follows = rp_store_files_set(n->store, name)->last;
        p->from = to->nr;
        SY_LOG(&n->log, SY_NOTE, "files.rollback", KSTR("set", name), KU64("to", to->nr));
        rp_batch_files(nd_replica_batch(n->replica), name, p->follows, to->nr,
                       (uint16_t)n->config.id, to->list, to->n);
        nd_replica_wait(n->replica, &p->wait, committed, p);
    }
}

void nd_op_files_rollback(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    const struct rp_files_version *newest, *to;
    char name[RP_FILES_NAME_SIZE];
    uint64_t nr = nd_map_uint(q->args, "version", 0);

    if (!nd_files_set_of(q, name)) {
        return;
    }
    newest = rp_store_files_version(n->store, name, 0);
    to = nr > 0 ? rp_store_files_version(n->store, name, nr) : NULL;
    if (to == NULL) {
        nd_reply_error(&q->asker, "not_found",
                       "version %" PRIu64
                       " of %s is not kept: see `vagtctl files history %s`",
                       nr, name, name);
    } else if (rp_files_equal(to->list, to->n, newest->list, newest->n)) {
        nd_reply_error(&q->asker, "invalid",
                       "version %" PRIu64 " of %s is what the newest is: nothing to do",
                       nr, name);
    } else if (nd_files_missing(n, to) > 0) {
        nd_reply_error(&q->asker, "unavailable",
                       "%u of %u contents of version %" PRIu64
                       " of %s are not on %s: another version, or hand the watch to a "
                       "node whose `vagtctl files history` has them all",
                       nd_files_missing(n, to), to->n, nr, name,
                       nd_node_name(n, n->config.id));
    } else {
        roll_back(q, name, to);
    }
}

void nd_op_files_forget(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    char name[RP_FILES_NAME_SIZE];
    struct nd_set set;
    struct pending *p;

    if (!nd_files_set_of(q, name)) {
        return;
    }
    if (nd_set_named(&n->config, name, &set)) {
        nd_reply_error(&q->asker, "invalid",
                       "%s is the folder %s of the configuration: take it out there "
                       "first, on all nodes",
                       name, set.dir);
        return;
    }
    p = propose(q, name);
    if (p != NULL) {
        rp_batch_files_forget(nd_replica_batch(n->replica), name);
        nd_replica_wait(n->replica, &p->wait, committed, p);
    }
}

/* A bridge that runs with other files than those that were rolled back to begins anew,
 * once for each time; it is laid out before its start. Whoever has the watch sees to it,
 * also if that was another when the operator asked. */
void nd_rollbacks_tend(struct nd_node *n)
{
    struct nd_files_view view;
    struct nd_set set;

    for (unsigned i = 0; nd_set_at(&n->config, i, &set); i++) {
        const struct rp_files_version *v = rp_store_files_version(n->store, set.name, 0);
        int which = v != NULL && v->from > 0 ? nd_site_find(n, set.name) : -1;

        if (which >= 0 && n->rolled_back[i] != v->nr && nd_files_view(n, i, &view) &&
            view.based_on < v->nr &&
            nd_site_restart(n, (unsigned)which, "its files were rolled back")) {
            n->rolled_back[i] = v->nr;
        }
    }
}

/* Files that move with the watch, told: who has which version, whether one could go on
 * with them elsewhere, and what is wrong. */

#include <inttypes.h>
#include <string.h>

#include "base/mp.h"
#include "node/node.h"

enum { BEHIND_MS = 60 * 1000 }; /* so old is a version that all should have by now */

unsigned nd_files_missing(struct nd_node *n, const struct rp_files_version *v)
{
    unsigned missing = 0;

    for (unsigned i = 0; i < v->n; i++) {
        missing += !nd_files_has(n, v->list[i].sum);
    }
    return missing;
}

bool nd_files_on(struct nd_node *n, uint64_t id, const char *set, uint64_t nr)
{
    struct sy_cur map;
    uint64_t age;

    return nd_status_node_map(n, id, &map, &age) && nd_files_complete(map, set) == nr;
}

const char *nd_files_older(struct nd_node *n)
{
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        const struct nd_config_node *c = &n->config.nodes[i];
        struct sy_cur map;
        uint64_t age;

        if (c->id != n->config.id &&
            ad_peers_linked(nd_replica_peers(n->replica), c->id) &&
            !(nd_status_node_map(n, c->id, &map, &age) && nd_map_find(&map, "files"))) {
            return c->name;
        }
    }
    return NULL;
}

enum nd_ready_state nd_files_ready(struct nd_node *n, unsigned i, char *text, size_t size)
{
    const struct rp_files_version *v;
    struct nd_files_view view;
    uint64_t now = nd_wall_ms();
    struct nd_set set;

    if (!nd_set_at(&n->config, i, &set) || !nd_files_view(n, i, &view)) {
        return ND_READY_UNKNOWN;
    }
    v = rp_store_files_version(n->store, set.name, 0);
    if (v == NULL) {
        snprintf(text, size,
                 "no version of %.120s yet: the bridge would start here with what lies "
                 "there",
                 set.dir);
        return ND_READY_NO;
    }
    if (view.complete != v->nr) {
        snprintf(text, size,
                 "version %" PRIu64 " is not here: %" PRIu32
                 " of %u contents are missing",
                 v->nr, view.missing, v->n);
        return ND_READY_NO;
    }
    snprintf(text, size, "version %" PRIu64 " is here, %" PRIu64 " s old", v->nr,
             now > v->at_ms ? (now - v->at_ms) / 1000 : 0);
    return ND_READY_YES;
}

uint32_t nd_files_metrics(struct nd_node *n, struct sy_buf *b)
{
    uint64_t now = nd_wall_ms(), oldest = now, versions = 0, behind = 0;
    struct nd_files_view view;
    struct nd_set set;

    for (unsigned i = 0; nd_set_at(&n->config, i, &set); i++) {
        const struct rp_files_version *v = rp_store_files_version(n->store, set.name, 0);

        if (v != NULL) {
            versions += rp_store_files_set(n->store, set.name)->kept;
            oldest = v->at_ms < oldest ? v->at_ms : oldest;
            behind += nd_files_view(n, i, &view) && view.complete != v->nr;
        }
    }
    sy_mp_kuint(b, "files_bytes", nd_files_bytes(n));
    sy_mp_kuint(b, "files_versions", versions);
    sy_mp_kuint(b, "files_age_s", (now - oldest) / 1000);
    sy_mp_kuint(b, "files_behind", behind);
    sy_mp_kuint(b, "files_asides", nd_files_asides(n));
    return 5;
}

/* Who could have the watch, is there, and has not what the bridge would need. */
void nd_files_copies_issues(struct nd_node *n,
                            void (*tell)(void *data, bool error, const char *text),
                            void *data)
{
    struct nd_set set;
    char text[256];

    for (unsigned i = 0; nd_set_at(&n->config, i, &set); i++) {
        const struct rp_files_version *v = rp_store_files_version(n->store, set.name, 0);

        for (unsigned k = 0; v != NULL && k < n->config.nodes_n; k++) {
            const struct nd_config_node *c = &n->config.nodes[k];

            if (!c->witness && nd_wall_ms() > v->at_ms + BEHIND_MS &&
                (c->id == n->config.id ||
                 ad_peers_linked(nd_replica_peers(n->replica), c->id)) &&
                !nd_files_on(n, c->id, set.name, v->nr)) {
                snprintf(text, sizeof text,
                         "version %" PRIu64
                         " of the files of %.80s is not on %.60s yet: if that took the "
                         "watch now, it would start with an older one",
                         v->nr, set.name, c->name);
                tell(data, false, text);
            }
        }
    }
}

/* Areas switched off and on by an operator. */

#include <string.h>

#include "base/mem.h"
#include "base/mp.h"
#include "node/node.h"

struct pending
{
    struct nd_wait wait;
    struct nd_asker asker;
    uint16_t nr;
};

static void reply(const struct nd_asker *a, const struct rp_area *area)
{
    struct sy_buf b = {0};

    nd_reply_begin(a, &b);
    sy_mp_map(&b, 3);
    sy_mp_kstr(&b, "area", area->name);
    sy_mp_kbool(&b, "off", area->off != 0);
    sy_mp_kuint(&b, "devices", area->devices);
    nd_reply_send(a, &b);
}

static void committed(void *data, int status)
{
    struct pending *p = data;
    const struct rp_area *area = rp_store_area(p->asker.node->store, p->nr);

    if (nd_reply_applied(&p->asker, status, "`vagtctl status`")) {
        reply(&p->asker, area);
    }
    sy_free(p);
}

static bool config_enables(const struct nd_node *n, const char *area)
{
    for (unsigned i = 0; i < n->areas_n; i++) {
        if (strcmp(n->areas[i].config->name, area) == 0) {
            return n->areas[i].config->enabled;
        }
    }
    return true;
}

void nd_op_area(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    const struct rp_area *area;
    char name[RP_NAME_SIZE];
    char to[8];
    struct pending *p;
    bool off;

    nd_map_str(q->args, "area", name, sizeof name);
    nd_map_str(q->args, "to", to, sizeof to);
    off = strcmp(to, "off") == 0;
    area = rp_store_area_named(n->store, name);
    if (!off && strcmp(to, "on") != 0) {
        nd_reply_error(&q->asker, "invalid", "an area goes 'on' or 'off', not '%s'", to);
    } else if (area == NULL) {
        nd_reply_error(&q->asker, "not_found", "no area is called '%s'", name);
    } else if (!off && !config_enables(n, name)) {
        nd_reply_error(&q->asker, "invalid",
                       "the configuration keeps %s off (areas: enabled: false): change "
                       "it there, on all nodes",
                       name);
    } else if (((area->off & RP_OFF_OPERATOR) != 0) == off) {
        reply(&q->asker, area); /* It is so already. */
    } else if (nd_replica_full(n->replica)) {
        nd_reply_error(&q->asker, "busy",
                       "too much is waiting to be committed: ask again");
    } else {
        p = sy_calloc(1, sizeof *p);
        p->asker = q->asker;
        p->nr = area->nr;
        rp_batch_area_off(nd_replica_batch(n->replica), area->nr, RP_OFF_OPERATOR, off);
        nd_replica_wait(n->replica, &p->wait, committed, p);
    }
}

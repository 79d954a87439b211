/* vagt/<cluster>/status at each broker: retained, so that whoever subscribes sees how
 * the site is, and with a last will, so that nobody takes silence for health. */

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "node/node.h"

enum { LOOK_EVERY_MS = 2000, TELL_EVERY_MS = 60000 };

void nd_beacon_config(const struct nd_node *n, struct ad_mqtt_config *c)
{
    snprintf(c->status_topic, sizeof c->status_topic, "vagt/%s/status",
             n->config.cluster);
    snprintf(c->will, sizeof c->will, "{\"state\":\"offline\",\"cluster\":\"%s\"}",
             n->config.cluster);
}

static void put_status(struct nd_node *n, const struct nd_issues *issues,
                       struct sy_buf *b)
{
    struct sy_json json;

    sy_json_init(&json, b);
    sy_json_object(&json);
    sy_json_kstr(&json, "state", "online");
    sy_json_kstr(&json, "cluster", n->config.cluster);
    sy_json_kstr(&json, "watch", nd_config_self(&n->config)->name);
    sy_json_kuint(&json, "term", cs_watch_term(&n->watch));
    sy_json_kstr(&json, "health", issues->health);
    sy_json_kuint(&json, "issues", issues->n);
    sy_json_kuint(&json, "online", rp_store_online(n->store));
    sy_json_kuint(&json, "at", nd_wall_ms());
    sy_json_object_end(&json);
    sy_json_finish(&json);
}

void nd_beacon_begin(struct nd_node *n)
{
    n->beacon.look_ms = n->beacon.tell_ms = 0;
    n->beacon.health[0] = '\0';
}

void nd_beacon_tend(struct nd_node *n)
{
    uint64_t now = nd_now_ms();
    struct nd_issues issues;
    struct sy_buf b = {0};

    if (cs_watch_state(&n->watch) != CS_ACTIVE || now < n->beacon.look_ms) {
        return;
    }
    n->beacon.look_ms = now + LOOK_EVERY_MS;
    nd_issues_find(n, &issues);
    if (now < n->beacon.tell_ms && strcmp(issues.health, n->beacon.health) == 0 &&
        issues.n == n->beacon.issues) {
        return;
    }
    n->beacon.tell_ms = now + TELL_EVERY_MS;
    n->beacon.issues = issues.n;
    snprintf(n->beacon.health, sizeof n->beacon.health, "%s", issues.health);
    put_status(n, &issues, &b);
    for (unsigned i = 0; i < n->config.brokers_n; i++) {
        if (n->brokers[i].mqtt != NULL) {
            ad_mqtt_tell(n->brokers[i].mqtt, b.p, b.len);
        }
    }
    sy_buf_free(&b);
}

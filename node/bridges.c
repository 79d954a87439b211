#include "node/bridges.h"

#include <stdlib.h>
#include <string.h>

void nd_coordinator_address(const char *text, char host[64], uint16_t *ret_port)
{
    const char *begin = text + strlen("tcp://"), *colon = strrchr(text, ':');
    size_t len = (size_t)(colon - begin);

    if (len >= 2 && begin[0] == '[') {
        begin++;
        len -= 2;
    }
    snprintf(host, 64, "%.*s", (int)len, begin);
    *ret_port = (uint16_t)strtoul(colon + 1, NULL, 10);
}

static void want(const struct nd_config *c, const struct nd_config_area *a,
                 struct ad_bridge_wanted *w)
{
    const struct ad_mqtt_config *m = &c->brokers[a->broker];

    *w = (struct ad_bridge_wanted){.servers_n = 0};
    snprintf(w->base_topic, sizeof w->base_topic, "%s", a->base_topic);
    for (unsigned i = 0; i < m->addresses_n && i < AD_BRIDGE_SERVERS_MAX; i++) {
        const char *host = m->addresses[i].host;

        snprintf(w->servers[w->servers_n++], AD_BRIDGE_VALUE_SIZE,
                 strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host,
                 (unsigned)m->addresses[i].port);
    }
    w->tls = m->tls.on;
    snprintf(w->client_id, sizeof w->client_id, "%s-z2m-%.90s", c->cluster, a->name);
    snprintf(w->port, sizeof w->port, "%s",
             a->bridge.serial[0] != '\0' ? a->bridge.serial : a->coordinator);
}

void nd_bridge_of(const struct nd_config *c, unsigned area, struct nd_bridge *ret)
{
    const struct nd_config_area *a = &c->areas[area];

    memset(ret, 0, sizeof *ret);
    snprintf(ret->area, sizeof ret->area, "%s", a->name);
    snprintf(ret->dir, sizeof ret->dir, "%s", a->bridge.data_dir);
    ret->may_write = a->bridge.write_settings;
    ret->same_id = -1;
    want(c, a, &ret->wanted);
}

void nd_bridges_of(const struct nd_config *c, struct nd_bridges *ret)
{
    ret->n = 0;
    for (unsigned i = 0; i < c->areas_n && !nd_config_self(c)->witness; i++) {
        if (c->areas[i].has_bridge && c->areas[i].enabled) {
            nd_bridge_of(c, i, &ret->list[ret->n++]);
        }
    }
}

void nd_bridges_look(struct nd_bridges *b, bool write)
{
    for (unsigned i = 0; i < b->n; i++) {
        struct nd_bridge *e = &b->list[i];
        struct sy_errbuf eb = {.text = ""};
        bool mend = write && e->may_write;
        int rv = mend ? ad_bridge_settings_write(e->dir, &e->wanted, &e->findings, &eb)
                      : ad_bridge_settings_look(e->dir, &e->wanted, &e->findings, &eb);

        e->written = mend && rv == 0 && e->findings.n > 0;
        snprintf(e->error, sizeof e->error, "%s", rv != 0 ? eb.text : "");
        for (unsigned k = 0; k < i && rv == 0 && e->findings.client_id[0] != '\0'; k++) {
            if (strcmp(b->list[k].findings.client_id, e->findings.client_id) == 0) {
                e->same_id = (int)k;
            }
        }
    }
}

unsigned nd_bridge_tell(const struct nd_bridges *b, unsigned i,
                        void (*tell)(void *data, const char *text), void *data)
{
    const struct nd_bridge *e = &b->list[i];
    unsigned n = e->error[0] != '\0' ? 0 : e->findings.n;
    char text[512];

    for (unsigned k = 0; k < n; k++) {
        ad_bridge_finding_text(&e->findings.list[k], text, sizeof text);
        tell(data, text);
    }
    if (e->error[0] != '\0') {
        tell(data, e->error);
        n++;
    }
    if (e->same_id >= 0) {
        snprintf(text, sizeof text,
                 "mqtt.client_id is that of area %.90s, too: the broker throws out one "
                 "for the other; give each its own",
                 b->list[e->same_id].area);
        tell(data, text);
        n++;
    }
    return n;
}

bool nd_mosquitto_is_at(const struct ad_broker_config *b, const struct ad_mqtt_config *m)
{
    for (unsigned i = 0; i < b->listen_n; i++) {
        for (unsigned k = 0; k < m->addresses_n; k++) {
            if (b->listen[i].port == m->addresses[k].port &&
                strcmp(b->listen[i].host, m->addresses[k].host) == 0) {
                return true;
            }
        }
    }
    return false;
}

const struct nd_config_resource *nd_broker_of_ours(const struct nd_config *c,
                                                   unsigned broker)
{
    for (unsigned i = 0; i < c->resources_n; i++) {
        if (c->resources[i].has_mosquitto &&
            nd_mosquitto_is_at(&c->resources[i].mosquitto, &c->brokers[broker])) {
            return &c->resources[i];
        }
    }
    return NULL;
}

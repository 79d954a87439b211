/* What a node that stands by would need on watch, and whether it could have it: the
 * brokers, Postgres, the coordinators. It looks now and then, as long as it could be
 * asked to relieve; on watch the ports themselves know. A witness needs nothing.
 *
 * At a broker it stays connected, and asks every 10 s; once an hour it connects anew,
 * since what it may do there can change. */

#include <stdio.h>
#include <string.h>

#include "node/bridges.h"
#include "node/node.h"

enum {
    TCP_EVERY_MS = 10000,
    TCP_AGAIN_MS = 2000, /* after a failure: it is to be noticed when it is mended */
    TCP_TIMEOUT_MS = 3000,
    MQTT_ANEW_MS = 3600 * 1000,
    PG_EVERY_MS = 60000,
    PG_AGAIN_MS = 5000
};

static void ended(struct nd_probe *p, bool good, const char *text, uint64_t pause_ms)
{
    p->probe = NULL;
    p->check = NULL;
    p->known = true;
    p->good = good;
    p->at_ms = nd_now_ms();
    p->due_ms = p->at_ms + pause_ms;
    snprintf(p->text, sizeof p->text, "%s", text);
}

static void mqtt_said(void *data, bool good, const char *text)
{
    struct nd_probe *p = data;
    struct ad_probe *probe = p->probe;
    uint64_t due_ms = p->due_ms;

    ended(p, good, text, TCP_AGAIN_MS);
    if (good) {
        p->probe = probe; /* It goes on. */
        p->due_ms = due_ms;
    }
}

static void tcp_ended(void *data, bool good, const char *text)
{
    ended(data, good, text, good ? TCP_EVERY_MS : TCP_AGAIN_MS);
}

static void pg_ended(void *data, bool good, const char *text)
{
    ended(data, good, text, good ? PG_EVERY_MS : PG_AGAIN_MS);
}

static bool due(struct nd_node *n, struct nd_probe *p)
{
    p->node = n;
    return p->probe == NULL && p->check == NULL && nd_now_ms() >= p->due_ms;
}

static void look_at_broker(struct nd_node *n, unsigned i)
{
    const struct ad_mqtt_config *m = &n->config.brokers[i];
    struct ad_probe_config c = {.addresses_n = m->addresses_n,
                                .username = m->username,
                                .password = m->password,
                                .timeout_ms = TCP_TIMEOUT_MS,
                                .ping_ms = TCP_EVERY_MS};
    struct ad_probe_files files = {m->tls.ca, m->tls.cert, m->tls.key};
    struct nd_probe *p = &n->ready.brokers[i];
    char id[AD_MQTT_ID_SIZE];

    p->node = n;
    if (m->addresses_n == 0 || nd_now_ms() < p->due_ms) {
        return;
    }
    if (p->probe != NULL) {
        ad_probe_cancel(p->probe);
    }
    p->due_ms = nd_now_ms() + MQTT_ANEW_MS;
    /* Nobody else's, or the watch would lose its session. */
    snprintf(id, sizeof id, "vagt-%s-ready%u", n->config.cluster, (unsigned)n->config.id);
    c.client_id = id;
    c.tls = m->tls.on ? &files : NULL;
    for (unsigned k = 0; k < m->addresses_n; k++) {
        memcpy(c.addresses[k].host, m->addresses[k].host, sizeof c.addresses[k].host);
        c.addresses[k].port = m->addresses[k].port;
    }
    p->probe = ad_probe_start(n->loop, &c, mqtt_said, p);
}

static void look_at_coordinator(struct nd_node *n, unsigned i)
{
    struct ad_probe_config c = {.addresses_n = 1, .timeout_ms = TCP_TIMEOUT_MS};

    nd_coordinator_address(n->config.areas[i].coordinator, c.addresses[0].host,
                           &c.addresses[0].port);
    n->ready.coordinators[i].probe =
        ad_probe_start(n->loop, &c, tcp_ended, &n->ready.coordinators[i]);
}

static void look_at_postgres(struct nd_node *n)
{
    struct nd_probe *p = &n->ready.postgres;
    struct sy_errbuf eb;

    if (ad_pg_check_start(&p->check, n->loop, &n->config.postgres, pg_ended, p, &eb) !=
        0) {
        ended(p, false, eb.text, PG_EVERY_MS);
    }
}

static void look(struct nd_node *n)
{
    for (unsigned i = 0; i < n->config.brokers_n; i++) {
        if (nd_broker_of_ours(&n->config, i) == NULL) {
            look_at_broker(n, i); /* Ours moves here with the watch. */
        }
    }
    for (unsigned i = 0; i < n->config.areas_n; i++) {
        if (n->config.areas[i].coordinator[0] != '\0' && n->config.areas[i].enabled &&
            due(n, &n->ready.coordinators[i])) {
            look_at_coordinator(n, i);
        }
    }
    if (n->config.has_postgres && due(n, &n->ready.postgres)) {
        look_at_postgres(n);
    }
}

static void forget(struct nd_probe *p)
{
    if (p->probe != NULL) {
        ad_probe_cancel(p->probe);
    }
    if (p->check != NULL) {
        ad_pg_check_cancel(p->check);
    }
    memset(p, 0, sizeof *p);
}

void nd_probes_close(struct nd_node *n)
{
    for (unsigned i = 0; i < n->config.brokers_n; i++) {
        forget(&n->ready.brokers[i]);
    }
    for (unsigned i = 0; i < n->config.areas_n; i++) {
        forget(&n->ready.coordinators[i]);
    }
    forget(&n->ready.postgres);
    n->ready.looking = false;
}

void nd_probes_tend(struct nd_node *n)
{
    bool wanted = !n->closing && !nd_config_self(&n->config)->witness &&
                  cs_watch_state(&n->watch) == CS_STANDBY;

    if (wanted) {
        n->ready.looking = true;
        look(n);
    } else if (n->ready.looking) {
        nd_probes_close(n);
    }
}

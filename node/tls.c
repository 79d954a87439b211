#include "node/tls.h"

#include <stdio.h>
#include <string.h>

#include "adapters/peer/hello.h"
#include "base/mp.h"
#include "node/node.h"

enum { LOOK_MS = 60 * 1000, DAY_S = 86400, SOON_S = 30 * DAY_S };

int nd_tls_open(struct nd_node *n, struct nd_replica_config *rc, struct sy_errbuf *eb)
{
    const struct nd_config *c = &n->config;
    int rv = 0;

    if (c->tls.given) {
        rv = ad_tls_open(&n->tls.tls, &c->tls.files, c->cluster, c->id, eb);
    }
    rc->peers.tls = n->tls.tls;
    n->tls.look_ms = nd_now_ms() + LOOK_MS;
    return rv;
}

void nd_tls_free(struct nd_node *n)
{
    ad_tls_free(n->tls.tls);
    n->tls.tls = NULL;
}

static int64_t left_s(const struct nd_node *n)
{
    return ad_tls_until(n->tls.tls) - (int64_t)(nd_wall_ms() / 1000);
}

uint32_t nd_tls_metrics(struct nd_node *n, struct sy_buf *b)
{
    const struct ad_peer_stats *s = ad_peers_stats(nd_replica_peers(n->replica));
    bool there = n->tls.tls != NULL && left_s(n) > 0;

    sy_mp_kuint(b, "peer_tls", n->tls.tls != NULL);
    sy_mp_kuint(b, "peer_turned_away", s->turned_away);
    sy_mp_kuint(b, "tls_cert_left_s", there ? (uint64_t)left_s(n) : 0);
    return 3;
}

/* Once, and again after a renewal. */
static void tell_end(struct nd_node *n)
{
    int64_t left = left_s(n);

    if (left < SOON_S && !n->tls.told) {
        SY_LOG(&n->log, SY_WARN, "tls.ends", KI64("days", left / DAY_S));
    }
    n->tls.told = left < SOON_S;
}

void nd_tls_look(struct nd_node *n)
{
    struct sy_errbuf eb;
    int rv;

    if (n->tls.tls == NULL) {
        return;
    }
    n->tls.look_ms = nd_now_ms() + LOOK_MS;
    rv = ad_tls_renew(n->tls.tls, &eb);
    if (rv > 0) {
        SY_LOG(&n->log, SY_NOTE, "tls.renewed", KI64("days", left_s(n) / DAY_S));
        n->tls.why[0] = '\0';
    } else if (rv < 0 && strncmp(n->tls.why, eb.text, sizeof n->tls.why - 1) != 0) {
        SY_LOG(&n->log, SY_WARN, "tls.not_renewed", KSTR("why", eb.text));
        snprintf(n->tls.why, sizeof n->tls.why, "%s", eb.text);
    }
    tell_end(n);
}

void nd_tls_tend(struct nd_node *n)
{
    if (n->tls.tls != NULL && nd_now_ms() >= n->tls.look_ms) {
        nd_tls_look(n);
    }
}

void nd_tls_put(struct nd_node *n, struct sy_buf *b)
{
    sy_mp_kuint(b, "cert_until_s",
                n->tls.tls != NULL ? (uint64_t)ad_tls_until(n->tls.tls) : 0);
}

/* Of any node: each tells its own. */
static void about_end(const struct nd_config_node *c, int64_t left,
                      void (*tell)(void *data, bool error, const char *text), void *data)
{
    char text[320];

    if (left < 0) {
        snprintf(text, sizeof text,
                 "the certificate of %s has expired: no connection with it can begin; "
                 "`vagtctl pki renew` where the CA is, copy node.crt there",
                 c->name);
        tell(data, true, text);
    } else if (left < SOON_S) {
        snprintf(text, sizeof text,
                 "the certificate of %s, or of its CA, ends in %lld days: `vagtctl pki "
                 "renew` where the CA is, copy node.crt there; no restart is needed",
                 c->name, (long long)(left / DAY_S));
        tell(data, false, text);
    }
}

void nd_tls_issues(struct nd_node *n,
                   void (*tell)(void *data, bool error, const char *text), void *data)
{
    char text[320];

    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        const struct nd_config_node *c = &n->config.nodes[i];
        struct sy_cur map;
        uint64_t age, until = 0;

        if (nd_status_node_map(n, c->id, &map, &age)) {
            until = nd_map_uint(map, "cert_until_s", 0);
        }
        if (until != 0) {
            about_end(c, (int64_t)until - (int64_t)(nd_wall_ms() / 1000), tell, data);
        }
    }
    if (n->tls.why[0] != '\0') {
        snprintf(text, sizeof text,
                 "the new certificate cannot be used, the old one still is: %s",
                 n->tls.why);
        tell(data, false, text);
    }
}

void nd_tls_goodbye(struct nd_node *n, uint64_t from, const uint8_t *p, size_t len)
{
    struct ad_peer_goodbye g;

    if (!ad_peer_goodbye_parse(p, len, &g)) {
        return;
    }
    SY_LOG(&n->log, SY_WARN, "peer.refused_by", KU64("peer", from), KSTR("why", g.text));
    /* Who was removed itself may yet have a certificate; and who leads is a member. */
    if (g.reason == AD_PEER_REMOVED && !nd_members_removed(n, from) &&
        nd_replica_leading(n->replica) == 0) {
        nd_members_out(n, from);
    }
}

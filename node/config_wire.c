/* Brokers and Postgres across a network: who they are is verified, unless the
 * configuration says that it need not be. */

#include <string.h>

#include "adapters/postgres/doors.h"
#include "adapters/probe/tls.h"
#include "node/bridges.h"
#include "node/config_schema.h"

static struct nd_shown entry(unsigned i, const char *key)
{
    struct nd_shown p;

    snprintf(p.text, sizeof p.text, "brokers[%u].%s", i, key);
    return p;
}

/* libpq takes a host with '/' in front for the folder of a Unix socket. */
bool nd_postgres_is_near(const char *host)
{
    return host[0] == '\0' || host[0] == '/' || strcmp(host, "localhost") == 0 ||
           nd_address_is_loopback(host);
}

void nd_wire_default(struct nd_raw *raw, const struct nd_problems *ps)
{
    struct nd_config_pg_source *pg = &raw->c.postgres_from;

    if (nd_mark_find(ps, "postgres.sslmode") == NULL && nd_postgres_is_near(pg->host)) {
        memset(pg->sslmode, 0, sizeof pg->sslmode);
        snprintf(pg->sslmode, sizeof pg->sslmode, "prefer");
    }
}

static const char *far_address(const struct ad_mqtt_config *m)
{
    for (unsigned i = 0; i < m->addresses_n; i++) {
        const char *host = m->addresses[i].host;

        /* That a broker is at all of them is told by others. */
        if (!nd_address_is_loopback(host) && strcmp(host, "0.0.0.0") != 0 &&
            strcmp(host, "::") != 0) {
            return m->addresses[i].host;
        }
    }
    return NULL;
}

/* A broker of ours speaks TLS everywhere but on loopback, if it has a certificate. */
static void check_ours(const struct nd_raw *raw, unsigned i, struct nd_problems *ps)
{
    const struct ad_mqtt_config *m = &raw->brokers[i].m;

    for (unsigned r = 0; r < raw->c.resources_n; r++) {
        const struct nd_config_resource *b = &raw->c.resources[r];
        bool tls = b->mosquitto.certfile[0] != '\0' && far_address(m) != NULL;

        if (!b->has_mosquitto || !nd_mosquitto_is_at(&b->mosquitto, m)) {
            continue;
        }
        if (tls && !m->tls.on) {
            nd_problem(ps, entry(i, "tls").text,
                       "is missing: resources[%u], which listens there, has a "
                       "certificate and speaks TLS",
                       r);
        } else if (!tls && m->tls.on) {
            nd_problem(ps, entry(i, "tls").text,
                       "resources[%u], which listens there, does not speak TLS: it needs "
                       "certfile and keyfile, and an address that is not loopback",
                       r);
        }
    }
}

static void check_broker(const struct nd_raw *raw, unsigned i, struct nd_problems *ps)
{
    const struct nd_raw_broker *b = &raw->brokers[i];
    const char *far = far_address(&b->m);
    bool key = b->tls_key.from != ND_SECRET_NONE;

    if (!b->m.tls.on && far != NULL && !b->plaintext) {
        nd_problem(ps, entry(i, "addresses").text,
                   "%s is not on loopback, and without `tls` password and commands can "
                   "be read and changed on the way: add tls: {ca: /PATH}, or set "
                   "brokers[%u].plaintext to true if you trust this network",
                   far, i);
    }
    if (b->m.tls.on && b->plaintext) {
        nd_problem(ps, entry(i, "plaintext").text,
                   "there is `tls`, and nothing goes unencrypted then: leave one of the "
                   "two out");
    }
    if (b->m.tls.on && key != (b->m.tls.cert[0] != '\0')) {
        nd_problem(ps, entry(i, "tls").text,
                   "%s is missing: a certificate and its key belong together",
                   key ? "cert" : "key");
    }
    if (key && b->tls_key.from == ND_SECRET_ENV) {
        nd_problem(ps, entry(i, "tls.key").text,
                   "must be a file, since it is read at each connection: write it like "
                   "{file: /etc/vagt/mqtt.key}");
    }
    check_ours(raw, i, ps);
}

void nd_rules_check_wire(const struct nd_raw *raw, struct nd_problems *ps)
{
    for (unsigned i = 0; i < raw->c.brokers_n; i++) {
        check_broker(raw, i, ps);
    }
}

/* The paths, and whether they would do: not when the broker is needed first. */
bool nd_wire_collect(const struct nd_raw *raw, unsigned i,
                     const char *(*getenv_fn)(const char *name),
                     char ret_key[AD_MQTT_PATH_SIZE], struct nd_problems *ps)
{
    const struct nd_raw_broker *b = &raw->brokers[i];
    struct ad_probe_files files = {b->m.tls.ca, b->m.tls.cert, ret_key};
    struct ad_probe_ctx *ctx = NULL;
    char why[ND_WHY_SIZE];
    struct sy_errbuf eb;

    ret_key[0] = '\0';
    if (!b->m.tls.on) {
        return true;
    }
    if (b->tls_key.from != ND_SECRET_NONE &&
        !nd_key_path(&b->tls_key, getenv_fn, ret_key, AD_MQTT_PATH_SIZE, why)) {
        nd_problem(ps, entry(i, "tls.key").text, "%s", why);
        return false;
    }
    if (ad_probe_ctx_open(&ctx, &files, &eb) != 0) {
        nd_problem(ps, entry(i, "tls").text, "%s", eb.text);
        return false;
    }
    ad_probe_ctx_free(ctx);
    return true;
}

void nd_wire_check_conninfo(const char *conninfo,
                            const char *(*getenv_fn)(const char *name),
                            struct nd_problems *ps)
{
    char host[ND_HOST_SIZE];

    if (getenv_fn("PGSSLMODE") == NULL && ad_pg_doors_open(conninfo, host, sizeof host)) {
        nd_problem(ps, "postgres.conninfo",
                   "%s is not on this machine and no sslmode is given, so anybody could "
                   "answer in its place: add sslmode=verify-full sslrootcert=/PATH, or "
                   "the sslmode that you want",
                   host);
    }
}

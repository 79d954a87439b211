/* `vagtd --check`: not only the configuration, but what it will find on this host. */

#include <string.h>

#include "base/mem.h"
#include "node/bridges.h"
#include "node/config_schema.h"

struct telling
{
    FILE *out;
    const struct nd_bridge *bridge;
    const char *resource;
};

/* --- bridges --- */

static void tell_bridge(void *data, const char *text)
{
    const struct telling *t = data;
    const struct nd_bridge *b = t->bridge;

    if (b->error[0] != '\0') {
        fprintf(t->out, "area %s: warning: %s\n", b->area, text);
    } else {
        fprintf(t->out, "%s/configuration.yaml: warning: %s\n", b->dir, text);
    }
}

static void check_bridges(const struct nd_config *c, FILE *out)
{
    struct nd_bridges *b = sy_calloc(1, sizeof *b);

    nd_bridges_of(c, b);
    nd_bridges_look(b, false);
    for (unsigned i = 0; i < b->n; i++) {
        (void)nd_bridge_tell(b, i, tell_bridge,
                             &(struct telling){.out = out, .bridge = &b->list[i]});
    }
    sy_free(b);
}

/* --- a broker of ours --- */

static void tell_broker(void *data, bool error, const char *text)
{
    const struct telling *t = data;

    fprintf(t->out, "resource %s: %s: %s\n", t->resource,
            error ? "would not start" : "warning", text);
}

/* Do those who are to use it have a name there? */
static void check_users(const struct nd_config *c, const struct ad_broker_config *b,
                        const struct telling *t)
{
    bool used = false;

    for (unsigned i = 0; i < c->brokers_n; i++) {
        const struct ad_mqtt_config *m = &c->brokers[i];

        if (!nd_mosquitto_is_at(b, m)) {
            continue;
        }
        used = true;
        if (b->password_file[0] != '\0' && m->username == NULL) {
            fprintf(t->out,
                    "resource %s: warning: brokers[%u] has no username, which this one "
                    "asks for\n",
                    t->resource, i);
        } else if (m->username != NULL && !ad_broker_has_user(b, m->username)) {
            fprintf(t->out,
                    "resource %s: warning: %s has no line for '%s' of brokers[%u]: "
                    "mosquitto_passwd %s %s\n",
                    t->resource, b->password_file, m->username, i, b->password_file,
                    m->username);
        }
    }
    if (!used) {
        fprintf(t->out,
                "resource %s: warning: none of brokers[].addresses is where it listens: "
                "nobody would use it\n",
                t->resource);
    }
}

void nd_host_check(const struct nd_config *c, FILE *out)
{
    check_bridges(c, out);
    for (unsigned i = 0; i < c->resources_n && !nd_config_self(c)->witness; i++) {
        const struct nd_config_resource *r = &c->resources[i];
        struct telling t = {.out = out, .resource = r->name};

        if (r->has_mosquitto) {
            ad_broker_check(&r->mosquitto, tell_broker, &t);
            check_users(c, &r->mosquitto, &t);
        }
    }
}

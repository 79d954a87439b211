/* The meaning of the site's resources: what they say about each other. */

#include <stdarg.h>
#include <string.h>

#include "node/config_schema.h"

static void SY_PRINTF(4, 5)
    wrong(struct nd_problems *ps, unsigned i, const char *key, const char *fmt, ...)
{
    char path[ND_SHOWN_SIZE], text[ND_PROBLEM_SIZE];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(path, sizeof path, "resources[%u]%s", i, key);
    nd_problem(ps, path, "%s", text);
}

static unsigned kinds(const struct nd_config_resource *r)
{
    return (unsigned)r->has_vip + r->run.has_systemd + r->run.has_docker +
           r->run.has_exec + (r->run.command_n > 0);
}

static bool earlier(const struct nd_config *c, unsigned i, const char *name)
{
    for (unsigned j = 0; j < i; j++) {
        if (strcmp(c->resources[j].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void check_after(const struct nd_config *c, struct nd_problems *ps, unsigned i)
{
    const struct nd_config_resource *r = &c->resources[i];
    char key[24];

    for (unsigned a = 0; a < r->after_n; a++) {
        if (!earlier(c, i, r->after[a])) {
            snprintf(key, sizeof key, ".after[%u]", a);
            wrong(ps, i, key,
                  "no resource before this one is called '%s': name one that stands "
                  "above it, or move it down",
                  r->after[a]);
        }
    }
}

void nd_rules_check_site(const struct nd_raw *raw, struct nd_problems *ps)
{
    const struct nd_config *c = &raw->c;

    for (unsigned i = 0; i < c->resources_n; i++) {
        const struct nd_config_resource *r = &c->resources[i];

        if (earlier(c, i, r->name)) {
            wrong(ps, i, ".name", "another one is called '%s' already", r->name);
        }
        if (kinds(r) != 1) {
            wrong(ps, i, "", "needs exactly one of vip, systemd, docker, exec, command%s",
                  kinds(r) == 0 ? "" : ": it has several");
        }
        if (r->run.command_n > 0 && r->run.command[0][0] != '/') {
            wrong(ps, i, ".command[0]",
                  "is not an absolute path: begin it with '/', so that it is the same "
                  "program whoever starts it");
        }
        check_after(c, ps, i);
    }
}

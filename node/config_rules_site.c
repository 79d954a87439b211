/* The meaning of the site's resources: what they say about each other. */

#include <stdarg.h>
#include <string.h>

#include "node/config_schema.h"

enum { WATCHDOG_WAIT_MS = 4000, BRIDGE_STOP_MS = 10000 };

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

static unsigned run_kinds(const struct nd_config_run *r)
{
    return (unsigned)r->has_systemd + r->has_docker + r->has_exec + (r->command_n > 0);
}

static unsigned kinds(const struct nd_config_resource *r)
{
    return (unsigned)r->has_vip + r->has_mosquitto + run_kinds(&r->run);
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

static void check_mosquitto(const struct nd_config_resource *r, struct nd_problems *ps,
                            unsigned i)
{
    char path[64];
    const char *key;
    const char *why =
        r->has_mosquitto ? ad_broker_config_wrong(&r->mosquitto, &key) : NULL;

    if (why != NULL) {
        snprintf(path, sizeof path, ".mosquitto.%s", key);
        wrong(ps, i, path, "%s", why);
    }
}

static void check_bridges(const struct nd_raw *raw, struct nd_problems *ps)
{
    char path[64];

    for (unsigned i = 0; i < raw->c.areas_n; i++) {
        const struct nd_config_run *r = &raw->areas[i].a.bridge.run;

        snprintf(path, sizeof path, "areas[%u].bridge", i);
        if (run_kinds(r) > 1) {
            nd_problem(ps, path,
                       "is more than one thing: name one of systemd, docker, "
                       "exec, command");
        }
        if (r->command_n > 0 && r->command[0][0] != '/') {
            snprintf(path, sizeof path, "areas[%u].bridge.command[0]", i);
            nd_problem(ps, path, "is not an absolute path: begin it with '/'");
        }
    }
}

static void check_folder(const struct nd_raw *raw, struct nd_problems *ps, unsigned i)
{
    const struct nd_config_files *f = &raw->c.files[i];
    char name[64], dir[64];

    snprintf(name, sizeof name, "files[%u].name", i);
    snprintf(dir, sizeof dir, "files[%u].dir", i);
    if (strncmp(f->name, "bridge-", strlen("bridge-")) == 0) {
        nd_problem(ps, name,
                   "begins with 'bridge-', as those of bridges: choose another");
    }
    for (unsigned j = 0; j < i; j++) {
        if (strcmp(f->name, raw->c.files[j].name) == 0) {
            nd_problem(ps, name, "another one is called '%s' already", f->name);
        }
        if (strcmp(f->dir, raw->c.files[j].dir) == 0) {
            nd_problem(ps, dir, "is that of files[%u], too", j);
        }
    }
    for (unsigned j = 0; j < raw->c.areas_n; j++) {
        if (raw->areas[j].a.has_bridge &&
            strcmp(f->dir, raw->areas[j].a.bridge.data_dir) == 0) {
            nd_problem(ps, dir, "is that of areas[%u].bridge, too, which moves by itself",
                       j);
        }
    }
}

static void check_folders(const struct nd_raw *raw, struct nd_problems *ps)
{
    unsigned n = raw->c.files_n;

    for (unsigned i = 0; i < raw->c.files_n; i++) {
        check_folder(raw, ps, i);
    }
    for (unsigned i = 0; i < raw->c.areas_n; i++) {
        n += run_kinds(&raw->areas[i].a.bridge.run) > 0;
    }
    if (n > RP_FILES_SETS_MAX) {
        nd_problem(ps, raw->c.files_n > 0 ? "files" : "areas",
                   "%u folders would move with the watch, %d can: those of bridges that "
                   "belong to it, and files",
                   n, RP_FILES_SETS_MAX);
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
            wrong(ps, i, "",
                  "needs exactly one of vip, mosquitto, systemd, docker, exec, command%s",
                  kinds(r) == 0 ? "" : ": it has several");
        }
        if (r->run.command_n > 0 && r->run.command[0][0] != '/') {
            wrong(ps, i, ".command[0]",
                  "is not an absolute path: begin it with '/', so that it is the same "
                  "program whoever starts it");
        }
        check_mosquitto(r, ps, i);
        check_after(c, ps, i);
    }
    if (strcmp(c->fence, "watchdog") == 0 && c->takeover_wait_ms < WATCHDOG_WAIT_MS) {
        nd_problem(
            ps, "watch.takeover_wait",
            "is too short for `fence: watchdog`, which bites after a second at the "
            "earliest: at least 4s");
    }
    check_bridges(raw, ps);
    check_folders(raw, ps);
}

static unsigned more_of(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

/* The longest way through what is stopped one after the other. */
static unsigned stop_chain(const struct nd_config *c)
{
    unsigned chain[ND_RESOURCES_MAX], bridges = 0, all;

    for (unsigned i = 0; i < c->areas_n; i++) {
        bridges = run_kinds(&c->areas[i].bridge.run) > 0 ? BRIDGE_STOP_MS : bridges;
    }
    all = bridges;
    for (unsigned i = c->resources_n; i-- > 0;) {
        const struct nd_config_resource *r = &c->resources[i];

        chain[i] = r->has_vip || r->has_mosquitto ? bridges : 0;
        for (unsigned k = i + 1; k < c->resources_n; k++) {
            for (unsigned a = 0; a < c->resources[k].after_n; a++) {
                if (strcmp(c->resources[k].after[a], r->name) == 0) {
                    chain[i] = more_of(chain[i], chain[k]);
                }
            }
        }
        chain[i] += r->has_vip ? 0 : r->stop_timeout_ms; /* The kernel is quick. */
        all = more_of(all, chain[i]);
    }
    return all;
}

bool nd_config_stops_late(const struct nd_config *c, char *text, size_t size)
{
    unsigned chain = stop_chain(c), half = c->takeover_wait_ms / 2;

    if (chain <= half) {
        return false;
    }
    snprintf(text, size,
             "watch.takeover_wait: stopping everything in order may take %u ms by the "
             "stop_timeout of what comes after each other, and a node that loses the "
             "watch has %u ms for it; what is not stopped by then is killed. Raise it to "
             "%u ms, which every relief after a death then takes, or lower those",
             chain, half, 2 * chain);
    return true;
}

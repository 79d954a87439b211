/* What is to be said of the site's resources. */

#include <stdio.h>
#include <string.h>

#include "node/node.h"

void nd_site_put_node(struct nd_node *n, struct sy_buf *b)
{
    /* May any run here, and was the watch to be handed over for one just now? */
    sy_mp_kuint(b, "held", cs_resources_held(&n->site.m));
    sy_mp_kuint(b, "site_fault", nd_site_faulty(n, n->config.id));
}

void nd_site_put(struct nd_node *n, struct sy_buf *b)
{
    const struct nd_site *s = &n->site;

    sy_mp_kstr(b, "resources_wait", s->waits);
    sy_mp_kbool(b, "resources_stay", s->nobody);
    sy_mp_str(b, "resources");
    sy_mp_array(b, s->m.n);
    for (unsigned i = 0; i < s->m.n; i++) {
        sy_mp_map(b, 5);
        sy_mp_kstr(b, "name", s->list[i].name);
        sy_mp_kstr(b, "kind", ad_resource_kind_name(s->list[i].kind));
        sy_mp_kstr(b, "state", cs_resource_state_name(cs_resource_shown(&s->m.list[i])));
        sy_mp_kuint(b, "since_ms", s->parts[i].since_ms);
        sy_mp_kstr(b, "why", s->parts[i].why);
    }
}

void nd_site_issues(struct sy_cur site,
                    void (*tell)(void *data, bool error, const char *text), void *data)
{
    char name[AD_RESOURCE_NAME_SIZE], state[16], why[AD_RESOURCE_WHY_SIZE], text[700];
    struct sy_cur stay;
    uint32_t count;

    nd_map_str(site, "resources_wait", text, 200);
    if (text[0] != '\0') {
        memmove(text + strlen("the resources wait: "), text, strlen(text) + 1);
        memcpy(text, "the resources wait: ", strlen("the resources wait: "));
        tell(data, false, text);
    }
    stay = site;
    if (nd_map_find(&stay, "resources_stay") && sy_mp_get_bool(&stay)) {
        tell(
            data, true,
            "the watch stays where it is although a resource does not run there: whoever "
            "could relieve had the same fault a short time ago");
    }
    if (!nd_map_find(&site, "resources")) {
        return;
    }
    count = sy_mp_get_array(&site);
    for (uint32_t i = 0; i < count && !site.bad; i++) {
        struct sy_cur item = site;

        sy_mp_skip(&site);
        nd_map_str(item, "name", name, sizeof name);
        nd_map_str(item, "state", state, sizeof state);
        nd_map_str(item, "why", why, sizeof why);
        if (why[0] != '\0' && strcmp(state, "running") != 0) {
            snprintf(text, sizeof text,
                     strcmp(state, "stuck") == 0
                         ? "the resource %.64s does not stop: %s; it is tried again, and "
                           "not started before it has"
                         : "the resource %.64s does not run: %s; it is tried again, see "
                           "`resource.failed` in the log",
                     name, why);
            tell(data, true, text);
        }
    }
}

unsigned nd_site_count(const struct nd_node *n, enum cs_resource_state state)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < n->site.m.n; i++) {
        sum += n->site.m.list[i].state == state;
    }
    return sum;
}

uint64_t nd_site_failures(const struct nd_node *n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n->site.m.n; i++) {
        sum += n->site.parts[i].failed;
    }
    return sum;
}

#include "node/sets.h"

#include <stdio.h>
#include <string.h>

#include "node/parts.h"

bool nd_set_at(const struct nd_config *c, unsigned i, struct nd_set *ret)
{
    for (unsigned k = 0; k < c->areas_n; k++) {
        const struct nd_config_area *a = &c->areas[k];

        if (nd_bridge_is_ours(a) && i-- == 0) {
            snprintf(ret->bridge, sizeof ret->bridge, "bridge-%.80s", a->name);
            ret->name = ret->bridge;
            ret->dir = a->bridge.data_dir;
            ret->area = (int)k;
            return true;
        }
    }
    if (i >= c->files_n) {
        return false;
    }
    ret->name = c->files[i].name;
    ret->dir = c->files[i].dir;
    ret->area = -1;
    return true;
}

bool nd_set_named(const struct nd_config *c, const char *name, struct nd_set *ret)
{
    unsigned i = 0;

    while (nd_set_at(c, i, ret)) {
        if (strcmp(ret->name, name) == 0) {
            return true;
        }
        i++;
    }
    return false;
}

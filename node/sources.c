#include "node/sources.h"

#include <string.h>

#include "adapters/z2m/z2m.h"

static const struct rp_source_ops *const sources[] = {
    &ad_z2m_source,
};

const struct rp_source_ops *nd_source(const char *name)
{
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        if (strcmp(sources[i]->name, name) == 0) {
            return sources[i];
        }
    }
    return NULL;
}

/* May a device be asked for this? The same answer for `vagtctl send` and for the table
 * meter_commands. */

#include <stdlib.h>
#include <string.h>

#include "node/node.h"

static const struct rp_device *by_address(const struct nd_node *n, const char *text)
{
    const struct rp_device *d;
    char *end;

    if (strncmp(text, "0x", 2) != 0) {
        return NULL;
    }
    d = rp_store_device(n->store, strtoull(text, &end, 16));
    return *end == '\0' ? d : NULL;
}

static const struct rp_device *find_device(struct nd_node *n, const struct nd_wish *w,
                                           const char **ret_code, struct sy_errbuf *eb)
{
    const struct rp_device *d = by_address(n, w->device);
    const struct rp_area *area = NULL;
    uint32_t count = 0;

    *ret_code = "not_found";
    if (d != NULL) {
        return d;
    }
    if (w->area[0] != '\0') {
        area = rp_store_area_named(n->store, w->area);
        if (area == NULL) {
            (void)sy_fail(eb, SY_ENOTFOUND, "no area is called '%s'", w->area);
            return NULL;
        }
    }
    d = rp_store_device_named(n->store, area != NULL ? area->nr : 0, w->device, &count);
    if (d == NULL) {
        (void)sy_fail(eb, SY_ENOTFOUND,
                      "no device is called '%s': see `vagtctl devices --name`",
                      w->device);
        return NULL;
    }
    if (count > 1) {
        *ret_code = "invalid";
        (void)sy_fail(eb, SY_EINVALID,
                      "%u devices are called '%s': say which with an area, or use the "
                      "IEEE address",
                      (unsigned)count, w->device);
        return NULL;
    }
    return d;
}

static const struct rp_source_ops *source_of(const struct nd_node *n,
                                             const struct rp_area *area)
{
    for (unsigned i = 0; area != NULL && i < n->areas_n; i++) {
        if (strcmp(n->areas[i].config->name, area->name) == 0) {
            return n->areas[i].source;
        }
    }
    return NULL;
}

const struct rp_device *nd_wish_check(struct nd_node *n, const struct nd_wish *w,
                                      const char **ret_code, struct sy_errbuf *eb)
{
    const struct rp_device *d = find_device(n, w, ret_code, eb);
    const struct rp_area *area = d != NULL ? rp_store_area(n->store, d->area) : NULL;
    const struct rp_source_ops *source = source_of(n, area);

    if (d == NULL) {
        return NULL;
    }
    if (source == NULL || !d->listed) {
        (void)sy_fail(eb, SY_ENOTFOUND,
                      "'%s' is not there any more: its bridge does not list it", d->name);
        return NULL;
    }
    *ret_code = "invalid";
    if (area->off != 0) {
        (void)sy_fail(eb, SY_EINVALID,
                      "the area %s is switched off: nothing is sent there", area->name);
        return NULL;
    }
    return source->check(w->property, w->value, eb) == 0 ? d : NULL;
}

#include "adapters/z2m/names.h"

#include <assert.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

enum { SLOTS_MIN = 64 };

void ad_z2m_names_init(struct ad_z2m_names *t, uint32_t max)
{
    *t = (struct ad_z2m_names){.max = max, .slots = SLOTS_MIN};
    t->by_name = sy_calloc(t->slots, sizeof *t->by_name);
    t->by_ieee = sy_calloc(t->slots, sizeof *t->by_ieee);
}

void ad_z2m_names_free(struct ad_z2m_names *t)
{
    sy_free(t->devices);
    sy_free(t->by_name);
    sy_free(t->by_ieee);
    *t = (struct ad_z2m_names){0};
}

/* The slot that holds the name, or the free one where it belongs. */
static uint32_t *name_slot(const struct ad_z2m_names *t, const char *name, size_t len)
{
    uint32_t i = (uint32_t)sy_hash(name, len, 0) & (t->slots - 1);

    while (t->by_name[i] != 0) {
        const char *there = t->devices[t->by_name[i] - 1].name;

        if (strncmp(there, name, len) == 0 && there[len] == '\0') {
            break;
        }
        i = (i + 1) & (t->slots - 1);
    }
    return &t->by_name[i];
}

static uint32_t *ieee_slot(const struct ad_z2m_names *t, uint64_t ieee)
{
    uint32_t i = (uint32_t)sy_hash(&ieee, sizeof ieee, 0) & (t->slots - 1);

    while (t->by_ieee[i] != 0 && t->devices[t->by_ieee[i] - 1].ieee != ieee) {
        i = (i + 1) & (t->slots - 1);
    }
    return &t->by_ieee[i];
}

struct ad_z2m_device *ad_z2m_names_find(const struct ad_z2m_names *t, const char *name,
                                        size_t len)
{
    uint32_t nr = len < RP_NAME_SIZE ? *name_slot(t, name, len) : 0;

    return nr != 0 ? &t->devices[nr - 1] : NULL;
}

struct ad_z2m_device *ad_z2m_names_ieee(const struct ad_z2m_names *t, uint64_t ieee)
{
    uint32_t nr = ieee != 0 ? *ieee_slot(t, ieee) : 0;

    return nr != 0 ? &t->devices[nr - 1] : NULL;
}

static void put(struct ad_z2m_names *t, uint32_t nr)
{
    const struct ad_z2m_device *d = &t->devices[nr - 1];

    *name_slot(t, d->name, strlen(d->name)) = nr;
    if (d->ieee != 0) {
        *ieee_slot(t, d->ieee) = nr;
    }
}

/* At most half full, so that a search ends soon and always. */
static void grow(struct ad_z2m_names *t)
{
    if (t->n == t->cap) {
        t->cap = t->cap != 0 ? t->cap * 2 : SLOTS_MIN / 2;
        t->devices = sy_realloc(t->devices, t->cap * sizeof *t->devices);
    }
    if ((t->n + 1) * 2 <= t->slots) {
        return;
    }
    sy_free(t->by_name);
    sy_free(t->by_ieee);
    t->slots *= 2;
    t->by_name = sy_calloc(t->slots, sizeof *t->by_name);
    t->by_ieee = sy_calloc(t->slots, sizeof *t->by_ieee);
    for (uint32_t nr = 1; nr <= t->n; nr++) {
        put(t, nr);
    }
}

struct ad_z2m_device *ad_z2m_names_add(struct ad_z2m_names *t, uint64_t ieee,
                                       const char *name, size_t len)
{
    struct ad_z2m_device *d;

    assert(len > 0 && len < RP_NAME_SIZE);
    assert(ad_z2m_names_find(t, name, len) == NULL);
    assert(ad_z2m_names_ieee(t, ieee) == NULL);
    if (t->n == t->max) {
        return NULL;
    }
    grow(t);
    d = &t->devices[t->n++];
    *d = (struct ad_z2m_device){.ieee = ieee};
    memcpy(d->name, name, len);
    put(t, t->n);
    return d;
}

/* The devices of an area by friendly name and by address: two open-addressing
 * indexes over one array. Nothing is ever taken out: when the bridge sends its
 * list, a new table replaces the old.
 *
 * A name without an address is one that messages came for before the list did (the
 * broker's order of retained messages is arbitrary), or that is no device, as a
 * group. The last thing said of it is kept until the list tells which. */

#ifndef AD_Z2M_NAMES_H
#define AD_Z2M_NAMES_H

#include "replication/batch.h"

struct ad_z2m_device
{
    uint64_t ieee; /* 0: not in the bridge's list. */
    char name[RP_NAME_SIZE];
    char model[RP_MODEL_SIZE];
    bool router;         /* On the mains: the bridge asks it when it is silent. */
    bool clock_noted;    /* That its last_seen is in the future. */
    uint32_t start;      /* The start of the bridge after which it was heard last. */
    uint64_t back_at_ms; /* Told offline, it talks since then; 0: no. */
    uint64_t live;       /* On which connection a message of it came last for the first
                            time (no DUP), plus 1. */

    /* Without an address: */
    bool group;           /* And never a device. */
    uint64_t noted_at_ms; /* That nobody knows it; 0: never. */
    uint32_t unnoted;     /* Its messages since then. */

    /* Waiting for the address, or for the device to be this area's: */
    enum rp_avail avail;
    bool has_report;
    struct rp_report report;
};

struct ad_z2m_names
{
    struct ad_z2m_device *devices; /* In order of coming; moves when it grows. */
    uint32_t n;
    uint32_t cap;
    uint32_t max;
    uint32_t *by_name; /* Index + 1; 0: free. */
    uint32_t *by_ieee;
    uint32_t slots; /* Of each index: a power of two. */
};

void ad_z2m_names_init(struct ad_z2m_names *t, uint32_t max);
void ad_z2m_names_free(struct ad_z2m_names *t);
/* NULL: not there. @name need not be terminated. */
struct ad_z2m_device *ad_z2m_names_find(const struct ad_z2m_names *t, const char *name,
                                        size_t len);
struct ad_z2m_device *ad_z2m_names_ieee(const struct ad_z2m_names *t, uint64_t ieee);
/* @name is new and fits; so is @ieee, unless 0. NULL: full. Pointers into the table
 * are void afterwards. */
struct ad_z2m_device *ad_z2m_names_add(struct ad_z2m_names *t, uint64_t ieee,
                                       const char *name, size_t len);

#endif /* AD_Z2M_NAMES_H */

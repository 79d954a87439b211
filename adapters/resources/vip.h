/* An address that belongs to whoever has the watch. It is given to the interface with a
 * finite lifetime and renewed (rtnetlink(7), IFA_CACHEINFO): if everything of ours dies,
 * the kernel drops it by itself. The neighbours are told at once: gratuitous ARP (RFC
 * 5227, 3), unsolicited neighbour advertisement (RFC 4861, 7.2.6). Needs CAP_NET_ADMIN
 * and CAP_NET_RAW. Nothing here waits for anybody but the kernel. */

#ifndef AD_RESOURCES_VIP_H
#define AD_RESOURCES_VIP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct ad_vip
{
    char interface[16];
    uint8_t address[16];
    uint8_t family; /* AF_INET, AF_INET6 */
    uint8_t prefix;
};

/* "192.0.2.10/24", "2001:db8::10/64". False: it is none. */
bool ad_vip_parse(struct ad_vip *v, const char *address, const char *interface);
/* Adds it, or renews it, for so long. */
SY_MUST_USE int ad_vip_hold(const struct ad_vip *v, unsigned seconds,
                            struct sy_errbuf *eb);
/* 0 too if it was not there. */
SY_MUST_USE int ad_vip_drop(const struct ad_vip *v, struct sy_errbuf *eb);
/* Tells the neighbours where it is now. */
SY_MUST_USE int ad_vip_announce(const struct ad_vip *v, struct sy_errbuf *eb);

#endif /* AD_RESOURCES_VIP_H */

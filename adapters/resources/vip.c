#include "adapters/resources/vip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

bool ad_vip_parse(struct ad_vip *v, const char *address, const char *interface)
{
    char host[64];
    const char *slash = strchr(address, '/');
    char *end;
    unsigned long prefix;

    memset(v, 0, sizeof *v);
    if (slash == NULL || (size_t)(slash - address) >= sizeof host ||
        strlen(interface) == 0 || strlen(interface) >= sizeof v->interface) {
        return false;
    }
    memcpy(host, address, (size_t)(slash - address));
    host[slash - address] = '\0';
    v->family = strchr(host, ':') != NULL ? AF_INET6 : AF_INET;
    if (inet_pton(v->family, host, v->address) != 1 || slash[1] < '0' || slash[1] > '9') {
        return false;
    }
    prefix = strtoul(slash + 1, &end, 10);
    if (*end != '\0' || prefix == 0 || prefix > (v->family == AF_INET ? 32 : 128)) {
        return false;
    }
    v->prefix = (uint8_t)prefix;
    memcpy(v->interface, interface, strlen(interface) + 1);
    return true;
}

static size_t address_size(const struct ad_vip *v)
{
    return v->family == AF_INET ? 4 : 16;
}

/* --- rtnetlink --- */

struct request
{
    struct nlmsghdr head;
    struct ifaddrmsg msg;
    uint8_t attrs[128];
};

static void put_attr(struct request *q, uint16_t type, const void *p, size_t len)
{
    struct rtattr *a =
        (struct rtattr *)(void *)((uint8_t *)q + NLMSG_ALIGN(q->head.nlmsg_len));

    a->rta_type = type;
    a->rta_len = (uint16_t)RTA_LENGTH(len);
    memcpy(RTA_DATA(a), p, len);
    q->head.nlmsg_len = NLMSG_ALIGN(q->head.nlmsg_len) + (uint32_t)RTA_ALIGN(a->rta_len);
}

static int begin(const struct ad_vip *v, struct request *q, uint16_t type, uint16_t flags,
                 struct sy_errbuf *eb)
{
    unsigned index = if_nametoindex(v->interface);

    memset(q, 0, sizeof *q);
    if (index == 0) {
        return sy_fail(eb, SY_ENOTFOUND, "there is no interface '%s' on this machine",
                       v->interface);
    }
    q->head.nlmsg_len = NLMSG_LENGTH(sizeof q->msg);
    q->head.nlmsg_type = type;
    q->head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    q->msg.ifa_family = v->family;
    q->msg.ifa_prefixlen = v->prefix;
    q->msg.ifa_index = index;
    put_attr(q, IFA_LOCAL, v->address, address_size(v));
    put_attr(q, IFA_ADDRESS, v->address, address_size(v));
    return 0;
}

/* The kernel answers at once. */
static int ask(const struct request *q)
{
    struct sockaddr_nl to = {.nl_family = AF_NETLINK};
    struct
    {
        struct nlmsghdr head;
        struct nlmsgerr err;
        uint8_t more[256];
    } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    int rv = fd < 0 ? -errno : 0;

    if (rv == 0 &&
        sendto(fd, q, q->head.nlmsg_len, 0, (struct sockaddr *)&to, sizeof to) < 0) {
        rv = -errno;
    }
    if (rv == 0) {
        ssize_t n = recv(fd, &answer, sizeof answer, 0);

        rv = n < 0                                          ? -errno
             : (size_t)n < sizeof answer.head + sizeof(int) ? -EPROTO
             : answer.head.nlmsg_type != NLMSG_ERROR        ? -EPROTO
                                                            : answer.err.error;
    }
    if (fd >= 0) {
        close(fd);
    }
    return rv;
}

static int refused(const struct ad_vip *v, int rv, const char *what, struct sy_errbuf *eb)
{
    char host[64] = "?";

    (void)inet_ntop(v->family, v->address, host, sizeof host);
    return sy_fail(eb, rv, "%s/%u at %s cannot be %s: %s%s", host, v->prefix,
                   v->interface, what, strerror(-rv),
                   rv == -EPERM ? " (vagtd needs CAP_NET_ADMIN and CAP_NET_RAW)" : "");
}

int ad_vip_hold(const struct ad_vip *v, unsigned seconds, struct sy_errbuf *eb)
{
    struct ifa_cacheinfo life = {.ifa_prefered = seconds, .ifa_valid = seconds};
    uint32_t flags = IFA_F_NODAD;
    struct request q;
    int rv = begin(v, &q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, eb);

    if (rv != 0) {
        return rv;
    }
    put_attr(&q, IFA_CACHEINFO, &life, sizeof life);
    if (v->family == AF_INET6) {
        put_attr(&q, IFA_FLAGS, &flags, sizeof flags);
    }
    rv = ask(&q);
    return rv == 0 ? 0 : refused(v, rv, "taken", eb);
}

int ad_vip_drop(const struct ad_vip *v, struct sy_errbuf *eb)
{
    struct request q;
    int rv = begin(v, &q, RTM_DELADDR, 0, eb);

    if (rv != 0) {
        return rv == SY_ENOTFOUND ? 0 : rv; /* Without the interface nothing is held. */
    }
    rv = ask(&q);
    return rv == 0 || rv == -EADDRNOTAVAIL ? 0 : refused(v, rv, "given up", eb);
}

/* --- the neighbours --- */

static int hardware(const struct ad_vip *v, uint8_t mac[ETH_ALEN], bool *ret_arp)
{
    struct ifreq q = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rv = fd < 0 ? -errno : 0;

    memcpy(q.ifr_name, v->interface, sizeof v->interface);
    if (rv == 0 && ioctl(fd, SIOCGIFHWADDR, &q) != 0) {
        rv = -errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    *ret_arp = rv == 0 && q.ifr_hwaddr.sa_family == ARPHRD_ETHER;
    memcpy(mac, q.ifr_hwaddr.sa_data, ETH_ALEN);
    return rv;
}

static int send_arp(const struct ad_vip *v, const uint8_t mac[ETH_ALEN])
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(ETH_P_ARP),
                             .sll_ifindex = (int)if_nametoindex(v->interface),
                             .sll_halen = ETH_ALEN};
    struct ether_arp a = {0};
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rv = fd < 0 ? -errno : 0;

    memset(to.sll_addr, 0xFF, ETH_ALEN);
    a.arp_hrd = htons(ARPHRD_ETHER);
    a.arp_pro = htons(ETH_P_IP);
    a.arp_hln = ETH_ALEN;
    a.arp_pln = 4;
    memcpy(a.arp_sha, mac, ETH_ALEN);
    memcpy(a.arp_spa, v->address, 4);
    memset(a.arp_tha, 0xFF, ETH_ALEN);
    memcpy(a.arp_tpa, v->address, 4);
    for (uint16_t op = ARPOP_REQUEST; rv == 0 && op <= ARPOP_REPLY; op++) {
        a.arp_op = htons(op); /* Some heed the one, some the other. */
        rv = sendto(fd, &a, sizeof a, 0, (struct sockaddr *)&to, sizeof to) < 0 ? -errno
                                                                                : 0;
    }
    if (fd >= 0) {
        close(fd);
    }
    return rv;
}

static int send_advert(const struct ad_vip *v, const uint8_t mac[ETH_ALEN])
{
    struct
    {
        struct nd_neighbor_advert na;
        struct nd_opt_hdr opt;
        uint8_t mac[ETH_ALEN];
    } m = {0};
    struct sockaddr_in6 to = {.sin6_family = AF_INET6,
                              .sin6_scope_id = if_nametoindex(v->interface)};
    struct sockaddr_in6 from = {.sin6_family = AF_INET6,
                                .sin6_scope_id = to.sin6_scope_id};
    int hops = 255;
    int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6);
    int rv = fd < 0 ? -errno : 0;

    (void)inet_pton(AF_INET6, "ff02::1", &to.sin6_addr);
    memcpy(&from.sin6_addr, v->address, 16);
    m.na.nd_na_type = ND_NEIGHBOR_ADVERT;
    m.na.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
    memcpy(&m.na.nd_na_target, v->address, 16);
    m.opt.nd_opt_type = ND_OPT_TARGET_LINKADDR;
    m.opt.nd_opt_len = 1;
    memcpy(m.mac, mac, ETH_ALEN);
    if (rv == 0 &&
        (setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops) != 0 ||
         bind(fd, (struct sockaddr *)&from, sizeof from) != 0 ||
         sendto(fd, &m, sizeof m, 0, (struct sockaddr *)&to, sizeof to) < 0)) {
        rv = -errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    return rv;
}

int ad_vip_announce(const struct ad_vip *v, struct sy_errbuf *eb)
{
    uint8_t mac[ETH_ALEN];
    bool arp;
    int rv = hardware(v, mac, &arp);

    if (rv == 0 && arp) {
        rv = v->family == AF_INET ? send_arp(v, mac) : send_advert(v, mac);
    }
    return rv == 0 ? 0 : refused(v, rv, "announced", eb);
}

/* Guests: who has come and not said who it is. A node's own address has room for its own
 * guests alone, all others share what is left: strangers cannot keep a node out. */

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "adapters/peer/impl.h"

enum { CROWD_LOG_MS = 1000 };

static void note_from(struct link *l)
{
    struct sockaddr_storage a;
    int len = sizeof a;

    if (uv_tcp_getpeername(&l->tcp, (struct sockaddr *)&a, &len) != 0 ||
        uv_ip_name((struct sockaddr *)&a, l->from, sizeof l->from) != 0) {
        snprintf(l->from, sizeof l->from, "?");
    }
}

static bool is_node(const struct ad_peers *o, const char *from)
{
    for (unsigned i = 1; i <= AD_PEER_ID_MAX; i++) {
        if (o->peers[i].address.id != 0 && strcmp(o->peers[i].address.host, from) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_guest(const struct link *l)
{
    return l->from[0] != '\0' && l->peer == NULL && !l->closing;
}

/* Has it said nothing at all, not even what waits in the kernel? */
static bool is_silent(const struct link *l)
{
    int waiting = 0;
    uv_os_fd_t fd;

    return !l->spoke && uv_fileno((const uv_handle_t *)&l->tcp, &fd) == 0 &&
           ioctl(fd, FIONREAD, &waiting) == 0 && waiting == 0;
}

/* When there is no room, whoever has said nothing for longest goes: a flood of silent
 * ones does not keep a node out. */
bool ad__guest_seat(struct ad_peers *o, struct link *l)
{
    struct link *silent_there = NULL, *silent = NULL;
    unsigned there = 0, all = 0;
    bool node;

    note_from(l);
    node = is_node(o, l->from);
    for (struct link *k = o->links; k != NULL; k = k->next) {
        bool near = strcmp(k->from, l->from) == 0;

        if (k == l || !is_guest(k) || (!near && (node || is_node(o, k->from)))) {
            continue;
        }
        all++;
        there += near;
        if (is_silent(k)) { /* The newest come first in the list. */
            silent = k;
            silent_there = near ? k : silent_there;
        }
    }
    if (there < AD_PEER_GUESTS_PER_ADDRESS && (node || all < AD_PEER_GUESTS_MAX)) {
        return true;
    }
    silent = there >= AD_PEER_GUESTS_PER_ADDRESS ? silent_there : silent;
    o->stats.turned_away++;
    if (uv_now(o->loop) >= o->crowd_ms) { /* They come by the thousand. */
        o->crowd_ms = uv_now(o->loop) + CROWD_LOG_MS;
        SY_LOG(o->log, SY_WARN, "peer.crowd", KSTR("from", l->from), KU64("guests", all),
               KU64("turned_away", o->stats.turned_away));
    }
    if (silent != NULL) {
        ad__link_drop(silent, false);
    }
    return silent != NULL;
}

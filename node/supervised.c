/* What systemd is told: that this node is up, that its loop still turns, and in a
 * sentence what it does. A loop that hangs tells nothing, and WatchdogSec= ends it. */

#include <stdio.h>
#include <string.h>

#include "adapters/systemd/notify.h"
#include "node/node.h"

void nd_supervised_tend(struct nd_node *n)
{
    static const char *const does[CS_WATCH_NR] = {"stands by", "takes the watch",
                                                  "on watch", "gives the watch up"};
    uint64_t now = nd_now_ms();
    enum cs_watch_state state = cs_watch_state(&n->watch);
    char text[128];

    if (!n->supervised.ready) {
        n->supervised.ready = true;
        n->supervised.watchdog_ms = ad_systemd_watchdog_ms();
        ad_systemd_tell("READY=1");
    } else if (n->supervised.told == state &&
               (n->supervised.watchdog_ms == 0 || now < n->supervised.due_ms)) {
        return;
    }
    n->supervised.told = state;
    n->supervised.due_ms = now + n->supervised.watchdog_ms;
    snprintf(text, sizeof text, "WATCHDOG=1\nSTATUS=%s, %s as %s in cluster %s",
             does[state], nd_config_self(&n->config)->name,
             nd_config_self(&n->config)->role, n->config.cluster);
    ad_systemd_tell(text);
}

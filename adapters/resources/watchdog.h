/* The machine's watchdog (Linux, Documentation/watchdog/watchdog-api.rst): who does not
 * say in time that all is well has the machine reset, whatever else hangs. The keeper
 * holds it as long as it lives, and says so only while nothing needs to be fenced.
 * Private to adapters/resources. */

#ifndef AD_RESOURCES_WATCHDOG_H
#define AD_RESOURCES_WATCHDOG_H

#include <stdint.h>

#include "base/err.h"

struct ad_watchdog
{
    int fd;      /* -1: not open */
    unsigned ms; /* after the last word it bites */
    uint64_t due_ms;
};

/* It must bite within @max_ms. A regular file will do, for tests: it never bites. */
SY_MUST_USE int ad__watchdog_open(struct ad_watchdog *w, const char *path,
                                  unsigned max_ms, struct sy_errbuf *eb);
/* All is well. To be called four times in @ms or more often; 0 of them is too few. */
void ad__watchdog_tend(struct ad_watchdog *w, uint64_t now_ms);
/* It is not needed any more. Without this it bites, also when the process ends. */
void ad__watchdog_disarm(struct ad_watchdog *w);

#endif /* AD_RESOURCES_WATCHDOG_H */

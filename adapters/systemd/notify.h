/* Tells systemd how it goes: sd_notify(3), the protocol of $NOTIFY_SOCKET. A datagram
 * each, without libsystemd. Outside of systemd nothing happens. */

#ifndef AD_SYSTEMD_NOTIFY_H
#define AD_SYSTEMD_NOTIFY_H

#include <stdint.h>

/* "READY=1", "STATUS=on watch", "WATCHDOG=1", "STOPPING=1"; several with newlines. Never
 * waits: what does not fit is dropped. */
void ad_systemd_tell(const char *text);
/* How often it must be told WATCHDOG=1: half of $WATCHDOG_USEC, in ms; 0: never. */
unsigned ad_systemd_watchdog_ms(void);

#endif /* AD_SYSTEMD_NOTIFY_H */

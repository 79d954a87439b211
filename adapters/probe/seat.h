/* Is the seat at a network coordinator free? A coordinator has one client at its serial
 * port: a second that comes too early is refused, thrown out at once, or throws the
 * first one out. So before an instance starts the port is tried: it is free if a
 * connection is taken and stays. What is busy or away is tried again, with growing
 * pauses, as long as the caller has patience.
 *
 * A coordinator that takes several clients cannot be asked this way: it is free
 * always. */

#ifndef AD_PROBE_SEAT_H
#define AD_PROBE_SEAT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum { AD_SEAT_TEXT_SIZE = 200 };

struct ad_seat_config
{
    char host[64]; /* numeric */
    uint16_t port;
    unsigned settle_ms;    /* so long the connection must stay; default 300 */
    unsigned timeout_ms;   /* of one attempt to connect; default 2,000 */
    unsigned pause_ms;     /* after the first attempt in vain, then twice as long ...; */
    unsigned pause_max_ms; /* default 250 and 4,000 */
    unsigned patience_ms;  /* then the last attempt ends it; default 20,000 */
};

enum ad_seat_state { AD_SEAT_FREE, AD_SEAT_BUSY, AD_SEAT_AWAY };

/* After each attempt, never from inside a call. @last: it is the end, the seat is
 * gone; always so if it is free. */
typedef void (*ad_seat_cb)(void *data, enum ad_seat_state state, bool last,
                           const char *text);

struct ad_seat;

void ad_seat_config_default(struct ad_seat_config *c);
struct ad_seat *ad_seat_start(uv_loop_t *loop, const struct ad_seat_config *config,
                              ad_seat_cb cb, void *data);
/* No callback comes any more. */
void ad_seat_cancel(struct ad_seat *s);

#endif /* AD_PROBE_SEAT_H */

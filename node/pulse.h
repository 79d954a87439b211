/* Does a broker of ours that runs still answer? One that hangs holds its port, and only
 * a CONNECT finds out. Any answer will do: who is refused has met a broker that lives,
 * and a wrong password is no reason to start it anew. */

#ifndef ND_PULSE_H
#define ND_PULSE_H

#include "adapters/broker/broker.h"
#include "adapters/probe/probe.h"

struct nd_pulse_config
{
    const struct ad_broker_config *broker; /* read at once */
    const char *client_id;                 /* nobody else's */
    const char *username, *password;       /* NULL: none. Live as long as the pulse */
    unsigned timeout_ms, every_ms;         /* default 3,000 and 5,000 */
    unsigned misses;                       /* in a row: it is dead; default 3 */
    unsigned begin_ms; /* so long it may take to answer the first time: default 60,000 */
};

struct nd_pulse;

/* It is dead; said once, and never from inside a call. */
typedef void (*nd_pulse_cb)(void *data, const char *why);

void nd_pulse_config_default(struct nd_pulse_config *c);
struct nd_pulse *nd_pulse_start(uv_loop_t *loop, const struct nd_pulse_config *c,
                                nd_pulse_cb cb, void *data);
/* Also after it was said to be dead. */
void nd_pulse_stop(struct nd_pulse *p);

#endif /* ND_PULSE_H */

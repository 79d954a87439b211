/* Before a broker of ours is stopped for a planned handover: what it has for our reader
 * is taken first. Each host's broker has a session of its own, and what stays in this one
 * comes only when the watch does. Its bridges are stopped by then, so it falls silent. */

#ifndef ND_DRAIN_H
#define ND_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

enum { ND_DRAIN_QUIET_MS = 150, ND_DRAIN_MAX_MS = 2000 };

/* Zero: it has not begun. */
struct nd_drain
{
    uint64_t until_ms; /* it is not waited for longer */
    uint64_t quiet_ms; /* since when nothing has come */
    uint64_t received; /* by then */
};

/* Is there more to come? @holding: what came is not committed yet; @received: messages
 * ever. When it says no, it has ended. */
bool nd_drain_goes_on(struct nd_drain *d, uint64_t now_ms, bool holding,
                      uint64_t received);

struct nd_node;

/* The same of resource @which; no if it is not a broker, has no reader of ours, or the
 * handover is not a planned one. */
bool nd_drain_resource(struct nd_node *n, unsigned which);

#endif /* ND_DRAIN_H */

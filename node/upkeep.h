/* Maintenance, and nodes that begin anew.
 *
 *   fact maintenance.until   Unix ms, the cluster's time: no automatic relief before
 *
 * While it lasts no node campaigns but the one that had the watch last: the watch stays
 * where it is, or is handed over. It ends by itself; earlier when an operator says so:
 * at once, too, where nobody leads and nothing can be agreed on (waived, told to the
 * other nodes by gossip). */

#ifndef ND_UPKEEP_H
#define ND_UPKEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nd_node;
struct nd_request;

struct nd_upkeep
{
    uint64_t told;     /* maintenance.until as last seen */
    uint64_t waived;   /* the maintenance that an operator has ended here */
    uint64_t again_ms; /* the end is proposed not before */
    /* The end of the log at the start: before it is applied this node cannot know who had
     * the watch last, it may have been itself; held back, nobody might ever campaign. */
    uint64_t boot_last;
    bool restart; /* begin anew when all is closed */
};

/* For how many ms there is no automatic relief; 0: there is. */
uint64_t nd_node_maintenance(const struct nd_node *n);
/* Until when, as text of the machine's local time. */
void nd_upkeep_until(const struct nd_node *n, char *to, size_t size);
/* It lasts, and this node is not the one that had the watch last: it may not take it. */
bool nd_upkeep_held(const struct nd_node *n);
void nd_upkeep_tend(struct nd_node *n);
/* For gossip: what an operator has ended here; 0: nothing. */
uint64_t nd_upkeep_waived(const struct nd_node *n);

void nd_op_maintenance(struct nd_request *q);
void nd_op_restart(struct nd_request *q);

#endif /* ND_UPKEEP_H */

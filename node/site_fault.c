/* Which node could not run the resources: for so long the watch is not handed to it for
 * the fault of another. Two nodes with the same fault would play ping-pong with it.
 *
 *   fact resource.fault.ID   "COUNT UNTIL": so often in a row, and until when (wall
 * clock)
 *
 * The pause doubles each time. It is forgotten when all have run there for a while. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/node.h"

enum { PAUSE_MIN = 10, PAUSE_MAX_MIN = 1440, WELL_MS = 600000 };

static void key_of(uint64_t id, char key[RP_FACT_KEY_SIZE])
{
    snprintf(key, RP_FACT_KEY_SIZE, "resource.fault.%" PRIu64, id);
}

static unsigned read_fact(const struct nd_node *n, uint64_t id, uint64_t *ret_until_ms)
{
    char key[RP_FACT_KEY_SIZE];
    const struct rp_fact *f;
    unsigned count = 0;

    key_of(id, key);
    f = rp_store_fact(n->store, key);
    *ret_until_ms = 0;
    if (f == NULL || sscanf(f->value, "%u %" SCNu64, &count, ret_until_ms) != 2) {
        return 0;
    }
    return count;
}

unsigned nd_site_fault_pause_min(unsigned count)
{
    unsigned minutes = PAUSE_MIN;

    for (unsigned i = 0; i < count && minutes < PAUSE_MAX_MIN; i++) {
        minutes *= 2;
    }
    return minutes < PAUSE_MAX_MIN ? minutes : PAUSE_MAX_MIN;
}

bool nd_site_faulty(const struct nd_node *n, uint64_t id)
{
    uint64_t until;

    return read_fact(n, id, &until) != 0 && nd_replica_clock_ms(n->replica) < until;
}

unsigned nd_site_note_fault(struct nd_node *n)
{
    char key[RP_FACT_KEY_SIZE], value[48];
    uint64_t until;
    unsigned count = read_fact(n, n->config.id, &until);
    unsigned minutes = nd_site_fault_pause_min(count);

    if (nd_site_faulty(n, n->config.id)) {
        return nd_site_fault_pause_min(count - 1); /* Nobody could take the watch. */
    }
    key_of(n->config.id, key);
    snprintf(value, sizeof value, "%u %" PRIu64, count + 1,
             nd_replica_clock_ms(n->replica) + (uint64_t)minutes * 60000);
    rp_batch_fact(nd_replica_batch(n->replica), key, value);
    return minutes;
}

void nd_site_forget_fault(struct nd_node *n, bool wanted)
{
    struct nd_site *s = &n->site;
    uint64_t until, now = nd_now_ms();
    char key[RP_FACT_KEY_SIZE];
    bool well = wanted && read_fact(n, n->config.id, &until) != 0;

    for (unsigned i = 0; i < s->m.n && well; i++) {
        const struct cs_resource *x = &s->m.list[i];

        well = x->off || (x->state == CS_RES_RUNNING && x->failures == 0);
    }
    if (!well) {
        s->well_ms = 0;
    } else if (s->well_ms == 0) {
        s->well_ms = now;
    } else if (now >= s->well_ms + WELL_MS) {
        s->well_ms = 0;
        key_of(n->config.id, key);
        rp_batch_fact(nd_replica_batch(n->replica), key, "");
    }
}

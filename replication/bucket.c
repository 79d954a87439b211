#include "replication/bucket.h"

enum { ONE = 1000 }; /* so that a millisecond at 1 per second is one unit */

bool rp_bucket_take(struct rp_bucket *b, const struct rp_bucket_config *c,
                    uint64_t now_ms)
{
    uint64_t size = (uint64_t)(c->burst > 0 ? c->burst : 1) * ONE;

    if (c->per_second == 0) {
        return true;
    }
    if (now_ms > b->at_ms) {
        uint64_t passed = now_ms - b->at_ms;

        /* Compared by division: a product of a long pause would overflow. */
        if (passed > b->missing / c->per_second) {
            b->missing = 0;
        } else {
            b->missing -= passed * c->per_second;
        }
        b->at_ms = now_ms;
    }
    if (b->missing + ONE > size) {
        return false;
    }
    b->missing += ONE;
    return true;
}

/* A token bucket: how often somebody may do something. It fills by @per_second up to
 * @burst, and each time takes one. Pure; zero is a full bucket. */

#ifndef RP_BUCKET_H
#define RP_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct rp_bucket_config
{
    uint32_t per_second; /* 0: no limit */
    uint32_t burst;      /* at least 1 is granted */
};

struct rp_bucket
{
    uint64_t missing; /* thousandths of what was taken and has not come back */
    uint64_t at_ms;   /* when that was so */
};

/* Takes one, if there is one. A clock that goes back gives nothing. */
bool rp_bucket_take(struct rp_bucket *b, const struct rp_bucket_config *c,
                    uint64_t now_ms);

#endif /* RP_BUCKET_H */

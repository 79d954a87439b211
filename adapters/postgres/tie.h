/* The row of the tie-breaker (consensus/tie.h): read and compare-and-swap, over a
 * connection of its own that every node keeps, so that it is there when it is needed.
 *
 * One request at a time, each one transaction. What the answer says was committed: it
 * is given only after the server has said so. */

#ifndef AD_POSTGRES_TIE_H
#define AD_POSTGRES_TIE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "adapters/postgres/postgres.h"
#include "base/err.h"
#include "consensus/tie.h"

struct ad_pg_tie;

struct ad_pg_tie_cb
{
    /* The row as it is after the request (epoch 0: there is none). NULL: no answer, and
     * what became of the request is not known. Once per request, never from inside the
     * call that made it. */
    void (*answer)(void *data, const struct cs_tie_row *row);
    void (*changed)(void *data); /* The connection came or went. */
};

/* Of @config: conninfo, cluster, the timeouts and the seed. */
SY_MUST_USE int ad_pg_tie_open(struct ad_pg_tie **ret, uv_loop_t *loop,
                               const struct ad_pg_config *config,
                               const struct ad_pg_tie_cb *cb, void *data,
                               struct sy_errbuf *eb);
bool ad_pg_tie_up(const struct ad_pg_tie *t);
/* What is wrong, on one line; "" if nothing is. */
const char *ad_pg_tie_error(const struct ad_pg_tie *t);
/* Only when it is up and no request is under way. */
void ad_pg_tie_read(struct ad_pg_tie *t);
void ad_pg_tie_swap(struct ad_pg_tie *t, uint64_t expect, const struct cs_tie_row *want);
/* No answer comes any more. */
void ad_pg_tie_close(struct ad_pg_tie *t, void (*closed)(void *data));

#endif /* AD_POSTGRES_TIE_H */

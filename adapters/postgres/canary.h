/* How many canary readings of a drill are in Postgres: the rows are what counts. Asked
 * by whoever runs the drill, over a connection of its own, again and again; it writes
 * nothing. Callbacks never come from inside a call. */

#ifndef AD_POSTGRES_CANARY_H
#define AD_POSTGRES_CANARY_H

#include "adapters/postgres/postgres.h"

struct ad_pg_canary_count
{
    uint64_t rows, numbers; /* numbers: how many different ones */
    uint64_t newer;         /* of them greater than @than */
    uint64_t base, than;    /* as asked */
};

typedef void (*ad_pg_canary_cb)(void *data, const struct ad_pg_canary_count *count);

struct ad_pg_canary;

/* @prefix: of the meters; of times from @since_ms on. @cb for each answer. Connects,
 * and again after it was lost. */
SY_MUST_USE int ad_pg_canary_open(struct ad_pg_canary **ret, uv_loop_t *loop,
                                  const struct ad_pg_config *config, const char *prefix,
                                  uint64_t since_ms, ad_pg_canary_cb cb, void *data,
                                  struct sy_errbuf *eb);
/* Numbers greater than @base are counted. Does nothing while an answer is owed, or
 * there is no connection. */
void ad_pg_canary_ask(struct ad_pg_canary *c, uint64_t base, uint64_t than);
const char *ad_pg_canary_error(const struct ad_pg_canary *c); /* "": none */
void ad_pg_canary_close(struct ad_pg_canary *c, void (*closed)(void *data));

#endif /* AD_POSTGRES_CANARY_H */

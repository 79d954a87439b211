/* Could this node write to Postgres if it had the watch? Connects, asks what the role may
 * do, and closes. It writes nothing and ends nobody's session.
 *
 * One callback for each check, never from inside a call; then it is gone. */

#ifndef AD_POSTGRES_CHECK_H
#define AD_POSTGRES_CHECK_H

#include "adapters/postgres/postgres.h"

/* @text: how long it took, or what is wrong, on one line and without a password. */
typedef void (*ad_pg_check_cb)(void *data, bool good, const char *text);

struct ad_pg_check;

SY_MUST_USE int ad_pg_check_start(struct ad_pg_check **ret, uv_loop_t *loop,
                                  const struct ad_pg_config *config, ad_pg_check_cb cb,
                                  void *data, struct sy_errbuf *eb);
/* Before its callback came: it does not come any more. */
void ad_pg_check_cancel(struct ad_pg_check *c);

#endif /* AD_POSTGRES_CHECK_H */

/* What became of commands, for the rows of meter_commands they came from. */

#include <string.h>

#include "adapters/postgres/batch.h"
#include "adapters/postgres/postgres.h"

/* Of the rows that are open, which have an index of their own: what has ended stays as
 * it is, whoever says something else later. */
const char ad_pg_sql_results[] =
    "UPDATE meter_commands AS c SET status = n.s, error = n.e,"
    " attempts = GREATEST(n.a, c.attempts),"
    " accepted_at = COALESCE(to_timestamp(n.ta / 1000.0::float8), c.accepted_at),"
    " sent_at = COALESCE(to_timestamp(n.ts / 1000.0::float8), c.sent_at),"
    " finished_at = to_timestamp(n.tf / 1000.0::float8), updated_at = now()"
    " FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[],"
    " $6::bigint[], $7::bigint[]) AS n(i, s, a, e, ta, ts, tf)"
    " WHERE left(c.id::text, 255) = n.i"
    " AND c.status IN ('pending', 'accepted', 'sent')";

void ad_pg_put_result(struct ad_pg_columns *to, const struct ad_pg_result *r)
{
    struct sy_buf *col = to->col;

    ad_pg_put_text(&col[0], r->id);
    ad_pg_put_text(&col[1], r->status);
    ad_pg_put_uint(&col[2], r->attempts);
    ad_pg_put_text_or_null(&col[3], r->error);
    ad_pg_put_time(&col[4], r->accepted_ms);
    ad_pg_put_time(&col[5], r->sent_ms);
    ad_pg_put_time(&col[6], r->finished_ms);
    to->rows++;
}

bool ad_pg_result_of(const struct rp_command *c, struct ad_pg_result *r)
{
    static const char prefix[] = AD_PG_ID_PREFIX;
    size_t n = sizeof prefix - 1;

    if (strcmp(c->source, RP_SOURCE_POSTGRES) != 0 || strncmp(c->id, prefix, n) != 0) {
        return false;
    }
    *r = (struct ad_pg_result){.id = c->id + n,
                               .status = rp_command_status_name(c->status),
                               .attempts = c->attempts,
                               .error = c->reason,
                               .accepted_ms = c->accepted_ms,
                               .sent_ms = c->sent_ms,
                               .finished_ms = c->ended_ms};
    return true;
}

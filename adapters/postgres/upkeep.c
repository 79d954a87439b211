/* Partitions ahead, old readings away: what vagt_maintain() does, seen to now and then.
 * Whatever it cannot do is said, and costs no reading. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "adapters/postgres/writer.h"

enum { EVERY_MS = 3600000, AGAIN_MS = 600000 };

static const char sql_upkeep[] = "SELECT vagt_maintain($1::integer, $2::integer)";

bool ad_pg_upkeep_due(const struct ad_pg *p)
{
    return uv_now(p->loop) >= p->upkeep_at;
}

void ad_pg_upkeep_send(struct ad_pg *p)
{
    char keep[AD_PG_NUMBER_SIZE], ahead[AD_PG_NUMBER_SIZE];
    const char *values[] = {ad_pg_number(keep, p->config.retention_days),
                            ad_pg_number(ahead, p->config.partition_days)};

    p->upkeep_says[0] = '\0';
    ad_pg_begin_step(p, AD_PG_UPKEEP);
    ad_pg_begin_transaction(p, 0); /* It is less patient itself. */
    ad_pg_queue(p, AD_PG_CMD_UPKEEP, sql_upkeep, 2, values);
    ad_pg_queue(p, AD_PG_CMD_COMMIT, "COMMIT", 0, NULL);
    ad_pg_end_step(p);
}

void ad_pg_upkeep_take(struct ad_pg *p, const PGresult *r)
{
    if (PQntuples(r) == 1) {
        ad_pg_conn_why(&p->conn, PQgetvalue(r, 0, 0), p->upkeep_says,
                       sizeof p->upkeep_says);
    }
}

void ad_pg_upkeep_done(struct ad_pg *p)
{
    const char *says = p->failed ? p->why : p->upkeep_says;
    bool fine = says[0] == '\0';

    p->in_transaction = p->failed;
    p->upkeep_at = uv_now(p->loop) + (fine ? EVERY_MS : AGAIN_MS);
    if (!p->failed) {
        p->status.maintained_ms = ad_pg_wall_ms();
    }
    if (strcmp(says, p->status.maintenance) != 0) {
        snprintf(p->status.maintenance, sizeof p->status.maintenance, "%s", says);
        if (!fine) {
            SY_LOG(p->log, SY_WARN, "pg.maintenance", KSTR("why", says));
        }
        p->cb.changed(p->data);
    }
    if (!p->closing) {
        ad_pg_schedule(p);
    }
}

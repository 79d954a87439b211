/* What comes in by Postgres, on the node on watch: rows of meter_commands become
 * commands of the ledger, dead letters go through their source once more.
 *
 *   pending row -> checked as `vagtctl send` does -> proposed -> applied: the ledger has
 *                  it, and the writer keeps its row up to date from then on
 *              \-> refused, too old, overtaken: answered at once, never in the ledger
 *
 * While some are on their way through the log no more are taken: what is shown
 * meanwhile may be the same. */

#ifndef ND_TABLE_H
#define ND_TABLE_H

#include "adapters/postgres/postgres.h"
#include "node/replica.h"

struct nd_node;

struct nd_table
{
    struct nd_wait wait; /* for the commit of what was taken */
    bool waiting;
    bool missed; /* Something was shown while waiting. */
    /* Since this node started. */
    uint64_t taken, refused, expired, superseded, replayed;
};

/* Callbacks of the writer; @data is the node. */
void nd_table_ask(void *data, const struct ad_pg_ask *asks, unsigned count);
void nd_table_letter(void *data, const struct ad_pg_retry *letter);

#endif /* ND_TABLE_H */

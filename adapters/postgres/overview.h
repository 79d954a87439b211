/* What `vagtctl db status` shows of the database: one blocking look. */

#ifndef AD_POSTGRES_OVERVIEW_H
#define AD_POSTGRES_OVERVIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum ad_pg_layout {
    AD_PG_LAYOUT_TABLE, /* as it was before vagt */
    AD_PG_LAYOUT_PARTITIONS,
    AD_PG_LAYOUT_HYPERTABLE
};

enum { AD_PG_DAY_SIZE = 16, AD_PG_WAITING_MAX = 1000000 };

/* Times in ms since 1970, 0: never, or none. Counts of -1: this role may not look. */
struct ad_pg_overview
{
    unsigned schema; /* If it is not the newest, nothing else is filled in. */

    enum ad_pg_layout layout;
    int64_t partitions;             /* of a day each, as a rule */
    char first_day[AD_PG_DAY_SIZE]; /* "2026-11-25"; empty: none */
    char last_day[AD_PG_DAY_SIZE];  /* the last one that has a partition */
    char before[AD_PG_DAY_SIZE];    /* what is older lies in one partition; or empty */
    int64_t waiting;                /* rows in no day's partition; AD_PG_WAITING_MAX + 1:
                                       more than that */
    bool upkeep;                    /* vagt_maintain() has run, with this outcome: */
    uint64_t upkeep_ms;
    unsigned keep_days, ahead_days;
    char horizon[AD_PG_DAY_SIZE]; /* what is older goes; empty: nothing does */
    char trouble[512];
    uint64_t dropped, deleted, pruned; /* partitions, readings, letters since ever */

    int64_t letters_new, letters_asked, letters_replayed;
    uint64_t letters_oldest_ms;
    int64_t commands_open;
    uint64_t commands_oldest_ms;
    /* Tables with rows that row level security hides from this role. */
    char hidden[128];
    uint64_t now_ms; /* by the clock of the server */
};

SY_MUST_USE int ad_pg_overview(const char *conninfo, struct ad_pg_overview *ret,
                               struct sy_errbuf *eb);

#endif /* AD_POSTGRES_OVERVIEW_H */

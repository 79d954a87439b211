/* One batch: what the store has after two watermarks, as the parameters of three
 * statements. Columns are array literals in text, taken apart by unnest(). */

#ifndef AD_POSTGRES_BATCH_H
#define AD_POSTGRES_BATCH_H

#include "base/buf.h"
#include "replication/store.h"

enum { AD_PG_COLUMNS = 8, AD_PG_AREAS_SEEN = 64, AD_PG_AREA_WORDS = 1024 };

/* The parameters of one statement, in its order. */
struct ad_pg_columns
{
    struct sy_buf col[AD_PG_COLUMNS];
    unsigned rows;
};

struct ad_pg_batch
{
    /* Readings from+1 .. to, changes from_revision+1 .. to_revision. */
    uint64_t from, to;
    uint64_t from_revision, to_revision;
    uint64_t missing; /* Readings in between that the store no longer has. */

    unsigned devices;    /* changed devices taken */
    uint64_t first_ieee; /* of the first reading or device, to name a bad row */
    uint64_t first_seq;
    uint64_t first_revision;

    struct ad_pg_columns readings;
    struct ad_pg_columns meters;
    struct ad_pg_columns identity;
    struct ad_pg_columns telling; /* base topics of areas seen to tell availability */

    /* Bits by area: Postgres knows that it tells; this batch says so. */
    uint64_t told[AD_PG_AREA_WORDS];
    uint64_t tells[AD_PG_AREA_WORDS];

    /* Per area, remembered for one batch: see area_tells(). */
    struct
    {
        uint16_t area; /* 0: free */
        bool tells;
    } areas[AD_PG_AREAS_SEEN];
    uint64_t *seen; /* hash set of the meters in this batch, by ieee */
};

struct ad_pg_batch_limits
{
    unsigned readings, devices;
    uint64_t skip_seq;      /* 0: none. These are left out, and passed over. */
    uint64_t skip_revision; /* 0: none */
};

enum { AD_PG_DEVICES_MAX = 1000 };

extern const char ad_pg_sql_readings[];
extern const char ad_pg_sql_retire[]; /* parameters: the first two of identity */
extern const char ad_pg_sql_meters[];
extern const char ad_pg_sql_identity[];
extern const char ad_pg_sql_untold[]; /* parameter: telling */

enum { AD_PG_READINGS_COLUMNS = 8, AD_PG_METERS_COLUMNS = 6, AD_PG_IDENTITY_COLUMNS = 6 };

/* Fill @b from @s, beginning after @from and @from_revision. Its memory is reused;
 * zero is ready for use. At most AD_PG_DEVICES_MAX devices. */
void ad_pg_batch_fill(struct ad_pg_batch *b, const struct rp_store *s, uint64_t from,
                      uint64_t from_revision, const struct ad_pg_batch_limits *l);
/* It is in; and: nothing is known of the database. */
void ad_pg_batch_written(struct ad_pg_batch *b);
void ad_pg_batch_forget(struct ad_pg_batch *b);
void ad_pg_batch_free(struct ad_pg_batch *b);

#endif /* AD_POSTGRES_BATCH_H */

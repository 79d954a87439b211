/* One batch: what the store has after three watermarks, as the parameters of the
 * statements of one transaction.
 *
 *   readings   by seq       -> meter_readings
 *   changes    by revision  -> power_meters, meter_identity (devices),
 *                              meter_commands (results of commands)
 *   letters    by seq       -> vagt_dead_letters
 *
 * A row that Postgres has refused is named in the limits: it goes to
 * vagt_dead_letters in the same transaction that moves the watermark past it. */

#ifndef AD_POSTGRES_BATCH_H
#define AD_POSTGRES_BATCH_H

#include "adapters/postgres/literal.h"
#include "replication/store.h"

enum {
    AD_PG_AREAS_SEEN = 64,
    AD_PG_AREA_WORDS = 1024,
    AD_PG_DEVICES_MAX = 1000,
    AD_PG_COMMANDS_MAX = 1000,
    AD_PG_LETTERS_MAX = 200,
    AD_PG_IEEE_SIZE = 20
};

enum ad_pg_kind { AD_PG_READING, AD_PG_DEVICE, AD_PG_COMMAND, AD_PG_KINDS };

/* "reading", ...: as in vagt_dead_letters.kind */
const char *ad_pg_kind_name(enum ad_pg_kind k);

/* A row that is left out. */
struct ad_pg_refused
{
    uint64_t nr; /* seq or revision; 0: none */
    char why[256];
};

/* How much at most. Readings, devices and commands are halved when Postgres refuses
 * something of a batch, until what it does not want stands alone. */
struct ad_pg_batch_limits
{
    unsigned readings, devices, commands;
    bool no_commands;   /* The table does not take any: they are passed over. */
    bool commands_wait; /* Somebody has locked it. What changed later waits, too. */
    bool letters_wait;
    bool ascii; /* The database cannot hold every character. */
    struct ad_pg_refused refused[AD_PG_KINDS];
};

struct ad_pg_batch
{
    /* Readings from+1 .. to, and so on. */
    uint64_t from, to;
    uint64_t from_revision, to_revision;
    uint64_t from_letter, to_letter;
    /* In between, and the store does not have them any more. */
    uint64_t missing, missing_letters;

    /* What it is made of, with what is left out or merged. */
    unsigned taken, devices, commands;
    /* The first ones: these are bad if they stand alone. */
    uint64_t first_seq, first_device, first_command;

    struct ad_pg_columns readings;
    struct ad_pg_columns meters;
    struct ad_pg_columns identity;
    struct ad_pg_columns telling; /* base topics of areas seen to tell availability */
    struct ad_pg_columns results; /* of commands */
    struct ad_pg_columns refused; /* dead letters made of rows */
    struct ad_pg_columns letters; /* dead letters of the store */

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

    /* Readings of this batch, one per meter and time; and where to find them. */
    struct rp_reading *rows;
    unsigned rows_n;
    uint32_t *places; /* 0: free; else index + 1 */
    unsigned places_n, rows_cap;

    struct sy_buf json; /* scratch */
};

extern const char ad_pg_sql_readings[];
extern const char ad_pg_sql_retire[]; /* parameters: the first two of identity */
extern const char ad_pg_sql_meters[];
extern const char ad_pg_sql_identity[];
extern const char ad_pg_sql_untold[];  /* parameter: telling */
extern const char ad_pg_sql_results[]; /* of the batch, and answers */
extern const char ad_pg_sql_letters[]; /* first parameter: the cluster */

enum {
    AD_PG_READINGS_COLUMNS = 8,
    AD_PG_METERS_COLUMNS = 6,
    AD_PG_IDENTITY_COLUMNS = 6,
    AD_PG_RESULTS_COLUMNS = 7,
    AD_PG_LETTERS_COLUMNS = 7
};

/* Where Postgres is. */
struct ad_pg_marks
{
    uint64_t shipped, revision, letters;
};

/* Fill @b from @s, beginning after @from. Its memory is reused; zero is ready for
 * use. At most AD_PG_DEVICES_MAX devices and AD_PG_COMMANDS_MAX commands. */
void ad_pg_batch_fill(struct ad_pg_batch *b, const struct rp_store *s,
                      const struct ad_pg_marks *from, const struct ad_pg_batch_limits *l);
/* Nothing to tell Postgres. */
bool ad_pg_batch_empty(const struct ad_pg_batch *b);
/* It is in; and: nothing is known of the database. */
void ad_pg_batch_written(struct ad_pg_batch *b);
void ad_pg_batch_forget(struct ad_pg_batch *b);
void ad_pg_batch_free(struct ad_pg_batch *b);

/* --- parts of it --- */

/* batch_devices.c */
void ad_pg_batch_devices_begin(struct ad_pg_batch *b);
void ad_pg_add_device(struct ad_pg_batch *b, const struct rp_store *s,
                      const struct rp_device *d);
bool ad_pg_is_online(struct ad_pg_batch *b, const struct rp_store *s,
                     const struct rp_device *d);
const char *ad_pg_state_text(enum rp_switch s); /* NULL: not known */
const char *ad_pg_ieee_text(uint64_t ieee, char text[AD_PG_IEEE_SIZE]);
const char *ad_pg_meter_name(const struct rp_device *d, uint64_t ieee,
                             char text[AD_PG_IEEE_SIZE]);
/* batch_results.c */

/* What a row of meter_commands is to say. */
struct ad_pg_result
{
    const char *id; /* of the row */
    const char *status;
    uint32_t attempts;
    const char *error; /* "": none */
    uint64_t accepted_ms, sent_ms, finished_ms;
};
void ad_pg_put_result(struct ad_pg_columns *to, const struct ad_pg_result *r);
/* Is it of the table? Then @r is what its row should say; it points into @c. */
bool ad_pg_result_of(const struct rp_command *c, struct ad_pg_result *r);
/* batch_letters.c */
void ad_pg_fill_letters(struct ad_pg_batch *b, const struct rp_store *s,
                        const struct ad_pg_batch_limits *l);
void ad_pg_refuse_reading(struct ad_pg_batch *b, const struct rp_store *s,
                          const struct ad_pg_batch_limits *l, const struct rp_reading *r);
void ad_pg_refuse_device(struct ad_pg_batch *b, const struct rp_store *s,
                         const struct ad_pg_batch_limits *l, const struct rp_device *d);
void ad_pg_refuse_command(struct ad_pg_batch *b, const struct rp_store *s,
                          const struct ad_pg_batch_limits *l, const struct rp_command *c);

#endif /* AD_POSTGRES_BATCH_H */

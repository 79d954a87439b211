/* What is around the nodes of a simulated site: a broker behind ad_mqtt_*, a Postgres
 * behind ad_pg_*, bridges with meters, people who write rows into meter_commands. No
 * I/O; all of it happens in events of the site (site_post) and by its random numbers.
 *
 *   world.c           the whole: life, faults, what a node's configuration says
 *   world_net.c       connections between a node and the outside, as TCP has them
 *   world_broker.c    sessions, retained messages, what is saved of them
 *   world_mqtt.c      ad_mqtt_*: the reader and the writer of a node
 *   world_pg.c        the server: one fence row, readings, meter_commands
 *   world_pgport.c    ad_pg_*: connect, claim, batches out of the store, rows in
 *   world_bridges.c   Zigbee2MQTT with its races, and meters
 *   world_check.c     what must never be, and what must be in the end
 *
 * A violated invariant ends the run through sim_fail(). */

#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "node/config.h"
#include "replication/store.h"
#include "tests/sim/site.h"

struct world;

/* Unix time at the true time 0 of the site: what meters and people have. */
#define WORLD_EPOCH_MS UINT64_C(1790000000000)

enum { WORLD_AREAS_MAX = 4, WORLD_METERS_MAX = 16 /* in an area */ };

struct world_config
{
    unsigned areas, meters;  /* default 2, 4 */
    unsigned report_ms;      /* default 1,500: a meter reports about so often */
    unsigned row_ms;         /* default 2,500: somebody writes a row; 0: nobody */
    unsigned clock_slack_ms; /* how far a node's clock may be off, all in all */
    bool older_copy;         /* Postgres may come back as an older copy of itself */
};

void world_config_default(struct world_config *c);
struct world *world_new(struct site *s, const struct world_config *c);
void world_free(struct world *w);
/* Brokers, areas and Postgres of a node's configuration. */
void world_node_config(const struct world *w, struct nd_config *c);

/* The process is gone, and its sockets are closed; @silent: the machine, too, so that
 * nobody hears. To be called after the node's life has ended, from the outside. */
void world_node_died(struct world *w, unsigned node, bool silent);
/* A link of site_reach() has come back; need not be called: it is looked at now and
 * then. */
void world_fault(struct world *w); /* one, by chance */
/* From here on nothing fails; what is down comes back within two seconds. */
void world_heal(struct world *w);
/* No more reports of meters but one every 10 s, and no rows: the end comes near. */
void world_quiet(struct world *w);

/* After each apply, and after a snapshot was restored. */
void world_applied(struct world *w, unsigned node, const struct rp_store *store,
                   uint64_t index);
/* After every event. */
void world_check(struct world *w);
/* Nothing waits any more: no message at the broker, no reading in the outbox, no open
 * command or row. The node side waits for it, healed, for as long as it finds right. */
bool world_drained(struct world *w);
/* What is still to come, in words, as of the last world_drained() that said no. */
const char *world_waits_for(const struct world *w);
/* In the end, drained. */
void world_check_end(struct world *w);

/* For callers: any device (its address, and its name), and what to ask of it. */
uint64_t world_device(const struct world *w, unsigned nth);
unsigned world_devices(const struct world *w);
const char *world_device_name(const struct world *w, uint64_t ieee);
/* @deadline_ms: by true time; what was asked for must not leave later. */
void world_caller_sent(struct world *w, const char *id, uint64_t ieee, const char *value,
                       uint64_t deadline_ms);
/* The node said of it: @status as in rp_command_status_name(); "" or NULL: refused. */
void world_caller_answer(struct world *w, const char *id, const char *status);

uint64_t world_digest(const struct world *w);
/* One line for -v and for summaries. */
void world_print(const struct world *w, struct sy_buf *to);

#endif /* TESTS_SIM_WORLD_H */

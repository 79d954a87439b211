/* A real Postgres of our own, a store, and writers that ship from it. */

#ifndef TESTS_POSTGRES_RIG_H
#define TESTS_POSTGRES_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <libpq-fe.h>
#include <uv.h>

#include "adapters/postgres/postgres.h"
#include "base/mem.h"

enum { PATIENCE_MS = 15000, NODES_MAX = 2, LOG_SIZE = 65536 };

#define T0 1764000000000U /* When the tests begin. */

/* One server for the whole program. */
struct server
{
    char dir[64];
    int port;
};
extern struct server server;

int free_port(void);
int server_start(void **state); /* group setup */
int server_stop(void **state);
void server_set_hba(const char *text);
void server_make_certificate(void);
/* A certificate for @name by ca.crt, and other.crt, a CA that has nothing to do with it;
 * these two lie in server.dir. */
void server_make_ca(const char *name);
void server_run(const char *verb); /* "stop --crash", "pause", ... */

struct rig;

struct node
{
    struct rig *rig;
    struct ad_pg *p;
    unsigned batches, changes;
    uint64_t shipped, revision;
    uint64_t fenced_by;
    bool closed;
};

struct rig
{
    uv_loop_t loop;
    uv_timer_t watchdog;
    bool late;
    struct sy_log log;
    char lines[LOG_SIZE];
    size_t lines_len;
    char database[32];
    char conninfo[256];
    PGconn *look; /* to see what is in, blocking */

    struct rp_store *store;
    void *mem;
    struct rp_batch batch;
    struct sy_buf entry;
    uint64_t now_ms, index;

    struct ad_pg_config config;
    struct node nodes[NODES_MAX];
    /* What the owner does with rows of meter_commands and with letters. */
    void (*on_ask)(struct node *n, const struct ad_pg_ask *ask);
    void (*on_letter)(struct node *n, const struct ad_pg_retry *letter);
    unsigned asks, letters;    /* shown */
    struct ad_pg_ask last_ask; /* without texts */
};

/* Every test has a database of its own, migrated, and an empty store. */
int rig_open(void **state);
int rig_open_bare(void **state); /* not migrated */
int rig_close(void **state);
/* Another program has begun: an empty log. */
void rig_forget_store(struct rig *r);

/* Run the loop until the condition holds; the test fails when it never does. */
#define UNTIL(R, COND)                                                         \
    do {                                                                       \
        (R)->late = false;                                                     \
        uv_update_time(&(R)->loop);                                            \
        uv_timer_start(&(R)->watchdog, rig_too_late, PATIENCE_MS, 0);          \
        while (!(COND)) {                                                      \
            uv_run(&(R)->loop, UV_RUN_ONCE);                                   \
            if ((R)->late) {                                                   \
                fail_msg("%d ms were not enough for: %s", PATIENCE_MS, #COND); \
            }                                                                  \
        }                                                                      \
        uv_timer_stop(&(R)->watchdog);                                         \
    } while (0)
void rig_too_late(uv_timer_t *timer);
/* Whatever happens in that time. */
void rig_turn(struct rig *r, unsigned ms);
/* Until @query says @value: for what the loop is not told of. */
void rig_wait_sql(struct rig *r, const char *query, const char *value);

void node_open(struct rig *r, struct node *n, const char *name, uint64_t term);
void node_close(struct node *n);
bool node_up(const struct node *n);
const char *node_error(const struct node *n);
void kick_all(struct rig *r);

/* The database has told that it has everything of the store. */
bool all_shipped(const struct rig *r);

/* The first value, as text. */
const char *sql(struct rig *r, const char *fmt, ...) SY_PRINTF(2, 3);
uint64_t sql_number(struct rig *r, const char *text);
unsigned schema_version(void); /* of the migrations that we bring */
unsigned log_count(const struct rig *r, const char *needle);
/* @n rows, and no sign of any that came twice or not at all. */
void check_exactly_once(struct rig *r, const char *n);

/* Applies what is in the batch and kicks the writers. */
void apply(struct rig *r);
/* @areas areas "area1".., @per devices in each: ieee area * 1000 + i, "m<area>-<i>" */
void fill_devices(struct rig *r, unsigned areas, unsigned per);
/* @n readings, round robin over the devices of area 1, power counting up. */
void fill_readings(struct rig *r, unsigned n, unsigned devices);
/* Adds to @filled readings of 10 devices, so that an old writer does not run out of work
 * before the new one is there; false: there have been enough. */
bool more_to_ship(struct rig *r, unsigned *filled);
void report(struct rig *r, uint64_t ieee, enum rp_switch state, int32_t power_mw);

/* A message that cannot be stored. */
void fill_letter(struct rig *r, const char *topic, const char *reason,
                 const char *payload);
/* A row of meter_commands for "m1-<i>", @age old; returns its id. */
const char *insert_command(struct rig *r, unsigned i, const char *value, const char *age);
const char *command_status(struct rig *r, const char *id);
/* The command of the row; it exists. */
const struct rp_command *command_of(struct rig *r, const char *id);
/* Its next attempt leaves; its device confirms. */
void command_sent(struct rig *r, const char *id);
void command_confirmed(struct rig *r, const char *id);

/* --- proxy.c: something between the writer and the server --- */

enum proxy_mode {
    PROXY_PASS,
    PROXY_DEAF, /* What the server answers is swallowed. */
    PROXY_CUT   /* After cut_after more bytes to the server, both ends are closed. */
};

struct proxy
{
    uv_loop_t *loop;
    uv_tcp_t listener;
    struct sockaddr_in to;
    int port;
    enum proxy_mode mode;
    size_t cut_after;
    unsigned connections, cuts;
    uint64_t to_server; /* bytes */
    struct proxy_pair *pair;
    bool closed;
};

void proxy_open(struct proxy *x, uv_loop_t *loop, int port);
void proxy_cut(struct proxy *x); /* now */
void proxy_close(struct proxy *x);

#endif

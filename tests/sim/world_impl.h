/* Inside of the world. */

#ifndef TESTS_SIM_WORLD_IMPL_H
#define TESTS_SIM_WORLD_IMPL_H

#include "adapters/mqtt/mqtt.h"
#include "adapters/postgres/batch.h"
#include "adapters/postgres/postgres.h"
#include "tests/sim/world.h"

typedef unsigned long long ull;

enum {
    WORLD_CONNECTIONS = 2, /* ways in: broker, Postgres */
    WORLD_RECORDS_MAX = 4096
};

/* --- connections: world_net.c --- */

/* What travels. @type of the owner's, 0: the other side closed (n: why). */
struct wpacket
{
    struct wpacket *next;
    uint64_t at;
    int type;
    uint64_t n;
    void *body;
};

struct wqueue
{
    struct wpacket *head, *tail;
    uint64_t last_at;
    bool posted;
};

/* Packets keep their order. What was sent arrives even if the sender has died since, as
 * long as the link holds; behind a broken link they wait, as with TCP. */
struct wconn
{
    struct wconn *next;
    struct world *w;
    unsigned node;
    uint32_t life;
    enum site_where where;
    bool here, there; /* Open at the node; at the server. */
    bool vanished;    /* The node's machine went down with it. */
    bool stopped;     /* The node does not read. */
    struct wqueue up, down, in;
    uint64_t heard_at; /* by the server, last */
    void *client, *server;
    uint64_t tag; /* of the server's */
};

struct wconn *wn_open(struct world *w, enum site_where where, void *client);
/* From the node. @body is the packet's from here on. */
void wn_up(struct wconn *c, int type, uint64_t n, void *body);
/* From the server. */
void wn_down(struct wconn *c, int type, uint64_t n, void *body);
/* Its answer takes so much longer. */
void wn_down_late(struct wconn *c, int type, void *body, uint64_t ms);
void wn_shut(struct wconn *c); /* by the node: nothing comes in any more */
void wn_hang_up(struct wconn *c, uint64_t why);         /* by the server */
bool wn_take(struct wconn *c, struct wpacket *ret);     /* what has arrived at the node */
void wn_done(struct wconn *c, const struct wpacket *p); /* frees its body */
void wn_poke(struct wconn *c); /* look again at what has arrived */
void wn_free(struct world *w);
/* Of those that serve. */
void wb_serve(struct wconn *c, const struct wpacket *p);
void wp_serve(struct wconn *c, const struct wpacket *p);
void wm_readable(struct wconn *c);
void wq_readable(struct wconn *c);

/* --- the broker: world_broker.c --- */

enum { WB_PUBLISH = 1, WB_ACK, WB_CONNECT, WB_SUBSCRIBE, WB_PING };
enum wb_why { WB_LOST = 1, WB_TAKEN, WB_REFUSED };

struct wreading;

struct wmsg
{
    unsigned refs;
    char *topic;
    char *payload;
    size_t len;
    uint8_t qos;
    bool retain;
    struct wreading *reading; /* NULL: not one */
    /* A command of a node. */
    uint64_t term;
    unsigned node;
};

/* One message on its way to a client. */
struct wdelivery
{
    struct wmsg *m;
    uint16_t mid; /* 0: waits */
    bool retained, dup;
    uint8_t qos;
};

struct wsession
{
    char id[AD_MQTT_ID_SIZE];
    char **filters;
    unsigned filters_n;
    struct wdelivery *q; /* sent and waiting ones, in order */
    unsigned q_n, q_cap;
    unsigned sent;
    uint16_t mid;
    unsigned receive_max;
    struct wconn *conn;
    char will_topic[AD_MQTT_TOPIC_SIZE], will[256];
    uint64_t will_gen;
};

struct wretained
{
    struct wmsg *m;
};

enum { WB_SESSIONS_MAX = 4, WB_RETAINED_MAX = 256 };

struct wbroker
{
    bool up;
    uint64_t life;
    uint64_t starts_at;
    unsigned autosave_ms; /* 0: on each change */
    struct wsession sessions[WB_SESSIONS_MAX];
    struct wretained retained[WB_RETAINED_MAX];
    unsigned retained_n;
    struct wsession saved[WB_SESSIONS_MAX];
    struct wretained saved_retained[WB_RETAINED_MAX];
    unsigned saved_retained_n;
    uint64_t will_gens;
    uint64_t set_term; /* newest term of which a command took effect */
    unsigned set_node;
    uint64_t published, delivered, redelivered, lost, refused_late;
};

struct wmsg *wmsg_new(const char *topic, const void *payload, size_t len, int qos,
                      bool retain);
void wmsg_drop(struct wmsg *m);
/* By a client that is not a node: false if the broker is away. */
bool wb_publish(struct world *w, struct wmsg *m);
void wb_kill(struct world *w, uint64_t back_in_ms);
void wb_begin(struct world *w);
void wb_save(struct world *w);
void wb_wake(struct world *w); /* if it is down, it comes back now */
void wb_free(struct world *w);
bool wb_drained(const struct world *w);

/* CONNECT, SUBSCRIBE of a node */
struct wb_hello
{
    char id[AD_MQTT_ID_SIZE];
    char will_topic[AD_MQTT_TOPIC_SIZE], will[256];
    unsigned receive_max, keepalive_s, will_delay_s;
    bool writer;
};
struct wb_filter
{
    char filter[AD_MQTT_TOPIC_SIZE + RP_NAME_SIZE];
    bool fresh;
};
struct wb_delivered
{
    struct wmsg *m;
    uint16_t mid;
    bool retained, dup;
    uint8_t qos;
};

/* --- bridges: world_bridges.c --- */

struct wmeter
{
    uint64_t ieee;
    char name[16];
    unsigned area, nr;
    bool on;
    bool out;         /* not reachable by radio */
    uint64_t back_at; /* true time; 0: when healed */
    uint64_t seen_ms; /* last_seen of its last frame, Unix time */
    uint64_t number;  /* of its last reading */
    bool told_offline;
    /* As the bridge has it cached: */
    bool cache_on;
    uint64_t cache_seen_ms, cache_number;
    bool cache_known;
    /* As last saved to its disk. */
    bool saved_on;
    uint64_t saved_seen_ms, saved_number;
    bool saved_known;
    /* Commands at the bridge, one after the other. */
    struct wset *sets, *sets_tail;
    bool busy;
    uint64_t was[2];     /* true time + 1 at which it was last off, on; 0: never */
    uint64_t by_hand_ms; /* somebody pressed its button */
    bool listed;         /* some node has it as listed */
};

struct wset
{
    struct wset *next;
    bool on;
    uint64_t came_at, until;
    uint64_t life; /* of the bridge */
};

struct wbridge
{
    struct world *w;
    unsigned nr;
    char base[32], area[16];
    bool up;        /* the process */
    bool connected; /* to the broker */
    uint64_t life;
    uint64_t takes_at; /* commands before are dropped */
    struct wmeter meters[WORLD_METERS_MAX];
    unsigned meters_n;
};

void wz_begin(struct world *w);
void wz_kill(struct wbridge *b, bool graceful, uint64_t back_in_ms);
void wz_broker_up(struct world *w);
void wz_broker_down(struct world *w);
/* A message for <base>/<name>/set: true if it was taken. */
bool wz_set(struct world *w, const struct wmsg *m);
void wz_silence(struct wmeter *m, struct world *w, uint64_t ms);
void wz_press(struct world *w, struct wmeter *m);
void wz_wake(struct world *w);
void wz_free(struct world *w);
struct wmeter *wz_meter(const struct world *w, uint64_t ieee);
struct wmeter *wz_nth(const struct world *w, unsigned nth);

/* --- Postgres: world_pg.c --- */

enum { WP_START = 1, WP_HELLO, WP_CLAIM, WP_BATCH, WP_LOOK, WP_ANSWER };

struct wp_reading
{
    uint64_t ieee, time_ms, number, seq;
};

struct wp_row /* of meter_commands */
{
    char id[32];
    char meter[16], value[8];
    uint64_t ieee;
    uint64_t created_ms, expires_ms; /* true; expires 0: not given */
    char status[16], error[RP_TEXT_SIZE];
    uint64_t finished_ms;
    bool ended;
};

struct wp_result
{
    char id[72], status[16], error[RP_TEXT_SIZE];
    uint64_t accepted_ms, finished_ms;
};

/* A transaction of a node, or another group of statements; and the answer. */
struct wp_group
{
    uint64_t term;
    char node[RP_NAME_SIZE];
    struct ad_pg_marks from, to;
    uint64_t seed_shipped, seed_letters;
    struct wp_reading *readings;
    unsigned readings_n;
    struct wp_result *results;
    unsigned results_n;
    uint64_t *letters; /* numbers of readings that became dead letters */
    unsigned letters_n;
    bool only_marks, only_rows; /* the mutant */
    bool others;
    char after[32];
    /* The answer. */
    bool ok, fence;
    struct ad_pg_marks at;
    uint64_t row_term;
    char row_node[RP_NAME_SIZE];
    struct wp_row *rows;
    unsigned rows_n, pending_n;
};

struct wpg
{
    bool up;
    uint64_t life;
    bool evicts;                  /* Older sessions can be ended. */
    unsigned late_ms, lose_reply; /* next commit replies */
    bool known;
    uint64_t term;
    char node[RP_NAME_SIZE];
    struct ad_pg_marks at;
    uint64_t acted;              /* newest term that changed anything */
    struct wp_reading *readings; /* hash by meter and time */
    unsigned readings_n, readings_cap;
    struct wp_row *rows;
    unsigned rows_n, rows_cap;
    uint64_t commits, fenced, lost_replies, rolled_back;
};

void wp_begin(struct world *w);
void wp_kill(struct world *w, uint64_t back_in_ms);
void wp_wake(struct world *w);
void wp_free(struct world *w);
void wp_free_group(struct wp_group *g);
void wp_break(struct world *w); /* all connections */

/* --- what must be: world_check.c --- */

struct wreading
{
    struct wreading *next;
    struct wmeter *meter;
    uint64_t number, seen_ms;
    bool due;     /* its device was listed when it was sent to the broker */
    bool applied; /* it is, or was, in the outbox */
    bool acked;   /* the broker forgot it since a node said so */
    bool letter;
    unsigned rows; /* in Postgres, with its number */
    bool twice;    /* in the outbox */
};

struct wcommand
{
    char id[RP_ID_SIZE];
    uint64_t ieee;
    char value[8];
    uint64_t deadline_ms; /* true; 0: nobody said */
    bool asked, promised; /* by a caller; the node has said "accepted" */
    bool seen, left;
    char told_end[16];          /* to a caller */
    enum rp_command_status end; /* 0: none yet */
    uint64_t seq;
    uint64_t accepted_at; /* true */
};

struct wcheck
{
    struct wreading **readings; /* hash by meter and number */
    unsigned readings_n, readings_cap;
    struct wcommand *commands;
    unsigned commands_n, commands_cap;
    uint64_t seq_seen; /* readings of the outbox looked at */
    uint64_t revision_seen[SIM_NODES_MAX + 1];
    const struct rp_store *store[SIM_NODES_MAX + 1];
    uint32_t store_life[SIM_NODES_MAX + 1];
    bool all_listed;
    uint64_t sets_published, sets_executed, confirmed, twice;
    char waits_for[160];
};

struct wreading *wc_reading(struct world *w, struct wmeter *m, uint64_t number,
                            bool make);
void wc_acked(struct world *w, struct wreading *r);
void wc_set_leaves(struct world *w, unsigned node, const char *topic,
                   const char *payload);
void wc_set_takes_effect(struct world *w, const struct wmsg *m);
void wc_executed(struct world *w, struct wmeter *m, const struct wset *set);
void wc_row_written(struct world *w, const struct wp_reading *r, bool fresh);
void wc_free(struct world *w);

/* --- the whole --- */

struct world
{
    struct site *s;
    struct world_config config;
    struct wconn *conns;
    struct ad_mqtt *mqtts; /* every one that ever was */
    struct ad_pg *pgs;
    struct wbroker broker;
    struct wpg pg;
    struct wbridge bridges[WORLD_AREAS_MAX];
    struct wcheck check;
    bool healed, quiet;
    unsigned delay_max_ms; /* of a packet to the outside */
    uint64_t faults;
};

static inline uint64_t w_now(const struct world *w)
{
    return site_ms(w->s);
}

static inline uint64_t w_wall(const struct world *w)
{
    return WORLD_EPOCH_MS + site_ms(w->s);
}

static inline uint64_t w_below(const struct world *w, uint64_t n)
{
    return site_below(w->s, n);
}

void wm_free(struct world *w);
void wq_free(struct world *w);

#define W_TRACE(W, LEVEL, ...) sim_trace((W)->s->sim, LEVEL, __VA_ARGS__)
#define W_FAIL(W, ...) sim_fail((W)->s->sim, __VA_ARGS__)

#endif /* TESTS_SIM_WORLD_IMPL_H */

/* A whole node without processes, sockets, disks or clocks: node/ as it is, on a real
 * state machine, with everything below it replaced at link time.
 *
 *   fake_replica.c   the log, the peers, the core's word
 *   fake_ports.c     MQTT, Postgres, control clients
 *   fake_node.c      time, timers, what tests ask for
 *
 * Inputs go through a log of their own: sealed at the end of a turn, applied by
 * fake_commit(), or lost by fake_lose(). Nothing happens but in these calls. */

#ifndef TESTS_NODE_FAKE_NODE_H
#define TESTS_NODE_FAKE_NODE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mp.h"
#include "node/node.h"

enum {
    FAKE_TIMERS_MAX = 8,
    FAKE_REPLIES_MAX = 1024,
    FAKE_FRAMES_MAX = 1024,
    FAKE_ANSWERS_MAX = 1024,
    FAKE_PUBLISHED_MAX = 4096,
    FAKE_PROBES_MAX = 64
};

struct fake_entry
{
    struct sy_link link, waits;
    struct sy_buf bytes;
};

struct ad_mqtt
{
    bool open;
    struct ad_mqtt_status status;
    struct ad_mqtt_callbacks cb;
    void *data;
    char status_topic[AD_MQTT_TOPIC_SIZE], will[256];
    char told[AD_MQTT_TELL_MAX]; /* the status, as last told */
    unsigned told_n;
    unsigned released; /* bursts that were acknowledged */
};

struct fake_reply
{
    uint8_t client; /* First byte of its routing id. */
    struct sy_buf bytes;
};

struct fake_frame
{
    uint64_t to;
    uint8_t kind;
    struct sy_buf bytes;
};

struct fake_published
{
    char topic[RP_TOPIC_SIZE + RP_NAME_SIZE + 8];
    char payload[96];
    uint64_t at_ms;
};

struct fake_probe
{
    char address[80]; /* "postgres" */
    char client_id[AD_MQTT_ID_SIZE];
    ad_probe_cb cb; /* NULL: over */
    void *data;
};

/* What the node told the writer about a row or a letter. */
struct fake_answer
{
    char id[80], status[16], text[RP_TEXT_SIZE];
};

struct fake
{
    struct nd_node *n;
    uint64_t now_ms, wall_ms;
    uv_timer_t *timers[FAKE_TIMERS_MAX];

    /* The replica. */
    struct nd_replica_callbacks cb;
    void (*opening)(void); /* inside nd_replica_open(): a lone node applies its log */
    void *memory;
    size_t memory_size;
    struct rp_store *store;
    struct rp_batch batch;
    uint64_t sealed_inputs;
    unsigned seal_in; /* when the batch is asked for the nth time from now; 0: no */
    struct sy_link batch_waits;
    struct sy_link log; /* sealed, not applied */
    unsigned sealed;    /* entries ever */
    uint64_t index, term, leading, leader, lease_until_ms;
    uint64_t committed, applied; /* what the core says; 0: as the store */
    enum cs_core_role role;
    bool linked[CS_ID_MAX + 1];
    uint64_t match[CS_ID_MAX + 1];
    struct nd_replica_gate gate;
    uint64_t heard_ms[CS_ID_MAX + 1];
    struct
    {
        bool up, asked;
        uint64_t expect;
        struct cs_tie_row swap; /* epoch 0: it was only read */
        struct ad_pg_tie_cb cb;
        void *data;
    } tie;
    uv_poll_t *poll; /* of the child that is waited for; NULL: none */
    uv_poll_cb poll_cb;
    struct cs_member members[CS_ID_MAX + 1];
    uint64_t changed_id, caught_up; /* what was asked for last */
    enum cs_member_role changed_role;
    int change_rv;
    struct ad_peer_address peer_set; /* the last one made known */
    bool full, disk_low, replica_closed;
    int transfer_rv;
    uint64_t transfer_to;
    unsigned transfers;
    bool transferring, hold;
    bool silent; /* as for a drill */

    /* Frames to peers. */
    bool send_fails;
    struct fake_frame frames[FAKE_FRAMES_MAX];
    unsigned frames_n; /* without gossip, and who asks for a request */
    struct nd_caller caller; /* who asks; at first an admin */
    bool with_key;
    struct sy_buf told;      /* the last frame of who asks */
    unsigned gossips;

    /* Ports. */
    struct ad_mqtt mqtt[ND_BROKERS_MAX];
    unsigned mqtt_n;
    int publish_rv; /* of the next publish, once */
    struct fake_published published[FAKE_PUBLISHED_MAX];
    unsigned published_n;
    unsigned echoed_n; /* of them the broker has given back to the reader */
    bool mute;         /* it gives none back */
    void (*on_publish)(const char *topic, const char *payload);
    struct fake_probe probes[FAKE_PROBES_MAX];
    unsigned probes_n; /* ever */
    struct ad_pg_status pg_status;
    struct ad_pg_callbacks pg_cb;
    void *pg_data;
    struct fake_answer answers[FAKE_ANSWERS_MAX];
    unsigned answers_n, looks;
    struct
    {
        void (*closed)(void *data);
        void *data;
    } closing[ND_BROKERS_MAX + 1];
    unsigned closing_n;
    bool zmq_open;
    struct fake_reply replies[FAKE_REPLIES_MAX];
    unsigned replies_n;
    unsigned events;
};

extern struct fake fake;

/* @nodes nodes, this is node 1, areas north and south at one broker, Postgres. All
 * peers linked, nobody leads. Change fake.n->config before fake_begin() if needed. */
void fake_open(unsigned nodes);
void fake_begin(void);
void fake_close(void);
/* A new folder, below $TMPDIR, and its removal with all that is in it. */
void fake_folder(char to[64]);
int fake_folder_remove(const char *path);

/* One turn: tells of changes, seals. */
void fake_turn(void);
/* The oldest sealed entry is applied. False: there is none. */
bool fake_commit(void);
/* Everything that was proposed is applied, until nothing new comes. */
void fake_settle(void);
/* An entry of the log is applied, and nothing else happens. */
void fake_apply(struct rp_batch *b);
/* The term is over: @kept of the sealed entries are in the new leader's log and are
 * applied, the rest is lost; then @leader leads @term (0: nobody known). */
void fake_lose(unsigned kept, uint64_t leader, uint64_t term);
/* This node leads a new term, its first entry is applied and its ports run. */
void fake_lead(void);
/* An entry of another leader's, made with @b. */
void fake_foreign(struct rp_batch *b);
/* Time passes, timers fire; everything proposed is applied at once if @settle. */
void fake_pass(uint64_t ms, bool settle);
void fake_writer(bool up);
/* Both links of the first broker. */
void fake_links(bool up);

/* A device of area @nr (1 north, 2 south), called d<ieee>, listed and online. */
void fake_device(uint64_t ieee, uint16_t nr);
/* Both bridges are online and ready. */
void fake_bridges_ready(void);
void fake_avail(uint64_t ieee, enum rp_avail avail);
void fake_command(const char *id, uint64_t ieee, const char *value, uint64_t timeout_ms);
const struct rp_command *fake_known(const char *id);

/* A request with the args map at @args (NULL: none) from client @client. */
void fake_ask(uint8_t client, const char *op, const struct sy_buf *args);
void fake_ask_bytes(uint8_t client, const void *p, size_t n);
/* The text of the last reply's error ("": it was ok), its code in @code. */
const char *fake_error(char code[32]);
/* The result of the last reply. Fails if it was an error. */
struct sy_cur fake_result(void);
/* A map of arguments in the making; begun anew for each request. */
extern struct sy_buf fake_args;
void fake_args_begin(uint32_t pairs);
/* @op with one argument, text or number. */
void fake_ask_text(uint8_t client, const char *op, const char *key, const char *text);
void fake_ask_uint(uint8_t client, const char *op, const char *key, uint64_t v);
/* The @nth answer ever is an error of this code, whose text holds @text. */
void fake_refused(unsigned nth, const char *code, const char *text);
void fake_forget(void); /* replies, frames and publishes so far */

/* Another node's gossip: {node: @node, site: @site}, each a complete value or NULL. */
void fake_gossip(uint64_t from, const struct sy_buf *node, const struct sy_buf *site);
/* What a sound node tells of itself. */
void fake_sound(uint64_t from, const char *watch);

uint64_t fake_random(uint64_t *seed);

/* fake_ports.c */
void fake_ports_closed(void);
/* What was published comes back; fake_turn() calls it unless fake.mute. */
void fake_echo(void);
/* Answers what the node tries at @address. False: it tries nothing there. */
bool fake_probe(const char *address, bool good, const char *text);

#endif

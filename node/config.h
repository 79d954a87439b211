/* The configuration of a node: YAML in, checked plain values out.
 *
 * parse, don't validate: what nd_config_load() returns is complete, defaulted and
 * consistent. Every error names file, line, column, key and the mend. Unknown
 * keys are refused. Secrets never stand in the file: `{env: NAME}` or
 * `{file: PATH}` (docs/configuration.md, vagt.yaml(5)). */

#ifndef ND_CONFIG_H
#define ND_CONFIG_H

#include <stdio.h>

#include "adapters/broker/broker.h"
#include "adapters/mqtt/mqtt.h"
#include "adapters/peer/tls.h"
#include "adapters/postgres/postgres.h"
#include "adapters/wal/wal.h"
#include "adapters/zmq/control.h"
#include "base/err.h"
#include "base/log.h"
#include "consensus/core.h"
#include "replication/breaker.h"
#include "replication/store.h"

enum {
    ND_NODES_MAX = CS_MEMBERS_MAX,
    ND_AREAS_MAX = 64,
    ND_BROKERS_MAX = 8,
    ND_PATH_SIZE = 256,
    ND_CLUSTER_SIZE = 33,
    ND_COORDINATOR_SIZE = 80,
    ND_WARNINGS_MAX = 8,
    ND_WARNING_SIZE = 160,
    ND_RESOURCES_MAX = 32,
    ND_FILES_MAX = 16,
    ND_AFTER_MAX = 4,
    ND_ARGS_MAX = 16,
    ND_ARG_SIZE = 256,
    ND_UNIT_SIZE = 128
};

/* Where a secret came from, for printing. */
struct nd_config_secret
{
    enum {
        ND_SECRET_NONE,
        ND_SECRET_ENV,
        ND_SECRET_FILE,
        ND_SECRET_CREDENTIAL /* $CREDENTIALS_DIRECTORY/<name>, systemd.exec(5) */
    } from;
    char name[ND_PATH_SIZE];
};

/* How the conninfo was given: whole, as a secret, or in parts. */
struct nd_config_pg_source
{
    struct nd_config_secret conninfo;
    char host[ND_PATH_SIZE]; /* "" if conninfo is used */
    uint16_t port;
    char dbname[64];
    char user[128];
    struct nd_config_secret password;
    char sslmode[16];
    char sslrootcert[ND_PATH_SIZE];
};

/* What this node shows to the others, and whom it believes. */
struct nd_config_tls
{
    bool given;
    char ca[ND_PATH_SIZE], cert[ND_PATH_SIZE];
    struct nd_config_secret key; /* a file: it is read anew when it changes */
    struct ad_tls_files files;   /* the same, as paths */
};

struct nd_config_node
{
    uint64_t id; /* 1..15 */
    char name[RP_NAME_SIZE];
    char peer_host[64]; /* numeric */
    uint16_t peer_port;
    char control[AD_ZMQ_ENDPOINT_SIZE]; /* what an operator may connect to; may be "" */
    char role[8];                       /* "voter" or "witness" */
    bool witness;                       /* votes and stores, never takes the watch */
};

/* How something that runs is started: exactly one of them. */
struct nd_config_run
{
    bool has_systemd, has_docker, has_exec;
    char unit[ND_UNIT_SIZE];                /* systemd */
    char container[ND_UNIT_SIZE];           /* docker */
    char script[ND_ARG_SIZE];               /* exec: called with start, stop or monitor */
    char command[ND_ARGS_MAX][ND_ARG_SIZE]; /* runs as long as it is wanted */
    unsigned command_n;
};

struct nd_config_area
{
    char name[RP_NAME_SIZE];
    char base_topic[RP_TOPIC_SIZE];
    char source[32];           /* "zigbee2mqtt" */
    unsigned broker;           /* index */
    bool enabled;              /* false: not subscribed, no alarms */
    unsigned offline_after_ms; /* 0: never; for bridges without availability */
    char coordinator[ND_COORDINATOR_SIZE]; /* tcp://host:port to knock at; "": none */
    bool has_bridge; /* its Zigbee2MQTT is on the hosts of the nodes */
    struct
    {
        char data_dir[ND_PATH_SIZE];
        char serial[ND_COORDINATOR_SIZE]; /* as serial.port; "": as coordinator */
        bool write_settings;
        struct nd_config_run run; /* none: somebody else runs it */
    } bridge;
};

/* What whoever has the watch has, too (site.c). */
struct nd_config_resource
{
    char name[RP_NAME_SIZE];
    bool has_vip;
    char vip_address[64]; /* with its prefix length */
    char vip_interface[16];
    bool has_mosquitto;
    struct ad_broker_config mosquitto;
    struct nd_config_run run;
    char after[ND_AFTER_MAX][RP_NAME_SIZE];
    unsigned after_n;
    unsigned start_timeout_ms, stop_timeout_ms, monitor_timeout_ms;
    unsigned monitor_ms; /* between two looks */
    unsigned tries;      /* failures in a row before the watch is handed over for it */
    bool local;          /* may it be handed over for it at all? */
};

/* A folder that moves with the watch, on top of those of bridges (sets.h). */
struct nd_config_files
{
    char name[48];
    char dir[ND_PATH_SIZE];
};

struct nd_config
{
    char cluster[ND_CLUSTER_SIZE]; /* [a-z0-9-], 1..32 */
    uint64_t id;                   /* of this node */
    char data_dir[ND_PATH_SIZE];
    enum sy_level log_level;
    struct nd_config_node nodes[ND_NODES_MAX];
    unsigned nodes_n;
    struct ad_zmq_config control;
    struct nd_config_secret control_key; /* where control.secret_key came from */
    struct ad_mqtt_config brokers[ND_BROKERS_MAX]; /* .name; ids filled from cluster */
    unsigned brokers_n;
    struct nd_config_area areas[ND_AREAS_MAX];
    unsigned areas_n;
    struct nd_config_resource resources[ND_RESOURCES_MAX];
    unsigned resources_n;
    struct nd_config_files files[ND_FILES_MAX];
    unsigned files_n;
    unsigned takeover_wait_ms; /* before what a silent holder had is taken */
    char fence[12];            /* "exit", "reboot", "watchdog" */
    char watchdog[ND_PATH_SIZE];
    bool has_postgres;
    char tie_mode[16];                /* the tie-breaker: "postgres", "off" */
    char tie_preferred[RP_NAME_SIZE]; /* "": neither node */
    struct ad_pg_config postgres;
    struct cs_core_config raft;
    struct ad_wal_config wal;
    struct rp_limits limits;
    struct
    {
        unsigned retry_min_ms; /* default 2,000: first retry of a command */
        unsigned retry_max_ms; /* default 20,000 */
        unsigned area_pace_ms; /* default 20: between two commands in an area */
        unsigned open_max;     /* default 1,000: open commands */
        unsigned timeout_ms;   /* default 60,000: when a command names no deadline */
        struct rp_breaker_config breaker;
    } commands;
    unsigned drain_timeout_ms; /* default 2,000: then the process ends */
    unsigned online_hold_ms;   /* default 180,000: see rp_batch_told() */
    char when_full[16];        /* the outbox: "hold", "drop_oldest" */
    struct
    {
        char dir[ND_PATH_SIZE]; /* "": none are scheduled */
        char at[6];             /* "03:30", local time */
        unsigned keep;
        char encrypt_to[ND_PATH_SIZE]; /* a certificate; "": not encrypted */
        unsigned timeout_ms;
    } backup;
    struct
    {
        char at[10];   /* "Sun 03:00", local time; "": none is scheduled */
        char kind[16]; /* of those */
        char canary[ND_AREAS_MAX][ND_PATH_SIZE]; /* "area1=DEVICE" */
        unsigned canary_n;
        unsigned budget_ms;
        unsigned reminder_s; /* 0: nobody is reminded */
    } drill;
    unsigned checkpoint_ms; /* default 10,000 */
    size_t batch_max;       /* bytes of one entry, default 256 KiB */
    bool peers_plaintext;   /* the operator knows that nothing is encrypted */
    struct nd_config_tls tls;
    struct nd_config_secret broker_passwords[ND_BROKERS_MAX], broker_keys[ND_BROKERS_MAX];
    bool broker_plaintext[ND_BROKERS_MAX];
    struct nd_config_pg_source postgres_from;
    char warnings[ND_WARNINGS_MAX][ND_WARNING_SIZE]; /* sentences for the log */
    unsigned warnings_n;
    char checksum[17];     /* of the text, for the audit: SHA-256, its first 16 digits */
    struct sy_buf strings; /* owns usernames, passwords, conninfo */
};

/* @getenv_fn: for secrets; tests give their own. NULL: for work on the node's own disk,
 * where whoever does it has not got them: secrets and certificates are left out.
 * @text NULL: read @path. Errors: SY_EINVALID, or the errno of reading @path; @eb has
 * the first problem and how many more there are. @c is filled on success only. Seeds
 * are left to the rim. */
SY_MUST_USE int nd_config_load(struct nd_config *c, const char *path, const char *text,
                               const char *(*getenv_fn)(const char *name),
                               struct sy_errbuf *eb);
/* May an orderly stop of the resources take longer than a node that loses the watch has?
 * Then a sentence. */
bool nd_config_stops_late(const struct nd_config *c, char *text, size_t size);
/* For `vagtd -n`: loads @path and writes up to ten problems, or the warnings, one
 * a line to @out. 0 if it would start. */
SY_MUST_USE int nd_config_check(const char *path, FILE *out);
/* The effective configuration as YAML that loads again to the same; secrets
 * appear as where they come from, never as values. */
void nd_config_print(const struct nd_config *c, struct sy_buf *out);
const struct nd_config_node *nd_config_self(const struct nd_config *c);
const struct nd_config_node *nd_config_node(const struct nd_config *c, uint64_t id);
/* The variables of the environment that hold secrets, NULL at the end: whoever else we
 * start must not inherit them. They live as long as @c. */
enum { ND_SECRET_ENVS_MAX = ND_BROKERS_MAX + 4 };
void nd_config_secret_envs(const struct nd_config *c,
                           const char *ret[ND_SECRET_ENVS_MAX]);
/* Wipes the secrets. All zero is fine. */
void nd_config_free(struct nd_config *c);

#endif /* ND_CONFIG_H */

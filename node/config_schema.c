#include "node/config_schema.h"
#include "node/config_schema_broker.h"
#include "node/config_schema_fence.h"
#include "node/config_schema_files.h"
#include "node/config_schema_wire.h"

#include <ctype.h>
#include <string.h>

#include "adapters/resources/vip.h"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* Member M of T: where it is and how big. */
#define AT(T, M) .off = offsetof(T, M), .size = sizeof(((T *)0)->M)
#define RAW(M) AT(struct nd_raw, M)
#define NODE(M) AT(struct nd_config_node, M)
#define BROKER(M) AT(struct nd_raw_broker, M)
#define AREA(M) AT(struct nd_raw_area, M)
#define RESOURCE(M) AT(struct nd_config_resource, M)
/* A section that is part of an entry: is it there? */
#define THERE(T, M) .n_off = offsetof(T, M)
#define TEXTS_OF(T, M, N) \
    .off = offsetof(T, M), .size = sizeof(((T *)0)->M[0]), .n_off = offsetof(T, N)
/* The ways to run something, in section P of an entry of type T, at its member M. */
#define RUN_ROWS(P, T, M)                                                            \
    {P ".systemd", ND_MAP, THERE(T, M.has_systemd), .prose = "A unit of systemd."},  \
        {P ".systemd.unit",                                                          \
         ND_TEXT,                                                                    \
         .required = true,                                                           \
         RANGE(1, ND_UNIT_SIZE - 1),                                                 \
         AT(T, M.unit),                                                              \
         .check = check_unit,                                                        \
         .prose =                                                                    \
             "Its name. Disable it (`systemctl disable`): only the node on watch "   \
             "starts it."},                                                          \
        {P ".docker", ND_MAP, THERE(T, M.has_docker),                                \
         .prose =                                                                    \
             "A container that exists (`docker create`), without a restart policy "  \
             "of its own."},                                                         \
        {P ".docker.container", ND_TEXT,                                             \
         .required = true,      RANGE(1, ND_UNIT_SIZE - 1),                          \
         AT(T, M.container),    .check = check_unit,                                 \
         .prose = "Its name."},                                                      \
        {P ".exec", ND_MAP, THERE(T, M.has_exec), .prose = "A script of your own."}, \
        {P ".exec.script",                                                           \
         ND_TEXT,                                                                    \
         .required = true,                                                           \
         RANGE(2, ND_ARG_SIZE - 1),                                                  \
         AT(T, M.script),                                                            \
         .check = check_absolute,                                                    \
         .prose =                                                                    \
             "Its path. It is called with one word: `start` and `stop` (exit code "  \
             "0: it is so now, also if it was before) or `monitor` (0: it runs)."},  \
    {                                                                                \
        P ".command", ND_TEXTS, RANGE(1, ND_ARGS_MAX),                               \
            TEXTS_OF(T, M.command, M.command_n),                                     \
            .prose =                                                                 \
                "A program and its arguments, which runs as long as it is wanted: "  \
                "it stays in the foreground, and ends at SIGTERM."                   \
    }
#define HOST_OF(T, M, H, P)                             \
    .off = offsetof(T, M), .size = sizeof(((T *)0)->M), \
    .port_off = offsetof(T, P) - offsetof(T, H)
#define LIST(M, N)                                                                 \
    .off = offsetof(struct nd_raw, M), .size = sizeof(((struct nd_raw *)0)->M[0]), \
    .n_off = offsetof(struct nd_raw, N)
#define RANGE(MIN, MAX) .min = (MIN), .max = (MAX)
#define MS .unit = ND_UNIT_MS
#define SECONDS .unit = ND_UNIT_S
#define BYTES .unit = ND_UNIT_BYTES

const char *const nd_log_levels[] = {"error", "warning", "notice", "info", "debug", NULL};
static const char *const tie_modes[] = {"postgres", "off", NULL};
static const char *const when_full[] = {"hold", "drop_oldest", NULL};
static const char *const drill_kinds[] = {"handover", "kill",   "vanish", "broker",
                                          "postgres", "bridge", "full",   NULL};
static const char *const roles[] = {"voter", "witness", NULL};
static const char *const fences[] = {"exit", "reboot", "watchdog", NULL};
static const char *const sources[] = {"zigbee2mqtt", NULL};
static const char *const sslmodes[] = {"disable",   "allow",       "prefer", "require",
                                       "verify-ca", "verify-full", NULL};

static const char *check_cluster(const char *s)
{
    if (s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-")] != '\0') {
        return "may hold only a-z, 0-9 and '-', since it is part of MQTT client ids";
    }
    return NULL;
}

static const char *check_word(const char *s)
{
    for (; *s != '\0'; s++) {
        if (!isalnum((unsigned char)*s) && strchr("._-", *s) == NULL) {
            return "may hold only letters, digits, '.', '_' and '-'";
        }
    }
    return NULL;
}

/* A name that people see: any UTF-8, but not what breaks a topic or a table. */
static const char *check_label(const char *s)
{
    size_t n = strlen(s);

    if (s[strcspn(s, "/+#")] != '\0') {
        return "may not hold '/', '+' or '#'";
    }
    if (n > 0 && (s[0] == ' ' || s[n - 1] == ' ')) {
        return "begins or ends with a blank";
    }
    return NULL;
}

static const char *check_topic(const char *s)
{
    size_t n = strlen(s);

    if (s[strcspn(s, "+#")] != '\0') {
        return "may not hold the wildcards '+' and '#'";
    }
    if (s[0] == '$') {
        return "begins with '$', which belongs to the broker";
    }
    if (s[0] == '/' || (n > 0 && s[n - 1] == '/') || strstr(s, "//") != NULL) {
        return "has an empty level: no '/' at the ends, no '//'";
    }
    return NULL;
}

static const char *check_absolute(const char *s)
{
    if (s[0] != '/') {
        return "is not an absolute path: begin it with '/'";
    }
    return NULL;
}

/* A unit, a container: never taken for an option of the program it is given to. */
static const char *check_unit(const char *s)
{
    if (s[0] == '-') {
        return "begins with '-'";
    }
    return s[strcspn(s, " /")] != '\0' ? "may not hold blanks or '/'" : NULL;
}

static const char *check_clock(const char *s)
{
    if (strlen(s) != 5 || !isdigit((unsigned char)s[0]) ||
        !isdigit((unsigned char)s[1]) || s[2] != ':' || !isdigit((unsigned char)s[3]) ||
        !isdigit((unsigned char)s[4]) || strcmp(s, "23:59") > 0 || s[3] > '5') {
        return "is no time of day: write it like \"03:30\"";
    }
    return NULL;
}

static const char *check_drill_at(const char *s)
{
    static const char *const days[] = {"Sun ", "Mon ", "Tue ", "Wed ",
                                       "Thu ", "Fri ", "Sat "};

    for (size_t i = 0; i < sizeof days / sizeof days[0]; i++) {
        if (strncmp(s, days[i], 4) == 0) {
            return check_clock(s + 4);
        }
    }
    return s[0] != '\0' && check_clock(s) != NULL
               ? "is no time of a week: write it like \"Sun 03:00\", or \"03:00\" for "
                 "each day"
               : NULL;
}

static const char *check_canary(const char *s)
{
    const char *sign = strchr(s, '=');

    return sign == NULL || sign == s || sign[1] == '\0' || strchr(s, ',') != NULL
               ? "is not of the form AREA=DEVICE"
               : NULL;
}

static const char *check_data_dir(const char *s)
{
    if (s[strspn(s, "/")] == '\0' && s[0] == '/') {
        return "is the root folder: give the node one of its own, /var/lib/vagt";
    }
    return check_absolute(s);
}

static const char *check_endpoint(const char *s)
{
    enum { SUN_PATH_MAX = 107 }; /* unix(7): 108 with the zero byte */
    static const char ipc[] = "ipc://", tcp[] = "tcp://";
    char host[ND_HOST_SIZE], why[ND_WHY_SIZE];
    uint16_t port;

    if (strncmp(s, ipc, strlen(ipc)) == 0) {
        s += strlen(ipc);
        if (s[0] != '/' || s[1] == '\0') {
            return "is not the absolute path of a socket: write it like "
                   "ipc:///run/vagt/control.sock";
        }
        return strlen(s) > SUN_PATH_MAX ? "is a socket path of more than 107 bytes, the "
                                          "limit of the kernel: choose a shorter one"
                                        : NULL;
    }
    if (strncmp(s, tcp, strlen(tcp)) != 0) {
        return "begins neither with ipc:// nor with tcp://";
    }
    if (!nd_address_parse(s + strlen(tcp), host, &port, why)) {
        return "is not a numeric address with a port: write it like "
               "tcp://127.0.0.1:7201";
    }
    return NULL;
}

static const char *check_coordinator(const char *s)
{
    static const char tcp[] = "tcp://";
    char host[ND_HOST_SIZE], why[ND_WHY_SIZE];
    uint16_t port;

    if (strncmp(s, tcp, strlen(tcp)) != 0 ||
        !nd_address_parse(s + strlen(tcp), host, &port, why)) {
        return "is not a numeric address with a port: write it like "
               "tcp://192.168.1.20:80";
    }
    return NULL;
}

static const char *check_vip(const char *s)
{
    struct ad_vip v;

    return ad_vip_parse(&v, s, "x") ? NULL
                                    : "is no address with a prefix: write it like "
                                      "192.0.2.10/24 or \"2001:db8::10/64\"";
}

static void init_node(void *element)
{
    struct nd_config_node *n = element;

    snprintf(n->role, sizeof n->role, "%s", roles[0]);
}

static void init_broker(void *element)
{
    struct nd_raw_broker *b = element;

    ad_mqtt_config_default(&b->m);
}

static void init_area(void *element)
{
    struct nd_raw_area *a = element;

    a->a.enabled = true;
    a->a.offline_after_ms = 30 * 60 * 1000;
    memcpy(a->a.source, sources[0], strlen(sources[0]) + 1);
}

static void init_resource(void *element)
{
    struct nd_config_resource *r = element;

    r->start_timeout_ms = 60000;
    r->stop_timeout_ms = 10000;
    r->monitor_timeout_ms = 10000;
    r->monitor_ms = 10000;
    r->tries = 3;
    r->local = true;
    ad_broker_config_default(&r->mosquitto);
}

const struct nd_row nd_rows[] = {
    {"cluster", ND_TEXT, .required = true, RANGE(1, 32), RAW(c.cluster),
     .check = check_cluster,
     .prose = "Name of the cluster, the same on all nodes. Part of the MQTT client ids "
              "and of the fence in Postgres: never reuse it for another site."},
    {"node", ND_TEXT, .required = true, RANGE(1, 95), RAW(self), .check = check_word,
     .prose = "Which of `nodes` this one is."},
    {"data_dir", ND_TEXT, RANGE(2, 255), RAW(c.data_dir), .check = check_data_dir,
     .prose = "Folder of the log and the snapshots. One node each, on a local disk."},

    {"log", ND_MAP, .n_off = offsetof(struct nd_raw, present),
     .prose = "The log, on standard error."},
    {"log.level", ND_CHOICE, RAW(log_level), .names = nd_log_levels,
     .prose = "The least important lines that are written."},

    {"nodes", ND_MAPS, .required = true, RANGE(1, ND_NODES_MAX), LIST(c.nodes, c.nodes_n),
     .init = init_node,
     .prose = "The nodes of the cluster, the same list on all of them."},
    {"nodes[].id", ND_UINT, .required = true, RANGE(1, CS_ID_MAX), NODE(id),
     .prose = "Number of the node. Never give one to another machine."},
    {"nodes[].name", ND_TEXT, .required = true, RANGE(1, 95), NODE(name),
     .check = check_word, .prose = "Name of the node, for people."},
    {"nodes[].peer", ND_ADDRESS, .required = true,
     HOST_OF(struct nd_config_node, peer_host, peer_host, peer_port),
     .prose = "Where the other nodes reach it, and where it listens for them."},
    {"nodes[].control", ND_TEXT, RANGE(0, AD_ZMQ_ENDPOINT_SIZE - 1), NODE(control),
     .check = check_endpoint,
     .prose = "Where `vagtctl` may reach it from another machine."},
    {"nodes[].role", ND_CHOICE, NODE(role), .names = roles,
     .prose = "A `witness` votes and stores the log like any other, but never takes the "
              "watch: it needs neither the broker nor Postgres nor their secrets. With "
              "two nodes and a witness either node may die."},

    {"peers", ND_MAP, .n_off = offsetof(struct nd_raw, present),
     .prose = "Connections between the nodes."},
    {"peers.plaintext", ND_BOOL, RAW(c.peers_plaintext),
     .prose = "Must be `true` when a node's `peer` is not on loopback and there is no "
              "`tls`: what nodes tell each other is neither encrypted nor authenticated "
              "then, so the network itself must be trusted."},

    {"tls", ND_MAP, .n_off = offsetof(struct nd_raw, c.tls.given),
     .prose =
         "Certificates for the connections between the nodes, made by `vagtctl pki`: "
         "mutual TLS 1.3, and a node is who its certificate says. On all nodes or "
         "on none. Read anew when they change, each minute and on SIGHUP."},
    {"tls.ca", ND_TEXT, .required = true, RANGE(2, 255), RAW(c.tls.ca),
     .check = check_absolute,
     .prose = "File with the certificate of the cluster's CA, or of two while one "
              "replaces the other."},
    {"tls.cert", ND_TEXT, .required = true, RANGE(2, 255), RAW(c.tls.cert),
     .check = check_absolute, .prose = "File with the certificate of this node."},
    {"tls.key", ND_SECRET, .required = true, RAW(c.tls.key),
     .prose = "Its key, without a passphrase: `{file: PATH}` or `{credential: NAME}`."},

    {"control", ND_MAP, .n_off = offsetof(struct nd_raw, present),
     .prose = "Where this node answers `vagtctl`."},
    {"control.listen", ND_TEXTS, RANGE(0, AD_ZMQ_ENDPOINTS_MAX),
     LIST(c.control.requests, c.control.requests_n), .check = check_endpoint,
     .prose = "Endpoints for requests."},
    {"control.events", ND_TEXTS, RANGE(0, AD_ZMQ_ENDPOINTS_MAX),
     LIST(c.control.events, c.control.events_n), .check = check_endpoint,
     .prose = "Endpoints that stream events."},
    {"control.plaintext", ND_BOOL, RAW(c.control.plaintext),
     .prose =
         "Must be `true` when one of these is TCP and not on loopback and there is no "
         "`secret_key`: whoever reaches it may give orders."},
    {"control.secret_key", ND_SECRET, RAW(c.control_key),
     .prose = "Key of this node for TCP (CURVE, the `curve.key` of `vagtctl pki node`): "
              "whoever comes that way must have a key, too (`vagtctl keys`)."},
    {"control.send_queue", ND_UINT, RANGE(1, 1000000), RAW(c.control.send_queue_max),
     .prose = "Messages waiting for one client; beyond, they are dropped."},

    {"brokers", ND_MAPS, .required = true, RANGE(1, ND_BROKERS_MAX),
     LIST(brokers, c.brokers_n), .init = init_broker, .prose = "The MQTT brokers."},
    {"brokers[].name", ND_TEXT, .required = true, RANGE(1, 31), BROKER(m.name),
     .check = check_word, .prose = "Name of the broker, for `areas`."},
    {"brokers[].addresses", ND_ADDRESSES, .required = true,
     RANGE(1, AD_MQTT_ADDRESSES_MAX), .off = offsetof(struct nd_raw_broker, m.addresses),
     .size = sizeof(((struct nd_raw_broker *)0)->m.addresses[0]),
     .n_off = offsetof(struct nd_raw_broker, m.addresses_n),
     .port_off = offsetof(struct nd_raw_broker, m.addresses[0].port) -
                 offsetof(struct nd_raw_broker, m.addresses[0].host),
     .prose = "Its addresses, tried in turn."},
    {"brokers[].username", ND_TEXT, RANGE(0, ND_USER_SIZE - 1), BROKER(username),
     .prose = "User name at the broker."},
    {"brokers[].password", ND_SECRET, BROKER(password), .prose = "Its password."},
    BROKER_TLS_ROWS,
    {"brokers[].keepalive", ND_DURATION, SECONDS, RANGE(5, 3600), BROKER(m.keepalive_s),
     .prose = "A dead broker is noticed after 1.5 times this."},
    {"brokers[].session_expiry", ND_DURATION, SECONDS, RANGE(60, 49 * 86400),
     BROKER(m.session_expiry_s),
     .prose = "How long the broker keeps messages while no node is on watch. Below 1h "
              "you are warned."},
    {"brokers[].receive_max", ND_UINT, RANGE(1, 65535), BROKER(m.receive_max),
     .prose = "Messages the broker may send ahead of their acknowledgement."},
    {"brokers[].connect_timeout", ND_DURATION, MS, RANGE(100, 60000),
     BROKER(m.connect_timeout_ms), .prose = "Then the next address is tried."},
    {"brokers[].backoff_max", ND_DURATION, MS, RANGE(1000, 3600000),
     BROKER(m.backoff_max_ms), .prose = "Longest pause between two attempts."},
    {"brokers[].burst_max", ND_UINT, RANGE(1, 65536), BROKER(m.burst_max),
     .prose = "Messages taken into one entry of the log."},
    {"brokers[].publish_queue", ND_SIZE, BYTES, RANGE(4 * KIB, 64 * MIB),
     BROKER(m.publish_queue_max), .prose = "Bytes of commands waiting to leave."},

    {"areas", ND_MAPS, .required = true, RANGE(1, ND_AREAS_MAX), LIST(areas, c.areas_n),
     .init = init_area, .prose = "The areas: one bridge each."},
    {"areas[].name", ND_TEXT, .required = true, RANGE(1, 95), AREA(a.name),
     .check = check_label, .prose = "Name of the area."},
    {"areas[].base_topic", ND_TEXT, .required = true, RANGE(1, 127), AREA(a.base_topic),
     .check = check_topic,
     .prose = "`mqtt.base_topic` of its bridge. No two areas may share one, nor may one "
              "begin with the other's followed by `/`: a device called `b/meter` in `a` "
              "would be the device `meter` in `a/b`."},
    {"areas[].broker", ND_TEXT, RANGE(1, 31), AREA(broker), .check = check_word,
     .prose = "Name of its broker. May be left out if there is only one."},
    {"areas[].source", ND_CHOICE, AREA(a.source), .names = sources,
     .prose = "What kind of bridge it is."},
    {"areas[].enabled", ND_BOOL, AREA(a.enabled),
     .prose = "`false`: not subscribed, no alarms, no commands. `vagtctl area off` does "
              "the same while everything runs."},
    {"areas[].offline_after", ND_DURATION, MS, RANGE(0, 7 * 86400000),
     AREA(a.offline_after_ms),
     .prose = "A device of which the bridge never says whether it is there counts as "
              "offline after this long without a message; 0s: never. Where the bridge "
              "says it (`availability: {enabled: true}`) this means nothing."},
    {"areas[].coordinator", ND_TEXT, RANGE(0, ND_COORDINATOR_SIZE - 1),
     AREA(a.coordinator), .check = check_coordinator,
     .prose = "Where a node that stands by knocks every 10 s, to know whether it would "
              "reach the area's coordinator (`vagtctl ready`). Only where knocking does "
              "no harm: many coordinators have one client at their serial port and let a "
              "second push it out; name the port of their web page then, like "
              "`tcp://192.168.1.20:80`."},
    {"areas[].bridge", ND_MAP, .n_off = offsetof(struct nd_raw_area, a.has_bridge),
     .prose = "The area's Zigbee2MQTT, if its data are on the hosts of the nodes: what "
              "its configuration.yaml says is compared with what is said here (`vagtd "
              "--check`, `vagtctl bridges`)."},
    {"areas[].bridge.data_dir", ND_TEXT, .required = true, RANGE(2, 255),
     AREA(a.bridge.data_dir), .check = check_data_dir,
     .prose = "Folder of its configuration.yaml, the same path on each host. If the "
              "bridge belongs to the watch it moves with it, as `files` do."},
    {"areas[].bridge.serial", ND_TEXT, RANGE(0, ND_COORDINATOR_SIZE - 1),
     AREA(a.bridge.serial), .check = check_coordinator,
     .prose = "Its `serial.port`, if that is another than `coordinator`."},
    {"areas[].bridge.write_settings", ND_BOOL, AREA(a.bridge.write_settings),
     .prose =
         "`true`: `vagtctl bridges write` may change configuration.yaml, the lines "
         "that must be and no other. With one of the following, which make it belong "
         "to the watch as `resources` do (`bridge-AREA`), it is done before each "
         "start."},
    RUN_ROWS("areas[].bridge", struct nd_raw_area, a.bridge.run),

    {"resources", ND_MAPS, RANGE(0, ND_RESOURCES_MAX), LIST(c.resources, c.resources_n),
     .init = init_resource,
     .prose = "What moves with the watch: whoever has it has these, nobody else. Started "
              "in this order, stopped in reverse. Each has a name and exactly one of "
              "`vip`, `mosquitto`, `systemd`, `docker`, `exec`, `command`. The same on "
              "all nodes."},
    {"resources[].name", ND_TEXT, .required = true, RANGE(1, 95), RESOURCE(name),
     .check = check_word, .prose = "Name of the resource."},
    {"resources[].vip", ND_MAP, THERE(struct nd_config_resource, has_vip),
     .prose =
         "An address. Its neighbours are told at once; the kernel drops it by itself "
         "when nobody renews it. Needs CAP_NET_ADMIN and CAP_NET_RAW."},
    {"resources[].vip.address", ND_TEXT, .required = true, RANGE(1, 63),
     RESOURCE(vip_address), .check = check_vip,
     .prose = "IPv4 or IPv6, with the length of its prefix: `192.0.2.10/24`."},
    {"resources[].vip.interface", ND_TEXT, .required = true, RANGE(1, 15),
     RESOURCE(vip_interface), .check = check_unit,
     .prose = "The interface that gets it: `eth0`."},
    RUN_ROWS("resources[]", struct nd_config_resource, run),
    MOSQUITTO_ROWS,
    {"resources[].after", ND_TEXTS, RANGE(0, ND_AFTER_MAX),
     TEXTS_OF(struct nd_config_resource, after, after_n), .check = check_word,
     .prose = "Names of earlier ones that must run before it is started."},
    {"resources[].start_timeout", ND_DURATION, MS, RANGE(100, 3600000),
     RESOURCE(start_timeout_ms), .prose = "Then the start has failed."},
    {"resources[].stop_timeout", ND_DURATION, MS, RANGE(100, 600000),
     RESOURCE(stop_timeout_ms),
     .prose = "Then it counts as one that does not stop, and the node fences itself. A "
              "`command` is killed after two thirds of it."},
    {"resources[].monitor", ND_DURATION, MS, RANGE(100, 3600000), RESOURCE(monitor_ms),
     .prose = "Pause between two looks whether it runs."},
    {"resources[].monitor_timeout", ND_DURATION, MS, RANGE(100, 600000),
     RESOURCE(monitor_timeout_ms), .prose = "Then the look has failed."},
    {"resources[].tries", ND_UINT, RANGE(1, 100), RESOURCE(tries),
     .prose = "After so many failures in a row the watch is handed over, if another node "
              "is ready."},
    {"resources[].local", ND_BOOL, RESOURCE(local),
     .prose = "`false`: what fails here would fail anywhere, so the watch is not handed "
              "over for it."},

    FILES_ROWS,

    {"postgres", ND_MAP, .n_off = offsetof(struct nd_raw, c.has_postgres),
     .prose = "Where devices and readings go. Without it they stay in the outbox until "
              "that is full."},
    {"postgres.conninfo", ND_SECRET, RAW(c.postgres_from.conninfo),
     .prose = "A libpq connection string or URI; instead of `host` and its companions."},
    {"postgres.host", ND_TEXT, RANGE(0, 255), RAW(c.postgres_from.host),
     .prose = "Host name, address, or the folder of a Unix socket."},
    {"postgres.port", ND_UINT, RANGE(1, 65535), RAW(c.postgres_from.port),
     .prose = "Its port."},
    {"postgres.dbname", ND_TEXT, RANGE(0, 63), RAW(c.postgres_from.dbname),
     .prose = "The database. Required with `host`."},
    {"postgres.user", ND_TEXT, RANGE(0, 127), RAW(c.postgres_from.user),
     .prose = "The role. Required with `host`."},
    {"postgres.password", ND_SECRET, RAW(c.postgres_from.password),
     .prose = "Its password."},
    {"postgres.sslmode", ND_CHOICE, RAW(c.postgres_from.sslmode), .names = sslmodes,
     .prose =
         "As libpq's; `verify-full` needs `sslrootcert`. For a `host` on this machine "
         "the default is `prefer`."},
    {"postgres.sslrootcert", ND_TEXT, RANGE(0, 255), RAW(c.postgres_from.sslrootcert),
     .check = check_absolute, .prose = "Certificates that sign the server's."},
    {"postgres.connect_timeout", ND_DURATION, MS, RANGE(100, 120000),
     RAW(c.postgres.connect_timeout_ms), .prose = "Then the attempt is given up."},
    {"postgres.statement_timeout", ND_DURATION, MS, RANGE(100, 600000),
     RAW(c.postgres.statement_timeout_ms),
     .prose = "Of the server; after twice this the connection is dropped."},
    {"postgres.backoff_max", ND_DURATION, MS, RANGE(1000, 3600000),
     RAW(c.postgres.backoff_max_ms), .prose = "Longest pause between two attempts."},
    {"postgres.batch_rows", ND_UINT, RANGE(1, 100000), RAW(c.postgres.batch_rows_max),
     .prose = "Rows in one transaction."},
    {"postgres.batch_age", ND_DURATION, MS, RANGE(0, 60000), RAW(c.postgres.batch_age_ms),
     .prose = "How long a batch that is not full waits for more."},
    {"postgres.poll", ND_DURATION, MS, RANGE(100, 3600000), RAW(c.postgres.poll_ms),
     .prose = "How often new rows of `meter_commands` are looked for. Where the server "
              "can notify, they are found at once."},
    {"postgres.retention_days", ND_UINT, RANGE(0, 36500), RAW(c.postgres.retention_days),
     .prose = "Readings older than so many days are dropped, a day at a time; 0: never."},
    {"postgres.partition_days", ND_UINT, RANGE(1, 366), RAW(c.postgres.partition_days),
     .prose = "So many days ahead have a partition already."},

    {"tiebreaker", ND_MAP, .n_off = offsetof(struct nd_raw, present),
     .prose =
         "Who of two nodes goes on when they have lost each other: a row in Postgres "
         "decides. Of no concern with three."},
    {"tiebreaker.mode", ND_CHOICE, RAW(c.tie_mode), .names = tie_modes,
     .prose = "`off`: one of two alone never takes the watch."},
    {"tiebreaker.preferred", ND_TEXT, RANGE(0, 95), RAW(c.tie_preferred),
     .prose = "Name of the node that is to have it if both live. The other waits 4 s "
              "longer, unless it is known to have died."},

    {"raft", ND_MAP, .n_off = offsetof(struct nd_raw, present),
     .prose = "Agreement between the nodes. The same on all of them."},
    {"raft.election", ND_DURATION, MS, RANGE(50, 60000), RAW(c.raft.election_ms),
     .prose = "A node that is silent this long is taken for dead. At least three times "
              "`heartbeat`."},
    {"raft.heartbeat", ND_DURATION, MS, RANGE(10, 10000), RAW(c.raft.heartbeat_ms),
     .prose = "Pause between two signs of life of the leader."},
    {"raft.inflight", ND_UINT, RANGE(1, 65536), RAW(c.raft.inflight_max),
     .prose = "Entries sent to a node and not confirmed."},
    {"raft.trailing", ND_UINT, RANGE(2, 10000000), RAW(c.raft.trailing),
     .prose = "Entries kept behind a snapshot, for a node that was away. More than "
              "`inflight`."},
    {"raft.snapshot_entries", ND_UINT, RANGE(0, 100000000), RAW(c.raft.snapshot_entries),
     .prose = "A snapshot is taken after this many entries; 0: not because of this."},
    {"raft.snapshot_size", ND_SIZE, BYTES, RANGE(0, 64 * GIB), RAW(c.raft.snapshot_bytes),
     .prose = "... or when the log has grown by this; 0B: not because of this. A "
              "witness takes one after 512KiB (or as much as its last snapshot had) at "
              "the latest, to need little memory."},
    {"raft.frame", ND_SIZE, BYTES, RANGE(4 * KIB, 2 * MIB), RAW(c.raft.frame_max),
     .prose = "Bytes of entries in one message to a node."},
    {"raft.backlog", ND_SIZE, BYTES, RANGE(64 * KIB, 1 * GIB), RAW(c.raft.backlog_max),
     .prose = "Bytes proposed and not committed; beyond, inputs are refused."},

    {"wal", ND_MAP, .n_off = offsetof(struct nd_raw, present),
     .prose = "The log on the disk."},
    {"wal.segment", ND_SIZE, BYTES, RANGE(1 * MIB, 1 * GIB), RAW(c.wal.segment_size),
     .prose = "Size of a segment file. At least four times `replication.batch`."},
    {"wal.spares", ND_UINT, RANGE(0, 64), RAW(c.wal.spares_max),
     .prose = "Old segments kept for reuse."},
    {"wal.space_min", ND_SIZE, BYTES, RANGE(0, 1024 * GIB), RAW(c.wal.space_min),
     .prose = "Free space below which the disk counts as nearly full."},

    {"replication", ND_MAP, .n_off = offsetof(struct nd_raw, present),
     .prose = "The replicated state."},
    {"replication.checkpoint", ND_DURATION, MS, RANGE(100, 3600000), RAW(c.checkpoint_ms),
     .prose = "How often the nodes compare the hash of their state."},
    {"replication.batch", ND_SIZE, BYTES, RANGE(4 * KIB, 1 * MIB), RAW(c.batch_max),
     .prose = "Bytes of inputs in one entry of the log."},

    {"limits", ND_MAP, .n_off = offsetof(struct nd_raw, present),
     .prose = "Capacity of the replicated state. Must be the same on all nodes, or their "
              "states differ when one is full and another is not."},
    {"limits.areas", ND_UINT, RANGE(1, 1024), RAW(c.limits.areas_max),
     .prose = "Areas, those of the past included."},
    {"limits.devices", ND_UINT, RANGE(1, 1000000), RAW(c.limits.devices_max),
     .prose = "Devices, those that are gone included."},
    {"limits.readings", ND_UINT, RANGE(1, 100000000), RAW(c.limits.readings_max),
     .prose = "Readings that Postgres does not have yet. The default is 24 hours of 300 "
              "meters; 100 bytes of memory each, when it is used."},
    {"limits.when_full", ND_CHOICE, RAW(c.when_full), .names = when_full,
     .prose = "What happens when so many wait. `hold`: no message is taken any more, the "
              "broker keeps them as long as it can, and commands cannot be confirmed "
              "meanwhile. `drop_oldest`: the oldest reading makes room, counted."},
    {"limits.letters", ND_UINT, RANGE(1, 1000000), RAW(c.limits.letters_max),
     .prose =
         "Messages that could not be stored and that Postgres does not have yet; the "
         "oldest makes room, counted. 1.5 KB of memory each, when it is used."},
    {"limits.commands", ND_UINT, RANGE(16, 1000000), RAW(c.limits.commands_max),
     .prose = "Commands, open and ended; the oldest ended one makes room."},

    {"commands", ND_MAP, .n_off = offsetof(struct nd_raw, present),
     .prose = "How commands are sent."},
    {"commands.retry_min", ND_DURATION, MS, RANGE(100, 600000),
     RAW(c.commands.retry_min_ms), .prose = "First pause before one is sent again."},
    {"commands.retry_max", ND_DURATION, MS, RANGE(100, 3600000),
     RAW(c.commands.retry_max_ms), .prose = "Longest such pause; it doubles up to here."},
    {"commands.pace", ND_DURATION, MS, RANGE(0, 60000), RAW(c.commands.area_pace_ms),
     .prose = "Pause between two commands in one area."},
    {"commands.open_max", ND_UINT, RANGE(1, 1000000), RAW(c.commands.open_max),
     .prose = "Open commands; beyond, new ones are refused. At most `limits.commands`."},
    {"commands.timeout", ND_DURATION, MS, RANGE(1000, 86400000),
     RAW(c.commands.timeout_ms),
     .prose =
         "Life of a command that names no deadline; then it has expired and is never "
         "sent. Counts from `created_at` for rows of `meter_commands`."},
    {"commands.breaker_failures", ND_UINT, RANGE(0, 1000),
     RAW(c.commands.breaker.failures),
     .prose = "After so many attempts in a row without an answer, of two devices at "
              "least, an area is not sent any for a while; 0: always."},
    {"commands.breaker_pause", ND_DURATION, MS, RANGE(100, 3600000),
     RAW(c.commands.breaker.pause_ms),
     .prose = "For how long at first; then one is sent to see. The pause doubles while "
              "that one has no answer either."},
    {"commands.breaker_pause_max", ND_DURATION, MS, RANGE(100, 86400000),
     RAW(c.commands.breaker.pause_max_ms), .prose = "Longest such pause."},

    {"backup", ND_MAP, .n_off = offsetof(struct nd_raw, present),
     .prose =
         "Backups of the replicated state and this configuration, made by the node on "
         "watch. Without `dir` only `vagtctl backup --to` makes any."},
    {"backup.dir", ND_TEXT, RANGE(0, 255), RAW(c.backup.dir), .check = check_absolute,
     .prose =
         "Folder for one a day: best a mounted share of another machine, the same on "
         "all nodes. One that hangs holds up nothing."},
    {"backup.at", ND_TEXT, RANGE(5, 5), RAW(c.backup.at), .check = check_clock,
     .prose = "When, in local time. One that was missed is made up for."},
    {"backup.keep", ND_UINT, RANGE(1, 10000), RAW(c.backup.keep),
     .prose = "So many are kept, the oldest go. Each was restored on trial and compared "
              "before it got its name."},
    {"backup.encrypt_to", ND_TEXT, RANGE(0, 255), RAW(c.backup.encrypt_to),
     .check = check_absolute,
     .prose =
         "A certificate (PEM): they are encrypted to it, then hold the secrets, too, "
         "and `openssl cms -decrypt` with its private key opens them."},
    {"backup.timeout", ND_DURATION, MS, RANGE(1000, 24 * 3600000),
     RAW(c.backup.timeout_ms), .prose = "Then one has failed."},

    {"drill", ND_MAP, .n_off = offsetof(struct nd_raw, present),
     .prose = "Failover drills: see `vagtctl drill`."},
    {"drill.at", ND_TEXT, RANGE(0, 9), RAW(c.drill.at), .check = check_drill_at,
     .prose = "When one is run by itself, in local time: \"Sun 03:00\", or \"03:00\" "
              "each day. Without it none is. One that the site is not ready for in the "
              "ten minutes from then on is left out."},
    {"drill.kind", ND_CHOICE, .names = drill_kinds, RAW(c.drill.kind),
     .prose = "Of those that run by themselves."},
    {"drill.canary", ND_TEXTS, RANGE(0, ND_AREAS_MAX),
     LIST(c.drill.canary, c.drill.canary_n), .check = check_canary,
     .prose =
         "`AREA=DEVICE`: a real device of an area that drills may switch; it is asked "
         "for the state that it has. In the other areas only virtual ones are."},
    {"drill.budget", ND_DURATION, MS, RANGE(5000, 600000), RAW(c.drill.budget_ms),
     .prose =
         "Within this time all must work again, or the drill has failed and is given "
         "up."},
    {"drill.reminder", ND_DURATION, SECONDS, RANGE(0, 366 * 86400),
     RAW(c.drill.reminder_s),
     .prose =
         "When the last drill that passed is longer ago, `status` says so; 0: never."},

    {"watch", ND_MAP, .n_off = offsetof(struct nd_raw, present), .prose = "The watch."},
    {"watch.drain_timeout", ND_DURATION, MS, RANGE(100, 60000), RAW(c.drain_timeout_ms),
     .prose =
         "A node that lost the watch and cannot let go within this time ends itself."},
    {"watch.takeover_wait", ND_DURATION, MS, RANGE(1000, 600000), RAW(c.takeover_wait_ms),
     .prose =
         "How long a new watch waits before it starts `resources` when the old one is "
         "gone and cannot say that it has let go. One half of it a node without the "
         "watch "
         "has to stop them in order, the other half its keeper to stop them by force. "
         "The same on all nodes."},
    FENCE_ROWS,
    {"watch.online_hold", ND_DURATION, MS, RANGE(0, 3600000), RAW(c.online_hold_ms),
     .prose = "For so long after a bridge came, nobody who was online is offline because "
              "it says so: when it starts it has not heard them yet."},
};

const unsigned nd_rows_n = sizeof nd_rows / sizeof nd_rows[0];

size_t nd_row_section_len(const struct nd_row *row)
{
    const char *dot = strrchr(row->path, '.');

    return dot != NULL ? (size_t)(dot - row->path) : 0;
}

const char *nd_row_key(const struct nd_row *row)
{
    size_t n = nd_row_section_len(row);

    return row->path + (n > 0 ? n + 1 : 0);
}

bool nd_row_in(const struct nd_row *row, const char *section)
{
    size_t n = nd_row_section_len(row);

    return strlen(section) == n && memcmp(row->path, section, n) == 0;
}

const struct nd_row *nd_row_owner(const struct nd_row *row)
{
    size_t n = nd_row_section_len(row);

    n -= n > 2 && row->path[n - 1] == ']' ? 2 : 0;
    for (unsigned i = 0; n > 0 && i < nd_rows_n; i++) {
        if (strlen(nd_rows[i].path) == n && memcmp(nd_rows[i].path, row->path, n) == 0) {
            return &nd_rows[i];
        }
    }
    return NULL;
}

const struct nd_row *nd_row_find(const char *section, const char *key, size_t len)
{
    for (unsigned i = 0; i < nd_rows_n; i++) {
        const char *k = nd_row_key(&nd_rows[i]);

        if (nd_row_in(&nd_rows[i], section) && strlen(k) == len &&
            memcmp(k, key, len) == 0) {
            return &nd_rows[i];
        }
    }
    return NULL;
}

static void set_text(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text);
}

void nd_raw_default(struct nd_raw *raw)
{
    struct nd_config *c = &raw->c;

    memset(raw, 0, sizeof *raw);
    set_text(c->data_dir, sizeof c->data_dir, "/var/lib/vagt");
    set_text(raw->log_level, sizeof raw->log_level, "info");
    set_text(c->control.requests[0], sizeof c->control.requests[0],
             "ipc:///run/vagt/control.sock");
    set_text(c->control.events[0], sizeof c->control.events[0],
             "ipc:///run/vagt/events.sock");
    c->control.requests_n = c->control.events_n = 1;
    c->control.send_queue_max = 1000;
    ad_pg_config_default(&c->postgres);
    c->postgres_from.port = 5432;
    set_text(c->postgres_from.sslmode, sizeof c->postgres_from.sslmode, "verify-full");
    cs_core_config_default(&c->raft);
    ad_wal_config_default(&c->wal);
    rp_limits_default(&c->limits);
    c->commands.retry_min_ms = 2000;
    c->commands.retry_max_ms = 20000;
    c->commands.area_pace_ms = 20;
    c->commands.open_max = 1000;
    c->commands.timeout_ms = 60000;
    c->commands.breaker = (struct rp_breaker_config){5, 30000, 300000};
    set_text(c->when_full, sizeof c->when_full, when_full[0]);
    set_text(c->tie_mode, sizeof c->tie_mode, tie_modes[0]);
    c->drain_timeout_ms = 2000;
    c->takeover_wait_ms = 6000;
    set_text(c->fence, sizeof c->fence, fences[0]);
    set_text(c->watchdog, sizeof c->watchdog, "/dev/watchdog");
    c->online_hold_ms = 3 * 60 * 1000;
    set_text(c->backup.at, sizeof c->backup.at, "03:30");
    c->backup.keep = 30;
    c->backup.timeout_ms = 10 * 60 * 1000;
    set_text(c->drill.kind, sizeof c->drill.kind, drill_kinds[0]);
    c->drill.budget_ms = 60000;
    c->drill.reminder_s = 30 * 86400;
    c->checkpoint_ms = 10000;
    c->batch_max = 256 * KIB;
}

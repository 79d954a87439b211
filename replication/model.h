/* The things that are replicated: areas (bridges), devices, readings, commands, and
 * dead letters: messages that could not become any of these.
 *
 * Numbers are integers in milli units, so that every node computes the same:
 * power mW, voltage mV, current mA, energy mWh (1e-6 kWh). Times are Unix time
 * in milliseconds. Names are UTF-8, terminated, limited; what does not fit is
 * refused at the rim with a sentence, never cut silently. */

#ifndef RP_MODEL_H
#define RP_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RP_NAME_SIZE = 96,   /* friendly_name, area and node names; with the zero byte */
    RP_TOPIC_SIZE = 128, /* base topic */
    RP_MODEL_SIZE = 48,
    RP_ID_SIZE = 64,   /* command id, chosen by the caller */
    RP_PROP_SIZE = 32, /* property: "state" */
    RP_VALUE_SIZE = 64,
    RP_TEXT_SIZE = 160, /* why a command failed, why a letter is dead */
    RP_LETTER_TOPIC_SIZE = 256,
    RP_LETTER_PAYLOAD_MAX = 1024, /* of a longer one the beginning is kept */
    /* A last_seen this far ahead of the cluster's clock is a wrong clock. To
     * believe it would make every later report "late" until that time comes. */
    RP_AHEAD_MAX_MS = 10 * 60 * 1000
};

enum rp_switch { RP_SWITCH_UNKNOWN, RP_OFF, RP_ON };
enum rp_avail { RP_AVAIL_UNKNOWN, RP_OFFLINE, RP_ONLINE };

/* Why an area is switched off; both at once is possible. Nothing is read from it,
 * nothing is sent to it, and it gives no alarm. */
enum { RP_OFF_OPERATOR = 1, RP_OFF_CONFIG = 2 };

struct rp_area
{
    uint16_t nr; /* 1.. in order of first mention; 0: none */
    char name[RP_NAME_SIZE];
    char base_topic[RP_TOPIC_SIZE];
    enum rp_avail bridge;  /* As last told by bridge/state or a sign of life. */
    uint64_t bridge_at_ms; /* When that changed. */
    uint64_t ready_at_ms;  /* Last live bridge/info: the bridge takes commands since
                              then. 0: not ready (offline, or never seen). */
    uint32_t devices;
    uint8_t off; /* RP_OFF_*; 0: in use */
};

/* Which of the values a reading has. */
enum {
    RP_HAS_POWER = 1,
    RP_HAS_VOLTAGE = 2,
    RP_HAS_CURRENT = 4,
    RP_HAS_ENERGY = 8,
    RP_HAS_LINKQUALITY = 16
};

struct rp_values
{
    int64_t energy_mwh;
    int32_t power_mw;
    int32_t voltage_mv;
    int32_t current_ma;
    uint16_t linkquality;
    uint16_t has; /* RP_HAS_* */
};

struct rp_device
{
    uint64_t ieee; /* The key: IEEE 802.15.4 address. Never 0. */
    uint16_t area;
    bool listed; /* In the bridge's bridge/devices. */
    enum rp_switch state;
    enum rp_avail avail; /* What we believe, and tell. */
    enum rp_avail told;  /* What the bridge said last, by RP_IN_TOLD. Offline while
                            avail is online: held, see RP_IN_TOLD. */
    bool lapsed;         /* Offline since it was silent, not since the bridge said so:
                            its next live report makes it online again. */
    char name[RP_NAME_SIZE];
    char model[RP_MODEL_SIZE];
    uint64_t last_seen_ms; /* As the bridge says; 0: never. */
    uint64_t updated_ms;   /* at_ms of the last change. */
    uint64_t payload_hash; /* Of the last state message, for redeliveries. */
    struct rp_values values;
    uint64_t revision; /* Of the last change worth telling Postgres. */
};

struct rp_reading
{
    uint64_t seq; /* 1.. without gaps, in order of acceptance */
    uint64_t ieee;
    uint64_t time_ms; /* last_seen, or at_ms when the bridge gives none */
    enum rp_switch state;
    struct rp_values values;
};

/* A message of which nothing, or not all, could be used. */
struct rp_letter
{
    uint64_t seq; /* 1.. without gaps */
    uint64_t at_ms;
    uint16_t area; /* 0: of none */
    bool cut;      /* The payload was longer. */
    uint16_t payload_len;
    char topic[RP_LETTER_TOPIC_SIZE];
    char reason[RP_TEXT_SIZE];
    uint8_t payload[RP_LETTER_PAYLOAD_MAX];
};

/* What all nodes must agree on and nothing else holds: see docs/states.md. */
enum { RP_FACT_KEY_SIZE = 48, RP_FACT_VALUE_SIZE = 256, RP_FACTS_MAX = 64 };

struct rp_fact
{
    char key[RP_FACT_KEY_SIZE];
    char value[RP_FACT_VALUE_SIZE]; /* Not empty. */
    uint64_t at_ms;                 /* since when it is so */
};

/* A failover drill (docs/adr/0025). */
enum { RP_DRILLS_MAX = 50, RP_DRILL_KIND_SIZE = 16, RP_DRILL_REPORT_MAX = 1600 };

enum rp_drill_state {
    RP_DRILL_RUNNING = 1,
    RP_DRILL_PASSED,
    RP_DRILL_FAILED,
    RP_DRILL_ABORTED,
    RP_DRILL_STATES
};

struct rp_drill
{
    uint64_t nr; /* 1.. in order of their beginnings */
    uint64_t began_ms;
    uint64_t ended_ms; /* 0: it runs */
    char kind[RP_DRILL_KIND_SIZE];
    enum rp_drill_state state;
    uint16_t report_len;
    uint8_t report[RP_DRILL_REPORT_MAX]; /* MessagePack: the owner's (node/drill.c) */
};

/* Canary devices of drills have addresses that no real device has; they have no rows in
 * power_meters and meter_identity. */
#define RP_CANARY_IEEE UINT64_C(0xfffffffe00000000)

static inline bool rp_is_canary(uint64_t ieee)
{
    return (ieee & UINT64_C(0xffffffff00000000)) == RP_CANARY_IEEE;
}

enum rp_command_status {
    RP_ACCEPTED = 1,
    RP_SENT,
    RP_CONFIRMED, /* From here on: ended. */
    RP_FAILED,
    RP_EXPIRED,
    RP_SUPERSEDED,
    RP_CANCELLED,
    RP_STATUS_NR
};

/* rp_command.sent_last_seen_ms of an attempt that was not published yet. */
#define RP_NOT_LEFT UINT64_MAX

/* accepted -> sent (attempt n) -> confirmed | failed | expired | superseded |
 * cancelled; every status before the end may go to every end. */
struct rp_command
{
    uint64_t seq; /* 1.. in order of acceptance */
    char id[RP_ID_SIZE];
    uint64_t ieee;
    char property[RP_PROP_SIZE]; /* first form: "state" */
    char value[RP_VALUE_SIZE];   /* "ON", "OFF" */
    char source[RP_PROP_SIZE];   /* "cli", RP_SOURCE_POSTGRES, ... */
    enum rp_command_status status;
    uint32_t attempts;
    uint64_t accepted_ms;
    uint64_t deadline_ms;
    uint64_t retry_ms; /* SENT: not sent again before this. */
    uint64_t sent_ms;  /* First attempt; 0: none. */
    uint64_t ended_ms;
    uint64_t sent_last_seen_ms; /* The device's last_seen at the last attempt: only
                                   a newer report confirms. RP_NOT_LEFT: none does. */
    /* Of an ended one: why. Of an open one: what its last attempt met with. */
    char reason[RP_TEXT_SIZE];
    uint64_t revision;
};

/* A command that came from the table meter_commands. Somebody waits there for how
 * it ended: it makes no room for others before Postgres knows. */
#define RP_SOURCE_POSTGRES "postgres"

static inline bool rp_ended(enum rp_command_status s)
{
    return s >= RP_CONFIRMED;
}

/* "on", "off", "unknown"; "online", ...; "accepted", ... Never NULL. */
const char *rp_switch_name(enum rp_switch s);
const char *rp_avail_name(enum rp_avail a);
const char *rp_command_status_name(enum rp_command_status s);
const char *rp_drill_state_name(enum rp_drill_state s); /* "running", "passed", ... */

#endif /* RP_MODEL_H */

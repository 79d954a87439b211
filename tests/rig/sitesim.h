/* sitesim: a metering site without radio.
 *
 * Plays N areas x M meters and publishes what Zigbee2MQTT 2.14 publishes, from the
 * outside: topics, retain flags, QoS, payload shapes and, above all, the races. Where the
 * real thing is known from a capture, the comment says so; `z2m/` beside this file runs
 * the real thing.
 *
 *   control port --> site --> area (one MQTT client, one "bridge") --> meters
 *
 * One loop, one thread. A meter has two sides that may differ: the device (relay, energy)
 * and what the bridge last heard of it (`seen`). A killed bridge forgets back to `saved`.
 */
#pragma once

#include <mosquitto.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <uv.h>

enum {
    SIM_AREAS_MAX = 64,
    SIM_DEVICES_MAX = 20000,
    SIM_METERS_MAX = 100000,
    SIM_BROKERS_MAX = 4,
    SIM_NAME_MAX = 64,
    SIM_SUFFIX_MAX = 128, /* a topic below the base topic */
    SIM_TOPIC_MAX = 256,
    SIM_PAYLOAD_MAX = 1024,
    SIM_LOG_MAX =
        200000, /* Commands remembered for /log; older ones are dropped, counted. */
    SIM_JOBS_MAX = 100000, /* Delayed actions at one time. */
};

enum sim_model { SIM_POLL, SIM_REPORT, SIM_TOWSMR1, SIM_TOSYS, SIM_MODELS };

struct sim_address
{
    char host[64]; /* numeric: libmosquitto resolves names synchronously */
    int port;
};

struct sim_options
{
    struct sim_address brokers[SIM_BROKERS_MAX];
    int broker_count;
    struct sim_address control;
    char base[SIM_NAME_MAX];
    int areas;
    int devices; /* per area */
    int interval_ms;
    int set_delay_ms;
    double stale_prob;
    uint64_t seed;
    const char *unreachable; /* borrowed from argv, as is the next one */
    const char *log_file;
    int unreachable_ms;
    int avail_offline_ms;
    int ready_ms;
    int start_ms;
    int reconnect_ms;
    int cache_save_ms;
    int health_ms;
    int energy_speed;
    int qos;
    bool retain;
    bool one_frame;
    bool narrow;
};

/* What the bridge has in its cache for a meter, in the units of the wire. */
struct sim_reading
{
    int64_t last_seen_ms; /* wall clock */
    const char *event;
    int64_t energy_centi_kwh;
    int current_centi_a;
    int voltage_deci_v;
    int power_w;
    bool on;
};

struct sim_area;

struct sim_meter
{
    struct sim_area *area;
    int index;
    enum sim_model model;
    char ieee[20];
    char name[SIM_NAME_MAX];

    /* the device */
    bool on;
    bool reachable;
    const char *event;
    int voltage_deci_v;
    int load_milli_a; /* what it draws when on */
    double energy_kwh;
    uint64_t energy_at_ms; /* loop time up to which energy_kwh is counted */

    /* the bridge's view */
    struct sim_reading seen;
    struct sim_reading saved; /* in state.json: survives a killed bridge */
    bool available;
    bool removed;
    uint64_t silent_since_ms; /* loop time of going offline, 0 = talks */
    uint64_t queried_at_ms;
    uint64_t busy_until_ms; /* Frames to one device leave in order. */

    /* counted */
    uint64_t published;
    uint64_t distinct; /* differs from the message before it on the same topic */
    uint64_t payload_hash;
    uint64_t sets;     /* commands the bridge took */
    uint64_t reached;  /* of these, how many the device carried out */
    uint64_t repeated; /* same value as the command before it */
    char last_command; /* 'N' on, 'F' off, 0 none */
};

struct sim_site;

struct sim_area
{
    struct sim_site *site;
    int number; /* 1.. */
    char base[SIM_NAME_MAX + 16];
    size_t base_len;
    struct sim_meter *meters;

    /* bridge */
    bool running;
    bool started; /* has said `online` once since it runs */
    bool ready;   /* takes commands */
    uint32_t incarnation;
    uv_timer_t start_timer; /* start-up sequence, one step per expiry */
    int start_step;
    int start_cursor;
    int ready_after_ms;
    uint64_t started_at_ms;
    uint64_t error_hash; /* what it logged last: the same is not said twice in a row */
    bool permit_join;

    /* connection */
    struct mosquitto *mosq;
    uv_poll_t *poll; /* a new one per connection: fd numbers are reused */
    int poll_events;
    uv_timer_t conn_timer;
    bool connected;
    bool lost; /* set by callbacks, which must not destroy anything */
    int broker_index;
    int failures;
    uint64_t inflight;

    /* counted */
    uint64_t messages_in;
    uint64_t states_published;
    uint64_t published;
    uint64_t dropped_disconnected;
    uint64_t dropped_full;
    uint64_t sets_received;
    uint64_t gets_received;
    uint64_t dropped_not_ready;
    uint64_t refused;
    uint64_t connects;
};

struct sim_log_entry
{
    double at_ms; /* wall clock */
    struct sim_meter *meter;
    bool on;
};

struct sim_burst
{
    uint64_t wanted;
    uint64_t sent;
    uint64_t begun_ns;
    uint64_t ended_ns;
    int qos;
    int area; /* 0 = all */
    int cursor;
};

struct sim_control;
struct sim_job;

struct sim_site
{
    uv_loop_t loop;
    struct sim_options opt;
    struct sim_area areas[SIM_AREAS_MAX];
    struct sim_meter *meters; /* areas x devices, area by area */
    int meter_count;
    uint64_t random;
    int64_t wall_offset_ms; /* wall clock minus loop clock */

    uv_timer_t tick;
    uv_prepare_t flush;
    uv_idle_t burst_idle; /* keeps the loop turning while a burst can go on */
    uv_signal_t signals[2];
    struct sim_control *control;
    bool closing;

    uint64_t tick_at_ms;
    uint64_t saved_at_ms;
    uint64_t health_at_ms;
    double reports_due;
    int report_cursor;
    int jobs;
    struct sim_job *first_job;
    uint64_t jobs_refused;
    uint64_t lost_in_restart;
    struct sim_burst burst;

    struct sim_log_entry *log;
    size_t log_head; /* next to write */
    size_t log_count;
    uint64_t log_dropped;
    FILE *log_file; /* May be NULL. */
};

/* ---- sitesim_util.c ---- */

/* Text that grows; out of memory ends the program. */
struct sim_buf
{
    char *data;
    size_t len;
    size_t cap;
};

void sim_buf_put(struct sim_buf *b, const char *data, size_t len);
void sim_buf_printf(struct sim_buf *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void sim_buf_free(struct sim_buf *b);

void *sim_alloc(size_t count, size_t size);
uint64_t sim_random(struct sim_site *s);
int sim_random_int(struct sim_site *s, int low, int high);
double sim_random_unit(struct sim_site *s);
uint64_t sim_hash(const char *data, size_t len);
int64_t sim_wall_ms(struct sim_site *s);
/* "2026-11-21T09:47:06.232Z", 24 characters and a NUL. */
void sim_iso_time(int64_t wall_ms, char out[32]);
bool sim_parse_int(const char *text, int low, int high, int *ret);

/* Runs `fn` after `delay_ms`, unless the area's bridge was stopped meanwhile. */
typedef void (*sim_job_fn)(struct sim_area *a, struct sim_meter *m, int value);
void sim_later(struct sim_area *a, struct sim_meter *m, int value, uint64_t delay_ms,
               sim_job_fn fn);
void sim_jobs_cancel(struct sim_site *s);

/* ---- sitesim_args.c ---- */

/* 0 = go on; otherwise the process ends with `*ret_status`. */
int sim_args_parse(struct sim_options *o, int argc, char **argv, int *ret_status);

/* ---- sitesim_meter.c ---- */

void sim_meter_init(struct sim_meter *m, struct sim_area *a, int index);
/* The device is switched, by a command or by hand. */
void sim_meter_switch(struct sim_meter *m, bool on, bool by_hand);
/* Frames arrive at the bridge: which part of the device's state they carry. */
enum { SIM_HEAR_STATE = 1, SIM_HEAR_METER = 2, SIM_HEAR_ENERGY = 4, SIM_HEAR_ALL = 7 };
void sim_meter_hear(struct sim_meter *m, int what);
void sim_meter_wobble(struct sim_meter *m);
/* The JSON of a state message, as Z2M orders the keys. Returns its length. */
size_t sim_meter_payload(const struct sim_meter *m, const struct sim_reading *r,
                         bool with_linkquality, char out[SIM_PAYLOAD_MAX]);
bool sim_model_is_tuya(enum sim_model model);
void sim_meter_describe(const struct sim_meter *m, bool exposes, struct sim_buf *b);
struct sim_meter *sim_meter_find(struct sim_area *a, const char *name, size_t len);

/* ---- sitesim_mqtt.c ---- */

void sim_mqtt_open(struct sim_area *a);
void sim_mqtt_close(struct sim_area *a, bool graceful);
/* false = dropped, and counted, as Z2M drops what it cannot send. */
bool sim_mqtt_publish(struct sim_area *a, const char *topic, const char *payload,
                      size_t len, int qos, bool retain);
void sim_mqtt_flush(struct sim_area *a);

/* ---- sitesim_bridge.c ---- */

void sim_bridge_init(struct sim_area *a);
/* @forgot: its database is too old to say who is there. Everybody is offline until
 * heard, as after a killed bridge was down for longer than the availability timeout. */
void sim_bridge_start(struct sim_area *a, bool forgot);
enum sim_stop {
    SIM_KILL,  /* the broker sends its will */
    SIM_TERM,  /* it says offline itself, and saves its cache */
    SIM_SILENT /* neither: killed, and its will is never sent, as by a broker that dies */
};
void sim_bridge_stop(struct sim_area *a, enum sim_stop how);
void sim_bridge_connected(struct sim_area *a);
void sim_bridge_error(struct sim_area *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void sim_bridge_publish(struct sim_area *a, const char *suffix, const char *payload,
                        size_t len, int qos, bool retain);
void sim_bridge_state(struct sim_meter *m);
void sim_bridge_state_qos(struct sim_meter *m, int qos);
void sim_bridge_availability(struct sim_meter *m, bool available);
void sim_bridge_info(struct sim_area *a);
void sim_bridge_devices(struct sim_area *a);
void sim_bridge_health(struct sim_area *a);

/* ---- sitesim_command.c ---- */

void sim_command_message(struct sim_area *a, const char *topic, const char *payload,
                         size_t len);

/* ---- sitesim_request.c ---- */

void sim_request(struct sim_area *a, const char *what, const char *payload, size_t len);

/* ---- sitesim_site.c ---- */

void sim_site_init(struct sim_site *s);
void sim_site_close(struct sim_site *s, bool graceful);
void sim_site_log(struct sim_meter *m, bool on);
void sim_site_offline(struct sim_meter *m, bool offline, bool announce_now);
void sim_site_burst(struct sim_site *s, uint64_t n, int qos, int area);
void sim_site_press(struct sim_meter *m, bool on);

/* ---- sitesim_http.c ---- */

int sim_control_open(struct sim_site *s);
void sim_control_close(struct sim_site *s);

/* ---- sitesim_control.c ---- */

/* One GET: fills the body, returns the HTTP status. */
int sim_control_run(struct sim_site *s, const char *path, const char *query,
                    struct sim_buf *body);

/* ---- sitesim_report.c ---- */

void sim_report_stats(struct sim_site *s, struct sim_buf *b);
void sim_report_log(struct sim_site *s, struct sim_buf *b);
void sim_report_meters(struct sim_site *s, struct sim_buf *b);

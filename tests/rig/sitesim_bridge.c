/* The bridge: what Zigbee2MQTT says about itself and in which order, seen on 2.14.1.
 *
 *   connect -> bridge/state online                     (commands are dropped)
 *           ~27 ms  converters
 *        59-156 ms                                     (commands are taken from here)
 *        +13-40 ms  info, devices, groups, availability of each, extensions,
 *                   cached states: without linkquality, with the last_seen they had
 *
 * A reconnect of a bridge that kept running sends bridge/state and nothing else. */
#include "sitesim.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STEP_CONVERTERS,
    STEP_READY,
    STEP_INFO,
    STEP_DEVICES,
    STEP_STATES,
    PORTION = 200,
    PORTION_INFLIGHT_MAX = 500,
    EXPOSES_DEVICES_MAX = 500, /* Beyond it bridge/devices would be tens of megabytes. */
};

static const char online[] = "{\"state\":\"online\"}";
static const char offline[] = "{\"state\":\"offline\"}";

void sim_bridge_publish(struct sim_area *a, const char *suffix, const char *payload,
                        size_t len, int qos, bool retain)
{
    char topic[SIM_TOPIC_MAX];

    (void)snprintf(topic, sizeof topic, "%s/%s", a->base, suffix);
    (void)sim_mqtt_publish(a, topic, payload, len, qos, retain);
}

void sim_bridge_error(struct sim_area *a, const char *format, ...)
{
    char text[1024];
    va_list args;
    json_t *o;
    char *json;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    o = json_pack("{s:s,s:s}", "level", "error", "message", text);
    json = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
    if (json != NULL && sim_hash(json, strlen(json)) != a->error_hash) {
        a->error_hash = sim_hash(json, strlen(json));
        sim_bridge_publish(a, "bridge/logging", json, strlen(json), 0, false);
    }
    free(json);
    json_decref(o);
}

static void publish_reading(struct sim_meter *m, bool with_linkquality, int qos)
{
    struct sim_area *a = m->area;
    char topic[SIM_TOPIC_MAX], payload[SIM_PAYLOAD_MAX];
    size_t len = sim_meter_payload(m, &m->seen, with_linkquality, payload);
    uint64_t hash = sim_hash(payload, len);

    (void)snprintf(topic, sizeof topic, "%s/%s", a->base, m->name);
    if (!sim_mqtt_publish(a, topic, payload, len, qos, a->site->opt.retain)) {
        return;
    }
    a->states_published++;
    m->published++;
    if (hash != m->payload_hash) {
        m->distinct++;
        m->payload_hash = hash;
    }
}

void sim_bridge_state_qos(struct sim_meter *m, int qos)
{
    if (!m->available) {
        sim_bridge_availability(m, true);
    }
    publish_reading(m, true, qos);
}

void sim_bridge_state(struct sim_meter *m)
{
    sim_bridge_state_qos(m, m->area->site->opt.qos);
}

void sim_bridge_availability(struct sim_meter *m, bool available)
{
    char suffix[SIM_SUFFIX_MAX];
    const char *payload = available ? online : offline;

    m->available = available;
    (void)snprintf(suffix, sizeof suffix, "%s/availability", m->name);
    sim_bridge_publish(m->area, suffix, payload, strlen(payload), 1, true);
}

static void put_config(struct sim_area *a, struct sim_buf *b)
{
    const struct sim_options *o = &a->site->opt;
    const char *separator = "";

    sim_buf_printf(b,
                   "\"config\":{\"advanced\":{\"cache_state\":true,"
                   "\"cache_state_persistent\":true,\"cache_state_send_on_startup\":true,"
                   "\"channel\":%d,\"elapsed\":false,\"ext_pan_id\":[1,2,3,4,5,6,7,%d],"
                   "\"last_seen\":\"ISO_8601\",\"log_level\":\"warning\","
                   "\"log_output\":[\"console\"],\"output\":\"json\",\"pan_id\":%d},",
                   11 + a->number % 15, a->number, 6000 + a->number);
    sim_buf_printf(b,
                   "\"availability\":{\"active\":{\"backoff\":true,\"max_jitter\":30000,"
                   "\"pause_on_backoff_gt\":0,\"timeout\":10},\"enabled\":true,"
                   "\"passive\":{\"timeout\":1500}},\"blocklist\":[],"
                   "\"device_options\":{\"qos\":%d,\"retain\":%s},\"devices\":{",
                   o->qos, o->retain ? "true" : "false");
    for (int i = 0; i < o->devices; i++) {
        if (!a->meters[i].removed) {
            sim_buf_printf(b, "%s\"%s\":{\"friendly_name\":\"%s\"}", separator,
                           a->meters[i].ieee, a->meters[i].name);
            separator = ",";
        }
    }
    sim_buf_printf(b,
                   "},\"frontend\":{\"enabled\":false},\"groups\":{},\"health\":{"
                   "\"interval\":%g,\"reset_on_check\":false},\"homeassistant\":{"
                   "\"enabled\":false},\"mqtt\":{\"base_topic\":\"%s\",\"client_id\":"
                   "\"z2m-a%d\",\"force_disable_retain\":false,"
                   "\"include_device_information\":false,\"keepalive\":60,"
                   "\"maximum_packet_size\":1048576,\"reject_unauthorized\":true,"
                   "\"server\":\"mqtt://%s:%d\",\"version\":4},\"passlist\":[],",
                   o->health_ms / 60000.0, a->base, a->number,
                   o->brokers[a->broker_index].host, o->brokers[a->broker_index].port);
    sim_buf_printf(b,
                   "\"serial\":{\"adapter\":\"zstack\",\"port\":\"tcp://127.0.0.1:%d\"},"
                   "\"version\":5}",
                   16630 + a->number);
}

void sim_bridge_info(struct sim_area *a)
{
    const struct sim_options *o = &a->site->opt;
    struct sim_buf b = {0};

    sim_buf_printf(&b, "{\"commit\":\"3c3d8c1a\",");
    put_config(a, &b);
    sim_buf_printf(&b,
                   ",\"config_schema\":{\"type\":\"object\",\"properties\":{}},"
                   "\"coordinator\":{\"ieee_address\":\"0x00124b00%08x\",\"meta\":{"
                   "\"maintrel\":2,\"majorrel\":2,\"minorrel\":7,\"product\":1,"
                   "\"revision\":20240710,\"transportrev\":2},\"type\":\"ZStack3x0\"},"
                   "\"log_level\":\"warning\",\"mqtt\":{\"server\":\"mqtt://%s:%d\","
                   "\"version\":4},",
                   0x25a00000u + (unsigned)a->number, o->brokers[a->broker_index].host,
                   o->brokers[a->broker_index].port);
    sim_buf_printf(&b,
                   "\"network\":{\"channel\":%d,\"extended_pan_id\":"
                   "\"0x01020304050607%02x\",\"pan_id\":%d},\"os\":{\"cpus\":\"(x2)\","
                   "\"memory_mb\":4096,\"node_version\":\"v22.23.3\",\"version\":"
                   "\"Linux - x64\"},\"permit_join\":%s,\"restart_required\":false,"
                   "\"version\":\"2.14.1\",\"zigbee_herdsman\":{\"version\":\"10.9.2\"},"
                   "\"zigbee_herdsman_converters\":{\"version\":\"26.105.0\"}}",
                   11 + a->number % 15, (unsigned)a->number & 0xffu, 6000 + a->number,
                   a->permit_join ? "true" : "false");
    sim_bridge_publish(a, "bridge/info", b.data, b.len, 0, true);
    sim_buf_free(&b);
}

void sim_bridge_devices(struct sim_area *a)
{
    int count = a->site->opt.devices;
    struct sim_buf b = {0};

    sim_buf_printf(
        &b,
        "[{\"disabled\":false,\"endpoints\":{\"1\":{\"bindings\":[],"
        "\"clusters\":{\"input\":[],\"output\":[]},\"configured_reportings\":[],"
        "\"scenes\":[]}},\"friendly_name\":\"Coordinator\",\"ieee_address\":"
        "\"0x00124b00%08x\",\"interview_completed\":true,\"interview_state\":"
        "\"SUCCESSFUL\",\"interviewing\":false,\"network_address\":0,"
        "\"supported\":true,\"type\":\"Coordinator\"}",
        0x25a00000u + (unsigned)a->number);
    for (int i = 0; i < count; i++) {
        if (!a->meters[i].removed) {
            sim_buf_put(&b, ",", 1);
            sim_meter_describe(&a->meters[i], count <= EXPOSES_DEVICES_MAX, &b);
        }
    }
    sim_buf_put(&b, "]", 1);
    sim_bridge_publish(a, "bridge/devices", b.data, b.len, 0, true);
    sim_buf_free(&b);
}

void sim_bridge_health(struct sim_area *a)
{
    double up_s = (double)(uv_now(&a->site->loop) - a->started_at_ms) / 1000.0;
    struct sim_buf b = {0};
    const char *separator = "";

    sim_buf_printf(&b,
                   "{\"response_time\":%lld,\"os\":{\"load_average\":[0.1,0.1,0.1],"
                   "\"memory_used_mb\":470,\"memory_percent\":11.5},\"process\":{"
                   "\"uptime_sec\":%.0f,\"memory_used_mb\":129.2,\"memory_percent\":3.2},"
                   "\"mqtt\":{\"connected\":true,\"queued\":0,\"published\":%llu,"
                   "\"received\":%llu},\"devices\":{",
                   (long long)sim_wall_ms(a->site), up_s,
                   (unsigned long long)a->published, (unsigned long long)a->messages_in);
    for (int i = 0; i < a->site->opt.devices; i++) {
        const struct sim_meter *m = &a->meters[i];

        if (m->removed) {
            continue;
        }
        sim_buf_printf(&b,
                       "%s\"%s\":{\"messages\":%llu,\"messages_per_sec\":%.4f,"
                       "\"leave_count\":0,\"network_address_changes\":0}",
                       separator, m->ieee, (unsigned long long)m->published,
                       up_s > 0 ? (double)m->published / up_s : 0.0);
        separator = ",";
    }
    sim_buf_put(&b, "}}", 2);
    sim_bridge_publish(a, "bridge/health", b.data, b.len, 1, true);
    sim_buf_free(&b);
}

/* The availability of each meter, then the cached state of each, a portion per call: a
 * big site must not fill the queue to the broker. Returns whether there is more. */
static bool publish_portion(struct sim_area *a)
{
    int count = a->site->opt.devices;
    int end = a->start_cursor + PORTION;

    if (a->inflight > PORTION_INFLIGHT_MAX) {
        return true;
    }
    if (a->start_cursor == 0) {
        sim_bridge_publish(a, "bridge/groups", "[]", 2, 0, true);
    }
    for (; a->start_cursor < end && a->start_cursor < 2 * count; a->start_cursor++) {
        struct sim_meter *m = &a->meters[a->start_cursor % count];

        if (a->start_cursor == count) {
            sim_bridge_publish(a, "bridge/extensions", "[]", 2, 0, true);
        }
        if (m->removed) {
            continue;
        }
        if (a->start_cursor < count) {
            sim_bridge_availability(m, m->available);
        } else {
            /* One that has reported meanwhile goes out as reported. */
            bool live = m->seen.last_seen_ms != m->saved.last_seen_ms;

            publish_reading(m, live, a->site->opt.qos);
        }
    }
    return a->start_cursor < 2 * count;
}

static void next_step(uv_timer_t *timer)
{
    struct sim_area *a = timer->data;
    int wait_ms = -1;

    if (!a->started) { /* the process has started; MQTT comes next */
        sim_mqtt_open(a);
        return;
    }
    switch (a->start_step++) {
    case STEP_CONVERTERS:
        sim_bridge_publish(a, "bridge/converters", "[]", 2, 0, true);
        wait_ms = a->ready_after_ms - a->ready_after_ms / 5;
        break;
    case STEP_READY:
        a->ready = true;
        wait_ms = sim_random_int(a->site, 13, 40);
        break;
    case STEP_INFO:
        sim_bridge_info(a);
        wait_ms = 3;
        break;
    case STEP_DEVICES:
        sim_bridge_devices(a);
        wait_ms = 8;
        break;
    case STEP_STATES:
    default:
        if (publish_portion(a)) {
            a->start_step = STEP_STATES;
            wait_ms = 1;
        }
        break;
    }
    if (wait_ms >= 0) {
        (void)uv_timer_start(timer, next_step, (uint64_t)wait_ms, 0);
    }
}

void sim_bridge_init(struct sim_area *a)
{
    (void)uv_timer_init(&a->site->loop, &a->start_timer);
    (void)uv_timer_init(&a->site->loop, &a->conn_timer);
    a->start_timer.data = a;
    a->conn_timer.data = a;
}

void sim_bridge_start(struct sim_area *a, bool forgot)
{
    if (a->running) {
        return;
    }
    a->running = true;
    a->started = false;
    a->ready = false;
    a->permit_join = false;
    a->error_hash = 0;
    a->incarnation++;
    for (int i = 0; i < a->site->opt.devices; i++) {
        a->meters[i].seen = a->meters[i].saved;
        a->meters[i].available &= !forgot;
    }
    (void)uv_timer_start(&a->start_timer, next_step, (uint64_t)a->site->opt.start_ms, 0);
}

void sim_bridge_connected(struct sim_area *a)
{
    int ready_ms = a->site->opt.ready_ms;

    sim_bridge_publish(a, "bridge/state", online, strlen(online), 1, true);
    if (a->started) {
        return;
    }
    a->started = true;
    a->started_at_ms = uv_now(&a->site->loop);
    a->start_step = STEP_CONVERTERS;
    a->start_cursor = 0;
    a->ready_after_ms = sim_random_int(a->site, ready_ms / 2, ready_ms);
    (void)uv_timer_start(&a->start_timer, next_step, (uint64_t)(a->ready_after_ms / 5),
                         0);
}

void sim_bridge_stop(struct sim_area *a, enum sim_stop how)
{
    if (!a->running) {
        return;
    }
    if (how == SIM_TERM) {
        for (int i = 0; i < a->site->opt.devices; i++) {
            a->meters[i].saved = a->meters[i].seen;
        }
        if (a->connected) {
            sim_bridge_publish(a, "bridge/state", offline, strlen(offline), 0, true);
        }
    }
    (void)uv_timer_stop(&a->start_timer);
    sim_mqtt_close(a, how != SIM_KILL);
    a->running = false;
    a->started = false;
    a->ready = false;
}

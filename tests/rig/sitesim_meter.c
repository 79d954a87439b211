/* Meters: what they draw, and how Zigbee2MQTT words it. Payloads as captured from 2.14.1
 * with the four models: key order, number formats and which keys are missing. */
#include "sitesim.h"

#include <stdio.h>
#include <string.h>

struct model
{
    const char *zigbee_model;
    const char *manufacturer;
    const char *name;
    const char *description;
    const char *keys; /* what `exposes` lists */
    const char *clusters;
    bool tuya;
    bool ota;
};

static const struct model models[SIM_MODELS] = {
    [SIM_POLL] = {"TS011F", "_TZ3000_qeuvnohg", "TO-Q-SY1-JZT",
                  "Din smart relay (with power monitoring via polling)",
                  "state power current voltage energy",
                  "\"genBasic\",\"genIdentify\",\"genGroups\",\"genScenes\",\"genOnOff\","
                  "\"seMetering\",\"haElectricalMeasurement\",\"manuSpecificTuya3\"",
                  false, true},
    [SIM_REPORT] =
        {"TS011F", "_TZ3000_cayepv1a", "TO-Q-SY2-163JZT", "Smart circuit breaker",
         "state countdown power current voltage energy temperature",
         "\"genBasic\",\"genIdentify\",\"genGroups\",\"genScenes\",\"genOnOff\","
         "\"seMetering\",\"haElectricalMeasurement\","
         "\"msTemperatureMeasurement\",\"57344\",\"manuSpecificTuya3\"",
         false, true},
    [SIM_TOWSMR1] = {"TS0601", "_TZE284_432zhuwe", "TOWSMR1-40A-AC",
                     "Single-phase multifunction RCBO (DIN Module)",
                     "state auto_reclosing current energy event leakage_current power "
                     "temperature voltage",
                     "\"genBasic\",\"genGroups\",\"genScenes\",\"manuSpecificTuya\","
                     "\"60672\"",
                     true, false},
    [SIM_TOSYS] = {"TS0601", "_TZE284_6ocnqlhn", "TO-Q-SYS-JZT", "Din rail smart meter",
                   "state ac_frequency current energy event leakage_current power "
                   "power_factor temperature voltage",
                   "\"genBasic\",\"genGroups\",\"genScenes\",\"manuSpecificTuya\","
                   "\"60672\"",
                   true, false},
};

bool sim_model_is_tuya(enum sim_model model)
{
    return models[model].tuya;
}

void sim_meter_init(struct sim_meter *m, struct sim_area *a, int index)
{
    struct sim_site *s = a->site;

    *m = (struct sim_meter){.area = a, .index = index};
    m->model = (enum sim_model)(index % SIM_MODELS);
    (void)snprintf(m->ieee, sizeof m->ieee, "0xa4c138%02x%08x",
                   (unsigned)a->number & 0xffu, 0x10000u + (unsigned)index);
    (void)snprintf(m->name, sizeof m->name, "a%d-m%03d", a->number, index);
    m->on = true;
    m->reachable = true;
    m->available = true;
    m->event = "normal";
    m->voltage_deci_v = sim_random_int(s, 2280, 2330);
    m->load_milli_a = sim_random_int(s, 200, 6000);
    m->energy_kwh = 10.0 + sim_random_unit(s) * 2000.0;
    m->energy_at_ms = uv_now(&s->loop);
    sim_meter_hear(m, SIM_HEAR_ALL);
    /* A site that already ran: the first start finds a cache, with old times. */
    m->seen.last_seen_ms -= sim_random_int(s, 1000, 60000);
    m->saved = m->seen;
}

static int power_w(const struct sim_meter *m)
{
    if (!m->on) {
        return 0;
    }
    return (int)((double)m->voltage_deci_v / 10.0 * (double)m->load_milli_a / 1000.0 *
                 0.97);
}

/* Energy is the integral of power, so that a reader can check one against the other. */
static void count_energy(struct sim_meter *m)
{
    uint64_t now = uv_now(&m->area->site->loop);
    double hours = (double)(now - m->energy_at_ms) / 3600000.0;

    m->energy_kwh += power_w(m) / 1000.0 * hours * m->area->site->opt.energy_speed;
    m->energy_at_ms = now;
}

void sim_meter_wobble(struct sim_meter *m)
{
    struct sim_site *s = m->area->site;
    int load = m->load_milli_a * sim_random_int(s, 970, 1031) / 1000;

    count_energy(m);
    m->voltage_deci_v += sim_random_int(s, -6, 6);
    m->voltage_deci_v = m->voltage_deci_v < 2150   ? 2150
                        : m->voltage_deci_v > 2450 ? 2450
                                                   : m->voltage_deci_v;
    m->load_milli_a = load < 60 ? 60 : load > 15000 ? 15000 : load;
}

void sim_meter_switch(struct sim_meter *m, bool on, bool by_hand)
{
    count_energy(m);
    m->on = on;
    if (by_hand) {
        m->event = on ? "local_on" : "local_off";
    } else {
        m->event = on ? "remote_on" : "remote_off";
    }
}

void sim_meter_hear(struct sim_meter *m, int what)
{
    struct sim_reading *r = &m->seen;

    count_energy(m);
    r->last_seen_ms = sim_wall_ms(m->area->site);
    if (what & SIM_HEAR_STATE) {
        r->on = m->on;
        r->event = m->event;
    }
    if (what & SIM_HEAR_METER) {
        r->voltage_deci_v = m->voltage_deci_v;
        r->current_centi_a = m->on ? m->load_milli_a / 10 : 0;
        r->power_w = power_w(m);
    }
    if (what & SIM_HEAR_ENERGY) {
        r->energy_centi_kwh = (int64_t)(m->energy_kwh * 100.0);
    }
}

/* A number as JavaScript prints it: no trailing zeros. */
static const char *decimal(int64_t value, int places, char out[24])
{
    int64_t scale = 1;

    while (places > 0 && value % 10 == 0) {
        value /= 10;
        places--;
    }
    for (int i = 0; i < places; i++) {
        scale *= 10;
    }
    if (places == 0) {
        (void)snprintf(out, 24, "%lld", (long long)value);
    } else {
        (void)snprintf(out, 24, "%lld.%0*lld", (long long)(value / scale), places,
                       (long long)(value % scale));
    }
    return out;
}

static const char tuya_settings[] =
    "\"over_current_setting\":\"Ignore\",\"over_current_threshold\":40,"
    "\"over_power_setting\":\"Ignore\",\"over_power_threshold\":8800,"
    "\"over_voltage_setting\":\"Ignore\",\"over_voltage_threshold\":265,";
static const char tuya_tail[] =
    "\"temperature_setting\":\"Ignore\",\"temperature_threshold\":70,"
    "\"under_voltage_setting\":\"Ignore\",\"under_voltage_threshold\":175,";

size_t sim_meter_payload(const struct sim_meter *m, const struct sim_reading *r,
                         bool with_linkquality, char out[SIM_PAYLOAD_MAX])
{
    char amps[24], kwh[24], volts[24], celsius[24], seen[32], link[32] = "";
    const char *state = r->on ? "ON" : "OFF";
    int n = 0;

    sim_iso_time(r->last_seen_ms, seen);
    (void)decimal(r->current_centi_a, 2, amps);
    (void)decimal(r->energy_centi_kwh, 2, kwh);
    (void)decimal(r->voltage_deci_v, 1, volts);
    (void)decimal(291 + m->index % 30, 1, celsius);
    if (with_linkquality) {
        (void)snprintf(link, sizeof link, "\"linkquality\":%d,", 100 + m->index % 100);
    }
    switch (m->model) {
    case SIM_POLL:
        n = snprintf(out, SIM_PAYLOAD_MAX,
                     "{\"current\":%s,\"last_seen\":\"%s\",%s\"power\":%d,"
                     "\"state\":\"%s\",\"voltage\":%d}",
                     amps, seen, link, r->power_w, state, r->voltage_deci_v / 10);
        break;
    case SIM_REPORT:
        n = snprintf(out, SIM_PAYLOAD_MAX,
                     "{\"countdown\":0,\"current\":%s,\"energy\":%s,\"last_seen\":\"%s\","
                     "%s\"power\":%d,\"state\":\"%s\",\"voltage\":%d}",
                     amps, kwh, seen, link, r->power_w, state, r->voltage_deci_v / 10);
        break;
    case SIM_TOWSMR1:
        n = snprintf(out, SIM_PAYLOAD_MAX,
                     "{\"auto_reclosing\":\"OFF\",\"current\":%s,\"energy\":%s,"
                     "\"event\":\"%s\",\"last_seen\":\"%s\",\"leakage_current\":0,"
                     "\"leakage_setting\":\"Ignore\",\"leakage_threshold\":30,%s%s"
                     "\"power\":%d,\"state\":\"%s\",\"temperature\":%s,%s\"voltage\":%s}",
                     amps, kwh, r->event, seen, link, tuya_settings, r->power_w, state,
                     celsius, tuya_tail, volts);
        break;
    case SIM_TOSYS:
        n = snprintf(out, SIM_PAYLOAD_MAX,
                     "{\"ac_frequency\":50,\"current\":%s,\"energy\":%s,\"event\":\"%s\","
                     "\"last_seen\":\"%s\",\"leakage_current\":0,%s%s\"power\":%d,"
                     "\"power_factor\":97,\"state\":\"%s\",\"temperature\":%s,%s"
                     "\"voltage\":%s}",
                     amps, kwh, r->event, seen, link, tuya_settings, r->power_w, state,
                     celsius, tuya_tail, volts);
        break;
    case SIM_MODELS:
        break;
    }
    return (size_t)n;
}

static void describe_exposes(const struct model *d, struct sim_buf *b)
{
    const char *key = d->keys;
    const char *separator = "";

    while (*key != '\0') {
        int len = (int)strcspn(key, " ");
        bool binary = strncmp(key, "state", 5) == 0;

        if (binary) {
            sim_buf_printf(
                b,
                "%s{\"features\":[{\"access\":7,\"description\":\"On/off state "
                "of the switch\",\"label\":\"State\",\"name\":\"state\","
                "\"property\":\"state\",\"type\":\"binary\",\"value_off\":"
                "\"OFF\",\"value_on\":\"ON\",\"value_toggle\":\"TOGGLE\"}],"
                "\"type\":\"switch\"}",
                separator);
        } else {
            sim_buf_printf(b,
                           "%s{\"access\":1,\"label\":\"%.*s\",\"name\":\"%.*s\","
                           "\"property\":\"%.*s\",\"type\":\"numeric\"}",
                           separator, len, key, len, key, len, key);
        }
        separator = ",";
        key += len + (key[len] == ' ' ? 1 : 0);
    }
}

/* One element of bridge/devices. */
void sim_meter_describe(const struct sim_meter *m, bool exposes, struct sim_buf *b)
{
    const struct model *d = &models[m->model];
    int count = m->area->site->opt.devices; /* 16 bits must hold all their addresses */

    sim_buf_printf(b,
                   "{\"date_code\":\"\",\"definition\":{\"description\":\"%s\","
                   "\"exposes\":[",
                   d->description);
    if (exposes) {
        describe_exposes(d, b);
    }
    sim_buf_printf(b,
                   "],\"model\":\"%s\",\"options\":[],\"source\":\"native\","
                   "\"supports_ota\":%s,\"vendor\":\"Tongou\",\"version\":\"0.0.0\"},"
                   "\"disabled\":false,\"endpoints\":{\"1\":{\"bindings\":[],"
                   "\"clusters\":{\"input\":[%s],\"output\":[\"genOta\",\"genTime\"]},"
                   "\"configured_reportings\":[],\"scenes\":[]}},",
                   d->name, d->ota ? "true" : "false", d->clusters);
    sim_buf_printf(b,
                   "\"friendly_name\":\"%s\",\"ieee_address\":\"%s\","
                   "\"interview_completed\":true,\"interview_state\":\"SUCCESSFUL\","
                   "\"interviewing\":false,\"manufacturer\":\"%s\",\"model_id\":\"%s\","
                   "\"network_address\":%d,\"power_source\":\"Mains (single phase)\","
                   "\"supported\":true,\"type\":\"Router\"}",
                   m->name, m->ieee, d->manufacturer, d->zigbee_model,
                   0x1000 + m->index * (count <= 8000 ? 7 : 3) + m->area->number);
}

/* By friendly name or by address. The usual name carries the index, which spares the
 * search. */
struct sim_meter *sim_meter_find(struct sim_area *a, const char *name, size_t len)
{
    int area, index;

    if (len < SIM_NAME_MAX) {
        char text[SIM_NAME_MAX];

        memcpy(text, name, len);
        text[len] = '\0';
        if (sscanf(text, "a%3d-m%6d", &area, &index) == 2 && area == a->number &&
            index >= 0 && index < a->site->opt.devices) {
            struct sim_meter *m = &a->meters[index];

            if (!m->removed && strcmp(m->name, text) == 0) {
                return m;
            }
        }
    }
    for (int i = 0; i < a->site->opt.devices; i++) {
        struct sim_meter *m = &a->meters[i];

        if (!m->removed &&
            ((strlen(m->name) == len && memcmp(m->name, name, len) == 0) ||
             (strlen(m->ieee) == len && memcmp(m->ieee, name, len) == 0))) {
            return m;
        }
    }
    return NULL;
}

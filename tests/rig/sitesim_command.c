/* /set and /get: how a command becomes a frame, and how its result is reported.
 *
 * Seen on 2.14.1, ON/OFF to a Zigbee (ZCL) switch: the default response republishes the
 * OLD state with a fresh last_seen, 0.05-0.9 ms later the new state follows with the same
 * last_seen, 21 ms later the device's own report. To a Tuya meter: first the new state
 * with the OLD last_seen, 22 ms later the device's report. */
#include "sitesim.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { VALUE_OFF, VALUE_ON, VALUE_TOGGLE, VALUE_MASK = 3, LAST_TRY = 4 };
enum { REPORT_AFTER_MS = 20 };

/* ---- what the device does ---- */

static void unreachable(struct sim_area *a, struct sim_meter *m, const char *verb,
                        int value)
{
    const char *reason = "failed (Data request failed with error: 'NWK_NO_ROUTE' (0xcd))";
    const char *flags =
        "\"disableResponse\":false,\"disableRecovery\":false,"
        "\"disableDefaultResponse\":false,\"direction\":0,"
        "\"reservedBits\":0,\"writeUndiv\":false";
    static const char *const names[] = {"off", "on", "toggle", "toggle"};

    a->refused++;
    if (strcmp(verb, "get") == 0) {
        sim_bridge_error(a,
                         "z2m: Publish 'get' 'state' to '%s' failed: 'Error: ZCL command "
                         "%s/1 genOnOff.read([\"onOff\"], {\"timeout\":10000,%s}) %s'",
                         m->name, m->ieee, flags, reason);
    } else if (sim_model_is_tuya(m->model)) {
        sim_bridge_error(
            a,
            "z2m: Publish 'set' 'state' to '%s' failed: 'Error: ZCL command "
            "%s/1 manuSpecificTuya.dataRequest({\"seq\":1,\"dpValues\":[{"
            "\"dp\":16,\"datatype\":1,\"data\":{\"type\":\"Buffer\",\"data\":"
            "[%d]}}]}, {\"timeout\":10000,%s}) %s'",
            m->name, m->ieee, value & 1, flags, reason);
    } else {
        sim_bridge_error(a,
                         "z2m: Publish 'set' 'state' to '%s' failed: 'Error: ZCL command "
                         "%s/1 genOnOff.%s({}, {\"timeout\":10000,%s}) %s'",
                         m->name, m->ieee, names[value & VALUE_MASK], flags, reason);
    }
}

static void publish_again(struct sim_area *a, struct sim_meter *m, int value)
{
    (void)a;
    (void)value;
    sim_bridge_state(m);
}

static void device_report(struct sim_area *a, struct sim_meter *m, int value)
{
    (void)value;
    if (!m->reachable) {
        return;
    }
    sim_meter_hear(m, SIM_HEAR_STATE);
    sim_bridge_state(m);
    if (sim_model_is_tuya(m->model)) {
        sim_later(a, m, 0, (uint64_t)sim_random_int(a->site, 0, 2), publish_again);
    }
}

/* `optimistic`: Z2M publishes what it asked for, before the device reports it. */
static void publish_wanted(struct sim_area *a, struct sim_meter *m, int value)
{
    (void)a;
    m->seen.on = value == VALUE_ON;
    sim_bridge_state(m);
}

static void carry_out(struct sim_area *a, struct sim_meter *m, bool on)
{
    struct sim_site *s = a->site;
    bool stale = sim_random_unit(s) < s->opt.stale_prob;
    int gap_ms = 0;

    sim_site_log(m, on);
    sim_meter_switch(m, on, false);
    if (!sim_model_is_tuya(m->model) || s->opt.one_frame) {
        m->seen.last_seen_ms = sim_wall_ms(s);
    }
    if (stale) {
        sim_bridge_state(m);
        gap_ms = sim_random_int(s, 0, 1);
    }
    if (gap_ms == 0) {
        publish_wanted(a, m, on ? VALUE_ON : VALUE_OFF);
    } else {
        sim_later(a, m, on ? VALUE_ON : VALUE_OFF, (uint64_t)gap_ms, publish_wanted);
    }
    if (!s->opt.one_frame) {
        sim_later(a, m, 0, REPORT_AFTER_MS, device_report);
    }
}

static void set_arrives(struct sim_area *a, struct sim_meter *m, int value)
{
    int wanted = value & VALUE_MASK;

    if (!m->reachable) {
        if (value & LAST_TRY) {
            unreachable(a, m, "set", value);
        } else {
            sim_later(a, m, value | LAST_TRY, (uint64_t)a->site->opt.unreachable_ms,
                      set_arrives);
        }
        return;
    }
    carry_out(a, m, wanted == VALUE_TOGGLE ? !m->on : wanted == VALUE_ON);
}

static void get_arrives(struct sim_area *a, struct sim_meter *m, int value)
{
    if (!m->reachable) {
        if (value & LAST_TRY) {
            unreachable(a, m, "get", 0);
        } else {
            sim_later(a, m, LAST_TRY, (uint64_t)a->site->opt.unreachable_ms, get_arrives);
        }
        return;
    }
    sim_meter_hear(m, SIM_HEAR_STATE | SIM_HEAR_METER);
    sim_bridge_state(m);
}

/* Frames to one device leave in order, whatever the jitter. */
static void send_frame(struct sim_area *a, struct sim_meter *m, int value, sim_job_fn fn)
{
    uint64_t now = uv_now(&a->site->loop);
    int delay_ms = a->site->opt.set_delay_ms;
    uint64_t due;

    due = now + (uint64_t)(delay_ms + sim_random_int(a->site, 0, delay_ms / 2));
    if (due < m->busy_until_ms) {
        due = m->busy_until_ms;
    }
    m->busy_until_ms = due;
    sim_later(a, m, value, due - now, fn);
}

/* ---- what the bridge makes of a message ---- */

static void set_state(struct sim_area *a, struct sim_meter *m, const char *text)
{
    static const char *const names[] = {"OFF", "ON", "TOGGLE"};
    bool tuya = sim_model_is_tuya(m->model);
    char lower[32];
    size_t i;

    for (int v = 0; text != NULL && v < (tuya ? VALUE_TOGGLE : VALUE_MASK); v++) {
        if (strcasecmp(text, names[v]) == 0) {
            m->sets++;
            send_frame(a, m, v, set_arrives);
            return;
        }
    }
    a->refused++;
    if (tuya) {
        sim_bridge_error(
            a,
            "z2m: Publish 'set' 'state' to '%s' failed: 'Error: Key '%s' not "
            "found in: [ON, OFF]'",
            m->name, text != NULL ? text : "null");
        return;
    }
    (void)snprintf(lower, sizeof lower, "%s", text != NULL ? text : "null");
    for (i = 0; lower[i] != '\0'; i++) {
        lower[i] = (char)tolower((unsigned char)lower[i]);
    }
    sim_bridge_error(
        a,
        "z2m: Publish 'set' 'state' to '%s' failed: 'Error: '%s' not allowed, "
        "choose between: toggle,off,on'",
        m->name, lower);
}

static void set_key(struct sim_area *a, struct sim_meter *m, const char *key,
                    json_t *value)
{
    char *text;

    if (strcmp(key, "state") == 0) {
        set_state(a, m, json_string_value(value));
        return;
    }
    a->refused++;
    text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    sim_bridge_error(a, "z2m: No converter available for '%s' on '%s': (%s)", key,
                     m->name, text != NULL ? text : "");
    free(text);
}

static bool bare_state(const char *payload, size_t len)
{
    static const char *const known[] = {"ON", "OFF", "TOGGLE"};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strlen(known[i]) == len && strncasecmp(known[i], payload, len) == 0) {
            return true;
        }
    }
    return false;
}

static void handle_set(struct sim_area *a, struct sim_meter *m, const char *attribute,
                       const char *payload, size_t len)
{
    json_t *o = json_loadb(payload, len, JSON_DECODE_ANY, NULL);
    const char *key;
    json_t *value;

    if (attribute[0] != '\0' || (o == NULL && bare_state(payload, len))) {
        if (o == NULL || !json_is_string(o)) {
            json_decref(o);
            o = json_stringn(payload, len);
        }
        if (o != NULL) {
            set_key(a, m, attribute[0] != '\0' ? attribute : "state", o);
        }
    } else if (!json_is_object(o)) {
        a->refused++;
        sim_bridge_error(a, "z2m: Invalid message 'undefined', skipping...");
    } else {
        json_object_foreach(o, key, value)
        {
            set_key(a, m, key, value);
        }
    }
    json_decref(o);
}

static void handle_get(struct sim_area *a, struct sim_meter *m)
{
    if (sim_model_is_tuya(m->model)) { /* It reports by itself and cannot be read. */
        a->refused++;
        sim_bridge_error(a, "z2m: No converter available for 'get' 'state' ()");
        return;
    }
    send_frame(a, m, 0, get_arrives);
}

void sim_command_message(struct sim_area *a, const char *topic, const char *payload,
                         size_t len)
{
    const char *rest, *at;
    struct sim_meter *m;
    bool set;

    if (strncmp(topic, a->base, a->base_len) != 0 || topic[a->base_len] != '/') {
        return;
    }
    rest = topic + a->base_len + 1;
    if (strncmp(rest, "bridge/", 7) == 0) {
        if (strncmp(rest + 7, "request/", 8) != 0) {
            return;
        }
        if (a->ready) {
            sim_request(a, rest + 15, payload, len);
        } else {
            a->dropped_not_ready++;
        }
        return;
    }
    /* Most of what arrives is our own echo: `#` includes what we publish. */
    for (at = strchr(rest, '/'); at != NULL; at = strchr(at + 1, '/')) {
        if ((strncmp(at, "/set", 4) == 0 || strncmp(at, "/get", 4) == 0) &&
            (at[4] == '\0' || at[4] == '/')) {
            break;
        }
    }
    if (at == NULL) {
        return;
    }
    set = at[1] == 's';
    *(set ? &a->sets_received : &a->gets_received) += 1;
    if (!a->ready) {
        a->dropped_not_ready++;
        return;
    }
    m = sim_meter_find(a, rest, (size_t)(at - rest));
    if (m == NULL) {
        a->refused++;
        sim_bridge_error(a, "z2m: Entity '%.*s' is unknown", (int)(at - rest), rest);
    } else if (set) {
        handle_set(a, m, at[4] == '/' ? at + 5 : "", payload, len);
    } else {
        handle_get(a, m);
    }
}

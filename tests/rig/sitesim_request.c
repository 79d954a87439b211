/* bridge/request/X -> bridge/response/X. A request Zigbee2MQTT does not know gets no
 * response, nor does one we do not play (backup, group/..., touchlink/...). */
#include "sitesim.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request
{
    struct sim_area *area;
    const char *what;
    json_t *args; /* an object, perhaps an empty one */
    json_t *data;
    char error[128];
    bool restart;
};

static const char *text_of(const struct request *r, const char *key)
{
    const char *text = json_string_value(json_object_get(r->args, key));

    return text != NULL ? text : "";
}

static struct sim_meter *device_of(struct request *r, const char *key)
{
    const char *name = text_of(r, key);
    struct sim_meter *m;

    if (name[0] == '\0') {
        (void)snprintf(r->error, sizeof r->error, "Invalid payload");
        return NULL;
    }
    m = sim_meter_find(r->area, name, strlen(name));
    if (m == NULL) {
        (void)snprintf(r->error, sizeof r->error, "Device '%.80s' does not exist", name);
    }
    return m;
}

static void health_check(struct request *r)
{
    (void)json_object_set_new(r->data, "healthy", json_true());
}

static void permit_join(struct request *r)
{
    json_t *time = json_object_get(r->args, "time");

    if (!json_is_integer(time)) {
        (void)snprintf(r->error, sizeof r->error, "Invalid payload");
        return;
    }
    r->area->permit_join = json_integer_value(time) > 0;
    sim_bridge_info(r->area);
    (void)json_object_set(r->data, "time", time);
}

static void clear_topics(struct sim_meter *m, bool availability)
{
    char suffix[SIM_SUFFIX_MAX];

    sim_bridge_publish(m->area, m->name, "", 0, 0, m->area->site->opt.retain);
    if (availability) {
        (void)snprintf(suffix, sizeof suffix, "%s/availability", m->name);
        sim_bridge_publish(m->area, suffix, "", 0, 1, true);
    }
}

/* Names go into JSON and topics unescaped, so only plain ones are taken. */
static bool plain_name(const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)name[i]) && strchr("-_. /", name[i]) == NULL) {
            return false;
        }
    }
    return len > 0 && len < SIM_NAME_MAX;
}

static void device_rename(struct request *r)
{
    struct sim_meter *m = device_of(r, "from");
    const char *to = text_of(r, "to");

    if (m == NULL) {
        return;
    }
    if (!plain_name(to)) {
        (void)snprintf(r->error, sizeof r->error, "Invalid payload");
        return;
    }
    if (sim_meter_find(r->area, to, strlen(to)) != NULL) {
        (void)snprintf(r->error, sizeof r->error,
                       "friendly_name '%.60s' is already in use", to);
        return;
    }
    clear_topics(m, true);
    (void)snprintf(m->name, sizeof m->name, "%s", to);
    sim_bridge_devices(r->area);
    sim_bridge_info(r->area);
    sim_bridge_state(m);
    sim_bridge_availability(m, m->available);
    (void)json_object_set(r->data, "from", json_object_get(r->args, "from"));
    (void)json_object_set_new(r->data, "homeassistant_rename", json_false());
    (void)json_object_set_new(r->data, "to", json_string(to));
}

/* The retained availability stays behind, as it does with the real one. */
static void device_remove(struct request *r)
{
    struct sim_meter *m = device_of(r, "id");

    if (m == NULL) {
        return;
    }
    clear_topics(m, false);
    m->removed = true;
    sim_bridge_devices(r->area);
    sim_bridge_info(r->area);
    (void)json_object_set_new(r->data, "block", json_false());
    (void)json_object_set_new(r->data, "force", json_false());
    (void)json_object_set(r->data, "id", json_object_get(r->args, "id"));
}

static void device_echo(struct request *r)
{
    if (device_of(r, "id") != NULL) {
        (void)json_object_set(r->data, "id", json_object_get(r->args, "id"));
    }
}

static void device_options(struct request *r)
{
    if (device_of(r, "id") == NULL) {
        return;
    }
    (void)json_object_set(r->data, "id", json_object_get(r->args, "id"));
    (void)json_object_set_new(r->data, "restart_required", json_false());
    (void)json_object_set(r->data, "to", json_object_get(r->args, "options"));
    sim_bridge_info(r->area);
    sim_bridge_devices(r->area);
}

static void options(struct request *r)
{
    (void)json_object_set_new(r->data, "restart_required", json_false());
    sim_bridge_info(r->area);
}

static void restart(struct request *r)
{
    r->restart = true;
}

static const struct
{
    const char *what;
    void (*handle)(struct request *r);
} handlers[] = {
    {"health_check", health_check},
    {"permit_join", permit_join},
    {"device/rename", device_rename},
    {"device/remove", device_remove},
    {"device/configure", device_echo},
    {"device/interview", device_echo},
    {"device/options", device_options},
    {"options", options},
    {"restart", restart},
};

static void respond(struct request *r)
{
    json_t *o = json_object();
    json_t *transaction = json_object_get(r->args, "transaction");
    char suffix[SIM_SUFFIX_MAX];
    char *text;

    if (r->error[0] != '\0') {
        sim_bridge_error(r->area,
                         "z2m: Request '%s/bridge/request/%s' failed with error: '%s'",
                         r->area->base, r->what, r->error);
        (void)json_object_clear(r->data);
    }
    (void)json_object_set(o, "data", r->data);
    if (r->error[0] != '\0') {
        (void)json_object_set_new(o, "error", json_string(r->error));
    }
    (void)json_object_set_new(o, "status",
                              json_string(r->error[0] != '\0' ? "error" : "ok"));
    if (transaction != NULL) {
        (void)json_object_set(o, "transaction", transaction);
    }
    text = json_dumps(o, JSON_COMPACT);
    if (text != NULL) {
        (void)snprintf(suffix, sizeof suffix, "bridge/response/%s", r->what);
        sim_bridge_publish(r->area, suffix, text, strlen(text), 0, false);
    }
    free(text);
    json_decref(o);
}

/* Not from inside libmosquitto's callback: a restart destroys the client. */
static void restart_now(struct sim_area *a, struct sim_meter *m, int value)
{
    (void)m;
    (void)value;
    sim_bridge_stop(a, SIM_TERM);
    sim_bridge_start(a, false);
}

void sim_request(struct sim_area *a, const char *what, const char *payload, size_t len)
{
    struct request r = {.area = a, .what = what};
    json_t *args =
        len > 0 ? json_loadb(payload, len, JSON_DECODE_ANY, NULL) : json_object();

    for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
        if (strcmp(handlers[i].what, what) != 0) {
            continue;
        }
        r.data = json_object();
        r.args = json_is_object(args) ? json_incref(args) : json_object();
        if (args == NULL) {
            (void)snprintf(r.error, sizeof r.error, "Invalid payload");
        } else {
            handlers[i].handle(&r);
        }
        respond(&r);
        json_decref(r.data);
        json_decref(r.args);
        if (r.restart) {
            sim_later(a, NULL, 0, 0, restart_now);
        }
        break;
    }
    json_decref(args);
}

/* Zigbee2MQTT's configuration, as bridge/info shows it: what of it costs us something,
 * said once, with the mend, until it is mended. And two of them on one base topic, which
 * no configuration shows: each overwrites what the other says of itself. */

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "adapters/z2m/impl.h"

enum {
    START_SLACK_MS = 5000, /* Of the start of a process, as its health tells it. */
    ALONE_AFTER = 3,       /* So many times in a row the same one. */
    TIMEOUT_MAX_MIN = 100000
};

static const char *string_at(const json_t *json, const char *object, const char *key)
{
    const char *s =
        json_string_value(json_object_get(json_object_get(json, object), key));

    return s != NULL ? s : "";
}

static bool is_off(const json_t *json, const char *object, const char *key)
{
    return json_is_false(json_object_get(json_object_get(json, object), key));
}

static bool is_on(const json_t *json, const char *object, const char *key)
{
    return json_is_true(json_object_get(json_object_get(json, object), key));
}

static void say(struct ad_z2m *z, bool bad, enum ad_z2m_sentence number, const char *text)
{
    if (bad) {
        ad_z2m_tell(z, number, 0, "area %s: Zigbee2MQTT %s", ad_z2m_area_name(z), text);
    } else {
        ad_z2m_mended(z, number, 0);
    }
}

static void check_states(struct ad_z2m *z, const json_t *config)
{
    const json_t *qos = json_object_get(json_object_get(config, "device_options"), "qos");
    const char *last_seen = string_at(config, "advanced", "last_seen");
    const char *output = string_at(config, "advanced", "output");

    z->has_qos = json_number_value(qos) >= 1;
    z->has_last_seen = last_seen[0] != '\0' && strcmp(last_seen, "disable") != 0;
    say(z, !z->has_qos, AD_Z2M_QOS,
        "publishes states at QoS 0, so a message is lost when a node dies with it; set "
        "device_options: {qos: 1}");
    if (!z->has_qos) {
        ad_z2m_mended(z, AD_Z2M_QOS_DEVICE, 0); /* They all do. */
    }
    say(z, !z->has_last_seen, AD_Z2M_LAST_SEEN,
        "does not say when a device was last seen, so a reading repeated after a restart "
        "counts as new; set advanced: {last_seen: ISO_8601}");
    say(z,
        output[0] != '\0' && strcmp(output, "json") != 0 &&
            strcmp(output, "attribute_and_json") != 0,
        AD_Z2M_OUTPUT,
        "publishes each attribute by itself, which is not read here; set advanced: "
        "{output: json}");
}

/* How long the most patient setting waits for a device, in minutes; 0: not told. */
static double timeout_of(const json_t *availability, double at_least)
{
    const json_t *active = json_object_get(availability, "active");
    double min = json_number_value(
        json_object_get(active != NULL ? active : availability, "timeout"));

    return min > at_least && min < TIMEOUT_MAX_MIN ? min : at_least;
}

static void check_availability(struct ad_z2m *z, json_t *config)
{
    const json_t *avail = json_object_get(config, "availability");
    const json_t *enabled =
        json_is_object(avail) ? json_object_get(avail, "enabled") : avail;
    double timeout_min = timeout_of(avail, 0);
    const char *key;
    json_t *device;

    json_object_foreach(json_object_get(config, "devices"), key, device)
    {
        timeout_min = timeout_of(json_object_get(device, "availability"), timeout_min);
    }
    z->timeout_ms = (uint64_t)(timeout_min * 60000);
    say(z, !json_is_true(enabled), AD_Z2M_AVAILABILITY,
        "does not watch which devices are there, so a dead meter looks alive; set "
        "availability: {enabled: true}");
}

static void check_cache(struct ad_z2m *z, const json_t *config)
{
    bool off = is_off(config, "advanced", "cache_state");
    bool silent = is_off(config, "advanced", "cache_state_send_on_startup");

    z->no_cache = off || silent;
    say(z, off, AD_Z2M_CACHE,
        "publishes of a state only what has changed, so a row has gaps and a message "
        "that "
        "is lost is not made good by the next; set advanced: {cache_state: true}");
    /* What is retained, is repeated by the broker instead. */
    say(z, silent && !off && !is_on(config, "device_options", "retain"),
        AD_Z2M_CACHE_START,
        "does not say what its devices last were when it starts, so what was missed is "
        "made good only by each device's next report; set advanced: "
        "{cache_state_send_on_startup: true}");
}

static void check_base(struct ad_z2m *z, const json_t *config)
{
    const char *base = string_at(config, "mqtt", "base_topic");

    if (base[0] != '\0' && strcmp(base, ad_z2m_base(z)) != 0) {
        ad_z2m_tell(z, AD_Z2M_BASE, 0,
                    "area %s: Zigbee2MQTT says its base topic is %s, but its messages "
                    "came on %s; give area and mqtt: base_topic the same",
                    ad_z2m_area_name(z), base, ad_z2m_base(z));
    } else {
        ad_z2m_mended(z, AD_Z2M_BASE, 0);
    }
}

static void check_rest(struct ad_z2m *z, const json_t *config)
{
    const char *level = string_at(config, "advanced", "log_level");
    char text[128];

    say(z, is_on(config, "mqtt", "force_disable_retain"), AD_Z2M_RETAIN,
        "retains nothing at the broker, so who relieves does not learn which devices "
        "there are; set mqtt: {force_disable_retain: false}");
    (void)snprintf(text, sizeof text,
                   "logs at level %s, and repeats every message it publishes on "
                   "bridge/logging; set advanced: {log_level: warning}",
                   strcmp(level, "info") == 0 ? level : "debug");
    say(z, strcmp(level, "info") == 0 || strcmp(level, "debug") == 0, AD_Z2M_LOG, text);
}

void ad_z2m_settings(struct ad_z2m *z, const void *payload, size_t len)
{
    json_t *json = json_loadb(payload, len, JSON_DECODE_INT_AS_REAL, NULL);
    json_t *config = json_object_get(json, "config");

    if (json_is_object(config)) {
        check_states(z, config);
        check_availability(z, config);
        check_cache(z, config);
        check_base(z, config);
        check_rest(z, config);
    }
    ad_z2m_coordinator(z,
                       ad_z2m_parse_ieee(string_at(json, "coordinator", "ieee_address")));
    json_decref(json);
}

/* --- QoS of single devices --- */

void ad_z2m_qos(struct ad_z2m *z, const struct ad_z2m_device *d,
                const struct rp_message *m)
{
    const struct ad_z2m_device *example = ad_z2m_names_ieee(&z->names, z->qos0_ieee);

    if (m->retained || !z->has_qos) {
        return;
    }
    if (z->qos0_ieee != 0 && (example == NULL || (example == d && m->qos > 0))) {
        z->qos0_ieee = 0;
        ad_z2m_mended(z, AD_Z2M_QOS_DEVICE, 0);
    }
    if (m->qos == 0 && z->qos0_ieee == 0) {
        z->qos0_ieee = d->ieee;
        ad_z2m_tell(z, AD_Z2M_QOS_DEVICE, 0,
                    "area %s: states of '%s' come at QoS 0 although device_options says "
                    "more; take qos out of the options of this device and others like it",
                    ad_z2m_area_name(z), d->name);
    }
}

/* --- two on one base topic --- */

static bool near(uint64_t a, uint64_t b, uint64_t slack)
{
    return (a > b ? a - b : b - a) <= slack;
}

/* Is @value the one before the last, come again? */
static bool takes_turns(struct ad_z2m_turns *t, uint64_t value, uint64_t slack)
{
    bool again = t->before != 0 && near(value, t->before, slack);

    if (near(value, t->now, slack)) {
        t->now = value; /* A clock is set little by little. */
        t->run++;
        return false;
    }
    *t = (struct ad_z2m_turns){.now = value, .before = t->now, .run = 1};
    return again;
}

/* @a and @b are what tells them apart. */
static void tell_twins(struct ad_z2m *z, const char *what, const char *a, const char *b)
{
    if (!ad_z2m_is_told(z, AD_Z2M_TWINS, 0)) {
        ad_z2m_tell(z, AD_Z2M_TWINS, 0,
                    "area %s: two Zigbee2MQTT publish on %s (%s %s and %s) and overwrite "
                    "each other; stop one, or give it a base_topic of its own",
                    ad_z2m_area_name(z), ad_z2m_base(z), what, a, b);
    }
}

void ad_z2m_coordinator(struct ad_z2m *z, uint64_t ieee)
{
    char a[24];
    char b[24];

    if (ieee != 0 && takes_turns(&z->coordinator, ieee, 0)) {
        (void)snprintf(a, sizeof a, "0x%016llx",
                       (unsigned long long)z->coordinator.before);
        (void)snprintf(b, sizeof b, "0x%016llx", (unsigned long long)z->coordinator.now);
        z->process.run = 0;
        tell_twins(z, "coordinators", a, b);
    }
}

static const char *when(uint64_t ms, char text[32])
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;

    if (gmtime_r(&s, &tm) == NULL || strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) {
        text[0] = '\0';
    }
    return text;
}

static void look_at_process(struct ad_z2m *z, uint64_t start_ms)
{
    char before[32];
    char now[32];

    if (takes_turns(&z->process, start_ms, START_SLACK_MS)) {
        tell_twins(z, "started", when(z->process.before, before),
                   when(z->process.now, now));
    } else if (z->process.run == ALONE_AFTER) {
        z->process.before = 0;
        z->coordinator.before = 0;
        ad_z2m_mended(z, AD_Z2M_TWINS, 0);
    }
}

void ad_z2m_health(struct ad_z2m *z, const struct rp_message *m)
{
    json_t *json = m->len <= AD_Z2M_INFO_MAX
                       ? json_loadb(m->payload, m->len, JSON_DECODE_INT_AS_REAL, NULL)
                       : NULL;
    const json_t *uptime =
        json_object_get(json_object_get(json, "process"), "uptime_sec");
    double at_ms = json_number_value(json_object_get(json, "response_time"));
    double start_ms = at_ms - json_number_value(uptime) * 1000;

    /* By the bridge's clock both, whenever it comes. */
    if (json_is_number(uptime) && start_ms > 0 && start_ms < 1e15) {
        look_at_process(z, (uint64_t)start_ms);
    }
    json_decref(json);
}

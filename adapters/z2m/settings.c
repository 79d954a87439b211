/* Zigbee2MQTT's configuration, as bridge/info shows it: what of it costs us
 * something, said once, with the mend. */

#include <jansson.h>
#include <string.h>

#include "adapters/z2m/impl.h"

enum {
    TOLD_QOS = 1,
    TOLD_LAST_SEEN = 2,
    TOLD_AVAIL = 4,
    TOLD_OUTPUT = 8,
    TOLD_BASE = 16,
    TOLD_LOG = 32
};

static bool first(struct ad_z2m *z, uint32_t what)
{
    bool yes = (z->told & what) == 0;

    z->told |= what;
    return yes;
}

static const char *string_at(const json_t *json, const char *object, const char *key)
{
    const char *s =
        json_string_value(json_object_get(json_object_get(json, object), key));

    return s != NULL ? s : "";
}

static void check_qos(struct ad_z2m *z, const json_t *config)
{
    const json_t *qos = json_object_get(json_object_get(config, "device_options"), "qos");

    if (json_number_value(qos) < 1 && first(z, TOLD_QOS)) {
        ad_z2m_note_setting(
            z, NULL,
            "area %s: Zigbee2MQTT publishes states at QoS 0, so a message "
            "is lost when a node dies with it; set device_options: {qos: 1}",
            ad_z2m_area_name(z));
    }
}

static void check_last_seen(struct ad_z2m *z, const json_t *config)
{
    const char *last_seen = string_at(config, "advanced", "last_seen");

    if ((last_seen[0] == '\0' || strcmp(last_seen, "disable") == 0) &&
        first(z, TOLD_LAST_SEEN)) {
        ad_z2m_note_setting(
            z, NULL,
            "area %s: Zigbee2MQTT does not say when a device was last seen, "
            "so a reading repeated after a restart counts as new; set "
            "advanced: {last_seen: ISO_8601}",
            ad_z2m_area_name(z));
    }
}

static void check_availability(struct ad_z2m *z, const json_t *config)
{
    const json_t *avail = json_object_get(config, "availability");
    const json_t *enabled =
        json_is_object(avail) ? json_object_get(avail, "enabled") : avail;

    if (!json_is_true(enabled) && first(z, TOLD_AVAIL)) {
        ad_z2m_note_setting(
            z, NULL,
            "area %s: Zigbee2MQTT does not watch which devices are there, so "
            "a dead meter looks alive; set availability: {enabled: true}",
            ad_z2m_area_name(z));
    }
}

static void check_output(struct ad_z2m *z, const json_t *config)
{
    const char *output = string_at(config, "advanced", "output");

    if (output[0] != '\0' && strcmp(output, "json") != 0 &&
        strcmp(output, "attribute_and_json") != 0 && first(z, TOLD_OUTPUT)) {
        ad_z2m_note_setting(
            z, NULL,
            "area %s: Zigbee2MQTT publishes each attribute by itself, which "
            "is not read here; set advanced: {output: json}",
            ad_z2m_area_name(z));
    }
}

static void check_base(struct ad_z2m *z, const json_t *config)
{
    const char *base = string_at(config, "mqtt", "base_topic");

    if (base[0] != '\0' && strcmp(base, ad_z2m_base(z)) != 0 && first(z, TOLD_BASE)) {
        ad_z2m_note_setting(
            z, NULL,
            "area %s: Zigbee2MQTT says its base topic is %s, but its messages "
            "came on %s; give area and mqtt: base_topic the same",
            ad_z2m_area_name(z), base, ad_z2m_base(z));
    }
}

static void check_log(struct ad_z2m *z, const json_t *config)
{
    const char *level = string_at(config, "advanced", "log_level");

    if ((strcmp(level, "info") == 0 || strcmp(level, "debug") == 0) &&
        first(z, TOLD_LOG)) {
        ad_z2m_note_setting(
            z, NULL,
            "area %s: Zigbee2MQTT logs at level %s, and repeats every message "
            "it publishes on bridge/logging; set advanced: {log_level: "
            "warning}",
            ad_z2m_area_name(z), level);
    }
}

void ad_z2m_settings(struct ad_z2m *z, const void *payload, size_t len)
{
    json_t *json = json_loadb(payload, len, JSON_DECODE_INT_AS_REAL, NULL);
    const json_t *config = json_object_get(json, "config");

    if (json_is_object(config)) {
        check_qos(z, config);
        check_last_seen(z, config);
        check_availability(z, config);
        check_output(z, config);
        check_base(z, config);
        check_log(z, config);
    }
    json_decref(json);
}

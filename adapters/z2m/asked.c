/* What the bridge is asked, read back: the broker delivers it in its order, before
 * anything that the bridge can answer. */

#include <jansson.h>
#include <string.h>
#include <strings.h>

#include "adapters/z2m/impl.h"

static const char *value_of(const char *s, size_t len)
{
    return len == 2 && strncasecmp(s, "ON", len) == 0    ? "ON"
           : len == 3 && strncasecmp(s, "OFF", len) == 0 ? "OFF"
                                                         : NULL;
}

/* {"state": "ON"} or plain ON; anything else is not about the switch. */
static const char *parse(const char *payload, size_t len)
{
    const char *value;
    const char *s;
    json_t *json;

    if (len == 0 || len > AD_Z2M_STATE_MAX) {
        return NULL;
    }
    if (payload[0] != '{') {
        return value_of(payload, len);
    }
    json = json_loadb(payload, len, JSON_DECODE_INT_AS_REAL, NULL);
    s = json_string_value(json_object_get(json, "state"));
    value = s != NULL ? value_of(s, strlen(s)) : NULL;
    json_decref(json);
    return value;
}

/* The bridge knows a device by its address, too. */
static const struct ad_z2m_device *device(const struct ad_z2m *z, const char *name,
                                          size_t len)
{
    const struct ad_z2m_device *d = ad_z2m_names_find(&z->names, name, len);
    char ieee[24];

    if (d != NULL || len >= sizeof ieee) {
        return d;
    }
    memcpy(ieee, name, len);
    ieee[len] = '\0';
    return ad_z2m_names_ieee(&z->names, ad_z2m_parse_ieee(ieee));
}

void ad_z2m_asked(struct ad_z2m *z, const struct rp_message *m, const char *name,
                  size_t len)
{
    const struct ad_z2m_device *d = device(z, name, len);
    const char *value;

    if (d == NULL || d->ieee == 0 || m->retained) {
        return;
    }
    value = parse(m->payload, m->len);
    if (value != NULL) {
        ad_z2m_note_asked(z, m, d->ieee, value);
    }
}

/* bridge/logging: what the bridge says of a command that it could not carry out. It is
 * the only answer there is, it comes at QoS 0, and what would repeat the line before
 * is left out. As seen with 2.14.1, each behind "z2m: ":
 *
 *   Publish 'set' 'state' to 'pitch 1' failed: 'Error: ZCL command 0xa4c1380100010000/1
 *     genOnOff.off({}, {"timeout":10000,...}) failed (Data request failed with error:
 *     'NWK_NO_ROUTE' (0xcd))'                             17.1 s later: try again
 *   Publish 'set' 'state' to 'pitch 1' failed: 'Error: 'foo' not allowed, choose
 *     between: toggle,off,on'                             of no use, like all that follow
 *   Publish 'set' 'state' to 'pitch 3' failed: 'Error: Key 'FOO' not found in: [ON, OFF]'
 *   No converter available for 'state' on 'pitch 1': ("ON")
 *   Cannot publish to unsupported device 'pitch 1'
 *   Entity 'pitch 1' is unknown
 *
 * What is of no use is said at once, before any frame leaves, so it is never about a
 * command of long ago. When a device is renamed or removed the new list comes before
 * "is unknown": who is still listed by that name is unknown for another reason. */

#include <jansson.h>
#include <string.h>

#include "adapters/z2m/impl.h"

struct failure
{
    const struct ad_z2m_device *device;
    bool final;
    bool has_value;
    char property[RP_PROP_SIZE]; /* "": any */
    char value[RP_VALUE_SIZE];
    struct ad_z2m_text reason;
};

/* The text between @open and the next @close; @s moves behind it. */
static bool between(const char **s, const char *open, const char *close,
                    struct ad_z2m_text *ret)
{
    const char *start = strstr(*s, open);
    const char *end;

    if (start == NULL) {
        return false;
    }
    start += strlen(open);
    end = strstr(start, close);
    if (end == NULL) {
        return false;
    }
    *ret = (struct ad_z2m_text){start, (size_t)(end - start)};
    *s = end + strlen(close);
    return true;
}

static bool begins(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

static bool copy(struct ad_z2m_text t, char *to, size_t size)
{
    if (t.n >= size) {
        return false;
    }
    memcpy(to, t.p, t.n);
    to[t.n] = '\0';
    return true;
}

static const struct ad_z2m_device *device_of(const struct ad_z2m *z, struct ad_z2m_text t)
{
    const struct ad_z2m_device *d = ad_z2m_names_find(&z->names, t.p, t.n);

    return d != NULL && d->ieee != 0 ? d : NULL;
}

static bool take_value(struct failure *f, struct ad_z2m_text value)
{
    f->has_value = copy(value, f->value, sizeof f->value);
    return f->has_value;
}

/* Does the device refuse this value, whoever asks for it? */
static bool is_refusal(struct failure *f, const char *why)
{
    struct ad_z2m_text value;
    const char *s = why;

    if (begins(why, "'") && between(&s, "'", "' not allowed, choose", &value)) {
        return take_value(f, value);
    }
    if (begins(why, "Key '") && between(&s, "Key '", "' not found in: ", &value)) {
        return take_value(f, value);
    }
    return begins(why, "Value '") &&
           between(&s, "Value '", "' is not allowed, expected", &value) &&
           take_value(f, value);
}

static bool parse_publish(const struct ad_z2m *z, const char *text, struct failure *f)
{
    struct ad_z2m_text property;
    struct ad_z2m_text name;
    const char *s = text;

    if (!between(&s, "Publish 'set' '", "' to '", &property) ||
        !copy(property, f->property, sizeof f->property)) {
        return false;
    }
    s -= 1; /* The quote that opens the name. */
    if (!between(&s, "'", "' failed: '", &name)) {
        return false;
    }
    if (begins(s, "Error: ")) {
        s += sizeof "Error: " - 1;
    }
    f->device = device_of(z, name);
    f->reason = (struct ad_z2m_text){s, strlen(s)};
    if (f->reason.n > 0 && s[f->reason.n - 1] == '\'') {
        f->reason.n--;
    }
    f->final = is_refusal(f, s);
    return true;
}

static bool parse_converter(const struct ad_z2m *z, const char *text, struct failure *f)
{
    struct ad_z2m_text property;
    struct ad_z2m_text name;
    struct ad_z2m_text value;
    const char *s = text;

    if (!between(&s, "No converter available for '", "' on '", &property) ||
        !copy(property, f->property, sizeof f->property)) {
        return false;
    }
    s -= 1;
    if (!between(&s, "'", "': (", &name)) {
        return false;
    }
    value = (struct ad_z2m_text){s, strlen(s)};
    if (value.n < 3 || s[0] != '"' || strcmp(s + value.n - 2, "\")") != 0) {
        return false; /* No text: not one of ours. */
    }
    value = (struct ad_z2m_text){s + 1, value.n - 3};
    f->device = device_of(z, name);
    f->final = true;
    return take_value(f, value);
}

static bool parse_device(const struct ad_z2m *z, const char *text, struct failure *f)
{
    static const char unsupported[] = "Cannot publish to unsupported device '";
    struct ad_z2m_text name;
    const char *s = text;

    if (begins(text, unsupported) && text[strlen(text) - 1] == '\'') {
        s += sizeof unsupported - 1;
        name = (struct ad_z2m_text){s, strlen(s) - (*s != '\0')};
    } else if (!begins(text, "Entity '") ||
               !between(&s, "Entity '", "' is unknown", &name)) {
        return false;
    }
    f->device = device_of(z, name);
    f->final = true;
    return true;
}

static bool parse(const struct ad_z2m *z, const char *text, struct failure *f)
{
    if (!begins(text, "z2m: ")) {
        return false; /* Of the adapter, and the like. */
    }
    text += sizeof "z2m: " - 1;
    *f = (struct failure){.reason = {text, strlen(text)}};
    if (begins(text, "Publish 'set' '")) {
        return parse_publish(z, text, f) && f->device != NULL;
    }
    if (begins(text, "No converter available for '")) {
        return parse_converter(z, text, f) && f->device != NULL;
    }
    return parse_device(z, text, f) && f->device != NULL;
}

/* One line that fits: without the arguments of a Zigbee command, which are longer than
 * what went wrong. */
static void put_reason(struct ad_z2m_text reason, char to[RP_TEXT_SIZE])
{
    static const char behind[] = ") failed (";
    size_t n = 0;

    for (size_t i = 0; i < reason.n && n < RP_TEXT_SIZE - 1; i++) {
        const char *p = reason.p + i;
        const char *end = NULL;

        if (*p == '(' && i + 1 < reason.n && (p[1] == '{' || p[1] == '[')) {
            end = memmem(p, reason.n - i, behind, sizeof behind - 1);
        }
        if (end != NULL) {
            i = (size_t)(end - reason.p);
        } else {
            to[n++] = (unsigned char)*p < ' ' ? ' ' : *p;
        }
    }
    to[n] = '\0';
    ad_z2m_whole(to);
}

static void note_failure(struct ad_z2m *z, const char *text, const struct failure *f)
{
    char reason[RP_TEXT_SIZE];

    put_reason(f->reason, reason);
    z->note_cb(z->note_data, &(struct rp_source_note){
                                 .kind = RP_NOTE_BRIDGE_ERROR,
                                 .area = z->area,
                                 .ieee = f->device->ieee,
                                 .name = f->device->name,
                                 .text = text,
                                 .reason = reason,
                                 .property = f->property[0] != '\0' ? f->property : NULL,
                                 .value = f->has_value ? f->value : NULL,
                                 .final = f->final});
}

void ad_z2m_logging(struct ad_z2m *z, const struct rp_message *m)
{
    json_t *json =
        m->len <= AD_Z2M_STATE_MAX ? json_loadb(m->payload, m->len, 0, NULL) : NULL;
    const char *level = json_string_value(json_object_get(json, "level"));
    const char *text = json_string_value(json_object_get(json, "message"));
    struct failure f;

    /* The log of the bridge is not worth a complaint when it is malformed, and at
     * level info it has a line for every publish. */
    if (level != NULL && text != NULL && strcmp(level, "error") == 0) {
        if (!m->retained && parse(z, text, &f)) {
            note_failure(z, text, &f);
        } else {
            z->note_cb(z->note_data,
                       &(struct rp_source_note){.kind = RP_NOTE_BRIDGE_ERROR,
                                                .area = z->area,
                                                .name = "",
                                                .text = text});
        }
    }
    json_decref(json);
}

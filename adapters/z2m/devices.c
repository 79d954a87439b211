/* bridge/devices: who is there. The whole list comes on every change of any device;
 * only what differs from the last one becomes inputs. A list that is damaged
 * changes nothing: a device must not be gone because of a bad byte. */

#include <stdio.h>
#include <string.h>

#include "adapters/z2m/impl.h"

struct found
{
    uint64_t ieee;
    char type[24];
    char name[RP_NAME_SIZE];
    char model[RP_MODEL_SIZE];
    int name_err;
};

uint64_t ad_z2m_parse_ieee(const char *s)
{
    uint64_t v = 0;

    if (strlen(s) != 18 || s[0] != '0' || s[1] != 'x') {
        return 0;
    }
    for (s += 2; *s != '\0'; s++) {
        if (*s >= '0' && *s <= '9') {
            v = v << 4 | (uint64_t)(*s - '0');
        } else if (*s >= 'a' && *s <= 'f') {
            v = v << 4 | (uint64_t)(*s - 'a' + 10);
        } else if (*s >= 'A' && *s <= 'F') {
            v = v << 4 | (uint64_t)(*s - 'A' + 10);
        } else {
            return 0;
        }
    }
    return v;
}

/* The maker's model of definition (unsupported devices have null there). */
static int take_model(struct ad_z2m_text definition, char *to, size_t size)
{
    struct ad_z2m_scan s;
    struct ad_z2m_text key;
    struct ad_z2m_text value;

    ad_z2m_scan_begin(&s, definition, '{');
    while (ad_z2m_scan_next(&s, &key, &value)) {
        if (ad_z2m_scan_is(key, "model")) {
            return ad_z2m_scan_string(value, to, size);
        }
    }
    return SY_ENOTFOUND;
}

static int take_device(struct ad_z2m_text element, struct found *f)
{
    struct ad_z2m_scan s;
    struct ad_z2m_text key;
    struct ad_z2m_text value;
    char ieee[24] = "";
    char model_id[RP_MODEL_SIZE] = "";

    *f = (struct found){.name_err = SY_ENOTFOUND};
    ad_z2m_scan_begin(&s, element, '{');
    while (ad_z2m_scan_next(&s, &key, &value)) {
        /* What does not decode stays empty. A model is for people: one that is too
         * long is left out. */
        if (ad_z2m_scan_is(key, "ieee_address")) {
            (void)ad_z2m_scan_string(value, ieee, sizeof ieee);
        } else if (ad_z2m_scan_is(key, "type")) {
            (void)ad_z2m_scan_string(value, f->type, sizeof f->type);
        } else if (ad_z2m_scan_is(key, "friendly_name")) {
            f->name_err = ad_z2m_scan_string(value, f->name, sizeof f->name);
        } else if (ad_z2m_scan_is(key, "model_id")) {
            (void)ad_z2m_scan_string(value, model_id, sizeof model_id);
        } else if (ad_z2m_scan_is(key, "definition")) {
            (void)take_model(value, f->model, sizeof f->model);
        }
    }
    f->ieee = ad_z2m_parse_ieee(ieee);
    if (f->model[0] == '\0') {
        memcpy(f->model, model_id, sizeof f->model);
    }
    return s.bad ? SY_EINVALID : 0;
}

/* Could messages of a device with this name be told from others, and commands
 * reach it? NULL: yes. */
static const char *name_trouble(const struct found *f)
{
    if (f->name_err == SY_ELIMIT) {
        return "is too long";
    }
    if (f->name_err != 0 || f->name[0] == '\0') {
        return "is missing or no text";
    }
    if (strpbrk(f->name, "+#") != NULL) {
        return "has a wildcard of MQTT in it";
    }
    for (const char *p = f->name; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f) {
            return "has a control character in it";
        }
    }
    if (strncmp(f->name, "bridge", 6) == 0 && (f->name[6] == '\0' || f->name[6] == '/')) {
        return "is the bridge's own";
    }
    return NULL;
}

static void add_device(struct ad_z2m *z, struct ad_z2m_names *to, const struct found *f,
                       uint32_t max)
{
    const char *trouble = name_trouble(f);
    struct ad_z2m_device *d;

    if (trouble == NULL && (ad_z2m_names_find(to, f->name, strlen(f->name)) != NULL ||
                            ad_z2m_names_ieee(to, f->ieee) != NULL)) {
        trouble = "is there twice";
    }
    if (trouble != NULL) {
        ad_z2m_tell(z, AD_Z2M_NAME, f->ieee,
                    "area %s: the name of device 0x%016llx %s, so it is not watched; "
                    "rename it in Zigbee2MQTT (at most %d bytes, each name once)",
                    ad_z2m_area_name(z), (unsigned long long)f->ieee, trouble,
                    RP_NAME_SIZE - 1);
        return;
    }
    d = to->n < max ? ad_z2m_names_add(to, f->ieee, f->name, strlen(f->name)) : NULL;
    if (d == NULL) {
        ad_z2m_tell(z, AD_Z2M_TOO_MANY, 0,
                    "area %s: Zigbee2MQTT lists more than %u devices; raise the limit "
                    "of devices",
                    ad_z2m_area_name(z), max);
        return;
    }
    memcpy(d->model, f->model, sizeof d->model);
    d->router = strcmp(f->type, "Router") == 0;
}

/* False: the list is damaged. */
static bool read_list(struct ad_z2m *z, const struct rp_message *m,
                      struct ad_z2m_names *to, uint64_t *ret_coordinator)
{
    uint32_t max = rp_store_limits(z->store)->devices_max;
    struct ad_z2m_scan s;
    struct ad_z2m_text element;
    struct found f;

    ad_z2m_scan_begin(&s, (struct ad_z2m_text){m->payload, m->len}, '[');
    while (ad_z2m_scan_next(&s, NULL, &element)) {
        if (take_device(element, &f) != 0 || f.ieee == 0) {
            return false;
        }
        if (strcmp(f.type, "Coordinator") != 0) {
            add_device(z, to, &f, max);
        } else {
            *ret_coordinator = f.ieee;
        }
    }
    return !s.bad;
}

/* What was said of a name before anybody knew whose it is. */
static void say_pending(struct ad_z2m *z, const struct ad_z2m_device *old,
                        struct ad_z2m_device *d, struct rp_batch *out)
{
    struct rp_report r = old->report;

    if (old->ieee != 0) {
        return;
    }
    if (old->avail != RP_AVAIL_UNKNOWN) {
        d->avail = old->avail;
    }
    if (!ad_z2m_claim(z, d, false, out)) {
        return;
    }
    ad_z2m_avail_pending(z, d, out);
    if (old->has_report) {
        r.ieee = d->ieee;
        rp_batch_report(out, &r);
    }
}

/* `<base>/+` does not match "house/kitchen". A filter that does, for all, would
 * bring bridge/definitions (0.8 MB per bridge) and every command, too; so these
 * few devices get a filter each. "x/#" matches "x" itself (MQTT 5.0, 4.7.1.2). */
static void want_filter(struct ad_z2m *z, const struct ad_z2m_device *d)
{
    char filter[AD_Z2M_FILTER_SIZE];

    if (strchr(d->name, '/') != NULL) {
        (void)snprintf(filter, sizeof filter, "%s/%s/#", ad_z2m_base(z), d->name);
        ad_z2m_note_filter(z, filter, false);
        ad_z2m_tell(z, AD_Z2M_SLASH, 0,
                    "area %s: there are names of devices with a slash in them; each "
                    "needs a subscription of its own",
                    ad_z2m_area_name(z));
    }
}

/* Listed here and there: it is where its reports come from. */
static bool is_elsewhere(const struct ad_z2m *z, const struct ad_z2m_device *d)
{
    const struct rp_device *there = rp_store_device(z->store, d->ieee);

    return there != NULL && there->listed && there->area != z->area;
}

static void say_device(struct ad_z2m *z, const struct ad_z2m_names *old,
                       struct ad_z2m_device *d, struct rp_batch *out)
{
    const struct ad_z2m_device *was = ad_z2m_names_ieee(old, d->ieee);
    const struct ad_z2m_device *named = ad_z2m_names_find(old, d->name, strlen(d->name));

    if (is_elsewhere(z, d)) {
        ad_z2m_tell(z, AD_Z2M_ELSEWHERE, d->ieee,
                    "area %s: device 0x%016llx is listed by the bridge of another area, "
                    "too; remove it where it is no more",
                    ad_z2m_area_name(z), (unsigned long long)d->ieee);
    } else if (was == NULL || strcmp(was->name, d->name) != 0 ||
               strcmp(was->model, d->model) != 0) {
        rp_batch_device(out, z->area, d->ieee, d->name, d->model);
    }
    if (was != NULL) {
        d->clock_noted = was->clock_noted;
        d->start = was->start;
        d->back_at_ms = was->back_at_ms;
        d->avail = was->avail;
    }
    if (named != NULL) {
        say_pending(z, named, d, out);
    }
    want_filter(z, d);
}

static void say_changes(struct ad_z2m *z, const struct ad_z2m_names *old,
                        struct rp_batch *out)
{
    const struct ad_z2m_names *now = &z->names;

    for (uint32_t i = 0; i < now->n; i++) {
        say_device(z, old, &now->devices[i], out);
    }
    for (uint32_t i = 0; i < old->n; i++) {
        uint64_t ieee = old->devices[i].ieee;
        const struct rp_device *there = rp_store_device(z->store, ieee);

        if (ieee != 0 && ad_z2m_names_ieee(now, ieee) == NULL &&
            (there == NULL || there->area == z->area)) {
            rp_batch_gone(out, ieee);
        }
    }
}

/* Names that are still nobody's: a group, or a device that is about to join. */
static void keep_unknown(struct ad_z2m_names *now, const struct ad_z2m_names *old)
{
    for (uint32_t i = 0; i < old->n; i++) {
        const struct ad_z2m_device *u = &old->devices[i];
        struct ad_z2m_device *d;

        if (u->ieee == 0 && ad_z2m_names_find(now, u->name, strlen(u->name)) == NULL) {
            d = ad_z2m_names_add(now, 0, u->name, strlen(u->name));
            if (d == NULL) {
                return;
            }
            *d = *u;
        }
    }
}

void ad_z2m_devices(struct ad_z2m *z, const struct rp_message *m, struct rp_batch *out)
{
    struct ad_z2m_names old = z->names;
    struct ad_z2m_names now;
    uint64_t coordinator = 0;

    if (m->len == 0) {
        return;
    }
    if (m->len > AD_Z2M_DEVICES_MAX) {
        ad_z2m_note_payload(z, m, "%zu bytes are more than a list may have", m->len);
        return;
    }
    ad_z2m_names_init(&now, old.max);
    ad_z2m_tell_begin(z);
    if (!read_list(z, m, &now, &coordinator)) {
        ad_z2m_note_payload(z, m, "not a list of devices; the last one stays");
        ad_z2m_names_free(&now);
        return;
    }
    z->list_known = true;
    z->names = now;
    ad_z2m_coordinator(z, coordinator);
    say_changes(z, &old, out);
    ad_z2m_tell_end(z);
    keep_unknown(&z->names, &old);
    ad_z2m_names_free(&old);
}

/* Groups have topics like devices. They are none: what they say is not unknown. */
void ad_z2m_groups(struct ad_z2m *z, const struct rp_message *m)
{
    struct ad_z2m_scan list;
    struct ad_z2m_scan group;
    struct ad_z2m_text element;
    struct ad_z2m_text key;
    struct ad_z2m_text value;
    char name[RP_NAME_SIZE];

    if (m->len == 0 || m->len > AD_Z2M_DEVICES_MAX) {
        return;
    }
    for (uint32_t i = 0; i < z->names.n; i++) {
        z->names.devices[i].group = false;
    }
    ad_z2m_scan_begin(&list, (struct ad_z2m_text){m->payload, m->len}, '[');
    while (ad_z2m_scan_next(&list, NULL, &element)) {
        ad_z2m_scan_begin(&group, element, '{');
        while (ad_z2m_scan_next(&group, &key, &value)) {
            struct ad_z2m_device *d = NULL;

            if (ad_z2m_scan_is(key, "friendly_name") &&
                ad_z2m_scan_string(value, name, sizeof name) == 0) {
                d = ad_z2m_entry(z, name, strlen(name));
            }
            if (d != NULL && d->ieee == 0) {
                d->group = true;
                d->has_report = false;
            }
        }
    }
}

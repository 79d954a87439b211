#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "adapters/z2m/impl.h"
#include "base/json.h"
#include "base/mem.h"

static const char bridge_prefix[] = "bridge/";
static const char availability_suffix[] = "/availability";

const char *ad_z2m_base(const struct ad_z2m *z)
{
    const struct rp_area *area = rp_store_area(z->store, z->area);

    return area != NULL ? area->base_topic : "";
}

const char *ad_z2m_area_name(const struct ad_z2m *z)
{
    const struct rp_area *area = rp_store_area(z->store, z->area);

    return area != NULL ? area->name : "";
}

/* --- notes --- */

void ad_z2m_note_payload(struct ad_z2m *z, const char *topic, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    z->note_cb(
        z->note_data,
        &(struct rp_source_note){
            .kind = RP_NOTE_BAD_PAYLOAD, .area = z->area, .name = topic, .text = text});
}

void ad_z2m_note_setting(struct ad_z2m *z, const char *filter, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    z->note_cb(z->note_data, &(struct rp_source_note){.kind = RP_NOTE_SETTING,
                                                      .area = z->area,
                                                      .name = "",
                                                      .text = text,
                                                      .filter = filter});
}

static void note_unknown(struct ad_z2m *z, struct ad_z2m_device *d)
{
    if (z->list_known && !d->noted) {
        d->noted = true;
        z->note_cb(z->note_data, &(struct rp_source_note){.kind = RP_NOTE_UNKNOWN_DEVICE,
                                                          .area = z->area,
                                                          .name = d->name,
                                                          .text = ""});
    }
}

/* --- devices --- */

bool ad_z2m_claim(struct ad_z2m *z, const struct ad_z2m_device *d, bool live,
                  struct rp_batch *out)
{
    const struct rp_device *there = rp_store_device(z->store, d->ieee);

    if (there == NULL || (there->listed && there->area == z->area)) {
        return true; /* Or on its way through the log, which keeps the order. */
    }
    if (there->listed && !live) {
        return false; /* Two bridges list it: it is where its reports come from. */
    }
    rp_batch_device(out, z->area, d->ieee, d->name, d->model);
    return true;
}

/* The entry of the name, or a new one without an address; NULL: the table is full,
 * and what is said of strangers is not kept. */
static struct ad_z2m_device *entry_of(struct ad_z2m *z, const char *name, size_t len)
{
    struct ad_z2m_device *d = ad_z2m_names_find(&z->names, name, len);

    if (d != NULL || len == 0 || len >= RP_NAME_SIZE || memchr(name, '/', len) != NULL) {
        return d; /* Names with slashes are subscribed when they are known. */
    }
    return ad_z2m_names_add(&z->names, 0, name, len);
}

static void availability(struct ad_z2m *z, const struct rp_message *m, const char *name,
                         size_t len, struct rp_batch *out)
{
    enum rp_avail avail = ad_z2m_parse_avail(m->payload, m->len);
    struct ad_z2m_device *d;

    if (avail == RP_AVAIL_UNKNOWN) {
        if (m->len > 0) { /* Empty: a retained message was cleared. */
            ad_z2m_note_payload(z, m->topic, "neither online nor offline");
        }
        return;
    }
    d = entry_of(z, name, len);
    if (d == NULL) {
        return;
    }
    if (d->ieee == 0) {
        d->avail = avail;
        note_unknown(z, d);
    } else if (ad_z2m_claim(z, d, false, out)) {
        rp_batch_avail(out, d->ieee, avail);
    }
}

static void report(struct ad_z2m *z, const struct rp_message *m, const char *name,
                   uint64_t now_ms, struct rp_batch *out)
{
    struct ad_z2m_device *d;
    struct sy_errbuf why;
    struct rp_report r;
    int rv;

    if (m->len == 0) {
        return; /* The bridge clears the topic of a device that was removed. */
    }
    d = entry_of(z, name, strlen(name));
    if (d == NULL) {
        return;
    }
    rv = ad_z2m_parse_state(m->payload, m->len, &r, &why);
    if (why.text[0] != '\0') {
        ad_z2m_note_payload(z, m->topic, "%s", why.text);
    }
    if (rv != 0) {
        return;
    }
    r.redelivered = m->dup;
    r.cached = m->retained || z->starting;
    if (d->ieee == 0) {
        d->report = r;
        d->has_report = true;
        note_unknown(z, d);
        return;
    }
    ad_z2m_bridge_alive(z, m, now_ms, out);
    if (ad_z2m_claim(z, d, !r.cached && !r.redelivered, out)) {
        r.ieee = d->ieee;
        rp_batch_report(out, &r);
    }
}

/* --- the port --- */

static void *begin(const struct rp_store *store, uint16_t area, rp_note_cb cb, void *data)
{
    const struct rp_area *a = rp_store_area(store, area);
    struct ad_z2m *z = sy_calloc(1, sizeof *z);

    assert(a != NULL); /* The node proposes its areas before it uses them. */
    z->store = store;
    z->area = area;
    z->note_cb = cb;
    z->note_data = data;
    z->bridge = a->bridge;
    z->ready = a->ready_at_ms != 0;
    z->online_at_ms = a->bridge_at_ms;
    /* Twice: what is listed, and as many names that are nobody's. */
    ad_z2m_names_init(&z->names, 2 * rp_store_limits(store)->devices_max);
    for (uint32_t i = 0; i < rp_store_devices(store); i++) {
        const struct rp_device *d = rp_store_device_at(store, i);
        struct ad_z2m_device *e;

        if (!d->listed || d->area != area ||
            ad_z2m_names_find(&z->names, d->name, strlen(d->name)) != NULL) {
            continue; /* The store takes equal names; the bridge does not. */
        }
        e = ad_z2m_names_add(&z->names, d->ieee, d->name, strlen(d->name));
        assert(e != NULL); /* devices_max holds for the store, too. */
        memcpy(e->model, d->model, sizeof e->model);
        z->list_known = true;
    }
    return z;
}

static void end(void *source)
{
    struct ad_z2m *z = source;

    ad_z2m_names_free(&z->names);
    sy_free(z);
}

/* Not `#`: bridge/definitions alone has 0.8 MB, and comes at every start. */
static void topics(const struct rp_area *area,
                   void (*each)(void *data, const char *filter, int qos), void *data)
{
    static const char *const filters[] = {
        "bridge/state",
        "bridge/info",
        "bridge/devices",
        "bridge/health",
        "bridge/logging",
        "+/availability",
        "+",
    };
    char filter[AD_Z2M_FILTER_SIZE];

    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        (void)snprintf(filter, sizeof filter, "%s/%s", area->base_topic, filters[i]);
        each(data, filter, 1);
    }
}

static void bridge_message(struct ad_z2m *z, const struct rp_message *m, const char *what,
                           uint64_t now_ms, struct rp_batch *out)
{
    if (strcmp(what, "state") == 0) {
        ad_z2m_bridge_state(z, m, now_ms, out);
    } else if (strcmp(what, "info") == 0) {
        ad_z2m_bridge_info(z, m, out);
    } else if (strcmp(what, "devices") == 0) {
        ad_z2m_devices(z, m, out);
    } else if (strcmp(what, "logging") == 0) {
        ad_z2m_bridge_logging(z, m);
    } else if (strcmp(what, "health") == 0 && m->len > 0) {
        ad_z2m_bridge_alive(z, m, now_ms, out);
    }
    /* The rest means nothing here: event is followed by devices, response answers
     * what somebody else asked, groups and definitions are not for meters. */
}

static bool ends_with(const char *s, size_t len, const char *suffix)
{
    size_t n = strlen(suffix);

    return len > n && memcmp(s + len - n, suffix, n) == 0;
}

static void message(void *source, const struct rp_message *m, uint64_t now_ms,
                    struct rp_batch *out)
{
    struct ad_z2m *z = source;
    const char *base = ad_z2m_base(z);
    size_t base_len = strlen(base);
    const char *rest = m->topic + base_len + 1;
    size_t len;

    if (strncmp(m->topic, base, base_len) != 0 || m->topic[base_len] != '/') {
        return; /* Another area's. */
    }
    len = strlen(rest);
    if (strncmp(rest, bridge_prefix, sizeof bridge_prefix - 1) == 0) {
        bridge_message(z, m, rest + sizeof bridge_prefix - 1, now_ms, out);
    } else if (ad_z2m_names_find(&z->names, rest, len) != NULL) {
        report(z, m, rest, now_ms, out); /* Before suffixes: names may have slashes. */
    } else if (ends_with(rest, len, availability_suffix)) {
        availability(z, m, rest, len - (sizeof availability_suffix - 1), out);
    } else if (len >= RP_NAME_SIZE) {
        ad_z2m_note_payload(z, m->topic, "the name is longer than %d bytes",
                            RP_NAME_SIZE - 1);
    } else {
        report(z, m, rest, now_ms, out); /* What has slashes (set, get) ends there. */
    }
}

static int check(const char *property, const char *value, struct sy_errbuf *eb)
{
    if (strcmp(property, "state") != 0) {
        return sy_fail(eb, SY_EINVALID, "property '%s' cannot be set; only 'state' can",
                       property);
    }
    if (strcmp(value, "TOGGLE") == 0) {
        return sy_fail(
            eb, SY_EINVALID,
            "TOGGLE is not safe: sent twice, as after a relief, it undoes itself; "
            "say ON or OFF");
    }
    if (strcmp(value, "ON") != 0 && strcmp(value, "OFF") != 0) {
        return sy_fail(eb, SY_EINVALID, "state '%s' is neither ON nor OFF", value);
    }
    return 0;
}

static void command(void *source, const struct rp_device *device,
                    const struct rp_command *c, struct sy_buf *topic,
                    struct sy_buf *payload)
{
    struct ad_z2m *z = source;
    struct sy_json json;

    topic->len = 0;
    payload->len = 0;
    sy_buf_fmt(topic, "%s/%s/set", ad_z2m_base(z), device->name);
    sy_buf_u8(topic, '\0');
    sy_json_init(&json, payload);
    sy_json_object(&json);
    sy_json_kstr(&json, c->property, c->value);
    sy_json_object_end(&json);
    sy_json_finish(&json);
}

const struct rp_source_ops ad_z2m_source = {
    .name = "zigbee2mqtt",
    .begin = begin,
    .end = end,
    .topics = topics,
    .message = message,
    .check = check,
    .command = command,
};

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "adapters/z2m/impl.h"
#include "base/json.h"
#include "base/mem.h"

enum {
    AHEAD_WARN_MS = 60 * 1000,
    ASK_AFTER_MS = 2000,
    /* What was heard, in the order of ask(). */
    HEARD_INFO = 1,
    HEARD_DEVICES = 2,
    HEARD_GROUPS = 4
};

static const char bridge_prefix[] = "bridge/";
static const char availability_suffix[] = "/availability";
static const char set_suffix[] = "/set";

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

struct ad_z2m_device *ad_z2m_entry(struct ad_z2m *z, const char *name, size_t len)
{
    struct ad_z2m_device *d = ad_z2m_names_find(&z->names, name, len);

    if (d != NULL || len == 0 || len >= RP_NAME_SIZE || memchr(name, '/', len) != NULL) {
        return d; /* Names with slashes are subscribed when they are known. */
    }
    return ad_z2m_names_add(&z->names, 0, name, len);
}

/* It is stored all the same; but somebody should set a clock. */
static void look_at_clock(struct ad_z2m *z, struct ad_z2m_device *d,
                          const struct rp_message *m, const struct rp_report *r,
                          uint64_t now_ms)
{
    if (r->last_seen_ms > now_ms + AHEAD_WARN_MS && !d->clock_noted && !m->retained) {
        d->clock_noted = true;
        ad_z2m_warn(z, m->topic,
                    "last_seen is %llu s ahead of this node's clock%s; set the clocks of "
                    "both machines",
                    (unsigned long long)((r->last_seen_ms - now_ms) / 1000),
                    r->last_seen_ms > now_ms + RP_AHEAD_MAX_MS
                        ? ", so the time of arrival counts"
                        : "");
    }
}

/* Is it a redelivery, and those of its topic came in their order? What is older than
 * what was taken has then been taken, too. But a broker may slip a new message in front
 * of those that it delivers again (mosquitto 2.0.11, seen in an hour of ./chaos: 15
 * acknowledged readings of a meter were taken for known). Behind such a one, on the same
 * connection, only equal messages are the same; each meter and time is one row anyhow. */
static bool in_order(struct ad_z2m_device *d, const struct rp_message *m,
                     const struct rp_report *r)
{
    if (!m->dup) {
        d->live = (uint64_t)m->link + 1;
    }
    return m->dup && (d->live != (uint64_t)m->link + 1 || r->last_seen_ms == 0);
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
    d = ad_z2m_entry(z, name, strlen(name));
    if (d == NULL || d->group) {
        return;
    }
    rv = ad_z2m_parse_state(m->payload, m->len, &r, &why);
    if (why.text[0] != '\0') {
        ad_z2m_note_payload(z, m, "%s", why.text);
    }
    if (rv != 0) {
        return;
    }
    if (r.last_seen_ms == 0) {
        r.last_seen_ms = m->at_ms;
    }
    r.redelivered = m->dup;
    r.cached = ad_z2m_cached(z, d, m, &r, now_ms);
    if (d->ieee == 0) {
        d->report = r;
        d->has_report = true;
        ad_z2m_note_stranger(z, m, d, now_ms);
        return;
    }
    look_at_clock(z, d, m, &r, now_ms);
    ad_z2m_qos(z, d, m);
    ad_z2m_bridge_alive(z, m, now_ms, out);
    if (ad_z2m_claim(z, d, !r.cached && !r.redelivered, out)) {
        r.ieee = d->ieee;
        ad_z2m_avail_pending(z, d, out);
        r.redelivered = in_order(d, m, &r);
        rp_batch_report(out, &r);
        r.redelivered = m->dup; /* No sign of life in any case. */
        ad_z2m_avail_heard(z, d, &r, now_ms, out);
    }
}

/* --- the port --- */

static void *begin(const struct rp_store *store, uint16_t area,
                   const struct rp_source_config *config, rp_note_cb cb, void *data)
{
    const struct rp_area *a = rp_store_area(store, area);
    struct ad_z2m *z = sy_calloc(1, sizeof *z);

    assert(a != NULL); /* The node proposes its areas before it uses them. */
    z->store = store;
    z->area = area;
    z->config = *config;
    z->note_cb = cb;
    z->note_data = data;
    z->bridge = a->bridge;
    z->ready = a->ready_at_ms != 0;
    z->online_at_ms = a->bridge_at_ms;
    z->offline_at_ms = a->bridge_at_ms;
    z->restarted_at_ms = a->ready_at_ms;
    z->starts = 1; /* Nobody was heard since. */
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
                   void (*each)(void *data, const char *filter, int qos, bool fresh),
                   void *data)
{
    static const char *const filters[] = {
        "bridge/state",  "bridge/info",    "bridge/devices", "bridge/groups",
        "bridge/health", "bridge/logging", "+/availability", "+",
        "+/set",
    };
    char filter[AD_Z2M_FILTER_SIZE];

    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        (void)snprintf(filter, sizeof filter, "%s/%s", area->base_topic, filters[i]);
        /* Who stops says so at QoS 0: in the moment of a relief nobody hears it. */
        each(data, filter, 1, i == 0);
    }
}

static void ask_for(struct ad_z2m *z, const char *topic)
{
    char filter[AD_Z2M_FILTER_SIZE];

    (void)snprintf(filter, sizeof filter, "%s/%s%s", ad_z2m_base(z), bridge_prefix,
                   topic);
    ad_z2m_note_filter(z, filter, true);
}

void ad_z2m_ask_bridge(struct ad_z2m *z)
{
    ask_for(z, "info");
    ask_for(z, "state");
}

/* A session that outlived a watch brings nothing that was retained before. But what the
 * bridge says of itself comes at QoS 0, so it may have been lost when the watch changed
 * hands, and its settings are not part of the state. So it is asked for, a moment after
 * the relief: the lists are long, and commands come first. */
static void ask(struct ad_z2m *z, uint64_t now_ms)
{
    static const char *const topics[] = {"info", "devices", "groups"};

    if (z->begun_at_ms == 0 || now_ms < z->begun_at_ms) {
        z->begun_at_ms = now_ms;
    }
    if (z->asked || now_ms - z->begun_at_ms < ASK_AFTER_MS) {
        return;
    }
    z->asked = true;
    for (unsigned i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        if ((z->heard & 1U << i) == 0) {
            ask_for(z, topics[i]);
        }
    }
}

static void bridge_message(struct ad_z2m *z, const struct rp_message *m, const char *what,
                           uint64_t now_ms, struct rp_batch *out)
{
    if (strcmp(what, "state") == 0) {
        ad_z2m_bridge_state(z, m, now_ms, out);
    } else if (strcmp(what, "info") == 0) {
        z->heard |= HEARD_INFO;
        ad_z2m_bridge_info(z, m, now_ms, out);
    } else if (strcmp(what, "devices") == 0) {
        z->heard |= HEARD_DEVICES;
        ad_z2m_devices(z, m, out);
    } else if (strcmp(what, "groups") == 0) {
        z->heard |= HEARD_GROUPS;
        ad_z2m_groups(z, m);
    } else if (strcmp(what, "logging") == 0) {
        ad_z2m_logging(z, m);
    } else if (strcmp(what, "health") == 0 && m->len > 0) {
        ad_z2m_bridge_alive(z, m, now_ms, out);
        ad_z2m_health(z, m);
    }
    /* The rest means nothing here: event is followed by devices, response answers
     * what somebody else asked, definitions are not for meters. */
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
    ask(z, now_ms);
    ad_z2m_avail_doubt(z, now_ms, out);
    if (strncmp(rest, bridge_prefix, sizeof bridge_prefix - 1) == 0) {
        bridge_message(z, m, rest + sizeof bridge_prefix - 1, now_ms, out);
    } else if (ad_z2m_names_find(&z->names, rest, len) != NULL) {
        report(z, m, rest, now_ms, out); /* Before suffixes: names may have slashes. */
    } else if (ends_with(rest, len, availability_suffix)) {
        ad_z2m_avail(z, m, rest, len - (sizeof availability_suffix - 1), now_ms, out);
    } else if (ends_with(rest, len, set_suffix)) {
        ad_z2m_asked(z, m, rest, len - (sizeof set_suffix - 1));
    } else if (len >= RP_NAME_SIZE) {
        ad_z2m_note_payload(z, m, "the name is longer than %d bytes", RP_NAME_SIZE - 1);
    } else {
        report(z, m, rest, now_ms, out); /* What has slashes (get) ends there. */
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

static void process(void *source, bool runs, uint64_t now_ms, struct rp_batch *out)
{
    ad_z2m_bridge_process(source, runs, now_ms, out);
}

const struct rp_source_ops ad_z2m_source = {
    .name = "zigbee2mqtt",
    .begin = begin,
    .end = end,
    .topics = topics,
    .message = message,
    .process = process,
    .check = check,
    .command = command,
};

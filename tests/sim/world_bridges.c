/* Bridges as docs/protocol.md saw Zigbee2MQTT 2.14.1, and their meters. A meter's reading
 * has a number, which travels as its energy: so it can be followed to its row. */

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tests/sim/world_impl.h"

enum {
    DEAF_MS = 137,    /* after "online": commands are dropped */
    INFO_MS = 140,    /* the earliest bridge/info, after that */
    RADIO_MS = 17100, /* so long a bridge tries to reach a device */
    RETRY_MS = 700,
    SAVE_MS = 15000,    /* the cache goes to the disk */
    OFFLINE_MS = 20000, /* of silence: "offline" */
    QUIET_REPORT_MS = 10000
};

static struct wbridge *bridge_of(struct world *w, const struct wmeter *m)
{
    return &w->bridges[m->area];
}

static void publish(struct wbridge *b, const char *rest, const char *payload, int qos,
                    bool retain, struct wreading *r)
{
    char topic[96];
    struct wmsg *m;

    if (!b->up || !b->connected) {
        return; /* It drops what it cannot send. */
    }
    snprintf(topic, sizeof topic, "%s/%s", b->base, rest);
    m = wmsg_new(topic, payload, strlen(payload), qos, retain);
    m->reading = r;
    (void)wb_publish(b->w, m);
}

/* --- states --- */

static void publish_state(struct wbridge *b, struct wmeter *m, bool cached)
{
    char payload[256], link[32] = "";
    struct wreading *r = NULL;

    if (!m->cache_known) {
        return;
    }
    if (!cached) {
        snprintf(link, sizeof link, "\"linkquality\":%llu,",
                 (ull)(60 + m->cache_number % 40));
    }
    snprintf(
        payload, sizeof payload,
        "{\"energy\":%llu.%03llu,\"last_seen\":%llu,%s\"power\":%llu,\"state\":\"%s\","
        "\"voltage\":230}",
        (ull)(m->cache_number / 1000), (ull)(m->cache_number % 1000),
        (ull)m->cache_seen_ms, link, (ull)(m->cache_number % 3000),
        m->cache_on ? "ON" : "OFF");
    if (!cached) { /* Of a cache nobody expects anything. */
        r = wc_reading(b->w, m, m->cache_number, true);
        r->seen_ms = m->cache_seen_ms;
        r->due = r->due || (m->listed && b->connected && b->up);
    }
    for (uint64_t n = cached || w_below(b->w, 4) != 0 ? 1 : 1 + w_below(b->w, 3); n > 0;
         n--) {
        publish(b, m->name, payload, 1, false, r);
    }
}

/* The bridge hears the meter: a new reading. @on: the state that it publishes, which
 * right after a command may be the one of before. */
static void heard(struct world *w, struct wmeter *m, bool on)
{
    struct wbridge *b = bridge_of(w, m);
    uint64_t now = w_wall(w);

    if (!b->up) {
        return;
    }
    m->seen_ms = now > m->seen_ms ? now : m->seen_ms + 1;
    m->number++;
    m->cache_on = on;
    m->cache_seen_ms = m->seen_ms;
    m->cache_number = m->number;
    m->cache_known = true;
    publish_state(b, m, false);
    if (m->told_offline && b->connected) {
        char rest[32];

        m->told_offline = false;
        snprintf(rest, sizeof rest, "%s/availability", m->name);
        publish(b, rest, "{\"state\":\"online\"}", 1, true, NULL);
    }
}

static void note_state(struct world *w, struct wmeter *m)
{
    m->was[m->on] = w_now(w) + 1;
}

static void tell_silent(struct world *w, struct wmeter *m)
{
    struct wbridge *b = bridge_of(w, m);
    char rest[32];

    if (b->up && b->connected && m->cache_known && !m->told_offline &&
        w_wall(w) > m->cache_seen_ms + OFFLINE_MS) {
        m->told_offline = true;
        snprintf(rest, sizeof rest, "%s/availability", m->name);
        publish(b, rest, "{\"state\":\"offline\"}", 1, true, NULL);
    }
}

static void report_cb(void *ctx, uint64_t nr)
{
    struct world *w = ctx;
    struct wmeter *m = wz_nth(w, (unsigned)nr);
    uint64_t every = w->quiet ? QUIET_REPORT_MS : w->config.report_ms;

    if (m->out && m->back_at != 0 && w_now(w) >= m->back_at) {
        m->out = false;
    }
    if (!m->out) {
        heard(w, m, m->on);
    } else {
        tell_silent(w, m);
    }
    site_post(w->s, 0, every / 2 + w_below(w, every), report_cb, w, nr);
}

/* --- commands --- */

static void work_cb(void *ctx, uint64_t nr);

static void next_later(struct world *w, const struct wmeter *m, uint64_t ms)
{
    site_post(w->s, 0, ms, work_cb, w, m->nr);
}

static void forget_set(struct wmeter *m)
{
    struct wset *set = m->sets;

    m->sets = set->next;
    if (m->sets == NULL) {
        m->sets_tail = NULL;
    }
    sy_free(set);
}

static void executed(struct world *w, struct wmeter *m, const struct wset *set)
{
    bool before = m->on;

    wc_executed(w, m, set);
    m->on = set->on;
    note_state(w, m);
    W_TRACE(w, 2, "meter %s: is %s", m->name, m->on ? "ON" : "OFF");
    /* The default response comes first, with what the bridge had cached. */
    if (w_below(w, 3) != 0) {
        heard(w, m, before);
    }
    heard(w, m, m->on);
}

static void failed(struct world *w, struct wmeter *m)
{
    char payload[256];

    snprintf(
        payload, sizeof payload,
        "{\"level\":\"error\",\"message\":\"z2m: Publish 'set' 'state' to '%s' failed: "
        "'Error: ZCL command 0x%016llx/1 genOnOff.%s({}, {}) failed (Data request "
        "failed with error: 'NWK_NO_ROUTE' (0xcd))'\"}",
        m->name, (ull)m->ieee, m->sets->on ? "on" : "off");
    publish(bridge_of(w, m), "bridge/logging", payload, 0, false, NULL);
}

/* One after the other; each is tried until its time is over. */
static void work_cb(void *ctx, uint64_t nr)
{
    struct world *w = ctx;
    struct wmeter *m = wz_nth(w, (unsigned)nr);
    struct wset *set = m->sets;

    if (set != NULL && set->life != bridge_of(w, m)->life) {
        forget_set(m);
        next_later(w, m, 0);
        return;
    }
    if (set == NULL) {
        m->busy = false;
        return;
    }
    if (m->out && m->back_at != 0 && w_now(w) >= m->back_at) {
        m->out = false;
    }
    if (set->until == 0) {
        set->until = w_now(w) + RADIO_MS;
    }
    if (m->out) {
        if (w_now(w) < set->until) {
            next_later(w, m, RETRY_MS);
            return;
        }
        failed(w, m);
    } else if (w->healed || w_below(w, 10) != 0) {
        executed(w, m, set);
    } else {
        failed(w, m); /* The frame was lost on its way. */
    }
    forget_set(m);
    next_later(w, m, 1);
}

static struct wmeter *meter_of_topic(struct world *w, const char *topic)
{
    for (unsigned i = 0; i < w->config.areas; i++) {
        struct wbridge *b = &w->bridges[i];
        size_t n = strlen(b->base);

        for (unsigned k = 0; strncmp(topic, b->base, n) == 0 && k < b->meters_n; k++) {
            size_t len = strlen(b->meters[k].name);

            if (topic[n] == '/' && strncmp(topic + n + 1, b->meters[k].name, len) == 0 &&
                strcmp(topic + n + 1 + len, "/set") == 0) {
                return &b->meters[k];
            }
        }
    }
    return NULL;
}

bool wz_set(struct world *w, const struct wmsg *msg)
{
    struct wmeter *m = meter_of_topic(w, msg->topic);
    struct wbridge *b;
    struct wset *set;

    if (m == NULL) {
        return false;
    }
    b = bridge_of(w, m);
    if (!b->up || !b->connected || w_now(w) < b->takes_at) {
        return false; /* QoS 0 and a clean session: gone. */
    }
    set = sy_calloc(1, sizeof *set);
    set->on = strstr(msg->payload, "\"ON\"") != NULL;
    set->came_at = w_now(w);
    set->life = b->life;
    if (m->sets_tail != NULL) {
        m->sets_tail->next = set;
    } else {
        m->sets = set;
    }
    m->sets_tail = set;
    if (!m->busy) {
        m->busy = true;
        next_later(w, m, w_below(w, 8) != 0 ? 4 + w_below(w, 60) : w_below(w, 3000));
    }
    return true;
}

/* --- the bridge itself --- */

static void put_info(const struct wbridge *b, struct sy_buf *to)
{
    sy_buf_fmt(to,
               "{\"version\":\"2.14.1\",\"coordinator\":{\"ieee_address\":"
               "\"0x00124b000000000%u\"},\"config\":{\"advanced\":{\"last_seen\":"
               "\"ISO_8601\",\"log_level\":\"warning\",\"output\":\"json\"},"
               "\"availability\":{\"enabled\":true,\"active\":{\"timeout\":1}},"
               "\"device_options\":{\"qos\":1},\"mqtt\":{\"base_topic\":\"%s\"}}}",
               b->nr, b->base);
    sy_buf_u8(to, '\0');
}

static void put_devices(const struct wbridge *b, struct sy_buf *to)
{
    sy_buf_fmt(to,
               "[{\"ieee_address\":\"0x00124b000000000%u\",\"type\":\"Coordinator\","
               "\"friendly_name\":\"Coordinator\"}",
               b->nr);
    for (unsigned i = 0; i < b->meters_n; i++) {
        sy_buf_fmt(to,
                   ",{\"ieee_address\":\"0x%016llx\",\"type\":\"Router\","
                   "\"friendly_name\":\"%s\",\"definition\":{\"model\":\"TO-Q-SY2\"}}",
                   (ull)b->meters[i].ieee, b->meters[i].name);
    }
    sy_buf_str(to, "]");
    sy_buf_u8(to, '\0');
}

static void tell_all(struct wbridge *b)
{
    struct sy_buf text = {0};

    put_info(b, &text);
    publish(b, "bridge/info", (const char *)text.p, 0, true, NULL);
    text.len = 0;
    put_devices(b, &text);
    publish(b, "bridge/devices", (const char *)text.p, 0, true, NULL);
    publish(b, "bridge/groups", "[]", 0, true, NULL);
    sy_buf_free(&text);
}

static void started_cb(void *ctx, uint64_t life)
{
    struct wbridge *b = ctx;

    if (!b->up || b->life != life || !b->connected) {
        return;
    }
    tell_all(b);
    for (unsigned i = 0; i < b->meters_n; i++) {
        struct wmeter *m = &b->meters[i];
        char rest[32];

        m->told_offline = m->out && w_below(b->w, 2) == 0;
        snprintf(rest, sizeof rest, "%s/availability", m->name);
        publish(b, rest,
                m->told_offline ? "{\"state\":\"offline\"}" : "{\"state\":\"online\"}", 1,
                true, NULL);
    }
    for (unsigned i = 0; i < b->meters_n; i++) {
        publish_state(b, &b->meters[i], true);
    }
}

static void start_cb(void *ctx, uint64_t life)
{
    struct wbridge *b = ctx;
    struct world *w = b->w;

    if (b->up || b->life != life) {
        return;
    }
    if (!w->broker.up) {
        site_post(w->s, 0, 500 + w_below(w, 1000), start_cb, b, life); /* It exits. */
        return;
    }
    b->up = b->connected = true;
    W_TRACE(w, 1, "bridge %s: up", b->area);
    b->takes_at = w_now(w) + w_below(w, DEAF_MS);
    publish(b, "bridge/state", "{\"state\":\"online\"}", 1, true, NULL);
    site_post(w->s, 0, INFO_MS + w_below(w, 60), started_cb, b, life);
}

static void save_cb(void *ctx, uint64_t arg)
{
    struct world *w = ctx;

    (void)arg;
    for (unsigned i = 0; i < world_devices(w); i++) {
        struct wmeter *m = wz_nth(w, i);

        m->saved_on = m->cache_on;
        m->saved_seen_ms = m->cache_seen_ms;
        m->saved_number = m->cache_number;
        m->saved_known = m->cache_known;
    }
    site_post(w->s, 0, SAVE_MS, save_cb, w, 0);
}

void wz_kill(struct wbridge *b, bool graceful, uint64_t back_in_ms)
{
    if (!b->up) {
        return;
    }
    W_TRACE(b->w, 1, "bridge %s: %s, back in %llu ms", b->area,
            graceful ? "stops" : "is killed", (ull)back_in_ms);
    /* At QoS 0 by itself, at QoS 1 as its will. */
    publish(b, "bridge/state", "{\"state\":\"offline\"}", graceful ? 0 : 1, true, NULL);
    b->up = b->connected = false;
    b->life++;
    for (unsigned i = 0; i < b->meters_n && !graceful; i++) {
        struct wmeter *m = &b->meters[i];

        m->cache_on = m->saved_on;
        m->cache_seen_ms = m->saved_seen_ms;
        m->cache_number = m->saved_number;
        m->cache_known = m->saved_known;
    }
    site_post(b->w->s, 0, back_in_ms, start_cb, b, b->life);
}

static void reconnect_cb(void *ctx, uint64_t life)
{
    struct wbridge *b = ctx;

    if (b->up && b->life == life && !b->connected && b->w->broker.up) {
        b->connected = true;
        b->takes_at = w_now(b->w);
        publish(b, "bridge/state", "{\"state\":\"online\"}", 1, true, NULL);
    }
}

void wz_broker_up(struct world *w)
{
    for (unsigned i = 0; i < w->config.areas; i++) {
        site_post(w->s, 0, w_below(w, 1500), reconnect_cb, &w->bridges[i],
                  w->bridges[i].life);
    }
}

void wz_broker_down(struct world *w)
{
    for (unsigned i = 0; i < w->config.areas; i++) {
        w->bridges[i].connected = false;
    }
}

void wz_wake(struct world *w)
{
    for (unsigned i = 0; i < w->config.areas; i++) {
        start_cb(&w->bridges[i], w->bridges[i].life);
        reconnect_cb(&w->bridges[i], w->bridges[i].life);
    }
}

void wz_silence(struct wmeter *m, struct world *w, uint64_t ms)
{
    W_TRACE(w, 1, "meter %s: out of reach for %llu ms", m->name, (ull)ms);
    m->out = true;
    m->back_at = w_now(w) + ms;
}

void wz_press(struct world *w, struct wmeter *m)
{
    if (m->out) {
        return;
    }
    m->on = !m->on;
    m->by_hand_ms = w_now(w) + 1;
    note_state(w, m);
    W_TRACE(w, 1, "meter %s: %s by hand", m->name, m->on ? "ON" : "OFF");
    heard(w, m, m->on);
}

struct wmeter *wz_nth(const struct world *w, unsigned nth)
{
    unsigned per = w->config.meters;

    return (struct wmeter *)&w->bridges[nth / per % w->config.areas].meters[nth % per];
}

struct wmeter *wz_meter(const struct world *w, uint64_t ieee)
{
    for (unsigned i = 0; i < world_devices(w); i++) {
        if (wz_nth(w, i)->ieee == ieee) {
            return wz_nth(w, i);
        }
    }
    return NULL;
}

static void begin_bridge(struct world *w, unsigned i)
{
    struct wbridge *b = &w->bridges[i];

    b->w = w;
    b->nr = i + 1;
    snprintf(b->area, sizeof b->area, "area%u", b->nr);
    snprintf(b->base, sizeof b->base, "z2m/area%u", b->nr);
    b->meters_n = w->config.meters;
    for (unsigned k = 0; k < b->meters_n; k++) {
        struct wmeter *m = &b->meters[k];

        m->area = i;
        m->nr = i * w->config.meters + k;
        m->ieee = UINT64_C(0xa4c1380000000000) + b->nr * 256 + k + 1;
        snprintf(m->name, sizeof m->name, "a%u-m%u", b->nr, k + 1);
        note_state(w, m);
        site_post(w->s, 0, 1000 + w_below(w, w->config.report_ms), report_cb, w, m->nr);
    }
    start_cb(b, b->life);
}

void wz_begin(struct world *w)
{
    for (unsigned i = 0; i < w->config.areas; i++) {
        begin_bridge(w, i);
    }
    site_post(w->s, 0, SAVE_MS, save_cb, w, 0);
}

void wz_free(struct world *w)
{
    for (unsigned i = 0; i < world_devices(w); i++) {
        struct wmeter *m = wz_nth(w, i);

        while (m->sets != NULL) {
            forget_set(m);
        }
    }
}

/* Zigbee2MQTT areas, played with one MQTT v5 session: QoS 1, and what the broker has
 * not acknowledged goes out again after a reconnect (libmosquitto keeps it). */

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mosquitto.h>
#include <mqtt_protocol.h>

#include "base/mem.h"
#include "bench/lossless/lossless.h"

enum {
    KEEPALIVE_S = 10,
    SESSION_EXPIRY_S = 3600,
    RECONNECT_US = 100000,
    MISC_US = 500000,
    ANNOUNCE_S = 30,
    FAILURE = 0x80 /* Reason codes from here on are refusals. */
};

static const uint32_t NO_NUMBER = UINT32_MAX;

static void on_connect(struct mosquitto *m, void *data, int rc, int flags,
                       const mosquitto_property *props)
{
    struct ll_load *l = data;

    (void)m;
    (void)flags;
    (void)props;
    l->connected = rc == 0;
}

static void on_publish(struct mosquitto *m, void *data, int mid, int rc,
                       const mosquitto_property *props)
{
    struct ll_load *l = data;
    uint32_t k = l->k_of_mid[mid & (LL_MIDS - 1)];

    (void)m;
    (void)props;
    l->k_of_mid[mid & (LL_MIDS - 1)] = 0;
    if (k == NO_NUMBER) {
        l->open--;
    } else if (k != 0 && rc >= FAILURE) {
        l->refused++;
    } else if (k != 0) {
        uint8_t *acked = &l->acked[k - 1 - l->opt->first];

        l->unheard += rc == MQTT_RC_NO_MATCHING_SUBSCRIBERS;
        if (*acked == 0 && l->on_acked != NULL) {
            l->on_acked(l->ctx, k - 1);
        }
        l->acked_n += *acked == 0;
        *acked = 1;
    }
}

void ll_load_open(struct ll_load *l, const struct ll_options *opt)
{
    mosquitto_property *props = NULL;
    int rc;

    *l = (struct ll_load){.opt = opt, .base_ms = opt->base_ms};
    if (l->base_ms == 0) {
        l->base_ms = ll_wall_ms();
    }
    l->k_of_mid = sy_calloc(LL_MIDS, sizeof *l->k_of_mid);
    l->acked = sy_calloc(opt->messages + 1, 1);
    mosquitto_lib_init();
    l->mosq = mosquitto_new(opt->client, false, l);
    assert(l->mosq != NULL);
    mosquitto_int_option(l->mosq, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    mosquitto_int_option(l->mosq, MOSQ_OPT_SEND_MAXIMUM, (int)opt->window);
    mosquitto_int_option(l->mosq, MOSQ_OPT_TCP_NODELAY, 1);
    mosquitto_connect_v5_callback_set(l->mosq, on_connect);
    mosquitto_publish_v5_callback_set(l->mosq, on_publish);
    mosquitto_property_add_int32(&props, MQTT_PROP_SESSION_EXPIRY_INTERVAL,
                                 SESSION_EXPIRY_S);
    rc = mosquitto_connect_bind_v5(l->mosq, opt->host, opt->port, KEEPALIVE_S, NULL,
                                   props);
    mosquitto_property_free_all(&props);
    if (rc != 0) {
        ll_die("no broker at %s:%d: %s", opt->host, opt->port, mosquitto_strerror(rc));
    }
}

void ll_load_close(struct ll_load *l)
{
    mosquitto_disconnect(l->mosq);
    ll_load_turn(l, 10);
    mosquitto_destroy(l->mosq);
    mosquitto_lib_cleanup();
    sy_free(l->k_of_mid);
    sy_free(l->acked);
}

int ll_load_fd(const struct ll_load *l)
{
    return mosquitto_socket(l->mosq);
}

bool ll_load_want_write(const struct ll_load *l)
{
    return mosquitto_want_write(l->mosq);
}

static void reconnect(struct ll_load *l, uint64_t now)
{
    l->connected = false;
    if (!l->lost) {
        l->lost = true;
        l->again_us = now + RECONNECT_US;
    } else if (now >= l->again_us) {
        l->again_us = now + RECONNECT_US;
        if (mosquitto_reconnect(l->mosq) == 0) {
            l->lost = false;
            l->reconnects++;
        }
    }
}

void ll_load_work(struct ll_load *l)
{
    uint64_t now = ll_now_us();
    int rc = MOSQ_ERR_CONN_LOST;

    if (mosquitto_socket(l->mosq) >= 0) {
        rc = mosquitto_loop_read(l->mosq, 1000);
        if (rc == 0 && mosquitto_want_write(l->mosq)) {
            rc = mosquitto_loop_write(l->mosq, 1000);
        }
        if (rc == 0 && now >= l->misc_us) {
            l->misc_us = now + MISC_US;
            rc = mosquitto_loop_misc(l->mosq);
        }
    }
    if (rc != 0) {
        reconnect(l, now);
    }
}

void ll_load_turn(struct ll_load *l, int ms)
{
    struct pollfd p = {.fd = ll_load_fd(l), .events = POLLIN};

    if (p.fd >= 0 && ll_load_want_write(l)) {
        p.events |= POLLOUT;
    }
    (void)poll(&p, 1, ms); /* A socket that is not there is passed over. */
    ll_load_work(l);
}

/* --- what is said --- */

static bool send_one(struct ll_load *l, const char *topic, const char *payload, size_t n,
                     bool retain, uint32_t number)
{
    int mid = 0;
    int rc = mosquitto_publish_v5(l->mosq, &mid, topic, (int)n, payload, 1, retain, NULL);

    /* Not connected: the library has it all the same, and sends it later. */
    if (rc != 0 && rc != MOSQ_ERR_NO_CONN && rc != MOSQ_ERR_CONN_LOST) {
        return false;
    }
    l->k_of_mid[mid & (LL_MIDS - 1)] = number;
    return true;
}

static void tell(struct ll_load *l, unsigned area, const char *topic, const char *payload)
{
    char whole[160];

    snprintf(whole, sizeof whole, "%s/a%u/%s", l->opt->base, area, topic);
    if (!send_one(l, whole, payload, strlen(payload), true, NO_NUMBER)) {
        ll_die("%s cannot be published", whole);
    }
    l->open++;
}

static void tell_info(struct ll_load *l, unsigned area)
{
    char text[600];

    snprintf(text, sizeof text,
             "{\"version\":\"2.14.1\",\"permit_join\":false,\"config\":{\"advanced\":"
             "{\"last_seen\":\"ISO_8601\",\"log_level\":\"warning\",\"output\":\"json\"},"
             "\"availability\":{\"enabled\":true},\"device_options\":{\"qos\":1},"
             "\"mqtt\":{\"base_topic\":\"%s/a%u\"}}}",
             l->opt->base, area);
    tell(l, area, "bridge/info", text);
}

static void tell_devices(struct ll_load *l, unsigned area)
{
    struct sy_buf b = {0};
    char topic[64];

    sy_buf_str(&b, "[");
    for (unsigned i = 0; i < l->opt->devices; i++) {
        sy_buf_fmt(&b,
                   "%s{\"ieee_address\":\"0xa4c139%02x%08x\",\"type\":\"Router\","
                   "\"friendly_name\":\"l%u-m%03u\",\"model_id\":\"TS011F\","
                   "\"interview_state\":\"SUCCESSFUL\",\"definition\":{\"model\":"
                   "\"TO-Q-SY2-163JZT\",\"vendor\":\"Tongou\"}}",
                   i > 0 ? "," : "", area, i, area, i);
    }
    sy_buf_str(&b, "]");
    sy_buf_u8(&b, 0);
    tell(l, area, "bridge/devices", (const char *)b.p);
    sy_buf_free(&b);
    for (unsigned i = 0; i < l->opt->devices; i++) {
        snprintf(topic, sizeof topic, "l%u-m%03u/availability", area, i);
        tell(l, area, topic, "{\"state\":\"online\"}");
    }
}

void ll_load_announce(struct ll_load *l)
{
    uint64_t until = ll_now_us() + ANNOUNCE_S * 1000000ULL;

    for (unsigned i = 0; i < l->opt->areas; i++) {
        unsigned a = l->opt->area_first + i;

        tell(l, a, "bridge/state", "{\"state\":\"online\"}");
        tell_info(l, a);
        tell_devices(l, a);
    }
    while (l->open > 0) {
        ll_load_turn(l, 10);
        if (ll_now_us() > until) {
            ll_die("the broker did not take what a bridge tells within %d s", ANNOUNCE_S);
        }
    }
}

void ll_load_meter(const struct ll_load *l, uint32_t k, char *to, size_t size)
{
    unsigned m = k % (l->opt->areas * l->opt->devices);

    snprintf(to, size, "l%u-m%03u", l->opt->area_first + m % l->opt->areas,
             m / l->opt->areas);
}

uint64_t ll_load_measured_ms(const struct ll_load *l, uint32_t k)
{
    return l->base_ms + (k - l->opt->first) * l->opt->step_us / 1000;
}

static void put_last_seen(char *to, size_t size, uint64_t ms)
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char text[32];

    gmtime_r(&s, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(to, size, "\"last_seen\":\"%s.%03uZ\",", text, (unsigned)(ms % 1000));
}

/* After a reconnect, what was not acknowledged goes again before anything new (MQTT 5.0,
 * 4.6), as Zigbee2MQTT does it. libmosquitto repeats at the CONNACK, and would send what
 * is published before it at once: ahead of all that. */
static bool would_overtake(const struct ll_load *l)
{
    return l->reconnects > 0 && !l->connected && mosquitto_socket(l->mosq) >= 0;
}

bool ll_load_publish(struct ll_load *l)
{
    uint32_t k = l->opt->first + l->published;
    unsigned meters = l->opt->areas * l->opt->devices;
    bool off = l->opt->flip && k / meters % 2 == 1;
    char meter[32], topic[160], payload[400], seen[80];

    if (l->published == l->opt->messages || would_overtake(l) ||
        l->published - l->acked_n - l->refused >= l->opt->window) {
        return false;
    }
    ll_load_meter(l, k, meter, sizeof meter);
    seen[0] = '\0';
    if (!l->opt->blind) {
        put_last_seen(seen, sizeof seen, ll_load_measured_ms(l, k));
    }
    snprintf(topic, sizeof topic, "%s/a%u/%s", l->opt->base,
             l->opt->area_first + k % meters % l->opt->areas, meter);
    snprintf(payload, sizeof payload,
             "{\"current\":%u.%02u,\"energy\":%u.%03u,%s\"linkquality\":%u,\"power\":%u,"
             "\"state\":\"%s\",\"voltage\":%u}",
             k % 16, k % 100, k / 1000, k % 1000, seen, 40 + k % 200, k % 3600,
             off ? "OFF" : "ON", 220 + k % 20);
    if (!send_one(l, topic, payload, strlen(payload), false, k + 1)) {
        return false;
    }
    l->published++;
    return true;
}

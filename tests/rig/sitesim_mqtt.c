/* One libmosquitto client on the loop, the way Zigbee2MQTT's MQTT.js behaves: clean
 * session, will, `#` at QoS 0, nothing queued while disconnected, a fixed retry.
 *
 * libmosquitto closes its socket before it tells us, so the poll handle is stopped at
 * once and each connection gets a handle of its own. */
#include "sitesim.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
    READS_PER_TURN = 256,
    INFLIGHT_MAX = 20000, /* QoS 1 publishes the broker has not acknowledged. */
    CONNECT_TIMEOUT_MS = 5000,
    KEEPALIVE_S = 60,
};

static void conn_timer_cb(uv_timer_t *timer);
static void poll_cb(uv_poll_t *poll, int status, int events);

static void poll_closed(uv_handle_t *handle)
{
    free(handle);
}

static void poll_drop(struct sim_area *a)
{
    if (a->poll == NULL) {
        return;
    }
    (void)uv_poll_stop(a->poll);
    uv_close((uv_handle_t *)a->poll, poll_closed);
    a->poll = NULL;
    a->poll_events = 0;
}

static void poll_update(struct sim_area *a)
{
    int events = UV_READABLE;

    if (a->poll == NULL) {
        return;
    }
    if (mosquitto_want_write(a->mosq)) {
        events |= UV_WRITABLE;
    }
    if (events != a->poll_events) {
        a->poll_events = events;
        (void)uv_poll_start(a->poll, events, poll_cb);
    }
}

static void retry_later(struct sim_area *a)
{
    struct sim_site *s = a->site;
    int factor = a->failures < 3 ? 1 : a->failures < 6 ? 2 : 4;
    int delay = s->opt.reconnect_ms * factor;

    a->failures++;
    a->broker_index = (a->broker_index + 1) % s->opt.broker_count;
    delay += sim_random_int(s, 0, delay / 10);
    (void)uv_timer_start(&a->conn_timer, conn_timer_cb, (uint64_t)delay, 0);
}

static void conn_lost(struct sim_area *a)
{
    poll_drop(a);
    a->connected = false;
    a->lost = false;
    a->inflight = 0;
    retry_later(a);
}

/* After every call into the library: it may have closed the socket inside. */
static bool check_conn(struct sim_area *a, int rc)
{
    if (rc == MOSQ_ERR_SUCCESS && !a->lost && mosquitto_socket(a->mosq) >= 0) {
        return true;
    }
    conn_lost(a);
    return false;
}

static int read_all(struct sim_area *a)
{
    int pending = 0;
    int rc = MOSQ_ERR_SUCCESS;

    for (int i = 0; i < READS_PER_TURN; i++) {
        rc = mosquitto_loop_read(a->mosq, 1);
        if (rc != MOSQ_ERR_SUCCESS || a->lost || mosquitto_socket(a->mosq) < 0) {
            return rc;
        }
        if (ioctl(mosquitto_socket(a->mosq), FIONREAD, &pending) < 0 || pending == 0) {
            break;
        }
    }
    return rc;
}

static void poll_cb(uv_poll_t *poll, int status, int events)
{
    struct sim_area *a = poll->data;
    int rc = MOSQ_ERR_SUCCESS;

    if (poll != a->poll) {
        return; /* a handle already on its way out */
    }
    if (status < 0 || (events & UV_READABLE)) {
        /* A refused connection shows as an error here; reading finds out which. */
        rc = read_all(a);
        if (!check_conn(a,
                        rc == MOSQ_ERR_SUCCESS && status < 0 ? MOSQ_ERR_CONN_LOST : rc)) {
            return;
        }
    }
    if (events & UV_WRITABLE) {
        if (!check_conn(a, mosquitto_loop_write(a->mosq, 1))) {
            return;
        }
    }
    poll_update(a);
}

static void dial(struct sim_area *a)
{
    const struct sim_address *b = &a->site->opt.brokers[a->broker_index];
    int rc = mosquitto_connect_async(a->mosq, b->host, b->port, KEEPALIVE_S);

    if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(a->mosq) < 0) {
        retry_later(a);
        return;
    }
    a->lost = false;
    a->poll = sim_alloc(1, sizeof *a->poll);
    if (uv_poll_init(&a->site->loop, a->poll, mosquitto_socket(a->mosq)) != 0) {
        free(a->poll);
        a->poll = NULL;
        retry_later(a);
        return;
    }
    a->poll->data = a;
    poll_update(a);
    (void)uv_timer_start(&a->conn_timer, conn_timer_cb, CONNECT_TIMEOUT_MS, 0);
}

/* One timer per connection: retry, connect timeout, then the keepalive tick. */
static void conn_timer_cb(uv_timer_t *timer)
{
    struct sim_area *a = timer->data;

    if (a->poll == NULL) {
        dial(a);
    } else if (!a->connected) {
        check_conn(a, MOSQ_ERR_CONN_LOST);
    } else if (check_conn(a, mosquitto_loop_misc(a->mosq))) {
        (void)uv_timer_start(&a->conn_timer, conn_timer_cb, 1000, 0);
    }
}

static void on_connect(struct mosquitto *mosq, void *data, int rc)
{
    struct sim_area *a = data;
    char topic[SIM_TOPIC_MAX];

    if (rc != 0) {
        a->lost = true;
        return;
    }
    a->connected = true;
    a->connects++;
    a->failures = 0;
    (void)uv_timer_start(&a->conn_timer, conn_timer_cb, 1000, 0);
    if (a->site->opt.narrow) {
        (void)snprintf(topic, sizeof topic, "%s/bridge/request/#", a->base);
        (void)mosquitto_subscribe(mosq, NULL, topic, 0);
        (void)snprintf(topic, sizeof topic, "%s/+/set/#", a->base);
        (void)mosquitto_subscribe(mosq, NULL, topic, 0);
        (void)snprintf(topic, sizeof topic, "%s/+/get/#", a->base);
    } else {
        (void)snprintf(topic, sizeof topic, "%s/#", a->base);
    }
    (void)mosquitto_subscribe(mosq, NULL, topic, 0);
    sim_bridge_connected(a);
}

static void on_disconnect(struct mosquitto *mosq, void *data, int rc)
{
    struct sim_area *a = data;

    (void)mosq;
    (void)rc;
    a->lost = true;
}

/* For QoS 1 this is the PUBACK, for QoS 0 the write to the socket. */
static void on_publish(struct mosquitto *mosq, void *data, int mid)
{
    struct sim_area *a = data;

    (void)mosq;
    (void)mid;
    if (a->inflight > 0) {
        a->inflight--;
    }
}

static void on_message(struct mosquitto *mosq, void *data,
                       const struct mosquitto_message *msg)
{
    struct sim_area *a = data;

    (void)mosq;
    a->messages_in++;
    sim_command_message(a, msg->topic, msg->payload != NULL ? msg->payload : "",
                        (size_t)msg->payloadlen);
}

void sim_mqtt_open(struct sim_area *a)
{
    static const char offline[] = "{\"state\":\"offline\"}";
    char id[32], topic[SIM_TOPIC_MAX];

    assert(a->mosq == NULL && a->poll == NULL);
    (void)snprintf(id, sizeof id, "z2m-a%d", a->number);
    a->mosq = mosquitto_new(id, true, a);
    if (a->mosq == NULL) {
        fputs("sitesim: out of memory\n", stderr);
        exit(1);
    }
    (void)mosquitto_threaded_set(a->mosq, true); /* the flush is ours, once per turn */
    (void)mosquitto_int_option(a->mosq, MOSQ_OPT_TCP_NODELAY, 1);
    (void)mosquitto_int_option(a->mosq, MOSQ_OPT_SEND_MAXIMUM, 65535);
    (void)snprintf(topic, sizeof topic, "%s/bridge/state", a->base);
    (void)mosquitto_will_set(a->mosq, topic, (int)strlen(offline), offline, 1, true);
    mosquitto_connect_callback_set(a->mosq, on_connect);
    mosquitto_disconnect_callback_set(a->mosq, on_disconnect);
    mosquitto_publish_callback_set(a->mosq, on_publish);
    mosquitto_message_callback_set(a->mosq, on_message);
    a->failures = 0;
    a->inflight = 0;
    dial(a);
}

/* Ungraceful: the socket closes without a DISCONNECT, so the broker sends the will. */
void sim_mqtt_close(struct sim_area *a, bool graceful)
{
    (void)uv_timer_stop(&a->conn_timer);
    poll_drop(a);
    if (a->mosq == NULL) {
        return;
    }
    if (graceful && a->connected) {
        (void)mosquitto_disconnect(a->mosq);
        (void)mosquitto_loop_write(a->mosq, 1);
    }
    mosquitto_destroy(a->mosq);
    a->mosq = NULL;
    a->connected = false;
    a->lost = false;
    a->inflight = 0;
}

bool sim_mqtt_publish(struct sim_area *a, const char *topic, const char *payload,
                      size_t len, int qos, bool retain)
{
    if (!a->connected) {
        a->dropped_disconnected++;
        return false;
    }
    if (a->inflight >= INFLIGHT_MAX) {
        a->dropped_full++;
        return false;
    }
    if (mosquitto_publish(a->mosq, NULL, topic, (int)len, payload, qos, retain) !=
        MOSQ_ERR_SUCCESS) {
        a->dropped_disconnected++;
        return false;
    }
    a->inflight++;
    a->published++;
    return true;
}

/* Called before the loop sleeps: all that was queued in this turn leaves in it. */
void sim_mqtt_flush(struct sim_area *a)
{
    if (a->poll == NULL || !a->connected || !mosquitto_want_write(a->mosq)) {
        return;
    }
    if (check_conn(a, mosquitto_loop_write(a->mosq, 1))) {
        poll_update(a);
    }
}

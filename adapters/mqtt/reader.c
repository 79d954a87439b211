#include <assert.h>
#include <mqtt_protocol.h>
#include <stdio.h>

#include "adapters/mqtt/impl.h"

enum {
    /* A burst ends after so long, so that nobody else on the loop waits longer. */
    BURST_NS = 4 * 1000 * 1000
};

static void message(void *data, const struct mosquitto_message *mm, bool dup)
{
    struct ad_mqtt *m = data;
    struct rp_message out = {.topic = mm->topic,
                             .payload = mm->payload != NULL ? mm->payload : "",
                             .len = (size_t)mm->payloadlen,
                             .retained = mm->retain,
                             .dup = dup,
                             .qos = (uint8_t)mm->qos,
                             .link = (uint32_t)m->reader_ups};

    if (ad_mqtt_sys_message(m, mm)) {
        return;
    }
    if (m->burst++ == 0) {
        m->burst_end_ns = uv_hrtime() + BURST_NS;
    }
    m->status.received++;
    m->cb.message(m->data, &out);
    if (m->burst >= m->config.burst_max || uv_hrtime() >= m->burst_end_ns) {
        m->reader.hold = true;
    }
}

static void read_done(void *data)
{
    struct ad_mqtt *m = data;

    if (m->sys.rose) {
        m->sys.rose = false;
        m->cb.changed(m->data);
    }
    if (m->burst == 0 || m->reader.closing) {
        return;
    }
    m->reader.hold = true;
    m->status.holding = true;
    m->status.bursts++;
    m->burst_connected = !m->reader.gone;
    m->cb.burst(m->data, m->burst);
}

static bool is_up(const struct ad_mqtt *m)
{
    return m->reader.link == AD_MQTT_UP && m->reader.mosq != NULL;
}

static void connected(void *data, bool session_present)
{
    struct ad_mqtt *m = data;

    m->status.session_present = session_present;
    if (m->subscribe_due) {
        m->subscribe_due = false;
        m->fresh = m->fresh_due;
        m->fresh_due = false;
        m->cb.subscribe(m->data);
        m->fresh = false;
    }
    if (is_up(m)) {
        ad_mqtt_sys_connected(m);
    } else {
        m->subscribe_due = true; /* It paused from there. */
    }
}

static void subscribed(void *data, int mid, int refused)
{
    struct ad_mqtt *m = data;

    if (ad_mqtt_sys_subscribed(m, mid)) {
        return;
    }
    m->subscribing -= m->subscribing > 0;
    m->fresh_subscribing = m->fresh_subscribing && m->subscribing > 0;
    if (refused == 0) {
        m->status.subscriptions++;
        return;
    }
    snprintf(m->status.error, sizeof m->status.error,
             "reader: the broker refused a subscription (%s): check its ACL for %s",
             mosquitto_reason_string(refused),
             m->config.username != NULL ? m->config.username : "anonymous clients");
    SY_LOG(m->log, SY_ERR, "mqtt.subscribe_refused", KSTR("broker", m->config.name),
           KSTR("why", m->status.error));
    m->cb.changed(m->data);
}

static void lost(void *data)
{
    struct ad_mqtt *m = data;

    m->burst_connected = false;
    m->status.subscriptions = 0;
    /* The broker's session may be without what it did not answer; and the next broker at
     * this address may be another one, with a session of long ago. */
    m->subscribe_due = true;
    m->fresh_due = m->fresh_due || m->fresh_subscribing;
    m->subscribing = 0;
    m->fresh_subscribing = false;
    ad_mqtt_sys_lost(m);
}

static void taken(void *data)
{
    struct ad_mqtt *m = data;

    m->status.takeovers++;
}

static void changed(void *data)
{
    ad_mqtt_link_changed(data);
}

const struct ad_mqtt_client_ops ad_mqtt_reader_ops = {
    .message = message,
    .connected = connected,
    .subscribed = subscribed,
    .read_done = read_done,
    .lost = lost,
    .taken = taken,
    .changed = changed,
};

void ad_mqtt_subscribe(struct ad_mqtt *m, const char *filter, int qos, bool fresh)
{
    /* Retained messages come for a subscription that is new to the session, not
     * again for one that it has: to subscribe once more is harmless. QoS 2 would be
     * acknowledged by the library in its own way. */
    int retain = fresh || m->fresh ? MQTT_SUB_OPT_SEND_RETAIN_ALWAYS
                                   : MQTT_SUB_OPT_SEND_RETAIN_NEW;
    int rc = !is_up(m) ? MOSQ_ERR_NO_CONN
                       : mosquitto_subscribe_v5(m->reader.mosq, NULL, filter,
                                                qos > 0 ? 1 : 0, retain, NULL);

    if (rc == MOSQ_ERR_SUCCESS) {
        m->subscribing++;
        m->fresh_subscribing = m->fresh_subscribing || fresh || m->fresh;
    } else if (rc == MOSQ_ERR_NO_CONN) {
        m->subscribe_due = true;
        m->fresh_due = m->fresh_due || fresh;
    } else {
        SY_LOG(m->log, SY_ERR, "mqtt.bad_filter", KSTR("broker", m->config.name),
               KSTR("filter", filter), KSTR("why", mosquitto_strerror(rc)));
    }
    ad_mqtt_client_kick(&m->reader);
}

void ad_mqtt_release(struct ad_mqtt *m)
{
    if (!m->status.holding) {
        return;
    }
    assert(m->reader.hold && m->burst > 0);
    m->status.holding = false;
    m->reader.hold = false;
    m->burst = 0;
    /* If its connection is gone the acknowledgements went with it, and the broker
     * sends the messages again: what was committed is then known to be old. */
    m->status.acked_bursts += m->burst_connected;
    ad_mqtt_client_kick(&m->reader);
}

static void forget_burst(struct ad_mqtt *m)
{
    m->status.holding = false;
    m->burst_connected = false;
    m->burst = 0;
}

void ad_mqtt_pause(struct ad_mqtt *m)
{
    if (m->status.paused) {
        return;
    }
    m->status.paused = true;
    m->reader_ups = 0; /* What follows is no reconnect: nothing had failed. */
    forget_burst(m);
    ad_mqtt_client_pause(&m->reader);
    ad_mqtt_describe(m);
    SY_LOG(m->log, SY_NOTE, "mqtt.paused", KSTR("broker", m->config.name));
}

void ad_mqtt_resume(struct ad_mqtt *m)
{
    if (!m->status.paused) {
        return;
    }
    m->status.paused = false;
    if (m->writer.link == AD_MQTT_UP) {
        m->reader.address = m->writer.address; /* That one works. */
    }
    ad_mqtt_client_resume(&m->reader);
    SY_LOG(m->log, SY_NOTE, "mqtt.resumed", KSTR("broker", m->config.name));
}

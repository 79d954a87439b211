/* The status of the cluster for everybody. One is under way at most, and of those
 * that come meanwhile only the last one follows: a site that changes often cannot
 * fill anything. */

#include <assert.h>
#include <string.h>

#include "adapters/mqtt/impl.h"
#include "adapters/mqtt/library.h"

enum {
    /* A broker that does not take it may close the connection, and commands with it:
     * mosquitto up to 2.0.21 does if max_queued_messages is 0. So it is not asked
     * often. */
    REFUSED_PAUSE_MS = 600000,
    UNHEARD_MAX = 2
};

static void refused(struct ad_mqtt *m, const char *why)
{
    m->tell.not_before_ms = uv_now(m->writer.loop) + REFUSED_PAUSE_MS;
    if (!m->status.status_refused) {
        m->status.status_refused = true;
        SY_LOG(m->log, SY_WARN, "mqtt.status_refused", KSTR("broker", m->config.name),
               KSTR("topic", m->config.status_topic), KSTR("why", why));
    }
}

void ad_mqtt_tell_go_on(struct ad_mqtt *m)
{
    struct ad_mqtt_tell *t = &m->tell;
    int rc;

    if (!t->due || t->mid != 0 || m->writer.link != AD_MQTT_UP ||
        m->writer.mosq == NULL || m->writer.gone ||
        uv_now(m->writer.loop) < t->not_before_ms) {
        return;
    }
    t->due = false;
    rc = mosquitto_publish_v5(m->writer.mosq, &t->mid, m->config.status_topic,
                              (int)t->len, t->payload, 1, true, NULL);
    if (rc != MOSQ_ERR_SUCCESS) {
        t->mid = 0;
        refused(m, mosquitto_strerror(rc)); /* QoS or retain, of a broker without. */
    }
    ad_mqtt_client_kick(&m->writer);
}

void ad_mqtt_tell_connected(struct ad_mqtt *m)
{
    m->tell.due = m->tell.wanted;
    ad_mqtt_tell_go_on(m);
    if (m->writer.will_refused) {
        refused(m, "it does not take the last will");
    }
}

bool ad_mqtt_tell_acked(struct ad_mqtt *m, int mid, int reason)
{
    struct ad_mqtt_tell *t = &m->tell;

    if (t->mid == 0 || mid != t->mid) {
        return false;
    }
    t->mid = 0;
    t->unheard = 0;
    if (reason >= AD_MQTT_REASON_FAILED) {
        refused(m, mosquitto_reason_string(reason));
    } else if (!m->writer.will_refused) {
        m->status.status_refused = false;
    }
    return true;
}

void ad_mqtt_tell_lost(struct ad_mqtt *m)
{
    struct ad_mqtt_tell *t = &m->tell;

    if (t->mid != 0 && ++t->unheard >= UNHEARD_MAX) {
        refused(m, "it closes the connection");
    }
    t->mid = 0;
}

void ad_mqtt_tell(struct ad_mqtt *m, const void *payload, size_t len)
{
    struct ad_mqtt_tell *t = &m->tell;

    assert(len <= sizeof t->payload);
    if (m->config.status_topic[0] == '\0') {
        return;
    }
    memcpy(t->payload, payload, len);
    t->len = len;
    t->wanted = t->due = true;
    ad_mqtt_tell_go_on(m);
}

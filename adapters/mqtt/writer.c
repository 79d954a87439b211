#include <assert.h>
#include <mqtt_protocol.h>
#include <string.h>

#include "adapters/mqtt/impl.h"
#include "adapters/mqtt/library.h"

static struct ad_mqtt_waiting *waiting_at(struct ad_mqtt *m, unsigned i)
{
    return &m->waiting[(m->waiting_first + i) % PUBLISH_MESSAGES_MAX];
}

/* Forget the confirmed ones at the head. */
static void trim(struct ad_mqtt *m)
{
    while (m->waiting_n > 0 && waiting_at(m, 0)->mid == 0) {
        m->waiting_first = (m->waiting_first + 1) % PUBLISH_MESSAGES_MAX;
        m->waiting_n--;
    }
}

static void acked(void *data, int mid, int reason)
{
    struct ad_mqtt *m = data;

    if (ad_mqtt_tell_acked(m, mid, reason)) {
        return;
    }
    /* Brokers confirm in order, so this is the first but for rare cases. */
    for (unsigned i = 0; i < m->waiting_n; i++) {
        struct ad_mqtt_waiting *w = waiting_at(m, i);

        if (w->mid == mid) {
            m->status.publish_queued -= w->bytes;
            *w = (struct ad_mqtt_waiting){0};
            if (reason >= AD_MQTT_REASON_FAILED ||
                (m->config.to_somebody && reason == MQTT_RC_NO_MATCHING_SUBSCRIBERS)) {
                m->status.publish_failed++;
            } else {
                m->status.published++;
            }
            break;
        }
    }
    trim(m);
}

static void connected(void *data, bool session_present)
{
    struct ad_mqtt *m = data;

    (void)session_present;
    assert(m->waiting_n == 0);
    ad_mqtt_tell_connected(m);
}

static void read_done(void *data)
{
    ad_mqtt_tell_go_on(data);
}

static void lost(void *data)
{
    struct ad_mqtt *m = data;

    for (unsigned i = 0; i < m->waiting_n; i++) {
        m->status.publish_failed += waiting_at(m, i)->mid != 0;
    }
    m->waiting_first = m->waiting_n = 0;
    m->status.publish_queued = 0;
    ad_mqtt_tell_lost(m);
}

static void taken(void *data)
{
    (void)data; /* The reader counts. */
}

static void changed(void *data)
{
    ad_mqtt_link_changed(data);
}

const struct ad_mqtt_client_ops ad_mqtt_writer_ops = {
    .acked = acked,
    .connected = connected,
    .read_done = read_done,
    .lost = lost,
    .taken = taken,
    .changed = changed,
};

int ad_mqtt_publish(struct ad_mqtt *m, const char *topic, const void *payload, size_t len,
                    bool retain)
{
    size_t bytes = strlen(topic) + len;
    int mid = 0;
    int rc;

    if (m->writer.link != AD_MQTT_UP || m->writer.mosq == NULL || m->writer.gone) {
        return SY_ENOTFOUND;
    }
    if (m->waiting_n == PUBLISH_MESSAGES_MAX || bytes > m->config.publish_queue_max ||
        m->status.publish_queued > m->config.publish_queue_max - bytes) {
        return SY_ELIMIT;
    }
    rc = mosquitto_publish_v5(m->writer.mosq, &mid, topic, (int)len, payload, 1, retain,
                              NULL);
    if (rc == MOSQ_ERR_NO_CONN) {
        return SY_ENOTFOUND;
    }
    if (rc != MOSQ_ERR_SUCCESS) {
        return rc == MOSQ_ERR_NOMEM ? SY_ELIMIT : SY_EINVALID;
    }
    *waiting_at(m, m->waiting_n++) = (struct ad_mqtt_waiting){mid, (uint32_t)bytes};
    m->status.publish_queued += bytes;
    ad_mqtt_client_kick(&m->writer);
    return 0;
}

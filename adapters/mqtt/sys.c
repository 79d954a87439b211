/* What the broker says of the messages that it threw away: mosquitto counts them and
 * publishes the count, retained, each sys_interval in which it changed. The reader
 * listens at QoS 0, so nothing of it is acknowledged or part of a burst, and the
 * session does not collect it. */

#include <mqtt_protocol.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/mqtt/impl.h"

enum {
    /* Brokers there are that close the connection of who asks for what it may not
     * know. Not to hear this is better than not to be connected. */
    UNHEARD_MAX = 2,
    COUNT_SIZE = 20 /* So many digits less one, or it is none. */
};

static const char topic[] = "$SYS/broker/publish/messages/dropped";

/* On each connection: the session has the subscription, but where the counter stands
 * now is told to who subscribes. */
void ad_mqtt_sys_connected(struct ad_mqtt *m)
{
    struct ad_mqtt_sys *s = &m->sys;

    if (s->known && s->address != m->reader.address) {
        s->known = false; /* It may be another broker, with a count of its own. */
    }
    s->address = m->reader.address;
    if (s->unheard < UNHEARD_MAX &&
        mosquitto_subscribe_v5(m->reader.mosq, &s->mid, topic, 0,
                               MQTT_SUB_OPT_SEND_RETAIN_ALWAYS,
                               NULL) != MOSQ_ERR_SUCCESS) {
        s->mid = 0;
    }
}

bool ad_mqtt_sys_subscribed(struct ad_mqtt *m, int mid)
{
    struct ad_mqtt_sys *s = &m->sys;

    if (s->mid == 0 || mid != s->mid) {
        return false;
    }
    s->mid = 0;
    s->unheard = 0;
    return true; /* Granted or not: it is extra. */
}

static void rise(struct ad_mqtt *m, uint64_t by)
{
    m->status.broker_dropped += by;
    m->status.broker_dropped_ms = uv_now(m->reader.loop);
    m->sys.rose = true;
}

static void look_at(struct ad_mqtt *m, uint64_t now, bool retained)
{
    struct ad_mqtt_sys *s = &m->sys;

    if (!s->known && retained) {
        m->status.broker_dropped_before = now;
        s->last = now;
    } else if (!s->known || now < s->last) {
        /* Started anew. Or it had not told what it stood at: up to 2.0.11 the broker
         * forgets that a minute after the last change. Then this is one, and how much
         * of it is older nobody knows. */
        m->status.broker_dropped_before = 0;
        s->last = 0;
    }
    if (now > s->last) {
        rise(m, now - s->last);
    }
    s->last = now;
    s->known = true;
}

static bool is_count(const char *text, int len)
{
    for (int i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
    }
    return len > 0 && len < COUNT_SIZE;
}

bool ad_mqtt_sys_message(struct ad_mqtt *m, const struct mosquitto_message *mm)
{
    char text[COUNT_SIZE] = "";

    if (strcmp(mm->topic, topic) != 0) {
        return false;
    }
    if (is_count(mm->payload, mm->payloadlen)) {
        memcpy(text, mm->payload, (size_t)mm->payloadlen);
        look_at(m, strtoull(text, NULL, 10), mm->retain);
    }
    return true;
}

void ad_mqtt_sys_lost(struct ad_mqtt *m)
{
    /* Not if it was ours to end, and not if the question or its answer waited behind
     * a burst. */
    m->sys.unheard += m->sys.mid != 0 && !m->status.paused && !m->status.holding;
    m->sys.mid = 0;
}

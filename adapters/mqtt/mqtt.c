#include "adapters/mqtt/mqtt.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "adapters/mqtt/impl.h"
#include "base/mem.h"

enum {
    KEEPALIVE_MIN_S = 5 /* the library's */,
    RECEIVE_MAX = 65535,
    WILL_DELAY_MAX_S = 3600,
    WRITER_EXPIRY_S = 60 /* Its session has nothing but the will: so much longer. */
};

void ad_mqtt_config_default(struct ad_mqtt_config *c)
{
    *c = (struct ad_mqtt_config){
        .keepalive_s = 10,
        .session_expiry_s = 86400,
        .receive_max = 1000,
        .connect_timeout_ms = 3000,
        .backoff_max_ms = 30000,
        .burst_max = 4096,
        .publish_queue_max = 1024 * 1024,
        .will_delay_s = 10,
    };
}

static int check_address(const struct ad_mqtt_config *c, unsigned i, struct sy_errbuf *eb)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    const char *host = c->addresses[i].host;

    if (c->addresses[i].port == 0) {
        return sy_fail(eb, SY_EINVALID, "broker %s: address %s has no port", c->name,
                       host);
    }
    if (uv_ip4_addr(host, 1, &v4) != 0 && uv_ip6_addr(host, 1, &v6) != 0) {
        return sy_fail(eb, SY_EINVALID,
                       "broker %s: '%s' is not a numeric address; names would block the "
                       "loop while they are resolved",
                       c->name, host);
    }
    return 0;
}

static int check_status_topic(const struct ad_mqtt_config *c, struct sy_errbuf *eb)
{
    if (c->status_topic[0] != '\0' &&
        (mosquitto_pub_topic_check(c->status_topic) != MOSQ_ERR_SUCCESS ||
         mosquitto_validate_utf8(c->status_topic, (int)strlen(c->status_topic)) !=
             MOSQ_ERR_SUCCESS)) {
        return sy_fail(eb, SY_EINVALID,
                       "broker %s: nothing can be published on '%s': the topic of the "
                       "status must be text without + and #",
                       c->name, c->status_topic);
    }
    if (c->will_delay_s > WILL_DELAY_MAX_S) {
        return sy_fail(eb, SY_EINVALID, "broker %s: the will may wait at most %d s",
                       c->name, WILL_DELAY_MAX_S);
    }
    return 0;
}

static int check_config(const struct ad_mqtt_config *c, struct sy_errbuf *eb)
{
    int rv = 0;

    if (c->addresses_n == 0 || c->addresses_n > AD_MQTT_ADDRESSES_MAX) {
        return sy_fail(eb, SY_EINVALID, "broker %s: give 1 to %d addresses", c->name,
                       AD_MQTT_ADDRESSES_MAX);
    }
    if (c->reader_id[0] == '\0' || c->writer_id[0] == '\0' ||
        strcmp(c->reader_id, c->writer_id) == 0) {
        return sy_fail(eb, SY_EINVALID,
                       "broker %s: reader and writer need client ids of "
                       "their own",
                       c->name);
    }
    if (c->keepalive_s < KEEPALIVE_MIN_S || c->keepalive_s > UINT16_MAX) {
        return sy_fail(eb, SY_EINVALID, "broker %s: keepalive must be %d to %d s",
                       c->name, KEEPALIVE_MIN_S, UINT16_MAX);
    }
    if (c->receive_max == 0 || c->receive_max > RECEIVE_MAX || c->burst_max == 0 ||
        c->connect_timeout_ms == 0 || c->backoff_max_ms == 0 ||
        c->publish_queue_max > INT_MAX) {
        return sy_fail(eb, SY_EINVALID,
                       "broker %s: receive_max must be 1 to %d, the other "
                       "limits above 0",
                       c->name, RECEIVE_MAX);
    }
    for (unsigned i = 0; i < c->addresses_n && rv == 0; i++) {
        rv = check_address(c, i, eb);
    }
    return rv != 0 ? rv : check_status_topic(c, eb);
}

/* Two addresses may be two brokers: a command must go where its answer is heard. */
static void follow(struct ad_mqtt *m)
{
    if (m->reader.link == AD_MQTT_UP) {
        ad_mqtt_client_move(&m->writer, m->reader.address);
    }
}

void ad_mqtt_describe(struct ad_mqtt *m)
{
    const struct ad_mqtt_client *why =
        m->reader.error[0] != '\0' ? &m->reader : &m->writer;
    struct ad_mqtt_status *s = &m->status;

    if (s->reader != m->reader.link || s->writer != m->writer.link) {
        s->since_ms = uv_now(m->reader.loop);
    }
    s->reader = m->reader.link;
    s->writer = m->writer.link;
    ad_mqtt_client_address(&m->reader, s->address, sizeof s->address);
    if (why->error[0] == '\0') {
        s->error[0] = '\0';
    } else {
        snprintf(s->error, sizeof s->error, "%s: %.*s", why->what,
                 (int)(sizeof s->error - 10), why->error);
    }
}

void ad_mqtt_link_changed(struct ad_mqtt *m)
{
    bool was_up = m->status.reader == AD_MQTT_UP;

    if (!was_up && m->reader.link == AD_MQTT_UP) {
        m->status.reconnects += m->reader_ups++ > 0;
        /* From now on the broker has a session, with nothing in it: if the owner
         * pauses before it has named all, that must not be taken for a full one. */
        m->subscribe_due = m->subscribe_due || !m->reader.session;
    }
    follow(m);
    ad_mqtt_describe(m);
    m->cb.changed(m->data);
}

int ad_mqtt_open(struct ad_mqtt **ret, uv_loop_t *loop, const struct sy_log *log,
                 const struct ad_mqtt_config *config, const struct ad_mqtt_callbacks *cb,
                 void *data, struct sy_errbuf *eb)
{
    struct ad_mqtt *m;
    int rv = check_config(config, eb);

    if (rv != 0) {
        return rv;
    }
    /* The library counts its users itself. */
    if (mosquitto_lib_init() != MOSQ_ERR_SUCCESS) {
        return sy_fail(eb, SY_ELIMIT, "broker %s: libmosquitto does not start",
                       config->name);
    }
    m = sy_calloc(1, sizeof *m);
    m->config = *config;
    m->config.username = config->username != NULL ? sy_strdup(config->username) : NULL;
    m->config.password = config->password != NULL ? sy_strdup(config->password) : NULL;
    m->cb = *cb;
    m->data = data;
    m->log = log;
    m->reader = (struct ad_mqtt_client){.config = &m->config,
                                        .ops = &ad_mqtt_reader_ops,
                                        .data = m,
                                        .loop = loop,
                                        .log = log,
                                        .what = "reader",
                                        .id = m->config.reader_id,
                                        .session_expiry_s = config->session_expiry_s};
    m->writer = m->reader;
    m->writer.ops = &ad_mqtt_writer_ops;
    m->writer.what = "writer";
    m->writer.id = m->config.writer_id;
    m->writer.will = true;
    m->writer.session_expiry_s = config->will_delay_s + WRITER_EXPIRY_S;
    m->open_handles = 2;
    ad_mqtt_client_open(&m->reader);
    ad_mqtt_client_open(&m->writer);
    ad_mqtt_describe(m);
    *ret = m;
    return 0;
}

const struct ad_mqtt_status *ad_mqtt_status(const struct ad_mqtt *m)
{
    return &m->status;
}

void ad_mqtt_hurry(struct ad_mqtt *m)
{
    ad_mqtt_client_hurry(&m->reader);
    ad_mqtt_client_hurry(&m->writer);
    ad_mqtt_describe(m);
}

static void timer_closed(uv_handle_t *timer)
{
    struct ad_mqtt_client *c = timer->data;
    struct ad_mqtt *m = c->data;
    void (*closed)(void *data) = m->closed;
    void *data = m->data;

    assert(m->open_handles > 0);
    if (--m->open_handles > 0) {
        return;
    }
    sy_free((char *)(uintptr_t)m->config.username);
    sy_free((char *)(uintptr_t)m->config.password);
    sy_free(m);
    (void)mosquitto_lib_cleanup(); /* Always succeeds. */
    if (closed != NULL) {
        closed(data);
    }
}

void ad_mqtt_close(struct ad_mqtt *m, void (*closed)(void *data))
{
    m->closed = closed;
    ad_mqtt_client_close(&m->reader, timer_closed);
    ad_mqtt_client_close(&m->writer, timer_closed);
}

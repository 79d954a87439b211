/* One connection of the library: how it is made, and what it calls. */

#include <assert.h>
#include <mqtt_protocol.h>
#include <stdio.h>
#include <string.h>

#include "adapters/mqtt/library.h"

enum {
    SEND_MAXIMUM = 1000,
    /* bridge/devices has about 9 kB for each device. The library takes memory for
     * whatever length a packet says it has, so the broker is told not to. */
    PACKET_MAX = 16 * 1024 * 1024,
    DUP_LEVEL = MOSQ_LOG_DEBUG
};

/* --- callbacks: notes only --- */

static void on_connect(struct mosquitto *mosq, void *data, int reason, int flags,
                       const mosquitto_property *properties)
{
    struct ad_mqtt_client *c = data;

    (void)mosq;
    (void)properties;
    if (reason == 0) {
        c->connack = true;
        c->session = (flags & 1) != 0;
    } else {
        c->refused = reason;
    }
}

static void on_disconnect(struct mosquitto *mosq, void *data, int rc,
                          const mosquitto_property *properties)
{
    struct ad_mqtt_client *c = data;

    (void)mosq;
    (void)properties;
    c->gone = true;
    c->gone_rc = rc;
}

static void on_message(struct mosquitto *mosq, void *data,
                       const struct mosquitto_message *m,
                       const mosquitto_property *properties)
{
    struct ad_mqtt_client *c = data;
    /* Not told: then it may be one. Who takes a message that repeats the last one
     * of its topic for a redelivery errs less than who counts it twice. */
    bool dup = c->dup_known ? c->dup : m->qos > 0;

    (void)mosq;
    (void)properties;
    c->dup_known = false;
    if (!c->discard && !c->closing && !c->let_go) {
        c->ops->message(c->data, m, dup);
    }
}

static void on_publish(struct mosquitto *mosq, void *data, int mid, int reason,
                       const mosquitto_property *properties)
{
    struct ad_mqtt_client *c = data;

    (void)mosq;
    (void)properties;
    if (c->ops->acked != NULL) {
        c->ops->acked(c->data, mid, reason);
    }
}

static void on_subscribe(struct mosquitto *mosq, void *data, int mid, int n,
                         const int *granted, const mosquitto_property *properties)
{
    struct ad_mqtt_client *c = data;

    (void)mosq;
    (void)properties;
    c->suback = true;
    c->suback_mid = mid;
    c->suback_refused = 0;
    for (int i = 0; i < n; i++) {
        if (granted[i] >= AD_MQTT_REASON_FAILED) {
            c->suback_refused = granted[i];
        }
    }
}

/* Its return code only says that TLS failed; why stands in its log. The first line
 * says most. */
static void note_tls_error(struct ad_mqtt_client *c, const char *line)
{
    static const char head[] = "OpenSSL Error";
    const char *reason = strrchr(line, ':'); /* error:0A000086:lib::reason */

    if (c->tls_error[0] != '\0') {
        return;
    }
    if (strncmp(line, head, sizeof head - 1) == 0 && reason != NULL) {
        snprintf(c->tls_error, sizeof c->tls_error, "%s", reason + 1);
    } else if (strstr(line, "TLS") != NULL || strstr(line, "certificate") != NULL ||
               strstr(line, "host name") != NULL || strstr(line, "key") != NULL) {
        snprintf(c->tls_error, sizeof c->tls_error, "%s", line);
    }
}

/* The library keeps the DUP flag of a message to itself, but says it in the log
 * line that comes right before: "Client <id> received PUBLISH (d1, q1, ...". The
 * line is the same in all versions since 1.0. */
static void on_log(struct mosquitto *mosq, void *data, int level, const char *line)
{
    static const char head[] = "Client ";
    static const char tail[] = " received PUBLISH (d";
    struct ad_mqtt_client *c = data;
    size_t at = sizeof head - 1 + strlen(c->id);

    (void)mosq;
    if (level == MOSQ_LOG_ERR) {
        note_tls_error(c, line);
    } else if (c->ops->message != NULL && level == DUP_LEVEL &&
               strlen(line) > at + sizeof tail &&
               memcmp(line + at, tail, sizeof tail - 1) == 0) {
        c->dup = line[at + sizeof tail - 1] == '1';
        c->dup_known = true;
    }
}

/* --- making one --- */

/* There is no asynchronous connect that takes properties, and the one that takes
 * them, mosquitto_connect_bind_v5(), blocks in connect() for minutes when packets
 * are lost on the way. But it stores the properties before it looks at the host,
 * and mosquitto_connect_async() sends what is stored. So: call it without a host,
 * which it refuses (MOSQ_ERR_INVAL, documented) without any I/O. The order is the
 * same from 2.0.0 to 2.0.20 and on their development branch; test_mqtt.c reads
 * the properties in the bytes of the CONNECT, so another library cannot surprise. */
static int store_properties(struct ad_mqtt_client *c)
{
    mosquitto_property *list = NULL;
    int rc = mosquitto_property_add_int32(&list, MQTT_PROP_SESSION_EXPIRY_INTERVAL,
                                          c->session_expiry_s);

    if (rc == MOSQ_ERR_SUCCESS) {
        rc = mosquitto_property_add_int32(&list, MQTT_PROP_MAXIMUM_PACKET_SIZE,
                                          PACKET_MAX);
    }
    if (rc == MOSQ_ERR_SUCCESS) {
        rc = mosquitto_connect_bind_v5(c->mosq, NULL, 0, (int)c->config->keepalive_s,
                                       NULL, list);
        assert(rc != MOSQ_ERR_SUCCESS); /* It cannot have connected to nowhere. */
        rc = rc == MOSQ_ERR_INVAL ? MOSQ_ERR_SUCCESS : rc;
    }
    mosquitto_property_free_all(&list);
    return rc;
}

/* Held back by the broker for will_delay: a relief within it, which connects with the
 * same client id, shows nobody an "offline" (MQTT 5.0, 3.1.3.2.2). That ends with the
 * session, too; so clean start is off and its expiry is longer. */
static int set_will(struct ad_mqtt_client *c)
{
    const struct ad_mqtt_config *f = c->config;
    mosquitto_property *list = NULL;
    int rc = mosquitto_property_add_int32(&list, MQTT_PROP_WILL_DELAY_INTERVAL,
                                          f->will_delay_s);

    rc = rc != 0 ? rc
                 : mosquitto_will_set_v5(c->mosq, f->status_topic, (int)strlen(f->will),
                                         f->will, 1, true, list);
    if (rc != MOSQ_ERR_SUCCESS) {
        mosquitto_property_free_all(&list); /* The library's, if it took it. */
    }
    return rc;
}

/* A key with a passphrase: nobody is there to be asked, so it fails. */
static int no_passphrase(char *buf, int size, int rwflag, void *data)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)data;
    return 0;
}

static int set_tls(struct ad_mqtt_client *c)
{
    const struct ad_mqtt_config *f = c->config;
    bool ours = f->tls.cert[0] != '\0';
    int rc = mosquitto_tls_set(c->mosq, f->tls.ca, NULL, ours ? f->tls.cert : NULL,
                               ours ? f->tls.key : NULL, no_passphrase);

    /* 1: the broker must show a certificate; 1.2 or newer. That it names the address
     * is looked at unless mosquitto_tls_insecure_set() says otherwise. */
    return rc != 0 ? rc : mosquitto_tls_opts_set(c->mosq, 1, "tlsv1.2", NULL);
}

int ad_mqtt_library_make(struct ad_mqtt_client *c)
{
    const struct ad_mqtt_config *f = c->config;
    int rc;

    c->mosq = mosquitto_new(c->id, false, c);
    if (c->mosq == NULL) {
        return MOSQ_ERR_NOMEM;
    }
    /* Nothing leaves but in mosquitto_loop_write(): the PUBACKs wait for us. */
    rc = mosquitto_threaded_set(c->mosq, true);
    rc = rc != 0
             ? rc
             : mosquitto_int_option(c->mosq, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    rc = rc != 0 ? rc : mosquitto_int_option(c->mosq, MOSQ_OPT_TCP_NODELAY, 1);
    rc = rc != 0 ? rc
                 : mosquitto_int_option(c->mosq, MOSQ_OPT_RECEIVE_MAXIMUM,
                                        (int)f->receive_max);
    rc =
        rc != 0 ? rc : mosquitto_int_option(c->mosq, MOSQ_OPT_SEND_MAXIMUM, SEND_MAXIMUM);
    if (rc == 0 && f->username != NULL) {
        rc = mosquitto_username_pw_set(c->mosq, f->username, f->password);
    }
    if (rc == 0 && c->will && f->status_topic[0] != '\0' && !c->will_refused) {
        rc = set_will(c);
    }
    if (rc == 0 && f->tls.on) {
        rc = set_tls(c);
    }
    mosquitto_connect_v5_callback_set(c->mosq, on_connect);
    mosquitto_disconnect_v5_callback_set(c->mosq, on_disconnect);
    mosquitto_publish_v5_callback_set(c->mosq, on_publish);
    mosquitto_subscribe_v5_callback_set(c->mosq, on_subscribe);
    if (c->ops->message != NULL) {
        mosquitto_message_v5_callback_set(c->mosq, on_message);
    }
    mosquitto_log_callback_set(c->mosq, on_log);
    return rc != 0 ? rc : store_properties(c);
}

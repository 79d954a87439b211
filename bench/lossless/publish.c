/* Publish numbered messages and write down which the broker acknowledged; and the
 * other end of the yardstick, a subscriber that does nothing with what it gets. */

#include <stdio.h>

#include <mosquitto.h>
#include <mqtt_protocol.h>

#include "bench/lossless/lossless.h"

static void write_acked(const struct ll_load *l)
{
    FILE *f;

    if (l->opt->acked == NULL) {
        return;
    }
    f = fopen(l->opt->acked, "w");
    if (f == NULL) {
        ll_die("%s cannot be written", l->opt->acked);
    }
    for (uint32_t i = 0; i < l->opt->messages; i++) {
        if (l->acked[i]) {
            fprintf(f, "%u\n", l->opt->first + i);
        }
    }
    if (fclose(f) != 0) {
        ll_die("%s cannot be written", l->opt->acked);
    }
}

/* Microseconds until the next message is due; 0: now. */
static uint64_t due_in(const struct ll_load *l, uint64_t began, uint64_t now)
{
    uint64_t at;

    if (l->opt->rate <= 0) {
        return 0;
    }
    at = began + (uint64_t)(l->published * 1e6 / l->opt->rate);
    return at > now ? at - now : 0;
}

static void publish_all(struct ll_load *l, uint64_t began)
{
    uint64_t until = 0;

    while (l->acked_n + l->refused < l->opt->messages) {
        uint64_t now = ll_now_us();
        uint64_t in = due_in(l, began, now);

        if (l->published == l->opt->messages) {
            until = until != 0 ? until : now + l->opt->patience_s * 1000000ULL;
            if (now > until) {
                return;
            }
        }
        for (unsigned i = 0; i < 64 && due_in(l, began, now) == 0; i++) {
            if (!ll_load_publish(l)) {
                in = 1000;
                break;
            }
        }
        ll_load_turn(l, in < 1000 ? (in > 0) : (int)(in / 1000 < 20 ? in / 1000 : 20));
    }
}

int ll_publish(const struct ll_options *opt)
{
    struct ll_load l;
    uint64_t began;
    double s;

    ll_load_open(&l, opt);
    if (!opt->running) {
        ll_load_announce(&l);
    }
    if (opt->messages == 0) {
        ll_load_close(&l);
        return 0;
    }
    began = ll_now_us();
    publish_all(&l, began);
    s = (double)(ll_now_us() - began) / 1e6;
    write_acked(&l);
    printf(
        "published %u, acknowledged %u (%u of them with no subscriber), refused %u, "
        "reconnects %u, in %.1f s, %.0f per second\n",
        l.published, l.acked_n, l.unheard, l.refused, l.reconnects, s, l.acked_n / s);
    ll_load_close(&l);
    return l.acked_n == opt->messages ? 0 : 1;
}

/* --- the plain subscriber --- */

struct sink
{
    const struct ll_options *opt;
    uint64_t n;
    uint64_t first_us;
    uint64_t last_us;
};

static void on_message(struct mosquitto *m, void *data,
                       const struct mosquitto_message *message,
                       const mosquitto_property *props)
{
    struct sink *s = data;

    (void)m;
    (void)props;
    if (message->retain) {
        return;
    }
    s->last_us = ll_now_us();
    s->first_us = s->n == 0 ? s->last_us : s->first_us;
    s->n++;
}

static void on_connect(struct mosquitto *m, void *data, int rc, int flags,
                       const mosquitto_property *props)
{
    struct sink *s = data;
    char filter[160];

    (void)rc;
    (void)flags;
    (void)props;
    snprintf(filter, sizeof filter, "%s/+/+", s->opt->base);
    mosquitto_subscribe(m, NULL, filter, 1);
}

static void on_subscribe(struct mosquitto *m, void *data, int mid, int n, const int *qos,
                         const mosquitto_property *props)
{
    (void)m;
    (void)data;
    (void)mid;
    (void)n;
    (void)qos;
    (void)props;
    puts("subscribed");
    fflush(stdout);
}

int ll_sink(const struct ll_options *opt)
{
    struct sink s = {.opt = opt};
    struct mosquitto *m;
    uint64_t until = ll_now_us() + opt->patience_s * 1000000ULL;

    mosquitto_lib_init();
    m = mosquitto_new(opt->client, true, &s);
    mosquitto_int_option(m, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    mosquitto_int_option(m, MOSQ_OPT_RECEIVE_MAXIMUM, (int)opt->window);
    mosquitto_connect_v5_callback_set(m, on_connect);
    mosquitto_message_v5_callback_set(m, on_message);
    mosquitto_subscribe_v5_callback_set(m, on_subscribe);
    if (mosquitto_connect_bind_v5(m, opt->host, opt->port, 10, NULL, NULL) != 0) {
        ll_die("no broker at %s:%d", opt->host, opt->port);
    }
    while (s.n < opt->messages && ll_now_us() < until) {
        if (mosquitto_loop(m, 20, 1000) != 0) {
            break;
        }
    }
    mosquitto_destroy(m);
    mosquitto_lib_cleanup();
    printf("received %llu, %.0f per second\n", (unsigned long long)s.n,
           s.last_us > s.first_us
               ? (double)(s.n - 1) * 1e6 / (double)(s.last_us - s.first_us)
               : 0);
    return s.n >= opt->messages ? 0 : 1;
}

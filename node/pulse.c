#include "node/pulse.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { AGAIN_SHARE = 5 /* of the pause, after a miss */, ID_SIZE = 64 };

struct nd_pulse
{
    uv_loop_t *loop;
    struct nd_pulse_config config;
    struct ad_probe_config probe_config;
    char id[ID_SIZE];
    nd_pulse_cb cb; /* NULL: told, or nobody wants to know */
    void *data;
    struct ad_probe *probe;
    uv_timer_t timer;
    bool known; /* it has answered once */
    unsigned missed;
    uint64_t begun_ms;
};

void nd_pulse_config_default(struct nd_pulse_config *c)
{
    *c = (struct nd_pulse_config){
        .timeout_ms = 3000, .every_ms = 5000, .misses = 3, .begin_ms = 60000};
}

static void look(uv_timer_t *timer);

static bool is_dead(struct nd_pulse *p)
{
    p->missed++;
    return p->known ? p->missed >= p->config.misses
                    : uv_now(p->loop) - p->begun_ms >= p->config.begin_ms;
}

static void said(void *data, bool good, const char *text)
{
    struct nd_pulse *p = data;
    bool goes_on = good && ad_probe_is_held(p->probe);
    nd_pulse_cb cb = p->cb;

    if (good) {
        p->known = true;
        p->missed = 0;
    }
    if (goes_on) {
        return; /* It is pinged. */
    }
    p->probe = NULL;
    if (!good && cb != NULL && is_dead(p)) {
        p->cb = NULL;
        cb(p->data, text);
        return;
    }
    (void)uv_timer_start(&p->timer, look,
                         good ? p->config.every_ms : p->config.every_ms / AGAIN_SHARE, 0);
}

static void look(uv_timer_t *timer)
{
    struct nd_pulse *p = timer->data;

    p->probe = ad_probe_start(p->loop, &p->probe_config, said, p);
}

/* Where to ask: without TLS if it listens anywhere without, since a look knows no TLS.
 * Returns whether a CONNECT can be sent there. */
static bool where(const struct ad_broker_config *b, struct ad_probe_config *ret)
{
    bool plain = b->certfile[0] == '\0';
    unsigned best = 0;
    const char *host;

    for (unsigned i = 0; i < b->listen_n && !plain; i++) {
        if (ad_broker_is_loopback(b->listen[i].host)) {
            best = i;
            plain = true;
        }
    }
    host = b->listen[best].host;
    if (strcmp(host, "0.0.0.0") == 0) {
        host = "127.0.0.1";
    } else if (strcmp(host, "::") == 0) {
        host = "::1";
    }
    ret->addresses_n = 1;
    snprintf(ret->addresses[0].host, sizeof ret->addresses[0].host, "%s", host);
    ret->addresses[0].port = b->listen[best].port;
    return plain;
}

struct nd_pulse *nd_pulse_start(uv_loop_t *loop, const struct nd_pulse_config *c,
                                nd_pulse_cb cb, void *data)
{
    struct nd_pulse *p = sy_calloc(1, sizeof *p);

    p->loop = loop;
    p->config = *c;
    p->cb = cb;
    p->data = data;
    snprintf(p->id, sizeof p->id, "%s", c->client_id);
    p->probe_config = (struct ad_probe_config){.username = c->username,
                                               .password = c->password,
                                               .timeout_ms = c->timeout_ms,
                                               .ping_ms = c->every_ms,
                                               .any_answer = true};
    if (where(c->broker, &p->probe_config)) {
        p->probe_config.client_id = p->id;
    }
    p->config.broker = NULL;
    uv_update_time(loop);
    p->begun_ms = uv_now(loop);
    (void)uv_timer_init(loop, &p->timer);
    p->timer.data = p;
    (void)uv_timer_start(&p->timer, look, 0, 0);
    return p;
}

static void closed(uv_handle_t *handle)
{
    sy_free(handle->data);
}

void nd_pulse_stop(struct nd_pulse *p)
{
    if (p->probe != NULL) {
        ad_probe_cancel(p->probe);
    }
    uv_close((uv_handle_t *)&p->timer, closed);
}

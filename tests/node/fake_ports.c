/* MQTT, Postgres and the control clients, for fake_node.h. */

#include <stdio.h>
#include <string.h>

#include "adapters/postgres/canary.h"
#include "tests/node/fake_node.h"

/* --- MQTT --- */

void ad_mqtt_config_default(struct ad_mqtt_config *c)
{
    memset(c, 0, sizeof *c);
}

int ad_mqtt_open(struct ad_mqtt **ret, uv_loop_t *loop, const struct sy_log *log,
                 const struct ad_mqtt_config *config, const struct ad_mqtt_callbacks *cb,
                 void *data, struct sy_errbuf *eb)
{
    struct ad_mqtt *m = &fake.mqtt[fake.mqtt_n++ % ND_BROKERS_MAX];

    (void)loop;
    (void)log;
    (void)eb;
    assert_false(m->open);
    *m = (struct ad_mqtt){.open = true, .cb = *cb, .data = data};
    memcpy(m->status_topic, config->status_topic, sizeof m->status_topic);
    memcpy(m->will, config->will, sizeof m->will);
    m->status.reader = m->status.writer = AD_MQTT_UP;
    *ret = m;
    return 0;
}

void ad_mqtt_subscribe(struct ad_mqtt *m, const char *filter, int qos, bool fresh)
{
    (void)fresh;
    assert_true(m->open && filter[0] != '\0' && qos <= 1);
}

void ad_mqtt_release(struct ad_mqtt *m)
{
    assert_true(m->open && !m->status.paused);
    m->released++;
}

void ad_mqtt_pause(struct ad_mqtt *m)
{
    assert_true(m->open);
    m->status.paused = true;
}

void ad_mqtt_resume(struct ad_mqtt *m)
{
    assert_true(m->open);
    m->status.paused = false;
}

void ad_mqtt_hurry(struct ad_mqtt *m)
{
    assert_true(m->open);
}

void ad_mqtt_tell(struct ad_mqtt *m, const void *payload, size_t len)
{
    assert_true(m->open && len < sizeof m->told);
    memcpy(m->told, payload, len);
    m->told[len] = '\0';
    m->told_n++;
}

int ad_mqtt_publish(struct ad_mqtt *m, const char *topic, const void *payload, size_t len,
                    bool retain)
{
    struct fake_published *p = &fake.published[fake.published_n % FAKE_PUBLISHED_MAX];
    int rv = fake.publish_rv;

    assert_true(m->open && !retain && len < sizeof p->payload);
    fake.publish_rv = 0;
    if (rv == 0 && m->status.writer != AD_MQTT_UP) {
        rv = SY_ENOTFOUND;
    }
    if (rv != 0) {
        return rv;
    }
    fake.published_n++;
    snprintf(p->topic, sizeof p->topic, "%s", topic);
    memcpy(p->payload, payload, len);
    p->payload[len] = '\0';
    p->at_ms = fake.now_ms;
    if (fake.on_publish != NULL) {
        fake.on_publish(p->topic, p->payload);
    }
    return 0;
}

static void echo(const struct fake_published *p)
{
    struct rp_source_note note = {.kind = RP_NOTE_ASKED, .name = "", .text = ""};

    note.value = strstr(p->payload, "\"ON\"") != NULL ? "ON" : "OFF";
    for (uint32_t i = 0; i < rp_store_devices(fake.store); i++) {
        const struct rp_device *d = rp_store_device_at(fake.store, i);
        struct nd_area *a = nd_duty_area(fake.n, d->area);
        const struct rp_area *area = rp_store_area(fake.store, d->area);
        char topic[sizeof p->topic];

        snprintf(topic, sizeof topic, "%s/%s/set", area->base_topic, d->name);
        if (a != NULL && d->listed && strcmp(topic, p->topic) == 0) {
            note.area = d->area;
            note.ieee = d->ieee;
            nd_notes_take(a, &note);
            return;
        }
    }
}

/* What the source makes of it, whether it has been given a list of devices or not. */
void fake_echo(void)
{
    const struct ad_mqtt *m = fake.n->brokers[0].mqtt;

    while (!fake.mute && m != NULL && m->open && fake.echoed_n < fake.published_n) {
        echo(&fake.published[fake.echoed_n++ % FAKE_PUBLISHED_MAX]);
    }
}

const struct ad_mqtt_status *ad_mqtt_status(const struct ad_mqtt *m)
{
    assert_true(m->open);
    return &m->status;
}

static void close_later(void (*closed)(void *data), void *data)
{
    assert_true(fake.closing_n < sizeof fake.closing / sizeof fake.closing[0]);
    fake.closing[fake.closing_n].closed = closed;
    fake.closing[fake.closing_n++].data = data;
}

void ad_mqtt_close(struct ad_mqtt *m, void (*closed)(void *data))
{
    assert_true(m->open);
    m->open = false;
    close_later(closed, m->data);
}

void fake_ports_closed(void)
{
    while (fake.closing_n > 0) {
        fake.closing_n--;
        fake.closing[fake.closing_n].closed(fake.closing[fake.closing_n].data);
    }
}

void fake_writer(bool up)
{
    struct ad_mqtt *m = fake.n->brokers[0].mqtt;

    m->status.writer = up ? AD_MQTT_UP : AD_MQTT_DOWN;
    m->cb.changed(m->data);
}

void fake_links(bool up)
{
    struct ad_mqtt *m = fake.n->brokers[0].mqtt;

    m->status.reader = up ? AD_MQTT_UP : AD_MQTT_DOWN;
    fake_writer(up);
}

/* --- Postgres --- */

void ad_pg_config_default(struct ad_pg_config *c)
{
    memset(c, 0, sizeof *c);
}

/* The row of the tie-breaker: the test answers (fake.tie). */
int ad_pg_tie_open(struct ad_pg_tie **ret, uv_loop_t *loop,
                   const struct ad_pg_config *config, const struct ad_pg_tie_cb *cb,
                   void *data, struct sy_errbuf *eb)
{
    (void)loop;
    (void)config;
    (void)eb;
    fake.tie.cb = *cb;
    fake.tie.data = data;
    *ret = (struct ad_pg_tie *)(void *)&fake.tie;
    return 0;
}

bool ad_pg_tie_up(const struct ad_pg_tie *t)
{
    (void)t;
    return fake.tie.up;
}

const char *ad_pg_tie_error(const struct ad_pg_tie *t)
{
    (void)t;
    return fake.tie.up ? "" : "connection refused";
}

void ad_pg_tie_read(struct ad_pg_tie *t)
{
    (void)t;
    fake.tie.asked = true;
    fake.tie.swap = (struct cs_tie_row){0};
}

void ad_pg_tie_swap(struct ad_pg_tie *t, uint64_t expect, const struct cs_tie_row *want)
{
    (void)t;
    fake.tie.asked = true;
    fake.tie.expect = expect;
    fake.tie.swap = *want;
}

void ad_pg_tie_close(struct ad_pg_tie *t, void (*closed)(void *data))
{
    (void)t;
    (void)closed;
}

int ad_pg_open(struct ad_pg **ret, uv_loop_t *loop, const struct sy_log *log,
               const struct ad_pg_config *config, const struct rp_store *store,
               uint64_t term, const struct ad_pg_callbacks *cb, void *data,
               struct sy_errbuf *eb)
{
    (void)loop;
    (void)log;
    (void)config;
    (void)store;
    (void)eb;
    assert_true(term != 0);
    fake.pg_status = (struct ad_pg_status){.link = AD_PG_UP};
    fake.pg_cb = *cb;
    fake.pg_data = data;
    *ret = (struct ad_pg *)(void *)&fake.pg_status;
    return 0;
}

void ad_pg_kick(struct ad_pg *p)
{
    (void)p;
}

const struct ad_pg_status *ad_pg_status(const struct ad_pg *p)
{
    (void)p;
    return &fake.pg_status;
}

void ad_pg_answer(struct ad_pg *p, const char *id, const char *status, const char *text)
{
    struct fake_answer *a = &fake.answers[fake.answers_n++ % FAKE_ANSWERS_MAX];

    (void)p;
    snprintf(a->id, sizeof a->id, "%s", id);
    snprintf(a->status, sizeof a->status, "%s", status);
    snprintf(a->text, sizeof a->text, "%s", text);
}

void ad_pg_retried(struct ad_pg *p, uint64_t id, const char *why_not)
{
    struct fake_answer *a = &fake.answers[fake.answers_n++ % FAKE_ANSWERS_MAX];

    (void)p;
    snprintf(a->id, sizeof a->id, "%llu", (unsigned long long)id);
    snprintf(a->status, sizeof a->status, "%s", why_not == NULL ? "replayed" : "new");
    snprintf(a->text, sizeof a->text, "%s", why_not != NULL ? why_not : "");
}

void ad_pg_look(struct ad_pg *p)
{
    (void)p;
    fake.looks++;
}

void ad_pg_close(struct ad_pg *p, void (*closed)(void *data))
{
    (void)p;
    close_later(closed, fake.pg_data);
}

/* --- control clients --- */

int ad_zmq_open(struct ad_zmq **ret, uv_loop_t *loop, const struct sy_log *log,
                const struct ad_zmq_config *config, const struct ad_zmq_owner *owner,
                struct sy_errbuf *eb)
{
    (void)loop;
    (void)log;
    (void)config;
    (void)owner;
    (void)eb;
    fake.zmq_open = true;
    *ret = (struct ad_zmq *)(void *)&fake.zmq_open;
    return 0;
}

/* Whatever the node says must be one value that a client can read. */
static void check_bytes(const void *p, size_t n)
{
    struct sy_cur c = {.p = p, .n = n};

    assert_true(fake.zmq_open);
    sy_mp_skip(&c);
    assert_false(c.bad);
    assert_int_equal(c.n, 0);
}

void ad_zmq_reply(struct ad_zmq *z, const struct ad_zmq_client *client, const void *p,
                  size_t n)
{
    struct fake_reply *r = &fake.replies[fake.replies_n++];

    (void)z;
    assert_true(fake.replies_n <= FAKE_REPLIES_MAX && n <= ND_REPLY_MAX);
    check_bytes(p, n);
    r->client = client->id[0];
    r->bytes = (struct sy_buf){0};
    sy_buf_put(&r->bytes, p, n);
}

void ad_zmq_ask_again(struct ad_zmq *z)
{
    (void)z;
}

bool ad_zmq_heard(const struct ad_zmq *z)
{
    (void)z;
    return true;
}

void ad_zmq_publish(struct ad_zmq *z, const char *name, const void *p, size_t n)
{
    (void)z;
    assert_true(name[0] != '\0');
    check_bytes(p, n);
    fake.events++;
}

const struct ad_zmq_stats *ad_zmq_stats(struct ad_zmq *z)
{
    static const struct ad_zmq_stats none;

    (void)z;
    return &none;
}

void ad_zmq_close(struct ad_zmq *z, void (*closed)(void *data))
{
    (void)z;
    assert_null(closed);
    fake.zmq_open = false;
}

/* --- what a standby tries: answered by fake_probe() --- */

struct ad_probe *ad_probe_start(uv_loop_t *loop, const struct ad_probe_config *config,
                                ad_probe_cb cb, void *data)
{
    struct fake_probe *p = &fake.probes[fake.probes_n++ % FAKE_PROBES_MAX];

    (void)loop;
    *p = (struct fake_probe){.cb = cb, .data = data};
    snprintf(p->address, sizeof p->address, "%s:%u", config->addresses[0].host,
             (unsigned)config->addresses[0].port);
    snprintf(p->client_id, sizeof p->client_id, "%s",
             config->client_id != NULL ? config->client_id : "");
    return (struct ad_probe *)(void *)p;
}

bool ad_probe_is_held(const struct ad_probe *p)
{
    return p != NULL;
}

void ad_probe_cancel(struct ad_probe *p)
{
    ((struct fake_probe *)(void *)p)->cb = NULL;
}

/* A drill that this node coordinates ends before it begins. */
int ad_pg_canary_open(struct ad_pg_canary **ret, uv_loop_t *loop,
                      const struct ad_pg_config *config, const char *prefix,
                      uint64_t since_ms, ad_pg_canary_cb cb, void *data,
                      struct sy_errbuf *eb)
{
    (void)ret, (void)loop, (void)config, (void)prefix, (void)since_ms, (void)cb;
    (void)data;
    return sy_fail(eb, SY_ENOTFOUND, "no canaries here");
}

void ad_pg_canary_ask(struct ad_pg_canary *c, uint64_t base, uint64_t than)
{
    (void)c, (void)base, (void)than;
}

const char *ad_pg_canary_error(const struct ad_pg_canary *c)
{
    (void)c;
    return "";
}

void ad_pg_canary_close(struct ad_pg_canary *c, void (*closed)(void *data))
{
    (void)c, (void)closed;
}

int ad_pg_check_start(struct ad_pg_check **ret, uv_loop_t *loop,
                      const struct ad_pg_config *config, ad_pg_check_cb cb, void *data,
                      struct sy_errbuf *eb)
{
    struct fake_probe *p = &fake.probes[fake.probes_n++ % FAKE_PROBES_MAX];

    (void)loop, (void)config, (void)eb;
    *p = (struct fake_probe){.cb = cb, .data = data, .address = "postgres"};
    *ret = (struct ad_pg_check *)(void *)p;
    return 0;
}

void ad_pg_check_cancel(struct ad_pg_check *c)
{
    ((struct fake_probe *)(void *)c)->cb = NULL;
}

bool fake_probe(const char *address, bool good, const char *text)
{
    unsigned n = fake.probes_n < FAKE_PROBES_MAX ? fake.probes_n : FAKE_PROBES_MAX;

    for (unsigned i = 0; i < n; i++) {
        ad_probe_cb cb = fake.probes[i].cb;

        if (cb != NULL && strcmp(fake.probes[i].address, address) == 0) {
            if (!good || fake.probes[i].client_id[0] == '\0') {
                fake.probes[i].cb = NULL; /* At a broker it goes on. */
            }
            cb(fake.probes[i].data, good, text);
            return true;
        }
    }
    return false;
}

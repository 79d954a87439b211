/* ad_mqtt_*: what adapters/mqtt does with a broker, without libmosquitto. Where the real
 * one flushes its acknowledgements, so does this one; where that one reads on, this one
 * does. Callbacks come from the loop, never from inside a call of the owner's. */

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "node/replica.h"
#include "tests/sim/world_impl.h"

enum {
    BACKOFF_MIN_MS = 200,
    TAKEN_MIN_MS = 1000,
    SETTLED_MS = 5000,
    TAKEN_SETTLED_MS = 60000,
    TICK_MS = 1000,
    LATE_MAX = 16
};

struct wclient
{
    struct ad_mqtt *m;
    bool writer;
    enum ad_mqtt_link link;
    struct wconn *conn;
    uint64_t timer; /* Which of them counts. */
    bool paused;
    uint64_t backoff_ms, taken_ms, up_at_ms, heard_ms, pinged_ms;
    bool session;
    const char *error;
};

struct ad_mqtt
{
    struct ad_mqtt *next;
    struct world *w;
    unsigned node;
    uint64_t term;
    struct ad_mqtt_config config;
    struct ad_mqtt_callbacks cb;
    void *data;
    struct ad_mqtt_status status;
    bool closing;
    void (*closed)(void *data);

    struct wclient reader, writer;
    bool hold;
    size_t burst;
    bool burst_connected;
    uint16_t acks[4096];
    unsigned acks_n;
    uint64_t reader_ups;
    bool subscribe_due, fresh_due, fresh;
    unsigned subscribing;
    bool fresh_subscribing;

    unsigned waiting; /* published, not confirmed */
    uint16_t mid;
    char told[AD_MQTT_TELL_MAX];
    size_t told_n;
    bool tell_wanted, tell_due;
    uint16_t tell_mid;
    struct wmsg *late[LATE_MAX]; /* the mutant */
    unsigned late_n;
};

static void start(struct wclient *c);
static void lost(struct wclient *c, uint64_t why, const char *text);

static uint64_t now_ms(void)
{
    return nd_now_ms();
}

/* --- timers --- */

static void timer_cb(void *ctx, uint64_t nr);

static void arm(struct wclient *c, uint64_t ms)
{
    site_post(c->m->w->s, c->m->node, ms, timer_cb, c, ++c->timer);
}

static void disarm(struct wclient *c)
{
    c->timer++;
}

static void tick(struct wclient *c)
{
    struct ad_mqtt *m = c->m;
    uint64_t now = now_ms();
    uint64_t keep = (uint64_t)m->config.keepalive_s * 1000;

    arm(c, TICK_MS);
    if (c->pinged_ms != 0 && now - c->pinged_ms >= keep) {
        lost(c, WB_LOST, "no answer within the keepalive interval");
        return;
    }
    if (now - c->heard_ms >= keep / 2 && c->pinged_ms == 0) {
        c->pinged_ms = now;
        if (c->writer || !m->hold) { /* It would carry out what is held. */
            wn_up(c->conn, WB_PING, 0, NULL);
        }
    }
}

static void timer_cb(void *ctx, uint64_t nr)
{
    struct wclient *c = ctx;

    if (nr != c->timer || c->m->closing) {
        return;
    }
    if (c->link == AD_MQTT_UP) {
        tick(c);
    } else if (c->link == AD_MQTT_CONNECTING) {
        lost(c, WB_REFUSED, "no answer in time");
    } else if (!c->writer && c->m->hold) {
        arm(c, 10); /* The owner is not done with the last burst. */
    } else {
        start(c);
        c->m->cb.changed(c->m->data);
    }
}

static uint64_t double_up(struct wclient *c, uint64_t *backoff_ms)
{
    uint64_t max = c->m->config.backoff_max_ms;
    uint64_t ms = *backoff_ms < max ? *backoff_ms : max;
    uint64_t jitter = w_below(c->m->w, ms / 4 + 1);

    *backoff_ms = ms * 2;
    return ms + jitter <= max ? ms + jitter : max - jitter;
}

/* --- status --- */

static void describe(struct ad_mqtt *m)
{
    struct ad_mqtt_status *s = &m->status;
    const char *why = m->reader.error[0] != '\0' ? m->reader.error : m->writer.error;

    if (s->reader != m->reader.link || s->writer != m->writer.link) {
        s->since_ms = now_ms();
    }
    s->reader = m->reader.link;
    s->writer = m->writer.link;
    snprintf(s->address, sizeof s->address, "broker");
    snprintf(s->error, sizeof s->error, "%s", why);
}

static void link_changed(struct ad_mqtt *m)
{
    bool was_up = m->status.reader == AD_MQTT_UP;

    if (!was_up && m->reader.link == AD_MQTT_UP) {
        m->status.reconnects += m->reader_ups++ > 0;
        m->subscribe_due = m->subscribe_due || !m->reader.session;
    }
    describe(m);
    if (!m->closing) {
        m->cb.changed(m->data);
    }
}

/* --- connections --- */

static void start(struct wclient *c)
{
    struct ad_mqtt *m = c->m;
    struct wb_hello *h = sy_calloc(1, sizeof *h);

    assert(c->conn == NULL && !m->closing && !c->paused);
    c->link = AD_MQTT_CONNECTING;
    c->conn = wn_open(m->w, SITE_BROKER, c);
    snprintf(h->id, sizeof h->id, "%s",
             c->writer ? m->config.writer_id : m->config.reader_id);
    h->receive_max = m->config.receive_max;
    h->keepalive_s = m->config.keepalive_s;
    h->writer = c->writer;
    if (c->writer) {
        memcpy(h->will_topic, m->config.status_topic, sizeof h->will_topic);
        memcpy(h->will, m->config.will, sizeof h->will);
    }
    wn_up(c->conn, WB_CONNECT, 0, h);
    arm(c, m->config.connect_timeout_ms);
}

static void forget_conn(struct wclient *c)
{
    struct ad_mqtt *m = c->m;

    if (c->conn != NULL) {
        wn_shut(c->conn);
        c->conn = NULL;
    }
    if (c->writer) {
        m->status.publish_failed += m->waiting;
        m->waiting = 0;
        m->status.publish_queued = 0;
        m->tell_mid = 0;
        return;
    }
    m->burst_connected = false;
    m->acks_n = 0;
    m->status.subscriptions = 0;
    m->subscribe_due = m->subscribe_due || m->subscribing > 0;
    m->fresh_due = m->fresh_due || m->fresh_subscribing;
    m->subscribing = 0;
    m->fresh_subscribing = false;
}

static void schedule(struct wclient *c, bool was_up, uint64_t why)
{
    struct world *w = c->m->w;
    uint64_t up_ms = now_ms() - c->up_at_ms;

    if (!was_up) {
        arm(c, double_up(c, &c->backoff_ms));
        return;
    }
    c->backoff_ms = up_ms >= SETTLED_MS ? BACKOFF_MIN_MS : c->backoff_ms;
    c->taken_ms = up_ms >= TAKEN_SETTLED_MS ? TAKEN_MIN_MS : c->taken_ms;
    /* Without a word it asks whether the broker lives. */
    if (why == WB_TAKEN || (why == WB_LOST && w->broker.up &&
                            site_reach(w->s, c->m->node, SITE_BROKER, true) &&
                            site_reach(w->s, c->m->node, SITE_BROKER, false))) {
        c->m->status.takeovers += !c->writer;
        arm(c, double_up(c, &c->taken_ms));
    } else {
        arm(c, double_up(c, &c->backoff_ms));
    }
}

static void lost(struct wclient *c, uint64_t why, const char *text)
{
    bool was_up = c->link == AD_MQTT_UP;

    c->error = text;
    c->link = AD_MQTT_DOWN;
    forget_conn(c);
    schedule(c, was_up, why);
    link_changed(c->m);
}

static void tell_go_on(struct ad_mqtt *m)
{
    struct wb_delivered *b;

    if (!m->tell_due || m->tell_mid != 0 || m->writer.link != AD_MQTT_UP) {
        return;
    }
    m->tell_due = false;
    m->tell_mid = ++m->mid;
    b = sy_calloc(1, sizeof *b);
    b->m = wmsg_new(m->config.status_topic, m->told, m->told_n, 1, true);
    b->mid = m->tell_mid;
    wn_up(m->writer.conn, WB_PUBLISH, 0, b);
}

static void send_set(struct ad_mqtt *m, struct wmsg *set)
{
    struct wb_delivered *b = sy_calloc(1, sizeof *b);

    wc_set_leaves(m->w, m->node, set->topic, set->payload);
    b->m = set;
    b->mid = ++m->mid;
    m->waiting++;
    wn_up(m->writer.conn, WB_PUBLISH, 0, b);
}

static void now_up(struct wclient *c, bool session)
{
    struct ad_mqtt *m = c->m;

    c->link = AD_MQTT_UP;
    c->session = session;
    c->up_at_ms = c->heard_ms = now_ms();
    c->pinged_ms = 0;
    c->error = "";
    arm(c, TICK_MS);
    link_changed(m);
    if (c->link != AD_MQTT_UP || m->closing) {
        return; /* The owner did something about it. */
    }
    if (c->writer) {
        m->tell_due = m->tell_wanted;
        tell_go_on(m);
        for (unsigned i = 0; i < m->late_n; i++) {
            send_set(m, m->late[i]);
        }
        m->late_n = 0;
        return;
    }
    m->status.session_present = session;
    if (m->subscribe_due) {
        m->subscribe_due = false;
        m->fresh = m->fresh_due;
        m->fresh_due = false;
        m->cb.subscribe(m->data);
        m->fresh = false;
        m->subscribe_due = m->subscribe_due || m->reader.link != AD_MQTT_UP;
    }
}

/* --- reading --- */

static void take_message(struct ad_mqtt *m, const struct wb_delivered *b)
{
    const struct rp_message out = {.topic = b->m->topic,
                                   .payload = b->m->payload,
                                   .len = b->m->len,
                                   .retained = b->retained,
                                   .dup = b->dup && m->w->s->mutant != SITE_NO_DEDUP,
                                   .qos = b->qos,
                                   .link = (uint32_t)m->reader_ups};

    m->burst++;
    m->status.received++;
    if (b->qos > 0) {
        m->acks[m->acks_n++] = b->mid;
    }
    m->cb.message(m->data, &out);
}

static void read_one(struct wclient *c, const struct wpacket *p)
{
    struct ad_mqtt *m = c->m;

    c->heard_ms = now_ms();
    c->pinged_ms = 0;
    switch (p->type) {
    case WB_CONNECT:
        now_up(c, p->n != 0);
        break;
    case WB_SUBSCRIBE:
        m->subscribing -= m->subscribing > 0;
        m->fresh_subscribing = m->fresh_subscribing && m->subscribing > 0;
        m->status.subscriptions++;
        break;
    case WB_PUBLISH:
        take_message(m, p->body);
        break;
    case WB_ACK:
        if (p->n == m->tell_mid) {
            m->tell_mid = 0;
            tell_go_on(m);
        } else {
            m->waiting -= m->waiting > 0;
            m->status.published++;
        }
        break;
    case WB_PING:
        break;
    default:
        lost(c, p->n,
             p->n == WB_TAKEN ? "another client has taken over the client id"
                              : "the broker closed the connection");
        break;
    }
}

static void send_acks(struct ad_mqtt *m)
{
    for (unsigned i = 0; i < m->acks_n; i++) {
        wn_up(m->reader.conn, WB_ACK, m->acks[i], NULL);
    }
    m->acks_n = 0;
}

/* That the broker hung up is seen while a burst is held, too; what it had sent before
 * is then thrown away. */
static void look_for_the_end(struct wclient *c)
{
    const struct wpacket *last = c->conn->in.tail;
    struct wconn *conn = c->conn;
    struct wpacket p;

    if (last == NULL || last->type != 0) {
        return;
    }
    while (c->conn == conn && wn_take(conn, &p)) {
        if (p.type == 0) {
            read_one(c, &p);
        }
        wn_done(conn, &p);
    }
}

static void read_burst(struct wclient *c)
{
    struct ad_mqtt *m = c->m;
    struct wconn *conn = c->conn;
    struct wpacket p;

    while (c->conn == conn && !m->closing && m->burst < m->config.burst_max &&
           m->acks_n < sizeof m->acks / sizeof m->acks[0] && wn_take(conn, &p)) {
        read_one(c, &p);
        wn_done(conn, &p);
    }
    if (m->burst == 0 || m->closing || m->status.paused) {
        return;
    }
    m->hold = m->status.holding = true;
    m->status.bursts++;
    m->burst_connected = c->conn == conn;
    if (m->w->s->mutant == SITE_ACK_EARLY && c->conn != NULL) {
        send_acks(m);
    }
    m->cb.burst(m->data, m->burst);
}

void wm_readable(struct wconn *conn)
{
    struct wclient *c = conn->client;
    struct wpacket p;

    if (c->conn != conn || c->m->closing) {
        return;
    }
    if (!c->writer && c->m->hold) {
        look_for_the_end(c);
    } else if (!c->writer) {
        read_burst(c);
    } else {
        while (c->conn == conn && wn_take(conn, &p)) {
            read_one(c, &p);
            wn_done(conn, &p);
        }
    }
}

/* --- the port --- */

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

static void init_client(struct ad_mqtt *m, struct wclient *c, bool writer)
{
    *c = (struct wclient){.m = m,
                          .writer = writer,
                          .backoff_ms = BACKOFF_MIN_MS,
                          .taken_ms = TAKEN_MIN_MS,
                          .error = ""};
    start(c);
}

int ad_mqtt_open(struct ad_mqtt **ret, uv_loop_t *loop, const struct sy_log *log,
                 const struct ad_mqtt_config *config, const struct ad_mqtt_callbacks *cb,
                 void *data, struct sy_errbuf *eb)
{
    struct world *w = site_now->world;
    struct ad_mqtt *m = sy_calloc(1, sizeof *m);

    (void)loop, (void)log, (void)eb;
    m->w = w;
    m->node = site_self();
    m->next = w->mqtts;
    w->mqtts = m;
    m->config = *config;
    m->cb = *cb;
    m->data = data;
    m->term = w->check.store[m->node] != NULL
                  ? rp_store_watch_term(w->check.store[m->node])
                  : 0;
    init_client(m, &m->reader, false);
    init_client(m, &m->writer, true);
    describe(m);
    *ret = m;
    return 0;
}

void ad_mqtt_subscribe(struct ad_mqtt *m, const char *filter, int qos, bool fresh)
{
    struct wb_filter *f;

    (void)qos;
    if (m->reader.link != AD_MQTT_UP) {
        m->subscribe_due = true;
        m->fresh_due = m->fresh_due || fresh;
        return;
    }
    f = sy_calloc(1, sizeof *f);
    snprintf(f->filter, sizeof f->filter, "%s", filter);
    f->fresh = fresh || m->fresh;
    m->subscribing++;
    m->fresh_subscribing = m->fresh_subscribing || f->fresh;
    wn_up(m->reader.conn, WB_SUBSCRIBE, 0, f);
}

void ad_mqtt_release(struct ad_mqtt *m)
{
    if (!m->status.holding) {
        return;
    }
    assert(m->hold && m->burst > 0);
    m->hold = m->status.holding = false;
    m->burst = 0;
    m->status.acked_bursts += m->burst_connected;
    if (m->reader.conn != NULL && m->burst_connected) {
        send_acks(m);
        wn_poke(m->reader.conn);
    }
}

void ad_mqtt_pause(struct ad_mqtt *m)
{
    struct wclient *c = &m->reader;

    if (m->status.paused) {
        return;
    }
    m->status.paused = c->paused = true;
    m->reader_ups = 0;
    m->hold = m->status.holding = false;
    m->burst = 0;
    disarm(c);
    c->backoff_ms = BACKOFF_MIN_MS;
    c->error = "";
    c->link = AD_MQTT_DOWN;
    forget_conn(c);
    describe(m);
}

void ad_mqtt_resume(struct ad_mqtt *m)
{
    if (!m->status.paused) {
        return;
    }
    m->status.paused = m->reader.paused = false;
    arm(&m->reader, 0);
}

void ad_mqtt_hurry(struct ad_mqtt *m)
{
    (void)m; /* No broker here is the site's own. */
}

int ad_mqtt_publish(struct ad_mqtt *m, const char *topic, const void *payload, size_t len,
                    bool retain)
{
    struct wmsg *set = wmsg_new(topic, payload, len, 1, retain);

    set->term = m->term;
    set->node = m->node;
    if (m->writer.link != AD_MQTT_UP) {
        if (m->w->s->mutant == SITE_LATE_COMMAND && m->late_n < LATE_MAX) {
            m->late[m->late_n++] = set;
            return 0;
        }
        wmsg_drop(set);
        return SY_ENOTFOUND;
    }
    send_set(m, set);
    return 0;
}

void ad_mqtt_tell(struct ad_mqtt *m, const void *payload, size_t len)
{
    assert(len <= sizeof m->told);
    memcpy(m->told, payload, len);
    m->told_n = len;
    m->tell_wanted = m->tell_due = true;
    tell_go_on(m);
}

const struct ad_mqtt_status *ad_mqtt_status(const struct ad_mqtt *m)
{
    return &m->status;
}

static void closed_cb(void *ctx, uint64_t arg)
{
    struct ad_mqtt *m = ctx;

    (void)arg;
    if (m->closed != NULL) {
        m->closed(m->data);
    }
}

void ad_mqtt_close(struct ad_mqtt *m, void (*closed)(void *data))
{
    assert(!m->closing);
    m->closing = true;
    m->closed = closed;
    forget_conn(&m->reader);
    forget_conn(&m->writer);
    site_post(m->w->s, m->node, 0, closed_cb, m, 0);
}

void wm_free(struct world *w)
{
    while (w->mqtts != NULL) {
        struct ad_mqtt *m = w->mqtts;

        w->mqtts = m->next;
        for (unsigned i = 0; i < m->late_n; i++) {
            wmsg_drop(m->late[i]);
        }
        sy_free(m);
    }
}

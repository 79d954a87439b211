/* The ports of the watch: its clients at the brokers, the sources that translate,
 * the writer to Postgres. They run for one term, and are shut when it is over. */

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "node/node.h"
#include "node/sources.h"

/* --- brokers --- */

/* The area whose base topic is the longest that begins the topic. */
static struct nd_area *route(struct nd_node *n, unsigned broker, const char *topic)
{
    struct nd_area *best = NULL;

    for (unsigned i = 0; i < n->areas_n; i++) {
        struct nd_area *a = &n->areas[i];

        if (a->config->broker == broker && a->state != NULL &&
            strncmp(topic, a->config->base_topic, a->topic_len) == 0 &&
            topic[a->topic_len] == '/' &&
            (best == NULL || a->topic_len > best->topic_len)) {
            best = a;
        }
    }
    return best;
}

static void on_message(void *data, const struct rp_message *m)
{
    struct nd_broker *b = data;
    struct nd_node *n = b->node;
    struct nd_area *a = route(n, b->nr, m->topic);
    struct rp_batch *batch;
    uint32_t before;

    if (a == NULL) {
        return; /* Of an area that was switched off: the session still has it. */
    }
    batch = nd_replica_batch(n->replica);
    before = batch->n;
    a->out = batch; /* To ask for it once more might seal it. */
    a->source->message(a->state, m, nd_wall_ms(), batch);
    a->out = NULL;
    b->burst_inputs += batch->n - before;
}

static void burst_applied(void *data, int status)
{
    struct nd_broker *b = data;

    b->waiting = false;
    if (status == 0 && b->mqtt != NULL && !ad_mqtt_status(b->mqtt)->paused) {
        ad_mqtt_release(b->mqtt);
    }
    /* Otherwise the watch is over: the session keeps what was not acknowledged,
     * and its next holder gets it again. */
}

static void on_burst(void *data, size_t count)
{
    struct nd_broker *b = data;

    (void)count;
    if (b->burst_inputs == 0) {
        if (nd_node_may_act(b->node)) {
            ad_mqtt_release(b->mqtt); /* Nothing of it is worth an entry. */
            return;
        }
        /* To a node that slept, nothing may seem worth it only because it does not
         * know better any more: an entry that commits proves that it does. */
        rp_batch_tick(nd_replica_batch(b->node->replica));
    }
    b->burst_inputs = 0;
    assert(!b->waiting);
    b->waiting = true;
    nd_replica_wait(b->node->replica, &b->wait, burst_applied, b);
}

/* What was under way to or from its bridges may be lost with the link. */
static void doubt_broker(const struct nd_broker *b)
{
    for (unsigned i = 0; i < b->node->areas_n; i++) {
        const struct nd_area *a = &b->node->areas[i];

        if (a->config->broker == b->nr) {
            nd_air_doubt(b->node, a->nr);
        }
    }
}

static void on_mqtt_changed(void *data)
{
    struct nd_broker *b = data;

    if (b->mqtt != NULL) {
        const struct ad_mqtt_status *s = ad_mqtt_status(b->mqtt);

        if (s->reader != AD_MQTT_UP) {
            b->mute_since_ms = 0; /* Nothing can have come. */
        }
        if (s->reader != AD_MQTT_UP || s->writer != AD_MQTT_UP) {
            doubt_broker(b);
        }
        b->node->dispatch_due = true;
        nd_dispatch_run(b->node);
    }
}

static void subscribe_one(void *data, const char *filter, int qos, bool fresh)
{
    ad_mqtt_subscribe(data, filter, qos, fresh);
}

static void subscribe_fresh(void *data, const char *filter, int qos, bool fresh)
{
    (void)fresh;
    ad_mqtt_subscribe(data, filter, qos, true);
}

/* @fresh: what is retained is wanted, though the session may have had it before. */
static void subscribe_area(struct nd_broker *b, const struct nd_area *a, bool fresh)
{
    const struct rp_area *area = rp_store_area(b->node->store, a->nr);

    if (area != NULL && a->state != NULL) {
        a->source->topics(area, fresh ? subscribe_fresh : subscribe_one, b->mqtt);
    }
}

static void on_subscribe(void *data)
{
    struct nd_broker *b = data;

    for (unsigned i = 0; i < b->node->areas_n; i++) {
        if (b->node->areas[i].config->broker == b->nr) {
            subscribe_area(b, &b->node->areas[i], false);
        }
    }
}

static void part_closed(void *data)
{
    struct nd_node *n = data;

    assert(n->ports_open > 0);
    n->ports_open--;
    nd_duty_changed(n);
}

static void broker_closed(void *data)
{
    struct nd_broker *b = data;

    part_closed(b->node);
}

static void start_broker(struct nd_node *n, unsigned nr)
{
    static const struct ad_mqtt_callbacks cb = {on_message, on_burst, on_mqtt_changed,
                                                on_subscribe};
    struct nd_broker *b = &n->brokers[nr];
    struct ad_mqtt_config config = n->config.brokers[nr];
    struct sy_errbuf eb;
    int rv;

    b->node = n;
    b->nr = nr;
    b->burst_inputs = 0;
    assert(!b->waiting);
    config.seed = nd_node_random(n);
    nd_beacon_config(n, &config);
    rv = ad_mqtt_open(&b->mqtt, n->loop, &n->log, &config, &cb, b, &eb);
    if (rv != 0) {
        b->mqtt = NULL;
        SY_LOG(&n->log, SY_ERR, "broker.failed", KSTR("broker", config.name), KERR(rv),
               KSTR("why", eb.text));
        return;
    }
    n->ports_open++;
    /* Once in each watch, whatever the broker remembers: its session may be of a time
     * before an area was added, or of a watch that died before it had subscribed. */
    on_subscribe(b);
}

/* --- Postgres --- */

static void on_shipped(void *data, uint64_t reading_seq, uint64_t revision,
                       uint64_t letter_seq)
{
    struct nd_node *n = data;
    struct rp_batch *b = nd_replica_batch(n->replica);

    rp_batch_shipped(b, reading_seq, revision);
    if (letter_seq > rp_store_letters_shipped(n->store)) {
        rp_batch_letters_shipped(b, letter_seq);
    }
}

static void on_pg_changed(void *data)
{
    (void)data; /* Looked at when status is asked for. */
}

static void on_fenced(void *data, uint64_t term)
{
    struct nd_node *n = data;

    /* Whoever writes there leads in a newer term: Raft will tell us so as soon as
     * it can. If it never does, two clusters share a name: the writer stays down
     * and says so in status. */
    SY_LOG(&n->log, SY_ERR, "postgres.fenced", KU64("by_term", term),
           KU64("term", cs_watch_term(&n->watch)));
}

static void start_postgres(struct nd_node *n)
{
    static const struct ad_pg_callbacks cb = {on_shipped, on_pg_changed, on_fenced,
                                              nd_table_ask, nd_table_letter};
    struct ad_pg_config config = n->config.postgres;
    struct sy_errbuf eb;
    int rv;

    config.seed = nd_node_random(n);
    rv = ad_pg_open(&n->pg, n->loop, &n->log, &config, n->store, cs_watch_term(&n->watch),
                    &cb, n, &eb);
    if (rv != 0) {
        n->pg = NULL;
        SY_LOG(&n->log, SY_ERR, "postgres.failed", KERR(rv), KSTR("why", eb.text));
        return;
    }
    n->ports_open++;
}

/* --- all of them --- */

void nd_duty_init(struct nd_node *n)
{
    n->areas_n = n->config.areas_n;
    for (unsigned i = 0; i < n->areas_n; i++) {
        struct nd_area *a = &n->areas[i];

        a->node = n;
        a->config = &n->config.areas[i];
        a->source = nd_source(a->config->source);
        assert(a->source != NULL); /* The configuration was checked. */
        a->topic_len = strlen(a->config->base_topic);
    }
    nd_drill_init(n);
    if (n->areas_n < ND_AREAS_MAX && n->config.brokers_n > 0) {
        struct nd_area *a = &n->areas[n->areas_n++];

        a->node = n;
        a->config = &n->drill.area; /* Enabled while a drill runs. */
        a->source = &nd_canary_source;
        a->topic_len = strlen(a->config->base_topic);
    }
}

static void on_note(void *data, const struct rp_source_note *note)
{
    nd_notes_take(data, note);
}

static void begin_area(struct nd_node *n, struct nd_area *a)
{
    const struct rp_area *known = rp_store_area_named(n->store, a->config->name);
    const struct rp_source_config config = {.hold_ms = n->config.online_hold_ms};

    if (known == NULL || !a->config->enabled || known->off != 0 || a->state != NULL) {
        return;
    }
    a->nr = known->nr;
    a->next_slot_ms = 0;
    a->state = a->source->begin(n->store, a->nr, &config, on_note, a);
}

static void end_area(struct nd_area *a)
{
    if (a->state != NULL) {
        a->source->end(a->state);
        a->state = NULL;
    }
}

void nd_duty_start(struct nd_node *n)
{
    assert(!n->ports_running && n->ports_open == 0);
    n->ports_running = true;
    n->notes_n = 0;
    for (unsigned i = 0; i < n->areas_n; i++) {
        begin_area(n, &n->areas[i]);
    }
    for (unsigned i = 0; i < n->config.brokers_n; i++) {
        start_broker(n, i);
    }
    if (n->config.has_postgres) {
        start_postgres(n);
    }
    nd_dispatch_begin(n);
    nd_tend_begin(n);
    nd_hold_begin(n);
    nd_beacon_begin(n);
}

void nd_duty_cut_brokers(struct nd_node *n)
{
    for (unsigned i = 0; i < n->config.brokers_n; i++) {
        struct nd_broker *b = &n->brokers[i];
        struct ad_mqtt *mqtt = b->mqtt;

        b->mqtt = NULL;
        if (mqtt != NULL) {
            ad_mqtt_close(mqtt, broker_closed);
        }
    }
}

void nd_duty_cut_postgres(struct nd_node *n)
{
    struct ad_pg *pg = n->pg;

    n->pg = NULL;
    if (pg != NULL) {
        ad_pg_close(pg, part_closed);
    }
}

bool nd_duty_mend(struct nd_node *n)
{
    bool all = true;

    for (unsigned i = 0; n->ports_running && i < n->config.brokers_n; i++) {
        if (n->brokers[i].mqtt == NULL && n->brokers[i].waiting) {
            all = false;
        } else if (n->brokers[i].mqtt == NULL) {
            start_broker(n, i);
            nd_beacon_begin(n); /* It is told again. */
        }
    }
    if (n->ports_running && n->config.has_postgres && n->pg == NULL) {
        start_postgres(n);
    }
    return all;
}

void nd_duty_stop(struct nd_node *n)
{
    n->ports_running = false;
    nd_duty_cut_brokers(n);
    nd_duty_cut_postgres(n);
    for (unsigned i = 0; i < n->areas_n; i++) {
        end_area(&n->areas[i]);
    }
}

bool nd_duty_up(const struct nd_node *n)
{
    return n->ports_running;
}

/* A burst that still waits for its commit would find its broker reopened. */
bool nd_duty_down(const struct nd_node *n)
{
    for (unsigned i = 0; i < n->config.brokers_n; i++) {
        if (n->brokers[i].waiting) {
            return false;
        }
    }
    return !n->ports_running && n->ports_open == 0;
}

struct nd_area *nd_duty_area(struct nd_node *n, uint16_t nr)
{
    for (unsigned i = 0; i < n->areas_n; i++) {
        if (n->areas[i].nr == nr && n->areas[i].state != NULL) {
            return &n->areas[i];
        }
    }
    return NULL;
}

void nd_duty_propose_areas(struct nd_node *n, struct rp_batch *b)
{
    for (unsigned i = 0; i < n->config.areas_n; i++) {
        const struct nd_config_area *c = n->areas[i].config;
        const struct rp_area *known = rp_store_area_named(n->store, c->name);

        if (known == NULL || strcmp(known->base_topic, c->base_topic) != 0) {
            rp_batch_area(b, c->name, c->base_topic);
        }
    }
}

/* An area that the cluster did not know when the ports were started, or one that is
 * switched off or on. */
void nd_duty_event(struct nd_node *n, const struct rp_event *ev)
{
    if (ev->kind != RP_EV_AREA || !n->ports_running) {
        return;
    }
    for (unsigned i = 0; i < n->areas_n; i++) {
        struct nd_area *a = &n->areas[i];

        if (strcmp(a->config->name, ev->area->name) == 0) {
            if (ev->area->off != 0) {
                end_area(a);
                nd_notes_area_off(n, ev->area->nr);
                continue;
            }
            begin_area(n, a);
            if (n->brokers[a->config->broker].mqtt != NULL) {
                subscribe_area(&n->brokers[a->config->broker], a, true);
            }
        }
    }
}

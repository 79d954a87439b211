/* What the coordinator of a drill sends through the site, and what comes back: readings,
 * commands, rows. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mp.h"
#include "node/drill_run.h"

enum {
    READING_EVERY_MS = 200, /* of each area */
    ASK_AGAIN_MS = 25,      /* the measure is as fine as this */
    COUNT_EVERY_MS = 100,
    COMMAND_MS = 20000, /* life of one */
    SESSION_S = 60,
    BURST_MAX = 256
};

/* --- readings --- */

static bool publish(struct nd_drill_run *r, unsigned i, const struct nd_canary_reading *c)
{
    char base[RP_TOPIC_SIZE], topic[RP_TOPIC_SIZE + RP_NAME_SIZE];
    char payload[ND_CANARY_PAYLOAD_SIZE];

    nd_canary_base(&r->node->config, base);
    snprintf(topic, sizeof topic, "%s/%s", base, r->targets[i].canary);
    nd_canary_write(c, payload);
    return ad_mqtt_publish(r->mqtt, topic, payload, strlen(payload), false) == 0;
}

/* A new one of the virtual device of area @i. */
static bool send_reading(struct nd_drill_run *r, unsigned i, enum rp_switch state)
{
    uint64_t now = nd_replica_clock_ms(r->node->replica);
    struct nd_canary_reading c = {.number = r->flight.newest + 1, .state = state};

    /* The time is the key in Postgres, and the order. */
    c.at_ms = now > r->at_ms ? now : r->at_ms + 1;
    if (!nd_canary_room(&r->flight) || !publish(r, i, &c)) {
        return false;
    }
    r->at_ms = c.at_ms;
    nd_canary_went(&r->flight, i, &c);
    r->counted = false;
    return true;
}

static void send_again(struct nd_drill_run *r)
{
    struct nd_canary_reading c;
    unsigned i;

    while (nd_canary_again(&r->flight, &i, &c) && publish(r, i, &c)) {
        nd_canary_went_again(&r->flight);
    }
}

static void send_answers(struct nd_drill_run *r)
{
    for (unsigned i = 0; i < r->targets_n; i++) {
        struct nd_target *t = &r->targets[i];

        if (t->answer != RP_SWITCH_UNKNOWN && send_reading(r, i, t->answer)) {
            t->answer = RP_SWITCH_UNKNOWN;
        }
    }
}

static void send_readings(struct nd_drill_run *r, uint64_t now)
{
    if (r->stage == ND_QUIET || r->stage >= ND_COUNT || now < r->reading_ms) {
        return;
    }
    if (send_reading(r, r->next_target, RP_ON)) {
        r->reading_ms = now + READING_EVERY_MS / r->targets_n;
        r->next_target = (r->next_target + 1) % r->targets_n;
    }
}

/* --- the broker --- */

static void on_message(void *data, const struct rp_message *m)
{
    static const char set[] = "/set";
    struct nd_drill_run *r = data;
    size_t len = strlen(m->topic), n = sizeof set - 1;
    const char *name = strstr(m->topic, ND_CANARY_PREFIX);

    if (name == NULL || m->retained || len < n || strcmp(m->topic + len - n, set) != 0) {
        return;
    }
    len = strlen(name) - n;
    for (unsigned i = 0; i < r->targets_n; i++) {
        struct nd_target *t = &r->targets[i];

        if (strlen(t->canary) == len && memcmp(t->canary, name, len) == 0) {
            t->answer = m->len == 3 ? RP_OFF : RP_ON;
        }
    }
}

static void on_burst(void *data, size_t count)
{
    struct nd_drill_run *r = data;

    (void)count;
    ad_mqtt_release(r->mqtt);
    send_answers(r);
}

static void on_mqtt_changed(void *data)
{
    (void)data; /* Looked at in each tick. */
}

static void on_subscribe(void *data)
{
    struct nd_drill_run *r = data;
    char base[RP_TOPIC_SIZE], filter[RP_TOPIC_SIZE + 8];

    nd_canary_base(&r->node->config, base);
    snprintf(filter, sizeof filter, "%s/+/set", base);
    ad_mqtt_subscribe(r->mqtt, filter, 1, false);
}

static bool open_mqtt(struct nd_drill_run *r)
{
    static const struct ad_mqtt_callbacks cb = {on_message, on_burst, on_mqtt_changed,
                                                on_subscribe};
    struct nd_node *n = r->node;
    struct ad_mqtt_config c = n->config.brokers[0];

    snprintf(c.reader_id, sizeof c.reader_id, "vagt-%s-drill-in", n->config.cluster);
    snprintf(c.writer_id, sizeof c.writer_id, "vagt-%s-drill-out", n->config.cluster);
    c.session_expiry_s = SESSION_S;
    c.burst_max = BURST_MAX;
    /* A broker that was just started takes what the watch has not subscribed to yet. */
    c.to_somebody = true;
    c.seed = nd_node_random(n);
    if (ad_mqtt_open(&r->mqtt, n->loop, &n->log, &c, &cb, r, &r->eb) != 0) {
        r->mqtt = NULL;
        return false;
    }
    r->open_parts++;
    on_subscribe(r);
    return true;
}

/* --- Postgres --- */

static void on_count(void *data, const struct ad_pg_canary_count *count)
{
    struct nd_drill_run *r = data;

    if (count->base != r->base || count->than != r->fault_number) {
        return; /* Asked for before the fault. */
    }
    r->count = *count;
    r->counted = true;
    if (r->stage >= ND_FAULT && count->newer > 0) {
        nd_drill_mark(r, ND_PHASE_ROW);
    }
}

static void ask_postgres(struct nd_drill_run *r, uint64_t now)
{
    if (r->pg != NULL && now >= r->count_ms && r->stage != ND_REPORT) {
        r->count_ms = now + COUNT_EVERY_MS;
        ad_pg_canary_ask(r->pg, r->base, r->fault_number);
    }
}

/* --- commands --- */

void nd_drill_map(const struct nd_drill_run *r, struct sy_buf *b, const char *what,
                  uint32_t more)
{
    sy_mp_map(b, 2 + more);
    sy_mp_kstr(b, "do", what);
    sy_mp_kuint(b, "nr", r->nr);
}

uint64_t nd_drill_leader(const struct nd_drill_run *r)
{
    return cs_core_leader(nd_replica_core(r->node->replica));
}

/* To whoever leads; asked again until the log has it, with the same id. */
static void ask_for(struct nd_drill_run *r, struct nd_target *t, uint64_t now)
{
    uint64_t leader = nd_drill_leader(r);
    struct sy_buf b = {0};

    t->again_ms = now + ASK_AGAIN_MS;
    if (leader == 0) {
        return;
    }
    nd_drill_map(r, &b, "command", 5);
    sy_mp_kstr(&b, "device", t->device);
    sy_mp_kstr(&b, "area", t->area);
    sy_mp_kstr(&b, "value", t->value);
    sy_mp_kstr(&b, "id", t->id);
    sy_mp_kuint(&b, "timeout_ms", COMMAND_MS);
    nd_drill_tell(r->node, leader, &b);
    sy_buf_free(&b);
}

static void send_commands(struct nd_drill_run *r, uint64_t now)
{
    for (unsigned i = 0; i < r->targets_n; i++) {
        struct nd_target *t = &r->targets[i];
        const struct rp_command *c;

        if (t->id[0] == '\0' && !t->confirmed &&
            (r->stage == ND_PRELUDE || r->stage == ND_FAULT)) {
            snprintf(t->id, sizeof t->id, "drill-%" PRIu64 "-%" PRIu64, r->nr,
                     ++r->commands);
            r->report.commands += r->stage == ND_FAULT;
            t->again_ms = 0;
        }
        c = t->id[0] != '\0' ? rp_store_command(r->node->store, t->id) : NULL;
        if (t->id[0] != '\0' && c == NULL && now >= t->again_ms) {
            ask_for(r, t, now);
        }
    }
}

bool nd_drill_all_confirmed(const struct nd_drill_run *r)
{
    for (unsigned i = 0; i < r->targets_n; i++) {
        if (!r->targets[i].confirmed) {
            return false;
        }
    }
    return true;
}

bool nd_drill_command_open(const struct nd_drill_run *r)
{
    for (unsigned i = 0; i < r->targets_n; i++) {
        if (r->targets[i].id[0] != '\0') {
            return true;
        }
    }
    return false;
}

void nd_drill_run_command(struct nd_node *n, const struct rp_command *c)
{
    struct nd_drill_run *r = n->drill.run;

    for (unsigned i = 0; r != NULL && rp_ended(c->status) && i < r->targets_n; i++) {
        struct nd_target *t = &r->targets[i];

        if (strcmp(t->id, c->id) != 0) {
            continue;
        }
        t->id[0] = '\0';
        if (c->status != RP_CONFIRMED) {
            continue; /* Another one is given. */
        }
        t->confirmed = true;
        if (r->stage < ND_FAULT) {
            r->report.usual_ms = (uint32_t)(c->ended_ms - c->accepted_ms);
            continue;
        }
        r->report.confirmed++;
        nd_drill_mark(r, ND_PHASE_COMMAND);
        if (nd_drill_all_confirmed(r)) {
            nd_drill_mark(r, ND_PHASE_AREAS);
        }
    }
}

/* --- all of it --- */

/* "area1=DEVICE,..." says which areas have a real one. */
static bool real_device(const char *canary, const char *area, char to[RP_NAME_SIZE])
{
    size_t n = strlen(area);

    for (const char *p = canary; *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        size_t len = strcspn(p, ",");

        if (len > n + 1 && len - n - 1 < RP_NAME_SIZE && strncmp(p, area, n) == 0 &&
            p[n] == '=') {
            snprintf(to, RP_NAME_SIZE, "%.*s", (int)(len - n - 1), p + n + 1);
            return true;
        }
    }
    return false;
}

static void add_target(struct nd_drill_run *r, const struct nd_config_area *a)
{
    struct nd_target *t = &r->targets[r->targets_n++];
    const struct rp_store *s = r->node->store;
    const struct rp_area *area = rp_store_area_named(s, a->name);
    const struct rp_device *d = NULL;

    nd_canary_name(a->name, t->canary);
    snprintf(t->value, sizeof t->value, "ON");
    if (real_device(r->report.canary, a->name, t->device)) {
        snprintf(t->area, sizeof t->area, "%s", a->name);
        d = rp_store_device_named(s, area != NULL ? area->nr : 0, t->device, NULL);
        if (d != NULL && d->state == RP_OFF) { /* It stays as it is. */
            snprintf(t->value, sizeof t->value, "OFF");
        }
    } else {
        snprintf(t->area, sizeof t->area, "%s", ND_CANARY_AREA);
        memcpy(t->device, t->canary, sizeof t->device);
    }
}

bool nd_drill_traffic_open(struct nd_drill_run *r)
{
    struct nd_node *n = r->node;

    for (unsigned i = 0; i < n->config.areas_n; i++) {
        if (n->config.areas[i].enabled) {
            add_target(r, &n->config.areas[i]);
        }
    }
    if (r->targets_n == 0) {
        (void)sy_fail(&r->eb, SY_EINVALID, "no area is enabled");
        return false;
    }
    if (!open_mqtt(r)) {
        return false;
    }
    if (n->config.has_postgres) {
        if (ad_pg_canary_open(&r->pg, n->loop, &n->config.postgres, ND_CANARY_PREFIX,
                              r->began_ms, on_count, r, &r->eb) != 0) {
            r->pg = NULL;
            return false;
        }
        r->open_parts++;
    }
    return true;
}

void nd_drill_traffic_close(struct nd_drill_run *r, void (*part_closed)(void *data))
{
    if (r->mqtt != NULL) {
        ad_mqtt_close(r->mqtt, part_closed);
    }
    if (r->pg != NULL) {
        ad_pg_canary_close(r->pg, part_closed);
    }
}

void nd_drill_traffic_tick(struct nd_drill_run *r, uint64_t now)
{
    const struct ad_mqtt_status *s = ad_mqtt_status(r->mqtt);
    uint64_t confirmed = r->flight.confirmed;

    nd_canary_heard(&r->flight, s->published, s->publish_failed);
    r->counted = r->counted && confirmed == r->flight.confirmed;
    send_again(r);
    send_answers(r);
    send_readings(r, now);
    send_commands(r, now);
    ask_postgres(r, now);
}

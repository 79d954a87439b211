/* The coordinator of a drill: sends canaries, has the fault done, and measures on its own
 * clock (drill.h has the picture). */

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "adapters/postgres/canary.h"
#include "base/mem.h"
#include "base/mp.h"
#include "node/node.h"

enum {
    TICK_MS = 20,
    READING_EVERY_MS = 200, /* of each area */
    ASK_AGAIN_MS = 100,
    COUNT_EVERY_MS = 100,
    REPORT_AGAIN_MS = 500,
    FAULT_AGAIN_MS = 300,
    COMMAND_MS = 20000, /* life of one */
    SESSION_S = 60,
    LEAST_MS = 3000, /* so many readings that their number says something */
    BURST_MAX = 256
};

enum stage { PRELUDE, QUIET, FAULT, COUNT, REPORT };

/* One for each area: a virtual device, and what commands go to. */
struct target
{
    char area[RP_NAME_SIZE];   /* of the command: the canaries', or the site's */
    char device[RP_NAME_SIZE]; /* of the command */
    char canary[RP_NAME_SIZE]; /* the virtual one */
    enum rp_switch answer;     /* what it was asked for; RP_SWITCH_UNKNOWN: nothing */
    char value[4];
    char id[RP_ID_SIZE]; /* "": no command is under way */
    uint64_t asked_ms, again_ms;
    bool confirmed; /* in this stage */
};

struct nd_drill_run
{
    struct nd_node *node;
    uint64_t nr;
    enum nd_drill_kind kind;
    struct nd_drill_report report;
    enum stage stage;
    uint64_t stage_ms, fault_ms, fault_again_ms; /* monotonic */
    bool passed, was_down;

    uv_timer_t timer;
    struct ad_mqtt *mqtt;
    struct ad_pg_canary *pg;
    unsigned open_parts;
    struct sy_errbuf eb;

    struct target targets[ND_AREAS_MAX];
    unsigned targets_n, next_target;
    uint64_t commands; /* given, of all stages: numbers of ids */
    struct nd_canary_flight flight;
    uint64_t reading_ms, count_ms, at_ms; /* the next; the last one's time */
    uint64_t base, fault_number;
    uint64_t term; /* before the fault */
    struct ad_pg_canary_count count;
    bool counted; /* since the last reading was confirmed */
};

static uint64_t since_fault(const struct nd_drill_run *r)
{
    return nd_now_ms() - r->fault_ms;
}

static void mark(struct nd_drill_run *r, enum nd_drill_phase phase)
{
    if (r->stage >= FAULT && r->report.phase[phase] == ND_DRILL_PHASE_NONE) {
        r->report.phase[phase] = (uint32_t)since_fault(r);
        SY_LOG(&r->node->log, SY_NOTE, "drill.phase", KU64("nr", r->nr),
               KSTR("phase", nd_drill_phases[phase]), KU64("ms", since_fault(r)));
    }
}

static bool known(const struct nd_drill_run *r, enum nd_drill_phase phase)
{
    return r->report.phase[phase] != ND_DRILL_PHASE_NONE;
}

static void enter(struct nd_drill_run *r, enum stage stage)
{
    r->stage = stage;
    r->stage_ms = nd_now_ms();
    for (unsigned i = 0; i < r->targets_n; i++) {
        r->targets[i].confirmed = false;
    }
}

static void SY_PRINTF(2, 3) fail(struct nd_drill_run *r, const char *fmt, ...)
{
    va_list ap;

    if (r->report.why[0] == '\0') {
        va_start(ap, fmt);
        vsnprintf(r->report.why, sizeof r->report.why, fmt, ap);
        va_end(ap);
    }
}

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
        struct target *t = &r->targets[i];

        if (t->answer != RP_SWITCH_UNKNOWN && send_reading(r, i, t->answer)) {
            t->answer = RP_SWITCH_UNKNOWN;
        }
    }
}

static void send_readings(struct nd_drill_run *r, uint64_t now)
{
    if (r->stage == QUIET || r->stage >= COUNT || now < r->reading_ms) {
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
        struct target *t = &r->targets[i];

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
    if (r->stage >= FAULT && count->newer > 0) {
        mark(r, ND_PHASE_ROW);
    }
}

static void ask_postgres(struct nd_drill_run *r, uint64_t now)
{
    if (r->pg != NULL && now >= r->count_ms && r->stage != REPORT) {
        r->count_ms = now + COUNT_EVERY_MS;
        ad_pg_canary_ask(r->pg, r->base, r->fault_number);
    }
}

/* --- commands --- */

static void begin_map(const struct nd_drill_run *r, struct sy_buf *b, const char *what,
                      uint32_t more)
{
    sy_mp_map(b, 2 + more);
    sy_mp_kstr(b, "do", what);
    sy_mp_kuint(b, "nr", r->nr);
}

static uint64_t leader_of(const struct nd_drill_run *r)
{
    return cs_core_leader(nd_replica_core(r->node->replica));
}

/* To whoever leads; asked again until the log has it, with the same id. */
static void ask_for(struct nd_drill_run *r, struct target *t, uint64_t now)
{
    uint64_t leader = leader_of(r);
    struct sy_buf b = {0};

    t->again_ms = now + ASK_AGAIN_MS;
    if (leader == 0) {
        return;
    }
    begin_map(r, &b, "command", 5);
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
        struct target *t = &r->targets[i];
        const struct rp_command *c;

        if (t->id[0] == '\0' && !t->confirmed &&
            (r->stage == PRELUDE || r->stage == FAULT)) {
            snprintf(t->id, sizeof t->id, "drill-%" PRIu64 "-%" PRIu64, r->nr,
                     ++r->commands);
            r->report.commands += r->stage == FAULT;
            t->asked_ms = now;
            t->again_ms = 0;
        }
        c = t->id[0] != '\0' ? rp_store_command(r->node->store, t->id) : NULL;
        if (t->id[0] != '\0' && c == NULL && now >= t->again_ms) {
            ask_for(r, t, now);
        }
    }
}

static bool all_confirmed(const struct nd_drill_run *r)
{
    for (unsigned i = 0; i < r->targets_n; i++) {
        if (!r->targets[i].confirmed) {
            return false;
        }
    }
    return true;
}

static bool command_open(const struct nd_drill_run *r)
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
        struct target *t = &r->targets[i];

        if (strcmp(t->id, c->id) != 0) {
            continue;
        }
        t->id[0] = '\0';
        if (c->status != RP_CONFIRMED) {
            continue; /* Another one is given. */
        }
        t->confirmed = true;
        if (r->stage < FAULT) {
            r->report.usual_ms = (uint32_t)(nd_now_ms() - t->asked_ms);
            continue;
        }
        r->report.confirmed++;
        mark(r, ND_PHASE_COMMAND);
        if (all_confirmed(r)) {
            mark(r, ND_PHASE_AREAS);
        }
    }
}

/* --- looking --- */

static bool flag_of(struct sy_cur map, const char *key, const char *value)
{
    char text[16];

    nd_map_str(map, key, text, sizeof text);
    return strcmp(text, value) == 0;
}

static bool brokers_up(struct sy_cur site)
{
    uint32_t count;

    if (!nd_map_find(&site, "brokers")) {
        return false;
    }
    count = sy_mp_get_array(&site);
    for (uint32_t i = 0; i < count && !site.bad; i++) {
        struct sy_cur item = site;

        sy_mp_skip(&site);
        item.n = (size_t)(site.p - item.p);
        if (!flag_of(item, "reader", "up") || !flag_of(item, "writer", "up")) {
            return false;
        }
    }
    return !site.bad;
}

static bool postgres_up(struct sy_cur site)
{
    return nd_map_find(&site, "postgres") && flag_of(site, "link", "up");
}

/* Of a fault that leaves the watch where it is: it is seen in what the watch tells. */
static void look_at_site(struct nd_drill_run *r, struct sy_cur site)
{
    bool broker = brokers_up(site);
    bool up = r->kind == ND_DRILL_POSTGRES ? postgres_up(site) : broker;

    if (nd_drill_relieves(r->kind)) {
        if (known(r, ND_PHASE_ACTING) && broker) {
            mark(r, ND_PHASE_BROKER);
        }
        return;
    }
    if (!up) {
        r->was_down = true;
        mark(r, ND_PHASE_DETECTED);
    } else if (r->was_down && r->kind == ND_DRILL_BROKER) {
        mark(r, ND_PHASE_BROKER);
    }
}

static void look_at_watch(struct nd_drill_run *r)
{
    struct nd_node *n = r->node;
    const struct cs_core *core = nd_replica_core(n->replica);
    uint64_t leader = cs_core_leader(core), before = r->report.before, age;
    struct sy_cur map;

    if (leader != before || cs_core_term(core) > r->term ||
        !ad_peers_linked(nd_replica_peers(n->replica), before)) {
        mark(r, ND_PHASE_DETECTED);
    }
    if (leader != 0 && cs_core_term(core) > r->term) {
        mark(r, ND_PHASE_ELECTED);
    }
    if (rp_store_watch_term(n->store) > r->term &&
        nd_status_node_map(n, rp_store_watch_node(n->store), &map, &age) &&
        flag_of(map, "watch", "active") && nd_map_uint(map, "term", 0) > r->term) {
        mark(r, ND_PHASE_ACTING);
    }
}

void nd_drill_run_look(struct nd_node *n)
{
    struct nd_drill_run *r = n->drill.run;
    struct sy_cur site;
    uint64_t age;

    if (r == NULL || (r->stage != FAULT && r->stage != COUNT)) {
        return;
    }
    if (nd_drill_relieves(r->kind)) {
        look_at_watch(r);
    }
    if (!known(r, ND_PHASE_BROKER) && nd_status_site_map(n, &site, &age)) {
        look_at_site(r, site);
    }
}

/* --- stages --- */

static void tend_prelude(struct nd_drill_run *r, uint64_t now)
{
    if (all_confirmed(r) && (r->pg == NULL || r->count.numbers > 0)) {
        enter(r, QUIET);
    } else if (now - r->stage_ms > ND_DRILL_PRELUDE_MS) {
        fail(r,
             "the canaries did not get through before anything was done: %s; nothing "
             "was done",
             !all_confirmed(r)                      ? "not every area confirmed a command"
             : ad_pg_canary_error(r->pg)[0] != '\0' ? ad_pg_canary_error(r->pg)
                                                    : "no reading came to Postgres");
        enter(r, REPORT);
    }
}

/* Only what is sent from here on counts: the broker may have had no reader of the first
 * ones. */
static void begin_fault(struct nd_drill_run *r, uint64_t now)
{
    struct nd_node *n = r->node;

    r->base = r->fault_number = r->flight.newest;
    r->flight.confirmed = 0;
    r->term = cs_core_term(nd_replica_core(n->replica));
    r->report.before = rp_store_watch_node(n->store);
    r->report.fault_at_ms = nd_replica_clock_ms(n->replica);
    r->count = (struct ad_pg_canary_count){0};
    r->fault_ms = now;
    enter(r, FAULT);
    SY_LOG(&n->log, SY_NOTE, "drill.begins", KU64("nr", r->nr),
           KSTR("kind", nd_drill_kinds[r->kind]), KU64("watch", r->report.before));
}

/* Until it shows: a frame may be lost. */
static void tell_fault(struct nd_drill_run *r, uint64_t now)
{
    struct sy_buf b = {0};

    if (now < r->fault_again_ms || known(r, ND_PHASE_DETECTED) ||
        rp_store_watch_node(r->node->store) != r->report.before) {
        return;
    }
    r->fault_again_ms = now + FAULT_AGAIN_MS;
    begin_map(r, &b, "fault", 1);
    sy_mp_kuint(&b, "ms", r->report.fault_ms);
    nd_drill_tell(r->node, r->report.before, &b);
    sy_buf_free(&b);
}

static void tell_restore(struct nd_drill_run *r)
{
    struct sy_buf b = {0};

    begin_map(r, &b, "restore", 0);
    nd_drill_tell(r->node, r->report.before, &b);
    sy_buf_free(&b);
}

static const char *missing(const struct nd_drill_run *r)
{
    if (!known(r, ND_PHASE_DETECTED)) {
        return "nothing of the fault was seen";
    }
    if (nd_drill_relieves(r->kind) && !known(r, ND_PHASE_ACTING)) {
        return "no node took the watch";
    }
    if (!known(r, ND_PHASE_AREAS)) {
        return "not every area confirmed a command";
    }
    return r->pg != NULL && !known(r, ND_PHASE_ROW) ? "no new reading is in Postgres"
                                                    : NULL;
}

static void tend_fault(struct nd_drill_run *r, uint64_t now)
{
    const char *lacks = missing(r);

    tell_fault(r, now);
    if (lacks == NULL && since_fault(r) >= LEAST_MS &&
        since_fault(r) >= r->report.fault_ms) {
        enter(r, COUNT);
    } else if (since_fault(r) > r->report.budget_ms) {
        SY_LOG(&r->node->log, SY_WARN, "drill.gives_up", KU64("nr", r->nr),
               KSTR("why", lacks != NULL ? lacks : "it did not end"));
        fail(r, "given up after %" PRIu64 " s: %s", r->report.budget_ms / 1000,
             lacks != NULL ? lacks : "it did not end");
        tell_restore(r);
        enter(r, COUNT);
    }
}

static void tend_count(struct nd_drill_run *r, uint64_t now)
{
    struct nd_drill_report *to = &r->report;
    bool late = now - r->stage_ms > ND_DRILL_COUNT_MS;

    if (r->pg != NULL && !late &&
        (r->flight.n > 0 || !r->counted || r->count.numbers < r->flight.confirmed)) {
        return;
    }
    to->counted = r->pg != NULL && r->counted;
    if (to->counted) {
        to->sent = r->flight.confirmed;
        to->rows = r->count.rows;
        to->lost = to->sent > r->count.numbers ? to->sent - r->count.numbers : 0;
        to->doubled = r->count.rows - r->count.numbers;
    }
    if (!late && r->pg != NULL) {
        mark(r, ND_PHASE_ALL_ROWS);
    }
    enter(r, REPORT);
}

static void tend_report(struct nd_drill_run *r, uint64_t now)
{
    struct nd_drill_report *to = &r->report;
    uint64_t leader = leader_of(r);
    struct sy_buf b = {0}, report = {0};

    if (now < r->fault_again_ms || leader == 0) {
        return;
    }
    r->fault_again_ms = now + REPORT_AGAIN_MS;
    to->after = rp_store_watch_node(r->node->store);
    r->passed = nd_drill_judge(to, r->kind, r->pg != NULL);
    nd_drill_report_put(to, &report);
    begin_map(r, &b, "report", 2);
    sy_mp_kbool(&b, "passed", r->passed);
    sy_mp_str(&b, "report");
    sy_mp_bin(&b, report.p, report.len);
    nd_drill_tell(r->node, leader, &b);
    sy_buf_free(&report);
    sy_buf_free(&b);
}

static void tick(uv_timer_t *timer)
{
    struct nd_drill_run *r = timer->data;
    const struct ad_mqtt_status *s = ad_mqtt_status(r->mqtt);
    uint64_t now = nd_now_ms(), confirmed = r->flight.confirmed;

    nd_canary_heard(&r->flight, s->published, s->publish_failed);
    r->counted = r->counted && confirmed == r->flight.confirmed;
    send_again(r);
    send_answers(r);
    send_readings(r, now);
    send_commands(r, now);
    ask_postgres(r, now);
    nd_drill_run_look(r->node);
    if (r->stage == PRELUDE) {
        tend_prelude(r, now);
    } else if (r->stage == QUIET) {
        if (r->flight.n == 0 && !command_open(r)) {
            begin_fault(r, now);
        } else if (now - r->stage_ms > ND_DRILL_PRELUDE_MS) {
            fail(r, "the broker did not confirm the canaries; nothing was done");
            enter(r, REPORT);
        }
    } else if (r->stage == FAULT) {
        tend_fault(r, now);
    } else if (r->stage == COUNT) {
        tend_count(r, now);
    } else {
        tend_report(r, now);
    }
}

/* --- life --- */

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
    struct target *t = &r->targets[r->targets_n++];
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

static bool open_all(struct nd_drill_run *r)
{
    struct nd_node *n = r->node;

    if (r->targets_n == 0) {
        (void)sy_fail(&r->eb, SY_EINVALID, "no area is enabled");
        return false;
    }
    if (!open_mqtt(r)) {
        return false;
    }
    if (n->config.has_postgres) {
        if (ad_pg_canary_open(&r->pg, n->loop, &n->config.postgres, ND_CANARY_PREFIX,
                              nd_replica_clock_ms(n->replica), on_count, r,
                              &r->eb) != 0) {
            r->pg = NULL;
            return false;
        }
        r->open_parts++;
    }
    return true;
}

static void part_closed(void *data)
{
    struct nd_drill_run *r = data;

    if (--r->open_parts == 0) {
        sy_free(r);
    }
}

static void timer_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

static void report_only(uv_timer_t *timer)
{
    struct nd_drill_run *r = timer->data;

    tend_report(r, nd_now_ms());
}

void nd_drill_run_begin(struct nd_node *n, const struct rp_drill *d)
{
    struct nd_drill_run *r = sy_calloc(1, sizeof *r);
    bool good;

    r->node = n;
    r->nr = d->nr;
    r->kind = nd_drill_kind_of(d->kind);
    nd_drill_report_get(&r->report, d);
    for (unsigned i = 0; i < n->config.areas_n; i++) {
        if (n->config.areas[i].enabled) {
            add_target(r, &n->config.areas[i]);
        }
    }
    (void)uv_timer_init(n->loop, &r->timer);
    r->timer.data = r;
    r->open_parts = 1;
    good = r->kind < ND_DRILL_KINDS && open_all(r);
    enter(r, good ? PRELUDE : REPORT);
    if (!good) {
        fail(r, "it could not begin: %s", r->eb.text);
    }
    (void)uv_timer_start(&r->timer, good ? tick : report_only, TICK_MS, TICK_MS);
    n->drill.run = r;
}

void nd_drill_run_end(struct nd_node *n)
{
    struct nd_drill_run *r = n->drill.run;

    n->drill.run = NULL;
    if (r == NULL) {
        return;
    }
    uv_close((uv_handle_t *)&r->timer, timer_closed);
    if (r->mqtt != NULL) {
        ad_mqtt_close(r->mqtt, part_closed);
    }
    if (r->pg != NULL) {
        ad_pg_canary_close(r->pg, part_closed);
    }
}

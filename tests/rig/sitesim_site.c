/* The site as a whole: the tick that makes meters report, what happens to devices from
 * outside, and bursts. */
#include "sitesim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TICK_MS = 10,
    QUERY_EVERY_MS = 10000, /* Z2M asks Tuya meters; they answer in several frames. */
    QUERY_FRAMES = 4,
    COMEBACK_MS = 3000,
    BURST_WINDOW = 150, /* libmosquitto walks its in-flight list on every publish. */
    BURST_PER_TURN = 200,
};

static void report_now(struct sim_area *a, struct sim_meter *m, int value);

/* ---- reports ---- */

static void report_tuya(struct sim_meter *m)
{
    struct sim_site *s = m->area->site;
    uint64_t now = uv_now(&s->loop);

    sim_meter_hear(m, SIM_HEAR_ALL);
    sim_bridge_state(m);
    if (s->opt.one_frame || now - m->queried_at_ms < QUERY_EVERY_MS) {
        return;
    }
    m->queried_at_ms = now;
    sim_meter_wobble(m);
    sim_meter_hear(m, SIM_HEAR_ALL);
    for (int i = 1; i < QUERY_FRAMES; i++) {
        sim_bridge_state(m);
    }
}

static void report(struct sim_meter *m)
{
    bool one_frame = m->area->site->opt.one_frame;

    sim_meter_wobble(m);
    if (!m->reachable || m->removed || !m->area->running || !m->area->ready) {
        return;
    }
    switch (m->model) {
    case SIM_REPORT: /* two frames, two messages: V/A/W, then kWh */
        if (!one_frame) {
            sim_meter_hear(m, SIM_HEAR_STATE | SIM_HEAR_METER);
            sim_bridge_state(m);
        }
        sim_meter_hear(m, SIM_HEAR_ALL);
        sim_bridge_state(m);
        break;
    case SIM_TOWSMR1:
    case SIM_TOSYS:
        report_tuya(m);
        break;
    case SIM_POLL:
    case SIM_MODELS:
        sim_meter_hear(m, SIM_HEAR_STATE | SIM_HEAR_METER);
        sim_bridge_state(m);
        break;
    }
}

/* Each meter once per interval, evenly spread, areas in turn. */
static void report_due(struct sim_site *s, uint64_t elapsed_ms)
{
    double n = s->meter_count;

    if (s->opt.interval_ms == 0) {
        return;
    }
    s->reports_due += (double)elapsed_ms * n / s->opt.interval_ms;
    if (s->reports_due > n) {
        s->reports_due = n; /* after a pause, no more than one report each */
    }
    for (; s->reports_due >= 1.0; s->reports_due -= 1.0) {
        int i = s->report_cursor;

        report(&s->areas[i % s->opt.areas].meters[i / s->opt.areas]);
        s->report_cursor = (i + 1) % s->meter_count;
    }
}

/* ---- once a second and less ---- */

static void save_caches(struct sim_site *s)
{
    for (int i = 0; i < s->meter_count; i++) {
        if (s->meters[i].area->running) {
            s->meters[i].saved = s->meters[i].seen;
        }
    }
}

static void notice_silence(struct sim_site *s, uint64_t now)
{
    uint64_t after = (uint64_t)s->opt.avail_offline_ms;

    for (int i = 0; i < s->meter_count; i++) {
        struct sim_meter *m = &s->meters[i];

        if (m->silent_since_ms != 0 && m->available && m->area->ready &&
            now - m->silent_since_ms >= after) {
            sim_bridge_availability(m, false);
        }
    }
}

static void tick_cb(uv_timer_t *timer)
{
    struct sim_site *s = timer->data;
    uint64_t now = uv_now(&s->loop);

    report_due(s, now - s->tick_at_ms);
    if (now / 500 != s->tick_at_ms / 500) {
        notice_silence(s, now);
    }
    s->tick_at_ms = now;
    if (now - s->saved_at_ms >= (uint64_t)s->opt.cache_save_ms) {
        s->saved_at_ms = now;
        save_caches(s);
    }
    if (now - s->health_at_ms >= (uint64_t)s->opt.health_ms) {
        s->health_at_ms = now;
        for (int k = 0; k < s->opt.areas; k++) {
            if (s->areas[k].ready) {
                sim_bridge_health(&s->areas[k]);
            }
        }
    }
    (void)uv_timer_start(timer, tick_cb, TICK_MS, 0);
}

/* ---- bursts ---- */

static void burst_one(struct sim_site *s, struct sim_meter *m)
{
    int64_t before = m->seen.last_seen_ms;

    sim_meter_wobble(m);
    sim_meter_hear(m, SIM_HEAR_ALL);
    if (m->seen.last_seen_ms <= before) {
        m->seen.last_seen_ms = before + 1; /* (device, last_seen) names one message */
    }
    sim_bridge_state_qos(m, s->burst.qos);
}

/* Returns whether it could go on right away, without waiting for the broker. */
static bool burst_step(struct sim_site *s)
{
    struct sim_burst *b = &s->burst;
    bool more = false;

    for (int k = 0; k < s->opt.areas && b->sent < b->wanted; k++) {
        struct sim_area *a = &s->areas[k];

        if (!a->ready || !a->connected || (b->area != 0 && b->area != a->number)) {
            continue;
        }
        for (int i = 0; i < BURST_PER_TURN && b->sent < b->wanted; i++) {
            if (a->inflight >= BURST_WINDOW) {
                break;
            }
            burst_one(s, &a->meters[b->cursor % s->opt.devices]);
            b->cursor = (b->cursor + 1) % s->opt.devices;
            b->sent++;
        }
        more = more || a->inflight < BURST_WINDOW;
    }
    if (b->sent == b->wanted) {
        b->ended_ns = uv_hrtime();
        more = false;
    }
    return more;
}

static void idle_cb(uv_idle_t *idle)
{
    (void)idle;
}

static void flush_cb(uv_prepare_t *prepare)
{
    struct sim_site *s = prepare->data;
    bool more = false;

    if (s->burst.sent < s->burst.wanted) {
        more = burst_step(s);
    }
    for (int k = 0; k < s->opt.areas; k++) {
        sim_mqtt_flush(&s->areas[k]);
        /* QoS 0 is done when it is written: there will be no answer to wake us. */
        more = more || (s->burst.sent < s->burst.wanted && s->areas[k].connected &&
                        s->areas[k].inflight < BURST_WINDOW);
    }
    if (more) {
        (void)uv_idle_start(&s->burst_idle, idle_cb);
    } else {
        (void)uv_idle_stop(&s->burst_idle);
    }
}

void sim_site_burst(struct sim_site *s, uint64_t n, int qos, int area)
{
    s->burst = (struct sim_burst){
        .wanted = n, .begun_ns = uv_hrtime(), .qos = qos, .area = area};
    (void)uv_idle_start(&s->burst_idle, idle_cb);
}

/* ---- from outside ---- */

/* A line for each command, so that what reached a device is known even if we are killed;
 * a line without a meter for a start, at which all relays are as we were made. */
static void write_log(struct sim_site *s, const struct sim_log_entry *e)
{
    if (s->log_file == NULL) {
        return;
    }
    fprintf(s->log_file, "{\"mono_us\":%llu", (unsigned long long)uv_hrtime() / 1000);
    if (e != NULL) {
        fprintf(s->log_file,
                ",\"wall_ms\":%.3f,\"dev\":\"%s\",\"ieee\":\"%s\",\"value\":\"%s\"",
                e->at_ms, e->meter->name, e->meter->ieee, e->on ? "ON" : "OFF");
    }
    fputs("}\n", s->log_file);
}

void sim_site_log(struct sim_meter *m, bool on)
{
    struct sim_site *s = m->area->site;
    struct timespec now;
    char command = on ? 'N' : 'F';

    (void)clock_gettime(CLOCK_REALTIME, &now);
    s->log[s->log_head] = (struct sim_log_entry){
        .at_ms = (double)now.tv_sec * 1000.0 + (double)now.tv_nsec / 1e6,
        .meter = m,
        .on = on,
    };
    write_log(s, &s->log[s->log_head]);
    s->log_head = (s->log_head + 1) % SIM_LOG_MAX;
    if (s->log_count < SIM_LOG_MAX) {
        s->log_count++;
    } else {
        s->log_dropped++;
    }
    m->reached++;
    m->repeated += m->last_command == command ? 1 : 0;
    m->last_command = command;
}

static void report_now(struct sim_area *a, struct sim_meter *m, int value)
{
    (void)a;
    (void)value;
    report(m);
}

void sim_site_offline(struct sim_meter *m, bool offline, bool announce_now)
{
    struct sim_area *a = m->area;

    m->reachable = !offline;
    m->silent_since_ms = offline ? uv_now(&a->site->loop) : 0;
    if (offline && announce_now && m->available) {
        sim_bridge_availability(m, false);
    } else if (!offline && a->running) {
        int delay_ms = sim_random_int(a->site, COMEBACK_MS / 6, COMEBACK_MS);

        sim_later(a, m, 0, announce_now ? 0 : (uint64_t)delay_ms, report_now);
    }
}

/* Somebody at the pitch presses the button. */
void sim_site_press(struct sim_meter *m, bool on)
{
    sim_meter_switch(m, on, true);
    if (m->reachable && m->area->ready && !m->removed) {
        sim_meter_hear(m, SIM_HEAR_STATE);
        sim_bridge_state(m);
    }
}

/* ---- life ---- */

static void mark_unreachable(struct sim_site *s)
{
    const char *at = s->opt.unreachable;

    while (at != NULL && *at != '\0') {
        size_t len = strcspn(at, ",");
        struct sim_meter *m = NULL;

        for (int k = 0; k < s->opt.areas && m == NULL; k++) {
            m = sim_meter_find(&s->areas[k], at, len);
        }
        if (m != NULL) {
            sim_site_offline(m, true, false);
        } else {
            fprintf(stderr, "sitesim: --unreachable: no meter \"%.*s\"\n", (int)len, at);
            exit(2);
        }
        at += len + (at[len] == ',' ? 1 : 0);
    }
}

static void signal_cb(uv_signal_t *handle, int signum)
{
    (void)signum;
    sim_site_close(handle->data, true);
}

static void open_log(struct sim_site *s)
{
    if (s->opt.log_file == NULL) {
        return;
    }
    s->log_file = fopen(s->opt.log_file, "ae");
    if (s->log_file == NULL) {
        fprintf(stderr, "sitesim: --log-file: %s cannot be written\n", s->opt.log_file);
        exit(1);
    }
    (void)setvbuf(s->log_file, NULL, _IOLBF, 0);
    write_log(s, NULL);
}

void sim_site_init(struct sim_site *s)
{
    static const int signums[] = {SIGTERM, SIGINT};
    struct timespec now;

    s->random = s->opt.seed;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    uv_update_time(&s->loop);
    s->wall_offset_ms =
        (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - (int64_t)uv_now(&s->loop);
    s->tick_at_ms = s->saved_at_ms = s->health_at_ms = uv_now(&s->loop);
    s->log = sim_alloc(SIM_LOG_MAX, sizeof *s->log);
    s->meter_count = s->opt.areas * s->opt.devices;
    s->meters = sim_alloc((size_t)s->meter_count, sizeof *s->meters);
    for (int k = 0; k < s->opt.areas; k++) {
        struct sim_area *a = &s->areas[k];

        a->site = s;
        a->number = k + 1;
        (void)snprintf(a->base, sizeof a->base, "%s", s->opt.base);
        if (s->opt.areas > 1) {
            (void)snprintf(a->base, sizeof a->base, "%s/a%d", s->opt.base, k + 1);
        }
        a->base_len = strlen(a->base);
        a->meters = s->meters + (ptrdiff_t)k * s->opt.devices;
        for (int i = 0; i < s->opt.devices; i++) {
            sim_meter_init(&a->meters[i], a, i);
        }
        sim_bridge_init(a);
    }
    mark_unreachable(s);
    open_log(s);
    (void)uv_timer_init(&s->loop, &s->tick);
    (void)uv_prepare_init(&s->loop, &s->flush);
    (void)uv_idle_init(&s->loop, &s->burst_idle);
    s->tick.data = s->flush.data = s->burst_idle.data = s;
    (void)uv_timer_start(&s->tick, tick_cb, TICK_MS, 0);
    (void)uv_prepare_start(&s->flush, flush_cb);
    for (size_t i = 0; i < 2; i++) {
        (void)uv_signal_init(&s->loop, &s->signals[i]);
        s->signals[i].data = s;
        (void)uv_signal_start(&s->signals[i], signal_cb, signums[i]);
    }
}

void sim_site_close(struct sim_site *s, bool graceful)
{
    if (s->closing) {
        return;
    }
    s->closing = true;
    for (int k = 0; k < s->opt.areas; k++) {
        sim_bridge_stop(&s->areas[k], graceful ? SIM_TERM : SIM_KILL);
        uv_close((uv_handle_t *)&s->areas[k].start_timer, NULL);
        uv_close((uv_handle_t *)&s->areas[k].conn_timer, NULL);
    }
    sim_jobs_cancel(s);
    sim_control_close(s);
    for (size_t i = 0; i < 2; i++) {
        uv_close((uv_handle_t *)&s->signals[i], NULL);
    }
    uv_close((uv_handle_t *)&s->flush, NULL);
    uv_close((uv_handle_t *)&s->burst_idle, NULL);
    uv_close((uv_handle_t *)&s->tick, NULL);
}

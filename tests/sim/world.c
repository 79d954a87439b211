#include "tests/sim/world.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tests/sim/world_impl.h"

void world_config_default(struct world_config *c)
{
    *c =
        (struct world_config){.areas = 2, .meters = 4, .report_ms = 1500, .row_ms = 2500};
}

struct world *world_new(struct site *s, const struct world_config *c)
{
    struct world *w = sy_calloc(1, sizeof *w);

    w->s = s;
    w->config = *c;
    w->delay_max_ms = 3;
    s->world = w;
    wz_begin(w);
    wb_begin(w);
    wp_begin(w);
    return w;
}

void world_free(struct world *w)
{
    if (w == NULL) {
        return;
    }
    wn_free(w);
    wm_free(w);
    wq_free(w);
    wb_free(w);
    wz_free(w);
    wp_free(w);
    wc_free(w);
    w->s->world = NULL;
    sy_free(w);
}

void world_node_config(const struct world *w, struct nd_config *c)
{
    struct ad_mqtt_config *b = &c->brokers[0];

    c->brokers_n = 1;
    ad_mqtt_config_default(b);
    b->addresses_n = 1;
    snprintf(b->addresses[0].host, sizeof b->addresses[0].host, "192.0.2.1");
    b->addresses[0].port = 1883;
    snprintf(b->name, sizeof b->name, "main");
    snprintf(b->reader_id, sizeof b->reader_id, "vagt-%s-in", c->cluster);
    snprintf(b->writer_id, sizeof b->writer_id, "vagt-%s-out", c->cluster);
    c->areas_n = w->config.areas;
    for (unsigned i = 0; i < w->config.areas; i++) {
        struct nd_config_area *a = &c->areas[i];

        snprintf(a->name, sizeof a->name, "%s", w->bridges[i].area);
        snprintf(a->base_topic, sizeof a->base_topic, "%s", w->bridges[i].base);
        snprintf(a->source, sizeof a->source, "zigbee2mqtt");
        a->enabled = true;
        a->offline_after_ms = 1800000;
    }
    c->has_postgres = true;
    ad_pg_config_default(&c->postgres);
    c->postgres.conninfo = "simulated";
    snprintf(c->postgres.cluster, sizeof c->postgres.cluster, "%s", c->cluster);
    snprintf(c->postgres.node, sizeof c->postgres.node, "%s",
             nd_config_self(c) != NULL ? nd_config_self(c)->name : "node");
}

/* --- what goes wrong --- */

static void any_bridge(struct world *w)
{
    struct wbridge *b = &w->bridges[w_below(w, w->config.areas)];

    wz_kill(b, w_below(w, 2) == 0, 200 + w_below(w, 5000));
}

static void change_pace(struct world *w)
{
    w->delay_max_ms = 1 + (unsigned)w_below(w, w_below(w, 3) != 0 ? 20 : 300);
    w->pg.late_ms = w_below(w, 2) == 0 ? 0 : 1 + (unsigned)w_below(w, 4000);
    W_TRACE(w, 1, "world: packets take up to %u ms, Postgres's answers up to %u ms",
            w->delay_max_ms, w->pg.late_ms);
}

void world_fault(struct world *w)
{
    uint64_t k = w_below(w, 100);

    if (w->healed) {
        return;
    }
    w->faults++;
    if (k < 15) {
        wb_kill(w, w_below(w, 3) != 0 ? w_below(w, 1500) : w_below(w, 15000));
    } else if (k < 30) {
        wp_kill(w, w_below(w, 3) != 0 ? w_below(w, 2000) : w_below(w, 20000));
    } else if (k < 42) {
        W_TRACE(w, 1, "postgres: all sessions break");
        wp_break(w);
    } else if (k < 52) {
        w->pg.lose_reply += 1 + (unsigned)w_below(w, 2);
    } else if (k < 67) {
        any_bridge(w);
    } else if (k < 85) {
        wz_silence(wz_nth(w, (unsigned)w_below(w, world_devices(w))), w,
                   w_below(w, 3) != 0 ? w_below(w, 10000) : w_below(w, 40000));
    } else if (k < 90) {
        wz_press(w, wz_nth(w, (unsigned)w_below(w, world_devices(w))));
    } else {
        change_pace(w);
    }
}

void world_heal(struct world *w)
{
    w->healed = true;
    w->delay_max_ms = 3;
    w->pg.late_ms = w->pg.lose_reply = 0;
    for (unsigned i = 0; i < world_devices(w); i++) {
        struct wmeter *m = wz_nth(w, i);

        if (m->out) {
            m->back_at = w_now(w) + 1;
        }
    }
    W_TRACE(w, 1, "world: healed");
    wb_wake(w);
    wp_wake(w);
    wz_wake(w);
}

void world_quiet(struct world *w)
{
    w->quiet = true;
}

/* --- for callers --- */

unsigned world_devices(const struct world *w)
{
    return w->config.areas * w->config.meters;
}

uint64_t world_device(const struct world *w, unsigned nth)
{
    return wz_nth(w, nth % world_devices(w))->ieee;
}

const char *world_device_name(const struct world *w, uint64_t ieee)
{
    const struct wmeter *m = wz_meter(w, ieee);

    return m != NULL ? m->name : "";
}

uint64_t world_digest(const struct world *w)
{
    const uint64_t v[] = {w->broker.published,     w->broker.delivered,
                          w->broker.lost,          w->pg.commits,
                          w->pg.readings_n,        w->pg.at.revision,
                          w->check.sets_published, w->check.sets_executed,
                          w->check.seq_seen,       w->check.commands_n};

    return sy_hash(v, sizeof v, w->faults);
}

void world_print(const struct world *w, struct sy_buf *to)
{
    sy_buf_fmt(
        to,
        "faults %llu; broker: published %llu, delivered %llu, again %llu, lost %llu; "
        "postgres: commits %llu, rows %u, fenced %llu, answers lost %llu; commands "
        "%u, sent %llu, carried out %llu, confirmed %llu; taken twice %llu",
        (ull)w->faults, (ull)w->broker.published, (ull)w->broker.delivered,
        (ull)w->broker.redelivered, (ull)w->broker.lost, (ull)w->pg.commits,
        w->pg.readings_n, (ull)w->pg.fenced, (ull)w->pg.lost_replies, w->check.commands_n,
        (ull)w->check.sets_published, (ull)w->check.sets_executed,
        (ull)w->check.confirmed, (ull)w->check.twice);
}

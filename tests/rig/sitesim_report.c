/* What the control port tells, as JSON. Names are plain (see plain_name), so nothing here
 * needs escaping. */
#include "sitesim.h"

#include <string.h>

typedef unsigned long long ull;

static void put_area(const struct sim_area *a, struct sim_buf *b)
{
    sim_buf_printf(b,
                   "{\"area\":%d,\"base\":\"%s\",\"running\":%s,\"connected\":%s,"
                   "\"ready\":%s,\"connects\":%llu,\"inflight\":%llu,\"states\":%llu,"
                   "\"published\":%llu,\"received\":%llu,",
                   a->number, a->base, a->running ? "true" : "false",
                   a->connected ? "true" : "false", a->ready ? "true" : "false",
                   (ull)a->connects, (ull)a->inflight, (ull)a->states_published,
                   (ull)a->published, (ull)a->messages_in);
    sim_buf_printf(
        b,
        "\"sets\":%llu,\"gets\":%llu,\"dropped_not_ready\":%llu,"
        "\"refused\":%llu,\"dropped_disconnected\":%llu,\"dropped_full\":%llu}",
        (ull)a->sets_received, (ull)a->gets_received, (ull)a->dropped_not_ready,
        (ull)a->refused, (ull)a->dropped_disconnected, (ull)a->dropped_full);
}

static void put_burst(const struct sim_site *s, struct sim_buf *b)
{
    const struct sim_burst *u = &s->burst;
    uint64_t until = u->ended_ns != 0 ? u->ended_ns : uv_hrtime();
    double ms = u->wanted > 0 ? (double)(until - u->begun_ns) / 1e6 : 0.0;

    sim_buf_printf(b, "\"burst\":{\"n\":%llu,\"sent\":%llu,\"running\":%s,\"ms\":%.1f},",
                   (ull)u->wanted, (ull)u->sent, u->sent < u->wanted ? "true" : "false",
                   ms);
}

void sim_report_stats(struct sim_site *s, struct sim_buf *b)
{
    ull states = 0, sets = 0, reached = 0, repeated = 0;

    for (int k = 0; k < s->opt.areas; k++) {
        states += s->areas[k].states_published;
        sets += s->areas[k].sets_received;
    }
    for (int i = 0; i < s->meter_count; i++) {
        reached += s->meters[i].reached;
        repeated += s->meters[i].repeated;
    }
    sim_buf_printf(b,
                   "{\"meters\":%d,\"states\":%llu,\"sets\":%llu,\"reached\":%llu,"
                   "\"repeated\":%llu,\"lost_in_restart\":%llu,\"jobs\":%d,"
                   "\"jobs_refused\":%llu,\"log_dropped\":%llu,",
                   s->meter_count, states, sets, reached, repeated,
                   (ull)s->lost_in_restart, s->jobs, (ull)s->jobs_refused,
                   (ull)s->log_dropped);
    put_burst(s, b);
    sim_buf_printf(b, "\"areas\":[");
    for (int k = 0; k < s->opt.areas; k++) {
        sim_buf_put(b, ",", k > 0);
        put_area(&s->areas[k], b);
    }
    sim_buf_printf(b, "],\"devices\":[");
    for (int i = 0; i < s->meter_count; i++) {
        const struct sim_meter *m = &s->meters[i];

        sim_buf_printf(b,
                       "%s{\"dev\":\"%s\",\"published\":%llu,\"distinct\":%llu,"
                       "\"sets\":%llu,\"reached\":%llu,\"repeated\":%llu}",
                       i > 0 ? "," : "", m->name, (ull)m->published, (ull)m->distinct,
                       (ull)m->sets, (ull)m->reached, (ull)m->repeated);
    }
    sim_buf_printf(b, "]}\n");
}

void sim_report_log(struct sim_site *s, struct sim_buf *b)
{
    size_t first = (s->log_head + SIM_LOG_MAX - s->log_count) % SIM_LOG_MAX;

    sim_buf_put(b, "[", 1);
    for (size_t i = 0; i < s->log_count; i++) {
        const struct sim_log_entry *e = &s->log[(first + i) % SIM_LOG_MAX];

        sim_buf_printf(b,
                       "%s{\"t\":%.3f,\"dev\":\"%s\",\"ieee\":\"%s\",\"value\":\"%s\"}",
                       i > 0 ? ",\n" : "", e->at_ms, e->meter->name, e->meter->ieee,
                       e->on ? "ON" : "OFF");
    }
    sim_buf_put(b, "]\n", 2);
}

void sim_report_meters(struct sim_site *s, struct sim_buf *b)
{
    char seen[SIM_PAYLOAD_MAX];

    sim_buf_put(b, "[", 1);
    for (int i = 0; i < s->meter_count; i++) {
        const struct sim_meter *m = &s->meters[i];

        (void)sim_meter_payload(m, &m->seen, true, seen);
        sim_buf_printf(b,
                       "%s{\"dev\":\"%s\",\"ieee\":\"%s\",\"area\":%d,\"state\":\"%s\","
                       "\"reachable\":%s,\"available\":%s,\"removed\":%s,"
                       "\"energy_kwh\":%.6f,\"seen\":%s}",
                       i > 0 ? ",\n" : "", m->name, m->ieee, m->area->number,
                       m->on ? "ON" : "OFF", m->reachable ? "true" : "false",
                       m->available ? "true" : "false", m->removed ? "true" : "false",
                       m->energy_kwh, seen);
    }
    sim_buf_put(b, "]\n", 2);
}

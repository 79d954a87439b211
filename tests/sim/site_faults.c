/* What befalls a site, and how it has to end. */

#include <string.h>

#include "base/hash.h"
#include "tests/sim/site.h"
#include "tests/sim/world.h"

typedef unsigned long long ull;

enum {
    CALM_MS = 4000,    /* A site comes up. */
    FAULTS_MS = 20000, /* ... is tormented ... */
    HEAL_MS = 60000,   /* ... and must be well again within a minute, */
    END_MS = 150000    /* with nothing waiting any more within this. */
};

static unsigned anybody(struct site *s)
{
    return 1 + (unsigned)site_below(s, s->sim->n);
}

static void start_later(struct site *s, unsigned node, uint64_t max_ms)
{
    sim_queue_post(&s->sim->queue,
                   (struct sim_event){.t = s->sim->now + 10 + site_below(s, max_ms),
                                      .type = SIM_START,
                                      .to = node});
}

static void bring_down(struct site *s, unsigned node)
{
    uint64_t k = site_below(s, 5);

    if (!s->sim->nodes[node].up) {
        return;
    }
    if (k == 0) {
        site_stop(s, node);
        start_later(s, node, 6000);
        return;
    }
    if (k < 3) {
        site_kill(s, node);
    } else {
        site_vanish(s, node);
    }
    start_later(s, node, site_below(s, 3) == 0 ? 8000 : 600);
}

static void bring_down_all(struct site *s)
{
    for (unsigned i = 1; i <= s->sim->n; i++) {
        if (s->sim->nodes[i].up) {
            site_vanish(s, i);
            start_later(s, i, 500);
        }
    }
}

static void sleep_some(struct site *s)
{
    unsigned watch = site_watch(s);

    site_pause(s, watch != 0 && site_below(s, 2) == 0 ? watch : anybody(s),
               50 + site_below(s, site_below(s, 4) == 0 ? 20000 : 1500));
}

/* One node alone, one way, or at random. */
static void cut_links(struct site *s)
{
    struct sim *m = s->sim;
    unsigned a = site_below(s, 2) == 0 && site_watch(s) != 0 ? site_watch(s) : anybody(s);
    uint64_t k = site_below(s, 3);

    s->stats.cuts++;
    for (unsigned i = 1; i <= m->n; i++) {
        for (unsigned j = 1; j <= m->n; j++) {
            m->cut[i][j] = i != j && (k == 0   ? i == a || j == a
                                      : k == 1 ? i == a
                                               : site_below(s, 3) == 0);
        }
    }
    sim_trace(m, 1, "the nodes' network is cut, way %llu around node %u", (ull)k, a);
}

static void cut_outside(struct site *s)
{
    unsigned node = site_watch(s) != 0 ? site_watch(s) : anybody(s);
    unsigned where = (unsigned)site_below(s, SITE_WHERE_NR);
    uint64_t ways = 1 + site_below(s, 3);

    s->stats.cuts++;
    s->blocked[node][where][0] = (ways & 1) != 0;
    s->blocked[node][where][1] = (ways & 2) != 0;
    sim_trace(s->sim, 1, "node %u is cut from %s, ways %llu", node,
              where == SITE_BROKER ? "the broker" : "Postgres", (ull)ways);
}

static void jump(struct site *s)
{
    struct site_node *o = site_of(s, anybody(s));
    int64_t ms = (int64_t)site_below(s, site_below(s, 2) == 0 ? 7200000 : 4000);

    s->stats.jumps++;
    o->clock_off_ms = ms - (ms > 4000 ? 3600000 : 2000);
    sim_trace(s->sim, 1, "node %u: its clock is off by %lld ms", o->id,
              (long long)o->clock_off_ms);
}

static void fill_disk(struct site *s)
{
    unsigned node = site_watch(s) != 0 ? site_watch(s) : anybody(s);

    s->stats.full++;
    memfs_set_space(s->sim->nodes[node].disk, (int64_t)site_below(s, 40000));
    sim_trace(s->sim, 1, "node %u: its disk fills up", node);
}

static void empty_disks(struct site *s)
{
    for (unsigned i = 1; i <= s->sim->n; i++) {
        memfs_set_space(s->sim->nodes[i].disk, INT64_MAX / 2);
    }
}

static void change_pace(struct site *s)
{
    s->sim->disk_max_ms = 1 + (unsigned)site_below(s, site_below(s, 3) != 0 ? 20 : 400);
    s->sim->net_max_ms = (unsigned)site_below(s, 15);
    s->sim->loss_permille = site_below(s, 2) != 0 ? 0 : (unsigned)site_below(s, 300);
    sim_trace(s->sim, 1, "disk up to %u ms, network up to %u ms, %u of 1000 frames lost",
              s->sim->disk_max_ms, s->sim->net_max_ms, s->sim->loss_permille);
}

static void mend(struct site *s)
{
    memset(s->sim->cut, 0, sizeof s->sim->cut);
    memset(s->blocked, 0, sizeof s->blocked);
    empty_disks(s);
    sim_trace(s->sim, 1, "links and disks are well again");
}

static void fault(void *ctx, uint64_t arg)
{
    struct site *s = ctx;
    uint64_t k = site_below(s, 100);

    (void)arg;
    if (!s->sim->faults) {
        return;
    }
    if (k < 22) {
        bring_down(s, anybody(s));
    } else if (k < 25) {
        bring_down_all(s);
    } else if (k < 35) {
        sleep_some(s);
    } else if (k < 43) {
        cut_links(s);
    } else if (k < 51) {
        cut_outside(s);
    } else if (k < 65) {
        mend(s);
    } else if (k < 69) {
        jump(s);
    } else if (k < 72) {
        fill_disk(s);
    } else if (k < 76) {
        change_pace(s);
    } else {
        world_fault(s->world);
    }
    site_post(s, 0, 50 + site_below(s, 1200), fault, s, 0);
}

void site_heal(struct site *s)
{
    s->sim->faults = false;
    mend(s);
    s->sim->loss_permille = 0;
    s->sim->disk_max_ms = 3;
    s->sim->net_max_ms = 2;
    world_heal(s->world);
    sim_trace(s->sim, 1, "healed");
    for (unsigned i = 1; i <= s->sim->n; i++) {
        if (!s->sim->nodes[i].up) {
            site_start(s, i);
        }
    }
}

static void run_until_watch(struct site *s, uint64_t ms)
{
    uint64_t until = site_ms(s) + ms;

    while (site_watch(s) == 0 && site_ms(s) < until) {
        site_run(s, 100);
    }
    if (site_watch(s) == 0) {
        sim_fail(s->sim, "nobody is on watch %llu ms after healing", (ull)ms);
    }
}

static bool settled(const struct site *s)
{
    const struct sim *m = s->sim;
    uint64_t applied = 0;

    for (unsigned i = 1; i <= m->n; i++) {
        if (!m->nodes[i].up) {
            return false;
        }
        applied = i == 1 ? cs_core_applied(m->nodes[i].core) : applied;
        if (cs_core_applied(m->nodes[i].core) != applied) {
            return false;
        }
    }
    return site_callers_idle(s) && world_drained(s->world);
}

static const char *waits_for(struct site *s)
{
    for (unsigned i = 1; i <= s->sim->n; i++) {
        if (!s->sim->nodes[i].up) {
            return "a node is down";
        }
    }
    return !site_callers_idle(s)      ? "a caller waits"
           : !world_drained(s->world) ? world_waits_for(s->world)
                                      : "the nodes have not applied the same";
}

void site_settle(struct site *s, uint64_t ms)
{
    uint64_t until = site_ms(s) + ms;

    s->calling = false;
    world_quiet(s->world);
    while (site_ms(s) < until) {
        site_run(s, 100);
        if (settled(s)) {
            site_run(s, 200);
            if (settled(s)) {
                return;
            }
        }
    }
    sim_fail(s->sim, "%llu ms after healing it is not over: %s", (ull)ms, waits_for(s));
}

void site_torture(struct site *s)
{
    s->sim->random_config = true;
    site_boot(s);
    site_run(s, CALM_MS);
    s->sim->faults = true;
    site_post(s, 0, 0, fault, s, 0);
    site_run(s, FAULTS_MS);
    site_heal(s);
    run_until_watch(s, HEAL_MS);
    site_settle(s, END_MS);
    sim_check_logs(s->sim);
    sim_check_equal(s->sim);
    world_check_end(s->world);
}

uint64_t site_digest(const struct site *s)
{
    return sy_hash(&s->stats, sizeof s->stats,
                   sim_digest(s->sim) ^ world_digest(s->world));
}

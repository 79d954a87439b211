/* What a drill does to the node on watch, and undoes: each lasts a limited time. */

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mp.h"
#include "node/node.h"

enum {
    HANDOVER_MS = 5000,
    SILENT_ELECTIONS = 6,
    AWAY_MIN_MS = 2000,
    AWAY_MAX_MS = 10000
};

static uint64_t between(uint64_t low, uint64_t v, uint64_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* The first bridge that moves with the watch; -1: there is none. */
static int a_bridge(const struct nd_node *n)
{
    for (unsigned i = 0; i < n->site.m.n; i++) {
        if (strncmp(n->site.list[i].name, "bridge-", strlen("bridge-")) == 0) {
            return (int)i;
        }
    }
    return -1;
}

const char *nd_drill_cannot(struct nd_node *n, enum nd_drill_kind kind)
{
    if (kind == ND_DRILL_BRIDGE && a_bridge(n) < 0) {
        return "no bridge is a resource of this site: vagt cannot restart what it did "
               "not start";
    }
    if (kind == ND_DRILL_POSTGRES && !n->config.has_postgres) {
        return "no Postgres is configured";
    }
    return n->config.brokers_n == 0 ? "no broker is configured" : NULL;
}

uint64_t nd_drill_fault_ms(const struct nd_node *n, enum nd_drill_kind kind,
                           uint64_t budget_ms)
{
    if (kind == ND_DRILL_VANISH) { /* Long enough for the others to be sure. */
        return between(AWAY_MIN_MS, SILENT_ELECTIONS * n->config.raft.election_ms,
                       budget_ms / 2);
    }
    if (kind == ND_DRILL_POSTGRES || kind == ND_DRILL_BROKER) {
        return between(AWAY_MIN_MS, budget_ms / 6, AWAY_MAX_MS);
    }
    return 0;
}

/* --- said before --- */

static const char *name_of(const struct nd_node *n, uint64_t id)
{
    const struct nd_config_node *c = nd_config_node(&n->config, id);

    return c != NULL ? c->name : "?";
}

static void put_fault(struct nd_node *n, struct sy_buf *b, enum nd_drill_kind kind,
                      uint64_t budget_ms)
{
    const char *self = nd_config_self(&n->config)->name;
    uint64_t s = nd_drill_fault_ms(n, kind, budget_ms) / 1000;
    /* Set by systemd for what it starts (systemd.exec(5)). */
    bool supervised = getenv("INVOCATION_ID") != NULL;
    char text[320];

    switch (kind) {
    case ND_DRILL_HANDOVER:
        snprintf(text, sizeof text, "%s hands the watch over", self);
        break;
    case ND_DRILL_KILL:
    case ND_DRILL_FULL:
        snprintf(text, sizeof text, "vagtd on %s is killed (SIGKILL)%s; %s", self,
                 kind == ND_DRILL_FULL ? ", and what it runs with it" : "",
                 supervised ? "systemd starts it again"
                            : "NOTHING IS KNOWN TO START IT AGAIN, since systemd did "
                              "not start it: do it by hand afterwards");
        break;
    case ND_DRILL_VANISH:
        snprintf(text, sizeof text,
                 "%s neither speaks to the other nodes nor hears them for %" PRIu64
                 " s, as if its machine had vanished: the others wait for an election "
                 "timeout",
                 self, s);
        break;
    case ND_DRILL_BROKER:
        snprintf(text, sizeof text,
                 "%s cuts its connections to the broker for %" PRIu64
                 " s: the broker itself is not vagt's and goes on",
                 self, s);
        break;
    case ND_DRILL_POSTGRES:
        snprintf(text, sizeof text,
                 "%s closes its connection to Postgres, as if it were away, for %" PRIu64
                 " s: readings wait and are written then",
                 self, s);
        break;
    case ND_DRILL_BRIDGE:
        snprintf(text, sizeof text, "%s is stopped and started again",
                 a_bridge(n) >= 0 ? n->site.list[a_bridge(n)].name : "a bridge");
        break;
    case ND_DRILL_KINDS:
    default:
        text[0] = '\0';
        break;
    }
    sy_mp_str(b, text);
}

void nd_drill_put_plan(struct nd_node *n, struct sy_buf *b, enum nd_drill_kind kind,
                       uint64_t coordinator, uint64_t budget_ms, const char *canary)
{
    char text[ND_DRILL_CANARY_SIZE + 160];

    sy_mp_array(b, canary[0] != '\0' ? 5 : 4);
    snprintf(text, sizeof text, "%s is on watch; %s coordinates and measures",
             nd_config_self(&n->config)->name, name_of(n, coordinator));
    sy_mp_str(b, text);
    sy_mp_str(b, "numbered readings of virtual devices (" ND_CANARY_PREFIX
                 "AREA), and commands to them, go the whole way before, during and "
                 "after; they have rows in meter_readings only");
    if (canary[0] != '\0') {
        snprintf(text, sizeof text,
                 "these real devices are asked for the state that they have: %s", canary);
        sy_mp_str(b, text);
    }
    put_fault(n, b, kind, budget_ms);
    snprintf(text, sizeof text,
             "after %" PRIu64
             " s without success it is given up: what was done is undone, and the report "
             "says what failed",
             budget_ms / 1000);
    sy_mp_str(b, text);
}

/* --- done, and undone --- */

static void end_here(struct nd_node *n)
{
    fflush(stderr);
    (void)kill(getpid(), SIGKILL);
    (void)n;
}

void nd_drill_fault(struct nd_node *n, uint64_t nr, enum nd_drill_kind kind, uint64_t ms)
{
    if (n->drill.fault_nr == nr) {
        return; /* Told twice. */
    }
    SY_LOG(&n->log, SY_NOTE, "drill.fault", KU64("nr", nr),
           KSTR("kind", nd_drill_kinds[kind]), KU64("ms", ms));
    n->drill.fault_nr = nr;
    n->drill.until_ms = nd_now_ms() + ms;
    switch (kind) {
    case ND_DRILL_HANDOVER:
        if (nd_hand_over(n, nd_node_heir(n), HANDOVER_MS, "a drill") != 0) {
            n->drill.fault_nr = 0; /* Told again, it tries again. */
        }
        break;
    case ND_DRILL_KILL:
    case ND_DRILL_FULL:
        end_here(n);
        break;
    case ND_DRILL_VANISH:
        n->drill.muted = true;
        nd_replica_mute(n->replica, true);
        break;
    case ND_DRILL_POSTGRES:
        n->drill.no_postgres = true;
        nd_duty_cut_postgres(n);
        break;
    case ND_DRILL_BROKER:
        n->drill.no_brokers = true;
        nd_duty_cut_brokers(n);
        break;
    case ND_DRILL_BRIDGE:
        if (a_bridge(n) < 0 || !nd_site_restart(n, (unsigned)a_bridge(n), "a drill")) {
            n->drill.fault_nr = 0; /* It does not run yet: when told again. */
        }
        break;
    case ND_DRILL_KINDS:
    default:
        break;
    }
}

void nd_drill_restore(struct nd_node *n)
{
    bool any = n->drill.muted || n->drill.no_postgres || n->drill.no_brokers;

    if (n->drill.muted) {
        n->drill.muted = false;
        nd_replica_mute(n->replica, false);
    }
    /* They come back when the last word of the old ones is spoken. */
    if ((n->drill.no_postgres || n->drill.no_brokers) && nd_duty_mend(n)) {
        n->drill.no_postgres = n->drill.no_brokers = false;
    }
    if (any && !n->drill.no_postgres && !n->drill.no_brokers) {
        SY_LOG(&n->log, SY_NOTE, "drill.restored", KU64("nr", n->drill.fault_nr));
    }
}

void nd_drill_fault_tend(struct nd_node *n)
{
    const struct rp_drill *d = nd_drill_running(n);

    if (nd_now_ms() >= n->drill.until_ms || d == NULL || d->nr != n->drill.fault_nr) {
        nd_drill_restore(n);
    }
}

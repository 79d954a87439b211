/* vagt-sim [-v [-v]] [-x] [-m mutant] [first seed] [how many]
 *
 * -x: it is right when a check fires (for mutants).
 * One line per bad seed, which can be replayed: vagt-sim -v <seed> 1. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "tests/sim/sim.h"

typedef unsigned long long ull;

static const char *const mutants[] = {
    [SIM_SOUND] = "none",
    [SIM_NO_HOLD] = "no-hold",
    [SIM_EARLY_REPORT] = "early",
    [SIM_NO_STALE] = "no-stale",
    [SIM_LYING_DISK] = "lying-disk",
    [SIM_NO_CRC] = "no-crc",
};

struct totals
{
    uint64_t bad, events, sim_ms, digest;
    struct sim_stats stats;
};

static void add(struct totals *t, const struct sim *s)
{
    uint64_t digest = sim_digest(s);

    t->events += s->events;
    t->sim_ms += s->now - 1000;
    t->digest = sy_hash(&digest, sizeof digest, t->digest);
    t->stats.elections += s->stats.elections;
    t->stats.acked += s->stats.acked;
    t->stats.snapshots += s->stats.snapshots;
    t->stats.installs += s->stats.installs;
    t->stats.crashes += s->stats.crashes;
    t->stats.kills += s->stats.kills;
    t->stats.transfers += s->stats.transfers;
    t->stats.alarms += s->stats.alarms;
}

static bool run(uint64_t seed, enum sim_mutant mutant, int verbose, struct totals *t)
{
    struct sim *volatile s = sim_new(3, seed, &sim_counter);
    struct sim *done;

    s->mutant = mutant;
    s->verbose = verbose;
    if (!SIM_TRY(s)) {
        printf("seed %llu: bad at %llu ms: %s (replay: vagt-sim -v%s%s %llu 1)\n",
               (ull)seed, (ull)s->now, s->why, mutant == SIM_SOUND ? "" : " -m ",
               mutant == SIM_SOUND ? "" : mutants[mutant], (ull)seed);
        t->bad++;
        return false; /* Left as it is: nobody knows in what state. */
    }
    sim_torture(s);
    add(t, s);
    done = s;
    sim_destroy(&done);
    return true;
}

static void summary(const struct totals *t, uint64_t n, double sec)
{
    printf(
        "%llu seeds, %llu bad; %.1f s: %.1f seeds/s, %.0f simulated s/s, %.0f events/s\n",
        (ull)n, (ull)t->bad, sec, (double)n / sec, (double)t->sim_ms / 1e3 / sec,
        (double)t->events / sec);
    printf(
        "elections %llu, acknowledged %llu, snapshots %llu, installed %llu, power lost "
        "%llu, killed %llu, transfers %llu, false alarms %llu\n",
        (ull)t->stats.elections, (ull)t->stats.acked, (ull)t->stats.snapshots,
        (ull)t->stats.installs, (ull)t->stats.crashes, (ull)t->stats.kills,
        (ull)t->stats.transfers, (ull)t->stats.alarms);
    printf("digest %016llx\n", (ull)t->digest);
}

static int usage(void)
{
    fputs(
        "usage: vagt-sim [-v] [-x] [-m no-hold|early|no-stale|lying-disk|no-crc] "
        "[first seed] [how many]\n",
        stderr);
    return 2;
}

static int find_mutant(const char *name, enum sim_mutant *ret)
{
    for (unsigned i = 0; i < sizeof mutants / sizeof mutants[0]; i++) {
        if (strcmp(mutants[i], name) == 0) {
            *ret = (enum sim_mutant)i;
            return 0;
        }
    }
    return -1;
}

int main(int argc, char **argv)
{
    enum sim_mutant mutant = SIM_SOUND;
    struct totals t = {0};
    struct timespec a, b;
    uint64_t first, n, left;
    int verbose = 0, c;
    bool expected = false;

    while ((c = getopt(argc, argv, "vxm:")) != -1) {
        if (c == 'v') {
            verbose++;
        } else if (c == 'x') {
            expected = true;
        } else if (c != 'm' || find_mutant(optarg, &mutant) != 0) {
            return usage();
        }
    }
    first = optind < argc ? strtoull(argv[optind], NULL, 10) : 1;
    n = optind + 1 < argc ? strtoull(argv[optind + 1], NULL, 10) : 100;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (left = n; left > 0; left--) {
        /* A mutant is done with when it is found. */
        if (!run(first + n - left, mutant, verbose, &t) && mutant != SIM_SOUND) {
            break;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    summary(&t, n - left + (left > 0),
            (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
    return (t.bad > 0) != expected;
}

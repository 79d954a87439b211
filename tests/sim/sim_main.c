/* vagt-sim [-s] [-c] [-w bits] [-n nodes] [-v [-v]] [-x] [-m mutant] [-j jobs] [first
 * seed] [how many]
 *
 * Without -s: cores and logs under a state machine that counts. With -s: whole sites.
 * -c: members come and go (five nodes, one to five of them from the start).
 * -w: a bit mask of what to leave out (enum cs_without).
 * -x: it is right when a check fires (for mutants).
 * One line per bad seed, which can be replayed: vagt-sim [-s] -v <seed> 1. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "tests/sim/sim.h"
#include "tests/sim/site.h"
#include "tests/sim/world.h"

typedef unsigned long long ull;

enum { JOBS_MAX = 64 };

static const char *const mutants[] = {
    [SIM_SOUND] = "none",
    [SIM_NO_HOLD] = "no-hold",
    [SIM_EARLY_REPORT] = "early",
    [SIM_NO_STALE] = "no-stale",
    [SIM_LYING_DISK] = "lying-disk",
    [SIM_NO_CRC] = "no-crc",
};

struct options
{
    bool site, expected, members;
    unsigned without;
    int verbose;
    unsigned nodes, jobs;
    enum sim_mutant mutant;
    enum site_mutant site_mutant;
    const char *mutant_name;
    uint64_t first, n;
};

/* Of one job; in memory that all share. */
struct totals
{
    uint64_t seeds, bad, events, sim_ms, digest;
    struct sim_stats stats;
    struct site_stats site;
};

static void add_stats(struct sim_stats *t, const struct sim_stats *s)
{
    t->elections += s->elections;
    t->acked += s->acked;
    t->snapshots += s->snapshots;
    t->installs += s->installs;
    t->crashes += s->crashes;
    t->kills += s->kills;
    t->transfers += s->transfers;
    t->alarms += s->alarms;
    t->changes += s->changes;
}

static void add_site(struct site_stats *t, const struct site_stats *s)
{
    t->asked += s->asked;
    t->answered += s->answered;
    t->given_up += s->given_up;
    t->pauses += s->pauses;
    t->jumps += s->jumps;
    t->cuts += s->cuts;
    t->full += s->full;
    t->vanished += s->vanished;
    t->graceful += s->graceful;
    t->suicides += s->suicides;
}

/* Digests add up, so that the order of the jobs does not matter. */
static void add(struct totals *t, const struct sim *s, uint64_t digest)
{
    t->events += s->events;
    t->sim_ms += s->now - 1000;
    t->digest += sy_hash(&digest, sizeof digest, s->seed);
    add_stats(&t->stats, &s->stats);
}

static void tell_bad(const struct options *o, const struct sim *s, struct totals *t)
{
    printf("seed %llu: bad at %llu ms: %s (replay: vagt-sim%s -n %u -v%s%s %llu 1)\n",
           (ull)s->seed, (ull)s->now, s->why,
           o->site      ? " -s"
           : o->members ? " -c"
                        : "",
           o->nodes, o->mutant_name != NULL ? " -m " : "",
           o->mutant_name != NULL ? o->mutant_name : "", (ull)s->seed);
    fflush(stdout);
    t->bad++;
}

static bool run_cores(const struct options *o, uint64_t seed, struct totals *t)
{
    struct sim *volatile s = sim_new(o->nodes, seed, &sim_counter);
    struct sim *done;

    s->mutant = o->mutant;
    s->without = o->without;
    s->members = o->members;
    if (o->members) {
        s->founders = 1 + (unsigned)(seed % o->nodes);
    }
    s->verbose = o->verbose;
    if (!SIM_TRY(s)) {
        tell_bad(o, s, t);
        return false; /* Left as it is: nobody knows in what state. */
    }
    sim_torture(s);
    add(t, s, sim_digest(s));
    done = s;
    sim_destroy(&done);
    return true;
}

static bool run_site(const struct options *o, uint64_t seed, struct totals *t)
{
    struct site *volatile s = site_new(o->nodes, seed);
    struct site *done;

    s->mutant = o->site_mutant;
    s->sim->verbose = o->verbose;
    if (!SIM_TRY(s->sim)) {
        tell_bad(o, s->sim, t);
        return false;
    }
    site_torture(s);
    add(t, s->sim, site_digest(s));
    add_site(&t->site, &s->stats);
    done = s;
    site_destroy(&done);
    return true;
}

/* Seeds first + job, first + job + jobs, ... */
static void work(const struct options *o, unsigned job, struct totals *t)
{
    bool mutant = o->mutant_name != NULL || o->without != 0;

    for (uint64_t i = job; i < o->n; i += o->jobs) {
        bool good =
            o->site ? run_site(o, o->first + i, t) : run_cores(o, o->first + i, t);

        t->seeds++;
        if (!good && mutant) { /* A mutant is done with when it is found. */
            break;
        }
    }
}

static int run_jobs(const struct options *o, struct totals *totals)
{
    int bad = 0;

    for (unsigned i = 0; i < o->jobs; i++) {
        fflush(stdout);
        if (o->jobs == 1) {
            work(o, 0, totals);
        } else if (fork() == 0) {
            work(o, i, &totals[i]);
            fflush(stdout);
            exit(0);
        }
    }
    for (unsigned i = 0; o->jobs > 1 && i < o->jobs; i++) {
        int status = 0;

        (void)wait(&status);
        if (status != 0) {
            printf("a job ended with %s %d\n",
                   WIFSIGNALED(status) ? "signal" : "exit code",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
            bad = 1;
        }
    }
    return bad;
}

static void summary(const struct options *o, const struct totals *t, double sec)
{
    printf(
        "%llu seeds, %llu bad; %.1f s: %.1f seeds/s, %.0f simulated s/s, %.0f events/s\n",
        (ull)t->seeds, (ull)t->bad, sec, (double)t->seeds / sec,
        (double)t->sim_ms / 1e3 / sec, (double)t->events / sec);
    printf(
        "elections %llu, applied by leaders %llu, snapshots %llu, installed %llu, power "
        "lost %llu, killed %llu, transfers %llu, false alarms %llu, changes %llu\n",
        (ull)t->stats.elections, (ull)t->stats.acked, (ull)t->stats.snapshots,
        (ull)t->stats.installs, (ull)t->stats.crashes, (ull)t->stats.kills,
        (ull)t->stats.transfers, (ull)t->stats.alarms, (ull)t->stats.changes);
    if (o->site) {
        printf(
            "commands asked %llu, answered %llu, given up %llu; sleeps %llu, clock "
            "jumps %llu, cuts %llu, full disks %llu, stopped %llu, ended themselves "
            "%llu\n",
            (ull)t->site.asked, (ull)t->site.answered, (ull)t->site.given_up,
            (ull)t->site.pauses, (ull)t->site.jumps, (ull)t->site.cuts, (ull)t->site.full,
            (ull)t->site.graceful, (ull)t->site.suicides);
    }
    printf("digest %016llx\n", (ull)t->digest);
}

static int usage(void)
{
    fputs(
        "usage: vagt-sim [-s|-c] [-w bits] [-n nodes] [-v] [-x] [-j jobs] [-m mutant] "
        "[first seed] "
        "[how many]\n"
        "  -s  whole sites; without: cores and logs\n"
        "  -c  members come and go, -w  without some remedies (cs_without)\n"
        "  -m  no-hold, early, no-stale, lying-disk, no-crc; with -s: ack-early, "
        "no-fence, split-tx, no-takeover, late-command, no-dedup\n",
        stderr);
    return 2;
}

static int find_mutant(struct options *o, const char *name)
{
    o->mutant_name = name;
    for (unsigned i = 0; i < sizeof mutants / sizeof mutants[0] && !o->site; i++) {
        if (strcmp(mutants[i], name) == 0) {
            o->mutant = (enum sim_mutant)i;
            return 0;
        }
    }
    for (unsigned i = 0; i < SITE_MUTANTS && o->site; i++) {
        if (strcmp(site_mutants[i], name) == 0) {
            o->site_mutant = (enum site_mutant)i;
            return 0;
        }
    }
    return -1;
}

static int parse(struct options *o, int argc, char **argv)
{
    const char *mutant = NULL;
    int c;

    *o = (struct options){.nodes = 3, .jobs = 1};
    while ((c = getopt(argc, argv, "scvxm:n:j:w:")) != -1) {
        switch (c) {
        case 's':
            o->site = true;
            break;
        case 'c':
            o->members = true;
            o->nodes = 5;
            break;
        case 'w':
            o->without = (unsigned)strtoul(optarg, NULL, 0);
            break;
        case 'v':
            o->verbose++;
            break;
        case 'x':
            o->expected = true;
            break;
        case 'm':
            mutant = optarg;
            break;
        case 'n':
            o->nodes = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'j':
            o->jobs = (unsigned)strtoul(optarg, NULL, 10);
            break;
        default:
            return -1;
        }
    }
    o->first = optind < argc ? strtoull(argv[optind], NULL, 10) : 1;
    o->n = optind + 1 < argc ? strtoull(argv[optind + 1], NULL, 10) : 100;
    return o->nodes < 1 || o->nodes > SIM_NODES_MAX || o->jobs < 1 ||
                   o->jobs > JOBS_MAX || (mutant != NULL && find_mutant(o, mutant) != 0)
               ? -1
               : 0;
}

int main(int argc, char **argv)
{
    struct options o;
    struct timespec a, b;
    struct totals *totals, t = {0};
    int bad;

    if (parse(&o, argc, argv) != 0) {
        return usage();
    }
    totals = mmap(NULL, JOBS_MAX * sizeof *totals, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (totals == MAP_FAILED) {
        perror("vagt-sim");
        return 2;
    }
    clock_gettime(CLOCK_MONOTONIC, &a);
    bad = run_jobs(&o, totals);
    clock_gettime(CLOCK_MONOTONIC, &b);
    for (unsigned i = 0; i < o.jobs; i++) {
        t.seeds += totals[i].seeds;
        t.bad += totals[i].bad;
        t.events += totals[i].events;
        t.sim_ms += totals[i].sim_ms;
        t.digest += totals[i].digest;
        add_stats(&t.stats, &totals[i].stats);
        add_site(&t.site, &totals[i].site);
    }
    summary(&o, &t,
            (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
    return bad != 0 ? 1 : (t.bad > 0) != o.expected;
}

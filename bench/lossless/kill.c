/* kill -9 of whichever node is on watch, again and again, and sometimes of all nodes at
 * once; each is started again. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zmq.h>

#include "base/mem.h"
#include "bench/lossless/lossless.h"

enum { WATCH_MS = 30000, STOPPED_MS = 20, GONE_MS = 10000 };

static void start_again(const struct ll_options *opt, unsigned node)
{
    char command[800];

    snprintf(command, sizeof command, "%s %u", opt->restart, node);
    if (system(command) != 0) {
        ll_die("node %u could not be started again", node);
    }
}

/* A process that was killed holds the lock of its folder until the kernel has taken it
 * down, which on a busy machine takes a while: systemd waits for that, and so do we. A
 * zombie holds nothing any more. */
static void wait_until_gone(unsigned node, int pid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    for (unsigned ms = 0; ms < GONE_MS; ms++) {
        char text[256] = "";
        FILE *f = fopen(path, "re");
        const char *end;

        if (f == NULL) {
            return;
        }
        (void)!fread(text, 1, sizeof text - 1, f);
        fclose(f);
        end = strrchr(text, ')');
        if (end == NULL || end[1] == '\0' || end[2] == 'Z') {
            return;
        }
        zmq_poll(NULL, 0, 1);
    }
    ll_die("node %u does not die", node);
}

/* The old number must not be taken for the next process's. */
static void forget_pid(const struct ll_options *opt, unsigned node)
{
    char path[400];

    snprintf(path, sizeof path, "%s/n%u", opt->pids, node);
    if (unlink(path) != 0 && errno != ENOENT) {
        ll_die("%s cannot be removed", path);
    }
}

static unsigned next_watch(struct ll_nodes *x)
{
    unsigned node = ll_nodes_active(x, WATCH_MS);

    if (node == 0) {
        ll_die("no node was on watch within %d s", WATCH_MS / 1000);
    }
    return node;
}

/* The one on watch; now and then all of them. Then the others stop first, a moment
 * before: what the one on watch did in that moment is nowhere but with it. It starts
 * last, so that the others may go on without it. */
static void blow(struct ll_nodes *x, unsigned leader, bool all)
{
    const struct ll_options *opt = x->opt;
    int pid[LL_NODES_MAX];

    for (unsigned k = 0; k < x->n; k++) {
        pid[k] = k + 1 == leader || all ? ll_nodes_pid(x, k + 1) : 0;
        if (pid[k] == 0 && (k + 1 == leader || all)) {
            ll_die("node %u has no process to kill", k + 1);
        }
        if (pid[k] != 0 && k + 1 != leader) {
            kill(pid[k], SIGSTOP);
        }
    }
    if (all) {
        zmq_poll(NULL, 0, STOPPED_MS);
    }
    for (unsigned k = 0; k < x->n; k++) {
        if (pid[k] != 0 && kill(pid[k], SIGKILL) != 0) {
            ll_die("node %u could not be killed", k + 1);
        }
    }
    for (unsigned i = 0; i < x->n; i++) {
        unsigned node = (leader + i) % x->n + 1;

        if (pid[node - 1] != 0) {
            wait_until_gone(node, pid[node - 1]);
            forget_pid(opt, node);
            start_again(opt, node);
            ll_nodes_reset(x, node - 1);
        }
    }
}

static void report(uint64_t *us, unsigned n)
{
    printf("killed on watch: %u\n", n);
    if (n > 1) {
        ll_print_times("from a kill to the next watch, as seen from outside", us, n - 1);
    }
}

int ll_kill(const struct ll_options *opt)
{
    struct ll_nodes x;
    uint64_t *us = NULL;
    unsigned n = 0;
    uint64_t killed_us = 0;

    ll_nodes_open(&x, opt);
    while (n < opt->kills || (opt->alive != NULL && access(opt->alive, F_OK) == 0)) {
        unsigned node = next_watch(&x);
        bool all = opt->all_every > 0 && n % opt->all_every == opt->all_every - 1;

        us = sy_realloc(us, (n + 1) * sizeof *us);
        if (n > 0) {
            us[n - 1] = ll_now_us() - killed_us;
        }
        /* Not always in the same moment of a watch: some begin, some work. */
        zmq_poll(NULL, 0, random() % ((long)opt->pause_ms + 1));
        killed_us = ll_now_us();
        n++;
        if (opt->verbose) {
            printf("%llu killed node %u%s, number %u\n", (unsigned long long)ll_wall_ms(),
                   node, all ? " and all others" : "", n);
            fflush(stdout);
        }
        blow(&x, node, all);
    }
    (void)next_watch(&x);
    report(us, n);
    sy_free(us);
    ll_nodes_close(&x);
    return 0;
}

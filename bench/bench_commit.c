/* Commit latency and throughput of three replicas on this machine, beside the raw
 * disk in the same run.
 *
 *   bench_commit [--seconds S] [--dir DIR] [--outstanding 1,16,256,1024] [--tls]
 *                [--no-raw]
 *
 * Three processes, each with the replica of vagtd (consensus, log, transport, state
 * machine), talk over loopback. The one that leads keeps N inputs outstanding:
 * an input is a meter's report, as small as they come. --tls: with certificates. */

#include <getopt.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "adapters/peer/tls.h"
#include "adapters/seal/pki.h"
#include "base/mem.h"
#include "node/replica.h"

enum { NODES = 3, LATENCIES_MAX = 4000000, DEVICES = 300, RUNS_MAX = 16 };

struct load
{
    struct nd_wait wait;
    uint64_t began_us;
    struct bench *bench;
};

struct bench
{
    struct nd_replica *replica;
    uv_loop_t *loop;
    uv_timer_t timer;
    unsigned outstanding[RUNS_MAX];
    unsigned runs;
    unsigned run;
    unsigned seconds;
    unsigned ready; /* devices known */
    bool running;
    bool warm;
    struct load *loads;
    uint32_t *latencies;
    size_t n;
    uint64_t inputs;
    uint64_t began_us;
    uint64_t counter;
    uint64_t writes;
    bool tls, no_raw;
    int out;
};

static uint64_t now_us(void)
{
    return uv_hrtime() / 1000;
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void log_write(void *data, enum sy_level level, const char *line, size_t len)
{
    (void)data, (void)level;
    fprintf(stderr, "%.*s\n", (int)len, line);
}

/* --- the raw disk --- */

/* Before and after the replicas: the speed of a shared disk drifts. */
static void raw_disk(const struct bench *b, const char *dir, const char *when)
{
    char path[300];
    uint8_t block[168] = {1};
    uint32_t *us;
    uint64_t until = now_us() + b->seconds * 1000000ULL;
    size_t n = 0;
    int fd;

    if (b->no_raw) {
        return;
    }
    us = sy_calloc(LATENCIES_MAX, sizeof *us);
    snprintf(path, sizeof path, "%s/raw", dir);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (unsigned i = 0; i < 64; i++) {
        static uint8_t zero[1 << 16];

        if (pwrite(fd, zero, sizeof zero, (off_t)i * (off_t)sizeof zero) < 0) {
            exit(1);
        }
    }
    fsync(fd);
    while (now_us() < until && n < LATENCIES_MAX) {
        uint64_t began = now_us();
        off_t at = (off_t)(n * sizeof block % (4U << 20));

        if (pwrite(fd, block, sizeof block, at) < 0 || fdatasync(fd) != 0) {
            perror("raw");
            exit(1);
        }
        us[n++] = (uint32_t)(now_us() - began);
    }
    qsort(us, n, sizeof *us, ascending);
    printf("raw write+fdatasync of 168 B, %s: p50 %u us, p99 %u us\n", when, us[n / 2],
           us[n * 99 / 100]);
    fflush(stdout);
    sy_free(us);
    close(fd);
    unlink(path);
}

/* --- the load, inside the leader --- */

static void add_input(struct bench *b)
{
    uint64_t k = b->counter++;
    struct rp_report r = {
        .ieee = 0xa4c1380000000000ULL + 1 + k % DEVICES,
        .last_seen_ms = 1700000000000ULL + k,
        .payload_hash = k * 0x9e3779b97f4a7c15ULL,
        .state = RP_ON,
        .values = {.power_mw = (int32_t)(k % 3000000), .has = RP_HAS_POWER},
    };

    rp_batch_report(nd_replica_batch(b->replica), &r);
}

static void finish_run(struct bench *b);

static void applied(void *data, int status)
{
    struct load *l = data;
    struct bench *b = l->bench;
    uint64_t now = now_us();

    if (status != 0) {
        dprintf(b->out, "leadership was lost in the middle: %s\n", sy_err_name(status));
        return;
    }
    if (!b->running) {
        return;
    }
    if (b->warm) {
        if (b->n < LATENCIES_MAX) {
            b->latencies[b->n++] = (uint32_t)(now - l->began_us);
        }
        b->inputs++;
    }
    l->began_us = now;
    add_input(b);
    nd_replica_wait(b->replica, &l->wait, applied, l);
}

static void start_run(struct bench *b)
{
    unsigned n = b->outstanding[b->run];

    b->running = true;
    b->warm = false;
    b->n = 0;
    b->inputs = 0;
    sy_free(b->loads);
    b->loads = sy_calloc(n, sizeof *b->loads);
    for (unsigned i = 0; i < n; i++) {
        b->loads[i].bench = b;
        b->loads[i].began_us = now_us();
        add_input(b);
        nd_replica_wait(b->replica, &b->loads[i].wait, applied, &b->loads[i]);
    }
}

static void timer_cb(uv_timer_t *timer);

static void finish_run(struct bench *b)
{
    uint64_t us = now_us() - b->began_us;
    const struct cs_stats *s = cs_core_stats(nd_replica_core(b->replica));

    b->running = false;
    qsort(b->latencies, b->n, sizeof *b->latencies, ascending);
    dprintf(
        b->out,
        "%u outstanding: %.0f inputs/s, p50 %u us, p99 %u us, p99.9 %u us, max %u us, "
        "%.1f inputs per write, stall %llu us\n",
        b->outstanding[b->run], (double)b->inputs * 1e6 / (double)us,
        b->latencies[b->n / 2], b->latencies[b->n * 99 / 100],
        b->latencies[b->n * 999 / 1000], b->latencies[b->n - 1],
        (double)b->inputs / (double)(s->writes - b->writes),
        (unsigned long long)nd_replica_stall_us(b->replica));
}

static void timer_cb(uv_timer_t *timer)
{
    struct bench *b = timer->data;

    if (b->running && !b->warm) {
        b->warm = true;
        b->began_us = now_us();
        b->writes = cs_core_stats(nd_replica_core(b->replica))->writes;
        (void)nd_replica_stall_us(b->replica);
        uv_timer_start(timer, timer_cb, b->seconds * 1000ULL, 0);
    } else if (b->running) {
        finish_run(b);
        b->run++;
        uv_timer_start(timer, timer_cb, 300, 0);
    } else if (b->run == b->runs) {
        dprintf(b->out, "done\n");
        exit(0);
    } else {
        start_run(b);
        uv_timer_start(timer, timer_cb, 500, 0);
    }
}

static struct nd_wait setup_wait;

static void devices_known(void *data, int status)
{
    struct bench *b = data;

    if (status == 0) {
        uv_timer_start(&b->timer, timer_cb, 200, 0);
    }
}

static void on_event(void *data, const struct rp_event *ev)
{
    (void)data, (void)ev;
}

static void on_changed(void *data)
{
    struct bench *b = data;

    if (nd_replica_leading(b->replica) == 0 || b->ready) {
        return;
    }
    b->ready = 1;
    rp_batch_area(nd_replica_batch(b->replica), "a1", "zigbee2mqtt/a1");
    for (unsigned i = 0; i < DEVICES; i++) {
        char name[32];

        snprintf(name, sizeof name, "meter-%u", i);
        rp_batch_device(nd_replica_batch(b->replica), 1, 0xa4c1380000000000ULL + 1 + i,
                        name, "bench");
    }
    nd_replica_wait(b->replica, &setup_wait, devices_known, b);
}

static void on_frame(void *data, uint64_t from, uint8_t kind, const uint8_t *p, size_t n)
{
    (void)data, (void)from, (void)kind, (void)p, (void)n;
}

static void on_link(void *data, uint64_t peer, bool up, bool broken)
{
    (void)data, (void)peer, (void)up, (void)broken;
}

static void make_config(struct nd_replica_config *c, const char *dir, unsigned id,
                        unsigned base_port)
{
    *c = (struct nd_replica_config){
        .cluster = "bench",
        .data_dir = dir,
        .batch_max = 256 * 1024,
        .pending_max = 4U << 20,
        .inflight_max = 4,
    };
    ad_peer_config_default(&c->peers);
    cs_core_config_default(&c->raft);
    ad_wal_config_default(&c->wal);
    rp_limits_default(&c->limits);
    snprintf(c->peers.cluster, sizeof c->peers.cluster, "bench");
    c->peers.self = c->raft.id = id;
    c->raft.seed = id;
    c->peers.nodes_n = NODES;
    for (unsigned i = 0; i < NODES; i++) {
        c->peers.nodes[i].id = i + 1;
        c->peers.nodes[i].port = (uint16_t)(base_port + i);
        snprintf(c->peers.nodes[i].host, sizeof c->peers.nodes[i].host, "127.0.0.1");
    }
}

/* --- certificates --- */

static void die(const struct sy_errbuf *eb)
{
    fprintf(stderr, "%s\n", eb->text);
    exit(1);
}

static void make_pki(const char *dir)
{
    struct sy_errbuf eb;
    char pki[256], name[8];

    snprintf(pki, sizeof pki, "%s/pki", dir);
    if (ad_pki_init(pki, "bench", NULL, time(NULL), &eb) != 0) {
        die(&eb);
    }
    for (unsigned id = 1; id <= NODES; id++) {
        struct ad_pki_node n = {.cluster = "bench", .id = id, .name = name};

        snprintf(name, sizeof name, "n%u", id);
        if (ad_pki_node(pki, &n, NULL, time(NULL), 1, &eb) != 0) {
            die(&eb);
        }
    }
}

static struct ad_tls *open_tls(const char *dir, unsigned id)
{
    struct ad_tls_files f;
    struct ad_tls *tls = NULL;
    struct sy_errbuf eb;

    snprintf(f.ca, sizeof f.ca, "%s/pki/ca.crt", dir);
    snprintf(f.cert, sizeof f.cert, "%s/pki/nodes/n%u/node.crt", dir, id);
    snprintf(f.key, sizeof f.key, "%s/pki/nodes/n%u/node.key", dir, id);
    if (ad_tls_open(&tls, &f, "bench", id, &eb) != 0) {
        die(&eb);
    }
    return tls;
}

static void run_node(struct bench *b, const char *dir, unsigned id, unsigned base_port)
{
    static const struct nd_replica_callbacks cb = {on_event, on_changed, on_frame,
                                                   on_link};
    struct sy_log log = {.level = SY_WARN, .write = log_write};
    struct nd_replica_config c;
    struct sy_errbuf eb;
    char path[300];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(path, sizeof path, "%s/%u", dir, id);
    make_config(&c, path, id, base_port);
    c.peers.tls = b->tls ? open_tls(dir, id) : NULL;
    if (mkdir(path, 0700) != 0 || nd_replica_bootstrap(&c, &eb) != 0) {
        dprintf(b->out, "bootstrap: %s\n", eb.text);
        exit(1);
    }
    b->loop = uv_default_loop();
    uv_timer_init(b->loop, &b->timer);
    b->timer.data = b;
    b->latencies = sy_calloc(LATENCIES_MAX, sizeof *b->latencies);
    if (nd_replica_open(&b->replica, b->loop, &log, &c, &cb, b, &eb) != 0) {
        dprintf(b->out, "open: %s\n", eb.text);
        exit(1);
    }
    uv_run(b->loop, UV_RUN_DEFAULT);
    exit(0);
}

static void read_list(struct bench *b, const char *text)
{
    char *end;

    while (*text != '\0' && b->runs < RUNS_MAX) {
        b->outstanding[b->runs++] = (unsigned)strtoul(text, &end, 10);
        text = *end == ',' ? end + 1 : end;
    }
}

/* What the nodes print, until they are done. */
static void pass_on(int fd)
{
    FILE *in = fdopen(fd, "r");
    char line[400];

    while (fgets(line, sizeof line, in) != NULL && strcmp(line, "done\n") != 0) {
        fputs(line, stdout);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
                                            {"dir", required_argument, NULL, 'd'},
                                            {"outstanding", required_argument, NULL, 'o'},
                                            {"port", required_argument, NULL, 'p'},
                                            {"tls", no_argument, NULL, 't'},
                                            {"no-raw", no_argument, NULL, 'r'},
                                            {NULL, 0, NULL, 0}};
    struct bench b = {.seconds = 3};
    char dir[200] = "";
    unsigned port = 27100;
    pid_t pids[NODES];
    int pipes[2];
    char line[400];
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 's') {
            b.seconds = (unsigned)strtoul(optarg, NULL, 10);
        } else if (c == 'd') {
            snprintf(dir, sizeof dir, "%s", optarg);
        } else if (c == 'o') {
            read_list(&b, optarg);
        } else if (c == 't') {
            b.tls = true;
        } else if (c == 'r') {
            b.no_raw = true;
        } else if (c == 'p') {
            port = (unsigned)strtoul(optarg, NULL, 10);
        } else {
            return 2;
        }
    }
    if (b.runs == 0) {
        read_list(&b, "1,16,256,1024");
    }
    if (dir[0] == '\0') {
        snprintf(dir, sizeof dir, "/tmp/vagt-bench-XXXXXX");
        if (mkdtemp(dir) == NULL) {
            perror("mkdtemp");
            return 1;
        }
    }
    if (b.tls) {
        make_pki(dir);
    }
    raw_disk(&b, dir, "before");
    if (pipe(pipes) != 0) {
        return 1;
    }
    b.out = pipes[1];
    for (unsigned i = 0; i < NODES; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            run_node(&b, dir, i + 1, port);
        }
    }
    close(pipes[1]);
    pass_on(pipes[0]);
    for (unsigned i = 0; i < NODES; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    raw_disk(&b, dir, "after");
    snprintf(line, sizeof line, "rm -rf '%s'", dir);
    return system(line) == 0 ? 0 : 1;
}

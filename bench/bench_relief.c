/* How long a site goes without a watch: kill -9 of the leader (or a planned
 * handover) until the next command is confirmed by a device.
 *
 *   bench_relief --nodes ENDPOINT,ENDPOINT,... --pids DIR --restart CMD
 *                [--kills N] [--handovers N] [--load COMMANDS_PER_S]
 *                [--areas A] [--devices D]
 *
 * ENDPOINTs are the control sockets of node 1, 2, ...; DIR holds their pid files n1,
 * n2, ...; CMD is run by sh with the node's number appended to start it again. Each
 * command has an id of its own and is asked for again until a node accepts it; at
 * the end every node must tell the same single end for each of them. */

#include <assert.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <zmq.h>

#include "base/mem.h"
#include "base/mp.h"

enum {
    NODES_MAX = 9,
    TRIALS_MAX = 1000,
    OUTSTANDING_MAX = 2000,
    REPLY_MS = 250,
    AWAIT_MS = 500,
    AGAIN_MS = 2,
    FINAL_WAIT_MS = 90000
};

enum stage { ACCEPTING, AWAITING, ENDED };

struct command
{
    char id[40];
    char device[32];
    char value[8];
    char status[24];
    char reason[160];
    enum stage stage;
    uint64_t began_us, accepted_us, ended_us, next_us, deadline_us;
    unsigned asked;   /* times */
    uint64_t request; /* outstanding; 0: none */
    unsigned node;    /* asked */
    bool probe;
};

struct relief
{
    void *zmq;
    void *sock[NODES_MAX];
    unsigned nodes;
    const char *endpoints[NODES_MAX];
    const char *pids;
    const char *restart;
    unsigned areas, devices;
    double load;
    uint64_t request;
    struct command *commands;
    size_t n, cap;
    size_t first_open; /* all before have ended */
    uint64_t next_load_us;
    unsigned device;
    unsigned ask_first; /* node that accepted last */
    uint64_t seed;
    bool verbose;
};

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void begin(struct sy_buf *b, uint64_t id, const char *op, uint32_t args)
{
    b->len = 0;
    sy_mp_map(b, 4);
    sy_mp_kuint(b, "v", 1);
    sy_mp_kuint(b, "id", id);
    sy_mp_kstr(b, "op", op);
    sy_mp_str(b, "args");
    sy_mp_map(b, args);
}

static bool find(struct sy_cur *c, const char *key)
{
    uint32_t pairs = sy_mp_get_map(c);

    for (uint32_t i = 0; i < pairs && !c->bad; i++) {
        struct sy_mp k = sy_mp_next(c);

        if (sy_mp_is(&k, key)) {
            return !c->bad;
        }
        sy_mp_skip(c);
    }
    return false;
}

static void get_str(struct sy_cur c, const char *key, char *to, size_t size)
{
    to[0] = '\0';
    if (find(&c, key)) {
        sy_mp_get_str(&c, to, size);
    }
}

static uint64_t get_uint(struct sy_cur c, const char *key)
{
    return find(&c, key) ? sy_mp_next(&c).u : 0;
}

static struct sy_cur inside(struct sy_cur c, const char *key)
{
    return find(&c, key) ? c : (struct sy_cur){.bad = 1};
}

static void connect_node(struct relief *r, unsigned k)
{
    int zero = 0;

    if (r->sock[k] != NULL) {
        zmq_close(r->sock[k]);
    }
    r->sock[k] = zmq_socket(r->zmq, ZMQ_DEALER);
    zmq_setsockopt(r->sock[k], ZMQ_LINGER, &zero, sizeof zero);
    /* A node that is down must refuse at once rather than queue for later. */
    zmq_setsockopt(r->sock[k], ZMQ_IMMEDIATE, &(int){1}, sizeof(int));
    zmq_setsockopt(r->sock[k], ZMQ_RECONNECT_IVL, &(int){5}, sizeof(int));
    zmq_connect(r->sock[k], r->endpoints[k]);
}

/* --- one command's life --- */

static void ask(struct relief *r, struct command *c, uint64_t now)
{
    static struct sy_buf b;

    c->request = ++r->request;
    c->asked++;
    if (c->stage == ACCEPTING) {
        begin(&b, c->request, "send", 6);
        sy_mp_kstr(&b, "device", c->device);
        sy_mp_kstr(&b, "property", "state");
        sy_mp_kstr(&b, "value", c->value);
        sy_mp_kstr(&b, "id", c->id);
        sy_mp_kstr(&b, "source", "bench");
        sy_mp_kuint(&b, "timeout_ms", 60000);
        c->deadline_us = now + REPLY_MS * 1000;
    } else {
        begin(&b, c->request, "await", 2);
        sy_mp_kstr(&b, "id", c->id);
        sy_mp_kuint(&b, "timeout_ms", AWAIT_MS);
        c->deadline_us = now + (AWAIT_MS + REPLY_MS) * 1000;
    }
    if (zmq_send(r->sock[c->node], b.p, b.len, ZMQ_DONTWAIT) < 0) {
        c->deadline_us = now; /* Not connected: the next one. */
    }
}

static void elsewhere(struct relief *r, struct command *c, uint64_t now)
{
    c->request = 0;
    c->node = (c->node + 1) % r->nodes;
    c->next_us = now + AGAIN_MS * 1000;
}

static struct command *add(struct relief *r, bool probe)
{
    struct command *c;
    unsigned total = r->areas * r->devices;

    if (r->n == r->cap) {
        r->cap = r->cap * 2 + 1024;
        r->commands = sy_realloc(r->commands, r->cap * sizeof *r->commands);
    }
    c = &r->commands[r->n++];
    *c = (struct command){.probe = probe, .node = r->ask_first, .began_us = now_us()};
    r->device = (r->device + 1) % total;
    snprintf(c->id, sizeof c->id, "relief-%llx-%zu", (unsigned long long)r->seed, r->n);
    snprintf(c->device, sizeof c->device, "a%u-m%03u", r->device % r->areas + 1,
             r->device / r->areas); /* Each area is paced: spread them. */
    snprintf(c->value, sizeof c->value, r->n / total % 2 ? "OFF" : "ON");
    return c;
}

static struct command *of_request(struct relief *r, uint64_t request)
{
    for (size_t i = r->first_open; i < r->n; i++) {
        if (r->commands[i].request == request) {
            return &r->commands[i];
        }
    }
    return NULL;
}

static bool is_end(const char *status)
{
    return strcmp(status, "accepted") != 0 && strcmp(status, "sent") != 0;
}

static void take_reply(struct relief *r, unsigned k, const uint8_t *p, size_t n)
{
    struct sy_cur c = {.p = p, .n = n};
    struct command *cmd = of_request(r, get_uint(c, "id"));
    struct sy_cur ok = inside(c, "ok");
    uint64_t now = now_us();
    char code[32];

    if (cmd == NULL) {
        return;
    }
    cmd->request = 0;
    if (!sy_mp_get_bool(&ok)) {
        get_str(inside(c, "error"), "code", code, sizeof code);
        if (strcmp(code, "invalid") == 0 ||
            (strcmp(code, "not_found") == 0 && cmd->stage == ACCEPTING)) {
            char text[400];

            get_str(inside(c, "error"), "text", text, sizeof text);
            fprintf(stderr, "refused: %s\n", text);
            exit(1);
        }
        if (r->verbose) {
            printf("  node %u says %s\n", k + 1, code);
        }
        elsewhere(r, cmd, now);
        return;
    }
    c = inside(inside(c, "result"), "command");
    get_str(c, "status", cmd->status, sizeof cmd->status);
    get_str(c, "reason", cmd->reason, sizeof cmd->reason);
    r->ask_first = k;
    if (cmd->accepted_us == 0) {
        cmd->accepted_us = now;
    }
    if (is_end(cmd->status)) {
        cmd->stage = ENDED;
        cmd->ended_us = now;
    } else {
        cmd->stage = AWAITING;
        cmd->next_us = now;
    }
}

static void tend(struct relief *r, uint64_t now)
{
    while (r->first_open < r->n && r->commands[r->first_open].stage == ENDED) {
        r->first_open++;
    }
    for (size_t i = r->first_open; i < r->n; i++) {
        struct command *c = &r->commands[i];

        if (c->stage == ENDED) {
            continue;
        }
        if (c->request != 0 && now >= c->deadline_us) {
            if (r->verbose) {
                printf("  no answer from node %u to %s of %s\n", c->node + 1,
                       c->stage == ACCEPTING ? "send" : "await", c->id);
            }
            elsewhere(r, c, now);
        }
        if (c->request == 0 && now >= c->next_us) {
            ask(r, c, now);
        }
    }
    while (r->load > 0 && now >= r->next_load_us &&
           r->n - r->first_open < OUTSTANDING_MAX) {
        add(r, false);
        r->next_load_us += (uint64_t)(1e6 / r->load);
    }
}

static void turn(struct relief *r)
{
    zmq_pollitem_t items[NODES_MAX];
    uint8_t buf[65536];

    for (unsigned k = 0; k < r->nodes; k++) {
        items[k] = (zmq_pollitem_t){.socket = r->sock[k], .events = ZMQ_POLLIN};
    }
    zmq_poll(items, (int)r->nodes, 1);
    for (unsigned k = 0; k < r->nodes; k++) {
        int n;

        while ((n = zmq_recv(r->sock[k], buf, sizeof buf, ZMQ_DONTWAIT)) >= 0) {
            take_reply(r, k, buf, (size_t)n < sizeof buf ? (size_t)n : sizeof buf);
        }
    }
    tend(r, now_us());
}

static void turns(struct relief *r, unsigned ms)
{
    uint64_t until = now_us() + ms * 1000ULL;

    while (now_us() < until) {
        turn(r);
    }
}

/* --- looking at the cluster, on a socket of its own --- */

static size_t call(struct relief *r, unsigned k, struct sy_buf *request, uint8_t *reply,
                   size_t size, unsigned ms)
{
    void *s = zmq_socket(r->zmq, ZMQ_DEALER);
    uint64_t until = now_us() + ms * 1000ULL;
    int n = -1;

    zmq_setsockopt(s, ZMQ_LINGER, &(int){0}, sizeof(int));
    zmq_connect(s, r->endpoints[k]);
    zmq_send(s, request->p, request->len, 0);
    while (n < 0 && now_us() < until) {
        zmq_pollitem_t item = {.socket = s, .events = ZMQ_POLLIN};

        zmq_poll(&item, 1, 1);
        n = zmq_recv(s, reply, size, ZMQ_DONTWAIT);
        turn(r); /* The load goes on. */
    }
    zmq_close(s);
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size;
}

/* Node on watch (1..), as a majority of one: node @k. 0: none. */
static unsigned watch_of(struct relief *r, unsigned k, char *health, size_t size)
{
    static uint8_t reply[1 << 20];
    static struct sy_buf b;
    struct sy_cur c;

    begin(&b, 1, "status", 0);
    c = (struct sy_cur){.p = reply, .n = call(r, k, &b, reply, sizeof reply, 500)};
    if (c.n == 0) {
        return 0;
    }
    c = inside(c, "result");
    get_str(c, "health", health, size);
    c = inside(c, "watch");
    return c.bad || c.n == 0 || c.p[0] == 0xc0 ? 0 : (unsigned)get_uint(c, "node");
}

/* All nodes agree on one watch and are reachable. */
static unsigned settled(struct relief *r)
{
    unsigned first = 0;
    char health[16];

    for (unsigned k = 0; k < r->nodes; k++) {
        unsigned w = watch_of(r, k, health, sizeof health);

        if (w == 0 || (k > 0 && w != first)) {
            return 0;
        }
        first = w;
    }
    return first;
}

static unsigned wait_settled(struct relief *r, unsigned seconds)
{
    uint64_t until = now_us() + seconds * 1000000ULL;
    unsigned w = 0;

    while (w == 0 && now_us() < until) {
        turns(r, 20);
        w = settled(r);
    }
    if (w == 0) {
        fprintf(stderr, "the nodes did not agree on a watch within %u s\n", seconds);
        exit(1);
    }
    return w;
}

static pid_t pid_of(struct relief *r, unsigned node)
{
    char path[400];
    long pid = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s/n%u", r->pids, node);
    f = fopen(path, "r");
    if (f == NULL || fscanf(f, "%ld", &pid) != 1 || pid <= 1) {
        fprintf(stderr, "no pid in %s\n", path);
        exit(1);
    }
    fclose(f);
    return (pid_t)pid;
}

static uint64_t probe(struct relief *r, uint64_t began)
{
    size_t at;
    struct command *c = add(r, true);

    c->began_us = began;
    at = r->n - 1;
    while (r->commands[at].stage != ENDED) {
        turn(r);
    }
    if (strcmp(r->commands[at].status, "confirmed") != 0) {
        fprintf(stderr, "the probe ended as %s: %s\n", r->commands[at].status,
                r->commands[at].reason);
    }
    if (r->verbose) {
        c = &r->commands[at];
        printf(
            "  accepted after %.1f ms, ended after %.1f ms, asked %u times, last node "
            "%u\n",
            (double)(c->accepted_us - began) / 1e3, (double)(c->ended_us - began) / 1e3,
            c->asked, c->node + 1);
    }
    return r->commands[at].ended_us - began;
}

static uint64_t kill_once(struct relief *r, unsigned leader)
{
    char command[600];
    uint64_t began, us;

    r->ask_first = leader % r->nodes; /* index of the next node */
    began = now_us();
    kill(pid_of(r, leader), SIGKILL);
    us = probe(r, began);
    turns(r, 200);
    connect_node(r, leader - 1);
    snprintf(command, sizeof command, "%s %u", r->restart, leader);
    if (system(command) != 0) {
        fprintf(stderr, "could not start node %u again\n", leader);
        exit(1);
    }
    return us;
}

static uint64_t handover_once(struct relief *r, unsigned leader)
{
    static struct sy_buf b;
    uint64_t began = now_us();

    begin(&b, ++r->request, "handover", 0);
    zmq_send(r->sock[leader - 1], b.p, b.len, ZMQ_DONTWAIT);
    r->ask_first = leader % r->nodes;
    return probe(r, began);
}

/* --- figures --- */

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void print_times(const char *what, uint64_t *us, unsigned n)
{
    if (n == 0) {
        return;
    }
    qsort(us, n, sizeof *us, ascending);
    printf("%s: %u times, min %.1f ms, median %.1f ms, p99 %.1f ms, max %.1f ms\n", what,
           n, (double)us[0] / 1e3, (double)us[n / 2] / 1e3,
           (double)us[(n * 99 + 99) / 100 - 1] / 1e3, (double)us[n - 1] / 1e3);
    fflush(stdout);
}

static void wait_ended(struct relief *r)
{
    uint64_t until = now_us() + FINAL_WAIT_MS * 1000ULL;

    r->load = 0;
    while (r->first_open < r->n && now_us() < until) {
        turn(r);
    }
}

/* Every node tells the same end of each command. */
static unsigned compare_ends(struct relief *r)
{
    static uint8_t reply[65536];
    static struct sy_buf b;
    unsigned different = 0;

    for (size_t i = 0; i < r->n; i++) {
        for (unsigned k = 0; k < r->nodes; k++) {
            char status[24];
            struct sy_cur c;

            begin(&b, 1, "command", 1);
            sy_mp_kstr(&b, "id", r->commands[i].id);
            c = (struct sy_cur){.p = reply,
                                .n = call(r, k, &b, reply, sizeof reply, 1000)};
            get_str(inside(inside(c, "result"), "command"), "status", status,
                    sizeof status);
            if (strcmp(status, r->commands[i].status) != 0) {
                fprintf(stderr, "%s is %s, node %u says %s\n", r->commands[i].id,
                        r->commands[i].status, k + 1, status);
                different++;
            }
        }
    }
    return different;
}

/* The load's own commands, whatever happened meanwhile. */
static void print_load(struct relief *r)
{
    uint64_t *us = sy_calloc(r->n, sizeof *us);
    unsigned n = 0;

    for (size_t i = 0; i < r->n; i++) {
        if (!r->commands[i].probe && strcmp(r->commands[i].status, "confirmed") == 0) {
            us[n++] = r->commands[i].ended_us - r->commands[i].began_us;
        }
    }
    print_times("all other commands, asked to confirmed", us, n);
    sy_free(us);
}

static int summary(struct relief *r)
{
    size_t confirmed = 0, open = 0, others = 0;
    unsigned different;

    wait_ended(r);
    for (size_t i = 0; i < r->n; i++) {
        open += r->commands[i].stage != ENDED;
        confirmed += strcmp(r->commands[i].status, "confirmed") == 0;
        others += r->commands[i].stage == ENDED &&
                  strcmp(r->commands[i].status, "confirmed") != 0;
    }
    print_load(r);
    different = compare_ends(r);
    printf(
        "commands: %zu, confirmed %zu, ended otherwise %zu, without an end %zu, told "
        "differently %u\n",
        r->n, confirmed, others, open, different);
    return open == 0 && different == 0 ? 0 : 1;
}

static void usage(void)
{
    fputs(
        "usage: bench_relief --nodes E,E,E --pids DIR --restart CMD [--kills N]\n"
        "       [--handovers N] [--load R] [--areas A] [--devices D]\n",
        stderr);
    exit(2);
}

static void split(struct relief *r, char *text)
{
    char *save = NULL;

    for (char *s = strtok_r(text, ",", &save); s != NULL && r->nodes < NODES_MAX;
         s = strtok_r(NULL, ",", &save)) {
        r->endpoints[r->nodes++] = s;
    }
}

static int measure(struct relief *r, unsigned kills, unsigned handovers)
{
    static uint64_t kills_us[TRIALS_MAX], handovers_us[TRIALS_MAX];

    r->zmq = zmq_ctx_new();
    for (unsigned k = 0; k < r->nodes; k++) {
        connect_node(r, k);
    }
    r->next_load_us = now_us();
    (void)wait_settled(r, 30);
    turns(r, 500);
    for (unsigned i = 0; i < kills; i++) {
        kills_us[i] = kill_once(r, wait_settled(r, 30));
        turns(r, 300);
    }
    print_times("kill -9 of the leader to the next confirmed command", kills_us, kills);
    for (unsigned i = 0; i < handovers; i++) {
        handovers_us[i] = handover_once(r, wait_settled(r, 30));
        turns(r, 200);
    }
    print_times("handover to the next confirmed command", handovers_us, handovers);
    (void)wait_settled(r, 30);
    return summary(r);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"nodes", required_argument, NULL, 'n'},
                                            {"pids", required_argument, NULL, 'p'},
                                            {"restart", required_argument, NULL, 'r'},
                                            {"kills", required_argument, NULL, 'k'},
                                            {"handovers", required_argument, NULL, 'h'},
                                            {"load", required_argument, NULL, 'l'},
                                            {"areas", required_argument, NULL, 'a'},
                                            {"devices", required_argument, NULL, 'd'},
                                            {"verbose", no_argument, NULL, 'v'},
                                            {NULL, 0, NULL, 0}};
    struct relief r = {.areas = 6, .devices = 50, .seed = now_us()};
    unsigned kills = 20, handovers = 20;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'n':
            split(&r, optarg);
            break;
        case 'p':
            r.pids = optarg;
            break;
        case 'r':
            r.restart = optarg;
            break;
        case 'k':
            kills = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'h':
            handovers = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'l':
            r.load = strtod(optarg, NULL);
            break;
        case 'a':
            r.areas = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'd':
            r.devices = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'v':
            r.verbose = true;
            break;
        default:
            usage();
        }
    }
    if (r.nodes == 0 || r.pids == NULL || r.restart == NULL || kills > TRIALS_MAX ||
        handovers > TRIALS_MAX) {
        usage();
    }
    return measure(&r, kills, handovers);
}

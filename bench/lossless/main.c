/* Nothing lost, nothing twice: the load and the blows. What arrives is compared by
 * others, with SQL (tests/prove/lossless.sh).
 *
 *   publish   play Zigbee2MQTT areas, publish numbered messages, note the PUBACKs
 *   stream    the same until it is told to stop, noting each PUBACK as it comes
 *   sink      a plain subscriber, to know what the broker alone can do
 *   kill      kill -9 of whichever node is on watch, and start it again
 *   latency   publish to row in Postgres, publish to event of a follower
 *   drain     how fast the backlog leaves once Postgres is back
 *
 * Message k: meter k % (areas * devices), k / 1000 kWh, a last_seen of its own. */

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/lossless/lossless.h"

uint64_t ll_now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t ll_wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void ll_die(const char *fmt, ...)
{
    va_list ap;

    fputs("bench_lossless: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

void ll_print_times(const char *what, uint64_t *us, size_t n)
{
    if (n == 0) {
        return;
    }
    qsort(us, n, sizeof *us, ascending);
    printf("%s: %zu times, p50 %.1f ms, p99 %.1f ms, max %.1f ms\n", what, n,
           (double)us[n / 2] / 1e3, (double)us[(n * 99 + 99) / 100 - 1] / 1e3,
           (double)us[n - 1] / 1e3);
}

static void usage(void)
{
    fputs(
        "usage: bench_lossless publish|stream|sink|kill|latency|drain [options]\n"
        "  --broker HOST:PORT --base TOPIC --client ID --area-first K --areas A "
        "--devices D\n"
        "  --first K --messages N --rate R --window W --base-ms T --step-ms S|--step-us "
        "S --flip "
        "--blind\n"
        "  --running --acked FILE --patience SECONDS\n"
        "  --nodes E,E,E --events E,E,E --pids DIR --restart CMD\n"
        "  --kills N --all-every N --pause-ms MS --while FILE\n"
        "  --postgres CONNINFO --until SHIPPED\n",
        stderr);
    exit(2);
}

static unsigned split(char *text, const char **to)
{
    unsigned n = 0;
    char *save = NULL;

    for (char *s = strtok_r(text, ",", &save); s != NULL && n < LL_NODES_MAX;
         s = strtok_r(NULL, ",", &save)) {
        to[n++] = s;
    }
    return n;
}

static void take_broker(struct ll_options *o, const char *text)
{
    const char *colon = strrchr(text, ':');

    if (colon == NULL || (size_t)(colon - text) >= sizeof o->host) {
        usage();
    }
    snprintf(o->host, sizeof o->host, "%.*s", (int)(colon - text), text);
    o->port = (int)strtol(colon + 1, NULL, 10);
}

static const struct option options[] = {
    {"broker", required_argument, NULL, 'b'},
    {"base", required_argument, NULL, 't'},
    {"client", required_argument, NULL, 'c'},
    {"area-first", required_argument, NULL, '1'},
    {"areas", required_argument, NULL, 'a'},
    {"devices", required_argument, NULL, 'd'},
    {"first", required_argument, NULL, 'f'},
    {"messages", required_argument, NULL, 'm'},
    {"rate", required_argument, NULL, 'S'},
    {"window", required_argument, NULL, 'w'},
    {"base-ms", required_argument, NULL, 'B'},
    {"step-ms", required_argument, NULL, 's'},
    {"step-us", required_argument, NULL, '2'},
    {"flip", no_argument, NULL, 'F'},
    {"acked", required_argument, NULL, 'A'},
    {"patience", required_argument, NULL, 'P'},
    {"nodes", required_argument, NULL, 'n'},
    {"events", required_argument, NULL, 'e'},
    {"pids", required_argument, NULL, 'p'},
    {"restart", required_argument, NULL, 'R'},
    {"kills", required_argument, NULL, 'k'},
    {"pause-ms", required_argument, NULL, 'u'},
    {"while", required_argument, NULL, 'W'},
    {"postgres", required_argument, NULL, 'g'},
    {"until", required_argument, NULL, 'U'},
    {"all-every", required_argument, NULL, 'E'},
    {"blind", no_argument, NULL, 'N'},
    {"running", no_argument, NULL, 'r'},
    {"verbose", no_argument, NULL, 'v'},
    {NULL, 0, NULL, 0},
};

static unsigned number(const char *text)
{
    return (unsigned)strtoul(text, NULL, 10);
}

static bool take_text(struct ll_options *o, int c, char *arg)
{
    switch (c) {
    case 'b':
        take_broker(o, arg);
        return true;
    case 't':
        o->base = arg;
        return true;
    case 'c':
        o->client = arg;
        return true;
    case 'A':
        o->acked = arg;
        return true;
    case 'n':
        o->nodes_n = split(arg, o->nodes);
        return true;
    case 'e':
        o->events_n = split(arg, o->events);
        return true;
    case 'p':
        o->pids = arg;
        return true;
    case 'R':
        o->restart = arg;
        return true;
    case 'W':
        o->alive = arg;
        return true;
    case 'g':
        o->postgres = arg;
        return true;
    default:
        return false;
    }
}

static void take_number(struct ll_options *o, int c, const char *arg)
{
    switch (c) {
    case 'a':
        o->areas = number(arg);
        break;
    case 'd':
        o->devices = number(arg);
        break;
    case 'f':
        o->first = number(arg);
        break;
    case 'm':
        o->messages = number(arg);
        break;
    case 'S':
        o->rate = strtod(arg, NULL);
        break;
    case 'w':
        o->window = number(arg);
        break;
    case 'B':
        o->base_ms = strtoull(arg, NULL, 10);
        break;
    case 's':
        o->step_us = number(arg) * 1000ULL;
        break;
    case '1':
        o->area_first = number(arg);
        break;
    case '2':
        o->step_us = number(arg);
        break;
    case 'P':
        o->patience_s = number(arg);
        break;
    case 'k':
        o->kills = number(arg);
        break;
    case 'u':
        o->pause_ms = number(arg);
        break;
    case 'E':
        o->all_every = number(arg);
        break;
    case 'U':
        o->until = strtoull(arg, NULL, 10);
        break;
    default:
        usage();
    }
}

int main(int argc, char **argv)
{
    static const struct
    {
        const char *name;
        int (*run)(const struct ll_options *);
    } parts[] = {{"publish", ll_publish}, {"stream", ll_stream},   {"sink", ll_sink},
                 {"kill", ll_kill},       {"latency", ll_latency}, {"drain", ll_drain}};
    struct ll_options o = {.base = "load",
                           .client = "bench-lossless",
                           .area_first = 1,
                           .areas = 6,
                           .devices = 50,
                           .window = 1000,
                           .step_us = 1000,
                           .patience_s = 60};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (strchr("FNrv", c) != NULL) {
            o.running |= c == 'r';
            o.blind |= c == 'N';
            o.flip |= c == 'F';
            o.verbose |= c == 'v';
        } else if (!take_text(&o, c, optarg)) {
            take_number(&o, c, optarg);
        }
    }
    if (optind != argc - 1 || o.areas == 0 || o.devices == 0 || o.window > 60000) {
        usage();
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strcmp(argv[optind], parts[i].name) == 0) {
            return parts[i].run(&o);
        }
    }
    usage();
}

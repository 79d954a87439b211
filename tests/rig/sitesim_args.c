/* The command line, as a table. */
#include "sitesim.h"

#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { INTEGER, FLAG, OTHER };

struct option_row
{
    const char *name;
    enum kind kind;
    size_t offset; /* INTEGER, FLAG: of the field in struct sim_options */
    int low, high, preset;
    const char *arg;
    const char *help;
};

#define FIELD(f) offsetof(struct sim_options, f)

static const struct option_row rows[] = {
    {"broker", OTHER, 0, 0, 0, 0, "A.B.C.D:PORT[,..]",
     "broker; more of them are tried in turn when one is lost"},
    {"areas", INTEGER, FIELD(areas), 1, SIM_AREAS_MAX, 1, "N", "bridges"},
    {"devices", INTEGER, FIELD(devices), 1, SIM_DEVICES_MAX, 10, "N", "meters per area"},
    {"base", OTHER, 0, 0, 0, 0, "TOPIC",
     "base topic; with several areas TOPIC/aK (zigbee2mqtt)"},
    {"interval-ms", INTEGER, FIELD(interval_ms), 0, 86400000, 10000, "MS",
     "each meter reports once in it; 0 = never by itself"},
    {"control", OTHER, 0, 0, 0, 0, "127.x.y.z:PORT",
     "control port, loopback only; port 0 = any free one (off)"},
    {"log-file", OTHER, 0, 0, 0, 0, "FILE",
     "append each command that reaches a device, one JSON line each"},
    {"seed", OTHER, 0, 0, 0, 0, "N", "of the random generator (1)"},
    {"set-delay-ms", INTEGER, FIELD(set_delay_ms), 0, 60000, 5, "MS",
     "from /set to the device, up to half as much again at random"},
    {"stale-prob", OTHER, 0, 0, 0, 0, "P",
     "0..1: after /set the old state is published once more (0.3)"},
    {"unreachable", OTHER, 0, 0, 0, 0, "NAME[,..]",
     "meters that do not answer, e.g. a3-m007"},
    {"unreachable-ms", INTEGER, FIELD(unreachable_ms), 0, 600000, 17100, "MS",
     "from /set to the error message, if the device does not answer"},
    {"avail-offline-ms", INTEGER, FIELD(avail_offline_ms), 0, 86400000, 95000, "MS",
     "from a device's silence to availability offline"},
    {"ready-ms", INTEGER, FIELD(ready_ms), 0, 60000, 136, "MS",
     "half to all of it after `online`, commands are dropped"},
    {"start-ms", INTEGER, FIELD(start_ms), 0, 600000, 0, "MS",
     "from bridge-start to MQTT connect (really about 2000)"},
    {"reconnect-ms", INTEGER, FIELD(reconnect_ms), 10, 600000, 1000, "MS",
     "between attempts; twice after 3 failures, four times after 6"},
    {"cache-save-ms", INTEGER, FIELD(cache_save_ms), 10, 86400000, 5000, "MS",
     "a killed bridge comes back with states that old (really 300000)"},
    {"health-ms", INTEGER, FIELD(health_ms), 100, 86400000, 60000, "MS",
     "period of bridge/health (really 600000)"},
    {"energy-speed", INTEGER, FIELD(energy_speed), 1, 100000, 1, "N",
     "kWh count N times as fast as power says"},
    {"qos", INTEGER, FIELD(qos), 0, 2, 1, "0|1|2",
     "device_options.qos: of state messages"},
    {"retain", FLAG, FIELD(retain), 0, 1, 0, NULL,
     "device_options.retain: of state messages"},
    {"one-frame", FLAG, FIELD(one_frame), 0, 1, 0, NULL,
     "one message per report: easy to count, unlike the real thing"},
    {"narrow", FLAG, FIELD(narrow), 0, 1, 0, NULL,
     "subscribe to commands only, not to `#`: no echo, faster bursts"},
    {"help", OTHER, 0, 0, 0, 0, NULL, "this text"},
};

enum { ROWS = sizeof rows / sizeof rows[0] };

static void usage(FILE *out)
{
    fputs(
        "usage: sitesim --broker A.B.C.D:PORT [options]\n\n"
        "Plays areas of metering switches as Zigbee2MQTT 2.14 shows them on MQTT.\n\n",
        out);
    for (size_t i = 0; i < ROWS; i++) {
        char name[48];

        (void)snprintf(name, sizeof name, "--%s %s", rows[i].name,
                       rows[i].arg != NULL ? rows[i].arg : "");
        fprintf(out, "  %-33s%s", name, rows[i].help);
        if (rows[i].kind == INTEGER) {
            fprintf(out, " (%d; %d..%d)", rows[i].preset, rows[i].low, rows[i].high);
        }
        fputc('\n', out);
    }
    fputs(
        "\nControl, HTTP GET: /stats /log[?clear=1] /meters /interval?ms=N\n"
        "  /offline?dev=NAME[&now=1] /online?dev=NAME[&now=1]   (dev may be a list, or "
        "area=K)\n"
        "  /press?dev=NAME&state=ON|OFF|TOGGLE   /burst?n=N[&qos=0|1|2][&area=K]\n"
        "  /bridge-stop?area=K[&how=kill|term|silent]   /bridge-start?area=K[&forgot=1]\n"
        "  /tune?set-delay-ms=MS&stale-prob=P\n",
        out);
}

static int fail(const char *option, const char *value, const char *wanted)
{
    fprintf(stderr, "sitesim: --%s: \"%s\" is not %s\n", option, value, wanted);
    return 2;
}

static bool parse_address(const char *text, size_t len, bool loopback,
                          struct sim_address *a)
{
    char copy[64];
    char *colon;
    struct sockaddr_in ignored;

    if (len >= sizeof copy) {
        return false;
    }
    memcpy(copy, text, len);
    copy[len] = '\0';
    colon = strrchr(copy, ':');
    if (colon == NULL || !sim_parse_int(colon + 1, loopback ? 0 : 1, 65535, &a->port)) {
        return false;
    }
    *colon = '\0';
    (void)snprintf(a->host, sizeof a->host, "%s", copy);
    return uv_ip4_addr(copy, a->port, &ignored) == 0 &&
           (!loopback || strncmp(copy, "127.", 4) == 0);
}

static bool parse_brokers(struct sim_options *o, const char *text)
{
    o->broker_count = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, ",");

        if (o->broker_count == SIM_BROKERS_MAX ||
            !parse_address(text, len, false, &o->brokers[o->broker_count])) {
            return false;
        }
        o->broker_count++;
        text += len + (text[len] == ',' ? 1 : 0);
    }
    return o->broker_count > 0;
}

static bool parse_base(struct sim_options *o, const char *text)
{
    size_t len = strlen(text);

    if (len == 0 || len >= sizeof o->base - 1 || text[0] == '/' || text[len - 1] == '/') {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)text[i]) && strchr("-_/.", text[i]) == NULL) {
            return false;
        }
    }
    (void)snprintf(o->base, sizeof o->base, "%s", text);
    return true;
}

static bool parse_double(const char *text, double low, double high, double *ret)
{
    char *end;
    double v = strtod(text, &end);

    if (end == text || *end != '\0' || !(v >= low && v <= high)) {
        return false;
    }
    *ret = v;
    return true;
}

static int apply_other(struct sim_options *o, const char *name, const char *value)
{
    int seed;

    if (strcmp(name, "broker") == 0) {
        return parse_brokers(o, value)
                   ? 0
                   : fail(name, value,
                          "a list of at most 4 numeric addresses A.B.C.D:PORT");
    }
    if (strcmp(name, "base") == 0) {
        return parse_base(o, value)
                   ? 0
                   : fail(name, value,
                          "a topic of letters, digits and -_./, up to 62 long");
    }
    if (strcmp(name, "control") == 0) {
        return parse_address(value, strlen(value), true, &o->control)
                   ? 0
                   : fail(name, value, "a loopback address 127.x.y.z:PORT");
    }
    if (strcmp(name, "stale-prob") == 0) {
        return parse_double(value, 0.0, 1.0, &o->stale_prob)
                   ? 0
                   : fail(name, value, "a number in 0..1");
    }
    if (strcmp(name, "seed") == 0) {
        if (!sim_parse_int(value, 0, 2147483647, &seed)) {
            return fail(name, value, "a number in 0..2147483647");
        }
        o->seed = (uint64_t)seed;
        return 0;
    }
    *(name[0] == 'u' ? &o->unreachable : &o->log_file) = value;
    return 0;
}

static int apply(struct sim_options *o, const struct option_row *row, const char *value)
{
    char wanted[64];

    switch (row->kind) {
    case INTEGER:
        (void)snprintf(wanted, sizeof wanted, "a number in %d..%d", row->low, row->high);
        if (!sim_parse_int(value, row->low, row->high,
                           (int *)(void *)((char *)o + row->offset))) {
            return fail(row->name, value, wanted);
        }
        return 0;
    case FLAG:
        *(bool *)(void *)((char *)o + row->offset) = true;
        return 0;
    case OTHER:
    default:
        return apply_other(o, row->name, value);
    }
}

static void preset(struct sim_options *o)
{
    *o = (struct sim_options){.stale_prob = 0.3, .seed = 1, .base = "zigbee2mqtt"};
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].kind == INTEGER) {
            *(int *)(void *)((char *)o + rows[i].offset) = rows[i].preset;
        }
    }
}

static int check(const struct sim_options *o)
{
    if (o->broker_count == 0) {
        fputs("sitesim: --broker is needed (see --help)\n", stderr);
        return 2;
    }
    if (o->areas * o->devices > SIM_METERS_MAX) {
        fprintf(stderr, "sitesim: %d areas x %d devices are more than %d meters\n",
                o->areas, o->devices, SIM_METERS_MAX);
        return 2;
    }
    return 0;
}

int sim_args_parse(struct sim_options *o, int argc, char **argv, int *ret_status)
{
    struct option options[ROWS + 1] = {0};
    int index = 0;
    int status = 0;
    int c;

    preset(o);
    for (size_t i = 0; i < ROWS; i++) {
        options[i].name = rows[i].name;
        options[i].has_arg = rows[i].arg != NULL ? required_argument : no_argument;
        options[i].val = 'o';
    }
    while (status == 0 && (c = getopt_long(argc, argv, "", options, &index)) != -1) {
        if (c != 'o') { /* getopt has said what is wrong */
            status = 2;
        } else if (strcmp(rows[index].name, "help") == 0) {
            usage(stdout);
            *ret_status = 0;
            return 1;
        } else {
            status = apply(o, &rows[index], optarg);
        }
    }
    if (status == 0 && optind < argc) {
        fprintf(stderr, "sitesim: \"%s\" is not an option (see --help)\n", argv[optind]);
        status = 2;
    }
    if (status == 0) {
        status = check(o);
    }
    *ret_status = status;
    return status;
}

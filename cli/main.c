/* vagtctl, the operator's tool: a table of commands and one of options. */

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum {
    /* Long enough to see another node take the watch. */
    SEND_TIMEOUT_DEFAULT_MS = 15000,
    /* A new node gets everything first. */
    MEMBERS_TIMEOUT_DEFAULT_MS = 600 * 1000,
    /* For each node. */
    ROLLING_TIMEOUT_DEFAULT_MS = 120 * 1000,
    TIMEOUT_MAX_MS = 3600 * 1000,
    WATCH_DEFAULT_MS = 1000,
    LIMIT_MAX = 500,
    ARGS_MAX = 1 + 500
};

#define SOCKET_DEFAULT "ipc:///run/vagt/control.sock"

volatile sig_atomic_t ct_interrupted;

static void interrupt(int sig)
{
    (void)sig;
    ct_interrupted = 1;
}

void ct_catch_signals(void)
{
    struct sigaction sa = {.sa_handler = interrupt};

    sigaction(SIGINT, &sa, NULL); /* No SA_RESTART: waiting must end. */
    sigaction(SIGTERM, &sa, NULL);
}

/* --- options --- */

/* More than an int has bits. */
typedef uint64_t flag_t;
#define O_SOCKET (UINT64_C(1) << 0)
#define O_JSON (UINT64_C(1) << 1)
#define O_TIMEOUT (UINT64_C(1) << 2)
#define O_HELP (UINT64_C(1) << 3)
#define O_VERSION (UINT64_C(1) << 4)
#define O_WATCH (UINT64_C(1) << 5)
#define O_STALE (UINT64_C(1) << 6)
#define O_AREA (UINT64_C(1) << 7)
#define O_NAME (UINT64_C(1) << 8)
#define O_ID (UINT64_C(1) << 9)
#define O_TIMEOUT_MS (UINT64_C(1) << 10)
#define O_NO_WAIT (UINT64_C(1) << 11)
#define O_OPEN (UINT64_C(1) << 12)
#define O_LIMIT (UINT64_C(1) << 13)
#define O_EVENTS (UINT64_C(1) << 14)
#define O_COUNT (UINT64_C(1) << 15)
#define O_CONNINFO (UINT64_C(1) << 16)
#define O_DAYS (UINT64_C(1) << 31)
#define O_SURE (UINT64_C(1) << 17)
#define O_CANARY (UINT64_C(1) << 18)
#define O_BUDGET (UINT64_C(1) << 19)
#define O_YES (UINT64_C(1) << 20)
#define O_TO (UINT64_C(1) << 21)
#define O_ENCRYPT (UINT64_C(1) << 22)
#define O_KEY (UINT64_C(1) << 23)
#define O_DATA_DIR (UINT64_C(1) << 24)
#define O_NODE (UINT64_C(1) << 25)
#define O_ROLE (UINT64_C(1) << 26)
#define O_WHO (UINT64_C(1) << 40)
#define O_UNTIL (UINT64_C(1) << 27)
#define O_FOR (UINT64_C(1) << 28)
#define O_FORCE (UINT64_C(1) << 29)
#define O_DRY_RUN (UINT64_C(1) << 30)
#define O_IDENTITY (UINT64_C(1) << 36)
#define O_KNOWN (UINT64_C(1) << 37)
#define O_COMMON \
    (O_SOCKET | O_JSON | O_TIMEOUT | O_IDENTITY | O_KNOWN | O_HELP | O_VERSION)

struct option_row
{
    flag_t id;
    const char *name;
    char letter; /* 0: none */
    int has_arg;
    const char *arg;
    const char *help;
};

static const struct option_row option_rows[] = {
    {O_SOCKET, "socket", 's', required_argument, "ENDPOINT",
     "the node to ask; several, with commas: in turn"},
    {O_JSON, "json", 0, no_argument, NULL, "print JSON"},
    {O_TIMEOUT, "timeout", 0, required_argument, "MS",
     "how long to try; default 5000, of send 15000"},
    {O_IDENTITY, "identity", 'i', required_argument, "FILE",
     "your key; default: ~/.config/vagt/identity"},
    {O_KNOWN, "known", 0, required_argument, "FILE",
     "the nodes' keys; default: ~/.config/vagt/known"},
    {O_HELP, "help", 'h', no_argument, NULL, "show this"},
    {O_VERSION, "version", 0, no_argument, NULL, "show the version"},
    {O_WATCH, "watch", 'w', optional_argument, "SECONDS",
     "again every second, or so many, until Ctrl-C"},
    {O_STALE, "stale", 0, no_argument, NULL,
     "every socket's own view, and how old it is"},
    {O_AREA, "area", 'a', required_argument, "AREA", "only in this area"},
    {O_NAME, "name", 'n', required_argument, "TEXT", "only names with TEXT in them"},
    {O_ID, "id", 0, required_argument, "ID", "of the command; default: a random one"},
    {O_TIMEOUT_MS, "timeout-ms", 0, required_argument, "MS",
     "life of the command, 1000…86400000; default 60000"},
    {O_NO_WAIT, "no-wait", 0, no_argument, NULL, "return when it is accepted"},
    {O_OPEN, "open", 0, no_argument, NULL, "only those that have not ended"},
    {O_LIMIT, "limit", 0, required_argument, "N", "at most so many, 1 to 500"},
    {O_EVENTS, "events", 0, required_argument, "ENDPOINT",
     "where events come from; default: beside the socket"},
    {O_COUNT, "count", 0, required_argument, "N", "end after N events"},
    {O_CONNINFO, "conninfo-file", 0, required_argument, "FILE",
     "holds libpq's conninfo; default: in VAGT_POSTGRES"},
    {O_TO, "to", 0, required_argument, "WHERE", "a node; of a backup: a folder on it"},
    {O_ENCRYPT, "encrypt-to", 0, required_argument, "FILE",
     "on the node: a certificate whose key will open it"},
    {O_KEY, "key", 0, required_argument, "FILE", "the private key, if it is encrypted"},
    {O_DATA_DIR, "data-dir", 0, required_argument, "DIR", "empty, or not there yet"},
    {O_NODE, "node", 0, required_argument, "ID", "the node that it is for, 1 to 15"},
    {O_YES, "yes-i-mean", 0, required_argument, "CLUSTER",
     "instead of typing the name of the cluster"},
    {O_UNTIL, "until", 0, required_argument, "TIME",
     "18:00, or \"2026-11-30 18:00\", local time"},
    {O_FOR, "for", 0, required_argument, "DURATION", "90m, 2h, 1d"},
    {O_FORCE, "force", 0, no_argument, NULL, "even if nobody is on watch meanwhile"},
    {O_DAYS, "days", 0, required_argument, "N", "of a certificate; default 365"},
    {O_DRY_RUN, "dry-run", 0, no_argument, NULL, "only say what it would do"},
    {O_SURE, "yes", 0, no_argument, NULL, "do not ask"},
    {O_BUDGET, "budget", 0, required_argument, "DURATION",
     "all must work again within it: 60s, 2m"},
    {O_CANARY, "canary", 0, required_argument, "AREA=DEVICE",
     "a real device that may be switched; with commas"},
    {O_WHO, "who", 0, required_argument, "NAME", "of audit: only what NAME did"},
    {O_ROLE, "role", 0, required_argument, "ROLE", "of a new node: voter, or witness"},
};

enum { OPTIONS_NR = sizeof option_rows / sizeof option_rows[0] };

struct command_row
{
    const char *name;
    const char *usage;
    const char *summary;
    flag_t options;
    int args_min;
    int args_max;
    int (*run)(const struct ct_options *opt);
};

static const struct command_row command_rows[] = {
    {"status", "", "the nodes, the site and what is wrong", O_WATCH | O_STALE, 0, 0,
     ct_cmd_status},
    {"devices", "", "the devices with state and readings", O_AREA | O_NAME, 0, 0,
     ct_cmd_devices},
    {"send", "DEVICE PROPERTY=VALUE", "switch a device and wait until it did",
     O_AREA | O_ID | O_TIMEOUT_MS | O_NO_WAIT, 2, 2, ct_cmd_send},
    {"commands", "", "the latest commands, newest first", O_OPEN | O_LIMIT, 0, 0,
     ct_cmd_commands},
    {"command", "ID", "one command in full", 0, 1, 1, ct_cmd_command},
    {"cancel", "ID", "end a command that has not ended", 0, 1, 1, ct_cmd_cancel},
    {"events", "[PREFIX...]", "what happens, as it happens", O_EVENTS | O_COUNT, 0, 16,
     ct_cmd_events},
    {"handover", "[NODE]", "give the watch to NODE, or the best", O_TO, 0, 1,
     ct_cmd_handover},
    {"members", "[list|add|remove ...]", "who belongs to the cluster; change it",
     O_NO_WAIT | O_ROLE, 0, 5, ct_cmd_members},
    {"maintenance", "[on|off]", "no automatic relief for a while", O_UNTIL | O_FOR, 0, 1,
     ct_cmd_maintenance},
    {"restart", "NODE", "let a node begin anew", O_FORCE, 1, 1, ct_cmd_restart},
    {"rolling-restart", "", "each node in turn, the watch last", O_FORCE, 0, 0,
     ct_cmd_rolling_restart},
    {"drill", "KIND|abort|show NR", "a failure on purpose, measured",
     O_DRY_RUN | O_SURE | O_BUDGET | O_CANARY | O_FORCE, 1, 2, ct_cmd_drill},
    {"drills", "", "the drills of late and what they showed", O_LIMIT, 0, 0,
     ct_cmd_drills},
    {"audit", "[list|verify [FILE]|export FILE]", "who changed what, provably",
     O_LIMIT | O_WHO, 0, 2, ct_cmd_audit},
    {"area", "on|off AREA", "switch an area off, or on again", 0, 2, 2, ct_cmd_area},
    {"bridges", "[check|write]", "is Zigbee2MQTT set up as it should be?", 0, 0, 1,
     ct_cmd_bridges},
    {"files", "[list|history|diff|... SET]", "versions of what bridges keep", 0, 0, 4,
     ct_cmd_files},
    {"keys", "[list|new|add|revoke ...]", "who may come in over the network", 0, 0, 4,
     ct_cmd_keys},
    {"hash", "[INDEX]", "do all nodes hold the same state?", 0, 0, 1, ct_cmd_hash},
    {"why", "[NODE]", "why a node is (not) on watch", 0, 0, 1, ct_cmd_why},
    {"ready", "", "could the watch be relieved right now?", 0, 0, 0, ct_cmd_ready},
    {"ping", "", "is a node there?", 0, 0, 0, ct_cmd_ping},
    {"metrics", "", "the node's counters", 0, 0, 0, ct_cmd_metrics},
    {"db", "migrate|status", "update the Postgres schema, or show it", O_CONNINFO, 1, 1,
     ct_cmd_db},
    {"deadletter", "list|show|replay|drop ...", "what could not be stored",
     O_CONNINFO | O_LIMIT, 1, ARGS_MAX, ct_cmd_deadletter},
    {"backup", "[verify FILE]", "the state to a file, or try one out",
     O_TO | O_ENCRYPT | O_KEY, 0, 2, ct_cmd_backup},
    {"restore", "FILE", "begin a data folder with a backup", O_KEY | O_DATA_DIR | O_NODE,
     1, 1, ct_cmd_restore},
    {"pki", "init|node|renew|show ...", "certificates for the nodes", O_DAYS, 1, 64,
     ct_cmd_pki},
    {"recover", "FOLDER...", "go on when no majority is left", O_YES, 1, 16,
     ct_cmd_recover},
};

enum { COMMANDS_NR = sizeof command_rows / sizeof command_rows[0] };

static bool parse_uint(const char *text, unsigned min, unsigned max, unsigned *ret)
{
    char *end;
    unsigned long v;

    errno = 0;
    v = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || v < min ||
        v > max) {
        return false;
    }
    *ret = (unsigned)v;
    return true;
}

static bool need_uint(const struct option_row *row, const char *text, unsigned min,
                      unsigned max, unsigned *ret)
{
    if (!parse_uint(text, min, max, ret)) {
        ct_complain("--%s '%s': needs a number from %u to %u", row->name, text, min, max);
        return false;
    }
    return true;
}

static bool add_endpoint(struct ct_endpoints *e, const char *text, size_t n)
{
    if ((n < 7 || strncmp(text, "ipc:///", 7) != 0) &&
        (n < 9 || strncmp(text, "tcp://", 6) != 0)) {
        ct_complain(
            "'%.*s': an endpoint looks like ipc:///run/vagt/control.sock or "
            "tcp://HOST:PORT",
            (int)n, text);
        return false;
    }
    if (n >= CT_ENDPOINT_SIZE || e->n == CT_ENDPOINTS_MAX) {
        ct_complain("'%.*s': too long, or more than %d endpoints", (int)n, text,
                    CT_ENDPOINTS_MAX);
        return false;
    }
    memcpy(e->at[e->n], text, n);
    e->at[e->n++][n] = '\0';
    return true;
}

static bool add_endpoints(struct ct_endpoints *e, const char *text)
{
    bool good = true;

    while (good && text != NULL) {
        const char *comma = strchr(text, ',');
        size_t n = comma != NULL ? (size_t)(comma - text) : strlen(text);

        good = add_endpoint(e, text, n);
        text = comma != NULL ? comma + 1 : NULL;
    }
    return good;
}

static bool set_watch(struct ct_options *opt, const struct option_row *row,
                      const char *arg, int argc, char **argv)
{
    unsigned seconds;

    opt->watch_ms = WATCH_DEFAULT_MS;
    if (arg != NULL) {
        if (!need_uint(row, arg, 1, 3600, &seconds)) {
            return false;
        }
        opt->watch_ms = seconds * 1000;
    } else if (optind < argc && parse_uint(argv[optind], 1, 3600, &seconds)) {
        optind++; /* getopt takes optional arguments only with '='. */
        opt->watch_ms = seconds * 1000;
    }
    return true;
}

static bool need_role(const char *text)
{
    ct_complain("--role '%s': voter, or witness", text);
    return false;
}

/* Where an option goes whose text is taken as it is. */
static const char **text_option(struct ct_options *opt, flag_t id)
{
    const struct
    {
        flag_t id;
        const char **to;
    } texts[] = {
        {O_AREA, &opt->area},
        {O_NAME, &opt->name},
        {O_ID, &opt->id},
        {O_UNTIL, &opt->until},
        {O_FOR, &opt->length},
        {O_CONNINFO, &opt->conninfo_file},
        {O_TO, &opt->to},
        {O_ENCRYPT, &opt->encrypt_to},
        {O_KEY, &opt->key},
        {O_DATA_DIR, &opt->data_dir},
        {O_YES, &opt->yes},
        {O_BUDGET, &opt->budget},
        {O_CANARY, &opt->canary},
        {O_WHO, &opt->who},
        {O_IDENTITY, &opt->identity},
        {O_KNOWN, &opt->known},
    };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].id == id) {
            return texts[i].to;
        }
    }
    return NULL;
}

static bool set_option(struct ct_options *opt, const struct option_row *row,
                       const char *arg)
{
    const char **text = text_option(opt, row->id);

    if (text != NULL) {
        *text = arg;
        return true;
    }
    switch (row->id) {
    case O_SOCKET:
        return add_endpoints(&opt->sockets, arg);
    case O_EVENTS:
        return add_endpoints(&opt->events, arg);
    case O_JSON:
        opt->json = true;
        return true;
    case O_TIMEOUT:
        return need_uint(row, arg, 1, TIMEOUT_MAX_MS, &opt->timeout_ms);
    case O_STALE:
        opt->stale = true;
        return true;
    case O_TIMEOUT_MS:
        return need_uint(row, arg, 1000, 86400000, &opt->command_timeout_ms);
    case O_NO_WAIT:
        opt->no_wait = true;
        return true;
    case O_OPEN:
        opt->open = true;
        return true;
    case O_LIMIT:
        return need_uint(row, arg, 1, LIMIT_MAX, &opt->limit);
    case O_COUNT:
        return need_uint(row, arg, 1, 1000000000, &opt->count);
    case O_FORCE:
        opt->force = true;
        return true;
    case O_DRY_RUN:
        opt->dry_run = true;
        return true;
    case O_SURE:
        opt->sure = true;
        return true;
    case O_ROLE:
        opt->role = arg;
        return strcmp(arg, "voter") == 0 || strcmp(arg, "witness") == 0 || need_role(arg);
    case O_DAYS:
        return need_uint(row, arg, 1, 3650, &opt->days);
    case O_NODE:
        return need_uint(row, arg, 1, 15, &opt->node);
    default:
        break;
    }
    assert(0); /* The caller took these. */
    return false;
}

/* --- help --- */

static void print_options(flag_t which)
{
    for (unsigned i = 0; i < OPTIONS_NR; i++) {
        const struct option_row *row = &option_rows[i];
        char text[40];
        bool optional = row->has_arg == optional_argument;

        if ((which & row->id) == 0) {
            continue;
        }
        snprintf(text, sizeof text, "%c%c%s--%s%s%s%s", row->letter != 0 ? '-' : ' ',
                 row->letter != 0 ? row->letter : ' ', row->letter != 0 ? ", " : "  ",
                 row->name, optional ? " [" : (row->arg != NULL ? " " : ""),
                 row->arg != NULL ? row->arg : "", optional ? "]" : "");
        printf("  %-26s %s\n", text, row->help);
    }
}

static void print_help(void)
{
    printf("usage: vagtctl [-s ENDPOINT] COMMAND ...\n\n");
    for (unsigned i = 0; i < COMMANDS_NR; i++) {
        printf("  %-15s %-22s %s\n", command_rows[i].name, command_rows[i].usage,
               command_rows[i].summary);
    }
    printf("\nOptions of every command (its own: vagtctl COMMAND --help):\n");
    print_options(O_COMMON);
    printf(
        "\nWithout --socket: VAGT_CONTROL, else %s.\n"
        "Exit code: 0 done, 1 failed, 2 usage, 3 no leader, quorum or watch,\n"
        "4 unreachable. See vagtctl(8).\n",
        SOCKET_DEFAULT);
}

static void print_command_help(const struct command_row *cmd)
{
    printf("usage: vagtctl %s%s%s%s\n\n%c%s\n\n", cmd->name, cmd->usage[0] ? " " : "",
           cmd->usage, cmd->options != 0 ? " [options]" : "", cmd->summary[0] & ~0x20,
           cmd->summary + 1);
    if (cmd->options != 0) {
        print_options(cmd->options);
        printf("\n");
    }
    printf("Options of every command:\n");
    print_options(O_COMMON);
    if (cmd->run == ct_cmd_status) {
        printf("\nExit code: 0 healthy, 1 degraded, 2 no watch, 4 unreachable.\n");
    } else if (cmd->run == ct_cmd_hash) {
        printf("\nExit code 1 if they differ.\n");
    } else if (cmd->run == ct_cmd_ready) {
        printf("\nExit code 0 if yes, 1 if no.\n");
    } else if (cmd->run == ct_cmd_members) {
        printf(
            "\nadd ID NAME HOST:PORT [CONTROL]   a new node, after `vagtd --join` there\n"
            "promote NODE    let it vote\n"
            "demote NODE     it gets everything and does not vote\n"
            "remove NODE     it belongs to the cluster no more\n"
            "replace NODE    its disk is new and empty: seed it anew\n"
            "cancel          give up the change that is under way\n"
            "\nWaits until it is done; --timeout: at most so long (default 600000 "
            "ms).\n");
    } else if (cmd->run == ct_cmd_keys) {
        printf(
            "\nlist                 names, roles and public keys\n"
            "new FILE             a pair: FILE gets the secret key, the public one is "
            "printed\n"
            "add NAME ROLE KEY    viewer looks, operator switches, admin does all\n"
            "revoke NAME          at once, also who is connected\n");
    } else if (cmd->run == ct_cmd_deadletter) {
        printf(
            "\nlist             the newest first\n"
            "show ID          one in full, with its payload\n"
            "replay ID...|all put back what was refused; all: those that are new\n"
            "drop ID...|all   delete them for good\n"
            "\nExit code 1 if one was refused again, or is not there.\n");
    } else if (cmd->run == ct_cmd_pki) {
        printf(
            "\ninit FOLDER CLUSTER              a CA for the cluster; once\n"
            "node FOLDER ID NAME ADDRESS...   certificate and keys for a node\n"
            "renew FOLDER NAME...|all         the same certificate for longer\n"
            "show FOLDER|FILE...              what there is, and until when\n"
            "\nThe passphrase of the CA's key, if it is to have one, is in "
            "VAGT_CA_PASSPHRASE.\nshow: exit code 1 if one has expired.\n");
    } else if (cmd->run == ct_cmd_drill) {
        printf(
            "\nhandover   the watch is handed over\n"
            "kill       vagtd on watch is killed\n"
            "vanish     the node on watch is silent, as if its machine were gone\n"
            "broker     the connection to the broker is cut\n"
            "postgres   Postgres seems away\n"
            "bridge     the bridge of an area begins anew\n"
            "full       kill, and all that the node on watch runs\n"
            "abort      end the drill that runs, and undo what it did\n"
            "show NR    one in full: a table and a timeline\n"
            "\nExit code 0 only if it passed.\n");
    } else if (cmd->run == ct_cmd_send) {
        printf(
            "\nExit code 0 only if the device confirmed. It may be repeated with the\n"
            "same --id: that never switches twice.\n");
    }
}

/* --- parsing --- */

struct getopt_tables
{
    struct option longs[OPTIONS_NR + 1];
    char shorts[2 + 2 * OPTIONS_NR + 2];
};

static void build(struct getopt_tables *t, flag_t which, bool stop_at_first)
{
    size_t n = 0;
    unsigned k = 0;

    *t = (struct getopt_tables){.longs = {{0}}};
    if (stop_at_first) {
        t->shorts[n++] = '+';
    }
    for (unsigned i = 0; i < OPTIONS_NR; i++) {
        const struct option_row *row = &option_rows[i];

        if ((which & row->id) == 0) {
            continue;
        }
        t->longs[k++] = (struct option){row->name, row->has_arg, NULL, 0x100 + (int)i};
        if (row->letter != 0) {
            t->shorts[n++] = row->letter;
            if (row->has_arg == required_argument) {
                t->shorts[n++] = ':';
            }
        }
    }
}

static const struct option_row *row_of(int c)
{
    for (unsigned i = 0; i < OPTIONS_NR; i++) {
        if (c == 0x100 + (int)i || (c < 0x100 && c == option_rows[i].letter)) {
            return &option_rows[i];
        }
    }
    return NULL;
}

static int usage(const struct command_row *cmd)
{
    fprintf(stderr, "try: vagtctl %s%s--help\n", cmd != NULL ? cmd->name : "",
            cmd != NULL ? " " : "");
    return CT_USAGE;
}

/* -1 to go on, or the exit code. */
static int parse(struct ct_options *opt, const struct command_row *cmd, int argc,
                 char **argv)
{
    struct getopt_tables t;
    int c;

    build(&t, O_COMMON | (cmd != NULL ? cmd->options : 0), cmd == NULL);
    while ((c = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1) {
        const struct option_row *row = row_of(c);

        if (row == NULL) {
            return usage(cmd);
        }
        if (row->id == O_HELP && cmd != NULL) {
            print_command_help(cmd);
            return CT_DONE;
        }
        if (row->id == O_HELP) {
            print_help();
            return CT_DONE;
        }
        if (row->id == O_VERSION) {
            printf("vagtctl %s\n", VAGT_VERSION);
            return CT_DONE;
        }
        if (row->id == O_WATCH ? !set_watch(opt, row, optarg, argc, argv)
                               : !set_option(opt, row, optarg)) {
            return usage(cmd);
        }
    }
    return -1;
}

static const struct command_row *find_command(const char *name)
{
    for (unsigned i = 0; i < COMMANDS_NR; i++) {
        if (strcmp(command_rows[i].name, name) == 0) {
            return &command_rows[i];
        }
    }
    return NULL;
}

static bool set_defaults(struct ct_options *opt, const struct command_row *cmd)
{
    const char *control = getenv("VAGT_CONTROL");

    if (opt->timeout_ms == 0) {
        opt->timeout_ms = cmd->run == ct_cmd_send ? SEND_TIMEOUT_DEFAULT_MS
                          : cmd->run == ct_cmd_rolling_restart
                              ? ROLLING_TIMEOUT_DEFAULT_MS
                          : cmd->run == ct_cmd_members ? MEMBERS_TIMEOUT_DEFAULT_MS
                                                       : CT_TIMEOUT_DEFAULT_MS;
    }
    if (opt->sockets.n > 0) {
        return true;
    }
    if (control == NULL || control[0] == '\0') {
        control = SOCKET_DEFAULT;
    }
    return add_endpoints(&opt->sockets, control);
}

static int check_args(const struct command_row *cmd, int n)
{
    if (n < cmd->args_min) {
        ct_complain("%s: needs %s", cmd->name, cmd->usage);
    } else if (n > cmd->args_max) {
        ct_complain("%s: too many arguments", cmd->name);
    } else {
        return -1;
    }
    return usage(cmd);
}

int main(int argc, char **argv)
{
    struct ct_options opt = {0};
    const struct command_row *cmd;
    int rv = parse(&opt, NULL, argc, argv);

    if (rv >= 0) {
        return rv;
    }
    if (optind >= argc) {
        ct_complain("which command?");
        return usage(NULL);
    }
    cmd = find_command(argv[optind]);
    if (cmd == NULL) {
        ct_complain("'%s' is no command", argv[optind]);
        return usage(NULL);
    }
    argc -= optind;
    argv += optind;
    argv[0] = (char[]){"vagtctl"}; /* What getopt says before its complaints. */
    optind = 0;                    /* glibc: begin anew, with another option string. */
    rv = parse(&opt, cmd, argc, argv);
    if (rv < 0) {
        rv = check_args(cmd, argc - optind);
    }
    if (rv >= 0) {
        return rv;
    }
    if (!set_defaults(&opt, cmd)) {
        return usage(cmd);
    }
    ct_seal_init(&opt);
    opt.args = argv + optind;
    opt.args_n = argc - optind;
    return cmd->run(&opt);
}

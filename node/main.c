/* vagtd(8). */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "node/node.h"
#include "node/reform.h"
#include "node/sink.h"

enum { EXIT_USAGE = 2, EXIT_DISK = 3, EXIT_DAMAGED = 4, EXIT_LEFT = 5 };

struct options
{
    const char *config;
    bool check, print, bootstrap, rejoin, join;
};

static const char help[] =
    "usage: vagtd [-c FILE] [--check | --print-config | --bootstrap | --join | "
    "--rejoin]\n"
    "\n"
    "  -c, --config FILE   the configuration (default /etc/vagt/vagt.yaml)\n"
    "  -n, --check         check the configuration and exit\n"
    "      --print-config  print the effective configuration and exit\n"
    "      --bootstrap     once on every node of a new cluster: write its first log\n"
    "      --join          once on a node that is added to a cluster: an empty log\n"
    "      --rejoin        after a recovery without this node: put its log aside\n"
    "  -V, --version\n"
    "  -h, --help\n"
    "\n"
    "Exit: 0 done, 1 failed, 2 usage or configuration, 3 disk, 4 damaged log,\n"
    "5 left behind by a recovery: see vagtd(8).\n";

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"check", no_argument, NULL, 'n'},
    {"print-config", no_argument, NULL, 'p'},
    {"bootstrap", no_argument, NULL, 'b'},
    {"rejoin", no_argument, NULL, 'r'},
    {"join", no_argument, NULL, 'j'},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int parse(int argc, char **argv, struct options *o)
{
    int c;

    *o = (struct options){.config = "/etc/vagt/vagt.yaml"};
    while ((c = getopt_long(argc, argv, "c:nVh", long_options, NULL)) != -1) {
        switch (c) {
        case 'c':
            o->config = optarg;
            break;
        case 'n':
            o->check = true;
            break;
        case 'p':
            o->print = true;
            break;
        case 'b':
            o->bootstrap = true;
            break;
        case 'j':
            o->join = true;
            break;
        case 'r':
            o->rejoin = true;
            break;
        case 'V':
            printf("vagtd %s\n", VAGT_VERSION);
            exit(0);
        case 'h':
            fputs(help, stdout);
            exit(0);
        default:
            fputs("see vagtd --help\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "vagtd: '%s' is not understood; see vagtd --help\n",
                argv[optind]);
        return EXIT_USAGE;
    }
    return 0;
}

static int exit_code_of(int rv)
{
    return rv == SY_ECORRUPT || rv == SY_EVERSION ? EXIT_DAMAGED : 1;
}

static int print_config(const struct nd_config *c)
{
    struct sy_buf b = {0};

    nd_config_print(c, &b);
    fwrite(b.p, 1, b.len, stdout);
    sy_buf_free(&b);
    return 0;
}

static int bootstrap(const struct nd_config *c)
{
    struct nd_replica_config rc;
    struct sy_errbuf eb;
    int rv;

    nd_replica_config_of(c, &rc);
    rv = nd_replica_bootstrap(&rc, &eb);
    if (rv != 0) {
        fprintf(stderr, "vagtd: %s\n", eb.text);
        return exit_code_of(rv);
    }
    nd_members_forget(c->data_dir);
    printf("%s is ready to start as node %u of cluster %s (%u nodes)\n", c->data_dir,
           (unsigned)c->id, c->cluster, c->nodes_n);
    return 0;
}

static int failed(int rv, const struct sy_errbuf *eb)
{
    fprintf(stderr, "vagtd: %s\n", eb->text);
    return exit_code_of(rv);
}

/* A new node, or a new disk. It has no voice before the leader takes it in. */
static int join(const struct nd_config *c)
{
    struct nd_log_look look;
    struct sy_errbuf eb = {.text = ""};
    int rv = nd_act_as_owner(c->data_dir, &eb);

    if (rv == 0 && nd_log_look(c->data_dir, &look, &eb) == SY_ENOTFOUND) {
        rv = nd_join_mark(c->data_dir, &eb);
    }
    if (rv == 0) {
        rv = nd_log_empty(c->data_dir, c->cluster, c->id, &eb);
    }
    if (rv != 0) {
        return failed(rv, &eb);
    }
    nd_members_forget(c->data_dir);
    printf(
        "%s is ready to start as node %u of cluster %s: it gets everything from the "
        "others, as soon as `vagtctl members add` (or replace) was said there\n",
        c->data_dir, (unsigned)c->id, c->cluster);
    return 0;
}

/* May be repeated after a crash: what is empty already is not put aside. */
static int rejoin(const struct nd_config *c)
{
    struct nd_log_look look = {.id = 0};
    struct sy_errbuf why, eb = {.text = ""};
    uint64_t epoch;
    int rv = nd_act_as_owner(c->data_dir, &eb), looked;

    if (rv != 0) {
        return failed(rv, &eb);
    }
    looked = nd_log_look(c->data_dir, &look, &eb);
    if (looked == SY_EBUSY) {
        return failed(looked, &eb);
    }
    epoch = nd_left_read(c->data_dir, &why); /* The last word of who had the folder. */
    if (epoch == 0 && looked == SY_ENOTFOUND) {
        return join(c);
    }
    if (epoch == 0) {
        fprintf(
            stderr,
            "vagtd: nothing to do: nobody has told this node that it was left behind. "
            "If the others were recovered without it, start it: it hears so within a "
            "second, and stops\n");
        return 1;
    }
    if (looked != 0 || look.last != 0) {
        rv = nd_log_archive(c->data_dir, epoch, &eb);
        if (rv == 0) {
            rv = nd_join_mark(c->data_dir, &eb);
        }
        if (rv == 0) {
            rv = nd_log_empty(c->data_dir, c->cluster, c->id, &eb);
        }
    }
    if (rv == 0 && nd_left_clear(c->data_dir) != 0) {
        rv = sy_fail(&eb, -EIO, "%s/left-behind cannot be removed", c->data_dir);
    }
    if (rv != 0) {
        return failed(rv, &eb);
    }
    printf(
        "the log is put aside in %s (raft.archived-…, two are kept); start vagtd: it "
        "gets everything from the others\n",
        c->data_dir);
    return 0;
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct nd_node *n = handle->data;

    n->upkeep.restart = false; /* It is to end, not to begin anew. */
    SY_LOG(&n->log, SY_NOTE, "signal", KU64("number", (uint64_t)number));
    uv_signal_stop(handle);
    nd_node_stop(n);
}

static void watch_signal(uv_loop_t *loop, uv_signal_t *handle, struct nd_node *n,
                         uv_signal_cb cb, int number)
{
    (void)uv_signal_init(loop, handle);
    handle->data = n;
    (void)uv_signal_start(handle, cb, number);
    uv_unref((uv_handle_t *)handle);
}

/* Certificates were renewed, or a log rotated: nothing else is read anew. */
static void on_hangup(uv_signal_t *handle, int number)
{
    (void)number;
    nd_tls_look(handle->data);
}

static char **own_argv;
static char own_path[4096] = "/proc/self/exe";

/* By its path, not by /proc/self/exe: that is the old program after an upgrade. */
static void note_self(char **argv)
{
    ssize_t n = readlink("/proc/self/exe", own_path, sizeof own_path - 1);

    if (n > 0) {
        own_path[n] = '\0';
    }
    own_argv = argv;
}

/* The same program anew, in this process's place: whoever supervises it sees nothing. */
static int go_on(struct nd_node *n)
{
    fflush(stderr);
    (void)close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    nd_site_pass_on(n);
    (void)execv(own_path, own_argv);
    fprintf(stderr, "vagtd: cannot go on as %s: %s\n", own_path, strerror(errno));
    return 1; /* Whoever supervises it starts it. */
}

static bool was_left_behind(const struct nd_node *n)
{
    struct sy_errbuf eb;

    if (nd_left_read(n->config.data_dir, &eb) == 0) {
        return false;
    }
    SY_LOG(&n->log, SY_ERR, "start.failed", KERR(SY_ESTALE), KSTR("why", eb.text));
    fprintf(stderr, "vagtd: %s\n", eb.text);
    return true;
}

static int run(struct nd_node *n)
{
    uv_loop_t *loop = uv_default_loop();
    uv_signal_t term, interrupt, hangup;
    struct nd_sink sink;
    struct sy_errbuf eb;
    int rv;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* Who starts us may have it ignored: no child's end. */
    nd_sink_init(&sink, nd_config_self(&n->config)->name);
    n->log = (struct sy_log){
        .level = n->config.log_level, .data = &sink, .write = nd_sink_write};
    if (was_left_behind(n)) {
        return EXIT_LEFT;
    }
    rv = nd_tie_resume(&n->config, &n->log, &eb);
    if (rv == 0) {
        rv = nd_join_resume(&n->config, &n->log, &n->joining, &eb);
    }
    if (rv == 0) {
        rv = nd_node_open(n, loop, &eb);
    }
    if (rv != 0) {
        SY_LOG(&n->log, SY_ERR, "start.failed", KERR(rv), KSTR("why", eb.text));
        fprintf(stderr, "vagtd: %s\n", eb.text);
        return exit_code_of(rv);
    }
    if (was_left_behind(n)) { /* Whoever had the folder until now was told so. */
        return EXIT_LEFT;
    }
    watch_signal(loop, &term, n, on_signal, SIGTERM);
    watch_signal(loop, &interrupt, n, on_signal, SIGINT);
    watch_signal(loop, &hangup, n, on_hangup, SIGHUP);
    uv_run(loop, UV_RUN_DEFAULT);
    if (n->upkeep.restart || (n->tie.again && !n->tie.stopped)) {
        return go_on(n);
    }
    SY_LOG(&n->log, SY_NOTE, "stopped", KU64("node", n->config.id));
    return 0;
}

static const char *environment(const char *name)
{
    return getenv(name);
}

int main(int argc, char **argv)
{
    struct options o;
    struct sy_errbuf eb;
    struct nd_node *n;
    int rv = parse(argc, argv, &o);

    /* A core holds passwords and keys, and where the kernel gives it to a program no
     * limit keeps it away. So does our memory, which nobody but root may look at now. */
    (void)prctl(PR_SET_DUMPABLE, 0);
    note_self(argv);
    if (rv != 0) {
        return rv;
    }
    if (o.check) {
        return nd_config_check(o.config, stdout) == 0 ? 0 : EXIT_USAGE;
    }
    n = sy_calloc(1, sizeof *n);
    rv = nd_config_load(&n->config, o.config, NULL,
                        o.bootstrap || o.join || o.rejoin ? NULL : environment, &eb);
    if (rv != 0) {
        fprintf(stderr, "%s\n", eb.text);
        sy_free(n);
        return EXIT_USAGE;
    }
    if (o.print) {
        rv = print_config(&n->config);
    } else if (o.bootstrap) {
        rv = bootstrap(&n->config);
    } else if (o.join) {
        rv = join(&n->config);
    } else if (o.rejoin) {
        rv = rejoin(&n->config);
    } else {
        rv = run(n);
    }
    nd_tls_free(n);
    nd_config_free(&n->config);
    nd_dispatch_free(n);
    nd_forward_free(n);
    nd_status_free(n);
    sy_free(n);
    return rv;
}

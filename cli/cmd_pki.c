/* vagtctl pki: the cluster's own CA, in a folder. It asks no node: the machine with the
 * CA's key is best none, and off when nobody needs it. */

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <zmq.h>

#include "adapters/seal/pki.h"
#include "cli/cli.h"

enum { SOON_DAYS = 30, DAY_S = 86400, NODE_ID_MAX = 15, CURVE_TEXT_SIZE = 41 };

static const char *passphrase(void)
{
    const char *p = getenv("VAGT_CA_PASSPHRASE");

    return p != NULL && p[0] != '\0' ? p : NULL;
}

static int failed(const struct sy_errbuf *eb)
{
    ct_complain("pki: %s", eb->text);
    return CT_FAILED;
}

static int days_of(const struct ct_options *opt)
{
    return opt->days != 0 ? (int)opt->days : AD_PKI_NODE_DAYS;
}

/* --- init --- */

static int init(const struct ct_options *opt)
{
    const char *dir = opt->args[1], *cluster = opt->args[2];
    struct sy_errbuf eb;

    if (cluster[strspn(cluster, "abcdefghijklmnopqrstuvwxyz0123456789-")] != '\0' ||
        cluster[0] == '\0' || strlen(cluster) > 32) {
        ct_complain("pki: '%s' is not the name of a cluster: `cluster` in vagt.yaml",
                    cluster);
        return CT_USAGE;
    }
    if (ad_pki_init(dir, cluster, passphrase(), time(NULL), &eb) != 0) {
        return failed(&eb);
    }
    printf(
        "%s/ca.crt and ca.key: the CA of cluster %s, for ten years; the key %s.\n"
        "Whoever has ca.key can be any node: keep it on no node, and a copy of it "
        "elsewhere.\n"
        "Next, for each node: vagtctl pki node %s ID NAME ADDRESS...\n",
        dir, cluster,
        passphrase() != NULL ? "needs the passphrase in VAGT_CA_PASSPHRASE"
                             : "has no passphrase (VAGT_CA_PASSPHRASE gives it one)",
        dir);
    return CT_DONE;
}

/* --- node --- */

/* The pair for the control plane (CURVE), as Z85. */
static int make_curve(const char *dir, const char *name, struct sy_errbuf *eb)
{
    char public[CURVE_TEXT_SIZE], secret[CURVE_TEXT_SIZE], path[AD_PKI_PATH_SIZE];
    int rv;

    if (zmq_curve_keypair(public, secret) != 0) {
        return sy_fail(eb, -ENOTSUP, "this libzmq knows no CURVE: no key pair is made");
    }
    public[40] = secret[40] = '\n';
    snprintf(path, sizeof path, "%s/nodes/%s/curve.key", dir, name);
    rv = ad_pki_write(path, secret, sizeof secret, true, eb);
    if (rv == 0) {
        snprintf(path, sizeof path, "%s/nodes/%s/curve.pub", dir, name);
        rv = ad_pki_write(path, public, sizeof public, false, eb);
    }
    explicit_bzero(secret, sizeof secret);
    return rv;
}

static void say_next(const char *dir, const char *name)
{
    printf(
        "%s/nodes/%s: certificate and keys of this node. Copy it to that machine:\n"
        "  install -d -o vagt -m 700 /etc/vagt/tls, its files into it, owner vagt\n"
        "and into its vagt.yaml:\n"
        "  tls: {ca: /etc/vagt/tls/ca.crt, cert: /etc/vagt/tls/node.crt,\n"
        "        key: {file: /etc/vagt/tls/node.key}}\n"
        "node.key is needed nowhere else: remove it here when it is there.\n",
        dir, name);
}

static int node(const struct ct_options *opt)
{
    struct ad_pki_node n = {.name = opt->args[3]};
    char cluster[64], *end;
    struct sy_errbuf eb;
    int rv;

    n.id = strtoull(opt->args[2], &end, 10);
    if (opt->args[2][0] < '1' || *end != '\0' || n.id > NODE_ID_MAX) {
        ct_complain("pki: '%s': the id of a node is a number from 1 to %d", opt->args[2],
                    NODE_ID_MAX);
        return CT_USAGE;
    }
    if (opt->args_n - 4 > AD_PKI_NAMES_MAX) {
        ct_complain("pki: more than %d addresses", AD_PKI_NAMES_MAX);
        return CT_USAGE;
    }
    while (n.addresses_n < (unsigned)(opt->args_n - 4)) {
        n.addresses[n.addresses_n] = opt->args[4 + n.addresses_n];
        n.addresses_n++;
    }
    rv = ad_pki_cluster(opt->args[1], cluster, sizeof cluster, &eb);
    n.cluster = cluster;
    if (rv == 0) {
        rv = ad_pki_node(opt->args[1], &n, passphrase(), time(NULL), days_of(opt), &eb);
    }
    if (rv == 0) {
        rv = make_curve(opt->args[1], n.name, &eb);
    }
    if (rv != 0) {
        return failed(&eb);
    }
    say_next(opt->args[1], n.name);
    return CT_DONE;
}

/* --- all nodes of a folder --- */

typedef int (*each_fn)(void *data, const char *name);

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* In order; the worst of what @fn returns. -errno: there is no such folder. */
static int each_node(const char *dir, each_fn fn, void *data)
{
    char path[AD_PKI_PATH_SIZE], *names[64];
    unsigned n = 0;
    struct dirent *e;
    int rv = 0;
    DIR *d;

    snprintf(path, sizeof path, "%s/nodes", dir);
    d = opendir(path);
    if (d == NULL) {
        return -errno;
    }
    while ((e = readdir(d)) != NULL && n < sizeof names / sizeof names[0]) {
        if (e->d_name[0] != '.') {
            names[n++] = strdup(e->d_name);
        }
    }
    closedir(d);
    qsort(names, n, sizeof names[0], by_name);
    for (unsigned i = 0; i < n; i++) {
        int one = names[i] != NULL ? fn(data, names[i]) : CT_FAILED;

        rv = one > rv ? one : rv;
        free(names[i]);
    }
    return rv;
}

/* --- renew --- */

static int renew_one(void *data, const char *name)
{
    const struct ct_options *opt = data;
    struct sy_errbuf eb;

    if (ad_pki_renew(opt->args[1], name, passphrase(), time(NULL), days_of(opt), &eb) !=
        0) {
        return failed(&eb);
    }
    printf(
        "%s/nodes/%s/node.crt: good for %d days from now. Copy it over the one on "
        "that machine: it is read within a minute, or at once after\n"
        "  systemctl kill -s HUP vagtd\n",
        opt->args[1], name, days_of(opt));
    return CT_DONE;
}

static int renew(const struct ct_options *opt)
{
    int rv = CT_DONE;

    if (opt->args_n == 3 && strcmp(opt->args[2], "all") == 0) {
        rv = each_node(opt->args[1], renew_one, (void *)(uintptr_t)opt);
        if (rv < 0) {
            ct_complain("pki: %s has no nodes: %s", opt->args[1], sy_err_text(rv));
        }
        return rv < 0 ? CT_FAILED : rv;
    }
    for (int i = 2; i < opt->args_n; i++) {
        int one = renew_one((void *)(uintptr_t)opt, opt->args[i]);

        rv = one > rv ? one : rv;
    }
    return rv;
}

/* --- show --- */

static const struct ct_column columns[] = {
    {"FILE", false, true},   {"IS", false, false},  {"NAMES", false, true},
    {"UNTIL", false, false}, {"DAYS", true, false}, {"SERIAL", false, true},
};

struct view
{
    const struct ct_options *opt;
    struct ct_table table;
    struct sy_json json;
    int worst;
};

static void show_row(struct view *v, const char *file, const struct ad_pki_cert *c)
{
    int64_t days = (c->until - (int64_t)time(NULL)) / DAY_S;
    time_t until = (time_t)c->until;
    char text[32];
    struct tm tm;

    (void)gmtime_r(&until, &tm);
    strftime(text, sizeof text, "%Y-%m-%d", &tm);
    ct_cell_str(&v->table, ct_lit(file), CT_PLAIN);
    ct_cell_str(&v->table, ct_lit(c->is_ca ? "CA" : c->subject), CT_PLAIN);
    ct_cell_str(&v->table, ct_lit(c->names), CT_PLAIN);
    ct_cell(&v->table, text);
    snprintf(text, sizeof text, "%lld", (long long)days);
    ct_cell_str(&v->table, ct_lit(text),
                days < 0           ? CT_RED
                : days < SOON_DAYS ? CT_YELLOW
                                   : CT_PLAIN);
    ct_cell_str(&v->table, ct_lit(c->serial), CT_DIM);
}

static void json_row(struct view *v, const char *file, const struct ad_pki_cert *c)
{
    sy_json_object(&v->json);
    sy_json_kstr(&v->json, "file", file);
    sy_json_kstr(&v->json, "is", c->subject);
    sy_json_kbool(&v->json, "ca", c->is_ca);
    sy_json_kstr(&v->json, "names", c->names);
    sy_json_kint(&v->json, "from_s", c->from);
    sy_json_kint(&v->json, "until_s", c->until);
    sy_json_kstr(&v->json, "serial", c->serial);
    sy_json_object_end(&v->json);
}

static int show_file(struct view *v, const char *file)
{
    struct ad_pki_cert c;
    struct sy_errbuf eb;
    int rv;

    if (ad_pki_describe(file, &c, &eb) != 0) {
        rv = failed(&eb);
    } else {
        if (v->opt->json) {
            json_row(v, file, &c);
        } else {
            show_row(v, file, &c);
        }
        rv = c.until < (int64_t)time(NULL) ? CT_FAILED : CT_DONE;
    }
    v->worst = rv > v->worst ? rv : v->worst;
    return rv;
}

struct in_dir
{
    struct view *v;
    const char *dir;
};

static int show_node(void *data, const char *name)
{
    const struct in_dir *in = data;
    char path[AD_PKI_PATH_SIZE];

    snprintf(path, sizeof path, "%s/nodes/%s/node.crt", in->dir, name);
    return show_file(in->v, path);
}

static void show_arg(struct view *v, const char *arg)
{
    struct in_dir in = {v, arg};
    char path[AD_PKI_PATH_SIZE];
    struct stat st;

    if (stat(arg, &st) == 0 && S_ISDIR(st.st_mode)) {
        snprintf(path, sizeof path, "%s/ca.crt", arg);
        (void)show_file(v, path); /* It goes into v->worst. */
        (void)each_node(arg, show_node, &in);
        snprintf(path, sizeof path, "%s/node.crt", arg);
        if (stat(path, &st) == 0) { /* The folder of one node. */
            (void)show_file(v, path);
        }
    } else {
        (void)show_file(v, arg);
    }
}

static int show(const struct ct_options *opt)
{
    struct view v = {.opt = opt, .worst = CT_DONE};
    struct ct_out o;

    ct_out_init(&o);
    ct_table_init(&v.table, columns, sizeof columns / sizeof columns[0]);
    sy_json_init(&v.json, &o.b);
    if (opt->json) {
        sy_json_array(&v.json);
    }
    for (int i = 1; i < opt->args_n; i++) {
        show_arg(&v, opt->args[i]);
    }
    if (opt->json) {
        sy_json_array_end(&v.json);
        sy_json_finish(&v.json);
        ct_put(&o, "\n");
    } else {
        ct_table_print(&v.table, &o);
    }
    ct_table_free(&v.table);
    if (!ct_out_flush(&o)) {
        v.worst = CT_FAILED;
    }
    ct_out_free(&o);
    return v.worst;
}

int ct_cmd_pki(const struct ct_options *opt)
{
    static const struct
    {
        const char *name, *needs;
        int min, max;
        int (*run)(const struct ct_options *opt);
    } rows[] = {
        {"init", "FOLDER CLUSTER", 3, 3, init},
        {"node", "FOLDER ID NAME ADDRESS...", 5, 4 + AD_PKI_NAMES_MAX, node},
        {"renew", "FOLDER NAME...|all", 3, 64, renew},
        {"show", "FOLDER|FILE...", 2, 64, show},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(opt->args[0], rows[i].name) != 0) {
            continue;
        }
        if (opt->args_n < rows[i].min || opt->args_n > rows[i].max) {
            ct_complain("pki %s: needs %s", rows[i].name, rows[i].needs);
            return CT_USAGE;
        }
        return rows[i].run(opt);
    }
    ct_complain("pki '%s': say init, node, renew or show", opt->args[0]);
    return CT_USAGE;
}

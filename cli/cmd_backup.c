/* vagtctl backup, backup verify, restore. The first asks a node; the others work on files
 * alone, so that they can be tried on any machine. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "node/bundle.h"
#include "node/reform.h"

enum { BACKUP_TIMEOUT_MS = 15 * 60 * 1000 };

/* --- make one --- */

static void tell_files(struct ct_out *o, uint64_t sets, uint64_t complete, bool encrypted)
{
    if (sets > 0) {
        ct_fmt(o, "Of %" PRIu64 " sets of files it has the contents of %" PRIu64 "%s.\n",
               sets, complete,
               complete == sets ? ""
               : encrypted      ? ": the others are too large, or not all there"
                                : ": they hold keys, so only an encrypted one has them "
                                  "(--encrypt-to)");
    }
}

static int view_backup(struct ct_out *o, const struct ct_options *opt,
                       const struct ct_reply *r)
{
    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    ct_put(o, "Node ");
    ct_fmt(o, "%" PRIu64 " wrote ", r->node);
    ct_say(o, ct_str(r->result, "dir"));
    ct_put(o, "/");
    ct_say(o, ct_str(r->result, "file"));
    ct_put(o, ", ");
    ct_size(&o->b, ct_uint(r->result, "bytes"));
    ct_fmt(o, ",\nthe state at entry %" PRIu64 " with hash ",
           ct_uint(r->result, "index"));
    ct_say(o, ct_str(r->result, "hash"));
    ct_fmt(o, ", restored on trial; %s; %" PRIu64 " ms.\n",
           ct_bool(r->result, "encrypted") ? "encrypted" : "not encrypted",
           ct_uint(r->result, "took_ms"));
    tell_files(o, ct_uint(r->result, "sets"), ct_uint(r->result, "sets_complete"),
               ct_bool(r->result, "encrypted"));
    return CT_DONE;
}

/* The node has another working folder. */
static void pack_path(struct sy_buf *b, const char *key, const char *path)
{
    char whole[4096];

    sy_mp_kstr(b, key, realpath(path, whole) != NULL ? whole : path);
}

static int make(const struct ct_options *opt)
{
    struct ct_options longer = *opt;
    struct sy_buf args = {.p = NULL};
    int rv;

    if (opt->timeout_ms == CT_TIMEOUT_DEFAULT_MS) {
        longer.timeout_ms = BACKUP_TIMEOUT_MS;
    }
    sy_mp_map(&args, (opt->to != NULL ? 1U : 0) + (opt->encrypt_to != NULL ? 1U : 0));
    if (opt->to != NULL) {
        pack_path(&args, "dir", opt->to);
    }
    if (opt->encrypt_to != NULL) {
        pack_path(&args, "encrypt_to", opt->encrypt_to);
    }
    rv = ct_simple(&longer, "backup", &args, view_backup);
    sy_buf_free(&args);
    return rv;
}

/* --- look at one --- */

static int load(const struct ct_options *opt, const char *file, struct sy_buf *raw,
                struct nd_bundle *b)
{
    struct sy_errbuf eb = {.text = ""};
    int rv = nd_bundle_load(file, opt->key, raw, &eb);

    if (rv == 0) {
        rv = nd_bundle_open(b, raw->p, raw->len, &eb);
    }
    if (rv == 0) {
        rv = nd_bundle_verify(b, &eb);
    }
    if (rv != 0) {
        ct_complain("%s: %s", file, eb.text);
    }
    return rv;
}

static void show(const struct ct_options *opt, struct ct_out *o, const char *file,
                 const struct nd_bundle *b)
{
    const struct nd_bundle_meta *m = &b->meta;
    uint64_t now = ct_wall_ms();

    if (opt->json) {
        ct_fmt(
            o,
            "{\"good\":true,\"sets\":%u,\"sets_complete\":%u,\"cluster\":\"%s\",\"node\":"
            "\"%s\",\"index\":%" PRIu64 ",\"term\":%" PRIu64 ",\"hash\":\"%016" PRIx64
            "\",\"taken_ms\":%" PRIu64 "}\n",
            b->sets, b->complete, m->cluster, m->node, m->index, m->term, m->hash,
            m->taken_ms);
        return;
    }
    ct_say(o, ct_lit(file));
    ct_put(o, " is good: cluster ");
    ct_say(o, ct_lit(m->cluster));
    ct_fmt(o, ", entry %" PRIu64 ", hash %016" PRIx64 ",\nmade by ", m->index, m->hash);
    ct_say(o, ct_lit(m->node));
    ct_put(o, " (vagtd ");
    ct_say(o, ct_lit(m->version));
    ct_put(o, ") ");
    ct_age(&o->b, now > m->taken_ms ? now - m->taken_ms : 0);
    ct_fmt(o, " ago; %u files, every checksum right, the state restored on trial.\n",
           b->members_n);
    tell_files(o, b->sets, b->complete, opt->key != NULL);
}

static int verify(const struct ct_options *opt)
{
    struct sy_buf raw = {.p = NULL};
    struct nd_bundle b;
    struct ct_out o;
    int rv;

    if (opt->args_n != 2) {
        ct_complain("backup verify: needs one FILE");
        return CT_USAGE;
    }
    ct_out_init(&o);
    rv = load(opt, opt->args[1], &raw, &b);
    if (rv == 0) {
        show(opt, &o, opt->args[1], &b);
    }
    rv = ct_out_flush(&o) && rv == 0 ? CT_DONE : CT_FAILED;
    ct_out_free(&o);
    sy_buf_free(&raw);
    return rv;
}

int ct_cmd_backup(const struct ct_options *opt)
{
    if (opt->args_n == 0) {
        return make(opt);
    }
    if (strcmp(opt->args[0], "verify") == 0) {
        return verify(opt);
    }
    ct_complain("backup: '%s' is neither nothing nor verify", opt->args[0]);
    return CT_USAGE;
}

/* --- begin with one --- */

static int restore(const struct ct_options *opt, uint64_t node, struct ct_out *o)
{
    struct sy_buf raw = {.p = NULL};
    struct sy_errbuf eb = {.text = ""};
    struct nd_bundle b;
    int rv = load(opt, opt->args[0], &raw, &b);

    if (rv == 0 && mkdir(opt->data_dir, 0700) != 0 && access(opt->data_dir, W_OK) != 0) {
        rv = sy_fail(&eb, SY_EINVALID, "%s cannot be created or written", opt->data_dir);
        ct_complain("restore: %s", eb.text);
    } else if (rv == 0) {
        rv = nd_act_as_owner(opt->data_dir, &eb);
        if (rv == 0) {
            rv = nd_bundle_restore(&b, opt->data_dir, node, &eb);
        }
        if (rv != 0) {
            ct_complain("restore: %s: %s%s", opt->data_dir, eb.text,
                        rv == SY_EEXISTS ? "; give an empty one" : "");
        }
    }
    if (rv == 0) {
        ct_say(o, ct_lit(opt->data_dir));
        ct_fmt(o, " begins with entry %" PRIu64 " of ", b.meta.index);
        ct_say(o, ct_lit(b.meta.cluster));
        ct_fmt(
            o,
            ", node %" PRIu64
            " is its only voter.\nIts files must belong to the user of vagtd. Start it "
            "there; on each other node, with an\nempty data folder, `vagtd --rejoin`, "
            "then start it: it is taken in by itself.\nWhat happened after the backup "
            "is lost. No node of the old cluster may ever run beside it.\n",
            node);
    }
    sy_buf_free(&raw);
    return rv == 0 ? CT_DONE : CT_FAILED;
}

int ct_cmd_restore(const struct ct_options *opt)
{
    struct ct_out o;
    int rv;

    if (opt->data_dir == NULL || opt->node == 0) {
        ct_complain("restore: needs --data-dir DIR and --node ID");
        return CT_USAGE;
    }
    ct_out_init(&o);
    rv = restore(opt, opt->node, &o);
    if (!ct_out_flush(&o)) {
        rv = CT_FAILED;
    }
    ct_out_free(&o);
    return rv;
}

/* Keys for the control plane: who has one, and what it allows. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "cli/cli.h"

enum { KEY_SIZE = 41 };

static int view(struct ct_out *o, const struct ct_options *opt, const struct ct_reply *r)
{
    static const struct ct_column columns[] = {
        {"name", false, false}, {"role", false, false}, {"public key", false, false}};
    struct ct_iter it = ct_iterate(ct_get(r->result, "keys"));
    struct ct_table t;
    struct ct_val k;
    bool any = false;

    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    ct_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    while (ct_next(&it, &k)) {
        ct_cell_str(&t, ct_str(k, "name"), CT_BOLD);
        ct_cell_str(&t, ct_str(k, "role"), CT_PLAIN);
        ct_cell_str(&t, ct_str(k, "key"), CT_DIM);
        any = true;
    }
    if (any) {
        ct_table_print(&t, o);
    } else {
        ct_put(o, "Nobody has a key.\n");
    }
    ct_table_free(&t);
    if (!ct_bool(r->result, "sealed")) {
        ct_put(o, "This node asks for none: it has no control.secret_key.\n");
    }
    return CT_DONE;
}

static int changed(struct ct_out *o, const struct ct_options *opt,
                   const struct ct_reply *r)
{
    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    ct_say(o, ct_str(r->result, "name"));
    ct_put(o, strcmp(opt->args[0], "add") == 0
                  ? " may come in from now on.\n"
                  : " has no key any more, and was cut off.\n");
    return CT_DONE;
}

static int make(const char *path)
{
    char public_key[KEY_SIZE], secret[KEY_SIZE];
    int fd, rv = CT_FAILED;

    if (zmq_curve_keypair(public_key, secret) != 0) {
        ct_complain("keys: this libzmq knows no CURVE");
        return CT_FAILED;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    secret[KEY_SIZE - 1] = '\n';
    if (fd < 0 || write(fd, secret, KEY_SIZE) != KEY_SIZE || fsync(fd) != 0) {
        ct_complain("keys: %s: %s%s", path, strerror(errno),
                    errno == EEXIST ? "; a key is never written over" : "");
    } else {
        printf("%s\n", public_key);
        fprintf(stderr,
                "%s holds the secret key; the public one is above. An admin enrols it:\n"
                "  vagtctl keys add NAME viewer|operator|admin 'KEY'\n",
                path);
        rv = CT_DONE;
    }
    if (fd >= 0) {
        close(fd);
    }
    explicit_bzero(secret, sizeof secret);
    return rv;
}

int ct_cmd_keys(const struct ct_options *opt)
{
    const char *action = opt->args_n > 0 ? opt->args[0] : "list";
    struct sy_buf args = {0};
    bool add = strcmp(action, "add") == 0;
    int rv;

    if (strcmp(action, "list") == 0 && opt->args_n <= 1) {
        return ct_simple(opt, "keys", NULL, view);
    }
    if (strcmp(action, "new") == 0 && opt->args_n == 2) {
        return make(opt->args[1]);
    }
    if (!(add && opt->args_n == 4) &&
        !(strcmp(action, "revoke") == 0 && opt->args_n == 2)) {
        ct_complain(
            "keys: list, new FILE, add NAME ROLE KEY, or revoke NAME; ROLE is "
            "viewer, operator or admin");
        return CT_USAGE;
    }
    sy_mp_map(&args, add ? 4 : 2);
    sy_mp_kstr(&args, "action", action);
    sy_mp_kstr(&args, "name", opt->args[1]);
    if (add) {
        sy_mp_kstr(&args, "role", opt->args[2]);
        sy_mp_kstr(&args, "key", opt->args[3]);
    }
    rv = ct_simple(opt, "keys_change", &args, changed);
    sy_buf_free(&args);
    return rv;
}

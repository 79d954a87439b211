#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/postgres/postgres.h"
#include "cli/cli.h"

enum { CONNINFO_SIZE = 4096 };

/* Never from the command line, where ps(1) shows it: it holds a password. */
static bool read_conninfo(const char *path, char *to, size_t size)
{
    FILE *f = fopen(path, "re");
    size_t n;
    bool good;

    if (f == NULL) {
        ct_complain("%s: %s", path, strerror(errno));
        return false;
    }
    n = fread(to, 1, size, f);
    good = !ferror(f) && n < size && memchr(to, '\0', n) == NULL;
    fclose(f);
    if (!good) {
        ct_complain("%s: cannot be read, is too long or no text", path);
        return false;
    }
    to[n] = '\0';
    while (n > 0 && strchr(" \t\r\n", to[n - 1]) != NULL) {
        to[--n] = '\0';
    }
    if (n == 0) {
        ct_complain("%s: is empty", path);
    }
    return n > 0;
}

static bool find_conninfo(const struct ct_options *opt, char *to, size_t size)
{
    const char *env = getenv("VAGT_POSTGRES");

    if (opt->conninfo_file != NULL) {
        return read_conninfo(opt->conninfo_file, to, size);
    }
    if (env == NULL || env[0] == '\0') {
        ct_complain("db: which database? Give --conninfo-file FILE or set VAGT_POSTGRES");
        return false;
    }
    if (strlen(env) >= size) {
        ct_complain("VAGT_POSTGRES is too long");
        return false;
    }
    memcpy(to, env, strlen(env) + 1);
    return true;
}

static unsigned newest(void)
{
    unsigned version = 0;

    for (unsigned i = 0; ad_pg_migrations[i].version != 0; i++) {
        version = ad_pg_migrations[i].version;
    }
    return version;
}

static int report(const struct ct_options *opt, unsigned from, unsigned to, bool migrated)
{
    int rv = to == newest() ? CT_DONE : CT_FAILED;
    struct ct_out o;

    ct_out_init(&o);
    if (opt->json) {
        ct_fmt(&o, "{\"from\":%u,\"version\":%u,\"newest\":%u}\n", from, to, newest());
    } else if (!migrated && to < newest()) {
        ct_fmt(&o,
               "The schema is at version %u, this vagtctl knows %u: run `vagtctl db "
               "migrate`.\n",
               to, newest());
    } else if (!migrated && to > newest()) {
        ct_fmt(&o,
               "The schema is at version %u, this vagtctl knows only %u: use a newer "
               "one.\n",
               to, newest());
    } else if (from == to) {
        ct_fmt(&o, "The schema is at version %u, the newest.\n", to);
    } else {
        ct_fmt(&o, "The schema went from version %u to %u.\n", from, to);
    }
    if (!ct_out_flush(&o)) {
        rv = CT_FAILED;
    }
    ct_out_free(&o);
    return rv;
}

int ct_cmd_db(const struct ct_options *opt)
{
    bool migrate = strcmp(opt->args[0], "migrate") == 0;
    char conninfo[CONNINFO_SIZE];
    struct sy_errbuf eb = {""};
    unsigned from = 0;
    unsigned to = 0;
    int rv;

    if (!migrate && strcmp(opt->args[0], "status") != 0) {
        ct_complain("db '%s': say migrate or status", opt->args[0]);
        return CT_USAGE;
    }
    if (!find_conninfo(opt, conninfo, sizeof conninfo)) {
        return CT_USAGE;
    }
    if (migrate) {
        rv = ad_pg_migrate(conninfo, &from, &to, &eb);
    } else {
        rv = ad_pg_schema_version(conninfo, &to, &eb);
        from = to;
    }
    explicit_bzero(conninfo, sizeof conninfo);
    if (rv != 0) {
        struct sy_buf safe = {0};

        ct_escape(&safe, ct_lit(eb.text[0] != '\0' ? eb.text : sy_err_text(rv)));
        ct_complain("db %s: %.*s", opt->args[0], (int)safe.len, (const char *)safe.p);
        sy_buf_free(&safe);
        return CT_FAILED;
    }
    return report(opt, from, to, migrate);
}

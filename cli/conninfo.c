#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* Never from the command line, where ps(1) shows it. */
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

bool ct_find_conninfo(const struct ct_options *opt, const char *command, char *to,
                      size_t size)
{
    const char *env = getenv("VAGT_POSTGRES");

    if (opt->conninfo_file != NULL) {
        return read_conninfo(opt->conninfo_file, to, size);
    }
    if (env == NULL || env[0] == '\0') {
        ct_complain("%s: which database? Give --conninfo-file FILE or set VAGT_POSTGRES",
                    command);
        return false;
    }
    if (strlen(env) >= size) {
        ct_complain("VAGT_POSTGRES is too long");
        return false;
    }
    memcpy(to, env, strlen(env) + 1);
    return true;
}

int ct_fail_postgres(const char *what, int err, const struct sy_errbuf *eb)
{
    struct sy_buf safe = {0};

    ct_escape(&safe, ct_lit(eb->text[0] != '\0' ? eb->text : sy_err_text(err)));
    ct_complain("%s: %.*s", what, (int)safe.len, (const char *)safe.p);
    sy_buf_free(&safe);
    return err == -EHOSTUNREACH ? CT_UNREACHABLE : CT_FAILED;
}

/* Files and secrets. uv_fs_*() without a loop is plain open, fstat and read: the
 * configuration is read before the loop turns. */

#include <assert.h>
#include <stdarg.h>
#include <string.h>
#include <uv.h>

#include "node/config_schema.h"

static int why_not(char why[ND_WHY_SIZE], int err, const char *fmt, ...) SY_PRINTF(3, 4);

static int why_not(char why[ND_WHY_SIZE], int err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, ND_WHY_SIZE, fmt, ap);
    va_end(ap);
    return err;
}

static int check_stat(uv_file file, const char *path, size_t size_max, bool secret,
                      char why[ND_WHY_SIZE])
{
    uv_fs_t req;
    uint64_t mode, size;
    int rv = uv_fs_fstat(NULL, &req, file, NULL);

    mode = req.statbuf.st_mode;
    size = req.statbuf.st_size;
    uv_fs_req_cleanup(&req);
    if (rv < 0) {
        return why_not(why, rv, "cannot be read: %s", uv_strerror(rv));
    }
    if ((mode & S_IFMT) != S_IFREG) {
        return why_not(why, SY_EINVALID, "%.120s is not a regular file", path);
    }
    if (size > size_max) {
        return why_not(why, SY_EINVALID, "%.120s is larger than %zu KiB", path,
                       size_max / 1024);
    }
    if (secret && (mode & (S_IROTH | S_IWOTH)) != 0) {
        return why_not(
            why, SY_EINVALID,
            "everybody on this machine may read or change %.120s: chmod 600 it", path);
    }
    return 0;
}

/* It may grow while we read: never take more than @size_max. */
static int read_all(uv_file file, size_t size_max, struct sy_buf *out)
{
    enum { STEP = 16 * 1024 };
    uv_fs_t req;
    ssize_t n;

    do {
        uv_buf_t step = uv_buf_init((char *)sy_buf_reserve(out, STEP), STEP);

        n = uv_fs_read(NULL, &req, file, &step, 1, -1, NULL);
        uv_fs_req_cleanup(&req);
        if (n > 0) {
            out->len += (size_t)n;
        }
    } while (n > 0 && out->len <= size_max);
    return n < 0 ? (int)n : out->len > size_max ? SY_EINVALID : 0;
}

int nd_file_read(const char *path, size_t size_max, bool secret, struct sy_buf *out,
                 char why[ND_WHY_SIZE])
{
    uv_fs_t req;
    uv_file file;
    int rv;

    /* Not to hang on a pipe that nobody writes to. */
    file = uv_fs_open(NULL, &req, path, UV_FS_O_RDONLY | UV_FS_O_NONBLOCK, 0, NULL);
    uv_fs_req_cleanup(&req);
    if (file < 0) {
        return why_not(why, file, "%.120s cannot be opened: %s", path, uv_strerror(file));
    }
    rv = check_stat(file, path, size_max, secret, why);
    if (rv == 0) {
        rv = read_all(file, size_max, out);
        if (rv < 0) {
            (void)why_not(why, rv, "%.120s cannot be read: %s", path, sy_err_text(rv));
        }
    }
    (void)uv_fs_close(NULL, &req, file, NULL); /* Read only: nothing to lose. */
    uv_fs_req_cleanup(&req);
    return rv;
}

/* One line, as people and secret managers write it. */
static bool finish(struct sy_buf *out, size_t start, const char *what, const char *name,
                   char why[ND_WHY_SIZE])
{
    if (out->len > start && out->p[out->len - 1] == '\n') {
        out->len--;
        out->len -= out->len > start && out->p[out->len - 1] == '\r';
    }
    if (out->len == start) {
        (void)why_not(why, 0, "%s %.120s is empty", what, name);
        return false;
    }
    for (size_t i = start; i < out->len; i++) {
        if (out->p[i] < 0x20 || out->p[i] == 0x7f) {
            (void)why_not(why, 0,
                          "%s %.120s holds a control character or a second line: it must "
                          "be one line of text",
                          what, name);
            return false;
        }
    }
    sy_buf_u8(out, 0);
    return true;
}

static bool read_env(const char *name, const char *(*getenv_fn)(const char *name),
                     struct sy_buf *out, char why[ND_WHY_SIZE])
{
    const char *value = getenv_fn(name);
    size_t start = out->len;

    if (value == NULL) {
        (void)why_not(why, 0, "the environment variable %.120s is not set", name);
        return false;
    }
    if (strlen(value) > ND_SECRET_SIZE_MAX) {
        (void)why_not(why, 0, "the environment variable %.120s is larger than 64 KiB",
                      name);
        return false;
    }
    sy_buf_str(out, value);
    return finish(out, start, "the environment variable", name, why);
}

static bool read_file(const char *path, struct sy_buf *out, char why[ND_WHY_SIZE])
{
    struct sy_buf content = {0};
    size_t start = out->len;
    bool ok = nd_file_read(path, ND_SECRET_SIZE_MAX, true, &content, why) == 0;

    if (ok) {
        sy_buf_put(out, content.p, content.len);
        ok = finish(out, start, "the file", path, why);
    }
    if (content.p != NULL) {
        explicit_bzero(content.p, content.cap);
    }
    sy_buf_free(&content);
    return ok;
}

bool nd_holds_secret(const char *text)
{
    static const char *const words[] = {"password=", "passwd=", "PASSWORD="};
    const char *at = strstr(text, "://");

    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        const char *p = strstr(text, words[i]);

        if (p != NULL && p[strlen(words[i])] != '\0') {
            return true;
        }
    }
    if (at != NULL) { /* scheme://user:password@host */
        size_t n = strcspn(at + 3, "/?#");
        const char *sign = memchr(at + 3, '@', n);
        const char *colon = memchr(at + 3, ':', n);

        return sign != NULL && colon != NULL && colon < sign;
    }
    return false;
}

bool nd_secret_read(const struct nd_config_secret *s,
                    const char *(*getenv_fn)(const char *name), struct sy_buf *out,
                    char why[ND_WHY_SIZE])
{
    char path[2 * ND_PATH_SIZE];
    const char *folder;

    switch (s->from) {
    case ND_SECRET_ENV:
        return read_env(s->name, getenv_fn, out, why);
    case ND_SECRET_FILE:
        return read_file(s->name, out, why);
    case ND_SECRET_CREDENTIAL:
        folder = getenv_fn("CREDENTIALS_DIRECTORY");
        if (folder == NULL || folder[0] != '/') {
            (void)why_not(why, 0,
                          "credential %.60s: $CREDENTIALS_DIRECTORY is not set: add "
                          "LoadCredential=%.60s:/PATH to the unit (by hand: -p of "
                          "systemd-run)",
                          s->name, s->name);
            return false;
        }
        snprintf(path, sizeof path, "%.255s/%s", folder, s->name);
        return read_file(path, out, why);
    case ND_SECRET_NONE:
        break;
    }
    (void)why_not(why, 0, "no secret was named");
    return false;
}

static void add_env(const char **ret, unsigned *n, const struct nd_config_secret *s)
{
    if (s->from == ND_SECRET_ENV) {
        ret[(*n)++] = s->name;
    }
}

void nd_config_secret_envs(const struct nd_config *c, const char *ret[ND_SECRET_ENVS_MAX])
{
    unsigned n = 0;

    add_env(ret, &n, &c->postgres_from.conninfo);
    add_env(ret, &n, &c->postgres_from.password);
    for (unsigned i = 0; i < c->brokers_n; i++) {
        add_env(ret, &n, &c->broker_passwords[i]);
    }
    ret[n++] = "PGPASSWORD"; /* libpq takes it from there if nobody gave it another. */
    ret[n] = NULL;
    assert(n < ND_SECRET_ENVS_MAX);
}

/* Backups as files: written whole or not at all, read back, thinned out. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/seal/seal.h"
#include "base/mem.h"
#include "node/bundle.h"

enum { PATH_SIZE = 512 };

static int fail_errno(struct sy_errbuf *eb, int err, const char *what, const char *path)
{
    return sy_fail(eb, err, "cannot %s %.300s: %s", what, path, sy_err_text(err));
}

/* --- reading --- */

static int slurp(const char *path, struct sy_buf *to, struct sy_errbuf *eb)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rv = 0;
    struct stat st;
    ssize_t got = 1;

    if (fd < 0) {
        return fail_errno(eb, -errno, "open", path);
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > ND_BUNDLE_FILE_MAX) {
        close(fd);
        return sy_fail(eb, SY_EINVALID, "%.300s is no backup: no file, or too large",
                       path);
    }
    while (rv == 0 && got > 0) {
        got = read(fd, sy_buf_reserve(to, 65536), 65536);
        if (got > 0) {
            to->len += (size_t)got;
        }
        if (got < 0 || to->len > ND_BUNDLE_FILE_MAX) {
            rv = fail_errno(eb, got < 0 ? -errno : SY_ELIMIT, "read", path);
        }
    }
    close(fd);
    return rv;
}

/* An archive names itself at offset 257; all else is taken for encrypted. */
static bool is_tar(const struct sy_buf *b)
{
    return b->len > 262 && memcmp(b->p + 257, "ustar", 5) == 0;
}

int nd_bundle_load(const char *path, const char *key, struct sy_buf *to,
                   struct sy_errbuf *eb)
{
    struct sy_buf raw = {.p = NULL};
    int rv = slurp(path, &raw, eb);

    if (rv == 0 && !is_tar(&raw) && key == NULL) {
        rv = sy_fail(eb, SY_EINVALID,
                     "%.300s is no archive: if it is encrypted (.cms), give the private "
                     "key with --key FILE",
                     path);
    } else if (rv == 0 && !is_tar(&raw)) {
        rv = ad_seal_decrypt(key, raw.p, raw.len, to, eb);
    } else if (rv == 0) {
        *to = raw;
        return 0;
    }
    sy_buf_free(&raw);
    return rv;
}

/* --- writing --- */

static int write_all(int fd, const struct sy_buf *b)
{
    size_t at = 0;

    while (at < b->len) {
        ssize_t k = write(fd, b->p + at, b->len - at);

        if (k < 0 && errno == EINTR) {
            continue;
        }
        if (k <= 0) {
            return k < 0 ? -errno : -EIO;
        }
        at += (size_t)k;
    }
    return fsync(fd) == 0 ? 0 : -errno;
}

static int sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Some shares cannot sync a folder: then the rename is as good as they are. */
    int rv =
        fd < 0 || (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP) ? -errno : 0;

    if (fd >= 0) {
        close(fd);
    }
    return rv;
}

static int write_tmp(const char *tmp, const struct sy_buf *b, struct sy_errbuf *eb)
{
    int fd, rv;

    /* Not into the file of an earlier one: a share that hangs may still be writing it. */
    (void)unlink(tmp);
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail_errno(eb, -errno, "create", tmp);
    }
    rv = write_all(fd, b);
    if (close(fd) != 0 && rv == 0) {
        rv = -errno;
    }
    return rv == 0 ? 0 : fail_errno(eb, rv, "write", tmp);
}

static int compare(const char *path, const struct sy_buf *with, struct sy_errbuf *eb)
{
    struct sy_buf back = {.p = NULL};
    int rv = slurp(path, &back, eb);

    if (rv == 0 && (back.len != with->len || memcmp(back.p, with->p, with->len) != 0)) {
        rv =
            sy_fail(eb, SY_ECORRUPT, "%.300s does not read back as it was written", path);
    }
    sy_buf_free(&back);
    return rv;
}

int nd_bundle_save(const char *dir, const char *name, const char *beside,
                   const char *cert, const struct sy_buf *tar, uint64_t *ret_bytes,
                   struct sy_errbuf *eb)
{
    struct sy_buf sealed = {.p = NULL};
    const struct sy_buf *what = cert[0] != '\0' ? &sealed : tar;
    char path[PATH_SIZE], tmp[PATH_SIZE];
    int rv = cert[0] != '\0' ? ad_seal_encrypt(cert, tar->p, tar->len, &sealed, eb) : 0;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(tmp, sizeof tmp, "%s/%s", dir, beside);
    if (rv == 0) {
        rv = write_tmp(tmp, what, eb);
        if (rv == 0) {
            rv = compare(tmp, what, eb);
        }
        if (rv == 0 && rename(tmp, path) != 0) {
            rv = fail_errno(eb, -errno, "rename", tmp);
        }
        if (rv == 0 && (rv = sync_dir(dir)) != 0) {
            (void)fail_errno(eb, rv, "sync", dir);
        }
        if (rv != 0) {
            (void)unlink(tmp);
        }
    }
    *ret_bytes = what->len;
    sy_buf_free(&sealed);
    return rv;
}

/* --- thinning out --- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Exactly as nd_bundle_name() makes them: a cluster's name may begin with another's. */
static bool ours(const char *name, const char *cluster)
{
    static const char form[] = "ddddddddTddddddZ-";
    char prefix[64];
    int n = snprintf(prefix, sizeof prefix, "vagt-%s-", cluster);
    size_t len = strlen(name);

    if (n < 0 || (size_t)n >= sizeof prefix || strncmp(name, prefix, (size_t)n) != 0) {
        return false;
    }
    for (unsigned i = 0; i < sizeof form - 1; i++) {
        char c = name[(size_t)n + i];

        if (form[i] == 'd' ? c < '0' || c > '9' : c != form[i]) {
            return false;
        }
    }
    return strcmp(name + len - 4, ".tar") == 0 || strcmp(name + len - 4, ".cms") == 0;
}

/* The time is in the name, so the order of names is that of time. */
int nd_bundle_prune(const char *dir, const char *cluster, unsigned keep)
{
    char **names = NULL;
    size_t n = 0;
    int removed = 0;
    DIR *d = opendir(dir);
    struct dirent *e;

    if (d == NULL) {
        return -errno;
    }
    while ((e = readdir(d)) != NULL) {
        if (ours(e->d_name, cluster)) {
            names = sy_realloc(names, (n + 1) * sizeof *names);
            names[n++] = sy_memdup(e->d_name, strlen(e->d_name) + 1);
        }
    }
    if (n > 0) {
        qsort(names, n, sizeof *names, by_name);
    }
    for (size_t i = 0; i < n; i++) {
        if (i + keep < n && unlinkat(dirfd(d), names[i], 0) == 0) {
            removed++;
        }
        sy_free(names[i]);
    }
    sy_free(names);
    closedir(d);
    return removed;
}

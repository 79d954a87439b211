#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/files/disk.h"

static const char being_written[] = "new.tmp";

bool ad_files_sum_ok(const char *sum)
{
    return strlen(sum) == AD_FILES_SUM_SIZE - 1 &&
           strspn(sum, "0123456789abcdef") == AD_FILES_SUM_SIZE - 1;
}

bool ad_files_path_ok(const char *path)
{
    unsigned depth = 0;

    if (strlen(path) >= AD_FILES_PATH_SIZE) {
        return false;
    }
    for (const char *p = path;; depth++) {
        size_t n = strcspn(p, "/");

        /* Also no hidden ones, and so neither "." nor "..". */
        if (n == 0 || p[0] == '.' || depth > AD_FILES_DEPTH_MAX) {
            return false;
        }
        if (p[n] == '\0') {
            return true;
        }
        p += n + 1;
    }
}

static int open_dir(const struct ad_files_store *s)
{
    int fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd >= 0 ? fd : -errno;
}

int ad_files_sweep(struct ad_files_store *s, bool (*wanted)(void *data, const char *sum),
                   void *data)
{
    int at = open_dir(s), rv = 0;
    DIR *d = at >= 0 ? fdopendir(at) : NULL;
    uint64_t bytes = 0;

    if (d == NULL) {
        rv = at >= 0 ? -errno : at;
        if (at >= 0) {
            close(at);
        }
        return rv;
    }
    for (struct dirent *e; rv == 0 && (e = readdir(d)) != NULL;) {
        struct stat st;
        bool ours = ad_files_sum_ok(e->d_name);

        if (strcmp(e->d_name, being_written) == 0 || (ours && !wanted(data, e->d_name))) {
            rv = unlinkat(at, e->d_name, 0) == 0 ? 0 : -errno;
        } else if (ours && fstatat(at, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            bytes += (uint64_t)st.st_size;
        }
    }
    closedir(d);
    if (rv == 0) {
        s->bytes = bytes;
    }
    return rv;
}

static bool all_of_them(void *data, const char *sum)
{
    (void)data;
    (void)sum;
    return true;
}

int ad_files_open(struct ad_files_store *s, const char *dir, uint64_t bytes_max,
                  struct sy_errbuf *eb)
{
    int rv;

    *s = (struct ad_files_store){.bytes_max = bytes_max};
    if ((size_t)snprintf(s->dir, sizeof s->dir, "%s", dir) >= sizeof s->dir) {
        return sy_fail(eb, SY_EINVALID, "%.100s…: the name is too long", dir);
    }
    rv = mkdir(dir, 0700) == 0 || errno == EEXIST ? 0 : -errno;
    if (rv == 0) {
        rv = ad_files_sweep(s, all_of_them, NULL);
    }
    return rv == 0 ? 0
                   : sy_fail(eb, rv, "cannot keep files in %s: %s", dir, sy_err_text(rv));
}

bool ad_files_has(const struct ad_files_store *s, const char *sum)
{
    char path[AD_FILES_DIR_SIZE + AD_FILES_SUM_SIZE];
    struct stat st;

    snprintf(path, sizeof path, "%s/%s", s->dir, sum);
    return ad_files_sum_ok(sum) && lstat(path, &st) == 0 && S_ISREG(st.st_mode);
}

int ad_files_put(struct ad_files_store *s, const void *p, size_t n,
                 char ret_sum[AD_FILES_SUM_SIZE], struct sy_errbuf *eb)
{
    int at, rv;

    ad_files__sum(p, n, ret_sum);
    if (ad_files_has(s, ret_sum)) {
        return 0;
    }
    if (n > AD_FILES_SIZE_MAX || s->bytes > s->bytes_max || n > s->bytes_max - s->bytes) {
        return sy_fail(
            eb, SY_ELIMIT, "%s holds %llu bytes of at most %llu: no room for %zu more",
            s->dir, (unsigned long long)s->bytes, (unsigned long long)s->bytes_max, n);
    }
    at = open_dir(s);
    rv = at < 0 ? at
                : ad_files__write(at, being_written, p, n, 0600, geteuid(), getegid());
    if (rv == 0 && renameat(at, being_written, at, ret_sum) != 0) {
        rv = -errno;
        unlinkat(at, being_written, 0);
    }
    if (rv == 0) {
        s->bytes += n;
        rv = fsync(at) == 0 ? 0 : -errno;
    }
    if (at >= 0) {
        close(at);
    }
    return rv == 0 ? 0
                   : sy_fail(eb, rv, "cannot write to %s: %s", s->dir, sy_err_text(rv));
}

int ad_files_keep(struct ad_files_store *s, const char *sum, const void *p, size_t n,
                  struct sy_errbuf *eb)
{
    char is[AD_FILES_SUM_SIZE];

    ad_files__sum(p, n, is);
    return strcmp(is, sum) == 0
               ? ad_files_put(s, p, n, is, eb)
               : sy_fail(eb, SY_ECORRUPT, "what came as %.12s has another checksum", sum);
}

int ad_files_piece(const struct ad_files_store *s, const char *sum, uint64_t offset,
                   size_t max, struct sy_buf *to, uint64_t *ret_total)
{
    char path[AD_FILES_DIR_SIZE + AD_FILES_SUM_SIZE];
    struct stat st;
    ssize_t n;
    int fd;

    if (!ad_files_has(s, sum)) {
        return SY_ENOTFOUND;
    }
    snprintf(path, sizeof path, "%s/%s", s->dir, sum);
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    n = fstat(fd, &st) == 0 && offset <= (uint64_t)st.st_size
            ? pread(fd, sy_buf_reserve(to, max), max, (off_t)offset)
            : -1;
    close(fd);
    if (n < 0) {
        return SY_EINVALID;
    }
    to->len += (size_t)n;
    *ret_total = (uint64_t)st.st_size;
    return 0;
}

int ad_files_get(struct ad_files_store *s, const char *sum, struct sy_buf *to,
                 struct sy_errbuf *eb)
{
    char path[AD_FILES_DIR_SIZE + AD_FILES_SUM_SIZE], is[AD_FILES_SUM_SIZE];
    size_t began = to->len, n;
    int fd, rv;

    if (!ad_files_has(s, sum)) {
        return sy_fail(eb, SY_ENOTFOUND, "%s has no content %.12s", s->dir, sum);
    }
    snprintf(path, sizeof path, "%s/%s", s->dir, sum);
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    rv = fd >= 0 ? ad_files__read(fd, to) : -errno;
    if (fd >= 0) {
        close(fd);
    }
    n = to->len - began;
    if (rv == 0) {
        ad_files__sum(n > 0 ? to->p + began : (const uint8_t *)"", n, is);
        rv = strcmp(is, sum) == 0 ? 0 : SY_ECORRUPT;
    }
    if (rv == SY_ECORRUPT && unlink(path) == 0) {
        s->bytes -= n < s->bytes ? n : s->bytes;
    }
    if (rv != 0) {
        to->len = began;
        return sy_fail(eb, rv, "cannot read %s: %s", path, sy_err_text(rv));
    }
    return 0;
}

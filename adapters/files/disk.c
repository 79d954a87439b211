#include "adapters/files/disk.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

enum { READ_STEP = 64 * 1024 };

int ad_files__read(int fd, struct sy_buf *to)
{
    size_t began = to->len;

    for (;;) {
        ssize_t n = read(fd, sy_buf_reserve(to, READ_STEP), READ_STEP);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : 0;
        }
        to->len += (size_t)n;
        if (to->len - began > AD_FILES_SIZE_MAX) {
            return SY_ELIMIT;
        }
    }
}

static int write_all(int fd, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return -errno;
        }
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

int ad_files__write(int at, const char *name, const void *p, size_t n, unsigned mode,
                    unsigned uid, unsigned gid)
{
    int fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int rv;

    if (fd < 0) {
        return -errno;
    }
    rv = write_all(fd, p, n);
    /* The owner before the mode: nobody else may read it for a moment. */
    if (rv == 0 && geteuid() == 0 && fchown(fd, uid, gid) != 0) {
        rv = -errno;
    }
    if (rv == 0 && (fchmod(fd, mode) != 0 || fsync(fd) != 0)) {
        rv = -errno;
    }
    close(fd);
    if (rv != 0) {
        unlinkat(at, name, 0);
    }
    return rv;
}

int ad_files__sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rv;

    if (fd < 0) {
        return -errno;
    }
    rv = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return rv;
}

void ad_files__sum(const void *p, size_t n, char ret_hex[AD_FILES_SUM_SIZE])
{
    unsigned char sum[32];
    size_t len = sizeof sum;
    int ok = EVP_Q_digest(NULL, "SHA256", NULL, p, n, sum, &len);

    assert(ok == 1 && len == sizeof sum); /* It is part of every libcrypto. */
    (void)ok;
    for (size_t i = 0; i < sizeof sum; i++) {
        snprintf(ret_hex + 2 * i, 3, "%02x", sum[i]);
    }
}

/* Folders of ours are AD_FILES_DEPTH_MAX deep; deeper ones are not ours. */
static int remove_below(int at, const char *name, unsigned depth)
{
    int fd, rv = 0;
    DIR *d;

    if (unlinkat(at, name, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    if (depth > AD_FILES_DEPTH_MAX + 1) {
        close(fd);
        return SY_ELIMIT;
    }
    d = fdopendir(fd);
    if (d == NULL) {
        rv = -errno;
        close(fd);
        return rv;
    }
    for (struct dirent *e; rv == 0 && (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            rv = remove_below(fd, e->d_name, depth + 1);
        }
    }
    closedir(d);
    if (rv == 0 && unlinkat(at, name, AT_REMOVEDIR) != 0) {
        rv = -errno;
    }
    return rv;
}

int ad_files__remove(int at, const char *name)
{
    return remove_below(at, name, 0);
}

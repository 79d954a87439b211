#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "adapters/wal/wal.h"
#include "base/mem.h"

/* No posix_fallocate(): it leaves extents that are "unwritten", and the first
 * write to each costs a metadata commit in the middle of an append. Space is
 * reserved by writing zeros, and a full disk shows there and then. */

enum { LOCK_WAIT_MS = 3000, LOCK_STEP_MS = 20 };

struct disk
{
    int folder;
    int lock;
};

static int folder_of(void *ctx)
{
    return ((struct disk *)ctx)->folder;
}

static int disk_create(void *ctx, const char *name)
{
    int fd = openat(folder_of(ctx), name,
                    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    return fd >= 0 ? fd : -errno;
}

static int disk_open(void *ctx, const char *name)
{
    int fd = openat(folder_of(ctx), name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    return fd >= 0 ? fd : -errno;
}

static int disk_close(void *ctx, int file)
{
    (void)ctx;
    return close(file) == 0 || errno == EINTR ? 0 : -errno;
}

static int disk_write(void *ctx, int file, uint64_t offset, const void *p, size_t n)
{
    const char *q = p;

    (void)ctx;
    while (n > 0) {
        ssize_t k = pwrite(file, q, n, (off_t)offset);

        if (k < 0 && errno == EINTR) {
            continue;
        }
        if (k <= 0) {
            return k < 0 ? -errno : -EIO;
        }
        q += k;
        n -= (size_t)k;
        offset += (uint64_t)k;
    }
    return 0;
}

static int64_t disk_read(void *ctx, int file, uint64_t offset, void *p, size_t n)
{
    char *q = p;
    size_t got = 0;

    (void)ctx;
    while (got < n) {
        ssize_t k = pread(file, q + got, n - got, (off_t)(offset + got));

        if (k < 0 && errno == EINTR) {
            continue;
        }
        if (k < 0) {
            return -errno;
        }
        if (k == 0) {
            break;
        }
        got += (size_t)k;
    }
    return (int64_t)got;
}

static int64_t disk_size(void *ctx, int file)
{
    struct stat st;

    (void)ctx;
    return fstat(file, &st) == 0 ? (int64_t)st.st_size : -errno;
}

/* Not repeated after EINTR or anything else: a failed sync says that what was
 * written may be gone, and the next one may well say that all is fine. */
static int disk_sync(void *ctx, int file)
{
    (void)ctx;
    return fdatasync(file) == 0 ? 0 : -errno;
}

static int disk_rename(void *ctx, const char *from, const char *to)
{
    return renameat(folder_of(ctx), from, folder_of(ctx), to) == 0 ? 0 : -errno;
}

static int disk_unlink(void *ctx, const char *name)
{
    return unlinkat(folder_of(ctx), name, 0) == 0 ? 0 : -errno;
}

static int disk_sync_dir(void *ctx)
{
    return fsync(folder_of(ctx)) == 0 ? 0 : -errno;
}

static int disk_list(void *ctx, void (*each)(void *data, const char *name), void *data)
{
    int fd = openat(folder_of(ctx), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;
    int rv;

    if (dir == NULL) {
        rv = -errno;
        if (fd >= 0) {
            close(fd);
        }
        return rv;
    }
    errno = 0;
    while ((e = readdir(dir)) != NULL) {
        each(data, e->d_name);
        errno = 0;
    }
    rv = -errno;
    closedir(dir);
    return rv;
}

static int64_t disk_space(void *ctx)
{
    struct statvfs v;

    return fstatvfs(folder_of(ctx), &v) == 0 ? (int64_t)(v.f_bavail * v.f_frsize)
                                             : -errno;
}

/* A record lock, and not flock(): a child that writes a snapshot must not keep
 * the lock when its parent dies and is started again. And the child itself may
 * open the folder: it is let in without a lock, since its parent holds it. */
static int lock_folder(int folder, int *ret_lock)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = openat(folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), err;

    if (fd < 0) {
        return -errno;
    }
    if (fcntl(fd, F_SETLK, &all) == 0) {
        *ret_lock = fd;
        return 0;
    }
    err = errno == EACCES || errno == EAGAIN ? SY_EBUSY : -errno;
    if (err == SY_EBUSY && fcntl(fd, F_GETLK, &all) == 0 && all.l_type != F_UNLCK &&
        all.l_pid == getppid()) {
        *ret_lock = -1;
        err = 0;
    }
    close(fd);
    return err;
}

int ad_wal_disk_open(struct ad_wal_fs *ret, const char *path, struct sy_errbuf *eb)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rv;
    struct disk *d;

    if (folder < 0) {
        return sy_fail(eb, -errno, "cannot open the folder %s: %s", path,
                       sy_err_text(-errno));
    }
    d = sy_calloc(1, sizeof *d);
    d->folder = folder;
    rv = lock_folder(folder, &d->lock);
    if (rv < 0) {
        close(folder);
        sy_free(d);
        return rv == SY_EBUSY
                   ? sy_fail(eb, rv, "the folder %s is in use by another process", path)
                   : sy_fail(eb, rv, "cannot lock %s/lock: %s", path, sy_err_text(rv));
    }
    *ret = (struct ad_wal_fs){.ctx = d,
                              .create = disk_create,
                              .open = disk_open,
                              .close = disk_close,
                              .write = disk_write,
                              .read = disk_read,
                              .size = disk_size,
                              .sync = disk_sync,
                              .rename = disk_rename,
                              .unlink = disk_unlink,
                              .sync_dir = disk_sync_dir,
                              .list = disk_list,
                              .space = disk_space};
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int ad_wal_disk_take(struct ad_wal_fs *ret, const char *path, struct sy_errbuf *eb)
{
    const struct timespec step = {.tv_nsec = LOCK_STEP_MS * 1000000L};
    int64_t until_ms = now_ms() + LOCK_WAIT_MS;
    int rv = ad_wal_disk_open(ret, path, eb);

    while (rv == SY_EBUSY && now_ms() < until_ms) {
        (void)nanosleep(&step, NULL);
        rv = ad_wal_disk_open(ret, path, eb);
    }
    return rv;
}

void ad_wal_disk_close(struct ad_wal_fs *fs)
{
    struct disk *d = fs->ctx;

    assert(d != NULL);
    if (d->lock >= 0) {
        close(d->lock);
    }
    close(d->folder);
    sy_free(d);
    *fs = (struct ad_wal_fs){0};
}

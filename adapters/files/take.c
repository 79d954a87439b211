#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/files/disk.h"
#include "base/mem.h"

/* A look at a folder. Nothing is stored before all of it was seen to be whole. */
struct look
{
    const char *dir;
    int64_t now_ms;
    struct ad_files_set *set;
    struct stat seen[AD_FILES_MAX]; /* by the order in which they were read */
    struct sy_buf content[AD_FILES_MAX];
    uint64_t bytes; /* of all of them: they are in the memory at a time */
    struct sy_errbuf *eb;
};

static bool left_out(const char *name)
{
    size_t n = strlen(name);

    return name[0] == '.' || strcmp(name, "log") == 0 ||
           strcmp(name, "node_modules") == 0 ||
           (n >= 4 && strcmp(name + n - 4, ".tmp") == 0);
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mode == b->st_mode && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int read_file(struct look *l, int at, const char *name, const char *path)
{
    struct ad_files_entry *e = &l->set->list[l->set->n];
    struct sy_buf *to = &l->content[l->set->n];
    struct stat *st = &l->seen[l->set->n], after;
    int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), rv;
    int64_t age_ms;

    if (fd < 0 || fstat(fd, st) != 0) {
        rv = errno == ENOENT ? SY_EBUSY : -errno;
        if (fd >= 0) {
            close(fd);
        }
        return sy_fail(l->eb, rv, "cannot read %s/%s: %s", l->dir, path, sy_err_text(rv));
    }
    l->set->n++;
    rv = ad_files__read(fd, to);
    if (rv == 0 && (fstat(fd, &after) != 0 || !same(st, &after) ||
                    to->len != (uint64_t)st->st_size)) {
        rv = SY_EBUSY;
    }
    close(fd);
    if (rv != 0) {
        return sy_fail(l->eb, rv, "cannot take %s/%s: %s", l->dir, path, sy_err_text(rv));
    }
    age_ms = l->now_ms - ((int64_t)st->st_mtim.tv_sec * 1000 +
                          (int64_t)st->st_mtim.tv_nsec / 1000000);
    /* A time in the future is a clock that was set, not a file being written. */
    if (age_ms >= 0 && age_ms < AD_FILES_STABLE_MS) {
        return sy_fail(l->eb, SY_EBUSY, "%s/%s was written %" PRId64 " ms ago", l->dir,
                       path, age_ms);
    }
    snprintf(e->path, sizeof e->path, "%s", path);
    e->size = to->len;
    e->mode = (unsigned)st->st_mode & 0770;
    return ad_files_check(path, to->len > 0 ? to->p : (const uint8_t *)"", to->len,
                          l->eb);
}

static int look_in(struct look *l, int at, const char *below);

static int look_at(struct look *l, int at, const char *below, const char *name)
{
    char path[AD_FILES_PATH_SIZE];
    struct stat st;
    int n =
        snprintf(path, sizeof path, "%s%s%s", below, below[0] != '\0' ? "/" : "", name);
    int fd;

    if (n < 0 || (size_t)n >= sizeof path || !ad_files_path_ok(path)) {
        return sy_fail(l->eb, SY_EINVALID, "%s/%.100s…: too long or too deep", l->dir,
                       path);
    }
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return sy_fail(l->eb, SY_EBUSY, "%s/%s is gone again", l->dir, path);
    }
    if (S_ISREG(st.st_mode)) {
        l->bytes += (uint64_t)st.st_size;
        if (l->bytes > AD_FILES_FOLDER_MAX) {
            return sy_fail(l->eb, SY_ELIMIT,
                           "%s holds more than %d MiB: move what does not belong there "
                           "elsewhere",
                           l->dir, AD_FILES_FOLDER_MAX / (1024 * 1024));
        }
        if (l->set->n == AD_FILES_MAX) {
            return sy_fail(l->eb, SY_ELIMIT,
                           "%s holds more than %d files: move what does "
                           "not belong there elsewhere",
                           l->dir, AD_FILES_MAX);
        }
        return read_file(l, at, name, path);
    }
    if (!S_ISDIR(st.st_mode)) {
        return sy_fail(l->eb, SY_EINVALID,
                       "%s/%s is neither a file nor a folder and cannot be copied to "
                       "another node: replace it by what it stands for",
                       l->dir, path);
    }
    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? look_in(l, fd, path)
                   : sy_fail(l->eb, -errno, "cannot open %s/%s", l->dir, path);
}

/* Closes @at. */
static int look_in(struct look *l, int at, const char *below)
{
    DIR *d = fdopendir(at);
    int rv = 0;

    if (d == NULL) {
        rv = -errno;
        close(at);
        return sy_fail(l->eb, rv, "cannot list %s/%s", l->dir, below);
    }
    for (struct dirent *e; rv == 0 && (e = readdir(d)) != NULL;) {
        if (!left_out(e->d_name)) {
            rv = look_at(l, at, below, e->d_name);
        }
    }
    closedir(d);
    return rv;
}

/* Files are written one after the other: is each still the one that was read? */
static int look_again(struct look *l, int at)
{
    struct stat st;

    for (unsigned i = 0; i < l->set->n; i++) {
        const char *path = l->set->list[i].path;

        if (fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW) != 0 || !same(&st, &l->seen[i])) {
            return sy_fail(l->eb, SY_EBUSY, "%s/%s changed while others were read",
                           l->dir, path);
        }
    }
    return 0;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct ad_files_entry *)a)->path,
                  ((const struct ad_files_entry *)b)->path);
}

/* @s NULL: only look. */
static int take(struct ad_files_store *s, const char *dir, int64_t now_ms,
                struct ad_files_set *ret, struct sy_errbuf *eb)
{
    struct look *l = sy_calloc(1, sizeof *l);
    int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), inner, rv;

    *l = (struct look){.dir = dir, .now_ms = now_ms, .set = ret, .eb = eb};
    ret->n = 0;
    inner = at >= 0 ? openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    rv = inner >= 0 ? look_in(l, inner, "")
                    : sy_fail(eb, -errno, "cannot open %s: %s", dir, sy_err_text(-errno));
    if (rv == 0) {
        rv = look_again(l, at);
    }
    for (unsigned i = 0; i < ret->n; i++) {
        const struct sy_buf *b = &l->content[i];
        const void *p = b->len > 0 ? b->p : (const uint8_t *)"";

        if (rv == 0 && s != NULL) {
            rv = ad_files_put(s, p, b->len, ret->list[i].sum, eb);
        } else if (rv == 0) {
            ad_files__sum(p, b->len, ret->list[i].sum);
        }
        sy_buf_free(&l->content[i]);
    }
    if (at >= 0) {
        close(at);
    }
    sy_free(l);
    qsort(ret->list, ret->n, sizeof ret->list[0], by_path);
    return rv;
}

int ad_files_take(struct ad_files_store *s, const char *dir, int64_t now_ms,
                  struct ad_files_set *ret, struct sy_errbuf *eb)
{
    return take(s, dir, now_ms, ret, eb);
}

int ad_files_look(const char *dir, int64_t now_ms, struct ad_files_set *ret,
                  struct sy_errbuf *eb)
{
    return take(NULL, dir, now_ms, ret, eb);
}

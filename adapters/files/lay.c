#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/files/disk.h"
#include "base/mem.h"

static const char mark_name[] = ".vagt-version";

/* Where it is built: beside the folder, thus on the same file system. */
struct site
{
    char dir[AD_FILES_DIR_SIZE], built[AD_FILES_DIR_SIZE + 8], parent[AD_FILES_DIR_SIZE];
    struct stat owner; /* of the folder as it is, or of what holds it */
    bool exists;
};

static int find(struct site *l, const char *dir, struct sy_errbuf *eb)
{
    size_t n = strlen(dir);
    char *slash;

    if (n >= sizeof l->dir || n < 2 || dir[0] != '/' || dir[n - 1] == '/') {
        return sy_fail(eb, SY_EINVALID,
                       "%.200s: write it in full, without a / at its end", dir);
    }
    snprintf(l->dir, sizeof l->dir, "%s", dir);
    snprintf(l->parent, sizeof l->parent, "%s", dir);
    snprintf(l->built, sizeof l->built, "%s.new", dir);
    slash = strrchr(l->parent, '/');
    slash[slash == l->parent ? 1 : 0] = '\0';
    l->exists = lstat(dir, &l->owner) == 0;
    if (l->exists && !S_ISDIR(l->owner.st_mode)) {
        return sy_fail(eb, SY_EINVALID, "%s is no folder", dir);
    }
    if (!l->exists && stat(l->parent, &l->owner) != 0) {
        return sy_fail(eb, -errno, "%s: there is no %s to put it in", dir, l->parent);
    }
    return 0;
}

/* Folders are ours alone until all is in them: who owns the folder (the user of the
 * bridge) could put a link into one in the meantime, and we would write where it leads.
 */
static int make_dir(int at, const char *path)
{
    return mkdirat(at, path, 0700) == 0 ? 0 : -errno;
}

static int give_dir(const struct site *l, int at, const char *path, mode_t mode)
{
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rv = fd >= 0 ? 0 : -errno;

    if (rv == 0 && geteuid() == 0 && fchown(fd, l->owner.st_uid, l->owner.st_gid) != 0) {
        rv = -errno;
    }
    if (rv == 0 && (fchmod(fd, mode) != 0 || fsync(fd) != 0)) {
        rv = -errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    return rv;
}

static int make_file(struct ad_files_store *s, const struct site *l, int at,
                     const struct ad_files_entry *e, struct sy_errbuf *eb)
{
    char path[AD_FILES_PATH_SIZE];
    struct sy_buf b = {0};
    int rv;

    if (!ad_files_path_ok(e->path)) {
        return sy_fail(eb, SY_EINVALID, "%.100s: not a path below a folder", e->path);
    }
    rv = ad_files_get(s, e->sum, &b, eb);
    if (rv != 0) {
        sy_buf_free(&b);
        return rv;
    }
    for (size_t i = 0; rv == 0 && e->path[i] != '\0'; i++) {
        if (e->path[i] == '/') {
            snprintf(path, sizeof path, "%.*s", (int)i, e->path);
            rv = make_dir(at, path);
            rv = rv == -EEXIST ? 0 : rv; /* For the file before. */
        }
    }
    if (rv == 0) {
        rv = ad_files__write(at, e->path, b.len > 0 ? b.p : (const uint8_t *)"", b.len,
                             e->mode & 0770, l->owner.st_uid, l->owner.st_gid);
    }
    sy_buf_free(&b);
    return rv == 0 ? 0
                   : sy_fail(eb, rv, "cannot write %s/%s: %s", l->built, e->path,
                             sy_err_text(rv));
}

/* Those in it before the folder itself, which keeps everybody out so long. */
static int give_away(const struct ad_files_set *set, const struct site *l, int at)
{
    char path[AD_FILES_PATH_SIZE];
    int rv = 0;

    for (unsigned i = 0; rv == 0 && i < set->n; i++) {
        const char *whole = set->list[i].path;

        for (size_t k = strlen(whole); rv == 0 && k > 0; k--) {
            if (whole[k] == '/') {
                snprintf(path, sizeof path, "%.*s", (int)k, whole);
                rv = give_dir(l, at, path, 0750);
            }
        }
    }
    return rv == 0 ? give_dir(l, at, ".", l->exists ? l->owner.st_mode & 0777 : 0750)
                   : rv;
}

static int build(struct ad_files_store *s, const struct ad_files_set *set,
                 const char *mark, const struct site *l, struct sy_errbuf *eb)
{
    int at, rv = ad_files__remove(AT_FDCWD, l->built);

    if (rv == 0) {
        rv = make_dir(AT_FDCWD, l->built);
    }
    at = rv == 0 ? open(l->built, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (at < 0) {
        rv = rv != 0 ? rv : -errno;
        return sy_fail(eb, rv, "cannot make %s: %s", l->built, sy_err_text(rv));
    }
    /* By the descriptor: who may write beside the folder could have put a link there. */
    for (unsigned i = 0; rv == 0 && i < set->n; i++) {
        rv = make_file(s, l, at, &set->list[i], eb);
    }
    if (rv == 0) {
        rv = ad_files__write(at, mark_name, mark, strlen(mark), 0640, l->owner.st_uid,
                             l->owner.st_gid);
    }
    if (rv == 0) {
        rv = give_away(set, l, at);
    }
    if (rv != 0 && eb->text[0] == '\0') {
        sy_fail(eb, rv, "cannot write to %s: %s", l->built, sy_err_text(rv));
    }
    close(at);
    return rv;
}

/* Wherever this ends, what was there is @dir or @aside, never what is removed at the
 * next try. At worst @aside is the version as it was built. */
static int swap(const struct site *l, const char *aside, struct sy_errbuf *eb)
{
    char from[AD_FILES_DIR_SIZE + 8], to[AD_FILES_DIR_SIZE + 8];
    int rv = 0;

    if (!l->exists) {
        rv = rename(l->built, l->dir) == 0 ? 0 : -errno;
    } else if (renameat2(AT_FDCWD, l->built, AT_FDCWD, aside, RENAME_NOREPLACE) != 0) {
        rv = -errno;
    } else if (renameat2(AT_FDCWD, aside, AT_FDCWD, l->dir, RENAME_EXCHANGE) != 0) {
        rv = -errno;
        (void)!rename(aside, l->built);
    } else {
        snprintf(from, sizeof from, "%.*s/log", AD_FILES_DIR_SIZE - 1, aside);
        snprintf(to, sizeof to, "%s/log", l->dir);
        /* A log that stays behind harms nobody. */
        (void)!rename(from, to);
    }
    if (rv == 0) {
        rv = ad_files__sync_dir(l->parent);
    }
    return rv == 0 ? 0
                   : sy_fail(eb, rv, "cannot put %s in its place: %s", l->dir,
                             sy_err_text(rv));
}

int ad_files_lay(struct ad_files_store *s, const struct ad_files_set *set,
                 const char *mark, const char *dir, const char *aside,
                 struct sy_errbuf *eb)
{
    struct site l = {0};
    struct stat st;
    int rv = find(&l, dir, eb);

    if (rv == 0 && l.exists && lstat(aside, &st) == 0) {
        return sy_fail(eb, SY_EEXISTS, "%.200s is there already", aside);
    }
    if (rv == 0) {
        rv = build(s, set, mark, &l, eb);
    }
    if (rv == 0) {
        rv = swap(&l, aside, eb);
    } else if (ad_files__remove(AT_FDCWD, l.built) != 0) {
        return rv; /* What a full disk keeps of it goes before the next try. */
    }
    return rv;
}

/* --- the mark --- */

int ad_files_mark(const char *dir, const char *mark, struct sy_errbuf *eb)
{
    static const char begun[] = ".vagt-version.new";
    int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rv = 0;
    struct stat st;

    if (at < 0 || fstat(at, &st) != 0) {
        rv = -errno;
    }
    if (rv == 0 && unlinkat(at, begun, 0) != 0 && errno != ENOENT) {
        rv = -errno;
    }
    if (rv == 0) {
        rv = ad_files__write(at, begun, mark, strlen(mark), 0640, st.st_uid, st.st_gid);
    }
    if (rv == 0 && (renameat(at, begun, at, mark_name) != 0 || fsync(at) != 0)) {
        rv = -errno;
    }
    if (at >= 0) {
        close(at);
    }
    return rv == 0 ? 0
                   : sy_fail(eb, rv, "cannot write %s/%s: %s", dir, mark_name,
                             sy_err_text(rv));
}

void ad_files_marked(const char *dir, char ret[AD_FILES_MARK_SIZE])
{
    char path[AD_FILES_DIR_SIZE + sizeof mark_name + 1];
    ssize_t n = -1;
    int fd;

    snprintf(path, sizeof path, "%s/%s", dir, mark_name);
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, ret, AD_FILES_MARK_SIZE - 1);
        close(fd);
    }
    ret[n > 0 ? n : 0] = '\0';
}

/* --- what was moved aside --- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int ad_files_thin(const char *dir, const char *end, unsigned keep, struct sy_errbuf *eb)
{
    char begin[AD_FILES_DIR_SIZE + 16], *names[64];
    struct site l = {0};
    unsigned n = 0;
    DIR *d;
    int rv = find(&l, dir, eb);

    d = rv == 0 ? opendir(l.parent) : NULL;
    if (d == NULL) {
        return rv != 0 ? rv : sy_fail(eb, -errno, "cannot list %s", l.parent);
    }
    snprintf(begin, sizeof begin, "%s%s", strrchr(dir, '/') + 1, end);
    for (struct dirent *e; n < 64 && (e = readdir(d)) != NULL;) {
        if (strncmp(e->d_name, begin, strlen(begin)) == 0) {
            names[n++] = sy_strdup(e->d_name);
        }
    }
    qsort(names, n, sizeof names[0], by_name);
    for (unsigned i = 0; i < n; i++) {
        if (rv == 0 && i + keep < n) {
            rv = ad_files__remove(dirfd(d), names[i]);
            if (rv != 0) {
                sy_fail(eb, rv, "cannot remove %s/%s: %s", l.parent, names[i],
                        sy_err_text(rv));
            }
        }
        sy_free(names[i]);
    }
    closedir(d);
    return rv;
}

#include "chaos-tests/frailfs/frailfs.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIMBO ".limbo"

/* --- inodes --- */

static struct ff_inode *new_inode(struct ff *fs, int fd)
{
    struct ff_inode *f = ff_realloc(NULL, sizeof *f);

    *f = (struct ff_inode){
        .number = ++fs->numbers, .epoch = fs->epoch, .fd = fd, .next = fs->inodes};
    f->link = &fs->inodes;
    if (f->next != NULL) {
        f->next->link = &f->next;
    }
    fs->inodes = f;
    return f;
}

static void limbo_name(const struct ff_inode *f, char ret[32])
{
    snprintf(ret, 32, "%" PRIu64, f->number);
}

static void free_inode(struct ff_inode *f)
{
    *f->link = f->next;
    if (f->next != NULL) {
        f->next->link = f->link;
    }
    ff_file_settled(f);
    if (f->fd >= 0) {
        close(f->fd);
    }
    free(f);
}

static void free_if_unused(struct ff_inode *f)
{
    if (f->refs == 0 && f->lookups == 0) {
        free_inode(f);
    }
}

static struct ff_inode *hold(struct ff_inode *f)
{
    f->refs++;
    return f;
}

static void release(struct ff *fs, struct ff_inode *f)
{
    char name[32];

    assert(f->refs > 0);
    if (--f->refs == 0 && f->in_limbo) {
        limbo_name(f, name);
        (void)unlinkat(fs->limbo, name, 0);
        f->in_limbo = false;
    }
    free_if_unused(f);
}

void ff_forget(struct ff *fs, struct ff_inode *f, uint64_t n)
{
    (void)fs;
    assert(f->lookups >= n);
    f->lookups -= n;
    free_if_unused(f);
}

/* --- names --- */

static size_t find(const struct ff_names *t, const char *name)
{
    size_t lo = 0, hi = t->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (strcmp(t->p[mid].text, name) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static struct ff_inode *get(const struct ff_names *t, const char *name)
{
    size_t i = find(t, name);

    return i < t->n && strcmp(t->p[i].text, name) == 0 ? t->p[i].inode : NULL;
}

static void erase_at(struct ff *fs, struct ff_names *t, size_t i)
{
    struct ff_inode *f = t->p[i].inode;

    memmove(&t->p[i], &t->p[i + 1], (t->n - i - 1) * sizeof *t->p);
    t->n--;
    release(fs, f);
}

static void erase(struct ff *fs, struct ff_names *t, const char *name)
{
    if (get(t, name) != NULL) {
        erase_at(fs, t, find(t, name));
    }
}

static void set(struct ff *fs, struct ff_names *t, const char *name, struct ff_inode *f)
{
    size_t i;

    hold(f);
    erase(fs, t, name);
    i = find(t, name);
    t->p = ff_realloc(t->p, (t->n + 1) * sizeof *t->p);
    memmove(&t->p[i + 1], &t->p[i], (t->n - i) * sizeof *t->p);
    t->n++;
    snprintf(t->p[i].text, sizeof t->p[i].text, "%s", name);
    t->p[i].inode = f;
}

static void clear(struct ff *fs, struct ff_names *t)
{
    while (t->n > 0) {
        erase_at(fs, t, t->n - 1);
    }
    free(t->p);
    t->p = NULL;
}

/* A file has one name. If an earlier creation or rename was lost and this one was
 * not, the file goes from where it is to where this one puts it. A removal takes only
 * the file that it was meant for. */
static void apply_move(struct ff *fs, struct ff_names *t, const struct ff_move *v)
{
    hold(v->inode);
    if (v->to[0] == 0) {
        if (get(t, v->from) == v->inode) {
            erase(fs, t, v->from);
        }
    } else {
        for (size_t i = t->n; i > 0; i--) {
            if (t->p[i - 1].inode == v->inode) {
                erase_at(fs, t, i - 1);
            }
        }
        set(fs, t, v->to, v->inode);
    }
    release(fs, v->inode);
}

static void note_move(struct ff *fs, const char *from, const char *to, struct ff_inode *f)
{
    struct ff_move *v;

    fs->moves = ff_realloc(fs->moves, (fs->moves_n + 1) * sizeof *fs->moves);
    v = &fs->moves[fs->moves_n++];
    *v = (struct ff_move){.seq = ++fs->seq, .inode = hold(f)};
    snprintf(v->from, sizeof v->from, "%s", from);
    snprintf(v->to, sizeof v->to, "%s", to);
    apply_move(fs, &fs->now, v);
}

static void drop_moves(struct ff *fs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        release(fs, fs->moves[i].inode);
    }
    fs->moves_n -= n;
    if (fs->moves_n > 0) {
        memmove(fs->moves, fs->moves + n, fs->moves_n * sizeof *fs->moves);
    }
}

void ff_names_synced(struct ff *fs, uint64_t seq)
{
    size_t n = 0;

    while (n < fs->moves_n && fs->moves[n].seq <= seq) {
        apply_move(fs, &fs->disk, &fs->moves[n++]);
    }
    drop_moves(fs, n);
}

void ff_settle(struct ff *fs)
{
    ff_names_synced(fs, fs->seq);
    for (size_t i = 0; i < fs->now.n; i++) {
        ff_file_settled(fs->now.p[i].inode);
    }
}

/* --- the calls --- */

struct ff_inode *ff_get(const struct ff *fs, const char *name)
{
    return get(&fs->now, name);
}

int ff_create(struct ff *fs, const char *name, mode_t mode, uid_t uid, gid_t gid,
              struct ff_inode **ret)
{
    int fd;

    if (strlen(name) >= FF_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    if (strcmp(name, LIMBO) == 0) {
        return -EPERM;
    }
    fd = openat(fs->below, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode & 07777);
    if (fd < 0) {
        return -errno;
    }
    if (fchown(fd, uid, gid) != 0 || fchmod(fd, mode & 07777) != 0) {
        int rv = -errno;

        close(fd);
        (void)unlinkat(fs->below, name, 0);
        return rv;
    }
    *ret = new_inode(fs, fd);
    note_move(fs, "", name, *ret);
    return 0;
}

static int to_limbo(struct ff *fs, const char *name, struct ff_inode *f)
{
    char place[32];

    limbo_name(f, place);
    if (renameat(fs->below, name, fs->limbo, place) != 0) {
        return -errno;
    }
    f->in_limbo = true;
    return 0;
}

int ff_unlink(struct ff *fs, const char *name)
{
    struct ff_inode *f = get(&fs->now, name);
    int rv;

    if (f == NULL) {
        return -ENOENT;
    }
    rv = to_limbo(fs, name, f);
    if (rv == 0) {
        fs->space += (int64_t)ff_size(f);
        note_move(fs, name, "", f);
    }
    return rv;
}

int ff_rename(struct ff *fs, const char *from, const char *to)
{
    struct ff_inode *f = get(&fs->now, from), *over = get(&fs->now, to);
    int rv = 0;

    if (f == NULL) {
        return -ENOENT;
    }
    if (strlen(to) >= FF_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    if (f == over) {
        return 0;
    }
    if (over != NULL) {
        rv = to_limbo(fs, to, over);
        fs->space += (int64_t)ff_size(over);
    }
    if (rv == 0 && renameat(fs->below, from, fs->below, to) != 0) {
        rv = -errno;
    }
    if (rv == 0) {
        note_move(fs, from, to, f);
    }
    return rv;
}

int ff_write(struct ff *fs, struct ff_inode *f, uint64_t offset, const void *p, size_t n)
{
    uint64_t size = ff_size(f), more = offset + n > size ? offset + n - size : 0;
    int rv;

    if (fs->limited && (int64_t)more > fs->space) {
        uint64_t missing = more - (uint64_t)(fs->space > 0 ? fs->space : 0);

        if (missing >= n) {
            return -ENOSPC;
        }
        n -= missing; /* What fits is written, and said. */
        more = offset + n > size ? offset + n - size : 0;
    }
    rv = ff_file_write(f, ++fs->seq, offset, p, n);
    if (rv < 0) {
        return rv;
    }
    fs->space -= (int64_t)more;
    fs->count.writes++;
    fs->count.write_bytes += n;
    return (int)n;
}

int ff_truncate(struct ff *fs, struct ff_inode *f, uint64_t size)
{
    uint64_t was = ff_size(f);

    if (fs->limited && size > was && (int64_t)(size - was) > fs->space) {
        return -ENOSPC;
    }
    fs->space -= (int64_t)size - (int64_t)was;
    return ff_file_truncate(f, ++fs->seq, size);
}

/* --- the power goes --- */

static int64_t used(const struct ff *fs)
{
    int64_t sum = 0;

    for (size_t i = 0; i < fs->now.n; i++) {
        sum += (int64_t)ff_size(fs->now.p[i].inode);
    }
    return sum;
}

static void settle_names(struct ff *fs, enum ff_fate fate, uint64_t *random,
                         struct ff_toll *toll)
{
    bool journalled = ff_random(random) % 2 == 0;
    size_t prefix = (size_t)(ff_random(random) % (fs->moves_n + 1));

    toll->moves = (unsigned)fs->moves_n;
    for (size_t i = 0; i < fs->moves_n; i++) {
        bool done = ff_random(random) % 2 == 0;

        done = journalled ? i < prefix : done;
        done = fate == FF_MIXED ? done : fate == FF_KEPT;
        if (done) {
            apply_move(fs, &fs->disk, &fs->moves[i]);
        } else {
            toll->moves_undone++;
        }
    }
}

/* What was open before stays dead: the file goes on as another inode. */
static struct ff_inode *reborn(struct ff *fs, struct ff_inode *old)
{
    struct ff_inode *f = new_inode(fs, old->fd);

    old->fd = -1;
    old->in_limbo = false;
    return f;
}

/* Names on the disk become the names below. All files are in limbo. */
static int place_all(struct ff *fs)
{
    struct ff_names fresh = {0};
    int rv = 0;

    for (size_t i = 0; i < fs->disk.n && rv == 0; i++) {
        struct ff_inode *old = fs->disk.p[i].inode;
        char place[32];

        limbo_name(old, place);
        if (renameat(fs->limbo, place, fs->below, fs->disk.p[i].text) != 0) {
            rv = -errno;
        }
        set(fs, &fresh, fs->disk.p[i].text, reborn(fs, old));
    }
    drop_moves(fs, fs->moves_n);
    clear(fs, &fs->now);
    clear(fs, &fs->disk);
    fs->now = fresh;
    for (size_t i = 0; i < fresh.n; i++) {
        set(fs, &fs->disk, fresh.p[i].text, fresh.p[i].inode);
    }
    return rv;
}

/* Whoever holds a file open that lost its name below has lost it altogether. */
static int all_to_limbo(struct ff *fs)
{
    int rv = 0;

    for (size_t i = 0; i < fs->now.n && rv == 0; i++) {
        rv = to_limbo(fs, fs->now.p[i].text, fs->now.p[i].inode);
    }
    return rv;
}

int ff_cut(struct ff *fs, uint64_t seed, enum ff_fate fate, struct ff_toll *ret)
{
    int64_t before = used(fs);
    uint64_t random = seed;
    int rv;

    *ret = (struct ff_toll){0};
    fs->off = true;
    fs->epoch++;
    fs->count.cuts++;
    rv = all_to_limbo(fs);
    if (rv == 0) {
        settle_names(fs, fate, &random, ret);
    }
    for (size_t i = 0; i < fs->disk.n && rv == 0; i++) {
        rv = ff_file_cut(fs->disk.p[i].inode, fate, &random, ret);
    }
    if (rv == 0) {
        rv = place_all(fs);
    }
    fs->space += before - used(fs);
    fs->trap = FF_NEVER;
    fs->toll.files += ret->files;
    fs->toll.moves += ret->moves;
    fs->toll.moves_undone += ret->moves_undone;
    fs->toll.sectors += ret->sectors;
    fs->toll.sectors_undone += ret->sectors_undone;
    pthread_cond_broadcast(&fs->changed);
    return rv;
}

/* --- open and close --- */

static void empty_limbo(struct ff *fs)
{
    DIR *d = fdopendir(dup(fs->limbo));
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.') {
            (void)unlinkat(fs->limbo, e->d_name, 0);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
}

static int take_file(struct ff *fs, const char *name)
{
    struct stat st;
    struct ff_inode *f;
    int fd = openat(fs->below, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        fprintf(stderr, "frailfs: %s is not a plain file that can be opened\n", name);
        if (fd >= 0) {
            close(fd);
        }
        return -EINVAL;
    }
    f = new_inode(fs, fd);
    set(fs, &fs->now, name, f);
    set(fs, &fs->disk, name, f);
    return 0;
}

int ff_open(struct ff *fs, const char *path)
{
    pthread_condattr_t monotonic;
    struct dirent *e;
    DIR *d;
    int rv = 0;

    *fs = (struct ff){.real_sync = true, .below = -1, .limbo = -1};
    pthread_mutex_init(&fs->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&fs->changed, &monotonic);
    fs->below = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fs->below < 0 || (mkdirat(fs->below, LIMBO, 0700) != 0 && errno != EEXIST)) {
        return -errno;
    }
    fs->limbo = openat(fs->below, LIMBO, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fs->limbo < 0) {
        return -errno;
    }
    empty_limbo(fs);
    d = fdopendir(openat(fs->below, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    while (d != NULL && rv == 0 && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            strcmp(e->d_name, LIMBO) != 0) {
            rv = take_file(fs, e->d_name);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    return rv;
}

void ff_close(struct ff *fs)
{
    drop_moves(fs, fs->moves_n);
    free(fs->moves);
    clear(fs, &fs->now);
    clear(fs, &fs->disk);
    while (fs->inodes != NULL) {
        free_inode(fs->inodes);
    }
    close(fs->limbo);
    (void)unlinkat(fs->below, LIMBO, AT_REMOVEDIR);
    close(fs->below);
    pthread_cond_destroy(&fs->changed);
    pthread_mutex_destroy(&fs->lock);
}

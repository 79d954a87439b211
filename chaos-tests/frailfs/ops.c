/* What the kernel asks. Each call takes the lock, looks whether the power is on, and
 * does one thing of tree.c. Waiting (a slow disk) and real syncs leave the lock. */

#define FUSE_USE_VERSION 35
#include "chaos-tests/frailfs/frailfs.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { SLICE_MS = 20, BLOCK = 4096 };

/* An open folder: its names when they were read from the start. */
struct folder
{
    struct folder *next;
    uint64_t epoch;
    size_t n;
    struct entry
    {
        uint64_t number;
        char name[FF_NAME_MAX];
    } * p;
};

static struct ff *fs_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static struct ff_inode *inode_of(fuse_ino_t ino)
{
    return (struct ff_inode *)(uintptr_t)ino;
}

/* A pointer is even, a sub-folder's number odd; that of the folder is 1. */
static bool is_folder(fuse_ino_t ino)
{
    return (ino & 1) != 0;
}

static const char *sub_of(const struct ff *fs, fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? "" : fs->subs[ino / 2 - 1];
}

/* 0: there is none. */
static fuse_ino_t sub_named(const struct ff *fs, const char *name)
{
    for (fuse_ino_t i = 0; i < FF_SUBS_MAX; i++) {
        if (name[0] != '\0' && strcmp(fs->subs[i], name) == 0) {
            return (i + 1) * 2 + 1;
        }
    }
    return 0;
}

/* As the tree has it. */
static int full_name(const struct ff *fs, fuse_ino_t parent, const char *name,
                     char to[FF_NAME_MAX])
{
    const char *sub = sub_of(fs, parent);
    int n = snprintf(to, FF_NAME_MAX, "%s%s%s", sub, sub[0] != '\0' ? "/" : "", name);

    return n < FF_NAME_MAX ? 0 : ENAMETOOLONG;
}

static bool dead(const struct ff *fs, const struct ff_inode *f)
{
    return fs->off || f->fd < 0 || f->epoch != fs->epoch;
}

/* The lock, and 0 if the power is on for this inode. */
static int enter(struct ff *fs, fuse_ino_t ino)
{
    pthread_mutex_lock(&fs->lock);
    if (fs->off || (!is_folder(ino) && dead(fs, inode_of(ino)))) {
        return EIO;
    }
    return 0;
}

/* The lock, and the answer. @err is positive, or 0. */
static void leave(struct ff *fs, fuse_req_t req, int err)
{
    pthread_mutex_unlock(&fs->lock);
    fuse_reply_err(req, err);
}

/* A slow disk. Over at once when the caller is killed, the power goes, or the disk is
 * mended; the lock is held before and after. */
static void stall(struct ff *fs, fuse_req_t req, unsigned ms)
{
    uint64_t epoch = fs->epoch, faults = fs->faults;
    struct timespec until;

    for (; ms > 0 && !fs->off && fs->epoch == epoch && fs->faults == faults &&
           !fuse_req_interrupted(req);
         ms -= ms < SLICE_MS ? ms : SLICE_MS) {
        long ns = 1000000L * (long)(ms < SLICE_MS ? ms : SLICE_MS);

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (until.tv_nsec + ns) / 1000000000L;
        until.tv_nsec = (until.tv_nsec + ns) % 1000000000L;
        pthread_cond_timedwait(&fs->changed, &fs->lock, &until);
    }
}

static int attr_of(struct ff *fs, fuse_ino_t ino, struct stat *ret)
{
    int rv = is_folder(ino) && ino != FUSE_ROOT_ID
                 ? fstatat(fs->below, sub_of(fs, ino), ret, 0)
                 : fstat(ino == FUSE_ROOT_ID ? fs->below : inode_of(ino)->fd, ret);

    if (rv != 0) {
        return errno;
    }
    ret->st_ino = is_folder(ino) ? ino : (inode_of(ino)->number + 1) * 2;
    return 0;
}

static void op_init(void *data, struct fuse_conn_info *conn)
{
    (void)data;
    conn->want &= ~(unsigned)FUSE_CAP_WRITEBACK_CACHE;
    conn->max_write = FF_WRITE_MAX;
}

/* --- names --- */

/* The kernel learns of @f, once more. */
static int entry_of(struct ff *fs, struct ff_inode *f, struct fuse_entry_param *ret)
{
    int rv;

    *ret = (struct fuse_entry_param){.ino = (fuse_ino_t)(uintptr_t)f};
    rv = attr_of(fs, ret->ino, &ret->attr);
    if (rv == 0) {
        f->lookups++;
    }
    return rv;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct ff *fs = fs_of(req);
    char full[FF_NAME_MAX];
    struct fuse_entry_param e = {.ino = 0};
    struct ff_inode *f;
    int rv = enter(fs, parent);

    rv = rv != 0 ? rv : full_name(fs, parent, name, full);
    f = rv == 0 ? ff_get(fs, full) : NULL;
    if (f != NULL) {
        rv = entry_of(fs, f, &e);
    } else if (rv == 0) {
        e.ino = sub_named(fs, full);
        rv = e.ino != 0 ? attr_of(fs, e.ino, &e.attr) : ENOENT;
    }
    pthread_mutex_unlock(&fs->lock);
    if (rv == 0) {
        fuse_reply_entry(req, &e);
    } else {
        fuse_reply_err(req, rv);
    }
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
    struct ff *fs = fs_of(req);

    if (!is_folder(ino)) {
        pthread_mutex_lock(&fs->lock);
        ff_forget(fs, inode_of(ino), n);
        pthread_mutex_unlock(&fs->lock);
    }
    fuse_reply_none(req);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct ff *fs = fs_of(req);
    char full[FF_NAME_MAX];
    int rv = enter(fs, parent);

    rv = rv != 0 ? rv : full_name(fs, parent, name, full);
    leave(fs, req, rv != 0 ? rv : -ff_unlink(fs, full));
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct ff *fs = fs_of(req);
    const struct fuse_ctx *caller = fuse_req_ctx(req);
    struct fuse_entry_param e = {.ino = 0};
    unsigned i = 0;
    int rv = enter(fs, parent);

    while (i < FF_SUBS_MAX && fs->subs[i][0] != '\0') {
        i++;
    }
    if (rv == 0 && (parent != FUSE_ROOT_ID || i == FF_SUBS_MAX)) {
        rv = ENOSPC;
    } else if (rv == 0 && ff_get(fs, name) != NULL) {
        rv = EEXIST;
    } else if (rv == 0 && (mkdirat(fs->below, name, mode) != 0 ||
                           fchownat(fs->below, name, caller->uid, caller->gid, 0) != 0)) {
        rv = errno;
    }
    if (rv == 0) {
        snprintf(fs->subs[i], FF_NAME_MAX, "%s", name);
        e.ino = sub_named(fs, name);
        rv = attr_of(fs, e.ino, &e.attr);
    }
    pthread_mutex_unlock(&fs->lock);
    if (rv == 0) {
        fuse_reply_entry(req, &e);
    } else {
        fuse_reply_err(req, rv);
    }
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct ff *fs = fs_of(req);
    int rv = enter(fs, parent);
    fuse_ino_t sub = rv == 0 && parent == FUSE_ROOT_ID ? sub_named(fs, name) : 0;

    if (rv == 0 && sub == 0) {
        rv = ENOENT;
    } else if (rv == 0 && unlinkat(fs->below, name, AT_REMOVEDIR) != 0) {
        rv = errno;
    } else if (rv == 0) {
        fs->subs[sub / 2 - 1][0] = '\0';
    }
    leave(fs, req, rv);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *from,
                      fuse_ino_t to_parent, const char *to, unsigned flags)
{
    struct ff *fs = fs_of(req);
    char full[FF_NAME_MAX], full_to[FF_NAME_MAX];
    int rv = enter(fs, parent);

    rv = rv != 0 ? rv : full_name(fs, parent, from, full);
    rv = rv != 0 ? rv : full_name(fs, to_parent, to, full_to);
    if (rv == 0 && (flags & ~(unsigned)RENAME_NOREPLACE) != 0) {
        rv = EINVAL;
    } else if (rv == 0 && flags != 0 && ff_get(fs, full_to) != NULL) {
        rv = EEXIST;
    }
    leave(fs, req, rv != 0 ? rv : -ff_rename(fs, full, full_to));
}

/* --- attributes --- */

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct ff *fs = fs_of(req);
    struct stat st;
    int rv = enter(fs, ino);

    (void)fi;
    rv = rv != 0 ? rv : attr_of(fs, ino, &st);
    pthread_mutex_unlock(&fs->lock);
    if (rv == 0) {
        fuse_reply_attr(req, &st, 0);
    } else {
        fuse_reply_err(req, rv);
    }
}

static struct timespec time_of(const struct stat *st, bool atime, int what, int now)
{
    if (what & now) {
        return (struct timespec){.tv_nsec = UTIME_NOW};
    }
    if (!(what & (atime ? FUSE_SET_ATTR_ATIME : FUSE_SET_ATTR_MTIME))) {
        return (struct timespec){.tv_nsec = UTIME_OMIT};
    }
    return atime ? st->st_atim : st->st_mtim;
}

/* Owner, mode and times are the folder's below, at once: a log does not live on them. */
static int set_attributes(int fd, const struct stat *st, int what)
{
    const struct timespec times[] = {
        time_of(st, true, what, FUSE_SET_ATTR_ATIME_NOW),
        time_of(st, false, what, FUSE_SET_ATTR_MTIME_NOW),
    };

    if ((what & FUSE_SET_ATTR_MODE) && fchmod(fd, st->st_mode & 07777) != 0) {
        return errno;
    }
    if ((what & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) &&
        fchown(fd, what & FUSE_SET_ATTR_UID ? st->st_uid : (uid_t)-1,
               what & FUSE_SET_ATTR_GID ? st->st_gid : (gid_t)-1) != 0) {
        return errno;
    }
    return futimens(fd, times) == 0 ? 0 : errno;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *to, int what,
                       struct fuse_file_info *fi)
{
    struct ff *fs = fs_of(req);
    struct stat st;
    int rv = enter(fs, ino);

    (void)fi;
    if (rv == 0 && (what & FUSE_SET_ATTR_SIZE)) {
        rv = is_folder(ino) ? EISDIR
                            : -ff_truncate(fs, inode_of(ino), (uint64_t)to->st_size);
    }
    if (rv == 0 && (ino == FUSE_ROOT_ID || !is_folder(ino))) {
        rv =
            set_attributes(ino == FUSE_ROOT_ID ? fs->below : inode_of(ino)->fd, to, what);
    }
    rv = rv != 0 ? rv : attr_of(fs, ino, &st);
    pthread_mutex_unlock(&fs->lock);
    if (rv == 0) {
        fuse_reply_attr(req, &st, 0);
    } else {
        fuse_reply_err(req, rv);
    }
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct ff *fs = fs_of(req);
    struct statvfs v;
    int rv = enter(fs, FUSE_ROOT_ID);

    (void)ino;
    if (rv == 0 && fstatvfs(fs->below, &v) != 0) {
        rv = errno;
    }
    if (rv == 0 && fs->limited) {
        uint64_t free_bytes = fs->space > 0 ? (uint64_t)fs->space : 0;

        v.f_blocks = v.f_blocks * v.f_frsize / BLOCK;
        v.f_bsize = v.f_frsize = BLOCK;
        v.f_bavail = v.f_bfree = free_bytes / BLOCK;
    }
    pthread_mutex_unlock(&fs->lock);
    if (rv == 0) {
        fuse_reply_statfs(req, &v);
    } else {
        fuse_reply_err(req, rv);
    }
}

/* --- files --- */

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct ff *fs = fs_of(req);
    int rv = enter(fs, ino);

    if (rv == 0 && (fi->flags & O_TRUNC)) {
        rv = -ff_truncate(fs, inode_of(ino), 0);
    }
    pthread_mutex_unlock(&fs->lock);
    fi->direct_io = 1;
    if (rv != 0) {
        fuse_reply_err(req, rv);
    } else {
        fuse_reply_open(req, fi);
    }
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    struct ff *fs = fs_of(req);
    const struct fuse_ctx *caller = fuse_req_ctx(req);
    char full[FF_NAME_MAX];
    struct fuse_entry_param e;
    struct ff_inode *f;
    int rv = enter(fs, parent);

    rv = rv != 0 ? rv : full_name(fs, parent, name, full);
    if (rv == 0) {
        rv = -ff_create(fs, full, mode, caller->uid, caller->gid, &f);
    }
    rv = rv != 0 ? rv : entry_of(fs, f, &e);
    pthread_mutex_unlock(&fs->lock);
    fi->direct_io = 1;
    if (rv != 0) {
        fuse_reply_err(req, rv);
    } else {
        fuse_reply_create(req, &e, fi);
    }
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t n, off_t offset,
                    struct fuse_file_info *fi)
{
    struct ff *fs = fs_of(req);
    char *p = ff_realloc(NULL, n > 0 ? n : 1);
    int rv = enter(fs, ino);
    ssize_t got = rv == 0 ? pread(inode_of(ino)->fd, p, n, offset) : 0;

    (void)fi;
    rv = got < 0 ? errno : rv;
    pthread_mutex_unlock(&fs->lock);
    if (rv == 0) {
        fuse_reply_buf(req, p, (size_t)got);
    } else {
        fuse_reply_err(req, rv);
    }
    free(p);
}

/* A sync of a file, or of the folder (NULL). Only what was written when it begins is
 * promised. One that fails has lost what it was to write, as on Linux: what can be
 * read afterwards is not on the disk, and the next sync does not write it either. */
static int sync_it(struct ff *fs, fuse_req_t req, struct ff_inode *f)
{
    uint64_t seq = fs->seq, epoch = fs->epoch;
    struct ff_toll toll;
    int fd, rv = 0;

    if (fs->trap == (f != NULL ? FF_FILE : FF_FOLDER)) {
        (void)ff_cut(fs, fs->trap_seed, fs->trap_fate, &toll);
        return EIO;
    }
    fs->count.syncs += f != NULL;
    fs->count.dir_syncs += f == NULL;
    stall(fs, req, fs->sync_ms);
    if (fs->off || fs->epoch != epoch) {
        return EIO;
    }
    if (fs->eio) {
        fs->count.failed++;
        if (f != NULL) {
            f->doomed = seq;
        }
        return EIO;
    }
    if (fs->lying) {
        return 0;
    }
    if (fs->real_sync) {
        fd = fcntl(f != NULL ? f->fd : fs->below, F_DUPFD_CLOEXEC, 0);
        pthread_mutex_unlock(&fs->lock);
        rv = fd >= 0 && (f != NULL ? fdatasync(fd) : fsync(fd)) == 0 ? 0 : errno;
        if (fd >= 0) {
            close(fd);
        }
        pthread_mutex_lock(&fs->lock);
    }
    if (fs->off || fs->epoch != epoch) {
        return EIO;
    }
    if (rv == 0 && f != NULL) {
        ff_file_synced(f, seq);
    } else if (rv == 0) {
        ff_names_synced(fs, seq);
    }
    return rv;
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *p, size_t n,
                     off_t offset, struct fuse_file_info *fi)
{
    struct ff *fs = fs_of(req);
    int rv = enter(fs, ino), put = 0;

    if (rv == 0) {
        stall(fs, req, fs->write_ms);
        rv = dead(fs, inode_of(ino)) ? EIO : 0;
    }
    if (rv == 0) {
        put = ff_write(fs, inode_of(ino), (uint64_t)offset, p, n);
        rv = put < 0 ? -put : 0;
    }
    if (rv == 0 && (fi->flags & O_DSYNC)) {
        rv = sync_it(fs, req, inode_of(ino));
    }
    pthread_mutex_unlock(&fs->lock);
    if (rv == 0) {
        fuse_reply_write(req, (size_t)put);
    } else {
        fuse_reply_err(req, rv);
    }
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
                     struct fuse_file_info *fi)
{
    struct ff *fs = fs_of(req);
    int rv = enter(fs, ino);

    (void)datasync;
    (void)fi;
    leave(fs, req, rv != 0 ? rv : sync_it(fs, req, inode_of(ino)));
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    fuse_reply_err(req, 0);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    fuse_reply_err(req, 0);
}

/* --- the folder --- */

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct ff *fs = fs_of(req);
    struct folder *d;
    int rv = enter(fs, ino);

    if (rv == 0 && !is_folder(ino)) {
        rv = ENOTDIR;
    }
    if (rv == 0) {
        d = ff_realloc(NULL, sizeof *d);
        *d = (struct folder){.epoch = fs->epoch, .next = fs->folders};
        fs->folders = d;
        fi->fh = (uint64_t)(uintptr_t)d;
    }
    pthread_mutex_unlock(&fs->lock);
    if (rv == 0) {
        fuse_reply_open(req, fi);
    } else {
        fuse_reply_err(req, rv);
    }
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct ff *fs = fs_of(req);
    struct folder *d = (struct folder *)(uintptr_t)fi->fh, *before;

    (void)ino;
    pthread_mutex_lock(&fs->lock);
    if (fs->folders == d) {
        fs->folders = d->next;
    } else {
        for (before = fs->folders; before->next != d; before = before->next) {
        }
        before->next = d->next;
    }
    free(d->p);
    free(d);
    leave(fs, req, 0);
}

void ff_folders_free(struct ff *fs)
{
    while (fs->folders != NULL) {
        struct folder *d = fs->folders;

        fs->folders = d->next;
        free(d->p);
        free(d);
    }
}

static void add_name(struct folder *d, const char *name, uint64_t number)
{
    snprintf(d->p[d->n].name, FF_NAME_MAX, "%s", name);
    d->p[d->n++].number = number;
}

/* Of the folder: what is in no sub-folder, and these. */
static void read_names(const struct ff *fs, fuse_ino_t ino, struct folder *d)
{
    const char *sub = sub_of(fs, ino);
    size_t len = strlen(sub);

    d->p = ff_realloc(d->p, (fs->now.n + 2 + FF_SUBS_MAX) * sizeof *d->p);
    d->n = 0;
    add_name(d, ".", 1);
    add_name(d, "..", 1);
    for (size_t i = 0; i < fs->now.n; i++) {
        const char *name = fs->now.p[i].text;
        uint64_t number = (fs->now.p[i].inode->number + 1) * 2;

        if (len == 0 && strchr(name, '/') == NULL) {
            add_name(d, name, number);
        } else if (len > 0 && strncmp(name, sub, len) == 0 && name[len] == '/') {
            add_name(d, name + len + 1, number);
        }
    }
    for (unsigned i = 0; i < FF_SUBS_MAX && len == 0; i++) {
        if (fs->subs[i][0] != '\0') {
            add_name(d, fs->subs[i], sub_named(fs, fs->subs[i]));
        }
    }
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info *fi)
{
    struct ff *fs = fs_of(req);
    struct folder *d = (struct folder *)(uintptr_t)fi->fh;
    char *p = ff_realloc(NULL, size > 0 ? size : 1);
    size_t used = 0;
    int rv = enter(fs, ino);

    rv = rv == 0 && d->epoch != fs->epoch ? EIO : rv;
    if (rv == 0 && offset == 0) {
        read_names(fs, ino, d);
    }
    for (size_t i = (size_t)offset; rv == 0 && i < d->n; i++) {
        const struct stat st = {.st_ino = d->p[i].number,
                                .st_mode = is_folder(d->p[i].number) ? S_IFDIR : S_IFREG};
        size_t k = fuse_add_direntry(req, p + used, size - used, d->p[i].name, &st,
                                     (off_t)i + 1);

        if (k > size - used) {
            break;
        }
        used += k;
    }
    pthread_mutex_unlock(&fs->lock);
    if (rv == 0) {
        fuse_reply_buf(req, p, used);
    } else {
        fuse_reply_err(req, rv);
    }
    free(p);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
                        struct fuse_file_info *fi)
{
    struct ff *fs = fs_of(req);
    const struct folder *d = (const struct folder *)(uintptr_t)fi->fh;
    int rv = enter(fs, ino);

    (void)datasync;
    rv = rv == 0 && d->epoch != fs->epoch ? EIO : rv;
    leave(fs, req, rv != 0 ? rv : sync_it(fs, req, NULL));
}

/* Locks are left out on purpose: then the kernel keeps them itself. */
const struct fuse_lowlevel_ops ff_ops = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .statfs = op_statfs,
    .open = op_open,
    .create = op_create,
    .read = op_read,
    .write = op_write,
    .fsync = op_fsync,
    .flush = op_flush,
    .release = op_release,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .releasedir = op_releasedir,
    .fsyncdir = op_fsyncdir,
    .mkdir = op_mkdir,
    .rmdir = op_rmdir,
    .unlink = op_unlink,
    .rename = op_rename,
};

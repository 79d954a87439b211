/* A file system that can lose its power: a FUSE mount over a plain folder, which
 * remembers what a disk would not have yet.
 *
 * The folder below holds what a program sees. Beside it, in memory, stands all that
 * is not synced: of each 512-byte sector every content it had since the last sync of
 * its file, the lengths that the file had, and the creations, renames and removals
 * since the last sync of the folder. A power cut picks from these by seed, writes the
 * result into the folder below, and fails every call until the power is back:
 *
 *            cut SEED                    on
 *   running ----------> off (all EIO) ------> running, on what the disk had
 *
 *   - each sector of a file not synced is in one of the states it had since then, each
 *     for itself: a write is lost, torn, or there in part;
 *   - the length is one of those it had, or one in between where it grew;
 *   - each change of a name is done or not; for half of the seeds a prefix of them is
 *     done and nothing after it, as by a journal;
 *   - what was synced is there.
 * What was open before a cut stays dead after it. A cut can also be armed: it comes when
 * the next sync begins, of a file or of the folder, which is when there is most to lose.
 *
 * The kernel caches nothing: files are opened for direct I/O, names and attributes are
 * good for 0 s, there is no writeback cache. So all that a program did has arrived
 * here, and nothing can be read that was lost. Locks are kept by the kernel.
 *
 * One folder, as the log uses it, and flat sub-folders in it, where it puts aside what
 * nobody needs: a name in one of these is "sub/name" among the others. That a sub-folder
 * is there is on the disk at once, and a sync of any folder is one of all names. No
 * links or special files.
 *
 * All state belongs to struct ff and its lock. Names of functions: ff_. */

#ifndef FRAILFS_H
#define FRAILFS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

enum { FF_SECTOR = 512, FF_NAME_MAX = 256, FF_WRITE_MAX = 1 << 20, FF_SUBS_MAX = 16 };

/* --- a file (file.c) --- */

/* What a sector held before write number @seq; NULL is zeros. */
struct ff_version
{
    uint64_t seq;
    uint8_t *old;
};

struct ff_sector
{
    uint64_t no;
    unsigned n, cap; /* n == 0: a free place of the table. */
    struct ff_version *v;
};

struct ff_length
{
    uint64_t seq;
    uint64_t old;
};

struct ff_inode
{
    uint64_t number;  /* st_ino and the name in limbo; never used again. */
    uint64_t epoch;   /* Of the folder when it began; an older one: dead by a cut. */
    int fd;           /* Of the file below; -1: another inode has it since a cut. */
    unsigned refs;    /* Names now, names on the disk, moves. */
    uint64_t lookups; /* The kernel's. */
    uint64_t doomed;  /* Writes up to this one were lost by a failed sync. */
    bool in_limbo;
    struct ff_inode *next, **link; /* In the list of all. */
    struct ff_sector *sectors;     /* A hash table; its size is a power of 2, or 0. */
    size_t sectors_n, sectors_size;
    uint64_t versions_bytes;
    struct ff_length *lengths;
    size_t lengths_n;
};

enum ff_fate { FF_MIXED, FF_LOST, FF_KEPT };
enum ff_trap { FF_NEVER, FF_FILE, FF_FOLDER }; /* Of which the sync is a cut. */

struct ff_toll /* What a cut did, or all of them. */
{
    unsigned files, moves, moves_undone;
    uint64_t sectors, sectors_undone;
};

uint64_t ff_size(const struct ff_inode *f);
/* Write all of it below, remembering what was there. 0 or -errno. */
int ff_file_write(struct ff_inode *f, uint64_t seq, uint64_t offset, const void *p,
                  size_t n);
int ff_file_truncate(struct ff_inode *f, uint64_t seq, uint64_t size);
/* Writes up to @seq are on the disk, but for the doomed ones. */
void ff_file_synced(struct ff_inode *f, uint64_t seq);
/* Whatever there is is on the disk. */
void ff_file_settled(struct ff_inode *f);
/* The power went: make the file below what the disk had. 0 or -errno. */
int ff_file_cut(struct ff_inode *f, enum ff_fate fate, uint64_t *random,
                struct ff_toll *toll);

/* --- the folder (tree.c) --- */

struct ff_name
{
    char text[FF_NAME_MAX];
    struct ff_inode *inode;
};

struct ff_names
{
    struct ff_name *p; /* Sorted by text. */
    size_t n;
};

struct ff_move /* A creation has no @from, a removal no @to. */
{
    uint64_t seq;
    char from[FF_NAME_MAX];
    char to[FF_NAME_MAX];
    struct ff_inode *inode;
};

struct ff_count
{
    uint64_t writes, write_bytes, syncs, dir_syncs, failed, cuts;
};

struct ff
{
    pthread_mutex_t lock;
    pthread_cond_t changed; /* Power or faults. */
    int below;              /* The folder below, and limbo in it: files without name. */
    int limbo;
    struct ff_names now, disk;
    struct ff_move *moves;
    size_t moves_n;
    uint64_t seq;     /* Of the last change. */
    uint64_t numbers; /* Of the last inode. */
    uint64_t epoch;   /* Rises with each cut. */
    bool off;
    /* Faults. */
    bool eio, lying, limited, real_sync;
    int64_t space; /* Files may still grow by this, if limited. */
    unsigned sync_ms, write_ms;
    uint64_t faults; /* Rises with each change of them: those who wait look again. */
    struct ff_count count;
    struct ff_toll toll;
    enum ff_trap trap;
    uint64_t trap_seed;
    enum ff_fate trap_fate;
    struct ff_inode *inodes;             /* All there are. */
    char subs[FF_SUBS_MAX][FF_NAME_MAX]; /* "": none. Their inodes are odd: ops.c. */
    void *folders;                       /* Open ones (ops.c). */
};

/* Takes what is in the folder @path as synced. 0 or -errno, with a sentence. */
int ff_open(struct ff *fs, const char *path);
void ff_close(struct ff *fs);

struct ff_inode *ff_get(const struct ff *fs, const char *name);
int ff_create(struct ff *fs, const char *name, mode_t mode, uid_t uid, gid_t gid,
              struct ff_inode **ret);
int ff_unlink(struct ff *fs, const char *name);
int ff_rename(struct ff *fs, const char *from, const char *to);
int ff_write(struct ff *fs, struct ff_inode *f, uint64_t offset, const void *p, size_t n);
int ff_truncate(struct ff *fs, struct ff_inode *f, uint64_t size);
/* Names changed up to @seq are on the disk. */
void ff_names_synced(struct ff *fs, uint64_t seq);
/* Everything is on the disk. */
void ff_settle(struct ff *fs);
/* Forgotten by the kernel @n times. */
void ff_forget(struct ff *fs, struct ff_inode *f, uint64_t n);
int ff_cut(struct ff *fs, uint64_t seed, enum ff_fate fate, struct ff_toll *ret);

/* --- the rest --- */

/* One command, one line; the answer begins with "ok" or "error" (control.c). */
void ff_command(struct ff *fs, char *line, FILE *answer, bool *ret_quit);

struct fuse_session;
struct fuse_lowlevel_ops;
extern const struct fuse_lowlevel_ops ff_ops; /* ops.c */
/* The kernel does not say goodbye to what is open when it is unmounted. */
void ff_folders_free(struct ff *fs);

struct ff_server;
struct ff_server *ff_server_new(struct ff *fs, const char *path, struct fuse_session *s);
void ff_server_stop(struct ff_server *s);

void *ff_realloc(void *p, size_t n); /* Or the process ends. */
uint64_t ff_random(uint64_t *state);

#endif /* FRAILFS_H */

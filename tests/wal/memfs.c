#include "tests/wal/memfs.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { SECTOR = 512, HANDLES_MAX = 256 };

struct change
{
    uint64_t offset;
    uint64_t n;
    uint8_t *p;
};

struct inode
{
    unsigned refs; /* Names now, names on the disk, handles, changes of names. */
    uint8_t *now;
    uint64_t size;
    uint8_t *disk;
    uint64_t disk_size;
    struct change *changes; /* Since the last sync, oldest first. */
    size_t changes_nr;
};

struct name
{
    char text[AD_WAL_NAME_MAX];
    struct inode *inode;
};

struct names
{
    struct name *p; /* Sorted by text. */
    size_t n;
};

/* A creation has no @from, a removal no @to. */
struct move
{
    char from[AD_WAL_NAME_MAX];
    char to[AD_WAL_NAME_MAX];
    struct inode *inode;
};

struct memfs
{
    struct names now;
    struct names disk;
    struct move *moves; /* Since the last sync_dir, oldest first. */
    size_t moves_nr;
    struct inode *handles[HANDLES_MAX];
    char handle_names[HANDLES_MAX][AD_WAL_NAME_MAX]; /* As opened, for the hook. */
    bool limited;
    int64_t space;
    memfs_hook_cb hook;
    void *hook_data;
    struct memfs_stats stats;
};

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* --- inodes --- */

static void forget_changes(struct inode *f)
{
    for (size_t i = 0; i < f->changes_nr; i++) {
        sy_free(f->changes[i].p);
    }
    sy_free(f->changes);
    f->changes = NULL;
    f->changes_nr = 0;
}

static struct inode *hold(struct inode *f)
{
    f->refs++;
    return f;
}

static void release(struct memfs *m, struct inode *f)
{
    assert(f->refs > 0);
    if (--f->refs > 0) {
        return;
    }
    m->space += (int64_t)f->size;
    forget_changes(f);
    sy_free(f->now);
    sy_free(f->disk);
    sy_free(f);
}

static void resize(uint8_t **p, uint64_t *size, uint64_t to)
{
    *p = sy_realloc(*p, to);
    if (to > *size) {
        memset(*p + *size, 0, to - *size);
    }
    *size = to;
}

static void make_durable(struct inode *f)
{
    resize(&f->disk, &f->disk_size, f->size);
    for (size_t i = 0; i < f->changes_nr; i++) {
        struct change *c = &f->changes[i];

        if (c->n > 0) {
            memcpy(f->disk + c->offset, f->now + c->offset, c->n);
        }
    }
    forget_changes(f);
}

static void change(struct inode *f, uint64_t offset, const void *p, uint64_t n)
{
    if (offset + n > f->size) {
        resize(&f->now, &f->size, offset + n);
    }
    if (n > 0) {
        memcpy(f->now + offset, p, n);
    }
    f->changes = sy_realloc(f->changes, (f->changes_nr + 1) * sizeof *f->changes);
    f->changes[f->changes_nr++] = (struct change){offset, n, sy_memdup(p, n)};
}

static bool touches(const struct change *c, uint64_t sector)
{
    return c->offset < sector + SECTOR && c->offset + c->n > sector;
}

/* One of the states that this sector had since the last sync. */
static void settle_sector(struct inode *f, uint64_t sector, uint64_t pick)
{
    uint64_t touching = 0;

    for (size_t i = 0; i < f->changes_nr; i++) {
        touching += touches(&f->changes[i], sector);
    }
    pick = touching > 0 ? pick % (touching + 1) : 0;
    for (size_t i = 0; i < f->changes_nr && pick > 0; i++) {
        const struct change *c = &f->changes[i];
        uint64_t from = c->offset > sector ? c->offset : sector;
        uint64_t to = c->offset + c->n;

        if (!touches(c, sector)) {
            continue;
        }
        to = to < sector + SECTOR ? to : sector + SECTOR;
        to = to < f->disk_size ? to : f->disk_size;
        if (from < to) {
            memcpy(f->disk + from, c->p + (from - c->offset), to - from);
        }
        pick--;
    }
}

/* Sectors that nobody wrote to draw no random number, so that the choices for the
 * others do not depend on the size of the file. */
static void settle(struct inode *f, uint64_t *random)
{
    uint64_t mode = next_random(random) % 4; /* all, nothing, any, any */
    uint64_t lo = UINT64_MAX, hi = 0;

    if (f->size > f->disk_size) {
        uint64_t r = next_random(random);
        uint64_t to = r % 3 == 0 ? f->disk_size
                      : r % 3 == 1
                          ? f->size
                          : f->disk_size + (r >> 8) % (f->size - f->disk_size + 1);

        resize(&f->disk, &f->disk_size, to);
    }
    for (size_t i = 0; i < f->changes_nr; i++) {
        const struct change *c = &f->changes[i];

        lo = c->offset < lo ? c->offset : lo;
        hi = c->offset + c->n > hi ? c->offset + c->n : hi;
    }
    for (uint64_t s = lo / SECTOR * SECTOR; lo < hi && s < hi; s += SECTOR) {
        uint64_t pick = next_random(random) >> 16;

        if (mode == 0) {
            make_durable(f);
            break;
        }
        if (mode != 1) {
            settle_sector(f, s, pick);
        }
    }
    forget_changes(f);
    resize(&f->now, &f->size, f->disk_size);
    if (f->size > 0) {
        memcpy(f->now, f->disk, f->size);
    }
}

/* --- names --- */

static size_t find(const struct names *t, const char *name)
{
    size_t i = 0;

    while (i < t->n && strcmp(t->p[i].text, name) < 0) {
        i++;
    }
    return i;
}

static struct inode *get(const struct names *t, const char *name)
{
    size_t i = find(t, name);

    return i < t->n && strcmp(t->p[i].text, name) == 0 ? t->p[i].inode : NULL;
}

static void copy_name(char to[AD_WAL_NAME_MAX], const char *name)
{
    assert(strlen(name) < AD_WAL_NAME_MAX);
    memset(to, 0, AD_WAL_NAME_MAX);
    memcpy(to, name, strlen(name));
}

static void erase(struct memfs *m, struct names *t, const char *name)
{
    size_t i = find(t, name);
    struct inode *f;

    if (i == t->n || strcmp(t->p[i].text, name) != 0) {
        return;
    }
    f = t->p[i].inode;
    memmove(&t->p[i], &t->p[i + 1], (t->n - i - 1) * sizeof *t->p);
    t->n--;
    release(m, f);
}

static void set(struct memfs *m, struct names *t, const char *name, struct inode *f)
{
    size_t i;

    hold(f);
    erase(m, t, name);
    i = find(t, name);
    t->p = sy_realloc(t->p, (t->n + 1) * sizeof *t->p);
    memmove(&t->p[i + 1], &t->p[i], (t->n - i) * sizeof *t->p);
    t->n++;
    copy_name(t->p[i].text, name);
    t->p[i].inode = f;
}

static void names_clear(struct memfs *m, struct names *t)
{
    while (t->n > 0) {
        release(m, t->p[--t->n].inode);
    }
    sy_free(t->p);
    t->p = NULL;
}

static void names_copy(struct memfs *m, struct names *to, const struct names *from)
{
    for (size_t i = 0; i < from->n; i++) {
        set(m, to, from->p[i].text, from->p[i].inode);
    }
}

static void apply_move(struct memfs *m, struct names *t, const struct move *v)
{
    if (v->from[0] != 0 && get(t, v->from) == v->inode) {
        hold(v->inode);
        erase(m, t, v->from);
        if (v->to[0] != 0) {
            set(m, t, v->to, v->inode);
        }
        release(m, v->inode);
    } else if (v->to[0] != 0) {
        /* The earlier creation was lost, this later rename was not. */
        set(m, t, v->to, v->inode);
    }
}

static void note_move(struct memfs *m, const char *from, const char *to, struct inode *f)
{
    struct move *v;

    m->moves = sy_realloc(m->moves, (m->moves_nr + 1) * sizeof *m->moves);
    v = &m->moves[m->moves_nr++];
    copy_name(v->from, from);
    copy_name(v->to, to);
    v->inode = hold(f);
    apply_move(m, &m->now, v);
}

static void forget_moves(struct memfs *m)
{
    for (size_t i = 0; i < m->moves_nr; i++) {
        release(m, m->moves[i].inode);
    }
    sy_free(m->moves);
    m->moves = NULL;
    m->moves_nr = 0;
}

/* --- the port --- */

static int enter(struct memfs *m, enum memfs_op op, const char *name, uint64_t offset,
                 size_t n)
{
    m->stats.ops[op]++;
    return m->hook != NULL ? m->hook(m->hook_data, op, name, offset, n) : 0;
}

static struct inode *handle(struct memfs *m, int file)
{
    assert(file >= 0 && file < HANDLES_MAX);
    assert(m->handles[file] != NULL);
    return m->handles[file];
}

static int new_handle(struct memfs *m, const char *name, struct inode *f)
{
    for (int i = 0; i < HANDLES_MAX; i++) {
        if (m->handles[i] == NULL) {
            m->handles[i] = hold(f);
            copy_name(m->handle_names[i], name);
            return i;
        }
    }
    return -EMFILE;
}

static int fs_create(void *ctx, const char *name)
{
    struct memfs *m = ctx;
    struct inode *f;
    int rv = enter(m, MEMFS_CREATE, name, 0, 0);

    if (rv != 0) {
        return rv;
    }
    if (get(&m->now, name) != NULL) {
        return -EEXIST;
    }
    f = sy_calloc(1, sizeof *f);
    note_move(m, "", name, f);
    return new_handle(m, name, f);
}

static int fs_open(void *ctx, const char *name)
{
    struct memfs *m = ctx;
    struct inode *f = get(&m->now, name);
    int rv = enter(m, MEMFS_OPEN, name, 0, 0);

    if (rv != 0) {
        return rv;
    }
    return f != NULL ? new_handle(m, name, f) : -ENOENT;
}

static int fs_close(void *ctx, int file)
{
    struct memfs *m = ctx;
    struct inode *f = handle(m, file);
    int rv = enter(m, MEMFS_CLOSE, m->handle_names[file], 0, 0);

    m->handles[file] = NULL; /* As on Linux: closed, whatever close() says. */
    release(m, f);
    return rv;
}

static int fs_write(void *ctx, int file, uint64_t offset, const void *p, size_t n)
{
    struct memfs *m = ctx;
    struct inode *f = handle(m, file);
    int rv = enter(m, MEMFS_WRITE, m->handle_names[file], offset, n);
    uint64_t more = offset + n > f->size ? offset + n - f->size : 0;

    if (rv != 0) {
        return rv;
    }
    if (m->limited && more > 0 && (int64_t)more > m->space) {
        uint64_t missing = more - (uint64_t)(m->space > 0 ? m->space : 0);

        rv = -ENOSPC; /* What fits has been written, as pwrite() does it. */
        n = missing < n ? n - missing : 0;
        more = n > 0 && offset + n > f->size ? offset + n - f->size : 0;
    }
    if (n > 0) {
        change(f, offset, p, n);
    }
    m->space -= (int64_t)more;
    m->stats.bytes_written += n;
    return rv;
}

static int64_t fs_read(void *ctx, int file, uint64_t offset, void *p, size_t n)
{
    struct memfs *m = ctx;
    struct inode *f = handle(m, file);
    int rv = enter(m, MEMFS_READ, m->handle_names[file], offset, n);

    if (rv != 0) {
        return rv;
    }
    if (offset >= f->size) {
        return 0;
    }
    n = n < f->size - offset ? n : f->size - offset;
    memcpy(p, f->now + offset, n);
    return (int64_t)n;
}

static int64_t fs_size(void *ctx, int file)
{
    struct memfs *m = ctx;
    struct inode *f = handle(m, file);
    int rv = enter(m, MEMFS_SIZE, m->handle_names[file], 0, 0);

    return rv != 0 ? rv : (int64_t)f->size;
}

static int fs_sync(void *ctx, int file)
{
    struct memfs *m = ctx;
    struct inode *f = handle(m, file);
    int rv = enter(m, MEMFS_SYNC, m->handle_names[file], 0, 0);

    if (rv == 0) {
        make_durable(f);
    }
    return rv;
}

static int fs_rename(void *ctx, const char *from, const char *to)
{
    struct memfs *m = ctx;
    struct inode *f = get(&m->now, from);
    int rv = enter(m, MEMFS_RENAME, from, 0, 0);

    if (rv != 0) {
        return rv;
    }
    if (f == NULL) {
        return -ENOENT;
    }
    note_move(m, from, to, f);
    return 0;
}

static int fs_unlink(void *ctx, const char *name)
{
    struct memfs *m = ctx;
    struct inode *f = get(&m->now, name);
    int rv = enter(m, MEMFS_UNLINK, name, 0, 0);

    if (rv != 0) {
        return rv;
    }
    if (f == NULL) {
        return -ENOENT;
    }
    note_move(m, name, "", f);
    return 0;
}

static int fs_sync_dir(void *ctx)
{
    struct memfs *m = ctx;
    int rv = enter(m, MEMFS_SYNC_DIR, "", 0, 0);

    if (rv == 0) {
        for (size_t i = 0; i < m->moves_nr; i++) {
            apply_move(m, &m->disk, &m->moves[i]);
        }
        forget_moves(m);
    }
    return rv;
}

static int fs_list(void *ctx, void (*each)(void *data, const char *name), void *data)
{
    struct memfs *m = ctx;
    int rv = enter(m, MEMFS_LIST, "", 0, 0);

    if (rv == 0) {
        memfs_list(m, each, data);
    }
    return rv;
}

static int64_t fs_space(void *ctx)
{
    struct memfs *m = ctx;
    int rv = enter(m, MEMFS_SPACE, "", 0, 0);

    if (rv != 0) {
        return rv;
    }
    return m->limited ? (m->space > 0 ? m->space : 0) : INT64_MAX;
}

struct ad_wal_fs memfs_fs(struct memfs *m)
{
    return (struct ad_wal_fs){.ctx = m,
                              .create = fs_create,
                              .open = fs_open,
                              .close = fs_close,
                              .write = fs_write,
                              .read = fs_read,
                              .size = fs_size,
                              .sync = fs_sync,
                              .rename = fs_rename,
                              .unlink = fs_unlink,
                              .sync_dir = fs_sync_dir,
                              .list = fs_list,
                              .space = fs_space};
}

/* --- life --- */

struct memfs *memfs_new(void)
{
    return sy_calloc(1, sizeof(struct memfs));
}

void memfs_destroy(struct memfs **m)
{
    struct memfs *self = *m;

    if (self == NULL) {
        return;
    }
    memfs_kill(self);
    forget_moves(self);
    names_clear(self, &self->now);
    names_clear(self, &self->disk);
    sy_free(self);
    *m = NULL;
}

static struct inode *clone_inode(const struct inode *f)
{
    struct inode *g = sy_memdup(f, sizeof *f);

    g->refs = 0;
    g->now = sy_memdup(f->now, f->size);
    g->disk = sy_memdup(f->disk, f->disk_size);
    g->changes = sy_memdup(f->changes, f->changes_nr * sizeof *f->changes);
    for (size_t i = 0; i < f->changes_nr; i++) {
        g->changes[i].p = sy_memdup(f->changes[i].p, f->changes[i].n);
    }
    return g;
}

struct pairs
{
    const struct inode **from;
    struct inode **to;
    size_t n;
};

static struct inode *twin(struct pairs *t, const struct inode *f)
{
    for (size_t i = 0; i < t->n; i++) {
        if (t->from[i] == f) {
            return t->to[i];
        }
    }
    t->from = sy_realloc(t->from, (t->n + 1) * sizeof *t->from);
    t->to = sy_realloc(t->to, (t->n + 1) * sizeof *t->to);
    t->from[t->n] = f;
    t->to[t->n] = clone_inode(f);
    return t->to[t->n++];
}

struct memfs *memfs_clone(const struct memfs *m)
{
    struct memfs *c = memfs_new();
    struct pairs twins = {0};

    for (size_t i = 0; i < m->now.n; i++) {
        set(c, &c->now, m->now.p[i].text, twin(&twins, m->now.p[i].inode));
    }
    for (size_t i = 0; i < m->disk.n; i++) {
        set(c, &c->disk, m->disk.p[i].text, twin(&twins, m->disk.p[i].inode));
    }
    c->moves = sy_memdup(m->moves, m->moves_nr * sizeof *m->moves);
    c->moves_nr = m->moves_nr;
    for (size_t i = 0; i < m->moves_nr; i++) {
        c->moves[i].inode = hold(twin(&twins, m->moves[i].inode));
    }
    sy_free(twins.from);
    sy_free(twins.to);
    c->limited = m->limited;
    c->space = m->space;
    return c;
}

void memfs_hook(struct memfs *m, memfs_hook_cb hook, void *data)
{
    m->hook = hook;
    m->hook_data = data;
}

const struct memfs_stats *memfs_stats(const struct memfs *m)
{
    return &m->stats;
}

unsigned memfs_handles(const struct memfs *m)
{
    unsigned n = 0;

    for (size_t i = 0; i < HANDLES_MAX; i++) {
        n += m->handles[i] != NULL;
    }
    return n;
}

void memfs_kill(struct memfs *m)
{
    for (size_t i = 0; i < HANDLES_MAX; i++) {
        if (m->handles[i] != NULL) {
            release(m, m->handles[i]);
            m->handles[i] = NULL;
        }
    }
}

void memfs_crash(struct memfs *m, uint64_t seed)
{
    uint64_t random = seed;
    bool journalled = next_random(&random) % 2 == 0;
    size_t prefix = next_random(&random) % (m->moves_nr + 1);

    memfs_kill(m);
    for (size_t i = 0; i < m->moves_nr; i++) {
        bool done = next_random(&random) % 2 == 0;

        if (journalled ? i < prefix : done) {
            apply_move(m, &m->disk, &m->moves[i]);
        }
    }
    forget_moves(m);
    names_clear(m, &m->now);
    names_copy(m, &m->now, &m->disk);
    for (size_t i = 0; i < m->now.n; i++) {
        struct inode *f = m->now.p[i].inode;

        m->space += (int64_t)f->size;
        settle(f, &random);
        m->space -= (int64_t)f->size;
    }
}

/* --- damage --- */

/* The file as it should be from now on, on the disk, too. */
static struct inode *settled(struct memfs *m, const char *name)
{
    struct inode *f = get(&m->now, name);

    if (f != NULL) {
        make_durable(f);
    }
    return f;
}

bool memfs_corrupt(struct memfs *m, const char *name, uint64_t offset, uint8_t xor_mask)
{
    struct inode *f = settled(m, name);

    if (f == NULL || offset >= f->size) {
        return false;
    }
    f->now[offset] ^= xor_mask;
    f->disk[offset] ^= xor_mask;
    return true;
}

bool memfs_zero(struct memfs *m, const char *name, uint64_t offset, uint64_t n)
{
    struct inode *f = settled(m, name);

    if (f == NULL || offset > f->size || n > f->size - offset) {
        return false;
    }
    memset(f->now + offset, 0, n);
    memset(f->disk + offset, 0, n);
    return true;
}

bool memfs_truncate(struct memfs *m, const char *name, uint64_t size)
{
    struct inode *f = settled(m, name);

    if (f == NULL) {
        return false;
    }
    m->space += (int64_t)f->size - (int64_t)size;
    resize(&f->now, &f->size, size);
    resize(&f->disk, &f->disk_size, size);
    return true;
}

bool memfs_remove(struct memfs *m, const char *name)
{
    if (get(&m->now, name) == NULL) {
        return false;
    }
    erase(m, &m->now, name);
    erase(m, &m->disk, name);
    return true;
}

void memfs_put(struct memfs *m, const char *name, const void *p, size_t n)
{
    struct inode *f = sy_calloc(1, sizeof *f);

    change(f, 0, p, n);
    make_durable(f);
    m->space -= (int64_t)n;
    set(m, &m->now, name, f);
    set(m, &m->disk, name, f);
}

const uint8_t *memfs_peek(const struct memfs *m, const char *name, uint64_t *ret_size)
{
    const struct inode *f = get(&m->now, name);

    if (f == NULL) {
        return NULL;
    }
    *ret_size = f->size;
    return f->now;
}

void memfs_list(const struct memfs *m, void (*each)(void *data, const char *name),
                void *data)
{
    for (size_t i = 0; i < m->now.n; i++) {
        each(data, m->now.p[i].text);
    }
}

bool memfs_equal(const struct memfs *a, const struct memfs *b)
{
    if (a->now.n != b->now.n) {
        return false;
    }
    for (size_t i = 0; i < a->now.n; i++) {
        const struct inode *f = a->now.p[i].inode;
        const struct inode *g = b->now.p[i].inode;

        if (strcmp(a->now.p[i].text, b->now.p[i].text) != 0 || f->size != g->size ||
            (f->size > 0 && memcmp(f->now, g->now, f->size) != 0)) {
            return false;
        }
    }
    return true;
}

void memfs_set_space(struct memfs *m, int64_t bytes)
{
    m->limited = true;
    m->space = bytes;
}

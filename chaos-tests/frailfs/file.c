#include "chaos-tests/frailfs/frailfs.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* From here on a file is taken to be written back by itself, as kernels do it too. */
enum { WRITEBACK = 128 << 20, TABLE_FIRST = 64 };

void *ff_realloc(void *p, size_t n)
{
    p = realloc(p, n);
    if (p == NULL && n > 0) {
        abort();
    }
    return p;
}

uint64_t ff_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t ff_size(const struct ff_inode *f)
{
    struct stat st;

    return fstat(f->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* --- the table of sectors --- */

static size_t place_of(const struct ff_inode *f, uint64_t no)
{
    size_t i = (size_t)((no * 0x9e3779b97f4a7c15u) >> 20) & (f->sectors_size - 1);

    while (f->sectors[i].n > 0 && f->sectors[i].no != no) {
        i = (i + 1) & (f->sectors_size - 1);
    }
    return i;
}

static void resize_table(struct ff_inode *f, size_t size)
{
    struct ff_sector *old = f->sectors;
    size_t old_size = f->sectors_size;

    f->sectors_size = size;
    f->sectors = ff_realloc(NULL, size * sizeof *f->sectors);
    memset(f->sectors, 0, size * sizeof *f->sectors);
    for (size_t i = 0; i < old_size; i++) {
        if (old[i].n > 0) {
            f->sectors[place_of(f, old[i].no)] = old[i];
        }
    }
    free(old);
}

static void push_version(struct ff_inode *f, uint64_t no, uint64_t seq, uint8_t *old)
{
    struct ff_sector *s;

    if (2 * (f->sectors_n + 1) > f->sectors_size) {
        resize_table(f, f->sectors_size > 0 ? 2 * f->sectors_size : TABLE_FIRST);
    }
    s = &f->sectors[place_of(f, no)];
    if (s->n == 0) {
        *s = (struct ff_sector){.no = no};
        f->sectors_n++;
    }
    if (s->n == s->cap) {
        s->cap = 2 * s->cap + 1;
        s->v = ff_realloc(s->v, s->cap * sizeof *s->v);
    }
    s->v[s->n++] = (struct ff_version){seq, old};
    f->versions_bytes += sizeof *s->v + (old != NULL ? FF_SECTOR : 0);
}

/* The oldest @n versions of a sector are not needed any more. */
static void drop_versions(struct ff_inode *f, struct ff_sector *s, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        f->versions_bytes -= sizeof *s->v + (s->v[i].old != NULL ? FF_SECTOR : 0);
        free(s->v[i].old);
    }
    s->n -= n;
    if (s->n > 0) {
        memmove(s->v, s->v + n, s->n * sizeof *s->v);
        return;
    }
    free(s->v);
    *s = (struct ff_sector){0};
    f->sectors_n--;
}

void ff_file_settled(struct ff_inode *f)
{
    for (size_t i = 0; i < f->sectors_size; i++) {
        if (f->sectors[i].n > 0) {
            drop_versions(f, &f->sectors[i], f->sectors[i].n);
        }
    }
    assert(f->sectors_n == 0 && f->versions_bytes == 0);
    free(f->sectors);
    free(f->lengths);
    f->sectors = NULL;
    f->lengths = NULL;
    f->sectors_size = f->lengths_n = 0;
    f->doomed = 0;
}

void ff_file_synced(struct ff_inode *f, uint64_t seq)
{
    size_t k = 0;

    for (size_t i = 0; i < f->sectors_size; i++) {
        struct ff_sector *s = &f->sectors[i];
        unsigned n = 0;

        while (n < s->n && s->v[n].seq <= seq) {
            n++;
        }
        if (n > 0 && s->v[n - 1].seq > f->doomed) {
            drop_versions(f, s, n);
        }
    }
    /* Places that became free may have cut chains of the table. */
    if (f->sectors_n > 0) {
        resize_table(f, f->sectors_size);
    } else if (f->sectors_size > TABLE_FIRST) {
        free(f->sectors);
        f->sectors = NULL;
        f->sectors_size = 0;
    }
    while (k < f->lengths_n && f->lengths[k].seq <= seq) {
        k++;
    }
    if (k > 0 && f->lengths[k - 1].seq > f->doomed) {
        f->lengths_n -= k;
        memmove(f->lengths, f->lengths + k, f->lengths_n * sizeof *f->lengths);
    }
}

/* --- writing --- */

static int64_t read_below(int fd, uint64_t offset, void *p, size_t n)
{
    size_t got = 0;

    while (got < n) {
        ssize_t k = pread(fd, (char *)p + got, n - got, (off_t)(offset + got));

        if (k < 0 && errno != EINTR) {
            return -errno;
        }
        if (k == 0) {
            break;
        }
        got += k > 0 ? (size_t)k : 0;
    }
    return (int64_t)got;
}

static int write_below(int fd, uint64_t offset, const void *p, size_t n)
{
    size_t put = 0;

    while (put < n) {
        ssize_t k = pwrite(fd, (const char *)p + put, n - put, (off_t)(offset + put));

        if (k < 0 && errno != EINTR) {
            return -errno;
        }
        put += k > 0 ? (size_t)k : 0;
    }
    return 0;
}

static int remember_sector(struct ff_inode *f, uint64_t seq, uint64_t no, uint64_t size)
{
    static const uint8_t zeros[FF_SECTOR];
    uint8_t now[FF_SECTOR] = {0}, *old = NULL;
    int64_t got = 0;

    if (no * FF_SECTOR < size) {
        got = read_below(f->fd, no * FF_SECTOR, now, sizeof now);
    }
    if (got < 0) {
        return (int)got;
    }
    if (memcmp(now, zeros, sizeof now) != 0) {
        old = ff_realloc(NULL, FF_SECTOR);
        memcpy(old, now, FF_SECTOR);
    }
    push_version(f, no, seq, old);
    return 0;
}

static int remember(struct ff_inode *f, uint64_t seq, uint64_t from, uint64_t to,
                    uint64_t size)
{
    int rv = 0;

    for (uint64_t no = from / FF_SECTOR; rv == 0 && no * FF_SECTOR < to; no++) {
        rv = remember_sector(f, seq, no, size);
    }
    return rv;
}

static void remember_length(struct ff_inode *f, uint64_t seq, uint64_t size)
{
    f->lengths = ff_realloc(f->lengths, (f->lengths_n + 1) * sizeof *f->lengths);
    f->lengths[f->lengths_n++] = (struct ff_length){seq, size};
}

int ff_file_write(struct ff_inode *f, uint64_t seq, uint64_t offset, const void *p,
                  size_t n)
{
    uint64_t size = ff_size(f);
    int rv = remember(f, seq, offset, offset + n, size);

    if (rv == 0 && offset + n > size) {
        remember_length(f, seq, size);
    }
    if (rv == 0) {
        rv = write_below(f->fd, offset, p, n);
    }
    if (f->versions_bytes > WRITEBACK) {
        ff_file_synced(f, seq);
    }
    return rv;
}

int ff_file_truncate(struct ff_inode *f, uint64_t seq, uint64_t size)
{
    uint64_t was = ff_size(f);
    int rv = size < was ? remember(f, seq, size, was, was) : 0;

    if (rv == 0 && size != was) {
        remember_length(f, seq, was);
        rv = ftruncate(f->fd, (off_t)size) == 0 ? 0 : -errno;
    }
    return rv;
}

/* --- the power goes --- */

static uint64_t pick_length(const struct ff_inode *f, enum ff_fate fate, uint64_t r)
{
    uint64_t now = ff_size(f), a, b;
    size_t i;

    if (f->lengths_n == 0 || fate == FF_KEPT) {
        return now;
    }
    if (fate == FF_LOST || r % 3 == 0) {
        return f->lengths[0].old;
    }
    if (r % 3 == 1) {
        return now;
    }
    i = (size_t)((r >> 8) % f->lengths_n);
    a = f->lengths[i].old;
    b = i + 1 < f->lengths_n ? f->lengths[i + 1].old : now;
    return b > a ? a + (r >> 24) % (b - a + 1) : a;
}

/* One of the states that this sector had; the newest is what is below. */
static int cut_sector(struct ff_inode *f, const struct ff_sector *s, uint64_t pick,
                      uint64_t size, struct ff_toll *toll)
{
    static const uint8_t zeros[FF_SECTOR];
    const uint8_t *old;
    uint64_t at = s->no * FF_SECTOR;

    toll->sectors++;
    if (pick >= s->n) {
        return 0;
    }
    toll->sectors_undone++;
    if (at >= size) {
        return 0;
    }
    old = s->v[pick].old != NULL ? s->v[pick].old : zeros;
    return write_below(f->fd, at, old,
                       (size_t)(size - at < FF_SECTOR ? size - at : FF_SECTOR));
}

static int by_number(const void *a, const void *b)
{
    const struct ff_sector *x = a, *y = b;

    return x->no < y->no ? -1 : x->no > y->no;
}

int ff_file_cut(struct ff_inode *f, enum ff_fate fate, uint64_t *random,
                struct ff_toll *toll)
{
    uint64_t mode = ff_random(random) % 4; /* all, nothing, any, any */
    uint64_t size, r = ff_random(random);
    size_t n = 0;
    int rv;

    if (f->sectors_n == 0 && f->lengths_n == 0) {
        return 0;
    }
    if (fate == FF_MIXED && mode < 2) {
        fate = mode == 0 ? FF_KEPT : FF_LOST;
    }
    if (fate == FF_KEPT && f->doomed > 0) {
        fate = FF_MIXED;
    }
    size = pick_length(f, fate, r);
    rv = ftruncate(f->fd, (off_t)size) == 0 ? 0 : -errno;
    for (size_t i = 0; i < f->sectors_size; i++) {
        if (f->sectors[i].n > 0) {
            f->sectors[n++] = f->sectors[i];
        }
    }
    f->sectors_size = n;
    if (n > 0) {
        qsort(f->sectors, n, sizeof *f->sectors, by_number);
    }
    for (size_t i = 0; i < n && rv == 0; i++) {
        const struct ff_sector *s = &f->sectors[i];
        uint64_t pick = (ff_random(random) >> 16) % (s->n + 1);

        pick = fate == FF_LOST ? 0 : fate == FF_KEPT ? s->n : pick;
        rv = cut_sector(f, s, pick, size, toll);
    }
    toll->files++;
    ff_file_settled(f);
    return rv;
}

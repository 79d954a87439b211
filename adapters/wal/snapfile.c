#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "adapters/wal/files.h"
#include "adapters/wal/record.h"
#include "adapters/wal/snap.h"
#include "base/crc32c.h"
#include "base/mem.h"

/* header (with conf) | chunk ... | trailer: docs/disk-format.md */

#define SNAP_MAGIC UINT64_C(0x70616e7374676176) /* "vagtsnap" */

enum {
    SNAP_VERSION = 1,
    SNAP_HEADER = 48, /* Then conf, then the crc of both. */
    SNAP_CONF_MAX = 64 * 1024,
    SNAP_CHUNK = 64 * 1024,
    SNAP_CHUNK_HEADER = 8, /* length, crc */
    SNAP_TRAILER = 24      /* TRAILER_MARK, crc of all chunks, total length, crc */
};
static const uint32_t TRAILER_MARK = UINT32_MAX;

struct ad_wal_snap_writer
{
    struct ad_wal_fs fs;
    char tmp[AD_WAL_NAME_MAX];
    char name[AD_WAL_NAME_MAX];
    int file;
    int err; /* The first one; later calls do nothing. */
    uint64_t offset;
    uint64_t total;      /* Bytes of state. */
    uint32_t crc;        /* Of the headers of all chunks so far. */
    struct sy_buf chunk; /* Header included. */
};

static int tmp_name(char tmp[AD_WAL_NAME_MAX], const char *name)
{
    int n = snprintf(tmp, AD_WAL_NAME_MAX, "%s.tmp", name);

    assert(n > 0 && n < AD_WAL_NAME_MAX);
    return 0;
}

/* A new empty file under the temporary name. */
static int create_tmp(const struct ad_wal_fs *fs, const char *tmp)
{
    int rv = ad_wal_unlink(fs, tmp);

    return rv < 0 ? rv : fs->create(fs->ctx, tmp);
}

/* Close in any case; durable under @name if all went well. */
static int finish(const struct ad_wal_fs *fs, int file, int err, const char *tmp,
                  const char *name, struct sy_errbuf *eb)
{
    int rv;

    if (err == 0) {
        err = fs->sync(fs->ctx, file);
    }
    rv = fs->close(fs->ctx, file);
    err = err < 0 ? err : rv;
    if (err == 0) {
        err = fs->rename(fs->ctx, tmp, name);
    }
    if (err == 0) {
        err = fs->sync_dir(fs->ctx);
    }
    if (err < 0) {
        ad_wal_discard(fs, tmp);
        return ad_wal_fail(eb, err, "write", name);
    }
    return 0;
}

/* --- writing --- */

static void put(struct ad_wal_snap_writer *w, const void *p, size_t n)
{
    if (w->err == 0) {
        w->err = w->fs.write(w->fs.ctx, w->file, w->offset, p, n);
        w->offset += n;
    }
}

static void put_header(struct ad_wal_snap_writer *w, const struct cs_snapshot_meta *meta)
{
    struct sy_buf b = {0};

    sy_buf_u64(&b, SNAP_MAGIC);
    sy_buf_u32(&b, SNAP_VERSION);
    sy_buf_u32(&b, (uint32_t)meta->conf.len);
    sy_buf_u64(&b, meta->index);
    sy_buf_u64(&b, meta->term);
    sy_buf_u64(&b, meta->conf_index);
    sy_buf_u64(&b, 0);
    assert(b.len == SNAP_HEADER);
    sy_buf_put(&b, meta->conf.p, meta->conf.len);
    sy_buf_u32(&b, sy_crc32c(0, b.p, b.len));
    put(w, b.p, b.len);
    sy_buf_free(&b);
}

int ad_wal_snap_create(const struct ad_wal_fs *fs, const struct cs_snapshot_meta *meta,
                       struct ad_wal_snap_writer **ret, struct sy_errbuf *eb)
{
    struct ad_wal_snap_writer *w = sy_calloc(1, sizeof *w);
    int err;

    assert(meta->index > 0);
    assert(meta->conf.len <= SNAP_CONF_MAX);
    w->fs = *fs;
    ad_wal_snap_name(w->name, meta->index, meta->term);
    tmp_name(w->tmp, w->name);
    w->file = create_tmp(fs, w->tmp);
    if (w->file < 0) {
        err = ad_wal_fail(eb, w->file, "create", w->tmp);
        sy_free(w);
        return err;
    }
    sy_buf_reserve(&w->chunk, SNAP_CHUNK_HEADER + SNAP_CHUNK);
    w->chunk.len = SNAP_CHUNK_HEADER;
    put_header(w, meta);
    if (w->err < 0) {
        err = ad_wal_fail(eb, w->err, "write", w->tmp);
        ad_wal_snap_abort(&w);
        return err;
    }
    *ret = w;
    return 0;
}

static void flush_chunk(struct ad_wal_snap_writer *w)
{
    size_t n = w->chunk.len - SNAP_CHUNK_HEADER;

    if (n == 0) {
        return;
    }
    ad_wal_put32(w->chunk.p, (uint32_t)n);
    ad_wal_put32(w->chunk.p + 4, sy_crc32c(0, w->chunk.p + SNAP_CHUNK_HEADER, n));
    w->crc = sy_crc32c(w->crc, w->chunk.p, SNAP_CHUNK_HEADER);
    w->total += n;
    put(w, w->chunk.p, w->chunk.len);
    w->chunk.len = SNAP_CHUNK_HEADER;
}

int ad_wal_snap_write(struct ad_wal_snap_writer *w, const void *p, size_t n)
{
    const uint8_t *q = p;

    while (n > 0 && w->err == 0) {
        size_t room = SNAP_CHUNK_HEADER + SNAP_CHUNK - w->chunk.len;
        size_t k = n < room ? n : room;

        sy_buf_put(&w->chunk, q, k);
        q += k;
        n -= k;
        if (k == room) {
            flush_chunk(w);
        }
    }
    return w->err;
}

static void put_trailer(struct ad_wal_snap_writer *w)
{
    uint8_t t[SNAP_TRAILER] = {0};

    ad_wal_put32(t, TRAILER_MARK);
    ad_wal_put32(t + 4, w->crc);
    ad_wal_put64(t + 8, w->total);
    ad_wal_put32(t + 20, sy_crc32c(0, t, 20));
    put(w, t, sizeof t);
}

int ad_wal_snap_commit(struct ad_wal_snap_writer **ref, struct sy_errbuf *eb)
{
    struct ad_wal_snap_writer *w = *ref;
    int rv;

    flush_chunk(w);
    put_trailer(w);
    rv = finish(&w->fs, w->file, w->err, w->tmp, w->name, eb);
    sy_buf_free(&w->chunk);
    sy_free(w);
    *ref = NULL;
    return rv;
}

void ad_wal_snap_abort(struct ad_wal_snap_writer **ref)
{
    struct ad_wal_snap_writer *w = *ref;

    if (w == NULL) {
        return;
    }
    (void)w->fs.close(w->fs.ctx, w->file);
    ad_wal_discard(&w->fs, w->tmp);
    sy_buf_free(&w->chunk);
    sy_free(w);
    *ref = NULL;
}

void ad_wal_snap_name(char name[AD_WAL_NAME_MAX], uint64_t index, uint64_t term)
{
    ad_wal_name_put(name, AD_WAL_F_SNAP, index, term);
}

/* --- reading --- */

struct reader
{
    const struct ad_wal_fs *fs;
    int file;
    const char *name;
    uint64_t offset;
    uint64_t size;
    struct sy_buf raw;
    struct sy_errbuf *eb;
};

static int bad(struct reader *r, const char *what)
{
    return sy_fail(r->eb, SY_ECORRUPT, "%s, offset %" PRIu64 ": %s; " AD_WAL_MEND,
                   r->name, r->offset, what);
}

/* The next @n bytes into raw; does not move on. */
static int peek(struct reader *r, size_t n)
{
    int64_t got;

    if (n > r->size - r->offset) {
        return bad(r, "the snapshot is cut short");
    }
    r->raw.len = 0;
    got = r->fs->read(r->fs->ctx, r->file, r->offset, sy_buf_reserve(&r->raw, n), n);
    if (got < 0) {
        return ad_wal_fail(r->eb, (int)got, "read", r->name);
    }
    if ((uint64_t)got != n) {
        return bad(r, "the snapshot is cut short");
    }
    r->raw.len = n;
    return 0;
}

static int read_header(struct reader *r, uint64_t index, uint64_t term,
                       struct cs_snapshot_meta *ret)
{
    struct sy_cur c;
    uint32_t version, conf_len;
    int rv = peek(r, SNAP_HEADER + 4);

    if (rv < 0) {
        return rv;
    }
    c = (struct sy_cur){.p = r->raw.p, .n = r->raw.len};
    if (sy_cur_u64(&c) != SNAP_MAGIC) {
        return bad(r, "this is no snapshot");
    }
    version = sy_cur_u32(&c);
    conf_len = sy_cur_u32(&c);
    if (conf_len > SNAP_CONF_MAX) {
        return bad(r, "the header is damaged");
    }
    rv = peek(r, SNAP_HEADER + conf_len + 4);
    if (rv < 0) {
        return rv;
    }
    if (ad_wal_get32(r->raw.p + SNAP_HEADER + conf_len) !=
        sy_crc32c(0, r->raw.p, SNAP_HEADER + conf_len)) {
        return bad(r, "the header is damaged");
    }
    if (version != SNAP_VERSION) {
        return sy_fail(r->eb, SY_EVERSION,
                       "%s: format %" PRIu32
                       ", this vagtd knows %d: install the version "
                       "that wrote it",
                       r->name, version, SNAP_VERSION);
    }
    if (ad_wal_get64(r->raw.p + 16) != index || ad_wal_get64(r->raw.p + 24) != term) {
        return bad(r, "this is another snapshot under a wrong name");
    }
    *ret = (struct cs_snapshot_meta){
        .index = index, .term = term, .conf_index = ad_wal_get64(r->raw.p + 32)};
    sy_buf_put(&ret->conf, r->raw.p + SNAP_HEADER, conf_len);
    r->offset += SNAP_HEADER + conf_len + 4;
    return 0;
}

static int read_trailer(struct reader *r, uint32_t crc, uint64_t total)
{
    int rv = peek(r, SNAP_TRAILER);
    const uint8_t *t = r->raw.p;

    if (rv < 0) {
        return rv;
    }
    if (ad_wal_get32(t + 20) != sy_crc32c(0, t, 20) || ad_wal_get32(t + 4) != crc ||
        ad_wal_get64(t + 8) != total || ad_wal_get32(t + 16) != 0) {
        return bad(r, "the end of the snapshot is damaged");
    }
    r->offset += SNAP_TRAILER;
    return r->offset == r->size ? 0 : bad(r, "something follows the end of the snapshot");
}

static int read_chunks(struct reader *r, int (*each)(void *data, const void *p, size_t n),
                       void *data)
{
    uint32_t crc = 0;
    uint64_t total = 0;

    for (;;) {
        uint32_t n;
        int rv = peek(r, SNAP_CHUNK_HEADER);

        if (rv < 0) {
            return rv;
        }
        n = ad_wal_get32(r->raw.p);
        if (n == TRAILER_MARK) {
            return read_trailer(r, crc, total);
        }
        if (n == 0 || n > SNAP_CHUNK) {
            return bad(r, "the snapshot is damaged");
        }
        rv = peek(r, SNAP_CHUNK_HEADER + n);
        if (rv < 0) {
            return rv;
        }
        if (ad_wal_get32(r->raw.p + 4) != sy_crc32c(0, r->raw.p + SNAP_CHUNK_HEADER, n)) {
            return bad(r, "the snapshot is damaged");
        }
        crc = sy_crc32c(crc, r->raw.p, SNAP_CHUNK_HEADER);
        total += n;
        r->offset += SNAP_CHUNK_HEADER + n;
        rv = each != NULL ? each(data, r->raw.p + SNAP_CHUNK_HEADER, n) : 0;
        if (rv < 0) {
            return rv;
        }
    }
}

static int verify(const struct ad_wal_fs *fs, int file, const char *name, uint64_t index,
                  uint64_t term, struct cs_snapshot_meta *ret_meta,
                  int (*each)(void *data, const void *p, size_t n), void *data,
                  struct sy_errbuf *eb)
{
    struct reader r = {.fs = fs, .file = file, .name = name, .eb = eb};
    struct cs_snapshot_meta meta = {0};
    int64_t size = fs->size(fs->ctx, file);
    int rv;

    if (size < 0) {
        return ad_wal_fail(eb, (int)size, "measure", name);
    }
    r.size = (uint64_t)size;
    rv = read_header(&r, index, term, &meta);
    if (rv == 0) {
        rv = read_chunks(&r, each, data);
    }
    sy_buf_free(&r.raw);
    if (rv == 0 && ret_meta != NULL) {
        *ret_meta = meta;
    } else {
        sy_buf_free(&meta.conf);
    }
    return rv;
}

int ad_wal_snap_verify(const struct ad_wal_fs *fs, const char *name, uint64_t index,
                       uint64_t term, struct cs_snapshot_meta *ret_meta,
                       int (*each)(void *data, const void *p, size_t n), void *data,
                       struct sy_errbuf *eb)
{
    int file = fs->open(fs->ctx, name), rv;

    if (file < 0) {
        return ad_wal_fail(eb, file, "open", name);
    }
    rv = verify(fs, file, name, index, term, ret_meta, each, data, eb);
    (void)fs->close(fs->ctx, file); /* Only read. */
    return rv;
}

int ad_wal_snap_read(const struct ad_wal_fs *fs, uint64_t index, uint64_t term,
                     int (*each)(void *data, const void *p, size_t n), void *data,
                     struct sy_errbuf *eb)
{
    char name[AD_WAL_NAME_MAX];

    ad_wal_snap_name(name, index, term);
    return ad_wal_snap_verify(fs, name, index, term, NULL, each, data, eb);
}

/* --- incoming --- */

int ad_wal_incoming_create(const struct ad_wal_fs *fs, uint64_t index, uint64_t term,
                           int *ret_file)
{
    char name[AD_WAL_NAME_MAX], tmp[AD_WAL_NAME_MAX];
    int file;

    ad_wal_name_put(name, AD_WAL_F_INCOMING, index, term);
    tmp_name(tmp, name);
    file = create_tmp(fs, tmp);
    if (file < 0) {
        return file;
    }
    *ret_file = file;
    return 0;
}

int ad_wal_incoming_commit(const struct ad_wal_fs *fs, int file, uint64_t index,
                           uint64_t term, struct sy_errbuf *eb)
{
    char name[AD_WAL_NAME_MAX], tmp[AD_WAL_NAME_MAX];
    int rv;

    ad_wal_name_put(name, AD_WAL_F_INCOMING, index, term);
    tmp_name(tmp, name);
    rv = verify(fs, file, name, index, term, NULL, NULL, NULL, eb);
    if (rv < 0) {
        (void)fs->close(fs->ctx, file); /* The error is told. */
        ad_wal_discard(fs, tmp);
        return rv;
    }
    return finish(fs, file, 0, tmp, name, eb);
}

/* --- prune --- */

/* A transfer or an install may be under way while a snapshot of our own is
 * finished: what is newer than @index stays, whoever it belongs to. */
static bool superfluous(const struct ad_wal_found *f, uint64_t index)
{
    char name[AD_WAL_NAME_MAX];
    uint64_t a, b;
    size_t len = strlen(f->name);

    switch ((int)f->kind) {
    case AD_WAL_F_SNAP:
        return f->a < index;
    case AD_WAL_F_INCOMING:
        return f->a <= index;
    case AD_WAL_F_TMP:
        memcpy(name, f->name, len + 1);
        name[len - 4] = 0;
        switch ((int)ad_wal_name_get(name, &a, &b)) {
        case AD_WAL_F_SNAP:
            return true;
        case AD_WAL_F_INCOMING:
            return a <= index;
        default:
            return false;
        }
    default:
        return false;
    }
}

int ad_wal_snap_prune(const struct ad_wal_fs *fs, uint64_t index)
{
    struct ad_wal_folder folder;
    int rv = ad_wal_folder_read(&folder, fs, NULL);

    for (size_t i = 0; rv == 0 && i < folder.n; i++) {
        if (superfluous(&folder.p[i], index)) {
            rv = ad_wal_unlink(fs, folder.p[i].name);
        }
    }
    ad_wal_folder_free(&folder);
    return rv == 0 ? fs->sync_dir(fs->ctx) : rv;
}

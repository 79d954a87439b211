#include "adapters/wal/files.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/wal/record.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "base/mem.h"

#define MARK_MAGIC UINT64_C(0x6b72616d74676176) /* "vagtmark" */

enum { DIGITS = 20, IDENTITY_FILE_MAX = 1024 };

/* --- names --- */

static const struct
{
    enum ad_wal_file kind;
    unsigned numbers;
    const char *text;
} forms[] = {
    {AD_WAL_F_IDENTITY, 0, "identity"}, {AD_WAL_F_MARK, 0, "mark"},
    {AD_WAL_F_MADE, 0, "spare-made"},   {AD_WAL_F_NEW, 0, "seg.tmp"},
    {AD_WAL_F_SEG, 1, "seg-"},          {AD_WAL_F_SPARE, 1, "spare-"},
    {AD_WAL_F_SNAP, 2, "snap-"},        {AD_WAL_F_INCOMING, 2, "incoming-"},
};

enum { FORMS = sizeof forms / sizeof forms[0] };

void ad_wal_name_put(char name[AD_WAL_NAME_MAX], enum ad_wal_file kind, uint64_t a,
                     uint64_t b)
{
    unsigned i = 0;

    while (forms[i].kind != kind) {
        i++;
        assert(i < FORMS);
    }
    switch (forms[i].numbers) {
    case 0:
        snprintf(name, AD_WAL_NAME_MAX, "%s", forms[i].text);
        break;
    case 1:
        snprintf(name, AD_WAL_NAME_MAX, "%s%020" PRIu64, forms[i].text, a);
        break;
    default:
        snprintf(name, AD_WAL_NAME_MAX, "%s%020" PRIu64 "-%020" PRIu64, forms[i].text, a,
                 b);
        break;
    }
}

static const char *take_number(const char *p, uint64_t *ret)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < DIGITS; i++) {
        if (p == NULL || p[i] < '0' || p[i] > '9') {
            return NULL;
        }
        v = v * 10 + (uint64_t)(p[i] - '0');
    }
    *ret = v;
    return p + DIGITS;
}

enum ad_wal_file ad_wal_name_get(const char *name, uint64_t *ret_a, uint64_t *ret_b)
{
    size_t len = strlen(name);

    *ret_a = *ret_b = 0;
    for (unsigned i = 0; i < FORMS; i++) {
        size_t n = strlen(forms[i].text);
        const char *p = name + n;

        if (strncmp(name, forms[i].text, n) != 0) {
            continue;
        }
        if (forms[i].numbers > 0) {
            p = take_number(p, ret_a);
        }
        if (forms[i].numbers > 1) {
            p = p != NULL && *p == '-' ? take_number(p + 1, ret_b) : NULL;
        }
        if (p != NULL && *p == 0) {
            return forms[i].kind;
        }
        if (len > 4 && strcmp(name + len - 4, ".tmp") == 0) {
            return AD_WAL_F_TMP;
        }
    }
    return AD_WAL_F_OTHER;
}

static void found(void *data, const char *name)
{
    struct ad_wal_folder *f = data;
    struct ad_wal_found v = {0};

    if (strlen(name) >= AD_WAL_NAME_MAX || f->n > AD_WAL_FILES_MAX) {
        return;
    }
    v.kind = ad_wal_name_get(name, &v.a, &v.b);
    if (v.kind == AD_WAL_F_OTHER) {
        return;
    }
    snprintf(v.name, sizeof v.name, "%s", name);
    if (f->n == f->cap) {
        f->cap = f->cap * 2 + 16;
        f->p = sy_realloc(f->p, f->cap * sizeof *f->p);
    }
    f->p[f->n++] = v;
    f->count[v.kind]++;
}

static int compare(const void *a, const void *b)
{
    const struct ad_wal_found *x = a, *y = b;

    if (x->kind != y->kind) {
        return x->kind < y->kind ? -1 : 1;
    }
    if (x->a != y->a) {
        return x->a < y->a ? -1 : 1;
    }
    return x->b < y->b ? -1 : x->b > y->b;
}

int ad_wal_folder_read(struct ad_wal_folder *ret, const struct ad_wal_fs *fs,
                       struct sy_errbuf *eb)
{
    int rv;

    *ret = (struct ad_wal_folder){0};
    rv = fs->list(fs->ctx, found, ret);
    if (rv == 0 && ret->n > AD_WAL_FILES_MAX) {
        rv = sy_fail(eb, SY_ELIMIT, "the folder of the log has more than %d files",
                     AD_WAL_FILES_MAX);
    } else if (rv < 0) {
        rv = ad_wal_fail(eb, rv, "list", "the folder of the log");
    }
    if (rv < 0) {
        ad_wal_folder_free(ret);
        return rv;
    }
    if (ret->n > 0) {
        qsort(ret->p, ret->n, sizeof *ret->p, compare);
    }
    return 0;
}

void ad_wal_folder_free(struct ad_wal_folder *f)
{
    sy_free(f->p);
    *f = (struct ad_wal_folder){0};
}

/* --- mark --- */

void ad_wal_mark_put(uint8_t to[AD_WAL_MARK_SIZE], const struct ad_wal_mark *m)
{
    const uint64_t words[] = {MARK_MAGIC, AD_WAL_VERSION, m->counter, m->life,
                              m->segment, m->offset,      m->first,   m->identity};

    memset(to, 0, AD_WAL_MARK_SIZE);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        ad_wal_put64(to + 8 * i, words[i]);
    }
    ad_wal_put32(to + AD_WAL_MARK_SIZE - 8, sy_crc32c(0, to, AD_WAL_MARK_SIZE - 8));
}

static bool mark_get(const uint8_t *p, struct ad_wal_mark *ret, uint64_t *ret_version)
{
    if (ad_wal_get64(p) != MARK_MAGIC ||
        ad_wal_get32(p + AD_WAL_MARK_SIZE - 8) != sy_crc32c(0, p, AD_WAL_MARK_SIZE - 8)) {
        return false;
    }
    *ret_version = ad_wal_get64(p + 8);
    *ret = (struct ad_wal_mark){.counter = ad_wal_get64(p + 16),
                                .life = ad_wal_get64(p + 24),
                                .segment = ad_wal_get64(p + 32),
                                .offset = ad_wal_get64(p + 40),
                                .first = ad_wal_get64(p + 48),
                                .identity = ad_wal_get64(p + 56)};
    return true;
}

int ad_wal_mark_read(const struct ad_wal_fs *fs, struct ad_wal_mark *ret,
                     unsigned *ret_slot, bool *ret_damaged, struct sy_errbuf *eb)
{
    struct sy_buf raw = {0};
    struct ad_wal_mark slot[2];
    uint64_t version[2] = {0};
    bool valid[2] = {false, false};
    unsigned newest;
    int rv = ad_wal_slurp(fs, "mark", 2 * AD_WAL_MARK_STRIDE, &raw, eb);

    if (rv < 0) {
        sy_buf_free(&raw);
        return rv;
    }
    for (size_t i = 0; i < 2; i++) {
        if (raw.len >= i * AD_WAL_MARK_STRIDE + AD_WAL_MARK_SIZE) {
            valid[i] = mark_get(raw.p + i * AD_WAL_MARK_STRIDE, &slot[i], &version[i]);
        }
    }
    sy_buf_free(&raw);
    if (!valid[0] && !valid[1]) {
        return sy_fail(eb, SY_ECORRUPT, "mark: both slots are damaged; " AD_WAL_MEND);
    }
    newest = !valid[0] || (valid[1] && slot[1].counter > slot[0].counter) ? 1 : 0;
    if (version[newest] > AD_WAL_VERSION) {
        return sy_fail(eb, SY_EVERSION, "mark: format %" PRIu64 ", this vagtd knows %d",
                       version[newest], AD_WAL_VERSION);
    }
    *ret = slot[newest];
    *ret_slot = newest;
    *ret_damaged = !valid[0] || !valid[1];
    return 0;
}

/* --- identity --- */

uint64_t ad_wal_identity_hash(const char *identity)
{
    return sy_hash(identity, strlen(identity), 0);
}

void ad_wal_identity_put(struct sy_buf *to, const char *identity)
{
    size_t from = to->len;

    assert(strlen(identity) <= AD_WAL_IDENTITY_MAX);
    assert(strchr(identity, '\n') == NULL);
    sy_buf_fmt(to, "vagt log\nformat %d\nidentity %s\n", AD_WAL_VERSION, identity);
    sy_buf_fmt(to, "crc32c %08" PRIx32 "\n", sy_crc32c(0, to->p + from, to->len - from));
}

/* Where the identity is in the text, or NULL; its length. */
static const char *find_identity(const char *text, size_t len, size_t *ret_n,
                                 int *ret_err, struct sy_errbuf *eb)
{
    static const char first[] = "vagt log\nformat ", second[] = "\nidentity ";
    enum { CRC_LINE = 16 };
    char crc[CRC_LINE + 1], *end;
    unsigned long version;

    *ret_err = SY_ECORRUPT;
    if (len < CRC_LINE) {
        (void)sy_fail(eb, SY_ECORRUPT, "identity: cut short; " AD_WAL_MEND);
        return NULL;
    }
    snprintf(crc, sizeof crc, "crc32c %08" PRIx32 "\n",
             sy_crc32c(0, text, len - CRC_LINE));
    if (memcmp(text + len - CRC_LINE, crc, CRC_LINE) != 0 ||
        strncmp(text, first, sizeof first - 1) != 0) {
        (void)sy_fail(eb, SY_ECORRUPT, "identity: damaged; " AD_WAL_MEND);
        return NULL;
    }
    version = strtoul(text + sizeof first - 1, &end, 10);
    if (version != AD_WAL_VERSION) {
        *ret_err = SY_EVERSION;
        (void)sy_fail(eb, SY_EVERSION,
                      "identity: the log has format %lu, this vagtd knows %d: install "
                      "the version that wrote it",
                      version, AD_WAL_VERSION);
        return NULL;
    }
    if (strncmp(end, second, sizeof second - 1) != 0) {
        (void)sy_fail(eb, SY_ECORRUPT, "identity: malformed; " AD_WAL_MEND);
        return NULL;
    }
    end += sizeof second - 1;
    *ret_n = strcspn(end, "\n");
    *ret_err = 0;
    return end;
}

int ad_wal_identity_read(const struct ad_wal_fs *fs, char ret[AD_WAL_IDENTITY_MAX + 1],
                         struct sy_errbuf *eb)
{
    struct sy_buf raw = {0};
    const char *p = NULL;
    size_t n = 0;
    int rv = ad_wal_slurp(fs, "identity", IDENTITY_FILE_MAX, &raw, eb);

    if (rv == 0) {
        size_t len = raw.len;

        sy_buf_u8(&raw, 0);
        p = find_identity((const char *)raw.p, len, &n, &rv, eb);
    }
    if (p != NULL && n > AD_WAL_IDENTITY_MAX) {
        rv = sy_fail(eb, SY_ECORRUPT, "identity: malformed; " AD_WAL_MEND);
    } else if (p != NULL) {
        memcpy(ret, p, n);
        ret[n] = '\0';
    }
    sy_buf_free(&raw);
    return rv;
}

int ad_wal_identity_check(const struct ad_wal_fs *fs, const char *identity,
                          struct sy_errbuf *eb)
{
    char found[AD_WAL_IDENTITY_MAX + 1];
    int rv = ad_wal_identity_read(fs, found, eb);

    if (rv == 0 && strcmp(found, identity) != 0) {
        return sy_fail(eb, SY_EINVALID,
                       "identity: this log belongs to \"%s\", not to \"%s\": give the "
                       "node its own folder or correct its configuration",
                       found, identity);
    }
    return rv;
}

/* --- files --- */

int ad_wal_fail(struct sy_errbuf *eb, int err, const char *what, const char *name)
{
    return sy_fail(eb, err, "cannot %s %s: %s", what, name, sy_err_text(err));
}

const uint8_t *ad_wal_zeros(void)
{
    static const uint8_t zeros[AD_WAL_ZERO_CHUNK];

    return zeros;
}

int ad_wal_slurp(const struct ad_wal_fs *fs, const char *name, uint64_t max,
                 struct sy_buf *to, struct sy_errbuf *eb)
{
    int64_t size, got = 0;
    int file = fs->open(fs->ctx, name), rv;

    if (file < 0) {
        return ad_wal_fail(eb, file, "open", name);
    }
    size = fs->size(fs->ctx, file);
    if (size > 0 && (uint64_t)size <= max) {
        got = fs->read(fs->ctx, file, 0, sy_buf_reserve(to, (size_t)size), (size_t)size);
    }
    rv = fs->close(fs->ctx, file);
    if (size < 0 || got < 0 || rv < 0) {
        return ad_wal_fail(eb, (int)(size < 0 ? size : got < 0 ? got : rv), "read", name);
    }
    if ((uint64_t)size > max) {
        return sy_fail(eb, SY_ECORRUPT,
                       "%s: %" PRId64 " bytes are too many; " AD_WAL_MEND, name, size);
    }
    if (got != size) {
        return sy_fail(eb, SY_ECORRUPT, "%s: cut short; " AD_WAL_MEND, name);
    }
    to->len += (size_t)got;
    return 0;
}

static int fill(const struct ad_wal_fs *fs, int file, const void *p, size_t n,
                uint64_t size)
{
    int rv = n > 0 ? fs->write(fs->ctx, file, 0, p, n) : 0;
    uint64_t at = n;

    while (rv == 0 && at < size) {
        size_t k =
            size - at < AD_WAL_ZERO_CHUNK ? (size_t)(size - at) : AD_WAL_ZERO_CHUNK;

        rv = fs->write(fs->ctx, file, at, ad_wal_zeros(), k);
        at += k;
    }
    return rv == 0 ? fs->sync(fs->ctx, file) : rv;
}

int ad_wal_spill(const struct ad_wal_fs *fs, const char *name, const void *p, size_t n,
                 uint64_t size, struct sy_errbuf *eb)
{
    char tmp[AD_WAL_NAME_MAX];
    int file, rv, rv_close;

    snprintf(tmp, sizeof tmp, "%s.tmp", name);
    rv = ad_wal_unlink(fs, tmp);
    if (rv < 0) {
        return ad_wal_fail(eb, rv, "remove", tmp);
    }
    file = fs->create(fs->ctx, tmp);
    if (file < 0) {
        return ad_wal_fail(eb, file, "create", tmp);
    }
    rv = fill(fs, file, p, n, size);
    rv_close = fs->close(fs->ctx, file);
    rv = rv < 0 ? rv : rv_close;
    if (rv == 0) {
        rv = fs->rename(fs->ctx, tmp, name);
    }
    if (rv == 0) {
        rv = fs->sync_dir(fs->ctx);
    }
    if (rv < 0) {
        ad_wal_discard(fs, tmp);
        return ad_wal_fail(eb, rv, "write", tmp);
    }
    return 0;
}

int ad_wal_unlink(const struct ad_wal_fs *fs, const char *name)
{
    int rv = fs->unlink(fs->ctx, name);

    return rv == -ENOENT ? 0 : rv;
}

void ad_wal_discard(const struct ad_wal_fs *fs, const char *name)
{
    (void)fs->unlink(fs->ctx, name);
}

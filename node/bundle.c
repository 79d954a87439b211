#include "node/bundle.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "adapters/seal/seal.h"
#include "base/mem.h"

enum { BLOCK = 512, SUMS_LINE = 64 + 2 };

#define MANIFEST "manifest.txt"
#define STATE "state.snapshot"
#define SUMS "SHA256SUMS"

/* --- ustar (POSIX.1-1988): header of 512 bytes, content, padding --- */

struct ustar
{
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8], type;
    char linkname[100], magic[6], version[2], uname[32], gname[32], devmajor[8],
        devminor[8], prefix[155], pad[12];
};

static unsigned checksum(const struct ustar *h)
{
    const unsigned char *p = (const unsigned char *)h;
    unsigned sum = 0;

    for (size_t i = 0; i < sizeof *h; i++) {
        bool own =
            i >= offsetof(struct ustar, chksum) && i < offsetof(struct ustar, type);

        sum += own ? ' ' : p[i];
    }
    return sum;
}

static void put_header(struct sy_buf *tar, const char *name, size_t n, uint64_t at_ms)
{
    struct ustar h = {.type = '0'};
    char number[16];

    static_assert(sizeof h == BLOCK, "a block");
    assert(strlen(name) < sizeof h.name);
    assert(n <= ND_BUNDLE_FILE_MAX);
    memcpy(h.name, name, strlen(name));
    memcpy(h.mode, "0000600", 8);
    memcpy(h.uid, "0000000", 8);
    memcpy(h.gid, "0000000", 8);
    snprintf(number, sizeof number, "%011llo", (unsigned long long)n);
    memcpy(h.size, number, sizeof h.size);
    snprintf(number, sizeof number, "%011llo", (unsigned long long)(at_ms / 1000));
    memcpy(h.mtime, number, sizeof h.mtime);
    memcpy(h.magic, "ustar", 6);
    memcpy(h.version, "00", 2);
    snprintf(number, sizeof number, "%06o", checksum(&h));
    memcpy(h.chksum, number, 7);
    h.chksum[7] = ' ';
    sy_buf_put(tar, &h, sizeof h);
}

static size_t padded(size_t n)
{
    return (n + BLOCK - 1) / BLOCK * BLOCK;
}

void nd_bundle_add(struct sy_buf *tar, const char *name, const void *p, size_t n,
                   uint64_t at_ms, struct sy_buf *sums)
{
    static const uint8_t zeros[BLOCK];

    put_header(tar, name, n, at_ms);
    sy_buf_put(tar, p, n);
    sy_buf_put(tar, zeros, padded(n) - n);
    if (sums != NULL) {
        char hex[AD_SEAL_SUM_SIZE];

        ad_seal_sum(p, n, hex);
        sy_buf_fmt(sums, "%s  %s\n", hex, name);
    }
}

/* --- building --- */

static int collect(void *data, const void *p, size_t n)
{
    struct sy_buf *b = data;

    if (b->len + n > ND_BUNDLE_FILE_MAX) {
        return SY_ELIMIT;
    }
    sy_buf_put(b, p, n);
    return 0;
}

static void put_manifest(struct sy_buf *b, const struct nd_bundle_meta *m)
{
    time_t at = (time_t)(m->taken_ms / 1000);
    struct tm tm;
    char when[32] = "?";

    if (gmtime_r(&at, &tm) != NULL) {
        (void)!strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    }
    sy_buf_fmt(b, "vagt backup\nformat %d\ncluster %s\nnode %s\nversion %s\n",
               ND_BUNDLE_VERSION, m->cluster, m->node, m->version);
    sy_buf_fmt(b, "taken %s\ntaken_ms %" PRIu64 "\n", when, m->taken_ms);
    sy_buf_fmt(b, "index %" PRIu64 "\nterm %" PRIu64 "\nhash %016" PRIx64 "\n", m->index,
               m->term, m->hash);
    for (unsigned i = 0; i < m->members_n; i++) {
        sy_buf_fmt(b, "member %" PRIu64 "\n", m->members[i]);
    }
    sy_buf_fmt(b, "limits %u %u %u %u %u\n", m->limits.areas_max, m->limits.devices_max,
               m->limits.readings_max, m->limits.commands_max, m->limits.letters_max);
}

int nd_bundle_begin(struct sy_buf *tar, struct sy_buf *sums, struct nd_bundle_meta *meta,
                    struct rp_store *store, struct sy_errbuf *eb)
{
    struct sy_buf text = {.p = NULL}, state = {.p = NULL};
    int rv = rp_store_snapshot(store, collect, &state);

    if (rv == 0) {
        meta->index = rp_store_index(store);
        meta->hash = rp_store_hash(store);
        meta->limits = *rp_store_limits(store);
        put_manifest(&text, meta);
        nd_bundle_add(tar, MANIFEST, text.p, text.len, meta->taken_ms, sums);
        nd_bundle_add(tar, STATE, state.p, state.len, meta->taken_ms, sums);
    } else {
        (void)sy_fail(eb, rv, "the state cannot be encoded: %s", sy_err_text(rv));
    }
    sy_buf_free(&text);
    sy_buf_free(&state);
    return rv;
}

void nd_bundle_end(struct sy_buf *tar, const struct sy_buf *sums, uint64_t at_ms)
{
    static const uint8_t zeros[2 * BLOCK];

    nd_bundle_add(tar, SUMS, sums->p, sums->len, at_ms, NULL);
    sy_buf_put(tar, zeros, sizeof zeros);
}

void nd_bundle_name(char *to, size_t size, const struct nd_bundle_meta *meta,
                    bool encrypted)
{
    time_t at = (time_t)(meta->taken_ms / 1000);
    struct tm tm;
    char when[32] = "0";

    if (gmtime_r(&at, &tm) != NULL) {
        (void)!strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", &tm);
    }
    snprintf(to, size, "vagt-%s-%s-%012" PRIu64 ".tar%s", meta->cluster, when,
             meta->index, encrypted ? ".cms" : "");
}

/* --- reading --- */

static int bad(struct sy_errbuf *eb, const char *what)
{
    return sy_fail(eb, SY_ECORRUPT, "the backup is damaged: %s", what);
}

static bool octal(const char *p, size_t size, uint64_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < size && p[i] != '\0' && p[i] != ' '; i++) {
        if (p[i] < '0' || p[i] > '7') {
            return false;
        }
        *ret = *ret * 8 + (uint64_t)(p[i] - '0');
    }
    return true;
}

static int read_members(struct nd_bundle *b, const uint8_t *p, size_t n,
                        struct sy_errbuf *eb)
{
    size_t at = 0;

    while (at + BLOCK <= n && p[at] != 0) {
        struct nd_bundle_member *m = &b->members[b->members_n];
        struct ustar h;
        uint64_t size, sum;

        memcpy(&h, p + at, sizeof h);
        if (memcmp(h.magic, "ustar", 5) != 0 || !octal(h.chksum, sizeof h.chksum, &sum) ||
            sum != checksum(&h) || !octal(h.size, sizeof h.size, &size)) {
            return bad(eb, "a header of the archive is none");
        }
        at += BLOCK;
        if (b->members_n == ND_BUNDLE_MEMBERS_MAX || h.name[sizeof h.name - 1] != '\0' ||
            size > n - at || padded((size_t)size) > n - at) {
            return bad(eb, "it is cut short, or holds too much");
        }
        memcpy(m->name, h.name, sizeof m->name);
        m->p = p + at;
        m->n = (size_t)size;
        b->members_n++;
        at += padded((size_t)size);
    }
    return b->members_n > 0 ? 0 : bad(eb, "it is no ustar archive");
}

const struct nd_bundle_member *nd_bundle_find(const struct nd_bundle *b, const char *name)
{
    for (unsigned i = 0; i < b->members_n; i++) {
        if (strcmp(b->members[i].name, name) == 0) {
            return &b->members[i];
        }
    }
    return NULL;
}

/* The line of a file: "<hex>  <name>\n". */
static bool summed(const struct nd_bundle_member *sums, const struct nd_bundle_member *m)
{
    char line[SUMS_LINE + ND_BUNDLE_NAME_SIZE + 2];
    size_t len, at = 0;

    ad_seal_sum(m->p, m->n, line);
    snprintf(line + AD_SEAL_SUM_SIZE - 1, sizeof line - AD_SEAL_SUM_SIZE + 1, "  %s\n",
             m->name);
    len = strlen(line);
    while (at + len <= sums->n) {
        const uint8_t *end = memchr(sums->p + at, '\n', sums->n - at);

        if (memcmp(sums->p + at, line, len) == 0) {
            return true;
        }
        if (end == NULL) {
            break;
        }
        at = (size_t)(end - sums->p) + 1;
    }
    return false;
}

static int check_sums(const struct nd_bundle *b, struct sy_errbuf *eb)
{
    const struct nd_bundle_member *sums = nd_bundle_find(b, SUMS);

    if (sums == NULL || nd_bundle_find(b, MANIFEST) == NULL ||
        nd_bundle_find(b, STATE) == NULL) {
        return bad(eb, "manifest.txt, state.snapshot or SHA256SUMS is missing");
    }
    for (unsigned i = 0; i < b->members_n; i++) {
        if (&b->members[i] != sums && !summed(sums, &b->members[i])) {
            return sy_fail(eb, SY_ECORRUPT,
                           "the backup is damaged: %s is not what SHA256SUMS says",
                           b->members[i].name);
        }
    }
    return 0;
}

/* The rest of the line behind "key ", into @to; NULL-safe for absent keys. */
static const char *value_of(const char *text, const char *key, char *to, size_t size)
{
    size_t len = strlen(key);

    for (const char *p = text; p != NULL && *p != '\0';) {
        const char *end = strchr(p, '\n');

        if (strncmp(p, key, len) == 0 && p[len] == ' ') {
            size_t n = end != NULL ? (size_t)(end - p) - len - 1 : strlen(p) - len - 1;

            snprintf(to, size, "%.*s", (int)n, p + len + 1);
            return end != NULL ? end + 1 : "";
        }
        p = end != NULL ? end + 1 : NULL;
    }
    to[0] = '\0';
    return NULL;
}

static uint64_t number_of(const char *text, const char *key, int base)
{
    char v[32];

    (void)value_of(text, key, v, sizeof v);
    return strtoull(v, NULL, base);
}

/* They come from a file; nothing above those of the configuration. */
static bool sensible(const struct rp_limits *l)
{
    return l->areas_max >= 1 && l->areas_max <= 1024 && l->devices_max >= 1 &&
           l->devices_max <= 1000000 && l->readings_max >= 1 &&
           l->readings_max <= 100000000 && l->commands_max >= 1 &&
           l->commands_max <= 1000000 && l->letters_max >= 1 && l->letters_max <= 1000000;
}

static int read_manifest(struct nd_bundle_meta *m, const struct nd_bundle_member *from,
                         struct sy_errbuf *eb)
{
    char *text = sy_alloc(from->n + 1);
    const char *rest = text;
    char v[96];
    int rv = 0;

    memcpy(text, from->p, from->n);
    text[from->n] = '\0';
    (void)value_of(text, "cluster", m->cluster, sizeof m->cluster);
    (void)value_of(text, "node", m->node, sizeof m->node);
    (void)value_of(text, "version", m->version, sizeof m->version);
    m->index = number_of(text, "index", 10);
    m->term = number_of(text, "term", 10);
    m->hash = number_of(text, "hash", 16);
    m->taken_ms = number_of(text, "taken_ms", 10);
    while (m->members_n < CS_MEMBERS_MAX &&
           (rest = value_of(rest, "member", v, sizeof v)) != NULL) {
        m->members[m->members_n++] = strtoull(v, NULL, 10);
    }
    (void)value_of(text, "limits", v, sizeof v);
    if (sscanf(v, "%u %u %u %u %u", &m->limits.areas_max, &m->limits.devices_max,
               &m->limits.readings_max, &m->limits.commands_max,
               &m->limits.letters_max) != 5 ||
        !sensible(&m->limits) || strncmp(text, "vagt backup\n", 12) != 0 ||
        m->index == 0 || m->cluster[0] == 0) {
        rv = bad(eb, "manifest.txt is no manifest");
    } else if (number_of(text, "format", 10) > ND_BUNDLE_VERSION) {
        rv = sy_fail(eb, SY_EVERSION,
                     "the backup has format %" PRIu64
                     ", this program knows %d: use "
                     "version %s or newer",
                     number_of(text, "format", 10), ND_BUNDLE_VERSION, m->version);
    }
    sy_free(text);
    return rv;
}

int nd_bundle_open(struct nd_bundle *ret, const void *p, size_t n, struct sy_errbuf *eb)
{
    int rv;

    *ret = (struct nd_bundle){.members_n = 0};
    rv = read_members(ret, p, n, eb);
    if (rv == 0) {
        rv = check_sums(ret, eb);
    }
    return rv == 0 ? read_manifest(&ret->meta, nd_bundle_find(ret, MANIFEST), eb) : rv;
}

/* --- the rehearsal --- */

static int feed_all(struct rp_store *s, const struct nd_bundle_member *state,
                    struct sy_errbuf *eb)
{
    struct rp_restore r;
    int rv;

    rp_restore_begin(&r, s, eb);
    rv = rp_restore_feed(&r, state->p, state->n);
    if (rv == 0) {
        rv = rp_restore_end(&r);
    }
    sy_buf_free(&r.carry);
    return rv;
}

int nd_bundle_verify(struct nd_bundle *b, struct sy_errbuf *eb)
{
    size_t size = rp_store_size(&b->meta.limits);
    void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct rp_store *s;
    int rv;

    if (mem == MAP_FAILED) {
        return sy_fail(eb, SY_ELIMIT, "no %zu MiB of address space for the rehearsal",
                       size >> 20);
    }
    s = rp_store_init(&b->meta.limits, mem);
    rv = feed_all(s, nd_bundle_find(b, STATE), eb);
    if (rv == 0 &&
        (rp_store_hash(s) != b->meta.hash || rp_store_index(s) != b->meta.index)) {
        rv = sy_fail(eb, SY_ECORRUPT,
                     "the restored state has hash %016" PRIx64 " at entry %" PRIu64
                     ", the manifest says %016" PRIx64 " at %" PRIu64,
                     rp_store_hash(s), rp_store_index(s), b->meta.hash, b->meta.index);
    }
    if (rv == 0) {
        rv = nd_bundle_check_files(b, s, &b->sets, &b->complete, eb);
    }
    munmap(mem, size);
    return rv;
}

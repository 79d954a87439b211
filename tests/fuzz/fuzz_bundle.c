/* Bytes are a backup: 'r' and the file as it is; 't', the same, but the checksums of its
 * headers are put right; or 'm', the length of the manifest (two
 * bytes), the manifest, the state, for a file whose headers and sums are right, which a
 * fuzzer cannot guess. What is refused says why; what is taken holds what it says. */

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "node/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* A rehearsal in more memory than that takes the fuzzer's time. */
enum { STATE_MAX = 1 << 20 };

static void check_members(const struct nd_bundle *b, const uint8_t *p, size_t n)
{
    assert(b->members_n > 0 && b->members_n <= ND_BUNDLE_MEMBERS_MAX);
    for (unsigned i = 0; i < b->members_n; i++) {
        const struct nd_bundle_member *m = &b->members[i];

        assert(strnlen(m->name, sizeof m->name) < sizeof m->name);
        assert(m->p >= p && m->n <= n && (size_t)(m->p - p) <= n - m->n);
        assert(nd_bundle_find(b, m->name) != NULL);
    }
}

static void check_meta(const struct nd_bundle_meta *m)
{
    assert(m->cluster[0] != '\0' && m->index > 0 && m->members_n <= CS_MEMBERS_MAX);
    assert(strnlen(m->cluster, sizeof m->cluster) < sizeof m->cluster);
    assert(strnlen(m->node, sizeof m->node) < sizeof m->node);
    assert(strnlen(m->version, sizeof m->version) < sizeof m->version);
}

static void take(const uint8_t *p, size_t n)
{
    struct sy_errbuf eb = {.text = ""};
    struct nd_bundle b;

    if (nd_bundle_open(&b, p, n, &eb) != 0) {
        assert(eb.text[0] != '\0');
        return;
    }
    check_members(&b, p, n);
    check_meta(&b.meta);
    if (rp_store_size(&b.meta.limits) <= STATE_MAX && nd_bundle_verify(&b, &eb) != 0) {
        assert(eb.text[0] != '\0');
    }
}

static void make(const uint8_t *p, size_t n, struct sy_buf *tar)
{
    struct sy_buf sums = {.p = NULL};
    size_t len = (size_t)p[0] | (size_t)p[1] << 8;

    p += 2;
    n -= 2;
    len = len < n ? len : n;
    nd_bundle_add(tar, "manifest.txt", p, len, 0, &sums);
    nd_bundle_add(tar, "state.snapshot", p + len, n - len, 0, &sums);
    nd_bundle_end(tar, &sums, 0);
    sy_buf_free(&sums);
}

/* Whatever looks like a header. */
static void mend_headers(uint8_t *p, size_t n)
{
    enum { BLOCK = 512, MAGIC = 257, SUM = 148, SUM_SIZE = 8 };
    char text[SUM_SIZE];

    for (; n >= BLOCK; p += BLOCK, n -= BLOCK) {
        unsigned sum = 0;

        if (memcmp(p + MAGIC, "ustar", 5) != 0) {
            continue;
        }
        memset(p + SUM, ' ', SUM_SIZE);
        for (unsigned i = 0; i < BLOCK; i++) {
            sum += p[i];
        }
        snprintf(text, sizeof text, "%06o", sum);
        memcpy(p + SUM, text, 7);
    }
}

static void take_mended(const uint8_t *p, size_t n)
{
    uint8_t *copy = sy_memdup(p, n);

    mend_headers(copy, n);
    take(copy, n);
    sy_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct sy_buf tar = {.p = NULL};

    if (n > 1 && p[0] == 'r') {
        take(p + 1, n - 1);
    } else if (n > 1 && p[0] == 't') {
        take_mended(p + 1, n - 1);
    } else if (n > 3 && p[0] == 'm') {
        make(p + 1, n - 1, &tar);
        take(tar.p, tar.len);
    }
    sy_buf_free(&tar);
    return 0;
}

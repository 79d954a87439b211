#include "store_pair.h"

#include <stdlib.h>
#include <string.h>

struct rp_store *fuzz_store(unsigned i)
{
    static const struct rp_limits limits = {.areas_max = 3,
                                            .devices_max = 5,
                                            .readings_max = 8,
                                            .commands_max = 6,
                                            .letters_max = 4};
    static struct rp_store *stores[2];
    size_t size = (rp_store_size(&limits) + 63) / 64 * 64;
    void *mem;

    if (stores[i] == NULL) {
        mem = aligned_alloc(64, size);
        if (mem == NULL) {
            abort();
        }
        memset(mem, 0, size);
        stores[i] = rp_store_init(&limits, mem);
    }
    rp_store_reset(stores[i]);
    return stores[i];
}

static int append(void *data, const void *p, size_t n)
{
    sy_buf_put(data, p, n);
    return 0;
}

static void require(int ok)
{
    if (!ok) {
        abort();
    }
}

void fuzz_check(struct rp_store *s, struct rp_store *other)
{
    struct sy_buf bytes = {0};
    struct sy_buf again = {0};
    struct rp_restore r;

    require(rp_store_hash(s) == rp_digest_all(s));
    require(rp_store_snapshot(s, append, &bytes) == 0);
    rp_restore_begin(&r, other, NULL);
    require(rp_restore_feed(&r, bytes.p, bytes.len) == 0);
    require(rp_restore_end(&r) == 0);
    require(rp_store_hash(other) == rp_store_hash(s));
    require(rp_store_open_commands(other) == rp_store_open_commands(s));
    require(rp_store_online(other) == rp_store_online(s));
    require(rp_store_snapshot(other, append, &again) == 0);
    require(again.len == bytes.len && memcmp(again.p, bytes.p, bytes.len) == 0);
    sy_buf_free(&bytes);
    sy_buf_free(&again);
}

int fuzz_apply(struct rp_store *s, const uint8_t *p, size_t n)
{
    uint64_t hash = rp_store_hash(s);
    uint64_t index = rp_store_index(s);
    int rv = rp_store_apply(s, index + 1, p, n, NULL, NULL);

    if (rv != 0) {
        require(rv == SY_ECORRUPT || rv == SY_EVERSION);
        require(rp_store_hash(s) == hash && rp_store_index(s) == index);
    }
    require(rp_store_hash(s) == rp_digest_all(s));
    return rv;
}

/* Bytes are a snapshot without its trailer, the first one says how many come at a
 * time. The fuzzer cannot guess hashes, so they are put right here; whatever is
 * taken must be a state that goes on living. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/mp.h"
#include "store_pair.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static int feed(struct rp_restore *r, const uint8_t *p, size_t n, size_t portion)
{
    for (size_t at = 0; at < n; at += portion) {
        int rv = rp_restore_feed(r, p + at, n - at < portion ? n - at : portion);

        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

static int feed_trailer(struct rp_restore *r)
{
    struct sy_buf b = {0};
    int rv;

    sy_mp_array(&b, RP_TRAILER_LEN);
    sy_mp_uint(&b, RP_REC_END);
    sy_mp_uint(&b, r->records);
    sy_mp_uint(&b, r->hash);
    rv = rp_restore_feed(r, b.p, b.len);
    sy_buf_free(&b);
    return rv;
}

/* Something of everything happens to each device. */
static void go_on(struct rp_store *s)
{
    struct rp_batch b = {0};
    struct sy_buf entry = {0};
    uint64_t now = rp_store_now(s);

    for (uint32_t i = 0; i < rp_store_devices(s); i++) {
        uint64_t ieee = rp_store_device_at(s, i)->ieee;
        char id[2] = {(char)('a' + i), 0};

        if (ieee == 0) {
            abort();
        }
        rp_batch_report(&b, &(struct rp_report){.ieee = ieee,
                                                .state = RP_ON,
                                                .last_seen_ms = now + 1,
                                                .payload_hash = 77,
                                                .values.has = RP_HAS_POWER});
        rp_batch_command(&b, id, ieee, "state", "ON", "fuzz", UINT64_MAX);
        rp_batch_device(&b, 1, ieee, "renamed", "");
        if (i % 2 == 0) {
            rp_batch_gone(&b, ieee);
        }
    }
    rp_batch_shipped(&b, rp_store_readings_last(s), rp_store_revision(s));
    rp_batch_seal(&b, now + 1, 1, &entry);
    if (rp_store_index(s) < UINT64_MAX && fuzz_apply(s, entry.p, entry.len) != 0) {
        abort();
    }
    rp_batch_free(&b);
    sy_buf_free(&entry);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct rp_store *s = fuzz_store(0);
    struct sy_errbuf eb = {""};
    struct rp_restore r;
    int rv;

    if (n == 0) {
        return 0;
    }
    rp_restore_begin(&r, s, &eb);
    rv = feed(&r, p + 1, n - 1, (size_t)p[0] + 1);
    if (rv == 0) {
        rv = feed_trailer(&r);
    }
    if (rv == 0) {
        r.state_hash = rp_digest_all(s);
    }
    if (rp_restore_end(&r) != 0) {
        if (rp_store_index(s) != 0 || rp_store_devices(s) != 0 || eb.text[0] == '\0') {
            abort();
        }
        return 0;
    }
    fuzz_check(s, fuzz_store(1));
    go_on(s);
    fuzz_check(s, fuzz_store(1));
    return 0;
}

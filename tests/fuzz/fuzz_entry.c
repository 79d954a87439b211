/* Bytes are entries of the log, one after another, each led by its length (two
 * bytes, little endian; the last one may be cut). */

#include <stddef.h>
#include <stdint.h>

#include "store_pair.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct rp_store *s = fuzz_store(0);

    while (n >= 2) {
        size_t len = (size_t)p[0] | (size_t)p[1] << 8;

        p += 2;
        n -= 2;
        len = len < n ? len : n;
        (void)fuzz_apply(s, p, len); /* It checks the outcome itself. */
        p += len;
        n -= len;
    }
    fuzz_check(s, fuzz_store(1));
    return 0;
}

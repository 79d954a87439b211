/* Two contents of a file, as an operator would see what differs. Whatever they are, what
 * stands behind the name of a secret does not come out. */

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "node/differ.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char secret[] = "\npassword: S3CR3T\n";
    const uint8_t *half = memchr(data, 0, size);
    size_t n = half != NULL ? (size_t)(half - data) : size;
    char *before = sy_alloc(n + 1 + sizeof secret);
    struct nd_content a, b;
    struct sy_buf out = {.p = NULL};

    if (n > 0) {
        memcpy(before, data, n);
    }
    memcpy(before + n, secret, sizeof secret);
    a = (struct nd_content){before, n + sizeof secret - 1};
    b = half != NULL ? (struct nd_content){(const char *)half + 1, size - n - 1}
                     : (struct nd_content){"", 0};
    (void)nd_differ("configuration.yaml", a, b, 4096, &out);
    if (out.len > 4096 + 64 || (memmem(data, size, "S3CR3T", 6) == NULL && out.len > 0 &&
                                memmem(out.p, out.len, "S3CR3T", 6) != NULL)) {
        abort();
    }
    (void)nd_differ("x", b, a, 4096, &out);
    sy_buf_free(&out);
    sy_free(before);
    return 0;
}

/* SHA-256 (FIPS 180-4), for what must be provable without a library: the audit trail is
 * part of the replicated state, and the folders that hold it have no OpenSSL. */

#ifndef SY_BASE_SHA256_H
#define SY_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SY_SHA256_SIZE = 32 };

struct sy_sha256
{
    uint32_t h[8];
    uint64_t len;
    uint8_t block[64];
};

void sy_sha256_begin(struct sy_sha256 *s);
void sy_sha256_add(struct sy_sha256 *s, const void *p, size_t n);
void sy_sha256_end(struct sy_sha256 *s, uint8_t ret[static SY_SHA256_SIZE]);

#endif /* SY_BASE_SHA256_H */

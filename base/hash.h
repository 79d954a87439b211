/* 64-bit hash of bytes (XXH3, libxxhash): for digests that are compared between
 * nodes and for hash tables. Not for anything an attacker may choose against. */

#ifndef SY_BASE_HASH_H
#define SY_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t sy_hash(const void *p, size_t n, uint64_t seed);

#endif /* SY_BASE_HASH_H */

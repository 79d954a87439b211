/* Who changed what: a chain of records in the replicated state (docs/adr/0029).
 *
 * The hash of a record is SHA-256 over the hash of the one before it and its own bytes.
 * The newest are kept; of what made room the last hash stays, as the anchor that the
 * oldest kept one is chained to. */

#ifndef RP_AUDIT_H
#define RP_AUDIT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"

enum {
    RP_AUDIT_MAX = 10000,
    RP_AUDIT_WHO_SIZE = 48,
    RP_AUDIT_FROM_SIZE = 64,
    RP_AUDIT_WHAT_SIZE = 32,
    RP_AUDIT_ABOUT_SIZE = 160,
    RP_AUDIT_RESULT_SIZE = 160,
    RP_AUDIT_BYTES_MAX = 512 /* of a record, packed */
};

struct rp_audit
{
    uint64_t nr; /* 1.. without gaps */
    uint64_t at_ms;
    uint16_t node; /* that led, and took it down */
    char who[RP_AUDIT_WHO_SIZE];
    char from[RP_AUDIT_FROM_SIZE];
    char what[RP_AUDIT_WHAT_SIZE];
    char about[RP_AUDIT_ABOUT_SIZE];
    char result[RP_AUDIT_RESULT_SIZE];
    uint8_t hash[SY_SHA256_SIZE];
};

/* The bytes that are hashed: MessagePack, without the hash. Appended to @b. */
void rp_audit_put(struct sy_buf *b, const struct rp_audit *a);
/* SY_ECORRUPT: it is none. The hash is left alone. */
SY_MUST_USE int rp_audit_get(struct sy_cur *c, struct rp_audit *ret);
/* @ret may be @before. */
void rp_audit_hash(const uint8_t before[static SY_SHA256_SIZE], const struct rp_audit *a,
                   uint8_t ret[static SY_SHA256_SIZE]);

struct rp_store;
uint64_t rp_store_audit_first(const struct rp_store *s); /* kept; above the last: none */
uint64_t rp_store_audit_last(const struct rp_store *s);
/* NULL: not kept. */
const struct rp_audit *rp_store_audit(const struct rp_store *s, uint64_t nr);
/* The hash that record @nr is chained to. */
const uint8_t *rp_store_audit_before(const struct rp_store *s, uint64_t nr);
/* The first record whose hash is not that of its bytes and of the one before; 0: none. */
uint64_t rp_store_audit_broken(const struct rp_store *s);

#endif /* RP_AUDIT_H */

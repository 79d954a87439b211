#include "adapters/wal/record.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#include "base/crc32c.h"

enum { MAGIC = 0x5756, HEADER_CHECKED_TO = 40 };

void ad_wal_put32(uint8_t *to, uint32_t v)
{
    v = htole32(v);
    memcpy(to, &v, sizeof v);
}

void ad_wal_put64(uint8_t *to, uint64_t v)
{
    v = htole64(v);
    memcpy(to, &v, sizeof v);
}

uint32_t ad_wal_get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

uint64_t ad_wal_get64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

uint32_t ad_wal_seed(uint64_t number, uint64_t life)
{
    uint8_t raw[16];

    ad_wal_put64(raw, number);
    ad_wal_put64(raw + 8, life);
    return sy_crc32c(0, raw, sizeof raw);
}

static uint32_t seed_at(uint32_t seed, uint64_t offset)
{
    uint8_t raw[8];

    ad_wal_put64(raw, offset);
    return sy_crc32c(seed, raw, sizeof raw);
}

size_t ad_wal_record_size(uint64_t len)
{
    return AD_WAL_RECORD_HEADER + (size_t)((len + 7) / 8 * 8);
}

uint32_t ad_wal_record_put(uint8_t *to, uint32_t seed, uint64_t offset,
                           struct ad_wal_record *r)
{
    size_t size = ad_wal_record_size(r->len);

    assert(offset % 8 == 0);
    seed = seed_at(seed, offset);
    ad_wal_put32(to + 4, r->chain);
    ad_wal_put32(to + 8, r->len);
    to[12] = MAGIC & 255;
    to[13] = MAGIC >> 8;
    to[14] = r->kind;
    to[15] = r->type;
    ad_wal_put64(to + 16, r->term);
    ad_wal_put64(to + 24, r->index);
    ad_wal_put64(to + 32, r->safe);
    ad_wal_put32(to + 40, sy_crc32c(seed, to + 4, HEADER_CHECKED_TO - 4));
    ad_wal_put32(to + 44, 0);
    if (r->len > 0) {
        memcpy(to + AD_WAL_RECORD_HEADER, r->data, r->len);
    }
    /* The padding is checked, too: no byte of the log may change unnoticed. */
    memset(to + AD_WAL_RECORD_HEADER + r->len, 0, size - AD_WAL_RECORD_HEADER - r->len);
    r->crc = sy_crc32c(seed, to + 4, size - 4);
    ad_wal_put32(to, r->crc);
    return r->crc;
}

bool ad_wal_record_get(const uint8_t *p, uint64_t size, uint32_t seed, uint64_t offset,
                       struct ad_wal_record *ret)
{
    const uint8_t *q = p + offset;
    uint32_t len;

    if (offset > size || size - offset < AD_WAL_RECORD_HEADER) {
        return false;
    }
    if (q[12] != (MAGIC & 255) || q[13] != MAGIC >> 8) {
        return false;
    }
    len = ad_wal_get32(q + 8);
    if (ad_wal_record_size(len) > size - offset) {
        return false;
    }
    seed = seed_at(seed, offset);
    if (ad_wal_get32(q + 40) != sy_crc32c(seed, q + 4, HEADER_CHECKED_TO - 4)) {
        return false;
    }
    if (ad_wal_get32(q) != sy_crc32c(seed, q + 4, ad_wal_record_size(len) - 4)) {
        return false;
    }
    *ret = (struct ad_wal_record){.crc = ad_wal_get32(q),
                                  .chain = ad_wal_get32(q + 4),
                                  .len = len,
                                  .kind = q[14],
                                  .type = q[15],
                                  .term = ad_wal_get64(q + 16),
                                  .index = ad_wal_get64(q + 24),
                                  .safe = ad_wal_get64(q + 32),
                                  .data = q + AD_WAL_RECORD_HEADER};
    return true;
}

void ad_wal_head_put(uint8_t to[AD_WAL_HEAD_PAYLOAD], const struct ad_wal_head *h)
{
    const uint64_t words[] = {h->number,    h->life,    h->size,      h->identity,
                              h->prev_end,  h->vote,    h->last_term, h->base_index,
                              h->base_term, h->reserved};

    _Static_assert(8 + sizeof words == AD_WAL_HEAD_PAYLOAD, "the layout is fixed");
    ad_wal_put32(to, h->version);
    ad_wal_put32(to + 4, h->flags);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        ad_wal_put64(to + 8 + 8 * i, words[i]);
    }
}

bool ad_wal_head_get(const uint8_t *p, uint64_t size, struct ad_wal_head *ret,
                     struct ad_wal_record *ret_record)
{
    const uint8_t *q = p + AD_WAL_RECORD_HEADER;
    uint64_t word[10];

    if (size < AD_WAL_HEAD_SIZE) {
        return false;
    }
    for (size_t i = 0; i < sizeof word / sizeof word[0]; i++) {
        word[i] = ad_wal_get64(q + 8 + 8 * i);
    }
    *ret = (struct ad_wal_head){.version = ad_wal_get32(q),
                                .flags = ad_wal_get32(q + 4),
                                .number = word[0],
                                .life = word[1],
                                .size = word[2],
                                .identity = word[3],
                                .prev_end = word[4],
                                .vote = word[5],
                                .last_term = word[6],
                                .base_index = word[7],
                                .base_term = word[8],
                                .reserved = word[9]};
    return ad_wal_record_get(p, size, ad_wal_seed(ret->number, ret->life), 0,
                             ret_record) &&
           ret_record->kind == AD_WAL_HEAD && ret_record->len >= AD_WAL_HEAD_PAYLOAD;
}

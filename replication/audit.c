#include "replication/audit.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mp.h"
#include "replication/store_impl.h"

enum { FIELDS = 8 };

void rp_audit_put(struct sy_buf *b, const struct rp_audit *a)
{
    sy_mp_array(b, FIELDS);
    sy_mp_uint(b, a->nr);
    sy_mp_uint(b, a->at_ms);
    sy_mp_uint(b, a->node);
    sy_mp_str(b, a->who);
    sy_mp_str(b, a->from);
    sy_mp_str(b, a->what);
    sy_mp_str(b, a->about);
    sy_mp_str(b, a->result);
}

int rp_audit_get(struct sy_cur *c, struct rp_audit *ret)
{
    if (sy_mp_get_array(c) != FIELDS) {
        return SY_ECORRUPT;
    }
    ret->nr = sy_mp_get_uint(c);
    ret->at_ms = sy_mp_get_uint(c);
    ret->node = (uint16_t)rp_get_max(c, UINT16_MAX);
    rp_get_name(c, ret->who, sizeof ret->who);
    sy_mp_get_str(c, ret->from, sizeof ret->from);
    rp_get_name(c, ret->what, sizeof ret->what);
    sy_mp_get_str(c, ret->about, sizeof ret->about);
    sy_mp_get_str(c, ret->result, sizeof ret->result);
    return c->bad || ret->nr == 0 ? SY_ECORRUPT : 0;
}

void rp_audit_hash(const uint8_t before[static SY_SHA256_SIZE], const struct rp_audit *a,
                   uint8_t ret[static SY_SHA256_SIZE])
{
    uint8_t room[RP_AUDIT_BYTES_MAX];
    struct sy_buf b = {.p = room, .cap = sizeof room}; /* Never grows. */
    struct sy_sha256 sha;

    rp_audit_put(&b, a);
    assert(b.p == room);
    sy_sha256_begin(&sha);
    sy_sha256_add(&sha, before, SY_SHA256_SIZE);
    sy_sha256_add(&sha, b.p, b.len);
    sy_sha256_end(&sha, ret);
}

static struct rp_audit *slot(const struct rp_store *s, uint64_t nr)
{
    return &s->audit.ring[nr % RP_AUDIT_MAX];
}

uint64_t rp_store_audit_first(const struct rp_store *s)
{
    return s->audit.gone + 1;
}

uint64_t rp_store_audit_last(const struct rp_store *s)
{
    return s->audit.last;
}

const struct rp_audit *rp_store_audit(const struct rp_store *s, uint64_t nr)
{
    return nr > s->audit.gone && nr <= s->audit.last ? slot(s, nr) : NULL;
}

const uint8_t *rp_store_audit_before(const struct rp_store *s, uint64_t nr)
{
    return nr > s->audit.gone + 1 && nr <= s->audit.last + 1 ? slot(s, nr - 1)->hash
                                                             : s->audit.anchor;
}

uint64_t rp_store_audit_broken(const struct rp_store *s)
{
    uint8_t hash[SY_SHA256_SIZE];

    for (uint64_t nr = s->audit.gone + 1; nr <= s->audit.last; nr++) {
        const struct rp_audit *a = slot(s, nr);

        rp_audit_hash(rp_store_audit_before(s, nr), a, hash);
        if (a->nr != nr || memcmp(hash, a->hash, sizeof hash) != 0) {
            return nr;
        }
    }
    return 0;
}

static void append(struct rp_store *s, const struct rp_audit *a)
{
    struct rp_audit *to = slot(s, a->nr);

    if (s->audit.last > s->audit.gone) {
        s->sum -= rp_digest_audit(s);
    }
    if (s->audit.last - s->audit.gone == RP_AUDIT_MAX) {
        s->audit.gone++; /* The one whose place this is. */
        memcpy(s->audit.anchor, to->hash, sizeof s->audit.anchor);
    }
    *to = *a;
    rp_audit_hash(rp_store_audit_before(s, a->nr), to, to->hash);
    s->audit.last = a->nr;
    s->sum += rp_digest_audit(s);
}

bool rp_audit_append(struct rp_store *s, const struct rp_audit *a,
                     const uint8_t before[static SY_SHA256_SIZE])
{
    if (s->audit.last == 0) {
        s->audit.gone = s->audit.last = a->nr - 1;
        memcpy(s->audit.anchor, before, sizeof s->audit.anchor);
    } else if (a->nr != s->audit.last + 1 ||
               memcmp(before, rp_store_audit_before(s, a->nr), SY_SHA256_SIZE) != 0) {
        return false;
    }
    append(s, a);
    return true;
}

/* Were the inputs before it, which it is the record of, refused? */
static bool refused(const struct rp_store *s, uint32_t covers)
{
    return s->refused_at != 0 && s->stats.inputs - s->refused_at <= covers;
}

void rp_apply_audit(struct rp_store *s, const struct rp_in_audit *in)
{
    struct rp_audit a = {
        .nr = s->audit.last + 1, .at_ms = s->m.now_ms, .node = s->entry_node};

    memcpy(a.who, in->who, sizeof a.who);
    memcpy(a.from, in->from, sizeof a.from);
    memcpy(a.what, in->what, sizeof a.what);
    memcpy(a.about, in->about, sizeof a.about);
    memcpy(a.result, in->result, sizeof a.result);
    if (refused(s, in->covers)) {
        snprintf(a.result, sizeof a.result, "refused: %s", s->refused);
    }
    append(s, &a);
    rp_emit(s, &(struct rp_event){.kind = RP_EV_AUDIT, .audit = slot(s, a.nr)});
}

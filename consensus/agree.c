#include "consensus/agree.h"

#include <assert.h>
#include <string.h>

void cs_agree_init(struct cs_agree *a, unsigned nodes)
{
    assert(nodes > 0 && nodes <= CS_MEMBERS_MAX);
    memset(a, 0, sizeof *a);
    a->nodes = nodes;
}

void cs_agree_nodes(struct cs_agree *a, unsigned nodes)
{
    assert(nodes > 0 && nodes <= CS_MEMBERS_MAX);
    a->nodes = nodes;
}

void cs_agree_forget(struct cs_agree *a, uint64_t peer)
{
    assert(peer > 0 && peer <= CS_ID_MAX);
    a->peers[peer] = (struct cs_agree_peer){0};
}

/* What waits is kept until it is compared: a node that is always a little behind would
 * otherwise never compare anything. */
void cs_agree_heard(struct cs_agree *a, uint64_t peer, uint64_t index, uint64_t hash)
{
    struct cs_agree_peer *p = &a->peers[peer];

    assert(peer > 0 && peer <= CS_ID_MAX);
    if (p->asked == 0) {
        p->asked = index;
        p->hash = hash;
    }
}

void cs_agree_told(struct cs_agree *a, uint64_t index)
{
    a->told = true;
    a->since = a->since == 0 ? index : a->since;
}

static void compare(struct cs_agree *a, struct cs_agree_peer *p, uint64_t own)
{
    p->index = p->asked;
    p->equal = p->hash == own;
    if (!p->equal && a->since == 0) {
        a->since = p->index;
    }
}

void cs_agree_compare(struct cs_agree *a, uint64_t applied,
                      uint64_t (*hash_at)(const void *ctx, uint64_t index),
                      const void *ctx)
{
    for (unsigned i = 1; i <= CS_ID_MAX; i++) {
        struct cs_agree_peer *p = &a->peers[i];
        uint64_t own;

        if (p->asked == 0 || p->asked > applied) {
            continue;
        }
        own = hash_at(ctx, p->asked);
        if (own != 0) {
            compare(a, p, own);
        }
        p->asked = 0;
    }
}

bool cs_agree_wrong(const struct cs_agree *a)
{
    unsigned with = 1, against = 0, majority = a->nodes / 2 + 1;

    if (a->since == 0) {
        return false;
    }
    for (unsigned i = 1; i <= CS_ID_MAX; i++) {
        const struct cs_agree_peer *p = &a->peers[i];

        if (p->index == 0) {
            continue;
        }
        /* To have agreed before anybody differed says nothing. */
        with += p->equal && p->index >= a->since;
        against += !p->equal;
    }
    return against >= majority || (with < majority && a->told);
}

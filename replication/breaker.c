#include "replication/breaker.h"

#include <assert.h>

bool rp_breaker_allows(const struct rp_breaker *b, uint64_t now_ms)
{
    /* A trial whose command ended otherwise (cancelled, superseded) tells nothing:
     * after a pause there is another one. */
    return b->state == RP_BREAKER_CLOSED || now_ms >= b->until_ms;
}

void rp_breaker_sent(struct rp_breaker *b, uint64_t now_ms)
{
    assert(rp_breaker_allows(b, now_ms));
    if (b->state != RP_BREAKER_CLOSED) {
        b->state = RP_BREAKER_HALF_OPEN;
        b->until_ms = now_ms + b->pause_ms;
    }
}

static bool trip(struct rp_breaker *b, unsigned pause_ms, uint64_t now_ms)
{
    b->state = RP_BREAKER_OPEN;
    b->pause_ms = pause_ms;
    b->until_ms = now_ms + pause_ms;
    b->opened++;
    return true;
}

static unsigned doubled(unsigned ms, unsigned max)
{
    return ms < max / 2 ? 2 * ms : max;
}

bool rp_breaker_failed(struct rp_breaker *b, const struct rp_breaker_config *c,
                       uint64_t ieee, uint64_t now_ms)
{
    if (b->failures == 0) {
        b->ieee = ieee;
    }
    b->failures += b->failures < UINT32_MAX;
    b->several = b->several || b->ieee != ieee;
    if (b->state == RP_BREAKER_HALF_OPEN) {
        return trip(b, doubled(b->pause_ms, c->pause_max_ms), now_ms);
    }
    if (b->state == RP_BREAKER_CLOSED && c->failures > 0 && b->several &&
        b->failures >= c->failures) {
        return trip(b, c->pause_ms, now_ms);
    }
    return false;
}

bool rp_breaker_answered(struct rp_breaker *b)
{
    bool was_closed = b->state == RP_BREAKER_CLOSED;

    *b = (struct rp_breaker){.opened = b->opened};
    return !was_closed;
}

/* The time that a leader proposes. The state's time never goes back; where the
 * machine's clock is behind it (that of an earlier leader was ahead, or ours was set
 * back), time goes on from the state's at nine tenths of the speed until they meet.
 * So deadlines pass, and none of them all at once; a jump ahead is believed, since
 * nobody can tell it from the truth. Pure: both clocks are arguments. */

#ifndef RP_CLOCK_H
#define RP_CLOCK_H

#include <stdint.h>

/* Zero: nothing was seen yet. */
struct rp_clock
{
    uint64_t state_ms; /* The state's time, */
    uint64_t mono_ms;  /* when it was that. */
};

static inline uint64_t rp_clock_state(const struct rp_clock *c, uint64_t mono_ms)
{
    return c->state_ms + (mono_ms - c->mono_ms) * 9 / 10;
}

/* Unix time in milliseconds, as it should stand in the next entry. */
static inline uint64_t rp_clock_now(const struct rp_clock *c, uint64_t wall_ms,
                                    uint64_t mono_ms)
{
    uint64_t state_ms = rp_clock_state(c, mono_ms);

    return wall_ms > state_ms ? wall_ms : state_ms;
}

/* An entry was applied: the state's time is @state_ms. */
static inline void rp_clock_saw(struct rp_clock *c, uint64_t state_ms, uint64_t mono_ms)
{
    if (c->mono_ms == 0 || state_ms > rp_clock_state(c, mono_ms)) {
        *c = (struct rp_clock){state_ms, mono_ms};
    }
}

#endif /* RP_CLOCK_H */

#include "consensus/watch.h"

#include <assert.h>
#include <string.h>

#define BIT(S) (1U << (S))

/* Single source of truth for what may follow what; step() below says when. */
static const struct
{
    const char *name;
    unsigned next;
} states[CS_WATCH_NR] = {
    [CS_STANDBY] = {"standby", BIT(CS_RAMPING)},
    [CS_RAMPING] = {"ramping", BIT(CS_ACTIVE) | BIT(CS_DRAINING)},
    [CS_ACTIVE] = {"active", BIT(CS_DRAINING)},
    [CS_DRAINING] = {"draining", BIT(CS_STANDBY)},
};

static void check_invariants(const struct cs_watch *w)
{
    assert(w->state < CS_WATCH_NR);
    assert((w->state == CS_STANDBY) == (w->ports_term == 0));
    assert((w->state == CS_DRAINING) == (w->drain_deadline_ms != 0));
    if (w->state == CS_RAMPING || w->state == CS_ACTIVE) {
        assert(w->ports_term == w->leader_term);
    }
}

static void move(struct cs_watch *w, enum cs_watch_state next, uint64_t now_ms)
{
    assert(states[w->state].next & BIT(next));
    w->state = next;
    w->since_ms = now_ms;
}

static enum cs_watch_effect ramp_if_leading(struct cs_watch *w,
                                            const struct cs_watch_levels *l)
{
    if (l->leader_term == 0 || l->barrier_term != l->leader_term || l->diverged) {
        return CS_DO_NOTHING;
    }
    w->ports_term = l->leader_term;
    move(w, CS_RAMPING, l->now_ms);
    return CS_DO_START;
}

static enum cs_watch_effect drain(struct cs_watch *w, uint64_t now_ms)
{
    move(w, CS_DRAINING, now_ms);
    w->drain_deadline_ms = now_ms + w->drain_timeout_ms;
    return CS_DO_STOP;
}

static enum cs_watch_effect drained(struct cs_watch *w, const struct cs_watch_levels *l)
{
    w->drain_deadline_ms = 0;
    w->ports_term = 0;
    move(w, CS_STANDBY, l->now_ms);
    return ramp_if_leading(w, l);
}

void cs_watch_init(struct cs_watch *w, uint32_t drain_timeout_ms)
{
    assert(drain_timeout_ms > 0);
    memset(w, 0, sizeof *w);
    w->drain_timeout_ms = drain_timeout_ms;
    w->state = CS_STANDBY;
    check_invariants(w);
}

enum cs_watch_effect cs_watch_step(struct cs_watch *w, const struct cs_watch_levels *l)
{
    enum cs_watch_effect effect = CS_DO_NOTHING;

    check_invariants(w);
    assert(!(l->ports_up && l->ports_down));
    assert(l->barrier_term == 0 || l->leader_term == 0 ||
           l->barrier_term <= l->leader_term);
    switch (w->state) {
    case CS_STANDBY:
        w->leader_term = l->leader_term;
        effect = ramp_if_leading(w, l);
        break;
    case CS_RAMPING:
    case CS_ACTIVE:
        w->leader_term = l->leader_term;
        if (l->leader_term != w->ports_term || l->diverged) {
            effect = drain(w, l->now_ms);
        } else if (w->state == CS_RAMPING && l->ports_up) {
            move(w, CS_ACTIVE, l->now_ms);
        }
        break;
    case CS_DRAINING:
        w->leader_term = l->leader_term;
        if (l->ports_down) {
            effect = drained(w, l);
        } else if (l->now_ms >= w->drain_deadline_ms) {
            effect = CS_DO_DIE;
        }
        break;
    case CS_WATCH_NR:
    default:
        assert(0);
    }
    check_invariants(w);
    return effect;
}

bool cs_watch_may_act(const struct cs_watch *w, uint64_t now_ms, uint64_t lease_until_ms)
{
    return w->state == CS_ACTIVE && w->leader_term == w->ports_term &&
           now_ms < lease_until_ms;
}

enum cs_watch_state cs_watch_state(const struct cs_watch *w)
{
    return w->state;
}

uint64_t cs_watch_term(const struct cs_watch *w)
{
    return w->ports_term;
}

uint64_t cs_watch_drain_deadline(const struct cs_watch *w)
{
    return w->drain_deadline_ms;
}

const char *cs_watch_state_name(enum cs_watch_state s)
{
    assert(s < CS_WATCH_NR);
    return states[s].name;
}

#include "consensus/resource.h"

#include <assert.h>
#include <string.h>

enum { FORGIVEN_MS = 60000, HANDOVER_AGAIN_MS = 60000 };

void cs_resources_init(struct cs_resources *r)
{
    memset(r, 0, sizeof *r);
}

int cs_resources_add(struct cs_resources *r, const struct cs_resource_spec *spec)
{
    for (unsigned i = 0; i < CS_AFTER_MAX; i++) {
        if (spec->after[i] != CS_NO_RESOURCE && spec->after[i] >= r->n) {
            return -1;
        }
    }
    if (r->n == CS_RESOURCES_MAX) {
        return -1;
    }
    r->list[r->n] = (struct cs_resource){.spec = *spec};
    return (int)r->n++;
}

static void enter(struct cs_resources *r, struct cs_resource *x,
                  enum cs_resource_state state)
{
    x->state = state;
    x->since_ms = r->now_ms;
    x->looking = false;
}

/* --- order --- */

static bool comes_after(const struct cs_resource *x, unsigned i)
{
    for (unsigned k = 0; k < CS_AFTER_MAX; k++) {
        if (x->spec.after[k] == i) {
            return true;
        }
    }
    return false;
}

static bool may_start(const struct cs_resources *r, unsigned i)
{
    for (unsigned k = 0; k < i; k++) {
        if (comes_after(&r->list[i], k) && r->list[k].state != CS_RES_RUNNING) {
            return false;
        }
    }
    return true;
}

/* For good, that is; for a restart the others stay. */
static bool may_stop(const struct cs_resources *r, unsigned i)
{
    for (unsigned k = i + 1; k < r->n; k++) {
        if (comes_after(&r->list[k], i) && r->list[k].state != CS_RES_STOPPED) {
            return false;
        }
    }
    return true;
}

/* --- one of them --- */

static uint32_t pause_after(const struct cs_resource *x)
{
    uint64_t ms = x->spec.retry_min_ms;

    if (x->failures <= 1) {
        return 0; /* At once, the first time. */
    }
    for (uint32_t i = 2; i < x->failures && ms < x->spec.retry_max_ms; i++) {
        ms *= 2;
    }
    return (uint32_t)(ms < x->spec.retry_max_ms ? ms : x->spec.retry_max_ms);
}

/* It is stopped, whatever it is by now, and then started again. */
static void failed(struct cs_resources *r, struct cs_resource *x)
{
    x->failures++;
    enter(r, x, CS_RES_UNKNOWN);
    x->due_ms = r->now_ms + pause_after(x);
}

static enum cs_resource_effect step_wanted(struct cs_resources *r, unsigned i,
                                           const struct cs_resource_levels *l)
{
    struct cs_resource *x = &r->list[i];

    switch (x->state) {
    case CS_RES_UNKNOWN:
        if (l->now_ms < x->again_ms) {
            return CS_RES_NOTHING;
        }
        enter(r, x, CS_RES_STOPPING);
        return CS_RES_STOP;
    case CS_RES_STOPPED:
        if (l->now_ms < x->due_ms || !may_start(r, i)) {
            return CS_RES_NOTHING;
        }
        enter(r, x, CS_RES_STARTING);
        x->started = true;
        return CS_RES_START;
    case CS_RES_RUNNING:
        if (x->failures > 0 && l->now_ms >= x->since_ms + FORGIVEN_MS) {
            x->failures = 0;
        }
        if (x->looking || l->now_ms < x->due_ms) {
            return CS_RES_NOTHING;
        }
        x->looking = true;
        return CS_RES_MONITOR;
    case CS_RES_STARTING:
    case CS_RES_STOPPING:
    case CS_RES_STUCK:
    case CS_RES_STATES_NR:
        break;
    }
    return CS_RES_NOTHING;
}

static bool wants_handover(struct cs_resource *x, const struct cs_resource_levels *l)
{
    if (!x->spec.local || x->failures < x->spec.tries || !l->relief ||
        (x->hand_ms != 0 && l->now_ms < x->hand_ms + HANDOVER_AGAIN_MS)) {
        return false;
    }
    x->hand_ms = l->now_ms;
    return true;
}

static enum cs_resource_effect step_unwanted(struct cs_resources *r, unsigned i)
{
    struct cs_resource *x = &r->list[i];

    x->failures = 0;
    x->due_ms = 0;
    if (x->state == CS_RES_STOPPED || x->state == CS_RES_STOPPING ||
        x->state == CS_RES_STUCK || r->now_ms < x->again_ms || !may_stop(r, i)) {
        return CS_RES_NOTHING;
    }
    enter(r, x, CS_RES_STOPPING);
    return CS_RES_STOP;
}

enum cs_resource_effect cs_resources_step(struct cs_resources *r,
                                          const struct cs_resource_levels *l,
                                          unsigned *ret_which)
{
    enum cs_resource_effect effect;

    r->now_ms = l->now_ms;
    for (unsigned i = 0; i < r->n; i++) {
        *ret_which = i;
        if (r->list[i].state == CS_RES_STUCK) {
            return CS_RES_FENCE;
        }
        if (l->wanted && !r->list[i].off) {
            effect = step_wanted(r, i, l);
            if (effect == CS_RES_NOTHING && wants_handover(&r->list[i], l)) {
                effect = CS_RES_HANDOVER;
            }
            if (effect != CS_RES_NOTHING) {
                return effect;
            }
        }
    }
    for (unsigned i = r->n; i-- > 0;) {
        *ret_which = i;
        if (!l->wanted || r->list[i].off) {
            effect = step_unwanted(r, i);
            if (effect != CS_RES_NOTHING) {
                return effect;
            }
        }
    }
    return CS_RES_NOTHING;
}

/* --- what became of it --- */

void cs_resources_done(struct cs_resources *r, uint64_t now_ms, unsigned which,
                       enum cs_resource_effect what, bool ok)
{
    struct cs_resource *x = &r->list[which];

    assert(which < r->n);
    r->now_ms = now_ms;
    if (what == CS_RES_START && x->state == CS_RES_STARTING) {
        if (!ok) {
            failed(r, x);
            return;
        }
        enter(r, x, CS_RES_RUNNING);
        x->due_ms = now_ms + x->spec.monitor_ms;
    } else if (what == CS_RES_STOP && x->state == CS_RES_STOPPING) {
        if (ok || x->started) {
            x->started = x->started && !ok;
            x->again_ms = 0;
            enter(r, x, ok ? CS_RES_STOPPED : CS_RES_STUCK);
            return;
        }
        /* Of an earlier life, or none at all: docker may not even be there. It is tried
         * for ever, and nothing is released before it succeeds. */
        enter(r, x, CS_RES_UNKNOWN);
        x->again_ms = now_ms + x->spec.retry_max_ms;
    } else if (what == CS_RES_MONITOR && x->looking) {
        x->looking = false;
        if (!ok) {
            failed(r, x);
            return;
        }
        x->due_ms = now_ms + x->spec.monitor_ms;
    }
}

void cs_resources_ended(struct cs_resources *r, uint64_t now_ms, unsigned which)
{
    struct cs_resource *x = &r->list[which];

    assert(which < r->n);
    r->now_ms = now_ms;
    if (x->state == CS_RES_STARTING || x->state == CS_RES_RUNNING) {
        failed(r, x);
    }
}

void cs_resources_adopt(struct cs_resources *r, uint64_t now_ms, unsigned which)
{
    struct cs_resource *x = &r->list[which];

    assert(which < r->n && x->state == CS_RES_UNKNOWN);
    r->now_ms = now_ms;
    enter(r, x, CS_RES_RUNNING);
    x->started = true;
    x->due_ms = now_ms;
}

void cs_resources_again(struct cs_resources *r, uint64_t now_ms, unsigned which)
{
    assert(which < r->n);
    r->now_ms = now_ms;
    enter(r, &r->list[which], CS_RES_UNKNOWN);
    r->list[which].due_ms = now_ms;
}

void cs_resources_off(struct cs_resources *r, unsigned which, bool off)
{
    assert(which < r->n);
    r->list[which].off = off;
}

bool cs_resources_started(const struct cs_resources *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        if (r->list[i].started) {
            return true;
        }
    }
    return false;
}

bool cs_resources_released(const struct cs_resources *r)
{
    return !cs_resources_held(r);
}

bool cs_resources_held(const struct cs_resources *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        if (r->list[i].state != CS_RES_STOPPED) {
            return true;
        }
    }
    return false;
}

enum cs_resource_state cs_resource_shown(const struct cs_resource *x)
{
    bool tried = x->state == CS_RES_UNKNOWN || x->state == CS_RES_STOPPING;

    return tried && x->again_ms != 0 ? CS_RES_STUCK : x->state;
}

const char *cs_resource_state_name(enum cs_resource_state s)
{
    static const char *const names[CS_RES_STATES_NR] = {"unknown", "stopped",  "starting",
                                                        "running", "stopping", "stuck"};

    return names[s];
}

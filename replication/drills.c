/* Drills: which were run, and what they showed. The newest are kept, in order of their
 * numbers. One runs at a time; what is in a report is the owner's business. */

#include <assert.h>
#include <string.h>

#include "replication/store_impl.h"

const char *rp_drill_state_name(enum rp_drill_state s)
{
    static const char *const names[RP_DRILL_STATES] = {"?", "running", "passed", "failed",
                                                       "aborted"};

    return s < RP_DRILL_STATES ? names[s] : "?";
}

static void forget_first(struct rp_store *s)
{
    s->sum -= rp_digest_drill(&s->drills[0]);
    s->drills_n--;
    memmove(&s->drills[0], &s->drills[1], s->drills_n * sizeof s->drills[0]);
}

bool rp_drills_append(struct rp_store *s, const struct rp_drill *d)
{
    if (s->drills_n > 0 && s->drills[s->drills_n - 1].nr >= d->nr) {
        return false;
    }
    if (s->drills_n == RP_DRILLS_MAX) {
        forget_first(s);
    }
    s->drills[s->drills_n++] = *d;
    s->sum += rp_digest_drill(d);
    return true;
}

static void fill(struct rp_store *s, struct rp_drill *d, const struct rp_in_drill *in)
{
    d->state = in->state;
    d->ended_ms = in->state == RP_DRILL_RUNNING ? 0 : s->m.now_ms;
    d->report_len = (uint16_t)in->report_len;
    memset(d->report, 0, sizeof d->report);
    if (in->report_len > 0) {
        memcpy(d->report, in->report, in->report_len);
    }
}

static void begin(struct rp_store *s, const struct rp_in_drill *in)
{
    const struct rp_drill *last = rp_store_drill_recent(s, 0);
    struct rp_drill d = {.nr = last != NULL ? last->nr + 1 : 1, .began_ms = s->m.now_ms};

    if (last != NULL && last->state == RP_DRILL_RUNNING) {
        rp_refuse(s, (struct rp_event){0}, "a drill: number %llu is running",
                  (unsigned long long)last->nr);
        return;
    }
    memcpy(d.kind, in->kind, sizeof d.kind);
    fill(s, &d, in);
    if (!rp_drills_append(s, &d)) {
        assert(false); /* Its number is the next. */
    }
    rp_emit(s, &(struct rp_event){.kind = RP_EV_DRILL, .drill = &d});
}

void rp_apply_drill(struct rp_store *s, const struct rp_in_drill *in)
{
    struct rp_drill *d;

    if (in->nr == 0) {
        begin(s, in);
        return;
    }
    d = s->drills_n > 0 ? &s->drills[s->drills_n - 1] : NULL;
    if (d == NULL || d->nr != in->nr || d->state != RP_DRILL_RUNNING) {
        return; /* Reported twice: the first one counts. */
    }
    s->sum -= rp_digest_drill(d);
    fill(s, d, in);
    s->sum += rp_digest_drill(d);
    rp_emit(s, &(struct rp_event){.kind = RP_EV_DRILL, .drill = d});
}

uint32_t rp_store_drills(const struct rp_store *s)
{
    return s->drills_n;
}

const struct rp_drill *rp_store_drill_recent(const struct rp_store *s, uint32_t i)
{
    return i < s->drills_n ? &s->drills[s->drills_n - 1 - i] : NULL;
}

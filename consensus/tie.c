#include "consensus/tie.h"

#include <string.h>

void cs_tie_init(struct cs_tie *t, uint32_t self, uint64_t token, uint64_t confirmed)
{
    memset(t, 0, sizeof *t);
    t->self = self;
    t->next_token = token;
    t->confirmed = confirmed;
}

unsigned cs_tie_count(uint32_t set)
{
    unsigned n = 0;

    for (; set != 0; set &= set - 1) {
        n++;
    }
    return n;
}

static bool without(const struct cs_tie *t, enum cs_tie_without what)
{
    return (t->without & (unsigned)what) != 0;
}

static bool alone(const struct cs_tie *t, const struct cs_tie_levels *l)
{
    return l->voters == CS_TIE_NODE(t->self);
}

static bool pair(const struct cs_tie *t, const struct cs_tie_levels *l)
{
    return (l->voters & CS_TIE_NODE(t->self)) != 0 && cs_tie_count(l->voters) == 2;
}

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

bool cs_tie_silent(uint64_t now_ms, uint64_t heard_ms, unsigned election_ms, bool broken)
{
    uint64_t lease = election_ms + election_ms / 8; /* Clocks run unevenly. */

    return now_ms >= heard_ms + lease + (broken ? 0 : election_ms);
}

bool cs_tie_muted(const struct cs_tie *t)
{
    return t->muted && !without(t, CS_TIE_WITHOUT_MUTE);
}

bool cs_tie_may_lead(const struct cs_tie *t, const struct cs_tie_levels *l)
{
    return !alone(t, l) || t->confirmed != 0 || l->forced ||
           without(t, CS_TIE_WITHOUT_GATE);
}

bool cs_tie_may_widen(const struct cs_tie *t, uint32_t voters)
{
    return cs_tie_count(voters) < 3 || without(t, CS_TIE_WITHOUT_CLOSE) ||
           (t->seen && !t->asked && !t->unsure && t->row.sole == 0 &&
            t->row.members == voters);
}

/* --- what is asked of Postgres --- */

static enum cs_tie_effect ask_row(struct cs_tie *t, const struct cs_tie_levels *l)
{
    if (!l->reach) {
        return CS_TIE_NOTHING;
    }
    t->asked = true;
    return CS_TIE_READ;
}

static enum cs_tie_effect swap(struct cs_tie *t, const struct cs_tie_levels *l,
                               enum cs_tie_purpose purpose, uint32_t members,
                               uint64_t epoch)
{
    bool sole = purpose == CS_TIE_CLAIM || purpose == CS_TIE_RECLAIM;

    if (!l->reach) {
        return CS_TIE_NOTHING;
    }
    t->muted = purpose == CS_TIE_CLAIM;
    t->want = (struct cs_tie_row){
        .epoch = epoch,
        .term = max(t->row.term, l->term),
        .token = ++t->next_token,
        .members = members,
        .sole = sole ? t->self : 0,
    };
    t->purpose = purpose;
    t->expect = t->row.epoch;
    t->asked = t->swapping = true;
    return CS_TIE_SWAP;
}

/* Always above what any node can hold as a fact: whoever is left behind holds less. */
static uint64_t next_epoch(const struct cs_tie *t, const struct cs_tie_levels *l)
{
    uint64_t held = without(t, CS_TIE_WITHOUT_ABOVE) ? 0 : l->held;

    return max(max(t->row.epoch, held), t->confirmed) + 1;
}

static void swapped(struct cs_tie *t)
{
    if (t->purpose == CS_TIE_CLAIM && t->muted) {
        t->won = true;
    } else if (t->purpose == CS_TIE_RECLAIM) {
        t->confirmed = t->row.epoch;
    }
}

void cs_tie_answer(struct cs_tie *t, const struct cs_tie_row *row)
{
    bool swapping = t->swapping;

    t->asked = t->swapping = false;
    if (row == NULL && !swapping) {
        return;
    }
    if (row == NULL && without(t, CS_TIE_WITHOUT_PROOF)) {
        t->row = t->want;
    } else if (row == NULL) {
        t->unsure = true;
        return;
    } else {
        t->row = *row;
    }
    t->seen = true;
    if (swapping || t->unsure) {
        t->unsure = false;
        t->lost = t->row.token != t->want.token && t->purpose == CS_TIE_CLAIM;
        if (t->row.token == t->want.token) {
            swapped(t);
        }
    }
    t->muted = t->won;
    if (t->confirmed != 0 && t->row.epoch != 0 && t->row.sole != t->self &&
        t->row.epoch >= t->confirmed) {
        t->confirmed = 0; /* An operator decided otherwise. */
    }
}

/* --- what to do --- */

static bool may_claim(const struct cs_tie *t, const struct cs_tie_levels *l)
{
    if (t->row.epoch == 0 || t->row.members != l->voters) {
        return false;
    }
    if (t->row.sole == 0) {
        return l->held >= t->row.epoch || without(t, CS_TIE_WITHOUT_EPOCH);
    }
    return t->row.sole == t->self || without(t, CS_TIE_WITHOUT_NAME);
}

/* Nobody else can be named unless an operator did it; but what led here may be a disk
 * that was put back to an older state, so it is asked. */
static enum cs_tie_effect step_alone(struct cs_tie *t, const struct cs_tie_levels *l)
{
    bool mine = l->forced || t->row.epoch == 0 || t->row.sole == t->self ||
                (t->row.sole == 0 && l->held >= t->row.epoch);

    if (!l->leading) {
        return CS_TIE_NOTHING; /* What the log holds is not known to be applied. */
    }
    if (t->confirmed > l->epoch && t->confirmed >= l->held) {
        t->propose = t->confirmed; /* The first thing, so that others may know. */
        return CS_TIE_PROPOSE;
    }
    if (!t->seen || (l->look && t->confirmed != 0)) {
        return ask_row(t, l);
    }
    /* It must be above what the one that is left behind may hold; and a row that is
     * older than what was confirmed is one that Postgres has lost. */
    if (t->confirmed == 0 || t->confirmed < l->epoch || t->row.epoch < t->confirmed) {
        if (mine && (l->look || t->confirmed == 0)) {
            return swap(t, l, CS_TIE_RECLAIM,
                        t->row.epoch != 0 ? t->row.members : l->voters, next_epoch(t, l));
        }
        return l->look ? ask_row(t, l) : CS_TIE_NOTHING;
    }
    return CS_TIE_NOTHING;
}

static enum cs_tie_effect step_claim(struct cs_tie *t, const struct cs_tie_levels *l)
{
    if (!t->seen || l->look) {
        return ask_row(t, l);
    }
    if (l->fit && l->calm && l->patient && may_claim(t, l)) {
        return swap(t, l, CS_TIE_CLAIM, l->voters, next_epoch(t, l));
    }
    return CS_TIE_NOTHING;
}

/* Both are there, and this one leads. */
static enum cs_tie_effect step_open(struct cs_tie *t, const struct cs_tie_levels *l)
{
    bool open = t->row.epoch != 0 && t->row.sole == 0 && t->row.members == l->voters;

    if (l->widen != 0 && (t->row.members != l->widen || t->row.sole != 0)) {
        return swap(t, l, CS_TIE_CLOSE, l->widen, next_epoch(t, l));
    }
    if (open || l->widen != 0) {
        return CS_TIE_NOTHING;
    }
    if (without(t, CS_TIE_WITHOUT_FACT)) {
        return swap(t, l, CS_TIE_OPEN, l->voters, next_epoch(t, l));
    }
    if (l->epoch <= t->row.epoch) {
        t->propose = t->row.epoch + 1;
        return CS_TIE_PROPOSE;
    }
    if (l->peer_epoch >= l->epoch) {
        return swap(t, l, CS_TIE_OPEN, l->voters, l->epoch);
    }
    return CS_TIE_NOTHING;
}

static enum cs_tie_effect step_pair(struct cs_tie *t, const struct cs_tie_levels *l)
{
    bool silent = l->silent || without(t, CS_TIE_WITHOUT_SILENCE);

    if (silent && !l->leading) {
        return step_claim(t, l);
    }
    if (!t->seen || l->look) {
        return ask_row(t, l);
    }
    if (!l->silent && l->leading && l->in_force == l->voters) {
        return step_open(t, l);
    }
    return CS_TIE_NOTHING;
}

enum cs_tie_effect cs_tie_step(struct cs_tie *t, const struct cs_tie_levels *l)
{
    if (t->muted && !l->silent && !without(t, CS_TIE_WITHOUT_SILENCE)) {
        t->muted = t->won = false; /* It is there: nobody needs to go on alone. */
    }
    if (t->won) {
        return CS_TIE_REFORM;
    }
    if (l->out_epoch > l->epoch && t->confirmed == 0 && !t->muted) {
        return CS_TIE_ARCHIVE;
    }
    if (t->asked) {
        return CS_TIE_NOTHING;
    }
    if (t->unsure) {
        return ask_row(t, l);
    }
    if (alone(t, l)) {
        return step_alone(t, l);
    }
    t->confirmed = 0;
    if (pair(t, l)) {
        return step_pair(t, l);
    }
    if (cs_tie_count(l->voters) > 2 && l->leading && l->look) {
        return ask_row(t, l);
    }
    return CS_TIE_NOTHING;
}

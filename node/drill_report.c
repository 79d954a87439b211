/* What a drill has shown: packed for the log, read back, judged. Pure. */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mp.h"
#include "node/drill.h"
#include "node/node.h"

const char *const nd_drill_kinds[ND_DRILL_KINDS] = {
    "handover", "kill", "vanish", "broker", "postgres", "bridge", "full",
};

const char *const nd_drill_phases[ND_PHASES] = {
    "detected", "elected", "acting", "address", "broker",
    "bridges",  "command", "areas",  "row",     "all_rows",
};

enum nd_drill_kind nd_drill_kind_of(const char *name)
{
    unsigned k = 0;

    while (k < ND_DRILL_KINDS && strcmp(nd_drill_kinds[k], name) != 0) {
        k++;
    }
    return (enum nd_drill_kind)k;
}

bool nd_drill_relieves(enum nd_drill_kind kind)
{
    return kind == ND_DRILL_HANDOVER || kind == ND_DRILL_KILL ||
           kind == ND_DRILL_VANISH || kind == ND_DRILL_FULL;
}

void nd_drill_report_init(struct nd_drill_report *r)
{
    *r = (struct nd_drill_report){.budget_ms = ND_DRILL_BUDGET_MS};
    for (unsigned i = 0; i < ND_PHASES; i++) {
        r->phase[i] = ND_DRILL_PHASE_NONE;
    }
}

/* --- packing --- */

void nd_drill_report_put(const struct nd_drill_report *r, struct sy_buf *b)
{
    unsigned phases = 0;

    for (unsigned i = 0; i < ND_PHASES; i++) {
        phases += r->phase[i] != ND_DRILL_PHASE_NONE;
    }
    sy_mp_map(b, r->counted ? 17 : 13);
    sy_mp_kstr(b, "by", r->by);
    sy_mp_kuint(b, "coordinator", r->coordinator);
    sy_mp_kuint(b, "before", r->before);
    sy_mp_kuint(b, "after", r->after);
    sy_mp_kuint(b, "budget_ms", r->budget_ms);
    sy_mp_kuint(b, "fault_ms", r->fault_ms);
    sy_mp_kuint(b, "fault_at_ms", r->fault_at_ms);
    sy_mp_kstr(b, "canary", r->canary);
    sy_mp_str(b, "phases");
    sy_mp_map(b, phases);
    for (unsigned i = 0; i < ND_PHASES; i++) {
        if (r->phase[i] != ND_DRILL_PHASE_NONE) {
            sy_mp_kuint(b, nd_drill_phases[i], r->phase[i]);
        }
    }
    if (r->counted) {
        sy_mp_kuint(b, "sent", r->sent);
        sy_mp_kuint(b, "rows", r->rows);
        sy_mp_kuint(b, "lost", r->lost);
        sy_mp_kuint(b, "doubled", r->doubled);
    }
    sy_mp_kuint(b, "commands", r->commands);
    sy_mp_kuint(b, "confirmed", r->confirmed);
    sy_mp_kuint(b, "usual_ms", r->usual_ms);
    sy_mp_kstr(b, "why", r->why);
}

_Static_assert(sizeof(struct nd_drill_report) + 400 < RP_DRILL_REPORT_MAX,
               "with its keys it fits into a record");

void nd_drill_report_get(struct nd_drill_report *r, const struct rp_drill *d)
{
    struct sy_cur c = {.p = d->report, .n = d->report_len};

    nd_drill_report_init(r);
    nd_map_str(c, "by", r->by, sizeof r->by);
    nd_map_str(c, "canary", r->canary, sizeof r->canary);
    r->coordinator = nd_map_uint(c, "coordinator", 0);
    r->before = nd_map_uint(c, "before", 0);
    r->budget_ms = nd_map_uint(c, "budget_ms", ND_DRILL_BUDGET_MS);
    r->fault_ms = nd_map_uint(c, "fault_ms", 0);
}

/* --- judging --- */

static bool SY_PRINTF(2, 3) fails(struct nd_drill_report *r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(r->why, sizeof r->why, fmt, ap);
    va_end(ap);
    return false;
}

static bool late(const struct nd_drill_report *r, enum nd_drill_phase phase)
{
    return r->phase[phase] == ND_DRILL_PHASE_NONE || r->phase[phase] > r->budget_ms;
}

bool nd_drill_judge(struct nd_drill_report *r, enum nd_drill_kind kind, bool has_postgres)
{
    if (r->why[0] != '\0') {
        return false;
    }
    if (nd_drill_relieves(kind) && r->after == r->before) {
        return fails(r, "the watch did not change hands");
    }
    if (late(r, ND_PHASE_COMMAND) || late(r, ND_PHASE_AREAS)) {
        return fails(r, "not every area confirmed a command within %" PRIu64 " s",
                     r->budget_ms / 1000);
    }
    if (!has_postgres) {
        return true;
    }
    if (late(r, ND_PHASE_ROW)) {
        return fails(
            r, "no reading from after the fault was in Postgres within %" PRIu64 " s",
            r->budget_ms / 1000);
    }
    if (!r->counted) {
        return fails(r, "the rows in Postgres could not be counted");
    }
    if (r->lost * 1000000 > r->sent * ND_DRILL_LOST_PPM) {
        return fails(r, "%" PRIu64 " of %" PRIu64 " canary readings were lost", r->lost,
                     r->sent);
    }
    if (r->doubled > 0) {
        return fails(r, "%" PRIu64 " canary readings are in Postgres twice", r->doubled);
    }
    return true;
}

/* --- when --- */

/* Days back to the weekday that @at begins with; a time alone is of each day. */
static bool days_back(const char *at, const struct tm *tm, int *ret,
                      const char **ret_clock)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

    *ret = 0;
    *ret_clock = at;
    for (int i = 0; i < 7; i++) {
        if (strncmp(at, days[i], 3) == 0 && at[3] == ' ') {
            *ret = (tm->tm_wday - i + 7) % 7;
            *ret_clock = at + 4;
            return true;
        }
    }
    return false;
}

uint64_t nd_drill_due_ms(uint64_t now_ms, const char *at)
{
    time_t now = (time_t)(now_ms / 1000), due;
    const char *clock;
    struct tm tm;
    bool weekly;
    int back;

    if (localtime_r(&now, &tm) == NULL) {
        return 0;
    }
    weekly = days_back(at, &tm, &back, &clock);
    if (strlen(clock) != 5 || clock[2] != ':') {
        return 0;
    }
    tm.tm_mday -= back;
    tm.tm_hour = (int)strtol(clock, NULL, 10);
    tm.tm_min = (int)strtol(clock + 3, NULL, 10);
    tm.tm_sec = 0;
    tm.tm_isdst = -1;
    due = mktime(&tm);
    if (due > now) {
        tm.tm_mday -= weekly ? 7 : 1;
        tm.tm_isdst = -1;
        due = mktime(&tm);
    }
    return due > 0 ? (uint64_t)due * 1000 : 0;
}

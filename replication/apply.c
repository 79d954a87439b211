#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "replication/store_impl.h"

void rp_emit(struct rp_store *s, const struct rp_event *ev)
{
    if (s->cb != NULL) {
        s->cb(s->cb_data, ev);
    }
}

void rp_refuse(struct rp_store *s, struct rp_event about, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(s->text, sizeof s->text, fmt, ap);
    va_end(ap);
    s->stats.refused++;
    s->refused_at = s->stats.inputs;
    memcpy(s->refused, s->text, sizeof s->refused);
    about.kind = RP_EV_REFUSED;
    about.text = s->text;
    rp_emit(s, &about);
}

static void new_area(struct rp_store *s, const struct rp_in_area *in)
{
    struct rp_area_slot *slot = &s->areas[s->areas_n];

    if (s->areas_n == s->limits.areas_max) {
        rp_refuse(s, (struct rp_event){0},
                  "area %s: there are %u already; raise the limit of areas", in->name,
                  s->limits.areas_max);
        return;
    }
    *slot = (struct rp_area_slot){0};
    s->areas_n++;
    slot->a.nr = (uint16_t)s->areas_n;
    memcpy(slot->a.name, in->name, sizeof slot->a.name);
    memcpy(slot->a.base_topic, in->base_topic, sizeof slot->a.base_topic);
    rp_area_rehash(s, slot);
    rp_emit(s, &(struct rp_event){.kind = RP_EV_AREA, .area = &slot->a});
}

static void apply_area(struct rp_store *s, const struct rp_in_area *in)
{
    const struct rp_area *known = rp_store_area_named(s, in->name);
    struct rp_area_slot *slot;

    if (known == NULL) {
        new_area(s, in);
        return;
    }
    if (strcmp(known->base_topic, in->base_topic) == 0) {
        return;
    }
    /* Another topic is another bridge: what the old one said is void. */
    slot = &s->areas[known->nr - 1];
    memcpy(slot->a.base_topic, in->base_topic, sizeof slot->a.base_topic);
    slot->a.bridge = RP_AVAIL_UNKNOWN;
    slot->a.bridge_at_ms = s->m.now_ms;
    slot->a.ready_at_ms = 0;
    rp_area_rehash(s, slot);
    rp_emit(s, &(struct rp_event){.kind = RP_EV_AREA, .area = &slot->a});
}

static void apply_bridge(struct rp_store *s, const struct rp_in_bridge *in)
{
    enum rp_avail state = in->ready ? RP_ONLINE : in->state;
    struct rp_area_slot *slot;
    uint64_t ready_at;

    if (rp_store_area(s, in->area) == NULL) {
        rp_refuse(s, (struct rp_event){0}, "bridge: there is no area %u", in->area);
        return;
    }
    slot = &s->areas[in->area - 1];
    ready_at = in->ready ? s->m.now_ms : slot->a.ready_at_ms;
    if (state != RP_ONLINE) {
        ready_at = 0;
    }
    if (state == slot->a.bridge && ready_at == slot->a.ready_at_ms) {
        return;
    }
    if (state != slot->a.bridge) {
        slot->a.bridge_at_ms = s->m.now_ms;
    }
    slot->a.bridge = state;
    slot->a.ready_at_ms = ready_at;
    rp_area_rehash(s, slot);
    rp_emit(s, &(struct rp_event){.kind = RP_EV_BRIDGE, .area = &slot->a});
}

/* Off: whatever was said before means nothing any more. On: the bridge says it anew,
 * since what is retained is asked for again. */
static void apply_area_off(struct rp_store *s, const struct rp_in_area_off *in)
{
    struct rp_area_slot *slot;
    bool was_off;

    if (rp_store_area(s, in->area) == NULL) {
        rp_refuse(s, (struct rp_event){0}, "switch: there is no area %u", in->area);
        return;
    }
    slot = &s->areas[in->area - 1];
    was_off = slot->a.off != 0;
    slot->a.off = (uint8_t)(in->off ? slot->a.off | in->why : slot->a.off & ~in->why);
    if ((slot->a.off != 0) != was_off) {
        slot->a.bridge = RP_AVAIL_UNKNOWN;
        slot->a.bridge_at_ms = s->m.now_ms;
        slot->a.ready_at_ms = 0;
        rp_devices_forget(s, in->area);
    }
    rp_area_rehash(s, slot);
    rp_emit(s, &(struct rp_event){.kind = RP_EV_AREA, .area = &slot->a});
}

static void apply_watch(struct rp_store *s, const struct rp_in_watch *in)
{
    if (in->term < s->m.watch_term) {
        return; /* Proposed by a leader that has been relieved since. */
    }
    s->m.watch_term = in->term;
    s->m.watch_node = in->node;
    s->m.watch_since_ms = s->m.now_ms;
    rp_emit(s,
            &(struct rp_event){.kind = RP_EV_WATCH, .term = in->term, .node = in->node});
}

static void apply_checkpoint(struct rp_store *s, const struct rp_in_checkpoint *in)
{
    uint64_t own = rp_store_hash_at(s, in->index);

    if (own == 0 || own == in->hash) {
        return;
    }
    /* Not part of the hashed state: this node is the one that differs, or the
     * leader is; either way the others must not follow it. */
    s->diverged = true;
    snprintf(s->text, sizeof s->text,
             "state at index %llu is %016llx here and %016llx at the leader",
             (unsigned long long)in->index, (unsigned long long)own,
             (unsigned long long)in->hash);
    rp_emit(s, &(struct rp_event){.kind = RP_EV_DIVERGED, .text = s->text});
}

/* What is not about meters. */
/* What only the nodes need. */
static void apply_record(struct rp_store *s, const struct rp_input *in)
{
    if (in->kind == RP_IN_FACT) {
        rp_apply_fact(s, &in->fact);
    } else if (in->kind == RP_IN_AUDIT) {
        rp_apply_audit(s, &in->audit);
    } else if (in->kind == RP_IN_FILES) {
        rp_apply_files(s, &in->files);
    } else {
        rp_apply_drill(s, &in->drill);
    }
}

static void apply_of_command(struct rp_store *s, const struct rp_input *in)
{
    if (in->kind == RP_IN_COMMAND) {
        rp_apply_command(s, &in->command);
    } else if (in->kind == RP_IN_LEFT) {
        rp_apply_left(s, &in->sent);
    } else if (in->kind == RP_IN_END) {
        rp_apply_end(s, &in->end);
    } else {
        rp_apply_sent(s, &in->sent, in->kind == RP_IN_GOING);
    }
}

static void apply_input(struct rp_store *s, const struct rp_input *in)
{
    switch (in->kind) {
    case RP_IN_AREA:
        apply_area(s, &in->area);
        break;
    case RP_IN_BRIDGE:
        apply_bridge(s, &in->bridge);
        break;
    case RP_IN_DEVICE:
        rp_apply_device(s, &in->device);
        break;
    case RP_IN_GONE:
        rp_apply_gone(s, in->gone);
        break;
    case RP_IN_AVAIL:
        rp_apply_avail(s, &in->avail);
        break;
    case RP_IN_REPORT:
    case RP_IN_HEARD:
        rp_apply_report(s, &in->report, in->kind == RP_IN_HEARD);
        break;
    case RP_IN_COMMAND:
    case RP_IN_SENT:
    case RP_IN_GOING:
    case RP_IN_LEFT:
    case RP_IN_END:
        apply_of_command(s, in);
        break;
    case RP_IN_WATCH:
        apply_watch(s, &in->watch);
        break;
    case RP_IN_SHIPPED:
        rp_apply_shipped(s, &in->shipped);
        break;
    case RP_IN_CHECKPOINT:
        apply_checkpoint(s, &in->checkpoint);
        break;
    case RP_IN_TOLD:
        rp_apply_told(s, &in->told);
        break;
    case RP_IN_LAPSE:
        rp_apply_lapse(s, &in->lapse);
        break;
    case RP_IN_AREA_OFF:
        apply_area_off(s, &in->area_off);
        break;
    case RP_IN_TROUBLE:
        rp_apply_trouble(s, &in->trouble);
        break;
    case RP_IN_LETTER:
        rp_apply_letter(s, &in->letter);
        break;
    case RP_IN_FACT:
    case RP_IN_FILES:
    case RP_IN_DRILL:
    case RP_IN_AUDIT:
        apply_record(s, in);
        break;
    case RP_IN_LETTERS_SHIPPED:
        rp_apply_letters_shipped(s, in->letters_shipped);
        break;
    case RP_IN_TICK: /* Every entry moves the time on. */
    case RP_IN_NR:   /* The decoder refuses it. */
        break;
    }
}

int rp_store_apply(struct rp_store *s, uint64_t index, const uint8_t *p, size_t n,
                   rp_event_cb cb, void *data)
{
    struct rp_entry e;
    struct rp_input in;
    int rv;

    assert(index > s->m.index);
    rv = rp_entry_check(p, n);
    if (rv != 0) {
        return rv;
    }
    s->cb = cb;
    s->cb_data = data;
    s->m.index = index;
    s->stats.entries++;
    rv = rp_entry_open(&e, p, n);
    assert(rv == 0);
    if (e.at_ms > s->m.now_ms) {
        s->m.now_ms = e.at_ms;
    }
    rp_ledger_expire(s);
    s->refused_at = 0;
    s->entry_node = e.node;
    while ((rv = rp_entry_next(&e, &in)) == 1) {
        s->stats.inputs++;
        apply_input(s, &in);
    }
    assert(rv == 0); /* It was checked whole. */
    s->cb = NULL;
    s->cb_data = NULL;
    rp_store_close_index(s);
    return 0;
}

void rp_store_skip(struct rp_store *s, uint64_t index)
{
    assert(index > s->m.index);
    s->m.index = index;
    rp_store_close_index(s);
}

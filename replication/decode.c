#include "replication/decode.h"

#include "base/mp.h"

uint64_t rp_get_max(struct sy_cur *c, uint64_t max)
{
    uint64_t v = sy_mp_get_uint(c);

    if (v > max) {
        c->bad = 1;
        return 0;
    }
    return v;
}

int32_t rp_get_i32(struct sy_cur *c)
{
    int64_t v = sy_mp_get_int(c);

    if (v < INT32_MIN || v > INT32_MAX) {
        c->bad = 1;
        return 0;
    }
    return (int32_t)v;
}

void rp_get_name(struct sy_cur *c, char *to, size_t size)
{
    sy_mp_get_str(c, to, size);
    if (to[0] == '\0') {
        c->bad = 1;
    }
}

static uint64_t get_key(struct sy_cur *c)
{
    uint64_t v = sy_mp_get_uint(c);

    if (v == 0) {
        c->bad = 1;
    }
    return v;
}

void rp_get_values(struct sy_cur *c, struct rp_values *v)
{
    v->has = (uint16_t)rp_get_max(c, RP_HAS_ALL);
    v->energy_mwh = sy_mp_get_int(c);
    v->power_mw = rp_get_i32(c);
    v->voltage_mv = rp_get_i32(c);
    v->current_ma = rp_get_i32(c);
    v->linkquality = (uint16_t)rp_get_max(c, UINT16_MAX);
    if (((v->has & RP_HAS_ENERGY) == 0 && v->energy_mwh != 0) ||
        ((v->has & RP_HAS_POWER) == 0 && v->power_mw != 0) ||
        ((v->has & RP_HAS_VOLTAGE) == 0 && v->voltage_mv != 0) ||
        ((v->has & RP_HAS_CURRENT) == 0 && v->current_ma != 0) ||
        ((v->has & RP_HAS_LINKQUALITY) == 0 && v->linkquality != 0)) {
        c->bad = 1;
    }
}

void rp_put_values(struct sy_buf *b, const struct rp_values *v)
{
    sy_mp_uint(b, v->has);
    sy_mp_int(b, (v->has & RP_HAS_ENERGY) != 0 ? v->energy_mwh : 0);
    sy_mp_int(b, (v->has & RP_HAS_POWER) != 0 ? v->power_mw : 0);
    sy_mp_int(b, (v->has & RP_HAS_VOLTAGE) != 0 ? v->voltage_mv : 0);
    sy_mp_int(b, (v->has & RP_HAS_CURRENT) != 0 ? v->current_ma : 0);
    sy_mp_uint(b, (v->has & RP_HAS_LINKQUALITY) != 0 ? v->linkquality : 0);
}

static void get_report(struct sy_cur *c, struct rp_report *r)
{
    uint64_t flags;

    r->ieee = get_key(c);
    r->last_seen_ms = sy_mp_get_uint(c);
    r->payload_hash = sy_mp_get_uint(c);
    flags = rp_get_max(c, (RP_ON << RP_STATE_SHIFT) | RP_CACHED | RP_REDELIVERED);
    r->redelivered = (flags & RP_REDELIVERED) != 0;
    r->cached = (flags & RP_CACHED) != 0;
    r->state = (enum rp_switch)(flags >> RP_STATE_SHIFT);
    rp_get_values(c, &r->values);
}

static void get_command(struct sy_cur *c, struct rp_in_command *m)
{
    rp_get_name(c, m->id, sizeof m->id);
    m->ieee = get_key(c);
    rp_get_name(c, m->property, sizeof m->property);
    rp_get_name(c, m->value, sizeof m->value);
    rp_get_name(c, m->source, sizeof m->source);
    m->deadline_ms = sy_mp_get_uint(c);
}

static void get_end(struct sy_cur *c, struct rp_in_end *e)
{
    e->seq = get_key(c);
    e->status = (enum rp_command_status)rp_get_max(c, RP_STATUS_NR - 1);
    if (e->status != RP_FAILED && e->status != RP_CANCELLED) {
        c->bad = 1;
    }
    sy_mp_get_str(c, e->reason, sizeof e->reason);
}

static void get_trouble(struct sy_cur *c, struct rp_in_trouble *t)
{
    t->seq = get_key(c);
    t->attempt = (uint32_t)rp_get_max(c, UINT32_MAX);
    sy_mp_get_str(c, t->text, sizeof t->text);
}

static void get_letter(struct sy_cur *c, struct rp_in_letter *l)
{
    l->area = (uint16_t)rp_get_max(c, UINT16_MAX);
    sy_mp_get_str(c, l->topic, sizeof l->topic);
    sy_mp_get_str(c, l->reason, sizeof l->reason);
    l->cut = sy_mp_get_bool(c);
    l->payload = sy_mp_get_bin(c, &l->payload_len);
    if (l->payload_len > RP_LETTER_PAYLOAD_MAX) {
        c->bad = 1;
    }
}

static void get_area_off(struct sy_cur *c, struct rp_in_area_off *a)
{
    a->area = (uint16_t)rp_get_max(c, UINT16_MAX);
    a->why = (uint8_t)rp_get_max(c, RP_OFF_CONFIG);
    a->off = sy_mp_get_bool(c);
    if (a->why == 0) {
        c->bad = 1;
    }
}

static void get_drill(struct sy_cur *c, struct rp_in_drill *d)
{
    d->nr = sy_mp_get_uint(c);
    d->state = (enum rp_drill_state)rp_get_max(c, RP_DRILL_STATES - 1);
    rp_get_name(c, d->kind, sizeof d->kind);
    d->report = sy_mp_get_bin(c, &d->report_len);
    if (d->report_len > RP_DRILL_REPORT_MAX || d->state == 0) {
        c->bad = 1;
    }
}

static void get_audit(struct sy_cur *c, struct rp_in_audit *a)
{
    a->covers = (uint32_t)rp_get_max(c, UINT32_MAX);
    rp_get_name(c, a->who, sizeof a->who);
    sy_mp_get_str(c, a->from, sizeof a->from);
    rp_get_name(c, a->what, sizeof a->what);
    sy_mp_get_str(c, a->about, sizeof a->about);
    sy_mp_get_str(c, a->result, sizeof a->result);
}

static void get_files(struct sy_cur *c, struct rp_in_files *f)
{
    rp_get_name(c, f->set, sizeof f->set);
    f->follows = sy_mp_get_uint(c);
    f->from = sy_mp_get_uint(c);
    f->node = (uint16_t)rp_get_max(c, UINT16_MAX);
    f->list = sy_mp_get_bin(c, &f->list_len);
    if (!c->bad && !rp_files_list_ok(f->list, f->list_len)) {
        c->bad = 1;
    }
}

static void get_attempt(struct sy_cur *c, struct rp_input *in)
{
    in->sent.seq = get_key(c);
    in->sent.attempt = (uint32_t)rp_get_max(c, UINT32_MAX);
    in->sent.retry_ms = in->kind != RP_IN_LEFT ? sy_mp_get_uint(c) : 0;
}

/* What comes often, or is short. */
static void get_small(struct sy_cur *c, struct rp_input *in)
{
    switch (in->kind) {
    case RP_IN_GONE:
        in->gone = get_key(c);
        break;
    case RP_IN_AVAIL:
        in->avail.ieee = get_key(c);
        in->avail.avail = (enum rp_avail)rp_get_max(c, RP_ONLINE);
        break;
    case RP_IN_REPORT:
    case RP_IN_HEARD:
        get_report(c, &in->report);
        break;
    case RP_IN_SENT:
    case RP_IN_GOING:
    case RP_IN_LEFT:
        get_attempt(c, in);
        break;
    case RP_IN_TICK:
        break;
    case RP_IN_WATCH:
        in->watch.term = sy_mp_get_uint(c);
        in->watch.node = (uint16_t)rp_get_max(c, UINT16_MAX);
        break;
    case RP_IN_SHIPPED:
        in->shipped.reading_seq = sy_mp_get_uint(c);
        in->shipped.revision = sy_mp_get_uint(c);
        break;
    case RP_IN_CHECKPOINT:
        in->checkpoint.index = sy_mp_get_uint(c);
        in->checkpoint.hash = sy_mp_get_uint(c);
        break;
    case RP_IN_TOLD:
        in->told.ieee = get_key(c);
        in->told.avail = rp_get_max(c, 1) != 0 ? RP_ONLINE : RP_OFFLINE;
        in->told.hold_ms = sy_mp_get_uint(c);
        break;
    case RP_IN_LAPSE:
        in->lapse.ieee = get_key(c);
        in->lapse.hold_ms = sy_mp_get_uint(c);
        in->lapse.ttl_ms = sy_mp_get_uint(c);
        break;
    case RP_IN_FACT:
        rp_get_name(c, in->fact.key, sizeof in->fact.key);
        sy_mp_get_str(c, in->fact.value, sizeof in->fact.value);
        break;
    case RP_IN_LETTERS_SHIPPED:
        in->letters_shipped = sy_mp_get_uint(c);
        break;
    case RP_IN_AREA:
    case RP_IN_BRIDGE:
    case RP_IN_DEVICE:
    case RP_IN_COMMAND:
    case RP_IN_END:
    case RP_IN_AREA_OFF:
    case RP_IN_TROUBLE:
    case RP_IN_LETTER:
    case RP_IN_FILES:
    case RP_IN_DRILL:
    case RP_IN_AUDIT:
    case RP_IN_NR:
        c->bad = 1; /* get_input() has read these, or refused them. */
        break;
    }
}

static void get_input(struct sy_cur *c, struct rp_input *in)
{
    if (in->kind == RP_IN_AREA) {
        rp_get_name(c, in->area.name, sizeof in->area.name);
        rp_get_name(c, in->area.base_topic, sizeof in->area.base_topic);
    } else if (in->kind == RP_IN_BRIDGE) {
        in->bridge.area = (uint16_t)rp_get_max(c, UINT16_MAX);
        in->bridge.state = (enum rp_avail)rp_get_max(c, RP_ONLINE);
        in->bridge.ready = sy_mp_get_bool(c);
    } else if (in->kind == RP_IN_DEVICE) {
        in->device.area = (uint16_t)rp_get_max(c, UINT16_MAX);
        in->device.ieee = get_key(c);
        rp_get_name(c, in->device.name, sizeof in->device.name);
        sy_mp_get_str(c, in->device.model, sizeof in->device.model);
    } else if (in->kind == RP_IN_COMMAND) {
        get_command(c, &in->command);
    } else if (in->kind == RP_IN_END) {
        get_end(c, &in->end);
    } else if (in->kind == RP_IN_AREA_OFF) {
        get_area_off(c, &in->area_off);
    } else if (in->kind == RP_IN_TROUBLE) {
        get_trouble(c, &in->trouble);
    } else if (in->kind == RP_IN_LETTER) {
        get_letter(c, &in->letter);
    } else if (in->kind == RP_IN_FILES) {
        get_files(c, &in->files);
    } else if (in->kind == RP_IN_DRILL) {
        get_drill(c, &in->drill);
    } else if (in->kind == RP_IN_AUDIT) {
        get_audit(c, &in->audit);
    } else {
        get_small(c, in);
    }
}

int rp_entry_open(struct rp_entry *e, const uint8_t *p, size_t n)
{
    uint32_t count;
    uint64_t version;
    uint64_t kind;

    e->cur = (struct sy_cur){.p = p, .n = n};
    count = sy_mp_get_array(&e->cur);
    version = sy_mp_get_uint(&e->cur);
    if (e->cur.bad) {
        return SY_ECORRUPT;
    }
    if (version != RP_ENTRY_VERSION) {
        return SY_EVERSION;
    }
    kind = sy_mp_get_uint(&e->cur);
    if (!e->cur.bad && kind != RP_KIND_BATCH) {
        return SY_EVERSION;
    }
    e->at_ms = sy_mp_get_uint(&e->cur);
    e->node = (uint16_t)rp_get_max(&e->cur, UINT16_MAX);
    e->left = (uint32_t)rp_get_max(&e->cur, UINT32_MAX);
    if (e->cur.bad || count != (uint64_t)e->left + RP_HEADER_FIELDS) {
        return SY_ECORRUPT;
    }
    return 0;
}

int rp_entry_next(struct rp_entry *e, struct rp_input *in)
{
    uint32_t count;
    uint64_t kind;

    if (e->left == 0) {
        return e->cur.n == 0 ? 0 : SY_ECORRUPT;
    }
    e->left--;
    count = sy_mp_get_array(&e->cur);
    kind = sy_mp_get_uint(&e->cur);
    if (e->cur.bad) {
        return SY_ECORRUPT;
    }
    if (kind == 0 || kind >= RP_IN_NR || count != rp_input_fields[kind]) {
        return SY_EVERSION;
    }
    in->kind = (enum rp_input_kind)kind;
    get_input(&e->cur, in);
    return e->cur.bad ? SY_ECORRUPT : 1;
}

int rp_entry_check(const uint8_t *p, size_t n)
{
    struct rp_entry e;
    struct rp_input in;
    int rv = rp_entry_open(&e, p, n);

    if (rv != 0) {
        return rv;
    }
    do {
        rv = rp_entry_next(&e, &in);
    } while (rv == 1);
    return rv;
}

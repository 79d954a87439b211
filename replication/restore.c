/* From a snapshot back to a state. The bytes may come from another node or from
 * a disk: nothing in them is believed, and a store that comes out of here keeps
 * every promise that apply() relies on. */

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mp.h"
#include "replication/store_impl.h"

enum phase {
    HEADER,
    AREAS,
    DEVICES,
    COMMANDS,
    READINGS,
    LETTERS,
    FACTS,
    OTHERS,
    TRAILER,
    DONE,
    FAILED
};

/* Counters that are counted on stay far from wrapping. */
#define COUNTER_MAX (UINT64_MAX / 2)

enum {
    OTHERS_MAX = RP_DRILLS_MAX + RP_AUDIT_MAX +
                 RP_FILES_SETS_MAX * RP_FILES_KEPT * (1 + RP_FILES_MAX)
};

static int SY_PRINTF(3, 4) fail(struct rp_restore *r, int err, const char *fmt, ...)
{
    char text[RP_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    rp_store_reset(r->store);
    sy_buf_free(&r->carry);
    r->phase = FAILED;
    return sy_fail(r->eb, err, "snapshot, record %llu: %s",
                   (unsigned long long)r->records + 1, text);
}

static int malformed(struct rp_restore *r, const char *what)
{
    return fail(r, SY_ECORRUPT, "%s; take it from another node", what);
}

static int check_limits(struct rp_restore *r)
{
    const struct rp_limits *l = &r->store->limits;
    uint64_t readings = r->readings_last + 1 - r->store->m.readings_first;

    if (r->areas > l->areas_max) {
        return fail(r, SY_ELIMIT, "it has %u areas; raise the limit (%u)", r->areas,
                    l->areas_max);
    }
    if (r->devices > l->devices_max) {
        return fail(r, SY_ELIMIT, "it has %u devices; raise the limit (%u)", r->devices,
                    l->devices_max);
    }
    if (r->commands > l->commands_max) {
        return fail(r, SY_ELIMIT, "it has %u commands; raise the limit (%u)", r->commands,
                    l->commands_max);
    }
    if (readings > l->readings_max) {
        return fail(r, SY_ELIMIT, "it has %llu readings; raise the limit (%u)",
                    (unsigned long long)readings, l->readings_max);
    }
    if (r->letters_last + 1 - r->store->m.letters_first > l->letters_max) {
        return fail(r, SY_ELIMIT,
                    "it has %llu dead letters; raise the limit of letters (%u)",
                    (unsigned long long)(r->letters_last + 1 - r->store->m.letters_first),
                    l->letters_max);
    }
    return 0;
}

/* Magic and version come first: a newer version may have another header. */
static int get_version(struct rp_restore *r, struct sy_cur *c, uint32_t *fields)
{
    struct sy_mp magic;
    uint64_t version;

    *fields = sy_mp_get_array(c);
    magic = sy_mp_next(c);
    version = sy_mp_get_uint(c);
    if (c->bad || !sy_mp_is(&magic, RP_SNAPSHOT_MAGIC)) {
        return malformed(r, "this is no snapshot");
    }
    if (version > RP_SNAPSHOT_VERSION) {
        return fail(r, SY_EVERSION,
                    "version %llu was written by a newer vagt, this one reads up to %d; "
                    "install the newer vagt here",
                    (unsigned long long)version, RP_SNAPSHOT_VERSION);
    }
    r->version = (uint32_t)version;
    return version == 0 ? malformed(r, "there is no version 0") : 0;
}

static void get_letters_of_header(struct rp_restore *r, struct sy_cur *c)
{
    struct rp_meta *m = &r->store->m;

    m->letters_first = 1;
    if (r->version > 1) {
        m->letters_first = rp_get_max(c, COUNTER_MAX);
        r->letters_last = rp_get_max(c, COUNTER_MAX);
        m->letters_shipped = rp_get_max(c, r->letters_last);
        m->letters_dropped = sy_mp_get_uint(c);
    }
}

static uint32_t header_len(uint32_t version)
{
    static const uint32_t len[] = {0, RP_HEADER_LEN_1, RP_HEADER_LEN_2, RP_HEADER_LEN_3,
                                   RP_HEADER_LEN};

    return len[version];
}

static int get_header(struct rp_restore *r, struct sy_cur *c)
{
    struct rp_meta *m = &r->store->m;
    uint32_t fields;
    int rv = get_version(r, c, &fields);

    if (rv != 0) {
        return rv;
    }
    m->index = sy_mp_get_uint(c);
    m->now_ms = sy_mp_get_uint(c);
    m->watch_term = sy_mp_get_uint(c);
    m->watch_since_ms = sy_mp_get_uint(c);
    m->watch_node = (uint16_t)rp_get_max(c, UINT16_MAX);
    m->revision = rp_get_max(c, COUNTER_MAX);
    m->revision_shipped = rp_get_max(c, m->revision);
    m->readings_first = rp_get_max(c, COUNTER_MAX);
    r->readings_last = rp_get_max(c, COUNTER_MAX);
    m->readings_shipped = rp_get_max(c, r->readings_last);
    m->readings_dropped = sy_mp_get_uint(c);
    m->commands_last = rp_get_max(c, COUNTER_MAX);
    m->results_dropped = sy_mp_get_uint(c);
    for (unsigned i = RP_CONFIRMED; i < RP_STATUS_NR; i++) {
        m->ended[i] = sy_mp_get_uint(c);
    }
    r->areas = (uint32_t)rp_get_max(c, UINT32_MAX);
    r->devices = (uint32_t)rp_get_max(c, UINT32_MAX);
    r->commands = (uint32_t)rp_get_max(c, UINT32_MAX);
    r->state_hash = sy_mp_get_uint(c);
    get_letters_of_header(r, c);
    if (r->version > 2) {
        r->facts = (uint32_t)rp_get_max(c, RP_FACTS_MAX);
    }
    if (r->version > 3) {
        r->others = (uint32_t)rp_get_max(c, OTHERS_MAX);
    }
    if (c->bad || fields != header_len(r->version) ||
        m->readings_first <= m->readings_shipped ||
        m->readings_first > r->readings_last + 1 ||
        m->letters_first <= m->letters_shipped ||
        m->letters_first > r->letters_last + 1) {
        return malformed(r, "the header is damaged");
    }
    m->readings_last = m->readings_first - 1;
    m->letters_last = m->letters_first - 1;
    return check_limits(r);
}

static bool kind_is(struct sy_cur *c, enum rp_record kind, uint32_t fields)
{
    uint32_t n = sy_mp_get_array(c);

    return sy_mp_get_uint(c) == kind && n == fields && !c->bad;
}

static int get_area(struct rp_restore *r, struct sy_cur *c)
{
    struct rp_store *s = r->store;
    struct rp_area_slot slot = {0};

    if (!kind_is(c, RP_REC_AREA, r->version > 1 ? RP_AREA_LEN : RP_AREA_LEN - 1)) {
        return malformed(r, "an area was expected");
    }
    slot.a.nr = (uint16_t)rp_get_max(c, UINT16_MAX);
    rp_get_name(c, slot.a.name, sizeof slot.a.name);
    rp_get_name(c, slot.a.base_topic, sizeof slot.a.base_topic);
    slot.a.bridge = (enum rp_avail)rp_get_max(c, RP_ONLINE);
    slot.a.bridge_at_ms = sy_mp_get_uint(c);
    slot.a.ready_at_ms = sy_mp_get_uint(c);
    if (r->version > 1) {
        slot.a.off = (uint8_t)rp_get_max(c, RP_OFF_OPERATOR | RP_OFF_CONFIG);
    }
    if (c->bad || slot.a.nr != s->areas_n + 1 ||
        rp_store_area_named(s, slot.a.name) != NULL) {
        return malformed(r, "an area is damaged");
    }
    s->areas[s->areas_n] = slot;
    rp_area_rehash(s, &s->areas[s->areas_n]);
    s->areas_n++;
    return 0;
}

static bool read_device(struct sy_cur *c, uint32_t version, struct rp_device_slot *d)
{
    d->d.ieee = sy_mp_get_uint(c);
    d->d.area = (uint16_t)rp_get_max(c, UINT16_MAX);
    d->d.listed = sy_mp_get_bool(c);
    d->d.state = (enum rp_switch)rp_get_max(c, RP_ON);
    d->d.avail = (enum rp_avail)rp_get_max(c, RP_ONLINE);
    rp_get_name(c, d->d.name, sizeof d->d.name);
    sy_mp_get_str(c, d->d.model, sizeof d->d.model);
    d->d.last_seen_ms = sy_mp_get_uint(c);
    d->d.updated_ms = sy_mp_get_uint(c);
    rp_get_values(c, &d->d.values);
    d->d.revision = sy_mp_get_uint(c);
    d->told_ms = sy_mp_get_uint(c);
    d->last.hash = sy_mp_get_uint(c);
    d->last.last_seen_ms = sy_mp_get_uint(c);
    for (unsigned i = 0; i < RP_RECENT_NR; i++) {
        d->recent[i].hash = sy_mp_get_uint(c);
        d->recent[i].last_seen_ms = sy_mp_get_uint(c);
    }
    d->d.payload_hash = d->last.hash;
    if (version > 1) {
        d->d.told = (enum rp_avail)rp_get_max(c, RP_ONLINE);
        d->d.lapsed = sy_mp_get_bool(c);
    }
    return !c->bad;
}

static int get_device(struct rp_restore *r, struct sy_cur *c)
{
    struct rp_store *s = r->store;
    struct rp_device_slot *d = &s->devices[s->devices_n];
    uint64_t before = s->devices_n > 0 ? d[-1].d.ieee : 0;

    *d = (struct rp_device_slot){0};
    if (!kind_is(c, RP_REC_DEVICE, r->version > 1 ? RP_DEVICE_LEN : RP_DEVICE_LEN - 2)) {
        return malformed(r, "a device was expected");
    }
    if (!read_device(c, r->version, d) || d->d.ieee <= before || d->d.area == 0 ||
        d->d.area > s->areas_n || d->d.revision == 0 || d->d.revision > s->m.revision) {
        return malformed(r, "a device is damaged");
    }
    s->devices_n++;
    rp_index_ieee(s, s->devices_n);
    rp_index_name(s, s->devices_n);
    if (d->d.listed) {
        s->areas[d->d.area - 1].a.devices++;
        s->online_n += d->d.avail == RP_ONLINE;
    }
    rp_device_rehash(s, d);
    return 0;
}

static bool read_command(struct sy_cur *c, struct rp_command *m)
{
    m->seq = sy_mp_get_uint(c);
    rp_get_name(c, m->id, sizeof m->id);
    m->ieee = sy_mp_get_uint(c);
    rp_get_name(c, m->property, sizeof m->property);
    rp_get_name(c, m->value, sizeof m->value);
    rp_get_name(c, m->source, sizeof m->source);
    m->status = (enum rp_command_status)rp_get_max(c, RP_STATUS_NR - 1);
    m->attempts = (uint32_t)rp_get_max(c, UINT32_MAX);
    m->accepted_ms = sy_mp_get_uint(c);
    m->deadline_ms = sy_mp_get_uint(c);
    m->retry_ms = sy_mp_get_uint(c);
    m->sent_ms = sy_mp_get_uint(c);
    m->ended_ms = sy_mp_get_uint(c);
    m->sent_last_seen_ms = sy_mp_get_uint(c);
    sy_mp_get_str(c, m->reason, sizeof m->reason);
    m->revision = sy_mp_get_uint(c);
    return !c->bad && m->status != 0;
}

static int get_command(struct rp_restore *r, struct sy_cur *c)
{
    struct rp_store *s = r->store;
    struct rp_command_slot *m = &s->commands[s->commands_n];
    uint64_t before = s->commands_n > 0 ? m[-1].c.seq : 0;
    uint32_t nr = s->commands_n + 1;
    uint32_t device;

    *m = (struct rp_command_slot){0};
    if (!kind_is(c, RP_REC_COMMAND, RP_COMMAND_LEN)) {
        return malformed(r, "a command was expected");
    }
    if (!read_command(c, &m->c) || m->c.seq <= before || m->c.seq > s->m.commands_last ||
        m->c.revision == 0 || m->c.revision > s->m.revision ||
        rp_find_command(s, m->c.id) != 0) {
        return malformed(r, "a command is damaged");
    }
    device = rp_find_device(s, m->c.ieee);
    if (!rp_ended(m->c.status) && (device == 0 || !rp_device_slot(s, device)->d.listed)) {
        return malformed(r, "an open command has no device");
    }
    rp_index_id(s, nr);
    rp_order_push(s, nr);
    if (!rp_ended(m->c.status)) {
        rp_ledger_link_open(s, nr, device);
    }
    rp_command_rehash(s, m);
    return 0;
}

static int get_reading(struct rp_restore *r, struct sy_cur *c)
{
    struct rp_reading reading = {0};

    if (!kind_is(c, RP_REC_READING, RP_READING_LEN)) {
        return malformed(r, "a reading was expected");
    }
    reading.seq = sy_mp_get_uint(c);
    reading.ieee = sy_mp_get_uint(c);
    reading.time_ms = sy_mp_get_uint(c);
    reading.state = (enum rp_switch)rp_get_max(c, RP_ON);
    rp_get_values(c, &reading.values);
    if (c->bad || reading.seq != r->store->m.readings_last + 1) {
        return malformed(r, "a reading is damaged");
    }
    rp_outbox_put(r->store, &reading);
    return 0;
}

static int get_letter(struct rp_restore *r, struct sy_cur *c)
{
    struct rp_letter l = {0};
    const uint8_t *payload;
    uint32_t n;

    if (!kind_is(c, RP_REC_LETTER, RP_LETTER_LEN)) {
        return malformed(r, "a dead letter was expected");
    }
    l.seq = sy_mp_get_uint(c);
    l.at_ms = sy_mp_get_uint(c);
    l.area = (uint16_t)rp_get_max(c, r->store->areas_n);
    l.cut = sy_mp_get_bool(c);
    sy_mp_get_str(c, l.topic, sizeof l.topic);
    sy_mp_get_str(c, l.reason, sizeof l.reason);
    payload = sy_mp_get_bin(c, &n);
    if (c->bad || l.seq != r->store->m.letters_last + 1 || n > sizeof l.payload) {
        return malformed(r, "a dead letter is damaged");
    }
    if (n > 0) {
        memcpy(l.payload, payload, n);
    }
    l.payload_len = (uint16_t)n;
    rp_letters_put(r->store, &l);
    return 0;
}

static int get_fact(struct rp_restore *r, struct sy_cur *c)
{
    struct rp_fact f = {0};

    if (!kind_is(c, RP_REC_FACT, RP_FACT_LEN)) {
        return malformed(r, "a fact was expected");
    }
    rp_get_name(c, f.key, sizeof f.key);
    rp_get_name(c, f.value, sizeof f.value);
    f.at_ms = sy_mp_get_uint(c);
    if (c->bad || !rp_facts_append(r->store, &f)) {
        return malformed(r, "a fact is damaged");
    }
    return 0;
}

static int get_drill(struct rp_restore *r, struct sy_cur *c)
{
    struct rp_drill d = {0};
    const uint8_t *report;
    uint32_t n;

    if (!kind_is(c, RP_REC_DRILL, RP_DRILL_LEN)) {
        return malformed(r, "a drill was expected");
    }
    d.nr = sy_mp_get_uint(c);
    d.began_ms = sy_mp_get_uint(c);
    d.ended_ms = sy_mp_get_uint(c);
    rp_get_name(c, d.kind, sizeof d.kind);
    d.state = (enum rp_drill_state)rp_get_max(c, RP_DRILL_STATES - 1);
    report = sy_mp_get_bin(c, &n);
    if (c->bad || n > sizeof d.report || d.nr == 0 || d.nr > COUNTER_MAX ||
        d.state == 0) {
        return malformed(r, "a drill is damaged");
    }
    if (n > 0) {
        memcpy(d.report, report, n);
    }
    d.report_len = (uint16_t)n;
    if (!rp_drills_append(r->store, &d)) {
        return malformed(r, "a drill is not in its place");
    }
    return 0;
}

static int get_audit(struct rp_restore *r, struct sy_cur *c)
{
    struct rp_audit a = {0};
    const uint8_t *before;
    uint32_t n;

    if (!kind_is(c, RP_REC_AUDIT, RP_AUDIT_LEN)) {
        return malformed(r, "an audit record was expected");
    }
    before = sy_mp_get_bin(c, &n);
    if (c->bad || n != SY_SHA256_SIZE || rp_audit_get(c, &a) != 0 || a.nr > COUNTER_MAX) {
        return malformed(r, "an audit record is damaged");
    }
    if (!rp_audit_append(r->store, &a, before)) {
        return malformed(r, "an audit record is not the next of the chain");
    }
    return 0;
}

static int get_file(struct rp_restore *r, struct sy_cur *c)
{
    if (!kind_is(c, RP_REC_FILES, RP_FILE_LEN)) {
        return malformed(r, "a file was expected");
    }
    rp_get_file(c, &r->files->list[r->files->n - r->files_left]);
    r->files_left--;
    if (c->bad || (r->files_left == 0 && !rp_files_complete(r->store, r->files))) {
        return malformed(r, "a file is damaged");
    }
    return 0;
}

static int get_files(struct rp_restore *r, struct sy_cur *c)
{
    char set[RP_FILES_NAME_SIZE];
    struct rp_files_version v;

    if (!kind_is(c, RP_REC_FILES, RP_FILES_LEN)) {
        return malformed(r, "a version of files was expected");
    }
    rp_get_name(c, set, sizeof set);
    v.nr = rp_get_max(c, COUNTER_MAX);
    v.at_ms = sy_mp_get_uint(c);
    v.from = sy_mp_get_uint(c);
    v.node = (uint16_t)rp_get_max(c, UINT16_MAX);
    v.n = (uint16_t)rp_get_max(c, RP_FILES_MAX);
    if (c->bad || v.n == 0 || v.nr == 0 || v.from >= v.nr) {
        return malformed(r, "a version of files is damaged");
    }
    r->files = rp_files_append(r->store, set, v.nr);
    if (r->files == NULL) {
        return malformed(r, "a version of files is not in its place");
    }
    memcpy(r->files, &v, offsetof(struct rp_files_version, list));
    r->files_left = v.n;
    return 0;
}

/* By kind, in order of their numbers. */
static int get_other(struct rp_restore *r, struct sy_cur *c)
{
    struct sy_cur look = *c;
    uint64_t kind;

    (void)sy_mp_get_array(&look);
    kind = sy_mp_get_uint(&look);
    if (r->files_left > 0) {
        kind = RP_REC_FILES;
    } else if (kind < r->other) {
        return malformed(r, "a record is not in its place");
    }
    r->other = (uint8_t)kind;
    r->others_read++;
    if (kind == RP_REC_FILES) {
        return r->files_left > 0 ? get_file(r, c) : get_files(r, c);
    }
    return kind == RP_REC_AUDIT ? get_audit(r, c) : get_drill(r, c);
}

static int get_trailer(struct rp_restore *r, struct sy_cur *c)
{
    if (r->files_left > 0) {
        return malformed(r, "files are missing");
    }
    if (!kind_is(c, RP_REC_END, RP_TRAILER_LEN) || sy_mp_get_uint(c) != r->records ||
        sy_mp_get_uint(c) != r->hash || c->bad) {
        return malformed(r, "the checksum of the whole is wrong");
    }
    return 0;
}

/* Phases that are complete, or that never had a record, are left behind. */
static void advance(struct rp_restore *r)
{
    const struct rp_store *s = r->store;

    if (r->phase == HEADER) {
        r->phase = AREAS;
    } else if (r->phase == TRAILER) {
        r->phase = DONE;
    }
    if (r->phase == AREAS && s->areas_n == r->areas) {
        r->phase = DEVICES;
    }
    if (r->phase == DEVICES && s->devices_n == r->devices) {
        r->phase = COMMANDS;
    }
    if (r->phase == COMMANDS && s->commands_n == r->commands) {
        r->phase = READINGS;
    }
    if (r->phase == READINGS && s->m.readings_last == r->readings_last) {
        r->phase = LETTERS;
    }
    if (r->phase == LETTERS && s->m.letters_last == r->letters_last) {
        r->phase = FACTS;
    }
    if (r->phase == FACTS && s->facts_n == r->facts) {
        r->phase = OTHERS;
    }
    if (r->phase == OTHERS && r->others_read == r->others) {
        r->phase = TRAILER;
    }
}

static int get_record(struct rp_restore *r, struct sy_cur *c)
{
    switch ((enum phase)r->phase) {
    case HEADER:
        return get_header(r, c);
    case AREAS:
        return get_area(r, c);
    case DEVICES:
        return get_device(r, c);
    case COMMANDS:
        return get_command(r, c);
    case READINGS:
        return get_reading(r, c);
    case LETTERS:
        return get_letter(r, c);
    case FACTS:
        return get_fact(r, c);
    case OTHERS:
        return get_other(r, c);
    case TRAILER:
        return get_trailer(r, c);
    case DONE:
    case FAILED:
        break;
    }
    return malformed(r, "something follows the end");
}

/* All whole records in @p: how many bytes they were, or an error. */
static int eat(struct rp_restore *r, const uint8_t *p, size_t n, size_t *ret_used)
{
    size_t used = 0;

    while (used < n) {
        struct sy_cur whole = {.p = p + used, .n = n - used};
        struct sy_cur c;
        int rv;

        sy_mp_skip(&whole);
        if (whole.bad && n - used < RP_RECORD_SIZE_MAX && r->phase != DONE) {
            break; /* The rest of it is still to come. */
        }
        c = (struct sy_cur){.p = p + used, .n = (size_t)(whole.p - (p + used))};
        if (whole.bad || c.n > RP_RECORD_SIZE_MAX) {
            return malformed(r, "this is no record");
        }
        rv = get_record(r, &c);
        if (rv != 0) {
            return rv;
        }
        assert(c.n == 0); /* Its fields were counted. */
        r->hash = sy_hash(p + used, (size_t)(whole.p - (p + used)), r->hash);
        r->records++;
        used += (size_t)(whole.p - (p + used));
        advance(r);
    }
    *ret_used = used;
    return 0;
}

void rp_restore_begin(struct rp_restore *r, struct rp_store *s, struct sy_errbuf *eb)
{
    rp_store_reset(s);
    *r = (struct rp_restore){.store = s, .eb = eb, .phase = HEADER};
}

int rp_restore_feed(struct rp_restore *r, const void *p, size_t n)
{
    size_t used = 0;
    int rv;

    if (r->phase == FAILED) {
        return SY_ECORRUPT;
    }
    if (r->carry.len == 0) {
        rv = eat(r, p, n, &used);
        if (rv == 0 && used < n) {
            sy_buf_put(&r->carry, (const uint8_t *)p + used, n - used);
        }
        return rv;
    }
    sy_buf_put(&r->carry, p, n);
    rv = eat(r, r->carry.p, r->carry.len, &used);
    if (rv == 0) {
        sy_buf_consume(&r->carry, used);
    }
    return rv;
}

int rp_restore_end(struct rp_restore *r)
{
    if (r->phase == FAILED) {
        return SY_ECORRUPT;
    }
    if (r->phase != DONE || r->carry.len > 0) {
        return malformed(r, "it ends too early");
    }
    if (rp_relink_changed(r->store) != 0) {
        return malformed(r, "two records have one revision");
    }
    rp_store_close_index(r->store);
    if (r->store->hash != r->state_hash) {
        return malformed(r, "the state differs from what was written");
    }
    sy_buf_free(&r->carry);
    return 0;
}

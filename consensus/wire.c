#include "consensus/wire.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

enum { CONF_FORMAT = 1, ADDRESS_MAX = 64 };

/* --- writing --- */

static void put_u16(struct sy_buf *b, unsigned v)
{
    sy_buf_u8(b, (uint8_t)v);
    sy_buf_u8(b, (uint8_t)(v >> 8));
}

static void put_request_vote(struct sy_buf *b, const struct raft_request_vote *v)
{
    sy_buf_u64(b, v->term);
    sy_buf_u64(b, v->candidate_id);
    sy_buf_u64(b, v->last_log_index);
    sy_buf_u64(b, v->last_log_term);
    sy_buf_u8(b, v->disrupt_leader);
    sy_buf_u8(b, v->pre_vote);
}

void cs_wire_put(struct sy_buf *b, const struct raft_message *m, uint64_t stamp)
{
    sy_buf_u8(b, CS_WIRE_VERSION);
    sy_buf_u8(b, (uint8_t)m->type);
    switch (m->type) {
    case RAFT_REQUEST_VOTE:
        put_request_vote(b, &m->request_vote);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        sy_buf_u64(b, m->request_vote_result.term);
        sy_buf_u8(b, m->request_vote_result.vote_granted);
        sy_buf_u8(b, m->request_vote_result.pre_vote);
        put_u16(b, m->request_vote_result.features);
        put_u16(b, m->request_vote_result.capacity);
        break;
    case RAFT_APPEND_ENTRIES:
        sy_buf_u64(b, m->append_entries.term);
        sy_buf_u64(b, stamp);
        sy_buf_u64(b, m->append_entries.prev_log_index);
        sy_buf_u64(b, m->append_entries.prev_log_term);
        sy_buf_u64(b, m->append_entries.leader_commit);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        sy_buf_u64(b, m->append_entries_result.term);
        sy_buf_u64(b, stamp);
        sy_buf_u64(b, m->append_entries_result.rejected);
        sy_buf_u64(b, m->append_entries_result.last_log_index);
        put_u16(b, m->append_entries_result.features);
        put_u16(b, m->append_entries_result.capacity);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        sy_buf_u64(b, m->install_snapshot.term);
        sy_buf_u64(b, m->install_snapshot.last_index);
        sy_buf_u64(b, m->install_snapshot.last_term);
        sy_buf_u64(b, m->install_snapshot.conf_index);
        break;
    case RAFT_TIMEOUT_NOW:
        sy_buf_u64(b, m->timeout_now.term);
        sy_buf_u64(b, m->timeout_now.last_log_index);
        sy_buf_u64(b, m->timeout_now.last_log_term);
        break;
    }
}

void cs_wire_put_count(struct sy_buf *b, uint32_t n)
{
    sy_buf_u32(b, n);
}

void cs_wire_put_entry(struct sy_buf *b, const struct cs_entry *e)
{
    uint8_t *p = sy_buf_reserve(b, CS_WIRE_ENTRY + (size_t)e->len);

    for (unsigned i = 0; i < 8; i++) {
        p[i] = (uint8_t)(e->term >> (8 * i));
    }
    p[8] = e->type;
    for (unsigned i = 0; i < 4; i++) {
        p[9 + i] = (uint8_t)(e->len >> (8 * i));
    }
    if (e->len > 0) {
        memcpy(p + CS_WIRE_ENTRY, e->data, e->len);
    }
    b->len += CS_WIRE_ENTRY + (size_t)e->len;
}

void cs_wire_put_conf(struct sy_buf *b, const struct sy_buf *conf)
{
    sy_buf_u32(b, (uint32_t)conf->len);
    sy_buf_put(b, conf->p, conf->len);
}

/* --- reading --- */

static uint16_t get_u16(struct sy_cur *c)
{
    uint16_t low = sy_cur_u8(c);

    return (uint16_t)(low | (uint16_t)(sy_cur_u8(c) << 8));
}

static bool get_flag(struct sy_cur *c)
{
    uint8_t v = sy_cur_u8(c);

    if (v > 1) {
        c->bad = 1;
    }
    return v == 1;
}

static uint64_t get_number(struct sy_cur *c)
{
    uint64_t v = sy_cur_u64(c);

    if (v > CS_WIRE_NUMBER_MAX) {
        c->bad = 1;
    }
    return v;
}

/* Terms start at 1: 0 is nobody's. */
static uint64_t get_term(struct sy_cur *c)
{
    uint64_t v = get_number(c);

    if (v == 0) {
        c->bad = 1;
    }
    return v;
}

/* A position in a log: index and term are 0 together or not at all. */
static void get_position(struct sy_cur *c, raft_index *index, raft_term *term)
{
    *index = get_number(c);
    *term = get_number(c);
    if ((*index == 0) != (*term == 0)) {
        c->bad = 1;
    }
}

static bool conf_server_valid(struct sy_cur *c)
{
    uint64_t id = sy_cur_u64(c);
    const uint8_t *end;
    size_t n = c->n < ADDRESS_MAX ? c->n : ADDRESS_MAX;

    if (c->bad || id == 0 || id > CS_ID_MAX) {
        return false;
    }
    end = memchr(c->p, 0, n);
    if (end == NULL || end == c->p) {
        return false;
    }
    sy_cur_take(c, (size_t)(end - c->p) + 1);
    return sy_cur_u8(c) <= RAFT_SPARE && !c->bad;
}

bool cs_wire_conf_valid(const uint8_t *p, size_t n)
{
    struct sy_cur c = {p, n, 0};
    struct raft_buffer buf = {(void *)(uintptr_t)p, n};
    struct raft_configuration conf;
    uint64_t servers;

    if (n == 0 || n % 8 != 0 || sy_cur_u8(&c) != CONF_FORMAT) {
        return false;
    }
    servers = sy_cur_u64(&c);
    if (c.bad || servers == 0 || servers > CS_MEMBERS_MAX) {
        return false;
    }
    for (uint64_t i = 0; i < servers; i++) {
        if (!conf_server_valid(&c)) {
            return false;
        }
    }
    if (c.n >= 8) {
        return false;
    }
    while (c.n > 0) {
        if (sy_cur_u8(&c) != 0) {
            return false;
        }
    }
    /* Safe to show to libraft now, which looks for double ids and addresses. */
    if (raft_configuration_decode(&buf, &conf) != 0) {
        return false;
    }
    raft_configuration_close(&conf);
    return true;
}

static bool get_entry(struct sy_cur *c, struct raft_entry *e, uint8_t *to, size_t room)
{
    const uint8_t *from;
    uint32_t len;

    e->term = get_term(c);
    e->type = (enum raft_entry_type)sy_cur_u8(c);
    len = sy_cur_u32(c);
    from = sy_cur_take(c, len);
    if (c->bad || e->type < RAFT_COMMAND || e->type > RAFT_CHANGE || len > room) {
        return false;
    }
    if (e->type == RAFT_CHANGE && !cs_wire_conf_valid(from, len)) {
        return false;
    }
    if (len > 0) {
        memcpy(to, from, len);
    }
    e->buf.base = to;
    e->buf.len = len;
    return true;
}

/* One block for all payloads: libraft frees those of a message with a single
 * raft_free(entries[0].batch). */
static void get_entries(struct sy_cur *c, struct cs_wire *w)
{
    struct raft_append_entries *a = &w->m.append_entries;
    uint32_t n = sy_cur_u32(c);
    size_t room, used = 0;
    raft_term term = a->prev_log_term;
    uint8_t *batch;

    if (c->bad || n > c->n / CS_WIRE_ENTRY) {
        c->bad = 1;
        return;
    }
    if (n == 0) {
        return;
    }
    room = c->n - (size_t)n * CS_WIRE_ENTRY;
    w->entries = sy_calloc(n, sizeof *w->entries);
    batch = raft_malloc(room + 1);
    assert(batch != NULL);
    a->entries = w->entries;
    a->n_entries = n;
    for (uint32_t i = 0; i < n; i++) {
        w->entries[i].batch = batch;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct raft_entry *e = &w->entries[i];

        /* The terms in a log never fall, nor do they exceed the leader's. */
        if (!get_entry(c, e, batch + used, room - used) || e->term < term ||
            e->term > a->term) {
            c->bad = 1;
            return;
        }
        term = e->term;
        used += e->buf.len;
    }
}

static void get_append(struct sy_cur *c, struct cs_wire *w)
{
    struct raft_append_entries *a = &w->m.append_entries;

    a->term = get_term(c);
    w->stamp = get_number(c);
    get_position(c, &a->prev_log_index, &a->prev_log_term);
    a->leader_commit = get_number(c);
    if (a->prev_log_term > a->term) {
        c->bad = 1;
    }
    if (!c->bad) {
        get_entries(c, w);
    }
}

static void get_append_result(struct sy_cur *c, struct cs_wire *w)
{
    struct raft_append_entries_result *a = &w->m.append_entries_result;

    a->version = 2;
    a->term = get_term(c);
    w->stamp = get_number(c);
    a->rejected = get_number(c);
    a->last_log_index = get_number(c);
    a->features = get_u16(c);
    a->capacity = get_u16(c);
}

static void get_request_vote(struct sy_cur *c, struct raft_request_vote *v)
{
    v->version = 2;
    v->term = get_term(c);
    v->candidate_id = get_number(c);
    get_position(c, &v->last_log_index, &v->last_log_term);
    v->disrupt_leader = get_flag(c);
    v->pre_vote = get_flag(c);
    if (v->last_log_term > v->term) {
        c->bad = 1;
    }
}

static void get_vote_result(struct sy_cur *c, struct raft_request_vote_result *v)
{
    v->version = 2;
    v->term = get_term(c);
    v->vote_granted = get_flag(c);
    v->pre_vote = get_flag(c);
    v->features = get_u16(c);
    v->capacity = get_u16(c);
}

static const uint8_t *get_install_head(struct sy_cur *c, struct raft_install_snapshot *s,
                                       uint32_t *ret_len)
{
    const uint8_t *conf;

    s->term = get_term(c);
    s->last_index = get_number(c);
    s->last_term = get_term(c);
    s->conf_index = get_number(c);
    *ret_len = sy_cur_u32(c);
    conf = sy_cur_take(c, *ret_len);
    if (s->last_index == 0 || s->last_term > s->term || s->conf_index == 0 ||
        s->conf_index > s->last_index || c->n != 0) {
        c->bad = 1;
    }
    if (!c->bad && !cs_wire_conf_valid(conf, *ret_len)) {
        c->bad = 1;
    }
    return conf;
}

static void get_install(struct sy_cur *c, struct raft_install_snapshot *s)
{
    uint32_t len;
    const uint8_t *conf = get_install_head(c, s, &len);
    struct raft_buffer buf = {(void *)(uintptr_t)conf, len};

    if (!c->bad && raft_configuration_decode(&buf, &s->conf) != 0) {
        c->bad = 1;
    }
}

static void get_timeout_now(struct sy_cur *c, struct raft_timeout_now *t)
{
    t->term = get_term(c);
    get_position(c, &t->last_log_index, &t->last_log_term);
    if (t->last_log_term > t->term) {
        c->bad = 1;
    }
}

int cs_wire_decode(const uint8_t *p, size_t n, struct cs_wire *ret)
{
    struct sy_cur c = {p, n, 0};

    memset(ret, 0, sizeof *ret);
    if (sy_cur_u8(&c) != CS_WIRE_VERSION) {
        return SY_ECORRUPT;
    }
    ret->m.type = (enum raft_message_type)sy_cur_u8(&c);
    switch ((int)ret->m.type) {
    case RAFT_REQUEST_VOTE:
        get_request_vote(&c, &ret->m.request_vote);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        get_vote_result(&c, &ret->m.request_vote_result);
        break;
    case RAFT_APPEND_ENTRIES:
        get_append(&c, ret);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        get_append_result(&c, ret);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        get_install(&c, &ret->m.install_snapshot);
        break;
    case RAFT_TIMEOUT_NOW:
        get_timeout_now(&c, &ret->m.timeout_now);
        break;
    default:
        return SY_ECORRUPT;
    }
    if (c.bad || c.n != 0) {
        cs_wire_discard(ret);
        return SY_ECORRUPT;
    }
    return 0;
}

void cs_wire_close(struct cs_wire *w)
{
    sy_free(w->entries);
    w->entries = NULL;
}

void cs_wire_discard(struct cs_wire *w)
{
    if (w->entries != NULL) {
        raft_free(w->entries[0].batch);
    }
    if (w->m.type == RAFT_INSTALL_SNAPSHOT) {
        raft_configuration_close(&w->m.install_snapshot.conf);
        raft_free(w->m.install_snapshot.data.base);
    }
    cs_wire_close(w);
}

/* --- for the transport --- */

static int snapshot_head(const uint8_t *frame, size_t len,
                         struct raft_install_snapshot *ret, struct sy_cur *ret_conf)
{
    struct sy_cur c = {frame, len, 0};
    uint32_t n;

    if (sy_cur_u8(&c) != CS_WIRE_VERSION || sy_cur_u8(&c) != RAFT_INSTALL_SNAPSHOT) {
        return SY_ECORRUPT;
    }
    ret_conf->p = get_install_head(&c, ret, &n);
    ret_conf->n = n;
    return c.bad ? SY_ECORRUPT : 0;
}

bool cs_frame_is_snapshot(const uint8_t *frame, size_t len, uint64_t *ret_index,
                          uint64_t *ret_term)
{
    struct raft_install_snapshot s;
    struct sy_cur conf;

    if (snapshot_head(frame, len, &s, &conf) != 0) {
        return false;
    }
    *ret_index = s.last_index;
    *ret_term = s.last_term;
    return true;
}

int cs_frame_snapshot_meta(const uint8_t *frame, size_t len,
                           struct cs_snapshot_meta *ret_meta)
{
    struct raft_install_snapshot s;
    struct sy_cur conf;

    if (snapshot_head(frame, len, &s, &conf) != 0) {
        return SY_ECORRUPT;
    }
    memset(ret_meta, 0, sizeof *ret_meta);
    ret_meta->index = s.last_index;
    ret_meta->term = s.last_term;
    ret_meta->conf_index = s.conf_index;
    sy_buf_put(&ret_meta->conf, conf.p, conf.n);
    return 0;
}

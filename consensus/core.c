#include "consensus/core.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "consensus/core_impl.h"

/* struct raft is public and its layout that of one version; and the rules of who
 * frees what change with the next one (docs/adr/0002). */
_Static_assert(RAFT_VERSION_NUMBER == CS_RAFT_VERSION, "libraft: review who owns what");
_Static_assert(sizeof(struct raft) == CS_RAFT_SIZE, "libraft: another struct raft");
_Static_assert(CS_PEERS == 16, "one name per id below");

void cs_core_config_default(struct cs_core_config *c)
{
    *c = (struct cs_core_config){
        .election_ms = 1000,
        .heartbeat_ms = 100,
        .inflight_max = 2048,
        .trailing = 4096,
        .snapshot_entries = 100000,
        .snapshot_bytes = 64 << 20,
        .frame_max = 1 << 20,
        .backlog_max = 32 << 20,
    };
}

const char *cs__address(uint64_t id)
{
    static const char *const names[CS_PEERS] = {"0",  "1",  "2",  "3", "4",  "5",
                                                "6",  "7",  "8",  "9", "10", "11",
                                                "12", "13", "14", "15"};

    assert(id < CS_PEERS);
    return names[id];
}

/* Where libraft can fail for want of memory only, which ends us as in base/mem.h. */
static void must(int rv)
{
    assert(rv == 0);
}

void cs__fatal(struct cs_core *c, const char *why)
{
    c->ops->fatal(c->ctx, why);
    assert(false); /* It must not return. */
}

void cs__conf_copy(const struct raft_configuration *from, struct raft_configuration *to)
{
    raft_configuration_init(to);
    for (unsigned i = 0; i < from->n; i++) {
        const struct raft_server *s = &from->servers[i];

        must(raft_configuration_add(to, s->id, s->address, s->role));
    }
}

void cs__conf_encode(const struct raft_configuration *conf, struct sy_buf *to)
{
    struct raft_buffer buf;

    to->len = 0;
    must(raft_configuration_encode(conf, &buf));
    sy_buf_put(to, buf.base, buf.len);
    raft_free(buf.base);
}

void cs_core_bootstrap(const uint64_t *ids, unsigned n, struct cs_entry *entry)
{
    struct raft_configuration conf;
    struct sy_buf buf = {0};

    assert(n > 0 && n <= CS_MEMBERS_MAX);
    raft_configuration_init(&conf);
    for (unsigned i = 0; i < n; i++) {
        assert(ids[i] > 0 && ids[i] <= CS_ID_MAX);
        must(raft_configuration_add(&conf, ids[i], cs__address(ids[i]), RAFT_VOTER));
    }
    cs__conf_encode(&conf, &buf);
    raft_configuration_close(&conf);
    *entry = (struct cs_entry){
        .term = 1,
        .type = RAFT_CHANGE,
        .len = (uint32_t)buf.len,
        .data = buf.p,
    };
}

/* --- start --- */

static int check_config(const struct cs_core_config *k, unsigned without,
                        struct sy_errbuf *eb)
{
    if (raft_version_number() != CS_RAFT_VERSION) {
        return sy_fail(eb, SY_EVERSION, "libraft is version %d, %d is needed",
                       raft_version_number(), CS_RAFT_VERSION);
    }
    if (k->id == 0 || k->id > CS_ID_MAX) {
        return sy_fail(eb, SY_EINVALID, "node id %llu is not in 1..%d",
                       (unsigned long long)k->id, CS_ID_MAX);
    }
    if (k->heartbeat_ms == 0 || k->election_ms < 2 * k->heartbeat_ms) {
        return sy_fail(eb, SY_EINVALID,
                       "election timeout %u ms must be at least twice "
                       "the heartbeat of %u ms",
                       k->election_ms, k->heartbeat_ms);
    }
    if (k->inflight_max == 0 || k->frame_max <= CS_WIRE_HEAD_MAX + CS_WIRE_ENTRY) {
        return sy_fail(eb, SY_EINVALID, "inflight_max or frame_max is too small");
    }
    /* BUG 5. core_recv.c has the real remedy; this keeps the walk from starting. */
    if (k->trailing <= k->inflight_max && (without & CS_WITHOUT_BUG5) == 0) {
        return sy_fail(eb, SY_EINVALID, "trailing (%u) must exceed inflight_max (%u)",
                       k->trailing, k->inflight_max);
    }
    return 0;
}

static int check_entries(const struct cs_core_boot *b, struct sy_errbuf *eb)
{
    uint64_t term = 1;

    for (size_t i = 0; i < b->n; i++) {
        const struct cs_entry *e = &b->entries[i];
        unsigned long long index = b->first + i;

        if (e->term < term || e->term > b->term) {
            return sy_fail(eb, SY_ECORRUPT,
                           "entry %llu has term %llu, expected %llu to %llu", index,
                           (unsigned long long)e->term, (unsigned long long)term,
                           (unsigned long long)b->term);
        }
        term = e->term;
        if (e->type < RAFT_COMMAND || e->type > RAFT_CHANGE ||
            (e->type == RAFT_CHANGE && !cs_wire_conf_valid(e->data, e->len))) {
            return sy_fail(eb, SY_ECORRUPT, "entry %llu of type %u makes no sense", index,
                           e->type);
        }
    }
    return 0;
}

static int check_snapshot(const struct cs_core_boot *b, struct sy_errbuf *eb)
{
    const struct cs_snapshot_meta *s = &b->snapshot;
    unsigned long long last = b->first + b->n - 1;

    if (s->term == 0 || s->term > b->term || s->conf_index == 0 ||
        s->conf_index > s->index || !cs_wire_conf_valid(s->conf.p, s->conf.len)) {
        return sy_fail(eb, SY_ECORRUPT, "what goes with snapshot %llu makes no sense",
                       (unsigned long long)s->index);
    }
    if (b->n > 0 && b->first <= s->index && last >= s->index &&
        b->entries[s->index - b->first].term != s->term) {
        return sy_fail(eb, SY_ECORRUPT, "snapshot %llu and the log disagree on its term",
                       (unsigned long long)s->index);
    }
    if (b->n > 0 && last < s->index) {
        return sy_fail(eb, SY_ECORRUPT, "the log ends at %llu, before snapshot %llu",
                       last, (unsigned long long)s->index);
    }
    return 0;
}

static int check_boot(const struct cs_core_boot *b, struct sy_errbuf *eb)
{
    uint64_t snap = b->snapshot.index;
    int rv;

    if (b->first == 0 || b->first > snap + 1 || (b->n == 0 && b->first != snap + 1)) {
        return sy_fail(eb, SY_ECORRUPT,
                       "the log begins at %llu, which snapshot %llu does not reach",
                       (unsigned long long)b->first, (unsigned long long)snap);
    }
    if (b->term > CS_WIRE_NUMBER_MAX || b->voted_for > CS_ID_MAX ||
        (b->term == 0 && (b->n > 0 || snap > 0 || b->voted_for > 0))) {
        return sy_fail(eb, SY_ECORRUPT, "term %llu and vote %llu make no sense",
                       (unsigned long long)b->term, (unsigned long long)b->voted_for);
    }
    if (snap == 0 && b->n > 0 && b->entries[0].type != RAFT_CHANGE) {
        return sy_fail(eb, SY_ECORRUPT, "entry 1 is not a configuration");
    }
    rv = check_entries(b, eb);
    if (rv == 0 && snap > 0) {
        rv = check_snapshot(b, eb);
    }
    return rv;
}

static void drop_boot_entries(struct cs_core_boot *b)
{
    for (size_t i = 0; i < b->n; i++) {
        sy_free(b->entries[i].data);
        b->entries[i].data = NULL;
    }
}

static void init_raft(struct cs_core *c)
{
    const struct cs_core_config *k = &c->config;

    must(raft_init(&c->r, NULL, NULL, k->id, cs__address(k->id)));
    /* Its default tracer formats every message even when nobody listens: a fifth
     * of the time of a busy node. */
    c->r.tracer = NULL;
    raft_seed(&c->r, k->seed);
    raft_set_election_timeout(&c->r, k->election_ms);
    raft_set_heartbeat_timeout(&c->r, k->heartbeat_ms);
    raft_set_install_snapshot_timeout(&c->r, 2 * k->election_ms);
    raft_set_pre_vote(&c->r, true);
    /* One that died on the way holds up every other change for so long. */
    raft_set_max_catch_up_round_duration(&c->r, 10 * k->election_ms);
    raft_set_max_inflight_entries(&c->r, k->inflight_max);
}

static void take_boot(struct cs_core *c, const struct cs_core_boot *b)
{
    struct raft_buffer conf = {b->snapshot.conf.p, b->snapshot.conf.len};

    c->log.first = b->first;
    c->applied = b->snapshot.index;
    for (size_t i = 0; i < b->n; i++) {
        cs__log_add(&c->log, b->entries[i]);
        if (b->first + i > c->applied) {
            c->backlog += cs__entry_bytes(&b->entries[i]);
        }
    }
    c->store.next = cs__log_last(&c->log) + 1;
    if (b->snapshot.index > 0) {
        c->snap.index = c->snap_durable = b->snapshot.index;
        c->snap.term = b->snapshot.term;
        c->snap.conf_index = c->conf_index = b->snapshot.conf_index;
        sy_buf_put(&c->snap.conf, conf.base, conf.len);
        must(raft_configuration_decode(&conf, &c->conf)); /* check_boot() did it. */
    }
}

/* The newest configuration, which counts, committed or not. */
static bool only_voter(const struct cs_core *c)
{
    struct raft_configuration conf;
    struct raft_buffer b = {c->snap.conf.p, c->snap.conf.len};
    unsigned voters = 0;
    bool own = false;

    for (uint64_t i = cs__log_last(&c->log); cs__log_has(&c->log, i); i--) {
        const struct cs_entry *e = cs__log_at(&c->log, i);

        if (e->type == RAFT_CHANGE) {
            b = (struct raft_buffer){e->data, e->len};
            break;
        }
    }
    if (b.len == 0) {
        return false;
    }
    must(raft_configuration_decode(&b, &conf)); /* check_boot() looked at it. */
    for (unsigned i = 0; i < conf.n; i++) {
        voters += conf.servers[i].role == RAFT_VOTER;
        own = own ||
              (conf.servers[i].role == RAFT_VOTER && conf.servers[i].id == c->config.id);
    }
    raft_configuration_close(&conf);
    return own && voters == 1;
}

/* BUG 8: the only voter leads as soon as it starts, in the term it led before. What
 * it had sent to a standby and not yet stored is lost, and other entries get the
 * same index and term: the two logs differ, and nothing would ever notice. So it
 * votes for itself in a new term. Frames wait until that is durable. */
static void vote_alone(struct cs_core *c, struct cs_core_boot *b)
{
    if (b->term > 0 && only_voter(c) && (c->without & CS_WITHOUT_BUG8) == 0) {
        b->term++;
        b->voted_for = c->config.id;
        c->vote_seq++;
    }
}

static int start_raft(struct cs_core *c, const struct cs_core_boot *b)
{
    struct raft_event ev = {.type = RAFT_START};
    struct raft_snapshot_metadata meta;
    struct raft_entry *e = sy_calloc(b->n, sizeof *e);
    int rv;

    for (size_t i = 0; i < b->n; i++) {
        e[i].term = b->entries[i].term;
        e[i].type = (enum raft_entry_type)b->entries[i].type;
        e[i].buf.base = b->entries[i].data;
        e[i].buf.len = b->entries[i].len;
    }
    if (c->snap.index > 0) {
        meta.index = c->snap.index;
        meta.term = c->snap.term;
        meta.configuration_index = c->snap.conf_index;
        cs__conf_copy(&c->conf, &meta.configuration); /* libraft takes it over. */
        ev.start.metadata = &meta;
    }
    ev.start.term = b->term;
    ev.start.voted_for = b->voted_for;
    ev.start.start_index = b->first;
    ev.start.entries = e;
    ev.start.n_entries = (unsigned)b->n;
    rv = cs__step(c, &ev);
    sy_free(e);
    return rv;
}

struct cs_core *cs__core_new_without(const struct cs_core_config *config,
                                     const struct cs_core_ops *ops, void *ctx,
                                     uint64_t now_ms, struct cs_core_boot *boot,
                                     unsigned without, struct sy_errbuf *eb)
{
    struct cs_core *c;
    int rv;

    if (check_config(config, without, eb) != 0 || check_boot(boot, eb) != 0) {
        drop_boot_entries(boot);
        return NULL;
    }
    c = sy_calloc(1, sizeof *c);
    c->ops = ops;
    c->ctx = ctx;
    c->config = *config;
    c->without = without;
    sy_list_init(&c->held);
    raft_configuration_init(&c->conf);
    raft_configuration_init(&c->install.conf);
    cs__time(c, now_ms);
    init_raft(c);
    take_boot(c, boot);
    vote_alone(c, boot);
    rv = start_raft(c, boot);
    if (rv != 0) {
        (void)sy_fail(eb, SY_ECORRUPT, "libraft does not start: %s", raft_strerror(rv));
        cs_core_destroy(&c);
        return NULL;
    }
    cs__settle(c);
    return c;
}

struct cs_core *cs_core_new(const struct cs_core_config *config,
                            const struct cs_core_ops *ops, void *ctx, uint64_t now_ms,
                            struct cs_core_boot *boot, struct sy_errbuf *eb)
{
    return cs__core_new_without(config, ops, ctx, now_ms, boot, 0, eb);
}

void cs_core_destroy(struct cs_core **c)
{
    struct cs_core *dead = *c;

    if (dead == NULL) {
        return;
    }
    *c = NULL;
    raft_close(&dead->r, NULL);
    cs__log_free(&dead->log);
    cs__send_drop_held(dead);
    raft_configuration_close(&dead->conf);
    raft_configuration_close(&dead->install.conf);
    sy_buf_free(&dead->snap.conf);
    sy_buf_free(&dead->taking.meta.conf);
    sy_buf_free(&dead->frame);
    sy_free(dead);
}

/* --- time --- */

/* Of a candidate past pre-vote the leader knows: it was handed the lead, and goes on. */
static bool held_back(const struct cs_core *c)
{
    enum cs_core_role role = cs_core_role(c);

    return c->hold && (role == CS_FOLLOWER ||
                       (role == CS_CANDIDATE && c->r.candidate_state.in_pre_vote));
}

/* When libraft is to be told that time has passed.
 *
 * BUG 3: at each timeout a leader demotes every follower it has not heard from
 * since the previous one, though it may not have sent it anything in between; a
 * demoted one gets new entries only with the heartbeats until it has acknowledged
 * one. With one follower dead the phases differ, and the one alive is demoted all
 * the time. So wait until all that are connected are due together. */
static uint64_t due(const struct cs_core *c)
{
    uint64_t t = raft_timeout(&c->r), all = 0, oldest = UINT64_MAX;
    uint64_t heartbeat = c->config.heartbeat_ms;
    bool idle = false;

    if (held_back(c)) {
        return c->now + c->config.election_ms;
    }
    if (cs_core_role(c) != CS_LEADER || (c->without & CS_WITHOUT_BUG3) != 0) {
        return t;
    }
    for (unsigned i = 0; i < c->r.configuration.n; i++) {
        const struct raft_server *s = &c->r.configuration.servers[i];
        uint64_t at = c->peers[s->id].append_at;

        if (s->id == c->config.id) {
            continue;
        }
        if (s->role == RAFT_SPARE && s->id != c->r.leader_state.promotee_id) {
            idle = true;
            continue;
        }
        oldest = at < oldest ? at : oldest;
        if (c->ops->linked(c->ctx, s->id) && at > all) {
            all = at;
        }
    }
    /* BUG 7: a spare gets nothing, and yet libraft's timeout counts from what it
     * last got: always in the past. Each turn would be a timeout, and each of them
     * demotes whoever has not answered since the one before. */
    if (idle && (c->without & CS_WITHOUT_BUG7) == 0) {
        uint64_t quorum = c->r.election_timer_start + c->config.election_ms;

        oldest = oldest == UINT64_MAX ? quorum : oldest + heartbeat;
        t = oldest < quorum ? oldest : quorum;
    }
    all += heartbeat;
    if (all <= t) {
        return t;
    }
    return all < t + heartbeat ? all : t + heartbeat;
}

void cs_core_hold(struct cs_core *c, bool hold)
{
    c->hold = hold;
}

uint64_t cs_core_timeout(struct cs_core *c)
{
    uint64_t t = due(c);

    if (c->relief.next > 0 && c->relief.next < t) {
        t = c->relief.next;
    }
    if (c->transfer.active && c->transfer.deadline < t) {
        t = c->transfer.deadline;
    }
    /* With a server demoted to spare libraft's answer can stay in the past. */
    return t > c->now ? t : c->now + 1;
}

void cs_core_tick(struct cs_core *c, uint64_t now_ms)
{
    struct raft_event ev = {.type = RAFT_TIMEOUT};

    cs__time(c, now_ms);
    if (c->now >= due(c)) {
        cs__step_sure(c, &ev);
    }
    cs__settle(c);
}

/* --- entries --- */

int cs__submit(struct cs_core *c, uint8_t type, const void *data, uint32_t len,
               uint64_t *ret_index)
{
    struct raft_entry e = {.type = (enum raft_entry_type)type};
    struct raft_event ev = {.type = RAFT_SUBMIT};
    uint64_t index = cs_core_last(c) + 1;
    int rv;

    if (cs_core_role(c) != CS_LEADER) {
        return SY_ENOTLEADER;
    }
    if (cs_core_transferring(c)) {
        return SY_EBUSY;
    }
    if (len > c->config.frame_max - CS_WIRE_HEAD_MAX - CS_WIRE_ENTRY) {
        return SY_EINVALID; /* It would never fit into a frame. */
    }
    if (c->config.backlog_max > 0 && c->backlog > 0 &&
        c->backlog + len > c->config.backlog_max) {
        return SY_ELIMIT;
    }
    e.term = raft_current_term(&c->r); /* libraft does not fill it in. */
    e.buf.base = e.batch = sy_memdup(data, len);
    e.buf.len = len;
    ev.submit.entries = &e;
    ev.submit.n = 1;
    rv = cs__step(c, &ev);
    if (rv != 0) {
        sy_free(e.buf.base);
        cs__fatal(c, raft_strerror(rv)); /* All it may refuse was asked above. */
    }
    assert(index == cs_core_last(c));
    *ret_index = index;
    return 0;
}

int cs_core_submit(struct cs_core *c, uint64_t now_ms, const void *data, uint32_t len,
                   uint64_t *ret_index, uint64_t *ret_term)
{
    int rv;

    cs__time(c, now_ms);
    rv = cs__submit(c, RAFT_COMMAND, data, len, ret_index);
    if (rv == 0) {
        *ret_term = cs_core_term(c);
        cs__settle(c);
    }
    return rv;
}

int cs_core_barrier(struct cs_core *c, uint64_t now_ms, uint64_t *ret_index)
{
    static const uint8_t zero[8]; /* As libraft's own. */
    int rv;

    cs__time(c, now_ms);
    rv = cs__submit(c, RAFT_BARRIER, zero, sizeof zero, ret_index);
    if (rv == 0) {
        cs__settle(c);
    }
    return rv;
}

/* --- state --- */

enum cs_core_role cs_core_role(const struct cs_core *c)
{
    switch (c->r.state) {
    case RAFT_LEADER:
        return CS_LEADER;
    case RAFT_CANDIDATE:
        return CS_CANDIDATE;
    default:
        return CS_FOLLOWER;
    }
}

uint64_t cs_core_term(const struct cs_core *c)
{
    return raft_current_term(&c->r);
}

uint64_t cs_core_leader(const struct cs_core *c)
{
    switch (cs_core_role(c)) {
    case CS_LEADER:
        return c->config.id;
    case CS_FOLLOWER:
        return c->r.follower_state.current_leader.id;
    case CS_CANDIDATE:
        break;
    }
    return 0;
}

uint64_t cs_core_last(const struct cs_core *c)
{
    return cs__log_last(&c->log);
}

uint64_t cs_core_stored_index(const struct cs_core *c)
{
    return c->r.last_stored;
}

uint64_t cs_core_committed(const struct cs_core *c)
{
    return raft_commit_index(&c->r);
}

uint64_t cs_core_applied(const struct cs_core *c)
{
    return c->applied;
}

uint64_t cs_core_first(const struct cs_core *c)
{
    return c->log.first;
}

uint64_t cs_core_snapshot_index(const struct cs_core *c)
{
    return c->snap_durable;
}

uint64_t cs_core_term_of(const struct cs_core *c, uint64_t index)
{
    if (cs__log_has(&c->log, index)) {
        return cs__log_at(&c->log, index)->term;
    }
    return index == c->snap.index ? c->snap.term : 0;
}

const struct cs_entry *cs_core_entry(const struct cs_core *c, uint64_t index)
{
    return cs__log_has(&c->log, index) ? cs__log_at(&c->log, index) : NULL;
}

size_t cs_core_log_bytes(const struct cs_core *c)
{
    return c->log.bytes;
}

uint64_t cs_core_match(const struct cs_core *c, uint64_t id)
{
    raft_index match;

    return raft_match_index(&c->r, id, &match) == 0 ? match : 0;
}

unsigned cs_core_members(const struct cs_core *c, uint64_t ids[CS_MEMBERS_MAX],
                         bool voter[CS_MEMBERS_MAX])
{
    for (unsigned i = 0; i < c->conf.n; i++) {
        ids[i] = c->conf.servers[i].id;
        voter[i] = c->conf.servers[i].role == RAFT_VOTER;
    }
    return c->conf.n;
}

const struct cs_stats *cs_core_stats(const struct cs_core *c)
{
    return &c->stats;
}

const char *cs_core_role_name(enum cs_core_role r)
{
    switch (r) {
    case CS_FOLLOWER:
        return "follower";
    case CS_CANDIDATE:
        return "candidate";
    case CS_LEADER:
        return "leader";
    }
    return "?";
}

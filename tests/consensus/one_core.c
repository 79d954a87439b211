#include "tests/consensus/one_core.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static struct wish *wish(struct one_core *o, enum wish_kind kind)
{
    struct wish *w = &o->wishes[o->n];

    assert(o->n < sizeof o->wishes / sizeof o->wishes[0]);
    o->n++;
    memset(w, 0, sizeof *w);
    w->kind = kind;
    return w;
}

static void op_send(void *ctx, uint64_t to, const uint8_t *frame, size_t len)
{
    struct wish *w = wish(ctx, W_SEND);
    struct cs_wire d;

    if (cs_wire_decode(frame, len, &d) != 0) {
        abort(); /* What we send must pass our own decoder. */
    }
    w->to = to;
    w->m = d.m;
    w->stamp = d.stamp;
    w->entries = d.m.type == RAFT_APPEND_ENTRIES ? d.m.append_entries.n_entries : 0;
    cs_wire_discard(&d);
}

static bool op_linked(void *ctx, uint64_t to)
{
    (void)ctx, (void)to;
    return true;
}

static void op_send_snapshot(void *ctx, uint64_t to, const uint8_t *frame, size_t len,
                             uint64_t index)
{
    struct wish *w = wish(ctx, W_SEND_SNAPSHOT);
    uint64_t term;

    w->to = to;
    if (!cs_frame_is_snapshot(frame, len, &w->index, &term) || w->index != index) {
        abort();
    }
}

static void op_store(void *ctx, const struct cs_store_op *op)
{
    struct one_core *o = ctx;
    struct wish *w = wish(o, W_STORE);

    assert(!o->storing);
    o->storing = true;
    w->install = op->install != NULL;
    w->has_vote = op->has_vote;
    w->term = op->term;
    w->voted_for = op->voted_for;
    w->first = op->first;
    w->n = op->n;
    w->drop_until = op->drop_until;
}

static void op_apply(void *ctx, uint64_t index, uint64_t term, uint8_t type,
                     const uint8_t *p, size_t n)
{
    (void)term, (void)type, (void)p, (void)n;
    wish(ctx, W_APPLY)->index = index;
}

static void op_snapshot(void *ctx, const struct cs_snapshot_meta *meta)
{
    wish(ctx, W_SNAPSHOT)->index = meta->index;
}

static void op_restore(void *ctx, const struct cs_snapshot_meta *meta)
{
    wish(ctx, W_RESTORE)->index = meta->index;
}

static void op_fatal(void *ctx, const char *why)
{
    (void)ctx;
    fprintf(stderr, "fatal: %s\n", why);
    abort();
}

static const struct cs_core_ops ops = {op_send,  op_linked,   op_send_snapshot, op_store,
                                       op_apply, op_snapshot, op_restore,       op_fatal};

void one_core_open(struct one_core *o, unsigned nodes)
{
    uint64_t ids[CS_MEMBERS_MAX];
    struct cs_entry first;
    struct cs_core_boot boot = {.term = 1, .first = 1, .n = 1, .entries = &first};
    struct sy_errbuf eb = {{0}};

    for (unsigned i = 0; i < nodes; i++) {
        ids[i] = i + 1;
    }
    cs_core_bootstrap(ids, nodes, &first);
    o->now = 1000;
    o->n = 0;
    o->storing = false;
    o->core = cs_core_new(&o->config, &ops, o, o->now, &boot, &eb);
    if (o->core == NULL) {
        fprintf(stderr, "%s\n", eb.text);
        abort();
    }
}

void one_core_close(struct one_core *o)
{
    cs_core_destroy(&o->core);
}

void one_core_stored(struct one_core *o)
{
    assert(o->storing);
    o->storing = false;
    wish(o, W_STORED);
    cs_core_stored(o->core, o->now);
}

void one_core_expire(struct one_core *o)
{
    o->now = cs_core_timeout(o->core);
    cs_core_tick(o->core, o->now);
}

static void deliver(struct one_core *o, uint64_t from, struct sy_buf *b)
{
    if (cs_core_recv(o->core, o->now, from, b->p, b->len) != 0) {
        abort();
    }
    sy_buf_free(b);
}

static void message(struct one_core *o, uint64_t from, const struct raft_message *m,
                    uint64_t stamp)
{
    struct sy_buf b = {.p = NULL};

    cs_wire_put(&b, m, stamp);
    deliver(o, from, &b);
}

void one_core_vote_wanted(struct one_core *o, uint64_t from, uint64_t term, bool pre,
                          uint64_t last_index, uint64_t last_term)
{
    struct raft_message m = {.type = RAFT_REQUEST_VOTE};

    m.request_vote.term = term;
    m.request_vote.candidate_id = from;
    m.request_vote.last_log_index = last_index;
    m.request_vote.last_log_term = last_term;
    m.request_vote.pre_vote = pre;
    message(o, from, &m, 0);
}

void one_core_vote_given(struct one_core *o, uint64_t from, uint64_t term, bool pre)
{
    struct raft_message m = {.type = RAFT_REQUEST_VOTE_RESULT};

    m.request_vote_result.term = term;
    m.request_vote_result.vote_granted = true;
    m.request_vote_result.pre_vote = pre;
    message(o, from, &m, 0);
}

void one_core_append(struct one_core *o, uint64_t from, uint64_t term, uint64_t stamp,
                     uint64_t prev, uint64_t prev_term, uint64_t commit, unsigned n,
                     uint64_t entry_term)
{
    struct raft_message m = {.type = RAFT_APPEND_ENTRIES};
    struct sy_buf b = {.p = NULL};
    uint8_t data[16] = {(uint8_t)entry_term};
    struct cs_entry e = {
        .term = entry_term, .type = RAFT_COMMAND, .len = sizeof data, .data = data};

    m.append_entries.term = term;
    m.append_entries.prev_log_index = prev;
    m.append_entries.prev_log_term = prev_term;
    m.append_entries.leader_commit = commit;
    cs_wire_put(&b, &m, stamp);
    cs_wire_put_count(&b, n);
    for (unsigned i = 0; i < n; i++) {
        data[1] = (uint8_t)(prev + 1 + i);
        cs_wire_put_entry(&b, &e);
    }
    deliver(o, from, &b);
}

void one_core_result(struct one_core *o, uint64_t from, uint64_t term, uint64_t stamp,
                     uint64_t has, uint64_t rejected)
{
    struct raft_message m = {.type = RAFT_APPEND_ENTRIES_RESULT};

    m.append_entries_result.term = term;
    m.append_entries_result.last_log_index = has;
    m.append_entries_result.rejected = rejected;
    message(o, from, &m, stamp);
}

void one_core_install(struct one_core *o, uint64_t from, uint64_t term, uint64_t index,
                      uint64_t index_term)
{
    static const uint64_t ids[] = {1, 2, 3};
    struct raft_message m = {.type = RAFT_INSTALL_SNAPSHOT};
    struct cs_entry conf;
    struct sy_buf b = {.p = NULL}, c;

    cs_core_bootstrap(ids, 3, &conf);
    c = (struct sy_buf){.p = conf.data, .len = conf.len, .cap = conf.len};
    m.install_snapshot.term = term;
    m.install_snapshot.last_index = index;
    m.install_snapshot.last_term = index_term;
    m.install_snapshot.conf_index = 1;
    cs_wire_put(&b, &m, 0);
    cs_wire_put_conf(&b, &c);
    sy_free(conf.data);
    deliver(o, from, &b);
}

void one_core_lead(struct one_core *o)
{
    uint64_t term = cs_core_term(o->core) + 1;

    while (cs_core_role(o->core) != CS_CANDIDATE) {
        one_core_expire(o);
    }
    one_core_vote_given(o, 2, term, true);
    one_core_stored(o);
    one_core_vote_given(o, 2, term, false);
    assert(cs_core_role(o->core) == CS_LEADER);
    while (o->storing) {
        one_core_stored(o);
    }
}

unsigned one_core_find(const struct one_core *o, unsigned at, enum wish_kind kind,
                       int type)
{
    while (at < o->n && (o->wishes[at].kind != kind ||
                         (kind == W_SEND && (int)o->wishes[at].m.type != type))) {
        at++;
    }
    return at;
}

unsigned one_core_count(const struct one_core *o, unsigned at, enum wish_kind kind,
                        int type)
{
    unsigned n = 0;

    for (at = one_core_find(o, at, kind, type); at < o->n;
         at = one_core_find(o, at + 1, kind, type)) {
        n++;
    }
    return n;
}

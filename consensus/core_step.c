#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "consensus/core_impl.h"

/* libraft's arithmetic on times is unsigned: never back. */
void cs__time(struct cs_core *c, uint64_t now_ms)
{
    if (now_ms > c->clock) {
        c->clock = now_ms;
    }
    if (now_ms > c->now) {
        c->now = now_ms;
    }
}

static void truncate_log(struct cs_core *c, uint64_t index)
{
    if (index <= c->applied) {
        cs__fatal(c, "applied entries were to be removed from the log");
    }
    while (c->log.n > 0 && cs__log_last(&c->log) >= index) {
        c->backlog -= cs__entry_bytes(cs__log_at(&c->log, cs__log_last(&c->log)));
        cs__log_pop(&c->log);
    }
    cs__store_truncated(c, index);
}

/* Payloads of a submission are ours and come back to us; those of a message lie
 * in one shared block, and the barrier that libraft appends by itself (on
 * winning an election) in one of its own: copied, then freed as a whole. */
static void add_entries(struct cs_core *c, const struct raft_update *u, bool submitted)
{
    if (u->entries.index <= cs__log_last(&c->log)) {
        truncate_log(c, u->entries.index);
    }
    if (u->entries.index != cs__log_last(&c->log) + 1) {
        cs__fatal(c, "libraft left a hole in the log");
    }
    for (unsigned i = 0; i < u->entries.n; i++) {
        const struct raft_entry *from = &u->entries.batch[i];
        struct cs_entry e = {
            .term = from->term,
            .type = (uint8_t)from->type,
            .len = (uint32_t)from->buf.len,
        };

        e.data = submitted ? from->buf.base : sy_memdup(from->buf.base, from->buf.len);
        cs__log_add(&c->log, e);
        c->backlog += cs__entry_bytes(&e);
    }
    if (!submitted) {
        raft_free(u->entries.batch[0].batch);
    }
}

static void note_role(struct cs_core *c)
{
    uint64_t term = raft_current_term(&c->r);

    if (raft_state(&c->r) != RAFT_LEADER || c->led_term == term) {
        return;
    }
    c->led_term = term;
    c->stats.elections_won++;
    for (unsigned i = 0; i < CS_PEERS; i++) {
        c->peers[i].answered = 0;
    }
}

/* The order is the safety: what must be durable first is put on the list of the
 * store before any message is looked at, and messages wait for it (core_send.c).
 * Everything the update points to dies with the next step, so nothing in here
 * may step again: applying comes later, in cs__settle(). */
static void carry_out(struct cs_core *c, struct raft_update *u, bool submitted)
{
    if ((u->flags & (RAFT_UPDATE_CURRENT_TERM | RAFT_UPDATE_VOTED_FOR)) != 0) {
        c->vote_seq++;
    }
    if ((u->flags & (RAFT_UPDATE_ENTRIES)) != 0) {
        add_entries(c, u, submitted);
    }
    if ((u->flags & (RAFT_UPDATE_SNAPSHOT)) != 0) {
        cs__install_begin(c, u);
    }
    note_role(c);
    if ((u->flags & (RAFT_UPDATE_MESSAGES)) != 0) {
        for (unsigned i = 0; i < u->messages.n; i++) {
            cs__send_message(c, &u->messages.batch[i]);
        }
    }
}

int cs__step(struct cs_core *c, struct raft_event *ev)
{
    struct raft_update u;
    int rv;

    memset(&u, 0, sizeof u);
    ev->time = c->now;
    ev->capacity = 0;
    c->stats.steps++;
    rv = raft_step(&c->r, ev, &u);
    if (rv == 0) {
        carry_out(c, &u, ev->type == RAFT_SUBMIT);
    }
    return rv;
}

void cs__step_sure(struct cs_core *c, struct raft_event *ev)
{
    int rv = cs__step(c, ev);

    if (rv != 0) {
        cs__fatal(c, raft_strerror(rv));
    }
}

/* BUG 2: libraft on a follower may note a configuration under the wrong index
 * and then never takes it for committed. So the last applied one is kept here,
 * for snapshots and for cs_core_members(). libraft has to be told, too: it does
 * not look at what is applied, and would refuse every later change. */
static void apply_conf(struct cs_core *c, uint64_t index, const struct cs_entry *e)
{
    struct raft_buffer buf = {e->data, e->len};
    struct raft_event ev = {.type = RAFT_CONFIGURATION};

    raft_configuration_close(&c->conf);
    if (!cs_wire_conf_valid(e->data, e->len) ||
        raft_configuration_decode(&buf, &c->conf) != 0) {
        cs__fatal(c, "a committed configuration is malformed");
    }
    c->conf_index = index;
    ev.configuration.index = index;
    cs__conf_copy(&c->conf, &ev.configuration.conf); /* libraft takes it over. */
    cs__step_sure(c, &ev);
}

/* A follower may apply what is not yet durable here (a majority has it). A
 * snapshot may not cover such entries, so while one is due the state machine
 * waits for the disk; under load it would otherwise always be ahead. */
static uint64_t apply_limit(const struct cs_core *c)
{
    uint64_t limit = raft_commit_index(&c->r);

    /* libraft raises the commit index before the snapshot is installed. */
    if (c->install.active) {
        return c->applied;
    }
    if (cs__snapshot_due(c) && limit > c->r.last_stored) {
        return c->r.last_stored;
    }
    return limit;
}

static void apply_committed(struct cs_core *c)
{
    while (c->applied < apply_limit(c)) {
        uint64_t index = c->applied + 1;
        const struct cs_entry *e;

        if (!cs__log_has(&c->log, index)) {
            cs__fatal(c, "a committed entry is not in the log");
        }
        e = cs__log_at(&c->log, index);
        c->applied = index;
        c->backlog -= cs__entry_bytes(e);
        c->taking.bytes += cs__entry_bytes(e);
        c->ops->apply(c->ctx, index, e->term, e->type, e->data, e->len);
        if (e->type == RAFT_CHANGE) {
            apply_conf(c, index, e);
        }
    }
}

void cs__settle(struct cs_core *c)
{
    apply_committed(c);
    cs__transfer_kick(c);
    cs__relief_kick(c);
    cs__snapshot_kick(c);
    apply_committed(c); /* The rest, which waited for the snapshot to begin. */
    cs__store_kick(c);
}

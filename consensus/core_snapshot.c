#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "consensus/core_impl.h"

/* After a snapshot that could not be taken (disk full, say) wait this long. */
enum { RETRY_MS = 5000 };

/* --- taking one --- */

bool cs__snapshot_due(const struct cs_core *c)
{
    const struct cs_core_config *k = &c->config;

    if (c->taking.running || c->install.active || cs_core_transferring(c) ||
        c->applied <= c->snap.index || c->clock < c->taking.retry_at) {
        return false;
    }
    return (k->snapshot_entries > 0 &&
            c->applied - c->snap.index >= k->snapshot_entries) ||
           (k->snapshot_bytes > 0 && c->taking.bytes >= k->snapshot_bytes);
}

void cs__snapshot_kick(struct cs_core *c)
{
    struct cs_snapshot_meta *meta = &c->taking.meta;

    /* Only of what is durable here: after a crash the log must reach the
     * snapshot's index. */
    if (!cs__snapshot_due(c) || c->applied > c->r.last_stored) {
        return;
    }
    assert(cs__log_has(&c->log, c->applied));
    meta->index = c->applied;
    meta->term = cs_core_term_of(c, c->applied);
    meta->conf_index = c->conf_index;
    cs__conf_encode(&c->conf, &meta->conf);
    c->taking.running = true;
    c->taking.stale = false;
    c->taking.bytes = 0;
    c->ops->snapshot(c->ctx, meta);
}

void cs_core_snapshot_every(struct cs_core *c, size_t bytes)
{
    c->config.snapshot_bytes = bytes;
}

/* How many entries stay behind the snapshot at @index: at most the configured
 * number, and at most snapshot_bytes of them. Fewer than inflight_max is safe
 * because of core_recv.c (BUG 5). */
static unsigned trailing_entries(const struct cs_core *c, uint64_t index)
{
    unsigned n = 0;
    size_t bytes = 0;

    while (n < c->config.trailing && cs__log_has(&c->log, index - n)) {
        bytes += cs__entry_bytes(cs__log_at(&c->log, index - n));
        if (c->config.snapshot_bytes > 0 && bytes > c->config.snapshot_bytes) {
            break;
        }
        n++;
    }
    return n;
}

static void adopt_snapshot(struct cs_core *c)
{
    struct cs_snapshot_meta *meta = &c->taking.meta;
    struct raft_buffer conf = {meta->conf.p, meta->conf.len};
    struct raft_event ev = {.type = RAFT_SNAPSHOT};
    uint64_t drop;

    ev.snapshot.metadata.index = meta->index;
    ev.snapshot.metadata.term = meta->term;
    ev.snapshot.metadata.configuration_index = meta->conf_index;
    if (raft_configuration_decode(&conf, &ev.snapshot.metadata.configuration) != 0) {
        cs__fatal(c, "our own configuration does not decode");
    }
    ev.snapshot.trailing = trailing_entries(c, meta->index);
    drop = meta->index - ev.snapshot.trailing;
    c->snap.index = c->snap_durable = meta->index;
    c->snap.term = meta->term;
    c->snap.conf_index = meta->conf_index;
    sy_buf_free(&c->snap.conf);
    sy_buf_give(&meta->conf, &c->snap.conf);
    cs__step_sure(c, &ev);
    if (drop >= c->log.first) {
        cs__log_drop_until(&c->log, drop);
        c->store.drop_until = drop;
    }
}

void cs_core_snapshot_taken(struct cs_core *c, uint64_t now_ms, bool ok)
{
    assert(c->taking.running);
    cs__time(c, now_ms);
    c->taking.running = false;
    if (!ok) {
        c->taking.retry_at = c->clock + RETRY_MS;
    } else if (!c->taking.stale) {
        c->stats.snapshots_taken++;
        adopt_snapshot(c);
    }
    sy_buf_free(&c->taking.meta.conf);
    cs__settle(c);
}

/* --- installing the leader's --- */

/* libraft has already forgotten its log, and so do we, in memory. The durable
 * one is replaced as a whole by the store op. */
void cs__install_begin(struct cs_core *c, struct raft_update *u)
{
    struct raft_snapshot_metadata *m = &u->snapshot.metadata;

    assert(!c->install.active);
    raft_free(u->snapshot.chunk.base);
    c->install.active = c->install.wanted = true;
    c->install.conf = m->configuration;
    c->snap.index = m->index;
    c->snap.term = m->term;
    c->snap.conf_index = m->configuration_index;
    cs__conf_encode(&m->configuration, &c->snap.conf);
    cs__log_reset(&c->log, m->index + 1);
    c->backlog = 0;
    c->taking.stale = true;
    /* What a write under way holds is not reported while this goes on. */
    c->store.next = c->log.first;
    c->store.drop_until = 0;
}

void cs__install_finish(struct cs_core *c)
{
    struct raft_event ev = {.type = RAFT_PERSISTED_SNAPSHOT};
    struct raft_snapshot_metadata *m = &ev.persisted_snapshot.metadata;

    c->ops->restore(c->ctx, &c->snap);
    c->applied = c->snap_durable = c->snap.index;
    c->taking.bytes = 0;
    raft_configuration_close(&c->conf);
    cs__conf_copy(&c->install.conf, &c->conf);
    c->conf_index = c->snap.conf_index;
    m->index = c->snap.index;
    m->term = c->snap.term;
    m->configuration_index = c->snap.conf_index;
    m->configuration = c->install.conf; /* libraft takes it over. */
    ev.persisted_snapshot.last = true;
    raft_configuration_init(&c->install.conf);
    c->install.active = false;
    c->stats.snapshots_installed++;
    cs__step_sure(c, &ev);
}

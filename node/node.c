#include "node/node.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "base/mp.h"

enum { CONTROL_TICK_MS = 100, STOP_MS = 3000 };

/* --- small things --- */

/* splitmix64 (Steele, Lea, Flood): jitter and ids made for callers that gave none. */
uint64_t nd_node_random(struct nd_node *n)
{
    uint64_t z = (n->rng += 0x9e3779b97f4a7c15ULL);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

bool nd_node_may_act(struct nd_node *n)
{
    return cs_watch_may_act(&n->watch, nd_now_ms(),
                            cs_core_lease_until(nd_replica_core(n->replica)));
}

/* --- the watch --- */

static void die(struct nd_node *n)
{
    SY_LOG(&n->log, SY_ERR, "watch.stuck",
           KSTR("why",
                "the ports did not stop in time: ending the process rather than "
                "acting for a watch that is over"));
    fflush(stderr);
    _exit(1);
}

bool nd_node_diverged(const struct nd_node *n)
{
    return n->diverged;
}

static uint64_t hash_at(const void *ctx, uint64_t index)
{
    return rp_store_hash_at(ctx, index);
}

/* Compare with what the others told, and say it when the verdict changes. */
static void tend_agreement(struct nd_node *n)
{
    bool wrong;

    cs_agree_compare(&n->agree, rp_store_index(n->store), hash_at, n->store);
    wrong = cs_agree_wrong(&n->agree);
    if (wrong != n->diverged) {
        n->diverged = wrong;
        nd_events_diverged(n);
        nd_status_gossip(n);
    }
}

/* Everything that decides is a level, so it may be asked as often as one likes. */
static void step_watch(struct nd_node *n)
{
    enum cs_watch_state before;
    enum cs_watch_effect effect;

    do {
        struct cs_watch_levels l = {
            .now_ms = nd_now_ms(),
            .leader_term = n->closing ? 0 : nd_replica_leading(n->replica),
            .ports_up = nd_duty_up(n),
            .ports_down = nd_duty_down(n) && nd_site_down(n),
            .diverged = nd_node_diverged(n),
        };

        l.barrier_term = n->barrier_term <= l.leader_term ? n->barrier_term : 0;
        before = cs_watch_state(&n->watch);
        effect = cs_watch_step(&n->watch, &l);
        if (effect == CS_DO_START) {
            nd_duty_start(n);
        } else if (effect == CS_DO_STOP) {
            nd_duty_stop(n);
        } else if (effect == CS_DO_DIE) {
            die(n);
        }
        if (cs_watch_state(&n->watch) != before) {
            nd_events_role(n, cs_watch_state_name(before),
                           cs_watch_state_name(cs_watch_state(&n->watch)),
                           cs_watch_term(&n->watch));
            if (cs_watch_state(&n->watch) == CS_ACTIVE) {
                n->relieved_ms = nd_now_ms();
                nd_relief_active(n);
                n->dispatch_due = true;
            }
            nd_status_gossip(n);
        }
    } while (effect != CS_DO_NOTHING || cs_watch_state(&n->watch) != before);
    nd_parts_tend(n);
    nd_rollbacks_tend(n);
    nd_site_tend(n);
}

/* A new term that we lead begins with an entry of its own: all that earlier
 * watches did is known here when it is applied. */
static void begin_term(struct nd_node *n, uint64_t term)
{
    struct rp_batch *b = nd_replica_batch(n->replica);

    n->elected_ms = nd_now_ms();
    rp_batch_watch(b, term, (uint16_t)n->config.id);
    nd_duty_propose_areas(n, b);
}

static void tend_stop(struct nd_node *n);

static void on_changed(void *data)
{
    struct nd_node *n = data;
    uint64_t leading;

    nd_join_tend(n);
    nd_tie_tend(n); /* It may keep this node from leading. */
    leading = nd_replica_leading(n->replica);
    nd_relief_changed(n);
    if (leading != n->leading) {
        n->leading = leading;
        if (leading != 0 && !nd_config_self(&n->config)->witness) {
            begin_term(n, leading);
        } else if (leading != 0) {
            nd_office_tend(n); /* It leads only for as long as nobody else can. */
        }
        nd_status_gossip(n);
    }
    tend_agreement(n);
    step_watch(n);
    nd_hold_tend(n);
    if (n->dispatch_due) {
        nd_dispatch_run(n);
    }
    if (n->pg != NULL) {
        ad_pg_kick(n->pg);
    }
    nd_drill_changed(n);
    nd_keys_tend(n);
    nd_control_tick(n);
    if (n->stopping) {
        tend_stop(n);
    }
}

void nd_duty_changed(struct nd_node *n)
{
    step_watch(n);
    if (n->dispatch_due) {
        nd_dispatch_run(n);
    }
    if (n->closing) {
        tend_stop(n);
    }
}

static void on_event(void *data, const struct rp_event *ev)
{
    struct nd_node *n = data;

    if (ev->kind == RP_EV_WATCH && ev->node == n->config.id) {
        n->barrier_term = ev->term;
    } else if (ev->kind == RP_EV_DIVERGED) {
        cs_agree_told(&n->agree, rp_store_index(n->store));
    }
    nd_duty_event(n, ev);
    nd_dispatch_event(n, ev);
    nd_drill_event(n, ev);
    nd_files_event(n, ev);
    nd_events_apply(n, ev);
}

static void on_frame(void *data, uint64_t from, uint8_t kind, const uint8_t *p,
                     size_t len)
{
    struct nd_node *n = data;

    if (kind == ND_FRAME_GOSSIP) {
        nd_status_heard(n, from, p, len);
    } else if (kind == ND_FRAME_REQUEST || kind == ND_FRAME_REPLY) {
        nd_forward_frame(n, from, kind, p, len);
    } else if (kind == ND_FRAME_CALLER) {
        nd_forward_caller(n, from, p, len);
    } else if (kind == ND_FRAME_TIE) {
        nd_tie_heard(n, from, p, len);
    } else if (kind == AD_PEER_KIND_GOODBYE) {
        nd_tls_goodbye(n, from, p, len);
    } else if (kind == ND_FRAME_DRILL) {
        nd_drill_frame(n, from, p, len);
    } else if (kind >= ND_FRAME_FILES_OFFER && kind <= ND_FRAME_FILES_CHUNK) {
        nd_files_frame(n, from, kind, p, len);
    }
}

static void on_link(void *data, uint64_t peer, bool up, bool broken)
{
    struct nd_node *n = data;

    nd_relief_link(n, peer, up, broken);
    nd_events_peer(n, peer, up);
    /* Who was left behind by a recovery hears that before the tie-breaker says only that
     * it is out, which would have it begin anew without asking (ADR 22). */
    if (up) {
        nd_status_gossip(n);
    }
    nd_tie_link(n, peer, up, broken);
}

/* --- timers --- */

static void watch_timer_cb(uv_timer_t *timer)
{
    struct nd_node *n = timer->data;
    uint64_t stall_us = nd_replica_stall_us(n->replica);
    uint64_t work_us = nd_replica_work_us(n->replica);

    n->stall_max_us = stall_us > n->stall_max_us ? stall_us : n->stall_max_us;
    n->work_max_us = work_us > n->work_max_us ? work_us : n->work_max_us;
    tend_agreement(n);
    nd_files_tend(n);
    step_watch(n); /* The deadline of draining. */
    if (n->dispatch_due) {
        nd_dispatch_run(n);
    }
    nd_upkeep_tend(n);
    nd_members_tend(n);
    nd_office_tend(n);
    nd_left_tend(n);
    nd_tie_tend(n);
    nd_backup_tend(n);
    nd_tls_tend(n);
    nd_tend(n);
    nd_probes_tend(n);
    nd_ready_tend(n);
    nd_hold_tend(n);
    nd_beacon_tend(n);
    nd_supervised_tend(n);
    nd_drill_tend(n);
    nd_audit_tend(n);
    nd_control_tick(n);
    if (n->stopping) {
        tend_stop(n);
    }
}

static void gossip_timer_cb(uv_timer_t *timer)
{
    nd_status_gossip(timer->data);
    nd_tie_tell(timer->data);
}

static void checkpoint_timer_cb(uv_timer_t *timer)
{
    struct nd_node *n = timer->data;
    uint64_t index = rp_store_index(n->store);

    if (cs_watch_state(&n->watch) == CS_ACTIVE && index > n->checkpoint_index + 1) {
        n->checkpoint_index = index;
        rp_batch_checkpoint(nd_replica_batch(n->replica), index, rp_store_hash(n->store));
    }
}

static void start_timers(struct nd_node *n)
{
    int rv = uv_timer_init(n->loop, &n->checkpoint_timer);

    rv |= uv_timer_init(n->loop, &n->gossip_timer);
    rv |= uv_timer_init(n->loop, &n->watch_timer);
    assert(rv == 0);
    n->checkpoint_timer.data = n->gossip_timer.data = n->watch_timer.data = n;
    n->open_handles += 3;
    (void)uv_timer_start(&n->checkpoint_timer, checkpoint_timer_cb,
                         n->config.checkpoint_ms, n->config.checkpoint_ms);
    (void)uv_timer_start(&n->gossip_timer, gossip_timer_cb, ND_GOSSIP_MS, ND_GOSSIP_MS);
    (void)uv_timer_start(&n->watch_timer, watch_timer_cb, CONTROL_TICK_MS,
                         CONTROL_TICK_MS);
}

/* --- life --- */

void nd_replica_config_of(const struct nd_config *c, struct nd_replica_config *r)
{
    *r = (struct nd_replica_config){
        .cluster = c->cluster,
        .data_dir = c->data_dir,
        .raft = c->raft,
        .wal = c->wal,
        .limits = c->limits,
        .batch_max = c->batch_max,
        .pending_max = 16 * c->batch_max,
        .inflight_max = 4,
        .small = nd_config_self(c)->witness,
    };
    ad_peer_config_default(&r->peers);
    snprintf(r->peers.cluster, sizeof r->peers.cluster, "%s", c->cluster);
    r->peers.self = c->id;
    r->peers.nodes_n = c->nodes_n;
    for (unsigned i = 0; i < c->nodes_n; i++) {
        struct ad_peer_address *a = &r->peers.nodes[i];

        a->id = c->nodes[i].id;
        r->raft.witnesses |= c->nodes[i].witness ? 1U << a->id : 0;
        a->port = c->nodes[i].peer_port;
        snprintf(a->host, sizeof a->host, "%s", c->nodes[i].peer_host);
    }
    r->raft.id = c->id;
}

/* Resources take longer than ports; half of what a new watch waits is theirs, the other
 * half the keeper's. */
static unsigned drain_ms(const struct nd_node *n)
{
    unsigned half = n->config.takeover_wait_ms / 2, ports = n->config.drain_timeout_ms;

    return n->site.m.n > 0 && half > ports ? half : ports;
}

int nd_node_open(struct nd_node *n, uv_loop_t *loop, struct sy_errbuf *eb)
{
    static const struct nd_replica_callbacks cb = {on_event, on_changed, on_frame,
                                                   on_link};
    struct nd_replica_config rc;
    int rv;

    n->loop = loop;
    n->started_ms = nd_now_ms();
    if (getrandom(&n->rng, sizeof n->rng, 0) != (ssize_t)sizeof n->rng) {
        n->rng = uv_hrtime(); /* Only jitter hangs on it. */
    }
    nd_members_init(n);
    nd_replica_config_of(&n->config, &rc);
    rc.raft.seed = (unsigned)nd_node_random(n);
    cs_agree_init(&n->agree, n->config.nodes_n);
    nd_duty_init(n);
    nd_site_init(n);
    nd_parts_init(n);
    nd_files_init(n);
    cs_watch_init(&n->watch, drain_ms(n));
    rv = nd_site_open(n, eb);
    if (rv != 0) {
        return rv;
    }
    rv = nd_tls_open(n, &rc, eb);
    if (rv != 0) {
        return rv;
    }
    rv = nd_replica_open(&n->replica, loop, &n->log, &rc, &cb, n, eb);
    if (rv != 0) {
        return rv;
    }
    n->store = nd_replica_store(n->replica);
    if (rp_store_watch_node(n->store) == n->config.id) {
        n->barrier_term = 0; /* Of an earlier life of ours: not the present term's. */
    }
    rv = nd_files_open(n, eb);
    if (rv != 0) {
        return rv;
    }
    nd_members_begin(n);
    n->upkeep.boot_last = cs_core_last(nd_replica_core(n->replica));
    nd_dispatch_init(n);
    nd_tie_open(n);
    start_timers(n);
    rv = nd_control_open(n, eb);
    if (rv != 0) {
        return rv;
    }
    SY_LOG(&n->log, SY_NOTE, "started", KSTR("version", VAGT_VERSION),
           KSTR("cluster", n->config.cluster), KU64("node", n->config.id),
           KU64("index", rp_store_index(n->store)));
    for (unsigned i = 0; i < n->config.warnings_n; i++) {
        SY_LOG(&n->log, SY_WARN, "config.warning", KSTR("text", n->config.warnings[i]));
    }
    return 0;
}

static void handle_closed(uv_handle_t *handle)
{
    struct nd_node *n = handle->data;

    n->open_handles--;
}

/* Ports on their way out still look at the state and tell the control clients: what
 * they use is closed after them. */
static void close_parts(struct nd_node *n)
{
    if (n->parts_closed || n->ports_running || n->ports_open > 0 || !nd_site_down(n)) {
        return;
    }
    n->parts_closed = true;
    nd_files_close(n);
    nd_parts_close(n);
    nd_site_close(n);
    nd_probes_close(n);
    nd_backup_close(n);
    nd_drill_run_end(n);
    uv_close((uv_handle_t *)&n->dispatch_timer, handle_closed);
    uv_close((uv_handle_t *)&n->checkpoint_timer, handle_closed);
    uv_close((uv_handle_t *)&n->gossip_timer, handle_closed);
    uv_close((uv_handle_t *)&n->watch_timer, handle_closed);
    nd_tie_close(n);
    nd_replica_close(n->replica, NULL);
    ad_zmq_close(n->zmq, NULL);
}

/* Somebody else has the watch, or nobody could take it in time: close. */
static void tend_stop(struct nd_node *n)
{
    if (!n->closing && nd_replica_leading(n->replica) != 0 &&
        nd_now_ms() < n->stop_deadline_ms) {
        return;
    }
    if (!n->closing) {
        n->closing = true;
        SY_LOG(&n->log, SY_NOTE, "stopping", KU64("node", n->config.id));
        step_watch(n); /* It leads no more: the ports are shut. */
    }
    close_parts(n);
}

void nd_node_stop(struct nd_node *n)
{
    int rv;

    n->tie.stopped = true;
    if (n->stopping) {
        return;
    }
    n->stopping = true;
    n->stop_deadline_ms = nd_now_ms() + STOP_MS + nd_site_stop_ms(n);
    if (nd_replica_leading(n->replica) == 0) {
        n->stop_deadline_ms = 0;
    } else {
        rv = nd_hand_over(n, nd_node_heir(n), STOP_MS, "it was stopped");
        if (rv != 0 && rv != SY_EBUSY) { /* Busy: a handover is under way already. */
            n->stop_deadline_ms = 0;
        }
    }
    /* Closing happens from the timer: never from inside a callback of a part. */
}

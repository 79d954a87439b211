#include "tests/sim/sim.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

typedef unsigned long long ull;

enum {
    ELECTION_MS = 100,
    HEARTBEAT_MS = 10,
    INFLIGHT = 32,
    TRAILING = 33,
    LOGS_EVERY = 256
};

const char sim_identity[] = "simulator";

/* --- chance, words --- */

uint64_t sim_random(struct sim *s)
{
    uint64_t z = (s->random += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t sim_below(struct sim *s, uint64_t n)
{
    return sim_random(s) % n;
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(s->why, sizeof s->why, fmt, ap);
    va_end(ap);
    sim_trace(s, 1, "BAD: %s", s->why);
    longjmp(s->oops, 1);
}

void sim_trace(struct sim *s, int level, const char *fmt, ...)
{
    va_list ap;

    if (s->verbose < level) {
        return;
    }
    printf("%8llu ms  ", (ull)s->now);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

/* --- inputs --- */

void sim_fail_if(struct sim_node *x, int rv, const char *what, struct sy_errbuf *eb)
{
    if (rv < 0) {
        sim_fail(x->sim, "node %u: %s: %s %s", x->id, what, sy_err_text(rv),
                 eb != NULL ? eb->text : "");
    }
}

/* Between operations: the fence, a spare segment, old snapshots. */
static void keep_house(struct sim_node *x)
{
    struct sim *s = x->sim;
    struct sy_errbuf eb = {{0}};
    struct ad_wal_job *job = NULL;
    int rv = 0;

    if (x->job != NULL || s->manual) {
        return;
    }
    sim_light_fuse(x);
    switch (sim_below(s, 16)) {
    case 0:
        job = ad_wal_fence(x->wal);
        rv = job != NULL ? ad_wal_job_run(job, &eb) : 0;
        if (job != NULL && rv == 0) {
            ad_wal_job_done(x->wal, job);
        }
        break;
    case 1:
        if (ad_wal_wants_spare(x->wal)) {
            struct ad_wal_config wc;

            sim_wal_config(s, &wc);
            rv = ad_wal_make_spare(&x->fs, wc.segment_size);
            if (rv == 0) {
                ad_wal_spare_made(x->wal);
            }
        }
        break;
    case 2:
        if (x->prune && x->writer == NULL) {
            rv = ad_wal_snap_prune(&x->fs, cs_core_snapshot_index(x->core));
            x->prune = false;
        }
        break;
    default:
        break;
    }
    if (!sim_burnt(x) && !sim_disk_full(x, rv)) {
        sim_fail_if(x, rv, "housekeeping", &eb);
    }
}

static void on_disk_done(struct sim_node *x)
{
    struct sim *s = x->sim;
    struct sy_errbuf eb;

    int rv = ad_wal_job_run(x->job, &eb);

    if (sim_disk_full(x, rv)) {
        return;
    }
    sim_fail_if(x, rv, "its log", &eb);
    ad_wal_job_done(x->wal, x->job);
    x->job = NULL;
    x->had_term = x->job_term;
    x->had_vote = x->job_vote;
    cs_core_stored(x->core, s->now);
    keep_house(x);
}

static void give_up_snapshot(struct sim_node *x)
{
    x->fuse = 0;
    ad_wal_snap_abort(&x->writer);
    cs_core_snapshot_taken(x->core, x->sim->now, false);
}

static void on_snapshot(struct sim_node *x)
{
    struct sim *s = x->sim;
    struct sy_errbuf eb = {{0}};
    int rv;

    sim_light_fuse(x);
    if (x->writer == NULL) {
        rv = ad_wal_snap_create(&x->fs, &x->snap_meta, &x->writer, &eb);
        if (rv == 0) {
            rv = ad_wal_snap_write(x->writer, x->snap_state.p, x->snap_state.len);
        }
        if (!sim_burnt(x)) {
            if (rv == -ENOSPC) { /* Tried again later. */
                give_up_snapshot(x);
                return;
            }
            sim_fail_if(x, rv, "writing a snapshot", &eb);
            sim_post(x, SIM_SNAPSHOT, 1 + sim_below(s, 30));
        }
        return;
    }
    if (s->faults && sim_below(s, 30) == 0) {
        give_up_snapshot(x);
        return;
    }
    rv = ad_wal_snap_commit(&x->writer, &eb);
    if (sim_burnt(x)) {
        return;
    }
    if (rv == -ENOSPC) {
        give_up_snapshot(x);
        return;
    }
    sim_fail_if(x, rv, "finishing a snapshot", &eb);
    s->stats.snapshots++;
    sim_trace(s, 1, "node %u: snapshot %llu taken", x->id, (ull)x->snap_meta.index);
    x->prune = true;
    cs_core_snapshot_taken(x->core, s->now, true); /* May begin the next one. */
}

static void trace_append(struct sim *s, const struct sim_event *e,
                         const struct raft_message *m)
{
    const struct raft_append_entries *a = &m->append_entries;
    const struct raft_append_entries_result *r = &m->append_entries_result;

    if (m->type == RAFT_APPEND_ENTRIES) {
        sim_trace(s, 2, "%u > %u: term %llu, %u entries after %llu^%llu, commit %llu",
                  e->from, e->to, a->term, a->n_entries, a->prev_log_index,
                  a->prev_log_term, a->leader_commit);
    } else {
        sim_trace(s, 2, "%u > %u: term %llu, has %llu, rejects %llu", e->from, e->to,
                  r->term, r->last_log_index, r->rejected);
    }
}

static void trace_message(struct sim *s, const struct sim_event *e,
                          const struct raft_message *m)
{
    const struct raft_request_vote *v = &m->request_vote;
    const struct raft_request_vote_result *r = &m->request_vote_result;

    switch (m->type) {
    case RAFT_APPEND_ENTRIES:
    case RAFT_APPEND_ENTRIES_RESULT:
        trace_append(s, e, m);
        break;
    case RAFT_REQUEST_VOTE:
        sim_trace(s, 2, "%u > %u: %s for term %llu? has %llu^%llu", e->from, e->to,
                  v->pre_vote ? "pre-vote" : "vote", v->term, v->last_log_index,
                  v->last_log_term);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        sim_trace(s, 2, "%u > %u: %s %s, term %llu", e->from, e->to,
                  r->pre_vote ? "pre-vote" : "vote", r->vote_granted ? "yes" : "no",
                  r->term);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        sim_trace(s, 2, "%u > %u: snapshot %llu, term %llu", e->from, e->to,
                  m->install_snapshot.last_index, m->install_snapshot.term);
        break;
    case RAFT_TIMEOUT_NOW:
        sim_trace(s, 2, "%u > %u: campaign now, term %llu", e->from, e->to,
                  m->timeout_now.term);
        break;
    }
}

static void recv_frame(struct sim_node *x, const struct sim_event *e)
{
    struct sim *s = x->sim;
    int rv;

    if (s->filter != NULL || s->verbose > 1) {
        struct cs_wire w;
        bool pass = true;

        sim_fail_if(x, cs_wire_decode(e->frame.p, e->frame.len, &w), "bad frame", NULL);
        trace_message(s, e, &w.m);
        if (s->filter != NULL) {
            pass = s->filter(s, e->from, e->to, &w);
        }
        cs_wire_discard(&w);
        if (!pass) {
            return;
        }
    }
    rv = cs_core_recv(x->core, s->now, e->from, e->frame.p, e->frame.len);
    sim_fail_if(x, rv, "a frame is refused", NULL);
}

static void recv_snapshot(struct sim_node *x, const struct sim_event *e)
{
    struct sim *s = x->sim;
    struct sy_errbuf eb = {{0}};
    uint64_t index, term;
    int file = -1, rv;

    if (!cs_frame_is_snapshot(e->frame.p, e->frame.len, &index, &term)) {
        sim_fail(x->sim, "not a frame of a snapshot");
    }
    /* Its entries are here already. (A longer log says nothing: its end may be one
     * that was never committed, which the snapshot is to replace.) */
    if (cs_core_committed(x->core) >= index) {
        return;
    }
    sim_light_fuse(x);
    rv = ad_wal_incoming_create(&x->fs, index, term, &file);
    if (rv == 0) {
        rv = x->fs.write(x->fs.ctx, file, 0, e->file.p, e->file.len);
        if (rv < 0) {
            (void)x->fs.close(x->fs.ctx, file);
        }
    }
    if (rv == 0) {
        rv = ad_wal_incoming_commit(&x->fs, file, index, term, &eb);
    }
    if (sim_burnt(x)) {
        return;
    }
    if (rv == -ENOSPC && s->host != NULL) {
        return; /* It is sent again. */
    }
    sim_fail_if(x, rv, "receiving a snapshot", &eb);
    recv_frame(x, e);
}

static void on_message(struct sim_node *x, struct sim_event *e)
{
    struct sim *s = x->sim;
    const struct sim_node *from = &s->nodes[e->from];
    /* Connections die with either end. What the dead one had sent may still come,
     * but nothing of an old connection after a new one is there. */
    bool gone = e->to_life != x->life || (e->from_life != from->life && from->up);

    if (x->up && !gone && !s->cut[e->from][e->to]) {
        if (e->type == SIM_FRAME && e->kind != 0) {
            s->host->frame(x, e->from, e->kind, e->frame.p, e->frame.len);
        } else if (e->type == SIM_FRAME) {
            recv_frame(x, e);
        } else {
            recv_snapshot(x, e);
        }
    }
    sy_buf_free(&e->frame);
    sy_buf_free(&e->file);
}

static void on_timer(struct sim_node *x, uint64_t timer)
{
    if (timer == x->timer) {
        x->timer = 0;
        cs_core_tick(x->core, x->sim->now);
    }
}

static void on_clients(struct sim *s)
{
    if (!s->clients) {
        return;
    }
    for (unsigned i = 1; i <= s->n; i++) {
        if (s->nodes[i].up && cs_core_role(s->nodes[i].core) == CS_LEADER) {
            sim_submit(&s->nodes[i], 1 + (unsigned)sim_below(s, 8));
        }
    }
    sim_queue_post(&s->queue,
                   (struct sim_event){
                       .t = s->now + 1 + sim_below(s, 10), .type = SIM_CLIENT, .to = 1});
}

static void happen(struct sim *s, struct sim_event *e)
{
    struct sim_node *x = &s->nodes[e->to];
    bool mine = x->up && e->to_life == x->life;

    switch (e->type) {
    case SIM_FRAME:
    case SIM_TRANSFER:
        on_message(x, e);
        break;
    case SIM_DISK:
        if (mine) {
            on_disk_done(x);
        }
        break;
    case SIM_SNAPSHOT:
        if (mine) {
            on_snapshot(x);
        }
        break;
    case SIM_TIMER:
        if (mine) {
            on_timer(x, e->n);
        }
        break;
    case SIM_START:
        sim_start(x);
        break;
    case SIM_CLIENT:
        on_clients(s);
        return;
    case SIM_FAULT:
        sim_fault(s);
        return;
    case SIM_CALL:
        if (mine || e->to == 0) {
            e->fn(e->ctx, e->n);
        }
        break;
    case SIM_WAKE:
        return; /* See dispatch(). */
    }
    sim_check_node(x);
    sim_arm(x);
}

static void on_node(struct sim *s, struct sim_event *e)
{
    struct sim_node *x = &s->nodes[e->to];

    s->events++;
    if (s->host == NULL) {
        happen(s, e);
        return;
    }
    s->host->enter(x);
    if (setjmp(s->died) == 0) {
        happen(s, e);
        if (x->up) {
            s->host->turn(x);
            sim_check_node(x);
            sim_arm(x);
        }
    } else {
        s->host->died(x);
    }
    s->host->leave(x);
}

void sim_die(struct sim *s)
{
    longjmp(s->died, 1);
}

static bool hold(struct sim_node *x, const struct sim_event *e)
{
    if (!x->paused || e->type == SIM_START || e->type == SIM_CLIENT ||
        e->type == SIM_FAULT) {
        return false;
    }
    if (x->held_n == x->held_cap) {
        x->held_cap = x->held_cap * 2 + 64;
        x->held = sy_realloc(x->held, x->held_cap * sizeof *x->held);
    }
    x->held[x->held_n++] = *e;
    return true;
}

/* All that came while it slept, in the order in which it came. */
static void wake(struct sim *s, struct sim_node *x, const struct sim_event *e)
{
    struct sim_event *held = x->held;
    size_t n = x->held_n;

    if (!x->paused || e->to_life != x->life) {
        return;
    }
    sim_trace(s, 1, "node %u: wakes", x->id);
    x->paused = false;
    x->held = NULL;
    x->held_n = x->held_cap = 0;
    for (size_t i = 0; i < n; i++) {
        if (x->paused) { /* Put to sleep again by one of them. */
            (void)hold(x, &held[i]);
        } else {
            on_node(s, &held[i]);
        }
    }
    sy_free(held);
}

static void dispatch(struct sim *s, struct sim_event *e)
{
    struct sim_node *x = &s->nodes[e->to];

    if (e->type == SIM_WAKE) {
        wake(s, x, e);
    } else if (!hold(x, e)) {
        on_node(s, e);
    }
}

void sim_run_until(struct sim *s, uint64_t t)
{
    struct sim_event e;

    while (sim_queue_pop(&s->queue, t, &e)) {
        s->now = e.t > s->now ? e.t : s->now;
        dispatch(s, &e);
        if (s->events % LOGS_EVERY == 0) {
            sim_check_logs(s);
        }
    }
    s->now = t > s->now ? t : s->now;
}

/* --- by hand --- */

void sim_submit(struct sim_node *x, unsigned n)
{
    struct sim *s = x->sim;
    uint8_t command[512];

    for (unsigned i = 0; i < n; i++) {
        uint64_t index, term;
        size_t len = s->fsm->command(&s->random, command, sizeof command);

        if (cs_core_submit(x->core, s->now, command, (uint32_t)len, &index, &term) != 0) {
            break;
        }
    }
    sim_check_node(x);
    sim_arm(x);
}

void sim_alarm(struct sim_node *x, uint64_t peer)
{
    cs_core_lost(x->core, x->sim->now, peer);
    sim_check_node(x);
    sim_arm(x);
}

void sim_expire(struct sim_node *x)
{
    uint64_t t = cs_core_timeout(x->core);

    x->sim->now = t > x->sim->now ? t : x->sim->now;
    cs_core_tick(x->core, x->sim->now);
    sim_check_node(x);
    sim_arm(x);
}

void sim_cut_off(struct sim *s, unsigned id, bool on)
{
    for (unsigned i = 1; i <= s->n; i++) {
        s->cut[id][i] = s->cut[i][id] = on;
    }
}

struct sim_node *sim_leader(struct sim *s)
{
    struct sim_node *best = NULL;

    for (unsigned i = 1; i <= s->n; i++) {
        struct sim_node *x = &s->nodes[i];

        if (x->up && cs_core_role(x->core) == CS_LEADER &&
            (best == NULL || cs_core_term(x->core) > cs_core_term(best->core))) {
            best = x;
        }
    }
    return best;
}

/* --- the whole --- */

static int lie(void *ctx, int file)
{
    (void)ctx, (void)file;
    return 0;
}

struct sim *sim_new(unsigned nodes, uint64_t seed, const struct sim_fsm *fsm)
{
    struct sim *s = sy_calloc(1, sizeof *s);

    assert(nodes > 0 && nodes <= SIM_NODES_MAX);
    s->n = s->founders = nodes;
    s->seed = seed;
    s->random = seed * 0x2545f4914f6cdd1du + 1;
    s->now = 1000;
    s->fsm = fsm;
    s->segment_size = 8192;
    s->disk_max_ms = 5;
    s->net_max_ms = 3;
    for (unsigned i = 1; i <= nodes; i++) {
        struct sim_node *x = &s->nodes[i];

        x->sim = s;
        x->id = i;
        cs_core_config_default(&x->config);
        x->config.id = i;
        x->config.election_ms = ELECTION_MS;
        x->config.heartbeat_ms = HEARTBEAT_MS;
        x->config.inflight_max = INFLIGHT;
        x->config.trailing = TRAILING;
        x->config.backlog_max = 64 << 10;
    }
    return s;
}

void sim_format(struct sim_node *x)
{
    struct sim *s = x->sim;
    uint64_t ids[SIM_NODES_MAX];
    struct ad_wal_config wc;
    struct cs_entry first = {.data = NULL};
    struct sy_errbuf eb = {{0}};
    bool founder = x->id <= s->founders && x->life == 0;

    sim_wal_config(s, &wc);
    for (unsigned i = 0; i < s->founders; i++) {
        ids[i] = i + 1;
    }
    if (founder) {
        cs_core_bootstrap(ids, s->founders, &first);
    }
    x->disk = memfs_new();
    x->fs = memfs_fs(x->disk);
    sim_fail_if(x,
                ad_wal_bootstrap(&x->fs, &wc, sim_identity, founder ? &first : NULL, &eb),
                "bootstrap", &eb);
    sy_free(first.data);
    memfs_hook(x->disk, sim_on_disk, x);
    if (s->mutant == SIM_LYING_DISK) {
        x->fs.sync = lie;
    }
}

void sim_boot(struct sim *s)
{
    for (unsigned i = 1; i <= s->n; i++) {
        sim_format(&s->nodes[i]);
    }
    for (unsigned i = 1; i <= s->n; i++) {
        sim_start(&s->nodes[i]);
    }
}

void sim_destroy(struct sim **ref)
{
    struct sim *s = *ref;

    for (unsigned i = 1; i <= s->n; i++) {
        struct sim_node *x = &s->nodes[i];

        x->dead = true;
        if (s->host != NULL && x->up) {
            s->host->enter(x);
            s->host->stopped(x, true);
            s->host->leave(x);
        }
        sim_close_node(x);
        for (size_t k = 0; k < x->held_n; k++) {
            sy_buf_free(&x->held[k].frame);
            sy_buf_free(&x->held[k].file);
        }
        sy_free(x->held);
        memfs_destroy(&x->disk);
    }
    sim_queue_free(&s->queue);
    sy_free(s->known);
    sy_free(s->leader_of);
    sy_free(s);
    *ref = NULL;
}

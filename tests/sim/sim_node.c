#include "tests/sim/sim.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"

typedef unsigned long long ull;

enum { TRAILING = 33 };

/* --- the disk: its fuse --- */

int sim_on_disk(void *data, enum memfs_op op, const char *name, uint64_t offset, size_t n)
{
    struct sim_node *x = data;

    (void)op, (void)name, (void)offset, (void)n;
    if (!x->dead && x->fuse > 0 && --x->fuse == 0) {
        x->dead = true;
    }
    return x->dead ? -EIO : 0;
}

/* From here on the power may go between any two file operations; sim_burnt() says
 * whether it did. */
void sim_light_fuse(struct sim_node *x)
{
    struct sim *s = x->sim;

    x->fuse = s->faults && sim_below(s, 50) == 0 ? 1 + sim_below(s, 12) : 0;
}

bool sim_burnt(struct sim_node *x)
{
    struct sim *s = x->sim;

    x->fuse = 0;
    if (!x->dead) {
        return false;
    }
    sim_crash(x, true);
    sim_queue_post(&s->queue,
                   (struct sim_event){
                       .t = s->now + sim_below(s, 300), .type = SIM_START, .to = x->id});
    return true;
}

static void start_later(struct sim_node *x)
{
    struct sim *s = x->sim;

    sim_queue_post(&s->queue, (struct sim_event){.t = s->now + 500 + sim_below(s, 500),
                                                 .type = SIM_START,
                                                 .to = x->id});
}

bool sim_disk_full(struct sim_node *x, int rv)
{
    if (rv != -ENOSPC || x->sim->host == NULL) {
        return false;
    }
    sim_trace(x->sim, 1, "node %u: the disk is full", x->id);
    sim_crash(x, false);
    start_later(x);
    return true;
}

/* --- what the core wants --- */

void sim_post(struct sim_node *x, enum sim_event_type type, uint64_t delay)
{
    sim_queue_post(
        &x->sim->queue,
        (struct sim_event){
            .t = x->sim->now + delay, .type = type, .to = x->id, .to_life = x->life});
}

static bool op_linked(void *ctx, uint64_t to)
{
    const struct sim_node *x = ctx;

    return to <= x->sim->n && (x->sim->manual || x->sim->nodes[to].up);
}

/* When what is sent now arrives; 0: it gets lost. */
static uint64_t arrival(struct sim_node *x, uint64_t to, uint64_t delay)
{
    struct sim *s = x->sim;
    uint64_t t = s->now + delay;

    if (to == 0 || to > s->n || s->cut[x->id][to] ||
        sim_below(s, 1000) < s->loss_permille) {
        return 0;
    }
    return t > x->net_at[to] ? t : x->net_at[to];
}

void sim_send(struct sim_node *x, uint64_t to, uint8_t kind, const uint8_t *frame,
              size_t len)
{
    struct sim *s = x->sim;
    uint64_t t = arrival(x, to, sim_below(s, s->net_max_ms + 1));
    struct sim_event e = {.t = t,
                          .type = SIM_FRAME,
                          .to = (unsigned)to,
                          .from = x->id,
                          .from_life = x->life,
                          .kind = kind};

    if (t == 0) {
        return;
    }
    x->net_at[to] = t;
    e.to_life = s->nodes[to].life;
    sy_buf_put(&e.frame, frame, len);
    sim_queue_post(&s->queue, e);
}

static void op_send(void *ctx, uint64_t to, const uint8_t *frame, size_t len)
{
    sim_send(ctx, to, 0, frame, len);
}

/* Bulk goes beside the frames: its order towards them is not kept. */
static void op_send_snapshot(void *ctx, uint64_t to, const uint8_t *frame, size_t len,
                             uint64_t index)
{
    struct sim_node *x = ctx;
    struct sim *s = x->sim;
    char name[AD_WAL_NAME_MAX];
    uint64_t size, of = 0, term = 0, t = arrival(x, to, 1 + sim_below(s, 60));
    const uint8_t *file;
    struct sim_event e = {.t = t,
                          .type = SIM_TRANSFER,
                          .to = (unsigned)to,
                          .from = x->id,
                          .from_life = x->life};

    if (t == 0) {
        return;
    }
    if (!cs_frame_is_snapshot(frame, len, &of, &term) || of != index) {
        sim_fail(s, "node %u sends a snapshot with the wrong frame", x->id);
    }
    ad_wal_snap_name(name, index, term);
    file = memfs_peek(x->disk, name, &size);
    if (file == NULL) {
        sim_fail(s, "node %u is to send %s and does not have it", x->id, name);
    }
    e.to_life = s->nodes[to].life;
    sy_buf_put(&e.frame, frame, len);
    sy_buf_put(&e.file, file, size);
    sim_queue_post(&s->queue, e);
}

static void op_store(void *ctx, const struct cs_store_op *op)
{
    struct sim_node *x = ctx;

    assert(x->job == NULL);
    x->job = ad_wal_store(x->wal, op);
    x->job_term = op->has_vote ? op->term : x->had_term;
    x->job_vote = op->has_vote ? op->voted_for : x->had_vote;
    sim_post(x, SIM_DISK, x->slow_ms + 1 + sim_below(x->sim, x->sim->disk_max_ms));
}

static void op_apply(void *ctx, uint64_t index, uint64_t term, uint8_t type,
                     const uint8_t *p, size_t n)
{
    struct sim_node *x = ctx;

    sim_check_applied(x, index, term, p, n);
    if (x->sim->host != NULL) {
        x->sim->host->apply(x, index, term, type, p, n);
    } else if (type == RAFT_COMMAND) {
        x->sim->fsm->apply(x->state, index, term, p, n);
    }
}

static void op_snapshot(void *ctx, const struct cs_snapshot_meta *meta)
{
    struct sim_node *x = ctx;

    assert(x->writer == NULL);
    sy_buf_free(&x->snap_meta.conf);
    x->snap_meta = *meta;
    x->snap_meta.conf = (struct sy_buf){.p = NULL};
    sy_buf_put(&x->snap_meta.conf, meta->conf.p, meta->conf.len);
    x->snap_state.len = 0;
    x->sim->fsm->save(x->state, &x->snap_state);
    sim_post(x, SIM_SNAPSHOT, 1 + sim_below(x->sim, 30));
}

static int collect(void *data, const void *p, size_t n)
{
    sy_buf_put(data, p, n);
    return 0;
}

static void load_snapshot(struct sim_node *x, uint64_t index, uint64_t term)
{
    struct sy_buf state = {.p = NULL};
    struct sy_errbuf eb = {{0}};
    int rv = ad_wal_snap_read(&x->fs, index, term, collect, &state, &eb);

    if (rv == 0) {
        rv = x->sim->fsm->load(x->state, state.p, state.len);
    }
    sy_buf_free(&state);
    if (rv != 0) {
        sim_fail(x->sim, "node %u cannot load snapshot %llu: %s", x->id, (ull)index,
                 eb.text);
    }
}

static void op_restore(void *ctx, const struct cs_snapshot_meta *meta)
{
    struct sim_node *x = ctx;

    load_snapshot(x, meta->index, meta->term);
    x->prune = true;
    x->sim->stats.installs++;
    sim_trace(x->sim, 1, "node %u: snapshot %llu installed", x->id, (ull)meta->index);
}

static void op_fatal(void *ctx, const char *why)
{
    struct sim_node *x = ctx;

    sim_fail(x->sim, "node %u: fatal: %s", x->id, why);
}

static const struct cs_core_ops ops = {
    .send = op_send,
    .linked = op_linked,
    .send_snapshot = op_send_snapshot,
    .store = op_store,
    .apply = op_apply,
    .snapshot = op_snapshot,
    .restore = op_restore,
    .fatal = op_fatal,
};

/* --- life of a node --- */

void sim_wal_config(const struct sim *s, struct ad_wal_config *c)
{
    ad_wal_config_default(c);
    c->segment_size = s->segment_size;
    c->space_min = 0;
}

static void draw_config(struct sim_node *x)
{
    struct sim *s = x->sim;
    struct cs_core_config *c = &x->config;

    c->seed = (unsigned)sim_random(s);
    if (!s->random_config) {
        return;
    }
    c->trailing = TRAILING + (unsigned)sim_below(s, 30);
    c->snapshot_entries = 20 + (unsigned)sim_below(s, 60);
    c->snapshot_bytes = sim_below(s, 4) == 0 ? 2000 + sim_below(s, 4000) : 0;
    /* A whole node's entries are larger, and may not be larger than a frame. */
    c->frame_max = sim_below(s, 2) == 0 ? (s->host != NULL ? 24 << 10 : 500) : 1 << 20;
}

static unsigned without(const struct sim *s)
{
    switch (s->mutant) {
    case SIM_NO_HOLD:
        return s->without | CS_WITHOUT_HOLD;
    case SIM_EARLY_REPORT:
        return s->without | CS_WITHOUT_ORDER;
    case SIM_NO_STALE:
        return s->without | CS_WITHOUT_STALE;
    case SIM_SOUND:
    case SIM_LYING_DISK:
    case SIM_NO_CRC:
        break;
    }
    return s->without;
}

void sim_arm(struct sim_node *x)
{
    struct sim *s = x->sim;
    uint64_t t;

    if (!x->up || s->manual) {
        return;
    }
    t = cs_core_timeout(x->core);
    if (t == x->timer) {
        return;
    }
    x->timer = t;
    sim_queue_post(&s->queue, (struct sim_event){.t = t > s->now ? t : s->now + 1,
                                                 .type = SIM_TIMER,
                                                 .to = x->id,
                                                 .to_life = x->life,
                                                 .n = t});
}

/* Connections come up with the node, as far as the network lets them. */
static void connect_all(struct sim_node *x)
{
    struct sim *s = x->sim;

    for (unsigned i = 1; i <= s->n && !s->manual; i++) {
        struct sim_node *y = &s->nodes[i];

        if (y != x && y->up && !s->cut[x->id][i] && !s->cut[i][x->id]) {
            cs_core_linked(x->core, s->now);
            cs_core_linked(y->core, s->now);
            sim_check_node(y);
            sim_arm(y);
        }
    }
}

void sim_start(struct sim_node *x)
{
    struct sim *s = x->sim;
    struct ad_wal_config wc;
    struct cs_core_boot boot;
    struct sy_errbuf eb = {{0}};
    int rv;

    if (x->up) {
        return;
    }
    if (s->host != NULL) {
        s->host->enter(x);
    }
    sim_wal_config(s, &wc);
    sim_light_fuse(x);
    rv = ad_wal_open(&x->wal, &x->fs, &wc, sim_identity, &boot, &eb);
    if (rv != 0) {
        if (sim_burnt(x)) {
            return;
        }
        if (rv == -ENOSPC && s->host != NULL) {
            start_later(x);
            return;
        }
        sim_fail(s, "node %u does not start: %s", x->id, eb.text);
    }
    x->fuse = 0;
    sim_check_remembered(x, &boot);
    x->had_term = boot.term;
    x->had_vote = boot.voted_for;
    x->timer = 0;
    x->prune = false;
    x->state = s->fsm->create();
    if (boot.snapshot.index > 0) {
        load_snapshot(x, boot.snapshot.index, boot.snapshot.term);
    }
    draw_config(x);
    x->core = cs__core_new_without(&x->config, &ops, x, s->now, &boot, without(s), &eb);
    if (x->core == NULL) {
        sim_fail(s, "node %u: its core does not start: %s", x->id, eb.text);
    }
    sim_trace(s, 1, "node %u: starts at term %llu, entries %llu to %llu, snapshot %llu",
              x->id, (ull)boot.term, (ull)boot.first, (ull)(boot.first + boot.n - 1),
              (ull)boot.snapshot.index);
    sy_free(boot.entries);
    sy_buf_free(&boot.snapshot.conf);
    x->up = true;
    x->role = CS_FOLLOWER;
    if (s->host != NULL) {
        s->host->started(x);
    }
    connect_all(x);
    sim_check_node(x);
    sim_arm(x);
}

/* The job stops between any two of its file operations. */
static void stop_job(struct sim_node *x)
{
    struct sy_errbuf eb;

    while (x->job != NULL && !x->dead && sim_below(x->sim, 4) != 0) {
        if (ad_wal_job_step(x->job, &eb) <= 0) {
            break;
        }
    }
    x->job = NULL;
}

void sim_close_node(struct sim_node *x)
{
    cs_core_destroy(&x->core);
    ad_wal_snap_abort(&x->writer);
    ad_wal_close(&x->wal);
    sy_buf_free(&x->snap_meta.conf);
    sy_buf_free(&x->snap_state);
    if (x->state != NULL) {
        x->sim->fsm->destroy(x->state);
        x->state = NULL;
    }
    x->up = false;
    x->job = NULL;
}

void sim_pause(struct sim_node *x, uint64_t ms)
{
    sim_trace(x->sim, 1, "node %u: sleeps for %llu ms", x->id, (ull)ms);
    x->paused = true;
    sim_post(x, SIM_WAKE, ms);
}

/* It sleeps no more, and what was held back for it is lost with it. */
static void unpause(struct sim_node *x)
{
    for (size_t i = 0; i < x->held_n; i++) {
        sy_buf_free(&x->held[i].frame);
        sy_buf_free(&x->held[i].file);
    }
    sy_free(x->held);
    x->held = NULL;
    x->held_n = x->held_cap = 0;
    x->paused = false;
}

void sim_crash(struct sim_node *x, bool power)
{
    struct sim *s = x->sim;

    s->stats.crashes += power;
    s->stats.kills += !power;
    sim_trace(s, 1, "node %u: %s%s", x->id, power ? "power lost" : "killed",
              x->job != NULL ? ", while writing" : "");
    if (x->core != NULL) {
        sim_note_durable(x);
    }
    if (s->host != NULL && x->up) {
        s->host->stopped(x, power);
    }
    unpause(x);
    stop_job(x);
    x->dead = true; /* No file is touched by what is only tidying memory. */
    sim_close_node(x);
    x->dead = false;
    x->life++;
    if (power) {
        memfs_crash(x->disk, sim_random(s));
    } else {
        memfs_kill(x->disk);
    }
    if (s->mutant == SIM_NO_CRC) {
        sim_forge_checksums(x->disk);
    }
}

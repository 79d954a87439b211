/* One turn of a replica: what is applied is told, what came in is sealed into an entry
 * and submitted. All that is needed is the core and a word what time it is: the
 * simulator runs this file as it is, on cores of its own. */

#include <assert.h>

#include "base/mem.h"
#include "base/mp.h"
#include "node/replica_impl.h"

enum { ROUNDS_MAX = 8 }; /* Of callbacks and submissions in one turn. */

uint64_t nd_replica_clock_ms(const struct nd_replica *r)
{
    return rp_clock_now(&r->clock, nd_wall_ms(), nd_now_ms());
}

/* --- proposals --- */

static void finish_waits(struct nd_replica *r, struct sy_link *waits, int status)
{
    struct sy_link *l;

    while ((l = sy_list_pop(waits)) != NULL) {
        SY_CONTAINER(l, struct nd_wait, link)->status = status;
        sy_list_push(&r->done, l);
    }
}

static void drop_proposals(struct nd_replica *r, int status)
{
    struct sy_link *l;

    while ((l = sy_list_pop(&r->sealed)) != NULL) {
        struct nd_sealed *s = SY_CONTAINER(l, struct nd_sealed, link);

        finish_waits(r, &s->waits, status);
        sy_buf_free(&s->entry);
        sy_free(s);
    }
    r->sealed_bytes = 0;
    finish_waits(r, &r->batch_waits, status);
    r->batch.buf.len = 0;
    r->batch.n = 0;
}

/* @b as an entry of its own; whoever waits, waits for the last one sealed. */
static struct nd_sealed *seal_as_entry(struct nd_replica *r, struct rp_batch *b)
{
    struct nd_sealed *s = sy_calloc(1, sizeof *s);

    rp_batch_seal(b, nd_replica_clock_ms(r), (uint16_t)r->config.raft.id, &s->entry);
    sy_list_init(&s->waits);
    sy_list_push(&r->sealed, &s->link);
    r->sealed_bytes += s->entry.len;
    return s;
}

/* As many inputs of @c as an entry may have, at least one. */
static void take_inputs(struct sy_cur *c, size_t max, struct rp_batch *to)
{
    struct sy_cur at = *c;
    struct sy_cur next = *c;

    do {
        at = next;
        sy_mp_skip(&next);
        assert(!next.bad); /* We have packed them. */
        to->n++;
    } while (next.n > 0 && c->n - next.n <= max);
    if (c->n - next.n > max && to->n > 1) {
        next = at;
        to->n--;
    }
    sy_buf_put(&to->buf, c->p, c->n - next.n);
    *c = next;
}

/* One message may bring any number of inputs (a bridge that lists its devices). More
 * than batch_max would not fit into a frame to the peers: several entries. */
static void seal(struct nd_replica *r)
{
    struct sy_cur c = {.p = r->batch.buf.p, .n = r->batch.buf.len};
    struct rp_batch part = {0};
    struct nd_sealed *s;

    r->sealed_inputs += r->batch.n;
    if (c.n <= r->config.batch_max) {
        s = seal_as_entry(r, &r->batch);
    } else {
        do {
            take_inputs(&c, r->config.batch_max, &part);
            s = seal_as_entry(r, &part);
        } while (c.n > 0);
        rp_batch_free(&part);
        r->batch.buf.len = 0;
        r->batch.n = 0;
    }
    sy_list_move(&r->batch_waits, &s->waits);
}

static void submitted(struct nd_replica *r, struct nd_sealed *s, uint64_t index,
                      uint64_t term)
{
    struct sy_link *l;

    r->inflight++;
    r->sealed_bytes -= s->entry.len;
    while ((l = sy_list_pop(&s->waits)) != NULL) {
        struct nd_wait *w = SY_CONTAINER(l, struct nd_wait, link);

        w->index = index;
        w->term = term;
        sy_list_push(&r->waits, l);
    }
    sy_buf_free(&s->entry);
    sy_free(s);
}

static void submit(struct nd_replica *r)
{
    if (r->batch.n > 0 || !sy_list_empty(&r->batch_waits)) {
        if (r->inflight < r->config.inflight_max || nd_replica_leading(r) == 0) {
            seal(r);
        }
    }
    while (!sy_list_empty(&r->sealed) && r->inflight < r->config.inflight_max) {
        struct nd_sealed *s = SY_CONTAINER(r->sealed.next, struct nd_sealed, link);
        uint64_t index, term;
        int rv = r->gate.shut ? SY_ENOTLEADER
                              : cs_core_submit(r->core, nd_now_ms(), s->entry.p,
                                               (uint32_t)s->entry.len, &index, &term);

        if (rv == SY_EBUSY || rv == SY_ELIMIT) {
            break; /* A handover, or too much under way: when that has passed. */
        }
        if (rv != 0) {
            assert(rv == SY_ENOTLEADER); /* Too long for a frame: see seal(). */
            drop_proposals(r, rv);
            break;
        }
        sy_list_remove(&s->link);
        submitted(r, s, index, term);
        nd_replica_observe(r);
    }
}

/* A batch is cut in pieces from its front, so what ends within batch_max is not cut. */
uint64_t nd_replica_group(struct nd_replica *r)
{
    if (r->batch.n > 0 && r->batch.buf.len > r->config.batch_max / 2) {
        seal(r);
    }
    return nd_replica_inputs(r);
}

uint64_t nd_replica_inputs(const struct nd_replica *r)
{
    return r->sealed_inputs + r->batch.n;
}

/* A batch has become large in the middle of a turn: it is an entry of its own. */
struct rp_batch *nd_replica_batch(struct nd_replica *r)
{
    if (r->batch.buf.len >= r->config.batch_max) {
        seal(r);
    }
    return &r->batch;
}

void nd_replica_wait(struct nd_replica *r, struct nd_wait *w, nd_applied_cb cb,
                     void *data)
{
    *w = (struct nd_wait){.cb = cb, .data = data};
    sy_list_push(&r->batch_waits, &w->link);
}

bool nd_replica_full(const struct nd_replica *r)
{
    return r->sealed_bytes + r->batch.buf.len >= r->config.pending_max;
}

/* --- what is committed --- */

static void on_event(void *data, const struct rp_event *ev)
{
    struct nd_replica *r = data;

    r->cb.event(r->data, ev);
}

void nd_replica_apply(void *ctx, uint64_t index, uint64_t term, uint8_t type,
                      const uint8_t *p, size_t n)
{
    struct nd_replica *r = ctx;
    int rv;

    if (type == RAFT_COMMAND) {
        rv = rp_store_apply(r->store, index, p, n, on_event, r);
        if (rv != 0) {
            /* Skipping would make this node differ from the others. */
            SY_LOG(r->log, SY_ERR, "entry.unreadable", KU64("index", index), KERR(rv));
            nd_disk_fatal(
                r, "entry.unreadable",
                rv == SY_EVERSION
                    ? "an entry was written by a newer version: upgrade this node"
                    : "a committed entry does not decode: move the data "
                      "directory aside and re-seed this node");
        }
        rp_clock_saw(&r->clock, rp_store_now(r->store), nd_now_ms());
        if (term == r->term && r->inflight > 0) {
            r->inflight--;
        }
    } else {
        rp_store_skip(r->store, index);
    }
    while (!sy_list_empty(&r->waits)) {
        struct nd_wait *w = SY_CONTAINER(r->waits.next, struct nd_wait, link);

        if (w->index > index) {
            break;
        }
        sy_list_remove(&w->link);
        w->status = w->index == index && w->term == term ? 0 : SY_EUNKNOWN;
        sy_list_push(&r->done, &w->link);
    }
}

/* --- watching the core --- */

void nd_replica_observe(struct nd_replica *r)
{
    enum cs_core_role role = cs_core_role(r->core);
    uint64_t term = cs_core_term(r->core);
    uint64_t leader = cs_core_leader(r->core);
    uint64_t applied = cs_core_applied(r->core);

    if (role != r->role || term != r->term) {
        if (r->role == CS_LEADER) {
            finish_waits(r, &r->waits, SY_EUNKNOWN);
            drop_proposals(r, SY_ENOTLEADER);
        }
        r->inflight = 0;
        SY_LOG(r->log, role != r->role ? SY_NOTE : SY_DEBUG, "role",
               KSTR("from", cs_core_role_name(r->role)),
               KSTR("to", cs_core_role_name(role)), KU64("term", term));
    } else if (leader == r->leader && applied == r->applied) {
        return;
    }
    r->role = role;
    r->term = term;
    r->leader = leader;
    r->applied = applied;
    r->dirty = true;
}

static void run_done(struct nd_replica *r)
{
    struct sy_link detached;
    struct sy_link *l;

    sy_list_move(&r->done, &detached);
    while ((l = sy_list_pop(&detached)) != NULL) {
        struct nd_wait *w = SY_CONTAINER(l, struct nd_wait, link);

        w->cb(w->data, w->status); /* May free or reuse w. */
    }
}

bool nd_replica_turn(struct nd_replica *r)
{
    bool more = true;

    for (unsigned i = 0; more && i < ROUNDS_MAX; i++) {
        run_done(r);
        if (r->dirty) {
            r->dirty = false;
            r->cb.changed(r->data);
        }
        if (r->closing) {
            return false; /* One of these callbacks has closed us. */
        }
        submit(r);
        more = r->dirty || !sy_list_empty(&r->done);
    }
    return more;
}

void nd_replica_cancel(struct nd_replica *r)
{
    finish_waits(r, &r->waits, UV_ECANCELED);
    drop_proposals(r, UV_ECANCELED);
    run_done(r);
}

int nd_replica_transfer(struct nd_replica *r, uint64_t to, unsigned timeout_ms)
{
    uint64_t now = nd_now_ms();
    int rv = cs_core_transfer(r->core, now, to, now + timeout_ms);

    nd_replica_observe(r);
    r->dirty = true;
    return rv;
}

static bool may_widen(struct nd_replica *r, uint64_t also)
{
    uint32_t set = (uint32_t)1 << also;
    unsigned voters = 0;
    struct cs_member m;

    for (uint64_t id = 1; id <= CS_ID_MAX; id++) {
        if (cs_core_member(r->core, id, &m) && m.role == CS_ROLE_VOTER) {
            set |= (uint32_t)1 << id;
            voters++;
        }
    }
    if (voters != 2 || set == r->gate.widen_to) {
        return true;
    }
    r->widen_wanted = set;
    return false;
}

uint32_t nd_replica_widen_wanted(struct nd_replica *r)
{
    uint32_t set = r->widen_wanted;

    r->widen_wanted = 0;
    return set;
}

int nd_replica_change(struct nd_replica *r, uint64_t id, enum cs_member_role role)
{
    uint64_t index;
    int rv;

    if (role == CS_ROLE_VOTER && r->gate.guarded && !may_widen(r, id)) {
        return SY_EBUSY;
    }
    rv = cs_core_change(r->core, nd_now_ms(), id, role, &index);
    nd_replica_observe(r);
    return rv;
}

void nd_replica_hold(struct nd_replica *r, bool hold)
{
    cs_core_hold(r->core, hold);
}

int nd_replica_catch_up(struct nd_replica *r, uint64_t id)
{
    int rv = cs_core_catch_up(r->core, nd_now_ms(), id);

    nd_replica_observe(r);
    return rv;
}

void nd_replica_barrier(struct nd_replica *r)
{
    uint64_t index;

    (void)!cs_core_barrier(r->core, nd_now_ms(), &index); /* Asked for again. */
    nd_replica_observe(r);
}

void nd_replica_set_gate(struct nd_replica *r, const struct nd_replica_gate *gate)
{
    if (gate->shut != r->gate.shut || gate->muted != r->gate.muted) {
        r->dirty = true;
    }
    r->gate = *gate;
}

uint64_t nd_replica_heard_ms(const struct nd_replica *r, uint64_t peer)
{
    return peer <= CS_ID_MAX ? r->heard_ms[peer] : 0;
}

const struct cs_core *nd_replica_core(const struct nd_replica *r)
{
    return r->core;
}

struct rp_store *nd_replica_store(struct nd_replica *r)
{
    return r->store;
}

uint64_t nd_replica_leading(const struct nd_replica *r)
{
    return cs_core_role(r->core) == CS_LEADER && !r->gate.shut ? cs_core_term(r->core)
                                                               : 0;
}

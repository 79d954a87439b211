/* nd_replica, its peers, its log and the words of its core, for fake_node.h. */

#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "tests/node/fake_node.h"

struct nd_replica;

static struct nd_replica *handle(void)
{
    return (struct nd_replica *)(void *)&fake;
}

uint64_t nd_now_ms(void)
{
    return fake.now_ms;
}

uint64_t nd_wall_ms(void)
{
    return fake.wall_ms;
}

uint64_t nd_replica_clock_ms(const struct nd_replica *r)
{
    (void)r;
    return fake.wall_ms;
}

int nd_replica_open(struct nd_replica **ret, uv_loop_t *loop, const struct sy_log *log,
                    const struct nd_replica_config *config,
                    const struct nd_replica_callbacks *cb, void *data,
                    struct sy_errbuf *eb)
{
    (void)loop;
    (void)log;
    (void)eb;
    assert_ptr_equal(data, fake.n);
    fake.cb = *cb;
    fake.memory_size = rp_store_size(&config->limits);
    fake.memory = mmap(NULL, fake.memory_size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(fake.memory != MAP_FAILED);
    fake.store = rp_store_init(&config->limits, fake.memory);
    sy_list_init(&fake.batch_waits);
    sy_list_init(&fake.log);
    if (fake.opening != NULL) {
        fake.opening();
    }
    *ret = handle();
    return 0;
}

static void finish(struct sy_link *waits, int status)
{
    struct sy_link detached;
    struct sy_link *l;

    sy_list_move(waits, &detached);
    while ((l = sy_list_pop(&detached)) != NULL) {
        struct nd_wait *w = SY_CONTAINER(l, struct nd_wait, link);

        w->cb(w->data, status);
    }
}

static struct fake_entry *oldest(void)
{
    return SY_CONTAINER(sy_list_pop(&fake.log), struct fake_entry, link);
}

static void end_entry(struct fake_entry *e, int status)
{
    finish(&e->waits, status);
    sy_buf_free(&e->bytes);
    sy_free(e);
}

static void seal(void)
{
    struct fake_entry *e;

    if (fake.leading == 0) {
        rp_batch_free(&fake.batch);
        finish(&fake.batch_waits, SY_ENOTLEADER);
        return;
    }
    if (fake.batch.n == 0) {
        finish(&fake.batch_waits, 0);
        return;
    }
    e = sy_calloc(1, sizeof *e);
    fake.sealed_inputs += fake.batch.n;
    rp_batch_seal(&fake.batch, fake.wall_ms, (uint16_t)fake.n->config.id, &e->bytes);
    sy_list_move(&fake.batch_waits, &e->waits);
    sy_list_push(&fake.log, &e->link);
    fake.sealed++;
}

static void on_event(void *data, const struct rp_event *ev)
{
    fake.cb.event(data, ev);
}

static void apply(const struct sy_buf *bytes)
{
    assert_int_equal(
        rp_store_apply(fake.store, ++fake.index, bytes->p, bytes->len, on_event, fake.n),
        0);
}

void fake_apply(struct rp_batch *b)
{
    struct sy_buf bytes = {0};

    rp_batch_seal(b, fake.wall_ms, 1, &bytes);
    apply(&bytes);
    sy_buf_free(&bytes);
    rp_batch_free(b);
}

void fake_turn(void)
{
    if (fake.replica_closed) {
        return;
    }
    fake.cb.changed(fake.n);
    fake_ports_closed();
    fake_echo();
    seal();
}

bool fake_commit(void)
{
    struct fake_entry *e;

    if (sy_list_empty(&fake.log)) {
        return false;
    }
    e = oldest();
    apply(&e->bytes);
    end_entry(e, 0);
    fake_turn();
    return true;
}

void fake_settle(void)
{
    fake_turn();
    for (unsigned i = 0; fake_commit(); i++) {
        assert_true(i < 100000); /* It goes in circles through the log. */
    }
}

void fake_lose(unsigned kept, uint64_t leader, uint64_t term)
{
    fake.leading = 0;
    fake.role = CS_FOLLOWER;
    fake.leader = leader;
    fake.term = term;
    fake.lease_until_ms = 0;
    while (!sy_list_empty(&fake.log)) {
        struct fake_entry *e = oldest();

        if (kept > 0) {
            kept--;
            apply(&e->bytes);
        }
        end_entry(e, SY_EUNKNOWN);
    }
    fake_turn();
}

void fake_foreign(struct rp_batch *b)
{
    struct sy_buf bytes = {0};

    rp_batch_seal(b, fake.wall_ms, 2, &bytes);
    apply(&bytes);
    sy_buf_free(&bytes);
    rp_batch_free(b);
    fake_turn();
}

void nd_replica_close(struct nd_replica *r, void (*closed)(void *data))
{
    unsigned replies = fake.replies_n;

    assert_ptr_equal(r, handle());
    assert_null(closed);
    assert_false(fake.replica_closed);
    fake.replica_closed = true;
    while (!sy_list_empty(&fake.log)) {
        end_entry(oldest(), UV_ECANCELED);
    }
    finish(&fake.batch_waits, UV_ECANCELED);
    assert_int_equal(fake.replies_n, replies); /* Nobody is there any more. */
    rp_batch_free(&fake.batch);
    assert_int_equal(munmap(fake.memory, fake.memory_size), 0);
    fake.n->store = NULL;
}

struct rp_batch *nd_replica_batch(struct nd_replica *r)
{
    assert_ptr_equal(r, handle());
    if (fake.seal_in > 0 && --fake.seal_in == 0) {
        seal(); /* It has become large. */
    }
    return &fake.batch;
}

uint64_t nd_replica_group(struct nd_replica *r)
{
    return nd_replica_inputs(r);
}

uint64_t nd_replica_inputs(const struct nd_replica *r)
{
    (void)r;
    return fake.sealed_inputs + fake.batch.n;
}

void nd_replica_wait(struct nd_replica *r, struct nd_wait *w, nd_applied_cb cb,
                     void *data)
{
    (void)r;
    *w = (struct nd_wait){.cb = cb, .data = data};
    sy_list_push(&fake.batch_waits, &w->link);
}

bool nd_replica_full(const struct nd_replica *r)
{
    (void)r;
    return fake.full;
}

int nd_replica_transfer(struct nd_replica *r, uint64_t to, unsigned timeout_ms)
{
    (void)r;
    assert_true(timeout_ms >= 100 && timeout_ms <= 60000);
    fake.transfer_to = to;
    fake.transfers++;
    return fake.transfer_rv;
}

bool nd_replica_send(struct nd_replica *r, uint64_t to, uint8_t kind, const void *p,
                     size_t n)
{
    struct fake_frame *f = &fake.frames[fake.frames_n];

    (void)r;
    assert_true(to >= 1 && to <= CS_ID_MAX);
    if (kind == ND_FRAME_GOSSIP) {
        assert_true(n <= ND_GOSSIP_MAX);
        fake.gossips++;
        return true;
    }
    if (fake.send_fails) {
        return false;
    }
    if (kind == ND_FRAME_CALLER) {
        sy_buf_free(&fake.told);
        sy_buf_put(&fake.told, p, n);
        return true;
    }
    assert_true(++fake.frames_n <= FAKE_FRAMES_MAX);
    *f = (struct fake_frame){.to = to, .kind = kind};
    sy_buf_put(&f->bytes, p, n);
    return true;
}

const struct cs_core *nd_replica_core(const struct nd_replica *r)
{
    return (const struct cs_core *)(const void *)r;
}

struct rp_store *nd_replica_store(struct nd_replica *r)
{
    (void)r;
    return fake.store;
}

const struct ad_peers *nd_replica_peers(const struct nd_replica *r)
{
    return (const struct ad_peers *)(const void *)r;
}

const struct ad_wal *nd_replica_wal(const struct nd_replica *r)
{
    return (const struct ad_wal *)(const void *)r;
}

uint64_t nd_replica_leading(const struct nd_replica *r)
{
    assert_ptr_equal(r, handle());
    return fake.leading;
}

uint64_t nd_replica_stall_us(struct nd_replica *r)
{
    (void)r;
    return 0;
}

uint64_t nd_replica_work_us(struct nd_replica *r)
{
    (void)r;
    return 0;
}

/* --- the core, the log, the peers --- */

#define SAYS(NAME, TYPE, VALUE)        \
    TYPE NAME(const struct cs_core *c) \
    {                                  \
        (void)c;                       \
        return (VALUE);                \
    }

SAYS(cs_core_role, enum cs_core_role, fake.role)
SAYS(cs_core_term, uint64_t, fake.term)
SAYS(cs_core_transferring, bool, fake.transferring)
SAYS(cs_core_leader, uint64_t, fake.leader)
SAYS(cs_core_last, uint64_t, fake.index)
SAYS(cs_core_stored_index, uint64_t, fake.index)
SAYS(cs_core_committed, uint64_t, fake.committed != 0 ? fake.committed : fake.index)
SAYS(cs_core_applied, uint64_t, fake.applied != 0 ? fake.applied : fake.index)
SAYS(cs_core_snapshot_index, uint64_t, 0)
SAYS(cs_core_log_bytes, size_t, 0)
SAYS(cs_core_lease_until, uint64_t, fake.lease_until_ms)

int nd_replica_change(struct nd_replica *r, uint64_t id, enum cs_member_role role)
{
    (void)r;
    fake.changed_id = id;
    fake.changed_role = role;
    return fake.change_rv;
}

int nd_replica_peer(struct nd_replica *r, const struct ad_peer_address *a,
                    struct sy_errbuf *eb)
{
    (void)r;
    (void)eb;
    fake.peer_set = *a;
    return 0;
}

void nd_replica_mute(struct nd_replica *r, bool mute)
{
    (void)r;
    fake.silent = mute;
}

void nd_replica_hold(struct nd_replica *r, bool hold)
{
    (void)r;
    fake.hold = hold;
}

int nd_replica_catch_up(struct nd_replica *r, uint64_t id)
{
    (void)r;
    fake.caught_up = id;
    return 0;
}

bool cs_core_member(const struct cs_core *c, uint64_t id, struct cs_member *ret)
{
    (void)c;
    *ret = fake.members[id];
    return ret->role != CS_ROLE_ABSENT;
}

unsigned cs_core_members(const struct cs_core *c, uint64_t ids[CS_MEMBERS_MAX],
                         bool voter[CS_MEMBERS_MAX])
{
    unsigned n = 0;

    (void)c;
    for (uint64_t id = 1; id <= CS_ID_MAX && n < CS_MEMBERS_MAX; id++) {
        if (fake.members[id].role != CS_ROLE_ABSENT) {
            ids[n] = id;
            voter[n++] = fake.members[id].role == CS_ROLE_VOTER;
        }
    }
    return n;
}

/* Everything is applied, and of the present term. */
uint64_t cs_core_term_of(const struct cs_core *c, uint64_t index)
{
    (void)index;
    return cs_core_term(c);
}

const struct cs_entry *cs_core_entry(const struct cs_core *c, uint64_t index)
{
    (void)c;
    (void)index;
    return NULL;
}

void nd_replica_barrier(struct nd_replica *r)
{
    (void)r;
}

void nd_replica_set_gate(struct nd_replica *r, const struct nd_replica_gate *gate)
{
    (void)r;
    fake.gate = *gate;
}

uint32_t nd_replica_widen_wanted(struct nd_replica *r)
{
    (void)r;
    return 0;
}

uint64_t nd_replica_heard_ms(const struct nd_replica *r, uint64_t peer)
{
    (void)r;
    return fake.heard_ms[peer];
}

uint64_t cs_core_match(const struct cs_core *c, uint64_t id)
{
    (void)c;
    return fake.leading != 0 ? fake.match[id] : 0;
}

const struct cs_stats *cs_core_stats(const struct cs_core *c)
{
    static const struct cs_stats none;

    (void)c;
    return &none;
}

const char *cs_core_role_name(enum cs_core_role r)
{
    return r == CS_LEADER ? "leader" : r == CS_CANDIDATE ? "candidate" : "follower";
}

void cs_core_config_default(struct cs_core_config *c)
{
    memset(c, 0, sizeof *c);
    c->election_ms = 1000;
}

bool ad_wal_space_low(const struct ad_wal *w)
{
    (void)w;
    return fake.disk_low;
}

uint64_t ad_wal_bytes(const struct ad_wal *w)
{
    (void)w;
    return 0;
}

void ad_wal_config_default(struct ad_wal_config *c)
{
    memset(c, 0, sizeof *c);
}

bool ad_peers_linked(const struct ad_peers *p, uint64_t id)
{
    (void)p;
    return id <= CS_ID_MAX && fake.linked[id];
}

const struct ad_peer_stats *ad_peers_stats(const struct ad_peers *p)
{
    static const struct ad_peer_stats none;

    (void)p;
    return &none;
}

void ad_peer_config_default(struct ad_peer_config *c)
{
    memset(c, 0, sizeof *c);
}

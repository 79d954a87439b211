#include "tests/sim/sim.h"

#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

typedef unsigned long long ull;

static struct sim_known *known_at(struct sim *s, uint64_t index)
{
    if (index >= s->known_cap) {
        uint64_t cap = index * 2 + 256;

        s->known = sy_realloc(s->known, cap * sizeof *s->known);
        memset(s->known + s->known_cap, 0, (cap - s->known_cap) * sizeof *s->known);
        s->known_cap = cap;
    }
    return &s->known[index];
}

/* Applied prefixes are equal: whoever applies an index later gets the same. */
void sim_check_applied(struct sim_node *x, uint64_t index, uint64_t term,
                       const uint8_t *p, size_t n)
{
    struct sim *s = x->sim;
    struct sim_known *k = known_at(s, index);
    uint64_t hash = sy_hash(p, n, 1);

    if (k->term == 0) {
        *k = (struct sim_known){term, hash, UINT64_MAX};
        s->known_max = index > s->known_max ? index : s->known_max;
    } else if (k->term != term || k->hash != hash) {
        sim_fail(s, "node %u applied %llu^%llu, somebody else %s there", x->id,
                 (ull)index, (ull)term,
                 k->term != term ? "had another term" : "had other content");
    }
    if (x->core != NULL && cs_core_term(x->core) < k->in_term) {
        k->in_term = cs_core_term(x->core);
    }
    if (x->core != NULL && cs_core_role(x->core) == CS_LEADER && index > s->acked_max) {
        s->acked_max = index;
        s->stats.acked++;
    }
}

static unsigned *leader_at(struct sim *s, uint64_t term)
{
    if (term >= s->leader_cap) {
        uint64_t cap = term * 2 + 64;

        s->leader_of = sy_realloc(s->leader_of, cap * sizeof *s->leader_of);
        memset(s->leader_of + s->leader_cap, 0,
               (cap - s->leader_cap) * sizeof *s->leader_of);
        s->leader_cap = cap;
    }
    return &s->leader_of[term];
}

/* Leader completeness: all that was ever committed is in a new leader's log. */
static void check_complete(struct sim_node *x)
{
    struct sim *s = x->sim;

    for (uint64_t i = cs_core_first(x->core); i <= s->known_max; i++) {
        /* A node that slept may win an election that is long over: of what was
         * committed in later terms it knows nothing, and can do no harm. */
        if (i <= cs_core_snapshot_index(x->core) || s->known[i].term == 0 ||
            s->known[i].in_term > cs_core_term(x->core)) {
            continue;
        }
        if (cs_core_term_of(x->core, i) != s->known[i].term) {
            sim_fail(s, "leader %u of term %llu lacks %llu^%llu, which was committed",
                     x->id, (ull)cs_core_term(x->core), (ull)i, (ull)s->known[i].term);
        }
    }
}

void sim_check_node(struct sim_node *x)
{
    struct sim *s = x->sim;
    unsigned *leader;
    uint64_t term;

    if (!x->up) {
        return;
    }
    if (x->role != cs_core_role(x->core)) {
        x->role = cs_core_role(x->core);
        sim_trace(s, 1, "node %u: %s, term %llu", x->id, cs_core_role_name(x->role),
                  (ull)cs_core_term(x->core));
    }
    sim_check_member(x);
    if (x->role != CS_LEADER) {
        return;
    }
    term = cs_core_term(x->core);
    leader = leader_at(s, term);
    if (*leader == 0) {
        *leader = x->id;
        s->stats.elections++;
        check_complete(x);
    } else if (*leader != x->id) {
        sim_fail(s, "two leaders in term %llu: %u and %u", (ull)term, *leader, x->id);
    }
}

/* Log matching: same index and term mean same content, there and below. */
static void compare_logs(struct sim_node *a, struct sim_node *b)
{
    struct cs_core *p = a->core, *q = b->core;
    uint64_t lo =
        cs_core_first(p) > cs_core_first(q) ? cs_core_first(p) : cs_core_first(q);
    uint64_t hi = cs_core_last(p) < cs_core_last(q) ? cs_core_last(p) : cs_core_last(q);
    bool same = false;

    for (uint64_t i = hi; i >= lo && i > 0; i--) {
        const struct cs_entry *e = cs_core_entry(p, i), *f = cs_core_entry(q, i);

        if (e->term != f->term) {
            if (same) {
                sim_fail(a->sim, "logs of %u and %u are equal above %llu, not there",
                         a->id, b->id, (ull)i);
            }
            continue;
        }
        if (e->type != f->type || e->len != f->len ||
            (e->len > 0 && memcmp(e->data, f->data, e->len) != 0)) {
            sim_fail(a->sim, "entry %llu^%llu differs on %u and %u", (ull)i, (ull)e->term,
                     a->id, b->id);
        }
        same = true;
    }
}

void sim_check_logs(struct sim *s)
{
    for (unsigned a = 1; a <= s->n; a++) {
        if (s->nodes[a].up) {
            sim_check_conf(&s->nodes[a]);
        }
        for (unsigned b = a + 1; b <= s->n; b++) {
            if (s->nodes[a].up && s->nodes[b].up) {
                compare_logs(&s->nodes[a], &s->nodes[b]);
            }
        }
    }
}

void sim_check_equal(struct sim *s)
{
    struct sim_node *a = &s->nodes[1];

    for (unsigned i = 2; i <= s->n; i++) {
        struct sim_node *b = &s->nodes[i];

        if (cs_core_applied(a->core) != cs_core_applied(b->core) ||
            s->fsm->hash(a->state) != s->fsm->hash(b->state)) {
            sim_fail(s, "not equal at the end: node 1 applied %llu, node %u %llu",
                     (ull)cs_core_applied(a->core), i, (ull)cs_core_applied(b->core));
        }
    }
    if (cs_core_applied(a->core) < s->acked_max) {
        sim_fail(s, "acknowledged up to %llu, there is only %llu", (ull)s->acked_max,
                 (ull)cs_core_applied(a->core));
    }
}

/* What the core has been told to be durable, at the moment of a crash. */
void sim_note_durable(struct sim_node *x)
{
    x->had_index = cs_core_stored_index(x->core);
    x->had_index_term = x->had_index > 0 ? cs_core_term_of(x->core, x->had_index) : 0;
}

void sim_check_remembered(struct sim_node *x, const struct cs_core_boot *boot)
{
    uint64_t i = x->had_index, last = boot->first + boot->n - 1;

    if (boot->term < x->had_term || (boot->term == x->had_term && x->had_vote != 0 &&
                                     boot->voted_for != x->had_vote)) {
        sim_fail(x->sim, "node %u forgot term %llu and its vote for %llu: %llu, %llu",
                 x->id, (ull)x->had_term, (ull)x->had_vote, (ull)boot->term,
                 (ull)boot->voted_for);
    }
    if (i == 0 || i <= boot->snapshot.index) {
        return;
    }
    if (i < boot->first || i > last ||
        boot->entries[i - boot->first].term != x->had_index_term) {
        sim_fail(x->sim, "node %u forgot entry %llu^%llu, which was durable", x->id,
                 (ull)i, (ull)x->had_index_term);
    }
}

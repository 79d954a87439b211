#include "tests/wal/rig.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

const char rig_identity[] = "site/3";

static uint64_t mix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t rig_random(struct rig *r)
{
    return mix(&r->random) >> 8;
}

static uint64_t below(struct rig *r, uint64_t n)
{
    return rig_random(r) % n;
}

struct cs_entry rig_entry(const struct wanted_entry *e)
{
    struct cs_entry c = {.term = e->term, .type = e->type, .len = e->len};
    uint64_t state = e->seed;

    c.data = sy_alloc(e->len);
    for (uint32_t i = 0; i < e->len; i++) {
        c.data[i] = (uint8_t)mix(&state);
    }
    return c;
}

void rig_boot_free(struct cs_core_boot *boot)
{
    for (size_t i = 0; i < boot->n; i++) {
        sy_free(boot->entries[i].data);
    }
    sy_free(boot->entries);
    sy_buf_free(&boot->snapshot.conf);
}

/* --- model --- */

unsigned rig_stages(const struct op *op)
{
    return 2 + (unsigned)op->n;
}

void rig_apply(struct model *m, const struct op *op, unsigned stage)
{
    if (stage == 0) {
        return;
    }
    if (op->install > 0) {
        m->base_index = m->last = m->commit = m->snap = op->install;
        m->base_term = op->install_term;
        m->dropped = op->install;
    }
    if (op->has_vote) {
        m->term = op->term;
        m->vote = op->vote;
    }
    for (unsigned i = 0; i + 1 < stage; i++) {
        assert(op->first + i < ENTRIES_MAX);
        m->e[op->first + i] = op->e[i];
        m->last = op->first + i;
    }
    if (stage == rig_stages(op) - 1 && op->drop_until > m->dropped) {
        m->dropped = op->drop_until;
    }
}

static bool same_entry(const struct wanted_entry *want, const struct cs_entry *got)
{
    struct cs_entry e = rig_entry(want);
    bool same = e.term == got->term && e.type == got->type && e.len == got->len &&
                memcmp(e.data, got->data, e.len) == 0;

    sy_free(e.data);
    return same;
}

static bool fits(const struct model *m, const struct cs_core_boot *b, uint64_t dropped,
                 struct sy_errbuf *eb)
{
    uint64_t last = b->first + b->n - 1, s = b->snapshot.index;

    if (b->term != m->term || b->voted_for != m->vote) {
        return sy_fail(eb, 0, "term %" PRIu64 " vote %" PRIu64, b->term, b->voted_for) !=
               0;
    }
    if (last != m->last) {
        return sy_fail(eb, 0, "last %" PRIu64 " not %" PRIu64, last, m->last) != 0;
    }
    if (b->first > dropped + 1 || b->first <= m->base_index || b->first > s + 1) {
        return sy_fail(eb, 0, "first %" PRIu64, b->first) != 0;
    }
    if (s < m->snap || s > m->last ||
        (s > 0 &&
         b->snapshot.term != (s == m->base_index ? m->base_term : m->e[s].term))) {
        return sy_fail(eb, 0, "snapshot %" PRIu64 " not %" PRIu64, s, m->snap) != 0;
    }
    for (size_t i = 0; i < b->n; i++) {
        if (!same_entry(&m->e[b->first + i], &b->entries[i])) {
            return sy_fail(eb, 0, "entry %" PRIu64, b->first + i) != 0;
        }
    }
    return true;
}

int rig_open(struct rig *r, struct memfs *m, const struct op *op, struct ad_wal **ret_w)
{
    static struct model try;
    struct ad_wal_fs fs = memfs_fs(m);
    struct cs_core_boot boot;
    struct ad_wal *w;
    /* A drop may be done or not, whatever else is. */
    uint64_t dropped = op != NULL && op->drop_until > r->model.dropped ? op->drop_until
                                                                       : r->model.dropped;
    int stage = -1;
    int rv = ad_wal_open(&w, &fs, &r->config, rig_identity, &boot, &r->eb);

    if (rv < 0) {
        return rv;
    }
    for (unsigned i = 0; i < (op != NULL ? rig_stages(op) : 1); i++) {
        try = r->model;
        if (op != NULL) {
            rig_apply(&try, op, i);
        }
        if (fits(&try, &boot, try.dropped > dropped ? try.dropped : dropped, &r->eb)) {
            stage = (int)i;
        }
    }
    rig_boot_free(&boot);
    if (ret_w != NULL && stage >= 0) {
        *ret_w = w;
    } else {
        ad_wal_close(&w);
    }
    return stage;
}

/* --- doing --- */

void rig_init(struct rig *r, uint64_t seed)
{
    struct cs_entry first;
    int rv;

    memset(r, 0, sizeof *r);
    r->random = seed;
    r->m = memfs_new();
    r->fs = memfs_fs(r->m);
    ad_wal_config_default(&r->config);
    r->config.segment_size = 4096;
    r->config.space_min = 10000;
    r->model.term = 1;
    r->model.last = r->model.commit = 1;
    r->model.e[1] = (struct wanted_entry){.term = 1, .type = RAFT_CHANGE, .len = 40};
    first = rig_entry(&r->model.e[1]);
    rv = ad_wal_bootstrap(&r->fs, &r->config, rig_identity, &first, &r->eb);
    assert(rv == 0);
    sy_free(first.data);
    rv = rig_open(r, r->m, NULL, &r->w);
    assert(rv == 0);
}

void rig_fini(struct rig *r)
{
    ad_wal_close(&r->w);
    assert(memfs_handles(r->m) == 0);
    memfs_destroy(&r->m);
}

struct ad_wal_job *rig_store(struct rig *r, const struct op *op)
{
    struct cs_entry entries[OP_ENTRIES_MAX];
    struct cs_snapshot_meta meta = {.index = op->install, .term = op->install_term};
    struct cs_store_op store = {.install = op->install > 0 ? &meta : NULL,
                                .has_vote = op->has_vote,
                                .term = op->term,
                                .voted_for = op->vote,
                                .first = op->first,
                                .n = op->n,
                                .entries = entries,
                                .drop_until = op->drop_until};
    struct ad_wal_job *job;

    for (size_t i = 0; i < op->n; i++) {
        entries[i] = rig_entry(&op->e[i]);
    }
    job = ad_wal_store(r->w, &store);
    for (size_t i = 0; i < op->n; i++) {
        sy_free(entries[i].data);
    }
    return job;
}

void rig_do(struct rig *r, const struct op *op)
{
    struct ad_wal_job *job = rig_store(r, op);
    int rv = ad_wal_job_run(job, &r->eb);

    if (rv < 0) {
        fprintf(stderr, "%s\n", r->eb.text);
        abort();
    }
    ad_wal_job_done(r->w, job);
    rig_apply(&r->model, op, rig_stages(op) - 1);
}

static void fill(struct rig *r, struct op *op, size_t n, uint32_t len)
{
    op->n = n;
    for (size_t i = 0; i < n; i++) {
        op->e[i] = (struct wanted_entry){.term = op->has_vote ? op->term : r->model.term,
                                         .type = RAFT_COMMAND,
                                         .len = len,
                                         .seed = rig_random(r)};
    }
}

void rig_append(struct rig *r, size_t n, uint32_t len)
{
    static struct op op;

    memset(&op, 0, sizeof op);
    op.first = r->model.last + 1;
    fill(r, &op, n, len);
    rig_do(r, &op);
}

void rig_vote(struct rig *r, uint64_t term, uint64_t vote)
{
    static struct op op;

    memset(&op, 0, sizeof op);
    op.has_vote = true;
    op.term = term;
    op.vote = vote;
    rig_do(r, &op);
}

void rig_fence(struct rig *r)
{
    struct ad_wal_job *job = ad_wal_fence(r->w);

    if (job != NULL) {
        int rv = ad_wal_job_run(job, &r->eb);

        assert(rv == 0);
        ad_wal_job_done(r->w, job);
    }
}

static void write_snapshot(struct rig *r, struct memfs *m, uint64_t index, uint64_t term)
{
    uint8_t conf[20] = {1, 2, 3}, state[300];
    struct ad_wal_fs fs = memfs_fs(m);
    struct cs_snapshot_meta meta = {
        .index = index, .term = term, .conf_index = 1, .conf = {conf, sizeof conf, 0}};
    struct ad_wal_snap_writer *w;
    int rv;

    memset(state, (int)index, sizeof state);
    rv = ad_wal_snap_create(&fs, &meta, &w, &r->eb);
    assert(rv == 0);
    rv = ad_wal_snap_write(w, state, sizeof state);
    assert(rv == 0);
    rv = ad_wal_snap_commit(&w, &r->eb);
    assert(rv == 0);
}

void rig_snapshot(struct rig *r, uint64_t index, uint64_t term)
{
    write_snapshot(r, r->m, index, term);
    r->model.snap = index;
}

void rig_incoming(struct rig *r, uint64_t index, uint64_t term)
{
    struct memfs *peer = memfs_new();
    char name[AD_WAL_NAME_MAX];
    const uint8_t *p;
    uint64_t size;
    int file, rv;

    write_snapshot(r, peer, index, term);
    ad_wal_snap_name(name, index, term);
    p = memfs_peek(peer, name, &size);
    rv = ad_wal_incoming_create(&r->fs, index, term, &file);
    assert(rv == 0);
    rv = r->fs.write(r->fs.ctx, file, 0, p, size);
    assert(rv == 0);
    rv = ad_wal_incoming_commit(&r->fs, file, index, term, &r->eb);
    assert(rv == 0);
    memfs_destroy(&peer);
}

bool rig_random_snapshot(struct rig *r)
{
    struct model *m = &r->model;
    uint64_t index;
    int rv;

    m->commit += below(r, m->last - m->commit + 1);
    index = m->snap + below(r, m->commit - m->snap + 1);
    if (below(r, 6) != 0 || index <= m->snap || index == m->base_index) {
        return false;
    }
    rig_snapshot(r, index, m->e[index].term);
    rv = ad_wal_snap_prune(&r->fs, index);
    assert(rv == 0);
    return true;
}

void rig_random_op(struct rig *r, struct op *op)
{
    struct model *m = &r->model;
    uint64_t term = m->term;

    memset(op, 0, sizeof *op);
    if (below(r, 5) == 0) {
        op->has_vote = true;
        op->term = term = m->term + 1 + below(r, 2);
        op->vote = below(r, 4);
    } else if (m->vote == 0 && below(r, 5) == 0) {
        op->has_vote = true;
        op->term = m->term;
        op->vote = 1 + below(r, 3);
    }
    op->first = m->last + 1;
    if (!r->no_installs && below(r, 25) == 0) {
        op->install = m->last + 1 + below(r, 20);
        op->install_term = m->last > m->base_index ? m->e[m->last].term : m->base_term;
        op->install_term += below(r, term - op->install_term + 1);
        op->first = op->install + 1;
        rig_incoming(r, op->install, op->install_term);
    } else if (below(r, 8) == 0 && m->last > m->commit) {
        op->first = m->commit + 1 + below(r, m->last - m->commit);
    }
    if (below(r, 8) != 0) {
        static const uint32_t lens[] = {0, 1, 8, 60, 128, 400, 1500};

        fill(r, op, below(r, 3) == 0 ? below(r, 40) : 1 + below(r, 3), 0);
        for (size_t i = 0; i < op->n; i++) {
            op->e[i].len = lens[below(r, op->n > 4 ? 5 : 7)];
        }
    }
    if (below(r, 4) == 0 && m->snap > 5) {
        op->drop_until = m->snap - 5;
    }
}

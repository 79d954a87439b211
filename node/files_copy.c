/* Contents between nodes. Who lacks some asks for them, one chunk at a time: so no more
 * than one chunk of these per node ever waits before a frame of Raft, what was lost is
 * asked for again, and a link that breaks costs the chunk that was on its way.
 *
 *   OFFER  watch -> others   [id, set, [path, size, mode, sum]...]; again each second
 *   WANT   -> who has it     u8 look at it first, u64 offset, sum
 *   CHUNK  <-                u64 offset, u64 size of all (or all ones: not here), sum,
 * bytes HAVE   -> watch          [id]: all that the offer names is durable here */

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "node/files_impl.h"

enum {
    ANSWER_MS = 3000, /* then another is asked */
    NOBODY_MS = 5000, /* until the next try for what nobody has */
    ROOM_MS = 5000,   /* and for what finds no room */
    MISSING_MS = 1000,
    CHUNK_HEAD = 8 + 8 + RP_FILES_SUM_LEN
};

bool nd_files_full_node(const struct nd_node *n, uint64_t id)
{
    const struct nd_config_node *c = nd_config_node(&n->config, id);

    return id != n->config.id && c != NULL && !c->witness;
}

static bool linked(const struct nd_node *n, uint64_t id)
{
    return nd_files_full_node(n, id) && ad_peers_linked(nd_replica_peers(n->replica), id);
}

/* --- offers --- */

void nd_files_copy_offer(struct nd_folder *d)
{
    struct nd_node *n = d->f->n;
    struct sy_buf b = {0};

    sy_mp_array(&b, 2 + 4 * d->list_n);
    sy_mp_uint(&b, d->offer.id);
    sy_mp_str(&b, d->c.name);
    for (unsigned i = 0; i < d->list_n; i++) {
        sy_mp_str(&b, d->list[i].path);
        sy_mp_uint(&b, d->list[i].size);
        sy_mp_uint(&b, d->list[i].mode);
        sy_mp_bin(&b, d->list[i].sum, sizeof d->list[i].sum);
    }
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        uint64_t id = n->config.nodes[i].id;

        if (linked(n, id) && (d->offer.have >> id & 1U) == 0) {
            (void)nd_replica_send(n->replica, id, ND_FRAME_FILES_OFFER, b.p, b.len);
        }
    }
    sy_buf_free(&b);
}

static void read_files(struct sy_cur *c, struct rp_file *list, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *sum;
        uint64_t mode;
        uint32_t len;

        memset(&list[i], 0, sizeof list[i]);
        sy_mp_get_str(c, list[i].path, sizeof list[i].path);
        list[i].size = sy_mp_get_uint(c);
        mode = sy_mp_get_uint(c);
        sum = sy_mp_get_bin(c, &len);
        if (c->bad || mode > 0777 || len != RP_FILES_SUM_LEN) {
            c->bad = 1;
            return;
        }
        list[i].mode = (uint16_t)mode;
        memcpy(list[i].sum, sum, RP_FILES_SUM_LEN);
    }
}

static struct nd_folder *folder_named(struct nd_files *f, const char *name)
{
    for (unsigned i = 0; i < f->list_n; i++) {
        if (strcmp(f->list[i].c.name, name) == 0) {
            return &f->list[i];
        }
    }
    return NULL;
}

static void offered(struct nd_files *f, uint64_t from, struct sy_cur c)
{
    uint32_t n = sy_mp_get_array(&c);
    uint64_t id = sy_mp_get_uint(&c);
    char name[RP_FILES_NAME_SIZE];
    struct nd_folder *d;
    struct rp_file *list;
    struct sy_errbuf eb;

    sy_mp_get_str(&c, name, sizeof name);
    d = folder_named(f, name);
    if (c.bad || d == NULL || id == 0 || n < 2 || (n - 2) % 4 != 0 ||
        (n -= 2, n /= 4) > RP_FILES_MAX ||
        from != cs_core_leader(nd_replica_core(f->n->replica))) {
        return;
    }
    if (d->theirs.id == id && d->theirs.from == from) {
        d->theirs.said = false; /* Told again: the answer was lost, or is still due. */
        f->missing_ms = 0;
        return;
    }
    list = sy_calloc(n + 1, sizeof *list);
    read_files(&c, list, n);
    if (c.bad || c.n != 0 || rp_files_ok(list, n, &eb) != 0) {
        sy_free(list);
        return;
    }
    sy_free(d->theirs.list);
    d->theirs.list = list;
    d->theirs.n = n;
    d->theirs.id = id;
    d->theirs.from = from;
    d->theirs.said = false;
    f->missing_ms = 0;
}

/* --- what is missing, the most urgent first --- */

static bool skipped(const struct nd_files *f, const nd_sum sum)
{
    for (unsigned i = 0; i < ND_FILES_SKIPS_MAX; i++) {
        if (nd_now_ms() < f->skips[i].until_ms &&
            memcmp(f->skips[i].sum, sum, sizeof(nd_sum)) == 0) {
            return true;
        }
    }
    return false;
}

static void skip(struct nd_files *f)
{
    unsigned i = f->skip_at++ % ND_FILES_SKIPS_MAX;
    uint64_t now = nd_now_ms();

    /* One that is due still gives way: then it is asked for again, but not at once. */
    f->missing_ms = now < f->skips[i].until_ms ? now + MISSING_MS : 0;
    memcpy(f->skips[i].sum, f->fetch.sum, sizeof(nd_sum));
    f->skips[i].until_ms = now + NOBODY_MS;
    f->fetch.on = false;
    sy_buf_free(&f->fetch.buf);
}

static bool fetch(struct nd_files *f, const struct rp_file *list, unsigned n,
                  uint64_t from)
{
    for (unsigned i = 0; i < n; i++) {
        if (list[i].size <= AD_FILES_SIZE_MAX && !nd_files_held(f, list[i].sum) &&
            !skipped(f, list[i].sum)) {
            sy_buf_free(&f->fetch.buf);
            memset(&f->fetch, 0, sizeof f->fetch);
            f->fetch.on = true;
            f->fetch.from = from;
            f->fetch.size = list[i].size;
            memcpy(f->fetch.sum, list[i].sum, sizeof(nd_sum));
            return true;
        }
    }
    return false;
}

static void answer(struct nd_files *f, struct nd_folder *d)
{
    struct sy_buf b = {0};

    if (d->theirs.said || d->theirs.id == 0 ||
        nd_files_lacks(f, d->theirs.list, d->theirs.n) > 0) {
        return;
    }
    d->theirs.said = true;
    sy_mp_array(&b, 1);
    sy_mp_uint(&b, d->theirs.id);
    (void)nd_replica_send(f->n->replica, d->theirs.from, ND_FRAME_FILES_HAVE, b.p, b.len);
    sy_buf_free(&b);
}

static bool fetch_version(struct nd_files *f, const char *set, uint64_t nr)
{
    const struct rp_files_version *v = rp_store_files_version(f->n->store, set, nr);

    return v != NULL && fetch(f, v->list, v->n, v->node);
}

/* Older versions are looked through one set at a time: they may be many. */
static bool fetch_old(struct nd_files *f)
{
    const struct rp_store *s = f->n->store;
    const struct rp_files_set *set;

    f->old_at = f->old_at + 1 < rp_store_files(s) ? f->old_at + 1 : 0;
    set = rp_store_files_at(s, f->old_at);
    for (uint32_t k = 1; set != NULL && k < set->kept; k++) {
        if (fetch_version(f, set->name, set->last - k)) {
            return true;
        }
    }
    return false;
}

static void choose(struct nd_files *f)
{
    uint64_t leader = cs_core_leader(nd_replica_core(f->n->replica));

    for (unsigned i = 0; i < f->list_n; i++) {
        struct nd_folder *d = &f->list[i];

        if (leader != 0 && leader != d->theirs.from) {
            d->theirs.id = 0; /* Nobody will commit it: what it names may be nowhere. */
        }
        answer(f, d);
        if (d->theirs.id != 0 && fetch(f, d->theirs.list, d->theirs.n, d->theirs.from)) {
            return;
        }
    }
    for (uint32_t i = 0; i < rp_store_files(f->n->store); i++) {
        if (fetch_version(f, rp_store_files_at(f->n->store, i)->name, 0)) {
            return;
        }
    }
    (void)fetch_old(f);
}

/* --- asking --- */

/* @from if it can be; else the next that was not asked. 0: nobody. */
static uint64_t whom(const struct nd_files *f)
{
    const struct nd_node *n = f->n;

    /* Who took a version need not be one of us any more. */
    if (linked(n, f->fetch.from) && (f->fetch.tried >> f->fetch.from & 1U) == 0) {
        return f->fetch.from;
    }
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        uint64_t id = n->config.nodes[i].id;

        if ((f->fetch.tried >> id & 1U) == 0 && linked(n, id)) {
            return id;
        }
    }
    return 0;
}

static bool anybody(const struct nd_node *n)
{
    bool any = false;

    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        any = any || linked(n, n->config.nodes[i].id);
    }
    return any;
}

static void ask(struct nd_files *f)
{
    struct sy_buf b = {0};
    uint64_t to = whom(f);

    f->fetch.asked_ms = nd_now_ms();
    if (to == 0) {
        if (anybody(f->n)) {
            skip(f);
        } /* Else what has come so far is kept until somebody is there. */
        return;
    }
    f->fetch.from = to;
    sy_buf_u8(&b, f->fetch.verify);
    sy_buf_u64(&b, f->fetch.buf.len);
    sy_buf_put(&b, f->fetch.sum, sizeof(nd_sum));
    (void)nd_replica_send(f->n->replica, to, ND_FRAME_FILES_WANT, b.p, b.len);
    sy_buf_free(&b);
}

static void not_there(struct nd_files *f)
{
    f->fetch.tried |= 1U << f->fetch.from;
    f->fetch.verify = false;
    ask(f);
}

static void chunk(struct nd_files *f, uint64_t from, struct sy_cur c)
{
    uint64_t offset = sy_cur_u64(&c), total = sy_cur_u64(&c);
    const uint8_t *sum = sy_cur_take(&c, sizeof(nd_sum));

    if (c.bad || !f->fetch.on || f->fetch.whole || from != f->fetch.from ||
        memcmp(sum, f->fetch.sum, sizeof(nd_sum)) != 0) {
        return;
    }
    if (total != f->fetch.size) {
        not_there(f);
        return;
    }
    if (offset != f->fetch.buf.len || c.n > total - offset ||
        (c.n == 0 && offset < total)) {
        return; /* An answer to what was asked twice. */
    }
    sy_buf_put(&f->fetch.buf, c.p, c.n);
    f->bytes_in += c.n;
    f->fetch.verify = false;
    f->fetch.whole = f->fetch.buf.len == total;
    if (f->fetch.whole) {
        nd_files_run(f);
    } else {
        ask(f);
    }
}

static void put_done(struct nd_files *f)
{
    if (f->job.rv == 0) {
        nd_files_hold_sum(f, f->job.sum);
        f->room[0] = '\0';
        f->fetch.on = false;
        f->missing_ms = 0;
    } else if (f->job.rv == SY_ECORRUPT) {
        f->fetch.whole = false; /* From the beginning; whose it is looks at it first. */
        f->fetch.verify = true;
        if (++f->fetch.damaged % 2 == 0) {
            f->fetch.tried |= 1U << f->fetch.from;
        }
        ask(f);
    } else {
        if (strcmp(f->room, f->job.eb.text) != 0) {
            snprintf(f->room, sizeof f->room, "%s", f->job.eb.text);
            SY_LOG(&f->n->log, SY_WARN, "files.unkept", KSTR("why", f->room));
        }
        f->fetch.again_ms = nd_now_ms() + ROOM_MS;
        sy_buf_give(&f->job.bytes, &f->fetch.buf);
    }
}

bool nd_files_put_run(struct nd_files *f)
{
    struct nd_files_job *j;

    if (!f->fetch.on || !f->fetch.whole || nd_now_ms() < f->fetch.again_ms) {
        return false;
    }
    j = nd_files_job(f, ND_JOB_PUT, NULL, put_done);
    memcpy(j->sum, f->fetch.sum, sizeof j->sum);
    sy_buf_give(&f->fetch.buf, &j->bytes);
    nd_files_job_begin(f);
    return true;
}

/* --- giving --- */

static void want(struct nd_files *f, uint64_t from, struct sy_cur c)
{
    uint8_t verify = sy_cur_u8(&c);
    uint64_t offset = sy_cur_u64(&c);
    const uint8_t *sum = sy_cur_take(&c, sizeof(nd_sum));

    if (c.bad || c.n != 0 || from > CS_ID_MAX) {
        return;
    }
    f->serve[from].on = true;
    f->serve[from].verify = verify != 0;
    f->serve[from].offset = offset;
    memcpy(f->serve[from].sum, sum, sizeof(nd_sum));
    nd_files_run(f);
}

static void piece_done(struct nd_files *f)
{
    const struct nd_files_job *j = &f->job;
    struct sy_buf b = {0};

    sy_buf_u64(&b, j->offset);
    sy_buf_u64(&b, j->rv == 0 ? j->total : UINT64_MAX);
    sy_buf_put(&b, j->sum, sizeof j->sum);
    if (j->rv == 0) {
        sy_buf_put(&b, j->bytes.p, j->bytes.len);
        f->bytes_out += j->bytes.len;
    } else if (j->rv == SY_ECORRUPT || j->rv == SY_ENOTFOUND) {
        nd_files_drop_sum(f, j->sum);
    }
    (void)nd_replica_send(f->n->replica, j->peer, ND_FRAME_FILES_CHUNK, b.p, b.len);
    sy_buf_free(&b);
}

bool nd_files_serve_run(struct nd_files *f)
{
    for (uint64_t id = 1; id <= CS_ID_MAX; id++) {
        struct nd_files_job *j;

        if (!f->serve[id].on) {
            continue;
        }
        f->serve[id].on = false;
        j = nd_files_job(f, ND_JOB_PIECE, NULL, piece_done);
        j->peer = id;
        j->verify = f->serve[id].verify;
        j->offset = f->serve[id].offset;
        memcpy(j->sum, f->serve[id].sum, sizeof j->sum);
        nd_files_job_begin(f);
        return true;
    }
    return false;
}

/* --- all of it --- */

void nd_files_copy_frame(struct nd_files *f, uint64_t from, uint8_t kind,
                         const uint8_t *p, size_t len)
{
    struct sy_cur c = {.p = p, .n = len};

    if (kind == ND_FRAME_FILES_OFFER) {
        offered(f, from, c);
    } else if (kind == ND_FRAME_FILES_HAVE) {
        nd_files_watch_have(f, from, c);
    } else if (kind == ND_FRAME_FILES_WANT) {
        want(f, from, c);
    } else if (kind == ND_FRAME_FILES_CHUNK) {
        chunk(f, from, c);
    }
    nd_files_copy_tend(f);
}

void nd_files_copy_tend(struct nd_files *f)
{
    uint64_t now = nd_now_ms();

    if (f->job.busy && (f->job.kind == ND_JOB_PUT || f->job.kind == ND_JOB_SWEEP)) {
        return; /* What is here, and what comes next, is known when that is done. */
    }
    if (f->fetch.on && !f->fetch.whole) {
        if (!linked(f->n, f->fetch.from)) {
            ask(f);
        } else if (now >= f->fetch.asked_ms + ANSWER_MS) {
            f->fetch.tried |= 1U << f->fetch.from;
            ask(f);
        }
    } else if (!f->fetch.on && now >= f->missing_ms) {
        f->missing_ms = now + MISSING_MS;
        choose(f);
        if (f->fetch.on) {
            ask(f);
        }
    }
}

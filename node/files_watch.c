/* On watch: a folder that changed is taken as a version, offered to the others, and
 * committed when enough of them have its contents. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/files_impl.h"

enum {
    SETTLE_MS = 2200, /* after a change: files come one after the other */
    AGAIN_MS = 1000,
    TROUBLE_MS = 10000,
    AWAY_MS = 5000,     /* without the other of two */
    LAST_MS = 3000,     /* for what was written before a planned handover */
    PROPOSED_MS = 10000 /* then it was lost on its way */
};

static void trouble(struct nd_folder *d, const char *text)
{
    if (strcmp(d->taking, text) != 0) {
        snprintf(d->taking, sizeof d->taking, "%s", text);
        SY_LOG(&d->f->n->log, SY_WARN, "files.untaken", KSTR("set", d->c.name),
               KSTR("why", text));
    }
}

/* May what is in the folder become a version? */
static bool ours(const struct nd_folder *d)
{
    uint64_t term = nd_files_term(d->f->n);

    return term != 0 && d->settled_term == term && d->start.at == ND_START_OFF &&
           d->settled_last == nd_files_last(d);
}

/* --- events of the file system: a hint, the look at all of it says what is --- */

static void on_event(uv_fs_event_t *e, const char *name, int events, int status)
{
    struct nd_folder *d = e->data;
    uint64_t at = nd_now_ms() + SETTLE_MS;

    (void)events;
    if (status != 0) {
        nd_files_unwatch(d);
    } else if (name == NULL || name[0] != '.') { /* Such as our own mark. */
        d->look_ms = at < d->look_ms ? at : d->look_ms;
    }
}

static void watch(struct nd_folder *d)
{
    if (!d->event_open) {
        if (uv_fs_event_init(d->f->n->loop, &d->event) != 0) {
            return; /* Then the looks at all of it have to do. */
        }
        d->event.data = d;
        d->event_open = true;
        d->f->open_handles++;
    }
    d->watching = uv_fs_event_start(&d->event, on_event, d->c.dir, 0) == 0;
}

void nd_files_unwatch(struct nd_folder *d)
{
    if (d->watching) {
        d->watching = false;
        (void)uv_fs_event_stop(&d->event);
    }
}

/* --- taking --- */

static void failed(struct nd_folder *d, int rv, const char *why)
{
    uint64_t now = nd_now_ms();

    if (rv != SY_EBUSY) {
        d->look_ms = now + TROUBLE_MS;
        trouble(d, why);
        return;
    }
    d->look_ms = now + AGAIN_MS;
    d->torn_ms = d->torn_ms != 0 ? d->torn_ms : now;
    if (now >= d->torn_ms + ND_FILES_TORN_MS) {
        trouble(d, why);
    }
}

/* What was taken is new: is it wanted now? */
static bool is_new(struct nd_folder *d)
{
    const struct rp_files_version *v =
        rp_store_files_version(d->f->n->store, d->c.name, 0);
    uint64_t now = nd_now_ms();

    if (v == NULL) {
        return true;
    }
    if (rp_files_equal(d->list, d->list_n, v->list, v->n)) {
        return false;
    }
    if (d->last_ms == 0 && d->taken_ms != 0 && now < d->taken_ms + ND_FILES_STATE_MS &&
        nd_files_equal_but_state(d->list, d->list_n, v->list, v->n)) {
        d->look_ms = d->taken_ms + ND_FILES_STATE_MS;
        return false;
    }
    return true;
}

static bool seen(struct nd_files *f, struct nd_folder *d)
{
    struct sy_errbuf eb;

    if (f->job.rv != 0) {
        failed(d, f->job.rv, f->job.eb.text);
        return false;
    }
    d->torn_ms = 0;
    d->list_n = nd_files_job_list(f, d->list);
    if (rp_files_ok(d->list, d->list_n, &eb) != 0) {
        failed(d, SY_EINVALID,
               d->list_n == 0 ? "the folder is empty: nothing is kept of it" : eb.text);
        return false;
    }
    d->taking[0] = '\0';
    return true;
}

static void look_done(struct nd_files *f)
{
    struct nd_folder *d = f->job.folder;

    if (ours(d)) {
        d->look_ms = nd_now_ms() + ND_FILES_LOOK_MS;
        d->take = seen(f, d) && is_new(d);
        d->looked = !d->take; /* What cannot be taken now will not be later. */
    }
}

static void take_done(struct nd_files *f)
{
    struct nd_folder *d = f->job.folder;

    d->take = false;
    if (f->job.rv == 0) {
        d->list_n = nd_files_job_list(f, d->list);
        for (unsigned i = 0; i < d->list_n; i++) {
            nd_files_hold_sum(f, d->list[i].sum);
        }
    }
    if (!ours(d) || !seen(f, d)) {
        f->sweep_due = true;
        return;
    }
    d->looked = true;
    if (is_new(d)) {
        memset(&d->offer, 0, sizeof d->offer);
        d->offer.id = ++f->offer_id;
        d->offer.follows = d->settled_last;
        d->offer.began_ms = d->taken_ms = nd_now_ms();
        nd_files_watch_tend(d);
    }
}

bool nd_files_watch_run(struct nd_files *f)
{
    uint64_t now = nd_now_ms();

    for (unsigned i = 0; i < f->list_n; i++) {
        struct nd_folder *d = &f->list[i];
        bool take = d->take;

        if (ours(d) && d->offer.id == 0 && (take || now >= d->look_ms)) {
            struct nd_files_job *j = nd_files_job(f, take ? ND_JOB_TAKE : ND_JOB_LOOK, d,
                                                  take ? take_done : look_done);

            /* Nobody writes any more: it may be as young as it likes. */
            j->now_ms += d->last_ms != 0 ? AD_FILES_STABLE_MS : 0;
            nd_files_job_begin(f);
            return true;
        }
    }
    return false;
}

/* --- offering --- */

static bool away(const struct nd_node *n)
{
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        uint64_t id = n->config.nodes[i].id;

        if (nd_files_full_node(n, id) &&
            ad_peers_linked(nd_replica_peers(n->replica), id)) {
            return false;
        }
    }
    return true;
}

static bool enough(const struct nd_folder *d)
{
    const struct nd_node *n = d->f->n;
    unsigned full = 1, have = 1;

    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        uint64_t id = n->config.nodes[i].id;

        if (nd_files_full_node(n, id)) {
            full++;
            have += (d->offer.have >> id & 1U) != 0;
        }
    }
    return nd_files_enough(full, have,
                           nd_now_ms() >= d->offer.began_ms + AWAY_MS && away(n));
}

static void tend_offer(struct nd_folder *d)
{
    struct nd_node *n = d->f->n;
    uint64_t now = nd_now_ms();

    if (d->offer.proposed_ms != 0) {
        if (now >= d->offer.proposed_ms + PROPOSED_MS) {
            d->offer.id = 0; /* Lost: a look finds out again. */
        }
    } else if (enough(d) && nd_files_older(n) == NULL) {
        d->offer.proposed_ms = now;
        rp_batch_files(nd_replica_batch(n->replica), d->c.name, d->offer.follows, 0,
                       (uint16_t)n->config.id, d->list, d->list_n);
    } else if (now >= d->offer.told_ms + AGAIN_MS) {
        d->offer.told_ms = now;
        nd_files_copy_offer(d);
    }
}

void nd_files_watch_tend(struct nd_folder *d)
{
    if (!ours(d)) {
        d->offer.id = 0;
        d->take = false;
        d->torn_ms = d->last_ms = 0;
        d->taking[0] = '\0';
        nd_files_unwatch(d);
        return;
    }
    if (!d->watching) {
        watch(d);
    }
    if (d->offer.id != 0) {
        tend_offer(d);
    }
}

bool nd_files_last_look(struct nd_node *n)
{
    uint64_t now = nd_now_ms();
    bool done = true;

    for (unsigned i = 0; n->files != NULL && i < n->files->list_n; i++) {
        struct nd_folder *d = &n->files->list[i];

        if (!ours(d)) {
            continue;
        }
        if (d->last_ms == 0) {
            d->last_ms = now;
            d->looked = false;
            d->look_ms = 0;
        }
        done = done && ((d->looked && d->offer.id == 0) || now >= d->last_ms + LAST_MS);
    }
    if (!done) {
        nd_files_run(n->files);
    }
    return done;
}

void nd_files_last_over(struct nd_node *n)
{
    for (unsigned i = 0; n->files != NULL && i < n->files->list_n; i++) {
        n->files->list[i].last_ms = 0;
    }
}

void nd_files_watch_have(struct nd_files *f, uint64_t from, struct sy_cur c)
{
    uint64_t id;

    if (sy_mp_get_array(&c) != 1) {
        return;
    }
    id = sy_mp_get_uint(&c);
    for (unsigned i = 0; !c.bad && id != 0 && i < f->list_n; i++) {
        if (f->list[i].offer.id == id) {
            f->list[i].offer.have |= 1U << from;
            nd_files_watch_tend(&f->list[i]);
        }
    }
}

void nd_files_watch_committed(struct nd_folder *d, const struct rp_files_version *v)
{
    struct nd_files *f = d->f;

    /* What follows the version that we settled on, and is ours, was taken from this
     * folder: also if it took so long that it was given up. */
    if (v != NULL && v->node == f->n->config.id && v->from == 0 &&
        v->nr == d->settled_last + 1 && d->start.at == ND_START_OFF) {
        SY_LOG(&f->n->log, SY_NOTE, "files.taken", KSTR("set", d->c.name),
               KU64("version", v->nr), KU64("files", v->n), KU64("bytes", v->bytes));
        nd_files_is(d, v->nr);
        d->settled_last = v->nr;
    }
    d->offer.id = 0;
    d->start.again_ms = 0;
    d->look_ms = nd_now_ms() + AGAIN_MS; /* It may have changed meanwhile. */
}

/* Before a start: the folder becomes the newest version, or is that already.
 *
 *   look -> (wait for contents) -> (lay out) -> (mark) -> start
 *
 * What could not be done in the end is told, and what is there is started with. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/files_impl.h"

enum {
    TORN_MS = 5000,   /* a file that was written just now, or never to its end */
    FETCH_MS = 20000, /* for contents that are not here */
    AGAIN_MS = 200,
    AGAIN_PLAIN_MS = 10000 /* a set without a resource that could not be laid out */
};

static void say(struct nd_folder *d, const char *text)
{
    snprintf(d->laying, sizeof d->laying, "%s", text);
    d->said_ms = nd_now_ms();
}

/* --- the end --- */

static void end(struct nd_folder *d, bool ok, const char *why)
{
    struct nd_node *n = d->f->n;
    uint64_t now = nd_now_ms();

    d->start.at = ND_START_OFF;
    d->start.again_ms = now + AGAIN_PLAIN_MS;
    d->settled_term = nd_files_term(n);
    d->settled_last =
        ok && (d->based_on != 0 || nd_files_last(d) == 0) ? nd_files_last(d) : UINT64_MAX;
    d->look_ms = now;
    d->last_ms = 0;
    if (!ok) {
        say(d, why);
        SY_LOG(&d->f->n->log, SY_WARN, "files.failed", KSTR("set", d->c.name),
               KSTR("why", d->laying));
    }
    if (d->which >= 0 && !d->start.runs) {
        nd_site_go_on(n, (unsigned)d->which, ok, why);
    }
}

/* Nothing is changed under who uses it, and a folder that is not the newest is not
 * taken for that. */
static void leave(struct nd_folder *d)
{
    d->start.at = ND_START_OFF;
    d->start.again_ms = nd_now_ms() + AGAIN_PLAIN_MS;
}

/* The folder says what it is before anything in it may change. */
static void mark(struct nd_folder *d)
{
    d->start.at = ND_START_MARK;
}

static void mark_done(struct nd_files *f)
{
    struct nd_folder *d = f->job.folder;

    d->mark_due = f->job.rv != 0;
    d->marked = f->job.rv == 0 ? strtoull(f->job.mark, NULL, 10) : d->marked;
    d->mark_again_ms = nd_now_ms() + AGAIN_PLAIN_MS;
    if (f->job.rv != 0) {
        say(d, f->job.eb.text);
        SY_LOG(&d->f->n->log, SY_WARN, "files.unmarked", KSTR("set", d->c.name),
               KSTR("why", d->laying));
    }
    if (d->start.at == ND_START_MARK) {
        end(d, true, "");
    }
}

static bool run_mark(struct nd_folder *d)
{
    const struct rp_files_version *v =
        d->mark_due && d->based_on != 0
            ? rp_store_files_version(d->f->n->store, d->c.name, d->based_on)
            : NULL;
    struct nd_files_job *j;

    if (v == NULL) {
        d->mark_due = false;
        if (d->start.at == ND_START_MARK) {
            end(d, true, "");
        }
        return false;
    }
    j = nd_files_job(d->f, ND_JOB_MARK, d, mark_done);
    nd_files_mark_text(v, j->mark);
    nd_files_job_begin(d->f);
    return true;
}

/* --- deciding --- */

static void decide(struct nd_folder *d)
{
    struct nd_node *n = d->f->n;
    struct nd_files_case *c = &d->start.c;

    c->newest = nd_files_last(d);
    c->complete = nd_files_whole(d->f, d->c.name);
    c->waited = nd_now_ms() >= d->start.began_ms + FETCH_MS;
    d->start.what = nd_files_decide(c, &d->start.version);
    if (d->start.runs && d->start.what != ND_FILES_TAKE &&
        (d->start.what != ND_FILES_START || d->start.version != c->newest)) {
        leave(d);
        return;
    }
    switch (d->start.what) {
    case ND_FILES_START:
        if (c->newest != 0 && d->start.version != c->newest) {
            say(d,
                "it is started with an older version: the contents of the newest are on "
                "no node that can be reached");
            SY_LOG(&d->f->n->log, SY_WARN, "files.old", KSTR("set", d->c.name),
                   KSTR("why", d->laying));
        }
        if (c->newest != 0) {
            nd_files_is(d, d->start.version);
        }
        mark(d);
        break;
    case ND_FILES_TAKE: /* By the look that follows each start. */
        SY_LOG(&n->log, SY_NOTE, "files.behind", KSTR("set", d->c.name),
               KU64("version", c->based_on));
        nd_files_is(d, c->newest);
        mark(d);
        break;
    case ND_FILES_WAIT:
        d->start.at = ND_START_WAIT;
        d->start.again_ms = nd_now_ms() + AGAIN_MS;
        break;
    case ND_FILES_LAY:
    case ND_FILES_ASIDE:
        d->start.at = ND_START_LAY;
        break;
    }
}

/* --- laying out --- */

static void lay_done(struct nd_files *f)
{
    struct nd_folder *d = f->job.folder;
    const struct nd_files_case *c = &d->start.c;
    char text[ND_FILES_WHY_SIZE + 64];

    nd_files_unwatch(d); /* Another folder has its name now. */
    for (size_t i = 0; i < f->job.found_n; i++) {
        nd_files_drop_sum(f, f->job.found[i]);
        f->missing_ms = 0;
    }
    if (d->start.at != ND_START_LAY) {
        return;
    }
    if (f->job.rv != 0 && f->job.found_n > 0) {
        SY_LOG(&f->n->log, SY_WARN, "files.damaged", KSTR("set", d->c.name),
               KSTR("why", f->job.eb.text));
        decide(d); /* They are copied anew. */
        return;
    }
    if (f->job.rv != 0) {
        end(d, false, f->job.eb.text);
        return;
    }
    d->based_on = d->marked = d->start.version;
    d->mark_due = false;
    SY_LOG(&f->n->log, SY_NOTE, "files.laid", KSTR("set", d->c.name),
           KU64("version", d->start.version));
    if (d->start.what == ND_FILES_ASIDE) {
        f->asides++;
        snprintf(text, sizeof text,
                 "%s was changed in a way that no other node has, or half written: it is "
                 "in %s now, and version %" PRIu64 " in its place",
                 d->c.dir, f->job.aside, d->start.version);
        say(d, text);
        SY_LOG(&d->f->n->log, SY_WARN, "files.aside", KSTR("set", d->c.name),
               KSTR("why", d->laying));
    } else if (d->start.version != c->newest) {
        snprintf(text, sizeof text,
                 "version %" PRIu64 " of %.95s was laid out: the contents of %" PRIu64
                 " are on no node that can be reached",
                 d->start.version, d->c.name, c->newest);
        say(d, text);
        SY_LOG(&d->f->n->log, SY_WARN, "files.old", KSTR("set", d->c.name),
               KSTR("why", d->laying));
    }
    end(d, true, "");
}

static bool run_lay(struct nd_folder *d)
{
    const struct rp_files_version *v =
        rp_store_files_version(d->f->n->store, d->c.name, d->start.version);
    struct nd_files_job *j;
    time_t now = (time_t)(nd_wall_ms() / 1000);
    struct tm tm;
    char stamp[32];

    if (v == NULL) { /* It is not kept any more: there are newer ones. */
        d->start.at = ND_START_LOOK;
        return false;
    }
    j = nd_files_job(d->f, ND_JOB_LAY, d, lay_done);
    nd_files_job_lay(d->f, v);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
    snprintf(j->end, sizeof j->end, "%s-%s",
             d->start.what == ND_FILES_ASIDE ? "aside" : "old", stamp);
    nd_files_job_begin(d->f);
    return true;
}

/* What the folder's mark says, if there was such a version. */
static uint64_t marked(const struct nd_folder *d, const char *text)
{
    char *end;
    uint64_t nr = strtoull(text, &end, 10), at_ms = strtoull(end, NULL, 10);
    const struct rp_files_version *v =
        nr != 0 ? rp_store_files_version(d->f->n->store, d->c.name, nr) : NULL;

    if (v == NULL) {
        return nr < nd_files_last(d) ? nr : 0; /* Long ago; or of another cluster. */
    }
    return v->at_ms == at_ms ? nr : 0;
}

static void look_done(struct nd_files *f)
{
    struct nd_folder *d = f->job.folder;
    struct nd_files_case *c = &d->start.c;
    struct rp_store *s = f->n->store;
    uint64_t now = nd_now_ms();
    int rv = f->job.rv;

    if (d->start.at != ND_START_LOOK) {
        return;
    }
    if (rv == SY_EBUSY && now < d->start.began_ms + TORN_MS) {
        d->start.again_ms = now + AGAIN_MS;
        return;
    }
    d->marked = marked(d, f->job.mark);
    *c = (struct nd_files_case){.based_on = d->marked};
    c->ours_since = c->based_on != 0 &&
                    nd_files_ours_since(s, d->c.name, c->based_on, f->n->config.id);
    c->folder = rv == 0 && f->job.files->n == 0 ? ND_FOLDER_NONE
                : rv == 0                       ? ND_FOLDER_WHOLE
                : rv == -ENOENT                 ? ND_FOLDER_NONE
                : rv == SY_EBUSY                ? ND_FOLDER_TORN
                                                : ND_FOLDER_ODD;
    if (c->folder == ND_FOLDER_WHOLE) {
        d->list_n = nd_files_job_list(f, d->list);
        c->equals = nd_files_which(s, d->c.name, d->list, d->list_n, false);
        if (c->equals == 0 && c->based_on != nd_files_last(d)) {
            c->equals = nd_files_which(s, d->c.name, d->list, d->list_n, true);
        }
    } else if (rv != 0 && rv != -ENOENT) {
        SY_LOG(&f->n->log, SY_WARN, "files.torn", KSTR("set", d->c.name),
               KSTR("why", f->job.eb.text));
    }
    decide(d);
}

/* --- by time --- */

static void begin(struct nd_folder *d, bool used)
{
    d->start.runs = used;
    d->used_term = used ? nd_files_term(d->f->n) : 0;
    d->laying[0] = '\0';
    d->offer.id = 0;
    d->start.at = ND_START_LOOK;
    d->start.began_ms = nd_now_ms();
    d->start.again_ms = 0;
}

void nd_files_before(struct nd_node *n, unsigned which)
{
    for (unsigned i = 0; n->files != NULL && i < n->files->list_n; i++) {
        struct nd_folder *d = &n->files->list[i];

        if (d->which == (int)which) {
            begin(d, false);
            nd_files_run(n->files);
            return;
        }
    }
    nd_site_go_on(n, which, true, "");
}

/* Still wanted? */
static bool wanted(const struct nd_folder *d)
{
    const struct nd_node *n = d->f->n;

    if (d->which < 0 || d->start.runs) {
        return nd_files_term(n) != 0;
    }
    return n->site.parts[d->which].before_until_ms != 0;
}

bool nd_files_used(const struct nd_folder *d)
{
    const struct nd_node *n = d->f->n;
    const struct cs_resources *m = &n->site.m;
    bool any;

    if (d->which >= 0) {
        return m->list[d->which].state == CS_RES_RUNNING;
    }
    if (d->settled_term != 0) {
        return false;
    }
    /* Also while they are started again. */
    any = d->used_term != 0 && d->used_term == nd_files_term(n);
    for (unsigned i = 0; i < m->n; i++) {
        any = any || m->list[i].state == CS_RES_RUNNING;
    }
    return any;
}

/* Nobody asks before a start: of a set that no resource has, or for who runs already. */
static bool due(const struct nd_folder *d)
{
    uint64_t term = nd_files_term(d->f->n);

    if (d->start.at != ND_START_OFF || term == 0 || nd_now_ms() < d->start.again_ms ||
        d->f->n->site.stay.on || /* It is not known yet what runs. */
        (d->which >= 0 ? !nd_files_used(d) : d->c.area >= 0)) {
        return false;
    }
    return d->settled_term != term ||
           (d->which < 0 && d->settled_last != nd_files_last(d));
}

static void tend(struct nd_folder *d)
{
    if (d->start.at != ND_START_OFF && !wanted(d)) {
        d->start.at = ND_START_OFF;
    }
    if (due(d)) {
        begin(d, nd_files_used(d));
    }
    if (d->start.at == ND_START_WAIT && nd_now_ms() >= d->start.again_ms) {
        decide(d);
    }
}

void nd_files_start_tend(struct nd_files *f)
{
    for (unsigned i = 0; i < f->list_n; i++) {
        tend(&f->list[i]);
    }
}

static bool run(struct nd_folder *d)
{
    uint64_t now = nd_now_ms();

    switch (d->start.at) {
    case ND_START_LOOK:
        if (now < d->start.again_ms) {
            return false;
        }
        (void)nd_files_job(d->f, ND_JOB_LOOK, d, look_done);
        nd_files_job_begin(d->f);
        return true;
    case ND_START_LAY:
        return run_lay(d);
    case ND_START_MARK:
        return run_mark(d);
    case ND_START_OFF:
        return d->mark_due && now >= d->mark_again_ms && run_mark(d);
    case ND_START_WAIT:
        break;
    }
    return false;
}

bool nd_files_start_run(struct nd_files *f)
{
    for (unsigned i = 0; i < f->list_n; i++) {
        if (run(&f->list[i])) {
            return true;
        }
    }
    return false;
}

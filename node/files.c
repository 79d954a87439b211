/* Folders that move with the watch (files.h): what there is, and what is told of it. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "node/files_impl.h"

static const uint64_t store_bytes_max = 1024ULL * 1024 * 1024;

enum {
    SWEEP_MS = 10000,   /* behind a change */
    YOUNG_MS = 60000,   /* before, who has just begun may not know all there is */
    LAYING_MS = 3600000 /* that long it is told what became of the last start */
};

void nd_files_path(const struct nd_config *c, char to[ND_FILES_PATH_SIZE])
{
    snprintf(to, ND_FILES_PATH_SIZE, "%s/files", c->data_dir);
}

uint64_t nd_files_term(const struct nd_node *n)
{
    enum cs_watch_state state = cs_watch_state(&n->watch);

    return (state == CS_RAMPING || state == CS_ACTIVE) && !n->closing && !n->diverged
               ? cs_watch_term(&n->watch)
               : 0;
}

uint64_t nd_files_last(const struct nd_folder *d)
{
    const struct rp_files_set *is = rp_store_files_set(d->f->n->store, d->c.name);

    return is != NULL ? is->last : 0;
}

void nd_files_is(struct nd_folder *d, uint64_t nr)
{
    d->based_on = nr;
    d->mark_due = d->marked != nr;
    d->mark_again_ms = 0;
}

/* --- what goes --- */

static void want_list(struct nd_files_job *j, const struct rp_file *list, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        nd_files_want(j, list[i].sum);
    }
}

static void sweep_done(struct nd_files *f)
{
    if (f->job.rv == 0) {
        nd_files_found(f);
        f->missing_ms = 0;
    } else {
        f->sweep_due = true;
        f->sweep_ms = nd_now_ms() + SWEEP_MS;
    }
}

/* Only who knows all that is committed knows what is not wanted. */
static bool sweep_run(struct nd_files *f)
{
    const struct cs_core *core = nd_replica_core(f->n->replica);
    const struct rp_store *s = f->n->store;
    uint64_t now = nd_now_ms();
    struct nd_files_job *j;

    if (!f->sweep_due || now < f->sweep_ms || now < f->n->started_ms + YOUNG_MS ||
        cs_core_leader(core) == 0 || rp_store_index(s) < cs_core_committed(core)) {
        return false;
    }
    j = nd_files_job(f, ND_JOB_SWEEP, NULL, sweep_done);
    for (uint32_t i = 0; i < rp_store_files(s); i++) {
        const struct rp_files_set *set = rp_store_files_at(s, i);

        for (uint32_t k = 0; k < set->kept; k++) {
            const struct rp_files_version *v =
                rp_store_files_version(s, set->name, set->last - k);

            want_list(j, v->list, v->n);
        }
    }
    for (unsigned i = 0; i < f->list_n; i++) {
        const struct nd_folder *d = &f->list[i];

        want_list(j, d->list, d->offer.id != 0 ? d->list_n : 0);
        want_list(j, d->theirs.list, d->theirs.id != 0 ? d->theirs.n : 0);
    }
    f->sweep_due = false;
    nd_files_job_begin(f);
    return true;
}

/* --- reading for operators --- */

void nd_files_read(struct nd_node *n, const uint8_t sum[RP_FILES_SUM_LEN],
                   nd_files_read_cb cb, void *data)
{
    struct nd_files *f = n->files;
    unsigned at;

    if (f == NULL || !f->opened || f->reads_n == ND_FILES_READS_MAX) {
        struct sy_buf none = {0};

        cb(data, SY_EBUSY, &none,
           f == NULL ? "this node keeps no files" : "too much is being read: try again");
        return;
    }
    at = (f->reads_at + f->reads_n++) % ND_FILES_READS_MAX;
    f->reads[at].cb = cb;
    f->reads[at].data = data;
    memcpy(f->reads[at].sum, sum, sizeof(nd_sum));
    nd_files_run(f);
}

static void read_done(struct nd_files *f)
{
    unsigned at = f->reads_at;

    f->reads_at = (at + 1) % ND_FILES_READS_MAX;
    f->reads_n--;
    if (f->job.rv == SY_ECORRUPT || f->job.rv == SY_ENOTFOUND) {
        nd_files_drop_sum(f, f->job.sum);
        f->missing_ms = 0;
    }
    f->reads[at].cb(f->reads[at].data, f->job.rv, &f->job.bytes, f->job.eb.text);
}

static bool read_run(struct nd_files *f)
{
    struct nd_files_job *j;

    if (f->reads_n == 0) {
        return false;
    }
    j = nd_files_job(f, ND_JOB_READ, NULL, read_done);
    memcpy(j->sum, f->reads[f->reads_at].sum, sizeof j->sum);
    nd_files_job_begin(f);
    return true;
}

void nd_files_run(struct nd_files *f)
{
    if (f->opened && !f->closing && !f->job.busy) {
        (void)(nd_files_start_run(f) || nd_files_serve_run(f) || read_run(f) ||
               nd_files_put_run(f) || nd_files_watch_run(f) || sweep_run(f));
    }
}

/* --- life --- */

void nd_files_init(struct nd_node *n)
{
    struct nd_files *f;
    struct nd_set set;
    unsigned count = 0;

    while (nd_set_at(&n->config, count, &set)) {
        count++;
    }
    if (count == 0 || nd_config_self(&n->config)->witness) {
        return;
    }
    f = n->files = sy_calloc(1, sizeof *f);
    f->n = n;
    f->list = sy_calloc(count, sizeof *f->list);
    f->list_n = count;
    f->job.files = sy_calloc(1, sizeof *f->job.files);
    for (unsigned i = 0; i < count; i++) {
        struct nd_folder *d = &f->list[i];

        (void)nd_set_at(&n->config, i, &d->c);
        d->f = f;
        d->list = sy_calloc(RP_FILES_MAX, sizeof *d->list);
        d->which = d->c.area >= 0 ? nd_site_find(n, d->c.name) : -1;
        d->settled_last = UINT64_MAX;
        if (d->which >= 0) {
            nd_site_before_all(n, (unsigned)d->which, nd_files_before);
        }
    }
}

/* Better known now than when it must be laid out. */
static void look_at_parent(struct nd_folder *d)
{
    char parent[ND_PATH_SIZE], *real = realpath(d->c.dir, NULL);
    size_t n;

    snprintf(parent, sizeof parent, "%s", real != NULL ? real : d->c.dir);
    free(real);
    n = strlen(parent);
    while (n > 1 && parent[n - 1] == '/') {
        n--;
    }
    while (n > 1 && parent[n - 1] != '/') {
        n--;
    }
    parent[n] = '\0';
    if (access(parent, W_OK | X_OK) != 0) {
        snprintf(d->barred, sizeof d->barred,
                 "could not lay out %.90s: it may not write to %.90s (rights, or "
                 "ReadWritePaths= of its unit)",
                 d->c.dir, parent);
    }
}

static bool is_here(void *data, const char *hex)
{
    nd_sum sum;

    if (rp_files_sum(hex, sum)) {
        nd_files_hold_sum(data, sum);
    }
    return true;
}

int nd_files_open(struct nd_node *n, struct sy_errbuf *eb)
{
    struct nd_files *f = n->files;
    char path[ND_FILES_PATH_SIZE];
    int rv;

    if (f == NULL) {
        return 0;
    }
    nd_files_path(&n->config, path);
    rv = ad_files_open(&f->store, path, store_bytes_max, eb);
    if (rv == 0) {
        rv = ad_files_sweep(&f->store, is_here, f);
    }
    if (rv != 0) {
        return rv;
    }
    for (unsigned i = 0; i < f->list_n; i++) {
        look_at_parent(&f->list[i]);
    }
    f->bytes = f->store.bytes;
    f->offer_id = nd_node_random(n) >> 1; /* None of an earlier life. */
    f->opened = true;
    f->sweep_due = true;
    return 0;
}

void nd_files_free(struct nd_files *f)
{
    if (f->open_handles > 0) {
        return;
    }
    for (unsigned i = 0; i < f->list_n; i++) {
        sy_free(f->list[i].list);
        sy_free(f->list[i].theirs.list);
    }
    sy_buf_free(&f->fetch.buf);
    sy_buf_free(&f->job.bytes);
    sy_free(f->job.files);
    sy_free(f->job.sums);
    sy_free(f->job.found);
    sy_free(f->held);
    sy_free(f->list);
    sy_free(f);
}

static void event_closed(uv_handle_t *handle)
{
    struct nd_folder *d = handle->data;

    d->f->open_handles--;
    nd_files_free(d->f);
}

void nd_files_close(struct nd_node *n)
{
    struct nd_files *f = n->files;

    if (f == NULL) {
        return;
    }
    n->files = NULL;
    f->closing = true;
    for (unsigned i = 0; i < f->list_n; i++) {
        if (f->list[i].event_open) {
            uv_close((uv_handle_t *)&f->list[i].event, event_closed);
        }
    }
    for (; f->reads_n > 0; f->reads_n--) {
        unsigned at = f->reads_at;
        struct sy_buf none = {0};

        f->reads_at = (at + 1) % ND_FILES_READS_MAX;
        f->reads[at].cb(f->reads[at].data, UV_ECANCELED, &none, "the node stops");
    }
    nd_files_free(f);
}

void nd_files_tend(struct nd_node *n)
{
    struct nd_files *f = n->files;

    if (f == NULL) {
        return;
    }
    nd_files_start_tend(f);
    for (unsigned i = 0; i < f->list_n; i++) {
        nd_files_watch_tend(&f->list[i]);
    }
    nd_files_copy_tend(f);
    nd_files_run(f);
}

void nd_files_event(struct nd_node *n, const struct rp_event *ev)
{
    struct nd_files *f = n->files;

    if (f == NULL || !f->opened || ev->kind != RP_EV_FILES) {
        return; /* Who leads alone applies its log while it is opened. */
    }
    f->missing_ms = 0;
    f->sweep_due = true;
    f->sweep_ms = nd_now_ms() + SWEEP_MS;
    for (unsigned i = 0; i < f->list_n; i++) {
        struct nd_folder *d = &f->list[i];

        if (strcmp(d->c.name, ev->files->name) == 0) {
            d->theirs.id = 0;
            nd_files_watch_committed(
                d, rp_store_files_version(n->store, ev->files->name, 0));
        }
    }
}

void nd_files_frame(struct nd_node *n, uint64_t from, uint8_t kind, const uint8_t *p,
                    size_t len)
{
    if (n->files != NULL && n->files->opened && nd_files_full_node(n, from)) {
        nd_files_copy_frame(n->files, from, kind, p, len);
    }
}

bool nd_files_hold(struct nd_node *n, char *why, size_t size)
{
    uint64_t term = nd_files_term(n);

    if (n->site.stay.on) {
        return false; /* First it is found out what runs. */
    }
    for (unsigned i = 0; n->files != NULL && i < n->files->list_n; i++) {
        const struct nd_folder *d = &n->files->list[i];

        if (d->c.area < 0 && d->settled_term != term && !nd_files_used(d)) {
            snprintf(why, size, "%s is being laid out", d->c.dir);
            return true;
        }
    }
    return false;
}

/* --- what is told --- */

static const char *laying(const struct nd_folder *d)
{
    return nd_now_ms() < d->said_ms + LAYING_MS ? d->laying : "";
}

bool nd_files_view(struct nd_node *n, unsigned i, struct nd_files_view *ret)
{
    const struct nd_folder *d;
    const struct rp_files_version *v;

    memset(ret, 0, sizeof *ret);
    if (n->files == NULL || i >= n->files->list_n) {
        return false;
    }
    d = &n->files->list[i];
    v = rp_store_files_version(n->store, d->c.name, 0);
    ret->complete = nd_files_whole(n->files, d->c.name);
    ret->missing = v != NULL ? nd_files_lacks(n->files, v->list, v->n) : 0;
    ret->based_on = d->based_on;
    snprintf(ret->taking, sizeof ret->taking, "%s", d->taking);
    snprintf(ret->laying, sizeof ret->laying, "%s", laying(d));
    return true;
}

bool nd_files_has(struct nd_node *n, const uint8_t sum[RP_FILES_SUM_LEN])
{
    return n->files != NULL && nd_files_held(n->files, sum);
}

uint64_t nd_files_bytes(struct nd_node *n)
{
    return n->files != NULL ? n->files->bytes : 0;
}

uint64_t nd_files_asides(struct nd_node *n)
{
    return n->files != NULL ? n->files->asides : 0;
}

/* What is wrong here: one sentence, the rest when that is mended. */
static void ails(const struct nd_files *f, char *to, size_t size)
{
    to[0] = '\0';
    if (f->room[0] != '\0') {
        snprintf(to, size,
                 "cannot keep copies of bridge data: %.200s; goes on when there is room",
                 f->room);
    }
    for (unsigned i = 0; to[0] == '\0' && i < f->list_n; i++) {
        const struct nd_folder *d = &f->list[i];

        if (d->barred[0] != '\0') {
            snprintf(to, size, "%s", d->barred);
        } else if (d->taking[0] != '\0') {
            snprintf(to, size, "takes no version of %.48s: %.200s", d->c.name, d->taking);
        } else if (laying(d)[0] != '\0') {
            snprintf(to, size, "started %.48s so: %.220s", d->c.name, d->laying);
        }
    }
}

void nd_files_put_node(struct nd_node *n, struct sy_buf *b)
{
    const struct nd_files *f = n->files;
    char text[300] = "";

    sy_mp_str(b, "files");
    sy_mp_map(b, f != NULL ? f->list_n : 0);
    for (unsigned i = 0; f != NULL && i < f->list_n; i++) {
        sy_mp_kuint(b, f->list[i].c.name, nd_files_whole(f, f->list[i].c.name));
    }
    if (f != NULL) {
        ails(f, text, sizeof text);
    }
    sy_mp_kstr(b, "files_ails", text);
}

uint64_t nd_files_complete(struct sy_cur node_map, const char *set)
{
    return nd_map_find(&node_map, "files") ? nd_map_uint(node_map, set, 0) : 0;
}

void nd_files_issues(struct nd_node *n,
                     void (*tell)(void *data, bool error, const char *text), void *data)
{
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        const struct nd_config_node *c = &n->config.nodes[i];
        char text[300], all[400];
        struct sy_cur map;
        uint64_t age;

        if (nd_status_node_map(n, c->id, &map, &age)) {
            nd_map_str(map, "files_ails", text, sizeof text);
            if (text[0] != '\0') {
                snprintf(all, sizeof all, "%.40s %s", c->name, text);
                tell(data, false, all);
            }
        }
    }
}

/* The data folder that a backup becomes: a log that begins with its state. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "adapters/wal/wal.h"
#include "base/mem.h"
#include "node/bundle.h"
#include "node/reform.h"

static int run_job(struct ad_wal *w, struct ad_wal_job *job, struct sy_errbuf *eb)
{
    int rv = job != NULL ? ad_wal_job_run(job, eb) : 0;

    if (job != NULL && rv == 0) {
        ad_wal_job_done(w, job);
    }
    return rv;
}

/* The state as a snapshot that came in: what the log is then replaced by. */
static int put_incoming(const struct ad_wal_fs *fs, const struct nd_bundle *b,
                        const struct cs_snapshot_meta *meta, struct sy_errbuf *eb)
{
    const struct nd_bundle_member *state = nd_bundle_find(b, "state.snapshot");
    struct ad_wal_snap_writer *w = NULL;
    char snap[AD_WAL_NAME_MAX], incoming[AD_WAL_NAME_MAX + 8];
    int rv = ad_wal_snap_create(fs, meta, &w, eb);

    if (rv != 0) {
        return rv;
    }
    rv = ad_wal_snap_write(w, state->p, state->n);
    if (rv != 0) {
        ad_wal_snap_abort(&w);
        return sy_fail(eb, rv, "cannot write the snapshot: %s", sy_err_text(rv));
    }
    rv = ad_wal_snap_commit(&w, eb);
    if (rv == 0) {
        ad_wal_snap_name(snap, meta->index, meta->term);
        snprintf(incoming, sizeof incoming, "incoming%s", strchr(snap, '-'));
        rv = fs->rename(fs->ctx, snap, incoming);
        rv = rv == 0 ? fs->sync_dir(fs->ctx) : rv;
        (void)sy_fail(eb, rv, "cannot rename the snapshot: %s", sy_err_text(rv));
    }
    return rv;
}

static int install(const struct ad_wal_fs *fs, struct ad_wal *w,
                   const struct nd_bundle *b, uint64_t self, struct sy_errbuf *eb)
{
    struct cs_entry conf;
    struct cs_snapshot_meta meta = {
        .index = b->meta.index, .term = b->meta.term, .conf_index = b->meta.index};
    struct cs_store_op op = {.install = &meta,
                             .has_vote = true,
                             .term = b->meta.term,
                             .first = meta.index + 1};
    int rv;

    cs_core_bootstrap(&self, 1, &conf);
    sy_buf_put(&meta.conf, conf.data, conf.len);
    sy_free(conf.data);
    rv = put_incoming(fs, b, &meta, eb);
    if (rv == 0) {
        rv = run_job(w, ad_wal_store(w, &op), eb);
    }
    if (rv == 0) {
        rv = run_job(w, ad_wal_fence(w), eb);
    }
    sy_buf_free(&meta.conf);
    return rv;
}

int nd_bundle_restore(const struct nd_bundle *b, const char *dir, uint64_t self,
                      struct sy_errbuf *eb)
{
    struct nd_log_look past = {.id = self, .term = b->meta.term};
    char identity[AD_WAL_NAME_MAX * 2];
    struct ad_wal_config config;
    struct cs_core_boot boot = {0};
    struct ad_wal_fs fs;
    struct ad_wal *w = NULL;
    uint64_t epoch;
    int rv = nd_log_empty(dir, b->meta.cluster, self, eb);

    /* First, so that a log never begins with a state whose files are not there. */
    if (rv == 0) {
        rv = nd_bundle_restore_files(b, dir, eb);
    }
    if (rv == 0) {
        rv = ad_wal_disk_open(&fs, dir, eb);
    }
    if (rv != 0) {
        return rv;
    }
    ad_wal_config_default(&config);
    snprintf(identity, sizeof identity, "%s/%" PRIu64, b->meta.cluster, self);
    rv = ad_wal_open(&w, &fs, &config, identity, &boot, eb);
    if (rv == 0) {
        rv = install(&fs, w, b, self, eb);
        ad_wal_close(&w);
    }
    ad_wal_disk_close(&fs);
    sy_free(boot.entries);
    sy_buf_free(&boot.snapshot.conf);
    for (unsigned i = 0; i < b->meta.members_n; i++) {
        past.members[past.members_n++] = b->meta.members[i];
    }
    return rv == 0 ? nd_recover(dir, &past, b->meta.term, &epoch, eb) : rv;
}

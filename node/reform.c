#include "node/reform.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "adapters/wal/files.h"
#include "adapters/wal/scan.h"
#include "adapters/wal/wal.h"
#include "base/mem.h"
#include "base/mp.h"
#include "replication/batch.h"

enum {
    IDENTITY_SIZE = AD_WAL_IDENTITY_MAX + 1,
    /* Far above what elections reach: a node that was left behind never gets a term that
     * the fence in Postgres, or a member, would take for the newer one. */
    EPOCH_TERMS = 1000000
};

#define ARCHIVE "raft.archived-"
#define LEFT_BEHIND "left-behind"

enum { ARCHIVE_NAMES_MAX = 1000 /* of one label; then they share the last */ };

/* --- looking --- */

static int open_folder(const char *dir, struct ad_wal_fs *fs, struct sy_errbuf *eb)
{
    struct sy_errbuf why = {.text = ""};
    int rv = ad_wal_disk_take(fs, dir, &why);

    if (rv == SY_EBUSY) {
        return sy_fail(eb, rv, "%.200s: its vagtd runs; stop it first", dir);
    }
    return rv < 0 ? sy_fail(eb, rv, "%.200s: %.200s", dir, why.text) : 0;
}

/* "cluster/id" */
static int parse_identity(const char *identity, struct nd_log_look *l,
                          struct sy_errbuf *eb)
{
    const char *slash = strrchr(identity, '/');
    size_t n = slash != NULL ? (size_t)(slash - identity) : 0;

    if (slash == NULL || n >= sizeof l->cluster) {
        return sy_fail(eb, SY_ECORRUPT, "identity: '%.100s' is not CLUSTER/NODE",
                       identity);
    }
    memcpy(l->cluster, identity, n);
    l->cluster[n] = '\0';
    l->id = strtoull(slash + 1, NULL, 10);
    return l->id > 0 && l->id <= CS_ID_MAX
               ? 0
               : sy_fail(eb, SY_ECORRUPT, "identity: node %.20s is none", slash + 1);
}

static int read_identity(const struct ad_wal_fs *fs, char identity[IDENTITY_SIZE],
                         struct nd_log_look *l, struct sy_errbuf *eb)
{
    int rv = ad_wal_identity_read(fs, identity, eb);

    return rv == 0 ? parse_identity(identity, l, eb) : rv;
}

static int take_members(struct nd_log_look *l, const uint8_t *p, size_t n,
                        struct sy_errbuf *eb)
{
    struct raft_configuration conf;
    struct raft_buffer b = {.base = (void *)(uintptr_t)p, .len = n};

    if (n == 0) {
        return 0;
    }
    if (raft_configuration_decode(&b, &conf) != 0 || conf.n > CS_MEMBERS_MAX) {
        return sy_fail(eb, SY_ECORRUPT, "the log's newest configuration is malformed");
    }
    l->members_n = conf.n;
    for (unsigned i = 0; i < conf.n; i++) {
        l->members[i] = conf.servers[i].id;
        l->voter[i] = conf.servers[i].role == RAFT_VOTER;
    }
    raft_configuration_close(&conf);
    return 0;
}

/* The time in a sealed batch (replication/batch.h); 0: there is none. */
static uint64_t time_of(const struct cs_entry *e)
{
    struct sy_cur c = {.p = e->data, .n = e->len};
    uint64_t version, kind, at_ms;

    if (e->type != RAFT_COMMAND || sy_mp_get_array(&c) < 3) {
        return 0;
    }
    version = sy_mp_get_uint(&c);
    kind = sy_mp_get_uint(&c);
    at_ms = sy_mp_get_uint(&c);
    return c.bad || version == 0 || kind != RP_KIND_BATCH ? 0 : at_ms;
}

static int look_at(struct nd_log_look *l, uint64_t term,
                   const struct cs_snapshot_meta *snap, uint64_t first, size_t n,
                   const struct cs_entry *entries, struct sy_errbuf *eb)
{
    const uint8_t *conf = snap->index > 0 ? snap->conf.p : NULL;
    size_t conf_len = snap->index > 0 ? snap->conf.len : 0;

    l->term = term;
    l->snapshot = snap->index;
    l->snapshot_term = snap->term;
    l->last = n > 0 ? first + n - 1 : snap->index;
    l->last_term = n > 0 ? entries[n - 1].term : snap->term;
    for (size_t i = 0; i < n; i++) {
        uint64_t at_ms = time_of(&entries[i]);

        l->last_at_ms = at_ms > l->last_at_ms ? at_ms : l->last_at_ms;
        if (entries[i].type == RAFT_CHANGE && first + i > snap->conf_index) {
            conf = entries[i].data;
            conf_len = entries[i].len;
        }
    }
    return take_members(l, conf, conf_len, eb);
}

int nd_log_look(const char *dir, struct nd_log_look *ret, struct sy_errbuf *eb)
{
    char identity[IDENTITY_SIZE];
    struct ad_wal_fs fs;
    struct ad_wal_scan s;
    int rv = open_folder(dir, &fs, eb);

    *ret = (struct nd_log_look){.id = 0};
    if (rv < 0) {
        return rv;
    }
    rv = read_identity(&fs, identity, ret, eb);
    if (rv == 0) {
        rv = ad_wal_scan(&s, &fs, identity, eb);
        if (rv == 0) {
            rv = look_at(ret, s.state.term, &s.snapshot, s.first, s.n, s.entries, eb);
        }
        ad_wal_scan_free(&s);
    }
    ad_wal_disk_close(&fs);
    return rv == -ENOENT ? sy_fail(eb, SY_ENOTFOUND, "%.200s: there is no log", dir) : rv;
}

/* --- re-forming --- */

static bool is_alone(const struct nd_log_look *l)
{
    return l->members_n == 1 && l->members[0] == l->id && l->voter[0];
}

/* Does the log end as it would after this? */
static bool is_done(const struct nd_log_look *l, const struct nd_reform *how,
                    const struct cs_core_boot *b)
{
    size_t tail = how->command != NULL ? 2 : 1;
    const struct cs_entry *last;

    if (!is_alone(l) || l->last_term <= how->min_term || b->n < tail ||
        b->entries[b->n - tail].type != RAFT_CHANGE) {
        return false;
    }
    last = &b->entries[b->n - 1];
    return how->command == NULL ||
           (last->type == RAFT_COMMAND && last->len == how->command_len &&
            memcmp(last->data, how->command, last->len) == 0);
}

static int run_job(struct ad_wal *w, struct ad_wal_job *job, struct sy_errbuf *eb)
{
    int rv = job != NULL ? ad_wal_job_run(job, eb) : 0;

    if (job != NULL && rv == 0) {
        ad_wal_job_done(w, job);
    }
    return rv;
}

static int append(struct ad_wal *w, const struct nd_reform *how, struct nd_log_look *l,
                  struct sy_errbuf *eb)
{
    struct cs_entry e[2];
    struct cs_store_op op = {
        .has_vote = true, .voted_for = how->self, .first = l->last + 1, .entries = e};
    int rv;

    cs_core_bootstrap(&how->self, 1, &e[0]);
    op.term = (l->term > how->min_term ? l->term : how->min_term) + 1;
    op.n = how->command != NULL ? 2 : 1;
    e[0].term = op.term;
    e[1] = (struct cs_entry){.term = op.term,
                             .type = RAFT_COMMAND,
                             .len = how->command_len,
                             .data = (uint8_t *)(uintptr_t)how->command};
    rv = run_job(w, ad_wal_store(w, &op), eb);
    if (rv == 0) {
        rv = run_job(w, ad_wal_fence(w), eb);
    }
    sy_free(e[0].data);
    if (rv == 0) {
        l->term = l->last_term = op.term;
        l->last += op.n;
        l->members[0] = how->self;
        l->voter[0] = true;
        l->members_n = 1;
    }
    return rv;
}

static void free_boot(struct cs_core_boot *boot)
{
    for (size_t i = 0; i < boot->n; i++) {
        sy_free(boot->entries[i].data);
    }
    sy_free(boot->entries);
    sy_buf_free(&boot->snapshot.conf);
}

static int unlink_mark(const struct ad_wal_fs *fs, const char *name, struct sy_errbuf *eb)
{
    int rv = fs->unlink(fs->ctx, name);

    if (rv == 0 || rv == -ENOENT) {
        rv = fs->sync_dir(fs->ctx);
    }
    return rv == 0 ? 0 : sy_fail(eb, rv, "cannot remove %s: %s", name, sy_err_text(rv));
}

/* Before the log is re-formed: what would put it aside at the next start. "joining": from
 * now on it has caught up with all that there is (join.c). */
static int unlink_before(const struct ad_wal_fs *fs, bool forced, struct sy_errbuf *eb)
{
    int rv = unlink_mark(fs, "joining", eb);

    return rv == 0 && forced ? unlink_mark(fs, "tie-next", eb) : rv;
}

static int reform_open(const struct ad_wal_fs *fs, const struct nd_reform *how,
                       struct nd_log_look *ret, struct sy_errbuf *eb)
{
    char identity[IDENTITY_SIZE];
    struct ad_wal_config config;
    struct cs_core_boot boot = {0};
    struct ad_wal *w = NULL;
    int rv = read_identity(fs, identity, ret, eb);

    ad_wal_config_default(&config);
    if (rv == 0 && ret->id != how->self) {
        rv = sy_fail(eb, SY_EINVALID,
                     "the log belongs to node %" PRIu64 ", not to %" PRIu64, ret->id,
                     how->self);
    }
    if (rv == 0) {
        rv = ad_wal_open(&w, fs, &config, identity, &boot, eb);
    }
    if (rv < 0) {
        return rv;
    }
    rv = look_at(ret, boot.term, &boot.snapshot, boot.first, boot.n, boot.entries, eb);
    if (rv == 0 && ret->last == 0) {
        rv = sy_fail(eb, SY_ENOTFOUND, "the log holds nothing yet");
    }
    if (rv == 0) {
        rv = unlink_before(fs, how->forced, eb);
    }
    if (rv == 0 && !is_done(ret, how, &boot)) {
        rv = append(w, how, ret, eb);
    }
    if (rv == 0 && how->forced) {
        rv = unlink_mark(fs, LEFT_BEHIND, eb); /* So long it does not start. */
    }
    free_boot(&boot);
    ad_wal_close(&w);
    return rv;
}

int nd_reform_with(const char *dir, const struct nd_reform *how, struct nd_log_look *ret,
                   struct sy_errbuf *eb)
{
    struct ad_wal_fs fs;
    int rv = open_folder(dir, &fs, eb);

    *ret = (struct nd_log_look){.id = 0};
    if (rv < 0) {
        return rv;
    }
    rv = reform_open(&fs, how, ret, eb);
    ad_wal_disk_close(&fs);
    return rv;
}

int nd_reform(const char *dir, uint64_t self, uint64_t min_term, struct sy_errbuf *eb)
{
    struct nd_log_look look;

    return nd_reform_with(dir, &(struct nd_reform){.self = self, .min_term = min_term},
                          &look, eb);
}

/* --- recovering --- */

static void put_facts(const struct nd_log_look *past, uint64_t epoch, uint64_t at_ms,
                      struct sy_buf *entry)
{
    struct rp_batch b = {.n = 0};
    char key[RP_FACT_KEY_SIZE], value[24];

    snprintf(value, sizeof value, "%" PRIu64, epoch);
    rp_batch_fact(&b, "recover.epoch", value);
    for (unsigned i = 0; i < past->members_n; i++) {
        snprintf(key, sizeof key, "recover.left.%" PRIu64, past->members[i]);
        rp_batch_fact(&b, key, past->members[i] == past->id ? "" : value);
    }
    snprintf(value, sizeof value, "uid %u", (unsigned)getuid());
    rp_batch_audit(&b, b.n, value, "vagtctl recover, on its host", "recover",
                   "the others were left behind", "done");
    rp_batch_seal(&b, at_ms, (uint16_t)past->id, entry);
    rp_batch_free(&b);
}

/* The epoch of a recovery without this node that it was told of (left.c); 0: none. Terms
 * do not show it: they are those of its own log. */
static uint64_t left_epoch(const char *dir)
{
    char path[ND_REFORM_PATH_SIZE];
    uint64_t epoch = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s/" LEFT_BEHIND, dir);
    f = fopen(path, "re");
    if (f != NULL && fscanf(f, "epoch %" SCNu64, &epoch) != 1) {
        epoch = 1;
    }
    if (f != NULL) {
        fclose(f);
    }
    return epoch;
}

static uint64_t wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int nd_recover(const char *dir, const struct nd_log_look *past, uint64_t highest,
               uint64_t *ret_epoch, struct sy_errbuf *eb)
{
    uint64_t seen = highest / EPOCH_TERMS, told = left_epoch(dir);
    uint64_t epoch = (seen > told ? seen : told) + 1;
    struct nd_reform how = {
        .self = past->id, .min_term = epoch * EPOCH_TERMS - 1, .forced = true};
    struct sy_buf entry = {.p = NULL};
    struct nd_log_look after;
    int rv;

    put_facts(past, epoch, wall_ms(), &entry);
    how.command = entry.p;
    how.command_len = (uint32_t)entry.len;
    rv = nd_reform_with(dir, &how, &after, eb);
    sy_buf_free(&entry);
    *ret_epoch = epoch;
    return rv;
}

/* --- putting aside --- */

static int fail_errno(struct sy_errbuf *eb, const char *what, const char *dir,
                      const char *name)
{
    int err = -errno;

    return sy_fail(eb, err, "cannot %s %.200s/%.100s: %s", what, dir, name,
                   sy_err_text(err));
}

static void remove_archive(int folder, const char *name)
{
    int sub = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = sub >= 0 ? fdopendir(sub) : NULL;
    struct dirent *e;

    if (d == NULL) {
        if (sub >= 0) {
            close(sub);
        }
        return;
    }
    while ((e = readdir(d)) != NULL) {
        (void)unlinkat(sub, e->d_name, 0); /* "." and ".." stay. */
    }
    closedir(d);
    (void)unlinkat(folder, name, AT_REMOVEDIR);
}

struct archive
{
    char name[AD_WAL_NAME_MAX];
    uint64_t label;
    struct timespec at; /* when something was last put into it */
};

static bool is_older(const struct archive *a, const struct archive *b)
{
    if (a->at.tv_sec != b->at.tv_sec) {
        return a->at.tv_sec < b->at.tv_sec;
    }
    return a->at.tv_nsec != b->at.tv_nsec ? a->at.tv_nsec < b->at.tv_nsec
                                          : a->label < b->label;
}

/* How many there are; the oldest of them, but for @made, into @ret. */
static unsigned find_oldest(int folder, const char *made, struct archive *ret)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    unsigned n = 0;
    struct dirent *e;

    ret->name[0] = '\0';
    while (d != NULL && (e = readdir(d)) != NULL) {
        struct archive a;
        struct stat st;

        if (strncmp(e->d_name, ARCHIVE, sizeof ARCHIVE - 1) != 0 ||
            strlen(e->d_name) >= sizeof a.name ||
            fstatat(folder, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            continue;
        }
        n++;
        snprintf(a.name, sizeof a.name, "%s", e->d_name);
        a.label = strtoull(a.name + sizeof ARCHIVE - 1, NULL, 10);
        a.at = st.st_mtim;
        if (strcmp(a.name, made) != 0 && (ret->name[0] == '\0' || is_older(&a, ret))) {
            *ret = a;
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    return n;
}

/* The oldest beyond those that are kept, never @made: labels are epochs of the
 * tie-breaker and of recoveries, and do not tell which is older. What cannot be removed
 * goes next time. */
static void prune(int folder, const char *made)
{
    struct archive a;

    while (find_oldest(folder, made, &a) > ND_REFORM_ARCHIVES_MAX && a.name[0] != '\0') {
        remove_archive(folder, a.name);
        if (faccessat(folder, a.name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
            return;
        }
    }
}

/* What holds an identity is a whole log, of an earlier time: this one goes beside it.
 * One without is what a crash left unfinished. */
static void choose_name(int folder, uint64_t label, char name[AD_WAL_NAME_MAX])
{
    char whole[AD_WAL_NAME_MAX + 16];

    snprintf(name, AD_WAL_NAME_MAX, ARCHIVE "%" PRIu64, label);
    for (unsigned i = 1; i < ARCHIVE_NAMES_MAX; i++) {
        snprintf(whole, sizeof whole, "%s/identity", name);
        if (faccessat(folder, whole, F_OK, AT_SYMLINK_NOFOLLOW) != 0) {
            return;
        }
        snprintf(name, AD_WAL_NAME_MAX, ARCHIVE "%" PRIu64 ".%u", label, i);
    }
}

/* The identity goes last: while it is there, a start finds a log without its parts
 * and refuses. */
static int move_files(const struct ad_wal_folder *f, const char *dir, int folder, int sub,
                      struct sy_errbuf *eb)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < f->n; i++) {
            bool last = f->p[i].kind == AD_WAL_F_IDENTITY;

            if (last == (pass == 1) &&
                renameat(folder, f->p[i].name, sub, f->p[i].name) != 0) {
                return fail_errno(eb, "move", dir, f->p[i].name);
            }
        }
        if (fsync(sub) != 0 || fsync(folder) != 0) {
            return fail_errno(eb, "sync", dir, ".");
        }
    }
    return 0;
}

/* Nothing of a log: it is put aside already. */
static int archive_from(const struct ad_wal_folder *f, const char *dir, uint64_t label,
                        struct sy_errbuf *eb)
{
    char name[AD_WAL_NAME_MAX];
    int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int sub = -1;
    int rv = folder < 0 ? fail_errno(eb, "open", dir, ".") : 0;

    if (rv != 0 || f->n == 0) {
        goto out;
    }
    choose_name(folder, label, name);
    if (mkdirat(folder, name, 0700) != 0 && errno != EEXIST) {
        rv = fail_errno(eb, "create", dir, name);
        goto out;
    }
    sub = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    rv =
        sub < 0 ? fail_errno(eb, "open", dir, name) : move_files(f, dir, folder, sub, eb);
    if (rv == 0) {
        prune(folder, name);
    }
out:
    if (sub >= 0) {
        close(sub);
    }
    if (folder >= 0) {
        close(folder);
    }
    return rv;
}

int nd_log_archive(const char *dir, uint64_t label, struct sy_errbuf *eb)
{
    struct ad_wal_folder f = {0};
    struct ad_wal_fs fs;
    int rv = open_folder(dir, &fs, eb);

    if (rv < 0) {
        return rv;
    }
    rv = ad_wal_folder_read(&f, &fs, eb);
    if (rv == 0) {
        rv = archive_from(&f, dir, label, eb);
    }
    ad_wal_folder_free(&f);
    ad_wal_disk_close(&fs);
    return rv;
}

int nd_act_as_owner(const char *dir, struct sy_errbuf *eb)
{
    struct stat st;

    if (geteuid() != 0) {
        return 0;
    }
    if (stat(dir, &st) != 0) {
        return fail_errno(eb, "look at", dir, ".");
    }
    if (st.st_uid != 0 &&
        (setgroups(0, NULL) != 0 || setgid(st.st_gid) != 0 || setuid(st.st_uid) != 0)) {
        return fail_errno(eb, "become the owner of", dir, ".");
    }
    return 0;
}

int nd_log_empty(const char *dir, const char *cluster, uint64_t self,
                 struct sy_errbuf *eb)
{
    char identity[IDENTITY_SIZE];
    struct ad_wal_config config;
    struct ad_wal_fs fs;
    int rv = open_folder(dir, &fs, eb);

    if (rv < 0) {
        return rv;
    }
    ad_wal_config_default(&config);
    snprintf(identity, sizeof identity, "%s/%" PRIu64, cluster, self);
    rv = ad_wal_bootstrap(&fs, &config, identity, NULL, eb);
    ad_wal_disk_close(&fs);
    return rv;
}

/* Backups: a child writes the state as it is at the instant of its fork, so that they
 * are consistent at one index, and so that a share that hangs holds up nobody but the
 * child (node/bundle.h says what is in one).
 *
 *   fact backup.verified   "<taken_ms> <index> <file>": the newest that was restored
 *                          into a scratch state and had the right hash
 *   fact backup.failed     why the last scheduled one failed; gone when one succeeds */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mp.h"
#include "node/bundle.h"
#include "node/child.h"
#include "node/node.h"

enum {
    LOOK_MS = 1000,
    AGAIN_MS = 15 * 60 * 1000,
    STALE_MS = 2 * 24 * 3600 * 1000,
    FIRST_MS = 3600 * 1000, /* so long a new cluster may be without any */
    NICE = 10
};

/* Shared with the child: its last words. */
struct nd_backup_result
{
    int rv;
    char text[512];
    char name[192];
    uint64_t index, hash, bytes;
    unsigned sets, complete; /* of files, and those whose contents are in it */
};

/* --- in the child --- */

static void add_secret(struct sy_buf *tar, struct sy_buf *sums, const char *name,
                       const char *value, uint64_t at_ms)
{
    if (value != NULL && value[0] != '\0') {
        nd_bundle_add(tar, name, value, strlen(value), at_ms, sums);
    }
}

static void add_secrets(const struct nd_config *c, struct sy_buf *tar,
                        struct sy_buf *sums, uint64_t at_ms)
{
    char name[ND_BUNDLE_NAME_SIZE];

    for (unsigned i = 0; i < c->brokers_n; i++) {
        snprintf(name, sizeof name, "secrets/broker-%s.password", c->brokers[i].name);
        add_secret(tar, sums, name, c->brokers[i].password, at_ms);
    }
    add_secret(tar, sums, "secrets/postgres.conninfo", c->postgres.conninfo, at_ms);
}

/* Restored before it is written, compared after: a file under its name is a good one. */
static int make(struct nd_node *n, struct nd_bundle_meta *meta, const char *dir,
                const char *cert, struct nd_backup_result *r)
{
    struct sy_buf tar = {.p = NULL}, sums = {.p = NULL}, config = {.p = NULL};
    char beside[sizeof r->name], files[ND_FILES_PATH_SIZE];
    struct nd_bundle check = {.sets = 0};
    struct sy_errbuf eb = {.text = ""};
    int rv = nd_bundle_begin(&tar, &sums, meta, n->store, &eb);

    if (rv == 0) {
        nd_config_print(&n->config, &config);
        nd_bundle_add(&tar, "config.yaml", config.p, config.len, meta->taken_ms, &sums);
        if (cert[0] != '\0') {
            add_secrets(&n->config, &tar, &sums, meta->taken_ms);
            nd_files_path(&n->config, files);
            nd_bundle_put_files(&tar, &sums, n->store, files, meta->taken_ms);
        }
        nd_bundle_end(&tar, &sums, meta->taken_ms);
        rv = nd_bundle_open(&check, tar.p, tar.len, &eb);
    }
    if (rv == 0) {
        rv = nd_bundle_verify(&check, &eb);
    }
    if (rv == 0) {
        nd_bundle_name(r->name, sizeof r->name, meta, cert[0] != '\0');
        snprintf(beside, sizeof beside, "vagt-%.40s-%.80s.tmp", meta->cluster,
                 meta->node);
        rv = nd_bundle_save(dir, r->name, beside, cert, &tar, &r->bytes, &eb);
    }
    r->index = meta->index;
    r->hash = meta->hash;
    r->sets = check.sets;
    r->complete = check.complete;
    snprintf(r->text, sizeof r->text, "%s", eb.text);
    sy_buf_free(&tar);
    sy_buf_free(&sums);
    sy_buf_free(&config);
    return rv;
}

static void child_main(struct nd_node *n, struct nd_bundle_meta *meta, pid_t parent)
{
    struct nd_backup_result *r = n->backup.result;
    bool own = strcmp(n->backup.dir, n->config.backup.dir) == 0;

    nd_child_begin(parent);
    (void)setpriority(PRIO_PROCESS, 0, NICE);
    r->rv = make(n, meta, n->backup.dir, n->backup.cert, r);
    if (r->rv == 0 && own) {
        (void)nd_bundle_prune(n->backup.dir, n->config.cluster, n->config.backup.keep);
    }
    _exit(r->rv == 0 ? 0 : 1);
}

/* --- starting one --- */

static void describe(struct nd_node *n, struct nd_bundle_meta *meta)
{
    const struct cs_core *core = nd_replica_core(n->replica);
    struct cs_member m;

    *meta = (struct nd_bundle_meta){.term = cs_core_term(core),
                                    .taken_ms = nd_replica_clock_ms(n->replica)};
    snprintf(meta->cluster, sizeof meta->cluster, "%s", n->config.cluster);
    snprintf(meta->node, sizeof meta->node, "%s", nd_config_self(&n->config)->name);
    snprintf(meta->version, sizeof meta->version, "%s", VAGT_VERSION);
    for (uint64_t id = 1; id <= CS_ID_MAX && meta->members_n < CS_MEMBERS_MAX; id++) {
        if (cs_core_member(core, id, &m)) {
            meta->members[meta->members_n++] = id;
        }
    }
}

static void child_ended(uv_poll_t *poll, int status, int events);

static int watch_child(struct nd_node *n)
{
    int rv;

    n->backup.fd = pidfd_open(n->backup.child, 0);
    if (n->backup.fd < 0) {
        return 0; /* An old kernel, or none free: nd_backup_tend() asks for it. */
    }
    rv = uv_poll_init(n->loop, &n->backup.poll, n->backup.fd);
    assert(rv == 0);
    n->backup.poll.data = n;
    n->backup.open = true;
    rv = uv_poll_start(&n->backup.poll, UV_READABLE, child_ended);
    assert(rv == 0);
    return 0;
}

static int start(struct nd_node *n, const char *dir, const char *cert, bool scheduled)
{
    struct nd_bundle_meta meta;
    pid_t self = getpid();
    void *page;

    if (n->backup.result == NULL) {
        page = mmap(NULL, sizeof *n->backup.result, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) {
            return -errno;
        }
        n->backup.result = page;
    }
    *n->backup.result = (struct nd_backup_result){
        .rv = SY_EUNKNOWN, .text = "the child that writes it died"};
    snprintf(n->backup.dir, sizeof n->backup.dir, "%s", dir);
    snprintf(n->backup.cert, sizeof n->backup.cert, "%s", cert);
    n->backup.scheduled = scheduled;
    n->backup.late = false;
    n->backup.began_ms = nd_now_ms();
    describe(n, &meta);
    n->backup.taken_ms = meta.taken_ms;
    n->backup.child = fork();
    if (n->backup.child == 0) {
        child_main(n, &meta, self);
    }
    if (n->backup.child < 0) {
        n->backup.child = 0;
        return -errno;
    }
    return watch_child(n);
}

/* --- its end --- */

static void propose(struct nd_node *n, const char *key, const char *value)
{
    char text[RP_FACT_VALUE_SIZE];

    if (nd_replica_leading(n->replica) != 0) {
        snprintf(text, sizeof text, "%s", value);
        rp_batch_fact(nd_replica_batch(n->replica), key, text);
    }
}

static void succeeded(struct nd_node *n)
{
    const struct nd_backup_result *r = n->backup.result;
    char text[RP_FACT_VALUE_SIZE];

    n->backup.done++;
    SY_LOG(&n->log, SY_NOTE, "backup.done", KSTR("dir", n->backup.dir),
           KSTR("file", r->name), KU64("index", r->index), KU64("bytes", r->bytes),
           KU64("ms", nd_now_ms() - n->backup.began_ms));
    if (strcmp(n->backup.dir, n->config.backup.dir) == 0) {
        snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 " %.190s", n->backup.taken_ms,
                 r->index, r->name);
        propose(n, "backup.verified", text);
        if (rp_store_fact(n->store, "backup.failed") != NULL) {
            propose(n, "backup.failed", "");
        }
    }
}

static void failed(struct nd_node *n, const char *why)
{
    n->backup.failed++;
    n->backup.again_ms = nd_now_ms() + AGAIN_MS;
    SY_LOG(&n->log, SY_WARN, "backup.failed", KSTR("dir", n->backup.dir),
           KSTR("why", why));
    if (n->backup.scheduled) {
        propose(n, "backup.failed", why);
    }
}

static void answer(struct nd_node *n, bool ok)
{
    const struct nd_backup_result *r = n->backup.result;
    struct sy_buf b = {.p = NULL};
    char hash[17];

    if (!n->backup.asked) {
        return;
    }
    n->backup.asked = false;
    if (!ok) {
        nd_reply_error(&n->backup.asker, "failed", "no backup was made: %s", r->text);
        return;
    }
    snprintf(hash, sizeof hash, "%016" PRIx64, r->hash);
    nd_reply_begin(&n->backup.asker, &b);
    sy_mp_map(&b, 9);
    sy_mp_kuint(&b, "sets", r->sets);
    sy_mp_kuint(&b, "sets_complete", r->complete);
    sy_mp_kstr(&b, "dir", n->backup.dir);
    sy_mp_kstr(&b, "file", r->name);
    sy_mp_kuint(&b, "index", r->index);
    sy_mp_kstr(&b, "hash", hash);
    sy_mp_kuint(&b, "bytes", r->bytes);
    sy_mp_kbool(&b, "encrypted", n->backup.cert[0] != '\0');
    sy_mp_kuint(&b, "took_ms", nd_now_ms() - n->backup.began_ms);
    nd_reply_send(&n->backup.asker, &b);
}

static void poll_closed(uv_handle_t *handle)
{
    struct nd_node *n = handle->data;

    close(n->backup.fd);
    n->backup.open = false;
}

static void look_for_end(struct nd_node *n)
{
    int code = 0;
    pid_t got = waitpid(n->backup.child, &code, WNOHANG);
    bool ok;

    if (got == 0) {
        return;
    }
    ok = n->backup.result->rv == 0 && WIFEXITED(code) && WEXITSTATUS(code) == 0;
    n->backup.child = 0;
    if (n->backup.open) {
        uv_close((uv_handle_t *)&n->backup.poll, poll_closed);
    }
    if (n->closing) {
        return;
    }
    if (ok) {
        succeeded(n);
    } else if (!n->backup.late) {
        failed(n, n->backup.result->text);
    }
    answer(n, ok);
}

static void child_ended(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    look_for_end(poll->data);
}

/* Late: it is killed. If the kernel does not let it go (a share that hangs) it stays, and
 * no other is begun; but nobody waits for it any more. */
static void tend_late(struct nd_node *n)
{
    char text[RP_FACT_VALUE_SIZE];

    if (n->backup.late ||
        nd_now_ms() - n->backup.began_ms < n->config.backup.timeout_ms) {
        return;
    }
    n->backup.late = true;
    kill(n->backup.child, SIGKILL);
    snprintf(text, sizeof text,
             "writing to %.120s did not end within %u s: does it answer?", n->backup.dir,
             n->config.backup.timeout_ms / 1000);
    snprintf(n->backup.result->text, sizeof n->backup.result->text, "%s", text);
    failed(n, text);
    answer(n, false);
}

/* --- when --- */

static uint64_t verified_ms(const struct nd_node *n)
{
    const struct rp_fact *f = rp_store_fact(n->store, "backup.verified");

    return f != NULL ? strtoull(f->value, NULL, 10) : 0;
}

uint64_t nd_backup_due_ms(uint64_t now_ms, const char *at)
{
    time_t now = (time_t)(now_ms / 1000), due;
    struct tm tm;

    if (localtime_r(&now, &tm) == NULL) {
        return 0;
    }
    tm.tm_hour = (int)strtol(at, NULL, 10);
    tm.tm_min = (int)strtol(at + 3, NULL, 10);
    tm.tm_sec = 0;
    tm.tm_isdst = -1;
    due = mktime(&tm);
    if (due > now) {
        tm.tm_mday--;
        tm.tm_isdst = -1;
        due = mktime(&tm);
    }
    return due > 0 ? (uint64_t)due * 1000 : 0;
}

void nd_backup_tend(struct nd_node *n)
{
    uint64_t now = nd_now_ms();
    int rv;

    if (n->backup.child > 0 && !n->backup.open) {
        look_for_end(n);
    }
    if (n->backup.child > 0) {
        tend_late(n);
        return;
    }
    if (n->config.backup.dir[0] == '\0' || n->backup.open || now < n->backup.look_ms ||
        now < n->backup.again_ms || cs_watch_state(&n->watch) != CS_ACTIVE ||
        n->stopping) {
        return;
    }
    n->backup.look_ms = now + LOOK_MS;
    if (verified_ms(n) >=
        nd_backup_due_ms(nd_replica_clock_ms(n->replica), n->config.backup.at)) {
        return;
    }
    rv = start(n, n->config.backup.dir, n->config.backup.encrypt_to, true);
    if (rv != 0) {
        failed(n, sy_err_text(rv));
    }
}

void nd_backup_close(struct nd_node *n)
{
    if (n->backup.child > 0) {
        kill(n->backup.child, SIGKILL);
        n->backup.asked = false;
    }
    if (n->backup.open && !uv_is_closing((uv_handle_t *)&n->backup.poll)) {
        uv_close((uv_handle_t *)&n->backup.poll, poll_closed);
    }
}

/* --- asked for --- */

void nd_op_backup(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    char dir[ND_PATH_SIZE], cert[ND_PATH_SIZE];
    int rv;

    nd_map_str(q->args, "dir", dir, sizeof dir);
    nd_map_str(q->args, "encrypt_to", cert, sizeof cert);
    if (dir[0] == '\0') {
        snprintf(dir, sizeof dir, "%s", n->config.backup.dir);
    }
    if (cert[0] == '\0') {
        snprintf(cert, sizeof cert, "%s", n->config.backup.encrypt_to);
    }
    if (dir[0] != '/' || (cert[0] != '\0' && cert[0] != '/')) {
        nd_reply_error(&q->asker, "invalid",
                       dir[0] == '\0' ? "where to? --to DIR, or backup.dir in the "
                                        "configuration"
                                      : "the folder and the certificate are on the node: "
                                        "give absolute paths");
        return;
    }
    if (n->backup.child > 0 || n->backup.open) {
        nd_reply_error(&q->asker, "busy", "a backup to %s is being written",
                       n->backup.dir);
        return;
    }
    n->backup.asked = true;
    n->backup.asker = q->asker;
    rv = start(n, dir, cert, false);
    if (rv != 0) {
        n->backup.asked = false;
        nd_reply_error(&q->asker, "failed", "no backup was made: %s", sy_err_text(rv));
    }
}

/* --- sentences and figures --- */

uint64_t nd_backup_age_s(struct nd_node *n)
{
    uint64_t at = verified_ms(n), now = nd_replica_clock_ms(n->replica);

    return at != 0 && now > at ? (now - at) / 1000 : 0;
}

void nd_backup_issues(struct nd_node *n,
                      void (*tell)(void *data, bool error, const char *text), void *data)
{
    const struct rp_fact *f = rp_store_fact(n->store, "backup.failed");
    uint64_t age_ms = nd_backup_age_s(n) * 1000;
    bool stale = age_ms > STALE_MS;
    char text[320];

    if (n->config.backup.dir[0] == '\0') {
        return;
    }
    if (f != NULL) {
        snprintf(text, sizeof text, "the last backup failed: %.250s", f->value);
        tell(data, stale || verified_ms(n) == 0, text);
    }
    if (stale) {
        snprintf(text, sizeof text,
                 "the last verified backup is %" PRIu64
                 " days old: see `backup.failed` in the log, try `vagtctl backup`",
                 age_ms / (24 * 3600 * 1000));
        tell(data, true, text);
    } else if (verified_ms(n) == 0 && f == NULL &&
               nd_now_ms() - n->started_ms > FIRST_MS) {
        tell(data, false,
             "there is no verified backup yet: see `backup.failed` in the log, try "
             "`vagtctl backup`");
    }
}

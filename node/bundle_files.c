/* Contents of files in a backup: those that the newest version of each set names, as
 * files/SHA256. They hold keys and passwords, so only what is encrypted has them. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "adapters/files/files.h"
#include "adapters/seal/seal.h"
#include "node/bundle.h"

enum { ALL_MAX = 64 * 1024 * 1024, CONTENTS_MAX = ND_BUNDLE_MEMBERS_MAX - 64 };

#define FOLDER "files/"

/* What is in the archive already: the same file in two sets goes in once. */
struct packed
{
    struct sy_buf *tar, *sums;
    uint64_t at_ms;
    uint8_t in[CONTENTS_MAX][RP_FILES_SUM_LEN];
    unsigned n;
    uint64_t bytes;
};

static bool is_in(const struct packed *p, const uint8_t sum[RP_FILES_SUM_LEN])
{
    for (unsigned i = 0; i < p->n; i++) {
        if (memcmp(p->in[i], sum, RP_FILES_SUM_LEN) == 0) {
            return true;
        }
    }
    return false;
}

/* Whole, or none of it. */
static bool can_be_packed(const struct packed *p, struct ad_files_store *from,
                          const struct rp_files_version *v)
{
    char hex[RP_FILES_HEX_SIZE];

    if (p->n + v->n > CONTENTS_MAX || p->bytes + v->bytes > ALL_MAX) {
        return false;
    }
    for (unsigned i = 0; i < v->n; i++) {
        rp_files_hex(v->list[i].sum, hex);
        if (!ad_files_has(from, hex)) {
            return false;
        }
    }
    return true;
}

static void pack(struct packed *p, struct ad_files_store *from,
                 const struct rp_files_version *v)
{
    char hex[RP_FILES_HEX_SIZE], name[ND_BUNDLE_NAME_SIZE];
    struct sy_buf content = {.p = NULL};

    for (unsigned i = 0; i < v->n; i++) {
        content.len = 0;
        rp_files_hex(v->list[i].sum, hex);
        if (!is_in(p, v->list[i].sum) && ad_files_get(from, hex, &content, NULL) == 0) {
            snprintf(name, sizeof name, FOLDER "%s", hex);
            nd_bundle_add(p->tar, name, content.p, content.len, p->at_ms, p->sums);
            memcpy(p->in[p->n++], v->list[i].sum, RP_FILES_SUM_LEN);
            p->bytes += content.len;
        }
    }
    sy_buf_free(&content);
}

/* What cannot be read is no reason to be without a backup of the state: it shows in what
 * is complete. */
void nd_bundle_put_files(struct sy_buf *tar, struct sy_buf *sums,
                         const struct rp_store *store, const char *dir, uint64_t at_ms)
{
    static struct packed p; /* In a child that does nothing else. */
    struct ad_files_store from = {.bytes_max = 0};

    p = (struct packed){.tar = tar, .sums = sums, .at_ms = at_ms};
    snprintf(from.dir, sizeof from.dir, "%s", dir);
    for (uint32_t i = 0; i < rp_store_files(store); i++) {
        const struct rp_files_version *v =
            rp_store_files_version(store, rp_store_files_at(store, i)->name, 0);

        if (can_be_packed(&p, &from, v)) {
            pack(&p, &from, v);
        }
    }
}

static bool is_content(const struct nd_bundle_member *m)
{
    return strncmp(m->name, FOLDER, strlen(FOLDER)) == 0;
}

int nd_bundle_check_files(const struct nd_bundle *b, const struct rp_store *store,
                          unsigned *ret_sets, unsigned *ret_complete,
                          struct sy_errbuf *eb)
{
    char hex[AD_SEAL_SUM_SIZE], name[ND_BUNDLE_NAME_SIZE];

    for (unsigned i = 0; i < b->members_n; i++) {
        const struct nd_bundle_member *m = &b->members[i];

        ad_seal_sum(m->p, m->n, hex);
        if (is_content(m) && strcmp(m->name + strlen(FOLDER), hex) != 0) {
            return sy_fail(eb, SY_ECORRUPT,
                           "the backup is damaged: %s holds something else", m->name);
        }
    }
    *ret_sets = rp_store_files(store);
    *ret_complete = 0;
    for (uint32_t i = 0; i < *ret_sets; i++) {
        const struct rp_files_version *v =
            rp_store_files_version(store, rp_store_files_at(store, i)->name, 0);
        bool complete = true;

        for (unsigned k = 0; k < v->n && complete; k++) {
            rp_files_hex(v->list[k].sum, hex);
            snprintf(name, sizeof name, FOLDER "%s", hex);
            complete = nd_bundle_find(b, name) != NULL;
        }
        *ret_complete += complete;
    }
    return 0;
}

int nd_bundle_restore_files(const struct nd_bundle *b, const char *dir,
                            struct sy_errbuf *eb)
{
    struct ad_files_store to;
    char path[AD_FILES_DIR_SIZE], hex[AD_FILES_SUM_SIZE];
    bool any = false;
    int rv = 0;

    for (unsigned i = 0; i < b->members_n && !any; i++) {
        any = is_content(&b->members[i]);
    }
    if (!any) {
        return 0;
    }
    if ((size_t)snprintf(path, sizeof path, "%s/files", dir) >= sizeof path) {
        return sy_fail(eb, SY_EINVALID, "%.100s…: the name is too long", dir);
    }
    rv = ad_files_open(&to, path, 2 * (uint64_t)ALL_MAX, eb);
    for (unsigned i = 0; i < b->members_n && rv == 0; i++) {
        const struct nd_bundle_member *m = &b->members[i];

        if (is_content(m)) {
            rv = ad_files_put(&to, m->p, m->n, hex, eb);
        }
    }
    return rv;
}

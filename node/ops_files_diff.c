/* What differs between two versions of a set, for an operator. Contents are read and
 * compared beside the loop, one file after the other; no more than two are in memory. */

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/mp.h"
#include "node/differ.h"
#include "node/node.h"

enum { FILE_SHOWN = 48 * 1024, ALL_SHOWN = 512 * 1024, JOBS_MAX = 4 };

struct job
{
    uv_work_t work;
    struct nd_asker asker;
    char set[RP_FILES_NAME_SIZE];
    struct rp_files_version before, after; /* before.nr 0: nothing */
    unsigned a, b;                         /* files of both that were looked at */
    const struct rp_file *was, *is;        /* being looked at; NULL: not in that one */
    struct sy_buf was_content, is_content;
    bool absent; /* contents are not here */
    const char *how;
    struct sy_buf text;
    struct sy_buf files; /* maps, packed */
    uint32_t files_n;
};

static void done(struct job *j)
{
    j->asker.node->differ_jobs--;
    sy_buf_free(&j->was_content);
    sy_buf_free(&j->is_content);
    sy_buf_free(&j->text);
    sy_buf_free(&j->files);
    sy_free(j);
}

static void answer(struct job *j)
{
    struct sy_buf b = {0};

    nd_reply_begin(&j->asker, &b);
    sy_mp_map(&b, 5);
    sy_mp_kstr(&b, "set", j->set);
    sy_mp_kstr(&b, "node", nd_node_name(j->asker.node, j->asker.node->config.id));
    sy_mp_kuint(&b, "before", j->before.nr);
    sy_mp_kuint(&b, "after", j->after.nr);
    sy_mp_str(&b, "files");
    sy_mp_array(&b, j->files_n);
    sy_buf_put(&b, j->files.p, j->files.len);
    nd_reply_send(&j->asker, &b);
    done(j);
}

static void put_size(struct sy_buf *b, const char *key, const struct rp_file *f)
{
    sy_mp_str(b, key);
    if (f != NULL) {
        sy_mp_uint(b, f->size);
    } else {
        sy_mp_nil(b);
    }
}

static void put_file(struct job *j)
{
    struct sy_buf *b = &j->files;
    bool modes = j->was != NULL && j->is != NULL && j->was->mode != j->is->mode;

    sy_mp_map(b, modes ? 8 : 6);
    sy_mp_kstr(b, "path", j->is != NULL ? j->is->path : j->was->path);
    sy_mp_kstr(b, "what",
               j->was == NULL  ? "added"
               : j->is == NULL ? "removed"
                               : "changed");
    put_size(b, "bytes_before", j->was);
    put_size(b, "bytes_after", j->is);
    sy_mp_kstr(b, "how", j->how);
    sy_mp_str(b, "text");
    sy_mp_strn(b, (const char *)j->text.p, j->text.len);
    if (modes) {
        sy_mp_kuint(b, "mode_before", j->was->mode);
        sy_mp_kuint(b, "mode_after", j->is->mode);
    }
    j->files_n++;
}

/* The next file that differs; false: there is none. Both lists are sorted by path. */
static bool next(struct job *j)
{
    while (j->a < j->before.n || j->b < j->after.n) {
        const struct rp_file *was = j->a < j->before.n ? &j->before.list[j->a] : NULL;
        const struct rp_file *is = j->b < j->after.n ? &j->after.list[j->b] : NULL;
        int order = was == NULL ? 1 : is == NULL ? -1 : strcmp(was->path, is->path);

        j->was = order <= 0 ? was : NULL;
        j->is = order >= 0 ? is : NULL;
        j->a += order <= 0;
        j->b += order >= 0;
        if (order != 0 || !rp_files_equal(was, 1, is, 1)) {
            return true;
        }
    }
    return false;
}

static void look_at_next(struct job *j);

static void compare_run(uv_work_t *work)
{
    static const char *const names[] = {[ND_DIFFERS_TEXT] = "text",
                                        [ND_DIFFERS_SECRET] = "secret",
                                        [ND_DIFFERS_BINARY] = "binary"};
    struct job *j = work->data;
    struct nd_content was = {(const char *)j->was_content.p, j->was_content.len};
    struct nd_content is = {(const char *)j->is_content.p, j->is_content.len};

    j->how = names[nd_differ(j->is != NULL ? j->is->path : j->was->path, was, is,
                             FILE_SHOWN, &j->text)];
}

static void compare_done(uv_work_t *work, int status)
{
    struct job *j = work->data;

    if (status != 0 || j->asker.node->closing) {
        done(j);
        return;
    }
    put_file(j);
    look_at_next(j);
}

static void compare(struct job *j)
{
    if (j->absent) {
        j->how = "absent";
        put_file(j);
        look_at_next(j);
        return;
    }
    j->work.data = j;
    if (uv_queue_work(j->asker.node->loop, &j->work, compare_run, compare_done) != 0) {
        nd_reply_error(&j->asker, "busy", "nobody is free to compare: ask again");
        done(j);
    }
}

static void take(struct job *j, struct sy_buf *to, int rv, struct sy_buf *content)
{
    if (rv == 0) {
        sy_buf_put(to, content->p, content->len);
    } else {
        j->absent = true;
    }
}

static void is_read(void *data, int rv, struct sy_buf *content, const char *why)
{
    struct job *j = data;

    (void)why;
    if (j->asker.node->closing) {
        done(j);
        return;
    }
    take(j, &j->is_content, rv, content);
    compare(j);
}

static void read_is(struct job *j)
{
    if (j->is != NULL && !j->absent) {
        nd_files_read(j->asker.node, j->is->sum, is_read, j);
    } else {
        compare(j);
    }
}

static void was_read(void *data, int rv, struct sy_buf *content, const char *why)
{
    struct job *j = data;

    (void)why;
    if (j->asker.node->closing) {
        done(j);
        return;
    }
    take(j, &j->was_content, rv, content);
    read_is(j);
}

static void look_at_next(struct job *j)
{
    while (next(j)) {
        const char *path = j->is != NULL ? j->is->path : j->was->path;

        j->was_content.len = j->is_content.len = j->text.len = 0;
        j->absent = false;
        j->how = nd_differ_is_secret(path) ? "secret" : "large";
        /* What is not shown is not read. */
        if (nd_differ_is_secret(path) || j->files.len > ALL_SHOWN) {
            put_file(j);
        } else if (j->was != NULL) {
            nd_files_read(j->asker.node, j->was->sum, was_read, j);
            return;
        } else {
            read_is(j);
            return;
        }
    }
    answer(j);
}

/* Version @nr of @name to @to; answers itself if it is not kept. */
static bool version_of(struct nd_request *q, const char *name, uint64_t nr,
                       struct rp_files_version *to)
{
    const struct rp_files_version *v =
        rp_store_files_version(q->asker.node->store, name, nr);

    if (v == NULL) {
        nd_reply_error(&q->asker, "not_found",
                       "version %" PRIu64
                       " of %s is not kept: see `vagtctl files history %s`",
                       nr, name, name);
        return false;
    }
    *to = *v;
    return true;
}

void nd_op_files_diff(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    uint64_t before = nd_map_uint(q->args, "before", 0);
    uint64_t after = nd_map_uint(q->args, "after", 0);
    char name[RP_FILES_NAME_SIZE];
    struct job *j;

    if (!nd_files_set_of(q, name)) {
        return;
    }
    if (n->differ_jobs == JOBS_MAX) {
        nd_reply_error(&q->asker, "busy", "others are comparing already: ask again");
        return;
    }
    j = sy_calloc(1, sizeof *j);
    j->asker = q->asker;
    n->differ_jobs++;
    memcpy(j->set, name, sizeof j->set);
    if (!version_of(q, name, after, &j->after)) {
        done(j);
        return;
    }
    before = before > 0 ? before : j->after.nr - 1;
    if (before > 0 && !version_of(q, name, before, &j->before)) {
        done(j);
        return;
    }
    look_at_next(j);
}

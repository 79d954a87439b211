/* See files_rig.h. */

#include "tests/node/files_rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "adapters/files/disk.h"

char root[64], dir[FILES_PATH];
uv_work_t *queued;
static uv_after_work_cb queued_done;

int uv_queue_work(uv_loop_t *loop, uv_work_t *req, uv_work_cb work_cb,
                  uv_after_work_cb after_work_cb)
{
    (void)loop;
    assert_null(queued); /* one at a time */
    req->work_cb = work_cb;
    queued = req;
    queued_done = after_work_cb;
    return 0;
}

int uv_fs_event_init(uv_loop_t *loop, uv_fs_event_t *event)
{
    (void)loop;
    (void)event;
    return UV_ENOSYS; /* Then the look at all of it has to do. */
}

void work(void)
{
    for (unsigned i = 0; queued != NULL; i++) {
        uv_work_t *req = queued;

        assert_true(i < 1000);
        queued = NULL;
        req->work_cb(req);
        queued_done(req, 0);
    }
}

/* Time passes, and all work is done. */
void pass(uint64_t ms)
{
    for (uint64_t at = 0; at < ms; at += 100) {
        fake_pass(100, false);
        work();
        fake_settle();
    }
}

void put(const char *name, const char *text)
{
    char path[FILES_PATH + 64];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

bool holds(const char *where, const char *name, const char *text)
{
    char path[FILES_PATH + 64], is[64] = "";
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", where, name);
    f = fopen(path, "r");
    if (f == NULL) {
        return false;
    }
    is[fread(is, 1, sizeof is - 1, f)] = '\0';
    fclose(f);
    return strcmp(is, text) == 0;
}

void open_nodes(unsigned nodes, bool resource)
{
    struct nd_config *c;

    fake_folder(root);
    fake_open(nodes);
    c = &fake.n->config;
    snprintf(c->data_dir, sizeof c->data_dir, "%s", root);
    snprintf(dir, sizeof dir, "%s/extra", root);
    c->files_n = 1;
    snprintf(c->files[0].name, sizeof c->files[0].name, "extra");
    snprintf(c->files[0].dir, sizeof c->files[0].dir, "%s", dir);
    c->resources_n = resource;
    /* As if it had begun anew in its own place. */
    fake.n->site.stay = (struct nd_site_stay){.on = resource, .until_ms = UINT64_MAX};
    snprintf(c->resources[0].name, sizeof c->resources[0].name, "first");
    c->resources[0].run.has_exec = true;
    assert_int_equal(mkdir(dir, 0750), 0);
    fake_begin();
    for (unsigned i = 2; i <= nodes; i++) {
        fake_sound(i, "standby");
    }
}

int end_nodes(void)
{
    fake_close();
    work(); /* What was under way when it closed. */
    return ad_files__remove(AT_FDCWD, root);
}

/* --- frames --- */

const struct fake_frame *frame(uint8_t kind, uint64_t to)
{
    for (unsigned i = fake.frames_n; i-- > 0;) {
        if (fake.frames[i].kind == kind && fake.frames[i].to == to) {
            return &fake.frames[i];
        }
    }
    return NULL;
}

void sum_of(const char *text, uint8_t sum[RP_FILES_SUM_LEN])
{
    char hex[AD_FILES_SUM_SIZE];

    ad_files__sum(text, strlen(text), hex);
    assert_true(rp_files_sum(hex, sum));
}

/* Node 2 is on watch and offers version @id: one file. */
void make_offer(struct sy_buf *b, uint64_t id, const char *text)
{
    uint8_t sum[RP_FILES_SUM_LEN];

    sum_of(text, sum);
    sy_mp_array(b, 6);
    sy_mp_uint(b, id);
    sy_mp_str(b, "extra");
    sy_mp_str(b, "a.conf");
    sy_mp_uint(b, strlen(text));
    sy_mp_uint(b, 0640);
    sy_mp_bin(b, sum, sizeof sum);
}

void make_chunk(struct sy_buf *b, const char *of, uint64_t offset, uint64_t total,
                const char *text)
{
    uint8_t sum[RP_FILES_SUM_LEN];

    sum_of(of, sum);
    sy_buf_u64(b, offset);
    sy_buf_u64(b, total);
    sy_buf_put(b, sum, sizeof sum);
    sy_buf_put(b, text, strlen(text));
}

void hear(uint64_t from, uint8_t kind, struct sy_buf *b)
{
    fake.cb.frame(fake.n, from, kind, b->p, b->len);
    sy_buf_free(b);
    work();
}

void hear_chunk(uint64_t from, const char *of, uint64_t offset, uint64_t total,
                const char *text)
{
    struct sy_buf b = {0};

    make_chunk(&b, of, offset, total, text);
    hear(from, ND_FRAME_FILES_CHUNK, &b);
}

void follow(uint64_t leader)
{
    fake.leader = leader;
    fake.term++;
}

void offer(const char *text)
{
    struct sy_buf b = {0};

    make_offer(&b, 77, text);
    hear(2, ND_FRAME_FILES_OFFER, &b);
}

uint64_t newest(void)
{
    const struct rp_files_set *s = rp_store_files_set(fake.store, "extra");

    return s != NULL ? s->last : 0;
}

/* Another node takes a version of @text while it has the watch. */
void theirs(const char *text)
{
    struct rp_file f = {.size = strlen(text), .mode = 0640};
    struct rp_batch b = {0};

    snprintf(f.path, sizeof f.path, "a.conf");
    sum_of(text, f.sum);
    rp_batch_files(&b, "extra", newest(), 0, 2, &f, 1);
    fake_foreign(&b);
}

void acknowledge(uint64_t from)
{
    const struct fake_frame *f = frame(ND_FRAME_FILES_OFFER, from);
    struct sy_buf b = {0};
    struct sy_cur c;

    assert_non_null(f);
    c = (struct sy_cur){.p = f->bytes.p, .n = f->bytes.len};
    (void)sy_mp_get_array(&c);
    sy_mp_array(&b, 1);
    sy_mp_uint(&b, sy_mp_get_uint(&c));
    hear(from, ND_FRAME_FILES_HAVE, &b);
}

void have(uint64_t from)
{
    acknowledge(from);
    fake_settle();
}

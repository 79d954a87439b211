/* Folders that move with the watch, on a node whose peers are the test. The thread pool
 * is a queue that the test runs: everything else may come first. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

#include "adapters/files/disk.h"
#include "node/files_impl.h"
#include "tests/node/fake_node.h"

enum { PATH = 200 };

static char root[64], dir[PATH];
static uv_work_t *queued;
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

static void work(void)
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
static void pass(uint64_t ms)
{
    for (uint64_t at = 0; at < ms; at += 100) {
        fake_pass(100, false);
        work();
        fake_settle();
    }
}

static void put(const char *name, const char *text)
{
    char path[PATH + 64];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static bool holds(const char *where, const char *name, const char *text)
{
    char path[PATH + 64], is[64] = "";
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

static void open_nodes(unsigned nodes)
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
    assert_int_equal(mkdir(dir, 0750), 0);
    fake_begin();
    for (unsigned i = 2; i <= nodes; i++) {
        fake_sound(i, "standby");
    }
}

static int begin(void **state)
{
    (void)state;
    open_nodes(3);
    return 0;
}

static int begin_two(void **state)
{
    (void)state;
    open_nodes(2);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fake_close();
    work(); /* What was under way when it closed. */
    return ad_files__remove(AT_FDCWD, root);
}

/* --- frames --- */

static const struct fake_frame *frame(uint8_t kind, uint64_t to)
{
    for (unsigned i = fake.frames_n; i-- > 0;) {
        if (fake.frames[i].kind == kind && fake.frames[i].to == to) {
            return &fake.frames[i];
        }
    }
    return NULL;
}

static void sum_of(const char *text, uint8_t sum[RP_FILES_SUM_LEN])
{
    char hex[AD_FILES_SUM_SIZE];

    ad_files__sum(text, strlen(text), hex);
    assert_true(rp_files_sum(hex, sum));
}

/* Node 2 is on watch and offers version @id: one file. */
static void make_offer(struct sy_buf *b, uint64_t id, const char *text)
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

static void make_chunk(struct sy_buf *b, const char *of, uint64_t offset, uint64_t total,
                       const char *text)
{
    uint8_t sum[RP_FILES_SUM_LEN];

    sum_of(of, sum);
    sy_buf_u64(b, offset);
    sy_buf_u64(b, total);
    sy_buf_put(b, sum, sizeof sum);
    sy_buf_put(b, text, strlen(text));
}

static void hear(uint64_t from, uint8_t kind, struct sy_buf *b)
{
    fake.cb.frame(fake.n, from, kind, b->p, b->len);
    sy_buf_free(b);
    work();
}

static void hear_chunk(uint64_t from, const char *of, uint64_t offset, uint64_t total,
                       const char *text)
{
    struct sy_buf b = {0};

    make_chunk(&b, of, offset, total, text);
    hear(from, ND_FRAME_FILES_CHUNK, &b);
}

static void follow(uint64_t leader)
{
    fake.leader = leader;
    fake.term++;
}

static void offer(const char *text)
{
    struct sy_buf b = {0};

    make_offer(&b, 77, text);
    hear(2, ND_FRAME_FILES_OFFER, &b);
}

static uint64_t newest(void)
{
    const struct rp_files_set *s = rp_store_files_set(fake.store, "extra");

    return s != NULL ? s->last : 0;
}

/* Another node takes a version of @text while it has the watch. */
static void theirs(const char *text)
{
    struct rp_file f = {.size = strlen(text), .mode = 0640};
    struct rp_batch b = {0};

    snprintf(f.path, sizeof f.path, "a.conf");
    sum_of(text, f.sum);
    rp_batch_files(&b, "extra", newest(), 0, 2, &f, 1);
    fake_foreign(&b);
}

/* --- elsewhere --- */

static void what_is_offered_is_asked_for_and_then_acknowledged(void **state)
{
    const struct fake_frame *f;
    uint8_t sum[RP_FILES_SUM_LEN];

    (void)state;
    follow(2);
    offer("hello");
    f = frame(ND_FRAME_FILES_WANT, 2);
    assert_non_null(f);
    assert_int_equal(f->bytes.len, 1 + 8 + RP_FILES_SUM_LEN);
    hear_chunk(2, "hello", 0, 5, "hel");
    f = frame(ND_FRAME_FILES_WANT, 2);
    assert_int_equal(f->bytes.p[1], 3); /* it goes on there */
    assert_null(frame(ND_FRAME_FILES_HAVE, 2));
    hear_chunk(2, "hello", 0, 5, "hel"); /* doubled */
    hear_chunk(2, "hello", 3, 5, "lo");
    pass(100);
    assert_non_null(frame(ND_FRAME_FILES_HAVE, 2));
    sum_of("hello", sum);
    assert_true(nd_files_has(fake.n, sum));
    assert_int_equal(nd_files_bytes(fake.n), 5);
    /* The answer was lost: it is told again. */
    fake_forget();
    offer("hello");
    assert_non_null(frame(ND_FRAME_FILES_HAVE, 2));
    assert_null(frame(ND_FRAME_FILES_WANT, 2));
}

static void only_the_leader_offers(void **state)
{
    (void)state;
    follow(3);
    offer("hello");
    assert_null(frame(ND_FRAME_FILES_WANT, 2));
}

static void damaged_contents_are_never_acknowledged(void **state)
{
    uint8_t sum[RP_FILES_SUM_LEN];
    const struct fake_frame *f;

    (void)state;
    follow(2);
    offer("hello");
    hear_chunk(2, "hello", 0, 5, "hellO");
    assert_null(frame(ND_FRAME_FILES_HAVE, 2));
    f = frame(ND_FRAME_FILES_WANT, 2);
    assert_int_equal(f->bytes.p[0], 1); /* Look at yours first; */
    assert_int_equal(f->bytes.p[1], 0); /* from the beginning. */
    hear_chunk(2, "hello", 0, 5, "hellO");
    assert_non_null(frame(ND_FRAME_FILES_WANT, 3)); /* another one then */
    hear_chunk(3, "hello", 0, 5, "hello");
    pass(100);
    assert_non_null(frame(ND_FRAME_FILES_HAVE, 2));
    sum_of("hellO", sum);
    assert_false(nd_files_has(fake.n, sum));
}

static void a_link_that_breaks_costs_a_chunk(void **state)
{
    const struct fake_frame *f;

    (void)state;
    follow(2);
    offer("hello");
    hear_chunk(2, "hello", 0, 5, "he");
    fake.linked[2] = false;
    fake_forget();
    pass(200);
    f = frame(ND_FRAME_FILES_WANT, 3); /* It may have it, too. */
    assert_non_null(f);
    assert_int_equal(f->bytes.p[1], 2);
    fake.linked[3] = false;
    pass(30000); /* nobody at all */
    fake_forget();
    fake.linked[2] = true;
    pass(200);
    f = frame(ND_FRAME_FILES_WANT, 2);
    assert_non_null(f);
    assert_int_equal(f->bytes.p[1], 2); /* It goes on where it was. */
}

static void what_nobody_has_is_asked_for_again_later(void **state)
{
    (void)state;
    follow(2);
    offer("hello");
    hear_chunk(2, "hello", 0, UINT64_MAX, "");
    assert_non_null(frame(ND_FRAME_FILES_WANT, 3));
    hear_chunk(3, "hello", 0, UINT64_MAX, "");
    fake_forget();
    pass(3000);
    assert_null(frame(ND_FRAME_FILES_WANT, 2));
    pass(4000);
    assert_non_null(frame(ND_FRAME_FILES_WANT, 2));
    fake_forget();
    pass(3200); /* It does not answer. */
    assert_non_null(frame(ND_FRAME_FILES_WANT, 3));
}

/* It answers that it has none of it, as often as it is asked. False: for @text. */
static bool has_nothing(uint64_t from, unsigned times, const char *text)
{
    uint8_t sum[RP_FILES_SUM_LEN];
    const struct fake_frame *f;

    sum_of(text, sum);
    for (unsigned i = 0; i < times && (f = frame(ND_FRAME_FILES_WANT, from)) != NULL;
         i++) {
        struct sy_buf b = {0};

        if (memcmp(f->bytes.p + 1 + 8, sum, sizeof sum) == 0) {
            return false;
        }
        sy_buf_u64(&b, 0);
        sy_buf_u64(&b, UINT64_MAX);
        sy_buf_put(&b, f->bytes.p + 1 + 8, sizeof sum);
        fake_forget();
        hear(from, ND_FRAME_FILES_CHUNK, &b);
    }
    return true;
}

/* More contents than can be skipped, and they died with the watch. */
static void what_a_dead_watch_offered_holds_nothing_up(void **state)
{
    enum { FILES = 40 };
    struct sy_buf b = {0};

    (void)state;
    follow(2);
    theirs("theirs");
    sy_mp_array(&b, 2 + 4 * FILES);
    sy_mp_uint(&b, 78);
    sy_mp_str(&b, "extra");
    for (unsigned i = 0; i < FILES; i++) {
        char path[8];
        uint8_t sum[RP_FILES_SUM_LEN];

        snprintf(path, sizeof path, "f%02u", i);
        sum_of(path, sum);
        sy_mp_str(&b, path);
        sy_mp_uint(&b, strlen(path));
        sy_mp_uint(&b, 0640);
        sy_mp_bin(&b, sum, sizeof sum);
    }
    hear(2, ND_FRAME_FILES_OFFER, &b);
    fake.linked[2] = false;
    pass(100);
    assert_true(has_nothing(3, 200, "theirs"));
    /* Not all the time, even while it may come back. */
    assert_null(frame(ND_FRAME_FILES_WANT, 3));
    follow(3);
    pass(1000);
    assert_false(has_nothing(3, 10, "theirs")); /* What is committed comes then. */
}

static void nothing_is_acknowledged_while_it_may_be_removed(void **state)
{
    struct sy_buf b = {0};

    (void)state;
    follow(2);
    offer("hello");
    hear_chunk(2, "hello", 0, 5, "hello");
    theirs("theirs"); /* It came to nothing: it is wanted no more. */
    pass(1200);
    hear_chunk(2, "theirs", 0, 6, "theirs");
    pass(58000);
    fake_forget();
    for (unsigned i = 0; i < 50 && queued == NULL; i++) {
        fake_pass(100, false);
    }
    assert_int_equal(fake.n->files->job.kind, ND_JOB_SWEEP);
    make_offer(&b, 79, "hello");
    fake.cb.frame(fake.n, 2, ND_FRAME_FILES_OFFER, b.p, b.len);
    sy_buf_free(&b);
    fake_pass(1000, false);
    assert_null(frame(ND_FRAME_FILES_HAVE, 2));
    work();
    pass(200);
    assert_null(frame(ND_FRAME_FILES_HAVE, 2));
    assert_non_null(frame(ND_FRAME_FILES_WANT, 2));
    hear_chunk(2, "hello", 0, 5, "hello");
    pass(100);
    assert_non_null(frame(ND_FRAME_FILES_HAVE, 2));
}

static void frames_that_are_cut_or_wrong_do_nothing(void **state)
{
    struct sy_buf b = {0}, cut = {0};
    unsigned asked;

    (void)state;
    follow(2);
    make_offer(&b, 77, "hello");
    for (size_t n = 0; n < b.len; n++) {
        sy_buf_put(&cut, b.p, n);
        hear(2, ND_FRAME_FILES_OFFER, &cut);
    }
    sy_buf_free(&b);
    assert_int_equal(fake.frames_n, 0);
    offer("hello");
    asked = fake.frames_n;
    make_chunk(&b, "hello", 0, 5, "hello");
    for (size_t n = 0; n < 8 + 8 + RP_FILES_SUM_LEN; n++) {
        sy_buf_put(&cut, b.p, n);
        hear(2, ND_FRAME_FILES_CHUNK, &cut);
        sy_buf_put(&cut, b.p, n);
        hear(2, ND_FRAME_FILES_WANT, &cut);
        sy_buf_put(&cut, b.p, n);
        hear(2, ND_FRAME_FILES_HAVE, &cut);
    }
    sy_buf_free(&b);
    hear_chunk(2, "hello", 4, 5, "oooo"); /* more than there is */
    hear_chunk(2, "other", 0, 5, "other");
    hear_chunk(3, "hello", 0, 5, "hello"); /* who was not asked */
    for (unsigned i = asked; i < fake.frames_n; i++) {
        /* A WANT of 41 bytes is as long as a cut chunk may be. */
        assert_int_equal(fake.frames[i].kind, ND_FRAME_FILES_CHUNK);
    }
    assert_null(frame(ND_FRAME_FILES_HAVE, 2));
}

/* --- on watch --- */

static void have(uint64_t from)
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
    fake_settle();
}

static void a_version_is_committed_when_a_majority_has_it(void **state)
{
    struct sy_buf b = {0};

    (void)state;
    put("a.conf", "hello");
    fake_lead();
    pass(3000);
    assert_int_equal(newest(), 0); /* Nobody has said anything. */
    sy_mp_array(&b, 1);
    sy_mp_uint(&b, 12345);
    hear(2, ND_FRAME_FILES_HAVE, &b); /* of another life */
    fake_settle();
    assert_int_equal(newest(), 0);
    have(3);
    assert_int_equal(newest(), 1);
    fake_forget();
    pass(61000);
    assert_null(frame(ND_FRAME_FILES_OFFER, 2)); /* Nothing has changed. */
    put("a.conf", "HELLO");
    pass(61000);
    have(2);
    assert_int_equal(newest(), 2);
}

static void of_two_one_is_enough_while_the_other_is_away(void **state)
{
    (void)state;
    put("a.conf", "hello");
    fake_lead();
    pass(20000);
    assert_int_equal(newest(), 0); /* It is there, and will say when it has it. */
    fake.linked[2] = false;
    pass(1000);
    assert_int_equal(newest(), 1);
}

static void told(void *data, bool error, const char *text)
{
    (void)error;
    snprintf(data, 500, "%s", text);
}

static void a_half_written_file_is_named_after_a_minute(void **state)
{
    char text[500] = "";

    (void)state;
    put("a.json", "{\"half\":");
    fake_lead();
    pass(50000);
    nd_files_issues(fake.n, told, text);
    assert_string_equal(text, "");
    pass(20000);
    nd_files_issues(fake.n, told, text);
    assert_non_null(strstr(text, "ada takes no version of extra"));
    assert_non_null(strstr(text, "a.json is half written"));
    put("a.json", "{\"half\": 2}");
    pass(3000);
    text[0] = '\0';
    nd_files_issues(fake.n, told, text);
    assert_string_equal(text, "");
    have(2);
    assert_int_equal(newest(), 1);
}

static void what_is_rolled_back_is_laid_out_and_not_undone(void **state)
{
    const struct rp_files_version *v;
    struct rp_batch b = {0};

    (void)state;
    put("a.conf", "one");
    fake_lead();
    pass(1000);
    have(2);
    put("a.conf", "two");
    pass(61000);
    have(2);
    assert_int_equal(newest(), 2);
    put("a.conf", "three"); /* and nobody has seen it yet */
    v = rp_store_files_version(fake.store, "extra", 1);
    rp_batch_files(&b, "extra", 2, 1, 1, v->list, v->n);
    fake_foreign(&b);
    pass(1000);
    assert_true(holds(dir, "a.conf", "one"));
    assert_int_equal(nd_files_asides(fake.n), 1);
    pass(61000);
    assert_int_equal(newest(), 3);
}

static void the_newest_is_laid_out_when_the_watch_is_taken(void **state)
{
    (void)state;
    put("a.conf", "mine");
    follow(2);
    theirs("theirs");
    pass(1200);
    assert_non_null(frame(ND_FRAME_FILES_WANT, 2)); /* without an offer */
    hear_chunk(2, "theirs", 0, 6, "theirs");
    assert_true(holds(dir, "a.conf", "mine")); /* Only a start touches the folder. */
    fake_lead();
    pass(500);
    assert_true(holds(dir, "a.conf", "theirs"));
    assert_int_equal(nd_files_asides(fake.n), 1);
    pass(61000);
    assert_int_equal(newest(), 1); /* It is no new version. */
    /* What this node adds to it is. */
    put("a.conf", "theirs and mine");
    pass(61000);
    have(2);
    assert_int_equal(newest(), 2);
}

static void contents_that_are_nowhere_hold_nothing_up_for_ever(void **state)
{
    char why[100];

    (void)state;
    put("a.conf", "mine");
    follow(2);
    theirs("theirs");
    fake.linked[2] = fake.linked[3] = false;
    fake_lead();
    pass(1000);
    assert_true(nd_files_hold(fake.n, why, sizeof why));
    pass(25000);
    assert_false(nd_files_hold(fake.n, why, sizeof why));
    assert_true(holds(dir, "a.conf", "mine"));
    pass(61000);
    assert_int_equal(newest(), 1); /* Of unknown origin: it does not become the newest. */
    fake_forget();
    fake.linked[2] = true;
    for (unsigned i = 0; i < 100 && frame(ND_FRAME_FILES_WANT, 2) == NULL; i++) {
        pass(100);
    }
    hear_chunk(2, "theirs", 0, 6, "theirs");
    pass(35000);
    assert_true(holds(dir, "a.conf", "theirs"));
}

#define CASE(F) cmocka_unit_test_setup_teardown(F, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_offered_is_asked_for_and_then_acknowledged),
        CASE(only_the_leader_offers),
        CASE(damaged_contents_are_never_acknowledged),
        CASE(a_link_that_breaks_costs_a_chunk),
        CASE(what_nobody_has_is_asked_for_again_later),
        CASE(what_a_dead_watch_offered_holds_nothing_up),
        CASE(nothing_is_acknowledged_while_it_may_be_removed),
        CASE(frames_that_are_cut_or_wrong_do_nothing),
        CASE(a_version_is_committed_when_a_majority_has_it),
        cmocka_unit_test_setup_teardown(of_two_one_is_enough_while_the_other_is_away,
                                        begin_two, end),
        CASE(a_half_written_file_is_named_after_a_minute),
        CASE(what_is_rolled_back_is_laid_out_and_not_undone),
        CASE(the_newest_is_laid_out_when_the_watch_is_taken),
        CASE(contents_that_are_nowhere_hold_nothing_up_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Folders that move with the watch: what a node does with them, and with its peers. */

#include <stdio.h>
#include <string.h>

#include "tests/node/files_rig.h"

static int begin(void **state)
{
    (void)state;
    open_nodes(3, false);
    return 0;
}

static int begin_two(void **state)
{
    (void)state;
    open_nodes(2, false);
    return 0;
}

static int end(void **state)
{
    (void)state;
    return end_nodes();
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

static void a_version_that_was_committed_late_is_ours_still(void **state)
{
    (void)state;
    put("a.conf", "one");
    fake_lead();
    pass(1000);
    acknowledge(2);
    put("a.conf", "two");
    for (unsigned i = 0; i < 120; i++) { /* Nothing is committed. */
        fake_pass(100, false);
        work();
    }
    assert_int_equal(newest(), 0);
    fake_settle();
    assert_int_equal(newest(), 1);
    pass(3000);
    have(2);
    assert_int_equal(newest(), 2);
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
        CASE(a_version_that_was_committed_late_is_ours_still),
        CASE(a_half_written_file_is_named_after_a_minute),
        CASE(what_is_rolled_back_is_laid_out_and_not_undone),
        CASE(the_newest_is_laid_out_when_the_watch_is_taken),
        CASE(contents_that_are_nowhere_hold_nothing_up_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

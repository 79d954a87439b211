/* Versions of files, asked for by operators of a node that leads. */

#include <stdio.h>
#include <fcntl.h>
#include <string.h>

#include "adapters/files/disk.h"
#include "tests/node/asking.h"

#include "node/files_impl.h"

static uv_work_t *queued;
static uv_after_work_cb queued_done;

/* The disk is slow: what is asked of it is done at the end. */
int uv_queue_work(uv_loop_t *loop, uv_work_t *req, uv_work_cb work_cb,
                  uv_after_work_cb after_work_cb)
{
    (void)loop;
    assert_null(queued);
    req->work_cb = work_cb;
    queued = req;
    queued_done = after_work_cb;
    return 0;
}

int uv_fs_event_init(uv_loop_t *loop, uv_fs_event_t *event)
{
    (void)loop;
    (void)event;
    return UV_ENOSYS;
}

static char dir[64];
static struct rp_file list[2];

static int open_with_files(void **state)
{
    struct nd_config_files *f;

    (void)state;
    fake_folder(dir);
    fake_open(3);
    f = &fake.n->config.files[fake.n->config.files_n++];
    snprintf(f->name, sizeof f->name, "conf");
    snprintf(f->dir, sizeof f->dir, "%s/conf", dir);
    snprintf(fake.n->config.data_dir, sizeof fake.n->config.data_dir, "%s", dir);
    fake_begin();
    fake_lead();
    fake_sound(2, "standby");
    fake_sound(3, "standby");
    return 0;
}

static int close_with_files(void **state)
{
    (void)state;
    fake_close();
    if (queued != NULL) {
        queued->work_cb(queued);
        queued_done(queued, 0);
        queued = NULL;
    }
    return ad_files__remove(AT_FDCWD, dir);
}

/* @here: its contents are on this node. */
static void take(const char *set, uint64_t follows, bool here)
{
    struct rp_batch b = {0};

    memset(list, 0, sizeof list);
    snprintf(list[0].path, sizeof list[0].path, "a");
    snprintf(list[1].path, sizeof list[1].path, "b");
    list[0].size = list[1].size = 5;
    memset(list[1].sum, (int)follows + 1, sizeof list[1].sum);
    rp_batch_files(&b, set, follows, 0, 2, list, 2);
    fake_apply(&b);
    rp_batch_free(&b);
    for (unsigned i = 0; i < 2 && here; i++) {
        nd_files_hold_sum(fake.n->files, list[i].sum);
    }
}

static void roll_back(const char *set, uint64_t version)
{
    fake_args_begin(2);
    sy_mp_kstr(&fake_args, "set", set);
    sy_mp_kuint(&fake_args, "version", version);
    fake_ask(1, "files_rollback", &fake_args);
}

static uint64_t newest(void)
{
    return rp_store_files_version(fake.store, "conf", 0)->nr;
}

static void what_is_not_there_is_named(void **state)
{
    (void)state;
    fake_ask_text(1, "files", "set", "none");
    fake_refused(1, "not_found", "no set of files is called 'none'");
    fake_ask_text(1, "files", "set", "conf");
    fake_refused(2, "not_found", "there is no version of conf yet");
    roll_back("conf", 1);
    fake_refused(3, "not_found", "there is no version of conf yet");
    take("conf", 0, true);
    roll_back("conf", 2);
    fake_refused(4, "not_found", "version 2 of conf is not kept");
    roll_back("conf", 0);
    fake_refused(5, "not_found", "version 0 of conf is not kept");
    fake_ask_text(1, "files_diff", "set", "x");
    fake_refused(6, "not_found", "no set of files is called 'x'");
    fake_ask_uint(1, "files", "set", 3);
    fake_refused(7, "invalid", "'set' must be UTF-8 text");
}

static void an_old_version_is_the_newest_again(void **state)
{
    struct sy_cur c;

    (void)state;
    take("conf", 0, true);
    take("conf", 1, true);
    roll_back("conf", 2);
    fake_refused(1, "invalid", "is what the newest is");
    roll_back("conf", 1);
    assert_int_equal(fake.replies_n, 1); /* Not before it is committed. */
    fake_settle();
    assert_int_equal(fake.replies_n, 2);
    c = fake_result();
    assert_int_equal(nd_map_uint(c, "version", 0), 3);
    assert_int_equal(nd_map_uint(c, "from", 0), 1);
    assert_int_equal(newest(), 3);
    assert_int_equal(rp_store_files_version(fake.store, "conf", 3)->list[1].sum[0], 1);
}

static void contents_that_are_not_here_cannot_be_rolled_back_to(void **state)
{
    (void)state;
    take("conf", 0, false);
    take("conf", 1, true);
    roll_back("conf", 1);
    fake_refused(1, "unavailable", "1 of 2 contents of version 1 of conf are not on ada");
    fake_settle();
    assert_int_equal(newest(), 2);
}

static void a_node_that_would_stop_at_it_is_upgraded_first(void **state)
{
    struct sy_buf old = {0};

    (void)state;
    take("conf", 0, true);
    take("conf", 1, true);
    sy_mp_map(&old, 1);
    sy_mp_kuint(&old, "id", 3);
    fake_gossip(3, &old, NULL);
    sy_buf_free(&old);
    roll_back("conf", 1);
    fake_refused(1, "unavailable", "cleo runs a vagtd that does not know of files");
    fake.linked[3] = false;
    roll_back("conf", 1);
    fake_settle();
    assert_int_equal(newest(), 3);
}

static void of_two_at_a_time_one_is_told_to_ask_again(void **state)
{
    (void)state;
    take("conf", 0, true);
    take("conf", 1, true);
    take("conf", 2, true);
    roll_back("conf", 1);
    roll_back("conf", 2);
    fake_settle();
    assert_int_equal(newest(), 4);
    assert_int_equal(rp_store_files_version(fake.store, "conf", 4)->from, 1);
    fake_refused(2, "busy", "another version of conf came first");
}

static void a_lost_term_is_said(void **state)
{
    (void)state;
    take("conf", 0, true);
    take("conf", 1, true);
    roll_back("conf", 1);
    fake_turn();
    fake_lose(0, 2, 9);
    assert_int_equal(fake.replies_n, 1);
    assert_int_equal(newest(), 2);
    assert_string_not_equal(fake_error((char[32]){0}), "");
}

static void only_what_nobody_uses_is_forgotten(void **state)
{
    struct sy_buf b = {0};

    (void)state;
    take("conf", 0, true);
    take("old", 0, true);
    nd_files_put_sets(fake.n, &b);
    assert_int_equal(b.p[0], 0x92); /* Both are told of. */
    sy_buf_free(&b);
    fake_ask_text(1, "files_forget", "set", "conf");
    fake_refused(1, "invalid", "of the configuration");
    fake_ask_text(1, "files_forget", "set", "old");
    fake_settle();
    assert_int_equal(fake.replies_n, 2);
    (void)fake_result();
    assert_null(rp_store_files_set(fake.store, "old"));
}

static void who_lacks_the_newest_is_named(void **state)
{
    char text[256] = "";
    struct nd_issues issues;

    (void)state;
    take("conf", 0, false);
    assert_int_equal(nd_files_ready(fake.n, 0, text, sizeof text), ND_READY_NO);
    assert_string_equal(text, "version 1 is not here: 2 of 2 contents are missing");
    fake_pass(61000, true);
    fake_sound(2, "standby");
    fake_sound(3, "standby");
    nd_issues_find(fake.n, &issues);
    text[0] = '\0';
    for (unsigned i = 0; i < issues.n; i++) {
        if (strstr(issues.list[i].text, "is not on bea yet") != NULL) {
            snprintf(text, sizeof text, "%s", issues.list[i].text);
        }
    }
    assert_string_equal(text,
                        "version 1 of the files of conf is not on bea yet: if that took "
                        "the watch now, it would start with an older one");
    for (unsigned i = 0; i < 2; i++) {
        nd_files_hold_sum(fake.n->files, list[i].sum);
    }
    assert_int_equal(nd_files_ready(fake.n, 0, text, sizeof text), ND_READY_YES);
}

int main(void)
{
#define TEST(NAME) \
    cmocka_unit_test_setup_teardown(NAME, open_with_files, close_with_files)
    const struct CMUnitTest tests[] = {
        TEST(what_is_not_there_is_named),
        TEST(an_old_version_is_the_newest_again),
        TEST(contents_that_are_not_here_cannot_be_rolled_back_to),
        TEST(a_node_that_would_stop_at_it_is_upgraded_first),
        TEST(of_two_at_a_time_one_is_told_to_ask_again),
        TEST(a_lost_term_is_said),
        TEST(only_what_nobody_uses_is_forgotten),
        TEST(who_lacks_the_newest_is_named),
    };

    return cmocka_run_group_tests_name("files_ops", tests, NULL, NULL);
}

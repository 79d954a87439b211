/* Backups: when one is made, by whom, and what is said of it. */

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/node/fake_node.h"

static char folder[64];
static bool no_pidfd;

int pidfd_open(pid_t pid, unsigned flags)
{
    if (no_pidfd) {
        errno = ENOSYS;
        return -1;
    }
    return (int)syscall(SYS_pidfd_open, pid, flags);
}

static int open_site(void **state)
{
    (void)state;
    fake_folder(folder);
    fake_open(3);
    fake.n->config.log_level = SY_INFO;
    snprintf(fake.n->config.backup.dir, sizeof fake.n->config.backup.dir, "%s", folder);
    snprintf(fake.n->config.backup.at, sizeof fake.n->config.backup.at, "03:30");
    fake.n->config.backup.keep = 2;
    fake.n->config.backup.timeout_ms = 600000;
    fake_begin();
    return 0;
}

static int close_site(void **state)
{
    (void)state;
    fake_close();
    return fake_folder_remove(folder);
}

/* If memory runs out it is the child that is killed, not the node. */
static void it_would_have_died_first(pid_t child)
{
    char path[64], score[16] = "";
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)child);
    f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(score, sizeof score, f));
    fclose(f);
    assert_string_equal(score, "1000\n");
}

/* The child writes, and its end is noticed. */
static void child_ends(void)
{
    siginfo_t info;

    assert_non_null(fake.poll);
    assert_int_equal(waitid(P_PID, (id_t)fake.n->backup.child, &info, WEXITED | WNOWAIT),
                     0);
    fake.poll_cb(fake.poll, 0, UV_READABLE);
    fake_settle();
}

static void begins_within(unsigned minutes)
{
    for (unsigned i = 0; i < minutes && fake.poll == NULL; i++) {
        fake_pass(60 * 1000, true);
    }
    assert_non_null(fake.poll);
}

static const char *fact(const char *key)
{
    const struct rp_fact *f = rp_store_fact(fake.store, key);

    return f != NULL ? f->value : "";
}

static bool is_said(const char *what, bool error)
{
    struct nd_issues issues;

    nd_issues_find(fake.n, &issues);
    for (unsigned i = 0; i < issues.n; i++) {
        if (issues.list[i].error == error && strstr(issues.list[i].text, what) != NULL) {
            return true;
        }
    }
    return false;
}

static void the_one_on_watch_makes_one_a_day(void **state)
{
    char first[RP_FACT_VALUE_SIZE];
    siginfo_t info;

    (void)state;
    fake_pass(2000, true);
    assert_null(fake.poll); /* Nobody is on watch. */
    fake_lead();
    fake_pass(2000, true);
    assert_int_equal(waitid(P_PID, (id_t)fake.n->backup.child, &info, WEXITED | WNOWAIT),
                     0);
    it_would_have_died_first(fake.n->backup.child);
    child_ends();
    assert_int_equal(fake.n->backup.done, 1);
    snprintf(first, sizeof first, "%s", fact("backup.verified"));
    assert_non_null(strstr(first, "vagt-"));
    fake_pass(3600 * 1000, true);
    assert_null(fake.poll);
    begins_within(24 * 60);
    child_ends();
    assert_int_equal(fake.n->backup.done, 2);
    assert_string_not_equal(first, fact("backup.verified"));
    assert_false(is_said("backup", true) || is_said("backup", false));
}

static void its_end_is_noticed_without_a_pidfd(void **state)
{
    siginfo_t info;

    (void)state;
    no_pidfd = true;
    fake_lead();
    for (unsigned i = 0; i < 20 && fake.n->backup.child <= 0 && fake.n->backup.done == 0;
         i++) {
        fake_pass(100, true);
    }
    no_pidfd = false;
    assert_null(fake.poll);
    if (fake.n->backup.child > 0) { /* Or a quick one was seen to end already. */
        assert_int_equal(
            waitid(P_PID, (id_t)fake.n->backup.child, &info, WEXITED | WNOWAIT), 0);
    }
    fake_pass(2000, true);
    assert_int_equal(fake.n->backup.done, 1);
}

static void one_that_fails_is_told_and_tried_again(void **state)
{
    (void)state;
    snprintf(fake.n->config.backup.dir, sizeof fake.n->config.backup.dir, "/nowhere");
    fake_lead();
    fake_pass(2000, true);
    child_ends();
    assert_int_equal(fake.n->backup.failed, 1);
    assert_true(is_said("the last backup failed: cannot create /nowhere/", true));
    fake_pass(10 * 60 * 1000, true);
    assert_null(fake.poll);
    snprintf(fake.n->config.backup.dir, sizeof fake.n->config.backup.dir, "%s", folder);
    begins_within(6);
    child_ends();
    assert_int_equal(fake.n->backup.done, 1);
    assert_false(is_said("backup", true) || is_said("backup", false));
}

static unsigned files_in(const char *dir)
{
    DIR *d = opendir(dir);
    unsigned n = 0;
    struct dirent *e;

    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        n += e->d_name[0] != '.';
    }
    closedir(d);
    return n;
}

/* Whatever kills it, as often as it is tried again: a share would fill up. */
static void those_that_are_killed_leave_one_file(void **state)
{
    struct rlimit was, small;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = (struct rlimit){.rlim_cur = 4096, .rlim_max = was.rlim_max};
    fake_lead();
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        begins_within(20);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
        child_ends(); /* By SIGXFSZ, after 4 KiB. */
        assert_int_equal(fake.n->backup.failed, i);
    }
    assert_int_equal(files_in(folder), 1);
    begins_within(20);
    child_ends();
    assert_int_equal(fake.n->backup.done, 1);
    assert_int_equal(files_in(folder), 1); /* the good one */
}

/* A share that does not answer, as far as the child can tell: a pipe without an end. */
static void one_that_hangs_holds_up_nobody(void **state)
{
    char fifo[96];

    (void)state;
    snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    snprintf(fake.n->config.backup.encrypt_to, sizeof fake.n->config.backup.encrypt_to,
             "%s", fifo);
    fake.n->config.backup.timeout_ms = 5000;
    fake_lead();
    fake_pass(1000, true);
    assert_non_null(fake.poll);
    fake_pass(3000, true);
    assert_string_equal(fact("backup.failed"), "");
    fake_pass(2000, true);
    assert_non_null(strstr(fact("backup.failed"), "did not end within 5 s"));
    child_ends(); /* It was killed. */
    assert_int_equal(fake.n->backup.failed, 1);
    assert_int_equal(fake.n->backup.done, 0);
    assert_int_equal(cs_watch_state(&fake.n->watch), CS_ACTIVE);
}

/* The teardown closes the node: that it does so, and waits for nobody, is the test. */
static void a_stop_does_not_wait_for_it(void **state)
{
    char fifo[96];

    (void)state;
    snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    snprintf(fake.n->config.backup.encrypt_to, sizeof fake.n->config.backup.encrypt_to,
             "%s", fifo);
    fake_lead();
    begins_within(1);
    assert_true(fake.n->backup.child > 0);
}

static void an_old_one_is_an_issue(void **state)
{
    char text[64];

    (void)state;
    fake_lead();
    fake_pass(2000, true);
    child_ends();
    snprintf(text, sizeof text, "%" PRIu64 " 1 x", fake.wall_ms - 50 * 3600 * 1000);
    rp_batch_fact(&fake.batch, "backup.verified", text);
    fake_lose(0, 2, fake.term + 1); /* It is another's to make. */
    fake_pass(1000, true);
    rp_batch_fact(&fake.batch, "backup.verified", text);
    fake_apply(&fake.batch);
    assert_true(is_said("the last verified backup is 2 days old", true));
}

static void asked_for_it_is_answered(void **state)
{
    struct sy_buf args = {.p = NULL};
    char code[32];

    (void)state;
    sy_mp_map(&args, 1);
    sy_mp_kstr(&args, "dir", "relative");
    fake_ask(1, "backup", &args);
    (void)fake_error(code);
    assert_string_equal(code, "invalid");
    fake_lead();
    fake_ask(1, "backup", NULL);
    assert_non_null(fake.poll);
    fake_ask(2, "backup", NULL);
    (void)fake_error(code);
    assert_string_equal(code, "busy");
    child_ends();
    assert_string_equal(fake_error(code), "");
    sy_buf_free(&args);
}

static void the_hour_is_the_last_one(void **state)
{
    const uint64_t hour = 3600 * 1000, day = 24 * hour, noon = 1764072000000;

    (void)state;
    assert_int_equal(setenv("TZ", "UTC", 1), 0);
    tzset();
    assert_true(nd_backup_due_ms(noon, "03:30") == noon - hour * 17 / 2);
    assert_true(nd_backup_due_ms(noon, "12:00") == noon);
    assert_true(nd_backup_due_ms(noon, "12:01") == noon + 60000 - day);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_one_on_watch_makes_one_a_day, open_site,
                                        close_site),
        cmocka_unit_test_setup_teardown(its_end_is_noticed_without_a_pidfd, open_site,
                                        close_site),
        cmocka_unit_test_setup_teardown(one_that_fails_is_told_and_tried_again, open_site,
                                        close_site),
        cmocka_unit_test_setup_teardown(those_that_are_killed_leave_one_file, open_site,
                                        close_site),
        cmocka_unit_test_setup_teardown(one_that_hangs_holds_up_nobody, open_site,
                                        close_site),
        cmocka_unit_test_setup_teardown(a_stop_does_not_wait_for_it, open_site,
                                        close_site),
        cmocka_unit_test_setup_teardown(an_old_one_is_an_issue, open_site, close_site),
        cmocka_unit_test_setup_teardown(asked_for_it_is_answered, open_site, close_site),
        cmocka_unit_test(the_hour_is_the_last_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

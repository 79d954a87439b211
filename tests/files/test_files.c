/* Folders taken as versions and laid out again, on a real file system. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "adapters/files/disk.h"

enum { LATER_MS = 10000, PATH = 400, NOBODY = 65534 };

static char root[128], dir[160], aside[160];
static struct ad_files_store store;
static struct ad_files_set set;
static struct sy_errbuf eb;

static int64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void put(const char *name, const char *text, mode_t mode)
{
    char path[PATH];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void holds(const char *name, const char *text, mode_t mode)
{
    char path[PATH], is[256] = "";
    struct stat st;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "r");
    assert_non_null(f);
    is[fread(is, 1, sizeof is - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(is, text);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, mode);
}

static int take(int64_t later_ms)
{
    return ad_files_take(&store, dir, now() + later_ms, &set, &eb);
}

static int begin(void **state)
{
    char path[PATH];
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(root, sizeof root, "%.80s/vagt-files-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(root));
    snprintf(dir, sizeof dir, "%s/area1", root);
    snprintf(aside, sizeof aside, "%s/before", root);
    snprintf(path, sizeof path, "%s/objects", root);
    assert_int_equal(mkdir(dir, 0750), 0);
    assert_int_equal(ad_files_open(&store, path, 4096, &eb), 0);
    put("configuration.yaml", "mqtt:\n  base_topic: a1\n", 0640);
    put("database.db", "{\"id\":1}\n{\"id\":2}", 0640);
    put("secret.yaml", "key: x\n", 0600);
    snprintf(path, sizeof path, "%s/external_converters", dir);
    assert_int_equal(mkdir(path, 0750), 0);
    put("external_converters/meter.js", "1;\n", 0640);
    snprintf(path, sizeof path, "%s/log", dir);
    assert_int_equal(mkdir(path, 0750), 0);
    put("log/today", "noise", 0640);
    return 0;
}

static int end(void **state)
{
    (void)state;
    return ad_files__remove(AT_FDCWD, root);
}

static void what_was_taken_is_laid_out_again(void **state)
{
    char old[PATH];

    (void)state;
    assert_int_equal(take(LATER_MS), 0);
    assert_int_equal(set.n, 4);
    assert_string_equal(set.list[0].path, "configuration.yaml");
    assert_string_equal(set.list[2].path, "external_converters/meter.js");
    put("database.db", "{\"id\":9}", 0640);
    put("stray", "s", 0640);
    assert_int_equal(ad_files_lay(&store, &set, "1 2", dir, aside, &eb), 0);
    holds("database.db", "{\"id\":1}\n{\"id\":2}", 0640);
    holds("secret.yaml", "key: x\n", 0600);
    holds("external_converters/meter.js", "1;\n", 0640);
    holds("log/today", "noise", 0640);
    /* Set aside, not merged and not lost. */
    snprintf(old, sizeof old, "%s/stray", dir);
    assert_int_not_equal(access(old, F_OK), 0);
    snprintf(old, sizeof old, "%s/stray", aside);
    assert_int_equal(access(old, F_OK), 0);
    /* Not over one that was set aside before. */
    assert_int_equal(ad_files_lay(&store, &set, "1 2", dir, aside, &eb), SY_EEXISTS);
}

/* Dies at the @nth renaming. */
static unsigned dies_at;

static void maybe_die(void)
{
    if (dies_at > 0 && --dies_at == 0) {
        _exit(7);
    }
}

int renameat2(int from_at, const char *from, int to_at, const char *to,
              unsigned int flags)
{
    maybe_die();
    return (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
}

int rename(const char *from, const char *to)
{
    maybe_die();
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0U);
}

/* Is a file @name somewhere below the root, in a folder that nobody removes unasked? */
static bool is_kept(const char *name)
{
    char of_dir[PATH], of_aside[PATH], of_again[PATH];

    snprintf(of_dir, sizeof of_dir, "%s/%s", dir, name);
    snprintf(of_aside, sizeof of_aside, "%s/%s", aside, name);
    snprintf(of_again, sizeof of_again, "%s-again/%s", aside, name);
    return access(of_dir, F_OK) == 0 || access(of_aside, F_OK) == 0 ||
           access(of_again, F_OK) == 0;
}

static void what_nobody_else_has_outlives_a_death_at_each_step(void **state)
{
    char again[sizeof aside + 8];
    int status = 0;
    unsigned nth;

    (void)state;
    for (nth = 1; nth < 10; nth++) {
        pid_t child;

        assert_int_equal(take(LATER_MS), 0);
        put("stray", "s", 0640);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            dies_at = nth;
            _exit(ad_files_lay(&store, &set, "1 2", dir, aside, &eb) == 0 ? 0 : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_true(is_kept("stray"));
        if (WEXITSTATUS(status) == 0) {
            break; /* It does no more renamings. */
        }
        assert_int_equal(WEXITSTATUS(status), 7);
        snprintf(again, sizeof again, "%s-again", aside);
        assert_int_equal(ad_files_lay(&store, &set, "1 2", dir, again, &eb), 0);
        assert_true(is_kept("stray"));
        holds("database.db", "{\"id\":1}\n{\"id\":2}", 0640);
        assert_int_equal(end(NULL), 0);
        assert_int_equal(begin(NULL), 0);
    }
    assert_in_range(nth, 3, 9);
}

static void half_written_or_fresh_files_are_not_taken(void **state)
{
    (void)state;
    assert_int_equal(take(0), SY_EBUSY); /* written just now */
    put("database.db", "{\"id\":1}\n{\"id\":", 0640);
    assert_int_equal(take(LATER_MS), SY_EBUSY);
    assert_non_null(strstr(eb.text, "database.db is half written or damaged at line 2"));
    put("database.db", "", 0640);
    assert_int_equal(take(LATER_MS), SY_EBUSY);
    put("database.db", "{\"id\":1}", 0640);
    put("state.json", "{\"0x1\": {\"state\"", 0640);
    assert_int_equal(take(LATER_MS), SY_EBUSY);
    put("state.json", "{}", 0640);
    put("configuration.yaml", "mqtt: {base_topic: \"a1", 0640);
    assert_int_equal(take(LATER_MS), SY_EBUSY);
    assert_int_equal(store.bytes, 0); /* nothing of a version that was not taken */
}

static void *no_memory(size_t n)
{
    (void)n;
    return NULL;
}

/* A tree of it would take up to 45 times as much. */
static void what_is_large_is_looked_at_by_its_end(void **state)
{
    const size_t n = 2 * 1024 * 1024;
    char *p = malloc(n);

    (void)state;
    json_set_alloc_funcs(no_memory, free);
    memset(p, '1', n);
    memcpy(p + n - 3, "1}\n", 3);
    assert_int_equal(ad_files_check("state.json", p, n, &eb), 0);
    assert_int_equal(ad_files_check("database.db", p, n, &eb), 0);
    p[n - 2] = ']';
    assert_int_equal(ad_files_check("state.json", p, n, &eb), 0);
    assert_int_equal(ad_files_check("state.json", p, n - 2, &eb), SY_EBUSY);
    assert_non_null(strstr(eb.text, "state.json is half written"));
    memset(p + n - 1, 0, 1); /* as a power cut leaves it */
    assert_int_equal(ad_files_check("state.json", p, n, &eb), SY_EBUSY);
    json_set_alloc_funcs(malloc, free);
    free(p);
}

static const char *planted; /* where the link leads that somebody is quick to put there */
static const char *intruder; /* the same, of one who owns what is laid out */

static void intrude(void)
{
    char from[PATH], to[PATH];
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        snprintf(from, sizeof from, "%s.new/external_converters", dir);
        snprintf(to, sizeof to, "%s.new/moved", dir);
        if (setgid(NOBODY) == 0 && setuid(NOBODY) == 0 &&
            syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0U) == 0) {
            (void)!symlink(intruder, from);
        }
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    intruder = NULL;
}

int mkdirat(int at, const char *path, mode_t mode)
{
    if (planted != NULL) {
        assert_int_equal(symlinkat(planted, at, path), 0);
        planted = NULL;
    }
    if (syscall(SYS_mkdirat, at, path, mode) != 0) {
        return -1;
    }
    if (intruder != NULL && strcmp(path, "external_converters") == 0) {
        intrude();
    }
    return 0;
}

static void a_link_in_its_place_leads_nowhere(void **state)
{
    char victim[PATH];
    struct stat st;

    (void)state;
    assert_int_equal(take(LATER_MS), 0);
    snprintf(victim, sizeof victim, "%s/victim", root);
    assert_int_equal(mkdir(victim, 0700), 0);
    planted = victim;
    assert_int_equal(ad_files_lay(&store, &set, "1 2", dir, aside, &eb), -EEXIST);
    assert_int_equal(stat(victim, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(rmdir(victim), 0); /* And nothing is in it. */
    assert_int_equal(ad_files_lay(&store, &set, "1 2", dir, aside, &eb), 0);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0750);
}

/* Runs vagtd as root and the bridge as another user, the bridge is taken over, and puts
 * a link where a folder is while its data are laid out. */
static void who_owns_the_folder_stays_out_until_it_is_there(void **state)
{
    char victim[PATH], path[PATH];
    struct stat st;

    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(take(LATER_MS), 0);
    snprintf(victim, sizeof victim, "%s/victim", root);
    assert_int_equal(mkdir(victim, 0777), 0);
    assert_int_equal(chmod(root, 0755), 0);
    assert_int_equal(chown(dir, NOBODY, NOBODY), 0);
    intruder = victim;
    assert_int_equal(ad_files_lay(&store, &set, "1 2", dir, aside, &eb), 0);
    assert_null(intruder);              /* He was there, */
    assert_int_equal(rmdir(victim), 0); /* in vain. */
    holds("external_converters/meter.js", "1;\n", 0640);
    snprintf(path, sizeof path, "%s/external_converters", dir);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_uid, NOBODY);
    assert_int_equal(st.st_mode & 0777, 0750);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_uid, NOBODY);
    assert_int_equal(st.st_mode & 0777, 0750);
}

static void links_and_paths_that_lead_out_are_refused(void **state)
{
    char path[PATH];

    (void)state;
    assert_int_equal(take(LATER_MS), 0);
    snprintf(path, sizeof path, "%s/shadow", dir);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(take(LATER_MS), SY_EINVALID);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(take(LATER_MS), 0);
    snprintf(set.list[3].path, sizeof set.list[3].path, "a/../../b");
    assert_int_equal(ad_files_lay(&store, &set, "1 2", dir, aside, &eb), SY_EINVALID);
    holds("secret.yaml", "key: x\n", 0600); /* as it was */
    assert_false(ad_files_path_ok("/a"));
    assert_false(ad_files_path_ok("a//b"));
    assert_false(ad_files_path_ok("a/"));
    assert_false(ad_files_path_ok(""));
    assert_true(ad_files_path_ok("a/b..c"));
}

static void damaged_content_is_told_and_nothing_is_laid_out(void **state)
{
    char path[PATH];
    FILE *f;

    (void)state;
    assert_int_equal(take(LATER_MS), 0);
    snprintf(path, sizeof path, "%s/%s", store.dir, set.list[1].sum);
    f = fopen(path, "r+");
    assert_non_null(f);
    fputc('x', f);
    fclose(f);
    put("database.db", "{\"id\":9}", 0640);
    assert_int_equal(ad_files_lay(&store, &set, "1 2", dir, aside, &eb), SY_ECORRUPT);
    holds("database.db", "{\"id\":9}", 0640);
    assert_false(ad_files_has(&store, set.list[1].sum)); /* to be copied anew */
}

static bool is_first(void *data, const char *sum)
{
    return strcmp(data, sum) == 0;
}

static void the_store_has_a_limit_and_can_be_swept(void **state)
{
    static char big[5000];
    char sum[AD_FILES_SUM_SIZE];
    struct sy_buf b = {0};

    (void)state;
    assert_int_equal(ad_files_put(&store, big, sizeof big, sum, &eb), SY_ELIMIT);
    memset(big, 'x', sizeof big - 1);
    put("big", big, 0640);
    assert_int_equal(take(LATER_MS), SY_ELIMIT);
    assert_non_null(strstr(eb.text, "bytes of at most 4096: no room"));
    put("big", "", 0640);
    assert_int_equal(take(LATER_MS), 0);
    assert_int_equal(ad_files_sweep(&store, is_first, set.list[0].sum), 0);
    assert_int_equal(store.bytes, set.list[0].size);
    assert_int_equal(ad_files_get(&store, set.list[0].sum, &b, &eb), 0);
    assert_int_equal(b.len, set.list[0].size);
    assert_int_equal(ad_files_get(&store, set.list[1].sum, &b, &eb), SY_ENOTFOUND);
    sy_buf_free(&b);
}

static void a_folder_that_is_too_large_is_not_read(void **state)
{
    char path[PATH];

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        char name[8] = "big0";

        name[3] = (char)('0' + i);
        put(name, "", 0640);
        snprintf(path, sizeof path, "%s/%s", dir, name);
        assert_int_equal(truncate(path, 15 * 1024 * 1024), 0);
    }
    assert_int_equal(ad_files_look(dir, now() + LATER_MS, &set, &eb), SY_ELIMIT);
    assert_non_null(strstr(eb.text, "area1 holds more than 64 MiB"));
}

static void the_mark_stays_with_the_folder(void **state)
{
    char mark[AD_FILES_MARK_SIZE];

    (void)state;
    ad_files_marked(dir, mark);
    assert_string_equal(mark, "");
    assert_int_equal(ad_files_mark(dir, "6 1", &eb), 0);
    assert_int_equal(ad_files_mark(dir, "7 1", &eb), 0);
    ad_files_marked(dir, mark);
    assert_string_equal(mark, "7 1");
    assert_int_equal(take(LATER_MS), 0);
    assert_int_equal(set.n, 4); /* no part of the version */
    assert_int_equal(ad_files_lay(&store, &set, "8 1", dir, aside, &eb), 0);
    ad_files_marked(dir, mark);
    assert_string_equal(mark, "8 1");
    ad_files_marked(aside, mark);
    assert_string_equal(mark, "7 1");
}

static void of_what_was_moved_aside_some_is_kept(void **state)
{
    char path[PATH];

    (void)state;
    for (unsigned i = 1; i <= 4; i++) {
        snprintf(path, sizeof path, "%s.aside-%u", dir, i);
        assert_int_equal(mkdir(path, 0750), 0);
    }
    assert_int_equal(ad_files_thin(dir, ".aside-", 3, &eb), 0);
    for (unsigned i = 1; i <= 4; i++) {
        snprintf(path, sizeof path, "%s.aside-%u", dir, i);
        assert_int_equal(access(path, F_OK), i == 1 ? -1 : 0);
    }
    assert_int_equal(access(dir, F_OK), 0);
}

static void contents_from_elsewhere_are_checked(void **state)
{
    char sum[AD_FILES_SUM_SIZE];
    struct sy_buf b = {0};
    uint64_t total;

    (void)state;
    ad_files__sum("hello", 5, sum);
    assert_int_equal(ad_files_keep(&store, sum, "hellO", 5, &eb), SY_ECORRUPT);
    assert_false(ad_files_has(&store, sum));
    assert_int_equal(ad_files_keep(&store, sum, "hello", 5, &eb), 0);
    assert_int_equal(ad_files_piece(&store, sum, 1, 3, &b, &total), 0);
    assert_int_equal(total, 5);
    assert_memory_equal(b.p, "ell", 3);
    assert_int_equal(ad_files_piece(&store, sum, 6, 3, &b, &total), SY_EINVALID);
    assert_int_equal(b.len, 3);
    sy_buf_free(&b);
}

#define CASE(F) cmocka_unit_test_setup_teardown(F, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_was_taken_is_laid_out_again),
        CASE(what_nobody_else_has_outlives_a_death_at_each_step),
        CASE(half_written_or_fresh_files_are_not_taken),
        CASE(what_is_large_is_looked_at_by_its_end),
        CASE(a_link_in_its_place_leads_nowhere),
        CASE(who_owns_the_folder_stays_out_until_it_is_there),
        CASE(links_and_paths_that_lead_out_are_refused),
        CASE(damaged_content_is_told_and_nothing_is_laid_out),
        CASE(the_store_has_a_limit_and_can_be_swept),
        CASE(a_folder_that_is_too_large_is_not_read),
        CASE(the_mark_stays_with_the_folder),
        CASE(of_what_was_moved_aside_some_is_kept),
        CASE(contents_from_elsewhere_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The same log in a real folder. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/wal/rig.h"

static char folder[64];
static struct ad_wal_fs fs;
static struct sy_errbuf eb;
static struct ad_wal_config config;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st;
    (void)type;
    (void)f;
    return remove(path);
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/vagt-wal-XXXXXX");
    ad_wal_config_default(&config);
    config.segment_size = 64 * 1024;
    return mkdtemp(folder) == NULL || ad_wal_disk_open(&fs, folder, &eb) < 0;
}

static int teardown(void **state)
{
    (void)state;
    ad_wal_disk_close(&fs);
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct ad_wal *open_log(struct cs_core_boot *boot)
{
    struct ad_wal *w = NULL;

    if (ad_wal_open(&w, &fs, &config, rig_identity, boot, &eb) < 0) {
        fail_msg("%s", eb.text);
    }
    return w;
}

static void bootstrap(void)
{
    struct cs_entry first = {
        .term = 1, .type = RAFT_CHANGE, .len = 3, .data = (uint8_t *)"abc"};

    assert_int_equal(ad_wal_bootstrap(&fs, &config, rig_identity, &first, &eb), 0);
}

static void store(struct ad_wal *w, uint64_t index, uint8_t *data, uint32_t len)
{
    struct cs_entry e = {.term = 1, .type = RAFT_COMMAND, .len = len, .data = data};
    struct cs_store_op op = {.first = index, .n = 1, .entries = &e};
    struct ad_wal_job *job = ad_wal_store(w, &op);

    if (ad_wal_job_run(job, &eb) < 0) {
        fail_msg("%s", eb.text);
    }
    ad_wal_job_done(w, job);
}

static void a_log_comes_back_from_a_real_folder(void **state)
{
    static uint8_t data[2000];
    struct cs_core_boot boot;
    struct ad_wal *w;

    (void)state;
    bootstrap();
    w = open_log(&boot);
    assert_int_equal(boot.n, 1);
    rig_boot_free(&boot);
    for (unsigned i = 0; i < 200; i++) {
        memset(data, (int)i, sizeof data);
        store(w, 2 + i, data, 10 * i);
    }
    ad_wal_close(&w);
    w = open_log(&boot);
    assert_int_equal(boot.first, 1);
    assert_int_equal(boot.n, 201);
    for (unsigned i = 0; i < 200; i++) {
        memset(data, (int)i, sizeof data);
        assert_int_equal(boot.entries[1 + i].len, 10 * i);
        assert_memory_equal(boot.entries[1 + i].data, data, 10 * i);
    }
    rig_boot_free(&boot);
    ad_wal_close(&w);
}

static void the_calls_fail_as_promised(void **state)
{
    char buf[8];
    int a = fs.create(fs.ctx, "seg-a");

    (void)state;
    assert_true(a >= 0);
    assert_int_equal(fs.create(fs.ctx, "seg-a"), -EEXIST);
    assert_int_equal(fs.open(fs.ctx, "seg-b"), -ENOENT);
    assert_int_equal(fs.unlink(fs.ctx, "seg-b"), -ENOENT);
    assert_int_equal(fs.rename(fs.ctx, "seg-b", "seg-c"), -ENOENT);
    assert_int_equal(fs.write(fs.ctx, a, 3, "xyz", 3), 0);
    assert_int_equal(fs.size(fs.ctx, a), 6);
    assert_int_equal(fs.read(fs.ctx, a, 4, buf, sizeof buf), 2);
    assert_memory_equal(buf, "yz", 2);
    assert_int_equal(fs.read(fs.ctx, a, 100, buf, sizeof buf), 0);
    assert_true(fcntl(a, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(fs.close(fs.ctx, a), 0);
    assert_true(fs.space(fs.ctx) > 0);
    assert_int_equal(symlinkat("/dev/full", open(folder, O_RDONLY | O_CLOEXEC), "full"),
                     0);
    assert_int_equal(fs.open(fs.ctx, "full"), -ELOOP);
}

static void a_full_disk_is_an_error(void **state)
{
    int full = open("/dev/full", O_RDWR | O_CLOEXEC);

    (void)state;
    assert_int_equal(fs.write(fs.ctx, full, 0, "x", 1), -ENOSPC);
    assert_int_equal(fs.close(fs.ctx, full), 0);
}

/* In a process @depth generations down: what does opening the folder say? */
static int open_in_child(unsigned depth)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        struct ad_wal_fs second;
        int rv = depth > 1 ? open_in_child(depth - 1)
                           : -ad_wal_disk_open(&second, folder, NULL) / 10;

        _exit(rv & 255);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WEXITSTATUS(status);
}

static void another_process_is_kept_out_but_not_a_child(void **state)
{
    (void)state;
    assert_int_equal(open_in_child(2), (-SY_EBUSY / 10) & 255);
    assert_int_equal(open_in_child(1), 0);
    /* And the child has not taken our lock away. */
    assert_int_equal(open_in_child(2), (-SY_EBUSY / 10) & 255);
    assert_int_equal(ad_wal_disk_open(&fs, "/nonexistent", &eb), -ENOENT);
    assert_non_null(strstr(eb.text, "/nonexistent"));
}

static int count(void *data, const void *p, size_t n)
{
    (void)p;
    *(size_t *)data += n;
    return 0;
}

static void a_child_writes_a_snapshot(void **state)
{
    static uint8_t data[300000];
    struct cs_snapshot_meta meta = {.index = 1, .term = 1};
    size_t got = 0;
    int status;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        struct ad_wal_snap_writer *w;

        _exit(ad_wal_snap_create(&fs, &meta, &w, NULL) < 0 ||
              ad_wal_snap_write(w, data, sizeof data) < 0 ||
              ad_wal_snap_commit(&w, NULL) < 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(ad_wal_snap_read(&fs, 1, 1, count, &got, &eb), 0);
    assert_int_equal(got, sizeof data);
}

int main(void)
{
#define T(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_log_comes_back_from_a_real_folder),
        T(the_calls_fail_as_promised),
        T(a_full_disk_is_an_error),
        T(another_process_is_kept_out_but_not_a_child),
        T(a_child_writes_a_snapshot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

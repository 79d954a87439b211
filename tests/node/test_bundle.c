/* Backups as bytes and as files: what goes in comes out, and nothing else does. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/files/files.h"
#include "node/bundle.h"
#include "node/reform.h"
#include "tests/replication/world.h"

static void fill(struct world *w)
{
    uint64_t seed = 11;

    world_open(w, NULL);
    for (unsigned i = 0; i < 60; i++) {
        random_inputs(&w->b, &seed, w->s);
        w->now_ms += 500;
        world_apply(w);
    }
}

static void make(struct world *w, struct sy_buf *tar)
{
    struct nd_bundle_meta meta = {.cluster = "site",
                                  .node = "nas",
                                  .version = "1.2.3",
                                  .term = 7,
                                  .taken_ms = T0,
                                  .members = {1, 2, 3},
                                  .members_n = 3};
    struct sy_buf sums = {.p = NULL};
    struct sy_errbuf eb;

    fill(w);
    assert_int_equal(nd_bundle_begin(tar, &sums, &meta, w->s, &eb), 0);
    nd_bundle_add(tar, "config.yaml", "a: b\n", 5, T0, &sums);
    nd_bundle_end(tar, &sums, T0);
    sy_buf_free(&sums);
}

static int open_and_verify(const uint8_t *p, size_t n, struct nd_bundle *b,
                           struct sy_errbuf *eb)
{
    int rv = nd_bundle_open(b, p, n, eb);

    return rv == 0 ? nd_bundle_verify(b, eb) : rv;
}

static void what_goes_in_comes_out(void **state)
{
    struct world w;
    struct sy_buf tar = {.p = NULL};
    struct nd_bundle b;
    struct sy_errbuf eb = {.text = ""};

    (void)state;
    make(&w, &tar);
    assert_int_equal(open_and_verify(tar.p, tar.len, &b, &eb), 0);
    assert_string_equal(b.meta.cluster, "site");
    assert_string_equal(b.meta.node, "nas");
    assert_int_equal(b.meta.term, 7);
    assert_int_equal(b.meta.members_n, 3);
    assert_int_equal(b.meta.members[2], 3);
    assert_true(b.meta.hash == rp_store_hash(w.s));
    assert_true(b.meta.index == rp_store_index(w.s));
    assert_memory_equal(nd_bundle_find(&b, "config.yaml")->p, "a: b\n", 5);
    assert_null(nd_bundle_find(&b, "config.yam"));
    sy_buf_free(&tar);
    world_close(&w);
}

/* Padding and fields that nobody reads may flip; whatever is said stays right. */
static void a_flipped_bit_is_found_or_means_nothing(void **state)
{
    struct world w;
    struct sy_buf tar = {.p = NULL};
    struct nd_bundle good, b;
    struct sy_errbuf eb;
    unsigned found = 0, all = 0;

    (void)state;
    make(&w, &tar);
    assert_int_equal(nd_bundle_open(&good, tar.p, tar.len, &eb), 0);
    for (size_t i = 0; i < tar.len; i += 7) {
        tar.p[i] ^= 4;
        all++;
        if (open_and_verify(tar.p, tar.len, &b, &eb) != 0) {
            found++;
        } else {
            assert_true(b.meta.hash == good.meta.hash && b.meta.index == good.meta.index);
            assert_memory_equal(&b.meta, &good.meta, sizeof b.meta);
        }
        tar.p[i] ^= 4;
    }
    assert_true(found > all / 2);
    for (size_t n = 0; n < tar.len - 1024; n += 97) {
        assert_int_not_equal(open_and_verify(tar.p, n, &b, &eb), 0);
    }
    sy_buf_free(&tar);
    world_close(&w);
}

/* All sums are right, and yet it is not what the manifest says. */
static void another_state_than_the_manifest_says_is_found(void **state)
{
    struct world w;
    struct sy_buf tar = {.p = NULL};
    struct nd_bundle b;
    struct sy_errbuf eb = {.text = ""};

    (void)state;
    make(&w, &tar);
    assert_int_equal(nd_bundle_open(&b, tar.p, tar.len, &eb), 0);
    b.meta.hash++;
    assert_int_equal(nd_bundle_verify(&b, &eb), SY_ECORRUPT);
    assert_non_null(strstr(eb.text, "the manifest says"));
    b.meta.hash--;
    b.meta.index++;
    assert_int_equal(nd_bundle_verify(&b, &eb), SY_ECORRUPT);
    sy_buf_free(&tar);
    world_close(&w);
}

static void make_folder(char dir[64])
{
    snprintf(dir, 64, "%s/vagt-bundle.XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(dir));
}

static void remove_folder(const char *dir)
{
    char command[96];

    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void the_oldest_go(void **state)
{
    struct nd_bundle_meta meta = {.cluster = "site", .index = 5, .taken_ms = T0};
    struct sy_buf tar = {.p = NULL};
    struct sy_errbuf eb = {.text = ""};
    char dir[64], name[192], path[300], first[300];
    uint64_t bytes;

    (void)state;
    make_folder(dir);
    sy_buf_put(&tar, "x", 1);
    for (unsigned i = 0; i < 4; i++) {
        meta.taken_ms += i == 1 ? 0 : 86400000; /* Two within a second. */
        meta.index += 5;
        nd_bundle_name(name, sizeof name, &meta, false);
        assert_int_equal(nd_bundle_save(dir, name, "tmp", "", &tar, &bytes, &eb), 0);
        snprintf(path, sizeof path, "%s/%s", dir, name);
        if (i == 0) {
            memcpy(first, path, sizeof first);
        }
    }
    snprintf(name, sizeof name, "%s/vagt-site-2-20000101T000000Z-1.tar", dir);
    assert_int_equal(symlink("/nowhere", name), 0); /* another cluster's */
    assert_int_equal(nd_bundle_prune(dir, "site", 3), 1);
    assert_int_equal(access(first, F_OK), -1);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(nd_bundle_prune(dir, "site", 3), 0);
    assert_int_equal(unlink(name), 0);
    assert_true(nd_bundle_save("/nowhere", "b", "a", "", &tar, &bytes, &eb) < 0);
    assert_non_null(strstr(eb.text, "/nowhere/a"));
    sy_buf_free(&tar);
    remove_folder(dir);
}

static void a_folder_begins_with_it(void **state)
{
    struct world w;
    struct sy_buf tar = {.p = NULL};
    struct nd_bundle b;
    struct nd_log_look l;
    struct sy_errbuf eb = {.text = ""};
    char dir[64];

    (void)state;
    make(&w, &tar);
    make_folder(dir);
    assert_int_equal(nd_bundle_open(&b, tar.p, tar.len, &eb), 0);
    assert_int_equal(nd_bundle_restore(&b, dir, 2, &eb), 0);
    assert_int_equal(nd_log_look(dir, &l, &eb), 0);
    assert_string_equal(l.cluster, "site");
    assert_int_equal(l.id, 2);
    assert_int_equal(l.members_n, 1);
    assert_int_equal(l.snapshot, b.meta.index);
    assert_int_equal(l.last, b.meta.index + 2); /* configuration, facts */
    assert_int_equal(l.term, 1000000);
    assert_int_equal(nd_bundle_restore(&b, dir, 2, &eb), SY_EEXISTS);
    sy_buf_free(&tar);
    world_close(&w);
    remove_folder(dir);
}

/* A version with these contents, stored in @dir; NULL: never stored. */
static void put_version(struct world *w, struct ad_files_store *store, const char *set,
                        const char *a, const char *b)
{
    const char *const texts[] = {a, b};
    struct rp_file list[2];
    char hex[AD_FILES_SUM_SIZE];
    struct sy_errbuf eb;

    memset(list, 0, sizeof list);
    for (unsigned i = 0; i < 2; i++) {
        snprintf(list[i].path, sizeof list[i].path, "%u", i);
        list[i].size = texts[i] != NULL ? strlen(texts[i]) : 1;
        if (texts[i] != NULL) {
            assert_int_equal(ad_files_put(store, texts[i], strlen(texts[i]), hex, &eb),
                             0);
            assert_true(rp_files_sum(hex, list[i].sum));
        }
    }
    rp_batch_files(&w->b, set, 0, 0, 1, list, 2);
    world_apply(w);
}

static void files_come_along(void **state)
{
    struct nd_bundle_meta meta = {.cluster = "site", .term = 1, .taken_ms = T0};
    struct sy_buf tar = {.p = NULL}, sums = {.p = NULL}, content = {.p = NULL};
    struct sy_errbuf eb = {.text = ""};
    struct ad_files_store store;
    char dir[64], path[80], hex[AD_FILES_SUM_SIZE];
    struct nd_bundle b;
    struct world w;

    (void)state;
    make_folder(dir);
    snprintf(path, sizeof path, "%s/contents", dir);
    assert_int_equal(ad_files_open(&store, path, 1000, &eb), 0);
    world_open(&w, NULL);
    put_version(&w, &store, "bridge-a", "one", "two");
    put_version(&w, &store, "bridge-b", "two", "three");
    put_version(&w, &store, "bridge-c", "four", NULL);
    assert_int_equal(nd_bundle_begin(&tar, &sums, &meta, w.s, &eb), 0);
    nd_bundle_put_files(&tar, &sums, w.s, path, T0);
    nd_bundle_end(&tar, &sums, T0);
    assert_int_equal(open_and_verify(tar.p, tar.len, &b, &eb), 0);
    assert_int_equal(b.members_n, 3 + 3); /* one, two, three */
    assert_int_equal(b.sets, 3);
    assert_int_equal(b.complete, 2);

    snprintf(path, sizeof path, "%s/data", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(nd_bundle_restore(&b, path, 1, &eb), 0);
    snprintf(path, sizeof path, "%s/data/files", dir);
    assert_int_equal(ad_files_open(&store, path, 1000, &eb), 0);
    rp_files_hex(rp_store_files_version(w.s, "bridge-b", 1)->list[1].sum, hex);
    assert_int_equal(ad_files_get(&store, hex, &content, &eb), 0);
    assert_memory_equal(content.p, "three", 5);
    assert_int_equal(store.bytes, strlen("onetwothree"));

    /* Right by its checksum, and under the name of another. */
    tar.len = sums.len = 0;
    assert_int_equal(nd_bundle_begin(&tar, &sums, &meta, w.s, &eb), 0);
    snprintf(path, sizeof path, "files/%s", hex);
    nd_bundle_add(&tar, path, "other", 5, T0, &sums);
    nd_bundle_end(&tar, &sums, T0);
    assert_int_equal(open_and_verify(tar.p, tar.len, &b, &eb), SY_ECORRUPT);
    assert_non_null(strstr(eb.text, "holds something else"));
    sy_buf_free(&tar);
    sy_buf_free(&sums);
    sy_buf_free(&content);
    world_close(&w);
    remove_folder(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(a_flipped_bit_is_found_or_means_nothing),
        cmocka_unit_test(another_state_than_the_manifest_says_is_found),
        cmocka_unit_test(the_oldest_go),
        cmocka_unit_test(a_folder_begins_with_it),
        cmocka_unit_test(files_come_along),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

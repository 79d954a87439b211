#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "replication/store_impl.h"
#include "world.h"

static struct rp_file list[RP_FILES_MAX];
static struct sy_errbuf eb;

/* As a list: "name" with the contents @sum, and so on. */
static unsigned two_files(uint8_t sum)
{
    memset(list, 0, sizeof list[0] * 2);
    snprintf(list[0].path, sizeof list[0].path, "configuration.yaml");
    list[0].size = 10;
    list[0].mode = 0640;
    snprintf(list[1].path, sizeof list[1].path, "database.db");
    list[1].size = 20;
    list[1].mode = 0600;
    memset(list[1].sum, sum, sizeof list[1].sum);
    return 2;
}

static void apply(struct world *w)
{
    world_apply(w);
    assert_true(rp_store_hash(w->s) == rp_digest_all(w->s));
}

static void take(struct world *w, const char *set, uint64_t follows, uint64_t from)
{
    rp_batch_files(&w->b, set, follows, from, 3, list, two_files((uint8_t)follows));
    apply(w);
}

static void versions_are_numbered_and_the_newest_are_kept(void **state)
{
    const struct rp_files_version *v;
    struct world w;

    (void)state;
    world_open(&w, NULL);
    assert_null(rp_store_files_version(w.s, "bridge-a", 0));
    for (uint64_t nr = 1; nr <= RP_FILES_KEPT + 2; nr++) {
        take(&w, "bridge-a", nr - 1, nr == 7 ? 2 : 0);
        v = rp_store_files_version(w.s, "bridge-a", 0);
        assert_true(v->nr == nr && v->node == 3 && v->n == 2 && v->bytes == 30);
        assert_true(v->at_ms == rp_store_now(w.s));
    }
    assert_null(rp_store_files_version(w.s, "bridge-a", 2));
    assert_null(rp_store_files_version(w.s, "bridge-a", RP_FILES_KEPT + 3));
    assert_null(rp_store_files_version(w.s, "bridge-b", 0));
    v = rp_store_files_version(w.s, "bridge-a", 3);
    assert_true(v->nr == 3 && v->from == 0);
    assert_true(rp_store_files_version(w.s, "bridge-a", 7)->from == 2);
    two_files(2);
    assert_true(rp_files_equal(v->list, v->n, list, 2));
    assert_true(rp_store_files_names(w.s, list[1].sum));
    two_files(1); /* of version 2 */
    assert_false(rp_store_files_names(w.s, list[1].sum));
    world_close(&w);
}

/* Two nodes each took one behind the same; or one came twice. */
static void of_two_behind_the_same_one_counts(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, NULL);
    take(&w, "bridge-a", 0, 0);
    take(&w, "bridge-a", 1, 0);
    take(&w, "bridge-a", 1, 0);
    take(&w, "bridge-a", 7, 0);
    take(&w, "bridge-a", 2, 3);
    assert_true(rp_store_files_version(w.s, "bridge-a", 0)->nr == 2);
    assert_string_equal(
        world_trace(&w),
        "files\nfiles\n"
        "refused files of bridge-a: a version behind 1 came late, the newest is 2\n"
        "refused files of bridge-a: a version behind 7 came late, the newest is 2\n"
        "refused files of bridge-a: a version behind 2 came late, the newest is 2\n");
    world_close(&w);
}

static void sets_have_a_limit_and_can_be_forgotten(void **state)
{
    char name[RP_FILES_NAME_SIZE];
    struct world w;

    (void)state;
    world_open(&w, NULL);
    for (int i = RP_FILES_SETS_MAX; i >= 0; i--) {
        snprintf(name, sizeof name, "set-%02d", i);
        take(&w, name, 0, 0);
        take(&w, name, 1, 0);
    }
    assert_int_equal(rp_store_files(w.s), RP_FILES_SETS_MAX);
    assert_null(rp_store_files_set(w.s, "set-00"));
    (void)world_trace(&w);
    rp_batch_files_forget(&w.b, "set-07");
    rp_batch_files_forget(&w.b, "set-99");
    apply(&w);
    assert_string_equal(world_trace(&w), "files\n");
    assert_null(rp_store_files_set(w.s, "set-07"));
    take(&w, "set-00", 0, 0);
    assert_int_equal(rp_store_files(w.s), RP_FILES_SETS_MAX);
    for (uint32_t i = 0; i < RP_FILES_SETS_MAX; i++) {
        const struct rp_files_set *set = rp_store_files_at(w.s, i);

        snprintf(name, sizeof name, "set-%02u", i < 7 ? i : i + 1);
        assert_string_equal(set->name, name);
        assert_int_equal(set->last, i == 0 ? 1 : 2);
        assert_true(rp_store_files_version(w.s, name, 0)->nr == set->last);
    }
    assert_null(rp_store_files_at(w.s, RP_FILES_SETS_MAX));
    world_close(&w);
}

static void a_list_that_would_harm_is_refused(void **state)
{
    static const char *const bad[] = {"",   "/a",   "a/",        "a//b",       "../a",
                                      ".a", "a/.b", "a/../../b", "a/b/c/d/e/f"};
    struct rp_batch b = {0};
    struct sy_buf entry = {0};

    (void)state;
    assert_int_equal(rp_files_ok(list, 0, &eb), SY_ELIMIT);
    assert_int_equal(rp_files_ok(list, two_files(0), &eb), 0);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(list[0].path, sizeof list[0].path, "%s", bad[i]);
        assert_int_equal(rp_files_ok(list, 1, &eb), SY_EINVALID);
    }
    two_files(0);
    memcpy(list[1].path, list[0].path, sizeof list[1].path);
    assert_int_equal(rp_files_ok(list, 2, &eb), SY_EINVALID);
    assert_string_equal(eb.text, "configuration.yaml: not in its place");
    two_files(0);
    list[1].size = RP_FILES_BYTES_MAX - 9;
    assert_int_equal(rp_files_ok(list, 2, &eb), SY_EINVALID);
    two_files(0);
    list[1].mode = 04755;
    assert_int_equal(rp_files_ok(list, 2, &eb), SY_EINVALID);

    /* The same in an entry, where one bit is enough. */
    rp_batch_files(&b, "set", 0, 0, 1, list, two_files(0));
    rp_batch_seal(&b, 1, 1, &entry);
    assert_int_equal(rp_entry_check(entry.p, entry.len), 0);
    *(uint8_t *)memchr(entry.p, 'c', entry.len) = 'z';
    assert_int_equal(rp_entry_check(entry.p, entry.len), SY_ECORRUPT);
    sy_buf_free(&entry);
    rp_batch_free(&b);
}

static void sums_are_hex_to_people(void **state)
{
    uint8_t sum[RP_FILES_SUM_LEN], back[RP_FILES_SUM_LEN];
    char hex[RP_FILES_HEX_SIZE];

    (void)state;
    for (unsigned i = 0; i < sizeof sum; i++) {
        sum[i] = (uint8_t)(i * 9);
    }
    rp_files_hex(sum, hex);
    assert_memory_equal(hex, "0009121b", 8);
    assert_true(rp_files_sum(hex, back));
    assert_memory_equal(sum, back, sizeof sum);
    hex[5] = 'A';
    assert_false(rp_files_sum(hex, back));
    hex[5] = '\0';
    assert_false(rp_files_sum(hex, back));
}

static int collect(void *data, const void *p, size_t n)
{
    sy_buf_put(data, p, n);
    return 0;
}

static int restore(struct world *w, const struct sy_buf *bytes, size_t len)
{
    struct rp_restore r;
    int rv = 0;

    rp_restore_begin(&r, w->s, &eb);
    for (size_t at = 0; at < len && rv == 0; at += 777) {
        rv = rp_restore_feed(&r, bytes->p + at, len - at < 777 ? len - at : 777);
    }
    return rv == 0 ? rp_restore_end(&r) : rv;
}

static void they_come_back_from_a_snapshot(void **state)
{
    struct sy_buf bytes = {0}, again = {0};
    struct world from, to;

    (void)state;
    world_open(&from, NULL);
    world_open(&to, NULL);
    rp_batch_drill(&from.b, 0, RP_DRILL_RUNNING, "kill", "", 0);
    for (uint64_t nr = 1; nr <= RP_FILES_KEPT + 1; nr++) {
        take(&from, "b", nr - 1, 0);
    }
    take(&from, "a", 0, 0);
    memset(list, 0, sizeof list);
    for (unsigned i = 0; i < RP_FILES_MAX; i++) {
        snprintf(list[i].path, sizeof list[i].path, "%03u/%0120u", i, i);
        list[i].size = RP_FILES_BYTES_MAX / RP_FILES_MAX;
        memset(list[i].sum, (int)i, sizeof list[i].sum);
    }
    rp_batch_files(&from.b, "full", 0, 0, UINT16_MAX, list, RP_FILES_MAX);
    apply(&from);
    assert_int_equal(rp_store_snapshot(from.s, collect, &bytes), 0);
    assert_int_equal(restore(&to, &bytes, bytes.len), 0);
    assert_true(rp_store_hash(to.s) == rp_store_hash(from.s));
    assert_int_equal(rp_store_files(to.s), 3);
    assert_int_equal(rp_store_files_version(to.s, "full", 1)->n, RP_FILES_MAX);
    assert_null(rp_store_files_version(to.s, "b", 1));
    assert_int_equal(rp_store_snapshot(to.s, collect, &again), 0);
    assert_true(again.len == bytes.len && memcmp(again.p, bytes.p, bytes.len) == 0);

    /* It goes on from there. */
    to.index = from.index;
    take(&to, "b", RP_FILES_KEPT + 1, 0);
    assert_int_equal(rp_store_files_set(to.s, "b")->last, RP_FILES_KEPT + 2);
    for (size_t len = bytes.len - 1; len > bytes.len / 2; len -= 997) {
        assert_int_equal(restore(&to, &bytes, len), SY_ECORRUPT);
    }
    sy_buf_free(&bytes);
    sy_buf_free(&again);
    world_close(&from);
    world_close(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_numbered_and_the_newest_are_kept),
        cmocka_unit_test(of_two_behind_the_same_one_counts),
        cmocka_unit_test(sets_have_a_limit_and_can_be_forgotten),
        cmocka_unit_test(a_list_that_would_harm_is_refused),
        cmocka_unit_test(sums_are_hex_to_people),
        cmocka_unit_test(they_come_back_from_a_snapshot),
    };

    return cmocka_run_group_tests_name("file_versions", tests, NULL, NULL);
}

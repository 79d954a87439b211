/* What becomes of a folder before a start. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "node/files_decide.h"

static uint64_t version;

static enum nd_files_what decide(struct nd_files_case c)
{
    return nd_files_decide(&c, &version);
}

static void without_a_version_it_is_started_as_it_is(void **state)
{
    (void)state;
    for (int f = ND_FOLDER_NONE; f <= ND_FOLDER_ODD; f++) {
        assert_int_equal(
            decide((struct nd_files_case){.folder = (enum nd_folder_state)f}),
            ND_FILES_START);
    }
}

static void the_newest_is_left_alone(void **state)
{
    (void)state;
    assert_int_equal(
        decide((struct nd_files_case){
            .folder = ND_FOLDER_WHOLE, .newest = 7, .complete = 7, .equals = 7}),
        ND_FILES_START);
    /* Also if it cannot be laid out from what is here. */
    assert_int_equal(decide((struct nd_files_case){
                         .folder = ND_FOLDER_WHOLE, .newest = 7, .equals = 7}),
                     ND_FILES_START);
    assert_int_equal(version, 7);
}

static void an_older_one_is_replaced(void **state)
{
    (void)state;
    assert_int_equal(decide((struct nd_files_case){.folder = ND_FOLDER_WHOLE,
                                                   .newest = 7,
                                                   .complete = 7,
                                                   .equals = 5,
                                                   .based_on = 5}),
                     ND_FILES_LAY);
    assert_int_equal(version, 7);
    assert_int_equal(decide((struct nd_files_case){
                         .folder = ND_FOLDER_NONE, .newest = 7, .complete = 7}),
                     ND_FILES_LAY);
    /* Rolled back to: the folder is the version before, and whole. */
    assert_int_equal(decide((struct nd_files_case){.folder = ND_FOLDER_WHOLE,
                                                   .newest = 7,
                                                   .complete = 7,
                                                   .equals = 6,
                                                   .based_on = 6}),
                     ND_FILES_LAY);
}

static void changes_behind_the_newest_are_taken(void **state)
{
    (void)state;
    assert_int_equal(
        decide((struct nd_files_case){
            .folder = ND_FOLDER_WHOLE, .newest = 7, .complete = 7, .based_on = 7}),
        ND_FILES_TAKE);
    /* It died before it could write down that 6 and 7 were its own. */
    assert_int_equal(decide((struct nd_files_case){.folder = ND_FOLDER_WHOLE,
                                                   .newest = 7,
                                                   .complete = 7,
                                                   .based_on = 5,
                                                   .ours_since = true}),
                     ND_FILES_TAKE);
}

static void changes_behind_an_older_one_are_moved_aside(void **state)
{
    (void)state;
    assert_int_equal(
        decide((struct nd_files_case){
            .folder = ND_FOLDER_WHOLE, .newest = 7, .complete = 7, .based_on = 6}),
        ND_FILES_ASIDE);
    /* A folder of unknown origin, such as that of a host that was set up anew. */
    assert_int_equal(
        decide((struct nd_files_case){
            .folder = ND_FOLDER_WHOLE, .newest = 7, .complete = 7, .ours_since = true}),
        ND_FILES_ASIDE);
    /* Half written: whatever it is based on, it is not a network to go on with. */
    assert_int_equal(
        decide((struct nd_files_case){
            .folder = ND_FOLDER_TORN, .newest = 7, .complete = 7, .based_on = 7}),
        ND_FILES_ASIDE);
}

static void what_cannot_be_taken_is_still_used_where_it_was(void **state)
{
    (void)state;
    assert_int_equal(
        decide((struct nd_files_case){
            .folder = ND_FOLDER_ODD, .newest = 7, .complete = 7, .based_on = 7}),
        ND_FILES_START);
    assert_int_equal(
        decide((struct nd_files_case){
            .folder = ND_FOLDER_ODD, .newest = 7, .complete = 7, .based_on = 6}),
        ND_FILES_ASIDE);
}

static void missing_contents_are_waited_for_but_not_for_ever(void **state)
{
    struct nd_files_case c = {.folder = ND_FOLDER_NONE, .newest = 7, .complete = 5};

    (void)state;
    assert_int_equal(decide(c), ND_FILES_WAIT);
    c.waited = true;
    assert_int_equal(decide(c), ND_FILES_LAY);
    assert_int_equal(version, 5);
    c.complete = 0;
    assert_int_equal(decide(c), ND_FILES_START);
    assert_int_equal(version, 0);
    /* The folder is newer than what could be laid out. */
    c = (struct nd_files_case){.folder = ND_FOLDER_WHOLE,
                               .newest = 7,
                               .complete = 5,
                               .equals = 6,
                               .waited = true};
    assert_int_equal(decide(c), ND_FILES_START);
    assert_int_equal(version, 6);
}

/* Whatever is so: what nobody else has is never thrown away, and what starts is whole. */
static void nothing_that_is_nowhere_else_is_lost(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4 * 4 * 4 * 4 * 4 * 2 * 2; i++) {
        struct nd_files_case c = {
            .folder = (enum nd_folder_state)(i % 4),
            .newest = i / 4 % 4,
            .complete = i / 16 % 4,
            .equals = i / 64 % 4,
            .based_on = i / 256 % 4,
            .ours_since = i / 1024 % 2 != 0,
            .waited = i / 2048 != 0,
        };
        enum nd_files_what what;

        if (c.complete > c.newest || c.equals > c.newest || c.based_on > c.newest ||
            (c.folder != ND_FOLDER_WHOLE && c.equals != 0)) {
            continue;
        }
        what = decide(c);
        if (what == ND_FILES_LAY) {
            assert_true(c.folder == ND_FOLDER_NONE || c.equals != 0);
        }
        if (what == ND_FILES_LAY || what == ND_FILES_ASIDE) {
            assert_int_equal(version, c.complete);
            assert_true(version != 0 && version > c.equals);
        }
        if (what == ND_FILES_WAIT) {
            assert_true(!c.waited && c.complete != c.newest);
        }
        if (what == ND_FILES_TAKE) {
            assert_true(c.folder == ND_FOLDER_WHOLE && c.based_on != 0);
        }
        if (c.folder == ND_FOLDER_TORN && c.complete != 0 && what == ND_FILES_START) {
            fail_msg("a half-written folder was started with");
        }
    }
}

static void set_file(struct rp_file *f, const char *path, uint8_t sum)
{
    *f = (struct rp_file){.size = 1, .mode = 0640};
    snprintf(f->path, sizeof f->path, "%s", path);
    f->sum[0] = sum;
}

static void state_is_no_difference_that_matters(void **state)
{
    struct rp_file a[3], b[3];

    (void)state;
    set_file(&a[0], "database.db", 1);
    set_file(&a[1], "state.json", 2);
    set_file(&a[2], "z", 3);
    memcpy(b, a, sizeof b);
    b[1].sum[0] = 9;
    assert_false(rp_files_equal(a, 3, b, 3));
    assert_true(nd_files_equal_but_state(a, 3, b, 3));
    b[1] = b[2];
    assert_true(nd_files_equal_but_state(a, 3, b, 2)); /* not there at all */
    assert_true(nd_files_equal_but_state(b, 2, a, 3));
    b[0].sum[0] = 9;
    assert_false(nd_files_equal_but_state(a, 3, b, 2));
    assert_false(nd_files_equal_but_state(a, 2, a, 3));
    assert_true(nd_files_equal_but_state(a, 1, a, 2));
}

static void a_majority_of_those_that_may_take_the_watch(void **state)
{
    (void)state;
    assert_true(nd_files_enough(1, 1, false));
    assert_false(nd_files_enough(2, 1, false));
    assert_true(nd_files_enough(2, 1, true)); /* the other is away */
    assert_true(nd_files_enough(2, 2, false));
    assert_false(nd_files_enough(3, 1, true));
    assert_true(nd_files_enough(3, 2, false));
    assert_false(nd_files_enough(4, 2, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_version_it_is_started_as_it_is),
        cmocka_unit_test(the_newest_is_left_alone),
        cmocka_unit_test(an_older_one_is_replaced),
        cmocka_unit_test(changes_behind_the_newest_are_taken),
        cmocka_unit_test(changes_behind_an_older_one_are_moved_aside),
        cmocka_unit_test(what_cannot_be_taken_is_still_used_where_it_was),
        cmocka_unit_test(missing_contents_are_waited_for_but_not_for_ever),
        cmocka_unit_test(nothing_that_is_nowhere_else_is_lost),
        cmocka_unit_test(state_is_no_difference_that_matters),
        cmocka_unit_test(a_majority_of_those_that_may_take_the_watch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

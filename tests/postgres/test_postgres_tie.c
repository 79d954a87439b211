/* The row of the tie-breaker, in a real Postgres. */

#include "rig.h"

#include <stdio.h>
#include <string.h>

#include "adapters/postgres/tie.h"

struct asker
{
    struct ad_pg_tie *t;
    bool told, known, closed;
    struct cs_tie_row row;
};

static void answer(void *data, const struct cs_tie_row *row)
{
    struct asker *a = data;

    assert_false(a->told);
    a->told = true;
    a->known = row != NULL;
    a->row = row != NULL ? *row : (struct cs_tie_row){0};
}

static void changed(void *data)
{
    (void)data;
}

static void closed(void *data)
{
    ((struct asker *)data)->closed = true;
}

static void open_one(struct rig *r, struct asker *a)
{
    static const struct ad_pg_tie_cb cb = {answer, changed};
    struct sy_errbuf eb;

    *a = (struct asker){0};
    r->config.conninfo = r->conninfo;
    assert_int_equal(ad_pg_tie_open(&a->t, &r->loop, &r->config, &cb, a, &eb), 0);
    UNTIL(r, ad_pg_tie_up(a->t));
}

static void close_one(struct rig *r, struct asker *a)
{
    ad_pg_tie_close(a->t, closed);
    UNTIL(r, a->closed);
}

static void read_row(struct rig *r, struct asker *a)
{
    a->told = false;
    ad_pg_tie_read(a->t);
    UNTIL(r, a->told);
}

static struct cs_tie_row row(uint64_t epoch, uint64_t token, uint32_t sole)
{
    return (struct cs_tie_row){
        .epoch = epoch, .term = 9, .token = token, .members = 6, .sole = sole};
}

static void swap(struct rig *r, struct asker *a, uint64_t expect, struct cs_tie_row want)
{
    a->told = false;
    ad_pg_tie_swap(a->t, expect, &want);
    UNTIL(r, a->told);
}

static void the_first_row_is_made_once(void **state)
{
    struct rig *r = *state;
    struct asker a;

    open_one(r, &a);
    read_row(r, &a);
    assert_true(a.known);
    assert_int_equal(a.row.epoch, 0);
    swap(r, &a, 0, row(1, 0xfedcba9876543210, 0));
    assert_int_equal(a.row.epoch, 1);
    assert_int_equal(a.row.members, 6);
    assert_int_equal(a.row.sole, 0);
    assert_true(a.row.token == 0xfedcba9876543210);
    swap(r, &a, 0, row(1, 2, 2));
    assert_true(a.row.token == 0xfedcba9876543210);
    close_one(r, &a);
}

static void of_two_that_claim_one_wins(void **state)
{
    struct rig *r = *state;
    struct asker a, b;
    struct cs_tie_row by_a = row(2, 11, 1), by_b = row(2, 12, 2);

    open_one(r, &a);
    open_one(r, &b);
    swap(r, &a, 0, row(1, 1, 0));
    a.told = b.told = false;
    ad_pg_tie_swap(a.t, 1, &by_a);
    ad_pg_tie_swap(b.t, 1, &by_b);
    UNTIL(r, a.told && b.told);
    assert_true(a.known && b.known);
    assert_int_equal(a.row.sole, b.row.sole);
    assert_true(a.row.token == 11 || a.row.token == 12);
    assert_true(a.row.token == b.row.token);
    close_one(r, &a);
    close_one(r, &b);
}

static void a_connection_that_dies_leaves_it_unknown(void **state)
{
    struct rig *r = *state;
    struct asker a;
    struct cs_tie_row want = row(2, 11, 1);

    open_one(r, &a);
    swap(r, &a, 0, row(1, 1, 0));
    sql(r, "BEGIN");
    sql(r, "SELECT 1 FROM vagt_tiebreak FOR UPDATE");
    a.told = false;
    ad_pg_tie_swap(a.t, 1, &want); /* It waits for the lock. */
    rig_turn(r, 100);
    assert_false(a.told);
    sql(r,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name LIKE 'vagt-tie:%%'");
    UNTIL(r, a.told);
    assert_false(a.known);
    sql(r, "ROLLBACK");
    UNTIL(r, ad_pg_tie_up(a.t));
    read_row(r, &a);
    assert_int_equal(a.row.epoch, 1);
    close_one(r, &a);
}

static void what_is_wrong_is_said(void **state)
{
    struct rig *r = *state;
    struct asker a;

    open_one(r, &a);
    sql(r, "DROP TABLE vagt_tiebreak");
    read_row(r, &a);
    assert_false(a.known);
    assert_non_null(strstr(ad_pg_tie_error(a.t), "vagtctl db migrate"));
    close_one(r, &a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_row_is_made_once, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(of_two_that_claim_one_wins, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(a_connection_that_dies_leaves_it_unknown,
                                        rig_open, rig_close),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_said, rig_open, rig_close),
    };

    return cmocka_run_group_tests(tests, server_start, server_stop);
}

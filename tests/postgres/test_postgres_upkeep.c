/* Upkeep: partitions and retention, seen to by the writer. */

#include "rig.h"

#include <stdio.h>
#include <string.h>

static struct node *open_site(struct rig *r)
{
    struct node *n = &r->nodes[0];

    fill_devices(r, 1, 3);
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r) && node_up(n));
    return n;
}

static void partitions_are_made_and_old_ones_dropped(void **state)
{
    struct rig *r = *state;
    struct node *n;

    r->config.partition_days = 12;
    r->config.retention_days = 30;
    sql(r,
        "CREATE TABLE meter_readings_20200101 PARTITION OF meter_readings FOR VALUES FROM"
        " ('2020-01-01 00:00Z') TO ('2020-01-02 00:00Z')");
    n = open_site(r);
    UNTIL(r, ad_pg_status(n->p)->maintained_ms != 0);
    assert_string_equal(ad_pg_status(n->p)->maintenance, "");
    assert_string_equal(sql(r, "SELECT to_regclass('meter_readings_20200101') IS NULL"),
                        "t");
    assert_string_equal(
        sql(r,
            "SELECT to_regclass('meter_readings_' || to_char((now() AT TIME ZONE 'UTC')"
            " + interval '12 days', 'YYYYMMDD')) IS NOT NULL"),
        "t");
    assert_string_equal(sql(r,
                            "SELECT concat(keep_days, ' ', ahead_days) FROM"
                            " vagt_upkeep"),
                        "30 12");
}

static void what_it_cannot_do_is_said_and_stops_nothing(void **state)
{
    struct rig *r = *state;
    struct node *n;

    sql(r,
        "CREATE OR REPLACE FUNCTION vagt_maintain(keep_days integer, ahead_days integer)"
        " RETURNS text LANGUAGE sql AS $$ SELECT E'no partition for\\n 2026-01-01' $$");
    n = open_site(r);
    UNTIL(r, ad_pg_status(n->p)->maintenance[0] != '\0');
    assert_string_equal(ad_pg_status(n->p)->maintenance, "no partition for 2026-01-01");
    assert_true(node_up(n));
    assert_int_equal(log_count(r, "pg.maintenance"), 1);
    fill_readings(r, 10, 3);
    UNTIL(r, all_shipped(r));
}

static void an_error_of_it_is_said_and_stops_nothing(void **state)
{
    struct rig *r = *state;
    struct node *n;

    sql(r, "DROP FUNCTION vagt_maintain(integer, integer)");
    n = open_site(r);
    UNTIL(r, ad_pg_status(n->p)->maintenance[0] != '\0');
    assert_non_null(strstr(ad_pg_status(n->p)->maintenance,
                           "function vagt_maintain(integer, integer) does not exist"));
    assert_int_equal(ad_pg_status(n->p)->maintained_ms, 0);
    fill_readings(r, 10, 3);
    UNTIL(r, all_shipped(r));
    assert_true(node_up(n));
    assert_int_equal(log_count(r, "pg.down"), 0);
    assert_int_equal(log_count(r, "pg.commands_trouble"), 0);
}

static void one_that_takes_too_long_is_ended(void **state)
{
    struct rig *r = *state;
    struct node *n;

    r->config.statement_timeout_ms = 1000; /* Ours must do with it, too. */
    sql(r,
        "CREATE OR REPLACE FUNCTION vagt_maintain(keep_days integer, ahead_days integer)"
        " RETURNS text LANGUAGE sql AS $$ SELECT pg_sleep(100)::text $$");
    n = open_site(r);
    UNTIL(r, strstr(ad_pg_status(n->p)->maintenance, "statement timeout") != NULL);
    fill_readings(r, 10, 3);
    UNTIL(r, all_shipped(r));
    assert_int_equal(log_count(r, "pg.down"), 0);
    assert_int_equal(log_count(r, "pg.commands_trouble"), 0);
}

/* Nothing of vagt's may need more rights than these. */
static void a_role_without_rights_to_create_is_enough(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];
    const char *id;

    sql(r,
        "CREATE ROLE poor LOGIN; GRANT SELECT, INSERT, UPDATE ON vagt_fence, "
        "power_meters,"
        " meter_identity, meter_readings TO poor; GRANT SELECT ON vagt_schema TO poor;"
        " GRANT SELECT, INSERT, UPDATE, DELETE ON vagt_dead_letters TO poor;"
        " GRANT SELECT, UPDATE ON meter_commands TO poor;"
        " GRANT EXECUTE ON FUNCTION vagt_maintain(integer, integer) TO poor");
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=poor dbname=%s", server.port, r->database);
    r->config.partition_days = 9;
    fill_devices(r, 1, 3);
    fill_readings(r, 100, 3);
    fill_letter(r, "t", "r", "x");
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r));
    id = insert_command(r, 1, "ON", "0 s");
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    UNTIL(r, ad_pg_status(n->p)->maintained_ms != 0);
    assert_string_equal(ad_pg_status(n->p)->maintenance, "");
    assert_string_equal(
        sql(r,
            "SELECT to_regclass('meter_readings_' || to_char((now() AT TIME ZONE 'UTC')"
            " + interval '9 days', 'YYYYMMDD')) IS NOT NULL"),
        "t");
    check_exactly_once(r, "100");
    node_close(n);
    sql(r, "DROP OWNED BY poor; DROP ROLE poor");
}

#define RIG(F) cmocka_unit_test_setup_teardown(F, rig_open, rig_close)

/* One argument: the name of the only test to run, with * and ?. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        RIG(partitions_are_made_and_old_ones_dropped),
        RIG(what_it_cannot_do_is_said_and_stops_nothing),
        RIG(an_error_of_it_is_said_and_stops_nothing),
        RIG(one_that_takes_too_long_is_ended),
        RIG(a_role_without_rights_to_create_is_enough),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, server_start, server_stop);
}

/* vagt_maintain(): partitions ahead, retention, dead letters. */

#include "rig.h"

#include <stdio.h>
#include <string.h>

#define TODAY "(now() AT TIME ZONE 'UTC')::date"
#define COUNT_DAYS \
    "SELECT count(*) FROM vagt_partitions('meter_readings') WHERE since > '-infinity'"

static int start(void **state)
{
    struct rig *r;

    (void)server_start(state);
    (void)rig_open_bare(state);
    r = *state;
    sql(r, "CREATE ROLE service LOGIN; CREATE ROLE stranger LOGIN");
    return rig_close(state);
}

static void expect(struct rig *r, const char *query, const char *value)
{
    const char *is = sql(r, "%s", query);

    if (strcmp(is, value) != 0) {
        fail_msg("%s\n   is: %s\n   should be: %s", query, is, value);
    }
}

static PGconn *another(const struct rig *r, const char *user)
{
    char info[256];
    PGconn *c;

    snprintf(info, sizeof info, "host=127.0.0.1 port=%d user=%s dbname=%s", server.port,
             user, r->database);
    c = PQconnectdb(info);
    assert_int_equal(PQstatus(c), CONNECTION_OK);
    return c;
}

/* The first value; what the server complains of if it does. */
static const char *ask(PGconn *c, const char *text)
{
    static char out[512];
    PGresult *res = PQexec(c, text);

    if (PQresultStatus(res) == PGRES_TUPLES_OK) {
        snprintf(out, sizeof out, "%s", PQgetvalue(res, 0, 0));
    } else {
        snprintf(out, sizeof out, "%s", PQresultErrorMessage(res));
    }
    PQclear(res);
    return out;
}

/* One call moves late days for 2 s and leaves the others to the next one. */
static void maintain_until(struct rig *r, const char *call, const char *query,
                           const char *value)
{
    for (int i = 0; i < 10; i++) {
        expect(r, call, "");
        if (strcmp(sql(r, "%s", query), value) == 0) {
            return;
        }
    }
}

static void twice_is_once(void **state)
{
    struct rig *r = *state;

    expect(r, COUNT_DAYS, "9"); /* yesterday, today and the 7 of the migration */
    expect(r, "SELECT vagt_maintain(90, 7)", "");
    expect(r, COUNT_DAYS, "9");
    expect(r, "SELECT vagt_maintain(90, 10)", "");
    expect(r, "SELECT vagt_maintain(90, 0)", "");
    expect(r, COUNT_DAYS, "12");
    expect(r,
           "SELECT concat_ws(' ', keep_days, ahead_days, trouble, now() - at < '1 min')"
           " FROM vagt_upkeep",
           "90 0  t");
}

static void two_at_once_do_not_wait_for_each_other(void **state)
{
    struct rig *r = *state;
    PGconn *a = another(r, "postgres");
    PGconn *b = another(r, "postgres");

    assert_string_equal(ask(b, "BEGIN; SET LOCAL statement_timeout = 1000; SELECT 1"),
                        "1");
    assert_string_equal(ask(a, "BEGIN; SELECT vagt_maintain(90, 9)"), "");
    /* Has nothing to do, and does not touch what the other has not committed. */
    assert_string_equal(ask(b, "SELECT vagt_maintain(90, 9)"), "");
    assert_string_equal(ask(b, COUNT_DAYS), "9");
    ask(b, "COMMIT");
    assert_string_equal(ask(a, "COMMIT; " COUNT_DAYS), "11");
    /* Really at once. */
    for (int i = 0; i < 20; i++) {
        char text[64];
        PGresult *res;

        snprintf(text, sizeof text, "SELECT vagt_maintain(90, %d)", 10 + i);
        assert_int_equal(PQsendQuery(a, text), 1);
        assert_int_equal(PQsendQuery(b, text), 1);
        while ((res = PQgetResult(a)) != NULL) {
            assert_string_equal(PQgetvalue(res, 0, 0), "");
            PQclear(res);
        }
        while ((res = PQgetResult(b)) != NULL) {
            assert_string_equal(PQgetvalue(res, 0, 0), "");
            PQclear(res);
        }
    }
    expect(r, COUNT_DAYS, "31");
    PQfinish(a);
    PQfinish(b);
}

/* Days -@from to -@to before today, with a reading at noon in each. */
static void fill_days(struct rig *r, int from, int to)
{
    sql(r,
        "SELECT vagt_make_day('meter_readings', NULL, " TODAY
        " - n)"
        " FROM generate_series(%d, %d) n",
        to, from);
    sql(r,
        "INSERT INTO meter_readings (meter_id, time) SELECT 'm', " TODAY
        " - n +"
        " time '12:00' AT TIME ZONE 'UTC' FROM generate_series(%d, %d) n",
        to, from);
}

static void what_is_too_old_goes_and_nothing_else(void **state)
{
    struct rig *r = *state;
    char kept[16];

    fill_days(r, 120, 2);
    sql(r,
        "INSERT INTO meter_readings (meter_id, time) VALUES ('m', now()), ('x', "
        "'1970-01-01'),"
        " ('x', now() - interval '200 days'), ('x', '-infinity'), ('x', '2200-01-01')");
    expect(r, "SELECT count(*) FROM meter_readings", "124");
    snprintf(kept, sizeof kept, "%s",
             sql(r,
                 "SELECT count(*) FROM meter_readings WHERE meter_id = 'm' AND time >="
                 " now() - interval '90 days'"));
    expect(r, "SELECT vagt_maintain(0, 7)", ""); /* keep all */
    expect(r, "SELECT count(*) FROM meter_readings", "124");
    expect(r, "SELECT vagt_maintain(90, 7)", "");
    /* To the hour: the day that is partly older stays whole. */
    expect(r,
           "SELECT count(*) FROM meter_readings WHERE meter_id = 'm' AND time >= now() -"
           " interval '90 days'",
           kept);
    expect(r, "SELECT min(since) = " TODAY " - 90 FROM vagt_partitions('meter_readings')",
           "t");
    expect(r,
           "SELECT string_agg(meter_id || date_part('year', time), ' ') FROM"
           " meter_readings_other",
           "x2200");
    expect(r, "SELECT partitions_dropped || ' ' || readings_deleted FROM vagt_upkeep",
           "30 3");
    expect(r, "SELECT vagt_maintain(10, 7)", "");
    expect(r, "SELECT partitions_dropped || ' ' || readings_deleted FROM vagt_upkeep",
           "110 3");
}

static void what_waits_goes_to_its_day(void **state)
{
    struct rig *r = *state;

    sql(r,
        "INSERT INTO meter_readings (meter_id, time, power_w) SELECT 'm' || n %% "
        "5, " TODAY
        " + 9 - n + time '23:59:59.999' AT TIME ZONE 'UTC', n FROM generate_series(0, "
        "60) n");
    expect(r, "SELECT count(*) FROM meter_readings_other", "52");
    maintain_until(r, "SELECT vagt_maintain(90, 9)", COUNT_DAYS, "41");
    /* Of the past the last 31 days get one; the others stay reachable. */
    expect(r, "SELECT count(*) || ' ' || sum(power_w) FROM meter_readings", "61 1830");
    expect(r, "SELECT count(*) FROM meter_readings_other", "20");
    expect(r,
           "SELECT count(*) FROM meter_readings WHERE tableoid::regclass::text <>"
           " 'meter_readings_other' AND tableoid::regclass::text <> 'meter_readings_' ||"
           " to_char(time AT TIME ZONE 'UTC', 'YYYYMMDD')",
           "0");
    expect(r, COUNT_DAYS, "41");
    /* No day before the horizon is made, only to be dropped again. */
    expect(r, "SELECT vagt_maintain(5, 9)", "");
    expect(r, COUNT_DAYS, "15");
    sql(r,
        "INSERT INTO meter_readings (meter_id, time) VALUES ('m', now() - interval '10 "
        "days')");
    expect(r, "SELECT vagt_maintain(5, 9)", "");
    expect(r, COUNT_DAYS, "15");
    expect(r, "SELECT count(*) FROM meter_readings_other", "0");
}

static void a_day_that_would_take_too_long_stays_where_it_is(void **state)
{
    struct rig *r = *state;

    sql(r, "INSERT INTO meter_readings (meter_id, time) SELECT 'm', " TODAY
           " - 3 +"
           " n * interval '0.1 s' FROM generate_series(1, 500001) n");
    sql(r, "INSERT INTO meter_readings (meter_id, time) SELECT 'm', " TODAY
           " - n +"
           " interval '1 h' FROM generate_series(4, 6) n");
    fill_days(r, 101, 100);
    sql(r, "SET statement_timeout = 10000");
    /* All is locked to drop something: no time to move rows, only to look ahead. */
    expect(r, "SELECT vagt_maintain(90, 8)", "");
    expect(r, "SELECT count(*) FROM meter_readings_other", "500004");
    expect(r, COUNT_DAYS, "10");
    maintain_until(r, "SELECT vagt_maintain(90, 8)", COUNT_DAYS, "13");
    expect(r, "SELECT count(*) FROM meter_readings_other", "500001");
    expect(r, COUNT_DAYS, "13");
}

static void the_zone_and_style_of_the_session_do_not_count(void **state)
{
    struct rig *r = *state;

    fill_days(r, 95, 85);
    sql(r,
        "SET timezone = 'Pacific/Kiritimati'; SET datestyle = 'SQL, DMY';"
        " SET search_path = pg_catalog");
    expect(r, "SELECT public.vagt_maintain(90, 8)", "");
    sql(r, "RESET ALL; SET timezone = 'UTC'");
    expect(r,
           "SELECT min(since) = " TODAY " - 90 AND max(until) = " TODAY
           " + 9"
           " FROM vagt_partitions('meter_readings')",
           "t");
}

static void a_table_in_use_is_left_alone_and_that_is_said(void **state)
{
    struct rig *r = *state;
    PGconn *reader = another(r, "postgres");
    PGconn *late = another(r, "postgres");

    fill_days(r, 100, 99);
    /* Somebody reads for long: nothing is dropped, but tomorrow gets its partition. */
    ask(reader, "BEGIN; LOCK TABLE ONLY meter_readings IN ACCESS SHARE MODE");
    sql(r, "SET statement_timeout = 8000");
    expect(r, "SELECT vagt_maintain(90, 9)",
           "old partitions were not dropped: meter_readings was in use");
    expect(r, "SELECT trouble FROM vagt_upkeep",
           "old partitions were not dropped: meter_readings was in use");
    expect(r, COUNT_DAYS, "13");
    ask(reader, "COMMIT");
    /* And now the partition of no day. */
    ask(late, "BEGIN; LOCK TABLE meter_readings_other IN ACCESS SHARE MODE");
    expect(r, "SELECT vagt_maintain(0, 10)",
           sql(r, "SELECT 'no partition for ' || " TODAY " + 10 ||"
                  " ': meter_readings was in use'"));
    ask(late, "COMMIT");
    expect(r, "SELECT vagt_maintain(90, 10)", "");
    expect(r, COUNT_DAYS, "12");
    PQfinish(reader);
    PQfinish(late);
}

static void what_is_in_the_way_is_named_and_the_rest_done(void **state)
{
    struct rig *r = *state;
    char sentence[512];

    fill_days(r, 100, 98);
    sql(r, "CREATE VIEW v AS SELECT * FROM %s",
        sql(r,
            "SELECT part::text FROM vagt_partitions('meter_readings') WHERE since ="
            " " TODAY " - 99"));
    sql(r, "SELECT set_config('x.name', 'meter_readings_' || to_char(" TODAY
           " + 8,"
           " 'YYYYMMDD'), false)");
    sql(r,
        "DO $$ BEGIN EXECUTE format('CREATE TABLE %%I ()', current_setting('x.name'));"
        " END $$");
    snprintf(
        sentence, sizeof sentence, "%s",
        sql(r,
            "SELECT format('meter_readings_%%s is too old and was not dropped: cannot"
            " drop table meter_readings_%%1$s because other objects depend on it; no"
            " partition for %%s: there is a table public.meter_readings_%%s that is no"
            " partition of meter_readings: rename it', to_char(" TODAY " - 99,"
            " 'YYYYMMDD'), " TODAY " + 8, to_char(" TODAY " + 8, 'YYYYMMDD'))"));
    expect(r, "SELECT vagt_maintain(90, 9)", sentence);
    expect(r, "SELECT partitions_dropped FROM vagt_upkeep", "2");
    expect(r, COUNT_DAYS, "11");
    expect(r, "SELECT vagt_maintain(-1, 9)",
           "vagt_maintain: keep_days goes from 0 to 36500, ahead_days from 0 to 366");
    expect(r, "SELECT vagt_maintain(NULL, 9) = vagt_maintain(1, 400)", "t");
}

static void a_role_without_rights_of_its_own_may_call_it_and_no_other(void **state)
{
    struct rig *r = *state;
    PGconn *service, *stranger;

    sql(r,
        "DELETE FROM vagt_schema WHERE version >= 5; DROP TABLE vagt_upkeep, "
        "vagt_tiebreak");
    sql(r,
        "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT oid FROM pg_proc WHERE"
        " proname ~ '^vagt_(partitions|make_|drop_|prune|maintain)' LOOP EXECUTE"
        " format('DROP FUNCTION %%s', f); END LOOP; END $$");
    /* The rights of before are the rights of after. */
    sql(r,
        "GRANT SELECT, INSERT, UPDATE ON vagt_fence, power_meters, meter_identity,"
        " meter_readings TO service; GRANT SELECT ON vagt_schema TO service, stranger");
    {
        struct sy_errbuf eb;
        unsigned from, to;

        assert_int_equal(ad_pg_migrate(r->conninfo, &from, &to, &eb), 0);
        assert_int_equal(from, 4);
    }
    service = another(r, "service");
    stranger = another(r, "stranger");
    assert_string_equal(ask(service, "SELECT vagt_maintain(90, 9)"), "");
    assert_string_equal(ask(service,
                            "INSERT INTO vagt_dead_letters (cluster, kind, seq, at,"
                            " reason, payload) VALUES ('c', 'message', 1, now(),"
                            " 'x', 'y') RETURNING seq"),
                        "1");
    assert_string_equal(ask(service, "SELECT count(*) FROM meter_commands"), "0");
    assert_non_null(
        strstr(ask(service, "CREATE TABLE public.mine ()"), "permission denied"));
    assert_non_null(
        strstr(ask(service, "SELECT vagt_prune_letters(now())"), "permission denied"));
    assert_non_null(
        strstr(ask(stranger, "SELECT vagt_maintain(1, 0)"), "permission denied"));
    expect(r, COUNT_DAYS, "11");
    PQfinish(service);
    PQfinish(stranger);
}

static void letters_wait_as_long_as_readings_and_100_000_at_most(void **state)
{
    struct rig *r = *state;

    sql(r,
        "INSERT INTO vagt_dead_letters (cluster, kind, seq, at, reason, payload, "
        "created_at)"
        " SELECT 'c', CASE WHEN n <= 10 THEN 'duplicate' ELSE 'message' END, n, now(), "
        "'r',"
        " 'p', CASE WHEN n %% 2 = 0 THEN now() ELSE now() - interval '91 days' END"
        " FROM generate_series(1, 20) n");
    expect(r, "SELECT vagt_maintain(0, 7)", "");
    expect(r, "SELECT count(*) FROM vagt_dead_letters", "20");
    expect(r, "SELECT vagt_maintain(90, 7)", "");
    expect(r, "SELECT string_agg(kind || seq, ' ' ORDER BY seq) FROM vagt_dead_letters",
           "duplicate2 duplicate4 duplicate6 duplicate8 duplicate10 message12 message14"
           " message16 message18 message20");
    sql(r,
        "INSERT INTO vagt_dead_letters (cluster, kind, seq, at, reason, payload)"
        " SELECT 'c', 'reading', n, now(), 'r', 'p' FROM generate_series(1, 99997) n");
    expect(r, "SELECT vagt_maintain(0, 7)", "");
    expect(r,
           "SELECT count(*) || ' ' || min(seq) FILTER (WHERE kind = 'message') || ' ' ||"
           " min(seq) FILTER (WHERE kind = 'reading') || ' ' ||"
           " count(*) FILTER (WHERE kind = 'duplicate') FROM vagt_dead_letters",
           "100005 16 1 5");
    expect(r, "SELECT letters_pruned FROM vagt_upkeep", "12");
}

#define RIG(F) cmocka_unit_test_setup_teardown(F, rig_open, rig_close)

/* One argument: the name of the only test to run, with * and ?. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        RIG(twice_is_once),
        RIG(two_at_once_do_not_wait_for_each_other),
        RIG(what_is_too_old_goes_and_nothing_else),
        RIG(what_waits_goes_to_its_day),
        RIG(a_day_that_would_take_too_long_stays_where_it_is),
        RIG(the_zone_and_style_of_the_session_do_not_count),
        RIG(a_table_in_use_is_left_alone_and_that_is_said),
        RIG(what_is_in_the_way_is_named_and_the_rest_done),
        RIG(a_role_without_rights_of_its_own_may_call_it_and_no_other),
        RIG(letters_wait_as_long_as_readings_and_100_000_at_most),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, start, server_stop);
}

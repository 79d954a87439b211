/* Dead letters: out of the store, made of rows that are refused, and tried again. */

#include "rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct node *open_site(struct rig *r)
{
    struct node *n = &r->nodes[0];

    fill_devices(r, 1, 20);
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r) && node_up(n));
    return n;
}

/* --- of the store --- */

static void letters_of_the_store_arrive_with_the_rest(void **state)
{
    struct rig *r = *state;
    struct node *n;
    char big[2000];

    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    fill_devices(r, 1, 3);
    fill_letter(r, "z2m/area1/m1-1", "no JSON: \"{\" \\ {a},b", "{\"power\":");
    fill_letter(r, "z2m/area1/\xff\xc3m\xc3\xb8lle", "bad \xf0\x9f", "\x01\xff\x7f");
    fill_letter(r, "z2m/area1/m1-2", "too long", big);
    rp_batch_letter(&r->batch, 0, "other", "of no area", "", 0);
    fill_readings(r, 10, 3);
    node_open(r, &r->nodes[0], "n1", 5);
    n = &r->nodes[0];
    UNTIL(r, all_shipped(r));
    assert_string_equal(
        sql(r,
            "SELECT concat_ws('|', cluster, kind, seq, area, topic, reason, payload,"
            " status, extract(epoch FROM at)::bigint) FROM vagt_dead_letters WHERE"
            " seq = 1"),
        "site|message|1|area1|z2m/area1/m1-1|no JSON: \"{\" \\ {a},b"
        "|\\x7b22706f776572223a|new|1764000000");
    assert_string_equal(
        sql(r,
            "SELECT concat_ws('|', topic, reason, payload) FROM vagt_dead_letters"
            " WHERE seq = 2"),
        "z2m/area1/??m\xc3\xb8lle|bad ??|\\x01ff7f");
    assert_string_equal(
        sql(r,
            "SELECT concat_ws('|', reason, length(payload)) FROM vagt_dead_letters"
            " WHERE seq = 3"),
        "too long (it was longer; this is its beginning)|1024");
    assert_string_equal(sql(r,
                            "SELECT concat_ws('|', area IS NULL, length(payload)) FROM"
                            " vagt_dead_letters WHERE seq = 4"),
                        "t|0");
    assert_int_equal(ad_pg_status(n->p)->rows_letters, 4);
    assert_string_equal(sql(r, "SELECT shipped_letters FROM vagt_fence"), "4");
    assert_int_equal(rp_store_letters_shipped(r->store), 4);
}

static void letters_that_made_room_are_passed_over_and_counted(void **state)
{
    struct rig *r = *state;
    struct node *n = open_site(r);

    fill_letter(r, "t", "r", "0");
    apply(r);
    UNTIL(r, all_shipped(r));
    node_close(n);
    for (unsigned i = 0; i < 516; i++) { /* The ring holds 512. */
        fill_letter(r, "t", "r", "x");
    }
    apply(r);
    node_open(r, n, "n1", 6);
    UNTIL(r, all_shipped(r));
    assert_string_equal(sql(r,
                            "SELECT concat(count(*), ' ', min(seq), ' ', max(seq))"
                            " FROM vagt_dead_letters WHERE seq > 1"),
                        "512 6 517");
    assert_int_equal(log_count(r, "pg.letters_missing count=4 after=1"), 1);
}

static void many_letters_take_several_batches(void **state)
{
    struct rig *r = *state;
    struct node *n = open_site(r);
    unsigned before = n->batches;

    for (unsigned i = 0; i < 500; i++) {
        fill_letter(r, "t", "r", "x");
    }
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(sql(r, "SELECT count(DISTINCT seq) FROM vagt_dead_letters"),
                        "500");
    assert_int_equal(n->batches - before, 3);
}

static void a_commit_of_letters_without_an_answer_is_found_again(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];
    static struct proxy x; /* Outlives a test that fails. */

    proxy_open(&x, &r->loop, server.port);
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=postgres dbname=%s", x.port, r->database);
    r->config.poll_ms = 3600000;
    fill_devices(r, 1, 1);
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r) && ad_pg_status(n->p)->maintained_ms != 0);
    x.mode = PROXY_DEAF;
    fill_letter(r, "t", "r", "x");
    apply(r);
    rig_wait_sql(r, "SELECT shipped_letters FROM vagt_fence", "1");
    x.mode = PROXY_PASS;
    proxy_cut(&x);
    UNTIL(r, all_shipped(r));
    assert_string_equal(sql(r, "SELECT count(*) FROM vagt_dead_letters"), "1");
    assert_int_equal(ad_pg_status(n->p)->rows_letters, 0); /* Learnt, not written. */
    node_close(n);
    proxy_close(&x);
}

/* A cluster that was set up anew under its old name counts from one again. */
static void a_number_that_is_taken_stops_nothing_and_is_said(void **state)
{
    struct rig *r = *state;
    struct node *n = open_site(r);

    sql(r,
        "INSERT INTO vagt_dead_letters (cluster, kind, seq, at, reason, payload) VALUES"
        " ('site', 'message', 2, now(), 'of a time before', '')");
    for (unsigned i = 0; i < 3; i++) {
        fill_letter(r, "t", "r", "x");
    }
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(sql(r,
                            "SELECT string_agg(reason, ',' ORDER BY seq) FROM"
                            " vagt_dead_letters"),
                        "r,of a time before,r");
    assert_int_equal(log_count(r, "pg.letters_known count=1"), 1);
    assert_int_equal(ad_pg_status(n->p)->rows_letters, 2);
}

static void readings_go_on_when_letters_cannot_be_written(void **state)
{
    struct rig *r = *state;
    struct node *n = open_site(r);

    sql(r, "ALTER TABLE vagt_dead_letters RENAME TO elsewhere");
    fill_letter(r, "t", "r", "x");
    fill_readings(r, 100, 10);
    UNTIL(r, rp_store_readings_shipped(r->store) == 100);
    assert_true(node_up(n));
    assert_non_null(strstr(ad_pg_status(n->p)->letters_error,
                           "relation \"vagt_dead_letters\" does not exist"));
    fill_readings(r, 100, 10);
    UNTIL(r, rp_store_readings_shipped(r->store) == 200);
    rig_turn(r, 300);
    assert_int_equal(rp_store_letters_shipped(r->store), 0);
    assert_int_equal(log_count(r, "pg.letters_wait"), 1);
    assert_int_equal(log_count(r, "pg.down"), 0);
    sql(r, "ALTER TABLE elsewhere RENAME TO vagt_dead_letters");
    UNTIL(r, all_shipped(r));
    assert_string_equal(sql(r, "SELECT count(*) FROM vagt_dead_letters"), "1");
    UNTIL(r, ad_pg_status(n->p)->letters_error[0] == '\0');
    check_exactly_once(r, "200");
}

static void a_database_of_another_encoding_takes_letters(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];
    struct sy_errbuf eb;
    unsigned from, to;

    sql(r, "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=postgres dbname=latin", server.port);
    if (ad_pg_migrate(r->conninfo, &from, &to, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    fill_devices(r, 1, 1);
    fill_letter(r, "z2m/\xe6\xb8\xac", "bad \xe6\xb8\xac", "\xe6\xb8\xac");
    fill_readings(r, 5, 1);
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r));
    assert_int_equal(ad_pg_status(n->p)->rows_letters, 1);
    node_close(n);
    sql(r, "DROP DATABASE latin");
}

/* --- of rows that are refused --- */

static void a_refused_reading_is_a_letter_that_can_be_replayed(void **state)
{
    struct rig *r = *state;
    struct node *n = open_site(r);

    sql(r, "ALTER TABLE meter_readings ADD CONSTRAINT odd CHECK (power_w <> 0.666)");
    fill_readings(r, 3000, 20); /* Number 667 has 666 mW. */
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "2999");
    assert_string_equal(
        sql(r,
            "SELECT concat_ws('|', kind, seq, area, topic, status, reason LIKE 'new row"
            " for relation \"meter_readings%%\" violates check constraint \"odd\"%%')"
            " FROM vagt_dead_letters"),
        "reading|667|area1|m1-7|new|t");
    assert_string_equal(
        sql(r, "SELECT convert_from(payload, 'UTF8') FROM vagt_dead_letters"),
        "{\"meter_id\":\"m1-7\",\"time\":\"2025-11-24T16:00:00.667Z\",\"power_w\":0.666,"
        "\"energy_kwh\":123.456789,\"state\":\"ON\",\"vagt_seq\":667}");
    assert_int_equal(ad_pg_status(n->p)->rows_letters, 1);
    sql(r, "ALTER TABLE meter_readings DROP CONSTRAINT odd");
    assert_string_equal(sql(r, "SELECT vagt_replay(id) FROM vagt_dead_letters"), "done");
    check_exactly_once(r, "3000");
    assert_string_equal(sql(r,
                            "SELECT concat_ws('|', power_w, energy_kwh,"
                            " extract(epoch FROM time)::numeric(20,3)) FROM"
                            " meter_readings WHERE vagt_seq = 667"),
                        "0.666|123.456789|1764000000.667");
}

static void a_refused_device_is_a_letter_that_can_be_replayed(void **state)
{
    struct rig *r = *state;

    sql(r,
        "ALTER TABLE meter_identity ADD CONSTRAINT odd CHECK (meter_number <> 'm1-7')");
    open_site(r);
    assert_string_equal(sql(r, "SELECT count(*) FROM meter_identity"), "19");
    assert_string_equal(
        sql(r, "SELECT concat_ws('|', kind, area, topic) FROM vagt_dead_letters"),
        "device|area1|m1-7");
    assert_string_equal(
        sql(r, "SELECT convert_from(payload, 'UTF8') FROM vagt_dead_letters"),
        "{\"ieee_address\":\"0x00000000000003ef\",\"meter_number\":\"m1-7\","
        "\"base_topic\":\"z2m/area1\",\"mqtt_topic\":\"z2m/area1/m1-7\","
        "\"area\":\"area1\",\"is_online\":true,\"model\":\"TS011F\","
        "\"updated_at\":\"2025-11-24T16:00:00.000Z\"}");
    sql(r, "ALTER TABLE meter_identity DROP CONSTRAINT odd");
    assert_string_equal(sql(r, "SELECT vagt_replay(id) FROM vagt_dead_letters"), "done");
    assert_string_equal(sql(r, "SELECT count(*) FROM meter_identity"), "20");
    assert_string_equal(sql(r,
                            "SELECT concat_ws('|', mqtt_topic, is_online, area) FROM"
                            " power_meters WHERE meter_number = 'm1-7'"),
                        "z2m/area1/m1-7|t|area1");
}

/* The one must not be forgotten over the other. */
static void rows_of_all_kinds_may_be_bad_at_once(void **state)
{
    struct rig *r = *state;
    const char *id;

    r->config.batch_age_ms = 200;
    open_site(r);
    id = insert_command(r, 1, "ON", "0 s");
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    sql(r,
        "ALTER TABLE meter_readings ADD CHECK (vagt_seq NOT IN (1, 2, 6));"
        "ALTER TABLE meter_identity ADD CHECK (meter_number NOT IN ('m1-1', 'm1-2'))"
        " NOT VALID;"
        "ALTER TABLE meter_commands ADD CHECK (status <> 'sent')");
    for (unsigned i = 1; i <= 5; i++) {
        rp_batch_avail(&r->batch, 1000 + i, RP_OFFLINE);
        report(r, 1000 + i, RP_SWITCH_UNKNOWN, (int32_t)i);
    }
    command_sent(r, id);
    for (unsigned i = 6; i <= 10; i++) {
        rp_batch_avail(&r->batch, 1000 + i, RP_OFFLINE);
        report(r, 1000 + i, RP_SWITCH_UNKNOWN, (int32_t)i);
    }
    apply(r);
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "7");
    assert_string_equal(sql(r,
                            "SELECT string_agg(kind || ' ' || topic, ',' ORDER BY kind,"
                            " topic) FROM vagt_dead_letters"),
                        "command m1-1,device m1-1,device m1-2,reading m1-1,reading m1-2,"
                        "reading m1-6");
    assert_string_equal(sql(r,
                            "SELECT count(*) FROM meter_identity WHERE availability ="
                            " 'offline'"),
                        "8");
}

static void a_refused_row_waits_until_its_letter_can_be_written(void **state)
{
    struct rig *r = *state;
    struct node *n = open_site(r);

    sql(r, "ALTER TABLE meter_readings ADD CHECK (power_w <> 0.004)");
    sql(r, "ALTER TABLE vagt_dead_letters RENAME TO elsewhere");
    fill_readings(r, 10, 10);
    UNTIL(r, !node_up(n));
    rig_turn(r, 300);
    assert_non_null(strstr(node_error(n), "vagt_dead_letters"));
    /* All before it is in, it and what is behind it is not lost. */
    assert_int_equal(rp_store_readings_shipped(r->store), 4);
    assert_int_equal(rp_store_readings_first(r->store), 5);
    sql(r, "ALTER TABLE elsewhere RENAME TO vagt_dead_letters");
    UNTIL(r, all_shipped(r) && node_up(n));
    check_exactly_once(r, "9");
    assert_string_equal(
        sql(r, "SELECT concat(count(*), min(seq)) FROM vagt_dead_letters"), "15");
}

static void a_trigger_of_the_site_may_refuse_rows(void **state)
{
    struct rig *r = *state;

    open_site(r);
    sql(r,
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.power_w = 0.017 THEN RAISE 'not on Sundays'; END IF; RETURN NEW; END $$;"
        " CREATE TRIGGER no BEFORE INSERT ON meter_readings FOR EACH ROW EXECUTE FUNCTION"
        " no()");
    fill_readings(r, 100, 10);
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "99");
    assert_string_equal(sql(r, "SELECT concat(seq, ' ', reason) FROM vagt_dead_letters"),
                        "18 not on Sundays");
}

static void what_is_checked_only_at_commit_is_found_too(void **state)
{
    struct rig *r = *state;

    sql(r,
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.meter_number = 'm1-7' THEN RAISE check_violation USING MESSAGE ="
        " 'late'; END IF; RETURN NEW; END $$;"
        " CREATE CONSTRAINT TRIGGER no AFTER INSERT OR UPDATE ON meter_identity "
        "DEFERRABLE"
        " INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION no()");
    fill_devices(r, 1, 20);
    fill_readings(r, 50, 6);
    node_open(r, &r->nodes[0], "n1", 5);
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "50");
    assert_string_equal(sql(r, "SELECT count(*) FROM meter_identity"), "19");
    assert_string_equal(
        sql(r,
            "SELECT string_agg(concat(kind, ' ', topic, ' ', reason), ',') FROM"
            " vagt_dead_letters"),
        "device m1-7 late");
}

static void a_time_that_no_table_can_hold_is_a_letter(void **state)
{
    struct rig *r = *state;
    struct rp_report rep = {
        .ieee = 1001, .payload_hash = 7, .values = {.power_mw = 1, .has = RP_HAS_POWER}};

    open_site(r);
    r->now_ms = UINT64_C(9000000000000000000);
    rp_batch_report(&r->batch, &rep);
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(sql(r,
                            "SELECT concat(kind, ' ', extract(year FROM at), ' ',"
                            " convert_from(payload, 'UTF8')::json ->> 'time') FROM"
                            " vagt_dead_letters"),
                        "reading 9999 9000000000000000000");
}

/* --- tried again --- */

static const char *ask_replay(struct rig *r, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char topic[32];

        snprintf(topic, sizeof topic, "z2m/area1/m1-%u", i);
        fill_letter(r, topic, "unknown device", "{\"power\":1}");
    }
    apply(r);
    UNTIL(r, all_shipped(r));
    return sql(r,
               "SELECT count(*) FROM vagt_dead_letters WHERE vagt_replay(id) ="
               " 'asked'");
}

static void check_letter(struct node *n, const struct ad_pg_retry *l)
{
    assert_string_equal(l->area, "area1");
    assert_memory_equal(l->topic, "z2m/area1/m1-", 13);
    assert_int_equal(l->len, 11);
    assert_memory_equal(l->payload, "{\"power\":1}", 11);
    assert_int_equal(l->at_ms / 1000, T0 / 1000);
    ad_pg_retried(n->p, l->id, NULL);
}

static void letters_are_shown_once_and_marked(void **state)
{
    struct rig *r = *state;
    struct node *n = open_site(r);

    r->on_letter = check_letter;
    assert_string_equal(ask_replay(r, 120), "120");
    UNTIL(r, sql_number(r,
                        "SELECT count(*) FROM vagt_dead_letters WHERE status ="
                        " 'replayed' AND replayed_at IS NOT NULL") == 120);
    assert_int_equal(r->letters, 120);
    /* Another connection may see the commit before its answer is here. */
    UNTIL(r, ad_pg_status(n->p)->letters_replayed == 120);
}

static void keep_letter(struct node *n, const struct ad_pg_retry *l)
{
    (void)n, (void)l;
}

static void a_letter_that_nobody_answered_goes_to_the_next_watch(void **state)
{
    struct rig *r = *state;
    struct node *n = open_site(r);

    r->on_letter = keep_letter;
    (void)ask_replay(r, 3);
    UNTIL(r, r->letters == 3);
    rig_turn(r, 200);
    assert_int_equal(r->letters, 3); /* Not again and again. */
    node_close(n);
    r->on_letter = check_letter;
    node_open(r, n, "n2", 6);
    UNTIL(r, sql_number(r,
                        "SELECT count(*) FROM vagt_dead_letters WHERE status ="
                        " 'replayed'") == 3);
    assert_int_equal(r->letters, 6);
}

static void refuse_letter(struct node *n, const struct ad_pg_retry *l)
{
    ad_pg_retried(n->p, l->id, "no area has this topic");
}

static void a_letter_that_cannot_be_tried_is_new_again(void **state)
{
    struct rig *r = *state;

    open_site(r);
    r->on_letter = refuse_letter;
    (void)ask_replay(r, 1);
    UNTIL(r, strcmp(sql(r, "SELECT status FROM vagt_dead_letters"), "new") == 0);
    (void)sql(r, "SELECT vagt_replay(id) FROM vagt_dead_letters");
    UNTIL(r, strcmp(sql(r, "SELECT status FROM vagt_dead_letters"), "new") == 0);
    assert_string_equal(sql(r, "SELECT reason FROM vagt_dead_letters"),
                        "unknown device; not replayed: no area has this topic");
}

static void letters_of_another_cluster_are_left_alone(void **state)
{
    struct rig *r = *state;

    open_site(r);
    sql(r,
        "INSERT INTO vagt_dead_letters (cluster, kind, seq, at, reason, payload, status)"
        " VALUES ('other', 'message', 1, now(), 'r', '', 'replay'),"
        " ('site', 'reading', 1, now(), 'r', '', 'replay')");
    rig_turn(r, 300);
    assert_int_equal(r->letters, 0);
}

#define RIG(F) cmocka_unit_test_setup_teardown(F, rig_open, rig_close)

/* One argument: the name of the only test to run, with * and ?. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        RIG(letters_of_the_store_arrive_with_the_rest),
        RIG(letters_that_made_room_are_passed_over_and_counted),
        RIG(many_letters_take_several_batches),
        RIG(a_commit_of_letters_without_an_answer_is_found_again),
        RIG(a_number_that_is_taken_stops_nothing_and_is_said),
        RIG(readings_go_on_when_letters_cannot_be_written),
        RIG(a_database_of_another_encoding_takes_letters),
        RIG(a_refused_reading_is_a_letter_that_can_be_replayed),
        RIG(a_refused_device_is_a_letter_that_can_be_replayed),
        RIG(rows_of_all_kinds_may_be_bad_at_once),
        RIG(a_refused_row_waits_until_its_letter_can_be_written),
        RIG(a_trigger_of_the_site_may_refuse_rows),
        RIG(what_is_checked_only_at_commit_is_found_too),
        RIG(a_time_that_no_table_can_hold_is_a_letter),
        RIG(letters_are_shown_once_and_marked),
        RIG(a_letter_that_nobody_answered_goes_to_the_next_watch),
        RIG(a_letter_that_cannot_be_tried_is_new_again),
        RIG(letters_of_another_cluster_are_left_alone),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, server_start, server_stop);
}

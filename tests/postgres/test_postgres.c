#include "rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"

/* --- what arrives --- */

static void readings_and_devices_arrive_as_the_site_knows_them(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];

    rp_batch_area(&r->batch, "north", "z2m/north");
    rp_batch_device(&r->batch, 1, 0x1a2b, "pitch \"1\" \\ {a},b", "TS011F");
    rp_batch_device(&r->batch, 1, 0x2, "p2", "TS011F");
    rp_batch_avail(&r->batch, 0x1a2b, RP_ONLINE);
    rp_batch_avail(&r->batch, 0x2, RP_OFFLINE);
    report(r, 0x1a2b, RP_ON, -1234);
    apply(r);
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r));

    assert_string_equal(
        sql(r,
            "SELECT concat_ws('|', meter_id, extract(epoch FROM time)::numeric(20,3),"
            " power_w, voltage_v IS NULL, current_a IS NULL, energy_kwh, state,"
            " vagt_seq) FROM meter_readings"),
        "pitch \"1\" \\ {a},b|1764000000.001|-1.234|t|t|123.456789|ON|1");
    assert_string_equal(
        sql(r,
            "SELECT concat_ws('|', meter_number, mqtt_topic, is_online, state, area,"
            " extract(epoch FROM last_seen)::numeric(20,3),"
            " updated_at > now() - interval '1 minute')"
            " FROM power_meters WHERE meter_number <> 'p2'"),
        "pitch \"1\" \\ {a},b|z2m/north/pitch \"1\" \\ "
        "{a},b|t|ON|north|1764000000.001|t");
    assert_string_equal(sql(r,
                            "SELECT concat_ws('|', mqtt_topic, is_online, state IS "
                            "NULL, last_seen IS NULL) FROM power_meters WHERE "
                            "meter_number = 'p2'"),
                        "z2m/north/p2|f|t|t");
    assert_string_equal(
        sql(r,
            "SELECT concat_ws('|', ieee_address, base_topic, availability, model,"
            " last_seen IS NOT NULL) FROM meter_identity WHERE meter_number <> 'p2'"),
        "0x0000000000001a2b|z2m/north|online|TS011F|t");
    assert_string_equal(sql(r,
                            "SELECT concat_ws('|', term, node, shipped, "
                            "shipped_revision) FROM vagt_fence WHERE cluster = 'site'"),
                        "5|n1|1|5");
    assert_int_equal(ad_pg_status(n->p)->rows_readings, 1);
    assert_int_equal(ad_pg_status(n->p)->rows_devices, 2);
    assert_int_equal(ad_pg_status(n->p)->schema, schema_version());
}

static const char *online(struct rig *r, const char *name)
{
    return sql(r, "SELECT is_online FROM power_meters WHERE meter_number = '%s'", name);
}

static void is_online_follows_availability(void **state)
{
    struct rig *r = *state;

    node_open(r, &r->nodes[0], "n1", 5);
    rp_batch_area(&r->batch, "tells", "z2m/tells");
    rp_batch_area(&r->batch, "mute", "z2m/mute");
    rp_batch_device(&r->batch, 1, 0x11, "on", "");
    rp_batch_device(&r->batch, 1, 0x12, "off", "");
    rp_batch_device(&r->batch, 1, 0x13, "untold", "");
    rp_batch_device(&r->batch, 2, 0x21, "mute", "");
    rp_batch_avail(&r->batch, 0x11, RP_ONLINE);
    rp_batch_avail(&r->batch, 0x12, RP_OFFLINE);
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(online(r, "on"), "t");
    assert_string_equal(online(r, "off"), "f");
    assert_string_equal(online(r, "untold"), "f");
    assert_string_equal(online(r, "mute"), "t");

    rp_batch_avail(&r->batch, 0x11, RP_OFFLINE);
    rp_batch_avail(&r->batch, 0x12, RP_ONLINE);
    rp_batch_gone(&r->batch, 0x21);
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(online(r, "on"), "f");
    assert_string_equal(online(r, "off"), "t");
    assert_string_equal(online(r, "mute"), "f");
    assert_string_equal(
        sql(r, "SELECT availability FROM meter_identity WHERE meter_number = 'mute'"),
        "offline");
}

static void the_first_availability_of_an_area_makes_the_others_unknown(void **state)
{
    struct rig *r = *state;

    node_open(r, &r->nodes[0], "n1", 5);
    fill_devices(r, 2, 3);
    UNTIL(r, all_shipped(r));
    assert_string_equal(sql(r, "SELECT count(*) FROM power_meters WHERE is_online"), "6");
    rp_batch_avail(&r->batch, 1001, RP_ONLINE);
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(sql(r,
                            "SELECT string_agg(meter_number, ' ' ORDER BY meter_number)"
                            " FROM power_meters WHERE is_online"),
                        "m1-1 m2-1 m2-2 m2-3");
}

static void a_meter_that_is_exchanged_or_renamed_is_one_row(void **state)
{
    struct rig *r = *state;

    node_open(r, &r->nodes[0], "n1", 5);
    rp_batch_area(&r->batch, "a", "z2m/a");
    rp_batch_device(&r->batch, 1, 0x1, "p1", "old");
    rp_batch_device(&r->batch, 1, 0x2, "p2", "");
    rp_batch_avail(&r->batch, 0x1, RP_ONLINE);
    rp_batch_avail(&r->batch, 0x2, RP_ONLINE);
    apply(r);
    UNTIL(r, all_shipped(r));

    /* The new device first, the old one gone afterwards: the last change of the
     * name is the one that is gone, the meter is the one that is there. */
    rp_batch_device(&r->batch, 1, 0x3, "p1", "new");
    rp_batch_avail(&r->batch, 0x3, RP_ONLINE);
    apply(r);
    UNTIL(r, all_shipped(r));
    rp_batch_gone(&r->batch, 0x1);
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(online(r, "p1"), "t");
    assert_string_equal(sql(r, "SELECT count(*) FROM meter_identity"), "3");

    /* Renamed: what is left under the old name is not there any more. */
    rp_batch_device(&r->batch, 1, 0x2, "p22", "");
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(online(r, "p2"), "f");
    assert_string_equal(online(r, "p22"), "t");
    /* The old name went to another device in the same breath: that one counts. */
    rp_batch_device(&r->batch, 1, 0x2, "p23", "");
    rp_batch_device(&r->batch, 1, 0x4, "p22", "");
    rp_batch_avail(&r->batch, 0x4, RP_ONLINE);
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(online(r, "p22"), "t");
    assert_string_equal(online(r, "p23"), "t");
}

static void say_at(struct rig *r, uint64_t time_ms, struct rp_values values,
                   enum rp_switch state)
{
    struct rp_report rep = {.ieee = 1001,
                            .last_seen_ms = time_ms,
                            .payload_hash = ++r->now_ms,
                            .state = state,
                            .values = values};

    rp_batch_report(&r->batch, &rep);
}

static const char *one_row(struct rig *r)
{
    return sql(r,
               "SELECT concat_ws('|', count(*) OVER (), power_w, voltage_v, energy_kwh,"
               " state, vagt_seq) FROM meter_readings WHERE meter_id = 'm1-1'");
}

static void the_same_meter_and_time_is_one_row(void **state)
{
    const struct rp_values power = {.power_mw = 1000, .has = RP_HAS_POWER};
    const struct rp_values volts = {.voltage_mv = 230000, .has = RP_HAS_VOLTAGE};
    const struct rp_values both = {
        .power_mw = 2000, .energy_mwh = 7, .has = RP_HAS_POWER | RP_HAS_ENERGY};
    struct rig *r = *state;

    fill_devices(r, 1, 2);
    /* In one batch: the newest counts, what it lacks stays. */
    say_at(r, T0 + 5, power, RP_OFF);
    say_at(r, T0 + 5, volts, RP_SWITCH_UNKNOWN);
    say_at(r, T0 + 5, both, RP_SWITCH_UNKNOWN);
    apply(r);
    node_open(r, &r->nodes[0], "n1", 5);
    UNTIL(r, all_shipped(r));
    assert_string_equal(one_row(r), "1|2.000|230.000|0.000007|OFF|3");
    /* And in the next one. */
    say_at(r, T0 + 5, power, RP_ON);
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(one_row(r), "1|1.000|230.000|0.000007|ON|4");
    say_at(r, T0 + 5, volts, RP_SWITCH_UNKNOWN);
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(one_row(r), "1|1.000|230.000|0.000007|ON|5");
    assert_int_equal(log_count(r, "pg.readings_known"), 0);
    /* What the site wrote itself is made more complete. */
    sql(r,
        "INSERT INTO meter_readings (meter_id, time, voltage_v) VALUES ('m1-1',"
        " to_timestamp(%" PRIu64 " / 1000.0), 229)",
        T0 + UINT64_C(9));
    sql(r, "DELETE FROM meter_readings WHERE vagt_seq = 5");
    say_at(r, T0 + 9, power, RP_SWITCH_UNKNOWN);
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(one_row(r), "1|1.000|229|6");
    /* Never back: a row with a higher number is of a time after us. */
    sql(r, "UPDATE meter_readings SET vagt_seq = 77");
    say_at(r, T0 + 9, both, RP_SWITCH_UNKNOWN);
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(one_row(r), "1|1.000|229|77");
    assert_int_equal(log_count(r, "pg.readings_known count=1 from=7 to=7"), 1);
}

static void two_devices_of_one_name_are_one_meter(void **state)
{
    struct rig *r = *state;

    rp_batch_area(&r->batch, "a", "z2m/a");
    rp_batch_area(&r->batch, "b", "z2m/b");
    rp_batch_device(&r->batch, 1, 0x1, "same", "");
    rp_batch_device(&r->batch, 2, 0x2, "same", "");
    for (unsigned i = 0; i < 40; i++) { /* Each time twice, by each of them. */
        report(r, 0x1 + i % 2, RP_ON, (int32_t)i);
        r->now_ms -= i % 2 == 0;
    }
    apply(r);
    node_open(r, &r->nodes[0], "n1", 5);
    UNTIL(r, all_shipped(r));
    assert_string_equal(sql(r,
                            "SELECT concat_ws('|', count(*), min(vagt_seq),"
                            " max(power_w)) FROM meter_readings"),
                        "20|2|0.039");
    assert_string_equal(sql(r, "SELECT count(*) FROM vagt_dead_letters"), "0");
    assert_int_equal(ad_pg_status(r->nodes[0].p)->rows_failed, 0);
}

static void commands_alone_do_not_hold_the_watermark_up(void **state)
{
    struct rig *r = *state;
    uint64_t batches;

    node_open(r, &r->nodes[0], "n1", 5);
    fill_devices(r, 1, 1);
    UNTIL(r, all_shipped(r));
    batches = ad_pg_status(r->nodes[0].p)->batches;
    rp_batch_command(&r->batch, "c1", 1001, "state", "ON", "cli", r->now_ms + 60000);
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_int_equal(ad_pg_status(r->nodes[0].p)->batches, batches);
}

static void fifty_thousand_readings(void **state)
{
    struct rig *r = *state;
    uint64_t t0, ns;

    fill_devices(r, 1, 300);
    fill_readings(r, 50000, 300);
    t0 = uv_hrtime();
    node_open(r, &r->nodes[0], "n1", 5);
    UNTIL(r, all_shipped(r));
    ns = uv_hrtime() - t0;
    assert_string_equal(sql(r, "SELECT count(DISTINCT vagt_seq) FROM meter_readings"),
                        "50000");
    assert_string_equal(sql(r, "SELECT sum(power_w) FROM meter_readings"), "1249975.000");
    print_message("           50000 readings in %" PRIu64 " ms, %" PRIu64 " rows/s\n",
                  ns / 1000000, UINT64_C(50000) * 1000000000 / ns);
}

/* --- exactly once --- */

static void a_server_that_crashes_loses_and_doubles_nothing(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];

    r->config.batch_rows_max = 100;
    fill_devices(r, 1, 50);
    fill_readings(r, 20000, 50);
    node_open(r, n, "n1", 5);
    for (unsigned crash = 1; crash <= 3; crash++) {
        unsigned batches = n->batches + 20;

        UNTIL(r, n->batches >= batches);
        for (unsigned i = 0; i < crash; i++) {
            uv_run(&r->loop, UV_RUN_NOWAIT); /* Another moment of a batch each time. */
        }
        server_run("stop --crash");
        UNTIL(r, !node_up(n));
        server_run("start");
        UNTIL(r, node_up(n));
    }
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "20000");
    assert_true(ad_pg_status(n->p)->reconnects >= 3);
}

static void a_commit_without_an_answer_is_found_again(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];
    static struct proxy x; /* Outlives a test that fails. */

    proxy_open(&x, &r->loop, server.port);
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=postgres dbname=%s", x.port, r->database);
    r->config.poll_ms = 3600000;
    node_open(r, n, "n1", 5);
    fill_devices(r, 1, 10);
    /* Nothing else may be under way, which would be what gets no answer. */
    UNTIL(r, all_shipped(r) && ad_pg_status(n->p)->maintained_ms != 0);

    x.mode = PROXY_DEAF;
    fill_readings(r, 500, 10);
    rig_wait_sql(r, "SELECT shipped >= 500 FROM vagt_fence", "t");
    assert_int_equal(n->shipped, 0);
    x.mode = PROXY_PASS;
    proxy_cut(&x);
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "500");
    assert_int_equal(ad_pg_status(n->p)->rows_readings, 0); /* Learnt, not written. */
    node_close(n);
    proxy_close(&x);
}

static void a_commit_that_arrives_late_is_not_repeated(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];

    fill_devices(r, 1, 1);
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r));
    /* What an earlier connection of ours had sent gets through only now. */
    sql(r,
        "INSERT INTO meter_readings (meter_id, time, vagt_seq)"
        " SELECT 'early', now() + s * interval '1 s', s FROM generate_series(1, 4) s;"
        " UPDATE vagt_fence SET shipped = 4");
    fill_readings(r, 10, 1);
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "10");
    assert_string_equal(sql(r,
                            "SELECT count(*) FROM meter_readings WHERE meter_id ="
                            " 'early'"),
                        "4");
    assert_true(node_up(n));
    assert_int_equal(log_count(r, "pg.down"), 0);
}

static void a_connection_cut_anywhere_loses_and_doubles_nothing(void **state)
{
    enum { ROUNDS = 100, EACH = 100, WHOLE = 3 };
    struct rig *r = *state;
    struct node *n = &r->nodes[0];
    uint64_t cost = UINT32_MAX;
    char total[16];
    static struct proxy x; /* Outlives a test that fails. */

    proxy_open(&x, &r->loop, server.port);
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=postgres dbname=%s", x.port, r->database);
    fill_devices(r, 1, 10);
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r));
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t before = x.to_server;

        if (i >= WHOLE) {
            x.mode = PROXY_CUT;
            x.cut_after = (size_t)(sy_hash(&i, sizeof i, 1) % (cost + 200));
        }
        fill_readings(r, EACH, 10);
        UNTIL(r, all_shipped(r));
        if (i < WHOLE && x.to_server - before < cost) {
            cost = x.to_server - before; /* A slow round has looks at the tables in it. */
        }
    }
    snprintf(total, sizeof total, "%d", ROUNDS * EACH);
    check_exactly_once(r, total);
    print_message("           %u cuts within %" PRIu64 " bytes\n", x.cuts, cost);
    assert_true(x.cuts > ROUNDS / 2);
    node_close(n);
    proxy_close(&x);
}

static void a_server_that_hangs_is_left_and_found_again(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];

    r->config.statement_timeout_ms = 200;
    r->config.connect_timeout_ms = 200;
    fill_devices(r, 1, 10);
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r));
    server_run("pause");
    fill_readings(r, 300, 10);
    UNTIL(r, !node_up(n));
    assert_non_null(strstr(node_error(n), "has not answered for 400 ms"));
    UNTIL(r, strstr(node_error(n), "does not answer in 200 ms") != NULL);
    server_run("resume");
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "300");
}

/* --- one writer --- */

static void the_older_term_is_fenced_and_writes_nothing_more(void **state)
{
    struct rig *r = *state;
    struct node *old = &r->nodes[0];
    struct node *new = &r->nodes[1];
    unsigned filled = 1000;
    char all[16];

    r->config.batch_rows_max = 100;
    fill_devices(r, 1, 10);
    fill_readings(r, 1000, 10);
    node_open(r, old, "n1", 5);
    UNTIL(r, old->batches >= 3);
    node_open(r, new, "n2", 6);
    UNTIL(r, old->fenced_by != 0 || !more_to_ship(r, &filled));
    assert_int_equal(old->fenced_by, 6);
    assert_int_equal(ad_pg_status(old->p)->fenced, 1);
    assert_string_equal(node_error(old),
                        "fenced: node n2 writes in term 6, this one had term 5");
    filled += 500;
    fill_readings(r, 500, 10);
    UNTIL(r, new->shipped == filled);
    assert_true(old->shipped < filled);
    assert_int_equal(ad_pg_status(old->p)->link, AD_PG_DOWN);
    snprintf(all, sizeof all, "%u", filled);
    check_exactly_once(r, all);
    assert_string_equal(sql(r, "SELECT concat(term, node) FROM vagt_fence"), "6n2");
}

static void the_fence_holds_without_any_eviction(void **state)
{
    struct rig *r = *state;
    struct node *old = &r->nodes[0];

    fill_devices(r, 1, 10);
    node_open(r, old, "n1", 5);
    UNTIL(r, all_shipped(r));
    /* Another term takes the row and the old one's connection goes on. */
    sql(r, "UPDATE vagt_fence SET term = 6, node = 'n2'");
    fill_readings(r, 10, 10);
    UNTIL(r, old->fenced_by != 0);
    assert_int_equal(old->fenced_by, 6);
    assert_int_equal(old->shipped, 0);
    assert_string_equal(sql(r, "SELECT count(*) FROM meter_readings"), "0");
    rig_turn(r, 200); /* Never again, not even after the backoff. */
    assert_string_equal(sql(r, "SELECT concat(term, node) FROM vagt_fence"), "6n2");
}

static void another_cluster_of_the_same_name_and_term_is_fenced(void **state)
{
    struct rig *r = *state;

    sql(r, "INSERT INTO vagt_fence VALUES ('site', 5, 'other', 0, 0)");
    node_open(r, &r->nodes[0], "n1", 5);
    UNTIL(r, r->nodes[0].fenced_by == 5);
}

static void a_dead_watch_that_holds_the_row_is_thrown_out(void **state)
{
    struct rig *r = *state;
    char info[320];
    PGconn *dead;
    uint64_t t0;

    fill_devices(r, 1, 10);
    fill_readings(r, 10, 10);
    sql(r, "INSERT INTO vagt_fence VALUES ('site', 5, 'n1', 0, 0)");
    snprintf(info, sizeof info, "%s application_name=vagt:5:site", r->conninfo);
    dead = PQconnectdb(info);
    PQclear(PQexec(dead, "BEGIN; UPDATE vagt_fence SET shipped = 3"));
    assert_int_equal(PQtransactionStatus(dead), PQTRANS_INTRANS);
    t0 = uv_hrtime();
    node_open(r, &r->nodes[0], "n2", 6);
    UNTIL(r, all_shipped(r));
    assert_true(uv_hrtime() - t0 < UINT64_C(3000000000));
    PQfinish(dead);
    check_exactly_once(r, "10");
}

static void a_newer_watch_is_not_thrown_out(void **state)
{
    struct rig *r = *state;
    char info[320];
    PGconn *newer;
    PGresult *res;

    sql(r, "INSERT INTO vagt_fence VALUES ('site', 7, 'n2', 0, 0)");
    snprintf(info, sizeof info, "%s application_name=vagt:7:site", r->conninfo);
    newer = PQconnectdb(info);
    node_open(r, &r->nodes[0], "n1", 6);
    UNTIL(r, r->nodes[0].fenced_by == 7);
    res = PQexec(newer, "SELECT 1");
    assert_int_equal(PQresultStatus(res), PGRES_TUPLES_OK);
    PQclear(res);
    PQfinish(newer);
}

static void a_database_of_another_history_is_refused(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];

    sql(r, "INSERT INTO vagt_fence VALUES ('site', 1, 'n1', 1000, 0)");
    fill_devices(r, 1, 1);
    fill_readings(r, 10, 1);
    node_open(r, n, "n1", 5);
    UNTIL(r, node_error(n)[0] != '\0');
    assert_non_null(strstr(node_error(n), "at reading 1000"));
    assert_non_null(strstr(node_error(n), "delete the row"));
    sql(r, "DELETE FROM vagt_fence");
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "10");
}

static void a_database_put_back_to_an_older_copy_goes_on(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];

    fill_devices(r, 1, 2);
    fill_readings(r, 100, 2);
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r));
    node_close(n);
    sql(r,
        "UPDATE vagt_fence SET shipped = 40; DELETE FROM meter_readings WHERE vagt_seq"
        " > 40");
    fill_readings(r, 10, 2);
    node_open(r, n, "n1", 6);
    UNTIL(r, n->shipped == 110);
    assert_string_equal(sql(r, "SELECT count(*) FROM meter_readings"), "50");
    assert_int_equal(log_count(r, "pg.readings_missing count=60 after=40"), 1);
}

/* --- what Postgres refuses --- */

static void a_bad_row_is_skipped_and_named(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];

    sql(r, "ALTER TABLE meter_readings ADD CHECK (power_w <> 0.666)");
    sql(r, "ALTER TABLE meter_identity ADD CHECK (meter_number <> 'm1-7')");
    fill_devices(r, 1, 50);
    fill_readings(r, 3000, 50); /* Number 667 has 666 mW. */
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "2999");
    assert_string_equal(sql(r, "SELECT count(*) FROM meter_identity"), "49");
    assert_int_equal(ad_pg_status(n->p)->rows_failed, 2);
    assert_int_equal(log_count(r,
                               "ev=pg.row_refused kind=reading ieee=0x00000000000003f9"
                               " seq=667 sqlstate=23514"),
                     1);
    assert_int_equal(
        log_count(r, "ev=pg.row_refused kind=device ieee=0x00000000000003ef"), 1);
    assert_true(node_up(n));
}

static void a_table_that_refuses_everything_costs_few_rows(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];
    uint64_t failed;
    char want[16];

    r->config.backoff_max_ms = 500;
    fill_devices(r, 1, 10);
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r));
    sql(r, "ALTER TABLE meter_readings ADD COLUMN site_id int NOT NULL");
    fill_readings(r, 1000, 10);
    UNTIL(r, log_count(r, "pg.every_row_refused") > 0);
    rig_turn(r, 1000);
    sql(r, "ALTER TABLE meter_readings DROP COLUMN site_id");
    UNTIL(r, all_shipped(r));
    failed = ad_pg_status(n->p)->rows_failed;
    assert_in_range(failed, 16, 30);
    snprintf(want, sizeof want, "%" PRIu64, 1000 - failed);
    check_exactly_once(r, want);
}

#define RIG(F) cmocka_unit_test_setup_teardown(F, rig_open, rig_close)

/* One argument: the name of the only test to run, with * and ?. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        RIG(readings_and_devices_arrive_as_the_site_knows_them),
        RIG(is_online_follows_availability),
        RIG(the_first_availability_of_an_area_makes_the_others_unknown),
        RIG(a_meter_that_is_exchanged_or_renamed_is_one_row),
        RIG(the_same_meter_and_time_is_one_row),
        RIG(two_devices_of_one_name_are_one_meter),
        RIG(commands_alone_do_not_hold_the_watermark_up),
        RIG(fifty_thousand_readings),
        RIG(a_commit_without_an_answer_is_found_again),
        RIG(a_commit_that_arrives_late_is_not_repeated),
        RIG(a_connection_cut_anywhere_loses_and_doubles_nothing),
        RIG(the_older_term_is_fenced_and_writes_nothing_more),
        RIG(the_fence_holds_without_any_eviction),
        RIG(another_cluster_of_the_same_name_and_term_is_fenced),
        RIG(a_dead_watch_that_holds_the_row_is_thrown_out),
        RIG(a_newer_watch_is_not_thrown_out),
        RIG(a_database_of_another_history_is_refused),
        RIG(a_database_put_back_to_an_older_copy_goes_on),
        RIG(a_bad_row_is_skipped_and_named),
        RIG(a_table_that_refuses_everything_costs_few_rows),
        RIG(a_server_that_hangs_is_left_and_found_again),
        RIG(a_server_that_crashes_loses_and_doubles_nothing),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, server_start, server_stop);
}

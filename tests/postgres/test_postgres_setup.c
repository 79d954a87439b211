#include "rig.h"

#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LATEST = 6 };

static void a_right_that_is_missing_is_said_once(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];

    sql(r,
        "CREATE ROLE poor LOGIN; GRANT ALL ON vagt_fence, vagt_schema, power_meters,"
        " meter_identity TO poor");
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=poor dbname=%s", server.port, r->database);
    fill_devices(r, 1, 1);
    fill_readings(r, 5, 1);
    node_open(r, n, "n1", 5);
    UNTIL(r, !node_up(n) && node_error(n)[0] != '\0');
    assert_string_equal(node_error(n), "permission denied for table meter_readings");
    rig_turn(r, 300);
    assert_int_equal(log_count(r, "pg.up"), 1);
    assert_int_equal(log_count(r, "pg.down"), 1);
    sql(r, "GRANT ALL ON meter_readings TO poor");
    UNTIL(r, all_shipped(r));
    assert_true(node_up(n));
    check_exactly_once(r, "5");
    node_close(n);
    sql(r, "DROP OWNED BY poor; DROP ROLE poor");
}

static void no_tls_then_tls_is_another_socket(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];
    int spare;

    server_make_certificate();
    server_set_hba(
        "hostnossl all poor 127.0.0.1/32 reject\n"
        "host all all all trust\nlocal all all trust\n");
    sql(r, "CREATE ROLE poor LOGIN SUPERUSER");
    sql(r, "ALTER SYSTEM SET ssl = on");
    sql(r, "SELECT pg_reload_conf()");
    rig_wait_sql(r, "SHOW ssl", "on");
    /* libpq closes its socket and opens another, which gets the lowest number free:
     * another one than before, since one has come free in between. */
    spare = dup(0);
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=poor dbname=%s sslmode=allow", server.port,
             r->database);
    fill_devices(r, 1, 10);
    fill_readings(r, 5000, 10);
    node_open(r, n, "n1", 5);
    uv_run(&r->loop, UV_RUN_NOWAIT); /* The first socket is there. */
    close(spare);
    UNTIL(r, all_shipped(r));
    assert_string_equal(sql(r,
                            "SELECT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a"
                            " USING (pid) WHERE a.application_name = 'vagt:5:site'"),
                        "t");
    check_exactly_once(r, "5000");
    node_close(n);
    sql(r, "ALTER SYSTEM RESET ssl");
    sql(r, "SELECT pg_reload_conf()");
    sql(r, "DROP ROLE poor");
}

/* --- sentences --- */

static void expect_error(struct rig *r, const char *conninfo, const char *sentence)
{
    struct node *n = &r->nodes[0];

    snprintf(r->conninfo, sizeof r->conninfo, "%s", conninfo);
    r->lines_len = 0;
    node_open(r, n, "n1", 5);
    UNTIL(r, node_error(n)[0] != '\0');
    if (strstr(node_error(n), sentence) == NULL) {
        fail_msg("%s: \"%s\" is not in \"%s\"", conninfo, sentence, node_error(n));
    }
    rig_turn(r, 200); /* Several tries: */
    assert_int_equal(log_count(r, "pg.down"), 1);
    assert_int_equal(n->changes, 1);
    assert_int_equal(log_count(r, "hunter2"), 0);
    assert_null(strstr(node_error(n), "hunter2"));
    node_close(n);
}

static void what_keeps_us_out_is_a_sentence_without_the_password(void **state)
{
    struct rig *r = *state;
    char text[256];

    sql(r, "CREATE ROLE site LOGIN PASSWORD 'right'");
    server_set_hba(
        "host all site all scram-sha-256\nhost all all all trust\n"
        "local all all trust\n");
    sql(r, "SELECT pg_reload_conf()");

    snprintf(text, sizeof text,
             "host=127.0.0.1 port=%d dbname=%s user=site"
             " password=hunter2",
             server.port, r->database);
    expect_error(r, text, "password authentication failed for user \"site\"");
    snprintf(text, sizeof text, "postgresql://postgres:hunter2@127.0.0.1:%d/nowhere",
             server.port);
    expect_error(r, text, "database \"nowhere\" does not exist");
    snprintf(text, sizeof text,
             "host=127.0.0.1 port=%d user=postgres dbname=hunter2"
             " password=hunter2",
             server.port);
    expect_error(r, text, "database \"*******\" does not exist");
    expect_error(r, "host=127.0.0.1 port=1 password=hunter2", "Connection refused");
    expect_error(r, "host=no.such.host.invalid password=hunter2",
                 "host \"no.such.host.invalid\" cannot be looked up");
    expect_error(r, "host=/nonexistent password=hunter2", "No such file or directory");
}

static void a_conninfo_that_is_none_is_refused_without_quoting_it(void **state)
{
    static const char *const bad[] = {"hunter2",
                                      "postgresql://u:hunter2@[::1",
                                      "host=a passwort=hunter2",
                                      "postgresql://u:hunter2/@host:port/db?nonsense=1",
                                      "service=x password=hunter2",
                                      "host=a,b port=1,2,3 password=hunter2",
                                      "host=a,b,c port=1,2 password=hunter2",
                                      ""};
    struct rig *r = *state;
    const struct ad_pg_callbacks cb = {0};
    struct sy_errbuf eb;
    struct ad_pg *p;
    unsigned from, to;

    snprintf(r->config.node, sizeof r->config.node, "n1");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        r->config.conninfo = bad[i];
        if (i == 5) {
            continue; /* More ports than hosts: libpq says so later. */
        }
        assert_int_equal(
            ad_pg_open(&p, &r->loop, &r->log, &r->config, r->store, 1, &cb, NULL, &eb),
            SY_EINVALID);
        assert_null(strstr(eb.text, "hunter2"));
        assert_true(strlen(eb.text) > 20);
    }
    assert_int_equal(ad_pg_migrate("postgresql://u:hunter2@[::1", &from, &to, &eb),
                     SY_EINVALID);
    assert_null(strstr(eb.text, "hunter2"));
}

static void all_hosts_are_tried_and_names_are_looked_up(void **state)
{
    struct rig *r = *state;

    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1,localhost,%s port=1,1,%d user=postgres dbname=%s",
             server.dir, server.port, r->database);
    fill_devices(r, 1, 1);
    node_open(r, &r->nodes[0], "n1", 5);
    UNTIL(r, all_shipped(r));
    assert_int_equal(log_count(r, "pg.down"), 0);
    node_close(&r->nodes[0]);

    snprintf(r->conninfo, sizeof r->conninfo,
             "host=localhost port=%d user=postgres dbname=%s", server.port, r->database);
    fill_readings(r, 5, 1);
    node_open(r, &r->nodes[0], "n1", 6);
    UNTIL(r, all_shipped(r));
}

static void wait_for_post(uv_work_t *req)
{
    sem_wait(req->data);
}

static void a_resolver_that_hangs_costs_one_thread(void **state)
{
    enum { THREADS = 4 }; /* libuv's pool */
    struct rig *r = *state;
    struct node *n = &r->nodes[0];
    uv_work_t work[THREADS];
    sem_t sem;

    sem_init(&sem, 0, 0);
    for (unsigned i = 0; i < THREADS; i++) {
        work[i].data = &sem;
        uv_queue_work(&r->loop, &work[i], wait_for_post, NULL);
    }
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=no.such.host.invalid,localhost port=1,%d user=postgres dbname=%s",
             server.port, r->database);
    r->config.connect_timeout_ms = 50;
    fill_devices(r, 1, 1);
    node_open(r, n, "n1", 5);
    UNTIL(r, node_error(n)[0] != '\0');
    assert_string_equal(node_error(n),
                        "host \"no.such.host.invalid\" cannot be looked up: no answer in "
                        "50 ms; host \"localhost\" cannot be looked up: no answer in 50 "
                        "ms");
    rig_turn(r, 300);
    for (unsigned i = 0; i < THREADS; i++) {
        sem_post(&sem);
    }
    UNTIL(r, all_shipped(r));
    node_close(n);

    /* Closing does not wait for the resolver. */
    for (unsigned i = 0; i < THREADS; i++) {
        uv_queue_work(&r->loop, &work[i], wait_for_post, NULL);
    }
    node_open(r, n, "n1", 5);
    uv_run(&r->loop, UV_RUN_NOWAIT);
    node_close(n);
    for (unsigned i = 0; i < THREADS; i++) {
        sem_post(&sem);
    }
    uv_close((uv_handle_t *)&r->watchdog, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    uv_timer_init(&r->loop, &r->watchdog);
    r->watchdog.data = r;
    sem_destroy(&sem);
}

static void closing_at_any_moment_leaves_nothing_behind(void **state)
{
    struct rig *r = *state;

    r->config.batch_rows_max = 10;
    fill_devices(r, 1, 10);
    fill_readings(r, 3000, 10);
    for (unsigned turns = 0; turns < 60; turns++) {
        node_open(r, &r->nodes[0], "n1", 5);
        for (unsigned i = 0; i < turns && !all_shipped(r); i++) {
            uv_run(&r->loop, UV_RUN_ONCE);
        }
        node_close(&r->nodes[0]);
    }
    node_open(r, &r->nodes[0], "n1", 5);
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "3000");
    node_close(&r->nodes[0]);
    snprintf(r->conninfo, sizeof r->conninfo, "host=no.such.host.invalid");
    node_open(r, &r->nodes[0], "n1", 5);
    uv_run(&r->loop, UV_RUN_NOWAIT); /* The lookup is under way. */
    node_close(&r->nodes[0]);
}

/* --- migrations --- */

static void migrating_twice_does_it_once(void **state)
{
    struct rig *r = *state;
    struct sy_errbuf eb;
    unsigned from = 9, to = 9, version = 9;

    assert_int_equal(ad_pg_schema_version(r->conninfo, &version, &eb), 0);
    assert_int_equal(version, 0);
    assert_int_equal(ad_pg_migrate(r->conninfo, &from, &to, &eb), 0);
    assert_int_equal(from, 0);
    assert_int_equal(to, LATEST);
    assert_int_equal(ad_pg_migrate(r->conninfo, &from, &to, &eb), 0);
    assert_int_equal(from, LATEST);
    assert_int_equal(to, LATEST);
    assert_int_equal(ad_pg_schema_version(r->conninfo, &version, &eb), 0);
    assert_int_equal(version, LATEST);
    assert_string_equal(
        sql(r, "SELECT string_agg(name, ' ' ORDER BY version) FROM vagt_schema"),
        "site dead_letters readings_by_day commands maintain tiebreak");
}

static void the_tables_of_the_site_keep_their_rows(void **state)
{
    struct rig *r = *state;
    struct sy_errbuf eb;
    unsigned from, to;

    sql(r,
        "CREATE TABLE power_meters (id serial PRIMARY KEY, meter_number text UNIQUE,"
        " mqtt_topic text, is_online boolean DEFAULT true, owner text)");
    sql(r, "INSERT INTO power_meters (meter_number, owner) VALUES ('m1-1', 'Hansen')");
    sql(r, "CREATE TABLE meter_identity (ieee_address text, meter_number text)");
    sql(r, "INSERT INTO meter_identity VALUES ('0x1', 'x')");
    sql(r,
        "CREATE TABLE meter_readings (id bigserial PRIMARY KEY, meter_id text,"
        " time timestamptz, energy_kwh double precision)");
    sql(r,
        "INSERT INTO meter_readings (meter_id, time, energy_kwh)"
        " SELECT 'm1-1', now(), 1.5 FROM generate_series(1, 2)");
    if (ad_pg_migrate(r->conninfo, &from, &to, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    /* The row that was there twice is a dead letter. */
    assert_string_equal(sql(r, "SELECT count(*) FROM vagt_dead_letters"), "1");
    /* The unique key the site had serves; the one it had not is there now. */
    assert_string_equal(sql(r,
                            "SELECT count(*) FROM pg_indexes WHERE tablename ="
                            " 'power_meters'"),
                        "2");
    assert_string_equal(sql(r,
                            "SELECT count(*) FROM pg_indexes WHERE indexname ="
                            " 'meter_identity_ieee_address_vagt_key'"),
                        "1");
    fill_devices(r, 1, 2);
    fill_readings(r, 10, 2);
    node_open(r, &r->nodes[0], "n1", 5);
    UNTIL(r, all_shipped(r));
    assert_string_equal(sql(r,
                            "SELECT concat_ws('|', count(*), count(vagt_seq),"
                            " min(energy_kwh)) FROM meter_readings"),
                        "11|10|1.5");
    assert_string_equal(sql(r,
                            "SELECT concat_ws('|', owner, area, is_online) FROM"
                            " power_meters WHERE meter_number = 'm1-1'"),
                        "Hansen|area1|t");
    assert_string_equal(sql(r, "SELECT count(*) FROM meter_identity"), "3");
}

static void a_newer_database_is_refused(void **state)
{
    struct rig *r = *state;
    struct sy_errbuf eb;
    unsigned from, to;

    sql(r, "INSERT INTO vagt_schema VALUES (99, 'future')");
    assert_int_equal(ad_pg_migrate(r->conninfo, &from, &to, &eb), SY_EVERSION);
    assert_non_null(strstr(eb.text, "schema 99"));
    node_open(r, &r->nodes[0], "n1", 5);
    UNTIL(r, node_error(&r->nodes[0])[0] != '\0');
    assert_string_equal(node_error(&r->nodes[0]),
                        "the database has schema 99, this program 6: it needs a newer "
                        "vagtd");
}

static void a_failed_migration_leaves_nothing_and_says_why(void **state)
{
    struct rig *r = *state;
    struct sy_errbuf eb;
    unsigned from, to, version = 9;

    sql(r, "CREATE TABLE power_meters (meter_number text)");
    sql(r, "INSERT INTO power_meters VALUES ('a'), ('a')");
    assert_int_equal(ad_pg_migrate(r->conninfo, &from, &to, &eb), SY_EINVALID);
    assert_non_null(strstr(eb.text, "(meter_number)=(a) is duplicated"));
    assert_int_equal(ad_pg_schema_version(r->conninfo, &version, &eb), 0);
    assert_int_equal(version, 0);
    assert_string_equal(sql(r, "SELECT to_regclass('vagt_fence') IS NULL"), "t");
}

static void a_writer_waits_for_the_migration(void **state)
{
    struct rig *r = *state;
    struct sy_errbuf eb;
    unsigned from, to;

    fill_devices(r, 1, 1);
    fill_readings(r, 3, 1);
    node_open(r, &r->nodes[0], "n1", 5);
    UNTIL(r, node_error(&r->nodes[0])[0] != '\0');
    assert_string_equal(node_error(&r->nodes[0]),
                        "the database has no tables of vagt: "
                        "run \"vagtctl db migrate\"");
    assert_int_equal(ad_pg_migrate(r->conninfo, &from, &to, &eb), 0);
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "3");
}

#define RIG(F) cmocka_unit_test_setup_teardown(F, rig_open, rig_close)
#define BARE(F) cmocka_unit_test_setup_teardown(F, rig_open_bare, rig_close)

/* One argument: the name of the only test to run, with * and ?. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        BARE(migrating_twice_does_it_once),
        BARE(the_tables_of_the_site_keep_their_rows),
        RIG(a_newer_database_is_refused),
        BARE(a_failed_migration_leaves_nothing_and_says_why),
        BARE(a_writer_waits_for_the_migration),
        RIG(a_right_that_is_missing_is_said_once),
        RIG(no_tls_then_tls_is_another_socket),
        RIG(all_hosts_are_tried_and_names_are_looked_up),
        RIG(a_resolver_that_hangs_costs_one_thread),
        RIG(closing_at_any_moment_leaves_nothing_behind),
        RIG(what_keeps_us_out_is_a_sentence_without_the_password),
        RIG(a_conninfo_that_is_none_is_refused_without_quoting_it),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, server_start, server_stop);
}

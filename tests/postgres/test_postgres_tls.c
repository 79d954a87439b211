/* TLS: whom we believe. */

#include "rig.h"

#include <stdio.h>
#include <string.h>

static void enable(struct rig *r)
{
    sql(r, "ALTER SYSTEM SET ssl = on");
    sql(r, "SELECT pg_reload_conf()");
    rig_wait_sql(r, "SHOW ssl", "on");
}

static void connect_with(struct rig *r, const char *ca)
{
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=localhost hostaddr=127.0.0.1 port=%d user=postgres dbname=%s "
             "sslmode=verify-full"
             " sslrootcert=%s/%s",
             server.port, r->database, server.dir, ca);
    node_open(r, &r->nodes[0], "n1", 5);
}

static void expect_refusal(struct rig *r, const char *ca, const char *sentence)
{
    struct node *n = &r->nodes[0];

    connect_with(r, ca);
    UNTIL(r, node_error(n)[0] != '\0');
    if (strstr(node_error(n), sentence) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", sentence, node_error(n));
    }
    rig_turn(r, 300);
    assert_false(node_up(n));
    assert_string_equal(sql(r, "SELECT count(*) FROM vagt_fence"), "0");
    node_close(n);
}

static void the_right_ca_and_name_are_believed(void **state)
{
    struct rig *r = *state;

    server_make_ca("localhost");
    enable(r);
    fill_devices(r, 1, 10);
    fill_readings(r, 3000, 10);
    connect_with(r, "ca.crt");
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "3000");
    assert_string_equal(sql(r,
                            "SELECT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a"
                            " USING (pid) WHERE a.application_name = 'vagt:5:site'"),
                        "t");
}

static void another_ca_is_not_believed(void **state)
{
    struct rig *r = *state;

    server_make_ca("localhost");
    enable(r);
    expect_refusal(r, "other.crt",
                   "certificate verify failed (its certificate is not by a CA of "
                   "postgres.sslrootcert)");
}

static void another_name_is_not_believed(void **state)
{
    struct rig *r = *state;

    server_make_ca("db.example");
    enable(r);
    expect_refusal(r, "ca.crt",
                   "server certificate for \"db.example\" does not match host name "
                   "\"localhost\"");
}

static void a_server_without_tls_is_not_believed(void **state)
{
    struct rig *r = *state;

    server_make_ca("localhost");
    sql(r, "ALTER SYSTEM SET ssl = off");
    sql(r, "SELECT pg_reload_conf()");
    rig_wait_sql(r, "SHOW ssl", "off");
    expect_refusal(r, "ca.crt", "server does not support SSL, but SSL was required");
}

static void a_ca_that_is_not_there_is_named(void **state)
{
    struct rig *r = *state;

    server_make_ca("localhost");
    enable(r);
    expect_refusal(r, "nowhere.crt", "nowhere.crt\" does not exist");
}

#define RIG(F) cmocka_unit_test_setup_teardown(F, rig_open, rig_close)

/* One argument: the name of the only test to run, with * and ?. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        RIG(the_right_ca_and_name_are_believed),
        RIG(another_ca_is_not_believed),
        RIG(another_name_is_not_believed),
        RIG(a_server_without_tls_is_not_believed),
        RIG(a_ca_that_is_not_there_is_named),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, server_start, server_stop);
}

/* Behind PgBouncer in transaction mode: no session is ours, each transaction may have
 * another server process. */

#include "rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static int pooler_port;
static bool missing; /* There is no PgBouncer here. */

static int start_all(void **state)
{
    char line[256];
    int rv;

    (void)server_start(state);
    pooler_port = free_port();
    snprintf(line, sizeof line, "%s start %s %d %d", VAGT_POOLER_SH, server.dir,
             pooler_port, server.port);
    rv = system(line);
    missing = WIFEXITED(rv) && WEXITSTATUS(rv) == 77;
    return rv == 0 || missing ? 0 : -1;
}

static int stop_all(void **state)
{
    char line[256];

    snprintf(line, sizeof line, "%s stop %s || true", VAGT_POOLER_SH, server.dir);
    (void)!system(line);
    return server_stop(state);
}

static int pooled_open(void **state)
{
    struct rig *r;

    (void)rig_open(state);
    r = *state;
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=postgres dbname=%s", pooler_port, r->database);
    return 0;
}

/* The pooler keeps its connections, and a database that has some cannot be dropped. */
static int pooled_close(void **state)
{
    struct rig *r = *state;

    for (unsigned i = 0; i < NODES_MAX; i++) {
        if (r->nodes[i].p != NULL) {
            node_close(&r->nodes[i]);
        }
    }
    sql(r,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
        " current_database() AND pid <> pg_backend_pid()");
    return rig_close(state);
}

#define SKIP_IF_MISSING() \
    do {                  \
        if (missing) {    \
            skip();       \
        }                 \
    } while (0)

static void all_of_it_works_without_a_session(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];
    const char *id;

    SKIP_IF_MISSING();
    fill_devices(r, 1, 20);
    fill_readings(r, 20000, 20);
    fill_letter(r, "t", "r", "x");
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "20000");
    assert_true(ad_pg_status(n->p)->pooled);
    assert_false(ad_pg_status(n->p)->listening);
    assert_int_equal(log_count(r, "pg.pooled"), 1);

    id = insert_command(r, 3, "ON", "0 s");
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    command_sent(r, id);
    command_confirmed(r, id);
    UNTIL(r, strcmp(command_status(r, id), "confirmed") == 0);
    assert_string_equal(sql(r, "SELECT vagt_replay(id) FROM vagt_dead_letters"), "asked");
    UNTIL(r, strcmp(sql(r, "SELECT status FROM vagt_dead_letters"), "replayed") == 0);
    UNTIL(r, ad_pg_status(n->p)->maintained_ms != 0);
    assert_int_equal(log_count(r, "pg.down"), 0);
}

/* Rows are refused: the transaction that failed must be ended where it was. */
static void what_is_refused_is_found_behind_it_too(void **state)
{
    struct rig *r = *state;

    SKIP_IF_MISSING();
    sql(r, "ALTER TABLE meter_readings ADD CHECK (power_w <> 0.666)");
    fill_devices(r, 1, 20);
    fill_readings(r, 3000, 20);
    node_open(r, &r->nodes[0], "n1", 5);
    UNTIL(r, all_shipped(r));
    check_exactly_once(r, "2999");
    assert_string_equal(sql(r, "SELECT concat(kind, seq) FROM vagt_dead_letters"),
                        "reading667");
}

/* Others share the server processes, and they are closed when they are old. */
static void it_goes_on_among_others(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];
    PGconn *others[4];
    char total[16];

    SKIP_IF_MISSING();
    fill_devices(r, 1, 20);
    node_open(r, n, "n1", 5);
    for (unsigned i = 0; i < 4; i++) {
        others[i] = PQconnectdb(r->conninfo);
        assert_int_equal(PQstatus(others[i]), CONNECTION_OK);
    }
    for (unsigned i = 0; i < 200; i++) {
        PQclear(
            PQexec(others[i % 4],
                   "BEGIN; SET LOCAL statement_timeout = 1; SET application_name = 'x';"
                   " COMMIT"));
        /* It had no CPU for a millisecond: it must not keep its server process. */
        if (PQtransactionStatus(others[i % 4]) != PQTRANS_IDLE) {
            PQclear(PQexec(others[i % 4], "ROLLBACK"));
        }
        fill_readings(r, 20, 20);
        if (i % 20 == 0) {
            (void)insert_command(r, 1 + i / 20, "OFF", "0 s");
        }
        rig_turn(r, 15);
    }
    UNTIL(r, all_shipped(r));
    UNTIL(r, sql_number(r,
                        "SELECT count(*) FROM meter_commands WHERE status ="
                        " 'accepted'") == 10);
    snprintf(total, sizeof total, "%d", 200 * 20);
    check_exactly_once(r, total);
    for (unsigned i = 0; i < 4; i++) {
        PQfinish(others[i]);
    }
}

static void the_older_term_is_fenced_behind_it_too(void **state)
{
    struct rig *r = *state;
    struct node *old = &r->nodes[0];
    struct node *new = &r->nodes[1];
    unsigned filled = 1000;
    char all[16];

    SKIP_IF_MISSING();
    r->config.batch_rows_max = 100;
    fill_devices(r, 1, 10);
    fill_readings(r, 1000, 10);
    node_open(r, old, "n1", 5);
    UNTIL(r, old->batches >= 3);
    node_open(r, new, "n2", 6);
    UNTIL(r, old->fenced_by != 0 || !more_to_ship(r, &filled));
    assert_int_equal(old->fenced_by, 6);
    filled += 500;
    fill_readings(r, 500, 10);
    UNTIL(r, new->shipped == filled);
    assert_true(old->shipped < filled);
    snprintf(all, sizeof all, "%u", filled);
    check_exactly_once(r, all);
}

#define POOLED(F) cmocka_unit_test_setup_teardown(F, pooled_open, pooled_close)

/* One argument: the name of the only test to run, with * and ?. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        POOLED(all_of_it_works_without_a_session),
        POOLED(what_is_refused_is_found_behind_it_too),
        POOLED(it_goes_on_among_others),
        POOLED(the_older_term_is_fenced_behind_it_too),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, start_all, stop_all);
}

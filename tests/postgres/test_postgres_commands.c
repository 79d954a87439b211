/* Rows of meter_commands: picked up, carried out, written back. */

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

/* --- the way of a command --- */

static void a_row_becomes_a_command_and_hears_of_its_end(void **state)
{
    struct rig *r = *state;
    const char *id;

    open_site(r);
    id = insert_command(r, 3, "ON", "2 s");
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    assert_int_equal(command_of(r, id)->ieee, 1003);
    assert_string_equal(command_of(r, id)->source, "postgres");
    assert_in_range(r->last_ask.age_ms, 2000, 12000);
    assert_true(r->last_ask.dated && !r->last_ask.expires);

    command_sent(r, id);
    UNTIL(r, strcmp(command_status(r, id), "sent") == 0);
    rp_batch_trouble(&r->batch, command_of(r, id)->seq, 1, "no route to it");
    command_sent(r, id);
    UNTIL(r, all_shipped(r));
    assert_string_equal(
        sql(r, "SELECT concat_ws('|', status, attempts, error) FROM meter_commands"),
        "sent|2|no route to it");

    command_confirmed(r, id);
    UNTIL(r, all_shipped(r));
    assert_string_equal(
        sql(r,
            "SELECT concat_ws('|', status, attempts, error IS NULL,"
            " accepted_at = to_timestamp(%" PRIu64 " / 1000.0),"
            " sent_at IS NOT NULL, finished_at = to_timestamp(%" PRIu64 " / 1000.0),"
            " updated_at > now() - interval '1 min') FROM meter_commands",
            command_of(r, id)->accepted_ms, command_of(r, id)->ended_ms),
        "confirmed|2|t|t|t|t|t");
    assert_int_equal(r->asks, 1);
    assert_int_equal(ad_pg_status(r->nodes[0].p)->rows_commands, 4);
}

static void every_end_is_written_with_its_reason(void **state)
{
    struct rig *r = *state;
    const char *a, *b, *c, *d;

    open_site(r);
    a = insert_command(r, 1, "ON", "0 s");
    UNTIL(r, strcmp(command_status(r, a), "accepted") == 0);
    b = insert_command(r, 1, "OFF", "0 s");
    c = insert_command(r, 2, "ON", "0 s");
    d = insert_command(r, 3, "ON", "0 s");
    UNTIL(r, strcmp(command_status(r, d), "accepted") == 0);
    rp_batch_end(&r->batch, command_of(r, c)->seq, RP_CANCELLED, "cancelled by Ib");
    rp_batch_gone(&r->batch, 1003);
    apply(r);
    r->now_ms += 61000;
    rp_batch_tick(&r->batch);
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(sql(r,
                            "SELECT concat_ws('|', status, left(error, 17)) FROM"
                            " meter_commands WHERE id::text = '%s'",
                            a),
                        "superseded|superseded by pg:");
    assert_string_equal(sql(r,
                            "SELECT concat_ws('|', status, error) FROM"
                            " meter_commands WHERE id::text = '%s'",
                            b),
                        "expired|deadline passed before it could be sent");
    assert_string_equal(sql(r,
                            "SELECT concat_ws('|', status, error) FROM"
                            " meter_commands WHERE id::text = '%s'",
                            c),
                        "cancelled|cancelled by Ib");
    assert_string_equal(sql(r,
                            "SELECT concat_ws('|', status, error) FROM"
                            " meter_commands WHERE id::text = '%s'",
                            d),
                        "failed|the device was removed from its bridge");
}

static void notify_wakes_and_the_poll_is_only_a_fallback(void **state)
{
    struct rig *r = *state;
    struct node *n;
    const char *id;
    uint64_t t0;

    r->config.poll_ms = 3600000;
    n = open_site(r);
    UNTIL(r, ad_pg_status(n->p)->listening);
    rig_turn(r, 100);
    t0 = uv_hrtime();
    id = insert_command(r, 1, "ON", "0 s");
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    assert_true(uv_hrtime() - t0 < UINT64_C(2000000000));
    assert_false(ad_pg_status(n->p)->pooled);

    /* In vain, often, and for nothing at all. */
    for (unsigned i = 0; i < 50; i++) {
        sql(r, "NOTIFY vagt_commands, '%u'; NOTIFY vagt_commands", i);
    }
    id = insert_command(r, 2, "ON", "0 s");
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    rig_turn(r, 200);
    assert_int_equal(r->asks, 2);
    assert_int_equal(rp_store_open_commands(r->store), 2);
}

static void what_was_inserted_before_the_writer_came_is_found(void **state)
{
    struct rig *r = *state;
    const char *id;

    r->config.poll_ms = 3600000;
    id = insert_command(r, 1, "ON", "0 s");
    open_site(r);
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
}

static void a_listener_that_lost_its_connection_listens_again(void **state)
{
    struct rig *r = *state;
    struct node *n;
    const char *id;

    r->config.poll_ms = 3600000;
    n = open_site(r);
    UNTIL(r, ad_pg_status(n->p)->listening);
    sql(r,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name"
        " LIKE 'vagt:%%'");
    UNTIL(r, !node_up(n));
    id = insert_command(r, 1, "ON", "0 s");
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    id = insert_command(r, 2, "ON", "0 s");
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
}

/* --- rows that somebody changed --- */

static void what_has_ended_is_never_overwritten(void **state)
{
    struct rig *r = *state;
    const char *id;

    open_site(r);
    id = insert_command(r, 1, "ON", "0 s");
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    sql(r, "UPDATE meter_commands SET status = 'cancelled', error = 'by hand'");
    command_sent(r, id);
    command_confirmed(r, id);
    UNTIL(r, all_shipped(r));
    rig_turn(r, 200);
    assert_string_equal(
        sql(r, "SELECT concat_ws('|', status, attempts, error) FROM meter_commands"),
        "cancelled|0|by hand");
}

static void a_row_that_is_gone_costs_nothing(void **state)
{
    struct rig *r = *state;
    struct node *n = open_site(r);
    const char *id = insert_command(r, 1, "ON", "0 s");

    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    sql(r, "DELETE FROM meter_commands");
    command_sent(r, id);
    command_confirmed(r, id);
    fill_readings(r, 10, 10);
    UNTIL(r, all_shipped(r));
    assert_true(node_up(n));
    check_exactly_once(r, "11");
}

static void a_row_put_in_again_is_not_carried_out_again(void **state)
{
    struct rig *r = *state;
    const char *id;

    open_site(r);
    id = insert_command(r, 1, "ON", "0 s");
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    command_sent(r, id);
    command_confirmed(r, id);
    UNTIL(r, all_shipped(r));
    sql(r,
        "DELETE FROM meter_commands; INSERT INTO meter_commands (id, meter_id, command,"
        " value) VALUES ('%s', 'm1-1', 'set_state', 'ON')",
        id);
    UNTIL(r, strcmp(command_status(r, id), "confirmed") == 0);
    assert_int_equal(r->asks, 1);
    assert_int_equal(rp_store_commands(r->store), 1);
}

static void a_row_that_lags_is_written_once_more(void **state)
{
    struct rig *r = *state;
    const char *id;

    open_site(r);
    id = insert_command(r, 1, "ON", "0 s");
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    command_sent(r, id);
    command_confirmed(r, id);
    UNTIL(r, strcmp(command_status(r, id), "confirmed") == 0);
    /* A database that was put back to a moment in between. */
    sql(r, "UPDATE meter_commands SET status = 'sent', attempts = 0, finished_at = NULL");
    UNTIL(r, strcmp(command_status(r, id), "confirmed") == 0);
    assert_string_equal(sql(r,
                            "SELECT concat_ws('|', attempts, finished_at IS NOT NULL)"
                            " FROM meter_commands"),
                        "1|t");
}

static void a_row_whose_record_is_lost_fails(void **state)
{
    struct rig *r = *state;

    sql(r,
        "INSERT INTO meter_commands (meter_id, command, value, status, accepted_at,"
        " attempts) VALUES ('m1-1', 'set_state', 'ON', 'sent', now(), 2),"
        " ('m1-2', 'set_state', 'ON', 'accepted', now(), 0)");
    /* Not ours: another program's way of saying that it is done. */
    sql(r,
        "INSERT INTO meter_commands (meter_id, command, value, status)"
        " VALUES ('m1-3', 'set_state', 'ON', 'sent')");
    open_site(r);
    UNTIL(r, sql_number(r,
                        "SELECT count(*) FROM meter_commands WHERE status ="
                        " 'failed'") == 2);
    assert_string_equal(sql(r,
                            "SELECT concat_ws('|', error, attempts, finished_at IS NOT"
                            " NULL, accepted_at IS NOT NULL) FROM meter_commands WHERE"
                            " meter_id = 'm1-1'"),
                        "unknown|2|t|t");
    assert_string_equal(sql(r,
                            "SELECT status FROM meter_commands WHERE meter_id ="
                            " 'm1-3'"),
                        "sent");
    assert_int_equal(rp_store_commands(r->store), 0);
}

/* --- odd rows --- */

static void odd_rows_are_answered_and_stop_nothing(void **state)
{
    struct rig *r = *state;
    const char *id;

    sql(r,
        "ALTER TABLE meter_commands ALTER COLUMN id DROP DEFAULT,"
        " ALTER COLUMN id TYPE text");
    sql(r,
        "INSERT INTO meter_commands (id, meter_id, command, value, created_at) VALUES"
        " (repeat('x', 61), 'm1-1', 'set_state', 'ON', now()),"
        " (repeat('y', 400), 'm1-1', 'set_state', 'ON', now()),"
        " (repeat('\xc3\xb8', 300), 'm1-1', 'set_state', 'ON', now()),"
        " ('', 'm1-9', 'set_state', 'ON', now()),"
        " ('no meter', NULL, NULL, NULL, now()),"
        " ('ago', 'm1-3', 'set_state', 'ON', '-infinity'),"
        " ('future', 'm1-4', 'set_state', 'ON', now() + interval '1 day'),"
        " ('a \"b\" {c},\\d', 'm1-5', 'set_state', 'ON', now())");
    sql(r,
        "INSERT INTO meter_commands (id, meter_id, command, value, expires_at) VALUES"
        " ('never', 'm1-6', 'set_state', 'ON', 'infinity'),"
        " ('soon', 'm1-7', 'set_state', 'ON', now() + interval '100 s')");
    open_site(r);
    id = "a \"b\" {c},\\d";
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    UNTIL(r, sql_number(r,
                        "SELECT count(*) FROM meter_commands WHERE status ="
                        " 'pending'") == 0);
    assert_string_equal(sql(r,
                            "SELECT string_agg(left(id, 9) || '=' || status, ','"
                            " ORDER BY id) FROM meter_commands WHERE length(id) < 300"),
                        "=accepted,a \"b\" {c}=accepted,ago=accepted,future=accepted,"
                        "never=accepted,no meter=failed,soon=accepted,xxxxxxxxx=failed");
    assert_string_equal(sql(r,
                            "SELECT string_agg(DISTINCT error, '') FROM meter_commands"
                            " WHERE length(id) >= 61"),
                        "the id of the row is longer than 60 bytes");
    command_sent(r, id);
    UNTIL(r, strcmp(command_status(r, id), "sent") == 0);
}

static void what_is_not_known_of_a_rows_age_is_said_to_the_owner(void **state)
{
    struct rig *r = *state;

    open_site(r);
    sql(r,
        "INSERT INTO meter_commands (meter_id, command, value, created_at) VALUES"
        " ('m1-1', 'set_state', 'ON', NULL)");
    UNTIL(r, r->asks == 1);
    assert_false(r->last_ask.dated);
    assert_false(r->last_ask.expires);
    sql(r,
        "INSERT INTO meter_commands (meter_id, command, value, created_at) VALUES"
        " ('m1-2', 'set_state', 'ON', now() + interval '1 day')");
    UNTIL(r, r->asks == 2);
    assert_true(r->last_ask.dated);
    assert_int_equal(r->last_ask.age_ms, 0);
    sql(r,
        "INSERT INTO meter_commands (meter_id, command, value, expires_at) VALUES"
        " ('m1-3', 'set_state', 'ON', now() - interval '10 s')");
    UNTIL(r, r->asks == 3);
    assert_true(r->last_ask.expires);
    assert_in_range(-r->last_ask.expires_in_ms, 10000, 20000);
}

static void the_seeds_table_works_unchanged(void **state)
{
    struct rig *r = *state;
    struct sy_errbuf eb;
    unsigned from, to;

    /* The shape that the site has; and a number for a key. */
    sql(r,
        "CREATE TABLE meter_commands (id serial PRIMARY KEY, meter_id varchar(50),"
        " command varchar(20), value varchar(10), status varchar(20) DEFAULT 'pending')");
    sql(r,
        "INSERT INTO meter_commands (meter_id, command, value) VALUES ('m1-1',"
        " 'set_state', 'ON')");
    if (ad_pg_migrate(r->conninfo, &from, &to, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    open_site(r);
    sql(r,
        "INSERT INTO meter_commands (meter_id, command, value, status) VALUES ('m1-2',"
        " 'set_state', 'OFF', 'pending')");
    UNTIL(r, strcmp(command_status(r, "2"), "accepted") == 0);
    assert_string_equal(command_status(r, "1"), "expired"); /* By the migration. */
    command_sent(r, "2");
    command_confirmed(r, "2");
    UNTIL(r, strcmp(command_status(r, "2"), "confirmed") == 0);
}

/* --- many --- */

static void ten_thousand_old_rows_expire_and_none_is_accepted(void **state)
{
    struct rig *r = *state;
    struct node *n;
    uint64_t t0 = uv_hrtime();

    r->config.poll_ms =
        2000; /* Twenty looks: it does not wait for the poll in between. */
    sql(r,
        "INSERT INTO meter_commands (meter_id, command, value, created_at)"
        " SELECT 'm1-' || 1 + s %% 20, 'set_state', 'ON', now() - s * interval '1 min'"
        " FROM generate_series(2, 10001) s");
    n = open_site(r);
    UNTIL(r, sql_number(r,
                        "SELECT count(*) FROM meter_commands WHERE status ="
                        " 'expired'") == 10000);
    print_message("           10000 old rows in %" PRIu64 " ms\n",
                  (uv_hrtime() - t0) / 1000000);
    assert_true(uv_hrtime() - t0 < UINT64_C(10000000000));
    assert_int_equal(rp_store_commands(r->store), 0);
    /* Who looks sees the last COMMIT before its answer is here. */
    UNTIL(r, ad_pg_status(n->p)->rows_commands >= 10000);
    rig_turn(r, 100);
    assert_int_equal(r->asks, 10000);
    assert_int_equal(ad_pg_status(n->p)->rows_commands, 10000);
}

static void ignore_ask(struct node *n, const struct ad_pg_ask *ask)
{
    (void)n, (void)ask;
}

static void what_is_not_taken_waits_without_a_busy_loop(void **state)
{
    struct rig *r = *state;
    struct node *n;
    unsigned asks;

    r->config.poll_ms = 100;
    r->on_ask = ignore_ask;
    n = open_site(r);
    sql(r,
        "INSERT INTO meter_commands (meter_id, command, value)"
        " SELECT 'm1-1', 'set_state', 'ON' FROM generate_series(1, 2000)");
    UNTIL(r, r->asks > 0);
    asks = r->asks;
    rig_turn(r, 1000);
    /* 500 with each look: one per poll, and none else. */
    assert_in_range(r->asks - asks, 500, 11 * 500);
    assert_true(ad_pg_status(n->p)->commands_open >= 500);
    fill_readings(r, 100, 10);
    UNTIL(r, all_shipped(r));
}

/* --- a table that does not want --- */

static void readings_go_on_without_the_table(void **state)
{
    struct rig *r = *state;
    struct node *n = open_site(r);
    const char *id = insert_command(r, 1, "ON", "0 s");

    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    sql(r, "ALTER TABLE meter_commands RENAME TO elsewhere");
    command_sent(r, id);
    fill_readings(r, 100, 10);
    UNTIL(r, all_shipped(r));
    assert_true(node_up(n));
    assert_non_null(strstr(ad_pg_status(n->p)->commands_error,
                           "relation \"meter_commands\" does not exist"));
    command_confirmed(r, id);
    UNTIL(r, all_shipped(r));
    rig_turn(r, 200);
    assert_int_equal(log_count(r, "pg.commands_trouble"), 1);
    assert_int_equal(log_count(r, "pg.down"), 0);

    /* It comes back, and gets what it missed. */
    sql(r, "ALTER TABLE elsewhere RENAME TO meter_commands");
    UNTIL(r, strcmp(command_status(r, id), "confirmed") == 0);
    assert_string_equal(ad_pg_status(n->p)->commands_error, "");
}

static void nothing_is_taken_that_could_not_be_answered(void **state)
{
    struct rig *r = *state;
    struct node *n = &r->nodes[0];
    const char *id;

    sql(r,
        "CREATE ROLE poor LOGIN; GRANT ALL ON vagt_fence, vagt_schema, power_meters,"
        " meter_identity, meter_readings, vagt_dead_letters TO poor;"
        " GRANT SELECT ON meter_commands TO poor");
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=poor dbname=%s", server.port, r->database);
    fill_devices(r, 1, 3);
    node_open(r, n, "n1", 5);
    id = insert_command(r, 1, "ON", "0 s");
    UNTIL(r, strstr(ad_pg_status(n->p)->commands_error,
                    "permission denied for table meter_commands") != NULL);
    fill_readings(r, 100, 3);
    UNTIL(r, all_shipped(r));
    assert_int_equal(r->asks, 0);
    sql(r, "GRANT UPDATE ON meter_commands TO poor");
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    node_close(n);
    sql(r, "DROP OWNED BY poor; DROP ROLE poor");
}

static void a_row_that_somebody_sits_on_holds_up_no_reading(void **state)
{
    struct rig *r = *state;
    struct node *n;
    const char *id;
    PGconn *other;
    uint64_t t0;

    r->config.poll_ms = 3600000;
    n = open_site(r);
    id = insert_command(r, 1, "OFF", "0 s");
    UNTIL(r, strcmp(command_status(r, id), "accepted") == 0);
    other = PQconnectdb(r->conninfo);
    PQclear(PQexec(other, "BEGIN; UPDATE meter_commands SET value = value"));
    command_sent(r, id);
    t0 = uv_hrtime();
    for (unsigned i = 1; i <= 5;
         i++) { /* One of them finds out, and it takes a second. */
        fill_readings(r, 100, 10);
        UNTIL(r, rp_store_readings_shipped(r->store) == i * 100);
    }
    assert_true(uv_hrtime() - t0 < UINT64_C(3500000000));
    assert_true(node_up(n));
    assert_non_null(strstr(ad_pg_status(n->p)->commands_error, "lock timeout"));
    assert_false(all_shipped(r)); /* It waits. */
    PQclear(PQexec(other, "COMMIT"));
    PQfinish(other);
    UNTIL(r, all_shipped(r));
    assert_string_equal(command_status(r, id), "sent");
    UNTIL(r, ad_pg_status(n->p)->commands_error[0] == '\0');
}

static void a_result_that_is_refused_becomes_a_letter(void **state)
{
    struct rig *r = *state;
    struct node *n = open_site(r);
    const char *ids[10];

    for (unsigned i = 0; i < 10; i++) {
        ids[i] = insert_command(r, i + 1, "ON", "0 s");
    }
    UNTIL(r, strcmp(command_status(r, ids[9]), "accepted") == 0);
    sql(r, "ALTER TABLE meter_commands ADD CHECK (meter_id <> 'm1-4' OR attempts = 0)");
    for (unsigned i = 0; i < 10; i++) {
        const struct rp_command *c = command_of(r, ids[i]);

        rp_batch_sent(&r->batch, c->seq, 1, r->now_ms + 2000);
    }
    apply(r);
    UNTIL(r, all_shipped(r));
    assert_string_equal(sql(r,
                            "SELECT count(*) FROM meter_commands WHERE status ="
                            " 'sent'"),
                        "9");
    assert_string_equal(
        sql(r,
            "SELECT concat_ws('|', kind, seq = %" PRIu64 ", area, topic,"
            " convert_from(payload, 'UTF8')::json ->> 'status',"
            " convert_from(payload, 'UTF8')::json ->> 'id' = '%s',"
            " reason LIKE 'new row for relation \"meter_commands\" violates check%%')"
            " FROM vagt_dead_letters",
            command_of(r, ids[3])->revision, ids[3]),
        "command|t|area1|m1-4|sent|t|t");
    /* And the look finds that it lags, says so, and goes on. */
    UNTIL(r, log_count(r, "pg.answer_refused") > 0);
    assert_true(node_up(n));
    assert_true(ad_pg_status(n->p)->commands_refused > 0);
    sql(r, "ALTER TABLE meter_commands DROP CONSTRAINT meter_commands_check");
    UNTIL(r, strcmp(command_status(r, ids[3]), "sent") == 0);
}

static void an_answer_that_is_refused_costs_the_others_nothing(void **state)
{
    struct rig *r = *state;
    struct node *n;

    r->config.poll_ms = 3600000;
    sql(r,
        "ALTER TABLE meter_commands ADD CHECK (meter_id <> 'nobody3' OR status ="
        " 'pending')");
    n = open_site(r);
    sql(r,
        "INSERT INTO meter_commands (meter_id, command, value)"
        " SELECT 'nobody' || s, 'set_state', 'ON' FROM generate_series(1, 6) s");
    UNTIL(r, sql_number(r,
                        "SELECT count(*) FROM meter_commands WHERE status ="
                        " 'failed'") == 5);
    assert_string_equal(sql(r,
                            "SELECT meter_id FROM meter_commands WHERE status ="
                            " 'pending'"),
                        "nobody3");
    assert_int_equal(log_count(r, "pg.answer_refused"), 1);
    assert_int_equal(ad_pg_status(n->p)->commands_refused, 1);
    assert_int_equal(log_count(r, "pg.down"), 0);
}

/* --- one writer --- */

static void the_older_term_answers_nothing(void **state)
{
    struct rig *r = *state;
    struct node *old = open_site(r);

    sql(r, "UPDATE vagt_fence SET term = 6, node = 'n2'");
    insert_command(r, 99, "ON", "0 s"); /* There is no such meter. */
    UNTIL(r, old->fenced_by == 6);
    rig_turn(r, 200);
    assert_string_equal(sql(r, "SELECT status FROM meter_commands"), "pending");
}

static void two_writers_carry_each_command_out_once(void **state)
{
    enum { EACH = 30 };
    struct rig *r = *state;
    struct node *old = open_site(r);
    struct node *new = &r->nodes[1];
    char total[16];

    for (unsigned i = 0; i < EACH; i++) {
        insert_command(r, 1 + i % 20, i % 2 == 0 ? "ON" : "OFF", "0 s");
        if (i == EACH / 2) {
            node_open(r, new, "n2", 6);
        }
        rig_turn(r, 5);
    }
    UNTIL(r, old->fenced_by == 6);
    UNTIL(r, sql_number(r,
                        "SELECT count(*) FROM meter_commands WHERE status ="
                        " 'pending'") == 0);
    UNTIL(r, all_shipped(r));
    snprintf(total, sizeof total, "%d", EACH);
    assert_string_equal(sql(r,
                            "SELECT count(*) FROM meter_commands WHERE status IN"
                            " ('accepted', 'superseded')"),
                        total);
    assert_int_equal(rp_store_commands(r->store), EACH);
}

#define RIG(F) cmocka_unit_test_setup_teardown(F, rig_open, rig_close)
#define BARE(F) cmocka_unit_test_setup_teardown(F, rig_open_bare, rig_close)

/* One argument: the name of the only test to run, with * and ?. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        RIG(a_row_becomes_a_command_and_hears_of_its_end),
        RIG(every_end_is_written_with_its_reason),
        RIG(notify_wakes_and_the_poll_is_only_a_fallback),
        RIG(what_was_inserted_before_the_writer_came_is_found),
        RIG(a_listener_that_lost_its_connection_listens_again),
        RIG(what_has_ended_is_never_overwritten),
        RIG(a_row_that_is_gone_costs_nothing),
        RIG(a_row_put_in_again_is_not_carried_out_again),
        RIG(a_row_that_lags_is_written_once_more),
        RIG(a_row_whose_record_is_lost_fails),
        RIG(odd_rows_are_answered_and_stop_nothing),
        RIG(what_is_not_known_of_a_rows_age_is_said_to_the_owner),
        BARE(the_seeds_table_works_unchanged),
        RIG(ten_thousand_old_rows_expire_and_none_is_accepted),
        RIG(what_is_not_taken_waits_without_a_busy_loop),
        RIG(readings_go_on_without_the_table),
        RIG(nothing_is_taken_that_could_not_be_answered),
        RIG(a_row_that_somebody_sits_on_holds_up_no_reading),
        RIG(a_result_that_is_refused_becomes_a_letter),
        RIG(an_answer_that_is_refused_costs_the_others_nothing),
        RIG(the_older_term_answers_nothing),
        RIG(two_writers_carry_each_command_out_once),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, server_start, server_stop);
}

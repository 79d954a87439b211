/* Dead letters as vagtctl handles them, and what it shows of the database. */

#include "rig.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "adapters/postgres/letters.h"
#include "adapters/postgres/overview.h"

struct seen
{
    char text[4096];
    unsigned n;
    size_t size;
    uint8_t payload[64];
};

static void expect(struct rig *r, const char *query, const char *value)
{
    const char *is = sql(r, "%s", query);

    if (strcmp(is, value) != 0) {
        fail_msg("%s\n   is: %s\n   should be: %s", query, is, value);
    }
}

static void take(void *data, const struct ad_pg_letter *l)
{
    struct seen *s = data;
    size_t len = strlen(s->text);

    s->n++;
    snprintf(s->text + len, sizeof s->text - len, "%s%u %s %s %s %s %s %s",
             len > 0 ? "; " : "", (unsigned)l->seq, l->kind, l->status, l->cluster,
             l->area, l->topic, l->reason);
    assert_true(l->id > 0 && l->at_ms > 0 && l->created_ms > 0);
    s->size = l->size;
    if (l->payload != NULL) {
        assert_true(l->size <= sizeof s->payload);
        memcpy(s->payload, l->payload, l->size);
    }
}

static void take_refused(void *data, uint64_t id, const char *why)
{
    struct seen *s = data;
    size_t len = strlen(s->text);

    s->n++;
    snprintf(s->text + len, sizeof s->text - len, "%s%u: %s", len > 0 ? "; " : "",
             (unsigned)id, why);
}

static struct ad_pg_letters *letters_of(struct rig *r)
{
    struct ad_pg_letters *l = NULL;
    struct sy_errbuf eb;

    if (ad_pg_letters_open(&l, r->conninfo, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    return l;
}

/* One letter of @kind; its id is @seq, since the tables begin empty. */
static void put(struct rig *r, const char *kind, unsigned seq, const char *payload)
{
    sql(r,
        "INSERT INTO vagt_dead_letters (id, cluster, kind, seq, at, area, topic, reason,"
        " payload) OVERRIDING SYSTEM VALUE VALUES (%u, 'c', '%s', %u, now(), 'Nord', "
        "'t/x',"
        " 'because', convert_to('%s', 'UTF8'))",
        seq, kind, seq, payload);
}

static void replay_one(struct rig *r, uint64_t id, struct ad_pg_replayed *ret,
                       struct seen *refused)
{
    struct ad_pg_letters *l = letters_of(r);
    struct sy_errbuf eb;

    *refused = (struct seen){0};
    assert_int_equal(ad_pg_letters_replay(l, &id, 1, take_refused, refused, ret, &eb), 0);
    ad_pg_letters_close(l);
}

static void letters_are_listed_and_shown(void **state)
{
    struct rig *r = *state;
    struct ad_pg_letters *l = letters_of(r);
    struct seen seen = {0};
    struct sy_errbuf eb;
    uint64_t total = 99;

    assert_int_equal(ad_pg_letters_list(l, 10, take, &seen, &total, &eb), 0);
    assert_int_equal(total + seen.n, 0);
    put(r, "message", 1, "{\"a\":1}");
    put(r, "reading", 2, "");
    sql(r,
        "UPDATE vagt_dead_letters SET area = NULL, topic = NULL, payload = '\\x00ff5c00'"
        " WHERE id = 2");
    put(r, "device", 3, "x");
    assert_int_equal(ad_pg_letters_list(l, 2, take, &seen, &total, &eb), 0);
    assert_int_equal(total, 3);
    assert_string_equal(seen.text,
                        "3 device new c Nord t/x because; 2 reading new c   because");
    seen = (struct seen){0};
    assert_int_equal(ad_pg_letters_show(l, 2, take, &seen, &eb), 0);
    assert_int_equal(seen.size, 4);
    assert_memory_equal(seen.payload, "\0\xff\\\0", 4);
    assert_int_equal(ad_pg_letters_show(l, 4, take, &seen, &eb), SY_ENOTFOUND);
    assert_string_equal(eb.text, "there is no dead letter 4");
    ad_pg_letters_close(l);
}

static void a_message_is_asked_of_the_node_on_watch(void **state)
{
    struct rig *r = *state;
    struct ad_pg_replayed done;
    struct seen refused;
    PGnotify *told;

    sql(r, "LISTEN vagt_commands");
    put(r, "message", 1, "{}");
    replay_one(r, 1, &done, &refused);
    assert_int_equal(done.asked, 1);
    expect(r, "SELECT status FROM vagt_dead_letters", "replay");
    told = PQnotifies(r->look);
    assert_non_null(told);
    PQfreemem(told);
    /* A second time it is asked for already; once it was replayed, anew. */
    replay_one(r, 1, &done, &refused);
    assert_int_equal(done.asked, 1);
    sql(r, "UPDATE vagt_dead_letters SET status = 'replayed', replayed_at = now()");
    replay_one(r, 1, &done, &refused);
    expect(r, "SELECT status || (replayed_at IS NULL)::text FROM vagt_dead_letters",
           "replaytrue");
}

static void a_reading_is_put_back_where_there_is_none(void **state)
{
    struct rig *r = *state;
    struct ad_pg_replayed done;
    struct seen refused;

    put(r, "reading", 1,
        "{\"meter_id\":\"m\",\"time\":\"2026-11-01T10:00:00.123Z\",\"power_w\":12.345,"
        "\"state\":null,\"vagt_seq\":7}");
    replay_one(r, 1, &done, &refused);
    assert_int_equal(done.done, 1);
    expect(r,
           "SELECT concat_ws(' ', power_w, vagt_seq, extract(epoch FROM time))"
           " FROM meter_readings",
           "12.345 7 1793527200.123000");
    expect(r,
           "SELECT status || (replayed_at > now() - interval '1 min')::text"
           " FROM vagt_dead_letters",
           "replayedtrue");
    /* What came later stays, and nothing comes twice. */
    sql(r, "UPDATE meter_readings SET power_w = 1");
    put(r, "duplicate", 2,
        "{\"meter_id\":\"m\",\"time\":\"2026-11-01T10:00:00.123Z\",\"power_w\":3}");
    replay_one(r, 2, &done, &refused);
    assert_int_equal(done.there, 1);
    replay_one(r, 1, &done, &refused);
    assert_int_equal(done.there, 1);
    expect(r, "SELECT concat_ws(' ', count(*), sum(power_w)) FROM meter_readings", "1 1");
    expect(r, "SELECT count(*) FROM vagt_dead_letters WHERE status = 'replayed'", "2");
}

static void a_device_is_put_back_unless_it_is_newer(void **state)
{
    struct rig *r = *state;
    struct ad_pg_replayed done;
    struct seen refused;

    put(r, "device", 1,
        "{\"ieee_address\":\"0x1\",\"meter_number\":\"m\",\"is_online\":true,\"state\":"
        "\"ON\","
        "\"availability\":\"online\",\"model\":\"T\"}");
    replay_one(r, 1, &done, &refused);
    assert_int_equal(done.done, 1);
    expect(r,
           "SELECT concat_ws(' ', is_online, state, availability, model, i.meter_number)"
           " FROM power_meters p, meter_identity i",
           "t ON online T m");
    sql(r,
        "UPDATE power_meters SET is_online = false, updated_at = now();"
        " UPDATE meter_identity SET availability = 'offline', updated_at = now()");
    replay_one(r, 1, &done, &refused);
    assert_int_equal(done.there, 1);
    expect(r,
           "SELECT concat_ws(' ', is_online, availability) FROM power_meters,"
           " meter_identity",
           "f offline");
}

static void the_end_of_a_command_is_put_back_unless_it_has_one(void **state)
{
    struct rig *r = *state;
    struct ad_pg_replayed done;
    struct seen refused;

    sql(r,
        "INSERT INTO meter_commands (id, meter_id, status) VALUES"
        " ('58aab453-f0cc-4089-8ab2-729853d0385e', 'm', 'sent')");
    put(r, "command", 1,
        "{\"id\":\"58aab453-f0cc-4089-8ab2-729853d0385e\",\"status\":"
        "\"failed\",\"error\":\"no\",\"attempts\":3}");
    replay_one(r, 1, &done, &refused);
    assert_int_equal(done.done, 1);
    put(r, "command", 2,
        "{\"id\":\"58aab453-f0cc-4089-8ab2-729853d0385e\",\"status\":"
        "\"confirmed\"}");
    replay_one(r, 2, &done, &refused);
    assert_int_equal(done.there, 1);
    expect(r, "SELECT concat_ws(' ', status, error, attempts) FROM meter_commands",
           "failed no 3");
    put(r, "command", 3,
        "{\"id\":\"58aab453-f0cc-4089-8ab2-729853d03850\",\"status\":\"x\"}");
    replay_one(r, 3, &done, &refused);
    assert_string_equal(refused.text,
                        "3: meter_commands has no row with the id"
                        " 58aab453-f0cc-4089-8ab2-729853d03850");
}

static void what_is_refused_again_stays_and_says_why(void **state)
{
    static const char *const cases[][3] = {
        {"reading", "{\"meter_id\":\"bad\",\"time\":\"2026-11-01\"}",
         "new row for relation \"meter_readings_other\" violates check constraint \"c\""},
        {"reading", "{\"meter_id\":\"m\",\"time\":\"yesterday or so\"}",
         "invalid input syntax for type timestamp with time zone: \"yesterday or so\""},
        {"reading", "{\"meter_id\":\"m\",\"time\":\"2026-11-01\",\"colour\":1,\"x y\":2}",
         "meter_readings has no column \"x y\", colour"},
        {"reading", "{\"meter_id\":\"m\"}", "null value in column \"time\""},
        {"reading", "[1,2]", "its payload is no row"},
        {"duplicate", "not json", "invalid input syntax for type json"},
        {"device", "{\"model\":\"x\"}", "it names neither meter_number nor ieee_address"},
        {"device", "{\"ieee_address\":\"0x1\",\"colour\":1}",
         "power_meters has no column colour"},
        {"command", "{\"status\":\"failed\"}",
         "it names no row of meter_commands, or nothing to set there"},
        {"novel", "{}", "nobody knows how to replay the kind novel"},
    };
    enum { CASES = sizeof cases / sizeof cases[0] };
    struct rig *r = *state;
    struct ad_pg_replayed done;
    struct seen refused;

    sql(r, "ALTER TABLE meter_readings ADD CONSTRAINT c CHECK (meter_id <> 'bad')");
    for (unsigned i = 0; i < CASES; i++) {
        put(r, cases[i][0], i + 1, cases[i][1]);
        replay_one(r, i + 1, &done, &refused);
        if (done.refused != 1 || strstr(refused.text, cases[i][2]) == NULL) {
            fail_msg("\"%s\" is not in \"%s\"", cases[i][2], refused.text);
        }
    }
    replay_one(r, 77, &done, &refused);
    assert_string_equal(refused.text, "77: there is no such letter");
    expect(r, "SELECT count(*) FROM vagt_dead_letters WHERE status = 'new'", "10");
    expect(r,
           "SELECT (SELECT count(*) FROM meter_readings) + (SELECT count(*) FROM"
           " power_meters) + (SELECT count(*) FROM meter_identity)",
           "0");
}

static void all_means_those_that_are_new_and_there(void **state)
{
    struct rig *r = *state;
    struct ad_pg_letters *l = letters_of(r);
    struct ad_pg_replayed done;
    struct seen refused = {0};
    struct sy_errbuf eb;
    uint64_t dropped = 0;
    const uint64_t some[] = {1, 2, 2, 9999};

    sql(r,
        "INSERT INTO vagt_dead_letters (cluster, kind, seq, at, reason, payload, status)"
        " SELECT 'c', CASE n %% 3 WHEN 0 THEN 'message' ELSE 'reading' END, n, now(), "
        "'r',"
        " convert_to(CASE n WHEN 700 THEN '{}' ELSE format('{\"meter_id\":\"m\",\"time\":"
        "\"2026-11-25T00:00:00Z\",\"vagt_seq\":%%s}', n) END, 'UTF8'),"
        " CASE WHEN n > 1200 THEN 'replayed' ELSE 'new' END FROM generate_series(1, "
        "1300) n");
    /* A replay that brings forth another letter does not go on for ever. */
    sql(r,
        "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.seq "
        "<"
        " 90000 AND NEW.status = 'replay' THEN INSERT INTO vagt_dead_letters (cluster, "
        "kind,"
        " seq, at, reason, payload) VALUES ('c', 'message', NEW.seq + 10000, now(), 'r', "
        "'p');"
        " END IF; RETURN NULL; END $$; CREATE TRIGGER again AFTER UPDATE ON "
        "vagt_dead_letters"
        " FOR EACH ROW EXECUTE FUNCTION again()");
    assert_int_equal(ad_pg_letters_replay_all(l, take_refused, &refused, &done, &eb), 0);
    assert_int_equal(done.asked, 400);
    assert_int_equal(done.done, 1);
    assert_int_equal(done.there, 798);
    assert_int_equal(done.refused, 1);
    assert_int_equal(refused.n, 1);
    expect(r, "SELECT vagt_seq FROM meter_readings", "1");
    expect(r, "SELECT count(*) FROM vagt_dead_letters WHERE status = 'new'", "401");

    assert_int_equal(ad_pg_letters_drop(l, some, 4, &dropped, &eb), 0);
    assert_int_equal(dropped, 2);
    assert_int_equal(ad_pg_letters_drop_all(l, &dropped, &eb), 0);
    assert_int_equal(dropped, 1698);
    assert_int_equal(ad_pg_letters_drop_all(l, &dropped, &eb), 0);
    assert_int_equal(dropped, 0);
    assert_int_equal(ad_pg_letters_replay_all(l, take_refused, &refused, &done, &eb), 0);
    assert_int_equal(done.asked + done.done + done.there + done.refused, 0);
    ad_pg_letters_close(l);
}

static void without_the_tables_it_says_what_to_do(void **state)
{
    struct rig *r = *state;
    struct ad_pg_overview v = {.schema = 99};
    struct ad_pg_letters *l;
    struct sy_errbuf eb;

    assert_int_equal(ad_pg_letters_open(&l, r->conninfo, &eb), SY_EVERSION);
    assert_string_equal(
        eb.text,
        "postgres: the database has no dead letters yet, its schema is at "
        "version 0: run \"vagtctl db migrate\"");
    assert_int_equal(ad_pg_overview(r->conninfo, &v, &eb), 0);
    assert_int_equal(v.schema, 0);
    assert_int_equal(ad_pg_letters_open(&l, "host=127.0.0.1 port=1", &eb), -EHOSTUNREACH);
    assert_int_equal(ad_pg_overview("host=127.0.0.1 port=1", &v, &eb), -EHOSTUNREACH);
    assert_int_equal(ad_pg_overview("nonsense", &v, &eb), SY_EINVALID);
}

static void the_overview_has_it_all(void **state)
{
    struct rig *r = *state;
    struct ad_pg_overview v;
    struct sy_errbuf eb;

    sql(r, "SELECT vagt_maintain(90, 3)");
    sql(r,
        "INSERT INTO meter_readings (meter_id, time) VALUES ('a', '1990-01-01'), ('a',"
        " '2090-01-01'), ('a', now())");
    put(r, "message", 1, "x");
    put(r, "message", 2, "x");
    sql(r,
        "UPDATE vagt_dead_letters SET status = 'replay', at = now() - interval '1 hour'"
        " WHERE id = 1");
    sql(r,
        "INSERT INTO meter_commands (meter_id, created_at) VALUES ('a', now()),"
        " ('a', now() - interval '1 min')");
    sql(r, "UPDATE vagt_upkeep SET trouble = 'x', partitions_dropped = 3");
    if (ad_pg_overview(r->conninfo, &v, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    assert_int_equal(v.layout, AD_PG_LAYOUT_PARTITIONS);
    assert_int_equal(v.partitions, 9);
    assert_string_equal(v.first_day,
                        sql(r, "SELECT (now() AT TIME ZONE 'UTC')::date - 1"));
    assert_string_equal(v.last_day,
                        sql(r, "SELECT (now() AT TIME ZONE 'UTC')::date + 7"));
    assert_string_equal(v.before, "");
    assert_int_equal(v.waiting, 2);
    assert_true(v.upkeep);
    assert_int_equal(v.keep_days * 10 + v.ahead_days, 903);
    assert_string_equal(v.horizon,
                        sql(r, "SELECT (now() AT TIME ZONE 'UTC')::date - 90"));
    assert_string_equal(v.trouble, "x");
    assert_int_equal(v.dropped, 3);
    assert_int_equal(v.letters_new * 100 + v.letters_asked * 10 + v.letters_replayed,
                     110);
    assert_in_range(v.now_ms - v.letters_oldest_ms, 3600000, 3660000);
    assert_int_equal(v.commands_open, 2);
    assert_in_range(v.now_ms - v.commands_oldest_ms, 60000, 120000);
    assert_string_equal(v.hidden, "");
}

static void who_may_not_look_is_told_so(void **state)
{
    struct rig *r = *state;
    struct ad_pg_overview v;
    struct sy_errbuf eb;

    sql(r,
        "CREATE ROLE guest LOGIN; GRANT SELECT ON vagt_schema, meter_commands TO guest;"
        " ALTER TABLE meter_commands ENABLE ROW LEVEL SECURITY");
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=guest dbname=%s", server.port, r->database);
    if (ad_pg_overview(r->conninfo, &v, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    assert_int_equal(v.partitions, 9);
    assert_true(v.waiting == -1 && v.letters_new == -1 && !v.upkeep);
    assert_int_equal(v.commands_open, 0);
    assert_string_equal(v.hidden, "meter_commands");
    sql(r, "DROP OWNED BY guest; DROP ROLE guest");
}

#define RIG(F) cmocka_unit_test_setup_teardown(F, rig_open, rig_close)
#define BARE(F) cmocka_unit_test_setup_teardown(F, rig_open_bare, rig_close)

/* One argument: the name of the only test to run, with * and ?. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        RIG(letters_are_listed_and_shown),
        RIG(a_message_is_asked_of_the_node_on_watch),
        RIG(a_reading_is_put_back_where_there_is_none),
        RIG(a_device_is_put_back_unless_it_is_newer),
        RIG(the_end_of_a_command_is_put_back_unless_it_has_one),
        RIG(what_is_refused_again_stays_and_says_why),
        RIG(all_means_those_that_are_new_and_there),
        BARE(without_the_tables_it_says_what_to_do),
        RIG(the_overview_has_it_all),
        RIG(who_may_not_look_is_told_so),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, server_start, server_stop);
}

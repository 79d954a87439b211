/* The migrations of tables that a site has already: 003 and 004. */

#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LATEST = 6 };

/* Roles belong to the server, not to a database: made once. */
static int start(void **state)
{
    struct rig *r;

    (void)server_start(state);
    (void)rig_open_bare(state);
    r = *state;
    sql(r,
        "CREATE ROLE anon; CREATE ROLE authenticated; CREATE ROLE viewer;"
        " CREATE ROLE service LOGIN; CREATE ROLE owner LOGIN");
    return rig_close(state);
}

/* As on Supabase: everything new is everybody's, and the owner is no superuser. */
static int open_site(void **state)
{
    struct rig *r;

    (void)rig_open_bare(state);
    r = *state;
    sql(r, "GRANT CREATE ON SCHEMA public TO owner");
    sql(r,
        "ALTER DEFAULT PRIVILEGES FOR ROLE owner GRANT ALL ON TABLES TO anon;"
        "ALTER DEFAULT PRIVILEGES FOR ROLE owner GRANT ALL ON SEQUENCES TO anon;"
        "ALTER DEFAULT PRIVILEGES FOR ROLE owner GRANT ALL ON FUNCTIONS TO anon");
    sql(r, "SET ROLE owner");
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=owner dbname=%s", server.port, r->database);
    return 0;
}

struct notes
{
    char text[2048];
};

static void take_note(void *data, const char *text)
{
    struct notes *n = data;
    size_t len = strlen(n->text);

    snprintf(n->text + len, sizeof n->text - len, "%s\n", text);
}

static void migrate(struct rig *r, struct notes *notes)
{
    struct notes none;
    struct sy_errbuf eb;
    unsigned from, to;

    notes = notes != NULL ? notes : &none;
    notes->text[0] = '\0';
    if (ad_pg_migrate_noting(r->conninfo, take_note, notes, &from, &to, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    assert_int_equal(to, LATEST);
}

/* Migrating ends at version @at with that sentence. */
static void refused(struct rig *r, unsigned at, const char *sentence)
{
    struct sy_errbuf eb = {""};
    unsigned from, to, version = 99;

    assert_int_equal(ad_pg_migrate(r->conninfo, &from, &to, &eb), SY_EINVALID);
    if (strstr(eb.text, sentence) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", sentence, eb.text);
    }
    assert_int_equal(ad_pg_schema_version(r->conninfo, &version, &eb), 0);
    assert_int_equal(version, at);
}

static void expect(struct rig *r, const char *query, const char *value)
{
    const char *is = sql(r, "%s", query);

    if (strcmp(is, value) != 0) {
        fail_msg("%s\n   is: %s\n   should be: %s", query, is, value);
    }
}

/* --- meter_readings --- */

static void a_new_table_has_a_partition_for_each_day_in_utc(void **state)
{
    struct rig *r = *state;

    sql(r, "RESET ROLE; ALTER DATABASE %s SET timezone = 'Asia/Kolkata'", r->database);
    PQfinish(r->look);
    r->look = NULL;
    migrate(r, NULL);
    sql(r, "SET timezone = 'UTC'");
    expect(
        r,
        "SELECT string_agg(to_char(current_date + n, '\"meter_readings_\"YYYYMMDD'),"
        " ' ' ORDER BY n) = (SELECT string_agg(c.relname, ' ' ORDER BY c.relname)"
        " FROM pg_inherits JOIN (SELECT * FROM pg_class WHERE relname ~"
        " '^meter_readings_[0-9]{8}$' OFFSET 0) c ON c.oid = inhrelid"
        " WHERE pg_get_expr(relpartbound, c.oid) = format('FOR VALUES FROM (%L) TO (%L)',"
        " to_char(substr(relname, 16)::date, 'YYYY-MM-DD 00:00:00+00'),"
        " to_char(substr(relname, 16)::date + 1, 'YYYY-MM-DD 00:00:00+00')))"
        " FROM generate_series(-1, 7) n",
        "t");
    expect(r,
           "SELECT string_agg(indexdef, '; ') FROM pg_indexes"
           " WHERE tablename = 'meter_readings'",
           "CREATE UNIQUE INDEX meter_readings_key ON ONLY public.meter_readings"
           " USING btree (meter_id, \"time\")");
    sql(r,
        "INSERT INTO meter_readings (meter_id, time, power_w) VALUES ('a', now(), 1),"
        " ('a', '2001-01-01', 2), ('a', 'infinity', 3)");
    sql(r,
        "INSERT INTO meter_readings AS o (meter_id, time, power_w)"
        " SELECT meter_id, time, 9 FROM meter_readings"
        " ON CONFLICT (meter_id, time) DO UPDATE SET power_w = EXCLUDED.power_w");
    expect(r,
           "SELECT string_agg(power_w || ' ' || regexp_replace(tableoid::regclass::text,"
           " '[0-9]+$', 'N'), ', ' ORDER BY time) FROM meter_readings",
           "9 meter_readings_other, 9 meter_readings_N, 9 meter_readings_other");
}

/* 100,000 rows of a site: its own key, a computed column, one that was dropped; every
 * 100th twice, every 1000th without a meter, some without a time, some to come. */
static void make_site(struct rig *r)
{
    sql(r,
        "CREATE TABLE power_meters (meter_number text PRIMARY KEY);"
        " INSERT INTO power_meters SELECT 'm' || i FROM generate_series(0, 9) i;"
        " CREATE TABLE meter_readings (id bigserial PRIMARY KEY, gone int,"
        " meter_id varchar(40) REFERENCES power_meters (meter_number),"
        " time timestamptz, energy_kwh double precision CHECK (energy_kwh >= 0),"
        " twice double precision GENERATED ALWAYS AS (energy_kwh * 2) STORED,"
        " note text DEFAULT 'x');"
        " ALTER TABLE meter_readings DROP COLUMN gone;"
        " CREATE INDEX ON meter_readings USING brin (time)");
    sql(r,
        "INSERT INTO meter_readings (meter_id, time, energy_kwh)"
        " SELECT CASE WHEN i %% 1000 > 0 THEN 'm' || i %% 10 END,"
        " now() - make_interval(secs => i / 10 * 60), i FROM generate_series(1, 98990) "
        "i");
    sql(r,
        "INSERT INTO meter_readings (meter_id, time, energy_kwh)"
        " SELECT meter_id, time, energy_kwh + 1000000 FROM meter_readings"
        " WHERE id %% 100 = 50");
    sql(r,
        "INSERT INTO meter_readings (meter_id, time, energy_kwh) VALUES"
        " ('m1', NULL, 1), ('m1', NULL, 1), (NULL, NULL, 1), ('m1', '2050-01-01', 1),"
        " ('m1', '2050-01-01', 2), ('m2', now() + interval '3 days', 1),"
        " ('m2', 'infinity', 1), ('m2', '-infinity', 1), ('m2', '1970-01-01', 1),"
        " (NULL, '1970-01-01', 1), (NULL, '1970-01-01', 1)");
    sql(r,
        "CREATE VIEW latest WITH (security_invoker = true) AS SELECT DISTINCT ON "
        "(meter_id)"
        " * FROM meter_readings ORDER BY meter_id, time DESC;"
        " CREATE VIEW busy AS SELECT count(*) FROM latest;"
        " GRANT SELECT ON latest TO viewer");
}

static void a_large_table_is_attached_as_it_lies(void **state)
{
    struct rig *r = *state;
    struct notes notes;
    char file[32];

    make_site(r);
    expect(r, "SELECT count(*) FROM meter_readings", "99991");
    snprintf(file, sizeof file, "%s",
             sql(r, "SELECT pg_relation_filenode('meter_readings')"));
    /* A role that may not take so long. */
    strncat(r->conninfo, " options='-c statement_timeout=150'", 64);
    migrate(r, &notes);

    /* Nothing was copied, and nothing is missing. */
    assert_string_equal(
        sql(r, "SELECT pg_relation_filenode('meter_readings_before_vagt')"), file);
    expect(r,
           "SELECT concat_ws(' ', (SELECT count(*) FROM meter_readings),"
           " (SELECT count(*) FROM vagt_dead_letters WHERE kind = 'duplicate'),"
           " (SELECT count(DISTINCT id) FROM (SELECT id FROM meter_readings UNION ALL"
           " SELECT (convert_from(payload, 'UTF8')::jsonb ->> 'id')::bigint"
           " FROM vagt_dead_letters) a))",
           "99000 991 99991");
    /* Of two the newer one is there. */
    expect(r, "SELECT count(*) FROM meter_readings WHERE energy_kwh >= 1000000", "990");
    expect(r, "SELECT energy_kwh FROM meter_readings WHERE time = '2050-01-01'", "2");
    expect(r,
           "SELECT string_agg(DISTINCT part, ' ') FROM (SELECT regexp_replace("
           "tableoid::regclass::text, '[0-9]+$', 'N') AS part FROM meter_readings"
           " WHERE time IS NULL OR time > now() OR time < '2000-01-01') a",
           "meter_readings_N meter_readings_before_vagt meter_readings_other");
    expect(r, "SELECT count(*) FROM meter_readings_other", "5");
    assert_non_null(
        strstr(notes.text, "the primary key of meter_readings is now (id, time)"));
}

static void what_the_table_had_it_still_has(void **state)
{
    struct rig *r = *state;

    make_site(r);
    migrate(r, NULL);
    sql(r,
        "INSERT INTO meter_readings (meter_id, time, energy_kwh) VALUES ('m3', now(), "
        "7)");
    expect(r,
           "SELECT id || note || twice FROM meter_readings WHERE energy_kwh = 7 AND id > "
           "99991",
           "99992x14");
    expect(r,
           "SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint"
           " WHERE conrelid = 'meter_readings'::regclass",
           "meter_readings_energy_kwh_check meter_readings_meter_id_fkey");
    expect(r,
           "SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes"
           " WHERE tablename = 'meter_readings'",
           "meter_readings_key meter_readings_pkey meter_readings_time_idx");
    /* The view looks at the new rows, too, with its rights and options. */
    expect(r, "SELECT energy_kwh FROM latest WHERE meter_id = 'm3'", "7");
    expect(r, "SELECT count FROM busy", "11");
    expect(
        r,
        "SELECT concat_ws(' ', reloptions, has_table_privilege('viewer', oid, 'SELECT'))"
        " FROM pg_class WHERE relname = 'latest'",
        "{security_invoker=true} t");
    /* The sequence does not go with the old part. */
    sql(r, "DROP TABLE meter_readings_before_vagt");
    sql(r, "INSERT INTO meter_readings (meter_id, time) VALUES ('m4', now())");
    expect(r,
           "SELECT id FROM meter_readings WHERE meter_id = 'm4' AND energy_kwh IS NULL",
           "99993");
}

static void an_identity_goes_on_counting(void **state)
{
    struct rig *r = *state;

    sql(r,
        "CREATE TABLE meter_readings (no int GENERATED ALWAYS AS IDENTITY, meter_id text"
        " NOT NULL, time timestamp NOT NULL, PRIMARY KEY (meter_id, time))");
    sql(r,
        "INSERT INTO meter_readings (meter_id, time) VALUES ('a', '2020-01-01'),"
        " ('b', '2020-01-01'), ('b', '2070-01-01')");
    migrate(r, NULL);
    sql(r,
        "INSERT INTO meter_readings (meter_id, time) VALUES ('c', now() AT TIME ZONE "
        "'UTC')");
    expect(r,
           "SELECT string_agg(no || meter_id, ' ' ORDER BY no)"
           " || pg_get_serial_sequence('meter_readings', 'no') FROM meter_readings",
           "1a 2b 3b 4cpublic.meter_readings_no_seq");
    /* Its own key serves. */
    expect(r, "SELECT count(*) FROM pg_indexes WHERE tablename = 'meter_readings'", "1");
    expect(r, "SELECT vagt_maintain(1, 3)", "");
    expect(r, "SELECT count(*) FROM meter_readings", "4");
}

static void rights_come_along_and_parts_have_none(void **state)
{
    struct rig *r = *state;

    sql(r,
        "CREATE TABLE meter_readings (meter_id text NOT NULL, time timestamptz NOT NULL);"
        " REVOKE ALL ON meter_readings FROM anon;"
        " GRANT SELECT ON meter_readings TO authenticated;"
        " GRANT INSERT (meter_id), SELECT (time) ON meter_readings TO viewer;"
        " ALTER TABLE meter_readings ENABLE ROW LEVEL SECURITY;"
        " ALTER TABLE meter_readings FORCE ROW LEVEL SECURITY;"
        " CREATE POLICY own ON meter_readings FOR SELECT TO authenticated"
        " USING (meter_id = 'mine');"
        " CREATE POLICY put ON meter_readings AS RESTRICTIVE FOR INSERT"
        " WITH CHECK (meter_id <> 'x');"
        " COMMENT ON TABLE meter_readings IS 'it''s the site''s'");
    sql(r,
        "SET ROLE postgres; INSERT INTO meter_readings VALUES ('mine', now()),"
        " ('mine', now()), ('other', now())");
    migrate(r, NULL);
    /* FORCE hides rows from their owner; nothing of it was missed. */
    expect(r,
           "SELECT count(*) || obj_description('meter_readings'::regclass) FROM "
           "meter_readings",
           "2it's the site's");
    expect(r, "SELECT count(*) FROM vagt_dead_letters", "1");
    expect(r,
           "SELECT string_agg(polname || polcmd::text || polpermissive::text, ' ' ORDER "
           "BY polname)"
           " FROM pg_policy WHERE polrelid = 'meter_readings'::regclass",
           "ownrtrue putafalse");
    sql(r, "SET ROLE authenticated");
    expect(r, "SELECT count(*) FROM meter_readings", "1");
    sql(r, "SET ROLE postgres");
    expect(r,
           "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relname = "
           "'meter_readings'",
           "t");
    expect(r,
           "SELECT string_agg(attname || attacl::text, ' ' ORDER BY attname) FROM "
           "pg_attribute"
           " WHERE attrelid = 'meter_readings'::regclass AND attacl IS NOT NULL",
           "meter_id{viewer=a/owner} time{viewer=r/owner}");
    /* Nobody comes in by a side door: neither to the parts nor to what is vagt's. */
    expect(r,
           "SELECT string_agg(DISTINCT c.relname || ' ' || who, ', ') FROM pg_class c,"
           " unnest('{anon,authenticated,viewer}'::text[]) who"
           " WHERE (relname LIKE 'meter_readings%' OR relname LIKE 'vagt%' OR"
           " relname = 'meter_commands') AND relkind IN ('r', 'p') AND"
           " has_table_privilege(who, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')",
           "meter_readings authenticated");
    expect(r,
           "SELECT count(*) FROM pg_proc, unnest('{anon,viewer}'::text[]) who WHERE "
           "proname LIKE"
           " 'vagt%' AND prorettype <> 'trigger'::regtype AND"
           " has_function_privilege(who, oid, 'EXECUTE')",
           "0");
}

static void triggers_fire_for_new_rows_and_not_for_moved_ones(void **state)
{
    struct rig *r = *state;

    sql(r,
        "CREATE TABLE meter_readings (meter_id text, time timestamptz);"
        " INSERT INTO meter_readings VALUES ('a', now()), ('a', now()),"
        " ('a', now() + interval '2 days'), ('a', '2077-01-01');"
        " CREATE TABLE seen (what text);"
        " CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO seen VALUES (TG_OP); RETURN NULL; END';"
        " CREATE TRIGGER t AFTER INSERT OR DELETE ON meter_readings FOR EACH ROW"
        " EXECUTE FUNCTION see();"
        " CREATE TRIGGER off AFTER INSERT ON meter_readings FOR EACH ROW"
        " EXECUTE FUNCTION see(); ALTER TABLE meter_readings DISABLE TRIGGER off");
    migrate(r, NULL);
    expect(r, "SELECT count(*) FROM seen", "0");
    expect(r, "SELECT count(*) FROM meter_readings", "3");
    sql(r,
        "INSERT INTO meter_readings VALUES ('b', now()), ('b', '2078-01-01'), ('c', "
        "now())");
    sql(r, "DELETE FROM meter_readings WHERE time > now() + interval '3 days'");
    expect(r, "SELECT string_agg(what, ' ' ORDER BY what) FROM seen",
           "DELETE DELETE INSERT INSERT INSERT");
}

static void a_table_that_is_replicated_stays_so(void **state)
{
    struct rig *r = *state;
    struct notes notes;

    sql(r,
        "CREATE TABLE meter_readings (id serial PRIMARY KEY, meter_id text, time "
        "timestamptz);"
        " INSERT INTO meter_readings (meter_id, time) SELECT 'a', '2099-01-01' FROM"
        " generate_series(1, 3)");
    sql(r,
        "SET ROLE postgres; SET client_min_messages = error;"
        " CREATE PUBLICATION live FOR TABLE meter_readings");
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=postgres dbname=%s", server.port, r->database);
    migrate(r, &notes);
    assert_non_null(strstr(notes.text, "publish_via_partition_root"));
    sql(r,
        "INSERT INTO meter_readings (meter_id, time) VALUES ('b', now()), ('c', now())");
    sql(r, "UPDATE meter_readings SET meter_id = meter_id || '!'");
    expect(r, "SELECT count(*) FROM pg_publication_tables WHERE tablename LIKE 'meter%'",
           "10");
    sql(r, "DROP PUBLICATION live");
}

static void what_would_go_on_looking_at_the_old_part_is_named(void **state)
{
    static const struct
    {
        const char *make, *sentence, *mend;
    } cases[] = {
        {"CREATE TABLE bills (reading bigint REFERENCES meter_readings (id))",
         "as long as there is: constraint bills_reading_fkey on table bills",
         "DROP TABLE bills"},
        {"CREATE MATERIALIZED VIEW daily AS SELECT count(*) FROM meter_readings",
         "as long as there is: materialized view daily", "DROP MATERIALIZED VIEW daily"},
        {"CREATE FUNCTION newest() RETURNS SETOF meter_readings LANGUAGE sql AS"
         " 'SELECT * FROM meter_readings'",
         "as long as there is: function newest()", "DROP FUNCTION newest"},
        {"CREATE TABLE x (a text); CREATE POLICY p ON x USING (EXISTS (SELECT FROM"
         " meter_readings WHERE meter_id = a))",
         "as long as there is: policy p on table x", "DROP TABLE x"},
        {"CREATE TABLE more () INHERITS (meter_readings)", "inherits from a table",
         "DROP TABLE more"},
        {"CREATE RULE r AS ON INSERT TO meter_readings DO ALSO NOTHING", "has rules (r)",
         "DROP RULE r ON meter_readings"},
        {"ALTER TABLE meter_readings ADD CONSTRAINT late CHECK (id > 5) NOT VALID",
         "never validated (late)", "ALTER TABLE meter_readings DROP CONSTRAINT late"},
        {"CREATE TABLE meter_readings_other ()", "there is a table meter_readings_other",
         "DROP TABLE meter_readings_other"},
    };
    struct rig *r = *state;

    sql(r,
        "CREATE TABLE meter_readings (id bigserial PRIMARY KEY, meter_id text,"
        " time timestamptz); INSERT INTO meter_readings (meter_id, time)"
        " SELECT 'a', now() FROM generate_series(1, 3)");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sql(r, "%s", cases[i].make);
        refused(r, 2, cases[i].sentence);
        expect(
            r,
            "SELECT concat(relkind, (SELECT count(*) FROM meter_readings)) FROM pg_class"
            " WHERE relname = 'meter_readings'",
            "r3");
        sql(r, "%s", cases[i].mend);
    }
    migrate(r, NULL);
    expect(r, "SELECT count(*) FROM meter_readings", "1");
}

static void a_type_that_will_not_do_is_named(void **state)
{
    static const char *const cases[][2] = {
        {"meter_id text, time date", "meter_readings.time is of type date"},
        {"meter_id text, time text", "meter_readings.time is of type text"},
        {"meter_id text, time bigint", "meter_readings.time is of type bigint"},
        {"meter_id int, time timestamptz", "meter_readings.meter_id is of type int4"},
    };
    struct rig *r = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sql(r, "CREATE TABLE meter_readings (%s, vagt_seq bigint)", cases[i][0]);
        refused(r, 2, cases[i][1]);
        sql(r, "DROP TABLE meter_readings");
    }
}

static void a_site_that_has_partitions_keeps_them(void **state)
{
    struct rig *r = *state;

    sql(r,
        "CREATE TABLE meter_readings (meter_id text, time timestamptz) PARTITION BY RANGE"
        " (time); CREATE TABLE old PARTITION OF meter_readings FOR VALUES FROM (MINVALUE)"
        " TO ('2026-01-01'); CREATE TABLE new PARTITION OF meter_readings FOR VALUES FROM"
        " ('2026-01-01') TO ('2090-01-01'); INSERT INTO meter_readings SELECT 'a', t FROM"
        " (VALUES (now()), (now()), ('2020-01-01'), ('2020-01-01'), ('2020-01-02')) a "
        "(t)");
    migrate(r, NULL);
    expect(
        r,
        "SELECT string_agg(t || n, ' ' ORDER BY t) FROM (SELECT tableoid::regclass::text"
        " AS t, count(*) AS n FROM meter_readings GROUP BY 1) a",
        "new1 old2");
    expect(r, "SELECT count(*) FROM vagt_dead_letters", "2");
    expect(r, "SELECT vagt_maintain(0, 3)", "");
    expect(
        r,
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'meter_readings'::regclass",
        "3");
}

static void partitions_by_something_else_are_refused(void **state)
{
    static const char *const cases[] = {"LIST (meter_id)", "RANGE (\"time\", meter_id)"};
    struct rig *r = *state;
    char sentence[128];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sql(r,
            "CREATE TABLE meter_readings (meter_id text, time timestamptz,"
            " vagt_seq bigint) PARTITION BY %s",
            cases[i]);
        snprintf(sentence, sizeof sentence, "partitioned by %s, and has to be", cases[i]);
        refused(r, 2, sentence);
        sql(r, "DROP TABLE meter_readings");
    }
}

static void another_schema_is_as_good_as_public(void **state)
{
    struct rig *r = *state;

    sql(r, "RESET ROLE; CREATE SCHEMA \"Energy\" AUTHORIZATION owner; SET ROLE owner");
    sql(r,
        "CREATE TABLE \"Energy\".meter_readings (id bigserial PRIMARY KEY, meter_id text,"
        " time timestamptz); INSERT INTO \"Energy\".meter_readings (meter_id, time)"
        " VALUES ('a', now()), ('a', now()), ('b', '2040-01-01')");
    strncat(r->conninfo, " options='-c search_path=\"Energy\"'", 64);
    migrate(r, NULL);
    sql(r, "SET search_path = nowhere");
    expect(r, "SELECT \"Energy\".vagt_maintain(0, 9)", "");
    expect(r,
           "SELECT string_agg(n || c, ' ' ORDER BY n) FROM (SELECT"
           " relnamespace::regnamespace::text AS n, count(*) AS c FROM pg_class WHERE"
           " relkind IN ('r', 'p') AND (relname LIKE 'meter%' OR relname LIKE 'vagt%')"
           " GROUP BY 1) a",
           "\"Energy\"19");
    /* A temporary table of that name does not get in between. */
    sql(r, "SET search_path = \"Energy\"; CREATE TEMP TABLE meter_readings (a int)");
    expect(r, "SELECT vagt_maintain(0, 10)", "");
    expect(r,
           "SELECT count(*) FROM pg_inherits WHERE inhparent ="
           " '\"Energy\".meter_readings'::regclass",
           "12");
    expect(r, "SELECT count(*) FROM \"Energy\".meter_readings", "2");
}

/* --- a migration that does not get to its end --- */

static pid_t migrate_in_a_child(const struct rig *r)
{
    pid_t pid = fork();

    if (pid == 0) {
        struct sy_errbuf eb;
        unsigned from, to;

        _exit(ad_pg_migrate(r->conninfo, &from, &to, &eb) != 0);
    }
    assert_true(pid > 0);
    return pid;
}

static int exit_code(pid_t pid)
{
    int status = 0;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

/* Until the server says so; the test fails when it never does. */
static void wait_for(struct rig *r, const char *query, const char *value)
{
    for (int i = 0; i < 1500 && strcmp(sql(r, "%s", query), value) != 0; i++) {
        rig_turn(r, 10);
    }
    expect(r, query, value);
}

static void a_migration_that_is_killed_is_not_there(void **state)
{
    /* Reading does not keep it from its first part; it waits with the work done. */
    static const char waits[] =
        "SELECT count(*) FROM pg_locks w JOIN pg_locks h USING (pid, relation)"
        " WHERE relation = 'meter_readings'::regclass AND NOT w.granted AND w.mode ="
        " 'AccessExclusiveLock' AND h.granted AND h.mode = 'ShareRowExclusiveLock'";
    struct rig *r = *state;
    char info[256];
    PGconn *reader;
    pid_t child;

    make_site(r);
    sql(r, "CREATE TABLE meter_readings_other ()");
    refused(r, 2, "needs the name");
    sql(r, "DROP TABLE meter_readings_other");
    snprintf(info, sizeof info, "host=127.0.0.1 port=%d user=postgres dbname=%s",
             server.port, r->database);
    reader = PQconnectdb(info);
    PQclear(PQexec(reader, "BEGIN; SELECT count(*) FROM busy"));
    sql(r, "RESET ROLE");
    child = migrate_in_a_child(r);
    wait_for(r, waits, "1");
    sql(r,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
        " current_database() AND application_name = 'vagtctl'");
    assert_int_equal(exit_code(child), 1);
    expect(r,
           "SELECT concat_ws(' ', (SELECT max(version) FROM vagt_schema), relkind,"
           " (SELECT count(*) FROM meter_readings), (SELECT count(*) FROM "
           "vagt_dead_letters),"
           " (SELECT count(*) FROM pg_proc WHERE proname LIKE 'vagt_tmp%')) FROM pg_class"
           " WHERE relname = 'meter_readings'",
           "2 r 99991 0 0");
    /* Two at once, while somebody reads: one does it, the other finds it done. */
    child = migrate_in_a_child(r);
    wait_for(r, waits, "1");
    PQfinish(reader);
    migrate(r, NULL);
    assert_int_equal(exit_code(child), 0);
    expect(r, "SELECT count(*) FROM meter_readings", "99000");
}

/* --- TimescaleDB, or what looks like it --- */

static void with_timescaledb_there_is_a_hypertable_and_no_partition(void **state)
{
    struct rig *r = *state;

    sql(r,
        "RESET ROLE; CREATE SCHEMA ts; GRANT USAGE ON SCHEMA ts TO owner;"
        " CREATE TABLE ts.calls (n serial, what text); GRANT ALL ON ts.calls,"
        " ts.calls_n_seq TO owner;"
        " CREATE FUNCTION ts.create_hypertable(tab regclass, col name, "
        "chunk_time_interval"
        " interval, if_not_exists boolean, migrate_data boolean) RETURNS void LANGUAGE "
        "sql"
        " AS $$ INSERT INTO ts.calls (what) VALUES (format('%%s %%s %%s', tab, col,"
        " chunk_time_interval)) $$;"
        " CREATE FUNCTION ts.drop_chunks(tab regclass, older_than timestamptz) RETURNS "
        "SETOF"
        " text LANGUAGE sql AS $$ INSERT INTO ts.calls (what) VALUES (format('%%s %%s', "
        "tab,"
        " now() - older_than)); SELECT unnest('{a,b}'::text[]) $$;"
        " INSERT INTO pg_extension SELECT 99999, 'timescaledb', 10, oid, false, '2.9'"
        " FROM pg_namespace WHERE nspname = 'ts'; SET ROLE owner");
    sql(r,
        "CREATE TABLE meter_readings (id serial PRIMARY KEY, meter_id text NOT NULL,"
        " time timestamptz); INSERT INTO meter_readings (meter_id, time) VALUES"
        " ('a', now()), ('a', now()), ('a', NULL)");
    migrate(r, NULL);
    expect(r, "SELECT string_agg(what, '; ') FROM ts.calls", "meter_readings time 1 day");
    expect(r,
           "SELECT string_agg(indexdef, '; ' ORDER BY indexname) FROM pg_indexes WHERE"
           " tablename = 'meter_readings'",
           "CREATE UNIQUE INDEX meter_readings_key ON public.meter_readings USING btree"
           " (meter_id, \"time\"); CREATE UNIQUE INDEX meter_readings_pkey ON"
           " public.meter_readings USING btree (id, \"time\")");
    expect(r, "SELECT string_agg(reason, '; ' ORDER BY id) FROM vagt_dead_letters",
           "it has no time; another row of this meter has the same time");
    expect(r, "SELECT vagt_maintain(90, 7)", "");
    expect(r, "SELECT string_agg(what, '; ' ORDER BY n) FROM ts.calls",
           "meter_readings time 1 day; meter_readings 90 days");
    expect(r, "SELECT partitions_dropped FROM vagt_upkeep", "2");
    expect(r, "SELECT count(*) FROM pg_inherits", "0");
    sql(r, "RESET ROLE; DELETE FROM pg_extension WHERE extname = 'timescaledb'");
}

/* --- meter_commands --- */

static void commands_from_before_are_never_fired_late(void **state)
{
    static const struct
    {
        const char *columns, *put, *after;
    } cases[] = {
        /* As the seed has it, with what may or may not be there. */
        {"meter_id text, command text, value text, status text",
         "(meter_id, command, value, status) VALUES ('m1', 'set_state', 'ON', 'pending'),"
         " ('m2', 'set_state', 'OFF', 'done')",
         "m1 expired no time|m2 done|m3 pending time"},
        {"id uuid PRIMARY KEY DEFAULT gen_random_uuid(), meter_id text, command text,"
         " value text, status text DEFAULT 'pending', created_at timestamptz DEFAULT "
         "now()",
         "(meter_id, command, value, created_at) VALUES ('m1', 'set_state', 'ON', now()),"
         " ('m2', 'set_state', 'ON', NULL)",
         "m1 pending time|m2 expired no time|m3 pending time"},
        {"id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, meter_id text, command "
         "text,"
         " value text, status varchar(20), created_at timestamp DEFAULT now(), error "
         "text",
         "(meter_id, command, value, status) VALUES ('m1', 'set_state', 'ON', 'pending'),"
         " ('m2', 'set_state', 'ON', 'failed')",
         "m1 pending time|m2 failed time|m3 pending time"},
        {"no serial PRIMARY KEY, meter_id text, command text, value text",
         "(meter_id, command, value) VALUES ('m1', 'set_state', 'ON')",
         "m1 expired no time|m3 pending time"},
        {"meter_id text, command text, value text, status text, created_at timestamptz",
         "(meter_id, command, value, status) VALUES ('m1', 'set_state', 'ON', 'pending')",
         "m1 expired no time|m3 pending time"},
    };
    struct rig *r = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sql(r,
            "DROP TABLE IF EXISTS meter_commands; DROP FUNCTION IF EXISTS"
            " vagt_commands_changed");
        sql(r, "CREATE TABLE meter_commands (%s)", cases[i].columns);
        sql(r, "INSERT INTO meter_commands %s", cases[i].put);
        if (i > 0) {
            sql(r, "DELETE FROM vagt_schema WHERE version > 3");
            sql(r,
                "DROP FUNCTION vagt_partitions, vagt_make_day, vagt_make_days,"
                " vagt_drop_days, vagt_prune_letters, vagt_maintain; DROP TABLE"
                " vagt_upkeep, vagt_tiebreak");
        }
        migrate(r, NULL);
        /* As the site does it, to this day. */
        sql(r,
            "INSERT INTO meter_commands (meter_id, command, value%s VALUES"
            " ('m3', 'set_state', 'ON'%s",
            i == 0 || i == 4 || i == 2 ? ", status)" : ")",
            i == 0 || i == 4 || i == 2 ? ", 'pending')" : ")");
        expect(
            r,
            "SELECT string_agg(concat_ws(' ', meter_id, status, CASE WHEN created_at IS"
            " NOT NULL THEN 'time' WHEN error ~ 'without a' THEN 'no time' END), '|'"
            " ORDER BY meter_id) FROM meter_commands",
            cases[i].after);
        expect(r, "SELECT count(DISTINCT id) = count(*) FROM meter_commands", "t");
        expect(r,
               "SELECT count(*) FROM pg_index i JOIN pg_attribute a ON attrelid = "
               "indrelid AND"
               " attnum = indkey[0] WHERE indrelid = 'meter_commands'::regclass AND "
               "attname ="
               " 'id' AND indisunique",
               "1");
    }
}

static void a_status_that_cannot_be_written_is_named(void **state)
{
    static const char *const cases[][2] = {
        {"text CHECK (status IN ('pending', 'done'))",
         "the constraint meter_commands_status_check of meter_commands does not allow the"
         " status accepted"},
        {"varchar(9)", "meter_commands.status has no room for \"superseded\""},
        {"state", "meter_commands.status is of type state, and has to be text"},
    };
    struct rig *r = *state;

    sql(r, "CREATE TYPE state AS ENUM ('pending', 'done')");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sql(r,
            "CREATE TABLE meter_commands (id serial PRIMARY KEY, meter_id text, command"
            " text, value text, status %s, created_at timestamptz)",
            cases[i][0]);
        refused(r, 3, cases[i][1]);
        expect(r,
               "SELECT count(*) FROM pg_attribute WHERE attrelid ="
               " 'meter_commands'::regclass AND attnum > 0",
               "6");
        sql(r, "DROP TABLE meter_commands");
    }
}

static void a_new_command_is_told_at_once(void **state)
{
    struct rig *r = *state;
    PGnotify *told;

    migrate(r, NULL);
    sql(r, "LISTEN vagt_commands");
    sql(r,
        "INSERT INTO meter_commands (meter_id, command, value) VALUES ('a', 'b', 'c'),"
        " ('d', 'e', 'f')");
    told = PQnotifies(r->look);
    assert_non_null(told);
    assert_string_equal(told->relname, "vagt_commands");
    PQfreemem(told);
    assert_null(PQnotifies(r->look));
    sql(r, "UPDATE meter_commands SET value = 'x'");
    assert_null(PQnotifies(r->look));
    sql(r, "UPDATE meter_commands SET status = 'cancelled'");
    told = PQnotifies(r->look);
    assert_non_null(told);
    PQfreemem(told);
}

#define SITE(F) cmocka_unit_test_setup_teardown(F, open_site, rig_close)

/* One argument: the name of the only test to run, with * and ?. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        SITE(a_new_table_has_a_partition_for_each_day_in_utc),
        SITE(a_large_table_is_attached_as_it_lies),
        SITE(what_the_table_had_it_still_has),
        SITE(an_identity_goes_on_counting),
        SITE(rights_come_along_and_parts_have_none),
        SITE(triggers_fire_for_new_rows_and_not_for_moved_ones),
        SITE(a_table_that_is_replicated_stays_so),
        SITE(what_would_go_on_looking_at_the_old_part_is_named),
        SITE(a_type_that_will_not_do_is_named),
        SITE(a_site_that_has_partitions_keeps_them),
        SITE(partitions_by_something_else_are_refused),
        SITE(another_schema_is_as_good_as_public),
        SITE(a_migration_that_is_killed_is_not_there),
        SITE(with_timescaledb_there_is_a_hypertable_and_no_partition),
        SITE(commands_from_before_are_never_fired_late),
        SITE(a_status_that_cannot_be_written_is_named),
        SITE(a_new_command_is_told_at_once),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, start, server_stop);
}

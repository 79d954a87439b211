-- meter_readings becomes a table partitioned by UTC day, with one row per meter and
-- time. No row is lost, and none is copied but the few that the day's bound cuts off:
-- the table that is there is attached as the partition of everything until tonight.
--
-- What the site waits for: writers from the first LOCK on; readers only for the last
-- part, from ACCESS EXCLUSIVE on. The first part sorts the table twice (duplicates,
-- unique index), the last one reads it once. docs/runbook.md has figures.
--
-- Nothing that depends on the table by its number and not by its name may go on
-- looking at the old part only: views are made anew in place; what cannot be, is
-- named, and nothing is changed.

-- What is called vagt_tmp_* goes at the end of this file.

-- The columns that an INSERT may name.
CREATE FUNCTION vagt_columns(tab regclass) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = tab AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
$$;

CREATE FUNCTION vagt_tmp_attnum(tab regclass, col text) RETURNS smallint
LANGUAGE sql STABLE AS $$
    SELECT attnum FROM pg_attribute
    WHERE attrelid = tab AND attname = col AND NOT attisdropped
$$;

-- A unique index that ON CONFLICT (meter_id, time) can use.
CREATE FUNCTION vagt_tmp_has_key(tab regclass) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM pg_index i
        WHERE i.indrelid = tab AND i.indisunique AND i.indisvalid AND i.indimmediate
          AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = 2
          AND i.indkey[0] <> i.indkey[1]
          AND i.indkey[0] IN (vagt_tmp_attnum(tab, 'meter_id'), vagt_tmp_attnum(tab, 'time'))
          AND i.indkey[1] IN (vagt_tmp_attnum(tab, 'meter_id'), vagt_tmp_attnum(tab, 'time')))
$$;

-- A row that stays out of the table, but not lost.
CREATE FUNCTION vagt_tmp_letter(row_json jsonb, why text) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO vagt_dead_letters (cluster, kind, seq, at, topic, reason, payload)
    SELECT '', 'duplicate',
           coalesce((SELECT max(seq) FROM vagt_dead_letters
                     WHERE cluster = '' AND kind = 'duplicate'), 0) + 1,
           now(), row_json ->> 'meter_id', why, convert_to(row_json::text, 'UTF8')
$$;

-- Of rows with the same meter and time the newest stays: the one that vagt wrote last,
-- else the one that lies last in the table. By table, too: partitions and chunks
-- count their rows each for itself.
CREATE FUNCTION vagt_tmp_duplicates() RETURNS void
LANGUAGE sql AS $$
    WITH ranked AS (
        SELECT tableoid AS part, ctid AS at,
               row_number() OVER (PARTITION BY meter_id, time
                                  ORDER BY vagt_seq DESC NULLS LAST, ctid DESC) AS n
        FROM meter_readings
        WHERE meter_id IS NOT NULL AND time IS NOT NULL
    ), gone AS (
        DELETE FROM meter_readings r USING ranked d
        WHERE r.tableoid = d.part AND r.ctid = d.at AND d.n > 1
        RETURNING r.*
    )
    INSERT INTO vagt_dead_letters (cluster, kind, seq, at, topic, reason, payload)
    SELECT '', 'duplicate',
           row_number() OVER () + (SELECT coalesce(max(seq), 0) FROM vagt_dead_letters
                                   WHERE cluster = '' AND kind = 'duplicate'),
           now(), g.meter_id,
           'another row of this meter has the same time',
           convert_to(to_jsonb(g)::text, 'UTF8')
    FROM gone g
$$;

-- Before anything is touched: what would be wrong afterwards.
CREATE FUNCTION vagt_tmp_check_columns(tab regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    type_of_time text := (SELECT format_type(atttypid, NULL) FROM pg_attribute
                          WHERE attrelid = tab AND attname = 'time');
    type_of_id text := (SELECT typname FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid
                        WHERE attrelid = tab AND attname = 'meter_id' AND typcategory <> 'S');
BEGIN
    IF type_of_time NOT IN ('timestamp with time zone', 'timestamp without time zone') THEN
        RAISE EXCEPTION 'meter_readings.time is of type %, and has to be timestamptz: ALTER TABLE meter_readings ALTER COLUMN time TYPE timestamptz USING ...', type_of_time;
    ELSIF type_of_id IS NOT NULL THEN
        RAISE EXCEPTION 'meter_readings.meter_id is of type %, and has to be text: it holds the names of meters', type_of_id;
    END IF;
END
$$;

-- Who looks at the table by its number. Views are not in here, they can be mended.
CREATE FUNCTION vagt_tmp_dependents(tab regclass) RETURNS text
LANGUAGE sql STABLE AS $$
    WITH types AS (
        SELECT oid FROM pg_type WHERE typrelid = tab
        UNION SELECT typarray FROM pg_type WHERE typrelid = tab
    ), own AS (
        SELECT 'pg_constraint'::regclass AS class, oid FROM pg_constraint WHERE conrelid = tab
        UNION ALL SELECT 'pg_trigger'::regclass, oid FROM pg_trigger WHERE tgrelid = tab
        UNION ALL SELECT 'pg_policy'::regclass, oid FROM pg_policy WHERE polrelid = tab
        UNION ALL SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid = tab
        UNION ALL SELECT 'pg_type'::regclass, oid FROM types
        UNION ALL SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite r
            JOIN pg_class v ON v.oid = r.ev_class AND (v.relkind = 'v' OR v.oid = tab)
    )
    SELECT string_agg(DISTINCT CASE WHEN r.oid IS NULL
               THEN pg_describe_object(d.classid, d.objid, 0)
               ELSE pg_describe_object('pg_class'::regclass, r.ev_class, 0) END, ', ')
    FROM pg_depend d
    LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    WHERE (d.refclassid = 'pg_class'::regclass AND d.refobjid = tab
           OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT oid FROM types))
      AND d.deptype = 'n'
      AND NOT EXISTS (SELECT FROM own WHERE own.class = d.classid AND own.oid = d.objid)
      -- Indexes and what belongs to the table's own columns.
      AND NOT (d.classid = 'pg_class'::regclass
               AND d.objid IN (SELECT indexrelid FROM pg_index WHERE indrelid = tab))
$$;

CREATE FUNCTION vagt_tmp_check_dependents(tab regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    found text := vagt_tmp_dependents(tab);
BEGIN
    IF EXISTS (SELECT FROM pg_inherits WHERE inhparent = tab OR inhrelid = tab) THEN
        RAISE EXCEPTION 'meter_readings inherits from a table or is inherited from: dissolve that first (ALTER TABLE ... NO INHERIT)';
    END IF;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'meter_readings cannot be partitioned as long as there is: %. Drop it, migrate, and make it again if it is still needed', found;
    END IF;
    SELECT string_agg(conname, ', ') INTO found FROM pg_constraint
    WHERE conrelid = tab AND contype IN ('c', 'f') AND NOT convalidated;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'meter_readings has constraints that were never validated (%): validate or drop them (ALTER TABLE meter_readings VALIDATE CONSTRAINT ...)', found;
    END IF;
    SELECT string_agg(rulename, ', ') INTO found FROM pg_rewrite WHERE ev_class = tab;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'meter_readings has rules (%), and partitioned tables cannot: make triggers of them', found;
    END IF;
END
$$;

-- The parts of the table that are named with it, as statements for the new one: taken
-- down under the old name, carried out when that name means the new table.
CREATE FUNCTION vagt_tmp_parts(tab regclass) RETURNS TABLE (rank integer, stmt text)
LANGUAGE sql STABLE AS $$
    -- Constraints. A key without the time cannot be the whole table's.
    SELECT 1, format('ALTER TABLE %s ADD CONSTRAINT %I %s', tab, conname,
                     pg_get_constraintdef(c.oid))
    FROM pg_constraint c LEFT JOIN pg_index i ON i.indexrelid = c.conindid
    WHERE conrelid = tab AND conparentid = 0
      AND (contype IN ('c', 'f') AND NOT (contype = 'c' AND connoinherit)
           OR contype IN ('p', 'u') AND vagt_tmp_attnum(tab, 'time') = ANY (i.indkey))
    UNION ALL
    SELECT 2, pg_get_indexdef(i.indexrelid)
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid AND x.relname <> 'meter_readings_vagt_key'
    WHERE i.indrelid = tab AND i.indisvalid
      AND (NOT i.indisunique OR vagt_tmp_attnum(tab, 'time') = ANY (i.indkey))
      AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid
                                                    AND c.conrelid = tab)
    UNION ALL
    -- After the rows that are moved: what these set off was set off before.
    SELECT 20, pg_get_triggerdef(t.oid)
    FROM pg_trigger t WHERE tgrelid = tab AND NOT tgisinternal
    UNION ALL
    SELECT 21, format('ALTER TABLE %s %s TRIGGER %I', tab,
                     CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS'
                                    ELSE 'ENABLE REPLICA' END, tgname)
    FROM pg_trigger t WHERE tgrelid = tab AND NOT tgisinternal AND tgenabled <> 'O'
    UNION ALL
    SELECT 5, format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', polname, tab,
                     CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                     CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT'
                                 WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                     (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END,
                                        ', ') FROM unnest(polroles) r),
                     ' USING (' || pg_get_expr(polqual, tab) || ')',
                     ' WITH CHECK (' || pg_get_expr(polwithcheck, tab) || ')')
    FROM pg_policy WHERE polrelid = tab
    UNION ALL
    SELECT 6, format('ALTER TABLE %s %s', tab, what)
    FROM pg_class, LATERAL (VALUES (relrowsecurity, 'ENABLE ROW LEVEL SECURITY'),
                                   (relforcerowsecurity, 'FORCE ROW LEVEL SECURITY')) s (is_so, what)
    WHERE oid = tab AND is_so
    UNION ALL
    SELECT 7, format('GRANT %s ON %s TO %s%s', a.privilege_type, tab,
                     CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                     CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = tab AND a.grantee <> c.relowner
    UNION ALL
    SELECT 7, format('GRANT %s (%I) ON %s TO %s%s', a.privilege_type, attname, tab,
                     CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                     CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_attribute, aclexplode(attacl) a WHERE attrelid = tab AND NOT attisdropped
    UNION ALL
    SELECT 8, format('COMMENT ON TABLE %s IS %L', tab, obj_description(tab, 'pg_class'))
    WHERE obj_description(tab, 'pg_class') IS NOT NULL
    UNION ALL
    -- In place: the view keeps its number, its rights and what depends on it.
    SELECT 9, format('CREATE OR REPLACE VIEW %s%s AS %s', v.oid::regclass,
                     ' WITH (' || array_to_string(v.reloptions, ', ') || ')',
                     pg_get_viewdef(v.oid))
    FROM pg_class v
    WHERE v.relkind = 'v'
      AND v.oid IN (SELECT r.ev_class FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
                    WHERE d.classid = 'pg_rewrite'::regclass
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = tab)
    UNION ALL
    SELECT 10, format('ALTER PUBLICATION %I ADD TABLE %s', p.pubname, tab)
    FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
    WHERE r.prrelid = tab
$$;

-- To the owner of the whole, and to nobody else: the parts are not to be reached past the
-- rights and policies of the whole, and Supabase would give a new one to everybody.
CREATE FUNCTION vagt_give(tab regclass, owner regrole) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    who text;
BEGIN
    IF owner::oid <> (SELECT relowner FROM pg_class WHERE oid = tab) THEN
        EXECUTE format('ALTER TABLE %s OWNER TO %s', tab, owner);
    END IF;
    FOR who IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.oid = tab AND a.grantee <> c.relowner
        UNION
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM pg_attribute, aclexplode(attacl) a
        WHERE attrelid = tab AND NOT attisdropped
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', tab, who);
    END LOOP;
END
$$;

-- Unique over @cols, out of the index vagt_tmp_key that the table has by now: as its
-- primary key if it has no other and no column can be NULL. Returns the same for the
-- partitioned table.
CREATE FUNCTION vagt_tmp_adopt_key(tab regclass, key_name text, cols text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    key regclass := format('%s.vagt_tmp_key', (SELECT relnamespace::regnamespace
                                               FROM pg_class WHERE oid = tab))::regclass;
BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indrelid = tab AND indisprimary)
       OR EXISTS (SELECT FROM pg_index i
                  JOIN pg_attribute a ON a.attrelid = tab AND a.attnum = ANY (i.indkey)
                  WHERE i.indexrelid = key AND NOT a.attnotnull)
    THEN
        EXECUTE format('ALTER INDEX %s RENAME TO %I', key, key_name);
        RETURN format('CREATE UNIQUE INDEX %I ON %s (%s)', key_name, tab, cols);
    END IF;
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I PRIMARY KEY USING INDEX vagt_tmp_key',
                   tab, key_name);
    RETURN format('ALTER TABLE %s ADD CONSTRAINT %I PRIMARY KEY (%s)', tab, key_name, cols);
END
$$;

-- What follows stands in the order of its locks.

-- Makes the keys of the table ones that a partitioned table may have. Ends with the
-- table locked against everybody.
CREATE FUNCTION vagt_tmp_keys(tab regclass) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    nsp text := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = tab);
    had_key boolean := vagt_tmp_has_key(tab);
    stmts text[] := '{}';
    pk record;
    x record;
BEGIN
    SELECT c.conname AS name,
           (SELECT string_agg(quote_ident(attname), ', ' ORDER BY n) || ', time'
            FROM unnest(c.conkey) WITH ORDINALITY k (nr, n)
            JOIN pg_attribute ON attrelid = tab AND attnum = nr) AS cols
    INTO pk FROM pg_constraint c
    WHERE conrelid = tab AND contype = 'p'
      AND NOT vagt_tmp_attnum(tab, 'time') = ANY (c.conkey);
    IF NOT had_key THEN
        PERFORM vagt_tmp_duplicates();
        EXECUTE format('CREATE UNIQUE INDEX vagt_tmp_key_2 ON %s (meter_id, time)', tab);
    END IF;
    IF pk.name IS NOT NULL THEN
        EXECUTE format('CREATE UNIQUE INDEX vagt_tmp_key ON %s (%s)', tab, pk.cols);
    END IF;

    -- And now the readers. Minutes of work are not given up for one slow query.
    PERFORM set_config('lock_timeout', '30s', true);
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', tab);
    EXECUTE format('DROP INDEX IF EXISTS %s.meter_readings_vagt_key', nsp);
    IF pk.name IS NOT NULL THEN
        RAISE WARNING 'the primary key of meter_readings is now (%): partitions need the time in it', pk.cols;
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', tab, pk.name);
        stmts := stmts || vagt_tmp_adopt_key(tab, pk.name, pk.cols);
    END IF;
    IF NOT had_key THEN
        EXECUTE format('ALTER INDEX %s.vagt_tmp_key_2 RENAME TO vagt_tmp_key', nsp);
        stmts := stmts || vagt_tmp_adopt_key(tab, 'meter_readings_key', 'meter_id, time');
    END IF;
    FOR x IN SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
             WHERE indrelid = tab AND indisunique
               AND NOT vagt_tmp_attnum(tab, 'time') = ANY (indkey)
    LOOP
        RAISE WARNING 'the unique key % of meter_readings holds only for the rows that are there: partitions would need the time in it', x.relname;
    END LOOP;
    RETURN stmts;
END
$$;

-- Sequences go on where they are, and belong to the new table: they must outlive the
-- old one.
CREATE FUNCTION vagt_tmp_sequences(tab regclass, fresh regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    s record;
    last bigint;
    called boolean;
BEGIN
    FOR s IN
        SELECT d.objid::regclass AS seq, c.relname, quote_ident(a.attname) AS col,
               a.attname, a.attidentity <> '' AS identity
        FROM pg_depend d
        JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
        JOIN pg_attribute a ON a.attrelid = tab AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
          AND d.refobjid = tab AND d.deptype IN ('a', 'i')
    LOOP
        IF NOT s.identity THEN
            EXECUTE format('ALTER SEQUENCE %s OWNED BY %s.%s', s.seq, fresh, s.col);
            CONTINUE;
        END IF;
        EXECUTE format('SELECT last_value, is_called FROM %s', s.seq) INTO last, called;
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %s DROP IDENTITY', tab, s.col);
        PERFORM setval(pg_get_serial_sequence(fresh::text, s.attname), last, called);
        EXECUTE format('ALTER SEQUENCE %s RENAME TO %I',
                       pg_get_serial_sequence(fresh::text, s.attname), s.relname);
    END LOOP;
END
$$;

-- Somebody replicates the table and it has no primary key: then Postgres refuses to
-- delete or update rows.
CREATE FUNCTION vagt_tmp_needs_identity(tab regclass) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT c.relreplident NOT IN ('f', 'i')
       AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = tab AND indisprimary)
       AND (EXISTS (SELECT FROM pg_publication_rel WHERE prrelid = tab)
            OR EXISTS (SELECT FROM pg_publication_tables p
                       JOIN pg_class t ON t.relname = p.tablename
                       WHERE p.schemaname = t.relnamespace::regnamespace::name
                         AND (t.oid = tab OR t.oid IN (SELECT inhrelid FROM pg_inherits
                                                       WHERE inhparent = tab))))
    FROM pg_class c WHERE c.oid = tab
$$;

-- Takes the name of the table for a partitioned one of the same columns.
CREATE FUNCTION vagt_tmp_replace(tab regclass) RETURNS regclass
LANGUAGE plpgsql AS $$
DECLARE
    nsp text := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = tab);
    owner regrole := (SELECT relowner FROM pg_class WHERE oid = tab);
    fresh regclass;
    x record;
BEGIN
    FOR x IN SELECT c.oid, c.relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid
             WHERE indrelid = tab
    LOOP
        EXECUTE format('ALTER INDEX %s.%I RENAME TO %I', nsp, x.relname,
                       left(x.relname, 48) || '_' || x.oid);
    END LOOP;
    EXECUTE format('ALTER TABLE %s RENAME TO meter_readings_before_vagt', tab);
    EXECUTE format('CREATE TABLE %s.meter_readings (LIKE %s INCLUDING DEFAULTS'
                   ' INCLUDING GENERATED INCLUDING IDENTITY INCLUDING STORAGE'
                   ' INCLUDING COMPRESSION INCLUDING COMMENTS) PARTITION BY RANGE (time)',
                   nsp, tab);
    fresh := format('%s.meter_readings', nsp)::regclass;
    PERFORM vagt_give(fresh, owner);
    PERFORM vagt_tmp_sequences(tab, fresh);
    EXECUTE format('CREATE TABLE %s.meter_readings_other PARTITION OF %s DEFAULT', nsp,
                   fresh);
    PERFORM vagt_give(format('%s.meter_readings_other', nsp)::regclass, owner);
    RETURN fresh;
END
$$;

-- The old table becomes a partition: all until tonight, UTC. What is later, or has no
-- time, goes where such rows go.
CREATE FUNCTION vagt_tmp_attach(tab regclass, fresh regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    cut text := to_char((now() AT TIME ZONE 'UTC')::date + 1, 'YYYY-MM-DD') || ' 00:00:00+00';
    other regclass := format('%s.meter_readings_other', (SELECT relnamespace::regnamespace
                                              FROM pg_class WHERE oid = fresh))::regclass;
    t record;
    filled boolean;
BEGIN
    EXECUTE format('WITH late AS (DELETE FROM %1$s WHERE time IS NULL OR time >= %2$L'
                   ' RETURNING %3$s) INSERT INTO %4$s (%3$s) OVERRIDING SYSTEM VALUE'
                   ' SELECT * FROM late', tab, cut, vagt_columns(tab), other);
    FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = tab AND NOT tgisinternal LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, tab);
    END LOOP;
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', tab) INTO filled;
    IF filled THEN
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (MINVALUE)'
                       ' TO (%L)', fresh, tab, cut);
        PERFORM vagt_give(tab, (SELECT relowner FROM pg_class WHERE oid = tab));
    ELSE
        EXECUTE format('DROP TABLE %s', tab);
    END IF;
END
$$;

CREATE FUNCTION vagt_tmp_publish(stmt text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE stmt;
    RAISE WARNING 'publication: "%" was done; its subscribers see the partitions by their names unless its publish_via_partition_root is on', stmt;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'publication: let its owner do this: %', stmt;
END
$$;

CREATE FUNCTION vagt_tmp_convert(tab regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    parts record;
    keys text[];
    fresh regclass;
    stmt text;
BEGIN
    -- Writers wait from here on, readers do not.
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', tab);
    SELECT coalesce(array_agg(p.stmt ORDER BY rank) FILTER (WHERE rank < 10), '{}') AS early,
           coalesce(array_agg(p.stmt) FILTER (WHERE rank = 10), '{}') AS publish,
           coalesce(array_agg(p.stmt ORDER BY rank) FILTER (WHERE rank > 10), '{}') AS late
    INTO parts FROM vagt_tmp_parts(tab) p;
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = tab AND NOT tgisinternal) THEN
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER USER', tab);
    END IF;
    IF (SELECT relforcerowsecurity FROM pg_class WHERE oid = tab) THEN
        EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', tab);
    END IF;
    IF vagt_tmp_needs_identity(tab) THEN
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', tab);
    END IF;
    keys := vagt_tmp_keys(tab);
    IF vagt_tmp_needs_identity(tab) THEN
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', tab);
    END IF;
    fresh := vagt_tmp_replace(tab);
    FOREACH stmt IN ARRAY keys || parts.early LOOP
        EXECUTE stmt;
    END LOOP;
    PERFORM vagt_tmp_attach(tab, fresh);
    FOREACH stmt IN ARRAY parts.publish LOOP
        PERFORM vagt_tmp_publish(stmt);
    END LOOP;
    IF vagt_tmp_needs_identity(fresh) THEN
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', fresh);
        FOR stmt IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = fresh LOOP
            EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', stmt);
        END LOOP;
    END IF;
    FOREACH stmt IN ARRAY parts.late LOOP
        EXECUTE stmt;
    END LOOP;
END
$$;

-- The site has partitioned the table itself: if by time, that will do.
CREATE FUNCTION vagt_tmp_adopt_partitions(tab regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    nsp text := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = tab);
BEGIN
    IF pg_get_partkeydef(tab) NOT IN ('RANGE ("time")', 'RANGE (time)') THEN
        RAISE EXCEPTION 'meter_readings is partitioned by %, and has to be by RANGE (time)', pg_get_partkeydef(tab);
    END IF;
    EXECUTE format('DROP INDEX IF EXISTS %s.meter_readings_vagt_key', nsp);
    IF NOT vagt_tmp_has_key(tab) THEN
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', tab);
        PERFORM vagt_tmp_duplicates();
        EXECUTE format('CREATE UNIQUE INDEX meter_readings_key ON %s (meter_id, time)', tab);
    END IF;
    IF (SELECT partdefid = 0 FROM pg_partitioned_table WHERE partrelid = tab) THEN
        EXECUTE format('CREATE TABLE %s.meter_readings_other PARTITION OF %s DEFAULT', nsp,
                       tab);
        PERFORM vagt_give(format('%s.meter_readings_other', nsp)::regclass,
                          (SELECT relowner FROM pg_class WHERE oid = tab));
    END IF;
END
$$;

-- TimescaleDB has its own parts and its own retention. A hypertable keeps its number, so
-- nothing has to be made anew; its time cannot be NULL.
CREATE FUNCTION vagt_tmp_hypertable(tab regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    nsp text := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = tab);
    stmt text;
BEGIN
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', tab);
    EXECUTE format('WITH gone AS (DELETE FROM %s WHERE time IS NULL RETURNING *)'
                   ' SELECT vagt_tmp_letter(to_jsonb(gone), ''it has no time'') FROM gone',
                   tab);
    EXECUTE format('ALTER TABLE %s ALTER COLUMN time SET NOT NULL', tab);
    PERFORM vagt_tmp_keys(tab);
    SELECT format('SELECT %s.create_hypertable(%L::regclass, ''time'','
                  ' chunk_time_interval => interval ''1 day'', if_not_exists => true,'
                  ' migrate_data => true)', extnamespace::regnamespace, tab)
    INTO stmt FROM pg_extension WHERE extname = 'timescaledb';
    EXECUTE stmt;
END
$$;

DO $$
DECLARE
    tab regclass := 'meter_readings';
    nsp text := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = tab);
    kind "char" := (SELECT relkind FROM pg_class WHERE oid = tab);
    taken text;
BEGIN
    PERFORM vagt_tmp_check_columns(tab);
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM vagt_tmp_hypertable(tab);
    ELSIF kind = 'p' THEN
        PERFORM vagt_tmp_adopt_partitions(tab);
    ELSE
        FOREACH taken IN ARRAY '{meter_readings_other,meter_readings_before_vagt}'::text[]
        LOOP
            IF to_regclass(format('%s.%I', nsp, taken)) IS NOT NULL THEN
                RAISE EXCEPTION 'there is a table % already, and this migration needs the name: rename it', taken;
            END IF;
        END LOOP;
        PERFORM vagt_tmp_check_dependents(tab);
        PERFORM vagt_tmp_convert(tab);
    END IF;
END
$$;

DO $$
DECLARE
    f regprocedure;
    who text;
BEGIN
    FOR f IN SELECT oid FROM pg_proc
             WHERE proname LIKE 'vagt\_tmp\_%' AND pronamespace = quote_ident(current_schema())::regnamespace
    LOOP
        EXECUTE format('DROP FUNCTION %s', f);
    END LOOP;
    REVOKE ALL ON FUNCTION vagt_columns(regclass), vagt_give(regclass, regrole) FROM PUBLIC;
    FOR who IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION vagt_columns(regclass),'
                       ' vagt_give(regclass, regrole) FROM %I', who);
    END LOOP;
END
$$;

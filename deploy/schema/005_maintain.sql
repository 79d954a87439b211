-- Upkeep, done by the node on watch every now and then: partitions made ahead, old ones
-- dropped, dead letters pruned. A function, so that the role of the service needs no
-- right to create or drop: it runs with the rights of who owns the tables.

-- What the last run found. One row.
CREATE TABLE vagt_upkeep (
    one                boolean PRIMARY KEY DEFAULT true CHECK (one),
    at                 timestamptz NOT NULL,
    keep_days          integer NOT NULL,
    ahead_days         integer NOT NULL,
    trouble            text NOT NULL,
    partitions_dropped bigint NOT NULL DEFAULT 0,  -- since ever, and so the next two
    readings_deleted   bigint NOT NULL DEFAULT 0,
    letters_pruned     bigint NOT NULL DEFAULT 0
);

-- The partitions that have bounds. Text in UTC, as vagt_maintain() sets it.
CREATE FUNCTION vagt_partitions(tab regclass)
RETURNS TABLE (part regclass, since timestamptz, until timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT c.oid::regclass,
           coalesce(substring(b FROM 'FROM \(''([^'']*)''\)')::timestamptz, '-infinity'),
           coalesce(substring(b FROM 'TO \(''([^'']*)''\)')::timestamptz, 'infinity')
    FROM pg_partitioned_table t
    JOIN pg_inherits i ON i.inhparent = t.partrelid
    JOIN pg_class c ON c.oid = i.inhrelid
    -- To show the bounds of one that somebody has locked would be to wait for it.
    CROSS JOIN LATERAL (SELECT CASE WHEN c.oid <> t.partdefid
                               THEN pg_get_expr(c.relpartbound, c.oid) END) e (b)
    WHERE t.partrelid = tab AND c.oid <> t.partdefid
$$;

-- One partition, with what waits for it in the default partition. It becomes a partition
-- only when it is complete: that needs no lock against readers of the others.
CREATE FUNCTION vagt_make_day(tab regclass, other regclass, day date) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    part text := format('%s.meter_readings_%s', (SELECT relnamespace::regnamespace
                                                 FROM pg_class WHERE oid = tab),
                        to_char(day, 'YYYYMMDD'));
    since text := to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00';
    until text := to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00';
    waiting boolean := false;
    t record;
BEGIN
    IF to_regclass(part) IS NOT NULL THEN
        RAISE EXCEPTION 'there is a table % that is no partition of meter_readings: rename it', part;
    END IF;
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', tab);
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING GENERATED INCLUDING CONSTRAINTS'
                   ' INCLUDING STORAGE INCLUDING COMPRESSION)', part, tab);
    PERFORM vagt_give(part::regclass, (SELECT relowner FROM pg_class WHERE oid = tab));
    IF (SELECT relreplident FROM pg_class WHERE oid = tab) = 'f' THEN
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', part);
    END IF;
    IF other IS NOT NULL THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE time >= %L AND time < %L)',
                       other, since, until) INTO waiting;
    END IF;
    IF waiting THEN
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', other);
        -- Nothing is deleted here: the site's triggers must not think so.
        FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = other AND NOT tgisinternal
                 AND tgparentid <> 0
        LOOP
            EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', other, t.tgname);
        END LOOP;
        EXECUTE format('WITH moved AS (DELETE FROM %1$s WHERE time >= %2$L AND time < %3$L'
                       ' RETURNING %4$s) INSERT INTO %5$s (%4$s) SELECT * FROM moved',
                       other, since, until, vagt_columns(tab), part);
        -- As the trigger of the whole table is.
        FOR t IN
            SELECT o.tgname, CASE w.tgenabled WHEN 'O' THEN '' WHEN 'A' THEN 'ALWAYS'
                                              ELSE 'REPLICA' END AS how
            FROM pg_trigger o JOIN pg_trigger w ON w.oid = o.tgparentid
            WHERE o.tgrelid = other AND NOT o.tgisinternal AND w.tgenabled <> 'D'
        LOOP
            EXECUTE format('ALTER TABLE %s ENABLE %s TRIGGER %I', other, t.how, t.tgname);
        END LOOP;
    END IF;
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                   tab, part, since, until);
END
$$;

-- First what the next hours need, then the days that have rows in the default partition.
-- To move the 432,000 rows of a day takes some 3 s, so that one who calls this with a
-- limit of 10 s gets somewhere: few days at a time, and none with far more rows. Those
-- stay where they are until they are too old.
CREATE FUNCTION vagt_make_days(tab regclass, other regclass, horizon timestamptz,
                               ahead_days integer, may_move boolean) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    -- Late rows are a matter of days. What is older waits in the default partition.
    first date := greatest(current_date - 31, horizon::date);
    late date[];
    not_now date[];
    d date;
    trouble text := '';
BEGIN
    IF other IS NOT NULL THEN
        EXECUTE format('SELECT array_agg(day), array_agg(day) FILTER (WHERE n > %s)'
                       ' FROM (SELECT time::date AS day, count(*) AS n FROM %s'
                       ' WHERE time >= %L AND time < %L GROUP BY 1) w',
                       CASE WHEN may_move THEN 500000 ELSE 0 END, other, first,
                       current_date + ahead_days + 1) INTO late, not_now;
    END IF;
    FOR d IN
        SELECT day FROM (
            SELECT current_date + n AS day, n AS rank
            FROM generate_series(0, ahead_days) n
            UNION SELECT current_date - 1, 1000
            UNION SELECT l, 2000 + (current_date - l) FROM unnest(late) l
            WHERE l < current_date - 1
        ) w
        WHERE day <> ALL (coalesce(not_now, '{}'))
          AND NOT EXISTS (SELECT FROM vagt_partitions(tab) p
                          WHERE p.since < w.day + 1 AND p.until > w.day)
        ORDER BY rank
    LOOP
        EXIT WHEN clock_timestamp() > statement_timestamp() + interval '2 s'
                  AND d < current_date;
        BEGIN
            PERFORM vagt_make_day(tab, other, d);
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            RETURN trouble || format('no partition for %s: meter_readings was in use; ', d);
        WHEN OTHERS THEN
            trouble := trouble || format('no partition for %s: %s; ', d, SQLERRM);
        END;
    END LOOP;
    RETURN trouble;
END
$$;

-- To drop a partition, all of the table is locked: for a moment, or not at all. This
-- comes before everything else, so that no lock is held while waiting for that one.
CREATE FUNCTION vagt_drop_days(tab regclass, horizon timestamptz, INOUT dropped bigint,
                               OUT trouble text)
LANGUAGE plpgsql AS $$
DECLARE
    p record;
BEGIN
    trouble := '';
    IF NOT EXISTS (SELECT FROM vagt_partitions(tab) v WHERE v.until <= horizon) THEN
        RETURN;
    END IF;
    EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', tab);
    FOR p IN SELECT v.part FROM vagt_partitions(tab) v WHERE v.until <= horizon
             ORDER BY v.until LIMIT 200
    LOOP
        BEGIN
            EXECUTE format('DROP TABLE %s', p.part);
            dropped := dropped + 1;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            trouble := trouble || format('%s is too old and in use; ', p.part);
            EXIT; -- Not the same wait again and again, with everybody locked out.
        WHEN OTHERS THEN
            trouble := trouble || format('%s is too old and was not dropped: %s; ', p.part,
                                         SQLERRM);
        END;
    END LOOP;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    trouble := 'old partitions were not dropped: meter_readings was in use; ';
END
$$;

-- Letters wait as long as readings, and 100,000 at most. What a migration took out of the
-- table (duplicate) does not grow and does not count.
CREATE FUNCTION vagt_prune_letters(horizon timestamptz) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    DELETE FROM vagt_dead_letters WHERE id = ANY (array(
        SELECT id FROM vagt_dead_letters
        WHERE created_at < horizon
           OR kind <> 'duplicate'
              AND id <= (SELECT id FROM vagt_dead_letters WHERE kind <> 'duplicate'
                         ORDER BY id DESC OFFSET 100000 LIMIT 1)
        ORDER BY id LIMIT 100000));
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;

-- Returns '' or what could not be done. @keep_days 0: nothing is too old. Harmless to
-- call often, by several at once, and from within a pooler.
CREATE FUNCTION vagt_maintain(keep_days integer, ahead_days integer) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET lock_timeout = '2s'
AS $$
DECLARE
    tab regclass := 'meter_readings';
    other regclass;
    horizon timestamptz := CASE WHEN keep_days > 0
                           THEN now() - make_interval(days => keep_days) END;
    timescale text := (SELECT extnamespace::regnamespace FROM pg_extension
                       WHERE extname = 'timescaledb');
    trouble text := '';
    dropped bigint := 0;
    deleted bigint := 0;
    d record;
BEGIN
    IF keep_days IS NULL OR keep_days NOT BETWEEN 0 AND 36500
       OR ahead_days IS NULL OR ahead_days NOT BETWEEN 0 AND 366 THEN
        RETURN 'vagt_maintain: keep_days goes from 0 to 36500, ahead_days from 0 to 366';
    END IF;
    IF NOT pg_try_advisory_xact_lock(1986094964, hashtext(tab::oid::text)) THEN
        RETURN ''; -- Somebody else is at it.
    END IF;
    IF timescale IS NOT NULL THEN
        -- Not a policy: those need the background workers, and not every edition of
        -- TimescaleDB has them.
        IF horizon IS NOT NULL THEN
            BEGIN
                EXECUTE format('SELECT count(*) FROM %s.drop_chunks(%L::regclass,'
                               ' older_than => %L::timestamptz)', timescale, tab, horizon)
                INTO dropped;
            EXCEPTION WHEN OTHERS THEN
                trouble := format('old chunks were not dropped: %s; ', SQLERRM);
            END;
        END IF;
    ELSE
        SELECT nullif(partdefid, 0)::regclass INTO other FROM pg_partitioned_table
        WHERE partrelid = tab;
        BEGIN
            IF horizon IS NOT NULL THEN
                d := vagt_drop_days(tab, horizon, 0);
                dropped := d.dropped;
                trouble := d.trouble;
            END IF;
            -- With all of the table locked, this is not the time to move rows.
            trouble := trouble || vagt_make_days(tab, other, horizon, ahead_days,
                                                 dropped = 0);
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            dropped := 0;
            trouble := 'a partition of meter_readings was in use: nothing was done; ';
        END;
        IF horizon IS NOT NULL AND other IS NOT NULL THEN
            EXECUTE format('DELETE FROM %1$s WHERE ctid = ANY (array('
                           'SELECT ctid FROM %1$s WHERE time < $1 LIMIT 100000))', other)
            USING horizon;
            GET DIAGNOSTICS deleted = ROW_COUNT;
        END IF;
    END IF;
    trouble := left(rtrim(trouble, '; '), 500);
    INSERT INTO vagt_upkeep AS u (at, keep_days, ahead_days, trouble, partitions_dropped,
                                  readings_deleted, letters_pruned)
    VALUES (now(), $1, $2, trouble, dropped, deleted, vagt_prune_letters(horizon))
    ON CONFLICT (one) DO UPDATE SET
        at = EXCLUDED.at, keep_days = EXCLUDED.keep_days, ahead_days = EXCLUDED.ahead_days,
        trouble = EXCLUDED.trouble,
        partitions_dropped = u.partitions_dropped + EXCLUDED.partitions_dropped,
        readings_deleted = u.readings_deleted + EXCLUDED.readings_deleted,
        letters_pruned = u.letters_pruned + EXCLUDED.letters_pruned;
    RETURN trouble;
END
$$;

DO $$
DECLARE
    own text := (SELECT relnamespace::regnamespace FROM pg_class
                 WHERE oid = 'vagt_fence'::regclass);
    f regprocedure;
    who text;
BEGIN
    -- Whoever calls it, these are the tables. Temporary ones cannot get in between.
    EXECUTE format('ALTER FUNCTION vagt_maintain(integer, integer)'
                   ' SET search_path = %s, pg_temp', own);
    FOR f IN SELECT oid FROM pg_proc
             WHERE proname LIKE 'vagt\_%' AND pronamespace = own::regnamespace
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
    FOR who IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('REVOKE ALL ON vagt_upkeep FROM %I', who);
        FOR f IN SELECT oid FROM pg_proc
                 WHERE proname LIKE 'vagt\_%' AND pronamespace = own::regnamespace
        LOOP
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %I', f, who);
        END LOOP;
    END LOOP;
    -- The role of the service, if it is another one than the owner, had rights on the
    -- tables of 001, and needs these now.
    FOR who IN
        SELECT quote_ident(r.rolname)
        FROM pg_class c, aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
        WHERE c.oid = 'vagt_fence'::regclass AND a.privilege_type = 'UPDATE'
          AND a.grantee <> c.relowner AND r.rolname NOT IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON vagt_dead_letters TO %s', who);
        EXECUTE format('GRANT SELECT ON vagt_upkeep TO %s', who);
        EXECUTE format('GRANT SELECT, UPDATE ON meter_commands TO %s', who);
        EXECUTE format('GRANT EXECUTE ON FUNCTION vagt_maintain(integer, integer) TO %s', who);
    END LOOP;
    -- So that today has its partition before the first node comes.
    PERFORM vagt_maintain(0, 7);
END
$$;

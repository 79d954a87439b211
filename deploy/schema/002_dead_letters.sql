-- What could not be stored goes here with its reason, instead of being dropped:
-- messages that no source understood, rows that Postgres refused, and readings that
-- migration 003 found twice. `vagtctl deadletter` shows, replays and drops them.
--
-- Bounded: vagt_maintain() (005) prunes it.

ALTER TABLE vagt_fence ADD COLUMN IF NOT EXISTS shipped_letters bigint NOT NULL DEFAULT 0;

CREATE TABLE vagt_dead_letters (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster     text NOT NULL,                -- '' if the migration found it
    kind        text NOT NULL,                -- message, reading, device, command, duplicate
    seq         bigint NOT NULL,
    at          timestamptz NOT NULL,
    area        text,
    topic       text,
    reason      text NOT NULL,
    payload     bytea NOT NULL,               -- the message, or the row as a JSON object
    status      text NOT NULL DEFAULT 'new',  -- new, replay (asked for), replayed
    replayed_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (cluster, kind, seq)
);

-- The node on watch asks for these again and again.
CREATE INDEX vagt_dead_letters_replay_idx ON vagt_dead_letters (id) WHERE status = 'replay';

-- Columns of a JSON object that a table does not have, or has and computes itself.
CREATE FUNCTION vagt_replay_columns(tab regclass, row_json jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    missing text;
BEGIN
    SELECT string_agg(quote_ident(k), ', ') INTO missing
    FROM jsonb_object_keys(row_json) k
    WHERE NOT EXISTS (SELECT FROM pg_attribute
                      WHERE attrelid = tab AND attname = k AND attnum > 0
                        AND NOT attisdropped);
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION '% has no column %', tab, missing;
    END IF;
    RETURN array(SELECT quote_ident(attname) FROM pg_attribute
                 WHERE attrelid = tab AND row_json ? attname::text AND attnum > 0
                   AND NOT attisdropped AND attgenerated = ''
                 ORDER BY attnum);
END
$$;

-- One table of a device: what is newer there stays.
CREATE FUNCTION vagt_replay_device(tab regclass, key text, row_json jsonb, seen timestamptz)
RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    known jsonb := (SELECT jsonb_object_agg(e.key, e.value)
                    FROM jsonb_each(row_json) e
                    JOIN pg_attribute a ON a.attrelid = tab AND a.attname = e.key
                                       AND a.attnum > 0 AND NOT a.attisdropped)
                   || jsonb_build_object('updated_at', seen);
    cols text[] := vagt_replay_columns(tab, known);
    n bigint;
BEGIN
    EXECUTE format(
        'INSERT INTO %1$s AS t (%2$s) SELECT %2$s FROM jsonb_populate_record(NULL::%1$s, $1)'
        ' ON CONFLICT (%3$I) DO UPDATE SET %4$s'
        ' WHERE t.updated_at IS NULL OR t.updated_at < EXCLUDED.updated_at',
        tab, array_to_string(cols, ', '), key,
        (SELECT string_agg(format('%1$s = EXCLUDED.%1$s', c), ', ') FROM unnest(cols) c))
    USING known;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;

-- Puts one letter back: 'done', 'there' (the same or a newer row is there already),
-- 'asked' (the node on watch will), or, if it is refused again, why.
CREATE FUNCTION vagt_replay(letter bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    l vagt_dead_letters;
    j jsonb;
    cols text[];
    n bigint;
    there bigint;
BEGIN
    SELECT * INTO l FROM vagt_dead_letters WHERE id = letter FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'there is no such letter';
    END IF;
    IF l.kind = 'message' THEN
        UPDATE vagt_dead_letters SET status = 'replay', replayed_at = NULL
        WHERE id = letter AND status <> 'replay';
        PERFORM pg_notify('vagt_commands', '');
        RETURN 'asked';
    END IF;
    j := convert_from(l.payload, 'UTF8')::jsonb;
    IF jsonb_typeof(j) <> 'object' THEN
        RETURN 'its payload is no row';
    ELSIF l.kind IN ('reading', 'duplicate') THEN
        cols := vagt_replay_columns('meter_readings', j);
        EXECUTE format('INSERT INTO meter_readings (%1$s) OVERRIDING SYSTEM VALUE'
                       ' SELECT %1$s FROM jsonb_populate_record(NULL::meter_readings, $1)'
                       ' ON CONFLICT DO NOTHING', array_to_string(cols, ', '))
        USING j;
        GET DIAGNOSTICS n = ROW_COUNT;
    ELSIF l.kind = 'device' THEN
        -- The columns of both tables in one object, or of one of them.
        n := 0;
        PERFORM vagt_replay_columns('power_meters', j - array(
            SELECT attname::text FROM pg_attribute
            WHERE attrelid = 'meter_identity'::regclass AND attnum > 0));
        IF j ? 'meter_number' THEN
            n := n + vagt_replay_device('power_meters', 'meter_number', j, l.at);
        END IF;
        IF j ? 'ieee_address' THEN
            n := n + vagt_replay_device('meter_identity', 'ieee_address', j, l.at);
        ELSIF NOT j ? 'meter_number' THEN
            RETURN 'it names neither meter_number nor ieee_address';
        END IF;
    ELSIF l.kind = 'command' THEN
        cols := array_remove(vagt_replay_columns('meter_commands', j), 'id');
        IF NOT j ? 'id' OR cardinality(cols) = 0 THEN
            RETURN 'it names no row of meter_commands, or nothing to set there';
        END IF;
        EXECUTE format('UPDATE meter_commands t SET (%1$s) = ROW(%2$s)'
                       ' FROM jsonb_populate_record(NULL::meter_commands, $1) n'
                       ' WHERE t.id = n.id AND (t.status IS NULL OR t.status'
                       ' IN (''pending'', ''accepted'', ''sent''))',
                       array_to_string(cols, ', '),
                       (SELECT string_agg('n.' || c, ', ') FROM unnest(cols) c))
        USING j;
        GET DIAGNOSTICS n = ROW_COUNT;
        IF n = 0 THEN
            EXECUTE 'SELECT count(*) FROM meter_commands t,'
                    ' jsonb_populate_record(NULL::meter_commands, $1) n WHERE t.id = n.id'
            INTO there USING j;
            IF there = 0 THEN
                RETURN format('meter_commands has no row with the id %s', j ->> 'id');
            END IF;
        END IF;
    ELSE
        RETURN format('nobody knows how to replay the kind %I', l.kind);
    END IF;
    UPDATE vagt_dead_letters SET status = 'replayed', replayed_at = now() WHERE id = letter;
    RETURN CASE WHEN n > 0 THEN 'done' ELSE 'there' END;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLERRM; -- What was done above is undone, the letter stays as it was.
END
$$;

DO $$
DECLARE
    who record;
BEGIN
    REVOKE ALL ON FUNCTION vagt_replay(bigint), vagt_replay_columns(regclass, jsonb),
        vagt_replay_device(regclass, text, jsonb, timestamptz) FROM PUBLIC;
    -- As in 001: Supabase gives these roles everything that is new.
    FOR who IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('REVOKE ALL ON vagt_dead_letters FROM %I', who.rolname);
        EXECUTE format('REVOKE ALL ON SEQUENCE %s FROM %I',
                       pg_get_serial_sequence('vagt_dead_letters', 'id'), who.rolname);
        EXECUTE format('REVOKE ALL ON FUNCTION vagt_replay(bigint),'
                       ' vagt_replay_columns(regclass, jsonb),'
                       ' vagt_replay_device(regclass, text, jsonb, timestamptz) FROM %I',
                       who.rolname);
    END LOOP;
END
$$;

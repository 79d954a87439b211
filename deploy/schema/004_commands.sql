-- meter_commands: the site puts commands in as pending, vagt carries them out and writes
-- into the row what became of them. The site's table stays as it is and gets the columns
-- that it lacks. Statuses: pending, accepted, sent, and at the end one of confirmed,
-- failed, expired, superseded, cancelled.
--
-- Nothing that was waiting before vagt may fire now unless it is known how old it is.

DO $$
DECLARE
    ours boolean := to_regclass(format('%I.meter_commands', current_schema())) IS NULL;
    dated boolean;
    stated boolean;
    who text;
BEGIN
    CREATE TABLE IF NOT EXISTS meter_commands (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid()
    );
    SELECT count(*) FILTER (WHERE attname = 'created_at') > 0,
           count(*) FILTER (WHERE attname = 'status') > 0
    INTO dated, stated
    FROM pg_attribute WHERE attrelid = 'meter_commands'::regclass AND NOT attisdropped;

    -- The trigger comes last: this is nothing to wake anybody for.
    ALTER TABLE meter_commands
        -- A random one for each row that is there.
        ADD COLUMN IF NOT EXISTS id uuid DEFAULT gen_random_uuid(),
        ADD COLUMN IF NOT EXISTS meter_id text,
        ADD COLUMN IF NOT EXISTS command text,
        ADD COLUMN IF NOT EXISTS value text,
        ADD COLUMN IF NOT EXISTS status text,
        ADD COLUMN IF NOT EXISTS created_at timestamptz,
        ADD COLUMN IF NOT EXISTS expires_at timestamptz,
        ADD COLUMN IF NOT EXISTS attempts integer NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS error text,
        ADD COLUMN IF NOT EXISTS accepted_at timestamptz,
        ADD COLUMN IF NOT EXISTS sent_at timestamptz,
        ADD COLUMN IF NOT EXISTS finished_at timestamptz,
        ADD COLUMN IF NOT EXISTS updated_at timestamptz;

    IF ours THEN
        -- As in 001: Supabase would let everybody switch meters.
        FOR who IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
        LOOP
            EXECUTE format('REVOKE ALL ON meter_commands FROM %I', who);
        END LOOP;
    END IF;
    PERFORM set_config('vagt.dated', dated::text, true),
            set_config('vagt.stated', stated::text, true);
END
$$;

-- Types that vagt cannot write into. Said now, since otherwise every command of the site
-- would be carried out, and none would ever be seen to end.
DO $$
DECLARE
    bad record;
    allowed text := '''pending'', ''accepted'', ''sent'', ''confirmed'', ''failed'', ''expired'', ''superseded'', ''cancelled''';
    word text;
    why text;
BEGIN
    FOR bad IN
        SELECT attname AS col, format_type(atttypid, atttypmod) AS is, w.want
        FROM (VALUES ('status', 'S', 'text'), ('error', 'S', 'text'),
                     ('attempts', 'N', 'integer'), ('created_at', 'D', 'timestamptz'),
                     ('expires_at', 'D', 'timestamptz'), ('accepted_at', 'D', 'timestamptz'),
                     ('sent_at', 'D', 'timestamptz'), ('finished_at', 'D', 'timestamptz'),
                     ('updated_at', 'D', 'timestamptz')) w (col, category, want)
        JOIN pg_attribute a ON a.attrelid = 'meter_commands'::regclass AND a.attname = w.col
                           AND NOT a.attisdropped
        JOIN pg_type t ON t.oid = a.atttypid
        WHERE t.typcategory <> w.category
    LOOP
        RAISE EXCEPTION 'meter_commands.% is of type %, and has to be %: ALTER TABLE meter_commands ALTER COLUMN % TYPE % USING ...', bad.col, bad.is, bad.want, quote_ident(bad.col), bad.want;
    END LOOP;
    -- Each status in turn into a table of nothing but that column with its checks.
    EXECUTE 'CREATE TABLE vagt_tmp_probe (status ' || (
        SELECT format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = 'meter_commands'::regclass AND attname = 'status'
          AND NOT attisdropped) || ')';
    FOR bad IN
        SELECT conname, pg_get_constraintdef(oid) AS def
        FROM pg_constraint
        WHERE conrelid = 'meter_commands'::regclass AND contype = 'c'
          AND conkey = ARRAY[(SELECT attnum FROM pg_attribute
                              WHERE attrelid = 'meter_commands'::regclass
                                AND attname = 'status' AND NOT attisdropped)]
    LOOP
        EXECUTE format('ALTER TABLE vagt_tmp_probe ADD CONSTRAINT %I %s', bad.conname,
                       bad.def);
    END LOOP;
    FOREACH word IN ARRAY string_to_array(replace(allowed, '''', ''), ', ') LOOP
        BEGIN
            EXECUTE format('INSERT INTO vagt_tmp_probe VALUES (%L)', word);
        EXCEPTION WHEN check_violation OR string_data_right_truncation THEN
            GET STACKED DIAGNOSTICS why = CONSTRAINT_NAME;
            IF why = '' THEN
                RAISE EXCEPTION 'meter_commands.status has no room for "%": ALTER TABLE meter_commands ALTER COLUMN status TYPE text', word;
            END IF;
            RAISE EXCEPTION 'the constraint % of meter_commands does not allow the status %: ALTER TABLE meter_commands DROP CONSTRAINT %, ADD CHECK (status IN (%)) with your own added', why, word, quote_ident(why), allowed;
        END;
    END LOOP;
    DROP TABLE vagt_tmp_probe;
END
$$;

-- Rows from before. Without a status nobody knows whether they were carried out, without
-- a time nobody knows how old they are.
UPDATE meter_commands
SET status = 'expired', finished_at = now(), updated_at = now(),
    error = CASE WHEN current_setting('vagt.stated') = 'true'
            THEN 'it was there before vagt, without a time: not carried out, since it may be old'
            ELSE 'it was there before vagt, without a status: vagt does not carry it out' END
WHERE CASE WHEN current_setting('vagt.stated') = 'true'
      THEN status = 'pending' AND created_at IS NULL ELSE status IS NULL END;

ALTER TABLE meter_commands ALTER COLUMN status SET DEFAULT 'pending';

DO $$
BEGIN
    -- A default that the site has stays.
    IF NOT EXISTS (SELECT FROM pg_attribute
                   WHERE attrelid = 'meter_commands'::regclass AND attname = 'created_at'
                     AND (atthasdef OR attidentity <> '')) THEN
        ALTER TABLE meter_commands ALTER COLUMN created_at SET DEFAULT now();
    END IF;
    -- What names a row.
    IF NOT EXISTS (SELECT FROM pg_index
                   WHERE indrelid = 'meter_commands'::regclass AND indisprimary) THEN
        ALTER TABLE meter_commands ADD PRIMARY KEY (id);
    ELSIF NOT EXISTS (
        SELECT FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = 'meter_commands'::regclass AND a.attname = 'id'
          AND i.indnkeyatts = 1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL)
    THEN
        CREATE UNIQUE INDEX meter_commands_id_vagt_key ON meter_commands (id);
    END IF;
END
$$;

CREATE INDEX meter_commands_open_vagt_idx ON meter_commands (created_at)
    WHERE status IN ('pending', 'accepted', 'sent');

-- The node on watch listens; whoever has no session of its own (a pooler) asks now and
-- then.
CREATE FUNCTION vagt_commands_changed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('vagt_commands', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER vagt_commands_changed AFTER INSERT OR UPDATE OF status ON meter_commands
    FOR EACH STATEMENT EXECUTE FUNCTION vagt_commands_changed();

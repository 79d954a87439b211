-- The tables of the site, and the two that vagt keeps for itself.
--
-- power_meters, meter_identity and meter_readings may exist already, written by
-- the script that vagt replaces: names and meaning stay, rows stay, and only
-- what is missing is added. Runs as the owner of the tables, not as superuser.

CREATE TABLE IF NOT EXISTS vagt_schema (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- One row per cluster: who may write, and how far the readings and the changes
-- of devices are in. Every transaction of vagt changes this row or does nothing.
CREATE TABLE IF NOT EXISTS vagt_fence (
    cluster          text PRIMARY KEY,
    term             bigint NOT NULL,
    node             text NOT NULL,
    shipped          bigint NOT NULL,
    shipped_revision bigint NOT NULL,
    updated_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS power_meters (
    meter_number text PRIMARY KEY
);
ALTER TABLE power_meters ADD COLUMN IF NOT EXISTS mqtt_topic text;
ALTER TABLE power_meters ADD COLUMN IF NOT EXISTS is_online boolean;
ALTER TABLE power_meters ADD COLUMN IF NOT EXISTS state text;
ALTER TABLE power_meters ADD COLUMN IF NOT EXISTS area text;
ALTER TABLE power_meters ADD COLUMN IF NOT EXISTS last_seen timestamptz;
ALTER TABLE power_meters ADD COLUMN IF NOT EXISTS updated_at timestamptz;

CREATE TABLE IF NOT EXISTS meter_identity (
    ieee_address text PRIMARY KEY
);
ALTER TABLE meter_identity ADD COLUMN IF NOT EXISTS meter_number text;
ALTER TABLE meter_identity ADD COLUMN IF NOT EXISTS base_topic text;
ALTER TABLE meter_identity ADD COLUMN IF NOT EXISTS last_seen timestamptz;
ALTER TABLE meter_identity ADD COLUMN IF NOT EXISTS availability text;
ALTER TABLE meter_identity ADD COLUMN IF NOT EXISTS model text;
ALTER TABLE meter_identity ADD COLUMN IF NOT EXISTS updated_at timestamptz;

-- A device that is renamed gives its old name back: found by that name.
CREATE INDEX IF NOT EXISTS meter_identity_meter_number_idx
    ON meter_identity (meter_number);

-- meter_id is the meter_number. No primary key of its own: a site's table may
-- have one, and the rows it has already carry no vagt_seq.
CREATE TABLE IF NOT EXISTS meter_readings (
    meter_id text NOT NULL,
    time     timestamptz NOT NULL
);
ALTER TABLE meter_readings ADD COLUMN IF NOT EXISTS meter_id text;
ALTER TABLE meter_readings ADD COLUMN IF NOT EXISTS time timestamptz;
ALTER TABLE meter_readings ADD COLUMN IF NOT EXISTS power_w numeric;
ALTER TABLE meter_readings ADD COLUMN IF NOT EXISTS voltage_v numeric;
ALTER TABLE meter_readings ADD COLUMN IF NOT EXISTS current_a numeric;
ALTER TABLE meter_readings ADD COLUMN IF NOT EXISTS energy_kwh numeric;
ALTER TABLE meter_readings ADD COLUMN IF NOT EXISTS state text;
ALTER TABLE meter_readings ADD COLUMN IF NOT EXISTS vagt_seq bigint;

-- Serves queries by (meter_id, time) and makes a repeated insert harmless, in one
-- index: at 13 million rows a month a second one would be half of the writing.
-- It holds the time, so the table can be partitioned by it. Rows from before
-- vagt have no vagt_seq and never collide.
CREATE UNIQUE INDEX IF NOT EXISTS meter_readings_vagt_key
    ON meter_readings (meter_id, time, vagt_seq);

-- The upserts need a unique index that is not partial and not deferrable. A table
-- made by the site has one as a rule; then a second would only cost.
DO $$
DECLARE
    want record;
BEGIN
    FOR want IN
        SELECT * FROM (VALUES ('power_meters', 'meter_number'),
                              ('meter_identity', 'ieee_address')) AS w (tab, col)
    LOOP
        IF NOT EXISTS (
            SELECT 1
            FROM pg_index i
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
            WHERE i.indrelid = want.tab::regclass
              AND a.attname = want.col
              AND i.indnkeyatts = 1
              AND i.indisunique AND i.indisvalid AND i.indimmediate
              AND i.indpred IS NULL AND i.indexprs IS NULL)
        THEN
            EXECUTE format('CREATE UNIQUE INDEX %I ON %I (%I)',
                           want.tab || '_' || want.col || '_vagt_key', want.tab, want.col);
        END IF;
    END LOOP;

    -- Supabase gives these roles every new table of the schema "public", and with
    -- it anybody who has the site's public key. The fence is nobody's business.
    FOR want IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('REVOKE ALL ON vagt_fence, vagt_schema FROM %I', want.rolname);
    END LOOP;
END
$$;

-- Which of two nodes may go on alone. Changed by compare-and-swap on its epoch only;
-- never by hand while a node runs: docs/adr/0020.

CREATE TABLE vagt_tiebreak (
    cluster    text PRIMARY KEY,
    epoch      bigint NOT NULL CHECK (epoch > 0),
    members    text NOT NULL,        -- ids of the voters, ascending: '1,2'
    sole       integer,              -- the one that may go on alone; NULL: either may ask
    term       bigint NOT NULL,      -- the highest that was known to whoever changed it
    token      text NOT NULL,        -- of the attempt that changed it
    changed_at timestamptz NOT NULL DEFAULT now()
);

DO $$
DECLARE
    who text;
BEGIN
    FOR who IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('REVOKE ALL ON vagt_tiebreak FROM %I', who);
    END LOOP;
    -- The role of the service, as in 005.
    FOR who IN
        SELECT quote_ident(r.rolname)
        FROM pg_class c, aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
        WHERE c.oid = 'vagt_fence'::regclass AND a.privilege_type = 'UPDATE'
          AND a.grantee <> c.relowner AND r.rolname NOT IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON vagt_tiebreak TO %s', who);
    END LOOP;
END
$$;

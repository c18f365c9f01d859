-- Who makes a backup reads all organizations, sealed values included, and can change nothing. What a backup leaves out (see
-- store/backup.py) it cannot read either.
GRANT USAGE ON SCHEMA public TO tieline_backup;
GRANT SELECT ON alembic_version TO tieline_backup;

DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT relname AS name, relrowsecurity AS held FROM pg_class
                WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname NOT LIKE 'pgqueuer%'
                  AND relname <> ALL (ARRAY['alembic_version', 'attempts', 'connect_sessions', 'passkey_challenges', 'sessions',
                                            'sign_in_links', 'worker_hours', 'workers'])
    LOOP
        EXECUTE format('GRANT SELECT ON %I TO tieline_backup', one.name);
        IF one.held THEN
            EXECUTE format('CREATE POLICY backup ON %I FOR SELECT TO tieline_backup USING (true)', one.name);
        END IF;
    END LOOP;
END $$;

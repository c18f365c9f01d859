-- The roles that Tieline works as. They own nothing and cannot bypass row-level security; whoever migrates may become them.
DO $$
BEGIN
    CREATE ROLE tieline_app NOLOGIN NOSUPERUSER NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- roles belong to the whole server: another database on it has made them
END $$;

DO $$
BEGIN
    CREATE ROLE tieline_system NOLOGIN NOSUPERUSER NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $$;

DO $$
BEGIN
    CREATE ROLE tieline_backup NOLOGIN NOSUPERUSER NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $$;

DO $$
BEGIN
    EXECUTE format('GRANT tieline_app, tieline_system, tieline_backup TO %I', current_user);
END $$;

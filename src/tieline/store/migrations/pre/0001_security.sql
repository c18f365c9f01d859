-- Rights and row-level security. FORCE holds even the owner; an organization's rows show only to work done as that organization.
GRANT USAGE ON SCHEMA public TO tieline_app, tieline_system;
GRANT SELECT ON alembic_version TO tieline_app;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['api_keys', 'connections', 'credentials', 'entities', 'evidence', 'finding_events', 'findings',
                                'idempotency_keys', 'links', 'outbox', 'provenances', 'rate_budgets', 'rejections', 'run_pages',
                                'runs', 'schedules']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY organization ON %I '
                       'USING (org_id = (SELECT nullif(current_setting(''tieline.org'', true), '''')::uuid)) '
                       'WITH CHECK (org_id = (SELECT nullif(current_setting(''tieline.org'', true), '''')::uuid))', name);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO tieline_app', name);
    END LOOP;

    -- What is history is never changed: no UPDATE or DELETE on evidence, provenances, finding_events and outbox.
    FOREACH name IN ARRAY ARRAY['api_keys', 'connections', 'credentials', 'entities', 'findings', 'idempotency_keys', 'links',
                                'rate_budgets', 'rejections', 'run_pages', 'runs', 'schedules']
    LOOP
        EXECUTE format('GRANT UPDATE, DELETE ON %I TO tieline_app', name);
    END LOOP;
END $$;

ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE organizations FORCE ROW LEVEL SECURITY;
CREATE POLICY organization ON organizations
    USING (id = (SELECT nullif(current_setting('tieline.org', true), '')::uuid));
GRANT SELECT ON organizations TO tieline_app;

-- What the platform itself must see over all organizations, and no more: of credentials, only which key sealed them.
CREATE POLICY platform ON organizations TO tieline_system USING (true) WITH CHECK (true);
CREATE POLICY platform ON api_keys TO tieline_system USING (true) WITH CHECK (true);
CREATE POLICY platform ON schedules TO tieline_system USING (true) WITH CHECK (true);
CREATE POLICY platform ON credentials FOR SELECT TO tieline_system USING (true);
GRANT SELECT, INSERT, UPDATE ON organizations TO tieline_system;
GRANT SELECT, UPDATE (last_used_at) ON api_keys TO tieline_system;
GRANT SELECT, UPDATE ON schedules TO tieline_system;
GRANT SELECT (key_id) ON credentials TO tieline_system;

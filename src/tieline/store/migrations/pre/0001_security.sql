-- Rights and row-level security. FORCE holds even the owner; an organization's rows show only to work done as that organization.
GRANT USAGE ON SCHEMA public TO tieline_app, tieline_system;
GRANT SELECT ON alembic_version TO tieline_app;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['api_keys', 'attempts', 'audit_checkpoints', 'audit_entries', 'audit_heads', 'connect_sessions', 'connections', 'credentials', 'entities', 'entity_counts', 'entity_versions', 'evidence', 'finding_counts', 'finding_events', 'findings',
                                'idempotency_keys', 'links', 'members', 'mentions', 'oauth_apps', 'outbox', 'passkeys', 'provenances', 'rate_budgets', 'rejections', 'revocations', 'run_pages',
                                'run_spans', 'run_tallies', 'runs', 'schedules', 'sessions', 'sign_in_links', 'tallies']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY organization ON %I '
                       'USING (org_id = (SELECT nullif(current_setting(''tieline.org'', true), '''')::uuid)) '
                       'WITH CHECK (org_id = (SELECT nullif(current_setting(''tieline.org'', true), '''')::uuid))', name);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO tieline_app', name);
    END LOOP;

    -- What is history is never changed: no UPDATE or DELETE on entity_versions, evidence, provenances, finding_events, outbox,
    -- audit_entries and audit_checkpoints.
    FOREACH name IN ARRAY ARRAY['api_keys', 'attempts', 'connect_sessions', 'connections', 'credentials', 'entities', 'entity_counts', 'finding_counts', 'findings', 'idempotency_keys', 'links', 'members', 'mentions', 'oauth_apps',
                                'passkeys', 'rate_budgets', 'rejections', 'revocations', 'run_pages', 'run_spans', 'run_tallies', 'runs', 'schedules', 'sessions', 'sign_in_links', 'tallies']
    LOOP
        EXECUTE format('GRANT UPDATE, DELETE ON %I TO tieline_app', name);
    END LOOP;
END $$;

-- Retention is all that takes audit entries away: those of the organization at work, up to a signed checkpoint of its own.
GRANT UPDATE ON audit_heads TO tieline_app;
CREATE FUNCTION prune_audit_entries(upto bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    org uuid := nullif(current_setting('tieline.org', true), '')::uuid;
    pruned bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM public.audit_checkpoints WHERE org_id = org AND seq = upto) THEN
        RAISE EXCEPTION 'there is no checkpoint here' USING ERRCODE = 'restrict_violation';
    END IF;
    DELETE FROM public.audit_entries WHERE org_id = org AND seq <= upto;
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END $$;
REVOKE ALL ON FUNCTION prune_audit_entries(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION prune_audit_entries(bigint) TO tieline_app;

ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE organizations FORCE ROW LEVEL SECURITY;
CREATE POLICY organization ON organizations
    USING (id = (SELECT nullif(current_setting('tieline.org', true), '')::uuid));
GRANT SELECT ON organizations TO tieline_app;

-- What the platform itself must see over all organizations, and no more.
CREATE POLICY platform ON organizations TO tieline_system USING (true) WITH CHECK (true);
CREATE POLICY platform ON api_keys TO tieline_system USING (true) WITH CHECK (true);
CREATE POLICY platform ON schedules TO tieline_system USING (true) WITH CHECK (true);
CREATE POLICY platform ON credentials TO tieline_system USING (true);
GRANT SELECT, INSERT, UPDATE ON organizations TO tieline_system;
GRANT SELECT, UPDATE (last_used_at) ON api_keys TO tieline_system;
GRANT SELECT, UPDATE ON schedules TO tieline_system;
GRANT SELECT (org_id, connection_id, slot, key_id, expires_at, retired_at) ON credentials TO tieline_system;
CREATE POLICY platform ON revocations TO tieline_system USING (true);
GRANT SELECT (id, org_id, due_at) ON revocations TO tieline_system;
CREATE POLICY platform ON attempts TO tieline_system USING (true);
GRANT SELECT (expires_at), DELETE ON attempts TO tieline_system;
CREATE POLICY platform ON connect_sessions TO tieline_system USING (true);
GRANT SELECT (expires_at), DELETE ON connect_sessions TO tieline_system;
-- Retention takes versions away by their kind and age, without seeing what they say.
CREATE POLICY platform ON entity_versions TO tieline_system USING (true);
GRANT SELECT (entity_id, kind, until), DELETE ON entity_versions TO tieline_system;
-- Which organizations an address is a member of, for whoever signs in elsewhere; and what nobody can use any more.
CREATE POLICY platform ON members FOR SELECT TO tieline_system USING (true);
GRANT SELECT (id, org_id, email, status) ON members TO tieline_system;
CREATE POLICY platform ON sessions TO tieline_system USING (true);
GRANT SELECT (seen_at, expires_at), DELETE ON sessions TO tieline_system;
CREATE POLICY platform ON sign_in_links TO tieline_system USING (true);
GRANT SELECT (expires_at), DELETE ON sign_in_links TO tieline_system;
CREATE POLICY platform ON audit_heads FOR SELECT TO tieline_system USING (true);
GRANT SELECT (org_id, seq, checkpoint_seq) ON audit_heads TO tieline_system;

-- To bring sealed values under another key, the platform reads and replaces ciphertext; it may change nothing else of a row.
CREATE POLICY platform ON oauth_apps TO tieline_system USING (true);
GRANT SELECT (id, org_id, connection_id, slot, version, serial, sealed, key_id), UPDATE (sealed, key_id) ON credentials TO tieline_system;
GRANT SELECT (id, org_id, connection_id, slot, version, serial, sealed, key_id), UPDATE (sealed, key_id) ON revocations TO tieline_system;
GRANT SELECT (id, org_id, version, sealed, key_id), UPDATE (sealed, key_id) ON oauth_apps TO tieline_system;
GRANT SELECT (id, org_id, sealed, key_id), UPDATE (sealed, key_id) ON attempts TO tieline_system;
GRANT SELECT (id, org_id, sealed, key_id), UPDATE (sealed, key_id) ON connect_sessions TO tieline_system;
-- What browsers are to sign belongs to nobody yet, and no organization reaches it.
GRANT SELECT, INSERT, UPDATE, DELETE ON passkey_challenges TO tieline_system;
-- Issuer keys belong to the platform, and no organization reaches them.
GRANT SELECT, INSERT, DELETE, UPDATE (sealed, key_id) ON issuer_keys TO tieline_system;
-- So do workers, and what they count.
GRANT SELECT, INSERT, UPDATE, DELETE ON workers, worker_hours TO tieline_system;
-- How the platform stands is told in numbers alone: how many connections, answers and ended runs of which kind there are.
CREATE POLICY platform ON connections FOR SELECT TO tieline_system USING (true);
GRANT SELECT (id, provider, status, disconnected_at) ON connections TO tieline_system;
CREATE POLICY platform ON tallies FOR SELECT TO tieline_system USING (true);
GRANT SELECT (connection_id, check_id, outcome, entities) ON tallies TO tieline_system;
CREATE POLICY platform ON run_tallies FOR SELECT TO tieline_system USING (true);
GRANT SELECT ON run_tallies TO tieline_system;

-- The tables of the first release.

CREATE TABLE entities (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    connection_id UUID NOT NULL,
    provider TEXT NOT NULL,
    kind TEXT NOT NULL,
    operation TEXT NOT NULL,
    external_id TEXT NOT NULL,
    status TEXT NOT NULL,
    hash BYTEA NOT NULL,
    data JSONB NOT NULL,
    raw TEXT NOT NULL,
    outcomes JSONB NOT NULL,
    judge_at TIMESTAMP WITH TIME ZONE,
    run_id UUID NOT NULL,
    first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    removed_at TIMESTAMP WITH TIME ZONE,
    label TEXT GENERATED ALWAYS AS (left(lower(coalesce(data ->> 'email', '') || ' ' || coalesce(data ->> 'display_name', '') || ' ' || coalesce(data ->> 'name', '') || ' ' || coalesce(data ->> 'title', '') || ' ' || coalesce(data ->> 'username', '')), 200) || ' ' || left(lower(external_id), 200)) STORED NOT NULL,
    verdict TEXT GENERATED ALWAYS AS (CASE WHEN outcomes = '{}' THEN 'none' WHEN jsonb_path_exists(outcomes, '$.*[0] ? (@ == "fail")') THEN 'fail' WHEN jsonb_path_exists(outcomes, '$.*[0] ? (@ == "unknown")') THEN 'unknown' ELSE 'pass' END) STORED NOT NULL,
    CONSTRAINT entities_pkey PRIMARY KEY (id)
)
 WITH (toast_tuple_target = 4080);
CREATE INDEX entities_operation_idx ON entities (connection_id, operation, id);
CREATE INDEX entities_org_id_idx ON entities (org_id, kind, id) INCLUDE (connection_id, provider, status, verdict, removed_at, label);
CREATE INDEX entities_removed_idx ON entities (org_id, removed_at) WHERE removed_at IS NOT NULL;

CREATE TABLE entity_counts (
    org_id UUID NOT NULL,
    connection_id UUID NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    verdict TEXT NOT NULL,
    entities INTEGER NOT NULL,
    CONSTRAINT entity_counts_pkey PRIMARY KEY (org_id, connection_id, kind, status, verdict)
);

CREATE TABLE entity_versions (
    org_id UUID NOT NULL,
    entity_id UUID NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    until TIMESTAMP WITH TIME ZONE NOT NULL,
    run_id UUID NOT NULL,
    first_run_id UUID,
    removed BOOLEAN NOT NULL,
    kind TEXT NOT NULL,
    fields JSONB NOT NULL,
    CONSTRAINT entity_versions_pkey PRIMARY KEY (entity_id, until)
);
CREATE INDEX entity_versions_kind_idx ON entity_versions (kind, until);
CREATE INDEX entity_versions_removed_idx ON entity_versions (org_id, entity_id) WHERE removed;

CREATE TABLE evidence (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    connection_id UUID NOT NULL,
    provider TEXT NOT NULL,
    run_id UUID NOT NULL,
    entity_id UUID NOT NULL,
    kind TEXT NOT NULL,
    external_id TEXT NOT NULL,
    check_id TEXT NOT NULL,
    stance TEXT NOT NULL,
    controls TEXT[] NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    content TEXT NOT NULL,
    hash BYTEA NOT NULL,
    CONSTRAINT evidence_pkey PRIMARY KEY (id)
);
CREATE INDEX evidence_check_id_idx ON evidence (org_id, check_id, id);
CREATE INDEX evidence_entity_id_idx ON evidence (org_id, entity_id, check_id, id) INCLUDE (connection_id, observed_at, stance);
CREATE INDEX evidence_org_id_idx ON evidence (org_id, id);

CREATE TABLE finding_counts (
    org_id UUID NOT NULL,
    connection_id UUID NOT NULL,
    check_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    status TEXT NOT NULL,
    owner_id UUID,
    findings INTEGER NOT NULL,
    CONSTRAINT finding_counts_key UNIQUE NULLS NOT DISTINCT (org_id, connection_id, check_id, kind, severity, status, owner_id)
);

CREATE TABLE finding_events (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    finding_id UUID NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    event TEXT NOT NULL,
    run_id UUID,
    actor TEXT,
    note TEXT,
    values JSONB NOT NULL,
    CONSTRAINT finding_events_pkey PRIMARY KEY (id)
);
CREATE INDEX finding_events_finding_id_idx ON finding_events (finding_id);
CREATE INDEX finding_events_org_id_idx ON finding_events (org_id, at);

CREATE TABLE issuer_keys (
    id UUID NOT NULL,
    public JSONB NOT NULL,
    sealed BYTEA NOT NULL,
    key_id TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT issuer_keys_pkey PRIMARY KEY (id)
);

CREATE TABLE links (
    org_id UUID NOT NULL,
    source_id UUID NOT NULL,
    field TEXT NOT NULL,
    target_id UUID NOT NULL,
    CONSTRAINT links_pkey PRIMARY KEY (source_id, field)
);
CREATE INDEX links_target_id_idx ON links (target_id, field);

CREATE TABLE mentions (
    org_id UUID NOT NULL,
    control TEXT NOT NULL,
    check_id TEXT NOT NULL,
    CONSTRAINT mentions_pkey PRIMARY KEY (org_id, control, check_id)
);

CREATE TABLE organizations (
    id UUID NOT NULL,
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT organizations_pkey PRIMARY KEY (id),
    CONSTRAINT organizations_slug_key UNIQUE (slug)
);

CREATE TABLE outbox (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    type TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    data JSONB NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (id)
);
CREATE INDEX outbox_org_id_idx ON outbox (org_id, id);

CREATE TABLE passkey_challenges (
    id UUID NOT NULL,
    browser BYTEA NOT NULL,
    challenge BYTEA NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT passkey_challenges_pkey PRIMARY KEY (id),
    CONSTRAINT passkey_challenges_browser_key UNIQUE (browser)
);
CREATE INDEX passkey_challenges_expires_at_idx ON passkey_challenges (expires_at);

CREATE TABLE run_tallies (
    org_id UUID NOT NULL,
    connection_id UUID NOT NULL,
    operation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    provider TEXT NOT NULL,
    runs BIGINT NOT NULL,
    created BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    unchanged BIGINT NOT NULL,
    removed BIGINT NOT NULL,
    skipped BIGINT NOT NULL,
    rejected BIGINT NOT NULL,
    unidentified BIGINT NOT NULL,
    CONSTRAINT run_tallies_pkey PRIMARY KEY (org_id, connection_id, operation, outcome)
);

CREATE TABLE tallies (
    org_id UUID NOT NULL,
    connection_id UUID NOT NULL,
    check_id TEXT NOT NULL,
    outcome TEXT NOT NULL,
    entities INTEGER NOT NULL,
    CONSTRAINT tallies_pkey PRIMARY KEY (org_id, connection_id, check_id, outcome)
);

CREATE TABLE worker_hours (
    worker_id UUID NOT NULL,
    hour TIMESTAMP WITH TIME ZONE NOT NULL,
    jobs INTEGER NOT NULL,
    CONSTRAINT worker_hours_pkey PRIMARY KEY (hour, worker_id)
);

CREATE TABLE workers (
    id UUID NOT NULL,
    host TEXT NOT NULL,
    role TEXT NOT NULL,
    version TEXT NOT NULL,
    slots INTEGER NOT NULL,
    org_cap INTEGER NOT NULL,
    provider_cap INTEGER NOT NULL,
    heartbeat INTERVAL NOT NULL,
    running INTEGER NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    beat_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT workers_pkey PRIMARY KEY (id)
);

CREATE TABLE api_keys (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hash BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    last_used_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT api_keys_prefix_key UNIQUE (prefix)
);
CREATE INDEX api_keys_org_id_idx ON api_keys (org_id);

CREATE TABLE audit_checkpoints (
    org_id UUID NOT NULL,
    seq BIGINT NOT NULL,
    prev_seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    signed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    signature BYTEA NOT NULL,
    CONSTRAINT audit_checkpoints_pkey PRIMARY KEY (org_id, seq),
    CONSTRAINT audit_checkpoints_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id)
);

CREATE TABLE audit_entries (
    org_id UUID NOT NULL,
    seq BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT,
    details JSONB NOT NULL,
    request_id TEXT,
    prev_hash BYTEA NOT NULL,
    hash BYTEA NOT NULL,
    CONSTRAINT audit_entries_pkey PRIMARY KEY (org_id, seq),
    CONSTRAINT audit_entries_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id)
);
CREATE INDEX audit_entries_story_idx ON audit_entries (org_id, target, seq) WHERE action NOT IN ('credential.opened', 'token.refreshed', 'identity_token.issued');
CREATE INDEX audit_entries_target_idx ON audit_entries (org_id, target, seq);

CREATE TABLE audit_heads (
    org_id UUID NOT NULL,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    checkpoint_seq BIGINT NOT NULL,
    pruned_to BIGINT NOT NULL,
    seal BYTEA NOT NULL,
    CONSTRAINT audit_heads_pkey PRIMARY KEY (org_id),
    CONSTRAINT audit_heads_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id)
);

CREATE TABLE idempotency_keys (
    org_id UUID NOT NULL,
    key TEXT NOT NULL,
    request_hash BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    status INTEGER,
    body BYTEA,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (org_id, key),
    CONSTRAINT idempotency_keys_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id)
);

CREATE TABLE members (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    email TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_seen_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT members_pkey PRIMARY KEY (id),
    CONSTRAINT members_org_id_email_key UNIQUE (org_id, email),
    CONSTRAINT members_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id)
);
CREATE INDEX members_email_idx ON members (email);

CREATE TABLE oauth_apps (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    provider TEXT NOT NULL,
    client_id TEXT NOT NULL,
    fields TEXT[] NOT NULL,
    hosts JSONB DEFAULT '{}' NOT NULL,
    version INTEGER NOT NULL,
    sealed BYTEA NOT NULL,
    key_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT oauth_apps_pkey PRIMARY KEY (id),
    CONSTRAINT oauth_apps_org_id_provider_key UNIQUE (org_id, provider),
    CONSTRAINT oauth_apps_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id)
);
CREATE INDEX oauth_apps_key_id_idx ON oauth_apps (key_id);

CREATE TABLE connections (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    provider TEXT NOT NULL,
    name TEXT NOT NULL,
    auth TEXT NOT NULL,
    status TEXT NOT NULL,
    status_slug TEXT,
    status_message TEXT,
    paused_from TEXT,
    account_id TEXT NOT NULL,
    account_name TEXT NOT NULL,
    options JSONB NOT NULL,
    overrides JSONB DEFAULT '{}' NOT NULL,
    scopes TEXT[],
    missing_scopes TEXT[] DEFAULT '{}' NOT NULL,
    remarks TEXT[] DEFAULT '{}' NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    validated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    disconnected_at TIMESTAMP WITH TIME ZONE,
    owner_id UUID,
    CONSTRAINT connections_pkey PRIMARY KEY (id),
    CONSTRAINT connections_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT connections_owner_id_fkey FOREIGN KEY(owner_id) REFERENCES members (id)
);
CREATE UNIQUE INDEX connections_account_key ON connections (org_id, provider, account_id) WHERE disconnected_at IS NULL;
CREATE INDEX connections_org_id_idx ON connections (org_id, id);

CREATE TABLE findings (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    connection_id UUID NOT NULL,
    provider TEXT NOT NULL,
    entity_id UUID NOT NULL,
    kind TEXT NOT NULL,
    external_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    check_id TEXT NOT NULL,
    title TEXT NOT NULL,
    severity TEXT NOT NULL,
    status TEXT NOT NULL,
    values JSONB NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    resolved_at TIMESTAMP WITH TIME ZONE,
    reopened INTEGER DEFAULT 0 NOT NULL,
    muted_reason TEXT,
    muted_until TIMESTAMP WITH TIME ZONE,
    owner_id UUID,
    CONSTRAINT findings_pkey PRIMARY KEY (id),
    CONSTRAINT findings_entity_id_check_id_key UNIQUE (entity_id, check_id),
    CONSTRAINT findings_owner_id_fkey FOREIGN KEY(owner_id) REFERENCES members (id)
);
CREATE INDEX findings_check_id_idx ON findings (org_id, check_id, id) INCLUDE (status);
CREATE INDEX findings_connection_id_idx ON findings (connection_id, status);
CREATE INDEX findings_org_id_idx ON findings (org_id, status, id);
CREATE INDEX findings_owner_id_idx ON findings (owner_id, status);

CREATE TABLE passkeys (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    member_id UUID NOT NULL,
    name TEXT NOT NULL,
    credential_id BYTEA NOT NULL,
    public_key BYTEA NOT NULL,
    counter BIGINT NOT NULL,
    transports TEXT[] NOT NULL,
    backed_up BOOLEAN NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_used_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT passkeys_pkey PRIMARY KEY (id),
    CONSTRAINT passkeys_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT passkeys_member_id_fkey FOREIGN KEY(member_id) REFERENCES members (id),
    CONSTRAINT passkeys_credential_id_key UNIQUE (credential_id)
);
CREATE INDEX passkeys_member_id_idx ON passkeys (member_id);
CREATE INDEX passkeys_org_id_idx ON passkeys (org_id);

CREATE TABLE sessions (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    member_id UUID NOT NULL,
    hash BYTEA NOT NULL,
    method TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT sessions_member_id_fkey FOREIGN KEY(member_id) REFERENCES members (id),
    CONSTRAINT sessions_hash_key UNIQUE (hash)
);
CREATE INDEX sessions_member_id_idx ON sessions (member_id);
CREATE INDEX sessions_org_id_idx ON sessions (org_id);

CREATE TABLE sign_in_links (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    member_id UUID,
    purpose TEXT NOT NULL,
    hash BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_by TEXT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT sign_in_links_pkey PRIMARY KEY (id),
    CONSTRAINT sign_in_links_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT sign_in_links_member_id_fkey FOREIGN KEY(member_id) REFERENCES members (id),
    CONSTRAINT sign_in_links_hash_key UNIQUE (hash)
);
CREATE INDEX sign_in_links_expires_at_idx ON sign_in_links (expires_at);
CREATE INDEX sign_in_links_org_id_idx ON sign_in_links (org_id);

CREATE TABLE connect_sessions (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    status TEXT NOT NULL,
    step TEXT NOT NULL,
    ticket_hash BYTEA NOT NULL,
    providers TEXT[] NOT NULL,
    origins TEXT[] NOT NULL,
    locale TEXT,
    theme TEXT NOT NULL,
    options JSONB NOT NULL,
    connection_id UUID,
    return_to TEXT,
    provider TEXT,
    slot TEXT,
    attempt_id UUID,
    tries INTEGER DEFAULT 0 NOT NULL,
    found JSONB,
    sealed BYTEA,
    key_id TEXT,
    error_slug TEXT,
    error_message TEXT,
    error_advice TEXT,
    created_by TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE,
    connected_id UUID,
    CONSTRAINT connect_sessions_pkey PRIMARY KEY (id),
    CONSTRAINT connect_sessions_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT connect_sessions_connection_id_fkey FOREIGN KEY(connection_id) REFERENCES connections (id),
    CONSTRAINT connect_sessions_connected_id_fkey FOREIGN KEY(connected_id) REFERENCES connections (id)
);
CREATE INDEX connect_sessions_expires_at_idx ON connect_sessions (expires_at);
CREATE INDEX connect_sessions_key_id_idx ON connect_sessions (key_id);
CREATE INDEX connect_sessions_org_id_idx ON connect_sessions (org_id);

CREATE TABLE credentials (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    connection_id UUID NOT NULL,
    slot TEXT NOT NULL,
    version INTEGER NOT NULL,
    serial INTEGER DEFAULT 0 NOT NULL,
    sealed BYTEA NOT NULL,
    key_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_by TEXT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    warned_days INTEGER,
    refreshed_at TIMESTAMP WITH TIME ZONE,
    refresh_begun_at TIMESTAMP WITH TIME ZONE,
    refresh_after TIMESTAMP WITH TIME ZONE,
    retired_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT credentials_pkey PRIMARY KEY (id),
    CONSTRAINT credentials_connection_id_slot_version_key UNIQUE (connection_id, slot, version),
    CONSTRAINT credentials_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT credentials_connection_id_fkey FOREIGN KEY(connection_id) REFERENCES connections (id)
);
CREATE INDEX credentials_key_id_idx ON credentials (key_id, id);
CREATE INDEX credentials_org_id_idx ON credentials (org_id);

CREATE TABLE rate_budgets (
    connection_id UUID NOT NULL,
    org_id UUID NOT NULL,
    remaining INTEGER,
    reset_at TIMESTAMP WITH TIME ZONE,
    blocked_until TIMESTAMP WITH TIME ZONE,
    CONSTRAINT rate_budgets_pkey PRIMARY KEY (connection_id),
    CONSTRAINT rate_budgets_connection_id_fkey FOREIGN KEY(connection_id) REFERENCES connections (id) ON DELETE CASCADE,
    CONSTRAINT rate_budgets_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id)
);

CREATE TABLE revocations (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    connection_id UUID NOT NULL,
    provider TEXT NOT NULL,
    options JSONB NOT NULL,
    slot TEXT NOT NULL,
    version INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    sealed BYTEA NOT NULL,
    key_id TEXT NOT NULL,
    tries INTEGER DEFAULT 0 NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    give_up_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT revocations_pkey PRIMARY KEY (id),
    CONSTRAINT revocations_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT revocations_connection_id_fkey FOREIGN KEY(connection_id) REFERENCES connections (id)
);
CREATE INDEX revocations_due_at_idx ON revocations (due_at);
CREATE INDEX revocations_org_id_idx ON revocations (org_id);

CREATE TABLE runs (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    connection_id UUID NOT NULL,
    provider TEXT NOT NULL,
    operation TEXT NOT NULL,
    kind TEXT NOT NULL,
    cause TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    finished_at TIMESTAMP WITH TIME ZONE,
    resume_at TIMESTAMP WITH TIME ZONE,
    checkpoint JSONB,
    stamp TEXT,
    attempts INTEGER DEFAULT 0 NOT NULL,
    force BOOLEAN DEFAULT false NOT NULL,
    pages INTEGER DEFAULT 0 NOT NULL,
    records INTEGER DEFAULT 0 NOT NULL,
    skipped INTEGER DEFAULT 0 NOT NULL,
    rejected INTEGER DEFAULT 0 NOT NULL,
    unidentified INTEGER DEFAULT 0 NOT NULL,
    created INTEGER DEFAULT 0 NOT NULL,
    changed INTEGER DEFAULT 0 NOT NULL,
    unchanged INTEGER DEFAULT 0 NOT NULL,
    removed INTEGER DEFAULT 0 NOT NULL,
    findings_opened INTEGER DEFAULT 0 NOT NULL,
    findings_resolved INTEGER DEFAULT 0 NOT NULL,
    evidence INTEGER DEFAULT 0 NOT NULL,
    error_slug TEXT,
    error_message TEXT,
    exchange JSONB,
    traceparent TEXT,
    CONSTRAINT runs_pkey PRIMARY KEY (id),
    CONSTRAINT runs_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT runs_connection_id_fkey FOREIGN KEY(connection_id) REFERENCES connections (id)
);
CREATE INDEX runs_connection_id_idx ON runs (connection_id, operation, id);
CREATE INDEX runs_created_at_idx ON runs (connection_id, created_at);
CREATE INDEX runs_org_id_idx ON runs (org_id, id);

CREATE TABLE schedules (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    kind TEXT NOT NULL,
    provider TEXT NOT NULL,
    connection_id UUID,
    operation TEXT,
    every INTERVAL,
    own_every INTERVAL,
    next_run_at TIMESTAMP WITH TIME ZONE,
    switched_on BOOLEAN DEFAULT true NOT NULL,
    off_reason TEXT,
    enabled BOOLEAN GENERATED ALWAYS AS (switched_on AND off_reason IS NULL) STORED NOT NULL,
    cause TEXT NOT NULL,
    generation INTEGER DEFAULT 0 NOT NULL,
    begun_generation INTEGER DEFAULT 0 NOT NULL,
    ran_generation INTEGER DEFAULT 0 NOT NULL,
    held_by UUID,
    fence INTEGER DEFAULT 0 NOT NULL,
    held_at TIMESTAMP WITH TIME ZONE,
    beat_at TIMESTAMP WITH TIME ZONE,
    run_id UUID,
    attempt INTEGER DEFAULT 0 NOT NULL,
    cancel_requested BOOLEAN DEFAULT false NOT NULL,
    last_error TEXT,
    CONSTRAINT schedules_pkey PRIMARY KEY (id),
    CONSTRAINT schedules_connection_id_operation_key UNIQUE (connection_id, operation),
    CONSTRAINT schedules_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT schedules_connection_id_fkey FOREIGN KEY(connection_id) REFERENCES connections (id)
);
CREATE INDEX schedules_due_idx ON schedules (timezone('UTC', next_run_at)) WHERE held_by IS NULL AND enabled;
CREATE INDEX schedules_held_by_idx ON schedules (held_by) WHERE held_by IS NOT NULL;
CREATE INDEX schedules_waiting_idx ON schedules (org_id, next_run_at) WHERE held_by IS NULL AND enabled;

CREATE TABLE attempts (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    provider TEXT NOT NULL,
    slot TEXT NOT NULL,
    connection_id UUID,
    session_id UUID,
    status TEXT NOT NULL,
    error_slug TEXT,
    error_message TEXT,
    browser_hash BYTEA,
    round INTEGER NOT NULL,
    redirect_uri TEXT NOT NULL,
    return_to TEXT,
    sealed BYTEA NOT NULL,
    key_id TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    consumed_at TIMESTAMP WITH TIME ZONE,
    connected_id UUID,
    CONSTRAINT attempts_pkey PRIMARY KEY (id),
    CONSTRAINT attempts_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT attempts_connection_id_fkey FOREIGN KEY(connection_id) REFERENCES connections (id),
    CONSTRAINT attempts_session_id_fkey FOREIGN KEY(session_id) REFERENCES connect_sessions (id) ON DELETE CASCADE,
    CONSTRAINT attempts_connected_id_fkey FOREIGN KEY(connected_id) REFERENCES connections (id)
);
CREATE INDEX attempts_expires_at_idx ON attempts (expires_at);
CREATE INDEX attempts_key_id_idx ON attempts (key_id);
CREATE INDEX attempts_org_id_idx ON attempts (org_id);
CREATE INDEX attempts_session_id_idx ON attempts (session_id);

CREATE TABLE provenances (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    run_id UUID NOT NULL,
    content TEXT NOT NULL,
    hash BYTEA NOT NULL,
    CONSTRAINT provenances_pkey PRIMARY KEY (id),
    CONSTRAINT provenances_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT provenances_run_id_key UNIQUE (run_id),
    CONSTRAINT provenances_run_id_fkey FOREIGN KEY(run_id) REFERENCES runs (id)
);

CREATE TABLE rejections (
    id UUID NOT NULL,
    org_id UUID NOT NULL,
    run_id UUID NOT NULL,
    kind TEXT NOT NULL,
    field TEXT NOT NULL,
    reason TEXT NOT NULL,
    record TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT rejections_pkey PRIMARY KEY (id),
    CONSTRAINT rejections_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT rejections_run_id_fkey FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE INDEX rejections_run_id_idx ON rejections (run_id);

CREATE TABLE run_pages (
    org_id UUID NOT NULL,
    run_id UUID NOT NULL,
    page INTEGER NOT NULL,
    seen BYTEA NOT NULL,
    CONSTRAINT run_pages_pkey PRIMARY KEY (run_id, page),
    CONSTRAINT run_pages_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT run_pages_run_id_fkey FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE TABLE run_spans (
    org_id UUID NOT NULL,
    run_id UUID NOT NULL,
    page INTEGER NOT NULL,
    cause TEXT NOT NULL,
    pages INTEGER NOT NULL,
    begun_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE NOT NULL,
    read_ms INTEGER NOT NULL,
    limited_ms INTEGER NOT NULL,
    retried_ms INTEGER NOT NULL,
    load_ms INTEGER NOT NULL,
    CONSTRAINT run_spans_pkey PRIMARY KEY (run_id, page, cause),
    CONSTRAINT run_spans_org_id_fkey FOREIGN KEY(org_id) REFERENCES organizations (id),
    CONSTRAINT run_spans_run_id_fkey FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

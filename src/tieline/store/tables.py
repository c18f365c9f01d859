"""Every table, imported in one place so that `metadata` is whole; for migrations and their test."""

from tieline.store import (
    api_keys,
    attempts,
    audit,
    budgets,
    connect_sessions,
    connections,
    credentials,
    entities,
    entity_counts,
    entity_versions,
    evidence,
    finding_counts,
    findings,
    idempotency,
    issuer_keys,
    members,
    oauth_apps,
    organizations,
    outbox,
    passkeys,
    revocations,
    run_spans,
    run_tallies,
    runs,
    schedules,
    sessions,
    sign_in_links,
    tallies,
    workers,
)
from tieline.store.db import metadata

__all__ = [
    "api_keys", "attempts", "audit", "budgets", "connect_sessions", "connections", "credentials", "entities", "entity_counts", "entity_versions", "evidence", "finding_counts", "findings", "idempotency",
    "issuer_keys", "members", "metadata", "oauth_apps", "organizations", "outbox", "passkeys", "revocations", "run_spans", "run_tallies", "runs", "schedules", "sessions",
    "sign_in_links", "tallies", "workers",
]  # fmt: skip

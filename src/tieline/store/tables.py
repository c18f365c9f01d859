"""Every table, imported in one place so that `metadata` is whole; for migrations and their test."""

from tieline.store import (
    api_keys,
    attempts,
    audit,
    budgets,
    connections,
    credentials,
    entities,
    evidence,
    findings,
    idempotency,
    issuer_keys,
    members,
    oauth_apps,
    organizations,
    outbox,
    revocations,
    runs,
    schedules,
    sessions,
    sign_in_links,
)
from tieline.store.db import metadata

__all__ = [
    "api_keys", "attempts", "audit", "budgets", "connections", "credentials", "entities", "evidence", "findings", "idempotency",
    "issuer_keys", "members", "metadata", "oauth_apps", "organizations", "outbox", "revocations", "runs", "schedules", "sessions",
    "sign_in_links",
]  # fmt: skip

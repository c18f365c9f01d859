"""Every table, imported in one place so that `metadata` is whole; for migrations and their test."""

from tieline.store import (
    api_keys,
    budgets,
    connections,
    credentials,
    entities,
    evidence,
    findings,
    idempotency,
    organizations,
    outbox,
    runs,
    schedules,
)
from tieline.store.db import metadata

__all__ = [
    "api_keys", "budgets", "connections", "credentials", "entities", "evidence", "findings", "idempotency", "metadata",
    "organizations", "outbox", "runs", "schedules",
]  # fmt: skip

"""Catalog views: the shape of what the catalog knows, as `views` has that of what an organization has: providers, checks, frameworks, controls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tieline.catalog import Framework
from tieline.catalog.grade import grade_of
from tieline.flows.controls import Standing
from tieline.flows.views import JsonRow, moment
from tieline.sdk.checks import Check
from tieline.sdk.provider import Operation, Provider


def provider_row(provider: Provider[Any], checks: Iterable[Check]) -> JsonRow:
    """A provider; `kind` is how it authenticates, and `checks` are all that there are, for its grade."""
    return {
        "id": provider.slug,
        "provider": provider.slug,
        "kind": provider.mode().kind,
        "ways": [auth.slot for auth in provider.modes],
        "name": provider.name,
        "category": provider.category,
        "description": provider.description,
        "docs_url": provider.docs_url,
        "grade": grade_of(provider, (one for one in checks if one.provider is None)).name,
        "operations": [operation_row(one) for one in provider.operations],
    }


def operation_row(operation: Operation) -> JsonRow:
    """An operation of a provider: what it reads, how often, and the permissions that it needs."""
    return {
        "id": operation.id,
        "kind": operation.kind,
        "title": operation.title,
        "entities": sorted(operation.kinds),
        "every_seconds": int(operation.every.total_seconds()),
        "needs": sorted(operation.needs),
    }


def check_row(check: Check) -> JsonRow:
    """A check; `provider` is `None` for those that hold for all, `kind` is the kind of entity judged."""
    return {
        "id": check.id,
        "provider": check.provider,
        "kind": check.kind,
        "severity": check.severity,
        "title": check.title,
        "fix": check.fix,
        "controls": list(check.controls),
    }


def framework_row(framework: Framework) -> JsonRow:
    """A framework with its families."""
    return {
        "id": framework.slug,
        "name": framework.name,
        "edition": framework.edition,
        "families": [{"id": family.id, "name": family.name} for family in framework.families],
        "controls": len(framework.controls),
    }


def control_row(standing: Standing) -> JsonRow:
    """A control with where it stands; the counts are of standing answers, one for each check and entity."""
    control = standing.control
    return {
        "id": control.id,
        "framework": control.framework,
        "family": control.family,
        "title": control.title,
        "asks": control.asks,
        "status": standing.status,
        "supporting": standing.supporting,
        "contradicting": standing.contradicting,
        "unknown": standing.unknown,
        "checks": list(standing.checks),
        "last_evidence_at": moment(standing.last_evidence_at),
    }

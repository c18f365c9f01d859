"""The public face of a catalog: the ids that are persisted and must not change unseen."""

from __future__ import annotations

from typing import Any

from tieline.catalog.compile import Catalog


def take_snapshot(catalog: Catalog) -> dict[str, Any]:
    """Slugs, credential and option fields, operations with their kinds, and check ids with their controls."""
    return {
        "providers": {
            slug: {
                "ways": {auth.slot: sorted(auth.credential.model_fields) for auth in provider.modes},
                "options": sorted(provider.options.model_fields),
                "operations": {one.id: sorted(one.kinds) for one in provider.operations},
            }
            for slug, provider in sorted(catalog.providers.items())
        },
        "checks": {one.id: sorted(one.controls) for one in sorted(catalog.checks, key=lambda check: check.id)},
    }


def lost(before: dict[str, Any], after: dict[str, Any], *, at: str = "") -> list[str]:
    """What an older snapshot has and a newer one lacks: each would orphan stored rows."""
    found = []
    for name, value in before.items():
        here = f"{at}/{name}"
        if name not in after:
            found.append(here)
        elif isinstance(value, dict):
            found += lost(value, after[name], at=here)
        elif isinstance(value, list):
            found += [f"{here}/{item}" for item in value if item not in after[name]]
    return found

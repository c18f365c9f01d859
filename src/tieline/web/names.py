"""Names: what entities and providers are called on pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from tieline.ids import to_uuid
from tieline.store import entities as store
from tieline.store.db import Work
from tieline.web.page import Page

_NAMES = ("email", "display_name", "name", "title", "username")


async def names_of(work: Work, connection_id: str, ids: list[UUID]) -> dict[UUID, str]:
    """The names of those that are present."""
    if not ids:
        return {}
    found = await store.read_present(work, connection_id=connection_id, ids=ids)
    return {to_uuid(one.id, "ent"): own_name(one.data) or one.external_id for one in found}


def own_name(data: Mapping[str, Any]) -> str | None:
    """The name that a person knows it by, if it has one."""
    return next((str(data[name]) for name in _NAMES if data.get(name)), None)


def provider_name(page: Page, slug: str) -> str:
    """What a provider is called; its slug if the catalog no longer has it."""
    found = page.parts.catalog.providers.get(slug)
    return found.name if found else slug

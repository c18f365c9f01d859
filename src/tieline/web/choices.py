"""Choices: what an organization's filters offer and how a day in them is read, what members are called, how values are told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import orjson
from starlette.datastructures import QueryParams

from tieline.errors import Invalid
from tieline.flows.controls import end_of
from tieline.sdk.checks import Check
from tieline.store.connections import list_connections
from tieline.store.db import Work
from tieline.store.listing import Paging
from tieline.store.members import list_members
from tieline.web.listing import MAX_ROWS
from tieline.web.page import Page

Choices = list[tuple[str, str]]

_MOST_CONNECTIONS = 200
"""Beyond these a connection is chosen from its own page."""


async def choices_of(work: Work, page: Page, given: QueryParams) -> tuple[Choices, Choices]:
    """The providers and the connections that a filter offers; what is asked for is among them, even if it is gone."""
    live = (await list_connections(work, Paging(limit=MAX_ROWS))).items
    names = {one.provider: _name(page, one.provider) for one in live}
    providers = sorted(names.items(), key=lambda choice: choice[1].casefold())
    connections = [(one.id, one.name) for one in live[:_MOST_CONNECTIONS]]
    return _with(providers, given.get("provider")), _with(connections, given.get("connection_id"))


async def names_of_members(work: Work) -> dict[str, str]:
    """What members are called, by id; a removed one is not among them."""
    return {one.id: one.name or one.email for one in (await list_members(work, Paging(limit=MAX_ROWS))).items}


def find_check(page: Page, check_id: str | None) -> Check | None:
    """A check of the catalog, if it still has it."""
    return next((one for one in page.parts.catalog.checks if one.id == check_id), None)


def tell(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Values by name, each as text: texts as they are, the rest as JSON."""
    return [(name, one if isinstance(one, str) else orjson.dumps(one).decode()) for name, one in values.items()]


def read_day(given: str | None, *, field: str) -> date | None:
    """A day such as `2031-01-31`; `None` if none is given. Raises `Invalid` that names the field."""
    if not given:
        return None
    try:
        return date.fromisoformat(given)
    except ValueError:
        told = {"field": field, "problem": "is not a day, such as 2031-01-31"}
        raise Invalid(f"{given[:40]!r} is not a day", advice="Write it as 2031-01-31.", fields=[told]) from None


def end_of_day(given: str | None, *, field: str) -> datetime | None:
    """When a day such as `2031-01-31` is over, in UTC; `None` if no day is given. Raises `Invalid` that names the field."""
    day = read_day(given, field=field)
    return end_of(day) if day else None


def _name(page: Page, slug: str) -> str:
    provider = page.parts.catalog.providers.get(slug)
    return provider.name if provider else slug


def _with(choices: Choices, given: str | None) -> Choices:
    value = (given or "").strip()
    return choices if not value or value in dict(choices) else [*choices, (value, value)]

"""Connections: how each account that is connected fares, who looks after it, and when it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from fastapi import APIRouter
from starlette.responses import Response

from tieline.flows.states import HEALTH
from tieline.flows.timetables import is_late
from tieline.flows.views import JsonRow, connection_row, listing, moment
from tieline.store import connections as store
from tieline.store.connections import NOBODY
from tieline.store.listing import Paging
from tieline.store.members import list_members, names_of
from tieline.store.timetables import last_reads, plans_of
from tieline.web.listing import MAX_ROWS, Column, Filter, show_list
from tieline.web.page import AnyPage, Page
from tieline.web.route import ConsoleRoute
from tieline.web.words import word

router = APIRouter(route_class=ConsoleRoute)

STATES = ("active", "degraded", "error", "expired", "needs_reconnect", "paused", "suspended", "disconnected")
TROUBLED = {
    "degraded": ("Part of it cannot be read.", "Grant the missing permissions at the provider, then test it."),
    "error": ("Reading it failed several times.", "Look at the latest runs; test it once the provider works again."),
    "expired": ("Its credential has ended.", "Give it a new credential."),
    "needs_reconnect": ("The provider does not take its credential any more.", "Reconnect it."),
    "paused": ("Somebody stopped it.", "Resume it when it may be read again."),
    "suspended": ("The provider has switched it off.", "Lift the suspension at the provider, then test it."),
    "disconnected": ("It is no more. What was read stays as history.", "Connect the account anew to read it again."),
}
"""What a state means, and what to do about it."""
HEALTHS = {
    "works": ("Works", "good"),
    "needs_person": ("Needs a person", "bad"),
    "tries_again": ("Tries again by itself", "warn"),
    "stopped": ("Stopped by a person", "quiet"),
    "gone": ("Disconnected", "quiet"),
}
"""What each health is called, and its tone."""
_COLUMNS = (
    Column("id", "id"),
    Column("provider", "provider"),
    Column("name", "name"),
    Column("account", "external_id"),
    Column("account name", "account_name"),
    Column("health", "health"),
    Column("state", "status"),
    Column("reason", "reason.message"),
    Column("owner", "owner_name"),
    Column("last read", "read_at"),
    Column("next run", "next_run_at"),
    Column("credential ends", "expires_at"),
    Column("connected", "created_at"),
)


@router.get("/connections")
async def show_connections(page: AnyPage) -> Response:
    """List connections."""
    names = {slug: one.name for slug, one in page.parts.catalog.providers.items()}

    async def fetch(values: Mapping[str, str | None], paging: Paging) -> JsonRow:
        return await _fetch(page, values, paging)

    return await show_list(
        page,
        "pages/connections.html",
        title="Connections",
        filters=(
            Filter("health", "Health", [(one, HEALTHS[one][0]) for one in HEALTH]),
            Filter("owner", "Owner", await _owners(page)),
            Filter("provider", "Provider", sorted(names.items(), key=lambda one: one[1])),
            Filter("status", "State", [(one, word(one)) for one in STATES], hidden=True),
        ),
        columns=_COLUMNS,
        fetch=fetch,
        api="/v1/connections",
        names=names,
        troubled=TROUBLED,
        healths=HEALTHS,
    )


async def _fetch(page: Page, values: Mapping[str, str | None], paging: Paging) -> JsonRow:
    health = values["health"]
    async with page.parts.db.work(page.org_id) as work:
        found = await store.list_connections(
            work,
            paging,
            provider=values["provider"],
            status=values["status"],
            statuses=HEALTH[health] if health else (),
            owner=values["owner"],
        )
        ids = [one.id for one in found.items]
        read, plans = await last_reads(work, ids), await plans_of(work, ids)
        people = await names_of(work, {one.owner_id for one in found.items if one.owner_id})
    rows = listing(found, connection_row)
    for row in rows["items"]:
        planned, reads = plans.get(row["id"], []), read.get(row["id"], {})
        row["owner_name"] = people.get(row["owner"] or "")
        row["read_at"] = moment(max(reads.values(), default=None))
        row["next_run_at"] = moment(min(_due(one.next_run_at for one in planned if one.enabled), default=None))
        row["late"] = sum(is_late(one, reads.get(one.operation or ""), page.now) for one in planned)
    return rows


async def _owners(page: Page) -> list[tuple[str, str]]:
    """Whose connections can be asked for: one's own first, then nobody's, then everybody else's."""
    me = page.signed_in.member.id
    async with page.parts.db.work(page.org_id) as work:
        people = (await list_members(work, Paging(limit=MAX_ROWS))).items
    others = sorted((one.name or one.email, one.id) for one in people if one.id != me)
    return [(me, "Me"), (NOBODY, "Nobody"), *((id, name) for name, id in others)]


def _due(times: Iterable[datetime | None]) -> list[datetime]:
    return [one for one in times if one]

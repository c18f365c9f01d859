"""Connections: how each account that is connected fares, and all that a person can do with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tieline.errors import Conflict, Invalid, ProviderError, TielineError, TooLarge, VaultError
from tieline.flows import connect as flow
from tieline.flows.audit import entry_row
from tieline.flows.disconnect import disconnect
from tieline.flows.pauses import pause, resume
from tieline.flows.reconfigure import reconfigure
from tieline.flows.sync import request_sync
from tieline.flows.views import JsonRow, connection_row, credential_row, listing, moment, run_row, schedule_row
from tieline.sdk.auth import Redirects
from tieline.sdk.provider import Provider
from tieline.store import connections as store
from tieline.store.audit import list_entries
from tieline.store.connections import Connection
from tieline.store.credentials import list_credentials
from tieline.store.db import Work
from tieline.store.entities import count_by_kind
from tieline.store.listing import Paging
from tieline.store.members import list_members
from tieline.store.runs import last_successes, list_runs
from tieline.store.schedules import list_schedules, next_runs
from tieline.web.forms import errors_of, fields_of, read_values
from tieline.web.listing import MAX_ROWS, Column, Filter, show_list
from tieline.web.page import AdminPage, AnyPage, ApiCall, MemberPage, Page
from tieline.web.pages.catalogue import every, plural, way_name
from tieline.web.pages.connect import Given, begin, chosen, problems_of, read_end, read_given, way_context
from tieline.web.route import ConsoleRoute
from tieline.web.words import counted, word

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
_COLUMNS = (
    Column("id", "id"),
    Column("provider", "provider"),
    Column("name", "name"),
    Column("account", "external_id"),
    Column("account name", "account_name"),
    Column("state", "status"),
    Column("reason", "reason.message"),
    Column("last read", "read_at"),
    Column("next run", "next_run_at"),
    Column("credential ends", "expires_at"),
    Column("connected", "created_at"),
)
_STALE = timedelta(days=1)
_RUNS, _TIMELINE = 10, 20
_OURS = {"engine": "a worker", "system": "Tieline itself"}
_REFUSED = (Invalid, TooLarge, Conflict, ProviderError, VaultError)


@dataclass(frozen=True)
class Wrong:
    """What went wrong with something that was tried on a connection's page, and the options that were entered."""

    error: TielineError
    options: Mapping[str, Any] | None = None


@router.get("/connections")
async def show_connections(page: AnyPage) -> Response:
    """List connections."""
    providers = page.parts.catalog.providers
    filters = (
        Filter(
            "provider", "Provider", sorted(((slug, one.name) for slug, one in providers.items()), key=lambda it: it[1])
        ),
        Filter("status", "State", [(one, word(one)) for one in STATES]),
    )

    async def fetch(values: Mapping[str, str | None], paging: Paging) -> JsonRow:
        async with page.parts.db.work(page.org_id) as work:
            found = listing(await store.list_connections(work, paging, **values), connection_row)
            read, planned = await last_successes(work), await next_runs(work)
        for row in found["items"]:
            row["read_at"], row["next_run_at"] = moment(read.get(row["id"])), moment(planned.get(row["id"]))
            row["stale"] = row["id"] not in read or read[row["id"]] < page.now - _STALE
        return found

    names = {slug: one.name for slug, one in providers.items()}
    return await show_list(
        page,
        "pages/connections.html",
        title="Connections",
        filters=filters,
        columns=_COLUMNS,
        fetch=fetch,
        api="/v1/connections",
        names=names,
        troubled=TROUBLED,
    )


@router.get("/connections/{connection_id}")
async def show_connection(page: AnyPage, connection_id: str) -> Response:
    """Show how a connection fares, and what can be done with it."""
    return await _show(page, connection_id)


@router.get("/connections/{connection_id}/rotate")
async def show_rotation(page: AdminPage, connection_id: str) -> Response:
    """Show the form of a new credential for the same account."""
    connection, provider = await _found(page, connection_id)
    slot = page.request.query_params.get("by")
    return await _show_rotation(page, connection, provider, slot, Given())


@router.post("/connections/{connection_id}/rotate")
async def rotate_credential(page: AdminPage, connection_id: str) -> Response:
    """Put a new credential in force, or begin to sign in at the provider again."""
    connection, provider = await _found(page, connection_id)
    auth = chosen(provider, page.form.get("by") or connection.auth)
    given = read_given(page, provider, auth)
    try:
        if isinstance(auth, Redirects):
            return await begin(page, provider, auth, given, standing=connection)
        ends = read_end(given.ends)
        await flow.replace_credential(
            page.parts, page.org_id, connection_id, given.credential, by=auth.slot, expires_at=ends
        )
    except _REFUSED as error:
        return await _show_rotation(page, connection, provider, auth.slot, replace(given, error=error))
    return page.go(f"/connections/{connection_id}", "The new credential is in force; the former is kept for a week.")


@router.post("/connections/{connection_id}/test")
async def try_credential(page: AdminPage, connection_id: str) -> Response:
    """Make the test call with the stored credential."""
    try:
        tested = await flow.test_connection(page.parts, page.org_id, connection_id)
    except _REFUSED as error:
        return await _show(page, connection_id, wrong=Wrong(error))
    return page.go(f"/connections/{connection_id}", f"The test call worked: {tested.account_name}.")


@router.post("/connections/{connection_id}/pause")
async def pause_connection(page: AdminPage, connection_id: str) -> Response:
    """Stop all runs until it is resumed."""
    await pause(page.parts, page.org_id, connection_id)
    return page.go(f"/connections/{connection_id}", "It is paused. Nothing is read until it is resumed.")


@router.post("/connections/{connection_id}/resume")
async def resume_connection(page: AdminPage, connection_id: str) -> Response:
    """Let it run again."""
    resumed = await resume(page.parts, page.org_id, connection_id)
    return page.go(f"/connections/{connection_id}", f"It is resumed, and {word(resumed.status).lower()}.")


@router.post("/connections/{connection_id}/sync")
async def sync_connection(page: MemberPage, connection_id: str) -> Response:
    """Ask for a run now, of one operation or all."""
    operation = page.form.get("operation") or None
    runs = await request_sync(page.parts, page.org_id, connection_id, operation=operation)
    return page.go(f"/connections/{connection_id}", f"{counted(len(runs), 'run')} asked for; they begin in a moment.")


@router.post("/connections/{connection_id}/roll-back")
async def roll_back_credential(page: AdminPage, connection_id: str) -> Response:
    """Put the former credential in force again."""
    try:
        await flow.roll_back(page.parts, page.org_id, connection_id)
    except _REFUSED as error:
        return await _show(page, connection_id, wrong=Wrong(error))
    return page.go(f"/connections/{connection_id}", "The former credential is in force again.")


@router.post("/connections/{connection_id}/switch")
async def switch_connection(page: AdminPage, connection_id: str) -> Response:
    """Go on by another way whose credential is held already."""
    try:
        await flow.switch_way(page.parts, page.org_id, connection_id, page.form.get("by"))
    except _REFUSED as error:
        return await _show(page, connection_id, wrong=Wrong(error))
    return page.go(f"/connections/{connection_id}", "It goes on by the other way.")


@router.post("/connections/{connection_id}/options")
async def change_connection(page: AdminPage, connection_id: str) -> Response:
    """Change its name and options."""
    connection, provider = await _found(page, connection_id)
    options = read_values(provider.options.model_json_schema(), page.form, prefix="options.")
    name = page.form.get("name").strip()
    changed = options if options != connection.options else None
    try:
        await reconfigure(page.parts, page.org_id, connection_id, name=name or None, options=changed)
    except _REFUSED as error:
        return await _show(page, connection_id, wrong=Wrong(error, options))
    return page.go(f"/connections/{connection_id}", "It is changed; its next runs go by that.")


@router.post("/connections/{connection_id}/disconnect")
async def disconnect_connection(page: AdminPage, connection_id: str) -> Response:
    """Revoke and destroy its credentials, and stop everything."""
    gone = await disconnect(page.parts, page.org_id, connection_id)
    told = [f"{gone.connection.name} is disconnected."]
    told += [f"{counted(gone.revoked, 'credential was', 'credentials were')} revoked."] if gone.revoked else []
    told += [f"{counted(gone.to_revoke, 'revocation')} will be tried again for a day."] if gone.to_revoke else []
    return page.go(f"/connections/{connection_id}", " ".join([*told, gone.remains]).strip())


async def _found(page: Page, connection_id: str) -> tuple[Connection, Provider[Any]]:
    async with page.parts.db.work(page.org_id) as work:
        connection = await store.get_connection(work, connection_id)
    return connection, page.parts.catalog.provider(connection.provider)


async def _show(page: Page, connection_id: str, *, wrong: Wrong | None = None) -> Response:
    async with page.parts.db.work(page.org_id) as work:
        connection = await store.get_connection(work, connection_id)
        seen = await _look(work, connection_id)
    provider = page.parts.catalog.providers.get(connection.provider)
    operations = {one.id: one for one in provider.operations} if provider else {}
    values = wrong.options if wrong and wrong.options is not None else connection.options
    options = fields_of(
        provider.options.model_json_schema() if provider else {},
        values=values,
        problems=problems_of(wrong.error if wrong else None, "options"),
        prefix="options.",
    )
    held = {one["slot"] for one in seen["credentials"] if one["in_force"]}
    return page.show(
        "pages/connection.html",
        status=wrong.error.status if wrong else 200,
        title=connection.name,
        row=connection_row(connection),
        provider=provider,
        provider_name=provider.name if provider else connection.provider,
        needed=sorted({need for one in operations.values() for need in one.needs}),
        titles={one.id: one.title for one in operations.values()},
        often={one.id: every(one.every) for one in operations.values()},
        options=options,
        ways=[(one.slot, way_name(provider, one), one.slot in held) for one in provider.modes] if provider else [],
        gone=connection.disconnected_at is not None,
        trouble=TROUBLED.get(connection.status),
        error=wrong.error if wrong else None,
        problems=errors_of(wrong.error) if wrong and isinstance(wrong.error, Invalid) else {},
        api=ApiCall(f"/v1/connections/{connection_id}"),
        **seen,
    )


async def _look(work: Work, connection_id: str) -> dict[str, Any]:
    """All that is shown of a connection besides itself."""
    runs = (await list_runs(work, Paging(limit=100), connection_id=connection_id)).items
    latest: dict[str, Any] = {}
    for one in runs:
        latest.setdefault(one.operation, run_row(one))
    kinds = await count_by_kind(work, connection_id)
    people = (await list_members(work, Paging(limit=MAX_ROWS))).items
    entries = await list_entries(work, Paging(limit=_TIMELINE), target=connection_id)
    credentials = [credential_row(one) for one in await list_credentials(work, connection_id)]
    return {
        "runs": [run_row(one) for one in runs[:_RUNS]],
        "latest": latest,
        "schedules": [schedule_row(one) for one in await list_schedules(work, connection_id)],
        "entities": [(kind, plural(kind), count) for kind, count in sorted(kinds.items())],
        "credentials": credentials,
        "timeline": [entry_row(one) for one in entries.items],
        "people": _OURS | {one.id: one.name or one.email for one in people},
    }


async def _show_rotation(
    page: Page, connection: Connection, provider: Provider[Any], slot: str | None, given: Given
) -> Response:
    if connection.disconnected_at:
        raise Conflict(f"{connection.name} is disconnected", advice="Connect the account anew.")
    auth = chosen(provider, slot or connection.auth)
    context = await way_context(page, provider, auth, given)
    context["in_fields"] = context["in_fields"] or bool(context["problems"])
    return page.show(
        "pages/rotate.html",
        status=given.error.status if given.error else 200,
        title="A new credential",
        connection=connection,
        ways=[(one.slot, way_name(provider, one)) for one in provider.modes],
        api=ApiCall(f"/v1/connections/{connection.id}/rotate", method="POST"),
        **context,
    )

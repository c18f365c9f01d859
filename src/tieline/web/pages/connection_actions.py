"""What can be done with a connection: each button of its page, and the form of a new credential."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tieline.errors import Conflict, Invalid, ProviderError, TooLarge, VaultError
from tieline.flows import connect as flow
from tieline.flows.disconnect import disconnect
from tieline.flows.pauses import pause, resume
from tieline.flows.reconfigure import reconfigure
from tieline.flows.sync import request_sync
from tieline.flows.timetables import change_timetable
from tieline.sdk.auth import Redirects
from tieline.sdk.provider import Provider
from tieline.store.connections import Connection, get_connection
from tieline.web.forms import read_values
from tieline.web.page import AdminPage, ApiCall, MemberPage, Page
from tieline.web.pages.catalogue import way_name
from tieline.web.pages.connect import Given, begin, chosen, read_end, read_given, way_context
from tieline.web.pages.connection import Wrong, show_one
from tieline.web.route import ConsoleRoute
from tieline.web.words import counted, word

router = APIRouter(route_class=ConsoleRoute)

_REFUSED = (Invalid, TooLarge, Conflict, ProviderError, VaultError)


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
        return await show_one(page, connection_id, wrong=Wrong(error))
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
        return await show_one(page, connection_id, wrong=Wrong(error))
    return page.go(f"/connections/{connection_id}", "The former credential is in force again.")


@router.post("/connections/{connection_id}/switch")
async def switch_connection(page: AdminPage, connection_id: str) -> Response:
    """Go on by another way whose credential is held already."""
    try:
        await flow.switch_way(page.parts, page.org_id, connection_id, page.form.get("by"))
    except _REFUSED as error:
        return await show_one(page, connection_id, wrong=Wrong(error))
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
        return await show_one(page, connection_id, wrong=Wrong(error, options))
    return page.go(f"/connections/{connection_id}", "It is changed; its next runs go by that.")


@router.post("/connections/{connection_id}/owner")
async def change_owner(page: AdminPage, connection_id: str) -> Response:
    """Say who looks after it, if anybody."""
    try:
        await reconfigure(page.parts, page.org_id, connection_id, owner=page.form.get("owner"))
    except _REFUSED as error:
        return await show_one(page, connection_id, wrong=Wrong(error))
    return page.go(f"/connections/{connection_id}", "It is looked after by whom you chose.")


@router.post("/connections/{connection_id}/operations/{operation}")
async def change_operation(page: AdminPage, connection_id: str, operation: str) -> Response:
    """Switch an operation on or off, or say how often it is read."""
    enabled = {"on": True, "off": False}.get(page.form.get("switch"))
    every = page.form.get("every") if "every" in page.form else None
    try:
        await change_timetable(page.parts, page.org_id, connection_id, operation, enabled=enabled, every=every)
    except _REFUSED as error:
        return await show_one(page, connection_id, wrong=Wrong(error))
    told = {True: "It is switched on, and read in a moment if nothing else stops it.", False: "It is switched off."}
    return page.go(f"/connections/{connection_id}", told[enabled] if enabled is not None else "Its period is changed.")


@router.post("/connections/{connection_id}/disconnect")
async def disconnect_connection(page: AdminPage, connection_id: str) -> Response:
    """Revoke and destroy its credentials, and stop everything."""
    gone = await disconnect(page.parts, page.org_id, connection_id)
    told = [f"{gone.connection.name} is disconnected."]
    told += [f"{counted(gone.revoked, 'credential was', 'credentials were')} revoked."] if gone.revoked else []
    told += [f"{counted(gone.to_revoke, 'revocation')} will be tried again for a day."] if gone.to_revoke else []
    return page.go(f"/connections/{connection_id}", " ".join(told))


async def _found(page: Page, connection_id: str) -> tuple[Connection, Provider[Any]]:
    async with page.parts.db.work(page.org_id) as work:
        connection = await get_connection(work, connection_id)
    return connection, page.parts.catalog.provider(connection.provider)


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

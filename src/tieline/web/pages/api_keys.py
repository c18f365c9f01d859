"""API keys: what programs ask the API with; made, shown once, and revoked."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tieline.access.roles import ROLES, Role
from tieline.errors import Invalid
from tieline.flows.api_keys import create_api_key, revoke_api_key
from tieline.flows.views import JsonRow, api_key_row, listing
from tieline.store.api_keys import list_api_keys
from tieline.store.listing import Paging
from tieline.web.forms import errors_of
from tieline.web.listing import MAX_ROWS, Column, answer_csv
from tieline.web.page import AdminPage, ApiCall, Page
from tieline.web.pages.access import ROLES_IN_WORDS, roles_of
from tieline.web.pages.connect import read_end
from tieline.web.route import ConsoleRoute

router = APIRouter(route_class=ConsoleRoute)

_COLUMNS = (
    Column("id", "id"),
    Column("name", "name"),
    Column("role", "role"),
    Column("prefix", "prefix"),
    Column("state", "status"),
    Column("made", "created_at"),
    Column("last used", "last_used_at"),
    Column("ends", "expires_at"),
    Column("revoked", "revoked_at"),
)


@router.get("/access/api-keys")
async def show_api_keys(page: AdminPage) -> Response:
    """List the keys."""
    if page.request.query_params.get("format") == "csv":
        return answer_csv("API keys", _COLUMNS, lambda paging: _fetch(page, paging))
    return await _show(page)


@router.post("/access/api-keys")
async def create_key(page: AdminPage) -> Response:
    """Make a key, and show it this once."""
    given = {name: page.form.get(name).strip() for name in ("name", "role", "ends")}
    try:
        name, role, ends = _named(given["name"]), _role(page, given["role"]), read_end(given["ends"])
        pepper = page.request.app.state.pepper
        made = await create_api_key(page.parts, page.org_id, pepper, name=name, role=role, expires_at=ends)
    except Invalid as error:
        return await _show(page, status=422, problems=errors_of(error) or {"expires_at": error.message}, given=given)
    return page.show(
        "pages/secret.html", title="API key", what="API key", name=name, secret=made.plain, link=None, member=None,
        ends=ends,
    )  # fmt: skip


@router.post("/access/api-keys/{key_id}/revoke")
async def revoke_key(page: AdminPage, key_id: str) -> Response:
    """Make a key useless at once."""
    revoked = await revoke_api_key(page.parts, page.org_id, key_id, caller=page.caller)
    return page.go("/access/api-keys", f"The key {revoked.name} does not work any more.")


def _named(name: str) -> str:
    if not name or len(name) > 200 or not name.isprintable():
        problem = {"field": "body.name", "problem": "Give the key a name of at most 200 characters"}
        raise Invalid(problem["problem"], fields=[problem])
    return name


def _role(page: Page, role: str) -> Role:
    if role not in ROLES:
        raise Invalid("There is no such role", fields=[{"field": "body.role", "problem": "Choose a role"}])
    page.caller.must_be(role)
    return role


async def _fetch(page: Page, paging: Paging) -> JsonRow:
    now = page.now
    async with page.parts.db.work(page.org_id) as work:
        return listing(await list_api_keys(work, paging), lambda one: api_key_row(one, now=now))


async def _show(
    page: Page, *, status: int = 200, problems: dict[str, str] | None = None, given: Any = None
) -> Response:
    newest = (await _fetch(page, Paging(limit=MAX_ROWS)))["items"][::-1]
    return page.show(
        "pages/api_keys.html",
        status=status,
        title="API keys",
        keys=sorted(newest, key=lambda one: one["status"] != "active"),
        roles=roles_of(page),
        about=ROLES_IN_WORDS,
        problems=problems or {},
        given=given or {},
        api=ApiCall("/v1/api-keys"),
    )

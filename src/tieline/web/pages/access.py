"""Access: the people of the organization, how far each reaches, and the links by which they get in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from fastapi import APIRouter
from starlette.responses import Response

from tieline.access.roles import ROLES, Role
from tieline.errors import Conflict, Invalid
from tieline.flows import members as flow
from tieline.flows.members import Invited
from tieline.flows.views import JsonRow, listing, member_row
from tieline.store.connections import count_by_owner
from tieline.store.listing import Paging
from tieline.store.members import Member, list_members
from tieline.web.forms import errors_of
from tieline.web.listing import MAX_ROWS, Column, answer_csv
from tieline.web.page import AdminPage, AnyPage, ApiCall, Page
from tieline.web.route import ConsoleRoute
from tieline.web.words import counted

router = APIRouter(route_class=ConsoleRoute)

ROLES_IN_WORDS = {
    "auditor": "Reads everything, changes nothing",
    "member": "Also starts runs and mutes findings",
    "admin": "Also connects, disconnects, invites and makes keys",
    "owner": "Also says who is owner",
    "operator": "Also runs this Tieline: organizations, engine, keys",
}
_COLUMNS = (
    Column("id", "id"),
    Column("email", "email"),
    Column("name", "name"),
    Column("role", "role"),
    Column("state", "status"),
    Column("invited", "created_at"),
    Column("last here", "last_seen_at"),
)


@router.get("/access")
async def show_access(page: AnyPage) -> Response:
    """List the members."""
    if page.request.query_params.get("format") == "csv":
        return answer_csv("Members", _COLUMNS, lambda paging: _fetch(page, paging))
    return await _show(page)


@router.post("/access/members")
async def invite(page: AdminPage) -> Response:
    """Make somebody a member, and show the link to hand over."""
    given = {name: page.form.get(name).strip() for name in ("email", "name", "role")}
    try:
        invited = await flow.invite_member(
            page.parts,
            page.org_id,
            email=given["email"],
            name=given["name"],
            role=cast("Role", given["role"]),
            caller=page.caller,
        )
    except (Invalid, Conflict) as error:
        problems = errors_of(error) if isinstance(error, Invalid) else {"email": error.message}
        return await _show(page, status=error.status, problems=problems or {"role": error.message}, given=given)
    return await _show_link(page, invited)


@router.post("/access/members/{member_id}/link")
async def make_link(page: AdminPage, member_id: str) -> Response:
    """Make a new link for a member."""
    return await _show_link(page, await flow.make_member_link(page.parts, page.org_id, member_id, caller=page.caller))


@router.post("/access/members/{member_id}/role")
async def change_role(page: AdminPage, member_id: str) -> Response:
    """Give a member another role."""
    role = cast("Role", page.form.get("role"))
    member = await flow.change_role(page.parts, page.org_id, member_id, role, caller=page.caller)
    return page.go("/access", f"{member.name or member.email} is {role} from now on.")


@router.post("/access/members/{member_id}/remove")
async def remove(page: AdminPage, member_id: str) -> Response:
    """Let a member in no more; the connections that they look after go to another, or to nobody."""
    heir = page.form.get("heir") or None
    gone = await flow.remove_member(page.parts, page.org_id, member_id, heir=heir, caller=page.caller)
    told = f"{gone.member.name or gone.member.email} is no longer a member, and signed out everywhere."
    if gone.connections:
        whose = (gone.heir.name or gone.heir.email) if gone.heir else "nobody"
        told += f" {counted(gone.connections, 'connection')} now looked after by {whose}."
    return page.go("/access", told)


def roles_of(page: Page) -> list[tuple[Role, str]]:
    """The roles that the person may give, and what each is for."""
    return [(role, ROLES_IN_WORDS[role]) for role in ROLES if page.may(role)]


async def people_of(page: Page) -> dict[str, Member]:
    """The members by id."""
    async with page.parts.db.work(page.org_id) as work:
        return {one.id: one for one in (await list_members(work, Paging(limit=MAX_ROWS))).items}


def person(people: Mapping[str, Member], member_id: str) -> str:
    """A member by name or address; by id if they are none any more."""
    found = people.get(member_id)
    return member_id if found is None else found.name or found.email


async def _fetch(page: Page, paging: Paging) -> JsonRow:
    async with page.parts.db.work(page.org_id) as work:
        return listing(await list_members(work, paging), member_row)


async def _show(
    page: Page, *, status: int = 200, problems: dict[str, str] | None = None, given: Any = None
) -> Response:
    async with page.parts.db.work(page.org_id) as work:
        owned = await count_by_owner(work)
    return page.show(
        "pages/access.html",
        status=status,
        title="Access",
        members=(await _fetch(page, Paging(limit=MAX_ROWS)))["items"],
        owned=owned,
        roles=roles_of(page),
        problems=problems or {},
        given=given or {},
        api=ApiCall("/v1/members"),
    )


async def _show_link(page: Page, invited: Invited) -> Response:
    link = invited.link.url(page.parts.public_url)
    return page.show(
        "pages/secret.html", title="Sign-in link", what="sign-in link", name=invited.member.email, secret=link,
        link=invited.link, member=invited.member, ends=None,
    )  # fmt: skip

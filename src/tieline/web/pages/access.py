"""Access: the people of the organization, who is signed in where, and the keys for the API."""

from __future__ import annotations

from typing import Any, cast

from fastapi import APIRouter
from starlette.responses import Response

from tieline.access.roles import ROLES, Role
from tieline.access.sessions import IDLE
from tieline.errors import Conflict, Invalid
from tieline.flows import members as flow
from tieline.flows.api_keys import create_api_key, revoke_api_key
from tieline.flows.members import Invited
from tieline.flows.sign_in import end_session
from tieline.flows.views import api_key_row, listing, member_row
from tieline.store.api_keys import list_api_keys
from tieline.store.listing import Paging
from tieline.store.members import list_members
from tieline.store.sessions import list_sessions
from tieline.web.forms import errors_of
from tieline.web.listing import MAX_ROWS
from tieline.web.page import AdminPage, AnyPage, ApiCall, Page
from tieline.web.route import ConsoleRoute

router = APIRouter(route_class=ConsoleRoute)

ROLES_IN_WORDS = {
    "auditor": "Reads everything, changes nothing",
    "member": "Also starts runs and mutes findings",
    "admin": "Also connects, disconnects, invites and makes keys",
    "owner": "Also says who is owner",
    "operator": "Also runs this Tieline: organizations, engine, keys",
}


@router.get("/access")
async def show_access(page: AnyPage) -> Response:
    """Show people, sessions and keys."""
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
    """Let a member in no more."""
    member = await flow.remove_member(page.parts, page.org_id, member_id, caller=page.caller)
    return page.go("/access", f"{member.name or member.email} is no longer a member, and signed out everywhere.")


@router.post("/access/sessions/{session_id}/end")
async def end(page: AnyPage, session_id: str) -> Response:
    """End a session: one's own, or as an admin anybody's."""
    await end_session(page.parts, page.org_id, session_id, caller=page.caller)
    return page.go("/access", "The session has ended.")


@router.post("/access/api-keys")
async def create_key(page: AdminPage) -> Response:
    """Make a key, and show it this once."""
    name, role = page.form.get("name").strip(), cast("Role", page.form.get("role"))
    if not name or len(name) > 200 or not name.isprintable():
        return await _show(page, status=422, problems={"key-name": "Give the key a name of at most 200 characters"})
    if role in ROLES:
        page.caller.must_be(role)
    pepper = page.request.app.state.pepper
    made = await create_api_key(page.parts, page.org_id, pepper, name=name, role=role)
    return page.show(
        "pages/secret.html", title="API key", what="API key", name=name, secret=made.plain, link=None, member=None
    )


@router.post("/access/api-keys/{key_id}/revoke")
async def revoke_key(page: AdminPage, key_id: str) -> Response:
    """Make a key useless at once."""
    revoked = await revoke_api_key(page.parts, page.org_id, key_id, caller=page.caller)
    return page.go("/access", f"The key {revoked.name} does not work any more.")


async def _show(
    page: Page, *, status: int = 200, problems: dict[str, str] | None = None, given: Any = None
) -> Response:
    now, admin = page.now, page.may("admin")
    async with page.parts.db.work(page.org_id) as work:
        members = listing(await list_members(work, Paging(limit=MAX_ROWS)), member_row)["items"]
        whose = None if admin else page.signed_in.member.id
        sessions = await list_sessions(work, now=now, idle=IDLE, member_id=whose)
        found = await list_api_keys(work, Paging(limit=MAX_ROWS)) if admin else None
    keys = [api_key_row(one, now=now) for one in found.items] if found else []
    return page.show(
        "pages/access.html",
        status=status,
        title="Access",
        members=members,
        people={one["id"]: one["name"] or one["email"] for one in members},
        sessions=sessions,
        keys=keys,
        roles=[(role, ROLES_IN_WORDS[role]) for role in ROLES if page.may(role)],
        problems=problems or {},
        given=given or {},
        api=ApiCall("/v1/members"),
    )


async def _show_link(page: Page, invited: Invited) -> Response:
    link = invited.link.url(page.parts.public_url)
    return page.show(
        "pages/secret.html", title="Sign-in link", what="sign-in link", name=invited.member.email, secret=link,
        link=invited.link, member=invited.member,
    )  # fmt: skip

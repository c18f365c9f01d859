"""Members: the people who may sign in to the console, listed, invited, given another role, removed, and let in by links."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi import Query as FromQuery
from pydantic import Field
from starlette.responses import Response

from tieline.access.roles import Role
from tieline.api.body import Given, JsonBody, Nothing
from tieline.api.caller import Admin, PartsOf
from tieline.api.describe import documented
from tieline.api.schemas import (
    Filter,
    Page,
    Paged,
    Row,
    answer,
    cursor_of,
    id_in_path,
    id_in_query,
    id_of,
    time_of,
)
from tieline.flows import members as flow
from tieline.flows.members import Invited
from tieline.flows.parts import Parts
from tieline.flows.views import JsonRow, listing, member_row, moment
from tieline.store.members import list_members as list_rows

router = APIRouter(tags=["members"])
Id = Annotated[str, id_in_path("mem", "The member.")]


class Member(Row):
    """A person of the organization."""

    id: str = id_of("mem", "The member's id.")
    email: str = Field(description="Their address, in lower case.", examples=["anna@example.com"])
    name: str = Field(description="Their name.", examples=["Anna Example"])
    role: str = Field(description="How far they reach.", examples=["admin"])
    status: str = Field(
        description="`invited`, `active`, or in the answer to a removal `removed`.", examples=["active"]
    )
    created_at: str = time_of("When they were invited.")
    last_seen_at: str | None = time_of("When they were last here, to the minute.")


class MemberWithLink(Member):
    """A member, and a link by which they get in."""

    url: str = Field(
        description="The link, which works once; it is not shown again. Whoever has it can sign in as this member.",
        examples=["https://tieline.example/sign-in/link/…"],
    )
    link_expires_at: str = time_of("Until when the link can be used.")


class FormerMember(Member):
    """A member who was removed."""

    connections: int = Field(description="How many connections they looked after.", examples=[0])
    heir: str | None = id_of("mem", "Who looks after those now.")


class NewMember(Given):
    """Who is to be a member."""

    email: str = Field(description="Their address.", max_length=254, examples=["anna@example.com"])
    name: str = Field(default="", description="Their name.", max_length=200, examples=["Anna Example"])
    role: Role = Field(description="How far they reach; at most as far as you.", examples=["member"])


class ChangedMember(Given):
    """What is to be different."""

    role: Role = Field(description="How far they reach; at most as far as you.", examples=["admin"])


class RemovalQuery(Filter):
    """What becomes of what a member leaves behind."""

    heir: str | None = id_in_query("mem", "The member who looks after their connections from now on.")


class MemberQuery(Paged):
    """Which members to list."""

    cursor: str | None = cursor_of("mem")


@router.get("/members", **documented(Page[Member], query=MemberQuery))
async def list_members(parts: PartsOf, caller: Admin, query: Annotated[MemberQuery, FromQuery()]) -> Response:
    """List the members; those who were removed are left out."""
    async with parts.db.work(caller.org_id) as work:
        return answer(listing(await list_rows(work, query.paging), member_row))


@router.post("/members", **documented(MemberWithLink, status=201, body=NewMember, conflicts=True))
async def invite_member(
    parts: PartsOf, caller: Admin, body: Annotated[NewMember, Depends(JsonBody(NewMember))]
) -> Response:
    """Invite somebody, with a role no higher than one's own; hand them the link, for Tieline sends no mail.

    An `Idempotency-Key` is not heeded here: the answer holds a secret, and no secret is kept for a repeat.
    """
    invited = await flow.invite_member(
        parts, caller.org_id, email=body.email, name=body.name, role=body.role, caller=caller
    )
    return answer(_row(parts, invited), 201)


@router.post(
    "/members/{member_id}/link",
    **documented(MemberWithLink, status=201, body=Nothing, body_optional=True, absent=True),
)
async def make_member_link(
    parts: PartsOf, caller: Admin, member_id: Id, _body: Annotated[Nothing, Depends(JsonBody(Nothing, optional=True))]
) -> Response:
    """Make a new link for a member; links made before stop working."""
    return answer(_row(parts, await flow.make_member_link(parts, caller.org_id, member_id, caller=caller)), 201)


@router.patch("/members/{member_id}", **documented(Member, body=ChangedMember, absent=True, conflicts=True))
async def change_member(
    parts: PartsOf, caller: Admin, member_id: Id, body: Annotated[ChangedMember, Depends(JsonBody(ChangedMember))]
) -> Response:
    """Give a member another role, no higher than one's own; the last owner stays one."""
    return answer(member_row(await flow.change_role(parts, caller.org_id, member_id, body.role, caller=caller)))


@router.delete("/members/{member_id}", **documented(FormerMember, query=RemovalQuery, absent=True, conflicts=True))
async def remove_member(
    parts: PartsOf, caller: Admin, member_id: Id, query: Annotated[RemovalQuery, FromQuery()]
) -> Response:
    """Let somebody in no more, and end their sessions; the last owner stays.

    The connections that they looked after go to the heir, or have no owner any more.
    """
    removed = await flow.remove_member(parts, caller.org_id, member_id, heir=query.heir, caller=caller)
    return answer(flow.removed_row(removed))


def _row(parts: Parts, invited: Invited) -> JsonRow:
    link = {"url": invited.link.url(parts.public_url), "link_expires_at": moment(invited.link.expires_at)}
    return member_row(invited.member) | link

"""Sign-in: by a link that works once, by a passkey, or by what an OpenID provider says; how a session begins, and how it ends.

An organization without members is opened by its *first* link, which the terminal shows: whoever has that runs this Tieline.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tieline.access.actor import act_as
from tieline.access.roles import Caller
from tieline.access.sessions import IDLE, Method, SignedIn, open_session
from tieline.access.tokens import hash_token, org_of
from tieline.errors import Conflict, Invalid, RequestError
from tieline.flows.audit import record
from tieline.flows.members import LINK, NewLink, check_name, fold_email, make_link
from tieline.flows.parts import Parts
from tieline.flows.views import JsonRow, moment
from tieline.ids import new_id
from tieline.store import members, sessions
from tieline.store.db import Work
from tieline.store.members import Member
from tieline.store.organizations import Organization, get_own_organization
from tieline.store.passkeys import delete_old_challenges
from tieline.store.sessions import Session
from tieline.store.sign_in_links import SignInLink, delete_old_links, find_link, use_link

FIRST_ROLE = "operator"


class LinkSpent(RequestError):
    """The link was used, is late, or never was."""

    slug = "link-spent"
    status = 410
    advice = "Ask whoever gave it to you for another, or run `tieline members link EMAIL`."


@dataclass(frozen=True)
class Offered:
    """What a link offers to whoever opens it; nothing is used up by looking. `member` is `None` for the first."""

    organization: Organization
    purpose: str
    member: Member | None


@dataclass(frozen=True)
class Begun:
    """A session just begun; `cookie` is its plain value, for the browser alone."""

    session: Session
    member: Member
    cookie: str = field(repr=False)


async def make_first_link(parts: Parts, org_id: str) -> NewLink | None:
    """The link that makes an organization's first member; `None` if somebody has signed in already."""
    async with parts.db.work(org_id) as work:
        if await members.count_active(work):
            return None
        link = await make_link(work, parts, None, "first")
        await record(work, parts, "member.first_link_made", org_id, expires_at=link.expires_at)
    return link


async def look_at_link(parts: Parts, token: str) -> Offered:
    """What a link is good for; raises `LinkSpent`."""
    async with parts.db.work(_org(token)) as work:
        link = await find_link(work, _hash(parts, token), now=parts.clock.now())
        if link is None:
            raise _spent()
        member = await members.get_member(work, link.member_id) if link.member_id else None
        return Offered(await get_own_organization(work), link.purpose, member)


async def sign_in_by_link(
    parts: Parts, token: str, *, user_agent: str, email: str | None = None, name: str = ""
) -> Begun:
    """Use a link up and begin a session; `email` and `name` are the first member's.

    Raises `LinkSpent`, `Invalid`, or `Conflict` if an organization that the first link is for has a member by now.
    """
    async with parts.db.work(_org(token)) as work:
        await members.lock_members(work)
        link = await use_link(work, _hash(parts, token), now=parts.clock.now())
        if link is None:
            raise _spent()
        if link.purpose == "first":
            member = await _make_first(work, parts, email, name)
        else:
            member = await _welcome(work, parts, link, name)
        return await begin_here(work, parts, member, method="link", user_agent=user_agent)


async def begin_session(parts: Parts, org_id: str, member_id: str, *, method: Method, user_agent: str) -> Begun:
    """Sign a member in who was recognised by other means; an invited one has thereby accepted. Raises `NotFound`."""
    async with parts.db.work(org_id) as work:
        await members.lock_members(work)
        member = await members.get_member(work, member_id)
        if member.status == "invited":
            await members.change_member(work, member.id, status="active")
        return await begin_here(work, parts, member, method=method, user_agent=user_agent)


async def begin_here(
    work: Work, parts: Parts, member: Member, *, method: Method, user_agent: str, **about: str
) -> Begun:
    """Begin a session within a transaction, for a member who has proved who they are; `about` goes into the audit log."""
    act_as(member.id)
    key = parts.keys.session_key
    session, cookie = await open_session(
        work, key, member.id, method=method, user_agent=user_agent, now=parts.clock.now()
    )
    await record(work, parts, "session.begun", session.id, member=member.id, method=method, **about)
    return Begun(session, member, cookie)


async def end_session(parts: Parts, org_id: str, session_id: str, *, caller: Caller) -> Session:
    """End a session: one's own, or as an admin anybody's. Raises `NotFound`, also for what one may not see."""
    async with parts.db.work(org_id) as work:
        session = await sessions.get_session(work, session_id)
        if session.member_id != caller.actor:
            caller.must_be("admin")
        if await sessions.end_session(work, session_id):
            await record(work, parts, "session.ended", session_id, member=session.member_id)
    return session


async def end_other_sessions(parts: Parts, signed_in: SignedIn) -> int:
    """End every session of whoever is signed in but this one; how many there were."""
    member, here = signed_in.member, signed_in.session
    async with parts.db.work(member.org_id) as work:
        count = await sessions.end_sessions_of(work, member.id, but=here.id)
        if count:
            await record(work, parts, "session.others_ended", here.id, member=member.id, count=count)
    return count


def session_row(session: Session) -> JsonRow:
    """A session, of which no secret is shown."""
    return {
        "id": session.id,
        "member_id": session.member_id,
        "method": session.method,
        "user_agent": session.user_agent,
        "created_at": moment(session.created_at),
        "seen_at": moment(session.seen_at),
        "expires_at": moment(session.expires_at),
    }


async def prune_sign_ins(parts: Parts) -> int:
    """Forget sessions, links and challenges that nobody can use any more, of all organizations; how many there were."""
    now = parts.clock.now()
    async with parts.db.system() as work:
        dead = await sessions.delete_dead_sessions(work, now=now, idle=IDLE)
        dead += await delete_old_challenges(work, now=now)
        return dead + await delete_old_links(work, now=now)


async def _make_first(work: Work, parts: Parts, email: str | None, name: str) -> Member:
    if email is None:
        raise Invalid("The first member needs an e-mail address")
    address, told = fold_email(email), check_name(name)
    if await members.count_active(work):
        raise Conflict("Somebody has signed in here already", advice="Ask them for an invitation.")
    member = await members.find_member(work, address)
    if member:
        await members.change_member(work, member.id, role=FIRST_ROLE, status="active", name=told or member.name)
    else:
        member = Member(new_id("mem"), work.org_id, address, told, FIRST_ROLE, "active", parts.clock.now())
        await members.add_member(work, member)
    act_as(member.id)
    await record(work, parts, "member.joined", member.id, email=address, role=FIRST_ROLE)
    return await members.get_member(work, member.id)


async def _welcome(work: Work, parts: Parts, link: SignInLink, name: str) -> Member:
    member = await members.get_member(work, link.member_id or "")
    if member.status == "removed":
        raise _spent()
    act_as(member.id)
    if member.status == "invited":
        told = check_name(name) or member.name
        await members.change_member(work, member.id, status="active", name=told)
        await record(work, parts, "member.joined", member.id, email=member.email, role=member.role)
    return member


def _org(token: str) -> str:
    org_id = org_of(token)
    if org_id is None:
        raise _spent()
    return org_id


def _hash(parts: Parts, token: str) -> bytes:
    return hash_token(parts.keys.session_key, LINK, token)


def _spent() -> LinkSpent:
    return LinkSpent("This link was used already, is too old, or was replaced by a newer one")

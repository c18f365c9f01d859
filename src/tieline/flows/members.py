"""Members: invited, given another role, removed, and let in by a link; each with an entry in the audit log.

Nobody does to another what that one's role would not let them do to themselves, and the last owner stays. Tieline sends no mail:
whoever invites hands the link over.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import cast

from tieline.access.actor import current_actor
from tieline.access.roles import ROLES, Caller, Role
from tieline.access.tokens import hash_token, new_token
from tieline.errors import Conflict, Invalid, NotFound
from tieline.flows.audit import record
from tieline.flows.findings import release_findings
from tieline.flows.owners import find_owner
from tieline.flows.parts import Parts
from tieline.flows.views import JsonRow, member_row
from tieline.ids import new_id
from tieline.store import members as store
from tieline.store.connections import pass_on
from tieline.store.db import Work
from tieline.store.members import Member
from tieline.store.passkeys import delete_passkeys_of
from tieline.store.sessions import end_sessions_of
from tieline.store.sign_in_links import Purpose, SignInLink, add_link, drop_links

LIFETIMES = {"first": timedelta(minutes=15), "sign_in": timedelta(minutes=15), "invitation": timedelta(days=3)}
"""How long a link can be used. An invitation has to reach somebody first."""
LINK = "sign-in link"
OWNERS = ("owner", "operator")

_EMAIL = re.compile(r"[^@\s\x00-\x20\x7f<>\"]{1,64}@[^@\s\x00-\x20\x7f<>\"]{1,189}")
_MAX_NAME = 200


@dataclass(frozen=True)
class NewLink:
    """A link just made; `token` is the secret end of its address and kept nowhere."""

    expires_at: datetime
    purpose: str
    token: str = field(repr=False)

    def url(self, base: str) -> str:
        """Its address under a base such as https://tieline.example."""
        return f"{base}/sign-in/link/{self.token}"


@dataclass(frozen=True)
class Invited:
    """A member, and the link by which they get in."""

    member: Member
    link: NewLink


@dataclass(frozen=True)
class Removed:
    """A former member, how many connections they looked after, and who does so now, if anybody."""

    member: Member
    connections: int
    heir: Member | None


async def invite_member(
    parts: Parts, org_id: str, *, email: str, role: Role, name: str = "", caller: Caller | None = None
) -> Invited:
    """Make somebody a member; raises `Conflict` if they are one, `NotAllowed` for a role above the caller's, `Invalid`."""
    address, told = fold_email(email), check_name(name)
    _check_role(role, caller)
    async with parts.db.work(org_id) as work:
        await store.lock_members(work)
        former = await store.find_member(work, address)
        if former and former.status != "removed":
            raise Conflict(f"{address} is a member already", advice="Make a sign-in link for them instead.")
        if former:
            member = replace(former, name=told or former.name, role=role, status="invited")
            await store.change_member(work, former.id, name=member.name, role=role, status="invited")
        else:
            member = Member(new_id("mem"), org_id, address, told, role, "invited", parts.clock.now())
            await store.add_member(work, member)
        link = await make_link(work, parts, member.id, "invitation")
        await record(work, parts, "member.invited", member.id, email=address, role=role)
    return Invited(member, link)


async def make_member_link(parts: Parts, org_id: str, member_id: str, *, caller: Caller | None = None) -> Invited:
    """A new link for a member; those made before stop working. Raises `NotFound`, `NotAllowed` for one above the caller."""
    async with parts.db.work(org_id) as work:
        member = await _present(work, member_id)
        if caller and caller.actor != member.id:
            _reach(caller, member.role)
        link = await make_link(work, parts, member.id, "invitation" if member.status == "invited" else "sign_in")
        await record(work, parts, "member.link_made", member.id, purpose=link.purpose, expires_at=link.expires_at)
    return Invited(member, link)


async def change_role(parts: Parts, org_id: str, member_id: str, role: Role, *, caller: Caller | None = None) -> Member:
    """Give a member another role; raises `NotFound`, `NotAllowed`, or `Conflict` for the last owner."""
    _check_role(role, caller)
    async with parts.db.work(org_id) as work:
        await store.lock_members(work)
        member = await _present(work, member_id)
        _reach(caller, member.role)
        if role not in OWNERS:
            await _keep_an_owner(work, member)
        if role != member.role:
            await store.change_member(work, member.id, role=role)
            await record(work, parts, "member.role_changed", member.id, former=member.role, role=role)
    return replace(member, role=role)


async def remove_member(
    parts: Parts, org_id: str, member_id: str, *, heir: str | None = None, caller: Caller | None = None
) -> Removed:
    """Let somebody in no more: their sessions end, and their links and passkeys are destroyed.

    The connections that they own go to the heir, or to nobody; their findings to nobody. Raises `NotFound`, `NotAllowed`, `Invalid` for an heir who is no
    other member, or `Conflict` for the last owner.
    """
    async with parts.db.work(org_id) as work:
        await store.lock_members(work)
        member = await _present(work, member_id)
        _reach(caller, member.role)
        await _keep_an_owner(work, member)
        await store.change_member(work, member.id, status="removed")
        follows = await find_owner(work, heir or "")
        passed = await pass_on(work, member.id, follows.id if follows else None, now=parts.clock.now())
        await drop_links(work, member.id)
        about = {
            "connections": passed,
            "findings": await release_findings(work, parts, member.id, actor=current_actor()),
            "heir": follows.id if follows else None,
            "sessions": await end_sessions_of(work, member.id),
            "passkeys": await delete_passkeys_of(work, member.id),
        }
        await record(work, parts, "member.removed", member.id, email=member.email, role=member.role, **about)
    return Removed(replace(member, status="removed"), len(passed), follows)


def removed_row(removed: Removed) -> JsonRow:
    """A former member, how many connections they looked after, and the member who does so now."""
    heir = removed.heir.id if removed.heir else None
    return member_row(removed.member) | {"connections": removed.connections, "heir": heir}


async def find_present(parts: Parts, org_id: str, email_or_id: str) -> Member:
    """The member with this address or id; raises `NotFound`."""
    async with parts.db.work(org_id) as work:
        if email_or_id.startswith("mem_"):
            return await _present(work, email_or_id)
        member = await store.find_member(work, fold_email(email_or_id))
    if member is None or member.status == "removed":
        raise NotFound(
            f"There is no member {email_or_id[:60]!r}", advice="`tieline members list` shows those there are."
        )
    return member


async def make_link(work: Work, parts: Parts, member_id: str | None, purpose: Purpose) -> NewLink:
    """A link for one purpose, in place of those that the member (or for nobody yet, the first) had."""
    await drop_links(work, member_id)
    now, token = parts.clock.now(), new_token(work.org_id)
    hash = hash_token(parts.keys.session_key, LINK, token)
    expires_at = now + LIFETIMES[purpose]
    link = SignInLink(new_id("link"), work.org_id, member_id, purpose, hash, now, current_actor(), expires_at)
    await add_link(work, link)
    return NewLink(expires_at, purpose, token)


def fold_email(email: str) -> str:
    """An address as it is kept and compared; raises `Invalid`."""
    folded = unicodedata.normalize("NFC", email.strip()).casefold()
    if not _EMAIL.fullmatch(folded) or not folded.isprintable():
        problem = {"field": "body.email", "problem": "must be an e-mail address such as anna@example.com"}
        raise Invalid("This is not an e-mail address", advice="Write it as anna@example.com.", fields=[problem])
    return folded


def check_name(name: str) -> str:
    """A person's name; raises `Invalid`."""
    told = " ".join(name.split())
    if len(told) > _MAX_NAME or not told.isprintable():
        problem = {"field": "body.name", "problem": f"must be at most {_MAX_NAME} characters that can be shown"}
        raise Invalid("This name cannot be kept", fields=[problem])
    return told


def _check_role(role: str, caller: Caller | None) -> None:
    if role not in ROLES:
        raise Invalid(f"There is no role {role[:20]!r}", advice=f"Roles: {', '.join(ROLES)}.")
    _reach(caller, role)


def _reach(caller: Caller | None, role: str) -> None:
    """Raises `NotAllowed` unless the caller may have to do with members, and with one of this role."""
    if caller:
        caller.must_be("admin")
        caller.must_be(cast("Role", role))


async def _present(work: Work, member_id: str) -> Member:
    member = await store.get_member(work, member_id)
    if member.status == "removed":
        raise NotFound(f"There is no member {member_id[:60]!r}")
    return member


async def _keep_an_owner(work: Work, member: Member) -> None:
    """Raises `Conflict` if without this member nobody could say who is owner."""
    if member.role in OWNERS and member.status == "active" and await store.count_active(work, *OWNERS) <= 1:
        raise Conflict("The last owner has to stay", advice="Make somebody else an owner first.")

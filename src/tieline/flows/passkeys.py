"""Passkeys: made by a member who is signed in, used to sign in, and removed; each with an entry in the audit log.

What a browser is to sign is kept here until it answers, for that browser alone, once, and for five minutes.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from tieline.access import passkeys as access
from tieline.access.passkeys import CounterWentBack, PasskeyRefused, Site, site_of
from tieline.access.roles import Caller, Role
from tieline.access.sessions import SignedIn
from tieline.access.tokens import hash_token
from tieline.errors import Conflict, Invalid, NotFound
from tieline.flows.audit import record
from tieline.flows.parts import Parts
from tieline.flows.sign_in import Begun, begin_here
from tieline.flows.views import JsonRow, moment
from tieline.ids import new_id
from tieline.store import members
from tieline.store import passkeys as store
from tieline.store.db import Work
from tieline.store.members import Member
from tieline.store.passkeys import Challenge, Passkey

MOST = 20
"""Passkeys that one member may have."""
LIFETIME = timedelta(seconds=access.SECONDS)

_ADDING, _SIGNING_IN = "passkey to be added", "passkey to sign in with"
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Asked:
    """What a browser is asked to sign, and the cookie that it must have when it answers."""

    options: dict[str, Any]
    cookie: str = field(repr=False)


async def begin_adding(parts: Parts, signed_in: SignedIn, *, name: str) -> dict[str, Any]:
    """What the browser of whoever is signed in is asked to make; raises `Invalid` for a name, `Conflict` if they have too many."""
    site, member = _need(parts), signed_in.member
    check_name(name)
    async with parts.db.work(member.org_id) as work:
        known = await store.list_passkeys(work, member_id=member.id)
    _check_count(len(known))
    challenge = await _new_challenge(parts, _ADDING, signed_in.session.id)
    return access.ask_to_make(site, member, signed_in.organization, challenge=challenge, known=known)


async def add_passkey(parts: Parts, signed_in: SignedIn, *, name: str, answer: str) -> Passkey:
    """Keep the passkey that the browser has made; raises `PasskeyRefused`, `Invalid`, or `Conflict` if it is in use or one too many."""
    site, member = _need(parts), signed_in.member
    told = check_name(name)
    challenge = await _take_challenge(parts, _ADDING, signed_in.session.id)
    made = access.check_made(site, answer, challenge=challenge)
    passkey = Passkey(
        id=new_id("pass"),
        org_id=member.org_id,
        member_id=member.id,
        name=told,
        credential_id=made.credential_id,
        public_key=made.public_key,
        counter=made.counter,
        transports=made.transports,
        backed_up=made.backed_up,
        created_at=parts.clock.now(),
    )
    async with parts.db.work(member.org_id) as work:
        await members.lock_members(work)
        _check_count(await store.count_passkeys(work, member.id))
        await store.add_passkey(work, passkey)
        await record(work, parts, "passkey.added", passkey.id, member=member.id, name=told, backed_up=made.backed_up)
    return passkey


async def begin_signing_in(parts: Parts) -> Asked:
    """What a browser in which nobody is signed in is asked to sign; raises `NotFound` where passkeys do not work."""
    site, cookie = _need(parts), secrets.token_urlsafe(32)
    challenge = await _new_challenge(parts, _SIGNING_IN, cookie)
    return Asked(access.ask_to_sign(site, challenge=challenge), cookie)


async def sign_in_by_passkey(parts: Parts, answer: str, *, cookie: str | None, user_agent: str) -> Begun:
    """Begin a session for the member whose passkey has signed what this browser was asked to.

    Raises `PasskeyRefused`; an answer that names a passkey of a member and does not hold is recorded.
    """
    site = _need(parts)
    challenge = await _take_challenge(parts, _SIGNING_IN, cookie)
    claim = access.read_claim(answer)
    async with parts.db.work(claim.org_id) as work:
        await members.lock_members(work)
        passkey = await store.find_passkey(work, claim.credential_id)
        member = await _owner(work, passkey, claim.member_id)
        if passkey is None or member is None:
            raise PasskeyRefused("The passkey was not accepted")
        try:
            use = access.check_signed(site, claim, passkey, challenge=challenge)
        except PasskeyRefused as error:
            refused = error
        else:
            now = parts.clock.now()
            await store.note_use(work, passkey.id, counter=use.counter, backed_up=use.backed_up, now=now)
            return await begin_here(work, parts, member, method="passkey", user_agent=user_agent, passkey=passkey.id)
        reason = "counter" if isinstance(refused, CounterWentBack) else "not_proved"
        await record(work, parts, "passkey.refused", passkey.id, member=member.id, reason=reason)
    raise refused


def passkey_row(passkey: Passkey) -> JsonRow:
    """A passkey, of which no key is shown."""
    return {
        "id": passkey.id,
        "member_id": passkey.member_id,
        "name": passkey.name,
        "backed_up": passkey.backed_up,
        "created_at": moment(passkey.created_at),
        "last_used_at": moment(passkey.last_used_at),
    }


async def remove_passkey(parts: Parts, org_id: str, passkey_id: str, *, caller: Caller) -> Passkey:
    """Make a passkey useless: one's own, or as an admin that of anybody whose role is no higher. Raises `NotFound`, `NotAllowed`."""
    async with parts.db.work(org_id) as work:
        passkey = await store.get_passkey(work, passkey_id)
        if passkey.member_id != caller.actor:
            caller.must_be("admin")
            caller.must_be(cast("Role", (await members.get_member(work, passkey.member_id)).role))
        if await store.delete_passkey(work, passkey_id):
            await record(work, parts, "passkey.removed", passkey_id, member=passkey.member_id, name=passkey.name)
    return passkey


def check_name(name: str) -> str:
    """What a member calls a passkey; raises `Invalid`."""
    told = " ".join(name.split())
    if not told or len(told) > _LONGEST_NAME or not told.isprintable():
        problem = {"field": "body.name", "problem": f"must have 1 to {_LONGEST_NAME} characters that can be shown"}
        raise Invalid(f"Give the passkey a name of at most {_LONGEST_NAME} characters", fields=[problem])
    return told


async def _owner(work: Work, passkey: Passkey | None, claimed: str) -> Member | None:
    """The member whose passkey it is, if it is the one whom the answer names and they are still one."""
    if passkey is None or passkey.member_id != claimed:
        return None
    member = await members.get_member(work, claimed)
    return member if member.status == "active" else None


async def _new_challenge(parts: Parts, use: str, browser: str) -> bytes:
    """32 random bytes for one browser, in place of those that it had."""
    challenge, until = secrets.token_bytes(32), parts.clock.now() + LIFETIME
    hash = hash_token(parts.keys.session_key, use, browser)
    async with parts.db.system() as work:
        await store.put_challenge(work, Challenge(new_id("chal"), hash, challenge, until))
    return challenge


async def _take_challenge(parts: Parts, use: str, browser: str | None) -> bytes:
    """The browser's challenge, used up whatever comes of it; raises `PasskeyRefused`."""
    hash = hash_token(parts.keys.session_key, use, browser or "")
    async with parts.db.system() as work:
        challenge = await store.take_challenge(work, hash, now=parts.clock.now())
    if challenge is None:
        raise PasskeyRefused("The five minutes are over, or this was begun in another browser", advice="Try again.")
    return challenge


def _need(parts: Parts) -> Site:
    site = site_of(parts.public_url)
    if site is None:
        raise NotFound("Passkeys do not work at this address", advice="They need https and a host with a name.")
    return site


def _check_count(count: int) -> None:
    if count >= MOST:
        raise Conflict(f"You have {MOST} passkeys already", advice="Remove one that you do not use any more.")

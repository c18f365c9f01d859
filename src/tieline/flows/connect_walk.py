"""The walk through a connect session: what a person who has its ticket does, a step at a time.

To look changes nothing. Whatever changes something uses the ticket up and gives the next, so of two who have the same one the first goes on
and the other is told so. The steps are kept on the server: a form that does not fit the step finds the person where they are.
Whoever made the session must still be allowed to, each time, and all is done in their name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tieline.access.actor import acting_as
from tieline.access.standing import must_still_be
from tieline.errors import Conflict, NotFound, ProviderError, RequestError, VaultError
from tieline.flows import authorize
from tieline.flows.apps import Availability, app_availability, app_fields
from tieline.flows.audit import record
from tieline.flows.connect import given_way, keep, read_credential, read_options
from tieline.flows.connect_sessions import LIFETIME, PATH
from tieline.flows.connect_tickets import hash_ticket, is_ticket, new_ticket, whose_ticket
from tieline.flows.parts import Parts
from tieline.flows.tickets import read_ticket, sign_in_expired, write_ticket
from tieline.flows.verify import prove
from tieline.flows.waiting import let_wait, note_refusal, open_waiting
from tieline.sdk.auth import Auth, Redirects
from tieline.sdk.provider import Provider
from tieline.stages.announce import announce_session
from tieline.store import connect_sessions as store
from tieline.store.attempts import get_attempt
from tieline.store.connect_sessions import ConnectSession
from tieline.store.connections import Connection, get_connection
from tieline.store.organizations import get_own_organization

MAX_TRIES = 30
SIGN_IN = f"{PATH}/sign-in"
WINDOW = f"{PATH}/window"
"""Where the window ends in which a person signed in, beside the frame."""

_BLANK: dict[str, Any] = {"found": None, "sealed": None, "key_id": None, "attempt_id": None}
_BACK = {"reads": "choose", "form": "reads", "away": "form", "account": "form"}


class SessionOver(RequestError):
    """A connect session has ended, or its time is up."""

    slug = "connect-session-over"
    status = 410
    advice = "Go back to where you came from and begin again."


class TicketUsed(RequestError):
    """A page of a connect session was sent twice, or its address opened again after it was used."""

    slug = "connect-ticket-used"
    status = 409
    advice = "Go on in the page that came after it, or begin again from where you came."


@dataclass(frozen=True)
class Walk:
    """A session and the ticket that its next page is to carry."""

    session: ConnectSession
    ticket: str = field(repr=False)


async def find(parts: Parts, ticket: str) -> ConnectSession:
    """The session that a ticket says it is of, whether or not it opens it; raises `NotFound`."""
    whose = whose_ticket(ticket)
    if whose is None:
        raise NotFound("There is no such connect session", advice=SessionOver.advice)
    async with parts.db.work(whose[0]) as work:
        return await store.get_session(work, whose[1])


def must_open(parts: Parts, session: ConnectSession, ticket: str) -> None:
    """Raises `SessionOver` or `TicketUsed` unless the ticket opens the session now."""
    status = session.status_at(parts.clock.now())
    fits = is_ticket(parts.keys.session_key, ticket, session.ticket_hash)
    if status not in store.ALIVE and not (status == "connected" and fits):
        raise SessionOver(f"This way to connect an account is over: it is {status.replace('_', ' ')}")
    if not fits:
        raise TicketUsed("This page was used already")


async def look(parts: Parts, ticket: str) -> ConnectSession:
    """The session as it stands for whoever has its ticket; raises `NotFound`, `SessionOver` or `TicketUsed`."""
    session = await find(parts, ticket)
    must_open(parts, session, ticket)
    return await _as_it_stands(parts, session)


@asynccontextmanager
async def going_on(parts: Parts, session: ConnectSession, ticket: str) -> AsyncIterator[Walk]:
    """Use the ticket up and go on in the name of whoever made the session.

    Raises `SessionOver`, `TicketUsed`, or `NotAllowed` if whoever made it may not any more.
    """
    key, now = parts.keys.session_key, parts.clock.now()
    following = new_ticket(session.org_id, session.id)
    before, after = hash_ticket(key, ticket), hash_ticket(key, following)
    async with parts.db.work(session.org_id) as work:
        await must_still_be(work, session.created_by, "admin", now=now)
        taken = await store.use_ticket(work, session.id, before, after, now=now, until=now + LIFETIME)
        with acting_as(session.created_by):
            if taken and session.status == "open":
                await record(work, parts, "connect_session.opened", session.id)
    if taken is None:
        must_open(parts, await find(parts, ticket), ticket)
        raise TicketUsed("This page was used already")
    with acting_as(session.created_by):
        yield Walk(await _as_it_stands(parts, taken), following)


async def choose(parts: Parts, session: ConnectSession, slug: str) -> ConnectSession:
    """Choose a provider; raises `NotFound` for one that is not offered."""
    if session.step != "choose":
        return session
    if slug not in offered(parts, session):
        raise NotFound("That is not among what can be connected here")
    return await _move(parts, session, provider=slug, slot=None, step="reads")


async def accept(parts: Parts, session: ConnectSession) -> ConnectSession:
    """Go on from what will be read, to the first way that can be taken."""
    if session.step != "reads":
        return session
    return await _move(parts, session, step="form", slot=session.slot or await _first_way(parts, session))


async def take_way(parts: Parts, session: ConnectSession, slot: str) -> ConnectSession:
    """Take another way to authenticate; raises `NotFound` for one that there is not."""
    if session.step != "form":
        return session
    if slot not in {auth.slot for auth in provider_of(parts, session).modes}:
        raise NotFound("There is no such way to connect")
    return await _move(parts, session, slot=slot, step="form", **_no_error())


async def give(
    parts: Parts, session: ConnectSession, options: Mapping[str, Any], credential: Mapping[str, Any]
) -> ConnectSession:
    """Try a credential, and let it wait if it works.

    Raises `Invalid` or `TooLarge` for what was filled in, and, noted in the session too, the error of the test call. A session is no
    place to try stolen keys in: after `MAX_TRIES` it is over.
    """
    if session.step != "form":
        return session
    provider = provider_of(parts, session)
    auth = given_way(provider, way_of(parts, session).slot)
    chosen, given = read_options(provider, options), read_credential(provider, auth, credential)
    if session.tries >= MAX_TRIES:
        await give_up(parts, session)
        raise SessionOver("This way to connect an account is over: too many credentials were tried")
    await _move(parts, session, tries=session.tries + 1)
    try:
        proven = await prove(parts, session.org_id, provider, auth, chosen, given)
        await let_wait(parts, session, proven)
    except (ProviderError, Conflict, VaultError) as error:
        await note_refusal(parts, session, error)
        raise
    return await _again(parts, session)


async def leave(
    parts: Parts, session: ConnectSession, options: Mapping[str, Any], *, ticket: str | None
) -> ConnectSession:
    """Begin a sign-in at the provider. With a ticket the person comes back by it, in the same window; else the page that they leave open goes on.

    Raises `Invalid`, `NotFound`, `Conflict` or `VaultError`.
    """
    if session.step != "form":
        return session
    wish = authorize.Wish(
        provider_of(parts, session).slug,
        way_of(parts, session).slot,
        options,
        connection_id=session.connection_id,
        session_id=session.id,
        back=parts.public_url + (f"{PATH}/{ticket}" if ticket else f"{WINDOW}?locale={session.locale or ''}"),
    )
    begun = await authorize.begin(parts, session.org_id, wish)
    return await _move(parts, session, step="away", attempt_id=begun.attempt.id, status="under_way", **_no_error())


def sign_in_address(parts: Parts, session: ConnectSession) -> str:
    """The path at which the sign-in begins that the session waits for."""
    return f"{SIGN_IN}/{write_ticket(parts.keys.state_key, session.org_id, session.attempt_id or '')}"


async def find_by_sign_in(parts: Parts, ticket: str) -> ConnectSession:
    """The session of a sign-in, by the ticket of that; raises `SignInLost` or `NotFound`."""
    org_id, attempt_id = read_ticket(parts.keys.state_key, ticket)
    async with parts.db.work(org_id) as work:
        attempt = await get_attempt(work, attempt_id)
        if attempt.session_id is None:
            raise NotFound("This sign-in is of no connect session")
        return await store.get_session(work, attempt.session_id)


async def confirm(parts: Parts, session: ConnectSession) -> ConnectSession:
    """Save what waits: the person has said that it is the account they mean.

    Raises `Conflict` if something else came between, with nothing saved, or `VaultError`.
    """
    if session.step != "account":
        return session
    try:
        proven = await open_waiting(parts, session)
        standing_id = (session.found or {}).get("standing_id")
        connection = await keep(parts, session.org_id, proven, connection_id=standing_id)
    except (Conflict, NotFound, ProviderError, VaultError) as error:
        await _move(parts, session, **_BLANK)
        await note_refusal(parts, session, error)
        raise
    async with parts.db.work(session.org_id) as work:
        await store.note_connected(work, session.id, connection.id)
        await announce_session(work, session, "connected", now=parts.clock.now(), connection_id=connection.id)
        await record(work, parts, "connect_session.connected", session.id, connection_id=connection.id)
    return await _again(parts, session)


async def go_back(parts: Parts, session: ConnectSession) -> ConnectSession:
    """Go a step back; what waits is destroyed, and a sign-in that is under way counts no more."""
    to = _BACK.get(session.step, session.step)
    if to == "choose" and len(offered(parts, session)) == 1:
        return session
    return await _move(parts, session, step=to, status="under_way", **_BLANK, **_no_error())


async def give_up(parts: Parts, session: ConnectSession) -> ConnectSession:
    """End the session because the person does not want to connect."""
    now = parts.clock.now()
    async with parts.db.work(session.org_id) as work:
        if await store.end_session(work, session.id, "cancelled", now=now):
            await announce_session(work, session, "cancelled", now=now)
            await record(work, parts, "connect_session.cancelled", session.id)
    return await _again(parts, session)


async def outcome(parts: Parts, session: ConnectSession) -> Connection | None:
    """The connection that came of a session, if one did."""
    if session.connected_id is None:
        return None
    async with parts.db.work(session.org_id) as work:
        return await get_connection(work, session.connected_id)


async def organization_of(parts: Parts, session: ConnectSession) -> str:
    """The name of the organization that the account is to be connected to."""
    async with parts.db.work(session.org_id) as work:
        return (await get_own_organization(work)).name


async def lacking_app(parts: Parts, session: ConnectSession, auth: Auth) -> Availability | None:
    """The app that a way needs and that nobody has set up, if so."""
    if not app_fields(auth):
        return None
    mine = (session.provider, auth.slot)
    found = await app_availability(parts, session.org_id)
    return next((one for one in found if (one.provider, one.auth.slot) == mine and not one.available), None)


def offered(parts: Parts, session: ConnectSession) -> dict[str, Provider[Any]]:
    """The providers to choose from, by slug, in the order of their names."""
    every = parts.catalog.providers
    mine = [every[slug] for slug in session.providers or every if slug in every]
    return {one.slug: one for one in sorted(mine, key=lambda one: one.name.lower())}


def provider_of(parts: Parts, session: ConnectSession) -> Provider[Any]:
    """The provider that was chosen; raises `NotFound` if there is none, or it is not installed any more."""
    return parts.catalog.provider(session.provider or "")


def way_of(parts: Parts, session: ConnectSession) -> Auth:
    """The way that was chosen, by default the recommended one."""
    return provider_of(parts, session).mode(session.slot)


def redirects(auth: Auth) -> bool:
    """Whether a person goes to the provider on this way."""
    return isinstance(auth, Redirects)


async def _first_way(parts: Parts, session: ConnectSession) -> str:
    """The recommended way, unless it needs an app that nobody has set up and another does not."""
    ways = provider_of(parts, session).modes
    able = [auth.slot for auth in ways if await lacking_app(parts, session, auth) is None]
    return (able or [ways[0].slot])[0]


async def _as_it_stands(parts: Parts, session: ConnectSession) -> ConnectSession:
    """The session as the person is to find it: one that waits for a sign-in of which nothing comes any more is back at the form."""
    if session.step != "away" or session.attempt_id is None:
        return session
    async with parts.db.work(session.org_id) as work:
        attempt = await get_attempt(work, session.attempt_id)
    status, late = attempt.status_at(parts.clock.now()), sign_in_expired()
    if status not in {"expired", "failed"}:
        return session
    slug, told, advice = late.slug, late.message, late.what_to_do
    if status == "failed" and attempt.error_slug:  # and whoever noted it did not get to tell the session
        slug, told, advice = attempt.error_slug, attempt.error_message or "", ""
    return replace(session, step="form", status="failed", error_slug=slug, error_message=told, error_advice=advice)


async def _move(parts: Parts, session: ConnectSession, **values: Any) -> ConnectSession:
    async with parts.db.work(session.org_id) as work:
        if not await store.move_session(work, session.id, now=parts.clock.now(), **values):
            raise SessionOver("This way to connect an account has ended meanwhile")
    return await _again(parts, session)


async def _again(parts: Parts, session: ConnectSession) -> ConnectSession:
    async with parts.db.work(session.org_id) as work:
        return await store.get_session(work, session.id)


def _no_error() -> dict[str, None]:
    return {"error_slug": None, "error_message": None, "error_advice": None}

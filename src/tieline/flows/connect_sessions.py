"""Connect sessions, from the server's side: made for a person to connect an account, looked at, cancelled, forgotten."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from tieline.access.actor import current_actor
from tieline.errors import Conflict, Invalid
from tieline.flows.audit import record
from tieline.flows.connect import read_options
from tieline.flows.connect_tickets import hash_ticket, new_ticket
from tieline.flows.parts import Parts
from tieline.flows.returns import check_return, origin_of
from tieline.flows.states import live
from tieline.flows.views import JsonRow, moment
from tieline.ids import new_id
from tieline.stages.announce import announce_session
from tieline.store import connect_sessions as store
from tieline.store.connect_sessions import ConnectSession

LIFETIME: Final = timedelta(minutes=30)
"""To open it, and from then on to finish."""

PATH: Final = "/connect-session"
MAX_ORIGINS: Final = 20
Locale = Literal["en", "de"]
Theme = Literal["auto", "light", "dark"]

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_ORIGIN = re.compile(rf"https://{_LABEL}(\.{_LABEL})*(:\d{{1,5}})?|http://localhost(:\d{{1,5}})?")


@dataclass(frozen=True)
class Offer:
    """What a person is to be offered: any provider, unless some are named.

    `origins` are the sites whose pages may frame the session and hear of it. `options` fill in the form of the one provider that there is.
    `connection_id` is a connection that is to get a new credential. `return_to` is where the link at the end leads.
    """

    providers: Sequence[str] = ()
    origins: Sequence[str] = ()
    locale: Locale | None = None
    theme: Theme = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    connection_id: str | None = None
    return_to: str | None = None


@dataclass(frozen=True)
class Made:
    """A session, with what opens it and the address that holds it; neither can be had again."""

    session: ConnectSession
    token: str = field(repr=False)
    url: str = field(repr=False)


async def create_session(parts: Parts, org_id: str, offer: Offer) -> Made:
    """Make a session; raises `Invalid`, `NotFound` or `Conflict`."""
    offer = await _reconnecting(parts, org_id, offer) if offer.connection_id else offer
    providers = _checked_providers(parts, offer.providers)
    offered = providers or list(parts.catalog.providers)
    only = offered[0] if len(offered) == 1 else None
    session_id, now = new_id("cs"), parts.clock.now()
    token = new_ticket(org_id, session_id)
    session = ConnectSession(
        id=session_id,
        org_id=org_id,
        status="open",
        step="reads" if only else "choose",
        ticket_hash=hash_ticket(parts.keys.session_key, token),
        providers=providers,
        origins=checked_origins(offer.origins),
        theme=offer.theme,
        locale=offer.locale,
        options=_checked_options(parts, only, offer.options),
        connection_id=offer.connection_id,
        return_to=check_return(parts, offer.return_to),
        provider=only,
        created_by=current_actor(),
        created_at=now,
        expires_at=now + LIFETIME,
    )
    async with parts.db.work(org_id) as work:
        await store.add_session(work, session)
        told = {"providers": providers, "origins": session.origins, "connection_id": session.connection_id}
        await record(work, parts, "connect_session.created", session_id, **told)
    return Made(session, token, f"{parts.public_url}{PATH}/{token}")


async def cancel_session(parts: Parts, org_id: str, session_id: str) -> ConnectSession:
    """End a session that is not over; raises `NotFound` or `Conflict`."""
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        session = await store.get_session(work, session_id, lock=True)
        if not await store.end_session(work, session_id, "cancelled", now=now):
            raise Conflict(f"The session is {session.status_at(now)} already", advice="There is nothing to cancel.")
        await announce_session(work, session, "cancelled", now=now)
        await record(work, parts, "connect_session.cancelled", session_id)
        return await store.get_session(work, session_id)


async def prune_sessions(parts: Parts) -> int:
    """Destroy what waits in sessions whose time is up, and forget those that ended a week ago; how many there were."""
    now = parts.clock.now()
    async with parts.db.system() as work:
        return await store.destroy_overdue(work, now=now) + await store.delete_old_sessions(work, now=now)


def session_row(session: ConnectSession, *, now: datetime) -> JsonRow:
    """A session, without what opens it. `connection_id` is the outcome."""
    reason = {"slug": session.error_slug, "message": session.error_message} if session.error_slug else None
    return {
        "id": session.id,
        "status": session.status_at(now),
        "reason": reason,
        "provider": session.provider,
        "connection_id": session.connected_id,
        "reconnects": session.connection_id,
        "providers": list(session.providers),
        "origins": list(session.origins),
        "locale": session.locale,
        "theme": session.theme,
        "return_to": session.return_to,
        "created_at": moment(session.created_at),
        "opened_at": moment(session.opened_at),
        "expires_at": moment(session.expires_at),
    }


def checked_origins(given: Sequence[str]) -> list[str]:
    """The origins of those who may frame a session, each once; raises `Invalid` for all but plain `https` origins and localhost.

    They stand in a header and are where messages go: a wildcard, a path or another spelling is refused, not mended.
    """
    if len(given) > MAX_ORIGINS:
        raise Invalid(f"There are over {MAX_ORIGINS} origins", fields=[{"field": "origins", "problem": "are too many"}])
    wrong = [
        {"field": f"origins.{number}", "problem": "is not an origin"}
        for number, one in enumerate(given)
        if not _ORIGIN.fullmatch(one) or origin_of(one) != one
    ]
    if wrong:
        advice = "Give https://app.example or https://app.example:8443, in lower case; http for localhost only."
        raise Invalid(f"{len(wrong)} of the origins are not exact", advice=advice, fields=wrong)
    return list(dict.fromkeys(given))


async def _reconnecting(parts: Parts, org_id: str, offer: Offer) -> Offer:
    """The offer narrowed down to its connection: that provider alone, and the options as they stand."""
    async with parts.db.work(org_id) as work:
        connection = await live(work, str(offer.connection_id))
    if set(offer.providers) - {connection.provider}:
        wrong = [{"field": "connection_id", "problem": "is of another provider"}]
        raise Invalid(f"{connection.name} is not a connection to one of these providers", fields=wrong)
    return replace(offer, providers=[connection.provider], options={**connection.options, **offer.options})


def _checked_providers(parts: Parts, given: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(parts.catalog.provider(slug).slug for slug in given))


def _checked_options(parts: Parts, slug: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options to begin with, of which some may be missing still; raises `Invalid`."""
    if not given:
        return {}
    if slug is None:
        wrong = [{"field": "options", "problem": "are for one provider"}]
        raise Invalid("Options can be given where there is just one provider", fields=wrong)
    try:
        read_options(parts.catalog.provider(slug), given)
    except Invalid as error:
        told = [(one, str(one["field"]).partition(".")[2].partition(".")[0]) for one in error.details.get("fields", ())]
        if wrong := [one for one, name in told if name in given or name == "…"]:
            raise Invalid("Some of the options cannot be taken", advice=error.what_to_do, fields=wrong) from None
    return dict(given)

"""The pages of a connect session, a step at a time: choose, what is read, sign in or fill in, which account, done.

`GET` shows where the session stands and changes nothing, for programs that look at links come too. `POST` carries the ticket of the page
before, uses it up, takes one step, and answers with the next page and its ticket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from tieline.connect.reading import reading_of
from tieline.connect.route import ConnectRoute, Visit
from tieline.errors import (
    Conflict,
    Invalid,
    NotFound,
    ProviderError,
    TielineError,
    TooLarge,
    VaultError,
)
from tieline.flows import connect_walk as walk
from tieline.flows.connect_sessions import PATH
from tieline.flows.context import external_id
from tieline.flows.issuer import subject_of
from tieline.flows.returns import with_result
from tieline.flows.setup import way_row
from tieline.sdk.auth import Auth
from tieline.sdk.provider import Provider
from tieline.store.connect_sessions import ALIVE, ConnectSession
from tieline.web.form import read_form
from tieline.web.forms import Field, errors_of, fields_of, read_values
from tieline.web.pages.catalogue import plural, way_name

router = APIRouter(route_class=ConnectRoute)

_TOLD_ON_THE_PAGE = (Invalid, TooLarge, Conflict, NotFound, ProviderError, VaultError)


@dataclass(frozen=True)
class Given:
    """What a form held when it has to be shown again, and what was wrong with it."""

    options: Mapping[str, Any] = field(default_factory=dict)
    credential: Mapping[str, Any] = field(default_factory=dict, repr=False)
    error: TielineError | None = None


@dataclass(frozen=True)
class Trouble:
    """Why a try failed: what kind it is, for words of our own, and the words that the provider or Tieline has for it."""

    slug: str
    message: str
    advice: str


@router.get(f"{PATH}/{{ticket}}")
async def show_session(request: Request, ticket: str) -> Response:
    """Show where the session stands, to whoever has its ticket."""
    visit = await _find(request, ticket)
    return await _show(visit.now_at(await walk.look(visit.parts, ticket), ticket))


@router.post(PATH)
async def go_on(request: Request) -> Response:
    """Take the step that the form asks for."""
    form = await read_form(request)
    found = await _find(request, form.get("ticket"))
    asked = form.get("do")
    async with walk.going_on(found.parts, _known(found), form.get("ticket")) as taken:
        visit = Visit(request, found.parts, taken.session, taken.ticket, form)
        given = Given()
        try:
            moved = await _STEPS[asked](visit) if asked in _STEPS else taken.session
        except _TOLD_ON_THE_PAGE as error:
            given = _given(visit, error)
            moved = await walk.look(visit.parts, taken.ticket)
        return await _show(visit.now_at(moved), given)


@router.post(f"{PATH}/status")
async def tell_status(request: Request) -> Response:
    """Say at which step the session is, for a page that waits for a sign-in in another window."""
    form = await read_form(request)
    visit = await _find(request, form.get("ticket"))
    return JSONResponse({"step": (await walk.look(visit.parts, form.get("ticket"))).step})


async def _choose(visit: Visit) -> ConnectSession:
    return await walk.choose(visit.parts, _known(visit), visit.form.get("provider"))


async def _accept(visit: Visit) -> ConnectSession:
    return await walk.accept(visit.parts, _known(visit))


async def _take_way(visit: Visit) -> ConnectSession:
    return await walk.take_way(visit.parts, _known(visit), visit.form.get("by"))


async def _give(visit: Visit) -> ConnectSession:
    options, credential = _entered(visit)
    return await walk.give(visit.parts, _known(visit), options, credential)


async def _leave(visit: Visit) -> ConnectSession:
    options, _ = _entered(visit)
    ticket = None if visit.framed else visit.ticket
    return await walk.leave(visit.parts, _known(visit), options, ticket=ticket)


async def _confirm(visit: Visit) -> ConnectSession:
    return await walk.confirm(visit.parts, _known(visit))


async def _go_back(visit: Visit) -> ConnectSession:
    return await walk.go_back(visit.parts, _known(visit))


async def _give_up(visit: Visit) -> ConnectSession:
    return await walk.give_up(visit.parts, _known(visit))


_STEPS: dict[str, Callable[[Visit], Awaitable[ConnectSession]]] = {
    "choose": _choose,
    "accept": _accept,
    "way": _take_way,
    "give": _give,
    "leave": _leave,
    "confirm": _confirm,
    "back": _go_back,
    "cancel": _give_up,
}
"""By what a form's `do` says. Whatever else it says, such as `look` or `search`, shows the page as it stands."""


async def _show(visit: Visit, given: Given | None = None) -> Response:
    """The page of the step at which the session is."""
    session, given = _known(visit), given or Given()
    if session.status not in ALIVE:
        return await _show_end(visit)
    context = await _PAGES[session.step](visit, given)
    trouble = _trouble(session, given)
    return visit.show(
        f"{session.step}.html",
        status=given.error.status if given.error else 200,
        step="form" if session.step == "away" else session.step,
        steps=steps_of(visit),
        trouble=trouble,
        tell={"tieline": "failed", "reason": trouble.slug} if trouble else None,
        **context,
    )


async def _show_end(visit: Visit) -> Response:
    """What became of the session, and the way back to where the person came from."""
    session = _known(visit)
    connection = await walk.outcome(visit.parts, session)
    back = session.return_to
    if connection is None:
        back = with_result(back, error="cancelled", session=session.id) if back else None
        return visit.show("cancelled.html", step=None, back=back, tell={"tieline": "cancelled"})
    told = {"connection": connection.id, "provider": connection.provider, "account": connection.account_name}
    back = with_result(back, connected="1", connection=connection.id, session=session.id) if back else None
    name = visit.parts.catalog.provider(connection.provider).name
    return visit.show(
        "done.html",
        step="done",
        steps=steps_of(visit),
        connection=connection,
        name=name,
        back=back,
        tell={"tieline": "connected", **told},
    )


async def _choice(visit: Visit, _given: Given) -> dict[str, Any]:
    sought = visit.form.get("q").strip()[:100]
    parts = sought.lower().split()
    found = [
        one
        for one in walk.offered(visit.parts, _known(visit)).values()
        if all(part in f"{one.name} {one.slug} {one.description} {one.category}".lower() for part in parts)
    ]
    return {"providers": found, "sought": sought}


async def _reads(visit: Visit, _given: Given) -> dict[str, Any]:
    provider, auth = _chosen(visit)
    organization = await walk.organization_of(visit.parts, _known(visit))
    reading = reading_of(visit.parts.catalog, provider, auth)
    kinds = {kind: visit.words.get(f"kinds.{kind}", plural(kind)) for one in reading.permissions for kind in one.kinds}
    unread = [visit.words.get(f"kinds.{kind}", plural(kind)) for kind in reading.unread]
    return {
        "provider": provider,
        "reading": reading,
        "kinds": kinds,
        "unread": unread,
        "organization": organization,
        "several": _several(visit),
    }


async def _form(visit: Visit, given: Given) -> dict[str, Any]:
    session, (provider, auth) = _known(visit), _chosen(visit)
    way = way_row(
        provider,
        auth,
        public_url=visit.parts.public_url,
        external_id=external_id(session.org_id, provider.slug),
        subject=subject_of(session.org_id),
    )
    options = _fields(provider.options.model_json_schema(), "options", {**session.options, **given.options}, given)
    credential = _fields(way["credential"] or {}, "credential", given.credential, given)
    return {
        "provider": provider,
        "auth": auth,
        "way": way,
        "ways": [(one.slot, _way_name(visit, provider, one)) for one in provider.modes],
        "way_name": _way_name(visit, provider, auth),
        "fields": [*options, *credential],
        "in_fields": any(one.problem for one in (*options, *credential)),
        "lacking": await walk.lacking_app(visit.parts, session, auth),
        "redirects": walk.redirects(auth),
    }


async def _away(visit: Visit, _given: Given) -> dict[str, Any]:
    provider, _ = _chosen(visit)
    address = visit.at(walk.sign_in_address(visit.parts, _known(visit)))
    return {"provider": provider, "address": address, "refresh": visit.at(f"{PATH}/{visit.ticket}")}


async def _account(visit: Visit, _given: Given) -> dict[str, Any]:
    session, (provider, _) = _known(visit), _chosen(visit)
    organization = await walk.organization_of(visit.parts, session)
    return {"provider": provider, "found": session.found, "organization": organization}


_PAGES: dict[str, Callable[[Visit, Given], Awaitable[dict[str, Any]]]] = {
    "choose": _choice,
    "reads": _reads,
    "form": _form,
    "away": _away,
    "account": _account,
}


async def _find(request: Request, ticket: str) -> Visit:
    """The session that a ticket says it is of, kept for the page that may have to tell of an error."""
    parts = request.app.state.parts
    session = await walk.find(parts, ticket)
    request.state.connect_session = session
    return Visit(request, parts, session)


def steps_of(visit: Visit) -> list[str]:
    """The steps of a session, by name; there is none to choose where there is no choice."""
    return [*(["choose"] if _several(visit) else []), "reads", "form", "account", "done"]


def _known(visit: Visit) -> ConnectSession:
    if visit.session is None:
        raise TypeError("a page of no session")
    return visit.session


def _chosen(visit: Visit) -> tuple[Provider[Any], Auth]:
    session = _known(visit)
    return walk.provider_of(visit.parts, session), walk.way_of(visit.parts, session)


def _several(visit: Visit) -> bool:
    return len(walk.offered(visit.parts, _known(visit))) > 1


def _entered(visit: Visit) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options and the credential that the form holds; none where no provider was chosen yet."""
    if _known(visit).provider is None:
        return {}, {}
    provider, auth = _chosen(visit)
    schema = {} if walk.redirects(auth) else auth.credential.model_json_schema()
    options = read_values(provider.options.model_json_schema(), visit.form, prefix="options.")
    return options, read_values(schema, visit.form, prefix="credential.")


def _given(visit: Visit, error: TielineError) -> Given:
    return Given(*_entered(visit), error)


def _fields(schema: Mapping[str, Any], part: str, values: Mapping[str, Any], given: Given) -> list[Field]:
    """The fields of one part of the form, `options` or `credential`, with what is wrong with each."""
    told = given.error.details.get("fields", ()) if isinstance(given.error, Invalid) else ()
    mine = [one for one in told if str(one["field"]).startswith(f"{part}.")]
    return fields_of(schema, values=values, problems=errors_of(Invalid("", fields=mine)), prefix=f"{part}.")


def _trouble(session: ConnectSession, given: Given) -> Trouble | None:
    """Why the last try failed. What only an operator could do is not told to whoever connects an account."""
    error = given.error
    if error is None and session.error_slug is None:
        return None
    slug = error.slug if error else str(session.error_slug)
    if slug in {VaultError.slug, TielineError.slug}:
        return Trouble(slug, "", "")
    if error:
        return Trouble(slug, error.message, error.what_to_do)
    return Trouble(slug, session.error_message or "", session.error_advice or "")


def _way_name(visit: Visit, provider: Provider[Any], auth: Auth) -> str:
    return visit.words.get(f"ways.{auth.slot}", way_name(provider, auth), name=provider.name)

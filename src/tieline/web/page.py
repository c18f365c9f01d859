"""The page: who is signed in, in which organization, how far they reach, and how a template is shown to them.

A route takes one of `AnyPage`, `MemberPage`, `AdminPage`, `OwnerPage` or `OperatorPage`: whoever does not reach so far gets the
no-permission page, whoever is not signed in is sent to sign in. A route that changes something is a POST; by the time that it has
its page, the form was read and proved to come from this session, and is `page.form`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tieline import log
from tieline.access.actor import act_as
from tieline.access.roles import ROLES, Caller, Role
from tieline.access.sessions import SignedIn, check_session, cookie_name
from tieline.errors import NotAuthenticated, RequestError
from tieline.flows.parts import Parts
from tieline.web.aside import look_aside, whose_form
from tieline.web.cookies import is_secure, keep
from tieline.web.files import address_of
from tieline.web.flash import COOKIE as FLASH
from tieline.web.flash import read_flash, write_flash
from tieline.web.form import CSRF_FIELD, Form, read_form
from tieline.web.navigation import NAVIGATION, Item
from tieline.web.route import SAFE, FormRefused
from tieline.web.templating import render

THEME = "tieline_theme"
THEMES = ("auto", "light", "dark")
ORGANIZATION_HEADER = "Tieline-Organization"
"""By which script says whose page it is a part of that it asks for."""


class OfAnother(RequestError):
    """A page of one organization asked for something after its browser had been switched to another."""

    slug = "of-another-organization"
    status = 409
    advice = "Go on in the organization that you are in, or switch back to the other one first."


@dataclass(frozen=True)
class ApiCall:
    """The API call that gives what a page shows."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"

    def command(self, public_url: str) -> str:
        """The call as a command for a shell."""
        url = f"{public_url}{self.path}" + (f"?{urlencode(self.query)}" if self.query else "")
        method = "" if self.method == "GET" else f"-X {self.method} "
        return f"curl {method}-H \"X-API-Key: $TIELINE_API_KEY\" '{url}'"


@dataclass(frozen=True)
class Visit:
    """A visit to a page by somebody who need not be signed in; `beside` is whom else this browser has sessions of, elsewhere."""

    request: Request = field(repr=False)
    parts: Parts = field(repr=False)
    form: Form = field(default_factory=Form)
    signed_in: SignedIn | None = None
    beside: Sequence[SignedIn] = ()

    @property
    def now(self) -> datetime:
        """The present time."""
        return self.parts.clock.now()

    @property
    def csrf(self) -> str:
        """What every form carries."""
        return self.signed_in.csrf if self.signed_in else ""

    @property
    def theme(self) -> str:
        """`auto`, `light` or `dark`."""
        chosen = self.request.cookies.get(THEME, "auto")
        return chosen if chosen in THEMES else "auto"

    @property
    def path(self) -> str:
        """The path of this page within the console."""
        return self.request.url.path.removeprefix(self.request.scope.get("root_path", "")) or "/"

    def at(self, path: str, **query: str | None) -> str:
        """An address of the console, wherever it is mounted; a query value of `None` is left out."""
        given = {name: value for name, value in query.items() if value is not None}
        return f"{self.request.scope.get('root_path', '')}{path}" + (f"?{urlencode(given)}" if given else "")

    def here(self, **query: str | None) -> str:
        """This page's address with some of its query changed; `None` takes a value away."""
        return self.at(self.path, **{**dict(self.request.query_params.items()), **query})

    def file(self, name: str) -> str:
        """The address of a static file."""
        return self.at(f"/static/{address_of(name)}")

    def may(self, role: Role) -> bool:
        """Whether the person's role reaches so far."""
        return self.signed_in is not None and ROLES.index(self.signed_in.caller.role) >= ROLES.index(role)

    @property
    def navigation(self) -> list[Item]:
        """Where the person can go from here."""
        return [one for one in NAVIGATION if self.may(one.role)]

    def show(self, template: str, *, status: int = 200, api: ApiCall | None = None, **context: Any) -> Response:
        """A template as the answer. It is given `page` and the context; a flash that waits is told and gone."""
        told = read_flash(self.parts.keys.session_key, self.request.cookies.get(FLASH))
        command = api.command(self.parts.public_url) if api else None
        answer = HTMLResponse(render(template, page=self, flash=told, api=api, command=command, **context), status)
        if FLASH in self.request.cookies:
            answer.delete_cookie(FLASH, path="/")
        return answer

    def go(self, path: str, told: str | None = None) -> Response:
        """Send the browser to another page of the console (303), which tells this sentence."""
        answer = RedirectResponse(self.at(path), 303)
        if told:
            self.keep(answer, FLASH, write_flash(self.parts.keys.session_key, told), seconds=60)
        return answer

    def keep(self, answer: Response, name: str, value: str, *, seconds: int) -> None:
        """Set a cookie that scripts cannot read and other sites' forms do not send."""
        keep(self.parts, answer, name, value, seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class Page(Visit):
    """A visit by a member who is signed in."""

    signed_in: SignedIn

    @property
    def org_id(self) -> str:
        """The organization that all of the page is about."""
        return self.signed_in.organization.id

    @property
    def caller(self) -> Caller:
        """The member, as flows ask for whoever wants something."""
        return self.signed_in.caller


async def open_visit(request: Request) -> Visit:
    """A visit, with whoever is signed in if anybody is. Its form proves nothing: for signing in only."""
    parts: Parts = request.app.state.parts
    form = await read_form(request) if request.method not in SAFE else Form()
    if not request.cookies:
        return Visit(request, parts, form)
    beside = [one.signed_in for one in await look_aside(request, parts)]
    return Visit(request, parts, form, await _who(request, parts), beside)


async def open_page(request: Request) -> Page:
    """The page of whoever is signed in; raises `NotAuthenticated`, or `FormRefused` for a form that is not theirs."""
    parts: Parts = request.app.state.parts
    signed_in = await _check(request, parts)
    act_as(signed_in.member.id)
    log.add(org_id=signed_in.organization.id, actor=signed_in.member.id)
    beside = [one.signed_in for one in await look_aside(request, parts)]
    _refuse_parts_of_others(request, signed_in, beside)
    page = Page(request, parts, signed_in=signed_in, beside=beside)
    request.state.page = page  # for the page that tells what went wrong, if something does
    if request.method in SAFE:
        return page
    form = await read_form(request)
    sender = whose_form(form.get(CSRF_FIELD), [signed_in, *beside])
    if sender is None:
        raise FormRefused("This form is older than your session, or did not come from it")
    if sender is not signed_in:
        raise OfAnother(
            f"This page was of {sender.organization.name}, and this browser is in {signed_in.organization.name} now, so nothing was done"
        )
    return replace(page, form=form)


def _refuse_parts_of_others(request: Request, signed_in: SignedIn, beside: Sequence[SignedIn]) -> None:
    """A page that stands open while the browser was switched elsewhere must not fetch parts of what it is not about."""
    of = request.headers.get(ORGANIZATION_HEADER, signed_in.organization.id)
    if of != signed_in.organization.id:
        name = next((one.organization.name for one in beside if one.organization.id == of), "another organization")
        raise OfAnother(f"This page was of {name}, and this browser is in {signed_in.organization.name} now")


def page_for(role: Role) -> Callable[[Page], Awaitable[Page]]:
    """A dependency that gives the page if the person's role reaches so far; raises `NotAllowed`."""

    async def reach(page: Annotated[Page, Depends(open_page)]) -> Page:
        page.caller.must_be(role)
        return page

    return reach


def session_cookie(visit: Visit) -> str | None:
    """The plain value by which the browser says whose session it has."""
    return visit.request.cookies.get(cookie_name(secure=is_secure(visit.parts)))


async def _check(request: Request, parts: Parts) -> SignedIn:
    plain = request.cookies.get(cookie_name(secure=is_secure(parts)))
    return await check_session(parts.db, parts.keys.session_key, plain, now=parts.clock.now())


async def _who(request: Request, parts: Parts) -> SignedIn | None:
    try:
        return await _check(request, parts)
    except NotAuthenticated:
        return None


AnyVisit = Annotated[Visit, Depends(open_visit)]
AnyPage = Annotated[Page, Depends(page_for("auditor"))]
MemberPage = Annotated[Page, Depends(page_for("member"))]
AdminPage = Annotated[Page, Depends(page_for("admin"))]
OwnerPage = Annotated[Page, Depends(page_for("owner"))]
OperatorPage = Annotated[Page, Depends(page_for("operator"))]

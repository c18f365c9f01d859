"""Sign-ins at a provider: begun by an API key, walked by a browser, and asked after by the key again.

The browser has no key. What lets it in is the ticket of the address that it opens, once the person there has agreed, and from then
on its cookie. Nothing of the
query that it comes back with is logged or told.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Path
from pydantic import Field
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tieline.api.body import Given, JsonBody, read_body
from tieline.api.caller import Admin, Auditor, PartsOf
from tieline.api.describe import documented
from tieline.api.page import ask_page, onward_page, page_response, show_page
from tieline.api.schemas import (
    SLUG,
    Name,
    ProviderSlug,
    Reason,
    Row,
    Way,
    answer,
    id_in_path,
    id_of,
    time_of,
)
from tieline.api.sign_in_cookie import keep_cookie, read_cookie
from tieline.errors import TielineError
from tieline.flows import authorize as flow
from tieline.flows import consent
from tieline.flows.authorize import Finished, Onward
from tieline.flows.returns import MAX_LENGTH, with_result
from tieline.flows.setup import attempt_row
from tieline.flows.tickets import lost
from tieline.store.attempts import get_attempt

router = APIRouter(tags=["oauth"])


class Attempt(Row):
    """A person's way to the provider and back."""

    id: str = id_of("att", "The attempt.")
    provider: ProviderSlug
    kind: str = Field(description="The way, by its slot.", examples=["oauth2"])
    status: str = Field(
        description="`pending`, `validating`, `connected`, `verified` (its credential waits in its connect session), `failed` or `expired`.",
        examples=["connected"],
    )
    reason: Reason | None = Field(description="Why it failed.", examples=[None])
    connection_id: str | None = id_of("conn", "The connection that came of it.")
    reconnects: str | None = id_of("conn", "The connection that it is to give a new credential.")
    created_at: str = time_of("When it was begun.")
    expires_at: str = time_of("Until when it must be finished.")


class BegunAttempt(Attempt):
    """An attempt, and where a browser begins it."""

    url: str = Field(
        description="The address to open, once, in the person's browser.",
        examples=["https://tieline.example/v1/oauth/begin/t1.…"],
    )


class NewAttempt(Given):
    """What is to be connected by signing in at the provider."""

    provider: str = Field(description="The provider's slug.", pattern=SLUG, max_length=60, examples=["github"])
    by: Way | None = None
    options: dict[str, Any] = Field(
        default_factory=dict, description="The options, as the provider's setup names them.", examples=[{}]
    )
    name: Name | None = None
    connection_id: str | None = Field(
        default=None, description="A connection that is to get a new credential.", max_length=60, examples=[None]
    )
    return_to: str | None = Field(
        default=None,
        description="Where the person goes at the end: a path, or an address at an allowed origin.",
        max_length=MAX_LENGTH,
        examples=["/settings/connections"],
    )


@router.post(
    "/oauth/start",
    **documented(BegunAttempt, status=201, body=NewAttempt, absent=True, conflicts=True),
)
async def start_sign_in(
    parts: PartsOf, caller: Admin, body: Annotated[NewAttempt, Depends(JsonBody(NewAttempt))]
) -> Response:
    """Begin to connect an account by signing in at the provider: open the address in the person's browser within ten minutes.

    There the person is told who asks for what; the first browser that goes on is the only one that can finish. An `Idempotency-Key` is not heeded here.
    """
    wish = flow.Wish(body.provider, body.by, body.options, body.name, body.connection_id, body.return_to)
    begun = await flow.begin(parts, caller.org_id, wish)
    return answer(attempt_row(begun.attempt, now=parts.clock.now()) | {"url": begun.url}, 201)


@router.get("/oauth/attempts/{attempt_id}", **documented(Attempt, absent=True))
async def get_sign_in(
    parts: PartsOf, caller: Auditor, attempt_id: Annotated[str, id_in_path("att", "The attempt.")]
) -> Response:
    """Show how an attempt stands; for a day."""
    async with parts.db.work(caller.org_id) as work:
        return answer(attempt_row(await get_attempt(work, attempt_id), now=parts.clock.now()))


_PAGES: dict[int | str, dict[str, Any]] = {
    200: page_response("A page for the person: what is asked, the way on, or the outcome."),
    400: page_response("It does not belong to a sign-in that was begun in this browser, or was used already."),
    403: page_response("Whoever began it may not do so any more."),
    404: page_response("There is no such provider, or no such sign-in."),
    409: page_response("The account, or the connection, does not allow it."),
    410: page_response("The ten minutes are over."),
    413: page_response("Too much is asked for."),
    422: page_response("The provider, or the person there, did not grant access."),
    429: page_response("The provider asks to wait."),
    502: page_response("The provider cannot be reached or answered unexpectedly."),
    503: page_response("The key ring is not available just now."),
}
_PAGE: dict[str, Any] = {"response_class": Response, "responses": _PAGES}
_BROWSER: dict[str, Any] = {
    "status_code": 303,
    "response_class": Response,
    "responses": {
        303: {"description": "On to the provider, or back to where the person came from.", "content": {}},
        **_PAGES,
    },
}
Ticket = Annotated[str, Path(description="The end of the address.", examples=["t1.…"])]


@router.get("/oauth/begin/{ticket}", **_PAGE)
async def open_sign_in(request: Request, parts: PartsOf, ticket: Ticket) -> Response:
    """In the browser: ask the person. Nothing is bound and nothing begun, for programs that look at links come here too."""
    try:
        question = await consent.ask(parts, ticket, read_cookie(request, parts))
    except TielineError as error:
        return show_page(error)
    return keep_cookie(ask_page(question), parts, question.browser)


@router.post("/oauth/begin/{ticket}", **_PAGE)
async def answer_sign_in(request: Request, parts: PartsOf, ticket: Ticket) -> Response:
    """In the browser: the answer of the page's form. Bind the sign-in to the browser and go to the provider, or end it."""
    browser = read_cookie(request, parts)
    try:
        form = dict(parse_qsl((await read_body(request)).decode(errors="replace")))
        if form.get("answer") == "decline":
            await consent.decline(parts, ticket, browser, form.get("consent", ""))
            return show_page("Nothing was connected, and this address leads nowhere any more.")
        onward = await consent.agree(parts, ticket, browser, form.get("consent", ""))
    except TielineError as error:
        return show_page(error)
    return keep_cookie(onward_page(onward.url), parts, onward.browser)


@router.get("/oauth/callback/{slug}", **_BROWSER)
async def finish_sign_in(
    request: Request,
    parts: PartsOf,
    slug: Annotated[str, Path(description="The provider's slug.", examples=["github"])],
) -> Response:
    """In the browser: come back from the provider, and on to where the person came from."""
    try:
        query = _single(request)
        outcome = await flow.finish(parts, slug, query, read_cookie(request, parts))
    except TielineError as error:
        return show_page(error)
    if isinstance(outcome, Onward):
        return keep_cookie(RedirectResponse(outcome.url, 303), parts, outcome.browser)
    return _tell(outcome)


def _single(request: Request) -> dict[str, str]:
    """The query; a parameter that is given twice may mean two things (RFC 6749, section 3.1)."""
    pairs = request.query_params.multi_items()
    query = dict(pairs)
    if len(query) < len(pairs):
        raise lost()
    return query


def _tell(finished: Finished) -> Response:
    """Send the browser to where it came from with the outcome, or show it; a connect session knows the outcome by itself."""
    connection, refusal, back = finished.connection, finished.refusal, finished.return_to
    if finished.session_id and back:
        return RedirectResponse(back, 303)
    if back is None:
        return show_page(refusal or f"{finished.provider} is connected as {connection.name if connection else ''}.")
    told = {"error": refusal.slug} if refusal else {"connected": "1", "connection": connection.id if connection else ""}
    return RedirectResponse(with_result(back, **told), 303)

"""Connect: choose a way, fill in or sign in at the provider, and see what became of it; also for a connection's next credential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tieline.errors import Conflict, Invalid, NotFound, ProviderError, TielineError, TooLarge, VaultError
from tieline.flows import authorize, connect
from tieline.flows.apps import Availability, app_availability, app_fields
from tieline.flows.context import external_id
from tieline.flows.issuer import subject_of
from tieline.flows.returns import callback_url
from tieline.flows.setup import way_row
from tieline.flows.tickets import LIFETIME
from tieline.sdk.auth import Auth, Redirects
from tieline.sdk.provider import Provider
from tieline.store.connections import Connection, get_connection
from tieline.web.forms import errors_of, fields_of, read_values
from tieline.web.page import AdminPage, ApiCall, Page
from tieline.web.pages.catalogue import app_labels, way_name
from tieline.web.route import ConsoleRoute

router = APIRouter(route_class=ConsoleRoute)

_BACK = {
    "sign-in-declined": "The provider, or whoever signed in there, did not agree.",
    "sign-in-expired": "The ten minutes for signing in were over.",
    "conflict": "That account is not the one of this connection, or its state does not allow it.",
    "credential-rejected": "The provider did not take what it had just given.",
    "permission-missing": "Whoever signed in may not give the access that is needed.",
    "provider-unavailable": "The provider could not be reached.",
}


@dataclass(frozen=True)
class Given:
    """What a form holds when it is shown: what was entered, and what was wrong with it."""

    options: Mapping[str, Any] = field(default_factory=dict)
    credential: Mapping[str, Any] = field(default_factory=dict, repr=False)
    name: str = ""
    ends: str = ""
    error: TielineError | None = None


@router.get("/connect/{slug}")
async def show_connect(page: AdminPage, slug: str) -> Response:
    """Show the ways to connect and the form of one, or say what came of signing in at the provider."""
    query, provider = page.request.query_params, page.parts.catalog.provider(slug)
    if query.get("connected"):
        connection = await _standing(page, query.get("connection", ""))
        return page.go(f"/connections/{connection.id}", f"{connection.name} is connected. It is being read now.")
    return await _show(page, provider, chosen(provider, query.get("by")), back=query.get("error"))


@router.post("/connect/{slug}")
async def connect_account(page: AdminPage, slug: str) -> Response:
    """Connect with what the form holds, or begin to sign in at the provider."""
    provider = page.parts.catalog.provider(slug)
    auth = chosen(provider, page.form.get("by"))
    given = read_given(page, provider, auth)
    try:
        if isinstance(auth, Redirects):
            return await begin(page, provider, auth, given)
        ends = read_end(given.ends)
        attempt = connect.Attempt(slug, given.options, given.credential, given.name or None, auth.slot, ends)
        made = await connect.connect(page.parts, page.org_id, attempt)
    except (Invalid, TooLarge, Conflict, ProviderError, VaultError) as error:
        told = Given(given.options, given.credential, given.name, given.ends, error)
        return await _show(page, provider, auth, given=told)
    return page.go(f"/connections/{made.id}", f"{made.name} is connected. It is being read now.")


def chosen(provider: Provider[Any], slot: str | None) -> Auth:
    """The way that an address or a form names, by default the recommended one; raises `NotFound`."""
    try:
        return provider.mode(slot or None)
    except Invalid:
        raise NotFound(f"{provider.name} has no such way to connect", advice="Choose one from its page.") from None


def read_given(page: Page, provider: Provider[Any], auth: Auth) -> Given:
    """What the form holds."""
    options = read_values(provider.options.model_json_schema(), page.form, prefix="options.")
    schema = {} if isinstance(auth, Redirects) else auth.credential.model_json_schema()
    credential = read_values(schema, page.form, prefix="credential.")
    return Given(options, credential, page.form.get("name").strip(), page.form.get("ends").strip())


def read_end(text: str) -> datetime | None:
    """The day on which a credential ends, at its beginning (UTC); raises `Invalid`."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) if text else None
    except ValueError:
        wrong = [{"field": "expires_at", "problem": "is not a day such as 2027-01-31"}]
        raise Invalid("The day on which it ends cannot be read", fields=wrong) from None


async def begin(
    page: Page, provider: Provider[Any], auth: Auth, given: Given, *, standing: Connection | None = None
) -> Response:
    """Note what is wanted, and give the link that leads to the provider: a form may lead to no other host."""
    path = f"/connect/{provider.slug}"
    wish = authorize.Wish(
        provider.slug,
        auth.slot,
        {} if standing else given.options,
        given.name or None,
        connection_id=standing.id if standing else None,
        return_to=page.at(path, by=auth.slot),
    )
    begun = await authorize.begin(page.parts, page.org_id, wish)
    return page.show(
        "pages/connect_away.html",
        title=f"Sign in at {provider.name}",
        provider=provider,
        standing=standing,
        away=page.at(begun.url.removeprefix(page.parts.public_url)),
        minutes=LIFETIME.seconds // 60,
        scopes=way_row(provider, auth, public_url=page.parts.public_url)["scopes"],
    )


def problems_of(error: TielineError | None, part: str) -> dict[str, str]:
    """What is wrong with the fields of one part of a form, `options` or `credential`, by name."""
    if not isinstance(error, Invalid):
        return {}
    mine = [one for one in error.details.get("fields", ()) if str(one["field"]).startswith(f"{part}.")]
    return errors_of(Invalid(error.message, fields=mine))


async def way_context(page: Page, provider: Provider[Any], auth: Auth, given: Given) -> dict[str, Any]:
    """What the template of a way needs: its form, its guide, its trust, and the app that it lacks."""
    row = way_row(
        provider,
        auth,
        public_url=page.parts.public_url,
        external_id=external_id(page.org_id, provider.slug),
        subject=subject_of(page.org_id),
    )
    error = given.error
    told = errors_of(error) if isinstance(error, Invalid) else {}
    fields = fields_of(
        row["credential"] or {},
        values=given.credential,
        problems=problems_of(error, "credential"),
        prefix="credential.",
    )
    return {
        "provider": provider,
        "auth": auth,
        "way": row,
        "way_name": way_name(provider, auth),
        "fields": fields,
        "given": given,
        "error": error,
        "in_fields": any(one.problem for one in fields),
        "problems": {name: told[name] for name in ("name", "expires_at") if name in told},
        "lacking": (lacking := await _lacking(page, auth, provider)),
        "missing": app_labels(provider, lacking.missing) if lacking else [],
        "callback": callback_url(page.parts.public_url, provider.slug) if isinstance(auth, Redirects) else None,
        "standing_id": error.details.get("connection_id") if isinstance(error, Conflict) else None,
        "advice": None if isinstance(error, Conflict) or error is None else error.what_to_do,
    }


async def _show(
    page: Page, provider: Provider[Any], auth: Auth, *, given: Given | None = None, back: str | None = None
) -> Response:
    given = given or Given()
    options = fields_of(
        provider.options.model_json_schema(),
        values=given.options,
        problems=problems_of(given.error, "options"),
        prefix="options.",
    )
    context = await way_context(page, provider, auth, given)
    context["in_fields"] = context["in_fields"] or any(one.problem for one in options) or bool(context["problems"])
    return page.show(
        "pages/connect.html",
        status=given.error.status if given.error else 200,
        title=f"Connect {provider.name}",
        options=options,
        ways=[(one.slot, way_name(provider, one)) for one in provider.modes],
        back=None if back is None else _BACK.get(back, "Signing in at the provider did not lead to a connection."),
        api=ApiCall(f"/v1/providers/{provider.slug}/setup"),
        **context,
    )


async def _lacking(page: Page, auth: Auth, provider: Provider[Any]) -> Availability | None:
    """The app that this way needs and that nobody has set up, if so."""
    if not app_fields(auth):
        return None
    found = await app_availability(page.parts, page.org_id)
    return next(
        (one for one in found if (one.provider, one.auth.slot) == (provider.slug, auth.slot) and not one.available),
        None,
    )


async def _standing(page: Page, connection_id: str) -> Connection:
    async with page.parts.db.work(page.org_id) as work:
        return await get_connection(work, connection_id)

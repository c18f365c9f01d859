"""Authorize: a person goes to the provider, and comes back with what a credential is made of.

`begin` notes what is wanted and gives an address; the first browser in which a person agrees there (`consent`) is bound to the attempt
and sent on; `finish` takes what it comes back with, once. Whoever began it must still be allowed to, both times. From there it is the same way as with a credential that was given: `establish`. What each round
carries (verifier, nonce) is made when the browser is sent, sealed, and good for that round alone.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tieline.access.actor import acting_as, current_actor
from tieline.access.standing import must_still_be
from tieline.errors import Invalid, RequestError, TielineError, VaultError
from tieline.flows.apps import missing_fields
from tieline.flows.audit import record
from tieline.flows.carried import Carried, fresh_round, open_carried, seal_carried
from tieline.flows.connect import checked_name, establish, read_options
from tieline.flows.context import auth_context
from tieline.flows.parts import Parts
from tieline.flows.reach import parse_options
from tieline.flows.returns import callback_url, check_return
from tieline.flows.states import live
from tieline.flows.tickets import (
    LIFETIME,
    Claim,
    Fit,
    SignInDeclined,
    SignInLost,
    hash_browser,
    lost,
    read_state,
    read_ticket,
    sign_in_expired,
    write_state,
    write_ticket,
)
from tieline.flows.verify import prove
from tieline.flows.waiting import let_wait, note_refusal
from tieline.ids import new_id
from tieline.sdk.answers import Redactor
from tieline.sdk.auth import Ask, Auth, AuthContext, Back, Credential, Further, Grant, OAuthApp, Redirects
from tieline.sdk.provider import Provider
from tieline.store import attempts as store
from tieline.store.attempts import Attempt
from tieline.store.connect_sessions import ConnectSession, get_session
from tieline.store.connections import Connection
from tieline.vault import key_id_of

MAX_ROUNDS = 10
MAX_QUERY = 16 * 1024
"""Characters of all that a callback's query says; a code of Microsoft's has up to 2,000."""

_BROWSER = re.compile(r"[0-9a-f]{64}")
_SAID = frozenset({"error", "error_description", "error_uri", "iss"})
_LEAST_SECRET = 8  # characters; what is shorter is part of many a word


@dataclass(frozen=True)
class Wish:
    """What is to be connected: by default by the first way that redirects.

    `connection_id` is a connection that is to get a new credential. `return_to` is where the person goes at the end. A sign-in that
    belongs to the connect session `session_id` lets its credential wait there; `back`, which opens that session, is kept sealed.
    """

    provider: str
    slot: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    connection_id: str | None = None
    return_to: str | None = None
    session_id: str | None = None
    back: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Begun:
    """An attempt, and the address at which a person is asked and the first browser that goes on is bound."""

    attempt: Attempt
    url: str = field(repr=False)


@dataclass(frozen=True)
class Onward:
    """A browser is to go to `url` at the provider, and to keep `browser` as its cookie."""

    url: str = field(repr=False)
    browser: str = field(repr=False)


@dataclass(frozen=True)
class Finished:
    """How an attempt ended: with a connection, or with the error that says why not; in a connect session, also with neither.

    `return_to` is where the person goes now.
    """

    provider: str
    connection: Connection | None = None
    refusal: TielineError | None = None
    return_to: str | None = None
    session_id: str | None = None


async def begin(parts: Parts, org_id: str, wish: Wish) -> Begun:
    """Note what is wanted, and give the address to open; raises `Invalid`, `NotFound`, `Conflict` or `VaultError`."""
    provider = parts.catalog.provider(wish.provider)
    auth = redirecting_way(provider, wish.slot)
    given = dict(wish.options)
    if wish.connection_id:
        given = await _options_of(parts, org_id, provider, wish.connection_id) | given
    options = read_options(provider, given)
    return_to = check_return(parts, wish.return_to)
    carried = Carried(options.model_dump(mode="json"), checked_name(wish.name), back=wish.back)
    attempt_id, now = new_id("att"), parts.clock.now()
    sealed = await seal_carried(parts, org_id, attempt_id, carried)
    attempt = Attempt(
        id=attempt_id,
        org_id=org_id,
        provider=provider.slug,
        slot=auth.slot,
        status="pending",
        round=0,
        redirect_uri=callback_url(parts.public_url, provider.slug),
        sealed=sealed,
        key_id=key_id_of(sealed.sealed),
        created_by=current_actor(),
        created_at=now,
        expires_at=now + LIFETIME,
        connection_id=wish.connection_id,
        session_id=wish.session_id,
        return_to=return_to,
    )
    await _address(parts, attempt, carried, browser="")  # what cannot work is told to whoever asks, not to the browser
    async with parts.db.work(org_id) as work:
        await store.add_attempt(work, attempt)
        await record(work, parts, "attempt.begun", attempt_id, provider=provider.slug, slot=auth.slot)
    return Begun(attempt, f"{parts.public_url}/v1/oauth/begin/{write_ticket(parts.keys.state_key, org_id, attempt_id)}")


async def open_attempt(parts: Parts, ticket: str, browser: str | None) -> Onward:
    """Bind an attempt to the first browser that opens it, and say where at the provider it is to go.

    `browser` is the cookie that it has, if any. Raises what `find_open` does, or an error of what was set up.
    """
    cookie = cookie_for(browser)
    attempt = await find_open(parts, ticket, cookie)
    with acting_as(attempt.created_by):
        carried = fresh_round(await open_carried(parts, attempt))
        url = await _address(parts, replace(attempt, round=attempt.round + 1), carried, browser=cookie)
        sealed = await seal_carried(parts, attempt.org_id, attempt.id, carried)
    bound, key_id, now = hash_browser(cookie), key_id_of(sealed.sealed), parts.clock.now()
    async with parts.db.work(attempt.org_id) as work:
        if not await store.open_round(work, attempt, browser_hash=bound, sealed=sealed, key_id=key_id, now=now):
            raise SignInLost("This sign-in was opened twice at the same time")
        with acting_as(attempt.created_by):
            await record(work, parts, "attempt.opened", attempt.id, provider=attempt.provider, slot=attempt.slot)
    return Onward(url, cookie)


async def find_open(parts: Parts, ticket: str, cookie: str) -> Attempt:
    """The attempt of a ticket, which the browser with this cookie may open.

    Raises `SignInLost` for any other browser than the first, `SignInExpired`, or `NotAllowed` if whoever began it may not any more.
    """
    org_id, attempt_id = read_ticket(parts.keys.state_key, ticket)
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        attempt = await store.get_attempt(work, attempt_id)
        if attempt.status_at(now) == "expired":
            raise sign_in_expired()
        if attempt.browser_hash not in (None, hash_browser(cookie)):
            raise SignInLost("This sign-in was opened in another browser")
        if attempt.status != "pending" or attempt.round >= MAX_ROUNDS:
            raise SignInLost("This sign-in is under way or over")
        await must_still_be(work, attempt.created_by, "admin", now=now)
    return attempt


def cookie_for(browser: str | None) -> str:
    """The cookie that a browser has, if it is one of ours, or a new one."""
    return browser if browser and _BROWSER.fullmatch(browser) else secrets.token_hex(32)


async def finish(parts: Parts, slug: str, query: Mapping[str, str], browser: str | None) -> Onward | Finished:
    """Take what a browser came back with from the provider; `browser` is its cookie.

    Raises `SignInLost` for whatever does not belong to a round that this browser was sent on and that is not over: then nothing is
    known that a person could be sent back to. All else that goes wrong is told in `Finished`.
    """
    provider = parts.catalog.provider(slug)
    if sum(len(name) + len(value) for name, value in query.items()) > MAX_QUERY:
        raise lost()
    fit = Fit(slug, callback_url(parts.public_url, slug), browser or "")
    attempt = await _consume(parts, read_state(parts.keys.state_key, query.get("state", ""), fit), fit)
    if attempt.status == "expired":
        return await _finished(parts, attempt, refusal=sign_in_expired())
    with acting_as(attempt.created_by):
        try:
            outcome = await _take(parts, provider, attempt, query, fit.browser)
        except TielineError as error:
            await _note_failure(parts, attempt, error)
            return await _finished(parts, attempt, refusal=error)
        except Exception:
            await _note_failure(parts, attempt, TielineError("Something went wrong on our side"))
            raise
        if isinstance(outcome, Onward):
            return outcome
        async with parts.db.work(attempt.org_id) as work:
            if outcome:
                await store.end_attempt(work, attempt, "connected", connected_id=outcome.id)
            else:
                await store.end_attempt(work, attempt, "verified")
    return await _finished(parts, attempt, connection=outcome)


async def _finished(parts: Parts, attempt: Attempt, **how: Any) -> Finished:
    name = parts.catalog.provider(attempt.provider).name
    return Finished(name, return_to=await way_back(parts, attempt), session_id=attempt.session_id, **how)


async def way_back(parts: Parts, attempt: Attempt) -> str | None:
    """Where the person of an attempt goes at the end, if anywhere; for a connect session, the address that opens it."""
    if attempt.session_id is None:
        return attempt.return_to
    try:
        return (await open_carried(parts, attempt)).back
    except VaultError:
        return None


async def prune_attempts(parts: Parts) -> int:
    """Forget the attempts whose time was up a day ago; how many there were."""
    async with parts.db.system() as work:
        return await store.delete_old_attempts(work, now=parts.clock.now())


def redirecting_way(provider: Provider[Any], slot: str | None = None) -> Auth:
    """The way on which a person goes to the provider, by default the first; raises `Invalid`."""
    ways = [auth for auth in provider.modes if isinstance(auth, Redirects)]
    auth = provider.mode(slot) if slot or not ways else ways[0]
    if not isinstance(auth, Redirects):
        advice = "Give its credential: `tieline connect`, or POST /v1/connections."
        raise Invalid(f"{provider.name} is not connected by signing in there ({auth.slot})", advice=advice)
    return auth


async def _options_of(parts: Parts, org_id: str, provider: Provider[Any], connection_id: str) -> dict[str, Any]:
    """The options of the connection that is to get a new credential."""
    async with parts.db.work(org_id) as work:
        connection = await live(work, connection_id)
    if connection.provider != provider.slug:
        wrong = [{"field": "connection_id", "problem": "is of another provider"}]
        raise Invalid(f"{connection.name} is not a connection to {provider.name}", fields=wrong)
    return connection.options


async def _consume(parts: Parts, claim: Claim, fit: Fit) -> Attempt:
    """Use the round up, before anything else; raises `SignInLost` if it was used, ended or is another's.

    The attempt's status is `expired` if all is well but its time.
    """
    async with parts.db.work(claim.org_id) as work:
        now = parts.clock.now()
        attempt = await store.consume_round(
            work,
            claim.attempt_id,
            claim.round,
            provider=fit.provider,
            redirect_uri=fit.redirect_uri,
            browser_hash=hash_browser(fit.browser),
            now=now,
        )
        if attempt:
            return attempt
        standing = await store.get_attempt(work, claim.attempt_id)
    if standing.status == "pending" and standing.round == claim.round and standing.expires_at <= now:
        return replace(standing, status="expired")
    raise SignInLost("This sign-in was used already", advice="Look at your connections; if it is missing, begin again.")


async def _take(
    parts: Parts, provider: Provider[Any], attempt: Attempt, query: Mapping[str, str], browser: str
) -> Onward | Connection | None:
    """From what came back to a live connection, to a credential that waits for a yes, or to one more round."""
    async with parts.db.work(attempt.org_id) as work:
        await must_still_be(work, attempt.created_by, "admin", now=parts.clock.now())
    auth, carried = redirecting_way(provider, attempt.slot), await open_carried(parts, attempt)
    options = parse_options(provider, carried.options)
    context = await auth_context(parts, attempt.org_id, provider, auth, options)
    told = {name: value for name, value in query.items() if name != "state"}
    back = Back(told, attempt.redirect_uri, carried.verifier, carried.nonce, carried.memo)
    try:
        received = await _redirects(auth).receive(context, back)
    except Invalid as error:
        raise _declined(provider, error, query) from None
    if isinstance(received, Further):
        return await _send_again(parts, attempt, replace(carried, memo=dict(received.memo)), browser)
    credential = _naming_the_app(received, context.app)
    org_id, name, renewed = attempt.org_id, carried.name, attempt.connection_id
    if attempt.session_id is None:
        return await establish(parts, org_id, provider, auth, options, credential, name=name, connection_id=renewed)
    proven = await prove(parts, org_id, provider, auth, options, credential)
    await let_wait(parts, await _session_of(parts, attempt), proven, attempt_id=attempt.id)
    return None


async def _send_again(parts: Parts, attempt: Attempt, carried: Carried, browser: str) -> Onward:
    if attempt.round >= MAX_ROUNDS:
        raise SignInLost("This sign-in went back and forth too often")
    carried = fresh_round(carried)
    url = await _address(parts, replace(attempt, round=attempt.round + 1), carried, browser=browser)
    sealed = await seal_carried(parts, attempt.org_id, attempt.id, carried)
    async with parts.db.work(attempt.org_id) as work:
        if not await store.reopen_round(work, attempt, sealed=sealed, key_id=key_id_of(sealed.sealed)):
            raise lost()
    return Onward(url, browser)


async def _address(parts: Parts, attempt: Attempt, carried: Carried, *, browser: str) -> str:
    """Where at the provider the browser goes; raises `Invalid` if that cannot be said or must not be."""
    provider = parts.catalog.provider(attempt.provider)
    auth = redirecting_way(provider, attempt.slot)
    options = parse_options(provider, carried.options)
    context = await auth_context(parts, attempt.org_id, provider, auth, options)
    _need_app(context, auth)
    claim = Claim(attempt.org_id, attempt.id, attempt.round)
    state = write_state(parts.keys.state_key, claim, Fit(attempt.provider, attempt.redirect_uri, browser))
    ask = Ask(attempt.redirect_uri, state, carried.challenge, carried.nonce, carried.memo)
    try:
        url = _redirects(auth).authorize(context, ask)
    except KeyError as error:
        name = str(error.args[0])
        problem = [{"field": f"options.{name}", "problem": "is missing"}]
        raise Invalid(f"To sign in at {provider.name}, the option {name} is needed", fields=problem) from None
    parts.policy.check_url(url)
    return url


def _need_app(context: AuthContext, auth: Auth) -> None:
    """Raise `Invalid` unless there is an app with all that this way needs."""
    if lacking := missing_fields(auth, context.app):
        app = context.need_app()
        raise Invalid(f"The OAuth app {app.client_id} for {context.provider} lacks {', '.join(lacking)}")


def _declined(provider: Provider[Any], error: Invalid, query: Mapping[str, str]) -> RequestError:
    """What a kind of auth says of the callback; if the provider answered with an error, then with its own words too.

    Those may be anybody's who knows the state: they are shown as text, not at length, and without what else came back, as the code.
    """
    if "error" not in query:
        return error
    hide = Redactor(value for name, value in query.items() if name not in _SAID and len(value) >= _LEAST_SECRET)
    words = "".join(one for one in query.get("error_description", "") if one.isprintable())
    told, message = hide(words).strip()[:300], hide(error.message)
    return SignInDeclined(f"{message}. {provider.name} says: {told}" if told else message)


def _naming_the_app(credential: Credential, app: OAuthApp | None) -> Credential:
    """A grant belongs to the app that it was given to: note which, for both kinds of app may come and go."""
    if not isinstance(credential, Grant) or app is None:
        return credential
    return credential.model_copy(update={"details": {**credential.details, "client_id": app.client_id}})


def _redirects(auth: Auth) -> Redirects:
    if not isinstance(auth, Redirects):
        raise TypeError("this way does not redirect")
    return auth


async def _note_failure(parts: Parts, attempt: Attempt, error: TielineError) -> None:
    async with parts.db.work(attempt.org_id) as work:
        await store.end_attempt(work, attempt, "failed", slug=error.slug, message=error.message)
        await record(work, parts, "attempt.failed", attempt.id, provider=attempt.provider, reason=error.slug)
    await tell_session(parts, attempt, error)


async def tell_session(parts: Parts, attempt: Attempt, error: TielineError) -> None:
    """Tell the connect session of an attempt, if it is of one, why it has failed."""
    if attempt.session_id:
        await note_refusal(parts, await _session_of(parts, attempt), error, attempt_id=attempt.id)


async def _session_of(parts: Parts, attempt: Attempt) -> ConnectSession:
    async with parts.db.work(attempt.org_id) as work:
        return await get_session(work, str(attempt.session_id))

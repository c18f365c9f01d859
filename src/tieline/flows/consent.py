"""Consent: what a person is asked before a sign-in is theirs, so that no address that somebody sends connects an account by itself.

To look changes nothing, for mail filters and chats open addresses too. The answer counts only from a page that was shown in the
same browser: what its form carries is signed for that browser's cookie, which no page of another site can send along.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tieline.access.standing import name_of
from tieline.flows.audit import record
from tieline.flows.authorize import Onward, cookie_for, find_open, open_attempt, tell_session, way_back
from tieline.flows.parts import Parts
from tieline.flows.tickets import SignInDeclined, check_consent, hash_browser, write_consent
from tieline.store import attempts as store
from tieline.store.connections import get_connection
from tieline.store.organizations import get_own_organization


@dataclass(frozen=True)
class Question:
    """What is to be connected, to whom, and who asked; `browser` is the cookie to keep, `consent` what the answer must carry.

    `reads` are the titles of what will be read, `scopes` the permissions that are asked for; `renews` is the name of the connection
    that is to get a new credential.
    """

    provider: str
    organization: str
    asked_by: str
    reads: tuple[str, ...]
    scopes: tuple[str, ...]
    renews: str | None
    browser: str = field(repr=False)
    consent: str = field(repr=False)


async def ask(parts: Parts, ticket: str, browser: str | None) -> Question:
    """What to ask whoever opens a ticket's address; raises what `open_attempt` would, and changes nothing."""
    cookie = cookie_for(browser)
    attempt = await find_open(parts, ticket, cookie)
    provider = parts.catalog.provider(attempt.provider)
    async with parts.db.work(attempt.org_id) as work:
        organization = await get_own_organization(work)
        asked_by = await name_of(work, attempt.created_by)
        renewed = await get_connection(work, attempt.connection_id) if attempt.connection_id else None
    return Question(
        provider=provider.name,
        organization=organization.name,
        asked_by=asked_by,
        reads=tuple(operation.title for operation in provider.operations),
        scopes=tuple(getattr(provider.mode(attempt.slot), "scopes", ())),
        renews=renewed.name if renewed else None,
        browser=cookie,
        consent=write_consent(parts.keys.state_key, ticket, cookie),
    )


async def agree(parts: Parts, ticket: str, browser: str | None, consent: str) -> Onward:
    """Go on to the provider; raises `SignInLost` unless this browser was asked, and what `open_attempt` does."""
    check_consent(parts.keys.state_key, ticket, browser or "", consent)
    return await open_attempt(parts, ticket, browser)


async def decline(parts: Parts, ticket: str, browser: str | None, consent: str) -> str | None:
    """End the sign-in for good, and say where the person goes back to, if anywhere; raises `SignInLost` unless this browser was asked."""
    check_consent(parts.keys.state_key, ticket, browser or "", consent)
    cookie = cookie_for(browser)
    attempt = await find_open(parts, ticket, cookie)
    told = "Whoever opened the address did not want to connect"
    browser_hash, now = hash_browser(cookie), parts.clock.now()
    async with parts.db.work(attempt.org_id) as work:
        refused = await store.refuse_attempt(work, attempt, browser_hash=browser_hash, message=told, now=now)
        if refused:
            await record(
                work, parts, "attempt.failed", attempt.id, provider=attempt.provider, reason=SignInDeclined.slug
            )
    if refused:
        await tell_session(parts, attempt, SignInDeclined(told))
    return await way_back(parts, attempt) if attempt.session_id else None

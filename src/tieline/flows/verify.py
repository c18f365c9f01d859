"""Verify: the test call that every credential must pass, and what it says about a connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tieline import faults
from tieline.errors import Forbidden, ProviderError, RateLimited, Suspended, Unauthorised, Unavailable, Unexpected
from tieline.flows.audit import record
from tieline.flows.credentials import Held
from tieline.flows.parts import Parts
from tieline.flows.reach import reach
from tieline.flows.states import live, move_connection
from tieline.sdk.auth import Auth, Credential, Grant
from tieline.sdk.provider import Identified, Options, Provider
from tieline.stages.announce import announce_connection
from tieline.store import schedules
from tieline.store.connections import Connection


@dataclass(frozen=True)
class Verified:
    """The account that a credential opens, and what was granted; `None` if the provider does not tell."""

    account: Identified
    scopes: frozenset[str] | None


@dataclass(frozen=True)
class Proven:
    """A credential that has passed its test call, with all that a connection is to be made of."""

    provider: Provider[Any]
    auth: Auth
    options: Options
    credential: Credential = field(repr=False)
    verified: Verified


async def prove(
    parts: Parts, org_id: str, provider: Provider[Any], auth: Auth, options: Options, credential: Credential
) -> Proven:
    """Make the test call with a credential that is not stored; raises what `verify` does."""
    verified = await verify(parts, org_id, provider, options, Held(auth, credential))
    faults.passing("connect.verified")
    return Proven(provider, auth, options, credential, verified)


async def verify(
    parts: Parts,
    org_id: str,
    provider: Provider[Any],
    options: Options,
    held: Held,
    *,
    connection: Connection | None = None,
) -> Verified:
    """Make the provider's test call; raises its `ProviderError` in the words that users know."""
    try:
        async with reach(parts, org_id, provider, options, held, connection=connection) as opened:
            account = await provider.identity(opened.context())
            credential = await opened.signer.fresh()
    except Unauthorised as error:
        raise Unauthorised(f"{provider.name} API key is invalid or expired", **error.details) from None
    except Forbidden as error:
        advice = f"{error.message}. {error.what_to_do}"
        message = "Service account lacks required permissions"
        raise Forbidden(message, scope=error.scope, advice=advice, **error.details) from None
    except RateLimited as error:
        message = f"{provider.name} rate limit exceeded during validation"
        raise RateLimited(message, until=error.until, **error.details) from None
    except Unavailable as error:
        raise Unavailable(f"Unable to connect to {provider.name}", **error.details) from None
    except (
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:  # the provider's code met what no documentation promised
        raise Unexpected(f"{provider.name} answered in another form than documented ({type(error).__name__})") from None
    except Unexpected as error:
        advice = f"Check the address: what answers there does not answer as {provider.name} does. {error.what_to_do}"
        raise Unexpected(error.message, advice=advice, **error.details) from None
    scopes = account.scopes
    if scopes is None and isinstance(credential, Grant) and credential.scopes is not None:
        scopes = frozenset(credential.scopes)
    return Verified(account, scopes)


_SHOWN_BY = {Unauthorised: "needs_reconnect", Suspended: "suspended"}


async def note_failed_test(parts: Parts, connection: Connection, error: ProviderError) -> None:
    """Put a connection into the state that a failed test call shows, unless a newer credential came meanwhile."""
    state = next((to for kind, to in _SHOWN_BY.items() if isinstance(error, kind)), None)
    now = parts.clock.now()
    async with parts.db.work(connection.org_id) as work:
        current = await live(work, connection.id, lock=True)
        if state and current.validated_at <= connection.validated_at and current.status != "paused":
            await move_connection(work, current, state, now=now, slug=error.slug, message=error.message)
            await schedules.set_enabled(work, connection.id, False, reason=error.slug, now=now)
            await announce_connection(work, current, state, now=now)
        await record(work, parts, "connection.test_failed", connection.id, reason=error.slug)

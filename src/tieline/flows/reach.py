"""Reach: open a provider with a connection's options and credential, within its rate budget."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from tieline.errors import Invalid, RateLimited
from tieline.flows.context import auth_context
from tieline.flows.credentials import Held
from tieline.flows.parts import Parts
from tieline.flows.tokens import Signer
from tieline.sdk.auth import Auth, Credential, Grant
from tieline.sdk.context import Checkpoint, Context, Turned
from tieline.sdk.http import Http
from tieline.sdk.limits import IN_PLACE, Budget, LocalBudget, Signal
from tieline.sdk.provider import Options, Provider
from tieline.store.budgets import note_limit, take_permits
from tieline.store.connections import Connection

M = TypeVar("M", bound=BaseModel)

_FIELD_NAME = re.compile(r"[a-z][a-z_]{0,30}|\d{1,4}")
_BLOCK = 20
"""Permits taken from the shared budget at a time: one query for so many requests."""


@dataclass(frozen=True)
class Reach:
    """An open way to a provider."""

    http: Http
    options: Options
    hosts: Mapping[str, str]
    signer: Signer
    parts: Parts

    def context(self, start: Checkpoint | None = None, turned: Turned | None = None) -> Context[Any]:
        """A context for one reading, whose records are parsed where they are mapped."""
        return Context(
            options=self.options,
            credential=self.signer.held.credential,
            fresh=self.signer.fresh,
            hosts=self.hosts,
            http=self.http,
            policy=self.parts.policy,
            clock=self.parts.clock,
            start=start,
            turned=turned,
            unread=True,
        )


@asynccontextmanager
async def reach(
    parts: Parts,
    org_id: str,
    provider: Provider[Any],
    options: Options,
    held: Held,
    *,
    connection: Connection | None = None,
    budget: Budget | None = None,
) -> AsyncIterator[Reach]:
    """Open a provider; the connections to it are closed at the end."""
    details = held.credential.details if isinstance(held.credential, Grant) else {}
    context = await auth_context(parts, org_id, provider, held.auth, options, details)
    base_url = context.url(provider.base_url)
    if urlsplit(base_url).query:
        raise Invalid("The address must not hold a query", advice="Leave out the ? and all that follows it.")
    parts.policy.check_url(base_url)
    signer = Signer(parts, provider, held, context, connection)
    http = Http(
        base_url=base_url,
        provider=provider.name,
        policy=parts.policy,
        budget=budget or LocalBudget(parts.clock),
        clock=parts.clock,
        sign=signer.sign,
        renew=signer.renew,
        secrets=held.credential.secrets(),
        headers=provider.headers,
        origins=[context.url(one) for one in provider.origins],
        rate=provider.rate,
        slug=provider.slug,
    )
    signer.told = http.conceal
    async with http:
        yield Reach(http, options, {name: context.places[name] for name in provider.hosts}, signer, parts)


def parse_options(provider: Provider[Any], given: dict[str, Any]) -> Options:
    """Validate options; raises `Invalid` naming the fields, never quoting a value."""
    return _parse(provider.options, given, "options")


def parse_credential(auth: Auth, given: dict[str, Any]) -> Credential:
    """Validate a credential's fields; raises `Invalid` naming the fields, never quoting a value."""
    return _parse(auth.credential, given, "credential")


class SharedBudget:
    """The budget of one connection, kept in the database for all its workers."""

    def __init__(self, parts: Parts, connection: Connection) -> None:
        self._parts = parts
        self._connection = connection
        self._permits = 0
        self._taking = asyncio.Lock()

    async def take(self) -> None:
        """Take one permit, waiting at most three seconds for it; raises `RateLimited`."""
        async with self._taking:
            if self._permits == 0:
                self._permits = await self._take_block()
            self._permits -= 1

    async def learn(self, signal: Signal) -> None:
        """Tell all workers, and hold no permits back from before."""
        async with self._parts.db.work(self._connection.org_id) as work:
            await note_limit(
                work,
                self._connection.id,
                remaining=signal.remaining,
                reset_at=signal.reset_at,
                blocked_until=signal.blocked_until,
            )
        self._permits = 0

    async def _take_block(self) -> int:
        give_up = self._parts.clock.now() + IN_PLACE
        while True:
            now = self._parts.clock.now()
            async with self._parts.db.work(self._connection.org_id) as work:
                allowed = await take_permits(work, self._connection.id, wanted=_BLOCK, now=now)
            if allowed.permits:
                return allowed.permits
            until = allowed.blocked_until or now
            if until > give_up:
                raise RateLimited(
                    f"{self._connection.name}'s rate limit is used up until {until:%H:%M:%S} UTC", until=until
                )
            await asyncio.sleep(max((until - now).total_seconds(), 0.05))


def _parse(model: type[M], given: dict[str, Any], where: str) -> M:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = [
            {"field": _field(where, one["loc"]), "problem": one["msg"]}
            for one in error.errors(include_input=False, include_context=False, include_url=False)
        ]
    known = ", ".join(model.model_fields) or "none"
    told = "; ".join(f"{one['field']}: {one['problem']}" for one in problems)
    raise Invalid(told, advice=f"The fields of {where} are: {known}.", fields=problems)


def _field(where: str, path: tuple[int | str, ...]) -> str:
    """A field's dotted name; a name that does not look like one may be a secret in the wrong place, and is not told."""
    return ".".join([where, *(part if _FIELD_NAME.fullmatch(part := str(one)) else "…" for one in path)])

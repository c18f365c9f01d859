"""Tokens: what signs a connection's requests at any moment, minted or refreshed when it is time.

A grant's refresh token may often be used only once, so a grant is refreshed in one flight over all processes: whoever holds its
row's lock asks the provider, the others find a higher serial. What was minted is kept in memory alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import httpx2

from tieline.errors import RateLimited, Unauthorised, Unavailable
from tieline.flows.credentials import Held, open_row
from tieline.flows.parts import Parts
from tieline.flows.refresh import Refresh, refresh_stored
from tieline.sdk.auth import AuthContext, Credential, Grant, Mints, Refreshes, ShortLived
from tieline.sdk.provider import Provider
from tieline.store import credentials as store
from tieline.store.connections import Connection
from tieline.telemetry import instruments, measured

LONGEST_MARGIN = timedelta(minutes=15)

_LAST_MOMENT = 17.0  # seconds; the provider has 15 of them
_log = logging.getLogger(__name__)


class Signer:
    """Signs the requests of one connection: with the credential itself, or with the freshest that is made from it.

    `told` hears of every secret that comes into use, so that no error shows it.
    """

    def __init__(
        self,
        parts: Parts,
        provider: Provider[Any],
        held: Held,
        context: AuthContext,
        connection: Connection | None = None,
    ) -> None:
        self.held = held
        self._parts = parts
        self._provider = provider
        self._context = context
        self._connection = connection
        self._minted: ShortLived | None = None
        self.told: Callable[..., None] = _told_nobody

    async def fresh(self) -> Credential:
        """What signs a request now; raises `Unauthorised` if the credential is dead, or another `ProviderError`."""
        auth, credential = self.held.auth, self.held.credential
        if isinstance(auth, Mints):
            credential = await self._mint(auth)
        elif isinstance(auth, Refreshes) and isinstance(credential, Grant) and self._is_due(credential):
            await self._refresh_in_time(credential)
            credential = self.held.credential
        self.told(*credential.secrets())
        return credential

    async def sign(self, request: httpx2.Request) -> None:
        """Put it on a request."""
        self.held.auth.sign(request, await self.fresh())

    async def renew(self) -> bool:
        """After a 401: whether there is something newer to try with, which is what the call then signs with."""
        auth, credential = self.held.auth, self.held.credential
        if isinstance(auth, Mints):
            self._minted = None
            self._parts.flights.minted.pop(self._key, None)
            return True
        if await self._find_newer():
            return True
        if isinstance(auth, Refreshes) and isinstance(credential, Grant) and credential.refresh_token:
            await self._refresh()
            return True
        return False

    @property
    def _key(self) -> str:
        """What a minted token depends on: the credential, the addresses and the app."""
        row, app = self.held.row, self._context.app
        around = (sorted(self._context.places.items()), app.client_id if app else None)
        return f"{row.id}/{row.version}/{sha256(repr(around).encode()).hexdigest()}" if row else ""

    async def _mint(self, auth: Mints) -> ShortLived:
        now = self._parts.clock.now()
        minted = self._minted or self._parts.flights.minted.get(self._key)
        if minted and not is_due(minted, now):
            self._minted = minted
            return minted
        if not self.held.row:  # not stored yet: for this one test call
            self._minted = await auth.mint(self._context, self.held.credential)
            return self._minted
        async with self._parts.flights.lock(self._key):
            minted = self._parts.flights.minted.get(self._key)
            if minted is None or is_due(minted, now):
                minted = await auth.mint(self._context, self.held.credential)
                self._parts.flights.keep(self._key, minted)
        self._minted = minted
        return minted

    def _is_due(self, grant: Grant) -> bool:
        return bool(grant.refresh_token) and is_due(grant, self._parts.clock.now())

    async def _refresh_in_time(self, grant: Grant) -> None:
        """Refresh ahead of the end; if the provider is away while the token is still good, go on with it."""
        try:
            await self._refresh()
        except (Unavailable, RateLimited):
            if grant.expires_at is None or grant.expires_at <= self._parts.clock.now():
                raise
            _log.info("A token could not be refreshed yet and is used on")

    async def _refresh(self) -> None:
        """Refresh to the end, even if whoever waits for it is cancelled: an answer that nobody stores is a grant lost."""
        refreshing = asyncio.create_task(self._refresh_in_turn())
        try:
            await asyncio.shield(refreshing)
        except asyncio.CancelledError:
            done, _ = await asyncio.wait({refreshing}, timeout=_LAST_MOMENT)
            for one in done:
                one.cancelled() or one.exception()  # looked at, or asyncio complains that nobody did
            raise

    async def _refresh_in_turn(self) -> None:
        row, auth = self.held.row, self.held.auth
        if row is None or self._connection is None or not isinstance(auth, Refreshes):
            return
        flights = self._parts.flights
        async with flights.lock(row.id), flights.turn(row.org_id):
            if not await self._find_newer():
                refresh = Refresh(self._parts, self._provider, self._connection, auth, self._context)
                about, slug = {"tieline.connection_id": row.connection_id}, self._provider.slug
                with measured("refresh a grant", instruments.REFRESHES, about, provider=slug):
                    self.held = await refresh_stored(refresh, self.held)

    async def _find_newer(self) -> bool:
        """Take over what another task, another process or a person has put in force since."""
        row = self.held.row
        if row is None or self._connection is None:
            return False
        async with self._parts.db.work(row.org_id) as work:
            current = await store.get_credential(work, row.connection_id, row.slot)
        if current is None:
            raise Unauthorised(f"{self._connection.name} has no credential any more")
        if (current.version, current.serial) == (row.version, row.serial):
            return False
        self.held = await open_row(self._parts, self.held.auth, current)
        return True


def _told_nobody(*_secrets: str) -> None:
    """Before a client is there to conceal anything."""


def is_due(token: ShortLived, now: datetime) -> bool:
    """Whether it is time for the next one: a fifth of the lifetime before the end, 15 minutes at most.

    Without a known beginning a minute; a token with no known end is used until it is refused.
    """
    if token.expires_at is None:
        return False
    margin = timedelta(minutes=1)
    if isinstance(token, Grant) and token.obtained_at:
        margin = min(LONGEST_MARGIN, (token.expires_at - token.obtained_at) / 5)
    return token.expires_at - margin * random.uniform(0.8, 1) <= now  # noqa: S311  spreads load, keeps no secret

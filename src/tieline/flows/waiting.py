"""Waiting: what has passed its test call in a connect session, sealed there until the person says that it is the account they mean."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from pydantic import ValidationError

from tieline.errors import Conflict, TielineError, Unauthorised, VaultError
from tieline.flows.audit import record
from tieline.flows.connect import refuse_other_account
from tieline.flows.credentials import credential_bytes
from tieline.flows.parts import Parts
from tieline.flows.reach import parse_options
from tieline.flows.scopes import missing_scopes
from tieline.flows.states import live
from tieline.flows.verify import Proven, Verified
from tieline.sdk.provider import Identified
from tieline.stages.announce import announce_session
from tieline.store import connect_sessions as store
from tieline.store.connect_sessions import ConnectSession
from tieline.store.connections import find_by_account
from tieline.store.db import Work
from tieline.store.types import Ciphertext
from tieline.vault import Place, key_id_of

_RIGHT = {"error_slug": None, "error_message": None, "error_advice": None}


async def let_wait(parts: Parts, session: ConnectSession, proven: Proven, *, attempt_id: str | None = None) -> None:
    """Put what was proven into the session, and ask; if it came of a sign-in, only of the one that is waited for.

    Raises `Conflict` if it opens another account than that of the connection to reconnect, or if the session has gone on.
    """
    async with parts.db.work(session.org_id) as work:
        found = await _what_was_found(work, session, proven)
    sealed = await _seal(parts, session, proven)
    values = _RIGHT | {
        "status": "under_way",
        "step": "account",
        "slot": proven.auth.slot,
        "found": found,
        "sealed": sealed,
        "key_id": key_id_of(sealed.sealed),
    }
    async with parts.db.work(session.org_id) as work:
        if not await _move(work, session, attempt_id, now=parts.clock.now(), **values):
            raise Conflict("The session has ended or gone on meanwhile", advice="Begin again from where you came.")
        told = {"provider": proven.provider.slug, "account": found["id"], "slot": proven.auth.slot}
        await record(work, parts, "connect_session.verified", session.id, **told)


async def note_refusal(
    parts: Parts, session: ConnectSession, error: TielineError, *, attempt_id: str | None = None
) -> None:
    """Note why a try has failed, and go back to the form; if it was a sign-in, only for the one that is waited for."""
    now = parts.clock.now()
    values = {
        "status": "failed",
        "step": "form",
        "error_slug": error.slug,
        "error_message": error.message,
        "error_advice": error.what_to_do,
    }
    async with parts.db.work(session.org_id) as work:
        if await _move(work, session, attempt_id, now=now, **values):
            await announce_session(work, session, "failed", now=now, reason=error.slug)
            await record(work, parts, "connect_session.failed", session.id, reason=error.slug)


async def open_waiting(parts: Parts, session: ConnectSession) -> Proven:
    """What waits in a session; raises `Conflict` if nothing does any more, or `VaultError`."""
    if session.sealed is None or session.provider is None:
        raise Conflict("Nothing waits for a yes any more", advice="Begin again from where you came.")
    plain = orjson.loads(await parts.vault.open(session.sealed.sealed, _place(session)))
    async with parts.db.work(session.org_id) as work:
        await record(work, parts, "connect_session.credential_opened", session.id, slot=plain["slot"])
    provider = parts.catalog.provider(session.provider)
    auth, told = provider.mode(plain["slot"]), plain["account"]
    try:
        credential = auth.credential.model_validate(plain["credential"])
    except ValidationError:
        raise Unauthorised("The credential is of an earlier form") from None
    ends = datetime.fromisoformat(told["expires_at"]) if told["expires_at"] else None
    account = Identified(told["id"], told["name"], _scopes(told["scopes"]), ends, tuple(told["remarks"]))
    verified = Verified(account, _scopes(plain["scopes"]))
    return Proven(provider, auth, parse_options(provider, plain["options"]), credential, verified)


async def _what_was_found(work: Work, session: ConnectSession, proven: Proven) -> dict[str, Any]:
    """What the person is shown before they say yes."""
    account, provider = proven.verified.account, proven.provider
    standing = await find_by_account(work, provider.slug, account.id)
    if session.connection_id:
        refuse_other_account(await live(work, session.connection_id), proven.verified)
    return {
        "id": account.id,
        "name": account.name,
        "remarks": list(account.remarks),
        "missing": missing_scopes(provider, proven.verified.scopes),
        "standing_id": standing.id if standing else None,
        "standing_name": standing.name if standing else None,
    }


async def _move(work: Work, session: ConnectSession, attempt_id: str | None, *, now: datetime, **values: Any) -> bool:
    if attempt_id:
        return await store.settle_attempt(work, session.id, attempt_id, now=now, **values)
    return await store.move_session(work, session.id, now=now, **values)


async def _seal(parts: Parts, session: ConnectSession, proven: Proven) -> Ciphertext:
    account, scopes = proven.verified.account, proven.verified.scopes
    plain = {
        "slot": proven.auth.slot,
        "options": proven.options.model_dump(mode="json"),
        "credential": orjson.Fragment(credential_bytes(proven.credential)),
        "account": {
            "id": account.id,
            "name": account.name,
            "scopes": _listed(account.scopes),
            "expires_at": account.expires_at,
            "remarks": list(account.remarks),
        },
        "scopes": _listed(scopes),
    }
    try:
        return Ciphertext(await parts.vault.seal(orjson.dumps(plain), _place(session)))
    except VaultError:
        raise VaultError("Credential encryption failed") from None


def _place(session: ConnectSession) -> Place:
    return Place(session.org_id, session.id, "connect_session", 0)


def _listed(scopes: frozenset[str] | None) -> list[str] | None:
    return None if scopes is None else sorted(scopes)


def _scopes(listed: list[str] | None) -> frozenset[str] | None:
    return None if listed is None else frozenset(listed)

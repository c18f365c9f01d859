"""Connect: from a credential, however it was obtained, to a live connection; and later from one credential to the next.

Nothing is saved from an attempt that fails: the provider's test call comes first, then one transaction holds all the rest. Whether
this is a new connection, a reconnection or another account is told by the account that the test call names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson
from pydantic import SecretStr

from tieline import faults
from tieline.errors import Conflict, Invalid, ProviderError, TooLarge
from tieline.flows.audit import record
from tieline.flows.credentials import former_version, open_credential, open_row, seal_credential
from tieline.flows.owners import present_actor
from tieline.flows.parts import Parts
from tieline.flows.reach import parse_credential, parse_options
from tieline.flows.scopes import missing_scopes
from tieline.flows.states import live, move_connection
from tieline.flows.sync import queue_runs
from tieline.flows.verify import Proven, Verified, note_failed_test, prove, verify
from tieline.ids import new_id
from tieline.sdk.auth import Auth, Credential, Redirects, malformed_fields
from tieline.sdk.provider import Options, Provider
from tieline.stages.announce import announce_connection
from tieline.store import connections as store
from tieline.store import credentials as versions
from tieline.store import schedules
from tieline.store.connections import Connection
from tieline.store.credentials import SealedCredential
from tieline.store.db import Work

MAX_CREDENTIAL_BYTES = 100 * 1024
MAX_OPTIONS_BYTES = 50 * 1024
MAX_NAME = 200


@dataclass(frozen=True)
class Attempt:
    """What a person gave: option and credential fields as they came, and a name for the connection, if any.

    `by` is the way to authenticate, by default the first that takes what a person gives; `expires_at` when the credential ends.
    """

    provider: str
    options: Mapping[str, Any] = field(default_factory=dict)
    credential: Mapping[str, Any] = field(default_factory=dict, repr=False)
    name: str | None = None
    by: str | None = None
    expires_at: datetime | None = None


async def connect(parts: Parts, org_id: str, attempt: Attempt) -> Connection:
    """Connect an account with a credential given directly, and queue its first syncs.

    Raises `Invalid`, `TooLarge`, `Conflict` for an account that is connected already, `VaultError`, or the
    `ProviderError` of the test call.
    """
    provider = parts.catalog.provider(attempt.provider)
    auth = given_way(provider, attempt.by, attempt.credential)
    checked_name(attempt.name)
    options = read_options(provider, attempt.options)
    credential = read_credential(provider, auth, attempt.credential)
    ends = checked_expiry(parts, attempt.expires_at)
    return await establish(parts, org_id, provider, auth, options, credential, name=attempt.name, expires_at=ends)


async def establish(
    parts: Parts,
    org_id: str,
    provider: Provider[Any],
    auth: Auth,
    options: Options,
    credential: Credential,
    *,
    name: str | None = None,
    expires_at: datetime | None = None,
    connection_id: str | None = None,
) -> Connection:
    """The one way from a credential to a live connection: a new one, or the one with this id if the account is the same.

    A person who went to the provider and chose an account that is connected already has reconnected it.
    """
    proven = await prove(parts, org_id, provider, auth, options, credential)
    return await keep(parts, org_id, proven, name=name, expires_at=expires_at, connection_id=connection_id)


async def keep(
    parts: Parts,
    org_id: str,
    proven: Proven,
    *,
    name: str | None = None,
    expires_at: datetime | None = None,
    connection_id: str | None = None,
) -> Connection:
    """Save what has passed its test call: the second half of `establish`."""
    standing = await _standing(parts, org_id, proven, connection_id)
    if standing is None:
        return await _create(parts, org_id, proven, name=name, ends=expires_at)
    refuse_other_account(standing, proven.verified)
    new, options = (proven.auth, proven.credential), proven.options
    return await settle(parts, standing, proven.provider, proven.verified, new=new, ends=expires_at, options=options)


async def test_connection(parts: Parts, org_id: str, connection_id: str) -> Connection:
    """Make the test call with the stored credential, and put the connection into the state that it shows."""
    async with parts.db.work(org_id) as work:
        connection = await live(work, connection_id)
        provider = parts.catalog.provider(connection.provider)
        held = await open_credential(work, parts, provider, connection)
    options = parse_options(provider, connection.options)
    try:
        verified = await verify(parts, org_id, provider, options, held, connection=connection)
    except ProviderError as error:
        await note_failed_test(parts, connection, error)
        raise
    refuse_other_account(connection, verified)
    return await settle(parts, connection, provider, verified)


async def replace_credential(
    parts: Parts,
    org_id: str,
    connection_id: str,
    given: Mapping[str, Any],
    *,
    by: str | None = None,
    expires_at: datetime | None = None,
    options: Mapping[str, Any] | None = None,
) -> Connection:
    """Rotate, reconnect, or switch to another way: verify a credential for the same account, then put it in force.

    `options` take the place of those that stand; by them the account may have moved to another address.
    """
    async with parts.db.work(org_id) as work:
        connection = await live(work, connection_id)
    provider = parts.catalog.provider(connection.provider)
    auth = given_way(provider, by or connection.auth, given)
    credential = read_credential(provider, auth, given)
    chosen = read_options(provider, connection.options if options is None else options)
    ends = checked_expiry(parts, expires_at)
    return await establish(
        parts, org_id, provider, auth, chosen, credential, expires_at=ends, connection_id=connection_id
    )


async def switch_way(parts: Parts, org_id: str, connection_id: str, slot: str) -> Connection:
    """Go on by another way whose credential the connection holds already, after a test call with it."""
    async with parts.db.work(org_id) as work:
        connection = await live(work, connection_id)
        provider = parts.catalog.provider(connection.provider)
        auth = provider.mode(slot)
        row = await versions.get_credential(work, connection_id, auth.slot)
        if row is None:
            raise Conflict(f"The connection holds no credential for {slot}", advice="Reconnect it with one.")
        await record(work, parts, "credential.opened", connection_id, slot=row.slot, version=row.version)
    held = await open_row(parts, auth, row)
    options = parse_options(provider, connection.options)
    verified = await verify(parts, org_id, provider, options, held, connection=connection)
    refuse_other_account(connection, verified)
    return await settle(parts, connection, provider, verified, back_to=row)


async def roll_back(parts: Parts, org_id: str, connection_id: str) -> Connection:
    """Put the credential before the present one in force again, after a test call with it."""
    async with parts.db.work(org_id) as work:
        connection = await live(work, connection_id)
        provider = parts.catalog.provider(connection.provider)
        auth = provider.mode(connection.auth)
        _, former = await former_version(work, connection, auth.slot)
        await record(work, parts, "credential.opened", connection_id, slot=former.slot, version=former.version)
    held = await open_row(parts, auth, former)
    options = parse_options(provider, connection.options)
    verified = await verify(parts, org_id, provider, options, held, connection=connection)
    refuse_other_account(connection, verified)
    return await settle(parts, connection, provider, verified, back_to=former)


async def settle(
    parts: Parts,
    connection: Connection,
    provider: Provider[Any],
    verified: Verified,
    *,
    new: tuple[Auth, Credential] | None = None,
    back_to: SealedCredential | None = None,
    ends: datetime | None = None,
    options: Options | None = None,
) -> Connection:
    """After a good test call: put the new credential, or a former one, in force, and let everything run that may."""
    now = parts.clock.now()
    async with parts.db.work(connection.org_id) as work:
        current = await live(work, connection.id, lock=True)
        row = await _put_in_force(work, parts, current, verified, new, back_to, ends)
        missing = missing_scopes(provider, verified.scopes)
        if current.status == "paused":
            await store.update_connection(work, current.id, now=now, paused_from=None)
        else:
            await _let_run(work, current, row, missing, now)
        known = _known(verified, missing) | {"auth": row.slot, "expires_at": row.expires_at, "validated_at": now}
        if options is not None:
            known["options"] = options.model_dump(mode="json")
        await store.update_connection(work, current.id, now=now, **known)
        if new or back_to:
            await announce_connection(work, current, "reconnected", now=now)
        gone_back = "credential.switched" if row.slot != current.auth else "credential.rolled_back"
        done = "credential.rotated" if new else gone_back if back_to else "connection.tested"
        await record(work, parts, done, current.id, slot=row.slot, version=row.version, fingerprint=row.fingerprint)
        return await store.get_connection(work, current.id)


async def _let_run(
    work: Work, connection: Connection, row: SealedCredential, missing: list[str], now: datetime
) -> None:
    """Let everything run that may; a credential past its date does not, even if the provider still takes it."""
    if row.expires_at and row.expires_at <= now:
        return
    await move_connection(work, connection, "degraded" if missing else "active", now=now)
    due = await schedules.set_enabled(work, connection.id, True, now=now)
    await queue_runs(work, connection, due, cause="reconnect", now=now)


async def _put_in_force(
    work: Work,
    parts: Parts,
    current: Connection,
    verified: Verified,
    new: tuple[Auth, Credential] | None,
    back_to: SealedCredential | None,
    ends: datetime | None,
) -> SealedCredential:
    """The version that is in force from now on."""
    told = verified.account.expires_at
    if new:
        return await seal_credential(work, parts, current, *new, expires_at=ends or told)
    slot = back_to.slot if back_to else current.auth
    if back_to and back_to.retired_at:
        present, former = await former_version(work, current, slot)
        _refuse_if_changed(former, back_to)
        await versions.swap_versions(work, present, former, now=parts.clock.now())
    in_force = await versions.get_credential(work, current.id, slot, lock=True)
    if in_force is None:
        raise Conflict("The credential was destroyed meanwhile")
    if back_to:
        _refuse_if_changed(in_force, back_to)
    if told and told != in_force.expires_at:
        await versions.set_expiry(work, in_force.id, told)
        return replace(in_force, expires_at=told)
    return in_force


def _refuse_if_changed(found: SealedCredential, tried: SealedCredential) -> None:
    """Raise `Conflict` unless what is found under the lock is what the test call was made with."""
    if found.id != tried.id:
        raise Conflict("The credential was replaced meanwhile", advice="Look at the connection, then try again.")


async def _create(parts: Parts, org_id: str, proven: Proven, *, name: str | None, ends: datetime | None) -> Connection:
    provider, auth, account, now = proven.provider, proven.auth, proven.verified.account, parts.clock.now()
    missing = missing_scopes(provider, proven.verified.scopes)
    connection = Connection(
        id=new_id("conn"),
        org_id=org_id,
        provider=provider.slug,
        name=name or f"{provider.name}: {account.name}"[:MAX_NAME],
        auth=auth.slot,
        status="degraded" if missing else "active",
        account_id=account.id,
        options=proven.options.model_dump(mode="json"),
        created_at=now,
        updated_at=now,
        validated_at=now,
        expires_at=ends or account.expires_at,
        **_known(proven.verified, missing),
    )
    async with parts.db.work(org_id) as work:
        connection = replace(connection, owner_id=await present_actor(work))
        await _save(work, provider, connection)
        row = await seal_credential(work, parts, connection, auth, proven.credential, expires_at=connection.expires_at)
        planned = [(operation.id, operation.every) for operation in provider.operations]
        due = await schedules.create_schedules(work, connection.id, provider.slug, planned, now=now, cause="connect")
        await queue_runs(work, connection, due, cause="connect", now=now)
        await announce_connection(work, connection, "connected", now=now)
        told = {"provider": provider.slug, "account": account.id, "slot": row.slot, "fingerprint": row.fingerprint}
        await record(work, parts, "connection.connected", connection.id, **told)
        faults.passing("connect.saved")
    faults.passing("connect.committed")
    return connection


def _known(verified: Verified, missing: list[str]) -> dict[str, Any]:
    """What a test call tells of a connection."""
    scopes = None if verified.scopes is None else sorted(verified.scopes)
    account = verified.account
    return {
        "account_name": account.name,
        "scopes": scopes,
        "missing_scopes": missing,
        "remarks": list(account.remarks),
    }


async def _standing(parts: Parts, org_id: str, proven: Proven, connection_id: str | None) -> Connection | None:
    """The connection that this credential is for, if it is not for a new one."""
    async with parts.db.work(org_id) as work:
        if connection_id:
            return await live(work, connection_id)
        if isinstance(proven.auth, Redirects):
            return await store.find_by_account(work, proven.provider.slug, proven.verified.account.id)
    return None


async def _save(work: Work, provider: Provider[Any], connection: Connection) -> None:
    try:
        await store.save_connection(work, connection)
    except Conflict:
        standing = await store.find_by_account(work, provider.slug, connection.account_id)
        raise Conflict(
            f"Integration already exists for {provider.name}",
            advice="Give the standing connection the new credential"
            + (f": `tieline connections rotate {standing.id}`." if standing else "."),
            connection_id=standing.id if standing else None,
        ) from None


def given_way(provider: Provider[Any], by: str | None, given: Collection[str] = ()) -> Auth:
    """The way whose credential a person gives: the one named, else the first that has all the fields given.

    Raises `Invalid` for one on which they go to the provider.
    """
    taking = [auth for auth in provider.modes if not isinstance(auth, Redirects)]
    fitting = [auth for auth in taking if set(given) <= set(auth.credential.model_fields)]
    auth = provider.mode(by) if by else (fitting or taking or [provider.mode()])[0]
    if isinstance(auth, Redirects):
        advice = f"Begin with `tieline connect {provider.slug} --by {auth.slot}` or POST /v1/oauth/start."
        raise Invalid(f"{provider.name} is connected by signing in there, not by a credential", advice=advice)
    return auth


def checked_name(name: str | None) -> str | None:
    """A connection's name; raises `Invalid` if it is too long."""
    if name and len(name) > MAX_NAME:
        raise Invalid(f"The name is over {MAX_NAME} characters", fields=[{"field": "name", "problem": "is too long"}])
    return name


def checked_expiry(parts: Parts, expires_at: datetime | None) -> datetime | None:
    """When a credential ends; raises `Invalid` for a time that is past."""
    if expires_at and expires_at <= parts.clock.now():
        raise Invalid("The credential ends in the past", fields=[{"field": "expires_at", "problem": "is past"}])
    return expires_at


def read_options(provider: Provider[Any], given: Mapping[str, Any]) -> Options:
    """A connection's options; raises `Invalid` or `TooLarge`."""
    if _size(given) > MAX_OPTIONS_BYTES:
        raise TooLarge(f"Options are over {MAX_OPTIONS_BYTES // 1024} KB")
    return parse_options(provider, dict(given))


def read_credential(provider: Provider[Any], auth: Auth, given: Mapping[str, Any]) -> Credential:
    """The credential that a person gave; raises `Invalid` or `TooLarge`, never quoting a value."""
    if _size(given) > MAX_CREDENTIAL_BYTES:
        raise TooLarge(f"The credential is over {MAX_CREDENTIAL_BYTES // 1024} KB")
    credential = parse_credential(auth, dict(given))
    if wrong := malformed_fields(credential):
        problems = [{"field": f"credential.{name}", "problem": "has not the form of such a key"} for name in wrong]
        advice = f"Look at {', '.join(wrong)}. {auth.help}".strip()
        raise Invalid(f"Invalid API key format for {provider.name}", advice=advice, fields=problems)
    return credential


def refuse_other_account(connection: Connection, verified: Verified) -> None:
    """Raise `Conflict` if a credential opens another account than the connection's."""
    account = verified.account
    if account.id != connection.account_id:
        raise Conflict(
            f"That credential opens another account ({account.name}), not {connection.account_name}",
            advice="Connect the other account as a connection of its own.",
        )


def _size(given: Mapping[str, Any]) -> int:
    plain = {key: one.get_secret_value() if isinstance(one, SecretStr) else one for key, one in given.items()}
    try:
        return len(orjson.dumps(plain))
    except TypeError:
        raise Invalid("Values must be JSON in valid Unicode") from None

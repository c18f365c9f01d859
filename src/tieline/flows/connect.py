"""Connect: from what a person gave to a live connection, and the changes that a connection goes through later.

Nothing is saved from an attempt that fails: the provider's test call comes first, then one transaction holds all the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from pydantic import SecretStr

from tieline.catalog.compile import compile_operation
from tieline.errors import (
    Conflict,
    DeclarationError,
    Forbidden,
    Invalid,
    ProviderError,
    RateLimited,
    TooLarge,
    Unauthorised,
    Unavailable,
    Unexpected,
    VaultError,
)
from tieline.flows.parts import Parts
from tieline.flows.reach import credential_bytes, open_credential, parse_credential, parse_options, reach
from tieline.flows.states import move_connection
from tieline.flows.sync import queue_runs
from tieline.ids import new_id
from tieline.sdk.auth import Credential, malformed_fields
from tieline.sdk.cel import CelError
from tieline.sdk.provider import Identified, Options, Provider
from tieline.stages.announce import announce_connection, announce_run
from tieline.store import connections as store
from tieline.store import runs, schedules
from tieline.store.connections import Connection
from tieline.store.credentials import SealedCredential, destroy_credentials, next_version, save_credential
from tieline.store.db import Work
from tieline.store.types import Ciphertext
from tieline.vault import Place, key_id_of

MAX_CREDENTIAL_BYTES = 100 * 1024
MAX_OPTIONS_BYTES = 50 * 1024
MAX_NAME = 200


@dataclass(frozen=True)
class Attempt:
    """What a person gave: option and credential fields as they came, and a name for the connection, if any."""

    provider: str
    options: Mapping[str, Any] = field(default_factory=dict)
    credential: Mapping[str, Any] = field(default_factory=dict, repr=False)
    name: str | None = None


async def connect(parts: Parts, org_id: str, attempt: Attempt) -> Connection:
    """Connect an account with a credential given directly, and queue its first syncs.

    Raises `Invalid`, `TooLarge`, `Conflict` for an account that is connected already, `VaultError`, or the
    `ProviderError` of the test call.
    """
    provider = parts.catalog.provider(attempt.provider)
    name = _checked_name(attempt.name)
    options = _read_options(provider, attempt.options)
    credential = _read_credential(provider, attempt.credential)
    account = await verify(parts, provider, options, credential)
    now = parts.clock.now()
    missing = missing_scopes(provider, account)
    connection = Connection(
        id=new_id("conn"),
        org_id=org_id,
        provider=provider.slug,
        name=name or f"{provider.name}: {account.name}",
        auth=provider.auth.kind,
        status="degraded" if missing else "active",
        account_id=account.id,
        account_name=account.name,
        options=options.model_dump(mode="json"),
        scopes=None if account.scopes is None else sorted(account.scopes),
        missing_scopes=missing,
        created_at=now,
        updated_at=now,
        validated_at=now,
    )
    async with parts.db.work(org_id) as work:
        await _save(work, provider, connection)
        await _seal(work, parts, connection, credential)
        planned = [(operation.id, operation.every) for operation in provider.operations]
        due = await schedules.create_schedules(work, connection.id, provider.slug, planned, now=now, cause="connect")
        await queue_runs(work, connection, due, cause="connect", now=now)
        await announce_connection(work, connection, "connected", now=now)
    return connection


async def verify(parts: Parts, provider: Provider[Any], options: Options, credential: Credential) -> Identified:
    """Make the provider's test call; raises its `ProviderError` in the words that users know."""
    try:
        async with reach(parts, provider, options, credential) as opened:
            return await provider.identity(opened.context())
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
    except Unexpected as error:
        advice = f"Check the address: what answers there does not answer as {provider.name} does."
        raise Unexpected(error.message, advice=advice, **error.details) from None


async def test_connection(parts: Parts, org_id: str, connection_id: str) -> Connection:
    """Make the test call with the stored credential, and put the connection into the state that it shows."""
    async with parts.db.work(org_id) as work:
        connection = await _live(work, connection_id)
        provider = parts.catalog.provider(connection.provider)
        credential = await open_credential(work, parts, provider, connection)
    options = parse_options(provider, connection.options)
    try:
        account = await verify(parts, provider, options, credential)
    except ProviderError as error:
        await _note_failed_test(parts, connection, error)
        raise
    _refuse_other_account(connection, account)
    return await _settle(parts, connection, provider, account)


async def replace_credential(parts: Parts, org_id: str, connection_id: str, given: Mapping[str, Any]) -> Connection:
    """Rotate or reconnect: verify a new credential for the same account, then put it in force."""
    async with parts.db.work(org_id) as work:
        connection = await _live(work, connection_id)
    provider = parts.catalog.provider(connection.provider)
    credential = _read_credential(provider, given)
    account = await verify(parts, provider, parse_options(provider, connection.options), credential)
    _refuse_other_account(connection, account)
    return await _settle(parts, connection, provider, account, credential=credential)


async def reconfigure(
    parts: Parts,
    org_id: str,
    connection_id: str,
    *,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Connection:
    """Change a connection's name, options or overrides; new options must open the same account."""
    async with parts.db.work(org_id) as work:
        connection = await _live(work, connection_id)
        provider = parts.catalog.provider(connection.provider)
        credential = await open_credential(work, parts, provider, connection)
    changes: dict[str, Any] = {"name": name} if _checked_name(name) else {}
    if options is not None:
        chosen = _read_options(provider, options)
        _refuse_other_account(connection, await verify(parts, provider, chosen, credential))
        changes["options"] = chosen.model_dump(mode="json")
    if overrides is not None:
        changes["overrides"] = check_overrides(parts, provider, overrides)
    async with parts.db.work(org_id) as work:
        await _live(work, connection_id, lock=True)
        if changes:
            await store.update_connection(work, connection_id, now=parts.clock.now(), **changes)
        return await store.get_connection(work, connection_id)


async def pause(parts: Parts, org_id: str, connection_id: str) -> Connection:
    """Stop all runs of a connection until it is resumed."""
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        connection = await _live(work, connection_id, lock=True)
        if connection.status == "paused":
            return connection
        await move_connection(work, connection, "paused", now=now, message="paused by a person")
        await schedules.set_enabled(work, connection_id, False, reason="paused", now=now)
        await announce_connection(work, connection, "paused", now=now)
        return await store.get_connection(work, connection_id)


async def resume(parts: Parts, org_id: str, connection_id: str) -> Connection:
    """Let a paused connection run again, at once."""
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        connection = await _live(work, connection_id, lock=True)
        if connection.status != "paused":
            raise Conflict(f"The connection is {connection.status}, not paused")
        await move_connection(work, connection, "degraded" if connection.missing_scopes else "active", now=now)
        due = await schedules.set_enabled(work, connection_id, True, now=now)
        await queue_runs(work, connection, due, cause="resume", now=now)
        await announce_connection(work, connection, "resumed", now=now)
        return await store.get_connection(work, connection_id)


async def disconnect(parts: Parts, org_id: str, connection_id: str) -> Connection:
    """Destroy the credentials and stop everything; entities, findings and evidence stay as history."""
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        connection = await _live(work, connection_id, lock=True)
        await destroy_credentials(work, connection_id)
        await schedules.set_enabled(work, connection_id, False, reason="disconnected", now=now)
        await _cancel_waiting(work, connection_id, now)
        await move_connection(work, connection, "disconnected", now=now, message="disconnected by a person")
        await store.update_connection(work, connection_id, now=now, disconnected_at=now)
        await announce_connection(work, connection, "disconnected", now=now)
        return await store.get_connection(work, connection_id)


async def _cancel_waiting(work: Work, connection_id: str, now: datetime) -> None:
    """End the runs that wait; those under way end by themselves at their next page."""
    ended = {"status": "cancelled", "finished_at": now, "resume_at": None, "error_slug": "cancelled"}
    for schedule in await schedules.list_schedules(work, connection_id):
        if schedule.run_id and schedule.held_by is None:
            await runs.update_run(work, schedule.run_id, **ended, error_message="The connection was disconnected")
            run = await runs.get_run(work, schedule.run_id)
            await runs.forget_pages(work, run)
            await announce_run(work, run, "cancelled", now=now)
            await schedules.set_run(work, schedule.id, None)


def missing_scopes(provider: Provider[Any], account: Identified) -> list[str]:
    """Permissions that some operation needs and the credential is known to lack; none if that cannot be known."""
    if account.scopes is None:
        return []
    return sorted({need for operation in provider.operations for need in operation.needs} - account.scopes)


def check_overrides(parts: Parts, provider: Provider[Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """An organization's own filters and fields, by operation, compiled to see that they work; raises `Invalid`."""
    checked = {}
    for operation_id, own in overrides.items():
        operation = parts.catalog.operation(provider.slug, operation_id)
        if not isinstance(own, Mapping) or set(own) - {"filter", "fields"}:
            raise Invalid(f"overrides.{operation_id}: give `filter`, `fields` or both")
        for mapping in operation.into:
            try:
                faults = mapping.adjusted(filter=own.get("filter"), fields=own.get("fields")).faults()
            except (TypeError, AttributeError):
                raise Invalid(f"overrides.{operation_id}: `filter` is text, `fields` maps names to text") from None
            if faults:
                raise Invalid(f"overrides.{operation_id}: {faults[0]}", advice="See the CEL reference in the docs.")
        try:
            compile_operation(parts.catalog, provider.slug, operation, own)
        except (CelError, DeclarationError) as error:
            raise Invalid(f"overrides.{operation_id}: {error}") from None
        checked[operation_id] = dict(own)
    return checked


def _checked_name(name: str | None) -> str | None:
    if name and len(name) > MAX_NAME:
        raise Invalid(f"The name is over {MAX_NAME} characters", fields=[{"field": "name", "problem": "is too long"}])
    return name


def _read_options(provider: Provider[Any], given: Mapping[str, Any]) -> Options:
    if _size(given) > MAX_OPTIONS_BYTES:
        raise TooLarge(f"Options are over {MAX_OPTIONS_BYTES // 1024} KB")
    return parse_options(provider, dict(given))


def _read_credential(provider: Provider[Any], given: Mapping[str, Any]) -> Credential:
    if _size(given) > MAX_CREDENTIAL_BYTES:
        raise TooLarge(f"The credential is over {MAX_CREDENTIAL_BYTES // 1024} KB")
    credential = parse_credential(provider, dict(given))
    if wrong := malformed_fields(credential):
        problems = [{"field": f"credential.{name}", "problem": "has not the form of such a key"} for name in wrong]
        advice = f"Look at {', '.join(wrong)}. {provider.auth.help}".strip()
        raise Invalid(f"Invalid API key format for {provider.name}", advice=advice, fields=problems)
    return credential


def _size(given: Mapping[str, Any]) -> int:
    plain = {key: one.get_secret_value() if isinstance(one, SecretStr) else one for key, one in given.items()}
    try:
        return len(orjson.dumps(plain))
    except TypeError:
        raise Invalid("Values must be JSON in valid Unicode") from None


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


async def _seal(work: Work, parts: Parts, connection: Connection, credential: Credential) -> None:
    version = await next_version(work, connection.id)
    plain = credential_bytes(credential)
    try:
        sealed = parts.vault.seal(plain, Place(connection.org_id, connection.id, "default", version))
    except VaultError:
        raise VaultError("Credential encryption failed") from None
    row = SealedCredential(
        id=new_id("cred"),
        org_id=connection.org_id,
        connection_id=connection.id,
        slot="default",
        version=version,
        sealed=Ciphertext(sealed),
        key_id=key_id_of(sealed),
        fingerprint=parts.vault.fingerprint(plain, org_id=connection.org_id),
        created_at=parts.clock.now(),
    )
    await save_credential(work, row)


async def _live(work: Work, connection_id: str, *, lock: bool = False) -> Connection:
    connection = await store.get_connection(work, connection_id, lock=lock)
    if connection.status == "disconnected":
        raise Conflict("The connection is disconnected", advice="Connect the account again.")
    return connection


def _refuse_other_account(connection: Connection, account: Identified) -> None:
    if account.id != connection.account_id:
        raise Conflict(
            f"That credential opens another account ({account.name}), not {connection.account_name}",
            advice="Connect the other account as a connection of its own.",
        )


async def _settle(
    parts: Parts,
    connection: Connection,
    provider: Provider[Any],
    account: Identified,
    *,
    credential: Credential | None = None,
) -> Connection:
    """After a good test call: save the new credential if there is one, and let everything run that may."""
    now, missing = parts.clock.now(), missing_scopes(provider, account)
    async with parts.db.work(connection.org_id) as work:
        current = await _live(work, connection.id, lock=True)
        if credential:
            await _seal(work, parts, connection, credential)
        if current.status != "paused":
            await move_connection(work, current, "degraded" if missing else "active", now=now)
            due = await schedules.set_enabled(work, connection.id, True, now=now)
            await queue_runs(work, connection, due, cause="reconnect", now=now)
        scopes = None if account.scopes is None else sorted(account.scopes)
        known = {"account_name": account.name, "scopes": scopes, "missing_scopes": missing, "validated_at": now}
        await store.update_connection(work, connection.id, now=now, **known)
        if credential:
            await announce_connection(work, current, "reconnected", now=now)
        return await store.get_connection(work, connection.id)


async def _note_failed_test(parts: Parts, connection: Connection, error: ProviderError) -> None:
    if not isinstance(error, Unauthorised):
        return
    now = parts.clock.now()
    async with parts.db.work(connection.org_id) as work:
        current = await _live(work, connection.id, lock=True)
        if current.validated_at > connection.validated_at:  # a new credential came meanwhile; what was tried is no more
            return
        await move_connection(work, current, "needs_reconnect", now=now, slug=error.slug, message=error.message)
        await schedules.set_enabled(work, connection.id, False, reason=error.slug, now=now)
        await announce_connection(work, current, "needs_reconnect", now=now)

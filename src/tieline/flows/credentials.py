"""Credentials: sealed into their slot, opened for use, exchanged, taken back and destroyed.

This is the one place where the platform decrypts what people entrusted to it, and every opening is written down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from pydantic import SecretStr, ValidationError

from tieline.access.actor import current_actor
from tieline.errors import Conflict, Unauthorised, VaultError
from tieline.flows.audit import record
from tieline.flows.parts import Parts
from tieline.ids import new_id
from tieline.sdk.auth import Auth, Credential
from tieline.sdk.provider import Provider
from tieline.store import credentials as store
from tieline.store.connections import Connection
from tieline.store.credentials import SealedCredential
from tieline.store.db import Work
from tieline.store.types import Ciphertext
from tieline.vault import Place, key_id_of

KEPT_FOR = timedelta(days=7)
"""How long a version that was replaced is kept, to go back to."""


@dataclass(frozen=True)
class Held:
    """A credential, opened, and the row that it came from; no row if it has not been stored yet."""

    auth: Auth
    credential: Credential = field(repr=False)
    row: SealedCredential | None = None


async def seal_credential(
    work: Work,
    parts: Parts,
    connection: Connection,
    auth: Auth,
    credential: Credential,
    *,
    expires_at: datetime | None = None,
) -> SealedCredential:
    """Put a credential in force in its slot; raises `VaultError`."""
    version = await store.next_version(work, connection.id, auth.slot)
    plain = credential_bytes(credential)
    sealed = await _seal(parts, plain, Place(connection.org_id, connection.id, auth.slot, version))
    row = SealedCredential(
        id=new_id("cred"),
        org_id=connection.org_id,
        connection_id=connection.id,
        slot=auth.slot,
        version=version,
        sealed=Ciphertext(sealed),
        key_id=key_id_of(sealed),
        fingerprint=parts.vault.fingerprint(plain, org_id=connection.org_id),
        created_at=parts.clock.now(),
        created_by=current_actor(),
        expires_at=expires_at,
    )
    await store.save_credential(work, row)
    return row


async def open_credential(work: Work, parts: Parts, provider: Provider[Any], connection: Connection) -> Held:
    """The credential in force of the way in use; raises `Unauthorised` if it was destroyed, or `VaultError`."""
    auth = provider.mode(connection.auth)
    row = await store.get_credential(work, connection.id, auth.slot)
    if row is None:
        raise Unauthorised(f"{connection.name} has no credential any more")
    held = await open_row(parts, auth, row)
    await record(work, parts, "credential.opened", connection.id, slot=row.slot, version=row.version)
    return held


async def open_row(parts: Parts, auth: Auth, row: SealedCredential) -> Held:
    """A stored version, opened; raises `VaultError`, or `Unauthorised` if it no longer fits what the way asks for."""
    plain = await parts.vault.open(row.sealed.sealed, place_of(row))
    try:
        return Held(auth, auth.credential.model_validate_json(plain), row)
    except ValidationError:
        raise Unauthorised(f"The credential was stored for an earlier form of {auth.slot}") from None


async def reseal(parts: Parts, row: SealedCredential, credential: Credential) -> Ciphertext:
    """The next content of a row, sealed under the serial that it will have."""
    place = Place(row.org_id, row.connection_id, row.slot, row.version, row.serial + 1)
    return Ciphertext(await _seal(parts, credential_bytes(credential), place))


async def former_version(work: Work, connection: Connection, slot: str) -> tuple[SealedCredential, SealedCredential]:
    """The version in force of a slot and the one before it, both locked; raises `Conflict` if that one is no longer kept."""
    kept = [row for row in await store.list_credentials(work, connection.id, lock=True) if row.slot == slot]
    in_force = [row for row in kept if row.retired_at is None]
    former = [row for row in kept if row.retired_at is not None]
    if not in_force or not former:
        days = KEPT_FOR.days
        raise Conflict(
            "There is no former credential to go back to", advice=f"A former one is kept for {days} days; rotate."
        )
    return in_force[0], former[0]


def place_of(row: SealedCredential) -> Place:
    """Where a version is sealed for."""
    return Place(row.org_id, row.connection_id, row.slot, row.version, row.serial)


def credential_bytes(credential: Credential) -> bytes:
    """A credential in plain, to be sealed at once."""
    values = {name: getattr(credential, name) for name in type(credential).model_fields}
    plain = {name: one.get_secret_value() if isinstance(one, SecretStr) else one for name, one in values.items()}
    return orjson.dumps(plain)


async def _seal(parts: Parts, plain: bytes, place: Place) -> bytes:
    try:
        return await parts.vault.seal(plain, place)
    except VaultError:
        raise VaultError("Credential encryption failed") from None

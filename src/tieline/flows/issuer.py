"""Issuer: signed statements of who is asking, which a cloud exchanges for a token of its own, so that no secret is stored.

Tieline publishes an OpenID Connect issuer (Discovery 1.0: `/.well-known/openid-configuration` and its key set) at its public URL.
A customer's cloud is told to trust that issuer for one subject, `organization:<id>`, which no other organization's token has.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import orjson
from joserfc import jwt
from joserfc.jwk import RSAKey

from tieline.flows.audit import record
from tieline.flows.parts import Parts
from tieline.ids import new_id
from tieline.store import issuer_keys as store
from tieline.store.db import SystemWork
from tieline.store.issuer_keys import IssuerKey
from tieline.store.types import Ciphertext
from tieline.vault import Place, key_id_of

ALGORITHM = "RS256"
"""The one algorithm that every cloud takes."""
LIFETIME = timedelta(minutes=5)
SIGNS_FOR = timedelta(days=90)
PUBLISHED_AFTER = timedelta(days=7)
"""How long a key that no longer signs is still published, for those who cache the set."""

_log = logging.getLogger(__name__)


async def issue_identity_token(parts: Parts, org_id: str, provider: str, *, audience: str) -> str:
    """A token that says which organization asks, for one audience and five minutes; it is given once that is recorded."""
    key = await _signing_key(parts, org_id)
    place = Place("platform", key.id, "issuer", 0)
    private = RSAKey.import_key(orjson.loads(await parts.vault.open(key.sealed.sealed, place)))
    now, token_id = parts.clock.now(), new_id("jti")
    claims = {
        "iss": parts.public_url,
        "sub": subject_of(org_id),
        "aud": audience,
        "iat": int(now.timestamp()),
        "exp": int((now + LIFETIME).timestamp()),
        "jti": token_id,
        "provider": provider,
    }
    async with parts.db.work(org_id) as work:
        await record(work, parts, "identity_token.issued", token_id, audience=audience, provider=provider)
    return jwt.encode({"alg": ALGORITHM, "kid": key.id, "typ": "JWT"}, claims, private, algorithms=[ALGORITHM])


def subject_of(org_id: str) -> str:
    """The subject of an organization's tokens: what a cloud's trust policy names."""
    return f"organization:{org_id}"


def describe_issuer(parts: Parts) -> dict[str, Any]:
    """The metadata that clouds read first."""
    return {
        "issuer": parts.public_url,
        "jwks_uri": f"{parts.public_url}/.well-known/jwks.json",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "claims_supported": ["iss", "sub", "aud", "iat", "exp", "jti", "provider"],
    }


async def list_public_keys(parts: Parts) -> dict[str, Any]:
    """The public keys as a JSON Web Key Set (RFC 7517); the first is made if there is none."""
    await _signing_key(parts)
    async with parts.db.system() as work:
        keys = await store.list_issuer_keys(work)
    return {"keys": [key.public for key in keys]}


async def renew_issuer_keys(parts: Parts) -> None:
    """Make a new key when the one that signs has done so for long enough, and forget those that nobody needs."""
    async with parts.db.system() as work:
        if not await store.list_issuer_keys(work):
            return
        destroyed = await store.destroy_issuer_keys(work, before=parts.clock.now() - SIGNS_FOR - PUBLISHED_AFTER)
    if destroyed:
        _log.info("Issuer keys that nobody needs any more were destroyed", extra={"count": destroyed})
    await _signing_key(parts)


async def _signing_key(parts: Parts, org_id: str | None = None) -> IssuerKey:
    """The key that signs now. One that must be made is logged, and recorded in the organization that asks, if one does."""
    async with parts.db.system() as work:
        keys = await store.list_issuer_keys(work)
    if signing := _signing(parts, keys):
        return signing
    async with parts.db.system() as work:
        await store.lock_issuer_keys(work)
        if signing := _signing(parts, await store.list_issuer_keys(work)):  # another process was faster
            return signing
        key = await _make_key(work, parts)
    _log.info("An issuer key was made", extra={"issuer_key": key.id})
    if org_id:
        async with parts.db.work(org_id) as own:
            await record(own, parts, "issuer_key.created", key.id)
    return key


def _signing(parts: Parts, keys: list[IssuerKey]) -> IssuerKey | None:
    """The newest, unless it has signed for long enough."""
    return keys[0] if keys and keys[0].created_at > parts.clock.now() - SIGNS_FOR else None


async def _make_key(work: SystemWork, parts: Parts) -> IssuerKey:
    key_id = new_id("iss")
    made = RSAKey.generate_key(2048, {"kid": key_id, "use": "sig", "alg": ALGORITHM})
    place = Place("platform", key_id, "issuer", 0)
    sealed = await parts.vault.seal(orjson.dumps(made.as_dict(private=True)), place)
    public = made.as_dict(private=False)
    key = IssuerKey(key_id, public, Ciphertext(sealed), key_id_of(sealed), parts.clock.now())
    await store.save_issuer_key(work, key)
    return key

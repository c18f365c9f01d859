"""Issuer: signed statements of who is asking, which a cloud exchanges for a token of its own, so that no secret is stored.

Tieline publishes an OpenID Connect issuer (Discovery 1.0: `/.well-known/openid-configuration` and its key set) at its public URL.
A customer's cloud is told to trust that issuer for one subject, `organization:<id>`, which no other organization's token has.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
from joserfc import jwt
from joserfc.jwk import RSAKey

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


async def issue_identity_token(parts: Parts, org_id: str, provider: str, *, audience: str) -> str:
    """A token that says which organization asks, for one audience and five minutes."""
    key = await _signing_key(parts)
    place = Place("platform", key.id, "issuer", 0)
    private = RSAKey.import_key(orjson.loads(await parts.vault.open(key.sealed.sealed, place)))
    now = parts.clock.now()
    claims = {
        "iss": parts.public_url,
        "sub": subject_of(org_id),
        "aud": audience,
        "iat": int(now.timestamp()),
        "exp": int((now + LIFETIME).timestamp()),
        "jti": new_id("jti"),
        "provider": provider,
    }
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
        await store.destroy_issuer_keys(work, before=parts.clock.now() - SIGNS_FOR - PUBLISHED_AFTER)
    await _signing_key(parts)


async def _signing_key(parts: Parts) -> IssuerKey:
    async with parts.db.system() as work:
        keys = await store.list_issuer_keys(work)
    if keys and keys[0].created_at > parts.clock.now() - SIGNS_FOR:
        return keys[0]
    async with parts.db.system() as work:
        await store.lock_issuer_keys(work)
        again = await store.list_issuer_keys(work)
        if again[:1] != keys[:1]:  # another process was faster
            return again[0]
        return await _make_key(work, parts)


async def _make_key(work: SystemWork, parts: Parts) -> IssuerKey:
    key_id = new_id("iss")
    made = RSAKey.generate_key(2048, {"kid": key_id, "use": "sig", "alg": ALGORITHM})
    place = Place("platform", key_id, "issuer", 0)
    sealed = await parts.vault.seal(orjson.dumps(made.as_dict(private=True)), place)
    public = made.as_dict(private=False)
    key = IssuerKey(key_id, public, Ciphertext(sealed), key_id_of(sealed), parts.clock.now())
    await store.save_issuer_key(work, key)
    return key

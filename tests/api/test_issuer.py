"""The issuer's documents: for whoever asks, and nothing in them but what is public."""

from __future__ import annotations

import httpx2
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.api.shapes import Scene

from tieline.flows.issuer import issue_identity_token
from tieline.flows.parts import Parts


async def test_the_documents_check_a_token_and_hold_no_private_part(
    anonymous: httpx2.AsyncClient, scene: Scene, parts: Parts
) -> None:
    token = await issue_identity_token(parts, scene.org_id, "sandbox", audience="a-cloud")
    issuer = (await anonymous.get("/.well-known/openid-configuration")).json()
    assert issuer["jwks_uri"] == f"{issuer['issuer']}/.well-known/jwks.json"
    keys = (await anonymous.get("/.well-known/jwks.json")).json()
    assert keys["keys"]
    assert all(set(key) == {"kty", "n", "e", "kid", "use", "alg"} for key in keys["keys"])
    claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256"]).claims
    assert (claims["iss"], claims["aud"], claims["provider"]) == (issuer["issuer"], "a-cloud", "sandbox")
    assert set(claims) <= set(issuer["claims_supported"])


async def test_the_documents_change_nothing_and_take_no_other_method(anonymous: httpx2.AsyncClient) -> None:
    first, second = [(await anonymous.get("/.well-known/jwks.json")).json() for _ in range(2)]
    assert first == second
    assert (await anonymous.post("/.well-known/jwks.json")).status_code == 405

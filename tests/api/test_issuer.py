"""The issuer's documents: for whoever asks, and nothing in them but what is public."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.api.conftest import Newcomer
from tests.api.shapes import Scene

from tieline.clock import SetClock
from tieline.flows.issuer import PUBLISHED_AFTER, SIGNS_FOR, issue_identity_token, renew_issuer_keys
from tieline.flows.parts import Parts
from tieline.store.audit import list_entries
from tieline.store.issuer_keys import list_issuer_keys
from tieline.store.listing import Paging


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


async def token_id(anonymous: httpx2.AsyncClient, token: str) -> str:
    keys = KeySet.import_key_set((await anonymous.get("/.well-known/jwks.json")).json())
    return str(jwt.decode(token, keys, algorithms=["RS256"]).claims["jti"])


async def test_each_token_is_recorded_in_the_log_of_the_organization_that_it_speaks_for(
    anonymous: httpx2.AsyncClient, scene: Scene, parts: Parts
) -> None:
    token = await issue_identity_token(parts, scene.org_id, "sandbox", audience="a-cloud")
    async with parts.db.work(scene.org_id) as work:
        newest = (await list_entries(work, Paging(limit=1))).items[0]
    assert (newest.action, newest.details) == ("identity_token.issued", {"audience": "a-cloud", "provider": "sandbox"})
    assert newest.target == await token_id(anonymous, token)


async def test_a_signing_key_that_is_made_is_recorded_where_it_was_asked_for(
    newcomer: Newcomer, parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tieline")
    await issue_identity_token(parts, newcomer.org_id, "sandbox", audience="a-cloud")
    now = parts.clock.now()
    later = replace(parts, clock=SetClock(now + SIGNS_FOR + timedelta(days=1)))
    await issue_identity_token(later, newcomer.org_id, "sandbox", audience="a-cloud")
    async with parts.db.work(newcomer.org_id) as work:
        made = (await list_entries(work, Paging(), action="issuer_key.created")).items[0]
    async with parts.db.system() as work_of_all:
        keys = await list_issuer_keys(work_of_all)
    assert made.target == keys[0].id
    assert [one.issuer_key for one in caplog.records if "was made" in one.message][-1:] == [keys[0].id]  # type: ignore[attr-defined]
    await renew_issuer_keys(replace(parts, clock=SetClock(now + 2 * (SIGNS_FOR + PUBLISHED_AFTER))))
    assert [one.count for one in caplog.records if "were destroyed" in one.message] == [len(keys)]  # type: ignore[attr-defined]


async def test_the_documents_change_nothing_and_take_no_other_method(anonymous: httpx2.AsyncClient) -> None:
    first, second = [(await anonymous.get("/.well-known/jwks.json")).json() for _ in range(2)]
    assert first == second
    assert (await anonymous.post("/.well-known/jwks.json")).status_code == 405

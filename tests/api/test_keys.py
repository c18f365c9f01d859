"""Keys over the API: for operators alone, told by name only, and what is stored brought under the current one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import httpx2
from fastapi import FastAPI
from tests.api.test_problems import AwayKeyService, assert_problem

from tieline.flows.parts import Parts
from tieline.vault import LocalKeyRing, Vault, with_new_key
from tieline.vault.keys import SINGLE_KEYS


async def test_stored_values_are_brought_under_a_new_key(
    app: FastAPI, as_: Callable[[str], httpx2.AsyncClient], parts: Parts, ring: LocalKeyRing
) -> None:
    operator, rotated = as_("operator"), with_new_key(ring)
    former = (await operator.get("/v1/keys")).json()
    assert [(one["id"], one["lives_in"]) for one in former["items"] if one["current"]] == [
        (ring.current_id, "key ring")
    ]
    stored = sum(one["in_use"] for one in former["items"] if one["lives_in"] == "key ring")
    assert stored > 0
    app.state.parts = replace(parts, vault=Vault(rotated))
    told = (await operator.post("/v1/keys/re-wrap")).json()
    assert told["done"] == stored
    now = {one["id"]: one for one in (await operator.get("/v1/keys")).json()["items"]}
    assert now[rotated.current_id] == {
        "id": rotated.current_id,
        "lives_in": "key ring",
        "current": True,
        "in_use": stored,
    }
    assert now[ring.current_id]["in_use"] == 0
    assert (await operator.post("/v1/keys/re-wrap")).json()["done"] == 0

    singles = {name: getattr(ring, name) for name in SINGLE_KEYS}
    back = LocalKeyRing(rotated._keys, current_id=ring.current_id, **singles)  # for the tests that come after this one
    app.state.parts = replace(parts, vault=Vault(back))
    assert (await operator.post("/v1/keys/re-wrap")).json()["done"] == stored


async def test_while_the_key_service_is_away_no_key_is_current_and_nothing_is_rewrapped(
    app: FastAPI, as_: Callable[[str], httpx2.AsyncClient], parts: Parts
) -> None:
    app.state.parts = replace(parts, vault=Vault(AwayKeyService()))
    items = (await as_("operator").get("/v1/keys")).json()["items"]
    assert not any(one["current"] for one in items)
    answer = await as_("operator").post("/v1/keys/re-wrap")
    assert_problem(answer, 503, "credential-encryption-failed")
    assert "kms.internal" not in answer.text


async def test_no_answer_about_keys_holds_one(as_: Callable[[str], httpx2.AsyncClient], ring: LocalKeyRing) -> None:
    text = (await as_("operator").get("/v1/keys")).text
    content = ring.reveal()
    for key in (*content["keys"].values(), *(content[name] for name in SINGLE_KEYS)):
        assert key not in text

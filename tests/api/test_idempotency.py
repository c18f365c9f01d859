"""Idempotency keys: a repeat is answered like the first request and changes nothing, also after a restart and side by side."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from tests.api.conftest import Newcomer, new_key, parts_of
from tests.api.shapes import Scene

from tieline.api.app import create_api
from tieline.flows.parts import Parts
from tieline.store.db import Db
from tieline.store.idempotency import claim_key
from tieline.vault import LocalKeyRing

KEY = {"Idempotency-Key": "connect-once"}


async def connections_of(newcomer: Newcomer) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await newcomer.client.get("/v1/connections")).json()["items"]
    return rows


async def test_a_repeat_is_answered_like_the_first_and_says_so(newcomer: Newcomer) -> None:
    first = await newcomer.client.post("/v1/connections", json=newcomer.attempt, headers=KEY)
    again = await newcomer.client.post("/v1/connections", json=newcomer.attempt, headers=KEY)
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert again.status_code == 201
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert len(await connections_of(newcomer)) == 1


async def test_a_refusal_is_repeated_as_it_was(newcomer: Newcomer) -> None:
    bad = newcomer.attempt | {"credential": {"token": "wrong form"}}
    first = await newcomer.client.post("/v1/connections", json=bad, headers=KEY)
    again = await newcomer.client.post("/v1/connections", json=bad, headers=KEY)
    assert first.status_code == again.status_code == 422
    assert first.content == again.content
    assert again.headers["content-type"] == "application/problem+json"


async def test_the_same_key_with_another_body_or_path_is_refused(newcomer: Newcomer) -> None:
    made = (await newcomer.client.post("/v1/connections", json=newcomer.attempt, headers=KEY)).json()
    other = await newcomer.client.post("/v1/connections", json=newcomer.attempt | {"name": "n"}, headers=KEY)
    elsewhere = await newcomer.client.post(f"/v1/connections/{made['id']}/pause", headers=KEY)
    assert (other.status_code, other.json()["slug"]) == (elsewhere.status_code, "conflict") == (409, "conflict")
    assert (await connections_of(newcomer))[0]["status"] == "active"


async def test_a_key_belongs_to_the_api_key_that_sent_it(newcomer: Newcomer, parts: Parts, ring: LocalKeyRing) -> None:
    await newcomer.client.post("/v1/connections", json=newcomer.attempt, headers=KEY)
    lower = {"X-API-Key": await new_key(parts, ring, newcomer.org_id, "member")}
    answer = await newcomer.client.post("/v1/connections", json=newcomer.attempt, headers=KEY | lower)
    assert answer.status_code == 403


async def test_of_many_at_once_one_is_carried_out(newcomer: Newcomer) -> None:
    answers = await asyncio.gather(
        *(newcomer.client.post("/v1/connections", json=newcomer.attempt, headers=KEY) for _ in range(30))
    )
    statuses = {answer.status_code for answer in answers}
    assert statuses <= {201, 409}
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    refused = [answer for answer in answers if answer.status_code == 409]
    assert refused
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert len(await connections_of(newcomer)) == 1
    settled = await newcomer.client.post("/v1/connections", json=newcomer.attempt, headers=KEY)
    assert settled.headers["idempotent-replayed"] == "true"


async def test_a_restart_forgets_nothing(newcomer: Newcomer, api_database_url: str, ring: LocalKeyRing) -> None:
    first = await newcomer.client.post("/v1/connections", json=newcomer.attempt, headers=KEY)
    db = Db(api_database_url)
    restarted = create_api(parts_of(db, ring), ring)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(restarted), base_url="http://tieline.test", headers=newcomer.client.headers
    ) as client:
        again = await client.post("/v1/connections", json=newcomer.attempt, headers=KEY)
    await db.close()
    assert (again.status_code, again.content) == (201, first.content)


async def test_a_request_that_failed_gives_the_key_back(newcomer: Newcomer) -> None:
    away = newcomer.attempt | {"options": {"base_url": "http://127.0.0.1:9"}}
    for _ in range(2):
        answer = await newcomer.client.post("/v1/connections", json=away, headers=KEY)
        assert answer.status_code == 502
        assert "idempotent-replayed" not in answer.headers
    assert (await newcomer.client.post("/v1/connections", json=newcomer.attempt, headers=KEY)).status_code == 201


@pytest.mark.parametrize(("age", "status"), [(timedelta(minutes=1), 409), (timedelta(minutes=11), 201)])
async def test_a_request_that_died_with_its_process_gives_the_key_back_after_a_while(
    newcomer: Newcomer, parts: Parts, age: timedelta, status: int
) -> None:
    actor = (await newcomer.client.get("/v1/api-keys")).json()["items"][0]["id"]
    async with parts.db.work(newcomer.org_id) as work:
        await claim_key(work, f"{actor}:{KEY['Idempotency-Key']}", b"any", now=parts.clock.now() - age)
    answer = await newcomer.client.post("/v1/connections", json=newcomer.attempt, headers=KEY)
    assert answer.status_code == status


async def test_without_the_key_ring_nobody_can_tell_which_request_was_sent(
    newcomer: Newcomer, app: FastAPI, parts: Parts
) -> None:
    """What is kept of a request is no bare hash of its body, at which the secrets inside could be guessed."""
    await newcomer.client.post("/v1/connections", json=newcomer.attempt, headers=KEY)
    app.state.parts = replace(parts, keys=LocalKeyRing.generate())
    guessed = await newcomer.client.post("/v1/connections", json=newcomer.attempt, headers=KEY)
    assert (guessed.status_code, guessed.json()["detail"]) == (409, "This Idempotency-Key was used for another request")


async def test_after_a_day_a_key_may_name_another_request(
    newcomer: Newcomer, app: FastAPI, parts: Parts, ring: LocalKeyRing
) -> None:
    app.state.parts = parts_of(parts.db, ring, late=timedelta(hours=24, minutes=1))
    bad = newcomer.attempt | {"credential": {"token": "wrong form"}}
    assert (await newcomer.client.post("/v1/connections", json=bad, headers=KEY)).status_code == 422
    app.state.parts = parts
    assert (await newcomer.client.post("/v1/connections", json=newcomer.attempt, headers=KEY)).status_code == 201


async def test_no_key_in_plain_is_kept_for_a_repeat(newcomer: Newcomer, parts: Parts) -> None:
    wanted = {"name": "k", "role": "auditor"}
    actor = (await newcomer.client.get("/v1/api-keys")).json()["items"][0]["id"]
    first = (await newcomer.client.post("/v1/api-keys", json=wanted, headers=KEY)).json()
    again = (await newcomer.client.post("/v1/api-keys", json=wanted, headers=KEY)).json()
    assert first["key"] != again["key"]
    async with parts.db.work(newcomer.org_id) as work:
        assert await claim_key(work, f"{actor}:{KEY['Idempotency-Key']}", b"any", now=parts.clock.now()) is None


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "t\tab"])
async def test_a_key_of_another_form_is_refused(newcomer: Newcomer, scene: Scene, key: str) -> None:
    answer = await newcomer.client.post("/v1/evidence/materialize", headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "header.idempotency_key")


async def test_every_post_takes_one_but_those_that_show_a_secret_and_one_that_is_safe_to_repeat(app: FastAPI) -> None:
    without = set()
    for operations in app.openapi()["paths"].values():
        for method, operation in operations.items():
            names = {parameter["name"] for parameter in operation.get("parameters", ())}
            if method == "post" and "Idempotency-Key" not in names:
                without.add(operation["operationId"])
    showing = {"create_api_key", "create_organization_api_key", "invite_member", "make_member_link", "start_sign_in"}
    showing |= {"answer_sign_in"}  # a browser's form, which is good once
    showing |= {"create_connect_session"}
    harmless = {"rewrap_stored_values", "try_mapping"}
    assert without == showing | harmless

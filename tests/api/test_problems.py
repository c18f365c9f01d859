"""Problems: one shape for every refusal and failure, nothing of the input in it, and the seven messages that users know."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from tests.api.conftest import Newcomer
from tests.api.shapes import SANDBOX_TOKEN, Scene

from tieline.api.app import create_api, create_mounted
from tieline.api.problem import Problem
from tieline.flows.parts import Parts
from tieline.flows.readings import Readings
from tieline.vault import KeyFailure, LocalKeyRing, Vault, Wrapped

As = Callable[[str], httpx2.AsyncClient]
CONTROL = {"X-Sandbox-Control": SANDBOX_TOKEN}


class AwayKeyService:
    """A key service that cannot be reached."""

    fingerprint_key = b"f" * 32
    ids: list[str] = []  # noqa: RUF012  the protocol's own type

    async def current(self) -> str:
        raise ConnectionError("kms.internal refused")

    async def wrap(self, _data_keys: object) -> list[Wrapped | KeyFailure]:
        raise ConnectionError("kms.internal refused")

    async def unwrap(self, _several: object) -> list[bytes | KeyFailure]:
        raise ConnectionError("kms.internal refused")

    async def rewrap(self, _several: object) -> list[Wrapped | KeyFailure]:
        raise ConnectionError("kms.internal refused")


@pytest.fixture
async def spoil(sandbox_url: str) -> AsyncIterator[Callable[..., Any]]:
    """Script the sandbox's answers; they are good again at the end."""
    async with httpx2.AsyncClient(headers=CONTROL, trust_env=False, timeout=60) as control:

        async def script(**rule: Any) -> None:
            (await control.post(f"{sandbox_url}/_sandbox/faults", json={"rules": [rule]})).raise_for_status()

        yield script
        (await control.post(f"{sandbox_url}/_sandbox/faults", json={"rules": []})).raise_for_status()


def assert_problem(answer: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    Problem.model_validate(problem, strict=True)
    required = {"type", "slug", "title", "status", "detail", "advice", "request_id", "fields"}
    assert required <= set(problem) <= set(Problem.model_fields)
    assert (problem["type"], problem["slug"], problem["status"]) == (f"/problems/{slug}", slug, status)
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["title"]
    assert problem["detail"]
    assert problem["advice"]
    return problem


async def test_an_unknown_path_is_a_problem(anonymous: httpx2.AsyncClient) -> None:
    assert_problem(await anonymous.get("/v1/nonsense"), 404, "no-such-path")
    assert_problem(await anonymous.get("/nonsense/%ff"), 404, "no-such-path")


async def test_a_wrong_method_is_a_problem_and_names_the_right_ones(anonymous: httpx2.AsyncClient) -> None:
    answer = await anonymous.put("/v1/providers")
    assert_problem(answer, 405, "method-not-allowed")
    assert "GET" in answer.headers["allow"]


async def test_a_missing_key_is_a_problem_and_names_the_header(anonymous: httpx2.AsyncClient) -> None:
    answer = await anonymous.get("/v1/providers")
    assert_problem(answer, 401, "not-authenticated")
    assert "X-API-Key" in answer.headers["www-authenticate"]


async def test_a_wrong_query_parameter_names_the_field_and_not_the_value(as_: As) -> None:
    answer = await as_("auditor").get("/v1/runs", params={"limit": "hunter2"})
    problem = assert_problem(answer, 422, "invalid")
    assert [one["field"] for one in problem["fields"]] == ["query.limit"]
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("name", ["ghp_Secret0000", "lks_for_tests_only_7", "A" * 5000])
async def test_an_unknown_field_that_may_be_a_secret_is_not_named(as_: As, name: str) -> None:
    answer = await as_("admin").post("/v1/api-keys", json={"name": "k", "role": "auditor", name: "x"})
    assert_problem(answer, 422, "invalid")
    assert name not in answer.text


async def test_every_answer_has_a_request_id_of_its_own(anonymous: httpx2.AsyncClient) -> None:
    answers = [await anonymous.get(path) for path in ("/", "/healthz", "/readyz", "/docs", "/v1/runs", "/nonsense")]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == len(answers)
    assert all(answer.headers["x-content-type-options"] == "nosniff" for answer in answers)


async def test_a_failure_says_only_that_it_failed(
    parts: Parts, ring: LocalKeyRing, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    broken = create_api(replace(parts, catalog=None), ring)  # type: ignore[arg-type]
    transport = httpx2.ASGITransport(broken)
    headers = {"X-API-Key": scene.keys["auditor"]}
    async with httpx2.AsyncClient(transport=transport, base_url="http://tieline.test", headers=headers) as client:
        answer = await client.get("/v1/providers")
    problem = assert_problem(answer, 500, "internal")
    assert problem["detail"] == "Something went wrong on our side"
    assert any(record.exc_info for record in caplog.records)


async def test_an_absent_database_is_said_to_be_absent(parts: Parts, ring: LocalKeyRing) -> None:
    from tieline.store.db import Db

    away = create_api(replace(parts, db=Db("postgresql://nobody@127.0.0.1:9/none")), ring)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(away), base_url="http://tieline.test") as client:
        answer = await client.get("/v1/providers", headers={"X-API-Key": "tl_" + "a" * 12 + "_" + "b" * 32})
        assert_problem(answer, 503, "database")
        assert answer.headers["retry-after"]
        assert_problem(await client.get("/readyz"), 503, "database")
        assert (await client.get("/healthz")).json() == {"status": "alive"}


async def test_health_and_readiness_answer_without_a_key(anonymous: httpx2.AsyncClient) -> None:
    assert (await anonymous.get("/healthz")).json() == {"status": "alive"}
    assert (await anonymous.get("/readyz")).json() == {"status": "ready"}
    assert (await anonymous.get("/")).headers["location"] == "docs"


async def test_the_documentation_names_every_route_and_needs_nothing_from_elsewhere(
    anonymous: httpx2.AsyncClient, app: FastAPI
) -> None:
    page = await anonymous.get("/docs")
    for path, operations in app.openapi()["paths"].items():
        assert f"<code>{path}</code>" in page.text
        assert all(f'id="{operation["operationId"]}"' in page.text for operation in operations.values())
    assert "<script" not in page.text
    assert "src=" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_a_mounted_api_starts_tieline_with_itself(parts: Parts, ring: LocalKeyRing) -> None:
    from contextlib import asynccontextmanager
    from types import SimpleNamespace

    running = []

    @asynccontextmanager
    async def started() -> AsyncIterator[Any]:
        running.append(True)
        readings = Readings(parts, role="mounted")
        yield SimpleNamespace(parts=parts, ring=ring, readings=readings, metrics_token=None)
        running.clear()

    app: FastAPI = create_mounted(started)
    async with app.router.lifespan_context(app):
        assert running
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://tieline.test") as client:
            assert (await client.get("/readyz")).status_code == 200
    assert not running


# The seven messages


async def test_a_key_of_the_wrong_form_is_told_before_any_request(newcomer: Newcomer) -> None:
    attempt = newcomer.attempt | {"credential": {"token": "ghp_Another0Service"}}
    answer = await newcomer.client.post("/v1/connections", json=attempt)
    problem = assert_problem(answer, 422, "invalid")
    assert problem["detail"] == "Invalid API key format for Sandbox"
    assert [one["field"] for one in problem["fields"]] == ["credential.token"]
    assert "ghp_Another0Service" not in answer.text


async def test_a_key_that_the_provider_refuses_is_told(newcomer: Newcomer) -> None:
    attempt = newcomer.attempt | {"credential": {"token": "lks_expired_long_ago"}}
    answer = await newcomer.client.post("/v1/connections", json=attempt)
    assert assert_problem(answer, 422, "credential-rejected")["detail"] == "Sandbox API key is invalid or expired"
    assert "lks_expired_long_ago" not in answer.text


async def test_missing_permissions_are_told(newcomer: Newcomer, spoil: Callable[..., Any]) -> None:
    await spoil(match="/v1/me", status=403, times=None)
    answer = await newcomer.client.post("/v1/connections", json=newcomer.attempt)
    problem = assert_problem(answer, 422, "permission-missing")
    assert problem["detail"] == "Service account lacks required permissions"


async def test_a_rate_limit_is_told_with_the_time_to_wait(newcomer: Newcomer, spoil: Callable[..., Any]) -> None:
    await spoil(match="/v1/me", status=429, headers={"Retry-After": "90"}, times=None)
    answer = await newcomer.client.post("/v1/connections", json=newcomer.attempt)
    problem = assert_problem(answer, 429, "rate-limited")
    assert problem["detail"] == "Sandbox rate limit exceeded during validation"
    assert 0 < int(answer.headers["retry-after"]) <= 91
    assert problem["retry_at"].endswith("Z")


async def test_an_unreachable_provider_is_told(newcomer: Newcomer) -> None:
    attempt = newcomer.attempt | {"options": {"base_url": "http://127.0.0.1:9"}}
    answer = await newcomer.client.post("/v1/connections", json=attempt)
    assert assert_problem(answer, 502, "provider-unavailable")["detail"] == "Unable to connect to Sandbox"


async def test_a_failed_encryption_is_told_and_nothing_is_saved(newcomer: Newcomer, app: FastAPI, parts: Parts) -> None:
    app.state.parts = replace(parts, vault=Vault(AwayKeyService()))
    answer = await newcomer.client.post("/v1/connections", json=newcomer.attempt)
    assert assert_problem(answer, 503, "credential-encryption-failed")["detail"] == "Credential encryption failed"
    assert "kms.internal" not in answer.text
    assert (await newcomer.client.get("/v1/connections")).json()["items"] == []


async def test_an_account_that_is_connected_already_is_told_with_its_connection(newcomer: Newcomer) -> None:
    first = (await newcomer.client.post("/v1/connections", json=newcomer.attempt)).json()
    answer = await newcomer.client.post("/v1/connections", json=newcomer.attempt)
    problem = assert_problem(answer, 409, "conflict")
    assert problem["detail"] == "Integration already exists for Sandbox"
    assert problem["connection_id"] == first["id"]

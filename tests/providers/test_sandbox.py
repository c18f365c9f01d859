"""The sandbox provider, read from the real sandbox server in a process of its own, held against what the server says of itself."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx2
import pytest

import tieline.checks
from tieline.clock import SystemClock
from tieline.errors import Forbidden, Unauthorised
from tieline.providers.sandbox.company import COLLECTIONS
from tieline.providers.sandbox.provider import SandboxOptions, sandbox
from tieline.sdk import Check, Context, Entity, Operation, Related
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import malformed_fields
from tieline.sdk.http import Http
from tieline.sdk.limits import LocalBudget
from tieline.sdk.mapping import Rejected

TOKEN = "lks_for_tests_only"
COUNTED = {operation.id: operation.id.replace("_", "-") for operation in sandbox.operations}  # as the facts name them
each_operation = pytest.mark.parametrize("operation", sandbox.operations, ids=lambda operation: operation.id)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A sandbox of 240 people, whose largest group takes several pages."""
    command = [sys.executable, "-m", "tieline.providers.sandbox", "--people", "240", "--token", TOKEN]
    with subprocess.Popen([*command, "--until-stdin-closes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        yield json.loads(process.stdout.readline())["url"]
        process.stdin.close()
        assert process.wait(timeout=20) == 0


@pytest.fixture
def facts(url: str) -> dict[str, Any]:
    headers = {"X-Sandbox-Control": TOKEN}
    httpx2.post(f"{url}/_sandbox/reset", headers=headers, trust_env=False, timeout=60).raise_for_status()
    told: dict[str, Any] = httpx2.get(f"{url}/_sandbox/facts", headers=headers, trust_env=False, timeout=60).json()
    return told


@asynccontextmanager
async def connected(url: str, token: str = TOKEN) -> AsyncIterator[Context[SandboxOptions]]:
    """The context that an operation would be handed."""
    options = SandboxOptions(base_url=url)
    credential = sandbox.auth.credential.model_validate({"token": token})
    clock, policy = SystemClock(), AddressPolicy.parse("127.0.0.1")
    async with Http(
        base_url=sandbox.base_url.format(**options.model_dump()),
        provider=sandbox.slug,
        policy=policy,
        budget=LocalBudget(clock),
        clock=clock,
        sign=partial(sandbox.auth.sign, credential=credential),
        secrets=credential.secrets(),
        rate=sandbox.rate,
    ) as http:
        yield Context(options=options, credential=credential, http=http, policy=policy, clock=clock)


async def read(operation: Operation, url: str) -> list[Entity | Rejected | None]:
    (mapping,) = operation.into
    compiled = mapping.compile()
    async with connected(url) as ctx:
        return [compiled.apply(record) async for record in operation.read(ctx)]


# Declaration


def test_every_list_that_the_sandbox_serves_is_read_with_the_scope_it_asks_for() -> None:
    assert sorted(COUNTED.values()) == sorted([*COLLECTIONS, "memberships"])
    needed = {operation.id: operation.needs for operation in sandbox.operations}
    assert needed.pop("memberships") == {"groups:read"}
    assert needed == {name: {f"{COUNTED[name]}:read"} for name in needed}


@each_operation
def test_every_mapping_compiles_without_fault(operation: Operation) -> None:
    assert [fault for mapping in operation.into for fault in mapping.faults()] == []


@pytest.mark.parametrize(("token", "wrong"), [(TOKEN, []), ("ghp_of_another_service", ["token"]), ("lks_", ["token"])])
def test_a_token_of_another_form_is_known_before_any_request(token: str, wrong: list[str]) -> None:
    assert malformed_fields(sandbox.auth.credential.model_validate({"token": token})) == wrong


# Reading


async def test_the_test_call_names_the_company_and_the_scopes_of_the_token(url: str) -> None:
    async with connected(url) as ctx:
        found = await sandbox.identity(ctx)
    assert (found.id, found.name) == ("acc_larkfield_7", "Larkfield Instruments")
    assert found.scopes == frozenset().union(*(operation.needs for operation in sandbox.operations))


async def test_the_test_call_refuses_a_wrong_token(url: str) -> None:
    async with connected(url, token="lks_wrong") as ctx:
        with pytest.raises(Unauthorised):
            await sandbox.identity(ctx)


@each_operation
async def test_an_operation_yields_what_the_facts_say_and_rejects_nothing(
    operation: Operation, url: str, facts: dict[str, Any]
) -> None:
    found = await read(operation, url)
    assert [entity for entity in found if not isinstance(entity, Entity)] == []
    assert len(found) == facts["counts"][COUNTED[operation.id]]
    assert len({entity.external_id for entity in found if isinstance(entity, Entity)}) == len(found)


async def test_a_missing_scope_stops_the_reading_and_is_no_empty_list(url: str, facts: dict[str, Any]) -> None:
    rule = {
        "match": "/v1/devices",
        "status": 403,
        "body": {"error": {"code": "missing_scope", "scope": "devices:read"}},
    }
    headers = {"X-Sandbox-Control": TOKEN}
    httpx2.post(
        f"{url}/_sandbox/faults", json={"rules": [rule]}, headers=headers, trust_env=False, timeout=60
    ).raise_for_status()
    devices = next(operation for operation in sandbox.operations if operation.id == "devices")
    with pytest.raises(Forbidden):
        await read(devices, url)


# What the checks then say


def shared_checks() -> Iterator[Check]:
    for module in pkgutil.iter_modules(tieline.checks.__path__, "tieline.checks."):
        yield from (value for value in vars(importlib.import_module(module.name)).values() if isinstance(value, Check))


def failing(check: Check, entities: dict[str, list[Entity]]) -> list[str]:
    """The ids of the entities that fail, in order."""
    now = datetime.now(UTC)
    linked = {
        name: {entity.external_id: Related[Any]([], complete=True) for entity in entities[check.kind]}
        for name in check.related
    }
    for name, (kind, link) in check.related.items():
        for entity in entities[kind]:
            owner = getattr(entity, link)
            if owner in linked[name]:
                items = [*linked[name][owner].items, entity]
                linked[name][owner] = Related(items, complete=True)
    found = []
    for entity in entities[check.kind]:
        related = {name: linked[name][entity.external_id] for name in check.related}
        judgement = check.judge(entity, now=now, related=related)
        if judgement and judgement.outcome == "fail":
            found.append(entity.external_id)
    return sorted(found)


async def test_the_checks_find_exactly_what_the_sandbox_says_is_wrong(url: str, facts: dict[str, Any]) -> None:
    entities: dict[str, list[Entity]] = {}
    for operation in sandbox.operations:
        found = await read(operation, url)
        entities[operation.into[0].entity.kind] = [entity for entity in found if isinstance(entity, Entity)]
    wrong = {check.id: failing(check, entities) for check in shared_checks()}

    people, devices, keys, code = facts["people"], facts["devices"], facts["access_keys"], facts["repositories"]
    assert wrong["mfa-enabled"] == people["active_without_mfa"]
    assert wrong["admin-mfa-enabled"] == people["admins_without_mfa"]
    assert wrong["account-used-recently"] == sorted(set(people["dormant"]) - set(people["active_services"]))
    assert wrong["closed-account-is-in-no-group"] == people["suspended_members"]
    assert wrong["disk-encrypted"] == devices["unencrypted"]
    assert wrong["screen-locks"] == devices["without_screen_lock"]
    assert wrong["device-seen-recently"] == devices["unseen"]
    assert set(wrong["access-key-rotated"]) <= set(keys["old"])  # expired ones are harmless
    assert wrong["default-branch-protected"] == code["unprotected"]
    assert wrong["repository-not-public"] == code["public"]
    assert set(wrong["critical-vulnerability-fixed-in-time"]) <= set(facts["vulnerabilities"]["open_critical"])
    assert all(wrong[name] for name in ("access-key-rotated", "critical-vulnerability-fixed-in-time"))

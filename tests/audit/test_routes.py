"""Every route that changes something leaves an entry in the transaction of the change, or the change does not happen."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from tests.audit.acme import acme, playing
from tests.audit.conftest import House
from tests.audit.recipes import RECIPES, Scene
from tests.canaries import sightings

from tieline.catalog import compile_catalog
from tieline.flows.api_keys import create_api_key
from tieline.flows.audit import sign_checkpoints, verify
from tieline.sdk.addresses import AddressPolicy
from tieline.store.organizations import list_organizations
from tieline.store.tables import metadata
from tieline.vault import LocalKeyRing

NO_EFFECT = {"rate_budgets"}
"""Tables that tell how often providers were asked, which was so whatever came of it."""

BY_A_BROWSER = {"answer_sign_in"}
"""What a person answers without a key; tests/oauth looks at what that leaves in the log."""

TRIES_ALONE = {"try_mapping"}
"""What is asked by POST because it takes a record; tests/flows/test_lab.py sees that it writes nothing."""

Route = tuple[str, str, str]


@pytest.fixture
async def scene(lone_house: House, ring: LocalKeyRing, assembled: FastAPI) -> AsyncIterator[Scene]:
    house = lone_house
    async with playing() as url:
        parts = house.parts = replace(
            house.parts, catalog=compile_catalog([acme], []), policy=AddressPolicy.parse("127.0.0.1")
        )
        made = await create_api_key(parts, house.org_id, ring.api_key_pepper, name="operator", role="operator")
        assembled.state.parts = parts
        headers = {"X-API-Key": made.plain}
        transport = httpx2.ASGITransport(assembled)
        async with httpx2.AsyncClient(transport=transport, base_url="http://tieline.test", headers=headers) as client:
            yield Scene(house, made.row.id, client, url, assembled, ring)


def changing_routes(app: FastAPI) -> list[Route]:
    """(operation, method, path) of each route of the document that is not for reading alone."""
    return [
        (operation["operationId"], method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        if method != "get" and operation["operationId"] not in BY_A_BROWSER | TRIES_ALONE
    ]


async def entries(scene: Scene) -> dict[tuple[Any, int], dict[str, Any]]:
    """All entries of all organizations."""
    rows = await scene.house.intruder.connection.fetch("SELECT * FROM audit_entries")
    return {(row["org_id"], row["seq"]): dict(row) for row in rows}


async def everything(scene: Scene) -> dict[str, Any]:
    """The whole database, but for when a key was last used."""
    found = {}
    for name in sorted(set(metadata.tables) - NO_EFFECT):
        query = f"SELECT (to_jsonb(one) - 'last_used_at')::text FROM {name} AS one"
        found[name] = sorted(row[0] for row in await scene.house.intruder.connection.fetch(query))
    return found


async def ask(scene: Scene, route: Route, ready: tuple[dict[str, str], Any]) -> httpx2.Response:
    _, method, path = route
    ids, body = ready
    return await scene.client.request(method, path.format(**ids), json=body)


def test_every_route_that_changes_something_has_a_recipe(scene: Scene) -> None:
    assert sorted(RECIPES) == sorted(name for name, _, _ in changing_routes(scene.app))


@pytest.mark.parametrize("name", sorted(RECIPES))
async def test_what_a_route_did_is_recorded_with_the_key_and_the_request(scene: Scene, name: str) -> None:
    route = next(one for one in changing_routes(scene.app) if one[0] == name)
    ready = await RECIPES[name](scene)
    before = await entries(scene)
    answer = await ask(scene, route, ready)
    assert answer.is_success, answer.text
    after = await entries(scene)
    new = [after[one] for one in after if one not in before]
    assert new, "nothing was recorded"
    assert {one["actor"] for one in new} == {scene.key_id}
    assert {one["request_id"] for one in new} == {answer.headers["X-Request-Id"]}
    assert all(after[one] == before[one] for one in before)
    text = json.dumps([{name: str(value) for name, value in one.items()} for one in after.values()])
    assert sightings(text, scene.canaries) == []
    async with scene.house.parts.db.system() as work:
        made = await list_organizations(work)
    for one in made:
        assert (await verify(scene.house.parts, one.id)).reason is None


@pytest.mark.parametrize("name", sorted(RECIPES))
async def test_what_cannot_be_recorded_is_not_done(scene: Scene, name: str) -> None:
    route = next(one for one in changing_routes(scene.app) if one[0] == name)
    ready = await RECIPES[name](scene)
    await scene.house.intruder.connection.execute("REVOKE INSERT ON audit_entries FROM tieline_app")
    before = await everything(scene)
    refused = await ask(scene, route, ready)
    assert (refused.status_code, refused.json()["slug"]) == (503, "audit-unavailable")
    assert refused.headers["Retry-After"]
    after = await everything(scene)
    assert {table for table in after if after[table] != before[table]} == set()
    await scene.house.intruder.connection.execute("GRANT INSERT ON audit_entries TO tieline_app")
    assert (await ask(scene, route, ready)).is_success, "it was that alone"


async def test_a_second_revocation_changes_nothing_and_is_not_recorded(scene: Scene) -> None:
    ids = await scene.key()
    await scene.ask("DELETE", f"/api-keys/{ids['key_id']}")
    before = await entries(scene)
    await scene.ask("DELETE", f"/api-keys/{ids['key_id']}")
    assert await entries(scene) == before


async def test_a_refused_request_is_not_recorded(scene: Scene) -> None:
    before = await entries(scene)
    assert (await scene.client.post("/v1/runs/run_00000000000000000000000000/cancel")).status_code == 404
    assert (await scene.client.post("/v1/api-keys", json={"name": "k", "role": "king"})).status_code == 422
    assert await entries(scene) == before


# Reading it


async def test_the_log_is_listed_newest_first_and_filtered(scene: Scene) -> None:
    ids = await scene.key()
    await scene.ask("DELETE", f"/api-keys/{ids['key_id']}")
    rows = (await scene.ask("GET", "/audit"))["items"]
    assert [row["action"] for row in rows] == [
        "api_key.revoked",
        "api_key.created",
        "api_key.created",
        "organization.created",
    ]
    assert [row["seq"] for row in rows] == [4, 3, 2, 1]
    assert rows[0]["prev_hash"] == rows[1]["hash"]

    async def seqs(query: str) -> list[int]:
        return [row["seq"] for row in (await scene.ask("GET", f"/audit?{query}"))["items"]]

    assert await seqs(f"actor={scene.key_id}") == [4, 3]
    assert await seqs("action=api_key.created") == [3, 2]
    assert await seqs(f"target={ids['key_id']}") == [4, 3]
    assert await seqs(f"since={rows[1]['at']}") == [4, 3]
    assert await seqs("limit=2&cursor=4") == [3, 2]
    assert (await scene.ask("GET", "/audit?limit=3"))["next"] == "2"


@pytest.mark.parametrize(
    "query",
    [
        "cursor=0",
        "cursor=x",
        "cursor=99999999999999999999",
        "since=5",
        "since=2026-01-31",
        "since=2026-01-31T12:00:00",
        "action=x",
        "more=1",
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(scene: Scene, query: str) -> None:
    assert (await scene.client.get(f"/v1/audit?{query}")).status_code == 422


async def test_checkpoints_come_with_the_key_that_checks_them(scene: Scene) -> None:
    await sign_checkpoints(scene.house.parts)
    await scene.key()
    await sign_checkpoints(scene.house.parts)
    page = await scene.ask("GET", "/audit/checkpoints?limit=1")
    assert [(row["seq"], row["prev_seq"], row["org_id"]) for row in page["items"]] == [(3, 2, scene.house.org_id)]
    assert len(page["public_key"]) == 44
    rest = await scene.ask("GET", f"/audit/checkpoints?cursor={page['next']}")
    assert [row["seq"] for row in rest["items"]] == [2]
    assert rest["next"] is None

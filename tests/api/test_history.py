"""The history of entities over the API: what they were at a time, and what became of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from tests.api.shapes import Scene
from tests.api.test_rows import assert_shape

from tieline.api.v1.entities import Entity, EntityDetail
from tieline.flows.parts import Parts
from tieline.ids import to_uuid

As = Callable[[str], httpx2.AsyncClient]
SOON = timedelta(seconds=1)
NINE_DAYS = "interval '9 days'"


def written(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


async def present(client: httpx2.AsyncClient, scene: Scene) -> dict[str, Any]:
    shown: dict[str, Any] = (await client.get(f"/v1/entities/{scene.ids['entity_id']}")).json()
    return shown


async def test_an_entity_as_of_a_time_has_the_shape_of_any_other_without_answers(as_: As, scene: Scene) -> None:
    client = as_("auditor")
    now = await present(client, scene)
    params = {"as_of": now["first_seen_at"]}
    then = (await client.get(f"/v1/entities/{now['id']}", params=params)).json()
    assert_shape(EntityDetail, then)
    assert then == now | {"answers": None, "raw": None}
    listed = (await client.get("/v1/entities", params=params | {"kind": "account", "limit": 5000})).json()["items"]
    assert next(row for row in listed if row["id"] == now["id"]) == {
        name: one for name, one in then.items() if name != "raw"
    }
    assert_shape(Entity, listed[0])


async def test_a_time_before_it_was_read_is_not_found_and_says_since_when(as_: As, scene: Scene) -> None:
    client = as_("auditor")
    now = await present(client, scene)
    before = {"as_of": written(datetime.fromisoformat(now["first_seen_at"]) - SOON)}
    answer = await client.get(f"/v1/entities/{now['id']}", params=before)
    assert (answer.status_code, answer.json()["slug"]) == (404, "not-found")
    assert now["first_seen_at"][:10] in answer.json()["advice"]
    rows = (await client.get("/v1/entities", params=before | {"limit": 5000})).json()["items"]
    assert now["id"] not in [row["id"] for row in rows]


async def test_two_times_of_an_entity_are_told_side_by_side_with_what_differs(as_: As, scene: Scene) -> None:
    client = as_("auditor")
    now = await present(client, scene)
    path, first = f"/v1/entities/{now['id']}/diff", datetime.fromisoformat(now["first_seen_at"])
    came = (await client.get(path, params={"since": written(first - SOON), "until": written(first)})).json()
    assert (came["before"], came["after"]["data"]) == (None, now["data"])
    assert {one["field"]: (one["before"], one["after"]) for one in came["changes"]} == {
        name: (None, value) for name, value in now["data"].items()
    }
    stayed = (await client.get(path)).json()  # since it was first read, until now
    assert (stayed["before"]["data"], stayed["after"]["data"], stayed["changes"]) == (now["data"], now["data"], [])
    late = await client.get(path, params={"since": "2999-01-01T00:00:00Z"})
    assert (late.status_code, late.json()["slug"]) == (422, "invalid")


@pytest.mark.parametrize("path", ["/v1/entities", "/v1/entities/{entity_id}"])
@pytest.mark.parametrize(
    "as_of", ["2999-01-01T00:00:00Z", "yesterday", "1700000000", "2026-01-31", "2026-01-31T12:00:00"]
)
async def test_a_time_to_come_or_without_a_zone_is_refused(as_: As, scene: Scene, path: str, as_of: str) -> None:
    answer = await as_("auditor").get(path.format(**scene.ids), params={"as_of": as_of})
    assert (answer.status_code, answer.json()["slug"]) == (422, "invalid")


@pytest.mark.parametrize("cursor", ["x", "2026-13-31T12:00:00.000000Z", "2026-01-31T12:00:00Z"])
async def test_a_cursor_that_is_none_is_refused(as_: As, scene: Scene, cursor: str) -> None:
    path = f"/v1/entities/{scene.ids['entity_id']}/history"
    answer = await as_("auditor").get(path, params={"cursor": cursor})
    assert answer.status_code == 422


async def test_a_history_begins_with_the_run_that_read_it_first(as_: As, scene: Scene) -> None:
    client = as_("auditor")
    now = await present(client, scene)
    answer = (await client.get(f"/v1/entities/{now['id']}/history")).json()
    assert answer["next"] is None
    assert answer["items"][-1] == {
        "what": "created", "since": now["first_seen_at"], "until": None, "run_id": now["run_id"],
        "status": now["status"], "changes": [],
    }  # fmt: skip


async def test_what_is_no_longer_kept_is_said_to_be_so(as_: As, scene: Scene, parts: Parts) -> None:
    """The oldest version that is left began later than the entity was first seen."""
    client = as_("auditor")
    rows = (await client.get("/v1/entities", params={"kind": "policy", "limit": 1})).json()["items"]
    first, entity = datetime.fromisoformat(rows[0]["first_seen_at"]), to_uuid(rows[0]["id"], "ent")
    async with parts.db.work(scene.org_id) as work:
        driver = await work.driver()
        await driver.execute(f"UPDATE entities SET first_seen_at = first_seen_at - {NINE_DAYS} WHERE id = $1", entity)
    before = {"as_of": written(first - SOON)}
    for path, wanted in (
        (f"/v1/entities/{rows[0]['id']}", {}),
        ("/v1/entities", {"kind": "policy", "status": "inactive"}),
    ):
        answer = await client.get(path, params=before | wanted)
        assert (answer.status_code, answer.json()["slug"]) == (422, "not-kept")
        assert str(first)[:19] in answer.json()["advice"]
    oldest = (await client.get(f"/v1/entities/{rows[0]['id']}/history")).json()["items"][-1]
    assert (oldest["what"], oldest["changes"], oldest["run_id"]) == ("unknown", None, None)
    async with parts.db.work(scene.org_id) as work:
        driver = await work.driver()
        await driver.execute(f"UPDATE entities SET first_seen_at = first_seen_at + {NINE_DAYS} WHERE id = $1", entity)

"""Mappings by the API: a trial of a stored, a rejected and a given record, and what newest runs could not map."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from tests.api.shapes import Scene
from tests.api.test_rows import assert_shape

from tieline.api.v1.mappings import Trial
from tieline.flows.parts import Parts
from tieline.stages.bench import Bench

As = Callable[[str], httpx2.AsyncClient]
Try = Callable[..., Any]
BENCH = Bench()
RECORD = {"id": "per_7", "email": "Ann@Example.com", "employment_type": "employee", "status": "active", "title": 7}


@pytest.fixture
async def attempt(as_: As, app: FastAPI, parts: Parts, scene: Scene) -> AsyncIterator[Try]:
    """Try a mapping of the scene's people; the answer's document."""
    app.state.parts = replace(parts, bench=BENCH)

    async def ask(*, status: int = 200, **body: Any) -> Any:
        path = f"/v1/connections/{scene.ids['connection_id']}/operations/people/try"
        answer = await as_("admin").post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    yield ask
    app.state.parts = parts


async def test_a_stored_record_comes_to_its_entity_and_to_another_by_another_field(attempt: Try, scene: Scene) -> None:
    entity = scene.ids["entity_id"]
    told = await attempt(record_id=entity, fields={"department": "'The ' + payload.department"}, compare=20)
    assert_shape(Trial, told)
    assert (told["outcome"], told["entity_id"], told["in_force"]["outcome"]) == ("kept", entity, "kept")
    assert list(told["in_force"]["changes"]) == ["department"]
    assert told["entity"]["department"].startswith("The ")
    (own,) = [one for one in told["fields"] if one["whose"] == "organization"]
    assert (own["field"], own["provider_expression"]) == ("department", "payload.department")
    assert told["compared"]["changed"] == told["compared"]["records"] == 20
    assert {one["check"]: one["before"] for one in told["checks"]}


async def test_a_given_record_is_rejected_by_field_and_mended(attempt: Try) -> None:
    told = await attempt(record=RECORD)
    assert_shape(Trial, told)
    assert told["rejection"] == {"field": "title", "reason": "is not text: map a number with string()"}
    assert (told["entity"], told["checks"], told["compared"]) == (None, [], None)
    mended = await attempt(record=RECORD, fields={"title": "string(payload.title)"}, filter="payload.id != 'x'")
    assert (mended["outcome"], mended["entity"]["title"]) == ("kept", "7")
    assert mended["filters"] == [
        {"expression": "payload.id != 'x'", "whose": "organization", "state": "value", "value": True, "error": None}
    ]
    left_out = await attempt(record=RECORD, filter="payload.id == 'x'")
    assert (left_out["outcome"], left_out["entity_id"]) == ("left_out", None)


async def test_a_sample_of_a_rejected_record_can_be_tried(attempt: Try, as_: As, scene: Scene) -> None:
    path = f"/v1/connections/{scene.ids['connection_id']}/rejections"
    (alike,) = (await as_("auditor").get(path)).json()["items"]
    assert (alike["operation"], alike["field"], alike["reason"]) == ("people", "email", "not text")
    told = await attempt(record_id=alike["record_ids"][0])
    assert (told["record_id"], told["outcome"]) == (alike["record_ids"][0], "rejected")


async def test_what_is_wrong_with_an_expression_is_told_by_its_field(attempt: Try) -> None:
    problem = await attempt(record=RECORD, filter="payload.(", fields={"title": "1 +", "hat": "1"}, status=422)
    assert [one["field"] for one in problem["fields"]] == ["filter", "fields.title", "fields.hat"]
    assert (await attempt(record_id="ent_nothing", status=404))["slug"] == "not-found"
    assert (await attempt(record_id=None, status=422))["fields"][0]["field"] == "body.record_id"


async def test_overrides_are_refused_by_their_fields(as_: As, scene: Scene) -> None:
    body = {"overrides": {"people": {"fields": {"title": "payload.(", "mfa": "true"}}}}
    answer = await as_("admin").patch(f"/v1/connections/{scene.ids['connection_id']}", json=body)
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["fields"]] == ["overrides.people.fields.title"]

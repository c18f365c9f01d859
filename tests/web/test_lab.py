"""The mapping lab in the console: a record beside its mapping, tried without writing anything, then saved and undone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fastapi import FastAPI
from tests.api.conftest import new_organization
from tests.api.shapes import SANDBOX_TOKEN, Scene
from tests.web.conftest import Browser, Signs

from tieline.flows.connect import Attempt, connect
from tieline.flows.parts import Parts
from tieline.flows.reconfigure import reconfigure
from tieline.stages.bench import Bench
from tieline.store.connections import Connection, get_connection
from tieline.store.entity_lists import list_entities
from tieline.store.listing import Paging
from tieline.web.data import tree

BENCH = Bench()
RECORD = '{"id": "per_7", "email": "ann@example.com", "status": "active", "title": 7, "employment_type": "employee"}'


@dataclass
class Lab:
    """The lab of the scene's people, and an admin's browser in it."""

    browser: Browser
    parts: Parts
    scene: Scene

    @property
    def path(self) -> str:
        return f"/connections/{self.scene.ids['connection_id']}/mapping/people"

    async def open(self, **query: str) -> str:
        answer = await self.browser.get(self.path, **query)
        assert answer.status_code == 200
        return answer.text

    async def send(self, act: str = "", *, status: int = 200, **fields: Any) -> str:
        """Send the form of the page that was seen last, with these fields in it."""
        answer = await self.browser.post(self.path + act, **fields)
        assert answer.status_code == status, answer.text
        return answer.text

    async def stamp(self) -> str:
        found = re.search(r'name="stamp" value="(\w+)"', await self.open())
        assert found
        return found[1]

    async def standing(self) -> Connection:
        async with self.parts.db.work(self.scene.org_id) as work:
            return await get_connection(work, self.scene.ids["connection_id"])

    async def employee(self) -> str:
        async with self.parts.db.work(self.scene.org_id) as work:
            found = (await list_entities(work, Paging(limit=50), kind="account")).items
        return next(one.id for one in found if one.data.get("type") == "person" and one.data.get("department"))


@pytest.fixture
async def lab(sign_in: Signs, app: FastAPI, parts: Parts, scene: Scene) -> AsyncIterator[Lab]:
    app.state.parts = parts = replace(parts, bench=BENCH)
    yield Lab(await sign_in(scene.org_id, "admin"), parts, scene)
    await reconfigure(parts, scene.org_id, scene.ids["connection_id"], overrides={})


def verdict(text: str) -> str:
    """What the page says became of the record."""
    found = re.search(r'<div id="verdict" role="status">(.*?)</div>\s*</div>', text, re.DOTALL)
    return " ".join(re.sub("<[^>]+>", " ", found[1]).split()) if found else ""


async def test_a_record_is_shown_beside_what_the_mapping_in_force_makes_of_it(lab: Lab) -> None:
    text = await lab.open(record=await lab.employee())
    assert verdict(text).startswith("Kept. It becomes an account, the same as by the mapping in force.")
    assert 'placeholder="payload.email"' in text
    assert '<span class="key-of">employment_type</span>' in text
    assert "What checks would say" in text
    assert "All of it is Sandbox's own" in text
    assert "Undo mine" not in text


async def test_a_rejected_record_comes_first_with_its_reason_beside_the_field(lab: Lab) -> None:
    text = await lab.open()
    assert re.search(r'<option value="rej_\w+" selected>email not text</option>', text)
    assert verdict(text).startswith("Rejected. No account can be made of it: external_id")
    assert re.search(r'id="field-external_id-problem".*is not text: map a number with string\(\)', text)


async def test_trying_shows_the_new_value_what_it_was_and_what_would_change_over_many(lab: Lab) -> None:
    record = await lab.employee()
    await lab.open()
    fields = {"record": record, "field.department": "'The ' + payload.department", "filter": "payload.id != 'x'"}
    text = await lab.send(**fields)
    assert "1 field would change" in verdict(text)
    assert re.search(r"Of \d+ stored records: \d+ would change, 0 left out, 0 rejected", verdict(text))
    assert re.search(r'<output class="good" for="field-department">The \w', text)
    assert "true here" in text
    assert "in place of <code>payload.department</code>" in text
    assert (await lab.standing()).overrides == {}


async def test_what_is_wrong_is_told_beside_its_field_and_the_rest_is_tried(lab: Lab) -> None:
    record = await lab.employee()
    await lab.open()
    fields = {"record": record, "field.department": "payload.(", "field.title": "'Chief'", "filter": "1 +"}
    text = await lab.send(**fields, status=422)
    assert "Something cannot be tried yet" in text
    assert re.search(r'id="field-department-problem">.*line 1, column 9', text, re.IGNORECASE)
    assert re.search(r'id="filter-problem">.*line 1', text, re.IGNORECASE)
    assert '<output class="good" for="field-title">Chief</output>' in text
    assert ">payload.(</textarea>" in text
    live = await lab.browser.client.post(
        lab.path,
        data={"csrf": lab.browser.csrf, **fields},
        headers={"HX-Request": "true", "Sec-Fetch-Site": "same-origin"},
    )
    assert (live.status_code, "field-department-problem" in live.text) == (200, True)


async def test_a_pasted_record_is_tried(lab: Lab) -> None:
    await lab.open()
    text = await lab.send(record="pasted", pasted=RECORD)
    assert verdict(text).startswith("Rejected. No account can be made of it: title is not text")
    assert "ann@example.com" in text
    mended = await lab.send(record="pasted", pasted=RECORD, **{"field.title": "string(payload.title)"})
    assert verdict(mended).startswith("Kept. It becomes an account. By the mapping in force it is rejected.")
    for wrong in ("{", "[]", "7", '{"a": NaN}', "[" * 9_000):
        text = await lab.send(record="pasted", pasted=wrong, status=422 if wrong in ("[]", "7") else 400)
        assert 'id="pasted-problem"' in text


async def test_it_is_saved_synced_and_undone(lab: Lab, sign_in: Signs, sandbox_url: str) -> None:
    org_id = await new_organization(lab.parts)
    made = await connect(lab.parts, org_id, Attempt("sandbox", {"base_url": sandbox_url}, {"token": SANDBOX_TOKEN}))
    own = Lab(
        await sign_in(org_id, "admin"), lab.parts, replace(lab.scene, org_id=org_id, ids={"connection_id": made.id})
    )
    text = await own.open()
    assert "Nothing was read yet" in text
    fields = {"stamp": await own.stamp(), "field.title": "'Chief'", "filter": " payload.id != 'x' "}
    answer = await own.browser.post(f"{own.path}/save", **fields, sync="now")
    assert (answer.status_code, answer.headers["location"]) == (303, own.path)
    text = await own.open()
    assert "It is saved, and a run is asked for" in text
    assert "Yours is in force for 2 expressions" in text
    overrides = {"people": {"filter": "payload.id != 'x'", "fields": {"title": "'Chief'"}}}
    assert (await own.standing()).overrides == overrides
    await own.send("/undo", status=303, stamp=await own.stamp())
    assert "Yours is gone" in await own.open()
    assert (await own.standing()).overrides == {}


async def test_who_saves_over_somebody_elses_change_is_asked_to_look_first(lab: Lab) -> None:
    record, stamp = await lab.employee(), await lab.stamp()
    others = {"people": {"fields": {"mfa": "true"}}}
    await reconfigure(lab.parts, lab.scene.org_id, lab.scene.ids["connection_id"], overrides=others)
    fields = {"record": record, "stamp": stamp, "field.title": "'Chief'"}
    for act in ("/save", "/undo"):
        assert "Somebody has changed this mapping since you opened it" in await lab.send(act, status=409, **fields)
        assert (await lab.standing()).overrides == others


async def test_a_wrong_expression_is_not_saved(lab: Lab) -> None:
    fields = {"record": await lab.employee(), "stamp": await lab.stamp(), "field.title": "payload.("}
    assert 'id="field-title-problem"' in await lab.send("/save", status=422, **fields)
    assert (await lab.standing()).overrides == {}


async def test_an_auditor_looks_and_changes_nothing(lab: Lab, sign_in: Signs) -> None:
    auditor = await sign_in(lab.scene.org_id, "auditor")
    text = (await auditor.get(lab.path)).text
    assert "Rejected." in verdict(text)
    assert "<textarea" not in text
    assert "<code>payload.email</code>" in text
    assert "An owner or admin of your organization can try and change it" in text


async def test_an_operation_that_there_is_not_has_no_lab(lab: Lab) -> None:
    assert (await lab.browser.get(lab.path.replace("people", "nothing"))).status_code == 404


async def test_rejections_lead_to_the_lab_by_field_and_reason(lab: Lab) -> None:
    ids = lab.scene.ids
    page = f"/connections/{ids['connection_id']}/rejections"
    text = (await lab.browser.get(page)).text
    link = re.search(rf'href="({re.escape(lab.path)}\?record=rej_\w+)"', text)
    assert link
    assert "<code>email</code> not text" in text
    assert (await lab.browser.get(link[1])).status_code == 200
    lines = (await lab.browser.get(page, format="csv")).text.splitlines()
    assert lines[1].startswith("people,account,email,not text,1,")
    assert link[1] in (await lab.browser.get(f"/runs/{ids['run_id']}/rejections")).text
    assert f"{lab.path}?record={ids['entity_id']}" in (await lab.browser.get(f"/entities/{ids['entity_id']}")).text
    assert f'href="{lab.path}"' in (await lab.browser.get(f"/connections/{ids['connection_id']}")).text


def test_a_record_is_shown_by_its_keys_folded_where_long_and_cut_where_endless() -> None:
    few = tree({"a": None, "b": {"c": "x" * 90}, "d": [], "e": [1, True]})
    assert [(one.name, one.text, one.tells) for one in few] == [
        ("a", "null", "null"),
        ("b", "1 key", "dict"),
        ("d", "empty", "list"),
        ("e", "2 items", "list"),
    ]
    assert few[1].inner[0].whole == "x" * 90
    (many,) = tree({"many": list(range(5_000))})
    assert (len(many.inner), many.left) == (100, 4_900)
    deep = tree({str(n): {str(m): m for m in range(90)} for n in range(90)})
    assert sum(1 + len(one.inner) for one in deep) <= 1_500

"""Evidence in the console: statements as of a day, whether one verifies, and judging a connection anew."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from uuid import UUID
from zipfile import ZipFile

import orjson
import pytest
from tests.api.shapes import Scene
from tests.web.conftest import Browser, Signs

from tieline.flows.parts import Parts
from tieline.ids import from_uuid, new_id, to_uuid
from tieline.stages.attest import hash_content
from tieline.store.audit import list_entries
from tieline.store.evidence import _COLUMNS, Evidence, add_evidence, get_evidence
from tieline.store.listing import Paging

HOSTILE = "<script>alert(1)</script>\"'"


async def read(parts: Parts, scene: Scene) -> Evidence:
    async with parts.db.work(scene.org_id) as work:
        return await get_evidence(work, scene.ids["evidence_id"])


@pytest.fixture
async def auditor(sign_in: Signs, scene: Scene) -> Browser:
    return await sign_in(scene.org_id, "auditor")


async def test_statements_are_filtered_and_given_as_csv(auditor: Browser) -> None:
    text = (await auditor.get("/evidence", status="contradicts", control="soc2:CC6.1", format="csv")).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows
    assert {row["status"] for row in rows} == {"contradicts"}
    assert all("soc2:CC6.1" in row["controls"] for row in rows)
    assert "No statement is like that" in (await auditor.get("/evidence", control="soc2:CC1.1")).text


async def test_as_of_a_day_only_what_had_been_observed_by_its_end_is_shown(auditor: Browser, parts: Parts) -> None:
    today = parts.clock.now().date()
    for day, there in ((today + timedelta(days=1), True), (today - timedelta(days=2), False)):
        page = (await auditor.get("/evidence", as_of=day.isoformat())).text
        assert f"at the end of {day}" in page
        assert ("/evidence/evid_" in page) is there
    answer = await auditor.get("/evidence", as_of="last summer")
    assert answer.status_code == 422
    assert "2031-01-31" in answer.text


async def test_a_statement_shows_its_hash_and_that_it_verifies(auditor: Browser, parts: Parts, scene: Scene) -> None:
    found = await read(parts, scene)
    page = (await auditor.get(f"/evidence/{found.id}")).text
    assert "It verifies" in page
    assert found.hash.hex() in page
    assert str(found.content["provenance"]) in page
    assert "materialize" not in page


async def test_a_statement_that_was_touched_does_not_verify_and_its_words_are_text(
    auditor: Browser, parts: Parts, scene: Scene
) -> None:
    found = await read(parts, scene)
    content = found.content | {"statement": HOSTILE, "values": {HOSTILE: [HOSTILE]}}
    touched, wrong = to_uuid(new_id("evid"), "evid"), hash_content(found.content)
    row = _row(found, touched) | {"content": orjson.dumps(content).decode(), "hash": wrong, "controls": []}
    async with parts.db.work(scene.org_id) as work:
        await add_evidence(work, [tuple(row.pop(name) for name in _COLUMNS)], same=row)
    page = (await auditor.get(f"/evidence/{from_uuid('evid', touched)}")).text
    assert "It does not verify." in page
    assert "<script>alert" not in page + (await auditor.get("/evidence")).text
    assert "&lt;script&gt;alert(1)" in page


async def test_a_pack_verifies_offline_until_anything_in_it_is_changed(
    auditor: Browser, scene: Scene, tmp_path: Path
) -> None:
    await auditor.get("/evidence")
    answer = await auditor.post("/evidence/pack", control="soc2:CC6.1", status="supports")
    assert answer.headers["content-type"] == "application/zip"
    with ZipFile(io.BytesIO(answer.content)) as pack:
        pack.extractall(tmp_path)
    manifest = orjson.loads((tmp_path / "manifest.json").read_bytes())
    assert manifest["asked"] == {"control": "soc2:CC6.1", "stance": "supports", "before": None}
    lines = (tmp_path / "statements.txt").read_bytes().splitlines()
    assert len(lines) == manifest["statements"] > 0
    assert all(b'"stance":"supports"' in line for line in lines)

    assert _verified(tmp_path) == (0, f"The pack verifies: {len(lines)} statements.")
    whole = (tmp_path / "statements.txt").read_text()
    for changed in (whole.replace('"supports"', '"contradicts"', 1), whole.partition("\n")[2], whole + "x y\n"):
        (tmp_path / "statements.txt").write_text(changed)
        assert _verified(tmp_path)[0] == 1
    (tmp_path / "statements.txt").write_text(whole)
    (tmp_path / "provenances.txt").write_text("")
    code, told = _verified(tmp_path)
    assert code == 1
    assert told.startswith("The pack does not verify")


async def test_a_pack_of_a_framework_holds_only_what_is_about_it(auditor: Browser) -> None:
    listed = (await auditor.get("/evidence", framework="iso27001")).text
    assert 'name="framework" value="iso27001"' in listed
    answer = await auditor.post("/evidence/pack", framework="iso27001")
    with ZipFile(io.BytesIO(answer.content)) as pack:
        rows = list(csv.DictReader(pack.read("summary.csv").decode().splitlines()))
    assert rows
    assert all("iso27001:" in row["controls"] for row in rows)
    assert (await auditor.post("/evidence/pack", framework="nist")).status_code == 422


async def test_a_statement_says_where_it_came_from_and_how_to_verify_it(
    auditor: Browser, parts: Parts, scene: Scene
) -> None:
    found = await read(parts, scene)
    page = (await auditor.get(f"/evidence/{found.id}")).text
    for told in (
        "What was asked",
        "With the right to",
        "Collected",
        found.run_id,
        f"tieline evidence verify {found.id}",
    ):
        assert told in page
    assert re.search(r"\d+ of \d+ statements? of this check about it", page)
    text = json.dumps(found.content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert sha256(text.encode()).digest() == found.hash, "what the page tells people to run gives the hash"


async def test_who_took_a_pack_is_in_the_audit_log(auditor: Browser, parts: Parts, scene: Scene) -> None:
    await auditor.get("/evidence")
    await auditor.post("/evidence/pack", as_of="2091-01-31")
    async with parts.db.work(scene.org_id) as work:
        entries = (await list_entries(work, Paging(), action="evidence.exported")).items
    assert auditor.member_id in {one.actor for one in entries}
    assert (await auditor.post("/evidence/pack", as_of="soon")).status_code == 422


async def test_an_admin_judges_a_connection_anew_and_nothing_that_stands_is_written_again(
    sign_in: Signs, scene: Scene
) -> None:
    admin = await sign_in(scene.org_id, "admin")
    path = f"/evidence/of/{scene.ids['connection_id']}/materialize"
    assert path in (await admin.get(f"/evidence/{scene.ids['evidence_id']}")).text
    answer = await admin.post(path)
    assert answer.status_code == 303
    assert "judged anew: 0 statements written, 0 findings opened" in (await admin.get(answer.headers["location"])).text


async def test_another_organizations_statement_is_not_found(sign_in: Signs, scene: Scene) -> None:
    newcomer = await sign_in(scene.other_org_id, "admin")
    assert "There is no evidence yet" in (await newcomer.get("/evidence")).text
    assert (await newcomer.get(f"/evidence/{scene.ids['evidence_id']}")).status_code == 404
    assert (await newcomer.post(f"/evidence/of/{scene.ids['connection_id']}/materialize")).status_code == 404


def _verified(folder: Path) -> tuple[int, str]:
    """The exit code of the pack's own script, and its last line."""
    command = [sys.executable, "-I", str(folder / "verify.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()[-1]


def _row(found: Evidence, own: UUID) -> dict[str, object]:
    """A statement in driver values, under an id of its own."""
    prefixes = {"org_id": "org", "connection_id": "conn", "run_id": "run", "entity_id": "ent"}
    values: dict[str, object] = vars(found) | {"id": own}
    return values | {name: to_uuid(getattr(found, name), prefix) for name, prefix in prefixes.items()}

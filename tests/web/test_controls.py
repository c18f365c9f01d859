"""Controls in the console: where each stands, the gaps, and what speaks for and against one."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta

import pytest
from tests.api.shapes import Scene
from tests.web.conftest import Browser, Signs

from tieline.catalog import load_frameworks
from tieline.flows.controls import get_control
from tieline.flows.parts import Parts


@pytest.fixture
async def auditor(sign_in: Signs, scene: Scene) -> Browser:
    return await sign_in(scene.org_id, "auditor")


@pytest.mark.parametrize("slug", ["soc2", "iso27001"])
async def test_every_control_of_a_framework_is_listed_under_its_family(auditor: Browser, slug: str) -> None:
    page = (await auditor.get("/controls", framework=slug)).text
    framework = load_frameworks()[slug]
    assert all(f'href="/controls/{one.id}"' in page for one in framework.controls)
    assert all(f'id="section-{one.id}"' in page for one in framework.families)


async def test_gaps_come_first_when_asked_for(auditor: Browser) -> None:
    page = (await auditor.get("/controls", order="gaps")).text
    places = [page.find(f'id="section-{one}"') for one in ("contradicted", "mixed", "no-evidence", "supported")]
    there = [place for place in places if place >= 0]
    assert there == sorted(there)
    assert len(there) >= 2
    assert (await auditor.get("/controls", framework="nist")).status_code == 422


async def test_a_state_keeps_only_its_controls_in_the_csv_too(auditor: Browser) -> None:
    text = (await auditor.get("/controls", status="no-evidence", format="csv")).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["status"] for row in rows} == {"no-evidence"}
    assert {row["framework"] for row in rows} == {"soc2"}


async def test_a_control_shows_its_counts_its_checks_and_what_speaks_of_it(
    auditor: Browser, parts: Parts, scene: Scene
) -> None:
    standing = await get_control(parts, scene.org_id, "soc2:CC6.1")
    page = (await auditor.get("/controls/soc2:CC6.1")).text
    assert standing.contradicting
    assert f"For {standing.supporting}, Against {standing.contradicting}, Unknown {standing.unknown}" in page
    assert all(f"/findings?check={one}" in page for one in standing.checks)
    for title in ("Latest evidence against it", "Latest evidence for it", "What it concerns now"):
        part = page[page.index(title) :]
        assert "/evidence/evid_" in part or "/findings/find_" in part
    assert "Connected" in page[page.index("Providers that can speak to it") :]


async def test_a_control_that_no_check_speaks_to_says_so(auditor: Browser) -> None:
    assert "No check speaks to this control" in (await auditor.get("/controls/soc2:CC1.1")).text
    assert (await auditor.get("/controls/soc2:CC99")).status_code == 404


async def test_without_connections_there_is_a_way_on(sign_in: Signs, scene: Scene) -> None:
    newcomer = await sign_in(scene.other_org_id, "auditor")
    assert "Nothing is connected" in (await newcomer.get("/controls")).text
    assert "No check has answered yet" in (await newcomer.get("/controls/soc2:CC6.1")).text


async def test_as_of_today_the_controls_stand_as_the_evidence_says(
    auditor: Browser, parts: Parts, scene: Scene
) -> None:
    today = parts.clock.now().date()
    page = (await auditor.get("/controls", as_of=today.isoformat())).text
    assert "As it could be known at the end of" in page
    assert f"/controls/soc2:CC6.1?as_of={today}" in page
    assert f"as_of={today}" in page[page.index("The API call") :]
    standing = await get_control(parts, scene.org_id, "soc2:CC6.1", as_of=today)
    one = (await auditor.get("/controls/soc2:CC6.1", as_of=today.isoformat())).text
    assert f"For {standing.supporting}, Against {standing.contradicting}" in one
    assert "Unknown" not in one[one.index("Where it stood") : one.index("Checks that had spoken")]
    assert "What it concerns now" not in one
    rows = list(csv.DictReader(io.StringIO((await auditor.get("/controls", as_of=str(today), format="csv")).text)))
    assert {row["unknown"] for row in rows} == {""}


async def test_a_day_that_cannot_be_known_is_told_on_the_page(auditor: Browser, parts: Parts) -> None:
    today = parts.clock.now().date()
    for day, told in (
        (str(today + timedelta(days=1)), "still to come"),
        (str(today - timedelta(days=30)), "no evidence yet"),
        ("soon", "is not a day"),
    ):
        answer = await auditor.get("/controls", as_of=day)
        assert answer.status_code == 422
        assert told in answer.text
        assert 'aria-invalid="true"' in answer.text
        assert (await auditor.get("/controls/soc2:CC6.1", as_of=day)).status_code == 422


async def test_coverage_is_a_table_of_families_by_connected_providers(auditor: Browser) -> None:
    page = (await auditor.get("/controls")).text
    table = page[page.index('id="coverage"') :]
    table = table[: table.index("</table>")]
    assert "Sandbox" in table
    assert table.count('<th scope="row">') == len(load_frameworks()["soc2"].families)
    assert re.search(r"[1-9]\d? of \d+ controls?", table)
    assert "None of" in table


async def test_the_evidence_pack_of_one_control_is_taken_from_its_page(auditor: Browser) -> None:
    page = (await auditor.get("/controls/soc2:CC6.1")).text
    assert 'action="/evidence/pack"' in page
    answer = await auditor.post("/evidence/pack", control="soc2:CC6.1")
    assert answer.headers["content-type"] == "application/zip"

"""Findings in the console: by check and one by one, why, and muting with a reason until the end of a day."""

from __future__ import annotations

import csv
import io
import re

import pytest
from tests.api.shapes import Scene
from tests.web.conftest import Browser, Signs

from tieline.flows.parts import Parts
from tieline.store.findings import Finding, change_findings, count_findings, get_finding

HOSTILE = "<script>alert(1)</script>\"'"


async def read(parts: Parts, scene: Scene, finding_id: str | None = None) -> Finding:
    async with parts.db.work(scene.org_id) as work:
        return await get_finding(work, finding_id or scene.ids["finding_id"])


@pytest.fixture
async def member(sign_in: Signs, scene: Scene) -> Browser:
    return await sign_in(scene.org_id, "member")


async def test_findings_are_grouped_by_check_and_each_group_leads_to_its_findings(
    member: Browser, parts: Parts, scene: Scene
) -> None:
    page = (await member.get("/findings")).text
    async with parts.db.work(scene.org_id) as work:
        counts = await count_findings(work)
    told = sum(count for (status, _), count in counts.items() if status == "open")
    assert re.search(rf"{told} open findings? of \d+ check", page)
    finding = await read(parts, scene)
    assert f"/findings?check={finding.check_id}" in page
    listed = (await member.get("/findings", check=finding.check_id)).text
    assert f"/findings/{finding.id}" in listed
    assert f"check={finding.check_id}" in listed[listed.index("The API call") :]


async def test_a_filter_keeps_only_what_it_names(member: Browser) -> None:
    everything = await member.get("/findings", format="csv")
    severe = await member.get("/findings", format="csv", severity="high")
    rows = list(csv.DictReader(io.StringIO(severe.text)))
    assert {row["severity"] for row in rows} == {"high"}
    assert 0 < len(rows) < len(list(csv.DictReader(io.StringIO(everything.text))))
    assert (await member.get("/findings", severity="dreadful")).status_code == 422
    assert "No finding is like that" in (await member.get("/findings", provider="okta")).text


async def test_an_organization_without_findings_is_told_what_comes_next(sign_in: Signs, scene: Scene) -> None:
    newcomer = await sign_in(scene.other_org_id, "auditor")
    assert "Nothing was found to be wrong" in (await newcomer.get("/findings")).text
    assert (await newcomer.get(f"/findings/{scene.ids['finding_id']}")).status_code == 404


async def test_a_finding_says_why_and_what_to_do(member: Browser, parts: Parts, scene: Scene) -> None:
    finding = await read(parts, scene)
    page = (await member.get(f"/findings/{finding.id}")).text
    assert parts.catalog.check(finding.check_id).fix[:30] in page
    assert all(f">{name}</dt>" in page for name in finding.values)
    for link in (f"/entities/{finding.entity_id}", f"/connections/{finding.connection_id}", "/controls/soc2:"):
        assert link in page
    assert "Opened" in page[page.index("What happened") :]


async def test_a_member_mutes_with_a_reason_until_the_end_of_a_day_and_unmutes(
    member: Browser, parts: Parts, scene: Scene
) -> None:
    path = f"/findings/{scene.ids['finding_id']}"
    await member.get(path)
    answer = await member.post(f"{path}/mute", reason=f"Accepted {HOSTILE}", until="2091-01-31")
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    muted = await read(parts, scene)
    assert (muted.status, muted.muted_reason) == ("muted", f"Accepted {HOSTILE}")
    assert muted.muted_until
    assert muted.muted_until.isoformat() == "2091-02-01T00:00:00+00:00"
    page = (await member.get(path)).text
    assert "Accepted &lt;script&gt;" in page
    assert "The member" in page[page.index("What happened") :]
    assert (await member.post(f"{path}/unmute")).status_code == 303
    assert (await read(parts, scene)).status == "open"
    assert (await member.post(f"{path}/unmute")).status_code == 409


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"reason": " "}, "Say why"),
        ({"reason": "x" * 1001}, "Say why"),
        ({"reason": "Later", "until": "2001-01-31"}, "in the past"),
        ({"reason": "Later", "until": "soon"}, "not a day"),
    ],
)
async def test_a_mute_that_cannot_be_is_asked_for_again_with_what_was_entered(
    member: Browser, parts: Parts, scene: Scene, fields: dict[str, str], problem: str
) -> None:
    path = f"/findings/{scene.ids['finding_id']}"
    await member.get(path)
    answer = await member.post(f"{path}/mute", **fields)
    assert answer.status_code == 422
    assert problem.lower() in answer.text.lower()
    assert f'value="{fields.get("until", "")}"' in answer.text
    assert (await read(parts, scene)).status == "open"


async def test_an_auditor_is_shown_no_form_to_mute(sign_in: Signs, scene: Scene) -> None:
    auditor = await sign_in(scene.org_id, "auditor")
    page = (await auditor.get(f"/findings/{scene.ids['finding_id']}")).text
    assert "/mute" not in page
    assert "to read" in page


async def test_what_a_provider_calls_things_is_text(member: Browser, parts: Parts, scene: Scene) -> None:
    finding = await read(parts, scene)
    async with parts.db.work(scene.org_id) as work:
        await change_findings(work, [finding.id], subject=HOSTILE, values={HOSTILE: [HOSTILE]}, title=HOSTILE)
    try:
        for path in (f"/findings/{finding.id}", f"/findings?check={finding.check_id}", "/findings"):
            page = (await member.get(path)).text
            assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in (await member.get(f"/findings/{finding.id}")).text
    finally:
        async with parts.db.work(scene.org_id) as work:
            kept = {"subject": finding.subject, "values": finding.values, "title": finding.title}
            await change_findings(work, [finding.id], **kept)

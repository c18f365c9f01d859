"""Findings in the console: by check and one by one, why, and muting with a reason until the end of a day."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from urllib.parse import quote_plus

import pytest
from tests.api.shapes import Scene
from tests.web.conftest import Browser, Signs

from tieline.flows.parts import Parts
from tieline.store.findings import (
    Finding,
    change_findings,
    count_findings,
    count_matching,
    get_finding,
    list_findings,
)
from tieline.store.listing import Paging

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
    assert re.search(rf"{told} open findings? in \d+ group", page)
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
    assert all(f">{name}</span>" in page for name in finding.values)
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


async def test_findings_are_grouped_by_whom_they_are_about_by_connection_and_by_owner(
    member: Browser, parts: Parts, scene: Scene
) -> None:
    finding = await read(parts, scene)
    for by, leads_to in (
        ("subject", f"subject={quote_plus(finding.subject)}"),
        ("connection", f"connection_id={finding.connection_id}"),
        ("owner", "owner=nobody"),
    ):
        page = (await member.get("/findings", group=by, check=finding.check_id, limit="200")).text
        assert leads_to in page
        assert f"by={by}" in page[page.index("The API call") :]
    listed = (await member.get("/findings", kind=finding.kind, subject=finding.subject)).text
    assert f"/findings/{finding.id}" in listed
    assert (await member.get("/findings", group="moon")).status_code == 422


async def test_what_was_opened_long_ago_is_found_by_its_age(member: Browser, parts: Parts, scene: Scene) -> None:
    finding = await read(parts, scene)
    assert "No finding is like that" in (await member.get("/findings", age="30")).text
    async with parts.db.work(scene.org_id) as work:
        await change_findings(work, [finding.id], opened_at=finding.opened_at - timedelta(days=40))
    try:
        page = (await member.get("/findings", age="30", group="none")).text
        assert re.findall(r'href="/findings/(find_\w+)"', page) == [finding.id]
        assert "opened_before=" in page[page.index("The API call") :]
        assert "40 days ago" in page
    finally:
        async with parts.db.work(scene.org_id) as work:
            await change_findings(work, [finding.id], opened_at=finding.opened_at)


async def test_a_finding_is_taken_assigned_and_left_to_nobody(member: Browser, parts: Parts, scene: Scene) -> None:
    path = f"/findings/{scene.ids['finding_id']}"
    await member.get(path)
    assert (await member.post(f"{path}/assign", to=member.member_id)).status_code == 303
    mine = (await member.get("/findings", owner="mine", group="none")).text
    assert re.findall(r'href="/findings/(find_\w+)"', mine) == [scene.ids["finding_id"]]
    assert f"owner={member.member_id}" in mine[mine.index("The API call") :]
    page = (await member.get(path)).text
    assert "Assigned to The member" in page[page.index("What happened") :]
    assert (await member.post(f"{path}/assign", to="mem_01k0c4m2w8eyv9x3f5t7h1n6qp")).status_code == 422
    assert (await member.post(f"{path}/assign", to="nobody")).status_code == 303
    assert (await read(parts, scene)).owner_id is None


async def test_several_are_ticked_and_all_that_match_are_taken_at_once(
    member: Browser, parts: Parts, scene: Scene
) -> None:
    check = "mfa-enabled"
    page = (await member.get("/findings", check=check)).text
    ticked = re.findall(r'name="finding" value="(find_\w+)"', page)[:2]
    assert len(ticked) == 2
    answer = await member.post("/findings/mute", which="ticked", finding=ticked, reason="Known", check=check)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/findings?check={check}")
    assert "2 findings are muted" in (await member.get("/findings", check=check)).text
    async with parts.db.work(scene.org_id) as work:
        counts = await count_matching(work, check_id=check)
    assert counts["muted"] == 2
    assert f"All {sum(counts.values())} that match" in page
    await member.post("/findings/assign", which="all", check=check, to=member.member_id)
    await member.post("/findings/unmute", which="all", check=check)
    async with parts.db.work(scene.org_id) as work:
        assert await count_matching(work, owner=member.member_id) == {"open": sum(counts.values())}
    await member.post("/findings/assign", which="all", owner="mine", to="nobody")
    async with parts.db.work(scene.org_id) as work:
        assert await count_matching(work, owner=member.member_id) == {}


@pytest.mark.parametrize(
    ("path", "fields", "told"),
    [
        ("mute", {"which": "ticked", "reason": "x"}, "No finding was ticked"),
        ("mute", {"which": "all", "reason": " "}, "needs a reason"),
        ("assign", {"which": "ticked", "to": "nobody"}, "No finding was ticked"),
        ("assign", {"which": "all", "to": "mem_01k0c4m2w8eyv9x3f5t7h1n6qp"}, "must be a member"),
        ("unmute", {"which": "all", "severity": "dreadful"}, "no such choice"),
    ],
)
async def test_what_cannot_be_done_to_several_says_why(
    member: Browser, path: str, fields: dict[str, str], told: str
) -> None:
    await member.get("/findings")
    answer = await member.post(f"/findings/{path}", **fields)
    assert answer.status_code == 422
    assert told in answer.text


async def test_a_finding_shows_what_would_make_it_hold_and_what_is_next_to_it(
    member: Browser, parts: Parts, scene: Scene
) -> None:
    async with parts.db.work(scene.org_id) as work:
        found = (await list_findings(work, Paging(), check_id="mfa-enabled")).items
    page = (await member.get(f"/findings/{found[0].id}")).text
    assert "It would hold with" in page
    assert "<strong>no</strong>" in page
    assert f"/findings/{found[1].id}" in page[page.index("Others for which it does not hold") :]
    assert "/evidence/evid_" in page


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

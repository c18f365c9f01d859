"""Home: what waits for a person, the most urgent first, each with one thing to do."""

from __future__ import annotations

import re
from datetime import timedelta

from tests.api.shapes import Scene
from tests.web.conftest import Signs

from tieline.flows.overview import look_over
from tieline.flows.parts import Parts
from tieline.store.connections import update_connection


async def test_what_waits_is_told_the_most_urgent_first_each_with_one_action(
    sign_in: Signs, parts: Parts, scene: Scene
) -> None:
    admin, auditor = await sign_in(scene.org_id, "admin"), await sign_in(scene.org_id, "auditor")
    path, now = f"/connections/{scene.ids['connection_id']}", parts.clock.now()

    async def set_to(**values: object) -> str:
        async with parts.db.work(scene.org_id) as work:
            await update_connection(work, scene.ids["connection_id"], now=now, **values)
        page = (await admin.get("/")).text
        return page[page.index("What needs a person") : page.index("Posture")]

    try:
        part = await set_to(status="needs_reconnect", status_message="The token was revoked")
        assert re.findall(r'<td class="end"><a class="button tiny" href="([^"]+)"', part)[0] == f"{path}/rotate"
        assert "The token was revoked" in part
        assert f'href="{path}">' in (await auditor.get("/")).text, "who may not rotate is not sent there"
        part = await set_to(status="active", status_message=None, expires_at=now + timedelta(days=3))
        assert part.index("Assign them") < part.index("Rotate it")
        assert "in 2 days" in part
        part = await set_to(status="paused", expires_at=None)
        assert part.index("Assign them") < part.index("Resume it")
    finally:
        await set_to(status="active", status_message=None, expires_at=None)


async def test_bad_findings_that_nobody_looks_after_wait_and_lead_to_themselves(
    sign_in: Signs, parts: Parts, scene: Scene
) -> None:
    member = await sign_in(scene.org_id, "member")
    seen = await look_over(parts, scene.org_id)
    high = next(one for one in seen.waiting if one.severity == "high")
    page = (await member.get("/")).text
    assert f"{high.count} high findings" in page
    found = (await member.get("/findings", status="open", severity="high", owner="nobody", format="csv")).text
    assert len(found.splitlines()) == high.count + 1


async def test_what_happened_this_week_is_told_as_a_table_too(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    seen = await look_over(parts, scene.org_id)
    page = (await (await sign_in(scene.org_id, "auditor")).get("/")).text
    table = page[page.index("<caption>Findings opened and resolved, by day</caption>") :]
    table = table[: table.index("</table>")]
    assert table.count('<th scope="row">') == 7
    assert f">{seen.days[-1].opened}<" in table
    assert "Within an hour: 1" in page

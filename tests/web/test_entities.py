"""Entities in the console: kinds with counts, filters and CSV; one with its fields, links, answers and evidence."""

from __future__ import annotations

import csv
import io
import re
from html import unescape

import pytest
from tests.api.shapes import Scene
from tests.web.conftest import Signs
from tests.web.test_every_page import HOSTILE, check_page

from tieline.flows.parts import Parts
from tieline.ids import new_id, to_uuid
from tieline.store import entity_lists
from tieline.store.entity_lists import list_entities
from tieline.store.findings import get_finding
from tieline.store.listing import Paging
from tieline.web.words import number


async def test_kinds_are_tabs_with_counts_and_filters_narrow_them(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    assert re.search(
        r'href="/entities\?kind=account"[^>]*>Account <span class="quiet">\d+</span>',
        (await browser.get("/entities")).text,
    )
    accounts = await browser.get("/entities", kind="account")
    assert scene.ids["entity_id"] in accounts.text
    assert scene.ids["entity_id"] not in (await browser.get("/entities", kind="group")).text
    assert "No entity is like that" in (await browser.get("/entities", search="nobody at all")).text
    assert "Nothing is gone" in (await browser.get("/entities", removed="true")).text
    assert (await browser.get("/entities", kind="nonsense")).status_code == 422


async def test_an_organization_without_entities_is_told_how_to_get_some(sign_in: Signs, scene: Scene) -> None:
    assert "Nothing was read yet" in (await (await sign_in(scene.other_org_id, "auditor")).get("/entities")).text


async def test_the_csv_holds_every_entity_of_the_filter(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    answer = await (await sign_in(scene.org_id, "auditor")).get("/entities", kind="account", format="csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    async with parts.db.work(scene.org_id) as work:
        found = (await list_entities(work, Paging(limit=1000), kind="account")).items
    assert {one["id"] for one in rows} == {one.id for one in found}
    assert {one["kind"] for one in rows} == {"account"}


async def test_a_search_looks_through_so_many_at_a_time_and_says_so(
    sign_in: Signs, parts: Parts, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    async with parts.db.work(scene.org_id) as work:
        everything = (await list_entities(work, Paging(limit=5_000))).items
        wanted = (await list_entities(work, Paging(limit=5_000), search="MA")).items
    assert [one for one in everything if one.id in {one.id for one in wanted}] == wanted
    assert 1 < len(wanted) < len(everything)
    monkeypatch.setattr(entity_lists, "LOOKED_THROUGH", 150)
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        async with parts.db.work(scene.org_id) as work:
            page = await list_entities(work, Paging(cursor, limit=2), search="MA")
        assert len(page.items) <= 2
        found, cursor, pages = [*found, *page.items], page.next, pages + 1
    assert found == wanted
    assert pages > len(everything) // 150
    page = (await browser.get("/entities", search="nobody at all")).text
    assert f"None is among the first {number(50_000)} entities that were looked through" in page
    assert "No entity is like that" not in page
    further = unescape(re.search(r'<a href="([^"]+)" rel="next">Look further', page)[1])
    assert f"None is among the next {number(50_000)} entities" in (await browser.get(further)).text
    assert (await browser.get("/entities", cursor=new_id("ent"))).status_code == 422


async def test_an_entity_shows_links_both_ways(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    async with parts.db.work(scene.org_id) as work:
        membership = (await list_entities(work, Paging(limit=1), kind="membership")).items[0]
    page = (await browser.get(f"/entities/{membership.id}")).text
    account, group = re.findall(r'<span class="quiet">(?:Account|Group):</span> <a href="(/entities/ent_\w+)">', page)
    there = (await browser.get(account)).text
    assert f'href="{group}"' in there
    assert f'href="/entities/{membership.id}"' in there
    assert "Membership" in (await browser.get(group)).text


async def test_an_answer_is_told_with_the_values_that_decided(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    async with parts.db.work(scene.org_id) as work:
        finding = await get_finding(work, scene.ids["finding_id"])
    answer = await browser.get(f"/entities/{finding.entity_id}")
    decided = answer.text[answer.text.index("What checks say") : answer.text.index('id="fields"')]
    assert finding.title in decided
    assert all(f"<code>{name}</code>" in decided for name in finding.values)
    assert f'href="/findings/{finding.id}"' in answer.text
    assert "/evidence/evid_" in answer.text
    check_page(answer)


async def test_hostile_data_is_text_in_the_list_and_on_the_page(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser, entity = await sign_in(scene.org_id, "auditor"), to_uuid(scene.ids["entity_id"], "ent")
    async with parts.db.work(scene.org_id) as work:
        driver = await work.driver()
        former = await driver.fetchrow("SELECT data::text, raw::text, status FROM entities WHERE id = $1", entity)
        await driver.execute(
            """UPDATE entities SET data = data || jsonb_build_object('email', $2::text, 'url', 'javascript:alert(3)'),
                      raw = json_build_object($2::text, $2::text), status = $2 WHERE id = $1""",
            entity,
            HOSTILE,
        )
    try:
        for path in ("/entities?kind=account", f"/entities/{scene.ids['entity_id']}"):
            answer = await browser.get(path)
            assert "&lt;script&gt;alert(1)" in answer.text
            assert "<script>alert" not in answer.text
            check_page(answer)
    finally:
        async with parts.db.work(scene.org_id) as work:
            await (await work.driver()).execute(
                "UPDATE entities SET data = $2::text::jsonb, raw = $3::text::json, status = $4 WHERE id = $1",
                entity,
                *former,
            )


async def test_one_that_is_gone_says_so(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    change = "UPDATE entities SET removed_at = CASE WHEN $2 THEN now() END WHERE id = $1"
    async with parts.db.work(scene.org_id) as work:
        one = (await list_entities(work, Paging(limit=1), kind="group")).items[0]
        await (await work.driver()).execute(change, to_uuid(one.id, "ent"), True)
    try:
        assert "no longer saw it" in (await browser.get(f"/entities/{one.id}")).text
        assert one.id in (await browser.get("/entities", removed="true")).text
        assert one.id not in (await browser.get("/entities", kind="group")).text
    finally:
        async with parts.db.work(scene.org_id) as work:
            await (await work.driver()).execute(change, to_uuid(one.id, "ent"), False)


async def test_another_organizations_entity_is_not_found(sign_in: Signs, scene: Scene) -> None:
    other = await sign_in(scene.other_org_id, "auditor")
    assert (await other.get(f"/entities/{scene.ids['entity_id']}")).status_code == 404

"""Search and the command palette: what is found, by whom, how it is shown, and that nothing of another organization is."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.api.shapes import Scene
from tests.web.conftest import Browser, Signs
from tests.web.test_every_page import HOSTILE, check_page, look

from tieline.flows.parts import Parts
from tieline.store import search
from tieline.store.connections import get_connection, update_connection
from tieline.store.entity_lists import list_entities
from tieline.store.listing import Paging


async def links(browser: Browser, asked: str) -> dict[str, str]:
    """What is found: address by name."""
    answer = await browser.get("/search", q=asked)
    assert answer.status_code == 200
    check_page(answer)
    found = answer.text.partition('role="search"')[2]
    return {name: path for path, name in re.findall(r'<a href="([^"]+)"><svg.*?</svg><span>(.*?)</span>', found)}


async def test_a_person_is_found_by_parts_of_name_address_and_external_id(
    sign_in: Signs, parts: Parts, scene: Scene
) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    async with parts.db.work(scene.org_id) as work:
        people = (await list_entities(work, Paging(limit=20), kind="account")).items
    person = next(one for one in people if one.data.get("email") and " " in (one.data.get("display_name") or ""))
    first, last = person.data["display_name"].split()[:2]
    for asked in (
        person.data["email"][:-3].upper(),
        f"{last[:4]} {first} {person.data['email'][:3]}",
        person.external_id,
        person.id,
    ):
        assert f"/entities/{person.id}" in (await links(browser, asked)).values(), asked


async def test_each_thing_is_found_by_its_id_and_by_its_name(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    for name, path in (("run_id", "/runs/"), ("finding_id", "/findings/"), ("evidence_id", "/evidence/")):
        assert list((await links(browser, scene.ids[name])).values()) == [path + scene.ids[name]]
    async with parts.db.work(scene.org_id) as work:
        connection = await get_connection(work, scene.ids["connection_id"])
    assert f'href="/connections/{connection.id}"' in (await browser.get("/search", q=connection.name)).text
    assert "/catalogue/github" in (await links(browser, "git hub")).values()
    assert "/findings?check_id=mfa-enabled" in (await links(browser, "mfa-enabled")).values()
    assert "/controls/soc2:CC6.1" in (await links(browser, "cc6.1 soc")).values()
    assert (await links(browser, "cont"))["Controls"] == "/controls"


async def test_actions_are_links_to_where_the_button_is_and_only_for_those_who_may(
    sign_in: Signs, scene: Scene
) -> None:
    admin, auditor = await sign_in(scene.org_id, "admin"), await sign_in(scene.org_id, "auditor")
    assert (await links(admin, "connect github"))["Connect GitHub"] == "/connect/github"
    assert "Connect GitHub" not in await links(auditor, "connect github")
    connection = f"/connections/{scene.ids['connection_id']}"
    synced = await links(admin, "sync sandb")
    assert [path for name, path in synced.items() if name.startswith("Sync ")] == [connection]
    assert not [name for name in await links(auditor, "sync sandb") if name.startswith("Sync ")]
    assert "Re-wrap stored secrets" not in await links(admin, "wrap")
    assert "Re-wrap stored secrets" in await links(await sign_in(scene.org_id, "operator"), "wrap")


async def test_a_search_that_did_not_look_through_all_says_so(
    sign_in: Signs, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    whole = (await browser.get("/search", q="qwertz")).text
    assert "look through" not in whole
    assert "looked through" not in whole
    monkeypatch.setattr(search, "_OTHERS_LOOKED_THROUGH", 1)
    monkeypatch.setattr(search, "_FINDINGS_LOOKED_THROUGH", 1)
    partly = (await browser.get("/search", q="qwertz")).text
    assert 'href="/entities?search=qwertz"' in partly
    assert "only the newest were looked through" in partly


async def test_nothing_of_another_organization_is_found(sign_in: Signs, scene: Scene) -> None:
    other = await sign_in(scene.other_org_id, "owner")
    for name in ("run_id", "finding_id", "evidence_id", "entity_id", "connection_id"):
        assert await links(other, scene.ids[name]) == {}
    mine, theirs = await links(await sign_in(scene.org_id, "owner"), "a"), await links(other, "a")
    assert not [one for one in theirs.values() if re.search("/(entities|findings|connections|runs)/", one)]
    assert [one for one in mine.values() if one.startswith("/entities/ent_")]


@pytest.mark.parametrize(
    "asked", ["", " ", "%", "_", "\\", "' OR 1=1 --", "run_x", "é" * 300, "a\nb", "ent_" + "z" * 26, "\x00"]
)
async def test_odd_questions_are_answered_like_any_other(sign_in: Signs, scene: Scene, asked: str) -> None:
    answer = await (await sign_in(scene.org_id, "auditor")).get("/search", q=asked)
    check_page(answer)
    assert answer.status_code == 200
    if asked in {"%", "\\"}:
        assert "/entities/ent_" not in answer.text


async def test_hostile_names_and_questions_are_text(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    async with parts.db.work(scene.org_id) as work:
        await update_connection(work, scene.ids["connection_id"], now=parts.clock.now(), name=HOSTILE)
    try:
        for part in ({}, {"part": "yes"}):
            answer = await browser.get("/search", q="<script>alert(1)", **part)
            assert "<script>alert" not in answer.text
            assert "&lt;script&gt;alert(1)" in answer.text
    finally:
        async with parts.db.work(scene.org_id) as work:
            await update_connection(work, scene.ids["connection_id"], now=parts.clock.now(), name="Larkfield")


async def test_the_palette_gets_options_that_lead_somewhere(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    answer = await browser.get("/search", q="run", part="yes")
    assert "<html" not in answer.text
    assert answer.headers["content-security-policy"]
    assert look(answer.text).wrong == []
    options: list[Any] = re.findall(
        r'<div role="option" id="palette-(\d+)" aria-selected="false" data-to="(/[^"]*)">', answer.text
    )
    assert [int(number) for number, _ in options] == list(range(1, len(options) + 1))
    assert ("/runs") in [to for _, to in options]
    nothing = await browser.get("/search", q="zzzzzzzz", part="yes")
    assert "Nothing is called so" in nothing.text


async def test_every_page_has_the_button_of_the_palette_which_is_a_link_without_script(
    sign_in: Signs, scene: Scene
) -> None:
    text = (await (await sign_in(scene.org_id, "auditor")).get("/runs")).text
    assert re.search(r'<a class="button finder-button" href="/search" data-palette', text)
    assert '<dialog class="palette" id="palette"' in text

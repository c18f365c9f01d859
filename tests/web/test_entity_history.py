"""The history on an entity's page, and the facets of the list: what differs between two times, told by signs, at stable addresses."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import orjson
import pytest
from tests.api.shapes import Scene
from tests.web.conftest import Browser, Signs
from tests.web.test_every_page import HOSTILE, check_page

from tieline.flows.parts import Parts
from tieline.ids import to_uuid
from tieline.store.entity_counts import count_by
from tieline.store.entity_lists import list_entities
from tieline.store.listing import Paging

NOW = datetime.now(UTC)
BEGAN = NOW - timedelta(days=40)
DAYS_AGO = (30, 20, 10)
"""When it changed: a title came, then it was another and the department went, then it was gone for a while."""


@pytest.fixture
async def path(parts: Parts, scene: Scene) -> str:
    """The page of an entity that has changed. Versions cannot be taken away, so it is made so only once."""
    async with parts.db.work(scene.org_id) as work:
        one = (await list_entities(work, Paging(limit=1), kind="repository")).items[0]
        driver, entity, org = await work.driver(), to_uuid(one.id, "ent"), to_uuid(work.org_id, "org")
        if await driver.fetchval("SELECT count(*) FROM entity_versions WHERE entity_id = $1", entity):
            return f"/entities/{one.id}"
        moments = [BEGAN, *(NOW - timedelta(days=days) for days in DAYS_AGO)]
        told: list[dict[str, Any]] = [
            {"description": None},
            {"description": HOSTILE, "default_branch": "old"},
            {"topics": ["a", {"b": 1}]},
        ]
        for since, until, fields in zip(moments, moments[1:], told, strict=False):
            await driver.execute(
                "INSERT INTO entity_versions VALUES ($1, $2, $3, $4, $5, NULL, false, 'repository', $6::text::jsonb)",
                org,
                entity,
                since,
                until,
                to_uuid(one.run_id, "run"),
                orjson.dumps(fields).decode(),
            )
        await driver.execute(
            """UPDATE entities SET since = $2, first_seen_at = $3,
                      data = (data || '{"description": "Newest"}') - '{default_branch}'::text[] WHERE id = $1""",
            entity,
            moments[-1],
            BEGAN,
        )
    return f"/entities/{one.id}"


def day(ago: int) -> str:
    return f"{NOW - timedelta(days=ago):%Y-%m-%d}"


def compared(answer: httpx2.Response) -> list[tuple[str, str, str, str]]:
    """The rows of the comparison: sign, field, then, now."""
    check_page(answer)
    part = answer.text.partition('id="compared"')[2].partition("What happened")[0]
    rows = re.findall(
        r'aria-hidden="true">(.)</span><span class="unseen">\w+: </span>([^<]+)</th>'
        r'<td data-label="Then">(.*?)</td><td data-label="Now">(.*?)</td>',
        part,
        re.DOTALL,
    )
    return [(row[0], row[1], *(re.sub("<[^>]+>", "", one).strip() for one in row[2:])) for row in rows]


async def open_(sign_in: Signs, scene: Scene) -> Browser:
    return await sign_in(scene.org_id, "auditor")


async def test_the_last_change_is_what_a_page_shows_by_itself(sign_in: Signs, scene: Scene, path: str) -> None:
    ((sign, field, then, now),) = compared(await (await open_(sign_in, scene)).get(path))
    assert (sign, field, now) == ("−", "Topics", "not told")
    assert "&#34;b&#34;: 1" in then, "what is nested is written over several lines"


async def test_two_days_are_compared_at_an_address_that_stays(sign_in: Signs, scene: Scene, path: str) -> None:
    browser = await open_(sign_in, scene)
    answer = await browser.get(path, **{"from": day(35), "to": day(0)})
    assert ("+", "Description", "not told", "Newest") in compared(answer)
    assert f'value="{day(35)}"' in answer.text
    first, second = compared(await browser.get(path, **{"from": day(25), "to": day(15)}))
    assert first[:2] == ("~", "Description")
    assert second[:3] == ("−", "Default branch", "old")
    assert "&lt;script&gt;alert(1)" in first[2]
    swapped = await browser.get(path, **{"from": day(15), "to": day(25)})
    assert compared(swapped) == [first, second]
    assert "Nothing differs between" in (await browser.get(path, **{"from": day(28), "to": day(25)})).text


async def test_what_was_not_read_yet_came(sign_in: Signs, scene: Scene, path: str) -> None:
    rows = compared(await (await open_(sign_in, scene)).get(path, **{"from": day(60), "to": day(35)}))
    assert rows[0] == ("+", "Presence", "not read yet", "there")
    assert {row[0] for row in rows} == {"+"}


@pytest.mark.parametrize("to", ["2999-01-01", "yesterday", "2031-02-30", "2031-01-01T99:00:00Z"])
async def test_a_day_that_cannot_be_is_said_to_be_so(sign_in: Signs, scene: Scene, path: str, to: str) -> None:
    answer = await (await open_(sign_in, scene)).get(path, to=to)
    assert compared(answer) == []
    assert re.search("yet to come|is not a day|is no time", answer.text)


async def test_the_versions_are_told_newest_first_and_lead_to_a_comparison(
    sign_in: Signs, scene: Scene, path: str
) -> None:
    browser = await open_(sign_in, scene)
    text = (await browser.get(path)).text
    told = re.findall(r'data-label="What happened">([A-Z][a-z ]+)', text)
    assert told == ["Changed", "Changed", "Changed", "First seen"]
    assert "description" not in text.partition("First seen")[2].partition("</tr>")[0].lower()
    link = re.findall(r'href="([^"]+\?from=[^"]+)#history"', text)[-1]
    rows = compared(await browser.get(link.replace("&amp;", "&")))
    assert ("+", "Description", "not told", "Newest") in rows


async def test_what_is_no_longer_kept_is_said_and_not_guessed(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    async with parts.db.work(scene.org_id) as work:
        one = (await list_entities(work, Paging(limit=1), kind="application")).items[0]
        await (await work.driver()).execute(
            "UPDATE entities SET first_seen_at = $2 WHERE id = $1", to_uuid(one.id, "ent"), BEGAN
        )
    answer = await (await open_(sign_in, scene)).get(f"/entities/{one.id}", **{"from": day(20)})
    assert compared(answer) == []
    assert "no longer kept" in answer.text
    assert "What it was before is no longer kept" in answer.text


# The list


async def test_facets_count_what_they_lead_to(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser = await open_(sign_in, scene)
    text = (await browser.get("/entities", kind="account")).text
    links = re.findall(r'<li><a href="([^"]+)">([^<]+) <span class="quiet">(\d+)</span></a></li>', text)
    failing = next(one for one in links if "verdict=fail" in one[0])
    answer = await browser.get(failing[0].replace("&amp;", "&") + "&format=csv")
    assert len(answer.text.splitlines()) - 1 == int(failing[2])
    assert all('""fail""' in row for row in answer.text.splitlines()[1:])
    async with parts.db.work(scene.org_id) as work:
        states = await count_by(work, "status", {"kind": "account"})
    assert {(one[1], int(one[2])) for one in links if "status=" in one[0]} == {
        (state.capitalize(), count) for state, count in states.items()
    }
    chosen = await browser.get("/entities", kind="account", verdict="fail")
    assert re.search(r'aria-current="true">A check fails', chosen.text)
    check_page(chosen)
    assert "facets" not in (await browser.get("/entities", search="ada")).text
    assert (await browser.get("/entities", verdict="nonsense")).status_code == 422

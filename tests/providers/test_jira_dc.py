"""Jira Data Center, on answers of the form that Atlassian documents: two ways to list people, and groups that are cut short."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from tests.providers.readings import Answers, Connect, Reading

from tieline.providers.jira_dc.provider import jira_dc
from tieline.sdk import Account, Forbidden, Group, NotOffered

ADDRESS = "https://acme.example/jira"


def person(login: str) -> dict[str, Any]:
    return {"key": f"KEY-{login}", "name": login, "displayName": login, "emailAddress": "", "active": True}


def a_jira(*version: int, groups: int = 1, told: int = 1, found: int = 2) -> Answers:
    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        path, asked = request.url.path.removeprefix("/jira/rest/api/2/"), request.url.params
        if path == "serverInfo":
            return 200, {"baseUrl": f"{ADDRESS}/", "versionNumbers": version}, {}
        if path == "user/list":
            last = "cursor" in asked
            return 200, {"values": [person("b" if last else "a")], "isLast": last, "nextCursor": "7"}, {}
        if path == "user/search":
            return (
                200,
                [person("ac"[n] if n < 2 else f"{n}") for n in range(found if asked["username"] == "." else 0)],
                {},
            )
        if path == "groups/picker":
            return 200, {"total": told, "groups": [{"name": f"group {n}"} for n in range(groups)]}, {}
        if path == "group/member":
            return 200, {"total": 1, "values": [person("a")]}, {}
        return (200, person("a"), {}) if path == "myself" else (404, {}, {})

    return Answers(answer)


@pytest.mark.parametrize(
    ("version", "people"), [((8, 20, 8), "ac"), ((10, 2, 0), "ac"), ((10, 3, 0), "ab"), ((11, 0, 0), "ab")]
)
async def test_people_are_listed_in_the_way_that_the_version_has(
    connect: Connect, version: tuple[int, ...], people: str
) -> None:
    async with connect(jira_dc, "token", transport=a_jira(*version), base_url=ADDRESS) as connected:
        reading = await connected.read("users")
    assert reading.flaws == []
    assert set(reading.of(Account)) == {f"KEY-{login}" for login in people}


async def test_a_jira_is_known_by_its_own_base_url(connect: Connect) -> None:
    async with connect(jira_dc, "token", transport=a_jira(9, 0, 0), base_url=f"{ADDRESS}/") as connected:
        identified = await connected.identify()
    assert (identified.id, identified.name) == (ADDRESS, "acme.example")


async def test_groups_that_are_cut_short_end_the_run_partial_after_those_that_were_told(connect: Connect) -> None:
    reading = Reading()
    async with connect(jira_dc, "token", transport=a_jira(9, 0, 0, groups=2, told=25), base_url=ADDRESS) as connected:
        with pytest.raises(NotOffered, match="only some of its groups") as failed:
            await connected.read_into(reading, "groups")
    assert set(reading.of(Group)) == {"group 0", "group 1"}
    assert "jira.ajax.autocomplete.limit" in failed.value.what_to_do


@pytest.mark.parametrize(("version", "cut"), [((9, 12, 0), False), ((10, 0, 0), True), ((10, 2, 1), True)])
async def test_people_whom_a_search_cuts_off_are_not_taken_for_gone(
    connect: Connect, version: tuple[int, ...], cut: bool
) -> None:
    reading = Reading()
    async with connect(jira_dc, "token", transport=a_jira(*version, found=100), base_url=ADDRESS) as connected:
        if cut:
            with pytest.raises(NotOffered, match="first 100 people"):
                await connected.read_into(reading, "users")
        else:
            await connected.read_into(reading, "users")
    assert len(reading.of(Account)) == 100


async def test_a_reading_that_goes_on_behind_all_people_knows_that_they_were_cut_off(connect: Connect) -> None:
    reading = Reading()
    async with connect(jira_dc, "token", transport=a_jira(10, 0, 0, found=100), base_url=ADDRESS) as connected:
        for _ in range(2):
            start = reading.checkpoints[-1] if reading.checkpoints else None
            with pytest.raises(NotOffered, match="first 100 people"):
                await connected.read_into(reading, "users", start=start)
    assert len(reading.of(Account)) == len(reading.records) == 100


async def test_a_search_that_finds_nobody_lacks_a_permission(connect: Connect) -> None:
    async with connect(jira_dc, "token", transport=a_jira(9, 12, 0, found=0), base_url=ADDRESS) as connected:
        with pytest.raises(Forbidden) as refused:
            await connected.read("users")
    assert refused.value.scope == "Browse Users"

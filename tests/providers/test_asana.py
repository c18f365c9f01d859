"""Asana, on answers of the form that Asana documents: which workspace, and what single scopes do not reach."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from tests.providers.readings import Answers, Connect

from tieline.providers.asana.provider import asana
from tieline.sdk import Account, Invalid, NotOffered

ONE = {"gid": "11", "name": "Example", "is_organization": True}
OTHER = {"gid": "12", "name": "Other", "is_organization": False}


def an_account(*workspaces: dict[str, Any], full: bool = True) -> Answers:
    standing = {"user": {"gid": "21"}, "is_active": True, "is_admin": True, "is_guest": False}

    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        path = request.url.path.removeprefix("/api/1.0")
        if path.endswith("/workspace_memberships"):
            return (200, {"data": [standing], "next_page": None}, {}) if full else (403, {"errors": []}, {})
        if path == "/users":
            return 200, {"data": [{"gid": "21", "name": "Olive", "email": "Olive@example.com"}], "next_page": None}, {}
        if path == "/workspaces":
            return 200, {"data": workspaces, "next_page": None}, {}
        if found := [one for one in workspaces if path == f"/workspaces/{one['gid']}"]:
            return 200, {"data": found[0]}, {}
        return (200, {"data": {"gid": "21"}}, {}) if path == "/users/me" else (404, {"errors": []}, {})

    return Answers(answer)


async def test_the_only_workspace_is_found_and_one_of_several_must_be_chosen(connect: Connect) -> None:
    async with connect(asana, "token", transport=an_account(ONE)) as connected:
        assert (await connected.identify()).id == "11"
    async with connect(asana, "token", transport=an_account(ONE, OTHER), workspace="12") as connected:
        assert (await connected.identify()).name == "Other"
    async with connect(asana, "token", transport=an_account(ONE, OTHER)) as connected:
        with pytest.raises(Invalid, match="in 2 workspaces") as refused:
            await connected.identify()
    assert "11 (Example), 12 (Other)" in refused.value.what_to_do


@pytest.mark.parametrize("workspaces", [(), (ONE,)])
async def test_a_workspace_that_the_account_is_not_in_is_refused(
    connect: Connect, workspaces: tuple[dict[str, Any], ...]
) -> None:
    async with connect(asana, "token", transport=an_account(*workspaces), workspace="99") as connected:
        with pytest.raises(Invalid, match="not in that workspace"):
            await connected.identify()


@pytest.mark.parametrize("full", [True, False])
async def test_what_single_scopes_do_not_reach_is_unknown_and_said(connect: Connect, full: bool) -> None:
    async with connect(asana, "token", transport=an_account(ONE, full=full)) as connected:
        identified, reading = await connected.identify(), await connected.read("users")
    (person,) = reading.of(Account).values()
    assert (person.admin, person.status, person.email) == (
        full or None,
        "active" if full else None,
        "olive@example.com",
    )
    assert bool(identified.remarks) is not full


async def test_a_workspace_that_is_no_organization_has_no_teams(connect: Connect) -> None:
    async with connect(asana, "token", transport=an_account(OTHER)) as connected:
        with pytest.raises(NotOffered):
            await connected.read("teams")

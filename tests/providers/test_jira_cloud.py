"""Jira Cloud, on answers of the form that Atlassian documents: which site, by which address, and where its list of people ends."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from tests.providers.readings import Answers, Connect

from tieline.providers.jira_cloud.provider import jira_cloud
from tieline.providers.jira_cloud.site import JiraCloudOptions
from tieline.sdk import Account, Credential, Invalid, Unexpected

FIRST, SECOND = (f"{n}a1a1a1a-2222-4333-8444-555555555555" for n in (1, 2))


def site(id: str, name: str, *scopes: str) -> dict[str, Any]:
    return {"id": id, "name": name, "url": f"https://{name}.atlassian.net", "scopes": scopes or ["read:user:jira"]}


SITES = [
    site(FIRST, "one"),
    site(SECOND, "two", "read:user:jira", "read:group:jira"),
    site(SECOND, "two", "read:confluence-user"),
]


def grant() -> Credential:
    return jira_cloud.mode("oauth2").credential.model_validate({"access_token": "example-token"})


def api_token() -> Credential:
    return jira_cloud.mode("basic").credential.model_validate(
        {"username": "a@example.com", "password": "example-token"}
    )


def reaching(sites: list[dict[str, Any]]) -> Answers:
    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        return (200, sites, {}) if request.url.path == "/oauth/token/accessible-resources" else (404, {}, {})

    return Answers(answer)


@pytest.mark.parametrize("chosen", ["two", "TWO", "https://two.atlassian.net", "two.atlassian.net", SECOND])
async def test_a_site_is_chosen_by_name_address_or_cloud_id(connect: Connect, chosen: str) -> None:
    async with connect(jira_cloud, grant(), slot="oauth2", transport=reaching(SITES), site=chosen) as connected:
        identified = await connected.identify()
    assert (identified.id, identified.name) == (SECOND, "two.atlassian.net")
    assert identified.scopes == frozenset({"read:user:jira", "read:group:jira"})


async def test_the_only_jira_site_needs_no_choice(connect: Connect) -> None:
    reached = [SITES[0], SITES[2]]
    async with connect(jira_cloud, grant(), slot="oauth2", transport=reaching(reached)) as connected:
        assert (await connected.identify()).id == FIRST


@pytest.mark.parametrize(
    ("options", "problem"),
    [({}, "several"), ({"site": "three"}, "does not reach"), ({"api": "https://one.atlassian.net"}, "API tokens")],
)
async def test_a_grant_that_does_not_settle_the_site_is_refused(
    connect: Connect, options: dict[str, str], problem: str
) -> None:
    async with connect(jira_cloud, grant(), slot="oauth2", transport=reaching(SITES), **options) as connected:
        with pytest.raises(Invalid, match=problem):
            await connected.identify()


async def test_a_grant_is_never_sent_to_an_address_from_the_options(connect: Connect) -> None:
    def refuse(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        raise AssertionError(f"{request.url} was asked")

    address = "https://elsewhere.example"
    async with connect(jira_cloud, grant(), slot="oauth2", transport=Answers(refuse), api=address) as connected:
        with pytest.raises(Invalid):
            await connected.read("users")


@pytest.mark.parametrize("options", [{}, {"site": "one"}])
async def test_an_api_token_needs_an_address_or_a_cloud_id(connect: Connect, options: dict[str, str]) -> None:
    async with connect(jira_cloud, api_token(), slot="basic", transport=reaching(SITES), **options) as connected:
        with pytest.raises(Invalid, match="does not tell its Jira site"):
            await connected.identify()


def people(*pages: list[str], stuck: bool = False) -> Answers:
    """Pages of people by the offset at which they are asked for."""
    starts = [sum(len(page) for page in pages[:n]) for n in range(len(pages) + 1)]

    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        start = 0 if stuck else int(request.url.params["startAt"])
        ids = dict(zip(starts, [*pages, []], strict=True))[start]
        return 200, [{"accountId": id, "accountType": "atlassian", "active": True} for id in ids], {}

    return Answers(answer)


async def test_a_short_page_of_people_is_not_the_last(connect: Connect) -> None:
    listed = people(["a", "b"], ["c"], ["d", "e"])
    async with connect(jira_cloud, api_token(), slot="basic", transport=listed, api="https://one.example") as connected:
        assert set((await connected.read("users")).of(Account)) == set("abcde")


async def test_a_page_that_comes_again_ends_the_run(connect: Connect) -> None:
    listed = people(["a", "b"], stuck=True)
    async with connect(jira_cloud, api_token(), slot="basic", transport=listed, api="https://one.example") as connected:
        with pytest.raises(Unexpected, match="same page again"):
            await connected.read("users")


@pytest.mark.parametrize(
    "address", ["one.atlassian.net", "https://a:b@one.example", "https://one.example/?x=1", "ftp://one.example"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        JiraCloudOptions(api=address)

"""Jira Data Center: people, groups and projects of a Jira that a company runs itself.

Written to its REST API v2, from 8.14 on, where personal access tokens came.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from tieline.providers.jira_dc.people import read_people
from tieline.sdk import (
    Account,
    Asset,
    Context,
    Group,
    Identified,
    Membership,
    NotOffered,
    Offset,
    Options,
    PersonalToken,
    Provider,
    Record,
    SinglePage,
)

_API = "/rest/api/2"
_MOST_GROUPS = 10_000


def _address(url: str) -> str:
    """An address without a trailing slash; raises `ValueError` for anything else than one."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("is not an address such as https://jira.acme.example")
    return url.rstrip("/")


class JiraDcOptions(Options):
    """Where Jira is."""

    base_url: Annotated[str, AfterValidator(_address)] = Field(
        title="Address",
        description="Jira's base URL: https://jira.acme.example or https://acme.example/jira",
        max_length=500,
    )


async def identify(ctx: Context[JiraDcOptions]) -> Identified:
    """The Jira, by the base URL that it has for itself: it tells no id."""
    await ctx.get(f"{_API}/myself")  # what follows is told to anybody
    about = await ctx.get(f"{_API}/serverInfo")
    address = about["baseUrl"].rstrip("/")
    return Identified(id=address, name=about.get("serverTitle") or urlsplit(address).netloc)


jira_dc: Provider[JiraDcOptions] = Provider(
    slug="jira-dc",
    name="Jira Data Center",
    category="project_management",
    description="People, groups and who is in them, projects of a Jira of one's own.",
    docs_url="https://developer.atlassian.com/server/jira/platform/rest/",
    base_url="{base_url}",
    auth=PersonalToken(
        help="Jira → avatar → Profile → Personal access tokens → Create token, as a Jira administrator: others may not list groups."
    ),
    options=JiraDcOptions,
    identity=identify,
    remains="Jira → avatar → Profile → Personal access tokens → the token → Revoke.",
)

_PAGES = Offset("startAt", limit_param="maxResults", limit=50, total="total")


@jira_dc.sync(
    Account.map(
        drop=("avatarUrls", "self", "timeZone", "locale", "lastLoginTime"),
        external_id="payload.key",
        email="payload.emailAddress != '' ? dyn(payload.emailAddress) : dyn(null)",
        username="payload.name",
        display_name="payload.displayName",
        status="has(payload.deleted) && payload.deleted ? 'deleted' : payload.active ? 'active' : 'inactive'",
    ),
    every="6h",
)
async def users(ctx: Context[JiraDcOptions]) -> AsyncIterator[dict[str, Any]]:
    """People, deactivated ones too.

    Raises `Forbidden` if the token's owner may not browse them, `NotOffered` where a version between 10.0 and 10.2 shows the first of them only.
    """
    async for user in read_people(ctx):
        yield user


@jira_dc.sync(
    (
        Group.map(variant="group", external_id="payload.name", name="payload.name", type="'security'", drop=("html",)),
        Membership.map(
            variant="membership",
            external_id="payload.group + ':' + payload.account",
            group="payload.group",
            account="payload.account",
        ),
    ),
    every="6h",
)
async def groups(ctx: Context[JiraDcOptions]) -> AsyncIterator[Record]:
    """Groups and who is in them, known by their names: Jira gives them no ids.

    Raises `NotOffered` when Jira's own limit cuts the list of groups short.
    """
    answer = await ctx.request("GET", f"{_API}/groups/picker", params={"query": "", "maxResults": _MOST_GROUPS})
    found = answer.json["groups"]

    async def whole(_: None) -> tuple[list[Any], None]:  # one page, so that members are details of a group
        return found, None

    async for group in ctx.each(whole):
        yield Record(group, "group")
        within = {"groupname": group["name"], "includeInactiveUsers": "true"}
        async for user in ctx.pages(f"{_API}/group/member", pages=_PAGES, items="values", params=within, missing=()):
            yield Record({"group": group["name"], "account": user["key"]}, "membership")
    if answer.json.get("total", 0) > len(found):
        raise answer.fail(
            NotOffered,
            "lists only some of its groups",
            advice="Raise the property jira.ajax.autocomplete.limit in Jira above the number of its groups.",
        )


jira_dc.listing(
    "projects",
    f"{_API}/project",
    pages=SinglePage(),
    every="1d",
    into=Asset.map(
        drop=("avatarUrls", "self"),
        external_id="payload.id",
        name="payload.name + ' (' + payload.key + ')'",
        type="'project'",
        status="has(payload.archived) && payload.archived ? 'archived' : 'active'",
    ),
)

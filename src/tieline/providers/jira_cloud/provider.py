"""Jira Cloud: a site's people, groups and projects.

Written to Jira Cloud's REST API v3. The scopes are the granular ones, because the classic `read:jira-work` would read every issue.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tieline.providers.jira_cloud.people import PeoplePages
from tieline.providers.jira_cloud.site import JiraCloudOptions, identify, root_of
from tieline.sdk import (
    Account,
    Asset,
    Basic,
    Context,
    Group,
    Membership,
    OAuth2,
    Offset,
    Provider,
    Record,
)

_PEOPLE = ("read:application-role:jira", "read:avatar:jira", "read:group:jira", "read:user:jira")
_PROJECTS = (
    *_PEOPLE, "read:issue-type:jira", "read:issue-type-hierarchy:jira", "read:project:jira", "read:project-category:jira",
    "read:project-version:jira", "read:project.component:jira", "read:project.property:jira",
)  # fmt: skip
"""What Atlassian asks for of each operation; none of them reads an issue."""

jira_cloud: Provider[JiraCloudOptions] = Provider(
    slug="jira-cloud",
    name="Jira Cloud",
    category="project_management",
    description="People, groups and who is in them, projects.",
    docs_url="https://developer.atlassian.com/cloud/jira/platform/rest/v3/",
    base_url="{api}",
    hosts={"auth": "https://auth.atlassian.com", "api": "https://api.atlassian.com"},
    auth=[
        OAuth2(
            authorize_url="{auth}/authorize",
            token_url="{auth}/oauth/token",  # noqa: S106  an address
            scopes=(*_PROJECTS, "offline_access"),
            client_auth="body",
            authorize_params={"audience": "api.atlassian.com", "prompt": "consent"},
            help="Sign in as a Jira administrator, and choose the site: others may not see groups and their members.",
        ),
        Basic(
            help="User name: the e-mail address of a Jira administrator. Password: an API token of theirs, made at "
            "id.atlassian.com/manage-profile/security/api-tokens, better with scopes: " + ", ".join(_PROJECTS) + "."
        ),
    ],
    options=JiraCloudOptions,
    identity=identify,
    app_url="https://developer.atlassian.com/console/myapps/",
    app_help="Create → OAuth 2.0 integration. Under Permissions add the Jira API with these granular scopes: "
    + ", ".join(_PROJECTS)
    + ". Under Authorization set the callback URL shown here. For other sites than your own switch on sharing under Distribution.",
    remains="Atlassian cannot be told to forget a grant. Who connected removes the app at id.atlassian.com/manage-profile/apps; an "
    "API token is revoked at id.atlassian.com/manage-profile/security/api-tokens.",
)

_PAGES = Offset("startAt", limit_param="maxResults", limit=50, total="total")


@jira_cloud.sync(
    Account.map(
        drop=("avatarUrls", "self", "timeZone", "locale"),
        external_id="payload.accountId",
        email="payload.emailAddress != '' ? dyn(payload.emailAddress) : dyn(null)",
        display_name="payload.displayName",
        type="payload.accountType == 'app' ? 'service' : payload.accountType == 'customer' ? 'guest' : 'person'",
        active="payload.active",
    ),
    every="6h",
    needs=_PEOPLE,
)
async def users(ctx: Context[JiraCloudOptions]) -> AsyncIterator[dict[str, Any]]:
    """People, deactivated ones too, apps, and customers of service desks."""
    async for user in ctx.pages(f"{await root_of(ctx)}/rest/api/3/users/search", pages=PeoplePages()):
        yield user


@jira_cloud.sync(
    (
        Group.map(
            variant="group", external_id="payload.groupId", name="payload.name", type="'security'", drop=("self",)
        ),
        Membership.map(
            variant="membership",
            external_id="payload.group + ':' + payload.account",
            group="payload.group",
            account="payload.account",
        ),
    ),
    every="6h",
    needs=_PEOPLE,
)
async def groups(ctx: Context[JiraCloudOptions]) -> AsyncIterator[Record]:
    """Groups and who is in them."""
    root = await root_of(ctx)
    async for group in ctx.pages(f"{root}/rest/api/3/group/bulk", pages=_PAGES, items="values"):
        yield Record(group, "group")
        within = {"groupId": group["groupId"], "includeInactiveUsers": "true"}
        listed = ctx.pages(f"{root}/rest/api/3/group/member", pages=_PAGES, items="values", params=within, missing=())
        async for user in listed:
            yield Record({"group": group["groupId"], "account": user["accountId"]}, "membership")


@jira_cloud.sync(
    Asset.map(
        drop=("avatarUrls", "self", "insight"),
        external_id="payload.id",
        name="payload.name + ' (' + payload.key + ')'",
        type="'project'",
        status="has(payload.archived) && payload.archived ? 'archived' : 'active'",
        public="has(payload.isPrivate) && payload.isPrivate ? dyn(false) : dyn(null)",
    ),
    every="1d",
    needs=_PROJECTS,
)
async def projects(ctx: Context[JiraCloudOptions]) -> AsyncIterator[dict[str, Any]]:
    """Projects that the account can see."""
    path = f"{await root_of(ctx)}/rest/api/3/project/search"
    async for project in ctx.pages(path, pages=_PAGES, items="values"):
        yield project

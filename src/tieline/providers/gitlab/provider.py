"""GitLab: a group with all below it, on gitlab.com or on a GitLab of one's own.

Written to GitLab's REST API v4.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tieline.providers.gitlab.group import GitlabOptions, identify, path_of
from tieline.providers.gitlab.people import People, read_members
from tieline.providers.gitlab.protection import with_protection
from tieline.sdk import (
    Account,
    Asset,
    Context,
    Group,
    LinkHeader,
    Membership,
    OAuth2,
    PersonalToken,
    Policy,
    Provider,
    Record,
    Repository,
)

gitlab: Provider[GitlabOptions] = Provider(
    slug="gitlab",
    name="GitLab",
    category="code",
    description="Members, groups, projects and the protection of their default branches.",
    docs_url="https://docs.gitlab.com/api/rest/",
    base_url="{base_url}/api/v4",
    hosts={"base_url": "https://gitlab.com"},
    auth=[
        OAuth2(
            authorize_url="{base_url}/oauth/authorize",
            token_url="{base_url}/oauth/token",  # noqa: S106  an address
            revoke_url="{base_url}/oauth/revoke",
            scopes=("read_api",),
            client_auth="body",
            lifetime=7_200,
            help="Sign in as an Owner of the group.",
        ),
        PersonalToken(
            pattern=r"\S{20,}",
            example="glpat-…",
            help="Group → Settings → Access tokens → Add new token, with the role Owner and the scope read_api; or an Owner's "
            "personal access token: avatar → Edit profile → Access tokens.",
        ),
    ],
    options=GitlabOptions,
    identity=identify,
    app_url="https://gitlab.com/-/user_settings/applications",
    app_help="Group → Settings → Applications → Add new application (or your own: avatar → Edit profile → Applications), "
    "confidential, with the scope read_api and the callback URL shown here.",
    remains="An access token that was made for Tieline: revoke it where it was made. An application that was authorised "
    "stays listed under avatar → Edit profile → Applications until it is revoked there.",
)

OWNER = 50  # an access level
_PAGES = LinkHeader()
_CHANGING = (
    "updated_at", "last_activity_at", "star_count", "forks_count", "open_issues_count", "statistics", "avatar_url",
    "container_registry_image_prefix", "readme_url", "permissions", "_links",
)  # fmt: skip
_SECRET = ("runners_token", "import_url", "import_error", "service_desk_address")


@gitlab.sync(
    (
        Asset.map(
            variant="group",
            drop=(*_SECRET, *_CHANGING, "projects", "shared_projects"),
            external_id="string(payload.id)",
            name="payload.full_path",
            type="'organization'",
            url="payload.web_url",
            public="payload.visibility == 'public'",
            created_at="payload.created_at",
        ),
        Policy.map(
            variant="two_factor",
            drop=(*_SECRET, *_CHANGING, "projects", "shared_projects"),
            external_id="'two-factor:' + string(payload.id)",
            name="'Two-factor authentication for ' + payload.full_path",
            type="'mfa'",
            status="payload.require_two_factor_authentication ? 'active' : 'inactive'",
            mfa_required="payload.require_two_factor_authentication",
        ),
    ),
    every="6h",
    needs=["read_api"],
)
async def group(ctx: Context[GitlabOptions]) -> AsyncIterator[Record]:
    """The group, and whether it requires a second factor."""
    found = await ctx.get(path_of(ctx), params={"with_projects": "false"})
    yield Record(found, "group")
    yield Record(found, "two_factor")


@gitlab.sync(
    (
        Group.map(
            variant="group",
            drop=(*_SECRET, *_CHANGING, "projects", "shared_projects"),
            external_id="string(payload.id)",
            name="payload.full_path",
            description="payload.description",
            type="'team'",
            url="payload.web_url",
            created_at="payload.created_at",
        ),
        Account.map(
            variant="account",
            external_id="string(payload.id)",
            username="payload.username",
            # GitLab writes an e-mail address that is not shown as empty text.
            email="has(payload.email) ? payload.email : payload.public_email != '' ? dyn(payload.public_email) : dyn(null)",
            display_name="payload.name",
            title="has(payload.job_title) && payload.job_title != '' ? dyn(payload.job_title) : dyn(null)",
            type=r"(has(payload.bot) && payload.bot) || payload.username.matches('^(group|project)_[0-9]+_bot')"
            " ? 'service' : 'person'",
            status="payload.state == 'active' ? 'active' : payload.state in ['blocked', 'ldap_blocked', 'banned']"
            " ? 'suspended' : payload.state == 'awaiting' ? 'invited' : 'inactive'",
            admin="payload.owner",
            mfa="payload.two_factor_enabled",
            last_login_at="has(payload.current_sign_in_at) ? payload.current_sign_in_at : payload.last_sign_in_at",
            created_at="payload.created_at",
            url="payload.web_url",
        ),
        Membership.map(
            variant="membership",
            external_id="string(payload.group) + ':' + string(payload.id)",
            group="string(payload.group)",
            account="string(payload.id)",
            role="payload.access_level == 5 ? 'minimal' : payload.access_level == 10 ? 'guest'"
            " : payload.access_level == 15 ? 'planner' : payload.access_level == 20 ? 'reporter'"
            " : payload.access_level == 30 ? 'developer' : payload.access_level == 40 ? 'maintainer'"
            " : payload.access_level == 50 ? 'owner' : string(payload.access_level)",
            added_at="payload.created_at",
        ),
    ),
    every="6h",
    needs=["read_api"],
)
async def members(ctx: Context[GitlabOptions]) -> AsyncIterator[Record]:
    """The group and the groups below it, with their direct members and the role of each."""
    people = People(ctx)

    async def described(member: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return member, await people.describe(member)

    top = await ctx.get(path_of(ctx), params={"with_projects": "false"})
    yield Record(top, "group")
    async for member, account in ctx.pages(f"{path_of(ctx)}/members/all", pages=_PAGES).join(described):
        yield _membership(top, member)
        yield Record(account | {"owner": member["access_level"] >= OWNER}, "account")
    known: set[int] | None = None
    async for below in ctx.pages(f"{path_of(ctx)}/descendant_groups", pages=_PAGES):
        if known is None:  # read in here, because a list opened before this one would be the one that is resumed
            known = await read_members(ctx)
        yield Record(below, "group")
        async for person in ctx.pages(f"/groups/{below['id']}/members", pages=_PAGES, missing=()):
            yield _membership(below, person)
            if person["id"] not in known:
                known.add(person["id"])
                yield Record(await people.describe(person) | {"owner": False}, "account")


@gitlab.sync(
    Repository.map(
        drop=(*_SECRET, *_CHANGING),
        external_id="string(payload.id)",
        name="payload.path_with_namespace",
        description="payload.description",
        url="payload.web_url",
        visibility="payload.visibility",
        archived="payload.archived",
        fork="has(payload.forked_from_project)",
        default_branch="payload.default_branch",
        default_branch_protected="payload.protected",
        required_reviews="payload.required_reviews",
        force_push_allowed="payload.force_push",
        created_at="payload.created_at",
    ),
    every="6h",
    needs=["read_api"],
)
async def projects(ctx: Context[GitlabOptions]) -> AsyncIterator[dict[str, Any]]:
    """The projects of the group and the groups below it, each with what protects its default branch."""
    asked = {"include_subgroups": "true", "with_shared": "false", "order_by": "id", "sort": "asc"}
    listed = ctx.pages(f"{path_of(ctx)}/projects", pages=_PAGES, params=asked)
    async for project in listed.join(lambda one: with_protection(ctx, one)):
        yield project


def _membership(group: dict[str, Any], member: dict[str, Any]) -> Record:
    kept = {name: member.get(name) for name in ("id", "access_level", "created_at")}
    return Record(kept | {"group": group["id"]}, "membership")


@gitlab.check(Policy, severity="high", controls=["soc2:CC6.1", "iso27001:A.8.5"], when=lambda it: it.type == "mfa")
def two_factor_is_required(policy: Policy) -> bool | None:
    """The GitLab group requires two-factor authentication.

    Group → Settings → General → Permissions and group features → All users in this group must set up two-factor
    authentication. Give people a grace period, and warn those without one first.
    """
    return policy.mfa_required

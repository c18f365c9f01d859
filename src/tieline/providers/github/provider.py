"""GitHub: an organization's people, teams and repositories, read by an installed app, an OAuth grant or a token.

Written to GitHub's REST API of 2022-11-28, on github.com and on GitHub Enterprise Server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from tieline.providers.github.organization import GithubOptions, identify, name_of, path_of
from tieline.providers.github.protection import read_protection, read_rules, required_reviews
from tieline.providers.github.ways import WAYS
from tieline.sdk import (
    GITHUB,
    Account,
    Asset,
    Context,
    Forbidden,
    Group,
    LinkHeader,
    Membership,
    Policy,
    Provider,
    Record,
    Repository,
)

github: Provider[GithubOptions] = Provider(
    slug="github",
    name="GitHub",
    category="code",
    description="Members, teams, repositories and the protection of their default branches.",
    docs_url="https://docs.github.com/rest",
    base_url="{base_url}",
    hosts={
        "base_url": "https://api.github.com",  # where a connection reads; the two below are where the app signs itself in
        "api": "https://api.github.com",
        "web": "https://github.com",
    },
    auth=WAYS,
    options=GithubOptions,
    identity=identify,
    headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
    rate=GITHUB,
    app_url="https://github.com/settings/apps",
    app_help="Your organization → Settings → Developer settings → GitHub Apps → New GitHub App: the callback URL shown here, also "
    "as Setup URL; Repository permissions: Administration and Metadata, Organization permissions: Members, all read-only; "
    "generate a private key and a client secret. For OAuth alone: OAuth Apps → New OAuth App.",
    remains="The app stays installed, for others may be connected by it. If none is, an owner uninstalls it: the organization → "
    "Settings → GitHub Apps → Configure → Uninstall. An OAuth app of which this token was the last: Settings → Applications → "
    "Authorized OAuth Apps → Revoke. A personal access token: Settings → Developer settings → Personal access tokens → Delete.",
)

_COUNTERS = (
    "updated_at", "followers", "following", "public_repos", "public_gists", "private_gists", "total_private_repos",
    "owned_private_repos", "disk_usage", "collaborators", "plan", "stargazers_count", "watchers_count", "watchers",
    "forks_count", "forks", "open_issues_count", "open_issues", "size",
)  # fmt: skip
"""What changes without any change of substance."""


@github.sync(
    (
        Asset.map(
            variant="organization",
            drop=_COUNTERS,
            external_id="string(payload.id)",
            name="has(payload.name) ? payload.name : payload.login",
            type="'organization'",
            url="payload.html_url",
            created_at="payload.created_at",
        ),
        Policy.map(
            variant="two_factor",
            drop=_COUNTERS,
            external_id="'two-factor:' + string(payload.id)",
            name="'Two-factor authentication for ' + payload.login",
            type="'mfa'",
            status="payload.two_factor_requirement_enabled ? 'active' : 'inactive'",
            mfa_required="payload.two_factor_requirement_enabled",
        ),
    ),
    every="6h",
    needs=["read:org"],
)
async def organization(ctx: Context[GithubOptions]) -> AsyncIterator[Record]:
    """The organization, and whether it requires a second factor (told to its owners only)."""
    found = await ctx.get(path_of(ctx))
    yield Record(found, "organization")
    yield Record(found, "two_factor")


@github.sync(
    (
        Group.map(
            variant="organization",
            drop=_COUNTERS,
            external_id="'organization:' + string(payload.id)",
            name="payload.login",
            description="payload.description",
            type="'builtin'",
            url="payload.html_url",
            created_at="payload.created_at",
        ),
        Account.map(
            variant="account",
            drop=_COUNTERS,
            external_id="string(payload.id)",
            username="payload.login",
            email="payload.email",
            display_name="has(payload.name) ? payload.name : payload.login",
            type="payload.type == 'Bot' ? 'service' : 'person'",
            status="has(payload.suspended_at) ? 'suspended' : 'active'",
            admin="payload.role == 'admin'",
            mfa="payload.two_factor",
            created_at="payload.created_at",
            url="payload.html_url",
        ),
        Membership.map(
            variant="membership",
            external_id="'organization:' + string(payload.organization) + ':' + string(payload.id)",
            group="'organization:' + string(payload.organization)",
            account="string(payload.id)",
            role="payload.role",
        ),
    ),
    every="6h",
    needs=["read:org"],
)
async def members(ctx: Context[GithubOptions]) -> AsyncIterator[Record]:
    """The organization's members, with role and second factor."""

    async def with_profile(member: dict[str, Any]) -> dict[str, Any]:
        profile: dict[str, Any] = await ctx.get(f"/users/{quote(member['login'], safe='')}", missing={})
        return member | profile

    organization = await ctx.get(path_of(ctx))
    yield Record(organization, "organization")
    owners: frozenset[int] | None = None
    async for member in ctx.pages(f"{path_of(ctx)}/members", pages=LinkHeader()).join(with_profile):
        if owners is None:  # read in here, because a list opened before this one would be the one that is resumed
            owners, lacking = await _member_ids(ctx, role="admin"), await _without_second_factor(ctx)
        role = "admin" if member["id"] in owners else "member"
        two_factor = None if lacking is None else member["id"] not in lacking
        yield Record(member | {"role": role, "two_factor": two_factor}, "account")
        yield Record({"organization": organization["id"], "id": member["id"], "role": role}, "membership")


@github.sync(
    (
        Group.map(
            variant="team",
            external_id="string(payload.id)",
            name="payload.name",
            description="payload.description",
            type="'team'",
            url="payload.html_url",
        ),
        Membership.map(
            variant="membership",
            external_id="string(payload.team) + ':' + string(payload.id)",
            group="string(payload.team)",
            account="string(payload.id)",
            role="payload.role",
        ),
    ),
    every="6h",
    needs=["read:org"],
)
async def teams(ctx: Context[GithubOptions]) -> AsyncIterator[Record]:
    """Teams and who is in them; a team's members include those of its child teams."""
    async for team in ctx.pages(f"{path_of(ctx)}/teams", pages=LinkHeader()):
        yield Record(team, "team")
        path = f"{path_of(ctx)}/teams/{team['slug']}/members"
        for role in ("maintainer", "member"):
            async for person in ctx.pages(path, pages=LinkHeader(), params={"role": role}, missing=()):
                yield Record({"team": team["id"], "id": person["id"], "role": role}, "membership")


_PROTECTING = "['pull_request', 'required_status_checks', 'non_fast_forward', 'update']"


@github.sync(
    Repository.map(
        drop=("temp_clone_token", "permissions", *_COUNTERS),
        external_id="string(payload.id)",
        name="payload.full_name",
        description="payload.description",
        url="payload.html_url",
        visibility="has(payload.visibility) ? payload.visibility : payload.private ? 'private' : 'public'",
        archived="payload.archived",
        fork="payload.fork",
        default_branch="payload.default_branch",
        # In CEL `true || missing` is true and `false || missing` has no value: what is not known decides only if it must.
        default_branch_protected=f"payload.protection != false || payload.rules.exists(r, r.type in {_PROTECTING})",
        required_reviews="payload.required_reviews",
        force_push_allowed="!payload.rules.exists(r, r.type == 'non_fast_forward')"
        " && (payload.protection == false || payload.protection.allow_force_pushes.enabled)",
        created_at="payload.created_at",
        pushed_at="payload.pushed_at",
    ),
    every="6h",
    needs=["repo"],
)
async def repositories(ctx: Context[GithubOptions]) -> AsyncIterator[dict[str, Any]]:
    """The organization's repositories, each with what protects its default branch."""

    async def with_protection(repository: dict[str, Any]) -> dict[str, Any]:
        if repository.get("archived") or not repository.get("default_branch"):
            return repository  # takes no change, or has no branch
        protection, rules = await read_protection(ctx, repository), await read_rules(ctx, repository)
        reviews = required_reviews(protection, rules)
        return repository | {"protection": protection, "rules": rules, "required_reviews": reviews}

    owner = name_of(ctx).lower()
    async for repository in ctx.pages(f"{path_of(ctx)}/repos", pages=LinkHeader()).join(with_protection):
        if repository["owner"]["login"].lower() == owner:
            yield repository


@github.check(Policy, severity="high", controls=["soc2:CC6.1", "iso27001:A.8.5"], when=lambda it: it.type == "mfa")
def two_factor_is_required(policy: Policy) -> bool | None:
    """The GitHub organization requires two-factor authentication.

    Organization → Settings → Authentication security → Require two-factor authentication for everyone. Warn members
    without one first: they lose access until they set it up.
    """
    return policy.mfa_required


async def _member_ids(ctx: Context[GithubOptions], **params: str) -> frozenset[int]:
    listed = ctx.pages(f"{path_of(ctx)}/members", pages=LinkHeader(), params=params)
    return frozenset([member["id"] async for member in listed])


async def _without_second_factor(ctx: Context[GithubOptions]) -> frozenset[int] | None:
    """Who has no second factor; `None` when the token may not ask, which only owners may (others get a 422)."""
    asked = {"filter": "2fa_disabled"}
    try:
        trial = await ctx.request("GET", f"{path_of(ctx)}/members", params=asked | {"per_page": "1"}, accept=(422,))
    except Forbidden:
        return None
    return await _member_ids(ctx, **asked) if trial.status == 200 else None

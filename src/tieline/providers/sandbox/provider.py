"""Sandbox: the invented company's people, groups, laptops and code, declared as any provider is.

It is meant for reading too: eleven operations, of which ten are lists that need no code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from pydantic import Field

from tieline.sdk import (
    AccessKey,
    Account,
    Alert,
    Application,
    Authenticator,
    Context,
    Cursor,
    Device,
    Group,
    Identity,
    Membership,
    Options,
    PersonalToken,
    Policy,
    Provider,
    RateHeaders,
    Repository,
    Vulnerability,
)


class SandboxOptions(Options):
    """Which sandbox to read."""

    base_url: str = Field(
        title="Address",
        description="The `url` that the sandbox printed when it started.",
        examples=["http://127.0.0.1:40817"],
        pattern=r"^https?://[^/\s]+$",
    )


sandbox: Provider[SandboxOptions] = Provider(
    slug="sandbox",
    name="Sandbox",
    category="identity",
    description="An invented company of 2,400 people on your own machine, for trying Tieline out.",
    base_url="{base_url}/v1",
    options=SandboxOptions,
    auth=PersonalToken(
        pattern=r"lks_[\w-]+",
        example="lks_…",
        help="`python -m tieline.providers.sandbox` prints it as `token` when it starts.",
    ),
    identity=Identity("/me", id="account.id", name="account.name", scopes="token.scopes"),
    rate=RateHeaders(
        remaining="x-ratelimit-remaining", limit="x-ratelimit-limit", reset="x-ratelimit-reset", reset_form="epoch"
    ),
)

PAGES = Cursor("after", at="paging.next", size_param="limit", size=200)

listing = partial(sandbox.listing, items="data", pages=PAGES, every="1h")  # every list here is paged alike

people = listing(
    "people",
    "/people",
    needs=["people:read"],
    into=Account.map(
        external_id="payload.id",
        email="payload.email",
        display_name="payload.display_name",
        given_name="payload.given_name",
        family_name="payload.family_name",
        title="payload.title",
        department="payload.department",
        type="payload.employment_type == 'service' ? 'service' : 'person'",
        status="payload.status == 'deactivated' ? 'inactive' : payload.status",
        admin="payload.admin",
        mfa="payload.mfa_methods.size() > 0",
        last_login_at="payload.last_login_at",
        created_at="payload.created_at",
    ),
)

authenticators = listing(
    "authenticators",
    "/authenticators",
    needs=["authenticators:read"],
    into=Authenticator.map(
        external_id="payload.id",
        account="payload.person_id",
        type="payload.type",
        active="payload.status == 'active'",
        phishing_resistant="payload.phishing_resistant",
        created_at="payload.created_at",
    ),
)

groups = listing(
    "groups",
    "/groups",
    needs=["groups:read"],
    into=Group.map(
        external_id="payload.id",
        name="payload.name",
        description="payload.description",
        type="payload.kind == 'everyone' ? 'builtin' : payload.kind == 'admin' ? 'role' : 'team'",
        member_count="payload.member_count",
        created_at="payload.created_at",
    ),
)


@sandbox.sync(
    Membership.map(
        external_id="payload.group_id + ':' + payload.person_id",
        account="payload.person_id",
        group="payload.group_id",
        role="payload.role",
        added_at="payload.added_at",
    ),
    every="1h",
    needs=["groups:read"],
)
async def memberships(ctx: Context[SandboxOptions]) -> AsyncIterator[Any]:
    """Who is in which group."""
    async for group in ctx.pages("/groups", pages=PAGES, items="data"):
        async for member in ctx.pages(f"/groups/{group['id']}/members", pages=PAGES, items="data"):
            yield member


applications = listing(
    "applications",
    "/applications",
    needs=["applications:read"],
    into=Application.map(
        external_id="payload.id",
        name="payload.name",
        status="payload.status",
        sign_on="payload.sign_on",
        created_at="payload.created_at",
    ),
)

policies = listing(
    "policies",
    "/policies",
    needs=["policies:read"],
    into=Policy.map(
        external_id="payload.id",
        name="payload.name",
        type="payload.type",
        status="payload.enabled ? 'active' : 'inactive'",
        min_length="payload.settings.min_length",
        history="payload.settings.history",
        max_age_days="payload.settings.max_age_days",
        lockout_attempts="payload.settings.lockout_attempts",
        session_hours="payload.settings.max_hours",
        mfa_required="payload.settings.required",
    ),
)

devices = listing(
    "devices",
    "/devices",
    needs=["devices:read"],
    into=Device.map(
        external_id="payload.id",
        name="payload.name",
        owner="payload.person_id",
        serial="payload.serial_number",
        platform="payload.platform",
        os_version="payload.os_version",
        encrypted="payload.disk_encrypted",
        screen_lock="payload.screen_lock.enabled",
        managed="payload.managed",
        last_seen_at="payload.last_seen_at",
    ),
)

repositories = listing(
    "repositories",
    "/repositories",
    needs=["repositories:read"],
    into=Repository.map(
        external_id="payload.id",
        name="payload.full_name",
        description="payload.description",
        visibility="payload.visibility",
        archived="payload.archived",
        default_branch="payload.default_branch",
        default_branch_protected="has(payload.protection)",
        required_reviews="payload.protection.required_reviews",
        force_push_allowed="payload.protection.allow_force_push",
        created_at="payload.created_at",
        pushed_at="payload.pushed_at",
    ),
)

access_keys = listing(
    "access_keys",
    "/access-keys",
    needs=["access-keys:read"],
    into=AccessKey.map(
        external_id="payload.id",
        account="payload.person_id",
        name="payload.name",
        active="true",  # a revoked key is no longer listed
        created_at="payload.created_at",
        last_used_at="payload.last_used_at",
        expires_at="payload.expires_at",
    ),
)

vulnerabilities = listing(
    "vulnerabilities",
    "/vulnerabilities",
    needs=["vulnerabilities:read"],
    into=Vulnerability.map(
        external_id="payload.id",
        title="payload.summary",
        severity="payload.severity",
        status="payload.state",
        package="payload.package",
        fixed_version="payload.fixed_version",
        fix_available="has(payload.fixed_version)",
        affects="payload.repository_id",
        found_at="payload.opened_at",
        fixed_at="payload.state == 'fixed' ? payload.closed_at : null",
    ),
)

alerts = listing(
    "alerts",
    "/alerts",
    needs=["alerts:read"],
    into=Alert.map(
        external_id="payload.id",
        title="payload.title",
        severity="payload.severity",
        status="payload.status == 'resolved' ? 'resolved' : 'open'",  # an acknowledged one still waits
        category="payload.kind",
        resource="payload.subject_id",
        first_seen_at="payload.opened_at",
    ),
)

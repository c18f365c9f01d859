"""Okta: an org's people, groups, applications, enrolled factors and policies.

Written to Okta's management API, on Classic Engine and Identity Engine alike.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from tieline.providers.okta.policies import MAPPINGS, read_policies
from tieline.providers.okta.ways import WAYS
from tieline.sdk import (
    OKTA,
    Account,
    Application,
    Authenticator,
    Context,
    Forbidden,
    Grant,
    Group,
    Identified,
    LinkHeader,
    Membership,
    Options,
    Policy,
    Provider,
    Record,
)


def _org_address(url: str) -> str:
    """The org's address without a trailing slash; raises `ValueError` for anything else than one."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.path.strip("/"):
        raise ValueError("is not an address such as https://acme.okta.com")
    if parts.hostname.partition(".")[0].endswith("-admin"):
        raise ValueError("is the address of the admin console; leave out `-admin`")
    return f"{parts.scheme}://{parts.netloc.lower()}"


class OktaOptions(Options):
    """Which org."""

    org_url: Annotated[str, AfterValidator(_org_address)] = Field(
        title="Org URL", description="The address at which people sign in: https://acme.okta.com", max_length=500
    )


_USERS = "/api/v1/users"


async def identify(ctx: Context[OktaOptions]) -> Identified:
    """The org: by its id, which stays when its address changes, and by its company's name if the credential may read that."""
    granted = await ctx.fresh()
    if isinstance(granted, Grant):  # a service app is nobody among the org's users
        await ctx.get(_USERS, params={"limit": "1"})
    else:
        await ctx.get(f"{_USERS}/me")
    host = urlsplit(ctx.options.org_url).netloc
    metadata = await ctx.get("/.well-known/okta-organization", missing={})
    try:
        settings = await ctx.get("/api/v1/org", missing={})
    except Forbidden:
        settings = {}
    scopes = granted.scopes if isinstance(granted, Grant) else None
    return Identified(
        id=metadata.get("id") or host,
        name=settings.get("companyName") or host,
        scopes=None if scopes is None else frozenset(scopes),
    )


okta: Provider[OktaOptions] = Provider(
    slug="okta",
    name="Okta",
    category="identity",
    description="People, groups, applications, second factors and sign-on policies.",
    docs_url="https://developer.okta.com/docs/reference/",
    base_url="{org_url}",
    auth=WAYS,
    options=OktaOptions,
    identity=identify,
    app_url="https://help.okta.com/en-us/content/topics/apps/apps_app_integration_wizard_oidc.htm",
    app_help="Okta admin console → Applications → Create App Integration → OIDC, Web Application, with the grant type Refresh "
    "Token and the sign-in redirect URI shown here; grant the scopes okta.users.read, okta.groups.read, okta.apps.read, "
    "okta.policies.read and okta.orgs.read under Okta API Scopes.",
    remains="An API token: Security → API → Tokens → Revoke. A service app: Applications → the app → Deactivate, then Delete.",
    rate=OKTA,
)

_PAGES = LinkHeader(size_param="limit", size=200)


@okta.sync(
    Account.map(
        drop=("credentials.recovery_question", "_links"),
        external_id="payload.id",
        email="payload.profile.email",
        username="payload.profile.login",
        display_name="has(payload.profile.displayName) ? payload.profile.displayName"
        " : payload.profile.firstName + ' ' + payload.profile.lastName",
        given_name="payload.profile.firstName",
        family_name="payload.profile.lastName",
        title="payload.profile.title",
        department="payload.profile.department",
        status="{'STAGED': 'inactive', 'PROVISIONED': 'invited', 'ACTIVE': 'active', 'RECOVERY': 'active',"
        " 'PASSWORD_EXPIRED': 'active', 'LOCKED_OUT': 'active', 'SUSPENDED': 'suspended',"
        " 'DEPROVISIONED': 'deleted'}[payload.status]",
        has_password="has(payload.credentials.password)",  # noqa: S106  a CEL expression
        password_changed_at="payload.passwordChanged",  # noqa: S106  a CEL expression
        last_login_at="payload.lastLogin",
        created_at="payload.created",
    ),
    every="1h",
    needs=["okta.users.read"],
)
async def users(ctx: Context[OktaOptions]) -> AsyncIterator[dict[str, Any]]:
    """People, in two readings: the plain list leaves out those who were deactivated."""
    async for user in ctx.pages(_USERS, pages=_PAGES):
        yield user
    async for user in ctx.pages(_USERS, pages=_PAGES, params={"filter": 'status eq "DEPROVISIONED"'}):
        yield user


@okta.sync(
    (
        Group.map(
            variant="group",
            drop=("lastUpdated", "lastMembershipUpdated", "_links"),
            external_id="payload.id",
            name="payload.profile.name",
            description="payload.profile.description",
            type="{'BUILT_IN': 'builtin', 'OKTA_GROUP': 'team', 'APP_GROUP': 'security'}[payload.type]",
            created_at="payload.created",
        ),
        Membership.map(
            variant="membership",
            external_id="payload.group + ':' + payload.user",
            group="payload.group",
            account="payload.user",
            automatic="payload.automatic",
        ),
    ),
    every="6h",
    needs=["okta.groups.read"],
)
async def groups(ctx: Context[OktaOptions]) -> AsyncIterator[Record]:
    """Groups and who is in them."""
    async for group in ctx.pages("/api/v1/groups", pages=_PAGES):
        yield Record(group, "group")
        automatic = group["type"] == "BUILT_IN"
        async for user in ctx.pages(f"/api/v1/groups/{group['id']}/users", pages=_PAGES, missing=()):
            yield Record({"group": group["id"], "user": user["id"], "automatic": automatic}, "membership")


okta.listing(
    "applications",
    "/api/v1/apps",
    pages=_PAGES,
    every="6h",
    needs=["okta.apps.read"],
    into=Application.map(
        drop=("credentials", "settings", "_links"),
        external_id="payload.id",
        name="payload.label",
        status="payload.status.lowerAscii()",
        sign_on="{'SAML_2_0': 'saml', 'SAML_1_1': 'saml', 'OPENID_CONNECT': 'oidc', 'BOOKMARK': 'bookmark',"
        " 'AUTO_LOGIN': 'password', 'BASIC_AUTH': 'password', 'BROWSER_PLUGIN': 'password',"
        " 'SECURE_PASSWORD_STORE': 'password', 'WS_FEDERATION': 'other'}[payload.signOnMode]",
        created_at="payload.created",
    ),
)


@okta.sync(
    Authenticator.map(
        # What one knows, or what a mailbox receives, is no second factor (NIST SP 800-63B).
        filter="!(payload.factorType in ['question', 'email'])",
        drop=("profile.phoneNumber", "_embedded", "_links"),
        external_id="payload.id",
        account="payload.user",
        type="payload.factorType",
        active="payload.status == 'ACTIVE'",
        phishing_resistant="payload.factorType in ['webauthn', 'u2f', 'signed_nonce']",
        created_at="payload.created",
    ),
    every="6h",
    needs=["okta.users.read"],
)
async def factors(ctx: Context[OktaOptions]) -> AsyncIterator[dict[str, Any]]:
    """The second factors that people have enrolled; one request for each person."""

    async def enrolled(user: dict[str, Any]) -> list[dict[str, Any]]:
        found = await ctx.get(f"{_USERS}/{user['id']}/factors", missing=())
        return [factor | {"user": user["id"]} for factor in found]

    async for several in ctx.pages(_USERS, pages=_PAGES).join(enrolled):
        for factor in several:
            yield factor


@okta.sync(MAPPINGS, every="6h", needs=["okta.policies.read"])
async def policies(ctx: Context[OktaOptions]) -> AsyncIterator[Record]:
    """Password, enrolment, session and application sign-in policies."""
    async for policy in read_policies(ctx):
        yield policy


@okta.check(
    Policy,
    severity="high",
    controls=["soc2:CC6.1", "iso27001:A.8.5"],
    when=lambda policy: policy.type == "mfa" and policy.status == "active",
)
def a_second_factor_must_be_enrolled(policy: Policy) -> bool | None:
    """An active Okta enrolment policy makes people enrol a second factor.

    Admin console → Security → Authenticators → Enrollment → edit the policy: set one authenticator besides the password
    and e-mail to Required.
    """
    return policy.mfa_required

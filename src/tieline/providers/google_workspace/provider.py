"""Google Workspace: people with their second factor and administrator roles, groups and who is in them, domains.

Written to the Directory API (Admin SDK), read on behalf of an administrator.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tieline.sdk import (
    Account,
    Asset,
    Context,
    Forbidden,
    Group,
    Identified,
    Identity,
    Membership,
    OAuth2,
    Options,
    PageToken,
    Provider,
    Record,
    ServiceAccount,
    ServiceAccountKey,
)

_AUTH = "https://www.googleapis.com/auth/admin.directory."
_USERS = f"{_AUTH}user.readonly"
_GROUPS = f"{_AUTH}group.readonly"
_DOMAINS = f"{_AUTH}domain.readonly"
_CUSTOMER = f"{_AUTH}customer.readonly"
_SCOPES = (_USERS, _GROUPS, _DOMAINS, _CUSTOMER)
_customer = Identity("/customers/my_customer", id="id", name="customerDomain")
_MINE = {"customer": "my_customer"}


async def identify(ctx: Context[Options]) -> Identified:
    """The customer account, known by its id; its name is the primary domain.

    Raises `Forbidden` for a service account that acts for nobody: by itself it sees no directory.
    """
    if isinstance(ctx.credential, ServiceAccountKey) and not ctx.credential.subject:
        raise Forbidden(
            "The service account acts for nobody",
            advice="Give the address of an administrator as subject, and delegate domain-wide authority to the account.",
        )
    return await _customer(ctx)


google_workspace: Provider[Options] = Provider(
    slug="google-workspace",
    name="Google Workspace",
    category="identity",
    description="People, second factors, administrators, groups and domains.",
    docs_url="https://developers.google.com/workspace/admin/directory/reference/rest",
    base_url="{admin}/admin/directory/v1",
    hosts={
        "admin": "https://admin.googleapis.com",
        "accounts": "https://accounts.google.com",
        "oauth": "https://oauth2.googleapis.com",
    },
    auth=[
        ServiceAccount(
            token_url="{oauth}/token",  # noqa: S106  a URL
            scopes=_SCOPES,
            help="Cloud console → Service Accounts → Keys → Add key → JSON. Then Admin console → Security → API controls → "
            "Domain-wide delegation → Add new: the account's client ID with these scopes: " + ", ".join(_SCOPES) + ". "
            "The subject is an administrator's address.",
        ),
        OAuth2(
            authorize_url="{accounts}/o/oauth2/v2/auth",
            token_url="{oauth}/token",  # noqa: S106  a URL
            revoke_url="{oauth}/revoke",
            scopes=_SCOPES,
            client_auth="body",
            # A refresh token comes with the first consent alone, unless consent is asked for again.
            authorize_params={"access_type": "offline", "prompt": "consent"},
            help="An administrator who may read users, groups and domains signs in with Google.",
        ),
    ],
    app_url="https://console.cloud.google.com/apis/credentials",
    app_help="Create credentials → OAuth client ID → Web application, with the redirect URI below. Enable the Admin SDK API "
    "and add the four Directory scopes to the consent screen; as long as it is in testing, Google ends grants after 7 days.",
    remains="Admin console → Security → API controls: remove the domain-wide delegation, or the app's access. Delete the "
    "service account's key.",
    identity=identify,
)

_PERSONAL = (
    "etag", "thumbnailPhotoUrl", "thumbnailPhotoEtag", "recoveryEmail", "recoveryPhone", "phones", "addresses", "ims",
    "relations", "locations", "gender", "notes", "posixAccounts", "sshPublicKeys", "password", "hashFunction",
)  # fmt: skip
"""What no check reads, and what nobody needs to keep."""
_PRIMARY = "payload.organizations.filter(o, has(o.primary) && o.primary)[0]"


@google_workspace.sync(
    Account.map(
        drop=_PERSONAL,
        external_id="payload.id",
        email="payload.primaryEmail",
        username="payload.primaryEmail",
        display_name="payload.name.fullName",
        given_name="payload.name.givenName",
        family_name="payload.name.familyName",
        title=f"{_PRIMARY}.title",
        department=f"{_PRIMARY}.department",
        type="has(payload.isGuestUser) && payload.isGuestUser ? 'guest' : 'person'",
        status="has(payload.deletionTime) ? 'deleted' : has(payload.suspended) && payload.suspended ? 'suspended'"
        " : has(payload.archived) && payload.archived ? 'inactive' : 'active'",
        admin="payload.isAdmin || payload.isDelegatedAdmin",
        mfa="payload.isEnrolledIn2Sv",  # that it is enforced does not mean that it is set up
        # Who never signed in did so at the beginning of 1970.
        last_login_at="payload.lastLoginTime.startsWith('1970-01-01') ? null : payload.lastLoginTime",
        created_at="payload.creationTime",
    ),
    every="1h",
    needs=[_USERS],
)
async def users(ctx: Context[Options]) -> AsyncIterator[dict[str, Any]]:
    """People, in two readings: those who were deleted in the last 20 days are listed apart."""
    pages = PageToken(size_param="maxResults", size=500)
    async for user in ctx.pages("/users", pages=pages, items="users?", params=_MINE):
        yield user
    async for user in ctx.pages("/users", pages=pages, items="users?", params={**_MINE, "showDeleted": "true"}):
        yield user


@google_workspace.sync(
    (
        Group.map(
            variant="group",
            drop=("etag",),
            external_id="payload.id",
            name="payload.name",
            description="payload.description",
            email="payload.email",
            member_count="int(payload.directMembersCount)",
        ),
        Membership.map(
            variant="membership",
            drop=("etag", "email", "status"),
            # Groups within groups, and the whole customer as a member, are no accounts.
            filter="has(payload.id) && has(payload.type) && payload.type == 'USER'",
            external_id="payload.group + ':' + payload.id",
            group="payload.group",
            account="payload.id",
            role="payload.role.lowerAscii()",
        ),
    ),
    every="6h",
    needs=[_GROUPS],
)
async def groups(ctx: Context[Options]) -> AsyncIterator[Record]:
    """Groups and who is directly in them."""
    pages = PageToken(size_param="maxResults", size=200)
    async for group in ctx.pages("/groups", pages=pages, items="groups?", params=_MINE):
        yield Record(group, "group")
        async for member in ctx.pages(f"/groups/{group['id']}/members", pages=pages, items="members?", missing=()):
            yield Record(member | {"group": group["id"]}, "membership")


# Google documents Unix time and gives it in milliseconds.
_CREATED = "int(payload.creationTime) > 100000000000 ? int(payload.creationTime) / 1000 : int(payload.creationTime)"


@google_workspace.sync(
    (
        Asset.map(
            variant="domain",
            drop=("etag", "domainAliases"),
            external_id="payload.domainName",
            name="payload.domainName",
            type="'domain'",
            status="payload.verified ? 'verified' : 'unverified'",
            created_at=f"timestamp({_CREATED})",
        ),
        Asset.map(
            variant="alias",
            drop=("etag",),
            external_id="payload.domainAliasName",
            name="payload.domainAliasName",
            type="'domain_alias'",
            status="payload.verified ? 'verified' : 'unverified'",
            created_at=f"timestamp({_CREATED})",
        ),
    ),
    every="1d",
    needs=[_DOMAINS],
)
async def domains(ctx: Context[Options]) -> AsyncIterator[Record]:
    """Domains and their aliases."""
    async for domain in ctx.pages("/customer/my_customer/domains", items="domains?"):
        yield Record(domain, "domain")
        for alias in domain.get("domainAliases", []):
            yield Record(alias, "alias")

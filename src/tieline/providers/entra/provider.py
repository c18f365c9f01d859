"""Microsoft Entra ID: a tenant's directory, read by an app that its administrator consented to.

Written to Microsoft Graph v1.0. National clouds differ by address alone: the operator sets the hosts `login` and `graph`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tieline.providers.entra.policies import MAPPINGS, read_policies
from tieline.providers.entra.roles import PAGES, USER, Roles, read_holders, read_roles
from tieline.providers.entra.tenant import EntraOptions, identify, is_offered, must_be_offered
from tieline.sdk import (
    Account,
    AdminConsent,
    Authenticator,
    ClientCredentials,
    Context,
    FederatedClient,
    Forbidden,
    Group,
    Membership,
    NextLink,
    Provider,
    Record,
)

_TOKEN = "{login}/{tenant}/oauth2/v2.0/token"  # noqa: S105  an address
_SCOPES = (
    "{graph}/.default",
)  # all the permissions that were consented to, and the one form that app-only tokens take

entra: Provider[EntraOptions] = Provider(
    slug="entra",
    name="Microsoft Entra ID",
    category="identity",
    description="People, groups, administrator roles, second factors, Conditional Access and security defaults.",
    docs_url="https://learn.microsoft.com/graph/api/overview",
    base_url="{graph}/v1.0",
    hosts={"login": "https://login.microsoftonline.com", "graph": "https://graph.microsoft.com"},
    auth=[
        AdminConsent(
            consent_url="{login}/organizations/v2.0/adminconsent",
            sign_in_url="{login}/{tenant}/oauth2/v2.0/authorize",
            token_url=_TOKEN,
            issuer="{login}/{tenant}/v2.0",
            keys_url="{login}/{tenant}/discovery/v2.0/keys",
            roles_url="{graph}/v1.0/users/{person}/transitiveMemberOf/microsoft.graph.directoryRole?$select=id,roleTemplateId",
            scopes=_SCOPES,
            help="Sign in as a Global Administrator or Privileged Role Administrator of the tenant.",
        ),
        ClientCredentials(
            token_url=_TOKEN,
            scopes=_SCOPES,
            client_auth="body",
            help="Your own app: Entra admin center → App registrations → New registration → Certificates & secrets → New "
            "client secret. Give it the application permissions that are listed here, and grant admin consent.",
        ),
        FederatedClient(
            token_url=_TOKEN,
            scopes=_SCOPES,
            audience="api://AzureADTokenExchange",
            help="Your own app without a secret: App registrations → your app → Certificates & secrets → Federated "
            "credentials → Add → Other issuer, with the issuer, subject and audience that are shown here.",
        ),
    ],
    options=EntraOptions,
    identity=identify,
    app_url="https://entra.microsoft.com/#view/Microsoft_AAD_RegisteredApps/ApplicationsListBlade",
    app_help="App registrations → New registration → Accounts in any organizational directory; the callback URL shown here as "
    "a Web redirect URI; a client secret. API permissions → Microsoft Graph → Application permissions: User.Read.All, "
    "GroupMember.Read.All, RoleManagement.Read.Directory, Policy.Read.All, AuditLog.Read.All, Organization.Read.All.",
    remains="The app stays in the tenant until it is deleted there: Entra admin center → Enterprise applications → the app → "
    "Properties → Delete.",
)

_USER_FIELDS = (
    "id,userPrincipalName,mail,displayName,givenName,surname,jobTitle,department,accountEnabled,userType,"
    "externalUserState,createdDateTime,lastPasswordChangeDateTime"
)
_SIGN_INS = "payload.signInActivity"


def _sign_in(field: str) -> str:
    """A moment of the sign-in activity; Graph writes "never" as empty text, null or the year 1."""
    value = f"{_SIGN_INS}.{field}"
    return f"has({value}) && {value} != '' && !{value}.startsWith('0001')"


@entra.sync(
    Account.map(
        external_id="payload.id",
        email="payload.mail",
        username="payload.userPrincipalName",
        display_name="payload.displayName",
        given_name="payload.givenName",
        family_name="payload.surname",
        title="payload.jobTitle",
        department="payload.department",
        type="has(payload.userType) && payload.userType == 'Guest' ? 'guest' : 'person'",
        status="!payload.accountEnabled ? 'inactive'"
        " : has(payload.externalUserState) && payload.externalUserState == 'PendingAcceptance' ? 'invited' : 'active'",
        admin="payload.administrator",
        password_changed_at="payload.lastPasswordChangeDateTime",  # noqa: S106  an expression
        last_login_at=f"{_sign_in('lastSuccessfulSignInDateTime')} ? {_SIGN_INS}.lastSuccessfulSignInDateTime"
        f" : {_sign_in('lastSignInDateTime')} ? dyn({_SIGN_INS}.lastSignInDateTime) : dyn(null)",
        created_at="payload.createdDateTime",
        drop=("signInActivity.lastSignInRequestId", "signInActivity.lastNonInteractiveSignInRequestId"),
    ),
    every="1h",
    needs=["User.Read.All"],
)
async def users(ctx: Context[EntraOptions]) -> AsyncIterator[dict[str, Any]]:
    """People and guests, with their last sign-in where the tenant is licensed to know it."""
    fields = f"{_USER_FIELDS},signInActivity" if await _knows_sign_ins(ctx) else _USER_FIELDS
    listed = ctx.pages("/users", pages=NextLink(size_param="$top"), items="value", params={"$select": fields})
    roles: Roles | None = None
    async for user in listed:
        if roles is None:  # read in here, because a list opened before this one would be the one that is resumed
            roles = await read_roles(ctx)
        yield user | {"administrator": roles.is_administrator(user["id"])}


@entra.sync(
    (
        Group.map(
            variant="group",
            external_id="payload.id",
            name="payload.displayName",
            description="payload.description",
            email="payload.mail",
            type="'DynamicMembership' in payload.groupTypes ? 'dynamic' : 'Unified' in payload.groupTypes ? 'team'"
            " : payload.securityEnabled ? 'security' : 'distribution'",
            created_at="payload.createdDateTime",
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
    needs=["GroupMember.Read.All"],
)
async def groups(ctx: Context[EntraOptions]) -> AsyncIterator[Record]:
    """Groups and who is in them, members of groups within included."""
    fields = "id,displayName,description,mail,groupTypes,securityEnabled,createdDateTime"
    listed = ctx.pages("/groups", pages=NextLink(size_param="$top"), items="value", params={"$select": fields})
    async for group in listed:
        yield Record(group, "group")
        automatic = "DynamicMembership" in group.get("groupTypes", ())
        within = ctx.pages(
            f"/groups/{group['id']}/transitiveMembers",
            pages=NextLink(size_param="$top", size=999),
            items="value",
            params={"$select": "id"},
            missing=(),
        )
        async for member in within:
            if member.get("@odata.type") == USER:
                yield Record({"group": group["id"], "user": member["id"], "automatic": automatic}, "membership")


@entra.sync(
    (
        Group.map(
            variant="role",
            external_id="payload.id",
            name="payload.displayName",
            description="payload.description",
            type="'role'",
        ),
        Membership.map(
            variant="membership",
            external_id="payload.group + ':' + payload.user",
            group="payload.group",
            account="payload.user",
        ),
    ),
    every="6h",
    needs=["RoleManagement.Read.Directory"],
)
async def roles(ctx: Context[EntraOptions]) -> AsyncIterator[Record]:
    """Administrator roles that are in use, and who holds them."""
    async for role in ctx.pages("/directoryRoles", pages=PAGES, items="value"):
        yield Record(role, "role")
        for holder in await read_holders(ctx, role):
            yield Record({"group": role["id"], "user": holder["id"]}, "membership")


@entra.sync(
    Authenticator.map(
        # What one knows, or what a mailbox receives, is no second factor (NIST SP 800-63B).
        filter="!(payload.method in ['email', 'securityQuestion', 'appPassword'])",
        external_id="payload.user + ':' + payload.method",
        account="payload.user",
        type="payload.method",
        active="payload.usable",  # by the tenant's policy
        phishing_resistant="payload.method.startsWith('passKey') || payload.method in ['fido2', 'fido2SecurityKey',"
        " 'windowsHelloForBusiness', 'macOsSecureEnclaveKey', 'x509Certificate', 'x509CertificateMultiFactor']",
    ),
    every="6h",
    needs=["AuditLog.Read.All"],
)
async def second_factors(ctx: Context[EntraOptions]) -> AsyncIterator[dict[str, Any]]:
    """The methods that people have registered; disabled accounts are not in this report."""
    path = "/reports/authenticationMethods/userRegistrationDetails"
    await must_be_offered(ctx, path, **{"$top": "1"})
    async for person in ctx.pages(path, pages=NextLink(), items="value"):
        if person["isMfaRegistered"]:  # else the methods serve to reset a password
            for method in person["methodsRegistered"]:
                yield {"user": person["id"], "method": method, "usable": person["isMfaCapable"]}


@entra.sync(MAPPINGS, every="6h", needs=["Policy.Read.All"])
async def policies(ctx: Context[EntraOptions]) -> AsyncIterator[Record]:
    """Conditional Access policies and security defaults."""
    async for policy in read_policies(ctx):
        yield policy


async def _knows_sign_ins(ctx: Context[EntraOptions]) -> bool:
    """Whether sign-in times may be asked for: that takes a licence, and the permission AuditLog.Read.All."""
    try:
        return await is_offered(ctx, "/users", **{"$select": "id,signInActivity", "$top": "1"})
    except Forbidden:
        return False

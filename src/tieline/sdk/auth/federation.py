"""Keyless ways: Tieline's own identity token is exchanged for a cloud's, so that no long-lived key is kept (RFC 8693, RFC 7523)."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from tieline.errors import Invalid
from tieline.sdk.auth.bearer import Bearer
from tieline.sdk.auth.credential import Credential, Grant, OAuthApp
from tieline.sdk.auth.kinds import AuthContext
from tieline.sdk.auth.token_answer import APP_REFUSED, DEAD, Reading, read_grant
from tieline.sdk.auth.token_endpoint import TokenEndpoint, fill

_KIND = "urn:ietf:params:oauth:token-type:"
_ACCOUNT = r"[a-z0-9-]+@[a-z0-9.-]+"


class WorkloadPool(Credential):
    """A pool that trusts Tieline, and the account that may be stood in for."""

    audience: str = Field(
        min_length=1,
        max_length=1_000,
        title="Provider resource",
        description="The workload identity provider's full resource name",
        examples=["//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool/providers/tieline"],
        json_schema_extra={"pattern": r"//[a-z0-9.-]+/[\w/.-]+"},
    )
    service_account: str | None = Field(
        None,
        max_length=320,
        title="Service account",
        description="Leave empty if the pool itself was given access",
        examples=["tieline@project.iam.gserviceaccount.com"],
        json_schema_extra={"pattern": _ACCOUNT},
    )


@dataclass(frozen=True, kw_only=True)
class Federated(Bearer):
    """Workload identity federation: the identity token for a token, then perhaps for a service account's.

    `impersonate_url` holds `{service_account}`. The identity token's audience is the resource, as `https:` and its name, which is
    what such a pool accepts unless it is told otherwise.

        Federated(token_url="{sts}/v1/token", scopes=("https://www.googleapis.com/auth/cloud-platform",),
                  impersonate_url="{iamcredentials}/v1/projects/-/serviceAccounts/{service_account}:generateAccessToken")
    """

    token_url: str
    scopes: tuple[str, ...]
    impersonate_url: str | None = None
    slot: str = "federated"
    kind: str = "federated"
    keyless = True

    @property
    def credential(self) -> type[Credential]:
        """`audience` and, perhaps, `service_account`; nothing secret."""
        return WorkloadPool

    async def mint(self, ctx: AuthContext, credential: WorkloadPool) -> Grant:
        """A token; raises `Unauthorised` if the pool does not trust Tieline (any more)."""
        fields = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": credential.audience,
            "scope": fill({"scope": " ".join(self.scopes)}, ctx.places)["scope"],
            "requested_token_type": f"{_KIND}access_token",
            "subject_token_type": f"{_KIND}jwt",
            "subject_token": await ctx.identity_token(f"https:{credential.audience}"),
        }
        reading = Reading(dead=DEAD | APP_REFUSED | {"invalid_request", "invalid_target"}, app_refused=frozenset())
        grant = await TokenEndpoint(self.token_url, reading=reading).grant(ctx, None, fields)
        if credential.service_account is None:
            return grant
        if self.impersonate_url is None:
            raise Invalid(f"{ctx.provider} is not read in a service account's name")
        return await self._impersonate(ctx, grant, credential.service_account)

    async def _impersonate(self, ctx: AuthContext, grant: Grant, account: str) -> Grant:
        """The account's own token (IAM Service Account Credentials API, `generateAccessToken`)."""
        token = grant.access_token.get_secret_value()
        answer = await ctx.send(
            "POST",
            ctx.url(self.impersonate_url or "", service_account=account),
            json={"scope": fill({"scope": " ".join(self.scopes)}, ctx.places)["scope"].split(), "lifetime": "3600s"},
            headers={"authorization": f"Bearer {token}"},
            secrets=(token,),
        )
        reading = Reading(token_at="accessToken", ends_at="expireTime", dead=DEAD | {"invalid_client"})  # noqa: S106
        return read_grant(answer, reading)


class FederatedApp(Credential):
    """An app in the customer's directory that trusts Tieline by a federated credential."""

    tenant_id: str = Field(
        title="Tenant ID",
        examples=["00000000-0000-0000-0000-000000000000"],
        json_schema_extra={"pattern": r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"},
        max_length=100,
    )
    client_id: str = Field(title="Application (client) ID", min_length=1, max_length=500)


@dataclass(frozen=True, kw_only=True)
class FederatedClient(Bearer):
    """Client credentials whose proof is Tieline's identity token, as Entra's federated credentials take it.

    `token_url` holds `{tenant}`. `audience` is what the app's federated credential expects.

        FederatedClient(token_url="{login}/{tenant}/oauth2/v2.0/token", scopes=("{graph}/.default",),
                        audience="api://AzureADTokenExchange")
    """

    token_url: str
    scopes: tuple[str, ...]
    audience: str
    slot: str = "federated"
    kind: str = "federated"
    keyless = True

    @property
    def credential(self) -> type[Credential]:
        """`tenant_id` and `client_id`; nothing secret."""
        return FederatedApp

    async def mint(self, ctx: AuthContext, credential: FederatedApp) -> Grant:
        """A token; raises `Unauthorised` if the app does not trust Tieline (any more)."""
        fields = {"grant_type": "client_credentials", **fill({"scope": " ".join(self.scopes)}, ctx.places)}
        endpoint = TokenEndpoint(
            self.token_url,
            client_auth="federated",
            federation=self.audience,
            reading=Reading(dead=DEAD | APP_REFUSED, app_refused=frozenset()),
            more={"tenant": credential.tenant_id},
        )
        return await endpoint.grant(ctx, OAuthApp(client_id=credential.client_id), fields)

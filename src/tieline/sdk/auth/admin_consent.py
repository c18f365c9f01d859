"""Entra ID's admin consent: an administrator admits the app to their tenant, which then gives it tokens of its own.

The tenant that the consent names comes back in an address that anybody can write, so the person signs in to it once more: the
tenant's own word says that they belong to it, and that they hold a role which may give such a consent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from tieline.errors import Forbidden, Invalid
from tieline.sdk.answers import dig, judge
from tieline.sdk.auth.bearer import Bearer
from tieline.sdk.auth.callback import check_callback, read_code
from tieline.sdk.auth.client_auth import FIELDS, ClientAuth
from tieline.sdk.auth.credential import Credential, Grant
from tieline.sdk.auth.id_token import verify_id_token
from tieline.sdk.auth.kinds import Ask, AuthContext, Back, Further
from tieline.sdk.auth.oauth2 import with_query
from tieline.sdk.auth.token_answer import DEAD, Reading
from tieline.sdk.auth.token_endpoint import TokenEndpoint, fill

ADMINISTRATORS = frozenset({
    "62e90394-69f5-4237-9190-012177145e10",  # Global Administrator
    "e8611ab8-c189-46e8-94e1-60213ab1f814",  # Privileged Role Administrator
})  # fmt: skip
"""The roles that may consent to an app's permissions for all (Microsoft Entra built-in roles, template ids)."""

_TENANT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_AGAIN = "Begin again from the provider's page in Tieline."


class Tenant(Credential):
    """A tenant that has admitted the app. Nothing secret: the app's secret or key is what is shown."""

    tenant_id: str = Field(json_schema_extra={"pattern": _TENANT.pattern}, min_length=1, max_length=100)


@dataclass(frozen=True, kw_only=True)
class AdminConsent(Bearer):
    """Consent by an administrator, then client credentials in their tenant.

    All URLs but the first hold `{tenant}`. `scopes` are those of the app's own tokens. `administrators` are the roles of which the
    person must hold one: told by the claim `wids`, else asked at `roles_url` (which holds `{person}`, their object id) with the
    app's token. `client_auth` says how the app shows who it is: `body`, `private_key_jwt` or `federated`.
    """

    consent_url: str
    sign_in_url: str
    token_url: str
    issuer: str
    keys_url: str
    scopes: tuple[str, ...]
    roles_url: str | None = None
    administrators: frozenset[str] = ADMINISTRATORS
    client_auth: ClientAuth = "body"
    federation: str = ""
    consent_params: Mapping[str, str] = field(default_factory=dict)
    slot: str = "admin_consent"
    kind: str = "admin_consent"

    @property
    def credential(self) -> type[Credential]:
        """The tenant."""
        return Tenant

    @property
    def app_fields(self) -> frozenset[str]:
        """What the app's way to show who it is needs."""
        return FIELDS[self.client_auth]

    def authorize(self, ctx: AuthContext, ask: Ask) -> str:
        """The page to consent at; on the second round, the tenant's page to sign in at."""
        params = {"client_id": ctx.need_app().client_id, "redirect_uri": ask.redirect_uri, "state": ask.state}
        if tenant := ask.memo.get("tenant"):
            params |= {"response_type": "code", "scope": "openid profile", "nonce": ask.nonce}
            params |= {"code_challenge": ask.challenge, "code_challenge_method": "S256"}
            return with_query(ctx.url(self.sign_in_url, tenant=tenant), params)
        scope = {"scope": " ".join(self.scopes)}
        return with_query(ctx.url(self.consent_url), fill({**self.consent_params, **scope}, ctx.places) | params)

    async def receive(self, ctx: AuthContext, back: Back) -> Tenant | Further:
        """The tenant, once an administrator of it is known to have come back; `Further` if they have yet to sign in."""
        check_callback(ctx, back)
        if tenant := back.memo.get("tenant"):
            await self._check_person(ctx, back, tenant)
            return Tenant(tenant_id=tenant)
        tenant = back.query.get("tenant", "").lower()
        if back.query.get("admin_consent", "").lower() != "true" or not _TENANT.fullmatch(tenant):
            raise Invalid(f"{ctx.provider} did not say that an administrator consented", advice=_AGAIN)
        return Further({"tenant": tenant})

    async def mint(self, ctx: AuthContext, credential: Tenant) -> Grant:
        """A token of the app in the tenant; raises `Unauthorised` if it is not admitted there (any more)."""
        fields = {"grant_type": "client_credentials", **fill({"scope": " ".join(self.scopes)}, ctx.places)}
        return await self._endpoint(credential.tenant_id).grant(ctx, ctx.need_app(), fields)

    async def _check_person(self, ctx: AuthContext, back: Back, tenant: str) -> None:
        fields = {
            "grant_type": "authorization_code",
            "code": read_code(ctx, back),
            "redirect_uri": back.redirect_uri,
            "code_verifier": back.verifier,
            "scope": "openid profile",
        }
        told = await self._endpoint(tenant).tell(ctx, ctx.need_app(), fields)
        claims = await verify_id_token(
            ctx,
            told.get("id_token"),
            keys_url=ctx.url(self.keys_url, tenant=tenant),
            issuer=ctx.url(self.issuer, tenant=tenant),
            client_id=ctx.need_app().client_id,
            nonce=back.nonce,
        )
        if claims.get("tid") != tenant:
            raise Invalid("You signed in to another tenant than the one that consented", advice=_AGAIN)
        if not await self._is_administrator(ctx, claims, tenant):
            raise Invalid(
                f"You hold no role at {ctx.provider} that may consent for the whole tenant",
                advice="Let a Global Administrator or Privileged Role Administrator connect it.",
            )

    async def _is_administrator(self, ctx: AuthContext, claims: Mapping[str, Any], tenant: str) -> bool:
        roles, person = claims.get("wids"), claims.get("oid")
        if isinstance(roles, list) and self.administrators & {role for role in roles if isinstance(role, str)}:
            return True
        if self.roles_url is None or not isinstance(person, str):
            return False
        token = (await self.mint(ctx, Tenant(tenant_id=tenant))).access_token.get_secret_value()
        headers = {"authorization": f"Bearer {token}"}
        answer = await ctx.send("GET", ctx.url(self.roles_url, person=person), headers=headers, secrets=(token,))
        if failed := judge(answer):
            if isinstance(failed, Forbidden):
                failed = answer.fail(
                    Forbidden,
                    "does not let the app read the roles of the person who consented",
                    advice="Give the app a permission to read directory roles (application), and consent again.",
                )
            raise failed
        held = dig(answer.json, "value")
        return any(
            dig(role, "roleTemplateId") in self.administrators for role in (held if isinstance(held, list) else [])
        )

    def _endpoint(self, tenant: str) -> TokenEndpoint:
        # In a tenant that has thrown the app out it is unknown, which is no fault of the app's.
        reading = Reading(dead=DEAD | {"unauthorized_client"}, app_refused=frozenset({"invalid_client"}))
        return TokenEndpoint(
            self.token_url,
            client_auth=self.client_auth,
            federation=self.federation,
            reading=reading,
            more={"tenant": tenant},
        )

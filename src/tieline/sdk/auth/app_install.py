"""A GitHub App: an owner installs it, Tieline verifies that it was they, and signs as the app for tokens of an hour.

The installation's id comes back in an address that anybody can write, so it is worth nothing by itself: whoever came back must
also sign in, the installation must be among those that they reach, and they must own the account that it is on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import Field

from tieline.errors import Invalid, Suspended, Unauthorised, Unexpected
from tieline.sdk.answers import Answer, dig, judge
from tieline.sdk.auth.assertion import sign_jwt, times
from tieline.sdk.auth.bearer import Bearer
from tieline.sdk.auth.callback import check_callback, read_code
from tieline.sdk.auth.credential import Credential, Grant
from tieline.sdk.auth.kinds import Ask, AuthContext, Back, Further
from tieline.sdk.auth.oauth2 import with_query
from tieline.sdk.auth.token_answer import Reading, read_grant
from tieline.sdk.auth.token_endpoint import TokenEndpoint

_PAGE = 100
_MOST_PAGES = 50
_ID = re.compile(r"[0-9]{1,18}")
_AGAIN = "Begin again from the provider's page in Tieline."
_LEVELS = {"read": ("read",), "write": ("read", "write"), "admin": ("read", "write", "admin")}


class Installation(Credential):
    """An installation of the app, and the account that it is on. Nothing secret: the app's key is what signs."""

    installation_id: str = Field(min_length=1, max_length=20, json_schema_extra={"pattern": r"[0-9]+"})
    account: str = Field(min_length=1, max_length=200)
    account_id: str = Field(min_length=1, max_length=20)


@dataclass(frozen=True, kw_only=True)
class AppInstall(Bearer):
    """A GitHub App's installation, on GitHub itself or on a server of one's own: `{web}` and `{api}` are the two hosts.

    With `owners_only`, the person must own the account; the app needs the permission to read members for that. It is never
    uninstalled from here, and so is no kind that `Revokes`: another organization may be connected by the same installation.
    """

    install_url: str = "{web}/apps/{slug}/installations/new"
    authorize_url: str = "{web}/login/oauth/authorize"
    token_url: str = "{web}/login/oauth/access_token"  # noqa: S105  an address
    installations_url: str = "{api}/user/installations"
    user_url: str = "{api}/user"
    membership_url: str = "{api}/user/memberships/orgs/{account}"
    mint_url: str = "{api}/app/installations/{installation_id}/access_tokens"
    headers: Mapping[str, str] = field(default_factory=lambda: {"accept": "application/vnd.github+json"})
    owners_only: bool = True
    slot: str = "app_install"
    kind: str = "app_install"

    @property
    def credential(self) -> type[Credential]:
        """The installation and its account."""
        return Installation

    @property
    def app_fields(self) -> frozenset[str]:
        """All that a GitHub App has."""
        return frozenset({"client_id", "client_secret", "private_key", "app_id", "slug"})

    def authorize(self, ctx: AuthContext, ask: Ask) -> str:
        """The page to install on; on the second round, the page to sign in at."""
        app = ctx.need_app()
        if not ask.memo:
            return with_query(ctx.url(self.install_url, slug=app.slug or ""), {"state": ask.state})
        params = {"client_id": app.client_id, "redirect_uri": ask.redirect_uri, "state": ask.state}
        params |= {"code_challenge": ask.challenge, "code_challenge_method": "S256"}
        return with_query(ctx.url(self.authorize_url), params)

    async def receive(self, ctx: AuthContext, back: Back) -> Installation | Further:
        """The installation, once the person is known to own it; `Further` if they have yet to sign in."""
        check_callback(ctx, back)
        if back.query.get("setup_action") == "request":
            advice = "When an owner has approved it there, connect again."
            raise Invalid("The installation was asked for, and an owner must approve it", advice=advice)
        number = back.memo.get("installation_id") or back.query.get("installation_id", "")
        if not _ID.fullmatch(number):
            raise Invalid(f"{ctx.provider} did not say which installation this is", advice=_AGAIN)
        if not back.query.get("code"):
            if back.memo:
                read_code(ctx, back)  # which says that it is missing
            return Further({"installation_id": number})
        user = _User(self, ctx, await self._sign_in(ctx, back))
        return await user.claim(number)

    async def mint(self, ctx: AuthContext, credential: Installation) -> Grant:
        """A token of the installation; its permissions are told as scopes such as `members:read`."""
        answer = await self._ask_as_app(ctx, credential)
        if answer.status == 403 and b"suspended" in answer.body.lower():
            raise answer.fail(Suspended, f"has the app suspended on {credential.account}")
        if answer.status == 404:
            raise answer.fail(Unauthorised, f"has the app no longer installed on {credential.account}")
        grant = read_grant(answer, Reading(token_at="token", ends_at="expires_at", lifetime=3600))  # noqa: S106  a field
        return grant.model_copy(update={"scopes": _scopes(dig(answer.json, "permissions"))})

    async def _sign_in(self, ctx: AuthContext, back: Back) -> str:
        """The person's token. A code that came with the installation was asked for by the page there, without PKCE."""
        fields = {"grant_type": "authorization_code", "code": read_code(ctx, back)}
        if back.memo:
            fields |= {"redirect_uri": back.redirect_uri, "code_verifier": back.verifier}
        endpoint = TokenEndpoint(self.token_url, client_auth="body", headers={"accept": "application/json"})
        return (await endpoint.grant(ctx, ctx.need_app(), fields)).access_token.get_secret_value()

    async def _ask_as_app(self, ctx: AuthContext, credential: Installation) -> Answer:
        app = ctx.need_app()
        if app.private_key is None or app.app_id is None:
            raise Invalid(f"The app for {ctx.provider} lacks its id or its private key", advice="Set both on the app.")
        claims = {"iss": app.app_id, **times(ctx.clock.now(), timedelta(minutes=9), early=timedelta(seconds=30))}
        token = sign_jwt(app.private_key.get_secret_value(), claims, algorithm="RS256")
        url = ctx.url(self.mint_url, installation_id=credential.installation_id)
        headers = {**self.headers, "authorization": f"Bearer {token}"}
        return await ctx.send("POST", url, headers=headers, secrets=(token,))


@dataclass(frozen=True)
class _User:
    """The person who came back, by their token."""

    way: AppInstall
    ctx: AuthContext
    token: str = field(repr=False)

    async def claim(self, number: str) -> Installation:
        """The installation, if they reach it and own its account; raises `Invalid` if not."""
        found = await self._find(number)
        account = found.get("account") if found else None
        if not isinstance(account, dict) or not account.get("login") or not account.get("id"):
            raise Invalid(
                f"This installation is not among those that you can reach at {self.ctx.provider}",
                advice="Sign in there as an owner of the account, and install the app again.",
            )
        if self.way.owners_only and not await self._owns(account):
            raise Invalid(
                f"You do not own {account['login']} at {self.ctx.provider}",
                advice="Let an owner connect it; the app needs the permission to read members to tell.",
            )
        return Installation(installation_id=number, account=account["login"], account_id=str(account["id"]))

    async def _find(self, number: str) -> dict[str, Any] | None:
        for page in range(1, _MOST_PAGES + 1):
            url = with_query(self.ctx.url(self.way.installations_url), {"per_page": str(_PAGE), "page": str(page)})
            answer = await self._get(url)
            listed = dig(answer.json, "installations")
            if not isinstance(listed, list):
                raise answer.fail(Unexpected, "does not list installations as documented")
            for each in listed:
                if isinstance(each, dict) and str(each.get("id")) == number:
                    return each
            if len(listed) < _PAGE:
                return None
        return None

    async def _owns(self, account: dict[str, Any]) -> bool:
        if account.get("type") != "Organization":
            return bool(dig((await self._get(self.ctx.url(self.way.user_url))).json, "id") == account["id"])
        url = self.ctx.url(self.way.membership_url, account=str(account["login"]))
        answer = await self._get(url, settled=(403, 404))
        if answer.status in (403, 404):
            return False
        return (dig(answer.json, "state"), dig(answer.json, "role")) == ("active", "admin")

    async def _get(self, url: str, settled: tuple[int, ...] = ()) -> Answer:
        headers = {**self.way.headers, "authorization": f"Bearer {self.token}"}
        answer = await self.ctx.send("GET", url, headers=headers, secrets=(self.token,))
        if answer.status not in settled and (failed := judge(answer)):
            raise failed
        return answer


def _scopes(permissions: Any) -> tuple[str, ...] | None:
    """`{"members": "write"}` as `members:read` and `members:write`; `None` if not told."""
    if not isinstance(permissions, dict):
        return None
    return tuple(sorted(f"{name}:{level}" for name, most in permissions.items() for level in _LEVELS.get(most, ())))

"""Which workspace a token opens, and how the token is given back."""

from __future__ import annotations

from typing import Any

from tieline.providers.slack.answers import DEAD, call, meaning_of
from tieline.sdk import Context, Grant, Identified, Invalid
from tieline.sdk.answers import judge
from tieline.sdk.auth import AuthContext


async def identify(ctx: Context[Any]) -> Identified:
    """The workspace, and the scopes of the token; raises `Invalid` for an app that is installed for a whole organization."""
    answer = await call(ctx, "auth.test")
    told, scopes = answer.json, answer.headers.get("x-oauth-scopes")
    if told.get("is_enterprise_install"):
        raise Invalid(
            "The app is installed for a whole Enterprise Grid organization",
            advice="Install it to one workspace, and connect each workspace by itself.",
        )
    granted = None if scopes is None else frozenset(scope.strip() for scope in scopes.split(",")) - {""}
    return Identified(id=told["team_id"], name=told["team"], scopes=granted)


async def revoke(ctx: AuthContext, grant: Grant) -> bool:
    """Revoke the bot token (auth.revoke); Slack has no endpoint of RFC 7009."""
    token = grant.access_token.get_secret_value()
    headers = {"authorization": f"Bearer {token}"}
    answer = await ctx.send("POST", ctx.url("{api}/auth.revoke"), form={}, headers=headers, secrets=(token,))
    if failed := judge(answer):
        raise failed
    if answer.json.get("revoked") is True or answer.json.get("error") in DEAD:
        return True
    raise meaning_of(answer)

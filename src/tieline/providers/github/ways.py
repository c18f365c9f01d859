"""The ways to connect GitHub: its app, which an owner installs, an OAuth app, and a token."""

from __future__ import annotations

import base64

from tieline.sdk import AppInstall, AuthContext, Grant, OAuth2, PersonalToken
from tieline.sdk.answers import judge

_HEADERS = {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}


async def forget_token(ctx: AuthContext, grant: Grant) -> bool:
    """Revoke this one token: others that the person gave to the app may serve other organizations.

    https://docs.github.com/rest/apps/oauth-applications#delete-an-app-token
    """
    app = ctx.need_app()
    if app.client_secret is None:
        return False
    secret, token = app.client_secret.get_secret_value(), grant.access_token.get_secret_value()
    packed = base64.b64encode(f"{app.client_id}:{secret}".encode()).decode()
    answer = await ctx.send(
        "DELETE",
        ctx.url("{api}/applications/{client}/token", client=app.client_id),
        json={"access_token": token},
        headers=_HEADERS | {"authorization": f"Basic {packed}"},
        secrets=(secret, token, packed),
    )
    if answer.status not in (204, 404, 422) and (failed := judge(answer)):  # 404 and 422: it is revoked already
        raise failed
    return True


# What is signed with an app's key or secret goes to hosts that the operator alone can set, never to a connection's `base_url`.
WAYS = (
    AppInstall(
        headers=_HEADERS,
        help="Install the app on the organization, as one of its owners. It reads members, administration and metadata.",
    ),
    OAuth2(
        authorize_url="{web}/login/oauth/authorize",
        token_url="{web}/login/oauth/access_token",  # noqa: S106  an address
        token_headers={"accept": "application/json"},
        revoke_by=forget_token,
        scopes=("read:org", "repo"),
        client_auth="body",
        help="Sign in as an owner of the organization. GitHub has no read-only scope for private repositories: prefer the app.",
    ),
    PersonalToken(
        help="GitHub → Settings → Developer settings → Personal access tokens; let an owner of the organization make it: "
        "classic with read:org and repo, or fine-grained with read access to Members, Administration and Metadata."
    ),
)

"""Who signed in, as an OpenID Connect provider's ID token says it: its signature and every claim checked (OIDC Core 3.1.3.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tieline.errors import Unauthorised, Unexpected
from tieline.sdk.answers import judge
from tieline.sdk.auth.kinds import AuthContext

if TYPE_CHECKING:  # loaded when the first person signs in
    from joserfc.jwk import ECKey, RSAKey

ALGORITHMS = ("RS256", "ES256")
"""The algorithms that are accepted; `none` and shared secrets are not among them."""

_LEEWAY = 60  # seconds that the two clocks may differ
_LONGEST = 50_000


async def verify_id_token(
    ctx: AuthContext, token: object, *, keys_url: str, issuer: str, client_id: str, nonce: str
) -> dict[str, Any]:
    """The claims of an ID token that is what it should be; raises `Unauthorised` if it is not.

    `keys_url` is where the issuer publishes its keys (JWKS). The nonce is that of this very sign-in.
    """
    from joserfc import jws, jwt
    from joserfc.errors import JoseError

    if not isinstance(token, str) or not 0 < len(token) <= _LONGEST:
        raise Unexpected(f"{ctx.provider} did not say who signed in")
    wanted = jwt.JWTClaimsRegistry(
        now=int(ctx.clock.now().timestamp()),
        leeway=_LEEWAY,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": client_id},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
        nonce={"essential": True, "value": nonce},
    )
    keys = await _fetch_keys(ctx, keys_url)
    try:
        key_id = jws.extract_compact(token.encode()).headers().get("kid")
        fitting = [key for key in keys if key_id is None or key.kid == key_id]
        if len(fitting) != 1:
            raise Unauthorised(f"{ctx.provider} signed the sign-in with a key that it does not publish")
        claims = jwt.decode(token, fitting[0], algorithms=ALGORITHMS).claims
        wanted.validate(claims)
    except (JoseError, ValueError, TypeError):
        raise Unauthorised(f"{ctx.provider}'s word on who signed in could not be verified") from None
    if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != client_id:
        raise Unauthorised(f"{ctx.provider}'s word on who signed in is meant for another app")
    return claims


async def _fetch_keys(ctx: AuthContext, url: str) -> list[RSAKey | ECKey]:
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, RSAKey

    kinds: dict[str, type[RSAKey | ECKey]] = {"RSA": RSAKey, "EC": ECKey}
    answer = await ctx.send("GET", url)
    if failed := judge(answer):
        raise failed
    told = answer.json.get("keys") if isinstance(answer.json, dict) else None
    keys: list[RSAKey | ECKey] = []
    for each in told if isinstance(told, list) else []:
        if isinstance(each, dict) and each.get("kty") in kinds and each.get("use", "sig") == "sig":
            try:
                keys.append(kinds[each["kty"]].import_key(each))
            except (JoseError, ValueError, TypeError):
                continue  # a key of a newer kind is not for us
    return keys

"""Single sign-on: a person sent to the OpenID provider and taken back by the same browser, then signed in as the member they are.

What must fit on the way back (state, nonce, PKCE verifier, where to go) travels in one signed cookie of that browser. Only who was
invited gets in: an address that no organization knows makes no member.
"""

from __future__ import annotations

import binascii
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256

import orjson

from tieline.access.sso import Sso
from tieline.errors import NotAllowed, NotFound
from tieline.flows.members import fold_email
from tieline.flows.parts import Parts
from tieline.flows.sign_in import Begun, begin_session
from tieline.flows.tickets import lost
from tieline.sdk.auth.kinds import Back
from tieline.store.members import find_memberships

LIFETIME = timedelta(minutes=10)
CALLBACK = "/sign-in/sso/callback"


@dataclass(frozen=True)
class Trip:
    """A person about to be sent: where to, and the cookie that must come back."""

    url: str
    cookie: str = field(repr=False)


async def begin_sso(parts: Parts, *, back: str) -> Trip:
    """Send a person to the OpenID provider; `back` is the path where they go at the end. Raises `NotFound`, a `ProviderError`."""
    sso = _need(parts)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    until = int((parts.clock.now() + LIFETIME).timestamp())
    told = {"state": state, "nonce": nonce, "verifier": verifier, "back": back, "until": until}
    challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    url = await sso.authorize_url(redirect_uri=_callback(parts), state=state, nonce=nonce, challenge=challenge)
    body = urlsafe_b64encode(orjson.dumps(told)).decode()
    return Trip(url, f"{body}.{_sign(parts, body)}")


async def finish_sso(
    parts: Parts,
    query: Mapping[str, str],
    cookie: str | None,
    *,
    user_agent: str,
    besides: Collection[str] = (),
) -> tuple[Begun, str]:
    """The session of whoever came back, and the path where they go.

    Of several organizations it is in one that they are not signed in to already (`besides`), if there is one.
    Raises `SignInLost` for what does not fit what was begun in this browser, `NotAllowed` for who is no member.
    """
    sso, told = _need(parts), _read(parts, cookie)
    if not hmac.compare_digest(query.get("state", "").encode(), told["state"].encode()):
        raise lost()
    given = {name: value for name, value in query.items() if name != "state"}
    person = await sso.receive(Back(given, _callback(parts), told["verifier"], told["nonce"]))
    async with parts.db.system() as work:
        found = await find_memberships(work, fold_email(person.email))
    if not found:
        raise NotAllowed(
            "You are not a member of any organization here", advice="Ask an admin of yours to invite this address."
        )
    org_id, member_id = next((one for one in found if one[0] not in besides), found[0])
    return await begin_session(parts, org_id, member_id, method="oidc", user_agent=user_agent), told["back"]


def _need(parts: Parts) -> Sso:
    if parts.sso is None:
        raise NotFound("Single sign-on is not set up", advice="Set TIELINE_OIDC_ISSUER and TIELINE_OIDC_CLIENT_ID.")
    return parts.sso


def _callback(parts: Parts) -> str:
    return f"{parts.public_url}{CALLBACK}"


def _read(parts: Parts, cookie: str | None) -> dict[str, str]:
    body, _, tag = (cookie or "").partition(".")
    if not body.isascii() or not hmac.compare_digest(tag.encode(), _sign(parts, body).encode()):
        raise lost()
    try:
        told: dict[str, str] = orjson.loads(urlsafe_b64decode(body))
    except (binascii.Error, ValueError):
        raise lost() from None
    if int(told["until"]) < parts.clock.now().timestamp():
        raise lost()
    return told


def _sign(parts: Parts, body: str) -> str:
    return hmac.digest(parts.keys.session_key, b"sso\0" + body.encode(), "sha256").hex()

"""What a person comes back with from a provider, looked at before anything is asked (RFC 6749, section 4.1.2; RFC 9207)."""

from __future__ import annotations

import re

from tieline.errors import Invalid, TielineError, Unavailable
from tieline.sdk.auth.kinds import AuthContext, Back

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,49}")
_LONGEST = 8_000
_AWAY = frozenset({"server_error", "temporarily_unavailable"})
_IN_WORDS = {
    "access_denied": "did not give access: the person declined, or is not allowed to give it",
    "admin_policy_enforced": "does not let this app in: an administrator's policy is in the way",
    "application_suspended": "has suspended the OAuth app",
    "consent_required": "wants an administrator's consent first",
    "interaction_required": "wants the person to sign in anew",
    "invalid_client": "does not know the OAuth app",
    "invalid_request": "did not understand the request: look at the OAuth app's settings",
    "invalid_scope": "does not know a permission that was asked for, or does not give it to this OAuth app",
    "login_required": "wants the person to sign in anew",
    "redirect_uri_mismatch": "does not know the callback address: register it on the OAuth app, exactly as it is shown",
    "unauthorized_client": "does not let this OAuth app ask in this way",
    "unsupported_response_type": "does not let this OAuth app ask in this way",
}


def check_callback(ctx: AuthContext, back: Back, *, issuer: str | None = None) -> None:
    """Raise `Invalid` in words if another server answered than the one asked, or if it answered with an error.

    `issuer` is who must have answered (RFC 9207). What the provider says in its own words is not repeated, as anybody may have
    written it into the address.
    """
    if issuer is not None and back.query.get("iss") != issuer:
        raise Invalid(
            f"The answer did not come from {ctx.provider}, or came from another of its servers",
            advice="Begin again from the provider's page in Tieline.",
        )
    if error := back.query.get("error"):
        raise _in_words(ctx.provider, error)


def read_code(ctx: AuthContext, back: Back) -> str:
    """The code; raises `Invalid` if there is none."""
    code = back.query.get("code", "")
    if not code or len(code) > _LONGEST or not code.isprintable():
        raise Invalid(f"{ctx.provider} sent no code back", advice="Begin again from the provider's page in Tieline.")
    return code


def _in_words(provider: str, error: str) -> TielineError:
    if error in _AWAY:
        return Unavailable(f"{provider} cannot answer at present ({error})")
    code = error if _CODE.fullmatch(error) else "unreadable"
    return Invalid(f"{provider} {_IN_WORDS.get(error, 'ended the connecting with an error')} ({code})", error=code)

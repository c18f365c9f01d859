"""Slack's way of answering: mostly status 200, with `ok` and the name of an error in the body."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tieline.sdk import (
    Answer,
    Context,
    Forbidden,
    NotOffered,
    ProviderError,
    RateLimited,
    Unauthorised,
    Unavailable,
    Unexpected,
)
from tieline.sdk.context import Pages

DEAD = frozenset({"account_inactive", "invalid_auth", "not_authed", "token_expired", "token_revoked"})
_REFUSED = frozenset({
    "access_denied", "ekm_access_denied", "enterprise_is_restricted", "missing_scope", "no_permission",
    "not_allowed_token_type", "restricted_action", "team_access_not_granted", "two_factor_setup_required",
})  # fmt: skip
_UNPAID = frozenset({"paid_only", "paid_teams_only", "plan_upgrade_required"})
_AWAY = frozenset({
    "fatal_error", "internal_error", "org_login_required", "request_timeout", "service_unavailable", "team_added_to_org",
})  # fmt: skip
_TOO_MANY = frozenset({"rate_limited", "ratelimited"})
_CODE = re.compile(r"[a-z][a-z0-9_]{0,59}")
_SCOPES = re.compile(r"[a-z0-9:._,-]{1,200}")
_PAGE = "200"  # what Slack recommends; it may answer fewer at any time


async def call(ctx: Context[Any], method: str, **arguments: str) -> Answer:
    """Call a method that only reads; raises the `ProviderError` that `ok: false` means.

    Arguments go as a form: Slack takes JSON for methods that write only.
    """
    answer = await ctx.request("POST", f"/{method}", form=arguments, idempotent=True)
    if isinstance(answer.json, dict) and answer.json.get("ok") is True:
        return answer
    raise meaning_of(answer)


def listed(ctx: Context[Any], method: str, items: str, **arguments: str) -> Pages[Any]:
    """The records of a paged method: an empty cursor means the end, a short page does not."""

    async def fetch(cursor: str | None) -> tuple[Sequence[Any], str | None]:
        at = {"cursor": cursor} if cursor else {}
        answer = await call(ctx, method, limit=_PAGE, **arguments, **at)
        following = (answer.json.get("response_metadata") or {}).get("next_cursor") or None
        if following == cursor is not None:
            raise answer.fail(Unexpected, f"repeated its cursor for {answer.asked}")
        return answer.json[items], following

    return ctx.each(fetch)


def meaning_of(answer: Answer) -> ProviderError:
    """The error that an answer with `ok: false` means."""
    told = answer.json if isinstance(answer.json, dict) else {}
    code = told.get("error")
    code = code if isinstance(code, str) and _CODE.fullmatch(code) else "no readable reason"
    if code in DEAD:
        return answer.fail(Unauthorised, f"refused the token ({code})")
    if code in _REFUSED:
        needed = told.get("needed")
        scope = needed if isinstance(needed, str) and _SCOPES.fullmatch(needed) else None
        lacking = f" without the scope {scope}" if scope else ""
        return answer.fail(Forbidden, f"does not allow {answer.asked}{lacking} ({code})", scope=scope)
    if code in _UNPAID:
        return answer.fail(NotOffered, f"does not offer {answer.asked} on this workspace's plan")
    if code in _TOO_MANY:
        return answer.fail(RateLimited, f"asks to wait until {answer.until:%H:%M:%S} UTC", until=answer.until)
    if code in _AWAY:
        return answer.fail(Unavailable, f"cannot answer {answer.asked} at present ({code})")
    return answer.fail(Unexpected, f"refused {answer.asked} ({code})")

"""Okta's policies: four of their types, each with a mapping of its own, as their settings have nothing in common."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tieline.sdk import Context, LinkHeader, Mapping, NotOffered, Policy, Record

_PATH = "/api/v1/policies"
_PAGES = LinkHeader(size_param=None)  # these lists come in the provider's own size
_WITH_RULES = ("OKTA_SIGN_ON", "ACCESS_POLICY")  # what those decide is in their rules

# An authenticator of these proves nothing that the password has not proven, or is not in the person's hand.
_NO_SECOND_FACTOR = "['okta_password', 'okta_email', 'okta_question', 'security_question']"


def _mapping(variant: str, type: str, **fields: str) -> Mapping[Policy]:
    return Policy.map(
        variant=variant,
        drop=("lastUpdated", "_links"),
        external_id="payload.id",
        name="payload.name",
        type=f"'{type}'",
        status="payload.status.lowerAscii()",
        priority="payload.priority",
        **fields,
    )


def _if_limited(path: str) -> str:
    """The number at a path; Okta writes 0 for "no limit", which is no number."""
    return f"{path} > 0 ? dyn({path}) : dyn(null)"


def _all_that_let_in(decision: str, demand: str) -> str:
    """Whether each active rule that lets people in makes the demand; no value if there is no such rule."""
    rules = f"payload.rules.filter(r, r.status == 'ACTIVE' && r.actions.{decision}.access == 'ALLOW')"
    return f"size({rules}) > 0 ? dyn({rules}.all(r, {demand})) : dyn(null)"


MAPPINGS = (
    _mapping(
        "PASSWORD",
        "password",
        min_length="payload.settings.password.complexity.minLength",
        history="payload.settings.password.age.historyCount",
        max_age_days=_if_limited("payload.settings.password.age.maxAgeDays"),
        lockout_attempts=_if_limited("payload.settings.password.lockout.maxAttempts"),
    ),
    _mapping(
        "MFA_ENROLL",
        "mfa",
        # Identity Engine lists authenticators; Classic Engine, and orgs that came from it, keep factors by name.
        mfa_required="has(payload.settings.authenticators)"
        f" ? payload.settings.authenticators.exists(a, !(a.key in {_NO_SECOND_FACTOR}) && a.enroll.self == 'REQUIRED')"
        f" : payload.settings.factors.exists(key, !(key in {_NO_SECOND_FACTOR})"
        " && payload.settings.factors[key].enroll.self == 'REQUIRED')",
    ),
    _mapping(
        "OKTA_SIGN_ON",
        "sign_on",
        mfa_required=_all_that_let_in(
            "signon", "has(r.actions.signon.requireFactor) && r.actions.signon.requireFactor"
        ),
        session_hours="double(payload.longest_session_minutes) / 60.0",
    ),
    _mapping(
        "ACCESS_POLICY",
        "access",
        mfa_required=_all_that_let_in("appSignOn", "r.actions.appSignOn.verificationMethod.factorMode == '2FA'"),
    ),
)


async def read_policies(ctx: Context[Any]) -> AsyncIterator[Record]:
    """Policies type after type; each record's variant is its type.

    Raises `NotOffered` where there is no policy API.
    """

    async def with_rules(policy: dict[str, Any]) -> dict[str, Any]:
        if policy["type"] not in _WITH_RULES:
            return policy
        rules = [rule async for rule in ctx.pages(f"{_PATH}/{policy['id']}/rules", pages=_PAGES, missing=())]
        return policy | {"rules": rules, "longest_session_minutes": _longest_session(rules)}

    for type in await _types(ctx):
        absent = NotOffered(f"Okta has no policies of the type {type} at this address")
        async for policy in ctx.pages(_PATH, pages=_PAGES, params={"type": type}, missing=absent).join(with_rules):
            yield Record(policy, type)


async def _types(ctx: Context[Any]) -> list[str]:
    """The types that this org's engine has: application sign-in policies came with Identity Engine (`idx`)."""
    metadata = await ctx.get("/.well-known/okta-organization", missing={})
    types = [mapping.variant for mapping in MAPPINGS if mapping.variant]
    return types if metadata.get("pipeline") == "idx" else [type for type in types if type != "ACCESS_POLICY"]


def _longest_session(rules: list[dict[str, Any]]) -> int | None:
    """The longest session in minutes that an active rule gives; `None` if there is none, or one has no end (0)."""
    signons = [rule["actions"].get("signon", {}) for rule in rules if rule["status"] == "ACTIVE"]
    minutes = [signon["session"].get("maxSessionLifetimeMinutes", 0) for signon in signons if "session" in signon]
    return max(minutes) if minutes and all(minutes) else None

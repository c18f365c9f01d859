"""What protects a repository's default branch: the older branch protection, and the rules of rulesets beside it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tieline.sdk import Context, Forbidden, LinkHeader

Protection = dict[str, Any] | bool | None
Rules = list[dict[str, Any]] | None


async def read_protection(ctx: Context[Any], repository: dict[str, Any]) -> Protection:
    """The branch protection: `False` if there is none, `None` if there is no branch or the token may not know.

    GitHub answers 404 for all three. "Branch not protected" is the one sure sign; else it takes an administrator's token.
    """
    try:
        answer = await ctx.request("GET", f"{_path(repository, 'branches')}/protection", accept=(404,))
    except Forbidden:
        return None
    if answer.status == 200:
        found: dict[str, Any] = answer.json
        return found
    reason = answer.json.get("message")
    is_administrator = repository.get("permissions", {}).get("admin") is True
    is_unprotected = reason == "Branch not protected" or (is_administrator and reason != "Branch not found")
    return False if is_unprotected else None


async def read_rules(ctx: Context[Any], repository: dict[str, Any]) -> Rules:
    """The active rules of rulesets on the branch; `None` if the plan or the token does not allow to know.

    A GitHub too old for rulesets answers 404, which is none.
    """
    listed = ctx.pages(_path(repository, "rules/branches"), pages=LinkHeader(), missing=())
    try:
        return [rule async for rule in listed]
    except Forbidden:
        return None


def required_reviews(protection: Protection, rules: Rules) -> int | None:
    """How many approvals a change needs: the strictest of protection and rules holds."""
    if protection is None or rules is None:
        return None
    older = protection.get("required_pull_request_reviews") if isinstance(protection, dict) else None
    newer = [rule.get("parameters") for rule in rules if rule["type"] == "pull_request"]
    counts: list[int] = [(asked or {}).get("required_approving_review_count", 0) for asked in (older, *newer)]
    return max(counts)


def _path(repository: dict[str, Any], kind: str) -> str:
    return f"/repos/{repository['full_name']}/{kind}/{quote(repository['default_branch'], safe='')}"

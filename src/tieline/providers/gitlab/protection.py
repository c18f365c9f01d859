"""What protects a project's default branch: protected branches, which may be patterns, and approval rules."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from tieline.sdk import Context, Forbidden, LinkHeader

Project = dict[str, Any]
Rules = list[dict[str, Any]]


async def with_protection(ctx: Context[Any], project: Project) -> Project:
    """The project with `protected`, `force_push` and `required_reviews`, each left out if it is not told."""
    branch = project.get("default_branch")
    if project.get("archived") or project.get("empty_repo") or not branch:
        return project  # takes no change, or has no branch
    rules = await _rules(ctx, project, "protected_branches")
    approvals = await _rules(ctx, project, "approval_rules")
    return project | await _protection(ctx, project, rules) | _reviews(branch, approvals)


async def _protection(ctx: Context[Any], project: Project, rules: Rules | None) -> Project:
    """By the rules, or by the branch itself, which tells everybody that it is protected but not how."""
    branch = project["default_branch"]
    if rules is None:
        path = f"/projects/{project['id']}/repository/branches/{quote(branch, safe='')}"
        found = await _told(ctx, path)
        return {"protected": found["protected"]} if "protected" in found else {}
    matching = [rule for rule in rules if _matches(rule["name"], branch)]
    return {
        "protected": bool(matching),
        "force_push": not matching or any(rule.get("allow_force_push") for rule in matching),
    }


def _reviews(branch: str, rules: Rules | None) -> Project:
    """The most approvals that one rule asks for; unknown where the plan has no such rules."""
    if rules is None:
        return {}
    asked = [rule["approvals_required"] for rule in rules if _holds(rule, branch)]
    return {"required_reviews": max(asked, default=0)}


def _holds(rule: dict[str, Any], branch: str) -> bool:
    """Whether an approval rule holds for every change to the branch: code owners' and reports' hold for some only."""
    if rule.get("rule_type") not in ("regular", "any_approver"):
        return False
    named = rule.get("protected_branches") or []
    return not named or any(_matches(one["name"], branch) for one in named)


def _matches(pattern: str, branch: str) -> bool:
    """Whether a protected branch is this one; its name may hold asterisks, which also stand for slashes."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), branch) is not None


async def _rules(ctx: Context[Any], project: Project, kind: str) -> Rules | None:
    """A project's rules; `None` if the role or the plan does not allow to know, which GitLab tells by 403 or 404."""
    unknown = Forbidden(f"GitLab does not tell the {kind} of this project")
    try:
        listed = ctx.pages(f"/projects/{project['id']}/{kind}", pages=LinkHeader(), missing=unknown)
        return [rule async for rule in listed]
    except Forbidden:
        return None


async def _told(ctx: Context[Any], path: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = await ctx.get(path, missing={})
    except Forbidden:
        return {}
    return found

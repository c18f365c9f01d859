"""What protects a repository's main branch: the branch restrictions that match it, by pattern or by branching model."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

from tieline.sdk import Context, Forbidden, NextLink

PAGES = NextLink(at="next", size_param="pagelen", size=100)
_PROTECTING = frozenset({"push", "force", "restrict_merges", "enforce_merge_checks"})

Repository = dict[str, Any]
Restriction = dict[str, Any]


async def with_protection(ctx: Context[Any], repository: Repository) -> Repository:
    """The repository with `protected`, `force_push` and `required_reviews`, left out if the role does not allow to know."""
    branch = (repository.get("mainbranch") or {}).get("name")
    if not branch:
        return repository
    path = f"/repositories/{quote(repository['full_name'], safe='/')}"
    try:
        listed = ctx.pages(f"{path}/branch-restrictions", pages=PAGES, items="values")
        restrictions = [restriction async for restriction in listed]
        kinds = await _kinds(ctx, path, branch) if any(_by_model(one) for one in restrictions) else frozenset()
    except Forbidden:
        return repository
    matching = [one for one in restrictions if _matches(one, branch, kinds)]
    found = {one["kind"] for one in matching}
    return repository | {
        "protected": bool(found & _PROTECTING),
        "force_push": "force" not in found,
        "required_reviews": _reviews(matching) if "enforce_merge_checks" in found else 0,
    }


def _reviews(restrictions: list[Restriction]) -> int:
    """How many approvals a merge needs; without the kind that enforces them, a merge check is a mere warning."""
    return max(
        (one.get("value") or 0 for one in restrictions if one["kind"] == "require_approvals_to_merge"), default=0
    )


def _matches(restriction: Restriction, branch: str, kinds: frozenset[str]) -> bool:
    if _by_model(restriction):
        return restriction.get("branch_type") in kinds
    return fnmatchcase(branch, restriction.get("pattern") or "")


def _by_model(restriction: Restriction) -> bool:
    return restriction.get("branch_match_kind") == "branching_model"


async def _kinds(ctx: Context[Any], path: str, branch: str) -> frozenset[str]:
    """What the branching model calls the branch: `development`, `production`, or the kind whose prefix it has."""
    model = await ctx.get(f"{path}/effective-branching-model", missing={})
    named = {kind for kind in ("development", "production") if _name(model.get(kind)) == branch}
    prefixed = {one["kind"] for one in model.get("branch_types", ()) if branch.startswith(one["prefix"])}
    return frozenset(named | prefixed)


def _name(kind: dict[str, Any] | None) -> str | None:
    """The branch that plays the part; the main branch itself is written as `use_mainbranch` with the branch beside it."""
    found = (kind or {}).get("branch") or {}
    name: str | None = found.get("name") or (kind or {}).get("name")
    return name

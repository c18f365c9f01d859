"""What the fixtures of Bitbucket do not show: which restrictions hold a main branch, and what credentials are told to allow."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from pydantic import ValidationError
from tests.providers.readings import Answers, Connect

from tieline.providers.bitbucket.provider import bitbucket
from tieline.providers.bitbucket.workspace import BitbucketOptions
from tieline.sdk import Forbidden, Repository

TOKEN = "ATCTT3xFfGN0-made-up-0123456789"
MODEL = {
    "development": {"name": "develop", "branch": {"name": "develop"}, "use_mainbranch": False},
    "production": {"name": "main", "branch": {"name": "main"}, "use_mainbranch": True},
    "branch_types": [{"kind": "release", "prefix": "release/"}],
}
PUSH, FORCE, ENFORCED = ({"kind": kind, "pattern": "main"} for kind in ("push", "force", "enforce_merge_checks"))


def approvals(number: int, pattern: str = "main") -> dict[str, Any]:
    return {"kind": "require_approvals_to_merge", "pattern": pattern, "value": number}


def by_model(kind: str, type: str) -> dict[str, Any]:
    return {"kind": kind, "branch_match_kind": "branching_model", "branch_type": type, "pattern": ""}


def answering(restrictions: Any, *, branch: str = "main") -> Answers:
    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        path = request.url.path
        if path.endswith("/effective-branching-model"):
            return 200, MODEL, {}
        if path.endswith("/branch-restrictions"):
            return (403, {}, {}) if restrictions is None else (200, {"values": restrictions}, {})
        repository = {"uuid": "{1}", "full_name": "acme/app", "is_private": True, "mainbranch": {"name": branch}}
        return (
            200,
            {"values": [repository | {"description": "", "links": {"html": {"href": "https://example.com"}}}]},
            {},
        )

    return Answers(answer)


@pytest.mark.parametrize("workspace", ["", "-acme", "acme/app", "Acme Example", "acme?x"])
def test_a_name_that_no_workspace_can_have_is_refused(workspace: str) -> None:
    with pytest.raises(ValidationError):
        BitbucketOptions(workspace=workspace)


@pytest.mark.parametrize(
    ("branch", "restrictions", "expected"),
    [
        ("main", [], (False, 0, True)),
        ("main", [PUSH, FORCE], (True, 0, False)),
        ("main", [PUSH, approvals(2)], (True, 0, True)),  # a merge check that is not enforced is a warning
        ("main", [ENFORCED, approvals(1), approvals(2, "*")], (True, 2, True)),
        ("main", [ENFORCED, approvals(3, "release/*")], (True, 0, True)),
        ("main", [{"kind": "delete", "pattern": "main"}], (False, 0, True)),
        ("main", [by_model("push", "production"), by_model("force", "development")], (True, 0, True)),
        ("release/7", [by_model("force", "release"), PUSH], (True, 0, False)),
        ("main", None, (None, None, None)),
    ],
)
async def test_protection_is_what_holds_the_main_branch(
    connect: Connect, branch: str, restrictions: Any, expected: Any
) -> None:
    transport = answering(restrictions, branch=branch)
    async with connect(bitbucket, TOKEN, slot="workspace_token", transport=transport, workspace="acme") as connected:
        (found,) = (await connected.read("repositories")).of(Repository).values()
    assert (found.default_branch_protected, found.required_reviews, found.force_push_allowed) == expected


@pytest.mark.parametrize(
    ("header", "scopes"),
    [
        ("account, repository", {"account", "repository"}),
        (
            "read:workspace:bitbucket, read:user:bitbucket",
            {"read:workspace:bitbucket", "read:user:bitbucket", "account"},
        ),
        ("read:user:bitbucket", {"read:user:bitbucket"}),
        (None, None),
    ],
)
async def test_the_permissions_of_an_api_token_are_known_by_oauth_s_names_too(
    connect: Connect, header: str | None, scopes: set[str] | None
) -> None:
    def answer(_request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        told = {} if header is None else {"x-oauth-scopes": header}
        return 200, {"uuid": "{1}", "slug": "acme", "values": []}, told

    async with connect(
        bitbucket, TOKEN, slot="workspace_token", transport=Answers(answer), workspace="acme"
    ) as connected:
        assert (await connected.identify()).scopes == scopes


async def test_a_workspace_whose_members_are_not_shown_is_refused(connect: Connect) -> None:
    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        if request.url.path.endswith("/permissions"):
            return 404, {}, {}
        return 200, {"uuid": "{1}", "slug": "acme"}, {}

    async with connect(
        bitbucket, TOKEN, slot="workspace_token", transport=Answers(answer), workspace="acme"
    ) as connected:
        with pytest.raises(Forbidden, match="does not show the workspace acme"):
            await connected.identify()

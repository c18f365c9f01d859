"""The GitHub provider against the emulated GitHub, and its mappings on answers that the emulator does not give."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError
from tests.emulators.emulate import GITHUB_MEMBER_TOKEN, GITHUB_STRANGER_TOKEN, GITHUB_TOKEN, Emulated
from tests.providers.readings import Answers, Connect, Reading, mapped

from tieline.providers.github.organization import GithubOptions
from tieline.providers.github.provider import github
from tieline.sdk import (
    Account,
    Asset,
    Forbidden,
    Group,
    Identified,
    Membership,
    Policy,
    RateLimited,
    Repository,
    Unauthorised,
)

NOW = datetime(2026, 11, 20, tzinfo=UTC)
LIMITED = {"status": 429, "headers": {"retry-after": "120"}, "body": {"message": "slow down"}}


def on(emulated: Emulated, organization: str = "acme") -> dict[str, str]:
    return {"base_url": emulated.github_url, "organization": organization}


@pytest.mark.parametrize("mapping", [mapping for operation in github.operations for mapping in operation.into])
def test_every_mapping_compiles(mapping: Any) -> None:
    assert mapping.faults() == []


@pytest.mark.parametrize("name", ["", "-acme", "acme/../globex", "acme?x", "acme globex"])
def test_a_name_that_no_organization_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        GithubOptions(organization=name)


async def test_the_identity_is_the_organization(emulated: Emulated, connect: Connect) -> None:
    async with connect(github, GITHUB_TOKEN, **on(emulated)) as connected:
        assert await connected.identify() == Identified(id="1", name="acme", scopes=None)


@pytest.mark.parametrize("organization", ["acme", "nowhere"])
async def test_an_organization_that_the_token_is_not_a_member_of_is_refused_with_advice(
    emulated: Emulated, connect: Connect, organization: str
) -> None:
    async with connect(github, GITHUB_STRANGER_TOKEN, **on(emulated, organization)) as connected:
        with pytest.raises(Forbidden) as refused:
            await connected.identify()
    assert "read:org" in refused.value.what_to_do


async def test_a_revoked_token_is_unauthorised(emulated: Emulated, connect: Connect) -> None:
    emulated.github.revoke(GITHUB_TOKEN)
    async with connect(github, GITHUB_TOKEN, **on(emulated)) as connected:
        with pytest.raises(Unauthorised):
            await connected.identify()
        with pytest.raises(Unauthorised):
            await connected.read("members")


async def test_a_classic_token_s_scopes_are_told_with_those_they_include(connect: Connect) -> None:
    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        path = request.url.path
        if path == "/user":
            return 200, {"login": "owner"}, {"X-OAuth-Scopes": "admin:org, repo"}
        if path.startswith("/orgs/acme/memberships/"):
            return 200, {"state": "active", "role": "admin"}, {}
        return 200, {"id": 7, "login": "acme"}, {}

    async with connect(github, "ghp_token", transport=Answers(answer), organization="acme") as connected:
        identified = await connected.identify()
    assert identified.scopes == frozenset({"admin:org", "repo", "read:org"})


async def test_all_members_are_found_with_role_and_second_factor(emulated: Emulated, connect: Connect) -> None:
    async with connect(github, GITHUB_TOKEN, **on(emulated)) as connected:
        reading = await connected.read("members")

    accounts = reading.of(Account).values()
    assert len(accounts) == emulated.users + 1
    assert reading.flaws == []
    assert [it.username for it in accounts if it.admin] == ["owner"]
    assert {it.username for it in accounts if it.mfa is False} == {
        f"person{n:05d}" for n in range(0, emulated.users, 7)
    }
    assert not [it for it in accounts if it.mfa is None]
    person = next(it for it in accounts if it.username == "person00003")
    assert (person.display_name, person.email) == ("Person 00003", "person00003@acme.test")
    assert (person.type, person.status, person.active, person.admin) == ("person", "active", True, False)


async def test_the_organization_is_a_group_of_all_its_members(emulated: Emulated, connect: Connect) -> None:
    async with connect(github, GITHUB_TOKEN, **on(emulated)) as connected:
        reading = await connected.read("members")

    (group,) = reading.of(Group).values()
    memberships = reading.of(Membership).values()
    assert (group.name, group.type) == ("acme", "builtin")
    assert {it.group for it in memberships} == {group.external_id}
    assert {it.account for it in memberships} == set(reading.of(Account))
    assert Counter(it.role for it in memberships) == {"admin": 1, "member": emulated.users}


async def test_the_second_factor_is_unknown_to_who_is_no_owner(emulated: Emulated, connect: Connect) -> None:
    async with connect(github, GITHUB_MEMBER_TOKEN, **on(emulated)) as connected:
        reading = await connected.read("members")

    accounts = reading.of(Account).values()
    assert len(accounts) == emulated.users + 1
    assert {it.mfa for it in accounts} == {None}
    assert [it.username for it in accounts if it.admin] == ["owner"]


async def test_members_go_on_at_a_checkpoint_with_all_they_need_to_know(emulated: Emulated, connect: Connect) -> None:
    async with connect(github, GITHUB_TOKEN, **on(emulated)) as connected:
        whole = await connected.read("members")
        rest = await connected.read("members", start=whole.checkpoints[0])

    assert len(whole.checkpoints) == 3
    assert len(rest.of(Account)) == emulated.users + 1 - 100
    assert rest.of(Account).items() <= whole.of(Account).items()


async def test_teams_and_their_members_are_found(emulated: Emulated, connect: Connect) -> None:
    async with connect(github, GITHUB_TOKEN, **on(emulated)) as connected:
        reading = await connected.read("teams")

    (team,) = reading.of(Group).values()
    memberships = reading.of(Membership).values()
    assert (team.name, team.type) == ("Members", "team")
    assert len(memberships) == emulated.users + 1
    assert Counter(it.role for it in memberships) == {"maintainer": 1, "member": emulated.users}
    assert {it.group for it in memberships} == {team.external_id}
    assert reading.flaws == []


async def test_only_the_organization_s_own_repositories_are_found(emulated: Emulated, connect: Connect) -> None:
    async with connect(github, GITHUB_TOKEN, **on(emulated)) as connected:
        reading = await connected.read("repositories")

    repositories = reading.of(Repository).values()
    assert {it.name for it in repositories} == {f"acme/repo-{n:04d}" for n in range(emulated.users)}
    assert Counter(it.visibility for it in repositories) == {
        "private": emulated.users // 2,
        "public": emulated.users // 2,
    }
    assert {it.default_branch for it in repositories} == {"main"}
    assert {(it.default_branch_protected, it.required_reviews, it.force_push_allowed) for it in repositories} == {
        (False, 0, True)
    }
    assert "must-not-leak" not in str(reading)
    assert reading.flaws == []


async def test_the_organization_is_an_asset_and_its_requirement_a_policy(emulated: Emulated, connect: Connect) -> None:
    async with connect(github, GITHUB_TOKEN, **on(emulated)) as connected:
        reading = await connected.read("organization")

    (asset,) = reading.of(Asset).values()
    (policy,) = reading.of(Policy).values()
    assert (asset.external_id, asset.name, asset.type) == ("1", "Acme", "organization")
    assert (policy.type, policy.status, policy.mfa_required) == ("mfa", None, None)  # the emulator does not tell


@pytest.mark.parametrize(
    ("operation", "path"),
    [("members", "/orgs/acme/members.*page=2"), ("members", "/users/person00150"), ("repositories", "repo-0042/")],
)
async def test_a_limit_reached_midway_is_told_with_its_time(
    emulated: Emulated, connect: Connect, operation: str, path: str
) -> None:
    emulated.github.fail({"match": path, **LIMITED})
    reading = Reading()
    began = datetime.now(UTC)
    async with connect(github, GITHUB_TOKEN, **on(emulated)) as connected:
        with pytest.raises(RateLimited) as limited:
            await connected.read_into(reading, operation)
    assert (limited.value.until - began).total_seconds() > 100


async def test_a_limit_by_403_is_not_taken_for_a_missing_permission(emulated: Emulated, connect: Connect) -> None:
    used_up = {"x-ratelimit-remaining": "0", "x-ratelimit-limit": "5000", "retry-after": "120"}
    emulated.github.fail({"match": "/repo-0007/branches/", "status": 403, "headers": used_up})
    async with connect(github, GITHUB_TOKEN, **on(emulated)) as connected:
        with pytest.raises(RateLimited):
            await connected.read("repositories")


async def test_protection_that_may_not_be_read_is_unknown(emulated: Emulated, connect: Connect) -> None:
    plan = {"message": "Upgrade to GitHub Pro or make this repository public to enable this feature."}
    emulated.github.fail({"match": "/repo-0004/(branches|rules)/", "status": 403, "body": plan})
    async with connect(github, GITHUB_TOKEN, **on(emulated)) as connected:
        reading = await connected.read("repositories")

    unknown = [it for it in reading.of(Repository).values() if it.default_branch_protected is None]
    assert [it.name for it in unknown] == ["acme/repo-0004"]
    assert (unknown[0].required_reviews, unknown[0].force_push_allowed) == (None, None)


PLAIN = {
    "id": 9,
    "full_name": "acme/app",
    "private": True,
    "owner": {"login": "Acme"},
    "default_branch": "release/1",
    "archived": False,
    "permissions": {"admin": True},
    "temp_clone_token": "do-not-keep",
}
REVIEWED = {
    "required_pull_request_reviews": {"required_approving_review_count": 1},
    "allow_force_pushes": {"enabled": False},
}
TWO_REVIEWS = {"type": "pull_request", "parameters": {"required_approving_review_count": 2}}
NO_FORCE = {"type": "non_fast_forward"}
NOT_PROTECTED = (404, {"message": "Branch not protected"})


@pytest.mark.parametrize(
    ("repository", "protection", "rules", "expected"),
    [
        ({}, (200, REVIEWED), (200, []), (True, 1, False)),
        ({}, (200, REVIEWED), (200, [TWO_REVIEWS]), (True, 2, False)),
        ({}, NOT_PROTECTED, (200, [TWO_REVIEWS]), (True, 2, True)),
        ({}, NOT_PROTECTED, (200, [NO_FORCE]), (True, 0, False)),
        ({}, NOT_PROTECTED, (200, [{"type": "commit_message_pattern"}]), (False, 0, True)),
        ({}, NOT_PROTECTED, (403, {}), (None, None, None)),
        ({"permissions": {"admin": False}}, NOT_PROTECTED, (200, []), (False, 0, True)),
        ({"permissions": {"admin": False}}, (404, {"message": "Not Found"}), (200, []), (None, None, None)),
        ({"permissions": {"admin": False}}, (404, {"message": "Not Found"}), (200, [NO_FORCE]), (True, None, False)),
        ({}, (404, {"message": "Branch not found"}), (200, []), (None, None, None)),
        ({"archived": True}, NOT_PROTECTED, (200, []), (None, None, None)),
        ({"default_branch": None}, NOT_PROTECTED, (200, []), (None, None, None)),
    ],
)
async def test_protection_is_told_only_as_far_as_it_is_known(
    connect: Connect, repository: Any, protection: Any, rules: Any, expected: Any
) -> None:
    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        replies = {
            "/orgs/acme/repos": (200, [PLAIN | repository]),
            "/repos/acme/app/branches/release%2F1/protection": protection,
            "/repos/acme/app/rules/branches/release%2F1": rules,
        }
        status, body = replies[request.url.raw_path.decode().partition("?")[0]]
        return status, body, {}

    async with connect(github, "ghp_token", transport=Answers(answer), organization="acme") as connected:
        reading = await connected.read("repositories")

    (found,) = reading.of(Repository).values()
    assert (found.default_branch_protected, found.required_reviews, found.force_push_allowed) == expected
    assert found.visibility == "private"
    assert "do-not-keep" not in str(reading)


def test_a_user_suspended_on_an_enterprise_server_is_not_active() -> None:
    payload = {"id": 5, "login": "eve", "type": "User", "role": "member", "suspended_at": "2026-11-01T00:00:00Z"}
    account = mapped(github, "members", payload, variant="account")
    assert (account.status, account.active, account.display_name) == ("suspended", False, "eve")


@pytest.mark.parametrize(("required", "outcome"), [(True, "pass"), (False, "fail"), (None, "unknown")])
def test_the_two_factor_requirement_is_judged(required: bool | None, outcome: str) -> None:
    payload = {"id": 1, "login": "acme", "two_factor_requirement_enabled": required}
    policy = mapped(github, "organization", payload, variant="two_factor")
    (check,) = github.checks
    judgement = check.judge(policy, now=NOW, related={})
    assert judgement is not None
    assert judgement.outcome == outcome

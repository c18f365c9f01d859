"""What the fixtures of GitLab do not show: other roles, other rules, a GitLab of one's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr, ValidationError
from tests.providers.readings import Answers, Connect

from tieline.clock import SystemClock
from tieline.providers.gitlab.group import GitlabOptions
from tieline.providers.gitlab.provider import gitlab
from tieline.sdk import Account, Forbidden, Grant, OAuth2, OAuthApp, Repository
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import Ask, AuthContext, make_send

TOKEN = "glpat-made-up-token-0123456789"
GROUP = {"id": 7, "name": "Acme", "full_path": "acme", "web_url": "https://gitlab.com/groups/acme"}
ADA = {"id": 1, "username": "ada", "name": "Ada", "state": "active", "access_level": 30, "public_email": ""}


def answering(**answers: Any) -> Answers:
    """GitLab with these answers by the last part of the path; all else is 404."""

    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        last = request.url.path.rpartition("/")[2]
        found = answers.get(last, (404, {"message": "404 Not found"}))
        status, body = found if isinstance(found, tuple) else (200, found)
        return status, body, {}

    return Answers(answer)


@pytest.mark.parametrize("group", ["", "/acme", "acme?x", "acme platform", "a#b"])
def test_a_path_that_no_group_can_have_is_refused(group: str) -> None:
    with pytest.raises(ValidationError):
        GitlabOptions(group=group)


async def test_who_is_no_member_of_the_group_is_refused_although_it_is_shown_to_all(connect: Connect) -> None:
    transport = answering(user={"id": 5}, acme=GROUP)
    async with connect(gitlab, TOKEN, transport=transport, group="acme") as connected:
        with pytest.raises(Forbidden, match="does not show the group acme"):
            await connected.identify()


async def test_an_administrator_of_the_instance_need_not_be_a_member(connect: Connect) -> None:
    transport = answering(user={"id": 5, "is_admin": True}, acme=GROUP)
    async with connect(gitlab, TOKEN, transport=transport, group="acme") as connected:
        assert (await connected.identify()).id == "7"


@pytest.mark.parametrize(
    ("told", "scopes", "expires_at"),
    [
        ({"scopes": ["api"], "expires_at": None}, {"api", "read_api", "read_user"}, None),
        ({"scopes": ["read_api"], "expires_at": "2027-01-31"}, {"read_api"}, datetime(2027, 1, 31, tzinfo=UTC)),
        ((404, {}), None, None),  # before GitLab 15.5
    ],
)
async def test_a_token_tells_what_it_may_and_when_it_ends(
    connect: Connect, told: Any, scopes: set[str] | None, expires_at: datetime | None
) -> None:
    transport = answering(user={"id": 5, "is_admin": True}, acme=GROUP, self=told)
    async with connect(gitlab, TOKEN, transport=transport, group="acme") as connected:
        account = await connected.identify()
    assert (account.scopes, account.expires_at) == (scopes, expires_at)


async def test_an_administrator_of_the_instance_is_told_everybody_s_second_factor(connect: Connect) -> None:
    private = {"two_factor_enabled": False, "email": "Ada@example.com", "last_sign_in_at": "2026-01-02T03:04:05.000Z"}
    transport = answering(
        **{
            "user": {"id": 5, "is_admin": True},
            "acme": GROUP,
            "all": [ADA],
            "1": ADA | private,
            "descendant_groups": [],
        }
    )
    async with connect(gitlab, TOKEN, transport=transport, group="acme") as connected:
        reading = await connected.read("members")

    (ada,) = reading.of(Account).values()
    assert (ada.mfa, ada.email, ada.last_login_at) == (
        False,
        "ada@example.com",
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


async def test_a_second_factor_that_gitlab_does_not_tell_is_unknown(connect: Connect) -> None:
    transport = answering(
        user={"id": 5},
        acme=GROUP,
        all=[ADA],
        descendant_groups=[],
        enterprise_users=(403, {"message": "403 Forbidden"}),
    )
    async with connect(gitlab, TOKEN, transport=transport, group="acme") as connected:
        (ada,) = (await connected.read("members")).of(Account).values()
    assert (ada.mfa, ada.email, ada.admin) == (None, None, False)


PROJECT = {
    "id": 41,
    "path_with_namespace": "acme/app",
    "default_branch": "main",
    "archived": False,
    "visibility": "private",
}


def rule(approvals: int, *branches: str, kind: str = "regular") -> dict[str, Any]:
    named = [{"name": branch} for branch in branches]
    return {"approvals_required": approvals, "rule_type": kind, "protected_branches": named}


@pytest.mark.parametrize(
    ("protected", "approvals", "expected"),
    [
        ([], [], (False, 0, True)),
        ([{"name": "main", "allow_force_push": False}], [rule(1)], (True, 1, False)),
        ([{"name": "*", "allow_force_push": False}], [rule(2, "ma*"), rule(1)], (True, 2, False)),
        ([{"name": "main"}, {"name": "m*n", "allow_force_push": True}], [], (True, 0, True)),  # the laxer rule holds
        ([{"name": "m?in"}, {"name": "[m]ain"}], [], (False, 0, True)),  # an asterisk alone has a meaning
        ([{"name": "main"}], [rule(3, "release"), rule(2, kind="code_owner")], (True, 0, False)),
        ([{"name": "main"}], (404, {}), (True, None, False)),
        ((403, {}), [rule(1)], (None, 1, None)),
    ],
)
async def test_protection_is_told_only_as_far_as_it_is_known(
    connect: Connect, protected: Any, approvals: Any, expected: Any
) -> None:
    transport = answering(projects=[PROJECT], protected_branches=protected, approval_rules=approvals)
    async with connect(gitlab, TOKEN, transport=transport, group="acme") as connected:
        (found,) = (await connected.read("projects")).of(Repository).values()
    assert (found.default_branch_protected, found.required_reviews, found.force_push_allowed) == expected


async def test_a_gitlab_of_one_s_own_is_signed_in_to_and_read_where_it_is(connect: Connect) -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        asked.append(str(request.url))
        return (
            200,
            {"id": 7, "full_path": "acme", "is_admin": True, "access_token": "made-up", "token_type": "Bearer"},
            {},
        )

    grant = Grant(access_token=SecretStr("made-up"), scopes=("read_api",))
    own: dict[str, str] = {"group": "acme", "base_url": "https://gitlab.acme.example/"}
    async with connect(gitlab, grant, slot="oauth2", transport=Answers(answer), **own) as connected:
        await connected.identify()
    assert all(url.startswith("https://gitlab.acme.example/api/v4/") for url in asked)

    way, clock = gitlab.mode("oauth2"), SystemClock()
    assert isinstance(way, OAuth2)
    context = AuthContext(
        provider=gitlab.name,
        places={**gitlab.hosts, **gitlab.options(**own).model_dump()},
        clock=clock,
        send=make_send(AddressPolicy(), clock, gitlab.name),
        identity_token=_no_identity_token,
        app=OAuthApp(client_id="made-up"),
    )
    url = way.authorize(context, Ask(redirect_uri="https://tieline.example/cb", state="s", challenge="c", nonce="n"))
    assert url.startswith("https://gitlab.acme.example/oauth/authorize?")


async def _no_identity_token(_audience: str) -> str:
    raise AssertionError("this way asks for none")

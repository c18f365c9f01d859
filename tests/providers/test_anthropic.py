"""Anthropic, on answers of the form that Anthropic documents: which key reads what, and whose it is."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from tests.providers.readings import Answers, Connect

from tieline.providers.anthropic.provider import anthropic
from tieline.sdk import NotOffered, Unexpected
from tieline.sdk.auth import Credential, malformed_fields

ORGANIZATION = "00000000-aaaa-4bbb-8ccc-000000000001"


def key(slot: str) -> Credential:
    return anthropic.mode(slot).credential.model_validate({slot: "sk-ant-example"})


@pytest.mark.parametrize(
    ("slot", "operation"),
    [("api_key", "users"), ("api_key", "workspaces"), ("api_key", "api_keys"), ("admin_key", "models")],
)
async def test_what_a_key_may_not_read_is_not_even_asked(connect: Connect, slot: str, operation: str) -> None:
    def refuse(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        raise AssertionError(f"{request.url} was asked")

    async with connect(anthropic, key(slot), slot=slot, transport=Answers(refuse)) as connected:
        with pytest.raises(NotOffered, match="key"):
            await connected.read(operation)


async def test_both_keys_open_the_same_organization(connect: Connect) -> None:
    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        assert request.headers["anthropic-version"] == "2023-06-01"
        if request.url.path == "/v1/organizations/me":
            return 200, {"id": ORGANIZATION, "type": "organization", "name": "Example Ltd"}, {}
        empty: dict[str, Any] = {"data": [], "first_id": None, "last_id": None, "has_more": False}
        return 200, empty, {"anthropic-organization-id": ORGANIZATION}

    async with connect(anthropic, key("admin_key"), slot="admin_key", transport=Answers(answer)) as connected:
        admin = await connected.identify()
    async with connect(anthropic, key("api_key"), slot="api_key", transport=Answers(answer)) as connected:
        plain = await connected.identify()
    assert (admin.id, admin.name, admin.remarks) == (ORGANIZATION, "Example Ltd", ())
    assert plain.id == ORGANIZATION
    assert "admin key" in plain.remarks[0]


async def test_an_organization_that_is_not_told_is_an_unexpected_answer(connect: Connect) -> None:
    async with connect(
        anthropic, key("admin_key"), slot="admin_key", transport=Answers(lambda _: (200, {}, {}))
    ) as connected:
        with pytest.raises(Unexpected):
            await connected.identify()


@pytest.mark.parametrize(
    ("slot", "given", "fits"),
    [
        ("api_key", "sk-ant-api03-example", True),
        ("api_key", "sk-ant-admin01-example", False),
        ("api_key", "sk-proj-example", False),
        ("admin_key", "sk-ant-admin01-example", True),
        ("admin_key", "sk-ant-api03-example", False),
    ],
)
def test_a_key_of_the_other_sort_is_refused_by_its_form(slot: str, given: str, fits: bool) -> None:
    credential = anthropic.mode(slot).credential.model_validate({slot: given})
    assert malformed_fields(credential) == ([] if fits else [slot])

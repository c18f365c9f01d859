"""OpenAI, on answers of the form that OpenAI documents: which key reads what, and whose it is."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from tests.providers.readings import Answers, Connect

from tieline.providers.openai.provider import openai
from tieline.sdk import NotOffered
from tieline.sdk.auth import Credential, malformed_fields

EMPTY: dict[str, Any] = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def key(slot: str) -> Credential:
    return openai.mode(slot).credential.model_validate({slot: "sk-example"})


@pytest.mark.parametrize(
    ("slot", "operation"),
    [("api_key", "users"), ("api_key", "projects"), ("api_key", "api_keys"), ("admin_key", "models")],
)
async def test_what_a_key_may_not_read_is_not_even_asked(connect: Connect, slot: str, operation: str) -> None:
    def refuse(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        raise AssertionError(f"{request.url} was asked")

    async with connect(openai, key(slot), slot=slot, transport=Answers(refuse)) as connected:
        with pytest.raises(NotOffered, match="key"):
            await connected.read(operation)


async def test_both_keys_open_the_organization_that_answers_name(connect: Connect) -> None:
    def answer(_: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        return 200, EMPTY, {"openai-organization": "org-example"}

    for slot in ("api_key", "admin_key"):
        async with connect(openai, key(slot), slot=slot, transport=Answers(answer)) as connected:
            account = await connected.identify()
        assert account.id == "org-example"
        assert bool(account.remarks) == (slot == "api_key")


async def test_an_answer_that_names_no_organization_gives_a_fixed_account(connect: Connect) -> None:
    async with connect(
        openai, key("api_key"), slot="api_key", transport=Answers(lambda _: (200, EMPTY, {}))
    ) as connected:
        assert (await connected.identify()).id == "openai"


@pytest.mark.parametrize(
    ("slot", "given", "fits"),
    [
        ("api_key", "sk-proj-example", True),
        ("api_key", "sk-svcacct-example", True),
        ("api_key", "sk-admin-example", False),
        ("api_key", "sk-ant-api03-example", False),
        ("admin_key", "sk-admin-example", True),
        ("admin_key", "sk-proj-example", False),
    ],
)
def test_a_key_of_the_other_sort_is_refused_by_its_form(slot: str, given: str, fits: bool) -> None:
    credential = openai.mode(slot).credential.model_validate({slot: given})
    assert malformed_fields(credential) == ([] if fits else [slot])

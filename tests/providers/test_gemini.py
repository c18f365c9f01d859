"""Gemini, on answers of the form that Google documents."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from tests.providers.readings import Answers, Connect

from tieline.providers.gemini.provider import gemini
from tieline.sdk import Unauthorised, Unexpected
from tieline.sdk.auth import malformed_fields

KEY = "AIzaSyExample-made-up-key"


def refusal(reason: str) -> dict[str, Any]:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}
    return {"error": {"code": 400, "message": "An example.", "status": "INVALID_ARGUMENT", "details": [info]}}


async def test_the_key_stands_in_a_header_and_in_no_url(connect: Connect) -> None:
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        asked.append(request)
        return 200, {"models": [{"name": "models/sample"}]}, {}

    async with connect(gemini, KEY, transport=Answers(answer)) as connected:
        await connected.identify()
        await connected.read("models")
    assert [request.headers["x-goog-api-key"] for request in asked] == [KEY, KEY]
    assert not any(KEY in str(request.url) for request in asked)


@pytest.mark.parametrize("reason", ["API_KEY_INVALID", "API_KEY_EXPIRED"])
async def test_a_bad_key_is_told_from_a_bad_request_by_its_reason(connect: Connect, reason: str) -> None:
    async with connect(gemini, KEY, transport=Answers(lambda _: (400, refusal(reason), {}))) as connected:
        with pytest.raises(Unauthorised):
            await connected.identify()
        with pytest.raises(Unauthorised):
            await connected.read("models")
    async with connect(gemini, KEY, transport=Answers(lambda _: (400, refusal("OTHER"), {}))) as connected:
        with pytest.raises(Unexpected):
            await connected.identify()


async def test_a_project_that_is_named_is_the_account(connect: Connect) -> None:
    def answer(_: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        return 200, {}, {}

    async with connect(gemini, KEY, transport=Answers(answer)) as connected:
        assert (await connected.identify()).id == "gemini"
    async with connect(gemini, KEY, transport=Answers(answer), project="example-project") as connected:
        assert (await connected.identify()).id == "example-project"


@pytest.mark.parametrize(("key", "wrong"), [(KEY, []), ("AQ.Ab8Example_Example-1", []), ("sk-example", ["api_key"])])
def test_both_sorts_of_key_are_known_by_their_beginning(key: str, wrong: list[str]) -> None:
    assert malformed_fields(gemini.mode().credential.model_validate({"api_key": key})) == wrong

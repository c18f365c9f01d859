"""Importing over the API: many accounts by one request, each on its own, with a report that tells no secret."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from tests.api.conftest import Newcomer
from tests.api.shapes import SANDBOX_TOKEN

PATH = "/v1/connections/import"
WRONG = "lks_wrong_canary"


async def post(newcomer: Newcomer, body: dict[str, Any], *, status: int = 200) -> Any:
    answer = await newcomer.client.post(PATH, json=body)
    assert answer.status_code == status, answer.text
    assert SANDBOX_TOKEN not in answer.text
    assert WRONG not in answer.text
    return answer.json()


async def connections(newcomer: Newcomer) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await newcomer.client.get("/v1/connections")).json()["items"]
    return items


def as_csv(*rows: dict[str, Any]) -> str:
    written = io.StringIO()
    table = csv.writer(written)
    table.writerow(["provider", "name", "options.base_url", "credential.token"])
    for row in rows:
        table.writerow([row["provider"], row.get("name", ""), row["options"]["base_url"], row["credential"]["token"]])
    return written.getvalue()


@pytest.mark.parametrize("form", ["rows", "csv"])
async def test_each_row_is_connected_or_refused_by_its_number_and_its_reason(newcomer: Newcomer, form: str) -> None:
    good = newcomer.attempt | {"name": "Ours"}
    rows = [newcomer.attempt | {"credential": {"token": WRONG}}, good, newcomer.attempt | {"provider": WRONG}]
    report = await post(newcomer, {"rows": rows} if form == "rows" else {"csv": as_csv(*rows)})
    assert (report["dry_run"], report["connected"], report["refused"]) == (False, 1, 2)
    told = [(one["row"], one["status"], (one["reason"] or {}).get("slug")) for one in report["rows"]]
    assert told == [(1, "refused", "credential-rejected"), (2, "connected", None), (3, "refused", "invalid")]
    assert report["rows"][0]["reason"]["message"] == "Sandbox API key is invalid or expired"
    (made,) = await connections(newcomer)
    assert (made["id"], made["name"]) == (report["rows"][1]["connection_id"], "Ours")
    assert report["rows"][1]["account"] == made["account_name"]


async def test_a_dry_run_says_what_would_be_and_saves_nothing(newcomer: Newcomer) -> None:
    rows = [newcomer.attempt, newcomer.attempt | {"credential": {"token": WRONG}}]
    report = await post(newcomer, {"rows": rows, "dry_run": True})
    assert (report["dry_run"], report["connected"], report["refused"]) == (True, 0, 1)
    assert [one["status"] for one in report["rows"]] == ["valid", "refused"]
    assert await connections(newcomer) == []
    assert (await newcomer.client.get("/v1/runs")).json()["items"] == []


async def test_what_is_connected_already_is_told_as_such(newcomer: Newcomer) -> None:
    first = await post(newcomer, {"rows": [newcomer.attempt]})
    again = await post(newcomer, {"rows": [newcomer.attempt]})
    tried = await post(newcomer, {"rows": [newcomer.attempt], "dry_run": True})
    assert [one["rows"][0]["status"] for one in (first, again, tried)] == ["connected", "exists", "exists"]
    assert len({one["rows"][0]["connection_id"] for one in (first, again, tried)}) == 1
    assert (again["connected"], again["refused"]) == (0, 0)


async def test_over_two_hundred_rows_are_refused_whole(newcomer: Newcomer) -> None:
    rows = [{"provider": "no-such-thing"}] * 200
    assert (await post(newcomer, {"rows": rows}))["refused"] == 200
    for body in ({"rows": [*rows, newcomer.attempt]}, {"csv": "provider\n" + "no-such-thing\n" * 201}):
        assert (await post(newcomer, body, status=422))["slug"] == "invalid"
    assert await connections(newcomer) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"provider,token\nsandbox,{WRONG}\n", "1 headings are unknown"),
        (f"{WRONG},{WRONG}\nsandbox,x\n", "2 headings are unknown"),
        (f"credential.token\n{WRONG}\n", "The heading must name `provider`"),
        (f"provider,credential.token\nsandbox,{WRONG},{WRONG}\n", "Line 2 has not as many columns as the heading"),
        (f'provider,credential.token\nsandbox,"{WRONG}\n', "The file is not valid CSV"),
        ("provider\n", "The file has no rows"),
    ],
)
async def test_a_table_of_another_form_is_refused_and_nothing_of_it_is_told(
    newcomer: Newcomer, text: str, told: str
) -> None:
    assert told in (await post(newcomer, {"csv": text}, status=422))["detail"]


async def test_repeating_the_request_answers_the_report_that_was(newcomer: Newcomer) -> None:
    headers = {"Idempotency-Key": "import-once"}
    first = await newcomer.client.post(PATH, json={"rows": [newcomer.attempt]}, headers=headers)
    again = await newcomer.client.post(PATH, json={"rows": [newcomer.attempt]}, headers=headers)
    assert first.json()["connected"] == 1
    assert again.content == first.content

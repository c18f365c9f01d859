"""Credentials over the API: which versions a connection holds, when they end, and going on with another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from tests.api.conftest import Newcomer
from tests.api.shapes import SANDBOX_TOKEN
from tests.audit.acme import acme, playing

from tieline.catalog import compile_catalog
from tieline.flows.parts import Parts
from tieline.flows.views import moment

SECRETS = ["first-secret-canary", "second-secret-canary", "third-secret-canary"]


@dataclass
class Account:
    """A connection to a provider that takes any key, by two ways."""

    client: httpx2.AsyncClient
    path: str

    async def post(self, verb: str, body: Any = None, *, status: int = 200) -> Any:
        answer = await self.client.post(f"{self.path}/{verb}", json=body)
        assert answer.status_code == status, answer.text
        assert not any(one in answer.text for one in SECRETS)
        return answer.json()

    async def show(self) -> Any:
        return (await self.client.get(self.path)).json()

    async def held(self) -> list[dict[str, Any]]:
        answer = await self.client.get(f"{self.path}/credentials")
        assert not any(one in answer.text for one in SECRETS)
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def versions(self) -> list[tuple[str, int, bool]]:
        """Slot, number and whether it is in force, of each."""
        return [(one["slot"], one["version"], one["in_force"]) for one in await self.held()]


@pytest.fixture
async def account(newcomer: Newcomer, app: FastAPI, parts: Parts) -> AsyncIterator[Account]:
    """A new connection by the first way."""
    async with playing() as url:
        app.state.parts = replace(parts, catalog=compile_catalog([acme], []))
        wanted = {"provider": "acme", "options": {"base_url": f"{url}/one"}, "credential": {"token": SECRETS[0]}}
        made = await newcomer.client.post("/v1/connections", json=wanted)
        assert made.status_code == 201, made.text
        yield Account(newcomer.client, f"/v1/connections/{made.json()['id']}")
        app.state.parts = parts


async def test_a_connection_shows_when_its_credential_ends(newcomer: Newcomer, parts: Parts) -> None:
    ends = moment(parts.clock.now() + timedelta(days=30))
    made = (await newcomer.client.post("/v1/connections", json=newcomer.attempt | {"expires_at": ends})).json()
    path = f"/v1/connections/{made['id']}"
    (held,) = (await newcomer.client.get(f"{path}/credentials")).json()["items"]
    shown = (await newcomer.client.get(path)).json()
    (listed,) = (await newcomer.client.get("/v1/connections")).json()["items"]
    assert [one["expires_at"] for one in (made, held, shown, listed)] == [ends] * 4

    later = moment(parts.clock.now() + timedelta(days=60))
    given = {"credential": {"token": SANDBOX_TOKEN}, "expires_at": later}
    assert (await newcomer.client.post(f"{path}/rotate", json=given)).json()["expires_at"] == later
    former = (await newcomer.client.post(f"{path}/roll-back")).json()
    assert former["expires_at"] == ends, "the date belongs to the credential"
    unknown = await newcomer.client.post(f"{path}/rotate", json={"credential": {"token": SANDBOX_TOKEN}})
    assert unknown.json()["expires_at"] is None


async def test_the_versions_are_listed_by_name_and_never_by_content(newcomer: Newcomer, account: Account) -> None:
    actor = (await newcomer.client.get("/v1/api-keys")).json()["items"][0]["id"]
    (first,) = await account.held()
    assert (first["slot"], first["version"], first["in_force"], first["created_by"]) == ("token", 1, True, actor)
    await account.post("rotate", {"credential": {"token": SECRETS[1]}})
    second, former = await account.held()
    assert (former["id"], former["fingerprint"]) == (first["id"], first["fingerprint"])
    assert second["fingerprint"] != first["fingerprint"]
    assert (second["retired_at"], former["retired_at"]) == (None, second["created_at"])


async def test_only_the_version_before_the_one_in_force_is_kept(account: Account) -> None:
    for secret in SECRETS[1:]:
        await account.post("rotate", {"credential": {"token": secret}})
    assert await account.versions() == [("token", 3, True), ("token", 2, False)]


async def test_rolling_back_puts_the_former_version_in_force_and_can_be_undone(account: Account) -> None:
    refused = await account.post("roll-back", status=409)
    assert refused["detail"] == "There is no former credential to go back to"
    await account.post("rotate", {"credential": {"token": SECRETS[1]}})
    assert (await account.post("roll-back"))["status"] == "active"
    assert await account.versions() == [("token", 2, False), ("token", 1, True)]
    await account.post("roll-back", {})
    assert await account.versions() == [("token", 2, True), ("token", 1, False)]


async def test_rolling_back_to_a_credential_that_is_refused_changes_nothing(
    newcomer: Newcomer, sandbox_url: str
) -> None:
    made = (await newcomer.client.post("/v1/connections", json=newcomer.attempt)).json()
    account = Account(newcomer.client, f"/v1/connections/{made['id']}")
    await account.post("rotate", {"credential": {"token": SANDBOX_TOKEN}})
    before = await account.show(), await account.held()
    rule = {"match": "/v1/me", "status": 401, "times": None}
    async with httpx2.AsyncClient(headers={"X-Sandbox-Control": SANDBOX_TOKEN}, trust_env=False, timeout=60) as control:
        await control.post(f"{sandbox_url}/_sandbox/faults", json={"rules": [rule]})
        refused = await account.post("roll-back", status=422)
        await control.post(f"{sandbox_url}/_sandbox/faults", json={"rules": []})
    assert refused["slug"] == "credential-rejected"
    assert (await account.show(), await account.held()) == before


async def test_switching_goes_on_by_a_way_whose_credential_is_held(account: Account) -> None:
    refused = await account.post("switch", {"by": "second"}, status=409)
    assert refused["detail"] == "The connection holds no credential for second"
    given = {"credential": {"secret": SECRETS[1]}, "by": "second"}
    assert (await account.post("rotate", given))["kind"] == "second"
    assert await account.versions() == [("second", 1, True), ("token", 1, True)]
    for slot in ("token", "second", "second"):
        assert (await account.post("switch", {"by": slot}))["kind"] == slot
        assert (await account.show())["kind"] == slot
    assert await account.versions() == [("second", 1, True), ("token", 1, True)]
    await account.post("switch", {"by": "no_such_way"}, status=422)


async def test_reconnecting_by_another_way_needs_its_name_only_where_the_fields_do_not_tell(account: Account) -> None:
    refused = await account.post("reconnect", {"credential": {"secret": SECRETS[1]}}, status=422)
    assert "secret" in refused["detail"]
    assert (await account.post("reconnect", {"credential": {"secret": SECRETS[1]}, "by": "second"}))["kind"] == "second"
    signing_in = {"credential": {"secret": SECRETS[1]}, "by": "oauth2"}
    assert "signing in" in (await account.post("reconnect", signing_in, status=422))["detail"]


async def test_a_disconnected_connection_holds_nothing_and_takes_nothing(account: Account) -> None:
    assert (await account.client.delete(account.path)).json()["status"] == "disconnected"
    assert await account.held() == []
    for verb, body in (
        ("rotate", {"credential": {"token": SECRETS[1]}}), ("reconnect", {"credential": {"token": SECRETS[1]}}),
        ("roll-back", None), ("switch", {"by": "token"}),
    ):  # fmt: skip
        assert (await account.post(verb, body, status=409))["slug"] == "conflict"


async def test_the_audit_log_tells_which_credential_was_put_in_force(account: Account) -> None:
    await account.post("rotate", {"credential": {"token": SECRETS[1]}})
    await account.post("roll-back")
    await account.post("rotate", {"credential": {"secret": SECRETS[2]}, "by": "second"})
    await account.post("switch", {"by": "token"})
    told = [
        (one["action"], one["details"]["slot"], one["details"]["version"])
        for one in (await account.client.get("/v1/audit?limit=100")).json()["items"]
        if one["action"] in ("credential.rotated", "credential.rolled_back", "credential.switched")
    ]
    assert told == [
        ("credential.switched", "token", 1),
        ("credential.rotated", "second", 1),
        ("credential.rolled_back", "token", 1),
        ("credential.rotated", "token", 2),
    ]


async def test_a_stored_credential_is_sent_to_no_other_address(account: Account) -> None:
    standing = (await account.show())["options"]
    elsewhere = standing | {"base_url": "http://127.0.0.1:9/one"}
    refused = await account.client.patch(account.path, json={"options": elsewhere})
    assert (refused.status_code, refused.json()["slug"]) == (409, "conflict")
    assert "another address" in refused.json()["detail"]
    assert (await account.show())["options"] == standing


async def test_an_address_is_changed_together_with_the_credential(account: Account) -> None:
    standing = (await account.show())["options"]
    moved = standing | {"base_url": standing["base_url"] + "/"}
    body = {"credential": {"token": SECRETS[1]}, "options": moved}
    assert (await account.post("rotate", body))["options"] == moved

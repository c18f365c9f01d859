"""What each route that changes something needs to succeed, by the name of its operation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import httpx2
from fastapi import FastAPI
from tests.audit.conftest import House
from tests.canaries import Canary, hatch

from tieline.flows.sync import run_sync
from tieline.store.admission import admit
from tieline.vault import LocalKeyRing, Vault, with_new_key

Ready = tuple[dict[str, str], Any]
"""The path parameters and the body of a request that will succeed."""


@dataclass
class Scene:
    """An organization, its operator's client, and whatever a request needs to succeed."""

    house: House
    key_id: str
    client: httpx2.AsyncClient
    acme_url: str
    app: FastAPI
    ring: LocalKeyRing
    canaries: list[Canary] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    def secret(self, kind: str) -> str:
        canary = hatch(kind)
        self.canaries.append(canary)
        return canary.text

    def account(self, **more: Any) -> dict[str, Any]:
        """What connects an account that is not connected yet."""
        options = {"base_url": f"{self.acme_url}/account-{next(self.numbers)}"}
        return {"provider": "acme", "options": options, "credential": {"token": self.secret("token")}, **more}

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.client.request(method, f"/v1{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def connect(self) -> dict[str, str]:
        return {"connection_id": (await self.ask("POST", "/connections", self.account()))["id"]}

    async def paused(self) -> dict[str, str]:
        path = await self.connect()
        await self.ask("POST", f"/connections/{path['connection_id']}/pause")
        return path

    async def rotated(self, **body: Any) -> dict[str, str]:
        path = await self.connect()
        body = body or {"credential": {"token": self.secret("token")}}
        await self.ask("POST", f"/connections/{path['connection_id']}/rotate", body)
        return path

    async def queued(self) -> dict[str, str]:
        path = await self.connect()
        runs = await self.ask("GET", f"/runs?connection_id={path['connection_id']}")
        return {"run_id": runs["items"][0]["id"]}

    async def ended(self) -> dict[str, str]:
        path = await self.queued()
        parts = self.house.parts
        async with parts.db.system() as work:
            holds = await admit(work, now=parts.clock.now(), kinds=["sync"], free_slots=50, org_cap=50, provider_cap=50)
        for hold in holds:
            await run_sync(parts, hold)
        assert (await self.ask("GET", f"/runs/{path['run_id']}"))["status"] == "succeeded"
        return path

    async def held(self) -> dict[str, str]:
        path = await self.ended()
        await self.house.intruder.connection.execute("UPDATE runs SET status = 'held' WHERE status = 'succeeded'")
        return path

    async def finding(self) -> dict[str, str]:
        await self.ended()
        return {"finding_id": (await self.ask("GET", "/findings?status=open"))["items"][0]["id"]}

    async def muted(self) -> dict[str, str]:
        path = await self.finding()
        await self.ask("POST", f"/findings/{path['finding_id']}/mute", {"reason": "Because"})
        return path

    async def own_app(self) -> dict[str, str]:
        body = {"client_id": "acme-1", "client_secret": self.secret("client secret")}
        await self.ask("PUT", "/oauth-apps/acme", body)
        return {"slug": "acme"}

    async def sign_in(self) -> dict[str, Any]:
        await self.own_app()
        return {"provider": "acme", "by": "oauth2", "options": self.account()["options"]}

    async def member(self) -> dict[str, str]:
        body = {"email": f"anna{next(self.numbers)}@example.com", "role": "member"}
        return {"member_id": (await self.ask("POST", "/members", body))["id"]}

    async def key(self) -> dict[str, str]:
        return {"key_id": (await self.ask("POST", "/api-keys", {"name": "k", "role": "auditor"}))["id"]}


def told(**body: Any) -> Any:
    return body


RECIPES: dict[str, Callable[[Scene], Awaitable[Ready]]] = {}
"""By operation, what makes a request to it ready to succeed. A route that is not here fails the test."""


def recipe(one: Callable[[Scene], Awaitable[Ready]]) -> Callable[[Scene], Awaitable[Ready]]:
    RECIPES[one.__name__] = one
    return one


@recipe
async def set_oauth_app(scene: Scene) -> Ready:
    return {"slug": "acme"}, told(client_id="acme-1", client_secret=scene.secret("client secret"))


@recipe
async def remove_oauth_app(scene: Scene) -> Ready:
    return await scene.own_app(), None


@recipe
async def create_connect_session(scene: Scene) -> Ready:
    return {}, told(providers=["acme"], origins=["https://app.example"])


@recipe
async def cancel_connect_session(scene: Scene) -> Ready:
    return {"connect_session_id": (await scene.ask("POST", "/connect-sessions", {}))["id"]}, None


@recipe
async def start_sign_in(scene: Scene) -> Ready:
    return {}, await scene.sign_in()


@recipe
async def import_connections(scene: Scene) -> Ready:
    return {}, told(rows=[scene.account(), scene.account()])


@recipe
async def create_connection(scene: Scene) -> Ready:
    return {}, scene.account()


@recipe
async def change_connection(scene: Scene) -> Ready:
    return await scene.connect(), told(name="Another")


@recipe
async def change_timetable(scene: Scene) -> Ready:
    return await scene.connect() | {"operation": "people"}, told(every="6h", enabled=False)


@recipe
async def disconnect(scene: Scene) -> Ready:
    return await scene.connect(), None


@recipe
async def test_connection(scene: Scene) -> Ready:
    return await scene.connect(), None


@recipe
async def pause_connection(scene: Scene) -> Ready:
    return await scene.connect(), None


@recipe
async def resume_connection(scene: Scene) -> Ready:
    return await scene.paused(), None


@recipe
async def start_sync(scene: Scene) -> Ready:
    return await scene.connect(), told(operation="people")


@recipe
async def rotate_credential(scene: Scene) -> Ready:
    return await scene.connect(), told(credential={"token": scene.secret("token")})


@recipe
async def reconnect(scene: Scene) -> Ready:
    return await scene.connect(), told(credential={"token": scene.secret("token")})


@recipe
async def roll_back_credential(scene: Scene) -> Ready:
    return await scene.rotated(), None


@recipe
async def switch_way(scene: Scene) -> Ready:
    return await scene.rotated(by="second", credential={"secret": scene.secret("token")}), told(by="token")


@recipe
async def cancel_run(scene: Scene) -> Ready:
    return await scene.queued(), None


@recipe
async def retry_run(scene: Scene) -> Ready:
    return await scene.ended(), None


@recipe
async def release_run(scene: Scene) -> Ready:
    return await scene.held(), None


@recipe
async def mute_finding(scene: Scene) -> Ready:
    return await scene.finding(), told(reason=scene.secret("reason"))


@recipe
async def unmute_finding(scene: Scene) -> Ready:
    return await scene.muted(), None


@recipe
async def assign_finding(scene: Scene) -> Ready:
    member = await scene.member()
    return await scene.finding(), told(owner=member["member_id"])


@recipe
async def mute_findings(scene: Scene) -> Ready:
    await scene.finding()
    return {}, told(reason=scene.secret("reason"), filter={"status": "open"})


@recipe
async def unmute_findings(scene: Scene) -> Ready:
    finding = await scene.muted()
    return {}, told(findings=[finding["finding_id"]])


@recipe
async def assign_findings(scene: Scene) -> Ready:
    member = await scene.member()
    await scene.finding()
    return {}, told(owner=member["member_id"], filter={"status": "open"})


@recipe
async def materialize_evidence(scene: Scene) -> Ready:
    await scene.ended()
    return {}, None


@recipe
async def invite_member(scene: Scene) -> Ready:
    return {}, told(email=f"anna{next(scene.numbers)}@example.com", role="member")


@recipe
async def make_member_link(scene: Scene) -> Ready:
    return await scene.member(), None


@recipe
async def change_member(scene: Scene) -> Ready:
    return await scene.member(), told(role="admin")


@recipe
async def remove_member(scene: Scene) -> Ready:
    return await scene.member(), None


@recipe
async def create_api_key(scene: Scene) -> Ready:
    return {}, told(name="k", role="auditor")


@recipe
async def revoke_api_key(scene: Scene) -> Ready:
    return await scene.key(), None


@recipe
async def create_organization(scene: Scene) -> Ready:
    return {}, told(slug=f"made-{next(scene.numbers)}", name="Made")


@recipe
async def create_organization_api_key(scene: Scene) -> Ready:
    made = await scene.ask("POST", "/organizations", {"slug": f"made-{next(scene.numbers)}", "name": "Made"})
    return {"org_id": made["id"]}, told(name="k", role="admin")


@recipe
async def rewrap_stored_values(scene: Scene) -> Ready:
    await scene.connect()
    parts = replace(scene.house.parts, vault=Vault(with_new_key(scene.ring)))
    scene.house.parts = scene.app.state.parts = parts
    return {}, None

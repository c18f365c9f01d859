"""Fuzz: Schemathesis calls every route with what its documentation allows, and with what it does not.

Whatever is sent, the answer is one that the document names, in its shape, and never a failure of ours. It goes over a real socket,
so that the server's own parsing is part of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS
from tests.api.conftest import furnish, parts_of
from tests.api.shapes import Scene

from tieline.api.app import create_mounted
from tieline.flows.readings import Readings
from tieline.store.db import Db
from tieline.vault import LocalKeyRing

ALWAYS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)
EXAMPLES = {GenerationMode.POSITIVE: 2, GenerationMode.NEGATIVE: 4}


@pytest.fixture(scope="module")
def own(api_database_url: str, ring: LocalKeyRing, sandbox_url: str) -> Scene:
    """An organization that may be left in any state."""
    return asyncio.run(furnish(api_database_url, ring, sandbox_url))


@pytest.fixture(scope="module")
def address(api_database_url: str, ring: LocalKeyRing) -> Iterator[str]:
    """The API, served."""

    @asynccontextmanager
    async def started() -> AsyncIterator[Any]:
        db = Db(api_database_url)
        parts = parts_of(db, ring)
        yield SimpleNamespace(parts=parts, ring=ring, readings=Readings(parts, role="server"), metrics_token=None)
        await db.close()

    config = uvicorn.Config(create_mounted(started), port=0, log_config=None, ws="none", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        threading.Event().wait(0.02)
    (port,) = {socket.getsockname()[1] for one in server.servers for socket in one.sockets}
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(timeout=20)


@pytest.mark.parametrize("mode", EXAMPLES, ids=lambda mode: mode.value)
@pytest.mark.parametrize("known", [True, False], ids=["rows that there are", "rows that there are not"])
def test_every_route_answers_as_documented(address: str, own: Scene, mode: GenerationMode, known: bool) -> None:
    headers = {"X-API-Key": own.keys["operator"]}
    document = httpx2.get(f"{address}/openapi.json", trust_env=False, timeout=60).json()
    schema: Any = schemathesis.openapi.from_dict(document)
    checks = list(
        CHECKS.get_by_names([*ALWAYS, *(["negative_data_rejection"] if mode is GenerationMode.NEGATIVE else [])])
    )
    answered = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        names = [parameter.name for parameter in operation.path_parameters]
        if known and not names:
            continue
        told = operation.definition.raw
        nothing_but_text = not told.get("parameters") or "security" not in told  # as a browser's ticket
        if mode is GenerationMode.NEGATIVE and nothing_but_text and "requestBody" not in told:
            continue  # there is nothing to get wrong
        ids = {name: own.ids[name] for name in names} if known else None
        if operation.path.startswith("/v1/frameworks") and ids:
            ids = {"slug": "soc2"}

        @given(case=operation.as_strategy(generation_mode=mode, path_parameters=ids))
        @settings(
            max_examples=EXAMPLES[mode],
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def call(case: Case) -> None:
            answer = case.call_and_validate(base_url=address, headers=headers, checks=checks)
            answered.add(answer.status_code)

        call()
    assert answered >= ({422} if mode is GenerationMode.NEGATIVE else {200})

"""Recording from a real server: what is written replays, joins and tells nothing of whom it was read from."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn

from tieline.errors import Invalid, Unauthorised
from tieline.providers.sandbox import server as sandbox_server
from tieline.providers.sandbox.founding import MINIMUM_PEOPLE
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.testing import Subject, find_subject, run_suite
from tieline.sdk.testing.record import Made, record

TOKEN = "lks_cAnArY7q-real-token-of-a-real-person"


@dataclass(frozen=True)
class Vendor:
    url: str
    people: list[dict[str, str]]


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    """The sandbox, in the part of a vendor with real people."""
    setup = sandbox_server.Setup(people=MINIMUM_PEOPLE, as_of=datetime(2026, 1, 15, tzinfo=UTC), token=TOKEN)
    app = sandbox_server.create_app(setup)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        company = sandbox_server.build_company(MINIMUM_PEOPLE, seed=setup.seed, as_of=setup.as_of)
        people, _ = company.tables["people"].page("", 200)
        yield Vendor(f"http://127.0.0.1:{listener.getsockname()[1]}", people)
        server.should_exit = True
        thread.join(5)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    """The sandbox's provider in a folder of its own, without fixtures."""
    home = find_subject("sandbox").folder
    folder = tmp_path / "sandbox"
    folder.mkdir()
    for name in ("provider.py", "README.md", "logo.svg"):
        shutil.copy(home / name, folder / name)
    return find_subject(folder)


def write(subject: Subject, vendor: Vendor, token: str = TOKEN) -> Made:
    credential = subject.provider.mode().credential(token=token)
    policy = AddressPolicy.parse("127.0.0.1")
    options = {"base_url": vendor.url}
    return asyncio.run(record(subject, slot=None, options=options, credential=credential, policy=policy))


def test_what_was_recorded_is_read_as_it_was(subject: Subject, vendor: Vendor) -> None:
    made = write(subject, vendor)
    assert made.faults == []
    assert made.entities["people"] == MINIMUM_PEOPLE
    faults = {one.rule: one.fault for one in asyncio.run(run_suite(find_subject(subject.folder))) if one.fault}
    assert set(faults) <= {
        "every_page_is_read",
        "operations_yield_the_entities",
    }  # a small account has single pages and empty lists


def test_nothing_that_was_recorded_tells_of_whom(subject: Subject, vendor: Vendor) -> None:
    made = write(subject, vendor)
    written = "\n".join(file.read_text(encoding="utf-8") for file in made.files)
    words = set(re.findall(r"[^\W_]+", written.lower()))
    assert TOKEN not in written
    assert vendor.url not in written
    for person in vendor.people:
        assert person["email"] not in written
        assert person["id"] not in written
        assert not {word.lower() for word in re.findall(r"[^\W_]{6,}", person["family_name"] or "")} & words
        assert person["display_name"] not in written


def test_stand_ins_join_as_what_they_stand_for(subject: Subject, vendor: Vendor) -> None:
    write(subject, vendor)
    entities = json.loads((subject.folder / "fixtures" / "entities.json").read_text())
    people = {one["external_id"] for one in entities["people"]}
    groups = {one["external_id"] for one in entities["groups"]}
    assert entities["memberships"]
    assert {one["account"] for one in entities["memberships"]} <= people
    assert {one["group"] for one in entities["memberships"]} <= groups
    assert {one["status"] for one in entities["people"]} <= {"active", "inactive", "suspended", "invited", "deleted"}


def test_a_credential_that_is_refused_writes_nothing(subject: Subject, vendor: Vendor) -> None:
    with pytest.raises(Unauthorised):
        write(subject, vendor, token="lks_wrong")
    assert not (subject.folder / "fixtures").exists()


def test_a_vendor_s_sdk_cannot_be_recorded() -> None:
    found = find_subject("aws")
    with pytest.raises(Invalid, match="not allowed"):
        asyncio.run(_record_aws(found))


async def _record_aws(subject: Subject) -> None:
    """AWS by its own SDK, at an address that is not allowed."""
    credential = subject.provider.mode("access_key").credential(
        access_key_id="AKIAEXAMPLEEXAMPLE00", secret_access_key="made-up"
    )
    options = {"endpoint_url": "http://10.0.0.1"}
    await record(subject, slot="access_key", options=options, credential=credential, policy=AddressPolicy.parse(""))

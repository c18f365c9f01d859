"""`tieline audit`: what was done, and whether the log of it is whole."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tieline.catalog import compile_catalog
from tieline.clock import SystemClock
from tieline.flows.audit import sign_checkpoints
from tieline.flows.parts import Parts
from tieline.sdk.addresses import AddressPolicy
from tieline.store.audit import audit_entries
from tieline.store.db import Db
from tieline.vault import Vault, load_or_create


@pytest.fixture
def busy(tieline: Any) -> Any:
    """The command in an organization in which a few things were done."""
    for name in ("one", "two"):
        assert tieline("api-keys", "create", "--name", name).code == 0
    key = tieline("api-keys", "list", "--json").json["items"][0]["id"]
    assert tieline("api-keys", "revoke", key).code == 0
    return tieline


def tamper(tieline: Any, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(tieline.environment["TIELINE_DATABASE_URL"])
        await connection.execute(
            f"{statement} AND org_id = (SELECT id FROM organizations WHERE slug = '{tieline.org}')"
        )
        await connection.close()

    asyncio.run(run())


async def sign(tieline: Any) -> None:
    """What the hourly upkeep does."""
    db = Db(tieline.environment["TIELINE_DATABASE_URL"])
    ring = load_or_create(Path(tieline.environment["TIELINE_DATA_DIR"]) / "keys.json", may_create=False)
    parts = Parts(db, compile_catalog([], []), Vault(ring), SystemClock(), AddressPolicy.parse(""), ring)
    await sign_checkpoints(parts)
    await db.close()


def test_what_the_command_does_is_recorded_with_the_account_that_ran_it(busy: Any) -> None:
    listed = busy("audit", "--json").json
    actions = ["api_key.revoked", "api_key.created", "api_key.created", "organization.created"]
    assert [row["action"] for row in listed["items"]] == actions
    assert all(row["actor"].startswith("cli:") and len(row["actor"]) > 4 for row in listed["items"])
    shown = busy("audit", "list", "--action", "api_key.revoked", "--since", "1h").out
    assert "api_key.revoked" in shown
    assert "api_key.created" not in shown
    actor = listed["items"][0]["actor"]
    page = busy("audit", "--actor", actor, "--limit", "3", "--json").json
    assert [row["seq"] for row in page["items"]] == [4, 3, 2]
    assert [row["seq"] for row in busy("audit", "--cursor", page["next"], "--json").json["items"]] == [1]
    assert busy("audit", "--actor", "nobody").out == "Nothing was done that is so.\n"
    assert busy("audit", "--cursor", "x").code == 2


def test_a_log_that_nobody_touched_is_whole(busy: Any) -> None:
    ended = busy("audit", "verify")
    assert (ended.code, ended.err) == (0, "")
    assert "4 entries and 0 checkpoints, all as they were written." in ended.out
    row = busy("audit", "verify", "--json").json["items"][0]
    assert (row["whole"], row["entries"], row["first_bad_seq"]) == (True, 4, None)


def test_a_log_that_was_touched_ends_the_command_with_one(busy: Any) -> None:
    tamper(busy, "UPDATE audit_entries SET actor = 'cli:innocent' WHERE seq = 3")
    ended = busy("audit", "verify")
    assert ended.code == 1
    assert "not to be relied on from entry 3 on. The entry is not as it was written." in ended.out
    everyone = busy("audit", "verify", "--all-organizations", "--json")
    assert everyone.code == 1
    touched = {row["slug"]: row["first_bad_seq"] for row in everyone.json["items"] if not row["whole"]}
    assert touched[busy.org] == 3


def test_the_default_organization_has_a_chain_from_the_first_start_on(commands: Any) -> None:
    assert commands("audit", "verify").code == 0


def test_everything_can_be_exported_a_line_each(busy: Any) -> None:
    rows = [json.loads(line) for line in busy("audit", "export").out.splitlines()]
    assert [row["seq"] for row in rows] == [1, 2, 3, 4]
    assert list(rows[0]) == [*(one.name for one in audit_entries.c if one.name != "org_id")]


def test_a_checkpoint_kept_elsewhere_tells_what_the_database_cannot(busy: Any, tmp_path: Path) -> None:
    asyncio.run(sign(busy))
    document = busy("audit", "checkpoints").out
    assert json.loads(document)["checkpoints"][0]["seq"] == 4
    file = tmp_path / "checkpoints.json"
    file.write_text(document)
    assert busy("audit", "verify", "--checkpoint", str(file)).code == 0
    file.write_text(document.replace('"seq":4', '"seq":9'))
    assert "is not signed by this installation" in busy("audit", "verify", "--checkpoint", str(file)).out
    for text, code in (("{}", 1), ("no JSON", 2), (json.dumps({"checkpoints": []}), 2)):
        file.write_text(text)
        assert busy("audit", "verify", "--checkpoint", str(file)).code == code, text


def test_old_entries_are_taken_away_only_up_to_a_checkpoint(busy: Any) -> None:
    refused = busy("audit", "prune", "--before", "1m", "--yes")
    assert refused.code == 1
    assert "There is nothing to take away" in refused.err

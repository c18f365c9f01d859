"""Kill -9 while an account is connected or disconnected: it is either wholly done or not at all, and what is left over is done later."""

from __future__ import annotations

import re
import signal
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from tests.emulators.oidc import Oidc
from tests.flows.grants import receive, start
from tests.flows.test_tokens import Granted, ended, granted  # noqa: F401  a fixture

import tieline
from tieline.flows.connect import establish
from tieline.flows.context import auth_context
from tieline.flows.disconnect import disconnect
from tieline.flows.parts import Parts
from tieline.flows.reach import parse_options
from tieline.flows.upkeep import upkeep
from tieline.sdk import Grant, OAuth2

ELSEWHERE = (
    {"refresh.begun", "refresh.answered", "rewrap.batch", "audit.recorded"}
    | {f"backup.{one}" for one in ("table", "sealed")}
    | {f"restore.{one}" for one in ("marked", "table", "concluded")}
)
"""Points at which other tests kill, or whose transaction theirs is."""
HERE = {"connect.verified", "connect.saved", "connect.committed", "disconnect.committed", "disconnect.revoked"}


async def connect(parts: Parts, org_id: str, _: str, *, grant: Grant) -> None:
    """What the callback does with a grant."""
    declared = parts.catalog.provider("certified")
    await establish(parts, org_id, declared, declared.mode(), parse_options(declared, {}), grant)


@pytest.mark.parametrize(("point", "saved"), [("verified", 0), ("saved", 0), ("committed", 1)])
async def test_a_connection_is_there_with_its_first_run_or_not_at_all(
    granted: Granted,  # noqa: F811
    oidc: Oidc,
    point: str,
    saved: int,
) -> None:
    declared = granted.parts.catalog.provider("certified")
    auth = declared.mode()
    assert isinstance(auth, OAuth2)
    context = await auth_context(granted.parts, granted.org, declared, auth, parse_options(declared, {}))
    act = partial(connect, grant=await receive(context, auth, oidc, "bert"))
    assert granted.place
    killed = start(granted.place, granted.org, granted.connection.id, act, fault=f"connect.{point}:1")
    assert await ended(killed) == -signal.SIGKILL
    made = await granted.query("SELECT id FROM connections WHERE account_id = 'bert'")
    assert len(made) == saved
    counts = "SELECT (SELECT count(*) FROM credentials) AS held, (SELECT count(*) FROM runs) AS runs"
    assert await granted.query(counts) == [{"held": 1 + saved, "runs": 1 + saved}]


@pytest.mark.parametrize("point", ["committed", "revoked"])
async def test_what_a_killed_disconnection_left_to_revoke_is_revoked_later(
    granted: Granted,  # noqa: F811
    oidc: Oidc,
    point: str,
) -> None:
    assert granted.place
    killed = start(granted.place, granted.org, granted.connection.id, disconnect, fault=f"disconnect.{point}:1")
    assert await ended(killed) == -signal.SIGKILL
    assert (await granted.standing()).status == "disconnected"
    assert await granted.query("SELECT 1 FROM credentials") == []
    granted.clock.move_to(granted.clock.now() + timedelta(minutes=3))
    await upkeep(granted.parts)
    assert await granted.query("SELECT 1 FROM revocations") == []
    assert oidc.requests("/token/revocation")


def test_every_point_is_killed_at_by_some_test() -> None:
    source = "".join(path.read_text() for path in (Path(tieline.__file__).parent / "flows").glob("*.py"))
    named = set(re.findall(r'faults\.passing\("([a-z.]+)"\)', source))
    assert {one for one in named if not one.startswith(("page.", "run."))} == HERE | ELSEWHERE

"""A disk that fills up: requests are refused clearly, syncs wait, and all goes on once there is room."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.conftest import all_ended, client, ends_as_if_undisturbed, eventually, once_reachable, working
from tests.flows.bench import Sandbox, connected

from tieline.store.embedded import running
from tieline.store.migrate import migrate
from tieline.vault import LocalKeyRing

DISK_MB = 160


@pytest.fixture
def disk() -> Iterator[Path]:
    """A small disk, or a skip where this account may not mount one."""
    folder = Path(tempfile.mkdtemp(prefix="tieline-disk-"))
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0755", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        folder.rmdir()
        pytest.skip("a small disk cannot be mounted here: that needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    shutil.rmtree(folder)


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65_536)
        except OSError:
            pass
    return ballast


@pytest.mark.slow
async def test_syncs_wait_while_the_disk_is_full_and_go_on_when_there_is_room(
    disk: Path, ring: LocalKeyRing, sandbox: Sandbox, undisturbed: object
) -> None:
    with running(disk / "data", state_dir=disk / "state") as server:
        await migrate(server.url)
        async with connected(server.url, ring, sandbox) as bench, client(bench, ring) as api:
            ballast = await asyncio.to_thread(fill, disk)
            statuses = set()
            async with working(bench):
                for _ in range(40):
                    answer = await api.post(f"/v1/connections/{bench.connection.id}/sync", json={})
                    statuses.add(answer.status_code)
                    if answer.status_code == 503:
                        assert answer.json()["slug"] in {"database", "audit-unavailable"}
                    await asyncio.sleep(0.2)
                assert statuses <= {202, 503}
                assert not await once_reachable(all_ended(bench))
                ballast.unlink()
                await eventually(lambda: once_reachable(all_ended(bench)))
            await ends_as_if_undisturbed(bench, undisturbed)

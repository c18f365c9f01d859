"""Locks on files between processes: released by the kernel when the holder dies, however it dies."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """Lock an open file for this process alone, unless another holds it."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Give the lock back."""
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Lock an open file for this opening of it and those who inherit it, unless another holds it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Give the lock back, also on behalf of those who inherited it."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def open_lock(path: Path) -> int:
    """Open a file to lock it, making it if absent; returns the descriptor."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def is_held(path: Path) -> bool:
    """Whether anybody holds the lock on a file."""
    descriptor = open_lock(path)
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on a file, waiting for it as long as needed."""
    descriptor = open_lock(path)
    try:
        while not try_lock(descriptor):
            time.sleep(0.02)
        try:
            yield
        finally:
            unlock(descriptor)  # closing would not do if this process was forked meanwhile
    finally:
        os.close(descriptor)


def enter(users: Path) -> tuple[Path, int]:
    """Be counted in a folder of users until `leave`, or until this process dies. Enter and count under one lock."""
    users.mkdir(mode=0o700, exist_ok=True)
    mine = users / f"{os.getpid()}-{secrets.token_hex(4)}"
    descriptor = open_lock(mine)
    try_lock(descriptor)
    return mine, descriptor


def leave(mine: Path, descriptor: int) -> None:
    """Be counted no longer."""
    unlock(descriptor)
    os.close(descriptor)
    mine.unlink()


def anyone(users: Path) -> bool:
    """Whether a living user is counted in the folder; the files of dead ones are removed."""
    living = {path: is_held(path) for path in users.iterdir()}
    for path, held in living.items():
        if not held:
            path.unlink()
    return any(living.values())

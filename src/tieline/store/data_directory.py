"""The data directory's own account of itself: which version made it, and where the home of its cluster lies."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path

from tieline.errors import DatabaseError
from tieline.store.postgres_wheel import MAJOR, make_reachable

FORMAT = 1

_MARKER = "version.json"
_POINTER = "postgres.json"


def was_made(data_dir: Path) -> bool:
    """Whether a cluster was made here before; refuses one that this release cannot run."""
    marker = data_dir / _MARKER
    try:
        version = json.loads(marker.read_bytes())
        format_, postgres = int(version["format"]), int(version["postgres"])
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError) as error:
        raise DatabaseError(f"{marker} is damaged.", advice="Restore the data directory from a backup.") from error
    if format_ > FORMAT:
        raise DatabaseError(
            f"{data_dir} has format {format_}; this release of Tieline knows {FORMAT} at most.",
            advice="Use the newer release that made it, or another data directory.",
        )
    if postgres != MAJOR:
        raise DatabaseError(
            f"{data_dir} holds a database of PostgreSQL {postgres}; this release of Tieline brings {MAJOR}.",
            advice="Dump it with the release that made it and restore it into a new data directory.",
        )
    return True


def mark_made(data_dir: Path) -> None:
    """Note that the cluster of this data directory is there."""
    _write_json(data_dir / _MARKER, {"format": FORMAT, "postgres": MAJOR})


def home_inside(data_dir: Path) -> Path:
    """The home for an ordinary account: inside the data directory."""
    if (data_dir / _POINTER).exists():
        raise DatabaseError(
            f"The data directory {data_dir} was made by root.",
            advice="Run Tieline as root again.",
        )
    home = data_dir / "postgres"
    home.mkdir(mode=0o700, exist_ok=True)
    return home


def home_for_root(data_dir: Path, state_dir: Path) -> Path:
    """The home for root: a folder of its own below `state_dir`, tied to the data directory by a random id.

    The id, not the path, is the tie: a data directory may be moved, and a new one never finds an old one's cluster.
    """
    if (data_dir / "postgres").exists():
        owner = (data_dir / "postgres").stat().st_uid
        raise DatabaseError(
            f"The database in {data_dir} belongs to the account with uid {owner}.",
            advice="Run Tieline as that account.",
        )
    pointer = data_dir / _POINTER
    if pointer.exists():
        cluster = _read_id(pointer)
    else:
        cluster = secrets.token_hex(8)
        _write_json(pointer, {"id": cluster, "cluster": str(state_dir / cluster)})
    make_reachable(state_dir)
    return make_reachable(state_dir / cluster)


def _read_id(pointer: Path) -> str:
    try:
        cluster = str(json.loads(pointer.read_bytes())["id"])
    except (ValueError, KeyError, TypeError):
        cluster = ""
    if not re.fullmatch("[0-9a-f]{16}", cluster):  # it becomes a part of a path
        raise DatabaseError(f"{pointer} is damaged.", advice="Restore the data directory from a backup.")
    return cluster


def _write_json(path: Path, value: dict[str, str | int]) -> None:
    """Write a file so that readers see all of it or none."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(value) + "\n", encoding="utf-8")
    draft.replace(path)
